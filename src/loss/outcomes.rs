//! The divergence of two distributions over a few outcomes, of which the logarithms are known.

use crate::softmax::divergence::Divergence;

/// An outcome: ln P of the teacher's distribution, ln Q of the student's, and Δ = ln P − ln Q, which may have been
/// found with more digits than the difference of the two.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub(super) log_p: f64,
    pub(super) log_q: f64,
    pub(super) delta: f64,
}

impl Outcome {
    pub(super) fn new(log_p: f64, log_q: f64) -> Self {
        Self { log_p, log_q, delta: log_p - log_q }
    }

    /// Whether neither has it.
    pub(super) fn is_nowhere(&self) -> bool {
        self.log_p == f64::NEG_INFINITY && self.log_q == f64::NEG_INFINITY
    }

    pub(super) fn p(&self) -> f64 {
        self.log_p.exp()
    }

    pub(super) fn q(&self) -> f64 {
        self.log_q.exp()
    }
}

/// ln Σ e^x as its largest term m and r, the sum of the others over it: m + ln(1 + r). r is NaN where there is no term.
pub(super) fn log_sum(logarithms: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let largest = logarithms.clone().enumerate().fold((0, f64::NEG_INFINITY), |most, (i, x)| {
        if x > most.1 || x.is_nan() { (i, x) } else { most }
    });
    let (at, m) = largest;
    let others = logarithms.enumerate().filter(|&(i, _)| i != at).map(|(_, x)| (x - m).exp());
    (m, if m == f64::NEG_INFINITY { f64::NAN } else { others.sum() })
}

/// ln(1 − e^x), of x ≤ 0.
pub(super) fn log_complement(x: f64) -> f64 {
    match x > -std::f64::consts::LN_2 {
        true => (-x.exp_m1()).ln(),
        false => (-x.exp()).ln_1p(),
    }
}

/// (e^x − 1 − x) / x² for |x| < 1: Σ x^k/(k+2)!, of which the 18th term is below the last bit.
fn remainder(x: f64) -> f64 {
    (2..20).rev().fold(0.0, |sum, n| (sum * x + 1.0) / f64::from(n))
}

/// A (e^x − 1 − x), of which B = A e^x.
fn beyond_tangent(a: f64, b: f64, x: f64) -> f64 {
    match (a == 0.0, x.abs() < 1.0) {
        (true, _) => b,
        (false, true) => a * (x * x) * remainder(x),
        (false, false) => (b - a) - a * x,
    }
}

/// B − A = A (e^x − 1).
fn difference(a: f64, b: f64, x: f64) -> f64 {
    if x.abs() < 1.0 { a * x.exp_m1() } else { b - a }
}

/// Which distributions a mixture is told from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Of {
    Q,
    P,
    Both,
}

/// How a divergence is computed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Form {
    /// It is 0, whatever the distributions are.
    Nothing,
    /// KL(P‖Q)
    Forward,
    /// KL(Q‖P)
    Reverse,
    /// From M = w Q + w′ P.
    Mixture { weights: [f64; 2], of: Of },
}

impl Form {
    /// None of the total variation, whose slope is no smooth one.
    pub(super) fn of(divergence: Divergence) -> Option<Self> {
        let mixture = |weights, of| Some(Self::Mixture { weights, of });
        match divergence {
            Divergence::JensenShannon { beta: 0.0 | 1.0 }
            | Divergence::ForwardSkew { alpha: 1.0 }
            | Divergence::ReverseSkew { alpha: 1.0 } => Some(Self::Nothing),
            Divergence::ForwardKullbackLeibler | Divergence::ForwardSkew { alpha: 0.0 } => {
                Some(Self::Forward)
            }
            Divergence::ReverseKullbackLeibler | Divergence::ReverseSkew { alpha: 0.0 } => {
                Some(Self::Reverse)
            }
            Divergence::JensenShannon { beta } => mixture([1.0 - beta, beta], Of::Both),
            Divergence::ForwardSkew { alpha } => mixture([1.0 - alpha, alpha], Of::P),
            Divergence::ReverseSkew { alpha } => mixture([alpha, 1.0 - alpha], Of::Q),
            Divergence::TotalVariation => None,
        }
    }

