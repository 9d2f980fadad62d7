//! Matrices on the device, in bindings of whole rows.

use half::{bf16, f16};
use ndarray::{ArrayView2, s};
use std::borrow::Cow;
use std::ops::Range;

use super::context::{Context, Part};
use super::plan::GRAIN;
use super::shader::Format;
use crate::error::{Error, Result};
use crate::matrix::Matrix;

/// Bytes that are given to the queue at once: the queue holds a copy of them until it is submitted. Not
/// measured on a hardware GPU.
const UPLOAD: usize = 64 << 20;

/// A matrix in a buffer of the caller's: rows one after the other, no gaps.
///
/// ```no_run
/// # fn buffer() -> surprisal::gpu::wgpu::Buffer { panic!() }
/// let hidden = surprisal::gpu::DeviceMatrix::f32(buffer(), 128, 64).offset(256);
/// assert_eq!(hidden.dim(), (128, 64));
/// ```
#[derive(Clone, Debug)]
pub struct DeviceMatrix {
    pub(super) buffer: wgpu::Buffer,
    pub(super) offset: u64,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) format: Format,
}

impl DeviceMatrix {
    fn new(buffer: wgpu::Buffer, rows: usize, columns: usize, format: Format) -> Self {
        Self { buffer, offset: 0, rows, columns, format }
    }

    /// Of f32. The buffer has the usage `STORAGE`; where it is a gradient also `COPY_DST`.
    pub fn f32(buffer: wgpu::Buffer, rows: usize, columns: usize) -> Self {
        Self::new(buffer, rows, columns, Format::F32)
    }

    /// Of bf16.
    pub fn bf16(buffer: wgpu::Buffer, rows: usize, columns: usize) -> Self {
        Self::new(buffer, rows, columns, Format::Bf16)
    }

    /// Of f16.
    pub fn f16(buffer: wgpu::Buffer, rows: usize, columns: usize) -> Self {
        Self::new(buffer, rows, columns, Format::F16)
    }

    /// Begins behind so many bytes of the buffer, a multiple of 256.
    pub fn offset(mut self, bytes: u64) -> Self {
        self.offset = bytes;
        self
    }

    /// Rows and columns.
    pub fn dim(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    /// In bindings of so many rows.
    pub(super) fn pieces(&self, name: &'static str, rows_each: usize) -> Result<Pieces> {
        let row_bytes = self.columns * self.format.bytes();
        let bytes = ((self.rows * row_bytes) as u64).next_multiple_of(4);
        let end = self.offset.checked_add(bytes);
        if !self.offset.is_multiple_of(256) || end.is_none_or(|end| end > self.buffer.size()) {
            return Err(Error::Conflict {
                what: format!(
                    "{name} takes {bytes} bytes behind {} of a buffer of {}, expected an offset \
                     that is a multiple of 256 and a buffer that holds it",
                    self.offset,
                    self.buffer.size()
                ),
            });
        }
        let piece = |start: usize| {
            let rows = start..(start + rows_each).min(self.rows);
            let first = self.offset + (start * row_bytes) as u64;
            (rows, self.buffer.clone(), first)
        };
        let parts = (0..self.rows).step_by(rows_each.max(1)).map(piece).collect();
        Ok(Pieces { parts, row_bytes, format: self.format, rows_each })
    }
}

/// A matrix as it is bound: some of its rows to a buffer, from an offset on.
pub(super) struct Pieces {
    parts: Vec<(Range<usize>, wgpu::Buffer, u64)>,
    row_bytes: usize,
    pub(super) format: Format,
    pub(super) rows_each: usize,
}

impl Pieces {
    /// Room for so many rows of f32.
    pub(super) fn room(context: &Context, rows: usize, columns: usize, rows_each: usize) -> Self {
        let usage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_DST
            | wgpu::BufferUsages::COPY_SRC;
        let piece = |start: usize| {
            let rows = start..(start + rows_each).min(rows);
            (rows.clone(), context.buffer(rows.len() * columns * 4, usage), 0)
        };
        let parts = (0..rows).step_by(rows_each.max(1)).map(piece).collect();
        Self { parts, row_bytes: columns * 4, format: Format::F32, rows_each }
    }

    /// A copy of a matrix.
    pub(super) fn upload(context: &Context, matrix: &Matrix<'_>, rows_each: usize) -> Self {
        let (rows, columns) = matrix.dim();
        let format = Format::of(matrix).expect("a type that was checked");
        let row_bytes = columns * format.bytes();
        let usage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_DST
            | wgpu::BufferUsages::COPY_SRC;
        let at_once = (UPLOAD / row_bytes.max(1) / GRAIN * GRAIN).max(GRAIN);
        let piece = |start: usize| {
            let rows = start..(start + rows_each).min(rows);
            let buffer = context.buffer(rows.len() * row_bytes, usage);
            for first in rows.clone().step_by(at_once) {
                let some = first..rows.end.min(first + at_once);
                let bytes = match matrix {
                    Matrix::F32(view) => bytes_of::<f32>(view, some),
                    Matrix::Bf16(view) => bytes_of::<bf16>(view, some),
                    Matrix::F16(view) => bytes_of::<f16>(view, some),
                    Matrix::F64(_) => Cow::Owned(Vec::new()),
                };
                let whole = bytes.len() / 4 * 4;
                let at = ((first - rows.start) * row_bytes) as u64;
                context.queue.write_buffer(&buffer, at, &bytes[..whole]);
                if whole < bytes.len() {
                    let last = [bytes[whole], bytes[whole + 1], 0, 0];
                    context.queue.write_buffer(&buffer, at + whole as u64, &last);
                }
                if rows.len() > at_once {
                    context.queue.submit([]);
                }
            }
            (rows, buffer, 0)
        };
        let parts = (0..rows).step_by(rows_each.max(1)).map(piece).collect();
        Self { parts, row_bytes, format, rows_each }
    }

    /// The buffer, where there is one.
    pub(super) fn whole(&self) -> Option<wgpu::Buffer> {
        self.parts.first().map(|(_, buffer, _)| buffer.clone())
    }

    /// The rows of each binding.
    pub(super) fn ranges(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.parts.iter().map(|(rows, _, _)| rows.clone())
    }

    /// Some rows of one binding, the first a multiple of [`GRAIN`] or of the spans.
    pub(super) fn part(&self, rows: Range<usize>) -> Part {
        let (own, buffer, offset) = &self.parts[rows.start / self.rows_each.max(1)];
        let bytes = ((rows.len() * self.row_bytes) as u64).next_multiple_of(4).max(16);
        let offset = offset + ((rows.start - own.start) * self.row_bytes) as u64;
        // An empty row takes no bytes, and a binding takes some.
        let bytes = bytes.min(buffer.size() - offset);
        Part { buffer: buffer.clone(), offset, bytes }
    }
}

fn bytes_of<'a, T: bytemuck::Pod>(view: &ArrayView2<'a, T>, rows: Range<usize>) -> Cow<'a, [u8]> {
    let rows = view.slice_move(s![rows, ..]);
    match rows.to_slice() {
        Some(slice) => Cow::Borrowed(bytemuck::cast_slice(slice)),
        None => {
            let copy: Vec<T> = rows.iter().copied().collect();
            Cow::Owned(bytemuck::cast_slice(&copy).to_vec())
        }
    }
}
