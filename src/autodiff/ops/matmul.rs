//! Products of matrices.

use ndarray::{Array2, Array3, ArrayView2, ArrayView3, Axis, Ix2, Ix3};

use crate::autodiff::array::{self, Shared};
use crate::autodiff::lanes;
use crate::autodiff::tape::Variable;
use crate::element::{Real, compiled};
use crate::error::{Error, Result};
use crate::parallel;
use crate::product::{Scratch, Target, multiply_here, product};
use crate::simd::Isa;

impl<'t, T: Real> Variable<'t, T> {
    /// A·B: `[.., N, K]·[K, M] → [.., N, M]`, or batches of as many matrices,
    /// `[B, N, K]·[B, K, M] → [B, N, M]`.
    ///
    /// ```
    /// use ndarray::arr2;
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// let a = tape.leaf(arr2(&[[1.0, 2.0]]));
    /// let b = tape.leaf(arr2(&[[3.0], [4.0]]));
    /// let y = a.matmul(b)?;
    /// assert_eq!(y.scalar()?, 11.0);
    /// assert_eq!(y.backward()?.of(a).unwrap(), arr2(&[[3.0, 4.0]]).into_dyn());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] where the shapes do not go together; [`Error::Conflict`] for a value of
    /// another tape.
    pub fn matmul(self, other: Self) -> Result<Self> {
        compiled!(
            ['t] T: (Variable<'t, T>, Variable<'t, T>) => Result<Variable<'t, T>>,
            |(x, other)| x.matmul_here(other),
            (self, other)
        )
    }

    fn matmul_flat(self, other: Self, a: Shared<T>, b: Shared<T>, shape: &[usize]) -> Self {
        let depth = b.shape()[0];
        let a = flat(a, depth);
        let value = product(self.tape.isa(), matrix(&a), matrix(&b));
        let value = array::reshaped(value.into_dyn().into_shared(), shape);
        let operands = [self.index, other.index];
        let left_shape = self.shape();
        self.tape.push(value, &[self, other], move |gradient, flow| {
            let gradient = flat(gradient, b.shape()[1]);
            let [left, right] = operands;
            if flow.wants(left) {
                let left_gradient =
                    product(flow.isa, matrix(&gradient), matrix(&b).reversed_axes());
                let left_gradient = left_gradient.into_dyn().into_shared();
                flow.add(left, array::reshaped(left_gradient, &left_shape));
            }
            if flow.wants(right) {
                let right_gradient =
                    product(flow.isa, matrix(&a).reversed_axes(), matrix(&gradient));
                flow.add(right, right_gradient.into_dyn().into_shared());
            }
            Ok(())
        })
    }

    fn matmul_batched(self, other: Self, a: Shared<T>, b: Shared<T>) -> Self {
        let value = batched(self.tape.isa(), matrices(&a), matrices(&b));
        let operands = [self.index, other.index];
        let value = value.into_dyn().into_shared();
        self.tape.push(value, &[self, other], move |gradient, flow| {
            let [left, right] = operands;
            if flow.wants(left) {
                let b = matrices(&b).permuted_axes([0, 2, 1]);
                let gradient = batched(flow.isa, matrices(&gradient), b);
                flow.add(left, gradient.into_dyn().into_shared());
            }
            if flow.wants(right) {
                let a = matrices(&a).permuted_axes([0, 2, 1]);
                let gradient = batched(flow.isa, a, matrices(&gradient));
                flow.add(right, gradient.into_dyn().into_shared());
            }
            Ok(())
        })
    }
}

impl<'t, T: Real> Variable<'t, T> {
    fn matmul_here(self, other: Self) -> Result<Self> {
        self.on_the_same_tape("the right factor", other)?;
        let (a, b) = (self.value(), other.value());
        let wrong = |expected: String| {
            Err(Error::Shape { argument: "the right factor", found: b.shape().to_vec(), expected })
        };
        if a.ndim() < 2 {
            let (argument, found) = ("the left factor", a.shape().to_vec());
            return Err(Error::Shape { argument, found, expected: "at least two axes".into() });
        }
        let depth = a.shape()[a.ndim() - 1];
        match *b.shape() {
            [rows, columns] if rows == depth => {
                let mut shape = a.shape().to_vec();
                *shape.last_mut().expect("two axes") = columns;
                array::check_size::<T>(&shape)?;
                Ok(self.matmul_flat(other, a, b, &shape))
            }
            [batch, rows, columns] if a.ndim() == 3 && batch == a.shape()[0] && rows == depth => {
                array::check_size::<T>(&[batch, a.shape()[1], columns])?;
                Ok(self.matmul_batched(other, a, b))
            }
            _ if a.ndim() == 3 => wrong(format!("[{depth}, _] or [{}, {depth}, _]", a.shape()[0])),
            _ => wrong(format!("[{depth}, _]")),
        }
    }
}

fn matrix<T: Real>(array: &Shared<T>) -> ArrayView2<'_, T> {
    array.view().into_dimensionality::<Ix2>().expect("two axes")
}

fn matrices<T: Real>(array: &Shared<T>) -> ArrayView3<'_, T> {
    array.view().into_dimensionality::<Ix3>().expect("three axes")
}

/// All axes but the last as one.
fn flat<T: Real>(array: Shared<T>, width: usize) -> Shared<T> {
    if array.ndim() == 2 {
        return array;
    }
    let rows = array.shape()[..array.ndim() - 1].iter().product();
    array::reshaped(lanes::standard(array), &[rows, width])
}

fn batched<T: Real>(isa: Isa, a: ArrayView3<'_, T>, b: ArrayView3<'_, T>) -> Array3<T> {
    let ((batch, rows, depth), columns) = (a.dim(), b.dim().2);
    let mut to = Array3::from_elem((batch, rows, columns), T::ZERO);
    // Few large products are shared out tile by tile, many small ones one by one.
    if batch < parallel_batch(rows.saturating_mul(depth).saturating_mul(columns)) {
        for ((mut to, a), b) in to.outer_iter_mut().zip(a.outer_iter()).zip(b.outer_iter()) {
            let result: Array2<T> = product(isa, a, b);
            to.assign(&result);
        }
        return to;
    }
    let mut scratches: Vec<_> = (0..parallel::threads()).map(|_| Scratch::new()).collect();
    let tasks: Vec<_> = to.axis_iter_mut(Axis(0)).enumerate().collect();
    parallel::for_each(&mut scratches, tasks, |scratch, (i, to)| {
        let (a, b) = (a.index_axis(Axis(0), i), b.index_axis(Axis(0), i));
        multiply_here(isa, scratch, a, b, Target::Zeros, to);
    });
    to
}

/// So many products of so many multiply-adds are worth a thread each. The bits of a product are the
/// same either way.
fn parallel_batch(operations: usize) -> usize {
    if operations < 1 << 22 { 1 } else { 16 }
}
