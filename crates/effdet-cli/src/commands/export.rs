//! `effdet export`.

use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use effdet::export::OnnxOptions;
use effdet::prelude::*;

use crate::args::ExportArgs;
use crate::{detector, overwrite};

/// Writes the detector and says what the file takes and gives.
pub fn run(args: &ExportArgs) -> Result<ExitCode> {
    let options =
        OnnxOptions { opset: args.opset, batch: args.batch, dynamic_size: args.dynamic_size, nms: args.nms };
    if args.out.is_dir() {
        bail!("--out {}: this is a folder", args.out.display());
    }
    overwrite::refuse(&[("--out", Some(&args.out))], args.network.files())?;
    // ONNX suppresses by a threshold.
    let nms = NmsConfig { iou_threshold: args.iou, ..NmsConfig::default() };
    let (score_threshold, max_detections) = (args.score, args.max_detections);
    let decode = DecodeConfig { score_threshold, max_detections, nms, ..DecodeConfig::default() };
    let detector = detector::load_network(&args.network, decode, &effdet::device("cpu")?)?;
    // Before a large network is recorded.
    options.validate(&detector.config().decode)?;
    let file = detector.to_onnx(&options)?;
    file.save(&args.out)?;

    let path = args.out.display();
    let written = fs::metadata(&args.out).with_context(|| format!("cannot read {path}"))?;
    // A pipe may be standard output, whose reader takes all of it for the file.
    if !written.is_file() {
        return Ok(ExitCode::SUCCESS);
    }
    let mut to = io::stdout().lock();
    writeln!(to, "{} as {path}, {:.1} MB", detector.config().name, written.len() as f64 / 1e6)?;
    writeln!(to, "  inputs   {}", file.inputs().join(", "))?;
    writeln!(to, "  outputs  {}", file.outputs().join(", "))?;
    Ok(ExitCode::SUCCESS)
}
