//! The other divergences of rows from those of a teacher.

use ndarray::{Array1, Array2};
use surprisal::loss::{
    Companion, Head, JensenShannon, KullbackLeibler, RowLoss, SkewKullbackLeibler, Sum,
    SymmetricCrossEntropy, TemperatureSquared, TotalVariation,
};
use surprisal::{Gradients, Inputs, LinearCrossEntropy, Reduction, Upstream};

use super::answer::{Answer, matrix, vector};
use super::argument::{Argument, Interval, Kind, Otherwise};
use super::distillation::{Losses, TEACHER_LOGITS, teacher};
use super::function::Function;
use super::logits::{BY_LOGITS, LOGITS, logits};
use super::named::{Beside, Named, made};
use super::refusal::{Refusal, Result};
use super::request::{Request, expect_length};
use crate::output::number;

const SHARE: Interval = Interval::at_least(0.0).up_to(1.0);
const BETA: Argument = Argument::number("beta", SHARE).or(Otherwise::Number(0.5));
const SKEW: Argument = Argument::number("alpha", SHARE).or(Otherwise::Number(0.1));
const WEIGHT: Argument = Argument::number("weight", SHARE).or(Otherwise::Number(0.5));

const fn named(name: &'static str, make: fn(&Request) -> Result<Box<dyn RowLoss>>) -> Named {
    Named::new(name, make).beside(Beside::SecondHead)
}

/// The divergences by the names that `distillation_divergence` has for them; the limits of β are exact.
pub const DIVERGENCES: &[Named] = &[
    named("forward_kl", |_| made(Ok(KullbackLeibler::forward()))).also(&["kl"]),
    named("reverse_kl", |_| made(Ok(KullbackLeibler::reverse()))),
    named("jensen_shannon", |request| made(JensenShannon::new(request.number("beta")?)))
        .also(&["jsd"])
        .with(&[BETA]),
    named("skew_forward_kl", |request| {
        made(SkewKullbackLeibler::forward(request.number("alpha")?))
    })
    .also(&["skew"])
    .with(&[SKEW]),
    named("skew_reverse_kl", |request| {
        made(SkewKullbackLeibler::reverse(request.number("alpha")?))
    })
    .also(&["skew_reverse"])
    .with(&[SKEW]),
    named("symmetric_kl", |request| {
        // Either may be infinite: where it has no weight it is not there.
        let weight = request.number("weight")?;
        let mut sum = Sum::new();
        if weight < 1.0 {
            sum = sum.add(1.0 - weight, KullbackLeibler::forward())?;
        }
        if weight > 0.0 {
            sum = sum.add(weight, KullbackLeibler::reverse())?;
        }
        made(Ok(sum))
    })
    .also(&["symmetric"])
    .with(&[WEIGHT]),
    named("total_variation", |_| made(Ok(TotalVariation))).also(&["tvd"]),
];

/// The cross-entropy of both heads, either way.
pub const SYMMETRIC: Named = named("symmetric_cross_entropy", |request| {
    made(SymmetricCrossEntropy::new(request.number("alpha")?))
})
.also(&["sce"])
.with(&[Argument::number("alpha", SHARE).or(Otherwise::Number(0.5))]);

/// The words of `distillation_divergence`.
const NAMES: [&str; DIVERGENCES.len()] = {
    let mut names = [""; DIVERGENCES.len()];
    let mut i = 0;
    while i < names.len() {
        names[i] = DIVERGENCES[i].name;
        i += 1;
    }
    names
};

pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "jensen_shannon",
        arguments: &[LOGITS, TEACHER_LOGITS, BETA],
        gradient: BY_LOGITS,
        // At the limits the divergences that it is often replaced by there.
        answer: |request| match request.number("beta")? {
            0.0 => divergence(request, KullbackLeibler::forward()),
            1.0 => divergence(request, KullbackLeibler::reverse()),
            beta => divergence(request, JensenShannon::new(beta)?),
        },
    },
    Function {
        name: "skew_kl",
        arguments: &[
            LOGITS,
            TEACHER_LOGITS,
            Argument::number("alpha", Interval::at_least(0.0).below(1.0))
                .or(Otherwise::Number(0.1)),
            Argument::new("direction", Kind::Word(&["forward", "reverse"]))
                .or(Otherwise::Word("forward")),
        ],
        gradient: BY_LOGITS,
        answer: |request| {
            let alpha = request.number("alpha")?;
            match request.word("direction")? {
                "reverse" => divergence(request, SkewKullbackLeibler::reverse(alpha)?),
                _ => divergence(request, SkewKullbackLeibler::forward(alpha)?),
            }
        },
    },
    Function {
        name: "total_variation",
        arguments: &[LOGITS, TEACHER_LOGITS],
        gradient: BY_LOGITS,
        answer: |request| divergence(request, TotalVariation),
    },
    Function {
        name: "symmetric_cross_entropy",
        arguments: &[LOGITS, TEACHER_LOGITS, SYMMETRIC.arguments[0]],
        gradient: &["logits", "teacher_logits"],
        answer: symmetric_cross_entropy,
    },
    Function {
        name: "distillation_divergence",
        arguments: &[
            LOGITS,
            TEACHER_LOGITS,
            Argument::new("divergence", Kind::Word(&NAMES)),
            BETA,
            Argument::new("beta_limits", Kind::Word(&["exact", "kl"])).or(Otherwise::Word("exact")),
            SKEW,
            WEIGHT,
            Argument::new("temperature", Kind::Numbers("a number or [N]")).optional(),
            Argument::new("scale_by_temperature_squared", Kind::Flag).or(Otherwise::Flag(false)),
            Argument::new("mask", Kind::Numbers("[N] of 0 and 1")).optional(),
            Argument::new("reduction", Kind::Word(&["none", "sum", "mean"]))
                .or(Otherwise::Word("none")),
        ],
        gradient: BY_LOGITS,
        answer: distillation_divergence,
    },
];

