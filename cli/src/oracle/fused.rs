//! What is computed from hidden states and a classifier.

use ndarray::{Array1, Array2};
use surprisal::loss::{CrossEntropy, EntropyBonus, Sum};
use surprisal::{Gradients, Inputs, LinearCrossEntropy, Targets, Upstream};

use super::answer::{Answer, matrix, vector};
use super::argument::{Argument, Interval, Kind};
use super::function::Function;
use super::logits::TARGETS;
use super::refusal::{Refusal, Result};
use super::request::{Request, expect_length};
use crate::output::number;

pub const HIDDEN: Argument = Argument::new("hidden", Kind::Numbers("[N][d]"));
pub const CLASSIFIER: Argument = Argument::new("classifier", Kind::Numbers("[K][d]"));
pub const BIAS: Argument = Argument::new("bias", Kind::Numbers("[K]")).optional();

pub const FUNCTIONS: &[Function] = &[Function {
    name: "cross_entropy_entropy_bonus",
    arguments: &[HIDDEN, CLASSIFIER, BIAS, TARGETS, Argument::number("beta", Interval::ANY)],
    gradient: &["hidden", "classifier", "bias"],
    answer: cross_entropy_entropy_bonus,
}];

/// Hidden states, a classifier of as many columns, and a bias where there is one.
pub struct Head {
    pub hidden: Array2<f64>,
    pub classifier: Array2<f64>,
    pub bias: Option<Array1<f64>>,
}

impl Head {
    pub fn read(request: &Request) -> Result<Self> {
        Self::named(request, ["hidden", "classifier", "bias"])
    }

    /// From arguments of these names.
    pub fn named(request: &Request, names: [&'static str; 3]) -> Result<Self> {
        let (hidden, classifier) = (request.matrix(names[0])?, request.matrix(names[1])?);
        let (own, other) = (hidden.dim().1, classifier.dim().1);
        if own != other {
            return Err(Refusal::new(format!(
                "{} has {other} columns, expected {own} as {} has",
                names[1], names[0]
            )));
        }
        let bias = request.has(names[2]).then(|| request.vector(names[2])).transpose()?;
        if let Some(bias) = &bias {
            expect_length(names[2], bias.len(), classifier.dim().0)?;
        }
        Ok(Self { hidden, classifier, bias })
    }

    pub fn inputs<'a>(&'a self, targets: impl Into<Targets<'a>>) -> Inputs<'a> {
        let inputs = Inputs::new(&self.hidden, &self.classifier, targets);
        match &self.bias {
            Some(bias) => inputs.bias(bias),
            None => inputs,
        }
    }
}

/// The mean of c − β H.
fn cross_entropy_entropy_bonus(request: &Request) -> Result<Answer> {
    let head = Head::read(request)?;
    let targets = request.classes("targets", head.hidden.dim().0, head.classifier.dim().0)?;
    let sum = Sum::new()
        .add(1.0, CrossEntropy::default())?
        .add(-request.number("beta")?, EntropyBonus::new(1.0)?)?;
    let loss = LinearCrossEntropy::builder().row_loss(sum).ignore_index(None).build()?;
    let inputs = head.inputs(&targets);
    if !request.wants_gradient() {
        return Ok(Answer::new(number(loss.forward(&inputs)?.loss())));
    }
    let mut hidden = Array2::zeros(head.hidden.dim());
    let mut classifier = Array2::zeros(head.classifier.dim());
    let mut bias = Array1::zeros(head.classifier.dim().0);
    let mut gradients = Gradients::new().hidden(&mut hidden).classifier(&mut classifier);
    if head.bias.is_some() {
        gradients = gradients.bias(&mut bias);
    }
    let forward = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients)?;
    let answer = Answer::new(number(forward.loss()))
        .with_gradient("hidden", matrix(hidden.view()))
        .with_gradient("classifier", matrix(classifier.view()));
    Ok(match head.bias {
        Some(_) => answer.with_gradient("bias", vector(bias.view())),
        None => answer,
    })
}
