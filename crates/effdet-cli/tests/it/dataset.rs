//! `effdet dataset`: what it says about a data set.

use std::fs;

use crate::common::{Fixture, effdet, fails, read_json};
use assert_cmd::Command;
use effdet_testing::shared::shared_or_skip;
use serde_json::{Value, json};

/// Three pictures in two splits, with some dirt.
fn with_voc() -> Fixture {
    let fixture = Fixture::new();
    let object = |name: &str, [x1, y1, x2, y2]: [u32; 4]| {
        format!(
            "<object><name>{name}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax>\
             <ymax>{y2}</ymax></bndbox></object>"
        )
    };
    for (stem, objects) in [
        ("a", object("cat", [1, 1, 20, 40]) + &object("dog", [11, 11, 60, 30])),
        ("b", object("cat", [30, 30, 30, 30]) + &object("cat", [50, 40, 90, 50])),
        ("c", String::new()),
    ] {
        fixture.picture(&format!("set/JPEGImages/{stem}.png"), 80, 60);
        fs::create_dir_all(fixture.path("set/Annotations")).unwrap();
        let xml = format!("<annotation><filename>{stem}.png</filename>{objects}</annotation>");
        fs::write(fixture.path(&format!("set/Annotations/{stem}.xml")), xml).unwrap();
    }
    fs::create_dir_all(fixture.path("set/ImageSets/Main")).unwrap();
    fs::write(fixture.path("set/ImageSets/Main/train.txt"), "a\nc\n").unwrap();
    fs::write(fixture.path("set/ImageSets/Main/val.txt"), "b\n").unwrap();
    fixture
}

fn dataset(fixture: &Fixture, arguments: &[&str]) -> Command {
    let mut command = effdet();
    command.current_dir(fixture.path("")).arg("dataset").args(arguments);
    command
}

#[test]
fn json_counts_classes_splits_and_dirt() {
    let fixture = with_voc();
    dataset(&fixture, &["set", "--format", "voc", "--json", "set.json"]).assert().success();
    let report = read_json(&fixture.path("set.json"));
    assert_eq!((&report["pictures"], &report["negatives"]), (&json!(3), &json!(1)));
    assert_eq!(report["splits"]["train"], json!({"pictures": 2, "negatives": 1, "objects": 2}));
    let cat = &report["classes"][0];
    assert_eq!(
        (&cat["name"], &cat["objects"], &cat["splits"]["train"]),
        (&json!("cat"), &json!(2), &json!(1))
    );
    assert_eq!(report["dirt"]["counts"], json!({"outside_picture": 1, "zero_area": 1}));
    let zero = &report["dirt"]["occurrences"];
    assert!(zero.as_array().unwrap().iter().all(|dirt| dirt["file"].as_str().unwrap().ends_with("b.xml")));
    assert_eq!(report["box_width"]["min"], json!(20.0));
    assert_eq!(report["picture_width"]["median"], json!(80.0));
    let anchors = &report["anchors"];
    assert_eq!((&anchors["model"], &anchors["boxes"]), (&json!("tf_efficientdet_d0"), &json!(3)));
    let mean = |coverage: &Value| coverage["mean_iou"].as_f64().unwrap();
    assert!(mean(&anchors["current"]) > 0.3);
    assert!(mean(&anchors["suggestion"]) > mean(&anchors["current"]));
    assert_eq!(anchors["shapes"].as_array().unwrap().len(), 3);
}

