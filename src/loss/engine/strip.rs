//! The backward that keeps the logits of some rows.

use std::ops::Range;

use super::active::{Active, Seen, active_rows};
use super::candidates::add_candidates;
use super::derivatives::{BesideTile, Derivatives, gradient_group};
use super::few_rows::FewRows;
use super::fold::{FoldTask, Folded, PackedRows, Partial, add_sparse_targets};
use super::grid::{STRIP_COLUMNS, TILE_COLUMNS, strip_classes};
use super::narrow_strip::{Place, keep_narrow, widen};
use super::pair::pairs;
use super::plan::Plan;
use super::problem::Problem;
use super::second_strip::{BesideStrip, SecondStrip, keep_tile};
use super::sinks::{HiddenPart, Sinks, Task, TaskSize, put_classifier};
use super::tile::{Hidden, Scratch, sized};
use crate::element::Operand;
use crate::gemm::{
    GROUP, PANEL, Panels, add_rows, add_rows_of_matrix, pack_pairs, padded_rows, panels_length,
    put_rows,
};
use crate::loss::filter::kept::StoredClassifier;
use crate::loss::gradients::{Gradients, Upstream};
use crate::parallel;
use crate::simd::Isa;

/// Rows times numbers in a step that are few enough for the hidden gradient without packing the
/// classifier: a tile's rows, or half of them where pairs must be made of its rows. Loss and gradients of
/// 48 rows (D = 2304, V = 32768, f32) came from 50 to 68 % of the peak on Zen 5 with this, `few_rows.rs`
/// and huge pages together; where the ways cross is not recorded.
const AS_IT_STANDS: usize = 96;

pub(crate) fn strip<F: Operand>(
    problem: &mut Problem<'_, F::Sum>,
    plan: &Plan,
    upstream: &Upstream<'_>,
    gradients: Gradients<'_>,
) -> Folded {
    // Rows without an upstream come last: they are folded, and no gradient sees them.
    let is_active = |&i: &usize| !upstream.of(&problem.rows[i]).is_zero();
    let (mut order, rest): (Vec<_>, Vec<_>) = (0..problem.rows.len()).partition(is_active);
    let active = order.len();
    if rest.is_empty() {
        return strip_in_order::<F>(problem, plan, upstream, gradients, active);
    }
    order.extend(rest);
    problem.target_logits = None;
    let moved = order.iter().map(|&i| problem.rows[i]).collect();
    let rows = std::mem::replace(&mut problem.rows, moved);
    let mut folded = strip_in_order::<F>(problem, plan, upstream, gradients, active);
    problem.rows = rows;
    let mut places = vec![0; order.len()];
    for (place, &i) in order.iter().enumerate() {
        places[i] = place;
    }
    let k = problem.loss.statistics.top_k;
    folded.states = places.iter().map(|&i| folded.states[i]).collect();
    if !folded.second.is_empty() {
        folded.second = places.iter().map(|&i| folded.second[i]).collect();
    }
    folded.top = places.iter().flat_map(|&i| &folded.top[i * k..(i + 1) * k]).copied().collect();
    folded
}

