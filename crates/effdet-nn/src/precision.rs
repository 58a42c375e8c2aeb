//! The precision that convolutions are computed in.

use std::cell::Cell;

use burn::tensor::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

/// A number format for convolutions. Weights, norms, activations and losses stay in single precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Half precision with the range of single: 8 bits of exponent, 8 of significand.
    Bf16,
    /// Half precision with 5 bits of exponent, 11 of significand: gradients below 6e-8 are lost and what is beyond 65504
    /// is infinite, so that losses are to be scaled.
    F16,
}

impl Precision {
    /// Whether a device computes in it.
    pub fn runs_on(self, device: &Device) -> bool {
        self.half().is_none_or(|dtype| device.supports_dtype(dtype))
    }

    /// Makes this the precision of the thread's convolutions until the result is dropped. Operations that record
    /// gradients have them computed in the precision that they were recorded in.
    ///
    /// # Reference
    /// `torch.autocast`, for convolutions alone.
    pub fn enter(self) -> Entered {
        Entered { before: CURRENT.replace(self) }
    }

    fn half(self) -> Option<DType> {
        match self {
            Self::F32 => None,
            Self::Bf16 => Some(DType::BF16),
            Self::F16 => Some(DType::F16),
        }
    }
}

thread_local! {
    static CURRENT: Cell<Precision> = const { Cell::new(Precision::F32) };
}

/// Puts the thread's precision back to what it was when dropped.
#[must_use = "the precision is that of the thread until this is dropped"]
#[derive(Debug)]
pub struct Entered {
    before: Precision,
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.before);
    }
}

/// What a convolution is to be computed in, where that is not the type of its input. Double precision stays.
pub(crate) fn lowered(input: &Tensor<4>) -> Option<DType> {
    CURRENT.get().half().filter(|_| input.dtype() == DType::F32)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Distribution, Tolerance};

    use super::*;
    use crate::{Conv2d, Conv2dConfig};

    /// Output, gradient of the input and gradient of the weight.
    fn compute(conv: &Conv2d, input: &Tensor<4>, precision: Precision) -> [Vec<f32>; 3] {
        let _entered = precision.enter();
        let input = input.clone().require_grad();
        let output = conv.forward(input.clone());
        assert_eq!(output.dtype(), DType::F32);
        let grads = output.clone().square().sum().backward();
        let (by_input, by_weight) = (input.grad(&grads).unwrap(), conv.weight.val().grad(&grads).unwrap());
        assert_eq!([by_input.dtype(), by_weight.dtype()], [DType::F32; 2]);
        [output, by_input, by_weight].map(|tensor| tensor.into_data().try_to_vec().unwrap())
    }

    #[test]
    fn half_precision_convolutions_round_and_their_gradients_do() {
        let device = Device::flex().autodiff();
        device.seed(11);
        let input = Tensor::<4>::random([2, 8, 9, 9], Distribution::Normal(0.0, 1.0), &device);
        let (pointwise, plain) = (Conv2dConfig::new(8, 6, 1), Conv2dConfig::new(8, 6, 3).with_stride(2));
        for config in [pointwise.with_bias(true), plain, Conv2dConfig::depthwise(8, 3)] {
            let conv = config.init(&device);
            let single = compute(&conv, &input, Precision::F32);
            for (precision, epsilon) in [(Precision::F16, 1.0 / 1024.0), (Precision::Bf16, 1.0 / 128.0)] {
                assert!(precision.runs_on(&device));
                let half = compute(&conv, &input, precision);
                for (single, half) in single.iter().zip(half) {
                    let scale = single.iter().fold(0.0f32, |max, value| max.max(value.abs()));
                    let pairs = single.iter().zip(half);
                    let off =
                        pairs.fold(0.0f32, |max, (single, half)| max.max((single - half).abs())) / scale;
                    assert!(off > 0.0 && off < 4.0 * epsilon, "{precision:?}, {config:?}: {off}");
                }
            }
        }
    }

    #[test]
    fn the_precision_is_that_of_a_scope() {
        let device = Device::flex();
        let conv =
            Conv2dConfig::new(1, 1, 1).with_initializer(crate::Initializer::Constant(1.0)).init(&device);
        let input = Tensor::<4>::full([1, 1, 1, 1], 1.0 + 1.0 / 4096.0, &device);
        let output = || conv.forward(input.clone()).into_data();
        let entered = Precision::F16.enter();
        output().assert_approx_eq::<f32>(
            &Tensor::<4>::ones([1, 1, 1, 1], &device).into_data(),
            Tolerance::strict(),
        );
        drop(entered);
        assert_eq!(output(), input.clone().into_data());
    }
}
