//! Rows brought to one scale.

use crate::autodiff::array::{self, Shared};
use crate::autodiff::lanes::{self, sum_lanes};
use crate::autodiff::tape::{Variable, shape_error};
use crate::element::{Real, compiled};
use crate::error::{Error, Result, short};
use crate::quotient::{exponent, times_power};
use crate::simd::{Isa, Kernel, Simd, Vector, for_each_vector, read, splat};

impl<'t, T: Real> Variable<'t, T> {
    /// Layer normalisation over the last axis, of length D (Ba, Kiros and Hinton, 2016):
    ///
    /// ```text
    /// y = gain·(x − μ)/√(σ² + ε) + bias      σ² = Σ (x − μ)²/D
    /// ```
    ///
    /// `gain` and `bias` are `[D]`; without one it is 1, or 0.
    ///
    /// ```
    /// use ndarray::{arr1, arr2};
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// let x = tape.leaf(arr2(&[[1.0, 3.0]]));
    /// let gain = tape.leaf(arr1(&[2.0, 2.0]));
    /// let y = x.layer_norm(Some(gain), None, 0.0)?;
    /// assert_eq!(y.value(), arr2(&[[-2.0, 2.0]]).into_dyn());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] where the value has no axis or a factor another length; [`Error::Option`] for an ε
    /// that is negative or not finite; [`Error::Conflict`] for a value of another tape.
    pub fn layer_norm(self, gain: Option<Self>, bias: Option<Self>, epsilon: f64) -> Result<Self> {
        compiled!(
            ['t] T: (Variable<'t, T>, Option<Variable<'t, T>>, Option<Variable<'t, T>>, f64) => Result<Variable<'t, T>>,
            |(x, gain, bias, epsilon)| x.layer_norm_here(gain, bias, epsilon),
            (self, gain, bias, epsilon)
        )
    }

    /// Division by the root mean square of the last axis, of length D (Zhang and Sennrich, 2019):
    ///
    /// ```text
    /// y = gain·x/√(Σ x²/D + ε)
    /// ```
    ///
    /// `gain` is `[D]`; without it, it is 1.
    ///
    /// ```
    /// use ndarray::arr2;
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// let x = tape.leaf(arr2(&[[3.0, -3.0]]));
    /// assert_eq!(x.rms_norm(None, 0.0)?.value(), arr2(&[[1.0, -1.0]]).into_dyn());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`layer_norm`](Self::layer_norm).
    pub fn rms_norm(self, gain: Option<Self>, epsilon: f64) -> Result<Self> {
        compiled!(
            ['t] T: (Variable<'t, T>, Option<Variable<'t, T>>, f64) => Result<Variable<'t, T>>,
            |(x, gain, epsilon)| x.rms_norm_here(gain, epsilon),
            (self, gain, epsilon)
        )
    }

    fn normalize<const CENTER: bool>(
        self,
        gain: Option<Self>,
        bias: Option<Self>,
        epsilon: f64,
    ) -> Result<Self> {
        if !(epsilon.is_finite() && epsilon >= 0.0) {
            return Err(Error::Option {
                name: "epsilon",
                value: short(epsilon),
                expected: "a finite number of at least 0",
            });
        }
        let x = lanes::standard(self.value());
        let Some(&width) = x.shape().last() else {
            return Err(shape_error("the value to normalise", &x, "at least one axis"));
        };
        let vector = |argument: &'static str, of: Option<Self>| -> Result<Option<Shared<T>>> {
            let Some(of) = of else { return Ok(None) };
            self.on_the_same_tape(argument, of)?;
            let value = lanes::standard(of.value());
            match *value.shape() == [width] {
                true => Ok(Some(value)),
                false => Err(shape_error(argument, &value, format!("[{width}]"))),
            }
        };
        let (gains, biases) = (vector("the gain", gain)?, vector("the bias", bias)?);
        let isa = self.tape.isa();
        let rows = x.len().checked_div(width).unwrap_or(0);
        let norm = Norm::<T, CENTER> { x, width, rows, gains };
        let (value, scales) = norm.forward(isa, biases.as_ref().map(array::slice), epsilon);
        let index = |of: Option<Self>| of.map(|of| of.index);
        let (operand, factors) = (self.index, [index(gain), index(bias)]);
        let all: Vec<Self> = [Some(self), gain, bias].into_iter().flatten().collect();
        Ok(self.tape.push(value, &all, move |mut gradient, flow| {
            if factors.iter().flatten().any(|&factor| flow.wants(factor)) {
                let sums = norm.factors(flow.isa, array::slice(&gradient), &scales);
                for (factor, sums) in factors.into_iter().zip([&sums[..width], &sums[width..]]) {
                    if let Some(factor) = factor {
                        flow.add(factor, array::shared(&[width], sums.to_vec()));
                    }
                }
            }
            if flow.wants(operand) {
                norm.backward(flow.isa, array::slice_mut(&mut gradient), &scales);
                flow.add(operand, gradient);
            }
            Ok(())
        }))
    }
}

