//! The error type of this crate.

use std::io;
use std::path::PathBuf;

/// Why a detector could not be made or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A checkpoint cannot be read or does not fit.
    #[error(transparent)]
    Weights(#[from] effdet_weights::Error),
    /// A configuration cannot be built, or the network failed.
    #[error(transparent)]
    Model(#[from] effdet_model::Error),
    /// A picture cannot be read or prepared.
    #[error(transparent)]
    Picture(#[from] effdet_data::Error),
    /// What a checkpoint says about itself is unreadable.
    #[error("{} has unusable metadata", path.display())]
    Metadata {
        /// The checkpoint.
        path: PathBuf,
        /// The value at fault.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No model was named and the checkpoint names none.
    #[error("{} does not say which model it is for: {hint}", path.display())]
    UnnamedModel {
        /// The checkpoint.
        path: PathBuf,
        /// What its tensors look like.
        hint: String,
    },
    /// The tensors are those of another model.
    #[error("{} is no checkpoint of `{model}`: this looks like {}", path.display(), looks_like.join(" or "))]
    OtherModel {
        /// The checkpoint.
        path: PathBuf,
        /// The model asked for.
        model: String,
        /// The models it fits.
        looks_like: Vec<&'static str>,
        /// What does not fit.
        source: Box<effdet_weights::Error>,
    },
    /// Class names and class head disagree.
    #[error("{origin} gives {names} class names, but the class head in {} has {classes} classes", path.display())]
    ClassCount {
        /// The checkpoint.
        path: PathBuf,
        /// Where the names come from.
        origin: &'static str,
        /// How many there are.
        names: usize,
        /// Classes of the class head.
        classes: usize,
    },
    /// The operating system refused to read a labels file.
    #[error("cannot read the labels file {}", path.display())]
    ReadLabels {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A labels file with a bad line.
    #[error("{}", path.display())]
    Labels {
        /// The file.
        path: PathBuf,
        /// The line at fault.
        source: effdet_core::Error,
    },
    /// A labels file without names.
    #[error("{}: the labels file holds no class names", path.display())]
    NoLabels {
        /// The file.
        path: PathBuf,
    },
    /// A setting out of its range.
    #[error("{name} is {value}: {expected}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// There is no such device.
    #[error(transparent)]
    Device(#[from] effdet_nn::DeviceError),
    /// A training run that cannot start or go on.
    #[error(transparent)]
    Train(#[from] effdet_train::Error),
    /// Labels or detections that cannot be evaluated.
    #[error(transparent)]
    Metrics(#[from] effdet_metrics::Error),
    /// Anchors that cannot be made.
    #[error(transparent)]
    Anchors(#[from] effdet_heads::Error),
    /// A picture that cannot be sliced.
    #[error(transparent)]
    Slices(#[from] effdet_core::Error),
    /// A detector that cannot be exported.
    #[error(transparent)]
    Export(#[from] effdet_export::Error),
    /// A data set without a box in a picture of known size.
    #[error("{}: no boxes in pictures of known size", root.display())]
    NoBoxes {
        /// Folder of the data set.
        root: PathBuf,
    },
}
