//! What comes out of a fold over the whole vocabulary.

use ndarray::{Array1, Array2};
use std::ops::Range;

use super::candidates::CandidateLogProbabilities;
use super::engine::candidates::CandidateRows;
use super::engine::fold::{Folded, scaled};
use super::engine::listed::Listed;
use super::engine::problem::{Divisors, Problem, Row, SecondRow};
use super::filter::decision::Dropped;
use super::filter::record::Record;
use super::gradients::Upstream;
use super::inputs::Targets;
use super::options::LinearCrossEntropy;
use super::row_loss::{RowScalars, Term};
use crate::element::Real;
use crate::error::{Error, Result};
use crate::matrix::VectorMut;
use crate::quotient::{quotient, sum_of_products, times_power};
use crate::softmax::RowState;
use crate::softmax::top_k::Entry;
use crate::writing::{clear_vector, put_vector};

/// What the examples of this file begin with.
macro_rules! example {
    () => {
        "# use surprisal::{Inputs, LinearCrossEntropy};
# let logits = ndarray::arr2(&[[1.0_f64, 3.0, 2.0], [5.0, 5.0, 0.0]]);
# let loss = LinearCrossEntropy::builder().varentropy(true).rank(true).top_k(2).build()?;
# let forward = loss.forward(&Inputs::from_logits(&logits, &[2_i64, -100]))?;"
    };
}

/// A number that each row has.
///
/// ```
/// use surprisal::{Inputs, LinearCrossEntropy, Statistic};
/// let logits = ndarray::arr2(&[[0.0_f64, 0.0]]);
/// let loss = LinearCrossEntropy::builder().entropy(true).build()?;
/// let forward = loss.forward(&Inputs::from_logits(&logits, &[1_u32]))?;
/// assert_eq!(forward.statistic(Statistic::Entropy)?[0], std::f64::consts::LN_2);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Statistic {
    /// L_i, before the reduction.
    Loss,
    /// lse, in nats.
    LogSumExp,
    /// ln p of the target, in nats.
    LogProbability,
    /// H = −Σ p ln p, in nats; needs [`entropy`](crate::LinearCrossEntropyBuilder::entropy).
    Entropy,
    /// The variance of ln p under p, in nats²; needs
    /// [`varentropy`](crate::LinearCrossEntropyBuilder::varentropy).
    Varentropy,
    /// −ln max p, in nats.
    MinEntropy,
    /// (ln p_y + H) / √varentropy of the target, 0 where the varentropy is: how far its ln p is from the mean
    /// under p. Needs [`varentropy`](crate::LinearCrossEntropyBuilder::varentropy).
    ZScore,
}

/// The k most likely classes of every row; what [`Forward::top_k`] gives.
///
/// ```
/// use surprisal::{Inputs, LinearCrossEntropy};
/// let logits = ndarray::arr2(&[[1.0_f32, 3.0, 2.0]]);
/// let loss = LinearCrossEntropy::builder().top_k(2).build()?;
/// let top = loss.forward(&Inputs::from_logits(&logits, &[2_u32]))?.top_k();
/// assert_eq!((top.classes[[0, 0]], top.log_probabilities.dim()), (1, (1, 2)));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TopK {
    /// `[N,k]` classes, the most likely first; −1 beyond the vocabulary and at ignored rows.
    pub classes: Array2<i64>,
    /// `[N,k]` ln p of each in nats; −∞ beyond the vocabulary, 0 at ignored rows.
    pub log_probabilities: Array2<f64>,
}

impl TopK {
    /// The probability of the k likeliest classes of every row together; 0 at ignored rows.
    ///
    /// ```
    /// use surprisal::{Inputs, LinearCrossEntropy};
    /// let logits = ndarray::arr2(&[[0.0_f64, 3_f64.ln(), 0.0]]);
    /// let loss = LinearCrossEntropy::builder().top_k(2).build()?;
    /// let top = loss.forward(&Inputs::from_logits(&logits, &[2_u32]))?.top_k();
    /// assert!((top.mass()[0] - 0.8).abs() < 1e-15);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn mass(&self) -> Array1<f64> {
        let rows = self.classes.rows().into_iter().zip(self.log_probabilities.rows());
        // An ignored row has no classes.
        let share = |(&class, log): (&i64, &f64)| if class < 0 { 0.0 } else { log.exp() };
        rows.map(|(classes, logs)| classes.iter().zip(logs).map(share).sum()).collect()
    }
}

