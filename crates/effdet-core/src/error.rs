//! The error type of this crate.

use crate::ImageSize;

/// Any error and its causes in one line, each said once: errors say themselves alone, and what a system or a decoder
/// said is in their sources.
///
/// ```
/// # use std::{error, fmt, io};
/// # #[derive(Debug)]
/// # struct Unreadable(io::Error);
/// # impl fmt::Display for Unreadable {
/// #     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str("a.jpg: cannot be read") }
/// # }
/// # impl error::Error for Unreadable {
/// #     fn source(&self) -> Option<&(dyn error::Error + 'static)> { Some(&self.0) }
/// # }
/// let error = Unreadable(io::ErrorKind::PermissionDenied.into());
/// assert_eq!(effdet_core::with_causes(&error), "a.jpg: cannot be read: permission denied");
/// ```
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !told.contains(&text) {
            told = format!("{told}: {text}");
        }
        cause = error.source();
    }
    told
}

/// What can be wrong with the geometry or the names given to this crate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A text that is not an image size.
    #[error("invalid image size `{text}`: {reason}; expected `320` or `192x256` (height x width)")]
    ImageSize {
        /// The text as given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A picture with no pixels, where a scale would be infinite.
    #[error("cannot fit an image of {source_size} into {target}: a side is 0")]
    EmptyImage {
        /// Size of the source picture.
        source_size: ImageSize,
        /// Size of the network input.
        target: ImageSize,
    },
    /// A picture that cannot be cut into tiles.
    #[error("cannot cut an image of {picture} into tiles of {tile}: {reason}")]
    Tiles {
        /// Size of the picture.
        picture: ImageSize,
        /// Size of a tile.
        tile: ImageSize,
        /// What is wrong.
        reason: String,
    },
    /// Class ids count from 1; 0 is the background.
    #[error("class `{name}` has id 0, but class ids start at 1")]
    ClassIdZero {
        /// Name of the class.
        name: String,
    },
    /// Two names for one class id.
    #[error("class id {id} is given twice: `{first}` and `{second}`")]
    DuplicateClassId {
        /// The id.
        id: u32,
        /// The name given first.
        first: String,
        /// The name given second.
        second: String,
    },
    /// One name for two class ids.
    #[error("class name `{name}` is given to both id {first} and id {second}")]
    DuplicateClassName {
        /// The name.
        name: String,
        /// The id that has it.
        first: u32,
        /// The id that claims it too.
        second: u32,
    },
    /// A class without a name.
    #[error("class id {id} has a blank name")]
    BlankClassName {
        /// The id.
        id: u32,
    },
    /// A line of a labels file that is not a class name of its own.
    #[error("line {line} of the labels file: {reason}")]
    LabelsFile {
        /// Line number, counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}
