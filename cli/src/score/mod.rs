//! `surprisal score`: what a model's predictions say of texts, and whether it has been trained on them.

mod outcome;
mod texts;

use clap::Args;
use std::path::PathBuf;

use surprisal::information::{MinK, ReferenceCounts};
use surprisal::io::TensorView;
use surprisal::{Inputs, LinearCrossEntropy};

use self::outcome::Outcome;
use self::texts::{Rows, Scorer, Text, TextRows};
use crate::arrays::{Opened, check_rows};
use crate::{Failure, Global, numerals, plot, teacher};

/// Perplexity of texts with its interval, and scores that tell whether a model was trained on them:
/// Min-K %, Min-K %++, DC-PDD
///
/// A text is some rows of hidden states, each of which predicts its target: all rows with one number in
/// --texts, or runs of L rows, or without --texts each sequence of [B,T,D] hidden states; else all rows are one.
/// Texts stand in the order of their numbers, and so do --bytes, --labels and what --json lists. All scores are such
/// that more means more likely trained on. With --labels, or with --seen-hidden and --seen-targets, texts that are
/// known to have been trained on, there are the area under the ROC curve of each score (AUROC) with its standard
/// error, and the share of the texts trained on that are found where fewer than 5 % of the others are taken for such.
/// Arrays are FILE.npy, FILE.npz:NAME, FILE.safetensors:TENSOR or DIR/model.safetensors.index.json:TENSOR.
#[derive(Args)]
pub struct Score {
    /// Hidden states [N,D] or [B,T,D]
    #[arg(long, value_name = "E", help_heading = "Inputs")]
    hidden: String,
    /// Classifier [V,D]
    #[arg(long, value_name = "C", help_heading = "Inputs")]
    classifier: String,
    /// Bias [V]
    #[arg(long, value_name = "B", help_heading = "Inputs")]
    bias: Option<String>,
    /// The class that came at each row [N] or [B,T]
    #[arg(long, value_name = "Y", help_heading = "Inputs")]
    targets: String,
    /// Factor on the logits
    #[arg(
        long,
        value_name = "X",
        value_parser = numerals::real,
        default_value_t = 1.0,
        allow_hyphen_values = true,
        help_heading = "Inputs"
    )]
    scale: f64,
    /// Squeeze the logits into (-X, X) by a tanh, after the scale
    #[arg(
        long,
        value_name = "X",
        value_parser = numerals::real,
        allow_hyphen_values = true,
        help_heading = "Inputs"
    )]
    softcap: Option<f64>,
    /// The text of each row, integers [N]; or a number L: each L rows are a text
    #[arg(long, value_name = "FILE|L", help_heading = "Inputs", allow_hyphen_values = true)]
    texts: Option<String>,
    /// How many bytes each text has, integers [M]
    #[arg(long, value_name = "FILE", help_heading = "Inputs")]
    bytes: Option<String>,
    /// Target of rows that do not count
    #[arg(
        long,
        value_name = "I",
        value_parser = numerals::any::<i64>,
        default_value_t = -100,
        allow_hyphen_values = true,
        help_heading = "Inputs"
    )]
    ignore_index: i64,
    /// How often each class occurs in another corpus [V], for DC-PDD
    #[arg(long, value_name = "FILE", help_heading = "Scores")]
    reference_counts: Option<String>,
    /// ln p of each target under a model that was not trained on the texts [N], for the mean of the differences
    #[arg(long, value_name = "FILE", help_heading = "Scores", conflicts_with = "seen_hidden")]
    reference_log_probs: Option<String>,
    /// The share of a text's tokens that Min-K % and Min-K %++ take
    #[arg(
        long,
        value_name = "X",
        value_parser = numerals::real,
        default_value_t = 0.2,
        allow_hyphen_values = true,
        help_heading = "Scores"
    )]
    ratio: f64,
    /// The most that a token adds in DC-PDD
    #[arg(
        long,
        value_name = "X",
        requires = "reference_counts",
        value_parser = numerals::real,
        default_value_t = ReferenceCounts::CAP,
        allow_hyphen_values = true,
        help_heading = "Scores"
    )]
    cap: f64,
    /// Whether each text was trained on [M], booleans or 0 and 1
    #[arg(long, value_name = "FILE", help_heading = "Detection")]
    labels: Option<String>,
    /// Hidden states of texts that were trained on; those of --hidden were not
    #[arg(
        long,
        value_name = "E",
        requires_all = ["seen_targets", "texts"],
        conflicts_with_all = ["labels", "bytes"],
        help_heading = "Detection"
    )]
    seen_hidden: Option<String>,
    /// The class that came at each row of --seen-hidden
    #[arg(long, value_name = "Y", requires = "seen_hidden", help_heading = "Detection")]
    seen_targets: Option<String>,
    /// Draw the ROC curves; without labels, the bits per token of the texts
    #[arg(long, value_name = "FILE.svg", help_heading = "Output")]
    plot: Option<PathBuf>,
}

