//! The natural logarithm, and that of `1 + y`.
//!
//! `x = m 2ᵉ` with `m` from √½ to √2, `ln x = e ln 2 + 2 atanh s` with `s = (m − 1)/(m + 1)`, by the series of
//! atanh. `ln(1 + y)` adds what `1 + y` has rounded off, so that it keeps its digits where y is small. Within
//! 4 units in the last place (tested over a dense sample).

use super::vector::{Simd, SimdReal, Vector, splat};

/// `ln x` of positive normal numbers, lane by lane.
#[inline(always)]
pub(crate) fn ln<S: Simd, R: SimdReal>(simd: S, x: R::Vector<S>) -> R::Vector<S> {
    let constants = R::LOG;
    let one = splat::<S, R>(simd, R::EXP.one);
    let half = splat::<S, R>(simd, constants.half);
    let (mantissa, exponent) = x.mantissa_and_exponent();
    let sqrt_2 = splat::<S, R>(simd, constants.sqrt_2);
    let m = <R::Vector<S>>::select_less(mantissa, sqrt_2, mantissa, mantissa.mul(half));
    let e = <R::Vector<S>>::select_less(mantissa, sqrt_2, exponent, exponent.add(one));
    let s = m.sub(one).div(m.add(one));
    let square = s.mul(s);
    let mut sum = splat::<S, R>(simd, constants.series[0]);
    for &coefficient in &constants.series[1..] {
        sum = sum.mul_add(square, splat::<S, R>(simd, coefficient));
    }
    let [high, low] = constants.ln_2.map(|part| splat::<S, R>(simd, part));
    e.mul_add(high, sum.mul_add(s, e.mul(low)))
}

/// `ln(1 + y)` where `1 + y` is a positive normal number, lane by lane.
#[inline(always)]
pub(crate) fn ln_1p<S: Simd, R: SimdReal>(simd: S, y: R::Vector<S>) -> R::Vector<S> {
    let one = splat::<S, R>(simd, R::EXP.one);
    let x = one.add(y);
    let lost = y.sub(x.sub(one));
    ln::<S, R>(simd, x).add(lost.div(x))
}
