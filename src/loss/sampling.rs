//! Exact draws from the softmax of each row, in the sweep that computes it.

use ndarray::Array2;

use super::engine::fold::fold_rows_drawing;
use super::engine::problem::Problem;
use super::engine::sampling::Drawing;
use super::engine::shapes::{Pass, Shapes};
use super::forward::Forward;
use super::inputs::Inputs;
use super::options::LinearCrossEntropy;
use super::shards::Fold;
use crate::element::Real;
use crate::error::{Error, Result};
use crate::random::Generator;
use crate::softmax::gumbel::Draw;

/// The stream of a seed that the noise comes from.
const STREAM: u64 = 0x6775_6d62_656c;

/// What is to be drawn: how often from each row, from which seed.
///
/// The noise of a class is a function of the seed, of the row's number, of which draw it is and of the class, and of
/// nothing else: so a row's draws depend neither on the rows beside it nor on threads, blocks, shards, budgets or
/// strategies, and two temperatures have the same noise.
///
/// ```
/// use surprisal::loss::Sampling;
/// use surprisal::{Inputs, LinearCrossEntropy};
/// let logits = ndarray::arr2(&[[1.0_f64, 2.0, 0.5], [0.0, 0.0, 3.0]]);
/// let loss = LinearCrossEntropy::builder().build()?;
/// let both = Inputs::from_logits(&logits, &[0_u32, 0]);
/// let both = loss.sample(&both, &Sampling::new(7).draws(4).row_numbers(&[40, 41]))?;
/// // The second alone, as number 41.
/// let second = logits.slice(ndarray::s![1.., ..]);
/// let alone = Inputs::from_logits(second, &[0_u32]);
/// let alone = loss.sample(&alone, &Sampling::new(7).draws(4).row_numbers(&[41]))?;
/// assert_eq!(both.classes.row(1), alone.classes.row(0));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Sampling<'a> {
    seed: u64,
    draws: usize,
    row_numbers: Option<&'a [u64]>,
}

impl<'a> Sampling<'a> {
    /// One draw from each row.
    pub fn new(seed: u64) -> Self {
        Self { seed, draws: 1, row_numbers: None }
    }

    /// S draws from each row, independent of each other; at least 1.
    pub fn draws(mut self, draws: usize) -> Self {
        self.draws = draws;
        self
    }

    /// `[N]` the number of each row, for which it has its noise; its place among the losses by default. Rows of the
    /// same number have the same noise.
    pub fn row_numbers(mut self, numbers: &'a [u64]) -> Self {
        self.row_numbers = Some(numbers);
        self
    }

    /// The keys of the rows, one for each draw.
    fn keys<R: Real>(&self, problem: &Problem<'_, R>) -> Result<Vec<u64>> {
        if self.draws == 0 {
            let value = self.draws.to_string();
            return Err(Error::Option { name: "draws", value, expected: "at least 1" });
        }
        if let Some(numbers) = self.row_numbers
            && numbers.len() != problem.outputs
        {
            return Err(Error::Shape {
                argument: "row_numbers",
                found: vec![numbers.len()],
                expected: format!("[{}], the number of losses", problem.outputs),
            });
        }
        let seed = Generator::stream(self.seed, STREAM).bits();
        let mut keys = Vec::with_capacity(problem.rows.len() * self.draws);
        for row in &problem.rows {
            let number = self.row_numbers.map_or(row.output as u64, |numbers| numbers[row.output]);
            let of = |draw| Generator::stream(seed, draw as u64).child(number).state();
            keys.extend((0..self.draws).map(of));
        }
        Ok(keys)
    }
}

/// What was drawn; what [`LinearCrossEntropy::sample`] returns.
///
/// ```
/// use surprisal::loss::Sampling;
/// use surprisal::{Inputs, LinearCrossEntropy};
/// let logits = ndarray::arr2(&[[f64::NEG_INFINITY, 2.0], [0.0, 0.0]]);
/// let inputs = Inputs::from_logits(&logits, &[0_i64, -100]);
/// let drawn = LinearCrossEntropy::builder().build()?.sample(&inputs, &Sampling::new(1))?;
/// assert_eq!((drawn.classes[[0, 0]], drawn.log_probabilities[[0, 0]]), (1, 0.0));
/// assert_eq!(drawn.classes[[1, 0]], -1);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Samples {
    /// `[N,S]` classes; −1 at ignored rows and at those that have no probabilities: with a NaN, without a finite
    /// maximum.
    pub classes: Array2<i64>,
    /// `[N,S]` ln p of each in nats; 0 at ignored rows, NaN at rows without probabilities.
    pub log_probabilities: Array2<f64>,
    /// The forward of the same sweep.
    pub forward: Forward,
}

/// The draws over one shard of a vocabulary, to be merged with those over the others.
///
/// ```
/// use ndarray::{arr2, s};
/// use surprisal::loss::Sampling;
/// use surprisal::{Inputs, LinearCrossEntropy, Shard};
/// let logits = arr2(&[[1.0_f64, 2.0, 0.5, 1.5]]);
/// let (loss, sampling) = (LinearCrossEntropy::builder().build()?, Sampling::new(3).draws(5));
/// let of = |classes: std::ops::Range<usize>| {
///     let part = logits.slice(s![.., classes.clone()]);
///     let inputs = Inputs::from_logits(part, &[0_u32]).shard(Shard::new(classes.start, 4));
///     loss.sample_shard(&inputs, &sampling)
/// };
/// let mut shards = of(2..4)?;
/// shards.merge(&of(0..2)?)?;
/// let whole = loss.sample(&Inputs::from_logits(&logits, &[0_u32]), &sampling)?;
/// assert_eq!(shards.finish()?.classes, whole.classes);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ShardSamples {
    fold: Fold,
    keys: Vec<u64>,
    draws: Vec<Draw>,
    count: usize,
}

