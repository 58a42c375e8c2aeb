//! Video in and out through the `ffmpeg` command, which is run, not linked.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use effdet::prelude::RgbImage;
use serde::Deserialize;

/// Frames a second where a stream does not say.
const DEFAULT_RATE: &str = "25/1";

/// Most frames a second that a header is believed. Above are the ticks of a clock: browsers record with 1000.
const MAX_RATE: f64 = 240.0;

/// Ticks a second of the clock that a camera's frames are stamped by.
const LIVE_TICKS: u32 = 1000;

/// Most pixels of a frame.
const MAX_PIXELS: u64 = 1 << 28;

/// Most bytes kept of what a command says.
const MAX_MESSAGES: u64 = 1 << 16;

/// Where frames come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A file, or a file behind an address.
    File(OsString),
    /// A stream that goes on whether it is read or not.
    Live(OsString),
    /// A camera of Video4Linux.
    Camera(OsString),
}

impl Input {
    /// What a source on the command line is.
    pub fn new(source: &Path) -> Self {
        let text = source.to_string_lossy();
        let is_live = ["rtsp://", "rtsps://", "rtmp://", "udp://", "rtp://", "srt://"];
        if text.starts_with("/dev/video") {
            Self::Camera(source.into())
        } else if is_live.iter().any(|scheme| text.starts_with(scheme)) {
            Self::Live(source.into())
        } else if text.contains("://") {
            Self::File(source.into())
        } else {
            Self::File(file_url(source))
        }
    }

    /// Whether the frames come in their own time.
    pub fn is_live(&self) -> bool {
        !matches!(self, Self::File(_))
    }

    fn arguments(&self) -> Vec<OsString> {
        match self {
            Self::Camera(source) => {
                ["-f", "v4l2", "-i"].map(OsString::from).into_iter().chain([source.clone()]).collect()
            }
            Self::File(source) | Self::Live(source) => vec!["-i".into(), source.clone()],
        }
    }
}

/// A path that is never taken for an option or a protocol.
fn file_url(path: &Path) -> OsString {
    let mut url = OsString::from("file:");
    url.push(path);
    url
}

/// What is known of a video before it is read.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    /// Frames a second, as ffmpeg writes fractions.
    pub rate: String,
    /// The same as a number.
    pub frames_per_second: f64,
    /// Frames it should have, where that is known.
    pub frames: Option<u64>,
    /// Whether these are the pictures' own, and not as many as would last as long as the whole file, whose sound
    /// may outlast them.
    pub is_counted: bool,
}

#[derive(Deserialize)]
struct ProbeJson {
    #[serde(default)]
    streams: Vec<StreamJson>,
    #[serde(default)]
    format: FormatJson,
}

#[derive(Deserialize)]
struct StreamJson {
    avg_frame_rate: Option<String>,
    r_frame_rate: Option<String>,
    nb_frames: Option<String>,
    start_time: Option<String>,
    duration: Option<String>,
    #[serde(default)]
    tags: TagsJson,
}

#[derive(Default, Deserialize)]
struct TagsJson {
    /// When the stream ends, which is where Matroska has it.
    #[serde(rename = "DURATION")]
    end: Option<String>,
}

#[derive(Default, Deserialize)]
struct FormatJson {
    #[serde(default)]
    format_name: String,
    duration: Option<String>,
}

/// Asks ffprobe.
pub fn probe(input: &Input, name: &Path) -> Result<Probe> {
    let entries = "stream=avg_frame_rate,r_frame_rate,nb_frames,start_time,duration:stream_tags=DURATION:\
                   format=format_name,duration";
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-select_streams", "v:0", "-show_entries", entries, "-of", "json"]);
    let Output { status, stdout, stderr } =
        command.args(input.arguments()).stdin(Stdio::null()).output().map_err(cannot_run)?;
    let text = String::from_utf8_lossy(&stderr);
    if !status.success() {
        bail!(
            "{}: not a video that ffmpeg can read: {}",
            name.display(),
            reason(&text, "it does not say why")
        );
    }
    let ProbeJson { streams, format } = serde_json::from_slice(&stdout)
        .with_context(|| format!("{}: ffprobe answered what cannot be read", name.display()))?;
    // ffmpeg draws text files as terminals.
    let Some(mut stream) = streams.into_iter().next().filter(|_| format.format_name != "tty") else {
        bail!("{}: there are no pictures in it", name.display());
    };
    if !input.is_live() && said_rate(&stream).is_none() {
        stream.avg_frame_rate = measured_rate(input)?;
    }
    Ok(describe(&stream, &format, input.is_live()))
}

