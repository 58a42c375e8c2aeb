//! Rendered pictures of shapes with exact boxes: a data set that needs no download.
//!
//! Everything is a function of the seed, in additions, multiplications, divisions and square roots alone, which every
//! platform rounds alike: a seed gives the same pictures everywhere.

mod dataset;
mod paint;
mod scene;
mod shape;

pub use dataset::{Recipe, write};
pub use shape::{KNOWN, SHAPES};
