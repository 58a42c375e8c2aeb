//! Feature pyramid networks as graphs, on [Burn](burn): BiFPN, PAN, QuadFPN and whatever graph a user writes.
//!
//! A graph ([`FpnGraph`]) is data: nodes, each at a pyramid level, each fusing earlier maps. The network
//! ([`FeatureNetwork`]) repeats the graph a number of times, resampling maps to the level of the node that uses them.
//! Sizes are taken from the feature maps of each call, so one network serves pictures of any size.
//!
//! Use it alone between any backbone that gives maps at several strides and any head. The device is whatever the program
//! names, and the maps must be on it:
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use effdet_bifpn::{BiFpnConfig, FpnGraph};
//!
//! let graph = FpnGraph::named("bifpn_fa", 3, 7)?;
//! let config = BiFpnConfig { channels: 64, repeats: 2, ..BiFpnConfig::new(graph, [40, 112, 320]) };
//! let device = Device::flex();
//! let network = config.init(&device)?;
//! let map = |channels, size| Tensor::<4>::zeros([1, channels, size, size], &device);
//! let levels = network.forward(vec![map(40, 16), map(112, 8), map(320, 4)]);
//! let sizes: Vec<usize> = levels.iter().map(|level| level.dims()[2]).collect();
//! assert_eq!(sizes, [16, 8, 4, 2, 1]);
//! # Ok::<(), effdet_bifpn::Error>(())
//! ```
//!
//! A graph of one's own is a list of nodes. This one goes from coarse to fine and stops there:
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use effdet_bifpn::{BiFpnConfig, FpnGraph, FpnNode, FusionMethod};
//!
//! let node = |level, inputs: &[usize]| FpnNode { level, inputs: inputs.to_vec(), method: FusionMethod::Sum };
//! // Maps 0, 1 and 2 are the inputs of levels 3 to 5; the first node is map 3. The last three are the outputs.
//! let nodes = vec![node(4, &[1, 2]), node(3, &[0, 3]), node(4, &[3]), node(5, &[2])];
//! let graph = FpnGraph { min_level: 3, max_level: 5, nodes };
//! graph.validate()?;
//! let config = BiFpnConfig { channels: 32, repeats: 1, ..BiFpnConfig::new(graph, [24, 48, 96]) };
//! let device = Device::flex();
//! let map = |channels, size| Tensor::<4>::zeros([1, channels, size, size], &device);
//! let levels = config.init(&device)?.forward(vec![map(24, 16), map(48, 8), map(96, 4)]);
//! assert_eq!(levels[0].dims(), [1, 32, 16, 16]);
//! # Ok::<(), effdet_bifpn::Error>(())
//! ```
//!
//! # Reference
//! Tan et al. 2020, "EfficientDet", section 3.
//!
//! # Feature flags
//!
//! `flex`, `cuda`, `wgpu` and `tch` compile Burn's backend of that name.

mod config;
mod error;
mod fusion;
mod graph;
mod network;
mod resample;

pub use config::BiFpnConfig;
pub use error::Error;
pub use fusion::{EdgeWeights, FusionMethod};
pub use graph::{FpnGraph, FpnNode};
pub use network::{AfterCombine, Combine, FeatureNetwork, FpnCell, Node};
pub use resample::{Downsample, Resample};
