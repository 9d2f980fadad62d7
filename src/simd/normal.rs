//! The normal distribution, as gelu needs it.
//!
//! `Φ(−t) = e^(−t²/2)·P(q)/(t + 4)` for `t ≥ 0`, with `q = (t − 4)/(t + 4)`: the quotient of the tail and its
//! exponential is smooth all the way, and `P` is its polynomial in q (interpolated at Chebyshev's points, off by
//! 1.2·10⁻⁸ in f32 and 3.5·10⁻¹⁷ in f64). What the square of t has rounded off comes back as a factor of the
//! exponential: otherwise t²/2 times that rounding would be lost in the tail.
//!
//! Where the exponential would be subnormal, beyond `|x| = 13.2` in f32 and 37.6 in f64, the tail is 0.

use super::exp::exp;
use super::vector::{Simd, SimdReal, Vector, splat};

/// `(Φ(x), φ(x))`, the distribution with the digits of both its tails and its density, lane by lane, within 6
/// units in the last place (tested over a dense sample). At NaN they are (1, 0).
#[inline(always)]
pub(crate) fn normal_distribution<S: Simd, R: SimdReal>(
    simd: S,
    x: R::Vector<S>,
) -> (R::Vector<S>, R::Vector<S>) {
    let constants = R::NORMAL;
    let number = |value: R| splat::<S, R>(simd, value);
    let (most, magnitude) = (number(constants.most), x.abs());
    let t = <R::Vector<S>>::select_less(magnitude, most, magnitude, most);
    // t in two parts, whose products are exact (Dekker 1971).
    let split = t.mul(number(constants.splitter));
    let high = split.sub(split.sub(t));
    let low = t.sub(high);
    let square = t.mul(t);
    let cross = high.mul(low);
    let lost = high.mul(high).sub(square).add(cross.add(cross)).add(low.mul(low));
    let minus_half = number(constants.minus_half);
    let e = exp::<S, R>(simd, square.mul(minus_half));
    let e = e.mul(minus_half).mul_add(lost, e);
    let shift = number(constants.shift);
    let inverse = number(R::EXP.one).div(t.add(shift));
    let q = t.sub(shift).mul(inverse);
    let mut p = number(constants.polynomial[0]);
    for &coefficient in &constants.polynomial[1..] {
        p = p.mul_add(q, number(coefficient));
    }
    let tail = p.mul(inverse).mul(e);
    let zero = number(R::EXP.zero);
    let value = <R::Vector<S>>::select_less(x, zero, tail, number(R::EXP.one).sub(tail));
    (value, e.mul(number(constants.density)))
}
