//! ψ of whole numbers.

/// Euler's constant.
const EULER: f64 = 0.577_215_664_901_532_9;

/// ψ(n) of a whole number above 0: a harmonic number, or Stirling's series.
pub(super) fn digamma(n: usize) -> f64 {
    let x = n as f64;
    if n < 16 {
        return (1..n).rev().map(|j| 1.0 / j as f64).sum::<f64>() - EULER;
    }
    // The first term left out, 691/(32760 n¹²), is below 10⁻¹⁶ from 16 on.
    let y = 1.0 / (x * x);
    let series =
        y * (1.0 / 12.0 - y * (1.0 / 120.0 - y * (1.0 / 252.0 - y * (1.0 / 240.0 - y / 132.0))));
    x.ln() - 0.5 / x - series
}

#[cfg(test)]
mod tests {
    use super::digamma;

    #[test]
    fn by_the_recurrence() {
        // ψ(n + 1) = ψ(n) + 1/n, where the two ways meet and far beyond.
        for n in (1..2000).chain([1 << 20, 1 << 40]) {
            let (next, here) = (digamma(n + 1), digamma(n) + 1.0 / n as f64);
            assert!((next - here).abs() <= 4e-16 * here.abs().max(1.0), "{n}: {next} {here}");
        }
        // ψ(16) = 1195757/360360 − γ, to the last digits.
        assert!((digamma(16) - 2.741_013_328_327_460_4).abs() < 1e-15, "{}", digamma(16));
    }
}
