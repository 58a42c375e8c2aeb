use burn::module::Module;
use effdet_nn::{
    Activation, DropPath, FeatureMap, LayerScale, MultiQueryAttention, MultiQueryAttentionConfig, NormAct,
};

use super::{BlockOutput, Context, add_residual};
use crate::plan::BlockPlan;

/// `mqa`: normalised multi-query attention with a residual connection.
///
/// # Reference
/// timm `MobileAttention` with multiple queries; Qin et al. 2024, "MobileNetV4", section 4.
#[derive(Module, Debug)]
pub struct MobileAttention {
    /// Normalises the input.
    pub norm: NormAct,
    /// The attention.
    pub attn: MultiQueryAttention,
    /// A learned factor per channel.
    pub layer_scale: Option<LayerScale>,
    drop_path: Option<DropPath>,
}

impl MobileAttention {
    pub(super) fn init(plan: &BlockPlan, context: &Context<'_>) -> Self {
        let attention = MultiQueryAttentionConfig {
            in_channels: plan.in_channels,
            out_channels: plan.out_channels,
            heads: plan.heads,
            head_channels: plan.head_channels,
            key_value_stride: plan.key_value_stride,
            kernel: plan.kernels[0],
            padding: context.padding(),
            norm: context.norm,
        };
        let scale = context.variant.family.layer_scale;
        Self {
            norm: context.norm(plan.in_channels, Activation::Identity),
            attn: attention.init(context.device),
            layer_scale: scale.map(|value| LayerScale::new(plan.out_channels, value, context.device)),
            drop_path: context.residual(plan),
        }
    }

    pub(super) fn forward<M: FeatureMap>(&self, input: M) -> BlockOutput<M> {
        let normalised = self.norm.forward(input.clone());
        let [mut output] = normalised.opaque("attention", |input| [self.attn.forward(input)]);
        if let Some(scale) = &self.layer_scale {
            output = scale.forward(output);
        }
        BlockOutput { output: add_residual(&self.drop_path, input, output), expansion: None }
    }
}
