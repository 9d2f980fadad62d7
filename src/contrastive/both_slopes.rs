//! The slopes of a loss of both directions by its scores, from what rows and columns were reduced to.

use std::ops::Range;

use super::both_folds::Folds;
use crate::element::{Operand, Real};
use crate::loss::engine::problem::{Problem, Row};
use crate::softmax::RowState;
use crate::softmax::columns::{Softmaxes, add_softmaxes};

/// G = k (p by rows + p by columns − 2 on the diagonal), to be made of products.
pub(super) struct Slopes<R> {
    rows: Directed<R>,
    columns: Directed<R>,
    /// The diagonal of G.
    pairs: Vec<R>,
}

/// One direction: p k = factor · e^(logit − maximum).
struct Directed<R> {
    maxima: Vec<R>,
    factors: Vec<R>,
}

impl<R: Real> Directed<R> {
    fn new(states: &[RowState], k: f64) -> Self {
        let factor = |state: &RowState| match state.maximum.is_finite() {
            true => k / (1.0 + state.remainder),
            false => f64::NAN,
        };
        Self {
            maxima: states.iter().map(|state| R::from_f64(state.maximum)).collect(),
            factors: states.iter().map(|state| R::from_f64(factor(state))).collect(),
        }
    }
}

/// p − 1 of the logit at a place, where r of a confident row has its digits.
fn above_one(state: &RowState, place: usize, logit: f64) -> f64 {
    let r = state.remainder;
    match state.argmax == place as i64 {
        true => -r / (1.0 + r),
        false => (logit - state.maximum).exp() / (1.0 + r) - 1.0,
    }
}

impl<R: Real> Slopes<R> {
    /// Bytes of a pair.
    pub(super) const BYTES: usize = 5 * size_of::<R>();

    /// With this k for each p.
    pub(super) fn new(folds: &Folds, k: f64) -> Self {
        let Folds { rows, columns, pairs } = folds;
        let pair = |(i, logit): (usize, &f64)| {
            k * (above_one(&rows[i], i, *logit) + above_one(&columns[i], i, *logit))
        };
        Self {
            rows: Directed::new(rows, k),
            columns: Directed::new(columns, k),
            pairs: pairs.iter().enumerate().map(|pair_of| R::from_f64(pair(pair_of))).collect(),
        }
    }

    /// Turns the products of some rows into G, in place: `stride` apart, and 0 beyond them.
    pub(super) fn make<F: Operand<Real = R, Sum = R>>(
        &self,
        problem: &Problem<'_, R>,
        rows: &[Row],
        columns: Range<usize>,
        (tile, stride): (&mut [R], usize),
    ) {
        let width = columns.len();
        let (made, rest) = tile.split_at_mut(rows.len() * stride);
        rest.fill(R::ZERO);
        problem.transform(rows, columns.clone(), made, stride);
        let softmaxes = Softmaxes {
            maxima: &self.columns.maxima[columns.clone()],
            factors: &self.columns.factors[columns.clone()],
        };
        for (row, logits) in rows.iter().zip(made.chunks_mut(stride)) {
            let i = row.hidden;
            let (own, beyond) = logits.split_at_mut(width);
            let of_row = (self.rows.maxima[i], self.rows.factors[i]);
            add_softmaxes(problem.loss.isa, own, of_row, softmaxes);
            beyond.fill(R::ZERO);
            if let Some(pair) = own.get_mut(i.wrapping_sub(columns.start)) {
                *pair = self.pairs[i];
            }
        }
    }
}
