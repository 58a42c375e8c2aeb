use std::io;
use std::path::PathBuf;

use effdet_core::ImageSize;

use crate::dirt::Dirt;

/// What can go wrong between files on disk and the pixels and boxes a detector reads.
///
/// Every variant about a picture carries `name`: its path, or the name the caller gave to the bytes. Those about labels
/// carry the path of the file and the place in it.
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
    /// A label file that should be there is not.
    #[error("{path}: {what}")]
    LabelsNotFound {
        /// Where it was looked for.
        path: PathBuf,
        /// What was looked for.
        what: String,
    },
    /// A label file cannot be understood as a whole.
    #[error("{path}, {at}: {reason}")]
    Labels {
        /// The file.
        path: PathBuf,
        /// Line, byte or element.
        at: String,
        /// What is wrong.
        reason: String,
    },
    /// A label file is longer than its parser holds in memory.
    #[error("{path}: a label file of more than {limit} bytes")]
    LabelsTooLong {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// Dirt of a kind whose policy is [`Policy::Error`](crate::Policy).
    #[error("{0}")]
    Dirt(Dirt),
    /// The classes that a format declares contradict each other.
    #[error("{path}: {source}")]
    Classes {
        /// The file.
        path: PathBuf,
        /// What is wrong with them.
        source: effdet_core::Error,
    },
    /// Not one of the pictures that the labels name is there.
    #[error("{folder}: none of the {listed} pictures that the labels name is there (the first is {first})")]
    NoPictures {
        /// Root of the data set.
        folder: PathBuf,
        /// How many are named.
        listed: usize,
        /// Path of the first.
        first: PathBuf,
    },
    /// The data set has no split of that name.
    #[error("no split `{name}` (there {})", describe_known(.known))]
    UnknownSplit {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// The proportions of a random split make no sense.
    #[error("proportions {given:?}: {reason}")]
    Proportions {
        /// The proportions.
        given: Vec<f64>,
        /// What is wrong with them.
        reason: &'static str,
    },
    /// A record fits no part of a split, or several.
    #[error("record `{id}` ({path}) belongs to {found}", found = if matching.is_empty() { "no part of the split".to_owned() } else { matching.join(" and ") })]
    SplitMatch {
        /// Id of the record.
        id: String,
        /// Path of its picture.
        path: PathBuf,
        /// The parts that it fits.
        matching: Vec<String>,
    },
    /// There is no format of that name.
    #[error("no label format `{name}` (known: {known})")]
    UnknownFormat {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The size of a picture is needed to write its labels, and neither stated nor readable.
    #[error("{path}: the size of the picture is not known")]
    SizeUnknown {
        /// Path of the picture.
        path: PathBuf,
    },
    /// The labels are those of a picture of another size.
    #[error("{name}: the labels are those of a picture of {stated}, it is {found} (height x width)")]
    SizeMismatch {
        /// Path of the picture.
        name: String,
        /// Height and width that the labels state.
        stated: ImageSize,
        /// Height and width of the upright picture.
        found: ImageSize,
    },
    /// Labels could not be written.
    #[error("{path}: cannot be written")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A sample was asked for that is not there.
    #[error("there is no sample {index}, only {count}")]
    NoSuchSample {
        /// Index asked for, from 0.
        index: usize,
        /// Number of samples.
        count: usize,
    },
    /// A transform or a labelling function panicked.
    #[error("{name}: a worker panicked: {message}")]
    WorkerPanicked {
        /// Path or name of the picture that was worked on.
        name: String,
        /// The panic's message.
        message: String,
    },
    /// The pipeline gave pictures of different sizes for one batch.
    #[error("{name}: the transforms gave a picture of {got} for a batch of {expected}")]
    UnevenBatch {
        /// Path or name of the picture.
        name: String,
        /// Size of the picture.
        got: ImageSize,
        /// Size of the batch's first picture.
        expected: ImageSize,
    },
    /// An option of the loader makes no sense.
    #[error("the loader's {option} {problem}")]
    LoaderOption {
        /// Name of the option.
        option: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

fn describe_known(known: &[String]) -> String {
    match known {
        [] => "are none".to_owned(),
        _ => format!("are {}", known.join(", ")),
    }
}
