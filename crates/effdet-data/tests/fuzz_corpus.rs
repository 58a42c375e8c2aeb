//! What the fuzz targets of `fuzz/` found worth keeping is read without a panic. `fuzz/Cargo.toml` says how to look for more.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;

use effdet_data::format::{coco, csv, open_images, via, voc, yolo};
use effdet_data::{DirtKind, Error, ParseOptions, Parsed, Policies, Policy, header_of_bytes};
use rstest::rstest;

fn options() -> ParseOptions {
    let policies = Policies::default().with(DirtKind::Malformed, Policy::Skip);
    ParseOptions { policies, ..ParseOptions::default() }
}

fn check(target: &str, read: impl Fn(&[u8]) -> bool) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut accepted = 0;
    let mut inputs = 0;
    for entry in folder.read_dir().unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        inputs += 1;
        accepted += usize::from(read(&std::fs::read(entry.unwrap().path()).unwrap()));
    }
    assert!(inputs >= 20, "{target}: only {inputs} inputs");
    assert!(accepted > 0, "{target}: no input of the corpus can be read, so it reaches nothing");
}

type Parse = fn(&[u8], &str, &ParseOptions) -> Result<Parsed, Error>;

#[rstest]
#[case::coco("coco_json", coco::parse_bytes)]
#[case::voc("voc_xml", voc::parse_bytes)]
#[case::via("via_json", via::parse_bytes)]
#[case::csv("csv", csv::parse_bytes)]
#[case::open_images("open_images_csv", open_images::parse_bytes)]
fn labels_are_read_or_refused(#[case] target: &str, #[case] parse: Parse) {
    check(target, |bytes| parse(bytes, "fuzz.jpg", &options()).is_ok());
}

#[test]
fn yolo_labels_are_read_or_refused() {
    let picture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/formats/yolo/images/train/a.png");
    check("yolo_txt", |bytes| yolo::parse_bytes(bytes, picture, &options()).is_ok());
}

#[test]
fn yaml_is_read_or_refused() {
    check("yolo_yaml", |bytes| yolo::names_of_yaml(bytes, "data.yaml").is_ok());
}

#[test]
fn picture_headers_are_read_or_refused() {
    check("picture_header", |bytes| header_of_bytes(bytes, "fuzz.jpg").is_ok());
}
