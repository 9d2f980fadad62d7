//! How a step of a policy changes its entropy, to first order.

use crate::error::{Error, Result, short};
use crate::matrix::Vector;

/// The covariances by which a step of a policy gradient changes the entropy of one row's distribution.
///
/// With p the softmax of the row's logits and A the advantages of its classes,
///
/// ```text
/// ΔH = −η Cov_p(log p, A)      of a natural gradient, where the logits move by η A
/// ΔH = −η Cov_p(log p, p A)    of a policy gradient, where they move by η p A
/// ```
///
/// in nats, to first order in η. Cui et al. 2025, *The Entropy Mechanism of Reinforcement Learning for Reasoning
/// Language Models*.
///
/// ```
/// use ndarray::arr1;
/// use surprisal::preference::PolicyEntropyChange;
/// let change = PolicyEntropyChange::of(&arr1(&[0.0, 0.0]), &arr1(&[1.0, -1.0]))?;
/// assert!((change.entropy - 2_f64.ln()).abs() < 1e-15);
/// assert_eq!(change.covariance_natural, 0.0);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct PolicyEntropyChange {
    /// H, in nats.
    pub entropy: f64,
    /// Cov_p(log p, A).
    pub covariance_natural: f64,
    /// Cov_p(log p, p A).
    pub covariance_policy_gradient: f64,
}

impl PolicyEntropyChange {
    /// Of the logits `[K]` of a row, and advantages `[K]`.
    ///
    /// # Errors
    /// [`Error::Shape`] for no class, or another number of advantages; [`Error::Value`] for a logit that is NaN or
    /// +∞, or a row without a finite one.
    pub fn of<'a>(
        logits: impl Into<Vector<'a>>,
        advantages: impl Into<Vector<'a>>,
    ) -> Result<Self> {
        Self::of_here(logits.into(), advantages.into())
    }

    fn of_here(logits: Vector<'_>, advantages: Vector<'_>) -> Result<Self> {
        let advantages: Vec<f64> = advantages.to_vec();
        let row = Row::of(logits)?;
        if advantages.len() != row.classes.len() {
            return Err(Error::Shape {
                argument: "advantages",
                found: vec![advantages.len()],
                expected: format!("[{}], one for each class", row.classes.len()),
            });
        }
        // Log p less its mean −H.
        let centred =
            |&(p, log_p): &(f64, f64)| if p == 0.0 { 0.0 } else { p * (log_p + row.entropy) };
        let covariance = |of: &dyn Fn(usize) -> f64| {
            row.classes.iter().enumerate().map(|(k, class)| centred(class) * of(k)).sum()
        };
        Ok(Self {
            entropy: row.entropy,
            covariance_natural: covariance(&|k| advantages[k]),
            covariance_policy_gradient: covariance(&|k| row.classes[k].0 * advantages[k]),
        })
    }
}

/// How one token's policy gradient changes the entropy of its row's distribution, per unit of learning rate.
///
/// With x the token's probability, r = x/π_old and A its advantage, in nats:
///
/// | | |
/// | --- | --- |
/// | [`omega`](Self::omega) Ω | (A/π_old) x(1−x)(ln x + H), with x within [1e-8, 1 − 1e-8] and π_old of at least 1e-8 |
/// | [`exact`](Self::exact) | −r A (x(ln x + H) − Σ_j p_j²(ln p_j + H)): to first order, all logits move by r A (e_y − p) |
/// | [`own_logit`](Self::own_logit) | −r A x(1−x)(ln x + H): that of the token's own logit alone |
///
/// Ω is what [`SteerWeights`](super::SteerWeights) take; its sign is that of −own_logit. Hao et al. 2025, *Rethinking
/// Entropy Interventions in RLVR: An Entropy Change Perspective*.
///
/// ```
/// use ndarray::arr1;
/// use surprisal::preference::TokenEntropyChange;
/// let change = TokenEntropyChange::of(&arr1(&[2.0, 0.0, 0.0]), 0, 1.0, 0.8)?;
/// // What is likely becomes likelier: less entropy.
/// assert!(change.exact < 0.0 && change.own_logit < 0.0 && change.omega > 0.0);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct TokenEntropyChange {
    /// Ω, as its authors' program has it.
    pub omega: f64,
    /// ΔH over the learning rate, where all logits move.
    pub exact: f64,
    /// The same, where the token's own logit moves alone.
    pub own_logit: f64,
}

