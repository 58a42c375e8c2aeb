//! Convolution, normalisation and activation as one layer.

use burn::module::Module;
use burn::tensor::Device;

use crate::feature_map::FeatureMap;
use crate::{Activation, AntiAlias, AntiAliasKind, Conv2d, Conv2dConfig, NormAct, NormConfig};

/// What a [`ConvNormAct`] is built from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConvNormActConfig {
    /// The convolution.
    pub conv: Conv2dConfig,
    /// The normalisation; none where absent.
    pub norm: Option<NormConfig>,
    /// The activation.
    pub activation: Activation,
    /// How a strided convolution is anti-aliased, if at all.
    pub anti_alias: Option<AntiAliasKind>,
}

impl ConvNormActConfig {
    /// A convolution followed by a normalisation and no activation.
    pub fn new(conv: Conv2dConfig, norm: NormConfig) -> Self {
        Self { conv, norm: Some(norm), activation: Activation::Identity, anti_alias: None }
    }

    /// Sets the activation.
    pub fn with_activation(mut self, activation: Activation) -> Self {
        self.activation = activation;
        self
    }

    /// Sets how a strided convolution is anti-aliased.
    pub fn with_anti_alias(mut self, kind: Option<AntiAliasKind>) -> Self {
        self.anti_alias = kind;
        self
    }

    /// Builds the layer.
    pub fn init(&self, device: &Device) -> ConvNormAct {
        let stride = self.conv.stride;
        let aa = self.anti_alias.filter(|_| stride > 1).map(|kind| kind.init(stride));
        let conv = if aa.is_some() { self.conv.with_stride(1) } else { self.conv };
        let bn = self.norm.map(|norm| norm.init(conv.out_channels, self.activation, device));
        let activation = if bn.is_some() { Activation::Identity } else { self.activation };
        ConvNormAct { conv: conv.init(device), bn, aa, activation }
    }
}

/// `aa(act(norm(conv(x))))`.
///
/// # Reference
/// timm `ConvNormAct`, effdet `ConvBnAct2d`.
#[derive(Module, Debug)]
pub struct ConvNormAct {
    /// The convolution.
    pub conv: Conv2d,
    /// Normalisation and activation.
    pub bn: Option<NormAct>,
    #[module(skip)]
    aa: Option<AntiAlias>,
    /// The activation where there is no normalisation to carry it.
    #[module(skip)]
    activation: Activation,
}

impl ConvNormAct {
    /// Convolves, normalises, activates and, where strided and configured so, blurs and downsamples.
    ///
    /// # Shapes
    /// - `input`: `[batch, in_channels, height, width]`
    /// - output: `[batch, out_channels, out_height, out_width]`
    pub fn forward<M: FeatureMap>(&self, input: M) -> M {
        let output = self.conv.forward(input);
        let output = match &self.bn {
            Some(norm) => norm.forward(output),
            None => output.activate(self.activation),
        };
        match &self.aa {
            Some(aa) => aa.forward(output),
            None => output,
        }
    }
}
