//! Where gradients go, and what comes in from above.

use super::inputs::Inputs;
use super::source::Source;
use crate::error::{Error, Result};
use crate::matrix::{Matrix, MatrixMut, Vector, VectorMut};

/// What the examples of this file begin with.
macro_rules! example {
    () => {
        "# use ndarray::{Array2, arr1, arr2};
# use surprisal::{Gradients, Inputs, LinearCrossEntropy, Reduction, Upstream};
# let logits = arr2(&[[1.0_f64, 2.0], [0.5, 0.0]]);
# let loss = LinearCrossEntropy::builder().reduction(Reduction::None).entropy(true).build()?;
# let inputs = Inputs::from_logits(&logits, &[0_u32, 1]);
# let each = arr1(&[1.0, 0.0]);
# let mut gradient = Array2::<f64>::zeros((2, 2));"
    };
}

/// The derivative of whatever is minimised by what the loss returns.
///
/// ```
/// use surprisal::Upstream;
/// let per_row = ndarray::arr1(&[0.5_f32, -2.0]);
/// let upstream = Upstream::rows(&per_row).entropy(&per_row);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Upstream<'a> {
    pub(crate) loss: Loss<'a>,
    pub(crate) log_sum_exp: Option<Vector<'a>>,
    pub(crate) entropy: Option<Vector<'a>>,
    pub(crate) candidates: Option<Matrix<'a>>,
    pub(crate) log_others: Option<Vector<'a>>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Loss<'a> {
    Scalar(f64),
    Rows(Vector<'a>),
}

impl Default for Upstream<'_> {
    /// One for the loss, nothing for the rest.
    fn default() -> Self {
        Self::scalar(1.0)
    }
}

/// What one row gets from above.
#[derive(Clone, Copy)]
pub(crate) struct RowUpstream {
    /// Of the loss, and the token weight: their product may be beyond f64 where what comes of it is
    /// not.
    pub(crate) loss: [f64; 2],
    pub(crate) log_sum_exp: f64,
    pub(crate) entropy: f64,
    /// Whether something comes in for candidates.
    pub(crate) candidates: bool,
}

impl RowUpstream {
    /// Whether nothing comes in of the loss.
    pub(crate) fn has_no_loss(&self) -> bool {
        self.loss.contains(&0.0) && self.loss.iter().all(|x| x.is_finite())
    }

    /// Whether nothing comes in.
    pub(crate) fn is_zero(&self) -> bool {
        self.has_no_loss() && self.log_sum_exp == 0.0 && self.entropy == 0.0 && !self.candidates
    }
}

impl<'a> Upstream<'a> {
    /// The same number for the loss, however it is reduced.
    ///
    /// ```
    #[doc = example!()]
    /// let upstream = Upstream::scalar(2.0);
    /// let gradients = Gradients::new().logits(&mut gradient);
    /// loss.loss_and_gradients(&inputs, &upstream, gradients)?;
    /// assert!(gradient.iter().all(|g| *g != 0.0));
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn scalar(loss: f64) -> Self {
        Self::of_loss(Loss::Scalar(loss))
    }

