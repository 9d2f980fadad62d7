//! What it costs to code whole numbers under a distribution that is cut into unit intervals.

use ndarray::Array1;
use std::f64::consts::LN_2;

use super::{gaussian, logistic};
use crate::error::{Error, Result, short};
use crate::matrix::Vector;
use crate::numerics::positive;

/// A distribution with a mean μ and a scale, of which a number y gets the mass of [y − ½, y + ½]:
///
/// ```text
/// p(y) = F((y + ½ − μ)/σ) − F((y − ½ − μ)/σ)      bits = −log₂ p(y)
/// ```
///
/// with F the normal distribution and σ its standard deviation, or the logistic distribution 1/(1 + e^−x). It is the
/// rate of learnt compression: the cost of a latent that is rounded, or of one with uniform noise while it is trained.
///
/// ln p has its digits everywhere: at y = 10⁶ σ, where p is 0 in any floating-point type, at σ → 0, where ln p is as small as
/// −Φ(−½/σ), and at σ → ∞, where both F are alike. So have the slopes. What is beyond f64 is −∞.
///
/// Ballé et al. 2018, *Variational Image Compression with a Scale Hyperprior*; Salimans et al. 2017, *PixelCNN++*. Cases in
/// `conformance/geometry.jsonl` and `conformance/information.jsonl`: `discretized_gaussian`, `discretized_logistic`.
///
/// ```
/// use ndarray::arr1;
/// use surprisal::rates::Discretized;
/// let rates = Discretized::gaussian().evaluate(&arr1(&[0.0, 40.0]), &arr1(&[0.0, 0.0]), &arr1(&[1.0, 1.0]))?;
/// assert!((rates.log_probs[0] + 0.9599163336956226).abs() < 1e-15);
/// assert!((rates.log_probs[1] + 784.7208791043177).abs() < 1e-12);
/// // A published floor of the probability hides the second.
/// assert!((rates.bits()[1] - 1132.1129207658269).abs() < 1e-12);
/// assert!((rates.bits_floored(1e-9)?[1] - 29.897352853986263).abs() < 1e-14);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Discretized {
    family: Family,
    minimum: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Family {
    Gaussian,
    Logistic,
}

/// The rates of some numbers.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Rates {
    /// ln p of each number.
    pub log_probs: Array1<f64>,
    /// The slope of its bits by the mean; by the number itself it is the opposite.
    pub by_mean: Array1<f64>,
    /// The slope of its bits by the scale, 0 where a minimum stands for the scale.
    pub by_scale: Array1<f64>,
}

impl Discretized {
    /// Of normal distributions, whose scales are their standard deviations.
    pub fn gaussian() -> Self {
        Self { family: Family::Gaussian, minimum: None }
    }

