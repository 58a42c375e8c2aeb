//! Channel attention: squeeze-and-excitation and its global-context relative.

use burn::module::Module;
use burn::tensor::{Device, Tensor, activation};

use crate::feature_map::FeatureMap;
use crate::norm_act::LayerNorm2d;
use crate::{Activation, Conv2d, Conv2dConfig};

/// Sizes of a [`SqueezeExcite`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SqueezeExciteConfig {
    /// Channels in and out.
    pub channels: usize,
    /// Channels of the bottleneck.
    pub reduced_channels: usize,
    /// Activation of the bottleneck.
    pub activation: Activation,
    /// Turns the result into a factor: a sigmoid or a hard sigmoid.
    pub gate: Activation,
}

impl SqueezeExciteConfig {
    /// Builds the layer.
    pub fn init(&self, device: &Device) -> SqueezeExcite {
        SqueezeExcite {
            conv_reduce: Conv2dConfig::new(self.channels, self.reduced_channels, 1)
                .with_bias(true)
                .init(device),
            conv_expand: Conv2dConfig::new(self.reduced_channels, self.channels, 1)
                .with_bias(true)
                .init(device),
            activation: self.activation,
            gate: self.gate,
        }
    }
}

/// Scales each channel by a factor computed from the means of all: `x · gate(expand(act(reduce(mean(x)))))`.
///
/// # Reference
/// Hu et al. 2018, "Squeeze-and-Excitation Networks"; timm `_efficientnet_blocks.py::SqueezeExcite`.
#[derive(Module, Debug)]
pub struct SqueezeExcite {
    /// Into the bottleneck.
    pub conv_reduce: Conv2d,
    /// Out of the bottleneck.
    pub conv_expand: Conv2d,
    #[module(skip)]
    activation: Activation,
    #[module(skip)]
    gate: Activation,
}

impl SqueezeExcite {
    /// Scales the channels.
    ///
    /// # Shapes
    /// - `input`, output: `[batch, channels, height, width]`
    pub fn forward<M: FeatureMap>(&self, input: M) -> M {
        let reduced = self.conv_reduce.forward(input.clone().global_mean()).activate(self.activation);
        input.gate(self.conv_expand.forward(reduced).activate(self.gate))
    }
}

/// Scales each channel by a factor computed from an attention-weighted mean of the pixels.
///
/// # Reference
/// Cao et al. 2019, "GCNet"; timm `GlobalContext` with its defaults (attention, scaling, no addition).
#[derive(Module, Debug)]
pub struct GlobalContext {
    /// Attention logits of the pixels.
    pub conv_attn: Conv2d,
    /// From the context to the factors.
    pub mlp_scale: ContextMlp,
}

/// Two pointwise convolutions with a layer norm and an activation between.
///
/// # Reference
/// timm `ConvMlp`.
#[derive(Module, Debug)]
pub struct ContextMlp {
    /// Into the bottleneck.
    pub fc1: Conv2d,
    /// Normalises the bottleneck.
    pub norm: LayerNorm2d,
    /// Out of the bottleneck.
    pub fc2: Conv2d,
    #[module(skip)]
    activation: Activation,
}

impl GlobalContext {
    /// Builds the layer for `channels` channels with `reduced_channels` in the bottleneck.
    pub fn init(channels: usize, reduced_channels: usize, activation: Activation, device: &Device) -> Self {
        let conv = |from, to| Conv2dConfig::new(from, to, 1).with_bias(true);
        Self {
            conv_attn: conv(channels, 1).init(device),
            mlp_scale: ContextMlp {
                fc1: conv(channels, reduced_channels).init(device),
                norm: LayerNorm2d::new(reduced_channels, 1e-6, device),
                fc2: conv(reduced_channels, channels).init(device),
                activation,
            },
        }
    }

    /// Scales the channels.
    ///
    /// # Shapes
    /// - `input`, output: `[batch, channels, height, width]`
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let [batch, channels, height, width] = input.dims();
        let logits = self.conv_attn.forward(input.clone()).reshape([batch, height * width, 1]);
        let attention = activation::softmax(logits, 1);
        let pixels = input.clone().reshape([batch, channels, height * width]);
        let context = pixels.matmul(attention).reshape([batch, channels, 1, 1]);
        let mlp = &self.mlp_scale;
        let hidden = mlp.activation.forward(mlp.norm.forward(mlp.fc1.forward(context)));
        input * activation::sigmoid(mlp.fc2.forward(hidden))
    }
}

/// The channel attention of a block.
#[derive(Module, Debug)]
pub enum ChannelAttention {
    /// Squeeze-and-excitation.
    SqueezeExcite(SqueezeExcite),
    /// Global context.
    GlobalContext(GlobalContext),
}

impl ChannelAttention {
    /// Scales the channels.
    ///
    /// # Shapes
    /// - `input`, output: `[batch, channels, height, width]`
    pub fn forward<M: FeatureMap>(&self, input: M) -> M {
        match self {
            ChannelAttention::SqueezeExcite(layer) => layer.forward(input),
            ChannelAttention::GlobalContext(layer) => {
                let [output] = input.opaque("global context attention", |input| [layer.forward(input)]);
                output
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// timm 1.0.31, `gc_efficientnetv2_rw_t`: the weights of all `conv_attn` have a deviation of 1.41, their biases are 0.
    #[test]
    fn attention_logits_start_with_the_spread_of_timm_s() {
        let layer = GlobalContext::init(8192, 8, Activation::Relu, &Device::flex());
        let weight = layer.conv_attn.weight.val();
        let deviation = weight.powf_scalar(2.0).mean().sqrt().into_scalar::<f32>();
        assert!((deviation / 2.0f32.sqrt() - 1.0).abs() < 0.05, "{deviation}");
        let bias = layer.conv_attn.bias.unwrap().val().into_data().try_to_vec::<f32>().unwrap();
        assert_eq!(bias, [0.0]);
    }
}
