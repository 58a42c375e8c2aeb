//! Loss, gradients and updated running statistics of a training step against the reference's.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Device, Gradients, Tensor, TensorData};
use effdet_core::{ImageSize, YxyxBox};
use effdet_heads::{Anchors, BatchTargets, DetectionLossConfig, LossParts, MatchOptions, Truth};
use effdet_model::{EfficientDet, EfficientDetConfig, HeadOutputs};
use effdet_weights::{Checkpoint, parameter_shapes};
use serde::Deserialize;

use crate::parity::{Statistics, with_synthetic_weights, worst};
use crate::synthetic::{Moments, uniform};

/// What `tools/golden/make_gradients.py` wrote.
#[derive(Clone, Debug, Deserialize)]
pub struct GradientsGolden {
    /// Seed of weights, pictures, objects and directions.
    pub seed: u64,
    /// Height and width of the pictures.
    pub side: usize,
    /// Number of pictures.
    pub batch: usize,
    /// The detectors.
    pub models: Vec<ModelGolden>,
}

/// The reference's step of one detector.
#[derive(Clone, Debug, Deserialize)]
pub struct ModelGolden {
    /// Name of the configuration.
    pub model: String,
    /// Moments of its running statistics before the step.
    pub statistics: Moments,
    /// Number of positive anchors in the batch.
    pub num_positives: usize,
    /// By the mode of the batch norms.
    pub modes: BTreeMap<Mode, StepGolden>,
}

/// Mode of the batch norms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Statistics of the batch.
    Training,
    /// Running statistics.
    Evaluation,
}

/// Norm, product with the direction, first value.
pub type Description = [f64; 3];

/// What the reference computed in one step.
#[derive(Clone, Debug, Deserialize)]
pub struct StepGolden {
    /// The loss.
    pub total: f64,
    /// Its class part.
    pub class: f64,
    /// Its box part.
    pub boxes: f64,
    /// By parameter.
    pub gradients: BTreeMap<String, Description>,
    /// Running statistics after the step.
    #[serde(default)]
    pub running: BTreeMap<String, Description>,
    /// How far the reference's own gradients in single precision are from these, in units of 1e-3 of a gradient's norm
    /// plus 1e-6 of the largest.
    #[serde(default)]
    pub single: f64,
}

/// What `tools/golden/make_training_steps.py` wrote: ten steps on one batch, batch norms in training mode.
#[derive(Clone, Debug, Deserialize)]
pub struct TrainingStepsGolden {
    /// Name of the configuration.
    pub model: String,
    /// Seed of weights, pictures, objects and directions.
    pub seed: u64,
    /// Height and width of the pictures.
    pub side: usize,
    /// Number of pictures.
    pub batch: usize,
    /// Moments of the running statistics before the first step.
    pub statistics: Moments,
    /// One for each optimiser.
    pub runs: Vec<RunGolden>,
}

/// Ten steps of one optimiser, with PyTorch's meaning of every option.
#[derive(Clone, Debug, Deserialize)]
pub struct RunGolden {
    /// `sgd` or `adamw`.
    pub optimizer: String,
    /// Constant learning rate.
    pub lr: f64,
    /// Momentum of SGD; no dampening, no Nesterov.
    #[serde(default)]
    pub momentum: f64,
    /// Coefficients of AdamW's averages.
    #[serde(default)]
    pub betas: [f64; 2],
    /// Added to AdamW's denominator.
    #[serde(default)]
    pub eps: f64,
    /// Weight decay of the parameters with more than one axis whose name does not end in `.bias`; the others have none.
    pub weight_decay: f64,
    /// Loss, class part and box part before each step.
    pub losses: Vec<[f64; 3]>,
    /// Every parameter and running statistic after the last step.
    #[serde(rename = "final")]
    pub last: BTreeMap<String, Description>,
}