    /// A number for each row's loss; goes with [`Reduction::None`](crate::Reduction::None). What
    /// stands at ignored rows is not read.
    ///
    /// ```
    #[doc = example!()]
    /// let upstream = Upstream::rows(&each);
    /// let gradients = Gradients::new().logits(&mut gradient);
    /// loss.loss_and_gradients(&inputs, &upstream, gradients)?;
    /// assert!(gradient[[0, 0]] < 0.0 && gradient[[1, 0]] == 0.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn rows(loss: impl Into<Vector<'a>>) -> Self {
        Self::of_loss(Loss::Rows(loss.into()))
    }

    fn of_loss(loss: Loss<'a>) -> Self {
        Self { loss, log_sum_exp: None, entropy: None, candidates: None, log_others: None }
    }

    /// A number for each row's log-sum-exp.
    ///
    /// ```
    #[doc = example!()]
    /// let upstream = Upstream::scalar(0.0).log_sum_exp(&each);
    /// let gradients = Gradients::new().logits(&mut gradient);
    /// loss.loss_and_gradients(&inputs, &upstream, gradients)?;
    /// assert!((gradient.row(0).sum() - 1.0).abs() < 1e-15);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn log_sum_exp(mut self, upstream: impl Into<Vector<'a>>) -> Self {
        self.log_sum_exp = Some(upstream.into());
        self
    }

    /// A number for each row's entropy.
    ///
    /// ```
    #[doc = example!()]
    /// let upstream = Upstream::scalar(0.0).entropy(&each);
    /// let gradients = Gradients::new().logits(&mut gradient);
    /// loss.loss_and_gradients(&inputs, &upstream, gradients)?;
    /// assert!(gradient[[0, 0]] > 0.0 && gradient[[0, 1]] < 0.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn entropy(mut self, upstream: impl Into<Vector<'a>>) -> Self {
        self.entropy = Some(upstream.into());
        self
    }

    /// `[N,K]` numbers of any sign for the log-probabilities of the [`Candidates`](super::Candidates). No
    /// reduction divides them.
    pub fn candidates(mut self, upstream: impl Into<Matrix<'a>>) -> Self {
        self.candidates = Some(upstream.into());
        self
    }

    /// A number for each row's logarithm of what its candidates leave to the others.
    ///
    /// ```
    /// use ndarray::{Array2, arr1, arr2};
    /// use surprisal::loss::Candidates;
    /// use surprisal::{Gradients, Inputs, LinearCrossEntropy, Upstream};
    /// let logits = arr2(&[[0.0_f64, 0.0, 0.0, 0.0]]);
    /// let classes = arr2(&[[1_u32]]);
    /// let inputs = Inputs::unlabelled_logits(&logits);
    /// let inputs = inputs.candidates(Candidates::new(&classes).with_others());
    /// let loss = LinearCrossEntropy::builder().build()?;
    /// let forward = loss.forward(&inputs)?;
    /// let (one, mut gradient) = (arr1(&[1.0]), Array2::<f64>::zeros((1, 4)));
    /// let upstream = Upstream::scalar(0.0).log_others(&one);
    /// loss.vjp(&inputs, &forward, &upstream, Gradients::new().logits(&mut gradient))?;
    /// assert!((gradient[[0, 0]] - 1.0 / 12.0).abs() < 1e-15 && gradient[[0, 1]] == -0.25);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn log_others(mut self, upstream: impl Into<Vector<'a>>) -> Self {
        self.log_others = Some(upstream.into());
        self
    }

    pub(crate) fn has_entropy(&self) -> bool {
        self.entropy.is_some()
    }
}

/// An array with what is to be done to it.
#[derive(Debug)]
pub(crate) struct Sink<M> {
    pub(crate) array: M,
    pub(crate) accumulate: bool,
}

/// The caller's arrays that gradients are written to: any subset, of any type and strides, each
/// assigned or added to. Rows that take no part are assigned 0, or left as they are.
///
/// Gradients are computed in what the loss is computed in and rounded once to the array's type.
///
/// ```
/// use ndarray::Array2;
/// use surprisal::Gradients;
/// let (mut hidden, mut classifier) = (Array2::<f32>::zeros((4, 2)), Array2::<f32>::zeros((9, 2)));
/// let gradients =
///     Gradients::new().hidden(&mut hidden).accumulate_classifier(&mut classifier);
/// ```
#[derive(Debug, Default)]
#[must_use]
pub struct Gradients<'a> {
    pub(crate) hidden: Option<Sink<MatrixMut<'a>>>,
    pub(crate) classifier: Option<Sink<MatrixMut<'a>>>,
    pub(crate) bias: Option<Sink<VectorMut<'a>>>,
    pub(crate) logits: Option<Sink<MatrixMut<'a>>>,
    pub(crate) temperature: Option<Sink<VectorMut<'a>>>,
}

