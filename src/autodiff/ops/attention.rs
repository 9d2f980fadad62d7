//! Causal attention, a block of one head's queries at a time.

use ndarray::{Array3, ArrayView2, ArrayView3, ArrayViewMut2, Axis, Ix3, s};
use std::ops::Range;

use super::softmax::{Softmax, dot};
use crate::autodiff::array::Shared;
use crate::autodiff::lanes;
use crate::autodiff::tape::{Variable, shape_error};
use crate::element::{Real, compiled};
use crate::error::{Error, Result};
use crate::parallel;
use crate::pieces::split;
use crate::product::{Scratch, Target, multiply_here};
use crate::simd::exp::exp;
use crate::simd::{Isa, Kernel, Simd, Vector, read, splat};

/// Queries of a block: the scores of a block are these times the keys up to its end. Four tiles of 12 rows;
/// smaller blocks compute fewer scores that the mask drops. Not measured.
const BLOCK: usize = 48;

impl<'t, T: Real> Variable<'t, T> {
    /// Causal scaled dot-product attention (Vaswani et al., 2017) of queries `self`, keys and values,
    /// each `[B, L, D]`, with the D columns divided among the heads:
    ///
    /// ```text
    /// y_i = Σ_{j ≤ i} p_ij v_j      p_i = softmax_{j ≤ i}(q_i·k_j/√(D/heads))
    /// ```
    ///
    /// One node: the scores of 48 queries of one head are all that is held at a time. The backward
    /// computes them again from the log-sum-exp of each.
    ///
    /// ```
    /// use ndarray::Array3;
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// let x = tape.leaf(Array3::from_shape_fn((1, 3, 4), |(_, i, j)| (i + j) as f64));
    /// let y = x.causal_attention(x, x, 2)?;
    /// // The first position sees itself alone.
    /// assert_eq!(y.value()[[0, 0, 3]], 3.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] unless all have the same three axes; [`Error::Option`] where the heads do not
    /// divide the columns; [`Error::Conflict`] for values of several tapes.
    pub fn causal_attention(self, keys: Self, values: Self, heads: usize) -> Result<Self> {
        compiled!(
            ['t] T: (Variable<'t, T>, Variable<'t, T>, Variable<'t, T>, usize) => Result<Variable<'t, T>>,
            |(x, keys, values, heads)| x.causal_attention_here(keys, values, heads),
            (self, keys, values, heads)
        )
    }
}

impl<'t, T: Real> Variable<'t, T> {
    fn causal_attention_here(self, keys: Self, values: Self, heads: usize) -> Result<Self> {
        self.on_the_same_tape("the keys", keys)?;
        self.on_the_same_tape("the values", values)?;
        let inputs = [self.value(), keys.value(), values.value()];
        let [batch, length, width] = *inputs[0].shape() else {
            return Err(shape_error("the queries", &inputs[0], "three axes"));
        };
        for (argument, input) in [("the keys", &inputs[1]), ("the values", &inputs[2])] {
            if input.shape() != inputs[0].shape() {
                let expected = format!("{:?}, as the queries have", inputs[0].shape());
                return Err(shape_error(argument, input, expected));
            }
        }
        if heads == 0 || !width.is_multiple_of(heads) {
            return Err(Error::Option {
                name: "heads",
                value: heads.to_string(),
                expected: "a divisor of the number of columns, above 0",
            });
        }
        let isa = self.tape.isa();
        let attention = Attention { isa, batch, length, width, heads };
        // The log-sum-exp of each query: of heads, then of positions.
        let mut logs = vec![T::ZERO; batch * heads * length];
        let mut value = Array3::from_elem((batch, length, width), T::ZERO);
        let views = inputs.each_ref().map(|input| three(input));
        let tasks = attention.tasks([&mut value], &mut logs);
        let mut scratches = attention.for_threads();
        parallel::for_each(
            &mut scratches,
            tasks,
            |scratch, Task { batch, columns, to: [to], logs }| {
                let [q, k, v] =
                    views.each_ref().map(|view| view.slice(s![batch, .., columns.clone()]));
                attention.forward(scratch, q, k, v, to, logs);
            },
        );
        let value = value.into_dyn().into_shared();
        let operands = [self.index, keys.index, values.index];
        let y = value.clone();
        Ok(self.tape.push(value, &[self, keys, values], move |gradient, flow| {
            let mut gradients =
                [(); 3].map(|()| Array3::from_elem((batch, length, width), T::ZERO));
            let views = inputs.each_ref().map(|input| three(input));
            let (y, g) = (three(&y), three(&gradient));
            let mut logs = logs.clone();
            let tasks = attention.tasks(gradients.each_mut(), &mut logs);
            let mut scratches = attention.for_threads();
            parallel::for_each(
                &mut scratches,
                tasks,
                |scratch, Task { batch, columns, to, logs }| {
                    let of = |view| head(view, batch, columns.clone());
                    let inputs = [of(&views[0]), of(&views[1]), of(&views[2])];
                    attention.backward(scratch, inputs, of(&y), of(&g), to, logs);
                },
            );
            for (operand, gradient) in operands.into_iter().zip(gradients) {
                flow.add(operand, gradient.into_dyn().into_shared());
            }
            Ok(())
        }))
    }
}

