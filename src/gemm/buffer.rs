//! Memory for panels.

use bytemuck::Pod;
use std::marker::PhantomData;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Bytes of a huge page on x86-64, and a multiple of every smaller one. At V = 65536 huge pages took a
/// strip of all rows in f32 from 81 and 83 to 85 and 88 % of the peak on Zen 5.
const HUGE: usize = 2 << 20;

/// Asks for huge pages where memory has not been touched yet: fewer faults, and fewer misses when
/// rows far apart are read. Where the system does not know them nothing changes.
fn prefer_huge_pages(bytes: &[u8]) {
    #[cfg(target_os = "linux")]
    {
        let skipped = bytes.as_ptr().align_offset(HUGE).min(bytes.len());
        let whole = (bytes.len() - skipped) / HUGE * HUGE;
        if whole > 0 {
            // SAFETY: the range is of whole pages within memory that is ours; the advice changes
            // neither its contents nor who may use it.
            unsafe {
                let start = bytes.as_ptr().add(skipped).cast_mut();
                libc::madvise(start.cast(), whole, libc::MADV_HUGEPAGE);
            }
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (bytes, HUGE);
}

/// Numbers that begin at a cache line, so that no row of a panel straddles two where it need not.
pub(crate) struct Buffer<T> {
    /// Zeros that the system gives as they are first touched: by the threads that use them.
    bytes: Vec<u8>,
    /// Where the first line begins.
    start: usize,
    kind: PhantomData<T>,
}

impl<T: Pod> Buffer<T> {
    /// No numbers yet.
    pub(crate) fn new() -> Self {
        Self { bytes: Vec::new(), start: 0, kind: PhantomData }
    }

    /// So many zeros.
    pub(crate) fn zeros(length: usize) -> Self {
        if length == 0 {
            return Self::new();
        }
        let bytes = vec![0; Self::bytes(length)];
        prefer_huge_pages(&bytes);
        let start = bytes.as_ptr().align_offset(LINE);
        assert!(start < LINE, "an address of bytes");
        Self { bytes, start, kind: PhantomData }
    }

    /// What so many numbers take.
    pub(crate) fn bytes(length: usize) -> usize {
        length.saturating_mul(size_of::<T>()).saturating_add(LINE)
    }

    /// The first `length` numbers; the buffer grows to them once.
    pub(crate) fn sized(&mut self, length: usize) -> &mut [T] {
        if self.get().len() < length {
            // The old one is given back first: a buffer is never held twice.
            self.bytes = Vec::new();
            *self = Self::zeros(length);
        }
        if length == 0 {
            return &mut [];
        }
        let end = self.start + length * size_of::<T>();
        bytemuck::cast_slice_mut(&mut self.bytes[self.start..end])
    }

    /// All numbers.
    pub(crate) fn get(&self) -> &[T] {
        if self.bytes.is_empty() {
            return &[];
        }
        let length = (self.bytes.len() - LINE) / size_of::<T>();
        bytemuck::cast_slice(&self.bytes[self.start..self.start + length * size_of::<T>()])
    }
}
