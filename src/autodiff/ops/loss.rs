//! The fused linear cross-entropy as one node.

use ndarray::{Array1, Array2, ArrayView1, Ix1, Ix2};

use crate::autodiff::array::{self, Shared};
use crate::autodiff::lanes;
use crate::autodiff::ops::loss_inputs::{OwnedCompanion, OwnedTargets, companion_shorter, shorter};
use crate::autodiff::tape::{Variable, shape_error};
use crate::element::{Real, compiled};
use crate::error::Result;
use crate::loss::{Companion, Gradients, Inputs, LinearCrossEntropy, Reduction, Targets, Upstream};
use crate::matrix::Matrix;

impl<'t, T: Real> Variable<'t, T> {
    /// The linear cross-entropy of hidden states `self`, `[.., D]`, with a classifier `[V, D]`, a bias
    /// `[V]` and a target for each hidden state, in nats: [`LinearCrossEntropy`] has the formula. A
    /// value without axes, or with [`Reduction::None`] one with the axes of the hidden states but the
    /// last.
    ///
    /// The logits are never stored. Where a derivative is wanted, a loss that is reduced computes its
    /// gradients together with its value, and the backward scales them.
    ///
    /// ```
    /// use ndarray::arr2;
    /// use surprisal::{LinearCrossEntropy, autodiff::Tape};
    /// let tape = Tape::<f64>::new()?;
    /// let hidden = tape.leaf(arr2(&[[1.0, -0.5], [0.3, 2.0]]));
    /// let classifier = tape.leaf(arr2(&[[0.5, 1.0], [-1.0, 0.2], [0.7, 0.1]]));
    /// let options = LinearCrossEntropy::builder().label_smoothing(0.1).build()?;
    /// let loss = hidden.linear_cross_entropy(classifier, None, &[2_u32, 0], &options)?;
    /// let gradients = loss.backward()?;
    /// assert_eq!(gradients.of(classifier).unwrap().shape(), [3, 2]);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) where the shapes do not go together;
    /// [`Error::Conflict`](crate::Error::Conflict) for values of several tapes; else those of
    /// [`LinearCrossEntropy::forward`].
    pub fn linear_cross_entropy<'a>(
        self,
        classifier: Self,
        bias: Option<Self>,
        targets: impl Into<Targets<'a>>,
        loss: &LinearCrossEntropy,
    ) -> Result<Self> {
        let node = Node { hidden: self, classifier, bias };
        node.compiled((targets.into(), None), loss)
    }

    /// The same of a loss that needs a [`Companion`]: costs, or a second head, such as a teacher's values.
    /// It gets no gradient. With [`Reduction::None`] the tape keeps a copy of it.
    ///
    /// ```
    /// use ndarray::arr2;
    /// use surprisal::loss::{Companion, Head, KullbackLeibler};
    /// use surprisal::{LinearCrossEntropy, autodiff::Tape};
    /// let tape = Tape::<f64>::new()?;
    /// let hidden = tape.leaf(arr2(&[[1.0, -0.5], [0.3, 2.0]]));
    /// let classifier = tape.leaf(arr2(&[[0.5, 1.0], [-1.0, 0.2], [0.7, 0.1]]));
    /// let (wide, teacher) = (arr2(&[[1.0], [2.0]]), arr2(&[[0.5], [1.0], [-1.0]]));
    /// let options = LinearCrossEntropy::builder().row_loss(KullbackLeibler::forward()).build()?;
    /// let companion = Companion::logits(Head::new(&wide, &teacher));
    /// let targets = [0_u32, 0];
    /// let loss = hidden
    ///     .linear_cross_entropy_beside(classifier, None, &targets, companion, &options)?;
    /// assert!(loss.backward()?.of(hidden).unwrap().iter().any(|&g| g != 0.0));
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`linear_cross_entropy`](Self::linear_cross_entropy).
    pub fn linear_cross_entropy_beside<'a>(
        self,
        classifier: Self,
        bias: Option<Self>,
        targets: impl Into<Targets<'a>>,
        companion: Companion<'a>,
        loss: &LinearCrossEntropy,
    ) -> Result<Self> {
        let node = Node { hidden: self, classifier, bias };
        node.compiled((targets.into(), Some(companion)), loss)
    }
}

