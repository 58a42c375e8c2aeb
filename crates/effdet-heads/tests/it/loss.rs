//! Losses and their gradients against the reference.
//!
//! The fixture is written by `tools/golden/make_losses.py`.

use std::sync::Arc;

use burn::tensor::{DType, Device, Tensor, TensorData};
use effdet_core::{ImageSize, YxyxBox};
use effdet_heads::targets::{BACKGROUND, IGNORED};
use effdet_heads::{
    AnchorConfig, AnchorLabels, Anchors, BatchTargets, BoxLoss, DetectionLossConfig, Error, MatchOptions,
    Normalizer, Truth,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    image_size: [usize; 2],
    num_classes: usize,
    truths: Vec<Vec<Object>>,
    num_positives: usize,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Object {
    #[serde(rename = "box")]
    bbox: YxyxBox,
    class: u32,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    #[serde(flatten)]
    config: DetectionLossConfig,
    ignored_step: Option<usize>,
    scale: f64,
    total: f64,
    class: f64,
    boxes: f64,
    gradients: Vec<Gradient>,
}

#[derive(Deserialize)]
struct Gradient {
    norm: f64,
    projection: f64,
    first: Vec<f64>,
}

impl Fixture {
    fn read() -> Self {
        serde_json::from_str(include_str!("../fixtures/losses.json")).unwrap()
    }

    fn targets(&self, ignored_step: Option<usize>) -> BatchTargets {
        let [height, width] = self.image_size;
        let anchors = Anchors::generate(&AnchorConfig::default(), ImageSize::new(height, width)).unwrap();
        let anchors = Arc::new(anchors);
        let truths: Vec<Vec<Truth>> = self
            .truths
            .iter()
            .map(|objects| objects.iter().map(|object| Truth::new(object.bbox, object.class)).collect())
            .collect();
        let targets = BatchTargets::assign(&anchors, &truths, &MatchOptions::default()).unwrap();
        let Some(step) = ignored_step else { return targets };
        // every so many-th anchor of a level, counted through the batch
        let mut labels: Vec<AnchorLabels> = targets.labels().to_vec();
        for level in 0..anchors.levels().len() {
            let range = anchors.level_range(level);
            for place in (0..labels.len() * range.len()).step_by(step) {
                let class = &mut labels[place / range.len()].classes[range.start + place % range.len()];
                if *class == BACKGROUND {
                    *class = IGNORED;
                }
            }
        }
        BatchTargets::new(anchors, labels).unwrap()
    }

    /// The sines that the script gives to the reference.
    fn outputs(
        &self,
        channels: usize,
        scale: f64,
        shift: f64,
        targets: &BatchTargets,
        to: (&Device, DType),
    ) -> Vec<Tensor<4>> {
        let levels = targets.anchors().levels().iter().enumerate();
        let output = |(index, level): (usize, &effdet_heads::AnchorLevel)| {
            let dims = [self.truths.len(), channels, level.feature_size.height, level.feature_size.width];
            let values: Vec<f64> = (0..dims.iter().product::<usize>())
                .map(|i| scale * (0.7 * i as f64 + 0.013 * (i % 101) as f64 + index as f64).sin() + shift)
                .collect();
            let output = Tensor::<4>::from_data(TensorData::new(values, dims), to);
            if output.is_autodiff() { output.require_grad() } else { output }
        };
        levels.map(output).collect()
    }
}

fn doubles<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().convert::<f64>().try_into_vec::<f64>().unwrap()
}

