//! The arguments of `effdet export`.

use std::path::PathBuf;

use clap::Args;
use effdet::export::{BatchSize, OnnxOptions};

use super::{NetworkArgs, fraction};

#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    pub network: NetworkArgs,

    /// File to write.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,

    /// End in detections (boxes, scores, classes) instead of class logits and box codes.
    #[arg(long)]
    pub nms: bool,

    /// Version of ONNX's operator set, 14 to 23.
    #[arg(long, value_name = "N", default_value_t = OnnxOptions::default().opset)]
    pub opset: u32,

    /// Pictures that the file takes at a time: a number, or `dynamic` for any.
    #[arg(long, value_name = "N|dynamic", default_value = "1")]
    pub batch: BatchSize,

    /// Take pictures of any size; --image-size is then the one that the metadata names. Not with --nms.
    #[arg(long, conflicts_with = "nms")]
    pub dynamic_size: bool,

    /// With --nms: least score of a detection.
    #[arg(long, default_value = "0.001", value_parser = fraction)]
    pub score: f32,

    /// With --nms: overlap (IoU) above which the weaker of two boxes of a class is dropped.
    #[arg(long, default_value = "0.5", value_parser = fraction)]
    pub iou: f32,

    /// With --nms: most detections per picture.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub max_detections: usize,
}
