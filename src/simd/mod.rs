//! Vectors and nothing else: one trait, a back end for each instruction set, and the elementary
//! functions written once over the trait.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod bandwidth;
mod caches;
mod constants;
pub(crate) mod exp;
mod isa;
mod kernel;
pub(crate) mod log;
pub(crate) mod normal;
mod peak;
mod portable;
pub(crate) mod remainder;
pub(crate) mod tanh;
mod vector;

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;
pub use caches::Caches;
pub use isa::Isa;
pub use kernel::Kernel;
pub use peak::Precision;
pub use portable::Portable;
pub use vector::{Simd, SimdReal, Vector};
pub(crate) use vector::{for_each_vector, read, splat};

#[cfg(test)]
mod tests;
