//! The network that a graph describes.

use burn::module::Module;
use burn::tensor::Device;
use effdet_nn::{Activation, FeatureConv, FeatureConvConfig, FeatureMap, Initializer, ModuleMap};

use crate::fusion::{EdgeWeights, FusionMethod};
use crate::{BiFpnConfig, FpnNode, Resample};

/// Feature maps in, as many maps as the graph has levels out.
///
/// # Reference
/// effdet `BiFpn`.
#[derive(Module, Debug)]
pub struct FeatureNetwork {
    /// What makes the coarse levels that the backbone does not give, by their index among the levels.
    pub resample: ModuleMap<Resample>,
    /// The repeats of the graph.
    pub cell: Vec<FpnCell>,
    #[module(skip)]
    min_level: usize,
}

/// One repeat of the graph.
///
/// # Reference
/// effdet `BiFpnLayer`.
#[derive(Module, Debug)]
pub struct FpnCell {
    /// The nodes, in the order they are computed.
    pub fnode: Vec<Node>,
}

/// One node: fuse, activate, convolve, normalise.
///
/// # Reference
/// effdet `Fnode`.
#[derive(Module, Debug)]
pub struct Node {
    /// Brings the inputs to the node's level and fuses them.
    pub combine: Combine,
    /// What follows.
    pub after_combine: AfterCombine,
    #[module(skip)]
    level: usize,
}

/// Brings the inputs of a node to its level and fuses them.
///
/// # Reference
/// effdet `FpnCombine`.
#[derive(Module, Debug)]
pub struct Combine {
    /// By the index of the input.
    pub resample: ModuleMap<Resample>,
    /// The fusion's weights, if it has any.
    pub edge_weights: Option<EdgeWeights>,
    #[module(skip)]
    inputs: Vec<usize>,
    #[module(skip)]
    method: FusionMethod,
}

/// Activation, convolution and normalisation of a node.
#[derive(Module, Debug)]
pub struct AfterCombine {
    /// The convolution, its normalisation and, in the conv-norm-act pattern, the activation.
    pub conv: FeatureConv,
    /// The activation before the convolution, in the default pattern.
    #[module(skip)]
    activation: Activation,
}

impl FeatureNetwork {
    pub(crate) fn init(config: &BiFpnConfig, device: &Device) -> Self {
        let mut channels = config.in_channels.clone();
        let mut resample = Vec::new();
        for level in channels.len()..config.graph.num_levels() {
            let last = channels[channels.len() - 1];
            resample.push((level.to_string(), Resample::init(last, config, device)));
            channels.push(config.channels);
        }
        let inner = vec![config.channels; channels.len()];
        let cell = (0..config.repeats)
            .map(|repeat| FpnCell::init(if repeat == 0 { &channels } else { &inner }, config, device))
            .collect();
        Self { resample: resample.into_iter().collect(), cell, min_level: config.graph.min_level }
    }

    /// Fuses feature maps.
    ///
    /// # Shapes
    /// - `features`: for each configured input `[batch, channels, height, width]`, finest first
    /// - output: for each level `[batch, channels, height, width]`, finest first; a level that the inputs do not
    ///   have is half the size of the one before, rounded up
    ///
    /// # Panics
    /// If there are fewer feature maps than configured, or of other channels.
    pub fn forward<M: FeatureMap>(&self, features: Vec<M>) -> Vec<M> {
        let mut levels = features;
        for resample in self.resample.values() {
            let last = levels[levels.len() - 1].clone();
            let [_, _, height, width] = last.dims();
            levels.push(resample.forward(last, [height.div_ceil(2), width.div_ceil(2)]));
        }
        let sizes: Vec<[usize; 2]> = levels.iter().map(|level| [level.dims()[2], level.dims()[3]]).collect();
        for cell in &self.cell {
            levels = cell.forward(levels, &sizes, self.min_level);
        }
        levels
    }
}

impl FpnCell {
    fn init(in_channels: &[usize], config: &BiFpnConfig, device: &Device) -> Self {
        let mut channels = in_channels.to_vec();
        let fnode = config.graph.nodes.iter().map(|node| {
            let built = Node::init(node, &channels, config, device);
            channels.push(config.channels);
            built
        });
        Self { fnode: fnode.collect() }
    }

    fn forward<M: FeatureMap>(&self, inputs: Vec<M>, sizes: &[[usize; 2]], min_level: usize) -> Vec<M> {
        let mut maps = inputs;
        for node in &self.fnode {
            maps.push(node.forward(&maps, sizes[node.level - min_level]));
        }
        maps.split_off(maps.len() - sizes.len())
    }
}

impl Node {
    fn init(node: &FpnNode, channels: &[usize], config: &BiFpnConfig, device: &Device) -> Self {
        let resample = node
            .inputs
            .iter()
            .map(|&input| (input.to_string(), Resample::init(channels[input], config, device)));
        let conv = FeatureConvConfig {
            separable: config.separable,
            in_channels: config.channels,
            out_channels: config.channels,
            padding: config.padding,
            bias: config.redundant_bias && !config.conv_norm_act,
            norm: Some(config.norm),
            activation: if config.conv_norm_act { config.activation } else { Activation::Identity },
            initializer: Initializer::GlorotUniform,
            bias_value: 0.0,
        };
        Self {
            combine: Combine {
                resample: resample.collect(),
                edge_weights: node.method.init(node.inputs.len(), config.channels, device),
                inputs: node.inputs.clone(),
                method: node.method,
            },
            after_combine: AfterCombine {
                conv: conv.init(device),
                activation: if config.conv_norm_act { Activation::Identity } else { config.activation },
            },
            level: node.level,
        }
    }

    fn forward<M: FeatureMap>(&self, maps: &[M], size: [usize; 2]) -> M {
        let Combine { resample, edge_weights, inputs, method } = &self.combine;
        let resampled = inputs
            .iter()
            .zip(resample.values())
            .map(|(input, resample)| resample.forward(maps[*input].clone(), size))
            .collect();
        let fused = method.fuse(resampled, edge_weights.as_ref());
        self.after_combine.conv.forward(fused.activate(self.after_combine.activation))
    }
}
