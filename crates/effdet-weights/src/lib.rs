//! Checkpoints in and out: safetensors and PyTorch files, strict loading with a report one can act on.
//!
//! Use it alone to look into checkpoints, to load them into any Burn module, or to fetch published weights; nothing in a
//! file is ever executed.
//!
//! ```
//! use effdet_weights::Checkpoint;
//!
//! # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/training.pth.tar");
//! // .pth of any age, training dictionaries, .safetensors, .h5
//! let checkpoint = Checkpoint::open(path)?;
//! println!("{:?}, section {:?}", checkpoint.format(), checkpoint.section());
//! for name in checkpoint.names() {
//!     println!("{name}: {:?}, {} values", checkpoint.get(name), checkpoint.read_f32(name)?.len());
//! }
//! # assert!(!checkpoint.is_empty());
//! # Ok::<(), effdet_weights::Error>(())
//! ```
//!
//! [`Checkpoint::open`] lists the tensors of a file, whatever wrote it; [`load_into`] fills a Burn module with them, or
//! says exactly why it cannot; [`save_safetensors`] writes a module that PyTorch, timm and effdet read back. Tensors
//! keep the names timm and effdet gave them: a module's field names are its checkpoint keys, and what differs goes
//! through a [`KeyMap`].
//!
//! [`WeightsEntry::named`] finds published weights and [`WeightsStore`] their file. What it fetches itself, with the
//! feature `hub`, it checks; a file that another program put into the Hub's cache is taken as it is, until
//! [`WeightsStore::verify`] is asked.
//!
//! # Feature flags
//!
//! - `detector`: configurations of whole detectors go into a checkpoint's metadata
//! - `hub`: published weights are downloaded

mod checkpoint;
mod classes;
mod convert;
mod download;
mod error;
mod guard;
mod hdf5;
mod load;
mod metadata;
mod module_io;
mod pickle_scan;
mod registry;
mod report;
mod safetensors_file;
mod save;
mod store;
mod tensorflow;
mod transfer;

pub use checkpoint::{Checkpoint, CheckpointOptions, Format, TensorInfo};
pub use classes::{SharedClass, SharedClasses, class_slots};
pub use download::FetchEvent;
pub use error::Error;
pub use load::{LoadOptions, load_into};
pub use metadata::CheckpointMetadata;
pub use module_io::{KeyMap, ModulePath, identity_keys, parameter_shapes};
pub use registry::{WeightsEntry, WeightsKind, registry, weights_page};
pub use report::{LoadReport, Missing, NonFinite, Unexpected, WrongShape};
pub use safetensors::Dtype as DType;
pub use save::{
    NamedTensors, average_checkpoints, convert_checkpoint, save_named_tensors, save_safetensors,
    save_safetensors_as,
};
pub use store::{Retry, Verified, WeightsStore, sha256};
pub use tensorflow::{TensorFlowLayout, TensorFlowName, tensorflow_name};
pub use transfer::{
    Adapted, ClassHead, TransferOptions, TransferReport, adapt_input_channels, transfer_into,
};