/// The rate in the header of a stream, where it can be one of frames.
fn said_rate(stream: &StreamJson) -> Option<(String, f64)> {
    let rates = [&stream.avg_frame_rate, &stream.r_frame_rate];
    let plausible = |rate: &String| Some((rate.clone(), fraction(rate).filter(|rate| *rate <= MAX_RATE)?));
    rates.into_iter().flatten().find_map(plausible)
}

/// The mean rate of the frames of a file, which is read for it and not decoded.
fn measured_rate(input: &Input) -> Result<Option<String>> {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-select_streams", "v:0", "-show_entries", "packet=pts_time"]);
    command.args(["-of", "csv=p=0"]).args(input.arguments());
    let output = command.stdin(Stdio::null()).output().map_err(cannot_run)?;
    Ok(mean_rate(&String::from_utf8_lossy(&output.stdout)))
}

/// The mean rate of frames that are shown at these times, one on each line.
fn mean_rate(times: &str) -> Option<String> {
    // Some versions end a line with a comma, and a packet without a time has `N/A`.
    let times = times.lines().filter_map(|line| line.trim_end_matches(',').parse::<f64>().ok());
    let (mut count, mut first, mut last) = (0u32, f64::INFINITY, f64::NEG_INFINITY);
    for time in times {
        (count, first, last) = (count.saturating_add(1), first.min(time), last.max(time));
    }
    let rate = f64::from(count.saturating_sub(1)) / (last - first);
    (rate.is_finite() && rate > 0.0).then(|| format!("{}/1000", (1000.0 * rate).round()))
}

fn describe(stream: &StreamJson, format: &FormatJson, is_live: bool) -> Probe {
    let number = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<f64>().ok());
    let counted = number(&stream.nb_frames).filter(|frames| *frames >= 1.0);
    let tagged = stream.tags.end.as_deref().and_then(clock);
    let tagged = tagged.map(|end| end - number(&stream.start_time).unwrap_or(0.0));
    let lasts = number(&stream.duration).or(tagged).filter(|seconds| *seconds > 0.0);

    // More than is plausible is true of the film that has them.
    let average = || {
        let rate = counted? / lasts?;
        rate.is_finite().then(|| (format!("{rate:.3}"), rate))
    };
    let known = said_rate(stream).or_else(average);
    let (rate, frames_per_second) = known.unwrap_or((DEFAULT_RATE.to_owned(), 25.0));

    let of_stream = counted.or(lasts.map(|seconds| seconds * frames_per_second));
    let of_file = number(&format.duration).map(|seconds| seconds * frames_per_second);
    let frames = of_stream.or(of_file).filter(|frames| frames.is_finite() && !is_live);
    Probe {
        rate,
        frames_per_second,
        frames: frames.map(|frames| frames.round() as u64),
        is_counted: of_stream.is_some(),
    }
}

/// The seconds of `00:01:02.500000000`.
fn clock(text: &str) -> Option<f64> {
    let mut seconds = 0.0;
    for part in text.trim().split(':') {
        seconds = 60.0 * seconds + part.parse::<f64>().ok()?;
    }
    Some(seconds)
}

/// The value of `30000/1001`, if it is a rate.
fn fraction(text: &str) -> Option<f64> {
    let (above, below) = text.split_once('/')?;
    let value = above.parse::<f64>().ok()? / below.parse::<f64>().ok()?;
    (value.is_finite() && value > 0.0).then_some(value)
}

/// The option that says which frames are kept, by the name that this ffmpeg has for it.
fn frame_mode() -> Result<&'static str> {
    let output = Command::new("ffmpeg").arg("-version").stdin(Stdio::null()).output().map_err(cannot_run)?;
    Ok(if is_before_5_1(&String::from_utf8_lossy(&output.stdout)) { "-vsync" } else { "-fps_mode" })
}

/// Whether this is what an ffmpeg before 5.1 says of itself. Builds between releases have no such number, and are
/// taken for later ones.
fn is_before_5_1(text: &str) -> bool {
    let version = text.strip_prefix("ffmpeg version ").unwrap_or_default().trim_start_matches('n');
    let mut parts = version.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().ok());
    // The date of a build begins with a year.
    match (parts.next().flatten(), parts.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor) < (5, 1),
        _ => false,
    }
}