impl ShardSamples {
    /// Joins in what was drawn over other classes of the same rows.
    ///
    /// # Errors
    /// [`Error::Conflict`] for another seed, other numbers of rows or draws, and as [`Fold::merge`].
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if self.keys != other.keys || self.count != other.count {
            let what = "the draws are of other seeds, rows or numbers, expected the same".into();
            return Err(Error::Conflict { what });
        }
        self.fold.merge(&other.fold)?;
        self.draws.iter_mut().zip(&other.draws).for_each(|(draw, other)| draw.merge(other));
        Ok(())
    }

    /// What was drawn, once every shard is merged.
    ///
    /// # Errors
    /// As [`Fold::finish`].
    pub fn finish(self) -> Result<Samples> {
        let forward = self.fold.finish()?;
        let shape = (forward.len(), self.count);
        let (mut classes, mut log_probabilities) =
            (Array2::from_elem(shape, -1), Array2::zeros(shape));
        let rows = forward.rows.iter().zip(&forward.states).zip(self.draws.chunks(self.count));
        for ((row, state), draws) in rows {
            for (i, draw) in draws.iter().enumerate() {
                let at = [row.output, i];
                (classes[at], log_probabilities[at]) = match state.maximum.is_finite() {
                    true => (i64::from(draw.class), 0.0 - state.surprisal_of(draw.logit)),
                    false => (-1, f64::NAN),
                };
            }
        }
        Ok(Samples { classes, log_probabilities, forward })
    }
}

impl LinearCrossEntropy {
    /// Draws classes from the softmax of each row exactly, with their log-probabilities, in the one sweep of a
    /// forward: no logits are stored.
    ///
    /// ```text
    /// y = argmax_v a_v + G_v      G = −ln(−ln u), u uniform of 53 bits, never 0 or 1
    /// ```
    ///
    /// which is v with probability p_v (Gumbel 1954). The random numbers of most classes are hashed and compared with
    /// the least that could win, and no more. u has 53 bits, so p is exact to 2⁻⁵³. The temperatures are those of the
    /// call or of the rows, and the floors of a truncation ([`Inputs::floors`]) leave out what they leave out. For
    /// another instruction set the logits may have other bits, and a draw that hangs on them may be another.
    ///
    /// The targets are not read, but for which rows are ignored, and for the loss of [`Samples::forward`], which is
    /// without the rank and without what a filter records.
    ///
    /// ```
    /// use ndarray::arr2;
    /// use surprisal::loss::{Sampling, Truncation};
    /// use surprisal::{Inputs, LinearCrossEntropy};
    /// let hidden = arr2(&[[1.0_f32, -0.5], [0.3, 2.0]]);
    /// let classifier = arr2(&[[0.5_f32, 1.0], [-1.0, 0.2], [0.7, 0.1]]);
    /// let inputs = Inputs::new(&hidden, &classifier, &[0_u32, 0]);
    /// let loss = LinearCrossEntropy::builder().temperature(0.8).build()?;
    /// let floors = loss.truncate(&inputs, &Truncation::new().top_k(2))?;
    /// let drawn = loss.sample(&inputs.floors(&floors), &Sampling::new(42).draws(100))?;
    /// assert_eq!(drawn.classes.dim(), (2, 100));
    /// // Class 1 of the first row is the third.
    /// assert!(drawn.classes.row(0).iter().all(|&class| class != 1));
    /// assert!(drawn.log_probabilities.iter().all(|x| *x < 0.0));
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`forward`](Self::forward); [`Error::Option`] for no draws, [`Error::Shape`] where the numbers of the rows
    /// are not one for each loss.
    pub fn sample(&self, inputs: &Inputs<'_>, sampling: &Sampling<'_>) -> Result<Samples> {
        inputs.check_whole()?;
        self.sample_shard(inputs, sampling)?.finish()
    }

    /// As [`sample`](Self::sample) over the classes of one shard, to be merged with the others: the same classes are
    /// drawn as without shards.
    ///
    /// # Errors
    /// As [`sample`](Self::sample).
    pub fn sample_shard(
        &self,
        inputs: &Inputs<'_>,
        sampling: &Sampling<'_>,
    ) -> Result<ShardSamples> {
        match inputs.is_double() {
            true => self.sample_in::<f64>(inputs, sampling),
            false => self.sample_in::<f32>(inputs, sampling),
        }
    }

    fn sample_in<R: Real>(
        &self,
        inputs: &Inputs<'_>,
        sampling: &Sampling<'_>,
    ) -> Result<ShardSamples> {
        if self.needs.diverges() {
            let what = "draws go with one sweep, expected a loss without divergences".into();
            return Err(Error::Conflict { what });
        }
        let loss = Self { filter: None, ..self.without_rank() };
        let plan = loss.plan(&Shapes::of(inputs).draws(sampling.draws), Pass::Forward)?;
        let problem = Problem::<R>::new(&loss, inputs)?;
        let mut drawing = Drawing::new(sampling.keys(&problem)?, sampling.draws);
        let folded = match problem.narrow {
            true => fold_rows_drawing::<R::Narrow>(&problem, &plan, Some(&mut drawing)),
            false => fold_rows_drawing::<R>(&problem, &plan, Some(&mut drawing)),
        };
        let Drawing { keys, draws, .. } = drawing;
        let fold = Fold { forward: Forward::new(problem, folded, None) };
        Ok(ShardSamples { fold, keys, draws, count: sampling.draws })
    }
}
