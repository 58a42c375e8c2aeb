//! `effdet predict` on a small checkpoint: what it writes.

use std::fs;

use crate::common::{self, Fixture, NAMES, fails, numbers, read_json, tiny_config};
use effdet::prelude::*;
use effdet::weights::CheckpointMetadata;
use serde_json::{Value, json};

fn detections(report: &Value, image: usize) -> &Vec<Value> {
    report["images"][image]["detections"].as_array().unwrap()
}

#[test]
fn json_holds_boxes_in_pixels_of_the_picture_best_first() {
    let fixture = Fixture::new();
    fixture.picture("wide.png", 200, 90);
    fixture.predict(&["wide.png"]).args(["--score", "0", "--json", "found.json"]).assert().success();
    let report = read_json(&fixture.path("found.json"));
    assert_eq!(report["model"], "efficientdet-lcnet_035");
    assert_eq!(report["errors"], json!([]));
    let image = &report["images"][0];
    assert_eq!(
        (&image["path"], &image["width"], &image["height"]),
        (&json!("wide.png"), &json!(200), &json!(90))
    );
    let found = detections(&report, 0);
    assert_eq!(found.len(), 100);
    let scores: Vec<f64> = found.iter().map(|found| found["score"].as_f64().unwrap()).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b) && scores[0] <= 1.0 && scores[0] > 0.05, "{scores:?}");
    for found in found {
        let [x1, y1, x2, y2] = numbers(&found["bbox"]).try_into().unwrap();
        assert!(0.0 <= x1 && x1 <= x2 && x2 <= 200.01 && 0.0 <= y1 && y1 <= y2 && y2 <= 90.01, "{found}");
        let id = found["class_id"].as_u64().unwrap() as usize;
        assert_eq!(found["label"], NAMES[id - 1]);
    }
    let widest = found.iter().map(|found| numbers(&found["bbox"])[2]).fold(0.0, f32::max);
    assert!(widest > 100.0, "boxes reach beyond the 64 pixels of the network's input: {widest}");
    let leftovers = fs::read_dir(fixture.path("")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(leftovers.filter(|name| name.to_string_lossy().ends_with(".tmp")).count(), 0);
}

#[test]
fn the_command_finds_what_the_library_finds() {
    let fixture = Fixture::new();
    let path = fixture.picture("cat.png", 80, 64);
    let mut detector = fixture.detector();
    let picture = decode_file(&path, &DecodeLimits::default()).unwrap();
    for (option, size) in [("64", ImageSize::square(64)), ("64x96", ImageSize::new(64, 96))] {
        detector.set_preprocess(Preprocess { size, ..*detector.preprocess() }).unwrap();
        let expected = detector.detect(&picture).unwrap();
        let report = fixture.json(&["cat.png"], &["--image-size", option]);
        let found = detections(&report, 0);
        assert_eq!(found.len(), expected.len());
        for (found, Detection { bbox, score, class_id }) in found.iter().zip(&expected) {
            assert_eq!(numbers(&found["bbox"]), [bbox.x1, bbox.y1, bbox.x2, bbox.y2]);
            let found_score = found["score"].as_f64().unwrap() as f32;
            assert_eq!((found_score, &found["class_id"]), (*score, &json!(class_id)));
        }
    }
}

#[test]
fn the_table_names_label_score_and_box() {
    let fixture = Fixture::new();
    fixture.picture("cat.png", 80, 64);
    let output =
        fixture.predict(&["cat.png"]).args(["--score", "0", "--max-detections", "2"]).assert().success();
    let text = String::from_utf8(output.get_output().stdout.clone()).unwrap();
    assert!(text.starts_with("cat.png (80x64): 2 objects\n  label"), "{text}");
    assert_eq!(text.lines().count(), 4, "{text}");
    let output = fixture.predict(&["cat.png"]).args(["--score", "1"]).assert().success();
    assert_eq!(output.get_output().stdout, b"cat.png (80x64): nothing found\n");
}

#[test]
fn scores_below_the_threshold_are_left_out() {
    let fixture = Fixture::new();
    fixture.picture("cat.png", 80, 64);
    let all = fixture.json(&["cat.png"], &[]);
    let middle = detections(&all, 0)[20]["score"].as_f64().unwrap();
    let threshold = middle.to_string();
    for soft in [&[][..], &["--soft-nms"]] {
        let options = [&["--score", &threshold], soft].concat();
        let mut command = fixture.predict(&["cat.png"]);
        let output =
            command.args(["--json", "-"]).args(&options).assert().success().get_output().stdout.clone();
        let some: Value = serde_json::from_slice(&output).unwrap();
        let scores: Vec<f64> =
            detections(&some, 0).iter().map(|found| found["score"].as_f64().unwrap()).collect();
        assert!(
            (1..=100).contains(&scores.len()) && scores.iter().all(|score| *score >= middle),
            "{scores:?}"
        );
    }
}

