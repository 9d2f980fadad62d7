//! Losses other than cross-entropy on the same kernels: against direct sums in f64, fused over every
//! type, strategy and instruction set; their limits and their digits.

mod companions;
mod digits;
mod fused;
mod limits;
mod named;
mod own;
mod refusals;
mod temperatures;
