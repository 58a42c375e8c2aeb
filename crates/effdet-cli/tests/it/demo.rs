//! `effdet demo`, and the detector in the binary.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::common::{effdet, fails, read_json};
use effdet::weights::{Checkpoint, CheckpointMetadata};

const ASSET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/demo.safetensors");

#[test]
fn the_quick_demo_leaves_everything_it_names_and_what_it_says_to_type_works() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = effdet();
    demo.current_dir(folder.path()).args(["demo", "--quick", "--seed", "3", "--out", "my demo"]);
    let output = demo.assert().success().get_output().clone();
    let out = folder.path().join("my demo");
    for name in [
        "data/annotations/instances_train.json",
        "data/val/00000.jpg",
        "start.safetensors",
        "run/best.safetensors",
        "run/report.html",
        "plots/loss.svg",
        "plots/precision_recall.svg",
        "plots/confusion.svg",
        "pictures/before/00000.jpg",
        "pictures/after/00000.jpg",
    ] {
        assert!(out.join(name).is_file(), "{name}");
    }
    let report = fs::read_to_string(out.join("report.html")).unwrap();
    for part in [
        "AP before",
        "AP after",
        "crescent",
        "id=\"scenes.jpg\"",
        "id=\"loss.svg\"",
        "id=\"f1.svg\"",
        "one-cycle",
    ] {
        assert!(report.contains(part), "{part}");
    }
    // It opens from the disk without anything else.
    assert!(!report.contains("http://") && !report.contains("https://") && !report.contains("src=\"plots"));

    let text = String::from_utf8(output.stdout).unwrap();
    let commands: Vec<&str> = text.lines().filter(|line| line.starts_with("  ")).collect();
    assert_eq!(commands.len(), 4, "{text}");
    for command in commands {
        let short = command.replace("--epochs 30", "--epochs 1");
        let output = Command::new("sh").current_dir(folder.path()).args(["-c", &short]).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(out.join("annotated/00000.jpg").is_file());
    assert!(fs::read_to_string(out.join("val/report.html")).unwrap().contains("id=\"predictions.jpg\""));

    let mut again = effdet();
    again.current_dir(folder.path()).args(["demo", "--quick", "--out", "my demo"]);
    assert!(fails(&mut again, 2).contains("new or empty"));
}

#[test]
fn the_detector_in_the_binary_describes_itself_and_finds_shapes_it_was_not_trained_on() {
    let size = fs::metadata(ASSET).unwrap().len();
    assert!(size < 4_000_000, "{size} bytes");
    let metadata = CheckpointMetadata::from_checkpoint(&Checkpoint::open(ASSET).unwrap()).unwrap();
    assert_eq!(metadata.class_names.unwrap(), ["disc", "ring", "square", "triangle", "star", "cross"]);

    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut render = effdet();
    render.args(["demo", "--data-only", "--seed", "77", "--classes", "6"]);
    render.args(["--train-pictures", "1", "--val-pictures", "40", "--out"]).arg(&data).assert().success();
    let numbers = folder.path().join("numbers.json");
    let mut val = effdet();
    val.arg("val").arg("--data").arg(&data).args(["--format", "coco", "--split", "val", "--weights", ASSET]);
    val.arg("--json").arg(&numbers).assert().success();
    let ap = read_json(Path::new(&numbers))["AP"].as_f64().unwrap();
    eprintln!("AP {ap:.3}");
    assert!(ap > LEAST_AP, "AP {ap:.3}");
}

/// What docs/demo.md states for 40 pictures of any seed.
const LEAST_AP: f64 = 0.45;
