//! `effdet predict`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use effdet::data::{Prepared, decode_reader};
use effdet::prelude::*;
use indicatif::ProgressBar;
use rayon::prelude::*;
use serde::Serialize;

use crate::args::{MergeName, PredictArgs};
use crate::logging::{note, tell};
use crate::output::{
    DetectionReport, ImageError, ImageReport, JsonLines, JsonTarget, OutFolder, Report, describe, is_jpeg,
    printable, write_line, write_table,
};
use crate::saved::Saved;
use crate::watch::Watch;
use crate::{detector, interrupt, overwrite, progress, sources};

const JPEG_QUALITY: u8 = 95;
/// Some pictures failed.
const FAILED: u8 = 1;

/// Detects objects in all pictures of the sources.
pub fn run(args: &PredictArgs) -> Result<ExitCode> {
    let options = args.views.options(&args.detector, MergeName::Join)?;
    let detector = detector::load(&args.detector, args.score)?;
    let watch = args.watch.map(|_| Watch::new(&args.sources, args.out.as_deref())).transpose()?;
    let pictures = if watch.is_some() { Vec::new() } else { sources::expand(&args.sources)? };
    refuse_overwriting(args, &pictures)?;
    let json = args.json.as_deref().map(|path| JsonTarget::new("--json", path)).transpose()?;
    let out = args.out.as_deref().map(|folder| OutFolder::create(folder, &pictures)).transpose()?;
    let saved = Saved::new(&args.save)?;
    if saved.is_wanted() && pictures.iter().any(|picture| sources::is_stdin(picture)) {
        bail!("--save-*: the labels of a picture name its file, and standard input has none");
    }
    let to_stdout = [matches!(json, Some(JsonTarget::Stdout)), args.jsonl.as_deref() == Some(Path::new("-"))];
    if to_stdout == [true; 2] {
        bail!("--json and --jsonl cannot both be standard output");
    }
    // What lies there is emptied only once everything else is known to be well.
    let jsonl = args.jsonl.as_deref().map(JsonLines::create).transpose()?;

    let mut run = Run {
        detector: &detector,
        options,
        writes_files: json.is_some() || jsonl.is_some() || out.is_some() || saved.is_wanted(),
        keeps_report: json.is_some(),
        out,
        jsonl,
        saved,
        show_table: to_stdout == [false; 2],
        bar: progress::bar(pictures.len()),
        report: Report { model: detector.config().name.clone(), images: Vec::new(), errors: Vec::new() },
        failures: 0,
    };
    let batch = args.detector.batch.into();
    let ended = match (watch, args.watch) {
        (Some(watch), Some(seconds)) => run.watch(watch, seconds, batch),
        _ => run.all(&pictures, batch),
    };
    run.bar.finish_and_clear();
    let Run { report, saved, failures, .. } = run;
    // What was found goes into every file that can be written, whatever went wrong before.
    let reported = json.map_or(Ok(()), |json| json.write(&report));
    let saved = saved.write(detector.class_map());
    all_errors([ended, reported, saved])?;
    if failures == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    if pictures.len() > 1 {
        tell!("{failures} of {} pictures failed", pictures.len());
    }
    Ok(ExitCode::from(FAILED))
}

/// Nothing that is read may be lost; for the folders of `--out` and `--save-*` see where they are made.
fn refuse_overwriting(args: &PredictArgs, pictures: &[PathBuf]) -> Result<()> {
    let outputs = [
        ("--json", &args.json),
        ("--jsonl", &args.jsonl),
        ("--save-coco", &args.save.save_coco),
        ("--save-csv", &args.save.save_csv),
    ];
    let pictures = pictures.iter().map(|picture| (Some(picture.as_path()), "a source"));
    overwrite::refuse(
        &outputs.map(|(option, path)| (option, path.as_deref())),
        args.detector.network.files().into_iter().chain(pictures),
    )
}

