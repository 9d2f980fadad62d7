//! The names of a filter, as `loss` and `bench` take them, and of an order of the classes for it.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use surprisal::Filter;

/// auto, ε, or mass:δ.
#[derive(Clone, Copy)]
pub struct FilterName(pub Filter);

impl fmt::Display for FilterName {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Filter::Below(threshold) => write!(to, "{threshold:e}"),
            Filter::Mass(mass) => write!(to, "mass-{mass:e}"),
            _ => write!(to, "auto"),
        }
    }
}

impl FromStr for FilterName {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        // The range is the library's to check.
        let number = |text: &str| {
            text.parse()
                .map_err(|_| "expected auto, a number from 0 to 1, or mass: and such a number")
        };
        Ok(Self(match (name, name.strip_prefix("mass:")) {
            ("auto", _) => Filter::Auto,
            (_, Some(mass)) => Filter::Mass(number(mass)?),
            (_, None) => Filter::Below(number(name)?),
        }))
    }
}

/// What an order of the classes is made from.
#[derive(Clone)]
pub enum OrderName {
    MeanLogit,
    Similar,
    Counts,
    File(String),
}

impl FromStr for OrderName {
    type Err = Infallible;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Ok(match name {
            "mean-logit" => Self::MeanLogit,
            "similar" => Self::Similar,
            "counts" => Self::Counts,
            _ => Self::File(name.into()),
        })
    }
}
