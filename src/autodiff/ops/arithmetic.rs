//! Sums, differences, products and quotients, with broadcasting.

use super::broadcast::{expand, sum_over};
use crate::autodiff::array::{self, Shared};
use crate::autodiff::lanes;
use crate::autodiff::tape::Variable;
use crate::element::{Real, compiled};
use crate::error::{Error, Result};
use crate::simd::Isa;

// The traits of the operators cannot fail.
#[allow(clippy::should_implement_trait)]
impl<'t, T: Real> Variable<'t, T> {
    /// x + y.
    ///
    /// `add`, `sub`, `mul` and `div` broadcast: shapes are aligned at their last axes, and an axis of
    /// length 1, or one that is missing, is repeated.
    ///
    /// ```
    /// use ndarray::{arr1, arr2};
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// let x = tape.leaf(arr2(&[[1.0, 2.0], [3.0, 4.0]]));
    /// let bias = tape.leaf(arr1(&[10.0, 20.0]));
    /// let y = x.add(bias)?;
    /// assert_eq!(y.value(), arr2(&[[11.0, 22.0], [13.0, 24.0]]).into_dyn());
    /// assert_eq!(y.sum().backward()?.of(bias).unwrap(), arr1(&[2.0, 2.0]).into_dyn());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] where the shapes do not go together; [`Error::Conflict`] for a value of
    /// another tape.
    pub fn add(self, other: Self) -> Result<Self> {
        compiled!(
            ['t] T: (Variable<'t, T>, Variable<'t, T>) => Result<Variable<'t, T>>,
            |(x, other)| x.add_here(other),
            (self, other)
        )
    }

    /// x − y, broadcast as in [`add`](Self::add).
    ///
    /// ```
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// let (x, y) = (tape.leaf(ndarray::arr0(3.0)), tape.leaf(ndarray::arr0(2.0)));
    /// assert_eq!(x.sub(y)?.scalar()?, 1.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn sub(self, other: Self) -> Result<Self> {
        compiled!(
            ['t] T: (Variable<'t, T>, Variable<'t, T>) => Result<Variable<'t, T>>,
            |(x, other)| x.sub_here(other),
            (self, other)
        )
    }

    /// x·y, element by element, broadcast as in [`add`](Self::add).
    ///
    /// ```
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// let (x, y) = (tape.leaf(ndarray::arr0(3.0)), tape.leaf(ndarray::arr0(2.0)));
    /// assert_eq!(x.mul(y)?.scalar()?, 6.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn mul(self, other: Self) -> Result<Self> {
        compiled!(
            ['t] T: (Variable<'t, T>, Variable<'t, T>) => Result<Variable<'t, T>>,
            |(x, other)| x.mul_here(other),
            (self, other)
        )
    }

    /// x/y, element by element, broadcast as in [`add`](Self::add).
    ///
    /// ```
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// let (x, y) = (tape.leaf(ndarray::arr0(3.0)), tape.leaf(ndarray::arr0(2.0)));
    /// assert_eq!(x.div(y)?.scalar()?, 1.5);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn div(self, other: Self) -> Result<Self> {
        compiled!(
            ['t] T: (Variable<'t, T>, Variable<'t, T>) => Result<Variable<'t, T>>,
            |(x, other)| x.div_here(other),
            (self, other)
        )
    }

    /// f(x, y) with both repeated to a common shape.
    fn combine(
        self,
        other: Self,
        function: impl Fn(T, T) -> T + Copy + Send + Sync,
    ) -> Result<(Operand<T>, Operand<T>, Shared<T>)> {
        let isa = self.tape.isa();
        self.combine_by(other, &|to, x, y| lanes::zip_piece(isa, to, x, y, function), &|to, y| {
            lanes::zip_here(isa, to, y, function)
        })
    }

    /// As [`combine`](Self::combine), compiled once for all functions: x and y are joined into a third array, or y
    /// into x.
    fn combine_by(
        self,
        other: Self,
        join: lanes::Join<'_, T>,
        join_into: lanes::JoinInto<'_, T>,
    ) -> Result<(Operand<T>, Operand<T>, Shared<T>)> {
        self.on_the_same_tape("the right operand", other)?;
        let operand = |of: Self| Operand { index: of.index, value: lanes::standard(of.value()) };
        let (left, right) = (operand(self), operand(other));
        let shape = common_shape(&left.value, &right.value)?;
        let whole = left.value.shape() == shape && right.value.len() > 1;
        if whole && is_row(&shape, right.value.shape()) {
            let (x, y) = (array::slice(&left.value), array::slice(&right.value));
            let value = array::shared(&shape, lanes::zip_by(x, y, join));
            return Ok((left, right, value));
        }
        let mut value = expand(&left.value, &shape);
        apply_by(&mut value, &right.value, join_into);
        Ok((left, right, value))
    }
}

impl<'t, T: Real> Variable<'t, T> {
    fn add_here(self, other: Self) -> Result<Self> {
        let (left, right, value) = self.combine(other, |x, y| x + y)?;
        Ok(self.tape.push(value, &[self, other], move |gradient, flow| {
            if flow.wants(right.index) {
                let gradient = gradient.clone();
                flow.add(right.index, reduce_to(flow.isa, gradient, right.value.shape()));
            }
            if flow.wants(left.index) {
                flow.add(left.index, reduce_to(flow.isa, gradient, left.value.shape()));
            }
            Ok(())
        }))
    }

