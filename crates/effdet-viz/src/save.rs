//! Pictures to files.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use effdet_core::Replacement;
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
    let replacement = Replacement::of(path).map_err(write_error)?;
    let mut file = BufWriter::new(replacement.create().map_err(write_error)?);
    encode(&mut file).map_err(|source| match source {
        ImageError::IoError(source) => write_error(source),
        source => Error::Encode { path: path.to_owned(), source },
    })?;
    file.flush().map_err(write_error)?;
    drop(file);
    replacement.place().map_err(write_error)
}

/// Draws a chart and writes it whole or not at all.
pub(crate) fn save_chart(
    path: &Path,
    draw: impl FnOnce(&mut String) -> Result<(), Box<dyn std::error::Error>>,
) -> Result<(), Error> {
    let failed =
        |reason: &dyn std::error::Error| Error::Plot { path: path.to_owned(), reason: reason.to_string() };
    let mut svg = String::new();
    draw(&mut svg).map_err(|reason| failed(reason.as_ref()))?;
    save_text(path, &svg).map_err(|reason| failed(&reason))
}

/// Writes a text whole or not at all.
pub(crate) fn save_text(path: &Path, text: &str) -> io::Result<()> {
    let replacement = Replacement::of(path)?;
    fs::write(replacement.temporary(), text)?;
    replacement.place()
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

    #[test]
    fn a_page_or_chart_that_cannot_be_written_leaves_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("loss.svg");
        fs::write(&path, "old").unwrap();
        let error = save_chart(&path, |svg| {
            svg.push_str("<svg");
            Err("no".into())
        });
        assert!(matches!(error.unwrap_err(), Error::Plot { reason, .. } if reason == "no"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        save_text(&path, "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
