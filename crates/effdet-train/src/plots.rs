//! Charts and pictures of a run or an evaluation.

use std::fs;
use std::path::Path;

use effdet_core::Detection;
use effdet_data::{Dataset, DecodeLimits, decode_file};
use effdet_metrics::{ClassCurve, Diagnosis, DiagnosisOptions, Loaded, diagnose};
use effdet_viz::{Axis, Line, grid, save_jpeg, save_lines, save_matrix, save_unit_chart};

use crate::evaluate::{detections, ground_truth};
use crate::learner::pair;
use crate::{EpochRecord, Error};

/// Classes whose curves a chart can hold.
const CURVES: usize = 12;
/// Pictures of the grid, and the least score of a box in it.
const PICTURES: usize = 6;
const SCORE: f32 = 0.3;

/// Writes `precision_recall.svg`, `f1.svg` and `confusion.svg` into a folder, and gives what they show.
///
/// # Errors
/// If the labels cannot be evaluated or a file cannot be written.
pub fn save_diagnosis(folder: &Path, loaded: &Loaded, options: DiagnosisOptions) -> Result<Diagnosis, Error> {
    fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
    let diagnosis = diagnose(loaded, options)?;
    let mut curves: Vec<&ClassCurve> =
        diagnosis.curves.per_class.iter().filter(|c| c.ground_truth > 0).collect();
    curves.sort_by_key(|curve| std::cmp::Reverse(curve.ground_truth));
    curves.truncate(CURVES);
    curves.insert(0, &diagnosis.curves.all);
    let chart = |file: &str, title: &str, x: &str, y: &str, points: fn(&ClassCurve) -> Vec<(f64, f64)>| {
        let lines: Vec<Line> =
            curves.iter().map(|curve| Line { name: curve.name.clone(), points: points(curve) }).collect();
        save_unit_chart(folder.join(file), title, x, y, &lines)
    };
    chart("precision_recall.svg", "Precision over recall", "recall", "precision", |curve| {
        curve.recall.iter().copied().zip(curve.precision.iter().copied()).collect()
    })?;
    chart("f1.svg", "F1 over the score threshold", "score", "F1", |curve| {
        curve.score.iter().copied().zip(curve.f1.iter().copied()).collect()
    })?;
    let confusion = &diagnosis.confusion;
    save_matrix(folder.join("confusion.svg"), "Confusion matrix", &confusion.names, &confusion.counts)?;
    Ok(diagnosis)
}

/// Writes `loss.svg` and `metrics.svg` into a folder.
pub(crate) fn save_history(folder: &Path, history: &[EpochRecord]) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
    let line = |name: &str, value: &dyn Fn(&EpochRecord) -> Option<f64>| Line {
        name: name.to_owned(),
        points: history.iter().filter_map(|record| Some((record.epoch as f64, value(record)?))).collect(),
    };
    let epochs = Axis::linear("epoch");
    let losses = [
        line("training", &|record| Some(record.train.total)),
        line("validation", &|record| record.valid.map(|valid| valid.total)),
    ];
    save_lines(folder.join("loss.svg"), "Loss", epochs, Axis::logarithmic("loss"), &losses)?;
    let names = ["AP", "AP50", "AP75"].map(|name| line(name, &|record| record.metric(name)));
    save_lines(folder.join("metrics.svg"), "Average precision", epochs, Axis::linear("AP"), &names)?;
    Ok(())
}

/// Writes what [`save_diagnosis`] does, and `predictions.jpg`: some pictures, labels to the left, detections to the right.
pub(crate) fn save_evaluation(
    folder: &Path,
    dataset: &Dataset,
    found: &[Vec<Detection>],
) -> Result<(), Error> {
    let loaded = Loaded { truth: ground_truth(dataset)?, detections: detections(dataset, found) };
    save_diagnosis(folder, &loaded, DiagnosisOptions::default())?;
    let mut pictures = Vec::new();
    for (record, found) in dataset.records.iter().zip(found).take(PICTURES) {
        let picture = decode_file(&record.path, &DecodeLimits::default())?;
        let sure: Vec<Detection> = found.iter().copied().filter(|found| found.score >= SCORE).collect();
        pictures.extend(pair(&picture, record, &sure, &dataset.class_map));
    }
    Ok(save_jpeg(folder.join("predictions.jpg"), &grid(&pictures, 4), 90)?)
}
