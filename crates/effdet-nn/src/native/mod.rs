//! Kernels of our own, for the CPU and for devices of CubeCL, and the inference form that runs on them.
//!
//! Maps are channels-last here: a pixel's channels lie next to each other, so that pointwise convolutions are matrix
//! products as they stand and everything else runs over whole vectors of channels.

mod activate;
#[cfg(feature = "cube")]
mod cube;
pub mod depthwise;
mod device_program;
pub mod gemm;
pub mod pixelwise;
mod program;
pub mod simd;
#[cfg(feature = "flex")]
pub(crate) mod training;
mod workers;

use burn::tensor::{Device, Tensor};

pub use device_program::DeviceProgram;
pub use program::{NoKernel, Outputs, Program};
pub use workers::Workers;

/// Whether the kernels compute what tensors on this device would be computed with.
pub fn runs_on(device: &Device) -> bool {
    #[cfg(feature = "flex")]
    return *device == Device::flex();
    #[cfg(not(feature = "flex"))]
    {
        let _ = device;
        false
    }
}

/// The focal loss of logits as if all were negative, `scale · Σ pᵞ (ln(1 + eˣ) - half · x)` with `p = σ(x)`, and its
/// derivative by each logit, in one pass. `None` where there is no kernel: off the CPU, in another precision, or when
/// gradients are recorded.
///
/// # Shapes
/// - `logits`, derivative: any, the same
/// - loss: `[1]`
pub fn focal_negatives(
    logits: &Tensor<4>,
    gamma: f64,
    half: f64,
    scale: f64,
) -> Option<(Tensor<1>, Tensor<4>)> {
    #[cfg(feature = "flex")]
    return training::focal_negatives(logits, gamma, half, scale);
    #[cfg(not(feature = "flex"))]
    {
        let _ = (logits, gamma, half, scale);
        None
    }
}

/// `value` as a function of `input` whose gradient is `gradient`, both computed without a record. `None` off the CPU, in
/// another precision, or when no gradients are recorded.
///
/// # Shapes
/// - `input`, `gradient`: any, the same
/// - `value`, output: `[1]`
pub fn with_gradient(input: &Tensor<4>, value: &Tensor<1>, gradient: &Tensor<4>) -> Option<Tensor<1>> {
    #[cfg(feature = "flex")]
    return training::with_gradient(input, value, gradient);
    #[cfg(not(feature = "flex"))]
    {
        let _ = (input, value, gradient);
        None
    }
}
