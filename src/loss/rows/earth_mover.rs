//! Cross-entropy with the earth mover's distance to the target.

use crate::loss::row_loss::{Needs, RowLoss, RowScalars, Term, Terms};

/// How the two parts of [`EarthMover`] are weighed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Weighing {
    #[default]
    Paper,
    Code,
    Continual,
}

/// Cross-entropy with an upper bound of the earth mover's distance between p and the target: probability that is
/// near the target in the embedding costs less. In nats.
///
/// ```text
/// D = Σ_v p_v c_v      c_v = 1 − cos(E_v, E_y)      ε = 10⁻¹⁰
/// paper:      L = ½ (s + [s/(D + ε)] D)
/// code:       L = ½ (s + [s/(D′ + ε)] D′)      D′ = D + [p_y]
/// continual:  L = [D′/(s + ε)] s + D′
/// ```
///
/// with constants in brackets: they count in the value and have no slope, so that the paper's value is s and its
/// gradient half that of cross-entropy, half that of D at the same size. The costs are an
/// [`EmbeddingCost`](super::super::EmbeddingCost) in the companion, or any others.
///
/// Ren, Wu and Zhu 2024, *EMO: Earth Mover Distance Optimization for Auto-Regressive Language Modeling*. Its code
/// adds the target's probability to D in the weights, as [`as_in_code`](Self::as_in_code) does, and takes 1 − Σ p cos
/// for D, which has no digits where p_y is nearly 1.
///
/// Classes at right angles make D = 1 − p_y, classes in one direction D = 0. A target of logit −∞ has a loss of +∞ in
/// the first two, and a slope by D that is no number. Cases in `conformance/losses.jsonl`: `emo`, `demd`.
///
/// ```
/// use surprisal::loss::{EarthMover, EmbeddingCost};
/// use surprisal::{Inputs, LinearCrossEntropy};
/// let embedding = ndarray::arr2(&[[1.0_f64, 0.0], [0.0, 2.0], [-3.0, 0.0]]);
/// let targets = [0_u32];
/// let costs = EmbeddingCost::<f64>::new(&embedding)?;
/// let rows = costs.rows(&targets)?;
/// let logits = ndarray::arr2(&[[0.0_f64, 0.0, 0.0]]);
/// let inputs = Inputs::from_logits(&logits, &targets).companion(costs.companion(&rows));
/// let loss = LinearCrossEntropy::builder().row_loss(EarthMover::paper()).build()?;
/// assert!((loss.forward(&inputs)?.loss() - 3_f64.ln()).abs() < 1e-9);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EarthMover {
    weighing: Weighing,
}

impl EarthMover {
    /// As the paper has it.
    pub fn paper() -> Self {
        Self { weighing: Weighing::Paper }
    }

    /// As the released code has it for language models.
    pub fn as_in_code() -> Self {
        Self { weighing: Weighing::Code }
    }

    /// As the released code has it for continual pre-training: cross-entropy at the size of D.
    pub fn continual() -> Self {
        Self { weighing: Weighing::Continual }
    }
}

const EPSILON: f64 = 1e-10;

impl RowLoss for EarthMover {
    fn needs(&self) -> Needs {
        Needs::nothing().companion()
    }

    fn evaluate(&self, row: &RowScalars) -> Terms {
        let (s, distance) = (row.surprisal(), row.companion());
        let with_target = distance + row.probability();
        let term = match self.weighing {
            Weighing::Paper => {
                let ratio = s / (distance + EPSILON);
                Term::new(0.5 * (s + ratio * distance)).by_companion(0.5 * ratio).by_surprisal(0.5)
            }
            Weighing::Code => {
                let ratio = s / (with_target + EPSILON);
                let value = 0.5 * (s + ratio * with_target);
                Term::new(value).by_companion(0.5 * ratio).by_surprisal(0.5)
            }
            Weighing::Continual => {
                let ratio = with_target / (s + EPSILON);
                // s/(s + ε) is 1 where s is +∞.
                let own = if s == f64::INFINITY { with_target } else { ratio * s };
                Term::new(own + with_target).by_companion(1.0).by_surprisal(ratio)
            }
        };
        Terms::weighted(term)
    }
}
