//! One block of a row's logits, reduced while it is in cache.

use crate::element::Real;
use crate::simd::exp::exp;
use crate::simd::{Isa, Kernel, Simd, Vector, for_each_vector, read, splat};

/// Which moments of `ln p` a fold carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Moments {
    /// None: the log-sum-exp alone.
    Zeroth,
    /// The entropy too.
    First,
    /// The varentropy too.
    Second,
}

/// What a block of logits `x` is reduced to, relative to its own maximum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block<R> {
    /// m, the largest logit; NaN where any is NaN.
    pub(crate) maximum: R,
    /// Where the maximum (or the first NaN) stands; the first of equals.
    pub(crate) argmax: usize,
    pub(crate) sums: BlockSums,
}

/// Sums over the logits of a block, u = x − m.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct BlockSums {
    /// Σ e^u over all but the arg-max.
    pub(crate) remainder: f64,
    /// Σ e^u u.
    pub(crate) first: f64,
    /// Σ e^u (u − μ)² with μ = first / (1 + remainder).
    pub(crate) second: f64,
}

/// Σ w (m − x) and Σ w over a block.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Weighed {
    pub(crate) deviation: f64,
    pub(crate) weight: f64,
    /// Σ w over all but the arg-max.
    pub(crate) other_weight: f64,
}

/// Reduces one block. A block must not be empty; it is the same again on return.
pub(crate) fn reduce<R: Real>(isa: Isa, logits: &mut [R], moments: Moments) -> Block<R> {
    let (maximum, argmax) = isa.dispatch(Maximum { logits });
    let nothing = Block { maximum, argmax, sums: BlockSums::default() };
    if maximum == R::NEG_INFINITY {
        return nothing;
    }
    if !maximum.to_f64().is_finite() {
        let nan = f64::NAN;
        let sums = BlockSums { remainder: nan, first: nan, second: nan };
        return Block { sums, ..nothing };
    }
    // The arg-max stays out of every sum: it is the 1 of 1 + r.
    logits[argmax] = R::NEG_INFINITY;
    let (_, sums) = sums(isa, logits, maximum, moments);
    logits[argmax] = maximum;
    Block { sums, ..nothing }
}

/// Σ e^u and Σ e^u u with u = x − m, for a maximum m that is known from elsewhere; `None` where a
/// logit is above it or NaN. The moments go up to the first.
pub(crate) fn reduce_below<R: Real>(
    isa: Isa,
    logits: &[R],
    maximum: R,
    moments: Moments,
) -> Option<(f64, f64)> {
    let (largest, sums) = sums(isa, logits, maximum, moments);
    // A sum with a NaN is NaN.
    let below = largest <= maximum && sums.remainder >= 0.0;
    below.then_some((sums.remainder, sums.first))
}

/// The largest logit and the sums over a block that is below a maximum.
///
/// An exponential below the least normal number of the type is 0: where the sum is so small that
/// this could be seen in it, the block is summed once more, relative to its own largest logit, and
/// put in its place in f64. So no sum depends on which classes stand in a block together.
fn sums<R: Real>(isa: Isa, logits: &[R], maximum: R, moments: Moments) -> (R, BlockSums) {
    let (largest, remainder, first, second) = isa.dispatch(Sums { logits, maximum, moments });
    let plain =
        BlockSums { remainder: remainder.to_f64(), first: first.to_f64(), second: second.to_f64() };
    let finite = largest > R::NEG_INFINITY && largest <= maximum;
    if !(plain.remainder < R::FADED && finite) {
        return (largest, plain);
    }
    let (_, sum, first, second) = isa.dispatch(Sums { logits, maximum: largest, moments });
    let [sum, first, second] = [sum, first, second].map(R::to_f64);
    let gap = maximum.to_f64() - largest.to_f64();
    let remainder = faded(gap, sum);
    let moved = faded(gap, first - gap * sum);
    // The second moment about `mean`, where the arg-max adds its square, moved to that about μ.
    let mean = first / (1.0 + sum);
    let mu = moved / (1.0 + remainder);
    let (about, shift) = (second - mean * mean, mean - gap - mu);
    let second = match moments {
        Moments::Second => {
            faded(gap, about + 2.0 * shift * (first - mean * sum) + shift * shift * sum) + mu * mu
        }
        _ => 0.0,
    };
    let first = if moments == Moments::Zeroth { 0.0 } else { moved };
    (largest, BlockSums { remainder, first, second })
}

/// e^−gap · value, where e^−gap alone may be too small for f64 or for its digits.
pub(super) fn faded(gap: f64, value: f64) -> f64 {
    if gap < 700.0 {
        return (-gap).exp() * value;
    }
    let half = (-0.5 * gap).exp();
    if half == 0.0 { 0.0 } else { half * value * half }
}

