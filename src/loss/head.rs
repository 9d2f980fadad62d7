//! A second head beside the one that is trained.

use super::source::Source;
use crate::matrix::{Matrix, Vector};

/// A second head of the same vocabulary: hidden states and a classifier of a width of their own, or logits. It
/// is a teacher, a reference policy, or whatever else has a number for each class of each row; it gets no
/// gradient.
///
/// ```text
/// t = E′·C′ᵀ + b′      u = s′ t / T      logits: u, or c′·tanh(u/c′)
/// ```
///
/// with its own scale s′ and softcap c′, and the temperature T of the call or of the row. Rows are taken as
/// those of the first head are: row i of one belongs to row i of the other.
///
/// ```
/// use ndarray::arr2;
/// use surprisal::loss::{Companion, Head, KullbackLeibler};
/// use surprisal::{Inputs, LinearCrossEntropy};
/// let (hidden, classifier) = (arr2(&[[1.0_f64, 0.5]]), arr2(&[[1.0_f64, 0.0], [0.0, 2.0]]));
/// let (wide, teacher) = (arr2(&[[1.0_f64, 1.0, 0.0]]), arr2(&[[1.0_f64, 0.0, 3.0], [0.0, 1.0, -2.0]]));
/// let inputs = Inputs::new(&hidden, &classifier, &[0_u32])
///     .companion(Companion::logits(Head::new(&wide, &teacher)));
/// let loss = LinearCrossEntropy::builder().row_loss(KullbackLeibler::forward()).build()?;
/// assert_eq!(loss.forward(&inputs)?.loss(), 0.0);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Head<'a> {
    pub(crate) source: Source<'a>,
    pub(crate) bias: Option<Vector<'a>>,
    pub(crate) scale: f64,
    pub(crate) softcap: Option<f64>,
    /// Whether the number of the target is 0, whatever it would be.
    pub(crate) zero_at_target: bool,
}

impl<'a> Head<'a> {
    /// Hidden states `[N,D′]` and a classifier `[V,D′]`.
    pub fn new(hidden: impl Into<Matrix<'a>>, classifier: impl Into<Matrix<'a>>) -> Self {
        Self::with_source(Source::Product { hidden: hidden.into(), classifier: classifier.into() })
    }

    /// Logits `[N,V]` that are there already.
    pub fn from_logits(logits: impl Into<Matrix<'a>>) -> Self {
        Self::with_source(Source::Given(logits.into()))
    }

    fn with_source(source: Source<'a>) -> Self {
        Self { source, bias: None, scale: 1.0, softcap: None, zero_at_target: false }
    }

    /// With 0 in the place of the target's number: that of a cost which a class has of itself.
    pub(crate) fn zero_at_target(mut self) -> Self {
        self.zero_at_target = true;
        self
    }

    /// b′, a number for each class.
    pub fn bias(mut self, bias: impl Into<Vector<'a>>) -> Self {
        self.bias = Some(bias.into());
        self
    }

    /// s′, a finite factor after the bias; 1 by default.
    pub fn scale(mut self, scale: f64) -> Self {
        self.scale = scale;
        self
    }

    /// c′, finite and above 0; none by default.
    pub fn softcap(mut self, softcap: f64) -> Self {
        self.softcap = Some(softcap);
        self
    }
}
