use burn::module::Module;
use effdet_nn::{Activation, AntiAlias, ChannelAttention, ConvLayer, DropPath, FeatureMap, NormAct};

use super::{BlockOutput, Context, add_residual, anti_aliased, squeezed};
use crate::plan::BlockPlan;

/// `er`, fused MBConv: a full convolution that expands, squeeze-and-excitation and a pointwise projection.
///
/// # Reference
/// timm `EdgeResidual`; Tan and Le 2021, "EfficientNetV2".
#[derive(Module, Debug)]
pub struct EdgeResidual {
    /// The expansion.
    pub conv_exp: ConvLayer,
    /// Its normalisation and activation.
    pub bn1: NormAct,
    /// Squeeze-and-excitation.
    pub se: Option<ChannelAttention>,
    /// The projection.
    pub conv_pwl: ConvLayer,
    /// Its normalisation.
    pub bn2: NormAct,
    drop_path: Option<DropPath>,
    #[module(skip)]
    aa: Option<AntiAlias>,
}

impl EdgeResidual {
    pub(super) fn init(plan: &BlockPlan, context: &Context<'_>) -> Self {
        let device = context.device;
        let channels = plan.mid_channels;
        let aa = context.anti_alias(plan.stride);
        let conv_exp = context
            .conv(plan.in_channels, channels, 1)
            .with_stride(if aa.is_some() { 1 } else { plan.stride })
            .with_groups(plan.groups(channels, 0));
        Self {
            conv_exp: ConvLayer::init(&conv_exp, &plan.kernels, device),
            bn1: context.norm(channels, plan.activation),
            se: context.squeeze(plan),
            conv_pwl: ConvLayer::init(
                &context.conv(channels, plan.out_channels, 1),
                &plan.end_kernels,
                device,
            ),
            bn2: context.norm(plan.out_channels, Activation::Identity),
            drop_path: context.residual(plan),
            aa,
        }
    }

    pub(super) fn forward<M: FeatureMap>(&self, input: M) -> BlockOutput<M> {
        let hidden = self.bn1.forward(self.conv_exp.forward(input.clone()));
        let hidden = squeezed(&self.se, anti_aliased(&self.aa, hidden));
        let output = self.bn2.forward(self.conv_pwl.forward(hidden.clone()));
        BlockOutput { output: add_residual(&self.drop_path, input, output), expansion: Some(hidden) }
    }
}
