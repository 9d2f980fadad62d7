//! Arrays as long rows of numbers: in pieces over the threads, in vectors within a piece.

use ndarray::{ArrayD, ArrayViewD, ArrayViewMutD, Axis};

use super::array::Shared;
use crate::element::{Real, compiled};
use crate::parallel;
use crate::simd::{Isa, Kernel, Simd, Vector, splat};

/// Numbers of a piece: 32 KiB of f32, a first cache of many processors. Chosen by that.
pub(super) const PIECE: usize = 1 << 13;

/// Below so many numbers, four pieces, another thread costs more than it takes over. Where the ways cross
/// is not recorded.
const FEW: usize = 1 << 15;

/// What joins two pieces into a third, such as [`zip_piece`].
pub(super) type Join<'a, T> = &'a (dyn Fn(&mut [T], &[T], &[T]) + Sync);

/// What joins a piece into another, such as [`zip_here`].
pub(super) type JoinInto<'a, T> = &'a (dyn Fn(&mut [T], &[T]) + Sync);

/// The array with its rows one after the other.
pub(super) fn standard<T: Real>(array: Shared<T>) -> Shared<T> {
    match array.is_standard_layout() {
        true => array,
        false => copy(&array),
    }
}

/// Each as by [`standard`], for what is not itself [`compiled`].
pub(super) fn all_standard<T: Real>(arrays: Vec<Shared<T>>) -> Vec<Shared<T>> {
    compiled!(
        [] T: Vec<Shared<T>> => Vec<Shared<T>>,
        |arrays| arrays.into_iter().map(standard).collect(),
        arrays
    )
}

/// The array in memory of its own.
pub(super) fn own<T: Real>(array: Shared<T>) -> Shared<T> {
    match array.try_into_owned_nocopy() {
        Ok(own) => own.into_shared(),
        Err(array) => copy(&array),
    }
}

/// A copy with its rows one after the other.
fn copy<T: Real>(array: &Shared<T>) -> Shared<T> {
    let mut copy = ArrayD::from_elem(array.raw_dim(), T::ZERO);
    zip_views(copy.view_mut(), array.view(), |_, x| x);
    copy.into_shared()
}

/// Gives each task to a thread, all of them to this one where they are of so few numbers.
pub(super) fn for_each<T: Send>(
    numbers: usize,
    tasks: impl IntoIterator<Item = T>,
    work: impl Fn(T) + Sync,
) {
    for_each_of(numbers, tasks.into_iter().collect(), &work);
}

fn for_each_of<T: Send>(numbers: usize, tasks: Vec<T>, work: &(dyn Fn(T) + Sync)) {
    let threads = if numbers < FEW { 1 } else { parallel::threads() };
    parallel::for_each(&mut vec![(); threads], tasks, |(), task| work(task));
}

/// Rows of this width that make up a piece.
pub(super) fn rows_of_a_piece(width: usize) -> usize {
    (PIECE / width.max(1)).max(1)
}

/// A function of one number with its derivative, in vectors.
pub(super) trait Function<T: Real>: Copy + Send + Sync + 'static {
    /// f(x); must be `#[inline(always)]`.
    fn value<S: Simd>(self, simd: S, x: T::Vector<S>) -> T::Vector<S>;
    /// f′(x), where y = f(x); must be `#[inline(always)]`.
    fn derivative<S: Simd>(self, simd: S, x: T::Vector<S>, y: T::Vector<S>) -> T::Vector<S>;
}

/// What is done with a piece by a [`Function`]: all else is compiled once for all of them.
pub(super) trait Elementwise<T>: Sync {
    /// `to[i] = f(from[i])`.
    fn value_of(&self, isa: Isa, from: &[T], to: &mut [T]);
    /// `gradient[i] ← gradient[i]·f′(x[i])`, where y = f(x).
    fn chain(&self, isa: Isa, gradient: &mut [T], x: &[T], y: &[T]);
}

impl<T: Real, F: Function<T>> Elementwise<T> for F {
    fn value_of(&self, isa: Isa, from: &[T], to: &mut [T]) {
        isa.dispatch(Map { to, from, function: *self });
    }
    fn chain(&self, isa: Isa, gradient: &mut [T], x: &[T], y: &[T]) {
        isa.dispatch(Chain { gradient, x, y, function: *self });
    }
}

