//! Losses of the boxes that positive anchors predict.

use std::f64::consts::PI;

use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::places::PlaceOrder;
use crate::targets::BatchTargets;

/// Keeps quotients of areas and distances finite.
const EPSILON: f64 = 1e-7;

/// Largest logarithm of a size, relative to the anchor's, in the losses on IoU: `ln(1000 / 16)`.
const MAX_LOG_SIZE: f64 = 4.135_166_556_742_356;

/// And the smallest, so that no box is without area.
const MIN_LOG_SIZE: f64 = -10.0;

/// What is measured on the box of a positive anchor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BoxLoss {
    /// The Huber loss of the code's four numbers.
    #[default]
    Huber,
    /// One minus the IoU of the decoded boxes.
    Iou,
    /// One minus the generalised IoU.
    Giou,
    /// One minus the distance IoU.
    Diou,
    /// One minus the complete IoU.
    Ciou,
}

/// What the selected box outputs of all levels are to become. A weight of 0 marks an output that is there only so that
/// every level is part of the graph and gets a gradient of zero, as in the reference.
#[derive(Default)]
pub(crate) struct BoxSample {
    /// Codes, one number per selected output.
    targets: Vec<f64>,
    /// One weight per selected output, or per box for the losses on IoU.
    weights: Vec<f64>,
    /// Centre and size `[y, x, h, w]` of the anchors, for the losses on IoU.
    anchors: Vec<[f64; 4]>,
}

impl BoxSample {
    /// Adds the positive anchors of a level; returns the places of their outputs.
    pub(crate) fn extend(
        &mut self,
        targets: &BatchTargets,
        level: usize,
        kind: BoxLoss,
        order: PlaceOrder,
    ) -> Vec<i64> {
        let anchors = targets.anchors();
        let (per_cell, range) = (anchors.anchors_per_cell(), anchors.level_range(level));
        let cells = range.len() / per_cell;
        let mut places = Vec::new();
        for (picture, labels) in targets.labels().iter().enumerate() {
            for (index, class) in labels.classes[range.clone()].iter().enumerate() {
                if *class < 0 {
                    continue;
                }
                let (cell, anchor) = (index / per_cell, index % per_cell);
                let place = |i: usize| order.place([per_cell * 4, cells], picture, anchor * 4 + i, cell);
                let code = labels.boxes[range.start + index];
                if kind == BoxLoss::Huber {
                    // the reference takes a zero for the mark of a background anchor, number by number
                    for (i, number) in code.into_iter().enumerate().filter(|(_, number)| *number != 0.0) {
                        places.push(place(i));
                        self.targets.push(f64::from(number));
                        self.weights.push(1.0);
                    }
                } else {
                    places.extend((0..4).map(place));
                    self.push_box(targets, range.start + index, code.map(f64::from), 1.0);
                }
            }
        }
        if places.is_empty() {
            if kind == BoxLoss::Huber {
                places.push(0);
                self.targets.push(0.0);
                self.weights.push(0.0);
            } else {
                places.extend(0..4);
                self.push_box(targets, range.start, [0.0; 4], 0.0);
            }
        }
        places
    }

    fn push_box(&mut self, targets: &BatchTargets, anchor: usize, code: [f64; 4], weight: f64) {
        let [y1, x1, y2, x2] = <[f32; 4]>::from(targets.anchors().boxes()[anchor]).map(f64::from);
        self.anchors.push([(y1 + y2) / 2.0, (x1 + x2) / 2.0, y2 - y1, x2 - x1]);
        self.targets.extend(code);
        self.weights.push(weight);
    }

    fn boxes(&self) -> impl Iterator<Item = ([f64; 4], [f64; 4])> {
        let codes = self.targets.chunks_exact(4).map(|code| [code[0], code[1], code[2], code[3]]);
        self.anchors.iter().copied().zip(codes)
    }
}

/// Sum of the Huber losses, `[1]`: `e² / 2` for an error below `delta`, `delta (|e| - delta / 2)` above.
///
/// # Reference
/// effdet `huber_loss`.
pub(crate) fn huber(codes: Tensor<1>, sample: &BoxSample, delta: f64) -> Tensor<1> {
    let constant = |values: &[f64]| {
        Tensor::<1>::from_data(TensorData::from(values), (&codes.device().without_autodiff(), codes.dtype()))
    };
    let error = (codes.clone() - constant(&sample.targets)).abs();
    let quadratic = error.clone().clamp_max(delta);
    let linear = error - quadratic.clone();
    let loss = quadratic.clone() * quadratic.mul_scalar(0.5) + linear.mul_scalar(delta);
    (loss * constant(&sample.weights)).sum()
}

