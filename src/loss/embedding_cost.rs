//! Costs of classes by their embeddings.

use ndarray::{Array1, Array2};

use super::companion::Companion;
use super::head::Head;
use crate::element::Real;
use crate::error::{Error, Result};
use crate::matrix::Matrix;

/// What it costs to take one class for another, by the angle of their embeddings; the N×V costs are never stored.
///
/// ```text
/// c_iv = 1 − cos(E_v, E_{y_i})      c_{i y_i} = 0
/// ```
///
/// of an embedding `[V,d]`, such as a pre-trained classifier. From 0 (the same direction) to 2. It is a second head
/// beside the first: [`Companion::logits`] of the unit rows of the targets and of all classes, so a sweep takes d/D
/// of a forward more.
///
/// Cases in `conformance/losses.jsonl`: `demd`, `emo`.
///
/// ```
/// use surprisal::loss::{EmbeddingCost, ExpectedCost};
/// use surprisal::{Inputs, LinearCrossEntropy};
/// let embedding = ndarray::arr2(&[[1.0_f64, 0.0], [0.0, 2.0], [-3.0, 0.0]]);
/// let targets = [0_u32];
/// let costs = EmbeddingCost::<f64>::new(&embedding)?;
/// let rows = costs.rows(&targets)?;
/// let logits = ndarray::arr2(&[[0.0_f64, 0.0, 0.0]]);
/// let inputs = Inputs::from_logits(&logits, &targets).companion(costs.companion(&rows));
/// let loss = LinearCrossEntropy::builder().row_loss(ExpectedCost).build()?;
/// assert!((loss.forward(&inputs)?.loss() - 1.0).abs() < 1e-15);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct EmbeddingCost<T> {
    /// −Ê, so that a product with a row of Ê is −cos.
    opposite: Array2<T>,
    ones: Array1<T>,
}

impl<T: Real> EmbeddingCost<T> {
    /// Of an embedding `[V,d]`, in this type.
    ///
    /// # Errors
    /// [`Error::Value`] for a row without a direction: of zeros alone, or with what is not finite.
    pub fn new<'a>(embedding: impl Into<Matrix<'a>>) -> Result<Self> {
        Self::new_here(embedding.into())
    }

    fn new_here(embedding: Matrix<'_>) -> Result<Self> {
        let (classes, width) = embedding.dim();
        let mut opposite = Array2::from_elem((classes, width), T::ZERO);
        for (v, mut to) in opposite.rows_mut().into_iter().enumerate() {
            let row: Vec<f64> = (0..width).map(|j| embedding.at(v, j)).collect();
            // By its largest number first: no square leaves f64.
            let largest = row.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
            let norm = row.iter().map(|x| (x / largest) * (x / largest)).sum::<f64>().sqrt();
            if !(largest > 0.0 && largest.is_finite() && norm.is_finite()) {
                return Err(Error::Value {
                    argument: "the embedding",
                    index: vec![v],
                    value: if largest == 0.0 { "a row of zeros" } else { "a row" }.into(),
                    expected: "finite numbers that are not all 0",
                });
            }
            for (to, x) in to.iter_mut().zip(row) {
                *to = T::from_f64(-(x / largest) / norm);
            }
        }
        Ok(Self { opposite, ones: Array1::from_elem(classes, T::ONE) })
    }

    /// The unit embedding of each target `[N,d]`; zeros for a target that is ignored, which is none of the classes.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for more numbers than there are addresses.
    pub fn rows<I: Copy + TryInto<usize>>(&self, targets: &[I]) -> Result<Array2<T>> {
        let (classes, width) = self.opposite.dim();
        if targets.len().checked_mul(width.max(1)).is_none() {
            return Err(Error::TooLarge { what: "the embeddings of the targets".into() });
        }
        let mut rows = Array2::from_elem((targets.len(), width), T::ZERO);
        for (mut to, &target) in rows.rows_mut().into_iter().zip(targets) {
            if let Some(class) = target.try_into().ok().filter(|&class: &usize| class < classes) {
                to.zip_mut_with(&self.opposite.row(class), |to, &from| *to = T::ZERO - from);
            }
        }
        Ok(rows)
    }

    /// The costs beside the logits of rows with these targets, of which [`rows`](Self::rows) has the embeddings.
    pub fn companion<'a>(&'a self, rows: &'a Array2<T>) -> Companion<'a> {
        let head = Head::new(T::matrix(rows.view()), T::matrix(self.opposite.view()));
        Companion::logits(head.bias(T::vector(self.ones.view())).zero_at_target())
    }
}