/// The probability q_i that a filter leaves out of a row's gradient, to a few parts in a thousand; what
/// [`Forward::dropped_mass`] gives.
///
/// ```text
/// ‖ΔdE_i‖ ≤ |A_i| q_i max_v ‖C_v‖
/// ```
///
/// with A_i the coefficient of p in the row's gradient (its upstream over the divisor, for a plain
/// loss).
///
/// ```
/// use surprisal::{Filter, Inputs, LinearCrossEntropy};
/// let one = ndarray::arr2(&[[1.0_f32]]);
/// let loss = LinearCrossEntropy::builder().filter(Filter::Auto).build()?;
/// let mass = loss.forward(&Inputs::new(&one, &one, &[0_u32]))?.dropped_mass();
/// assert_eq!(mass.map(|mass| (mass.largest, mass.mean)), Some((0.0, 0.0)));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct DroppedMass {
    /// The largest q_i.
    pub largest: f64,
    /// The mean of q_i over the kept rows.
    pub mean: f64,
}

/// The loss of every row, and whatever else the fold was asked for.
///
/// ```
/// use surprisal::{Inputs, LinearCrossEntropy};
/// let logits = ndarray::arr2(&[[1.0_f32, 3.0, 2.0], [5.0, 5.0, 0.0]]);
/// let loss = LinearCrossEntropy::builder().rank(true).top_k(2).build()?;
/// let forward = loss.forward(&Inputs::from_logits(&logits, &[2_i64, -100]))?;
/// assert_eq!(forward.argmax().to_vec(), [1, -1]);
/// assert_eq!(forward.rank()?.to_vec(), [1, -1]);
/// assert_eq!(forward.top_k().classes.row(0).to_vec(), [1, 2]);
/// assert_eq!((forward.len(), forward.rows_kept()), (2, 1));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Forward {
    pub(crate) states: Vec<RowState>,
    pub(crate) rows: Vec<Row>,
    pub(super) top: Vec<Entry>,
    pub(super) outputs: usize,
    pub(super) loss: LinearCrossEntropy,
    pub(super) vocabulary: usize,
    /// The classes that have been folded in, in order.
    pub(super) covered: Vec<Range<usize>>,
    pub(super) class_weights_of_targets: Option<Vec<f64>>,
    pub(super) soft: bool,
    pub(super) divisors: Divisors,
    /// What a filter decides by, until shards are merged.
    pub(crate) record: Option<Record>,
    pub(super) dropped: Option<Dropped>,
    /// Of each kept row, where the loss has divergences.
    pub(crate) second: Vec<SecondRow>,
    pub(super) listed: Option<Listed>,
    pub(crate) candidates: CandidateRows,
}

impl Forward {
    /// Where nothing is known of what a filter drops.
    #[cfg(feature = "gpu")]
    pub(crate) fn without_dropped(self) -> Self {
        Self { dropped: None, ..self }
    }

    /// Forgets what a filter could decide by: it is of other classes than the fold.
    pub(super) fn forget(&mut self) {
        self.record = None;
        self.dropped = self.dropped.map(|_| Dropped::NOTHING);
    }

    pub(crate) fn new<R: Real>(
        problem: Problem<'_, R>,
        folded: Folded,
        dropped: Option<Dropped>,
    ) -> Self {
        let Folded { states, top, second, candidates, .. } = folded;
        let soft = !matches!(problem.targets, Targets::Hard(_));
        let class_weights_of_targets = problem
            .class_weights
            .as_ref()
            .map(|w| problem.rows.iter().map(|row| w[row.target as usize].to_f64()).collect());
        Self {
            states,
            top,
            outputs: problem.outputs,
            covered: std::iter::once(problem.first_class..problem.first_class + problem.columns)
                .collect(),
            dropped: dropped.or(problem.loss.filter.map(|_| Dropped::NOTHING)),
            loss: problem.loss,
            vocabulary: problem.vocabulary,
            class_weights_of_targets,
            soft,
            divisors: problem.divisors,
            record: None,
            second,
            listed: problem.candidates,
            candidates,
            rows: problem.rows,
        }
    }

