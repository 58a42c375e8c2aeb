//! Size and format of a picture from its header alone.

use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use effdet_core::ImageSize;
use image::metadata::Orientation;
use image::{ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use crate::{Error, files};

/// What a header may make a decoder allocate.
const MAX_ALLOC: u64 = 16 << 20;

/// What the header of a picture says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureHeader {
    /// Height and width of the upright picture: with the EXIF orientation applied, as [`decode_file`](crate::decode_file)
    /// returns it.
    pub size: ImageSize,
    /// The EXIF orientation: what makes the picture in the file the upright one.
    pub orientation: Orientation,
    /// Format of the content, whatever the name says.
    pub format: ImageFormat,
}

impl PictureHeader {
    /// Whether the extension of `path` is one of the content's format; true where there is none.
    pub fn matches_extension(&self, path: &Path) -> bool {
        path.extension().is_none_or(|extension| {
            let extension = extension.to_string_lossy().to_lowercase();
            self.format.extensions_str().contains(&extension.as_str())
        })
    }

    /// Whether `stated` is the size of the picture as it lies in the file, on its side. A square is the same either way.
    pub(crate) fn is_turned_from(&self, stated: ImageSize) -> bool {
        let lying = ImageSize::new(self.size.width, self.size.height);
        turns(self.orientation) && stated == lying && stated != self.size
    }
}

/// Reads the header of the picture in `path`; no pixel is decoded and the file is not read as a whole.
///
/// # Errors
/// The kinds of [`decode_file`](crate::decode_file) that a header can cause.
pub fn read_header(path: impl AsRef<Path>) -> Result<PictureHeader, Error> {
    let path = path.as_ref();
    header(BufReader::new(files::open(path)?), &path.display().to_string())
}

/// Reads the header of an encoded picture; `name` stands in the errors.
///
/// # Errors
/// As [`read_header`].
pub fn header_of_bytes(bytes: &[u8], name: &str) -> Result<PictureHeader, Error> {
    header(Cursor::new(bytes), name)
}

fn header(reader: impl BufRead + Seek, name: &str) -> Result<PictureHeader, Error> {
    // As in `decode_bytes`: third-party code on bytes of unknown origin.
    catch_unwind(AssertUnwindSafe(|| parse(reader, name))).unwrap_or_else(|_| {
        Err(Error::DecoderPanicked { name: name.to_owned(), message: "in the header".to_owned() })
    })
}

fn parse(mut reader: impl BufRead + Seek, name: &str) -> Result<PictureHeader, Error> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::UnexpectedEof => Error::Truncated { name: name.to_owned(), source: None },
        _ => Error::Read { name: name.to_owned(), source },
    };
    let mut magic = Vec::with_capacity(64);
    (&mut reader).take(64).read_to_end(&mut magic).map_err(failed)?;
    reader.seek(SeekFrom::Start(0)).map_err(failed)?;
    if magic.is_empty() {
        return Err(Error::Empty { name: name.to_owned() });
    }
    let format = image::guess_format(&magic).map_err(|_| Error::NotAPicture { name: name.to_owned() })?;
    if !format.reading_enabled() {
        return Err(Error::Unsupported { name: name.to_owned(), what: format!("{format:?} files") });
    }
    let (width, height, orientation) = if format == ImageFormat::Jpeg {
        jpeg(reader).map_err(failed)?
    } else {
        // Before the decoder takes the reader.
        let webp = match format {
            ImageFormat::WebP => Some(webp_orientation(&mut reader).ok().flatten()),
            _ => None,
        };
        reader.seek(SeekFrom::Start(0)).map_err(failed)?;
        other(reader, format, webp).map_err(|source| match source {
            ImageError::Limits(_) => Error::TooMuchMemory { name: name.to_owned(), max_alloc: MAX_ALLOC },
            ImageError::Unsupported(what) => {
                Error::Unsupported { name: name.to_owned(), what: what.to_string() }
            }
            ImageError::IoError(source) => failed(source),
            source => Error::Corrupt { name: name.to_owned(), source },
        })?
    };
    if width == 0 || height == 0 {
        return Err(Error::NoPixels { name: name.to_owned(), width, height });
    }
    let (mut width, mut height) = (width as usize, height as usize);
    if turns(orientation) {
        (width, height) = (height, width);
    }
    Ok(PictureHeader { size: ImageSize::new(height, width), orientation, format })
}

