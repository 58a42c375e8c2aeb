//! `effdet val` on a small checkpoint and, where the reference data is, on the blood cells of the reference.

use std::fs;
use std::path::Path;

use crate::common::{Fixture, effdet, fails, read_json};
use assert_cmd::Command;
use effdet_testing::blood_cells::{CHECKPOINT, MEAN, MODEL, STD};
use effdet_testing::shared::shared_or_skip;
use serde_json::{Value, json};

const NUMBERS: [&str; 12] =
    ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"];

/// A COCO data set of two pictures below `set`.
fn with_coco() -> Fixture {
    let fixture = Fixture::new();
    fixture.picture("set/val2017/first.png", 80, 60);
    fixture.picture("set/val2017/second.png", 50, 90);
    let labels = json!({
        "images": [
            {"id": 41, "file_name": "first.png", "width": 80, "height": 60},
            {"id": 17, "file_name": "second.png", "width": 50, "height": 90},
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 3, "name": "cow"}],
        "annotations": [
            {"id": 1, "image_id": 41, "category_id": 1, "bbox": [5, 5, 40, 40], "area": 1600, "iscrowd": 0},
            {"id": 2, "image_id": 17, "category_id": 3, "bbox": [0, 0, 50, 60], "area": 3000, "iscrowd": 0},
        ],
    });
    let folder = fixture.path("set/annotations");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("instances_val2017.json"), labels.to_string()).unwrap();
    fixture
}

fn val(fixture: &Fixture, arguments: &[&str]) -> Command {
    let mut command = effdet();
    command.current_dir(fixture.path("")).arg("val").args(["--weights", "tiny.safetensors"]);
    command.args(arguments);
    command
}

#[test]
fn the_json_has_the_numbers_of_evaluate_and_the_detections_give_them_again() {
    let fixture = with_coco();
    let set = ["--data", "set", "--format", "coco", "--split", "val2017"];
    let outputs = ["--json", "numbers.json", "--detections", "found.json", "--plots", "plots"];
    val(&fixture, &[&set[..], &outputs].concat()).assert().success();
    let report = read_json(&fixture.path("numbers.json"));
    for key in NUMBERS {
        assert!(report[key].is_number(), "{key}");
        assert!(report["per_class"]["cow"][key].is_number(), "cow {key}");
    }
    let found = read_json(&fixture.path("found.json"));
    let found = found.as_array().unwrap();
    assert!(!found.is_empty());
    for line in found {
        let keys: Vec<&String> = line.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["bbox", "category_id", "image_id", "score"]);
        assert!([41, 17].contains(&line["image_id"].as_i64().unwrap()));
        assert!((1..=3).contains(&line["category_id"].as_i64().unwrap()));
        assert!(line["score"].as_f64().unwrap() >= 0.001);
    }
    assert!(fixture.path("plots/precision_recall.svg").is_file());

    let mut evaluate = effdet();
    evaluate.current_dir(fixture.path("")).args(["evaluate", "set/annotations/instances_val2017.json"]);
    let again = evaluate.args(["found.json", "--json", "-"]).assert().success().get_output().stdout.clone();
    let again: Value = serde_json::from_slice(&again).unwrap();
    for key in NUMBERS {
        let (a, b) = (report[key].as_f64().unwrap(), again[key].as_f64().unwrap());
        assert!((a - b).abs() < 1e-6, "{key}: {a} and {b}");
    }
}

#[test]
fn the_classes_of_coco_are_matched_by_name_and_written_by_the_ids_of_the_labels() {
    let fixture = with_coco();
    let numbers = |name: &str| {
        let arguments = ["--data", "set", "--format", "coco", "--json", name, "--detections", "found.json"];
        val(&fixture, &arguments).assert().success();
        read_json(&fixture.path(name))
    };
    let by_the_detectors_ids = numbers("as_it_was.json");

    let path = fixture.path("set/annotations/instances_val2017.json");
    let mut labels = read_json(&path);
    // The detector's 1, 2 and 3 are cat, dog and cow.
    for (list, key) in [("categories", "id"), ("annotations", "category_id")] {
        for entry in labels[list].as_array_mut().unwrap() {
            let other = if entry[key] == json!(1) { 2 } else { 70 };
            entry[key] = json!(other);
        }
    }
    fs::write(&path, labels.to_string()).unwrap();
    assert_eq!(numbers("renumbered.json"), by_the_detectors_ids);
    let found = read_json(&fixture.path("found.json"));
    let mut ids = found.as_array().unwrap().iter().map(|line| line["category_id"].as_i64().unwrap());
    assert!(ids.all(|id| [2, 70].contains(&id)), "what the labels do not have is not written");
}

