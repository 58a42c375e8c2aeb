//! Pictures per second of the loader over a folder of JPEGs: decode, horizontal flip, scale jitter, batch.
//!
//!     cargo run --release -p effdet-data --example loader_speed -- DIR [SIDE] [WORKERS] [BATCH] [EPOCHS]
//!
//! Prints one JSON object. `benches/compare/loader.py` runs it beside effdet's own loader.
#![allow(clippy::print_stdout, reason = "an example")]

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use effdet_core::{ImageSize, XyxyBox};
use effdet_data::transform::effdet_train;
use effdet_data::{Loader, LoaderOptions, Object, Pictures, Preprocess, Record, RecordId};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder =
        PathBuf::from(arguments.next().ok_or("usage: loader_speed DIR [SIDE] [WORKERS] [BATCH] [EPOCHS]")?);
    let mut number = |default: usize| arguments.next().map_or(Ok(default), |text| text.parse());
    let (side, workers, batch_size, epochs) = (number(512)?, number(2)?, number(8)?, number(3)?);
    let mut paths: Vec<PathBuf> =
        folder.read_dir()?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "jpg"));
    paths.sort();
    let object = Object { bbox: XyxyBox::new(100.0, 100.0, 300.0, 250.0), class_id: 1, ..Object::default() };
    let record = |(i, path): (usize, PathBuf)| Record {
        id: RecordId::Number(i as i64),
        path,
        size: None,
        objects: vec![object; 10],
    };
    let records: Vec<Record> = paths.into_iter().enumerate().map(record).collect();

    let preprocess = Preprocess::imagenet(ImageSize::square(side));
    let options = LoaderOptions { batch_size, workers, ..LoaderOptions::train(0) };
    let loader = Loader::new(Arc::new(Pictures::new(records)), effdet_train(&preprocess), options)?;
    let mut rates = Vec::new();
    for epoch in 0..epochs {
        let start = Instant::now();
        let mut pictures = 0;
        for batch in loader.epoch(epoch as u64) {
            pictures += batch?.len();
        }
        rates.push(pictures as f64 / start.elapsed().as_secs_f64());
    }
    println!("{{\"pictures_per_second\": {rates:?}, \"workers\": {workers}, \"side\": {side}}}");
    Ok(())
}
