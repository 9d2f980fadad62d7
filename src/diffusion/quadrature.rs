//! Lanczos on many vectors at once, and the quadrature rules that it gives.
//!
//! Every column has its own three-term recurrence; one pass over the kernel serves them all.

use ndarray::Array2;

use super::kernel::Operator;
use crate::algebra::{symmetric_eigen, zeros};
use crate::{Result, parallel};

/// Rows that are worked on at once: their part of a vector block stays in a second cache (128 KiB for 32
/// vectors of f64). Chosen by that.
const CHUNK: usize = 512;
/// A residual of this norm is rounding: the spectrum of K lies in \[0, 1\].
const EXHAUSTED: f64 = 1e-14;
/// A node below the spectrum for the Radau rule: at 0 itself rounding could make it negative.
const BELOW: f64 = -1e-13;

/// Nodes and weights.
#[derive(Clone)]
pub(super) struct Rule(Vec<(f64, f64)>);

impl Rule {
    pub(super) fn sum(&self, f: impl Fn(f64) -> f64) -> f64 {
        self.0.iter().map(|&(x, weight)| weight * f(x)).sum()
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = (f64, f64)> {
        self.0.iter().copied()
    }

    pub(super) fn scaled(mut self, factor: f64) -> Self {
        self.0.iter_mut().for_each(|(_, weight)| *weight *= factor);
        self
    }
}

struct Column {
    squared_norm: f64,
    diagonal: Vec<f64>,
    beside: Vec<f64>,
    exhausted: bool,
}

pub(super) struct Quadrature<'a> {
    operator: &'a Operator<'a>,
    width: usize,
    columns: Vec<Column>,
    /// Blocks of N×width, row after row.
    basis: Vec<Vec<f64>>,
    scaled: Vec<f64>,
    product: Vec<f64>,
}

