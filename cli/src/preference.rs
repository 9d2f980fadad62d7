//! `surprisal preference`: sequence and policy losses of log-probabilities on disk.

use clap::Args;
use ndarray::{Array1, Array2, Ix2};
use std::path::{Path, PathBuf};

use surprisal::io::{NpyElement, TensorView, write_npy};
use surprisal::preference::{Advantages, Rollout, RowPairs, Sequences};
use surprisal::{Element, Matrix};

use crate::arrays::{Opened, each_matrix};
use crate::oracle::{SequenceKind as Kind, SequenceLoss};
use crate::output::{make_directory, number};
use crate::report::{Report, percent, significant};
use crate::{Failure, Global, teacher};

/// Preference and policy-gradient losses from the log-probabilities of tokens, with their gradients
///
/// NAME is dpo, cpo, simpo or orpo (with --pairs), kto or implicit_prm_loss (with --labels), ppo, grpo, bnpo,
/// dr_grpo, dapo, cispo, gspo or sapo (with --advantages). The options are those of the oracle's functions of
/// these names: `echo '{"function":"list"}' | surprisal oracle` lists them. Arrays are FILE.npy, FILE.npz:NAME,
/// FILE.safetensors:TENSOR or DIR/model.safetensors.index.json:TENSOR. All is computed in float64, in nats.
#[derive(Args)]
pub struct Preference {
    /// The loss, with its options
    #[arg(value_name = "NAME[:KEY=VALUE,…]")]
    loss: String,
    /// Log-probabilities of the policy [B,T], a sequence a row
    #[arg(long, value_name = "L", help_heading = "Inputs")]
    log_probs: String,
    /// Tokens that count [B,T], booleans or 0 and 1 [default: all]
    #[arg(long, value_name = "M", help_heading = "Inputs")]
    mask: Option<String>,
    /// Log-probabilities of a reference policy [B,T]
    #[arg(long, value_name = "R", help_heading = "Inputs")]
    reference_log_probs: Option<String>,
    /// Pairs of rows [P,2], integers, the chosen one first
    #[arg(long, value_name = "P", help_heading = "Inputs")]
    pairs: Option<String>,
    /// Whether each sequence is good [B], booleans or 0 and 1
    #[arg(long, value_name = "Y", help_heading = "Inputs")]
    labels: Option<String>,
    /// Advantages of sequences [B] or tokens [B,T]
    #[arg(long, value_name = "A", help_heading = "Inputs")]
    advantages: Option<String>,
    /// Log-probabilities of the policy that drew the tokens [B,T] [default: the policy itself]
    #[arg(long, value_name = "O", help_heading = "Inputs")]
    old_log_probs: Option<String>,
    /// Entropies of the policy at the tokens [B,T], for an entropy bonus
    #[arg(long, value_name = "H", help_heading = "Inputs")]
    entropy: Option<String>,
    /// Factors on the tokens' policy losses [B,T]
    #[arg(long, value_name = "W", help_heading = "Inputs")]
    token_weights: Option<String>,
    /// Write grad_log_probs.npy and, of an entropy bonus, grad_entropy.npy
    #[arg(long, requires = "out", help_heading = "Output")]
    grad: bool,
    /// Directory of the files written: losses.npy, of pairs, sequences or tokens, and gradients
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    out: Option<PathBuf>,
}

/// What was computed.
struct Computed {
    value: f64,
    /// Of each pair or sequence [P], or of each token [B,T].
    losses: Losses,
    gradient: Array2<f64>,
    by_entropy: Option<Array2<f64>>,
    clip_fraction: Option<f64>,
}

enum Losses {
    Each(Array1<f64>),
    Tokens(Array2<f64>),
}

