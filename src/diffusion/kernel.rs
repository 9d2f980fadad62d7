//! The normalised Gaussian kernel K = S·G·S, as a matrix and as an operator that is never stored.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use ndarray::Array2;

use super::points::{BLOCK, Entries, Points};
use super::tiles::{Tile, blocks, for_each_tile};
use crate::algebra::{dot, zeros};
use crate::{Result, parallel};

/// G_ij = exp(−d²_ij/(2σ²)) as a full matrix.
pub(crate) fn gaussian_matrix(points: &Points, sigma: f64) -> Result<Array2<f64>> {
    full_matrix(points, Entries::Gaussian { factor: points.factor(sigma) })
}

/// A symmetric matrix whose entries are those of the tiles.
pub(crate) fn full_matrix(points: &Points, entries: Entries) -> Result<Array2<f64>> {
    let n = points.rows();
    let mut matrix = zeros(n, n)?;
    let mut states: Vec<&mut [f64]> = matrix.chunks_mut(BLOCK * n).collect();
    for_each_tile(points, entries, &mut states, |tile, upper, lower| {
        for (row, to) in tile.by_rows().zip(upper.chunks_exact_mut(n)) {
            to[tile.columns.clone()].copy_from_slice(row);
        }
        if let Some(lower) = lower {
            for (j, to) in lower.chunks_exact_mut(n).enumerate() {
                let to = &mut to[tile.rows.clone()];
                for (to, row) in to.iter_mut().zip(tile.entries.chunks_exact(BLOCK)) {
                    *to = row[j];
                }
            }
        }
    });
    Ok(Array2::from_shape_vec((n, n), matrix).expect("a square"))
}

/// Some rows of a matrix and what belongs to each of them.
type RowBlock<'a> = (&'a mut [f64], &'a mut [f64]);

/// Hands each row of the matrix to `work` with its index and its number.
pub(crate) fn for_each_row(
    matrix: &mut Array2<f64>,
    of_rows: &mut [f64],
    work: impl Fn(usize, &mut [f64], &mut f64) + Sync,
) {
    let n = matrix.ncols();
    let rows = matrix.as_slice_mut().expect("standard layout");
    let tasks: Vec<(usize, RowBlock<'_>)> =
        rows.chunks_mut(BLOCK * n).zip(of_rows.chunks_mut(BLOCK)).enumerate().collect();
    let mut workers = vec![(); parallel::threads().clamp(1, tasks.len().max(1))];
    parallel::for_each(&mut workers, tasks, |(), (index, (rows, numbers))| {
        for (i, (row, number)) in rows.chunks_exact_mut(n).zip(numbers).enumerate() {
            work(index * BLOCK + i, row, number);
        }
    });
}

/// Normalises a symmetric matrix with positive row sums, where it stands: first
/// A ← A_ij/(d_i d_j)^α with d the row sums, then A ← A_ij/√(d_i d_j) with the new ones.
pub(crate) fn normalise(matrix: &mut Array2<f64>, alpha: f64) {
    let n = matrix.nrows();
    let ones = vec![1.0; n];
    let mut sums = vec![0.0; n];
    for_each_row(matrix, &mut sums, |_, row, to| *to = dot(row, &ones));
    let scale = if alpha == 0.0 {
        sums.iter().map(|sum| 1.0 / sum.sqrt()).collect()
    } else {
        let density = density_factors(&sums, alpha);
        for_each_row(matrix, &mut sums, |_, row, to| *to = dot(row, &density));
        scales(&density, &sums).0
    };
    let scale: Vec<f64> = scale;
    for_each_row(matrix, &mut sums, |i, row, _| {
        for (entry, factor) in row.iter_mut().zip(&scale) {
            *entry *= scale[i] * factor;
        }
    });
}

/// d^−α, relative to the largest d.
fn density_factors(sums: &[f64], alpha: f64) -> Vec<f64> {
    let largest = sums.iter().copied().fold(0.0, f64::max);
    sums.iter().map(|sum| (sum / largest).powf(-alpha)).collect()
}

/// a_i/√d_i with d_i = a_i Σ_j G_ij a_j, where the sums are given; and √d_i.
fn scales(density: &[f64], sums: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let degrees = density.iter().zip(sums).map(|(a, sum)| (a * sum).sqrt());
    let roots: Vec<f64> = degrees.collect();
    (density.iter().zip(&roots).map(|(a, root)| a / root).collect(), roots)
}

/// Whoever multiplies with G, the Gaussian kernel of some points.
pub(crate) trait Products {
    /// N.
    fn rows(&self) -> usize;

    /// `to = G·vectors`, both with `width` numbers a row.
    fn multiply(&self, vectors: &[f64], width: usize, to: &mut [f64]) -> Result<()>;

    /// Σ_ij u_i G_ij² u_j.
    fn square_form(&self, u: &[f64]) -> Result<f64>;
}

/// G a tile at a time, on the threads.
pub(crate) struct GaussianProducts<'a> {
    points: &'a Points,
    entries: Entries,
}

impl<'a> GaussianProducts<'a> {
    /// Of this bandwidth.
    pub(crate) fn new(points: &'a Points, sigma: f64) -> Self {
        Self { points, entries: Entries::Gaussian { factor: points.factor(sigma) } }
    }

