//! What is run on an instruction set.

use super::vector::Simd;

/// A computation written once and compiled for each instruction set.
pub trait Kernel {
    /// What it returns.
    type Output;
    /// The computation; must be `#[inline(always)]`, as all that it calls.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}
