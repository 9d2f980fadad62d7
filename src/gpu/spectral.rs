//! What the spectra ask of a GPU: products with a kernel matrix that is never stored, and Gram matrices.

use ndarray::ArrayView2;

use super::context::{Context, Part};
use super::recorder::Recorder;
use super::shader::{Kernel, Kind, Params};
use super::waiting::{Waiting, now};
use crate::diffusion::{EntropyEstimate, Points, Products, SpectralEntropy};
use crate::error::{Error, Result};
use crate::gpu_failure::Failure;
use crate::matrix::Matrix;
use crate::spectrum::Covariance;

/// Vectors that are multiplied at once: the shader's tile is as wide.
const WIDTH: usize = 32;
/// Rows that a workgroup owns, by its shader.
const TILE: usize = 64;
/// Points that a dispatch takes a multiple of: whole sums of the kernel, so that how a product is cut
/// changes no bit.
const SPAN: usize = 1024;
/// Rows whose products the kernel adds up before it adds the sums: so the sums round 32 times beside.
const GRAM_SUM: usize = 256;
/// The most rows of which one Gram matrix is made; those are added in f64: see `SINGLE_RESOLUTION`.
const GRAM_ROWS: usize = 32 * GRAM_SUM;
/// 1/(2σ²) in units of the largest coordinate, from where on f32 no longer tells points apart that σ
/// does.
const LARGEST_FACTOR: f64 = (1_u64 << 21) as f64;

