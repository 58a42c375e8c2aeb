//! `cargo xtask onnx-case`: what `tools/golden/check_onnx.py` compares exported files with.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Tensor, TensorData};
use effdet::core::{Detection, ImageSize};
use effdet::heads::Frame;
use effdet::model::{EfficientDetConfig, Predictor};
use effdet::nn::native::Workers;
use effdet_testing::{fixtures, synthetic};
use effdet_weights::{Checkpoint, LoadOptions, NamedTensors, load_into, save_named_tensors};

/// Least score of a detection, as `effdet export` has it where nothing else is asked for.
const SCORE: f32 = 0.001;

/// Writes `weights.safetensors`, synthetic weights of a detector, and `expected.safetensors`, pictures and what the
/// detector's inference form gives for them: two of the size that the weights were made for, one of another.
pub fn write_case(name: &str, folder: &Path) -> Result<()> {
    let golden = fixtures::detectors().into_iter().find(|golden| golden.model == name);
    let Some(golden) = golden else { bail!("no detector is called `{name}`") };
    let [height, width] = golden.image_size;
    let mut config = EfficientDetConfig::named(name)?.with_image_size(ImageSize { height, width });
    config.decode.score_threshold = SCORE;

    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let weights = folder.join("weights.safetensors");
    let device = Device::flex();
    let model = config.init(&device)?;
    let statistics = synthetic::scattered_statistics(&model, golden.seed, &golden.statistics);
    synthetic::write_checkpoint(&model, golden.seed, &statistics, &weights)?;
    let (model, _) = load_into(model, &Checkpoint::open(&weights)?, &LoadOptions::default())?;
    let predictor = Predictor::new(model, config);

    let mut tensors = NamedTensors::new();
    // Odd sides, so that every level rounds.
    for (case, batch, [height, width]) in
        [("made_for", 2, [height, width]), ("other", 1, [height + 41, width - 35])]
    {
        let shape = [batch, 3, height, width];
        let pictures: Vec<f32> =
            synthetic::uniform(golden.seed, case, shape.iter().product()).map(|u| 1.5 * u).collect();
        let inference = predictor.inference().context("no inference form was asked for")?;
        let program = inference.program(predictor.model(), [3, height, width]).map_err(anyhow::Error::msg)?;
        let outputs = program.run(&pictures, &Workers::new(inference.threads()));
        let levels = outputs.maps() / 2;
        for (what, maps, length) in [
            ("class_logits", 0..levels, predictor.config().num_classes),
            ("box_deltas", levels..2 * levels, 4),
        ] {
            // Channels are last, so that the maps of a picture after each other are rows in the order of the anchors.
            let values: Vec<f32> = (0..batch)
                .flat_map(|picture| maps.clone().map(move |map| (picture, map)))
                .flat_map(|(picture, map)| outputs.map(picture, map).iter().copied())
                .collect();
            let anchors = values.len() / batch / length;
            tensors.insert(format!("{case}.{what}"), (vec![batch, anchors, length], values));
        }
        let frame = Frame { scale: 1.0, size: Some(ImageSize { height, width }), offset: (0.0, 0.0) };
        let input = Tensor::from_data(TensorData::new(pictures.clone(), shape), &device);
        for (picture, detections) in predictor.detect(input, &vec![Some(frame); batch])?.iter().enumerate() {
            let rows: Vec<f32> = detections.iter().flat_map(row).collect();
            tensors.insert(format!("{case}.detections.{picture}"), (vec![detections.len(), 6], rows));
        }
        tensors.insert(format!("{case}.images"), (shape.to_vec(), pictures));
    }
    Ok(save_named_tensors(folder.join("expected.safetensors"), &tensors, &BTreeMap::new())?)
}

/// `x1, y1, x2, y2, score, class`
fn row(detection: &Detection) -> [f32; 6] {
    let bbox = detection.bbox;
    [bbox.x1, bbox.y1, bbox.x2, bbox.y2, detection.score, detection.class_id as f32]
}
