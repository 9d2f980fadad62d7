//! One row of a softmax, folded.

use super::block::{self, Block, Moments, faded};
use crate::element::{Real, compiled};
use crate::error::{Error, Result};
use crate::simd::Isa;

/// What the examples of this file begin with.
macro_rules! example {
    () => {
        "# use surprisal::RowState;
# let mut state = RowState::with_target(0);
# state.push(0, &[1.0_f64, 2.0, 3.0])?;"
    };
}

/// What a row of logits is reduced to, block by block.
///
/// With m the maximum, u_v = a_v − m, and every sum over all classes *but one arg-max*:
///
/// ```text
/// r = Σ e^u      a = Σ e^u u ≤ 0      μ = a/(1+r)      M2 = Σ e^u (u−μ)² + μ²
/// ln S = log1p(r)            lse = m + ln S
/// entropy     H = log1p(r) − a/(1+r)          varentropy = M2/(1+r)
/// min-entropy H_∞ = log1p(r)                  −ln p_y = log1p(r) + (m − a_y)
/// ```
///
/// Every update adds terms of one sign, so nothing cancels: the surprisal of a class with
/// p = 1 − 10⁻¹⁸ keeps all its digits, and so do the entropies at an offset of 10⁸. All is in nats.
/// [`merge`](Self::merge) is associative and commutative up to rounding: it joins blocks, threads
/// and vocabulary shards alike.
///
/// A NaN logit, or one of +∞, makes every statistic NaN (the arg-max is then the first NaN, or the
/// first +∞). Logits of −∞ are classes of probability 0; where all are, lse is −∞ and the rest NaN.
///
/// ```
/// use surprisal::RowState;
/// let logits = [1.0_f64, 2.0, 3.0];
/// let mut whole = RowState::new();
/// whole.push(0, &logits)?;
/// let (mut left, mut right) = (RowState::new(), RowState::new());
/// left.push(0, &logits[..1])?;
/// right.push(1, &logits[1..])?;
/// left.merge(&right);
/// assert!((whole.log_sum_exp() - 3.4076059644443806).abs() < 1e-15);
/// assert!((whole.log_sum_exp() - left.log_sum_exp()).abs() < 1e-15);
/// assert!((whole.entropy() - left.entropy()).abs() < 1e-15);
/// assert_eq!(left.argmax(), Some(2));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct RowState {
    /// m, the largest logit so far; NaN after a NaN.
    pub maximum: f64,
    /// r.
    pub remainder: f64,
    /// a.
    pub first_moment: f64,
    /// M2.
    pub second_moment: f64,
    /// t = Σ w_v (m − a_v) ≥ 0, for label smoothing and soft targets.
    pub deviation: f64,
    /// Σ w_v over the classes seen.
    pub weight: f64,
    /// Σ w_v over the classes seen but the arg-max: what its gradient is made of.
    pub other_weight: f64,
    /// Σ e^u c over all classes seen but the arg-max, of a number c beside each.
    pub companion: f64,
    /// c of the arg-max.
    pub companion_of_argmax: f64,
    /// The class of the maximum (the lowest of equals, the first NaN), −1 before any.
    pub argmax: i64,
    /// The target class, −1 for none.
    pub target: i64,
    /// a_y, once its class has been seen.
    pub target_logit: Option<f64>,
    /// a_y as it was known before its class was seen; the rank needs it.
    pub ahead: Option<f64>,
    /// The target's rank so far, where its logit was known ahead: how many logits are above it.
    pub above: Option<u64>,
}

impl Default for RowState {
    fn default() -> Self {
        Self::new()
    }
}

