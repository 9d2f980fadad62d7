//! The rows of a feature matrix, ready for distances.

use ndarray::ArrayView2;
use std::ops::Range;

use crate::gemm::{
    self, Buffer, PANEL, Panels, Prefetch, Rows, dots, pack_rows, pack_steps, padded_rows,
    panels_length, row_products, steps_length,
};
use crate::matrix::each;
use crate::simd::exp::exp;
use crate::simd::{Isa, Kernel, Simd, SimdReal, Vector, splat};
use crate::{Element, Error, Matrix, Result};

/// Rows, and columns, of a tile: whole groups and whole panels of the products, and small enough that
/// a tile stays in a second cache (288 KiB of f64, of 1 MiB on Zen 5). Chosen by that.
pub(crate) const BLOCK: usize = 192;

const _: () = assert!(BLOCK.is_multiple_of(gemm::GROUP) && BLOCK.is_multiple_of(PANEL));

/// Points about their mean, scaled by a power of two to the largest coordinate: translation does no
/// harm, and no square overflows.
pub(crate) struct Points {
    rows: usize,
    columns: usize,
    /// A distance of 1 here is one of 2^exponent in the features.
    exponent: i32,
    largest_norm: f64,
    isa: Isa,
    left: Buffer<f64>,
    right: Buffer<f64>,
    norms: Vec<f64>,
}

/// What a tile holds of the squared distances.
#[derive(Clone, Copy)]
pub(crate) enum Entries {
    /// Themselves, in units of [`Points`], from the differences of the coordinates: near points keep
    /// their digits.
    SquaredDistances,
    /// exp(−factor·d²).
    Gaussian {
        /// 1/(2σ²), in units of [`Points`].
        factor: f64,
    },
}

/// The largest exponent 2·factor·‖x‖² at which d² = ‖x‖² + ‖y‖² − 2x·y still gives the exponential to
/// eleven digits; beyond, differences are squared.
const GRAM_LIMIT: f64 = 1e4;

impl Points {
    /// Of all rows, or of those named. Fails for NaN and infinity, for no rows or columns, and for
    /// rows that are not there.
    pub(crate) fn new(features: Matrix<'_>, indices: Option<&[usize]>, isa: Isa) -> Result<Self> {
        each!(features, Matrix, view => Self::of_view(view, indices, isa))
    }

