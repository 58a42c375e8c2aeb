//! Fine-tunes a detector on pictures and labels in the layout of Pascal VOC, and saves it with its class names.
//!
//! ```sh
//! cargo run --release -p effdet --example fine_tune_voc -- VOC WEIGHTS MODEL OUT.safetensors [EPOCHS]
//! ```
//!
//! VOC holds `JPEGImages`, `Annotations` and `ImageSets/Main` with `trainval.txt` and `test.txt`. WEIGHTS is a checkpoint
//! of MODEL for any classes, such as a published one; rows of classes that both know by name are kept.
#![allow(clippy::print_stdout, reason = "an example")]

use effdet::data::{Format, LabelFormat, ParseOptions, Source};
use effdet::prelude::*;
use effdet::train::{CocoMetric, DataLoader, DetectorModel, Learner};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, weights, model, out, epochs @ ..] = arguments.as_slice() else {
        return Err("usage: fine_tune_voc VOC WEIGHTS MODEL OUT.safetensors [EPOCHS]".into());
    };
    let epochs = epochs.first().map_or(Ok(10), |epochs| epochs.parse())?;

    let train = Format::Voc.parse(&Source::new(folder).with_split("trainval"), &ParseOptions::default())?;
    // What was wrong with the labels, by kind and file.
    println!("{}", train.dirt);
    let classes = train.dataset.class_map.clone();
    let same_classes = ParseOptions { classes: Some(classes.clone()), ..ParseOptions::default() };
    let valid = Format::Voc.parse(&Source::new(folder).with_split("test"), &same_classes)?;

    let (size, device) = (ImageSize::square(320), effdet::device("cpu")?);
    let (model, report) = DetectorModel::named(model, &classes, size, &device)?.load(weights)?;
    println!("{report}");
    let train = DataLoader::train(train.dataset, model.preprocess(), 8, 0)?;
    let valid = DataLoader::valid(valid.dataset, model.preprocess(), 8)?;
    let mut learner = Learner::new(model, train, valid).metrics([CocoMetric::default()]);
    for epoch in learner.fine_tune(epochs, 4e-3, 1)? {
        println!("epoch {}: AP {:.4}", epoch.epoch, epoch.metric("AP").unwrap_or(f64::NAN));
    }
    learner.save(out)?;
    Ok(())
}
