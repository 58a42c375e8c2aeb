//! Non-maximum suppression, the only one in the workspace.

use std::cmp::Ordering;
use std::collections::HashMap;

use effdet_core::iou::{diou, iou_with_areas};
use effdet_core::{Detection, XyxyBox};
use serde::{Deserialize, Serialize};

use crate::Error;

/// What becomes of a box that overlaps a better one of its class.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NmsMethod {
    /// It is dropped where their IoU exceeds the threshold.
    #[default]
    Hard,
    /// It is dropped where their distance IoU exceeds the threshold, so that neighbours with distant centres
    /// survive.
    Diou,
    /// Its score is multiplied by `exp(-iou^2 / sigma)`.
    SoftGaussian {
        /// Width of the Gaussian, 0.5 in the paper.
        sigma: f32,
    },
    /// Its score is multiplied by `1 - iou` where their IoU exceeds the threshold.
    SoftLinear,
}

/// Settings of [`nms`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NmsConfig {
    /// What becomes of overlapping boxes.
    pub method: NmsMethod,
    /// Overlap above which the hard, distance and linear methods act.
    pub iou_threshold: f32,
    /// Whether boxes of different classes suppress each other too.
    pub class_agnostic: bool,
    /// Soft methods drop a box once its score is not above this.
    pub score_threshold: f32,
}

impl Default for NmsConfig {
    fn default() -> Self {
        Self { method: NmsMethod::Hard, iou_threshold: 0.5, class_agnostic: false, score_threshold: 0.001 }
    }
}

impl NmsConfig {
    /// Checks the thresholds.
    ///
    /// # Errors
    /// [`Error::Setting`] for a NaN threshold, or a sigma that is not positive.
    pub fn validate(&self) -> Result<(), Error> {
        let refuse =
            |name, value: f32, expected| Err(Error::Setting { name, value: value.to_string(), expected });
        match self.method {
            NmsMethod::SoftGaussian { sigma } if !(sigma.is_finite() && sigma > 0.0) => {
                refuse("nms sigma", sigma, "a positive number")
            }
            _ if self.iou_threshold.is_nan() => refuse("nms iou_threshold", self.iou_threshold, "a number"),
            _ if self.score_threshold.is_nan() => {
                refuse("nms score_threshold", self.score_threshold, "a number")
            }
            _ => Ok(()),
        }
    }
}

/// Selects up to `max_detections` boxes that do not duplicate each other, best first.
///
/// Boxes are taken in the order of their scores, those of equal score in the order of `candidates`. Soft
/// methods take them in the order of the scores as reduced so far and return these. Candidates with a NaN or
/// infinite score or coordinate are dropped. A NaN `iou_threshold` suppresses nothing; under soft methods a NaN
/// `score_threshold` drops everything, a NaN sigma what overlaps. [`NmsConfig::validate`] finds them.
///
/// # Reference
/// Hard: torchvision `ops.batched_nms`. Soft: effdet `soft_nms.batched_soft_nms`; Bodla et al. 2017. Differs:
/// classes are kept apart by their ids and not by shifting the boxes, which rounds the coordinates and mixes
/// classes for negative ones; a first box whose score is not above `score_threshold` is dropped as any other.
pub fn nms(candidates: &[Detection], config: &NmsConfig, max_detections: usize) -> Vec<Detection> {
    let mut order: Vec<Detection> = candidates.iter().copied().filter(is_usable).collect();
    if matches!(config.method, NmsMethod::Hard | NmsMethod::Diou) {
        order.sort_by(|a, b| b.score.partial_cmp(&a.score).unwrap_or(Ordering::Equal));
    }
    nms_of_ranked(order.into_iter(), config, max_detections)
}

pub(crate) fn is_usable(candidate: &Detection) -> bool {
    candidate.score.is_finite() && candidate.bbox.is_finite()
}

/// [`nms`] of candidates in the order of their scores. The hard methods take no more of them than they need.
pub(crate) fn nms_of_ranked(
    candidates: impl Iterator<Item = Detection>,
    config: &NmsConfig,
    max_detections: usize,
) -> Vec<Detection> {
    let usable = candidates.filter(is_usable);
    match config.method {
        NmsMethod::Hard | NmsMethod::Diou => hard(usable, config, max_detections),
        NmsMethod::SoftGaussian { sigma } => {
            soft(&usable.collect::<Vec<_>>(), config, max_detections, |iou| (-(iou * iou) / sigma).exp())
        }
        NmsMethod::SoftLinear => {
            let threshold = config.iou_threshold;
            soft(&usable.collect::<Vec<_>>(), config, max_detections, |iou| {
                if iou > threshold { 1.0 - iou } else { 1.0 }
            })
        }
    }
}

/// Boxes as columns, so that comparing one box with many runs in vector registers.
#[derive(Default)]
struct BoxColumns {
    x1: Vec<f32>,
    y1: Vec<f32>,
    x2: Vec<f32>,
    y2: Vec<f32>,
    area: Vec<f32>,
}

impl BoxColumns {
    /// Boxes compared between two looks at whether one of them already decided.
    const CHUNK: usize = 32;

    fn push(&mut self, bbox: &XyxyBox) {
        self.x1.push(bbox.x1);
        self.y1.push(bbox.y1);
        self.x2.push(bbox.x2);
        self.y2.push(bbox.y2);
        self.area.push(bbox.area());
    }

