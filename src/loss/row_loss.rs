//! What a loss of one row of logits is: a value and its slopes, from a few scalars of the row.

use std::fmt::Debug;
use std::panic::{RefUnwindSafe, UnwindSafe};

use crate::quotient::{exponent, quotient, scaled_exp, times_power};
use crate::softmax::RowState;
use crate::softmax::divergence::Divergence;

/// A loss of one row of logits that depends on them through a few scalars alone.
///
/// ```text
/// L = f(s, lse, H, s_max, D, X, K)
/// s = −ln p_y      H = −Σ p ln p      s_max = −ln max p      D = Σ_v (lse − a_v)      X = Σ_v p_v c_v
/// dL/da_v = p_v (A − h (ln p_v + H) + b (c_v − X)) − k − g [v = y] − g_max [v = argmax] + f_K dK/da_v
/// A = f_s + f_lse + f_{s_max} + V f_D,  h = f_H,  b = f_X,  k = f_D,  g = f_s,  g_max = f_{s_max}
/// ```
///
/// K is a [`Divergence`](super::Divergence) from a second head, which has its own dK/da_v.
///
/// with f_s the slope of f by s, and so on: all that the fused kernels need is the value and these
/// slopes. Whoever implements this trait has the loss over any classifier, forward and backward,
/// on the CPU with either strategy, over shards, on the tape and on a GPU; [the page of this module](super) says
/// what of it goes without a second head alone.
///
/// All is in nats and in f64, whatever the type of the logits.
///
/// ```
/// use surprisal::loss::{Needs, RowLoss, RowScalars, Term, Terms};
/// use surprisal::{Inputs, LinearCrossEntropy};
///
/// /// s²/(1+s): between the square of a small surprisal and a large one itself.
/// #[derive(Debug)]
/// struct Tempered;
///
/// impl RowLoss for Tempered {
///     fn evaluate(&self, row: &RowScalars) -> Terms {
///         let s = row.surprisal();
///         // s/(1+s), also at s = ∞.
///         let share = 1.0 / (1.0 + 1.0 / s);
///         Terms::weighted(Term::new(s * share).by_surprisal(share * (2.0 - share)))
///     }
/// }
///
/// let loss = LinearCrossEntropy::builder().row_loss(Tempered).build()?;
/// let logits = ndarray::arr2(&[[1.0_f64, 1.0]]);
/// let s = std::f64::consts::LN_2;
/// let forward = loss.forward(&Inputs::from_logits(&logits, &[0_u32]))?;
/// assert!((forward.loss() - s * s / (1.0 + s)).abs() < 1e-15);
/// # Ok::<(), surprisal::Error>(())
/// ```
pub trait RowLoss: Debug + Send + Sync + UnwindSafe + RefUnwindSafe {
    /// What it needs beside s and lse.
    fn needs(&self) -> Needs {
        Needs::nothing()
    }

    /// Its value and slopes at a row.
    fn evaluate(&self, row: &RowScalars) -> Terms;

    /// Whether another loss is the same function: folds of shards and the two halves of a call must be of
    /// one. Two losses are, where they are written alike ([`Debug`]), if this is not implemented.
    fn same(&self, other: &dyn RowLoss) -> bool {
        format!("{self:?}") == format!("{other:?}")
    }
}

/// A loss that was chosen at run time, by its name say.
///
/// ```
/// use surprisal::loss::{CompSum, CrossEntropy, RowLoss};
/// use surprisal::{Inputs, LinearCrossEntropy};
/// let named = |name: &str| -> surprisal::Result<Box<dyn RowLoss>> {
///     Ok(match name {
///         "mae" => Box::new(CompSum::new(2.0)?),
///         _ => Box::new(CrossEntropy::default()),
///     })
/// };
/// let loss = LinearCrossEntropy::builder().row_loss(named("mae")?).build()?;
/// let logits = ndarray::arr2(&[[0.0_f64, 0.0]]);
/// assert_eq!(loss.forward(&Inputs::from_logits(&logits, &[0_u32]))?.loss(), 0.5);
/// # Ok::<(), surprisal::Error>(())
/// ```
impl<L: RowLoss + ?Sized> RowLoss for Box<L> {
    fn needs(&self) -> Needs {
        (**self).needs()
    }

