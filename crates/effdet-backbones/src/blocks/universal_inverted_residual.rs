use burn::module::Module;
use effdet_nn::{
    Activation, ChannelAttention, ConvNormAct, ConvNormActConfig, DropPath, FeatureMap, LayerScale,
};

use super::{BlockOutput, Context, add_residual, squeezed};
use crate::plan::BlockPlan;

/// `uir`: an inverted residual with optional depthwise convolutions before, between and after its pointwise ones.
///
/// # Reference
/// timm `UniversalInvertedResidual`; Qin et al. 2024, "MobileNetV4", section 3.
#[derive(Module, Debug)]
pub struct UniversalInvertedResidual {
    /// Depthwise, before the expansion.
    pub dw_start: Option<ConvNormAct>,
    /// The expansion.
    pub pw_exp: ConvNormAct,
    /// Depthwise, on the expanded channels.
    pub dw_mid: Option<ConvNormAct>,
    /// Squeeze-and-excitation.
    pub se: Option<ChannelAttention>,
    /// The projection.
    pub pw_proj: ConvNormAct,
    /// Depthwise, after the projection.
    pub dw_end: Option<ConvNormAct>,
    /// A learned factor per channel.
    pub layer_scale: Option<LayerScale>,
    drop_path: Option<DropPath>,
}

impl UniversalInvertedResidual {
    pub(super) fn init(plan: &BlockPlan, context: &Context<'_>) -> Self {
        let device = context.device;
        let (start, mid, end) = (plan.start_kernels[0], plan.kernels[0], plan.end_kernels[0]);
        let depthwise = |channels: usize, kernel: usize, stride: usize, activation: Activation| {
            let conv = context
                .conv(channels, channels, kernel)
                .with_stride(stride)
                .with_groups(plan.groups(channels, 1));
            (kernel > 0).then(|| {
                ConvNormActConfig::new(conv, context.norm)
                    .with_activation(activation)
                    .with_anti_alias(context.variant.anti_alias)
                    .init(device)
            })
        };
        let pointwise = |from, to, activation| {
            ConvNormActConfig::new(context.conv(from, to, 1), context.norm)
                .with_activation(activation)
                .init(device)
        };
        // The stride is the middle convolution's, else the first's, else the last's.
        let start_stride = if mid > 0 { 1 } else { plan.stride };
        let end_stride = if mid > 0 || start > 0 { 1 } else { plan.stride };
        let linear = Activation::Identity;
        Self {
            dw_start: depthwise(plan.in_channels, start, start_stride, linear),
            pw_exp: pointwise(plan.in_channels, plan.mid_channels, plan.activation),
            dw_mid: depthwise(plan.mid_channels, mid, plan.stride, plan.activation),
            se: context.squeeze(plan),
            pw_proj: pointwise(plan.mid_channels, plan.out_channels, linear),
            dw_end: depthwise(plan.out_channels, end, end_stride, linear),
            layer_scale: context
                .variant
                .family
                .layer_scale
                .map(|value| LayerScale::new(plan.out_channels, value, device)),
            drop_path: context.residual(plan),
        }
    }

    pub(super) fn forward<M: FeatureMap>(&self, input: M) -> BlockOutput<M> {
        let optional = |layer: &Option<ConvNormAct>, input: M| match layer {
            Some(layer) => layer.forward(input),
            None => input,
        };
        let hidden = self.pw_exp.forward(optional(&self.dw_start, input.clone()));
        let hidden = squeezed(&self.se, optional(&self.dw_mid, hidden));
        let mut output = optional(&self.dw_end, self.pw_proj.forward(hidden.clone()));
        if let Some(scale) = &self.layer_scale {
            output = scale.forward(output);
        }
        BlockOutput { output: add_residual(&self.drop_path, input, output), expansion: Some(hidden) }
    }
}
