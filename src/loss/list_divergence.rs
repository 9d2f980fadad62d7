//! How far a student is from the listed classes of a teacher.

use ndarray::{Array1, Array2};

use super::candidates::Candidates;
use super::forward::Forward;
use super::gradients::Upstream;
use super::list_row::{Both, Nothing, RowDivergence, Tail};
use super::options::Reduction;
use super::outcomes::{Form, Outcome};
use super::teacher_list::{Entry, TeacherList};
use crate::error::{Error, Result, short};
use crate::matrix::Vector;
use crate::softmax::divergence::Divergence;

/// What is made of the probability that a teacher's list S does not name, which [`ListDivergence`] compares with.
///
/// | outside | what is compared | a derivative by a logit, of the forward Kullback–Leibler divergence |
/// | --- | --- | --- |
/// | `Ignore` | P_j with Q_j, j in S, as they are | Q_j Σ_S P − P_j \[j in S\] |
/// | `Renormalize` | P̃ = P/Σ_S P with Q̃ = Q/Σ_S Q, on S | Q̃_j − P̃_j, 0 outside |
/// | `Tail` | S, and one bucket of all others | Q_j − P_b Q_j/Q_b, b the bucket of j |
/// | `Floor` | S, and a constant in the place of each other ln P | Q_j (g_j − Σ Q g), g = ln Q − ln P |
///
/// ```
/// use surprisal::loss::Outside;
/// assert_ne!(Outside::Tail, Outside::Floor { log_probability: -100.0 });
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Outside {
    /// Nothing: Σ over S alone, for Kullback–Leibler divergences. It may be negative.
    Ignore,
    /// It is left out, and what is listed is divided by its sum.
    Renormalize,
    /// It is one outcome more, with the student's own probability of it. There is none where the list is the whole
    /// vocabulary.
    Tail,
    /// Each class outside has this log-probability in nats, at most 0: for the reverse divergence
    /// Σ_S Q (ln Q − ln P) + Σ_{not S} Q (ln Q − c).
    Floor {
        /// c.
        log_probability: f64,
    },
}

/// The divergence of a student's distribution Q, over the whole vocabulary, from what a teacher's list has of P: its
/// value for each row, and its derivative by what [`Forward::candidates`] gives, for
/// [`LinearCrossEntropy::vjp`](crate::LinearCrossEntropy::vjp).
///
/// [`Divergence`] has the formulas, [`Outside`] what is compared. The whole chain is
///
/// ```text
/// hidden, classifier ── forward ──▶ ln Q of K classes, ln of the rest ── evaluate ──▶ losses, upstream gradients
///                                                                                          │
/// dE, dC, db ◀───────────────────────────────── vjp ◀──────────────────────────────────────┘
/// ```
///
/// and holds no number of V but in tiles. The student's temperature is that of the inputs
/// ([`Inputs::temperatures`](crate::Inputs::temperatures)), the teacher's is its own affair.
///
/// # Digits
/// Each Kullback–Leibler divergence of distributions is Σ A (e^x − 1 − x), x = ln(B/A), of which no term is negative:
/// nothing cancels where the two are nearly equal; where they are equal, the value and the upstream gradients are 0.
/// The rest of the student is summed for itself, so that a tail of 10⁻¹⁸ has its digits; that of the teacher is
/// 1 less its list, unless [`TeacherList::log_others`] has it. Where probabilities that are taken for whole are
/// not (a tail is compared, and the list sums to more than 1), the value is Σ A ln(A/B) − A + B.
///
/// # Infinite values
/// Where a divergence is +∞ (forward: the student does not have what the teacher has; reverse: the teacher does not;
/// renormalised: the student has nothing of the list) the row has no gradient. A part of a symmetric divergence
/// without a share is not there.
///
/// *Distilling the Knowledge in a Neural Network* (Hinton, Vinyals, Dean, 2015); *On-policy distillation of language
/// models* (Agarwal et al., 2024).
///
/// ```
/// use ndarray::{Array2, arr2};
/// use surprisal::loss::{Divergence, ListDivergence, Outside, TeacherList};
/// use surprisal::{Gradients, Inputs, LinearCrossEntropy};
///
/// let hidden = arr2(&[[1.0_f64, -0.5], [0.3, 2.0]]);
/// let classifier = arr2(&[[0.5, 1.0], [-1.0, 0.2], [0.7, 0.1], [0.0, -0.4]]);
/// // Two classes of four for each row, as the teacher has them.
/// let (classes, logs) = (arr2(&[[2_u32, 0], [0, 3]]), arr2(&[[-0.4, -1.7], [-0.2, -2.5]]));
/// let teacher = TeacherList::new(&classes, &logs)?;
/// let divergence = ListDivergence::builder()
///     .divergence(Divergence::ForwardKullbackLeibler)
///     .outside(Outside::Tail)
///     .build()?;
///
/// // Forward, divergence, backward.
/// let loss = LinearCrossEntropy::builder().build()?;
/// let inputs = Inputs::unlabelled(&hidden, &classifier).candidates(divergence.candidates(&teacher));
/// let forward = loss.forward(&inputs)?;
/// let losses = divergence.evaluate(&teacher, &forward)?;
/// let mut d_hidden = Array2::<f64>::zeros((2, 2));
/// let mut d_classifier = Array2::<f64>::zeros((4, 2));
/// let gradients = Gradients::new().hidden(&mut d_hidden).classifier(&mut d_classifier);
/// loss.vjp(&inputs, &forward, &losses.upstream(), gradients)?;
///
/// // A step against the gradient.
/// let next = &hidden - &(0.1 * &d_hidden);
/// let inputs = Inputs::unlabelled(&next, &classifier).candidates(divergence.candidates(&teacher));
/// let after = divergence.evaluate(&teacher, &loss.forward(&inputs)?)?;
/// assert!(0.0 < after.loss() && after.loss() < losses.loss());
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ListDivergence {
    /// Each with its share, none of which is 0.
    parts: Vec<(f64, Form)>,
    outside: Outside,
    clamp_negative: bool,
    temperature_squared: bool,
    reduction: Reduction,
}

