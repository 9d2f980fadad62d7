//! Where gradients go, and what comes in from above.

use ndarray::{ArrayViewMut2, Axis, s};
use std::ops::Range;

use super::problem::{Problem, Row};
use crate::element::{Element, Real};
use crate::error::{Error, Result};
use crate::matrix::{MatrixMut, Vector, VectorMut, each};

/// The derivative of whatever is minimised by what the loss returns.
///
/// ```
/// use surprisal::Upstream;
/// let per_row = ndarray::arr1(&[0.5_f32, -2.0]);
/// let upstream = Upstream::rows(per_row.view()).entropy(per_row.view());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Upstream<'a> {
    loss: Loss<'a>,
    log_sum_exp: Option<Vector<'a>>,
    entropy: Option<Vector<'a>>,
}

#[derive(Clone, Copy, Debug)]
enum Loss<'a> {
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
}

impl RowUpstream {
    /// Whether nothing comes in of the loss.
    pub(crate) fn has_no_loss(&self) -> bool {
        self.loss.contains(&0.0) && self.loss.iter().all(|x| x.is_finite())
    }

    /// Whether nothing comes in.
    pub(crate) fn is_zero(&self) -> bool {
        self.has_no_loss() && self.log_sum_exp == 0.0 && self.entropy == 0.0
    }
}

impl<'a> Upstream<'a> {
    /// The same number for the loss, however it is reduced.
    ///
    /// ```
    /// # use ndarray::{Array2, arr1, arr2};
    /// # use surprisal::{Gradients, Inputs, LinearCrossEntropy, Reduction, Upstream};
    /// # let logits = arr2(&[[1.0_f64, 2.0], [0.5, 0.0]]);
    /// # let loss = LinearCrossEntropy::builder().reduction(Reduction::None).entropy(true).build()?;
    /// # let inputs = Inputs::from_logits(logits.view(), &[0_u32, 1]);
    /// # let each = arr1(&[1.0, 0.0]);
    /// # let mut gradient = Array2::<f64>::zeros((2, 2));
    /// let upstream = Upstream::scalar(2.0);
    /// let gradients = Gradients::new().logits(gradient.view_mut());
    /// loss.loss_and_gradients(&inputs, &upstream, gradients)?;
    /// assert!(gradient.iter().all(|g| *g != 0.0));
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn scalar(loss: f64) -> Self {
        Self { loss: Loss::Scalar(loss), log_sum_exp: None, entropy: None }
    }

