//! The candidates of the rows: their logits, what the other classes have together, and what both add to G.

use ndarray::{Array1, Array2, ArrayView2};
use std::ops::Range;

use super::grid::TILE_ROWS;
use super::listed::Listed;
use super::problem::{Problem, Row};
use super::tile::Scratch;
use crate::element::{Element, Operand, Real};
use crate::loss::candidates::{CandidateLogProbabilities, Candidates};
use crate::loss::gradients::Upstream;
use crate::matrix::Vector;
use crate::parallel;
use crate::softmax::RowState;
use crate::softmax::top_k::{self, Entry};

/// The bytes of a candidate: class, weight and logit, and the caller's class.
pub(crate) const CANDIDATE_BYTES: usize = 2 * size_of::<u32>() + 2 * size_of::<f64>();
/// The bytes of a row beside those.
pub(crate) const CANDIDATE_ROW_BYTES: usize = size_of::<usize>() + size_of::<OtherClasses>();

/// The sums over the classes of a row that are not listed, and over those that are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct OtherClasses {
    maximum: f64,
    remainder: f64,
    first_moment: f64,
    /// ln Σ over the listed less ln Σ over the others.
    log_ratio: f64,
}

impl Default for OtherClasses {
    fn default() -> Self {
        let (maximum, log_ratio) = (f64::NEG_INFINITY, f64::INFINITY);
        Self { maximum, remainder: 0.0, first_moment: 0.0, log_ratio }
    }
}

/// What the fold has found out about the candidates.
#[derive(Clone, Debug, Default)]
pub(crate) struct CandidateRows {
    /// Of each class of [`Listed`].
    logits: Vec<f64>,
    /// Of each loss, where it is asked for.
    others: Vec<OtherClasses>,
}

/// What a row's upstream gradients of the candidates add to its coefficients.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CandidateSlopes {
    /// Whether there are any.
    pub(crate) any: bool,
    /// What they are weighed with together.
    pub(crate) weights: f64,
    /// The largest of them.
    pub(crate) largest: f64,
    /// ω.
    pub(crate) log_others: f64,
    /// ω over the share of the others, what p of a class that is not listed is multiplied with beside the rest; infinite
    /// where that leaves f64.
    pub(crate) outside: f64,
    /// [`CandidateRows::softmax_of_others`].
    pub(crate) softmax_of_others: [f64; 2],
    /// What the arg-max's own gradient is made with: all of these but its own weight.
    pub(crate) beside_argmax: f64,
    /// Σ (dL/da_v) (a_v − m) of all but what is in the sums over p.
    pub(crate) by_logarithm: f64,
}

impl CandidateRows {
    pub(crate) fn new(listed: Option<&Listed>) -> Self {
        let Some(listed) = listed else { return Self::default() };
        let others = if listed.others { listed.given.dim().0 } else { 0 };
        let others = vec![OtherClasses::default(); others];
        Self { logits: vec![f64::NEG_INFINITY; listed.classes.len()], others }
    }

    /// Takes over the logits of a row's candidates. Where the others are summed for themselves, the row's state is
    /// joined by what it has not seen.
    #[cfg(feature = "gpu")]
    pub(crate) fn put(&mut self, listed: &Listed, row: &Row, logits: &[f64], state: &mut RowState) {
        self.logits[listed.range(row.output)].copy_from_slice(logits);
        if let Some(others) = self.others.get_mut(row.output) {
            *others = join(state, listed.of(row.output), logits, &mut []);
        }
    }

    /// The largest logit of the classes of a row that are not listed, and 1/(1+r) of their own softmax.
    pub(crate) fn softmax_of_others(&self, row: &Row) -> Option<[f64; 2]> {
        let others = self.others.get(row.output)?;
        Some([others.maximum, 1.0 / (1.0 + others.remainder)])
    }

    /// The log-probabilities of kept rows.
    pub(crate) fn log_probabilities(
        &self,
        listed: &Listed,
        rows: &[Row],
        states: &[RowState],
    ) -> CandidateLogProbabilities {
        let mut log_probabilities = Array2::zeros(listed.given.dim());
        let mut log_others = Array1::zeros(self.others.len());
        for (row, state) in rows.iter().zip(states) {
            let range = listed.range(row.output);
            let to = log_probabilities.row_mut(row.output);
            for (to, class) in to.into_iter().zip(listed.given.row(row.output)) {
                if let Ok(at) = listed.classes[range.clone()].binary_search(class) {
                    *to = 0.0 - state.surprisal_of(self.logits[range.start + at]);
                }
            }
            if let Some(others) = self.others.get(row.output) {
                log_others[row.output] = match state.maximum.is_nan() {
                    true => f64::NAN,
                    false => others.log_share(),
                };
            }
        }
        CandidateLogProbabilities { log_probabilities, log_others }
    }