    fn evaluate(&self, row: &RowScalars) -> Terms {
        (**self).evaluate(row)
    }

    fn same(&self, other: &dyn RowLoss) -> bool {
        (**self).same(other)
    }
}

/// Different divergences that one loss may depend on.
pub(crate) const DIVERGENCES: usize = 4;

/// A number for each of a few divergences.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct PerDivergence([Option<(Divergence, f64)>; DIVERGENCES]);

impl PerDivergence {
    pub(crate) fn get(&self, divergence: Divergence) -> Option<f64> {
        self.iter().find(|&(own, _)| own == divergence).map(|(_, value)| value)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Divergence, f64)> + '_ {
        self.0.iter().flatten().copied()
    }

    /// Adds to the number of a divergence; whether there was room.
    pub(crate) fn add(&mut self, divergence: Divergence, value: f64) -> bool {
        for place in &mut self.0 {
            match place {
                Some((own, sum)) if *own == divergence => {
                    *sum += value;
                    return true;
                }
                Some(_) => {}
                None => {
                    *place = Some((divergence, value));
                    return true;
                }
            }
        }
        false
    }

    fn map(mut self, f: impl Fn(f64) -> f64) -> Self {
        for (_, value) in self.0.iter_mut().flatten() {
            *value = f(*value);
        }
        self
    }
}

/// What a [`RowLoss`] needs from the fold beside s and lse, which are always there. What is not asked for is
/// NaN in [`RowScalars`].
///
/// ```
/// use surprisal::loss::Needs;
/// let needs = Needs::nothing().entropy();
/// assert_ne!(needs, Needs::nothing());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[must_use]
pub struct Needs {
    pub(crate) entropy: bool,
    pub(crate) min_entropy: bool,
    pub(crate) deviation: bool,
    pub(crate) companion: bool,
    pub(crate) soft_targets: bool,
    /// The temperature itself.
    pub(crate) temperature: bool,
    /// The entropy of the second head.
    pub(crate) second_entropy: bool,
    /// Which divergences from a second head.
    pub(crate) divergences: PerDivergence,
    /// Whether there are more of them than one loss may have.
    pub(crate) too_many_divergences: bool,
    /// ε, of a loss that smooths its targets.
    pub(crate) label_smoothing: Option<f64>,
}

impl Needs {
    /// Nothing.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// The entropy H: a second moment of each tile.
    pub fn entropy(mut self) -> Self {
        self.entropy = true;
        self
    }

    /// The min-entropy s_max: it costs nothing, but goes with no filter, which may drop the arg-max.
    pub fn min_entropy(mut self) -> Self {
        self.min_entropy = true;
        self
    }

    /// The mean X of a [`Companion`](super::Companion): a sum over each tile. It goes with no filter.
    pub fn companion(mut self) -> Self {
        self.companion = true;
        self
    }

    /// A divergence K from the second head that is in the companion
    /// ([`Companion::logits`](super::Companion::logits)): one more sweep over both heads. Up to four different
    /// ones; they go with no filter and with no shard.
    pub fn divergence(mut self, divergence: Divergence) -> Self {
        self.too_many_divergences |= !self.divergences.add(divergence, 0.0);
        self
    }

    /// The entropy of the second head that divergences are from; it has no slope. Only beside a divergence.
    pub fn second_entropy(mut self) -> Self {
        self.second_entropy = true;
        self
    }

    /// The row's temperature T, for a loss that depends on it beside the logits: such a loss has no gradient by
    /// temperatures.
    pub fn temperature(mut self) -> Self {
        self.temperature = true;
        self
    }

    /// Whether there is any divergence.
    pub(crate) fn diverges(&self) -> bool {
        self.divergences.iter().next().is_some()
    }

    /// The deviation D: a sum over each tile.
    pub fn deviation(mut self) -> Self {
        self.deviation = true;
        self
    }

    /// Nothing, and the loss is defined for soft targets too: s is then their cross-entropy
    /// Σ_v t_v w_v (lse − a_v), and the loss must be linear in it. Not with the deviation.
    pub fn soft_targets(mut self) -> Self {
        self.soft_targets = true;
        self
    }

    /// The sum of label smoothing, and soft targets that are smoothed with this ε.
    pub(crate) fn label_smoothing(mut self, label_smoothing: f64) -> Self {
        self.label_smoothing = Some(label_smoothing);
        self
    }

