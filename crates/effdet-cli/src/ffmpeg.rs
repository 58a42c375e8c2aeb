//! Video in and out through the `ffmpeg` command, which is run, not linked.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, bail};
use effdet::prelude::RgbImage;
use serde::Deserialize;

/// Frames a second where a stream does not say.
const DEFAULT_RATE: &str = "25/1";

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
    duration: Option<String>,
}

#[derive(Default, Deserialize)]
struct FormatJson {
    #[serde(default)]
    format_name: String,
    duration: Option<String>,
}

/// Asks ffprobe.
pub fn probe(input: &Input, name: &Path) -> Result<Probe> {
    let entries = "stream=avg_frame_rate,r_frame_rate,nb_frames,duration:format=format_name,duration";
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
    let json: ProbeJson = serde_json::from_slice(&stdout)
        .with_context(|| format!("{}: ffprobe answered what cannot be read", name.display()))?;
    // ffmpeg draws text files as terminals.
    let Some(stream) = json.streams.first().filter(|_| json.format.format_name != "tty") else {
        bail!("{}: there are no pictures in it", name.display());
    };
    Ok(describe(stream, &json.format, input.is_live()))
}

fn describe(stream: &StreamJson, format: &FormatJson, is_live: bool) -> Probe {
    let rates = [&stream.avg_frame_rate, &stream.r_frame_rate];
    let known = rates.into_iter().flatten().find_map(|rate| Some((rate.clone(), fraction(rate)?)));
    let (rate, frames_per_second) = known.unwrap_or((DEFAULT_RATE.to_owned(), 25.0));
    let number = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<f64>().ok());
    let counted = number(&stream.nb_frames).filter(|frames| *frames >= 1.0);
    let timed =
        number(&stream.duration).or(number(&format.duration)).map(|seconds| seconds * frames_per_second);
    let frames = counted.or(timed).filter(|frames| frames.is_finite() && !is_live);
    Probe { rate, frames_per_second, frames: frames.map(|frames| frames.round() as u64) }
}

/// The value of `30000/1001`, if it is a rate.
fn fraction(text: &str) -> Option<f64> {
    let (above, below) = text.split_once('/')?;
    let value = above.parse::<f64>().ok()? / below.parse::<f64>().ok()?;
    (value.is_finite() && value > 0.0 && value <= 1000.0).then_some(value)
}

/// Frames that ffmpeg decodes.
pub struct Decoder {
    child: Child,
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
        command.args([
            "-fps_mode",
            "passthrough",
            "-f",
            "image2pipe",
            "-c:v",
            "ppm",
            "-pix_fmt",
            "rgb24",
            "pipe:1",
        ]);
        let mut child = spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
        let messages = child.stderr.take().map(collect);
        let Some(frames) = child.stdout.take() else { bail!("ffmpeg has no output") };
        Ok(Self { child, frames: BufReader::with_capacity(1 << 20, frames), messages })
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
        // It has ended already, or nobody wants the rest.
        let _ = self.child.kill();
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
            // Frames are shown at the distances at which they come.
            command.args(["-use_wallclock_as_timestamps", "1"]);
        } else {
            command.args(["-r", rate]);
        }
        command.args(["-i", "pipe:0"]);
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
            duration: None,
        };
        let format = FormatJson { format_name: "mov".into(), duration: text("2.0") };
        let probe = describe(&stream, &format, false);
        assert_eq!((probe.rate.as_str(), probe.frames), ("30000/1001", Some(300)));
        (stream.avg_frame_rate, stream.nb_frames) = (text("0/0"), None);
        let probe = describe(&stream, &format, false);
        assert_eq!((probe.rate.as_str(), probe.frames), ("30/1", Some(60)));
        stream.r_frame_rate = None;
        let probe = describe(&stream, &format, true);
        assert_eq!((probe.rate.as_str(), probe.frames_per_second, probe.frames), ("25/1", 25.0, None));
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
