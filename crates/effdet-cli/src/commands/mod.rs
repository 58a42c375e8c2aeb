//! The sub-commands.

pub mod bench;
pub mod completions;
pub mod dataset;
pub mod demo;
pub mod evaluate;
pub mod export;
pub mod info;
pub mod models;
pub mod predict;
#[cfg(feature = "serve")]
pub mod serve;
pub mod train;
pub mod val;
pub mod video;
pub mod weights;