    /// Whether each class is weighed, for smoothing or for the deviation.
    pub(crate) fn weighs(&self) -> bool {
        self.deviation || self.smoothing() > 0.0
    }

    /// ε, 0 without smoothing.
    pub(crate) fn smoothing(&self) -> f64 {
        self.label_smoothing.unwrap_or(0.0)
    }
}

/// The scalars of one row that a [`RowLoss`] is computed from.
///
/// ```
/// use surprisal::RowState;
/// use surprisal::loss::RowScalars;
/// let mut state = RowState::with_target(1);
/// state.push(0, &[3.0_f64, 3.0, 3.0, 3.0])?;
/// let row = RowScalars::new(&state, 4);
/// assert!((row.surprisal() - 4_f64.ln()).abs() < 1e-15 && (row.others() - 0.75).abs() < 1e-15);
/// assert!((row.entropy() - 4_f64.ln()).abs() < 1e-15 && row.deviation().is_nan());
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RowScalars {
    state: RowState,
    vocabulary: usize,
    class_weight: f64,
    soft: bool,
    needs: Needs,
    temperature: f64,
    divergences: PerDivergence,
    second_entropy: f64,
}

impl RowScalars {
    /// Of a row with this state over a whole vocabulary, with a class weight of 1; T, K, D and X, which
    /// [`RowState::push`] does not sum, are NaN.
    pub fn new(state: &RowState, vocabulary: usize) -> Self {
        let needs = Needs::nothing().entropy().min_entropy();
        Self {
            state: *state,
            vocabulary,
            class_weight: 1.0,
            soft: false,
            needs,
            temperature: 1.0,
            divergences: PerDivergence::default(),
            second_entropy: f64::NAN,
        }
    }

    pub(crate) fn with_temperature(mut self, temperature: f64) -> Self {
        self.temperature = temperature;
        self
    }

    /// With what the second head has made of the row.
    pub(crate) fn with_second_head(mut self, divergences: PerDivergence, entropy: f64) -> Self {
        (self.divergences, self.second_entropy) = (divergences, entropy);
        self
    }

    /// With what was asked for alone.
    pub(crate) fn with_needs(mut self, needs: Needs) -> Self {
        self.needs = needs;
        self
    }

    fn asked(asked: bool, value: f64) -> f64 {
        if asked { value } else { f64::NAN }
    }

    pub(crate) fn with_class_weight(mut self, class_weight: f64) -> Self {
        self.class_weight = class_weight;
        self
    }

    pub(crate) fn with_soft_targets(mut self) -> Self {
        self.soft = true;
        self
    }

    /// s = −ln p_y ≥ 0, to all its digits where p_y is nearly 1; with soft targets their
    /// cross-entropy. NaN where the row has no probabilities.
    pub fn surprisal(&self) -> f64 {
        match self.soft {
            true => self.weighed(),
            false => self.state.surprisal().unwrap_or(f64::NAN),
        }
    }

    /// p_y = e^−s.
    pub fn probability(&self) -> f64 {
        (-self.surprisal()).exp()
    }

    /// 1 − p_y, to all its digits where p_y is nearly 1.
    pub fn others(&self) -> f64 {
        if self.is_argmax() {
            return self.state.remainder / (1.0 + self.state.remainder);
        }
        -(-self.surprisal()).exp_m1()
    }

    /// lse = ln Σ e^a.
    pub fn log_sum_exp(&self) -> f64 {
        self.state.log_sum_exp()
    }

    /// s_max = −ln max p, the surprisal of the most likely class; needs [`Needs::min_entropy`].
    pub fn min_entropy(&self) -> f64 {
        Self::asked(self.needs.min_entropy, self.state.min_entropy())
    }

    /// H = −Σ p ln p; needs [`Needs::entropy`].
    pub fn entropy(&self) -> f64 {
        Self::asked(self.needs.entropy, self.state.entropy())
    }

    /// D = Σ_v (lse − a_v), +∞ where a logit is −∞; needs [`Needs::deviation`].
    pub fn deviation(&self) -> f64 {
        Self::asked(self.needs.deviation, self.weighed())
    }