fn compare(dtype: DType, tolerance: f64) {
    let fixture = Fixture::read();
    assert_eq!(fixture.cases.len(), 12);
    let device = Device::flex().autodiff();
    for case in &fixture.cases {
        let targets = fixture.targets(case.ignored_step);
        assert_eq!(targets.num_positives(), fixture.num_positives);
        let logits = fixture.outputs(9 * fixture.num_classes, case.scale, -2.0, &targets, (&device, dtype));
        let deltas = fixture.outputs(36, 0.5, 0.0, &targets, (&device, dtype));
        let loss = case.config.init().unwrap().forward(&logits, &deltas, &targets).unwrap();
        for (what, actual, expected) in [
            ("total", &loss.total, case.total),
            ("class", &loss.class, case.class),
            ("boxes", &loss.boxes, case.boxes),
        ] {
            let actual = doubles(actual.clone())[0];
            let off = (actual - expected).abs() / expected;
            assert!(off < tolerance, "{}: {what} {actual} != {expected}", case.name);
        }
        let gradients = loss.total.backward();
        let largest = case.gradients.iter().map(|gradient| gradient.norm).fold(0.0, f64::max);
        for (index, (output, expected)) in logits.iter().chain(&deltas).zip(&case.gradients).enumerate() {
            let actual = doubles(output.grad(&gradients).unwrap());
            let norm = actual.iter().map(|g| g * g).sum::<f64>().sqrt();
            let projection: f64 = actual.iter().enumerate().map(|(i, g)| g * (i as f64).cos()).sum();
            let bound = tolerance * expected.norm + 1e-2 * tolerance * largest;
            let message = format!("{}: gradient {index}: {norm}, expected {}", case.name, expected.norm);
            assert!((norm - expected.norm).abs() <= bound, "{message}");
            assert!((projection - expected.projection).abs() <= bound, "{message} (projection)");
            for (a, b) in actual.iter().zip(&expected.first) {
                assert!((a - b).abs() <= bound, "{message}: {a} != {b}");
            }
        }
    }
}

#[test]
fn losses_and_gradients_equal_the_reference_in_double_precision() {
    // labels are in single precision on both sides, and logarithms in them may differ in the last bit
    compare(DType::F64, 3e-7);
}

#[test]
fn losses_and_gradients_equal_the_reference_in_single_precision() {
    compare(DType::F32, 2e-5);
}

#[test]
fn without_a_graph_the_loss_is_the_same() {
    let fixture = Fixture::read();
    let targets = fixture.targets(None);
    let device = Device::flex();
    let total = |device: &Device| {
        let logits = fixture.outputs(27, 4.0, -2.0, &targets, (device, DType::F32));
        let deltas = fixture.outputs(36, 0.5, 0.0, &targets, (device, DType::F32));
        let loss = DetectionLossConfig::default().init().unwrap();
        doubles(loss.forward(&logits, &deltas, &targets).unwrap().total)
    };
    // With a graph the terms are added up in another order.
    let (plain, tracked) = (total(&device)[0], total(&device.clone().autodiff())[0]);
    assert!((plain - tracked).abs() < 1e-6 * plain.abs(), "{plain} {tracked}");
}

#[test]
fn extreme_logits_give_a_finite_loss_and_gradient() {
    let fixture = Fixture::read();
    let targets = fixture.targets(None);
    let device = Device::flex().autodiff();
    for kind in [BoxLoss::Huber, BoxLoss::Iou, BoxLoss::Giou, BoxLoss::Diou, BoxLoss::Ciou] {
        let logits = fixture.outputs(27, 1e4, 0.0, &targets, (&device, DType::F32));
        let deltas = fixture.outputs(36, 1e3, 0.0, &targets, (&device, DType::F32));
        let config = DetectionLossConfig { box_loss: kind, ..DetectionLossConfig::default() };
        let loss = config.init().unwrap().forward(&logits, &deltas, &targets).unwrap();
        assert!(doubles(loss.total.clone())[0].is_finite(), "{kind:?}");
        let gradients = loss.total.backward();
        for output in logits.iter().chain(&deltas) {
            assert!(doubles(output.grad(&gradients).unwrap()).iter().all(|g| g.is_finite()), "{kind:?}");
        }
    }
}

