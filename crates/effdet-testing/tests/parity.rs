//! Parity with the fixtures of this crate: every configuration and backbone, from synthetic weights.

use burn::tensor::Device;
use effdet_testing::parity::{self, Noise, Statistics};
use effdet_testing::{fixtures, synthetic};

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
            failures.push(format!("{name}: {parameters} parameters, not {:?}", expected.classifier_parameters));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_backbone_computes_what_the_reference_does() {
    let device = Device::flex();
    let golden = fixtures::backbones();
    let input = parity::synthetic_picture(golden.seed, &golden.image, golden.image_size, &device);
    let mut failures = Vec::new();
    // The largest are left to the shared reference data.
    for (name, expected) in golden.backbones.iter().filter(|(_, expected)| !expected.features.is_empty()) {
        let statistics = Statistics::Scattered(&expected.statistics);
        match parity::backbone(name, expected, input.clone(), golden.seed, statistics, Noise::default()) {
            Ok(deviation) if deviation.is_equal() => println!("{name}: {deviation:?}"),
            Ok(deviation) => failures.push(format!("{name}: {deviation:?}")),
            Err(error) => failures.push(format!("{name}: {error:#}")),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_detector_computes_what_the_reference_does() {
    let device = Device::flex();
    let mut failures = Vec::new();
    let goldens = fixtures::detectors();
    assert_eq!(goldens.len(), 47);
    for golden in goldens {
        let model = effdet_model::EfficientDetConfig::named(&golden.model).unwrap().init(&device).unwrap();
        if synthetic::state_dict_digest(&model) != golden.state_dict {
            failures.push(format!("{}: other tensors", golden.model));
            continue;
        }
        let statistics = Statistics::Scattered(&golden.statistics);
        let result = parity::detector(&golden, statistics, Noise::default(), &device, |name| {
            Ok(parity::synthetic_picture(golden.seed, name, golden.image_size, &device))
        });
        match result {
            Ok(deviation) if deviation.is_equal() => println!("{}: {deviation:?}", golden.model),
            Ok(deviation) => failures.push(format!("{}: {deviation:?}", golden.model)),
            Err(error) => failures.push(format!("{}: {error:#}", golden.model)),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