/// Every error on a line of its own. A single one stays as it is: `main` must see a pipe whose reader has gone.
fn all_errors(results: [Result<()>; 3]) -> Result<()> {
    let mut errors: Vec<anyhow::Error> = results.into_iter().filter_map(Result::err).collect();
    if errors.len() > 1 {
        bail!(errors.iter().map(describe).collect::<Vec<_>>().join("\n"));
    }
    errors.pop().map_or(Ok(()), Err)
}

/// A picture that could be read.
struct Source {
    path: PathBuf,
    width: u32,
    height: u32,
    /// Kept only to be drawn on, or to be seen in other ways than prepared.
    pixels: Option<RgbImage>,
}

/// A picture ready for the network, prepared unless it is seen in several ways, or why it is not.
type Decoded = Result<(Source, Option<Prepared>), (PathBuf, anyhow::Error)>;

/// What is done to pictures ahead of detection.
#[derive(Clone, Copy)]
struct Ahead {
    /// Nothing, where a picture is seen in several ways.
    preprocess: Option<Preprocess>,
    keeps_pixels: bool,
}

/// Decodes and prepares batch after batch, waiting with each until the one before is taken.
fn decode_ahead(pictures: &[PathBuf], batch: usize, ahead: Ahead, to: &SyncSender<Vec<Decoded>>) {
    let load = |path: &Path| -> Result<_> {
        let limits = DecodeLimits::default();
        let picture = match sources::is_stdin(path) {
            true => decode_reader(io::stdin().lock(), "-", &limits)?,
            false => decode_file(path, &limits)?,
        };
        Ok((ahead.preprocess.map(|preprocess| preprocess.apply(&picture)).transpose()?, picture))
    };
    let decode = |path: &PathBuf| {
        let path = path.clone();
        match load(&path) {
            Ok((prepared, picture)) => {
                let (width, height) = picture.dimensions();
                let pixels = ahead.keeps_pixels.then_some(picture);
                Ok((Source { path, width, height, pixels }, prepared))
            }
            Err(error) => Err((path, error)),
        }
    };
    for batch in pictures.chunks(batch) {
        if to.send(batch.par_iter().map(decode).collect()).is_err() {
            return;
        }
    }
}

/// The state of a run over pictures.
struct Run<'a> {
    detector: &'a Detector,
    options: DetectOptions,
    out: Option<OutFolder>,
    jsonl: Option<JsonLines>,
    saved: Saved,
    show_table: bool,
    writes_files: bool,
    /// Whether the report is written at the end; a watched folder has no end.
    keeps_report: bool,
    bar: ProgressBar,
    report: Report,
    failures: usize,
}

