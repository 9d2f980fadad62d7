//! What label smoothing takes from every class, beside a filter.

use ndarray::ArrayViewMut2;
use std::ops::Range;

use crate::element::{Element, Operand, Real};
use crate::loss::engine::active::Active;
use crate::loss::engine::grid::STRIP_COLUMNS;
use crate::loss::engine::problem::Problem;
use crate::loss::engine::sinks::HiddenPart;
use crate::loss::engine::tile::{Scratch, sized};
use crate::loss::source::Source;
use crate::matrix::Matrix;
use crate::parallel;
use crate::quotient::times_power;

/// What label smoothing takes from every class, kept or not: a term of rank one.
///
/// ```text
/// dE_i −= s k_i Σ_v w_v C_v      dC_v −= s w_v Σ_i k_i E_i      db_v −= s w_v Σ_i k_i
/// ```
pub(crate) struct SmoothingTerm<R> {
    /// s k_i of each row.
    pub(crate) coefficients: Vec<f64>,
    /// Σ_v w_v C_v.
    pub(crate) classes: Vec<R>,
    /// s Σ_i k_i E_i.
    pub(crate) hidden: Vec<R>,
    pub(crate) total: f64,
}

impl<R: Real> SmoothingTerm<R> {
    /// Takes the smoothing out of the rows' coefficients; `None` where there is none.
    pub(crate) fn new<F: Operand<Real = R, Sum = R>>(
        problem: &Problem<'_, R>,
        active: &mut [Active<R>],
        scratches: &mut [Scratch<F>],
    ) -> Option<Self> {
        if !problem.loss.needs.weighs() {
            return None;
        }
        let Source::Product { hidden, classifier } = &problem.source else { return None };
        let width = problem.width;
        let mut coefficients = Vec::with_capacity(active.len());
        for active in active.iter_mut() {
            let scale = problem.transform_of(&active.row).scale;
            coefficients.push(times_power(scale * active.weights, active.exponent));
            active.weights = 0.0;
            active.gradient.weights = R::ZERO;
        }
        let of_rows = |i: usize| (active[i].row.hidden, coefficients[i]);
        let of_classes = |v: usize| (v, problem.weight_in_deviation(problem.first_class + v));
        let hidden = weighed_rows(hidden, active.len(), width, of_rows, scratches);
        let classes = weighed_rows(classifier, problem.columns, width, of_classes, scratches);
        let total = coefficients.iter().sum();
        Some(Self { coefficients, classes, hidden, total })
    }

    pub(crate) fn put_classes(
        &self,
        problem: &Problem<'_, R>,
        block: &Range<usize>,
        view: Option<ArrayViewMut2<'_, R>>,
        sums: &mut [f64],
    ) {
        let weight = |i: usize| problem.weight_in_deviation(problem.first_class + block.start + i);
        for (i, sum) in sums[..block.len()].iter_mut().enumerate() {
            *sum += -weight(i) * self.total;
        }
        if let Some(mut view) = view {
            for (i, mut row) in view.outer_iter_mut().enumerate() {
                let w = R::from_f64(-weight(i));
                for (to, &value) in row.iter_mut().zip(&self.hidden) {
                    *to += w * value;
                }
            }
        }
    }

    pub(crate) fn put_hidden(&self, first: usize, part: HiddenPart<'_, R>) {
        let HiddenPart { mut view, names, .. } = part;
        for (i, &name) in names.iter().enumerate() {
            let k = R::from_f64(-self.coefficients[first + i]);
            for (to, &value) in view.row_mut(name as usize).iter_mut().zip(&self.classes) {
                *to += k * value;
            }
        }
    }
}

/// Σ_i w_i X_i over rows of a matrix, in f64 and in the order of the rows.
pub(crate) fn weighed_rows<F: Operand>(
    matrix: &Matrix<'_>,
    count: usize,
    width: usize,
    row: impl Fn(usize) -> (usize, f64) + Sync,
    scratches: &mut [Scratch<F>],
) -> Vec<F::Sum> {
    let mut sums = vec![0.0; width];
    let tasks = sums.chunks_mut(STRIP_COLUMNS).enumerate().collect();
    parallel::for_each(scratches, tasks, |scratch, (q, sums): (usize, &mut [f64])| {
        let line = &mut sized(&mut scratch.tile, STRIP_COLUMNS)[..sums.len()];
        let columns = q * STRIP_COLUMNS..q * STRIP_COLUMNS + sums.len();
        for i in 0..count {
            let (at, weight) = row(i);
            matrix.read(at, columns.clone(), line);
            for (sum, value) in sums.iter_mut().zip(&*line) {
                *sum += weight * value.to_f64();
            }
        }
    });
    sums.into_iter().map(F::Sum::from_f64).collect()
}
