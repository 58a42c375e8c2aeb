//! Running our networks beside the reference's numbers.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use effdet_core::{Detection, ImageSize, XyxyBox};
use effdet_heads::Frame;
use effdet_model::{EfficientDetConfig, HeadOutputs, Predictor};
use effdet_nn::native::{self, DeviceProgram, Program, Workers};
use effdet_nn::{Recorded, record};
use effdet_weights::{Checkpoint, LoadOptions, load_into, parameter_shapes};

use crate::detections::{MatchTolerance, count_matches};
use crate::golden::{BackboneGolden, DetectorGolden, TensorSample};
use crate::synthetic::{self, Moments, RunningStatistics};

/// How far a network is from the reference.
#[derive(Clone, Debug, Default)]
pub struct Deviation {
    /// Largest difference at a sampled place, in standard deviations of its tensor.
    pub sampled: f64,
    /// Largest relative difference of a sum of absolute values.
    pub sum: f64,
    /// Largest of these differences as a part of what is allowed for its tensor.
    pub of_allowed: f64,
    /// Detections of the reference that have a partner, and all.
    pub detections: Option<(usize, usize)>,
    /// Of a hundred detections, how many must have one.
    pub matched_bound: usize,
    /// Whether the kernels of our own compute it, and so were compared too.
    pub native: bool,
}

/// How far a golden itself is from exact arithmetic.
///
/// Single precision rounds every operation, in an order that depends on library and machine. Networks that clip (ReLU6)
/// or add many branches amplify that; a golden made in single precision then differs from the exact result by more than
/// the bounds, and so must every implementation that is closer to it. The golden's own error is therefore added to what
/// is allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GoldenError {
    /// At the sampled places, in standard deviations of the tensor.
    pub sampled: f64,
    /// Of a sum of absolute values, relative.
    pub sum: f64,
}

/// What a network may be off by.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Largest difference at a sampled place, in standard deviations of its tensor.
    pub sampled: f64,
    /// Largest relative difference of a sum of absolute values.
    pub sum: f64,
    /// When a detection is the same.
    pub detection: MatchTolerance,
    /// Of a hundred detections, how many must be.
    pub matched: usize,
    /// Whether the network is compared as a composition of the framework's operations too, where it has an inference
    /// form. Finding the fastest kernels for all of these takes a device minutes.
    pub composed: bool,
}

impl Bounds {
    /// Single precision.
    pub const SINGLE: Self = Self {
        sampled: 1e-3,
        sum: 1e-4,
        detection: MatchTolerance { score: 1e-3, iou: 0.99, edge: 0.5 },
        matched: 98,
        composed: true,
    };

    /// With what the golden itself is off by.
    pub fn plus(self, error: GoldenError) -> Self {
        Self { sampled: self.sampled + error.sampled, sum: self.sum + error.sum, ..self }
    }
}

impl Deviation {
    /// Whether every tensor is within what is allowed, and enough detections are matched.
    pub fn is_equal(&self) -> bool {
        let matched = self.detections.is_none_or(|(matched, all)| matched * 100 >= all * self.matched_bound);
        self.of_allowed <= 1.0 && matched
    }

    fn compare(
        &mut self,
        name: &str,
        tensor: Tensor<4>,
        expected: &TensorSample,
        bounds: &Bounds,
    ) -> Result<()> {
        ensure!(
            tensor.dims().as_slice() == expected.shape,
            "{name} has shape {:?}, the reference's {:?}",
            tensor.dims(),
            expected.shape
        );
        let values = values(tensor)?;
        let sampled =
            values.iter().zip(&expected.first).chain(values.iter().rev().zip(expected.last.iter().rev()));
        // A constant tensor has no deviation to measure by.
        let scale = if expected.std > 0.0 { expected.std } else { 1.0 };
        let difference =
            sampled.map(|(actual, expected)| (f64::from(*actual) - expected).abs() / scale).fold(0.0, worst);
        let sum: f64 = values.iter().map(|value| f64::from(value.abs())).sum();
        let sum_difference = (sum - expected.sum_abs).abs() / expected.sum_abs.max(f64::MIN_POSITIVE);
        self.sampled = worst(self.sampled, difference);
        self.sum = worst(self.sum, sum_difference);
        self.of_allowed =
            worst(self.of_allowed, worst(difference / bounds.sampled, sum_difference / bounds.sum));
        Ok(())
    }
}

