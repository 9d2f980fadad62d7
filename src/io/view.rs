//! An array whose element type is a value, borrowed.

use half::{bf16, f16};
use ndarray::{ArrayD, ArrayView, ArrayViewD, Dimension};

use crate::{Error, Result};

/// An array of any element type, borrowed.
///
/// ```
/// use ndarray::array;
/// use surprisal::io::TensorView;
///
/// let targets = array![2_u16, 0, 1];
/// let view = TensorView::from(targets.view());
/// assert_eq!(view.shape(), [3]);
/// assert_eq!(view.dtype_name(), "u16");
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum TensorView<'a> {
    /// 64-bit floats.
    F64(ArrayViewD<'a, f64>),
    /// 32-bit floats.
    F32(ArrayViewD<'a, f32>),
    /// 16-bit floats as of IEEE 754.
    F16(ArrayViewD<'a, f16>),
    /// 32-bit floats without their lower half.
    Bf16(ArrayViewD<'a, bf16>),
    /// Signed 64-bit integers.
    I64(ArrayViewD<'a, i64>),
    /// Signed 32-bit integers.
    I32(ArrayViewD<'a, i32>),
    /// Signed 16-bit integers.
    I16(ArrayViewD<'a, i16>),
    /// Signed 8-bit integers.
    I8(ArrayViewD<'a, i8>),
    /// Unsigned 64-bit integers.
    U64(ArrayViewD<'a, u64>),
    /// Unsigned 32-bit integers.
    U32(ArrayViewD<'a, u32>),
    /// Unsigned 16-bit integers.
    U16(ArrayViewD<'a, u16>),
    /// Unsigned 8-bit integers.
    U8(ArrayViewD<'a, u8>),
    /// Booleans.
    Bool(ArrayViewD<'a, bool>),
}

pub(super) mod sealed {
    use super::{ArrayViewD, TensorView};

    /// What a file may hold: every bit pattern is a value.
    pub trait Stored: bytemuck::Pod + Send + Sync {
        /// This view, with its type as a value.
        fn wrap(array: ArrayViewD<'_, Self>) -> TensorView<'_>;
    }
}

pub(super) use sealed::Stored;

macro_rules! stored {
    ($($variant:ident $type:ident),*) => {
        /// The variants of [`TensorView`], without an array.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum ElementType {
            $($variant,)*
            Bool,
        }

        impl ElementType {
            pub(super) fn name(self) -> &'static str {
                match self {
                    $(ElementType::$variant => stringify!($type),)*
                    ElementType::Bool => "bool",
                }
            }

            pub(super) fn size(self) -> usize {
                match self {
                    $(ElementType::$variant => size_of::<$type>(),)*
                    ElementType::Bool => 1,
                }
            }
        }

        /// Evaluates an expression in which a name stands for the type of an [`ElementType`]: of what
        /// lies in a file for a boolean.
        macro_rules! with_element {
            ($element:expr, $name:ident => $body:expr) => {
                match $element {
                    $(ElementType::$variant => {
                        type $name = $type;
                        $body
                    })*
                    ElementType::Bool => {
                        type $name = u8;
                        $body
                    }
                }
            };
        }

        /// Evaluates an expression in which a name stands for the array of a [`TensorView`].
        macro_rules! with_array {
            ($view:expr, $name:ident => $body:expr) => {
                match $view {
                    $(TensorView::$variant($name) => $body,)*
                    TensorView::Bool($name) => $body,
                }
            };
        }

        impl TensorView<'_> {
            pub(super) fn element(&self) -> ElementType {
                match self {
                    $(TensorView::$variant(_) => ElementType::$variant,)*
                    TensorView::Bool(_) => ElementType::Bool,
                }
            }
        }

        $(
            impl Stored for $type {
                fn wrap(array: ArrayViewD<'_, Self>) -> TensorView<'_> {
                    TensorView::$variant(array)
                }
            }

            impl<'a, D: Dimension> From<ArrayView<'a, $type, D>> for TensorView<'a> {
                fn from(array: ArrayView<'a, $type, D>) -> Self {
                    TensorView::$variant(array.into_dyn())
                }
            }
        )*
    };
}

stored!(
    F64 f64, F32 f32, F16 f16, Bf16 bf16, I64 i64, I32 i32, I16 i16, I8 i8, U64 u64, U32 u32,
    U16 u16, U8 u8
);

impl<'a, D: Dimension> From<ArrayView<'a, bool, D>> for TensorView<'a> {
    fn from(array: ArrayView<'a, bool, D>) -> Self {
        TensorView::Bool(array.into_dyn())
    }
}

impl TensorView<'_> {
    /// The length of every axis.
    ///
    /// ```
    /// let array = ndarray::Array3::<i8>::zeros((2, 0, 3));
    /// assert_eq!(surprisal::io::TensorView::from(array.view()).shape(), [2, 0, 3]);
    /// ```
    pub fn shape(&self) -> &[usize] {
        with_array!(self, array => array.shape())
    }

    /// The name of the element type, as Rust has it.
    ///
    /// ```
    /// let array = ndarray::arr0(half::bf16::ONE);
    /// assert_eq!(surprisal::io::TensorView::from(array.view()).dtype_name(), "bf16");
    /// ```
    pub fn dtype_name(&self) -> &'static str {
        self.element().name()
    }

    /// A copy as `i64`, of integers of any type; `argument` is what an error calls the array.
    ///
    /// ```
    /// use ndarray::array;
    /// use surprisal::io::TensorView;
    ///
    /// let classes = array![7_u8, 9];
    /// let copy = TensorView::from(classes.view()).to_i64("targets")?;
    /// assert_eq!(copy, array![7_i64, 9].into_dyn());
    ///
    /// let floats = array![7.0_f32];
    /// let error = TensorView::from(floats.view()).to_i64("targets").unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "targets is an array of f32, expected an array of integers",
    /// );
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn to_i64(&self, argument: &'static str) -> Result<ArrayD<i64>> {
        Ok(match self {
            TensorView::I64(array) => array.to_owned(),
            TensorView::I32(array) => array.mapv(i64::from),
            TensorView::I16(array) => array.mapv(i64::from),
            TensorView::I8(array) => array.mapv(i64::from),
            TensorView::U32(array) => array.mapv(i64::from),
            TensorView::U16(array) => array.mapv(i64::from),
            TensorView::U8(array) => array.mapv(i64::from),
            TensorView::U64(array) => {
                let beyond =
                    array.indexed_iter().find(|(_, value)| i64::try_from(**value).is_err());
                if let Some((index, value)) = beyond {
                    return Err(Error::Value {
                        argument,
                        index: index.as_array_view().to_vec(),
                        value: value.to_string(),
                        expected: "an integer below 2^63",
                    });
                }
                array.mapv(|value| value as i64)
            }
            TensorView::F64(_)
            | TensorView::F32(_)
            | TensorView::F16(_)
            | TensorView::Bf16(_)
            | TensorView::Bool(_) => {
                return Err(Error::Option {
                    name: argument,
                    value: format!("an array of {}", self.dtype_name()),
                    expected: "an array of integers",
                });
            }
        })
    }
}

pub(super) use {with_array, with_element};
