//! A small checkpoint, small pictures, and the command that reads them.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use effdet::prelude::*;
use effdet::weights::{
    Checkpoint, CheckpointMetadata, LoadOptions, identity_keys, load_into, save_safetensors,
};
use effdet_testing::synthetic;
use serde_json::Value;
use tempfile::TempDir;

pub const NAMES: [&str; 3] = ["cat", "dog", "cow"];

/// A folder with a checkpoint `tiny.safetensors` (three classes, 64x64, synthetic weights) and pictures.
pub struct Fixture {
    folder: TempDir,
}

impl Fixture {
    pub fn new() -> Self {
        let fixture = Self { folder: tempfile::tempdir().unwrap() };
        let config = tiny_config();
        let metadata = CheckpointMetadata {
            model: Some(config.name.clone()),
            class_names: Some(NAMES.map(str::to_owned).into()),
            image_size: Some([64, 64]),
            mean: Some(config.mean),
            std: Some(config.std),
            ..Default::default()
        };
        fixture.checkpoint("tiny.safetensors", &config, &metadata);
        fixture
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a checkpoint with synthetic weights.
    pub fn checkpoint(
        &self,
        name: &str,
        config: &EfficientDetConfig,
        metadata: &CheckpointMetadata,
    ) -> PathBuf {
        let device = effdet::device("cpu").unwrap();
        let bare = tempfile::NamedTempFile::new().unwrap();
        synthetic::write_checkpoint(&config.init(&device).unwrap(), 3, &Default::default(), bare.path())
            .unwrap();
        let bare = Checkpoint::open(bare.path()).unwrap();
        let (model, _) = load_into(config.init(&device).unwrap(), &bare, &LoadOptions::default()).unwrap();
        let path = self.path(name);
        save_safetensors(&model, &path, &metadata.to_map(), identity_keys).unwrap();
        path
    }

    /// Writes a picture of coloured squares; the extension says how.
    pub fn picture(&self, name: &str, width: u32, height: u32) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let picture = RgbImage::from_fn(width, height, |x, y| {
            let square = (x / 13 + 3 * (y / 11)) % 7;
            image::Rgb([square * 36, (x * 5) % 256, 255 - square * 30].map(|level| level as u8))
        });
        picture.save(&path).unwrap();
        path
    }

    /// `effdet predict` with the small checkpoint, in the fixture's folder.
    pub fn predict(&self, sources: &[&str]) -> Command {
        let mut command = effdet();
        command.current_dir(self.folder.path()).arg("predict").args(sources);
        command.args(["--weights", "tiny.safetensors"]);
        command
    }

    /// The JSON of a successful prediction, every score included.
    pub fn json(&self, sources: &[&str], options: &[&str]) -> Value {
        let mut command = self.predict(sources);
        command.args(["--score", "0", "--json", "-"]).args(options);
        serde_json::from_slice(&command.assert().success().get_output().stdout).unwrap()
    }

    pub fn detector(&self) -> Detector {
        let device = effdet::device("cpu").unwrap();
        Detector::from_checkpoint(self.path("tiny.safetensors"), &DetectorOptions::default(), &device)
            .unwrap()
    }
}

pub fn tiny_config() -> EfficientDetConfig {
    EfficientDetConfig::with_backbone_named("lcnet_035").unwrap().with_num_classes(NAMES.len())
}

pub fn effdet() -> Command {
    Command::cargo_bin("effdet").unwrap()
}

/// Standard error of a command that must exit with this status.
pub fn fails(command: &mut Command, status: i32) -> String {
    let output = command.assert().code(status).get_output().clone();
    String::from_utf8(output.stderr).unwrap()
}

pub fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Numbers of the JSON's array.
pub fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}
