//! What is shown and written: table, JSON, names of annotated pictures.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use effdet::core::{Replacement, with_causes};
use effdet::prelude::{ClassMap, Detection};
use serde::Serialize;

use crate::sources::is_stdin;

/// What `--json` writes.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Name of the detector.
    pub model: String,
    /// Pictures that were read, in the order of the sources.
    pub images: Vec<ImageReport>,
    /// Pictures that were not.
    pub errors: Vec<ImageError>,
}

/// The detections of one picture.
#[derive(Debug, Serialize)]
pub struct ImageReport {
    pub path: String,
    pub width: u32,
    pub height: u32,
    pub detections: Vec<DetectionReport>,
}

/// One detection, in pixels of the picture.
#[derive(Debug, Serialize)]
pub struct DetectionReport {
    pub bbox: [f32; 4],
    pub score: f32,
    pub class_id: u32,
    pub label: String,
}

/// Why a picture has no detections.
#[derive(Debug, Serialize)]
pub struct ImageError {
    pub path: String,
    pub error: String,
}

impl DetectionReport {
    pub fn new(detection: &Detection, classes: &ClassMap) -> Self {
        let Detection { bbox, score, class_id } = *detection;
        Self { bbox: [bbox.x1, bbox.y1, bbox.x2, bbox.y2], score, class_id, label: classes.label(class_id) }
    }
}

/// What `effdet video --jsonl` writes for each frame.
#[derive(Debug, Serialize)]
pub struct FrameReport {
    /// Number of the frame, from 0.
    pub frame: u64,
    /// Seconds from the start.
    pub time: f64,
    pub width: u32,
    pub height: u32,
    pub detections: Vec<DetectionReport>,
}

/// Writes one picture's table.
pub fn write_table(to: &mut impl Write, image: &ImageReport) -> io::Result<()> {
    let ImageReport { path, width, height, detections } = image;
    let objects = match detections.len() {
        0 => "nothing found".to_owned(),
        1 => "1 object".to_owned(),
        n => format!("{n} objects"),
    };
    writeln!(to, "{} ({width}x{height}): {objects}", printable(path))?;
    let labels: Vec<String> = detections.iter().map(|detection| printable(&detection.label)).collect();
    let widest = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0).max(5);
    if !labels.is_empty() {
        writeln!(to, "  {:widest$}  score       x1       y1       x2       y2", "label")?;
    }
    for (label, DetectionReport { bbox: [x1, y1, x2, y2], score, .. }) in labels.iter().zip(detections) {
        writeln!(to, "  {label:widest$}  {score:5.3} {x1:8.1} {y1:8.1} {x2:8.1} {y2:8.1}")?;
    }
    Ok(())
}

/// Without what would steer the terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// An error and its causes, without those that it has told already.
pub fn describe(error: &anyhow::Error) -> String {
    let error: &(dyn std::error::Error + 'static) = error.as_ref();
    with_causes(error)
}

/// Where `--json` goes.
#[derive(Debug)]
pub enum JsonTarget {
    /// Standard output.
    Stdout,
    /// A file, which is replaced once the new one is complete; a device or pipe is written to as it is.
    File(PathBuf),
}

impl JsonTarget {
    /// Looks at the place that `option` names before the work begins.
    pub fn new(option: &str, path: &Path) -> Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Stdout);
        }
        if path.is_dir() {
            bail!("{option} {}: this is a folder", path.display());
        }
        let folder = folder_of(path);
        if !folder.is_dir() || path.file_name().is_none() {
            bail!("{option} {}: there is no folder {}", path.display(), folder.display());
        }
        Ok(Self::File(path.to_owned()))
    }

    /// Writes the report.
    pub fn write(&self, report: &impl Serialize) -> Result<()> {
        match self {
            Self::Stdout => Ok(write_json(io::stdout().lock(), report)?),
            Self::File(path) => {
                replace(path, report).with_context(|| format!("cannot write {}", path.display()))
            }
        }
    }

    /// As [`write`](Self::write), where work goes on though nobody reads standard output, as with [`show`].
    pub fn write_if_read(&self, report: &impl Serialize) -> Result<()> {
        let written = self.write(report);
        match self {
            Self::Stdout => unless_unread(written),
            Self::File(_) => written,
        }
    }
}

/// Writes a result to standard output. That nobody reads it is no reason to stop: files may be wanted, and the status.
pub fn show(result: impl Display) -> Result<()> {
    let mut to = io::stdout().lock();
    let written = write!(to, "{result}").and_then(|()| to.flush());
    unless_unread(written.map_err(Into::into))
}

fn unless_unread(written: Result<()>) -> Result<()> {
    let is_pipe = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    match written {
        Err(error) if error.downcast_ref::<io::Error>().is_some_and(is_pipe) => Ok(()),
        written => written,
    }
}

/// Where `--jsonl` goes: one JSON value per line, each written at once.
pub struct JsonLines {
    /// Where they go, as errors call it.
    name: String,
    to: Box<dyn Write>,
}

impl JsonLines {
    /// Opens the file.
    pub fn create(path: &Path) -> Result<Self> {
        if path == Path::new("-") {
            return Ok(Self { name: "standard output".to_owned(), to: Box::new(io::stdout()) });
        }
        let name = path.display().to_string();
        let file = File::create(path).with_context(|| format!("cannot write {name}"))?;
        Ok(Self { name, to: Box::new(file) })
    }

