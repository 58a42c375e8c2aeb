//! The integration tests of this crate: one program, since each takes a while to link.
#![allow(clippy::expect_used, clippy::print_stdout, clippy::unwrap_used, reason = "tests")]

mod checkpoint;
mod common;
#[cfg(feature = "hub")]
mod download;
mod hostile;
mod modules;
mod reference;
mod tensorflow;
mod transfer;
