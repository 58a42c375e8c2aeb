//! Several workers train as one with all of their pictures.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::common;
use burn::tensor::{Device, Tensor};
use effdet_data::transform::effdet_train;
use effdet_data::{Dataset, LoaderOptions, loader::OnError};
use effdet_heads::Normalizer;
use effdet_train::{
    Callback, CheckpointPolicy, CocoMetric, Collective, Control, DataLoader, DefaultModule, DetectorModel,
    EmaConfig, Ending, Engine, Error, Event, Metric, Named, Rule, RunFiles, Session, StepContext, StepLoss,
    StepReport, TrainBatch, TrainConfig, TrainModule, assign, run_workers, take_gradients, values,
};

/// Pictures of which some have no object, so that there are workers without any.
fn dataset(folder: &Path) -> Dataset {
    let mut dataset = common::pictures(folder, 12);
    for index in [1, 4, 5, 8] {
        dataset.records[index].objects.clear();
    }
    dataset
}

fn loader(dataset: &Dataset, model: &DetectorModel, batch_size: usize) -> DataLoader {
    let options =
        LoaderOptions { batch_size, workers: 1, on_error: OnError::Replace, ..LoaderOptions::train(7) };
    DataLoader::new(dataset.clone(), effdet_train(model.preprocess()), options).unwrap()
}

/// What a worker has in the end.
struct Outcome {
    ending: Ending,
    steps: Vec<StepReport>,
    weights: BTreeMap<String, Vec<f32>>,
    averages: BTreeMap<String, Vec<f32>>,
}

fn numbers(named: Named) -> BTreeMap<String, Vec<f32>> {
    named.into_iter().map(|(name, tensor)| (name, tensor.into_data().iter::<f32>().collect())).collect()
}

/// How a run is to go.
struct Run<'a> {
    config: TrainConfig,
    folder: Option<&'a Path>,
    stop_after: Option<u64>,
}

impl Run<'_> {
    /// Of one worker or of its part in a group.
    fn work(
        &self,
        mut model: DetectorModel,
        train: &DataLoader,
        module: &mut dyn TrainModule,
        collective: Option<&Collective>,
    ) -> Result<Outcome, Error> {
        let valid = DataLoader::valid(train.dataset().clone(), model.preprocess(), 4)?;
        let metrics: [Box<dyn Metric>; 1] = [Box::new(CocoMetric::default())];
        let mut steps = Vec::new();
        // Only the first worker has someone who stops it.
        let stop_after = self.stop_after.filter(|_| collective.is_none_or(Collective::is_first));
        let note = |event: &Event<'_>| {
            if let Event::Step(report) = event {
                steps.push(**report);
            }
            let made = steps.len() as u64;
            if stop_after.is_some_and(|after| made >= after) { Control::Stop } else { Control::Continue }
        };
        let mut session = Session::default();
        let callbacks: Vec<Box<dyn Callback + '_>> = vec![Box::new(note)];
        let (folder, config) = (self.folder, &self.config);
        let engine = Engine {
            model: &mut model,
            module,
            train,
            valid: Some(&valid),
            metrics: &metrics,
            callbacks,
            folder,
            session: &mut session,
            collective,
        };
        let ending = engine.run(std::slice::from_ref(config), true)?;
        let averages = session.ema.map(|ema| numbers(ema.values)).unwrap_or_default();
        Ok(Outcome { ending, steps, weights: numbers(values(&model.network)), averages })
    }

    /// Of several workers, from the weights of `model`.
    fn work_together(&self, world_size: usize, model: &DetectorModel, train: &DataLoader) -> Vec<Outcome> {
        let part = |rank| (model.replica(&Device::flex()), train.sharded(rank, world_size).unwrap());
        let parts = (0..world_size).map(part).collect();
        run_workers(Collective::on_cpu(world_size), parts, |group, (model, train)| {
            self.work(model, &train, &mut DefaultModule, Some(group))
        })
        .unwrap()
    }
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt()
}

/// Euclidean distance over those of all tensors that `of` says.
fn distance(
    a: &BTreeMap<String, Vec<f32>>,
    b: &BTreeMap<String, Vec<f32>>,
    of: impl Fn(&str) -> bool,
) -> f64 {
    let pairs = a.iter().filter(|(name, _)| of(name)).flat_map(|(name, a)| a.iter().zip(&b[name]));
    norm(pairs.map(|(a, b)| f64::from(*a) - f64::from(*b)))
}

