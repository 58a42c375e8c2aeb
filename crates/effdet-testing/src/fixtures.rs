//! The fixtures in this crate, made by `tools/golden/make_parity.py`.

use std::path::PathBuf;

use crate::golden::{BackbonesGolden, DetectorGolden, read_json};

fn path(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures")).join(name)
}

/// What the reference computes for all 158 backbones.
///
/// # Panics
/// If the fixture is missing or damaged.
#[expect(clippy::expect_used, reason = "the fixture is part of the repository")]
pub fn backbones() -> BackbonesGolden {
    read_json(&path("backbones.json.gz")).expect("the fixture can be read")
}

/// What the reference computes for all 47 detectors.
///
/// # Panics
/// If the fixture is missing or damaged.
#[expect(clippy::expect_used, reason = "the fixture is part of the repository")]
pub fn detectors() -> Vec<DetectorGolden> {
    read_json(&path("detectors.json.gz")).expect("the fixture can be read")
}
