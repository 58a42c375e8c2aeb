//! `effdet video`.

use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use effdet::prelude::*;
use indicatif::ProgressBar;
use rayon::prelude::*;

use crate::args::{MergeName, VideoArgs};
use crate::ffmpeg::{self, Decoder, Encoder, Input, Probe, Stopper};
use crate::interrupt::{self, INTERRUPTED};
use crate::logging::{note, tell};
use crate::output::{DetectionReport, FrameReport, JsonLines, write_line};
use crate::{detector, overwrite, progress};

/// The video ends early or is damaged.
const DAMAGED: u8 = 1;

/// Longest time in which Ctrl-C is not noticed.
const NAP: Duration = Duration::from_millis(50);

/// Part of the frames that a file may lack: its header rounds.
const MISSING: f64 = 0.02;

/// Detects objects in every frame.
pub fn run(args: &VideoArgs) -> Result<ExitCode> {
    let options = args.views.options(&args.detector, MergeName::Join)?;
    let input = Input::new(&args.source);
    let probe = ffmpeg::probe(&input, &args.source)?;
    let outputs = [("--out", args.out.as_deref()), ("--jsonl", args.jsonl.as_deref())];
    let source = (Some(args.source.as_path()), "the source");
    overwrite::refuse(&outputs, args.detector.network.files().into_iter().chain([source]))?;
    if let Some(out) = &args.out {
        check_out(out)?;
    }
    let detector = detector::load(&args.detector, args.score)?;
    interrupt::listen()?;

    let decoder = Decoder::start(&input, &probe)?;
    let jsonl = args.jsonl.as_deref().map(JsonLines::create).transpose()?;
    let batch = args.detector.batch.into();
    let begun = Instant::now();
    let mut run = Run {
        detector: &detector,
        options,
        probe: &probe,
        is_live: input.is_live(),
        begun,
        jsonl,
        is_drawn: args.out.is_some(),
        frames: 0,
        objects: 0,
        bar: progress::frames(probe.frames),
    };
    let (decoded, encoded) = thread::scope(|scope| {
        // A batch waits while another is in the network.
        let (to_detect, frames) = sync_channel(batch);
        let (to_encode, drawn) = sync_channel(batch);
        let (stopper, stopper_on_interrupt) = (decoder.stopper(), decoder.stopper());
        let (is_over, over) = channel();
        scope.spawn(move || stop_on_interrupt(&stopper_on_interrupt, &over));
        let decoding = scope.spawn(move || decode(decoder, args.max_frames, &to_detect));
        let encoding = args.out.as_deref().map(|out| {
            let (rate, is_live) = (probe.rate.clone(), input.is_live());
            scope.spawn(move || encode(out, &rate, is_live, drawn))
        });
        let detected = run.all(frames, batch, args.out.is_some().then_some(to_encode));
        // Where detection ended before the input, nobody wants the rest, which a stream may not deliver for long.
        stopper.stop();
        let failed = || anyhow!("a thread failed");
        let decoded = decoding.join().map_err(|_| failed()).and_then(|end| end);
        drop(is_over);
        let encoded = encoding.map(|encoding| encoding.join().map_err(|_| failed()).and_then(|end| end));
        detected.map(|()| (decoded, encoded))
    })?;
    run.bar.finish_and_clear();
    encoded.transpose()?;
    run.summary(&args.source);
    finish(&run, decoded?, args)
}

/// Refuses what is no name of a video, and folders that do not exist.
fn check_out(out: &Path) -> Result<()> {
    if out.extension().is_none() || out.is_dir() {
        bail!(
            "--out {}: expected the name of a file that says its format, such as annotated.mp4",
            out.display()
        );
    }
    match out.parent().filter(|folder| *folder != Path::new("") && !folder.is_dir()) {
        Some(folder) => bail!("--out {}: there is no folder {}", out.display(), folder.display()),
        None => Ok(()),
    }
}

/// Ends the decoder at Ctrl-C, whatever it waits for, until `over` says that it has ended by itself.
fn stop_on_interrupt(decoder: &Stopper, over: &Receiver<()>) {
    while over.recv_timeout(NAP) == Err(RecvTimeoutError::Timeout) {
        if interrupt::requested() {
            decoder.stop();
            return;
        }
    }
}

/// How decoding ended.
enum End {
    /// At the end of the input: whether ffmpeg was content, and what it said.
    Input(bool, String),
    /// Nobody wanted more.
    Stopped,
}

fn decode(mut decoder: Decoder, most: Option<u64>, to: &SyncSender<RgbImage>) -> Result<End> {
    let mut count = 0;
    while most.is_none_or(|most| count < most) && !interrupt::requested() {
        let frame = decoder.frame();
        if interrupt::requested() {
            // What a decoder left that was ended then is no error.
            break;
        }
        let Some(frame) = frame? else {
            let (is_well, messages) = decoder.finish()?;
            return Ok(End::Input(is_well, messages));
        };
        if to.send(frame).is_err() {
            break;
        }
        count += 1;
    }
    Ok(End::Stopped)
}

