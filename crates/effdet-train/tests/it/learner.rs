//! What a learner does from fit to fit, and what it refuses.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use effdet_data::loader::OnError;
use effdet_data::transform::effdet_train;
use effdet_data::{Dataset, LoaderOptions};
use effdet_metrics::{Detections, GroundTruth};
use effdet_train::{
    DataLoader, DefaultModule, EmaConfig, Ending, Error, Learner, LrFindOptions, Metric, NamedMetric, Part,
    RunFiles, TrainConfig, Trainer, values,
};

use crate::common;

/// Trains on batches of two and validates on batches of four.
fn learner(train: &Dataset, valid: &Dataset, on_error: OnError) -> Learner {
    let model = common::model(3);
    let options = LoaderOptions { batch_size: 2, workers: 1, on_error, ..LoaderOptions::train(7) };
    let train = DataLoader::new(train.clone(), effdet_train(model.preprocess()), options).unwrap();
    let valid = DataLoader::valid(valid.clone(), model.preprocess(), 4).unwrap();
    Learner::new(model, train, valid)
}

/// One with the same `count` pictures for both.
fn with_pictures(folder: &Path, count: usize) -> Learner {
    let dataset = common::pictures(folder, count);
    learner(&dataset, &dataset, OnError::Replace)
}

#[test]
fn one_fit_is_saved_and_the_next_one_trains_on() {
    let (pictures, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut learner = with_pictures(pictures.path(), 4).save_to(folder.path());
    assert_eq!(learner.fit(1, 1e-3).unwrap().len(), 1);
    let saved = fs::read(folder.path().join(RunFiles::STATE)).unwrap();
    assert_eq!(learner.fit(1, 1e-3).unwrap().len(), 2);
    assert!(fs::read(folder.path().join(RunFiles::STATE)).unwrap() == saved);
}

#[test]
fn a_fit_in_a_folder_counts_on_from_those_before() {
    let (pictures, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut learner = with_pictures(pictures.path(), 4);
    learner.fit(1, 1e-3).unwrap();
    let mut learner = learner.save_to(folder.path());
    let epochs: Vec<u64> = learner.fit(1, 1e-3).unwrap().iter().map(|record| record.epoch).collect();
    assert_eq!(epochs, [1, 2]);
}

#[test]
fn each_fit_of_a_trainer_is_a_run_of_its_own() {
    let (pictures, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dataset = common::pictures(pictures.path(), 4);
    let fit = |trainer: &mut Trainer, seed: u64| {
        let mut model = common::model(seed);
        let on_error = OnError::Replace;
        let options = LoaderOptions { batch_size: 2, workers: 1, on_error, ..LoaderOptions::train(7) };
        let train = DataLoader::new(dataset.clone(), effdet_train(model.preprocess()), options).unwrap();
        let valid = DataLoader::valid(dataset.clone(), model.preprocess(), 4).unwrap();
        let ending = trainer.fit(&mut DefaultModule, &mut model, &train, &valid).unwrap();
        assert_eq!((ending, trainer.history().len()), (Ending::Finished, 1));
        let numbers = values(&model.network).into_values().map(|value| value.into_data());
        numbers.collect::<Vec<_>>()
    };
    let with_averages = || Trainer::new(1).config(|config| config.ema = Some(EmaConfig::default()));
    let mut trainer = with_averages().save_to(folder.path());
    let first = fit(&mut trainer, 3);
    let second = fit(&mut trainer, 4);
    assert!(first != second && second == fit(&mut with_averages(), 4));
}

#[test]
fn fine_tuning_ends_with_everything_trained_whatever_was_frozen_before() {
    let pictures = tempfile::tempdir().unwrap();
    let mut learner = with_pictures(pictures.path(), 4);
    let convolutions = |learner: &Learner| -> BTreeMap<String, Vec<f32>> {
        let is_one = |name: &str| name.starts_with("backbone.") && name.contains("conv_stem");
        let found = values(&learner.model().network).into_iter().filter(|(name, _)| is_one(name));
        found.map(|(name, value)| (name, value.into_data().iter::<f32>().collect())).collect()
    };
    let before = convolutions(&learner);
    assert!(!before.is_empty());
    learner.freeze_to_heads();
    learner.fine_tune(1, 1e-2, 1).unwrap();
    assert_ne!(convolutions(&learner), before);
}

#[test]
fn norms_of_frozen_parts_train_only_where_all_but_the_heads_is_frozen() {
    let pictures = tempfile::tempdir().unwrap();
    let mut learner = with_pictures(pictures.path(), 4);
    learner.freeze_to_heads();
    learner.freeze(["stem".parse::<Part>().unwrap()]);
    let mut norms_train = true;
    let _learner = learner.config(|config| norms_train = config.train_frozen_norms);
    assert!(!norms_train);
}

#[test]
fn a_last_batch_of_which_nothing_can_be_read_is_told_of() {
    let pictures = tempfile::tempdir().unwrap();
    let dataset = common::pictures(pictures.path(), 5);
    fs::write(&dataset.records[4].path, "no picture").unwrap();
    let evaluation = learner(&dataset, &dataset, OnError::Replace).validate().unwrap();
    let skipped: Vec<usize> = evaluation.skipped.iter().map(|skipped| skipped.index).collect();
    assert_eq!(skipped, [4]);
}

#[test]
fn a_validation_leaves_out_scores_below_that_of_the_settings() {
    let pictures = tempfile::tempdir().unwrap();
    let mut learner = with_pictures(pictures.path(), 4);
    assert!(!learner.validate().unwrap().detections.concat().is_empty());
    let mut learner = learner.config(|config| config.score_threshold = 0.999);
    assert!(learner.validate().unwrap().detections.concat().is_empty());
}

#[test]
fn a_training_set_none_of_whose_pictures_can_be_used_is_an_error() {
    let pictures = tempfile::tempdir().unwrap();
    let dataset = common::pictures(pictures.path(), 4);
    for record in &dataset.records {
        fs::write(&record.path, "no picture").unwrap();
    }
    let error = learner(&dataset, &dataset, OnError::Replace).fit(1, 1e-3).unwrap_err();
    let Error::NothingReadable { name, .. } = &error else { unreachable!("{error}") };
    assert!(name.ends_with(".png"), "{name}");
}

#[test]
fn a_run_that_would_not_find_its_place_again_is_refused() {
    let (pictures, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dataset = common::pictures(pictures.path(), 4);
    let mut learner = learner(&dataset, &dataset, OnError::Skip).save_to(folder.path());
    let error = learner.fit(1, 1e-3).unwrap_err().to_string();
    assert!(error.starts_with("on_error is `Skip`: expected `Replace` or `Fail`"), "{error}");
}

#[test]
fn gradient_checkpointing_is_refused_where_the_model_is_not_made_for_it() {
    let pictures = tempfile::tempdir().unwrap();
    let mut learner = with_pictures(pictures.path(), 4).config(|config| config.gradient_checkpointing = true);
    let error = learner.fit(1, 1e-3).unwrap_err().to_string();
    assert!(error.starts_with("gradient_checkpointing is true: expected false, or a model"), "{error}");
}

#[test]
fn another_validation_set_is_another_run() {
    let (pictures, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dataset = common::pictures(pictures.path(), 4);
    learner(&dataset, &dataset, OnError::Replace).save_to(folder.path()).fit(1, 1e-3).unwrap();
    let part = dataset.subset(&[0, 1]);
    let mut other = learner(&dataset, &part, OnError::Replace).save_to(folder.path());
    let error = other.fit(1, 1e-3).unwrap_err().to_string();
    assert!(error.contains("now there is `pictures to validate = 2, labels "), "{error}");
}

#[test]
fn rates_are_found_as_settings_have_them() {
    let pictures = tempfile::tempdir().unwrap();
    // The engine makes twice the rate of it.
    let mut learner = with_pictures(pictures.path(), 4).config(|config| config.lr_batch_size = 1);
    let found = learner.lr_find(LrFindOptions { start: 1e-6, end: 1e-3, steps: 3 }).unwrap();
    let first = found.points[0].0;
    assert!((first / 1e-6 - 1.0).abs() < 1e-9, "{first}");
}

/// One that never improves.
struct Constant;

impl Metric for Constant {
    fn evaluate(&self, _: &GroundTruth, _: &Detections) -> Result<Vec<NamedMetric>, Error> {
        Ok(vec![("AP".to_owned(), 0.5)])
    }
}

#[test]
fn a_phase_that_ends_early_is_followed_by_the_next_one() {
    let pictures = tempfile::tempdir().unwrap();
    let mut learner = with_pictures(pictures.path(), 2).metrics([Constant]);
    let first = TrainConfig { epochs: 5, early_stop: 2, ..TrainConfig::fastai() };
    let second = TrainConfig { epochs: 2, ..first.clone() };
    let history = learner.run(&[first, second]).unwrap();
    let epochs: Vec<u64> = history.iter().map(|record| record.epoch).collect();
    // The first evaluation of a phase is its best, two more end it.
    assert_eq!(epochs, [1, 2, 3, 4, 5]);
}
