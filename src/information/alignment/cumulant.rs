//! The cumulant generating function of a number under a distribution.

use crate::numerics::exp_beyond_line;

/// v with the centre taken off, for numbers that may be as far apart as no f64 is: of a quarter of each, where they are.
pub(super) struct Deviations {
    part: f64,
    centre: f64,
}

impl Deviations {
    /// From a number among finite ones, or between them.
    pub(super) fn from(centre: f64, v: &[f64]) -> Self {
        let [least, most] = ends(v);
        Self { part: if (most - least).is_finite() { 1.0 } else { 0.25 }, centre }
    }

    /// The part of v − centre that is in f64.
    pub(super) fn of(&self, v: f64) -> f64 {
        v * self.part - self.centre * self.part
    }

    /// t (v − centre), ±∞ where that is beyond f64.
    pub(super) fn times(&self, t: f64, v: f64) -> f64 {
        t * self.of(v) / self.part
    }

    /// The number between v that is this part of a deviation above the centre.
    pub(super) fn number(&self, above: f64, v: &[f64]) -> f64 {
        let [least, most] = ends(v);
        ((self.centre * self.part + above) / self.part).clamp(least, most)
    }

    /// Σ p (v − mean)², by a mean that is this part of a deviation above the centre; +∞ where it is beyond f64.
    pub(super) fn variance(&self, p: &[f64], v: &[f64], above: f64) -> f64 {
        let squares = p.iter().zip(v).map(|(p, v)| {
            let deviation = self.of(*v) - above;
            match deviation * deviation {
                square if square.is_normal() => p * square,
                // What has next to no weight is next to nothing, however far off.
                _ => (p.sqrt() * deviation).powi(2),
            }
        });
        squares.sum::<f64>() / self.part / self.part
    }
}

/// The least and the largest of finite numbers.
fn ends(v: &[f64]) -> [f64; 2] {
    let least = v.iter().copied().fold(f64::INFINITY, f64::min);
    [least, v.iter().copied().fold(f64::NEG_INFINITY, f64::max)]
}

/// ln Σ p e^{t v}, as t · centre + rest, with the logarithms of the weights e^{t v} / Σ p e^{t v}.
pub(super) struct Cumulant {
    /// The mean of v under p, or an end of v where the weights are far apart.
    pub(super) centre: f64,
    /// ln Σ p e^{t (v − centre)}.
    pub(super) rest: f64,
    /// t v − ln Σ p e^{t v} of each class.
    pub(super) log_weights: Vec<f64>,
}

impl Cumulant {
    /// Of probabilities with the sum 1, none of them 0, and finite v.
    ///
    /// Near t = 0 the rest is t²/2 times the variance: it is summed from e^y − 1 − y about the mean, none of which is
    /// negative, so it has its digits there. Elsewhere the largest weight is taken out.
    pub(super) fn of(p: &[f64], v: &[f64], t: f64) -> Self {
        let first = Deviations::from(v[0], v);
        let mean = first.number(p.iter().zip(v).map(|(p, v)| p * first.of(*v)).sum(), v);
        let about = Deviations::from(mean, v);
        if v.iter().all(|v| about.times(t, *v).abs() <= 1.0) {
            let deviations = || p.iter().zip(v).map(|(p, v)| (p, about.times(t, *v)));
            // The second sum is 0 but for the rounding of the mean.
            let beyond = deviations().map(|(p, y)| p * exp_beyond_line(y)).sum::<f64>()
                + deviations().map(|(p, y)| p * y).sum::<f64>();
            let rest = beyond.ln_1p();
            let log_weights = v.iter().map(|v| about.times(t, *v) - rest).collect();
            return Self { centre: mean, rest, log_weights };
        }
        let end = ends(v)[usize::from(t > 0.0)];
        let below = Deviations::from(end, v);
        let rest = p.iter().zip(v).map(|(p, v)| p * below.times(t, *v).exp()).sum::<f64>().ln();
        let log_weights = v.iter().map(|v| below.times(t, *v) - rest).collect();
        Self { centre: end, rest, log_weights }
    }
}
