//! Detections written as labels read back as they were.

use std::collections::BTreeMap;
use std::path::Path;

use crate::common::{Fixture, fails, numbers};
use effdet::data::{Format, LabelFormat, ParseOptions, PictureCheck, Policies, Policy, Source};
use effdet::prelude::*;
use serde_json::Value;

/// Boxes and classes by file name, and scores where the format has them.
type Found = BTreeMap<String, Vec<(XyxyBox, String, Option<f32>)>>;

fn reported(fixture: &Fixture, options: &[&str]) -> Found {
    let report = fixture.json(&["in", "other/c.png"], options);
    let images = report["images"].as_array().unwrap().iter();
    let row = |found: &Value| {
        let corners: [f32; 4] = numbers(&found["bbox"]).try_into().unwrap();
        let label = found["label"].as_str().unwrap().to_owned();
        (XyxyBox::from(corners), label, Some(found["score"].as_f64().unwrap() as f32))
    };
    images
        .map(|image| {
            let name = Path::new(image["path"].as_str().unwrap()).file_name().unwrap();
            let rows = image["detections"].as_array().unwrap().iter().map(row);
            (name.to_string_lossy().into_owned(), rows.filter(|row| !row.0.is_empty()).collect())
        })
        .collect()
}

fn parsed(format: Format, source: &Source) -> Found {
    let options = ParseOptions {
        policies: Policies::all(Policy::Error),
        pictures: PictureCheck::Header,
        ..ParseOptions::default()
    };
    let dataset = format.parse(source, &options).unwrap().dataset;
    let classes = &dataset.class_map;
    let rows = |record: &effdet::data::Record| {
        let row = |object: &effdet::data::Object| (object.bbox, classes.label(object.class_id), object.score);
        record.objects.iter().map(row).collect()
    };
    let name =
        |record: &effdet::data::Record| record.path.file_name().unwrap().to_string_lossy().into_owned();
    dataset.records.iter().map(|record| (name(record), rows(record))).collect()
}

fn assert_same(found: &Found, expected: &Found, tolerance: f32, has_scores: bool) {
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, rows) in expected {
        assert_eq!(found[name].len(), rows.len(), "{name}");
        for ((bbox, label, score), expected) in found[name].iter().zip(rows) {
            let corners = <[f32; 4]>::from(*bbox).into_iter().zip(<[f32; 4]>::from(expected.0));
            assert!(
                corners.into_iter().all(|(a, b)| (a - b).abs() <= tolerance),
                "{name}: {bbox:?} {expected:?}"
            );
            assert_eq!((label, *score), (&expected.1, expected.2.filter(|_| has_scores)), "{name}");
        }
    }
}

#[test]
fn every_format_reads_back_as_what_was_found() {
    let fixture = Fixture::new();
    fixture.picture("in/a.png", 80, 64);
    fixture.picture("in/b.jpg", 120, 60);
    fixture.picture("other/c.png", 40, 90);
    let options = [
        "--max-detections",
        "6",
        "--save-coco",
        "found.json",
        "--save-csv",
        "found.csv",
        "--save-yolo",
        "yolo",
        "--save-voc",
        "voc",
    ];
    let expected = reported(&fixture, &options);
    assert_eq!(expected.len(), 3);
    assert!(expected.values().all(|rows| rows.len() >= 4), "{expected:?}");

    // File names are relative to the folder that holds all pictures.
    let pictures = |file: &str| Source::new(fixture.path(file)).with_pictures(fixture.path(""));
    assert_same(&parsed(Format::Coco, &pictures("found.json")), &expected, 1e-4, true);
    assert_same(&parsed(Format::Csv, &pictures("found.csv")), &expected, 1e-4, true);
    assert_same(&parsed(Format::Yolo, &Source::new(fixture.path("yolo"))), &expected, 1e-2, false);
    assert_same(&parsed(Format::Voc, &Source::new(fixture.path("voc"))), &expected, 1e-4, false);
}

#[test]
fn a_picture_named_twice_is_in_the_labels_once() {
    let fixture = Fixture::new();
    fixture.picture("a.png", 80, 64);
    fixture.predict(&["a.png", "a.png"]).args(["--save-csv", "found.csv"]).assert().success();
    let source = Source::new(fixture.path("found.csv"));
    assert_eq!(Format::Csv.parse(&source, &ParseOptions::default()).unwrap().dataset.records.len(), 1);
}

#[test]
fn places_that_cannot_be_written_are_refused_before_the_work() {
    let fixture = Fixture::new();
    fixture.picture("in/a.png", 80, 64);
    for (options, reason) in [
        (["--save-coco", "no/such/found.json"], "no/such/found.json"),
        (["--save-csv", "in"], "expected the name of a file"),
        (["--save-yolo", "in"], "in is not empty"),
    ] {
        let stderr = fails(fixture.predict(&["in"]).args(options), 2);
        assert!(stderr.contains(reason), "{stderr}");
    }
}

#[test]
fn lines_of_an_earlier_run_stay_where_the_arguments_are_refused() {
    let fixture = Fixture::new();
    fixture.picture("in/a.png", 80, 64);
    std::fs::write(fixture.path("found.jsonl"), "{}\n").unwrap();
    for refused in [["--save-yolo", "in"], ["--out", "in"]] {
        fails(fixture.predict(&["in"]).args(["--jsonl", "found.jsonl"]).args(refused), 2);
        assert_eq!(std::fs::read_to_string(fixture.path("found.jsonl")).unwrap(), "{}\n");
    }
}

#[cfg(unix)]
#[test]
fn a_reader_of_lines_that_goes_away_does_not_take_the_files_with_it() {
    let fixture = Fixture::new();
    fixture.picture("in/a.png", 80, 64);
    fixture.picture("in/b.png", 60, 50);
    let run = |options: &[&str]| {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_effdet"))
            .current_dir(fixture.path(""))
            .args(["predict", "in", "gone.png", "--weights", "tiny.safetensors", "--jsonl", "-"])
            .args(options)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // Before anything can be written, both readers have gone.
        drop((child.stdout.take(), child.stderr.take()));
        child.wait().unwrap().code()
    };
    assert_eq!(run(&["--save-csv", "found.csv", "--out", "drawn"]), Some(1));
    for name in ["found.csv", "drawn/a.png", "drawn/b.png"] {
        assert!(fixture.path(name).is_file(), "{name}");
    }
    assert_eq!(run(&[]), Some(0), "nothing else was wanted");
}

#[test]
fn lines_of_json_hold_pictures_and_errors() {
    let fixture = Fixture::new();
    fixture.picture("a.png", 80, 64);
    let mut command = fixture.predict(&["a.png", "gone.png"]);
    let output = command.args(["--score", "0", "--jsonl", "-"]).assert().code(1).get_output().clone();
    let lines: Vec<Value> = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect();
    assert_eq!(lines.len(), 2);
    let of = |name: &str| lines.iter().find(|line| line["path"] == name).unwrap();
    assert_eq!(of("a.png")["detections"].as_array().unwrap().len(), 100);
    assert!(of("gone.png")["error"].as_str().unwrap().contains("No such file"));
    let stderr = fails(fixture.predict(&["a.png"]).args(["--json", "-", "--jsonl", "-"]), 2);
    assert!(stderr.contains("cannot both be standard output"), "{stderr}");
}
