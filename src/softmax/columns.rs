//! A tile of logits by its columns: what each is reduced to, and the slopes where rows and columns both have a
//! softmax.

use super::block::Moments;
use crate::element::Real;
use crate::simd::exp::exp;
use crate::simd::{Isa, Kernel, Simd, Vector, read, splat};

/// What the columns of a tile are reduced to.
pub(crate) struct ColumnSums<'s, R> {
    /// The largest logit; unspecified where one is NaN.
    pub(crate) largest: &'s mut [R],
    /// Σ e^u, u = x − m.
    pub(crate) remainders: &'s mut [R],
    /// Σ e^u u.
    pub(crate) firsts: &'s mut [R],
}

/// The sums of each column of a tile relative to a maximum m that is known from elsewhere. They count where nothing
/// is above it and the sum is at least [`Real::FADED`]. Rows are added in their order, whatever the vectors are.
pub(crate) fn reduce_columns<R: Real>(
    isa: Isa,
    tile: &[R],
    maxima: &[R],
    moments: Moments,
    to: ColumnSums<'_, R>,
) {
    isa.dispatch(Columns { tile, maxima, moments, to });
}

struct Columns<'a, 's, R> {
    tile: &'a [R],
    maxima: &'a [R],
    moments: Moments,
    to: ColumnSums<'s, R>,
}

impl<R: Real> Kernel for Columns<'_, '_, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { tile, maxima, moments, to } = self;
        let (width, lanes) = (maxima.len(), <R::Vector<S>>::LANES);
        let zero = splat::<S, R>(simd, R::ZERO);
        let floor = splat::<S, R>(simd, R::from_f64(-1e4));
        let mut offset = 0;
        while offset < width {
            let whole = offset + lanes <= width;
            let m = read::<S, R>(simd, maxima, offset, whole);
            let mut largest = splat::<S, R>(simd, R::NEG_INFINITY);
            let (mut remainder, mut first) = (zero, zero);
            if moments == Moments::Zeroth {
                for row in tile.chunks_exact(width) {
                    let x = read::<S, R>(simd, row, offset, whole);
                    largest = largest.max(x);
                    remainder = remainder.add(exp::<S, R>(simd, x.sub(m)));
                }
            } else {
                for row in tile.chunks_exact(width) {
                    let x = read::<S, R>(simd, row, offset, whole);
                    largest = largest.max(x);
                    let u = x.sub(m);
                    let e = exp::<S, R>(simd, u);
                    remainder = remainder.add(e);
                    first = e.mul_add(u.max(floor), first);
                }
            }
            for (to, value) in [
                (&mut *to.largest, largest),
                (&mut *to.remainders, remainder),
                (&mut *to.firsts, first),
            ] {
                match whole {
                    true => value.store(&mut to[offset..]),
                    false => value.store_tail(&mut to[offset..width], R::ZERO),
                }
            }
            offset += lanes;
        }
    }
}

/// Some softmaxes: p = factor · e^(x − maximum).
#[derive(Clone, Copy)]
pub(crate) struct Softmaxes<'a, R> {
    pub(crate) maxima: &'a [R],
    pub(crate) factors: &'a [R],
}

/// Turns the logits of one row into the sum of its own p and of those of the columns, in place. What is below the
/// least normal number is 0: products with subnormal numbers are many times slower.
pub(crate) fn add_softmaxes<R: Real>(
    isa: Isa,
    logits: &mut [R],
    (maximum, factor): (R, R),
    columns: Softmaxes<'_, R>,
) {
    isa.dispatch(Both { logits, maximum, factor, columns });
}

struct Both<'a, 'c, R> {
    logits: &'a mut [R],
    maximum: R,
    factor: R,
    columns: Softmaxes<'c, R>,
}

impl<R: Real> Kernel for Both<'_, '_, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { logits, maximum, factor, columns } = self;
        let lanes = <R::Vector<S>>::LANES;
        let m = splat::<S, R>(simd, maximum);
        let factor = splat::<S, R>(simd, factor);
        let zero = splat::<S, R>(simd, R::ZERO);
        let least = splat::<S, R>(simd, R::from_f64(R::FADED * R::EPSILON / 1024.0));
        let mut offset = 0;
        while offset < logits.len() {
            let whole = offset + lanes <= logits.len();
            let x = read::<S, R>(simd, logits, offset, whole);
            let other = read::<S, R>(simd, columns.maxima, offset, whole);
            let other_factor = read::<S, R>(simd, columns.factors, offset, whole);
            let own = exp::<S, R>(simd, x.sub(m)).mul(factor);
            let sum = exp::<S, R>(simd, x.sub(other)).mul_add(other_factor, own);
            // Not the other way round: a NaN stays.
            let sum = <R::Vector<S>>::select_less(sum, least, zero, sum);
            if whole {
                sum.store(&mut logits[offset..]);
            } else {
                sum.store_tail(&mut logits[offset..], R::ZERO);
            }
            offset += lanes;
        }
    }
}
