//! What a policy loss is given beside the policy's own log-probabilities.

use ndarray::{Array2, ArrayBase, Data, Ix1, Ix2};

use super::mask::Mask;
use super::sequences::check_shape;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::matrix::{Matrix, Vector};

/// Sequences that a policy has drawn, with their advantages: all that is constant in a policy loss.
///
/// ```
/// use surprisal::preference::{PolicyLoss, Rollout};
/// let mask = ndarray::arr2(&[[true, true], [true, false]]);
/// let old = ndarray::arr2(&[[-1.0_f32, -0.5], [-2.0, f32::NAN]]);
/// let advantages = ndarray::arr1(&[1.0, -1.0]);
/// let rollout = Rollout::new(&mask, &advantages).old(&old);
/// // At first the policy is that which drew.
/// let losses = PolicyLoss::ppo().evaluate(&old, &rollout)?;
/// assert!((losses.value + 1.0 / 3.0).abs() < 1e-15);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Rollout<'a> {
    mask: Mask<'a>,
    advantages: Advantages<'a>,
    old: Option<Matrix<'a>>,
    reference: Option<Matrix<'a>>,
    token_weights: Option<Matrix<'a>>,
}

/// Advantages of sequences `[B]` or of tokens `[B,T]`.
///
/// ```
/// use surprisal::preference::Advantages;
/// let (of_sequences, of_tokens) = (ndarray::arr1(&[1.0, -1.0]), ndarray::arr2(&[[0.5], [2.0]]));
/// assert!(matches!(Advantages::from(&of_sequences), Advantages::Sequences(_)));
/// assert!(matches!(Advantages::from(&of_tokens), Advantages::Tokens(_)));
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Advantages<'a> {
    /// One for each sequence.
    Sequences(Vector<'a>),
    /// One for each token.
    Tokens(Matrix<'a>),
}

impl<'a, T: Element, S: Data<Elem = T>> From<&'a ArrayBase<S, Ix1>> for Advantages<'a> {
    fn from(array: &'a ArrayBase<S, Ix1>) -> Self {
        Self::Sequences(T::vector(array.view()))
    }
}

impl<'a, T: Element, S: Data<Elem = T>> From<&'a ArrayBase<S, Ix2>> for Advantages<'a> {
    fn from(array: &'a ArrayBase<S, Ix2>) -> Self {
        Self::Tokens(T::matrix(array.view()))
    }
}

impl<'a> From<Vector<'a>> for Advantages<'a> {
    fn from(vector: Vector<'a>) -> Self {
        Self::Sequences(vector)
    }
}

impl<'a> From<Matrix<'a>> for Advantages<'a> {
    fn from(matrix: Matrix<'a>) -> Self {
        Self::Tokens(matrix)
    }
}

impl<'a> Rollout<'a> {
    /// Of the tokens that count `[B,T]` and the advantages, `[B]` or `[B,T]`.
    pub fn new(mask: impl Into<Mask<'a>>, advantages: impl Into<Advantages<'a>>) -> Self {
        let (mask, advantages) = (mask.into(), advantages.into());
        Self { mask, advantages, old: None, reference: None, token_weights: None }
    }

    /// With the log-probabilities `[B,T]` of the policy that drew. Without, it is the policy itself: all ratios
    /// are 1.
    #[must_use]
    pub fn old(mut self, log_probabilities: impl Into<Matrix<'a>>) -> Self {
        self.old = Some(log_probabilities.into());
        self
    }

    /// With the log-probabilities `[B,T]` of a reference policy, for a penalty
    /// ([`PolicyLoss::divergence`](super::PolicyLoss::divergence)).
    #[must_use]
    pub fn reference(mut self, log_probabilities: impl Into<Matrix<'a>>) -> Self {
        self.reference = Some(log_probabilities.into());
        self
    }

    /// With factors `[B,T]` on the tokens' losses, penalty and bonus apart: those of
    /// [`SteerWeights`](super::SteerWeights), truncated importance weights of another sampler, 0 for the tokens of
    /// [`ClipCovariance`](super::ClipCovariance). A factor of 0 adds 0, whatever the loss is.
    #[must_use]
    pub fn token_weights(mut self, weights: impl Into<Matrix<'a>>) -> Self {
        self.token_weights = Some(weights.into());
        self
    }

    /// The same for a shorter time: views of an `ndarray` do not shrink by themselves.
    pub(crate) fn shorter(&self) -> Rollout<'_> {
        Rollout {
            mask: self.mask.shorter(),
            advantages: match &self.advantages {
                Advantages::Sequences(vector) => Advantages::Sequences(vector.shorter()),
                Advantages::Tokens(matrix) => Advantages::Tokens(matrix.shorter()),
            },
            old: self.old.as_ref().map(Matrix::shorter),
            reference: self.reference.as_ref().map(Matrix::shorter),
            token_weights: self.token_weights.as_ref().map(Matrix::shorter),
        }
    }

    /// # Errors
    /// [`Error::Shape`] for arrays of several shapes; [`Error::Value`] for a mask that is neither 0 nor 1.
    pub(super) fn checked(&self, log_probabilities: Matrix<'a>) -> Result<Tokens<'a>> {
        let dim = log_probabilities.dim();
        if dim.0 == 0 || dim.1 == 0 {
            return Err(Error::empty_matrix("log_probs", &[dim.0, dim.1]));
        }
        let kept = self.mask.flags("mask", dim)?;
        for (name, matrix) in [
            ("old_log_probs", &self.old),
            ("reference_log_probs", &self.reference),
            ("token_weights", &self.token_weights),
        ] {
            if let Some(matrix) = matrix {
                check_shape(name, matrix, dim)?;
            }
        }
        match &self.advantages {
            Advantages::Tokens(matrix) => check_shape("advantages", matrix, dim)?,
            Advantages::Sequences(vector) if vector.len() != dim.0 => {
                return Err(Error::Shape {
                    argument: "advantages",
                    found: vec![vector.len()],
                    expected: format!("[{}] or [{}, {}]", dim.0, dim.0, dim.1),
                });
            }
            Advantages::Sequences(_) => {}
        }
        Ok(Tokens { log_probabilities, kept, rollout: *self })
    }
}

/// The tokens of a batch, whose arrays fit each other.
pub(super) struct Tokens<'a> {
    log_probabilities: Matrix<'a>,
    pub(super) kept: Array2<bool>,
    rollout: Rollout<'a>,
}

impl Tokens<'_> {
    pub(super) fn log_probability(&self, row: usize, t: usize) -> f64 {
        self.log_probabilities.at(row, t)
    }

    /// log π − log π_old, 0 where π_old is π.
    pub(super) fn log_ratio(&self, row: usize, t: usize) -> f64 {
        match &self.rollout.old {
            Some(old) => self.log_probabilities.at(row, t) - old.at(row, t),
            None => 0.0,
        }
    }

    pub(super) fn advantage(&self, row: usize, t: usize) -> f64 {
        match &self.rollout.advantages {
            Advantages::Sequences(vector) => vector.at(row),
            Advantages::Tokens(matrix) => matrix.at(row, t),
        }
    }

    pub(super) fn weight(&self, row: usize, t: usize) -> f64 {
        self.rollout.token_weights.as_ref().map_or(1.0, |weights| weights.at(row, t))
    }

    pub(super) fn has_reference(&self) -> bool {
        self.rollout.reference.is_some()
    }

    /// The reference's log π, where there is one.
    pub(super) fn reference(&self, row: usize, t: usize) -> Option<f64> {
        self.rollout.reference.as_ref().map(|reference| reference.at(row, t))
    }
}
