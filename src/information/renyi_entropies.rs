//! Rényi entropies of all rows of a call.

use ndarray::Array1;

use crate::error::{Error, Result, short};
use crate::loss::{Inputs, LinearCrossEntropy};

/// The Rényi entropies H_α = ln Σ p^α / (1 − α) of every row, in nats, of any order α from 0 to +∞; 0 at ignored rows.
///
/// H_0 is the logarithm of how many classes there are, H_1 the entropy, H_2 = −ln Σ p² the collision entropy (so
/// that Σ p² is `exp(-h)`), H_∞ = −ln max p. Two folds, one of the logits and one of α times them, by
/// [`RowState::renyi_entropy`](crate::RowState::renyi_entropy): no logit is stored. The options are those of the loss;
/// the temperature and the softcap count, the row loss and the reduction do not. Targets say which rows are ignored,
/// no more. α times a logit is rounded: an offset of 10⁸ leaves the entropies eight digits, unless α is a power of 2.
///
/// ```
/// use surprisal::information::renyi_entropies;
/// use surprisal::{Inputs, LinearCrossEntropy};
/// let logits = ndarray::arr2(&[[0.0_f64, 0.0, 3_f64.ln()], [1.0, 1.0, 1.0]]);
/// let loss = LinearCrossEntropy::builder().build()?;
/// let entropies = renyi_entropies(&loss, &Inputs::from_logits(&logits, &[0_u32, 0]), 2.0)?;
/// // Σ p² = (1 + 1 + 9) / 25.
/// assert!((entropies[0] + 0.44_f64.ln()).abs() < 1e-15);
/// assert!((entropies[1] - 3_f64.ln()).abs() < 1e-15);
/// # Ok::<(), surprisal::Error>(())
/// ```
///
/// # Errors
/// [`Error::Option`] for an α that is negative or NaN; [`Error::Conflict`] for a shard, of whose rows the other
/// classes are not known; as [`LinearCrossEntropy::forward`].
pub fn renyi_entropies(
    loss: &LinearCrossEntropy,
    inputs: &Inputs<'_>,
    alpha: f64,
) -> Result<Array1<f64>> {
    if alpha.is_nan() || alpha < 0.0 {
        let expected = "a number from 0 to +∞";
        return Err(Error::Option { name: "alpha", value: short(alpha), expected });
    }
    if inputs.shard.is_some() {
        let what = "Rényi entropies take the whole vocabulary, expected no shard".into();
        return Err(Error::Conflict { what });
    }
    let forward = loss.of_power(1.0).forward(inputs)?;
    // The escort of an order that large is not read, and a scale of 0 would make a NaN of −∞.
    let power = if alpha < 1e30 { alpha.max(1e-300) } else { 1.0 };
    let escort = loss.of_power(power).forward(inputs)?;
    let mut entropies = Array1::zeros(forward.len());
    let states = forward.states().iter().zip(escort.states());
    for (row, (state, escort)) in forward.rows.iter().zip(states) {
        entropies[row.output] = state.renyi_entropy(escort, alpha);
    }
    Ok(entropies)
}
