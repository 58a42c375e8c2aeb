//! Division of work among threads.
//!
//! Work is cut where the sizes say, never where the number of threads would: what a piece computes, and in which order,
//! is the same for any number of them.

use rayon::prelude::*;

/// Calls `job` with every number below `count`, several at a time.
pub(super) fn for_each(count: usize, job: impl Fn(usize) + Sync + Send) {
    if count == 1 {
        return job(0);
    }
    (0..count).into_par_iter().for_each(job);
}

/// A place that pieces of work write to, each its own part.
#[derive(Clone, Copy)]
pub(super) struct Shared(*mut f32);

// SAFETY: whoever writes says that the parts do not overlap.
unsafe impl Send for Shared {}
// SAFETY: as above
unsafe impl Sync for Shared {}

impl Shared {
    pub(super) fn new(values: &mut [f32]) -> Self {
        Self(values.as_mut_ptr())
    }

    /// The place `offset` numbers from the start.
    ///
    /// # Safety
    /// It must lie within what this was made of.
    pub(super) unsafe fn at(self, offset: usize) -> *mut f32 {
        // SAFETY: the caller's
        unsafe { self.0.add(offset) }
    }
}

/// Runs `work` with memory for `length` numbers, whatever they are, that the thread keeps for the next time.
pub(super) fn with_scratch<T>(length: usize, work: impl FnOnce(&mut [f32]) -> T) -> T {
    use std::cell::Cell;
    thread_local! {
        static SCRATCH: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    }
    SCRATCH.with(|cell| {
        let mut scratch = cell.take();
        if scratch.len() < length {
            scratch.resize(length, 0.0);
        }
        let result = work(&mut scratch[..length]);
        cell.set(scratch);
        result
    })
}

/// Copies.
pub(super) fn copy(from: &[f32], to: &mut [f32]) {
    to.par_chunks_mut(1 << 16).zip(from.par_chunks(1 << 16)).for_each(|(to, from)| to.copy_from_slice(from));
}

/// Multiplies.
pub(super) fn scale(values: &mut [f32], factor: f32) {
    values.par_chunks_mut(1 << 16).for_each(|values| values.iter_mut().for_each(|value| *value *= factor));
}