    /// A number for each row's loss; goes with [`Reduction::None`](crate::Reduction::None). What
    /// stands at ignored rows is not read.
    ///
    /// ```
    /// # use ndarray::{Array2, arr1, arr2};
    /// # use surprisal::{Gradients, Inputs, LinearCrossEntropy, Reduction, Upstream};
    /// # let logits = arr2(&[[1.0_f64, 2.0], [0.5, 0.0]]);
    /// # let loss = LinearCrossEntropy::builder().reduction(Reduction::None).entropy(true).build()?;
    /// # let inputs = Inputs::from_logits(logits.view(), &[0_u32, 1]);
    /// # let each = arr1(&[1.0, 0.0]);
    /// # let mut gradient = Array2::<f64>::zeros((2, 2));
    /// let upstream = Upstream::rows(each.view());
    /// let gradients = Gradients::new().logits(gradient.view_mut());
    /// loss.loss_and_gradients(&inputs, &upstream, gradients)?;
    /// assert!(gradient[[0, 0]] < 0.0 && gradient[[1, 0]] == 0.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn rows(loss: impl Into<Vector<'a>>) -> Self {
        Self { loss: Loss::Rows(loss.into()), log_sum_exp: None, entropy: None }
    }

    /// A number for each row's log-sum-exp.
    ///
    /// ```
    /// # use ndarray::{Array2, arr1, arr2};
    /// # use surprisal::{Gradients, Inputs, LinearCrossEntropy, Reduction, Upstream};
    /// # let logits = arr2(&[[1.0_f64, 2.0], [0.5, 0.0]]);
    /// # let loss = LinearCrossEntropy::builder().reduction(Reduction::None).entropy(true).build()?;
    /// # let inputs = Inputs::from_logits(logits.view(), &[0_u32, 1]);
    /// # let each = arr1(&[1.0, 0.0]);
    /// # let mut gradient = Array2::<f64>::zeros((2, 2));
    /// let upstream = Upstream::scalar(0.0).log_sum_exp(each.view());
    /// let gradients = Gradients::new().logits(gradient.view_mut());
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
    /// # use ndarray::{Array2, arr1, arr2};
    /// # use surprisal::{Gradients, Inputs, LinearCrossEntropy, Reduction, Upstream};
    /// # let logits = arr2(&[[1.0_f64, 2.0], [0.5, 0.0]]);
    /// # let loss = LinearCrossEntropy::builder().reduction(Reduction::None).entropy(true).build()?;
    /// # let inputs = Inputs::from_logits(logits.view(), &[0_u32, 1]);
    /// # let each = arr1(&[1.0, 0.0]);
    /// # let mut gradient = Array2::<f64>::zeros((2, 2));
    /// let upstream = Upstream::scalar(0.0).entropy(each.view());
    /// let gradients = Gradients::new().logits(gradient.view_mut());
    /// loss.loss_and_gradients(&inputs, &upstream, gradients)?;
    /// assert!(gradient[[0, 0]] > 0.0 && gradient[[0, 1]] < 0.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn entropy(mut self, upstream: impl Into<Vector<'a>>) -> Self {
        self.entropy = Some(upstream.into());
        self
    }

    pub(crate) fn has_entropy(&self) -> bool {
        self.entropy.is_some()
    }

    pub(crate) fn check<R: Real>(&self, problem: &Problem<'_, R>) -> Result<()> {
        let length = |name, vector: Option<&Vector<'_>>| match vector {
            Some(vector) if vector.len() != problem.outputs => Err(Error::Shape {
                argument: name,
                found: vec![vector.len()],
                expected: format!("[{}], the number of losses", problem.outputs),
            }),
            _ => Ok(()),
        };
        if let Loss::Rows(rows) = &self.loss {
            if problem.loss.reduction != super::Reduction::None {
                return Err(Error::Conflict {
                    what: "an upstream gradient for each row goes with the reduction none".into(),
                });
            }
            length("the upstream gradient of the loss", Some(rows))?;
        }
        length("the upstream gradient of the log-sum-exp", self.log_sum_exp.as_ref())?;
        length("the upstream gradient of the entropy", self.entropy.as_ref())?;
        let statistics = &problem.loss.statistics;
        if self.has_entropy() && !(statistics.entropy || statistics.varentropy) {
            return Err(Error::Conflict {
                what:
                    "the entropy was not asked for when the loss was built, so it has no gradient"
                        .into(),
            });
        }
        Ok(())
    }

    pub(crate) fn of(&self, row: &Row) -> RowUpstream {
        let at = |vector: Option<Vector<'_>>| vector.map_or(0.0, |v| v.at(row.output));
        let loss = match self.loss {
            Loss::Scalar(scalar) => scalar,
            Loss::Rows(rows) => rows.at(row.output),
        };
        RowUpstream {
            loss: [loss, row.token_weight],
            log_sum_exp: at(self.log_sum_exp),
            entropy: at(self.entropy),
        }
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
///     Gradients::new().hidden(hidden.view_mut()).accumulate_classifier(classifier.view_mut());
/// ```
#[derive(Debug, Default)]
#[must_use]
pub struct Gradients<'a> {
    pub(crate) hidden: Option<Sink<MatrixMut<'a>>>,
    pub(crate) classifier: Option<Sink<MatrixMut<'a>>>,
    pub(crate) bias: Option<Sink<VectorMut<'a>>>,
    pub(crate) logits: Option<Sink<MatrixMut<'a>>>,
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
    }
}

/// How a new value joins what stands in an array.
pub(crate) fn put<T: Element>(to: &mut T, value: f64, accumulate: bool) {
    *to = T::from_f64(if accumulate { to.to_f64() + value } else { value });
}

/// Sets everything to 0.
pub(crate) fn clear(matrix: &mut MatrixMut<'_>) {
    each!(matrix, MatrixMut, view => view.fill(Element::from_f64(0.0)))
}

/// Sets everything to 0.
pub(crate) fn clear_vector(vector: &mut VectorMut<'_>) {
    each!(vector, VectorMut, view => view.fill(Element::from_f64(0.0)))
}

/// Puts rows that were computed into rows of the caller's.
pub(crate) fn put_row<R: Real>(
    matrix: &mut MatrixMut<'_>,
    row: usize,
    columns: Range<usize>,
    values: &[R],
    accumulate: bool,
) {
    each!(matrix, MatrixMut, view => {
        for (to, value) in view.slice_mut(s![row, columns]).iter_mut().zip(values) {
            put(to, value.to_f64(), accumulate);
        }
    })
}

/// Puts numbers that were computed into a range of the caller's.
pub(crate) fn put_vector(
    vector: &mut VectorMut<'_>,
    first: usize,
    values: &[f64],
    accumulate: bool,
) {
    each!(vector, VectorMut, view => {
        for (to, &value) in view.slice_mut(s![first..first + values.len()]).iter_mut().zip(values) {
            put(to, value, accumulate);
        }
    })
}

/// Pieces of so many rows (or columns), and what is left over.
pub(crate) fn split<'a, R>(
    matrix: ArrayViewMut2<'a, R>,
    axis: Axis,
    size: usize,
) -> Vec<ArrayViewMut2<'a, R>> {
    let mut pieces = Vec::with_capacity(matrix.len_of(axis).div_ceil(size));
    let mut rest = matrix;
    while rest.len_of(axis) > size {
        let (piece, tail) = rest.split_at(axis, size);
        pieces.push(piece);
        rest = tail;
    }
    if rest.len_of(axis) > 0 {
        pieces.push(rest);
    }
    pieces
}