    fn of_view<T: Element>(
        features: ArrayView2<'_, T>,
        indices: Option<&[usize]>,
        isa: Isa,
    ) -> Result<Self> {
        let (total, columns) = features.dim();
        if total == 0 || columns == 0 {
            return Err(Error::empty_matrix("features", &[total, columns]));
        }
        if let Some(indices) = indices {
            check_indices(indices, total)?;
        }
        let rows = indices.map_or(total, <[usize]>::len);
        let row = |i: usize| features.row(indices.map_or(i, |indices| indices[i]));
        let mut largest = 0.0_f64;
        for i in 0..rows {
            for (j, x) in row(i).iter().enumerate() {
                let x = x.to_f64();
                if !x.is_finite() {
                    let row = indices.map_or(i, |indices| indices[i]);
                    return Err(Error::not_finite("features", &[row, j], x));
                }
                largest = largest.max(x.abs());
            }
        }
        let first_exponent = exponent(largest);
        let scaled = |x: T| times_power_of_two(x.to_f64(), -first_exponent);
        let mut mean = vec![0.0; columns];
        for i in 0..rows {
            for (mean, &x) in mean.iter_mut().zip(row(i)) {
                *mean += scaled(x) / rows as f64;
            }
        }
        let mut largest = 0.0_f64;
        for i in 0..rows {
            for (mean, &x) in mean.iter().zip(row(i)) {
                largest = largest.max((scaled(x) - mean).abs());
            }
        }
        let second_exponent = exponent(largest);

        let too_large = || Error::TooLarge { what: format!("{rows}×{columns} features in f64") };
        let height = padded_rows(rows);
        let length = panels_length(height, columns);
        let steps = steps_length::<f64>(columns);
        let right_length = steps.checked_mul(rows.div_ceil(PANEL)).ok_or_else(too_large)?;
        if length.max(right_length) > isize::MAX as usize / 16 {
            return Err(too_large());
        }
        let mut left = Buffer::zeros(length);
        let mut right = Buffer::zeros(right_length);
        let mut norms = vec![0.0; rows.next_multiple_of(BLOCK)];
        let mut chunk = vec![0.0; PANEL * columns];
        for first in (0..rows).step_by(PANEL) {
            let count = PANEL.min(rows - first);
            for (i, to) in chunk.chunks_exact_mut(columns).take(count).enumerate() {
                for ((to, mean), &x) in to.iter_mut().zip(&mean).zip(row(first + i)) {
                    *to = times_power_of_two(scaled(x) - mean, -second_exponent);
                }
            }
            let chunk = &chunk[..count * columns];
            let slices: Vec<&[f64]> = chunk.chunks_exact(columns).collect();
            pack_rows(slices.iter().copied(), first, height, left.sized(length));
            let at = first / PANEL * steps;
            pack_steps(isa, &slices, columns, &mut right.sized(right_length)[at..at + steps]);
            dots(isa, chunk, chunk, columns, &mut norms[first..first + count]);
        }
        let largest_norm = norms.iter().copied().fold(0.0, f64::max);
        let exponent = first_exponent + second_exponent;
        Ok(Self { rows, columns, exponent, largest_norm, isa, left, right, norms })
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// The coordinates, each row `width` numbers, of which those beyond the columns stay as they are.
    #[cfg(feature = "gpu")]
    pub(crate) fn copy_rows(&self, width: usize, to: &mut [f32]) {
        let height = padded_rows(self.rows);
        for (i, to) in to.chunks_exact_mut(width).enumerate() {
            for (panel, to) in to[..self.columns].chunks_mut(PANEL).enumerate() {
                let from = &self.left.get()[(panel * height + i) * PANEL..];
                to.iter_mut().zip(from).for_each(|(to, x)| *to = *x as f32);
            }
        }
    }

    /// 1/(2σ²) in the units of the tiles: finite, whatever σ is above 0.
    pub(crate) fn factor(&self, sigma: f64) -> f64 {
        let sigma = times_power_of_two(sigma, -self.exponent);
        (0.5 / sigma / sigma).min(1e300)
    }

    /// A distance of the tiles in the units of the features.
    pub(crate) fn distance(&self, squared: f64) -> f64 {
        times_power_of_two(squared.sqrt(), self.exponent)
    }

    /// Fills a tile whose rows are `stride` numbers apart, at least the columns rounded up to a
    /// multiple of 16. `rows` begins at a group, `columns` at a panel.
    pub(crate) fn fill(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        entries: Entries,
        stride: usize,
        tile: &mut [f64],
    ) {
        let steps = steps_length::<f64>(self.columns);
        let right = &self.right.get()[columns.start / PANEL * steps..];
        let norms = &self.norms[columns.start..];
        self.fill_from(rows.clone(), right, norms, columns.len(), entries, stride, tile);
        for row in rows.clone() {
            if columns.contains(&row) {
                let at = (row - rows.start) * stride + row - columns.start;
                tile[at] = match entries {
                    Entries::SquaredDistances => 0.0,
                    Entries::Gaussian { .. } => 1.0,
                };
            }
        }
    }

    /// The same for the columns of at most 32 named points.
    pub(crate) fn fill_named(
        &self,
        rows: Range<usize>,
        named: &Named,
        entries: Entries,
        tile: &mut [f64],
    ) {
        let (right, norms) = (&named.steps, &named.norms);
        self.fill_from(rows, right, norms, named.count, entries, PANEL, tile);
    }

    /// At most 32 points, packed.
    pub(crate) fn named(&self, points: &[usize]) -> Named {
        let height = padded_rows(self.rows);
        let mut rows = vec![0.0; points.len() * self.columns];
        for (row, &point) in rows.chunks_exact_mut(self.columns).zip(points) {
            for (q, part) in row.chunks_mut(PANEL).enumerate() {
                let at = (q * height + point) * PANEL;
                part.copy_from_slice(&self.left.get()[at..at + part.len()]);
            }
        }
        let slices: Vec<&[f64]> = rows.chunks_exact(self.columns).collect();
        let mut steps = vec![0.0; steps_length::<f64>(self.columns)];
        pack_steps(self.isa, &slices, self.columns, &mut steps);
        let mut norms = vec![0.0; PANEL];
        for (norm, &point) in norms.iter_mut().zip(points) {
            *norm = self.norms[point];
        }
        Named { steps, norms, count: points.len() }
    }

    #[allow(clippy::too_many_arguments)]
    fn fill_from(
        &self,
        rows: Range<usize>,
        right: &[f64],
        norms: &[f64],
        columns: usize,
        entries: Entries,
        stride: usize,
        tile: &mut [f64],
    ) {
        let height = padded_rows(self.rows);
        let left = self.left.get();
        let row_norms = &self.norms[rows.clone()];
        match entries {
            Entries::Gaussian { factor } if 2.0 * factor * self.largest_norm <= GRAM_LIMIT => {
                let shape = ndarray::ShapeBuilder::strides((rows.len(), columns), (stride, 1));
                let mut to = ndarray::ArrayViewMut2::from_shape(shape, &mut *tile)
                    .expect("rows of the tile");
                let (panels, from) =
                    (Panels::new(left, height), Rows::From(rows.start, rows.len()));
                row_products(
                    self.isa,
                    panels,
                    from,
                    self.columns,
                    (right, Prefetch::nothing()),
                    &mut to,
                );
                self.isa.dispatch(Gaussian {
                    factor,
                    row_norms,
                    norms,
                    columns: columns.next_multiple_of(16),
                    stride,
                    tile,
                });
            }
            _ => {
                let count = rows.len();
                let rows = Coordinates { left, height, rows, columns: self.columns };
                self.isa.dispatch(Differences { rows, right, stride, tile: &mut *tile });
                if let Entries::Gaussian { factor } = entries {
                    let columns = columns.next_multiple_of(16);
                    self.isa.dispatch(Exponentials { factor, rows: count, columns, stride, tile });
                }
            }
        }
    }
}

/// At most 32 points as the right factor of a product.
pub(crate) struct Named {
    steps: Vec<f64>,
    norms: Vec<f64>,
    count: usize,
}

fn check_indices(indices: &[usize], rows: usize) -> Result<()> {
    if indices.is_empty() {
        return Err(Error::Shape {
            argument: "indices",
            found: vec![0],
            expected: "at least one row".into(),
        });
    }
    match indices.iter().position(|&index| index >= rows) {
        None => Ok(()),
        Some(at) => Err(Error::Value {
            argument: "indices",
            index: vec![at],
            value: indices[at].to_string(),
            expected: "a row of the features",
        }),
    }
}

/// e with 2^(e−1) ≤ x < 2^e, 0 for 0.
fn exponent(x: f64) -> i32 {
    if x == 0.0 {
        return 0;
    }
    let bits = (x.to_bits() >> 52) as i32 & 0x7ff;
    if bits == 0 { exponent(x * 2.0_f64.powi(100)) - 100 } else { bits - 1022 }
}

/// x·2^e, in two steps: 2^e itself may be beyond f64.
fn times_power_of_two(x: f64, e: i32) -> f64 {
    let half = e / 2;
    x * 2.0_f64.powi(half) * 2.0_f64.powi(e - half)
}

/// Products x·y into exp(−factor·max(0, ‖x‖² + ‖y‖² − 2x·y)).
struct Gaussian<'a> {
    factor: f64,
    row_norms: &'a [f64],
    norms: &'a [f64],
    columns: usize,
    stride: usize,
    tile: &'a mut [f64],
}

