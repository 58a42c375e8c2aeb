//! The integration tests of this crate: one program, since each takes a while to link.
#![allow(clippy::unwrap_used, reason = "tests")]

mod any_size;
mod training;
