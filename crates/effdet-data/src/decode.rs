//! Encoded pictures to upright RGB8.

use std::any::Any;
use std::error::Error as StdError;
use std::io::{self, Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbImage};

use crate::Error;
use crate::header::webp_orientation;
use crate::{files, jpeg};

/// How large a picture may be before it is refused.
///
/// Both limits are checked against the header, before any pixel memory is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Most pixels (width x height). Default 178 956 970, the count at which Pillow raises
    /// `DecompressionBombError`.
    pub max_pixels: u64,
    /// Most bytes held at once: the file, the decoder's buffers, the conversion to RGB8 and the rotation.
    /// Default 2 GiB, enough for an 8-bit picture of `max_pixels` of any coding.
    pub max_alloc: u64,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self { max_pixels: 178_956_970, max_alloc: 2 << 30 }
    }
}

/// Decodes the picture in `path`, see [`decode_bytes`].
///
/// # Errors
/// [`Error::Read`] where the file cannot be read or is none (a folder, device or pipe), else as [`decode_bytes`].
pub fn decode_file(path: impl AsRef<Path>, limits: &DecodeLimits) -> Result<RgbImage, Error> {
    let path = path.as_ref();
    let name = path.display().to_string();
    let opened = files::open_file(path).and_then(|file| Ok((file.metadata()?.len(), file)));
    match opened {
        Ok((length, _)) if length > limits.max_alloc => {
            Err(Error::TooMuchMemory { name, max_alloc: limits.max_alloc })
        }
        // Not every file system states the length beforehand.
        Ok((length, file)) => decode_read(file, length as usize, &name, limits),
        Err(source) => Err(Error::Read { name, source }),
    }
}

/// Decodes the picture that is read to its end, such as standard input, see [`decode_bytes`].
///
/// # Errors
/// [`Error::Read`] where it cannot be read, else as [`decode_bytes`].
pub fn decode_reader(reader: impl Read, name: &str, limits: &DecodeLimits) -> Result<RgbImage, Error> {
    decode_read(reader, 0, name, limits)
}

fn decode_read(
    reader: impl Read,
    expected: usize,
    name: &str,
    limits: &DecodeLimits,
) -> Result<RgbImage, Error> {
    let max_alloc = limits.max_alloc;
    let mut bytes = Vec::with_capacity(expected);
    match reader.take(max_alloc.saturating_add(1)).read_to_end(&mut bytes) {
        Ok(_) if bytes.len() as u64 <= max_alloc => decode_bytes(&bytes, name, limits),
        Ok(_) => Err(Error::TooMuchMemory { name: name.to_owned(), max_alloc }),
        Err(source) => Err(Error::Read { name: name.to_owned(), source }),
    }
}

/// Decodes a picture to RGB8, upright.
///
/// The format is told by the content. JPEG, PNG, WebP, BMP, TIFF and GIF are decoded; of an animation the first
/// frame. The EXIF orientation is applied. Colour comes out as Pillow's `convert("RGB")` gives it: grey is repeated,
/// palettes are looked up, alpha is dropped without blending, 16-bit samples keep their high byte, CMYK and YCCK are
/// taken as inverted (Adobe's way, with or without its marker) and converted without a colour profile. `name` stands
/// in the errors.
///
/// A truncated JPEG or PNG is an error, as it is in Pillow (`LOAD_TRUNCATED_IMAGES` off).
///
/// # Errors
/// One kind for each reason: empty, not a picture, unsupported, truncated, corrupt, without pixels, too large.
///
/// # Reference
/// `PIL.ImageOps.exif_transpose(PIL.Image.open(..)).convert("RGB")`. JPEG differs from Pillow's libjpeg-turbo by a few
/// levels (another inverse DCT and chroma upsampling) unless the feature `libjpeg-turbo` is on. 16-bit grey differs
/// on purpose: Pillow clips it at 255, which leaves such pictures white.
pub fn decode_bytes(bytes: &[u8], name: &str, limits: &DecodeLimits) -> Result<RgbImage, Error> {
    // The decoders are third-party code fed with bytes of unknown origin; one bad file must not end a training run.
    catch_unwind(AssertUnwindSafe(|| decode(bytes, name, limits))).unwrap_or_else(|payload| {
        Err(Error::DecoderPanicked { name: name.to_owned(), message: panic_message(payload.as_ref()) })
    })
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text =
        payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("panic without a message").to_owned()
}

