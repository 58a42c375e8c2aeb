//! The fixtures in this crate, made by `tools/golden/make_parity.py` and `measure_golden_noise.py`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::golden::{BackbonesGolden, DetectorGolden, read_json};
use crate::gradients::{GradientsGolden, TrainingStepsGolden};
use crate::parity::GoldenError;

/// In the folder `EFFDET_FIXTURES`, else in this crate; a program that is carried to another machine takes them along.
fn path(name: &str) -> PathBuf {
    let folder = std::env::var_os("EFFDET_FIXTURES")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures")), PathBuf::from);
    folder.join(name)
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

/// How far the shared goldens of the detectors are from exact arithmetic.
///
/// # Panics
/// If the fixture is missing or damaged.
#[expect(clippy::expect_used, reason = "the fixture is part of the repository")]
pub fn golden_errors() -> BTreeMap<String, GoldenError> {
    let errors: BTreeMap<String, [f64; 2]> =
        read_json(&path("golden_noise.json")).expect("the fixture can be read");
    errors.into_iter().map(|(name, [sampled, sum])| (name, GoldenError { sampled, sum })).collect()
}

/// How far the reference itself is from its goldens on an NVIDIA H100, by detector and float type, made by
/// `tools/golden/measure_device_noise.py`.
///
/// # Panics
/// If the fixture is missing or damaged.
#[expect(clippy::expect_used, reason = "the fixture is part of the repository")]
pub fn device_noise() -> BTreeMap<String, BTreeMap<String, DeviceNoise>> {
    read_json(&path("device_noise.json")).expect("the fixture can be read")
}

/// How far the reference is from its golden on a device: the largest difference at the sampled places, in deviations of the
/// map; the largest of a sum, relative; detections found again, and all.
#[derive(Clone, Copy, Debug, serde::Deserialize)]
pub struct DeviceNoise(pub f64, pub f64, pub usize, pub usize);

/// What the reference computes in one training step of six detectors, made by `tools/golden/make_gradients.py`.
///
/// # Panics
/// If the fixture is missing or damaged.
#[expect(clippy::expect_used, reason = "the fixture is part of the repository")]
pub fn gradients() -> GradientsGolden {
    read_json(&path("gradients.json.gz")).expect("the fixture can be read")
}

/// Ten optimiser steps of the reference, made by `tools/golden/make_training_steps.py`.
///
/// # Panics
/// If the fixture is missing or damaged.
#[expect(clippy::expect_used, reason = "the fixture is part of the repository")]
pub fn training_steps() -> TrainingStepsGolden {
    read_json(&path("training_steps.json.gz")).expect("the fixture can be read")
}