/// f(x) of every x.
pub(super) fn map<T: Real>(isa: Isa, from: &[T], function: &dyn Elementwise<T>) -> Vec<T> {
    let mut to = vec![T::ZERO; from.len()];
    let tasks = to.chunks_mut(PIECE).zip(from.chunks(PIECE));
    for_each(from.len(), tasks, |(to, from)| function.value_of(isa, from, to));
    to
}

struct Map<'a, T, F> {
    to: &'a mut [T],
    from: &'a [T],
    function: F,
}

impl<T: Real, F: Function<T>> Kernel for Map<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let lanes = <T::Vector<S>>::LANES;
        let whole = self.from.len() / lanes * lanes;
        for (to, from) in self.to.chunks_exact_mut(lanes).zip(self.from.chunks_exact(lanes)) {
            self.function.value(simd, <T::Vector<S>>::load(simd, from)).store(to);
        }
        if whole < self.from.len() {
            let x = <T::Vector<S>>::load_tail(simd, &self.from[whole..], T::ONE);
            self.function.value(simd, x).store_tail(&mut self.to[whole..], T::ZERO);
        }
    }
}

/// g ← g·f′(x) for every g.
pub(super) fn chain<T: Real>(
    isa: Isa,
    gradient: &mut [T],
    x: &[T],
    y: &[T],
    function: &dyn Elementwise<T>,
) {
    let all = gradient.len();
    let pieces = gradient.chunks_mut(PIECE).zip(x.chunks(PIECE)).zip(y.chunks(PIECE));
    for_each(all, pieces, |((gradient, x), y)| function.chain(isa, gradient, x, y));
}

struct Chain<'a, T, F> {
    gradient: &'a mut [T],
    x: &'a [T],
    y: &'a [T],
    function: F,
}

impl<T: Real, F: Function<T>> Kernel for Chain<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { gradient, x, y, function } = self;
        let lanes = <T::Vector<S>>::LANES;
        let whole = gradient.len() / lanes * lanes;
        let vectors = x.chunks_exact(lanes).zip(y.chunks_exact(lanes));
        for (gradient, (x, y)) in gradient.chunks_exact_mut(lanes).zip(vectors) {
            let (x, y) = (<T::Vector<S>>::load(simd, x), <T::Vector<S>>::load(simd, y));
            let slope = function.derivative(simd, x, y);
            <T::Vector<S>>::load(simd, gradient).mul(slope).store(gradient);
        }
        if whole < gradient.len() {
            let tail = |from: &[T]| <T::Vector<S>>::load_tail(simd, &from[whole..], T::ONE);
            let slope = function.derivative(simd, tail(x), tail(y));
            let tail = tail(gradient);
            tail.mul(slope).store_tail(&mut gradient[whole..], T::ZERO);
        }
    }
}

/// `to[i] = f(to[i], from[i])`.
pub(super) fn zip_assign<T: Real>(
    isa: Isa,
    to: &mut [T],
    from: &[T],
    function: impl Fn(T, T) -> T + Copy + Send + Sync,
) {
    zip_assign_by(to, from, &|to, from| zip_here(isa, to, from, function));
}

/// As [`zip_assign`], by what is done with a piece: compiled once for all functions.
pub(super) fn zip_assign_by<T: Real>(to: &mut [T], from: &[T], join: JoinInto<'_, T>) {
    let all = to.len();
    let tasks = to.chunks_mut(PIECE).zip(from.chunks(PIECE));
    for_each(all, tasks, |(to, from)| join(to, from));
}

/// `f(left[i], right[i])`, where `right` is as long, or one row that all rows of `left` are joined with, by what is
/// done with a piece, such as [`zip_piece`].
pub(super) fn zip_by<T: Real>(left: &[T], right: &[T], join: Join<'_, T>) -> Vec<T> {
    let mut to = vec![T::ZERO; left.len()];
    if right.len() == left.len() {
        let tasks = to.chunks_mut(PIECE).zip(left.chunks(PIECE)).zip(right.chunks(PIECE));
        for_each(left.len(), tasks, |((to, left), right)| join(to, left, right));
        return to;
    }
    let width = right.len().max(1);
    let piece = rows_of_a_piece(width) * width;
    let tasks = to.chunks_mut(piece).zip(left.chunks(piece));
    for_each(left.len(), tasks, |(to, left)| {
        for (to, left) in to.chunks_mut(width).zip(left.chunks(width)) {
            join(to, left, right);
        }
    });
    to
}

