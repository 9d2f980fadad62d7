//! How far the softmax of a row is from that of a second head, and the derivative by the row's logits.

use crate::element::Real;
use crate::simd::exp::exp;
use crate::simd::remainder::remainder;
use crate::simd::{Isa, Kernel, Simd, Vector, read, splat};
use crate::softmax::gradient::Slope;

/// A divergence of two distributions over the classes: P of a second head (a teacher, a reference policy), Q
/// of the one that is trained. In nats.
///
/// | divergence | value | derivative by a logit of Q |
/// | --- | --- | --- |
/// | forward Kullback–Leibler | KL(P‖Q) = Σ_v P_v Δ_v | Q_v − P_v |
/// | reverse Kullback–Leibler | KL(Q‖P) = −Σ_v Q_v Δ_v | Q_v (−Δ_v − KL(Q‖P)) |
///
/// with Δ = ln P − ln Q. Both are summed as Σ A (e^−d − 1 + d), which is the same because P and Q both sum to
/// 1, and of which no term is negative: nothing cancels where P and Q are nearly equal, and where they are
/// equal the value is 0 and the derivative too.
///
/// A class that A does not have adds nothing; one that A has and B has not makes the divergence +∞, and then
/// the row has no gradient.
///
/// ```
/// use surprisal::loss::Divergence;
/// assert_ne!(Divergence::ForwardKullbackLeibler, Divergence::ReverseKullbackLeibler);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Divergence {
    /// KL(P‖Q): Q must be wherever P is.
    ForwardKullbackLeibler,
    /// KL(Q‖P): Q may be where P is alone.
    ReverseKullbackLeibler,
}

/// What is known of both heads of one row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PairRow<R> {
    /// The largest logits: of the head that is trained, and of the second.
    maxima: [R; 2],
    /// 1 / (1 + r) of each.
    inverses: [R; 2],
    /// ln (1 + r) of the second less that of the first.
    logarithms: R,
}

impl<R: Real> PairRow<R> {
    /// Of the maximum and the remainder r of each head.
    pub(crate) fn new(first: (f64, f64), second: (f64, f64)) -> Self {
        // A row without a finite maximum has no probabilities.
        let inverse = |(maximum, remainder): (f64, f64)| match maximum.is_finite() {
            true => 1.0 / (1.0 + remainder),
            false => f64::NAN,
        };
        Self {
            maxima: [R::from_f64(first.0), R::from_f64(second.0)],
            inverses: [R::from_f64(inverse(first)), R::from_f64(inverse(second))],
            logarithms: R::from_f64(second.1.ln_1p() - first.1.ln_1p()),
        }
    }

    /// The part of a divergence that some classes have; logits of both heads.
    pub(crate) fn sum(&self, isa: Isa, divergence: Divergence, logits: &[R], second: &[R]) -> f64 {
        let row = *self;
        let sum = match divergence {
            Divergence::ForwardKullbackLeibler => {
                isa.dispatch(KullbackLeibler::<R, false> { row, logits, second })
            }
            Divergence::ReverseKullbackLeibler => {
                isa.dispatch(KullbackLeibler::<R, true> { row, logits, second })
            }
        };
        sum.to_f64()
    }

    /// Adds `coefficient` times the derivative of a divergence, whose value for the row is `value`, to `to`.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn add_derivative(
        &self,
        isa: Isa,
        divergence: Divergence,
        (coefficient, value): (f64, f64),
        (logits, second): (&[R], &[R]),
        slope: Slope<'_, R>,
        to: &mut [R],
    ) {
        let (row, coefficient, value) = (*self, R::from_f64(coefficient), R::from_f64(value));
        match divergence {
            Divergence::ForwardKullbackLeibler => isa.dispatch(Derivative::<R, false> {
                row,
                coefficient,
                value,
                logits,
                second,
                slope,
                to,
            }),
            Divergence::ReverseKullbackLeibler => isa.dispatch(Derivative::<R, true> {
                row,
                coefficient,
                value,
                logits,
                second,
                slope,
                to,
            }),
        }
    }

    /// Q, P and Δ of some classes.
    #[inline(always)]
    fn at<S: Simd>(
        &self,
        simd: S,
        z: R::Vector<S>,
        t: R::Vector<S>,
    ) -> (R::Vector<S>, R::Vector<S>, R::Vector<S>) {
        let [first, second] = self.maxima.map(|m| splat::<S, R>(simd, m));
        let [q, p] = self.inverses.map(|inverse| splat::<S, R>(simd, inverse));
        let (u, w) = (z.sub(first), t.sub(second));
        let delta = w.sub(u).sub(splat::<S, R>(simd, self.logarithms));
        (exp::<S, R>(simd, u).mul(q), exp::<S, R>(simd, w).mul(p), delta)
    }
}

