//! EfficientDet class and box heads, anchors, box coder, decoding and non-maximum suppression
//!
//! The network ends in raw logits and box deltas per pyramid level. What follows runs on the host in plain
//! Rust: [`decode`](mod@decode) selects the best logits, [`box_coder`] turns deltas into boxes relative to
//! the [`anchors`], and [`nms`](mod@nms) removes duplicates.
//!
//! For training, [`targets`] labels the anchors, also on the host, and [`loss`] compares outputs with labels.

pub mod anchors;
pub mod batch;
pub mod box_coder;
mod box_loss;
pub mod decode;
pub mod error;
mod focal;
pub mod fusion;
pub mod head;
pub mod loss;
pub mod merge;
pub mod nms;
pub mod targets;
mod top_k;

pub use anchors::{AnchorConfig, AnchorLevel, AnchorScale, Anchors};
pub use batch::{HostOutputs, decode_batch};
pub use box_loss::BoxLoss;
pub use decode::{DecodeConfig, Frame, Layout, LevelOutput, decode};
pub use error::Error;
pub use fusion::{FusedScore, FusionConfig, weighted_box_fusion};
pub use head::{BnRep, Head, HeadConfig, HeadOutput, WrappedNorm};
pub use loss::{DetectionLoss, DetectionLossConfig, LossParts, Normalizer};
pub use merge::{MergeConfig, OverlapMetric, merge_boxes};
pub use nms::{NmsConfig, NmsMethod, nms};
pub use targets::{AnchorLabels, BatchTargets, MatchOptions, Truth, label_anchors};
