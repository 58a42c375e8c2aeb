//! Files that detections are written to, beside `--json`.

use std::path::PathBuf;

use clap::Args;

/// Detections in the formats of labels.
#[derive(Debug, Args)]
#[command(next_help_heading = "Detections as labels")]
pub struct SaveArgs {
    /// Write detections as a COCO instances file, each with its score.
    #[arg(long, value_name = "FILE")]
    pub save_coco: Option<PathBuf>,

    /// Write detections as one CSV table, each with its score.
    #[arg(long, value_name = "FILE")]
    pub save_csv: Option<PathBuf>,

    /// Write detections as a YOLO data set: one text file per picture, and the pictures (linked, else copied).
    #[arg(long, value_name = "DIR")]
    pub save_yolo: Option<PathBuf>,

    /// Write detections as a Pascal VOC data set: one XML file per picture, and the pictures (linked, else copied).
    #[arg(long, value_name = "DIR")]
    pub save_voc: Option<PathBuf>,
}