/// The columns of one head of one sequence.
fn head<'a, T: Real>(
    view: &ArrayView3<'a, T>,
    batch: usize,
    columns: Range<usize>,
) -> ArrayView2<'a, T> {
    (*view).slice_move(s![batch, .., columns])
}

fn three<T: Real>(array: &Shared<T>) -> ArrayView3<'_, T> {
    array.view().into_dimensionality::<Ix3>().expect("three axes")
}

#[derive(Clone, Copy)]
struct Attention {
    isa: Isa,
    batch: usize,
    length: usize,
    width: usize,
    heads: usize,
}

/// One head of one sequence.
struct Task<'a, T, const N: usize> {
    batch: usize,
    columns: Range<usize>,
    to: [ArrayViewMut2<'a, T>; N],
    logs: &'a mut [T],
}

/// The memory of one thread.
struct ThreadScratch<T> {
    product: Scratch<T>,
    scores: Vec<T>,
    upstream: Vec<T>,
}

impl Attention {
    fn for_threads<T: Real>(&self) -> Vec<ThreadScratch<T>> {
        let work = self.batch * self.length * self.length * self.width;
        let threads = if work < 1 << 17 { 1 } else { parallel::threads() };
        let scratch =
            |_| ThreadScratch { product: Scratch::new(), scores: Vec::new(), upstream: Vec::new() };
        (0..threads).map(scratch).collect()
    }

