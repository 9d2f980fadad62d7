//! States that should find their concept among those of the batch.

use super::checks::{finite, of_embeddings_alone};
use crate::error::{Error, Result};
use crate::loss::{Forward, Gradients, Inputs, LinearCrossEntropy, Upstream};
use crate::matrix::Matrix;

/// The in-batch objective of joint-embedding prediction: the concept of each state is a class, all concepts of the
/// batch are the vocabulary.
///
/// ```text
/// z_ij = s_i·c_j      L = mean over labelled rows of ln Σ_j e^(z_ij) − z_i,y_i      states [N,D], concepts [M,D]
/// MRR = mean of 1/(1 + #{j : z_ij > z_i,y_i})
/// ```
///
/// In nats. It is the fused [`LinearCrossEntropy`] with the concepts as classifier: the N×M scores are never stored,
/// and ranks come out of the same pass, ties in favour of the label. There is no temperature, and the ranks have no
/// gradient. A label of −100 leaves a row out.
///
/// Wang et al. 2025, code of *Is the Reversal Curse a Binding Problem?*, normalizes concepts before, with
/// [`layer_norm`](crate::autodiff::Variable::layer_norm) (ε = 1e-5) or
/// [`rms_norm`](crate::autodiff::Variable::rms_norm) (ε = 1e-6), and states never: on a tape that is two nodes. A batch
/// without a label is NaN there, an error here.
///
/// Cases in `conformance/geometry.jsonl`: `in_batch_concept_loss`.
///
/// ```
/// use ndarray::{Array2, arr2};
/// use surprisal::{Gradients, contrastive::in_batch};
/// let states = arr2(&[[1.0_f64, 0.0], [0.0, 2.0]]);
/// let concepts = arr2(&[[1.0_f64, 0.0], [1.0, 0.0], [0.0, 1.0]]);
/// let found = in_batch::loss(&states, &concepts, &[1, 0])?;
/// assert!((found.loss - 1.550769785140068).abs() < 1e-15);
/// // Tied with the first, and third.
/// assert_eq!(found.mean_reciprocal_rank, (1.0 + 1.0 / 2.0) / 2.0);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Retrieval {
    /// L, in nats.
    pub loss: f64,
    /// From 1/M to 1.
    pub mean_reciprocal_rank: f64,
}

/// What stands for no label.
const IGNORED: i64 = -100;

/// The loss of states `[N,D]`, concepts `[M,D]` and a label for each state.
///
/// # Errors
/// [`Error::Shape`] for arrays that do not go together, [`Error::Value`] for a number that is not finite,
/// [`Error::TargetOutOfRange`] for a label of no concept, [`Error::Conflict`] where no row has one.
///
/// ```
/// use ndarray::arr2;
/// let rows = arr2(&[[1.0_f64], [-1.0]]);
/// let found = surprisal::contrastive::in_batch::loss(&rows, &rows, &[0, -100])?;
/// assert!((found.loss - (-2.0_f64).exp().ln_1p()).abs() < 1e-15);
/// # Ok::<(), surprisal::Error>(())
/// ```
pub fn loss<'a>(
    states: impl Into<Matrix<'a>>,
    concepts: impl Into<Matrix<'a>>,
    labels: &[i64],
) -> Result<Retrieval> {
    evaluate(states.into(), concepts.into(), labels, None)
}

/// The loss with its gradients: [`Gradients::hidden`] is of the states, [`Gradients::classifier`] of the concepts.
///
/// # Errors
/// As [`loss`]; [`Error::Shape`] for gradients that do not fit, [`Error::Conflict`] for other ones.
///
/// ```
/// use ndarray::{Array2, arr2};
/// use surprisal::{Gradients, contrastive::in_batch};
/// let (rows, mut by_states) = (arr2(&[[1.0_f64], [-1.0]]), Array2::<f64>::zeros((2, 1)));
/// in_batch::loss_and_gradients(&rows, &rows, &[0, -100], Gradients::new().hidden(&mut by_states))?;
/// assert!(by_states[[0, 0]] < 0.0 && by_states[[1, 0]] == 0.0);
/// # Ok::<(), surprisal::Error>(())
/// ```
pub fn loss_and_gradients<'a>(
    states: impl Into<Matrix<'a>>,
    concepts: impl Into<Matrix<'a>>,
    labels: &[i64],
    gradients: Gradients<'_>,
) -> Result<Retrieval> {
    evaluate(states.into(), concepts.into(), labels, Some(gradients))
}

fn evaluate(
    states: Matrix<'_>,
    concepts: Matrix<'_>,
    labels: &[i64],
    gradients: Option<Gradients<'_>>,
) -> Result<Retrieval> {
    finite("states", &states)?;
    finite("concepts", &concepts)?;
    if labels.iter().all(|&label| label == IGNORED) {
        let what = format!("all {} labels are {IGNORED}, expected one at least", labels.len());
        return Err(Error::Conflict { what });
    }
    let options = LinearCrossEntropy::builder().ignore_index(Some(IGNORED)).rank(true).build()?;
    let inputs = Inputs::new(states.shorter(), concepts.shorter(), labels);
    let forward = match gradients {
        Some(gradients) => {
            of_embeddings_alone(&gradients)?;
            options.loss_and_gradients(&inputs, &Upstream::default(), gradients)?
        }
        None => options.forward(&inputs)?,
    };
    Ok(Retrieval { loss: forward.loss(), mean_reciprocal_rank: reciprocal(&forward)? })
}

/// The mean of 1/(1 + rank) over the rows that have one.
fn reciprocal(forward: &Forward) -> Result<f64> {
    let ranks = forward.rank()?;
    let kept = ranks.iter().filter(|&&rank| rank >= 0);
    let sum: f64 = kept.map(|&rank| 1.0 / (1.0 + rank as f64)).sum();
    Ok(sum / forward.rows_kept() as f64)
}
