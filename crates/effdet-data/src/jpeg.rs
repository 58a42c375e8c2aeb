//! What `image` leaves open about JPEG: whether the data are complete.

use image::{DynamicImage, ImageDecoder, ImageError};
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Whether the end-of-image marker is reached when the segments are followed from the start.
///
/// The thumbnail in an EXIF segment has an end marker of its own, so a search for the bytes is not enough.
pub(crate) fn has_end(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some(&[lead, marker]) = bytes.get(at..at + 2) {
        match (lead, marker) {
            // Entropy-coded data, stuffing, fill bytes and markers without a payload.
            (0..0xff, _) | (0xff, 0xff) => at += 1,
            (0xff, 0x00 | 0x01 | 0xd0..=0xd8) => at += 2,
            (0xff, 0xd9) => return true,
            _ => match bytes.get(at + 2..at + 4) {
                Some(&[high, low]) => at += 2 + usize::from(u16::from_be_bytes([high, low])).max(2),
                _ => return false,
            },
        }
    }
    false
}

/// Whether every line of the picture has data.
///
/// `image` decodes leniently and fills what is missing with grey. Files that lack nothing but the end marker are
/// common and fine; this tells them from the ones that were cut.
pub(crate) fn decodes_strictly(bytes: &[u8]) -> bool {
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX);
    zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(bytes), options).decode().is_ok()
}

/// The picture's pixels; `decoder` has read the header of the same `bytes`.
pub(crate) fn decode(_bytes: &[u8], decoder: impl ImageDecoder) -> Result<DynamicImage, ImageError> {
    DynamicImage::from_decoder(decoder)
}
