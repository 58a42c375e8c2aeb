//! Weighted sums of maps, and how weights become their factors.

use burn::tensor::{Tensor, activation};

use crate::FeatureMap;

/// Added to the sum of positive weights.
///
/// # Reference
/// "EfficientDet", section 3.3; effdet `FpnCombine`.
const EPSILON: f64 = 1e-4;

/// How the weights of maps become the factors of their sum.
///
/// # Reference
/// "EfficientDet", section 3.3: softmax-based and fast normalised fusion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WeightNorm {
    /// `softmax(w)ᵢ`
    Softmax,
    /// `relu(wᵢ) / (1e-4 + Σ relu(wⱼ))`
    Relu,
}

impl WeightNorm {
    /// The factors.
    ///
    /// # Shapes
    /// - `weights`, output: `[maps, 1 or channels, 1, 1]`
    pub fn factors(self, weights: Tensor<4>) -> Tensor<4> {
        match self {
            WeightNorm::Softmax => activation::softmax(weights, 0),
            WeightNorm::Relu => {
                let positive = activation::relu(weights);
                let sum = positive.clone().sum_dim(0).add_scalar(EPSILON);
                positive / sum
            }
        }
    }

    /// What a kernel adds to the sum of the numbers that it divides by.
    #[cfg(feature = "cube")]
    pub(crate) fn epsilon(self) -> f32 {
        match self {
            WeightNorm::Softmax => 0.0,
            WeightNorm::Relu => EPSILON as f32,
        }
    }
}

/// The sum as scaled maps, added one by one.
pub(crate) fn composed<M: FeatureMap>(maps: Vec<M>, weights: Tensor<4>, norm: WeightNorm) -> Option<M> {
    let factors = norm.factors(weights);
    let scaled = maps.into_iter().enumerate().map(|(i, map)| map.scale(factors.clone().narrow(0, i, 1)));
    scaled.reduce(M::plus)
}
