//! Kernels of our own for the CPU, and the inference form that runs on them.
//!
//! Maps are channels-last here: a pixel's channels lie next to each other, so that pointwise convolutions are matrix
//! products as they stand and everything else runs over whole vectors of channels.

mod activate;
pub mod depthwise;
pub mod gemm;
pub mod pixelwise;
mod program;
pub mod simd;
#[cfg(feature = "flex")]
pub(crate) mod training;
mod workers;

use burn::tensor::Device;

pub use program::{NoKernel, Output, Program};
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
