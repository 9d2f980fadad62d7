//! Reverse-mode differentiation of array computations: small language models trained without leaving the
//! crate, and any of its losses at the end of a graph.
//!
//! A [`Tape`] records values in the order in which they are computed. Parameters are its
//! [leaves](Tape::leaf), data its [constants](Tape::constant); every operation is a method of
//! [`Variable`]. [`backward`](Variable::backward) goes back over the record once, each operation adding
//! to the derivatives of its operands, and returns those of the leaves. A tape is made for each step and
//! dropped after it; parameters live outside, in [`Shared`] arrays that leaves take without a copy and
//! an optimiser changes in place.
//!
//! ```
//! use ndarray::Array2;
//! use surprisal::LinearCrossEntropy;
//! use surprisal::autodiff::{AdamW, Generator, Parameter, Schedule, Tape, clip_gradient_norm};
//!
//! # fn main() -> surprisal::Result<()> {
//! // Which of four quadrants is a point in?
//! let mut generator = Generator::new(0);
//! let points = Array2::from_shape_simple_fn((200, 2), || 2.0 * generator.uniform() as f32 - 1.0);
//! let quadrant = |p: ndarray::ArrayView1<f32>| u32::from(p[0] > 0.0) + 2 * u32::from(p[1] > 0.0);
//! let targets: Vec<u32> = points.rows().into_iter().map(quadrant).collect();
//!
//! let mut weights = [
//!     generator.normal(&[2, 16], 1.0)?, // the hidden layer
//!     generator.normal(&[16], 0.1)?,    // its bias
//!     generator.normal(&[4, 16], 0.1)?, // the classifier
//! ];
//! let loss = LinearCrossEntropy::builder().build()?;
//! let schedule = Schedule::cosine(0.05, 100).warm_up(10).build()?;
//! let mut adam = AdamW::builder().weight_decay(0.01).build()?;
//! let mut last = f32::INFINITY;
//! for step in 0..100 {
//!     let tape = Tape::new()?;
//!     let [w, b, c] = weights.each_ref().map(|array| tape.leaf(array));
//!     let hidden = tape.constant(points.clone()).matmul(w)?.add(b)?.gelu_tanh();
//!     let value = hidden.linear_cross_entropy(c, None, &targets, &loss)?;
//!     last = value.scalar()?;
//!     let mut gradients = value.backward()?;
//!     let mut gradients = [w, b, c].map(|leaf| gradients.take(leaf).expect("it is in the loss"));
//!     drop(tape); // The weights are not shared any more: the step needs no copy of them.
//!     clip_gradient_norm(&mut gradients, 1.0)?;
//!     let pairs = weights.iter_mut().zip(&gradients);
//!     let mut pairs: Vec<_> = pairs.map(|(w, g)| Parameter::new(w, g)).collect();
//!     adam.step(schedule.rate(step), &mut pairs)?;
//! }
//! assert!(last < 0.1, "{last}");
//! # Ok(())
//! # }
//! ```
//!
//! What holds for all operations:
//! - Values are `f32` or `f64` arrays of any number of axes. Sums of many numbers are taken in pieces, whose
//!   sums are added in `f64`.
//! - They run in the ambient pool of threads, with the same bits on any number of them for a fixed
//!   instruction set. Scattered gradients ([`gather`](Variable::gather)) are summed in the order of the
//!   indices.
//! - A value may be used any number of times, a tape may be differentiated again and again, and may grow
//!   in between. Every backward starts from nothing.
//! - The derivative of an inner value is given up as soon as its operands have theirs, and what comes
//!   first to a value is taken as it is, not copied.
//! - Nothing panics for what it is given: wrong shapes, values of another tape and the like are
//!   errors. Numbers that are not finite are computed with as they are.
//! - There are derivatives of first order only: the backward is not on the tape.
//!
//! [`gradcheck`] compares the derivatives of any function of the tape with central differences.

mod adamw;
mod array;
mod clip;
mod gradcheck;
mod lanes;
mod ops;
mod parameter;
mod random;
mod schedule;
mod sgd;
mod tape;

pub use adamw::{AdamW, AdamWBuilder, AdamWState};
pub use array::Shared;
pub use clip::clip_gradient_norm;
pub use gradcheck::{GradientCheck, gradcheck};
pub use ops::log_probabilities::LinearLogProbabilities;
pub use ops::reversible::{ColumnLevel, ReversibleColumns, clamp_column_alpha};
pub use parameter::Parameter;
pub use random::Generator;
pub use schedule::{Schedule, ScheduleBuilder};
pub use sgd::{Sgd, SgdBuilder};
pub use tape::{LeafGradients, Tape, Values, Variable};

use crate::error::{Error, Result, short};

/// # Errors
/// Unless the option is good.
fn check_option(name: &'static str, value: f64, good: bool, expected: &'static str) -> Result<()> {
    match good {
        true => Ok(()),
        false => Err(Error::Option { name, value: short(value), expected }),
    }
}