impl<'a> Quadrature<'a> {
    /// Of these vectors, which are orthogonal to the leading eigenvector.
    pub(super) fn new(
        operator: &'a Operator<'a>,
        mut start: Vec<f64>,
        width: usize,
    ) -> Result<Self> {
        let rows = operator.rows();
        let squared = inner_products(std::slice::from_ref(&start), &start, width);
        let columns: Vec<Column> = squared
            .iter()
            .map(|&squared_norm| Column {
                // What projection has left of a vector in the subspace is rounding.
                squared_norm: if squared_norm > 1e-20 * rows as f64 { squared_norm } else { 0.0 },
                diagonal: Vec::new(),
                beside: Vec::new(),
                exhausted: squared_norm <= 1e-20 * rows as f64,
            })
            .collect();
        normalise(&mut start, &columns, &squared.iter().map(|x| x.sqrt()).collect::<Vec<_>>());
        let (scaled, product) = (zeros(rows, width)?, zeros(rows, width)?);
        Ok(Self { operator, width, columns, basis: vec![start], scaled, product })
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn degree(&self) -> usize {
        self.basis.len() - 1
    }

    /// Whether every rule is exact.
    pub(super) fn is_exhausted(&self) -> bool {
        self.columns.iter().all(|column| column.exhausted)
    }

    pub(super) fn squared_norm(&self, column: usize) -> f64 {
        self.columns[column].squared_norm
    }

    /// One step of every recurrence, orthogonalised twice against all before.
    pub(super) fn advance(&mut self) -> Result<()> {
        let Self { operator, width, columns, basis, scaled, product } = self;
        let width = *width;
        let last = basis.len() - 1;
        operator.multiply(&basis[last], width, scaled, product)?;
        let mut diagonal = vec![0.0; width];
        for _ in 0..2 {
            remove(operator.leading(), product, width);
            let products = inner_products(basis, product, width);
            subtract(basis, &products, product, width);
            let of_last = &products[last * width..];
            diagonal.iter_mut().zip(of_last).for_each(|(sum, part)| *sum += part);
        }
        let squared = inner_products(std::slice::from_ref(product), product, width);
        let norms: Vec<f64> = squared.iter().map(|x| x.sqrt()).collect();
        for ((column, &diagonal), &norm) in columns.iter_mut().zip(&diagonal).zip(&norms) {
            if !column.exhausted {
                column.diagonal.push(diagonal);
                column.exhausted = norm <= EXHAUSTED;
                column.beside.push(if column.exhausted { 0.0 } else { norm });
            }
        }
        let mut next = zeros(product.len() / width, width)?;
        next.copy_from_slice(product);
        normalise(&mut next, columns, &norms);
        basis.push(next);
        Ok(())
    }

    /// The first and second moment of a column's measure.
    pub(super) fn moments(&self, column: usize) -> [f64; 2] {
        let column = &self.columns[column];
        match (column.diagonal.first(), column.beside.first()) {
            (Some(a), Some(b)) => [*a, a * a + b * b],
            _ => [0.0; 2],
        }
    }

    /// The Gauss rule.
    pub(super) fn gauss(&self, column: usize) -> Result<Rule> {
        let column = &self.columns[column];
        rule(&column.diagonal, &column.beside)
    }

    /// The Gauss–Radau rule with a node at the lower end of the spectrum.
    pub(super) fn radau(&self, column: usize) -> Result<Rule> {
        let column = &self.columns[column];
        if column.exhausted {
            return rule(&column.diagonal, &column.beside);
        }
        // The last pivot of T − x₀·I.
        let mut pivot = 1.0;
        let mut before = 0.0;
        for (a, b) in column.diagonal.iter().zip(&column.beside) {
            pivot = a - BELOW - before / pivot;
            if pivot <= 0.0 {
                pivot = f64::EPSILON;
            }
            before = b * b;
        }
        let mut diagonal = column.diagonal.clone();
        diagonal.push(BELOW + before / pivot);
        rule(&diagonal, &column.beside)
    }
}

/// The rule of a Jacobi matrix: its eigenvalues, and the squares of the first components.
fn rule(diagonal: &[f64], beside: &[f64]) -> Result<Rule> {
    let n = diagonal.len();
    let mut matrix = Array2::zeros((n, n));
    for i in 0..n {
        matrix[[i, i]] = diagonal[i];
        if i + 1 < n {
            matrix[[i, i + 1]] = beside[i];
            matrix[[i + 1, i]] = beside[i];
        }
    }
    let (nodes, vectors) = symmetric_eigen(matrix)?;
    let weights = (0..n).map(|k| vectors[[0, k]] * vectors[[0, k]]);
    Ok(Rule(nodes.into_iter().zip(weights).collect()))
}

/// Removes the part along a unit vector from every column.
pub(super) fn remove(unit: &[f64], vectors: &mut [f64], width: usize) {
    let mut sums = vec![0.0; width];
    for (row, u) in vectors.chunks_exact(width).zip(unit) {
        for (sum, x) in sums.iter_mut().zip(row) {
            *sum += u * x;
        }
    }
    for (row, u) in vectors.chunks_exact_mut(width).zip(unit) {
        for (x, sum) in row.iter_mut().zip(&sums) {
            *x -= u * sum;
        }
    }
}

/// Divides every column by its norm; those that are exhausted become 0.
fn normalise(vectors: &mut [f64], columns: &[Column], norms: &[f64]) {
    let factors: Vec<f64> = columns
        .iter()
        .zip(norms)
        .map(|(column, norm)| if column.exhausted { 0.0 } else { 1.0 / norm })
        .collect();
    for row in vectors.chunks_exact_mut(columns.len()) {
        row.iter_mut().zip(&factors).for_each(|(x, factor)| *x *= factor);
    }
}

/// Σ_i q_k[i, p]·w[i, p] for every block k and column p.
fn inner_products(basis: &[Vec<f64>], vectors: &[f64], width: usize) -> Vec<f64> {
    let parts = vectors.chunks(CHUNK * width).len();
    let length = basis.len() * width;
    let mut sums = vec![0.0; parts * length];
    let tasks: Vec<(usize, &mut [f64])> = sums.chunks_mut(length).enumerate().collect();
    let mut workers = vec![(); parallel::threads().clamp(1, parts)];
    parallel::for_each(&mut workers, tasks, |(), (part, sums)| {
        let start = part * CHUNK * width;
        let end = vectors.len().min(start + CHUNK * width);
        let vectors = &vectors[start..end];
        for (block, sums) in basis.iter().zip(sums.chunks_exact_mut(width)) {
            let rows = block[start..end].chunks_exact(width).zip(vectors.chunks_exact(width));
            for (q, w) in rows {
                for ((sum, q), w) in sums.iter_mut().zip(q).zip(w) {
                    *sum += q * w;
                }
            }
        }
    });
    let (total, rest) = sums.split_at_mut(length);
    for part in rest.chunks_exact(length) {
        total.iter_mut().zip(part).for_each(|(total, part)| *total += part);
    }
    sums.truncate(length);
    sums
}

/// w[i, p] −= Σ_k q_k[i, p]·h[k, p].
fn subtract(basis: &[Vec<f64>], products: &[f64], vectors: &mut [f64], width: usize) {
    let tasks: Vec<(usize, &mut [f64])> = vectors.chunks_mut(CHUNK * width).enumerate().collect();
    let mut workers = vec![(); parallel::threads().clamp(1, tasks.len())];
    parallel::for_each(&mut workers, tasks, |(), (part, vectors)| {
        let start = part * CHUNK * width;
        for (block, products) in basis.iter().zip(products.chunks_exact(width)) {
            let rows = block[start..start + vectors.len()].chunks_exact(width);
            for (w, q) in vectors.chunks_exact_mut(width).zip(rows) {
                for ((w, q), product) in w.iter_mut().zip(q).zip(products) {
                    *w -= q * product;
                }
            }
        }
    });
}
