//! `effdet val`.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::{Result, bail};
use effdet::Detector;
use effdet::data::{Dataset, DirtKind, DirtReport, Format, LabelFormat, ParseOptions, Pixels, Source};
use effdet::metrics::{Id, Loaded, VocOptions};
use effdet::train::save_predictions;
use effdet::validate::{self, Found, image_id};
use serde::Serialize;

use crate::args::{MergeName, ValArgs};
use crate::logging::{note, tell};
use crate::output::{JsonTarget, printable};
use crate::report::{self, Settings, Subject};
use crate::{detector, overwrite, progress};

/// Some pictures failed.
const FAILED: u8 = 1;

/// Evaluates a detector on a data set.
pub fn run(args: &ValArgs) -> Result<ExitCode> {
    let outputs = [("--json", args.json.as_deref()), ("--detections", args.detections.as_deref())];
    let annotations = (args.annotations.as_deref(), "the file of --annotations");
    overwrite::refuse(&outputs, args.detector.network.files().into_iter().chain([annotations]))?;
    let json = args.json.as_deref().map(|path| JsonTarget::new("--json", path)).transpose()?;
    let results = args.detections.as_deref().map(|path| JsonTarget::new("--detections", path)).transpose()?;
    let to_stdout = [&json, &results].map(|target| matches!(target, Some(JsonTarget::Stdout)));
    if to_stdout == [true; 2] {
        bail!("--json and --detections cannot both be standard output");
    }
    let options = args.views.options(&args.detector, MergeName::Nms)?;
    let detector = detector::load(&args.detector, args.score)?;
    let dataset = read(args, &detector)?;

    let bar = progress::bar(dataset.records.len());
    let progress = |done: usize| bar.set_position(done as u64);
    let found = validate::detect_dataset_with(&detector, &dataset, &options, progress)?;
    bar.finish_and_clear();
    for (path, reason) in &found.failures {
        tell!("error: {}: {}", printable(&path.display().to_string()), printable(reason));
    }
    if let Some(results) = results {
        results.write_if_read(&coco_results(&dataset, &found))?;
    }

    let truth = validate::ground_truth(&dataset)?;
    let loaded = Loaded { truth, detections: validate::detections(&dataset, &found) };
    let voc = VocOptions { inclusive_pixels: has_inclusive_pixels(args), ..VocOptions::default() };
    let settings = Settings { metric: args.metric, iou: None, voc };
    let numbers = report::measure(&loaded, settings, None)?;
    numbers.publish(json.as_ref(), to_stdout == [false; 2])?;
    if let Some(folder) = &args.plots {
        let pictures = vec![save_predictions(folder, &dataset, &found.detections)?];
        let subject = Subject { pictures, ..subject(args, &detector, &dataset)? };
        report::plots(folder, &loaded, &numbers, None, subject)?;
    }
    Ok(if found.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// What the page of the plots says besides the numbers.
fn subject(args: &ValArgs, detector: &Detector, dataset: &Dataset) -> Result<Subject> {
    let config = detector.config();
    let weights = args.detector.network.weights.as_ref().map(|path| path.display().to_string());
    let facts = [
        ("model", config.name.clone()),
        ("weights", weights.unwrap_or_else(|| "published".to_owned())),
        ("input", config.image_size.to_string()),
        ("data", args.data.display().to_string()),
        ("split", args.split.clone().unwrap_or_else(|| "all".to_owned())),
        ("pictures", dataset.records.len().to_string()),
        ("objects", dataset.object_count().to_string()),
        ("least score", args.score.to_string()),
    ];
    Ok(Subject {
        title: format!("Evaluation of {}", config.name),
        facts: facts.map(|(name, value)| (name.to_owned(), value)).into(),
        configuration: Some(serde_json::to_string_pretty(config)?),
        ..Subject::default()
    })
}

/// What the labels' pixel coordinates mean, where it is not what is usual for their format.
fn pixels(args: &ValArgs) -> Option<Pixels> {
    let reference = matches!(args.format, Format::Voc | Format::Pets).then_some(Pixels::Effdet);
    args.pixels.map(Pixels::from).or(reference)
}

/// Whether boxes end at their last pixel and not where it ends, which only those of the reference's convention do.
fn has_inclusive_pixels(args: &ValArgs) -> bool {
    // These state fractions of the picture, and --pixels says nothing of them.
    let in_pixels = !matches!(args.format, Format::Yolo | Format::OpenImages);
    in_pixels && pixels(args) == Some(Pixels::Effdet)
}

/// The data set, with the detector's classes where it names them.
fn read(args: &ValArgs, detector: &Detector) -> Result<Dataset> {
    let mut source = Source::new(&args.data);
    if let Some(split) = &args.split {
        source = source.with_split(split);
    }
    if let Some(annotations) = &args.annotations {
        source = source.with_labels(std::path::absolute(annotations)?);
    }
    let named = has_names(detector);
    let options = ParseOptions {
        pixels: pixels(args),
        classes: named.then(|| detector.class_map().clone()),
        ..ParseOptions::default()
    };
    let parsed = args.format.parse(&source, &options)?;
    report_dirt(&parsed.dirt);
    let dataset = parsed.dataset;
    if dataset.records.is_empty() {
        bail!("{}: no labelled pictures{}", args.data.display(), split_hint(args));
    }
    if named
        && dataset.object_count() == 0
        && let Some(unknown) = parsed.dirt.of(DirtKind::UnknownClass).next()
    {
        bail!(
            "no object{} is of a class that the detector knows ({unknown}); if its classes have other names, say so with \
             --labels",
            split_hint(args)
        );
    }
    let (ours, theirs) = (detector.config().num_classes, dataset.class_map.len());
    if theirs > ours {
        bail!("the data set has class ids up to {theirs}, the detector {ours} classes");
    }
    // Without names COCO's category ids are what a detector's classes are.
    if !named && args.format != Format::Coco {
        note!(
            "warning: the weights do not name their classes, so classes are matched by their order in the data set; \
             name them with --labels"
        );
    }
    Ok(dataset)
}

/// Whether the detector's classes have names of their own, not just numbers.
fn has_names(detector: &Detector) -> bool {
    detector.class_map().iter().any(|(id, name)| name != id.to_string())
}

fn split_hint(args: &ValArgs) -> String {
    args.split.as_ref().map_or_else(String::new, |split| format!(" in the split `{split}`"))
}

fn report_dirt(dirt: &DirtReport) {
    if !dirt.is_clean() {
        note!("{dirt}");
    }
}

/// One line of a COCO results file.
#[derive(Debug, Serialize)]
struct CocoResult {
    image_id: Id,
    category_id: Id,
    bbox: [f32; 4],
    score: f32,
}

fn coco_results(dataset: &Dataset, found: &Found) -> Vec<CocoResult> {
    let sources: BTreeSet<Id> = dataset.class_sources.values().map(image_id).collect();
    // A class that the labels do not have must not go by the id of another that they have.
    let category_id = |class: u32| match dataset.class_sources.get(&class) {
        Some(source) => Some(image_id(source)),
        None => Some(Id::from(class)).filter(|id| !sources.contains(id)),
    };
    let records = dataset.records.iter().zip(&found.detections);
    let detections = records.flat_map(|(record, found)| found.iter().map(move |found| (record, found)));
    detections
        .filter_map(|(record, detection)| {
            let bbox = detection.bbox;
            Some(CocoResult {
                image_id: image_id(&record.id),
                category_id: category_id(detection.class_id)?,
                bbox: [bbox.x1, bbox.y1, bbox.width(), bbox.height()],
                score: detection.score,
            })
        })
        .collect()
}
