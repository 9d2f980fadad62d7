//! Register tiles: M rows × two vectors of sums, one multiply-add after the other over the whole k.
//!
//! Written once over [`Lanes`], of which every instruction set and number format has its own. The
//! left factor is broadcast, the right one loaded. Each sum takes its products one at a time and in
//! the order of k, so that an element has the same bits wherever in a tile it stands.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
pub(super) mod portable;

use std::ops::Index;

use super::format::Format;
use super::layout::PANEL;

/// The registers of one instruction set for one format.
///
/// A *step* is what one multiply-add takes along k: [`Format::DEPTH`] numbers.
///
/// A value proves that the processor has the instruction set; its methods must be inlined into a
/// function that enables it.
pub trait Lanes: Copy {
    /// What panels hold.
    type Format: Format;
    /// The left factor of a step in every lane, or the right factor of a step in each.
    type Factor: Copy;
    /// The sums of the lanes.
    type Sums: Copy;
    /// `TRANSPOSED` right factors, or one where there are none.
    type Block: Index<usize, Output = Self::Factor>;
    /// Sums in a vector.
    const WIDTH: usize;
    /// Rows of a tile whose left factor stands in rows: as many as registers hold, see each back end.
    const ROWS: usize;
    /// Rows of a tile of a panel whose left factor stands in columns, and how many of these there are: of two
    /// kinds, 32 rows in all.
    const COLUMNS: [(usize, usize); 2];
    /// Whether k is cut by the first cache, see [`depths`](super::depths).
    const CUT: bool;
    /// Rows and steps that are transposed at once; 0 where that is not faster than one by one.
    const TRANSPOSED: usize;

    /// No products yet.
    fn zero(self) -> Self::Sums;
    /// # Safety
    /// A step can be read from `from`, which is aligned to it.
    unsafe fn broadcast(self, from: *const Self::Format) -> Self::Factor;
    /// # Safety
    /// `WIDTH` steps can be read from `from`.
    unsafe fn load(self, from: *const Self::Format) -> Self::Factor;
    /// The steps that two rows make together, or the first row where a step is one number.
    ///
    /// # Safety
    /// 2·`WIDTH` numbers can be read from each.
    unsafe fn load_rows(self, rows: [*const Self::Format; 2]) -> [Self::Factor; 2];
    /// Brings what stands there near; nothing where that is not known to help.
    fn prefetch(self, at: *const Self::Format);
    /// The same, only as far as the second cache.
    fn prefetch_far(self, at: *const Self::Format);
    /// Writes the steps that two rows of 32 numbers make together.
    ///
    /// # Safety
    /// 32 numbers can be read from each row, twice as many written.
    unsafe fn interleave(self, rows: [*const Self::Format; 2], to: *mut Self::Format);
    fn multiply_add(self, a: Self::Factor, b: Self::Factor, sums: Self::Sums) -> Self::Sums;
    /// Sums that were stored.
    ///
    /// # Safety
    /// `WIDTH` sums can be read from `at`.
    unsafe fn load_sums(self, at: *const Real<Self>) -> Self::Sums;
    /// # Safety
    /// `WIDTH` sums can be read from `at`.
    unsafe fn add_to(self, at: *const Real<Self>, sums: Self::Sums) -> Self::Sums;
    /// # Safety
    /// `WIDTH` sums can be written to `at`.
    unsafe fn store(self, at: *mut Real<Self>, sums: Self::Sums);
    /// The sum of the lanes.
    fn total(self, sums: Self::Sums) -> Real<Self>;
    /// Rounds two rows of 32 sums into two rows of a panel, and where a step is a pair into one row of
    /// pairs too.
    ///
    /// # Safety
    /// The rows can be read and written; so can the pairs, where there are any.
    unsafe fn put(
        self,
        from: [*const Real<Self>; 2],
        rows: [*mut Self::Format; 2],
        pairs: *mut Self::Format,
    );
    /// Turns `TRANSPOSED` rows of as many steps into as many right factors.
    ///
    /// # Safety
    /// So many steps can be read from each row.
    unsafe fn transposed(self, from: impl Fn(usize) -> *const Self::Format) -> Self::Block;
    /// Turns `TRANSPOSED` rows of as many steps into as many rows of a panel of steps.
    ///
    /// # Safety
    /// So many steps can be read from each row, and written from every 32nd step of `to` on.
    unsafe fn transpose(self, from: impl Fn(usize) -> *const Self::Format, to: *mut Self::Format);
}

/// A computation written once and compiled for each instruction set.
pub trait Job<F: Format> {
    /// The computation; must be `#[inline(always)]`, as all that it calls.
    fn run<L: Lanes<Format = F>>(self, lanes: L);
}

