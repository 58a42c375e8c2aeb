//! The arguments of `effdet evaluate`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::fraction;

#[derive(Debug, Args)]
pub struct EvaluateArgs {
    /// The labels.
    pub ground_truth: PathBuf,

    /// The detections.
    pub detections: PathBuf,

    /// Format of both.
    #[arg(long, value_enum, default_value_t = Metric::Coco)]
    pub format: Metric,

    /// IoU from which a detection counts as found [default: 0.5 to 0.95 by 0.05 for coco, else 0.5].
    #[arg(long, value_name = "IOU", value_parser = fraction)]
    pub iou: Option<f32>,

    /// Write the numbers as JSON; `-` is standard output, then without the table.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write precision-recall and F1 curves and the confusion matrix into this folder.
    #[arg(long, value_name = "DIR")]
    pub plots: Option<PathBuf>,

    /// voc: class names in the order of the ids [default: those of the labels, by name].
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,

    /// voc: the 11-point average precision of VOC 2007.
    #[arg(long)]
    pub eleven_point: bool,

    /// voc: count difficult objects as ordinary ones.
    #[arg(long)]
    pub use_difficult: bool,

    /// openimages: JSON of the label hierarchy, by which boxes also get the labels of all ancestors.
    #[arg(long, value_name = "FILE")]
    pub hierarchy: Option<PathBuf>,

    /// openimages: CSV of labels and their names.
    #[arg(long, value_name = "FILE")]
    pub class_names: Option<PathBuf>,

    /// openimages: CSV of verified image-level labels; the metric is then that of the Challenge, which counts groups.
    #[arg(long, value_name = "FILE")]
    pub image_labels: Option<PathBuf>,
}

/// A way to measure detections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Metric {
    /// The 12 numbers of COCO.
    Coco,
    /// Average precision of Pascal VOC.
    Voc,
    /// Average precision of Open Images.
    #[value(alias = "open-images")]
    Openimages,
}
