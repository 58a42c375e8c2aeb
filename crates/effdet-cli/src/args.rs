//! The command line.

use clap::{ArgAction, Args, Parser, Subcommand};
use clap_complete::Shell;

mod bench;
mod dataset;
mod demo;
mod evaluate;
mod examples;
mod export;
mod models;
mod network;
mod predict;
mod save;
#[cfg(feature = "serve")]
mod serve;
mod train;
mod val;
mod video;
mod views;
mod weights;

pub use bench::BenchArgs;
pub use dataset::{DatasetArgs, PixelConvention};
pub use demo::DemoArgs;
pub use evaluate::{EvaluateArgs, Metric};
pub use export::ExportArgs;
pub use models::{InfoArgs, ModelsArgs};
pub use network::{DetectorArgs, NetworkArgs};
pub use predict::PredictArgs;
pub use save::SaveArgs;
#[cfg(feature = "serve")]
pub use serve::ServeArgs;
pub use train::{RecipeName, TrainArgs};
pub use val::ValArgs;
pub use video::VideoArgs;
pub use views::{MergeName, ViewArgs};
pub use weights::{FloatType, WeightsCommand};

/// EfficientDet object detection.
///
/// NO_COLOR=1 switches colours off; EFFDET_LOG=LEVEL, such as `debug` or `effdet=trace`, shows logs.
#[derive(Debug, Parser)]
#[command(name = "effdet", version, after_help = examples::EFFDET)]
pub struct Cli {
    /// Nothing on standard error but errors: no progress, no notes.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Logs on standard error: -v what happens, -vv in detail, -vvv everything.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Detect objects in pictures.
    ///
    /// Exit status: 0 all well, 1 some pictures failed, 2 wrong usage or unusable weights.
    #[command(after_help = examples::PREDICT)]
    Predict(PredictArgs),
    /// Detect objects in a video or in front of a camera, by the ffmpeg command.
    ///
    /// Ctrl-C ends the video properly. Exit status: 0 all well, 1 the video ends early or is damaged, 2 wrong usage,
    /// unusable weights or no video, 130 interrupted (a camera: 0).
    #[command(after_help = examples::VIDEO)]
    Video(VideoArgs),
    /// Detect objects in pictures that are sent over HTTP.
    ///
    /// POST /v1/detect takes a picture and answers with its objects, as JSON or drawn; / is a page to try it on; /healthz,
    /// /readyz and /metrics are for machines. EFFDET_LOG sets what is logged, such as `warn` or `debug`. SIGINT (Ctrl-C) and
    /// SIGTERM stop it once it has answered every request it accepted; a second one ends it at once. Exit status: 0
    /// stopped, 2 wrong usage or unusable weights, 130 ended at once.
    #[cfg(feature = "serve")]
    #[command(after_help = examples::SERVE)]
    Serve(ServeArgs),
    /// Render pictures, detect on them, fine-tune for two minutes, evaluate: everything at once, with nothing to download.
    ///
    /// A detector in the binary knows six shapes. The demo renders a data set with three more, shows what the detector
    /// finds at once, fine-tunes it, and leaves a report, annotated pictures, the data set and the weights in a folder.
    /// Exit status: 0 all well, 2 wrong usage or a failed run, 130 interrupted.
    #[command(after_help = examples::DEMO)]
    Demo(DemoArgs),
    /// List the 47 detectors.
    #[command(after_help = examples::MODELS)]
    Models(ModelsArgs),
    /// Show a network's parts, parameters and multiply-adds.
    #[command(after_help = examples::INFO)]
    Info(InfoArgs),
    /// Evaluate detections in files against labels in files, without a neural network.
    ///
    /// coco: an instances JSON and a results JSON. voc: a folder of XML (or a VOC folder, or a split file) and a results
    /// JSON or a folder with one text file per class. openimages: the two CSV files.
    #[command(after_help = examples::EVALUATE)]
    Evaluate(EvaluateArgs),
    /// Run a detector over a labelled data set and evaluate what it finds.
    ///
    /// Exit status: 0 all well, 1 some pictures failed, 2 wrong usage or unusable weights or labels.
    #[command(after_help = examples::VAL)]
    Val(ValArgs),
    /// Train a detector on a labelled data set.
    ///
    /// Ctrl-C writes a checkpoint and ends; with --resume the run goes on as if it had not stopped. Exit status: 0 all
    /// well, 2 wrong usage, unusable data or a failed run, 130 interrupted.
    #[command(after_help = examples::TRAIN)]
    Train(TrainArgs),
    /// Write a detector as an ONNX file, with its class names and preprocessing in the metadata.
    ///
    /// Exit status: 0 all well, 2 wrong usage, unusable weights or a file that cannot be written.
    #[command(after_help = examples::EXPORT)]
    Export(ExportArgs),
    /// Time the stages of detection on made-up pictures; weights do not matter for it.
    #[command(after_help = examples::BENCH)]
    Bench(BenchArgs),
    /// Show what is in a labelled data set: counts, sizes, dirt, and how well a detector's anchors fit.
    ///
    /// Exit status: 0 all well, 1 some pictures of --show failed, 2 wrong usage or unusable labels.
    #[command(after_help = examples::DATASET)]
    Dataset(DatasetArgs),
    /// Fetch, list, check and convert weights.
    #[command(subcommand, after_help = examples::WEIGHTS)]
    Weights(WeightsCommand),
    /// Print the completion script of a shell.
    #[command(after_help = examples::COMPLETIONS)]
    Completions(CompletionsArgs),
}

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    pub shell: Shell,
}

fn fraction(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("expected a number from 0 to 1".to_owned()),
    }
}

#[cfg(test)]
mod tests;
