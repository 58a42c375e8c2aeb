//! A detector over a labelled data set.

use std::path::PathBuf;

use effdet_core::Detection;
use effdet_data::{Dataset, DecodeLimits, Prepared, Record, RecordId, decode_file};
use effdet_metrics::{Annotation, BoxEdges, Category, DetectionRecord, Detections, GroundTruth, Id};
use rayon::prelude::*;

use crate::{Detector, Error};

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

fn prepare(detector: &Detector, record: &Record) -> Result<Prepared, String> {
    let picture = decode_file(&record.path, &DecodeLimits::default()).map_err(|error| error.to_string())?;
    detector.preprocess().apply(&picture).map_err(|error| error.to_string())
}

/// The labels of a data set as an evaluation takes them; a record's id is the image's, a class id the category's.
///
/// # Errors
/// For boxes that are not finite, which a data set read with the default policies has none of.
pub fn ground_truth(dataset: &Dataset) -> Result<GroundTruth, Error> {
    let images = dataset.records.iter().map(|record| image_id(&record.id));
    let categories = dataset.class_map.iter().map(|(id, name)| Category::new(id, name));
    let annotations = dataset.records.iter().flat_map(|record| {
        record.objects.iter().map(|object| Annotation {
            area: object.area.map(f64::from),
            is_crowd: object.is_crowd,
            ignore: object.is_difficult || object.is_ignored,
            is_group_of: object.is_group_of,
            ..Annotation::new(image_id(&record.id), object.class_id, BoxEdges::from(object.bbox))
        })
    });
    Ok(GroundTruth::new(images, categories, annotations)?)
}

/// What was found in a data set, as an evaluation takes it.
pub fn detections(dataset: &Dataset, found: &Found) -> Detections {
    let mut all = Detections::new();
    for (record, detections) in dataset.records.iter().zip(&found.detections) {
        for detection in detections {
            all.push(DetectionRecord {
                image_id: image_id(&record.id),
                category_id: Id::from(detection.class_id),
                bbox: BoxEdges::from(detection.bbox),
                score: f64::from(detection.score),
            });
        }
    }
    all
}

/// Identity of a record in an evaluation.
pub fn image_id(id: &RecordId) -> Id {
    match id {
        RecordId::Number(number) => Id::from(*number),
        RecordId::Text(text) => Id::from(text.as_str()),
    }
}
