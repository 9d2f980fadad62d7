#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

#[cfg(feature = "spectral")]
mod algebra;
pub mod autodiff;
pub mod classical;
#[cfg(feature = "spectral")]
pub mod diffusion;
mod element;
mod error;
mod gemm;
#[cfg(feature = "gpu")]
pub mod gpu;
#[cfg(feature = "gpu")]
mod gpu_failure;
#[cfg(feature = "io")]
pub mod io;
mod linear_cross_entropy;
mod matrix;
mod parallel;
mod printable;
mod quotient;
mod reading;
mod simd;
mod softmax;
#[cfg(feature = "spectral")]
pub mod spectrum;
#[cfg(feature = "spectral")]
pub mod watch;

pub use element::{Element, Promote, Real};
pub use error::{Error, Result};
pub use linear_cross_entropy::{
    Backward, Classes, Filter, Fold, Forward, Gradients, Inputs, LinearCrossEntropy,
    LinearCrossEntropyBuilder, Pass, Plan, Reduction, Shapes, Shard, Statistic, Strategy, Targets,
    Upstream,
};
pub use matrix::{Matrix, MatrixMut, Vector, VectorMut};
pub use printable::printable;
pub use simd::{Isa, Precision};
pub use softmax::RowState;