impl Score {
    pub fn run(&self, global: &Global) -> Result<(), Failure> {
        if let Some(path) = &self.plot {
            plot::check(path)?;
        }
        let mut options = LinearCrossEntropy::builder()
            .varentropy(true)
            .scale(self.scale)
            .ignore_index(Some(self.ignore_index));
        if let Some(softcap) = self.softcap {
            options = options.softcap(softcap);
        }
        let loss = options.build()?;
        let head = Head {
            classifier: Opened::new("--classifier", &self.classifier)?,
            bias: Opened::optional("--bias", self.bias.as_ref())?,
        };
        let scorer = Scorer {
            least: MinK::new(self.ratio)?,
            reference: self.reference_counts.as_deref().map(counts).transpose()?,
            cap: self.cap,
        };
        if let Some(reference) = &scorer.reference {
            let classes = head.classifier.matrix()?.dim().0;
            if reference.vocabulary() != classes {
                return Err(Failure::Input(format!(
                    "--reference-counts has {} counts, expected {classes}, one for each class",
                    reference.vocabulary()
                )));
            }
        }
        let arrays = Arrays::open(
            ["--hidden", "--targets", "--texts"],
            (&self.hidden, &self.targets, self.texts.as_ref()),
        )?;
        let beside = Opened::optional("--reference-log-probs", self.reference_log_probs.as_ref())?;
        check_rows([(Some(&arrays.hidden), 1), (beside.as_ref(), 0)])?;
        let beside = match &beside {
            Some(opened) => Some(numbers(opened)?),
            None => None,
        };
        let mut texts = arrays.score(&head, &loss, &scorer, beside.as_deref())?;
        if let Some(location) = &self.bytes {
            let bytes = Opened::new("--bytes", location)?.classes()?;
            fits("--bytes", bytes.len(), (texts.len(), "text"))?;
            for (at, (text, &bytes)) in texts.iter_mut().zip(&bytes).enumerate() {
                match u64::try_from(bytes) {
                    Ok(bytes @ 1..) => text.perplexity.push_bytes(bytes),
                    _ => {
                        return Err(Failure::Input(format!(
                            "--bytes[{at}] is {bytes}, expected a number of at least 1"
                        )));
                    }
                }
            }
        }
        if let Some(location) = &self.labels {
            let labels = teacher::flags(&Opened::new("--labels", location)?)?;
            fits("--labels", labels.len(), (texts.len(), "text"))?;
            let seen = labels.iter().filter(|&&seen| seen).count();
            if seen == 0 || seen == labels.len() {
                return Err(Failure::Input(format!(
                    "--labels has {seen} texts that were trained on and {} that were not, expected both",
                    labels.len() - seen
                )));
            }
            texts.iter_mut().zip(labels).for_each(|(text, seen)| text.seen = Some(seen));
        }
        if let (Some(hidden), Some(targets)) = (&self.seen_hidden, &self.seen_targets) {
            if self.texts.as_ref().is_some_and(|texts| TextRows::length(texts).is_none()) {
                let what = "--texts is a file beside --seen-hidden, expected a number of rows, by which both are cut";
                return Err(Failure::Input(what.into()));
            }
            let flags = ["--seen-hidden", "--seen-targets", "--texts"];
            let seen = Arrays::open(flags, (hidden, targets, self.texts.as_ref()))?;
            texts.iter_mut().for_each(|text| text.seen = Some(false));
            let mut seen = seen.score(&head, &loss, &scorer, None)?;
            let next = texts.len() as i64;
            seen.iter_mut()
                .for_each(|text| (text.number, text.seen) = (text.number + next, Some(true)));
            texts.extend(seen);
        }
        let outcome = Outcome::new(texts)?;
        if let Some(path) = &self.plot {
            outcome.draw(path)?;
        }
        outcome.report(self.ratio).print(global.json)
    }
}

