//! The same numbers in another order, or some of them.

use ndarray::{Axis, IxDyn, Slice};
use std::ops::Range;

use super::reduce::check_axes;
use crate::autodiff::array::{self, Shared};
use crate::autodiff::lanes;
use crate::autodiff::tape::Variable;
use crate::element::{Real, compiled};
use crate::error::{Error, Result};

impl<'t, T: Real> Variable<'t, T> {
    /// The same numbers in the same order (the last axis runs fastest) with another shape.
    ///
    /// ```
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// let x = tape.leaf(ndarray::arr1(&[1.0, 2.0, 3.0, 4.0]));
    /// assert_eq!(x.reshape(&[2, 2])?.value()[[1, 0]], 3.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of elements.
    pub fn reshape(self, shape: &[usize]) -> Result<Self> {
        compiled!(
            ['t, 'a] T: (Variable<'t, T>, &'a [usize]) => Result<Variable<'t, T>>,
            |(x, shape)| x.reshape_here(shape),
            (self, shape)
        )
    }

    /// The last two axes exchanged. Nothing is copied.
    ///
    /// ```
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// let x = tape.leaf(ndarray::arr2(&[[1.0, 2.0, 3.0]]));
    /// assert_eq!(x.transpose()?.shape(), [3, 1]);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] where there are fewer than two axes.
    pub fn transpose(self) -> Result<Self> {
        compiled!(['t] T: Variable<'t, T> => Result<Variable<'t, T>>, |x| x.transpose_here(), self)
    }

    /// The axes in another order: axis i of the result is axis `axes[i]` of the value. Nothing is copied.
    ///
    /// ```
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// let x = tape.leaf(ndarray::Array3::zeros((2, 3, 4)));
    /// assert_eq!(x.permute(&[2, 0, 1])?.shape(), [4, 2, 3]);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] or [`Error::Shape`] unless every axis is named once.
    pub fn permute(self, axes: &[usize]) -> Result<Self> {
        compiled!(
            ['t, 'a] T: (Variable<'t, T>, &'a [usize]) => Result<Variable<'t, T>>,
            |(x, axes)| x.permute_here(axes),
            (self, axes)
        )
    }

    /// Some of the indices of an axis. Nothing is copied.
    ///
    /// ```
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// let x = tape.leaf(ndarray::arr2(&[[1.0, 2.0, 3.0]]));
    /// assert_eq!(x.slice(1, 1..3)?.value(), ndarray::arr2(&[[2.0, 3.0]]).into_dyn());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] for an axis that is not there; [`Error::Shape`] for a range beyond it.
    pub fn slice(self, axis: usize, range: Range<usize>) -> Result<Self> {
        compiled!(
            ['t] T: (Variable<'t, T>, usize, Range<usize>) => Result<Variable<'t, T>>,
            |(x, axis, range)| x.slice_here(axis, range),
            (self, axis, range)
        )
    }

    /// Values one after the other along an axis; their other axes are the same.
    ///
    /// ```
    /// use surprisal::autodiff::Variable;
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// let (x, y) = (tape.leaf(ndarray::arr1(&[1.0])), tape.leaf(ndarray::arr1(&[2.0, 3.0])));
    /// let z = Variable::concat(&[x, y], 0)?;
    /// assert_eq!(z.value(), ndarray::arr1(&[1.0, 2.0, 3.0]).into_dyn());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] where there is no value or the shapes do not go together; [`Error::Value`] for
    /// an axis that is not there; [`Error::Conflict`] for values of several tapes.
    pub fn concat(values: &[Self], axis: usize) -> Result<Self> {
        compiled!(
            ['t: 'a, 'a] T: (&'a [Variable<'t, T>], usize) => Result<Variable<'t, T>>,
            |(values, axis)| Variable::concat_here(values, axis),
            (values, axis)
        )
    }

    fn concat_here(values: &[Self], axis: usize) -> Result<Self> {
        let Some(first) = values.first() else {
            return Err(Error::Shape {
                argument: "the values to concatenate",
                found: vec![0],
                expected: "at least one".into(),
            });
        };
        let mut shape = first.shape();
        check_axes(&[axis], shape.len())?;
        shape[axis] = 0;
        let mut parts = Vec::with_capacity(values.len());
        for &part in values {
            first.on_the_same_tape("a part", part)?;
            let found = part.shape();
            let mut others = found.clone();
            if others.len() == shape.len() {
                others[axis] = shape[axis];
            }
            if others != shape {
                return Err(Error::Shape {
                    argument: "a part",
                    found,
                    expected: format!("the lengths of {:?} but on axis {axis}", first.shape()),
                });
            }
            let start = shape[axis];
            shape[axis] = start.saturating_add(found[axis]);
            parts.push((part.index, start..shape[axis]));
        }
        array::check_size::<T>(&shape)?;
        let mut value = Shared::from_elem(IxDyn(&shape), T::ZERO);
        let axis = Axis(axis);
        for (part, (_, range)) in values.iter().zip(&parts) {
            let to = value.slice_axis_mut(axis, Slice::from(range.clone()));
            lanes::zip_views(to, part.value().view(), |_, x| x);
        }
        Ok(first.tape.push(value, values, move |gradient, flow| {
            for (operand, range) in &parts {
                if flow.wants(*operand) {
                    let mut part = gradient.clone();
                    part.slice_axis_inplace(axis, Slice::from(range.clone()));
                    flow.add(*operand, part);
                }
            }
            Ok(())
        }))
    }
}

impl<'t, T: Real> Variable<'t, T> {
    fn reshape_here(self, shape: &[usize]) -> Result<Self> {
        let x = self.value();
        let count = shape.iter().try_fold(1_usize, |a, &b| a.checked_mul(b));
        if count != Some(x.len()) || array::check_size::<T>(shape).is_err() {
            return Err(Error::Shape {
                argument: "the value to reshape",
                found: x.shape().to_vec(),
                expected: format!("as many elements as {shape:?} has"),
            });
        }
        let (operand, old) = (self.index, x.shape().to_vec());
        let value = array::reshaped(lanes::standard(x), shape);
        Ok(self.tape.push(value, &[self], move |gradient, flow| {
            flow.add(operand, array::reshaped(gradient, &old));
            Ok(())
        }))
    }

    fn transpose_here(self) -> Result<Self> {
        let shape = self.shape();
        let mut axes: Vec<usize> = (0..shape.len()).collect();
        match *axes {
            [.., ref mut a, ref mut b] => std::mem::swap(a, b),
            _ => {
                let (argument, expected) = ("the value to transpose", "at least two axes".into());
                return Err(Error::Shape { argument, found: shape, expected });
            }
        }
        self.permute(&axes)
    }

    fn permute_here(self, axes: &[usize]) -> Result<Self> {
        let x = self.value();
        check_axes(axes, x.ndim())?;
        if axes.len() != x.ndim() {
            return Err(Error::Shape {
                argument: "the value to permute",
                found: x.shape().to_vec(),
                expected: format!("{} axes, as many as are named", axes.len()),
            });
        }
        let mut inverse = vec![0; axes.len()];
        for (i, &axis) in axes.iter().enumerate() {
            inverse[axis] = i;
        }
        let operand = self.index;
        let value = x.permuted_axes(IxDyn(axes));
        Ok(self.tape.push(value, &[self], move |gradient, flow| {
            flow.add(operand, gradient.permuted_axes(IxDyn(&inverse)));
            Ok(())
        }))
    }

    fn slice_here(self, axis: usize, range: Range<usize>) -> Result<Self> {
        let mut value = self.value();
        check_axes(&[axis], value.ndim())?;
        if range.start > range.end || range.end > value.shape()[axis] {
            return Err(Error::Shape {
                argument: "the value to slice",
                found: value.shape().to_vec(),
                expected: format!("indices {range:?} on axis {axis}"),
            });
        }
        let (operand, axis, range) = (self.index, Axis(axis), Slice::from(range));
        value.slice_axis_inplace(axis, range);
        Ok(self.tape.push(value, &[self], move |gradient, flow| {
            flow.add_within(operand, |to| {
                let to = to.slice_axis_mut(axis, range);
                lanes::zip_views(to, gradient.view(), |a, b| a + b);
            });
            Ok(())
        }))
    }
}
