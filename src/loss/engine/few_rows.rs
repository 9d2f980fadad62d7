//! Logits of few rows: the classifier is read as it stands.
//!
//! Packing a classifier takes as long as multiplying it with some tens of rows. So the rows are packed
//! in its place, the products come out a class at a time, and the tile is transposed; of a few rows the classes
//! are transposed, while they are read. Each logit has
//! the bits that it has with a classifier that is packed.

use ndarray::{ArrayViewMut2, Axis};
use std::ops::Range;

use super::grid::TILE_GROUPS;
use super::problem::{Problem, Row};
use super::tile::Lines;
use crate::element::Operand;
use crate::gemm::{
    Buffer, GROUP, PANEL, line_products, pack_steps, steps_length, thin_products, thin_rows,
};
use crate::loss::source::Source;
use crate::pieces::split;

/// Rows of hidden states that are few: reading the classifier as it stands is faster than packing it. Three
/// tiles of rows. The forward of 64 × 256 × 4096 came from 38 to 60 % of the peak on Zen 5 with this and huge
/// pages, that of 48 × 2304 × 32768 from 61 to 67 (77 in another sitting); where
/// the ways cross is not recorded.
pub(crate) const FEW: usize = 3 * TILE_GROUPS * GROUP;

/// Few rows, packed in steps, and the classifier that they are multiplied with.
pub(crate) struct FewRows<'a, F> {
    classifier: Classes<'a, F>,
    steps: Buffer<F>,
}

/// The classifier that few rows are multiplied with.
enum Classes<'a, F> {
    /// As it stands.
    InPlace(&'a [F]),
    /// Of another type or layout: some classes are copied before they are multiplied.
    Copied(Lines<'a, F>),
}

impl<'a, F: Operand> FewRows<'a, F> {
    /// Packs the rows, if they are few and the classifier can be read as it stands, or very few.
    pub(crate) fn new(problem: &Problem<'a, F::Sum>, rows: &[Row]) -> Option<Self> {
        let Source::Product { hidden, classifier } = &problem.source else { return None };
        let width = problem.width;
        if rows.len() > FEW || width == 0 || !width.is_multiple_of(F::DEPTH) {
            return None;
        }
        let in_place = F::stored(classifier).and_then(|classifier| classifier.to_slice());
        let classifier = match in_place {
            Some(classifier) => Classes::InPlace(classifier),
            // Each class is read once: copying it on the way costs less than packing.
            None if rows.len() <= thin_rows::<F>(problem.loss.isa) => {
                Classes::Copied(Lines::new(classifier))
            }
            None => return None,
        };
        let length = steps_length::<F>(width);
        let mut steps = Buffer::zeros(rows.len().div_ceil(PANEL) * length);
        let lines = Lines::<F>::new(hidden);
        let mut line = vec![F::default(); if lines.stored.is_some() { 0 } else { PANEL * width }];
        let panels = steps.sized(rows.len().div_ceil(PANEL) * length).chunks_mut(length);
        for (rows, to) in rows.chunks(PANEL).zip(panels) {
            let mut from: [&[F]; PANEL] = [&[]; PANEL];
            let mut rest = &mut line[..];
            for (from, row) in from.iter_mut().zip(rows) {
                let (own, tail) = rest.split_at_mut(width.min(rest.len()));
                *from = lines.get(row.hidden, 0..width, own);
                rest = tail;
            }
            pack_steps(problem.loss.isa, &from[..rows.len()], width, to);
        }
        Some(Self { classifier, steps })
    }

    /// The products of some rows, whole panels or the last, with some classes, a row after the other;
    /// `scratch` has [`few_scratch`] numbers.
    pub(crate) fn products(
        &self,
        problem: &Problem<'_, F::Sum>,
        rows: Range<usize>,
        columns: Range<usize>,
        lines: &mut Buffer<F>,
        scratch: &mut [F::Sum],
        tile: &mut [F::Sum],
    ) {
        let (isa, width, count) = (problem.loss.isa, problem.width, columns.len());
        let steps = &self.steps.get()[rows.start / PANEL * steps_length::<F>(width)..];
        let rows = rows.len();
        if rows <= thin_rows::<F>(isa) {
            let to = ArrayViewMut2::from_shape((rows, count), tile);
            let mut to = to.expect("a row of the classes for each");
            match &self.classifier {
                Classes::InPlace(classifier) => {
                    thin_products(isa, steps, &classifier[columns.start * width..], width, &mut to);
                }
                Classes::Copied(classes) => {
                    let parts = split(to, Axis(1), PANEL).into_iter();
                    for (first, mut to) in columns.step_by(PANEL).zip(parts) {
                        let lines = lines.sized(to.dim().1 * width);
                        for (class, line) in (first..).zip(lines.chunks_mut(width)) {
                            classes.copy(class, line);
                        }
                        thin_products(isa, steps, lines, width, &mut to);
                    }
                }
            }
            return;
        }
        let Classes::InPlace(classifier) = &self.classifier else {
            unreachable!("more rows than are copied for")
        };
        let padded = rows.next_multiple_of(PANEL);
        let (across, panel) = scratch.split_at_mut(count * padded);
        let to = ArrayViewMut2::from_shape((count, padded), &mut *across);
        let mut to = to.expect("a row for each class");
        let left = (&classifier[columns.start * width..], width);
        line_products(isa, left, width, (steps, rows), &mut to);
        let panel = &mut panel[..rows * PANEL];
        for (first, across) in (0..).step_by(PANEL).zip(across.chunks(PANEL * padded)) {
            let mut classes: [&[F::Sum]; PANEL] = [&[]; PANEL];
            let some = across.len() / padded;
            for (class, across) in classes.iter_mut().zip(across.chunks(padded)) {
                *class = &across[..rows];
            }
            pack_steps(isa, &classes[..some], rows, panel);
            for (to, from) in tile.chunks_mut(count).zip(panel.chunks(PANEL)) {
                to[first..first + some].copy_from_slice(&from[..some]);
            }
        }
    }
}

/// What [`FewRows::products`] needs for so many rows and columns at once.
pub(crate) const fn few_scratch(rows: usize, columns: usize) -> usize {
    rows.next_multiple_of(PANEL) * columns + rows * PANEL
}
