//! Whether this device computes what the processor does.

use half::f16;
use ndarray::{Array1, Array2};

use super::context::Context;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::gpu_failure::Failure;
use crate::loss::{Forward, Gradients, Inputs, LinearCrossEntropy, Reduction, Statistic, Upstream};

/// Rows, width and classes: several tiles of every kernel and a part of one, in every direction.
const SIZES: [(usize, usize, usize); 2] = [(150, 70, 331), (9, 6, 4200)];
/// By how much of the largest number an array may differ.
const TOLERANCE: f64 = 2e-5;

impl Context {
    /// Compares losses, statistics and gradients of two small shapes with the processor's, in f32 and
    /// in f16 storage: for drivers that nobody has tried.
    ///
    /// # Errors
    /// [`Failure::Mismatch`] with the first array that is off by more than 2·10⁻⁵ of its largest
    /// number, or a top-1 that is another; [`Error::Gpu`] for what else the device does.
    ///
    /// ```
    /// # fn main() -> surprisal::Result<()> {
    /// # if !surprisal::gpu::adapters().iter().any(|adapter| adapter.software()) { return Ok(()); }
    /// surprisal::gpu::Context::builder().software(true).build()?.self_check()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn self_check(&self) -> Result<()> {
        for sizes in SIZES {
            self.check_type::<f32>(sizes)?;
            self.check_type::<f16>(sizes)?;
        }
        Ok(())
    }

    fn check_type<T: Element<Real = f32>>(&self, sizes: (usize, usize, usize)) -> Result<()> {
        let (rows, width, classes) = sizes;
        let mut seed = 1_u32;
        let mut next = || {
            seed = seed.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
            f64::from(seed >> 8) / f64::from(1 << 23) - 1.0
        };
        let mut matrix = |rows, columns, scale: f64| {
            Array2::from_shape_simple_fn((rows, columns), || T::from_f64(scale * next()))
        };
        let hidden = matrix(rows, width, 2.0 / (width as f64).sqrt());
        let classifier = matrix(classes, width, 2.0);
        let bias: Array1<f64> = (0..classes).map(|v| (v % 7) as f64 / 7.0).collect();
        let targets: Vec<i64> =
            (0..rows).map(|i| if i == 1 { -100 } else { (i * 37 % classes) as i64 }).collect();
        let loss = LinearCrossEntropy::builder()
            .scale(1.5)
            .softcap(10.0)
            .label_smoothing(0.1)
            .z_loss(1e-3)
            .reduction(Reduction::Sum)
            .varentropy(true)
            .rank(true)
            .build()?;
        let inputs = Inputs::new(hidden.view(), classifier.view(), &targets).bias(bias.view());
        let run = |on_device: bool| -> Result<(Forward, [Vec<f32>; 3])> {
            let mut d_hidden = Array2::<f32>::zeros((rows, width));
            let mut d_classifier = Array2::<f32>::zeros((classes, width));
            let mut d_bias = Array1::<f32>::zeros(classes);
            let gradients = Gradients::new()
                .hidden(d_hidden.view_mut())
                .classifier(d_classifier.view_mut())
                .bias(d_bias.view_mut());
            let upstream = Upstream::default();
            let forward = match on_device {
                true => loss.on(self).loss_and_gradients(&inputs, &upstream, gradients)?,
                false => loss.loss_and_gradients(&inputs, &upstream, gradients)?,
            };
            let gradients = [
                d_hidden.into_raw_vec_and_offset().0,
                d_classifier.into_raw_vec_and_offset().0,
                d_bias.to_vec(),
            ];
            Ok((forward, gradients))
        };
        let ((expected, expected_gradients), (found, gradients)) = (run(false)?, run(true)?);
        let name =
            |what: &str| format!("{what} of {rows} rows, {width} columns, {classes} classes");
        for statistic in
            [Statistic::Loss, Statistic::LogSumExp, Statistic::Entropy, Statistic::Varentropy]
        {
            let (a, b) = (found.statistic(statistic)?, expected.statistic(statistic)?);
            near(name(&format!("{statistic:?}")), a.iter().copied(), b.iter().copied())?;
        }
        if found.argmax() != expected.argmax() {
            let what = name("the most likely classes");
            return Err(Error::Gpu(Failure::Mismatch { what }));
        }
        let names = ["the hidden gradient", "the classifier gradient", "the bias gradient"];
        for (what, (a, b)) in names.into_iter().zip(gradients.iter().zip(&expected_gradients)) {
            let [a, b] = [a, b].map(|of| of.iter().map(|&x| f64::from(x)));
            near(name(what), a, b)?;
        }
        Ok(())
    }
}

fn near(
    what: String,
    found: impl Iterator<Item = f64>,
    expected: impl Iterator<Item = f64>,
) -> Result<()> {
    let (mut off, mut largest) = (0.0_f64, 0.0_f64);
    for (a, b) in found.zip(expected) {
        let difference = a - b;
        // A NaN is infinitely far away.
        off = off.max(if difference.is_nan() { f64::INFINITY } else { difference.abs() });
        largest = largest.max(b.abs());
    }
    match off <= TOLERANCE * largest {
        true => Ok(()),
        false => {
            let what =
                format!("{what} differs by {off:e}, expected at most {:e}", TOLERANCE * largest);
            Err(Error::Gpu(Failure::Mismatch { what }))
        }
    }
}
