//! What information is measured in.

/// The unit of an entropy, a rate or an information.
///
/// ```
/// use surprisal::coupling::Unit;
/// assert_eq!(Unit::Nats.of_nats(2.0), 2.0);
/// assert!((Unit::Bits.of_nats(2.0_f64.ln()) - 1.0).abs() < 1e-15);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unit {
    /// Natural logarithms.
    #[default]
    Nats,
    /// Logarithms to the base 2.
    Bits,
}

impl Unit {
    /// So many nats, in this unit.
    pub fn of_nats(self, nats: f64) -> f64 {
        match self {
            Unit::Nats => nats,
            Unit::Bits => nats / std::f64::consts::LN_2,
        }
    }

    /// So many of this unit, in nats.
    pub fn to_nats(self, amount: f64) -> f64 {
        match self {
            Unit::Nats => amount,
            Unit::Bits => amount * std::f64::consts::LN_2,
        }
    }
}