    /// The entropy of the distribution over a row's other classes alone, where the fold has entropies; NaN where the
    /// others were not asked for.
    pub(crate) fn entropy_of_others(&self, output: usize) -> f64 {
        self.others.get(output).map_or(f64::NAN, |others| {
            others.remainder.ln_1p() - others.first_moment / (1.0 + others.remainder)
        })
    }
}

impl OtherClasses {
    /// ln Σ_{not listed} p = −ln(1 + the listed over the others).
    fn log_share(&self) -> f64 {
        let x = self.log_ratio;
        0.0 - (x.max(0.0) + (-x.abs()).exp().ln_1p())
    }
}

/// A row that has seen one class.
fn single(class: u32, logit: f64) -> RowState {
    let mut state = RowState::new();
    (state.maximum, state.argmax) = (logit, i64::from(class));
    state
}

impl<R: Real> Problem<'_, R> {
    /// Takes over what comes in for the candidates.
    pub(crate) fn weigh_candidates(&mut self, upstream: &Upstream<'_>) {
        if let Some(listed) = &mut self.candidates {
            listed.weigh(upstream);
        }
    }

    /// −Σ of what comes in for a class, of its place in the list of all.
    #[cfg(feature = "gpu")]
    pub(crate) fn candidate_weight(&self, at: usize) -> f64 {
        let weights = self.candidates.as_ref().map(|listed| &listed.weights);
        weights.and_then(|weights| weights.get(at)).copied().unwrap_or(0.0)
    }

    /// The candidates of a row within a range of columns.
    fn listed_of(&self, row: &Row, columns: &Range<usize>) -> &[u32] {
        let Some(listed) = &self.candidates else { return &[] };
        let all = listed.of(row.output);
        let from = all.partition_point(|&class| (class as usize) < columns.start);
        let to = all.partition_point(|&class| (class as usize) < columns.end);
        &all[from..to]
    }

    /// Takes the candidates out of a row's logits, where the others are summed for themselves.
    pub(crate) fn hide_candidates(&self, row: &Row, columns: &Range<usize>, logits: &mut [R]) {
        if self.candidates.as_ref().is_some_and(|listed| listed.others) {
            for &class in self.listed_of(row, columns) {
                logits[class as usize - columns.start] = R::from_f64(f64::NEG_INFINITY);
            }
        }
    }

    /// The candidates of a row within a range that something comes in for, with their weights.
    pub(crate) fn weighed_candidates(
        &self,
        row: &Row,
        columns: &Range<usize>,
    ) -> impl Iterator<Item = (usize, f64)> + use<'_, R> {
        let none = (&[][..], &[][..]);
        let (classes, weights) = match &self.candidates {
            Some(listed) if listed.others || !listed.weights.is_empty() => {
                let range = listed.range(row.output);
                let all = &listed.classes[range.clone()];
                let from = all.partition_point(|&class| (class as usize) < columns.start);
                let to = all.partition_point(|&class| (class as usize) < columns.end);
                let weights = listed.weights.get(range).unwrap_or_default();
                (&all[from..to], weights.get(from..to).unwrap_or_default())
            }
            _ => none,
        };
        let weights = weights.iter().copied().chain(std::iter::repeat(0.0));
        classes.iter().map(|&class| class as usize).zip(weights)
    }

    /// What comes in for a row's candidates, as coefficients.
    pub(crate) fn candidate_slopes(
        &self,
        row: &Row,
        state: &RowState,
        rows: &CandidateRows,
        log_others: Option<&Vector<'_>>,
    ) -> CandidateSlopes {
        let mut slopes = CandidateSlopes::default();
        let Some(listed) = &self.candidates else { return slopes };
        let range = listed.range(row.output);
        let argmax = u32::try_from(state.argmax).unwrap_or(Candidates::NONE);
        let weights = listed.weights.get(range.clone()).unwrap_or_default();
        let own =
            listed.classes[range.clone()].iter().zip(&rows.logits[range.clone()]).zip(weights);
        for ((&class, &logit), &weight) in own {
            if weight == 0.0 || logit == f64::NEG_INFINITY {
                continue;
            }
            slopes.any = true;
            slopes.weights += weight;
            slopes.largest = slopes.largest.max(weight.abs());
            slopes.by_logarithm += weight * (state.maximum - logit);
            if class != argmax {
                slopes.beside_argmax += weight;
            }
        }
        let others = rows.others.get(row.output);
        let above = log_others.map_or(0.0, |above| above.at(row.output));
        // Where nothing is left, or the list has nothing, there is nothing to move.
        let others = others.filter(|others| above != 0.0 && others.log_share().is_finite());
        if let Some(others) = others {
            slopes.any = true;
            slopes.log_others = above;
            slopes.outside = above * (-others.log_share()).exp();
            slopes.softmax_of_others = rows.softmax_of_others(row).unwrap_or_default();
            slopes.beside_argmax += match listed.classes[range].binary_search(&argmax) {
                Ok(_) => -above,
                // ω/q − ω = ω (1 − q)/q, q the share of the others.
                Err(_) => above * others.log_ratio.exp(),
            };
            let mean = others.first_moment / (1.0 + others.remainder);
            slopes.by_logarithm += above * (mean - (state.maximum - others.maximum));
        }
        slopes
    }
}

