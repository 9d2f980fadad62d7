//! Centred products of rows that come a few at a time.

use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis, s};

use super::features::{LEAST_EXPONENT, power_of_two};
use crate::algebra::zeros;
use crate::gemm::{self, Buffer, PANEL, Panels, Rows, Store};
use crate::parallel;
use crate::simd::Isa;
use crate::{Element, Result};

/// Rows that are multiplied at once: enough that the sums are not carried to memory and back too
/// often, few enough that two panels of them stay in the second cache (256 KiB of f64). The covariance of
/// 25600×2048 is with it at 85 % of the rate of the products alone on Zen 5 (206 of 241 GFLOP/s).
pub(super) const BLOCK: usize = 512;
/// Rows of panels: those of a block, and the distance of its mean from the mean before.
const HEIGHT: usize = BLOCK + 1;
/// Panels that a thread converts at a time: 128 columns, 16 tasks at D = 2048. Not measured.
const CHUNK: usize = 4;

/// The rows' mean and the products of what is left of them without it.
///
/// They are gathered in blocks; each is centred on its own mean, and joined to what came before.
pub(super) struct Scatter {
    pub(super) columns: usize,
    /// All that have been pushed.
    pub(super) rows: usize,
    /// What is kept is what was pushed, less `pivot`, times 2^−exponent.
    pub(super) exponent: i32,
    /// The first row.
    pub(super) pivot: Vec<f64>,
    /// The mean of the rows that are in `products`.
    pub(super) mean: Vec<f64>,
    /// M; what is left of the diagonal's blocks of 32×32 is not used.
    pub(super) products: Array2<f64>,
    /// Panels of `HEIGHT` rows, of which `pending` wait for the rest of their block.
    block: Buffer<f64>,
    pending: usize,
    isa: Isa,
}

impl Scatter {
    /// No rows yet, of so many columns.
    pub(super) fn new(columns: usize) -> Result<Self> {
        let products = zeros(columns, columns)?;
        let products = Array2::from_shape_vec((columns, columns), products).expect("a square");
        Ok(Self {
            columns,
            rows: 0,
            exponent: LEAST_EXPONENT,
            pivot: zeros(columns, 1)?,
            mean: zeros(columns, 1)?,
            products,
            block: Buffer::zeros(gemm::panels_length(HEIGHT, columns)),
            pending: 0,
            isa: Isa::current()?,
        })
    }

    /// Adds finite rows, whose numbers are below 2^exponent.
    pub(super) fn push<T: Element>(&mut self, batch: ArrayView2<'_, T>, exponent: i32) {
        self.rescale(exponent);
        if self.rows == 0 {
            for (to, from) in self.pivot.iter_mut().zip(batch.row(0)) {
                *to = from.to_f64();
            }
        }
        let mut first = 0;
        while first < batch.nrows() {
            let count = (BLOCK - self.pending).min(batch.nrows() - first);
            self.put(batch.slice(s![first..first + count, ..]));
            self.pending += count;
            self.rows += count;
            first += count;
            if self.pending == BLOCK {
                self.fold();
            }
        }
    }

    /// Writes rows into the panels, behind those that are there.
    fn put<T: Element>(&mut self, rows: ArrayView2<'_, T>) {
        let (at, scale) = (self.pending, power_of_two(-self.exponent));
        let pivot: Vec<f64> = self.pivot.iter().map(|x| x * scale).collect();
        let length = gemm::panels_length(HEIGHT, self.columns);
        let panels = self.block.sized(length).chunks_mut(CHUNK * HEIGHT * PANEL);
        let tasks: Vec<_> = pivot.chunks(CHUNK * PANEL).zip(panels).enumerate().collect();
        let threads = if rows.len() < 1 << 15 { 1 } else { parallel::threads() };
        parallel::for_each(&mut vec![(); threads], tasks, |(), (chunk, (pivot, panels))| {
            let first = chunk * CHUNK * PANEL;
            let part = rows.slice(s![.., first..first + pivot.len()]);
            for (i, row) in part.rows().into_iter().enumerate() {
                let to = panels.chunks_mut(HEIGHT * PANEL).map(|panel| {
                    let row = (at + i) * PANEL;
                    &mut panel[row..row + PANEL]
                });
                match row.as_slice() {
                    Some(row) => {
                        let from = row.chunks(PANEL).zip(pivot.chunks(PANEL));
                        for (to, (row, pivot)) in to.zip(from) {
                            for ((to, x), pivot) in to.iter_mut().zip(row).zip(pivot) {
                                *to = x.to_f64() * scale - pivot;
                            }
                        }
                    }
                    None => {
                        for ((to, x), pivot) in to.flatten().zip(row).zip(pivot) {
                            *to = x.to_f64() * scale - pivot;
                        }
                    }
                }
            }
        });
    }

