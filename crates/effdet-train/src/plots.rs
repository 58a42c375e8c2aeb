//! Charts and pictures of a run or an evaluation.

use std::fs;
use std::path::{Path, PathBuf};

use effdet_core::Detection;
use effdet_data::{Dataset, DecodeLimits, Record, decode_file};
use effdet_metrics::{ClassCurve, Diagnosis, DiagnosisOptions, Loaded, diagnose};
use effdet_viz::{Axis, INK, Line, class_color, grid, save_jpeg, save_lines, save_matrix, save_unit_chart};
use image::imageops::{FilterType, resize};
use image::{Rgb, RgbImage};

use crate::learner::pair;
use crate::{EpochRecord, Error};

/// Names of the charts and pictures.
pub(crate) const LOSS: &str = "loss.svg";
pub(crate) const METRICS: &str = "metrics.svg";
pub(crate) const PRECISION_RECALL: &str = "precision_recall.svg";
pub(crate) const F1: &str = "f1.svg";
pub(crate) const CONFUSION: &str = "confusion.svg";
pub(crate) const PREDICTIONS: &str = "predictions.jpg";
/// All of them.
pub(crate) const FILES: [&str; 6] = [LOSS, METRICS, PRECISION_RECALL, F1, CONFUSION, PREDICTIONS];

/// Classes whose curves a chart can hold.
const CURVES: usize = 12;
/// Pictures of the grid, and the least score of a box in it.
const PICTURES: usize = 8;
const SCORE: f32 = 0.3;
/// Longest side of a picture of the grid.
const LONGEST: u32 = 480;

/// Writes `precision_recall.svg`, `f1.svg` and `confusion.svg` into a folder, and gives what they show.
///
/// # Errors
/// If the labels cannot be evaluated or a file cannot be written.
pub fn save_diagnosis(folder: &Path, loaded: &Loaded, options: DiagnosisOptions) -> Result<Diagnosis, Error> {
    fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
    let diagnosis = diagnose(loaded, options)?;
    let per_class = diagnosis.curves.per_class.iter().zip(loaded.truth.categories());
    let mut curves: Vec<(&ClassCurve, Rgb<u8>)> = per_class
        .enumerate()
        .filter(|(_, (curve, _))| curve.ground_truth > 0)
        .map(|(index, (curve, category))| {
            let id = category.id.as_int().and_then(|id| u32::try_from(id).ok());
            (curve, class_color(id.unwrap_or(index as u32 + 1)))
        })
        .collect();
    curves.sort_by_key(|(curve, _)| std::cmp::Reverse(curve.ground_truth));
    curves.truncate(CURVES);
    curves.insert(0, (&diagnosis.curves.all, INK));
    let chart = |file: &str, title: &str, x: &str, y: &str, points: fn(&ClassCurve) -> Vec<(f64, f64)>| {
        let lines: Vec<Line> = curves
            .iter()
            .map(|(curve, color)| Line { name: curve.name.clone(), points: points(curve), color: *color })
            .collect();
        save_unit_chart(folder.join(file), title, x, y, &lines)
    };
    chart(PRECISION_RECALL, "Precision over recall", "recall", "precision", |curve| {
        curve.recall.iter().copied().zip(curve.precision.iter().copied()).collect()
    })?;
    chart(F1, "F1 over the score threshold", "score", "F1", |curve| {
        curve.score.iter().copied().zip(curve.f1.iter().copied()).collect()
    })?;
    let confusion = &diagnosis.confusion;
    save_matrix(folder.join(CONFUSION), "Confusion matrix", &confusion.names, &confusion.counts)?;
    Ok(diagnosis)
}

/// Writes `loss.svg` and `metrics.svg` into a folder.
///
/// # Errors
/// If a file cannot be written.
pub fn save_history(folder: &Path, history: &[EpochRecord]) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
    let line = |name: &str, color: u32, value: &dyn Fn(&EpochRecord) -> Option<f64>| Line {
        name: name.to_owned(),
        color: class_color(color),
        points: history.iter().filter_map(|record| Some((record.epoch as f64, value(record)?))).collect(),
    };
    let epochs = Axis::linear("epoch");
    let losses = [
        line("training", 1, &|record| Some(record.train.total)),
        line("validation", 3, &|record| record.valid.map(|valid| valid.total)),
    ];
    save_lines(folder.join(LOSS), "Loss", epochs, Axis::logarithmic("loss"), &losses)?;
    let names = [("AP", 1), ("AP50", 2), ("AP75", 3)];
    let names = names.map(|(name, color)| line(name, color, &|record| record.metric(name)));
    save_lines(folder.join(METRICS), "Average precision", epochs, Axis::linear("AP"), &names)?;
    Ok(())
}

/// Writes `predictions.jpg` into a folder: the first pictures that can be read, each with its labels to the left and what
/// was found to the right. Gives the path and what the picture shows.
///
/// # Errors
/// If the file cannot be written.
pub fn save_predictions(
    folder: &Path,
    dataset: &Dataset,
    found: &[Vec<Detection>],
) -> Result<(PathBuf, String), Error> {
    fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
    let mut pictures = Vec::new();
    for (record, found) in dataset.records.iter().zip(found) {
        if pictures.len() == 2 * PICTURES {
            break;
        }
        let Ok(picture) = decode_file(&record.path, &DecodeLimits::default()) else { continue };
        let sure: Vec<Detection> = found.iter().copied().filter(|found| found.score >= SCORE).collect();
        let (picture, record, sure) = shrunk(picture, record, sure);
        pictures.extend(pair(&picture, &record, &sure, &dataset.class_map));
    }
    let path = folder.join(PREDICTIONS);
    save_jpeg(&path, &grid(&pictures, 4), 90)?;
    let caption = format!(
        "Pairs of pictures: what is labelled to the left, what was detected with a score of at least {SCORE} to the right."
    );
    Ok((path, caption))
}

/// A picture that is not too large for the grid, with its boxes.
fn shrunk(
    picture: RgbImage,
    record: &Record,
    mut found: Vec<Detection>,
) -> (RgbImage, Record, Vec<Detection>) {
    let mut record = record.clone();
    let (width, height) = picture.dimensions();
    let longest = width.max(height);
    if longest <= LONGEST {
        return (picture, record, found);
    }
    let side = |side: u32| (u64::from(side) * u64::from(LONGEST) / u64::from(longest)).max(1) as u32;
    let small = resize(&picture, side(width), side(height), FilterType::Triangle);
    let (sx, sy) = (small.width() as f32 / width as f32, small.height() as f32 / height as f32);
    for object in &mut record.objects {
        object.bbox = object.bbox.scale(sx, sy);
    }
    for detection in &mut found {
        detection.bbox = detection.bbox.scale(sx, sy);
    }
    (small, record, found)
}
