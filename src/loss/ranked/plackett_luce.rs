//! How far the scores of a model are from a ranking.

use ndarray::{Array1, Array2, ArrayView1};

use super::places::{Place, Tail, evaluate};
use super::rankings::{Rankings, is_named};
use crate::error::{Error, Result, short};
use crate::loss::forward::Forward;
use crate::loss::gradients::Upstream;
use crate::loss::options::Reduction;
use crate::matrix::Matrix;

/// The weighted Plackett–Luce loss of a ranking c_1, c_2, … of a row's classes, the best first:
///
/// ```text
/// L = Σ_k w_k (tail_k − x_k)        x_k = ln p of c_k,  tail_k = ln( Σ_{m≥k} e^x_m + Σ_{v not listed} p_v )
/// ∂L/∂a_v = p_v Σ_{k: c_k not before v} w_k e^−tail_k  −  w of v's place
/// ```
///
/// tail_k is that of the k-th place and all behind it, listed or not, so that each term is −ln of the probability to
/// choose c_k of what is left. It sees differences of logits alone, and is convex in them.
///
/// | I want … | rankings |
/// | --- | --- |
/// | ListMLE, P-ListMLE, weights of one's own | [`Rankings::new`] |
/// | Plackett–Luce distillation of a teacher's logits, or of the first of them | [`Rankings::of_teacher`] |
/// | the same of a teacher's likeliest classes | [`Rankings::of_teacher_list`] |
/// | a list of which the first places are in order | [`Rankings::partial`] |
///
/// With all the weight on the first place it is cross-entropy. From hidden states and a classifier the chain is
///
/// ```text
/// hidden, classifier ── forward ──▶ ln p of K classes, ln of the rest ── evaluate ──▶ losses, upstream gradients
///                                                                                          │
/// dE, dC, db ◀───────────────────────────────── vjp ◀──────────────────────────────────────┘
/// ```
///
/// and holds no number of V but in tiles: the fold leaves the listed classes out, and the tails only add to what it has.
/// A temperature of the scores is that of the inputs.
///
/// # Digits and limits
/// A term is ln(1 + e^(tail_{k+1} − x_k)), with all its digits where a choice is nearly certain; no logit, however large,
/// overflows. A class at −∞ before others that can be chosen costs +∞, and such a row has no gradient; behind all that can
/// be chosen its place costs nothing. A place of weight 0 costs nothing wherever it is. A row without a weight is 0.
///
/// # What published codes do
/// That of Plackett–Luce distillation takes the order of an unstable sort; here ties go to the lower class. Its student
/// has no temperature, its teacher one of the weights alone. P-ListMLE's weights are printed ambiguously: 2^(K−k) − 1 here;
/// what the distillation paper calls by its name has the teacher's softmax for weights, and is the distillation itself.
///
/// Xia, Liu, Wang, Zhang and Li 2008, *Listwise Approach to Learning to Rank*; Lan et al. 2014, *Position-Aware ListMLE*;
/// Bassam, Zhu and Bian 2025, *PLD: A Choice-Theoretic List-Wise Knowledge Distillation*. Cases in
/// `conformance/losses.jsonl`: `plackett_luce_distillation`, `list_mle`, `partial_list_mle`.
///
/// ```
/// use ndarray::{Array2, arr2};
/// use surprisal::loss::{PlackettLuce, Rankings};
/// use surprisal::{Gradients, Inputs, LinearCrossEntropy};
///
/// let hidden = arr2(&[[1.0_f64, -0.5], [0.3, 2.0]]);
/// let classifier = arr2(&[[0.5, 1.0], [-1.0, 0.2], [0.7, 0.1], [0.0, -0.4]]);
/// // The first two of a teacher's four classes, after the target.
/// let teacher = arr2(&[[0.1_f64, -2.0, 1.5, 0.2], [2.0, 0.5, 0.0, -1.0]]);
/// let rankings = Rankings::of_teacher(&teacher, &[2, 0], 1.0, Some(3))?;
///
/// // Forward, the loss of the rankings, backward.
/// let (head, loss) = (LinearCrossEntropy::builder().build()?, PlackettLuce::new());
/// let inputs = Inputs::unlabelled(&hidden, &classifier).candidates(rankings.candidates());
/// let forward = head.forward(&inputs)?;
/// let losses = loss.evaluate(&rankings, &forward)?;
/// let mut d_hidden = Array2::<f64>::zeros((2, 2));
/// head.vjp(&inputs, &forward, &losses.upstream(), Gradients::new().hidden(&mut d_hidden))?;
///
/// // The same of logits that are there.
/// let given = loss.of_logits(&rankings, &hidden.dot(&classifier.t()))?;
/// assert!((losses.loss() - given.loss()).abs() < 1e-15);
/// assert!((d_hidden - given.gradient.dot(&classifier)).iter().all(|x| x.abs() < 1e-15));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlackettLuce {
    reduction: Reduction,
}

impl Default for PlackettLuce {
    fn default() -> Self {
        Self::new()
    }
}

