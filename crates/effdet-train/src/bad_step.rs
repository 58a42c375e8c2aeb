//! Losses that are not finite: where they come from.

use std::fmt;

use burn::module::Module;
use burn::tensor::Tensor;
use effdet_heads::BatchTargets;
use effdet_model::EfficientDet;

use crate::module::StepContext;
use crate::parameters::values;
use crate::{DetectorModel, Error, Losses, Named, TrainBatch};

/// What is wrong with a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadStepKind {
    /// The loss is NaN or infinite.
    Loss,
    /// The loss is finite and a gradient is not.
    Gradient,
    /// The loss is far beyond those before it.
    Explosion,
}

/// A step that cannot be used, and what it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct BadStep {
    /// What is wrong.
    pub kind: BadStepKind,
    /// Epochs completed before.
    pub epoch: u64,
    /// Steps made before.
    pub step: u64,
    /// The losses.
    pub losses: Losses,
    /// The picture that it comes from, or the one with the largest loss.
    pub picture: Option<String>,
    /// The first tensor that is not finite, from the weights to the gradients.
    pub layer: Option<String>,
}

impl fmt::Display for BadStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Losses { total, class, boxes } = self.losses;
        let what = match self.kind {
            BadStepKind::Loss => "the loss is not finite",
            BadStepKind::Gradient => "a gradient is not finite",
            BadStepKind::Explosion => "the loss exploded",
        };
        let (step, epoch) = (self.step + 1, self.epoch + 1);
        write!(f, "step {step} (epoch {epoch}): {what}: {total} (class {class}, boxes {boxes})")?;
        if let Some(layer) = &self.layer {
            write!(f, "; first in {layer}")?;
        }
        if let Some(picture) = &self.picture {
            write!(f, "; most of it from {picture}")?;
        }
        Ok(())
    }
}

/// Name of the first tensor with an element that is NaN or infinite.
pub(crate) fn first_not_finite(tensors: &Named) -> Option<&str> {
    tensors.iter().find(|(_, tensor)| !is_finite((*tensor).clone())).map(|(name, _)| name.as_str())
}

fn is_finite<const D: usize>(tensor: Tensor<D>) -> bool {
    let data = tensor.without_autodiff().try_into_data();
    data.is_ok_and(|data| data.iter::<f32>().all(f32::is_finite))
}

/// The first tensor on the way from weights to outputs that is not finite, in evaluation mode.
pub(crate) fn first_layer(network: &EfficientDet, batch: &TrainBatch) -> Option<String> {
    if let Some(name) = first_not_finite(&values(network)) {
        return Some(format!("the weights {name}"));
    }
    let network = network.valid();
    let features = network.backbone.forward(batch.pictures.clone().inner());
    let find = |what: &str, maps: &[Tensor<4>]| {
        let index = maps.iter().position(|map| !is_finite(map.clone()))?;
        Some(format!("{what} {index}"))
    };
    find("feature map of the backbone", &features).or_else(|| {
        let levels = network.fpn.forward(features);
        find("output of the feature network", &levels)
            .or_else(|| find("output of the class head", &network.class_net.forward(&levels)))
            .or_else(|| find("output of the box head", &network.box_net.forward(&levels)))
    })
}

/// Index in the batch of the picture whose loss is not finite, else the largest, and that loss; infinity for one that is
/// not finite.
pub(crate) fn worst_picture(
    model: &DetectorModel,
    batch: &TrainBatch,
    context: &StepContext<'_>,
) -> Result<Option<(usize, f64)>, Error> {
    let losses = picture_losses(model, &model.network.valid(), batch, context)?;
    let rank = |loss: f64| if loss.is_finite() { loss } else { f64::INFINITY };
    let ranks = losses.iter().map(|losses| rank(losses.total)).enumerate();
    Ok(ranks.max_by(|(_, a), (_, b)| a.total_cmp(b)))
}

/// The losses of each picture alone, each divided by its own positive anchors plus one.
pub(crate) fn picture_losses(
    model: &DetectorModel,
    network: &EfficientDet,
    batch: &TrainBatch,
    context: &StepContext<'_>,
) -> Result<Vec<Losses>, Error> {
    let mut outputs = network.forward(batch.pictures.clone().inner());
    let targets = context.targets(model, &outputs, batch)?;
    let anchors = model.anchors(batch.size(), &outputs)?;
    let maps = (std::mem::take(&mut outputs.class_logits), std::mem::take(&mut outputs.box_deltas));
    let slice = |maps: &[Tensor<4>], index: usize| -> Vec<Tensor<4>> {
        maps.iter().map(|map| map.clone().narrow(0, index, 1)).collect()
    };
    let mut losses = Vec::with_capacity(batch.len());
    for (index, labels) in targets.labels().iter().enumerate() {
        let target = BatchTargets::new(anchors.clone(), vec![labels.clone()])?;
        let (logits, deltas) = (slice(&maps.0, index), slice(&maps.1, index));
        let loss = context.criterion.forward(&logits, &deltas, &target)?;
        let loss = crate::StepLoss { total: loss.total, class: loss.class, boxes: loss.boxes };
        losses.push(loss.read()?);
    }
    Ok(losses)
}
