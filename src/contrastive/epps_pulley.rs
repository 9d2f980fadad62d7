//! How far samples are from the standard normal distribution, by their characteristic function.

use ndarray::Array1;
use std::f64::consts::PI;

use super::checks::{finite_at, positive};
use crate::error::{Error, Result};
use crate::matrix::Vector;

/// The Epps–Pulley statistic of N samples against the standard normal distribution.
///
/// ```text
/// T = N ∫ ((mean cos ts − φ)² + (mean sin ts)²) φ(t) dt          φ(t) = e^(−t²/2)
/// trapezoid:  t_j = j Δ, j = 0…n−1, Δ = t_max/(n−1), weights 2Δ φ_j, at both ends Δ φ_j
/// ∂T/∂s_i = 2 Σ_j w_j t_j ((mean sin t_j s) cos t_j s_i − (mean cos t_j s − φ_j) sin t_j s_i)
/// exact:      T = √(2π)/N Σ_ij e^(−(s_i−s_j)²/2) − 2√π Σ_i e^(−s_i²/4) + N √(2π/3)
/// ```
///
/// T is 0 for no finite sample but tends to a constant for samples of the normal distribution, and grows as N for all
/// others. Samples that are all 0 have a gradient of 0. The sum over t takes O(N n) time, the integral O(N²); they are
/// not the same number: 2.7e-3 of the weight lies beyond t = 3.
///
/// Epps and Pulley 1983, *A test for normality based on the empirical characteristic function*; as a loss, with 17
/// points up to 3: Balestriero and LeCun 2025, *LeJEPA*, whose code works in f32, its t too.
///
/// Cases in `conformance/geometry.jsonl`: `epps_pulley`.
///
/// ```
/// use ndarray::arr1;
/// use surprisal::contrastive::EppsPulley;
/// let test = EppsPulley::default();
/// let (near, far) = (arr1(&[-1.2, -0.3, 0.3, 1.2]), arr1(&[4.0, 5.0, 4.5, 5.5]));
/// assert!(test.statistic(&near)? < 0.2 && test.statistic(&far)? > 3.0);
/// let (_, gradient) = test.statistic_and_gradient(&arr1(&[0.0, 0.0]))?;
/// assert_eq!(gradient, arr1(&[0.0, 0.0]));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct EppsPulley {
    /// The distance of the t, and their weights; none for the integral.
    grid: Option<(f64, Vec<f64>)>,
}

impl Default for EppsPulley {
    /// 17 points up to t = 3.
    fn default() -> Self {
        Self::trapezoid(3.0, 17).expect("a good grid")
    }
}

impl EppsPulley {
    /// The sum over this many points up to t_max.
    ///
    /// # Errors
    /// [`Error::Option`] for a t_max that is not finite and above 0, or points that are not an odd number from 3 on.
    pub fn trapezoid(t_max: f64, points: usize) -> Result<Self> {
        let t_max = positive("t_max", t_max)?;
        if points < 3 || points.is_multiple_of(2) {
            let expected = "an odd number of at least 3";
            return Err(Error::Option { name: "points", value: points.to_string(), expected });
        }
        let distance = t_max / (points - 1) as f64;
        let weight = |j: usize| {
            let ends = if j == 0 || j == points - 1 { 1.0 } else { 2.0 };
            ends * distance * bell(j as f64 * distance)
        };
        Ok(Self { grid: Some((distance, (0..points).map(weight).collect())) })
    }

    /// The integral.
    #[must_use]
    pub fn exact() -> Self {
        Self { grid: None }
    }

    /// T.
    ///
    /// # Errors
    /// [`Error::Shape`] without a sample; [`Error::Value`] for one that is not finite.
    pub fn statistic<'a>(&self, samples: impl Into<Vector<'a>>) -> Result<f64> {
        Ok(self.statistic_and_gradient(samples)?.0)
    }

    /// T and its gradient by the samples.
    ///
    /// # Errors
    /// As [`statistic`](Self::statistic).
    pub fn statistic_and_gradient<'a>(
        &self,
        samples: impl Into<Vector<'a>>,
    ) -> Result<(f64, Array1<f64>)> {
        self.statistic_and_gradient_here(samples.into())
    }

    fn statistic_and_gradient_here(&self, samples: Vector<'_>) -> Result<(f64, Array1<f64>)> {
        let samples: Vec<f64> = samples.to_vec();
        if samples.is_empty() {
            let expected = "at least one sample".into();
            return Err(Error::Shape { argument: "samples", found: vec![0], expected });
        }
        for (i, &sample) in samples.iter().enumerate() {
            finite_at("samples", i, sample)?;
        }
        let mut gradient = Array1::zeros(samples.len());
        let value = self.add(&samples, |i, slope| gradient[i] += slope);
        Ok((value, gradient))
    }

    /// T; the slope by each sample is given away.
    pub(super) fn add(&self, samples: &[f64], give: impl FnMut(usize, f64)) -> f64 {
        match &self.grid {
            Some((distance, weights)) => trapezoid(samples, *distance, weights, give),
            None => exact(samples, give),
        }
    }
}

fn bell(t: f64) -> f64 {
    (-0.5 * t * t).exp()
}

/// The cosine and sine of j x, one after the other.
fn turns(x: f64) -> impl Iterator<Item = (f64, f64)> {
    let (sine, cosine) = x.sin_cos();
    let turn = move |&(c, s): &(f64, f64)| Some((c * cosine - s * sine, s * cosine + c * sine));
    std::iter::successors(Some((1.0, 0.0)), turn)
}

fn trapezoid(
    samples: &[f64],
    distance: f64,
    weights: &[f64],
    mut give: impl FnMut(usize, f64),
) -> f64 {
    let count = samples.len() as f64;
    let mut means = vec![(0.0, 0.0); weights.len()];
    for &sample in samples {
        for (mean, (cosine, sine)) in means.iter_mut().zip(turns(distance * sample)) {
            mean.0 += cosine;
            mean.1 += sine;
        }
    }
    let mut value = 0.0;
    let t = |j: usize| j as f64 * distance;
    for (j, ((cosine, sine), weight)) in means.iter_mut().zip(weights).enumerate() {
        *cosine = *cosine / count - bell(t(j));
        *sine /= count;
        value += weight * (*cosine * *cosine + *sine * *sine);
    }
    for (i, &sample) in samples.iter().enumerate() {
        let terms = turns(distance * sample).zip(means.iter().zip(weights)).enumerate();
        let slope: f64 = terms
            .map(|(j, ((cosine, sine), (mean, weight)))| {
                weight * t(j) * (mean.1 * cosine - mean.0 * sine)
            })
            .sum();
        give(i, 2.0 * slope);
    }
    count * value
}

fn exact(samples: &[f64], mut give: impl FnMut(usize, f64)) -> f64 {
    let count = samples.len() as f64;
    let (mut pairs, mut singles) = (0.0, 0.0);
    for (i, &s) in samples.iter().enumerate() {
        let mut slope = 0.0;
        for &other in samples {
            let near = bell(s - other);
            pairs += near;
            slope -= near * (s - other);
        }
        let single = (-0.25 * s * s).exp();
        singles += single;
        give(i, 2.0 * (2.0 * PI).sqrt() / count * slope + PI.sqrt() * s * single);
    }
    (2.0 * PI).sqrt() / count * pairs - 2.0 * PI.sqrt() * singles + count * (2.0 * PI / 3.0).sqrt()
}
