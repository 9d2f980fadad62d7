//! `surprisal loss`: the fused losses of arrays on disk.

mod arguments;
mod call;
mod candidates;
mod companions;
mod computing;
mod inputs;
mod named;
mod objective;
mod ordered;
mod ranked;
mod results;
mod terms;
mod truncated;
mod two_passes;

pub use self::arguments::{BACKWARD, BackwardName, INPUTS, Loss};
pub use self::results::of_strategy;
