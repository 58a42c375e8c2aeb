//! YOLO label files, as the labels of a real picture whose size is needed.
#![no_main]

use effdet_data::format::yolo::parse_bytes;
use effdet_data::{DirtKind, ParseOptions, Policies, Policy};
use libfuzzer_sys::fuzz_target;

const PICTURE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../crates/effdet-data/tests/fixtures/formats/yolo/images/train/a.png"
);

fuzz_target!(|bytes: &[u8]| {
    let policies = Policies::default().with(DirtKind::Malformed, Policy::Skip);
    drop(parse_bytes(bytes, PICTURE, &ParseOptions { policies, ..ParseOptions::default() }));
});
