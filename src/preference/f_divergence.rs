//! f-divergences from tokens that the reference has drawn.

use crate::error::Result;
use crate::numerics::{check, exp_beyond_line, softplus};
use std::f64::consts::LN_2;

/// Estimates a divergence of a policy π from its reference, from tokens that the reference has drawn.
///
/// With Δ = log π − log π_ref of the token, in nats, and u = e^Δ, the mean of f(u) over such tokens is the
/// divergence:
///
/// | made by | divergence | f | ∂f/∂log π = u f′(u) |
/// | --- | --- | --- | --- |
/// | [`k1`](Self::k1) | KL(π_ref‖π) | −Δ | −1 |
/// | [`k3`](Self::k3) | KL(π_ref‖π), never below 0 | e^Δ − 1 − Δ | e^Δ − 1 |
/// | [`k2`](Self::k2) | no f-divergence | Δ²/2 | Δ |
/// | [`jensen_shannon`](Self::jensen_shannon) | twice the Jensen–Shannon divergence | e^Δ (Δ − s) − s, s = ln((1 + e^Δ)/2) | e^Δ (Δ − s) |
/// | [`alpha`](Self::alpha) | α-divergence | (e^((1−α)Δ) − (1−α) e^Δ − α) / (α(α−1)) | (e^Δ − e^((1−α)Δ))/α |
/// | [`reverse`](Self::reverse) | KL(π‖π_ref) | Δ e^Δ | e^Δ (1 + Δ) |
///
/// Near Δ = 0 all keep their digits. For α → 1 the α-divergence is k3, for α → 0 it is Δ e^Δ − e^Δ + 1. Li et al.
/// 2025, *The Choice of Divergence: A Neglected Key to Mitigating Diversity Collapse in Reinforcement Learning with
/// Verifiable Reward* (DPH-RL). With both heads at hand the exact divergences are
/// [`KullbackLeibler`](crate::loss::KullbackLeibler), [`JensenShannon`](crate::loss::JensenShannon) and their kin.
///
/// ```
/// use surprisal::preference::FDivergence;
/// // Over all tokens of a reference q, the mean is the divergence.
/// let (p, q) = ([0.5_f64, 0.3, 0.2], [0.25_f64, 0.25, 0.5]);
/// let mean = |f: FDivergence| -> f64 {
///     p.iter().zip(&q).map(|(p, q)| q * f.at((p / q).ln()).0).sum()
/// };
/// let kl: f64 = p.iter().zip(&q).map(|(p, q)| q * (q / p).ln()).sum();
/// assert!((mean(FDivergence::k3()) - kl).abs() < 1e-15);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FDivergence(Kind);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    K1,
    K2,
    K3,
    JensenShannon,
    Alpha(f64),
    Reverse,
}

impl FDivergence {
    /// −Δ.
    pub fn k1() -> Self {
        Self(Kind::K1)
    }

    /// Δ²/2.
    pub fn k2() -> Self {
        Self(Kind::K2)
    }

    /// e^Δ − 1 − Δ.
    pub fn k3() -> Self {
        Self(Kind::K3)
    }

    /// Twice the Jensen–Shannon divergence.
    pub fn jensen_shannon() -> Self {
        Self(Kind::JensenShannon)
    }

    /// The α-divergence.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) for an α that is not between 0 and 1.
    pub fn alpha(alpha: f64) -> Result<Self> {
        let good = alpha > 0.0 && alpha < 1.0;
        Ok(Self(Kind::Alpha(check("alpha", alpha, good, "a number above 0 and below 1")?)))
    }

    /// Δ e^Δ.
    pub fn reverse() -> Self {
        Self(Kind::Reverse)
    }

    /// f for a token of this Δ, and its slope by log π.
    ///
    /// ```
    /// use surprisal::preference::FDivergence;
    /// let (value, slope) = FDivergence::jensen_shannon().at(1e-8);
    /// assert!((value / 2.5e-17 - 1.0).abs() < 1e-7 && (slope / 5e-9 - 1.0).abs() < 1e-7);
    /// ```
    pub fn at(&self, delta: f64) -> (f64, f64) {
        match self.0 {
            Kind::K1 => (-delta, -1.0),
            Kind::K2 => (delta * delta / 2.0, delta),
            Kind::K3 => (exp_beyond_line(delta), delta.exp_m1()),
            Kind::JensenShannon => jensen_shannon(delta),
            Kind::Alpha(alpha) => alpha_divergence(delta, alpha),
            // 0 · ∞ has the limit 0.
            Kind::Reverse if delta == f64::NEG_INFINITY => (0.0, 0.0),
            Kind::Reverse => (delta * delta.exp(), delta.exp() * (1.0 + delta)),
        }
    }
}