fn turns(orientation: Orientation) -> bool {
    matches!(
        orientation,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    )
}

/// Size by `image`; `webp` holds the orientation of a WebP.
fn other(
    reader: impl BufRead + Seek,
    format: ImageFormat,
    webp: Option<Option<Orientation>>,
) -> Result<(u32, u32, Orientation), ImageError> {
    let mut reader = ImageReader::with_format(reader, format);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_ALLOC);
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    // As when decoding, unreadable EXIF does not lose the picture.
    let orientation = webp.unwrap_or_else(|| decoder.orientation().ok());
    Ok((width, height, orientation.unwrap_or(Orientation::NoTransforms)))
}

/// The EXIF orientation of a WebP. `image` allocates whatever length the chunk claims before it reads it.
pub(crate) fn webp_orientation(reader: &mut (impl BufRead + Seek)) -> io::Result<Option<Orientation>> {
    reader.seek(SeekFrom::Start(12))?;
    loop {
        let mut chunk = [0; 8];
        reader.read_exact(&mut chunk)?;
        let [k0, k1, k2, k3, l0, l1, l2, l3] = chunk;
        let length = u64::from(u32::from_le_bytes([l0, l1, l2, l3]));
        if [k0, k1, k2, k3] == *b"EXIF" {
            let mut exif = Vec::new();
            reader.take(length.min(MAX_ALLOC)).read_to_end(&mut exif)?;
            let is_whole = exif.len() as u64 == length;
            return Ok(if is_whole { Orientation::from_exif_chunk(&exif) } else { None });
        }
        reader.seek_relative((length + length % 2) as i64)?;
    }
}

/// Walks the segments of a JPEG up to its frame header. The decoders of `image` read the whole file for that.
fn jpeg(mut reader: impl BufRead + Seek) -> io::Result<(u32, u32, Orientation)> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut orientation = None;
    reader.seek(SeekFrom::Start(2))?;
    loop {
        // Between segments, anything up to the next 0xFF is junk that decoders skip, too.
        while byte(&mut reader)? != 0xFF {}
        let marker = loop {
            match byte(&mut reader)? {
                0xFF => {}
                marker => break marker,
            }
        };
        if matches!(marker, 0x00 | 0x01 | 0xD0..=0xD8) {
            continue;
        }
        if matches!(marker, 0xD9 | 0xDA) {
            return Err(bad("no frame header before the picture's data"));
        }
        let mut length = [0; 2];
        reader.read_exact(&mut length)?;
        let length = u16::from_be_bytes(length).checked_sub(2).ok_or_else(|| bad("segment too short"))?;
        let is_frame = matches!(marker, 0xC0..=0xCF) && !matches!(marker, 0xC4 | 0xC8 | 0xCC);
        if is_frame {
            let mut frame = [0; 5];
            if length < 5 {
                return Err(bad("frame header too short"));
            }
            reader.read_exact(&mut frame)?;
            let [_, h1, h0, w1, w0] = frame;
            let (height, width) = (u16::from_be_bytes([h1, h0]), u16::from_be_bytes([w1, w0]));
            return Ok((width.into(), height.into(), orientation.unwrap_or(Orientation::NoTransforms)));
        }
        if marker == 0xE1 {
            let mut segment = vec![0; length.into()];
            reader.read_exact(&mut segment)?;
            if let Some(exif) = segment.strip_prefix(b"Exif\0\0") {
                orientation = Orientation::from_exif_chunk(exif).or(orientation);
            }
        } else {
            reader.seek_relative(length.into())?;
        }
    }
}

fn byte(reader: &mut impl Read) -> io::Result<u8> {
    let mut byte = [0];
    reader.read_exact(&mut byte)?;
    Ok(byte[0])
}
