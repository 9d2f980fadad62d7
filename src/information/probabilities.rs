//! Lists of probabilities.

use crate::error::{Error, Result, short};
use crate::matrix::Vector;
use crate::numerics::exp_beyond_line;

/// How far from 1 the sum may be.
const TOLERANCE: f64 = 1e-9;

/// Probabilities `[n]`, at least 0, of which the sum is 1, over what it is.
pub(in crate::information) fn probabilities(
    argument: &'static str,
    list: Vector<'_>,
) -> Result<Vec<f64>> {
    let list: Vec<f64> = list.to_vec();
    if list.is_empty() {
        let expected = "at least one probability".into();
        return Err(Error::Shape { argument, found: vec![0], expected });
    }
    if let Some(at) = list.iter().position(|p| !(*p >= 0.0 && p.is_finite())) {
        return Err(Error::Value {
            argument,
            index: vec![at],
            value: short(list[at]),
            expected: "a probability of at least 0",
        });
    }
    let sum: f64 = list.iter().sum();
    match (sum - 1.0).abs() <= TOLERANCE {
        true => Ok(list.iter().map(|p| p / sum).collect()),
        false => Err(Error::Conflict {
            what: format!(
                "{argument} have the sum {}, expected 1 within {TOLERANCE:e}",
                short(sum)
            ),
        }),
    }
}

/// What a class adds to KL(φ‖p), φ = p e^x: φ x − φ + p. Both sum to 1, so the sum of it is that of φ x; none is below
/// 0.
pub(in crate::information) fn divergence_term(p: f64, phi: f64, x: f64) -> f64 {
    if phi == 0.0 {
        p
    } else if x.abs() < 1.0 {
        phi * exp_beyond_line(-x)
    } else {
        (phi * x - phi + p).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::divergence_term;

    #[test]
    fn terms_of_a_divergence_have_their_digits_and_limits() {
        for x in [-1.5_f64, -1.0, -0.999, -1e-3, 1e-3, 0.999, 1.0, 3.0] {
            let (p, phi) = (0.3, 0.3 * x.exp());
            let term = phi * x - phi + p;
            assert!((divergence_term(p, phi, x) - term).abs() < 1e-15, "{x}");
        }
        let tiny = divergence_term(0.5, 0.5, 1e-12);
        assert!((tiny / 2.5e-25 - 1.0).abs() < 1e-11, "{tiny}");
        assert_eq!(divergence_term(0.5, 0.5, 0.0), 0.0);
        assert_eq!(divergence_term(0.25, 0.0, f64::NEG_INFINITY), 0.25);
    }
}
