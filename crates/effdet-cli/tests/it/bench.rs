//! `effdet bench`.

use crate::common::effdet;
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