    /// Of logistic distributions; the standard deviation is π/√3 times the scale.
    ///
    /// ```
    /// use ndarray::arr1;
    /// use surprisal::rates::Discretized;
    /// let zero = arr1(&[0.0]);
    /// let rates = Discretized::logistic().evaluate(&zero, &zero, &arr1(&[1.0]))?;
    /// // p(0) = tanh ¼
    /// assert!((rates.log_probs[0] - 0.25_f64.tanh().ln()).abs() < 1e-15);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn logistic() -> Self {
        Self { family: Family::Logistic, minimum: None }
    }

    /// With a least scale, which stands for every smaller one and has no slope; 0.11 is usual.
    ///
    /// ```
    /// use ndarray::arr1;
    /// use surprisal::rates::Discretized;
    /// let rate = Discretized::gaussian().minimum_scale(0.11)?;
    /// let rates = rate.evaluate(&arr1(&[1.0]), &arr1(&[0.75]), &arr1(&[0.01]))?;
    /// assert_eq!(rates.by_scale[0], 0.0);
    /// assert!((rates.bits()[0] - 0.01671823083745342).abs() < 1e-15);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Option`] for a minimum that is not finite and above 0.
    pub fn minimum_scale(self, minimum: f64) -> Result<Self> {
        positive("minimum_scale", minimum)?;
        Ok(Self { minimum: Some(minimum), ..self })
    }

    /// The rates of numbers, which need not be whole, each with its own mean and scale.
    ///
    /// # Errors
    /// [`Error::Shape`] for lengths that differ or are 0; [`Error::Value`] for a number or a mean that is not finite, and
    /// for a scale that is not finite and above 0.
    pub fn evaluate<'a>(
        &self,
        values: impl Into<Vector<'a>>,
        means: impl Into<Vector<'a>>,
        scales: impl Into<Vector<'a>>,
    ) -> Result<Rates> {
        self.evaluate_here(values.into(), means.into(), scales.into())
    }

    fn evaluate_here(
        &self,
        values: Vector<'_>,
        means: Vector<'_>,
        scales: Vector<'_>,
    ) -> Result<Rates> {
        let count = values.len();
        if count == 0 {
            let expected = "at least one number".into();
            return Err(Error::Shape { argument: "values", found: vec![0], expected });
        }
        for (argument, found) in [("mean", means.len()), ("scale", scales.len())] {
            if found != count {
                let expected = format!("[{count}], one for each of the values");
                return Err(Error::Shape { argument, found: vec![found], expected });
            }
        }
        let empty = || Array1::zeros(count);
        let mut rates = Rates { log_probs: empty(), by_mean: empty(), by_scale: empty() };
        for i in 0..count {
            let (value, mean, scale) = (values.at(i), means.at(i), scales.at(i));
            for (argument, number) in [("values", value), ("mean", mean)] {
                if !number.is_finite() {
                    return Err(Error::not_finite(argument, &[i], number));
                }
            }
            if !(scale > 0.0 && scale.is_finite()) {
                let (argument, expected) = ("scale", "a finite number above 0");
                return Err(Error::Value {
                    argument,
                    index: vec![i],
                    value: short(scale),
                    expected,
                });
            }
            let [log_prob, by_mean, by_scale] = self.of(value, mean, scale);
            rates.log_probs[i] = log_prob;
            rates.by_mean[i] = by_mean;
            rates.by_scale[i] = by_scale;
        }
        Ok(rates)
    }

    /// ln p, and the slopes of the bits by mean and scale.
    fn of(&self, value: f64, mean: f64, scale: f64) -> [f64; 3] {
        let distance = value - mean;
        let least = self.minimum.unwrap_or(0.0);
        let [log_prob, by_distance, by_scale] = match self.family {
            Family::Gaussian => gaussian::log_probability(distance.abs(), scale.max(least)),
            Family::Logistic => logistic::log_probability(distance.abs(), scale.max(least)),
        };
        let by_mean = if distance < 0.0 { -by_distance } else { by_distance };
        // So that no slope is −0.
        let by_scale = if scale < least { 0.0 } else { 0.0 - by_scale / LN_2 };
        [log_prob.min(0.0), by_mean / LN_2 + 0.0, by_scale]
    }
}

impl Rates {
    /// −log₂ p of each number.
    pub fn bits(&self) -> Array1<f64> {
        self.log_probs.mapv(bits)
    }

    /// −log₂ max(p, floor): what published code returns, with a floor of 1e-9.
    ///
    /// # Errors
    /// [`Error::Option`] for a floor that is not above 0 and at most 1.
    pub fn bits_floored(&self, floor: f64) -> Result<Array1<f64>> {
        if !(floor > 0.0 && floor <= 1.0) {
            let expected = "a number above 0 up to 1";
            return Err(Error::Option { name: "probability_floor", value: short(floor), expected });
        }
        let least = floor.ln();
        Ok(self.log_probs.mapv(|log_prob| bits(log_prob.max(least))))
    }

    /// The bits of all numbers together: of an image of so many pixels, divided by them, its bits per pixel.
    pub fn total_bits(&self) -> f64 {
        self.log_probs.iter().copied().map(bits).sum()
    }
}

/// −ln p in bits, never −0.
fn bits(log_prob: f64) -> f64 {
    0.0 - log_prob / LN_2
}
