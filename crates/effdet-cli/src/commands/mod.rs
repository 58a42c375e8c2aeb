//! The sub-commands.

pub mod info;
pub mod models;
pub mod predict;