/// With v = tanh(Δ/2) the value is ((1+v) ln(1+v) + (1−v) ln(1−v)) / (1−v).
fn jensen_shannon(delta: f64) -> (f64, f64) {
    let ratio = delta.exp();
    if ratio == 0.0 || ratio == f64::INFINITY {
        return if ratio == 0.0 { (LN_2, 0.0) } else { (ratio, ratio) };
    }
    let v = (delta / 2.0).tanh();
    if v.abs() < 0.25 {
        // Σ v^2k / (k(2k−1)): at ¼ the 14th term is below 2⁻⁵³ of the first.
        let sum = (1..=14).rev().fold(0.0, |sum, k| {
            let k = f64::from(k);
            (sum + 1.0 / (k * (2.0 * k - 1.0))) * v * v
        });
        return (sum * (1.0 + ratio) / 2.0, ratio * v.ln_1p());
    }
    // Δ − s, where s = softplus(Δ) − ln 2.
    let of_policy = LN_2 - softplus(-delta);
    (ratio * of_policy - (softplus(delta) - LN_2), ratio * of_policy)
}

fn alpha_divergence(delta: f64, alpha: f64) -> (f64, f64) {
    // (e^Δ − e^((1−α)Δ))/α without a difference of large numbers.
    let slope = match delta > 0.0 {
        true => -delta.exp() * (-alpha * delta).exp_m1() / alpha,
        false => ((1.0 - alpha) * delta).exp() * (alpha * delta).exp_m1() / alpha,
    };
    if !slope.is_finite() {
        return (slope, slope);
    }
    let value = if delta.abs() < 1.0 {
        // Σ_{k≥2} Δ^k/k! · (1 − (1−α)^(k−1))/α.
        let log = (-alpha).ln_1p();
        (2..=20).rev().fold(0.0, |sum, k| {
            let k = f64::from(k);
            let coefficient = -((k - 1.0) * log).exp_m1() / alpha;
            // Horner, with coefficient/k! as the part of the k-th power.
            sum * delta + coefficient / factorial(k)
        }) * delta
            * delta
    } else if alpha <= 0.5 || (1.0 - alpha) * delta < -1.0 {
        (slope - delta.exp_m1()) / (1.0 - alpha)
    } else {
        let beta = 1.0 - alpha;
        (exp_beyond_line(delta) - exp_beyond_line(beta * delta) / beta) / alpha
    };
    (value, slope)
}

fn factorial(k: f64) -> f64 {
    let mut product = 1.0;
    let mut factor = 2.0;
    while factor <= k {
        product *= factor;
        factor += 1.0;
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_meet_where_one_takes_over() {
        for alpha in [1e-9, 0.05, 0.5, 0.51, 0.95, 1.0 - 1e-9] {
            for edge in [1.0_f64, -1.0] {
                let (inside, outside) = (edge * (1.0 - 1e-15), edge * (1.0 + 1e-15));
                let (near, far) =
                    (alpha_divergence(inside, alpha), alpha_divergence(outside, alpha));
                assert!((near.0 - far.0).abs() < 2e-14 * far.0, "{alpha} {edge}: {near:?} {far:?}");
            }
        }
        for v in [0.25_f64, -0.25] {
            let edge = 2.0 * v.atanh();
            let (near, far) =
                (jensen_shannon(edge * (1.0 - 1e-15)), jensen_shannon(edge * (1.0 + 1e-15)));
            assert!((near.0 - far.0).abs() < 2e-14 * far.0, "{near:?} {far:?}");
            assert!((near.1 - far.1).abs() < 2e-14 * far.1.abs(), "{near:?} {far:?}");
        }
    }

    #[test]
    fn the_ends_have_their_limits() {
        let ends = |divergence: FDivergence| {
            [f64::NEG_INFINITY, f64::INFINITY].map(|delta| divergence.at(delta).0)
        };
        let inf = f64::INFINITY;
        assert_eq!(ends(FDivergence::k1()), [inf, -inf]);
        assert_eq!(ends(FDivergence::k2()), [inf, inf]);
        assert_eq!(ends(FDivergence::k3()), [inf, inf]);
        assert_eq!(ends(FDivergence::jensen_shannon()), [LN_2, inf]);
        assert_eq!(ends(FDivergence::reverse()), [0.0, inf]);
        // −α/(α(α−1)).
        let [low, high] = ends(FDivergence::alpha(0.2).unwrap());
        assert!((low - 1.25).abs() < 1e-15 && high == inf, "{low} {high}");
        let [low, _] = ends(FDivergence::alpha(0.8).unwrap());
        assert!((low - 5.0).abs() < 1e-14, "{low}");
    }
}
