//! G, as the left factor of both gradients.

use std::ops::Range;

use super::active::{Active, Entry};
use super::grid::TILE_COLUMNS;
use super::pair::Pair;
use super::problem::Problem;
use super::tile::{RowScratch, Weights, sized};
use crate::element::{Element, Operand, Real};
use crate::gemm::{Buffer, PANEL, Panels, padded_rows};
use crate::loss::filter::lists::Lists;
use crate::loss::inputs::Targets;
use crate::quotient::times_power;
use crate::softmax::gradient::Slope;

/// G of some rows and classes: panels of 32 classes, in each the rows one after the other, and where
/// steps are pairs the same once more with the rows in pairs. As large as the logits it comes from.
pub(crate) struct Derivatives<F: Operand> {
    pub(crate) data: Buffer<F::Sum>,
    pub(crate) height: usize,
    pub(crate) panels: usize,
    /// How often it is there: once more in pairs where steps are pairs, unless they are made for a task.
    copies: usize,
}

/// What one task writes of a panel of G.
pub(crate) struct PanelPart<'a, F> {
    pub(crate) rows: &'a mut [F],
    pub(crate) pairs: &'a mut [F],
}

impl<F: Operand> Derivatives<F> {
    pub(crate) fn new(rows: usize, columns: usize) -> Self {
        Self::copied(rows, columns, F::DEPTH)
    }

    /// The same without pairs.
    pub(crate) fn single(rows: usize, columns: usize) -> Self {
        Self::copied(rows, columns, 1)
    }

    fn copied(rows: usize, columns: usize, copies: usize) -> Self {
        let (height, panels) = (padded_rows(rows), columns.div_ceil(PANEL));
        let mut own = Self { data: Buffer::new(), height, panels, copies };
        own.data = Buffer::zeros(own.length());
        own
    }

    /// For so many rows and columns, at most as many as it was made for.
    pub(crate) fn resize(&mut self, rows: usize, columns: usize) {
        (self.height, self.panels) = (padded_rows(rows), columns.div_ceil(PANEL));
    }

    pub(crate) fn length(&self) -> usize {
        self.height * self.panels * PANEL / F::DEPTH * self.copies
    }

    pub(crate) fn get(&self) -> &[F] {
        bytemuck::cast_slice(&self.data.get()[..self.length()])
    }