    /// Takes the pending rows into the sums.
    fn fold(&mut self) {
        if self.pending == 0 {
            return;
        }
        let (count, all) = (self.pending as f64, self.rows as f64);
        let weight = ((all - count) * count / all).sqrt();
        let (pending, columns, isa) = (self.pending, self.columns, self.isa);
        let length = gemm::panels_length(HEIGHT, columns);
        let mut workers = vec![(); parallel::threads()];
        let panels = self.block.sized(length).chunks_mut(HEIGHT * PANEL);
        let tasks = panels.zip(self.mean.chunks_mut(PANEL)).collect();
        parallel::for_each(&mut workers, tasks, |(), (panel, mean)| {
            center(panel, pending, mean, weight, count / all);
        });
        let block = self.block.get();
        let strips: Vec<_> = self.products.axis_chunks_iter_mut(Axis(0), PANEL).collect();
        let tasks: Vec<(usize, ArrayViewMut2<'_, f64>)> = strips.into_iter().enumerate().collect();
        parallel::for_each(&mut workers, tasks, |(), (q, strip)| {
            let mut to = strip.slice_move(s![.., q * PANEL..]);
            let left = &block[q * HEIGHT * PANEL..][..(pending + 1) * PANEL];
            gemm::add_columns(
                isa,
                left,
                Panels::new(&block[..length], HEIGHT),
                Rows::From(0, pending + 1),
                q * PANEL..columns,
                Store::Add,
                &mut to,
            );
        });
        self.pending = 0;
    }

    /// Makes room for numbers of a larger magnitude.
    fn rescale(&mut self, exponent: i32) {
        if exponent <= self.exponent {
            return;
        }
        if self.rows > 0 {
            let factor = power_of_two(self.exponent - exponent);
            let length = gemm::panels_length(HEIGHT, self.columns);
            let block = self.block.sized(length).iter_mut();
            block.chain(&mut self.mean).for_each(|x| *x *= factor);
            self.products *= factor * factor;
        }
        self.exponent = exponent;
    }

    /// Adds the rows of another that has any, to some.
    pub(super) fn merge(&mut self, other: &Self) {
        if other.pending > 0 {
            let mut other = other.clone();
            other.fold();
            return self.merge(&other);
        }
        self.fold();
        self.rescale(other.exponent);
        let (a, b) = (self.rows as f64, other.rows as f64);
        let scale = power_of_two(-self.exponent);
        let factor = power_of_two(other.exponent - self.exponent);
        let apart: Vec<f64> = (0..self.columns)
            .map(|c| {
                let pivots = other.pivot[c] * scale - self.pivot[c] * scale;
                pivots + other.mean[c] * factor - self.mean[c]
            })
            .collect();
        let weight = a * b / (a + b);
        for (i, (mut to, from)) in
            self.products.rows_mut().into_iter().zip(other.products.rows()).enumerate()
        {
            for ((to, from), apart_j) in to.iter_mut().zip(from).zip(&apart).skip(i) {
                *to += from * (factor * factor) + weight * (apart[i] * apart_j);
            }
        }
        for (mean, apart) in self.mean.iter_mut().zip(&apart) {
            *mean += apart * (b / (a + b));
        }
        self.rows += other.rows;
    }

    /// This, without pending rows.
    pub(super) fn folded(&self) -> std::borrow::Cow<'_, Self> {
        if self.pending == 0 {
            return std::borrow::Cow::Borrowed(self);
        }
        let mut folded = self.clone();
        folded.fold();
        std::borrow::Cow::Owned(folded)
    }

    /// Both triangles of M.
    pub(super) fn symmetric(&self) -> Result<Array2<f64>> {
        let data = zeros(self.columns, self.columns)?;
        let mut matrix = Array2::from_shape_vec(self.products.dim(), data).expect("a square");
        for i in 0..self.columns {
            let row = self.products.slice(s![i, i..]);
            matrix.slice_mut(s![i, i..]).assign(&row);
            matrix.slice_mut(s![i.., i]).assign(&row);
        }
        Ok(matrix)
    }
}

/// Centres the rows of a panel, and puts below them the weighted distance of their mean from the one
/// before, which moves on.
fn center(panel: &mut [f64], count: usize, mean: &mut [f64], weight: f64, part: f64) {
    let mut sums = [0.0; PANEL];
    for row in panel.chunks_exact(PANEL).take(count) {
        for (sum, x) in sums.iter_mut().zip(row) {
            *sum += x;
        }
    }
    let centers = sums.map(|sum| sum / count as f64);
    for row in panel.chunks_exact_mut(PANEL).take(count) {
        for (x, center) in row.iter_mut().zip(&centers) {
            *x -= center;
        }
    }
    let distances = &mut panel[count * PANEL..(count + 1) * PANEL];
    for ((to, mean), center) in distances.iter_mut().zip(mean).zip(&centers) {
        *to = weight * (center - *mean);
        *mean += (center - *mean) * part;
    }
}

impl Clone for Scatter {
    fn clone(&self) -> Self {
        let mut block = Buffer::zeros(gemm::panels_length(HEIGHT, self.columns));
        let from = self.block.get();
        block.sized(from.len()).copy_from_slice(from);
        Self {
            columns: self.columns,
            rows: self.rows,
            exponent: self.exponent,
            pivot: self.pivot.clone(),
            mean: self.mean.clone(),
            products: self.products.clone(),
            block,
            pending: self.pending,
            isa: self.isa,
        }
    }
}
