//! What was found of texts, for people and for programs.

use ndarray::Array1;
use serde_json::{Map, Value, json};
use std::path::Path;

use surprisal::information::{Perplexity, Roc};

use super::texts::Text;
use crate::output::{number, optional};
use crate::report::{Report, percent, significant, with_error};
use crate::{Failure, plot};

/// The share of texts not trained on that may be taken for such.
const FALSE_POSITIVES: f64 = 0.05;

/// So many texts are listed for people.
const LISTED: usize = 20;

/// A score: its key, its name, and its value of a text.
type Scored = (&'static str, &'static str, fn(&Text) -> Option<f64>);

const SCORES: [Scored; 5] = [
    ("mean_log_prob", "perplexity", |text| Some(-text.perplexity.mean_surprisal())),
    ("min_k", "Min-K %", |text| Some(text.min_k)),
    ("min_k_plus_plus", "Min-K %++", |text| Some(text.min_k_plus_plus)),
    ("dc_pdd", "DC-PDD", |text| text.dc_pdd),
    ("reference_ratio", "reference", |text| text.reference_ratio),
];

/// Texts with their scores, and how well these tell them apart.
pub struct Outcome {
    texts: Vec<Text>,
    whole: Perplexity,
    detection: Vec<Detection>,
}

struct Detection {
    key: &'static str,
    name: &'static str,
    roc: Roc,
    found: f64,
}

impl Outcome {
    pub fn new(texts: Vec<Text>) -> Result<Self, Failure> {
        let mut whole = Perplexity::new();
        texts.iter().for_each(|text| whole.merge(&text.perplexity));
        let labels: Option<Vec<bool>> = texts.iter().map(|text| text.seen).collect();
        let mut detection = Vec::new();
        if let Some(labels) = labels {
            for (key, name, of) in SCORES {
                let scores: Option<Array1<f64>> = texts.iter().map(of).collect();
                let Some(scores) = scores else { continue };
                let roc = Roc::new(&scores, &labels)
                    .map_err(|error| Failure::Input(format!("{name} of the texts: {error}")))?;
                let found = roc.true_positive_rate(FALSE_POSITIVES)?;
                detection.push(Detection { key, name, roc, found });
            }
        }
        Ok(Self { texts, whole, detection })
    }

    /// ROC curves, or the texts in the order of their perplexities.
    pub fn draw(&self, path: &Path) -> Result<(), Failure> {
        let (count, tokens) = (self.texts.len(), self.whole.tokens());
        if !self.detection.is_empty() {
            let curves: Vec<plot::RocCurve> = self
                .detection
                .iter()
                .map(|of| plot::RocCurve {
                    name: format!("{}, {}", of.name, significant(of.roc.area(), 3)),
                    points: of.roc.points(),
                })
                .collect();
            let seen = self.texts.iter().filter(|text| text.seen == Some(true)).count();
            let title = format!("{seen} texts trained on, among {count}, of {tokens} tokens");
            return plot::roc(path, &title, &curves, FALSE_POSITIVES);
        }
        let mut bits: Vec<(f64, f64)> = self
            .texts
            .iter()
            .map(|text| &text.perplexity)
            .map(|of| (of.bits_per_token(), of.standard_error() / std::f64::consts::LN_2))
            .collect();
        bits.sort_by(|a, b| a.0.total_cmp(&b.0));
        let points: Vec<plot::Point> = bits
            .iter()
            .zip(1_u32..)
            .map(|(&(y, error), x)| plot::Point { x: x.into(), y, error: Some(error) })
            .collect();
        let title = format!("{count} texts of {tokens} tokens");
        plot::curve(
            path,
            &plot::Curve {
                title: &title,
                x: "texts, from the one expected most",
                y: "bits per token, ± standard error",
                points: &points,
                marked: None,
                limit: None,
                logarithmic: false,
            },
        )
    }

