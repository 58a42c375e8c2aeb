use std::io;
use std::path::PathBuf;

/// What can be wrong with the files or the options of an evaluation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be opened or read.
    #[error("{path}: cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A record or value of a JSON file is not what its place asks for. The line and column in `source` count
    /// from the start of that record.
    #[error("{path}: {place}: {source}")]
    Json {
        /// The file.
        path: PathBuf,
        /// Which record, such as `annotation 12` (counted from 0).
        place: String,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// The JSON as a whole has another shape than the format.
    #[error("{path}: {reason}")]
    Layout {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An XML file that is not well formed.
    #[error("{path}: not well-formed XML")]
    Xml {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: quick_xml::Error,
    },
    /// An object of a VOC annotation without a usable name or box.
    #[error("{path}: object {index}: {reason}")]
    VocObject {
        /// The file.
        path: PathBuf,
        /// Which object, counted from 0.
        index: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A line of a text or CSV file that cannot be understood.
    #[error("{path}: line {line}: {reason}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Line number, counted from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A CSV file that cannot be split into fields.
    #[error("{path}: not a CSV file")]
    Csv {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: csv::Error,
    },
    /// A CSV file without a column that the format needs.
    #[error("{path}: the header has no column `{column}`")]
    MissingColumn {
        /// The file.
        path: PathBuf,
        /// The column.
        column: &'static str,
    },
    /// A ground-truth box given in memory with a coordinate or an area that is NaN or infinite.
    #[error("annotation {index} of image {image}: the box or its area is not finite")]
    NonFiniteAnnotation {
        /// Which annotation, counted from 0.
        index: usize,
        /// Id of its image.
        image: String,
    },
    /// An option outside its range.
    #[error("{option}: {reason}")]
    Option {
        /// The option.
        option: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// More images, classes or boxes than a 32-bit index can number.
    #[error("more than 2^32 - 1 {what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
    },
}
