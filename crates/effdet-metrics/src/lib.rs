//! How good is a detector: COCO, Pascal VOC and OpenImages evaluation, from files or from memory.
//!
//! Use it alone for the detections of any detector, in any language: it reads pycocotools' files. In memory:
//!
//! ```
//! use effdet_metrics::{Annotation, BoxEdges, Category, CocoEvaluator, CocoParams, DetectionRecord, Detections, GroundTruth};
//!
//! let edges = BoxEdges::from_xyxy([10.0, 10.0, 60.0, 50.0]);
//! let truth = GroundTruth::new([1.into()], [Category::new(1, "cat")], [Annotation::new(1, 1, edges)])?;
//! let mut found = Detections::new();
//! for (x1, score) in [(12.0, 0.9), (200.0, 0.3)] {
//!     let bbox = BoxEdges::from_xyxy([x1, 10.0, x1 + 50.0, 50.0]);
//!     found.push(DetectionRecord { image_id: 1.into(), category_id: 1.into(), bbox, score });
//! }
//! let report = CocoEvaluator::new(&truth, CocoParams::default())?.evaluate(&found)?;
//! // An IoU of 0.92 is a hit at nine of the ten thresholds from 0.5 to 0.95.
//! assert!((report.metrics.ap - 0.9).abs() < 1e-9);
//! // pycocotools, whose numbers these are, adds the smallest part of 1 to what it divides by.
//! assert!((report.metrics.ap50 - 1.0).abs() < 1e-9);
//! # Ok::<(), effdet_metrics::Error>(())
//! ```
//!
//! [`GroundTruth`] and [`Detections`] hold boxes of any origin; readers fill them from COCO JSON, VOC XML and
//! OpenImages CSV, and training fills them from memory. The metrics work on the pair:
//!
//! - [`CocoEvaluator`]: the 12 numbers of COCO and everything behind them, equal to pycocotools;
//! - [`evaluate_voc`]: 11-point and all-point average precision of Pascal VOC;
//! - [`evaluate_openimages`]: the OpenImages metrics with group-of boxes and the label hierarchy;
//! - [`confusion_matrix`], [`score_curves`] and [`error_breakdown`]: where the errors are.
//!
//! [`coco_from_files`], [`voc_from_files`] and [`openimages_from_files`] go from paths to a report.

mod average_precision;
mod coco;
mod confusion;
mod curves;
mod dataset;
mod detections;
mod error;
mod errors;
mod files;
mod findings;
mod id;
mod json;
mod matches;
mod names;
mod openimages;
mod overlap;
mod voc;

pub use average_precision::Interpolation;
pub use coco::{AreaRange, ClassMetrics, CocoEvaluator, CocoMetrics, CocoParams, CocoReport};
pub use confusion::{ConfusionMatrix, ConfusionOptions, confusion_matrix};
pub use curves::{BestThreshold, ClassCurve, CurveOptions, ScoreCurves, score_curves};
pub use dataset::{Annotation, Category, GroundTruth};
pub use detections::{DetectionRecord, Detections};
pub use error::Error;
pub use errors::{ClassErrors, ErrorBreakdown, ErrorCounts, ErrorOptions, error_breakdown};
pub use files::{
    Diagnosis, DiagnosisOptions, Loaded, OpenImagesFiles, coco_from_files, diagnose, load_coco,
    load_openimages, load_voc, openimages_from_files, voc_from_files,
};
pub use findings::{Finding, FindingKind, Findings};
pub use id::Id;
pub use openimages::{
    Hierarchy, OpenImagesClass, OpenImagesOptions, OpenImagesReport, VerifiedLabels, evaluate_openimages,
};
pub use overlap::BoxEdges;
pub use voc::{VocClass, VocOptions, VocReport, evaluate_voc};
