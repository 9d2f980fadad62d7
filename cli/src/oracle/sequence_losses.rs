//! Losses of sequences by their names and options, `NAME:key=value,…`: those of the oracle.

use std::collections::BTreeMap;
use surprisal::preference::{LabelledLoss, PairLoss, PolicyLoss};

use super::json::Json;
use super::nearest::nearest;
use super::policies::policy_loss;
use super::preferences::{labelled_loss, pair_loss};
use super::refusal::{Refusal, Result};
use super::request::Request;
use super::table::function;

const NAMES: &[&str] = &[
    "bnpo",
    "cispo",
    "cpo",
    "dapo",
    "dpo",
    "dr_grpo",
    "grpo",
    "gspo",
    "implicit_prm_loss",
    "kto",
    "orpo",
    "ppo",
    "sapo",
    "simpo",
];

/// A loss of sequences.
pub struct SequenceLoss {
    pub name: String,
    pub kind: Kind,
    /// Whether pairs and labelled sequences are summed, not averaged.
    pub sum: bool,
}

/// What a loss of sequences is of.
pub enum Kind {
    Pairs(Box<dyn PairLoss>),
    Labelled(Box<dyn LabelledLoss>),
    Policy(PolicyLoss),
}

impl SequenceLoss {
    /// From `NAME` or `NAME:key=value,…`.
    pub fn read(text: &str) -> Result<Self> {
        let (name, options) = text.split_once(':').unwrap_or((text, ""));
        let known = NAMES.iter().find(|known| **known == name).and_then(|name| function(name));
        let Some(function) = known else {
            return Err(Refusal::new(format!(
                "the loss is \"{name}\", expected one of {}; the nearest is \"{}\"",
                NAMES.join(", "),
                nearest(name, NAMES.iter().copied()).unwrap_or_default(),
            )));
        };
        let request = Request::of_options(name, function.arguments, values(name, options)?)?;
        let sum = request.takes("reduction") && request.word("reduction")? != "mean";
        let kind = match pair_loss(name, &request)? {
            Some(loss) => Kind::Pairs(loss),
            None => match labelled_loss(name, &request)? {
                Some(loss) => Kind::Labelled(loss),
                None => match policy_loss(name, &request)? {
                    Some(loss) => Kind::Policy(loss),
                    None => return Err(Refusal::new(format!("{name} is no loss of sequences"))),
                },
            },
        };
        Ok(Self { name: name.into(), kind, sum })
    }
}

/// The options of a loss.
fn values(name: &str, options: &str) -> Result<BTreeMap<String, Json>> {
    let mut values = BTreeMap::new();
    for option in options.split(',').filter(|_| !options.is_empty()) {
        let Some((key, value)) = option.split_once('=') else {
            let message =
                format!("the option \"{option}\" of {name} has no value, expected key=value");
            return Err(Refusal::new(message));
        };
        let json = match (value, value.parse::<f64>()) {
            ("true", _) => Json::Flag(true),
            ("false", _) => Json::Flag(false),
            (_, Ok(number)) if number.is_finite() => Json::Number(number),
            _ => Json::Text(value.into()),
        };
        if values.insert(key.to_string(), json).is_some() {
            return Err(Refusal::new(format!("the option \"{key}\" of {name} stands twice")));
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str, part: &str) {
        let line = SequenceLoss::read(text).err().unwrap().line();
        assert!(line.contains(part), "{line}");
    }

    #[test]
    fn names_and_options_are_those_of_the_oracle() {
        for name in NAMES {
            let text = match *name {
                "dr_grpo" => "dr_grpo:max_length=8",
                "implicit_prm_loss" => "implicit_prm_loss:beta=0.05",
                name => name,
            };
            assert_eq!(SequenceLoss::read(text).unwrap().name, *name);
        }
        assert!(
            SequenceLoss::read("dpo:loss=hinge,average_log_prob=true,reduction=sum").unwrap().sum
        );
        refused("dpoo", "the nearest is \"dpo\"");
        refused("dpo:bata=1", "the nearest is \"beta\"");
        refused("dpo:chosen_mask=1", "no option \"chosen_mask\"");
        refused("dpo:beta", "key=value");
        refused("dpo:beta=1,beta=2", "twice");
        refused("dpo:beta=-1", "beta is -1");
        refused("dpo:beta=inf", "beta is \"inf\"");
        refused("dr_grpo", "max_length is missing");
        refused("implicit_prm_loss", "beta is missing");
    }
}
