//! `effdet bench`.

mod train_step;

use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use burn::tensor::{Tensor, TensorData};
use effdet::data::Prepared;
use effdet::heads::Frame;
use effdet::prelude::*;
use effdet::{check_image_size, configuration_named, read_labels};
use serde::Serialize;

use crate::args::BenchArgs;
use crate::commands::bench::train_step::TrainStep;
use crate::detector::{DEFAULT_MODEL, decode_config, load, size_thread_pool};
use crate::output::JsonTarget;
use crate::overwrite;

/// Runs of each stage before those that count.
const WARM_UP: usize = 3;

/// Milliseconds of one stage.
#[derive(Debug, Serialize)]
struct Stage {
    median: f64,
    min: f64,
    /// From the first to the third quartile.
    spread: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    model: String,
    image_size: [usize; 2],
    batch: usize,
    threads: usize,
    device: String,
    /// Whether the kernels of our own ran.
    native: bool,
    preprocess: Stage,
    forward: Stage,
    /// The network without the way of its outputs to the host, where it is the framework's operations.
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<Stage>,
    postprocess: Stage,
    total: Stage,
    #[serde(skip_serializing_if = "Option::is_none")]
    train_step: Option<Stage>,
    peak_memory_mb: f64,
    runs: usize,
}

/// Times the stages of detection.
pub fn run(args: &BenchArgs) -> Result<ExitCode> {
    overwrite::refuse(&[("--json", args.json.as_deref())], args.detector.network.files())?;
    let json = args.json.as_deref().map(|path| JsonTarget::new("--json", path)).transpose()?;
    let detector = detector(args)?;
    let report = measure(&detector, args)?;
    // First, since nobody needs to read the table.
    json.as_ref().map_or(Ok(()), |json| json.write(&report))?;
    if !matches!(json, Some(JsonTarget::Stdout)) {
        write_table(&mut io::stdout().lock(), &report)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write_table(to: &mut impl Write, report: &Report) -> io::Result<()> {
    writeln!(
        to,
        "{} at {}x{}, batch {}, {} threads, {} ({}), {} runs",
        report.model,
        report.image_size[0],
        report.image_size[1],
        report.batch,
        report.threads,
        report.device,
        if report.native { "inference form" } else { "composed operations" },
        report.runs
    )?;
    let stages = [
        ("preprocess", &report.preprocess),
        ("forward", &report.forward),
        ("postprocess", &report.postprocess),
        ("total", &report.total),
    ];
    writeln!(to, "{:12} {:>10} {:>10} {:>10}", "ms", "median", "min", "spread")?;
    let train_step = report.train_step.iter().map(|stage| ("train step", stage));
    let network = report.network.iter().map(|stage| ("network", stage));
    for (name, stage) in stages.into_iter().chain(network).chain(train_step) {
        writeln!(to, "{name:12} {:10.3} {:10.3} {:10.3}", stage.median, stage.min, stage.spread)?;
    }
    writeln!(to, "peak memory {:.0} MB", report.peak_memory_mb)?;
    to.flush()
}

fn detector(args: &BenchArgs) -> Result<Detector> {
    let network = &args.detector.network;
    let has_weights = network.weights.is_some() || network.pretrained;
    let mut detector = if has_weights { load(&args.detector, 0.0)? } else { random(args)? };
    effdet::nn::native::leave_to_framework(args.composed);
    detector.set_inference((!args.composed).then(|| threads(args)));
    Ok(detector)
}

/// A detector without weights of its own, on which timings do not depend.
fn random(args: &BenchArgs) -> Result<Detector> {
    size_thread_pool(args.detector.threads)?;
    let network = &args.detector.network;
    let mut config = match &network.backbone {
        Some(backbone) => EfficientDetConfig::with_backbone_named(backbone)?,
        None => configuration_named(network.model.as_deref().unwrap_or(DEFAULT_MODEL))?,
    };
    if let Some(size) = network.image_size {
        check_image_size(size)?;
        config = config.with_image_size(size);
    }
    let labels = network.labels.as_deref().map(read_labels).transpose()?;
    if let Some(classes) = labels.as_ref().map(ClassMap::len).or(network.num_classes) {
        config = config.with_num_classes(classes);
    }
    config.mean = network.mean.map_or(config.mean, |mean| mean.0);
    config.std = network.std.map_or(config.std, |std| std.0);
    config.decode = decode_config(&args.detector, 0.0);
    Ok(Detector::random(config, &effdet::nn::device_with_float(&args.detector.device, &args.float)?)?)
}

/// As many threads as are asked for, else as there are cores.
fn threads(args: &BenchArgs) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    args.detector.threads.map_or_else(cores, usize::from)
}

fn measure(detector: &Detector, args: &BenchArgs) -> Result<Report> {
    let size = detector.preprocess().size;
    let batch = usize::from(args.detector.batch);
    let pictures: Vec<_> = (0..batch).map(|i| noise(640, 480, i as u32)).collect();
    let prepared: Vec<Prepared> =
        pictures.iter().map(|picture| detector.preprocess().apply(picture)).collect::<Result<_, _>>()?;
    let frames: Vec<_> = prepared.iter().map(|picture| Some(Frame::from(&picture.letterbox))).collect();
    let mut input = vec![0.0; batch * 3 * size.area()];
    for (planes, picture) in input.chunks_exact_mut(3 * size.area()).zip(&prepared) {
        detector.preprocess().normalize_into(picture, planes)?;
    }
    let device = effdet::device(&args.detector.device)?;
    let data = TensorData::new(input, [batch, 3, size.height, size.width]);
    let input = Tensor::<4>::from_data(data, &device);
    let predictor = detector.predictor();
    let raw = predictor.forward(input.clone())?;

    let stage = |run: &mut dyn FnMut() -> Result<()>| -> Result<Stage> {
        let mut times = Vec::with_capacity(usize::from(args.runs));
        for i in 0..usize::from(args.runs) + WARM_UP {
            let start = Instant::now();
            run()?;
            if i >= WARM_UP {
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
        }
        times.sort_by(f64::total_cmp);
        let at = |part: f64| times[((times.len() - 1) as f64 * part).round() as usize];
        Ok(Stage { median: at(0.5), min: at(0.0), spread: at(0.75) - at(0.25) })
    };
    let preprocess = stage(&mut || {
        for picture in &pictures {
            detector.preprocess().apply(picture)?;
        }
        Ok(())
    })?;
    let forward = stage(&mut || predictor.forward(input.clone()).map(drop).map_err(Into::into))?;
    let native = predictor.runs_natively(&input);
    // On the host the inference form ends in detections' input; a device is waited for.
    let network = if native && effdet::nn::device::is_on_host(&device) {
        None
    } else {
        Some(stage(&mut || {
            drop(predictor.network_outputs(input.clone()));
            Ok(device.sync()?)
        })?)
    };
    let postprocess = stage(&mut || predictor.decode(&raw, &frames).map(drop).map_err(Into::into))?;
    let total = stage(&mut || detector.detect_batch(&pictures).map(drop).map_err(Into::into))?;
    let train_step = if args.train {
        let step = TrainStep::new(detector.config(), batch, device)?;
        Some(stage(&mut || step.run())?)
    } else {
        None
    };
    Ok(Report {
        model: detector.config().name.clone(),
        image_size: [size.height, size.width],
        batch,
        threads: predictor.inference().map_or_else(|| threads(args), |inference| inference.threads()),
        device: args.detector.device.clone(),
        native,
        preprocess,
        forward,
        network,
        postprocess,
        total,
        train_step,
        peak_memory_mb: peak_memory_mb().context("reading the peak memory of this process")?,
        runs: args.runs.into(),
    })
}

/// A picture that no step can take a short cut on.
fn noise(width: u32, height: u32, seed: u32) -> RgbImage {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    RgbImage::from_fn(width, height, |_, _| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        image::Rgb([state as u8, (state >> 8) as u8, (state >> 16) as u8])
    })
}

/// Largest resident memory so far; zero where the system does not say.
fn peak_memory_mb() -> Result<f64> {
    let Ok(status) = fs::read_to_string("/proc/self/status") else { return Ok(0.0) };
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes =
        line.and_then(|line| line.split_whitespace().next()).map_or(Ok(0.0), str::parse::<f64>)?;
    Ok(kilobytes / 1024.0)
}
