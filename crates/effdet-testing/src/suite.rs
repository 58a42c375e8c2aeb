//! All networks against all goldens.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use burn::tensor::Device;

use crate::golden::{BackbonesGolden, DetectorGolden, StateDictShapes, read_json};
use crate::parity::{self, Bounds, Deviation, Statistics};
use crate::{fixtures, npz, synthetic};

/// What came of one network.
#[derive(Debug)]
pub struct Outcome {
    /// Its name.
    pub name: String,
    /// How far it is from the reference, or why that could not be found out.
    pub result: Result<Deviation>,
}

impl Outcome {
    /// Whether the network equals the reference.
    pub fn is_equal(&self) -> bool {
        self.result.as_ref().is_ok_and(Deviation::is_equal)
    }
}

/// The lines of those that differ.
pub fn differing(outcomes: &[Outcome]) -> String {
    let lines = outcomes.iter().filter(|outcome| !outcome.is_equal()).map(|outcome| match &outcome.result {
        Ok(deviation) => format!("{}: {deviation:?}\n", outcome.name),
        Err(error) => format!("{}: {error:#}\n", outcome.name),
    });
    lines.collect()
}

/// Every backbone that the fixtures have numbers for and `wanted` names; the largest are left to the shared reference
/// data. One after the other, as the outcomes are asked for.
pub fn fixture_backbones<'a>(
    device: &'a Device,
    bounds: &'a Bounds,
    wanted: impl Fn(&str) -> bool + 'a,
) -> impl Iterator<Item = Outcome> + 'a {
    let golden = fixtures::backbones();
    let input = parity::synthetic_picture(golden.seed, &golden.image, golden.image_size, device);
    let with_numbers = golden
        .backbones
        .into_iter()
        .filter(move |(name, expected)| !expected.features.is_empty() && wanted(name));
    with_numbers.map(move |(name, expected)| {
        let statistics = Statistics::Scattered(&expected.statistics);
        let result =
            caught(|| parity::backbone(&name, &expected, input.clone(), golden.seed, statistics, bounds));
        Outcome { name, result }
    })
}

/// Every detector that `wanted` names, one after the other, as the outcomes are asked for.
pub fn fixture_detectors<'a>(
    device: &'a Device,
    bounds: &'a Bounds,
    wanted: impl Fn(&str) -> bool + 'a,
) -> impl Iterator<Item = Outcome> + 'a {
    let goldens = fixtures::detectors().into_iter().filter(move |golden| wanted(&golden.model));
    goldens.map(move |golden| {
        let result = caught(|| {
            let model = effdet_model::EfficientDetConfig::named(&golden.model)?.init(device)?;
            ensure!(
                synthetic::state_dict_digest(&model) == golden.state_dict,
                "other tensors than the reference's"
            );
            let statistics = Statistics::Scattered(&golden.statistics);
            parity::detector(&golden, statistics, bounds, device, |name| {
                Ok(parity::synthetic_picture(golden.seed, name, golden.image_size, device))
            })
        });
        Outcome { name: golden.model, result }
    })
}

/// A backend that has not learned an operation panics; the networks after it are still compared.
fn caught(compare: impl FnOnce() -> Result<Deviation>) -> Result<Deviation> {
    catch_unwind(AssertUnwindSafe(compare)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or(panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
        bail!("panic: {}", text.lines().next().unwrap_or_default())
    })
}

/// Every backbone, against the shared reference data.
///
/// # Errors
/// If the data cannot be read.
pub fn shared_backbones(shared: &Path, device: &Device) -> Result<Vec<Outcome>> {
    let golden: BackbonesGolden = read_json(&shared.join("golden/backbones/features.json"))?;
    let shapes: StateDictShapes = read_json(&shared.join("golden/backbones/state-dict-shapes.json.gz"))?;
    let statistics = npz::read(&shared.join("golden/backbones/running-stats.npz"))?;
    let picture = shared.join("golden/images").join(&golden.image);
    let input = parity::picture(&picture, golden.mean, golden.std, device)?;
    let outcomes = golden.backbones.iter().map(|(name, expected)| {
        let prefix = format!("{name}/");
        let running: HashMap<String, Vec<f32>> = statistics
            .iter()
            .filter_map(|(key, values)| Some((key.strip_prefix(&prefix)?.to_owned(), values.clone())))
            .collect();
        let result = (|| {
            let model = effdet_backbones::create(name)?.init(device)?;
            parity::same_state_dict(&model, shapes.get(name).context("no shapes")?)?;
            drop(model);
            let statistics = Statistics::Stored(&running);
            parity::backbone(name, expected, input.clone(), golden.seed, statistics, &Bounds::SINGLE)
        })();
        Outcome { name: name.clone(), result }
    });
    Ok(outcomes.collect())
}

/// Every detector, against the shared reference data.
///
/// # Errors
/// If the data cannot be read.
pub fn shared_detectors(shared: &Path, device: &Device) -> Result<Vec<Outcome>> {
    let shapes: StateDictShapes = read_json(&shared.join("golden/state-dict-shapes.json.gz"))?;
    let errors = fixtures::golden_errors();
    let outcomes = effdet_model::model_names().map(|name| {
        let result = (|| {
            let golden: DetectorGolden = read_json(&shared.join(format!("golden/detections/{name}.json")))?;
            let running = npz::read(&shared.join(format!("golden/running-stats/{name}.npz")))?;
            let model = effdet_model::EfficientDetConfig::named(name)?.init(device)?;
            parity::same_state_dict(&model, shapes.get(name).context("no shapes")?)?;
            drop(model);
            let error = *errors.get(name).context("the golden's own error is not known")?;
            let bounds = Bounds::SINGLE.plus(error);
            parity::detector(&golden, Statistics::Stored(&running), &bounds, device, |picture| {
                parity::picture(&shared.join("golden/images").join(picture), golden.mean, golden.std, device)
            })
        })();
        Outcome { name: name.to_owned(), result }
    });
    Ok(outcomes.collect())
}
