//! COCO evaluation of two files:
//!
//! ```sh
//! cargo run --release -p effdet-metrics --example evaluate -- instances.json results.json [--params params.json]
//! ```
//!
//! Prints the table to standard error and the report as JSON to standard output. `params.json` may set
//! `iou_thresholds`, `max_detections`, `area_ranges` (`[[name, min, max], ..]`), `use_categories`, `quirks` and
//! `curves` (adds pycocotools' `precision` and `recall` arrays, flat, in its order of axes).

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example prints its result")]

use std::error::Error;
use std::time::Instant;

use effdet_metrics::{AreaRange, CocoEvaluator, CocoParams, CocoReport, Detections, GroundTruth};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Overrides {
    iou_thresholds: Option<Vec<f64>>,
    max_detections: Option<Vec<usize>>,
    area_ranges: Option<Vec<(String, f64, f64)>>,
    use_categories: Option<bool>,
    quirks: bool,
    curves: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (truth, detections, overrides) = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [truth, detections] => (truth, detections, Overrides::default()),
        [truth, detections, "--params", path] => {
            (truth, detections, serde_json::from_slice(&std::fs::read(path)?)?)
        }
        _ => return Err("usage: evaluate GROUND_TRUTH DETECTIONS [--params FILE]".into()),
    };
    let mut params = CocoParams { pycocotools_quirks: overrides.quirks, ..CocoParams::default() };
    if let Some(thresholds) = overrides.iou_thresholds {
        params.iou_thresholds = thresholds;
    }
    if let Some(limits) = overrides.max_detections {
        params.max_detections = limits;
    }
    if let Some(ranges) = overrides.area_ranges {
        params.area_ranges =
            ranges.into_iter().map(|(name, min, max)| AreaRange::new(name, min, max)).collect();
    }
    params.use_categories = overrides.use_categories.unwrap_or(true);

    let start = Instant::now();
    let truth = GroundTruth::from_coco(truth)?;
    let detections = Detections::from_coco(detections)?;
    let read = start.elapsed();
    let report = CocoEvaluator::new(&truth, params)?.evaluate(&detections)?;
    let evaluated = start.elapsed() - read;
    eprint!("{}{}", report.table(), report.findings);

    let mut json = serde_json::to_value(&report)?;
    json["stats"] = json!(report.stats);
    json["seconds"] = json!({ "read": read.as_secs_f64(), "evaluate": evaluated.as_secs_f64() });
    if overrides.curves {
        json["curves"] = curves(&report);
    }
    println!("{json}");
    Ok(())
}

fn curves(report: &CocoReport) -> Value {
    let params = report.params();
    let (thresholds, recalls) = (params.iou_thresholds.len(), params.recall_thresholds.len());
    let mut cells = Vec::new();
    for k in 0..report.categories() {
        for a in 0..params.area_ranges.len() {
            cells.extend((0..params.max_detections.len()).map(|m| (k, a, m)));
        }
    }
    let (mut precision, mut recall) = (Vec::new(), Vec::new());
    for t in 0..thresholds {
        for r in 0..recalls {
            precision.extend(cells.iter().map(|&(k, a, m)| report.precision(t, r, k, a, m)));
        }
        recall.extend(cells.iter().map(|&(k, a, m)| report.recall(t, k, a, m)));
    }
    json!({ "precision": precision, "recall": recall })
}
