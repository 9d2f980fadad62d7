//! Shapes that an array may have.

use super::view::ElementType;
use crate::{Error, Result};

/// As many axes as NumPy allows.
pub(super) const MAX_AXES: usize = 64;

/// How many bytes an array takes, unless no array has that shape.
pub(super) fn byte_count(
    shape: &[usize],
    element: ElementType,
) -> std::result::Result<usize, String> {
    if shape.len() > MAX_AXES {
        return Err(format!("the shape has {} axes, expected at most {MAX_AXES}", shape.len()));
    }
    // An axis of length 0 does not excuse the others: their strides must be finite, too.
    let spanned = shape
        .iter()
        .filter(|&&length| length != 0)
        .try_fold(1, |count: usize, &length| count.checked_mul(length))
        .filter(|&count| isize::try_from(count).is_ok());
    let bytes = match spanned {
        Some(_) if shape.contains(&0) => Some(0),
        _ => spanned.and_then(|count| count.checked_mul(element.size())),
    };
    bytes.ok_or_else(|| {
        format!(
            "shape {shape:?} of {} is beyond the address space, expected a smaller one",
            element.name()
        )
    })
}

/// Refuses a shape that the readers would refuse.
pub(super) fn check_axes(shape: &[usize]) -> Result<()> {
    if shape.len() > MAX_AXES {
        return Err(Error::Shape {
            argument: "array",
            found: shape.to_vec(),
            expected: format!("at most {MAX_AXES} axes"),
        });
    }
    Ok(())
}
