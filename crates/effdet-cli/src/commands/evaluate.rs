//! `effdet evaluate`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use effdet::metrics::{Interpolation, OpenImagesFiles, VocOptions, load_coco, load_openimages, load_voc};
use effdet::read_labels;

use crate::args::{EvaluateArgs, Metric};
use crate::output::JsonTarget;
use crate::overwrite;
use crate::report::{self, Settings, Subject};

/// Evaluates files against files.
pub fn run(args: &EvaluateArgs) -> Result<ExitCode> {
    refuse_options_of_other_formats(args)?;
    overwrite::refuse(&[("--json", args.json.as_deref())], files(args))?;
    let json = args.json.as_deref().map(|path| JsonTarget::new("--json", path)).transpose()?;
    let mut verified = None;
    let loaded = match args.format {
        Metric::Coco => load_coco(&args.ground_truth, &args.detections)?,
        Metric::Voc => {
            let classes = args.labels.as_deref().map(read_labels).transpose()?;
            load_voc(&args.ground_truth, &args.detections, classes.as_ref())?
        }
        Metric::Openimages => {
            let files = OpenImagesFiles {
                classes: args.class_names.clone(),
                hierarchy: args.hierarchy.clone(),
                image_labels: args.image_labels.clone(),
            };
            let (loaded, labels) = load_openimages(&args.ground_truth, &args.detections, &files)?;
            verified = labels;
            loaded
        }
    };
    let interpolation = if args.eleven_point { Interpolation::ElevenPoint } else { Interpolation::AllPoint };
    let voc = VocOptions { interpolation, use_difficult: args.use_difficult, ..VocOptions::default() };
    let settings = Settings { metric: args.format, iou: args.iou, voc };
    let numbers = report::measure(&loaded, settings, verified.as_ref())?;
    numbers.publish(json.as_ref(), !matches!(json, Some(JsonTarget::Stdout)))?;
    if let Some(folder) = &args.plots {
        let facts = [("labels", &args.ground_truth), ("detections", &args.detections)];
        let subject = Subject {
            title: "Evaluation".to_owned(),
            facts: facts.map(|(name, path)| (name.to_owned(), path.display().to_string())).into(),
            ..Subject::default()
        };
        report::plots(folder, &loaded, &numbers, args.iou, subject)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is read.
fn files(args: &EvaluateArgs) -> [(Option<&Path>, &str); 6] {
    [
        (Some(&args.ground_truth), "the labels"),
        (Some(&args.detections), "the detections"),
        (args.labels.as_deref(), "the file of --labels"),
        (args.hierarchy.as_deref(), "the file of --hierarchy"),
        (args.class_names.as_deref(), "the file of --class-names"),
        (args.image_labels.as_deref(), "the file of --image-labels"),
    ]
}

fn refuse_options_of_other_formats(args: &EvaluateArgs) -> Result<()> {
    let voc = [
        ("--labels", args.labels.is_some()),
        ("--eleven-point", args.eleven_point),
        ("--use-difficult", args.use_difficult),
    ];
    let openimages = [
        ("--hierarchy", args.hierarchy.is_some()),
        ("--class-names", args.class_names.is_some()),
        ("--image-labels", args.image_labels.is_some()),
    ];
    let formats = [(Metric::Voc, "voc", voc), (Metric::Openimages, "openimages", openimages)];
    for (_, name, options) in formats.into_iter().filter(|(format, ..)| *format != args.format) {
        if let Some((option, _)) = options.into_iter().find(|(_, is_given)| *is_given) {
            bail!("{option} is only for --format {name}");
        }
    }
    Ok(())
}
