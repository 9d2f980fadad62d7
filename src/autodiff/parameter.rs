//! What an optimiser changes.

use ndarray::ArrayViewD;

use super::array::{self, Shared};
use super::lanes;
use crate::element::Real;
use crate::error::{Error, Result};

/// A parameter with its gradient, for one step of an optimiser.
///
/// Parameters have no names: an optimiser knows them by their order, which is the same at every step.
///
/// ```
/// use surprisal::autodiff::{Parameter, Sgd, Shared};
/// let mut bias = Shared::from_elem(vec![2], 1.0_f64);
/// let gradient = Shared::from_elem(vec![2], 0.5);
/// Sgd::builder().build()?.step(0.1, &mut [Parameter::new(&mut bias, &gradient).without_decay()])?;
/// assert_eq!(bias[[0]], 0.95);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Debug)]
pub struct Parameter<'a, T> {
    pub(super) value: &'a mut Shared<T>,
    pub(super) gradient: ArrayViewD<'a, T>,
    pub(super) decays: bool,
}

impl<'a, T: Real> Parameter<'a, T> {
    /// A parameter that shrinks with the optimiser's weight decay. Its array is changed in place
    /// where nothing else shares it: where the tape is gone.
    ///
    /// ```
    /// # use surprisal::autodiff::{Parameter, Shared};
    /// let (mut w, g) = (Shared::ones(vec![2, 2]), Shared::<f32>::ones(vec![2, 2]));
    /// let parameter = Parameter::new(&mut w, &g);
    /// ```
    pub fn new(value: &'a mut Shared<T>, gradient: impl Into<ArrayViewD<'a, T>>) -> Self {
        Self { value, gradient: gradient.into(), decays: true }
    }

    /// This one does not shrink: a bias, or the gain of a normalisation.
    ///
    /// ```
    /// # use surprisal::autodiff::{Parameter, Shared};
    /// let (mut w, g) = (Shared::ones(vec![2, 2]), Shared::<f32>::ones(vec![2, 2]));
    /// let parameter = Parameter::new(&mut w, &g).without_decay();
    /// ```
    pub fn without_decay(mut self) -> Self {
        self.decays = false;
        self
    }
}

/// Checks the parameters against the arrays of a state, which a first step makes.
///
/// # Errors
/// For a gradient of another shape than its parameter, and for other parameters than before.
pub(super) fn check<T: Real>(
    parameters: &[Parameter<'_, T>],
    states: &mut [&mut Vec<Shared<T>>],
) -> Result<()> {
    for parameter in parameters {
        if parameter.gradient.shape() != parameter.value.shape() {
            return Err(Error::Shape {
                argument: "a gradient",
                found: parameter.gradient.shape().to_vec(),
                expected: format!("{:?}, as its parameter has", parameter.value.shape()),
            });
        }
    }
    if states.iter().all(|state| state.is_empty()) {
        for state in states.iter_mut() {
            state
                .extend(parameters.iter().map(|of| Shared::from_elem(of.value.raw_dim(), T::ZERO)));
        }
    }
    for state in states.iter() {
        let same = state.len() == parameters.len()
            && state.iter().zip(parameters).all(|(a, b)| a.shape() == b.value.shape());
        if !same {
            let shapes: Vec<_> = state.iter().map(|array| array.shape()).collect();
            return Err(Error::Conflict {
                what: format!("other parameters than before, expected shapes {shapes:?}"),
            });
        }
    }
    Ok(())
}

/// Gives the numbers of a parameter and of its state to `work`, with those of its gradient, piece by
/// piece.
pub(super) fn update<T: Real, const N: usize>(
    parameter: &mut Parameter<'_, T>,
    states: [&mut Shared<T>; N],
    work: impl Fn(&mut [T], [&mut [T]; N], &[T]) + Sync,
) {
    let gradient = parameter.gradient.as_standard_layout();
    let gradient = gradient.as_slice().expect("standard layout");
    *parameter.value = lanes::standard(std::mem::take(parameter.value));
    let mut states = states.map(|state| array::slice_mut(state).chunks_mut(lanes::PIECE));
    let values = array::slice_mut(parameter.value).chunks_mut(lanes::PIECE);
    let tasks: Vec<_> = values
        .zip(gradient.chunks(lanes::PIECE))
        .map(|(value, gradient)| {
            let states = states.each_mut().map(|state| state.next().expect("as many pieces"));
            (value, states, gradient)
        })
        .collect();
    lanes::for_each(gradient.len(), tasks, |(value, states, gradient)| {
        work(value, states, gradient);
    });
}
