//! The names of a YOLO `data.yaml`.
#![no_main]

use effdet_data::format::yolo::names_of_yaml;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    drop(names_of_yaml(bytes, "data.yaml"));
});
