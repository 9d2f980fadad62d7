//! Losses of rows that have a name: here as functions, and for `surprisal loss --loss`.

use serde_json::{Map, Value, json};
use surprisal::Inputs;
use surprisal::loss::{EmbeddingCost, RowLoss};

use super::answer::Answer;
use super::argument::{Argument, Kind};
use super::logits::{BY_LOGITS, LOGITS, TARGETS, logits, losses_of, several_classes, targets};
use super::refusal::Result;
use super::request::{Call, Request, expect_length};

/// A loss of rows that a name and a few numbers make.
pub struct Named {
    pub name: &'static str,
    /// Shorter names, on the command line alone.
    pub aliases: &'static [&'static str],
    /// What it takes beside arrays.
    pub arguments: &'static [Argument],
    pub beside: Beside,
    /// Whether one class is too few.
    pub several_classes: bool,
    pub make: fn(&Request) -> Result<Box<dyn RowLoss>>,
}

/// The arrays that a loss is of, beside the logits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Beside {
    Nothing,
    /// A class a row, or a distribution.
    Targets,
    /// A class a row.
    Classes,
    /// That, and an embedding of the classes that says what each costs.
    Embedding,
    /// What each class costs.
    Costs,
    SecondHead,
}

const EMBEDDING: Argument = Argument::new("embedding", Kind::Numbers("[K][d]"));

/// A loss, or why there is none.
pub fn made(loss: surprisal::Result<impl RowLoss + 'static>) -> Result<Box<dyn RowLoss>> {
    Ok(Box::new(loss?))
}

impl Named {
    /// A loss of classes, without arguments.
    pub const fn new(name: &'static str, make: fn(&Request) -> Result<Box<dyn RowLoss>>) -> Self {
        Self {
            name,
            aliases: &[],
            arguments: &[],
            beside: Beside::Classes,
            several_classes: false,
            make,
        }
    }

    pub const fn also(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    pub const fn with(mut self, arguments: &'static [Argument]) -> Self {
        self.arguments = arguments;
        self
    }

    pub const fn beside(mut self, beside: Beside) -> Self {
        self.beside = beside;
        self
    }

    pub const fn of_several_classes(mut self) -> Self {
        self.several_classes = true;
        self
    }

    /// All that the function of this name takes.
    fn all_arguments(&self) -> Vec<Argument> {
        let mut all = vec![LOGITS];
        if self.beside != Beside::Nothing {
            all.push(TARGETS);
        }
        if self.beside == Beside::Embedding {
            all.push(EMBEDDING);
        }
        all.extend(self.arguments);
        all
    }

    pub fn call(&self, call: Call) -> Result<Answer> {
        let request = Request::new(self.name, &self.all_arguments(), true, call)?;
        let loss = (self.make)(&request)?;
        let logits = logits(&request, "logits")?;
        if self.several_classes {
            several_classes(&logits)?;
        }
        let targets = match self.beside {
            // The loss has some all the same.
            Beside::Nothing => vec![0; logits.dim().0],
            _ => targets(&request, &logits)?,
        };
        let inputs = Inputs::from_logits(&logits, &targets);
        if self.beside != Beside::Embedding {
            return losses_of(&request, loss, &inputs);
        }
        let embedding = request.matrix("embedding")?;
        expect_length("embedding", embedding.dim().0, logits.dim().1)?;
        let costs = EmbeddingCost::<f64>::new(&embedding)?;
        let rows = costs.rows(&targets)?;
        losses_of(&request, loss, &inputs.companion(costs.companion(&rows)))
    }

    /// The function as `list` has it.
    pub fn listed(&self) -> Value {
        let arguments = self.all_arguments();
        let arguments = arguments.iter().map(|one| (one.name.to_string(), one.listed()));
        json!({ "arguments": arguments.collect::<Map<_, _>>(), "gradient": BY_LOGITS })
    }
}
