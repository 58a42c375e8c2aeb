//! Headers of pictures of all formats.
#![no_main]

use effdet_data::header_of_bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    drop(header_of_bytes(bytes, "fuzz.jpg"));
});
