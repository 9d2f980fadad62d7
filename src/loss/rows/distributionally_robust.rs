//! Label-distributionally robust losses.

use crate::error::{Error, Result, short};
use crate::loss::row_loss::{Needs, RowLoss, RowScalars, Term, Terms};

/// The label-distributionally robust loss: the expected margin of the worst distribution of labels, which a
/// Kullback–Leibler penalty keeps near the uniform one.
///
/// ```text
/// δ_v = z_v − z_y + m [v ≠ y]
/// L = max_p Σ_v p_v δ_v − λ KL(p‖1/V) = λ ln (1/V) Σ_v e^(δ_v/λ)      dL/dz = p* − e_y
/// ```
///
/// with the margin m ≥ 0 and p* the softmax of (z + m [v ≠ y])/λ. λ is the temperature of the call or of the row
/// ([`LinearCrossEntropyBuilder::temperature`](crate::LinearCrossEntropyBuilder::temperature),
/// [`Inputs::temperatures`](crate::Inputs::temperatures)), which so has no gradient here.
///
/// λ = 1 without a margin is cross-entropy − ln V; λ → 0 the margin loss of Crammer and Singer,
/// max(0, max_{v≠y} z_v − z_y + m); λ → ∞ the mean margin, which is symmetric. It may be negative, down to
/// −λ ln V.
///
/// Zhu, Ying and Yang 2023, *Label Distributionally Robust Losses for Multi-class Classification*. Its code
/// normalises the logits before; that is the caller's matter.
///
/// λ s − λ ln V are subtracted in the value: for a large λ it is off by some units of λ ln V. Cases in
/// `conformance/losses.jsonl`: `ldr_kl`.
///
/// ```
/// use surprisal::loss::DistributionallyRobust;
/// use surprisal::{Inputs, LinearCrossEntropy};
/// let loss = LinearCrossEntropy::builder()
///     .row_loss(DistributionallyRobust::new(0.0)?)
///     .temperature(1.0)
///     .build()?;
/// let logits = ndarray::arr2(&[[2.0_f64, 1.0]]);
/// let value = loss.forward(&Inputs::from_logits(&logits, &[0_u32]))?.loss();
/// assert!((value - ((-1.0_f64).exp().ln_1p() - 2_f64.ln())).abs() < 1e-15);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DistributionallyRobust {
    margin: f64,
}

impl DistributionallyRobust {
    /// With this margin.
    ///
    /// # Errors
    /// [`Error::Option`] for a margin that is not finite or below 0.
    pub fn new(margin: f64) -> Result<Self> {
        match margin >= 0.0 && margin.is_finite() {
            true => Ok(Self { margin }),
            false => {
                let expected = "a finite number of at least 0";
                Err(Error::Option { name: "margin", value: short(margin), expected })
            }
        }
    }

    /// −ln p*_y and its slope by s = −ln p_y: the margin multiplies the odds of all others with e^(m/λ).
    fn surprisal(&self, row: &RowScalars) -> (f64, f64) {
        let (s, margin) = (row.surprisal(), self.margin / row.temperature());
        let odds = row.others().ln() + s + margin;
        let own = odds.max(0.0) + (-odds.abs()).exp().ln_1p();
        // (1 − p*_y)/(1 − p_y), whose parts may both be 0; 1 where p_y is.
        let slope = if s == f64::INFINITY { 1.0 } else { (s + margin - own).min(700.0).exp() };
        (own, slope)
    }

    fn term(&self, row: &RowScalars) -> Term {
        let (lambda, (own, slope)) = (row.temperature(), self.surprisal(row));
        Term::new(lambda * (own - (row.vocabulary() as f64).ln())).by_surprisal(lambda * slope)
    }
}

impl RowLoss for DistributionallyRobust {
    fn needs(&self) -> Needs {
        Needs::nothing().temperature()
    }

    fn evaluate(&self, row: &RowScalars) -> Terms {
        Terms::weighted(self.term(row))
    }
}