#[test]
fn suppression_follows_its_options() {
    let fixture = Fixture::new();
    fixture.picture("cat.png", 80, 64);
    let count = |options: &[&str]| {
        let options = [options, &["--max-detections", "100000"]].concat();
        detections(&fixture.json(&["cat.png"], &options), 0).len()
    };
    let (none, half, strict) = (count(&["--iou", "1"]), count(&[]), count(&["--iou", "0.1"]));
    assert!(none > half && half > strict, "{none} {half} {strict}");
    assert!(count(&["--soft-nms"]) > half);
}

#[test]
fn batches_keep_the_order_and_the_results() {
    let fixture = Fixture::new();
    let names: Vec<String> = (0..5).map(|i| format!("{i}.png")).collect();
    for (i, name) in (0..).zip(&names) {
        fixture.picture(name, 60 + 7 * i, 50 + 5 * i);
    }
    let sources: Vec<&str> = names.iter().rev().map(String::as_str).collect();
    let one = fixture.json(&sources, &[]);
    let three = fixture.json(&sources, &["--batch", "3", "--threads", "1"]);
    for (i, name) in sources.iter().enumerate() {
        assert_eq!((&one["images"][i]["path"], &three["images"][i]["path"]), (&json!(name), &json!(name)));
        let best = |report: &Value| detections(report, i)[0]["score"].as_f64().unwrap();
        assert!((best(&one) - best(&three)).abs() < 1e-5);
    }
}

