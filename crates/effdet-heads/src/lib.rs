//! EfficientDet class and box heads, anchors, box coder, losses, decoding and non-maximum suppression.
//!
//! Use it alone for the parts of a detector around a network of your own, or for boxes that come from anywhere:
//!
//! ```
//! use effdet_core::{Detection, XyxyBox};
//! use effdet_heads::{FusionConfig, NmsConfig, NmsMethod, nms, weighted_box_fusion};
//!
//! let detection = |x1, score| Detection { bbox: XyxyBox::new(x1, 0.0, x1 + 10.0, 10.0), score, class_id: 1 };
//! let found = [detection(0.0, 0.9), detection(1.0, 0.8), detection(30.0, 0.7)];
//! let kept = nms(&found, &NmsConfig::default(), 100);
//! assert_eq!(kept, [found[0], found[2]]);
//!
//! let soft = NmsConfig { method: NmsMethod::SoftGaussian { sigma: 0.5 }, ..NmsConfig::default() };
//! assert_eq!(nms(&found, &soft, 100).len(), 3);
//!
//! // What two networks found, as one.
//! let fused = weighted_box_fusion(&[vec![found[0]], vec![found[1]]], &FusionConfig::default())?;
//! assert!(fused.len() == 1 && 0.0 < fused[0].bbox.x1 && fused[0].bbox.x1 < 1.0);
//! # Ok::<(), effdet_heads::Error>(())
//! ```
//!
//! The network ends in raw logits and box deltas per pyramid level. What follows runs on the host in plain
//! Rust: [`decode`](mod@decode) selects the best logits, [`box_coder`] turns deltas into boxes relative to
//! the [`anchors`], and [`nms`](mod@nms) removes duplicates. [`merge`] and [`fusion`] join the detections of several
//! views of a picture.
//!
//! For training, [`targets`] labels the anchors, also on the host, and [`loss`] compares outputs with labels.
//!
//! # Feature flags
//!
//! `flex`, `cuda`, `wgpu` and `tch` compile Burn's backend of that name; what runs on the host needs none.

pub mod anchors;
pub mod batch;
pub mod box_coder;
mod box_loss;
pub mod decode;
mod device_cut;
pub mod error;
mod focal;
pub mod fusion;
pub mod head;
pub mod loss;
pub mod merge;
pub mod nms;
mod places;
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
