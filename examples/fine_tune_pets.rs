//! Fine-tunes a detector on the pet breeds of an Oxford-IIIT Pets folder, the heads first.
//!
//!     cargo run --release -p effdet --example fine_tune_pets -- PETS WEIGHTS [EPOCHS]
#![allow(clippy::print_stdout, reason = "an example")]

use std::env::args;
use std::error::Error;

use effdet::data::{Format, LabelFormat, ParseOptions, Source, split};
use effdet::prelude::*;
use effdet::train::{CocoMetric, DataLoader, DetectorModel, Learner};
use effdet::viz::save_jpeg;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = args().nth(1).ok_or("usage: fine_tune_pets PETS WEIGHTS [EPOCHS]")?;
    let weights = args().nth(2).ok_or("usage: fine_tune_pets PETS WEIGHTS [EPOCHS]")?;
    let epochs = args().nth(3).map_or(Ok(10), |epochs| epochs.parse())?;

    let pets = Format::Pets.parse(&Source::new(folder), &ParseOptions::default())?.dataset;
    let parts = split::random(&pets, &[0.8, 0.2], 42)?;
    let (train, valid) = (pets.subset(&parts[0]), pets.subset(&parts[1]));

    let (size, device) = (ImageSize::square(320), effdet::device("cpu")?);
    let model = DetectorModel::named("tf_efficientdet_lite0", &pets.class_map, size, &device)?;
    // A start that describes itself may be normalised in another way than the model; a `.pth` says nothing of it.
    let (model, report) = model.with_normalization_of(&weights)?.load(weights)?;
    println!("{report}");

    let train = DataLoader::train(train, model.preprocess(), 16, 0)?;
    let valid = DataLoader::valid(valid, model.preprocess(), 16)?;
    let mut learner = Learner::new(model, train, valid).metrics([CocoMetric::default()]);
    for epoch in learner.fine_tune(epochs, 1e-2, 1)? {
        let (train, ap) = (epoch.train.total, epoch.metric("AP").unwrap_or(f64::NAN));
        println!("epoch {}: loss {train:.4}, AP {ap:.4}", epoch.epoch);
    }
    learner.save("pets.safetensors")?;
    save_jpeg("pets.jpg", &learner.show_results(6, 0.5)?, 90)?;
    save_jpeg("pets_top_losses.jpg", &learner.plot_top_losses(4, 0.5)?, 90)?;
    Ok(())
}
