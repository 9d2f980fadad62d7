//! Rankings of the classes, and which loss is of them.

use surprisal::loss::{PlaceWeights, PlackettLuce, RankedLosses, Rankings};
use surprisal::{Forward, Gradients, Inputs, LinearCrossEntropy};

use super::arguments::Loss;
use super::candidates::classes_of;
use crate::Failure;
use crate::arrays::Opened;
use crate::device::Device;

/// What the losses of rankings are called by.
const NAMES: &[&str] = &["list_mle", "partial_list_mle", "pld", "plackett_luce_distillation"];

/// The rankings of a call with its loss.
pub(super) struct Ranked {
    rankings: Rankings,
    loss: PlackettLuce,
}

fn input<T>(message: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Input(message.into()))
}

/// The name in `NAME:KEY=X`, with underscores, and what is behind it.
fn name_of(text: &str) -> (String, &str) {
    let (name, keys) = text.split_once(':').unwrap_or((text, ""));
    (name.trim().replace('-', "_").to_lowercase(), keys.trim())
}

impl Ranked {
    /// The rankings that the arguments name; nothing where there are none.
    pub(super) fn read(call: &Loss) -> Result<Option<Self>, Failure> {
        let text = call.loss.as_deref().unwrap_or_default();
        let (name, keys) = name_of(text);
        let Some(file) = Opened::optional("--ranks", call.ranks.as_ref())? else {
            return match NAMES.contains(&name.as_str()) {
                true => input(format!("{name} is a loss of rankings, expected --ranks too")),
                false => Ok(None),
            };
        };
        if call.loss.is_none() {
            return input(
                "--ranks goes with --loss list_mle, partial_list_mle or pld, but --loss is missing",
            );
        }
        if !NAMES.contains(&name.as_str()) {
            return input(format!(
                "--ranks goes with --loss list_mle, partial_list_mle or pld alone, not with \"{}\"",
                surprisal::printable(text)
            ));
        }
        if call.device != Device::Cpu {
            return input("--ranks is computed on the CPU, expected --device cpu");
        }
        if call.label_smoothing != 0.0 || call.z_loss != 0.0 {
            return input("--label-smoothing and --z-loss are of cross-entropy, not of --ranks");
        }
        if call.class_order.is_some() {
            return input("--ranks goes without --class-order: it has no filter");
        }
        let classes = classes_of(&file, "--ranks")?;
        if classes.dim().0 == 0 {
            return input(
                "--ranks has no rows, expected a ranking for each row of hidden states or logits",
            );
        }
        let weights = Opened::optional("--rank-weights", call.rank_weights.as_ref())?;
        let rankings = match (name.as_str(), keys, &weights) {
            ("list_mle", _, Some(_)) => {
                return input("list_mle has weights by place, expected no --rank-weights");
            }
            ("list_mle", "" | "weights=sum", None) => Rankings::new(&classes, PlaceWeights::Ones)?,
            ("list_mle", "weights=mean", None) => Rankings::new(&classes, PlaceWeights::Mean)?,
            ("list_mle", "weights=position", None) => {
                Rankings::new(&classes, PlaceWeights::Position)?
            }
            ("list_mle", keys, None) => {
                return input(format!(
                    "list_mle has \"{}\", expected weights=sum, mean or position",
                    surprisal::printable(keys)
                ));
            }
            // What a list leaves out is in the sums of all its places.
            ("partial_list_mle", "", None) => Rankings::new(&classes, PlaceWeights::Ones)?,
            ("partial_list_mle", _, _) => {
                return input("partial_list_mle has neither keys nor --rank-weights");
            }
            (_, "", Some(weights)) => {
                Rankings::new(&classes, PlaceWeights::Entries(weights.matrix()?))?
            }
            (_, "", None) => {
                return input(
                    "pld has the teacher's probabilities of the places for weights, expected \
                     --rank-weights [N,K]",
                );
            }
            _ => return input("pld has no keys, expected --loss pld"),
        };
        let loss = PlackettLuce::new().reduction(call.reduced()?)?;
        Ok(Some(Self { rankings, loss }))
    }

    pub(super) fn add<'a>(&'a self, inputs: Inputs<'a>) -> Inputs<'a> {
        inputs.candidates(self.rankings.candidates())
    }

    /// The losses that a forward has.
    pub(super) fn losses(&self, forward: &Forward) -> Result<RankedLosses, Failure> {
        Ok(self.loss.evaluate(&self.rankings, forward)?)
    }

    /// Forward and backward.
    pub(super) fn with_gradients(
        &self,
        head: &LinearCrossEntropy,
        inputs: &Inputs<'_>,
        gradients: Gradients<'_>,
    ) -> Result<Forward, Failure> {
        let forward = head.forward(inputs)?;
        head.vjp(inputs, &forward, &self.losses(&forward)?.upstream(), gradients)?;
        Ok(forward)
    }
}