/// What the sums of some lanes are.
pub type Real<L> = <<L as Lanes>::Format as Format>::Sum;

/// Numbers along k in a step.
const fn depth<L: Lanes>() -> usize {
    <L::Format as Format>::DEPTH
}

/// Columns of a tile.
pub(super) const fn columns<L: Lanes>() -> usize {
    2 * L::WIDTH
}

/// Bytes of a cache line.
const LINE: usize = 64;
/// Steps between two jumps back: four paid on Zen 5, where a loop of the 32 steps of a panel ends in a
/// mispredicted jump. It divides a panel's steps, whether they are numbers (32) or pairs (16).
const UNROLL: usize = 4;
/// Steps that a column of the left factor is fetched ahead. A step of 8 rows is 16 multiply-adds, 8 cycles
/// at two a cycle: 24 are about 190 cycles, more than a third cache takes to answer. Chosen by that; no
/// measurement of other distances is recorded.
const AHEAD: usize = 24;

/// Steps of f32, and of pairs of bf16, in a line.
const LINE_STEPS: usize = 16;
/// Bytes that rows which are read once are fetched ahead: 256 and 512 brought 12 rows from 19.5 to 22.8 GB/s on
/// Zen 5, 2048 to 20.1.
const LINES_AHEAD: usize = 512;

/// Where the left factor of row i at step k stands.
pub(super) trait Left<T>: Copy {
    /// # Safety
    /// Row and step are within what it was made for.
    unsafe fn at(self, i: usize, k: usize) -> *const T;
    /// What is read some steps after step k; any address.
    fn ahead(self, k: usize) -> *const T;
}

/// Rows of a panel that follow each other, and where the same rows of the next panel stand.
#[derive(Clone, Copy)]
pub(super) struct Rows<T>(pub(super) *const T, pub(super) *const T);

/// Rows of a panel from anywhere.
#[derive(Clone, Copy)]
pub(super) struct Gathered<T, const M: usize>(pub(super) [*const T; M]);

/// Rows from anywhere that are read once, out of memory: each is fetched as it goes.
#[derive(Clone, Copy)]
pub(super) struct Lines<T, const M: usize>(pub(super) [*const T; M]);

/// Columns of a panel: k runs along its rows.
#[derive(Clone, Copy)]
pub(super) struct Columns<T>(pub(super) *const T);

impl<T: Format> Left<T> for Rows<T> {
    #[inline(always)]
    unsafe fn at(self, i: usize, k: usize) -> *const T {
        // SAFETY: the row and the step are of the panel.
        unsafe { self.0.add(i * PANEL + k * T::DEPTH) }
    }
    #[inline(always)]
    fn ahead(self, k: usize) -> *const T {
        self.1.wrapping_add(k * (LINE / size_of::<T>()))
    }
}

impl<T: Format, const M: usize> Left<T> for Gathered<T, M> {
    #[inline(always)]
    unsafe fn at(self, i: usize, k: usize) -> *const T {
        // SAFETY: the step is of the panel.
        unsafe { self.0[i].add(k * T::DEPTH) }
    }
    #[inline(always)]
    fn ahead(self, k: usize) -> *const T {
        self.0[0].wrapping_add(k * T::DEPTH)
    }
}

impl<T: Format, const M: usize> Left<T> for Lines<T, M> {
    #[inline(always)]
    unsafe fn at(self, i: usize, k: usize) -> *const T {
        // SAFETY: the step is of the row.
        unsafe { self.0[i].add(k * T::DEPTH) }
    }
    #[inline(always)]
    fn ahead(self, k: usize) -> *const T {
        // A line of every row, each at a step of its own, in the steps of a line of f32.
        let (row, line) = (k % LINE_STEPS, k / LINE_STEPS * LINE_STEPS * T::DEPTH);
        self.0[row.min(M - 1)].wrapping_add(line + LINES_AHEAD / size_of::<T>())
    }
}

impl<T: Format> Left<T> for Columns<T> {
    #[inline(always)]
    unsafe fn at(self, i: usize, k: usize) -> *const T {
        // SAFETY: the column and the step are of the panel.
        unsafe { self.0.add((k * PANEL + i) * T::DEPTH) }
    }
    #[inline(always)]
    fn ahead(self, k: usize) -> *const T {
        self.0.wrapping_add((k + AHEAD) * PANEL * T::DEPTH)
    }
}

/// Where the right factors of step k stand.
pub(super) trait Right<L: Lanes>: Copy {
    /// # Safety
    /// The step is within what it was made for.
    unsafe fn at(self, lanes: L, k: usize) -> [L::Factor; 2];
}

