//! Products, quotients and sums whose steps leave the range of `f64` where their result does not.

/// A number as a mantissa, 0 or from 1 to below 2 in magnitude, and a power of two. What is not
/// finite is its own mantissa.
fn split(value: f64) -> (f64, i64) {
    const MANTISSA: u32 = f64::MANTISSA_DIGITS - 1;
    if value == 0.0 || !value.is_finite() {
        return (value, 0);
    }
    // A subnormal number is made a normal one first.
    let (value, shift) =
        if value.is_normal() { (value, 0) } else { (value * (1_u64 << MANTISSA) as f64, MANTISSA) };
    let bits = value.to_bits();
    let exponent = (bits >> MANTISSA & 0x7ff) as i64 - 1023;
    let mantissa = f64::from_bits(bits & !(0x7ff << MANTISSA) | 1023 << MANTISSA);
    (mantissa, exponent - i64::from(shift))
}

/// e with 2^e the power of two of a number; 0 for 0 and for what is not finite.
pub(crate) fn exponent(value: f64) -> i64 {
    split(value).1
}

/// `value` · 2^`exponent`, rounded once for a `value` of a moderate size.
pub(crate) fn times_power(value: f64, exponent: i64) -> f64 {
    let exponent = exponent.clamp(-2200, 2200) as i32;
    let half = exponent / 2;
    value * 2_f64.powi(half) * 2_f64.powi(exponent - half)
}

/// e^x as `(factor, exponent)`, where the factor, near 1, is to be multiplied with 2^exponent: to all digits of
/// the factor, also where e^x leaves f64.
pub(crate) fn scaled_exp(x: f64) -> (f64, i64) {
    // ln 2 in two parts, of which the first times a power within 2^20 has no error.
    const LN_2: [f64; 2] = [0.693_147_180_369_123_8, 1.908_214_929_270_587_7e-10];
    let power = (x * std::f64::consts::LOG2_E).round();
    if power.is_nan() || power.abs() > 1e6 {
        return (x.exp(), 0);
    }
    (((x - power * LN_2[0]) - power * LN_2[1]).exp(), power as i64)
}

/// Π `factors` / `divisor` · 2^`exponent`: the bits of the plain expression, from left to right,
/// wherever no step of that leaves the normal numbers.
pub(crate) fn quotient(factors: impl IntoIterator<Item = f64>, divisor: f64, exponent: i64) -> f64 {
    let (mut product, mut power) = (1.0, exponent);
    for factor in factors {
        let (mantissa, own) = split(factor);
        product *= mantissa;
        power += own;
    }
    let (mantissa, own) = split(divisor);
    times_power(product / mantissa, power - own)
}

/// Σ a·b as `(sum, exponent)`, where the sum is to be multiplied with 2^exponent.
pub(crate) fn sum_of_products(terms: impl Iterator<Item = (f64, f64)> + Clone) -> (f64, i64) {
    let plain: f64 = terms.clone().map(|(a, b)| a * b).sum();
    if (1e-250..1e250).contains(&plain.abs()) {
        return (plain, 0);
    }
    let both = |(a, b)| {
        let ((a, i), (b, j)) = (split(a), split(b));
        (a * b, i + j)
    };
    let nonzero = terms.clone().map(both).filter(|&(product, _)| product != 0.0);
    let Some(most) = nonzero.map(|(_, power)| power).max() else { return (plain, 0) };
    (terms.map(both).map(|(product, power)| times_power(product, power - most)).sum(), most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_numbers_keep_the_bits_of_the_plain_expression() {
        for i in 1..200 {
            let (a, b, c, d) = (1.0 / f64::from(i), 0.1 * f64::from(i), -7.3, f64::from(i) + 0.7);
            assert_eq!(quotient([a, b, c], d, 0), a * b * c / d);
            assert_eq!(quotient([a, b, c], d, -3), a * b * c / d / 8.0);
        }
    }

    #[test]
    fn steps_out_of_range_do_not_count() {
        assert!((quotient([1e308, 3.0], 1.5e308, 0) - 2.0).abs() < 4.0 * f64::EPSILON);
        assert_eq!(quotient([f64::MAX, f64::MAX], f64::MAX, 0), f64::MAX);
        assert_eq!(quotient([f64::from_bits(3)], f64::from_bits(6), 0), 0.5);
        assert_eq!(quotient([1.5], 1.0, -1074), f64::from_bits(2));
        assert_eq!(quotient([0.0, 5.0], 1e-310, 0), 0.0);
        assert_eq!(quotient([1e308], 1e-308, 0), f64::INFINITY);
        assert!(quotient([0.0], 0.0, 0).is_nan() && quotient([f64::NAN], 1.0, 0).is_nan());
        assert_eq!(quotient([f64::NEG_INFINITY], 2.0, 900), f64::NEG_INFINITY);
    }

    #[test]
    fn sums_out_of_range_are_carried_with_a_power_of_two() {
        let (sum, power) = sum_of_products([(1e308, 3.0), (1e308, 5.0)].into_iter());
        let expected = 8.0 * (1e308 / 2_f64.powi(1000));
        assert!((times_power(sum, power - 1000) / expected - 1.0).abs() < 4.0 * f64::EPSILON);
        let (sum, power) = sum_of_products([(1e-200, 1e-200), (1e-200, 3e-200)].into_iter());
        let expected = 4.0 * (1e-200 * 2_f64.powi(660)) * (1e-200 * 2_f64.powi(660));
        assert!((times_power(sum, power + 1320) / expected - 1.0).abs() < 4.0 * f64::EPSILON);
        assert_eq!(sum_of_products([(0.0, 1.0)].into_iter()), (0.0, 0));
        assert_eq!(sum_of_products([(1.0, 2.0), (-1.0, 2.0)].into_iter()).0, 0.0);
        assert_eq!(sum_of_products([(f64::INFINITY, 1.0)].into_iter()).0, f64::INFINITY);
    }
}