impl<'t, T: Real> Variable<'t, T> {
    fn layer_norm_here(self, gain: Option<Self>, bias: Option<Self>, epsilon: f64) -> Result<Self> {
        self.normalize::<true>(gain, bias, epsilon)
    }

    fn rms_norm_here(self, gain: Option<Self>, epsilon: f64) -> Result<Self> {
        self.normalize::<false>(gain, None, epsilon)
    }
}

/// What is normalised, and by what it is multiplied.
struct Norm<T, const CENTER: bool> {
    x: Shared<T>,
    width: usize,
    rows: usize,
    gains: Option<Shared<T>>,
}

impl<T: Real, const CENTER: bool> Norm<T, CENTER> {
    fn gains(&self) -> Option<&[T]> {
        self.gains.as_ref().map(array::slice)
    }

    /// The values, and of each row its mean and one over its scale.
    fn forward(&self, isa: Isa, bias: Option<&[T]>, epsilon: f64) -> (Shared<T>, Vec<[T; 2]>) {
        let (width, gain) = (self.width, self.gains());
        let mut value = vec![T::ZERO; self.x.len()];
        let mut scales = vec![[T::ZERO; 2]; self.rows];
        if self.rows > 0 {
            let piece = lanes::rows_of_a_piece(width);
            let to = value.chunks_mut(piece * width).zip(scales.chunks_mut(piece));
            let tasks = array::slice(&self.x).chunks(piece * width).zip(to);
            lanes::for_each(self.x.len(), tasks, |(x, (y, scales))| {
                let rows = x.chunks_exact(width).zip(y.chunks_exact_mut(width));
                for ((x, y), scales) in rows.zip(scales) {
                    *scales = isa.dispatch(Forward::<T, CENTER> { x, y, gain, bias, epsilon });
                }
            });
        }
        (array::shared(self.x.shape(), value), scales)
    }

    /// The derivatives of the gain, then those of the bias.
    fn factors(&self, isa: Isa, gradient: &[T], scales: &[[T; 2]]) -> Vec<T> {
        let (width, size) = (self.width, lanes::rows_of_a_block());
        if self.rows == 0 {
            return vec![T::ZERO; 2 * width];
        }
        let blocks = gradient.chunks(size * width);
        let blocks = blocks.zip(array::slice(&self.x).chunks(size * width));
        let blocks = blocks.zip(scales.chunks(size));
        lanes::column_sums_with(gradient.len(), blocks, 2 * width, |((g, x), scales), sums| {
            let (gains, biases) = sums.split_at_mut(width);
            let rows = g.chunks_exact(width).zip(x.chunks_exact(width)).zip(scales);
            for ((g, x), &scales) in rows {
                isa.dispatch(Factors { g, x, scales, gains, biases });
            }
        })
    }

    /// Turns the derivatives of the values into those of x.
    fn backward(&self, isa: Isa, gradient: &mut [T], scales: &[[T; 2]]) {
        if self.rows == 0 {
            return;
        }
        let (width, gain) = (self.width, self.gains());
        let piece = lanes::rows_of_a_piece(width);
        let from = array::slice(&self.x).chunks(piece * width).zip(scales.chunks(piece));
        let tasks = gradient.chunks_mut(piece * width).zip(from);
        lanes::for_each(self.x.len(), tasks, |(g, (x, scales))| {
            let rows = g.chunks_exact_mut(width).zip(x.chunks_exact(width));
            for ((g, x), &scales) in rows.zip(scales) {
                isa.dispatch(Backward::<T, CENTER> { g, x, scales, gain });
            }
        });
    }
}

struct Forward<'a, T, const CENTER: bool> {
    x: &'a [T],
    y: &'a mut [T],
    gain: Option<&'a [T]>,
    bias: Option<&'a [T]>,
    epsilon: f64,
}

