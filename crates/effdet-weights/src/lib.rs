//! Checkpoints in and out: safetensors and PyTorch files, strict loading with a report one can act on
//!
//! [`Checkpoint::open`] lists the tensors of a file, whatever wrote it; [`load_into`] fills a Burn module with them, or
//! says exactly why it cannot; [`save_safetensors`] writes a module that PyTorch, timm and effdet read back. Tensors
//! keep the names timm and effdet gave them: a module's field names are its checkpoint keys, and what differs goes
//! through a [`KeyMap`].

mod checkpoint;
mod convert;
mod error;
mod guard;
mod load;
mod metadata;
mod module_io;
mod pickle_scan;
mod report;
mod safetensors_file;
mod save;

pub use checkpoint::{Checkpoint, CheckpointOptions, Format, TensorInfo};
pub use error::Error;
pub use load::{LoadOptions, load_into};
pub use metadata::CheckpointMetadata;
pub use module_io::{KeyMap, ModulePath, identity_keys, parameter_shapes};
pub use report::{LoadReport, Missing, NonFinite, Unexpected, WrongShape};
pub use safetensors::Dtype as DType;
pub use save::{NamedTensors, save_safetensors, write_safetensors};
