//! The error type of this crate.

use std::io;
use std::path::PathBuf;

use effdet_heads::NmsMethod;
use effdet_nn::Unrecordable;

use crate::OPSETS;

/// Why a detector cannot be exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An operator set that is not written.
    #[error("operator set {opset} is not among those that are written, {} to {}", OPSETS.start(), OPSETS.end())]
    Opset {
        /// The version asked for.
        opset: u32,
    },
    /// A batch size that is none.
    #[error("`{value}` is no batch size: expected a number from 1 on, or `dynamic`")]
    Batch {
        /// What was asked for.
        value: String,
    },
    /// Detections of pictures of any size.
    #[error(
        "detections need a fixed picture size, for which anchors are constants: export logits for pictures of any size"
    )]
    DynamicSizeWithNms,
    /// Suppression of which ONNX has no operator.
    #[error("ONNX has hard non-maximum suppression only, not {method:?}")]
    Suppression {
        /// The method asked for.
        method: NmsMethod,
    },
    /// A network with a step of which there is no record.
    #[error("`{model}` cannot be exported: {source}")]
    Unrecordable {
        /// The model.
        model: String,
        /// The step.
        source: Unrecordable,
    },
    /// A network that computes something else for other picture sizes.
    #[error("`{model}` cannot be exported for pictures of any size: {reason}")]
    SizeDependent {
        /// The model.
        model: String,
        /// What depends on the size.
        reason: String,
    },
    /// Anchors that cannot be made, or a setting out of range.
    #[error(transparent)]
    Heads(#[from] effdet_heads::Error),
    /// The operating system refused to write the file.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
