//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{ArgAction, ArgGroup, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use effdet::data::{Format, Pixels, Source};
use effdet::export::{BatchSize, OnnxOptions};
use effdet::prelude::ImageSize;

mod examples;
mod save;
mod video;
mod views;

pub use save::SaveArgs;
pub use video::VideoArgs;
pub use views::{MergeName, ViewArgs};

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

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    pub shell: Shell,
}

#[derive(Debug, Args)]
pub struct PredictArgs {
    /// Pictures, folders (their pictures, not those of sub-folders, by name) and quoted globs.
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

/// Limits of the server; those of a request are told in its refusal.
#[cfg(feature = "serve")]
#[derive(Debug, Args)]
#[command(mut_arg("batch", |batch| batch.default_value("8")))]
pub struct ServeArgs {
    #[command(flatten)]
    pub detector: DetectorArgs,

    /// Least score of a detection, where a request names none.
    #[arg(long, default_value = "0.3", value_parser = fraction)]
    pub score: f32,

    /// Address and port to listen on; 0.0.0.0:8080 is every address of this machine, port 0 one that is free.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: String,

    /// How long a picture waits for others to go through the network with, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 2)]
    pub batch_wait: u16,

    /// Requests that may wait for the network; further ones get 503.
    #[arg(long, value_name = "N", default_value = "64", value_parser = clap::value_parser!(u16).range(1..))]
    pub queue: u16,

    /// Largest body in MiB; a longer one gets 413.
    #[arg(long, value_name = "MIB", default_value = "20", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub max_body: u16,

    /// Largest picture in pixels; a larger one gets 413.
    #[arg(long, value_name = "N", default_value = "50000000", value_parser = clap::value_parser!(u32).range(1..1 << 31))]
    pub max_pixels: u32,

    /// How long a body may take to arrive, and then its answer to be found, in seconds.
    #[arg(long, value_name = "S", default_value = "30", value_parser = clap::value_parser!(u16).range(1..))]
    pub timeout: u16,

    /// Open connections; further ones wait until one ends.
    #[arg(long, value_name = "N", default_value = "1024", value_parser = clap::value_parser!(u16).range(1..))]
    pub max_connections: u16,
}

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

#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    pub network: NetworkArgs,

    /// File to write.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,

    /// End in detections (boxes, scores, classes) instead of class logits and box codes.
    #[arg(long)]
    pub nms: bool,

    /// Version of ONNX's operator set, 14 to 23.
    #[arg(long, value_name = "N", default_value_t = OnnxOptions::default().opset)]
    pub opset: u32,

    /// Pictures that the file takes at a time: a number, or `dynamic` for any.
    #[arg(long, value_name = "N|dynamic", default_value = "1")]
    pub batch: BatchSize,

    /// Take pictures of any size; --image-size is then the one that the metadata names. Not with --nms.
    #[arg(long, conflicts_with = "nms")]
    pub dynamic_size: bool,

    /// With --nms: least score of a detection.
    #[arg(long, default_value = "0.001", value_parser = fraction)]
    pub score: f32,

    /// With --nms: overlap (IoU) above which the weaker of two boxes of a class is dropped.
    #[arg(long, default_value = "0.5", value_parser = fraction)]
    pub iou: f32,

    /// With --nms: most detections per picture.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub max_detections: usize,
}

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

#[derive(Debug, Args)]
pub struct EvaluateArgs {
    /// The labels.
    pub ground_truth: PathBuf,

    /// The detections.
    pub detections: PathBuf,

    /// Format of both.
    #[arg(long, value_enum, default_value_t = Metric::Coco)]
    pub format: Metric,

    /// IoU from which a detection counts as found [default: 0.5 to 0.95 by 0.05 for coco, else 0.5].
    #[arg(long, value_name = "IOU", value_parser = fraction)]
    pub iou: Option<f32>,

    /// Write the numbers as JSON; `-` is standard output, then without the table.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write precision-recall and F1 curves and the confusion matrix into this folder.
    #[arg(long, value_name = "DIR")]
    pub plots: Option<PathBuf>,

    /// voc: class names in the order of the ids [default: those of the labels, by name].
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,

    /// voc: the 11-point average precision of VOC 2007.
    #[arg(long)]
    pub eleven_point: bool,

    /// voc: count difficult objects as ordinary ones.
    #[arg(long)]
    pub use_difficult: bool,

    /// openimages: JSON of the label hierarchy, by which boxes also get the labels of all ancestors.
    #[arg(long, value_name = "FILE")]
    pub hierarchy: Option<PathBuf>,

    /// openimages: CSV of labels and their names.
    #[arg(long, value_name = "FILE")]
    pub class_names: Option<PathBuf>,