    /// The value of the divergence of P and Q, both of which sum to 1, and its derivative by ln Q of each outcome:
    /// Q (g − ḡ), g the slope by Q and ḡ its mean under Q, so that the derivatives sum to 0. Where P does not sum to 1
    /// each Kullback–Leibler divergence is Σ A ln(A/B) − A + B.
    pub(super) fn evaluate(self, outcomes: &[Outcome], slopes: &mut [f64]) -> f64 {
        slopes.fill(0.0);
        let mut value = 0.0;
        for (outcome, slope) in outcomes.iter().zip(&mut *slopes) {
            // What neither has adds nothing, and its Δ is no number.
            if !outcome.is_nowhere() {
                let (term, by_log_q) = self.term(outcome);
                value += term;
                *slope = by_log_q;
            }
        }
        let mean: f64 = slopes.iter().sum();
        for (slope, outcome) in slopes.iter_mut().zip(outcomes) {
            *slope -= outcome.q() * mean;
        }
        value
    }

    /// What an outcome adds to the value, and g Q.
    fn term(self, outcome: &Outcome) -> (f64, f64) {
        let (p, q, delta) = (outcome.p(), outcome.q(), outcome.delta);
        // Where Q is nothing, so is g Q, whatever g is.
        let of_q = |g: f64| if q == 0.0 { 0.0 } else { q * g };
        match self {
            Self::Nothing => (0.0, 0.0),
            Self::Forward => (beyond_tangent(p, q, -delta), difference(p, q, -delta)),
            Self::Reverse => (beyond_tangent(q, p, delta), of_q(-delta)),
            Self::Mixture { weights: [w_q, w_p], of } => {
                let (over_q, over_p) = over_both(delta, [w_q, w_p]);
                let m = w_q * q + w_p * p;
                let (from_q, from_p) = (beyond_tangent(q, m, over_q), beyond_tangent(p, m, over_p));
                match of {
                    // g = (1−β) ln(Q/M)
                    Of::Both => (w_q * from_q + w_p * from_p, of_q(-w_q * over_q)),
                    // g = −(1−α) (P/M − 1)
                    Of::P => (from_p, of_q(-w_q * (-over_p).exp_m1())),
                    // g = ln(Q/M) − α (Q/M − 1)
                    Of::Q => (from_q, of_q(-(over_q + w_q * (-over_q).exp_m1()))),
                }
            }
        }
    }
}

/// ln(M/Q) and ln(M/P).
fn over_both(delta: f64, [w_q, w_p]: [f64; 2]) -> (f64, f64) {
    let (w_large, w_small) = if delta > 0.0 { (w_p, w_q) } else { (w_q, w_p) };
    let apart = delta.abs();
    let (of_large, of_small) = match apart < 1.0 {
        true => ((w_small * (-apart).exp_m1()).ln_1p(), (w_large * apart.exp_m1()).ln_1p()),
        false => {
            let of_large = (w_large + w_small * (-apart).exp()).ln();
            (of_large, of_large + apart)
        }
    };
    if delta > 0.0 { (of_small, of_large) } else { (of_large, of_small) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_the_tangent_has_its_digits() {
        for x in [1e-9, -3e-5, 0.01, -0.3, 0.5, 0.99, -0.99] {
            // ∫ (1 − t) e^xt dt over [0, 1] by five points of Gauss and Legendre, whose error is 3.9e-13 of the tenth
            // derivative, at most 11 e.
            let nodes = [0.0, 0.538_469_310_105_683_1, 0.906_179_845_938_664];
            let weights = [128.0 / 225.0, 0.478_628_670_499_366_47, 0.236_926_885_056_189_1];
            let at = |u: f64| (1.0 - u) / 2.0 * (x * (1.0 + u) / 2.0_f64).exp() / 2.0;
            let integral = weights[0] * at(0.0)
                + weights[1] * (at(nodes[1]) + at(-nodes[1]))
                + weights[2] * (at(nodes[2]) + at(-nodes[2]));
            assert!((remainder(x) - integral).abs() < 3.9e-13 * 30.0, "{x}");
        }
        assert_eq!(remainder(0.0), 0.5);
        // Where both forms are right they agree, but for what e^x − 1 − x cancels.
        for x in [0.7_f64, -0.9, 0.95] {
            let direct = (x.exp_m1() - x) / (x * x);
            assert!((remainder(x) - direct).abs() < 8.0 * f64::EPSILON / x.abs(), "{x}");
        }
    }
}
