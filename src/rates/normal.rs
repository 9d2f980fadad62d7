//! The standard normal distribution, far into its tails.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// ½ ln 2π.
pub(super) const HALF_LOG_TAU: f64 = 0.918_938_533_204_672_7;

/// From here on the scaled error function is a series.
const FAR: f64 = 10.0;

/// ln Φ(x), the logarithm of the standard normal distribution function, within a few units in the last place in both
/// tails: −x²/2 − ln(−x√2π) − … far below 0, −Φ(−x) far above.
///
/// ```
/// use surprisal::rates::log_normal_distribution;
/// assert!((log_normal_distribution(0.0) + std::f64::consts::LN_2).abs() < 1e-15);
/// assert!((log_normal_distribution(-40.0) + 804.6084420137538).abs() < 1e-12);
/// assert!((log_normal_distribution(10.0) / -7.61985302416053e-24 - 1.0).abs() < 1e-13);
/// ```
pub fn log_normal_distribution(x: f64) -> f64 {
    if x > 0.0 {
        return (-tail(x)).ln_1p();
    }
    // NaN comes here too.
    log_density(x) + mills_ratio(-x).ln()
}

/// ln φ(x).
pub(super) fn log_density(x: f64) -> f64 {
    -0.5 * x * x - HALF_LOG_TAU
}

/// φ(x), with what the square has rounded off.
pub(super) fn density(x: f64) -> f64 {
    exp_of_square(-0.5, x) / (2.0 * PI).sqrt()
}

/// Φ(−x) of an x of at least 0.
pub(super) fn tail(x: f64) -> f64 {
    density(x) * mills_ratio(x)
}

/// Φ(−x)/φ(x) of an x of at least 0, about 1/x: √(π/2) times the scaled complementary error function e^t² erfc(t) of
/// t = x/√2. It has no exponential left, so that quotients of tails neither overflow nor cancel.
pub(super) fn mills_ratio(x: f64) -> f64 {
    if x < FAR {
        // Both factors of the t that is rounded: their product hardly changes with it.
        let t = x * FRAC_1_SQRT_2;
        return (0.5 * PI).sqrt() * libm::erfc(t) * exp_of_square(1.0, t);
    }
    if x == f64::INFINITY {
        return 0.0;
    }
    // 1/x Σ (−1)^k (2k − 1)!!/x^2k, from the last term: at 10 the first 22 are off by 2·10⁻¹⁸.
    let inverse = 1.0 / x;
    let square = inverse * inverse;
    (1..=22).rev().fold(1.0, |sum, k| 1.0 - f64::from(2 * k - 1) * square * sum) * inverse
}

/// e^(factor·x²) of a power of two, with what the square has rounded off.
fn exp_of_square(factor: f64, x: f64) -> f64 {
    let square = x * x;
    let lost = x.mul_add(x, -square);
    let exponential = (factor * square).exp();
    match exponential == 0.0 || !lost.is_finite() {
        true => exponential,
        false => exponential + exponential * (factor * lost),
    }
}
