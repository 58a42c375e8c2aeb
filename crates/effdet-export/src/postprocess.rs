//! From the maps of the heads to logits of all anchors, and on to detections.

use effdet_core::ImageSize;
use effdet_heads::{Anchors, DecodeConfig};

use crate::builder::{Builder, Values, int, ints};
use crate::proto::INT64;

/// Class logits, `[batch, anchors, classes]`.
pub(crate) const CLASS_LOGITS: &str = "class_logits";
/// Box codes, `[batch, anchors, 4]`.
pub(crate) const BOX_DELTAS: &str = "box_deltas";
/// Detections of each picture, `[batch]`.
pub(crate) const NUM_DETECTIONS: &str = "num_detections";
/// Boxes, `[batch, detections, 4]`.
pub(crate) const BOXES: &str = "boxes";
/// Scores, `[batch, detections]`.
pub(crate) const SCORES: &str = "scores";
/// Classes, `[batch, detections]`.
pub(crate) const CLASSES: &str = "classes";

/// Joins the maps of all levels to `[batch, anchors, outputs]`, in the order of [`Anchors`].
pub(crate) fn join_levels(builder: &mut Builder, name: &str, maps: &[String], outputs: usize) {
    let shape = builder.ints(&[0, -1, outputs as i64]);
    let rows: Vec<String> = maps
        .iter()
        .map(|map| {
            let pixels = builder.op("Transpose", &[map], vec![ints("perm", &[0, 2, 3, 1])]);
            builder.op("Reshape", &[&pixels, &shape], Vec::new())
        })
        .collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    builder.named(name, "Concat", &rows, vec![int("axis", 1)]);
}

/// Detections from [`CLASS_LOGITS`] and [`BOX_DELTAS`], as [`effdet_heads::decode()`] gives them for a picture that fills
/// the whole input: the best candidates, boxes clipped to the input, hard suppression by class, the best detections.
/// Rows beyond the number of detections are zeros. Returns how many rows there are.
pub(crate) fn write_detections(
    builder: &mut Builder,
    anchors: &Anchors,
    num_classes: usize,
    decode: &DecodeConfig,
) -> usize {
    let candidates = decode.max_candidates.min(anchors.len().saturating_mul(num_classes));
    let rows = decode.max_detections.min(candidates);

    let shape = builder.ints(&[0, -1]);
    let logits = builder.op("Reshape", &[CLASS_LOGITS, &shape], Vec::new());
    let (logits, indices) = top(builder, &logits, candidates);
    let divisor = builder.ints(&[num_classes as i64]);
    let anchor = builder.op("Div", &[&indices, &divisor], Vec::new());
    let first = builder.op("Mul", &[&anchor, &divisor], Vec::new());
    let class = builder.op("Sub", &[&indices, &first], Vec::new());
    let boxes = candidate_boxes(builder, anchors, &anchor);

    // Logits until the end: scores near 1 are equal in single precision, and runtimes round them to other sides.
    let by_class = if decode.nms.class_agnostic {
        builder.unsqueeze(&logits, 1)
    } else {
        logits_by_class(builder, &logits, &class, num_classes)
    };
    let survivors = suppress(builder, &boxes, &by_class, &logits, rows, decode);

    let (best, rank) = top(builder, &survivors, rows);
    let zero = builder.floats([0.0], &[]);
    let least = builder.floats([NO_LOGIT / 2.0], &[]);
    let found = builder.op("GreaterOrEqual", &[&best, &least], Vec::new());
    let scores = builder.op("Sigmoid", &[&best], Vec::new());
    builder.named(SCORES, "Where", &[&found, &scores, &zero], Vec::new());

    let picked = gather_rows(builder, &boxes, &rank);
    let order = builder.ints(&[1, 0, 3, 2]);
    let corners = builder.op("Gather", &[&picked, &order], vec![int("axis", 2)]);
    let mask = builder.unsqueeze(&found, 2);
    builder.named(BOXES, "Where", &[&mask, &corners, &zero], Vec::new());

    let class = builder.op("GatherElements", &[&class, &rank], vec![int("axis", 1)]);
    let (none, one) = (builder.ints(&[0]), builder.ints(&[1]));
    let class = builder.op("Add", &[&class, &one], Vec::new());
    builder.named(CLASSES, "Where", &[&found, &class, &none], Vec::new());

    let counted = builder.op("Cast", &[&found], vec![int("to", INT64.into())]);
    builder.named(NUM_DETECTIONS, "ReduceSum", &[&counted, &one], vec![int("keepdims", 0)]);
    rows
}

/// The `count` largest values of each picture and their places, largest first, equal ones in their order.
fn top(builder: &mut Builder, x: &str, count: usize) -> (String, String) {
    let count = builder.ints(&[count as i64]);
    builder.pair("TopK", &[x, &count], vec![int("axis", 1)])
}

/// Of each picture the rows that `indices`, `[batch, count]`, name.
fn gather_rows(builder: &mut Builder, x: &str, indices: &str) -> String {
    let indices = builder.unsqueeze(indices, 2);
    builder.op("GatherND", &[x, &indices], vec![int("batch_dims", 1)])
}

