//! Tiles of logits, wherever they come from.

use ndarray::{ArrayView2, ArrayViewMut2, s};
use std::ops::Range;

use super::inputs::{Source, Targets};
use super::plan::{BLOCK, TILE_COLUMNS};
use super::problem::{Problem, Row};
use crate::element::Real;
use crate::gemm::{Store, product};
use crate::matrix::Matrix;
use crate::parallel;

/// The scratch of one task at a time.
pub(crate) struct Slot<R> {
    /// A tile of logits.
    pub(crate) tile: Vec<R>,
    /// Rows of the classifier, in the type that is computed in.
    pub(crate) widened: Vec<R>,
    /// `da/dz` of a row of a tile.
    pub(crate) slopes: Vec<R>,
    /// The weights of a row of a tile.
    pub(crate) weights: Vec<R>,
    /// A part of a gradient.
    pub(crate) temporary: Vec<R>,
    /// The entries of a row of G that were computed one by one, with their columns.
    pub(crate) exacts: Vec<(usize, R)>,
}

impl<R: Real> Slot<R> {
    pub(crate) fn several(count: usize, columns: usize) -> Vec<Self> {
        let width = columns.min(BLOCK);
        let one = || Self {
            tile: Vec::new(),
            widened: Vec::new(),
            slopes: vec![R::ZERO; width],
            weights: vec![R::ZERO; width],
            temporary: Vec::new(),
            exacts: Vec::new(),
        };
        (0..count).map(|_| one()).collect()
    }
}

/// The first `length` of a buffer that grows to it once.
pub(crate) fn sized<R: Real>(buffer: &mut Vec<R>, length: usize) -> &mut [R] {
    if buffer.len() < length {
        buffer.reserve_exact(length - buffer.len());
        buffer.resize(length, R::ZERO);
    }
    &mut buffer[..length]
}

/// These rows of a matrix, in place or copied into `buffer` (in parallel).
pub(crate) fn rows_of<'b, R: Real>(
    matrix: &'b Matrix<'_>,
    rows: &[Row],
    buffer: &'b mut Vec<R>,
    slots: usize,
) -> ArrayView2<'b, R> {
    let width = matrix.dim().1;
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return ArrayView2::from_shape((0, width), &[]).expect("an empty matrix");
    };
    if let Some(view) = R::view(matrix)
        && last.hidden - first.hidden + 1 == rows.len()
    {
        return view.reborrow().slice_move(s![first.hidden..=last.hidden, ..]);
    }
    let buffer = sized(buffer, rows.len() * width);
    if width > 0 {
        const ROWS: usize = 64;
        let tasks = buffer.chunks_mut(ROWS * width).zip(rows.chunks(ROWS)).collect();
        parallel::for_each(&mut vec![(); slots], tasks, |_, (to, rows): (&mut [R], &[Row])| {
            for (to, row) in to.chunks_exact_mut(width).zip(rows) {
                matrix.read(row.hidden, 0..width, to);
            }
        });
    }
    ArrayView2::from_shape((rows.len(), width), &*buffer).expect("rows of one width")
}

/// A range of rows of a matrix, in place or copied into `buffer`.
pub(crate) fn range_of<'b, R: Real>(
    matrix: &'b Matrix<'_>,
    rows: Range<usize>,
    columns: Range<usize>,
    buffer: &'b mut Vec<R>,
) -> ArrayView2<'b, R> {
    if let Some(view) = R::view(matrix) {
        return view.reborrow().slice_move(s![rows, columns]);
    }
    let (height, width) = (rows.len(), columns.len());
    let buffer = sized(buffer, height * width);
    if width > 0 {
        for (to, row) in buffer.chunks_exact_mut(width).zip(rows) {
            matrix.read(row, columns.clone(), to);
        }
    }
    ArrayView2::from_shape((height, width), &*buffer).expect("rows of one width")
}

/// The classes that a row weighs, for smoothing and soft targets.
#[derive(Clone, Copy)]
pub(crate) enum Weights<'a, R> {
    /// None.
    None,
    /// Each the same.
    Uniform,
    /// Each its own.
    Each(&'a [R]),
}

