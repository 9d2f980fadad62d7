//! Quantiles of Student's distribution.

use std::f64::consts::{PI, SQRT_2};

/// The largest number of degrees of freedom that the finite sums are taken for.
const SUMMED: usize = 300;

/// t with P(|T| ≤ t) = `share`, of so many degrees of freedom, one at least.
pub(super) fn two_sided(share: f64, degrees: usize) -> f64 {
    if degrees > SUMMED {
        return expanded(normal(share), degrees as f64);
    }
    let (mut low, mut high) = (0.0, 1.0);
    while inside(high, degrees) < share && high < 1e300 {
        (low, high) = (high, 2.0 * high);
    }
    bisect(low, high, |t| inside(t, degrees) < share)
}

/// z with P(|Z| ≤ z) = `share` of the normal distribution.
fn normal(share: f64) -> f64 {
    bisect(0.0, 40.0, |z| libm::erfc(z / SQRT_2) > 1.0 - share)
}

/// Where a condition that holds at `low` ends.
fn bisect(mut low: f64, mut high: f64, holds: impl Fn(f64) -> bool) -> f64 {
    loop {
        let middle = f64::midpoint(low, high);
        if middle <= low || middle >= high {
            return middle;
        }
        if holds(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
}

/// P(|T| ≤ t): Abramowitz and Stegun 26.7.3 and 26.7.4.
fn inside(t: f64, degrees: usize) -> f64 {
    let angle = (t / (degrees as f64).sqrt()).atan();
    let (sine, cosine) = angle.sin_cos();
    let odd = degrees % 2 == 1;
    let (mut term, mut sum) = match (odd, degrees) {
        (true, 1) => return 2.0 / PI * angle,
        (true, _) => (cosine, cosine),
        (false, _) => (1.0, 1.0),
    };
    let mut k = if odd { 3 } else { 2 };
    while k < degrees {
        let k_real = k as f64;
        term *= cosine * cosine * (k_real - 1.0) / k_real;
        sum += term;
        k += 2;
    }
    if odd { 2.0 / PI * (angle + sine * sum) } else { sine * sum }
}

/// The quantile of many degrees of freedom, from that of the normal distribution: Abramowitz and Stegun 26.7.5.
fn expanded(z: f64, degrees: f64) -> f64 {
    let square = z * z;
    let first = (square + 1.0) / 4.0;
    let second = ((5.0 * square + 16.0) * square + 3.0) / 96.0;
    let third = (((3.0 * square + 19.0) * square + 17.0) * square - 15.0) / 384.0;
    z * (1.0 + (first + (second + third / degrees) / degrees) / degrees)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        // One and two degrees have closed forms; the others are printed in every table, to three digits.
        let t = two_sided(0.95, 1);
        assert!((t - (0.95 * PI / 2.0).tan()).abs() < 1e-12 * t);
        let t = two_sided(0.9, 2);
        assert!((t - 0.9 * (2.0 / (1.0 - 0.81_f64)).sqrt()).abs() < 1e-13);
        for (share, degrees, printed) in [
            (0.95, 3, 3.182),
            (0.95, 10, 2.228),
            (0.99, 7, 3.499),
            (0.95, 30, 2.042),
            (0.95, 120, 1.980),
        ] {
            let t = two_sided(share, degrees);
            assert!((t - printed).abs() <= 5.1e-4, "{share} {degrees}: {t}");
        }
        assert!((two_sided(0.95, usize::MAX) - 1.959_963_984_540_054).abs() < 1e-12);
    }

    #[test]
    fn the_expansion_goes_on_where_the_sums_end() {
        for share in [0.1, 0.5, 0.95, 0.999] {
            let (summed, expanded) =
                (two_sided(share, SUMMED), expanded(normal(share), SUMMED as f64));
            assert!((summed / expanded - 1.0).abs() < 1e-8, "{share}: {summed} {expanded}");
        }
    }
}
