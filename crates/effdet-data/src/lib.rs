//! Pictures and labels in and out: label formats, transforms and batches for object detection.
//!
//! Use it alone to read, check, convert, split or feed a labelled data set to any trainer; there is no network and no
//! tensor library in it. Labels of any of the [formats](Format) become one [`Dataset`] of [`Record`]s, with a [report](DirtReport) of what was
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
//!
//! [`mod@write`] puts them into another format, [`split`] divides them, [`statistics`] counts them, and a [`Loader`] gives
//! batches, the same ones for any number of workers:
//!
//! ```
//! use std::sync::Arc;
//!
//! use effdet_core::ImageSize;
//! use effdet_data::transform::effdet_eval;
//! use effdet_data::{Format, LabelFormat, Loader, LoaderOptions, ParseOptions, Pictures, Preprocess, Source, write};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/formats/coco_zero");
//! let parsed = Format::Coco.parse(&Source::new(root).with_split("train"), &ParseOptions::default())?;
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("boxes.csv");
//! write::csv(&parsed.dataset, &path)?;
//!
//! let transform = effdet_eval(&Preprocess::imagenet(ImageSize::square(64)));
//! let samples = Arc::new(Pictures::new(parsed.dataset.records));
//! let loader = Loader::new(samples, transform, LoaderOptions { batch_size: 2, ..LoaderOptions::eval() })?;
//! for batch in loader.epoch(0) {
//!     let batch = batch?;
//!     println!("{} pictures as {:?}, {} objects in the first", batch.len(), batch.shape, batch.targets[0].boxes.len());
//! }
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
mod upright;
pub mod write;

pub use builder::{Corners, DatasetBuilder, Draft, DraftObject};
pub use decode::{DecodeLimits, decode_bytes, decode_file, decode_reader};
pub use dirt::{Action, At, Dirt, DirtKind, DirtReport, Policies, Policy};
pub use error::Error;
pub use format::{Format, LabelFormat, Parsed};
pub use header::{PictureHeader, header_of_bytes, read_header};
pub use loader::{Batch, Loader, LoaderOptions, Pictures, Samples};
pub use options::{ClassIds, ParseOptions, PetsLabels, PictureCheck, Pixels, Source};
pub use preprocess::{Fill, Prepared, Preprocess};
pub use record::{Dataset, Object, Provenance, Record, RecordId};
pub use resize::{Interpolation, resize};
