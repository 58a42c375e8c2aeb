//! Memory for results, kept for the next result of the same size.
//!
//! A training step makes and drops gigabytes of maps, of the same sizes step after step. Memory that goes back to the
//! system comes again page by page and is cleared each time, which costs as much as the arithmetic. So it is kept until
//! [`release`] says that there is no next step.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::Bytes;
use burn_std::{AccessError, AccessPolicy, AllocationController, AllocationProperty};

/// Numbers that the kernel it is made for writes all of.
pub(super) struct Buffer {
    /// As many as its class has.
    values: Vec<f32>,
    length: usize,
}

/// What is kept, by size.
struct Pool {
    kept: BTreeMap<usize, Vec<Vec<f32>>>,
    /// Numbers kept, lent out, and the most that were ever lent out since the last release.
    idle: usize,
    lent: usize,
    peak: usize,
}

static POOL: Mutex<Pool> = Mutex::new(Pool::new());

/// Sizes are multiples of this, and smaller ones are not kept.
const CLASS: usize = 1 << 14;

fn pool() -> MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives back what is kept. What is lent goes when it is dropped, unless more is taken before.
pub(crate) fn release() {
    pool().release();
}

impl Pool {
    const fn new() -> Self {
        Self { kept: BTreeMap::new(), idle: 0, lent: 0, peak: 0 }
    }

    fn take(&mut self, class: usize) -> Option<Vec<f32>> {
        self.lent += class;
        self.peak = self.peak.max(self.lent);
        let found = self.kept.get_mut(&class).and_then(Vec::pop);
        if found.is_some() {
            self.idle -= class;
        }
        self.trim();
        found
    }

    fn give(&mut self, values: Vec<f32>) {
        self.lent -= values.len();
        self.idle += values.len();
        self.kept.entry(values.len()).or_default().push(values);
        // Only after a release is there too much.
        self.trim();
    }

    fn release(&mut self) {
        self.peak = 0;
        self.trim();
    }

    /// What sizes of the past have left behind goes when there is much of it.
    fn trim(&mut self) {
        while self.idle > 0 && self.idle + self.lent > self.peak + self.peak / 4 {
            let Some(mut largest) = self.kept.last_entry() else { break };
            match largest.get_mut().pop() {
                Some(values) => self.idle -= values.len(),
                None => drop(largest.remove()),
            }
        }
    }
}

impl Buffer {
    /// Room for `length` numbers, whatever they are.
    pub(super) fn new(length: usize) -> Self {
        if length < CLASS {
            return Self { values: vec![0.0; length], length };
        }
        let class = length.next_multiple_of(CLASS);
        let kept = pool().take(class);
        Self { values: kept.unwrap_or_else(|| vec![0.0; class]), length }
    }

    /// As what tensors are made of.
    pub(super) fn into_bytes(self) -> Bytes {
        let length = self.length * size_of::<f32>();
        // SAFETY: all numbers are initialised
        unsafe { Bytes::from_controller(Box::new(self), length) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.values.len() >= CLASS {
            pool().give(std::mem::take(&mut self.values));
        }
    }
}

impl AllocationController for Buffer {
    fn alloc_align(&self) -> usize {
        align_of::<f32>()
    }

    fn property(&self) -> AllocationProperty {
        AllocationProperty::Other
    }

    unsafe fn memory_mut(&mut self, _: AccessPolicy) -> Result<&mut [MaybeUninit<u8>], AccessError> {
        let values = &mut self[..];
        // SAFETY: the same memory as bytes; any bytes are numbers
        Ok(unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), size_of_val(values)) })
    }

    fn memory(&self, _: AccessPolicy) -> Result<&[MaybeUninit<u8>], AccessError> {
        let values = &self[..];
        // SAFETY: the same memory as bytes
        Ok(unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) })
    }
}

/// Zeros.
pub(super) fn zeros(length: usize) -> Buffer {
    let mut buffer = Buffer::new(length);
    buffer.fill(0.0);
    buffer
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values[..self.length]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A step's maps, all lent at the same time; how many of them were kept from before.
    fn step(pool: &mut Pool) -> usize {
        let classes = [CLASS, CLASS, 3 * CLASS];
        let found = classes.map(|class| pool.take(class));
        let kept = found.iter().flatten().count();
        for (values, class) in found.into_iter().zip(classes) {
            pool.give(values.unwrap_or_else(|| vec![0.0; class]));
        }
        kept
    }

    #[test]
    fn memory_is_kept_from_step_to_step_and_given_back_when_released() {
        let mut pool = Pool::new();
        assert_eq!([step(&mut pool), step(&mut pool)], [0, 3]);
        assert_eq!((pool.idle, pool.lent), (5 * CLASS, 0));
        pool.release();
        assert_eq!((pool.idle, pool.lent, pool.peak), (0, 0, 0));
        assert!(pool.kept.values().all(Vec::is_empty));
        assert_eq!([step(&mut pool), step(&mut pool)], [0, 3]);
    }

    #[test]
    fn what_was_lent_before_a_release_is_not_kept_after_it() {
        let mut pool = Pool::new();
        assert!(pool.take(CLASS).is_none());
        pool.release();
        assert_eq!((pool.idle, pool.lent), (0, CLASS));
        pool.give(vec![0.0; CLASS]);
        assert_eq!((pool.idle, pool.lent), (0, 0));
    }
}
