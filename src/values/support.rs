//! A range of values, and what a head says of it.

use ndarray::Array1;

use crate::error::{Error, Result, short};
use crate::loss::{Companion, ExpectedCost, Inputs, LinearCrossEntropy, Reduction};
use crate::matrix::Matrix;

/// A range that is cut into bins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Range {
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Range {
    /// From `low` to `high`, of at least so many bins.
    pub(super) fn new(low: f64, high: f64, bins: usize, least: usize) -> Result<Self> {
        let wide = low < high && low.is_finite() && high.is_finite();
        if !(wide && (high - low).is_finite()) {
            return Err(Error::Option {
                name: "the range of values",
                value: format!("{} to {}", short(low), short(high)),
                expected: "two finite numbers, the first below the second",
            });
        }
        if bins < least {
            return Err(Error::Option {
                name: "bins",
                value: bins.to_string(),
                expected: if least == 1 { "at least one" } else { "at least two" },
            });
        }
        Ok(Self { low, high })
    }

    /// A value within the range; beyond it the end that is nearer.
    pub(super) fn clamp(&self, argument: &'static str, index: usize, value: f64) -> Result<f64> {
        if value.is_nan() {
            return Err(Error::Value {
                argument,
                index: vec![index],
                value: short(value),
                expected: "a number",
            });
        }
        Ok(value.clamp(self.low, self.high))
    }

    /// `share` of the way from the low end to the high one.
    pub(super) fn at(&self, share: f64) -> f64 {
        self.low + share * (self.high - self.low)
    }
}

/// Σ_v p_v c_v of each row of logits, with p its softmax.
pub(super) fn decode(logits: Matrix<'_>, centres: &Array1<f64>) -> Result<Array1<f64>> {
    let (rows, found) = logits.dim();
    if found != centres.len() {
        return Err(Error::Shape {
            argument: "logits",
            found: vec![rows, found],
            expected: format!("{} columns, one for each bin", centres.len()),
        });
    }
    // A mean is no matter of the targets.
    let targets = vec![0_u32; rows];
    let inputs =
        Inputs::from_logits(logits.shorter(), &targets[..]).companion(Companion::classes(centres));
    let loss = LinearCrossEntropy::builder()
        .row_loss(ExpectedCost)
        .reduction(Reduction::None)
        .ignore_index(None)
        .build()?;
    Ok(loss.forward(&inputs)?.losses())
}