/// The options of a [`ListDivergence`].
///
/// ```
/// use surprisal::loss::{Divergence, ListDivergence, Outside};
/// let builder = ListDivergence::builder().divergence(Divergence::JensenShannon { beta: 0.5 });
/// assert!(builder.clone().outside(Outside::Renormalize).build().is_ok());
/// assert!(builder.outside(Outside::Ignore).build().is_err());
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ListDivergenceBuilder {
    parts: Vec<(f64, Divergence)>,
    outside: Outside,
    clamp_negative: bool,
    temperature_squared: bool,
    reduction: Reduction,
}

impl ListDivergence {
    /// The forward Kullback–Leibler divergence with a tail, in the mean.
    ///
    /// ```
    /// let divergence = surprisal::loss::ListDivergence::builder().build()?;
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn builder() -> ListDivergenceBuilder {
        ListDivergenceBuilder {
            parts: vec![(1.0, Divergence::ForwardKullbackLeibler)],
            outside: Outside::Tail,
            clamp_negative: false,
            temperature_squared: false,
            reduction: Reduction::Mean,
        }
    }

    /// What the student's [`Inputs::candidates`](crate::Inputs::candidates) are to be. A floor needs the
    /// [entropy](crate::LinearCrossEntropyBuilder::entropy) beside it.
    ///
    /// ```
    /// use ndarray::arr2;
    /// use surprisal::loss::{ListDivergence, TeacherList};
    /// use surprisal::{Inputs, LinearCrossEntropy};
    /// let (classes, logs) = (arr2(&[[1_u32]]), arr2(&[[-0.5_f64]]));
    /// let (teacher, divergence) = (TeacherList::new(&classes, &logs)?, ListDivergence::builder().build()?);
    /// let logits = arr2(&[[0.0_f64, 0.0]]);
    /// let inputs = Inputs::unlabelled_logits(&logits).candidates(divergence.candidates(&teacher));
    /// let own = LinearCrossEntropy::builder().build()?.forward(&inputs)?.candidates()?;
    /// assert_eq!(own.log_others.to_vec(), [-std::f64::consts::LN_2]);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn candidates<'a>(&self, teacher: &'a TeacherList<'_>) -> Candidates<'a> {
        match self.needs_others() {
            true => teacher.candidates().with_others(),
            false => teacher.candidates(),
        }
    }

    fn needs_others(&self) -> bool {
        matches!(self.outside, Outside::Tail | Outside::Floor { .. })
    }

    fn needs_entropy(&self) -> bool {
        matches!(self.outside, Outside::Floor { .. })
    }

    /// The divergence of each row that a forward has, with its derivatives. Rows are left out, selected, shifted and
    /// weighed by the inputs of the forward. The example is above.
    ///
    /// # Errors
    /// [`Error::Conflict`] for a forward without the [`candidates`](Self::candidates) of this teacher, or for a floor
    /// without the entropy; [`Error::Value`] for a class that stands twice in a row, for what is no probability,
    /// for a row that sums to more than 1 (by 10⁻³ and what the rounding of its type explains), and for one that
    /// has nothing to renormalise.
    pub fn evaluate(&self, teacher: &TeacherList<'_>, forward: &Forward) -> Result<ListLosses> {
        let conflict = |what: &str| Err(Error::Conflict { what: what.into() });
        let own = forward.candidates()?;
        let listed = forward.listed.as_ref().filter(|listed| listed.given == teacher.classes);
        let Some(listed) = listed else {
            return conflict("the forward has other candidates, expected the teacher's classes");
        };
        if self.needs_others() && !listed.others {
            return conflict(
                "what the list leaves to the others was not asked for, expected \
                 `ListDivergence::candidates`",
            );
        }
        if self.needs_entropy() && forward.mean_entropy().is_none() {
            return conflict("a floor needs the entropy, expected entropy(true)");
        }
        let divisor = match self.reduction {
            Reduction::Mean => forward.rows_kept() as f64,
            Reduction::Divide(divisor) => divisor,
            Reduction::None | Reduction::Sum => 1.0,
        };
        let (rows, k) = teacher.classes.dim();
        let length = |wanted: bool| Array1::zeros(if wanted { rows } else { 0 });
        let mut losses = ListLosses {
            values: Array1::zeros(rows),
            by_log_probabilities: Array2::zeros((rows, k)),
            by_log_others: length(self.needs_others()),
            by_entropy: length(self.needs_entropy()),
            loss: 0.0,
        };
        let mut entries = Vec::with_capacity(k);
        for row in forward.rows.iter().filter(|row| row.token_weight != 0.0) {
            let at = row.output;
            teacher.read(at, &mut entries)?;
            let student = own.log_probabilities.row(at);
            let whole = entries.len() == forward.vocabulary;
            let both = Both {
                outcomes: entries.iter().map(|&(j, p)| Outcome::new(p, student[j])).collect(),
                tail: self.needs_others().then(|| Tail {
                    outcome: Outcome::new(teacher.log_tail(at, &entries), own.log_others[at]),
                    entropy: forward.candidates.entropy_of_others(at),
                }),
            };
            let both = if whole { both.without_tail() } else { both };
            let divergence = self.of_row(both).map_err(|_| Error::Value {
                argument: "the teacher's probabilities",
                index: vec![at],
                value: "nothing".into(),
                expected: "a probability to renormalise, or a row that takes no part",
            })?;
            let squared = if self.temperature_squared { row.temperature } else { 1.0 };
            // One after the other: the square alone may leave f64.
            let scaled = |x: f64| x * squared * squared * row.token_weight;
            losses.put(at, &entries, divergence, scaled, divisor);
        }
        losses.loss = losses.values.sum() / divisor;
        Ok(losses)
    }

    /// Of one row; `None` where there is nothing to renormalise.
    fn of_row(&self, both: Both) -> std::result::Result<RowDivergence, Nothing> {
        let mut row = match self.outside {
            Outside::Ignore => both.ignoring(&self.parts),
            Outside::Renormalize => both.renormalized(&self.parts)?,
            Outside::Tail => both.bucketed(&self.parts),
            Outside::Floor { log_probability } => both.floored(log_probability),
        };
        if row.value.is_infinite() || (self.clamp_negative && row.value < 0.0) {
            let value = if row.value < 0.0 { 0.0 } else { row.value };
            row = RowDivergence { value, ..RowDivergence::new(row.by_log_q.len()) };
        }
        Ok(row)
    }
}

