//! Matrices to the device and back.

use ndarray::Array2;

use super::arrays::{DeviceMatrix, Pieces};
use super::backward::DOWNLOAD;
use super::context::{Context, Part};
use super::shader::Format;
use super::waiting::{Waiting, now};
use crate::error::{Error, Result};
use crate::gpu_failure::Failure;
use crate::matrix::Matrix;

impl Context {
    /// Puts a matrix into one buffer of the device.
    ///
    /// # Errors
    /// [`Failure::LimitExceeded`] where no buffer is that large, [`Error::Conflict`] for f64.
    ///
    /// ```
    /// # fn main() -> surprisal::Result<()> {
    /// # if !surprisal::gpu::adapters().iter().any(|adapter| adapter.software()) { return Ok(()); }
    /// let context = surprisal::gpu::Context::builder().software(true).build()?;
    /// let there = context.upload(&ndarray::arr2(&[[1.0_f32, -0.5]]))?;
    /// assert_eq!(there.dim(), (1, 2));
    /// # Ok(())
    /// # }
    /// ```
    pub fn upload<'a>(&self, matrix: impl Into<Matrix<'a>>) -> Result<DeviceMatrix> {
        let matrix = matrix.into();
        let Some(format) = Format::of(&matrix) else {
            let what = "a GPU holds no f64, expected f32, bf16 or f16".into();
            return Err(Error::Conflict { what });
        };
        let (rows, columns) = matrix.dim();
        self.check_buffer(rows, columns, format)?;
        self.caught(|| {
            let pieces = Pieces::upload(self, &matrix, rows.max(1));
            let buffer = pieces.whole().unwrap_or_else(|| self.storage(0));
            Ok(DeviceMatrix { buffer, offset: 0, rows, columns, format })
        })
    }

    /// A matrix of zeros in f32 on the device, for a gradient.
    ///
    /// # Errors
    /// [`Failure::LimitExceeded`] where no buffer is that large.
    ///
    /// ```
    /// # fn main() -> surprisal::Result<()> {
    /// # if !surprisal::gpu::adapters().iter().any(|adapter| adapter.software()) { return Ok(()); }
    /// let context = surprisal::gpu::Context::builder().software(true).build()?;
    /// assert_eq!(context.download(&context.zeros(2, 3)?)?, ndarray::Array2::zeros((2, 3)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn zeros(&self, rows: usize, columns: usize) -> Result<DeviceMatrix> {
        self.check_buffer(rows, columns, Format::F32)?;
        let buffer = self.caught(|| Ok(self.storage(rows * columns * 4)))?;
        Ok(DeviceMatrix::f32(buffer, rows, columns))
    }

    /// A copy of a matrix of f32 that is on the device.
    ///
    /// # Errors
    /// [`Error::Conflict`] for another type, [`Error::Gpu`] for what the device does.
    ///
    /// ```
    /// # fn main() -> surprisal::Result<()> {
    /// # if !surprisal::gpu::adapters().iter().any(|adapter| adapter.software()) { return Ok(()); }
    /// let context = surprisal::gpu::Context::builder().software(true).build()?;
    /// let matrix = ndarray::arr2(&[[1.0_f32, -0.5]]);
    /// assert_eq!(context.download(&context.upload(&matrix)?)?, matrix);
    /// # Ok(())
    /// # }
    /// ```
    pub fn download(&self, matrix: &DeviceMatrix) -> Result<Array2<f32>> {
        if matrix.format != Format::F32 {
            let what = "only f32 is downloaded, expected a gradient".into();
            return Err(Error::Conflict { what });
        }
        let (rows, columns) = matrix.dim();
        let row_bytes = (4 * columns).max(1);
        let at_once = (DOWNLOAD / row_bytes).max(1);
        let mut values = Vec::with_capacity(rows * columns);
        for start in (0..rows).step_by(at_once) {
            let bytes = (row_bytes * at_once.min(rows - start)) as u64;
            let offset = matrix.offset + (start * row_bytes) as u64;
            let part = Part { buffer: matrix.buffer.clone(), offset, bytes };
            let bytes = now(self.read_part(&part, Waiting::Blocking))?;
            values.extend(bytemuck::pod_collect_to_vec::<u8, f32>(&bytes));
        }
        values.truncate(rows * columns);
        Ok(Array2::from_shape_vec((rows, columns), values).expect("as many as there are"))
    }

    fn storage(&self, bytes: usize) -> wgpu::Buffer {
        let usage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_DST
            | wgpu::BufferUsages::COPY_SRC;
        self.buffer(bytes, usage)
    }

    fn check_buffer(&self, rows: usize, columns: usize, format: Format) -> Result<()> {
        let bytes = [rows, columns, format.bytes()];
        let need = bytes.iter().try_fold(1_u64, |all, &some| all.checked_mul(some as u64));
        let (need, have) = (need.unwrap_or(u64::MAX), self.limits.max_buffer_size);
        if need > have {
            let what = format!("a buffer of {rows} rows of {columns} numbers, in bytes,");
            return Err(Error::Gpu(Failure::LimitExceeded { what, need, have }));
        }
        Ok(())
    }
}
