//! Reads a COCO instances file and prints what is in it, for `benches/compare/parse_coco.py`.
//!
//!     cargo run --release -p effdet-data --example parse_coco -- instances_train2017.json
#![allow(clippy::print_stdout, reason = "a program")]

use effdet_data::{Format, LabelFormat, ParseOptions, PictureCheck, Source};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: parse_coco FILE")?;
    let options = ParseOptions { pictures: PictureCheck::None, ..ParseOptions::default() };
    let parsed = Format::Coco.parse(&Source::new(path), &options)?;
    let dataset = &parsed.dataset;
    let crowds = dataset.records.iter().flat_map(|record| &record.objects).filter(|o| o.is_crowd).count();
    println!(
        "{} pictures, {} boxes, {crowds} crowds, {} classes; {}",
        dataset.records.len(),
        dataset.object_count(),
        dataset.class_map.iter().len(),
        parsed.dirt
    );
    Ok(())
}
