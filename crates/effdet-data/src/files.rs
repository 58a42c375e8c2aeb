//! Label files and folders of pictures.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, DirEntry, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::Error;

/// Most bytes of a label file that is read as a whole. COCO and CSV files are read in pieces and may be longer.
pub(crate) const MAX_LABEL_BYTES: u64 = 1 << 30;

const PICTURE_EXTENSIONS: [&str; 8] = ["jpg", "jpeg", "png", "bmp", "tif", "tiff", "webp", "gif"];

/// Deepest nesting of folders that is walked.
const MAX_DEPTH: usize = 8;

pub(crate) fn unreadable(path: &Path) -> impl Fn(io::Error) -> Error + '_ {
    move |source| Error::Read { name: path.display().to_string(), source }
}

/// Opens what is a file. A device may never end, and opening a pipe already waits for whoever writes to it.
pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    match fs::metadata(path)?.is_file() {
        true => File::open(path),
        false => Err(io::Error::other("not a file")),
    }
}

pub(crate) fn open(path: &Path) -> Result<File, Error> {
    open_file(path).map_err(unreadable(path))
}

/// The folder that a file lies in. The parent of a bare name is empty and means the current folder.
pub(crate) fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    open(path)?.take(MAX_LABEL_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable(path))?;
    if bytes.len() as u64 > MAX_LABEL_BYTES {
        return Err(Error::LabelsTooLong { path: path.to_owned(), limit: MAX_LABEL_BYTES });
    }
    Ok(bytes)
}

/// The file as text, without a byte order mark.
pub(crate) fn read_text(path: &Path) -> Result<String, Error> {
    let text = String::from_utf8(read(path)?).map_err(|error| Error::Labels {
        path: path.to_owned(),
        at: format!("byte {}", error.utf8_error().valid_up_to()),
        reason: "not UTF-8".to_owned(),
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Entries of a folder sorted by name, without hidden ones such as macOS's `._` files.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(folder).map_err(unreadable(folder))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable(folder))?.path();
        if !is_hidden(&path) {
            paths.push(path);
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

pub(crate) fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension().is_some_and(|e| extensions.iter().any(|x| e.eq_ignore_ascii_case(x)))
}

/// The files of a folder with one of the extensions, sorted.
pub(crate) fn files_in(folder: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>, Error> {
    let mut paths = entries(folder)?;
    paths.retain(|path| has_extension(path, extensions) && path.is_file());
    Ok(paths)
}

/// The pictures in a folder, sorted.
pub(crate) fn pictures_in(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    files_in(folder, &PICTURE_EXTENSIONS)
}

/// The folders in a folder, sorted.
pub(crate) fn folders_in(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut paths = entries(folder)?;
    paths.retain(|path| path.is_dir());
    Ok(paths)
}

/// The pictures in a folder and in those below it, sorted within each; `walked` gets all these folders.
pub(crate) fn pictures_below(folder: &Path, walked: &mut BTreeSet<PathBuf>) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    collect(folder, 0, walked, &mut found)?;
    Ok(found)
}

fn collect(
    folder: &Path,
    depth: usize,
    walked: &mut BTreeSet<PathBuf>,
    found: &mut Vec<PathBuf>,
) -> Result<(), Error> {
    walked.insert(folder.to_owned());
    for path in entries(folder)? {
        if has_extension(&path, &PICTURE_EXTENSIONS) {
            found.push(path);
        } else if depth < MAX_DEPTH && path.is_dir() {
            collect(&path, depth + 1, walked, found)?;
        }
    }
    Ok(())
}

pub(crate) fn is_picture_name(path: &Path) -> bool {
    has_extension(path, &PICTURE_EXTENSIONS)
}

/// Pictures by the stem of their names.
#[derive(Debug, Default)]
pub(crate) struct PicturesByStem(HashMap<OsString, PathBuf>);

impl PicturesByStem {
    /// Of two pictures with one stem the first counts.
    pub(crate) fn new(pictures: &[PathBuf]) -> Self {
        let mut stems = HashMap::new();
        for path in pictures {
            if let Some(stem) = path.file_stem() {
                stems.entry(stem.to_owned()).or_insert_with(|| path.clone());
            }
        }
        Self(stems)
    }

    pub(crate) fn get(&self, stem: impl AsRef<std::ffi::OsStr>) -> Option<&PathBuf> {
        self.0.get(stem.as_ref())
    }
}

/// Answers whether files exist with one listing per folder instead of a call per file.
#[derive(Debug, Default)]
pub(crate) struct Listing(HashMap<PathBuf, HashSet<OsString>>);

impl Listing {
    pub(crate) fn contains(&mut self, path: &Path) -> bool {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return false };
        if !self.0.contains_key(folder) {
            // An empty parent is the current folder.
            let read = fs::read_dir(if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
            let entries = read.into_iter().flatten().flatten();
            let names = entries.filter(leads_somewhere).map(|entry| entry.file_name()).collect();
            self.0.insert(folder.to_owned(), names);
        }
        // The second look is for file systems that do not mind the case of names.
        self.0.get(folder).is_some_and(|names| names.contains(name)) || path.exists()
    }

    pub(crate) fn folders(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.keys()
    }
}

/// False for a link to what is not there.
fn leads_somewhere(entry: &DirEntry) -> bool {
    !entry.file_type().is_ok_and(|kind| kind.is_symlink()) || entry.path().exists()
}
