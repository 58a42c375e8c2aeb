//! Evaluates a detector on pictures with labels: COCO's numbers, and the average precision of each class.
//!
//! ```sh
//! cargo run --release -p effdet --example evaluate_detector -- CHECKPOINT FORMAT DATA SPLIT [MODEL]
//! ```
//!
//! Checkpoints that training wrote name their model and classes; for others MODEL says it, and `DetectorOptions` has room for
//! class names and normalisation. FORMAT is coco, voc, pets, via, open-images, yolo or csv.
#![allow(clippy::print_stdout, reason = "an example")]

use effdet::data::{Format, LabelFormat, ParseOptions, Source};
use effdet::metrics::{CocoEvaluator, CocoParams};
use effdet::prelude::*;
use effdet::validate::{detect_dataset, detections, ground_truth};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [checkpoint, format, data, split, model @ ..] = arguments.as_slice() else {
        return Err("usage: evaluate_detector CHECKPOINT FORMAT DATA SPLIT [MODEL]".into());
    };
    let options = DetectorOptions { model: model.first().cloned(), ..DetectorOptions::default() };
    let mut detector = Detector::from_checkpoint(checkpoint, &options, &effdet::device("cpu")?)?;
    // Average precision wants the detections of low score too.
    let decode = detector.config().decode;
    detector.set_decode(DecodeConfig { score_threshold: 0.001, ..decode })?;

    let format: Format = format.parse()?;
    // Labels by name, so that a class has the id that the detector gives it.
    let options = ParseOptions { classes: Some(detector.class_map().clone()), ..ParseOptions::default() };
    let dataset = format.parse(&Source::new(data).with_split(split), &options)?.dataset;
    let found = detect_dataset(&detector, &dataset, 8, |_| {})?;
    for (path, reason) in &found.failures {
        println!("{}: {reason}", path.display());
    }

    let truth = ground_truth(&dataset)?;
    let report =
        CocoEvaluator::new(&truth, CocoParams::default())?.evaluate(&detections(&dataset, &found))?;
    let metrics = &report.metrics;
    println!("AP {:.4}, AP50 {:.4}, AP75 {:.4}", metrics.ap, metrics.ap50, metrics.ap75);
    for class in &report.per_class {
        println!("{}: AP {:.4}", class.name, class.metrics.ap);
    }
    Ok(())
}
