//! An array out of a file: read into memory, or mapped into it.

use std::fmt;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

// Types that `with_element` names.
use half::{bf16, f16};
use memmap2::Mmap;
use ndarray::{ArrayD, ArrayViewD, Axis, IxDyn, ShapeBuilder};

use super::message::{format_error, io_error};
use super::values::read_values;
use super::view::{ElementType, Stored, TensorView, with_array, with_element};
use crate::{Error, Result};

/// An array that was opened from a path: read into memory, or mapped into it.
///
/// A `.npy` file and an array of an `.npz` file are read. A tensor of a `.safetensors` file stays in
/// the file and is paged in as it is used, so it may be larger than memory; only where it is not
/// aligned for its elements, or holds booleans, it is read as well. **A mapped file must not be changed in place or shortened while the tensor
/// lives.** To replace it by a rename, as the writers of this module do, is fine.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// let path = directory.path().join("targets.npy");
/// surprisal::io::write_npy(&path, ndarray::array![3_i64, 1].view())?;
/// let targets = surprisal::io::Tensor::open(path.to_str().unwrap())?;
/// assert_eq!(targets.view().to_i64("targets")?.as_slice(), Some(&[3, 1][..]));
/// # Ok(())
/// # }
/// ```
pub struct Tensor {
    pub(super) storage: Storage,
}

pub(super) enum Storage {
    Owned(Box<dyn Viewable>),
    Mapped { map: Mmap, range: Range<usize>, element: ElementType, shape: Vec<usize> },
}

/// An array whose element type is known to itself only.
pub(super) trait Viewable: Send + Sync {
    fn tensor_view(&self) -> TensorView<'_>;
}

impl<T: Stored> Viewable for ArrayD<T> {
    fn tensor_view(&self) -> TensorView<'_> {
        T::wrap(self.view())
    }
}

impl Viewable for ArrayD<bool> {
    fn tensor_view(&self) -> TensorView<'_> {
        TensorView::Bool(self.view())
    }
}

