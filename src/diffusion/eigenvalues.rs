//! The entropy of given eigenvalues.

use super::options::Epsilon;

/// Below this a relative error of λᵗ is of no interest.
const NEGLIGIBLE: f64 = 1e-6;

/// What is added to every share.
pub(crate) fn added(epsilon: Epsilon) -> f64 {
    match epsilon {
        Epsilon::Reference => f64::EPSILON,
        Epsilon::Clean => 0.0,
    }
}

/// −p ln p, 0 at 0.
pub(crate) fn surprise(p: f64) -> f64 {
    if p > 0.0 { -p * p.ln() } else { 0.0 }
}

/// H in nats of p = |λ|ᵗ / Σ|λ|ᵗ; not all of λ are 0.
pub(crate) fn entropy_of(eigenvalues: &[f64], time: f64, epsilon: Epsilon) -> f64 {
    if eigenvalues.len() == 1 {
        return 0.0;
    }
    // Relative to the largest: a large t must leave it standing, and all that rounding has parted from
    // it, which is of no account at a small one.
    let largest = eigenvalues.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
    let rounding = eigenvalues.len() as f64 * f64::EPSILON;
    let decides = rounding * time > NEGLIGIBLE;
    let power = |x: f64| {
        let x = x.abs() / largest;
        match time {
            1.0 => x,
            _ if decides && 1.0 - x <= rounding => 1.0,
            _ => x.powf(time),
        }
    };
    let total: f64 = eigenvalues.iter().map(|&x| power(x)).sum();
    let epsilon = added(epsilon);
    eigenvalues.iter().map(|&x| surprise(power(x) / total + epsilon)).sum()
}
