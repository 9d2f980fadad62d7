//! Convolution along time, each column with weights of its own.

use std::ops::Range;

use crate::autodiff::array;
use crate::autodiff::lanes;
use crate::autodiff::tape::{Variable, shape_error};
use crate::element::{Real, compiled};
use crate::error::Result;
use crate::simd::{Isa, Kernel, Simd, Vector, read, splat};

impl<'t, T: Real> Variable<'t, T> {
    /// The depthwise causal convolution of sequences `self`, `[B, P − 1 + L, D]`, with weights `[P, D]`, to
    /// `[B, L, D]`: position t has the sum over itself and the P − 1 positions before it, column by column,
    ///
    /// ```text
    /// y_t = Σ_p w_p ⊙ x_{t + P − 1 − p}
    /// ```
    ///
    /// The first P − 1 positions are only read: what stands before a sequence, or padding.
    ///
    /// ```
    /// use ndarray::{Array3, arr2, arr3};
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// let x = tape.leaf(arr3(&[[[1.0], [2.0], [3.0]]]));
    /// let weights = tape.leaf(arr2(&[[1.0], [0.5]]));
    /// let y = x.causal_convolution(weights)?;
    /// assert_eq!(y.value(), arr3(&[[[2.5], [4.0]]]).into_dyn());
    /// assert_eq!(y.sum().backward()?.of(weights).unwrap(), arr2(&[[5.0], [3.0]]).into_dyn());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) unless there are three and two axes, with as many columns, at least
    /// one place and at least P − 1 positions; [`Error::Conflict`](crate::Error::Conflict) for a value of another
    /// tape.
    pub fn causal_convolution(self, weights: Self) -> Result<Self> {
        compiled!(
            ['t] T: (Variable<'t, T>, Variable<'t, T>) => Result<Variable<'t, T>>,
            |(x, weights)| x.causal_convolution_here(weights),
            (self, weights)
        )
    }
}

impl<'t, T: Real> Variable<'t, T> {
    fn causal_convolution_here(self, weights: Self) -> Result<Self> {
        self.on_the_same_tape("the weights", weights)?;
        let operands = [self.index, weights.index];
        let (x, w) = (lanes::standard(self.value()), lanes::standard(weights.value()));
        let [batch, from, width] = *x.shape() else {
            return Err(shape_error("the sequences", &x, "three axes"));
        };
        let places = match *w.shape() {
            [places, columns] if columns == width && places > 0 => places,
            _ => return Err(shape_error("the weights", &w, format!("[P, {width}], P above 0"))),
        };
        let Some(length) = (from + 1).checked_sub(places) else {
            let expected = format!("at least {} positions", places - 1);
            return Err(shape_error("the sequences", &x, expected));
        };
        let shape = Shape { batch, places, length, width };
        let value = shape.forward(self.tape.isa(), array::slice(&x), array::slice(&w));
        let value = array::shared(&[batch, length, width], value);
        Ok(self.tape.push(value, &[self, weights], move |gradient, flow| {
            let [sequences, weights] = operands;
            let g = array::slice(&gradient);
            if flow.wants(weights) {
                let sums = shape.weights(flow.isa, array::slice(&x), g);
                flow.add(weights, array::shared(&[places, width], sums));
            }
            if flow.wants(sequences) {
                let numbers = shape.sequences(flow.isa, array::slice(&w), g);
                flow.add(sequences, array::shared(x.shape(), numbers));
            }
            Ok(())
        }))
    }
}

#[derive(Clone, Copy)]
struct Shape {
    batch: usize,
    places: usize,
    length: usize,
    width: usize,
}

/// The rows of one sequence of a batch.
type Rows = (usize, Range<usize>);

impl Shape {
    /// Positions of a sequence that is read.
    fn from(self) -> usize {
        self.length + self.places - 1
    }

    /// Pieces of so many rows at most, of sequences of this length.
    fn pieces(self, length: usize, rows: usize) -> impl Iterator<Item = Rows> {
        let starts = (0..length).step_by(rows);
        let pieces = starts.map(move |start| start..(start + rows).min(length));
        (0..self.batch).flat_map(move |at| pieces.clone().map(move |rows| (at, rows)))
    }

