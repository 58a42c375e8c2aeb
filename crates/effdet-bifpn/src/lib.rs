//! Feature pyramid networks as graphs, on [Burn](burn): BiFPN, PAN, QuadFPN and whatever graph a user writes.
//!
//! A graph ([`FpnGraph`]) is data: nodes, each at a pyramid level, each fusing earlier maps. The network
//! ([`FeatureNetwork`]) repeats the graph a number of times, resampling maps to the level of the node that uses them.
//! Sizes are taken from the feature maps of each call, so one network serves pictures of any size.
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
