//! Distributions of rows of logits.

use crate::autodiff::array;
use crate::autodiff::lanes::{self, sum_lanes};
use crate::autodiff::tape::{Variable, shape_error};
use crate::element::{Real, compiled};
use crate::error::Result;
use crate::simd::exp::exp;
use crate::simd::{Kernel, Simd, Vector, for_each_vector, read, splat};

impl<'t, T: Real> Variable<'t, T> {
    /// eˣ/Σ eˣ over the last axis. A row of −∞ alone, or with a NaN, is NaN.
    ///
    /// ```
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// let p = tape.leaf(ndarray::arr1(&[1e9, 1e9])).softmax()?;
    /// assert_eq!(p.value(), ndarray::arr1(&[0.5, 0.5]).into_dyn());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) where there is no axis.
    pub fn softmax(self) -> Result<Self> {
        compiled!(['t] T: Variable<'t, T> => Result<Variable<'t, T>>, |x| x.softmax_here(), self)
    }

    /// x − ln Σ eˣ over the last axis. What is left of a probability near 1 keeps its digits.
    ///
    /// ```
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// let y = tape.leaf(ndarray::arr1(&[0.0, -50.0])).log_softmax()?.value();
    /// assert!((y[[0]] / -(-50.0_f64).exp() - 1.0).abs() < 1e-15);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) where there is no axis.
    pub fn log_softmax(self) -> Result<Self> {
        compiled!(
            ['t] T: Variable<'t, T> => Result<Variable<'t, T>>,
            |x| x.log_softmax_here(),
            self
        )
    }

    fn distribution<const LOG: bool>(self) -> Result<Self> {
        let x = lanes::standard(self.value());
        let Some(&width) = x.shape().last() else {
            return Err(shape_error("the logits", &x, "at least one axis"));
        };
        let isa = self.tape.isa();
        let numbers = x.len();
        let mut value = array::slice(&x).to_vec();
        let size = lanes::rows_of_a_piece(width) * width.max(1);
        lanes::for_each(numbers, value.chunks_mut(size), |rows| {
            for row in rows.chunks_exact_mut(width) {
                match LOG {
                    true => isa.dispatch(LogSoftmax { row }),
                    false => {
                        isa.dispatch(Softmax { row });
                    }
                }
            }
        });
        let value = array::shared(x.shape(), value);
        let (operand, y) = (self.index, value.clone());
        Ok(self.tape.push(value, &[self], move |mut gradient, flow| {
            let isa = flow.isa;
            let to = array::slice_mut(&mut gradient).chunks_mut(size);
            let tasks = to.zip(array::slice(&y).chunks(size));
            lanes::for_each(numbers, tasks, |(g, y)| {
                for (g, y) in g.chunks_exact_mut(width).zip(y.chunks_exact(width)) {
                    isa.dispatch(Backward::<T, LOG> { g, y });
                }
            });
            flow.add(operand, gradient);
            Ok(())
        }))
    }
}

impl<'t, T: Real> Variable<'t, T> {
    fn softmax_here(self) -> Result<Self> {
        self.distribution::<false>()
    }

    fn log_softmax_here(self) -> Result<Self> {
        self.distribution::<true>()
    }
}

/// Turns a row of logits into its softmax, and gives its maximum m and one over the sum of e^(x − m).
pub(super) struct Softmax<'a, T> {
    pub(super) row: &'a mut [T],
}

/// The largest number of a row; NaN is passed over.
#[inline(always)]
fn maximum<S: Simd, T: Real>(simd: S, row: &[T]) -> T {
    let mut most = splat::<S, T>(simd, T::NEG_INFINITY);
    for_each_vector!(T::Vector<S>, simd, row, T::NEG_INFINITY, |x, _offset| {
        most = <T::Vector<S>>::select_less(most, x, x, most);
    });
    most.maximum()
}

/// x ← e^(x − m), with the sum.
#[inline(always)]
fn exponentials<S: Simd, T: Real>(simd: S, row: &mut [T], maximum: T) -> T {
    let m = splat::<S, T>(simd, maximum);
    let lanes = <T::Vector<S>>::LANES;
    let whole = row.len() / lanes * lanes;
    let mut sums = splat::<S, T>(simd, T::ZERO);
    for row in row.chunks_exact_mut(lanes) {
        let e = exp::<S, T>(simd, <T::Vector<S>>::load(simd, row).sub(m));
        sums = sums.add(e);
        e.store(row);
    }
    let mut sum = sums.sum();
    if whole < row.len() {
        let x = <T::Vector<S>>::load_tail(simd, &row[whole..], T::NEG_INFINITY);
        exp::<S, T>(simd, x.sub(m)).store_tail(&mut row[whole..], T::ZERO);
        for &x in &row[whole..] {
            sum += x;
        }
    }
    sum
}

impl<T: Real> Kernel for Softmax<'_, T> {
    type Output = (T, T);

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> (T, T) {
        let Self { row } = self;
        let m = maximum::<S, T>(simd, row);
        let inverse = T::ONE / exponentials::<S, T>(simd, row, m);
        for x in row.iter_mut() {
            *x = *x * inverse;
        }
        (m, inverse)
    }
}

struct LogSoftmax<'a, T> {
    row: &'a mut [T],
}

