//! What a sum over pairs computes of many numbers at a time.

use crate::simd::exp::exp;
use crate::simd::log::ln_1p;
use crate::simd::{Kernel, Simd, SimdReal, Vector, for_each_vector, read, splat};

/// Nodes of a piece. The nearest poles of the sum stand at a distance of π from the line, so that an interpolation
/// over [−1, 1] is off by about (π + √(π²+1))⁻²² = 2e-18 of its largest value.
pub(super) const NODES: usize = 22;

type Lanes<S> = <f64 as SimdReal>::Vector<S>;

/// e^−|d| and σ(d).
#[inline(always)]
fn sigmoid<S: Simd>(simd: S, d: Lanes<S>) -> (Lanes<S>, Lanes<S>) {
    let (zero, one) = (splat::<S, f64>(simd, 0.0), splat::<S, f64>(simd, 1.0));
    let small = exp::<S, f64>(simd, zero.sub(d.abs()));
    (small, <Lanes<S>>::select_less(d, zero, small, one).div(one.add(small)))
}

/// Σ_i σ(x − p_i).
pub(super) struct SigmoidSum<'a> {
    pub(super) points: &'a [f64],
    pub(super) x: f64,
}

impl Kernel for SigmoidSum<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f64 {
        let x = splat::<S, f64>(simd, self.x);
        let mut sum = splat::<S, f64>(simd, 0.0);
        // σ of a point infinitely far above is 0.
        for_each_vector!(Lanes<S>, simd, self.points, f64::INFINITY, |p, offset| {
            sum = sum.add(sigmoid(simd, x.sub(p)).1);
        });
        sum.sum()
    }
}

/// The polynomial with these Chebyshev coefficients in the place of each x of [−1, 1]; what the T_n are at all of
/// them is added to the moments. Returns Σ P(x) and Σ x P(x).
pub(super) struct Interpolation<'a> {
    pub(super) coefficients: &'a [f64; NODES],
    pub(super) xs: &'a mut [f64],
    pub(super) moments: &'a mut [f64; NODES],
}

/// Vectors whose recurrences go side by side: each step of one waits for that before.
const SIDE: usize = 4;

/// The sum of the vectors.
#[inline(always)]
fn of_all<V: Vector>(of: &[V; SIDE]) -> V {
    of[0].add(of[1]).add(of[2].add(of[3]))
}

impl Kernel for Interpolation<'_> {
    type Output = (f64, f64);

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> (f64, f64) {
        let Self { coefficients, xs, moments } = self;
        let lanes = <Lanes<S>>::LANES;
        let zero = splat::<S, f64>(simd, 0.0);
        let mut sums = [zero; NODES];
        let (mut total, mut along) = (zero, zero);
        let ones = [1.0; 16];
        for first in (0..xs.len()).step_by(SIDE * lanes) {
            let (mut x, mut before) = ([zero; SIDE], [zero; SIDE]);
            for (v, (x, before)) in x.iter_mut().zip(&mut before).enumerate() {
                let at = first + v * lanes;
                // Lanes without an x begin at 0 in place of T_0 = 1, and stay 0.
                let count = xs.len().saturating_sub(at).min(lanes);
                if count > 0 {
                    *x = read::<S, f64>(simd, xs, at, count == lanes);
                    *before = read::<S, f64>(simd, &ones[..count], 0, count == lanes);
                }
            }
            sums[0] = sums[0].add(of_all(&before));
            sums[1] = sums[1].add(of_all(&x));
            let (c0, c1) =
                (splat::<S, f64>(simd, coefficients[0]), splat::<S, f64>(simd, coefficients[1]));
            let (mut now, mut twice, mut value) = (x, x, x);
            let both = twice.iter_mut().zip(&mut value);
            for ((twice, value), before) in both.zip(&before) {
                *twice = twice.add(*twice);
                *value = value.mul_add(c1, before.mul(c0));
            }
            for (&c, sum) in coefficients[2..].iter().zip(&mut sums[2..]) {
                let c = splat::<S, f64>(simd, c);
                let side = twice.iter().zip(&mut before).zip(&mut now).zip(&mut value);
                for (((twice, before), now), value) in side {
                    let next = twice.mul(*now).sub(*before);
                    (*before, *now) = (*now, next);
                    *value = next.mul_add(c, *value);
                }
                *sum = sum.add(of_all(&now));
            }
            for (v, (value, x)) in value.iter().zip(&x).enumerate() {
                let at = first + v * lanes;
                total = total.add(*value);
                along = value.mul_add(*x, along);
                match xs.len().saturating_sub(at) {
                    0 => {}
                    count if count >= lanes => value.store(&mut xs[at..]),
                    _ => value.store_tail(&mut xs[at..], 0.0),
                }
            }
        }
        for (to, sum) in moments.iter_mut().zip(sums) {
            *to += sum.sum();
        }
        (total.sum(), along.sum())
    }
}

/// Adds Σ w σ(x − p) over nodes (x, w) to each point; returns Σ w softplus(x − p) over all.
pub(super) struct PointSums<'a> {
    pub(super) points: &'a [f64],
    pub(super) nodes: &'a [(f64, f64)],
    pub(super) to: &'a mut [f64],
}

impl Kernel for PointSums<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f64 {
        let Self { points, nodes, to } = self;
        let lanes = <Lanes<S>>::LANES;
        let zero = splat::<S, f64>(simd, 0.0);
        let mut total = 0.0;
        for first in (0..points.len()).step_by(lanes) {
            let whole = first + lanes <= points.len();
            let p = read::<S, f64>(simd, points, first, whole);
            let mut of_points = read::<S, f64>(simd, to, first, whole);
            let mut value = zero;
            for &(x, weight) in nodes {
                let d = splat::<S, f64>(simd, x).sub(p);
                let weight = splat::<S, f64>(simd, weight);
                let (small, sigmoid) = sigmoid(simd, d);
                of_points = weight.mul_add(sigmoid, of_points);
                let softplus = d.max(zero).add(ln_1p::<S, f64>(simd, small));
                value = weight.mul_add(softplus, value);
            }
            if whole {
                of_points.store(&mut to[first..]);
                total += value.sum();
            } else {
                of_points.store_tail(&mut to[first..], 0.0);
                let mut values = [0.0; 16];
                value.store(&mut values);
                total += values[..points.len() - first].iter().sum::<f64>();
            }
        }
        total
    }
}
