//! What a feature network is built from.

use burn::tensor::Device;
use effdet_nn::{Activation, NormConfig, Padding, Pool, ResizeMode};

use crate::network::FeatureNetwork;
use crate::{Downsample, Error, FpnGraph};

/// The graph, its repeats and the layers it is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct BiFpnConfig {
    /// The graph of one cell.
    pub graph: FpnGraph,
    /// Channels of the feature maps that go in, finest first; missing coarse levels are made from the last.
    pub in_channels: Vec<usize>,
    /// Channels of every map inside.
    pub channels: usize,
    /// How often the cell is repeated.
    pub repeats: usize,
    /// How convolutions and pools pad.
    pub padding: Padding,
    /// The activation of every node.
    pub activation: Activation,
    /// The normalisation.
    pub norm: NormConfig,
    /// Whether projections between levels are normalised.
    pub resample_norm: bool,
    /// Whether convolutions have a bias although a normalisation follows, as the TensorFlow weights do.
    pub redundant_bias: bool,
    /// Whether a node's convolution is depthwise separable.
    pub separable: bool,
    /// Whether a node activates after its convolution and normalisation instead of before.
    pub conv_norm_act: bool,
    /// Whether a map that shrinks is projected after it has shrunk.
    pub conv_after_downsample: bool,
    /// How maps are made smaller.
    pub downsample: Downsample,
    /// How maps are made larger.
    pub upsample: ResizeMode,
}

impl BiFpnConfig {
    /// EfficientDet-D0's feature network on a graph and feature maps of these channels.
    pub fn new(graph: FpnGraph, in_channels: impl Into<Vec<usize>>) -> Self {
        Self {
            graph,
            in_channels: in_channels.into(),
            channels: 64,
            repeats: 3,
            padding: Padding::Same,
            activation: Activation::Swish,
            norm: NormConfig::Batch { epsilon: 1e-3, momentum: 0.01 },
            resample_norm: true,
            redundant_bias: true,
            separable: true,
            conv_norm_act: false,
            conv_after_downsample: false,
            downsample: Downsample::Pool(Pool::Max),
            upsample: ResizeMode::Nearest,
        }
    }

    /// Builds the network.
    ///
    /// # Errors
    /// What [`FpnGraph::validate`] gives; [`Error::Inputs`] if there are more feature maps than levels or none;
    /// [`Error::Zero`] for a zero number of channels or repeats; [`Error::Norm`] for channels that do not divide into the
    /// groups of the normalisation.
    pub fn init(&self, device: &Device) -> Result<FeatureNetwork, Error> {
        self.graph.validate()?;
        let (maps, levels) = (self.in_channels.len(), self.graph.num_levels());
        if maps == 0 || maps > levels {
            return Err(Error::Inputs { maps, levels });
        }
        if self.channels == 0 || self.in_channels.contains(&0) {
            return Err(Error::Zero("the number of channels"));
        }
        if self.repeats == 0 {
            return Err(Error::Zero("the number of cells"));
        }
        self.norm.check(self.channels)?;
        Ok(FeatureNetwork::init(self, device))
    }
}

#[cfg(test)]
mod tests {
    use effdet_nn::UnevenGroups;

    use super::*;

    #[test]
    fn a_norm_whose_groups_do_not_divide_the_channels_is_refused() {
        let config = BiFpnConfig::new(FpnGraph::named("bifpn_fa", 3, 7).unwrap(), [40, 112, 320]);
        let init = |norm| BiFpnConfig { norm, ..config.clone() }.init(&Device::flex());
        for group_size in [0, 24, 128] {
            for norm in [NormConfig::Group { group_size }, NormConfig::Evo { group_size }] {
                let expected = UnevenGroups { channels: 64, group_size };
                assert_eq!(init(norm).unwrap_err(), Error::Norm(expected));
            }
        }
        assert!(init(NormConfig::Group { group_size: 16 }).is_ok());
        assert!(init(NormConfig::Evo { group_size: 64 }).is_ok());
    }
}