    /// Writes a line. An error names the place and keeps its kind.
    pub fn write(&mut self, value: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        let Self { name, to } = self;
        let written = to.write_all(&line).and_then(|()| to.flush());
        written.map_err(|error| io::Error::new(error.kind(), format!("cannot write {name}: {error}")))
    }
}

/// Writes a line where lines are wanted. Once nobody reads them any more they end alone, if there are `others`,
/// results that are still wanted.
pub fn write_line(lines: &mut Option<JsonLines>, value: &impl Serialize, others: bool) -> io::Result<()> {
    let Some(open) = lines else { return Ok(()) };
    match open.write(value) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe && others => {
            *lines = None;
            Ok(())
        }
        written => written,
    }
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn replace(path: &Path, report: &impl Serialize) -> io::Result<()> {
    let replacement = Replacement::of(path)?;
    write_json(replacement.create()?, report)?;
    replacement.place()
}

fn write_json(to: impl Write, report: &impl Serialize) -> io::Result<()> {
    let mut to = BufWriter::new(to);
    serde_json::to_writer_pretty(&mut to, report)?;
    writeln!(to)?;
    to.flush()
}

/// The folder of `--out`, and a file name of its own in it for every picture.
#[derive(Debug)]
pub struct OutFolder {
    folder: PathBuf,
    taken: HashSet<String>,
    /// The path of each source's copy, which a later copy of the same source replaces.
    copies: HashMap<PathBuf, PathBuf>,
}

impl OutFolder {
    /// Makes the folder, unless annotated pictures would replace their sources there.
    pub fn create(folder: &Path, pictures: &[PathBuf]) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let entries =
            fs::read_dir(folder).with_context(|| format!("cannot read the folder {}", folder.display()))?;
        // Writing to a link replaces what it leads to.
        let held: HashSet<PathBuf> =
            entries.flatten().filter_map(|entry| fs::canonicalize(entry.path()).ok()).collect();
        let is_held = |picture: &&PathBuf| fs::canonicalize(picture).is_ok_and(|file| held.contains(&file));
        if let Some(picture) = pictures.iter().find(is_held) {
            bail!(
                "--out {} holds the source {} or a link to it: name another folder",
                folder.display(),
                picture.display()
            );
        }
        Ok(Self { folder: folder.to_owned(), taken: HashSet::new(), copies: HashMap::new() })
    }

    /// Path for the annotated copy of a picture: its name, as PNG where it is neither PNG nor JPEG, and with a number
    /// where another source of this run had that name.
    pub fn path_for(&mut self, picture: &Path) -> PathBuf {
        if let Some(copy) = self.copies.get(picture) {
            return copy.clone();
        }
        let stem = match is_stdin(picture) {
            true => "stdin".into(),
            false => picture.file_stem().unwrap_or_default().to_string_lossy(),
        };
        let extension = picture.extension().unwrap_or_default().to_string_lossy();
        let extension =
            if is_jpeg(picture) || extension.eq_ignore_ascii_case("png") { &extension } else { "png" };
        let mut name = format!("{stem}.{extension}");
        let mut copy = 2;
        // Some file systems know no case.
        while !self.taken.insert(name.to_lowercase()) {
            name = format!("{stem}-{copy}.{extension}");
            copy += 1;
        }
        let path = self.folder.join(name);
        self.copies.insert(picture.to_owned(), path.clone());
        path
    }
}

/// Whether a file's name says JPEG.
pub fn is_jpeg(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    ["jpg", "jpeg", "jpe", "jfif"].contains(&extension.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotated_pictures_never_share_a_name() {
        let mut out = OutFolder { folder: "out".into(), taken: HashSet::new(), copies: HashMap::new() };
        let names = ["a/cat.png", "b/cat.PNG", "c/cat-2.png", "cat.webp", "cat.jpg", "d/cat.jpg", "noext"]
            .map(|path| out.path_for(Path::new(path)).file_name().unwrap().to_string_lossy().into_owned());
        assert_eq!(
            names,
            ["cat.png", "cat-2.PNG", "cat-2-2.png", "cat-3.png", "cat.jpg", "cat-2.jpg", "noext.png"]
        );
    }

    #[test]
    fn a_source_seen_again_keeps_the_name_of_its_copy() {
        let mut out = OutFolder { folder: "out".into(), taken: HashSet::new(), copies: HashMap::new() };
        let names = ["in/latest.jpg", "other/latest.jpg", "in/latest.jpg", "other/latest.jpg"]
            .map(|path| out.path_for(Path::new(path)).display().to_string());
        assert_eq!(names[..2], ["out/latest.jpg", "out/latest-2.jpg"]);
        assert_eq!(names[2..], names[..2]);
    }

    /// A pipe whose reader has gone.
    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_nobody_reads_end_alone_where_there_are_other_results() {
        let mut lines = Some(JsonLines { name: "found.jsonl".to_owned(), to: Box::new(Closed) });
        let error = write_line(&mut lines, &1, false).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert!(error.to_string().contains("found.jsonl"), "{error}");
        write_line(&mut lines, &1, true).unwrap();
        assert!(lines.is_none());
        write_line(&mut lines, &1, false).unwrap();
    }

    #[test]
    fn a_cause_is_told_once() {
        let error = anyhow::anyhow!("bad CRC").context("cannot decode: bad CRC").context("a.png");
        assert_eq!(describe(&error), "a.png: cannot decode: bad CRC");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }
}
