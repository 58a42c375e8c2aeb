//! The arguments of `effdet train`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};
use effdet::data::Format;
use effdet::prelude::ImageSize;

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("start").args(["weights", "pretrained", "scratch"]))]
pub struct TrainArgs {
    /// Folder of the data set.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// Format of its labels: coco, voc, pets, via, open-images, yolo, csv.
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<Format>,

    /// The official split to train on [default: everything that does not validate].
    #[arg(long, value_name = "NAME")]
    pub train_split: Option<String>,

    /// The official split to validate on [default: a fifth of the training pictures, which then do not train].
    #[arg(long, value_name = "NAME")]
    pub val_split: Option<String>,

    /// Name of the detector, see `effdet models`, or `efficientdet-` and a backbone [default: what the weights say].
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,

    /// Checkpoint to start from; what does not fit (other classes) is drawn.
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,

    /// Start from the published weights.
    #[arg(long)]
    pub pretrained: bool,

    /// Start from random weights.
    #[arg(long)]
    pub scratch: bool,

    /// What the settings start from [default: fine-tune, reference with --scratch].
    #[arg(long, value_enum)]
    pub recipe: Option<RecipeName>,

    /// Passes over the training pictures.
    #[arg(long, value_name = "N")]
    pub epochs: Option<u32>,

    /// Pictures of a batch, on each device.
    #[arg(long, value_name = "N")]
    pub batch_size: Option<u32>,

    /// Learning rate.
    #[arg(long, value_name = "X")]
    pub lr: Option<f64>,

    /// Size of the network's input: a side, or height x width such as 192x256 [default: the model's].
    #[arg(long, value_name = "N|HxW")]
    pub image_size: Option<ImageSize>,

    /// Any setting of config.toml, such as `clip.limit=5` or `ema=none`.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// Settings as TOML, such as another run's config.toml. Options go before it, --set before all.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Folder of the run [default: runs/train, or with a number after it].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Go on with the run in --out; it starts from the beginning if there is no checkpoint yet.
    #[arg(long, requires = "out")]
    pub resume: bool,

    /// Where to compute: cpu, cuda:0, tch, wgpu; all but cpu must be compiled in. Several, as cuda:0,cuda:1 or cpu,cpu,
    /// train together, each on a batch of its own.
    #[arg(long, default_value = "cpu", value_delimiter = ',', value_name = "DEVICE")]
    pub device: Vec<String>,

    /// Seed of weights, order and transforms.
    #[arg(long, value_name = "N")]
    pub seed: Option<u32>,

    /// Number of processor threads [default: all cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
}

/// What the settings of a run start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RecipeName {
    /// The heads alone for an epoch, then everything, with lower rates towards the picture.
    FineTune,
    /// One cycle over everything.
    OneCycle,
    /// AdamW with warm-up and cosine, averaged weights: for training from random weights.
    Reference,
}
