//! The integration tests of this crate: one program, since each takes a while to link.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;
mod learner;
mod optimizers;
mod overfit;
mod precision;
mod resume;
mod settings;
mod training_steps;
mod workers;
