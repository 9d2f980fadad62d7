//! InfoNCE of both directions from one pass over the scores.
//!
//! ```text
//! z = q·k/τ      row i: m_i, r_i       column j: m_j, r_j                      from the same tile of z
//! G_ij = k (e^(z_ij−m_i)/(1+r_i) + e^(z_ij−m_j)/(1+r_j) − 2 δ_ij)              k = 1/(2Bτ)
//! dq = G·k      dk = Gᵀ·q
//! ```
//!
//! One product forward and two for the gradients where the scores fit into the budget, which keeps them; else they are
//! made a second time.

use super::both_folds::{Folds, fold};
use super::both_slopes::Slopes;
use super::contrast::Contrast;
use crate::element::{Operand, Real};
use crate::error::Result;
use crate::gemm::{Buffer, GROUP, PANEL, padded_rows, panels_length, steps_length};
use crate::loss::engine::block::{Block, pack_block};
use crate::loss::engine::derivatives::Derivatives;
use crate::loss::engine::grid::TILE_COLUMNS;
use crate::loss::engine::plan::Plan;
use crate::loss::engine::problem::Problem;
use crate::loss::engine::recompute::{fill_block, put_block};
use crate::loss::engine::sinks::{Sinks, TaskSize, is_direct};
use crate::loss::engine::strip::{put_strip, turn_panels};
use crate::loss::engine::tile::{Hidden, Scratch};
use crate::loss::gradients::Sink;
use crate::loss::{Backward, Gradients, Inputs, LinearCrossEntropy, Pass, Shapes, Strategy};
use crate::matrix::MatrixMut;
use crate::parallel;
use crate::softmax::RowState;
use crate::softmax::block::Moments;

/// The mean of both directions of as many queries as keys, of which key i is the target of query i, at the temperature
/// of the loss. The gradients are checked.
pub(super) fn both_ways<R: Real>(
    loss: &LinearCrossEntropy,
    inputs: &Inputs<'_>,
    gradients: Option<Gradients<'_>>,
) -> Result<Contrast> {
    let problem = Problem::<R>::new(loss, inputs)?;
    match problem.narrow {
        true => evaluate::<R::Narrow>(&problem, inputs, gradients),
        false => evaluate::<R>(&problem, inputs, gradients),
    }
}

/// How a call goes: whether all scores are kept, else how they are made again.
struct Course {
    plan: Plan,
    kept: bool,
}

fn course<F: Operand>(
    loss: &LinearCrossEntropy,
    inputs: &Inputs<'_>,
    gradients: Option<&Gradients<'_>>,
) -> Result<Course> {
    let shapes = Shapes::of(inputs);
    // What both directions have beside a plan of one.
    let own = shapes.rows.saturating_mul(Folds::BYTES + Slopes::<F::Sum>::BYTES);
    let mut loss = loss.clone();
    loss.memory_budget = loss.memory_budget.saturating_sub(own);
    let Some(gradients) = gradients else {
        return Ok(Course { plan: loss.plan(&shapes, Pass::Forward)?, kept: false });
    };
    let rounded = |sink: &Option<Sink<MatrixMut<'_>>>| {
        sink.as_ref().is_some_and(|sink| !is_direct::<F::Sum>(&sink.array))
    };
    let shapes = shapes
        .hidden_gradient_rounded(rounded(&gradients.hidden))
        .classifier_gradient_rounded(rounded(&gradients.classifier));
    let plan = loss.plan(&shapes, Pass::LossAndGradients)?;
    // A plan may count logits of 16 bits; here they are of 32.
    let panels = padded_rows(shapes.rows).saturating_mul(shapes.vocabulary.next_multiple_of(PANEL));
    let wider = if plan.narrow_strip { panels.saturating_mul(2) } else { 0 };
    let kept = plan.strategy == Some(Strategy::Strip)
        && plan.rows_at_once >= shapes.rows
        && plan.workspace_bytes.saturating_add(wider) <= loss.memory_budget;
    if kept {
        return Ok(Course { plan, kept });
    }
    loss.backward = Backward::Recompute;
    Ok(Course { plan: loss.plan(&shapes, Pass::LossAndGradients)?, kept })
}

fn evaluate<F: Operand>(
    problem: &Problem<'_, F::Sum>,
    inputs: &Inputs<'_>,
    gradients: Option<Gradients<'_>>,
) -> Result<Contrast> {
    let Course { plan, kept } = course::<F>(&problem.loss, inputs, gradients.as_ref())?;
    let mut hidden = Hidden::<F>::new();
    let Some(gradients) = gradients else {
        let folds = fold::<F>(problem, &plan, Moments::Zeroth, &mut hidden, None);
        return Ok(Contrast { loss: folds.loss(), ..Contrast::NOTHING });
    };
    let folds = match kept {
        true => {
            let mut g = Derivatives::<F>::new(problem.rows.len(), problem.columns);
            let folds = fold(problem, &plan, Moments::First, &mut hidden, Some(&mut g));
            let slopes = Slopes::new(&folds, folds.factor(problem));
            from_kept(problem, &plan, &slopes, &mut hidden, g, gradients);
            folds
        }
        false => {
            let forward = plan.of_forward();
            let folds = fold::<F>(problem, &forward, Moments::First, &mut hidden, None);
            drop(hidden);
            let slopes = Slopes::new(&folds, folds.factor(problem));
            anew::<F>(problem, &plan, &slopes, gradients);
            folds
        }
    };
    let by_temperature = folds.slope_by_logarithm() / problem.loss.temperature;
    Ok(Contrast { loss: folds.loss(), by_temperature })
}

