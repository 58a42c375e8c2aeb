//! Parity with the shared golden data: every configuration and backbone, from calibrated synthetic weights.

use burn::tensor::Device;
use effdet_testing::{shared, suite};

#[test]
fn backbones_equal_the_shared_goldens() {
    let Some(shared) = shared::shared_or_skip("backbones_equal_the_shared_goldens") else { return };
    let outcomes = suite::shared_backbones(&shared, &Device::flex()).unwrap();
    assert_eq!(outcomes.len(), 158);
    assert!(outcomes.iter().all(suite::Outcome::is_equal), "{}", suite::differing(&outcomes));
}

#[test]
fn detectors_equal_the_shared_goldens() {
    let Some(shared) = shared::shared_or_skip("detectors_equal_the_shared_goldens") else { return };
    let outcomes = suite::shared_detectors(&shared, &Device::flex()).unwrap();
    assert_eq!(outcomes.len(), 47);
    assert!(outcomes.iter().all(suite::Outcome::is_equal), "{}", suite::differing(&outcomes));
}