    /// Whether this forward was made from these rows and targets with these options.
    pub(crate) fn check_rows<R: Real>(&self, problem: &Problem<'_, R>) -> Result<()> {
        let row = |row: &Row| (row.hidden, row.output, row.target, row.temperature, row.floor);
        let same = self.outputs == problem.outputs
            && self.rows.len() == problem.rows.len()
            && self.rows.iter().zip(&problem.rows).all(|(a, b)| row(a) == row(b))
            && self.loss.same_function(&problem.loss)
            && match (&self.listed, &problem.candidates) {
                (Some(own), Some(other)) => own.same(other),
                (_, other) => other.is_none(),
            };
        match same {
            true => Ok(()),
            false => Err(Error::Conflict {
                what: "the forward has other options, rows or targets, expected what `forward` \
                       returned for these inputs"
                    .into(),
            }),
        }
    }

    /// The same, and whether it has what these upstream gradients need.
    pub(crate) fn check_upstream<R: Real>(
        &self,
        problem: &Problem<'_, R>,
        upstream: &Upstream<'_>,
    ) -> Result<()> {
        upstream.check(problem)?;
        self.check_rows(problem)?;
        if upstream.has_entropy() && self.mean_entropy().is_none() {
            return Err(Error::Conflict {
                what: "the forward carries no entropy, so it has no gradient".into(),
            });
        }
        Ok(())
    }

    /// Notes that these classes have been folded in.
    pub(super) fn cover(&mut self, classes: &[Range<usize>]) -> Result<()> {
        let mut covered = [&self.covered[..], classes].concat();
        covered.retain(|classes| !classes.is_empty());
        covered.sort_by_key(|classes| classes.start);
        if let Some(pair) = covered.windows(2).find(|pair| pair[1].start < pair[0].end) {
            return Err(Error::Conflict {
                what: format!("class {} is in both folds, expected other classes", pair[1].start),
            });
        }
        self.covered = covered;
        Ok(())
    }

    /// What the loss of a kept row is computed from.
    pub(crate) fn scalars(&self, i: usize) -> RowScalars {
        let scalars = RowScalars::new(&self.states[i], self.vocabulary)
            .with_needs(self.loss.needs)
            .with_temperature(self.rows[i].temperature);
        let scalars = match self.second.get(i) {
            Some(row) => scalars.with_second_head(row.divergences, row.entropy),
            None => scalars,
        };
        if self.soft {
            return scalars.with_soft_targets();
        }
        let weight = self.class_weights_of_targets.as_ref().map_or(1.0, |w| w[i]);
        scalars.with_class_weight(times_power(weight, self.divisors.of_weights))
    }

    /// The weighted part (without the power of two of the divisors) and the plain part of a kept row,
    /// without its token weight.
    fn terms(&self, i: usize) -> (f64, Option<f64>) {
        let scalars = self.scalars(i);
        let weights = self.class_weights_of_targets.as_ref().filter(|_| !self.soft);
        let weight = weights.map_or(1.0, |w| w[i]);
        let terms = self.loss.row_loss.evaluate(&scalars);
        let value = |term: Term, weight: f64| {
            times_power(scaled(term.factor * weight, term.value), term.exponent)
        };
        let mut weighted = terms.weighted.map_or(0.0, |term| value(term, weight));
        if terms.smoothing != 0.0 {
            weighted += terms.smoothing / self.vocabulary as f64 * scalars.weighed();
        }
        (weighted, terms.plain.map(|term| value(term, 1.0)))
    }

