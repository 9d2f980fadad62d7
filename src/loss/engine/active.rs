//! The rows that a gradient comes from, with their coefficients.

use super::candidates::{CandidateRows, CandidateSlopes};
use super::floors::of_classes_left;
use super::problem::{Problem, Row, SecondRow};
use crate::element::Real;
use crate::error::{Error, Result};
use crate::loss::gradients::{Loss, RowUpstream, Upstream};
use crate::loss::inputs::Targets;
use crate::loss::options::Reduction;
use crate::loss::row_loss::{Slopes, Terms};
use crate::matrix::Vector;
use crate::quotient::{scaled_exp, times_power};
use crate::softmax::RowState;
use crate::softmax::gradient::RowGradient;

/// The bytes that the backward keeps of a row.
pub(crate) const ROW_BYTES: usize = size_of::<Active<f64>>() + size_of::<Row>();

/// A row with all that its derivative needs.
pub(crate) struct Active<R> {
    pub(crate) row: Row,
    /// Its place among the kept rows.
    pub(crate) index: usize,
    /// All coefficients are to be multiplied with 2 to this.
    pub(crate) exponent: i64,
    /// Whether they leave the type that is computed in: then G is computed number by number in f64.
    pub(crate) carried: bool,
    /// lse.
    pub(crate) log_sum_exp: f64,
    pub(crate) gradient: RowGradient<R>,
    /// Σ of what single classes are weighed with: that of the target, or of all sparse weights.
    pub(crate) picked: f64,
    /// What a soft target's weights are multiplied with.
    pub(crate) soft: f64,
    /// f_lse, with what comes in of the log-sum-exp.
    pub(crate) by_log_sum_exp: f64,
    /// What the arg-max is weighed with because it is that.
    pub(crate) picked_of_argmax: f64,
    /// A without `picked`.
    pub(crate) rest: f64,
    /// A without what the arg-max alone is weighed with: summed without it, not by a difference.
    pub(crate) others: f64,
    /// What smoothing takes from the arg-max.
    pub(crate) smoothing_of_argmax: f64,
    /// k, the coefficient of the weights.
    pub(crate) weights: f64,
    pub(crate) entropy: f64,
    /// b, the coefficient of the companion.
    pub(crate) companion: f64,
    pub(crate) companion_mean: f64,
    /// c of the arg-max less the mean.
    pub(crate) companion_above_mean: f64,
    /// Without its weights.
    pub(crate) candidates: CandidateSlopes,
    pub(crate) remainder: f64,
    pub(crate) mean: f64,
    pub(crate) maximum: f64,
    pub(crate) argmax: i64,
}

/// What one class has of a row's gradient for itself.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    /// What it alone is weighed with.
    pub(crate) picked: f64,
    /// Whether it is a candidate.
    pub(crate) listed: bool,
    /// Its share of the smoothing.
    pub(crate) smoothing: f64,
    /// The number beside its logit.
    pub(crate) companion: f64,
}

/// What the forward has seen of some rows.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'s> {
    pub(crate) states: &'s [RowState],
    /// Empty without divergences.
    pub(crate) second: &'s [SecondRow],
    /// Of all rows.
    pub(crate) candidates: &'s CandidateRows,
}

/// The rows that a gradient comes from, with their coefficients.
pub(crate) fn active_rows<R: Real>(
    problem: &Problem<'_, R>,
    Seen { states, second, candidates }: Seen<'_>,
    rows: &[Row],
    upstream: &Upstream<'_>,
) -> Vec<Active<R>> {
    let mut active = Vec::with_capacity(rows.len());
    for (index, (state, row)) in states.iter().zip(rows).enumerate() {
        let above = upstream.of(row);
        if above.is_zero() {
            continue;
        }
        let terms = match above.has_no_loss() {
            true => Terms::default(),
            false => {
                let scalars = problem.scalars(row, state, second.get(index));
                problem.loss.row_loss.evaluate(&scalars)
            }
        };
        let (above, terms) = of_classes_left(&row.floor, state, above, terms);
        let slopes = problem.candidate_slopes(row, state, candidates, upstream.log_others.as_ref());
        let of = |exponent| {
            active_row(problem, (index, row), state, (&above, &slopes), &terms, exponent)
        };
        let plain: Active<R> = of(0);
        // What leaves the type is carried with a power of two, if there is one that takes it back.
        let powers = (1..=MOST_POWERS).map(|power| of(power * POWERS));
        let largest = plain.largest();
        let fits = |coefficient| R::from_f64(coefficient).to_f64().is_finite();
        active.push(if fits(largest) && fits(plain.of_probability()) {
            plain
        } else if largest.is_finite() {
            Active { carried: true, ..plain }
        } else {
            match { powers }.find(|row| row.largest().is_finite()) {
                Some(row) => Active { carried: true, ..row },
                None => plain,
            }
        });
    }
    active
}

