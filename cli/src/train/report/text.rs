//! Text of the page: escaped, and numbers with their units.

use crate::scale::short;

/// Stands for a number that is missing or is none.
pub const MISSING: &str = "–";

/// Text as it may stand in HTML, in an attribute too.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            letter if letter.is_control() => escaped.push('\u{fffd}'),
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// Three digits after the first.
pub fn number(value: f64) -> String {
    match value {
        value if value.is_nan() => MISSING.into(),
        f64::INFINITY => "∞".into(),
        f64::NEG_INFINITY => "−∞".into(),
        value if value.abs() >= 1e7 => format!("{value:.2e}"),
        value if value.abs() >= 1e4 => {
            let sign = if value < 0.0 { "−" } else { "" };
            format!("{sign}{}", grouped(value.abs().round() as u64))
        }
        value => short(value),
    }
}

/// So many digits after the point, as in the other rows of a column.
pub fn decimals(value: f64, digits: usize) -> String {
    if value.is_finite() && value.abs() < 1e7 {
        return format!("{value:.digits$}").replace('-', "−");
    }
    number(value)
}

/// A count, in groups of three digits.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    if digits.len() < 5 {
        return digits;
    }
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

/// A share, in per cent.
pub fn percent(share: f64) -> String {
    number(100.0 * share)
}

/// Memory, with its unit.
pub fn bytes(bytes: u64) -> (String, &'static str) {
    let mut amount = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB", "PiB"] {
        if amount < 1000.0 {
            return (short_of(amount), unit);
        }
        amount /= 1024.0;
    }
    (number(amount), "EiB")
}

/// Time, with its unit.
pub fn seconds(seconds: f64) -> (String, &'static str) {
    match seconds {
        s if s.is_nan() || s.is_infinite() || s < 0.0 => (number(s), "s"),
        s if s >= 3.0 * 3600.0 => (short_of(s / 3600.0), "h"),
        s if s >= 180.0 => (short_of(s / 60.0), "min"),
        s if s >= 1.0 || s == 0.0 => (short_of(s), "s"),
        s if s >= 1e-3 => (short_of(s * 1e3), "ms"),
        s => (short_of(s * 1e6), "µs"),
    }
}

/// Three digits in all.
fn short_of(value: f64) -> String {
    match value {
        value if value >= 100.0 || value == value.trunc() => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}
