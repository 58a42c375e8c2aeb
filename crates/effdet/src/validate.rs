//! A detector over a labelled data set.

use std::path::PathBuf;

use effdet_core::Detection;
use effdet_data::{Dataset, DecodeLimits, Prepared, Record, decode_file};
use effdet_metrics::Detections;
pub use effdet_train::{ground_truth, image_id};
use rayon::prelude::*;

use crate::{DetectOptions, Detector, Error};

/// What a detector found in a data set.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The detections of each record, in the data set's order; empty where the picture could not be read.
    pub detections: Vec<Vec<Detection>>,
    /// Pictures that could not be read, and why.
    pub failures: Vec<(PathBuf, String)>,
}

/// Runs the detector over every picture, `batch` at a time; `progress` is told how many are done.
///
/// # Errors
/// If the device fails. A picture that cannot be read is listed in [`Found::failures`] and the rest go on.
pub fn detect_dataset(
    detector: &Detector,
    dataset: &Dataset,
    batch: usize,
    mut progress: impl FnMut(usize),
) -> Result<Found, Error> {
    let mut found = Found::default();
    for records in dataset.records.chunks(batch.max(1)) {
        let read: Vec<Result<Prepared, String>> =
            records.par_iter().map(|record| prepare(detector, record)).collect();
        let prepared: Vec<Prepared> = read.iter().filter_map(|read| read.as_ref().ok().cloned()).collect();
        let mut detections = detector.detect_prepared(&prepared)?.into_iter();
        for (record, read) in records.iter().zip(read) {
            found.detections.push(match read {
                Ok(_) => detections.next().unwrap_or_default(),
                Err(reason) => {
                    found.failures.push((record.path.clone(), reason));
                    Vec::new()
                }
            });
        }
        progress(found.detections.len());
    }
    Ok(found)
}

/// As [`detect_dataset`], by slices or with test-time augmentation.
///
/// # Errors
/// As [`detect_dataset`], and for options out of range.
pub fn detect_dataset_with(
    detector: &Detector,
    dataset: &Dataset,
    options: &DetectOptions,
    mut progress: impl FnMut(usize),
) -> Result<Found, Error> {
    if options.is_plain() {
        return detect_dataset(detector, dataset, options.batch, progress);
    }
    let mut found = Found::default();
    for record in &dataset.records {
        let detections = match decode_file(&record.path, &DecodeLimits::default()) {
            Ok(picture) => detector.detect_with(&picture, options)?,
            Err(error) => {
                found.failures.push((record.path.clone(), error.to_string()));
                Vec::new()
            }
        };
        found.detections.push(detections);
        progress(found.detections.len());
    }
    Ok(found)
}

fn prepare(detector: &Detector, record: &Record) -> Result<Prepared, String> {
    let picture = decode_file(&record.path, &DecodeLimits::default()).map_err(|error| error.to_string())?;
    detector.preprocess().apply(&picture).map_err(|error| error.to_string())
}

/// What was found in a data set, as an evaluation takes it.
pub fn detections(dataset: &Dataset, found: &Found) -> Detections {
    effdet_train::detections(dataset, &found.detections)
}
