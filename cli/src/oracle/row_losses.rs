//! Cross-entropy with its companions, and the losses of rows that are no matter of the target.

use surprisal::loss::{CrossEntropy, EntropyBonus};

use super::answer::Answer;
use super::argument::{Argument, Interval, Kind, Otherwise};
use super::function::Function;
use super::logits::{BY_LOGITS, LOGITS, TARGETS, logits, row_losses, row_losses_of, targets};
use super::refusal::{Refusal, Result};
use super::request::{Request, expect_length};

pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "cross_entropy",
        arguments: &[LOGITS, TARGETS],
        gradient: BY_LOGITS,
        answer: |request| row_losses(request, CrossEntropy::default()),
    },
    Function {
        name: "label_smoothing",
        arguments: &[
            LOGITS,
            TARGETS,
            Argument::number("epsilon", Interval::at_least(0.0).up_to(1.0))
                .or(Otherwise::Number(0.1)),
        ],
        gradient: BY_LOGITS,
        answer: |request| row_losses(request, CrossEntropy::new(request.number("epsilon")?, 0.0)?),
    },
    Function {
        name: "z_loss",
        arguments: &[
            LOGITS,
            TARGETS,
            Argument::number("lambda", Interval::at_least(0.0)).or(Otherwise::Number(1e-4)),
        ],
        gradient: BY_LOGITS,
        answer: |request| row_losses(request, CrossEntropy::new(0.0, request.number("lambda")?)?),
    },
    Function {
        name: "logit_adjusted",
        arguments: &[
            LOGITS,
            TARGETS,
            Argument::new("prior", Kind::Numbers("[K]")),
            Argument::number("tau", Interval::ANY).or(Otherwise::Number(1.0)),
        ],
        gradient: BY_LOGITS,
        answer: logit_adjusted,
    },
    Function { name: "entropy", arguments: &[LOGITS], gradient: BY_LOGITS, answer: entropy },
];

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
    row_losses_of(request, CrossEntropy::default(), &logits, &targets, Some(&bias))
}

/// H is no matter of the targets; the loss has some all the same.
fn entropy(request: &Request) -> Result<Answer> {
    let logits = logits(request, "logits")?;
    let targets = vec![0; logits.dim().0];
    row_losses_of(request, EntropyBonus::new(1.0)?, &logits, &targets, None)
}
