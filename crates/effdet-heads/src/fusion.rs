//! Weighted box fusion: the detections of several views or networks as one.

use std::collections::BTreeMap;

use effdet_core::iou::iou;
use effdet_core::{Detection, XyxyBox};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::nms::is_usable;

/// The score of fused boxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FusedScore {
    /// Their mean, lowered by the part of the views that did not find the object.
    #[default]
    Mean,
    /// The best of them.
    Max,
}

/// Settings of [`weighted_box_fusion`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FusionConfig {
    /// IoU with the box as fused so far above which another joins it.
    pub iou_threshold: f32,
    /// Least score of a box that takes part.
    pub score_threshold: f32,
    /// The score of fused boxes.
    pub score: FusedScore,
    /// How much each view counts; by default all the same.
    pub weights: Option<Vec<f32>>,
}

impl Default for FusionConfig {
    /// The settings of the reference.
    fn default() -> Self {
        Self { iou_threshold: 0.55, score_threshold: 0.0, score: FusedScore::Mean, weights: None }
    }
}

impl FusionConfig {
    /// Checks the thresholds and the weights, of which there must be `views`.
    ///
    /// # Errors
    /// [`Error::Setting`] for a NaN threshold, another number of weights, and weights that are not positive.
    pub fn validate(&self, views: usize) -> Result<(), Error> {
        let refuse = |name, value, expected| Err(Error::Setting { name, value, expected });
        for (name, value) in
            [("fusion iou_threshold", self.iou_threshold), ("fusion score_threshold", self.score_threshold)]
        {
            if value.is_nan() {
                return refuse(name, value.to_string(), "a number");
            }
        }
        let Some(weights) = &self.weights else { return Ok(()) };
        if weights.len() != views || weights.iter().any(|weight| !(weight.is_finite() && *weight > 0.0)) {
            return refuse("fusion weights", format!("{weights:?}"), "a positive number for each view");
        }
        Ok(())
    }
}

/// Fuses what several views of a picture, or several networks, found in it, best first.
///
/// In the order of their scores (times the weight of the view), each box joins the fused box of its class that it
/// overlaps most, if the IoU is above the threshold, and else begins one. Coordinates are means weighted by the scores,
/// `sum(s_i b_i) / sum(s_i)`; the score is `sum(s_i) / n * min(n, views) / sum(weights)` for `n` boxes, so that an object
/// which a single view found scores low. Boxes without area and those with a NaN or infinite value are dropped.
///
/// # Errors
/// [`Error::Setting`], see [`FusionConfig::validate`].
///
/// # Reference
/// Solovyev et al. 2021, "Weighted boxes fusion"; the authors' package `ensemble_boxes`, function
/// `weighted_boxes_fusion` with `conf_type` "avg" and "max". Differs: boxes are in pixels and not clipped.
pub fn weighted_box_fusion(views: &[Vec<Detection>], config: &FusionConfig) -> Result<Vec<Detection>, Error> {
    config.validate(views.len())?;
    let weight = |view: usize| config.weights.as_ref().map_or(1.0, |weights| f64::from(weights[view]));
    let mut classes: BTreeMap<u32, Vec<Weighted>> = BTreeMap::new();
    for (view, detections) in views.iter().enumerate() {
        for detection in detections.iter().filter(|detection| is_usable(detection)) {
            if detection.score >= config.score_threshold && !detection.bbox.is_empty() {
                let score = f64::from(detection.score) * weight(view);
                classes.entry(detection.class_id).or_default().push(Weighted { bbox: detection.bbox, score });
            }
        }
    }

    let total: f64 = (0..views.len()).map(weight).sum();
    let highest = (0..views.len()).map(weight).fold(0.0, f64::max);
    let mut fused = Vec::new();
    for (class_id, mut boxes) in classes {
        boxes.sort_by(|a, b| b.score.total_cmp(&a.score));
        for cluster in clusters(&boxes, config.iou_threshold) {
            let score = match config.score {
                FusedScore::Mean => {
                    cluster.score_sum / cluster.count as f64 * cluster.count.min(views.len()) as f64 / total
                }
                FusedScore::Max => cluster.best / highest,
            };
            fused.push(Detection { bbox: cluster.bbox, score: score as f32, class_id });
        }
    }
    fused.sort_by(|a, b| b.score.total_cmp(&a.score));
    Ok(fused)
}

