//! Losses of rankings, from logits or from hidden states without the logits.

use ndarray::{Array2, Ix2};

use crate::autodiff::array::{self, Shared};
use crate::autodiff::lanes;
use crate::autodiff::tape::{Variable, shape_error};
use crate::element::{Real, compiled};
use crate::error::Result;
use crate::loss::ranked::{PlackettLuce, Rankings};
use crate::loss::{LinearCrossEntropy, Reduction};

impl<'t, T: Real> Variable<'t, T> {
    /// The Plackett–Luce losses `[..]` of rankings, of which this value is the logits `[.., V]`: a ranking for each row,
    /// whose rows are in the order of the leading axes.
    ///
    /// [`PlackettLuce`] has the formula. The loss of the batch is the [`mean`](Self::mean); a temperature is a
    /// [`scale`](Self::scale) before.
    ///
    /// ```
    /// use ndarray::arr2;
    /// use surprisal::{autodiff::Tape, loss::{PlaceWeights, Rankings}};
    /// let tape = Tape::<f64>::new()?;
    /// let logits = tape.leaf(arr2(&[[0.0, 0.0, 0.0]]));
    /// let rankings = Rankings::new(&arr2(&[[2_u32, 0, 1]]), PlaceWeights::Ones)?;
    /// let loss = logits.ranked_losses(&rankings)?.mean();
    /// assert!((loss.scalar()? - 6_f64.ln()).abs() < 1e-15);
    /// assert!(loss.backward()?.of(logits).unwrap()[[0, 2]] < 0.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`PlackettLuce::of_logits`]; [`Error::Shape`](crate::Error::Shape) for a value without axes.
    pub fn ranked_losses(self, rankings: &Rankings) -> Result<Self> {
        compiled!(
            ['t, 'r] T: (Variable<'t, T>, &'r Rankings) => Result<Variable<'t, T>>,
            |(this, rankings)| this.ranked_losses_here(rankings),
            (self, rankings)
        )
    }

    /// The same of hidden states `self`, `[.., D]`, with a classifier `[V, D]` and a bias `[V]`, whose logits are never
    /// stored: of as many classes as the rankings list, and of what all others have together.
    ///
    /// A row that names no class takes no part: its loss is 0, and nothing is computed of it.
    ///
    /// ```
    /// use ndarray::arr2;
    /// use surprisal::{LinearCrossEntropy, autodiff::Tape, loss::{PlaceWeights, Rankings}};
    /// let tape = Tape::<f64>::new()?;
    /// let hidden = tape.leaf(arr2(&[[1.0, -0.5], [0.3, 2.0]]));
    /// let classifier = tape.leaf(arr2(&[[0.5, 1.0], [-1.0, 0.2], [0.7, 0.1]]));
    /// let rankings = Rankings::new(&arr2(&[[2_u32, 0], [0, 1]]), PlaceWeights::Ones)?;
    /// let options = LinearCrossEntropy::builder().build()?;
    /// let loss = hidden.linear_ranked_losses(classifier, None, &rankings, &options)?.mean();
    /// assert_eq!(loss.backward()?.of(classifier).unwrap().shape(), [3, 2]);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`linear_log_probabilities`](Self::linear_log_probabilities).
    pub fn linear_ranked_losses(
        self,
        classifier: Self,
        bias: Option<Self>,
        rankings: &Rankings,
        options: &LinearCrossEntropy,
    ) -> Result<Self> {
        let own =
            self.linear_log_probabilities(classifier, bias, rankings.candidates(), options)?;
        let log_others = own.log_others.expect("asked for");
        compiled!(
            ['t, 'r] T: ([Variable<'t, T>; 2], &'r Rankings) => Result<Variable<'t, T>>,
            |([own, others], rankings)| own.losses_of_listed(others, rankings),
            ([own.log_probabilities, log_others], rankings)
        )
    }
}

impl<'t, T: Real> Variable<'t, T> {
    fn ranked_losses_here(self, rankings: &Rankings) -> Result<Self> {
        let logits = lanes::standard(self.value());
        let shape = self.shape();
        let Some((&vocabulary, axes)) = shape.split_last() else {
            return Err(shape_error(
                "the logits",
                &logits,
                "at least one axis, that of the classes",
            ));
        };
        let rows: usize = axes.iter().product();
        let loss = PlackettLuce::new().reduction(Reduction::None)?;
        let losses = {
            let flat = array::reshaped(logits, &[rows, vocabulary]);
            let view = flat.view().into_dimensionality::<Ix2>().expect("two axes");
            loss.of_logits(rankings, T::matrix(view))?
        };
        let value = narrow(axes, losses.values.iter());
        let (operand, gradient) = (self.index, narrow::<T>(&shape, losses.gradient.iter()));
        Ok(self.tape.push(value, &[self], move |upstream, flow| {
            flow.add(operand, of_rows(&gradient, &upstream, vocabulary));
            Ok(())
        }))
    }

    /// Of the log-probabilities of the listed classes `[.., K]` and of the others `[..]`.
    fn losses_of_listed(self, others: Self, rankings: &Rankings) -> Result<Self> {
        let (rows, k) = rankings.classes().dim();
        let wide = |value: Shared<T>| value.iter().map(|x| x.to_f64()).collect::<Vec<_>>();
        let scores = Array2::from_shape_vec((rows, k), wide(self.value())).expect("as many rows");
        let losses = PlackettLuce::of_scores(rankings, &scores, &wide(others.value()));
        let (shape, axes) = (self.shape(), others.shape());
        let by_log = narrow::<T>(&shape, losses.by_log_probabilities.iter());
        let by_others = narrow::<T>(&axes, losses.by_log_others.iter());
        let value = narrow(&axes, losses.values.iter());
        let (log, other) = (self.index, others.index);
        Ok(self.tape.push(value, &[self, others], move |upstream, flow| {
            flow.add(log, of_rows(&by_log, &upstream, k));
            flow.add(other, of_rows(&by_others, &upstream, 1));
            Ok(())
        }))
    }
}

fn narrow<'a, T: Real>(shape: &[usize], numbers: impl Iterator<Item = &'a f64>) -> Shared<T> {
    array::shared(shape, numbers.map(|&x| T::from_f64(x)).collect())
}

/// Slopes of rows, each times what comes in for its row.
fn of_rows<T: Real>(slopes: &Shared<T>, upstream: &Shared<T>, width: usize) -> Shared<T> {
    let mut slopes = slopes.clone();
    let rows = array::slice_mut(&mut slopes).chunks_exact_mut(width.max(1));
    for (row, &factor) in rows.zip(upstream.iter()) {
        row.iter_mut().for_each(|slope| *slope = *slope * factor);
    }
    slopes
}
