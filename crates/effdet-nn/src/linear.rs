//! Fully connected layer in PyTorch's layout.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use crate::Initializer;
use crate::count::add_multiply_adds;

/// `x · weightᵀ + bias`, the weight stored as PyTorch stores it.
#[derive(Module, Debug)]
pub struct Linear {
    /// Weight, `[out_features, in_features]`.
    pub weight: Param<Tensor<2>>,
    /// Bias, `[out_features]`.
    pub bias: Param<Tensor<1>>,
}

impl Linear {
    /// Builds the layer.
    pub fn new(in_features: usize, out_features: usize, device: &Device) -> Self {
        Self {
            weight: Initializer::FanOutUniform.init([out_features, in_features], 1, device),
            bias: Initializer::Constant(0.0).init([out_features], 1, device),
        }
    }

    /// Applies the layer.
    ///
    /// # Shapes
    /// - `input`: `[batch, in_features]`
    /// - output: `[batch, out_features]`
    pub fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        add_multiply_adds(self.weight.lazy_shape().num_elements());
        input.matmul(self.weight.val().transpose()) + self.bias.val().unsqueeze()
    }
}
