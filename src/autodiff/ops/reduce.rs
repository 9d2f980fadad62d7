//! Sums and means.

use super::broadcast::{expand, sum_over};
use crate::autodiff::array::{self, Shared};
use crate::autodiff::lanes;
use crate::autodiff::tape::Variable;
use crate::element::{Real, compiled};
use crate::error::{Error, Result};

impl<'t, T: Real> Variable<'t, T> {
    /// Σ x over all elements, a value without axes.
    ///
    /// ```
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// let x = tape.leaf(ndarray::arr2(&[[1.0, 2.0], [3.0, 4.0]]));
    /// assert_eq!(x.sum().scalar()?, 10.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn sum(self) -> Self {
        compiled!(['t] T: Variable<'t, T> => Variable<'t, T>, |x| x.sum_here(), self)
    }

    /// The mean of all elements, a value without axes; NaN where there are none.
    ///
    /// ```
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// let x = tape.leaf(ndarray::arr2(&[[1.0, 2.0], [3.0, 4.0]]));
    /// assert_eq!(x.mean().scalar()?, 2.5);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn mean(self) -> Self {
        compiled!(['t] T: Variable<'t, T> => Variable<'t, T>, |x| x.mean_here(), self)
    }

    fn sum_scaled(self, factor: f64) -> Self {
        let x = lanes::standard(self.value());
        let mut sum = lanes::total(self.tape.isa(), array::slice(&x)) * factor;
        if factor.is_finite() && factor != 1.0 && !sum.is_finite() {
            // The sum may be beyond the type where its mean is not.
            sum = x.iter().map(|x| x.to_f64() * factor).sum();
        }
        let sum = T::from_f64(sum);
        let (operand, shape) = (self.index, x.raw_dim());
        self.tape.push(array::shared(&[], vec![sum]), &[self], move |gradient, flow| {
            let g = *gradient.first().expect("one element");
            let g = T::from_f64(g.to_f64() * factor);
            flow.add(operand, Shared::from_elem(shape.clone(), g));
            Ok(())
        })
    }

    /// Σ x over some axes, which are left with length 1 where `keep` is true, else without.
    ///
    /// ```
    /// use ndarray::arr1;
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// let x = tape.leaf(ndarray::arr2(&[[1.0, 2.0], [3.0, 4.0]]));
    /// assert_eq!(x.sum_axes(&[0], false)?.value(), arr1(&[4.0, 6.0]).into_dyn());
    /// assert_eq!(x.sum_axes(&[1], true)?.shape(), [2, 1]);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] for an axis that is not there, or is named twice.
    pub fn sum_axes(self, axes: &[usize], keep: bool) -> Result<Self> {
        compiled!(
            ['t, 'a] T: (Variable<'t, T>, &'a [usize], bool) => Result<Variable<'t, T>>,
            |(x, axes, keep)| x.sum_axes_here(axes, keep),
            (self, axes, keep)
        )
    }

    /// The mean over some axes, as [`sum_axes`](Self::sum_axes); NaN over none.
    ///
    /// ```
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// let x = tape.leaf(ndarray::arr2(&[[1.0, 2.0], [3.0, 4.0]]));
    /// assert_eq!(x.mean_axes(&[1], false)?.value(), ndarray::arr1(&[1.5, 3.5]).into_dyn());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`sum_axes`](Self::sum_axes).
    pub fn mean_axes(self, axes: &[usize], keep: bool) -> Result<Self> {
        compiled!(
            ['t, 'a] T: (Variable<'t, T>, &'a [usize], bool) => Result<Variable<'t, T>>,
            |(x, axes, keep)| x.mean_axes_here(axes, keep),
            (self, axes, keep)
        )
    }

    fn reduce(self, axes: &[usize], keep: bool, factor: impl Fn(usize) -> f64) -> Result<Self> {
        let x = lanes::standard(self.value());
        check_axes(axes, x.ndim())?;
        let isa = self.tape.isa();
        let factor = T::from_f64(factor(axes.iter().map(|&axis| x.shape()[axis]).product()));
        let mut value = sum_over(isa, &x, axes);
        if factor != T::ONE {
            let finite = value.iter().all(|sum| sum.to_f64().is_finite());
            match finite || x.is_empty() {
                true => lanes::for_every(isa, array::slice_mut(&mut value), |x| x * factor),
                // A sum may be beyond the type where its mean is not.
                false => {
                    let mut parts = x.clone();
                    lanes::for_every(isa, array::slice_mut(&mut parts), |x| x * factor);
                    value = sum_over(isa, &parts, axes);
                }
            }
        }
        let kept_shape = value.shape().to_vec();
        if !keep {
            let shape: Vec<usize> = (0..x.ndim())
                .filter(|axis| !axes.contains(axis))
                .map(|axis| x.shape()[axis])
                .collect();
            value = array::reshaped(value, &shape);
        }
        let (operand, shape) = (self.index, x.shape().to_vec());
        Ok(self.tape.push(value, &[self], move |gradient, flow| {
            let mut gradient = expand(&array::reshaped(gradient, &kept_shape), &shape);
            if factor != T::ONE {
                lanes::for_every(flow.isa, array::slice_mut(&mut gradient), |g| g * factor);
            }
            flow.add(operand, gradient);
            Ok(())
        }))
    }
}

impl<'t, T: Real> Variable<'t, T> {
    fn sum_here(self) -> Self {
        self.sum_scaled(1.0)
    }

    fn mean_here(self) -> Self {
        let count = self.value().len();
        self.sum_scaled(1.0 / count as f64)
    }

    fn sum_axes_here(self, axes: &[usize], keep: bool) -> Result<Self> {
        self.reduce(axes, keep, |_| 1.0)
    }

    fn mean_axes_here(self, axes: &[usize], keep: bool) -> Result<Self> {
        self.reduce(axes, keep, |count| 1.0 / count as f64)
    }
}

/// # Errors
/// Where an axis is not there, or is named twice.
pub(super) fn check_axes(axes: &[usize], count: usize) -> Result<()> {
    for (i, &axis) in axes.iter().enumerate() {
        if axis >= count || axes[..i].contains(&axis) {
            return Err(Error::Value {
                argument: "axes",
                index: vec![i],
                value: axis.to_string(),
                expected: "an axis of the value, each at most once",
            });
        }
    }
    Ok(())
}
