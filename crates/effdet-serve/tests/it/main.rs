//! The integration tests of this crate: one program, since each takes a while to link.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;
mod detect;
mod limits;
mod stop;