/// Ends a decoder from another thread, whatever that waits for.
#[derive(Clone)]
pub struct Stopper(Arc<Mutex<Child>>);

impl Stopper {
    /// Ends it, if it has not ended.
    pub fn stop(&self) {
        // It has ended already, or nobody wants the rest.
        let _ = self.child().kill();
    }

    /// Waits for its end without keeping others from bringing it about.
    fn wait(&self) -> io::Result<ExitStatus> {
        const NAP: Duration = Duration::from_millis(5);
        loop {
            if let Some(status) = self.child().try_wait()? {
                return Ok(status);
            }
            thread::sleep(NAP);
        }
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Frames that ffmpeg decodes.
pub struct Decoder {
    child: Stopper,
    frames: BufReader<ChildStdout>,
    messages: Option<JoinHandle<String>>,
}

impl Decoder {
    /// Starts decoding.
    pub fn start(input: &Input, probe: &Probe) -> Result<Self> {
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-nostdin"]).args(input.arguments()).args(["-map", "0:v:0"]);
        if !input.is_live() {
            // As many frames a second as are written, whatever their times in the file.
            command.args(["-vf", &format!("fps={}", probe.rate)]);
        }
        // Each frame says its size, which ffprobe's need not be: pictures are turned upright here.
        command.args([frame_mode()?, "passthrough", "-f", "image2pipe"]);
        command.args(["-c:v", "ppm", "-pix_fmt", "rgb24", "pipe:1"]);
        let mut child = spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
        let messages = child.stderr.take().map(collect);
        let Some(frames) = child.stdout.take() else { bail!("ffmpeg has no output") };
        let child = Stopper(Arc::new(Mutex::new(child)));
        Ok(Self { child, frames: BufReader::with_capacity(1 << 20, frames), messages })
    }

    /// What ends it.
    pub fn stopper(&self) -> Stopper {
        self.child.clone()
    }

    /// The next frame, or `None` at the end.
    pub fn frame(&mut self) -> Result<Option<RgbImage>> {
        read_ppm(&mut self.frames).context("ffmpeg's frames cannot be read")
    }

    /// Whether it ended well, and what it had to say.
    pub fn finish(mut self) -> Result<(bool, String)> {
        let status = self.child.wait()?;
        let messages = self.messages.take().and_then(|messages| messages.join().ok()).unwrap_or_default();
        Ok((status.success(), messages))
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        self.child.stop();
        let _ = self.child.wait();
    }
}

/// Reads one picture of the `P6` form; `None` at the end of the input, and where a picture is cut off.
fn read_ppm(from: &mut impl BufRead) -> io::Result<Option<RgbImage>> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut header = [const { String::new() }; 3];
    for line in &mut header {
        if from.by_ref().take(64).read_line(line)? == 0 {
            return Ok(None);
        }
    }
    let side = |text: Option<&str>| text.and_then(|text| text.parse::<u32>().ok());
    let mut sides = header[1].split_ascii_whitespace();
    let (Some(width), Some(height)) = (side(sides.next()), side(sides.next())) else {
        return Err(invalid("a frame without size"));
    };
    if header[0].trim_end() != "P6" || header[2].trim_end() != "255" {
        return Err(invalid("not a frame of 8-bit samples"));
    }
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(invalid("a frame of more pixels than are read"));
    }
    let mut samples = vec![0; 3 * width as usize * height as usize];
    match from.read_exact(&mut samples) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
        Ok(()) => Ok(RgbImage::from_raw(width, height, samples)),
    }
}

/// A video that ffmpeg encodes.
pub struct Encoder {
    child: Child,
    frames: Option<ChildStdin>,
    messages: Option<JoinHandle<String>>,
    path: PathBuf,
    size: (u32, u32),
}

