//! The triangular factor of an orthogonal decomposition.
//!
//! Householder reflections in blocks, of which `faer` does the products. Its own decomposition takes a
//! column for dependent whose rest is below `16·rows·2⁻⁵²` of it, and so loses singular values at
//! 1e-14 of the largest in 200 rows, at 1e-11 in 6000.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef};

use super::{dot, parallelism, zeros};
use crate::Result;
use crate::quotient::{exponent, times_power};

/// Columns of a block.
const BLOCK: usize = 32;
/// Below this a column is scaled before its squares are summed: 2⁻⁴⁸⁰.
const TINY: f64 = 3.2e-145;

/// Replaces the top of a matrix by R of its decomposition QR: min(rows, columns) rows, zeros below
/// the diagonal. Columns stand one after the other, `stride` numbers apart; what is below R is lost.
/// No square of what is not negligible may overflow or vanish.
pub(crate) fn triangular_factor(
    data: &mut [f64],
    stride: usize,
    rows: usize,
    columns: usize,
) -> Result<()> {
    let height = rows.min(columns);
    let par = parallelism();
    let mut reflectors = zeros(rows, BLOCK.min(height))?;
    let mut products = zeros(2 * BLOCK.min(height), columns)?;
    for first in (0..height).step_by(BLOCK) {
        let width = BLOCK.min(height - first);
        let (panel, rest) = data[first * stride..].split_at_mut(width * stride);
        let scales = factorize(panel, stride, first..rows, width);
        let depth = rows - first;
        let others = columns - first - width;
        if others > 0 {
            // The product of the reflections is I − V·T·Vᵀ.
            let v = &mut reflectors[..depth * width];
            for (j, (to, from)) in v.chunks_mut(depth).zip(panel.chunks(stride)).enumerate() {
                to[..j].fill(0.0);
                to[j] = 1.0;
                to[j + 1..].copy_from_slice(&from[first + j + 1..rows]);
            }
            let t = joined(v, depth, &scales);
            let v = MatRef::from_column_major_slice(v, depth, width);
            let t = MatRef::from_column_major_slice(&t, width, width);
            let (a, b) = products[..2 * width * others].split_at_mut(width * others);
            let mut a = MatMut::from_column_major_slice_mut(a, width, others);
            let mut b = MatMut::from_column_major_slice_mut(b, width, others);
            let rest = &mut rest[first..];
            let mut rest =
                MatMut::from_column_major_slice_with_stride_mut(rest, depth, others, stride);
            matmul(a.as_mut(), Accum::Replace, v.transpose(), rest.as_ref(), 1.0, par);
            matmul(b.as_mut(), Accum::Replace, t.transpose(), a.as_ref(), 1.0, par);
            matmul(rest.as_mut(), Accum::Add, v, b.as_ref(), -1.0, par);
        }
    }
    for (column, values) in data.chunks_mut(stride).take(height).enumerate() {
        values[column + 1..height].fill(0.0);
    }
    Ok(())
}

/// Reflects some columns, from the first of these rows on, onto a triangle. Each reflection is
/// `I − τ·v·vᵀ`, v_0 = 1; the rest of v stands below the diagonal, the τ are returned.
fn factorize(
    panel: &mut [f64],
    stride: usize,
    rows: std::ops::Range<usize>,
    width: usize,
) -> Vec<f64> {
    let mut scales = Vec::with_capacity(width);
    for j in 0..width {
        let (done, others) = panel.split_at_mut((j + 1) * stride);
        let top = rows.start + j;
        let column = &mut done[j * stride + top..j * stride + rows.end];
        let (head, tail) = column.split_first_mut().expect("a row on the diagonal");
        let largest = tail.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
        if largest == 0.0 {
            scales.push(0.0);
            continue;
        }
        // Squares that are no normal numbers would make the reflection none.
        let largest = largest.max(head.abs());
        let power = if largest < TINY { exponent(largest) } else { 0 };
        if power != 0 {
            *head = times_power(*head, -power);
            tail.iter_mut().for_each(|x| *x = times_power(*x, -power));
        }
        let squares = dot(tail, tail);
        let length = -head.signum() * (*head * *head + squares).sqrt();
        let scale = (length - *head) / length;
        let pivot = *head - length;
        tail.iter_mut().for_each(|x| *x /= pivot);
        *head = times_power(length, power);
        for other in others.chunks_mut(stride).take(width - j - 1) {
            let (head, rest) =
                other[top..rows.end].split_first_mut().expect("a row on the diagonal");
            let along = scale * (*head + dot(tail, rest));
            *head -= along;
            rest.iter_mut().zip(&*tail).for_each(|(x, v)| *x -= along * v);
        }
        scales.push(scale);
    }
    scales
}

/// The upper triangle T of the product `I − V·T·Vᵀ` of the reflections, in columns.
fn joined(v: &[f64], depth: usize, scales: &[f64]) -> Vec<f64> {
    let width = scales.len();
    let column = |j: usize| &v[j * depth..(j + 1) * depth];
    let mut t = vec![0.0; width * width];
    for (j, scale) in scales.iter().enumerate() {
        let along: Vec<f64> =
            (0..j).map(|i| -scale * dot(&column(i)[j..], &column(j)[j..])).collect();
        for i in 0..j {
            t[j * width + i] = (i..j).map(|k| t[k * width + i] * along[k]).sum();
        }
        t[j * width + j] = *scale;
    }
    t
}
