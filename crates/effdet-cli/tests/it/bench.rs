//! `effdet bench`.

use crate::common::{Fixture, effdet, fails};
use serde_json::Value;

#[test]
fn every_stage_has_its_times() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bench.json");
    let arguments =
        ["bench", "--model", "tf_efficientdet_lite0", "--image-size", "128", "--runs", "3", "--train"];
    let output = effdet().args(arguments).arg("--json").arg(&file).assert().success();
    assert!(String::from_utf8_lossy(&output.get_output().stdout).contains("train step"));
    let report: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    for stage in ["preprocess", "forward", "postprocess", "total", "train_step"] {
        let [median, min] = ["median", "min"].map(|figure| report[stage][figure].as_f64().unwrap());
        assert!(0.0 < min && min <= median, "{stage}: {median} {min}");
    }
    assert!(report["train_step"]["min"].as_f64() > report["forward"]["min"].as_f64());
    assert_eq!((&report["runs"], &report["native"]), (&3.into(), &true.into()));
}

#[test]
fn a_checkpoint_is_timed_with_as_many_threads_as_asked() {
    let fixture = Fixture::new();
    for options in [&[][..], &["--composed"]] {
        let mut command = effdet();
        command.current_dir(fixture.path("")).args(["bench", "--weights", "tiny.safetensors"]);
        command.args(["--threads", "1", "--runs", "1", "--json", "-"]).args(options);
        let output = command.assert().success();
        // Nothing but the report is on standard output.
        let report: Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
        assert_eq!((&report["model"], &report["threads"]), (&"efficientdet-lcnet_035".into(), &1.into()));
    }
}

#[test]
fn published_weights_are_loaded_where_they_are_asked_for() {
    let offline = tempfile::tempdir().unwrap();
    let mut command = effdet();
    command.args(["bench", "--pretrained", "--runs", "1"]).env("EFFDET_OFFLINE", "1");
    for folder in ["EFFDET_CACHE", "HF_HOME", "TORCH_HOME"] {
        command.env(folder, offline.path());
    }
    let stderr = fails(&mut command, 2);
    assert!(stderr.contains("EFFDET_OFFLINE") && stderr.contains("tf_efficientdet_lite0"), "{stderr}");
    let stderr = fails(effdet().args(["bench", "--pretrained", "--float", "f16"]), 2);
    assert!(stderr.contains("--float") && stderr.contains("--pretrained"), "{stderr}");
}

#[test]
fn a_backbone_and_its_classes_are_those_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let labels = folder.path().join("labels.txt");
    let arguments = ["bench", "--backbone", "lcnet_035", "--image-size", "64", "--runs", "1", "--json", "-"];
    let run = |options: &[&str]| {
        let output = effdet().args(arguments).args(options).output().unwrap();
        (output.status.code(), output.stdout, String::from_utf8(output.stderr).unwrap())
    };
    std::fs::write(&labels, "cat\ndog\n").unwrap();
    let labels = labels.to_str().unwrap();
    for options in [&["--num-classes", "3"][..], &["--labels", labels]] {
        let (status, stdout, stderr) = run(options);
        assert_eq!(status, Some(0), "{stderr}");
        let report: Value = serde_json::from_slice(&stdout).unwrap();
        assert_eq!(report["model"], "efficientdet-lcnet_035");
    }
    let (status, _, stderr) = run(&["--num-classes", "0"]);
    assert!(status == Some(2) && stderr.contains("number of classes"), "{stderr}");
}
