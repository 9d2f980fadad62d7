//! The cumulant generating function of a number under a distribution.

use crate::preference::numerics::exp_beyond_line;

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
        let first = v[0];
        let mean = first + p.iter().zip(v).map(|(p, v)| p * (v - first)).sum::<f64>();
        let near = |v: &f64| (t * (v - mean)).abs() <= 1.0;
        if v.iter().all(near) {
            let deviations = || p.iter().zip(v).map(|(p, v)| (p, t * (v - mean)));
            // The second sum is 0 but for the rounding of the mean.
            let beyond = deviations().map(|(p, y)| p * exp_beyond_line(y)).sum::<f64>()
                + deviations().map(|(p, y)| p * y).sum::<f64>();
            let rest = beyond.ln_1p();
            let log_weights = v.iter().map(|v| t * (v - mean) - rest).collect();
            return Self { centre: mean, rest, log_weights };
        }
        let end = match t > 0.0 {
            true => v.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            false => v.iter().copied().fold(f64::INFINITY, f64::min),
        };
        let rest = p.iter().zip(v).map(|(p, v)| p * (t * (v - end)).exp()).sum::<f64>().ln();
        let log_weights = v.iter().map(|v| t * (v - end) - rest).collect();
        Self { centre: end, rest, log_weights }
    }
}