/// Strips of the first `active` rows, then of the others without their gradients.
pub(crate) fn strip_in_order<F: Operand>(
    problem: &Problem<'_, F::Sum>,
    plan: &Plan,
    upstream: &Upstream<'_>,
    gradients: Gradients<'_>,
    active: usize,
) -> Folded {
    let (width, columns, isa) = (problem.width, problem.columns, problem.loss.isa);
    let mut folded = Folded::new::<F>(problem, plan);
    let kept = problem.rows.len();
    let strip_rows = plan.rows_at_once.min(kept);
    let mut scratches = Scratch::<F>::several(plan.workers);
    let mut hidden = Hidden::<F>::new();
    let narrow = plan.narrow_strip;
    let mut g = match narrow {
        true => Derivatives::<F>::single(strip_rows, columns),
        false => Derivatives::<F>::new(strip_rows, columns),
    };
    let tile_columns = plan.tile_columns;
    let mut places = Vec::<Place>::new();
    let mut partial = Partial::new(problem, plan);
    let mut second = SecondStrip::new(problem, plan, strip_rows);
    let mut sinks = Sinks::new(gradients, active, width, columns);
    let strips = |rows: Range<usize>| {
        let starts = rows.clone().step_by(strip_rows.max(1));
        starts.map(move |start| start..(start + strip_rows).min(rows.end))
    };
    for at in strips(0..active).chain(strips(active..kept)) {
        let rows = &problem.rows[at.clone()];
        hidden.pack(problem, rows, plan.workers);
        g.resize(rows.len(), columns);
        let height = g.height;
        if narrow {
            places.resize(columns.div_ceil(tile_columns) * height, Place::default());
        }
        let (mut rest, mut rest_of_places) = (g.products(), &mut places[..]);
        let tasks = partial.tasks(&folded.states[at.clone()]).into_iter().map(|task| {
            let numbers = task.columns.len().div_ceil(PANEL) * height * PANEL;
            let numbers = if narrow { numbers / F::DEPTH } else { numbers };
            let (own, tail) = std::mem::take(&mut rest).split_at_mut(numbers);
            rest = tail;
            let tiles = if narrow { task.columns.len().div_ceil(tile_columns) } else { 0 };
            let (places, tail) = std::mem::take(&mut rest_of_places).split_at_mut(tiles * height);
            rest_of_places = tail;
            (task, own, places)
        });
        let tasks = tasks.collect();
        let few = FewRows::new(problem, rows);
        if let Some(second) = &mut second {
            second.fold(rows, plan, &mut scratches);
        }
        let beside = problem.second_in_fold().and(second.as_ref()).map(|second| &second.hidden);
        let from = PackedRows { hidden: &hidden, few: few.as_ref(), second: beside };
        type Own<'o, R> = (&'o mut [R], &'o mut [Place]);
        let work = |scratch: &mut Scratch<F>, (task, own, places): (_, _, _)| {
            let (own, places): Own<'_, F::Sum> = (own, places);
            let task: FoldTask<'_> = task;
            let first = task.columns.start;
            problem.fold_span(from, rows, task, tile_columns, scratch, |group, columns, tile| {
                if narrow {
                    let own = bytemuck::cast_slice_mut(&mut *own);
                    let (kept, from) = ((own, &mut *places), (first, tile_columns));
                    keep_narrow::<F>(problem, kept, height, from, rows, group, columns, tile);
                } else {
                    keep_tile(own, height, first, group, columns, tile);
                }
            });
        };
        parallel::for_each(&mut scratches, tasks, work);
        folded.merge(at.clone(), &partial.states, &partial.top);
        let k = problem.loss.statistics.top_k;
        let states = &mut folded.states[at.clone()];
        let seen = (&mut *states, &mut folded.top[at.start * k..at.end * k]);
        add_candidates(problem, &mut scratches, rows, seen, &mut folded.candidates);
        add_sparse_targets(problem, &mut scratches, states, rows);
        let states = &*states;
        let mut beside = Vec::new();
        if let Some(second) = second.as_ref().filter(|_| problem.loss.needs.diverges()) {
            let products = (&*g.products(), height);
            let tile_columns = plan.tile_columns;
            beside =
                second.divergences(problem, states, rows, products, tile_columns, &mut scratches);
            folded.second.extend_from_slice(&beside);
        }
        if at.start >= active {
            continue;
        }
        hidden.pair(isa, plan.workers);
        let seen = Seen { states, second: &beside, candidates: &folded.candidates };
        let active = active_rows(problem, seen, rows, upstream);
        let pairs = pairs(problem, states, &beside, rows, upstream);
        let part = TILE_COLUMNS * height;
        let tasks = g.products().chunks_mut(if narrow { part / F::DEPTH } else { part });
        let tasks = tasks.zip(sinks.sums.chunks_mut(TILE_COLUMNS)).enumerate().collect();
        let places = &places[..];
        let beside = second.as_ref().map(|second| (second, &pairs[..]));
        parallel::for_each(&mut scratches, tasks, |scratch, (i, (panels, sums))| {
            let first = i * TILE_COLUMNS;
            let columns = first..(first + TILE_COLUMNS).min(problem.columns);
            let panels = (panels, height);
            if narrow {
                let places = (&places[first / tile_columns * height..], tile_columns);
                narrow_gradient::<F>(problem, &active, places, columns, panels, sums, scratch);
                return;
            }
            strip_gradient::<F>(problem, &active, beside, columns, panels, sums, scratch);
        });

        put_strip(problem, at, (&g, narrow), &hidden, &mut sinks, &mut scratches);
    }
    if active > 0 {
        sinks.put(0..columns);
    }
    sinks.finish(&problem.rows[..active]);
    folded
}

