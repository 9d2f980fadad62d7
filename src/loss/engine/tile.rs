//! Tiles of logits, wherever they come from, and what their products are packed into.

use ndarray::{ArrayView2, ArrayViewMut2, Axis, ShapeBuilder, s};
use std::ops::Range;

use super::grid::TILE_COLUMNS;
use super::problem::{Problem, Row};
use crate::element::{Operand, Real};
use crate::gemm::{
    Buffer, PANEL, Panels, Prefetch, Rows, dots, pack_pairs, pack_rows, pack_steps, padded_rows,
    panels_length, row_products, steps_length,
};
use crate::loss::companion::Companion;
use crate::loss::inputs::Targets;
use crate::loss::source::Source;
use crate::matrix::Matrix;
use crate::parallel;
use crate::simd::Isa;

/// The scratch of one task at a time.
pub(crate) struct Scratch<F: Operand> {
    /// Some of the classifier, packed in steps or in panels.
    pub(crate) packed: Buffer<F>,
    /// Rows of the classifier in the format of the products.
    pub(crate) lines: Buffer<F>,
    /// Logits, or what becomes of them.
    pub(crate) tile: Vec<F::Sum>,
    /// Some of the classifier of a second head, in steps.
    pub(crate) second_packed: Buffer<F>,
    /// Logits of a second head.
    pub(crate) second_tile: Vec<F::Sum>,
    pub(crate) row: RowScratch<F::Sum>,
}

/// What is computed beside a row of a tile.
pub(crate) struct RowScratch<R> {
    /// `da/dz`.
    pub(crate) slopes: Vec<R>,
    /// What the classes are weighed with.
    pub(crate) weights: Vec<R>,
    /// The numbers beside the logits.
    pub(crate) companions: Vec<R>,
    /// What divergences add to G.
    pub(crate) divergences: Vec<R>,
    /// The entries of G that were computed one by one, with their columns.
    pub(crate) exacts: Vec<(usize, R)>,
}

impl<F: Operand> Scratch<F> {
    pub(crate) fn several(count: usize) -> Vec<Self> {
        let one = || Self {
            packed: Buffer::new(),
            lines: Buffer::new(),
            tile: Vec::new(),
            second_packed: Buffer::new(),
            second_tile: Vec::new(),
            row: RowScratch {
                slopes: vec![F::Sum::ZERO; TILE_COLUMNS],
                weights: vec![F::Sum::ZERO; TILE_COLUMNS],
                companions: Vec::new(),
                divergences: Vec::new(),
                exacts: Vec::new(),
            },
        };
        (0..count).map(|_| one()).collect()
    }
}

/// The first `length` of a buffer that grows to it once.
pub(crate) fn sized<R: Real>(buffer: &mut Vec<R>, length: usize) -> &mut [R] {
    if buffer.len() < length {
        *buffer = Vec::new();
        buffer.reserve_exact(length);
        buffer.resize(length, R::ZERO);
    }
    &mut buffer[..length]
}

/// The rows of a matrix, in place where they are of this format and contiguous.
pub(crate) struct Lines<'a, F> {
    matrix: Matrix<'a>,
    pub(crate) stored: Option<ArrayView2<'a, F>>,
}

impl<'a, F: Operand> Lines<'a, F> {
    pub(crate) fn new(matrix: &Matrix<'a>) -> Self {
        let contiguous = |view: &ArrayView2<'_, F>| view.dim().1 <= 1 || view.strides()[1] == 1;
        Self { matrix: *matrix, stored: F::stored(matrix).filter(contiguous) }
    }

    /// Some columns of a row, in place or copied into `buffer`.
    pub(crate) fn get<'l>(&self, row: usize, columns: Range<usize>, buffer: &'l mut [F]) -> &'l [F]
    where
        'a: 'l,
    {
        if let Some(line) = self.in_place(row) {
            return &line[columns];
        }
        let buffer = &mut buffer[..columns.len()];
        F::read(&self.matrix, row, columns, buffer);
        buffer
    }

    /// Copies a whole row.
    pub(crate) fn copy(&self, row: usize, to: &mut [F]) {
        match self.in_place(row) {
            Some(line) => to.copy_from_slice(line),
            None => F::read(&self.matrix, row, 0..to.len(), to),
        }
    }

    /// A whole row where it stands.
    fn in_place(&self, row: usize) -> Option<&'a [F]> {
        self.stored.and_then(|view| view.index_axis_move(Axis(0), row).to_slice())
    }
}

