//! `effdet models` and `effdet info`.

use std::collections::HashSet;

use crate::common::effdet;
use serde_json::{Value, json};

fn output(args: &[&str]) -> Vec<u8> {
    effdet().args(args).assert().success().get_output().stdout.clone()
}

fn json(args: &[&str]) -> Value {
    serde_json::from_slice(&output(args)).unwrap()
}

#[test]
fn all_47_detectors_are_listed() {
    let models = json(&["models", "--json"]);
    let models = models.as_array().unwrap();
    let names: HashSet<&str> = models.iter().map(|model| model["name"].as_str().unwrap()).collect();
    assert_eq!((models.len(), names.len()), (47, 47));
    let find = |name: &str| models.iter().find(|model| model["name"] == name).unwrap();
    let lite0 = find("tf_efficientdet_lite0");
    assert_eq!((&lite0["image_size"], &lite0["coco_ap"]), (&json!(320), &json!(27.1)));
    let url = lite0["weights"]["url"].as_str().unwrap();
    assert!(url.ends_with("/v0.1/tf_efficientdet_lite0-dfacfc78.pth"), "{url}");
    assert_eq!(find("mixdet_m")["weights"], Value::Null);
    // "EfficientDet", table 2: 3.9 M
    assert_eq!(find("tf_efficientdet_d0")["parameters"], 3_880_067);
    let table = String::from_utf8(output(&["models"])).unwrap();
    assert!(names.iter().all(|name| table.contains(name)), "{table}");
}

#[test]
fn the_parts_of_a_summary_add_up() {
    let info = json(&["info", "--model", "tf_efficientdet_lite0", "--image-size", "64x96", "--json"]);
    let parts = info["parts"].as_array().unwrap();
    let names: Vec<&str> = parts.iter().map(|part| part["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["backbone", "fpn", "class_net", "box_net"]);
    for total in ["parameters", "multiply_adds"] {
        let sum: u64 = parts.iter().map(|part| part[total].as_u64().unwrap()).sum();
        assert_eq!(info[total], sum);
    }
    assert_eq!(info["image_size"], json!({ "height": 64, "width": 96 }));
    assert_eq!(parts[3]["outputs"][0], json!([36, 8, 12]));
}

#[test]
fn a_summary_is_for_the_models_own_size_unless_another_is_given() {
    let adds = |args: &[&str]| json(args)["multiply_adds"].as_u64().unwrap();
    let own = adds(&["info", "--model", "tf_efficientdet_lite0", "--json"]);
    assert_eq!(own, adds(&["info", "--model", "tf_efficientdet_lite0", "--image-size", "320", "--json"]));
    assert!(own > 3 * adds(&["info", "--model", "tf_efficientdet_lite0", "--image-size", "160", "--json"]));
}

#[test]
fn a_backbone_is_shown_alone() {
    let text = String::from_utf8(output(&["info", "--backbone", "lcnet_035", "--image-size", "64"])).unwrap();
    assert!(text.starts_with("lcnet_035 at 64x64\n"), "{text}");
    assert!(text.contains("backbone") && !text.contains("class_net"), "{text}");
}
