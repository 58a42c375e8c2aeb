use burn::module::{Module, Param, ParamId};
use burn::tensor::{Device, Distribution, Shape, Tensor, activation};
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
            routing_fn: routing(plan.in_channels, plan.experts, device),
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

/// The layer that weighs the experts. Its limit counts what goes in, unlike a classifier's.
///
/// # Reference
/// timm `_init_weight_goog`: `1 / √(fan_in + fan_out)` for `routing_fn`.
fn routing(channels: usize, experts: usize, device: &Device) -> Linear {
    let mut linear = Linear::new(channels, experts, device);
    let shape = [experts, channels];
    let limit = 1.0 / ((channels + experts) as f64).sqrt();
    linear.weight = Param::uninitialized(
        ParamId::new(),
        move |device, require_grad| {
            Tensor::random(shape, Distribution::Uniform(-limit, limit), device).set_require_grad(require_grad)
        },
        device.clone(),
        true,
        Shape::from(shape),
    );
    linear
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_of_experts_are_drawn_within_the_limit_of_both_fans() {
        let device = Device::flex();
        device.seed(1);
        let weights = routing(320, 4, &device).weight.val().into_data();
        let largest = weights.iter::<f32>().fold(0.0, |largest: f32, value| largest.max(value.abs()));
        assert!((0.05..=1.0 / 18.0).contains(&largest), "{largest}");
    }
}