impl Tensor {
    /// The array.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("loss.npy");
    /// # surprisal::io::write_npy(&path, ndarray::arr0(0.25_f64).view())?;
    /// let tensor = surprisal::io::Tensor::open(path.to_str().unwrap())?;
    /// match tensor.view() {
    ///     surprisal::io::TensorView::F64(array) => assert_eq!(array.sum(), 0.25),
    ///     other => panic!("unexpected {}", other.dtype_name()),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn view(&self) -> TensorView<'_> {
        match &self.storage {
            Storage::Owned(array) => array.tensor_view(),
            Storage::Mapped { map, range, element, shape } => with_element!(*element, T => {
                T::wrap(borrow(&map[range.clone()], shape).expect("checked when it was mapped"))
            }),
        }
    }

    /// The same array in C order, the last axis without gaps; it is copied where it is not.
    ///
    /// Every tensor is, but those of `.npy` files that NumPy wrote in the order of Fortran.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("loss.npy");
    /// # surprisal::io::write_npy(&path, ndarray::arr2(&[[0.25_f64]]).view())?;
    /// let tensor = surprisal::io::Tensor::open(path.to_str().unwrap())?.into_c_order()?;
    /// match tensor.view() {
    ///     surprisal::io::TensorView::F64(array) => assert!(array.is_standard_layout()),
    ///     other => panic!("unexpected {}", other.dtype_name()),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// There is no memory for the copy.
    pub fn into_c_order(self) -> Result<Tensor> {
        fn copy<T: Copy>(array: &ArrayViewD<'_, T>) -> Result<Option<ArrayD<T>>> {
            if array.is_standard_layout() {
                return Ok(None);
            }
            let mut values = Vec::new();
            values.try_reserve_exact(array.len()).map_err(|_| Error::TooLarge {
                what: format!("a copy of shape {:?} in C order", array.shape()),
            })?;
            values.extend(array.iter().copied());
            let copy = ArrayD::from_shape_vec(array.raw_dim(), values);
            Ok(Some(copy.expect("as many elements as the shape says")))
        }
        let owned: Option<Box<dyn Viewable>> = with_array!(self.view(), array => {
            copy(&array)?.map(|array| Box::new(array) as Box<dyn Viewable>)
        });
        Ok(owned.map_or(self, |array| Tensor { storage: Storage::Owned(array) }))
    }

    /// A copy of these entries of the first axis, in memory: rows of a matrix, numbers of a vector.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// let path = directory.path().join("targets.npy");
    /// surprisal::io::write_npy(&path, ndarray::array![3_i64, 1, 4].view())?;
    /// let some = surprisal::io::Tensor::open(path.to_str().unwrap())?.select(&[2, 0])?;
    /// assert_eq!(some.view().to_i64("targets")?.as_slice(), Some(&[4, 3][..]));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] for an array without an axis; [`Error::Value`] for an entry that it has not.
    pub fn select(&self, entries: &[usize]) -> Result<Tensor> {
        let view = self.view();
        let Some(&length) = view.shape().first() else {
            return Err(Error::Shape {
                argument: "the array",
                found: Vec::new(),
                expected: "at least one axis to select from".into(),
            });
        };
        if let Some(i) = entries.iter().position(|&entry| entry >= length) {
            return Err(Error::Value {
                argument: "the entries selected",
                index: vec![i],
                value: entries[i].to_string(),
                expected: "an entry of the first axis",
            });
        }
        let storage = with_array!(view, array => {
            Box::new(selected(&array, entries)) as Box<dyn Viewable>
        });
        Ok(Tensor { storage: Storage::Owned(storage) })
    }

    /// Reads `shape` from `source`, which holds its elements and nothing else.
    pub(super) fn read(
        element: ElementType,
        shape: &[usize],
        fortran_order: bool,
        swapped: bool,
        source: &mut dyn Read,
        path: &Path,
    ) -> Result<Tensor> {
        if element == ElementType::Bool {
            let values = read_values::<u8>(source, shape.iter().product(), false)
                .map_err(|source| io_error(path, "read", source))?;
            // As NumPy sees a byte that is neither 0 nor 1.
            let values = values.into_iter().map(|byte| byte != 0).collect();
            let array = ArrayD::from_shape_vec(IxDyn(shape).set_f(fortran_order), values)
                .map_err(|error| format_error(path, format!("shape {shape:?}: {error}")))?;
            return Ok(Tensor { storage: Storage::Owned(Box::new(array)) });
        }
        with_element!(element, T => {
            let values = read_values::<T>(source, shape.iter().product(), swapped)
                .map_err(|source| io_error(path, "read", source))?;
            let array = ArrayD::from_shape_vec(IxDyn(shape).set_f(fortran_order), values)
                .map_err(|error| format_error(path, format!("shape {shape:?}: {error}")))?;
            Ok(Tensor { storage: Storage::Owned(Box::new(array)) })
        })
    }

    /// Maps the elements of `shape` that lie in `range`, or copies them where they cannot be
    /// borrowed.
    pub(super) fn map(
        map: Mmap,
        range: Range<usize>,
        element: ElementType,
        shape: Vec<usize>,
        path: &Path,
    ) -> Result<Tensor> {
        let bytes = &map[range.clone()];
        let big_endian = cfg!(target_endian = "big");
        if big_endian
            || element == ElementType::Bool
            || with_element!(element, T => borrow::<T>(bytes, &shape).is_none())
        {
            return Tensor::read(element, &shape, false, big_endian, &mut &bytes[..], path);
        }
        Ok(Tensor { storage: Storage::Mapped { map, range, element, shape } })
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let view = self.view();
        f.debug_struct("Tensor")
            .field("dtype", &view.dtype_name())
            .field("shape", &view.shape())
            .finish_non_exhaustive()
    }
}

/// These entries of the first axis. `ndarray`'s `select` is 14 kB of code for each of the 13 types.
fn selected<T: Copy>(array: &ArrayViewD<'_, T>, entries: &[usize]) -> ArrayD<T> {
    let mut shape = array.shape().to_vec();
    let size: usize = shape[1..].iter().product();
    shape[0] = entries.len();
    let mut numbers = Vec::with_capacity(entries.len() * size);
    for &entry in entries {
        numbers.extend(array.index_axis(Axis(0), entry).iter());
    }
    ArrayD::from_shape_vec(shape, numbers).expect("as many numbers as the shape has")
}

/// `bytes` as an array, where they are aligned for that.
fn borrow<'a, T: Stored>(bytes: &'a [u8], shape: &[usize]) -> Option<ArrayViewD<'a, T>> {
    ArrayViewD::from_shape(IxDyn(shape), bytemuck::try_cast_slice(bytes).ok()?).ok()
}
