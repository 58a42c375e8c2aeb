//! How a node fuses its inputs.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use effdet_nn::{FeatureMap, Initializer, WeightNorm};
use serde::{Deserialize, Serialize};

/// How the maps that meet in a node become one.
///
/// # Reference
/// "EfficientDet", section 3.3; effdet `FpnCombine`; google/automl `efficientdet_keras.py::FNode` for the channel-wise
/// methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FusionMethod {
    /// `Σ xᵢ`
    Sum,
    /// `Σ softmax(w)ᵢ xᵢ`
    Attention,
    /// `Σ relu(wᵢ) xᵢ / (ε + Σ relu(wⱼ))`
    FastAttention,
    /// [`Attention`](Self::Attention) with a weight per channel.
    ChannelAttention,
    /// [`FastAttention`](Self::FastAttention) with a weight per channel.
    ChannelFastAttention,
}

/// The weights of a node's inputs.
#[derive(Module, Debug)]
pub enum EdgeWeights {
    /// One per input, `[inputs]`.
    Scalar(Param<Tensor<1>>),
    /// One per input and channel, `[inputs, channels]`.
    Channel(Param<Tensor<2>>),
}

impl FusionMethod {
    /// The weights of a node with this many inputs, all starting at 1.
    pub(crate) fn init(self, inputs: usize, channels: usize, device: &Device) -> Option<EdgeWeights> {
        let ones = Initializer::Constant(1.0);
        match self {
            FusionMethod::Sum => None,
            FusionMethod::Attention | FusionMethod::FastAttention => {
                Some(EdgeWeights::Scalar(ones.init([inputs], 1, device)))
            }
            FusionMethod::ChannelAttention | FusionMethod::ChannelFastAttention => {
                Some(EdgeWeights::Channel(ones.init([inputs, channels], 1, device)))
            }
        }
    }

    /// Fuses `inputs`, all of one shape.
    ///
    /// # Shapes
    /// - `inputs`, output: `[batch, channels, height, width]`
    ///
    /// # Panics
    /// If the shapes differ or the number of inputs is not that of the weights.
    pub(crate) fn fuse<M: FeatureMap>(self, inputs: Vec<M>, weights: Option<&EdgeWeights>) -> M {
        let sum = match (weights, self.norm()) {
            (Some(weights), Some(norm)) => M::weighted_sum(inputs, weights.of_maps(), norm),
            _ => inputs.into_iter().reduce(M::plus),
        };
        sum.unwrap_or_else(|| unreachable!("a validated graph has no node without inputs"))
    }

    fn norm(self) -> Option<WeightNorm> {
        match self {
            FusionMethod::Sum => None,
            FusionMethod::Attention | FusionMethod::ChannelAttention => Some(WeightNorm::Softmax),
            FusionMethod::FastAttention | FusionMethod::ChannelFastAttention => Some(WeightNorm::Relu),
        }
    }
}

impl EdgeWeights {
    /// `[inputs, 1 or channels, 1, 1]`
    fn of_maps(&self) -> Tensor<4> {
        match self {
            EdgeWeights::Scalar(weights) => weights.val().reshape([-1, 1, 1, 1]),
            EdgeWeights::Channel(weights) => {
                let [inputs, channels] = weights.val().dims();
                weights.val().reshape([inputs, channels, 1, 1])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fused(method: FusionMethod, weights: &[f32]) -> Vec<f32> {
        let device = Device::flex();
        let inputs = [[1.0, 2.0], [10.0, 20.0]]
            .map(|values| Tensor::<1>::from_floats(values, &device).reshape([1, 2, 1, 1]))
            .to_vec();
        let weights = Tensor::<1>::from_floats(weights, &device);
        let weights = match method {
            FusionMethod::Sum => None,
            FusionMethod::Attention | FusionMethod::FastAttention => {
                Some(EdgeWeights::Scalar(Param::from_tensor(weights)))
            }
            _ => Some(EdgeWeights::Channel(Param::from_tensor(weights.reshape([2, 2])))),
        };
        method.fuse(inputs, weights.as_ref()).into_data().try_to_vec::<f32>().unwrap()
    }

    #[test]
    fn each_method_weighs_as_its_formula_says() {
        let close = |actual: Vec<f32>, expected: [f32; 2]| {
            assert!(
                actual.iter().zip(expected).all(|(a, e)| (a - e).abs() < 1e-4),
                "{actual:?} {expected:?}"
            );
        };
        close(fused(FusionMethod::Sum, &[]), [11.0, 22.0]);
        // a negative weight counts as zero
        close(fused(FusionMethod::FastAttention, &[-3.0, 1.0]), [10.0 / 1.0001, 20.0 / 1.0001]);
        close(fused(FusionMethod::Attention, &[0.0, 3f32.ln()]), [7.75, 15.5]);
        close(
            fused(FusionMethod::ChannelFastAttention, &[1.0, 3.0, 1.0, 1.0]),
            [11.0 / 2.0001, 26.0 / 4.0001],
        );
        close(fused(FusionMethod::ChannelAttention, &[0.0, 3f32.ln(), 0.0, 0.0]), [5.5, 6.5]);
    }
}
