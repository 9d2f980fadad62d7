//! From products to logits: `z ← z + b`, `u = s·z`, `a = c·tanh(u/c)`.

use crate::element::Real;
use crate::simd::tanh::tanh_with_derivative;
use crate::simd::{Isa, Kernel, Simd, Vector, read, splat};

/// Bias, scale and softcap, in that order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Transform {
    pub(crate) scale: f64,
    pub(crate) softcap: Option<f64>,
}

impl Transform {
    /// Turns products into logits in place, and writes `da/dz` into `derivative` if it is asked
    /// for; where the derivative is the same everywhere it is [`Self::slope`] and not written.
    pub(crate) fn apply<R: Real>(
        &self,
        isa: Isa,
        bias: Option<&[R]>,
        products: &mut [R],
        derivative: Option<&mut [R]>,
    ) {
        if bias.is_some() || (self.softcap.is_none() && self.scale != 1.0) {
            let scale = if self.softcap.is_none() { R::from_f64(self.scale) } else { R::ONE };
            isa.dispatch(Affine { products: &mut *products, bias, scale });
        }
        match self.softcap {
            None => {}
            Some(softcap) => isa.dispatch(Softcap {
                products,
                derivative,
                scale: R::from_f64(self.scale),
                softcap: R::from_f64(softcap),
            }),
        }
    }

    /// `da/dz` where it does not depend on z.
    pub(crate) fn slope(&self) -> Option<f64> {
        self.softcap.is_none().then_some(self.scale)
    }
}

/// `s·(z + b)`.
struct Affine<'a, R> {
    products: &'a mut [R],
    bias: Option<&'a [R]>,
    scale: R,
}

impl<R: Real> Kernel for Affine<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let lanes = <R::Vector<S>>::LANES;
        let Self { products, bias, scale } = self;
        let scale = splat::<S, R>(simd, scale);
        let mut offset = 0;
        while offset < products.len() {
            let whole = offset + lanes <= products.len();
            let mut z = read::<S, R>(simd, products, offset, whole);
            if let Some(bias) = bias {
                z = z.add(read::<S, R>(simd, bias, offset, whole));
            }
            let u = z.mul(scale);
            if whole {
                u.store(&mut products[offset..]);
            } else {
                u.store_tail(&mut products[offset..], R::ZERO);
            }
            offset += lanes;
        }
    }
}

struct Softcap<'a, R> {
    products: &'a mut [R],
    derivative: Option<&'a mut [R]>,
    scale: R,
    softcap: R,
}

impl<R: Real> Kernel for Softcap<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let lanes = <R::Vector<S>>::LANES;
        let Self { products, mut derivative, scale, softcap } = self;
        let whole = products.len() / lanes * lanes;
        let scale = splat::<S, R>(simd, scale);
        let softcap = splat::<S, R>(simd, softcap);
        let mut offset = 0;
        while offset < whole {
            let z = <R::Vector<S>>::load(simd, &products[offset..]);
            let (t, slope) = tanh_with_derivative::<S, R>(simd, scale.mul(z).div(softcap));
            softcap.mul(t).store(&mut products[offset..]);
            if let Some(derivative) = &mut derivative {
                slope.mul(scale).store(&mut derivative[offset..]);
            }
            offset += lanes;
        }
        if whole < products.len() {
            let z = <R::Vector<S>>::load_tail(simd, &products[whole..], R::ZERO);
            let (t, slope) = tanh_with_derivative::<S, R>(simd, scale.mul(z).div(softcap));
            softcap.mul(t).store_tail(&mut products[whole..], R::ZERO);
            if let Some(derivative) = &mut derivative {
                slope.mul(scale).store_tail(&mut derivative[whole..], R::ZERO);
            }
        }
    }
}