impl<T: Real> Kernel for LogSoftmax<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { row } = self;
        let m = maximum::<S, T>(simd, row);
        // ln S = ln(1 + r), with r the sum of all but one of the largest.
        let at = row.iter().position(|&x| x == m).unwrap_or(row.len());
        let (before, rest) = row.split_at(at);
        let center = splat::<S, T>(simd, m);
        let r = [before, rest.get(1..).unwrap_or_default()]
            .map(|x| sum_lanes::<S, T>(simd, x, |x| exp::<S, T>(simd, x.sub(center))).to_f64());
        let mut r = r[0] + r[1];
        if r < T::FADED {
            // Exponentials below the least normal number are 0 in the lanes.
            let rest = before.iter().chain(rest.get(1..).unwrap_or_default());
            r = rest.map(|x| (x.to_f64() - m.to_f64()).exp()).sum();
        }
        let log = T::from_f64(r.ln_1p());
        for x in row.iter_mut() {
            *x = (*x - m) - log;
        }
    }
}

/// Softmax: g ← p (g − Σ p g). Log-softmax: g ← g − p Σ g.
struct Backward<'a, T, const LOG: bool> {
    g: &'a mut [T],
    y: &'a [T],
}

impl<T: Real, const LOG: bool> Kernel for Backward<'_, T, LOG> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { g, y } = self;
        let lanes = <T::Vector<S>>::LANES;
        let sum = match LOG {
            true => sum_lanes::<S, T>(simd, g, |x| x),
            false => dot::<S, T>(simd, g, y),
        };
        let sum = splat::<S, T>(simd, T::ZERO - sum);
        let mut offset = 0;
        while offset < g.len() {
            let whole = offset + lanes <= g.len();
            let (old, y) =
                (read::<S, T>(simd, g, offset, whole), read::<S, T>(simd, y, offset, whole));
            let new = match LOG {
                true => exp::<S, T>(simd, y).mul_add(sum, old),
                false => y.mul(old.add(sum)),
            };
            match whole {
                true => new.store(&mut g[offset..]),
                false => new.store_tail(&mut g[offset..], T::ZERO),
            }
            offset += lanes;
        }
    }
}

/// Σ a b.
#[inline(always)]
pub(super) fn dot<S: Simd, T: Real>(simd: S, a: &[T], b: &[T]) -> T {
    let lanes = <T::Vector<S>>::LANES;
    let mut sums = splat::<S, T>(simd, T::ZERO);
    let mut offset = 0;
    while offset < a.len() {
        let whole = offset + lanes <= a.len();
        let (a, b) = (read::<S, T>(simd, a, offset, whole), read::<S, T>(simd, b, offset, whole));
        sums = a.mul_add(b, sums);
        offset += lanes;
    }
    sums.sum()
}
