//! Which samples, in which order, on which process.

use super::Shard;
use crate::transform::Rng;

/// Keeps the order's random numbers apart from those of the samples.
const ORDER: u64 = u64::MAX;

/// One place of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Index of the sample.
    pub index: usize,
    /// Whether the sample stands here only so that all processes have equally many: it is a duplicate, not to be
    /// counted in an evaluation.
    pub is_padding: bool,
}

/// The order of the samples.
///
/// All processes get equally many: where the samples do not divide evenly, the first ones of the order come again at
/// the end, marked as padding. Process `rank` takes every `world_size`-th place from `rank` on.
///
/// # Reference
/// `torch.utils.data.DistributedSampler` when shuffling, timm `OrderedDistributedSampler` when not; the permutation is
/// our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampler {
    /// Number of samples in the data set.
    pub count: usize,
    /// Whether the order is random, another one each epoch.
    pub shuffle: bool,
    /// Seed of the random order.
    pub seed: u64,
    /// The part of this process.
    pub shard: Shard,
}

impl Sampler {
    /// Number of places of one epoch on this process.
    pub fn len(&self) -> usize {
        self.count.div_ceil(self.shard.world_size.max(1))
    }

    /// True if there are no samples.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The places of epoch `epoch` on this process.
    pub fn positions(&self, epoch: u64) -> Vec<Position> {
        let mut order: Vec<usize> = (0..self.count).collect();
        if self.shuffle {
            Rng::for_sample(self.seed, epoch, ORDER).shuffle(&mut order);
        }
        let Shard { rank, world_size } = self.shard;
        (0..self.len())
            .map(|i| i * world_size + rank)
            .map(|at| Position { index: order[at % self.count], is_padding: at >= self.count })
            .collect()
    }
}