/// A box with its score times the weight of its view.
struct Weighted {
    bbox: XyxyBox,
    score: f64,
}

/// Boxes of one object.
struct Cluster {
    bbox: XyxyBox,
    corner_sums: [f64; 4],
    score_sum: f64,
    best: f64,
    count: usize,
}

impl Cluster {
    fn new(first: &Weighted) -> Self {
        let mut cluster =
            Self { bbox: first.bbox, corner_sums: [0.0; 4], score_sum: 0.0, best: first.score, count: 0 };
        cluster.add(first);
        cluster
    }

    fn add(&mut self, member: &Weighted) {
        let corners = <[f32; 4]>::from(member.bbox).map(f64::from);
        for (sum, corner) in self.corner_sums.iter_mut().zip(corners) {
            *sum += member.score * corner;
        }
        self.score_sum += member.score;
        self.count += 1;
        // Boxes whose scores are all 0 have no weighted mean.
        if self.score_sum > 0.0 {
            self.bbox = self.corner_sums.map(|sum| (sum / self.score_sum) as f32).into();
        }
    }
}

fn clusters(boxes: &[Weighted], iou_threshold: f32) -> Vec<Cluster> {
    let mut clusters: Vec<Cluster> = Vec::new();
    for member in boxes {
        let overlaps = clusters.iter().enumerate().map(|(i, cluster)| (i, iou(&cluster.bbox, &member.bbox)));
        // Of equal overlaps the first counts.
        let nearest = overlaps.reduce(|best, next| if next.1 > best.1 { next } else { best });
        match nearest.filter(|(_, overlap)| *overlap > iou_threshold) {
            Some((i, _)) => clusters[i].add(member),
            None => clusters.push(Cluster::new(member)),
        }
    }
    clusters
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detection(x: f32, score: f32) -> Detection {
        Detection { bbox: XyxyBox::new(x, 0.0, x + 10.0, 10.0), score, class_id: 1 }
    }

    #[test]
    fn the_better_box_counts_more_and_absent_views_lower_the_score() {
        let views = [vec![detection(0.0, 0.9)], vec![detection(1.0, 0.3)], vec![]];
        let fused = weighted_box_fusion(&views, &FusionConfig::default()).unwrap();
        assert_eq!(fused.len(), 1);
        assert!((fused[0].bbox.x1 - 0.25).abs() < 1e-6, "{:?}", fused[0]);
        assert!((fused[0].score - 0.4).abs() < 1e-6, "{:?}", fused[0]);
        let best = FusionConfig { score: FusedScore::Max, ..FusionConfig::default() };
        assert_eq!(weighted_box_fusion(&views, &best).unwrap()[0].score, 0.9);
    }

    #[test]
    fn one_view_keeps_boxes_and_scores() {
        let view = vec![detection(0.0, 0.9), detection(40.0, 0.5)];
        assert_eq!(weighted_box_fusion(std::slice::from_ref(&view), &FusionConfig::default()).unwrap(), view);
    }

    #[test]
    fn what_has_no_place_or_score_is_dropped() {
        let empty = Detection { bbox: XyxyBox::new(3.0, 3.0, 3.0, 9.0), score: 0.5, class_id: 1 };
        let views = [vec![empty, detection(f32::NAN, 0.5), detection(0.0, 0.1)]];
        let config = FusionConfig { score_threshold: 0.2, ..FusionConfig::default() };
        assert!(weighted_box_fusion(&views, &config).unwrap().is_empty());
        assert_eq!(
            weighted_box_fusion(&[vec![detection(0.0, 0.0); 2]], &FusionConfig::default()).unwrap().len(),
            1
        );
        assert!(weighted_box_fusion(&[], &FusionConfig::default()).unwrap().is_empty());
    }

    #[test]
    fn weights_are_one_positive_number_for_each_view() {
        for weights in [vec![1.0], vec![1.0, 0.0], vec![1.0, f32::NAN]] {
            let config = FusionConfig { weights: Some(weights), ..FusionConfig::default() };
            let error = weighted_box_fusion(&[vec![], vec![]], &config).unwrap_err().to_string();
            assert!(error.contains("a positive number for each view"), "{error}");
        }
    }
}