#[test]
fn one_bad_picture_is_reported_and_the_rest_go_on() {
    let fixture = Fixture::new();
    fixture.picture("a.png", 40, 40);
    fixture.picture("c.png", 50, 40);
    fs::write(fixture.path("b.png"), "no picture").unwrap();
    for batch in ["1", "4"] {
        let mut command = fixture.predict(&["a.png", "b.png", "gone.png", "c.png"]);
        command.args(["--json", "found.json", "--out", "drawn", "--batch", batch]);
        let stderr = fails(&mut command, 1);
        assert!(stderr.contains("error: b.png: not a picture"), "{stderr}");
        assert!(stderr.contains("error: gone.png: cannot be read: No such file"), "{stderr}");
        assert!(stderr.contains("2 of 4 pictures failed"), "{stderr}");
        let report = read_json(&fixture.path("found.json"));
        let paths = |list: &str| {
            let list = report[list].as_array().unwrap().iter();
            list.map(|entry| entry["path"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(
            (paths("images"), paths("errors")),
            (vec!["a.png".to_owned(), "c.png".to_owned()], vec!["b.png".to_owned(), "gone.png".to_owned()])
        );
        assert!(fixture.path("drawn/c.png").exists());
    }
}

#[test]
fn annotated_pictures_keep_size_and_name() {
    let fixture = Fixture::new();
    fixture.picture("cat.png", 80, 64);
    fixture.picture("other/cat.png", 33, 44);
    fixture.picture("cat.jpg", 50, 60);
    fixture.picture("cat.bmp", 20, 30);
    let mut command = fixture.predict(&["cat.png", "other/cat.png", "cat.jpg", "cat.bmp"]);
    command.args(["--score", "0", "--out", "new/drawn"]).assert().success();
    let size =
        |name: &str| image::open(fixture.path("new/drawn").join(name)).unwrap().into_rgb8().dimensions();
    assert_eq!(
        ["cat.png", "cat-2.png", "cat.jpg", "cat-3.png"].map(size),
        [(80, 64), (33, 44), (50, 60), (20, 30)]
    );
    let drawn = image::open(fixture.path("new/drawn/cat.png")).unwrap();
    assert_ne!(drawn, image::open(fixture.path("cat.png")).unwrap());
}

#[test]
fn annotated_pictures_never_replace_their_sources() {
    let fixture = Fixture::new();
    let path = fixture.picture("cat.png", 80, 64);
    let before = fs::read(&path).unwrap();
    let stderr = fails(fixture.predict(&["cat.png"]).args(["--score", "0", "--out", "."]), 2);
    assert!(stderr.contains("cat.png"), "{stderr}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[cfg(unix)]
#[test]
fn annotated_pictures_never_replace_what_a_link_leads_to() {
    let fixture = Fixture::new();
    let path = fixture.picture("drawn/cat.png", 80, 64);
    let before = fs::read(&path).unwrap();
    fs::create_dir(fixture.path("links")).unwrap();
    std::os::unix::fs::symlink(&path, fixture.path("links/cat.png")).unwrap();
    for (source, out) in [("links/cat.png", "drawn"), ("drawn/cat.png", "links")] {
        let stderr = fails(fixture.predict(&[source]).args(["--score", "0", "--out", out]), 2);
        assert!(stderr.contains(&format!("--out {out} holds the source {source}")), "{stderr}");
        assert!(fs::read(&path).unwrap() == before);
    }
}

#[test]
fn results_never_replace_what_is_read_nor_each_other() {
    let fixture = Fixture::new();
    let pictures = [fixture.picture("in/cat.png", 80, 64), fixture.picture("in/dog.png", 80, 64)];
    let weights = fixture.path("tiny.safetensors");
    let read = || [&pictures[0], &pictures[1], &weights].map(|path| fs::read(path).unwrap());
    let before = read();
    for option in ["--json", "--jsonl", "--save-coco", "--save-csv"] {
        for (out, what) in [
            ("in/dog.png", "in/dog.png is a source"),
            ("in/../tiny.safetensors", "tiny.safetensors is the file of --weights"),
        ] {
            let stderr = fails(fixture.predict(&["in"]).args([option, out]), 2);
            assert!(stderr.contains(option) && stderr.contains(what), "{stderr}");
            assert!(read() == before, "{option} {out}");
        }
    }
    let stderr = fails(fixture.predict(&["in"]).args(["--json", "a.json", "--save-coco", "./a.json"]), 2);
    assert!(stderr.contains("--json and --save-coco are both ./a.json"), "{stderr}");
    assert!(!fixture.path("a.json").exists());
}

#[test]
fn folders_and_globs_give_their_pictures_by_name() {
    let fixture = Fixture::new();
    fixture.picture("in/b.PNG", 40, 40);
    fixture.picture("in/a.Jpeg", 40, 40);
    fixture.picture("in/deeper/c.png", 40, 40);
    fs::write(fixture.path("in/notes.txt"), "none").unwrap();
    fixture.picture("x[1].png", 40, 40);
    let paths = |sources: &[&str]| {
        let report = fixture.json(sources, &[]);
        let images = report["images"].as_array().unwrap().iter();
        images.map(|image| image["path"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(paths(&["in"]), ["in/a.Jpeg", "in/b.PNG"]);
    assert_eq!(paths(&["in/*"]), ["in/a.Jpeg", "in/b.PNG"]);
    assert_eq!(paths(&["in/**/*.png", "x[1].png"]), ["in/deeper/c.png", "x[1].png"]);
}

#[test]
fn a_dash_is_the_picture_on_standard_input() {
    let fixture = Fixture::new();
    let path = fixture.picture("cat.png", 80, 64);
    let piped = |options: &[&str]| {
        let mut command = fixture.predict(&["-", "cat.png"]);
        command.args(["--score", "0"]).args(options).write_stdin(fs::read(&path).unwrap());
        command
    };
    let output = piped(&["--json", "-", "--out", "drawn"]).assert().success().get_output().stdout.clone();
    let report: Value = serde_json::from_slice(&output).unwrap();
    assert_eq!(report["images"][0]["path"], "-");
    assert_eq!(report["images"][0]["width"], 80);
    assert_eq!(detections(&report, 0), detections(&report, 1));
    let drawn = |name: &str| fs::read(fixture.path("drawn").join(name)).unwrap();
    assert!(drawn("stdin.png") == drawn("cat.png"));

    let stderr = fails(piped(&[]).write_stdin("no picture"), 1);
    assert!(stderr.contains("error: -: "), "{stderr}");
    let stderr = fails(&mut piped(&["--save-csv", "found.csv"]), 2);
    assert!(stderr.contains("standard input has none"), "{stderr}");
    let stderr = fails(&mut fixture.predict(&["-", "-"]), 2);
    assert!(stderr.contains("named twice"), "{stderr}");
}

#[test]
fn a_source_without_pictures_is_named() {
    let fixture = Fixture::new();
    fixture.picture("deep/er/c.png", 40, 40);
    let stderr = fails(&mut fixture.predict(&["deep"]), 2);
    assert!(
        stderr.contains("the folder deep holds no pictures") && stderr.contains("sub-folders"),
        "{stderr}"
    );
    let stderr = fails(&mut fixture.predict(&["none*.png"]), 2);
    assert!(stderr.contains("none*.png matches no pictures"), "{stderr}");
}

#[test]
fn mean_and_std_come_from_the_flags_else_the_metadata_else_the_model() {
    let fixture = Fixture::new();
    fixture.picture("cat.png", 80, 64);
    let metadata = CheckpointMetadata {
        model: Some(tiny_config().name),
        image_size: Some([64, 64]),
        mean: Some([0.5; 3]),
        std: Some([0.25; 3]),
        ..Default::default()
    };
    fixture.checkpoint("half.safetensors", &tiny_config(), &metadata);
    let run = |options: &[&str]| {
        let mut command = common::effdet();
        command.current_dir(fixture.path("")).args(["predict", "cat.png", "--score", "0", "--json", "-"]);
        let output = command.args(options).assert().success().get_output().stdout.clone();
        let report: Value = serde_json::from_slice(&output).unwrap();
        let scores = detections(&report, 0).iter().map(|found| found["score"].as_f64().unwrap());
        scores.collect::<Vec<_>>()
    };
    let imagenet = ["--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225"];
    let plain = run(&["--weights", "tiny.safetensors"]);
    assert_eq!(plain, run(&[&["--weights", "tiny.safetensors"][..], &imagenet].concat()));
    let half = run(&["--weights", "half.safetensors"]);
    assert_ne!(plain, half);
    assert_eq!(
        half,
        run(&["--weights", "tiny.safetensors", "--mean", "0.5,0.5,0.5", "--std", "0.25,0.25,0.25"])
    );
    assert_eq!(plain, run(&[&["--weights", "half.safetensors"][..], &imagenet].concat()));
}

#[test]
fn a_labels_file_names_the_classes() {
    let fixture = Fixture::new();
    fixture.picture("cat.png", 80, 64);
    fs::write(fixture.path("names.txt"), "red\ngreen\nblue\n").unwrap();
    let report = fixture.json(&["cat.png"], &["--labels", "names.txt"]);
    for found in detections(&report, 0) {
        let id = found["class_id"].as_u64().unwrap() as usize;
        assert_eq!(found["label"], ["red", "green", "blue"][id - 1]);
    }
    fs::write(fixture.path("four.txt"), "a\nb\nc\nd\n").unwrap();
    let stderr = fails(fixture.predict(&["cat.png"]).args(["--labels", "four.txt"]), 2);
    assert!(stderr.contains("4 class names") && stderr.contains("3 classes"), "{stderr}");
    fs::write(fixture.path("twice.txt"), "a\nb\na\n").unwrap();
    let stderr = fails(fixture.predict(&["cat.png"]).args(["--labels", "twice.txt"]), 2);
    assert!(stderr.contains("twice.txt") && stderr.contains("line 3"), "{stderr}");
    fs::write(fixture.path("none.txt"), "\n").unwrap();
    let stderr = fails(fixture.predict(&["cat.png"]).args(["--labels", "none.txt"]), 2);
    assert!(stderr.contains("none.txt") && stderr.contains("no class names"), "{stderr}");
}

#[test]
fn ninety_classes_without_names_are_cocos() {
    let fixture = Fixture::new();
    fixture.picture("cat.png", 80, 64);
    let metadata = CheckpointMetadata { image_size: Some([64, 64]), ..Default::default() };
    fixture.checkpoint("tiny.safetensors", &tiny_config().with_num_classes(90), &metadata);
    let report = fixture.json(&["cat.png"], &["--backbone", "lcnet_035"]);
    let coco = ClassMap::coco();
    for found in detections(&report, 0) {
        assert_eq!(found["label"], coco.label(found["class_id"].as_u64().unwrap() as u32));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_that_cannot_be_written_does_not_take_the_others_with_it() {
    let fixture = Fixture::new();
    fixture.picture("cat.png", 80, 64);
    let mut command = fixture.predict(&["cat.png", "gone.png"]);
    command.args(["--score", "0", "--jsonl", "/dev/full", "--json", "found.json", "--save-csv", "found.csv"]);
    let stderr = fails(&mut command, 2);
    assert!(stderr.contains("error: cannot write /dev/full: No space left"), "{stderr}");
    assert_eq!(detections(&read_json(&fixture.path("found.json")), 0).len(), 100);
    assert!(fs::read_to_string(fixture.path("found.csv")).unwrap().contains("cat.png"));

    let mut command = fixture.predict(&["cat.png"]);
    let stderr = fails(command.args(["--json", "/dev/full", "--save-csv", "/dev/full"]), 2);
    assert_eq!(stderr.matches("/dev/full").count(), 2, "{stderr}");
}

#[test]
fn json_is_not_written_where_it_cannot_be() {
    let fixture = Fixture::new();
    fixture.picture("cat.png", 80, 64);
    let stderr = fails(fixture.predict(&["cat.png"]).args(["--json", "no/such/found.json"]), 2);
    assert!(stderr.contains("there is no folder no/such"), "{stderr}");
    let stderr = fails(fixture.predict(&["cat.png"]).args(["--json", "."]), 2);
    assert!(stderr.contains("this is a folder"), "{stderr}");
}
