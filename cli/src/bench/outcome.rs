//! What a benchmark found, for people and for programs.

use surprisal::Isa;

use super::arguments::{Bench, name};
use super::machine::caches;
use super::passes::Timed;
use super::roofline::Roof;
use super::sparsity::Sparsity;
use super::summary::Summary;
use crate::device::Place;
use crate::loss::of_strategy;
use crate::output::{number, optional};
use crate::parallel;
use crate::report::{Report, bytes, duration, percent, significant, significant_or};

/// All that was measured.
pub struct Outcome<'a> {
    pub dtype: &'static str,
    pub isa: Isa,
    pub place: &'a Place,
    pub seconds: Summary,
    /// Operations a second of the processor; `None` where another device computes.
    pub peak: Option<f64>,
    pub operations: f64,
    pub strategy: &'static str,
    pub workspace: usize,
    /// The last pass.
    pub last: Timed,
    /// Those of the gradients, with a filter.
    pub errors: Option<(f64, f64)>,
    pub sparsity: Sparsity,
    pub baseline: Option<f64>,
    pub roof: Option<Roof>,
}

impl Outcome<'_> {
    /// Everything, in the order in which it is printed.
    pub fn report(&self, asked: &Bench) -> Report {
        let mut report = Report::new();
        self.what(asked, &mut report);
        self.times(asked, &mut report);
        if let Some(roof) = &self.roof {
            self.roof(roof, &mut report);
        }
        report.add("strategy", self.strategy, of_strategy(self.strategy));
        report.add("workspace_bytes", self.workspace, bytes(self.workspace));
        if asked.filter.is_some() {
            self.filter(asked, &mut report);
        }
        self.sparsity(&mut report);
        let text = match self.baseline {
            Some(seconds) => format!(
                "{} with all logits in memory ({} times the time)",
                duration(seconds),
                significant(seconds / self.seconds.median.max(1e-9), 3)
            ),
            None => "-".into(),
        };
        report.add("baseline_seconds", optional(self.baseline), text);
        report
    }

    fn what(&self, asked: &Bench, report: &mut Report) {
        report.add("tokens", asked.tokens, asked.tokens.to_string());
        report.add("hidden", asked.hidden, asked.hidden.to_string());
        report.add("vocabulary", asked.vocab, asked.vocab.to_string());
        report.add("dtype", self.dtype, self.dtype);
        report.add("pass", name(asked.pass), name(asked.pass));
        report.add("data", name(asked.data), name(asked.data));
        report.add("isa", self.isa.name(), self.isa.name());
        report.add("threads", parallel::threads(), parallel::threads().to_string());
        if let Some(adapter) = self.place.adapter() {
            report.add("adapter", adapter, adapter);
        }
    }

    fn times(&self, asked: &Bench, report: &mut Report) {
        let Summary { median, least, most, deviation } = self.seconds;
        let text = format!(
            "{} ({} to {} over {} passes)",
            duration(median),
            duration(least),
            duration(most),
            asked.repetitions
        );
        report.add("seconds", number(median), text);
        report.add_json("seconds_least", number(least));
        report.add_json("seconds_most", number(most));
        report.add_json("seconds_deviation", number(deviation));
        report.add_json("repetitions", asked.repetitions);
        let rate = self.operations / median.max(1e-9);
        report.add("gflops", number(rate / 1e9), gflops(rate));
        let text = self.peak.map_or_else(|| "-".into(), gflops);
        report.add("peak_gflops", optional(self.peak.map(|peak| peak / 1e9)), text);
        let fraction = self.peak.map(|peak| rate / peak);
        let text = fraction.map_or_else(
            || "-".into(),
            |share| format!("{} of what the threads can do without memory", percent(share)),
        );
        report.add("fraction_of_peak", optional(fraction), text);
    }

    fn roof(&self, roof: &Roof, report: &mut Report) {
        let gigabytes = |rate: f64| format!("{} GB/s", significant(rate / 1e9, 3));
        let caches = caches();
        let size = |size: usize| if size == 0 { "unknown".into() } else { bytes(size) };
        for (key, value, text) in [
            ("l1_data_bytes", caches.first, "of a core"),
            ("l2_bytes", caches.second, "of a core"),
            ("l3_bytes", caches.last, "shared by cores"),
        ] {
            report.add(key, value, format!("{} {text}", size(value)));
        }
        let bandwidth = roof.bandwidth;
        for (key, rate, text) in [
            ("bandwidth_gbytes", bandwidth.memory, "read from memory by all threads"),
            ("bandwidth_one_thread_gbytes", bandwidth.one_thread, "by one"),
        ] {
            report.add(key, number(rate / 1e9), format!("{} {text}", gigabytes(rate)));
        }
        let key = "bandwidth_of_cache_gbytes";
        let text = match bandwidth.cache {
            Some(rate) => format!("{} from a cache that holds all operands", gigabytes(rate)),
            None => "- (no cache holds all operands)".into(),
        };
        report.add(key, optional(bandwidth.cache.map(|rate| rate / 1e9)), text);
        report.add_json("operations", number(roof.operations));
        let text = format!("{}, each operand and gradient once", bytes(roof.bytes as usize));
        report.add("bytes_moved", number(roof.bytes), text);
        let digits = |value| significant(value, 3);
        let text = format!("{} operations a byte", digits(roof.intensity()));
        report.add("intensity", number(roof.intensity()), text);
        let text = format!("{} operations a byte: below it the bytes bound", digits(roof.ridge()));
        report.add("ridge", number(roof.ridge()), text);
        report.add("bound", roof.bound(), roof.bound());
        report.add("roof_seconds", number(roof.seconds()), duration(roof.seconds()));
        let median = self.seconds.median.max(1e-9);
        let reached = roof.seconds() / median;
        let text = format!("{} of the roof, {}", percent(reached), roof.bound());
        report.add("fraction_of_roof", number(reached), text);
        let share = roof.bytes / median / roof.operand_bandwidth();
        let rate = gigabytes(roof.bytes / median);
        let text = format!("{} of the bandwidth, {rate}", percent(share));
        report.add("fraction_of_bandwidth", number(share), text);
    }

    fn filter(&self, asked: &Bench, report: &mut Report) {
        let kept = self.last.kept;
        let text = kept.map(|kept| format!("{} of the blocks of 32 classes", percent(kept)));
        report.add("tiles_kept", optional(kept), text.unwrap_or_else(|| "-".into()));
        let dropped = self.last.dropped.map(|mass| mass.largest);
        let text = format!("{} of a row's probability at most", significant_or(dropped, 2, "-"));
        report.add("dropped_mass_max", optional(dropped), text);
        if asked.errors {
            for (key, error) in [
                ("error_hidden", self.errors.map(|(hidden, _)| hidden)),
                ("error_classifier", self.errors.map(|(_, classifier)| classifier)),
            ] {
                let text = format!("{} of its norm", significant_or(error, 2, "-"));
                report.add(key, optional(error), text);
            }
        }
    }

    fn sparsity(&self, report: &mut Report) {
        let sparsity = &self.sparsity;
        let keys = ["softmax_at_least_2e_12", "softmax_at_least_2e_16", "softmax_at_least_2e_20"];
        for ((key, share), exponent) in keys.into_iter().zip(sparsity.at_least).zip([12, 16, 20]) {
            let text =
                format!("{} of all probabilities are at least 2^-{exponent}", percent(share));
            report.add(key, number(share), text);
        }
        let text = format!(
            "{} of a row's probability on average, in blocks of 32 classes all below 2^-12",
            percent(sparsity.lost)
        );
        report.add("mass_lost_at_2e_12", number(sparsity.lost), text);
        let text = match sparsity.at_50 {
            Some(mean) => format!("{}, of the 50th likeliest class", significant(mean, 3)),
            None => "-".into(),
        };
        report.add("mean_probability_at_50", optional(sparsity.at_50), text);
        let text = format!("{} classes have a mean probability of at least 2^-12", sparsity.above);
        report.add("tokens_above_2e_12", sparsity.above, text);
    }
}

fn gflops(rate: f64) -> String {
    format!("{} GFLOP/s", significant(rate / 1e9, 3))
}