    /// As the left factor of the hidden gradient.
    pub(crate) fn rows(&self) -> Panels<'_, F> {
        Panels::new(self.get(), self.height * self.copies)
    }

    /// The same from this panel on.
    pub(crate) fn rows_from(&self, panel: usize) -> Panels<'_, F> {
        Panels::new(self.rows_of(panel), self.height * self.copies)
    }

    /// The numbers from this panel on.
    pub(crate) fn rows_of(&self, panel: usize) -> &[F] {
        &self.get()[panel * self.height * PANEL * self.copies..]
    }

    /// The products that G is to be made of.
    pub(crate) fn products(&mut self) -> &mut [F::Sum] {
        let length = self.length();
        self.data.sized(length)
    }

    /// One panel as the left factor of the classifier gradient.
    pub(crate) fn columns(&self, panel: usize) -> &[F] {
        assert_eq!(self.copies, F::DEPTH, "a panel in steps along its rows");
        let whole = self.height * PANEL;
        let panel = &self.get()[panel * whole * F::DEPTH..][..whole * F::DEPTH];
        &panel[whole * (F::DEPTH - 1)..]
    }

    /// For the rows that are kept of each panel.
    pub(crate) fn resize_to(&mut self, lists: &Lists) {
        (self.height, self.panels) = (lists.names.len(), 1);
    }

    /// The rows kept of each panel, to be written.
    pub(crate) fn kept_panels(&mut self, lists: &Lists) -> Vec<PanelPart<'_, F>> {
        let length = self.length();
        let mut rest: &mut [F] = bytemuck::cast_slice_mut(self.data.sized(length));
        let mut parts = Vec::with_capacity(lists.counts.len());
        for p in 0..lists.counts.len() {
            let length = lists.places(p).len() * PANEL;
            let (own, tail) = std::mem::take(&mut rest).split_at_mut(length * F::DEPTH);
            let (rows, pairs) = own.split_at_mut(length);
            rest = tail;
            parts.push(PanelPart { rows, pairs });
        }
        parts
    }

    /// The rows kept of a panel as the left factor of the hidden gradient.
    pub(crate) fn kept_rows(&self, lists: &Lists, panel: usize) -> Panels<'_, F> {
        let places = lists.places(panel);
        let own = &self.get()[places.start * PANEL * F::DEPTH..][..places.len() * PANEL];
        Panels::new(own, places.len().max(1))
    }

    /// The rows kept of a panel as the left factor of the classifier gradient.
    pub(crate) fn kept_columns(&self, lists: &Lists, panel: usize) -> &[F] {
        let places = lists.places(panel);
        let length = places.len() * PANEL;
        &self.get()[places.start * PANEL * F::DEPTH + length * (F::DEPTH - 1)..][..length]
    }

    /// Takes over what is kept of another's; the rest is 0.
    pub(crate) fn mask(&mut self, other: &Self, lists: &Lists, rows: usize) {
        if self.data.get().len() < other.data.get().len() {
            self.data = Buffer::zeros(other.data.get().len());
        }
        (self.height, self.panels) = (other.height, other.panels);
        let length = self.length();
        self.data.sized(length).copy_from_slice(&other.data.get()[..length]);
        let whole = self.height * PANEL;
        let data: &mut [F] = bytemuck::cast_slice_mut(self.data.sized(length));
        for (p, panel) in data.chunks_mut(whole * F::DEPTH).enumerate() {
            let (own, pairs) = panel.split_at_mut(whole);
            let first = lists.starts[p];
            let mut kept = lists.names[first..first + lists.counts[p]].iter().peekable();
            for row in 0..rows {
                if kept.next_if(|&&kept| kept as usize == row).is_some() {
                    continue;
                }
                own[row * PANEL..(row + 1) * PANEL].fill(F::default());
                if !pairs.is_empty() {
                    let pair = &mut pairs[row / 2 * 2 * PANEL..][..2 * PANEL];
                    pair.iter_mut().skip(row % 2).step_by(2).for_each(|x| *x = F::default());
                }
            }
        }
    }

    /// What each task writes, where a task has so many rows of so many panels: for all rows of the
    /// first panels, then of the next.
    pub(crate) fn parts(&mut self, rows: usize, panels: usize) -> Vec<Vec<PanelPart<'_, F>>> {
        let (height, length) = (self.height, self.length());
        let data: &mut [F] = bytemuck::cast_slice_mut(self.data.sized(length));
        let panel_length = height * PANEL * F::DEPTH;
        let mut parts: Vec<Vec<_>> = Vec::new();
        for some in data.chunks_mut(panels * panel_length) {
            let first = parts.len();
            parts.extend((0..height.div_ceil(rows)).map(|_| Vec::with_capacity(panels)));
            for panel in some.chunks_mut(panel_length) {
                let (whole, pairs) = panel.split_at_mut(height * PANEL);
                let mut pairs = pairs.chunks_mut(rows * PANEL);
                let whole = whole.chunks_mut(rows * PANEL);
                for (part, rows) in parts[first..].iter_mut().zip(whole) {
                    part.push(PanelPart { rows, pairs: pairs.next().unwrap_or_default() });
                }
            }
        }
        parts
    }
}

/// What the rows of a tile have beside their own logits.
#[derive(Clone, Copy)]
pub(crate) struct BesideTile<'b, R> {
    /// The logits of a second head, as far apart as the tile's own.
    pub(crate) second: &'b [R],
    /// By the place of the row among the kept ones; empty without divergences.
    pub(crate) pairs: &'b [Pair<R>],
}

/// G of a group of rows in `tile`, from products or logits in place; rows `stride` apart, zero where
/// there is none. `sums` takes the sums of its columns.
pub(crate) fn gradient_group<'r, F: Operand>(
    problem: &Problem<'_, F::Sum>,
    active: impl Fn(usize) -> Option<&'r Active<F::Sum>>,
    columns: Range<usize>,
    (tile, stride): (&mut [F::Sum], usize),
    beside: Option<BesideTile<'_, F::Sum>>,
    scratch: &mut RowScratch<F::Sum>,
    sums: &mut [f64],
) {
    let width = columns.len();
    for (i, products) in tile.chunks_mut(stride).enumerate() {
        match active(i) {
            Some(active) => {
                let beside = beside.map(|beside| BesideRow {
                    second: &beside.second[i * stride..][..width],
                    pair: beside.pairs.get(active.index),
                });
                let products_of_row = &mut products[..width];
                problem.row_gradient(active, columns.clone(), products_of_row, beside, scratch);
                products[width..].fill(F::Sum::ZERO);
                for (sum, value) in sums.iter_mut().zip(&*products) {
                    *sum += value.to_f64();
                }
            }
            None => products.fill(F::Sum::ZERO),
        }
    }
}

/// What one row has beside its own logits.
#[derive(Clone, Copy)]
pub(crate) struct BesideRow<'b, R> {
    /// The logits of a second head.
    second: &'b [R],
    pair: Option<&'b Pair<R>>,
}

