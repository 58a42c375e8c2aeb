//! Layers that every EfficientDet network shares, on [Burn](burn), with the semantics of the PyTorch and TensorFlow
//! code the published weights come from.
//!
//! Burn has a convolution and a batch norm of its own. These exist because the differences decide whether a ported
//! checkpoint gives the same numbers:
//!
//! - [`BatchNorm`] keeps the *unbiased* running variance and is in training mode when the *model* says so
//!   ([`Module::train`](burn::module::Module::train) and [`valid`](burn::module::Module::valid)), not whenever the
//!   device records gradients.
//! - [`Padding::Same`] is TensorFlow's padding, computed from the size of each input; [`Padding::Symmetric`] is
//!   PyTorch's.
//! - Field names are the names of timm's and effdet's state dictionaries, so a checkpoint needs no renaming.
//!
//! # Feature flags
//!
//! `flex`, `cuda`, `wgpu` and `tch` compile Burn's backend of that name. None is on by default: the binary chooses.

pub mod activation;
pub mod anti_alias;
pub mod attention;
pub mod batch_norm;
pub mod buffer;
pub mod collective;
pub mod conv;
pub mod conv_norm_act;
pub mod count;
pub mod device;
pub mod drop_path;
pub mod feature_conv;
pub mod feature_map;
pub mod graph;
pub mod init;
pub mod layer_scale;
pub mod linear;
pub mod module_map;
pub mod native;
pub mod norm_act;
pub mod padding;
pub mod pool;
pub mod precision;
pub mod resize;
pub mod separable_conv;
pub mod squeeze_excite;
pub mod weighted_sum;

pub use activation::Activation;
pub use anti_alias::{AntiAlias, AntiAliasKind};
pub use attention::{MultiQueryAttention, MultiQueryAttentionConfig};
pub use batch_norm::{BatchNorm, BatchNormConfig};
pub use buffer::Buffer;
pub use collective::{Collective, CollectiveError};
pub use conv::{CondConv2d, Conv2d, Conv2dConfig, ConvLayer};
pub use conv_norm_act::{ConvNormAct, ConvNormActConfig};
pub use count::{count_multiply_adds, count_parameters};
pub use device::{DeviceError, OutOfMemory, device, device_with_float};
pub use drop_path::DropPath;
pub use feature_conv::{FeatureConv, FeatureConvConfig};
pub use feature_map::{FeatureMap, Recorded, Unrecordable, record, record_all};
pub use graph::Graph;
pub use init::Initializer;
pub use layer_scale::LayerScale;
pub use linear::Linear;
pub use module_map::ModuleMap;
pub use norm_act::{NormAct, NormConfig, UnevenGroups};
pub use padding::Padding;
pub use pool::{Pool, pool2d};
pub use precision::Precision;
pub use resize::{ResizeMode, resize};
pub use separable_conv::{SeparableConv, SeparableConvConfig};
pub use squeeze_excite::{ChannelAttention, GlobalContext, SqueezeExcite, SqueezeExciteConfig};
pub use weighted_sum::WeightNorm;

/// Rounds to the nearest integer, halves to the even neighbour, as Python's `round` does.
///
/// timm sizes layers with it, so `2.5` channels are 2 and `3.5` are 4.
pub fn round_half_even(value: f64) -> usize {
    value.round_ties_even().max(0.0) as usize
}

/// Rounds a channel count to a multiple of `divisor`, never below `round_limit` of it and never below `divisor`.
///
/// # Reference
/// timm `make_divisible`; the MobileNet papers' code.
pub fn make_divisible(value: f64, divisor: usize, round_limit: f64) -> usize {
    let rounded = ((value + divisor as f64 / 2.0) as usize / divisor * divisor).max(divisor);
    if (rounded as f64) < round_limit * value { rounded + divisor } else { rounded }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_round_to_even_as_in_python() {
        assert_eq!([0.5, 1.5, 2.5, 3.5, 2.6].map(round_half_even), [0, 2, 2, 4, 3]);
    }

    #[test]
    fn make_divisible_never_loses_more_than_the_limit() {
        assert_eq!(make_divisible(32.0 * 1.1, 8, 0.9), 32);
        assert_eq!(make_divisible(16.0 * 0.35, 8, 0.9), 8);
        assert_eq!(make_divisible(11.5, 8, 0.9), 16);
        assert_eq!(make_divisible(11.5, 8, 0.0), 8);
        assert_eq!(make_divisible(3.0, 8, 0.9), 8);
    }
}
