//! The detector that the reference trained on blood cells, on its 72 test pictures, beside the reference's detections.

use std::path::{Path, PathBuf};

use crate::common::{self, effdet};
use effdet::prelude::{Detection, XyxyBox};
use effdet_testing::blood_cells::{self, Criterion};
use effdet_testing::shared::shared_or_skip;
use serde_json::Value;

fn detection(value: &Value) -> Detection {
    let [x1, y1, x2, y2] = common::numbers(&value["bbox"]).try_into().unwrap();
    let score = value["score"].as_f64().unwrap() as f32;
    let class_id = value["class_id"].as_u64().unwrap() as u32;
    Detection { bbox: XyxyBox { x1, y1, x2, y2 }, score, class_id }
}

/// Percentage of the reference's detections that the command finds too.
fn found(shared: &Path, folder: &Path, extension: &str, criterion: &Criterion) -> f64 {
    let names = blood_cells::picture_names(shared).unwrap();
    let numbers = |values: [f32; 3]| values.map(|value| value.to_string()).join(",");
    let mut command = effdet();
    command.arg("predict").args(names.iter().map(|name| folder.join(format!("{name}.{extension}"))));
    command.args(["--model", blood_cells::MODEL, "--weights"]).arg(shared.join(blood_cells::CHECKPOINT));
    command.args(["--mean", &numbers(blood_cells::MEAN), "--std", &numbers(blood_cells::STD)]);
    command.args(["--score", "0.001", "--batch", "4", "--json", "-"]);
    let report: Value = serde_json::from_slice(&command.assert().success().get_output().stdout).unwrap();
    let images = report["images"].as_array().unwrap();
    assert_eq!(images.len(), names.len());
    let found: Vec<Vec<Detection>> = images
        .iter()
        .map(|image| image["detections"].as_array().unwrap().iter().map(detection).collect())
        .collect();
    let (matched, all) = blood_cells::count_found(shared, &found, criterion).unwrap();
    let percentage = 100.0 * matched as f64 / all as f64;
    eprintln!("{}: {matched} of {all} detections matched: {percentage:.2} %", criterion.pictures);
    percentage
}

#[test]
fn from_jpeg_files_98_percent_of_the_confident_detections_are_the_references() {
    let Some(shared) = shared_or_skip("blood cells from JPEG files") else { return };
    let percentage = found(&shared, &shared.join("data/bccd/JPEGImages"), "jpg", &blood_cells::JPEG);
    assert!(percentage >= 98.0, "{percentage:.2} %");
}

/// `EFFDET_BCCD_PNG` names a folder made by `tools/golden/decode_with_pillow.py`.
#[test]
fn from_the_references_pixels_98_percent_of_the_detections_are_the_references() {
    let Some(shared) = shared_or_skip("blood cells from PNG files") else { return };
    let Some(folder) = std::env::var_os("EFFDET_BCCD_PNG").map(PathBuf::from) else {
        eprintln!("blood cells from PNG files: skipped, EFFDET_BCCD_PNG names no folder");
        return;
    };
    let percentage = found(&shared, &folder, "png", &blood_cells::PNG);
    assert!(percentage >= 98.0, "{percentage:.2} %");
}