impl RowState {
    /// A row of which nothing has been seen.
    ///
    /// ```
    #[doc = example!()]
    /// assert_eq!(RowState::new().argmax(), None);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn new() -> Self {
        Self {
            maximum: f64::NEG_INFINITY,
            remainder: 0.0,
            first_moment: 0.0,
            second_moment: 0.0,
            deviation: 0.0,
            weight: 0.0,
            other_weight: 0.0,
            companion: 0.0,
            companion_of_argmax: 0.0,
            argmax: -1,
            target: -1,
            target_logit: None,
            ahead: None,
            above: None,
        }
    }

    /// A row whose target is `class`: its logit is kept when its block comes.
    ///
    /// ```
    #[doc = example!()]
    /// assert!((state.surprisal().unwrap_or(f64::NAN) - 2.4076059644443806).abs() < 1e-15);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn with_target(class: u32) -> Self {
        Self { target: i64::from(class), ..Self::new() }
    }

    /// As [`with_target`](Self::with_target), where the target's logit is known ahead: then the
    /// logits above it are counted. A NaN is not known.
    ///
    /// ```
    /// use surprisal::RowState;
    /// let mut state = RowState::with_target_logit(1, 2.0);
    /// state.push(0, &[1.0, 2.0, 3.0, 2.5])?;
    /// assert_eq!(state.above, Some(2));
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn with_target_logit(class: u32, logit: f64) -> Self {
        let ahead = Some(logit).filter(|logit| !logit.is_nan());
        Self { ahead, above: ahead.map(|_| 0), ..Self::with_target(class) }
    }

    /// Folds in the logits of the classes from `first_class` on.
    ///
    /// ```
    #[doc = example!()]
    /// state.push(3, &[4.0_f32])?;
    /// assert_eq!(state.argmax(), Some(3));
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Isa::current`].
    pub fn push<R: Real>(&mut self, first_class: u32, logits: &[R]) -> Result<()> {
        compiled!(
            ['a, 'b] R: (&'a mut RowState, u32, &'b [R]) => Result<()>,
            |(state, first_class, logits)| state.push_here(first_class, logits),
            (self, first_class, logits)
        )
    }

    fn push_here<R: Real>(&mut self, first_class: u32, logits: &[R]) -> Result<()> {
        let isa = Isa::current()?;
        let mut scratch = [R::ZERO; 256];
        let mut first = i64::from(first_class);
        for chunk in logits.chunks(scratch.len()) {
            let chunk_copy = &mut scratch[..chunk.len()];
            chunk_copy.copy_from_slice(chunk);
            let block = block::reduce(isa, chunk_copy, Moments::Second);
            let mut next = Self { target: self.target, ..Self::new() };
            next.set_block(&block, first);
            if let Some(logit) = self
                .target
                .checked_sub(first)
                .and_then(|at| usize::try_from(at).ok().and_then(|at| chunk.get(at)))
            {
                next.target_logit = Some(logit.to_f64());
            }
            if let Some(logit) = self.ahead {
                let above = chunk.iter().filter(|x| x.to_f64() > logit).count();
                next.above = Some(above as u64);
            }
            self.merge(&next);
            first = first
                .checked_add(chunk.len() as i64)
                .ok_or_else(|| Error::TooLarge { what: "the number of classes".into() })?;
        }
        Ok(())
    }

    /// Folds in logits of the classes from `first_class` on, without a target. They are the same again on return.
    pub(crate) fn push_block<R: Real>(
        &mut self,
        isa: Isa,
        first_class: usize,
        logits: &mut [R],
        moments: Moments,
    ) {
        // Most blocks have nothing above what has been seen: their sums join it as they are.
        if self.maximum.is_finite()
            && moments < Moments::Second
            && let Some((remainder, first)) =
                block::reduce_below(isa, logits, R::from_f64(self.maximum), moments)
        {
            self.remainder += remainder;
            self.first_moment += first;
            return;
        }
        let block = block::reduce(isa, logits, moments);
        let mut part = Self::new();
        part.set_block(&block, first_class as i64);
        self.merge(&part);
    }

    /// Takes the core of a state that is still empty from a block.
    pub(crate) fn set_block<R: Real>(&mut self, block: &Block<R>, first_class: i64) {
        self.maximum = block.maximum.to_f64();
        self.argmax = first_class + block.argmax as i64;
        self.remainder = block.sums.remainder;
        self.first_moment = block.sums.first;
        self.second_moment = block.sums.second;
    }

    /// Folds in the state of other classes of the same row.
    ///
    /// ```
    #[doc = example!()]
    /// let mut other = RowState::new();
    /// other.push(3, &[5.0_f64, 0.0])?;
    /// state.merge(&other);
    /// assert_eq!((state.argmax(), state.maximum), (Some(3), 5.0));
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn merge(&mut self, other: &Self) {
        self.above = match (self.argmax < 0, other.argmax < 0) {
            (_, true) => self.above,
            (true, false) => other.above,
            (false, false) => self.above.zip(other.above).map(|(a, b)| a + b),
        };
        if self.target < 0 {
            self.target = other.target;
        }
        self.target_logit = self.target_logit.or(other.target_logit);
        self.ahead = self.ahead.or(other.ahead);
        if other.argmax < 0 {
            return;
        }
        if self.argmax < 0 {
            return self.replace_sums(other);
        }
        let seen;
        let later = if other.precedes(self) {
            seen = *self;
            self.replace_sums(other);
            &seen
        } else {
            other
        };
        self.join(later);
    }

    /// Takes all from another but what is known of the target.
    fn replace_sums(&mut self, other: &Self) {
        let Self { target, target_logit, ahead, above, .. } = *self;
        *self = Self { target, target_logit, ahead, above, ..*other };
    }

    /// Whether the arg-max of the two is this one's: NaN before all, then the larger, then the
    /// lower class.
    fn precedes(&self, other: &Self) -> bool {
        match (self.maximum.is_nan(), other.maximum.is_nan()) {
            (true, false) => true,
            (false, true) => false,
            (false, false) if self.maximum != other.maximum => self.maximum > other.maximum,
            _ => self.argmax < other.argmax,
        }
    }

    /// Adds the sums of another whose arg-max does not precede this one's.
    fn join(&mut self, other: &Self) {
        self.weight += other.weight;
        self.other_weight += other.weight;
        self.deviation += other.deviation;
        let gap = self.maximum - other.maximum;
        if other.weight != 0.0 && gap > 0.0 {
            self.deviation += gap * other.weight;
        }
        if other.maximum == f64::NEG_INFINITY {
            return;
        }
        let (w, scaled) = (1.0 + self.remainder, faded(gap, 1.0 + other.remainder));
        if scaled == 0.0 {
            return;
        }
        let mean = self.first_moment / w;
        let other_mean = other.first_moment / (1.0 + other.remainder) - gap;
        let companion = other.companion + other.companion_of_argmax;
        if companion != 0.0 {
            self.companion += faded(gap, companion);
        }
        self.remainder += scaled;
        self.first_moment += faded(gap, other.first_moment - gap * (1.0 + other.remainder));
        self.second_moment += faded(gap, other.second_moment)
            + (other_mean - mean).powi(2) * (w * scaled / (w + scaled));
    }

    /// ln S = ln Σ e^(a_v − m), which is also the min-entropy.
    ///
    /// ```
    #[doc = example!()]
    /// assert!((state.log_sum() - 0.4076059644443804).abs() < 1e-15);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn log_sum(&self) -> f64 {
        if self.maximum.is_finite() { self.remainder.ln_1p() } else { f64::NAN }
    }

    /// lse = ln Σ e^(a_v); −∞ where every logit is.
    ///
    /// ```
    #[doc = example!()]
    /// assert!((state.log_sum_exp() - 3.4076059644443806).abs() < 1e-15);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn log_sum_exp(&self) -> f64 {
        if self.maximum == f64::NEG_INFINITY {
            return f64::NEG_INFINITY;
        }
        self.maximum + self.log_sum()
    }

    /// H = −Σ p ln p.
    ///
    /// ```
    #[doc = example!()]
    /// assert!((state.entropy() - 0.8323955818399389).abs() < 1e-15);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn entropy(&self) -> f64 {
        self.log_sum() - self.first_moment / (1.0 + self.remainder)
    }

    /// The variance of ln p under p.
    ///
    /// ```
    #[doc = example!()]
    /// assert!((state.varentropy() - 0.4244045446892544).abs() < 1e-15);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn varentropy(&self) -> f64 {
        if self.maximum.is_finite() {
            self.second_moment / (1.0 + self.remainder)
        } else {
            f64::NAN
        }
    }

    /// Σ p_v c_v of the numbers beside the logits.
    pub(crate) fn companion_mean(&self) -> f64 {
        match self.maximum.is_finite() {
            true => (self.companion_of_argmax + self.companion) / (1.0 + self.remainder),
            false => f64::NAN,
        }
    }

    /// c of the arg-max less that mean, to all digits where the arg-max has nearly all the probability.
    pub(crate) fn companion_above_mean(&self) -> f64 {
        let below = self.remainder * self.companion_of_argmax - self.companion;
        below / (1.0 + self.remainder)
    }

    /// H_∞ = −ln max p.
    ///
    /// ```
    #[doc = example!()]
    /// assert!((state.min_entropy() - 0.4076059644443804).abs() < 1e-15);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn min_entropy(&self) -> f64 {
        self.log_sum()
    }

    /// −ln p of the target, never negative; `None` until its class has been seen.
    ///
    /// ```
    #[doc = example!()]
    /// assert!((state.surprisal().unwrap_or(f64::NAN) - 2.4076059644443806).abs() < 1e-15);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn surprisal(&self) -> Option<f64> {
        self.target_logit.map(|logit| self.surprisal_of(logit))
    }

    /// −ln p of a class with this logit: log1p(r) + (m − a).
    ///
    /// ```
    #[doc = example!()]
    /// assert!((state.surprisal_of(2.0) - 1.4076059644443804).abs() < 1e-15);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn surprisal_of(&self, logit: f64) -> f64 {
        self.log_sum() + (self.maximum - logit)
    }

    /// How far the target's ln p is from its mean under p, in standard deviations: (ln p_y + H) / √varentropy, 0
    /// where the varentropy is, as it is too where the largest logit leads by more than 745. Nothing but
    /// a_y − m − a/(1+r) is computed, so it has its digits where ln p_y is nearly −H. `None` until its class has been
    /// seen. Min-K%++ is a mean of the smallest of them.
    ///
    /// ```
    #[doc = example!()]
    /// let z_score = (state.entropy() - 2.4076059644443804) / state.varentropy().sqrt();
    /// assert!((state.z_score().unwrap_or(f64::NAN) - z_score).abs() < 1e-15);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn z_score(&self) -> Option<f64> {
        let logit = self.target_logit?;
        let varentropy = self.varentropy();
        if varentropy == 0.0 {
            return Some(0.0);
        }
        let mean = self.first_moment / (1.0 + self.remainder);
        Some((logit - self.maximum - mean) / varentropy.sqrt())
    }

    /// The class of the largest logit, the lowest of equals; of the first NaN where there is one.
    ///
    /// ```
    #[doc = example!()]
    /// assert_eq!(state.argmax(), Some(2));
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn argmax(&self) -> Option<u32> {
        u32::try_from(self.argmax).ok()
    }
}
