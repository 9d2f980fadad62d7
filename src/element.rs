//! The number types: what arrays may hold, and what is computed in.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use ndarray::{ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2};
use std::fmt::{Debug, Display, LowerExp};
use std::ops::{Add, AddAssign, Div, Mul, Neg, Range, Sub};

use crate::gemm;
use crate::matrix::{Matrix, MatrixMut, Vector, VectorMut};
use crate::simd::SimdReal;

mod sealed {
    pub trait Sealed {}
    impl Sealed for f64 {}
    impl Sealed for f32 {}
    impl Sealed for half::bf16 {}
    impl Sealed for half::f16 {}
}

/// A type that input and gradient arrays may hold: `f64`, `f32`, [`bf16`](struct@half::bf16) or [`f16`](struct@half::f16).
///
/// ```
/// use surprisal::Element;
/// assert_eq!(half::bf16::from_f64(1.0 / 3.0).to_f64(), 0.333984375);
/// assert_eq!(<half::f16 as Element>::NAME, "f16");
/// ```
pub trait Element: sealed::Sealed + Copy + Default + Send + Sync + Debug + 'static {
    /// What this type is computed in: `f64` for `f64`, else `f32`.
    type Real: Real;
    /// The type's name.
    const NAME: &'static str;
    /// The distance from 1 to the next larger number.
    const EPSILON: f64;
    /// The value, exactly.
    fn to_f64(self) -> f64;
    /// The nearest number of this type.
    fn from_f64(value: f64) -> Self;
    #[doc(hidden)]
    fn widen_to_f32(from: &[Self], to: &mut [f32]);
    #[doc(hidden)]
    fn widen_to_f64(from: &[Self], to: &mut [f64]);
    /// This view, with its type as a value.
    fn matrix(view: ArrayView2<'_, Self>) -> Matrix<'_>;
    /// This view, with its type as a value.
    fn vector(view: ArrayView1<'_, Self>) -> Vector<'_>;
    /// This view, with its type as a value.
    fn matrix_view_mut(view: ArrayViewMut2<'_, Self>) -> MatrixMut<'_>;
    /// This view, with its type as a value.
    fn vector_view_mut(view: ArrayViewMut1<'_, Self>) -> VectorMut<'_>;
}

/// A type that the factors of a product may hold without being converted.
#[doc(hidden)]
pub trait Operand: Element + gemm::Dispatch<Sum = <Self as Element>::Real> {
    /// Some columns of a row, in this type.
    fn read(matrix: &Matrix<'_>, row: usize, columns: Range<usize>, to: &mut [Self]);
    /// The matrix, where it holds this type.
    fn stored<'a>(matrix: &Matrix<'a>) -> Option<ArrayView2<'a, Self>>;
    /// The number, in what products are summed in.
    fn to_sum(self) -> Self::Sum;
}

/// A type that is computed in: `f32` or `f64`.
///
/// ```
/// fn half<R: surprisal::Real>(x: R) -> R { x * R::from_f64(0.5) }
/// assert_eq!(half(3.0_f32), 1.5);
/// ```
pub trait Real:
    Element<Real = Self>
    + SimdReal
    + Operand<Real = Self, Sum = Self>
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + PartialOrd
    + Display
    + LowerExp
{
    /// Zero.
    const ZERO: Self;
    /// One.
    const ONE: Self;
    /// Minus infinity.
    const NEG_INFINITY: Self;
    /// A sum of a block's exponentials below which those that are not normal numbers, and so 0, may be
    /// missed: 2^8 of them at the least normal number are a quarter of its last bit.
    #[doc(hidden)]
    const FADED: f64;
    #[doc(hidden)]
    fn square_root(self) -> Self;
    /// The narrowest format whose products have their sums in this type.
    #[doc(hidden)]
    type Narrow: Operand<Real = Self, Sum = Self>;
    /// Runs the body that is of this type.
    #[doc(hidden)]
    fn run<C: Compiled>(input: C::In<Self>) -> C::Out<Self>;
    #[doc(hidden)]
    fn widen<T: Element>(from: &[T], to: &mut [Self]);
    #[doc(hidden)]
    fn view<'a>(matrix: &Matrix<'a>) -> Option<ArrayView2<'a, Self>>;
    #[doc(hidden)]
    fn view_mut<'a, 'b>(matrix: &'b mut MatrixMut<'a>) -> Option<ArrayViewMut2<'b, Self>>;
}

/// A computation with two bodies, one for each type that is computed in: what is generic outside is
/// compiled here all the same, and once.
#[doc(hidden)]
pub trait Compiled {
    /// What it takes.
    type In<T: Real>;
    /// What it returns.
    type Out<T: Real>;
    /// The computation in f32.
    fn single(input: Self::In<f32>) -> Self::Out<f32>;
    /// The computation in f64.
    fn double(input: Self::In<f64>) -> Self::Out<f64>;
}

/// Runs an expression in a body that is compiled in this crate: `[lifetimes] T: input => output,
/// |pattern| expression, argument`. A generic function would be compiled again by every program that
/// calls it.
macro_rules! compiled {
    ([$($life:lifetime $(: $longer:lifetime)?),*] $type:ident: $in:ty => $out:ty, |$x:pat_param| $body:expr, $argument:expr) => {{
        #[allow(dead_code)]
        struct Here<$($life $(: $longer)?),*>($(std::marker::PhantomData<&$life ()>),*);
        impl<$($life $(: $longer)?),*> $crate::element::Compiled for Here<$($life),*> {
            type In<$type: Real> = $in;
            type Out<$type: Real> = $out;
            fn single($x: Self::In<f32>) -> Self::Out<f32> {
                $body
            }
            fn double($x: Self::In<f64>) -> Self::Out<f64> {
                $body
            }
        }
        <$type as Real>::run::<Here>($argument)
    }};
}
pub(crate) use compiled;

macro_rules! element {
    ($type:ty, $real:ty, $name:literal, $epsilon:expr, $variant:ident, $to:expr, $from:expr,
     $widen_to_f32:expr, $widen_to_f64:expr) => {
        impl Element for $type {
            type Real = $real;
            const NAME: &'static str = $name;
            const EPSILON: f64 = $epsilon;
            #[inline]
            fn to_f64(self) -> f64 {
                $to(self)
            }
            #[inline]
            fn from_f64(value: f64) -> Self {
                $from(value)
            }
            fn widen_to_f32(from: &[Self], to: &mut [f32]) {
                $widen_to_f32(from, to)
            }
            fn widen_to_f64(from: &[Self], to: &mut [f64]) {
                $widen_to_f64(from, to)
            }
            fn matrix(view: ArrayView2<'_, Self>) -> Matrix<'_> {
                Matrix::$variant(view)
            }
            fn vector(view: ArrayView1<'_, Self>) -> Vector<'_> {
                Vector::$variant(view)
            }
            fn matrix_view_mut(view: ArrayViewMut2<'_, Self>) -> MatrixMut<'_> {
                MatrixMut::$variant(view)
            }
            fn vector_view_mut(view: ArrayViewMut1<'_, Self>) -> VectorMut<'_> {
                VectorMut::$variant(view)
            }
        }
    };
}

element!(f64, f64, "f64", f64::EPSILON, F64, |x| x, |x| x, convert_slice, copy_slice);
element!(
    f32,
    f32,
    "f32",
    f32::EPSILON as f64,
    F32,
    f64::from,
    |x| x as f32,
    copy_slice,
    convert_slice
);
element!(
    bf16,
    f32,
    "bf16",
    0.0078125,
    Bf16,
    bf16::to_f64,
    |x| bf16::from_f32(to_odd(x)),
    HalfFloatSliceExt::convert_to_f32_slice,
    HalfFloatSliceExt::convert_to_f64_slice
);
element!(
    f16,
    f32,
    "f16",
    0.0009765625,
    F16,
    f16::to_f64,
    |x| f16::from_f32(to_odd(x)),
    HalfFloatSliceExt::convert_to_f32_slice,
    HalfFloatSliceExt::convert_to_f64_slice
);

/// The f32 next to `x` whose last bit is odd, or `x` itself: rounded once more, to fewer bits, it
/// gives what `x` gives when it is rounded once.
fn to_odd(x: f64) -> f32 {
    let nearest = x as f32;
    let exact = f64::from(nearest) == x || !nearest.is_finite() || nearest == 0.0;
    let bits = nearest.to_bits();
    if exact || bits & 1 == 1 {
        return nearest;
    }
    let outwards = (f64::from(nearest).abs()) < x.abs();
    f32::from_bits(if outwards { bits + 1 } else { bits - 1 })
}

fn copy_slice<T: Copy>(from: &[T], to: &mut [T]) {
    to.copy_from_slice(from);
}

fn convert_slice<T: Element, R: Element>(from: &[T], to: &mut [R]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = R::from_f64(from.to_f64());
    }
}

macro_rules! real {
    ($type:ty, $variant:ident, $widen:ident, $narrow:ty, $body:ident) => {
        impl Operand for $type {
            fn read(matrix: &Matrix<'_>, row: usize, columns: Range<usize>, to: &mut [Self]) {
                matrix.read(row, columns, to);
            }
            fn stored<'a>(matrix: &Matrix<'a>) -> Option<ArrayView2<'a, Self>> {
                <$type as Real>::view(matrix)
            }
            #[inline(always)]
            fn to_sum(self) -> Self {
                self
            }
        }

        impl Real for $type {
            type Narrow = $narrow;
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const NEG_INFINITY: Self = <$type>::NEG_INFINITY;
            const FADED: f64 = <$type>::MIN_POSITIVE as f64 * 1024.0 / <$type>::EPSILON as f64;
            #[inline(always)]
            fn square_root(self) -> Self {
                self.sqrt()
            }
            #[inline(always)]
            fn run<C: Compiled>(input: C::In<Self>) -> C::Out<Self> {
                C::$body(input)
            }
            fn widen<T: Element>(from: &[T], to: &mut [Self]) {
                T::$widen(from, to)
            }
            fn view<'a>(matrix: &Matrix<'a>) -> Option<ArrayView2<'a, Self>> {
                match matrix {
                    Matrix::$variant(view) => Some(*view),
                    _ => None,
                }
            }
            fn view_mut<'a, 'b>(matrix: &'b mut MatrixMut<'a>) -> Option<ArrayViewMut2<'b, Self>> {
                match matrix {
                    MatrixMut::$variant(view) => Some(view.view_mut()),
                    _ => None,
                }
            }
        }
    };
}

impl Operand for bf16 {
    fn read(matrix: &Matrix<'_>, row: usize, columns: Range<usize>, to: &mut [Self]) {
        let view = Self::stored(matrix).expect("a matrix of bf16");
        for (to, from) in to.iter_mut().zip(view.row(row).iter().skip(columns.start)) {
            *to = *from;
        }
    }
    fn stored<'a>(matrix: &Matrix<'a>) -> Option<ArrayView2<'a, Self>> {
        match matrix {
            Matrix::Bf16(view) => Some(*view),
            _ => None,
        }
    }
    #[inline(always)]
    fn to_sum(self) -> f32 {
        self.to_f32()
    }
}

real!(f32, F32, widen_to_f32, bf16, single);
real!(f64, F64, widen_to_f64, f64, double);
