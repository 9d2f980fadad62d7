//! Numbers left out at random.

use crate::autodiff::array;
use crate::autodiff::lanes;
use crate::autodiff::random::{Generator, two_decisions};
use crate::autodiff::tape::Variable;
use crate::element::{Real, compiled};
use crate::error::{Error, Result, short};
use crate::simd::{Isa, Kernel, Simd};

impl<'t, T: Real> Variable<'t, T> {
    /// Each element 0 with this probability, else divided by 1 − probability (Srivastava et al., 2014).
    ///
    /// Which ones are left out depends on the generator's state and on their places, not on the
    /// threads. The generator moves on by one number, also where the probability is 0.
    ///
    /// ```
    /// use surprisal::autodiff::{Generator, Tape};
    /// let tape = Tape::<f64>::new()?;
    /// let x = tape.leaf(ndarray::Array1::ones(1000));
    /// let y = x.dropout(0.25, &mut Generator::new(0))?.value();
    /// assert!(y.iter().all(|&y| y == 0.0 || y == 1.0 / 0.75));
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Option`] for a probability below 0, or of 1 or more.
    pub fn dropout(self, probability: f64, generator: &mut Generator) -> Result<Self> {
        compiled!(
            ['t, 'a] T: (Variable<'t, T>, f64, &'a mut Generator) => Result<Variable<'t, T>>,
            |(x, probability, generator)| x.dropout_here(probability, generator),
            (self, probability, generator)
        )
    }
}

impl<'t, T: Real> Variable<'t, T> {
    fn dropout_here(self, probability: f64, generator: &mut Generator) -> Result<Self> {
        if !(0.0..1.0).contains(&probability) {
            return Err(Error::Option {
                name: "probability",
                value: short(probability),
                expected: "a number from 0 to 1, without 1",
            });
        }
        let key = generator.bits();
        if probability == 0.0 {
            return Ok(self);
        }
        let isa = self.tape.isa();
        let mask = Mask {
            key,
            threshold: (probability * 2.0_f64.powi(32)) as u32,
            kept: T::from_f64(1.0 / (1.0 - probability)),
        };
        let mut value = lanes::standard(self.value());
        mask.apply(isa, array::slice_mut(&mut value));
        let operand = self.index;
        Ok(self.tape.push(value, &[self], move |mut gradient, flow| {
            mask.apply(flow.isa, array::slice_mut(&mut gradient));
            flow.add(operand, gradient);
            Ok(())
        }))
    }
}

/// A mask that is never stored: the forward and the backward both make it.
#[derive(Clone, Copy)]
struct Mask<T> {
    key: u64,
    threshold: u32,
    kept: T,
}

impl<T: Real> Mask<T> {
    fn apply(self, isa: Isa, to: &mut [T]) {
        let all = to.len();
        let pieces = to.chunks_mut(lanes::PIECE).enumerate();
        lanes::for_each(all, pieces, |(i, to)| {
            isa.dispatch(Apply { mask: self, first: (i * lanes::PIECE / 2) as u64, to });
        });
    }
}

struct Apply<'a, T> {
    mask: Mask<T>,
    first: u64,
    to: &'a mut [T],
}

impl<T: Real> Kernel for Apply<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { mask: Mask { key, threshold, kept }, first, to } = self;
        for (pair, index) in to.chunks_mut(2).zip(first..) {
            for (x, decision) in pair.iter_mut().zip(two_decisions(key, index)) {
                *x = if decision < threshold { T::ZERO } else { *x * kept };
            }
        }
    }
}
