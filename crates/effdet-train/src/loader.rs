//! Batches with the data set they come from.

use std::sync::Arc;

use effdet_core::ClassMap;
use effdet_data::loader::{OnError, Shard};
use effdet_data::transform::{Transform, effdet_eval, effdet_train};
use effdet_data::{Dataset, Loader, LoaderOptions, Pictures, Preprocess};

use crate::Error;

/// A loader that knows its labels in pixels of the files, which evaluation needs.
pub struct DataLoader {
    dataset: Dataset,
    loader: Loader,
}

impl DataLoader {
    /// A loader over all records of a data set.
    ///
    /// # Errors
    /// If the options contradict themselves.
    pub fn new(
        dataset: Dataset,
        transform: impl Transform + 'static,
        options: LoaderOptions,
    ) -> Result<Self, Error> {
        let pictures = Arc::new(Pictures::new(dataset.records.clone()));
        let loader = Loader::new(pictures, transform, options)?;
        Ok(Self { dataset, loader })
    }

    /// For training: the reference's flips and scale jitter, random order, full batches only. A picture that cannot be
    /// read is replaced by another, so that every epoch has the same number of batches.
    ///
    /// # Errors
    /// If the batch size is 0.
    ///
    /// # Reference
    /// effdet `transforms_coco_train`.
    pub fn train(
        dataset: Dataset,
        preprocess: &Preprocess,
        batch_size: usize,
        seed: u64,
    ) -> Result<Self, Error> {
        let options = LoaderOptions { batch_size, on_error: OnError::Replace, ..LoaderOptions::train(seed) };
        Self::new(dataset, effdet_train(preprocess), options)
    }

    /// For validation: the letterbox of `preprocess`, the order of the data set. A picture that cannot be read is left out
    /// and told of; its objects count as missed.
    ///
    /// # Errors
    /// If the batch size is 0.
    pub fn valid(dataset: Dataset, preprocess: &Preprocess, batch_size: usize) -> Result<Self, Error> {
        let options = LoaderOptions { batch_size, on_error: OnError::Skip, ..LoaderOptions::eval() };
        Self::new(dataset, effdet_eval(preprocess), options)
    }

    /// The part of worker `rank` of `world_size`, whose batches have as many pictures as these.
    ///
    /// # Errors
    /// If the rank is not below the world size.
    pub fn sharded(&self, rank: usize, world_size: usize) -> Result<Self, Error> {
        let loader = self.loader.sharded(Shard { rank, world_size })?;
        Ok(Self { dataset: self.dataset.clone(), loader })
    }

    /// The data set.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// The names of the classes.
    pub fn class_map(&self) -> &ClassMap {
        &self.dataset.class_map
    }

    /// The loader.
    pub fn loader(&self) -> &Loader {
        &self.loader
    }

    /// Number of batches of an epoch.
    pub fn len(&self) -> usize {
        self.loader.len()
    }

    /// True if an epoch has no batch.
    pub fn is_empty(&self) -> bool {
        self.loader.is_empty()
    }
}
