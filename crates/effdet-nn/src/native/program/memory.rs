//! Where maps and results lie, and the memory of runs that have ended.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// The memory of one picture's run. Places below `maps` are offsets from `start`, the others from `results`.
pub(super) struct Memory {
    pub start: *mut f32,
    pub maps: usize,
    pub results: *mut f32,
    pub input: *const f32,
}
// SAFETY: shared by the threads of one run, which write to separate parts of it.
unsafe impl Sync for Memory {}

impl Memory {
    /// The memory that lies so many numbers behind this.
    pub(super) unsafe fn behind(&self, maps: usize, results: usize, input: usize) -> Self {
        // SAFETY: the caller's
        unsafe {
            Self {
                start: self.start.add(maps),
                maps: self.maps,
                results: self.results.add(results),
                input: self.input.add(input),
            }
        }
    }

    pub(super) unsafe fn at(&self, place: usize) -> *mut f32 {
        // SAFETY: the plan's places lie within the two blocks
        unsafe { if place < self.maps { self.start.add(place) } else { self.results.add(place - self.maps) } }
    }
}

/// Blocks that nobody uses. Fresh memory costs a fault of the processor for every page, which for the results of a
/// detector takes longer than writing them.
#[derive(Debug, Default)]
pub(super) struct Pool(Mutex<Vec<Vec<f32>>>);

impl Pool {
    /// How many blocks are kept.
    const KEPT: usize = 4;

    /// A block of this length, with any numbers in it.
    pub(super) fn take(self: &Arc<Self>, length: usize) -> Block {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let best = (0..idle.len()).min_by_key(|&i| (idle[i].len() < length, idle[i].len().abs_diff(length)));
        let mut values = best.map_or_else(Vec::new, |i| idle.swap_remove(i));
        drop(idle);
        values.resize(length, 0.0);
        Block { values, pool: Arc::clone(self) }
    }
}

/// Memory that goes back to its pool when it is dropped.
#[derive(Debug)]
pub(super) struct Block {
    values: Vec<f32>,
    pool: Arc<Pool>,
}

impl Deref for Block {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }
}

impl Clone for Block {
    fn clone(&self) -> Self {
        Self { values: self.values.clone(), pool: Arc::clone(&self.pool) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let mut idle = self.pool.0.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < Pool::KEPT {
            idle.push(std::mem::take(&mut self.values));
        }
    }
}
