//! Tasks of this repository: `cargo xtask --help`.

mod device_parity;
mod gradients;
#[cfg(unix)]
mod libtorch;
mod onnx;
mod parity;
mod weights;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Tasks of this repository")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Compare a training step of six detectors with the reference and write docs/gradients.md.
    Gradients {
        /// Folder that `tools/golden/make_gradients.py --full` wrote; without it, summaries are compared.
        #[arg(long)]
        full: Option<PathBuf>,
    },
    /// Write a detector's synthetic weights, pictures and our outputs for them: what `tools/golden/check_onnx.py` compares
    /// exported files with.
    OnnxCase {
        /// Name of the detector.
        model: String,
        /// Folder to write into.
        folder: PathBuf,
    },
    /// Find or set up LibTorch for the feature `tch` and print what to export.
    #[cfg(unix)]
    Libtorch(libtorch::Arguments),
    /// Compare every network with the reference: on the CPU write docs/parity.md, with --device a table for that device.
    Parity {
        /// Folder of shared reference data; by default `EFFDET_SHARED`, else `shared` beside the repository.
        #[arg(long, conflicts_with = "device")]
        shared: Option<PathBuf>,
        /// Folder of the blood cell test pictures as Pillow decodes them (`tools/golden/decode_with_pillow.py`).
        #[arg(long, conflicts_with = "device")]
        png: Option<PathBuf>,
        #[command(flatten)]
        on: device_parity::Arguments,
    },
    /// Fetch published weights: the same as `effdet weights download`.
    DownloadWeights {
        /// Names, --all, --backbones, --dir DIR.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Write WEIGHTS.md from the registry of published weights.
    WeightsPage,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::Gradients { full } => gradients::run(full),
        Task::OnnxCase { model, folder } => onnx::write_case(&model, &folder),
        #[cfg(unix)]
        Task::Libtorch(arguments) => libtorch::run(&arguments),
        Task::Parity { on, shared, png } => match &on.device {
            Some(device) => device_parity::run(&on, device),
            None => parity::run(shared, png),
        },
        Task::DownloadWeights { arguments } => weights::download(&arguments),
        Task::WeightsPage => weights::write_page(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn parity_on_a_device_takes_nothing_that_it_does_not_read() {
        let parse = |rest: &[&str]| Arguments::try_parse_from([&["xtask", "parity"][..], rest].concat());
        assert!(parse(&["--shared", "a", "--png", "b"]).is_ok());
        assert!(parse(&["--device", "wgpu"]).is_ok());
        for ignored in [["--shared", "a"], ["--png", "b"]] {
            let error = parse(&[["--device", "wgpu"], ignored].concat()).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::ArgumentConflict);
        }
    }
}
