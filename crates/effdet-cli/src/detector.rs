//! The detector that the command line describes.

use std::path::Path;

use anyhow::{Result, bail};
use effdet::model::model_specs;
use effdet::prelude::*;
use effdet::weights::{Checkpoint, CheckpointMetadata, WeightsEntry, WeightsStore};
use effdet::{check_image_size, read_labels, weights_url};

use crate::args::{DetectorArgs, NetworkArgs};
use crate::logging::note;
use crate::output::describe;
use crate::progress::Transfers;

pub const DEFAULT_MODEL: &str = "tf_efficientdet_lite0";

/// The detector that the arguments describe, keeping detections from `score` on. Sizes the thread pool first.
pub fn load(args: &DetectorArgs, score: f32) -> Result<Detector> {
    size_thread_pool(args.threads)?;
    let device = effdet::device(&args.device)?;
    let mut detector = load_network(&args.network, decode_config(args, score), &device)?;
    if let Some(threads) = args.threads {
        detector.set_inference(Some(threads.into()));
    }
    Ok(detector)
}

/// Gives the thread pool of this process as many threads, which can be done once.
pub fn size_thread_pool(threads: Option<u16>) -> Result<()> {
    if let Some(threads) = threads {
        rayon::ThreadPoolBuilder::new().num_threads(threads.into()).build_global()?;
    }
    Ok(())
}

/// The detector that the arguments name, which decodes so.
pub fn load_network(args: &NetworkArgs, decode: DecodeConfig, device: &Device) -> Result<Detector> {
    let labels = args.labels.as_deref().map(read_labels).transpose()?;
    if let Some(size) = args.image_size {
        check_image_size(size)?;
    }
    if let Some(name) = &args.backbone {
        EfficientDetConfig::with_backbone_named(name)?;
    }
    // With nothing named, the default detector is meant, and the only weights it can have are the published ones.
    let published = args.backbone.is_none() && (args.pretrained || args.model.is_none());
    if args.weights.is_none() && !published {
        bail!(no_weights(args)?);
    }
    let options = DetectorOptions {
        model: args.model.clone(),
        backbone: args.backbone.clone(),
        num_classes: args.num_classes,
        labels,
        image_size: args.image_size,
        mean: args.mean.map(|mean| mean.0),
        std: args.std.map(|std| std.0),
        decode: Some(decode),
    };
    let detector = match &args.weights {
        Some(weights) => {
            let checkpoint = Checkpoint::open(weights).map_err(effdet::Error::from)?;
            let detector = Detector::from_opened(&checkpoint, &options, device)?;
            if args.mean.is_none() && !is_published(weights) && !says_normalization(&checkpoint) {
                let Preprocess { mean, std, .. } = detector.preprocess();
                note!(
                    "{} does not say how its pictures were normalised: mean {mean:?} and deviation {std:?} are the model's \
                     own; --mean and --std give others",
                    weights.display()
                );
            }
            detector
        }
        None => {
            let name = args.model.as_deref().unwrap_or(DEFAULT_MODEL);
            let Ok(entry) = WeightsEntry::named(name) else { bail!(no_weights(args)?) };
            let mut shown = Transfers::new(name);
            let store = WeightsStore::from_env()?;
            let loaded =
                Detector::from_pretrained_in(&store, name, &options, device, &mut |event| shown.show(&event));
            match (loaded, by_hand(name)) {
                (Err(error), Ok(Some((_, advice)))) if matches!(store.locate(entry), Ok(None)) => {
                    bail!("{}\n{advice}", describe(&error.into()))
                }
                (loaded, _) => loaded?,
            }
        }
    };
    if let Some(report) = detector.load_report()
        && let [first, ..] = report.non_finite.as_slice()
    {
        let (path, count, name) = (report.path.display(), report.non_finite.len(), &first.name);
        note!("warning: {path}: {count} tensors hold NaN or infinity, the first is {name}");
    }
    Ok(detector)
}

/// Whether the file has the name of published weights, whose normalisation is their model's.
fn is_published(weights: &Path) -> bool {
    let name = weights.file_name().and_then(|name| name.to_str());
    model_specs().iter().any(|spec| spec.weights.is_some() && spec.weights == name)
}

fn says_normalization(checkpoint: &Checkpoint) -> bool {
    CheckpointMetadata::from_checkpoint(checkpoint).is_ok_and(|metadata| metadata.mean.is_some())
}

/// How outputs become detections from `score` on.
pub fn decode_config(args: &DetectorArgs, score: f32) -> DecodeConfig {
    let defaults = NmsConfig::default();
    let nms = if args.soft_nms {
        // The score asked for is that of the result, which soft suppression lowers.
        let score_threshold = score.max(defaults.score_threshold);
        NmsConfig { method: NmsMethod::SoftGaussian { sigma: 0.5 }, score_threshold, ..defaults }
    } else {
        NmsConfig { iou_threshold: args.iou, ..defaults }
    };
    DecodeConfig {
        score_threshold: score,
        max_detections: args.max_detections,
        nms,
        ..DecodeConfig::default()
    }
}

/// What to type, where no weights were given.
fn no_weights(args: &NetworkArgs) -> Result<String> {
    if args.backbone.is_some() {
        return Ok(
            "no detector weights are published for a backbone alone: name a file with --weights".into()
        );
    }
    let name = args.model.as_deref().unwrap_or(DEFAULT_MODEL);
    Ok(match by_hand(name)? {
        None => format!("no weights are published for `{name}`: name a file with --weights"),
        Some((url, advice)) => format!(
            "no weights are given: use the published ones of `{name}` with --pretrained, which fetches them from\n  \
             {url}\n{advice}"
        ),
    })
}

/// Where the published weights of a detector are, and what to type with a file fetched from there.
fn by_hand(name: &str) -> Result<Option<(String, String)>> {
    let name = EfficientDetConfig::described_by(name)?.name;
    let spec = model_specs().iter().find(|spec| spec.name == name);
    Ok(spec.and_then(|spec| spec.weights.zip(weights_url(spec))).map(|(file, url)| {
        let advice =
            format!("a file fetched by hand goes with --model {name} --weights {file}; it is at\n  {url}");
        (url, advice)
    }))
}