/// Powers of two from one attempt to the next to carry coefficients that leave f64, and attempts: up to e^10000.
const POWERS: i64 = 1000;
const MOST_POWERS: i64 = 16;

/// A row with its coefficients, all of them times 2^−`exponent`.
fn active_row<R: Real>(
    problem: &Problem<'_, R>,
    (index, row): (usize, &Row),
    state: &RowState,
    (above, slopes): (&RowUpstream, &CandidateSlopes),
    terms: &Terms,
    exponent: i64,
) -> Active<R> {
    let hard = matches!(problem.targets, Targets::Hard(_));
    let weight = problem.class_weight_of(row);
    // The slope of both parts by one scalar, over their divisors; the weighted one times these factors.
    let slope = |of: fn(&Slopes) -> f64, weights: &[f64]| {
        let mut sum = 0.0;
        if let Some(term) = terms.weighted.filter(|term| of(&term.slopes) != 0.0) {
            let weights = weights.iter().copied();
            let factors = [term.factor].into_iter().chain(weights).chain([of(&term.slopes)]);
            sum += problem.share(above, factors, term.exponent - exponent);
        }
        if let Some(term) = terms.plain.filter(|term| of(&term.slopes) != 0.0) {
            let factors = [term.factor, of(&term.slopes)];
            sum += problem.plain_share(above, factors, term.exponent - exponent);
        }
        sum
    };
    let by_log_sum_exp =
        times_power(above.log_sum_exp, -exponent) + slope(|slopes| slopes.log_sum_exp, &[weight]);
    let by_surprisal = |weights: &[f64]| slope(|slopes| slopes.surprisal, weights);
    let picked_of_argmax = slope(|slopes| slopes.min_entropy, &[weight]);
    let entropy = times_power(above.entropy, -exponent) + slope(|slopes| slopes.entropy, &[weight]);
    let companion = slope(|slopes| slopes.companion, &[weight]);
    let by_deviation = slope(|slopes| slopes.deviation, &[weight]);
    let smoothing = problem.loss.needs.smoothing();
    let smoothed = |weight: f64| match hard {
        true => {
            let factors = [terms.smoothing, 1.0 / problem.vocabulary as f64, weight];
            let own = problem.share(above, factors, -exponent);
            if by_deviation == 0.0 { own } else { own + by_deviation * weight }
        }
        false => by_surprisal(&[smoothing, 1.0 / problem.vocabulary as f64, weight]),
    };
    let (mut others, mut rest) = (by_log_sum_exp, by_log_sum_exp);
    let (picked, weights) = match &problem.targets {
        Targets::Hard(_) => {
            let picked = by_surprisal(&[weight]);
            others += smoothed(state.other_weight);
            if state.argmax != i64::from(row.target) {
                others += picked;
            }
            (picked, smoothed(1.0))
        }
        Targets::Sparse { .. } => {
            let targets = problem.sparse_of(row, 0..problem.columns);
            let sum: f64 = targets.iter().map(|&(_, weight)| weight).sum();
            others += by_surprisal(&[state.other_weight]);
            (by_surprisal(&[sum]), smoothed(1.0))
        }
        Targets::Soft(_) => {
            others += by_surprisal(&[state.other_weight]);
            (by_surprisal(&[state.weight]), by_surprisal(&[]))
        }
    };
    let mut smoothing_of_argmax = 0.0;
    if !matches!(problem.targets, Targets::Soft(_)) {
        rest += smoothed(problem.total_in_deviation());
        let argmax = usize::try_from(state.argmax).ok().filter(|&v| v < problem.vocabulary);
        smoothing_of_argmax = weights * argmax.map_or(0.0, |v| problem.weight_in_deviation(v));
    }
    rest += picked_of_argmax;
    let scaled = |value: f64| times_power(value, -exponent);
    let candidates = CandidateSlopes {
        largest: scaled(slopes.largest),
        by_logarithm: scaled(slopes.by_logarithm),
        ..*slopes
    };
    if slopes.any {
        rest += scaled(slopes.weights) - scaled(slopes.log_others);
        others += scaled(slopes.beside_argmax);
    }
    let mean = state.first_moment / (1.0 + state.remainder);
    Active {
        row: *row,
        index,
        log_sum_exp: state.log_sum_exp(),
        gradient: RowGradient {
            maximum: R::from_f64(state.maximum),
            // A row without a finite maximum has no probabilities.
            inverse: R::from_f64(match state.maximum.is_finite() {
                true => 1.0 / (1.0 + state.remainder),
                false => f64::NAN,
            }),
            probability: R::from_f64(picked + rest + candidates.outside),
            entropy: R::from_f64(entropy),
            mean: R::from_f64(mean),
            companion: R::from_f64(companion),
            companion_mean: R::from_f64(state.companion_mean()),
            weights: R::from_f64(weights),
        },
        picked,
        soft: by_surprisal(&[]),
        by_log_sum_exp,
        picked_of_argmax,
        rest,
        others,
        smoothing_of_argmax,
        weights,
        entropy,
        companion,
        companion_mean: state.companion_mean(),
        companion_above_mean: state.companion_above_mean(),
        remainder: state.remainder,
        mean,
        maximum: state.maximum,
        argmax: state.argmax,
        exponent,
        candidates,
        carried: false,
    }
}

