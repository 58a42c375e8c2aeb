//! What the reference computed, as it is stored.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use flate2::read::GzDecoder;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::synthetic::Moments;

/// A tensor's shape, moments and first and last values.
#[derive(Clone, Debug, Deserialize)]
pub struct TensorSample {
    /// Extents, NCHW.
    pub shape: Vec<usize>,
    /// Standard deviation.
    pub std: f64,
    /// Sum of absolute values.
    pub sum_abs: f64,
    /// The first values.
    pub first: Vec<f64>,
    /// The last values.
    pub last: Vec<f64>,
}

/// What the reference detector gives for one picture.
#[derive(Clone, Debug, Deserialize)]
pub struct PictureGolden {
    /// Backbone features.
    pub features: Vec<TensorSample>,
    /// Class logits by level.
    pub class_logits: Vec<TensorSample>,
    /// Box codes by level.
    pub box_deltas: Vec<TensorSample>,
    /// Rows of x1, y1, x2, y2, score, class.
    pub detections: Vec<[f64; 6]>,
}

/// What the reference gives for one detector.
#[derive(Clone, Debug, Deserialize)]
pub struct DetectorGolden {
    /// Name of the configuration.
    pub model: String,
    /// Seed of the weights.
    pub seed: u64,
    /// Height and width of the input.
    pub image_size: [usize; 2],
    /// Mean that pictures are normalised with.
    pub mean: [f32; 3],
    /// Deviation that pictures are normalised with.
    pub std: [f32; 3],
    /// Digest of the names and shapes of its tensors.
    #[serde(default)]
    pub state_dict: String,
    /// Moments of the running statistics, where they are not stored whole.
    #[serde(default)]
    pub statistics: Moments,
    /// By the picture's file name, or by the name its synthetic values are drawn from.
    pub images: BTreeMap<String, PictureGolden>,
}

/// What the reference gives for one backbone.
#[derive(Clone, Debug, Deserialize)]
pub struct BackboneGolden {
    /// Channels of each feature map.
    pub channels: Vec<usize>,
    /// Reduction of each feature map.
    pub reduction: Vec<usize>,
    /// The feature maps.
    pub features: Vec<TensorSample>,
    /// Digest of the names and shapes of its tensors.
    #[serde(default)]
    pub state_dict: String,
    /// Moments of the running statistics, where they are not stored whole.
    #[serde(default)]
    pub statistics: Moments,
    /// Digest of the names and shapes of the tensors of the network with its classifier.
    #[serde(default)]
    pub classifier_state_dict: String,
    /// Moments of the running statistics of the network with its classifier.
    #[serde(default)]
    pub classifier_statistics: Moments,
    /// Class logits of the network with its classifier, where they were asked for.
    #[serde(default)]
    pub logits: Option<TensorSample>,
    /// Parameters of the network with its classifier of 1000 classes, where they were asked for.
    #[serde(default)]
    pub classifier_parameters: Option<usize>,
}

/// What the reference gives for all backbones.
#[derive(Clone, Debug, Deserialize)]
pub struct BackbonesGolden {
    /// Seed of the weights.
    pub seed: u64,
    /// File name of the picture, or the name its synthetic values are drawn from.
    pub image: String,
    /// Height and width of the input.
    pub image_size: [usize; 2],
    /// Mean that the picture is normalised with.
    pub mean: [f32; 3],
    /// Deviation that the picture is normalised with.
    pub std: [f32; 3],
    /// By name.
    pub backbones: BTreeMap<String, BackboneGolden>,
}

/// Names and shapes of the tensors of every network.
pub type StateDictShapes = BTreeMap<String, BTreeMap<String, Vec<usize>>>;

/// Reads JSON, compressed if the name ends in `.gz`.
///
/// # Errors
/// If the file is missing or not of the expected form.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let parsed = if path.extension().is_some_and(|extension| extension == "gz") {
        serde_json::from_reader(GzDecoder::new(bytes.as_slice()))
    } else {
        serde_json::from_slice(&bytes)
    };
    parsed.with_context(|| format!("parsing {}", path.display()))
}