impl ListDivergenceBuilder {
    /// Which divergence: the forward Kullback–Leibler one by default. The total variation is none of them.
    pub fn divergence(mut self, divergence: Divergence) -> Self {
        self.parts = vec![(1.0, divergence)];
        self
    }

    /// (1−w) KL(P‖Q) + w KL(Q‖P), with a w from 0 to 1.
    ///
    /// ```
    /// use surprisal::loss::ListDivergence;
    /// assert!(ListDivergence::builder().symmetric(0.5).build().is_ok());
    /// assert!(ListDivergence::builder().symmetric(1.5).build().is_err());
    /// ```
    pub fn symmetric(mut self, weight: f64) -> Self {
        self.parts = vec![
            (1.0 - weight, Divergence::ForwardKullbackLeibler),
            (weight, Divergence::ReverseKullbackLeibler),
        ];
        self
    }

    /// What is made of the rest: a tail by default.
    pub fn outside(mut self, outside: Outside) -> Self {
        self.outside = outside;
        self
    }

    /// Whether a row whose value is negative, as [`Outside::Ignore`] may make it, counts as 0 and has no gradient; not
    /// by default.
    pub fn clamp_negative(mut self, clamp: bool) -> Self {
        self.clamp_negative = clamp;
        self
    }

    /// Whether a row is multiplied by the square of its temperature T, as its gradients else shrink with it
    /// ([`TemperatureSquared`](super::TemperatureSquared)); not by default.
    pub fn scale_by_temperature_squared(mut self, scale: bool) -> Self {
        self.temperature_squared = scale;
        self
    }

