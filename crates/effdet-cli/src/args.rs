//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{ArgGroup, Args, Parser, Subcommand};
use effdet::prelude::ImageSize;

/// EfficientDet object detection.
#[derive(Debug, Parser)]
#[command(name = "effdet", version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Detect objects in pictures.
    ///
    /// Exit status: 0 all well, 1 some pictures failed, 2 wrong usage or unusable weights.
    Predict(PredictArgs),
    /// List the 47 detectors.
    Models(ModelsArgs),
    /// Show a network's parts, parameters and multiply-adds.
    Info(InfoArgs),
}

#[derive(Debug, Args)]
pub struct PredictArgs {
    /// Pictures, folders (their pictures, not those of sub-folders, by name) and quoted globs.
    #[arg(required = true, value_name = "SOURCE")]
    pub sources: Vec<PathBuf>,

    /// Name of the detector, see `effdet models` [default: what the weights say, else tf_efficientdet_lite0].
    #[arg(long, value_name = "NAME", conflicts_with = "backbone")]
    pub model: Option<String>,

    /// Name of a backbone, for a detector that is D0 in all else.
    #[arg(long, value_name = "NAME")]
    pub backbone: Option<String>,

    /// Checkpoint: .safetensors, .pth or a training dictionary.
    #[arg(long, value_name = "FILE", conflicts_with = "pretrained")]
    pub weights: Option<PathBuf>,

    /// Use the published weights.
    #[arg(long)]
    pub pretrained: bool,

    /// Number of classes [default: what the weights say].
    #[arg(long, value_name = "N", conflicts_with = "labels")]
    pub num_classes: Option<usize>,

    /// Class names, one per line in the order of the ids.
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,

    /// Size of the network's input: a side, or height x width such as 192x256.
    #[arg(long, value_name = "N|HxW")]
    pub image_size: Option<ImageSize>,

    /// Mean of the channels, where samples run from 0 to 1.
    #[arg(long, value_name = "R,G,B")]
    pub mean: Option<Channels>,

    /// Standard deviation of the channels, where samples run from 0 to 1.
    #[arg(long, value_name = "R,G,B", value_parser = deviation)]
    pub std: Option<Channels>,

    /// Least score of a detection.
    #[arg(long, default_value = "0.3", value_parser = fraction)]
    pub score: f32,

    /// Overlap (IoU) above which the weaker of two boxes of a class is dropped; of no effect with --soft-nms.
    #[arg(long, default_value = "0.5", value_parser = fraction)]
    pub iou: f32,

    /// Most detections per picture.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub max_detections: usize,

    /// Lower the scores of overlapping boxes (Gaussian, sigma 0.5) instead of dropping them.
    #[arg(long)]
    pub soft_nms: bool,

    /// Pictures that go through the network together.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..))]
    pub batch: u16,

    /// Where to compute: cpu, cuda:0, tch, wgpu; all but cpu must be compiled in.
    #[arg(long, default_value = "cpu")]
    pub device: String,

    /// Number of processor threads [default: all cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,

    /// Write detections as JSON; `-` is standard output, then without the table.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write annotated pictures into this folder.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ModelsArgs {
    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("network").required(true).args(["model", "backbone"]))]
pub struct InfoArgs {
    /// Name of a detector.
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,

    /// Name of a backbone, shown alone.
    #[arg(long, value_name = "NAME")]
    pub backbone: Option<String>,

    /// Size of the input: a side, or height x width [default: the model's, 224 for a backbone].
    #[arg(long, value_name = "N|HxW")]
    pub image_size: Option<ImageSize>,

    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Three numbers for red, green and blue.
#[derive(Clone, Copy, Debug)]
pub struct Channels(pub [f32; 3]);

impl FromStr for Channels {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = |part: &str| part.trim().parse::<f32>().ok().filter(|value| value.is_finite());
        let values: Option<Vec<f32>> = text.split(',').map(parse).collect();
        let values = values.and_then(|values| values.try_into().ok());
        values.map(Self).ok_or_else(|| "expected three numbers such as 0.485,0.456,0.406".to_owned())
    }
}

fn deviation(text: &str) -> Result<Channels, String> {
    let channels: Channels = text.parse()?;
    match channels.0.iter().find(|value| **value <= 0.0) {
        Some(value) => Err(format!("{value} is not above 0")),
        None => Ok(channels),
    }
}

fn fraction(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("expected a number from 0 to 1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn channels_are_three_finite_numbers() {
        assert_eq!("0.5, 0.4,1".parse::<Channels>().unwrap().0, [0.5, 0.4, 1.0]);
        for bad in ["", "0.5", "1,2,3,4", "a,b,c", "1,,2", "nan,0,0", "inf,0,0"] {
            assert!(bad.parse::<Channels>().is_err(), "{bad}");
        }
        assert!(deviation("0.5,0,0.5").unwrap_err().contains("0 is not above 0"));
    }
}