    /// Σ_v w_v (lse − a_v), with what the fold weighs the classes with.
    pub(crate) fn weighed(&self) -> f64 {
        self.state.weight * self.state.log_sum() + self.state.deviation
    }

    /// X = Σ_v p_v c_v, the mean of the companion; needs [`Needs::companion`].
    pub fn companion(&self) -> f64 {
        Self::asked(self.needs.companion, self.state.companion_mean())
    }

    /// K, a divergence from the second head, in nats; needs [`Needs::divergence`].
    pub fn divergence(&self, divergence: Divergence) -> f64 {
        self.divergences.get(divergence).unwrap_or(f64::NAN)
    }

    /// H of the second head, in nats; needs [`Needs::second_entropy`].
    pub fn second_entropy(&self) -> f64 {
        Self::asked(self.needs.second_entropy, self.second_entropy)
    }

    /// T, the temperature of the row; it has no slope here; needs [`Needs::temperature`].
    pub fn temperature(&self) -> f64 {
        Self::asked(self.needs.temperature, self.temperature)
    }

    /// w_y, the target's class weight; 1 without any, and with soft targets.
    pub fn class_weight(&self) -> f64 {
        self.class_weight
    }

    /// V.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// Whether the target is the most likely class (the lowest of equals).
    pub fn is_argmax(&self) -> bool {
        !self.soft && self.state.target >= 0 && self.state.argmax == self.state.target
    }

    /// Whether the targets are soft.
    pub fn is_soft(&self) -> bool {
        self.soft
    }
}

/// A value with its slopes by the scalars of a row; all of it is to be multiplied with `factor · 2^exponent`.
///
/// ```
/// use surprisal::loss::Term;
/// // ½ s² at s = 3.
/// let term = Term::new(4.5).by_surprisal(3.0);
/// assert_eq!(term.value(), 4.5);
/// // Of a loss of e^800, beyond f64, its gradients may yet be within it: p_y e^800.
/// assert_eq!(Term::new(1.0).times_exp(800.0).value(), f64::INFINITY);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct Term {
    pub(crate) factor: f64,
    pub(crate) exponent: i64,
    pub(crate) value: f64,
    pub(crate) slopes: Slopes,
}

/// The slopes of a term.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Slopes {
    pub(crate) surprisal: f64,
    pub(crate) log_sum_exp: f64,
    pub(crate) min_entropy: f64,
    pub(crate) entropy: f64,
    pub(crate) deviation: f64,
    pub(crate) companion: f64,
    pub(crate) divergences: PerDivergence,
}

impl Slopes {
    fn map(self, f: impl Fn(f64) -> f64) -> Self {
        Self {
            surprisal: f(self.surprisal),
            log_sum_exp: f(self.log_sum_exp),
            min_entropy: f(self.min_entropy),
            entropy: f(self.entropy),
            deviation: f(self.deviation),
            companion: f(self.companion),
            divergences: self.divergences.map(f),
        }
    }

    fn plus(self, other: Self) -> Self {
        let mut divergences = self.divergences;
        for (divergence, slope) in other.divergences.iter() {
            divergences.add(divergence, slope);
        }
        Self {
            divergences,
            surprisal: self.surprisal + other.surprisal,
            log_sum_exp: self.log_sum_exp + other.log_sum_exp,
            min_entropy: self.min_entropy + other.min_entropy,
            entropy: self.entropy + other.entropy,
            deviation: self.deviation + other.deviation,
            companion: self.companion + other.companion,
        }
    }
}

impl Term {
    /// A value that does not depend on the row.
    pub fn new(value: f64) -> Self {
        Self { factor: 1.0, exponent: 0, value, slopes: Slopes::default() }
    }

    /// With ∂L/∂s.
    pub fn by_surprisal(mut self, slope: f64) -> Self {
        self.slopes.surprisal = slope;
        self
    }

    /// With ∂L/∂lse, where s and the other scalars stay: that of a penalty on the log-sum-exp itself.
    pub fn by_log_sum_exp(mut self, slope: f64) -> Self {
        self.slopes.log_sum_exp = slope;
        self
    }

    /// With ∂L/∂s_max.
    pub fn by_min_entropy(mut self, slope: f64) -> Self {
        self.slopes.min_entropy = slope;
        self
    }

