//! Parity with the fixtures of this crate: every configuration and backbone, from synthetic weights.

use burn::tensor::Device;
use effdet_testing::parity::Bounds;
use effdet_testing::suite::Outcome;
use effdet_testing::{fixtures, suite, synthetic};

#[test]
fn every_backbone_has_the_tensors_of_the_reference() {
    let device = Device::flex();
    let golden = fixtures::backbones();
    let known: Vec<&str> = effdet_backbones::names().collect();
    assert_eq!(known.len(), 158);
    let mut failures = Vec::new();
    for name in known {
        let expected = &golden.backbones[name];
        let config = effdet_backbones::create(name).unwrap();
        if synthetic::state_dict_digest(&config.init(&device).unwrap()) != expected.state_dict {
            failures.push(format!("{name}: other tensors"));
        }
        let classifier = config.with_classifier(1000).init(&device).unwrap();
        // CSP nets name their stages otherwise with a classifier than without; ours have one name for both.
        let renamed = name.starts_with("csp");
        if !renamed && synthetic::state_dict_digest(&classifier) != expected.classifier_state_dict {
            failures.push(format!("{name}: other tensors with the classifier"));
        }
        let parameters = effdet_nn::count_parameters(&classifier);
        if Some(parameters) != expected.classifier_parameters {
            failures
                .push(format!("{name}: {parameters} parameters, not {:?}", expected.classifier_parameters));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_backbone_computes_what_the_reference_does() {
    let device = Device::flex();
    let outcomes: Vec<Outcome> = suite::fixture_backbones(&device, &Bounds::SINGLE, |_| true).collect();
    assert!(outcomes.len() > 130, "{}", outcomes.len());
    assert!(outcomes.iter().all(Outcome::is_equal), "{}", suite::differing(&outcomes));
}

#[test]
fn every_detector_computes_what_the_reference_does() {
    let device = Device::flex();
    let outcomes: Vec<Outcome> = suite::fixture_detectors(&device, &Bounds::SINGLE, |_| true).collect();
    assert_eq!(outcomes.len(), 47);
    let native = outcomes.iter().filter(|outcome| outcome.result.as_ref().is_ok_and(|result| result.native));
    assert_eq!(native.count(), 47, "detectors with an inference form");
    assert!(outcomes.iter().all(Outcome::is_equal), "{}", suite::differing(&outcomes));
}
