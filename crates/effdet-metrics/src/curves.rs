use serde::Serialize;

use crate::matches::{Counted, match_categories};
use crate::names::{Named, by_name, distinct_names};
use crate::{Detections, Error, GroundTruth};

/// What [`score_curves`] looks at.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CurveOptions {
    /// IoU from which a detection matches; 0.5.
    pub iou: f64,
    /// Detections per image and class that count, by score; 100.
    pub max_detections: usize,
    /// Treat objects with [`Annotation::ignore`](crate::Annotation::ignore) set (VOC's difficult ones) and group-of boxes
    /// as neither to be found nor to be missed, as the metrics of VOC and OpenImages do. COCO's counts them, so the
    /// default is not to.
    pub use_ignore_flag: bool,
}

impl Default for CurveOptions {
    fn default() -> Self {
        Self { iou: 0.5, max_detections: 100, use_ignore_flag: false }
    }
}

/// Precision, recall and F1 at each score threshold.
#[derive(Debug, Clone, Serialize)]
pub struct ScoreCurves {
    /// Each class.
    #[serde(serialize_with = "classes_by_name")]
    pub per_class: Vec<ClassCurve>,
    /// All classes' detections with one threshold for all.
    pub all: ClassCurve,
    /// What was looked at.
    pub options: CurveOptions,
}

/// The curve of one class. Point `i` keeps the detections with a score of at least `score[i]`.
///
/// There are points only where precision can have a peak, at scores of true detections, and a last one that keeps
/// everything.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ClassCurve {
    /// Name of the class, or `all`.
    pub name: String,
    /// Labelled objects that count; crowds do not.
    pub ground_truth: usize,
    /// Thresholds, descending.
    pub score: Vec<f64>,
    /// Part of the detections kept that are true.
    pub precision: Vec<f64>,
    /// Part of the objects that are found.
    pub recall: Vec<f64>,
    /// `2 * precision * recall / (precision + recall)`.
    pub f1: Vec<f64>,
    /// The point of the highest F1, if any detection is true.
    pub best: Option<BestThreshold>,
}

/// The score threshold with the highest F1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BestThreshold {
    /// The threshold: keep detections from this score on.
    pub score: f64,
    /// Precision there.
    pub precision: f64,
    /// Recall there.
    pub recall: f64,
    /// F1 there.
    pub f1: f64,
}

impl Named for ClassCurve {
    fn name(&self) -> &str {
        &self.name
    }
}

fn classes_by_name<S: serde::Serializer>(list: &[ClassCurve], serializer: S) -> Result<S::Ok, S::Error> {
    by_name(list, serializer)
}

/// Precision, recall and F1 of each class over its score threshold, matched by COCO's rule at one IoU.
///
/// # Errors
/// [`Error::Option`] for an `iou` outside `[0, 1]`.
pub fn score_curves(
    truth: &GroundTruth,
    detections: &Detections,
    options: CurveOptions,
) -> Result<ScoreCurves, Error> {
    crate::coco::check_iou("iou", options.iou)?;
    let located = detections.against(truth)?;
    let CurveOptions { iou, max_detections, use_ignore_flag } = options;
    let matches = match_categories(truth, &located, iou, max_detections, use_ignore_flag);
    let names = distinct_names(truth.categories());
    let per_class =
        names.into_iter().zip(&matches).map(|(name, m)| curve(name, &m.counted, m.objects)).collect();
    let mut all: Vec<Counted> = matches.iter().flat_map(|m| m.counted.iter().copied()).collect();
    all.sort_by(|a, b| b.score.total_cmp(&a.score));
    let objects = matches.iter().map(|m| m.objects).sum();
    Ok(ScoreCurves { per_class, all: curve("all".into(), &all, objects), options })
}

fn curve(name: String, counted: &[Counted], objects: usize) -> ClassCurve {
    let mut curve = ClassCurve { name, ground_truth: objects, ..ClassCurve::default() };
    if objects == 0 {
        return curve;
    }
    let (mut hits, mut kept) = (0usize, 0usize);
    for tied in counted.chunk_by(|a, b| a.score == b.score) {
        let new = tied.iter().filter(|detection| detection.hit).count();
        hits += new;
        kept += tied.len();
        if new == 0 && kept < counted.len() {
            continue;
        }
        let point = BestThreshold {
            score: tied[0].score,
            precision: hits as f64 / kept as f64,
            recall: hits as f64 / objects as f64,
            f1: 2.0 * hits as f64 / (kept + objects) as f64,
        };
        curve.score.push(point.score);
        curve.precision.push(point.precision);
        curve.recall.push(point.recall);
        curve.f1.push(point.f1);
        if hits > 0 && curve.best.is_none_or(|best| point.f1 > best.f1) {
            curve.best = Some(point);
        }
    }
    curve
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(list: &[(f64, bool)]) -> Vec<Counted> {
        list.iter().map(|&(score, hit)| Counted { position: 0, image: 0, score, hit }).collect()
    }

    #[test]
    fn equal_scores_pass_the_threshold_together() {
        let list = counted(&[(0.9, true), (0.8, false), (0.8, true), (0.7, false), (0.6, false)]);
        let curve = curve("a".into(), &list, 4);
        assert_eq!(curve.score, [0.9, 0.8, 0.6]);
        assert_eq!(curve.precision, [1.0, 2.0 / 3.0, 0.4]);
        assert_eq!(curve.recall, [0.25, 0.5, 0.5]);
        let best = curve.best.unwrap();
        assert_eq!((best.score, best.f1), (0.8, 4.0 / 7.0));
    }

    #[test]
    fn a_class_without_true_detections_has_no_best_threshold() {
        assert_eq!(curve("a".into(), &counted(&[(0.9, false)]), 3).best, None);
        assert!(curve("a".into(), &counted(&[(0.9, false)]), 0).score.is_empty());
    }
}