    /// How rows become one number: the mean over the kept ones by default.
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// Checks the options.
    ///
    /// # Errors
    /// [`Error::Option`] for a parameter that is not from 0 to 1, a floor above 0, or a divisor that is not above 0;
    /// [`Error::Conflict`] for a divergence that does not go with what is outside.
    pub fn build(self) -> Result<ListDivergence> {
        let conflict = |what: &str| Err(Error::Conflict { what: what.into() });
        let mut parts = Vec::with_capacity(self.parts.len());
        for &(share, divergence) in &self.parts {
            let parameter = match divergence {
                Divergence::JensenShannon { beta } => beta,
                Divergence::ForwardSkew { alpha } | Divergence::ReverseSkew { alpha } => alpha,
                _ => share,
            };
            if !((0.0..=1.0).contains(&share) && (0.0..=1.0).contains(&parameter)) {
                return Err(Error::Option {
                    name: "the parameter of the divergence",
                    value: short(parameter),
                    expected: "a number from 0 to 1",
                });
            }
            let Some(form) = Form::of(divergence) else {
                return conflict("the total variation is not one of the divergences from a list");
            };
            // Either part may be infinite: where it has no share it is not there.
            if share > 0.0 {
                parts.push((share, form));
            }
            let plain = matches!(
                divergence,
                Divergence::ForwardKullbackLeibler | Divergence::ReverseKullbackLeibler
            );
            match self.outside {
                Outside::Ignore if !plain => {
                    return conflict(
                        "outside ignored goes with Kullback-Leibler divergences, not with mixtures, \
                         which are of distributions",
                    );
                }
                Outside::Floor { .. } if divergence != Divergence::ReverseKullbackLeibler => {
                    return conflict("a floor outside goes with the reverse divergence alone");
                }
                _ => {}
            }
        }
        if let Outside::Floor { log_probability: floor } = self.outside
            && !(floor <= 0.0 && floor.is_finite())
        {
            let expected = "a finite number of at most 0";
            return Err(Error::Option { name: "the floor", value: short(floor), expected });
        }
        if let Reduction::Divide(divisor) = self.reduction
            && !(divisor > 0.0 && divisor.is_finite())
        {
            let expected = "a finite number above 0";
            return Err(Error::Option { name: "the divisor", value: short(divisor), expected });
        }
        let Self { outside, clamp_negative, temperature_squared, reduction, .. } = self;
        Ok(ListDivergence { parts, outside, clamp_negative, temperature_squared, reduction })
    }
}

/// The divergences of rows from a teacher's lists, with the derivatives of their reduction by what
/// [`Forward::candidates`] gives; with [`Reduction::None`] of each row's own value. What
/// [`ListDivergence::evaluate`] gives.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ListLosses {
    /// `[N]` in nats, 0 at ignored rows.
    pub values: Array1<f64>,
    /// `[N,K]` by ln Q of the listed classes.
    pub by_log_probabilities: Array2<f64>,
    /// `[N]` by ln of what the others have; empty where it is not compared.
    pub by_log_others: Array1<f64>,
    /// `[N]` by the entropy of Q; empty but for a floor.
    pub by_entropy: Array1<f64>,
    loss: f64,
}