fn divergence(request: &Request, loss: impl RowLoss + 'static) -> Result<Answer> {
    let logits = logits(request, "logits")?;
    let teacher = teacher(request, &logits)?;
    let targets = vec![0_u32; logits.dim().0];
    let inputs = Inputs::from_logits(&logits, &targets)
        .companion(Companion::logits(Head::from_logits(&teacher)));
    let mut losses = Losses::new(request, &logits);
    losses.add(1.0, LinearCrossEntropy::builder().row_loss(loss), &inputs)?;
    Ok(losses.answer())
}

/// The gradient by the teacher is that of the loss the other way.
fn symmetric_cross_entropy(request: &Request) -> Result<Answer> {
    let logits = logits(request, "logits")?;
    let teacher = teacher(request, &logits)?;
    let alpha = request.number("alpha")?;
    let targets = vec![0_u32; logits.dim().0];
    let of = |own: &Array2<f64>, other: &Array2<f64>, alpha: f64| -> Result<Losses> {
        let inputs = Inputs::from_logits(own, &targets)
            .companion(Companion::logits(Head::from_logits(other)));
        let mut losses = Losses::new(request, own);
        let loss = SymmetricCrossEntropy::new(alpha)?;
        losses.add(1.0, LinearCrossEntropy::builder().row_loss(loss), &inputs)?;
        Ok(losses)
    };
    let losses = of(&logits, &teacher, alpha)?;
    if !request.wants_gradient() {
        return Ok(losses.answer());
    }
    let other = of(&teacher, &logits, 1.0 - alpha)?.gradient;
    let gradient = other.map(|gradient| matrix(gradient.view())).unwrap_or_default();
    Ok(losses.answer().with_gradient("teacher_logits", gradient))
}

/// A divergence by its name, with what the request says of it.
fn of_name(request: &Request) -> Result<Box<dyn RowLoss>> {
    let name = request.word("divergence")?;
    if name == "jensen_shannon" && request.word("beta_limits")? == "kl" {
        return made(Ok(match request.number("beta")? {
            0.0 => KullbackLeibler::forward(),
            1.0 => KullbackLeibler::reverse(),
            beta => return made(JensenShannon::new(beta)),
        }));
    }
    match DIVERGENCES.iter().find(|divergence| divergence.name == name) {
        Some(divergence) => (divergence.make)(request),
        None => Err(Refusal::new(format!("divergence is {name:?}, expected one of {NAMES:?}"))),
    }
}

fn distillation_divergence(request: &Request) -> Result<Answer> {
    let logits = logits(request, "logits")?;
    let teacher = teacher(request, &logits)?;
    let rows = logits.dim().0;
    let mask = match request.has("mask") {
        true => request.vector("mask")?,
        false => Array1::ones(rows),
    };
    expect_length("mask", mask.len(), rows)?;
    if let Some((i, x)) = mask.iter().enumerate().find(|(_, x)| **x != 0.0 && **x != 1.0) {
        return Err(Refusal::new(format!("mask[{i}] is {x:?}, expected 0 or 1")));
    }
    // A row that the mask leaves out takes no part, whatever is in it.
    let targets: Vec<i64> = mask.iter().map(|&x| if x == 0.0 { -1 } else { 0 }).collect();
    let temperatures = match request.has("temperature") {
        true => request.number_or_vector("temperature", rows)?,
        false => Array1::ones(rows),
    };
    if let Some((i, x)) = temperatures.iter().enumerate().find(|(_, x)| x.is_nan() || **x <= 0.0) {
        return Err(Refusal::new(format!("temperature[{i}] is {x:?}, expected a number above 0")));
    }
    let inputs = Inputs::from_logits(&logits, &targets)
        .temperatures(&temperatures)
        .companion(Companion::logits(Head::from_logits(&teacher)));
    let reduction = request.word("reduction")?;
    let kept = mask.sum();
    let options = match request.flag("scale_by_temperature_squared")? {
        true => LinearCrossEntropy::builder().row_loss(TemperatureSquared::new(of_name(request)?)),
        false => LinearCrossEntropy::builder().row_loss(of_name(request)?),
    };
    let loss = options
        .ignore_index(Some(-1))
        .reduction(match reduction {
            "none" => Reduction::None,
            "mean" if kept > 0.0 => Reduction::Mean,
            _ => Reduction::Sum,
        })
        .build()?;
    let value = |forward: &surprisal::Forward| match reduction {
        "none" => vector(forward.losses().view()),
        _ => number(forward.loss()),
    };
    if !request.wants_gradient() {
        return Ok(Answer::new(value(&loss.forward(&inputs)?)));
    }
    let mut gradient = Array2::zeros(logits.dim());
    let gradients = Gradients::new().logits(&mut gradient);
    let forward = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients)?;
    Ok(Answer::new(value(&forward)).with_gradient("logits", matrix(gradient.view())))
}
