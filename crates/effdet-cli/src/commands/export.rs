//! `effdet export`.

use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use effdet::export::OnnxOptions;

use crate::args::{DetectorArgs, ExportArgs};
use crate::detector;

/// Writes the detector and says what the file takes and gives.
pub fn run(args: &ExportArgs) -> Result<ExitCode> {
    let options =
        OnnxOptions { opset: args.opset, batch: args.batch, dynamic_size: args.dynamic_size, nms: args.nms };
    if args.out.is_dir() {
        bail!("--out {}: this is a folder", args.out.display());
    }
    let detector = detector::load(&detector_args(args), args.score)?;
    // Before a large network is recorded.
    options.validate(&detector.config().decode)?;
    let file = detector.to_onnx(&options)?;
    file.save(&args.out)?;

    let path = args.out.display();
    let bytes = fs::metadata(&args.out).with_context(|| format!("cannot read {path}"))?.len();
    let mut to = io::stdout().lock();
    writeln!(to, "{} as {path}, {:.1} MB", detector.config().name, bytes as f64 / 1e6)?;
    writeln!(to, "  inputs   {}", file.inputs().join(", "))?;
    writeln!(to, "  outputs  {}", file.outputs().join(", "))?;
    Ok(ExitCode::SUCCESS)
}

/// The detector on the processor, with the suppression that ONNX has.
fn detector_args(args: &ExportArgs) -> DetectorArgs {
    DetectorArgs {
        model: args.model.clone(),
        backbone: args.backbone.clone(),
        weights: args.weights.clone(),
        pretrained: args.pretrained,
        num_classes: args.num_classes,
        labels: args.labels.clone(),
        image_size: args.image_size,
        mean: args.mean,
        std: args.std,
        iou: args.iou,
        max_detections: args.max_detections,
        soft_nms: false,
        batch: 1,
        device: "cpu".to_owned(),
        threads: None,
    }
}