/// What we computed in one step.
#[derive(Clone, Debug)]
pub struct Step {
    /// Loss, class part and box part.
    pub loss: [f64; 3],
    /// By parameter; zeros for those that the loss does not depend on.
    pub gradients: BTreeMap<String, Vec<f64>>,
    /// Running statistics after the step.
    pub running: BTreeMap<String, Vec<f64>>,
}

/// Pictures of noise, `[batch, 3, side, side]`.
pub fn pictures(seed: u64, batch: usize, side: usize, device: &Device, dtype: DType) -> Tensor<4> {
    let picture = |i: usize| uniform(seed, &format!("picture {i}"), 3 * side * side);
    let values: Vec<f32> = (0..batch).flat_map(picture).map(|u| 1.5 * u).collect();
    Tensor::from_data(TensorData::new(values, [batch, 3, side, side]), (device, dtype))
}

/// Objects of every picture, picture `i` having `3 i`.
pub fn objects(seed: u64, batch: usize, side: usize, classes: usize) -> Vec<Vec<Truth>> {
    let side = side as f32;
    let unit = |u: f32| u * 0.5 + 0.5;
    let object = |u: &[f32]| {
        let centre = [unit(u[0]) * side, unit(u[1]) * side];
        let half = [u[2], u[3]].map(|u| (0.05 + unit(u) * 0.45) * side * 0.5);
        let bbox =
            YxyxBox::new(centre[0] - half[0], centre[1] - half[1], centre[0] + half[0], centre[1] + half[1]);
        Truth::new(bbox, (unit(u[4]) * classes as f32) as u32)
    };
    let picture = |i: usize| {
        let values: Vec<f32> = uniform(seed, &format!("objects {i}"), 15 * i).collect();
        values.chunks_exact(5).map(object).collect()
    };
    (0..batch).map(picture).collect()
}

/// The configuration without drop path.
///
/// # Errors
/// If there is none of this name.
pub fn config(name: &str, side: usize) -> Result<EfficientDetConfig> {
    let config = EfficientDetConfig::named(name)?;
    Ok(EfficientDetConfig { drop_path_rate: 0.0, image_size: ImageSize::square(side), ..config })
}

/// The detector with synthetic weights, every parameter recording gradients, batch norms in the mode asked for.
///
/// # Errors
/// If the weights do not load strictly.
pub fn model(
    config: &EfficientDetConfig,
    seed: u64,
    statistics: &Moments,
    mode: Mode,
    dtype: DType,
) -> Result<EfficientDet> {
    let plain = Device::flex();
    // A layer built where no gradients are recorded is in evaluation mode and stays so.
    let device = if mode == Mode::Training { plain.autodiff() } else { plain };
    let model = with_synthetic_weights(config.init(&device)?, seed, Statistics::Scattered(statistics))?;
    Ok(model.map(&mut Leaves { dtype }))
}

/// Makes every parameter a leaf of the given type.
struct Leaves {
    dtype: DType,
}

impl ModuleMapper for Leaves {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, value, _) = param.consume();
        Param::initialized(id, value.inner().cast(self.dtype).autodiff().require_grad())
    }
}

/// The targets of the synthetic objects.
///
/// # Errors
/// If anchors cannot be made.
pub fn targets(
    config: &EfficientDetConfig,
    seed: u64,
    batch: usize,
    outputs: &HeadOutputs,
) -> Result<BatchTargets> {
    let ImageSize { height: side, .. } = config.image_size;
    let anchors = Anchors::for_features(&config.anchor_config(), config.image_size, &outputs.level_sizes())?;
    let truths = objects(seed, batch, side, config.num_classes);
    Ok(BatchTargets::assign(&Arc::new(anchors), &truths, &MatchOptions::default())?)
}