/// Sum of the losses on IoU, `[1]`.
///
/// Sizes are decoded with their logarithm cut at -10 and `ln(1000 / 16)`.
///
/// # Reference
/// torchvision `generalized_box_iou_loss`, `distance_box_iou_loss` and `complete_box_iou_loss`.
pub(crate) fn overlap(codes: Tensor<1>, sample: &BoxSample, kind: BoxLoss) -> Tensor<1> {
    let (device, dtype) = (codes.device().without_autodiff(), codes.dtype());
    let column = |values: Vec<f64>| Tensor::<1>::from_data(values.as_slice(), (&device, dtype));
    let anchor = |i: usize| column(sample.anchors.iter().map(|anchor| anchor[i]).collect());
    let codes = codes.reshape([sample.anchors.len(), 4]);
    let code = |i: usize| codes.clone().narrow(1, i, 1).squeeze_dim::<1>(1);
    let axis = |middle: usize| {
        let centre = code(middle) * anchor(middle + 2) + anchor(middle);
        let size = code(middle + 2).clamp(MIN_LOG_SIZE, MAX_LOG_SIZE).exp() * anchor(middle + 2);
        let half = size.clone().mul_scalar(0.5);
        (centre.clone() - half.clone(), centre + half, size)
    };
    let truth = |i: usize| {
        let (middle, sign) = (i % 2, if i < 2 { -0.5 } else { 0.5 });
        let edge = |(anchor, code): ([f64; 4], [f64; 4])| {
            let size = code[middle + 2].exp() * anchor[middle + 2];
            code[middle] * anchor[middle + 2] + anchor[middle] + sign * size
        };
        column(sample.boxes().map(edge).collect())
    };
    let ((y1, y2, h), (x1, x2, w)) = (axis(0), axis(1));
    let [ty1, tx1, ty2, tx2] = [0, 1, 2, 3].map(truth);

    let (th, tw) = (ty2.clone() - ty1.clone(), tx2.clone() - tx1.clone());
    let common = |low: &Tensor<1>, high: &Tensor<1>, tlow: &Tensor<1>, thigh: &Tensor<1>| {
        (high.clone().min_pair(thigh.clone()) - low.clone().max_pair(tlow.clone())).clamp_min(0.0)
    };
    let hull = |low: &Tensor<1>, high: &Tensor<1>, tlow: &Tensor<1>, thigh: &Tensor<1>| {
        high.clone().max_pair(thigh.clone()) - low.clone().min_pair(tlow.clone())
    };
    let intersection = common(&y1, &y2, &ty1, &ty2) * common(&x1, &x2, &tx1, &tx2);
    let union = h.clone() * w.clone() + th.clone() * tw.clone() - intersection.clone();
    let iou = intersection / union.clone().add_scalar(EPSILON);
    let (hull_h, hull_w) = (hull(&y1, &y2, &ty1, &ty2), hull(&x1, &x2, &tx1, &tx2));
    let loss = iou.clone().neg().add_scalar(1.0);
    let loss = match kind {
        BoxLoss::Huber | BoxLoss::Iou => loss,
        BoxLoss::Giou => {
            let hull = hull_h * hull_w;
            loss + (hull.clone() - union) / hull.add_scalar(EPSILON)
        }
        BoxLoss::Diou | BoxLoss::Ciou => {
            let square = |t: Tensor<1>| t.clone() * t;
            let apart =
                square((y1 + y2 - ty1 - ty2).mul_scalar(0.5)) + square((x1 + x2 - tx1 - tx2).mul_scalar(0.5));
            let loss = loss + apart / (square(hull_h) + square(hull_w)).add_scalar(EPSILON);
            if kind == BoxLoss::Diou {
                loss
            } else {
                let v = square((tw / th).atan() - (w / h).atan()).mul_scalar(4.0 / (PI * PI));
                let fixed = v.clone().detach();
                let alpha = fixed.clone() / (fixed + iou.detach().neg().add_scalar(1.0 + EPSILON));
                loss + alpha * v
            }
        }
    };
    (loss * column(sample.weights.clone())).sum()
}
