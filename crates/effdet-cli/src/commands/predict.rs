//! `effdet predict`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use anyhow::Result;
use effdet::data::Prepared;
use effdet::prelude::*;
use indicatif::ProgressBar;
use rayon::prelude::*;

use crate::args::PredictArgs;
use crate::output::{
    DetectionReport, ImageError, ImageReport, JsonTarget, OutFolder, Report, describe, is_jpeg, printable,
    write_table,
};
use crate::{detector, progress, sources};

const JPEG_QUALITY: u8 = 95;
/// Some pictures failed.
const FAILED: u8 = 1;

/// Detects objects in all pictures of the sources.
pub fn run(args: &PredictArgs) -> Result<ExitCode> {
    let detector = detector::load(&args.detector, args.score)?;
    let pictures = sources::expand(&args.sources)?;
    let json = args.json.as_deref().map(JsonTarget::new).transpose()?;
    let out = args.out.as_deref().map(|folder| OutFolder::create(folder, &pictures)).transpose()?;

    let mut run = Run {
        detector: &detector,
        writes_files: json.is_some() || out.is_some(),
        out,
        show_table: !matches!(json, Some(JsonTarget::Stdout)),
        bar: progress::bar(pictures.len()),
        report: Report { model: detector.config().name.clone(), images: Vec::new(), errors: Vec::new() },
    };
    run.all(&pictures, args.detector.batch.into())?;
    run.bar.finish_and_clear();
    let report = run.report;
    if let Some(json) = json {
        json.write(&report)?;
    }
    if report.errors.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    if pictures.len() > 1 {
        eprintln!("{} of {} pictures failed", report.errors.len(), pictures.len());
    }
    Ok(ExitCode::from(FAILED))
}

/// A picture that could be read.
struct Source {
    path: PathBuf,
    width: u32,
    height: u32,
    /// Kept only to be drawn on.
    pixels: Option<RgbImage>,
}

/// A picture ready for the network, or why it is not.
type Decoded = Result<(Source, Prepared), (PathBuf, anyhow::Error)>;

/// Decodes and prepares batch after batch, waiting with each until the one before is taken.
fn decode_ahead(
    pictures: &[PathBuf],
    batch: usize,
    preprocess: Preprocess,
    keep: bool,
    to: &SyncSender<Vec<Decoded>>,
) {
    let load = |path: &Path| -> Result<_> {
        let picture = decode_file(path, &DecodeLimits::default())?;
        Ok((preprocess.apply(&picture)?, picture))
    };
    let decode = |path: &PathBuf| {
        let path = path.clone();
        match load(&path) {
            Ok((prepared, picture)) => {
                let (width, height) = picture.dimensions();
                Ok((Source { path, width, height, pixels: keep.then_some(picture) }, prepared))
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
    out: Option<OutFolder>,
    show_table: bool,
    writes_files: bool,
    bar: ProgressBar,
    report: Report,
}

impl Run<'_> {
    fn all(&mut self, pictures: &[PathBuf], batch: usize) -> Result<()> {
        let (preprocess, keep) = (*self.detector.preprocess(), self.out.is_some());
        thread::scope(|scope| {
            // Without room in the channel, one batch is decoded while another is in the network, and no more.
            let (to, batches) = sync_channel(0);
            scope.spawn(move || decode_ahead(pictures, batch, preprocess, keep, &to));
            batches.into_iter().try_for_each(|batch| self.batch(batch))
        })
    }

    fn batch(&mut self, decoded: Vec<Decoded>) -> Result<()> {
        let count = decoded.len() as u64;
        let (mut sources, mut prepared) = (Vec::new(), Vec::new());
        for picture in decoded {
            match picture {
                Ok((source, ready)) => {
                    sources.push(source);
                    prepared.push(ready);
                }
                Err((path, error)) => self.failed(&path, &error),
            }
        }
        match self.detector.detect_prepared(&prepared) {
            Ok(detections) => self.found(sources, detections)?,
            Err(error) => {
                let error = anyhow::Error::from(error);
                sources.iter().for_each(|source| self.failed(&source.path, &error));
            }
        }
        self.bar.inc(count);
        Ok(())
    }

    fn found(&mut self, sources: Vec<Source>, detections: Vec<Vec<Detection>>) -> Result<()> {
        let classes = self.detector.class_map();
        let mut drawings = Vec::new();
        for (Source { path, width, height, pixels }, detections) in sources.into_iter().zip(detections) {
            let reports =
                detections.iter().map(|detection| DetectionReport::new(detection, classes)).collect();
            let image = ImageReport { path: path.display().to_string(), width, height, detections: reports };
            self.show(&image)?;
            self.report.images.push(image);
            if let (Some(out), Some(pixels)) = (&mut self.out, pixels) {
                let to = out.path_for(&path);
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
        failures.into_iter().for_each(|(path, error)| self.failed(&path, &error.into()));
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

    /// Reports a picture that failed; the rest go on.
    fn failed(&mut self, path: &Path, error: &anyhow::Error) {
        let path = path.display().to_string();
        let reason = describe(error);
        let reason = reason.strip_prefix(&format!("{path}: ")).unwrap_or(&reason).to_owned();
        self.bar.suspend(|| eprintln!("error: {}: {}", printable(&path), printable(&reason)));
        self.report.errors.push(ImageError { path, error: reason });
    }
}
