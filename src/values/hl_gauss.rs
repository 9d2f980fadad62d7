//! Histograms of a Gaussian around a value.

use ndarray::{Array1, Array2};

use super::support::{Range, decode};
use crate::error::{Error, Result, short};
use crate::matrix::Matrix;

/// V bins of one width ς = (high − low)/V, and for a value the mass that a Gaussian around it has in each.
///
/// ```text
/// τ_j = (Φ((b_{j+1} − v)/σ) − Φ((b_j − v)/σ)) / (Φ((b_V − v)/σ) − Φ((b_0 − v)/σ))      σ = ratio · ς
/// ```
///
/// with the edges b_j = low + jς, Φ the distribution of the standard Gaussian, and v brought into the range first:
/// published listings leave it where it is, and a value far outside is then 0/0. A ratio of 0.75 is usual; towards
/// 0 the target is the bin that the value is in. The mean of the bins' middles is the value, but for the binning and
/// what the ends cut off.
///
/// Imani and White 2018, *Improving Regression Performance with Distributional Losses*; Farebrother et al. 2024.
///
/// Cases in `conformance/losses.jsonl`: `hl_gauss`, `hl_gauss_targets`, `decode_value`.
///
/// ```
/// use surprisal::values::HlGauss;
/// let targets = HlGauss::new(0.0, 2.0, 2, 0.75)?.targets(&[1.0])?;
/// assert_eq!(targets, ndarray::arr2(&[[0.5, 0.5]]));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct HlGauss {
    range: Range,
    sigma: f64,
    centres: Array1<f64>,
}

impl HlGauss {
    /// So many bins from `low` to `high`, and σ as a multiple of their width.
    ///
    /// # Errors
    /// [`Error::Option`] for a range that is none, for no bins, and for a ratio that is not finite and above 0.
    pub fn new(low: f64, high: f64, bins: usize, ratio: f64) -> Result<Self> {
        let range = Range::new(low, high, bins, 1)?;
        let sigma = ratio * (high - low) / bins as f64;
        if !(ratio > 0.0 && sigma > 0.0 && sigma.is_finite()) {
            let expected = "a finite number above 0";
            return Err(Error::Option { name: "sigma_ratio", value: short(ratio), expected });
        }
        let centre = |j: usize| range.at((j as f64 + 0.5) / bins as f64);
        Ok(Self { range, sigma, centres: (0..bins).map(centre).collect() })
    }

    /// The middle of each bin `[V]`.
    pub fn centres(&self) -> &Array1<f64> {
        &self.centres
    }

    /// The target of each value `[N,V]`; a value beyond the range counts as its nearer end.
    ///
    /// # Errors
    /// [`Error::Value`] for a value that is no number.
    pub fn targets(&self, values: &[f64]) -> Result<Array2<f64>> {
        let bins = self.centres.len();
        let mut targets = Array2::zeros((values.len(), bins));
        for (i, (&value, mut row)) in values.iter().zip(targets.rows_mut()).enumerate() {
            let value = self.range.clamp("values", i, value)?;
            let edge = |j: usize| {
                let edge = self.range.at(j as f64 / bins as f64);
                (edge - value) / (self.sigma * std::f64::consts::SQRT_2)
            };
            let mut low = edge(0);
            for (j, to) in row.iter_mut().enumerate() {
                let high = edge(j + 1);
                *to = mass(low, high);
                low = high;
            }
            let all = mass(edge(0), edge(bins));
            row.mapv_inplace(|mass| mass / all);
        }
        Ok(targets)
    }

    /// The value that each row of logits `[N,V]` stands for: the mean of the bins' middles under its softmax.
    ///
    /// # Errors
    /// [`Error::Shape`] for logits of another number of bins.
    pub fn decode<'a>(&self, logits: impl Into<Matrix<'a>>) -> Result<Array1<f64>> {
        decode(logits.into(), &self.centres)
    }
}

/// ½ (erf(high) − erf(low)), from the side on which both are small.
fn mass(low: f64, high: f64) -> f64 {
    let difference = match (low > 0.0, high < 0.0) {
        (true, _) => libm::erfc(low) - libm::erfc(high),
        (_, true) => libm::erfc(-high) - libm::erfc(-low),
        _ => libm::erf(high) - libm::erf(low),
    };
    0.5 * difference
}
