//! What DPO and CPO make of the margin of a pair.

use super::pairs::PairTerm;
use crate::error::{Error, Result};
use crate::numerics::{check, sigmoid, sigmoid_slope, softplus};

/// A function of two scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Objective {
    Sigmoid,
    Hinge,
    Identity,
    Robust,
    ApoZero,
    ApoDown,
}

/// (1−ε) softplus(−h) + ε softplus(h), and its slope.
pub(super) fn smoothed_sigmoid(h: f64, smoothing: f64) -> (f64, f64) {
    let (right, wrong) = (1.0 - smoothing, smoothing);
    // Not σ(h) − (1 − ε), which has nothing left of a small σ(−h).
    let slope = wrong * sigmoid(h) - right * sigmoid(-h);
    match smoothing {
        // 0 times what may be infinite.
        0.0 => (softplus(-h), slope),
        _ => (right * softplus(-h) + wrong * softplus(h), slope),
    }
}

impl Objective {
    /// The share ε of reversed preferences in place of `before`: of the sigmoid alone.
    pub(super) fn smoothing(self, epsilon: f64, before: f64) -> Result<f64> {
        let good = (0.0..=0.5).contains(&epsilon);
        let smoothing = check("label_smoothing", epsilon, good, "a number from 0 to 0.5")?;
        match self {
            Self::Sigmoid => Ok(smoothing),
            _ if smoothing == 0.0 => Ok(before),
            _ => Err(Error::Conflict {
                what: format!("label_smoothing does not go with {self:?}, expected the sigmoid"),
            }),
        }
    }

    pub(super) fn at(self, chosen: f64, rejected: f64, beta: f64, smoothing: f64) -> PairTerm {
        let margin = chosen - rejected;
        let h = beta * margin;
        let of_margin =
            |value, slope: f64| PairTerm { value, by_chosen: slope, by_rejected: -slope };
        match self {
            Self::Sigmoid => {
                let (value, slope) = smoothed_sigmoid(h, smoothing);
                of_margin(value, beta * slope)
            }
            Self::Hinge => match h < 1.0 {
                true => of_margin(1.0 - h, -beta),
                // NaN too.
                false => {
                    of_margin(if h.is_nan() { h } else { 0.0 }, if h.is_nan() { h } else { 0.0 })
                }
            },
            Self::Identity => {
                let short = margin - 0.5 / beta;
                of_margin(short * short, 2.0 * short)
            }
            Self::Robust => {
                let whole = 1.0 - 2.0 * smoothing;
                let right = 1.0 - smoothing;
                let value = match smoothing {
                    0.0 => softplus(-h),
                    _ => (right * softplus(-h) - smoothing * softplus(h)) / whole,
                };
                let slope = -beta * (right * sigmoid(-h) + smoothing * sigmoid(h)) / whole;
                of_margin(value, slope)
            }
            Self::ApoZero => {
                let (better, worse) = (beta * chosen, beta * rejected);
                PairTerm {
                    value: sigmoid(-better) + sigmoid(worse),
                    by_chosen: -beta * sigmoid_slope(better),
                    by_rejected: beta * sigmoid_slope(worse),
                }
            }
            Self::ApoDown => {
                let better = beta * chosen;
                PairTerm {
                    value: sigmoid(better) + sigmoid(-h),
                    by_chosen: beta * (sigmoid_slope(better) - sigmoid_slope(h)),
                    by_rejected: beta * sigmoid_slope(h),
                }
            }
        }
    }
}
