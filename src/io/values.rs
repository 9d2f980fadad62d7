//! The elements of an array, to a file and from it.

use std::io::{self, Read, Write};

use ndarray::{ArrayView, Dimension};

use super::view::{Stored, TensorView};

/// Bytes moved at a time: few enough to stay in the cache until they are used.
const CHUNK_BYTES: usize = 1 << 18;

/// Reads `count` elements straight to where they stay.
pub(super) fn read_values<T: Stored>(
    source: &mut dyn Read,
    count: usize,
    swapped: bool,
) -> io::Result<Vec<T>> {
    let mut values = Vec::new();
    values.try_reserve_exact(count).map_err(|_| io::ErrorKind::OutOfMemory)?;
    while values.len() < count {
        let start = values.len();
        let end = count.min(start + CHUNK_BYTES / size_of::<T>());
        values.resize(end, T::zeroed());
        let bytes = bytemuck::cast_slice_mut(&mut values[start..]);
        source.read_exact(bytes)?;
        if swapped {
            bytes.chunks_exact_mut(size_of::<T>()).for_each(<[u8]>::reverse);
        }
    }
    Ok(values)
}

/// Writes the elements in C order and little-endian.
pub(super) fn write_values<T: Stored, D: Dimension>(
    target: &mut impl Write,
    array: &ArrayView<'_, T, D>,
) -> io::Result<()> {
    let big_endian = cfg!(target_endian = "big");
    if let Some(values) = array.as_slice().filter(|_| !big_endian) {
        return target.write_all(bytemuck::cast_slice(values));
    }
    let mut chunk = Vec::with_capacity(array.len().min(CHUNK_BYTES / size_of::<T>()));
    let mut values = array.iter().copied();
    loop {
        chunk.clear();
        chunk.extend(values.by_ref().take(CHUNK_BYTES / size_of::<T>()));
        if chunk.is_empty() {
            return Ok(());
        }
        let bytes = bytemuck::cast_slice_mut(&mut chunk);
        if big_endian {
            bytes.chunks_exact_mut(size_of::<T>()).for_each(<[u8]>::reverse);
        }
        target.write_all(bytes)?;
    }
}

/// The same for an array of any type.
pub(super) fn write_view(target: &mut impl Write, view: &TensorView<'_>) -> io::Result<()> {
    macro_rules! write {
        ($($variant:ident),*) => {
            match view {
                $(TensorView::$variant(array) => write_values(target, array),)*
                TensorView::Bool(array) => write_values(target, &array.mapv(u8::from).view()),
            }
        };
    }
    write!(F64, F32, F16, Bf16, I64, I32, I16, I8, U64, U32, U16, U8)
}