#[test]
fn the_metric_of_voc_gives_the_mean_and_each_class() {
    let fixture = with_coco();
    let arguments = ["--data", "set", "--format", "coco", "--metric", "voc", "--json", "-"];
    let output = val(&fixture, &arguments).assert().success().get_output().stdout.clone();
    let report: Value = serde_json::from_slice(&output).unwrap();
    assert!(report["mAP"].is_number() && report["per_class"]["cat"]["AP"].is_number(), "{report}");
    // Only where boxes are those of VOC is their last pixel inside.
    assert_eq!(report["options"]["inclusive_pixels"], false);
}

#[test]
fn the_metric_of_voc_adds_a_pixel_only_to_boxes_that_end_at_their_last_one() {
    let fixture = with_coco();
    fixture.picture("cells/JPEGImages/a.png", 80, 60);
    let xml = "<annotation><filename>a.png</filename><size><width>80</width><height>60</height></size>\
               <object><name>cat</name><bndbox><xmin>5</xmin><ymin>5</ymin><xmax>40</xmax><ymax>40</ymax></bndbox>\
               </object></annotation>";
    fs::create_dir_all(fixture.path("cells/Annotations")).unwrap();
    fs::write(fixture.path("cells/Annotations/a.xml"), xml).unwrap();
    for (data, format, pixels, expected) in [
        ("cells", "voc", None, true),
        ("cells", "voc", Some("one-based"), false),
        ("cells", "voc", Some("continuous"), false),
        ("set", "coco", Some("reference"), true),
    ] {
        let mut command = val(&fixture, &["--data", data, "--format", format]);
        command.args(["--metric", "voc", "--json", "-"]);
        command.args(pixels.map(|pixels| format!("--pixels={pixels}")));
        let output = command.assert().success().get_output().stdout.clone();
        let report: Value = serde_json::from_slice(&output).unwrap();
        assert_eq!(report["options"]["inclusive_pixels"], expected, "{format} {pixels:?}");
    }
}

#[test]
fn detections_on_standard_output_stand_there_alone() {
    let fixture = with_coco();
    let arguments = ["--data", "set", "--format", "coco", "--detections", "-"];
    let output = val(&fixture, &arguments).assert().success().get_output().stdout.clone();
    let found: Value = serde_json::from_slice(&output).unwrap();
    assert!(found.is_array(), "{found}");
}

#[test]
fn a_reader_that_goes_away_takes_neither_files_nor_status_with_it() {
    let fixture = with_coco();
    fs::write(fixture.path("set/val2017/second.png"), "not a picture").unwrap();
    for option in ["--json", "--detections"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let plots = option.trim_start_matches('-');
        let status = std::process::Command::new(env!("CARGO_BIN_EXE_effdet"))
            .current_dir(fixture.path(""))
            .args(["val", "--weights", "tiny.safetensors", "--data", "set", "--format", "coco"])
            .args([option, "-", "--plots", plots])
            .stdout(writer)
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(1), "{option}");
        assert!(fixture.path(plots).join("report.html").is_file(), "{option}");
    }
}

#[test]
fn pictures_that_do_not_decode_are_named_and_end_with_status_1() {
    let fixture = with_coco();
    fs::write(fixture.path("set/val2017/second.png"), "not a picture").unwrap();
    let arguments = ["--data", "set", "--format", "coco", "--split", "val2017", "--json", "numbers.json"];
    let stderr = fails(&mut val(&fixture, &arguments), 1);
    assert!(stderr.contains("second.png: not a picture"), "{stderr}");
    assert!(read_json(&fixture.path("numbers.json"))["AP"].is_number());
}