impl Preference {
    pub fn run(&self, global: &Global) -> Result<(), Failure> {
        let loss =
            SequenceLoss::read(&self.loss).map_err(|refusal| Failure::Input(refusal.line()))?;
        self.check(&loss)?;
        let log_probs = Opened::new("--log-probs", &self.log_probs)?;
        let matrix = log_probs.matrix()?;
        let mask = match &self.mask {
            Some(location) => mask(&Opened::new("--mask", location)?)?,
            None => Array2::ones(matrix.dim()),
        };
        let reference =
            Opened::optional("--reference-log-probs", self.reference_log_probs.as_ref())?;
        let reference = reference.as_ref().map(Opened::matrix).transpose()?;
        let computed = match &loss.kind {
            Kind::Policy(_) => self.policy(&loss, matrix, &mask, reference)?,
            _ => self.sequences(&loss, matrix, &mask, reference)?,
        };
        if let Some(out) = self.out.as_deref().map(make_directory).transpose()? {
            match log_probs.matrix()? {
                Matrix::F64(_) => self.write::<f64>(&computed, &out)?,
                _ => self.write::<f32>(&computed, &out)?,
            }
        }
        let tokens = mask.iter().filter(|&&kept| kept == 1.0).count();
        let mut report = Report::new();
        report.add("function", loss.name.as_str(), loss.name.as_str());
        report.add("loss", number(computed.value), significant(computed.value, 7));
        report.add("sequences", mask.nrows(), mask.nrows().to_string());
        report.add("tokens", tokens, tokens.to_string());
        if let Kind::Pairs(_) = &loss.kind
            && let Losses::Each(losses) = &computed.losses
        {
            report.add("pairs", losses.len(), losses.len().to_string());
        }
        if let Some(share) = computed.clip_fraction {
            report.add("clip_fraction", number(share), percent(share));
        }
        report.print(global.json)
    }

    /// Refuses what the loss does not take, and the lack of what it needs.
    fn check(&self, loss: &SequenceLoss) -> Result<(), Failure> {
        let (pairs, labels, policy) = match &loss.kind {
            Kind::Pairs(_) => (true, false, false),
            Kind::Labelled(_) => (false, true, false),
            Kind::Policy(_) => (false, false, true),
        };
        for (flag, given, taken, needed) in [
            ("--pairs", self.pairs.is_some(), pairs, pairs),
            ("--labels", self.labels.is_some(), labels, labels),
            ("--reference-log-probs", self.reference_log_probs.is_some(), true, labels),
            ("--advantages", self.advantages.is_some(), policy, policy),
            ("--old-log-probs", self.old_log_probs.is_some(), policy, false),
            ("--entropy", self.entropy.is_some(), policy, false),
            ("--token-weights", self.token_weights.is_some(), policy, false),
        ] {
            let name = &loss.name;
            if given && !taken {
                return Err(Failure::Input(format!(
                    "{flag} does not go with {name}, expected none"
                )));
            }
            if needed && !given {
                return Err(Failure::Input(format!("{flag} is missing, expected with {name}")));
            }
        }
        Ok(())
    }

    /// Pairs, or sequences with labels.
    fn sequences(
        &self,
        loss: &SequenceLoss,
        log_probs: Matrix<'_>,
        mask: &Array2<f64>,
        reference: Option<Matrix<'_>>,
    ) -> Result<Computed, Failure> {
        // Owned, for one lifetime: what is small beside the logits that it stands for.
        let log_probs = owned(log_probs)?;
        let reference = reference.map(owned).transpose()?;
        let sequences = Sequences::new(&log_probs, mask);
        let sequences = match &reference {
            Some(reference) => sequences.reference(reference),
            None => sequences,
        };
        let losses = match &loss.kind {
            Kind::Labelled(labelled) => {
                let labels = Opened::optional("--labels", self.labels.as_ref())?;
                let labels = labels.as_ref().map(teacher::flags).transpose()?.unwrap_or_default();
                let weights = Array1::<f64>::ones(labels.len());
                match loss.sum {
                    true => labelled.evaluate_weighted(&sequences, &labels, (&weights).into())?,
                    false => labelled.evaluate(&sequences, &labels)?,
                }
            }
            Kind::Pairs(of_pairs) => {
                let rows = self.pairs()?;
                let weights = Array1::<f64>::ones(rows.len());
                let pairs = RowPairs::new(sequences, &rows);
                let pairs = if loss.sum { pairs.weights(&weights) } else { pairs };
                of_pairs.evaluate_rows(&pairs)?
            }
            Kind::Policy(_) => return Err(Failure::Input("--advantages is missing".into())),
        };
        Ok(Computed {
            value: losses.value,
            losses: Losses::Each(losses.losses),
            gradient: losses.gradient,
            by_entropy: None,
            clip_fraction: None,
        })
    }

