//! Losses of a batch of scores against itself.

use ndarray::{Array2, ArrayView2};
use surprisal::{Gradients, Inputs, LinearCrossEntropy, Upstream};

use super::answer::{Answer, matrix};
use super::argument::{Argument, Interval, Kind, Otherwise};
use super::function::Function;
use super::logits::logits;
use super::refusal::{Refusal, Result};
use super::request::Request;
use crate::output::number;

pub const FUNCTIONS: &[Function] = &[Function {
    name: "info_nce",
    arguments: &[
        Argument::new("scores", Kind::Numbers("[B][M], M from B on")),
        Argument::number("temperature", Interval::above(0.0)).or(Otherwise::Number(1.0)),
        Argument::new("symmetric", Kind::Flag).or(Otherwise::Flag(false)),
    ],
    gradient: &["scores"],
    answer: info_nce,
}];

/// The mean cross-entropy of the rows at the temperature, the target of row i being column i, and with
/// `symmetric` the mean of that and the same of the columns.
fn info_nce(request: &Request) -> Result<Answer> {
    let scores = logits(request, "scores")?;
    let (rows, columns) = scores.dim();
    let symmetric = request.flag("symmetric")?;
    if columns < rows || (symmetric && columns != rows) {
        let expected = if symmetric { "as many columns" } else { "at least as many columns" };
        return Err(Refusal::new(format!(
            "scores have {rows} rows and {columns} columns, expected {expected}"
        )));
    }
    let loss = LinearCrossEntropy::builder()
        .scale(1.0 / request.number("temperature")?)
        .ignore_index(None)
        .build()?;
    let targets: Vec<u32> = (0..rows as u32).collect();
    let share = if symmetric { 0.5 } else { 1.0 };
    let mut gradient = Array2::zeros(scores.dim());
    let add = |scores: ArrayView2<'_, f64>, to: ndarray::ArrayViewMut2<'_, f64>| -> Result<_> {
        let inputs = Inputs::from_logits(scores, &targets);
        let gradients = Gradients::new().accumulate_logits(to);
        Ok(share * loss.loss_and_gradients(&inputs, &Upstream::scalar(share), gradients)?.loss())
    };
    let mut value = add(scores.view(), gradient.view_mut())?;
    if symmetric {
        value += add(scores.t(), gradient.view_mut().reversed_axes())?;
    }
    let answer = Answer::new(number(value));
    Ok(match request.wants_gradient() {
        true => answer.with_gradient("scores", matrix(gradient.view())),
        false => answer,
    })
}
