//! The log-probabilities of listed classes as one node, without the logits.

use ndarray::{Array2, ArrayView2, Ix2, s};

use super::loss::{Arrays, Parts};
use crate::autodiff::array;
use crate::autodiff::lanes;
use crate::autodiff::tape::Variable;
use crate::element::{Real, compiled};
use crate::error::{Error, Result};
use crate::loss::{Candidates, Forward, Inputs, LinearCrossEntropy, Statistic, Upstream};

/// What [`Variable::linear_log_probabilities`] gives, in nats: parts of one node, whose backward is one pass.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct LinearLogProbabilities<'t, T: Real> {
    /// `[.., K]` ln p of each class; 0 where none is named.
    pub log_probabilities: Variable<'t, T>,
    /// `[..]` ln of what the other classes have together, where the candidates are
    /// [`with_others`](Candidates::with_others).
    pub log_others: Option<Variable<'t, T>>,
    /// `[..]` the entropy of all classes, where the options have
    /// [`entropy`](crate::LinearCrossEntropyBuilder::entropy).
    pub entropy: Option<Variable<'t, T>>,
}

impl<'t, T: Real> Variable<'t, T> {
    /// The log-probabilities of K classes of each row, of hidden states `self`, `[.., D]`, with a classifier `[V, D]`
    /// and a bias `[V]`: what losses of preferences and of policies, or a comparison with a teacher's list, go on
    /// from. `[N, K]` classes, N the number of hidden states; [`Candidates`] has the formula and its gradient.
    ///
    /// A row that names no class ([`Candidates::NONE`] alone) takes no part: its numbers are 0, and nothing is computed
    /// of it, as for the tokens of a prompt. The logits are never stored.
    ///
    /// ```
    /// use ndarray::arr2;
    /// use surprisal::{LinearCrossEntropy, autodiff::Tape, loss::Candidates};
    /// let tape = Tape::<f64>::new()?;
    /// let hidden = tape.leaf(arr2(&[[1.0, -0.5], [0.3, 2.0]]));
    /// let classifier = tape.leaf(arr2(&[[0.5, 1.0], [-1.0, 0.2], [0.7, 0.1]]));
    /// let options = LinearCrossEntropy::builder().entropy(true).build()?;
    /// // The tokens that a policy drew: their probability is to rise by 1 and −½, with a bonus of entropy.
    /// let drawn = arr2(&[[2_u32], [0]]);
    /// let own = hidden.linear_log_probabilities(classifier, None, Candidates::new(&drawn), &options)?;
    /// let advantages = tape.constant(arr2(&[[1.0], [-0.5]]));
    /// let loss = own.log_probabilities.mul(advantages)?.sum().neg();
    /// let loss = loss.sub(own.entropy.unwrap().sum().scale(0.01))?;
    /// assert_eq!(loss.backward()?.of(classifier).unwrap().shape(), [3, 2]);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] where the shapes do not go together, or K is 0; [`Error::Conflict`] for values of several tapes,
    /// and for a filter or options that candidates do not go with; else those of [`LinearCrossEntropy::forward`].
    pub fn linear_log_probabilities(
        self,
        classifier: Self,
        bias: Option<Self>,
        candidates: Candidates<'_>,
        loss: &LinearCrossEntropy,
    ) -> Result<LinearLogProbabilities<'t, T>> {
        let node = Node { hidden: self, classifier, bias };
        let lists = Lists {
            classes: candidates.classes.to_owned(),
            others: candidates.others,
            entropy: loss.statistics.entropy || loss.statistics.varentropy,
        };
        let columns = node.compiled(lists.clone(), loss)?;
        let axis = columns.shape().len() - 1;
        let k = lists.classes.dim().1;
        let column = |at: usize| -> Result<Self> {
            let shape = columns.shape();
            columns.slice(axis, at..at + 1)?.reshape(&shape[..axis])
        };
        Ok(LinearLogProbabilities {
            log_probabilities: columns.slice(axis, 0..k)?,
            log_others: lists.others.then(|| column(k)).transpose()?,
            entropy: lists.entropy.then(|| column(k + usize::from(lists.others))).transpose()?,
        })
    }
}

/// The classes of each row, and what else is wanted.
#[derive(Clone)]
struct Lists {
    classes: Array2<u32>,
    others: bool,
    entropy: bool,
}

