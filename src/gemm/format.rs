//! In what the panels of a product hold their numbers.

use half::bf16;
use std::ops::Add;

/// A number that panels hold, with what its products are summed in.
pub trait Format: bytemuck::Pod + Default + Send + Sync + 'static {
    /// What the products are summed in.
    type Sum: Copy + Default + Add<Output = Self::Sum> + Send + Sync + 'static;
    /// How many products along k one multiply-add takes.
    const DEPTH: usize;
}

impl Format for f32 {
    type Sum = f32;
    const DEPTH: usize = 1;
}

impl Format for f64 {
    type Sum = f64;
    const DEPTH: usize = 1;
}

impl Format for bf16 {
    type Sum = f32;
    const DEPTH: usize = 2;
}
