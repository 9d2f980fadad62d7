#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
// The pages of docs.rs say which feature an item needs.
#![cfg_attr(docsrs, feature(doc_cfg))]
// What only modules behind features use is not used without them.
#![cfg_attr(not(feature = "autodiff"), allow(dead_code, unused_imports, unused_macros))]

#[cfg(feature = "spectral")]
mod algebra;
#[cfg(feature = "autodiff")]
pub mod autodiff;
#[cfg(feature = "objectives")]
pub mod binary;
#[cfg(feature = "information")]
pub mod classical;
#[cfg(feature = "objectives")]
pub mod contrastive;
#[cfg(feature = "information")]
pub mod coupling;
#[cfg(feature = "spectral")]
pub mod diffusion;
mod element;
mod error;
#[cfg(feature = "information")]
pub mod fit;
mod gemm;
#[cfg(feature = "gpu")]
pub mod gpu;
#[cfg(feature = "gpu")]
mod gpu_failure;
#[cfg(feature = "information")]
pub mod information;
#[cfg(feature = "io")]
pub mod io;
pub mod loss;
mod matrix;
mod numerics;
mod parallel;
mod pieces;
#[cfg(feature = "objectives")]
pub mod preference;
mod printable;
mod product;
mod quotient;
pub mod random;
#[cfg(feature = "information")]
pub mod rates;
mod reading;
mod simd;
mod softmax;
mod sorting;
#[cfg(feature = "spectral")]
pub mod spectrum;
#[cfg(feature = "objectives")]
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
