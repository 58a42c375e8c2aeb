//! The error type of this crate.

use std::io;
use std::path::PathBuf;

/// Why a training run cannot start, go on or be kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The network cannot be built or failed.
    #[error(transparent)]
    Model(#[from] effdet_model::Error),
    /// Labels, losses or decoding.
    #[error(transparent)]
    Heads(#[from] effdet_heads::Error),
    /// A picture cannot be read, or the loader is set up wrongly.
    #[error(transparent)]
    Data(#[from] effdet_data::Error),
    /// Labels or detections that cannot be evaluated.
    #[error(transparent)]
    Metrics(#[from] effdet_metrics::Error),
    /// A checkpoint cannot be read or written.
    #[error(transparent)]
    Weights(#[from] effdet_weights::Error),
    /// A plot or picture cannot be drawn.
    #[error(transparent)]
    Viz(#[from] effdet_viz::Error),
    /// A setting out of its range, or one there is none of.
    #[error("{name} is {value}: expected {expected}")]
    Setting {
        /// The setting.
        name: String,
        /// Its value.
        value: String,
        /// What is allowed.
        expected: String,
    },
    /// A configuration that is no TOML or has other fields.
    #[error("{origin}: {reason}")]
    Config {
        /// The file or option.
        origin: String,
        /// What is wrong, with the line where there is one.
        reason: String,
    },
    /// A file of the run cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A checkpoint of another run, or of another version.
    #[error("{} cannot be resumed: {reason}", path.display())]
    Resume {
        /// The checkpoint.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// The loss is not finite or far beyond those before it, and the policy is to stop.
    #[error("{0}")]
    BadStep(Box<crate::BadStep>),
    /// There is nothing to train on.
    #[error(
        "an epoch has no batch: {pictures} pictures, {batch_size} a batch, the last one dropped if it is not full"
    )]
    NoBatches {
        /// Pictures of the data set.
        pictures: usize,
        /// Pictures of a batch.
        batch_size: usize,
    },
    /// So many pictures could not be used that an epoch had no batch.
    #[error("an epoch has no batch: {attempts} attempts to use a picture failed, the first one at {name}")]
    NothingReadable {
        /// How often it was tried.
        attempts: usize,
        /// The first picture.
        name: String,
        /// What is wrong with it.
        source: Box<effdet_data::Error>,
    },
    /// A batch was too large for the device.
    #[error(transparent)]
    OutOfMemory(#[from] effdet_model::OutOfMemory),
    /// Workers that train together cannot go on together.
    #[error(transparent)]
    Workers(#[from] effdet_nn::CollectiveError),
    /// There is no thread for a worker.
    #[error("cannot start a thread for a worker")]
    Thread(#[source] io::Error),
    /// The device did not give a value back.
    #[error("cannot read back from the device: {0}")]
    ReadBack(String),
}

/// Refuses a number that is not finite or not allowed.
pub(crate) fn in_range(
    name: &str,
    value: f64,
    allowed: impl Fn(f64) -> bool,
    expected: &str,
) -> Result<(), Error> {
    if value.is_finite() && allowed(value) { Ok(()) } else { Err(Error::setting(name, value, expected)) }
}

/// Refuses numbers that are not a share: 0 to 1, 1 excluded.
pub(crate) fn shares(name: &str, values: &[f64]) -> Result<(), Error> {
    let allowed = |value| (0.0..1.0).contains(&value);
    values.iter().try_for_each(|value| in_range(name, *value, allowed, "at least 0 and below 1"))
}

impl Error {
    pub(crate) fn setting(
        name: impl Into<String>,
        value: impl ToString,
        expected: impl Into<String>,
    ) -> Self {
        Self::Setting { name: name.into(), value: value.to_string(), expected: expected.into() }
    }

    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}