impl Folds {
    /// ½ (mean over rows + mean over columns) of −ln p of the pair.
    fn loss(&self) -> f64 {
        let sum = |states: &[RowState]| -> f64 {
            states.iter().zip(&self.pairs).map(|(state, &pair)| state.surprisal_of(pair)).sum()
        };
        (sum(&self.rows) + sum(&self.columns)) / (2.0 * self.pairs.len() as f64)
    }

    /// dL/dz of a p, times that of z by the products.
    fn factor<R>(&self, problem: &Problem<'_, R>) -> f64 {
        problem.loss.transform.scale / (2.0 * self.pairs.len() as f64)
    }

    /// dL/d ln(1/τ), negated: −½ (mean over rows + mean over columns) of Σ p z − z of the pair.
    fn slope_by_logarithm(&self) -> f64 {
        let sum = |states: &[RowState]| -> f64 {
            let each = states.iter().zip(&self.pairs).map(|(state, pair)| {
                state.first_moment / (1.0 + state.remainder) + (state.maximum - pair)
            });
            each.sum()
        };
        -(sum(&self.rows) + sum(&self.columns)) / (2.0 * self.pairs.len() as f64)
    }
}

/// The gradients from products that were kept.
fn from_kept<F: Operand>(
    problem: &Problem<'_, F::Sum>,
    plan: &Plan,
    slopes: &Slopes<F::Sum>,
    hidden: &mut Hidden<F>,
    mut g: Derivatives<F>,
    gradients: Gradients<'_>,
) {
    let (isa, rows, columns) = (problem.loss.isa, &problem.rows[..], problem.columns);
    hidden.pair(isa, plan.workers);
    let mut sinks = Sinks::new(gradients, rows.len(), problem.width, columns);
    let mut scratches = Scratch::<F>::several(plan.workers);
    let height = g.height;
    let tasks = g.products().chunks_mut(TILE_COLUMNS * height).enumerate().collect();
    parallel::for_each(&mut scratches, tasks, |scratch, (i, panels): (usize, &mut [F::Sum])| {
        let own = i * TILE_COLUMNS..((i + 1) * TILE_COLUMNS).min(columns);
        let panels = (panels, height);
        turn_panels::<F>(isa, own.clone(), panels, &mut scratch.tile, |first, to| {
            let group = first.min(rows.len())..(first + GROUP).min(rows.len());
            slopes.make::<F>(problem, &rows[group], own.clone(), to);
        });
    });
    put_strip(problem, 0..rows.len(), (&g, false), hidden, &mut sinks, &mut scratches);
    sinks.put(0..columns);
    sinks.finish(rows);
}

/// The gradients from products that are made anew, block by block.
fn anew<F: Operand>(
    problem: &Problem<'_, F::Sum>,
    plan: &Plan,
    slopes: &Slopes<F::Sum>,
    gradients: Gradients<'_>,
) {
    let (width, columns, isa) = (problem.width, problem.columns, problem.loss.isa);
    let (rows, chunk) = (&problem.rows[..], plan.rows_at_once.min(problem.rows.len()));
    let block_columns = plan.block_columns.min(columns.next_multiple_of(PANEL)).max(PANEL);
    let mut sinks = Sinks::new(gradients, rows.len(), width, block_columns);
    let mut scratches = Scratch::<F>::several(plan.workers);
    let (length, height) = (steps_length::<F>(width), padded_rows(block_columns));
    let mut steps = Buffer::<F>::zeros(block_columns / PANEL * length);
    let mut classes = Buffer::<F>::zeros(panels_length(height, width));
    let mut hidden = Hidden::<F>::new();
    let mut g = Derivatives::<F>::new(chunk, block_columns);
    let size = TaskSize { hidden: PANEL, classifier: PANEL, classes: TILE_COLUMNS };
    let pack = |hidden: &mut Hidden<F>, rows| {
        hidden.pack(problem, rows, plan.workers);
        hidden.pair(isa, plan.workers);
    };
    if rows.len() <= chunk {
        pack(&mut hidden, rows);
    }
    for start in (0..columns).step_by(block_columns) {
        let block = start..(start + block_columns).min(columns);
        let steps = steps.sized(block.len().div_ceil(PANEL) * length);
        let classes = classes.sized(panels_length(height, width));
        pack_block(problem, &block, steps, classes, height, false, &mut scratches);
        let block = Block { columns: block, steps, classes, height };
        for first in (0..rows.len()).step_by(chunk) {
            let at = first..(first + chunk).min(rows.len());
            let own = &rows[at.clone()];
            if rows.len() > chunk {
                pack(&mut hidden, own);
            }
            g.resize(own.len(), block.columns.len());
            let nothing = std::iter::repeat(());
            fill_block(
                problem,
                own,
                &hidden,
                &block,
                &mut g,
                &mut scratches,
                nothing,
                |part, (), to, _| slopes.make::<F>(problem, &own[part.rows], part.columns, to),
            );
            let tasks = sinks.tasks(rows, at, block.columns.clone(), size);
            put_block(isa, (&g, &g), &hidden, &block, own.len(), tasks, &mut scratches);
        }
        sinks.put(block.columns);
    }
    sinks.finish(rows);
}
