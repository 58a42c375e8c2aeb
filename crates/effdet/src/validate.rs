//! A detector over a labelled data set.

use std::path::{Path, PathBuf};

use effdet_core::{Detection, ImageSize, with_causes};
use effdet_data::{Dataset, DecodeLimits, Prepared, Record, decode_file};
use effdet_metrics::Detections;
pub use effdet_train::{ground_truth, image_id};
use image::RgbImage;
use rayon::prelude::*;

use crate::{DetectOptions, Detector, Error};

/// What a detector found in a data set.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The detections of each record, in the data set's order; empty where the picture could not be read.
    pub detections: Vec<Vec<Detection>>,
    /// Pictures that could not be read, and why; the reasons do not repeat the paths.
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
/// As [`detect_dataset`], and for options out of range. A picture that cannot be sliced so is listed as a failure.
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
        let detections = match decode(record) {
            Ok(picture) => match detector.detect_with(&picture, options) {
                Ok(detections) => Ok(detections),
                // What is wrong with this picture need not be with the next.
                Err(error @ (Error::Picture(_) | Error::Slices(_))) => Err(reason(&record.path, &error)),
                Err(error) => return Err(error),
            },
            Err(reason) => Err(reason),
        };
        found.detections.push(detections.unwrap_or_else(|reason| {
            found.failures.push((record.path.clone(), reason));
            Vec::new()
        }));
        progress(found.detections.len());
    }
    Ok(found)
}

fn prepare(detector: &Detector, record: &Record) -> Result<Prepared, String> {
    let picture = decode(record)?;
    detector.preprocess().apply(&picture).map_err(|error| reason(&record.path, &error))
}

/// The picture of a record, if the boxes are those of it.
fn decode(record: &Record) -> Result<RgbImage, String> {
    let why = |error: effdet_data::Error| reason(&record.path, &error);
    let picture = decode_file(&record.path, &DecodeLimits::default()).map_err(why)?;
    let size = ImageSize::new(picture.height() as usize, picture.width() as usize);
    // The boxes are compared with the detections as they are.
    if record.objects_in(size).map_err(why)? != record.objects {
        return Err("the labels are those of the picture before its EXIF orientation is applied".to_owned());
    }
    Ok(picture)
}

/// An error with its causes, without the path that stands beside it.
fn reason(path: &Path, error: &dyn std::error::Error) -> String {
    let told = with_causes(error);
    let stripped = told.strip_prefix(&format!("{}: ", path.display())).map(str::to_owned);
    stripped.unwrap_or(told)
}

/// What was found in a data set, as an evaluation takes it.
pub fn detections(dataset: &Dataset, found: &Found) -> Detections {
    effdet_train::detections(dataset, &found.detections)
}

#[cfg(test)]
mod tests {
    use effdet_core::XyxyBox;
    use effdet_data::Object;

    use super::*;

    #[test]
    fn a_reason_has_the_cause_and_not_the_path() {
        let path = Path::new("no/such/picture.png");
        let error = decode_file(path, &DecodeLimits::default()).unwrap_err();
        let reason = reason(path, &error);
        assert!(reason.starts_with("cannot be read: No such file"), "{reason}");
    }

    #[test]
    fn pictures_that_cannot_be_sliced_or_are_not_those_of_the_labels_fail_alone() {
        let folder = tempfile::tempdir().unwrap();
        let record = |name: &str, side: u32| {
            let path = folder.path().join(name);
            RgbImage::new(side, side).save(&path).unwrap();
            Record { id: name.into(), path, size: None, objects: Vec::new() }
        };
        let object = Object { bbox: XyxyBox::new(0.0, 0.0, 30.0, 30.0), class_id: 1, ..Object::default() };
        let size = Some(ImageSize::square(32));
        let halved = Record { size, objects: vec![object], ..record("halved.png", 16) };
        let records = vec![record("large.png", 2000), record("small.png", 16), halved];
        let dataset = Dataset { records, ..Dataset::default() };
        let config = effdet_model::EfficientDetConfig::with_backbone_named("lcnet_035").unwrap();
        let config = config.with_num_classes(2).with_image_size(ImageSize::square(64));
        let detector = Detector::random(config, &crate::device("cpu").unwrap()).unwrap();
        let slices = Some(crate::Slices::new(ImageSize::square(8)));
        let options = DetectOptions { slices, batch: 2, ..DetectOptions::default() };
        let found = detect_dataset_with(&detector, &dataset, &options, |_| ()).unwrap();
        let [(large, too_many), (halved, _)] = found.failures.as_slice() else {
            panic!("{:?}", found.failures)
        };
        assert!(large.ends_with("large.png") && too_many.contains("more than 65536"), "{too_many}");
        assert!(halved.ends_with("halved.png"), "{}", halved.display());
        assert_eq!(found.detections.iter().map(Vec::is_empty).collect::<Vec<_>>(), [true, false, true]);
    }
}
