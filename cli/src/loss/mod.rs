//! `surprisal loss`: the fused loss of arrays on disk.

mod arguments;
mod computing;
mod inputs;
mod results;
mod truncated;

pub use self::arguments::{BACKWARD, BackwardName, INPUTS, Loss};
pub use self::results::of_strategy;
