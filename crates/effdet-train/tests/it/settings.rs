//! Settings in and out, and what is refused before a run starts.

use std::fs;
use std::path::Path;

use effdet_data::LoaderOptions;
use effdet_data::loader::OnError;
use effdet_data::transform::effdet_train;
use effdet_train::{
    Callback, Clip, CocoMetric, Control, Curve, DataLoader, DefaultModule, Ending, Engine, Error, Event,
    Layer, Metric, RunConfig, RunFiles, Session, TrainConfig,
};
use rstest::rstest;

use crate::common;

fn configured(settings: &[&str]) -> Result<RunConfig, Error> {
    let layers = settings.iter().map(|setting| Layer::setting(setting)).collect::<Result<Vec<_>, _>>()?;
    RunConfig::from_layers(&layers)
}

#[rstest]
#[case::nothing(&[])]
#[case::recipe_without_its_average(&["recipe=reference", "ema=none"])]
#[case::recipe_with_the_models_normalisation(&["recipe=reference", "mean=none", "std=none"])]
#[case::other_curve(&["recipe=one-cycle", "schedule.curve.kind=poly", "clip=none", "optimizer.name=sgd"])]
fn a_written_configuration_reads_back(#[case] settings: &[&str]) {
    let config = configured(settings).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    fs::write(&path, config.to_toml().unwrap()).unwrap();
    assert_eq!(RunConfig::from_layers(&[Layer::file(&path).unwrap()]).unwrap(), config);
}

#[test]
fn none_takes_away_what_need_not_be_there() {
    let config = configured(&["recipe=reference", "ema=none", "mean=none", "clip=none"]).unwrap();
    assert_eq!((config.train.ema, config.mean, config.train.clip), (None, None, Clip::None));
}

#[rstest]
#[case("weight_decay=none", "weight_decay")]
#[case("clip.limit=-3", "clip.limit is -3")]
#[case("clip.limit=0", "clip.limit is 0")]
#[case("optimizer.betas=[0.9, 1.5]", "optimizer.betas is 1.5")]
#[case("group_lr=[1.0, -1.0, 1.0]", "group_lr is -1")]
#[case("schedule.curve.kind=cosine", "train.schedule is set: expected that of the recipe `fine-tune`")]
#[case("group_lr=[0.1, 0.3, 1.0]", "train.group_lr is [0.1, 0.3, 1.0]")]
fn what_would_do_nothing_or_harm_is_refused(#[case] setting: &str, #[case] message: &str) {
    let error = configured(&[setting]).unwrap_err().to_string();
    assert!(error.contains(message), "{error}");
}

