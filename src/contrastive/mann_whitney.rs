//! Each positive against all negatives of the batch.

use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis, s};

use super::checks::{finite, of_embeddings_alone, positive};
use super::contrast::Contrast;
use super::pair_sums::{Asked, PairSums, Sorting, Totals};
use crate::element::Real;
use crate::error::{Error, Result, short};
use crate::loss::{Gradients, Inputs};
use crate::matrix::Matrix;
use crate::parallel;
use crate::pieces::split;
use crate::product::{Scratch, Target, multiply};
use crate::simd::Isa;
use crate::writing::put_row;

/// Queries whose scores are held at a time: keys and their gradient are read once for each block, 128 operations a byte
/// of f32. Chosen by that.
const BLOCK: usize = 256;
/// Scores that one thread sorts at a time: with their places 768 KiB, for a second cache. Chosen by that.
const AT_ONCE: usize = 1 << 15;
/// Scores below which another thread costs more than it takes over, at some ten nanoseconds for each. Not measured.
const FEW: usize = 1 << 12;

/// What the sum over pairs is divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PairReduction {
    /// B, the number of positives, as the paper has it.
    #[default]
    PerPositive,
    /// The number of pairs of a positive and a negative.
    Mean,
}

/// The Mann–Whitney loss: every positive score should exceed every negative one, of whatever query.
///
/// ```text
/// s_ij = q_i·k_j      S⁻ = {s_ij : i ≠ j}, of all rows      L = (1/B) Σ_i Σ_{s∈S⁻} softplus((s − s_ii)/τ)
/// B queries [B,D], keys [M,D], M ≥ B; mean: over B·|S⁻| in place of B
/// ```
///
/// In nats. The mean over ln 2 is at least the share of pairs in the wrong order, 1 − AUC. L does not change where a
/// number is added to all scores, but does where it is added to those of one query, to which
/// [`InfoNce`](super::InfoNce) is blind: thresholds that all queries share are learnt.
///
/// B²·M pairs take a time of B·M beside the products: Σ_i softplus((s − s_ii)/τ) is a smooth function of s alone, which
/// is interpolated in pieces of width 2τ to about the rounding of f64. Scores are made 256 queries at a time and
/// forgotten. Beyond the embeddings and their gradients that takes O(B + M) numbers, and up to 2²⁰ pieces: positives
/// may be 2²¹ τ apart. It goes over the threads of the ambient pool, to the same bits whatever their number.
///
/// arXiv 2510.00137, which has no τ in its loss (τ = 1 here) and divides by B.
///
/// Cases in `conformance/losses.jsonl`: `mw`.
///
/// ```
/// use surprisal::contrastive::{MannWhitney, PairReduction};
/// let loss = MannWhitney::new(1.0)?.reduction(PairReduction::Mean);
/// let scores = ndarray::arr2(&[[1.0_f64, 0.0], [0.0, 1.0]]);
/// assert!((loss.of_scores(&scores)?.0.loss - (-1.0_f64).exp().ln_1p()).abs() < 1e-15);
/// // Shifted for the second query alone.
/// let shifted = ndarray::arr2(&[[1.0_f64, 0.0], [5.0, 6.0]]);
/// assert!(loss.of_scores(&shifted)?.0.loss > 1.0);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MannWhitney {
    temperature: f64,
    reduction: PairReduction,
}

impl MannWhitney {
    /// At this τ, a sum over negatives for each positive.
    ///
    /// # Errors
    /// [`Error::Option`] for a τ that is not finite and above 0.
    pub fn new(temperature: f64) -> Result<Self> {
        let temperature = positive("temperature", temperature)?;
        Ok(Self { temperature, reduction: PairReduction::default() })
    }