fn decode(bytes: &[u8], name: &str, limits: &DecodeLimits) -> Result<RgbImage, Error> {
    if bytes.is_empty() {
        return Err(Error::Empty { name: name.to_owned() });
    }
    let format = image::guess_format(bytes).map_err(|_| Error::NotAPicture { name: name.to_owned() })?;
    if !format.reading_enabled() {
        return Err(Error::Unsupported { name: name.to_owned(), what: format!("{format:?} files") });
    }
    let is_jpeg = format == ImageFormat::Jpeg;
    let complete = !is_jpeg || jpeg::has_end(bytes);
    let fail = |source| classify(source, name, limits, complete);

    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut image_limits = Limits::no_limits();
    image_limits.max_alloc = Some(limits.max_alloc);
    reader.limits(image_limits);
    let mut decoder = reader.into_decoder().map_err(fail)?;

    let (width, height) = decoder.dimensions();
    // Unreadable EXIF is no reason to lose the picture.
    let orientation = match format {
        ImageFormat::WebP => webp_orientation(&mut Cursor::new(bytes)).ok().flatten(),
        _ => decoder.orientation().ok(),
    };
    let orientation = orientation.unwrap_or(Orientation::NoTransforms);
    check_size(width, height, name, limits)?;
    let needed = peak_memory(bytes.len(), format, &decoder, orientation);
    if needed > limits.max_alloc {
        return Err(Error::TooMuchMemory { name: name.to_owned(), max_alloc: limits.max_alloc });
    }

    if !complete && !jpeg::decodes_strictly(bytes) {
        return Err(Error::Truncated { name: name.to_owned(), source: None });
    }
    let fast = if is_jpeg { jpeg::decode_with_libjpeg_turbo(bytes, width, height) } else { None };
    let mut picture = match fast {
        Some(picture) => DynamicImage::ImageRgb8(picture),
        None if is_jpeg && jpeg::has_separate_subsampled_scans(bytes) => {
            let what = "baseline JPEG with vertically subsampled chroma in scans of its own".to_owned();
            return Err(Error::Unsupported { name: name.to_owned(), what });
        }
        None => DynamicImage::from_decoder(decoder).map_err(fail)?,
    };
    picture.apply_orientation(orientation);
    Ok(into_rgb8(picture))
}

fn check_size(width: u32, height: u32, name: &str, limits: &DecodeLimits) -> Result<(), Error> {
    let name = || name.to_owned();
    if width == 0 || height == 0 {
        return Err(Error::NoPixels { name: name(), width, height });
    }
    if u64::from(width) * u64::from(height) > limits.max_pixels {
        return Err(Error::TooManyPixels { name: name(), width, height, max_pixels: limits.max_pixels });
    }
    Ok(())
}

/// Bytes held at the worst moment: the file, what the decoder writes and, after that, its copies; or during decoding
/// what the decoder keeps for the whole picture: the coefficients of a progressive JPEG (four components of 16 bits), the
/// RGBA of a lossless WebP.
fn peak_memory(
    file: usize,
    format: ImageFormat,
    decoder: &impl ImageDecoder,
    orientation: Orientation,
) -> u64 {
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    let decoded = decoder.total_bytes();
    let internal = match format {
        ImageFormat::Jpeg => 8 * pixels,
        ImageFormat::WebP => 4 * pixels,
        _ => 0,
    };
    let turned = match orientation {
        Orientation::Rotate90
        | Orientation::Rotate270
        | Orientation::Rotate90FlipH
        | Orientation::Rotate270FlipH => decoded,
        _ => 0,
    };
    let converted = if decoder.color_type() == ColorType::Rgb8 { 0 } else { 3 * pixels };
    // `image` copies the bytes of a JPEG.
    let input = 2 * file as u64;
    input.saturating_add(decoded).saturating_add(internal.max(turned).max(converted))
}

fn into_rgb8(picture: DynamicImage) -> RgbImage {
    match picture {
        DynamicImage::ImageLuma16(_)
        | DynamicImage::ImageLumaA16(_)
        | DynamicImage::ImageRgb16(_)
        | DynamicImage::ImageRgba16(_) => {
            let wide = picture.into_rgb16();
            let mut narrow = RgbImage::new(wide.width(), wide.height());
            for (to, from) in narrow.iter_mut().zip(wide.iter()) {
                *to = (from >> 8) as u8;
            }
            narrow
        }
        other => other.into_rgb8(),
    }
}

fn classify(source: ImageError, name: &str, limits: &DecodeLimits, complete: bool) -> Error {
    let name = name.to_owned();
    match source {
        ImageError::Limits(_) => Error::TooMuchMemory { name, max_alloc: limits.max_alloc },
        ImageError::Unsupported(what) => Error::Unsupported { name, what: what.to_string() },
        source if !complete || ends_early(&source) => Error::Truncated { name, source: Some(source) },
        source => Error::Corrupt { name, source },
    }
}

/// Whether an end of file is at the bottom of the error.
fn ends_early(error: &ImageError) -> bool {
    let is_end = |e: &io::Error| e.kind() == io::ErrorKind::UnexpectedEof;
    if let ImageError::IoError(e) = error {
        return is_end(e);
    }
    let mut cause = error.source();
    while let Some(e) = cause {
        if e.downcast_ref::<io::Error>().is_some_and(is_end) {
            return true;
        }
        cause = e.source();
    }
    false
}
