//! The integration tests of this crate: one program, since each takes a while to link.
#![allow(clippy::print_stderr, clippy::unwrap_used, reason = "tests")]

mod bccd;
mod bench;
mod common;
mod dataset;
mod demo;
mod evaluate;
mod export;
mod habits;
mod models_info;
mod predict;
mod save;
#[cfg(all(feature = "serve", unix))]
mod serve;
mod train;
mod usage;
mod val;
mod video;
mod views;
#[cfg(unix)]
mod watch;
#[cfg(feature = "hub")]
mod weights;
