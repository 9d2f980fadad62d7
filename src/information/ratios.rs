//! Scores of a text against what something else makes of it.

use crate::error::{Error, Result, short};
use crate::matrix::Vector;

/// The mean over tokens of ln p − ln p_ref `[n]`, in nats: how much likelier the text is than to a reference model
/// that has not seen it.
///
/// NaN where both are −∞ at one token. Carlini et al. 2021, *Extracting Training Data from Large Language Models*,
/// which compares the perplexities of two models.
///
/// ```
/// use ndarray::arr1;
/// use surprisal::information::reference_ratio;
/// let (own, reference) = (arr1(&[-1.0, -2.0]), arr1(&[-2.0, -2.5]));
/// assert_eq!(reference_ratio(&own, &reference)?, 0.75);
/// # Ok::<(), surprisal::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] for a text without tokens, or as many of one as not of the other.
pub fn reference_ratio<'a, 'b>(
    log_probabilities: impl Into<Vector<'a>>,
    reference: impl Into<Vector<'b>>,
) -> Result<f64> {
    reference_ratio_here(log_probabilities.into(), reference.into())
}

fn reference_ratio_here(log_probabilities: Vector<'_>, reference: Vector<'_>) -> Result<f64> {
    let own = some(log_probabilities)?;
    let reference: Vec<f64> = reference.to_vec();
    if reference.len() != own.len() {
        return Err(Error::Shape {
            argument: "reference",
            found: vec![reference.len()],
            expected: format!("[{}], one for each token", own.len()),
        });
    }
    let sum: f64 = own.iter().zip(&reference).map(|(own, reference)| own - reference).sum();
    Ok(sum / own.len() as f64)
}

/// The mean ln p `[n]` of a text's tokens over the bytes that it takes compressed (zlib's, as published): a text
/// that is unlikely although it compresses well scores low.
///
/// The compressor is the caller's. Carlini et al. 2021, *Extracting Training Data from Large Language Models*, where it
/// is the negative, ln perplexity over bytes.
///
/// ```
/// use ndarray::arr1;
/// use surprisal::information::compression_ratio;
/// assert_eq!(compression_ratio(&arr1(&[-1.0, -2.0]), 6)?, -0.25);
/// # Ok::<(), surprisal::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] for a text without tokens, [`Error::Option`] for no bytes.
pub fn compression_ratio<'a>(
    log_probabilities: impl Into<Vector<'a>>,
    compressed_bytes: u64,
) -> Result<f64> {
    let own = some(log_probabilities.into())?;
    if compressed_bytes == 0 {
        let (name, expected) = ("compressed_bytes", "at least 1");
        return Err(Error::Option { name, value: short(0), expected });
    }
    Ok(own.iter().sum::<f64>() / own.len() as f64 / compressed_bytes as f64)
}

fn some(log_probabilities: Vector<'_>) -> Result<Vec<f64>> {
    match log_probabilities.is_empty() {
        false => Ok(log_probabilities.to_vec()),
        true => Err(Error::Shape {
            argument: "log_probabilities",
            found: vec![0],
            expected: "at least one token".into(),
        }),
    }
}