#[test]
fn the_text_names_the_dirt_and_the_anchors_of_the_model() {
    let fixture = with_voc();
    let arguments = ["set", "--format", "voc", "--split", "val", "--model", "efficientdet_d1"];
    let output = dataset(&fixture, &arguments).assert().success().get_output().stdout.clone();
    let text = String::from_utf8(output).unwrap();
    for part in
        ["1 pictures", "outside picture: 1", "b.xml", "anchors of efficientdet_d1 at 640x640", "k-means"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn plots_are_a_page_with_its_figures_and_shown_pictures_have_boxes() {
    let fixture = with_voc();
    let arguments = ["set", "--format", "voc", "--plots", "plots", "--show", "2"];
    dataset(&fixture, &arguments).assert().success();
    let page = fs::read_to_string(fixture.path("plots/index.html")).unwrap();
    for figure in
        ["classes.svg", "box_width.svg", "aspect_ratio.svg", "anchors.svg", "shapes.svg", "dirt.svg"]
    {
        assert!(page.contains(figure), "{figure}");
        assert!(fs::read_to_string(fixture.path("plots").join(figure)).unwrap().contains("<svg"), "{figure}");
    }
    let shown: Vec<_> =
        fs::read_dir(fixture.path("plots/pictures")).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(shown.len(), 2);
    let plain = image::open(fixture.path("set/JPEGImages/a.png")).unwrap().to_rgb8();
    let drawn = shown.iter().find(|path| path.to_string_lossy().ends_with("_a.png")).unwrap();
    assert_ne!(image::open(drawn).unwrap().to_rgb8(), plain);
}

#[test]
fn a_reader_that_goes_away_takes_neither_files_nor_status_with_it() {
    let fixture = with_voc();
    let whole = fs::read(fixture.path("set/JPEGImages/b.png")).unwrap();
    fs::write(fixture.path("set/JPEGImages/b.png"), &whole[..whole.len() / 2]).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = std::process::Command::new(env!("CARGO_BIN_EXE_effdet"))
        .current_dir(fixture.path(""))
        .args(["dataset", "set", "--format", "voc", "--json", "set.json", "--plots", "plots", "--show", "9"])
        .stdout(writer)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
    assert_eq!(read_json(&fixture.path("set.json"))["pictures"], json!(3));
    assert!(fixture.path("plots/index.html").is_file());
    assert_eq!(fs::read_dir(fixture.path("plots/pictures")).unwrap().count(), 2);
}

#[test]
fn a_picture_that_cannot_be_drawn_is_named() {
    let fixture = with_voc();
    fs::write(fixture.path("set/JPEGImages/c.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    // Without its header the picture is dirt, and left out.
    let output =
        dataset(&fixture, &["set", "--format", "voc", "--show", "9", "--out", "shown"]).assert().success();
    let text = String::from_utf8(output.get_output().stdout.clone()).unwrap();
    assert!(text.contains("unreadable picture: 1") && text.contains("c.png"), "{text}");
    assert_eq!(fs::read_dir(fixture.path("shown")).unwrap().count(), 2);

    let whole = fs::read(fixture.path("set/JPEGImages/b.png")).unwrap();
    fs::write(fixture.path("set/JPEGImages/b.png"), &whole[..whole.len() / 2]).unwrap();
    let stderr =
        fails(&mut dataset(&fixture, &["set", "--format", "voc", "--show", "9", "--out", "shown"]), 1);
    assert!(stderr.contains("b.png"), "{stderr}");
}

#[test]
fn a_data_set_of_negatives_has_no_anchors_to_fit() {
    let fixture = Fixture::new();
    fixture.picture("set/a.png", 9, 9);
    let labels = json!({"images": [{"id": 1, "file_name": "a.png"}], "annotations": [], "categories": []});
    fs::write(fixture.path("set/labels.json"), labels.to_string()).unwrap();
    let arguments =
        ["set", "--format", "coco", "--annotations", "set/labels.json", "--json", "-", "--plots", "plots"];
    let output = dataset(&fixture, &arguments).assert().success().get_output().stdout.clone();
    let report: Value = serde_json::from_slice(&output).unwrap();
    assert_eq!((&report["negatives"], report.get("anchors")), (&json!(1), None));
}

#[test]
fn what_cannot_be_read_ends_with_status_2_and_a_name() {
    let fixture = with_voc();
    fs::create_dir_all(fixture.path("empty")).unwrap();
    for (arguments, told) in [
        (&["nowhere", "--format", "voc"][..], "nowhere"),
        (&["empty", "--format", "coco"], "empty"),
        (&["set", "--format", "voc", "--split", "test1999"], "test1999"),
        (&["set", "--format", "kitti"], "kitti"),
        (&["set", "--format", "voc", "--model", "efficientdet_d99"], "efficientdet_d99"),
        (&["set", "--format", "voc", "--show", "many"], "many"),
        (&["set"], "--format"),
    ] {
        let stderr = fails(&mut dataset(&fixture, arguments), 2);
        assert!(stderr.contains(told), "{arguments:?}: {stderr}");
    }
}

#[test]
fn blood_cells_have_the_counts_that_are_known() {
    let Some(shared) = shared_or_skip("statistics of blood cells") else { return };
    let data = shared.join("data/bccd");
    let mut command = effdet();
    command.arg("dataset").arg(data).args([
        "--format",
        "voc",
        "--json",
        "-",
        "--model",
        "tf_efficientdet_lite0",
    ]);
    let report: Value = serde_json::from_slice(&command.assert().success().get_output().stdout).unwrap();
    assert_eq!((&report["pictures"], &report["objects"]), (&json!(364), &json!(4886)));
    assert_eq!(report["splits"]["test"]["pictures"], json!(72));
    assert_eq!(report["dirt"]["counts"], json!({"zero_area": 2, "duplicate_box": 7}));
    assert!(
        report["anchors"]["current"]["covered"].as_f64().unwrap() > 0.9,
        "{}",
        report["anchors"]["current"]
    );
}
