//! Memory for results.

use std::ops::{Deref, DerefMut};

use burn::tensor::Bytes;

/// Numbers that the kernel it is made for writes all of.
pub(super) struct Buffer(Vec<f32>);

impl Buffer {
    /// Room for `length` numbers, whatever they are.
    pub(super) fn new(length: usize) -> Self {
        Self(vec![0.0; length])
    }

    /// As what tensors are made of.
    pub(super) fn into_bytes(self) -> Bytes {
        Bytes::from_elems(self.0)
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
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}