/// As [`zip_assign_by`], where `from` is repeated: one row for all rows of `to`, the last of which may be shorter.
pub(super) fn zip_rows_by<T: Real>(to: &mut [T], row: &[T], join: JoinInto<'_, T>) {
    rows(to, row.len(), &|to| join(to, row));
}

fn rows<T: Real>(to: &mut [T], width: usize, work: &(dyn Fn(&mut [T]) + Sync)) {
    let all = to.len();
    let tasks = to.chunks_mut(rows_of_a_piece(width) * width.max(1));
    for_each(all, tasks, |to| to.chunks_mut(width).for_each(work));
}

/// `to[i] = f(to[i])`.
pub(super) fn for_every<T: Real>(
    isa: Isa,
    to: &mut [T],
    function: impl Fn(T) -> T + Copy + Send + Sync,
) {
    rows(to, PIECE, &|to| isa.dispatch(Every { to, function }));
}

struct ZipAssign<'a, T, F> {
    to: &'a mut [T],
    from: &'a [T],
    function: F,
}

impl<T: Real, F: Fn(T, T) -> T> Kernel for ZipAssign<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (to, from) in self.to.iter_mut().zip(self.from) {
            *to = (self.function)(*to, *from);
        }
    }
}

struct Zip<'a, T, F> {
    to: &'a mut [T],
    left: &'a [T],
    right: &'a [T],
    function: F,
}

impl<T: Real, F: Fn(T, T) -> T> Kernel for Zip<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for ((to, left), right) in self.to.iter_mut().zip(self.left).zip(self.right) {
            *to = (self.function)(*left, *right);
        }
    }
}

struct Every<'a, T, F> {
    to: &'a mut [T],
    function: F,
}

impl<T: Real, F: Fn(T) -> T> Kernel for Every<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for to in self.to {
            *to = (self.function)(*to);
        }
    }
}

/// Σ x of a slice, in vector lanes.
#[inline(always)]
pub(super) fn sum_lanes<S: Simd, T: Real>(
    simd: S,
    numbers: &[T],
    function: impl Fn(T::Vector<S>) -> T::Vector<S>,
) -> T {
    let lanes = <T::Vector<S>>::LANES;
    let zero = splat::<S, T>(simd, T::ZERO);
    let mut sums = [zero; 2];
    let pairs = numbers.chunks_exact(2 * lanes);
    let rest = pairs.remainder();
    for pair in pairs {
        sums[0] = sums[0].add(function(<T::Vector<S>>::load(simd, pair)));
        sums[1] = sums[1].add(function(<T::Vector<S>>::load(simd, &pair[lanes..])));
    }
    let mut sum = sums[0].add(sums[1]).sum();
    let rest = match rest.len() >= lanes {
        true => {
            sum += function(<T::Vector<S>>::load(simd, rest)).sum();
            &rest[lanes..]
        }
        false => rest,
    };
    if !rest.is_empty() {
        // f(0) need not be 0: lanes beyond the end must not count.
        let mut tail = [T::ZERO; 16];
        function(<T::Vector<S>>::load_tail(simd, rest, T::ZERO)).store(&mut tail);
        for &x in &tail[..rest.len()] {
            sum += x;
        }
    }
    sum
}

/// Σ x of every row.
pub(super) fn row_sums<T: Real>(isa: Isa, from: &[T], width: usize, to: &mut [T]) {
    let rows = rows_of_a_piece(width);
    let tasks = to.chunks_mut(rows).zip(from.chunks((rows * width).max(1)));
    for_each(from.len(), tasks, |(to, from)| {
        isa.dispatch(RowSums { to, from, width });
    });
}

struct RowSums<'a, T> {
    to: &'a mut [T],
    from: &'a [T],
    width: usize,
}

impl<T: Real> Kernel for RowSums<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for (to, row) in self.to.iter_mut().zip(self.from.chunks_exact(self.width)) {
            *to = sum_lanes::<S, T>(simd, row, |x| x);
        }
    }
}

/// Rows of a partial sum of columns: few enough that its rounding stays small.
const BLOCK: usize = 64;

/// Σ x of every column: blocks of rows in their own type, the blocks' sums in f64.
pub(super) fn column_sums<T: Real>(isa: Isa, from: &[T], width: usize) -> Vec<T> {
    column_sums_with(from.len(), from.chunks((BLOCK * width).max(1)), width, {
        |block: &[T], sums: &mut [T]| {
            for row in block.chunks_exact(width) {
                isa.dispatch(ZipAssign { to: sums, from: row, function: |a, b| a + b });
            }
        }
    })
}