/// The boxes of candidates as `y1, x1, y2, x2`, clipped to the input.
fn candidate_boxes(builder: &mut Builder, anchors: &Anchors, anchor: &str) -> String {
    let (mut centers, mut sizes) = (Vec::new(), Vec::new());
    for bbox in anchors.boxes() {
        centers.extend([(bbox.ymin + bbox.ymax) / 2.0, (bbox.xmin + bbox.xmax) / 2.0]);
        sizes.extend([bbox.ymax - bbox.ymin, bbox.xmax - bbox.xmin]);
    }
    let shape = [anchors.len(), 2];
    let (centers, sizes) = (builder.floats(centers, &shape), builder.floats(sizes, &shape));
    let center = builder.op("Gather", &[&centers, anchor], vec![int("axis", 0)]);
    let size = builder.op("Gather", &[&sizes, anchor], vec![int("axis", 0)]);

    let codes = gather_rows(builder, BOX_DELTAS, anchor);
    let (shift, stretch) = (builder.slice(&codes, 2, [0, 2]), builder.slice(&codes, 2, [2, 4]));
    let factor = builder.op("Exp", &[&stretch], Vec::new());
    let extent = builder.op("Mul", &[&factor, &size], Vec::new());
    let moved = builder.op("Mul", &[&shift, &size], Vec::new());
    let middle = builder.op("Add", &[&moved, &center], Vec::new());
    let two = builder.floats([2.0], &[]);
    let half = builder.op("Div", &[&extent, &two], Vec::new());
    let low = builder.op("Sub", &[&middle, &half], Vec::new());
    let high = builder.op("Add", &[&middle, &half], Vec::new());
    let boxes = builder.op("Concat", &[&low, &high], vec![int("axis", 2)]);

    let ImageSize { height, width } = anchors.image_size();
    let zero = builder.floats([0.0], &[]);
    let [height, width] = [height as f32, width as f32];
    let most = builder.floats([height, width, height, width], &[4]);
    let inside = builder.op("Max", &[&boxes, &zero], Vec::new());
    builder.op("Min", &[&inside, &most], Vec::new())
}

/// Less than any logit.
const NO_LOGIT: f32 = f32::MIN;

/// `[batch, classes, candidates]`: the logit of a candidate at its class, [`NO_LOGIT`] at the others.
fn logits_by_class(builder: &mut Builder, logits: &str, class: &str, num_classes: usize) -> String {
    let classes: Vec<i64> = (0..num_classes as i64).collect();
    let classes = builder.constant(Values::Ints(classes.into()), &[num_classes, 1]);
    let no_logit = builder.floats([NO_LOGIT], &[]);
    let (class, logits) = (builder.unsqueeze(class, 1), builder.unsqueeze(logits, 1));
    let own = builder.op("Equal", &[&class, &classes], Vec::new());
    builder.op("Where", &[&own, &logits, &no_logit], Vec::new())
}

/// The logits of the candidates that survive suppression, [`NO_LOGIT`] for the others.
fn suppress(
    builder: &mut Builder,
    boxes: &str,
    by_class: &str,
    logits: &str,
    most: usize,
    decode: &DecodeConfig,
) -> String {
    let most = builder.ints(&[most as i64]);
    let overlap = builder.floats([decode.nms.iou_threshold], &[1]);
    let threshold = builder.floats([logit_threshold(decode.score_threshold)], &[1]);
    let inputs = [boxes, by_class, &most, &overlap, &threshold];
    let selected = builder.op("NonMaxSuppression", &inputs, Vec::new());
    // Each row names picture, class and candidate; a candidate has one class.
    let columns = builder.ints(&[0, 2]);
    let places = builder.op("Gather", &[&selected, &columns], vec![int("axis", 1)]);
    let kept = builder.op("GatherND", &[logits, &places], Vec::new());
    let no_logit = builder.floats([NO_LOGIT], &[1]);
    let shape = builder.op("Shape", &[logits], Vec::new());
    let none = builder.op("Expand", &[&no_logit, &shape], Vec::new());
    builder.op("ScatterND", &[&none, &places, &kept], Vec::new())
}

/// The logit below that of `score`: the operator keeps what is above its threshold, we keep what is not below ours.
fn logit_threshold(score: f32) -> f32 {
    let below = f64::from(score.next_down());
    if below <= 0.0 { NO_LOGIT / 2.0 } else { ((below / (1.0 - below)).ln() as f32).next_down() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_keeps_what_is_not_below_it() {
        let sigmoid = |logit: f32| 1.0 / (1.0 + (-f64::from(logit)).exp());
        for score in [0.001f32, 0.05, 0.3, 0.5, 0.9, 0.999, 1.0] {
            let logit = logit_threshold(score);
            assert!(
                logit.is_finite() && (sigmoid(logit) / f64::from(score) - 1.0).abs() < 2e-6,
                "{score}: {logit}"
            );
            assert!(sigmoid(logit) < f64::from(score));
        }
        for score in [0.0, -1.0] {
            assert_eq!(logit_threshold(score), NO_LOGIT / 2.0);
        }
    }
}