/// Euclidean norm over the same.
fn size(a: &BTreeMap<String, Vec<f32>>, of: impl Fn(&str) -> bool) -> f64 {
    norm(a.iter().filter(|(name, _)| of(name)).flat_map(|(_, a)| a).map(|a| f64::from(*a)))
}

#[test]
fn two_workers_equal_one_with_twice_the_batch() {
    let pictures = tempfile::tempdir().unwrap();
    let dataset = dataset(pictures.path());
    let start = common::model(3);
    let before = numbers(values(&start.network));
    for (rule, checkpointing) in [(Rule::sgd(), false), (Rule::sgd(), true), (Rule::adam_w(), false)] {
        let config = TrainConfig {
            epochs: 2,
            // A fresh network: larger steps multiply what rounding leaves by ten each.
            lr: 1e-4,
            optimizer: rule,
            // Batches of several gradients, and what a loss is divided by depends on those before.
            accumulate: 2,
            normalizer_momentum: 0.5,
            validate_every: 1,
            ema: Some(EmaConfig { decay: 0.9, ..EmaConfig::default() }),
            ..TrainConfig::default()
        };
        let run = Run { config, folder: None, stop_after: None };
        let start = if checkpointing {
            start.replica(&Device::flex()).with_gradient_checkpointing()
        } else {
            start.replica(&Device::flex())
        };
        let one =
            run.work(start.replica(&Device::flex()), &loader(&dataset, &start, 4), &mut DefaultModule, None);
        let one = one.unwrap();
        let [a, b]: [Outcome; 2] =
            run.work_together(2, &start, &loader(&dataset, &start, 2)).try_into().ok().unwrap();

        // Workers end with the same bits.
        assert_eq!((a.weights == b.weights, a.averages == b.averages), (true, true));
        assert!(!a.averages.is_empty());
        assert_eq!((a.steps.len(), a.ending), (one.steps.len(), Ending::Finished));
        for (step, (found, expected)) in a.steps.iter().zip(&one.steps).enumerate() {
            assert_eq!(
                (found.pictures, found.step, found.lr),
                (expected.pictures, expected.step, expected.lr)
            );
            let pairs = [
                (found.losses.total, expected.losses.total),
                (found.losses.class, expected.losses.class),
                (found.losses.boxes, expected.losses.boxes),
                (found.gradient_norm, expected.gradient_norm),
            ];
            for (found, expected) in pairs {
                let off = (found - expected).abs() / expected;
                assert!(off < 1e-4, "{rule:?}, step {step}: {found} for {expected}");
            }
        }
        // The gradient of a bias before a batch norm is rounding, which AdamW takes for a direction.
        if rule == Rule::sgd() {
            for of in [|name: &str| !name.contains("running_"), |name: &str| name.contains("running_")] {
                for (found, expected) in [(&a.weights, &one.weights), (&a.averages, &one.averages)] {
                    let (off, way) = (distance(found, expected, of), distance(expected, &before, of));
                    // What a weight of single precision can hold of so short a way.
                    let resolution = f64::from(f32::EPSILON) / 2.0 * size(expected, of);
                    assert!(
                        off < 1e-4 * way + resolution,
                        "{rule:?}, checkpointing {checkpointing}: {off} off after a way of {way}"
                    );
                }
            }
        }
    }
}

/// The mean over the workers of every gradient of the first batch.
fn gradients(group: &Collective, model: &DetectorModel, train: &DataLoader) -> Result<Named, Error> {
    let config = TrainConfig::default();
    let criterion = config.loss.init()?;
    let batch = train.loader().epoch(0).next().unwrap()?;
    let mut context =
        StepContext { config: &config, criterion: &criterion, normalizer: &mut Normalizer::default() };
    let _entered = group.enter(0);
    let batch = model.batch(&batch)?;
    let loss = DefaultModule.training_step(model, &batch, &mut context)?;
    let found = take_gradients(&model.network, &mut loss.total.backward());
    let mean = |gradient: Tensor<1>| group.all_reduce(gradient).div_scalar(group.world_size() as f64);
    Ok(found.into_iter().map(|(name, gradient)| (name, mean(gradient))).collect())
}

