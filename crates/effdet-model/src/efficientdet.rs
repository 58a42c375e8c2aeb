//! The pure network.

use burn::module::Module;
use burn::tensor::Tensor;
use effdet_backbones::Backbone;
use effdet_bifpn::FeatureNetwork;
use effdet_core::ImageSize;
use effdet_heads::Head;
use effdet_nn::FeatureMap;

/// Backbone, feature network, class head and box head.
///
/// # Reference
/// Tan et al. 2020, "EfficientDet"; effdet `EfficientDet`. Differs: accepts pictures of any size.
#[derive(Module, Debug)]
pub struct EfficientDet {
    /// The backbone.
    pub backbone: Backbone,
    /// The feature network.
    pub fpn: FeatureNetwork,
    /// The class head.
    pub class_net: Head,
    /// The box head.
    pub box_net: Head,
}

/// Raw outputs, for each pyramid level from the finest.
#[derive(Clone, Debug)]
pub struct HeadOutputs<M = Tensor<4>> {
    /// Class logits, `[batch, anchors · classes, height, width]`.
    pub class_logits: Vec<M>,
    /// Box codes `ty, tx, th, tw`, `[batch, anchors · 4, height, width]`.
    pub box_deltas: Vec<M>,
}

impl<M: FeatureMap> HeadOutputs<M> {
    /// Height and width of every level.
    pub fn level_sizes(&self) -> Vec<ImageSize> {
        let size = |map: &M| ImageSize { height: map.dims()[2], width: map.dims()[3] };
        self.class_logits.iter().map(size).collect()
    }
}

impl EfficientDet {
    /// Class logits and box codes of normalised pictures.
    ///
    /// # Shapes
    /// - `pictures`: `[batch, in_channels, height, width]`, any height and width
    /// - output: see [`HeadOutputs`]; level `l` has `⌈height / 2ˡ⌉` rows
    pub fn forward<M: FeatureMap>(&self, pictures: M) -> HeadOutputs<M> {
        let levels = self.fpn.forward(self.backbone.forward(pictures));
        HeadOutputs {
            class_logits: self.class_net.forward(&levels),
            box_deltas: self.box_net.forward(&levels),
        }
    }
}