/// A run of one epoch on eight pictures, batches of `batch_size`; `change` decides the rest.
fn run(
    pictures: &Path,
    folder: &Path,
    batch_size: usize,
    resume: bool,
    change: impl FnOnce(&mut TrainConfig),
    callback: impl FnMut(&Event<'_>) -> Control,
) -> Result<Ending, Error> {
    let dataset = common::pictures(pictures, 8);
    // One that is in the list and not on the disk.
    fs::write(&dataset.records[7].path, "no picture").unwrap();
    let mut model = common::model(3);
    let options = LoaderOptions { batch_size, on_error: OnError::Replace, ..LoaderOptions::train(7) };
    let train = DataLoader::new(dataset.clone(), effdet_train(model.preprocess()), options)?;
    let valid = DataLoader::valid(dataset, model.preprocess(), 4)?;
    let metrics: [Box<dyn Metric>; 1] = [Box::new(CocoMetric::default())];
    let mut config = TrainConfig { epochs: 1, ..TrainConfig::default() };
    change(&mut config);
    let callbacks: Vec<Box<dyn Callback + '_>> = vec![Box::new(callback)];
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
    .run(&[config], resume)
}

fn goes_on(_: &Event<'_>) -> Control {
    Control::Continue
}

#[test]
fn a_monitor_or_a_part_that_there_is_none_of_is_refused_before_the_first_step() {
    let (pictures, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let refused = |change: fn(&mut TrainConfig)| {
        let steps = |event: &Event<'_>| {
            assert!(!matches!(event, Event::Step(_)));
            Control::Continue
        };
        run(pictures.path(), folder.path(), 4, false, change, steps).unwrap_err().to_string()
    };
    let error = refused(|config| config.monitor = "mAP".to_owned());
    assert!(error.starts_with("monitor is mAP: expected a metric of this run: AP, AP50,"), "{error}");
    let error = refused(|config| config.freeze = vec!["stage99".parse().unwrap()]);
    assert_eq!(error, "freeze is stage99: expected stem, stage0 to stage5, backbone, fpn or heads");
}

#[test]
fn what_waits_for_a_metric_is_refused_where_there_is_none() {
    const PLATEAU: Curve = Curve::Plateau { rate: 0.1, patience: 2, cooldown: 0, threshold: 1e-4, min: 0.0 };
    let (pictures, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let refused = |change: fn(&mut TrainConfig)| {
        let without = |config: &mut TrainConfig| {
            config.validate_every = 0;
            change(config);
        };
        run(pictures.path(), folder.path(), 4, false, without, goes_on).unwrap_err().to_string()
    };
    let error = refused(|config| config.early_stop = 5);
    assert!(error.starts_with("early_stop is 5: expected a run that is evaluated"), "{error}");
    let error = refused(|config| config.schedule.curve = PLATEAU);
    assert!(error.starts_with("schedule.curve.kind is plateau"), "{error}");
}

#[test]
fn a_run_that_is_told_to_stop_when_everything_is_done_is_finished() {
    let (pictures, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let stop = |event: &Event<'_>| match event {
        Event::Epoch(_) => Control::Stop,
        _ => Control::Continue,
    };
    let two = |config: &mut TrainConfig| config.epochs = 2;
    assert_eq!(run(pictures.path(), folder.path(), 4, true, two, stop).unwrap(), Ending::Interrupted);
    assert_eq!(run(pictures.path(), folder.path(), 4, true, two, stop).unwrap(), Ending::Finished);
}

#[test]
fn a_validation_picture_that_cannot_be_read_is_told_of_and_the_run_goes_on() {
    let (pictures, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut told = Vec::new();
    let mut validating = false;
    let note = |event: &Event<'_>| {
        validating |= matches!(event, Event::Validating);
        if let Event::Skipped(skipped) = event
            && validating
        {
            told.extend(skipped.iter().map(|one| one.index));
        }
        Control::Continue
    };
    let ending = run(pictures.path(), folder.path(), 4, false, |_| (), note).unwrap();
    assert_eq!((ending, told), (Ending::Finished, vec![7]));
    assert!(folder.path().join(RunFiles::BEST).exists());
}

#[test]
fn a_run_goes_on_with_what_it_began_with_or_not_at_all() {
    let (pictures, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    run(pictures.path(), folder.path(), 4, false, |_| (), goes_on).unwrap();
    assert_eq!(run(pictures.path(), folder.path(), 4, true, |_| (), goes_on).unwrap(), Ending::Finished);
    let error = run(pictures.path(), folder.path(), 2, true, |_| (), goes_on).unwrap_err().to_string();
    assert!(error.ends_with("it was made with `batch_size = 4`, now there is `batch_size = 2`"), "{error}");
}

#[rstest]
fn a_new_run_leaves_the_weights_of_others_alone(#[values(false, true)] resume: bool) {
    let (pictures, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let start = folder.path().join("epoch-0030.safetensors");
    fs::write(&start, "weights").unwrap();
    let error = run(pictures.path(), folder.path(), 4, resume, |_| (), goes_on).unwrap_err().to_string();
    assert!(error.contains("holds the weights epoch-0030.safetensors of another run"), "{error}");
    assert_eq!(fs::read(&start).unwrap(), b"weights");
}

#[test]
fn the_first_checkpoint_is_written_before_the_first_weights() {
    let (pictures, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let best = folder.path().join(RunFiles::BEST);
    let mut was_there = None;
    let note = |event: &Event<'_>| {
        if matches!(event, Event::Checkpoint(_)) && was_there.is_none() {
            was_there = Some(best.exists());
        }
        Control::Continue
    };
    run(pictures.path(), folder.path(), 4, true, |_| (), note).unwrap();
    assert_eq!((was_there, best.exists()), (Some(false), true));
}

#[test]
fn what_a_killed_run_was_writing_goes_and_what_others_write_stays() {
    let (pictures, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let plots = folder.path().join(RunFiles::PLOTS);
    fs::create_dir(&plots).unwrap();
    let own = [
        folder.path().join(".last.safetensors.12-3.tmp"),
        folder.path().join(".epoch-0003.safetensors.12-3.tmp"),
        plots.join(".loss.svg.12-3.tmp"),
    ];
    let other = folder.path().join(".notes.txt.12-3.tmp");
    for path in own.iter().chain([&other]) {
        fs::write(path, "half").unwrap();
    }
    run(pictures.path(), folder.path(), 4, false, |_| (), goes_on).unwrap();
    assert_eq!((own.map(|path| path.exists()), other.exists()), ([false; 3], true));
}
