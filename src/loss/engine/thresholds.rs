//! The floors of rows, from all the logits of as many of them as the budget holds.

use std::ops::Range;

use super::fold::fold_rows;
use super::grid::{TILE_GROUPS, spans};
use super::plan::Plan;
use super::problem::{Problem, Row};
use super::tile::{Hidden, Scratch, sized};
use crate::element::{Operand, Real};
use crate::gemm::{GROUP, PANEL, steps_length};
use crate::parallel;
use crate::softmax::RowState;
use crate::softmax::floor::{Floor, Rule};

/// The floor of each kept row that a rule makes of its largest logit alone.
pub(crate) fn floors_below_maxima<F: Operand>(
    problem: &Problem<'_, F::Sum>,
    plan: &Plan,
    rule: impl Fn(&Row) -> Rule,
) -> Vec<Floor> {
    let states = fold_rows::<F>(problem, plan).states;
    let of = |(row, state): (&Row, &RowState)| rule(row).below_maximum::<F::Sum>(state.maximum);
    problem.rows.iter().zip(&states).map(of).collect()
}

/// The floor of each kept row.
pub(crate) fn floors<F: Operand>(
    problem: &Problem<'_, F::Sum>,
    plan: &Plan,
    rule: impl Fn(&Row) -> Rule + Sync,
) -> Vec<Floor> {
    let (columns, kept) = (problem.columns, problem.rows.len());
    let scratches = Scratch::<F>::several(plan.workers).into_iter();
    let mut scratches: Vec<_> = scratches.map(|scratch| (scratch, Vec::new())).collect();
    let mut hidden = Hidden::<F>::new();
    let spans: Vec<Range<usize>> = spans(columns, plan.tile_columns).collect();
    let at_once = plan.rows_at_once.min(kept);
    // The columns of a task one after the other, in each of these the rows.
    let mut strip = vec![F::Sum::ZERO; at_once * columns];
    let mut floors = vec![Floor::NONE; kept];
    for start in (0..kept).step_by(plan.rows_at_once) {
        let at = start..(start + at_once).min(kept);
        let rows = &problem.rows[at.clone()];
        hidden.pack(problem, rows, plan.workers);
        let mut rest = &mut strip[..];
        let part = |span: &Range<usize>| {
            let length = rows.len() * span.len();
            let (own, tail) = std::mem::take(&mut rest).split_at_mut(length);
            rest = tail;
            (span.clone(), own)
        };
        let tasks = spans.iter().map(part).collect();
        parallel::for_each(&mut scratches, tasks, |(scratch, _), (span, own)| {
            put_logits(problem, &hidden, rows, span, plan.tile_columns, own, scratch);
        });
        let tasks = rows.iter().enumerate().zip(&mut floors[at]).collect();
        parallel::for_each(&mut scratches, tasks, |(_, line), ((i, row), floor)| {
            let (logits, room) = sized(line, 2 * columns).split_at_mut(columns);
            for span in &spans {
                let own = &strip[rows.len() * span.start..][i * span.len()..];
                logits[span.clone()].copy_from_slice(&own[..span.len()]);
            }
            *floor = rule(row).floor(problem.loss.isa, logits, room);
        });
    }
    floors
}

/// All logits of the rows at the columns of a task, row after row.
fn put_logits<F: Operand>(
    problem: &Problem<'_, F::Sum>,
    hidden: &Hidden<F>,
    rows: &[Row],
    span: Range<usize>,
    tile_columns: usize,
    to: &mut [F::Sum],
    scratch: &mut Scratch<F>,
) {
    const ROWS: usize = TILE_GROUPS * GROUP;
    let Scratch { packed, lines, .. } = scratch;
    let length = steps_length::<F>(problem.width);
    for start in span.clone().step_by(tile_columns) {
        let columns = start..(start + tile_columns).min(span.end);
        let packed = packed.sized(columns.len().div_ceil(PANEL) * length);
        problem.pack_classes(columns.clone(), lines, packed);
        for first in (0..rows.len()).step_by(ROWS) {
            let group = first..(first + ROWS).min(rows.len());
            let stride = span.len();
            let to = &mut to[first * stride + (start - span.start)..];
            problem.logits(hidden, rows, group, columns.clone(), packed, (to, stride));
        }
    }
}