impl<R: Real> Active<R> {
    /// Σ dL/dz over a segment of so many classes of the same probability.
    pub(crate) fn flat_gradient(&self, problem: &Problem<'_, R>, mass: f64, columns: usize) -> f64 {
        if mass == 0.0 {
            return 0.0;
        }
        let log_probability = || (mass / columns as f64).ln();
        let mut coefficient = self.picked + self.rest;
        if self.entropy != 0.0 {
            let u = log_probability() + self.remainder.ln_1p();
            coefficient -= self.entropy * (u - self.mean);
        }
        let transform = problem.transform_of(&self.row);
        let slope = match transform.softcap {
            None => transform.scale,
            Some(softcap) => {
                let logit = log_probability() + self.log_sum_exp;
                let t = (logit / softcap).clamp(-1.0, 1.0);
                transform.scale * (1.0 - t * t)
            }
        };
        times_power(mass * coefficient * slope, self.exponent)
    }

    /// Whether the row has no gradient but that of divergences.
    pub(crate) fn is_nothing(&self) -> bool {
        let all = [self.picked, self.rest, self.others, self.soft, self.weights, self.entropy];
        let rest = [self.companion, self.picked_of_argmax, self.smoothing_of_argmax];
        let none = !self.candidates.any;
        none && all.iter().chain(&rest).all(|&coefficient| coefficient == 0.0)
    }

    /// The largest of the coefficients; NaN is none, but for a sum that has become one.
    fn largest(&self) -> f64 {
        let all = [
            self.picked,
            self.rest,
            self.picked + self.rest,
            self.others,
            self.soft,
            self.weights,
            self.entropy,
            self.companion,
            self.picked_of_argmax,
            self.by_log_sum_exp,
            self.candidates.largest,
        ];
        all.iter().fold(0.0, |most: f64, x| if x.is_nan() { most } else { most.max(x.abs()) })
    }

    /// What p of a class is multiplied with that has nothing for itself, without moments and companions.
    fn of_probability(&self) -> f64 {
        self.picked + self.rest + self.candidates.outside
    }

    /// What a class that is not listed has of the slope of the others' logarithm: ω times its share of them, which no
    /// size of ω over their share takes out of f64.
    fn of_others(&self, logit: f64) -> f64 {
        let [maximum, inverse] = self.candidates.softmax_of_others;
        match self.candidates.log_others {
            0.0 => 0.0,
            slope => slope * ((logit - maximum).exp() * inverse),
        }
    }

    /// p 2^exponent of a class, where u is its logit less the maximum: neither p nor the power may leave f64
    /// alone.
    fn carried_probability(&self, u: f64) -> f64 {
        let (factor, power) = scaled_exp(u);
        times_power(factor / (1.0 + self.remainder), power.saturating_add(self.exponent))
    }