/// Adds both products of a strip of G, of rows `at` and all classes, to the gradients. A `narrow` one has no pairs.
pub(crate) fn put_strip<F: Operand>(
    problem: &Problem<'_, F::Sum>,
    at: Range<usize>,
    (g, narrow): (&Derivatives<F>, bool),
    hidden: &Hidden<F>,
    sinks: &mut Sinks<'_, F::Sum>,
    scratches: &mut [Scratch<F>],
) {
    let (width, columns, isa) = (problem.width, problem.columns, problem.loss.isa);
    let size = TaskSize { hidden: STRIP_COLUMNS, classifier: width, classes: TILE_COLUMNS };
    let (tasks, store) = sinks.tasks(&problem.rows, at.clone(), 0..columns, size);
    let stored =
        StoredClassifier::<F>::new(problem).filter(|_| at.len() * F::DEPTH <= AS_IT_STANDS);
    parallel::for_each(scratches, tasks, |scratch, task| match task {
        Task::Hidden(HiddenPart { columns: own, mut view, names }) => {
            let at_once = strip_classes(F::DEPTH);
            for start in (0..columns).step_by(at_once) {
                let classes = start..(start + at_once).min(columns);
                let left = g.rows_from(start / PANEL);
                if let Some(stored) = &stored {
                    let right = (stored.from(start), width);
                    let depth = classes.len();
                    add_rows_of_matrix(isa, left, 0, depth, right, own.clone(), names, &mut view);
                    continue;
                }
                let height = padded_rows(classes.len());
                let Scratch { packed, lines, .. } = &mut *scratch;
                let packed = packed.sized(panels_length(height, own.len()));
                let depth = classes.len();
                let next = classes.end..classes.end + at_once;
                let prefetch = problem.columns_of(next, own.clone());
                problem.pack_class_rows(classes, own.clone(), height, lines, packed);
                let right = (Panels::new(packed, height), 0);
                let own = 0..own.len();
                add_rows(isa, left, 0, depth, right, own, names, prefetch, &mut view);
            }
        }
        Task::Classifier(own, mut view, panels) => {
            let (first, rows) = (panels.start, at.len());
            if narrow {
                let numbers = view.dim().0.div_ceil(PANEL) * g.height * PANEL;
                let pairs = scratch.packed.sized(numbers);
                pack_pairs(isa, &g.rows_of(first)[..numbers], pairs);
                let panel = |p| &pairs[p * g.height * PANEL..][..g.height * PANEL];
                put_classifier(isa, panel, hidden, rows, own, store, &mut view);
            } else {
                let panel = |p| g.columns(first + p);
                put_classifier(isa, panel, hidden, rows, own, store, &mut view);
            }
        }
    });
}

/// Turns some panels of a strip from products into G.
fn strip_gradient<F: Operand>(
    problem: &Problem<'_, F::Sum>,
    active: &[Active<F::Sum>],
    beside: Option<BesideStrip<'_, '_, '_, F>>,
    columns: Range<usize>,
    panels: (&mut [F::Sum], usize),
    sums: &mut [f64],
    scratch: &mut Scratch<F>,
) {
    let Scratch { tile, second_tile, row, .. } = scratch;
    turn_panels::<F>(problem.loss.isa, columns.clone(), panels, tile, |first, (tile, stride)| {
        let beside = beside.map(|(second, pairs)| {
            let tile = &mut sized(second_tile, GROUP * TILE_COLUMNS)[..GROUP * stride];
            let rows = active.iter().map(|active| &active.row).skip(first).take(GROUP);
            second.logits(rows, first, columns.clone(), (&mut *tile, stride));
            BesideTile { second: &*tile, pairs }
        });
        let group = first.min(active.len())..(first + GROUP).min(active.len());
        let of = |i| active[group.clone()].get(i);
        gradient_group::<F>(problem, of, columns.clone(), (tile, stride), beside, row, sums);
    });
}