impl PlackettLuce {
    /// With the mean of the rows.
    pub fn new() -> Self {
        Self { reduction: Reduction::Mean }
    }

    /// With another reduction of the rows.
    ///
    /// ```
    /// use surprisal::{Reduction, loss::PlackettLuce};
    /// assert!(PlackettLuce::new().reduction(Reduction::Divide(0.0)).is_err());
    /// ```
    ///
    /// # Errors
    /// [`Error::Option`] for a divisor that is not finite and above 0.
    pub fn reduction(self, reduction: Reduction) -> Result<Self> {
        match reduction {
            Reduction::Divide(divisor) if !(divisor > 0.0 && divisor.is_finite()) => {
                let expected = "a finite number above 0";
                Err(Error::Option { name: "the divisor", value: short(divisor), expected })
            }
            reduction => Ok(Self { reduction }),
        }
    }

    fn divisor(&self, rows: usize) -> f64 {
        match self.reduction {
            Reduction::Mean => rows as f64,
            Reduction::Divide(divisor) => divisor,
            Reduction::None | Reduction::Sum => 1.0,
        }
    }

    /// The loss of each row that a forward has, with its derivatives by what
    /// [`Forward::candidates`](Forward::candidates) gives. Rows are left out, selected, shifted and weighed by the inputs
    /// of the forward. The example is above.
    ///
    /// # Errors
    /// [`Error::Conflict`] for a forward without the [`candidates`](Rankings::candidates) of these rankings.
    pub fn evaluate(&self, rankings: &Rankings, forward: &Forward) -> Result<RankedLosses> {
        let conflict = |what: &str| Err(Error::Conflict { what: what.into() });
        let own = forward.candidates()?;
        let listed = forward.listed.as_ref().filter(|listed| listed.given == rankings.classes);
        let Some(listed) = listed else {
            return conflict("the forward has other candidates, expected the rankings' classes");
        };
        if !listed.others {
            return conflict(
                "what the lists leave to the others was not asked for, expected `Rankings::candidates`",
            );
        }
        let divisor = self.divisor(forward.rows_kept());
        let mut losses = RankedLosses::zeros(rankings, 0);
        let mut row = RowSlopes::default();
        for kept in forward.rows.iter().filter(|row| row.token_weight != 0.0) {
            let (at, weight) = (kept.output, kept.token_weight);
            let scores = own.log_probabilities.row(at);
            losses.values[at] = weight * row.of(rankings, at, scores, own.log_others[at]);
            row.put(&mut losses, at, weight / divisor);
        }
        losses.loss = losses.values.sum() / divisor;
        Ok(losses)
    }

    /// The loss of each row of logits `[N,V]` with its gradient, in f64. The example is above.
    ///
    /// A NaN is its own row's affair.
    ///
    /// # Errors
    /// [`Error::Shape`] for logits without rows or columns, and for another number of rankings; [`Error::Value`] for a
    /// class beyond the logits.
    pub fn of_logits<'a>(
        &self,
        rankings: &Rankings,
        logits: impl Into<Matrix<'a>>,
    ) -> Result<RankedLosses> {
        self.of_logits_here(rankings, logits.into())
    }

    fn of_logits_here(&self, rankings: &Rankings, logits: Matrix<'_>) -> Result<RankedLosses> {
        let (rows, vocabulary) = logits.dim();
        if rows == 0 || vocabulary == 0 {
            return Err(Error::empty_matrix("logits", &[rows, vocabulary]));
        }
        if rankings.classes.dim().0 != rows {
            return Err(Error::Shape {
                argument: "the rankings",
                found: rankings.classes.shape().to_vec(),
                expected: format!("{rows} rows, as the logits have"),
            });
        }
        let beyond = |(_, class): &(_, &u32)| is_named(class) && **class as usize >= vocabulary;
        if let Some(((i, k), class)) = rankings.classes.indexed_iter().find(beyond) {
            return Err(Error::Value {
                argument: "the rankings",
                index: vec![i, k],
                value: class.to_string(),
                expected: "a class of the logits' columns",
            });
        }
        let divisor = self.divisor(rows);
        let mut losses = RankedLosses::zeros(rankings, vocabulary);
        let mut row = RowSlopes::default();
        let mut scores = Array1::zeros(rankings.classes.dim().1);
        let mut beside = vec![0.0; vocabulary];
        for i in 0..rows {
            // The largest comes off: no choice sees what all have in common, and the rest has its digits.
            let largest =
                (0..vocabulary).map(|v| logits.at(i, v)).fold(f64::NEG_INFINITY, f64::max);
            let offset = if largest.is_finite() { largest } else { 0.0 };
            for (v, to) in beside.iter_mut().enumerate() {
                *to = logits.at(i, v) - offset;
            }
            for (score, &class) in scores.iter_mut().zip(rankings.classes.row(i)) {
                if is_named(&&class) {
                    *score = std::mem::replace(&mut beside[class as usize], f64::NEG_INFINITY);
                }
            }
            let rest = log_sum(&beside);
            losses.values[i] = row.of(rankings, i, scores.view(), rest);
            row.put(&mut losses, i, 1.0 / divisor);
            let mut gradient = losses.gradient.row_mut(i);
            for (v, to) in gradient.iter_mut().enumerate() {
                // Also where the rest is −∞: nothing of it has a slope.
                *to = match beside[v] == f64::NEG_INFINITY {
                    true => 0.0,
                    false => losses.by_log_others[i] * (-rest.above(beside[v])).exp(),
                };
            }
            for (k, &class) in rankings.classes.row(i).iter().enumerate() {
                if is_named(&&class) {
                    gradient[class as usize] = losses.by_log_probabilities[[i, k]];
                }
            }
        }
        losses.loss = losses.values.sum() / divisor;
        Ok(losses)
    }

    /// The loss of each row and its slopes, from the scores of the places and what the others have.
    pub(crate) fn of_scores(
        rankings: &Rankings,
        scores: &Array2<f64>,
        log_others: &[f64],
    ) -> RankedLosses {
        let mut losses = RankedLosses::zeros(rankings, 0);
        let mut row = RowSlopes::default();
        for (i, scores) in scores.outer_iter().enumerate() {
            losses.values[i] = row.of(rankings, i, scores, log_others[i]);
            row.put(&mut losses, i, 1.0);
        }
        losses
    }
}

