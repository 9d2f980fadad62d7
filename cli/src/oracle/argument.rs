//! What a function takes: a name, what may stand there, and what is taken where nothing stands there.

use serde_json::{Map, Value, json};
use std::fmt;

/// An argument of a function.
#[derive(Clone, Copy)]
pub struct Argument {
    pub name: &'static str,
    pub kind: Kind,
    pub otherwise: Otherwise,
}

/// What an argument may be.
#[derive(Clone, Copy)]
pub enum Kind {
    /// Nested arrays of numbers, with their shape in letters.
    Numbers(&'static str),
    /// An array of true and false, with its shape in letters.
    Flags(&'static str),
    /// Whole numbers from 0 up to a size of another argument, with their shape in letters.
    Classes(&'static str),
    /// A number.
    Number(Interval),
    /// A whole number, with its range in words.
    Whole(&'static str),
    /// One of some words.
    Word(&'static [&'static str]),
    Flag,
}

/// What is taken where an argument is not there.
#[derive(Clone, Copy)]
pub enum Otherwise {
    /// It must be there.
    Required,
    /// The function does without it.
    Absent,
    Number(f64),
    Word(&'static str),
    Flag(bool),
}

/// The numbers between two, each of them with or without; +∞ only where that is said.
#[derive(Clone, Copy)]
pub struct Interval {
    least: f64,
    above: bool,
    most: f64,
    below: bool,
    infinity: bool,
}

impl Interval {
    pub const ANY: Self = Self {
        least: f64::NEG_INFINITY,
        above: false,
        most: f64::INFINITY,
        below: false,
        infinity: false,
    };

    pub const fn at_least(least: f64) -> Self {
        Self { least, ..Self::ANY }
    }

    pub const fn above(least: f64) -> Self {
        Self { least, above: true, ..Self::ANY }
    }

    pub const fn up_to(mut self, most: f64) -> Self {
        self.most = most;
        self
    }

    pub const fn below(mut self, most: f64) -> Self {
        (self.most, self.below) = (most, true);
        self
    }

    pub const fn or_infinity(mut self) -> Self {
        self.infinity = true;
        self
    }

    /// Whether a number is in it.
    pub fn has(&self, number: f64) -> bool {
        if number == f64::INFINITY {
            return self.infinity;
        }
        let low = if self.above { number > self.least } else { number >= self.least };
        let high = if self.below { number < self.most } else { number <= self.most };
        number.is_finite() && low && high
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = vec!["a finite number".to_string()];
        if self.least.is_finite() {
            words.push(format!("{} {}", if self.above { "above" } else { "from" }, self.least));
        }
        if self.most.is_finite() {
            words.push(format!("{} {}", if self.below { "below" } else { "up to" }, self.most));
        }
        if self.infinity {
            words.push("or \"inf\"".into());
        }
        f.write_str(&words.join(" "))
    }
}

impl Argument {
    pub const fn new(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, otherwise: Otherwise::Required }
    }

    pub const fn number(name: &'static str, interval: Interval) -> Self {
        Self::new(name, Kind::Number(interval))
    }

    pub const fn or(mut self, otherwise: Otherwise) -> Self {
        self.otherwise = otherwise;
        self
    }

    pub const fn optional(self) -> Self {
        self.or(Otherwise::Absent)
    }

    /// What may stand there, in words.
    pub fn expected(&self) -> String {
        match self.kind {
            Kind::Numbers(shape) => format!("numbers of shape {shape}"),
            Kind::Flags(shape) => format!("true or false, of shape {shape}"),
            Kind::Classes(shape) => format!("whole numbers of shape {shape}"),
            Kind::Number(interval) => interval.to_string(),
            Kind::Whole(range) => format!("a whole number {range}"),
            Kind::Word(words) => {
                let words: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
                words.join(" or ")
            }
            Kind::Flag => "true or false".into(),
        }
    }

    /// The argument as `list` has it.
    pub fn listed(&self) -> Value {
        let mut entry = Map::new();
        let mut add = |key: &str, value: Value| entry.insert(key.into(), value);
        match self.kind {
            Kind::Numbers(shape) => {
                add("type", "numbers".into());
                add("shape", shape.into());
            }
            Kind::Flags(shape) => {
                add("type", "booleans".into());
                add("shape", shape.into());
            }
            Kind::Classes(shape) => {
                add("type", "integers".into());
                add("shape", shape.into());
            }
            Kind::Number(interval) => {
                add("type", "number".into());
                add("range", interval.to_string().into());
            }
            Kind::Whole(range) => {
                add("type", "integer".into());
                add("range", range.into());
            }
            Kind::Word(words) => {
                add("type", "word".into());
                add("range", json!(words));
            }
            Kind::Flag => {
                add("type", "boolean".into());
            }
        }
        match self.otherwise {
            Otherwise::Required => add("required", true.into()),
            Otherwise::Absent => add("required", false.into()),
            Otherwise::Number(number) => add("default", json!(number)),
            Otherwise::Word(word) => add("default", word.into()),
            Otherwise::Flag(flag) => add("default", flag.into()),
        };
        entry.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_has_its_ends_or_not_and_says_so() {
        let unit = Interval::above(0.0).up_to(1.0);
        assert!(!unit.has(0.0) && unit.has(1.0) && !unit.has(1.5) && !unit.has(f64::NAN));
        assert_eq!(unit.to_string(), "a finite number above 0 up to 1");
        let half_open = Interval::at_least(0.0).below(1.0);
        assert!(half_open.has(0.0) && !half_open.has(1.0));
        assert_eq!(half_open.to_string(), "a finite number from 0 below 1");
        assert!(Interval::ANY.has(-1e300) && !Interval::ANY.has(f64::INFINITY));
        assert_eq!(Interval::ANY.to_string(), "a finite number");
        let endless = Interval::at_least(0.0).or_infinity();
        assert!(endless.has(f64::INFINITY) && !endless.has(f64::NEG_INFINITY));
        assert!(!endless.has(f64::NAN) && !endless.has(-1.0));
        assert_eq!(endless.to_string(), "a finite number from 0 or \"inf\"");
    }
}