#[test]
fn what_cannot_be_evaluated_ends_with_status_2_and_a_name() {
    let fixture = with_coco();
    fs::create_dir_all(fixture.path("empty")).unwrap();
    fs::create_dir_all(fixture.path("wide/annotations")).unwrap();
    let labels = json!({
        "images": [{"id": 1, "file_name": "a.png", "width": 9, "height": 9}],
        "categories": [{"id": 4, "name": "fourth"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 4, "bbox": [1, 1, 5, 5]}],
    });
    fixture.picture("wide/a.png", 9, 9);
    fs::write(fixture.path("wide/annotations/instances_val2017.json"), labels.to_string()).unwrap();
    for (arguments, told) in [
        (&["--data", "nowhere", "--format", "coco"][..], "nowhere"),
        (&["--data", "empty", "--format", "coco"], "empty"),
        (&["--data", "empty", "--format", "voc"], "empty"),
        (&["--data", "set", "--format", "coco", "--split", "test1999"], "test1999"),
        (&["--data", "set", "--format", "kitti"], "kitti"),
        (&["--data", "set", "--format", "coco", "--metric", "dice"], "dice"),
        (&["--data", "wide", "--format", "coco", "--annotations", "nowhere.json"], "nowhere.json"),
        (&["--data", "wide", "--format", "coco"], "`fourth`"),
        (&["--format", "coco"], "--data"),
        (&["--data", "set"], "--format"),
    ] {
        let stderr = fails(&mut val(&fixture, arguments), 2);
        assert!(stderr.contains(told), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{arguments:?}: {stderr}");
    }
    let mut missing = effdet();
    missing.current_dir(fixture.path(""));
    let missing = missing.args(["val", "--data", "set", "--format", "coco", "--weights", "gone.pth"]);
    assert!(fails(missing, 2).contains("gone.pth"));
}

/// The twelve numbers of the reference's blood cell detector on the test pictures below `data`, beside the reference's.
fn blood_cells(shared: &Path, data: &Path) -> Vec<(&'static str, f64, f64)> {
    let labels = tempfile::NamedTempFile::new().unwrap();
    fs::write(labels.path(), "RBC\nWBC\nPlatelets\n").unwrap();
    let mut command = effdet();
    command.arg("val").arg("--data").arg(data).args(["--format", "voc", "--split", "test"]);
    command
        .args(["--model", MODEL, "--weights"])
        .arg(shared.join(CHECKPOINT))
        .arg("--labels")
        .arg(labels.path());
    let list = |values: [f32; 3]| values.map(|value| value.to_string()).join(",");
    command.args(["--mean", &list(MEAN), "--std", &list(STD), "--batch", "4", "--json", "-"]);
    let report: Value = serde_json::from_slice(&command.assert().success().get_output().stdout).unwrap();
    let expected = read_json(&shared.join("checkpoints/tf_efficientdet_lite0-bccd.test.json"));
    NUMBERS
        .map(|key| {
            let (ours, reference) = (report[key].as_f64().unwrap(), expected["stats"][key].as_f64().unwrap());
            eprintln!("{key:>5} {ours:.6} reference {reference:.6} difference {:+.6}", ours - reference);
            (key, ours, reference)
        })
        .into()
}

#[test]
fn blood_cells_from_jpeg_score_as_in_the_reference_but_for_the_decoder() {
    let Some(shared) = shared_or_skip("evaluation of blood cells from JPEG files") else { return };
    for (key, ours, reference) in blood_cells(&shared, &shared.join("data/bccd")) {
        let tolerance = if key == "AP" { 0.005 } else { 0.02 };
        assert!((ours - reference).abs() <= tolerance, "{key}: {ours} and {reference}");
    }
}

/// `EFFDET_BCCD_PNG` names a folder made by `tools/golden/decode_with_pillow.py`.
#[test]
fn blood_cells_from_the_references_pixels_score_as_in_the_reference() {
    let Some(shared) = shared_or_skip("evaluation of blood cells from PNG files") else { return };
    let Some(png) = std::env::var_os("EFFDET_BCCD_PNG") else {
        eprintln!("evaluation of blood cells from PNG files: skipped, EFFDET_BCCD_PNG names no folder");
        return;
    };
    // The labels with the pictures of the same stems.
    let data = tempfile::tempdir().unwrap();
    for folder in ["Annotations", "ImageSets/Main", "JPEGImages"] {
        fs::create_dir_all(data.path().join(folder)).unwrap();
    }
    let bccd = shared.join("data/bccd");
    let list = fs::read_to_string(bccd.join("ImageSets/Main/test.txt")).unwrap();
    fs::write(data.path().join("ImageSets/Main/test.txt"), &list).unwrap();
    for stem in list.split_whitespace() {
        let xml = fs::read_to_string(bccd.join(format!("Annotations/{stem}.xml"))).unwrap();
        fs::write(data.path().join(format!("Annotations/{stem}.xml")), xml.replace(".jpg", ".png")).unwrap();
        let picture = format!("{stem}.png");
        fs::copy(Path::new(&png).join(&picture), data.path().join("JPEGImages").join(picture)).unwrap();
    }
    for (key, ours, reference) in blood_cells(&shared, data.path()) {
        assert!((ours - reference).abs() <= 0.002, "{key}: {ours} and {reference}");
    }
}
