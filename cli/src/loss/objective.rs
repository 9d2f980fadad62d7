//! What `--loss`, `--divergence` and what goes with them come to: a loss of rows, and how it is called.

use surprisal::loss::{RowLoss, Sum, TemperatureSquared};

use super::arguments::{Loss, ReductionName};
use super::named::Family;
use super::terms::{self, Term};
use crate::Failure;
use crate::oracle::Beside;

/// The terms of a call. Without any it is cross-entropy with the options of its own.
pub(super) struct Objective {
    terms: Vec<Term>,
    pub(super) way: Way,
    temperature_squared: bool,
}

/// How the loss is called.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Way {
    /// Once, at the temperature of the call.
    Once,
    /// Once, at this temperature, which is the loss's own.
    At(f64),
    /// At a temperature of each row, which it chooses in forwards before.
    Adaptive,
    /// With weights of the rows that a forward makes.
    Balanced,
}

fn input<T>(message: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Input(message.into()))
}

impl Objective {
    /// From the arguments; what does not go together is refused.
    pub(super) fn new(call: &Loss) -> Result<Self, Failure> {
        let mut all = Vec::new();
        if let Some(text) = call.loss.as_ref().filter(|_| call.ranks.is_none()) {
            all.extend(terms::read("--loss", text, Family::All)?);
        }
        if let Some(text) = &call.divergence {
            all.extend(terms::read("--divergence", text, Family::Divergences)?);
        }
        let objective =
            Self { way: way(&all)?, terms: all, temperature_squared: call.temperature_squared };
        objective.check_cross_entropy(call)?;
        objective.check_targets(call)?;
        objective.check_arrays(call)?;
        objective.check_way(call)?;
        Ok(objective)
    }

    /// Whether it is the cross-entropy that goes without `--loss`.
    pub(super) fn is_plain(&self) -> bool {
        match &self.terms[..] {
            [] => true,
            [one] => one.factor == 1.0 && one.is("cross_entropy"),
            _ => false,
        }
    }

    /// The first term of a kind.
    fn find(&self, such: impl Fn(Beside) -> bool) -> Option<&Term> {
        self.terms.iter().find(|term| such(term.named.beside))
    }

    pub(super) fn has(&self, beside: Beside) -> bool {
        self.find(|own| own == beside).is_some()
    }

