//! The 3×3 convolution of feature network and heads, separable or dense.

use burn::module::Module;
use burn::tensor::Device;

use crate::feature_map::FeatureMap;
use crate::{
    Activation, Conv2dConfig, ConvNormAct, ConvNormActConfig, Initializer, NormConfig, Padding,
    SeparableConv, SeparableConvConfig,
};

/// What a [`FeatureConv`] is built from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FeatureConvConfig {
    /// Whether it is a depthwise convolution followed by a pointwise one.
    pub separable: bool,
    /// Channels in.
    pub in_channels: usize,
    /// Channels out.
    pub out_channels: usize,
    /// How the input is padded.
    pub padding: Padding,
    /// Whether there is a bias.
    pub bias: bool,
    /// The normalisation; none where absent.
    pub norm: Option<NormConfig>,
    /// The activation.
    pub activation: Activation,
    /// How the weights are drawn.
    pub initializer: Initializer,
    /// What the bias starts as.
    pub bias_value: f64,
}

impl FeatureConvConfig {
    /// Builds the layer.
    pub fn init(&self, device: &Device) -> FeatureConv {
        if self.separable {
            let config = SeparableConvConfig {
                padding: self.padding,
                bias: self.bias,
                norm: self.norm,
                activation: self.activation,
                initializer: self.initializer,
                bias_value: self.bias_value,
                ..SeparableConvConfig::new(self.in_channels, self.out_channels)
            };
            return FeatureConv::Separable(config.init(device));
        }
        let conv = Conv2dConfig::new(self.in_channels, self.out_channels, 3)
            .with_padding(self.padding)
            .with_bias(self.bias)
            .with_bias_value(self.bias_value)
            .with_initializer(self.initializer);
        let config =
            ConvNormActConfig { conv, norm: self.norm, activation: self.activation, anti_alias: None };
        FeatureConv::Dense(config.init(device))
    }
}

/// A 3×3 convolution as the configuration has it.
///
/// # Reference
/// effdet: `SeparableConv2d` or `ConvBnAct2d`, by `separable_conv`.
#[derive(Module, Debug)]
pub enum FeatureConv {
    /// Depthwise, then pointwise.
    Separable(SeparableConv),
    /// One full convolution.
    Dense(ConvNormAct),
}

impl FeatureConv {
    /// Convolves, normalises and activates.
    ///
    /// # Shapes
    /// - `input`: `[batch, in_channels, height, width]`
    /// - output: `[batch, out_channels, height, width]`
    pub fn forward<M: FeatureMap>(&self, input: M) -> M {
        match self {
            FeatureConv::Separable(conv) => conv.forward(input),
            FeatureConv::Dense(conv) => conv.forward(input),
        }
    }
}
