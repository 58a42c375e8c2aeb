//! Parsed data sets kept on disk.

use std::ffi::OsStr;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use effdet_core::Replacement;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::options::{ParseOptions, Source};
use crate::{Error, LabelFormat, Parsed, files};

/// Begins every cache file; the digit changes with the form of what follows and with what is read from the same labels.
const MAGIC: &[u8; 16] = b"effdet-labels 5\n";

/// Length in the stamp of what is not there.
const ABSENT: u64 = u64::MAX;

/// Where a data set came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// From the cache.
    Cache,
    /// From the labels; the cache was absent, stale or damaged and is written anew.
    Labels,
    /// From the labels; the cache could not be written.
    LabelsOnly,
}

/// A file or folder as it was when it was read or looked at, or found absent.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    path: PathBuf,
    /// Bytes, or the entries of a folder, or [`ABSENT`].
    length: u64,
    /// Nanoseconds since 1970, or a sum over the names in a folder (its own time changes with the cache, too).
    state: u128,
}

#[derive(Serialize)]
struct Contents<'a> {
    key: &'a str,
    stamps: &'a [Stamp],
    parsed: &'a Parsed,
}

#[derive(Deserialize)]
struct Stored {
    key: String,
    stamps: Vec<Stamp>,
    parsed: Parsed,
}

/// Reads a data set from `cache` if that is fresh, else from its labels, and then writes the cache.
///
/// The cache is fresh if it was written for the same format, source and options, if all pictures and all label files that
/// were read have the lengths and times of change that they had, all folders the same entries, and what was looked for in
/// vain is still absent. A cache that is stale, damaged or of another version is ignored.
///
/// # Errors
/// As the format's parser. A cache that cannot be written is no error, see [`Origin::LabelsOnly`].
pub fn parse_cached(
    format: &dyn LabelFormat,
    source: &Source,
    options: &ParseOptions,
    cache: impl AsRef<Path>,
) -> Result<(Parsed, Origin), Error> {
    let cache = cache.as_ref();
    let key = key(format, source, options);
    if let Some(parsed) = key.as_deref().and_then(|key| load(cache, key)) {
        return Ok((parsed, Origin::Cache));
    }
    let parsed = format.parse(source, options)?;
    let written = key.is_some_and(|key| store(cache, &key, &parsed).is_some());
    Ok((parsed, if written { Origin::Labels } else { Origin::LabelsOnly }))
}

fn key(format: &dyn LabelFormat, source: &Source, options: &ParseOptions) -> Option<String> {
    let version = env!("CARGO_PKG_VERSION");
    serde_json::to_string(&(version, format.name(), source, options)).ok()
}

fn load(cache: &Path, key: &str) -> Option<Parsed> {
    let bytes = files::read(cache).ok()?;
    let rest = bytes.strip_prefix(MAGIC)?;
    let (checksum, body) = rest.split_first_chunk::<4>()?;
    if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
        return None;
    }
    let stored: Stored = postcard::from_bytes(body).ok()?;
    let is_unchanged = |old: &Stamp| stamp(&old.path, cache).as_ref() == Some(old);
    let is_fresh = stored.key == key && stored.stamps.par_iter().all(is_unchanged);
    is_fresh.then_some(stored.parsed)
}

fn store(cache: &Path, key: &str, parsed: &Parsed) -> Option<()> {
    // Sizes, and which way up a picture is, were read from it.
    let pictures = parsed.dataset.records.iter().map(|record| &record.path);
    let paths: Vec<&PathBuf> = parsed.dataset.provenance.files.iter().chain(pictures).collect();
    let stamps = paths.into_par_iter().map(|path| stamp(path, cache)).collect::<Option<Vec<Stamp>>>()?;
    let body = postcard::to_stdvec(&Contents { key, stamps: &stamps, parsed }).ok()?;
    // Whole or not at all: another process may be reading.
    let write = || -> std::io::Result<()> {
        let replacement = Replacement::of(cache)?;
        let mut file = replacement.create()?;
        file.write_all(MAGIC)?;
        file.write_all(&crc32fast::hash(&body).to_le_bytes())?;
        file.write_all(&body)?;
        drop(file);
        replacement.place()
    };
    write().ok()
}

fn stamp(path: &Path, cache: &Path) -> Option<Stamp> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Some(Stamp { path: path.to_owned(), length: ABSENT, state: 0 });
        }
        Err(_) => return None,
    };
    if metadata.is_dir() {
        let own = cache.file_name();
        let is_own = |name: &OsStr| {
            let replaced = name.to_str().and_then(Replacement::replaced_name).map(OsStr::new);
            Some(name) == own || replaced.is_some_and(|replaced| Some(replaced) == own)
        };
        let names = fs::read_dir(path).ok()?.flatten().map(|entry| entry.file_name());
        let (mut length, mut state) = (0, 0);
        for name in names.filter(|name| !is_own(name)) {
            length += 1;
            state += u128::from(hash(&name));
        }
        return Some(Stamp { path: path.to_owned(), length, state });
    }
    let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_nanos();
    Some(Stamp { path: path.to_owned(), length: metadata.len(), state: modified })
}

/// FNV-1a.
fn hash(name: &OsStr) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
    name.as_encoded_bytes().iter().fold(0xCBF2_9CE4_8422_2325, step)
}