    /// openimages: CSV of verified image-level labels; the metric is then that of the Challenge, which counts groups.
    #[arg(long, value_name = "FILE")]
    pub image_labels: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ValArgs {
    /// Folder of the data set.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,

    /// Format of its labels: coco, voc, pets, via, open-images, yolo, csv.
    #[arg(long, value_name = "FORMAT")]
    pub format: Format,

    /// The official split to use [default: everything].
    #[arg(long, value_name = "NAME")]
    pub split: Option<String>,

    /// The label file, where it is not in the format's usual place.
    #[arg(long, value_name = "FILE")]
    pub annotations: Option<PathBuf>,

    /// What pixel coordinates mean [default: as the reference reads them, all minus 1 for voc and pets].
    #[arg(long, value_enum)]
    pub pixels: Option<PixelConvention>,

    #[command(flatten)]
    pub detector: DetectorArgs,

    #[command(flatten)]
    pub views: ViewArgs,

    /// Least score of a detection.
    #[arg(long, default_value = "0.001", value_parser = fraction)]
    pub score: f32,

    /// How detections are measured.
    #[arg(long, value_enum, default_value_t = Metric::Coco)]
    pub metric: Metric,

    /// Write the numbers as JSON; `-` is standard output, then without the table.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write the detections as a results JSON that COCO's server takes.
    #[arg(long, value_name = "FILE")]
    pub detections: Option<PathBuf>,

    /// Write precision-recall and F1 curves and the confusion matrix into this folder.
    #[arg(long, value_name = "DIR")]
    pub plots: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct DatasetArgs {
    /// Folder of the data set.
    #[arg(value_name = "DIR")]
    pub data: PathBuf,

    /// Format of its labels: coco, voc, pets, via, open-images, yolo, csv.
    #[arg(long, value_name = "FORMAT")]
    pub format: Format,

    /// The official split to look at [default: everything].
    #[arg(long, value_name = "NAME")]
    pub split: Option<String>,

    /// The label file, where it is not in the format's usual place.
    #[arg(long, value_name = "FILE")]
    pub annotations: Option<PathBuf>,

    /// Folder of the pictures, where it is not in the format's usual place.
    #[arg(long, value_name = "DIR")]
    pub pictures: Option<PathBuf>,

    /// What pixel coordinates mean [default: as the format says].
    #[arg(long, value_enum)]
    pub pixels: Option<PixelConvention>,

    /// The classes to look at, one per line in the order of the ids [default: those of the labels].
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,

    /// The detector whose anchors are compared with the boxes.
    #[arg(long, value_name = "NAME", default_value = "tf_efficientdet_d0")]
    pub model: String,

    /// Size of its input: a side, or height x width [default: the model's].
    #[arg(long, value_name = "N|HxW")]
    pub image_size: Option<ImageSize>,

    /// Write everything as JSON; `-` is standard output, then without the text.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write a page of plots, index.html, into this folder.
    #[arg(long, value_name = "DIR")]
    pub plots: Option<PathBuf>,

    /// Draw this many pictures with their boxes.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub show: usize,

    /// Folder of the drawn pictures [default: `pictures` in that of --plots, else effdet-dataset].
    #[arg(long, value_name = "DIR", requires = "show")]
    pub out: Option<PathBuf>,
}

impl DatasetArgs {
    /// Where the data set is.
    pub fn source(&self) -> std::io::Result<Source> {
        let mut source = Source::new(&self.data);
        source.split.clone_from(&self.split);
        source.labels = self.annotations.as_ref().map(std::path::absolute).transpose()?;
        source.pictures = self.pictures.as_ref().map(std::path::absolute).transpose()?;
        Ok(source)
    }
}

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

/// A way to measure detections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Metric {
    /// The 12 numbers of COCO.
    Coco,
    /// Average precision of Pascal VOC.
    Voc,
    /// Average precision of Open Images.
    #[value(alias = "open-images")]
    Openimages,
}

/// What pixel coordinates mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PixelConvention {
    /// Positions on the picture plane.
    Continuous,
    /// Pixels counted from 1, both corners inside the box.
    OneBased,
    /// Pixels counted from 1, all made 1 less, as the reference reads them.
    Reference,
}

impl From<PixelConvention> for Pixels {
    fn from(convention: PixelConvention) -> Self {
        match convention {
            PixelConvention::Continuous => Self::Continuous,
            PixelConvention::OneBased => Self::OneBased,
            PixelConvention::Reference => Self::Effdet,
        }
    }
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

fn interval(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(seconds) if (0.01..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected seconds, from 0.01 to a day".to_owned()),
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
mod tests;
