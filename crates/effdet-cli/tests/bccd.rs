//! The detector that the reference trained on blood cells, on its 72 test pictures, beside the reference's detections.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that reports what it measured")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::effdet;
use effdet::prelude::{Detection, XyxyBox};
use effdet_testing::detections::{MatchTolerance, count_matches};
use effdet_testing::shared::shared_or_skip;
use serde_json::Value;

/// Names of the test pictures, in the order of the reference's image ids.
fn names(shared: &Path) -> Vec<String> {
    let list = fs::read_to_string(shared.join("data/bccd/ImageSets/Main/test.txt")).unwrap();
    list.split_whitespace().map(str::to_owned).collect()
}

fn detection(value: &Value, bbox: [f32; 4], class: &str) -> Detection {
    let [x1, y1, x2, y2] = bbox;
    let score = value["score"].as_f64().unwrap() as f32;
    Detection { bbox: XyxyBox { x1, y1, x2, y2 }, score, class_id: value[class].as_u64().unwrap() as u32 }
}

/// The reference's detections of each picture.
fn reference(shared: &Path, pictures: usize) -> Vec<Vec<Detection>> {
    let json = common::read_json(&shared.join("checkpoints/tf_efficientdet_lite0-bccd.test.json"));
    let mut found = vec![Vec::new(); pictures];
    for row in json["detections"].as_array().unwrap() {
        let [x, y, w, h] = common::numbers(&row["bbox"]).try_into().unwrap();
        found[row["image_id"].as_u64().unwrap() as usize].push(detection(
            row,
            [x, y, x + w, y + h],
            "category_id",
        ));
    }
    found
}

/// Percentage of the reference's detections of at least `score` that the command finds too.
fn matched(shared: &Path, pictures: &[PathBuf], score: f32, tolerance: MatchTolerance) -> f64 {
    let mut command = effdet();
    command.arg("predict").args(pictures).args(["--model", "tf_efficientdet_lite0", "--weights"]);
    command.arg(shared.join("checkpoints/tf_efficientdet_lite0-bccd.pth"));
    // Trained with ImageNet's mean and deviation, unlike the published weights of this model.
    command.args(["--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225"]);
    command.args(["--score", "0.001", "--batch", "4", "--json", "-"]);
    let report: Value = serde_json::from_slice(&command.assert().success().get_output().stdout).unwrap();
    let images = report["images"].as_array().unwrap();
    assert_eq!(images.len(), pictures.len());

    let (mut matched, mut all) = (0, 0);
    for (image, expected) in images.iter().zip(reference(shared, pictures.len())) {
        let found: Vec<Detection> = image["detections"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| detection(row, common::numbers(&row["bbox"]).try_into().unwrap(), "class_id"))
            .collect();
        let expected: Vec<Detection> = expected.into_iter().filter(|found| found.score >= score).collect();
        matched += count_matches(&expected, &found, tolerance);
        all += expected.len();
    }
    let percentage = 100.0 * matched as f64 / all as f64;
    eprintln!("{matched} of {all} detections with score >= {score} matched: {percentage:.2} %");
    percentage
}

#[test]
fn from_jpeg_files_98_percent_of_the_confident_detections_are_the_references() {
    let Some(shared) = shared_or_skip("blood cells from JPEG files") else { return };
    let folder = shared.join("data/bccd/JPEGImages");
    let pictures: Vec<_> = names(&shared).iter().map(|name| folder.join(format!("{name}.jpg"))).collect();
    let tolerance = MatchTolerance { score: 0.05, iou: 0.9, edge: 0.0 };
    let percentage = matched(&shared, &pictures, 0.3, tolerance);
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
    let pictures: Vec<_> = names(&shared).iter().map(|name| folder.join(format!("{name}.png"))).collect();
    let tolerance = MatchTolerance { score: 0.01, iou: 0.98, edge: 0.5 };
    let percentage = matched(&shared, &pictures, 0.05, tolerance);
    assert!(percentage >= 98.0, "{percentage:.2} %");
}
