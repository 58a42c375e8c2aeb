//! Batches for training and evaluation, made by worker threads.
//!
//! ```
//! use std::sync::Arc;
//!
//! use effdet_core::ImageSize;
//! use effdet_data::transform::{RandomResizePad, Sample};
//! use effdet_data::{Loader, LoaderOptions};
//!
//! let samples: Vec<Sample> = (0..10).map(|_| Sample::new(image::RgbImage::new(40, 30), Vec::new())).collect();
//! let options = LoaderOptions { batch_size: 4, ..LoaderOptions::train(42) };
//! let loader = Loader::new(Arc::new(samples), RandomResizePad::new(ImageSize::square(32)), options)?;
//! for batch in loader.epoch(0) {
//!     let batch = batch?;
//!     assert_eq!(batch.shape, [4, 32, 32, 3]);
//! }
//! # Ok::<(), effdet_data::Error>(())
//! ```

mod batch;
mod epoch;
mod options;
mod sampler;
mod samples;

use std::sync::Arc;

pub use batch::{Batch, Layout, PaddedTargets, Skipped, Target};
pub use epoch::Epoch;
pub use options::{LoaderOptions, OnError, Shard};
pub use sampler::{Position, Sampler};
pub use samples::{Pictures, Samples};

use crate::Error;
use crate::transform::{Sample, Transform};

/// What the workers compute from each transformed sample, besides its pixels.
pub type Labeller<T> = dyn Fn(&Sample) -> T + Send + Sync;

/// Turns samples into batches.
///
/// Worker threads read, decode, transform and label; the batches come in order and are the same for any number of
/// workers, since each sample has random numbers of its own and goes to the place it was drawn for. `T` is what an
/// optional labelling function makes of each sample, such as the anchor targets of a model that this crate does not know.
pub struct Loader<T = ()> {
    samples: Arc<dyn Samples>,
    transform: Arc<dyn Transform>,
    labeller: Option<Arc<Labeller<T>>>,
    options: LoaderOptions,
}

impl Loader {
    /// A loader over `samples`, each going through `transform`, which has to give all pictures the same size.
    ///
    /// # Errors
    /// [`Error::LoaderOption`] if the options contradict themselves.
    pub fn new(
        samples: Arc<dyn Samples>,
        transform: impl Transform + 'static,
        options: LoaderOptions,
    ) -> Result<Self, Error> {
        options.check()?;
        Ok(Self { samples, transform: Arc::new(transform), labeller: None, options })
    }
}

impl<T: Send + 'static> Loader<T> {
    /// The same loader with `label` called on every transformed sample in the workers; its results are
    /// [`Batch::labels`].
    #[must_use]
    pub fn with_labels<U: Send + 'static>(
        self,
        label: impl Fn(&Sample) -> U + Send + Sync + 'static,
    ) -> Loader<U> {
        let Self { samples, transform, options, .. } = self;
        Loader { samples, transform, labeller: Some(Arc::new(label)), options }
    }

    /// The same loader for one process of several: each takes a part of the samples.
    ///
    /// # Errors
    /// [`Error::LoaderOption`] if the rank is not below the world size.
    pub fn sharded(&self, shard: Shard) -> Result<Self, Error> {
        let options = LoaderOptions { shard, ..self.options };
        options.check()?;
        Ok(Self {
            samples: Arc::clone(&self.samples),
            transform: Arc::clone(&self.transform),
            labeller: self.labeller.clone(),
            options,
        })
    }

    /// The options.
    pub fn options(&self) -> &LoaderOptions {
        &self.options
    }

    /// Number of samples of an epoch on this rank, padding included.
    pub fn sample_count(&self) -> usize {
        self.sampler().len()
    }

    /// Number of batches of an epoch. With [`OnError::Skip`] there can be fewer.
    pub fn len(&self) -> usize {
        let (count, size) = (self.sample_count(), self.options.batch_size);
        if self.options.drop_last { count / size } else { count.div_ceil(size) }
    }

    /// True if an epoch has no batch.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Starts the workers on the batches of epoch `epoch`, which selects the order and the random numbers.
    ///
    /// Dropping the iterator stops and joins them.
    pub fn epoch(&self, epoch: u64) -> Epoch<T> {
        self.epoch_from(epoch, 0)
    }

    /// As [`epoch`](Self::epoch), without the first `batches` batches, which are not read: for a run that goes on within
    /// an epoch. With [`OnError::Skip`] a batch that lost a sample moves the later ones, so use another there.
    pub fn epoch_from(&self, epoch: u64, batches: usize) -> Epoch<T> {
        let positions = self.sampler().positions(epoch);
        let first = batches.saturating_mul(self.options.batch_size).min(positions.len());
        Epoch::start(epoch::Work {
            first,
            samples: Arc::clone(&self.samples),
            transform: Arc::clone(&self.transform),
            labeller: self.labeller.clone(),
            options: self.options,
            epoch,
            positions,
        })
    }

    fn sampler(&self) -> Sampler {
        let LoaderOptions { shuffle, seed, shard, .. } = self.options;
        Sampler { count: self.samples.len(), shuffle, seed, shard }
    }
}
