//! `effdet train`: what it starts from, and how it goes on.

use std::fs;

use effdet::prelude::*;
use effdet::weights::CheckpointMetadata;
use serde_json::json;

use crate::common::{Fixture, NAMES, effdet, fails, tiny_config};

const MEAN: [f32; 3] = [0.25, 0.5, 0.75];

/// Six pictures of COCO layout below `set`, and a checkpoint that says how it was normalised.
fn with_set() -> Fixture {
    let fixture = Fixture::new();
    let config = tiny_config();
    let metadata = CheckpointMetadata {
        model: Some(config.name.clone()),
        class_names: Some(NAMES.map(str::to_owned).into()),
        image_size: Some([64, 64]),
        mean: Some(MEAN),
        std: Some([0.5; 3]),
        ..Default::default()
    };
    fixture.checkpoint("start.safetensors", &config, &metadata);
    let mut images = Vec::new();
    let mut annotations = Vec::new();
    for index in 0..6 {
        let name = format!("{index}.png");
        fixture.picture(&format!("set/train2017/{name}"), 80, 60);
        images.push(json!({"id": index, "file_name": name, "width": 80, "height": 60}));
        let bbox = [5, 5, 40, 40];
        annotations.push(
            json!({"id": index + 1, "image_id": index, "category_id": 1, "bbox": bbox, "area": 1600, "iscrowd": 0}),
        );
    }
    let categories = [json!({"id": 1, "name": "cat"})];
    let labels = json!({"images": images, "categories": categories, "annotations": annotations});
    fs::create_dir_all(fixture.path("set/annotations")).unwrap();
    fs::write(fixture.path("set/annotations/instances_train2017.json"), labels.to_string()).unwrap();
    fixture
}

fn train(fixture: &Fixture, arguments: &[&str]) -> assert_cmd::Command {
    let mut command = effdet();
    command.current_dir(fixture.path("")).arg("train").args(arguments);
    command
}

const SET: [&str; 10] =
    ["--data", "set", "--format", "coco", "--train-split", "train2017", "--batch-size", "2", "--out", "run"];

/// A setting of `config.toml`, as it is written there.
fn written(fixture: &Fixture, key: &str) -> String {
    let text = fs::read_to_string(fixture.path("run/config.toml")).unwrap();
    let table: toml::Table = text.parse().unwrap();
    let (table, key) = match key.split_once('.') {
        Some((first, rest)) => (table[first].as_table().unwrap().clone(), rest.to_owned()),
        None => (table, key.to_owned()),
    };
    table.get(&key).map_or("nothing".to_owned(), ToString::to_string)
}

#[test]
fn a_folder_with_the_weights_of_another_run_stays_as_it_is() {
    let fixture = with_set();
    fs::create_dir(fixture.path("run")).unwrap();
    let files = ["best.safetensors", "config.toml"].map(|name| fixture.path(&format!("run/{name}")));
    files.iter().for_each(|file| fs::write(file, "# theirs").unwrap());
    let start = ["--weights", "start.safetensors", "--recipe", "one-cycle", "--epochs", "1"];
    let refused = |more: &[&str]| {
        let stderr = fails(&mut train(&fixture, &[&SET[..], &start, more].concat()), 2);
        assert!(stderr.contains("best.safetensors"), "{stderr}");
    };
    refused(&[]);
    assert!(files.iter().all(|file| fs::read_to_string(file).unwrap() == "# theirs"));
    // Settings to go on with would be read.
    fs::remove_file(&files[1]).unwrap();
    refused(&["--resume"]);
    assert_eq!(fs::read_to_string(&files[0]).unwrap(), "# theirs");
}

#[test]
fn a_refused_resume_leaves_the_configuration_and_the_plain_one_goes_on() {
    let fixture = with_set();
    let start = ["--weights", "start.safetensors", "--recipe", "one-cycle", "--epochs", "1"];
    train(&fixture, &[&SET[..], &start].concat()).assert().success();
    let before = fs::read_to_string(fixture.path("run/config.toml")).unwrap();
    for (changed, message) in [
        (&["--epochs", "3"][..], "it was made with `epochs = 1`, now there is `epochs = 3`"),
        (&["--batch-size", "3"], "data.batch_size was 2, now it is 3"),
        (&["--set", "data.augment=none"], "data.augment was \"reference\", now it is \"none\""),
        (&["--recipe", "fine-tune"], "the settings of the recipe one-cycle"),
    ] {
        let stderr = fails(train(&fixture, &["--resume", "--out", "run"]).args(changed), 2);
        assert!(stderr.contains(message), "{stderr}");
        assert_eq!(fs::read_to_string(fixture.path("run/config.toml")).unwrap(), before);
    }
    train(&fixture, &["--resume", "--out", "run"]).assert().success();
    assert_eq!(fs::read_to_string(fixture.path("run/config.toml")).unwrap(), before);
}

#[test]
fn what_a_checkpoint_says_holds_when_its_model_is_named_as_well() {
    let fixture = with_set();
    let model = tiny_config().name;
    let start =
        ["--weights", "start.safetensors", "--model", &model, "--recipe", "one-cycle", "--epochs", "1"];
    train(&fixture, &[&SET[..], &start].concat()).assert().success();
    assert_eq!(
        (written(&fixture, "mean").as_str(), written(&fixture, "image_size").as_str()),
        ("[0.25, 0.5, 0.75]", "[64, 64]")
    );
    let trained = Detector::from_checkpoint(
        fixture.path("run/best.safetensors"),
        &DetectorOptions::default(),
        &effdet::device("cpu").unwrap(),
    );
    assert_eq!(trained.unwrap().preprocess().mean, MEAN);
}

#[test]
fn a_set_without_a_part_to_validate_on_trains_and_says_where_the_weights_are() {
    let fixture = with_set();
    let start = ["--weights", "start.safetensors", "--recipe", "one-cycle", "--epochs", "1"];
    let all = ["--set", "data.valid_fraction=0"];
    let output = train(&fixture, &[&SET[..], &start, &all].concat()).assert().success().get_output().clone();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("the weights are run/last.safetensors"), "{stderr}");
    assert!(!fixture.path("run/best.safetensors").exists());

    let few = ["--set", "data.valid_fraction=0.01"];
    let other = SET.map(|argument| if argument == "run" { "other" } else { argument });
    let stderr = fails(&mut train(&fixture, &[&other[..], &start, &few].concat()), 2);
    assert!(stderr.contains("data.valid_fraction is 0.01: expected a part with objects"), "{stderr}");
}
