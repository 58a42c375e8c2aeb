//! The arguments of `effdet predict`.

use std::path::PathBuf;

use clap::Args;

use super::{DetectorArgs, SaveArgs, ViewArgs, fraction};

#[derive(Debug, Args)]
pub struct PredictArgs {
    /// Pictures, folders (their pictures, not those of sub-folders, by name), quoted globs, and `-` for a picture on
    /// standard input.
    #[arg(required = true, value_name = "SOURCE")]
    pub sources: Vec<PathBuf>,

    #[command(flatten)]
    pub detector: DetectorArgs,

    #[command(flatten)]
    pub views: ViewArgs,

    /// Least score of a detection.
    #[arg(long, default_value = "0.3", value_parser = fraction)]
    pub score: f32,

    /// Write detections as JSON; `-` is standard output, then without the table.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write each picture's detections as one line of JSON, as they come; `-` is standard output, then without the table.
    #[arg(long, value_name = "FILE")]
    pub jsonl: Option<PathBuf>,

    /// Write annotated pictures into this folder.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    #[command(flatten)]
    pub save: SaveArgs,

    /// Go on with the pictures that arrive in the folders, which are looked at every so many seconds [if given without: 1].
    /// Ctrl-C ends it; what is written at the end (all but --jsonl and --out) is written then.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "1", value_parser = interval)]
    pub watch: Option<f32>,
}

fn interval(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(seconds) if (0.01..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected seconds, from 0.01 to a day".to_owned()),
    }
}