impl Kernel for Gaussian<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let lanes = <<f64 as SimdReal>::Vector<S>>::LANES;
        let splat = |x| splat::<S, f64>(simd, x);
        let (minus_two, zero, factor) = (splat(-2.0), splat(0.0), splat(-self.factor));
        for (row, &norm) in self.tile.chunks_mut(self.stride).zip(self.row_norms) {
            let norm = splat(norm);
            let vectors = row[..self.columns].chunks_exact_mut(lanes);
            for (to, norms) in vectors.zip(self.norms.chunks_exact(lanes)) {
                let products = <<f64 as SimdReal>::Vector<S>>::load(simd, to);
                let norms = <<f64 as SimdReal>::Vector<S>>::load(simd, norms);
                let squared = products.mul_add(minus_two, norm.add(norms)).max(zero);
                exp::<S, f64>(simd, squared.mul(factor)).store(to);
            }
        }
    }
}

/// Squared distances into exp(−factor·d²).
struct Exponentials<'a> {
    factor: f64,
    rows: usize,
    columns: usize,
    stride: usize,
    tile: &'a mut [f64],
}

impl Kernel for Exponentials<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let lanes = <<f64 as SimdReal>::Vector<S>>::LANES;
        let factor = splat::<S, f64>(simd, -self.factor);
        for row in self.tile.chunks_mut(self.stride).take(self.rows) {
            for to in row[..self.columns].chunks_exact_mut(lanes) {
                let squared = <<f64 as SimdReal>::Vector<S>>::load(simd, to);
                exp::<S, f64>(simd, squared.mul(factor)).store(to);
            }
        }
    }
}

struct Coordinates<'a> {
    left: &'a [f64],
    height: usize,
    rows: Range<usize>,
    columns: usize,
}

/// Σ_k (x_k − y_k)².
struct Differences<'a> {
    rows: Coordinates<'a>,
    right: &'a [f64],
    stride: usize,
    tile: &'a mut [f64],
}

impl Kernel for Differences<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { rows, right, stride, tile } = self;
        let lanes = <<f64 as SimdReal>::Vector<S>>::LANES;
        let count = PANEL / lanes;
        let steps = rows.columns * PANEL;
        let mut point = vec![0.0; rows.columns.next_multiple_of(PANEL)];
        for (i, row) in rows.rows.clone().zip(tile.chunks_mut(stride)) {
            for (q, part) in point.chunks_exact_mut(PANEL).enumerate() {
                let at = (q * rows.height + i) * PANEL;
                part.copy_from_slice(&rows.left[at..at + PANEL]);
            }
            for (panel, to) in right.chunks_exact(steps).zip(row.chunks_exact_mut(PANEL)) {
                let mut sums = [splat::<S, f64>(simd, 0.0); PANEL];
                for (step, &x) in panel.chunks_exact(PANEL).zip(&point) {
                    let x = splat::<S, f64>(simd, x);
                    for (sum, y) in sums[..count].iter_mut().zip(step.chunks_exact(lanes)) {
                        let difference = x.sub(<<f64 as SimdReal>::Vector<S>>::load(simd, y));
                        *sum = difference.mul_add(difference, *sum);
                    }
                }
                for (sum, to) in sums[..count].iter().zip(to.chunks_exact_mut(lanes)) {
                    sum.store(to);
                }
            }
        }
    }
}
