use std::path::PathBuf;

/// What can go wrong when a picture, chart or page is written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file could not be created or written.
    #[error("{path}: cannot be written")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A figure of a page could not be read.
    #[error("{path}: cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The picture cannot be encoded in this format.
    #[error("{path}: cannot encode the picture")]
    Encode {
        /// The file.
        path: PathBuf,
        /// What the encoder said.
        source: image::ImageError,
    },
    /// A JPEG quality outside 1 to 100.
    #[error("{path}: jpeg quality {quality} is not between 1 and 100")]
    Quality {
        /// The file.
        path: PathBuf,
        /// The quality asked for.
        quality: u8,
    },
    /// A chart could not be drawn or written.
    #[error("{path}: cannot write the chart: {reason}")]
    Plot {
        /// The file.
        path: PathBuf,
        /// What the plotting library said.
        reason: String,
    },
}
