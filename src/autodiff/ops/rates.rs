//! What rounded numbers cost under a distribution that is learnt.

use ndarray::Ix1;

use crate::autodiff::array::{self, Shared};
use crate::autodiff::lanes;
use crate::autodiff::tape::{Variable, shape_error};
use crate::element::{Real, compiled};
use crate::error::Result;
use crate::rates::Discretized;

impl<'t, T: Real> Variable<'t, T> {
    /// The bits of each number of this value under the distribution that is cut into unit intervals, with a mean and a scale
    /// for each, of one shape all; [`Discretized`] has the formula. All three may have derivatives: numbers that are
    /// rounded are a constant, numbers with uniform noise are not.
    ///
    /// ```
    /// use ndarray::arr1;
    /// use surprisal::{autodiff::Tape, rates::Discretized};
    /// let tape = Tape::<f64>::new()?;
    /// let latents = tape.constant(arr1(&[0.0, 3.0]));
    /// let (mean, scale) = (tape.leaf(arr1(&[0.0, 0.25])), tape.leaf(arr1(&[1.0, 1.5])));
    /// let bits = latents.discretized_bits(mean, scale, &Discretized::gaussian())?.sum();
    /// assert!((bits.scalar()? - 5.659198694052462).abs() < 1e-14);
    /// assert!(bits.backward()?.of(mean).unwrap()[1] < 0.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Discretized::evaluate`]; [`Error::Shape`](crate::Error::Shape) for shapes that differ;
    /// [`Error::Conflict`](crate::Error::Conflict) for values of several tapes.
    pub fn discretized_bits(self, mean: Self, scale: Self, rate: &Discretized) -> Result<Self> {
        compiled!(
            ['t, 'r] T: ([Variable<'t, T>; 3], &'r Discretized) => Result<Variable<'t, T>>,
            |([values, mean, scale], rate)| values.discretized_bits_here(mean, scale, rate),
            ([self, mean, scale], rate)
        )
    }

    fn discretized_bits_here(self, mean: Self, scale: Self, rate: &Discretized) -> Result<Self> {
        let shape = self.shape();
        for (name, operand) in [("the mean", mean), ("the scale", scale)] {
            self.on_the_same_tape(name, operand)?;
            if operand.shape() != shape {
                let expected = format!("{shape:?}, as the numbers have");
                return Err(shape_error(name, &operand.value(), expected));
            }
        }
        let flat = |operand: Self| {
            let value = lanes::standard(operand.value());
            let count = value.len();
            let flat = array::reshaped(value, &[count]);
            flat.into_dimensionality::<Ix1>().expect("one axis")
        };
        let rates = rate.evaluate(&flat(self), &flat(mean), &flat(scale))?;
        let narrow = |numbers: ndarray::ArrayView1<'_, f64>| -> Shared<T> {
            array::shared(&shape, numbers.iter().map(|&x| T::from_f64(x)).collect())
        };
        let value = narrow(rates.bits().view());
        let (by_mean, by_scale) = (narrow(rates.by_mean.view()), narrow(rates.by_scale.view()));
        let operands = [self, mean, scale];
        let places = operands.map(|operand| operand.index);
        Ok(self.tape.push(value, &operands, move |upstream, flow| {
            let upstream = lanes::standard(upstream);
            let times = |slopes: &Shared<T>, sign: T| {
                let mut part = slopes.clone();
                let numbers = array::slice_mut(&mut part).iter_mut();
                for (slope, &upstream) in numbers.zip(array::slice(&upstream)) {
                    *slope = sign * *slope * upstream;
                }
                part
            };
            // Numbers and means only come in as their difference.
            for (place, slopes, sign) in [
                (places[0], &by_mean, -T::ONE),
                (places[1], &by_mean, T::ONE),
                (places[2], &by_scale, T::ONE),
            ] {
                if flow.wants(place) {
                    flow.add(place, times(slopes, sign));
                }
            }
            Ok(())
        }))
    }
}
