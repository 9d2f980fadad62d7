//! The mean and the spread of numbers that come one by one or in parts.

/// Count, mean and Σ (x − mean)² of numbers (Welford 1962; Chan, Golub and LeVeque 1979). What is not finite is
/// counted apart, so that it does not make a NaN of an infinite mean.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Moments {
    finite: u64,
    mean: f64,
    squares: f64,
    infinite: u64,
    minus_infinite: u64,
    nan: u64,
}

impl Moments {
    pub(super) fn push(&mut self, number: f64) {
        if number.is_nan() {
            self.nan += 1;
        } else if number == f64::INFINITY {
            self.infinite += 1;
        } else if number == f64::NEG_INFINITY {
            self.minus_infinite += 1;
        } else {
            self.finite += 1;
            let above = number - self.mean;
            self.mean += above / self.finite as f64;
            self.squares += above * (number - self.mean);
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.infinite += other.infinite;
        self.minus_infinite += other.minus_infinite;
        self.nan += other.nan;
        if other.finite == 0 {
            return;
        }
        let count = (self.finite + other.finite) as f64;
        let (own, others) = (self.finite as f64 / count, other.finite as f64 / count);
        let above = other.mean - self.mean;
        self.mean += above * others;
        self.squares += other.squares + above * above * (own * other.finite as f64);
        self.finite += other.finite;
    }

    pub(super) fn count(&self) -> u64 {
        self.finite + self.infinite + self.minus_infinite + self.nan
    }

    /// NaN of no numbers, or where one is NaN or both infinities are among them.
    pub(super) fn mean(&self) -> f64 {
        match (self.infinite > 0, self.minus_infinite > 0) {
            _ if self.nan > 0 || self.count() == 0 => f64::NAN,
            (false, false) => self.mean,
            (true, false) => f64::INFINITY,
            (false, true) => f64::NEG_INFINITY,
            (true, true) => f64::NAN,
        }
    }

    /// s/√n with s² of n − 1; NaN below two numbers, and where one is not finite.
    pub(super) fn standard_error(&self) -> f64 {
        if self.count() != self.finite || self.finite < 2 {
            return f64::NAN;
        }
        let count = self.finite as f64;
        (self.squares / (count - 1.0) / count).sqrt()
    }
}
