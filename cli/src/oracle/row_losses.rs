//! Cross-entropy with its companions, and the losses of rows that are no matter of the target.

use surprisal::Inputs;
use surprisal::loss::{CrossEntropy, EntropyBonus};

use super::answer::Answer;
use super::argument::{Argument, Interval, Kind, Otherwise};
use super::function::Function;
use super::logits::{BY_LOGITS, LOGITS, TARGETS, logits, losses_of, targets};
use super::named::{Beside, Named, made};
use super::refusal::{Refusal, Result};
use super::request::{Request, expect_length};

pub const LOSSES: &[Named] = &[
    Named::new("cross_entropy", |_| made(Ok(CrossEntropy::default())))
        .also(&["ce"])
        .beside(Beside::Targets),
    Named::new("label_smoothing", |request| {
        made(CrossEntropy::new(request.number("epsilon")?, 0.0))
    })
    .beside(Beside::Targets)
    .with(&[
        Argument::number("epsilon", Interval::at_least(0.0).up_to(1.0)).or(Otherwise::Number(0.1))
    ]),
    Named::new("z_loss", |request| made(CrossEntropy::new(0.0, request.number("lambda")?)))
        .beside(Beside::Targets)
        .with(&[Argument::number("lambda", Interval::at_least(0.0)).or(Otherwise::Number(1e-4))]),
    // H is no matter of the targets.
    Named::new("entropy", |_| made(EntropyBonus::new(1.0))).beside(Beside::Nothing),
];

pub const FUNCTIONS: &[Function] = &[Function {
    name: "logit_adjusted",
    arguments: &[
        LOGITS,
        TARGETS,
        Argument::new("prior", Kind::Numbers("[K]")),
        Argument::number("tau", Interval::ANY).or(Otherwise::Number(1.0)),
    ],
    gradient: BY_LOGITS,
    answer: logit_adjusted,
}];

/// Cross-entropy of z + τ ln prior, which is a bias.
fn logit_adjusted(request: &Request) -> Result<Answer> {
    let logits = logits(request, "logits")?;
    let targets = targets(request, &logits)?;
    let prior = request.vector("prior")?;
    expect_length("prior", prior.len(), logits.dim().1)?;
    let good = |x: &f64| x.is_finite() && *x > 0.0;
    if let Some((i, x)) = prior.iter().enumerate().find(|(_, x)| !good(x)) {
        return Err(Refusal::new(format!("prior[{i}] is {x:?}, expected a finite number above 0")));
    }
    let tau = request.number("tau")?;
    let bias = prior.mapv(|x| tau * x.ln());
    let inputs = Inputs::from_logits(&logits, &targets).bias(&bias);
    losses_of(request, CrossEntropy::default(), &inputs)
}
