//! The backward of what a filter keeps: rows gathered, a panel of 32 classes at a time.

use ndarray::{ArrayView2, ArrayViewMut2, Axis, ShapeBuilder};

use super::lists::Lists;
use crate::element::Operand;
use crate::gemm::{
    GROUP, PANEL, Prefetch, Rows, Store, add_columns, add_rows, add_rows_of_matrix, few_products,
    put_rows, row_products, steps_length,
};
use crate::loss::engine::active::Active;
use crate::loss::engine::block::Block;
use crate::loss::engine::derivatives::{Derivatives, PanelPart, gradient_group};
use crate::loss::engine::grid::TILE_COLUMNS;
use crate::loss::engine::problem::Problem;
use crate::loss::engine::sinks::{HiddenPart, Task};
use crate::loss::engine::tile::{Hidden, Scratch, sized};
use crate::loss::source::Source;
use crate::parallel;
use crate::pieces::split;

/// A classifier whose rows can be read as they stand: of this format, contiguous, of whole panels.
pub(crate) struct StoredClassifier<'a, F> {
    view: ArrayView2<'a, F>,
}

impl<'a, F: Operand> StoredClassifier<'a, F> {
    pub(crate) fn new(problem: &Problem<'a, F::Sum>) -> Option<Self> {
        let Source::Product { classifier, .. } = &problem.source else { return None };
        let view = F::stored(classifier)?;
        let whole = problem.width.is_multiple_of(PANEL)
            && problem.columns.is_multiple_of(F::DEPTH)
            && problem.width > 0;
        (whole && view.is_standard_layout()).then_some(Self { view })
    }

    /// The classes from this one on.
    pub(crate) fn from(&self, class: usize) -> &'a [F] {
        let all = self.view.to_slice().unwrap_or_default();
        &all[class * self.view.dim().1..]
    }
}

/// Rows of a panel that are few enough for products without packing: two tiles of four. Packing takes as
/// long as multiplying with some tens of rows; where the ways cross is not recorded.
const FEW_ROWS: usize = 8;

/// Makes G of the rows that are kept of each panel, in parallel over the panels.
#[allow(clippy::too_many_arguments)]
pub(crate) fn fill_kept<F: Operand>(
    problem: &Problem<'_, F::Sum>,
    active: &[Active<F::Sum>],
    hidden: &Hidden<F>,
    block: &Block<'_, F>,
    lists: &Lists,
    g: &mut Derivatives<F>,
    sums: &mut [f64],
    scratches: &mut [Scratch<F>],
) {
    let length = steps_length::<F>(problem.width);
    let (isa, width) = (problem.loss.isa, problem.width);
    let stored = StoredClassifier::<F>::new(problem);
    let panels = g.kept_panels(lists);
    let tasks = panels.into_iter().zip(sums.chunks_mut(PANEL)).enumerate().collect();
    parallel::for_each(
        scratches,
        tasks,
        |scratch, (p, (panel, sums)): (usize, (PanelPart<'_, F>, _))| {
            let Scratch { tile, row, packed, lines, .. } = scratch;
            let first = block.columns.start + p * PANEL;
            let columns = first..block.columns.end.min(first + PANEL);
            let tile = &mut sized(tile, GROUP * TILE_COLUMNS)[..GROUP * PANEL];
            let count = lists.counts[p];
            let few = stored.as_ref().filter(|_| count <= FEW_ROWS);
            let packed = packed.sized(if few.is_some() || count == 0 { 0 } else { length });
            if !packed.is_empty() {
                problem.pack_classes(columns.clone(), lines, packed);
            }
            for (i, names) in lists.names[lists.places(p)].chunks(GROUP).enumerate() {
                if let Some(stored) = few {
                    let mut classes: [&[F]; PANEL] = [&[]; PANEL];
                    for (row, class) in classes.iter_mut().zip(stored.from(first).chunks(width)) {
                        *row = class;
                    }
                    let classes = &classes[..columns.len()];
                    few_products(isa, hidden.get(), &names[..count], classes, tile);
                } else {
                    let shape = (GROUP, columns.len()).strides((PANEL, 1));
                    let to = ArrayViewMut2::from_shape(shape, &mut *tile);
                    let mut to = to.expect("a tile of one panel");
                    let packed = (&*packed, Prefetch::nothing());
                    row_products(isa, hidden.get(), Rows::Named(names), width, packed, &mut to);
                }
                let of = |i: usize| active.get(names[i] as usize);
                let to = (&mut *tile, PANEL);
                gradient_group::<F>(problem, of, columns.clone(), to, None, row, sums);
                let at = i * GROUP * PANEL..(i + 1) * GROUP * PANEL;
                let pairs = panel.pairs.get_mut(at.clone()).unwrap_or_default();
                put_rows(isa, tile, PANEL, &mut panel.rows[at], pairs);
            }
        },
    );
}

/// What the rows kept of each panel add to some columns of a gradient.
#[allow(clippy::too_many_arguments)]
pub(crate) fn put_kept<F: Operand>(
    problem: &Problem<'_, F::Sum>,
    g: &Derivatives<F>,
    hidden: &Hidden<F>,
    block: &Block<'_, F>,
    lists: &Lists,
    stored: Option<&StoredClassifier<'_, F>>,
    store: Store,
    task: &mut Task<'_, F::Sum>,
) {
    let isa = problem.loss.isa;
    match task {
        Task::Hidden(HiddenPart { columns, view, names }) => {
            let mut own = [0; GROUP];
            for p in 0..block.panels() {
                let depth = PANEL.min(block.columns.len() - p * PANEL);
                let (panel, places) = (g.kept_rows(lists, p), lists.places(p));
                for (i, kept) in lists.names[places].chunks(GROUP).enumerate() {
                    let count = GROUP.min(lists.counts[p] - i * GROUP);
                    for (own, &kept) in own[..count].iter_mut().zip(kept) {
                        *own = names[kept as usize];
                    }
                    let (first, columns, own) = (i * GROUP, columns.clone(), &own[..count]);
                    match stored {
                        Some(stored) => {
                            let classes = stored.from(block.columns.start + p * PANEL);
                            let right = (classes, problem.width);
                            add_rows_of_matrix(isa, panel, first, depth, right, columns, own, view);
                        }
                        None => {
                            let right = (block.classes(), p * PANEL);
                            let prefetch = Prefetch::nothing();
                            add_rows(isa, panel, first, depth, right, columns, own, prefetch, view);
                        }
                    }
                }
            }
        }
        Task::Classifier(columns, view, panels) => {
            for (i, mut view) in split(view.view_mut(), Axis(0), PANEL).into_iter().enumerate() {
                let p = panels.start + i;
                let first = lists.starts[p];
                let count = lists.counts[p].next_multiple_of(F::DEPTH);
                let rows = Rows::Named(&lists.names[first..first + count]);
                let (left, right) = (g.kept_columns(lists, p), hidden.get());
                add_columns(isa, left, right, rows, columns.clone(), store, &mut view);
            }
        }
    }
}
