//! Operations of training with gradients of their own.
//!
//! The framework's batch norms and activations are compositions on the host, many passes over memory each, and so are
//! depthwise convolutions on most backends. Here each is one operation with a hand-written gradient. Layers use them
//! without being asked, recorded for gradients or not: on the host in single precision, on devices of CubeCL in any;
//! everywhere else the composition stays, and so it does with gradient checkpointing.
//!
//! On the host results do not depend on the number of threads.

#[cfg(feature = "flex")]
mod buffer;
#[cfg(feature = "flex")]
mod conv;
#[cfg(feature = "flex")]
mod depthwise;
#[cfg(feature = "flex")]
mod focal;
#[cfg(feature = "flex")]
mod gemm;
#[cfg(feature = "flex")]
mod host;
#[cfg(feature = "flex")]
mod norm;
#[cfg(feature = "flex")]
mod norm_across;
mod operation;
#[cfg(feature = "flex")]
mod parallel;
#[cfg(feature = "flex")]
mod patches;
mod sizes;
#[cfg(feature = "flex")]
mod slope;
#[cfg(all(test, feature = "flex"))]
mod tests;

#[cfg(feature = "flex")]
pub(crate) use buffer::release;
#[cfg(feature = "flex")]
pub(crate) use host::{focal_negatives, with_gradient};
#[cfg(feature = "flex")]
pub(crate) use norm_across::batch_norm_across;
#[cfg(feature = "cube")]
pub(crate) use operation::{Normalised, TrainingKernels, computes_on_device};
pub(crate) use operation::{activate, batch_norm, convolve, frozen_norm};
#[cfg(feature = "cube")]
pub(crate) use sizes::BatchNormalisation;
pub(crate) use sizes::Convolution;
