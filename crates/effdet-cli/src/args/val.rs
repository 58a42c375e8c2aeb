//! The arguments of `effdet val`.

use std::path::PathBuf;

use clap::Args;
use effdet::data::Format;

use super::{DetectorArgs, Metric, PixelConvention, ViewArgs, fraction};

#[derive(Debug, Args)]
pub struct ValArgs {
    /// Folder of the data set.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,

    /// Format of its labels: coco, voc, pets, via, open-images, yolo, csv.
    #[arg(long, value_name = "FORMAT")]
    pub format: Format,

    /// The official split to use [default: everything].
    #[arg(long, value_name = "NAME")]
    pub split: Option<String>,

    /// The label file, where it is not in the format's usual place.
    #[arg(long, value_name = "FILE")]
    pub annotations: Option<PathBuf>,

    /// What pixel coordinates mean [default: as the reference reads them, all minus 1 for voc and pets].
    #[arg(long, value_enum)]
    pub pixels: Option<PixelConvention>,

    #[command(flatten)]
    pub detector: DetectorArgs,

    #[command(flatten)]
    pub views: ViewArgs,

    /// Least score of a detection.
    #[arg(long, default_value = "0.001", value_parser = fraction)]
    pub score: f32,

    /// How detections are measured.
    #[arg(long, value_enum, default_value_t = Metric::Coco)]
    pub metric: Metric,

    /// Write the numbers as JSON; `-` is standard output, then without the table.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write the detections as a results JSON that COCO's server takes.
    #[arg(long, value_name = "FILE")]
    pub detections: Option<PathBuf>,

    /// Write precision-recall and F1 curves and the confusion matrix into this folder.
    #[arg(long, value_name = "DIR")]
    pub plots: Option<PathBuf>,
}
