//! The arguments of `effdet demo`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Folder for everything, new or empty [default: effdet-demo, or with a number after it].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Seed of pictures and training; the detector in the binary was trained on those of seed 2000.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u32,

    /// Time to fine-tune for; the number of epochs follows from the speed of the first steps.
    #[arg(long, value_name = "SECONDS", default_value_t = 120, conflicts_with = "epochs")]
    pub seconds: u32,

    /// Epochs to fine-tune for, however long they take: the same number gives the same weights again.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub epochs: Option<u32>,

    /// A few pictures and steps, to see that it works.
    #[arg(long, conflicts_with_all = ["seconds", "data_only"])]
    pub quick: bool,

    /// Render the data set and end.
    #[arg(long)]
    pub data_only: bool,

    /// Pictures to train on [default: 1440].
    #[arg(long, value_name = "N")]
    pub train_pictures: Option<usize>,

    /// Pictures to validate on [default: 60].
    #[arg(long, value_name = "N")]
    pub val_pictures: Option<usize>,

    /// Classes of the data set, the first six of which the detector knows.
    #[arg(long, value_name = "N", default_value_t = 9, requires = "data_only", value_parser = clap::value_parser!(u8).range(1..=9))]
    pub classes: u8,

    /// Number of processor threads [default: all cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
}
