//! What `image` leaves open about JPEG: whether the data are complete, and coding that it gets wrong.

use image::RgbImage;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::options::DecoderOptions;

/// The marker segments from the start of a file: each marker and its payload, over the entropy-coded data between them.
///
/// The thumbnail in an EXIF segment has markers of its own, so a search for marker bytes is not enough.
fn segments(bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut at = 2;
    std::iter::from_fn(move || {
        loop {
            let &[lead, marker] = bytes.get(at..at + 2)? else { return None };
            match (lead, marker) {
                // Entropy-coded data and fill bytes.
                (0..0xff, _) => at += 1 + memchr::memchr(0xff, &bytes[at + 1..])?,
                (0xff, 0xff) => at += 1,
                // Stuffing and markers without a payload.
                (0xff, 0x00 | 0x01 | 0xd0..=0xd8) => at += 2,
                (0xff, 0xd9) => {
                    at += 2;
                    return Some((marker, &[][..]));
                }
                _ => {
                    let &[high, low] = bytes.get(at + 2..at + 4)? else { return None };
                    let (start, end) = (at + 4, at + 2 + usize::from(u16::from_be_bytes([high, low])).max(2));
                    at = end;
                    return Some((marker, bytes.get(start..end).unwrap_or_default()));
                }
            }
        }
    })
}

/// Whether the end-of-image marker is there.
pub(crate) fn has_end(bytes: &[u8]) -> bool {
    segments(bytes).any(|(marker, _)| marker == 0xd9)
}

/// Whether every line of the picture has data.
///
/// `image` decodes leniently and fills what is missing with grey. Files that lack nothing but the end marker are
/// common and fine; this tells them from the ones that were cut.
pub(crate) fn decodes_strictly(bytes: &[u8]) -> bool {
    let options =
        DecoderOptions::default().set_strict_mode(true).set_max_width(usize::MAX).set_max_height(usize::MAX);
    zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(bytes), options).decode().is_ok()
}

/// Whether a baseline picture has its components in scans of their own and vertical chroma subsampling, which
/// zune-jpeg 0.5.15 decodes to wrong colours without an error.
pub(crate) fn has_separate_subsampled_scans(bytes: &[u8]) -> bool {
    let mut frame: &[u8] = &[];
    for (marker, payload) in segments(bytes) {
        match (marker, payload) {
            // Precision, height, width, then the count and three bytes for each component.
            (0xc0 | 0xc1, [_, _, _, _, _, count, components @ ..]) => {
                frame = components.get(..3 * usize::from(*count)).unwrap_or_default();
            }
            (0xda, [in_scan, ..]) => {
                let mut vertical = frame.chunks_exact(3).map(|component| component[1] & 0x0f);
                let first = vertical.next();
                return usize::from(*in_scan) < frame.len() / 3 && vertical.any(|v| Some(v) != first);
            }
            _ => {}
        }
    }
    false
}

/// The picture as libjpeg-turbo decodes it, or `None` where it complains (`image` is more lenient) or for CMYK.
#[cfg(feature = "libjpeg-turbo")]
pub(crate) fn decode_with_libjpeg_turbo(bytes: &[u8], width: u32, height: u32) -> Option<RgbImage> {
    use std::borrow::Cow;

    use turbojpeg::{Colorspace, Decompressor, Image, PixelFormat};
    // The missing end marker of an otherwise complete file would be a complaint.
    let bytes =
        if has_end(bytes) { Cow::Borrowed(bytes) } else { Cow::Owned([bytes, &[0xff, 0xd9]].concat()) };
    let mut decompressor = Decompressor::new().ok()?;
    let header = decompressor.read_header(&bytes).ok()?;
    let is_cmyk = matches!(header.colorspace, Colorspace::CMYK | Colorspace::YCCK);
    if is_cmyk || (header.width, header.height) != (width as usize, height as usize) {
        return None;
    }
    let mut picture = RgbImage::new(width, height);
    let pitch = 3 * header.width;
    let output = Image {
        pixels: &mut *picture,
        width: header.width,
        pitch,
        height: header.height,
        format: PixelFormat::RGB,
    };
    decompressor.decompress(&bytes, output).ok()?;
    Some(picture)
}

/// Without the feature `libjpeg-turbo` every picture goes to `image`.
#[cfg(not(feature = "libjpeg-turbo"))]
pub(crate) fn decode_with_libjpeg_turbo(_bytes: &[u8], _width: u32, _height: u32) -> Option<RgbImage> {
    None
}
