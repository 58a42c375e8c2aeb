//! How long a checkpoint takes to load, and how much memory at most.
//!
//! cargo run --release -p effdet --example load_checkpoint -- MODEL FILE

#![allow(clippy::print_stdout, reason = "an example")]

use std::time::Instant;

use effdet::prelude::*;
use effdet::weights::{Checkpoint, LoadOptions, load_into};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(name), Some(file)) = (arguments.next(), arguments.next()) else {
        return Err("usage: load_checkpoint MODEL FILE".into());
    };
    let device = effdet::device("cpu")?;
    let bytes = std::fs::metadata(&file)?.len();
    let before = peak_memory();
    let started = Instant::now();
    let model = EfficientDetConfig::named(&name)?.init(&device)?;
    let built = started.elapsed();
    let started = Instant::now();
    let (_model, report) = load_into(model, &Checkpoint::open(&file)?, &LoadOptions::default())?;
    let loaded = started.elapsed();
    println!("{name}: {} tensors, built in {built:.1?}, loaded in {loaded:.1?}", report.loaded);
    if let (Some(before), Some(after)) = (before, peak_memory()) {
        let more = (after - before) as f64 / bytes as f64;
        println!("memory: {} kB at most, {more:.2} times the file more than before", after / 1024);
    }
    Ok(())
}

/// Largest resident memory of this process, where the system tells it as Linux does.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(1024 * kilobytes)
}
