//! What a logistic distribution gives the unit interval around a number.

/// `[ln p, ∂ln p/∂v, ∂ln p/∂s]` of p = F((v + ½)/s) − F((v − ½)/s), F(x) = 1/(1 + e^−x), for v ≥ 0 and s > 0:
///
/// ```text
/// ln p = ln(1 − e^(−1/s)) + ln F(−l) + ln F(u)      l, u = (v ∓ ½)/s
/// ```
///
/// whose three terms are of one sign.
pub(super) fn log_probability(v: f64, scale: f64) -> [f64; 3] {
    let width = 1.0 / scale;
    let (low, high) = ((v - 0.5) / scale, (v + 0.5) / scale);
    // ln(1 − e^−x), from the side that has the digits.
    let mass = match width < std::f64::consts::LN_2 {
        true => (-(-width).exp_m1()).ln(),
        false => (-(-width).exp()).ln_1p(),
    };
    let log_probability = mass + log_sigmoid(-low) + log_sigmoid(high);
    // F(l) − F(−u) = F(l) F(u) (1 − e^−(l + u)).
    let by_v = sigmoid(low) * sigmoid(high) * (-2.0 * (v / scale)).exp_m1() / scale;
    let narrowing = if width == f64::INFINITY { 0.0 } else { width / width.exp_m1() };
    let moved = times(sigmoid(low), low) - times(sigmoid(-high), high);
    [log_probability, by_v, (moved - narrowing) / scale]
}

fn times(factor: f64, x: f64) -> f64 {
    if factor == 0.0 { 0.0 } else { factor * x }
}

/// 1/(1 + e^−x).
fn sigmoid(x: f64) -> f64 {
    let small = (-x.abs()).exp();
    if x >= 0.0 { 1.0 / (1.0 + small) } else { small / (1.0 + small) }
}

/// ln 1/(1 + e^−x).
fn log_sigmoid(x: f64) -> f64 {
    x.min(0.0) - (-x.abs()).exp().ln_1p()
}
