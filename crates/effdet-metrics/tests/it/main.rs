//! The integration tests of this crate: one program, since each takes a while to link.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "tests")]

mod coco_fixture;
mod hostile_input;
mod openimages;
mod shared_cases;
