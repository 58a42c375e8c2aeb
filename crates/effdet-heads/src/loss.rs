//! The training loss of head outputs against anchor labels.

use burn::tensor::{DType, Tensor};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::anchors::AnchorLevel;
use crate::box_loss::{self, BoxLoss, BoxSample};
use crate::focal::{ClassSample, Focal};
use crate::places::PlaceOrder;
use crate::targets::{BatchTargets, IGNORED};

/// Settings of a [`DetectionLoss`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DetectionLossConfig {
    /// Weight of positive logits in the focal loss; negative ones weigh one minus this.
    pub alpha: f64,
    /// How much the focal loss favours hard logits; 0 is cross-entropy.
    pub gamma: f64,
    /// Part of a label's certainty given away: a positive label is one minus half of it, a negative one half of it.
    pub label_smoothing: f64,
    /// The focal loss of the first published models, which has no label smoothing; else the same function.
    pub legacy_focal: bool,
    /// What is measured on boxes.
    pub box_loss: BoxLoss,
    /// Where the Huber loss turns from a parabola into a line.
    pub delta: f64,
    /// Weight of the box loss. The default suits the Huber loss, whose values are small; the losses on IoU want about 1.
    pub box_loss_weight: f64,
    /// Factor of the focal loss of each class, of its positive and negative logits alike; none means 1.
    pub class_weights: Option<Vec<f64>>,
}

impl Default for DetectionLossConfig {
    /// The settings of the published models.
    fn default() -> Self {
        Self {
            alpha: 0.25,
            gamma: 1.5,
            label_smoothing: 0.0,
            legacy_focal: false,
            box_loss: BoxLoss::Huber,
            delta: 0.1,
            box_loss_weight: 50.0,
            class_weights: None,
        }
    }
}

impl DetectionLossConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`Error::Setting`] for one that is out of range.
    pub fn init(&self) -> Result<DetectionLoss, Error> {
        let check = |name, value: f64, valid: bool, expected| {
            let refused = || Error::Setting { name, value: value.to_string(), expected };
            if valid { Ok(()) } else { Err(refused()) }
        };
        let unit = |value: f64| (0.0..=1.0).contains(&value);
        let positive = |value: f64| value.is_finite() && value >= 0.0;
        check("alpha", self.alpha, unit(self.alpha), "between 0 and 1")?;
        check("gamma", self.gamma, positive(self.gamma), "at least 0")?;
        check("label_smoothing", self.label_smoothing, unit(self.label_smoothing), "between 0 and 1")?;
        check("delta", self.delta, positive(self.delta) && self.delta > 0.0, "a positive number")?;
        check("box_loss_weight", self.box_loss_weight, positive(self.box_loss_weight), "at least 0")?;
        for (class, &weight) in self.class_weights.iter().flatten().enumerate() {
            if !positive(weight) {
                let value = format!("{weight} for class {class} (counted from 0)");
                return Err(Error::Setting { name: "a class weight", value, expected: "at least 0" });
            }
        }
        Ok(DetectionLoss { config: self.clone() })
    }
}

/// Focal loss of the class logits plus a weighted loss of the box codes.
///
/// `total = class + box_loss_weight · boxes`. Both parts are sums over the batch divided by a normaliser, by default the
/// number of positive anchors plus one; the Huber loss, which counts every number of a code, also by four.
///
/// # Reference
/// "EfficientDet", section 5.1; effdet `DetectionLoss`. Differs: no one-hot targets are made. All logits count as
/// negative and the few that are not are corrected, which is the same sum; and the legacy focal loss, the same function
/// written otherwise, does not overflow.
#[derive(Debug, Clone, PartialEq)]
pub struct DetectionLoss {
    config: DetectionLossConfig,
}

/// A loss and its parts, each `[1]`, on the device of the outputs and part of their graph.
#[derive(Debug, Clone)]
pub struct LossParts {
    /// What is to be minimised.
    pub total: Tensor<1>,
    /// The focal loss.
    pub class: Tensor<1>,
    /// The box loss, without its weight.
    pub boxes: Tensor<1>,
}

impl DetectionLoss {
    /// The settings.
    pub fn config(&self) -> &DetectionLossConfig {
        &self.config
    }

