//! The Rust blocks of the README and of docs/, compiled and where they can be run as documentation tests.

#[doc = include_str!("../../../README.md")]
mod readme {}
#[doc = include_str!("../../../docs/detect.md")]
mod detect {}
#[doc = include_str!("../../../docs/checkpoints.md")]
mod checkpoints {}
#[doc = include_str!("../../../docs/serve.md")]
mod serve {}
#[doc = include_str!("../../../docs/formats.md")]
mod formats {}
#[doc = include_str!("../../../docs/inference.md")]
mod inference {}
#[doc = include_str!("../../../docs/transforms.md")]
mod transforms {}
#[doc = include_str!("../../../docs/pets.md")]
mod pets {}
