//! Attention of heads folded a block of queries and keys at a time.

use ndarray::{ArrayView2, ArrayViewMut2, s};
use std::ops::Range;

use crate::element::Real;
use crate::parallel;
use crate::product::{Scratch, Target, multiply_here};
use crate::simd::Isa;
use crate::softmax::RowState;
use crate::softmax::block::Moments;
use crate::softmax::gradient::{RowGradient, Slope};
use crate::softmax::transform::Transform;

/// Queries of a block, and keys: its scores are in the second cache. Not measured.
const QUERIES: usize = 96;
const KEYS: usize = 512;

/// Fewer products than this are not worth a thread. As the causal attention of the tape has it.
const LEAST_FOR_THREADS: usize = 1 << 17;

/// What a query sees, and what its products with keys are multiplied with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rule {
    pub(crate) scale: f64,
    /// Query t sees the keys up to t alone.
    pub(crate) causal: bool,
}

/// The queries `[T,d]` of a head, and its keys `[S,d]`.
pub(crate) struct Head<'a, T> {
    pub(crate) queries: ArrayView2<'a, T>,
    pub(crate) keys: ArrayView2<'a, T>,
}

struct ThreadScratch<T> {
    product: Scratch<T>,
    scores: Vec<T>,
}

fn for_threads<T: Real>(heads: &[Head<'_, T>], most: usize) -> Vec<ThreadScratch<T>> {
    let work: usize =
        heads.iter().map(|head| head.queries.len().saturating_mul(head.keys.nrows())).sum();
    let threads = if work < LEAST_FOR_THREADS { 1 } else { parallel::threads().min(most.max(1)) };
    (0..threads).map(|_| ThreadScratch { product: Scratch::new(), scores: Vec::new() }).collect()
}

impl Rule {
    /// How many of the first keys a query sees.
    pub(crate) fn visible(&self, query: usize, keys: usize) -> usize {
        if self.causal { (query + 1).min(keys) } else { keys }
    }

    fn transform(&self) -> Transform {
        Transform { scale: self.scale, softcap: None }
    }

    /// The scores of a block of queries, before they are scaled, beside the keys of each block that they see.
    fn blocks<T: Real>(
        &self,
        isa: Isa,
        head: &Head<'_, T>,
        queries: Range<usize>,
        scratch: &mut ThreadScratch<T>,
        mut work: impl FnMut(Range<usize>, ArrayViewMut2<'_, T>, &mut Scratch<T>),
    ) {
        let all = head.keys.nrows();
        let seen = self.visible(queries.end - 1, all);
        let ThreadScratch { product, scores } = scratch;
        if scores.is_empty() {
            scores.resize(QUERIES * KEYS, T::ZERO);
        }
        let own = head.queries.slice(s![queries.clone(), ..]);
        for first in (0..seen).step_by(KEYS) {
            let keys = first..(first + KEYS).min(seen);
            let shape = (queries.len(), keys.len());
            let scores = &mut scores[..shape.0 * shape.1];
            let mut scores = ArrayViewMut2::from_shape(shape, scores).expect("its size");
            let of = head.keys.slice(s![keys.clone(), ..]);
            multiply_here(isa, product, own, of.t(), Target::Old, scores.view_mut());
            work(keys, scores, product);
        }
    }
}

/// The state of each query: of heads, then of queries.
pub(crate) fn fold<T: Real>(isa: Isa, rule: Rule, heads: &[Head<'_, T>]) -> Vec<RowState> {
    let count = heads.first().map_or(0, |head| head.queries.nrows());
    let mut states = vec![RowState::new(); heads.len() * count];
    let mut tasks = Vec::new();
    for (head, states) in heads.iter().zip(states.chunks_mut(count.max(1))) {
        for (i, states) in states.chunks_mut(QUERIES).enumerate() {
            tasks.push((head, i * QUERIES, states));
        }
    }
    // The longest first: those behind them fill the gaps.
    tasks.reverse();
    let mut scratches = for_threads(heads, tasks.len());
    parallel::for_each(&mut scratches, tasks, |scratch, (head, first, states)| {
        let queries = first..first + states.len();
        rule.blocks(isa, head, queries, scratch, |keys, mut scores, _| {
            for (i, (mut row, state)) in scores.rows_mut().into_iter().zip(&mut *states).enumerate()
            {
                let row = row.as_slice_mut().expect("a contiguous row");
                let seen = rule.visible(first + i, head.keys.nrows());
                let row = &mut row[..seen.saturating_sub(keys.start).min(keys.len())];
                if !row.is_empty() {
                    rule.transform().apply(isa, None, row, None);
                    state.push_block(isa, keys.start, row, Moments::First);
                }
            }
        });
    });
    states
}

/// Where the gradients of a head go, which are 0 before.
pub(crate) struct HeadGradient<'a, T> {
    pub(crate) queries: ArrayViewMut2<'a, T>,
    pub(crate) keys: ArrayViewMut2<'a, T>,
}

/// The gradients of Σ upstream · H by the queries and keys of each head, from the states of the fold. A head is one
/// thread's.
pub(crate) fn gradients<T: Real>(
    isa: Isa,
    rule: Rule,
    heads: &[Head<'_, T>],
    states: &[RowState],
    upstream: &[f64],
    to: Vec<HeadGradient<'_, T>>,
) {
    let count = heads.first().map_or(0, |head| head.queries.nrows());
    let mut scratches = for_threads(heads, heads.len());
    let tasks: Vec<_> = heads.iter().zip(to).enumerate().collect();
    parallel::for_each(&mut scratches, tasks, |scratch, (i, (head, mut to))| {
        let own = i * count..(i + 1) * count;
        let (states, upstream) = (&states[own.clone()], &upstream[own]);
        for first in (0..count).step_by(QUERIES) {
            let queries = first..(first + QUERIES).min(count);
            let rows: Vec<RowGradient<T>> =
                queries.clone().map(|query| of_entropy(&states[query], upstream[query])).collect();
            rule.blocks(isa, head, queries.clone(), scratch, |keys, mut scores, product| {
                for (i, (mut row, of)) in scores.rows_mut().into_iter().zip(&rows).enumerate() {
                    let row = row.as_slice_mut().expect("a contiguous row");
                    let seen = rule.visible(first + i, head.keys.nrows());
                    let seen = seen.saturating_sub(keys.start).min(keys.len());
                    let (row, beyond) = row.split_at_mut(seen);
                    beyond.fill(T::ZERO);
                    if of.entropy.to_f64() == 0.0 {
                        row.fill(T::ZERO);
                        continue;
                    }
                    rule.transform().apply(isa, None, row, None);
                    let slope = Slope::Constant(T::from_f64(rule.scale));
                    of.apply(isa, row, slope, None, None);
                }
                let g = scores.view();
                let of_keys = head.keys.slice(s![keys.clone(), ..]);
                let to_queries = to.queries.slice_mut(s![queries.clone(), ..]);
                multiply_here(isa, product, g, of_keys, Target::Sum, to_queries);
                let of_queries = head.queries.slice(s![queries.clone(), ..]);
                let to_keys = to.keys.slice_mut(s![keys, ..]);
                multiply_here(isa, product, g.t(), of_queries, Target::Sum, to_keys);
            });
        }
    });
}

/// G = −h p (u − μ): the entropy's slope by the scores of a query, times what comes in.
fn of_entropy<T: Real>(state: &RowState, upstream: f64) -> RowGradient<T> {
    let inverse = match state.maximum.is_finite() {
        true => 1.0 / (1.0 + state.remainder),
        false => f64::NAN,
    };
    RowGradient {
        maximum: T::from_f64(state.maximum),
        inverse: T::from_f64(inverse),
        probability: T::ZERO,
        entropy: T::from_f64(upstream),
        mean: T::from_f64(state.first_moment / (1.0 + state.remainder)),
        weights: T::ZERO,
        companion: T::ZERO,
        companion_mean: T::ZERO,
    }
}