impl<T: Real, const CENTER: bool> Kernel for Forward<'_, T, CENTER> {
    type Output = [T; 2];

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> [T; 2] {
        let Self { x, y, gain, bias, epsilon } = self;
        let count = T::from_f64(x.len() as f64);
        let mut mean = match CENTER {
            true => sum_lanes::<S, T>(simd, x, |x| x) / count,
            false => T::ZERO,
        };
        let center = splat::<S, T>(simd, mean);
        let squares = sum_lanes::<S, T>(simd, x, |x| {
            let x = x.sub(center);
            x.mul(x)
        });
        let squares_or_epsilon = squares.to_f64().max(epsilon);
        let inverse = match squares.to_f64().is_finite() && squares_or_epsilon >= T::FADED {
            true => {
                let variance = (squares / count).to_f64();
                1.0 / (variance + epsilon).sqrt()
            }
            false => {
                let (exact, inverse) = out_of_range::<T, CENTER>(x, epsilon);
                mean = exact;
                inverse
            }
        };
        let (center, inverse) = (splat::<S, T>(simd, mean), T::from_f64(inverse));
        let scale = splat::<S, T>(simd, inverse);
        let lanes = <T::Vector<S>>::LANES;
        for_each_vector!(T::Vector<S>, simd, x, T::ZERO, |vector, offset| {
            let whole = offset + lanes <= x.len();
            let mut z = vector.sub(center).mul(scale);
            if let Some(gain) = gain {
                z = z.mul(read::<S, T>(simd, gain, offset, whole));
            }
            if let Some(bias) = bias {
                z = z.add(read::<S, T>(simd, bias, offset, whole));
            }
            match whole {
                true => z.store(&mut y[offset..]),
                false => z.store_tail(&mut y[offset..], T::ZERO),
            }
        });
        [mean, inverse]
    }
}

/// The mean and 1/√(variance + ε) of a row whose squares are beyond the type's range, or below it: of
/// the numbers without a power of two.
#[cold]
fn out_of_range<T: Real, const CENTER: bool>(x: &[T], epsilon: f64) -> (T, f64) {
    let power = exponent(x.iter().fold(0.0, |most, x| x.to_f64().abs().max(most)));
    let scaled = || x.iter().map(|x| times_power(x.to_f64(), -power));
    let count = x.len() as f64;
    let mean = if CENTER { scaled().sum::<f64>() / count } else { 0.0 };
    let variance = scaled().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
    let deviation = (variance + times_power(epsilon, -2 * power)).sqrt();
    (T::from_f64(times_power(mean, power)), times_power(1.0 / deviation, -power))
}

/// With x̂ = (x − μ)/s and h = gain·g: dx = (h − mean(h) − x̂·mean(h·x̂))/s, without mean(h) where
/// nothing was centred.
struct Backward<'a, T, const CENTER: bool> {
    g: &'a mut [T],
    x: &'a [T],
    scales: [T; 2],
    gain: Option<&'a [T]>,
}

impl<T: Real, const CENTER: bool> Kernel for Backward<'_, T, CENTER> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { g, x, scales: [mean, inverse], gain } = self;
        let (center, scale) = (splat::<S, T>(simd, mean), splat::<S, T>(simd, inverse));
        let zero = splat::<S, T>(simd, T::ZERO);
        let lanes = <T::Vector<S>>::LANES;
        let (mut sum, mut products) = (zero, zero);
        let mut offset = 0;
        while offset < x.len() {
            let whole = offset + lanes <= x.len();
            let mut h = read::<S, T>(simd, g, offset, whole);
            if let Some(gain) = gain {
                h = h.mul(read::<S, T>(simd, gain, offset, whole));
            }
            // Beyond the end h is 0.
            let normal = read::<S, T>(simd, x, offset, whole).sub(center).mul(scale);
            sum = sum.add(h);
            products = h.mul_add(normal, products);
            offset += lanes;
        }
        let count = T::from_f64(x.len() as f64);
        let sum = if CENTER { sum.sum() / count } else { T::ZERO };
        let sum = splat::<S, T>(simd, sum);
        let products = splat::<S, T>(simd, T::ZERO - products.sum() / count);
        let mut offset = 0;
        while offset < x.len() {
            let whole = offset + lanes <= x.len();
            let mut h = read::<S, T>(simd, g, offset, whole);
            if let Some(gain) = gain {
                h = h.mul(read::<S, T>(simd, gain, offset, whole));
            }
            let normal = read::<S, T>(simd, x, offset, whole).sub(center).mul(scale);
            let d = normal.mul_add(products, h.sub(sum)).mul(scale);
            match whole {
                true => d.store(&mut g[offset..]),
                false => d.store_tail(&mut g[offset..], T::ZERO),
            }
            offset += lanes;
        }
    }
}

/// dgain += g·x̂ and dbias += g of one row.
struct Factors<'a, T> {
    g: &'a [T],
    x: &'a [T],
    scales: [T; 2],
    gains: &'a mut [T],
    biases: &'a mut [T],
}

impl<T: Real> Kernel for Factors<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let [mean, inverse] = self.scales;
        let to = self.gains.iter_mut().zip(self.biases);
        for ((gain, bias), (&g, &x)) in to.zip(self.g.iter().zip(self.x)) {
            *gain += g * ((x - mean) * inverse);
            *bias += g;
        }
    }
}