/// What predicts.
struct Head {
    classifier: Opened,
    bias: Option<Opened>,
}

/// Rows of hidden states with what came, and how they are cut into texts.
struct Arrays {
    hidden: Opened,
    targets: Vec<i64>,
    text_rows: TextRows,
}

impl Arrays {
    fn open(
        [hidden_flag, targets_flag, texts_flag]: [&'static str; 3],
        (hidden, targets, texts): (&str, &str, Option<&String>),
    ) -> Result<Self, Failure> {
        let hidden = Opened::new(hidden_flag, hidden)?;
        let targets = Opened::new(targets_flag, targets)?;
        check_rows([(Some(&hidden), 1), (Some(&targets), 0)])?;
        if hidden.matrix()?.dim().0 == 0 {
            let what = "expected at least one row of hidden states with its target";
            return Err(Failure::Input(format!("{hidden_flag} has no rows, {what}")));
        }
        let text_rows = TextRows::read(texts_flag, texts, &hidden)?;
        let targets = targets.classes()?;
        fits(targets_flag, targets.len(), (hidden.matrix()?.dim().0, "row of hidden states"))?;
        Ok(Self { hidden, targets: targets.to_vec(), text_rows })
    }

    fn score(
        &self,
        head: &Head,
        loss: &LinearCrossEntropy,
        scorer: &Scorer,
        beside: Option<&[f64]>,
    ) -> Result<Vec<Text>, Failure> {
        let mut inputs =
            Inputs::new(self.hidden.matrix()?, head.classifier.matrix()?, &self.targets);
        if let Some(bias) = &head.bias {
            inputs = inputs.bias(bias.vector()?);
        }
        let forward = loss.forward(&inputs)?;
        if let Some(beside) = beside {
            fits("--reference-log-probs", beside.len(), (forward.len(), "row of hidden states"))?;
        }
        let rows = Rows::new(&forward, &self.targets, beside)?;
        if let Some((row, value)) = rows.no_log_probability() {
            return Err(Failure::Input(format!(
                "--reference-log-probs[{row}] is {value}, expected a log-probability of at most 0"
            )));
        }
        scorer.score(&rows, &self.text_rows)
    }
}

/// That there are as many as expected.
fn fits(flag: &str, found: usize, (expected, each): (usize, &str)) -> Result<(), Failure> {
    match found == expected {
        true => Ok(()),
        false => Err(Failure::Input(format!(
            "{flag} has {found} entries, expected {expected}, one for each {each}"
        ))),
    }
}

/// Integers or floating-point numbers.
fn numbers(opened: &Opened) -> Result<Vec<f64>, Failure> {
    let vector = opened.per_row()?;
    Ok(match vector {
        surprisal::Vector::F64(view) => view.to_vec(),
        surprisal::Vector::F32(view) => view.iter().map(|&x| x.into()).collect(),
        _ => return Err(opened.unfit("numbers of f64 or f32")),
    })
}

fn counts(location: &str) -> Result<ReferenceCounts, Failure> {
    let opened = Opened::new("--reference-counts", location)?;
    let counts = match opened.view() {
        TensorView::F64(_) | TensorView::F32(_) => numbers(&opened)?,
        _ => opened.classes()?.iter().map(|&count| count as f64).collect(),
    };
    Ok(ReferenceCounts::new(&ndarray::Array1::from(counts))?)
}