    /// The reduced loss in nats, summed in f64; with [`Reduction::None`](crate::Reduction::None)
    /// the sum, whose gradients are those of an upstream of ones.
    ///
    /// ```
    #[doc = example!()]
    /// assert!((forward.loss() - 1.4076059644443804).abs() < 1e-15);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn loss(&self) -> f64 {
        let weighed = self.rows.iter().enumerate().filter(|(_, row)| row.token_weight != 0.0);
        let terms: Vec<(f64, (f64, Option<f64>))> =
            weighed.map(|(i, row)| (row.token_weight, self.terms(i))).collect();
        let products = terms.iter().map(|&(weight, (weighted, _))| (weight, weighted));
        let (sum, exponent) = sum_of_products(products);
        let Divisors { weighted, exponent: taken, plain, .. } = self.divisors;
        let mut loss = quotient([sum], weighted, exponent + taken);
        if terms.iter().any(|(_, (_, plain))| plain.is_some()) {
            let products = terms.iter().map(|&(weight, (_, own))| (weight, own.unwrap_or(0.0)));
            let (sum, exponent) = sum_of_products(products);
            loss += quotient([sum], plain, exponent);
        }
        loss
    }

    /// Writes a statistic of every row, 0 at ignored ones.
    ///
    /// ```
    #[doc = example!()]
    /// let mut varentropy = ndarray::Array1::<f64>::zeros(2);
    /// forward.write(surprisal::Statistic::Varentropy, &mut varentropy)?;
    /// assert!(varentropy[0] > 0.0 && varentropy[1] == 0.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] where `to` has another length than there are losses; [`Error::Conflict`]
    /// for a statistic that was not asked for, or that soft targets do not have.
    pub fn write<'a>(&self, statistic: Statistic, to: impl Into<VectorMut<'a>>) -> Result<()> {
        self.write_to(statistic, &mut to.into())
    }

    fn write_to(&self, statistic: Statistic, to: &mut VectorMut<'_>) -> Result<()> {
        if to.len() != self.outputs {
            return Err(Error::Shape {
                argument: "the output",
                found: vec![to.len()],
                expected: format!("[{}], the number of losses", self.outputs),
            });
        }
        let asked = match statistic {
            Statistic::Entropy => self.loss.statistics.entropy || self.loss.statistics.varentropy,
            Statistic::Varentropy => self.loss.statistics.varentropy,
            Statistic::ZScore => self.loss.statistics.varentropy && !self.soft,
            Statistic::LogProbability => !self.soft,
            _ => true,
        };
        if !asked {
            let what = match statistic {
                Statistic::LogProbability => "soft targets have no log-probability".into(),
                Statistic::ZScore if self.soft => "soft targets have no z score".into(),
                Statistic::ZScore => {
                    "the z score takes the varentropy, which was not asked for".into()
                }
                _ => format!("the {statistic:?} was not asked for when the loss was built"),
            };
            return Err(Error::Conflict { what });
        }
        clear_vector(to);
        for (i, (state, row)) in self.states.iter().zip(&self.rows).enumerate() {
            let value = match statistic {
                Statistic::Loss if row.token_weight == 0.0 => 0.0,
                Statistic::Loss => {
                    let (weighted, plain) = self.terms(i);
                    let plain = plain.unwrap_or(0.0);
                    match self.divisors.of_weights {
                        0 => row.token_weight * (weighted + plain),
                        power => {
                            quotient([row.token_weight, weighted], 1.0, power)
                                + row.token_weight * plain
                        }
                    }
                }
                Statistic::LogSumExp => state.log_sum_exp(),
                Statistic::LogProbability => 0.0 - state.surprisal().unwrap_or(f64::NAN),
                Statistic::Entropy => state.entropy(),
                Statistic::Varentropy => state.varentropy(),
                Statistic::MinEntropy => state.min_entropy(),
                Statistic::ZScore => state.z_score().unwrap_or(f64::NAN),
            };
            put_vector(to, row.output, &[value], false);
        }
        Ok(())
    }

    /// A statistic of every row, 0 at ignored ones.
    ///
    /// ```
    #[doc = example!()]
    /// let entropy = forward.statistic(surprisal::Statistic::Entropy)?;
    /// assert!(entropy[0] > 0.0 && entropy[0] < 3_f64.ln());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn statistic(&self, statistic: Statistic) -> Result<Array1<f64>> {
        let mut to = Array1::zeros(self.outputs);
        self.write(statistic, to.view_mut())?;
        Ok(to)
    }

    /// L_i of every row, 0 at ignored ones.
    ///
    /// ```
    #[doc = example!()]
    /// assert_eq!(forward.losses()[1], 0.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn losses(&self) -> Array1<f64> {
        self.statistic(Statistic::Loss).expect("the loss is always there")
    }

    /// lse of every row, 0 at ignored ones.
    ///
    /// ```
    #[doc = example!()]
    /// assert!((forward.log_sum_exp()[0] - 3.4076059644443806).abs() < 1e-15);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn log_sum_exp(&self) -> Array1<f64> {
        self.statistic(Statistic::LogSumExp).expect("the log-sum-exp is always there")
    }

    fn integers(&self, value: impl Fn(&RowState) -> i64) -> Array1<i64> {
        let mut to = Array1::from_elem(self.outputs, -1);
        for (state, row) in self.states.iter().zip(&self.rows) {
            to[row.output] = value(state);
        }
        to
    }

    /// The most likely class of every row, the lowest of equals, the first NaN; −1 at ignored rows.
    ///
    /// ```
    #[doc = example!()]
    /// assert_eq!(forward.argmax().to_vec(), [1, -1]);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn argmax(&self) -> Array1<i64> {
        self.integers(|state| state.argmax)
    }

    /// #{v : a_v > a_y} of every row: 0 for the most likely class. −1 at ignored rows, where a logit
    /// is NaN, and over shards where the target's logit was not given to each.
    ///
    /// ```
    #[doc = example!()]
    /// assert_eq!(forward.rank()?.to_vec(), [1, -1]);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Conflict`] where it was not asked for.
    pub fn rank(&self) -> Result<Array1<i64>> {
        if !self.loss.statistics.rank {
            let what = "the rank was not asked for when the loss was built".into();
            return Err(Error::Conflict { what });
        }
        let rank = |state: &RowState| match (state.maximum.is_nan(), state.above) {
            (false, Some(above)) => above as i64,
            _ => -1,
        };
        Ok(self.integers(rank))
    }

    /// The k most likely classes of every row with ln p, most likely first; beyond the vocabulary class
    /// −1 and ln p of −∞, at ignored rows class −1 and 0.
    ///
    /// ```
    #[doc = example!()]
    /// let top = forward.top_k();
    /// assert_eq!(top.classes, ndarray::arr2(&[[1, 2], [-1, -1]]));
    /// assert!((top.log_probabilities[[0, 1]] + 1.4076059644443804).abs() < 1e-15);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn top_k(&self) -> TopK {
        let k = self.loss.statistics.top_k;
        let mut classes = Array2::from_elem((self.outputs, k), -1);
        let mut log_probabilities = Array2::zeros((self.outputs, k));
        for (i, (state, row)) in self.states.iter().zip(&self.rows).enumerate() {
            for (j, entry) in self.top[i * k..(i + 1) * k].iter().enumerate() {
                if entry.class == u32::MAX {
                    log_probabilities[[row.output, j]] = f64::NEG_INFINITY;
                } else {
                    let surprisal = state.surprisal_of(entry.logit);
                    classes[[row.output, j]] = i64::from(entry.class);
                    log_probabilities[[row.output, j]] = 0.0 - surprisal;
                }
            }
        }
        TopK { classes, log_probabilities }
    }

    /// By how much the largest logit of every row exceeds the second largest, which is the difference of their ln p
    /// in nats: an exact difference of what was folded. +∞ where there is no second class, 0 at ignored rows.
    ///
    /// ```
    #[doc = example!()]
    /// assert_eq!(forward.margin()?.to_vec(), [1.0, 0.0]);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Conflict`] where fewer than the two likeliest classes were asked for
    /// ([`top_k`](crate::LinearCrossEntropyBuilder::top_k)).
    pub fn margin(&self) -> Result<Array1<f64>> {
        let k = self.loss.statistics.top_k;
        if k < 2 {
            let what = format!(
                "the margin is that of the two likeliest classes, of which top_k asks for {k}"
            );
            return Err(Error::Conflict { what });
        }
        let mut to = Array1::zeros(self.outputs);
        for (i, (state, row)) in self.states.iter().zip(&self.rows).enumerate() {
            to[row.output] = match state.maximum.is_finite() {
                true => self.top[i * k].logit - self.top[i * k + 1].logit,
                false => f64::NAN,
            };
        }
        Ok(to)
    }

    /// The log-probabilities of the candidates of every row, in nats, and of what they leave to the others.
    /// [`Candidates`](super::Candidates) has the example.
    ///
    /// # Errors
    /// [`Error::Conflict`] where the inputs had none.
    pub fn candidates(&self) -> Result<CandidateLogProbabilities> {
        match &self.listed {
            Some(listed) => Ok(self.candidates.log_probabilities(listed, &self.rows, &self.states)),
            None => Err(Error::Conflict {
                what: "the inputs had no candidates, expected `Inputs::candidates`".into(),
            }),
        }
    }

    /// The state of each kept row.
    ///
    /// ```
    #[doc = example!()]
    /// assert_eq!(forward.states().len(), forward.rows_kept());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn states(&self) -> &[RowState] {
        &self.states
    }

    /// The number of losses, ignored rows included.
    ///
    /// ```
    #[doc = example!()]
    /// assert_eq!(forward.len(), 2);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn len(&self) -> usize {
        self.outputs
    }

    /// Whether there are no losses.
    ///
    /// ```
    #[doc = example!()]
    /// assert!(!forward.is_empty());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.outputs == 0
    }

    /// The number of rows that are not ignored.
    ///
    /// ```
    #[doc = example!()]
    /// assert_eq!(forward.rows_kept(), 1);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn rows_kept(&self) -> usize {
        self.rows.len()
    }

    fn mean(&self, value: impl Fn(usize) -> f64) -> f64 {
        let values: Vec<f64> = (0..self.rows.len()).map(value).collect();
        let values = values.iter().map(|&value| (value, 1.0));
        let (sum, exponent) = sum_of_products(values);
        quotient([sum], self.rows.len() as f64, exponent)
    }

    /// The mean of −ln p_y over the kept rows in nats, whatever weights and smoothing the loss has:
    /// the logarithm of the perplexity. With soft targets Σ t (−ln p), and `None` under class
    /// weights or smoothing. NaN where every row is ignored.
    ///
    /// ```
    #[doc = example!()]
    /// let perplexity = forward.mean_surprisal().map(f64::exp);
    /// assert!((perplexity.unwrap_or(f64::NAN) - 4.0861612696304874).abs() < 1e-14);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn mean_surprisal(&self) -> Option<f64> {
        match self.soft {
            false => Some(self.mean(|i| self.states[i].surprisal().unwrap_or(f64::NAN))),
            true => {
                let plain =
                    self.class_weights_of_targets.is_none() && self.loss.needs.smoothing() == 0.0;
                plain.then(|| self.mean(|i| self.scalars(i).surprisal()))
            }
        }
    }

    /// The share of kept rows whose most likely class is the target; `None` for soft targets.
    ///
    /// ```
    #[doc = example!()]
    /// assert_eq!(forward.accuracy(), Some(0.0));
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn accuracy(&self) -> Option<f64> {
        let hit = |i: usize| {
            let state = &self.states[i];
            f64::from(!state.maximum.is_nan() && state.argmax == state.target)
        };
        (!self.soft).then(|| self.mean(hit))
    }

    /// The share of the segments of one row × 32 classes that a filter keeps in the gradients; `None`
    /// without a [`filter`](crate::LinearCrossEntropyBuilder::filter), 1 where it has nothing to act
    /// on.
    ///
    /// ```
    /// use surprisal::{Filter, Inputs, LinearCrossEntropy};
    /// let one = ndarray::arr2(&[[1.0_f32]]);
    /// let loss = LinearCrossEntropy::builder().filter(Filter::Auto).build()?;
    /// let forward = loss.forward(&Inputs::new(&one, &one, &[0_u32]))?;
    /// assert_eq!(forward.segments_kept(), Some(1.0));
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn segments_kept(&self) -> Option<f64> {
        self.dropped.map(|dropped| dropped.kept)
    }

    /// What a filter leaves out of the gradients; `None` without a filter.
    ///
    /// ```
    /// use surprisal::{Filter, Inputs, LinearCrossEntropy};
    /// let one = ndarray::arr2(&[[1.0_f32]]);
    /// let loss = LinearCrossEntropy::builder().filter(Filter::Auto).build()?;
    /// let forward = loss.forward(&Inputs::new(&one, &one, &[0_u32]))?;
    /// assert_eq!(forward.dropped_mass().map(|mass| mass.largest), Some(0.0));
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn dropped_mass(&self) -> Option<DroppedMass> {
        self.dropped.map(|Dropped { largest, mean, .. }| DroppedMass { largest, mean })
    }

    /// The mean entropy of the kept rows in nats; `None` where it was not asked for.
    ///
    /// ```
    #[doc = example!()]
    /// assert!(forward.mean_entropy().is_some_and(|entropy| entropy > 0.0));
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn mean_entropy(&self) -> Option<f64> {
        let asked = self.loss.statistics.entropy || self.loss.statistics.varentropy;
        asked.then(|| self.mean(|i| self.states[i].entropy()))
    }
}
