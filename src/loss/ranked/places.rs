//! The Plackett–Luce loss of one ranking, from the scores of its places.

use crate::numerics::{sigmoid, softplus};

/// A place of a ranking: the score of the class there, and its weight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) score: f64,
    pub(super) weight: f64,
}

/// ln Σ e^x of what stands from some place on, as its largest score and what the others add to it.
#[derive(Clone, Copy)]
pub(super) struct Tail {
    pub(super) largest: f64,
    pub(super) excess: f64,
}

impl From<f64> for Tail {
    fn from(log_sum: f64) -> Self {
        Self { largest: log_sum, excess: 0.0 }
    }
}

impl Tail {
    /// How far the tail is above a score: −∞ where there is no tail.
    pub(super) fn above(self, score: f64) -> f64 {
        match self.largest == f64::NEG_INFINITY {
            true => f64::NEG_INFINITY,
            false => (self.largest - score) + self.excess,
        }
    }

    /// With a score more, above which the tail is by `gap`.
    fn with(self, score: f64, gap: f64) -> Self {
        match gap > 0.0 {
            true => Self { excess: self.excess + (-gap).exp().ln_1p(), ..self },
            false => Self { largest: score, excess: gap.exp().ln_1p() },
        }
    }
}

/// Σ_k w_k (tail_k − x_k), tail_k = ln(Σ_{m≥k} e^x_m + e^rest), with its slopes by the scores, which take the place
/// of what `slopes` has, and by `rest`.
///
/// The rest is −∞ where no class is beyond the places. A place of weight 0 adds nothing, even at −∞.
pub(super) fn evaluate(places: &[Place], rest: Tail, slopes: &mut Vec<f64>) -> (f64, f64) {
    slopes.clear();
    if places.iter().all(|place| place.weight == 0.0) {
        slopes.resize(places.len(), 0.0);
        return (0.0, 0.0);
    }
    // From the last place up: how far what stands behind a place is above it.
    let mut tail = rest;
    let mut value = 0.0;
    for &Place { score, weight } in places.iter().rev() {
        // A class that cannot be, and nothing that can be behind it: no choice is left.
        let nothing = score == f64::NEG_INFINITY && tail.largest == f64::NEG_INFINITY;
        if nothing {
            slopes.push(f64::NAN);
            continue;
        }
        let gap = tail.above(score);
        if weight > 0.0 || gap.is_nan() {
            value += weight * softplus(gap);
        }
        tail = tail.with(score, gap);
        slopes.push(gap);
    }
    slopes.reverse();
    if value == f64::INFINITY {
        slopes.fill(0.0);
        return (value, 0.0);
    }
    if value.is_nan() || (rest.largest + rest.excess).is_nan() {
        slopes.fill(f64::NAN);
        return (f64::NAN, f64::NAN);
    }
    // From the first place down: Σ w_m e^(tail_k − tail_m) of the places before, of which each factor is at most 1.
    let mut before = 0.0;
    for (place, slope) in places.iter().zip(&mut *slopes) {
        let gap = *slope;
        if gap.is_nan() {
            (*slope, before) = (0.0, 0.0);
            continue;
        }
        *slope = before * sigmoid(-gap) - place.weight * sigmoid(gap);
        before = (before + place.weight) * sigmoid(gap);
    }
    (value, before)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: f64 = f64::NEG_INFINITY;

    fn of(scores: &[f64], weights: &[f64], rest: f64) -> (f64, Vec<f64>, f64) {
        let place = |(&score, &weight): (&f64, &f64)| Place { score, weight };
        let places: Vec<_> = scores.iter().zip(weights).map(place).collect();
        let mut slopes = vec![7.0];
        let (value, by_rest) = evaluate(&places, rest.into(), &mut slopes);
        (value, slopes, by_rest)
    }

    #[test]
    fn what_is_nearly_certain_has_its_digits() {
        let (value, slopes, by_rest) = of(&[0.0], &[1.0], -50.0);
        let small = (-50.0_f64).exp();
        assert!((value / small - 1.0).abs() < 1e-15);
        assert!((slopes[0] / -small - 1.0).abs() < 1e-15 && (by_rest / small - 1.0).abs() < 1e-15);
        // And a common offset costs none of them.
        assert_eq!(of(&[1e9, 1e9 - 40.0], &[1.0, 2.0], 1e9 - 50.0), {
            of(&[0.0, -40.0], &[1.0, 2.0], -50.0)
        });
    }

    #[test]
    fn scores_of_any_size_are_ranked() {
        let (value, slopes, by_rest) = of(&[-1e308, 1e308], &[0.0, 1.0], NONE);
        assert_eq!((value, slopes, by_rest), (0.0, vec![0.0, 0.0], 0.0));
        let (value, slopes, _) = of(&[-1e5, 1e5], &[1.0, 1.0], NONE);
        assert_eq!((value, slopes), (2e5, vec![-1.0, 1.0]));
    }

    #[test]
    fn a_class_that_cannot_be_costs_everything_before_others_and_nothing_behind_them() {
        let (value, slopes, by_rest) = of(&[NONE, 1.0], &[1.0, 1.0], NONE);
        assert_eq!((value, slopes, by_rest), (f64::INFINITY, vec![0.0, 0.0], 0.0));
        let (value, slopes, _) = of(&[NONE, 1.0, 0.0], &[0.0, 1.0, 1.0], NONE);
        assert_eq!((value, slopes), of(&[1.0, 0.0], &[1.0, 1.0], NONE).no_rest(0.0));
        let masked = of(&[1.0, 0.0, NONE, NONE], &[1.0; 4], NONE);
        let plain = of(&[1.0, 0.0], &[1.0; 2], NONE);
        assert_eq!(
            (masked.0, &masked.1[..2], &masked.1[2..]),
            (plain.0, &plain.1[..], &[0.0; 2][..])
        );
        // Others that are not listed can still be.
        assert_eq!(of(&[NONE], &[1.0], 0.0).0, f64::INFINITY);
    }

    #[test]
    fn what_is_no_number_is_not_hidden() {
        let (value, slopes, by_rest) = of(&[1.0, f64::NAN, 0.0], &[1.0, 0.0, 0.0], NONE);
        assert!(value.is_nan() && by_rest.is_nan() && slopes.iter().all(|x| x.is_nan()));
        assert!(of(&[1.0], &[1.0], f64::NAN).0.is_nan());
        // Unless nothing is asked of the row.
        assert_eq!(of(&[f64::NAN], &[0.0], 0.0), (0.0, vec![0.0], 0.0));
    }

    trait NoRest {
        fn no_rest(self, first: f64) -> (f64, Vec<f64>);
    }

    impl NoRest for (f64, Vec<f64>, f64) {
        /// Without the slope by the rest, and with one more first place.
        fn no_rest(self, first: f64) -> (f64, Vec<f64>) {
            (self.0, std::iter::once(first).chain(self.1).collect())
        }
    }
}
