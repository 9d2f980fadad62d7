//! Memory for panels.

use bytemuck::{Pod, Zeroable, zeroed_vec};
use std::marker::PhantomData;

/// A cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

// SAFETY: an array of bytes without padding, of which every pattern is valid.
unsafe impl Zeroable for Line {}
// SAFETY: as above.
unsafe impl Pod for Line {}

/// Numbers that begin at a cache line, so that no row of a panel straddles two where it need not.
pub(crate) struct Buffer<T> {
    lines: Vec<Line>,
    kind: PhantomData<T>,
}

impl<T: Pod> Buffer<T> {
    /// No numbers yet.
    pub(crate) fn new() -> Self {
        Self { lines: Vec::new(), kind: PhantomData }
    }

    /// So many zeros.
    pub(crate) fn zeros(length: usize) -> Self {
        Self { lines: zeroed_vec(Self::bytes(length) / size_of::<Line>()), kind: PhantomData }
    }

    /// What so many numbers take.
    pub(crate) fn bytes(length: usize) -> usize {
        length.saturating_mul(size_of::<T>()).div_ceil(size_of::<Line>()) * size_of::<Line>()
    }

    /// The first `length` numbers; the buffer grows to them once.
    pub(crate) fn sized(&mut self, length: usize) -> &mut [T] {
        if self.lines.len() * size_of::<Line>() < length * size_of::<T>() {
            // The old one is given back first: a buffer is never held twice.
            self.lines = Vec::new();
            *self = Self::zeros(length);
        }
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..length]
    }

    /// All numbers.
    pub(crate) fn get(&self) -> &[T] {
        bytemuck::cast_slice(&self.lines)
    }
}
