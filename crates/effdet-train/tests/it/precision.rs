//! Training with convolutions in half precision.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::common;
use burn::tensor::{DType, Device};
use effdet_data::Dataset;
use effdet_train::{
    Callback, CheckpointPolicy, Control, DataLoader, DefaultModule, DetectorModel, Ending, Engine, Error,
    Event, LossScale, LossScaling, Precision, Rule, RunFiles, Session, StepContext, StepLoss, StepReport,
    TrainBatch, TrainConfig, TrainModule, assign, values,
};

fn weights(model: &DetectorModel) -> BTreeMap<String, Vec<f32>> {
    let named = values(&model.network).into_iter();
    named
        .map(|(name, value)| {
            assert_eq!(value.dtype(), DType::F32);
            (name, value.into_data().try_to_vec().unwrap())
        })
        .collect()
}

/// What a run leaves, and what it said.
struct Outcome {
    ending: Ending,
    steps: Vec<StepReport>,
    /// Step and new factor.
    overflows: Vec<(u64, f64)>,
    weights: BTreeMap<String, Vec<f32>>,
    scale: Option<LossScale>,
}

fn train(
    start: &DetectorModel,
    (dataset, batch_size): (&Dataset, usize),
    config: &TrainConfig,
    module: &mut dyn TrainModule,
    folder: Option<&Path>,
    stop_after: Option<usize>,
) -> Result<Outcome, Error> {
    let mut model = start.replica(&Device::flex());
    let train = DataLoader::train(dataset.clone(), model.preprocess(), batch_size, 7)?;
    let (mut steps, mut overflows) = (Vec::new(), Vec::new());
    let note = |event: &Event<'_>| {
        match event {
            Event::Step(report) => steps.push(**report),
            Event::Overflow { step, factor } => overflows.push((*step, *factor)),
            _ => {}
        }
        let made = steps.len() + overflows.len();
        if stop_after == Some(made) { Control::Stop } else { Control::Continue }
    };
    let mut session = Session::default();
    let callbacks: Vec<Box<dyn Callback + '_>> = vec![Box::new(note)];
    let engine = Engine {
        model: &mut model,
        module,
        train: &train,
        valid: None,
        metrics: &[],
        callbacks,
        folder,
        session: &mut session,
        collective: None,
    };
    let ending = engine.run(std::slice::from_ref(config), true)?;
    Ok(Outcome { ending, steps, overflows, weights: weights(&model), scale: session.state.loss_scale })
}

fn sgd(lr: f64) -> TrainConfig {
    let schedule = effdet_train::Schedule {
        curve: effdet_train::Curve::Constant,
        ..effdet_train::Schedule::one_cycle()
    };
    TrainConfig { epochs: 2, lr, optimizer: Rule::sgd(), schedule, ..TrainConfig::default() }
}

#[test]
fn a_scaled_loss_changes_nothing_in_single_precision() {
    let pictures = tempfile::tempdir().unwrap();
    let dataset = common::pictures(pictures.path(), 6);
    let start = common::model(3);
    let plain = train(&start, (&dataset, 2), &sgd(1e-3), &mut DefaultModule, None, None).unwrap();
    let scaling = LossScaling { interval: 2, ..LossScaling::default() };
    let config = TrainConfig { loss_scaling: Some(scaling), ..sgd(1e-3) };
    let scaled = train(&start, (&dataset, 2), &config, &mut DefaultModule, None, None).unwrap();
    assert_eq!(plain.scale, None);
    // Six steps, growth after every second.
    assert_eq!(scaled.scale, Some(LossScale { factor: 65536.0 * 8.0, steps: 0, overflows: 0 }));
    for (plain, scaled) in plain.steps.iter().zip(&scaled.steps) {
        let off = (plain.losses.total - scaled.losses.total).abs() / plain.losses.total;
        assert!(off < 1e-5, "{} for {}", scaled.losses.total, plain.losses.total);
    }
    let before = weights(&start);
    let distance = |a: &BTreeMap<String, Vec<f32>>, b: &BTreeMap<String, Vec<f32>>| {
        let pairs = a.iter().flat_map(|(name, a)| a.iter().zip(&b[name]));
        pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
    };
    let (off, way) = (distance(&plain.weights, &scaled.weights), distance(&plain.weights, &before));
    assert!(off < 1e-5 * way, "{off} off after a way of {way}");
}

/// Root mean square of the relative distances between the losses of two runs, step by step.
fn apart(one: &Outcome, other: &Outcome) -> f64 {
    assert_eq!(one.steps.len(), other.steps.len());
    let pairs = one.steps.iter().zip(&other.steps);
    let squares = pairs.map(|(one, other)| (1.0 - other.losses.total / one.losses.total).powi(2));
    (squares.sum::<f64>() / one.steps.len() as f64).sqrt()
}

/// The model with weights that `precision` represents.
fn rounded(model: &DetectorModel, precision: DType) -> DetectorModel {
    let mut model = model.replica(&Device::flex());
    let weights = values(&model.network).into_iter();
    let weights = weights.map(|(name, value)| (name, value.cast(precision).cast(DType::F32))).collect();
    model.network = assign(model.network, weights);
    model
}