impl Encoder {
    /// Begins a file for frames of one size; its extension says the format.
    pub fn create(path: &Path, size: (u32, u32), rate: &str, is_live: bool) -> Result<Self> {
        let (width, height) = size;
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-nostdin", "-y"]);
        command.args(["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", &format!("{width}x{height}")]);
        if is_live {
            // Frames are shown at the distances at which they come, rounded to the ticks of this rate.
            command.args(["-framerate", &LIVE_TICKS.to_string(), "-use_wallclock_as_timestamps", "1"]);
        } else {
            command.args(["-r", rate]);
        }
        command.args(["-i", "pipe:0"]);
        if is_live {
            command.args([frame_mode()?, "vfr", "-enc_time_base", &format!("1:{LIVE_TICKS}")]);
        }
        // The usual form of colour has half the samples along each side.
        command.args(["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p"]).arg(file_url(path));
        let mut child = spawn(command.stdin(Stdio::piped()).stdout(Stdio::null()))?;
        let messages = child.stderr.take().map(collect);
        let frames = child.stdin.take();
        Ok(Self { child, frames, messages, path: path.to_owned(), size })
    }

    /// Adds a frame.
    pub fn write(&mut self, frame: &RgbImage) -> Result<()> {
        if frame.dimensions() != self.size {
            bail!("{}: the frames change their size", self.path.display());
        }
        let written = self.frames.as_mut().map_or(Ok(()), |frames| frames.write_all(frame.as_raw()));
        if written.is_err() {
            // It has given up, and says why.
            return self.end();
        }
        Ok(())
    }

    /// Completes the file.
    pub fn finish(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        // The end of its input is the end of the video.
        drop(self.frames.take());
        let status = self.child.wait()?;
        let messages = self.messages.take().and_then(|messages| messages.join().ok()).unwrap_or_default();
        if !status.success() {
            bail!("cannot write {}: {}", self.path.display(), reason(&messages, "ffmpeg failed"));
        }
        Ok(())
    }
}

fn spawn(command: &mut Command) -> Result<Child> {
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        // Ctrl-C is for us: what was begun is then completed.
        command.process_group(0);
    }
    command.stderr(Stdio::piped()).spawn().map_err(cannot_run)
}

fn cannot_run(error: io::Error) -> anyhow::Error {
    if error.kind() == io::ErrorKind::NotFound {
        return anyhow::anyhow!(
            "videos need the commands ffmpeg and ffprobe, which are not installed: `apt install ffmpeg`, `brew install \
             ffmpeg`, or see https://ffmpeg.org/download.html"
        );
    }
    anyhow::Error::new(error).context("cannot run ffmpeg")
}

/// Reads what a command says while it runs, or it would wait with a full pipe.
fn collect(from: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut kept = Vec::new();
        // What cannot be read is not told.
        let _ = from.by_ref().take(MAX_MESSAGES).read_to_end(&mut kept);
        let _ = io::copy(&mut from, &mut io::sink());
        String::from_utf8_lossy(&kept).into_owned()
    })
}

