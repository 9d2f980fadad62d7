//! Losses of rows against those of a teacher.

use ndarray::{Array1, Array2};
use surprisal::loss::{Companion, Head, KullbackLeibler, TemperatureSquared};
use surprisal::{
    Gradients, Inputs, LinearCrossEntropy, LinearCrossEntropyBuilder, Reduction, Upstream,
};

use super::answer::{Answer, matrix, vector};
use super::argument::{Argument, Interval, Kind, Otherwise};
use super::function::Function;
use super::logits::{BY_LOGITS, LOGITS, TARGETS, logits, targets};
use super::refusal::{Refusal, Result};
use super::request::{Request, expect_length};

pub const TEACHER_LOGITS: Argument = Argument::new("teacher_logits", Kind::Numbers("[N][K]"));
pub const TEMPERATURE: Argument = Argument::number("temperature", Interval::above(0.0));
/// The temperature of each row, or of all.
pub const ROW_TEMPERATURE: Argument =
    Argument::new("temperature", Kind::Numbers("a number or [N]")).optional();
/// A share of one of two.
pub const SHARE: Interval = Interval::at_least(0.0).up_to(1.0);
pub const BETA: Argument = Argument::number("beta", SHARE).or(Otherwise::Number(0.5));
pub const BETA_LIMITS: Argument =
    Argument::new("beta_limits", Kind::Word(&["exact", "kl"])).or(Otherwise::Word("exact"));
pub const ALPHA: Argument = Argument::number("alpha", SHARE).or(Otherwise::Number(0.1));
pub const WEIGHT: Argument = Argument::number("weight", SHARE).or(Otherwise::Number(0.5));
pub const SQUARED: Argument =
    Argument::new("scale_by_temperature_squared", Kind::Flag).or(Otherwise::Flag(false));
pub const MASK: Argument = Argument::new("mask", Kind::Numbers("[N] of 0 and 1")).optional();
pub const REDUCTION: Argument =
    Argument::new("reduction", Kind::Word(&["none", "sum", "mean"])).or(Otherwise::Word("none"));

pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "kl_divergence",
        arguments: &[
            LOGITS,
            TEACHER_LOGITS,
            TEMPERATURE.or(Otherwise::Number(1.0)),
            Argument::new("direction", Kind::Word(&["forward", "reverse"]))
                .or(Otherwise::Word("forward")),
            Argument::new("scale_by_temperature_squared", Kind::Flag).or(Otherwise::Flag(true)),
        ],
        gradient: BY_LOGITS,
        answer: kl_divergence,
    },
    Function {
        name: "knowledge_distillation",
        arguments: &[
            LOGITS,
            TARGETS,
            TEACHER_LOGITS,
            Argument::number("alpha", Interval::at_least(0.0).up_to(1.0)),
            TEMPERATURE,
        ],
        gradient: BY_LOGITS,
        answer: knowledge_distillation,
    },
];

/// A teacher's logits beside each of a student's.
pub fn teacher(request: &Request, student: &Array2<f64>) -> Result<Array2<f64>> {
    let teacher = logits(request, "teacher_logits")?;
    let ((rows, columns), (own_rows, own_columns)) = (teacher.dim(), student.dim());
    match teacher.dim() == student.dim() {
        true => Ok(teacher),
        false => Err(Refusal::new(format!(
            "teacher_logits has {rows} rows and {columns} columns, expected {own_rows} and \
             {own_columns} as logits has"
        ))),
    }
}

/// 0 for a row that takes no part, whatever is in it, and 1 for another.
pub fn mask(request: &Request, rows: usize) -> Result<Array1<f64>> {
    let mask = match request.has("mask") {
        true => request.vector("mask")?,
        false => Array1::ones(rows),
    };
    expect_length("mask", mask.len(), rows)?;
    match mask.iter().enumerate().find(|(_, x)| **x != 0.0 && **x != 1.0) {
        Some((i, x)) => Err(Refusal::new(format!("mask[{i}] is {x:?}, expected 0 or 1"))),
        None => Ok(mask),
    }
}

