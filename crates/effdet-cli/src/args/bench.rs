//! The arguments of `effdet bench`.

use std::path::PathBuf;

use clap::Args;

use super::DetectorArgs;

#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(flatten)]
    pub detector: DetectorArgs,

    /// Timed runs of each stage.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    pub runs: u16,

    /// Run the network as the framework's operations, and no kernels of our own, in training steps too.
    #[arg(long)]
    pub composed: bool,

    /// Time training steps too: forward pass, targets, loss and backward pass.
    #[arg(long)]
    pub train: bool,

    /// Float type of the device, for random weights: f32, f16 or bf16.
    #[arg(long, value_name = "TYPE", default_value = "f32", conflicts_with_all = ["weights", "pretrained"])]
    pub float: String,

    /// Write the figures as JSON; `-` is standard output, then without the table.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}