    /// The loss, normalised by the positive anchors of this batch plus one.
    ///
    /// # Shapes
    /// - `class_logits`: for each level `[batch, anchors · classes, height, width]`
    /// - `box_deltas`: for each level `[batch, anchors · 4, height, width]`
    ///
    /// # Errors
    /// If the outputs do not fit the targets, there is no picture, or a label or the class weights do not fit the number
    /// of classes.
    pub fn forward(
        &self,
        class_logits: &[Tensor<4>],
        box_deltas: &[Tensor<4>],
        targets: &BatchTargets,
    ) -> Result<LossParts, Error> {
        self.forward_normalized(class_logits, box_deltas, targets, targets.num_positives() as f64 + 1.0)
    }

    /// The loss, normalised by this number, such as [`Normalizer::next`] gives.
    ///
    /// # Shapes
    /// As [`forward`](Self::forward).
    ///
    /// # Errors
    /// As [`forward`](Self::forward); also [`Error::Setting`] if the number is not positive.
    pub fn forward_normalized(
        &self,
        class_logits: &[Tensor<4>],
        box_deltas: &[Tensor<4>],
        targets: &BatchTargets,
        normalizer: f64,
    ) -> Result<LossParts, Error> {
        if !(normalizer.is_finite() && normalizer > 0.0) {
            let value = normalizer.to_string();
            return Err(Error::Setting { name: "normalizer", value, expected: "a positive number" });
        }
        if targets.labels().is_empty() {
            return Err(Error::Setting { name: "batch size", value: "0".into(), expected: "at least 1" });
        }
        let num_classes = self.check_shapes(class_logits, box_deltas, targets)?;
        check_classes(targets, num_classes)?;
        let class = self.class_loss(class_logits, targets, num_classes, normalizer);
        let boxes = self.box_loss(box_deltas, targets, normalizer);
        let total = class.clone() + boxes.clone().mul_scalar(self.config.box_loss_weight);
        Ok(LossParts { total, class, boxes })
    }

    /// Number of classes that the outputs have.
    fn check_shapes(
        &self,
        class_logits: &[Tensor<4>],
        box_deltas: &[Tensor<4>],
        targets: &BatchTargets,
    ) -> Result<usize, Error> {
        let anchors = targets.anchors();
        let expected = anchors.levels().len();
        for actual in [class_logits.len(), box_deltas.len()] {
            if actual != expected {
                return Err(Error::LevelCount { expected, actual });
            }
        }
        let per_cell = anchors.anchors_per_cell();
        let num_classes = class_logits[0].dims()[1] / per_cell;
        if num_classes == 0 {
            return Err(Error::Setting { name: "num_classes", value: "0".into(), expected: "at least 1" });
        }
        if let Some(weights) = &self.config.class_weights
            && weights.len() != num_classes
        {
            let value = weights.len().to_string();
            return Err(Error::Setting { name: "number of class weights", value, expected: "one per class" });
        }
        for (index, AnchorLevel { level, feature_size, .. }) in anchors.levels().iter().enumerate() {
            let outputs = [("class logits", class_logits, num_classes), ("box deltas", box_deltas, 4)];
            for (tensor, outputs, per_anchor) in outputs {
                let actual = outputs[index].dims();
                let fits =
                    [targets.labels().len(), per_cell * per_anchor, feature_size.height, feature_size.width];
                if actual != fits {
                    return Err(Error::OutputShape {
                        level: *level,
                        tensor,
                        actual,
                        expected: format!("{fits:?}"),
                    });
                }
            }
        }
        Ok(num_classes)
    }

    fn class_loss(
        &self,
        class_logits: &[Tensor<4>],
        targets: &BatchTargets,
        num_classes: usize,
        normalizer: f64,
    ) -> Tensor<1> {
        let DetectionLossConfig { alpha, gamma, label_smoothing, legacy_focal, .. } = self.config;
        let focal = Focal {
            alpha,
            gamma,
            smoothing: if legacy_focal { 0.0 } else { label_smoothing },
            class_weights: self.config.class_weights.as_deref(),
            num_classes,
            normalizer,
        };
        let levels = class_logits.iter().enumerate().map(|(level, logits)| {
            let logits = single_or_double(logits.clone());
            let order = PlaceOrder::of(&logits);
            focal.forward(logits, &class_sample(targets, level, num_classes, order))
        });
        Tensor::cat(levels.collect(), 0).sum()
    }