    fn tasks<'a, T: Real, const N: usize>(
        &self,
        to: [&'a mut Array3<T>; N],
        logs: &'a mut [T],
    ) -> Vec<Task<'a, T, N>> {
        if self.length == 0 || self.width == 0 {
            return Vec::new();
        }
        let columns = self.width / self.heads;
        let mut parts = to.map(|to| {
            let heads = to.outer_iter_mut().flat_map(|to| split(to, Axis(1), columns));
            heads.collect::<Vec<_>>().into_iter()
        });
        let tasks = logs.chunks_exact_mut(self.length).enumerate().map(|(i, logs)| {
            let head = i % self.heads;
            Task {
                batch: i / self.heads,
                columns: head * columns..(head + 1) * columns,
                to: parts.each_mut().map(|parts| parts.next().expect("a part for each head")),
                logs,
            }
        });
        tasks.collect()
    }

    fn scale<T: Real>(&self) -> T {
        T::from_f64(1.0 / ((self.width / self.heads) as f64).sqrt())
    }

    fn forward<T: Real>(
        &self,
        scratch: &mut ThreadScratch<T>,
        q: ArrayView2<'_, T>,
        k: ArrayView2<'_, T>,
        v: ArrayView2<'_, T>,
        mut to: ArrayViewMut2<'_, T>,
        logs: &mut [T],
    ) {
        let (isa, scale) = (self.isa, self.scale::<T>());
        for first in (0..self.length).step_by(BLOCK) {
            let end = (first + BLOCK).min(self.length);
            let mut scores = block(&mut scratch.scores, end - first, end);
            let (keys, values) = (k.slice(s![..end, ..]), v.slice(s![..end, ..]));
            let queries = q.slice(s![first..end, ..]);
            let product = &mut scratch.product;
            multiply_here(isa, product, queries, keys.t(), Target::Old, scores.view_mut());
            for (i, mut row) in (first..end).zip(scores.rows_mut()) {
                let row = row.as_slice_mut().expect("a contiguous row");
                let (seen, hidden) = row.split_at_mut(i + 1);
                lanes::every_here(isa, seen, |x| x * scale);
                let (maximum, inverse) = isa.dispatch(Softmax { row: seen });
                logs[i] = T::from_f64(maximum.to_f64() - inverse.to_f64().ln());
                hidden.fill(T::ZERO);
            }
            let to = to.slice_mut(s![first..end, ..]);
            multiply_here(isa, product, scores.view(), values, Target::Zeros, to);
        }
    }

    /// With P the weights, dP = G·Vᵀ and dS = P∘(dP − (G∘Y)·1): dV = Pᵀ·G, dQ = dS·K/√d and
    /// dK = dSᵀ·Q/√d.
    fn backward<T: Real>(
        &self,
        scratch: &mut ThreadScratch<T>,
        [q, k, v]: [ArrayView2<'_, T>; 3],
        y: ArrayView2<'_, T>,
        g: ArrayView2<'_, T>,
        [mut dq, mut dk, mut dv]: [ArrayViewMut2<'_, T>; 3],
        logs: &[T],
    ) {
        let (isa, scale) = (self.isa, self.scale::<T>());
        let ThreadScratch { product, scores, upstream } = scratch;
        for first in (0..self.length).step_by(BLOCK) {
            let end = (first + BLOCK).min(self.length);
            let mut weights = block(scores, end - first, end);
            let mut upstream = block(upstream, end - first, end);
            let (keys, values) = (k.slice(s![..end, ..]), v.slice(s![..end, ..]));
            let (queries, g) = (q.slice(s![first..end, ..]), g.slice(s![first..end, ..]));
            let y = y.slice(s![first..end, ..]);
            multiply_here(isa, product, queries, keys.t(), Target::Old, weights.view_mut());
            multiply_here(isa, product, g, values.t(), Target::Old, upstream.view_mut());
            let rows = weights.rows_mut().into_iter().zip(upstream.rows_mut());
            for (at, (mut weights, mut upstream)) in rows.enumerate() {
                let seen = first + at + 1;
                let (g, y) = (g.row(at).to_slice(), y.row(at).to_slice());
                let weights = weights.as_slice_mut().expect("a contiguous row");
                let upstream = upstream.as_slice_mut().expect("a contiguous row");
                isa.dispatch(Weights {
                    scores: &mut weights[..seen],
                    upstream: &mut upstream[..seen],
                    g: g.expect("a contiguous row"),
                    y: y.expect("a contiguous row"),
                    scale,
                    log: logs[first + at],
                });
                weights[seen..].fill(T::ZERO);
                upstream[seen..].fill(T::ZERO);
            }
            let (weights, upstream) = (weights.view(), upstream.view());
            let dv = dv.slice_mut(s![..end, ..]);
            multiply_here(isa, product, weights.reversed_axes(), g, Target::Sum, dv);
            let dq = dq.slice_mut(s![first..end, ..]);
            multiply_here(isa, product, upstream, keys, Target::Zeros, dq);
            let dk = dk.slice_mut(s![..end, ..]);
            multiply_here(isa, product, upstream.reversed_axes(), queries, Target::Sum, dk);
        }
    }
}

/// A matrix of this shape in some memory; its numbers are whatever they are.
fn block<T: Real>(memory: &mut Vec<T>, rows: usize, columns: usize) -> ArrayViewMut2<'_, T> {
    if memory.len() < rows * columns {
        memory.resize(rows * columns, T::ZERO);
    }
    ArrayViewMut2::from_shape((rows, columns), &mut memory[..rows * columns]).expect("its size")
}

/// The weights in place of the scores of a query, and dS/√d in place of dP.
struct Weights<'a, T> {
    scores: &'a mut [T],
    upstream: &'a mut [T],
    g: &'a [T],
    y: &'a [T],
    scale: T,
    log: T,
}

impl<T: Real> Kernel for Weights<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { scores, upstream, g, y, scale, log } = self;
        let mean = splat::<S, T>(simd, dot::<S, T>(simd, g, y));
        let (factor, log) = (splat::<S, T>(simd, scale), splat::<S, T>(simd, log));
        let lanes = <T::Vector<S>>::LANES;
        let mut offset = 0;
        while offset < scores.len() {
            let whole = offset + lanes <= scores.len();
            let score = read::<S, T>(simd, scores, offset, whole);
            let p = exp::<S, T>(simd, score.mul(factor).sub(log));
            let d = read::<S, T>(simd, upstream, offset, whole).sub(mean).mul(p).mul(factor);
            if whole {
                p.store(&mut scores[offset..]);
                d.store(&mut upstream[offset..]);
            } else {
                p.store_tail(&mut scores[offset..], T::ZERO);
                d.store_tail(&mut upstream[offset..], T::ZERO);
            }
            offset += lanes;
        }
    }
}
