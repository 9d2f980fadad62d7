//! What a block of logits has in each of its segments of 32 classes, for a filter.

use crate::element::Real;
use crate::gemm::PANEL;
use crate::simd::exp::exp;
use crate::simd::{Isa, Kernel, Simd, Vector, for_each_vector, splat};

/// Of each segment of a block the largest logit, and Σ e^(x − m).
///
/// `maximum` is the block's own. Where it is not finite there is nothing to say of a segment: the
/// largest is the block's, the sum 0.
pub(crate) fn reduce<R: Real>(
    isa: Isa,
    logits: &[R],
    maximum: R,
    largest: &mut [R],
    sums: &mut [R],
) {
    if !maximum.to_f64().is_finite() {
        largest.fill(maximum);
        sums.fill(R::ZERO);
        return;
    }
    isa.dispatch(Segments { logits, maximum, largest, sums });
}

struct Segments<'a, R> {
    logits: &'a [R],
    maximum: R,
    largest: &'a mut [R],
    sums: &'a mut [R],
}

impl<R: Real> Kernel for Segments<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let m = splat::<S, R>(simd, self.maximum);
        let segments = self.logits.chunks(PANEL).zip(self.largest).zip(self.sums);
        for ((segment, largest), total) in segments {
            let mut most = splat::<S, R>(simd, R::NEG_INFINITY);
            let mut sum = splat::<S, R>(simd, R::ZERO);
            for_each_vector!(R::Vector<S>, simd, segment, R::NEG_INFINITY, |x, offset| {
                most = most.max(x);
                sum = sum.add(exp::<S, R>(simd, x.sub(m)));
            });
            *largest = most.maximum();
            *total = sum.sum();
        }
    }
}