/// One forward and backward pass.
///
/// # Errors
/// If outputs and targets do not fit, or the device fails.
pub fn step(
    seed: u64,
    batch: usize,
    config: &EfficientDetConfig,
    model: &EfficientDet,
    dtype: DType,
) -> Result<(Step, usize)> {
    let device = Device::flex().autodiff();
    let outputs = model.forward(pictures(seed, batch, config.image_size.height, &device, dtype));
    let targets = targets(config, seed, batch, &outputs)?;
    let loss = DetectionLossConfig::default().init()?;
    let LossParts { total, class, boxes } =
        loss.forward(&outputs.class_logits, &outputs.box_deltas, &targets)?;
    let parts = [total.clone(), class, boxes].map(|part| part.inner());
    let gradients = total.backward();
    let mut collected = Collect { gradients: &gradients, found: Vec::new() };
    model.visit(&mut collected);
    let mut step = Step { loss: [0.0; 3], gradients: BTreeMap::new(), running: BTreeMap::new() };
    for (value, part) in step.loss.iter_mut().zip(parts) {
        *value = doubles(part)?.first().copied().context("the loss is empty")?;
    }
    for ((name, _), (value, gradient)) in parameter_shapes(model).into_iter().zip(collected.found) {
        if name.ends_with("running_mean") || name.ends_with("running_var") {
            step.running.insert(name, doubles(value)?);
        } else {
            let gradient = gradient.unwrap_or_else(|| value.zeros_like());
            step.gradients.insert(name, doubles(gradient)?);
        }
    }
    Ok((step, targets.num_positives()))
}

struct Collect<'a> {
    gradients: &'a Gradients,
    found: Vec<(Tensor<1>, Option<Tensor<1>>)>,
}

impl ModuleVisitor for Collect<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        let flat = |tensor: Tensor<D>| {
            let count = tensor.shape().num_elements();
            tensor.inner().reshape([count])
        };
        let gradient = value.grad(self.gradients).map(flat);
        self.found.push((flat(value), gradient));
    }
}

fn doubles(tensor: Tensor<1>) -> Result<Vec<f64>> {
    let data = tensor.into_data().convert::<f64>();
    data.try_into_vec::<f64>().map_err(|error| anyhow::anyhow!("{error:?}"))
}

/// How far a step is from the reference's.
#[derive(Clone, Debug, Default)]
pub struct StepDeviation {
    /// Largest relative difference of the loss or a part.
    pub loss: f64,
    /// Largest difference of a gradient, in units of what is allowed, and where it is.
    pub gradient: (f64, String),
    /// Largest difference of running statistics relative to their norm.
    pub running: (f64, String),
    /// Number of gradients compared.
    pub compared: usize,
}

/// Largest norm of a gradient counts with this factor in what a gradient may be off by.
const OF_LARGEST: f64 = 1e-6;

impl StepDeviation {
    /// Whether everything is within `tolerance`.
    pub fn is_equal(&self, tolerance: f64) -> bool {
        self.loss <= tolerance && self.gradient.0 <= 1.0 && self.running.0 <= tolerance && self.compared > 0
    }

    /// Compares norm, product with the direction and first value of every tensor.
    ///
    /// # Errors
    /// If the names differ.
    pub fn of_descriptions(step: &Step, golden: &StepGolden, seed: u64, tolerance: f64) -> Result<Self> {
        let largest = golden.gradients.values().map(|[norm, ..]| *norm).fold(0.0, f64::max);
        let distance = |name: &str, values: &[f64], [norm, product, first]: &Description| {
            let direction: Vec<f64> =
                uniform(seed, &format!("direction {name}"), values.len()).map(f64::from).collect();
            let length = direction.iter().map(|d| d * d).sum::<f64>().sqrt();
            let own: f64 = values.iter().zip(&direction).map(|(value, d)| value * d).sum();
            let off = [l2(values) - norm, (own - product) / length, values.first().unwrap_or(&0.0) - first];
            // eight digits are stored
            (off.into_iter().fold(0.0, |most, off| worst(most, off.abs())), *norm)
        };
        Self::of(step, golden, largest, tolerance, |name, values, golden| Ok(distance(name, values, golden)))
    }

