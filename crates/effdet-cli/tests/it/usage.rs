//! Wrong usage and unusable weights end with status 2 and say what to do.

use std::fs;

use crate::common::{Fixture, effdet, fails, tiny_config};
use effdet::prelude::*;
use effdet::weights::CheckpointMetadata;

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let fixture = Fixture::new();
    fixture.picture("cat.png", 40, 40);
    for (option, value) in [
        ("--score", "1.5"),
        ("--score", "nan"),
        ("--iou", "-0.1"),
        ("--batch", "0"),
        ("--threads", "0"),
        ("--std", "0.5,0,0.5"),
        ("--mean", "0.5,0.5"),
        ("--image-size", "0"),
        ("--image-size", "64x"),
        ("--max-detections", "-1"),
        ("--num-classes", "many"),
    ] {
        let stderr = fails(fixture.predict(&["cat.png"]).arg(format!("{option}={value}")), 2);
        assert!(stderr.contains(option) && stderr.contains(value), "{option} {value}: {stderr}");
    }
    for (option, value, reason) in [
        ("--image-size", "100000", "the image size is 100000x100000"),
        ("--num-classes", "0", "the number of classes is 0"),
        ("--num-classes", "99999999999", "the number of classes is 99999999999"),
        ("--device", "tpu", "unknown device `tpu`"),
    ] {
        let stderr = fails(fixture.predict(&["cat.png"]).args([option, value]), 2);
        assert!(stderr.contains(reason), "{option} {value}: {stderr}");
    }
}

#[test]
fn a_device_that_is_not_there_is_one_clear_sentence() {
    let fixture = Fixture::new();
    for (device, feature, compiled) in [
        ("cuda:0", "cuda", cfg!(feature = "cuda")),
        ("cuda:7", "cuda", cfg!(feature = "cuda")),
        ("wgpu", "wgpu", cfg!(feature = "wgpu")),
        ("tch", "tch", cfg!(feature = "tch")),
    ] {
        let mut command = fixture.predict(&["cat.png"]);
        // No adapter and no driver, whatever the machine has.
        command.args(["--device", device]).env("VK_DRIVER_FILES", "none").env("VK_ICD_FILENAMES", "none");
        command.env("CUDA_VISIBLE_DEVICES", "");
        if compiled && feature == "tch" {
            continue;
        }
        let stderr = fails(&mut command, 2);
        let reason = if compiled { "cannot be used: ".into() } else { format!("--features {feature}") };
        assert!(stderr.contains(device) && stderr.contains(&reason), "{stderr}");
        assert!(stderr.lines().count() == 1 && !stderr.contains("panicked"), "{stderr}");
    }
}

#[test]
fn options_that_exclude_each_other_are_refused() {
    let fixture = Fixture::new();
    for options in [
        ["--model=tf_efficientdet_d0", "--backbone=resnet50"],
        ["--num-classes=3", "--labels=names.txt"],
        ["--pretrained", "--score=0.3"],
    ] {
        fails(fixture.predict(&["cat.png"]).args(options), 2);
    }
    fails(effdet().arg("predict"), 2);
    fails(effdet().args(["info"]), 2);
}

#[test]
fn without_weights_the_error_says_what_to_type() {
    let url = "https://github.com/rwightman/efficientdet-pytorch/releases/download/v0.1/";
    let named = ["predict", "cat.png", "--model", "efficientdet_d0"];
    let stderr = fails(effdet().args(named), 2);
    let file = "efficientdet_d0-f3276ba8.pth";
    for part in
        ["--pretrained", &format!("{url}{file}"), &format!("--model efficientdet_d0 --weights {file}")]
    {
        assert!(stderr.contains(part), "{stderr}");
    }
    // With nothing named, the default detector and its published weights are meant.
    let offline = tempfile::tempdir().unwrap();
    for options in [&[][..], &["--pretrained"], &["--model", "tf_efficientdet_lite0", "--pretrained"]] {
        let mut pretrained = effdet();
        pretrained.args(["predict", "cat.png"]).args(options).env("EFFDET_OFFLINE", "1");
        for folder in ["EFFDET_CACHE", "HF_HOME", "TORCH_HOME"] {
            pretrained.env(folder, offline.path());
        }
        let stderr = fails(&mut pretrained, 2);
        let file = "tf_efficientdet_lite0-dfacfc78.pth";
        let typed = format!("--model tf_efficientdet_lite0 --weights {file}");
        for part in ["EFFDET_OFFLINE", &typed, &format!("{url}{file}")] {
            assert!(stderr.contains(part), "{stderr}");
        }
    }
    let stderr = fails(effdet().args(["predict", "cat.png", "--model", "mixdet_m", "--pretrained"]), 2);
    assert!(stderr.contains("no weights are published for `mixdet_m`"), "{stderr}");
    for options in [&[][..], &["--pretrained"]] {
        let named = ["predict", "cat.png", "--model", "efficientdet-lcnet_050"];
        let stderr = fails(effdet().args(named).args(options), 2);
        assert!(stderr.contains("no weights are published for `efficientdet-lcnet_050`"), "{stderr}");
    }
    let stderr = fails(effdet().args(["predict", "cat.png", "--model", "resnet50", "--pretrained"]), 2);
    assert!(stderr.contains("these are weights of a backbone alone"), "{stderr}");
    let stderr = fails(effdet().args(["predict", "cat.png", "--backbone", "resnet50"]), 2);
    assert!(stderr.contains("--weights"), "{stderr}");
}

