//! Pictures to files.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ImageError, RgbImage};

use crate::Error;

/// Writes `picture` as a JPEG of `quality` 1 (worst) to 100.
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

/// Writes `picture` as a PNG.
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
    let mut file = BufWriter::new(File::create(path).map_err(write_error)?);
    encode(&mut file).map_err(|source| match source {
        ImageError::IoError(source) => write_error(source),
        source => Error::Encode { path: path.to_owned(), source },
    })?;
    file.flush().map_err(write_error)
}
