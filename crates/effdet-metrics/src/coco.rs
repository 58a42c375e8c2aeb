//! The COCO metrics: reading, matching, accumulating and reporting.

mod accumulate;
mod evaluate;
pub(crate) mod matching;
mod params;
mod read;
mod report;

pub(crate) use accumulate::{Curve, hits_for_recall};
pub use evaluate::CocoEvaluator;
pub(crate) use params::check_iou;
pub use params::{AreaRange, CocoParams};
pub use report::{ClassMetrics, CocoMetrics, CocoReport};
