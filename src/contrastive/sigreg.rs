//! Features pulled towards a normal distribution, along some directions at a time.

use ndarray::{Array1, Array2};

use super::checks::finite;
use super::epps_pulley::EppsPulley;
use crate::error::{Error, Result};
use crate::matrix::Matrix;
use crate::random::Generator;

/// Sketched isotropic Gaussian regularisation (SIGReg): the [`EppsPulley`] statistics of features along directions.
///
/// ```text
/// L = mean_k T(X a_k)       ∂L/∂X = (1/K) Σ_k T'(X a_k) a_kᵀ       X [N,D], directions A [D,K], ‖a_k‖ = 1
/// ```
///
/// Its least value is that of standard normal features, so that they neither collapse nor spread, and no pairs are
/// compared: O(N K (D + n)) time in f64, and O(N K) memory. Features are not standardised before. New directions each
/// step, the same on all machines of a training, see more of the features than more of them at a time.
///
/// Balestriero and LeCun 2025, *LeJEPA*, whose code has means over directions and works in f32.
///
/// Cases in `conformance/geometry.jsonl`: `sigreg`.
///
/// ```
/// use surprisal::contrastive::SigReg;
/// use surprisal::random::Generator;
/// let mut generator = Generator::new(0);
/// let mut normal = || generator.standard_normal();
/// let features = ndarray::Array2::from_shape_simple_fn((500, 3), &mut normal);
/// let sigreg = SigReg::random(3, 16, &mut Generator::new(1))?;
/// let (spread, (near, _)) = (&features * 3.0, sigreg.loss_and_gradient(&features)?);
/// assert!(near < 2.0 && sigreg.loss(&spread)? > 50.0 && sigreg.loss(&(0.0 * &spread))? > 50.0);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct SigReg {
    /// `[D,K]`, of length 1.
    directions: Array2<f64>,
    test: EppsPulley,
    summed: bool,
}

impl SigReg {
    /// Along the columns of a matrix `[D,K]`, which are brought to length 1.
    ///
    /// # Errors
    /// [`Error::Shape`] without one; [`Error::Value`] for a column of zeros, or a number that is not finite.
    pub fn new<'a>(directions: impl Into<Matrix<'a>>) -> Result<Self> {
        Self::new_here(directions.into())
    }

    fn new_here(directions: Matrix<'_>) -> Result<Self> {
        finite("directions", &directions)?;
        let mut directions = Array2::from_shape_fn(directions.dim(), |(i, j)| directions.at(i, j));
        for (k, mut column) in directions.columns_mut().into_iter().enumerate() {
            let largest = column.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
            if largest == 0.0 {
                return Err(Error::Value {
                    argument: "directions",
                    index: vec![0, k],
                    value: "the first of a column of zeros".into(),
                    expected: "a column with a direction",
                });
            }
            column /= largest;
            let length = column.dot(&column).sqrt();
            column /= length;
        }
        Ok(Self { directions, test: EppsPulley::default(), summed: false })
    }

    /// Along so many directions of a space of so many dimensions, all as likely.
    ///
    /// # Errors
    /// [`Error::Shape`] where there are none.
    pub fn random(width: usize, count: usize, generator: &mut Generator) -> Result<Self> {
        let normal = || generator.standard_normal();
        Self::new(&Array2::from_shape_simple_fn((width, count), normal))
    }

    /// With this statistic; the default one else.
    #[must_use]
    pub fn test(self, test: EppsPulley) -> Self {
        Self { test, ..self }
    }

    /// Whether the statistics are summed; their mean is taken else.
    #[must_use]
    pub fn summed(self, summed: bool) -> Self {
        Self { summed, ..self }
    }

    fn factor(&self) -> f64 {
        if self.summed { 1.0 } else { 1.0 / self.directions.ncols() as f64 }
    }

    /// The statistic along each direction `[K]` of features `[N,D]`.
    ///
    /// # Errors
    /// [`Error::Shape`] for features of another width; [`Error::Value`] for a number that is not finite.
    pub fn each<'a>(&self, features: impl Into<Matrix<'a>>) -> Result<Array1<f64>> {
        let samples = self.samples(features.into())?;
        Ok(samples
            .columns()
            .into_iter()
            .map(|own| self.test.add(&own.to_vec(), |_, _| ()))
            .collect())
    }

    /// L.
    ///
    /// # Errors
    /// As [`each`](Self::each).
    pub fn loss<'a>(&self, features: impl Into<Matrix<'a>>) -> Result<f64> {
        Ok(self.each(features)?.sum() * self.factor())
    }

    /// L and its gradient by the features `[N,D]`.
    ///
    /// # Errors
    /// As [`each`](Self::each).
    pub fn loss_and_gradient<'a>(
        &self,
        features: impl Into<Matrix<'a>>,
    ) -> Result<(f64, Array2<f64>)> {
        self.loss_and_gradient_here(features.into())
    }

    fn loss_and_gradient_here(&self, features: Matrix<'_>) -> Result<(f64, Array2<f64>)> {
        let mut samples = self.samples(features)?;
        let mut value = 0.0;
        for mut column in samples.columns_mut() {
            let own = column.to_vec();
            value += self.test.add(&own, |i, slope| column[i] = slope);
        }
        Ok((value * self.factor(), samples.dot(&self.directions.t()) * self.factor()))
    }

    /// X A.
    fn samples(&self, features: Matrix<'_>) -> Result<Array2<f64>> {
        finite("features", &features)?;
        let (rows, width) = features.dim();
        if width != self.directions.nrows() {
            let expected = format!("[{rows}, {}], as the directions have", self.directions.nrows());
            return Err(Error::Shape { argument: "features", found: vec![rows, width], expected });
        }
        let features = Array2::from_shape_fn((rows, width), |(i, j)| features.at(i, j));
        Ok(features.dot(&self.directions))
    }
}