/// The last line of what a command said, without the address of the part that said it.
pub fn reason<'a>(messages: &'a str, otherwise: &'a str) -> &'a str {
    let last = messages.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or(otherwise);
    match last.split_once("] ") {
        Some((part, rest)) if part.starts_with('[') => rest,
        _ => last,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_files_streams_and_cameras() {
        let arguments = |source: &str| {
            let arguments = Input::new(Path::new(source)).arguments();
            arguments.iter().map(|part| part.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(arguments("/dev/video2"), "-f v4l2 -i /dev/video2");
        assert_eq!(arguments("-odd: name.mp4"), "-i file:-odd: name.mp4");
        assert_eq!(arguments("rtsp://host/1"), "-i rtsp://host/1");
        assert_eq!(arguments("https://host/clip.mp4"), "-i https://host/clip.mp4");
        let live = ["/dev/video0", "rtsp://host/1", "clip.mp4", "https://host/clip.mp4"]
            .map(|source| Input::new(Path::new(source)).is_live());
        assert_eq!(live, [true, true, false, false]);
    }

    #[test]
    fn rate_and_length_are_what_the_stream_says_else_the_file() {
        let text = |text: &str| Some(text.to_owned());
        let mut stream = StreamJson {
            avg_frame_rate: text("30000/1001"),
            r_frame_rate: text("30/1"),
            nb_frames: text("300"),
            start_time: None,
            duration: None,
            tags: TagsJson::default(),
        };
        let format = FormatJson { format_name: "mov".into(), duration: text("2.0") };
        let probe = describe(&stream, &format, false);
        assert_eq!((probe.rate.as_str(), probe.frames), ("30000/1001", Some(300)));
        (stream.avg_frame_rate, stream.nb_frames) = (text("0/0"), None);
        let probe = describe(&stream, &format, false);
        assert_eq!((probe.rate.as_str(), probe.frames, probe.is_counted), ("30/1", Some(60), false));
        (stream.tags.end, stream.start_time) = (text("00:00:01.500000000"), text("0.500000"));
        let probe = describe(&stream, &format, false);
        assert_eq!((probe.frames, probe.is_counted), (Some(30), true));
        stream.r_frame_rate = None;
        let probe = describe(&stream, &format, true);
        assert_eq!((probe.rate.as_str(), probe.frames_per_second, probe.frames), ("25/1", 25.0, None));
    }

    #[test]
    fn the_ticks_of_a_clock_are_no_rate() {
        let text = |text: &str| Some(text.to_owned());
        let mut stream = StreamJson {
            avg_frame_rate: text("1000/1"),
            r_frame_rate: text("1000/1"),
            nb_frames: None,
            start_time: None,
            duration: text("2.0"),
            tags: TagsJson::default(),
        };
        assert_eq!(describe(&stream, &FormatJson::default(), false).rate, "25/1");
        stream.r_frame_rate = text("30/1");
        assert_eq!(describe(&stream, &FormatJson::default(), false).rate, "30/1");
        // A film of that many frames has that rate.
        (stream.r_frame_rate, stream.nb_frames) = (text("1000/1"), text("1920"));
        let probe = describe(&stream, &FormatJson::default(), false);
        assert_eq!((probe.rate.as_str(), probe.frames), ("960.000", Some(1920)));
    }

    #[test]
    fn a_rate_that_no_header_says_is_the_mean_of_the_frames() {
        let times = "0.000000\n0.034000,\nN/A\n0.066000\n0.100000\n";
        assert_eq!(mean_rate(times).as_deref(), Some("30000/1000"));
        // Pictures are stored in another order than they are shown in.
        assert_eq!(mean_rate("0.5\n2.5\n1.5\n").as_deref(), Some("1000/1000"));
        for times in ["", "N/A\n", "0.0\n", "1.0\n1.0\n"] {
            assert_eq!(mean_rate(times), None, "{times}");
        }
    }

    #[test]
    fn matroska_says_when_a_stream_ends_in_its_tags() {
        let json = r#"{"streams": [{"avg_frame_rate": "12/1", "tags": {"DURATION": "00:01:02.500000000"}}]}"#;
        let json: ProbeJson = serde_json::from_str(json).unwrap();
        let probe = describe(&json.streams[0], &json.format, false);
        assert_eq!((probe.frames, probe.is_counted), (Some(750), true));
        assert_eq!(clock("soon"), None);
    }

    #[test]
    fn an_ffmpeg_before_5_1_is_known_by_its_version() {
        for (version, is_old) in [
            ("4.4.2-0ubuntu0.22.04.1 Copyright (c) 2000-2021", true),
            ("n5.0.1 Copyright", true),
            ("3.4", true),
            ("5.1.6-0+deb12u1 Copyright", false),
            ("n7.0", false),
            ("10.0", false),
            ("N-109468-gd39b34123d Copyright", false),
            ("2023-01-01-git-62da0b4a74 Copyright", false),
        ] {
            assert_eq!(
                is_before_5_1(&format!("ffmpeg version {version}\nbuilt with gcc")),
                is_old,
                "{version}"
            );
        }
        assert!(!is_before_5_1(""));
    }

    #[test]
    fn frames_are_read_until_the_first_that_is_cut_off() {
        let bytes = b"P6\n2 1\n255\nabcdefP6\n1 1\n255\nghiP6\n2 1\n255\nabc";
        let mut from = &bytes[..];
        let first = read_ppm(&mut from).unwrap().unwrap();
        assert_eq!((first.dimensions(), first.as_raw().as_slice()), ((2, 1), &b"abcdef"[..]));
        assert_eq!(read_ppm(&mut from).unwrap().unwrap().as_raw().as_slice(), b"ghi");
        assert!(read_ppm(&mut from).unwrap().is_none());
        for bad in ["P5\n1 1\n255\nx", "P6\nwide\n255\n", "P6\n99999999 99999999\n255\n"] {
            assert!(read_ppm(&mut bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_reason_is_the_last_line_without_its_part() {
        assert_eq!(reason("first\n[mov,mp4 @ 0x55d] moov atom not found\n\n", "-"), "moov atom not found");
        assert_eq!(reason("\n", "nothing said"), "nothing said");
    }
}