impl Context {
    /// [`SpectralEntropy::estimate`] by the Lanczos way (whatever the method that is asked for), with the
    /// kernel's products on this device: N²·(3·D + 80) operations for each 32 vectors, and N·(D + 64)
    /// numbers of f32 there.
    ///
    /// Coordinates are f32: an entry of the kernel is off by about `2⁻²⁴·√D·|x|/σ` of itself, with |x| the
    /// largest coordinate about the mean, and a product by about `10⁻⁶` more. That is far below the
    /// standard error of the estimate while σ is not tiny; below `|x|/2048` it is an error.
    ///
    /// # Errors
    /// As [`SpectralEntropy::estimate`]; [`Error::Conflict`] for an operator that is not the diffusion
    /// operator, or a σ that is too small for f32; [`Error::Gpu`] for what the device does.
    ///
    /// ```
    /// use surprisal::{diffusion::SpectralEntropy, gpu};
    /// # fn main() -> surprisal::Result<()> {
    /// # if !gpu::adapters().iter().any(|adapter| adapter.software()) { return Ok(()); }
    /// let features = ndarray::Array2::from_shape_fn((200, 3), |(i, j)| ((i * (j + 2)) as f64).sin());
    /// let entropy = SpectralEntropy::builder().sigma(1.0).build()?;
    /// let context = gpu::Context::builder().software(true).build()?;
    /// let there = context.spectral_entropy(&entropy, features.view())?;
    /// let here = entropy.estimate(features.view())?;
    /// let error = there.standard_error.expect("of a stochastic estimate");
    /// assert!((there.value - here.value).abs() < 5.0 * error + 1e-4);
    /// # Ok(())
    /// # }
    /// ```
    pub fn spectral_entropy<'a>(
        &self,
        entropy: &SpectralEntropy,
        features: impl Into<Matrix<'a>>,
    ) -> Result<EntropyEstimate> {
        let points = entropy.points(features.into())?;
        let sigma = entropy.resolve_sigma(&points)?;
        let Some(sigma) = sigma.filter(|_| points.rows() > 1) else {
            return entropy.of_points(&points, sigma);
        };
        let kernel = DeviceKernel::new(self, &points, sigma)?;
        entropy.stochastic(&kernel, sigma)
    }

    /// [`Covariance::from_features`] with the products on this device, in f32 about the mean, which is
    /// f64: for many rows of many columns. It can be merged with others, of the processor's too.
    ///
    /// Products of up to 256 rows, and 32 of those sums, are added up in f32, the rest in f64: an entry
    /// is off by about `10⁻⁶·σ_i σ_j`. Eigenvalues below `10⁻⁶·λ₁` are rounding and become 0 in the
    /// [`spectrum`](Covariance::spectrum).
    ///
    /// # Errors
    /// As [`Covariance::from_features`]; [`Error::Gpu`] for what the device does, or where D² numbers
    /// of f32 are more than it can bind.
    ///
    /// ```
    /// use surprisal::gpu;
    /// # fn main() -> surprisal::Result<()> {
    /// # if !gpu::adapters().iter().any(|adapter| adapter.software()) { return Ok(()); }
    /// let context = gpu::Context::builder().software(true).build()?;
    /// let covariance = context.covariance(ndarray::array![[1.0_f32, 2.0], [3.0, 2.0]].view())?;
    /// assert_eq!(covariance.covariance()?, ndarray::array![[2.0, 0.0], [0.0, 0.0]]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn covariance<'a>(&self, features: impl Into<Matrix<'a>>) -> Result<Covariance> {
        self.covariance_of(features.into())
    }

    fn covariance_of(&self, features: Matrix<'_>) -> Result<Covariance> {
        let width = features.dim().1;
        let most = (self.budget.dispatch_operations / (width * width).max(1) as f64) as usize;
        let most = (most / GRAM_SUM * GRAM_SUM).clamp(GRAM_SUM, GRAM_ROWS);
        Covariance::of_products(features, most, |rows, scatter| {
            for (to, x) in scatter.iter_mut().zip(self.gram(rows)?) {
                *to += f64::from(x);
            }
            Ok(())
        })
    }

    /// XᵀX; below the diagonal's tiles nothing that means anything.
    fn gram(&self, rows: ArrayView2<'_, f32>) -> Result<Vec<f32>> {
        let (count, width) = rows.dim();
        self.check_binding("a Gram matrix, in bytes,", width * width * 4)?;
        self.check_binding("rows of features, in bytes,", count * width * 4)?;
        let bytes = (width * width * 4) as u64;
        let rows = rows.to_slice().expect("rows one after the other");
        let (index, staging) = self.caught(|| {
            let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
            let features = self.filled(bytemuck::cast_slice(rows), wgpu::BufferUsages::STORAGE);
            let gram = Part::whole(&self.buffer(width * width * 4, usage));
            let staging = self.staging(bytes as usize);
            let mut recorder = Recorder::new(self, Waiting::Blocking);
            let tiles = width.div_ceil(TILE);
            let params = Params { rows: count as u32, width: width as u32, ..Params::default() };
            let parts = [(0, &Part::whole(&features)), (1, &gram)];
            let operations = (count * width * width) as f64;
            let kernel = Kernel::plain(Kind::Gram, self.immediates);
            recorder.dispatch(kernel, &parts, &params, (tiles, tiles), operations)?;
            recorder.copy(&gram, &staging, 0);
            Ok((recorder.finish()?, staging))
        })?;
        self.numbers(&staging, bytes, index)
    }

    /// What a kernel has left in a buffer that can be mapped.
    fn numbers(
        &self,
        staging: &wgpu::Buffer,
        bytes: u64,
        index: wgpu::SubmissionIndex,
    ) -> Result<Vec<f32>> {
        let bytes = now(self.read(staging, bytes, index, Waiting::Blocking))?;
        Ok(bytemuck::pod_collect_to_vec(&bytes))
    }

    fn staging(&self, bytes: usize) -> wgpu::Buffer {
        self.buffer(bytes, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST)
    }

    fn check_binding(&self, what: &str, bytes: usize) -> Result<()> {
        let (need, have) = (bytes as u64, self.limits.max_storage_buffer_binding_size);
        if need > have {
            return Err(Error::Gpu(Failure::LimitExceeded { what: what.into(), need, have }));
        }
        Ok(())
    }
}

/// The Gaussian kernel of points that are on the device.
struct DeviceKernel<'c> {
    context: &'c Context,
    rows: usize,
    /// Coordinates of a point, with zeros to whole vectors of four.
    width: usize,
    /// 1/(2σ²), in units of the points.
    factor: f64,
    points: Part,
}

impl<'c> DeviceKernel<'c> {
    fn new(context: &'c Context, points: &Points, sigma: f64) -> Result<Self> {
        let (rows, width) = (points.rows(), points.columns().next_multiple_of(4));
        let factor = points.factor(sigma);
        if factor > LARGEST_FACTOR {
            return Err(Error::Conflict {
                what: format!(
                    "σ {sigma} is below a 2048th of the largest coordinate about the mean, expected a \
                     larger one on a GPU, whose coordinates are f32"
                ),
            });
        }
        context.check_binding("the points, in bytes,", rows * width * 4)?;
        context.check_binding("vectors of all points, in bytes,", rows * WIDTH * 4)?;
        let mut coordinates = vec![0.0_f32; rows * width];
        points.copy_rows(width, &mut coordinates);
        let bytes = bytemuck::cast_slice(&coordinates);
        let points = context.caught(|| Ok(context.filled(bytes, wgpu::BufferUsages::STORAGE)))?;
        Ok(Self { context, rows, width, factor, points: Part::whole(&points) })
    }

