//! The fused linear cross-entropy: `E·Cᵀ` folded tile by tile, forward and backward.

mod backward;
mod derivatives;
mod few_rows;
mod filter;
mod forward;
mod given;
mod gradients;
mod inputs;
mod kept;
mod options;
mod plan;
mod problem;
mod recompute;
mod sinks;
mod spread;
mod strip;
mod tail;
mod tile;

pub use forward::{Fold, Forward, Statistic};
pub(crate) use gradients::split;
pub use gradients::{Gradients, Upstream};
pub use inputs::{Classes, Inputs, Shard, Targets};
pub use options::{Backward, Filter, LinearCrossEntropy, LinearCrossEntropyBuilder, Reduction};
pub use plan::{Pass, Plan, Shapes, Strategy};
