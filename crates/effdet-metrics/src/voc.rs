//! Pascal VOC: annotations, detections and average precision.

mod evaluate;
pub(crate) mod read;

pub use evaluate::{VocClass, VocOptions, VocReport, evaluate_voc};
