//! Functions of one number.

use std::rc::Rc;

use crate::autodiff::array;
use crate::autodiff::lanes::{self, Elementwise, Function};
use crate::autodiff::tape::Variable;
use crate::element::{Real, compiled};
use crate::simd::exp::exp;
use crate::simd::normal::normal_distribution;
use crate::simd::tanh::tanh_with_derivative;
use crate::simd::{Simd, Vector, splat};

impl<'t, T: Real> Variable<'t, T> {
    pub(super) fn map(self, function: impl Function<T>) -> Self {
        self.map_by(Rc::new(function))
    }

    fn map_by(self, function: Rc<dyn Elementwise<T>>) -> Self {
        let x = lanes::standard(self.value());
        let isa = self.tape.isa();
        let y = array::shared(x.shape(), lanes::map(isa, array::slice(&x), &*function));
        let (operand, values) = (self.index, y.clone());
        self.tape.push(y, &[self], move |gradient, flow| {
            let mut gradient = gradient;
            let to = gradient.as_slice_mut().expect("standard layout");
            lanes::chain(flow.isa, to, array::slice(&x), array::slice(&values), &*function);
            flow.add(operand, gradient);
            Ok(())
        })
    }

    /// −x.
    ///
    /// ```
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// assert_eq!(tape.leaf(ndarray::arr0(2.0)).neg().scalar()?, -2.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    #[allow(clippy::should_implement_trait)]
    pub fn neg(self) -> Self {
        compiled!(['t] T: Variable<'t, T> => Variable<'t, T>, |x| x.neg_here(), self)
    }

    /// factor·x.
    ///
    /// ```
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// assert_eq!(tape.leaf(ndarray::arr0(2.0)).scale(1.5).scalar()?, 3.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn scale(self, factor: T) -> Self {
        compiled!(
            ['t] T: (Variable<'t, T>, T) => Variable<'t, T>,
            |(x, factor)| x.scale_here(factor),
            (self, factor)
        )
    }

    /// x + term.
    ///
    /// ```
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// assert_eq!(tape.leaf(ndarray::arr0(2.0)).add_scalar(0.5).scalar()?, 2.5);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn add_scalar(self, term: T) -> Self {
        compiled!(
            ['t] T: (Variable<'t, T>, T) => Variable<'t, T>,
            |(x, term)| x.add_scalar_here(term),
            (self, term)
        )
    }

