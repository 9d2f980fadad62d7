//! The fused linear cross-entropy: `E·Cᵀ` folded tile by tile, forward and backward.

pub(crate) mod companion;
mod doors;
pub(crate) mod engine;
pub(crate) mod filter;
pub(crate) mod forward;
pub(crate) mod gradients;
pub(crate) mod inputs;
mod options;
pub(crate) mod row_loss;
pub(crate) mod rows;
mod shards;

pub use companion::Companion;
pub use engine::plan::Plan;
pub use engine::shapes::{Pass, Shapes, Strategy};
pub use forward::{DroppedMass, Forward, Statistic, TopK};
pub use gradients::{Gradients, Upstream};
pub use inputs::{Classes, Inputs, Shard, Targets};
pub use options::{Backward, Filter, LinearCrossEntropy, LinearCrossEntropyBuilder, Reduction};
pub use row_loss::{Needs, RowLoss, RowScalars, Term, Terms};
pub use rows::{
    AsymmetricGeneralizedCrossEntropy, AsymmetricUnhinged, CompSum, CrossEntropy, DirectCoverage,
    EntropyBonus, ExpectedCost, Focal, GeneralizedCrossEntropy, HardSymmetricCrossEntropy,
    MeanAbsoluteError, MixedCrossEntropy, Poly1, Sum, Tailored,
};
pub use shards::Fold;
