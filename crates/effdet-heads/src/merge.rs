//! Merging of boxes that overlapping tiles of a picture give for one object.

use std::collections::BTreeMap;

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
    let mut ranked: Vec<Detection> = candidates.iter().copied().filter(is_usable).collect();
    ranked.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut groups: BTreeMap<u32, Vec<(usize, Detection)>> = BTreeMap::new();
    for (rank, detection) in ranked.into_iter().enumerate() {
        let class = if config.class_agnostic { 0 } else { detection.class_id };
        groups.entry(class).or_default().push((rank, detection));
    }
    let mut merged: Vec<(usize, Detection)> = Vec::new();
    for group in groups.values() {
        merge_group(group, config, &mut merged);
    }
    merged.sort_unstable_by_key(|(rank, _)| *rank);
    merged.into_iter().map(|(_, detection)| detection).collect()
}

/// Merges boxes in the order of their scores, each with its rank among all, and appends the merged ones with the ranks
/// of their best.
fn merge_group(group: &[(usize, Detection)], config: &MergeConfig, merged: &mut Vec<(usize, Detection)>) {
    let boxes = LeftToRight::new(group);
    let mut taken = vec![false; group.len()];
    let mut near = Vec::new();
    for (index, &(rank, best)) in group.iter().enumerate() {
        if taken[index] {
            continue;
        }
        near.clear();
        if config.threshold < 0.0 {
            // Even boxes that are apart overlap by more.
            near.extend(index + 1..group.len());
        } else {
            near.extend_from_slice(boxes.near(&best.bbox));
            near.retain(|other| *other > index);
            near.sort_unstable();
        }
        let mut grown = best;
        for &other in &near {
            let bbox = &group[other].1.bbox;
            let joins = !taken[other] && config.metric.of(&best.bbox, bbox) > config.threshold;
            if joins && config.metric.of(&grown.bbox, bbox) > config.threshold {
                grown.bbox = around(&grown.bbox, bbox);
            }
            taken[other] |= joins;
        }
        merged.push((rank, grown));
    }
}

/// Boxes by their left edges, to look only at those that can overlap another.
struct LeftToRight {
    /// Indices of the boxes.
    order: Vec<usize>,
    /// Their left edges.
    left: Vec<f32>,
    /// How far to the right they and all before them reach.
    reach: Vec<f32>,
}

impl LeftToRight {
    fn new(group: &[(usize, Detection)]) -> Self {
        let bbox = |index: usize| &group[index].1.bbox;
        let mut order: Vec<usize> = (0..group.len()).collect();
        order.sort_unstable_by(|a, b| bbox(*a).x1.total_cmp(&bbox(*b).x1));
        let left = order.iter().map(|index| bbox(*index).x1).collect();
        let mut farthest = f32::NEG_INFINITY;
        let reach = order.iter().map(|index| {
            farthest = farthest.max(bbox(*index).x2);
            farthest
        });
        let reach = reach.collect();
        Self { order, left, reach }
    }

    /// Indices of all boxes that this one can overlap, and of some others.
    fn near(&self, bbox: &XyxyBox) -> &[usize] {
        let end = self.left.partition_point(|left| *left < bbox.x2);
        let start = self.reach.partition_point(|reach| *reach <= bbox.x1);
        &self.order[start.min(end)..end]
    }
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

    /// [`merge_boxes`] as it is described, box by box.
    fn one_by_one(candidates: &[Detection], config: &MergeConfig) -> Vec<Detection> {
        let mut remaining = candidates.to_vec();
        remaining.sort_by(|a, b| b.score.total_cmp(&a.score));
        let mut merged = Vec::new();
        while !remaining.is_empty() {
            let best = remaining.remove(0);
            let mut grown = best;
            remaining.retain(|other| {
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

    #[test]
    fn passing_over_boxes_that_lie_apart_changes_nothing() {
        let mut state = 7u32;
        let mut below = |limit: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % limit
        };
        let boxes: Vec<Detection> = (0..300)
            .map(|_| {
                let [x, y] = [0; 2].map(|_| below(200) as f32);
                let [width, height] = [0; 2].map(|_| below(40) as f32);
                // Few scores, so that many are equal.
                detection([x, y, x + width, y + height], below(20) as f32 / 20.0, below(3))
            })
            .collect();
        for metric in [OverlapMetric::Iou, OverlapMetric::Ios] {
            for threshold in [-0.5, 0.0, 0.3, 0.7] {
                for class_agnostic in [false, true] {
                    let config = MergeConfig { metric, threshold, class_agnostic };
                    assert_eq!(merge_boxes(&boxes, &config), one_by_one(&boxes, &config), "{config:?}");
                }
            }
        }
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
