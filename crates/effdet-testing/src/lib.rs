//! Golden fixtures, tolerances and synthetic weights for the tests of the EfficientDet crates.
//!
//! The reference's numbers for a network are only worth storing if its weights need not be stored with them. So weights
//! are synthetic: every tensor is a pure function of a seed, its name and its shape ([`synthetic`]), here and in the
//! scripts that ask the reference (`tools/golden`).

pub mod bench;
pub mod blood_cells;
#[cfg(doctest)]
mod book;
pub mod detections;
pub mod fixtures;
pub mod golden;
pub mod gradients;
pub mod npz;
pub mod parity;
pub mod shared;
pub mod suite;
pub mod synthetic;