    /// The same at another τ, such as one that is learnt.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn at(&self, temperature: f64) -> Result<Self> {
        Ok(Self { temperature: positive("temperature", temperature)?, ..*self })
    }

    /// With this divisor.
    #[must_use]
    pub fn reduction(self, reduction: PairReduction) -> Self {
        Self { reduction, ..self }
    }

    /// The loss of queries `[B,D]` and keys `[M,D]`.
    ///
    /// # Errors
    /// [`Error::Shape`] for embeddings of different lengths, fewer keys than queries, or no negative;
    /// [`Error::Value`] for a number that is not finite; [`Error::Option`] where positives are too far apart for τ.
    pub fn loss<'a>(
        &self,
        queries: impl Into<Matrix<'a>>,
        keys: impl Into<Matrix<'a>>,
    ) -> Result<f64> {
        Ok(self.evaluate(queries.into(), keys.into(), None)?.loss)
    }

    /// The loss with its slope by τ and its gradients: [`Gradients::hidden`] is of the queries,
    /// [`Gradients::classifier`] of the keys.
    ///
    /// # Errors
    /// As [`loss`](Self::loss); [`Error::Shape`] for gradients that do not fit, [`Error::Conflict`] for other ones.
    pub fn loss_and_gradients<'a>(
        &self,
        queries: impl Into<Matrix<'a>>,
        keys: impl Into<Matrix<'a>>,
        gradients: Gradients<'_>,
    ) -> Result<Contrast> {
        self.evaluate(queries.into(), keys.into(), Some(gradients))
    }

    /// The loss of scores `[B,M]` that are there, and its gradient by them.
    ///
    /// # Errors
    /// As [`loss`](Self::loss).
    pub fn of_scores<'a>(&self, scores: impl Into<Matrix<'a>>) -> Result<(Contrast, Array2<f64>)> {
        self.of_scores_here(scores.into())
    }

    fn of_scores_here(&self, scores: Matrix<'_>) -> Result<(Contrast, Array2<f64>)> {
        finite("scores", &scores)?;
        let (rows, columns) = scores.dim();
        check_count("scores", rows, columns, vec![rows, columns])?;
        let points: Vec<f64> = (0..rows).map(|i| scores.at(i, i) / self.temperature).collect();
        let sums = self.sums(Isa::current()?, &points)?;
        let mut groups = sums.groups();
        let mut scratches = for_threads(rows, columns);
        let mut gradient = copied::<f64>(&scores);
        for (block, scores) in split(gradient.view_mut(), Axis(0), BLOCK).into_iter().enumerate() {
            self.ask(&sums, &mut groups, &mut scratches, block * BLOCK, scores);
        }
        let totals = sums.totals(&groups, scratches.len());
        for (i, of_point) in totals.of_points.iter().enumerate() {
            gradient[[i, i]] = -of_point;
        }
        let divisor = self.divisor(rows, columns);
        gradient /= self.temperature * divisor;
        Ok((self.contrast(&points, &totals, sums.centre, divisor), gradient))
    }

    /// Puts the slope of each negative in its place, 0 for positives: of the queries from `first` on.
    fn ask<R: Real>(
        &self,
        sums: &PairSums,
        groups: &mut [Asked],
        scratches: &mut [ThreadScratch],
        first: usize,
        scores: ArrayViewMut2<'_, R>,
    ) {
        // Which group counts a score depends on nothing but its row.
        let rows = BLOCK.div_ceil(groups.len());
        let parts = split(scores, Axis(0), rows).into_iter().enumerate();
        let work = |scratch: &mut ThreadScratch, ((i, part), asked): ((usize, _), &mut Asked)| {
            let part: ArrayViewMut2<'_, R> = part;
            let first = first + i * rows;
            let at_once = (AT_ONCE / part.ncols()).max(1);
            for (k, mut scores) in split(part, Axis(0), at_once).into_iter().enumerate() {
                let first = first + k * at_once;
                let ThreadScratch { xs, sorting } = &mut *scratch;
                xs.clear();
                for (i, row) in (first..).zip(scores.rows()) {
                    let others = row.iter().enumerate().filter(|(j, _)| *j != i);
                    xs.extend(others.map(|(_, score)| score.to_f64() / self.temperature));
                }
                sums.ask(asked, sorting, xs);
                let mut found = xs.iter();
                for (i, mut row) in (first..).zip(scores.rows_mut()) {
                    for (j, score) in row.iter_mut().enumerate() {
                        let own = if i == j { None } else { found.next() };
                        *score = R::from_f64(own.copied().unwrap_or_default());
                    }
                }
            }
        };
        parallel::for_each(scratches, parts.zip(groups).collect(), work);
    }

    fn sums(&self, isa: Isa, points: &[f64]) -> Result<PairSums> {
        PairSums::new(isa, points.to_vec()).ok_or_else(|| Error::Option {
            name: "temperature",
            value: short(self.temperature),
            expected: "at least a 2^-21 of what the scores of the positives are apart",
        })
    }

    fn divisor(&self, rows: usize, columns: usize) -> f64 {
        let negatives = rows as f64 * (columns as f64 - 1.0);
        rows as f64 * if self.reduction == PairReduction::Mean { negatives } else { 1.0 }
    }

    fn contrast(&self, points: &[f64], totals: &Totals, centre: f64, divisor: f64) -> Contrast {
        // Σ (∂L/∂z) (z − c), whose slopes sum to 0.
        let of_points = totals.of_points.iter().zip(points);
        let of_points: f64 = of_points.map(|(of_point, p)| of_point * (p - centre)).sum();
        Contrast {
            loss: totals.value / divisor,
            by_temperature: (of_points - totals.slope) / (self.temperature * divisor),
        }
    }

    fn evaluate(
        &self,
        queries: Matrix<'_>,
        keys: Matrix<'_>,
        gradients: Option<Gradients<'_>>,
    ) -> Result<Contrast> {
        finite("queries", &queries)?;
        finite("keys", &keys)?;
        let ((rows, width), (columns, key_width)) = (queries.dim(), keys.dim());
        if width != key_width {
            let expected = format!("[{columns}, {width}], as long as the queries");
            return Err(Error::Shape {
                argument: "keys",
                found: vec![columns, key_width],
                expected,
            });
        }
        check_count("keys", rows, columns, vec![columns, width])?;
        let inputs = Inputs::unlabelled(queries.shorter(), keys.shorter());
        if let Some(gradients) = &gradients {
            of_embeddings_alone(gradients)?;
            gradients.check(&inputs)?;
        }
        match inputs.is_double() {
            true => self.in_type::<f64>(&queries, &keys, gradients),
            false => self.in_type::<f32>(&queries, &keys, gradients),
        }
    }

    fn in_type<R: Real>(
        &self,
        queries: &Matrix<'_>,
        keys: &Matrix<'_>,
        gradients: Option<Gradients<'_>>,
    ) -> Result<Contrast> {
        let (queries, keys) = (copied::<R>(queries), copied::<R>(keys));
        let (rows, columns) = (queries.nrows(), keys.nrows());
        let isa = Isa::current()?;
        let points: Vec<f64> =
            (0..rows).map(|i| dot(&queries, i, &keys, i) / self.temperature).collect();
        let sums = self.sums(isa, &points)?;
        let mut groups = sums.groups();
        let mut scratches = for_threads(rows, columns);
        let mut products: Vec<_> = scratches.iter().map(|_| Scratch::new()).collect();
        let mut block = Array2::from_elem((BLOCK.min(rows), columns), R::ZERO);
        let wanted = gradients.is_some();
        let zeros =
            |like: &Array2<R>| Array2::from_elem(if wanted { like.dim() } else { (0, 0) }, R::ZERO);
        let (mut by_queries, mut by_keys) = (zeros(&queries), zeros(&keys));
        for first in (0..rows).step_by(BLOCK) {
            let own = first..rows.min(first + BLOCK);
            let some: ArrayView2<'_, R> = queries.slice(s![own.clone(), ..]);
            let mut scores = block.slice_mut(s![..own.len(), ..]);
            multiply(isa, &mut products, some, keys.t(), Target::Old, scores.view_mut());
            self.ask(&sums, &mut groups, &mut scratches, first, scores.view_mut());
            if wanted {
                let to = by_queries.slice_mut(s![own, ..]);
                multiply(isa, &mut products, scores.view(), keys.view(), Target::Old, to);
                let to = by_keys.view_mut();
                multiply(isa, &mut products, scores.t(), some, Target::Sum, to);
            }
        }
        let totals = sums.totals(&groups, scratches.len());
        let divisor = self.divisor(rows, columns);
        if let Some(gradients) = gradients {
            let factor = 1.0 / (self.temperature * divisor);
            for (sink, by, other) in
                [(gradients.hidden, by_queries, &keys), (gradients.classifier, by_keys, &queries)]
            {
                let Some(mut sink) = sink else { continue };
                for (i, mut by) in by.axis_iter(Axis(0)).map(|by| by.to_vec()).enumerate() {
                    let of_point = totals.of_points.get(i).copied().unwrap_or_default();
                    for (j, by) in by.iter_mut().enumerate() {
                        let pull =
                            if of_point > 0.0 { of_point * other[[i, j]].to_f64() } else { 0.0 };
                        *by = R::from_f64((by.to_f64() - pull) * factor);
                    }
                    put_row(&mut sink.array, i, 0..by.len(), &by, sink.accumulate);
                }
            }
        }
        Ok(self.contrast(&points, &totals, sums.centre, divisor))
    }
}

