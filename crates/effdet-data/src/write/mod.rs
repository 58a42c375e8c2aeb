//! Data sets written in the label formats of others.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use effdet_core::{ImageSize, Replacement};
use rayon::prelude::*;

use crate::header::read_header;
use crate::record::{Dataset, Record};
use crate::{Error, files};

mod coco;
mod csv;
mod voc;
mod yolo;

pub use coco::coco;
pub use csv::csv;
pub use voc::voc;
pub use yolo::yolo;

/// What happens to the pictures when labels are written that must lie beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PictureFiles {
    /// They are copied.
    #[default]
    Copy,
    /// They are linked (hard links), or copied where the file system cannot link.
    Link,
    /// Nothing; they are put in place by other means.
    Leave,
}

impl PictureFiles {
    fn put(self, from: &Path, to: &Path) -> Result<(), Error> {
        // Copying a file onto itself empties it.
        if self == Self::Leave || is_same_file(from, to) {
            return Ok(());
        }
        // A symbolic link is not the picture, and what it says may lead nowhere from another folder.
        if self == Self::Link && fs::canonicalize(from).and_then(|from| fs::hard_link(from, to)).is_ok() {
            return Ok(());
        }
        // Whole or not at all, and what else is linked to a file that was there stays as it is.
        let copy = || -> io::Result<()> {
            let replacement = Replacement::of(to)?;
            fs::copy(from, replacement.temporary())?;
            replacement.place()
        };
        copy().map_err(unwritable(to))
    }
}

/// Refuses with the names of the pictures that could not be put into `folder`, where there are some.
fn all_in_place(folder: &Path, failed: &[(&Path, Error)]) -> Result<(), Error> {
    /// Names that a message has room for.
    const NAMED: usize = 20;
    if failed.is_empty() {
        return Ok(());
    }
    let name = |(path, error): &(&Path, Error)| {
        let cause = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
        format!("{} ({cause})", path.display())
    };
    let mut names: Vec<String> = failed.iter().take(NAMED).map(name).collect();
    if failed.len() > NAMED {
        names.push(format!("and {} more", failed.len() - NAMED));
    }
    let told = format!("these pictures could not be put there: {}", names.join(", "));
    Err(Error::Write { path: folder.to_owned(), source: io::Error::other(told) })
}

/// Whether both are there and are one file, by whatever names or links.
fn is_same_file(a: &Path, b: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let inode = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
        inode(b).is_some_and(|b| inode(a) == Some(b))
    }
    #[cfg(not(unix))]
    {
        fs::canonicalize(b).is_ok_and(|b| fs::canonicalize(a).is_ok_and(|a| a == b))
    }
}

fn unwritable(path: &Path) -> impl Fn(io::Error) -> Error + '_ {
    move |source| Error::Write { path: path.to_owned(), source }
}

fn create_folder(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(unwritable(path))
}

/// Writes a file through a buffer, whole or not at all: what stood at `path` stays until the new file is complete.
fn to_file(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<(), Error> {
    let replace = || -> io::Result<()> {
        let replacement = Replacement::of(path)?;
        let mut file = BufWriter::new(replacement.create()?);
        write(&mut file)?;
        file.flush()?;
        drop(file);
        replacement.place()
    };
    replace().map_err(unwritable(path))
}

fn size_of(record: &Record) -> Result<ImageSize, Error> {
    let size = record.size.or_else(|| read_header(&record.path).ok().map(|header| header.size));
    size.ok_or_else(|| Error::SizeUnknown { path: record.path.clone() })
}

/// Path below the root with slashes, or the whole path if the picture lies elsewhere.
fn path_below_root(dataset: &Dataset, record: &Record) -> String {
    let below = record.path.strip_prefix(&dataset.root).unwrap_or(&record.path);
    below.to_string_lossy().replace('\\', "/")
}

/// File names of the pictures in `folder`. Stems are unique: a repeated one gets its folders before it, or a number, and
/// so does one under which another picture of the data set lies in `folder` already.
fn flat_names(dataset: &Dataset, folder: &Path) -> Vec<PathBuf> {
    let mut taken: HashSet<String> = HashSet::with_capacity(dataset.records.len());
    let home = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let owned: Vec<Vec<OsString>> =
        dataset.records.par_iter().map(|record| names_in(&home, &record.path)).collect();
    let there: HashSet<&OsString> = owned.iter().flatten().collect();
    let mut names = Vec::with_capacity(dataset.records.len());
    for (record, own) in dataset.records.iter().zip(&owned) {
        let stem = record.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let extension = record.path.extension().map(|e| e.to_string_lossy().into_owned());
        let below = Path::new(&path_below_root(dataset, record)).with_extension("");
        let parts: Vec<_> = below.iter().map(|part| part.to_string_lossy()).filter(|p| *p != "/").collect();
        let long = parts.join("_");
        let numbered = (2u64..).map(|number| format!("{long}_{number}"));
        let file_name = |name: &str| match &extension {
            Some(extension) => PathBuf::from(format!("{name}.{extension}")),
            None => PathBuf::from(name),
        };
        let is_free = |name: &String| {
            let target = file_name(name).into_os_string();
            !taken.contains(name) && (own.contains(&target) || !there.contains(&target))
        };
        let free = [stem, long.clone()].into_iter().chain(numbered).find(is_free);
        let name = free.unwrap_or_default();
        names.push(file_name(&name));
        taken.insert(name);
    }
    names
}

/// The names under which a picture lies in `folder`, a path without links: its own, and that of the file it is a link to.
fn names_in(folder: &Path, picture: &Path) -> Vec<OsString> {
    let place = fs::canonicalize(files::folder_of(picture)).ok().zip(picture.file_name());
    let place = place.map(|(parent, name)| parent.join(name));
    let places = [place, fs::canonicalize(picture).ok()];
    let inside = places.iter().flatten().filter(|path| path.parent() == Some(folder));
    inside.filter_map(|path| path.file_name().map(OsStr::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stood_there_stays_if_writing_fails() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.json");
        to_file(&path, |file| file.write_all(b"old")).unwrap();
        let full = |file: &mut BufWriter<File>| -> io::Result<()> {
            file.write_all(b"half of the new")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        };
        let error = to_file(&path, full).unwrap_err();
        assert!(matches!(&error, Error::Write { path: at, .. } if *at == path), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }
}
