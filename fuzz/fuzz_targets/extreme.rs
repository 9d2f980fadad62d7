//! Parameters at and beyond their ends, as often as plain ones.

use arbitrary::Arbitrary;

/// A number that an option takes.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Parameter {
    /// Eighths.
    Plain(u8),
    /// A power of two, subnormal ones included.
    Power(u16),
    /// An end.
    End(u8),
    /// Any bits.
    Any(f64),
}

impl Parameter {
    pub fn value(self) -> f64 {
        const ENDS: [f64; 16] = [
            0.0,
            -0.0,
            5e-324,
            1e-310,
            f64::MIN_POSITIVE,
            1e-300,
            1e-154,
            1.0 - f64::EPSILON / 2.0,
            1.0 + f64::EPSILON,
            1e154,
            1e300,
            8.707741655852639e307,
            f64::MAX,
            f64::INFINITY,
            f64::NAN,
            -1.0,
        ];
        match self {
            Self::Plain(eighths) => f64::from(eighths) / 8.0,
            Self::Power(exponent) => {
                let exponent = i32::from(exponent % 2098) - 1074;
                // In two steps: half of the range has no reciprocal.
                2.0_f64.powi(exponent / 2) * 2.0_f64.powi(exponent - exponent / 2)
            }
            Self::End(end) => ENDS[usize::from(end) % ENDS.len()],
            Self::Any(number) => number,
        }
    }
}

/// A count that an option takes.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Count {
    /// A few.
    Plain(u8),
    /// An end.
    End(u8),
}

impl Count {
    /// Plain ones below `plain`.
    pub fn value(self, plain: usize) -> usize {
        const ENDS: [usize; 6] =
            [0, u32::MAX as usize, 1 << 32, i64::MAX as usize, usize::MAX - 1, usize::MAX];
        match self {
            Self::Plain(count) => usize::from(count) % plain,
            Self::End(end) => ENDS[usize::from(end) % ENDS.len()],
        }
    }
}