/// Turns some panels of a strip from products into what `make` puts in their place: it is given the first row of
/// each group, and the group's products with the distance of their rows.
pub(crate) fn turn_panels<F: Operand>(
    isa: Isa,
    columns: Range<usize>,
    (panels, height): (&mut [F::Sum], usize),
    scratch: &mut Vec<F::Sum>,
    mut make: impl FnMut(usize, (&mut [F::Sum], usize)),
) {
    let stride = columns.len().next_multiple_of(PANEL);
    let copied = if F::DEPTH > 1 { panels.len() } else { 0 };
    let scratch = sized(scratch, GROUP * TILE_COLUMNS + copied);
    let (tile, copy) = scratch.split_at_mut(GROUP * TILE_COLUMNS);
    let tile = &mut tile[..GROUP * stride];
    // Pairs are written over products that have not been read yet: those are read from a copy.
    copy[..copied].copy_from_slice(&panels[..copied]);
    for first in (0..height).step_by(GROUP) {
        for (p, panel) in panels.chunks_mut(height * PANEL).enumerate() {
            let at = first * PANEL..(first + GROUP) * PANEL;
            let from = match copied {
                0 => &panel[at],
                _ => &copy[p * height * PANEL..][at],
            };
            for (to, from) in tile.chunks_mut(stride).zip(from.chunks(PANEL)) {
                to[p * PANEL..(p + 1) * PANEL].copy_from_slice(from);
            }
        }
        make(first, (&mut *tile, stride));
        for (p, panel) in panels.chunks_mut(height * PANEL).enumerate() {
            let panel: &mut [F] = bytemuck::cast_slice_mut(panel);
            let (rows, pairs) = panel.split_at_mut(height * PANEL);
            let at = first * PANEL..(first + GROUP) * PANEL;
            let pairs = pairs.get_mut(at.clone()).unwrap_or_default();
            put_rows(isa, &tile[p * PANEL..], stride, &mut rows[at], pairs);
        }
    }
}

/// Turns some panels of a strip from logits of 16 bits into G of as many, in place.
#[allow(clippy::too_many_arguments)]
fn narrow_gradient<F: Operand>(
    problem: &Problem<'_, F::Sum>,
    active: &[Active<F::Sum>],
    (places, tile_columns): (&[Place], usize),
    columns: Range<usize>,
    (panels, height): (&mut [F::Sum], usize),
    sums: &mut [f64],
    scratch: &mut Scratch<F>,
) {
    let Scratch { tile, row: scratch, .. } = scratch;
    let stride = columns.len().next_multiple_of(PANEL);
    let tile = &mut sized(tile, GROUP * TILE_COLUMNS)[..GROUP * stride];
    // The rounding makes pairs beside the rows: here nobody reads them.
    let mut unread = [F::default(); GROUP * PANEL];
    for first in (0..height).step_by(GROUP) {
        let group = first.min(active.len())..(first + GROUP).min(active.len());
        let kept = (bytemuck::cast_slice(&*panels), places);
        for (i, to) in group.clone().zip(tile.chunks_mut(stride)) {
            let row = &active[i].row;
            widen::<F>(problem, kept, (height, i), row, columns.clone(), tile_columns, to);
        }
        let of = |i| active[group.clone()].get(i);
        let to = (&mut *tile, stride);
        gradient_group::<F>(problem, of, columns.clone(), to, None, scratch, sums);
        let numbers: &mut [F] = bytemuck::cast_slice_mut(&mut *panels);
        for (p, panel) in numbers.chunks_mut(height * PANEL).enumerate() {
            let rows = &mut panel[first * PANEL..(first + GROUP) * PANEL];
            put_rows(problem.loss.isa, &tile[p * PANEL..], stride, rows, &mut unread);
        }
    }
}
