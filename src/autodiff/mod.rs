//! Reverse-mode differentiation: a tape of array operations, small enough to be read in ten minutes.

mod adamw;
mod clip;
mod gradcheck;
mod lanes;
mod ops;
mod parameter;
mod product;
mod random;
mod schedule;
mod sgd;
mod tape;

pub use adamw::{AdamW, AdamWState};
pub use clip::clip_gradient_norm;
pub use gradcheck::{GradientCheck, gradcheck};
pub use parameter::Parameter;
pub use random::Generator;
pub use schedule::Schedule;
pub use sgd::Sgd;
pub use tape::{Gradients, Shared, Tape, Values, Variable};

use crate::error::{Error, Result};

/// # Errors
/// Unless the option is good.
fn check_option(name: &'static str, value: f64, good: bool, expected: &'static str) -> Result<()> {
    match good {
        true => Ok(()),
        false => Err(Error::Option { name, value: value.to_string(), expected }),
    }
}