    /// dL/da of one class in f64.
    pub(crate) fn exact_gradient(&self, class: usize, logit: f64, entry: Entry) -> f64 {
        let Entry { picked, listed, smoothing, companion } = entry;
        if !self.maximum.is_finite() {
            return f64::NAN;
        }
        let u = (logit - self.maximum).max(-1e4);
        let r = self.remainder;
        let is_argmax = self.argmax == class as i64;
        let mut rise = self.entropy * (u - self.mean);
        if self.companion != 0.0 {
            let above = match is_argmax {
                true => self.companion_above_mean,
                false => companion - self.companion_mean,
            };
            rise -= self.companion * above;
        }
        let whole = |value: f64| times_power(value, self.exponent);
        if is_argmax {
            // p (A − own) + (p − 1) own, where p − 1 = −r/(1+r) keeps the digits of a confident row.
            let own = picked + self.picked_of_argmax + self.smoothing_of_argmax;
            let p = if self.carried { self.carried_probability(u) } else { u.exp() / (1.0 + r) };
            let mut value = p * (self.others - rise) - whole(own * (r / (1.0 + r)));
            value += whole(self.smoothing_of_argmax - smoothing);
            return value + 0.0;
        }
        if self.carried {
            // p (A − picked) − (1 − p) picked: no part of it is larger than the result.
            let q = -(u - r.ln_1p()).exp_m1();
            let p = self.carried_probability(u);
            let outside = if listed { 0.0 } else { self.of_others(logit) };
            return p * (self.picked - picked + self.rest - rise)
                - whole(picked * q)
                - whole(smoothing)
                + outside;
        }
        let p = u.exp() / (1.0 + r);
        let outside = if listed { 0.0 } else { self.candidates.outside };
        p * (self.picked + self.rest + outside - rise) - picked - smoothing + 0.0
    }

    /// dL/da of a class that has nothing for itself, weighed with `weight`, where the coefficients leave the
    /// type.
    pub(crate) fn carried_gradient(&self, logit: f64, weight: f64, companion: f64) -> f64 {
        if !self.maximum.is_finite() {
            return f64::NAN;
        }
        let u = logit - self.maximum;
        let mut coefficient = self.picked + self.rest;
        if self.entropy != 0.0 {
            coefficient -= self.entropy * (u.max(-1e4) - self.mean);
        }
        if self.companion != 0.0 {
            coefficient += self.companion * (companion - self.companion_mean);
        }
        let smoothing = if self.weights == 0.0 { 0.0 } else { self.weights * weight };
        self.carried_probability(u) * coefficient - times_power(smoothing, self.exponent)
            + self.of_others(logit)
    }
}

impl Upstream<'_> {
    pub(crate) fn check<R: Real>(&self, problem: &Problem<'_, R>) -> Result<()> {
        let length = |name, vector: Option<&Vector<'_>>| match vector {
            Some(vector) if vector.len() != problem.outputs => Err(Error::Shape {
                argument: name,
                found: vec![vector.len()],
                expected: format!("[{}], the number of losses", problem.outputs),
            }),
            _ => Ok(()),
        };
        if let Loss::Rows(rows) = &self.loss {
            if problem.loss.reduction != Reduction::None {
                return Err(Error::Conflict {
                    what: "an upstream gradient for each row goes with the reduction none".into(),
                });
            }
            length("the upstream gradient of the loss", Some(rows))?;
        }
        length("the upstream gradient of the log-sum-exp", self.log_sum_exp.as_ref())?;
        length("the upstream gradient of the entropy", self.entropy.as_ref())?;
        self.check_candidates(problem)?;
        length("the upstream gradient of the candidates' others", self.log_others.as_ref())?;
        let statistics = &problem.loss.statistics;
        if self.has_entropy() && !(statistics.entropy || statistics.varentropy) {
            return Err(Error::Conflict {
                what:
                    "the entropy was not asked for when the loss was built, so it has no gradient"
                        .into(),
            });
        }
        Ok(())
    }

    fn check_candidates<R: Real>(&self, problem: &Problem<'_, R>) -> Result<()> {
        let conflict = |what: &str| Err(Error::Conflict { what: what.into() });
        let Some(listed) = &problem.candidates else {
            return match (&self.candidates, &self.log_others) {
                (None, None) => Ok(()),
                _ => conflict("there are no candidates that the upstream gradients could be of"),
            };
        };
        if self.log_others.is_some() && !listed.others {
            return conflict("the candidates' others were not asked for, so they have no gradient");
        }
        match &self.candidates {
            Some(all) if all.dim() != listed.dim() => {
                let ((n, k), (rows, columns)) = (listed.dim(), all.dim());
                Err(Error::Shape {
                    argument: "the upstream gradient of the candidates",
                    found: vec![rows, columns],
                    expected: format!("[{n}, {k}], as the candidates"),
                })
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn of(&self, row: &Row) -> RowUpstream {
        let at = |vector: Option<Vector<'_>>| vector.map_or(0.0, |v| v.at(row.output));
        let loss = match self.loss {
            Loss::Scalar(scalar) => scalar,
            Loss::Rows(rows) => rows.at(row.output),
        };
        RowUpstream {
            loss: [loss, row.token_weight],
            log_sum_exp: at(self.log_sum_exp),
            entropy: at(self.entropy),
            candidates: at(self.log_others) != 0.0
                || self
                    .candidates
                    .is_some_and(|all| (0..all.dim().1).any(|j| all.at(row.output, j) != 0.0)),
        }
    }
}
