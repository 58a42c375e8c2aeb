use burn::module::Module;
use burn::tensor::{Tensor, activation};
use effdet_nn::{Activation, ChannelAttention, CondConv2d, DropPath, FeatureMap, Linear, NormAct};

use super::{BlockOutput, Context, add_residual, squeezed};
use crate::plan::BlockPlan;

/// `ir` with experts: an inverted residual whose filters are mixed for every picture.
///
/// # Reference
/// timm `CondConvResidual`; Yang et al. 2019, "CondConv".
#[derive(Module, Debug)]
pub struct CondConvResidual {
    /// Weights of the experts from the means of the input.
    pub routing_fn: Linear,
    /// The expansion.
    pub conv_pw: CondConv2d,
    /// Its normalisation and activation.
    pub bn1: NormAct,
    /// The depthwise convolution.
    pub conv_dw: CondConv2d,
    /// Its normalisation and activation.
    pub bn2: NormAct,
    /// Squeeze-and-excitation.
    pub se: Option<ChannelAttention>,
    /// The projection.
    pub conv_pwl: CondConv2d,
    /// Its normalisation.
    pub bn3: NormAct,
    drop_path: Option<DropPath>,
}

impl CondConvResidual {
    pub(super) fn init(plan: &BlockPlan, context: &Context<'_>) -> Self {
        let device = context.device;
        let channels = plan.mid_channels;
        let conv = |config| CondConv2d::init(&config, plan.experts, device);
        let conv_dw = context
            .conv(channels, channels, plan.kernels[0])
            .with_stride(plan.stride)
            .with_groups(plan.groups(channels, 1));
        Self {
            routing_fn: Linear::new(plan.in_channels, plan.experts, device),
            conv_pw: conv(context.conv(plan.in_channels, channels, plan.start_kernels[0])),
            bn1: context.norm(channels, plan.activation),
            conv_dw: conv(conv_dw),
            bn2: context.norm(channels, plan.activation),
            se: context.squeeze(plan),
            conv_pwl: conv(context.conv(channels, plan.out_channels, plan.end_kernels[0])),
            bn3: context.norm(plan.out_channels, Activation::Identity),
            drop_path: context.residual(plan),
        }
    }

    pub(super) fn forward<M: FeatureMap>(&self, input: M) -> BlockOutput<M> {
        let [output, expansion] = input.opaque("conditional convolution", |input| self.compute(input));
        BlockOutput { output, expansion: Some(expansion) }
    }

    fn compute(&self, input: Tensor<4>) -> [Tensor<4>; 2] {
        let [batch, channels, _, _] = input.dims();
        let pooled = input.clone().mean_dim(3).mean_dim(2).reshape([batch, channels]);
        let routing = activation::sigmoid(self.routing_fn.forward(pooled));
        let hidden = self.bn1.forward(self.conv_pw.forward(input.clone(), routing.clone()));
        let hidden = self.bn2.forward(self.conv_dw.forward(hidden, routing.clone()));
        let hidden = squeezed(&self.se, hidden);
        let output = self.bn3.forward(self.conv_pwl.forward(hidden.clone(), routing));
        [add_residual(&self.drop_path, input, output), hidden]
    }
}
