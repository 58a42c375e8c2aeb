//! Merging of boxes that overlapping tiles of a picture give for one object.

use effdet_core::iou::{ios, iou};
use effdet_core::{Detection, XyxyBox};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::nms::is_usable;

/// What the overlap of two boxes is measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverlapMetric {
    /// Intersection over union.
    Iou,
    /// Intersection over the smaller box, which a part has with the whole.
    #[default]
    Ios,
}

impl OverlapMetric {
    /// The overlap of two boxes, in `[0, 1]`.
    pub fn of(self, a: &XyxyBox, b: &XyxyBox) -> f32 {
        match self {
            Self::Iou => iou(a, b),
            Self::Ios => ios(a, b),
        }
    }
}

/// Settings of [`merge_boxes`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MergeConfig {
    /// How overlap is measured.
    pub metric: OverlapMetric,
    /// Overlap above which boxes are one object.
    pub threshold: f32,
    /// Whether boxes of different classes are merged too; the best names the class.
    pub class_agnostic: bool,
}

impl Default for MergeConfig {
    fn default() -> Self {
        Self { metric: OverlapMetric::Ios, threshold: 0.5, class_agnostic: false }
    }
}

impl MergeConfig {
    /// Checks the threshold.
    ///
    /// # Errors
    /// [`Error::Setting`] for a NaN threshold.
    pub fn validate(&self) -> Result<(), Error> {
        if self.threshold.is_nan() {
            let value = self.threshold.to_string();
            return Err(Error::Setting { name: "merge threshold", value, expected: "a number" });
        }
        Ok(())
    }
}

/// Joins boxes that overlap into the box around them, best first (greedy non-maximum merging).
///
/// The best box takes every other of its class that overlaps it by more than the threshold. One after the other in the
/// order of their scores, those that still overlap the box as grown so far extend it, and the others are dropped. The
/// score is that of the best. Candidates with a NaN or infinite score or coordinate are dropped.
///
/// # Reference
/// SAHI `postprocess.combine.GreedyNMMPostprocess`; Akyon et al. 2022. Differs: classes are kept apart by default.
pub fn merge_boxes(candidates: &[Detection], config: &MergeConfig) -> Vec<Detection> {
    let mut remaining: Vec<Detection> = candidates.iter().copied().filter(is_usable).collect();
    remaining.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut merged = Vec::new();
    while let Some(&best) = remaining.first() {
        let mut grown = best;
        let mut is_best = true;
        remaining.retain(|other| {
            if std::mem::take(&mut is_best) {
                return false;
            }
            let same_class = config.class_agnostic || other.class_id == best.class_id;
            let joins = same_class && config.metric.of(&best.bbox, &other.bbox) > config.threshold;
            if joins && config.metric.of(&grown.bbox, &other.bbox) > config.threshold {
                grown.bbox = around(&grown.bbox, &other.bbox);
            }
            !joins
        });
        merged.push(grown);
    }
    merged
}

/// The smallest box around two.
fn around(a: &XyxyBox, b: &XyxyBox) -> XyxyBox {
    XyxyBox::new(a.x1.min(b.x1), a.y1.min(b.y1), a.x2.max(b.x2), a.y2.max(b.y2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detection(corners: [f32; 4], score: f32, class_id: u32) -> Detection {
        Detection { bbox: corners.into(), score, class_id }
    }

    #[test]
    fn two_halves_of_an_object_become_the_whole() {
        let left = detection([0.0, 0.0, 60.0, 50.0], 0.6, 1);
        let right = detection([30.0, 0.0, 100.0, 50.0], 0.9, 1);
        let config = MergeConfig { threshold: 0.4, ..MergeConfig::default() };
        let merged = merge_boxes(&[left, right], &config);
        assert_eq!(merged, [detection([0.0, 0.0, 100.0, 50.0], 0.9, 1)]);
    }

    #[test]
    fn classes_are_kept_apart_unless_asked() {
        let boxes = [detection([0.0, 0.0, 9.0, 9.0], 0.5, 1), detection([0.0, 0.0, 9.0, 9.0], 0.6, 2)];
        assert_eq!(merge_boxes(&boxes, &MergeConfig::default()).len(), 2);
        let agnostic = MergeConfig { class_agnostic: true, ..MergeConfig::default() };
        assert_eq!(merge_boxes(&boxes, &agnostic), [boxes[1]]);
    }

    #[test]
    fn candidates_that_are_not_finite_are_dropped() {
        let boxes =
            [detection([0.0, 0.0, f32::NAN, 9.0], 0.5, 1), detection([0.0, 0.0, 9.0, 9.0], f32::NAN, 1)];
        assert!(merge_boxes(&boxes, &MergeConfig::default()).is_empty());
        assert!(MergeConfig { threshold: f32::NAN, ..MergeConfig::default() }.validate().is_err());
    }
}