/// Encodes until there are no more frames. Dropping the receiver, as an error does, tells the others to stop.
fn encode(out: &Path, rate: &str, is_live: bool, frames: Receiver<RgbImage>) -> Result<()> {
    let mut encoder: Option<Encoder> = None;
    for frame in frames {
        let encoder = match &mut encoder {
            Some(encoder) => encoder,
            none => none.insert(Encoder::create(out, frame.dimensions(), rate, is_live)?),
        };
        encoder.write(&frame)?;
    }
    encoder.map_or(Ok(()), Encoder::finish)
}

/// The state of a run over frames.
struct Run<'a> {
    detector: &'a Detector,
    options: DetectOptions,
    probe: &'a Probe,
    is_live: bool,
    begun: Instant,
    jsonl: Option<JsonLines>,
    /// Whether a video is written, too.
    is_drawn: bool,
    frames: u64,
    objects: u64,
    bar: ProgressBar,
}

impl Run<'_> {
    fn all(
        &mut self,
        frames: Receiver<RgbImage>,
        batch: usize,
        drawn: Option<SyncSender<RgbImage>>,
    ) -> Result<()> {
        while let Ok(first) = frames.recv() {
            let mut together = vec![first];
            while together.len() < batch {
                // What a camera has not shown yet is not waited for.
                let next = if self.is_live { frames.try_recv().ok() } else { frames.recv().ok() };
                let Some(next) = next else { break };
                together.push(next);
            }
            let detections = self.detect(&together)?;
            self.report(&together, &detections)?;
            if let Some(to) = &drawn {
                let classes = self.detector.class_map();
                together.par_iter_mut().zip(&detections).for_each(|(frame, detections)| {
                    annotate(frame, detections, classes, &Style::default());
                });
                // The encoder has failed, and tells why at the end.
                if together.into_iter().any(|frame| to.send(frame).is_err()) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn detect(&self, frames: &[RgbImage]) -> Result<Vec<Vec<Detection>>> {
        if self.options.is_plain() {
            return Ok(self.detector.detect_batch(frames)?);
        }
        frames.iter().map(|frame| Ok(self.detector.detect_with(frame, &self.options)?)).collect()
    }

    fn report(&mut self, frames: &[RgbImage], detections: &[Vec<Detection>]) -> Result<()> {
        let classes = self.detector.class_map();
        for (frame, detections) in frames.iter().zip(detections) {
            let time = match self.is_live {
                true => self.begun.elapsed().as_secs_f64(),
                false => self.frames as f64 / self.probe.frames_per_second,
            };
            if self.jsonl.is_some() {
                let (width, height) = frame.dimensions();
                let detections =
                    detections.iter().map(|found| DetectionReport::new(found, classes)).collect();
                let report = FrameReport { frame: self.frames, time, width, height, detections };
                write_line(&mut self.jsonl, &report, self.is_drawn)?;
            }
            self.frames += 1;
            self.objects += detections.len() as u64;
        }
        self.bar.set_position(self.frames);
        Ok(())
    }

    fn summary(&self, source: &Path) {
        let seconds = self.begun.elapsed().as_secs_f64();
        let rate = self.frames as f64 / seconds;
        note!(
            "{}: {} frames, {} objects in {seconds:.1} s: {rate:.1} frames per second",
            source.display(),
            self.frames,
            self.objects
        );
    }
}

/// Tells what was wrong with the input.
fn finish(run: &Run<'_>, end: End, args: &VideoArgs) -> Result<ExitCode> {
    let (is_well, messages) = match end {
        End::Stopped if interrupt::requested() && !run.is_live => return Ok(ExitCode::from(INTERRUPTED)),
        End::Stopped => return Ok(ExitCode::SUCCESS),
        End::Input(is_well, messages) => (is_well, messages),
    };
    let name = args.source.display();
    let said = ffmpeg::reason(&messages, "ffmpeg does not say why");
    if run.frames == 0 {
        return Err(anyhow!("{said}")).with_context(|| format!("{name}: no frame could be decoded"));
    }
    let expected = run.probe.frames.unwrap_or(0);
    let least = expected - (expected as f64 * MISSING).ceil() as u64;
    // The whole file may last longer than its pictures: its length alone shows no damage.
    let shows_damage = run.probe.is_counted || !messages.trim().is_empty();
    if !is_well || (run.frames < least && shows_damage) {
        let of = if expected > run.frames { format!(" of {expected}") } else { String::new() };
        tell!("error: {name} ends after {}{of} frames: {said}", run.frames);
        return Ok(ExitCode::from(DAMAGED));
    }
    if !messages.trim().is_empty() {
        note!("warning: {name}: {said}");
    }
    Ok(ExitCode::SUCCESS)
}
