//! Losses of sequences, from the log-probabilities of their tokens.

use ndarray::{Array2, Ix2};

use crate::autodiff::array::{self, Shared};
use crate::autodiff::lanes;
use crate::autodiff::tape::{Variable, shape_error};
use crate::element::{Real, compiled};
use crate::error::Result;
use crate::matrix::Matrix;
use crate::preference::{LabelledLoss, Mask, PairLoss, PolicyLoss, Rollout, RowPairs, Sequences};
use crate::preference::{labelled, pairs};

impl<'t, T: Real> Variable<'t, T> {
    /// The losses `[P]` of pairs of sequences, of which this value is the log-probabilities `[B,T]`: each pair is two of
    /// its rows, the chosen one first.
    ///
    /// The mask and the log-probabilities `[B,T]` of a reference policy are constant. The loss of the batch is the
    /// [`mean`](Self::mean).
    ///
    /// ```
    /// use ndarray::arr2;
    /// use surprisal::{autodiff::Tape, preference::Dpo};
    /// let tape = Tape::<f64>::new()?;
    /// let log_probs = tape.leaf(arr2(&[[-0.5, -1.0], [-2.0, -0.5]]));
    /// let mask = arr2(&[[true, true], [true, false]]);
    /// let losses = log_probs.pair_losses(&mask, None, &[[0, 1]], &Dpo::new(0.1)?)?;
    /// let gradients = losses.mean().backward()?;
    /// let gradient = gradients.of(log_probs).unwrap();
    /// assert!(gradient[[0, 1]] < 0.0 && gradient[[1, 0]] > 0.0 && gradient[[1, 1]] == 0.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`PairLoss::evaluate_rows`]; [`Error::Shape`](crate::Error::Shape) unless the value has two axes.
    pub fn pair_losses<'m, 'a>(
        self,
        mask: impl Into<Mask<'m>>,
        reference: Option<Matrix<'a>>,
        pairs: &[[usize; 2]],
        loss: &dyn PairLoss,
    ) -> Result<Self> {
        compiled!(
            ['t, 'm, 'a, 'p, 'l] T: (Variable<'t, T>, Constants<'m, 'a>, &'p [[usize; 2]], &'l (dyn PairLoss + 'l))
                => Result<Variable<'t, T>>,
            |(this, constants, pairs, loss)| this.pair_losses_here(constants, pairs, loss),
            (self, Constants { mask: mask.into(), reference }, pairs, loss)
        )
    }

    /// The losses `[B]` of sequences with labels, of which this value is the log-probabilities `[B,T]`.
    ///
    /// The mask and the log-probabilities `[B,T]` of the reference policy are constant.
    ///
    /// ```
    /// use ndarray::arr2;
    /// use surprisal::{Matrix, autodiff::Tape, preference::Kto};
    /// let tape = Tape::<f64>::new()?;
    /// let (values, mask) = (arr2(&[[-0.5, -1.0], [-2.0, -0.5]]), arr2(&[[true, true], [true, false]]));
    /// let log_probs = tape.leaf(values.clone());
    /// let loss = Kto::new(0.1)?;
    /// let losses = log_probs.labelled_losses(&mask, Matrix::from(&values), &[true, false], &loss)?;
    /// assert_eq!(losses.mean().scalar()?, 0.5);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`LabelledLoss::evaluate`]; [`Error::Shape`](crate::Error::Shape) unless the value has two axes.
    pub fn labelled_losses<'m, 'a>(
        self,
        mask: impl Into<Mask<'m>>,
        reference: Matrix<'a>,
        labels: &[bool],
        loss: &dyn LabelledLoss,
    ) -> Result<Self> {
        let constants = Constants { mask: mask.into(), reference: Some(reference) };
        compiled!(
            ['t, 'm, 'a, 'p, 'l] T: (Variable<'t, T>, Constants<'m, 'a>, &'p [bool], &'l (dyn LabelledLoss + 'l))
                => Result<Variable<'t, T>>,
            |(this, constants, labels, loss)| this.labelled_losses_here(constants, labels, loss),
            (self, constants, labels, loss)
        )
    }

    /// A policy-gradient loss, of which this value is the log-probabilities `[B,T]`: a value without axes, or the
    /// losses of the tokens `[B,T]` with [`TokenReduction::NONE`](crate::preference::TokenReduction::NONE).
    ///
    /// The policy's entropies `[B,T]` at the tokens are needed for an entropy bonus, and get a gradient too.
    ///
    /// ```
    /// use ndarray::{arr1, arr2};
    /// use surprisal::autodiff::Tape;
    /// use surprisal::preference::{PolicyLoss, Rollout};
    /// let tape = Tape::<f64>::new()?;
    /// let log_probs = tape.leaf(arr2(&[[-0.5, -1.0], [-2.0, f64::NAN]]));
    /// let (mask, advantages) = (arr2(&[[true, true], [true, false]]), arr1(&[1.0, -1.0]));
    /// let rollout = Rollout::new(&mask, &advantages);
    /// let loss = log_probs.policy_loss(None, &rollout, &PolicyLoss::grpo())?;
    /// let gradients = loss.backward()?;
    /// assert_eq!(gradients.of(log_probs).unwrap(), arr2(&[[-0.25, -0.25], [0.5, 0.0]]).into_dyn());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`PolicyLoss::evaluate`]; [`Error::Shape`](crate::Error::Shape) unless the values have two axes;
    /// [`Error::Conflict`](crate::Error::Conflict) for values of several tapes.
    pub fn policy_loss(
        self,
        entropy: Option<Self>,
        rollout: &Rollout<'_>,
        loss: &PolicyLoss,
    ) -> Result<Self> {
        compiled!(
            ['t, 'a, 'l] T: (Variable<'t, T>, Option<Variable<'t, T>>, Rollout<'a>, &'l PolicyLoss)
                => Result<Variable<'t, T>>,
            |(this, entropy, rollout, loss)| this.policy_loss_here(entropy, &rollout, loss),
            (self, entropy, rollout.shorter(), loss)
        )
    }
}

/// What belongs to the tokens and has no gradient.
struct Constants<'m, 'a> {
    mask: Mask<'m>,
    reference: Option<Matrix<'a>>,
}

impl Constants<'_, '_> {
    fn sequences<'b>(&'b self, log_probabilities: Matrix<'b>) -> Sequences<'b> {
        let sequences = Sequences::new(log_probabilities, self.mask.shorter());
        match &self.reference {
            Some(reference) => sequences.reference(reference.shorter()),
            None => sequences,
        }
    }
}

/// # Errors
/// Unless the value has two axes.
fn matrix<'v, T: Real>(argument: &'static str, value: &'v Shared<T>) -> Result<Matrix<'v>> {
    match value.view().into_dimensionality::<Ix2>() {
        Ok(view) => Ok(T::matrix(view)),
        Err(_) => Err(shape_error(argument, value, "two axes, sequences and tokens")),
    }
}

fn shared<T: Real>(numbers: Array2<f64>) -> Shared<T> {
    numbers.mapv(T::from_f64).into_dyn().into_shared()
}

fn list<T: Real>(numbers: &[f64]) -> Shared<T> {
    array::shared(&[numbers.len()], numbers.iter().map(|&x| T::from_f64(x)).collect())
}

fn wide<T: Real>(gradient: &Shared<T>) -> Vec<f64> {
    gradient.iter().map(|g| g.to_f64()).collect()
}

impl<'t, T: Real> Variable<'t, T> {
    fn pair_losses_here(
        self,
        constants: Constants<'_, '_>,
        rows: &[[usize; 2]],
        loss: &dyn PairLoss,
    ) -> Result<Self> {
        let value = self.value();
        let sequences = constants.sequences(matrix("log_probs", &value)?);
        let (slopes, kept) = pairs::Slopes::of_rows(loss, &RowPairs::new(sequences, rows))?;
        let (operand, rows) = (self.index, rows.to_vec());
        Ok(self.tape.push(list(&slopes.losses), &[self], move |gradient, flow| {
            flow.add(operand, shared(slopes.gradient(&kept, &rows, &wide(&gradient))));
            Ok(())
        }))
    }

    fn labelled_losses_here(
        self,
        constants: Constants<'_, '_>,
        labels: &[bool],
        loss: &dyn LabelledLoss,
    ) -> Result<Self> {
        let value = self.value();
        let sequences = constants.sequences(matrix("log_probs", &value)?);
        let slopes = labelled::Slopes::new(loss, &sequences, labels)?;
        let operand = self.index;
        Ok(self.tape.push(list(&slopes.losses), &[self], move |gradient, flow| {
            flow.add(operand, shared(slopes.gradient(&wide(&gradient))));
            Ok(())
        }))
    }

    fn policy_loss_here(
        self,
        entropy: Option<Self>,
        rollout: &Rollout<'_>,
        loss: &PolicyLoss,
    ) -> Result<Self> {
        let value = self.value();
        let entropies = match entropy {
            Some(entropy) => {
                self.on_the_same_tape("the entropy", entropy)?;
                Some(entropy.value())
            }
            None => None,
        };
        let of_entropy =
            entropies.as_ref().map(|entropies| matrix("entropy", entropies)).transpose()?;
        let slopes = loss.slopes(matrix("log_probs", &value)?, of_entropy, &rollout.shorter())?;
        let operands: Vec<_> = [Some(self), entropy].into_iter().flatten().collect();
        let (operand, entropy) = (self.index, entropy.map(|entropy| entropy.index));
        if loss.is_of_tokens() {
            let losses = shared(slopes.losses.clone());
            return Ok(self.tape.push(losses, &operands, move |gradient, flow| {
                let weights = Array2::from_shape_vec(slopes.kept.dim(), wide(&gradient))
                    .expect("the shape of the losses");
                let (by_log_probability, by_entropy) = slopes.gradient(&weights);
                flow.add(operand, shared(by_log_probability));
                if let Some(entropy) = entropy {
                    flow.add(entropy, shared(by_entropy));
                }
                Ok(())
            }));
        }
        let weights = loss.weights(&slopes);
        let value = array::shared(&[], vec![T::from_f64(slopes.value(&weights))]);
        let (by_log_probability, by_entropy) = slopes.gradient(&weights);
        let parts: (Shared<T>, Shared<T>) = (shared(by_log_probability), shared(by_entropy));
        Ok(self.tape.push(value, &operands, move |gradient, flow| {
            let factor = *gradient.first().expect("one element");
            let times = |part: &Shared<T>| {
                let mut part = part.clone();
                lanes::for_every(flow.isa, array::slice_mut(&mut part), |g| g * factor);
                part
            };
            let (by_log_probability, by_entropy) = (times(&parts.0), times(&parts.1));
            flow.add(operand, by_log_probability);
            if let Some(entropy) = entropy {
                flow.add(entropy, by_entropy);
            }
            Ok(())
        }))
    }
}
