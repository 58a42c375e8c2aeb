//! Data sets written in the label formats of others.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use effdet_core::ImageSize;

use crate::Error;
use crate::header::read_header;
use crate::record::{Dataset, Record};

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
        if self == Self::Link && fs::hard_link(from, to).is_ok() {
            return Ok(());
        }
        // Whole or not at all, and what else is linked to a file that was there stays as it is.
        let mut name = to.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let part = to.with_file_name(name);
        let copied = fs::copy(from, &part).and_then(|_| fs::rename(&part, to));
        if copied.is_err() {
            drop(fs::remove_file(&part));
        }
        copied.map_err(unwritable(to))
    }
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

/// Writes a file through a buffer.
fn to_file(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<(), Error> {
    let mut file = BufWriter::new(File::create(path).map_err(unwritable(path))?);
    write(&mut file).and_then(|()| file.flush()).map_err(unwritable(path))
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
    let there: HashSet<&Path> = dataset
        .records
        .iter()
        .map(|record| record.path.as_path())
        .filter(|path| path.parent() == Some(folder))
        .collect();
    let mut names = Vec::with_capacity(dataset.records.len());
    for record in &dataset.records {
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
            let target = folder.join(file_name(name));
            !taken.contains(name) && (target == record.path || !there.contains(target.as_path()))
        };
        let free = [stem, long.clone()].into_iter().chain(numbered).find(is_free);
        let name = free.unwrap_or_default();
        names.push(file_name(&name));
        taken.insert(name);
    }
    names
}