    pub fn report(&self, ratio: f64) -> Report {
        let whole = &self.whole;
        let mut report = Report::new();
        let seen = self.texts.iter().filter(|text| text.seen == Some(true)).count();
        let of_which = match self.detection.is_empty() {
            true => String::new(),
            false => format!(", {seen} of them trained on"),
        };
        report.add("texts", self.texts.len(), format!("{}{of_which}", self.texts.len()));
        report.add("tokens", whole.tokens(), whole.tokens().to_string());
        let ignored: usize = self.texts.iter().map(|text| text.ignored).sum();
        report.add("ignored", ignored, format!("{ignored} rows"));
        let interval = interval(whole);
        let text = match interval[0].is_nan() {
            true => significant(whole.perplexity(), 4),
            false => format!(
                "{}, 95 % interval {} to {}",
                significant(whole.perplexity(), 4),
                significant(interval[0], 4),
                significant(interval[1], 4)
            ),
        };
        report.add("perplexity", number(whole.perplexity()), text);
        report.add_json("perplexity_interval", json!(interval.map(number)));
        let bits = whole.bits_per_token();
        let error = whole.standard_error() / std::f64::consts::LN_2;
        report.add("bits_per_token", number(bits), with_error(bits, error));
        match whole.bits_per_byte() {
            Some(bits) => report.add("bits_per_byte", number(bits), significant(bits, 4)),
            None => report.add_json("bits_per_byte", Value::Null),
        }
        let gap = whole.calibration_gap().unwrap_or(f64::NAN);
        let error = whole.calibration_gap_standard_error().unwrap_or(f64::NAN);
        let text = format!("{} nats, −ln p less the entropy", with_error(gap, error));
        report.add("calibration_gap", number(gap), text);
        report.add_json("ratio", number(ratio));
        report.add("scores", self.scores(), self.table());
        let found = |of: &Detection| {
            let value = json!({
                "auroc": number(of.roc.area()),
                "standard_error": number(of.roc.standard_error()),
                "tpr_at_5_percent_fpr": number(of.found),
            });
            (of.key.to_string(), value)
        };
        if self.detection.is_empty() {
            report.add_json("detection", Value::Null);
        } else {
            let value = Value::Object(self.detection.iter().map(found).collect::<Map<_, _>>());
            report.add("detection", value, self.detected());
        }
        report
    }

    fn scores(&self) -> Value {
        let entry = |text: &Text| {
            let of = &text.perplexity;
            let mut entry = Map::new();
            let mut add = |key: &str, value: Value| entry.insert(key.into(), value);
            add("text", text.number.into());
            add("tokens", of.tokens().into());
            add("perplexity", number(of.perplexity()));
            add("perplexity_interval", json!(interval(of).map(number)));
            add("bits_per_byte", optional(of.bits_per_byte()));
            add("calibration_gap", optional(of.calibration_gap()));
            for (key, _, score) in SCORES {
                add(key, optional(score(text)));
            }
            add("seen", text.seen.map_or(Value::Null, Value::from));
            Value::Object(entry)
        };
        self.texts.iter().map(entry).collect()
    }

    /// A line for each text, up to a number of them.
    fn table(&self) -> String {
        let has = |of: fn(&Text) -> Option<f64>| self.texts.iter().any(|text| of(text).is_some());
        let columns: Vec<&Scored> = SCORES.iter().skip(1).filter(|score| has(score.2)).collect();
        let bytes = has(|text| text.perplexity.bits_per_byte());
        let mut header =
            format!("\n{:>8} {:>8} {:>11} {:>19}", "text", "tokens", "perplexity", "95 % interval");
        if bytes {
            header += &format!(" {:>14}", "bits per byte");
        }
        if has(|text| text.seen.map(f64::from)) {
            header += &format!(" {:>12}", "trained on");
        }
        let mut lines =
            vec![columns.iter().fold(header, |line, column| line + &format!(" {:>11}", column.1))];
        for text in self.texts.iter().take(LISTED) {
            let of = &text.perplexity;
            let interval = match interval(of) {
                [low, _] if low.is_nan() => "–".into(),
                ends => ends.map(|end| significant(end, 4)).join(" to "),
            };
            let mut line = format!(
                "{:>8} {:>8} {:>11} {interval:>19}",
                text.number,
                of.tokens(),
                significant(of.perplexity(), 4)
            );
            if let Some(bits) = of.bits_per_byte() {
                line += &format!(" {:>14}", significant(bits, 4));
            }
            if let Some(seen) = text.seen {
                line += &format!(" {:>12}", if seen { "yes" } else { "no" });
            }
            for (.., score) in &columns {
                let score = score(text).map_or("–".into(), |score| significant(score, 4));
                line += &format!(" {score:>11}");
            }
            lines.push(line);
        }
        if self.texts.len() > LISTED {
            lines.push(format!("… and {} more, which --json lists", self.texts.len() - LISTED));
        }
        lines.join("\n")
    }

    /// A line for each score that tells texts apart.
    fn detected(&self) -> String {
        let line = |of: &Detection| {
            format!(
                "\n{:>12}: AUROC {}; finds {} of the texts trained on, with less than {} of the others taken for such",
                of.name,
                with_error(of.roc.area(), of.roc.standard_error()),
                percent(of.found),
                percent(FALSE_POSITIVES),
            )
        };
        self.detection.iter().map(line).collect()
    }
}

/// That holds the perplexity 95 times in 100.
fn interval(perplexity: &Perplexity) -> [f64; 2] {
    perplexity.interval(Perplexity::NORMAL_95).unwrap_or([f64::NAN; 2])
}
