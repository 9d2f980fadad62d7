//! What encoders of pairs of sentences teach each other.

use ndarray::Array1;

use crate::error::{Error, Result};
use crate::matrix::Vector;
use crate::numerics::sigmoid;

/// The mean over models of their cosines of each pair, which a cross-encoder learns with
/// [`BinaryCrossEntropy`](super::BinaryCrossEntropy) of its logit.
///
/// It is one half of Trans-Encoder, in which bi-encoders (a vector for each sentence) and cross-encoders (a logit for a
/// pair) teach each other in turn, without labels of anyone else; [`labels_of_logits`] is the other. With one model it is
/// self-distillation, with several mutual distillation. The cosines are taken as they are, as the official code does:
/// below 0 they are no probabilities, and the binary cross-entropy has no minimum and may be negative.
///
/// Liu, Jiao, Massiah, Yilmaz and Havrylov 2022, *Trans-Encoder: Unsupervised sentence-pair modelling through self- and
/// mutual-distillations*. Its pair in `conformance/losses.jsonl`: `trans_encoder_bce`, `trans_encoder_cosine_mse`.
///
/// ```
/// use ndarray::{Axis, arr1, arr2};
/// use surprisal::binary::{BinaryCrossEntropy, labels_of_cosines};
/// let (first, second) = (arr1(&[0.75_f64, -0.5]), arr1(&[0.25, 0.0]));
/// let labels = labels_of_cosines(&[(&first).into(), (&second).into()])?;
/// assert_eq!(labels, arr1(&[0.5, -0.25]));
/// // A column of pairs.
/// let labels = labels.insert_axis(Axis(1));
/// let losses = BinaryCrossEntropy::new().evaluate(&arr2(&[[0.0_f64], [0.0]]), &labels)?;
/// assert!((losses.mean() - std::f64::consts::LN_2).abs() < 1e-15);
/// # Ok::<(), surprisal::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] for no model, and for models with other numbers of pairs; [`Error::Value`] for a cosine that is not
/// finite.
pub fn labels_of_cosines(models: &[Vector<'_>]) -> Result<Array1<f64>> {
    mean("the cosines", models, |x| x)
}

/// The mean over models of σ of their logits of each pair, which a bi-encoder learns with
/// [`SquaredError`](super::SquaredError) of its cosine: the other half of Trans-Encoder ([`labels_of_cosines`]).
///
/// ```
/// use surprisal::binary::labels_of_logits;
/// let logits = ndarray::arr1(&[0.0_f64, 800.0]);
/// assert_eq!(labels_of_logits(&[(&logits).into()])?, ndarray::arr1(&[0.5, 1.0]));
/// # Ok::<(), surprisal::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] for no model, and for models with other numbers of pairs; [`Error::Value`] for a logit that is not
/// finite.
pub fn labels_of_logits(models: &[Vector<'_>]) -> Result<Array1<f64>> {
    mean("the logits", models, sigmoid)
}

fn mean(
    argument: &'static str,
    models: &[Vector<'_>],
    of: impl Fn(f64) -> f64,
) -> Result<Array1<f64>> {
    let pairs = models.first().map_or(0, Vector::len);
    if pairs == 0 || models.iter().any(|model| model.len() != pairs) {
        return Err(Error::Shape {
            argument,
            found: models.iter().map(Vector::len).collect(),
            expected: "one model at least, all with as many pairs".into(),
        });
    }
    let mut labels = Array1::zeros(pairs);
    for (m, model) in models.iter().enumerate() {
        for (i, to) in labels.iter_mut().enumerate() {
            let x = model.at(i);
            if !x.is_finite() {
                return Err(Error::not_finite(argument, &[m, i], x));
            }
            *to += of(x) / models.len() as f64;
        }
    }
    Ok(labels)
}
