//! Products of matrices of any strides, in tiles over the threads.

use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis, s};

use crate::element::Real;
use crate::gemm::{
    Buffer, GROUP, PANEL, Panels, Prefetch, Rows, Store, add_columns, add_rows, pack_rows,
    pack_steps, padded_rows, panels_length, row_products, steps_length,
};
use crate::parallel;
use crate::pieces::split;
use crate::simd::Isa;

/// Rows of a tile, whole groups of a kernel's: as a tile of logits.
const TILE_ROWS: usize = 8 * GROUP;

/// Columns of a tile: as a tile of logits.
const TILE_COLUMNS: usize = 8 * PANEL;

/// The part of k whose factors stay in a second cache: 704 KiB of f32 for a tile, of 1 MiB on Zen 5. Chosen by
/// that.
const DEPTH: usize = 512;

/// Multiply-adds below which another thread costs more than it takes over: a microsecond at the peak of a core
/// of Zen 5 (270 GFLOP/s). Chosen by that; where the ways cross is not recorded.
const FEW: usize = 1 << 17;

/// The memory of one thread for packed factors.
pub(crate) struct Scratch<T> {
    left: Buffer<T>,
    right: Buffer<T>,
}

impl<T: Real> Scratch<T> {
    pub(crate) fn new() -> Self {
        Self { left: Buffer::new(), right: Buffer::new() }
    }
}

/// A·B over all threads.
pub(crate) fn product<T: Real>(isa: Isa, a: ArrayView2<'_, T>, b: ArrayView2<'_, T>) -> Array2<T> {
    let mut to = Array2::from_elem((a.dim().0, b.dim().1), T::ZERO);
    let operations = a.dim().0.saturating_mul(a.dim().1).saturating_mul(b.dim().1);
    let threads = if operations < FEW { 1 } else { parallel::threads() };
    let mut scratches: Vec<_> = (0..threads).map(|_| Scratch::new()).collect();
    multiply(isa, &mut scratches, a, b, Target::Zeros, to.view_mut());
    to
}

/// What a product finds where it goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// Zeros.
    Zeros,
    /// What it replaces.
    Old,
    /// What it is added to.
    Sum,
}

/// `to = A·B`, or added to it, on this thread.
pub(crate) fn multiply_here<T: Real>(
    isa: Isa,
    scratch: &mut Scratch<T>,
    a: ArrayView2<'_, T>,
    b: ArrayView2<'_, T>,
    target: Target,
    to: ArrayViewMut2<'_, T>,
) {
    multiply(isa, std::slice::from_mut(scratch), a, b, target, to);
}

/// Which way a matrix is read without being copied.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Rows,
    Columns,
}

fn order<T: Real>(matrix: &ArrayView2<'_, T>) -> Option<Order> {
    let (rows, columns) = matrix.dim();
    let strides = matrix.strides();
    match () {
        () if columns <= 1 || strides[1] == 1 => Some(Order::Rows),
        () if rows <= 1 || strides[0] == 1 => Some(Order::Columns),
        () => None,
    }
}

/// The matrix in one of the two orders.
fn ordered<'a, T: Real>(
    matrix: ArrayView2<'a, T>,
) -> (ndarray::CowArray<'a, T, ndarray::Ix2>, Order) {
    match order(&matrix) {
        Some(order) => (matrix.into(), order),
        None => {
            let mut copy = Array2::from_elem(matrix.dim(), T::ZERO);
            copy.assign(&matrix);
            (copy.into(), Order::Rows)
        }
    }
}

/// A row, without a copy where it is contiguous.
fn row<'a, T: Real>(matrix: &ArrayView2<'a, T>, row: usize) -> &'a [T] {
    (*matrix).index_axis_move(Axis(0), row).to_slice().expect("contiguous rows")
}

/// One tile of a product: its rows and columns, and where they go.
struct Tile<'a, T> {
    row: usize,
    column: usize,
    to: ArrayViewMut2<'a, T>,
}