#[test]
fn an_unknown_name_offers_the_nearest() {
    let fixture = Fixture::new();
    let stderr = fails(fixture.predict(&["cat.png"]).args(["--model", "tf_eficientdet_d1"]), 2);
    assert!(stderr.contains("`tf_eficientdet_d1`") && stderr.contains("tf_efficientdet_d1"), "{stderr}");
    let stderr = fails(fixture.predict(&["cat.png"]).args(["--backbone", "mobilenetv3_larg_100"]), 2);
    assert!(stderr.contains("mobilenetv3_large_100"), "{stderr}");
    let stderr = fails(effdet().args(["predict", "cat.png", "--model", "tf_efficientdet_lite"]), 2);
    assert!(stderr.contains("tf_efficientdet_lite0"), "{stderr}");
    let stderr = fails(effdet().args(["info", "--model", "resdet5"]), 2);
    assert!(stderr.contains("resdet50"), "{stderr}");
}

#[test]
fn a_checkpoint_of_another_model_is_recognised() {
    let fixture = Fixture::new();
    let lite0 = EfficientDetConfig::named("tf_efficientdet_lite0").unwrap().with_num_classes(2);
    fixture.checkpoint("tiny.safetensors", &lite0, &CheckpointMetadata::default());
    let stderr = fails(fixture.predict(&["cat.png"]).args(["--model", "tf_efficientdet_lite1"]), 2);
    assert!(stderr.contains("no checkpoint of `tf_efficientdet_lite1`"), "{stderr}");
    assert!(stderr.contains("this looks like tf_efficientdet_lite0"), "{stderr}");
    let stderr = fails(&mut fixture.predict(&["cat.png"]), 2);
    assert!(
        stderr.contains("does not say which model") && stderr.contains("--model tf_efficientdet_lite0"),
        "{stderr}"
    );
    // The right model under a wrong number of classes is another matter.
    let stderr = fails(
        fixture.predict(&["cat.png"]).args(["--model", "tf_efficientdet_lite0", "--num-classes", "5"]),
        2,
    );
    assert!(stderr.contains("pass --num-classes 2") && !stderr.contains("looks like"), "{stderr}");
}

#[test]
fn a_checkpoint_of_no_published_model_names_the_nearest() {
    let fixture = Fixture::new();
    fixture.checkpoint("tiny.safetensors", &tiny_config(), &CheckpointMetadata::default());
    let stderr = fails(&mut fixture.predict(&["cat.png"]), 2);
    assert!(stderr.contains("--model or --backbone"), "{stderr}");
}

#[test]
fn a_file_that_is_no_checkpoint_is_refused() {
    let fixture = Fixture::new();
    fs::write(fixture.path("tiny.safetensors"), "no weights").unwrap();
    let stderr = fails(&mut fixture.predict(&["cat.png"]), 2);
    assert!(stderr.contains("tiny.safetensors is not a checkpoint"), "{stderr}");
    fs::remove_file(fixture.path("tiny.safetensors")).unwrap();
    let stderr = fails(&mut fixture.predict(&["cat.png"]), 2);
    assert!(stderr.contains("cannot read tiny.safetensors: No such file"), "{stderr}");
}

#[test]
fn weights_that_are_not_finite_are_warned_about() {
    let fixture = Fixture::new();
    fixture.picture("cat.png", 40, 40);
    let path = fixture.path("tiny.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let output = fixture.predict(&["cat.png"]).assert().success();
    let stderr = String::from_utf8(output.get_output().stderr.clone()).unwrap();
    assert!(stderr.contains("1 tensors hold NaN or infinity"), "{stderr}");
}
