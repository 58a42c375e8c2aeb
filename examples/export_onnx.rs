//! Writes a detector as an ONNX file that ends in detections.
//!
//! ```sh
//! cargo run --release -p effdet --example export_onnx -- CHECKPOINT MODEL OUT.onnx
//! python examples/onnx_detect.py OUT.onnx photo.jpg
//! ```

use effdet::export::OnnxOptions;
use effdet::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [checkpoint, model, out] = arguments.as_slice() else {
        return Err("usage: export_onnx CHECKPOINT MODEL OUT.onnx".into());
    };
    let options = DetectorOptions { model: Some(model.clone()), ..DetectorOptions::default() };
    let detector = Detector::from_checkpoint(checkpoint, &options, &effdet::device("cpu")?)?;
    detector.export_onnx(out, &OnnxOptions { nms: true, ..OnnxOptions::default() })?;
    Ok(())
}
