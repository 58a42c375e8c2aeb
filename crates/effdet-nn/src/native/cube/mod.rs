//! The inference form of a network on devices of CubeCL (CUDA, Vulkan, Metal, DirectX).
//!
//! The same operations as on the processor, each a launch of one kernel; recorded once for a size of batch where the
//! runtime can record launches, and replayed from then on, so that the host does next to nothing for a batch.

mod kernels;
mod operation;
mod program;

pub(super) use operation::{forward, runs_on};
pub(super) use program::CubeProgram;
