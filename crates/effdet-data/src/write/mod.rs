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
        let result = match self {
            Self::Leave => return Ok(()),
            Self::Link if fs::hard_link(from, to).is_ok() => return Ok(()),
            Self::Copy | Self::Link => fs::copy(from, to),
        };
        result.map(drop).map_err(unwritable(to))
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

/// File names of the pictures in one folder. Stems are unique: a repeated one gets its folders before it, or a number.
fn flat_names(dataset: &Dataset) -> Vec<PathBuf> {
    let mut taken: HashSet<String> = HashSet::with_capacity(dataset.records.len());
    let mut names = Vec::with_capacity(dataset.records.len());
    for record in &dataset.records {
        let stem = record.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let extension = record.path.extension().map(|e| e.to_string_lossy().into_owned());
        let below = Path::new(&path_below_root(dataset, record)).with_extension("");
        let parts: Vec<_> = below.iter().map(|part| part.to_string_lossy()).filter(|p| *p != "/").collect();
        let long = parts.join("_");
        let numbered = (2u64..).map(|number| format!("{long}_{number}"));
        let free = [stem, long.clone()].into_iter().chain(numbered).find(|name| !taken.contains(name));
        let name = free.unwrap_or_default();
        names.push(match extension {
            Some(extension) => PathBuf::from(format!("{name}.{extension}")),
            None => PathBuf::from(&name),
        });
        taken.insert(name);
    }
    names
}
