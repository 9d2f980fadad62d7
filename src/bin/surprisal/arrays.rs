//! The arrays that arguments name.

use ndarray::{Array, Array1, Array2, Dimension, Ix1, Ix2};

use surprisal::io::{Tensor, TensorView};
use surprisal::{Matrix, Vector};

use crate::Failure;

/// An array that was opened, with the name of its flag.
pub struct Opened {
    flag: &'static str,
    tensor: Tensor,
    /// What a matrix of f64 was rounded to.
    rounded: Option<Array2<f32>>,
}

impl Opened {
    pub fn new(flag: &'static str, location: &str) -> Result<Self, Failure> {
        let tensor = Tensor::open(location)?;
        Ok(Self { flag, tensor, rounded: None })
    }

    pub fn optional(
        flag: &'static str,
        location: Option<&String>,
    ) -> Result<Option<Self>, Failure> {
        location.map(|location| Self::new(flag, location)).transpose()
    }

    /// The array as it stands in the file.
    pub fn view(&self) -> TensorView<'_> {
        self.tensor.view()
    }

    /// T, where the array is [B,T,...]: rows of one sequence stand together.
    pub fn sequence(&self) -> Option<usize> {
        let view = self.tensor.view();
        (view.shape().len() == 3).then(|| view.shape()[1])
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

    pub fn matrix(&self) -> Result<Matrix<'_>, Failure> {
        if let Some(rounded) = &self.rounded {
            return Ok(rounded.view().into());
        }
        let expected = "a matrix of f64, f32, bf16 or f16";
        macro_rules! matrix {
            ($view:expr) => {
                $view
                    .into_dimensionality::<Ix2>()
                    .map(Matrix::from)
                    .map_err(|_| self.unfit(expected))
            };
        }
        match self.tensor.view() {
            TensorView::F64(view) => matrix!(view),
            TensorView::F32(view) => matrix!(view),
            TensorView::Bf16(view) => matrix!(view),
            TensorView::F16(view) => matrix!(view),
            _ => Err(self.unfit(expected)),
        }
    }

    pub fn vector(&self) -> Result<Vector<'_>, Failure> {
        let expected = "a vector of f64, f32, bf16 or f16";
        macro_rules! vector {
            ($view:expr) => {
                $view
                    .into_dimensionality::<Ix1>()
                    .map(Vector::from)
                    .map_err(|_| self.unfit(expected))
            };
        }
        match self.tensor.view() {
            TensorView::F64(view) => vector!(view),
            TensorView::F32(view) => vector!(view),
            TensorView::Bf16(view) => vector!(view),
            TensorView::F16(view) => vector!(view),
            _ => Err(self.unfit(expected)),
        }
    }

    pub fn classes(&self) -> Result<Array1<i64>, Failure> {
        let classes = self.tensor.view().to_i64(self.flag)?;
        classes.into_dimensionality::<Ix1>().map_err(|_| self.unfit("a vector of integers"))
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
