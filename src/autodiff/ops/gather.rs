//! Rows of a table: an embedding.

use ndarray::{Axis, IxDyn};

use crate::autodiff::array::{self, Shared};
use crate::autodiff::lanes;
use crate::autodiff::tape::Variable;
use crate::element::{Real, compiled};
use crate::error::{Error, Result};

impl<'t, T: Real> Variable<'t, T> {
    /// Rows of a table `[V, ..]` in the order of their indices, `[n, ..]`. A row's derivative is
    /// summed in the order of the indices.
    ///
    /// ```
    /// use ndarray::arr2;
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// let table = tape.leaf(arr2(&[[1.0, 2.0], [3.0, 4.0]]));
    /// let rows = table.gather(&[1, 1, 0])?;
    /// assert_eq!(rows.value(), arr2(&[[3.0, 4.0], [3.0, 4.0], [1.0, 2.0]]).into_dyn());
    /// let gradients = rows.sum().backward()?;
    /// assert_eq!(gradients.of(table).unwrap(), arr2(&[[1.0, 1.0], [2.0, 2.0]]).into_dyn());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] for an index beyond the table; [`Error::Shape`] where it has no axis.
    pub fn gather(self, indices: &[u32]) -> Result<Self> {
        compiled!(
            ['t, 'a] T: (Variable<'t, T>, &'a [u32]) => Result<Variable<'t, T>>,
            |(x, indices)| x.gather_here(indices),
            (self, indices)
        )
    }
}

impl<'t, T: Real> Variable<'t, T> {
    fn gather_here(self, indices: &[u32]) -> Result<Self> {
        let table = lanes::standard(self.value());
        let Some((&rows, rest)) = table.shape().split_first() else {
            return Err(Error::Shape {
                argument: "the table",
                found: Vec::new(),
                expected: "at least one axis".into(),
            });
        };
        if let Some(at) = indices.iter().position(|&index| index as usize >= rows) {
            return Err(Error::Value {
                argument: "indices",
                index: vec![at],
                value: indices[at].to_string(),
                expected: "a row of the table",
            });
        }
        let width: usize = rest.iter().product();
        let shape = [&[indices.len()], rest].concat();
        array::check_size::<T>(&shape)?;
        let mut value = Shared::from_elem(IxDyn(&shape), T::ZERO);
        if width > 0 {
            let from = array::slice(&table);
            let rows = lanes::rows_of_a_piece(width);
            let numbers = indices.len() * width;
            let to = array::slice_mut(&mut value).chunks_mut(rows * width);
            let tasks = to.zip(indices.chunks(rows));
            lanes::for_each(numbers, tasks, |(to, indices)| {
                for (to, &index) in to.chunks_exact_mut(width).zip(indices) {
                    to.copy_from_slice(&from[index as usize * width..][..width]);
                }
            });
        }
        let (operand, indices) = (self.index, indices.to_vec());
        Ok(self.tape.push(value, &[self], move |gradient, flow| {
            let isa = flow.isa;
            flow.add_within(operand, |to| scatter(isa, to, &gradient, &indices));
            Ok(())
        }))
    }
}

/// Adds rows to those of the table, each thread to its own part of the table.
fn scatter<T: Real>(
    isa: crate::simd::Isa,
    table: &mut Shared<T>,
    rows: &Shared<T>,
    indices: &[u32],
) {
    let width: usize = table.shape()[1..].iter().product();
    if width == 0 || indices.is_empty() {
        return;
    }
    // Parts of as many rows as there are indices: going through these costs each part little.
    let part = table.len_of(Axis(0)).div_ceil(16).max(64);
    let from = array::slice(rows);
    let parts = array::slice_mut(table).chunks_mut(part * width).enumerate();
    lanes::for_each(from.len(), parts, |(i, to)| {
        let own = i * part..i * part + to.len() / width;
        for (&index, row) in indices.iter().zip(from.chunks_exact(width)) {
            if own.contains(&(index as usize)) {
                let to = &mut to[(index as usize - own.start) * width..][..width];
                lanes::zip_here(isa, to, row, |a, b| a + b);
            }
        }
    });
}