/// Adds the candidates to rows whose columns have all been folded: their logits, which the others' sums are without.
pub(crate) fn add_candidates<F: Operand>(
    problem: &Problem<'_, F::Sum>,
    scratches: &mut [Scratch<F>],
    rows: &[Row],
    (states, tops): (&mut [RowState], &mut [Entry]),
    candidates: &mut CandidateRows,
) {
    let Some(listed) = &problem.candidates else { return };
    let k = tops.len() / states.len().max(1);
    // A task has rows of its own; what it finds is put where it belongs afterwards.
    let mut found = vec![(Vec::new(), OtherClasses::default()); rows.len()];
    let states = states.chunks_mut(TILE_ROWS);
    let mut tops = tops.chunks_mut((TILE_ROWS * k).max(1));
    let tasks = states.zip(rows.chunks(TILE_ROWS)).zip(found.chunks_mut(TILE_ROWS));
    let tasks = tasks.map(|task| (task, tops.next().unwrap_or_default())).collect();
    type Task<'t> =
        (((&'t mut [RowState], &'t [Row]), &'t mut [(Vec<f64>, OtherClasses)]), &'t mut [Entry]);
    parallel::for_each(scratches, tasks, |scratch, (((states, rows), found), top): Task<'_>| {
        let mut logits = Vec::new();
        for (i, ((state, row), (to, others))) in states.iter_mut().zip(rows).zip(found).enumerate()
        {
            let classes = listed.of(row.output);
            logits.resize(classes.len(), F::Sum::ZERO);
            problem.logits_at(row, classes, scratch, &mut logits);
            to.extend(logits.iter().map(|logit| logit.to_f64()));
            if listed.others {
                let list = &mut top[i * k..(i + 1) * k];
                *others = join(state, classes, to, list);
            }
        }
    });
    for (row, (logits, others)) in rows.iter().zip(found) {
        candidates.logits[listed.range(row.output)].copy_from_slice(&logits);
        if listed.others {
            candidates.others[row.output] = others;
        }
    }
}

/// Joins the candidates of a row to the state of the others.
fn join(state: &mut RowState, classes: &[u32], logits: &[f64], top: &mut [Entry]) -> OtherClasses {
    let mut list = RowState::new();
    for (&class, &logit) in classes.iter().zip(logits) {
        list.merge(&single(class, logit));
        // It may stand there as it was hidden.
        if let Some(at) = top.iter().position(|entry| entry.class == class) {
            top[at..].rotate_left(1);
            top[top.len() - 1] = Entry::empty();
        }
        top_k::merge(top, &[Entry { class, logit }]);
        if i64::from(class) == state.target {
            state.target_logit = Some(logit);
        }
        if let (Some(ahead), Some(above)) = (state.ahead, &mut state.above) {
            *above += u64::from(logit > ahead);
        }
    }
    let seen = *state;
    let above = state.above;
    state.merge(&list);
    state.above = above;
    let log_ratio = match (list.maximum == f64::NEG_INFINITY, seen.maximum == f64::NEG_INFINITY) {
        (true, true) => f64::NAN,
        (true, false) => f64::NEG_INFINITY,
        (false, true) => f64::INFINITY,
        (false, false) => {
            (list.maximum - seen.maximum) + (list.remainder.ln_1p() - seen.remainder.ln_1p())
        }
    };
    let RowState { maximum, remainder, first_moment, .. } = seen;
    OtherClasses { maximum, remainder, first_moment, log_ratio }
}

/// ln p of some classes of each row.
pub(crate) fn log_probabilities<F: Operand>(
    problem: &Problem<'_, F::Sum>,
    states: &[RowState],
    candidates: ArrayView2<'_, u32>,
    to: &mut Array2<f64>,
) {
    let mut scratch = Scratch::<F>::several(1);
    let k = candidates.dim().1;
    let (mut columns, mut logits) = (vec![0; k], vec![F::Sum::ZERO; k]);
    for (row, state) in problem.rows.iter().zip(states) {
        for (column, &class) in columns.iter_mut().zip(candidates.row(row.output)) {
            *column = class - problem.first_class as u32;
        }
        problem.logits_at(row, &columns, &mut scratch[0], &mut logits);
        for (to, logit) in to.row_mut(row.output).iter_mut().zip(&logits) {
            *to = 0.0 - state.surprisal_of(logit.to_f64());
        }
    }
}
