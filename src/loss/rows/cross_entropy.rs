//! Cross-entropy with label smoothing and z-loss.

use crate::error::{Error, Result, short};
use crate::loss::row_loss::{Needs, RowLoss, RowScalars, Term, Terms};
use crate::quotient::quotient;

/// Cross-entropy with label smoothing ε and z-loss ζ, what the builder has without another loss.
///
/// ```text
/// L = (1−ε) w_y s + (ε/V) Σ_v w_v (lse − a_v)      and beside it      ζ lse²
/// ```
///
/// ε from Szegedy et al. 2016 (*Rethinking the Inception Architecture for Computer Vision*), ζ from
/// Chowdhery et al. 2022 (*PaLM*). With ε = 1 the target is without effect.
///
/// With ε = 0 and ζ = 0 it is s. The z-loss alone sees what is added to all logits. Cases in
/// `conformance/losses.jsonl`: `cross_entropy`, `label_smoothing`, `z_loss`, `logit_adjusted`.
///
/// ```
/// use surprisal::loss::CrossEntropy;
/// use surprisal::{Inputs, LinearCrossEntropy};
/// let smoothed = CrossEntropy::new(0.1, 1e-4)?;
/// let (a, b) = (
///     LinearCrossEntropy::builder().row_loss(smoothed).build()?,
///     LinearCrossEntropy::builder().label_smoothing(0.1).z_loss(1e-4).build()?,
/// );
/// let logits = ndarray::arr2(&[[1.0_f32, -2.0, 0.5]]);
/// let inputs = Inputs::from_logits(&logits, &[2_u32]);
/// assert_eq!(a.forward(&inputs)?.loss(), b.forward(&inputs)?.loss());
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CrossEntropy {
    label_smoothing: f64,
    z_loss: f64,
}

impl CrossEntropy {
    /// With this label smoothing and this coefficient of the z-loss.
    ///
    /// # Errors
    /// [`Error::Option`] for a smoothing that is not from 0 to 1, and for a coefficient below 0 or not
    /// finite.
    pub fn new(label_smoothing: f64, z_loss: f64) -> Result<Self> {
        let check = |name, value: f64, good: bool, expected| match good {
            true => Ok(()),
            false => Err(Error::Option { name, value: short(value), expected }),
        };
        let good = (0.0..=1.0).contains(&label_smoothing);
        check("label_smoothing", label_smoothing, good, "a number from 0 to 1")?;
        let good = z_loss.is_finite() && z_loss >= 0.0;
        check("z_loss", z_loss, good, "a finite number of at least 0")?;
        Ok(Self { label_smoothing, z_loss })
    }
}

impl RowLoss for CrossEntropy {
    fn needs(&self) -> Needs {
        Needs::nothing().soft_targets().label_smoothing(self.label_smoothing)
    }

    fn evaluate(&self, row: &RowScalars) -> Terms {
        let term = Term::new(row.surprisal()).by_surprisal(1.0);
        let mut terms = match row.is_soft() {
            // The targets are smoothed themselves.
            true => Terms::weighted(term),
            false => Terms::weighted(term.times(1.0 - self.label_smoothing))
                .with_smoothing(self.label_smoothing),
        };
        if self.z_loss != 0.0 {
            let lse = row.log_sum_exp();
            let value = quotient([self.z_loss, lse, lse], 1.0, 0);
            terms = terms.with_plain(Term::new(value).by_log_sum_exp(2.0 * self.z_loss * lse));
        }
        terms
    }
}
