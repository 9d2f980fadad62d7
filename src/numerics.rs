//! Functions of one number that keep small things small, and what options that are one must be.

use crate::error::{Error, Result, short};

/// 1/(1 + e^−x).
pub(crate) fn sigmoid(x: f64) -> f64 {
    let small = (-x.abs()).exp();
    if x >= 0.0 { 1.0 / (1.0 + small) } else { small / (1.0 + small) }
}

/// σ(x) σ(−x), the slope of σ.
pub(crate) fn sigmoid_slope(x: f64) -> f64 {
    let small = (-x.abs()).exp();
    small / ((1.0 + small) * (1.0 + small))
}

/// ln(1 + e^x).
pub(crate) fn softplus(x: f64) -> f64 {
    x.max(0.0) + if x.is_nan() { x } else { (-x.abs()).exp().ln_1p() }
}

/// ln(1 − e^x) of an x below 0; −∞ at 0.
pub(super) fn log_one_minus_exp(x: f64) -> f64 {
    if x > -std::f64::consts::LN_2 { (-x.exp_m1()).ln() } else { (-x.exp()).ln_1p() }
}

/// e^x − 1 − x, to all its digits and never below 0.
pub(crate) fn exp_beyond_line(x: f64) -> f64 {
    if x == f64::INFINITY {
        return x;
    }
    if x.abs() >= 0.5 {
        return x.exp_m1() - x;
    }
    // x²/2 (1 + x/3 (1 + x/4 (…))): at ½ the 16th factor ends below 2⁻⁵³.
    let tail = (3..=16).rev().fold(1.0, |tail, k| 1.0 + x / f64::from(k) * tail);
    x * x / 2.0 * tail
}

/// # Errors
/// [`Error::Option`] unless the option is good.
pub(crate) fn check(
    name: &'static str,
    value: f64,
    good: bool,
    expected: &'static str,
) -> Result<f64> {
    match good && value.is_finite() {
        true => Ok(value),
        false => Err(Error::Option { name, value: short(value), expected }),
    }
}

pub(crate) fn positive(name: &'static str, value: f64) -> Result<f64> {
    check(name, value, value > 0.0, "a finite number above 0")
}

pub(crate) fn finite(name: &'static str, value: f64) -> Result<f64> {
    check(name, value, true, "a finite number")
}

pub(crate) fn not_negative(name: &'static str, value: f64) -> Result<f64> {
    check(name, value, value >= 0.0, "a finite number of at least 0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tails_have_their_digits_and_the_ends_their_limits() {
        assert_eq!(sigmoid(-800.0), 0.0);
        assert_eq!((sigmoid(800.0), sigmoid(f64::NEG_INFINITY)), (1.0, 0.0));
        for x in [-40.0_f64, -3.0, -0.25, 0.0, 0.25, 3.0] {
            assert!((sigmoid(x) + sigmoid(-x) - 1.0).abs() < 3e-16);
            let slope = sigmoid(x) * sigmoid(-x);
            assert!((sigmoid_slope(x) - slope).abs() <= 1e-15 * slope);
            assert!((softplus(x) - softplus(-x) - x).abs() <= 4e-16 * x.abs().max(1.0));
        }
        assert!((softplus(-100.0) / (-100.0_f64).exp() - 1.0).abs() < 1e-15);
        assert_eq!((softplus(f64::INFINITY), softplus(f64::NEG_INFINITY)), (f64::INFINITY, 0.0));
        assert!(softplus(f64::NAN).is_nan() && sigmoid(f64::NAN).is_nan());
        assert!((log_one_minus_exp(-1e-20) - 1e-20_f64.ln()).abs() < 1e-14);
        assert!((log_one_minus_exp(-50.0) / -(-50.0_f64).exp() - 1.0).abs() < 1e-15);
        assert_eq!(log_one_minus_exp(0.0), f64::NEG_INFINITY);
    }

    #[test]
    fn the_exponential_beyond_its_tangent_has_all_its_digits() {
        for x in [1e-200_f64, 1e-9, -1e-9, 1e-4, -1e-4] {
            let wanted = x * x / 2.0 * (1.0 + x / 3.0 * (1.0 + x / 4.0 * (1.0 + x / 5.0)));
            assert!((exp_beyond_line(x) - wanted).abs() <= 1e-15 * wanted, "{x}");
        }
        for x in [0.5_f64, -0.5] {
            let (inside, outside) = (exp_beyond_line(x * (1.0 - f64::EPSILON)), x.exp_m1() - x);
            assert!((inside - outside).abs() < 1e-15, "{x}");
        }
        assert_eq!(exp_beyond_line(f64::INFINITY), f64::INFINITY);
        assert_eq!(exp_beyond_line(f64::NEG_INFINITY), f64::INFINITY);
        assert_eq!(exp_beyond_line(1000.0), f64::INFINITY);
        assert_eq!(exp_beyond_line(-898.0), 897.0);
        assert!(exp_beyond_line(f64::NAN).is_nan());
    }
}
