//! The sub-commands.

pub mod evaluate;
pub mod info;
pub mod models;
pub mod predict;
pub mod train;
pub mod val;
