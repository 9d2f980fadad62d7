//! What two heads make of a row: its divergences, and what their derivatives are made with.

use super::problem::{Problem, Row, SecondRow};
use crate::element::Real;
use crate::loss::gradients::Upstream;
use crate::loss::row_loss::{DIVERGENCES, PerDivergence};
use crate::quotient::times_power;
use crate::simd::Isa;
use crate::softmax::RowState;
use crate::softmax::divergence::{Divergence, DivergenceSum, PairRow};
use crate::softmax::gradient::Slope;

/// The bytes that the backward keeps of a row for its divergences.
pub(crate) const PAIR_BYTES: usize = size_of::<Pair<f64>>();

/// What the derivatives of a row's divergences are made with.
pub(crate) struct Pair<R> {
    row: PairRow<R>,
    /// Those that have a slope: with it, and with what the whole row sums to.
    terms: [Option<(Divergence, [f64; 2], DivergenceSum)>; DIVERGENCES],
}

impl<R: Real> Pair<R> {
    /// The constants of the row, and its divergences that have a slope.
    #[cfg(feature = "gpu")]
    pub(crate) fn parts(
        &self,
    ) -> (&PairRow<R>, impl Iterator<Item = (Divergence, [f64; 2], DivergenceSum)> + '_) {
        (&self.row, self.terms.iter().flatten().copied())
    }

    /// Adds their derivatives by some logits of the row; of both heads.
    pub(crate) fn add_derivatives(
        &self,
        isa: Isa,
        logits: (&[R], &[R]),
        slope: Slope<'_, R>,
        to: &mut [R],
    ) {
        for &(divergence, coefficients, sum) in self.terms.iter().flatten() {
            let of = (coefficients, sum);
            self.row.add_derivative(isa, divergence, of, logits, slope, to);
        }
    }
}

/// A pair for each of these rows; none where the loss has no divergences.
pub(crate) fn pairs<R: Real>(
    problem: &Problem<'_, R>,
    states: &[RowState],
    second: &[SecondRow],
    rows: &[Row],
    upstream: &Upstream<'_>,
) -> Vec<Pair<R>> {
    let of = |((state, second), row): ((&RowState, &SecondRow), &Row)| {
        let above = upstream.of(row);
        let mut terms = [None; DIVERGENCES];
        if !above.has_no_loss() {
            let scalars = problem.scalars(row, state, Some(second));
            let all = problem.loss.row_loss.evaluate(&scalars);
            let weight = problem.class_weight_of(row);
            let of_row = second.divergences.iter().zip(second.mean_slopes);
            for (to, ((divergence, value), mean_slope)) in terms.iter_mut().zip(of_row) {
                let slope = |power: i64| {
                    let mut slope = 0.0;
                    if let Some(term) = &all.weighted
                        && let Some(own) = term.slopes.divergences.get(divergence)
                    {
                        let factors = [term.factor, weight, own];
                        slope += problem.share(&above, factors, term.exponent - power);
                    }
                    if let Some(term) = &all.plain
                        && let Some(own) = term.slopes.divergences.get(divergence)
                    {
                        let factors = [term.factor, own];
                        slope += problem.plain_share(&above, factors, term.exponent - power);
                    }
                    slope
                };
                let plain = slope(0);
                // A row that is infinitely far has no gradient.
                if plain == 0.0 || value.is_infinite() {
                    continue;
                }
                // What is beyond the type is carried in two factors.
                let power = if R::EPSILON > f64::EPSILON { 100 } else { 1000 };
                let coefficients = match R::from_f64(plain).to_f64().is_infinite() {
                    true => [slope(power), times_power(1.0, power)],
                    false => [plain, 1.0],
                };
                *to = Some((divergence, coefficients, DivergenceSum { value, mean_slope }));
            }
        }
        Pair { row: pair_row(state, second.maximum, second.remainder), terms }
    };
    states.iter().zip(second).zip(rows).map(of).collect()
}

fn pair_row<R: Real>(state: &RowState, maximum: f64, remainder: f64) -> PairRow<R> {
    PairRow::new((state.maximum, state.remainder), (maximum, remainder))
}

impl SecondRow {
    /// Of the states of a second head; the divergences are 0.
    pub(crate) fn of<R: Real>(problem: &Problem<'_, R>, states: &[RowState]) -> Vec<Self> {
        let divergences = problem.loss.needs.divergences;
        let of = |state: &RowState| Self {
            maximum: state.maximum,
            remainder: state.remainder,
            divergences,
            entropy: state.entropy(),
            mean_slopes: [0.0; DIVERGENCES],
        };
        states.iter().map(of).collect()
    }
}

/// What some columns add to the divergences of some rows.
pub(crate) type DivergenceSums = [DivergenceSum; DIVERGENCES];

impl<R: Real> Problem<'_, R> {
    /// Adds what some columns of a row have of each divergence; logits of both heads.
    pub(crate) fn add_divergences(
        &self,
        row: &PairRow<R>,
        logits: &[R],
        second: &[R],
        sums: &mut DivergenceSums,
    ) {
        for (sum, (divergence, _)) in sums.iter_mut().zip(self.loss.needs.divergences.iter()) {
            let own = row.sum(self.loss.isa, divergence, logits, second);
            sum.value += own.value;
            sum.mean_slope += own.mean_slope;
        }
    }
}

/// Adds the sums of each of some columns to the divergences of rows, in the order of the columns.
pub(crate) fn add_sums(rows: &mut [SecondRow], sums: &[DivergenceSums]) {
    for sums in sums.chunks(rows.len().max(1)) {
        for (row, sums) in rows.iter_mut().zip(sums) {
            let mut all = PerDivergence::default();
            for ((divergence, value), sum) in row.divergences.iter().zip(sums) {
                all.add(divergence, value + sum.value);
            }
            row.divergences = all;
            for (mean_slope, sum) in row.mean_slopes.iter_mut().zip(sums) {
                *mean_slope += sum.mean_slope;
            }
        }
    }
}

/// The constants of each row's pair, for the sums.
pub(crate) fn pair_rows<R: Real>(states: &[RowState], second: &[SecondRow]) -> Vec<PairRow<R>> {
    let of = |(state, row): (&RowState, &SecondRow)| pair_row(state, row.maximum, row.remainder);
    states.iter().zip(second).map(of).collect()
}
