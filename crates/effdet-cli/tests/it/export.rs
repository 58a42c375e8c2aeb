//! `effdet export` writes a file that describes itself, and says what is wrong where it cannot.

use std::collections::BTreeMap;

use crate::common::{Fixture, NAMES, effdet, fails, tiny_config};
use assert_cmd::Command;
use effdet::export::proto::ModelProto;
use effdet::prelude::*;
use effdet::weights::CheckpointMetadata;
use prost::Message;

fn export(fixture: &Fixture, weights: &str, options: &[&str]) -> Command {
    let mut command = effdet();
    command.arg("export").arg("--weights").arg(fixture.path(weights)).args(options);
    command.arg("--out").arg(fixture.path("model.onnx"));
    command
}

fn metadata(model: &ModelProto) -> BTreeMap<&str, &str> {
    model.metadata_props.iter().map(|entry| (entry.key(), entry.value())).collect()
}

#[test]
fn a_file_describes_itself() {
    let fixture = Fixture::new();
    let output = export(&fixture, "tiny.safetensors", &["--nms", "--opset", "18", "--batch", "dynamic"])
        .args(["--score", "0.25", "--max-detections", "9"])
        .assert()
        .success()
        .get_output()
        .stdout
        .clone();
    let output = String::from_utf8(output).unwrap();
    assert!(output.contains("num_detections, boxes, scores, classes"), "{output}");

    let bytes = std::fs::read(fixture.path("model.onnx")).unwrap();
    let model = ModelProto::decode(bytes.as_slice()).unwrap();
    assert_eq!(model.opset_import[0].version(), 18);
    let metadata = metadata(&model);
    assert_eq!(metadata["effdet.model"], tiny_config().name);
    assert_eq!(metadata["effdet.image_size"], "[64,64]");
    assert_eq!(metadata["effdet.mean"], "[0.485,0.456,0.406]");
    assert_eq!((metadata["effdet.interpolation"], metadata["effdet.placement"]), ("bilinear", "top_left"));
    assert_eq!((metadata["effdet.fill"], metadata["effdet.fill_color"]), ("mean", "[124, 116, 104]"));
    let names: Vec<String> = serde_json::from_str(metadata["effdet.class_names"]).unwrap();
    assert_eq!(names, NAMES);
    let config: EfficientDetConfig = serde_json::from_str(metadata["effdet.config"]).unwrap();
    assert_eq!((config.decode.score_threshold, config.decode.max_detections), (0.25, 9));
}

#[cfg(unix)]
#[test]
fn a_pipe_gets_the_file_and_nothing_else() {
    let fixture = Fixture::new();
    export(&fixture, "tiny.safetensors", &[]).assert().success();
    let whole = std::fs::read(fixture.path("model.onnx")).unwrap();
    let mut command = effdet();
    command.arg("export").arg("--weights").arg(fixture.path("tiny.safetensors"));
    let output = command.args(["--out", "/dev/stdout"]).assert().success().get_output().stdout.clone();
    assert_eq!(output.len(), whole.len());
    ModelProto::decode(output.as_slice()).unwrap();
}

#[test]
fn wrong_usage_is_refused_and_leaves_no_file() {
    let fixture = Fixture::new();
    for (options, reason) in [
        (&["--opset", "12"][..], "14 to 23"),
        (&["--batch", "0"], "`0` is no batch size"),
        (&["--nms", "--dynamic-size"], "--dynamic-size"),
        (&["--nms", "--max-detections", "0"], "max_detections is 0"),
        (&["--image-size", "0"], "--image-size"),
        (&["--num-classes", "4"], "class_net"),
    ] {
        let stderr = fails(&mut export(&fixture, "tiny.safetensors", options), 2);
        assert!(stderr.contains(reason), "{options:?}: {stderr}");
        assert!(!fixture.path("model.onnx").exists(), "{options:?}");
    }
    let folder = fixture.path("").display().to_string();
    let weights = fixture.path("tiny.safetensors");
    let before = std::fs::read(&weights).unwrap();
    let mut onto_itself = effdet();
    onto_itself.arg("export").arg("--weights").arg(&weights).arg("--out").arg(&weights);
    let stderr = fails(&mut onto_itself, 2);
    assert!(stderr.contains("is the file of --weights"), "{stderr}");
    assert!(std::fs::read(&weights).unwrap() == before);
    let stderr = fails(effdet().args(["export", "--out", &folder, "--weights"]).arg(weights), 2);
    assert!(stderr.contains("this is a folder"), "{stderr}");
    let stderr = fails(effdet().args(["export", "--model", "tf_efficientdet_d0", "--out", "model.onnx"]), 2);
    assert!(stderr.contains("--pretrained"), "{stderr}");
}

#[test]
fn a_network_without_a_record_is_named_with_the_step() {
    let fixture = Fixture::new();
    let config = EfficientDetConfig::with_backbone_named("tf_efficientnet_cc_b0_4e").unwrap();
    let metadata = CheckpointMetadata { model: Some(config.name.clone()), ..Default::default() };
    fixture.checkpoint("other.safetensors", &config, &metadata);
    let stderr = fails(&mut export(&fixture, "other.safetensors", &[]), 2);
    assert!(stderr.contains("conditional convolution cannot be recorded"), "{stderr}");
}