macro_rules! sinks {
    ($($(#[$doc:meta])* $name:ident, $(#[$accumulate_doc:meta])* $accumulate_name:ident: $type:ident;)*) => {
        $($(#[$doc])*
        pub fn $name(mut self, array: impl Into<$type<'a>>) -> Self {
            self.$name = Some(Sink { array: array.into(), accumulate: false });
            self
        }

        $(#[$accumulate_doc])*
        pub fn $accumulate_name(mut self, array: impl Into<$type<'a>>) -> Self {
            self.$name = Some(Sink { array: array.into(), accumulate: true });
            self
        })*
    };
}

impl<'a> Gradients<'a> {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    sinks! {
        /// dE `[N,D]` is assigned, for all rows of the hidden states.
        hidden,
        /// dE `[N,D]` is added.
        accumulate_hidden: MatrixMut;
        /// dC `[V,D]` is assigned.
        classifier,
        /// dC `[V,D]` is added.
        accumulate_classifier: MatrixMut;
        /// db `[V]` is assigned.
        bias,
        /// db `[V]` is added.
        accumulate_bias: VectorMut;
        /// The derivative of given logits `[N,V]` is assigned.
        logits,
        /// The derivative of given logits `[N,V]` is added.
        accumulate_logits: MatrixMut;
        /// dL/dT_i `[N]` of each loss is assigned; without a temperature of each row their sum is the
        /// derivative of the temperature of all. It needs the [entropy](crate::LinearCrossEntropyBuilder::entropy)
        /// of the fold, and where the loss depends on the entropy its
        /// [varentropy](crate::LinearCrossEntropyBuilder::varentropy); not with a softcap or a companion, and not
        /// for a loss that depends on the temperature itself ([`Needs::temperature`](super::Needs::temperature)).
        /// Of a shard it is that of the whole.
        ///
        /// ```text
        /// dL/dT_i = −(1/T_i) Σ_v (dL/da_v) a_v
        /// ```
        temperature,
        /// dL/dT_i `[N]` is added.
        accumulate_temperature: VectorMut;
    }
}

impl Gradients<'_> {
    /// Whether each gradient fits what it is of.
    pub(crate) fn check(&self, inputs: &Inputs<'_>) -> Result<()> {
        let shape = |argument, found: Vec<usize>, expected: Vec<usize>, like: &str| match found
            == expected
        {
            true => Ok(()),
            false => Err(Error::Shape {
                argument,
                found,
                expected: format!("{expected:?}, as {like} has"),
            }),
        };
        let pair = |(a, b): (usize, usize)| vec![a, b];
        match &inputs.source {
            Source::Product { hidden, classifier } => {
                if self.logits.is_some() {
                    return Err(Error::Conflict {
                        what:
                            "a gradient of logits that are not given, expected hidden, classifier \
                               or bias"
                                .into(),
                    });
                }
                if let Some(Sink { array, .. }) = &self.hidden {
                    shape("the hidden gradient", pair(array.dim()), pair(hidden.dim()), "hidden")?;
                }
                if let Some(Sink { array, .. }) = &self.classifier {
                    let expected = pair(classifier.dim());
                    shape("the classifier gradient", pair(array.dim()), expected, "classifier")?;
                }
                if let Some(Sink { array, .. }) = &self.bias {
                    let expected = vec![classifier.dim().0];
                    shape("the bias gradient", vec![array.len()], expected, "the bias")?;
                }
                Ok(())
            }
            Source::Given(logits) => {
                if self.hidden.is_some() || self.classifier.is_some() {
                    return Err(Error::Conflict {
                        what: "given logits have no hidden states and no classifier, expected a \
                               gradient of the logits or the bias"
                            .into(),
                    });
                }
                if let Some(Sink { array, .. }) = &self.logits {
                    shape("the logits gradient", pair(array.dim()), pair(logits.dim()), "logits")?;
                }
                if let Some(Sink { array, .. }) = &self.bias {
                    let expected = vec![logits.dim().1];
                    shape("the bias gradient", vec![array.len()], expected, "the bias")?;
                }
                Ok(())
            }
        }
    }
}