    /// The loss that has to have several classes.
    pub(super) fn of_several_classes(&self) -> Option<&'static str> {
        let term = self.terms.iter().find(|term| term.named.several_classes);
        term.map(|term| term.named.name)
    }

    /// The one term of a way that goes with one alone.
    pub(super) fn only(&self) -> Result<&Term, Failure> {
        match &self.terms[..] {
            [one] => Ok(one),
            _ => input("--loss has several terms, expected one"),
        }
    }

    /// The sum; nothing where it is plain.
    pub(super) fn loss(&self) -> Result<Option<Box<dyn RowLoss>>, Failure> {
        if self.is_plain() {
            return Ok(None);
        }
        let mut sum = Sum::new();
        for term in &self.terms {
            let mut loss = term.loss()?;
            if self.temperature_squared && term.named.beside == Beside::SecondHead {
                loss = Box::new(TemperatureSquared::new(loss));
            }
            match self.terms.len() {
                1 if term.factor == 1.0 => return Ok(Some(loss)),
                _ => sum = sum.add(term.factor, loss)?,
            }
        }
        Ok(Some(Box::new(sum)))
    }

    fn check_cross_entropy(&self, call: &Loss) -> Result<(), Failure> {
        let given = [
            ("--label-smoothing", call.label_smoothing != 0.0, "label_smoothing:epsilon="),
            ("--z-loss", call.z_loss != 0.0, "z_loss:lambda="),
        ];
        match given.iter().find(|(_, given, _)| *given && !self.is_plain()) {
            None => Ok(()),
            Some((flag, _, term)) => input(format!(
                "{flag} goes with cross-entropy alone, not with another loss or a sum: expected the \
                 term {term} in --loss"
            )),
        }
    }

    fn check_targets(&self, call: &Loss) -> Result<(), Failure> {
        let of_targets = |own| matches!(own, Beside::Targets | Beside::Classes | Beside::Embedding);
        if call.has_no_targets() {
            if let Some(term) = self.find(of_targets) {
                return input(format!(
                    "{} is a loss of targets, expected --targets too",
                    term.named.name
                ));
            }
            return call.check_without_targets();
        }
        let of_distributions = |own| matches!(own, Beside::Targets | Beside::Nothing);
        match self.find(|own| !of_distributions(own)).filter(|_| call.soft()) {
            None => Ok(()),
            Some(term) => input(format!(
                "{} goes with --targets alone, expected neither --soft-targets nor --teacher-classes",
                term.named.name
            )),
        }
    }

    /// The second head and the costs: there where a term needs them, and only there.
    fn check_arrays(&self, call: &Loss) -> Result<(), Failure> {
        let head = call.teacher_hidden.is_some() || call.teacher_logits.is_some();
        let diverges = self.find(|own| own == Beside::SecondHead);
        match (diverges, head) {
            (Some(term), false) => {
                return input(format!(
                    "{} is from a second head, expected --teacher-hidden with --teacher-classifier, or \
                     --teacher-logits",
                    term.named.name
                ));
            }
            (None, true) => {
                return input(
                    "a second head is there that no term is of, expected --divergence kl or another",
                );
            }
            _ => {}
        }
        if self.temperature_squared && diverges.is_none() {
            return input(
                "--temperature-squared goes with a divergence, expected --divergence too",
            );
        }
        let (embedding, costs) =
            (self.find(|own| own == Beside::Embedding), self.find(|own| own == Beside::Costs));
        match (embedding, costs, call.costs.is_some()) {
            (Some(term), None, false) => input(format!(
                "{} has costs by an embedding, expected --costs with one [V,d]",
                term.named.name
            )),
            (None, Some(term), false) => input(format!(
                "{} is of costs, expected --costs with [V] or [N,V]",
                term.named.name
            )),
            (None, None, true) => input(
                "--costs goes with a loss of costs, expected --loss emo, demd or expected_cost",
            ),
            (Some(one), Some(other), _) => input(format!(
                "{} takes an embedding for --costs and {} the costs, expected one of the two",
                one.named.name, other.named.name
            )),
            (Some(one), ..) | (_, Some(one), _) if diverges.is_some() => input(format!(
                "{} does not go with a divergence: one has costs beside the logits, the other a second \
                 head, expected one of the two",
                one.named.name
            )),
            _ => Ok(()),
        }
    }

    fn check_way(&self, call: &Loss) -> Result<(), Failure> {
        let name = match self.way {
            Way::Once => return Ok(()),
            _ => self.only()?.named.name,
        };
        let given = |flag: bool, what: &str| match flag {
            true => input(format!("{name} {what}")),
            false => Ok(()),
        };
        match self.way {
            Way::Once => Ok(()),
            Way::At(_) | Way::Adaptive => {
                let key = self.only()?.named.arguments[0].name;
                let what =
                    format!("has a temperature of its own, {key}: expected no --temperature");
                given(call.temperature.is_some(), &what)
            }
            Way::Balanced => {
                let weighed = call.token_weights.is_some() || call.class_weights.is_some();
                let what = "with balanced=true weighs the rows itself, expected neither \
                            --token-weights nor --class-weights";
                given(weighed, what)?;
                let mean = matches!(call.reduction, None | Some(ReductionName::Mean));
                let what =
                    "with balanced=true is a mean, expected --reduction mean and no --divisor";
                given(!mean || call.divisor.is_some(), what)
            }
        }
    }
}

/// How these terms are called. What is more than one call, or at a temperature of its own, goes alone.
fn way(terms: &[Term]) -> Result<Way, Failure> {
    for term in terms {
        let way = match term.named.name {
            "ldr_kl" => Way::At(term.request.number("lambda")?),
            "aldr_kl" => Way::Adaptive,
            "correctness_calibration" if term.request.flag("balanced")? => Way::Balanced,
            _ => continue,
        };
        if terms.len() > 1 {
            let why = match way {
                Way::Balanced => "with balanced=true weighs the rows itself",
                _ => "has a temperature of its own",
            };
            return input(format!("{} {why}, expected it alone", term.named.name));
        }
        return Ok(way);
    }
    Ok(Way::Once)
}