impl<R: Real> Problem<'_, R> {
    /// The products of some rows with some of the classifier's rows, or the given logits.
    pub(crate) fn products(
        &self,
        hidden: ArrayView2<'_, R>,
        rows: &[Row],
        columns: Range<usize>,
        widened: &mut Vec<R>,
        mut to: ArrayViewMut2<'_, R>,
    ) {
        match &self.source {
            Source::Product { classifier, .. } => {
                let mut start = columns.start;
                while start < columns.end {
                    let end = columns.end.min(start + TILE_COLUMNS);
                    let block = range_of(classifier, start..end, 0..self.width, widened);
                    let at = start - columns.start..end - columns.start;
                    let mut to = to.slice_mut(s![.., at]);
                    product(hidden, block.t(), Store::Assign, &mut to);
                    start = end;
                }
            }
            Source::Given(logits) => {
                for (mut to, row) in to.outer_iter_mut().zip(rows) {
                    let to = to.as_slice_mut().expect("rows of a tile are contiguous");
                    logits.read(row.hidden, columns.clone(), to);
                }
            }
        }
    }

    /// The biases of some of the shard's classes.
    pub(crate) fn bias_of(&self, columns: Range<usize>) -> Option<&[R]> {
        self.bias.as_ref().map(|bias| &bias[columns])
    }

    /// What the row weighs these classes of the shard with: w_v for smoothing, and for dense soft
    /// targets w_v ((1−ε) t_v + ε/V).
    pub(crate) fn weights_of<'w>(
        &'w self,
        row: &Row,
        columns: Range<usize>,
        buffer: &'w mut [R],
    ) -> Weights<'w, R> {
        let smoothing = self.loss.label_smoothing;
        let classes = columns.start + self.first_class..columns.end + self.first_class;
        let class_weights = self.class_weights.as_ref().map(|weights| &weights[classes]);
        match &self.targets {
            Targets::Soft(targets) => {
                let buffer = &mut buffer[..columns.len()];
                targets.read(row.target_row, columns, buffer);
                if smoothing > 0.0 {
                    let keep = R::from_f64(1.0 - smoothing);
                    let spread = R::from_f64(smoothing / self.vocabulary as f64);
                    for weight in &mut *buffer {
                        *weight = *weight * keep + spread;
                    }
                }
                if let Some(class_weights) = class_weights {
                    for (weight, &w) in buffer.iter_mut().zip(class_weights) {
                        *weight = *weight * w;
                    }
                }
                Weights::Each(buffer)
            }
            _ if smoothing == 0.0 => Weights::None,
            _ => class_weights.map_or(Weights::Uniform, Weights::Each),
        }
    }

    /// The logits of one row at some of the shard's classes, with the bits that they have in
    /// every tile.
    pub(crate) fn logits_at(&self, row: &Row, columns: &[u32], slot: &mut Slot<R>, to: &mut [R]) {
        match &self.source {
            Source::Product { hidden, classifier } => {
                let width = self.width;
                let from = std::slice::from_ref(row);
                let hidden = rows_of(hidden, from, &mut slot.temporary, 1);
                let block = sized(&mut slot.widened, columns.len() * width);
                for (i, &column) in columns.iter().enumerate() {
                    let to = &mut block[i * width..(i + 1) * width];
                    classifier.read(column as usize, 0..width, to);
                }
                let block = ArrayView2::from_shape((columns.len(), width), &*block)
                    .expect("rows of one width");
                let mut to = ArrayViewMut2::from_shape((1, columns.len()), &mut *to)
                    .expect("as many logits as columns");
                product(hidden, block.t(), Store::Assign, &mut to);
            }
            Source::Given(logits) => {
                for (to, &column) in to.iter_mut().zip(columns) {
                    *to = R::from_f64(logits.at(row.hidden, column as usize));
                }
            }
        }
        for (to, &column) in to.iter_mut().zip(columns) {
            let to = std::slice::from_mut(to);
            let at = column as usize..column as usize + 1;
            self.loss.transform.apply(self.loss.isa, self.bias_of(at), to, None);
        }
    }
}
