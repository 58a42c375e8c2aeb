//! `effdet evaluate`: files in, numbers out.

use std::fs;
use std::path::PathBuf;

use crate::common::{effdet, fails, read_json};
use assert_cmd::Command;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The keys of a COCO evaluation, in the order of the twelve numbers.
const COCO: [&str; 12] =
    ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"];

/// A folder with label and detection files of all three formats.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.write("truth.json", &json!({
            "images": [{"id": 7, "width": 200, "height": 200}, {"id": 9, "width": 200, "height": 200}],
            "categories": [{"id": 3, "name": "cat"}, {"id": 5, "name": "dog"}],
            "annotations": [
                {"id": 1, "image_id": 7, "category_id": 3, "bbox": [10, 10, 20, 20], "area": 400, "iscrowd": 0},
                {"id": 2, "image_id": 7, "category_id": 5, "bbox": [50, 50, 50, 50], "area": 2500, "iscrowd": 0},
                {"id": 3, "image_id": 9, "category_id": 5, "bbox": [0, 0, 100, 100], "area": 10000, "iscrowd": 0},
            ],
        }).to_string());
        files.write(
            "found.json",
            &json!([
                {"image_id": 7, "category_id": 3, "bbox": [10, 10, 20, 20], "score": 0.9},
                {"image_id": 7, "category_id": 5, "bbox": [50, 50, 50, 40], "score": 0.8},
            ])
            .to_string(),
        );
        let object = |name: &str, difficult: u8, [x1, y1, x2, y2]: [u32; 4]| {
            format!(
                "<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{x1}</xmin>\
                 <ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
            )
        };
        let boxes = object("cat", 0, [1, 1, 10, 10]) + &object("cat", 1, [50, 50, 80, 80]);
        files.write("voc/Annotations/a.xml", &format!("<annotation>{boxes}</annotation>"));
        files.write("voc/Annotations/b.xml", "<annotation></annotation>");
        files.write("voc_found/cat.txt", "a 0.9 1 1 10 10\nb 0.5 1 1 10 10\n");
        files.write(
            "boxes.csv",
            "ImageID,LabelName,XMin,XMax,YMin,YMax,IsGroupOf\na,/m/cat,0.1,0.3,0.1,0.3,0\nb,/m/cat,0.5,0.9,0.5,0.9,0\n",
        );
        files.write(
            "found.csv",
            "ImageID,LabelName,Score,XMin,XMax,YMin,YMax\na,/m/cat,0.9,0.1,0.3,0.1,0.3\n",
        );
        files.write("names.csv", "/m/cat,Cat\n");
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn evaluate(&self, arguments: &[&str]) -> Command {
        let mut command = effdet();
        command.current_dir(self.0.path()).arg("evaluate").args(arguments);
        command
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let mut command = self.evaluate(arguments);
        serde_json::from_slice(&command.args(["--json", "-"]).assert().success().get_output().stdout).unwrap()
    }
}

fn near(value: &Value, expected: f64) {
    let value = value.as_f64().unwrap();
    assert!((value - expected).abs() < 1e-9, "{value} is not {expected}");
}

#[test]
fn numbers_never_replace_labels_or_detections() {
    let files = Files::new();
    for (out, what) in [("truth.json", "the labels"), ("./found.json", "the detections")] {
        let before = fs::read(files.path(out)).unwrap();
        let stderr = fails(&mut files.evaluate(&["truth.json", "found.json", "--json", out]), 2);
        assert!(stderr.contains(&format!("--json {out} is {what}")), "{stderr}");
        assert_eq!(fs::read(files.path(out)).unwrap(), before);
    }
}