/// The temperature of each row, 1 where none is given.
pub fn temperatures(request: &Request, rows: usize) -> Result<Array1<f64>> {
    let temperatures = match request.has("temperature") {
        true => request.number_or_vector("temperature", rows)?,
        false => Array1::ones(rows),
    };
    match temperatures.iter().enumerate().find(|(_, x)| x.is_nan() || **x <= 0.0) {
        Some((i, x)) => {
            Err(Refusal::new(format!("temperature[{i}] is {x:?}, expected a number above 0")))
        }
        None => Ok(temperatures),
    }
}

/// How the rows become one number: the mean of none is 0.
pub fn reduced(request: &Request, mask: &Array1<f64>) -> Result<Reduction> {
    Ok(match request.word("reduction")? {
        "none" => Reduction::None,
        "mean" if mask.sum() > 0.0 => Reduction::Mean,
        _ => Reduction::Sum,
    })
}

/// A sum of losses of the same rows, and its gradient by their logits.
pub struct Losses {
    values: Array1<f64>,
    pub gradient: Option<Array2<f64>>,
}

impl Losses {
    pub fn new(request: &Request, logits: &Array2<f64>) -> Self {
        let gradient = request.wants_gradient().then(|| Array2::zeros(logits.dim()));
        Self { values: Array1::zeros(logits.dim().0), gradient }
    }

    /// Adds a share of the losses with these options.
    pub fn add(
        &mut self,
        share: f64,
        options: LinearCrossEntropyBuilder,
        inputs: &Inputs<'_>,
    ) -> Result<()> {
        let loss = options.reduction(Reduction::None).ignore_index(None).build()?;
        let forward = match &mut self.gradient {
            None => loss.forward(inputs)?,
            Some(gradient) => {
                let gradients = Gradients::new().accumulate_logits(gradient);
                loss.loss_and_gradients(inputs, &Upstream::scalar(share), gradients)?
            }
        };
        self.values.scaled_add(share, &forward.losses());
        Ok(())
    }

    pub fn answer(self) -> Answer {
        let answer = Answer::new(vector(self.values.view()));
        match self.gradient {
            Some(gradient) => answer.with_gradient("logits", matrix(gradient.view())),
            None => answer,
        }
    }
}

/// The divergence of the row from the teacher's or the reverse, both at the temperature, times its square.
fn kl_divergence(request: &Request) -> Result<Answer> {
    let logits = logits(request, "logits")?;
    let teacher = teacher(request, &logits)?;
    let divergence = match request.word("direction")? {
        "reverse" => KullbackLeibler::reverse(),
        _ => KullbackLeibler::forward(),
    };
    // A divergence is no matter of the targets.
    let targets = vec![0_u32; logits.dim().0];
    let inputs = Inputs::from_logits(&logits, &targets)
        .companion(Companion::logits(Head::from_logits(&teacher)));
    let options = LinearCrossEntropy::builder().temperature(request.number("temperature")?);
    let options = match request.flag("scale_by_temperature_squared")? {
        true => options.row_loss(TemperatureSquared::new(divergence)),
        false => options.row_loss(divergence),
    };
    let mut losses = Losses::new(request, &logits);
    losses.add(1.0, options, &inputs)?;
    Ok(losses.answer())
}

/// (1−α) c + α T² KL(teacher‖student), c being at temperature 1.
fn knowledge_distillation(request: &Request) -> Result<Answer> {
    let logits = logits(request, "logits")?;
    let targets = targets(request, &logits)?;
    let teacher = teacher(request, &logits)?;
    let (alpha, temperature) = (request.number("alpha")?, request.number("temperature")?);
    let inputs = Inputs::from_logits(&logits, &targets);
    let mut losses = Losses::new(request, &logits);
    // Either part may be infinite: where it has no weight it is not there.
    if alpha < 1.0 {
        losses.add(1.0 - alpha, LinearCrossEntropy::builder(), &inputs)?;
    }
    if alpha > 0.0 {
        let inputs = inputs.companion(Companion::logits(Head::from_logits(&teacher)));
        let divergence = TemperatureSquared::new(KullbackLeibler::forward());
        let options = LinearCrossEntropy::builder().row_loss(divergence).temperature(temperature);
        losses.add(alpha, options, &inputs)?;
    }
    Ok(losses.answer())
}
