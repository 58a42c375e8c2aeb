//! Training without learner or trainer: the loop by hand.
//!
//!     cargo run --release -p effdet --example bare_loop -- VOC_FOLDER TRAIN_SPLIT
#![allow(clippy::print_stdout, reason = "an example")]

use std::env::args;
use std::error::Error;

use effdet::data::{Format, LabelFormat, ParseOptions, Source};
use effdet::heads::{BatchTargets, DetectionLossConfig, MatchOptions};
use effdet::prelude::*;
use effdet::train::{
    Clip, DataLoader, DetectorModel, Hyper, Optimizer, Rule, assign, norm, take_gradients, values,
};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = args().nth(1).ok_or("usage: bare_loop VOC_FOLDER TRAIN_SPLIT")?;
    let split = args().nth(2).ok_or("usage: bare_loop VOC_FOLDER TRAIN_SPLIT")?;
    let source = Source::new(folder).with_split(split);
    let dataset = Format::Voc.parse(&source, &ParseOptions::default())?.dataset;

    let (size, device) = (ImageSize::square(320), effdet::device("cpu")?);
    let mut model = DetectorModel::named("tf_efficientdet_lite0", &dataset.class_map, size, &device)?;
    let loader = DataLoader::train(dataset, model.preprocess(), 8, 0)?;
    let criterion = DetectionLossConfig::default().init()?;
    let mut optimizer = Optimizer::new(Rule::adam_w());
    let parameters = model.parameters();

    for epoch in 0..2 {
        for batch in loader.loader().epoch(epoch) {
            let batch = model.batch(&batch?)?;
            let outputs = model.network.forward(batch.pictures.clone());
            let anchors = model.anchors(batch.size(), &outputs)?;
            let targets = BatchTargets::assign(&anchors, &batch.truths, &MatchOptions::default())?;
            let loss = criterion.forward(&outputs.class_logits, &outputs.box_deltas, &targets)?;
            println!("{:.4}", loss.total.clone().into_scalar::<f32>());

            let weights = values(&model.network);
            let mut gradients = take_gradients(&model.network, &mut loss.total.backward());
            if let Some(total) = norm(&gradients) {
                let total = total.into_scalar::<f64>();
                gradients = Clip::Norm { limit: 10.0 }.apply(gradients, total, &weights, &parameters);
            }
            let updated = optimizer.step(&weights, gradients, |_| Hyper { lr: 1e-3, weight_decay: 1e-4 });
            model.network = assign(model.network, updated);
        }
    }
    model.save("bare_loop.safetensors")?;
    Ok(())
}
