//! How the learning rate goes over the steps of a run.

use crate::error::{Error, Result};

/// A learning rate for each step: a linear warm-up, then a fall to a final rate.
///
/// With peak rate η, W steps of warm-up, S steps in all and a final rate φη, step s (from 0) has
///
/// ```text
/// s < W:      η (s + 1)/W
/// constant:   η
/// linear:     η (1 − (1 − φ) x)                    x = (s − W)/(S − W), at most 1
/// cosine:     η (φ + (1 − φ)(1 + cos πx)/2)        (Loshchilov and Hutter, 2017)
/// ```
///
/// ```
/// use surprisal::autodiff::Schedule;
/// let schedule = Schedule::cosine(0.1, 1000)?.warm_up(10)?.floor(0.1)?;
/// assert!((schedule.rate(0) - 0.01).abs() < 1e-15);
/// assert_eq!(schedule.rate(10), 0.1);
/// assert!((schedule.rate(1000) - 0.01).abs() < 1e-15);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    shape: Fall,
    peak: f64,
    steps: u64,
    warm_up: u64,
    floor: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fall {
    Constant,
    Linear,
    Cosine,
}

impl Schedule {
    /// The same rate for ever.
    ///
    /// ```
    /// # use surprisal::autodiff::Schedule;
    /// assert_eq!(Schedule::constant(0.1)?.rate(7), 0.1);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Option`] for a rate that is negative or not finite.
    pub fn constant(rate: f64) -> Result<Self> {
        Self::new(Fall::Constant, rate, 0)
    }

    /// A straight fall to the final rate at step `steps`.
    ///
    /// ```
    /// # use surprisal::autodiff::Schedule;
    /// assert_eq!(Schedule::linear(0.5, 100)?.rate(50), 0.25);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Option`] for a rate that is negative or not finite.
    pub fn linear(rate: f64, steps: u64) -> Result<Self> {
        Self::new(Fall::Linear, rate, steps)
    }

    /// Half a cosine down to the final rate at step `steps`.
    ///
    /// ```
    /// # use surprisal::autodiff::Schedule;
    /// assert!((Schedule::cosine(0.5, 100)?.rate(50) - 0.25).abs() < 1e-15);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Option`] for a rate that is negative or not finite.
    pub fn cosine(rate: f64, steps: u64) -> Result<Self> {
        Self::new(Fall::Cosine, rate, steps)
    }

    fn new(shape: Fall, peak: f64, steps: u64) -> Result<Self> {
        super::check_option("learning rate", peak, peak.is_finite() && peak >= 0.0, NOT_NEGATIVE)?;
        Ok(Self { shape, peak, steps, warm_up: 0, floor: 0.0 })
    }

    /// W, the steps of the warm-up; 0 by default.
    ///
    /// ```
    /// # use surprisal::autodiff::Schedule;
    /// assert_eq!(Schedule::constant(1.0)?.warm_up(4)?.rate(1), 0.5);
    /// assert!(Schedule::linear(1.0, 3)?.warm_up(4).is_err());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Option`] for more than there are steps.
    pub fn warm_up(mut self, steps: u64) -> Result<Self> {
        if self.shape != Fall::Constant && steps > self.steps {
            return Err(Error::Option {
                name: "warm-up",
                value: steps.to_string(),
                expected: "at most the number of steps",
            });
        }
        self.warm_up = steps;
        Ok(self)
    }

    /// φ, the final rate as a share of the peak; 0 by default.
    ///
    /// ```
    /// # use surprisal::autodiff::Schedule;
    /// assert_eq!(Schedule::linear(1.0, 10)?.floor(0.25)?.rate(99), 0.25);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Option`] unless it is from 0 to 1.
    pub fn floor(mut self, share: f64) -> Result<Self> {
        super::check_option("floor", share, (0.0..=1.0).contains(&share), "a number from 0 to 1")?;
        self.floor = share;
        Ok(self)
    }

    /// The rate of a step, counted from 0.
    ///
    /// ```
    /// # use surprisal::autodiff::Schedule;
    /// assert_eq!(Schedule::constant(1e-3)?.rate(0), 1e-3);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn rate(&self, step: u64) -> f64 {
        if step < self.warm_up {
            return self.peak * ((step + 1) as f64 / self.warm_up as f64);
        }
        let (done, all) = (step - self.warm_up, self.steps.saturating_sub(self.warm_up));
        let x = if done >= all { 1.0 } else { done as f64 / all as f64 };
        let left = match self.shape {
            Fall::Constant => return self.peak,
            Fall::Linear => 1.0 - x,
            Fall::Cosine => 0.5 * (1.0 + libm::cos(std::f64::consts::PI * x)),
        };
        self.peak * (self.floor + (1.0 - self.floor) * left)
    }
}

/// What a rate may be.
pub(super) const NOT_NEGATIVE: &str = "a finite number of at least 0";
