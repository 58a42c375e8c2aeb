//! Slices and test-time augmentation on the command line.

use std::fs;

use crate::common::{Fixture, effdet, fails, numbers, read_json};
use effdet::prelude::*;
use serde_json::{Value, json};

fn detections(report: &Value) -> Vec<Value> {
    report["images"][0]["detections"].as_array().unwrap().clone()
}

fn assert_same(found: &[Value], expected: &[Detection]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(numbers(&found["bbox"]), <[f32; 4]>::from(expected.bbox));
        assert_eq!(found["score"].as_f64().unwrap() as f32, expected.score);
    }
}

#[test]
fn slices_and_augmentation_are_those_of_the_library() {
    let fixture = Fixture::new();
    let path = fixture.picture("wide.png", 200, 90);
    let picture = decode_file(path, &DecodeLimits::default()).unwrap();
    let detector = fixture.detector();
    let plain = fixture.json(&["wide.png"], &[]);
    let sliced = DetectOptions {
        slices: Some(Slices { overlap: 0.25, ..Slices::new(ImageSize::square(80)) }),
        batch: 3,
        ..DetectOptions::default()
    };
    let report = fixture.json(&["wide.png"], &["--slice", "80", "--overlap", "0.25", "--batch", "3"]);
    assert_same(&detections(&report), &detector.detect_with(&picture, &sliced).unwrap());
    assert_ne!(detections(&report), detections(&plain));

    let scales = vec![1.0, 1.5];
    let augmentation = TestTimeAugmentation { scales, ..TestTimeAugmentation::default() };
    let augmented = DetectOptions { augmentation: Some(augmentation), batch: 1, ..DetectOptions::default() };
    let report = fixture.json(&["wide.png"], &["--tta", "flip,scale:1.5"]);
    assert_same(&detections(&report), &detector.detect_with(&picture, &augmented).unwrap());
    assert_ne!(detections(&report), detections(&plain));
}

#[test]
fn slices_merge_as_asked() {
    let fixture = Fixture::new();
    fixture.picture("wide.png", 200, 90);
    let count = |options: &[&str]| {
        let options = [&["--slice", "64", "--max-detections", "100000"], options].concat();
        detections(&fixture.json(&["wide.png"], &options)).len()
    };
    let (joined, by_nms) = (count(&[]), count(&["--merge", "nms"]));
    assert!(joined < by_nms, "{joined} {by_nms}");
    assert!(count(&["--merge-metric", "iou"]) > joined);
    assert!(count(&["--merge-threshold", "0.9"]) > joined);
    assert!(count(&["--merge", "nms", "--slices-only"]) < by_nms);
}

#[test]
fn options_of_joining_are_refused_where_boxes_are_not_joined() {
    let fixture = Fixture::new();
    fixture.picture("set/val2017/cat.png", 80, 60);
    let labels = json!({
        "images": [{"id": 1, "file_name": "cat.png", "width": 80, "height": 60}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 40, 40], "area": 1600, "iscrowd": 0},
        ],
    });
    fs::create_dir_all(fixture.path("set/annotations")).unwrap();
    fs::write(fixture.path("set/annotations/instances_val2017.json"), labels.to_string()).unwrap();
    let val = || {
        let mut command = effdet();
        command.current_dir(fixture.path("")).args(["val", "--weights", "tiny.safetensors"]);
        command.args(["--data", "set", "--format", "coco", "--slice", "64"]);
        command
    };
    let mut predict = fixture.predict(&["set/val2017/cat.png"]);
    predict.args(["--slice", "64", "--merge", "nms", "--jsonl", "found.jsonl", "--merge-metric", "iou"]);
    let stderr = fails(&mut predict, 2);
    assert!(stderr.contains("--merge-metric is only for --merge join"), "{stderr}");
    assert!(!fixture.path("found.jsonl").exists());
    // Where nothing is said, `val` does not join.
    let threshold = ["--merge-threshold", "0.3"];
    for merge in [&[][..], &["--merge", "nms"]] {
        let stderr = fails(val().args(threshold).args(merge), 2);
        assert!(stderr.contains("--merge-threshold is only for --merge join"), "{stderr}");
    }
    val().args(threshold).args(["--merge", "join"]).assert().success();
}

#[test]
fn a_picture_that_cannot_be_sliced_does_not_fail_its_batch() {
    let fixture = Fixture::new();
    fixture.picture("large.png", 2000, 2000);
    fixture.picture("small.png", 16, 16);
    let mut command = fixture.predict(&["large.png", "small.png"]);
    command.args(["--slice", "8", "--batch", "2", "--score", "0", "--json", "found.json"]);
    let stderr = fails(&mut command, 1);
    assert!(stderr.contains("error: large.png: ") && !stderr.contains("error: small.png"), "{stderr}");
    let report = read_json(&fixture.path("found.json"));
    assert_eq!(
        (&report["images"][0]["path"], &report["errors"][0]["path"]),
        (&"small.png".into(), &"large.png".into())
    );
}

#[test]
fn views_out_of_range_are_refused() {
    let fixture = Fixture::new();
    fixture.picture("cat.png", 40, 40);
    for options in [
        &["--slice", "0"][..],
        &["--slice", "64", "--overlap", "1"],
        &["--overlap", "0.1"],
        &["--slices-only"],
        &["--tta", "flop"],
        &["--tta", "scale:0"],
        &["--wbf-iou", "0.5"],
    ] {
        fails(fixture.predict(&["cat.png"]).args(options), 2);
    }
    // One pixel is no use, and many of them are refused with their number.
    fixture.picture("large.png", 400, 400);
    let stderr = fails(fixture.predict(&["large.png"]).args(["--slice", "1"]), 1);
    assert!(stderr.contains("400 x 400, more than"), "{stderr}");
}
