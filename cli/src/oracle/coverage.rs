//! Direct coverage of single targets and of sequences of them.

use ndarray::Array2;
use surprisal::loss::DirectCoverage;
use surprisal::{Gradients, Inputs, LinearCrossEntropy, Reduction, Upstream};

use super::answer::{Answer, matrix, vector};
use super::argument::{Argument, Interval, Kind, Otherwise};
use super::function::Function;
use super::logits::{BY_LOGITS, LOGITS, TARGETS, logits, row_losses, targets};
use super::refusal::Result;
use super::request::Request;
use crate::output::number;

/// The number of draws.
pub const N: Argument = Argument::number("n", Interval::at_least(1.0));

pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "dco",
        arguments: &[
            LOGITS,
            TARGETS,
            N,
            Argument::new("level", Kind::Word(&["token", "sequence", "sequence_detached"]))
                .or(Otherwise::Word("token")),
        ],
        gradient: BY_LOGITS,
        answer: dco,
    },
    Function {
        name: "dco_factor",
        arguments: &[
            LOGITS,
            TARGETS,
            N,
            Argument::new("level", Kind::Word(&["token", "sequence"])).or(Otherwise::Word("token")),
        ],
        gradient: &[],
        answer: |request| {
            let loss = DirectCoverage::new(request.number("n")?)?;
            let surprisals = Surprisals::of(request)?.each;
            Ok(match request.word("level")? {
                "sequence" => Answer::new(number(loss.slope_at(surprisals.sum()))),
                _ => Answer::new(vector(surprisals.mapv(|s| loss.slope_at(s)).view())),
            })
        },
    },
];

/// The surprisal of each target, and a multiple of the sum's gradient.
struct Surprisals {
    each: ndarray::Array1<f64>,
    logits: Array2<f64>,
    targets: Vec<u32>,
}

impl Surprisals {
    fn loss() -> Result<LinearCrossEntropy> {
        Ok(LinearCrossEntropy::builder().reduction(Reduction::None).ignore_index(None).build()?)
    }

    fn of(request: &Request) -> Result<Self> {
        let logits = logits(request, "logits")?;
        let targets = targets(request, &logits)?;
        let each = Self::loss()?.forward(&Inputs::from_logits(&logits, &targets))?.losses();
        Ok(Self { each, logits, targets })
    }

    fn gradient(&self, factor: f64) -> Result<Array2<f64>> {
        let mut gradient = Array2::zeros(self.logits.dim());
        let inputs = Inputs::from_logits(&self.logits, &self.targets);
        let gradients = Gradients::new().logits(&mut gradient);
        Self::loss()?.loss_and_gradients(&inputs, &Upstream::scalar(factor), gradients)?;
        Ok(gradient)
    }
}

fn dco(request: &Request) -> Result<Answer> {
    let loss = DirectCoverage::new(request.number("n")?)?;
    let level = request.word("level")?;
    if level == "token" {
        return row_losses(request, loss);
    }
    let rows = Surprisals::of(request)?;
    let (sum, count) = (rows.each.sum(), rows.each.len() as f64);
    let slope = loss.slope_at(sum);
    // The published code multiplies the mean with the slope, which is a constant to it.
    let (value, factor) = match level {
        "sequence" => (loss.value_at(sum), slope),
        _ => (if slope == 0.0 { 0.0 } else { slope * sum / count }, slope / count),
    };
    let answer = Answer::new(number(value));
    match request.wants_gradient() {
        true => Ok(answer.with_gradient("logits", matrix(rows.gradient(factor)?.view()))),
        false => Ok(answer),
    }
}
