//! Operations of training with gradients of their own, for tensors on the CPU.
//!
//! The framework's convolutions, batch norms and activations are compositions on this backend, many passes over memory
//! each, and the weight gradient of a depthwise convolution is a loop over channels. Here each is one operation with a
//! hand-written gradient. Layers use them without being asked where tensors are of single precision on `flex`, recorded
//! for gradients or not; everywhere else the composition stays, and so it does with gradient checkpointing.
//!
//! Results do not depend on the number of threads.

mod buffer;
mod conv;
mod depthwise;
mod focal;
mod gemm;
mod node;
mod norm;
mod norm_across;
mod parallel;
mod patches;
mod slope;

pub(crate) use conv::Convolution;
pub(crate) use node::{activate, batch_norm, convolve, focal_negatives, frozen_norm, with_gradient};
pub(crate) use norm_across::batch_norm_across;
#[cfg(test)]
mod tests;