#[test]
fn half_precision_trains_as_single_does_on_weights_of_single_precision() {
    let pictures = tempfile::tempdir().unwrap();
    let dataset = common::pictures(pictures.path(), 24);
    // A batch norm over the two values that two pictures have at the coarsest level would tell their sign alone.
    let data = (&dataset, 8);
    let run = |start: &DetectorModel, config: &TrainConfig| {
        let run = train(start, data, config, &mut DefaultModule, None, None).unwrap();
        assert_eq!(run.ending, Ending::Finished);
        assert_eq!(run.overflows, []);
        run
    };
    // How much a fresh network with few values at the coarsest levels makes of a rounding depends on its weights, from
    // 0.2 % of a loss to 5 %. Rounding the weights once in a run of single precision tells: that is one of the three
    // roundings of every convolution.
    let starts = [4, 5, 6, 7].map(common::model);
    let singles = starts.each_ref().map(|start| run(start, &sgd(1e-4)));
    for (precision, dtype) in [(Precision::F16, DType::F16), (Precision::Bf16, DType::BF16)] {
        // Low enough that nothing overflows: a step that is left out would not be beside one of single precision.
        let scaling = LossScaling { initial: 16.0, ..LossScaling::default() };
        let loss_scaling = (precision == Precision::F16).then_some(scaling);
        let config = TrainConfig { precision, loss_scaling, ..sgd(1e-4) };
        let (mut off, mut expected) = (0.0, 0.0);
        for (start, single) in starts.iter().zip(&singles) {
            let half = run(start, &config);
            assert_eq!(half.scale.is_some(), precision == Precision::F16);
            off += apart(single, &half);
            expected += apart(single, &run(&rounded(start, dtype), &sgd(1e-4)));
        }

        assert!(
            off > 0.0 && off < 6.0 * expected,
            "{precision:?}: losses {off} apart, {expected} by weights"
        );
    }

    let start = &starts[0];
    // Steps that half precision could not tell from none move the weights.
    let config = TrainConfig { precision: Precision::F16, weight_decay: 0.0, ..sgd(1e-7) };
    let half = train(start, data, &config, &mut DefaultModule, None, None).unwrap();
    let (mut moved, mut seen) = (0usize, 0usize);
    for (name, before) in weights(start).iter().filter(|(name, _)| name.ends_with("conv_pw.weight")) {
        for (before, after) in before.iter().zip(&half.weights[name]) {
            moved += usize::from(before != after);
            seen += usize::from(before != after && (before - after).abs() > before.abs() / 2048.0);
        }
    }
    assert!(moved > 1000 && seen < moved / 10, "{moved} moved, {seen} by more than half precision resolves");
}

/// Multiplies the loss of one step so that gradients overflow and the loss does not.
struct Overflowing {
    step: u64,
    at: u64,
}

impl TrainModule for Overflowing {
    fn training_step(
        &mut self,
        model: &DetectorModel,
        batch: &TrainBatch,
        context: &mut StepContext<'_>,
    ) -> Result<StepLoss, Error> {
        let loss = DefaultModule.training_step(model, batch, context)?;
        self.step += 1;
        let factor = if self.step == self.at { 1e34 } else { 1.0 };
        Ok(StepLoss { total: loss.total.mul_scalar(factor), ..loss })
    }
}

#[test]
fn a_step_that_overflows_is_left_out_and_the_scale_halved() {
    let pictures = tempfile::tempdir().unwrap();
    let dataset = common::pictures(pictures.path(), 6);
    let start = common::model(5);
    let config = TrainConfig { loss_scaling: Some(LossScaling::default()), ..sgd(1e-3) };
    let before = weights(&start);
    let mut module = Overflowing { step: 0, at: 1 };
    let stopped = train(&start, (&dataset, 2), &config, &mut module, None, Some(1)).unwrap();
    assert_eq!(stopped.overflows, [(0, 32768.0)]);
    assert!(stopped.weights == before, "a step that was left out changed weights or statistics");
    assert_eq!(stopped.scale, Some(LossScale { factor: 32768.0, steps: 0, overflows: 1 }));

    let mut module = Overflowing { step: 0, at: 3 };
    let whole = train(&start, (&dataset, 2), &config, &mut module, None, None).unwrap();
    assert_eq!((whole.steps.len(), whole.overflows.clone()), (5, vec![(2, 32768.0)]));
    assert_eq!(whole.scale, Some(LossScale { factor: 32768.0, steps: 3, overflows: 1 }));
}

#[test]
fn a_run_in_half_precision_goes_on_to_the_bytes_of_one_that_was_not_stopped() {
    let pictures = tempfile::tempdir().unwrap();
    let dataset = common::pictures(pictures.path(), 6);
    let start = common::model(6);
    let scaling = LossScaling { interval: 2, ..LossScaling::default() };
    let config = TrainConfig {
        precision: Precision::F16,
        loss_scaling: Some(scaling),
        checkpoint: CheckpointPolicy { every_steps: 1, ..CheckpointPolicy::default() },
        ..sgd(1e-3)
    };
    let run = |folder: &Path, stop_after| {
        train(&start, (&dataset, 2), &config, &mut DefaultModule, Some(folder), stop_after).unwrap().ending
    };
    let (whole, stopped) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert_eq!(run(whole.path(), None), Ending::Finished);
    for after in [1, 2] {
        assert_eq!(run(stopped.path(), Some(after)), Ending::Interrupted);
    }
    assert_eq!(run(stopped.path(), None), Ending::Finished);
    for name in [RunFiles::STATE, RunFiles::LAST, RunFiles::METRICS] {
        let [expected, found] = [&whole, &stopped].map(|folder| fs::read(folder.path().join(name)).unwrap());
        assert!(expected == found, "{name} differs");
    }
}
