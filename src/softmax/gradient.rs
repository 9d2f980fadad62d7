//! From a row's scalars back to the derivative of each of its logits.

use crate::element::Real;
use crate::simd::exp::exp;
use crate::simd::{Isa, Kernel, Simd, Vector, read, splat};

/// The scalars of one row, with u = a − m, p = e^u / (1 + r):
///
/// ```text
/// G = (p (A − h (u − μ) + b (c − c̄)) − k w) da/dz
/// ```
///
/// p is 0 below the least normal number of the type (in f32 1.2·10⁻³⁸), in any order of the classes: the
/// products that G goes into are many times slower with subnormal numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowGradient<R> {
    /// m.
    pub(crate) maximum: R,
    /// 1 / (1 + r).
    pub(crate) inverse: R,
    /// A, the coefficient of p.
    pub(crate) probability: R,
    /// h, the coefficient of the entropy.
    pub(crate) entropy: R,
    /// μ = a / (1 + r).
    pub(crate) mean: R,
    /// k, the coefficient of the weights.
    pub(crate) weights: R,
    /// b, the coefficient of the companion.
    pub(crate) companion: R,
    /// c̄ = Σ p c.
    pub(crate) companion_mean: R,
}

/// `da/dz` of the logits of a row.
#[derive(Clone, Copy)]
pub(crate) enum Slope<'a, R> {
    /// The same for all.
    Constant(R),
    /// One for each.
    Each(&'a [R]),
}

impl<R: Real> Slope<'_, R> {
    /// That of one logit.
    pub(crate) fn at(&self, index: usize) -> R {
        match self {
            Slope::Constant(slope) => *slope,
            Slope::Each(slopes) => slopes[index],
        }
    }
}

impl<R: Real> RowGradient<R> {
    /// Turns logits into G in place; with no `weights` each is 1, with no companions b is 0.
    pub(crate) fn apply(
        &self,
        isa: Isa,
        logits: &mut [R],
        slope: Slope<'_, R>,
        weights: Option<&[R]>,
        companions: Option<&[R]>,
    ) {
        match companions {
            None => isa.dispatch(Gradient::<R, false> {
                row: *self,
                logits,
                slope,
                weights,
                companions: &[],
            }),
            Some(companions) => {
                isa.dispatch(Gradient::<R, true> {
                    row: *self,
                    logits,
                    slope,
                    weights,
                    companions,
                });
            }
        }
    }
}

struct Gradient<'a, R, const COMPANIONS: bool> {
    row: RowGradient<R>,
    logits: &'a mut [R],
    slope: Slope<'a, R>,
    weights: Option<&'a [R]>,
    companions: &'a [R],
}

impl<R: Real, const COMPANIONS: bool> Kernel for Gradient<'_, R, COMPANIONS> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { row, logits, slope, weights, companions } = self;
        let lanes = <R::Vector<S>>::LANES;
        let m = splat::<S, R>(simd, row.maximum);
        let inverse = splat::<S, R>(simd, row.inverse);
        let probability = splat::<S, R>(simd, row.probability);
        let entropy = splat::<S, R>(simd, R::ZERO - row.entropy);
        let mean = splat::<S, R>(simd, row.mean);
        let k = splat::<S, R>(simd, R::ZERO - row.weights);
        let companion = splat::<S, R>(simd, row.companion);
        let companion_mean = splat::<S, R>(simd, row.companion_mean);
        let floor = splat::<S, R>(simd, R::from_f64(-1e4));
        let one = splat::<S, R>(simd, R::ONE);
        let mut offset = 0;
        while offset < logits.len() {
            let whole = offset + lanes <= logits.len();
            let x = read::<S, R>(simd, logits, offset, whole);
            let w = match weights {
                Some(weights) => read::<S, R>(simd, weights, offset, whole),
                None => one,
            };
            let d = match slope {
                Slope::Constant(slope) => splat::<S, R>(simd, slope),
                Slope::Each(slopes) => read::<S, R>(simd, slopes, offset, whole),
            };
            // A NaN row has m = NaN, and max would drop it: it comes back through `inverse`.
            let u = x.sub(m).max(floor);
            let p = exp::<S, R>(simd, u).mul(inverse);
            let mut coefficient = entropy.mul_add(u.sub(mean), probability);
            if COMPANIONS {
                let c = read::<S, R>(simd, companions, offset, whole);
                coefficient = companion.mul_add(c.sub(companion_mean), coefficient);
            }
            let g = p.mul_add(coefficient, k.mul(w)).mul(d);
            if whole {
                g.store(&mut logits[offset..]);
            } else {
                g.store_tail(&mut logits[offset..], R::ZERO);
            }
            offset += lanes;
        }
    }
}
