//! The normalisations that backbones are built with.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, activation};
use serde::{Deserialize, Serialize};

use crate::feature_map::FeatureMap;
use crate::{Activation, BatchNorm, BatchNormConfig, Initializer};

/// Which normalisation a network uses.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormConfig {
    /// [`BatchNorm`]
    Batch {
        /// Added to the variance.
        epsilon: f64,
        /// Weight of a new batch in the running statistics.
        momentum: f64,
    },
    /// [`GroupNorm`], groups of this many channels
    Group {
        /// Channels per group.
        group_size: usize,
    },
    /// [`LayerNorm2d`]
    Layer,
    /// [`EvoNormS0`], groups of this many channels
    Evo {
        /// Channels per group.
        group_size: usize,
    },
}

impl Default for NormConfig {
    fn default() -> Self {
        NormConfig::Batch { epsilon: 1e-5, momentum: 0.1 }
    }
}

/// Channels that a normalisation cannot divide into groups of its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{channels} channels do not divide into groups of {group_size}")]
pub struct UnevenGroups {
    /// The channels.
    pub channels: usize,
    /// Channels per group.
    pub group_size: usize,
}

impl NormConfig {
    /// Whether there is such a layer for `channels` channels.
    ///
    /// # Errors
    /// [`UnevenGroups`] if the channels do not divide into groups of the configured size.
    pub fn check(&self, channels: usize) -> Result<(), UnevenGroups> {
        match *self {
            NormConfig::Group { group_size } | NormConfig::Evo { group_size }
                if group_size == 0 || !channels.is_multiple_of(group_size) =>
            {
                Err(UnevenGroups { channels, group_size })
            }
            _ => Ok(()),
        }
    }

    /// Builds the layer for `channels` channels.
    ///
    /// # Panics
    /// If [`check`](Self::check) gives an error.
    pub fn init(&self, channels: usize, activation: Activation, device: &Device) -> NormAct {
        if let Err(error) = self.check(channels) {
            panic!("{error}");
        }
        let weight = Initializer::Constant(1.0).init([channels], 1, device);
        let bias = Initializer::Constant(0.0).init([channels], 1, device);
        match *self {
            NormConfig::Batch { epsilon, momentum } => {
                NormAct::Batch(BatchNormConfig { channels, epsilon, momentum, activation }.init(device))
            }
            NormConfig::Group { group_size } => {
                NormAct::Group(GroupNorm { weight, bias, group_size, activation })
            }
            NormConfig::Layer => NormAct::Layer(LayerNorm2d { weight, bias, epsilon: EPSILON, activation }),
            NormConfig::Evo { group_size } => {
                let gated = activation != Activation::Identity;
                let v = gated.then(|| Initializer::Constant(1.0).init([channels], 1, device));
                NormAct::Evo(EvoNormS0 { weight, bias, v, group_size })
            }
        }
    }
}

/// A normalisation and the activation that follows it.
#[derive(Module, Debug)]
pub enum NormAct {
    /// Batch norm.
    Batch(BatchNorm),
    /// Group norm.
    Group(GroupNorm),
    /// Layer norm over channels.
    Layer(LayerNorm2d),
    /// EvoNorm-S0.
    Evo(EvoNormS0),
}

impl NormAct {
    /// Normalises and activates.
    ///
    /// # Shapes
    /// - `input`, output: `[batch, channels, height, width]`
    pub fn forward<M: FeatureMap>(&self, input: M) -> M {
        let [output] = match self {
            NormAct::Batch(norm) => return norm.forward(input),
            NormAct::Group(norm) => input.opaque("group norm", |input| [norm.forward(input)]),
            NormAct::Layer(norm) => input.opaque("layer norm", |input| [norm.forward(input)]),
            NormAct::Evo(norm) => input.opaque("EvoNorm", |input| [norm.forward(input)]),
        };
        output
    }
}

/// PyTorch's epsilon for group norm, layer norm and EvoNorm, as the networks normalised with them have it.
const EPSILON: f64 = 1e-5;

/// Normalises over groups of channels and all pixels of one picture.
///
/// # Reference
/// Wu and He 2018, "Group Normalization"; timm `GroupNormAct`.
#[derive(Module, Debug)]
pub struct GroupNorm {
    /// Scale, `[channels]`.
    pub weight: Param<Tensor<1>>,
    /// Shift, `[channels]`.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    group_size: usize,
    #[module(skip)]
    activation: Activation,
}