/// The larger, where not-a-number is larger than anything.
pub(crate) fn worst(a: f64, b: f64) -> f64 {
    // f64::max drops not-a-number on either side
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// Builds a backbone with synthetic weights and compares its features, and its class logits if the reference has them.
///
/// # Errors
/// If names or shapes differ from the reference's, or the weights do not load strictly.
pub fn backbone(
    name: &str,
    golden: &BackboneGolden,
    input: Tensor<4>,
    seed: u64,
    running: Statistics<'_>,
    bounds: &Bounds,
) -> Result<Deviation> {
    let device = input.device();
    let config = effdet_backbones::create(name)?;
    let features = config.feature_info()?;
    let channels: Vec<usize> = features.iter().map(|feature| feature.channels).collect();
    ensure!(channels == golden.channels, "channels {channels:?}, the reference's {:?}", golden.channels);
    let reductions: Vec<usize> = features.iter().map(|feature| feature.reduction).collect();
    ensure!(
        reductions == golden.reduction,
        "reductions {reductions:?}, the reference's {:?}",
        golden.reduction
    );

    let model = with_synthetic_weights(config.init(&device)?, seed, running)?;
    let mut deviation = Deviation::default();
    let native = native_maps(&input, &workers(), |input| model.forward(input));
    deviation.native = native.is_some();
    let composed = (bounds.composed || native.is_none()).then(|| model.forward(input.clone()));
    for maps in [composed, native].into_iter().flatten() {
        for (index, (map, expected)) in maps.into_iter().zip(&golden.features).enumerate() {
            deviation.compare(&format!("feature map {index}"), map, expected, bounds)?;
        }
    }
    if let Some(expected) = golden.logits.as_ref().filter(|_| bounds.composed) {
        let model = effdet_backbones::create(name)?.with_classifier(1000).init(&device)?;
        let model =
            with_synthetic_weights(model, seed, Statistics::Scattered(&golden.classifier_statistics))?;
        let logits = model.forward_classes(input).context("the network has no classifier")?;
        let logits: Tensor<4> = logits.unsqueeze_dims(&[2, 3]);
        let expected = TensorSample { shape: logits.dims().to_vec(), ..expected.clone() };
        deviation.compare("class logits", logits, &expected, bounds)?;
    }
    Ok(deviation)
}

/// Builds a detector with synthetic weights and compares features, head outputs and detections for every picture.
///
/// # Errors
/// If names or shapes differ from the reference's, or the weights do not load strictly.
pub fn detector(
    golden: &DetectorGolden,
    running: Statistics<'_>,
    bounds: &Bounds,
    device: &Device,
    mut input: impl FnMut(&str) -> Result<Tensor<4>>,
) -> Result<Deviation> {
    let [height, width] = golden.image_size;
    let config = EfficientDetConfig::named(&golden.model)?.with_image_size(ImageSize { height, width });
    let close = |ours: [f32; 3], theirs: [f32; 3]| ours.iter().zip(theirs).all(|(a, b)| (a - b).abs() < 1e-6);
    ensure!(close(config.mean, golden.mean), "mean {:?}, the reference's {:?}", config.mean, golden.mean);
    ensure!(close(config.std, golden.std), "deviation {:?}, the reference's {:?}", config.std, golden.std);

    let model = with_synthetic_weights(config.init(device)?, golden.seed, running)?;
    let predictor = Predictor::new(model, config);
    let mut deviation = Deviation::default();
    let workers = workers();
    let (mut matched, mut all) = (0, 0);
    for (name, expected) in &golden.images {
        let input = input(name)?;
        if bounds.composed {
            let features = predictor.model().backbone.forward(input.clone());
            ensure!(features.len() == expected.features.len(), "{} feature maps", features.len());
            for (index, (map, expected)) in features.into_iter().zip(&expected.features).enumerate() {
                deviation.compare(&format!("feature map {index}"), map, expected, bounds)?;
            }
        }
        let native = native_maps(&input, &workers, |input| in_one(predictor.model().forward(input)));
        deviation.native = native.is_some();
        let composed =
            (bounds.composed || native.is_none()).then(|| in_one(predictor.model().forward(input.clone())));
        for maps in [composed, native].into_iter().flatten() {
            ensure!(maps.len() == 2 * expected.class_logits.len(), "{} maps", maps.len());
            let expected = expected.class_logits.iter().chain(&expected.box_deltas);
            for (index, (map, expected)) in maps.into_iter().zip(expected).enumerate() {
                deviation.compare(&format!("output {index}"), map, expected, bounds)?;
            }
        }
        let frame = Frame { scale: 1.0, size: Some(ImageSize { height, width }), offset: (0.0, 0.0) };
        let detections = predictor.detect(input, &[Some(frame)])?.pop().context("no result")?;
        let expected: Vec<Detection> = expected.detections.iter().map(detection).collect();
        matched += count_matches(&expected, &detections, bounds.detection);
        all += expected.len();
    }
    deviation.detections = Some((matched, all));
    deviation.matched_bound = bounds.matched;
    Ok(deviation)
}

fn workers() -> Workers {
    Workers::new(std::thread::available_parallelism().map_or(1, usize::from))
}

/// Class logits of every level, then box codes.
fn in_one<M>(outputs: HeadOutputs<M>) -> Vec<M> {
    outputs.class_logits.into_iter().chain(outputs.box_deltas).collect()
}

/// What the kernels of our own compute, where they compute all of it on this device.
fn native_maps(
    input: &Tensor<4>,
    workers: &Workers,
    forward: impl FnOnce(Recorded) -> Vec<Recorded>,
) -> Option<Vec<Tensor<4>>> {
    let [batch, channels, height, width] = input.dims();
    if DeviceProgram::runs_on(&input.device()) {
        let graph = record([1, channels, height, width], forward).ok()?;
        return Some(DeviceProgram::compile(&graph).ok()?.forward(vec![input.clone()]));
    }
    if !native::runs_on(&input.device()) {
        return None;
    }
    let program = Program::compile(&record([1, channels, height, width], forward).ok()?).ok()?;
    let outputs = program.run(&values(input.clone()).ok()?, workers);
    let map = |map: usize| {
        let [channels, height, width] = outputs.shape(map);
        let all: Vec<f32> = (0..batch).flat_map(|picture| outputs.map(picture, map)).copied().collect();
        let data = TensorData::new(all, [batch, height, width, channels]);
        Tensor::<4>::from_data(data, &input.device()).permute([0, 3, 1, 2])
    };
    Some((0..outputs.maps()).map(map).collect())
}

/// Checks that a network has exactly the tensors of the reference's state dictionary.
///
/// # Errors
/// With the names that one side lacks or whose shapes differ.
pub fn same_state_dict<M: Module>(
    module: &M,
    reference: &std::collections::BTreeMap<String, Vec<usize>>,
) -> Result<()> {
    let ours: BTreeSet<_> = parameter_shapes(module).into_iter().collect();
    let theirs: BTreeSet<_> = reference
        .iter()
        .filter(|(name, _)| !name.ends_with("num_batches_tracked"))
        .map(|(name, shape)| (name.clone(), shape.clone()))
        .collect();
    let extra: Vec<_> = ours.difference(&theirs).take(5).collect();
    let lacking: Vec<_> = theirs.difference(&ours).take(5).collect();
    ensure!(
        extra.is_empty() && lacking.is_empty(),
        "only here: {extra:?}; only in the reference: {lacking:?}"
    );
    Ok(())
}

/// Where a network's running statistics come from.
#[derive(Clone, Copy, Debug)]
pub enum Statistics<'a> {
    /// Stored whole.
    Stored(&'a RunningStatistics),
    /// Scattered around one mean and variance for each layer.
    Scattered(&'a Moments),
}

pub(crate) fn with_synthetic_weights<M: Module>(
    module: M,
    seed: u64,
    statistics: Statistics<'_>,
) -> Result<M> {
    let scattered;
    let running = match statistics {
        Statistics::Stored(running) => running,
        Statistics::Scattered(moments) => {
            scattered = synthetic::scattered_statistics(&module, seed, moments);
            &scattered
        }
    };
    let file = tempfile::Builder::new().suffix(".safetensors").tempfile()?;
    synthetic::write_checkpoint(&module, seed, running, file.path())?;
    let checkpoint = Checkpoint::open(file.path())?;
    let (module, _) = load_into(module, &checkpoint, &LoadOptions::default())?;
    Ok(module)
}

/// A picture file, already at the network's size, normalised.
///
/// # Errors
/// If it cannot be read.
pub fn picture(path: &Path, mean: [f32; 3], std: [f32; 3], device: &Device) -> Result<Tensor<4>> {
    let picture = image::open(path).with_context(|| format!("reading {}", path.display()))?.to_rgb8();
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let pixels = picture.as_raw();
    let planes: Vec<f32> = (0..3)
        .flat_map(|channel| {
            let normalise = move |pixel: &u8| (f32::from(*pixel) / 255.0 - mean[channel]) / std[channel];
            pixels[channel..].iter().step_by(3).map(normalise)
        })
        .collect();
    Ok(Tensor::from_data(TensorData::new(planes, [1, 3, height, width]), device))
}

/// A picture of noise that is a pure function of seed and name, already normalised.
pub fn synthetic_picture(seed: u64, name: &str, [height, width]: [usize; 2], device: &Device) -> Tensor<4> {
    let values: Vec<f32> = synthetic::uniform(seed, name, 3 * height * width).map(|u| 1.5 * u).collect();
    Tensor::from_data(TensorData::new(values, [1, 3, height, width]), device)
}

fn detection(row: &[f64; 6]) -> Detection {
    let [x1, y1, x2, y2, score, class] = row.map(|value| value as f32);
    Detection { bbox: XyxyBox { x1, y1, x2, y2 }, score, class_id: class as u32 }
}

fn values(tensor: Tensor<4>) -> Result<Vec<f32>> {
    tensor.into_data().convert::<f32>().try_into_vec::<f32>().map_err(|error| anyhow::anyhow!("{error:?}"))
}
