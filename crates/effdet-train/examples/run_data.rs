//! What a run starts from and is fed, for another program to train on: the first weights and the batches.
//!
//!     cargo run --release -p effdet-train --example run_data -- CONFIG.toml EPOCHS OUT
//!
//! `CONFIG.toml` is the one in a run's folder. `OUT` gets `first.safetensors`, `pixels.bin` (levels of all batches one after
//! the other, each `[batch, height, width, 3]`) and `targets.jsonl` (for each picture `[ymin, xmin, ymax, xmax, class]` of
//! every object, pixels of the input, classes by name). `tools/blood_cells/same_batches.py` trains the reference on them.
#![allow(clippy::print_stdout, reason = "an example")]

use std::error::Error;
use std::fs::{File, create_dir_all};
use std::io::{BufWriter, Write};
use std::path::Path;

use burn::tensor::Device;
use effdet_train::{Layer, RunConfig};

const USAGE: &str = "usage: run_data CONFIG.toml EPOCHS OUT";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [config, epochs, out] = &arguments[..] else { return Err(USAGE.into()) };
    let (epochs, out): (u64, _) = (epochs.parse()?, Path::new(out));
    let run = RunConfig::from_layers(&[Layer::file(config)?])?.prepare(&Device::flex().autodiff())?;

    create_dir_all(out)?;
    run.model.save(out.join("first.safetensors"))?;
    let mut pixels = BufWriter::new(File::create(out.join("pixels.bin"))?);
    let mut targets = BufWriter::new(File::create(out.join("targets.jsonl"))?);
    let classes = run.train.class_map();
    let mut pictures = 0;
    for epoch in 0..epochs {
        for batch in run.train.loader().epoch(epoch) {
            let batch = batch?;
            pixels.write_all(&batch.pixels)?;
            for target in &batch.targets {
                let object = |(bbox, class): (&effdet_core::YxyxBox, &u32)| {
                    (bbox.ymin, bbox.xmin, bbox.ymax, bbox.xmax, classes.label(*class))
                };
                let objects: Vec<_> = target.boxes.iter().zip(&target.classes).map(object).collect();
                writeln!(targets, "{}", serde_json::to_string(&objects)?)?;
            }
            pictures += batch.len();
        }
    }
    pixels.flush()?;
    targets.flush()?;
    println!("{pictures} pictures of {epochs} epochs in {}", out.display());
    Ok(())
}
