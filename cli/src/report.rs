//! What a subcommand found: all digits for programs, and what is meant for people.

use serde_json::{Map, Value};

use surprisal::printable;

use crate::Failure;
use crate::output::print_text;

/// The results of a subcommand, in the order in which they are printed.
#[derive(Default)]
pub struct Report {
    entries: Vec<Entry>,
}

struct Entry {
    key: &'static str,
    value: Value,
    /// What people read; nothing where the key is for programs alone.
    text: Option<String>,
}

impl Report {
    pub fn new() -> Self {
        Self::default()
    }

    /// A key with its JSON value, and what people read in its place: rounded, with its unit.
    pub fn add(&mut self, key: &'static str, value: impl Into<Value>, text: impl Into<String>) {
        self.entries.push(Entry { key, value: value.into(), text: Some(text.into()) });
    }

    /// A key that only programs see.
    pub fn add_json(&mut self, key: &'static str, value: impl Into<Value>) {
        self.entries.push(Entry { key, value: value.into(), text: None });
    }

    /// Prints one JSON object, or a line for each key that people read.
    pub fn print(&self, json: bool) -> Result<(), Failure> {
        print_text(&if json { self.json() } else { self.lines() })
    }

    /// The keys with their JSON values.
    pub fn pairs(&self) -> impl Iterator<Item = (String, Value)> {
        self.entries.iter().map(|entry| (entry.key.to_string(), entry.value.clone()))
    }

    fn json(&self) -> String {
        format!("{}\n", Value::Object(Map::from_iter(self.pairs())))
    }

    fn lines(&self) -> String {
        let shown = || self.entries.iter().filter_map(|e| Some((e.key, e.text.as_ref()?)));
        let width = shown().map(|(key, _)| label(key).chars().count()).max().unwrap_or(0);
        shown()
            .map(|(key, text)| {
                // A text may be of several lines; no line has anything else that a terminal obeys.
                let lines: Vec<_> = text.lines().map(printable).collect();
                // Lines of one kind stand below each other, a table at the margin below its label.
                let indent = if text.starts_with('\n') { 0 } else { width + 2 };
                let below = format!("\n{:indent$}", "");
                format!("{:width$}  {}\n", label(key), lines.join(&below))
            })
            .collect()
    }
}

/// A key in words: units stand beside the values.
fn label(key: &str) -> String {
    match key {
        "alpha_req" => "α-ReQ".into(),
        "bandwidth_gbytes" => "bandwidth".into(),
        "bandwidth_of_cache_gbytes" => "bandwidth of the cache".into(),
        "bandwidth_one_thread_gbytes" => "bandwidth of one thread".into(),
        "bound" => "bound by".into(),
        "bytes_moved" => "traffic".into(),
        "dse" => "DSE".into(),
        "dsmi" => "DSMI".into(),
        "gflops" => "rate".into(),
        "kneser_ney_perplexity" => "Kneser–Ney perplexity".into(),
        "l1_data_bytes" => "L1 cache of data".into(),
        "l2_bytes" => "L2 cache".into(),
        "l3_bytes" => "L3 cache".into(),
        "l_inf" => "L∞".into(),
        "lidar" => "LiDAR".into(),
        "mass_lost_at_2e_12" => "mass lost at 2⁻¹²".into(),
        "mean_probability_at_50" => "mean probability of the 50th class".into(),
        "nesum" => "NESum".into(),
        "r_squared" => "R²".into(),
        "rankme" => "RankMe".into(),
        "rankme_covariance" => "RankMe of the covariance".into(),
        "roof_seconds" => "time at the roof".into(),
        "seconds" => "time".into(),
        "softmax_at_least_2e_12" => "softmax of at least 2⁻¹²".into(),
        "softmax_at_least_2e_16" => "softmax of at least 2⁻¹⁶".into(),
        "softmax_at_least_2e_20" => "softmax of at least 2⁻²⁰".into(),
        "tokens_above_2e_12" => "classes above 2⁻¹²".into(),
        "vendi" => "Vendi".into(),
        "workspace_bytes" => "workspace".into(),
        _ => key.replace('_', " "),
    }
}