/// The same with a λ of each row that the loss chooses itself, large where the row is uncertain.
///
/// ```text
/// L = max_λ LDR_λ − (α ln V / 2λ₀) (λ − λ₀)²      λ* = λ₀ (1 − KL(p*‖1/V) / (α ln V))
/// ```
///
/// λ is the temperature of the row: it is [`next`](Self::next) that makes a better one of a forward at another,
/// and one step from λ₀, or a few until nothing changes, is what the paper and its code do. At the best λ the
/// gradient is p* − e_y, as if λ were constant. k steps cost k forwards before the call of the loss.
///
/// Zhu, Ying and Yang 2023; its code leaves the margin out of the p* that λ comes from: so does a forward of
/// margin 0 here.
///
/// Cases in `conformance/losses.jsonl`: `aldr_kl`, `aldr_lambda`.
///
/// ```
/// use ndarray::Array1;
/// use surprisal::loss::AdaptiveDistributionallyRobust;
/// use surprisal::{Inputs, LinearCrossEntropy};
/// let robust = AdaptiveDistributionallyRobust::new(1.0, 2.0, 0.0)?;
/// let loss = LinearCrossEntropy::builder().row_loss(robust).build()?;
/// let logits = ndarray::arr2(&[[2.0_f64, 1.0, 0.0], [9.0, 0.0, 0.0]]);
/// let mut lambdas = Array1::from_elem(2, 1.0);
/// for _ in 0..50 {
///     let inputs = Inputs::from_logits(&logits, &[0_u32, 1]).temperatures(&lambdas);
///     lambdas = robust.next(&loss.forward(&inputs)?);
/// }
/// assert!(lambdas[1] < lambdas[0] && lambdas[0] < 1.0);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdaptiveDistributionallyRobust {
    lambda: f64,
    alpha: f64,
    robust: DistributionallyRobust,
}

impl AdaptiveDistributionallyRobust {
    /// With λ₀, α and the margin.
    ///
    /// # Errors
    /// [`Error::Option`] for a λ₀ that is not above 0, an α that is not above 1, a margin below 0, and what is not
    /// finite.
    pub fn new(lambda: f64, alpha: f64, margin: f64) -> Result<Self> {
        if !(lambda > 0.0 && lambda.is_finite()) {
            let expected = "a finite number above 0";
            return Err(Error::Option { name: "lambda0", value: short(lambda), expected });
        }
        if !(alpha > 1.0 && alpha.is_finite()) {
            let expected = "a finite number above 1";
            return Err(Error::Option { name: "alpha", value: short(alpha), expected });
        }
        Ok(Self { lambda, alpha, robust: DistributionallyRobust::new(margin)? })
    }

    /// λ* of a row, of these scalars at another λ.
    pub(crate) fn next_of(&self, row: &RowScalars) -> f64 {
        self.lambda * (1.0 - self.distance(row) / self.most(row))
    }

    /// λ₀.
    pub(crate) fn first(&self) -> f64 {
        self.lambda
    }

    /// α ln V.
    fn most(&self, row: &RowScalars) -> f64 {
        self.alpha * (row.vocabulary() as f64).ln()
    }

    /// KL(p*‖1/V) = ln V − H(p*).
    fn distance(&self, row: &RowScalars) -> f64 {
        let uniform = (row.vocabulary() as f64).ln();
        if self.robust.margin == 0.0 {
            return uniform - row.entropy();
        }
        // H = h(o) + o H(the others among themselves), of which the margin changes o alone.
        let binary = |o: f64| match o > 0.0 && o < 1.0 {
            true => -o * o.ln() - (1.0 - o) * (-o).ln_1p(),
            false => 0.0,
        };
        let o = row.others();
        let among = if o > 0.0 { (row.entropy() - binary(o)).max(0.0) / o } else { 0.0 };
        let other = -(-self.robust.surprisal(row).0).exp_m1();
        uniform - (binary(other) + other * among)
    }
}

impl RowLoss for AdaptiveDistributionallyRobust {
    fn needs(&self) -> Needs {
        Needs::nothing().temperature().entropy()
    }

    fn evaluate(&self, row: &RowScalars) -> Terms {
        let mut term = self.robust.term(row);
        let moved = row.temperature() - self.lambda;
        term.value -= self.most(row) / (2.0 * self.lambda) * moved * moved;
        Terms::weighted(term)
    }
}