impl Lists {
    /// Rows that name no class.
    fn ignored(&self) -> Vec<bool> {
        let rows = self.classes.outer_iter();
        rows.map(|row| row.iter().all(|&class| class == Candidates::NONE)).collect()
    }

    fn add<'a>(&'a self, ignored: &'a [bool], inputs: Inputs<'a>) -> Inputs<'a> {
        let candidates = Candidates::new(&self.classes);
        let candidates = if self.others { candidates.with_others() } else { candidates };
        inputs.ignore(ignored).candidates(candidates)
    }

    /// ln p of the classes, of the others, and the entropy: the columns of a row.
    fn columns<T: Real>(&self, forward: &Forward) -> Result<Vec<T>> {
        let own = forward.candidates()?;
        let entropies = self.entropy.then(|| forward.statistic(Statistic::Entropy)).transpose()?;
        let mut columns = Vec::new();
        for (i, row) in own.log_probabilities.outer_iter().enumerate() {
            columns.extend(row.iter().map(|&x| T::from_f64(x)));
            columns.extend(own.log_others.get(i).map(|&x| T::from_f64(x)));
            columns.extend(entropies.as_ref().map(|entropies| T::from_f64(entropies[i])));
        }
        Ok(columns)
    }

    /// What comes in for the columns.
    fn upstream<'a, T: Real>(&self, columns: &'a ArrayView2<'_, T>) -> Upstream<'a> {
        let k = self.classes.dim().1;
        let column = |at: usize| T::vector(columns.column(k + at));
        let own = columns.slice(s![.., ..k]);
        let mut upstream = Upstream::scalar(0.0).candidates(T::matrix(own));
        if self.others {
            upstream = upstream.log_others(column(0));
        }
        if self.entropy {
            upstream = upstream.entropy(column(usize::from(self.others)));
        }
        upstream
    }
}

struct Node<'t, T> {
    hidden: Variable<'t, T>,
    classifier: Variable<'t, T>,
    bias: Option<Variable<'t, T>>,
}

impl<'t, T: Real> Node<'t, T> {
    fn compiled(self, lists: Lists, loss: &LinearCrossEntropy) -> Result<Variable<'t, T>> {
        compiled!(
            ['t, 'l] T: (Node<'t, T>, Lists, &'l LinearCrossEntropy) => Result<Variable<'t, T>>,
            |(node, lists, loss)| node.push(lists, loss),
            (self, lists, loss)
        )
    }

    fn push(self, lists: Lists, loss: &LinearCrossEntropy) -> Result<Variable<'t, T>> {
        let Self { hidden: this, classifier, bias } = self;
        let (arrays, mut axes) = Arrays::of(this, classifier, bias)?;
        let (rows, k) = lists.classes.dim();
        let count: usize = axes.iter().product();
        if rows != count || k == 0 {
            return Err(Error::Shape {
                argument: "candidates",
                found: vec![rows, k],
                expected: format!(
                    "{count} rows, as there are hidden states, of one class at least"
                ),
            });
        }
        let (loss, ignored) = (loss.clone(), lists.ignored());
        let forward = loss.forward(&lists.add(&ignored, arrays.unlabelled()))?;
        let width = k + usize::from(lists.others) + usize::from(lists.entropy);
        axes.push(width);
        array::check_size::<T>(&axes)?;
        let value = array::shared(&axes, lists.columns(&forward)?);
        let operands = [Some(this), Some(classifier), bias];
        let wanted = operands.map(|of| of.is_some_and(|of| of.is_differentiable()));
        let present: Vec<Variable<'t, T>> = operands.into_iter().flatten().collect();
        let operands = operands.map(|of| of.map(|of| of.index));
        let shape = this.shape();
        Ok(this.tape.push(value, &present, move |gradient, flow| {
            let gradient = array::reshaped(lanes::standard(gradient), &[rows, width]);
            let columns = gradient.view().into_dimensionality::<Ix2>().expect("two axes");
            let inputs = lists.add(&ignored, arrays.unlabelled());
            let mut parts = Parts::new(&arrays, wanted);
            loss.vjp(&inputs, &forward, &lists.upstream(&columns), parts.gradients())?;
            for (operand, part) in operands.into_iter().zip(parts.shared(&shape)) {
                if let (Some(operand), Some(part)) = (operand, part) {
                    flow.add(operand, part);
                }
            }
            Ok(())
        }))
    }
}
