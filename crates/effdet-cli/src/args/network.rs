//! Which detector, and how it runs.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use effdet::prelude::ImageSize;

use super::fraction;

/// Which detector.
#[derive(Debug, Args)]
pub struct NetworkArgs {
    /// Name of the detector, see `effdet models` [default: what the weights say, else tf_efficientdet_lite0, pretrained].
    #[arg(long, value_name = "NAME", conflicts_with = "backbone")]
    pub model: Option<String>,

    /// Name of a backbone, for a detector that is D0 in all else.
    #[arg(long, value_name = "NAME")]
    pub backbone: Option<String>,

    /// Checkpoint: .safetensors, .pth, a training dictionary or .h5 of the official implementation.
    #[arg(long, value_name = "FILE", conflicts_with = "pretrained")]
    pub weights: Option<PathBuf>,

    /// Use the published weights, fetched if they are not on this machine yet.
    #[arg(long)]
    pub pretrained: bool,

    /// Number of classes [default: what the weights say].
    #[arg(long, value_name = "N", conflicts_with = "labels")]
    pub num_classes: Option<usize>,

    /// Class names, one per line in the order of the ids.
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,

    /// Size of the network's input: a side, or height x width such as 192x256 [default: what the weights say, else the
    /// model's].
    #[arg(long, value_name = "N|HxW")]
    pub image_size: Option<ImageSize>,

    /// Mean of the channels, where samples run from 0 to 1.
    #[arg(long, value_name = "R,G,B")]
    pub mean: Option<Channels>,

    /// Standard deviation of the channels, where samples run from 0 to 1.
    #[arg(long, value_name = "R,G,B", value_parser = deviation)]
    pub std: Option<Channels>,
}

impl NetworkArgs {
    /// The files that are read, with what they are.
    pub fn files(&self) -> [(Option<&Path>, &str); 2] {
        [(self.weights.as_deref(), "the file of --weights"), (self.labels.as_deref(), "the file of --labels")]
    }
}

/// Which detector, and how it runs.
#[derive(Debug, Args)]
pub struct DetectorArgs {
    #[command(flatten)]
    pub network: NetworkArgs,

    /// Overlap (IoU) above which the weaker of two boxes of a class is dropped; with --soft-nms of effect on `--merge nms`
    /// alone, where there are slices.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_three_finite_numbers() {
        assert_eq!("0.5, 0.4,1".parse::<Channels>().unwrap().0, [0.5, 0.4, 1.0]);
        for bad in ["", "0.5", "1,2,3,4", "a,b,c", "1,,2", "nan,0,0", "inf,0,0"] {
            assert!(bad.parse::<Channels>().is_err(), "{bad}");
        }
        assert!(deviation("0.5,0,0.5").unwrap_err().contains("0 is not above 0"));
    }
}