impl TokenEntropyChange {
    /// Of the logits `[K]` of a row, its token, that token's advantage and its probability under the policy that drew.
    ///
    /// # Errors
    /// As [`PolicyEntropyChange::of`]; [`Error::Value`] for a token that is not there; [`Error::Option`] for an old
    /// probability outside (0, 1], or an advantage that is not finite.
    pub fn of<'a>(
        logits: impl Into<Vector<'a>>,
        token: usize,
        advantage: f64,
        old_probability: f64,
    ) -> Result<Self> {
        Self::of_here(logits.into(), token, advantage, old_probability)
    }

    fn of_here(
        logits: Vector<'_>,
        token: usize,
        advantage: f64,
        old_probability: f64,
    ) -> Result<Self> {
        let row = Row::of(logits)?;
        let Some(&(x, log_x)) = row.classes.get(token) else {
            return Err(Error::Value {
                argument: "token",
                index: Vec::new(),
                value: token.to_string(),
                expected: "a class of the row",
            });
        };
        let option = |name, value: f64, good, expected| match good {
            true => Ok(()),
            false => Err(Error::Option { name, value: short(value), expected }),
        };
        option("advantage", advantage, advantage.is_finite(), "a finite number")?;
        let good = old_probability > 0.0 && old_probability <= 1.0;
        option("old_probability", old_probability, good, "a number above 0 up to 1")?;
        let entropy = row.entropy;
        let held = x.clamp(1e-8, 1.0 - 1e-8);
        let omega =
            advantage / old_probability.max(1e-8) * (held * (1.0 - held)) * (held.ln() + entropy);
        let of = |p: f64, log_p: f64| if p == 0.0 { 0.0 } else { p * (log_p + entropy) };
        let squares: f64 = row.classes.iter().map(|&(p, log_p)| p * of(p, log_p)).sum();
        // 1 − x as the sum of the others, which may be small.
        let others: f64 =
            row.classes.iter().enumerate().filter(|(k, _)| *k != token).map(|(_, c)| c.0).sum();
        let factor = -x / old_probability * advantage;
        Ok(Self {
            omega,
            exact: factor * (of(x, log_x) - squares),
            own_logit: factor * others * of(x, log_x),
        })
    }
}

/// The distribution of a row.
struct Row {
    /// p and ln p of each class.
    classes: Vec<(f64, f64)>,
    entropy: f64,
}

impl Row {
    fn of(logits: Vector<'_>) -> Result<Self> {
        let logits: Vec<f64> = logits.to_vec();
        if logits.is_empty() {
            let expected = "at least one class".into();
            return Err(Error::Shape { argument: "logits", found: vec![0], expected });
        }
        let bad = |logit: &f64| logit.is_nan() || *logit == f64::INFINITY;
        let value = |at: usize, expected| Error::Value {
            argument: "logits",
            index: vec![at],
            value: short(logits[at]),
            expected,
        };
        if let Some(at) = logits.iter().position(bad) {
            return Err(value(at, "a number below +∞"));
        }
        let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if largest == f64::NEG_INFINITY {
            return Err(value(0, "a finite logit somewhere in the row"));
        }
        let first = logits.iter().position(|&logit| logit == largest).unwrap_or(0);
        let others = logits.iter().enumerate().filter(|(k, _)| *k != first);
        let log_sum = others.map(|(_, logit)| (logit - largest).exp()).sum::<f64>().ln_1p();
        let of = |logit: &f64| {
            let log_p = (logit - largest) - log_sum;
            (log_p.exp(), log_p)
        };
        let classes: Vec<_> = logits.iter().map(of).collect();
        let entropy =
            classes.iter().map(|&(p, log_p)| if p == 0.0 { 0.0 } else { -p * log_p }).sum();
        Ok(Self { classes, entropy })
    }
}