impl ListLosses {
    fn put(
        &mut self,
        at: usize,
        entries: &[Entry],
        row: RowDivergence,
        scaled: impl Fn(f64) -> f64,
        divisor: f64,
    ) {
        let slope = |x: f64| scaled(x) / divisor;
        self.values[at] = scaled(row.value);
        for (&(j, _), &x) in entries.iter().zip(&row.by_log_q) {
            self.by_log_probabilities[[at, j]] = slope(x);
        }
        if let Some(to) = self.by_log_others.get_mut(at) {
            *to = slope(row.by_log_others);
        }
        if let Some(to) = self.by_entropy.get_mut(at) {
            *to = slope(row.by_entropy);
        }
    }

    /// The reduced loss in nats; with [`Reduction::None`] the sum. NaN in the mean of no row.
    ///
    /// ```
    /// use ndarray::arr2;
    /// use surprisal::loss::{ListDivergence, TeacherList};
    /// use surprisal::{Inputs, LinearCrossEntropy};
    /// let (classes, half) = (arr2(&[[1_u32]]), arr2(&[[0.5_f64]]));
    /// let teacher = TeacherList::from_probabilities(&classes, &half)?;
    /// let divergence = ListDivergence::builder().build()?;
    /// let logits = arr2(&[[0.0_f64, 3_f64.ln()]]);
    /// let inputs = Inputs::unlabelled_logits(&logits).candidates(divergence.candidates(&teacher));
    /// let forward = LinearCrossEntropy::builder().build()?.forward(&inputs)?;
    /// let loss = divergence.evaluate(&teacher, &forward)?.loss();
    /// assert!((loss - (4.0_f64 / 3.0).ln() / 2.0).abs() < 1e-15);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn loss(&self) -> f64 {
        self.loss
    }

    /// The derivatives, as [`LinearCrossEntropy::vjp`](crate::LinearCrossEntropy::vjp) takes them; nothing comes in of
    /// the forward's own loss. [`ListDivergence`] has the example.
    pub fn upstream(&self) -> Upstream<'_> {
        let mut upstream = Upstream::scalar(0.0).candidates(&self.by_log_probabilities);
        if !self.by_log_others.is_empty() {
            upstream = upstream.log_others(&self.by_log_others);
        }
        if !self.by_entropy.is_empty() {
            upstream = upstream.entropy(&self.by_entropy);
        }
        upstream
    }

    /// With derivatives of each row times a number of its own: of whatever is minimised by the value of the row. A
    /// row whose number is 0 has none.
    ///
    /// ```
    /// use ndarray::{arr1, arr2};
    /// use surprisal::loss::{ListDivergence, TeacherList};
    /// use surprisal::{Inputs, LinearCrossEntropy, Reduction};
    /// let (classes, half) = (arr2(&[[1_u32], [0]]), arr2(&[[0.5_f64], [0.9]]));
    /// let teacher = TeacherList::from_probabilities(&classes, &half)?;
    /// let divergence = ListDivergence::builder().reduction(Reduction::None).build()?;
    /// let logits = arr2(&[[0.0_f64, 1.0], [0.0, 1.0]]);
    /// let inputs = Inputs::unlabelled_logits(&logits).candidates(divergence.candidates(&teacher));
    /// let forward = LinearCrossEntropy::builder().build()?.forward(&inputs)?;
    /// let losses = divergence.evaluate(&teacher, &forward)?.times(&arr1(&[2.0, 0.0]))?;
    /// assert!(losses.by_log_others[0] != 0.0 && losses.by_log_others[1] == 0.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] where there is not one for each row.
    pub fn times<'a>(self, rows: impl Into<Vector<'a>>) -> Result<Self> {
        self.times_here(rows.into())
    }

    fn times_here(mut self, rows: Vector<'_>) -> Result<Self> {
        if rows.len() != self.values.len() {
            return Err(Error::Shape {
                argument: "the factors of the rows",
                found: vec![rows.len()],
                expected: format!("[{}], the number of losses", self.values.len()),
            });
        }
        for at in 0..rows.len() {
            let factor = rows.at(at);
            let times = |x: &mut f64| *x = if factor == 0.0 { 0.0 } else { *x * factor };
            self.by_log_probabilities.row_mut(at).iter_mut().for_each(times);
            self.by_log_others.get_mut(at).into_iter().for_each(times);
            self.by_entropy.get_mut(at).into_iter().for_each(times);
        }
        Ok(self)
    }
}
