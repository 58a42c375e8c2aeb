//! EfficientDet class and box heads, anchors, box coder, decoding and non-maximum suppression
//!
//! The network ends in raw logits and box deltas per pyramid level. What follows runs on the host in plain
//! Rust: [`decode`](mod@decode) selects the best logits, [`box_coder`] turns deltas into boxes relative to
//! the [`anchors`], and [`nms`](mod@nms) removes duplicates.

pub mod anchors;
pub mod box_coder;
pub mod decode;
pub mod error;
pub mod head;
pub mod nms;
mod top_k;

pub use anchors::{AnchorConfig, AnchorLevel, AnchorScale, Anchors};
pub use decode::{DecodeConfig, Frame, LevelOutput, decode};
pub use error::Error;
pub use head::{BnRep, Head, HeadConfig, HeadOutput, WrappedNorm};
pub use nms::{NmsConfig, NmsMethod, nms};