/// Hidden states in panels, with their height.
pub(crate) struct Hidden<F> {
    panels: Buffer<F>,
    /// The same with the rows in pairs, where that is what a step takes.
    pairs: Buffer<F>,
    length: usize,
    height: usize,
}

impl<F: Operand> Hidden<F> {
    pub(crate) fn new() -> Self {
        Self { panels: Buffer::new(), pairs: Buffer::new(), length: 0, height: 0 }
    }

    /// Packs these rows; given logits have none.
    pub(crate) fn pack(&mut self, problem: &Problem<'_, F::Sum>, rows: &[Row], workers: usize) {
        let Source::Product { hidden, .. } = &problem.source else { return };
        let (width, height) = (problem.width, padded_rows(rows.len()));
        (self.height, self.length) = (height, panels_length(height, width));
        let lines = Lines::<F>::new(hidden);
        let panels = self.panels.sized(self.length);
        let tasks = panels.chunks_mut(height * PANEL).enumerate().collect();
        parallel::for_each(&mut vec![(); workers], tasks, |_, (q, to): (usize, &mut [F])| {
            let columns = q * PANEL..width.min((q + 1) * PANEL);
            let mut buffer = [F::default(); PANEL];
            for (i, row) in rows.iter().enumerate() {
                let part = lines.get(row.hidden, columns.clone(), &mut buffer);
                pack_rows([part].into_iter(), i, height, to);
            }
            to[rows.len() * PANEL..].fill(F::default());
        });
    }

    /// Pairs the rows that were packed last, for [`steps`](Self::steps).
    pub(crate) fn pair(&mut self, isa: Isa, workers: usize) {
        if F::DEPTH > 1 && self.length > 0 {
            let panel = self.height * PANEL;
            let from = self.panels.get()[..self.length].chunks(panel);
            let to = self.pairs.sized(self.length).chunks_mut(panel);
            let tasks = from.zip(to).collect();
            parallel::for_each(&mut vec![(); workers], tasks, |_, (from, to): (&[F], &mut [F])| {
                pack_pairs(isa, from, to);
            });
        }
    }

