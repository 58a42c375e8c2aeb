//! Parity with the shared golden data: every configuration and backbone, from calibrated synthetic weights.

use std::collections::HashMap;

use anyhow::Context;
use burn::tensor::Device;
use effdet_testing::golden::{BackbonesGolden, DetectorGolden, StateDictShapes, read_json};
use effdet_testing::parity::{self, Deviation, Noise, Statistics};
use effdet_testing::{fixtures, npz, shared};

#[test]
fn backbones_equal_the_reference() {
    let Some(shared) = shared::shared_or_skip("backbones_equal_the_reference") else { return };
    let golden: BackbonesGolden = read_json(&shared.join("golden/backbones/features.json")).unwrap();
    let shapes: StateDictShapes =
        read_json(&shared.join("golden/backbones/state-dict-shapes.json.gz")).unwrap();
    let statistics = npz::read(&shared.join("golden/backbones/running-stats.npz")).unwrap();
    let device = Device::flex();
    let input =
        parity::picture(&shared.join("golden/images").join(&golden.image), golden.mean, golden.std, &device)
            .unwrap();
    let only = std::env::var("EFFDET_ONLY").unwrap_or_default();
    let noise = fixtures::backbones();
    let mut failures = Vec::new();
    for (name, expected) in golden.backbones.iter().filter(|(name, _)| name.contains(&only)) {
        let prefix = format!("{name}/");
        let running: HashMap<String, Vec<f32>> = statistics
            .iter()
            .filter_map(|(key, values)| Some((key.strip_prefix(&prefix)?.to_owned(), values.clone())))
            .collect();
        let result = (|| {
            let model = effdet_backbones::create(name)?.init(&device)?;
            parity::same_state_dict(&model, &shapes[name])?;
            drop(model);
            let noise = Noise::of(&noise.backbones[name].features);
            parity::backbone(name, expected, input.clone(), golden.seed, Statistics::Stored(&running), noise)
        })();
        report(name, result, &mut failures);
    }
    assert!(
        failures.is_empty(),
        "{} of {} differ:\n{}",
        failures.len(),
        golden.backbones.len(),
        failures.join("\n")
    );
}

#[test]
fn detectors_equal_the_reference() {
    let Some(shared) = shared::shared_or_skip("detectors_equal_the_reference") else { return };
    let shapes: StateDictShapes = read_json(&shared.join("golden/state-dict-shapes.json.gz")).unwrap();
    let device = Device::flex();
    let only = std::env::var("EFFDET_ONLY").unwrap_or_default();
    let fixtures = fixtures::detectors();
    let mut failures = Vec::new();
    for name in effdet_model::model_names().filter(|name| name.contains(&only)) {
        let result = (|| {
            let golden: DetectorGolden = read_json(&shared.join(format!("golden/detections/{name}.json")))?;
            let running = npz::read(&shared.join(format!("golden/running-stats/{name}.npz")))?;
            let model = effdet_model::EfficientDetConfig::named(name)?.init(&device)?;
            parity::same_state_dict(&model, &shapes[name])?;
            drop(model);
            let fixture = fixtures.iter().find(|fixture| fixture.model == name).context("no fixture")?;
            let noise = Noise::of(fixture.images.values().flat_map(|picture| picture.samples()));
            parity::detector(&golden, Statistics::Stored(&running), noise, &device, |picture| {
                parity::picture(&shared.join("golden/images").join(picture), golden.mean, golden.std, &device)
            })
        })();
        report(name, result, &mut failures);
    }
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
}

fn report(name: &str, result: anyhow::Result<Deviation>, failures: &mut Vec<String>) {
    match result {
        Ok(deviation) if deviation.is_equal() => println!("{name}: {deviation:?}"),
        Ok(deviation) => failures.push(format!("{name}: {deviation:?}")),
        Err(error) => failures.push(format!("{name}: {error:#}")),
    }
}
