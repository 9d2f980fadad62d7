//! The gradients of given logits.

use super::active::Active;
use super::derivatives::{BesideTile, gradient_group};
use super::grid::TILE_COLUMNS;
use super::pair::Pair;
use super::plan::Plan;
use super::problem::{Problem, Row};
use super::second_head::SecondBlock;
use super::sinks::clear_bias;
use super::tile::{Hidden, Scratch, sized};
use crate::element::{Element, Operand, Real};
use crate::gemm::{GROUP, Prefetch};
use crate::loss::gradients::{Gradients, Sink};
use crate::parallel;
use crate::writing::{clear, put_row, put_vector};

/// The gradients of given logits: there is nothing to multiply.
pub(crate) fn given<F: Operand>(
    problem: &Problem<'_, F::Sum>,
    plan: &Plan,
    active: &[Active<F::Sum>],
    pairs: &[Pair<F::Sum>],
    gradients: Gradients<'_>,
) {
    let Gradients { mut bias, mut logits, .. } = gradients;
    if let Some(Sink { array, accumulate: false }) = &mut logits {
        clear(array);
    }
    if active.is_empty() {
        return clear_bias(&mut bias);
    }
    let mut scratches = Scratch::<F>::several(plan.workers);
    let (columns, chunk) = (problem.columns, plan.rows_at_once);
    let rows: Vec<Row> = active.iter().map(|active| active.row).collect();
    let hidden = Hidden::<F>::new();
    let mut sums = vec![0.0; columns.min(TILE_COLUMNS)];
    let mut second = SecondBlock::new(problem, columns.min(TILE_COLUMNS));
    let mut g = vec![F::Sum::ZERO; chunk.min(active.len()) * columns.min(TILE_COLUMNS)];
    for start in (0..columns).step_by(TILE_COLUMNS) {
        let block = start..(start + TILE_COLUMNS).min(columns);
        let width = block.len();
        sums.fill(0.0);
        if let Some(second) = &mut second {
            second.pack_classes(&block, &mut scratches);
        }
        for first in (0..active.len()).step_by(chunk) {
            let at = first..(first + chunk).min(active.len());
            if let Some(second) = &mut second {
                second.hidden.pack(second.head, &rows[at.clone()], plan.workers);
            }
            let second = second.as_ref();
            let g = &mut g[..at.len() * width];
            let tasks = g.chunks_mut(GROUP * width).enumerate().collect();
            parallel::for_each(&mut scratches, tasks, |scratch, (i, g): (usize, &mut [F::Sum])| {
                let from = at.start + i * GROUP;
                let group = from..from + g.len() / width;
                let tile = (&mut *g, width);
                let none = (&[][..], Prefetch::nothing());
                problem.products(&hidden, &rows, group.clone(), block.clone(), none, tile);
                let (row, sums) = (&mut scratch.row, &mut []);
                let beside = second.map(|second| {
                    let tile =
                        &mut sized(&mut scratch.second_tile, GROUP * TILE_COLUMNS)[..g.len()];
                    let group = i * GROUP..i * GROUP + g.len() / width;
                    let to = (&mut *tile, width);
                    second.logits(&rows[at.clone()], group, block.clone(), 0, to);
                    BesideTile { second: &*tile, pairs }
                });
                let of = |i| active[group.clone()].get(i);
                gradient_group::<F>(problem, of, block.clone(), (g, width), beside, row, sums);
            });
            for (row, g) in rows[at.clone()].iter().zip(g.chunks(width)) {
                if let Some(Sink { array, .. }) = &mut logits {
                    put_row(array, row.hidden, block.clone(), g, true);
                }
                for (sum, value) in sums.iter_mut().zip(g) {
                    *sum += value.to_f64();
                }
            }
        }
        if let Some(Sink { array, accumulate }) = &mut bias {
            put_vector(array, start, &sums[..width], *accumulate);
        }
    }
}