#[test]
fn coco_json_has_the_twelve_numbers_of_all_and_of_each_class() {
    let files = Files::new();
    files.evaluate(&["truth.json", "found.json", "--json", "numbers.json"]).assert().success();
    let report = read_json(&files.path("numbers.json"));
    for numbers in [&report, &report["per_class"]["cat"], &report["per_class"]["dog"]] {
        for key in COCO {
            assert!(numbers[key].is_f64() || numbers[key].is_i64(), "{key}: {numbers}");
        }
    }
    assert_eq!(report["per_class"].as_object().unwrap().len(), 2);
    near(&report["per_class"]["cat"]["AP"], 1.0);
    // Half of the dogs, at an IoU of 0.8: recall 0.5 up to the threshold 0.8, 51 of the 101 recall points.
    near(&report["per_class"]["dog"]["AP50"], 51.0 / 101.0);
    near(&report["per_class"]["dog"]["AP"], 0.7 * 51.0 / 101.0);
    near(&report["per_class"]["dog"]["AR100"], 0.35);
    near(&report["AP50"], (1.0 + 51.0 / 101.0) / 2.0);
    near(&report["per_class"]["cat"]["APm"], -1.0);
}

#[test]
fn the_table_is_on_standard_output_unless_the_json_is() {
    let files = Files::new();
    let table = files.evaluate(&["truth.json", "found.json"]).assert().success().get_output().stdout.clone();
    let table = String::from_utf8(table).unwrap();
    assert!(table.contains("IoU=0.50:0.95"), "{table}");
    assert!(files.json(&["truth.json", "found.json"])["AP"].is_f64());
}

#[test]
fn another_iou_counts_other_detections() {
    let files = Files::new();
    near(&files.json(&["truth.json", "found.json", "--iou", "0.8"])["AP"], (1.0 + 51.0 / 101.0) / 2.0);
    near(&files.json(&["truth.json", "found.json", "--iou", "0.81"])["AP"], 0.5);
}

#[test]
fn voc_json_has_the_mean_and_each_class() {
    let files = Files::new();
    let voc = ["voc", "voc_found", "--format", "voc"];
    let report = files.json(&voc);
    near(&report["mAP"], 1.0);
    near(&report["per_class"]["cat"]["AP"], 1.0);
    near(&files.json(&[&voc[..], &["--use-difficult"]].concat())["mAP"], 0.5);
    near(&files.json(&[&voc[..], &["--use-difficult", "--eleven-point"]].concat())["mAP"], 6.0 / 11.0);
}

#[test]
fn voc_detections_may_be_a_results_json() {
    let files = Files::new();
    files.write("labels.txt", "cow\ncat\n");
    let found = json!([{"image_id": "a", "category_id": 2, "bbox": [0, 0, 9, 9], "score": 0.9}]);
    files.write("voc.json", &found.to_string());
    // A pixel off would be a miss.
    let exact = ["--iou", "0.99"];
    let report =
        files.json(&[&["voc", "voc.json", "--format", "voc", "--labels", "labels.txt"][..], &exact].concat());
    near(&report["per_class"]["cat"]["AP"], 1.0);
}

#[test]
fn openimages_takes_its_two_tables_and_names() {
    let files = Files::new();
    let report =
        files.json(&["boxes.csv", "found.csv", "--format", "openimages", "--class-names", "names.csv"]);
    near(&report["mAP"], 0.5);
    near(&report["per_class"]["Cat"]["AP"], 0.5);
}

#[test]
fn plots_are_written_with_all_of_the_diagnosis() {
    let files = Files::new();
    files.evaluate(&["truth.json", "found.json", "--plots", "plots/deep"]).assert().success();
    for svg in ["precision_recall.svg", "f1.svg", "confusion.svg"] {
        let text = fs::read_to_string(files.path("plots/deep").join(svg)).unwrap();
        assert!(text.contains("<svg") && text.contains("dog"), "{svg}");
    }
    assert!(read_json(&files.path("plots/deep/diagnosis.json")).is_object());
}