    /// Rows of sequences of this length, made by `work` from the sequence, the row and where it goes.
    fn rows<T: Real>(self, length: usize, work: impl Fn(usize, usize, &mut [T]) + Sync) -> Vec<T> {
        let mut all = vec![T::ZERO; self.batch * length * self.width];
        let numbers = all.len() * self.places;
        if all.is_empty() {
            return all;
        }
        let piece = lanes::rows_of_a_piece(self.width);
        let sequences = all.chunks_mut(length * self.width);
        let pieces = sequences.flat_map(|sequence| sequence.chunks_mut(piece * self.width));
        let tasks = self.pieces(length, piece).zip(pieces);
        lanes::for_each(numbers, tasks, |((at, rows), to)| {
            for (row, to) in rows.zip(to.chunks_exact_mut(self.width)) {
                work(at, row, to);
            }
        });
        all
    }

    fn forward<T: Real>(self, isa: Isa, x: &[T], w: &[T]) -> Vec<T> {
        let width = self.width;
        self.rows(self.length, |at, row, to| {
            let first = (at * self.from() + row) * width;
            let from = &x[first..first + self.places * width];
            isa.dispatch(Sum::<T, true> { to, weights: w, from });
        })
    }

    /// dx_s = Σ_p w_p ⊙ g_{s − P + 1 + p}, over the places whose position is there.
    fn sequences<T: Real>(self, isa: Isa, w: &[T], g: &[T]) -> Vec<T> {
        let (width, before) = (self.width, self.places - 1);
        self.rows(self.from(), |at, row, to| {
            let first = before.saturating_sub(row);
            let end = self.places.min(self.length + before - row);
            if first < end {
                let position = at * self.length + row + first - before;
                let from = &g[position * width..(position + end - first) * width];
                let weights = &w[first * width..end * width];
                isa.dispatch(Sum::<T, false> { to, weights, from });
            }
        })
    }

    /// dw_p = Σ_t g_t ⊙ x_{t + P − 1 − p}.
    fn weights<T: Real>(self, isa: Isa, x: &[T], g: &[T]) -> Vec<T> {
        let width = self.width;
        let blocks = self.pieces(self.length, lanes::rows_of_a_block());
        let numbers = g.len() * self.places;
        lanes::column_sums_with(numbers, blocks, self.places * width, |(at, rows), sums| {
            for row in rows {
                let first = (at * self.from() + row) * width;
                let from = &x[first..first + self.places * width];
                let g = &g[(at * self.length + row) * width..][..width];
                isa.dispatch(Products { g, from, sums });
            }
        })
    }
}

/// `to = Σ_p weights_p ⊙ from_p`, or from the last row of `from` to the first.
struct Sum<'a, T, const DOWN: bool> {
    to: &'a mut [T],
    weights: &'a [T],
    from: &'a [T],
}

impl<T: Real, const DOWN: bool> Kernel for Sum<'_, T, DOWN> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { to, weights, from } = self;
        let (width, lanes) = (to.len(), <T::Vector<S>>::LANES);
        let mut offset = 0;
        while offset < width {
            let whole = offset + lanes <= width;
            let mut sum = splat::<S, T>(simd, T::ZERO);
            let end = |start: usize| start + width;
            let mut start = 0;
            while start < weights.len() {
                let place = if DOWN { weights.len() - end(start) } else { start };
                let w = read::<S, T>(simd, &weights[start..end(start)], offset, whole);
                let x = read::<S, T>(simd, &from[place..end(place)], offset, whole);
                sum = w.mul_add(x, sum);
                start += width;
            }
            match whole {
                true => sum.store(&mut to[offset..]),
                false => sum.store_tail(&mut to[offset..], T::ZERO),
            }
            offset += lanes;
        }
    }
}

/// `sums_p += g ⊙ from_{P − 1 − p}`.
struct Products<'a, T> {
    g: &'a [T],
    from: &'a [T],
    sums: &'a mut [T],
}

impl<T: Real> Kernel for Products<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { g, from, sums } = self;
        let width = g.len();
        for (sums, from) in sums.chunks_exact_mut(width).zip(from.rchunks_exact(width)) {
            for ((sum, &g), &x) in sums.iter_mut().zip(g).zip(from) {
                *sum += g * x;
            }
        }
    }
}
