//! The sub-commands.

pub mod bench;
pub mod dataset;
pub mod evaluate;
pub mod export;
pub mod info;
pub mod models;
pub mod predict;
pub mod train;
pub mod val;
pub mod weights;