    fn box_loss(&self, box_deltas: &[Tensor<4>], targets: &BatchTargets, normalizer: f64) -> Tensor<1> {
        let kind = self.config.box_loss;
        let mut sample = BoxSample::default();
        let mut codes = Vec::with_capacity(box_deltas.len());
        for (level, deltas) in box_deltas.iter().enumerate() {
            let deltas = single_or_double(deltas.clone());
            let order = PlaceOrder::of(&deltas);
            let places = sample.extend(targets, level, kind, order);
            let places = Tensor::from_data(places.as_slice(), &deltas.device().without_autodiff());
            codes.push(order.take(&deltas, &places));
        }
        let codes = Tensor::cat(codes, 0);
        match kind {
            BoxLoss::Huber => box_loss::huber(codes, &sample, self.config.delta).div_scalar(normalizer * 4.0),
            kind => box_loss::overlap(codes, &sample, kind).div_scalar(normalizer),
        }
    }
}

/// The reference computes its loss in single precision whatever the network computes in; double is kept.
fn single_or_double(tensor: Tensor<4>) -> Tensor<4> {
    if tensor.dtype() == DType::F64 { tensor } else { tensor.cast(DType::F32) }
}

fn check_classes(targets: &BatchTargets, num_classes: usize) -> Result<(), Error> {
    for (picture, labels) in targets.labels().iter().enumerate() {
        let highest = labels.classes.iter().copied().max().unwrap_or(-1);
        if usize::try_from(highest).is_ok_and(|class| class >= num_classes) {
            return Err(Error::ClassRange { picture, class: highest, num_classes });
        }
    }
    Ok(())
}

/// The logits of a level that are no negatives.
fn class_sample(targets: &BatchTargets, level: usize, num_classes: usize, order: PlaceOrder) -> ClassSample {
    let anchors = targets.anchors();
    let (per_cell, range) = (anchors.anchors_per_cell(), anchors.level_range(level));
    let cells = range.len() / per_cell;
    let mut sample = ClassSample { order, positive: Vec::new(), ignored: Vec::new() };
    for (picture, labels) in targets.labels().iter().enumerate() {
        for (index, &class) in labels.classes[range.clone()].iter().enumerate() {
            let (cell, anchor) = (index / per_cell, index % per_cell);
            let place = |class: usize| {
                order.place([per_cell * num_classes, cells], picture, anchor * num_classes + class, cell)
            };
            match usize::try_from(class) {
                Ok(class) => sample.positive.push((place(class), class)),
                Err(_) if class == IGNORED => sample.ignored.extend((0..num_classes).map(|c| (place(c), c))),
                Err(_) => {}
            }
        }
    }
    sample
}

/// What the losses of a training run are divided by: the positive anchors of each batch plus one, or a moving average
/// of that. It belongs to the state of a run.
///
/// # Reference
/// effdet divides by the count of each batch; google/automl has `positives_momentum`. Differs from that: the average
/// starts at the first count, where automl's starts at 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Normalizer {
    /// Weight of the past; 0 normalises each batch by its own count.
    pub momentum: f64,
    /// The average so far.
    pub average: Option<f64>,
}

impl Normalizer {
    /// A moving average with this weight of the past.
    ///
    /// # Errors
    /// [`Error::Setting`] unless the weight is at least 0 and less than 1.
    pub fn with_momentum(momentum: f64) -> Result<Self, Error> {
        if !(0.0..1.0).contains(&momentum) {
            let value = momentum.to_string();
            return Err(Error::Setting {
                name: "normalizer momentum",
                value,
                expected: "at least 0, less than 1",
            });
        }
        Ok(Self { momentum, average: None })
    }

    /// Takes in a batch and gives what its loss is to be divided by.
    pub fn next(&mut self, targets: &BatchTargets) -> f64 {
        self.next_count(targets.num_positives() as f64)
    }

    /// As [`next`](Self::next), for a batch with this many positive anchors.
    pub fn next_count(&mut self, positives: f64) -> f64 {
        let count = positives + 1.0;
        let average = self.average.map_or(count, |past| past * self.momentum + count * (1.0 - self.momentum));
        self.average = Some(average);
        average
    }
}
