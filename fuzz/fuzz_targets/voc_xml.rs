//! Pascal VOC files.
#![no_main]

use effdet_data::format::voc::parse_bytes;
use effdet_data::{DirtKind, ParseOptions, Policies, Policy};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let policies = Policies::default().with(DirtKind::Malformed, Policy::Skip);
    drop(parse_bytes(bytes, "fuzz.jpg", &ParseOptions { policies, ..ParseOptions::default() }));
});