    /// The panels that were packed last, with the rows in steps.
    pub(crate) fn steps(&self) -> Panels<'_, F> {
        let panels = if F::DEPTH > 1 { &self.pairs } else { &self.panels };
        Panels::new(&panels.get()[..self.length], self.height)
    }

    /// The panels that were packed last.
    pub(crate) fn get(&self) -> Panels<'_, F> {
        Panels::new(&self.panels.get()[..self.length], self.height)
    }
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
    /// Packs classes of the classifier in steps along k, a panel of 32 after the other.
    pub(crate) fn pack_classes<F: Operand<Real = R, Sum = R>>(
        &self,
        classes: Range<usize>,
        buffer: &mut Buffer<F>,
        to: &mut [F],
    ) {
        let Source::Product { classifier, .. } = &self.source else { return };
        let width = self.width;
        let lines = Lines::<F>::new(classifier);
        let length = steps_length::<F>(width).max(1);
        for (first, to) in classes.clone().step_by(PANEL).zip(to.chunks_mut(length)) {
            let count = PANEL.min(classes.end - first);
            let mut rows: [&[F]; PANEL] = [&[]; PANEL];
            let room = if lines.stored.is_some() { 0 } else { count * width };
            let mut rest = buffer.sized(room);
            for (i, row) in rows[..count].iter_mut().enumerate() {
                let (line, tail) = rest.split_at_mut(width.min(rest.len()));
                *row = lines.get(first + i, 0..width, line);
                rest = tail;
            }
            pack_steps(self.loss.isa, &rows[..count], width, to);
        }
    }

    /// Part `part` of so many of the memory that holds these classes, where it is one piece.
    pub(crate) fn piece<F: Operand<Real = R, Sum = R>>(
        &self,
        classes: Range<usize>,
        part: usize,
        parts: usize,
    ) -> Prefetch<'_, F> {
        let Source::Product { classifier, .. } = &self.source else { return Prefetch::nothing() };
        let piece = F::stored(classifier).and_then(|view| {
            let end = classes.end.min(view.dim().0);
            view.slice_move(s![classes.start.min(end)..end, ..]).to_slice()
        });
        let piece = piece.unwrap_or_default();
        let length = piece.len().div_ceil(parts.max(1));
        Prefetch::piece(
            &piece[(part * length).min(piece.len())..((part + 1) * length).min(piece.len())],
        )
    }

    /// Some columns of these classes, where they stand in memory as they are computed with.
    pub(crate) fn columns_of<F: Operand<Real = R, Sum = R>>(
        &self,
        classes: Range<usize>,
        columns: Range<usize>,
    ) -> Prefetch<'_, F> {
        let Source::Product { classifier, .. } = &self.source else { return Prefetch::nothing() };
        let Some(all) = F::stored(classifier).and_then(|view| view.to_slice()) else {
            return Prefetch::nothing();
        };
        let (first, end) = (classes.start.min(self.columns), classes.end.min(self.columns));
        match first < end {
            true => {
                let part =
                    &all[first * self.width + columns.start..(end - 1) * self.width + columns.end];
                Prefetch::rows(part, columns.len(), self.width)
            }
            false => Prefetch::nothing(),
        }
    }

    /// Packs some columns of classes of the classifier into panels of `height` rows, in steps.
    pub(crate) fn pack_class_rows<F: Operand<Real = R, Sum = R>>(
        &self,
        classes: Range<usize>,
        columns: Range<usize>,
        height: usize,
        buffer: &mut Buffer<F>,
        to: &mut [F],
    ) {
        let Source::Product { classifier, .. } = &self.source else { return };
        let lines = Lines::<F>::new(classifier);
        let room = if lines.stored.is_some() { 0 } else { columns.len() };
        let panels = columns.len().div_ceil(PANEL);
        let pair = panels * 2 * PANEL;
        let buffer = buffer.sized(room + if F::DEPTH > 1 { pair } else { 0 });
        let (line, pairs) = buffer.split_at_mut(room);
        if F::DEPTH == 1 {
            for (i, class) in classes.clone().enumerate() {
                let line = lines.get(class, columns.clone(), line);
                pack_rows([line].into_iter(), i, height, to);
            }
            for panel in to.chunks_mut(height * PANEL) {
                panel[classes.len() * PANEL..].fill(F::default());
            }
            return;
        }
        for i in (0..height).step_by(2) {
            let pairs = &mut pairs[..pair];
            for half in 0..2 {
                let class = classes.start + i + half;
                if class < classes.end {
                    let line = lines.get(class, columns.clone(), line);
                    pack_rows([line].into_iter(), half, 2, pairs);
                } else {
                    for panel in pairs.chunks_mut(2 * PANEL) {
                        panel[half * PANEL..(half + 1) * PANEL].fill(F::default());
                    }
                }
            }
            for (q, pair) in pairs.chunks(2 * PANEL).enumerate() {
                let at = (q * height + i) * PANEL;
                pack_pairs(self.loss.isa, pair, &mut to[at..at + 2 * PANEL]);
            }
        }
    }

    /// A tile of products: rows that are packed with columns that are, or given logits.
    pub(crate) fn products<F: Operand<Real = R, Sum = R>>(
        &self,
        hidden: &Hidden<F>,
        rows: &[Row],
        group: Range<usize>,
        columns: Range<usize>,
        packed: (&[F], Prefetch<'_, F>),
        (tile, stride): (&mut [R], usize),
    ) {
        let width = columns.len();
        match &self.source {
            Source::Product { .. } => {
                let shape = (group.len(), width).strides((stride, 1));
                let to = ArrayViewMut2::from_shape(shape, tile);
                let mut to = to.expect("a tile of its rows and columns");
                let from = Rows::From(group.start, group.len());
                row_products(self.loss.isa, hidden.get(), from, self.width, packed, &mut to);
            }
            Source::Given(logits) => {
                for (to, row) in tile.chunks_mut(stride).zip(&rows[group]) {
                    logits.read(row.hidden, columns.clone(), &mut to[..width]);
                }
            }
        }
    }

    /// A tile of logits: products, transformed.
    pub(crate) fn logits<F: Operand<Real = R, Sum = R>>(
        &self,
        hidden: &Hidden<F>,
        rows: &[Row],
        group: Range<usize>,
        columns: Range<usize>,
        packed: &[F],
        (tile, stride): (&mut [R], usize),
    ) {
        let packed = (packed, Prefetch::nothing());
        let to = (&mut *tile, stride);
        self.products(hidden, rows, group.clone(), columns.clone(), packed, to);
        self.transform(&rows[group], columns, tile, stride);
    }

    /// Turns the products of some rows into logits.
    pub(crate) fn transform(
        &self,
        rows: &[Row],
        columns: Range<usize>,
        tile: &mut [R],
        stride: usize,
    ) {
        for (row, products) in rows.iter().zip(tile.chunks_mut(stride)) {
            let bias = self.bias_of(columns.clone());
            let transform = self.transform_of(row);
            let logits = &mut products[..columns.len()];
            transform.apply(self.loss.isa, bias, logits, None);
            row.floor.apply(self.loss.isa, self.first_class + columns.start, logits);
            if self.zero_at_target
                && let Some(own) = logits.get_mut((row.target as usize).wrapping_sub(columns.start))
            {
                *own = R::ZERO;
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
        let smoothing = self.loss.needs.smoothing();
        let classes = columns.start + self.first_class..columns.end + self.first_class;
        let class_weights = self.class_weights.as_ref().map(|weights| &weights[classes]);
        match &self.targets {
            Targets::Soft(targets) => {
                let buffer = &mut buffer[..columns.len()];
                targets.read(row.target_row, columns, buffer);
                if smoothing > 0.0 {
                    let keep = R::from_f64(1.0 - smoothing);
                    let smoothing = R::from_f64(smoothing / self.vocabulary as f64);
                    for weight in &mut *buffer {
                        *weight = *weight * keep + smoothing;
                    }
                }
                if let Some(class_weights) = class_weights {
                    for (weight, &w) in buffer.iter_mut().zip(class_weights) {
                        *weight = *weight * w;
                    }
                }
                Weights::Each(buffer)
            }
            _ if !self.loss.needs.weighs() => Weights::None,
            _ if smoothing == 0.0 => Weights::Uniform,
            _ => class_weights.map_or(Weights::Uniform, Weights::Each),
        }
    }

    /// The numbers beside a row's logits of some of the shard's classes, where `second` are those of a second
    /// head; `None` where the loss needs none.
    pub(crate) fn companions_of<'w>(
        &self,
        row: &Row,
        columns: Range<usize>,
        second: Option<&'w [R]>,
        buffer: &'w mut Vec<R>,
    ) -> Option<&'w [R]> {
        let companion = self.companion.as_ref().filter(|_| self.loss.needs.companion)?;
        if let Companion::Logits(_) = companion {
            return second;
        }
        let buffer = sized(buffer, TILE_COLUMNS);
        let classes = columns.start + self.first_class..columns.end + self.first_class;
        let buffer = &mut buffer[..columns.len()];
        match companion {
            Companion::Classes(values) => {
                for (to, class) in buffer.iter_mut().zip(classes) {
                    *to = R::from_f64(values.at(class));
                }
            }
            Companion::Entries(values) => values.read(row.target_row, columns, buffer),
            Companion::Logits(_) => {}
            Companion::Listed { classes: listed, values } => {
                buffer.fill(R::ZERO);
                for (j, &class) in listed.row(row.target_row).iter().enumerate() {
                    if let Some(to) = buffer.get_mut((class as usize).wrapping_sub(classes.start)) {
                        *to += R::from_f64(values.at(row.target_row, j));
                    }
                }
            }
        }
        Some(buffer)
    }

    /// The logits of one row at some of the shard's classes, with the bits that they have in
    /// every tile.
    pub(crate) fn logits_at<F: Operand<Real = R, Sum = R>>(
        &self,
        row: &Row,
        columns: &[u32],
        scratch: &mut Scratch<F>,
        to: &mut [R],
    ) {
        match &self.source {
            Source::Product { hidden, classifier } => {
                let depth = self.width.next_multiple_of(F::DEPTH);
                let (hidden, classes) = (Lines::<F>::new(hidden), Lines::<F>::new(classifier));
                let [left, right] = [&mut scratch.packed, &mut scratch.lines].map(|buffer| {
                    let line = buffer.sized(depth);
                    line.fill(F::default());
                    line
                });
                let put = |lines: &Lines<'_, F>, row, to: &mut [F]| {
                    lines.copy(row, &mut to[..self.width]);
                };
                put(&hidden, row.hidden, left);
                for (to, &column) in to.iter_mut().zip(columns) {
                    put(&classes, column as usize, right);
                    dots(self.loss.isa, left, right, depth, std::slice::from_mut(to));
                }
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
            self.transform_of(row).apply(self.loss.isa, self.bias_of(at), to, None);
            row.floor.apply(self.loss.isa, self.first_class + column as usize, to);
        }
    }
}