/// A number to so many significant digits: `12.35`, `0.001200`, `1.2e-9`.
pub fn significant(value: f64, digits: usize) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    // The exponent after rounding: 9.996 to three digits is 10.0.
    let scientific = format!("{value:.*e}", digits.saturating_sub(1));
    let (_, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>().unwrap_or(0) {
        exponent @ -4..=6 => {
            let decimals = (digits as i32 - 1 - exponent).max(0) as usize;
            format!("{value:.decimals$}")
        }
        _ => scientific,
    }
}

/// The same for a number that may be missing.
pub fn significant_or(value: Option<f64>, digits: usize, missing: &str) -> String {
    value.map_or_else(|| missing.into(), |value| significant(value, digits))
}

/// A number beside its error, both to the error's second digit: `4.213 ± 0.017`.
pub fn with_error(value: f64, error: f64) -> String {
    if !(error.is_finite() && error > 0.0 && value.is_finite()) {
        return format!("{} ± {}", significant(value, 6), significant(error, 2));
    }
    if error < 1e-6 * value.abs() {
        return format!("{} ± {}", significant(value, 7), significant(error, 2));
    }
    let decimals = (1 - error.log10().floor() as i32).clamp(0, 15) as usize;
    format!("{value:.decimals$} ± {error:.decimals$}")
}

/// A number of bytes in the unit that makes it short: `37.2 MiB`.
pub fn bytes(bytes: usize) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut unit = 0;
    while size >= 1023.95 && unit + 1 < units.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.1} {}", units[unit])
}

/// A time in the unit that makes it short: `3.42 ms`, `12.1 s`, `2 min 5 s`.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s >= 120.0 => format!("{} min {} s", s.round() as u64 / 60, s.round() as u64 % 60),
        s if s >= 1.0 => format!("{} s", significant(s, 3)),
        s if s >= 1e-3 => format!("{} ms", significant(s * 1e3, 3)),
        s => format!("{} µs", significant(s * 1e6, 3)),
    }
}

/// A share of one in percent: `12.3 %`.
pub fn percent(share: f64) -> String {
    format!("{} %", significant(share * 100.0, 3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_the_digits_that_are_meant() {
        assert_eq!(significant(12.3456, 4), "12.35");
        assert_eq!(significant(9.996, 3), "10.0");
        assert_eq!(significant(0.0012, 4), "0.001200");
        assert_eq!(significant(-1.24e-9, 2), "-1.2e-9");
        assert_eq!(significant(123_456.0, 3), "123456");
        assert_eq!(significant(f64::NAN, 3), "NaN");
        assert_eq!(with_error(4.21327, 0.0172), "4.213 ± 0.017");
        assert_eq!(with_error(4.0, 0.0), "4.00000 ± 0");
        assert_eq!(with_error(1234.5, 56.0), "1234 ± 56");
        assert_eq!(with_error(1.00000000000458, 1e-17), "1.000000 ± 1.0e-17");
    }

    #[test]
    fn sizes_and_times_have_their_unit() {
        assert_eq!(bytes(1023), "1023 bytes");
        assert_eq!(bytes(37 << 20), "37.0 MiB");
        assert_eq!(bytes((1 << 20) - 1), "1.0 MiB");
        assert_eq!(duration(0.00342), "3.42 ms");
        assert_eq!(duration(12.13), "12.1 s");
        assert_eq!(duration(125.0), "2 min 5 s");
        assert_eq!(percent(0.1234), "12.3 %");
    }

    #[test]
    fn people_and_programs_see_the_same_keys_each_in_their_form() {
        let mut report = Report::new();
        report.add("mean_entropy", 1.25, "1.25 nats");
        report.add_json("digits", 17);
        assert_eq!(report.json(), "{\"mean_entropy\":1.25,\"digits\":17}\n");
        assert_eq!(report.lines(), "mean entropy  1.25 nats\n");
        report.add("rate", 2, "one\ntwo");
        report.add("scores", 3, "\nx y\n1 2");
        assert!(
            report
                .lines()
                .ends_with("\nrate          one\n              two\nscores        \nx y\n1 2\n")
        );
    }
}
