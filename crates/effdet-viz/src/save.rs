//! Pictures to files.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ImageError, RgbImage};

use crate::Error;

/// Writes `picture` as a JPEG of `quality` 1 (worst) to 100, whole or not at all: what stood at `path` stays until the
/// new file is complete.
///
/// # Errors
/// The path, and what kept the picture from being encoded or written.
pub fn save_jpeg(path: impl AsRef<Path>, picture: &RgbImage, quality: u8) -> Result<(), Error> {
    let path = path.as_ref();
    if !(1..=100).contains(&quality) {
        return Err(Error::Quality { path: path.to_owned(), quality });
    }
    save(path, |file| picture.write_with_encoder(JpegEncoder::new_with_quality(file, quality)))
}

/// Writes `picture` as a PNG, whole or not at all as [`save_jpeg`] does.
///
/// # Errors
/// The path, and what kept the picture from being encoded or written.
pub fn save_png(path: impl AsRef<Path>, picture: &RgbImage) -> Result<(), Error> {
    save(path.as_ref(), |file| picture.write_with_encoder(PngEncoder::new(file)))
}

fn save(
    path: &Path,
    encode: impl FnOnce(&mut BufWriter<File>) -> Result<(), ImageError>,
) -> Result<(), Error> {
    let write_error = |source| Error::Write { path: path.to_owned(), source };
    // A pipe or a device cannot be replaced, and takes the bytes as they come.
    let replaces = fs::metadata(path).map_or(true, |found| found.is_file() || found.is_dir());
    let target = if replaces { beside(path).map_err(write_error)? } else { path.to_owned() };
    let written = File::create(&target).map_err(write_error).and_then(|file| {
        let mut file = BufWriter::new(file);
        encode(&mut file).map_err(|source| match source {
            ImageError::IoError(source) => write_error(source),
            source => Error::Encode { path: path.to_owned(), source },
        })?;
        file.flush().map_err(write_error)?;
        // Windows does not rename a file that is open.
        drop(file);
        if replaces { fs::rename(&target, path).map_err(write_error) } else { Ok(()) }
    });
    if written.is_err() && replaces {
        // The error that matters is the one above.
        let _ = fs::remove_file(&target);
    }
    written
}

/// A name in the folder of `path` that no other thread or process uses.
fn beside(path: &Path) -> io::Result<PathBuf> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path does not name a file"))?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    temporary.push(format!(".{}-{number}.tmp", std::process::id()));
    Ok(path.with_file_name(temporary))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_replaced_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jpg");
        let picture = RgbImage::new(30, 20);
        save_jpeg(&path, &picture, 90).unwrap();
        let old = fs::read(&path).unwrap();
        // Wider than a JPEG can be.
        let error = save_jpeg(&path, &RgbImage::new(70_000, 1), 90).unwrap_err();
        assert!(matches!(&error, Error::Encode { path: at, .. } if *at == path), "{error:?}");
        assert_eq!(fs::read(&path).unwrap(), old);

        let taken = folder.path().join("taken");
        fs::create_dir(&taken).unwrap();
        let error = save_png(&taken, &picture).unwrap_err();
        assert!(matches!(&error, Error::Write { path: at, .. } if *at == taken), "{error:?}");
        save_png(&path, &picture).unwrap();
        assert_eq!(image::guess_format(&fs::read(&path).unwrap()).unwrap(), image::ImageFormat::Png);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        assert!(save_png("/", &picture).is_err());
    }
}
