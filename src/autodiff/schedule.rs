//! How the learning rate goes over the steps of a run.

use super::check_option;
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
/// let schedule = Schedule::cosine(0.1, 1000).warm_up(10).floor(0.1).build()?;
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

/// Sets the options of a [`Schedule`]; [`build`](Self::build) checks them.
///
/// ```
/// use surprisal::autodiff::Schedule;
/// assert_eq!(Schedule::constant(1.0).warm_up(4).build()?.rate(1), 0.5);
/// assert_eq!(Schedule::linear(1.0, 10).floor(0.25).build()?.rate(99), 0.25);
/// assert!(Schedule::linear(1.0, 3).warm_up(4).build().is_err());
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ScheduleBuilder {
    schedule: Schedule,
}

impl ScheduleBuilder {
    fn new(shape: Fall, peak: f64, steps: u64) -> Self {
        Self { schedule: Schedule { shape, peak, steps, warm_up: 0, floor: 0.0 } }
    }

    /// W, the steps of the warm-up, at most as many as there are; 0 by default.
    pub fn warm_up(mut self, steps: u64) -> Self {
        self.schedule.warm_up = steps;
        self
    }

    /// φ, the final rate as a share of the peak, from 0 to 1; 0 by default.
    pub fn floor(mut self, share: f64) -> Self {
        self.schedule.floor = share;
        self
    }

    /// The schedule with these options.
    ///
    /// # Errors
    /// [`Error::Option`] for a rate that is negative or not finite, more steps of warm-up than there
    /// are steps, and a final share that is not from 0 to 1.
    pub fn build(self) -> Result<Schedule> {
        let schedule = self.schedule;
        let Schedule { shape, peak, steps, warm_up, floor } = schedule;
        check_option("learning rate", peak, peak.is_finite() && peak >= 0.0, NOT_NEGATIVE)?;
        if shape != Fall::Constant && warm_up > steps {
            return Err(Error::Option {
                name: "warm-up",
                value: warm_up.to_string(),
                expected: "at most the number of steps",
            });
        }
        check_option("floor", floor, (0.0..=1.0).contains(&floor), "a number from 0 to 1")?;
        Ok(schedule)
    }
}

impl Schedule {
    /// The same rate η for ever, finite and at least 0.
    ///
    /// ```
    /// # use surprisal::autodiff::Schedule;
    /// assert_eq!(Schedule::constant(0.1).build()?.rate(7), 0.1);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn constant(rate: f64) -> ScheduleBuilder {
        ScheduleBuilder::new(Fall::Constant, rate, 0)
    }

    /// A straight fall from η, finite and at least 0, to the final rate at step `steps`.
    ///
    /// ```
    /// # use surprisal::autodiff::Schedule;
    /// assert_eq!(Schedule::linear(0.5, 100).build()?.rate(50), 0.25);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn linear(rate: f64, steps: u64) -> ScheduleBuilder {
        ScheduleBuilder::new(Fall::Linear, rate, steps)
    }

    /// Half a cosine from η, finite and at least 0, down to the final rate at step `steps`.
    ///
    /// ```
    /// # use surprisal::autodiff::Schedule;
    /// assert!((Schedule::cosine(0.5, 100).build()?.rate(50) - 0.25).abs() < 1e-15);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn cosine(rate: f64, steps: u64) -> ScheduleBuilder {
        ScheduleBuilder::new(Fall::Cosine, rate, steps)
    }

    /// The rate of a step, counted from 0.
    ///
    /// ```
    /// # use surprisal::autodiff::Schedule;
    /// assert_eq!(Schedule::constant(1e-3).build()?.rate(0), 1e-3);
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

/// What a share of an average may be.
pub(super) const BELOW_ONE: &str = "a number from 0 to 1, without 1";
