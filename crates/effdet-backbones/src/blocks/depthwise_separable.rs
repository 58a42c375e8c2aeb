use burn::module::Module;
use effdet_nn::{
    Activation, AntiAlias, ChannelAttention, Conv2d, ConvLayer, DropPath, FeatureMap, NormAct, Padding,
};

use super::{BlockOutput, Context, add_residual, anti_aliased, squeezed};
use crate::block_args::BlockKind;
use crate::plan::BlockPlan;

/// `ds`, `dsa`: a depthwise convolution, squeeze-and-excitation and a pointwise projection.
///
/// # Reference
/// timm `DepthwiseSeparableConv`; Howard et al. 2017, "MobileNets".
#[derive(Module, Debug)]
pub struct DepthwiseSeparable {
    /// Space-to-depth, as a strided 2×2 convolution.
    pub conv_s2d: Option<Conv2d>,
    /// Its normalisation and activation.
    pub bn_s2d: Option<NormAct>,
    /// The depthwise convolution.
    pub conv_dw: ConvLayer,
    /// Its normalisation and activation.
    pub bn1: NormAct,
    /// Squeeze-and-excitation.
    pub se: Option<ChannelAttention>,
    /// The projection.
    pub conv_pw: ConvLayer,
    /// Its normalisation and, for `dsa`, activation.
    pub bn2: NormAct,
    drop_path: Option<DropPath>,
    #[module(skip)]
    aa: Option<AntiAlias>,
}

impl DepthwiseSeparable {
    pub(super) fn init(plan: &BlockPlan, context: &Context<'_>) -> Self {
        let device = context.device;
        let channels = plan.mid_channels;
        let opening = plan.opens_space_to_depth;
        let aa = if opening { None } else { context.anti_alias(plan.stride) };
        let conv_dw = context
            .conv(channels, channels, 1)
            .with_padding(depthwise_padding(plan, context))
            .with_stride(if aa.is_some() { 1 } else { plan.stride })
            .with_groups(plan.groups(channels, 1));
        let activated = plan.kind == BlockKind::DepthwiseSeparableAct;
        let project_activation = if activated { plan.activation } else { Activation::Identity };
        Self {
            conv_s2d: opening.then(|| {
                context
                    .conv(plan.in_channels, channels, 2)
                    .with_stride(2)
                    .with_padding(Padding::Same)
                    .init(device)
            }),
            bn_s2d: opening.then(|| context.norm(channels, plan.activation)),
            conv_dw: ConvLayer::init(&conv_dw, &depthwise_kernels(plan), device),
            bn1: context.norm(channels, plan.activation),
            se: context.squeeze(plan),
            conv_pw: ConvLayer::init(
                &context.conv(channels, plan.out_channels, 1),
                &plan.end_kernels,
                device,
            ),
            bn2: context.norm(plan.out_channels, project_activation),
            drop_path: context.residual(plan),
            aa,
        }
    }

    pub(super) fn forward<M: FeatureMap>(&self, input: M) -> BlockOutput<M> {
        let mut hidden = input.clone();
        if let (Some(conv), Some(norm)) = (&self.conv_s2d, &self.bn_s2d) {
            hidden = norm.forward(conv.forward(hidden));
        }
        let hidden = self.bn1.forward(self.conv_dw.forward(hidden));
        let hidden = squeezed(&self.se, anti_aliased(&self.aa, hidden));
        let output = self.bn2.forward(self.conv_pw.forward(hidden.clone()));
        BlockOutput { output: add_residual(&self.drop_path, input, output), expansion: Some(hidden) }
    }
}

/// After space-to-depth the same receptive field needs half the kernel.
fn depthwise_kernels(plan: &BlockPlan) -> Vec<usize> {
    let halve = |kernel: &usize| if plan.opens_space_to_depth { kernel.div_ceil(2) } else { *kernel };
    plan.kernels.iter().map(halve).collect()
}

/// An even kernel cannot be padded symmetrically.
fn depthwise_padding(plan: &BlockPlan, context: &Context<'_>) -> Padding {
    if plan.opens_space_to_depth && depthwise_kernels(plan) == [2] {
        Padding::Same
    } else {
        context.padding()
    }
}