/// Σ w (m − x), Σ w and Σ w over all but the arg-max, where that is among these; with no `weights`
/// each is 1. A logit of −∞ counts where its weight is not 0.
pub(crate) fn deviation<R: Real>(
    isa: Isa,
    logits: &[R],
    maximum: R,
    weights: Option<&[R]>,
    argmax: Option<usize>,
) -> Weighed {
    // An arg-max is m − m = 0 from the maximum.
    if let Some(at) = argmax.filter(|_| maximum.to_f64().is_finite()) {
        let part = |range: std::ops::Range<usize>| {
            let weights = weights.map(|weights| &weights[range.clone()]);
            deviation(isa, &logits[range], maximum, weights, None)
        };
        let (before, after) = (part(0..at), part(at + 1..logits.len()));
        let other_weight = before.weight + after.weight;
        let own = weights.map_or(1.0, |weights| weights[at].to_f64());
        return Weighed {
            deviation: before.deviation + after.deviation,
            weight: other_weight + own,
            other_weight,
        };
    }
    let reference = if maximum == R::NEG_INFINITY { R::ZERO } else { maximum };
    let (sum, total) = isa.dispatch(Deviation { logits, maximum: reference, weights });
    let (mut sum, mut total) = (sum.to_f64(), total.to_f64());
    // A sum may be beyond the type where none of its terms is.
    let weight = |v: usize| weights.map_or(1.0, |weights| weights[v].to_f64());
    if !total.is_finite() {
        total = (0..logits.len()).map(weight).sum();
    }
    if !sum.is_finite() {
        let term = |(v, x): (usize, &R)| match weight(v) {
            0.0 => 0.0,
            w => w * (reference.to_f64() - x.to_f64()),
        };
        sum = logits.iter().enumerate().map(term).sum();
    }
    Weighed { deviation: sum, weight: total, other_weight: total }
}

/// Σ e^(x−m) c over all but the arg-max, where that is among these. What a vector would lose of so small a
/// sum is summed in f64.
pub(crate) fn companion<R: Real>(
    isa: Isa,
    logits: &[R],
    maximum: R,
    values: &[R],
    argmax: Option<usize>,
) -> f64 {
    let m = maximum.to_f64();
    if !m.is_finite() {
        return 0.0;
    }
    if let Some(at) = argmax {
        let part = |range: std::ops::Range<usize>| {
            companion(isa, &logits[range.clone()], maximum, &values[range], None)
        };
        return part(0..at) + part(at + 1..logits.len());
    }
    let (sum, size) = isa.dispatch(Companion { logits, maximum, values });
    if size.to_f64() >= R::FADED && sum.to_f64().is_finite() {
        return sum.to_f64();
    }
    let term = |(x, c): (&R, &R)| match c.to_f64() {
        0.0 => 0.0,
        c => faded(m - x.to_f64(), c),
    };
    logits.iter().zip(values).map(term).sum()
}

/// The largest logit and where it stands, the first of equals; the first NaN where there is one.
pub(crate) fn maximum<R: Real>(isa: Isa, logits: &[R]) -> (R, usize) {
    isa.dispatch(Maximum { logits })
}

/// How many logits are above `threshold`.
pub(crate) fn count_above<R: Real>(isa: Isa, logits: &[R], threshold: R) -> usize {
    isa.dispatch(CountAbove { logits, threshold })
}

struct Maximum<'a, R> {
    logits: &'a [R],
}

impl<R: Real> Kernel for Maximum<'_, R> {
    type Output = (R, usize);

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> (R, usize) {
        let mut largest = splat::<S, R>(simd, R::NEG_INFINITY);
        let mut nan = 0;
        for_each_vector!(R::Vector<S>, simd, self.logits, R::NEG_INFINITY, |x, offset| {
            largest = largest.max(x);
            nan |= x.nan_mask();
        });
        if nan != 0 {
            for_each_vector!(R::Vector<S>, simd, self.logits, R::NEG_INFINITY, |x, offset| {
                let mask = x.nan_mask();
                if mask != 0 {
                    return (R::from_f64(f64::NAN), offset + mask.trailing_zeros() as usize);
                }
            });
        }
        let maximum = largest.maximum();
        let target = splat::<S, R>(simd, maximum);
        for_each_vector!(R::Vector<S>, simd, self.logits, R::NEG_INFINITY, |x, offset| {
            let mask = x.equal_mask(target);
            if mask != 0 {
                return (maximum, offset + mask.trailing_zeros() as usize);
            }
        });
        (maximum, 0)
    }
}

struct Sums<'a, R> {
    logits: &'a [R],
    maximum: R,
    moments: Moments,
}

/// u = x − m, held above −10⁴ so that e^u · u is 0 and not NaN where x is −∞.
#[inline(always)]
fn shifted<S: Simd, R: Real>(
    x: R::Vector<S>,
    m: R::Vector<S>,
    floor: R::Vector<S>,
) -> R::Vector<S> {
    x.sub(m).max(floor)
}