    fn any_iou_above(&self, bbox: &XyxyBox, threshold: f32) -> bool {
        let area = bbox.area();
        let corners = self.x1.chunks(Self::CHUNK).zip(self.y1.chunks(Self::CHUNK));
        let opposite = self.x2.chunks(Self::CHUNK).zip(self.y2.chunks(Self::CHUNK));
        corners.zip(opposite).zip(self.area.chunks(Self::CHUNK)).any(|(((x1, y1), (x2, y2)), areas)| {
            let mut above = false;
            for ((((&x1, &y1), &x2), &y2), &kept_area) in x1.iter().zip(y1).zip(x2).zip(y2).zip(areas) {
                above |= iou_with_areas(&XyxyBox::new(x1, y1, x2, y2), kept_area, bbox, area) > threshold;
            }
            above
        })
    }

    fn any_diou_above(&self, bbox: &XyxyBox, threshold: f32) -> bool {
        (0..self.x1.len()).any(|i| {
            let kept = XyxyBox::new(self.x1[i], self.y1[i], self.x2[i], self.y2[i]);
            diou(&kept, bbox) > threshold
        })
    }
}

/// Greedy selection from candidates in descending order of score.
fn hard(
    candidates: impl Iterator<Item = Detection>,
    config: &NmsConfig,
    max_detections: usize,
) -> Vec<Detection> {
    let mut kept_boxes: HashMap<u32, BoxColumns> = HashMap::new();
    let mut kept = Vec::new();
    if max_detections == 0 {
        return kept;
    }
    for candidate in candidates {
        let better =
            kept_boxes.entry(if config.class_agnostic { 0 } else { candidate.class_id }).or_default();
        let duplicate = match config.method {
            NmsMethod::Diou => better.any_diou_above(&candidate.bbox, config.iou_threshold),
            _ => better.any_iou_above(&candidate.bbox, config.iou_threshold),
        };
        if !duplicate {
            better.push(&candidate.bbox);
            kept.push(candidate);
            if kept.len() == max_detections {
                break;
            }
        }
    }
    kept
}

/// The candidates of one class that are not yet selected, in the order given, with their scores as reduced so
/// far.
#[derive(Default)]
struct SoftGroup {
    remaining: Vec<(usize, Detection)>,
    best: Option<usize>,
}

impl SoftGroup {
    /// The best of the remaining candidates and its rank among those of other classes.
    fn best(&self) -> Option<(f32, usize)> {
        self.best.map(|i| (self.remaining[i].1.score, self.remaining[i].0))
    }

    /// Takes out the best candidate and reduces the scores of the others.
    fn take_best(&mut self, score_threshold: f32, decay: &impl Fn(f32) -> f32) -> Option<Detection> {
        let (_, taken) = self.remaining.remove(self.best?);
        let area = taken.bbox.area();
        let mut best: Option<(usize, f32)> = None;
        let mut position = 0;
        self.remaining.retain_mut(|(_, other)| {
            let iou = iou_with_areas(&taken.bbox, area, &other.bbox, other.bbox.area());
            if iou > 0.0 {
                other.score *= decay(iou);
            }
            let keep = other.score > score_threshold;
            if keep {
                if best.is_none_or(|(_, score)| other.score > score) {
                    best = Some((position, other.score));
                }
                position += 1;
            }
            keep
        });
        self.best = best.map(|(position, _)| position);
        Some(taken)
    }
}

fn soft(
    candidates: &[Detection],
    config: &NmsConfig,
    max_detections: usize,
    decay: impl Fn(f32) -> f32,
) -> Vec<Detection> {
    let above = candidates.iter().filter(|d| d.score > config.score_threshold);
    let index = Groups::new(above.clone(), config.class_agnostic);
    let mut groups: Vec<SoftGroup> = Vec::new();
    groups.resize_with(index.len(), SoftGroup::default);
    for (rank, detection) in above.enumerate() {
        let group = &mut groups[index.index(detection)];
        if group.best().is_none_or(|(score, _)| detection.score > score) {
            group.best = Some(group.remaining.len());
        }
        group.remaining.push((rank, *detection));
    }

    let mut kept = Vec::new();
    while kept.len() < max_detections {
        // classes do not touch each other's scores, so the next selection is the best of their best
        let next = groups
            .iter()
            .enumerate()
            .filter_map(|(g, group)| group.best().map(|(score, rank)| (g, score, rank)))
            .reduce(|a, b| if b.1 > a.1 || (b.1 == a.1 && b.2 < a.2) { b } else { a });
        let Some((group, ..)) = next else { break };
        kept.extend(groups[group].take_best(config.score_threshold, &decay));
    }
    kept
}

/// Dense indices of the classes that occur.
struct Groups {
    class_ids: Option<Vec<u32>>,
}

impl Groups {
    fn new<'a>(detections: impl Iterator<Item = &'a Detection>, class_agnostic: bool) -> Self {
        let class_ids = (!class_agnostic).then(|| {
            let mut ids: Vec<u32> = detections.map(|d| d.class_id).collect();
            ids.sort_unstable();
            ids.dedup();
            ids
        });
        Self { class_ids }
    }

    fn len(&self) -> usize {
        self.class_ids.as_ref().map_or(1, Vec::len)
    }

    fn index(&self, detection: &Detection) -> usize {
        match &self.class_ids {
            None => 0,
            Some(ids) => ids.partition_point(|id| *id < detection.class_id),
        }
    }
}
