//! Pictures and labels in: decoding, letterboxing and normalisation for object detection
//!
//! Labels of any of the [formats](Format) become one [`Dataset`] of [`Record`]s, with a [report](DirtReport) of what was
//! wrong with them:
//!
//! ```
//! use effdet_data::{Format, LabelFormat, ParseOptions, Source};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/formats/voc");
//! let parsed = Format::Voc.parse(&Source::new(root), &ParseOptions::default())?;
//! println!("{} pictures, {}", parsed.dataset.records.len(), parsed.dirt);
//! # Ok(())
//! # }
//! ```

mod builder;
pub mod cache;
mod decode;
mod dirt;
mod error;
mod files;
pub mod format;
mod header;
mod jpeg;
pub mod loader;
mod options;
mod preprocess;
mod record;
mod resize;
pub mod split;
pub mod statistics;
pub mod transform;
pub mod write;

pub use builder::{Corners, DatasetBuilder, Draft, DraftObject};
pub use decode::{DecodeLimits, decode_bytes, decode_file};
pub use dirt::{Action, At, Dirt, DirtKind, DirtReport, Policies, Policy};
pub use error::Error;
pub use format::{Format, LabelFormat, Parsed};
pub use header::{PictureHeader, header_of_bytes, read_header};
pub use loader::{Batch, Loader, LoaderOptions, Pictures, Samples};
pub use options::{ClassIds, ParseOptions, PetsLabels, PictureCheck, Pixels, Source};
pub use preprocess::{Fill, Prepared, Preprocess};
pub use record::{Dataset, Object, Provenance, Record, RecordId};
pub use resize::{Interpolation, resize};
