//! Checkpoints in and out: safetensors and PyTorch files, strict loading with a report one can act on
//!
//! [`Checkpoint::open`] lists the tensors of a file, whatever wrote it; [`load_into`] fills a Burn module with them, or
//! says exactly why it cannot; [`save_safetensors`] writes a module that PyTorch, timm and effdet read back. Tensors
//! keep the names timm and effdet gave them: a module's field names are its checkpoint keys, and what differs goes
//! through a [`KeyMap`].
//!
//! [`WeightsEntry::named`] finds published weights and [`WeightsStore`] their file, which it fetches with the feature
//! `hub` and never uses unchecked.

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