struct KullbackLeibler<'a, R, const REVERSE: bool> {
    row: PairRow<R>,
    logits: &'a [R],
    second: &'a [R],
}

impl<R: Real, const REVERSE: bool> Kernel for KullbackLeibler<'_, R, REVERSE> {
    type Output = R;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> R {
        let Self { row, logits, second } = self;
        let lanes = <R::Vector<S>>::LANES;
        let (zero, one) = (splat::<S, R>(simd, R::ZERO), splat::<S, R>(simd, R::ONE));
        let floor = splat::<S, R>(simd, R::from_f64(-1e4));
        let largest = splat::<S, R>(simd, R::from_f64(1e30));
        let mut sum = zero;
        let mut offset = 0;
        while offset < logits.len() {
            let whole = offset + lanes <= logits.len();
            let (z, t) = match whole {
                true => (
                    <R::Vector<S>>::load(simd, &logits[offset..]),
                    <R::Vector<S>>::load(simd, &second[offset..]),
                ),
                false => (
                    <R::Vector<S>>::load_tail(simd, &logits[offset..], R::NEG_INFINITY),
                    <R::Vector<S>>::load_tail(simd, &second[offset..], R::NEG_INFINITY),
                ),
            };
            let (q, p, delta) = row.at(simd, z, t);
            let (a, b, d) = if REVERSE { (q, p, zero.sub(delta)) } else { (p, q, delta) };
            let x = zero.sub(d);
            let near = a.mul(x.mul(x)).mul(remainder::<S, R>(simd, x));
            let far = a.mul_add(<R::Vector<S>>::select_less(d, floor, floor, d), b.sub(a));
            let term = <R::Vector<S>>::select_less(d.abs(), one, near, far);
            // Where both are 0, d may be no number and the term is 0; what is NaN stays.
            let both = a.add(b);
            let term = <R::Vector<S>>::select_less(zero, both, term, both);
            // Not there in b, but in a, however little of it.
            let term = <R::Vector<S>>::select_less(largest, d, d, term);
            sum = sum.add(term);
            offset += lanes;
        }
        sum.sum()
    }
}

struct Derivative<'a, R, const REVERSE: bool> {
    row: PairRow<R>,
    coefficient: R,
    value: R,
    logits: &'a [R],
    second: &'a [R],
    slope: Slope<'a, R>,
    to: &'a mut [R],
}

impl<R: Real, const REVERSE: bool> Kernel for Derivative<'_, R, REVERSE> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { row, coefficient, value, logits, second, slope, to } = self;
        let lanes = <R::Vector<S>>::LANES;
        let (zero, one) = (splat::<S, R>(simd, R::ZERO), splat::<S, R>(simd, R::ONE));
        let coefficient = splat::<S, R>(simd, coefficient);
        let value = splat::<S, R>(simd, value);
        let mut offset = 0;
        while offset < logits.len() {
            let whole = offset + lanes <= logits.len();
            let z = read::<S, R>(simd, logits, offset, whole);
            let t = read::<S, R>(simd, second, offset, whole);
            let d = match slope {
                Slope::Constant(slope) => splat::<S, R>(simd, slope),
                Slope::Each(slopes) => read::<S, R>(simd, slopes, offset, whole),
            };
            let (q, p, delta) = row.at(simd, z, t);
            let x = zero.sub(delta);
            let own = if REVERSE {
                let own = q.mul(x.sub(value));
                <R::Vector<S>>::select_less(zero, q, own, q)
            } else {
                // Q − P = P (e^x − 1).
                let near = p.mul(x.mul(x).mul_add(remainder::<S, R>(simd, x), x));
                <R::Vector<S>>::select_less(x.abs(), one, near, q.sub(p))
            };
            let own = own.mul(coefficient).mul(d);
            let sum = read::<S, R>(simd, to, offset, whole).add(own);
            if whole {
                sum.store(&mut to[offset..]);
            } else {
                sum.store_tail(&mut to[offset..], R::ZERO);
            }
            offset += lanes;
        }
    }
}
