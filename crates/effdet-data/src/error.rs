use std::io;

use effdet_core::ImageSize;

/// What can go wrong between a file on disk and the pixels a detector reads.
///
/// Every variant about a picture carries `name`: its path, or the name the caller gave to the bytes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file could not be opened or read.
    #[error("{name}: cannot be read")]
    Read {
        /// Path of the picture.
        name: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// There are no bytes at all.
    #[error("{name}: the file is empty")]
    Empty {
        /// Path or name of the picture.
        name: String,
    },
    /// The content starts like none of the known picture formats.
    #[error("{name}: not a picture (the content is of no known format)")]
    NotAPicture {
        /// Path or name of the picture.
        name: String,
    },
    /// A picture, but of a format or coding that this build does not decode.
    #[error("{name}: unsupported picture: {what}")]
    Unsupported {
        /// Path or name of the picture.
        name: String,
        /// The format or feature that is missing.
        what: String,
    },
    /// The data end before the picture does.
    #[error("{name}: the picture is truncated")]
    Truncated {
        /// Path or name of the picture.
        name: String,
        /// What the decoder said, where it said anything.
        source: Option<image::ImageError>,
    },
    /// The data contradict the format.
    #[error("{name}: the picture is corrupt")]
    Corrupt {
        /// Path or name of the picture.
        name: String,
        /// What the decoder said.
        source: image::ImageError,
    },
    /// The header announces a width or height of zero.
    #[error("{name}: the picture has no pixels ({width}x{height})")]
    NoPixels {
        /// Path or name of the picture.
        name: String,
        /// Announced width.
        width: u32,
        /// Announced height.
        height: u32,
    },
    /// More pixels than [`DecodeLimits::max_pixels`](crate::DecodeLimits).
    #[error("{name}: {width}x{height} is more than the {max_pixels} pixels allowed")]
    TooManyPixels {
        /// Path or name of the picture.
        name: String,
        /// Announced width.
        width: u32,
        /// Announced height.
        height: u32,
        /// The limit.
        max_pixels: u64,
    },
    /// Reading or decoding would need more memory than [`DecodeLimits::max_alloc`](crate::DecodeLimits).
    #[error("{name}: decoding needs more than the {max_alloc} bytes of memory allowed")]
    TooMuchMemory {
        /// Path or name of the picture.
        name: String,
        /// The limit.
        max_alloc: u64,
    },
    /// The decoder of the picture's format panicked; nothing of the picture is usable.
    #[error("{name}: the decoder failed on this picture: {message}")]
    DecoderPanicked {
        /// Path or name of the picture.
        name: String,
        /// The panic's message.
        message: String,
    },
    /// A picture or a target without pixels cannot be resized.
    #[error("cannot resize a picture of {source_size} to {target}: a side is 0 or too long")]
    EmptyResize {
        /// Size of the picture.
        source_size: ImageSize,
        /// Size asked for.
        target: ImageSize,
    },
    /// The caller's buffer does not have the size of the picture.
    #[error("the buffer holds {got} values, the picture needs {expected}")]
    BufferSize {
        /// Values the buffer holds.
        got: usize,
        /// Values the picture needs: 3 x height x width.
        expected: usize,
    },
}