#[test]
fn plots_count_at_the_iou_that_is_asked_for_and_the_page_says_so() {
    let files = Files::new();
    let page = |iou: &str| {
        files.evaluate(&["truth.json", "found.json", "--iou", iou, "--plots", iou]).assert().success();
        let diagnosis = read_json(&files.path(iou).join("diagnosis.json"));
        for part in ["curves", "confusion", "errors"] {
            near(&diagnosis[part]["options"]["iou"], iou.parse().unwrap());
        }
        fs::read_to_string(files.path(iou).join("report.html")).unwrap()
    };
    // One dog is found with an IoU of 0.8, the other is not.
    let strict = page("0.85");
    for part in [
        "Precision over recall at IoU 0.85<",
        "F1 over the score threshold at IoU 0.85<",
        "Which classes are taken for which at IoU 0.85<",
        "the highest F1, at IoU 0.85:",
        "the AP at IoU 0.85 ",
        "<td>localisation</td><td>1</td>",
        "<td>missed</td><td>1</td>",
    ] {
        assert!(strict.contains(part), "{part}");
    }
    // Below the IoU from which an object is near at all.
    assert!(page("0.05").contains("<td>localisation</td><td>0</td>"));
}

#[test]
fn a_reader_that_goes_away_does_not_take_the_files_with_it() {
    let files = Files::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = std::process::Command::new(env!("CARGO_BIN_EXE_effdet"))
        .current_dir(files.0.path())
        .args(["evaluate", "truth.json", "found.json", "--json", "numbers.json", "--plots", "plots"])
        .stdout(writer)
        .status()
        .unwrap();
    assert!(status.success());
    assert!(read_json(&files.path("numbers.json"))["AP"].is_f64());
    assert!(files.path("plots/report.html").is_file());
}

#[test]
fn options_of_another_format_are_refused() {
    let files = Files::new();
    let coco = ["truth.json", "found.json"];
    let voc = ["voc", "voc_found", "--format", "voc"];
    let openimages = ["boxes.csv", "found.csv", "--format", "openimages"];
    for (arguments, options, told) in [
        (&coco[..], &["--labels", "labels.txt"][..], "--labels is only for --format voc"),
        (&coco, &["--eleven-point"], "--eleven-point is only for --format voc"),
        (&coco, &["--class-names", "names.csv"], "--class-names is only for --format openimages"),
        (&voc, &["--hierarchy", "tree.json"], "--hierarchy is only for --format openimages"),
        (&voc, &["--image-labels", "labels.csv"], "--image-labels is only for --format openimages"),
        (&openimages, &["--use-difficult"], "--use-difficult is only for --format voc"),
    ] {
        let stderr = fails(&mut files.evaluate(&[arguments, options].concat()), 2);
        assert!(stderr.contains(told), "{told}: {stderr}");
    }
}

#[test]
fn what_cannot_be_read_ends_with_status_2_and_the_files_name() {
    let files = Files::new();
    files.write("broken.json", "{\"images\": [");
    files.write("list.json", "[{\"image_id\": 7, \"category_id\": 3, \"bbox\": [1, 2, 3], \"score\": 0.9}]");
    files.write("bad.csv", "ImageID,LabelName,XMin\na,b,c\n");
    files.write("bad/x.xml", "<annotation><object>");
    for (arguments, told) in [
        (&["nowhere.json", "found.json"][..], "nowhere.json"),
        (&["truth.json", "nowhere.json"], "nowhere.json"),
        (&["broken.json", "found.json"], "broken.json"),
        (&["truth.json", "list.json"], "list.json"),
        (&["truth.json", "truth.json"], "truth.json"),
        (&["voc", "nowhere", "--format", "voc"], "nowhere"),
        (&["bad", "voc_found", "--format", "voc"], "x.xml"),
        (&["bad.csv", "found.csv", "--format", "openimages"], "bad.csv"),
        (&["boxes.csv", "bad.csv", "--format", "openimages"], "bad.csv"),
        (&["truth.json", "found.json", "--iou", "1.5"], "--iou"),
        (&["truth.json", "found.json", "--format", "kitti"], "--format"),
        (&["truth.json", "found.json", "--json", "no/such/folder.json"], "no/such/folder.json"),
        (&["truth.json"], "DETECTIONS"),
    ] {
        let stderr = fails(&mut files.evaluate(arguments), 2);
        assert!(stderr.contains(told), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{arguments:?}: {stderr}");
    }
}
