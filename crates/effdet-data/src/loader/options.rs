//! How a loader works.

use super::Layout;
use crate::Error;

/// What happens when a picture cannot be read or a transform panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// The sample is left out and listed in [`Batch::skipped`](super::Batch::skipped). Later samples move up, so an
    /// epoch may have fewer batches.
    #[default]
    Skip,
    /// Another sample drawn by the seed takes its place; the sample is listed in
    /// [`Batch::skipped`](super::Batch::skipped). The number of batches stays, as distributed training needs it.
    Replace,
    /// The epoch gives the error and ends.
    Fail,
}

/// The part of the samples that one process of several takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shard {
    /// Number of this process, from 0.
    pub rank: usize,
    /// Number of processes.
    pub world_size: usize,
}

impl Default for Shard {
    /// The only process.
    fn default() -> Self {
        Self { rank: 0, world_size: 1 }
    }
}

/// How a [`Loader`](super::Loader) works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoaderOptions {
    /// Pictures per batch.
    pub batch_size: usize,
    /// Worker threads. With 0 the work is done by the thread that asks for batches.
    pub workers: usize,
    /// Batches that may be ready or under way ahead of the one asked for, which bounds the memory.
    pub prefetch: usize,
    /// Whether each epoch has a random order of its own.
    pub shuffle: bool,
    /// Whether a last batch with fewer pictures is left out.
    pub drop_last: bool,
    /// Seed of the order and of the transforms.
    pub seed: u64,
    /// Order of the samples in memory.
    pub layout: Layout,
    /// What happens to samples that fail.
    pub on_error: OnError,
    /// The part of this process.
    pub shard: Shard,
    /// Whether crowds, group-of boxes and objects marked as ignored are targets. The reference leaves them out.
    pub keep_crowds: bool,
}

impl LoaderOptions {
    /// For training: random order, full batches only, 16 pictures a batch, two workers.
    pub fn train(seed: u64) -> Self {
        Self {
            batch_size: 16,
            workers: 2,
            prefetch: 2,
            shuffle: true,
            drop_last: true,
            seed,
            layout: Layout::default(),
            on_error: OnError::default(),
            shard: Shard::default(),
            keep_crowds: false,
        }
    }

    /// For evaluation: the order of the data set, every picture, errors are not passed over.
    pub fn eval() -> Self {
        Self { shuffle: false, drop_last: false, on_error: OnError::Fail, ..Self::train(0) }
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        let wrong = |option, problem: String| Err(Error::LoaderOption { option, problem });
        let Shard { rank, world_size } = self.shard;
        if self.batch_size == 0 {
            return wrong("batch size", "is 0".into());
        }
        if self.prefetch == 0 {
            return wrong("prefetch", "is 0: at least the batch asked for has to be under way".into());
        }
        if rank >= world_size {
            return wrong("rank", format!("{rank} is not below the world size {world_size}"));
        }
        Ok(())
    }
}