/// ln Σ e^x, −∞ of nothing.
fn log_sum(numbers: &[f64]) -> Tail {
    let largest = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if !largest.is_finite() {
        // A NaN beside −∞ alone, and what +∞ makes, show in the sum.
        return numbers.iter().map(|x| x.exp()).sum::<f64>().ln().into();
    }
    let excess = numbers.iter().map(|x| (x - largest).exp()).sum::<f64>().ln();
    Tail { largest, excess }
}

/// The slopes of one row, in memory that rows share.
#[derive(Default)]
struct RowSlopes {
    places: Vec<Place>,
    /// Where each place stands in its row.
    at: Vec<usize>,
    slopes: Vec<f64>,
    by_rest: f64,
}

impl RowSlopes {
    /// The loss of a row.
    fn of(
        &mut self,
        rankings: &Rankings,
        row: usize,
        scores: ArrayView1<'_, f64>,
        rest: impl Into<Tail>,
    ) -> f64 {
        self.places.clear();
        self.at.clear();
        for (k, class) in rankings.classes.row(row).iter().enumerate() {
            if is_named(&class) {
                self.at.push(k);
                self.places.push(Place { score: scores[k], weight: rankings.weights[[row, k]] });
            }
        }
        let (value, by_rest) = evaluate(&self.places, rest.into(), &mut self.slopes);
        self.by_rest = by_rest;
        value
    }

    fn put(&self, losses: &mut RankedLosses, row: usize, factor: f64) {
        for (&k, slope) in self.at.iter().zip(&self.slopes) {
            losses.by_log_probabilities[[row, k]] = factor * slope;
        }
        losses.by_log_others[row] = factor * self.by_rest;
    }
}

/// The losses of rankings, with the derivatives of their reduction; with [`Reduction::None`] of each row's own loss.
/// What [`PlackettLuce`] gives.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RankedLosses {
    /// `[N]`, 0 at ignored rows.
    pub values: Array1<f64>,
    /// `[N,K]` by ln p of the listed classes, or by their logits.
    pub by_log_probabilities: Array2<f64>,
    /// `[N]` by ln of what the others have.
    pub by_log_others: Array1<f64>,
    /// `[N,V]` by the logits, from [`PlackettLuce::of_logits`]; else without columns.
    pub gradient: Array2<f64>,
    loss: f64,
}

impl RankedLosses {
    fn zeros(rankings: &Rankings, vocabulary: usize) -> Self {
        let (rows, k) = rankings.classes.dim();
        Self {
            values: Array1::zeros(rows),
            by_log_probabilities: Array2::zeros((rows, k)),
            by_log_others: Array1::zeros(rows),
            gradient: Array2::zeros((rows, vocabulary)),
            loss: 0.0,
        }
    }

    /// The reduced loss; with [`Reduction::None`] the sum. NaN in the mean of no row.
    ///
    /// ```
    /// use ndarray::arr2;
    /// use surprisal::loss::{PlaceWeights, PlackettLuce, Rankings};
    /// let rankings = Rankings::new(&arr2(&[[1_u32, 0]]), PlaceWeights::Ones)?;
    /// let loss = PlackettLuce::new().of_logits(&rankings, &arr2(&[[0.0_f64, 0.0]]))?.loss();
    /// assert_eq!(loss, std::f64::consts::LN_2);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn loss(&self) -> f64 {
        self.loss
    }

    /// The derivatives, as [`LinearCrossEntropy::vjp`](crate::LinearCrossEntropy::vjp) takes them; nothing comes in of
    /// the forward's own loss. [`PlackettLuce`] has the example.
    pub fn upstream(&self) -> Upstream<'_> {
        Upstream::scalar(0.0).candidates(&self.by_log_probabilities).log_others(&self.by_log_others)
    }
}