#[test]
fn an_empty_batch_teaches_background_and_leaves_the_boxes_alone() {
    let fixture = Fixture { truths: vec![vec![]], ..Fixture::read() };
    let targets = fixture.targets(None);
    let device = Device::flex().autodiff();
    for kind in [BoxLoss::Huber, BoxLoss::Ciou] {
        let logits = fixture.outputs(27, 4.0, -2.0, &targets, (&device, DType::F32));
        let deltas = fixture.outputs(36, 0.5, 0.0, &targets, (&device, DType::F32));
        let config = DetectionLossConfig { box_loss: kind, ..DetectionLossConfig::default() };
        let loss = config.init().unwrap().forward(&logits, &deltas, &targets).unwrap();
        assert_eq!(doubles(loss.boxes.clone()), [0.0]);
        assert!(doubles(loss.class.clone())[0] > 0.0);
        let gradients = loss.total.backward();
        assert!(doubles(logits[0].grad(&gradients).unwrap()).iter().all(|g| *g != 0.0));
        for deltas in &deltas {
            assert!(doubles(deltas.grad(&gradients).unwrap()).iter().all(|g| *g == 0.0));
        }
    }
}

#[test]
fn outputs_that_do_not_fit_are_refused() {
    let fixture = Fixture::read();
    let targets = fixture.targets(None);
    let to = (&Device::flex(), DType::F32);
    let logits = fixture.outputs(27, 4.0, -2.0, &targets, to);
    let deltas = fixture.outputs(36, 0.5, 0.0, &targets, to);
    let loss = DetectionLossConfig::default().init().unwrap();
    let refused =
        |logits: &[Tensor<4>], deltas: &[Tensor<4>]| loss.forward(logits, deltas, &targets).unwrap_err();
    assert!(matches!(refused(&logits[1..], &deltas), Error::LevelCount { .. }));
    assert!(matches!(refused(&logits, &logits), Error::OutputShape { level: 3, .. }));
    let two = fixture.outputs(18, 4.0, -2.0, &targets, to);
    assert!(matches!(refused(&two, &deltas), Error::ClassRange { class: 2, num_classes: 2, .. }));
    let config = DetectionLossConfig { class_weights: Some(vec![1.0; 2]), ..Default::default() };
    let error = config.init().unwrap().forward(&logits, &deltas, &targets).unwrap_err();
    assert_eq!(error.to_string(), "number of class weights is 2, expected one per class");
    let config = DetectionLossConfig { class_weights: Some(vec![1.0, -2.0, 1.0]), ..Default::default() };
    assert_eq!(
        config.init().unwrap_err().to_string(),
        "a class weight is -2 for class 1 (counted from 0), expected at least 0"
    );
    let none = BatchTargets::new(Arc::new(targets.anchors().clone()), Vec::new()).unwrap();
    let error = loss.forward(&logits, &deltas, &none).unwrap_err();
    assert_eq!(error.to_string(), "batch size is 0, expected at least 1");
    let config = DetectionLossConfig { alpha: 2.0, ..Default::default() };
    assert_eq!(config.init().unwrap_err().to_string(), "alpha is 2, expected between 0 and 1");
}

#[test]
fn the_normaliser_follows_the_counts_with_its_momentum() {
    let fixture = Fixture::read();
    let count = fixture.num_positives as f64 + 1.0;
    let (many, none) =
        (fixture.targets(None), Fixture { truths: vec![vec![]], ..Fixture::read() }.targets(None));
    let mut per_step = Normalizer::default();
    assert_eq!([per_step.next(&many), per_step.next(&none)], [count, 1.0]);
    let mut moving = Normalizer::with_momentum(0.75).unwrap();
    assert_eq!([moving.next(&many), moving.next(&none)], [count, 0.75 * count + 0.25]);
    let stored: Normalizer = serde_json::from_str(&serde_json::to_string(&moving).unwrap()).unwrap();
    assert_eq!(stored, moving);
    assert!(Normalizer::with_momentum(1.0).is_err());
}
