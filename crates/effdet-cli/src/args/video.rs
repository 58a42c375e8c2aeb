//! The arguments of `effdet video`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::{DetectorArgs, ViewArgs, fraction};

/// `effdet video`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("results").required(true).multiple(true).args(["out", "jsonl"]))]
pub struct VideoArgs {
    /// A video file, a camera such as /dev/video0, or the address of a stream.
    #[arg(value_name = "SOURCE")]
    pub source: PathBuf,

    #[command(flatten)]
    pub detector: DetectorArgs,

    #[command(flatten)]
    pub views: ViewArgs,

    /// Least score of a detection.
    #[arg(long, default_value = "0.3", value_parser = fraction)]
    pub score: f32,

    /// Write the annotated video; the extension says the format, such as .mp4.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,

    /// Write the detections of each frame as one line of JSON; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub jsonl: Option<PathBuf>,

    /// Stop after this many frames.
    #[arg(long, value_name = "N")]
    pub max_frames: Option<u64>,
}
