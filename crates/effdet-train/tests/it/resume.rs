//! A run that was stopped and taken up again leaves the files of one that was not.

use std::fs;
use std::path::Path;

use crate::common;
use effdet_data::LoaderOptions;
use effdet_data::loader::OnError;
use effdet_data::transform::effdet_train;
use effdet_train::{
    Callback, CheckpointPolicy, CocoMetric, Control, DataLoader, DefaultModule, EmaConfig, Ending, Engine,
    Error, Event, Metric, RunFiles, Session, TrainConfig,
};

/// Two phases of two and one epochs, three steps each, of two batches; everything that has a state is on.
fn phases() -> Vec<TrainConfig> {
    let config = TrainConfig {
        epochs: 2,
        lr: 1e-3,
        accumulate: 2,
        normalizer_momentum: 0.5,
        log_every: 1,
        ema: Some(EmaConfig { decay: 0.9, warmup: true, ..EmaConfig::default() }),
        checkpoint: CheckpointPolicy { every_steps: 1, top_k: 2, ..CheckpointPolicy::default() },
        ..TrainConfig::default()
    };
    vec![config.clone(), TrainConfig { epochs: 1, lr: 5e-4, ..config }]
}

/// Runs until the end or until `stop_after` steps.
fn run(pictures: &Path, folder: &Path, stop_after: Option<u64>) -> Result<Ending, Error> {
    let dataset = common::pictures(pictures, 12);
    let mut model = common::model(3);
    let options =
        LoaderOptions { batch_size: 2, workers: 2, on_error: OnError::Replace, ..LoaderOptions::train(7) };
    let train = DataLoader::new(dataset.clone(), effdet_train(model.preprocess()), options)?;
    let valid = DataLoader::valid(dataset, model.preprocess(), 4)?;
    let metrics: [Box<dyn Metric>; 1] = [Box::new(CocoMetric::default())];
    let mut made = 0;
    let stop = move |event: &Event<'_>| {
        made += u64::from(matches!(event, Event::Step(_)));
        if Some(made) == stop_after { Control::Stop } else { Control::Continue }
    };
    let callbacks: Vec<Box<dyn Callback>> = vec![Box::new(stop)];
    Engine {
        model: &mut model,
        module: &mut DefaultModule,
        train: &train,
        valid: Some(&valid),
        metrics: &metrics,
        callbacks,
        folder: Some(folder),
        session: &mut Session::default(),
        collective: None,
    }
    .run(&phases(), true)
}

/// All files below a folder, by their paths.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            files.extend(
                self::files(&path).into_iter().map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)),
            );
        } else {
            files.push((name, fs::read(path).unwrap()));
        }
    }
    files.sort();
    files
}

// One test, because the weights are drawn from the device's one generator.
#[test]
fn a_run_stopped_anywhere_ends_with_the_files_of_one_that_was_not() {
    let pictures = tempfile::tempdir().unwrap();
    let whole = tempfile::tempdir().unwrap();
    assert_eq!(run(pictures.path(), whole.path(), None).unwrap(), Ending::Finished);
    let expected = files(whole.path());
    let names: Vec<&str> = expected.iter().map(|(name, _)| name.as_str()).collect();
    for name in [RunFiles::BEST, RunFiles::LAST, RunFiles::STATE, RunFiles::METRICS, RunFiles::EVENTS] {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }

    // Stops in the middle of an epoch, at its end and in the second phase; then after every single step.
    for stops in [vec![2, 1, 4], vec![1; 8]] {
        let folder = tempfile::tempdir().unwrap();
        for stop in stops {
            assert_eq!(run(pictures.path(), folder.path(), Some(stop)).unwrap(), Ending::Interrupted);
        }
        assert_eq!(run(pictures.path(), folder.path(), None).unwrap(), Ending::Finished);
        for ((name, expected), (other, found)) in expected.iter().zip(files(folder.path())) {
            assert_eq!(name, &other);
            assert!(*expected == found, "{name} differs");
        }
    }

    // What cannot be taken up says why.
    let checkpoint = whole.path().join(RunFiles::STATE);
    let bytes = fs::read(&checkpoint).unwrap();
    fs::write(&checkpoint, &bytes[..bytes.len() / 2]).unwrap();
    let error = run(pictures.path(), whole.path(), None).unwrap_err().to_string();
    assert!(error.contains(RunFiles::STATE), "{error}");
    fs::copy(whole.path().join(RunFiles::LAST), &checkpoint).unwrap();
    let error = run(pictures.path(), whole.path(), None).unwrap_err().to_string();
    assert!(error.contains("not the state of a run"), "{error}");
}
