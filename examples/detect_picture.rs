//! Detects objects in a picture and draws them on a copy.
//!
//! ```sh
//! cargo run --release -p effdet --example detect_picture -- CHECKPOINT MODEL PICTURE OUT.png
//! ```

use effdet::data::{DecodeLimits, decode_file};
use effdet::prelude::*;
use effdet::viz::{Style, annotate, save_png};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [checkpoint, model, picture, out] = arguments.as_slice() else {
        return Err("usage: detect_picture CHECKPOINT MODEL PICTURE OUT.png".into());
    };
    let device = effdet::device("cpu")?;
    let options = DetectorOptions { model: Some(model.clone()), ..DetectorOptions::default() };
    let detector = Detector::from_checkpoint(checkpoint, &options, &device)?;

    let mut pixels = decode_file(picture, &DecodeLimits::default())?;
    let mut detections = detector.detect(&pixels)?;
    detections.retain(|detection| detection.score >= 0.3);
    annotate(&mut pixels, &detections, detector.class_map(), &Style::default());
    save_png(out, &pixels)?;
    Ok(())
}