    /// exp(−factor·d²) times up to [`WIDTH`] vectors, `WIDTH` numbers a row.
    fn product(&self, vectors: &[f32], factor: f64) -> Result<Vec<f32>> {
        let Self { context, rows, width, .. } = *self;
        let bytes = (rows * WIDTH * 4) as u64;
        let a_pair = (3 * width + 2 * WIDTH + 16) as f64;
        let limits = &context.limits;
        let columns = (context.budget.dispatch_operations / (a_pair * rows as f64)) as usize;
        let columns = (columns / SPAN * SPAN).max(SPAN);
        let height = (context.budget.dispatch_operations / (a_pair * columns as f64)) as usize;
        let most = TILE * limits.max_compute_workgroups_per_dimension as usize;
        let height = (height / TILE * TILE).clamp(TILE, most);
        let (index, staging) = context.caught(|| {
            let usage = wgpu::BufferUsages::STORAGE
                | wgpu::BufferUsages::COPY_SRC
                | wgpu::BufferUsages::COPY_DST;
            let vectors =
                context.filled(bytemuck::cast_slice(vectors), wgpu::BufferUsages::STORAGE);
            let (vectors, products) =
                (Part::whole(&vectors), Part::whole(&context.buffer(rows * WIDTH * 4, usage)));
            let staging = context.staging(bytes as usize);
            let mut recorder = Recorder::new(context, Waiting::Blocking);
            recorder.clear(&products);
            let kernel = Kernel::plain(Kind::GaussianProducts, context.immediates);
            let parts = [(0, &self.points), (1, &vectors), (2, &products)];
            for first_column in (0..rows).step_by(columns) {
                for first_row in (0..rows).step_by(height) {
                    let (own, others) =
                        (height.min(rows - first_row), columns.min(rows - first_column));
                    let params = Params {
                        rows: rows as u32,
                        first_row: first_row as u32,
                        width: width as u32,
                        columns: others as u32,
                        first_column: first_column as u32,
                        scale: factor as f32,
                        ..Params::default()
                    };
                    let grid = (own.div_ceil(TILE), 1);
                    let operations = a_pair * (own * others) as f64;
                    recorder.dispatch(kernel, &parts, &params, grid, operations)?;
                }
            }
            recorder.copy(&products, &staging, 0);
            Ok((recorder.finish()?, staging))
        })?;
        context.numbers(&staging, bytes, index)
    }
}

impl Products for DeviceKernel<'_> {
    fn rows(&self) -> usize {
        self.rows
    }

    fn multiply(&self, vectors: &[f64], width: usize, to: &mut [f64]) -> Result<()> {
        let mut some = vec![0.0_f32; self.rows * WIDTH];
        for first in (0..width).step_by(WIDTH) {
            let count = WIDTH.min(width - first);
            for (to, from) in some.chunks_exact_mut(WIDTH).zip(vectors.chunks_exact(width)) {
                for (to, from) in to.iter_mut().zip(&from[first..first + count]) {
                    *to = *from as f32;
                }
                to[count..].fill(0.0);
            }
            let products = self.product(&some, self.factor)?;
            for (to, from) in to.chunks_exact_mut(width).zip(products.chunks_exact(WIDTH)) {
                for (to, from) in to[first..first + count].iter_mut().zip(from) {
                    *to = f64::from(*from);
                }
            }
        }
        Ok(())
    }

    fn square_form(&self, u: &[f64]) -> Result<f64> {
        let mut vectors = vec![0.0_f32; self.rows * WIDTH];
        for (to, from) in vectors.iter_mut().step_by(WIDTH).zip(u) {
            *to = *from as f32;
        }
        // The square of an entry is the entry of twice the factor.
        let products = self.product(&vectors, 2.0 * self.factor)?;
        let terms = products.iter().step_by(WIDTH).zip(u).map(|(y, u)| f64::from(*y) * u);
        Ok(terms.sum())
    }
}
