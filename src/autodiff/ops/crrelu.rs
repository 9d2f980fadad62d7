//! The rectifier with a correction that is learnt.

use crate::autodiff::lanes::Function;
use crate::autodiff::tape::Variable;
use crate::element::{Real, compiled};
use crate::error::Result;
use crate::simd::exp::exp;
use crate::simd::{Simd, Vector, splat};

impl<'t, T: Real> Variable<'t, T> {
    /// max(0, x) + ε·x·e^(−x²/2), with ε a value without axes, which is learnt: CRReLU, with 0.01 to begin from.
    /// At x = 0 the derivative of the first part is 0.
    ///
    /// *A Method on Searching Better Activation Functions* (Sun et al., 2024).
    ///
    /// ```
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// let epsilon = tape.leaf(ndarray::arr0(0.01));
    /// let x = tape.leaf(ndarray::arr1(&[-1.0, 1.0]));
    /// let y = x.crrelu(epsilon)?.value();
    /// assert!((y[0] + 0.006065306597126334).abs() < 1e-17);
    /// assert!((y[1] - 1.0060653065971263).abs() < 1e-15);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for an ε that does not go with x;
    /// [`Error::Conflict`](crate::Error::Conflict) for values of several tapes.
    pub fn crrelu(self, epsilon: Self) -> Result<Self> {
        compiled!(
            ['t] T: (Variable<'t, T>, Variable<'t, T>) => Result<Variable<'t, T>>,
            |(x, epsilon)| x.crrelu_here(epsilon),
            (self, epsilon)
        )
    }

    fn crrelu_here(self, epsilon: Self) -> Result<Self> {
        self.relu().add(self.map(Correction).mul(epsilon)?)
    }
}

/// x·e^(−x²/2).
#[derive(Clone, Copy)]
struct Correction;

impl<T: Real> Function<T> for Correction {
    #[inline(always)]
    fn value<S: Simd>(self, simd: S, x: T::Vector<S>) -> T::Vector<S> {
        let (x, bell) = bell::<S, T>(simd, x);
        x.mul(bell)
    }
    #[inline(always)]
    fn derivative<S: Simd>(self, simd: S, x: T::Vector<S>, _: T::Vector<S>) -> T::Vector<S> {
        let (x, bell) = bell::<S, T>(simd, x);
        let one = splat::<S, T>(simd, T::ONE);
        one.sub(x.mul(x)).mul(bell)
    }
}

/// x, held within ±100, and e^(−x²/2), which is 0 there.
#[inline(always)]
fn bell<S: Simd, T: Real>(simd: S, x: T::Vector<S>) -> (T::Vector<S>, T::Vector<S>) {
    let most = splat::<S, T>(simd, T::from_f64(100.0));
    // With the operands exchanged a NaN stays one.
    let held = <T::Vector<S>>::select_less(most, x.abs(), most.copy_sign(x), x);
    let half = splat::<S, T>(simd, T::from_f64(-0.5));
    (held, exp::<S, T>(simd, held.mul(held).mul(half)))
}