    /// Compares every value with those in a file that the script wrote with `--full`.
    ///
    /// # Errors
    /// If the file cannot be read or names differ.
    pub fn of_file(step: &Step, golden: &StepGolden, path: &Path, tolerance: f64) -> Result<Self> {
        let file = Checkpoint::open(path)?;
        let largest = golden.gradients.values().map(|[norm, ..]| *norm).fold(0.0, f64::max);
        Self::of(step, golden, largest, tolerance, |name, values, _| {
            let expected = file.read_f32(name)?;
            ensure!(
                values.len() == expected.len(),
                "{name}: {} values, not {}",
                values.len(),
                expected.len()
            );
            let off: Vec<f64> = values.iter().zip(&expected).map(|(a, b)| a - f64::from(*b)).collect();
            let expected: Vec<f64> = expected.into_iter().map(f64::from).collect();
            Ok((l2(&off), l2(&expected)))
        })
    }

    fn of(
        step: &Step,
        golden: &StepGolden,
        largest: f64,
        tolerance: f64,
        distance: impl Fn(&str, &[f64], &Description) -> Result<(f64, f64)>,
    ) -> Result<Self> {
        let mut deviation = Self::default();
        for (actual, expected) in step.loss.into_iter().zip([golden.total, golden.class, golden.boxes]) {
            deviation.loss = worst(deviation.loss, (actual - expected).abs() / expected.abs());
        }
        let ours: Vec<&String> = step.gradients.keys().collect();
        ensure!(ours == golden.gradients.keys().collect::<Vec<_>>(), "other parameters than the reference's");
        for (name, values) in &step.gradients {
            let (off, norm) = distance(name, values, &golden.gradients[name])?;
            let part = off / (tolerance * norm + OF_LARGEST * largest);
            raise(&mut deviation.gradient, part, name);
            deviation.compared += 1;
        }
        for (name, expected) in &golden.running {
            let values = step.running.get(name).with_context(|| format!("no {name}"))?;
            let (off, norm) = distance(name, values, expected)?;
            raise(&mut deviation.running, off / norm, name);
        }
        Ok(deviation)
    }
}

fn l2(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>().sqrt()
}

/// Takes a value and its name if it is the larger.
fn raise(most: &mut (f64, String), value: f64, name: &str) {
    if worst(most.0, value).total_cmp(&most.0).is_ne() {
        *most = (value, name.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_off_is_found_and_named() {
        let values = vec![3.0, -4.0, 0.5, 1.0];
        let direction: Vec<f64> = uniform(1, "direction b", 4).map(f64::from).collect();
        let product: f64 = values.iter().zip(&direction).map(|(value, d)| value * d).sum();
        let description = [l2(&values), product, 3.0];
        let named = |value: Description| BTreeMap::from([("b".to_owned(), value)]);
        let golden = StepGolden {
            total: 2.0,
            class: 1.0,
            boxes: 0.02,
            gradients: named(description),
            running: named(description),
            single: 0.0,
        };
        let step = |last: f64| {
            let values = BTreeMap::from([("b".to_owned(), vec![3.0, -4.0, 0.5, last])]);
            Step { loss: [2.0, 1.0, 0.02], gradients: values.clone(), running: values }
        };
        let compare = |step: &Step| StepDeviation::of_descriptions(step, &golden, 1, 1e-4).unwrap();
        assert!(compare(&step(1.0)).is_equal(1e-4));
        for off in [1.01, 0.99, f64::NAN] {
            let deviation = compare(&step(off));
            assert!(!deviation.is_equal(1e-4), "{deviation:?}");
            assert_eq!((deviation.gradient.1.as_str(), deviation.running.1.as_str()), ("b", "b"));
        }
        let loss = Step { loss: [2.0, 1.001, 0.02], ..step(1.0) };
        assert!(!compare(&loss).is_equal(1e-4));
    }
}