/// What a thread asks with.
#[derive(Default)]
struct ThreadScratch {
    xs: Vec<f64>,
    sorting: Sorting,
}

/// For as many threads as so many scores are worth.
fn for_threads(rows: usize, columns: usize) -> Vec<ThreadScratch> {
    let threads = if rows.saturating_mul(columns) < FEW { 1 } else { parallel::threads() };
    (0..threads).map(|_| ThreadScratch::default()).collect()
}

fn check_count(
    argument: &'static str,
    rows: usize,
    columns: usize,
    found: Vec<usize>,
) -> Result<()> {
    match columns >= rows && columns > 1 {
        true => Ok(()),
        false => {
            let expected = format!("a key for each of {rows} queries, and two keys at least");
            Err(Error::Shape { argument, found, expected })
        }
    }
}

fn copied<R: Real>(matrix: &Matrix<'_>) -> Array2<R> {
    let mut copy = Array2::from_elem(matrix.dim(), R::ZERO);
    let width = copy.ncols();
    for (i, mut row) in copy.rows_mut().into_iter().enumerate() {
        matrix.read(i, 0..width, row.as_slice_mut().expect("contiguous rows"));
    }
    copy
}

fn dot<R: Real>(a: &Array2<R>, i: usize, b: &Array2<R>, j: usize) -> f64 {
    a.row(i).iter().zip(b.row(j)).map(|(a, b)| a.to_f64() * b.to_f64()).sum()
}