/// Steps that were interleaved when they were packed.
#[derive(Clone, Copy)]
pub(super) struct Steps<T>(pub(super) *const T);

/// Rows of a matrix, so many numbers apart.
#[derive(Clone, Copy)]
pub(super) struct Apart<T>(pub(super) *const T, pub(super) usize);

/// Rows of a panel, each named.
#[derive(Clone, Copy)]
pub(super) struct Named<T>(pub(super) *const T, pub(super) *const u32);

impl<L: Lanes> Right<L> for Steps<L::Format> {
    #[inline(always)]
    unsafe fn at(self, lanes: L, k: usize) -> [L::Factor; 2] {
        // SAFETY: the step is of the panel, which is PANEL steps wide.
        unsafe {
            let first = self.0.add(k * PANEL * depth::<L>());
            [lanes.load(first), lanes.load(first.add(L::WIDTH * depth::<L>()))]
        }
    }
}

impl<L: Lanes> Right<L> for Apart<L::Format> {
    #[inline(always)]
    unsafe fn at(self, lanes: L, k: usize) -> [L::Factor; 2] {
        // SAFETY: the rows are of the matrix, and a tile's columns are of each.
        unsafe {
            let first = self.0.add(k * depth::<L>() * self.1);
            lanes.load_rows([first, first.add((depth::<L>() - 1) * self.1)])
        }
    }
}

impl<L: Lanes> Right<L> for Named<L::Format> {
    #[inline(always)]
    unsafe fn at(self, lanes: L, k: usize) -> [L::Factor; 2] {
        // SAFETY: the names are as many as there are numbers along k, and name rows of the panel.
        unsafe {
            let (first, last) = (k * depth::<L>(), (k + 1) * depth::<L>() - 1);
            let row = |at| self.0.add(*self.1.add(at) as usize * PANEL);
            lanes.load_rows([row(first), row(last)])
        }
    }
}

/// The sums of a tile.
pub(super) type Tile<L, const M: usize> = [[<L as Lanes>::Sums; 2]; M];

/// A tile without products.
#[inline(always)]
pub(super) fn empty<L: Lanes, const M: usize>(lanes: L) -> Tile<L, M> {
    [[lanes.zero(); 2]; M]
}

/// A tile as it was stored, to be gone on with.
///
/// # Safety
/// The numbers of the destination can be read.
#[inline(always)]
pub(super) unsafe fn resume<L: Lanes, const M: usize>(
    lanes: L,
    from: &Destination<Real<L>, impl Fn(usize) -> isize>,
) -> Tile<L, M> {
    let mut tile = empty::<L, M>(lanes);
    if from.columns == columns::<L>() && from.rows >= M {
        for (i, row) in tile.iter_mut().enumerate() {
            // SAFETY: the row is of the destination, and as wide as the tile.
            unsafe {
                let at = from.at.offset((from.offset)(i));
                *row = [lanes.load_sums(at), lanes.load_sums(at.add(L::WIDTH))];
            }
        }
        return tile;
    }
    // A tile is at most PANEL wide.
    let mut line = [Real::<L>::default(); PANEL];
    let mut edge = empty::<L, M>(lanes);
    for (i, row) in edge.iter_mut().enumerate().take(from.rows) {
        for (j, value) in line[..from.columns].iter_mut().enumerate() {
            // SAFETY: row and column are of the destination.
            *value = unsafe { *from.at.offset((from.offset)(i)).add(j) };
        }
        for (v, sums) in row.iter_mut().enumerate() {
            // SAFETY: two vectors are no wider than a panel.
            *sums = unsafe { lanes.load_sums(line.as_ptr().add(v * L::WIDTH)) };
        }
    }
    for (row, edge) in tile.iter_mut().zip(edge) {
        *row = edge;
    }
    tile
}

/// Adds the products of so many steps.
///
/// # Safety
/// Both factors were made for M rows (of tile) and `steps` steps.
#[inline(always)]
pub(super) unsafe fn accumulate<L: Lanes, const M: usize>(
    lanes: L,
    mut tile: Tile<L, M>,
    steps: usize,
    left: impl Left<L::Format>,
    right: impl Right<L>,
) -> Tile<L, M> {
    // Not a closure: one that is not inlined would lose the instruction set.
    macro_rules! step {
        ($k:expr) => {
            // SAFETY: the step is below `steps`, the row below M.
            unsafe {
                let [b0, b1] = right.at(lanes, $k);
                lanes.prefetch(left.ahead($k));
                for (i, row) in tile.iter_mut().enumerate() {
                    let a = lanes.broadcast(left.at(i, $k));
                    row[0] = lanes.multiply_add(a, b0, row[0]);
                    row[1] = lanes.multiply_add(a, b1, row[1]);
                }
            }
        };
    }
    let whole = steps / UNROLL * UNROLL;
    for k in (0..whole).step_by(UNROLL) {
        for u in 0..UNROLL {
            step!(k + u);
        }
    }
    for k in whole..steps {
        step!(k);
    }
    tile
}