    /// With ∂L/∂H.
    pub fn by_entropy(mut self, slope: f64) -> Self {
        self.slopes.entropy = slope;
        self
    }

    /// With ∂L/∂D.
    pub fn by_deviation(mut self, slope: f64) -> Self {
        self.slopes.deviation = slope;
        self
    }

    /// With ∂L/∂X.
    pub fn by_companion(mut self, slope: f64) -> Self {
        self.slopes.companion = slope;
        self
    }

    /// With ∂L/∂K. A divergence that the loss has not asked for ([`Needs::divergence`]) has none.
    pub fn by_divergence(mut self, divergence: Divergence, slope: f64) -> Self {
        self.slopes.divergences.add(divergence, slope);
        self
    }

    /// All of it times a number.
    pub fn times(mut self, factor: f64) -> Self {
        match (self.factor * factor).is_normal() || factor == 0.0 {
            true => self.factor *= factor,
            // What leaves f64 is carried with a power of two.
            false => {
                let power = exponent(factor);
                self.factor *= times_power(factor, -power);
                self.exponent += power;
            }
        }
        self
    }

    /// All of it times e^x, also where that leaves f64.
    pub fn times_exp(mut self, x: f64) -> Self {
        let (factor, exponent) = scaled_exp(x);
        self.factor *= factor;
        self.exponent += exponent;
        self
    }

    /// The value, with all that it is multiplied with.
    pub fn value(&self) -> f64 {
        quotient([self.factor, self.value], 1.0, self.exponent)
    }

    /// The sum of two terms.
    fn plus(self, other: Self) -> Self {
        let exponent = self.exponent.max(other.exponent);
        let near = |term: Self| {
            let factor = times_power(term.factor, term.exponent - exponent);
            (
                factor * term.value,
                term.slopes.map(|slope| if slope == 0.0 { 0.0 } else { factor * slope }),
            )
        };
        let ((a, one), (b, two)) = (near(self), near(other));
        Self { factor: 1.0, exponent, value: a + b, slopes: one.plus(two) }
    }
}

/// The parts of a loss of one row, which differ in what they are divided by.
///
/// | part | times | in the mean divided by |
/// | --- | --- | --- |
/// | weighted | τ_i w_y | Σ w_y over the kept rows (N with soft targets) |
/// | plain | τ_i | the number of kept rows |
///
/// ```
/// use surprisal::loss::{Term, Terms};
/// let terms = Terms::weighted(Term::new(2.0)).with_plain(Term::new(0.25));
/// assert_ne!(terms, Terms::plain(Term::new(2.0)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[must_use]
pub struct Terms {
    pub(crate) weighted: Option<Term>,
    /// ε of (ε/V) Σ_v w_v (lse − a_v), divided as the weighted part is.
    pub(crate) smoothing: f64,
    pub(crate) plain: Option<Term>,
}

impl Terms {
    /// One term that the class weights weigh, as the cross-entropy is.
    pub fn weighted(term: Term) -> Self {
        Self { weighted: Some(term), ..Self::default() }
    }

    /// One term that they do not, as the z-loss is.
    pub fn plain(term: Term) -> Self {
        Self { plain: Some(term), ..Self::default() }
    }

    /// With this plain term beside the others.
    pub fn with_plain(mut self, term: Term) -> Self {
        self.plain = Some(self.plain.map_or(term, |own| own.plus(term)));
        self
    }

    pub(crate) fn with_smoothing(mut self, label_smoothing: f64) -> Self {
        self.smoothing = label_smoothing;
        self
    }

    /// All of it times a number.
    pub fn times(self, factor: f64) -> Self {
        let times = |term: Option<Term>| term.map(|term| term.times(factor));
        Self {
            weighted: times(self.weighted),
            smoothing: factor * self.smoothing,
            plain: times(self.plain),
        }
    }

    /// The sum of two losses.
    pub fn plus(self, other: Self) -> Self {
        let sum = |a: Option<Term>, b: Option<Term>| match (a, b) {
            (Some(a), Some(b)) => Some(a.plus(b)),
            (a, b) => a.or(b),
        };
        Self {
            weighted: sum(self.weighted, other.weighted),
            smoothing: self.smoothing + other.smoothing,
            plain: sum(self.plain, other.plain),
        }
    }
}
