//! What a user may set beside the checkpoint.

use std::fs;
use std::path::Path;

use effdet_core::{ClassMap, ImageSize};
use effdet_heads::DecodeConfig;

use crate::Error;

/// Settings of [`Detector::from_checkpoint`](crate::Detector::from_checkpoint). What is `None` comes from the
/// checkpoint's metadata, else from the file's class head (number of classes) or the model's configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DetectorOptions {
    /// Name of a published configuration.
    pub model: Option<String>,
    /// Name of a backbone, for a detector built as
    /// [`with_backbone_named`](effdet_model::EfficientDetConfig::with_backbone_named) does; only without `model`.
    pub backbone: Option<String>,
    /// Number of classes.
    pub num_classes: Option<usize>,
    /// Class names; they also say how many classes there are.
    pub labels: Option<ClassMap>,
    /// Size of the network's input.
    pub image_size: Option<ImageSize>,
    /// Mean of red, green and blue, where samples run from 0 to 1.
    pub mean: Option<[f32; 3]>,
    /// Standard deviation of red, green and blue, where samples run from 0 to 1.
    pub std: Option<[f32; 3]>,
    /// How outputs become detections.
    pub decode: Option<DecodeConfig>,
}

/// Reads a labels file: one class name per line, in the order of the ids.
///
/// # Errors
/// If it cannot be read, has no names, a blank line between names or a name twice.
pub fn read_labels(path: impl AsRef<Path>) -> Result<ClassMap, Error> {
    let path = path.as_ref();
    let text = fs::read_to_string(path).map_err(|source| Error::ReadLabels { path: path.into(), source })?;
    let labels =
        ClassMap::parse_labels_file(&text).map_err(|source| Error::Labels { path: path.into(), source })?;
    if labels.is_empty() {
        return Err(Error::NoLabels { path: path.into() });
    }
    Ok(labels)
}
