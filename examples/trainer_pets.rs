//! Trains a detector of pet breeds with a module of one's own: another optimiser, everything else as given.
//!
//!     cargo run --release -p effdet --example trainer_pets -- PETS WEIGHTS RUN_FOLDER [EPOCHS]
//!
//! Started again, it goes on where it was.
#![allow(clippy::print_stdout, reason = "an example")]

use std::env::args;
use std::error::Error;

use effdet::data::{Format, LabelFormat, ParseOptions, Source, split};
use effdet::prelude::*;
use effdet::train::{
    CocoMetric, DataLoader, DetectorModel, OptimizerPlan, Parameter, Rule, TrainConfig, TrainModule, Trainer,
};

struct LightModel;

impl TrainModule for LightModel {
    fn configure_optimizers(&self, parameters: &[Parameter], config: &TrainConfig) -> OptimizerPlan {
        OptimizerPlan { rule: Rule::sgd(), lr: 1e-2, ..OptimizerPlan::new(parameters, config) }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = args().skip(1).collect();
    let [pets, weights, run, epochs @ ..] = arguments.as_slice() else {
        return Err("usage: trainer_pets PETS WEIGHTS RUN_FOLDER [EPOCHS]".into());
    };
    let epochs = epochs.first().map_or(Ok(10), |epochs| epochs.parse())?;

    let pets = Format::Pets.parse(&Source::new(pets), &ParseOptions::default())?.dataset;
    let parts = split::random(&pets, &[0.8, 0.2], 42)?;
    let (size, device) = (ImageSize::square(320), effdet::device("cpu")?);
    let model = DetectorModel::named("tf_efficientdet_lite0", &pets.class_map, size, &device)?;
    let (mut model, report) = model.with_normalization_of(weights)?.load(weights)?;
    println!("{report}");

    let train = DataLoader::train(pets.subset(&parts[0]), model.preprocess(), 16, 0)?;
    let valid = DataLoader::valid(pets.subset(&parts[1]), model.preprocess(), 16)?;
    let mut trainer = Trainer::new(epochs).metrics([CocoMetric::default()]).save_to(run);
    trainer.fit(&mut LightModel, &mut model, &train, &valid)?;
    for epoch in trainer.history() {
        let (train, ap) = (epoch.train.total, epoch.metric("AP").unwrap_or(f64::NAN));
        println!("epoch {}: loss {train:.4}, AP {ap:.4}", epoch.epoch);
    }
    Ok(())
}
