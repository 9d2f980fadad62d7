//! `surprisal loss`: the fused loss of arrays on disk.

mod arguments;
mod candidates;
mod computing;
mod inputs;
mod results;

pub use self::arguments::{BACKWARD, BackwardName, INPUTS, Loss};
pub use self::results::of_strategy;
