#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

#[cfg(feature = "spectral")]
mod algebra;
pub mod autodiff;
pub mod binary;
pub mod classical;
pub mod contrastive;
pub mod coupling;
#[cfg(feature = "spectral")]
pub mod diffusion;
mod element;
mod error;
pub mod fit;
mod gemm;
#[cfg(feature = "gpu")]
pub mod gpu;
#[cfg(feature = "gpu")]
mod gpu_failure;
pub mod information;
#[cfg(feature = "io")]
pub mod io;
pub mod loss;
mod matrix;
mod numerics;
mod parallel;
mod pieces;
pub mod preference;
mod printable;
mod product;
mod quotient;
pub mod random;
pub mod rates;
mod reading;
mod simd;
mod softmax;
mod sorting;
#[cfg(feature = "spectral")]
pub mod spectrum;
pub mod values;
#[cfg(feature = "spectral")]
pub mod watch;
mod writing;

pub use element::{Element, Real};
pub use error::{Error, Result};
pub use loss::{
    Backward, Classes, DroppedMass, Filter, Fold, Forward, Gradients, Inputs, LinearCrossEntropy,
    LinearCrossEntropyBuilder, Pass, Plan, Reduction, Shapes, Shard, Statistic, Strategy, Targets,
    TopK, Upstream,
};
pub use matrix::{Matrix, MatrixMut, Vector, VectorMut};
pub use printable::printable;
pub use simd::{Caches, Isa, Precision};
pub use softmax::RowState;
