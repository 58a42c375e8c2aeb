//! Kernels for devices of CubeCL (CUDA, Vulkan, Metal, DirectX), and what they are launched for: the inference form of a
//! network and the operations of training.
//!
//! The inference form is the same operations as on the processor, each a launch of one kernel; recorded once for a size
//! of batch where the runtime can record launches, and replayed from then on, so that the host does next to nothing for
//! a batch.

#[allow(
    clippy::manual_is_multiple_of,
    clippy::needless_range_loop,
    clippy::if_same_then_else,
    clippy::type_complexity,
    reason = "kernels are written in a part of the language"
)]
mod kernels;
mod maps;
mod operation;
mod program;
mod select;
mod training;
mod vectors;

pub(crate) use maps::{
    Pooling, added_at, focal_negatives, gate, global_mean, nearest, numbers_at, pool, weighted_sum,
    with_gradient,
};
pub(super) use operation::{forward, runs_on};
pub(super) use program::CubeProgram;
pub(super) use select::highest_places;
pub(super) use training::convolves;
pub(super) use vectors::{adam, add_squares, mix};
