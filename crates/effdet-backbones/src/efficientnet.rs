//! The EfficientNet and MobileNetV3 classes: one network, assembled from a plan.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use effdet_nn::{Activation, Conv2d, Conv2dConfig, FeatureMap, Linear, NormAct, NormConfig};

use crate::blocks::{Block, Context};
use crate::family::PooledHead;
use crate::plan::NetPlan;
use crate::variants::Variant;
use crate::{BackboneConfig, FeatureLocation};

/// A stem, stages of blocks, and optionally a classifier.
///
/// # Reference
/// timm `EfficientNet`, `EfficientNetFeatures`, `MobileNetV3`, `MobileNetV3Features`.
#[derive(Module, Debug)]
pub struct EfficientNet {
    /// The strided stem convolution.
    pub conv_stem: Conv2d,
    /// Its normalisation and activation.
    pub bn1: NormAct,
    /// The blocks of every stage.
    pub blocks: Vec<Vec<Block>>,
    /// The convolution before the classifier.
    pub conv_head: Option<Conv2d>,
    /// Its normalisation where it comes before pooling.
    pub bn2: Option<NormAct>,
    /// Its normalisation where it comes after pooling.
    pub norm_head: Option<NormAct>,
    /// The classifier.
    pub classifier: Option<Linear>,
    /// Stage of each feature map to give, 0 for the stem.
    #[module(skip)]
    taps: Vec<usize>,
    #[module(skip)]
    feature_location: FeatureLocation,
    #[module(skip)]
    pooled_head: PooledHead,
    #[module(skip)]
    activation: Activation,
}

impl EfficientNet {
    pub(crate) fn init(variant: &Variant, plan: &NetPlan, config: &BackboneConfig, device: &Device) -> Self {
        let family = variant.family;
        let norm = match (variant.norm, variant.pretrained_epsilon) {
            (NormConfig::Batch { momentum, .. }, Some(epsilon)) if config.pretrained => {
                NormConfig::Batch { epsilon, momentum }
            }
            (norm, _) => norm,
        };
        let context = Context { variant, norm, drop_path_rate: config.drop_path_rate, device };
        let stem = Conv2dConfig::new(config.in_channels, plan.stem, family.stem_kernel)
            .with_stride(2)
            .with_padding(variant.padding);
        let blocks =
            plan.stages.iter().map(|stage| stage.iter().map(|block| Block::init(block, &context)).collect());
        let last =
            plan.stages.last().and_then(|stage| stage.last()).map_or(plan.stem, |block| block.out_channels);
        let has_head = config.classes.is_some() && plan.head > 0;
        let (before, after) = match family.pooled_head {
            PooledHead::No => (true, false),
            PooledHead::Norm => (false, true),
            PooledHead::Bias | PooledHead::NoBias => (false, false),
        };
        let head_norm =
            |wanted: bool| (has_head && wanted).then(|| norm.init(plan.head, family.activation, device));
        Self {
            conv_stem: stem.init(device),
            bn1: norm.init(plan.stem, family.activation, device),
            blocks: blocks.collect(),
            conv_head: has_head.then(|| {
                Conv2dConfig::new(last, plan.head, 1)
                    .with_padding(variant.padding)
                    .with_bias(family.pooled_head == PooledHead::Bias)
                    .init(device)
            }),
            bn2: head_norm(before),
            norm_head: head_norm(after),
            classifier: config
                .classes
                .map(|classes| Linear::new(if plan.head > 0 { plan.head } else { last }, classes, device)),
            taps: config.out_indices.iter().map(|index| plan.taps[*index].stage).collect(),
            feature_location: config.feature_location,
            pooled_head: family.pooled_head,
            activation: family.activation,
        }
    }

    /// The configured feature maps, in order; stages after the last are not computed.
    ///
    /// # Shapes
    /// As [`Backbone::forward`](crate::Backbone::forward).
    pub fn forward<M: FeatureMap>(&self, input: M) -> Vec<M> {
        let mut features = Vec::with_capacity(self.taps.len());
        let mut hidden = self.bn1.forward(self.conv_stem.forward(input));
        if self.taps.first() == Some(&0) {
            features.push(hidden.clone());
        }
        for (stage, blocks) in self.blocks.iter().enumerate() {
            if features.len() == self.taps.len() {
                break;
            }
            let mut expansion = None;
            for block in blocks {
                let output = block.forward(hidden);
                (hidden, expansion) = (output.output, output.expansion);
            }
            if self.taps.get(features.len()) == Some(&(stage + 1)) {
                features.push(match (self.feature_location, expansion) {
                    (FeatureLocation::Expansion, Some(expansion)) => expansion,
                    _ => hidden.clone(),
                });
            }
        }
        features
    }

    /// Class logits, if the network has a classifier.
    ///
    /// # Shapes
    /// As [`Backbone::forward_classes`](crate::Backbone::forward_classes).
    pub fn forward_classes(&self, input: Tensor<4>) -> Option<Tensor<2>> {
        let classifier = self.classifier.as_ref()?;
        let mut hidden = self.bn1.forward(self.conv_stem.forward(input));
        for block in self.blocks.iter().flatten() {
            hidden = block.forward(hidden).output;
        }
        let pool = |input: Tensor<4>| input.mean_dim(3).mean_dim(2);
        let convolve = |input: Tensor<4>| match &self.conv_head {
            Some(conv) => conv.forward(input),
            None => input,
        };
        let pooled = match self.pooled_head {
            PooledHead::No => {
                let hidden = convolve(hidden);
                pool(match &self.bn2 {
                    Some(norm) => norm.forward(hidden),
                    None => hidden,
                })
            }
            _ => {
                let hidden = convolve(pool(hidden));
                match &self.norm_head {
                    Some(norm) => norm.forward(hidden),
                    None => self.activation.forward(hidden),
                }
            }
        };
        Some(classifier.forward(pooled.flatten(1, 3)))
    }
}