/// `to = A·B`, or added to it, over as many threads as there is scratch. Its bits do not depend on their number.
pub(crate) fn multiply<T: Real>(
    isa: Isa,
    scratches: &mut [Scratch<T>],
    a: ArrayView2<'_, T>,
    b: ArrayView2<'_, T>,
    target: Target,
    mut to: ArrayViewMut2<'_, T>,
) {
    let (rows, depth) = a.dim();
    let columns = b.dim().1;
    if rows == 0 || columns == 0 || depth == 0 {
        if target == Target::Old {
            to.fill(T::ZERO);
        }
        return;
    }
    let (a, left) = ordered(a);
    let (b, right) = ordered(b);
    let (a, left) = match (left, right) {
        // No kernel reads both along their columns.
        (Order::Columns, Order::Columns) => {
            let mut rows = Array2::from_elem(a.dim(), T::ZERO);
            rows.assign(&a);
            (rows.into(), Order::Rows)
        }
        _ => (a, left),
    };
    let (a, b) = (a.view(), b.view());
    let mut packed = std::mem::replace(&mut scratches[0].right, Buffer::new());
    let height = padded_rows(depth);
    let panels = columns.div_ceil(PANEL);
    let length = match right {
        Order::Rows => height * PANEL,
        Order::Columns => steps_length::<T>(depth),
    };
    let right_factor = packed.sized(panels * length);
    let tasks = right_factor.chunks_mut(length).enumerate().collect();
    parallel::for_each(scratches, tasks, |_, (q, to): (usize, &mut [T])| {
        let own = q * PANEL..columns.min((q + 1) * PANEL);
        match right {
            Order::Rows => {
                let b = b.slice(s![.., own]);
                pack_rows((0..depth).map(|k| row(&b, k)), 0, height, to);
            }
            Order::Columns => {
                let columns = b.slice(s![.., own]).reversed_axes();
                let mut names = [&[][..]; PANEL];
                let count = columns.dim().0;
                for (j, name) in names.iter_mut().take(count).enumerate() {
                    *name = row(&columns, j);
                }
                pack_steps(isa, &names[..count], depth, to);
            }
        }
    });
    let right_factor = &right_factor[..];
    let tile_rows = if left == Order::Rows { TILE_ROWS } else { PANEL };
    let mut tiles = Vec::new();
    for (i, strip) in split(to, Axis(0), tile_rows).into_iter().enumerate() {
        for (j, to) in split(strip, Axis(1), TILE_COLUMNS).into_iter().enumerate() {
            tiles.push(Tile { row: i * tile_rows, column: j * TILE_COLUMNS, to });
        }
    }
    let names: Vec<u32> = (0..TILE_ROWS as u32).collect();
    parallel::for_each(scratches, tiles, |scratch, Tile { row: first, column, mut to }| {
        let (count, width) = to.dim();
        match (left, right) {
            (Order::Rows, _) => {
                let padded = padded_rows(count);
                let from = (first..first + count).map(|i| row(&a, i));
                let packed = scratch.left.sized(panels_length(padded, depth));
                pack_rows(from, 0, padded, packed);
                let left = Panels::new(packed, padded);
                if right == Order::Rows {
                    if target == Target::Old {
                        to.fill(T::ZERO);
                    }
                    let right = (Panels::new(right_factor, height), 0);
                    let own = column..column + width;
                    let names = &names[..count];
                    let prefetch = Prefetch::nothing();
                    add_rows(isa, left, 0, depth, right, own, names, prefetch, &mut to);
                } else {
                    let right = &right_factor[column / PANEL * length..];
                    let right = (right, Prefetch::nothing());
                    let rows = Rows::From(0, count);
                    if target == Target::Sum {
                        let mut products = Array2::from_elem(to.dim(), T::ZERO);
                        row_products(isa, left, rows, depth, right, &mut products.view_mut());
                        to += &products;
                    } else {
                        row_products(isa, left, rows, depth, right, &mut to);
                    }
                }
            }
            (Order::Columns, _) => {
                let packed = scratch.left.sized(padded_rows(depth) * PANEL);
                let from = a.slice(s![first..first + count, ..]).reversed_axes();
                pack_rows((0..depth).map(|k| row(&from, k)), 0, padded_rows(depth), packed);
                let right = Panels::new(right_factor, height);
                let own = column..column + width;
                for k in (0..depth).step_by(DEPTH) {
                    let steps = DEPTH.min(depth - k);
                    let left = &packed[k * PANEL..];
                    let first = k == 0 && target != Target::Sum;
                    let store = if first { Store::Assign } else { Store::Add };
                    let rows = Rows::From(k, steps);
                    add_columns(isa, left, right, rows, own.clone(), store, &mut to);
                }
            }
        }
    });
    scratches[0].right = packed;
}
