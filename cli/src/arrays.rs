//! The arrays that arguments name.
//!
//! Arrays of rows may have several axes before the last ([B,T,D] hidden states, [B,T,V] logits) and
//! what belongs to rows may have as many ([B,T] targets): they are flattened in C order, and
//! [`check_rows`] sees to it that all of a call have the same axes.

use ndarray::{Array, Array1, Array2, ArrayView, Dimension, Ix1, Ix2, IxDyn};
use std::cell::OnceCell;

use surprisal::io::{Tensor, TensorView};
use surprisal::{Matrix, Vector};

use crate::Failure;

/// An array that was opened, with the name of its flag.
pub struct Opened {
    flag: &'static str,
    tensor: Tensor,
    /// What a matrix of f64 was rounded to.
    rounded: Option<Array2<f32>>,
    /// What booleans and integers weigh, and numbers of rows that lie in another order.
    per_row: OnceCell<Array1<f64>>,
}

/// Evaluates an expression in which a name stands for the view in a [`Matrix`], whose types the library
/// may come to have more of.
macro_rules! each_matrix {
    ($matrix:expr, $view:ident => $body:expr) => {
        match $matrix {
            surprisal::Matrix::F64($view) => $body,
            surprisal::Matrix::F32($view) => $body,
            surprisal::Matrix::Bf16($view) => $body,
            surprisal::Matrix::F16($view) => $body,
            other => {
                return Err(crate::Failure::Input(format!(
                    "a matrix is of {}, expected f64, f32, bf16 or f16",
                    other.element()
                )));
            }
        }
    };
}

pub(crate) use each_matrix;

const MATRIX: &str = "a matrix of f64, f32, bf16 or f16";

const VECTOR: &str = "a vector of f64, f32, bf16 or f16";

impl Opened {
    pub fn new(flag: &'static str, location: &str) -> Result<Self, Failure> {
        if location.is_empty() {
            return Err(Failure::Input(format!("the value of {flag} is empty, expected a file")));
        }
        let tensor = Tensor::open(location)?;
        // Flattened in place; only what NumPy wrote in the order of Fortran is copied for that.
        let tensor = if tensor.view().shape().len() > 2 { tensor.into_c_order()? } else { tensor };
        Ok(Self { flag, tensor, rounded: None, per_row: OnceCell::new() })
    }

    pub fn optional(
        flag: &'static str,
        location: Option<&String>,
    ) -> Result<Option<Self>, Failure> {
        location.map(|location| Self::new(flag, location)).transpose()
    }

    /// What the array is, and what it was expected to be.
    pub fn unfit(&self, expected: &str) -> Failure {
        let view = self.tensor.view();
        let (shape, element) = (view.shape(), view.dtype_name());
        Failure::Input(format!(
            "{} is {element} of shape {shape:?}, expected {expected}",
            self.flag
        ))
    }

    /// Rounds a matrix of f64 to f32.
    pub fn round(&mut self) -> Result<(), Failure> {
        let rounded = match self.matrix()? {
            Matrix::F64(view) => Some(view.mapv(|x| x as f32)),
            _ => None,
        };
        self.rounded = rounded;
        Ok(())
    }

    /// Takes these entries of the first axis in place of all.
    pub fn select(&mut self, rows: &[usize]) -> Result<(), Failure> {
        self.tensor = self.tensor.select(rows)?;
        Ok(())
    }