/// As [`column_sums`], of what `work` makes of each block: it adds to zeros.
pub(super) fn column_sums_with<T: Real, B: Send>(
    numbers: usize,
    blocks: impl Iterator<Item = B>,
    width: usize,
    work: impl Fn(B, &mut [T]) + Sync,
) -> Vec<T> {
    let blocks: Vec<B> = blocks.collect();
    let mut partial = vec![T::ZERO; blocks.len() * width];
    let tasks = blocks.into_iter().zip(partial.chunks_mut(width.max(1)));
    for_each(numbers, tasks, |(block, sums)| work(block, sums));
    let mut sums = vec![0.0; width];
    for partial in partial.chunks_exact(width.max(1)) {
        for (sum, x) in sums.iter_mut().zip(partial) {
            *sum += x.to_f64();
        }
    }
    sums.into_iter().map(T::from_f64).collect()
}

/// Rows of a block of [`column_sums_with`].
pub(super) fn rows_of_a_block() -> usize {
    BLOCK
}

/// Σ x, pieces in their own type, their sums in f64.
pub(super) fn total<T: Real>(isa: Isa, from: &[T]) -> f64 {
    sum_of_pieces(isa, from, Plain)
}

/// Σ x², pieces in their own type, their sums in f64.
pub(super) fn total_of_squares<T: Real>(isa: Isa, from: &[T]) -> f64 {
    sum_of_pieces(isa, from, Squared)
}

#[derive(Clone, Copy)]
struct Plain;
#[derive(Clone, Copy)]
struct Squared;

trait Term: Copy + Sync {
    fn of<V: Vector>(self, x: V) -> V;
}

impl Term for Plain {
    #[inline(always)]
    fn of<V: Vector>(self, x: V) -> V {
        x
    }
}

impl Term for Squared {
    #[inline(always)]
    fn of<V: Vector>(self, x: V) -> V {
        x.mul(x)
    }
}

struct Total<'a, T, F> {
    from: &'a [T],
    term: F,
}

impl<T: Real, F: Term> Kernel for Total<'_, T, F> {
    type Output = T;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> T {
        sum_lanes::<S, T>(simd, self.from, |x| self.term.of(x))
    }
}

fn sum_of_pieces<T: Real>(isa: Isa, from: &[T], term: impl Term) -> f64 {
    // Short pieces: a sum of 16 lanes over 1024 numbers rounds 64 times.
    const SHORT: usize = 1 << 10;
    let mut sums = vec![0.0; from.len().div_ceil(PIECE)];
    let tasks = sums.iter_mut().zip(from.chunks(PIECE));
    for_each(from.len(), tasks, |(sum, piece)| {
        for from in piece.chunks(SHORT) {
            *sum += isa.dispatch(Total { from, term }).to_f64();
        }
    });
    sums.into_iter().sum()
}

/// `to[i] = f(to[i], from[i])` for parts of larger arrays.
pub(super) fn zip_views<T: Real>(
    mut to: ArrayViewMutD<'_, T>,
    mut from: ArrayViewD<'_, T>,
    function: impl Fn(T, T) -> T + Copy + Send + Sync,
) {
    let all = to.len();
    if all == 0 {
        return;
    }
    // A number is a row of one.
    if to.ndim() == 0 {
        to.insert_axis_inplace(Axis(0));
        from.insert_axis_inplace(Axis(0));
    }
    let piece = rows_of_a_piece(all / to.shape()[0]);
    let tasks = to.axis_chunks_iter_mut(Axis(0), piece).zip(from.axis_chunks_iter(Axis(0), piece));
    for_each(all, tasks, |(mut to, from)| {
        to.zip_mut_with(&from, |to, &from| *to = function(*to, from));
    });
}

/// As [`zip_assign`], on this thread.
pub(super) fn zip_here<T: Real>(isa: Isa, to: &mut [T], from: &[T], function: impl Fn(T, T) -> T) {
    isa.dispatch(ZipAssign { to, from, function });
}

/// `to[i] = f(left[i], right[i])`, on this thread.
pub(super) fn zip_piece<T: Real>(
    isa: Isa,
    to: &mut [T],
    left: &[T],
    right: &[T],
    function: impl Fn(T, T) -> T,
) {
    isa.dispatch(Zip { to, left, right, function });
}

/// As [`for_every`], on this thread.
pub(super) fn every_here<T: Real>(isa: Isa, to: &mut [T], function: impl Fn(T) -> T) {
    isa.dispatch(Every { to, function });
}
