//! The detector that the reference trained on blood cells, and what it found in the 72 test pictures.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use effdet_core::{Detection, XywhBox};
use serde::Deserialize;

use crate::detections::{MatchTolerance, count_matches};

/// The checkpoint, in the shared folder.
pub const CHECKPOINT: &str = "checkpoints/tf_efficientdet_lite0-bccd.pth";
/// Its model.
pub const MODEL: &str = "tf_efficientdet_lite0";
/// It was trained with ImageNet's mean and deviation, unlike the published weights of this model.
pub const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// See [`MEAN`].
pub const STD: [f32; 3] = [0.229, 0.224, 0.225];

/// From where the pictures are read, and what has to agree then.
pub struct Criterion {
    /// What the pictures are.
    pub pictures: &'static str,
    /// Least score of the reference's detections that are looked for.
    pub score: f32,
    /// When a detection is the same.
    pub tolerance: MatchTolerance,
}

/// Decoded by our own decoder, whose pixels are up to 5 levels from those the reference saw.
pub const JPEG: Criterion = Criterion {
    pictures: "JPEG files, own decoder",
    score: 0.3,
    tolerance: MatchTolerance { score: 0.05, iou: 0.9, edge: 0.0 },
};

/// Pixels that the reference saw (`tools/golden/decode_with_pillow.py`).
pub const PNG: Criterion = Criterion {
    pictures: "PNG files, decoded by Pillow",
    score: 0.05,
    tolerance: MatchTolerance { score: 0.01, iou: 0.98, edge: 0.5 },
};

/// Names of the test pictures, in the order of the reference's image ids.
pub fn picture_names(shared: &Path) -> Result<Vec<String>> {
    let path = shared.join("data/bccd/ImageSets/Main/test.txt");
    let list = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(list.split_whitespace().map(str::to_owned).collect())
}

/// How many of the reference's detections are among `found`, which has a list for each picture, and how many there are.
pub fn count_found(shared: &Path, found: &[Vec<Detection>], criterion: &Criterion) -> Result<(usize, usize)> {
    #[derive(Deserialize)]
    struct File {
        detections: Vec<Row>,
    }
    #[derive(Deserialize)]
    struct Row {
        image_id: usize,
        category_id: u32,
        bbox: [f32; 4],
        score: f32,
    }
    let path = shared.join("checkpoints/tf_efficientdet_lite0-bccd.test.json");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let file: File = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    let mut expected = vec![Vec::new(); found.len()];
    for row in file.detections.into_iter().filter(|row| row.score >= criterion.score) {
        let picture = expected.get_mut(row.image_id).context("a detection in no picture")?;
        let bbox = XywhBox::from(row.bbox).into();
        picture.push(Detection { bbox, score: row.score, class_id: row.category_id });
    }
    let matched = expected.iter().zip(found).map(|(e, f)| count_matches(e, f, criterion.tolerance)).sum();
    Ok((matched, expected.iter().map(Vec::len).sum()))
}
