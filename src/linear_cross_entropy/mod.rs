//! The fused linear cross-entropy: `E·Cᵀ` folded tile by tile, forward and backward.

pub(crate) mod backward;
mod derivatives;
mod few_rows;
pub(crate) mod filter;
pub(crate) mod forward;
mod given;
pub(crate) mod gradients;
pub(crate) mod inputs;
mod kept;
mod options;
mod plan;
pub(crate) mod problem;
mod recompute;
mod sinks;
pub(crate) mod spread;
mod strip;
mod tail;
pub(crate) mod tile;

pub use forward::{Fold, Forward, Statistic};
pub(crate) use gradients::split;
pub use gradients::{Gradients, Upstream};
pub use inputs::{Classes, Inputs, Shard, Targets};
pub use options::{Backward, Filter, LinearCrossEntropy, LinearCrossEntropyBuilder, Reduction};
pub use plan::{Pass, Plan, Shapes, Strategy};