impl<R: Real> Problem<'_, R> {
    /// Turns the products of a row into G, in place; logits where they have been transformed.
    pub(crate) fn row_gradient(
        &self,
        active: &Active<R>,
        columns: Range<usize>,
        products: &mut [R],
        beside: Option<BesideRow<'_, R>>,
        scratch: &mut RowScratch<R>,
    ) {
        let loss = &self.loss;
        let RowScratch { slopes, weights: buffer, companions, divergences, exacts } = scratch;
        let width = columns.len();
        let transform = self.transform_of(&active.row);
        let slope = match transform.slope() {
            Some(slope) => {
                transform.apply(loss.isa, self.bias_of(columns.clone()), products, None);
                Slope::Constant(R::from_f64(slope))
            }
            None => {
                let slopes = &mut slopes[..width];
                let bias = self.bias_of(columns.clone());
                transform.apply(loss.isa, bias, products, Some(&mut *slopes));
                Slope::Each(slopes)
            }
        };
        active.row.floor.apply(loss.isa, self.first_class + columns.start, products);
        let divergences = beside.and_then(|BesideRow { second, pair }| {
            let to = &mut sized(divergences, TILE_COLUMNS)[..width];
            to.fill(R::ZERO);
            pair?.add_derivatives(loss.isa, (products, second), slope, to);
            Some(&*to)
        });
        if let Some(divergences) = divergences.filter(|_| active.is_nothing()) {
            return products.copy_from_slice(divergences);
        }
        let weights = self.weights_of(&active.row, columns.clone(), buffer);
        let each = match weights {
            Weights::Each(weights) => Some(weights),
            Weights::Uniform | Weights::None => None,
        };
        let companions = match active.companion {
            0.0 => None,
            _ => {
                let second = beside.map(|beside| beside.second);
                self.companions_of(&active.row, columns.clone(), second, companions)
            }
        };
        let first = self.first_class + columns.start;
        let exact = |class: usize, picked: f64, listed: bool, products: &[R]| {
            let at = class.wrapping_sub(first);
            let logit = products.get(at)?.to_f64();
            let own = active.weights * each.map_or(1.0, |weights| weights[at].to_f64());
            let (picked, smoothing) = match &self.targets {
                Targets::Soft(_) => (picked + own, 0.0),
                _ => (picked, own),
            };
            let companion = companions.map_or(0.0, |values| values[at].to_f64());
            let entry = Entry { picked, listed, smoothing, companion };
            let value = active.exact_gradient(class, logit, entry);
            Some((at, R::from_f64(value * slope.at(at).to_f64())))
        };
        // The entries that decide are worth more digits than the vectors carry. All are read
        // before any is written.
        let sparse = self.sparse_of(&active.row, first..first + width);
        exacts.clear();
        exacts.extend(sparse.iter().filter_map(|&(class, weight)| {
            exact(class as usize, active.soft * weight, false, products)
        }));
        let hard = matches!(self.targets, Targets::Hard(_)).then_some(active.row.target as usize);
        let argmax = active.argmax as usize;
        let target = hard.and_then(|class| exact(class, active.picked, false, products));
        let argmax = match hard {
            Some(class) if class == argmax => None,
            _ if sparse.iter().any(|&(class, _)| class as usize == argmax) => None,
            _ => exact(argmax, 0.0, false, products),
        };
        if active.candidates.any {
            // Those that are written last count.
            for (class, weight) in self.weighed_candidates(&active.row, &(first..first + width)) {
                let at = sparse.binary_search_by_key(&(class as u32), |&(class, _)| class);
                let own = match (hard == Some(class), at) {
                    (true, _) => active.picked,
                    (_, Ok(at)) => active.soft * sparse[at].1,
                    _ => 0.0,
                };
                let gone = products[class - first].to_f64() == f64::NEG_INFINITY;
                let weight = if gone { 0.0 } else { times_power(weight, -active.exponent) };
                exacts.extend(exact(class, own + weight, true, products));
            }
        }
        if active.carried {
            for (at, product) in products.iter_mut().enumerate() {
                let weight = each.map_or(1.0, |weights| weights[at].to_f64());
                let companion = companions.map_or(0.0, |values| values[at].to_f64());
                let value = active.carried_gradient(product.to_f64(), weight, companion);
                *product = R::from_f64(value * slope.at(at).to_f64());
            }
        } else {
            active.gradient.apply(loss.isa, products, slope, each, companions);
        }
        for (at, value) in argmax.into_iter().chain(target).chain(exacts.drain(..)) {
            products[at] = value;
        }
        for (product, own) in products.iter_mut().zip(divergences.unwrap_or_default()) {
            *product += *own;
        }
    }
}