    /// x where x > 0, else 0. The derivative at 0 is 0.
    ///
    /// ```
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// let x = tape.leaf(ndarray::arr1(&[-1.0, 2.0]));
    /// assert_eq!(x.relu().value(), ndarray::arr1(&[0.0, 2.0]).into_dyn());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn relu(self) -> Self {
        compiled!(['t] T: Variable<'t, T> => Variable<'t, T>, |x| x.relu_here(), self)
    }

    /// x·Φ(x) = x·(1 + erf(x/√2))/2, with the normal distribution Φ (Hendrycks and Gimpel, 2016).
    /// Φ is 0 where φ(x) would be subnormal: below −13.2 in f32, below −37.6 in f64.
    ///
    /// ```
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// let y = tape.leaf(ndarray::arr0(1.0)).gelu().scalar()?;
    /// assert!((y - 0.841344746068543).abs() < 1e-15);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn gelu(self) -> Self {
        compiled!(['t] T: Variable<'t, T> => Variable<'t, T>, |x| x.gelu_here(), self)
    }

    /// x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))/2, the approximation of [`gelu`](Self::gelu) in the
    /// same paper, within 5e-4 of it.
    ///
    /// ```
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// let y = tape.leaf(ndarray::arr0(1.0)).gelu_tanh().scalar()?;
    /// assert!((y - 0.8411919906082768).abs() < 1e-15);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn gelu_tanh(self) -> Self {
        compiled!(['t] T: Variable<'t, T> => Variable<'t, T>, |x| x.gelu_tanh_here(), self)
    }

    /// x·σ(x) = x/(1 + e⁻ˣ), also called swish.
    ///
    /// ```
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// let y = tape.leaf(ndarray::arr0(1.0)).silu().scalar()?;
    /// assert!((y - 0.7310585786300049).abs() < 1e-15);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn silu(self) -> Self {
        compiled!(['t] T: Variable<'t, T> => Variable<'t, T>, |x| x.silu_here(), self)
    }

    /// tanh x.
    ///
    /// ```
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// let y = tape.leaf(ndarray::arr0(1.0)).tanh().scalar()?;
    /// assert!((y - 0.7615941559557649).abs() < 1e-15);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn tanh(self) -> Self {
        compiled!(['t] T: Variable<'t, T> => Variable<'t, T>, |x| x.tanh_here(), self)
    }

    /// σ(x) = 1/(1 + e⁻ˣ).
    ///
    /// ```
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// assert_eq!(tape.leaf(ndarray::arr0(0.0)).sigmoid().scalar()?, 0.5);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn sigmoid(self) -> Self {
        compiled!(['t] T: Variable<'t, T> => Variable<'t, T>, |x| x.sigmoid_here(), self)
    }

    /// eˣ. What would be subnormal is 0.
    ///
    /// ```
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// assert_eq!(tape.leaf(ndarray::arr0(0.0)).exp().scalar()?, 1.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn exp(self) -> Self {
        compiled!(['t] T: Variable<'t, T> => Variable<'t, T>, |x| x.exp_here(), self)
    }

    /// ln x: NaN below 0, −∞ at 0.
    ///
    /// ```
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// assert_eq!(tape.leaf(ndarray::arr0(1.0)).ln().scalar()?, 0.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn ln(self) -> Self {
        compiled!(['t] T: Variable<'t, T> => Variable<'t, T>, |x| x.ln_here(), self)
    }

    /// √x: NaN below 0; the derivative at 0 is ∞.
    ///
    /// ```
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// assert_eq!(tape.leaf(ndarray::arr0(9.0)).sqrt().scalar()?, 3.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn sqrt(self) -> Self {
        compiled!(['t] T: Variable<'t, T> => Variable<'t, T>, |x| x.sqrt_here(), self)
    }

    /// xⁿ for an integer n; x⁰ = 1.
    ///
    /// ```
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// let x = tape.leaf(ndarray::arr0(3.0));
    /// let y = x.powi(2);
    /// assert_eq!((y.scalar()?, y.backward()?.of(x).unwrap()[[]]), (9.0, 6.0));
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn powi(self, exponent: i32) -> Self {
        compiled!(
            ['t] T: (Variable<'t, T>, i32) => Variable<'t, T>,
            |(x, exponent)| x.powi_here(exponent),
            (self, exponent)
        )
    }
}

impl<'t, T: Real> Variable<'t, T> {
    fn neg_here(self) -> Self {
        self.scale(T::ZERO - T::ONE)
    }

    fn scale_here(self, factor: T) -> Self {
        self.map(Scale(factor))
    }

    fn add_scalar_here(self, term: T) -> Self {
        self.map(AddScalar(term))
    }

    fn relu_here(self) -> Self {
        self.map(Relu)
    }

    fn gelu_here(self) -> Self {
        self.map(Gelu)
    }

    fn gelu_tanh_here(self) -> Self {
        self.map(GeluTanh)
    }

    fn silu_here(self) -> Self {
        self.map(Silu)
    }

    fn tanh_here(self) -> Self {
        self.map(Tanh)
    }

    fn sigmoid_here(self) -> Self {
        self.map(Sigmoid)
    }

    fn exp_here(self) -> Self {
        self.map(Exp)
    }

    fn ln_here(self) -> Self {
        self.map(Ln)
    }

    fn sqrt_here(self) -> Self {
        self.map(Sqrt)
    }

    fn powi_here(self, exponent: i32) -> Self {
        self.map(Powi(exponent))
    }
}

/// Lane by lane in f64, where there is no vector function.
#[inline(always)]
fn each<S: Simd, T: Real>(simd: S, x: T::Vector<S>, function: impl Fn(f64) -> f64) -> T::Vector<S> {
    let mut lanes = [T::ONE; 16];
    x.store(&mut lanes);
    for x in &mut lanes[..<T::Vector<S>>::LANES] {
        *x = T::from_f64(function(x.to_f64()));
    }
    <T::Vector<S>>::load(simd, &lanes)
}

#[inline(always)]
fn number<S: Simd, T: Real>(simd: S, value: f64) -> T::Vector<S> {
    splat::<S, T>(simd, T::from_f64(value))
}

#[derive(Clone, Copy)]
struct Scale<T>(T);

impl<T: Real> Function<T> for Scale<T> {
    #[inline(always)]
    fn value<S: Simd>(self, simd: S, x: T::Vector<S>) -> T::Vector<S> {
        x.mul(splat::<S, T>(simd, self.0))
    }
    #[inline(always)]
    fn derivative<S: Simd>(self, simd: S, _: T::Vector<S>, _: T::Vector<S>) -> T::Vector<S> {
        splat::<S, T>(simd, self.0)
    }
}

#[derive(Clone, Copy)]
struct AddScalar<T>(T);

impl<T: Real> Function<T> for AddScalar<T> {
    #[inline(always)]
    fn value<S: Simd>(self, simd: S, x: T::Vector<S>) -> T::Vector<S> {
        x.add(splat::<S, T>(simd, self.0))
    }
    #[inline(always)]
    fn derivative<S: Simd>(self, simd: S, _: T::Vector<S>, _: T::Vector<S>) -> T::Vector<S> {
        splat::<S, T>(simd, T::ONE)
    }
}

#[derive(Clone, Copy)]
struct Relu;

impl<T: Real> Function<T> for Relu {
    #[inline(always)]
    fn value<S: Simd>(self, simd: S, x: T::Vector<S>) -> T::Vector<S> {
        let zero = splat::<S, T>(simd, T::ZERO);
        <T::Vector<S>>::select_less(x, zero, zero, x)
    }
    #[inline(always)]
    fn derivative<S: Simd>(self, simd: S, x: T::Vector<S>, _: T::Vector<S>) -> T::Vector<S> {
        let (zero, one) = (splat::<S, T>(simd, T::ZERO), splat::<S, T>(simd, T::ONE));
        <T::Vector<S>>::select_less(zero, x, one, zero)
    }
}

/// `(σ(z), σ′(z))`, with the digits of the smaller of σ and 1 − σ.
#[inline(always)]
fn sigmoid_with_derivative<S: Simd, T: Real>(
    simd: S,
    z: T::Vector<S>,
) -> (T::Vector<S>, T::Vector<S>) {
    let (zero, one) = (splat::<S, T>(simd, T::ZERO), splat::<S, T>(simd, T::ONE));
    let e = exp::<S, T>(simd, zero.sub(z.abs()));
    let inverse = one.div(one.add(e));
    let small = e.mul(inverse);
    (<T::Vector<S>>::select_less(z, zero, small, inverse), small.mul(inverse))
}

/// The derivative of x·σ(z) for a z with this slope. Where x·σ′ would be ∞·0 it is 0.
#[inline(always)]
fn gated<S: Simd, T: Real>(
    simd: S,
    x: T::Vector<S>,
    (gate, derivative): (T::Vector<S>, T::Vector<S>),
    slope: T::Vector<S>,
) -> T::Vector<S> {
    let zero = splat::<S, T>(simd, T::ZERO);
    let term = <T::Vector<S>>::select_less(zero, derivative, derivative.mul(slope).mul(x), zero);
    // A NaN has taken the zero, and is in the gate too.
    gate.add(term)
}

#[derive(Clone, Copy)]
struct Sigmoid;

impl<T: Real> Function<T> for Sigmoid {
    #[inline(always)]
    fn value<S: Simd>(self, simd: S, x: T::Vector<S>) -> T::Vector<S> {
        sigmoid_with_derivative::<S, T>(simd, x).0
    }
    #[inline(always)]
    fn derivative<S: Simd>(self, simd: S, x: T::Vector<S>, _: T::Vector<S>) -> T::Vector<S> {
        sigmoid_with_derivative::<S, T>(simd, x).1
    }
}

#[derive(Clone, Copy)]
struct Silu;

impl<T: Real> Function<T> for Silu {
    #[inline(always)]
    fn value<S: Simd>(self, simd: S, x: T::Vector<S>) -> T::Vector<S> {
        times_gate::<S, T>(simd, x, sigmoid_with_derivative::<S, T>(simd, x).0)
    }
    #[inline(always)]
    fn derivative<S: Simd>(self, simd: S, x: T::Vector<S>, _: T::Vector<S>) -> T::Vector<S> {
        let gate = sigmoid_with_derivative::<S, T>(simd, x);
        gated::<S, T>(simd, x, gate, splat::<S, T>(simd, T::ONE))
    }
}

/// x·gate; 0 where the gate is closed, x = −∞ included.
#[inline(always)]
fn times_gate<S: Simd, T: Real>(simd: S, x: T::Vector<S>, gate: T::Vector<S>) -> T::Vector<S> {
    let zero = splat::<S, T>(simd, T::ZERO);
    // With the operands exchanged a NaN gate takes the product.
    let closed = <T::Vector<S>>::select_less(zero, gate, x.mul(gate), zero);
    <T::Vector<S>>::select_less(gate, splat::<S, T>(simd, T::from_f64(2.0)), closed, gate)
}

#[derive(Clone, Copy)]
struct GeluTanh;

/// 2·√(2/π): (1 + tanh u)/2 = σ(2u).
const TWICE_SQRT_2_OVER_PI: f64 = 1.595_769_121_605_730_7;

/// The coefficient of x³.
const CUBIC: f64 = 0.044715;

impl<T: Real> Function<T> for GeluTanh {
    #[inline(always)]
    fn value<S: Simd>(self, simd: S, x: T::Vector<S>) -> T::Vector<S> {
        let cubic = number::<S, T>(simd, TWICE_SQRT_2_OVER_PI * CUBIC);
        let linear = number::<S, T>(simd, TWICE_SQRT_2_OVER_PI);
        let z = x.mul(x).mul_add(cubic, linear).mul(x);
        times_gate::<S, T>(simd, x, sigmoid_with_derivative::<S, T>(simd, z).0)
    }
    #[inline(always)]
    fn derivative<S: Simd>(self, simd: S, x: T::Vector<S>, _: T::Vector<S>) -> T::Vector<S> {
        let cubic = number::<S, T>(simd, TWICE_SQRT_2_OVER_PI * CUBIC);
        let linear = number::<S, T>(simd, TWICE_SQRT_2_OVER_PI);
        let square = x.mul(x);
        let z = square.mul_add(cubic, linear).mul(x);
        let slope = number::<S, T>(simd, 3.0 * TWICE_SQRT_2_OVER_PI * CUBIC);
        let slope = square.mul_add(slope, linear);
        gated::<S, T>(simd, x, sigmoid_with_derivative::<S, T>(simd, z), slope)
    }
}

#[derive(Clone, Copy)]
struct Gelu;

impl<T: Real> Function<T> for Gelu {
    #[inline(always)]
    fn value<S: Simd>(self, simd: S, x: T::Vector<S>) -> T::Vector<S> {
        times_gate::<S, T>(simd, x, normal_distribution::<S, T>(simd, x).0)
    }
    #[inline(always)]
    fn derivative<S: Simd>(self, simd: S, x: T::Vector<S>, _: T::Vector<S>) -> T::Vector<S> {
        let zero = splat::<S, T>(simd, T::ZERO);
        let (gate, density) = normal_distribution::<S, T>(simd, x);
        // Where the density is 0 the product would be ∞·0; a NaN in x is in the product.
        let far = number::<S, T>(simd, 40.0);
        let term = <T::Vector<S>>::select_less(far, x.abs(), zero, x.mul(density));
        gate.add(term)
    }
}

#[derive(Clone, Copy)]
struct Tanh;

impl<T: Real> Function<T> for Tanh {
    #[inline(always)]
    fn value<S: Simd>(self, simd: S, x: T::Vector<S>) -> T::Vector<S> {
        tanh_with_derivative::<S, T>(simd, x).0
    }
    #[inline(always)]
    fn derivative<S: Simd>(self, simd: S, x: T::Vector<S>, _: T::Vector<S>) -> T::Vector<S> {
        tanh_with_derivative::<S, T>(simd, x).1
    }
}

#[derive(Clone, Copy)]
struct Exp;

impl<T: Real> Function<T> for Exp {
    #[inline(always)]
    fn value<S: Simd>(self, simd: S, x: T::Vector<S>) -> T::Vector<S> {
        // Near its end the vector function has no power of two left.
        let large = T::from_f64(if T::EPSILON > 1e-10 { 88.0 } else { 709.0 });
        match x.greater_mask(splat::<S, T>(simd, large)) {
            0 => exp::<S, T>(simd, x),
            _ => each::<S, T>(simd, x, f64::exp),
        }
    }
    #[inline(always)]
    fn derivative<S: Simd>(self, _: S, _: T::Vector<S>, y: T::Vector<S>) -> T::Vector<S> {
        y
    }
}

#[derive(Clone, Copy)]
struct Ln;

impl<T: Real> Function<T> for Ln {
    #[inline(always)]
    fn value<S: Simd>(self, simd: S, x: T::Vector<S>) -> T::Vector<S> {
        each::<S, T>(simd, x, f64::ln)
    }
    #[inline(always)]
    fn derivative<S: Simd>(self, simd: S, x: T::Vector<S>, _: T::Vector<S>) -> T::Vector<S> {
        splat::<S, T>(simd, T::ONE).div(x)
    }
}

#[derive(Clone, Copy)]
struct Sqrt;

impl<T: Real> Function<T> for Sqrt {
    #[inline(always)]
    fn value<S: Simd>(self, simd: S, x: T::Vector<S>) -> T::Vector<S> {
        each::<S, T>(simd, x, f64::sqrt)
    }
    #[inline(always)]
    fn derivative<S: Simd>(self, simd: S, _: T::Vector<S>, y: T::Vector<S>) -> T::Vector<S> {
        number::<S, T>(simd, 0.5).div(y)
    }
}

#[derive(Clone, Copy)]
struct Powi(i32);

impl<T: Real> Function<T> for Powi {
    #[inline(always)]
    fn value<S: Simd>(self, simd: S, x: T::Vector<S>) -> T::Vector<S> {
        match self.0 {
            2 => x.mul(x),
            n => each::<S, T>(simd, x, |x| x.powi(n)),
        }
    }
    #[inline(always)]
    fn derivative<S: Simd>(self, simd: S, x: T::Vector<S>, _: T::Vector<S>) -> T::Vector<S> {
        match self.0 {
            0 => splat::<S, T>(simd, T::ZERO),
            2 => x.add(x),
            n => each::<S, T>(simd, x, |x| f64::from(n) * x.powi(n.saturating_sub(1))),
        }
    }
}