impl Run<'_> {
    /// Detects in what arrives until Ctrl-C.
    fn watch(&mut self, mut watch: Watch, seconds: f32, batch: usize) -> Result<()> {
        interrupt::listen()?;
        note!("watching; Ctrl-C ends");
        /// Longest time in which Ctrl-C is not noticed.
        const NAP: Duration = Duration::from_millis(50);
        while !interrupt::requested() {
            let arrived = watch.look();
            self.all(&arrived, batch)?;
            let mut left = Duration::from_secs_f32(seconds);
            while !left.is_zero() && !interrupt::requested() {
                thread::sleep(left.min(NAP));
                left = left.saturating_sub(NAP);
            }
        }
        Ok(())
    }

    fn all(&mut self, pictures: &[PathBuf], batch: usize) -> Result<()> {
        let is_plain = self.options.is_plain();
        let preprocess = is_plain.then_some(*self.detector.preprocess());
        let ahead = Ahead { preprocess, keeps_pixels: self.out.is_some() || !is_plain };
        thread::scope(|scope| {
            // Without room in the channel, one batch is decoded while another is in the network, and no more.
            let (to, batches) = sync_channel(0);
            scope.spawn(move || decode_ahead(pictures, batch, ahead, &to));
            let mut wanted = batches.into_iter().take_while(|_| !interrupt::requested());
            wanted.try_for_each(|batch| self.batch(batch))
        })
    }

    fn batch(&mut self, decoded: Vec<Decoded>) -> Result<()> {
        let count = decoded.len() as u64;
        let (mut sources, mut prepared) = (Vec::new(), Vec::new());
        for picture in decoded {
            match picture {
                Ok((source, ready)) => {
                    sources.push(source);
                    prepared.extend(ready);
                }
                Err((path, error)) => self.failed(&path, &error)?,
            }
        }
        if self.options.is_plain() {
            match self.detector.detect_prepared(&prepared) {
                Ok(detections) => self.found(sources.into_iter().zip(detections).collect())?,
                Err(error) => {
                    let error = anyhow::Error::from(error);
                    sources.iter().try_for_each(|source| self.failed(&source.path, &error))?;
                }
            }
        } else {
            self.detect_views(sources)?;
        }
        self.bar.inc(count);
        Ok(())
    }

    /// Sees each picture in several ways; one that cannot be seen so does not keep the others from it.
    fn detect_views(&mut self, sources: Vec<Source>) -> Result<()> {
        let mut found = Vec::with_capacity(sources.len());
        for source in sources {
            let Some(pixels) = &source.pixels else { continue };
            match self.detector.detect_with(pixels, &self.options) {
                Ok(detections) => found.push((source, detections)),
                Err(error) => self.failed(&source.path, &error.into())?,
            }
        }
        self.found(found)
    }

    fn found(&mut self, pictures: Vec<(Source, Vec<Detection>)>) -> Result<()> {
        let classes = self.detector.class_map();
        let mut drawings: Vec<(PathBuf, PathBuf, RgbImage, Vec<Detection>)> = Vec::new();
        for (Source { path, width, height, pixels }, detections) in pictures {
            let reports =
                detections.iter().map(|detection| DetectionReport::new(detection, classes)).collect();
            let image = ImageReport { path: path.display().to_string(), width, height, detections: reports };
            self.saved.add(&path, ImageSize::new(height as usize, width as usize), &detections)?;
            let written = self.show(&image).and_then(|()| self.write_line(&image));
            if self.keeps_report {
                self.report.images.push(image);
            }
            written?;
            if let (Some(out), Some(pixels)) = (&mut self.out, pixels) {
                let to = out.path_for(&path);
                // A source that is named twice has one copy, which two threads must not write.
                drawings.retain(|(_, other, ..)| *other != to);
                drawings.push((path, to, pixels, detections));
            }
        }
        let failures: Vec<_> = drawings
            .into_par_iter()
            .filter_map(|(path, to, mut pixels, detections)| {
                annotate(&mut pixels, &detections, classes, &Style::default());
                let saved =
                    if is_jpeg(&to) { save_jpeg(&to, &pixels, JPEG_QUALITY) } else { save_png(&to, &pixels) };
                Some((path, saved.err()?))
            })
            .collect();
        failures.into_iter().try_for_each(|(path, error)| self.failed(&path, &error.into()))?;
        Ok(())
    }

    fn show(&mut self, image: &ImageReport) -> io::Result<()> {
        if !self.show_table {
            return Ok(());
        }
        let mut to = io::stdout().lock();
        let shown = self.bar.suspend(|| write_table(&mut to, image).and_then(|()| to.flush()));
        match shown {
            // Nobody reads the tables any more, but the files are still wanted.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe && self.writes_files => {
                self.show_table = false;
                Ok(())
            }
            shown => shown,
        }
    }

    fn write_line(&mut self, value: &impl Serialize) -> io::Result<()> {
        let others = self.keeps_report || self.show_table || self.out.is_some() || self.saved.is_wanted();
        write_line(&mut self.jsonl, value, others)
    }

    /// Reports a picture that failed; the rest go on.
    fn failed(&mut self, path: &Path, error: &anyhow::Error) -> io::Result<()> {
        let path = path.display().to_string();
        let reason = describe(error);
        let reason = reason.strip_prefix(&format!("{path}: ")).unwrap_or(&reason).to_owned();
        self.bar.suspend(|| tell!("error: {}: {}", printable(&path), printable(&reason)));
        self.failures += 1;
        let error = ImageError { path, error: reason };
        let written = self.write_line(&error);
        if self.keeps_report {
            self.report.errors.push(error);
        }
        written
    }
}