/// Where a tile goes: `rows` of it, `columns` wide, row i from `at + offset(i)` on.
pub(super) struct Destination<T, O> {
    pub(super) at: *mut T,
    pub(super) offset: O,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) add: bool,
}

/// Brings what a tile is to be added to near.
#[inline(always)]
pub(super) fn expect<L: Lanes, const M: usize>(
    lanes: L,
    to: &Destination<Real<L>, impl Fn(usize) -> isize>,
) {
    if to.add && to.rows >= M {
        for i in 0..M {
            let at = to.at.wrapping_offset((to.offset)(i));
            lanes.prefetch(at.cast());
            lanes.prefetch(at.wrapping_add(LINE / size_of::<Real<L>>()).cast());
        }
    }
}

/// Writes a tile, or adds it.
///
/// # Safety
/// The numbers of the destination can be written (and read, to be added to).
#[inline(always)]
pub(super) unsafe fn finish<L: Lanes, const M: usize>(
    lanes: L,
    tile: Tile<L, M>,
    to: Destination<Real<L>, impl Fn(usize) -> isize>,
) {
    if to.columns == columns::<L>() && to.rows >= M {
        for (i, row) in tile.into_iter().enumerate() {
            // SAFETY: the row is of the destination, and as wide as the tile.
            unsafe {
                let at = to.at.offset((to.offset)(i));
                let second = at.add(L::WIDTH);
                let [a, b] = match to.add {
                    true => [lanes.add_to(at, row[0]), lanes.add_to(second, row[1])],
                    false => row,
                };
                lanes.store(at, a);
                lanes.store(second, b);
            }
        }
        return;
    }
    // A copy, lest the tile itself is kept in memory.
    let mut edge = empty::<L, M>(lanes);
    for (to, row) in edge.iter_mut().zip(tile) {
        *to = row;
    }
    // SAFETY: the caller's promise.
    unsafe { finish_edge::<L, M>(lanes, &edge, to) };
}

/// Writes the first vector of each row of a tile: the compiler leaves the other half of the products
/// out.
///
/// # Safety
/// As [`finish`].
#[inline(always)]
pub(super) unsafe fn finish_half<L: Lanes, const M: usize>(
    lanes: L,
    tile: Tile<L, M>,
    to: Destination<Real<L>, impl Fn(usize) -> isize>,
) {
    for (i, row) in tile.into_iter().enumerate() {
        if i < to.rows {
            // SAFETY: the row is of the destination, and half as wide as the tile at least.
            unsafe { lanes.store(to.at.offset((to.offset)(i)), row[0]) };
        }
    }
}

/// Writes a tile, or adds it, where not all of it is of the destination.
///
/// # Safety
/// As [`finish`].
#[inline(always)]
unsafe fn finish_edge<L: Lanes, const M: usize>(
    lanes: L,
    tile: &Tile<L, M>,
    to: Destination<Real<L>, impl Fn(usize) -> isize>,
) {
    let Destination { at, offset, rows, columns: width, add } = to;
    // A tile is at most PANEL wide.
    let mut line = [Real::<L>::default(); PANEL];
    for (i, row) in tile.iter().enumerate().take(rows) {
        for (v, &sums) in row.iter().enumerate() {
            // SAFETY: two vectors are no wider than a panel.
            unsafe { lanes.store(line.as_mut_ptr().add(v * L::WIDTH), sums) };
        }
        for (j, &value) in line[..width].iter().enumerate() {
            // SAFETY: row and column are of the destination.
            unsafe {
                let at = at.offset(offset(i)).add(j);
                *at = if add { *at + value } else { value };
            }
        }
    }
}

/// Calls `$body` with a constant `$m` that equals `$value`, one of the heights that lanes have.
macro_rules! with_height {
    ($value:expr, $m:ident => $body:expr) => {
        match $value {
            12 => {
                const $m: usize = 12;
                $body
            }
            8 => {
                const $m: usize = 8;
                $body
            }
            6 => {
                const $m: usize = 6;
                $body
            }
            5 => {
                const $m: usize = 5;
                $body
            }
            _ => {
                const $m: usize = 4;
                $body
            }
        }
    };
}
pub(super) use with_height;