    fn sub_here(self, other: Self) -> Result<Self> {
        let (left, right, value) = self.combine(other, |x, y| x - y)?;
        Ok(self.tape.push(value, &[self, other], move |gradient, flow| {
            if flow.wants(right.index) {
                let mut gradient = reduce_to(flow.isa, gradient.clone(), right.value.shape());
                lanes::for_every(flow.isa, array::slice_mut(&mut gradient), |g| -g);
                flow.add(right.index, gradient);
            }
            if flow.wants(left.index) {
                flow.add(left.index, reduce_to(flow.isa, gradient, left.value.shape()));
            }
            Ok(())
        }))
    }

    fn mul_here(self, other: Self) -> Result<Self> {
        let (left, right, value) = self.combine(other, |x, y| x * y)?;
        Ok(self.tape.push(value, &[self, other], move |gradient, flow| {
            if flow.wants(right.index) {
                let mut gradient = gradient.clone();
                apply(flow.isa, &mut gradient, &left.value, |g, x| g * x);
                flow.add(right.index, reduce_to(flow.isa, gradient, right.value.shape()));
            }
            if flow.wants(left.index) {
                let mut gradient = gradient;
                apply(flow.isa, &mut gradient, &right.value, |g, y| g * y);
                flow.add(left.index, reduce_to(flow.isa, gradient, left.value.shape()));
            }
            Ok(())
        }))
    }

    fn div_here(self, other: Self) -> Result<Self> {
        let (left, right, value) = self.combine(other, |x, y| x / y)?;
        let quotient = value.clone();
        Ok(self.tape.push(value, &[self, other], move |gradient, flow| {
            let mut gradient = gradient;
            apply(flow.isa, &mut gradient, &right.value, |g, y| g / y);
            if flow.wants(right.index) {
                let mut gradient = gradient.clone();
                apply(flow.isa, &mut gradient, &quotient, |g, q| -(g * q));
                flow.add(right.index, reduce_to(flow.isa, gradient, right.value.shape()));
            }
            if flow.wants(left.index) {
                flow.add(left.index, reduce_to(flow.isa, gradient, left.value.shape()));
            }
            Ok(())
        }))
    }
}

struct Operand<T> {
    index: usize,
    value: Shared<T>,
}

/// The shape that both are repeated to.
fn common_shape<T: Real>(left: &Shared<T>, right: &Shared<T>) -> Result<Vec<usize>> {
    let axes = left.ndim().max(right.ndim());
    let length = |of: &Shared<T>, axis: usize| match (axis + of.ndim()).checked_sub(axes) {
        Some(axis) => of.shape()[axis],
        None => 1,
    };
    let mut shape = Vec::with_capacity(axes);
    for axis in 0..axes {
        shape.push(match (length(left, axis), length(right, axis)) {
            (a, b) if a == b => a,
            (1, b) => b,
            (a, 1) => a,
            _ => {
                return Err(Error::Shape {
                    argument: "the right operand",
                    found: right.shape().to_vec(),
                    expected: format!("a shape that goes with {:?}", left.shape()),
                });
            }
        });
    }
    array::check_size::<T>(&shape)?;
    Ok(shape)
}

/// `to = f(to, other)`, where the other is repeated to the shape of `to`.
fn apply<T: Real>(
    isa: Isa,
    to: &mut Shared<T>,
    other: &Shared<T>,
    function: impl Fn(T, T) -> T + Copy + Send + Sync,
) {
    apply_by(to, other, &|to, from| lanes::zip_here(isa, to, from, function));
}

fn apply_by<T: Real>(to: &mut Shared<T>, other: &Shared<T>, join: lanes::JoinInto<'_, T>) {
    let same = to.shape() == other.shape();
    let row = is_row(to.shape(), other.shape());
    match other.first() {
        _ if same => lanes::zip_assign_by(array::slice_mut(to), array::slice(other), join),
        None => {}
        Some(&number) if other.len() == 1 => {
            let to = array::slice_mut(to);
            let numbers = vec![number; lanes::PIECE.min(to.len())];
            lanes::zip_rows_by(to, &numbers, join);
        }
        Some(_) if row => lanes::zip_rows_by(array::slice_mut(to), array::slice(other), join),
        Some(_) => {
            let other = expand(other, to.shape());
            lanes::zip_assign_by(array::slice_mut(to), array::slice(&other), join)
        }
    }
}

/// Whether the smaller array is one row that all rows of the larger are joined with.
fn is_row(large: &[usize], small: &[usize]) -> bool {
    let small = &small[small.iter().take_while(|&&length| length == 1).count()..];
    large.ends_with(small)
}

/// The gradient of what was repeated: summed over the axes along which it was.
fn reduce_to<T: Real>(isa: Isa, gradient: Shared<T>, shape: &[usize]) -> Shared<T> {
    if gradient.shape() == shape {
        return gradient;
    }
    let numbers = array::slice(&gradient);
    let length: usize = shape.iter().product();
    if length == 1 {
        return array::shared(shape, vec![T::from_f64(lanes::total(isa, numbers))]);
    }
    if is_row(gradient.shape(), shape) {
        return array::shared(shape, lanes::column_sums(isa, numbers, length));
    }
    let missing = gradient.ndim() - shape.len();
    let repeated = |axis: &usize| {
        *axis < missing || (shape[axis - missing] == 1 && gradient.shape()[*axis] != 1)
    };
    let axes: Vec<usize> = (0..gradient.ndim()).filter(repeated).collect();
    array::reshaped(sum_over(isa, &gradient, &axes), shape)
}