#[test]
fn every_gradient_of_three_workers_is_that_of_one_with_their_pictures() {
    let pictures = tempfile::tempdir().unwrap();
    let dataset = dataset(pictures.path());
    let start = common::model(4);
    let together = |world_size: usize| {
        let train = loader(&dataset, &start, 6 / world_size);
        let part = |rank| (start.replica(&Device::flex()), train.sharded(rank, world_size).unwrap());
        let parts = (0..world_size).map(part).collect();
        let all = run_workers(Collective::on_cpu(world_size), parts, |group, (model, train)| {
            gradients(group, &model, &train).map(numbers)
        });
        all.unwrap().remove(0)
    };
    let (one, three) = (together(1), together(3));
    let size = |gradient: &[f32]| norm(gradient.iter().map(|g| f64::from(*g)));
    let largest = one.values().map(|gradient| size(gradient)).fold(0.0, f64::max);
    assert_eq!(one.len(), three.len());
    for (name, expected) in &one {
        let off = norm(three[name].iter().zip(expected).map(|(a, b)| f64::from(*a) - f64::from(*b)));
        assert!(off <= 1e-4 * size(expected) + 1e-6 * largest, "{name}: {off} off {}", size(expected));
    }
}

#[test]
fn a_replica_has_the_weights_and_is_apart() {
    let one = common::model(5);
    let two = one.replica(&Device::flex());
    let before = numbers(values(&one.network));
    assert_eq!(numbers(values(&two.network)), before);
    let zeros = values(&two.network).into_iter().map(|(name, value)| (name, value.zeros_like())).collect();
    let two = assign(two.network, zeros);
    assert!(numbers(values(&two)).values().flatten().all(|value| *value == 0.0));
    assert_eq!(numbers(values(&one.network)), before);
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.is_file());
    files.map(|path| (path.file_name().unwrap().to_string_lossy().into(), fs::read(&path).unwrap())).collect()
}

#[test]
fn two_workers_that_were_stopped_end_with_the_files_of_two_that_were_not() {
    let pictures = tempfile::tempdir().unwrap();
    let dataset = dataset(pictures.path());
    let start = common::model(6);
    let train = loader(&dataset, &start, 2);
    let config = TrainConfig {
        epochs: 2,
        log_every: 1,
        ema: Some(EmaConfig { decay: 0.9, warmup: true, ..EmaConfig::default() }),
        checkpoint: CheckpointPolicy { every_steps: 1, ..CheckpointPolicy::default() },
        ..TrainConfig::default()
    };
    let run = |folder: &Path, stop_after| {
        let run = Run { config: config.clone(), folder: Some(folder), stop_after };
        let outcomes = run.work_together(2, &start, &train);
        assert_eq!(outcomes[0].ending, outcomes[1].ending);
        outcomes[0].ending
    };
    let (whole, stopped) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert_eq!(run(whole.path(), None), Ending::Finished);
    for after in [1, 2] {
        assert_eq!(run(stopped.path(), Some(after)), Ending::Interrupted);
    }
    assert_eq!(run(stopped.path(), None), Ending::Finished);
    let (expected, found) = (files(whole.path()), files(stopped.path()));
    assert!(expected.contains_key(RunFiles::STATE) && expected.contains_key(RunFiles::BEST));
    assert_eq!(expected.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>());
    for (name, bytes) in &expected {
        assert!(found[name] == *bytes, "{name} differs");
    }

    // One worker is another run.
    let run = Run { config, folder: Some(whole.path()), stop_after: None };
    let alone = run.work(start.replica(&Device::flex()), &train, &mut DefaultModule, None);
    let error = alone.err().unwrap().to_string();
    assert!(error.contains("workers = 2"), "{error}");
}

/// Fails at the third step.
struct Failing(u64);

impl TrainModule for Failing {
    fn training_step(
        &mut self,
        model: &DetectorModel,
        batch: &TrainBatch,
        context: &mut StepContext<'_>,
    ) -> Result<StepLoss, Error> {
        self.0 += 1;
        if self.0 == 3 {
            return Err(Error::ReadBack("a test".into()));
        }
        DefaultModule.training_step(model, batch, context)
    }
}

#[test]
fn a_worker_that_fails_ends_the_others_and_its_error_is_the_runs() {
    let pictures = tempfile::tempdir().unwrap();
    let dataset = dataset(pictures.path());
    let start = common::model(8);
    let train = loader(&dataset, &start, 2);
    let run = Run { config: TrainConfig::default(), folder: None, stop_after: None };
    let parts = (0..2).map(|rank| (start.replica(&Device::flex()), train.sharded(rank, 2).unwrap()));
    let result = run_workers(Collective::on_cpu(2), parts.collect(), |group, (model, train)| {
        let mut failing = Failing(0);
        let module: &mut dyn TrainModule = if group.rank() == 1 { &mut failing } else { &mut DefaultModule };
        run.work(model, &train, module, Some(group)).map(|_| ())
    });
    assert!(matches!(result, Err(Error::ReadBack(_))), "{result:?}");
}
