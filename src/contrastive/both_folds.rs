//! One matrix of scores folded by its rows and by its columns, a tile at a time.

use std::ops::Range;

use crate::element::{Element, Operand, Real};
use crate::gemm::{GROUP, PANEL, steps_length};
use crate::loss::engine::derivatives::Derivatives;
use crate::loss::engine::grid::{TILE_COLUMNS, TILE_GROUPS, spans};
use crate::loss::engine::plan::Plan;
use crate::loss::engine::problem::{Problem, Row};
use crate::loss::engine::second_strip::keep_tile;
use crate::loss::engine::tile::{Hidden, Scratch, sized};
use crate::parallel;
use crate::simd::Isa;
use crate::softmax::RowState;
use crate::softmax::block::Moments;
use crate::softmax::columns::{ColumnSums, reduce_columns};

/// What the rows and the columns of a square of scores are reduced to.
pub(super) struct Folds {
    pub(super) rows: Vec<RowState>,
    pub(super) columns: Vec<RowState>,
    /// The scores of the pairs.
    pub(super) pairs: Vec<f64>,
}

impl Folds {
    /// Bytes of a pair of both.
    pub(super) const BYTES: usize = 2 * size_of::<RowState>() + size_of::<f64>();
}

/// What one task has: some columns over the rows of a wave.
struct Span<'a, R> {
    columns: Range<usize>,
    /// Of all rows of the wave, over these columns alone.
    rows: &'a mut [RowState],
    own: &'a mut [RowState],
    pairs: &'a mut [f64],
    /// Where the products are kept, in panels.
    kept: &'a mut [R],
}

/// Folds all scores. The products are kept in `kept` where it is given: then it has room for all rows and columns,
/// which go in one wave.
pub(super) fn fold<F: Operand>(
    problem: &Problem<'_, F::Sum>,
    plan: &Plan,
    moments: Moments,
    hidden: &mut Hidden<F>,
    mut kept: Option<&mut Derivatives<F>>,
) -> Folds {
    let count = problem.rows.len();
    let wave = if kept.is_some() { count } else { plan.rows_at_once };
    let spans: Vec<_> = spans(problem.columns, plan.tile_columns).collect();
    let mut folds = Folds {
        rows: vec![RowState::new(); count],
        columns: vec![RowState::new(); problem.columns],
        pairs: vec![f64::NAN; problem.columns],
    };
    let mut partial = Vec::with_capacity(wave * spans.len());
    let mut scratches = Scratch::<F>::several(plan.workers);
    for start in (0..count).step_by(wave.max(1)) {
        let at = start..(start + wave).min(count);
        let rows = &problem.rows[at.clone()];
        hidden.pack(problem, rows, plan.workers);
        partial.clear();
        partial.resize(rows.len() * spans.len(), RowState::new());
        let height = kept.as_ref().map_or(0, |kept| kept.height);
        let mut products = kept.as_mut().map_or(&mut [][..], |kept| kept.products());
        let (mut columns, mut pairs) = (&mut folds.columns[..], &mut folds.pairs[..]);
        let mut tasks = Vec::with_capacity(spans.len());
        for (span, of_rows) in spans.iter().zip(partial.chunks_mut(rows.len())) {
            tasks.push(Span {
                columns: span.clone(),
                rows: of_rows,
                own: columns.split_off_mut(..span.len()).expect("columns of the span"),
                pairs: pairs.split_off_mut(..span.len()).expect("pairs of the span"),
                kept: products
                    .split_off_mut(..span.len().div_ceil(PANEL) * PANEL * height)
                    .expect("panels of the span"),
            });
        }
        parallel::for_each(&mut scratches, tasks, |scratch, span| {
            fold_span(problem, hidden, rows, span, height, moments, plan.tile_columns, scratch);
        });
        for partial in partial.chunks(rows.len()) {
            for (state, partial) in folds.rows[at.clone()].iter_mut().zip(partial) {
                state.merge(partial);
            }
        }
    }
    folds
}

#[allow(clippy::too_many_arguments)]
fn fold_span<F: Operand>(
    problem: &Problem<'_, F::Sum>,
    hidden: &Hidden<F>,
    rows: &[Row],
    span: Span<'_, F::Sum>,
    height: usize,
    moments: Moments,
    tile_columns: usize,
    scratch: &mut Scratch<F>,
) {
    let isa = problem.loss.isa;
    let Span { columns: all, rows: of_rows, own, pairs, kept } = span;
    let length = steps_length::<F>(problem.width);
    let Scratch { packed, lines, tile, .. } = scratch;
    for start in all.clone().step_by(tile_columns) {
        let columns = start..(start + tile_columns).min(all.end);
        let width = columns.len();
        let packed = packed.sized(width.div_ceil(PANEL) * length);
        problem.pack_classes(columns.clone(), lines, packed);
        let within = columns.start - all.start..columns.end - all.start;
        let (own, pairs) = (&mut own[within.clone()], &mut pairs[within]);
        let most = TILE_GROUPS * GROUP;
        for first in (0..rows.len()).step_by(most) {
            let group = first..(first + most).min(rows.len());
            let tile = &mut sized(tile, most * tile_columns)[..group.len() * width];
            let next = columns.end..columns.end + tile_columns;
            let next = problem.piece(next, first / most, rows.len().div_ceil(most));
            let (from, to) = ((&*packed, next), (&mut *tile, width));
            problem.products(hidden, rows, group.clone(), columns.clone(), from, to);
            if !kept.is_empty() {
                keep_tile(kept, height, all.start, group.clone(), columns.clone(), tile);
            }
            problem.transform(&rows[group.clone()], columns.clone(), tile, width);
            for (i, logits) in group.clone().zip(tile.chunks_mut(width)) {
                of_rows[i].push_block(isa, columns.start, logits, moments);
                if let Some(at) = rows[i].hidden.checked_sub(columns.start)
                    && let Some(logit) = logits.get(at)
                {
                    pairs[at] = logit.to_f64();
                }
            }
            push_columns(isa, rows[first].hidden, tile, moments, own);
        }
    }
}

/// Folds each column of a tile, of the rows from `first` on, into its state.
fn push_columns<R: Real>(
    isa: Isa,
    first: usize,
    tile: &[R],
    moments: Moments,
    states: &mut [RowState],
) {
    let width = states.len();
    let [mut maxima, mut largest, mut remainders, mut firsts] = [[R::ZERO; TILE_COLUMNS]; 4];
    for (maximum, state) in maxima.iter_mut().zip(&*states) {
        *maximum = R::from_f64(state.maximum);
    }
    let sums =
        ColumnSums { largest: &mut largest, remainders: &mut remainders, firsts: &mut firsts };
    reduce_columns(isa, tile, &maxima[..width], moments, sums);
    let mut column = [R::ZERO; TILE_GROUPS * GROUP];
    for (j, state) in states.iter_mut().enumerate() {
        // A sum with a NaN is NaN, and no such sum is at least anything.
        let known = state.maximum.is_finite() && largest[j] <= maxima[j];
        if known && remainders[j].to_f64() >= R::FADED {
            state.remainder += remainders[j].to_f64();
            state.first_moment += firsts[j].to_f64();
            continue;
        }
        let rows = tile.chunks_exact(width);
        let column = &mut column[..rows.len()];
        for (to, row) in column.iter_mut().zip(rows) {
            *to = row[j];
        }
        state.push_block(isa, first, column, moments);
    }
}
