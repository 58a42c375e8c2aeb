//! Depthwise separable convolution.

use burn::module::Module;
use burn::tensor::Device;

use crate::feature_map::FeatureMap;
use crate::{Activation, Conv2d, Conv2dConfig, Initializer, NormAct, NormConfig, Padding};

/// What a [`SeparableConv`] is built from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SeparableConvConfig {
    /// Channels in.
    pub in_channels: usize,
    /// Channels out.
    pub out_channels: usize,
    /// Side of the depthwise kernel.
    pub kernel: usize,
    /// How the input is padded.
    pub padding: Padding,
    /// Whether the pointwise convolution has a bias. (The depthwise one never has.)
    pub bias: bool,
    /// The normalisation; none where absent.
    pub norm: Option<NormConfig>,
    /// The activation.
    pub activation: Activation,
    /// How both weights are drawn.
    pub initializer: Initializer,
    /// What the bias starts as.
    pub bias_value: f64,
}

impl SeparableConvConfig {
    /// A 3×3 separable convolution without bias or normalisation.
    pub fn new(in_channels: usize, out_channels: usize) -> Self {
        Self {
            in_channels,
            out_channels,
            kernel: 3,
            padding: Padding::Symmetric,
            bias: false,
            norm: None,
            activation: Activation::Identity,
            initializer: Initializer::GlorotUniform,
            bias_value: 0.0,
        }
    }

    /// Builds the layer.
    pub fn init(&self, device: &Device) -> SeparableConv {
        let conv_dw = Conv2dConfig::depthwise(self.in_channels, self.kernel)
            .with_padding(self.padding)
            .with_initializer(self.initializer);
        let conv_pw = Conv2dConfig::new(self.in_channels, self.out_channels, 1)
            .with_padding(self.padding)
            .with_bias(self.bias)
            .with_bias_value(self.bias_value)
            .with_initializer(self.initializer);
        SeparableConv {
            conv_dw: conv_dw.init(device),
            conv_pw: conv_pw.init(device),
            bn: self.norm.map(|norm| norm.init(self.out_channels, self.activation, device)),
            activation: if self.norm.is_some() { Activation::Identity } else { self.activation },
        }
    }
}

/// A depthwise convolution, a pointwise one, an optional normalisation and an activation.
///
/// # Reference
/// effdet `SeparableConv2d`.
#[derive(Module, Debug)]
pub struct SeparableConv {
    /// One filter per channel.
    pub conv_dw: Conv2d,
    /// Mixes the channels.
    pub conv_pw: Conv2d,
    /// Normalisation and activation.
    pub bn: Option<NormAct>,
    /// The activation where there is no normalisation to carry it.
    #[module(skip)]
    activation: Activation,
}

impl SeparableConv {
    /// Convolves, normalises and activates.
    ///
    /// # Shapes
    /// - `input`: `[batch, in_channels, height, width]`
    /// - output: `[batch, out_channels, height, width]`
    pub fn forward<M: FeatureMap>(&self, input: M) -> M {
        let output = self.conv_pw.forward(self.conv_dw.forward(input));
        match &self.bn {
            Some(norm) => norm.forward(output),
            None => output.activate(self.activation),
        }
    }
}
