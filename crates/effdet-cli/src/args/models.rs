//! The arguments of `effdet models` and `effdet info`.

use clap::{ArgGroup, Args};
use effdet::prelude::ImageSize;

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
