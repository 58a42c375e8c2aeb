use burn::module::Module;
use effdet_nn::{AntiAlias, Conv2d, DropPath, FeatureMap, NormAct};

use super::{BlockOutput, Context, add_residual, anti_aliased};
use crate::plan::BlockPlan;

/// `cn`: a convolution with normalisation and activation, optionally residual.
///
/// # Reference
/// timm `_efficientnet_blocks.py::ConvBnAct`.
#[derive(Module, Debug)]
pub struct ConvNormActBlock {
    /// The convolution.
    pub conv: Conv2d,
    /// Its normalisation and activation.
    pub bn1: NormAct,
    drop_path: Option<DropPath>,
    #[module(skip)]
    aa: Option<AntiAlias>,
}

impl ConvNormActBlock {
    pub(super) fn init(plan: &BlockPlan, context: &Context<'_>) -> Self {
        let aa = context.anti_alias(plan.stride);
        let conv = context
            .conv(plan.in_channels, plan.out_channels, plan.kernels[0])
            .with_stride(if aa.is_some() { 1 } else { plan.stride })
            .with_groups(plan.groups(plan.in_channels, 0));
        Self {
            conv: conv.init(context.device),
            bn1: context.norm(plan.out_channels, plan.activation),
            drop_path: context.residual(plan),
            aa,
        }
    }

    pub(super) fn forward<M: FeatureMap>(&self, input: M) -> BlockOutput<M> {
        let activated = self.bn1.forward(self.conv.forward(input.clone()));
        let output = anti_aliased(&self.aa, activated.clone());
        BlockOutput { output: add_residual(&self.drop_path, input, output), expansion: Some(activated) }
    }
}
