//! A number beside every logit.

use ndarray::ArrayView2;

use super::head::Head;
use crate::matrix::{Matrix, Vector};

/// A number c_v beside every logit of a row, of any sign, whose mean under p a loss may depend on.
///
/// ```
/// use surprisal::loss::{Companion, ExpectedCost};
/// use surprisal::{Inputs, LinearCrossEntropy};
/// let loss = LinearCrossEntropy::builder().row_loss(ExpectedCost).build()?;
/// let logits = ndarray::arr2(&[[0.0_f64, 0.0], [0.0, 0.0]]);
/// let of = |companion| {
///     let inputs = Inputs::from_logits(&logits, &[0_u32, 1]).companion(companion);
///     loss.forward(&inputs).map(|forward| forward.losses().to_vec())
/// };
/// let classes = ndarray::arr1(&[1.0_f32, 3.0]);
/// assert_eq!(of(Companion::classes(&classes))?, [2.0, 2.0]);
/// let entries = ndarray::arr2(&[[1.0_f32, 3.0], [0.0, -1.0]]);
/// assert_eq!(of(Companion::entries(&entries))?, [2.0, -0.5]);
/// let (listed, values) = (ndarray::arr2(&[[1_u32], [0]]), ndarray::arr2(&[[4.0_f32], [2.0]]));
/// assert_eq!(of(Companion::listed(&listed, &values))?, [2.0, 1.0]);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Companion<'a> {
    /// `[V]`, the same for all rows.
    Classes(Vector<'a>),
    /// `[N,V]`, a row beside each row of targets.
    Entries(Matrix<'a>),
    /// `[N,K]` classes of each row with their numbers; 0 beside all others.
    #[non_exhaustive]
    Listed {
        /// `[N,K]`; a class that stands twice counts twice.
        classes: ArrayView2<'a, u32>,
        /// `[N,K]`.
        values: Matrix<'a>,
    },
    /// The logits of a second head, made in the same tiles and never stored.
    Logits(Head<'a>),
}

impl<'a> Companion<'a> {
    /// The same `[V]` numbers for all rows.
    pub fn classes(values: impl Into<Vector<'a>>) -> Self {
        Self::Classes(values.into())
    }

    /// `[N,V]` numbers.
    pub fn entries(values: impl Into<Matrix<'a>>) -> Self {
        Self::Entries(values.into())
    }

    /// `[N,K]` classes with `[N,K]` numbers.
    pub fn listed(classes: impl Into<ArrayView2<'a, u32>>, values: impl Into<Matrix<'a>>) -> Self {
        Self::Listed { classes: classes.into(), values: values.into() }
    }

    /// The logits of a second head. A loss of their mean takes one sweep over both heads, one of a
    /// [`Divergence`](super::Divergence) two.
    pub fn logits(head: Head<'a>) -> Self {
        Self::Logits(head)
    }
}
