//! A learned factor per channel.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use crate::Initializer;
use crate::feature_map::FeatureMap;

/// Multiplies each channel by a learned factor that starts small.
///
/// # Reference
/// Touvron et al. 2021, "Going deeper with Image Transformers"; timm `LayerScale2d`.
#[derive(Module, Debug)]
pub struct LayerScale {
    /// The factors, `[channels]`.
    pub gamma: Param<Tensor<1>>,
}

impl LayerScale {
    /// Factors that start at `value`.
    pub fn new(channels: usize, value: f64, device: &Device) -> Self {
        Self { gamma: Initializer::Constant(value).init([channels], 1, device) }
    }

    /// Scales the channels.
    ///
    /// # Shapes
    /// - `input`, output: `[batch, channels, height, width]`
    pub fn forward<M: FeatureMap>(&self, input: M) -> M {
        input.scale(self.gamma.val().reshape([1, -1, 1, 1]))
    }
}
