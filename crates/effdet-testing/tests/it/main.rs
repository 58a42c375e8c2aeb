//! The integration tests of this crate: one program, since each takes a while to link.
#![allow(clippy::unwrap_used, reason = "tests")]

mod architecture;
mod gradients;
mod parity;
mod shared_parity;
