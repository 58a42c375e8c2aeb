//! The integration tests of this crate: one program, since each takes a while to link.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "tests")]

mod awkward_images;
mod decode;
mod formats;
mod loader;
mod orientation;
mod preprocess;
mod round_trip;
mod shared_formats;
mod splits_and_cache;
mod transform_properties;
mod transforms;