impl GroupNorm {
    /// Normalises and activates.
    ///
    /// # Shapes
    /// - `input`, output: `[batch, channels, height, width]`
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let shape = input.dims();
        let grouped = group(input, self.group_size);
        let (mean, variance) = mean_and_variance(grouped.clone(), 2);
        let normalised = (grouped - mean) / variance.add_scalar(EPSILON).sqrt();
        let output = scale_shift(normalised.reshape(shape), &self.weight, &self.bias);
        self.activation.forward(output)
    }
}

/// Normalises over the channels of each pixel.
///
/// # Reference
/// timm `LayerNormAct2d` (epsilon 1e-5) and `LayerNorm2d` (1e-6).
#[derive(Module, Debug)]
pub struct LayerNorm2d {
    /// Scale, `[channels]`.
    pub weight: Param<Tensor<1>>,
    /// Shift, `[channels]`.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    epsilon: f64,
    #[module(skip)]
    activation: Activation,
}

impl LayerNorm2d {
    /// A layer norm with no activation.
    pub fn new(channels: usize, epsilon: f64, device: &Device) -> Self {
        Self {
            weight: Initializer::Constant(1.0).init([channels], 1, device),
            bias: Initializer::Constant(0.0).init([channels], 1, device),
            epsilon,
            activation: Activation::Identity,
        }
    }

    /// Normalises and activates.
    ///
    /// # Shapes
    /// - `input`, output: `[batch, channels, height, width]`
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let (mean, variance) = mean_and_variance(input.clone(), 1);
        let normalised = (input - mean) / variance.add_scalar(self.epsilon).sqrt();
        self.activation.forward(scale_shift(normalised, &self.weight, &self.bias))
    }
}

/// Normalisation and activation in one: `x · sigmoid(v · x) / std`, the deviation over groups of channels and all
/// pixels of one picture, then scale and shift. Without an activation only scale and shift remain.
///
/// # Reference
/// Liu et al. 2020, "Evolving Normalization-Activation Layers", table 2; timm `EvoNorm2dS0`.
#[derive(Module, Debug)]
pub struct EvoNormS0 {
    /// Scale, `[channels]`.
    pub weight: Param<Tensor<1>>,
    /// Shift, `[channels]`.
    pub bias: Param<Tensor<1>>,
    /// Slope of the gate, `[channels]`; absent without an activation.
    pub v: Option<Param<Tensor<1>>>,
    #[module(skip)]
    group_size: usize,
}

impl EvoNormS0 {
    /// Normalises and activates.
    ///
    /// # Shapes
    /// - `input`, output: `[batch, channels, height, width]`
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let shape = input.dims();
        let output = match &self.v {
            None => input,
            Some(v) => {
                let gate = activation::sigmoid(input.clone() * per_channel(v));
                let (_, variance) = mean_and_variance(group(input.clone(), self.group_size), 2);
                let gated = group(input * gate, self.group_size);
                (gated / variance.add_scalar(EPSILON).sqrt()).reshape(shape)
            }
        };
        scale_shift(output, &self.weight, &self.bias)
    }
}

/// `[batch, channels, height, width]` as `[batch, groups, group_size · height · width]`.
fn group(input: Tensor<4>, group_size: usize) -> Tensor<3> {
    let [batch, channels, height, width] = input.dims();
    input.reshape([batch, channels / group_size, group_size * height * width])
}

fn per_channel(vector: &Param<Tensor<1>>) -> Tensor<4> {
    vector.val().reshape([1, -1, 1, 1])
}

fn scale_shift(input: Tensor<4>, weight: &Param<Tensor<1>>, bias: &Param<Tensor<1>>) -> Tensor<4> {
    input * per_channel(weight) + per_channel(bias)
}

/// Mean and biased variance over one dimension, which stays with size 1.
fn mean_and_variance<const D: usize>(input: Tensor<D>, dim: usize) -> (Tensor<D>, Tensor<D>) {
    let mean = input.clone().mean_dim(dim);
    let variance = (input - mean.clone()).square().mean_dim(dim);
    (mean, variance)
}
