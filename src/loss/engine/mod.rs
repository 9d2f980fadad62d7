//! How a loss is computed: shapes into tiles, tiles into states, states into gradients.

pub(crate) mod active;
pub(crate) mod block;
pub(crate) mod candidates;
mod checks;
pub(crate) mod derivatives;
mod few_rows;
pub(crate) mod filter_rule;
mod floors;
pub(crate) mod fold;
mod given;
pub(crate) mod grid;
pub(crate) mod listed;
pub(crate) mod narrow_strip;
pub(crate) mod pair;
pub(crate) mod plan;
pub(crate) mod problem;
pub(crate) mod recompute;
pub(crate) mod sampling;
pub(crate) mod second_head;
pub(crate) mod second_strip;
mod selected;
pub(crate) mod shapes;
pub(crate) mod sinks;
pub(crate) mod strip;
pub(crate) mod temperature;
pub(crate) mod thresholds;
pub(crate) mod tile;
