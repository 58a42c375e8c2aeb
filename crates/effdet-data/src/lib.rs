//! Pictures and labels in: decoding, letterboxing and normalisation for object detection

mod decode;
mod error;
mod jpeg;
mod preprocess;
mod resize;

pub use decode::{DecodeLimits, decode_bytes, decode_file};
pub use error::Error;
pub use preprocess::{Fill, Prepared, Preprocess};
pub use resize::{Interpolation, resize};