    /// The array as it stands in the file.
    pub fn view(&self) -> TensorView<'_> {
        self.tensor.view()
    }

    /// The length of the last axis but one of [B,T,D] hidden states or [B,T,V] logits, of the last of
    /// [B,T] classes; nothing of an array without an axis of sequences.
    pub fn sequence(&self) -> Option<usize> {
        let view = self.tensor.view();
        match (view.shape(), is_float(&view)) {
            ([_, .., length, _], true) => Some(*length),
            ([_, .., length], false) => Some(*length),
            _ => None,
        }
    }

    /// The axes that number the rows: all but the last `within` ones.
    fn row_axes(&self, within: usize) -> Vec<usize> {
        let view = self.tensor.view();
        let shape = view.shape();
        shape[..shape.len().saturating_sub(within)].to_vec()
    }

    /// Rows of numbers: the axes before the last are one.
    pub fn matrix(&self) -> Result<Matrix<'_>, Failure> {
        if let Some(rounded) = &self.rounded {
            return Ok(rounded.view().into());
        }
        macro_rules! matrix {
            ($view:expr) => {
                flat_rows($view).map(Matrix::from).ok_or_else(|| self.unfit(MATRIX))
            };
        }
        match self.tensor.view() {
            TensorView::F64(view) => matrix!(view),
            TensorView::F32(view) => matrix!(view),
            TensorView::Bf16(view) => matrix!(view),
            TensorView::F16(view) => matrix!(view),
            _ => Err(self.unfit(MATRIX)),
        }
    }

    /// Numbers along one axis.
    pub fn vector(&self) -> Result<Vector<'_>, Failure> {
        if self.tensor.view().shape().len() != 1 {
            return Err(self.unfit(VECTOR));
        }
        self.per_row()
    }

    /// A number for each row, of any number of axes.
    pub fn per_row(&self) -> Result<Vector<'_>, Failure> {
        macro_rules! vector {
            ($view:expr) => {
                match $view {
                    view if view.ndim() == 0 => Err(self.unfit(VECTOR)),
                    view if view.is_standard_layout() => {
                        flat(view).map(Vector::from).ok_or_else(|| self.unfit(VECTOR))
                    }
                    view => Ok(self.row_copy(&view, |&number| number.into())),
                }
            };
        }
        match self.tensor.view() {
            TensorView::F64(view) => vector!(view),
            TensorView::F32(view) => vector!(view),
            TensorView::Bf16(view) => vector!(view),
            TensorView::F16(view) => vector!(view),
            _ => Err(self.unfit(VECTOR)),
        }
    }

    /// Weights of the classes: numbers, or booleans, which weigh 1 where they are true, as integers 1.
    pub fn class_weights(&self) -> Result<Vector<'_>, Failure> {
        match self.tensor.view() {
            TensorView::Bool(mask) if mask.ndim() != 1 => Err(self.unfit(WEIGHTS)),
            TensorView::Bool(_) => self.row_weights(),
            view if !is_float(&view) && view.shape().len() != 1 => Err(self.unfit(WEIGHTS)),
            view if !is_float(&view) => self.row_weights(),
            _ => self.vector(),
        }
    }

    /// Weights of the rows, of any number of axes: numbers, booleans, or integers 0 and 1.
    pub fn row_weights(&self) -> Result<Vector<'_>, Failure> {
        match self.tensor.view() {
            TensorView::Bool(mask) if mask.ndim() == 0 => Err(self.unfit(WEIGHTS)),
            TensorView::Bool(mask) => Ok(self.row_copy(&mask, |&keep| u8::from(keep).into())),
            view if !is_float(&view) => {
                let mask = view.to_i64(self.flag)?;
                // Other integers are more likely classes than weights.
                if mask.ndim() == 0 || mask.iter().any(|keep| !matches!(keep, 0 | 1)) {
                    return Err(self.unfit(WEIGHTS));
                }
                Ok(self.row_copy(&mask.view(), |&keep| keep as f64))
            }
            _ => self.per_row(),
        }
    }

    fn row_copy<T>(&self, view: &ArrayView<'_, T, IxDyn>, widen: impl Fn(&T) -> f64) -> Vector<'_> {
        self.per_row.get_or_init(|| view.iter().map(widen).collect()).view().into()
    }

    /// A class for each row, of any number of axes.
    pub fn classes(&self) -> Result<Array1<i64>, Failure> {
        let classes = self.tensor.view().to_i64(self.flag)?;
        if classes.ndim() == 0 {
            return Err(self.unfit("a vector of integers"));
        }
        Ok(classes.flatten().into_owned())
    }

    /// Numbers of rows [M].
    pub fn rows(&self) -> Result<Array1<usize>, Failure> {
        self.indices::<Ix1>("a vector of integers")
    }

    /// Numbers of rows [R,N].
    pub fn row_lists(&self) -> Result<Array2<usize>, Failure> {
        self.indices::<Ix2>("a matrix of integers")
    }

    fn indices<D: Dimension>(&self, expected: &str) -> Result<Array<usize, D>, Failure> {
        let numbers = self.tensor.view().to_i64(self.flag)?;
        let numbers = numbers.into_dimensionality::<D>().map_err(|_| self.unfit(expected))?;
        if let Some(number) = numbers.iter().find(|number| usize::try_from(**number).is_err()) {
            let flag = self.flag;
            return Err(Failure::Input(format!("{flag} holds {number}, expected rows from 0")));
        }
        Ok(numbers.mapv(|number| number as usize))
    }
}

const WEIGHTS: &str = "a vector of f64, f32, bf16, f16 or bool, or of integers 0 and 1";

/// Refuses arrays of the same rows whose axes of rows differ; beside each stands how many axes a row
/// of it has. What is of one axis everywhere is left to the loss, which knows its names.
pub fn check_rows<'a>(
    arrays: impl IntoIterator<Item = (Option<&'a Opened>, usize)>,
) -> Result<(), Failure> {
    let mut arrays = arrays.into_iter().filter_map(|(array, within)| Some((array?, within)));
    let Some((first, within)) = arrays.next() else { return Ok(()) };
    let axes = first.row_axes(within);
    for (other, within) in arrays {
        let others = other.row_axes(within);
        if (axes.len() > 1 || others.len() > 1) && axes != others {
            let (view, of) = (first.tensor.view(), other.tensor.view());
            return Err(Failure::Input(format!(
                "{} has shape {:?} and {} has shape {:?}, expected {axes:?} rows in both",
                first.flag,
                view.shape(),
                other.flag,
                of.shape(),
            )));
        }
    }
    Ok(())
}

fn is_float(view: &TensorView<'_>) -> bool {
    matches!(
        view,
        TensorView::F64(_) | TensorView::F32(_) | TensorView::Bf16(_) | TensorView::F16(_)
    )
}

/// All axes but the last as one.
fn flat_rows<T>(view: ArrayView<'_, T, IxDyn>) -> Option<ArrayView<'_, T, Ix2>> {
    let (&columns, rows) = view.shape().split_last()?;
    match rows.len() {
        0 => return None,
        // In any order.
        1 => return view.into_dimensionality::<Ix2>().ok(),
        _ => {}
    }
    let rows = rows.iter().product();
    view.into_shape_with_order((rows, columns)).ok()
}

/// All axes as one.
fn flat<T>(view: ArrayView<'_, T, IxDyn>) -> Option<ArrayView<'_, T, Ix1>> {
    let length = view.len();
    view.into_shape_with_order(length).ok()
}
