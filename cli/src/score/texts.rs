//! Rows as texts, and the scores of each.

use ndarray::Array1;
use std::collections::BTreeMap;

use surprisal::information::{MinK, Perplexity, ReferenceCounts, reference_ratio};
use surprisal::{Forward, Statistic};

use crate::Failure;
use crate::arrays::Opened;

/// Which text each row is of.
pub enum TextRows {
    /// The number of each row's text.
    Numbers(Vec<i64>),
    /// So many rows are a text.
    Length(usize),
}

impl TextRows {
    /// A number of rows, where the argument is one.
    pub fn length(argument: &str) -> Option<usize> {
        argument.parse().ok()
    }

    pub fn read(
        flag: &'static str,
        argument: Option<&String>,
        hidden: &Opened,
    ) -> Result<Self, Failure> {
        let rows = hidden.matrix()?.dim().0;
        let Some(argument) = argument else {
            return Ok(Self::Length(hidden.sequence().unwrap_or(rows)));
        };
        match Self::length(argument) {
            Some(0) => Err(Failure::Input(format!("{flag} is 0, expected at least 1 row a text"))),
            Some(length) => Ok(Self::Length(length)),
            None => {
                let numbers = Opened::new(flag, argument)?.classes()?;
                match numbers.len() == rows {
                    true => Ok(Self::Numbers(numbers.to_vec())),
                    false => Err(Failure::Input(format!(
                        "{flag} has {} entries, expected {rows}, a text for each row",
                        numbers.len()
                    ))),
                }
            }
        }
    }

    /// The rows of each text, in their order.
    fn texts(&self, rows: usize) -> BTreeMap<i64, Vec<usize>> {
        let mut texts: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
        for row in 0..rows {
            let number = match self {
                Self::Numbers(numbers) => numbers[row],
                Self::Length(length) => (row / length) as i64,
            };
            texts.entry(number).or_default().push(row);
        }
        texts
    }
}

/// What is known of each row.
pub struct Rows<'a> {
    targets: &'a [i64],
    kept: Vec<bool>,
    log_probs: Array1<f64>,
    z_scores: Array1<f64>,
    entropies: Array1<f64>,
    /// ln p under another model.
    beside: Option<&'a [f64]>,
}

impl<'a> Rows<'a> {
    pub fn new(
        forward: &Forward,
        targets: &'a [i64],
        beside: Option<&'a [f64]>,
    ) -> Result<Self, Failure> {
        Ok(Self {
            targets,
            kept: forward.argmax().iter().map(|&class| class >= 0).collect(),
            log_probs: forward.statistic(Statistic::LogProbability)?,
            z_scores: forward.statistic(Statistic::ZScore)?,
            entropies: forward.statistic(Statistic::Entropy)?,
            beside,
        })
    }

    /// The first row that counts whose number of another model is no ln p.
    pub fn no_log_probability(&self) -> Option<(usize, f64)> {
        let mut counted =
            self.beside?.iter().copied().enumerate().filter(|&(row, _)| self.kept[row]);
        counted.find(|(_, value)| value.is_nan() || *value > 0.0)
    }
}

/// A text with its scores.
pub struct Text {
    pub number: i64,
    pub perplexity: Perplexity,
    /// Rows that do not count.
    pub ignored: usize,
    pub min_k: f64,
    pub min_k_plus_plus: f64,
    pub dc_pdd: Option<f64>,
    pub reference_ratio: Option<f64>,
    /// Whether it was trained on, where that is known.
    pub seen: Option<bool>,
}

/// How texts are scored.
pub struct Scorer {
    pub least: MinK,
    pub reference: Option<ReferenceCounts>,
    pub cap: f64,
}

impl Scorer {
    pub fn score(&self, rows: &Rows<'_>, text_rows: &TextRows) -> Result<Vec<Text>, Failure> {
        let texts = text_rows.texts(rows.targets.len()).into_iter();
        texts.map(|(number, of)| self.text(rows, number, &of)).collect()
    }

    fn text(&self, rows: &Rows<'_>, number: i64, of: &[usize]) -> Result<Text, Failure> {
        let kept: Vec<usize> = of.iter().copied().filter(|&row| rows.kept[row]).collect();
        if kept.is_empty() {
            return Err(Failure::Input(format!(
                "text {number} has no row that counts, expected at least one"
            )));
        }
        let gathered = |numbers: &Array1<f64>| kept.iter().map(|&row| numbers[row]).collect();
        let log_probs: Array1<f64> = gathered(&rows.log_probs);
        let z_scores: Array1<f64> = gathered(&rows.z_scores);
        let mut perplexity = Perplexity::new();
        for &row in &kept {
            perplexity.push_with_entropy(-rows.log_probs[row], rows.entropies[row]);
        }
        // A kept target is a class.
        let tokens: Vec<u32> = kept.iter().map(|&row| rows.targets[row] as u32).collect();
        // A row of which nothing is known makes all scores of its text NaN.
        let unknown = log_probs.iter().any(|log_prob| log_prob.is_nan());
        let dc_pdd = self.reference.as_ref().map(|counts| match unknown {
            true => Ok(f64::NAN),
            false => counts.dc_pdd(&log_probs, &tokens, self.cap),
        });
        let beside = rows.beside.map(|beside| {
            let beside: Array1<f64> = kept.iter().map(|&row| beside[row]).collect();
            reference_ratio(&log_probs, &beside)
        });
        Ok(Text {
            number,
            perplexity,
            ignored: of.len() - kept.len(),
            min_k: self.least.score(&log_probs)?,
            min_k_plus_plus: self.least.score(&z_scores)?,
            dc_pdd: dc_pdd.transpose()?,
            reference_ratio: beside.transpose()?,
            seen: None,
        })
    }
}