impl<R: Real> Kernel for Sums<'_, R> {
    /// The largest logit (unspecified where one is NaN), r, a, M2.
    type Output = (R, R, R, R);

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> (R, R, R, R) {
        let zero = splat::<S, R>(simd, R::ZERO);
        let m = splat::<S, R>(simd, self.maximum);
        let floor = splat::<S, R>(simd, R::from_f64(-1e4));
        let mut largest = splat::<S, R>(simd, R::NEG_INFINITY);
        let (mut remainder, mut first) = (zero, zero);
        if self.moments == Moments::Zeroth {
            for_each_vector!(R::Vector<S>, simd, self.logits, R::NEG_INFINITY, |x, offset| {
                largest = largest.max(x);
                remainder = remainder.add(exp::<S, R>(simd, x.sub(m)));
            });
            return (largest.maximum(), remainder.sum(), R::ZERO, R::ZERO);
        }
        for_each_vector!(R::Vector<S>, simd, self.logits, R::NEG_INFINITY, |x, offset| {
            largest = largest.max(x);
            // Not of the shifted: max may drop a NaN, and the sum must not lose it.
            let e = exp::<S, R>(simd, x.sub(m));
            remainder = remainder.add(e);
            first = e.mul_add(shifted::<S, R>(x, m, floor), first);
        });
        let (largest, remainder, first) = (largest.maximum(), remainder.sum(), first.sum());
        if self.moments == Moments::First {
            return (largest, remainder, first, R::ZERO);
        }
        let mean = first / (R::ONE + remainder);
        let mu = splat::<S, R>(simd, mean);
        let mut second = zero;
        for_each_vector!(R::Vector<S>, simd, self.logits, R::NEG_INFINITY, |x, offset| {
            let u = shifted::<S, R>(x, m, floor);
            let e = exp::<S, R>(simd, u);
            let difference = u.sub(mu);
            second = e.mul(difference).mul_add(difference, second);
        });
        (largest, remainder, first, second.sum() + mean * mean)
    }
}

struct Deviation<'a, R> {
    logits: &'a [R],
    maximum: R,
    weights: Option<&'a [R]>,
}

impl<R: Real> Kernel for Deviation<'_, R> {
    type Output = (R, R);

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> (R, R) {
        let zero = splat::<S, R>(simd, R::ZERO);
        let m = splat::<S, R>(simd, self.maximum);
        let lanes = <R::Vector<S>>::LANES;
        let mut sum = zero;
        let Some(weights) = self.weights else {
            for_each_vector!(R::Vector<S>, simd, self.logits, self.maximum, |x, offset| {
                sum = sum.add(m.sub(x));
            });
            return (sum.sum(), R::from_f64(self.logits.len() as f64));
        };
        let mut total = zero;
        for_each_vector!(R::Vector<S>, simd, self.logits, self.maximum, |x, offset| {
            let w = if offset + lanes <= weights.len() {
                <R::Vector<S>>::load(simd, &weights[offset..])
            } else {
                <R::Vector<S>>::load_tail(simd, &weights[offset..], R::ZERO)
            };
            total = total.add(w);
            let term = w.mul(m.sub(x));
            sum = sum.add(<R::Vector<S>>::select_less(zero, w, term, zero));
        });
        (sum.sum(), total.sum())
    }
}

struct Companion<'a, R> {
    logits: &'a [R],
    maximum: R,
    values: &'a [R],
}

impl<R: Real> Kernel for Companion<'_, R> {
    /// The sum, and that of the magnitudes.
    type Output = (R, R);

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> (R, R) {
        let zero = splat::<S, R>(simd, R::ZERO);
        let m = splat::<S, R>(simd, self.maximum);
        let lanes = <R::Vector<S>>::LANES;
        let (mut sum, mut size) = (zero, zero);
        for_each_vector!(R::Vector<S>, simd, self.logits, R::NEG_INFINITY, |x, offset| {
            let c = read::<S, R>(simd, self.values, offset, offset + lanes <= self.values.len());
            let term = exp::<S, R>(simd, x.sub(m)).mul(c);
            sum = sum.add(term);
            size = size.add(term.max(zero.sub(term)));
        });
        (sum.sum(), size.sum())
    }
}

struct CountAbove<'a, R> {
    logits: &'a [R],
    threshold: R,
}

impl<R: Real> Kernel for CountAbove<'_, R> {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> usize {
        let threshold = splat::<S, R>(simd, self.threshold);
        let mut count = 0;
        for_each_vector!(R::Vector<S>, simd, self.logits, R::NEG_INFINITY, |x, offset| {
            count += x.greater_mask(threshold).count_ones() as usize;
        });
        count
    }
}
