//! Arrays that values share.

use ndarray::{ArcArray, IxDyn};

use crate::element::Real;
use crate::error::{Error, Result};

/// An array of any number of axes that clones share.
pub type Shared<T> = ArcArray<T, IxDyn>;

/// An array of these numbers.
pub(super) fn shared<T: Real>(shape: &[usize], numbers: Vec<T>) -> Shared<T> {
    Shared::from_shape_vec(IxDyn(shape), numbers).expect("a number for each element")
}

/// The numbers of an array that is in standard layout.
pub(super) fn slice<T: Real>(array: &Shared<T>) -> &[T] {
    array.as_slice().expect("standard layout")
}

/// The numbers of an array that is in standard layout; a shared one is copied first.
pub(super) fn slice_mut<T: Real>(array: &mut Shared<T>) -> &mut [T] {
    array.as_slice_mut().expect("standard layout")
}

/// An array in standard layout, with another shape of as many elements.
pub(super) fn reshaped<T: Real>(array: Shared<T>, shape: &[usize]) -> Shared<T> {
    array.into_shape_with_order(IxDyn(shape)).expect("as many elements")
}

/// # Errors
/// Where an array of this shape is beyond the address space.
pub(super) fn check_size<T>(shape: &[usize]) -> Result<()> {
    // Axes of length 0 do not make the others small.
    let bytes = shape
        .iter()
        .filter(|&&length| length > 0)
        .try_fold(size_of::<T>(), |a, &b| a.checked_mul(b));
    match bytes {
        Some(bytes) if isize::try_from(bytes).is_ok() => Ok(()),
        _ => Err(Error::TooLarge { what: format!("an array of shape {shape:?}") }),
    }
}
