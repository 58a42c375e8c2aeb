//! The arguments of `effdet weights`.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

/// What to do with weights.
///
/// Folders and servers: EFFDET_CACHE, EFFDET_MIRROR (in place of https://github.com), EFFDET_OFFLINE=1; HF_HOME,
/// HF_ENDPOINT, HF_TOKEN; HTTPS_PROXY; SSL_CERT_FILE (certificates to trust, PEM).
#[derive(Debug, Subcommand)]
pub enum WeightsCommand {
    /// List the published weights.
    List {
        /// Those of backbones, too.
        #[arg(long)]
        backbones: bool,
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Fetch published weights and check their hash.
    Download {
        /// Detectors, or backbones with or without a timm tag.
        #[arg(required_unless_present_any = ["all", "backbones"], value_name = "NAME")]
        names: Vec<String>,
        /// All detectors.
        #[arg(long)]
        all: bool,
        /// The default weights of all backbones.
        #[arg(long)]
        backbones: bool,
        /// Folder for the files, in place of the caches.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Print where the file of published weights is.
    ///
    /// Exit status: 1 if it is not on this machine.
    Path {
        /// The weights.
        name: String,
        /// Folder of the files, in place of the caches.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Compare files on this machine with their hashes.
    ///
    /// Exit status: 1 if one is not as it should be.
    Verify {
        /// The weights [default: all that are on this machine].
        #[arg(value_name = "NAME")]
        names: Vec<String>,
        /// Folder of the files, in place of the caches.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Write a checkpoint in another format: .safetensors, or .bpk, which is Burn's own.
    Convert {
        /// Checkpoint: .safetensors, .pth, a training dictionary or .h5 of the official implementation.
        input: PathBuf,
        /// File to write; its extension says the format.
        output: PathBuf,
        /// Type of the values [default: as in the file].
        #[arg(long, value_enum)]
        dtype: Option<FloatType>,
        /// Take the averaged weights of a training dictionary.
        #[arg(long)]
        ema: bool,
        /// Name of the model, so that the result describes itself [default: what the file or its name says].
        #[arg(long, value_name = "NAME")]
        model: Option<String>,
    },
    /// Write the mean of several checkpoints of one network.
    Average {
        /// The checkpoints.
        #[arg(required = true, num_args = 2.., value_name = "FILE")]
        inputs: Vec<PathBuf>,
        /// File to write, .safetensors.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Take the averaged weights of training dictionaries.
        #[arg(long)]
        ema: bool,
    },
    /// Show what a checkpoint holds.
    Inspect {
        /// The checkpoint.
        file: PathBuf,
        /// Every tensor with its type and shape.
        #[arg(long)]
        tensors: bool,
    },
    /// Delete the files of published weights.
    Rm {
        /// The weights.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// Folder of the files, in place of the caches.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// A type of floating-point values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FloatType {
    /// Half precision.
    F16,
    /// The upper half of single precision.
    Bf16,
    /// Single precision.
    F32,
}
