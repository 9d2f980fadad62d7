//! What a Gaussian gives the unit interval around a number.

use super::normal::{HALF_LOG_TAU, density, log_density, mills_ratio, tail};

/// Gauss and Legendre's 8 points on [−1, 1]: those above 0, with their weights.
const POINTS: [(f64, f64); 4] = [
    (0.183_434_642_495_649_8, 0.362_683_783_378_362),
    (0.525_532_409_916_329, 0.313_706_645_877_887_3),
    (0.796_666_477_413_626_7, 0.222_381_034_453_374_48),
    (0.960_289_856_497_536_3, 0.101_228_536_290_376_26),
];

/// `[ln p, ∂ln p/∂v, ∂ln p/∂σ]` of p = Φ((v + ½)/σ) − Φ((v − ½)/σ) for v ≥ 0 and σ > 0.
///
/// Where the interval is short against σ and against the fall of the density, at σ ≥ 1 and v ≤ σ², both Φ are nearly
/// alike; there p is the density in the middle times the mean of e^(−mt − t²/2) over |t| ≤ 1/2σ, m = v/σ, a sum of
/// eight terms above 0 (the rule of the midpoint with all its corrections), and the slopes are moments under
/// that weight. Elsewhere it is the nearer tail's density times a difference of Mills ratios, or 1 less both tails.
pub(super) fn log_probability(v: f64, sigma: f64) -> [f64; 3] {
    let m = v / sigma;
    if sigma >= 1.0 && m <= sigma {
        return flat(m, sigma);
    }
    // Ends of the interval; e^(−v/σ²) is the quotient of the densities there.
    let (low, high) = ((v - 0.5) / sigma, (v + 0.5) / sigma);
    let exponent = m / sigma;
    if low > 0.0 {
        let fall = (-exponent).exp();
        let beyond = |x: f64| if fall == 0.0 { 0.0 } else { fall * x };
        let inside = mills_ratio(low) - beyond(mills_ratio(high));
        let by_v = (-exponent).exp_m1() / inside / sigma;
        let by_sigma = (low - beyond(high)) / inside / sigma;
        return [log_density(low) + inside.ln(), by_v, by_sigma];
    }
    let outside = tail(-low) + tail(high);
    let p = 1.0 - outside;
    let by_v = product(density(low), (-exponent).exp_m1() / p / sigma);
    let by_sigma = (product(density(low), low) - product(density(high), high)) / p / sigma;
    [(-outside).ln_1p(), by_v, by_sigma]
}

/// A density that is 0 makes all 0.
fn product(density: f64, factor: f64) -> f64 {
    if density == 0.0 { 0.0 } else { density * factor }
}

fn flat(m: f64, sigma: f64) -> [f64; 3] {
    let half = 0.5 / sigma;
    let (mut mass, mut first, mut second) = (0.0, 0.0, 0.0);
    for (point, weight) in POINTS {
        let t = point * half;
        let both = 0.5 * weight * (-0.5 * t * t).exp();
        let (left, right) = (both * (m * t).exp(), both * (-m * t).exp());
        mass += left + right;
        first += t * (right - left);
        second += left * (m - t) * (m - t) + right * (m + t) * (m + t);
    }
    let log_probability = -0.5 * m * m - HALF_LOG_TAU - sigma.ln() + mass.ln();
    let by_v = -(m + first / mass) / sigma;
    [log_probability, by_v, (second / mass - 1.0) / sigma]
}
