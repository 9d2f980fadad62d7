//! Rényi's cross-entropy.

use super::cumulant::Cumulant;
use crate::error::{Error, Result, short};
use crate::information::probabilities::probabilities;
use crate::matrix::Vector;

/// H_α(p; q) = ln Σ p q^{α−1} / (1 − α) in nats, of an order α > 0; −Σ p ln q at α = 1.
///
/// Of q = p it is the Rényi entropy. With rewards r = ln q, ln E_p\[e^{t r}\] = −t H_{1+t}(p; q): the log-partition of
/// a tilt. Where p has a class that q has not it is +∞ for α ≤ 1; above, it is finite as long as they have a
/// class in common. The definition is that of Thierrin, Alajaji and Linder 2022, *Rényi Cross-Entropy Measures for
/// Common Distributions and Processes with Memory*.
///
/// ```
/// use ndarray::arr1;
/// use surprisal::information::renyi_cross_entropy;
/// let (p, q) = (arr1(&[0.5, 0.5]), arr1(&[0.25, 0.75]));
/// let squared = renyi_cross_entropy(&p, &q, 2.0)?;
/// assert!((squared - 2_f64.ln()).abs() < 1e-15);
/// let near = renyi_cross_entropy(&p, &q, 1.0 + 1e-12)? - renyi_cross_entropy(&p, &q, 1.0)?;
/// assert!(near.abs() < 1e-12);
/// # Ok::<(), surprisal::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] for no class, or as many of one as not of the other; [`Error::Value`] for a probability below 0;
/// [`Error::Conflict`] for a sum that is not 1 within 10⁻⁹; [`Error::Option`] for an order that is not above 0 and
/// finite.
pub fn renyi_cross_entropy<'a, 'b>(
    p: impl Into<Vector<'a>>,
    q: impl Into<Vector<'b>>,
    alpha: f64,
) -> Result<f64> {
    renyi_cross_entropy_here(p.into(), q.into(), alpha)
}

fn renyi_cross_entropy_here(p: Vector<'_>, q: Vector<'_>, alpha: f64) -> Result<f64> {
    let (p, q) = (probabilities("p", p)?, probabilities("q", q)?);
    if p.len() != q.len() {
        return Err(Error::Shape {
            argument: "q",
            found: vec![q.len()],
            expected: format!("[{}], one for each class", p.len()),
        });
    }
    if !(alpha.is_finite() && alpha > 0.0) {
        let expected = "a finite number above 0";
        return Err(Error::Option { name: "alpha", value: short(alpha), expected });
    }
    let common: Vec<(f64, f64)> =
        p.iter().copied().zip(q).filter(|&(p, q)| p > 0.0 && q > 0.0).collect();
    let lost: f64 = p.iter().sum::<f64>() - common.iter().map(|(p, _)| p).sum::<f64>();
    let all = p.iter().filter(|p| **p > 0.0).count() == common.len();
    if common.is_empty() || (alpha <= 1.0 && !all) {
        return Ok(f64::INFINITY);
    }
    let logarithms: Vec<f64> = common.iter().map(|(_, q)| q.ln()).collect();
    let step = alpha - 1.0;
    if step == 0.0 {
        let terms = common.iter().zip(&logarithms).map(|((p, _), log)| p * log);
        return Ok(0.0 - terms.sum::<f64>());
    }
    // What q has not is as if it were not there, with less than the sum 1.
    let kept = if all { 1.0 } else { 1.0 - lost };
    let shares: Vec<f64> = common.iter().map(|(p, _)| p / kept).collect();
    let Cumulant { centre, rest, .. } = Cumulant::of(&shares, &logarithms, step);
    Ok(0.0 - centre - (rest + kept.ln()) / step)
}
