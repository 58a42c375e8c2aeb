//! hotcoco on an instances file and a results file: prints seconds to read, seconds to evaluate, AP.

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use hotcoco::{COCO, COCOeval, IouType};

fn main() -> Result<(), Box<dyn Error>> {
    let files: Vec<PathBuf> = std::env::args().skip(1).map(PathBuf::from).collect();
    let [truth, detections] = &files[..] else { return Err("usage: compare-hotcoco TRUTH DETECTIONS".into()) };
    let start = Instant::now();
    let truth = COCO::new(truth)?;
    let detections = truth.load_res(detections)?;
    let read = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let mut evaluation = COCOeval::new(truth, detections, IouType::Bbox);
    evaluation.evaluate()?;
    evaluation.accumulate();
    // Prints its table, too; the numbers are on the last line.
    evaluation.summarize();
    let ap = evaluation.stats().and_then(|stats| stats.first()).ok_or("no numbers")?;
    println!("{read} {} {ap}", start.elapsed().as_secs_f64());
    Ok(())
}