/// What a loss is of beside the operands.
type Beside<'a> = (Targets<'a>, Option<Companion<'a>>);

/// The operands of a loss.
struct Node<'t, T> {
    hidden: Variable<'t, T>,
    classifier: Variable<'t, T>,
    bias: Option<Variable<'t, T>>,
}

impl<'t, T: Real> Node<'t, T> {
    fn compiled(self, beside: Beside<'_>, loss: &LinearCrossEntropy) -> Result<Variable<'t, T>> {
        compiled!(
            ['t, 'a, 'l] T: (Node<'t, T>, Beside<'a>, &'l LinearCrossEntropy) => Result<Variable<'t, T>>,
            |(node, beside, loss)| node.push(beside, loss),
            (self, beside, loss)
        )
    }

    fn push(
        self,
        (targets, companion): Beside<'_>,
        loss: &LinearCrossEntropy,
    ) -> Result<Variable<'t, T>> {
        let Self { hidden: this, classifier, bias } = self;
        let (arrays, axes) = Arrays::of(this, classifier, bias)?;
        let loss = loss.clone();
        let inputs = arrays.inputs(shorter(&targets), companion.as_ref().map(companion_shorter));
        let operands = [Some(this), Some(classifier), bias];
        let wanted = operands.map(|of| of.is_some_and(|of| of.is_differentiable()));
        let present: Vec<Variable<'t, T>> = operands.into_iter().flatten().collect();
        let operands = operands.map(|of| of.map(|of| of.index));
        let shape = this.shape();
        if loss.reduction == Reduction::None {
            let forward = loss.forward(&inputs)?;
            let losses = array::shared(
                &axes,
                forward.losses().mapv(T::from_f64).into_raw_vec_and_offset().0,
            );
            let targets = OwnedTargets::of(targets);
            let companion = companion.map(OwnedCompanion::of);
            return Ok(this.tape.push(losses, &present, move |gradient, flow| {
                let upstream = ArrayView1::from(array::slice(&gradient));
                let mut parts = Parts::new(&arrays, wanted);
                loss.vjp(
                    &arrays.inputs(targets.view(), companion.as_ref().map(OwnedCompanion::view)),
                    &forward,
                    &Upstream::rows(upstream),
                    parts.gradients(),
                )?;
                for (operand, part) in operands.into_iter().zip(parts.shared(&shape)) {
                    if let (Some(operand), Some(part)) = (operand, part) {
                        flow.add(operand, part);
                    }
                }
                Ok(())
            }));
        }
        let (value, parts) = match wanted.contains(&true) {
            true => {
                let mut parts = Parts::new(&arrays, wanted);
                let upstream = Upstream::default();
                let forward = loss.loss_and_gradients(&inputs, &upstream, parts.gradients())?;
                (forward.loss(), parts.shared(&shape))
            }
            false => (loss.forward(&inputs)?.loss(), [None, None, None]),
        };
        Ok(this.tape.push(
            array::shared(&[], vec![T::from_f64(value)]),
            &present,
            move |gradient, flow| {
                let factor = *gradient.first().expect("one element");
                for (operand, part) in operands.into_iter().zip(&parts) {
                    if let (Some(operand), Some(part)) = (operand, part) {
                        let mut part = part.clone();
                        if factor != T::ONE {
                            lanes::for_every(flow.isa, array::slice_mut(&mut part), |g| g * factor);
                        }
                        flow.add(operand, part);
                    }
                }
                Ok(())
            },
        ))
    }
}

/// What the loss is computed from, but for the targets.
pub(super) struct Arrays<T> {
    hidden: Shared<T>,
    classifier: Shared<T>,
    bias: Option<Shared<T>>,
}