    fn pairs(&self) -> Result<Vec<[usize; 2]>, Failure> {
        let Some(opened) = Opened::optional("--pairs", self.pairs.as_ref())? else {
            return Err(Failure::Input("--pairs is missing".into()));
        };
        let rows = opened.row_lists()?;
        match rows.ncols() {
            2 => Ok(rows.rows().into_iter().map(|row| [row[0], row[1]]).collect()),
            _ => Err(opened.unfit("a matrix of integers with two columns")),
        }
    }

    fn policy(
        &self,
        loss: &SequenceLoss,
        log_probs: Matrix<'_>,
        mask: &Array2<f64>,
        reference: Option<Matrix<'_>>,
    ) -> Result<Computed, Failure> {
        let (Kind::Policy(policy), Some(advantages)) =
            (&loss.kind, Opened::optional("--advantages", self.advantages.as_ref())?)
        else {
            return Err(Failure::Input("--advantages is missing".into()));
        };
        let matrix = |flag, location: &Option<String>| -> Result<Option<Array2<f64>>, Failure> {
            match Opened::optional(flag, location.as_ref())? {
                Some(opened) => owned(opened.matrix()?).map(Some),
                None => Ok(None),
            }
        };
        let old = matrix("--old-log-probs", &self.old_log_probs)?;
        let entropy = matrix("--entropy", &self.entropy)?;
        let token_weights = matrix("--token-weights", &self.token_weights)?;
        let reference = reference.map(owned).transpose()?;
        let (of_tokens, of_sequences);
        let advantages = match advantages.view().shape().len() {
            1 => {
                let numbers = advantages.vector()?;
                of_sequences = (0..numbers.len()).filter_map(|at| numbers.get(at)).collect();
                Advantages::from(&of_sequences as &Array1<f64>)
            }
            _ => {
                of_tokens = owned(advantages.matrix()?)?;
                Advantages::from(&of_tokens)
            }
        };
        let mut rollout = Rollout::new(mask, advantages);
        if let Some(old) = &old {
            rollout = rollout.old(old);
        }
        if let Some(reference) = &reference {
            rollout = rollout.reference(reference);
        }
        if let Some(weights) = &token_weights {
            rollout = rollout.token_weights(weights);
        }
        let losses = match &entropy {
            Some(entropy) => policy.evaluate_with_entropy(log_probs, entropy, &rollout)?,
            None => policy.evaluate(log_probs, &rollout)?,
        };
        Ok(Computed {
            value: losses.value,
            losses: Losses::Tokens(losses.losses),
            gradient: losses.gradient,
            by_entropy: entropy.is_some().then_some(losses.by_entropy),
            clip_fraction: Some(losses.clip_fraction),
        })
    }

    fn write<R: Element + NpyElement>(
        &self,
        computed: &Computed,
        out: &Path,
    ) -> Result<(), Failure> {
        let path = out.join("losses.npy");
        match &computed.losses {
            Losses::Each(losses) => write_npy(&path, losses.mapv(R::from_f64).view())?,
            Losses::Tokens(losses) => write_npy(&path, losses.mapv(R::from_f64).view())?,
        }
        if self.grad {
            let path = out.join("grad_log_probs.npy");
            write_npy(&path, computed.gradient.mapv(R::from_f64).view())?;
            if let Some(by_entropy) = &computed.by_entropy {
                let path = out.join("grad_entropy.npy");
                write_npy(&path, by_entropy.mapv(R::from_f64).view())?;
            }
        }
        Ok(())
    }
}

fn owned(matrix: Matrix<'_>) -> Result<Array2<f64>, Failure> {
    Ok(each_matrix!(matrix, view => view.mapv(Element::to_f64)))
}

/// 1 for tokens that count; that there is nothing but 0 and 1 is for the library.
fn mask(opened: &Opened) -> Result<Array2<f64>, Failure> {
    let expected = "a matrix of booleans, or of 0 and 1";
    let mask = match opened.view() {
        TensorView::Bool(flags) => flags.mapv(|kept| f64::from(u8::from(kept))),
        TensorView::F64(_) | TensorView::F32(_) | TensorView::Bf16(_) | TensorView::F16(_) => {
            return owned(opened.matrix()?);
        }
        view => view.to_i64("--mask")?.mapv(|number| number as f64),
    };
    mask.into_dimensionality::<Ix2>().map_err(|_| opened.unfit(expected))
}