    pub(crate) fn points(&self) -> &Points {
        self.points
    }

    pub(crate) fn entries(&self) -> Entries {
        self.entries
    }
}

impl Products for GaussianProducts<'_> {
    fn rows(&self) -> usize {
        self.points.rows()
    }

    fn multiply(&self, vectors: &[f64], width: usize, to: &mut [f64]) -> Result<()> {
        products(self.points, self.entries, vectors, width, to);
        Ok(())
    }

    fn square_form(&self, u: &[f64]) -> Result<f64> {
        let mut sums = vec![0.0; blocks(self.rows())];
        for_each_tile(self.points, self.entries, &mut sums, |tile, sum, other| {
            let right = &u[tile.columns.clone()];
            let mut row_squares = [0.0; BLOCK];
            let mut total = 0.0;
            for (row, left) in tile.by_rows().zip(&u[tile.rows.clone()]) {
                for (square, entry) in row_squares.iter_mut().zip(row) {
                    *square = entry * entry;
                }
                total += left * dot(&row_squares[..row.len()], right);
            }
            *sum += if other.is_some() { 2.0 * total } else { total };
        });
        Ok(sums.iter().sum())
    }
}

/// The operator K = diag(s)·G·diag(s), of which only s is stored.
pub(crate) struct Operator<'a> {
    products: &'a dyn Products,
    scale: Vec<f64>,
    leading: Vec<f64>,
}

impl<'a> Operator<'a> {
    /// Of this density normalisation.
    pub(crate) fn new(products: &'a dyn Products, alpha: f64) -> Result<Self> {
        let n = products.rows();
        let mut density = vec![1.0; n];
        let mut sums = vec![0.0; n];
        products.multiply(&density, 1, &mut sums)?;
        if alpha != 0.0 {
            density = density_factors(&sums, alpha);
            products.multiply(&density, 1, &mut sums)?;
        }
        let (scale, mut leading) = scales(&density, &sums);
        let norm = dot(&leading, &leading).sqrt();
        leading.iter_mut().for_each(|x| *x /= norm);
        Ok(Self { products, scale, leading })
    }

    pub(crate) fn rows(&self) -> usize {
        self.products.rows()
    }

    /// s.
    pub(crate) fn scale(&self) -> &[f64] {
        &self.scale
    }

    /// The unit eigenvector of the eigenvalue 1: √d over its norm.
    pub(crate) fn leading(&self) -> &[f64] {
        &self.leading
    }

    /// tr K = Σ s².
    pub(crate) fn trace(&self) -> f64 {
        dot(&self.scale, &self.scale)
    }

    /// tr K² = Σ_ij s_i² G_ij² s_j².
    pub(crate) fn trace_of_square(&self) -> Result<f64> {
        let squares: Vec<f64> = self.scale.iter().map(|s| s * s).collect();
        self.products.square_form(&squares)
    }

    /// `to = K·vectors`, both with `width` numbers a row; `scaled` is scratch of the same size.
    pub(crate) fn multiply(
        &self,
        vectors: &[f64],
        width: usize,
        scaled: &mut [f64],
        to: &mut [f64],
    ) -> Result<()> {
        scale_rows(vectors, &self.scale, width, scaled);
        self.products.multiply(scaled, width, to)?;
        for (row, scale) in to.chunks_exact_mut(width).zip(&self.scale) {
            row.iter_mut().for_each(|x| *x *= scale);
        }
        Ok(())
    }
}

fn scale_rows(from: &[f64], scale: &[f64], width: usize, to: &mut [f64]) {
    for ((to, from), scale) in to.chunks_exact_mut(width).zip(from.chunks_exact(width)).zip(scale) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = from * scale;
        }
    }
}

/// `to = G·vectors`.
fn products(points: &Points, entries: Entries, vectors: &[f64], width: usize, to: &mut [f64]) {
    to.fill(0.0);
    let of = |rows: std::ops::Range<usize>| {
        let count = rows.len();
        let rows = &vectors[rows.start * width..rows.end * width];
        MatRef::from_row_major_slice(rows, count, width)
    };
    let mut states: Vec<&mut [f64]> = to.chunks_mut(BLOCK * width).collect();
    for_each_tile(points, entries, &mut states, |tile, upper, lower| {
        let matrix = matrix(tile);
        let add = |to: &mut [f64], left: MatRef<'_, f64>, right: MatRef<'_, f64>| {
            let to = MatMut::from_row_major_slice_mut(to, left.nrows(), width);
            matmul(to, Accum::Add, left, right, 1.0, Par::Seq);
        };
        add(upper, matrix, of(tile.columns.clone()));
        if let Some(lower) = lower {
            add(lower, matrix.transpose(), of(tile.rows.clone()));
        }
    });
}

fn matrix<'a>(tile: &Tile<'a>) -> MatRef<'a, f64> {
    let (rows, columns) = (tile.rows.len(), tile.columns.len());
    let entries = &tile.entries[..(rows - 1) * BLOCK + columns];
    MatRef::from_row_major_slice_with_stride(entries, rows, columns, BLOCK)
}