impl<T: Real> Arrays<T> {
    /// Hidden states `[.., D]`, a classifier and a bias, with the axes of the hidden states but the last.
    pub(super) fn of(
        hidden: Variable<'_, T>,
        classifier: Variable<'_, T>,
        bias: Option<Variable<'_, T>>,
    ) -> Result<(Self, Vec<usize>)> {
        hidden.on_the_same_tape("the classifier", classifier)?;
        let states = lanes::standard(hidden.value());
        let Some((&width, rows)) = states.shape().split_last() else {
            return Err(shape_error("hidden", &states, "at least one axis"));
        };
        let (axes, rows) = (rows.to_vec(), rows.iter().product());
        let mut arrays = Self {
            hidden: array::reshaped(states, &[rows, width]),
            classifier: classifier.value(),
            bias: None,
        };
        if arrays.classifier.ndim() != 2 {
            return Err(shape_error("classifier", &arrays.classifier, "two axes"));
        }
        if let Some(bias) = bias {
            hidden.on_the_same_tape("the bias", bias)?;
            let value = bias.value();
            if value.ndim() != 1 {
                return Err(shape_error("bias", &value, "one axis"));
            }
            arrays.bias = Some(value);
        }
        Ok((arrays, axes))
    }

    fn matrices(&self) -> [Matrix<'_>; 2] {
        [&self.hidden, &self.classifier]
            .map(|array| T::matrix(array.view().into_dimensionality::<Ix2>().expect("two axes")))
    }

    fn inputs<'a>(&'a self, targets: Targets<'a>, companion: Option<Companion<'a>>) -> Inputs<'a> {
        let [hidden, classifier] = self.matrices();
        let inputs = self.biased(Inputs::new(hidden, classifier, targets));
        match companion {
            Some(companion) => inputs.companion(companion),
            None => inputs,
        }
    }

    /// The inputs without targets.
    pub(super) fn unlabelled(&self) -> Inputs<'_> {
        let [hidden, classifier] = self.matrices();
        self.biased(Inputs::unlabelled(hidden, classifier))
    }

    fn biased<'a>(&'a self, inputs: Inputs<'a>) -> Inputs<'a> {
        match &self.bias {
            Some(bias) => {
                inputs.bias(T::vector(bias.view().into_dimensionality::<Ix1>().expect("one axis")))
            }
            None => inputs,
        }
    }
}

/// The gradients that are wanted.
pub(super) struct Parts<T> {
    hidden: Option<Array2<T>>,
    classifier: Option<Array2<T>>,
    bias: Option<Array1<T>>,
}

impl<T: Real> Parts<T> {
    pub(super) fn new(arrays: &Arrays<T>, [hidden, classifier, bias]: [bool; 3]) -> Self {
        let matrix =
            |array: &Shared<T>| Array2::from_elem((array.shape()[0], array.shape()[1]), T::ZERO);
        Self {
            hidden: hidden.then(|| matrix(&arrays.hidden)),
            classifier: classifier.then(|| matrix(&arrays.classifier)),
            bias: arrays
                .bias
                .as_ref()
                .filter(|_| bias)
                .map(|bias| Array1::from_elem(bias.len(), T::ZERO)),
        }
    }

    pub(super) fn gradients(&mut self) -> Gradients<'_> {
        let mut gradients = Gradients::new();
        if let Some(hidden) = &mut self.hidden {
            gradients = gradients.hidden(T::matrix_view_mut(hidden.view_mut()));
        }
        if let Some(classifier) = &mut self.classifier {
            gradients = gradients.classifier(T::matrix_view_mut(classifier.view_mut()));
        }
        if let Some(bias) = &mut self.bias {
            gradients = gradients.bias(T::vector_view_mut(bias.view_mut()));
        }
        gradients
    }

    pub(super) fn shared(self, hidden_shape: &[usize]) -> [Option<Shared<T>>; 3] {
        let hidden = self.hidden.map(|array| array.into_dyn().into_shared());
        [
            hidden.map(|array| array::reshaped(array, hidden_shape)),
            self.classifier.map(|array| array.into_dyn().into_shared()),
            self.bias.map(|array| array.into_dyn().into_shared()),
        ]
    }
}
