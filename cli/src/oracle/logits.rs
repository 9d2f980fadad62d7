//! Logits, targets, and the losses of each of their rows.

use ndarray::Array2;
use surprisal::loss::RowLoss;
use surprisal::{Gradients, Inputs, LinearCrossEntropy, Reduction, Upstream};

use super::answer::{Answer, matrix, vector};
use super::argument::{Argument, Kind};
use super::refusal::{Refusal, Result};
use super::request::Request;

pub const LOGITS: Argument = Argument::new("logits", Kind::Numbers("[N][K]"));
pub const TARGETS: Argument = Argument::new("targets", Kind::Classes("[N], below K"));

/// What has a gradient by the logits alone.
pub const BY_LOGITS: &[&str] = &["logits"];

/// Logits, each row of which has probabilities: a NaN is one row's own affair.
pub fn logits(request: &Request, name: &str) -> Result<Array2<f64>> {
    let logits = request.matrix(name)?;
    if let Some(((i, j), _)) = logits.indexed_iter().find(|(_, x)| **x == f64::INFINITY) {
        let message =
            format!("{name}[{i}][{j}] is \"inf\", expected a number, \"nan\" or \"-inf\"");
        return Err(Refusal::new(message));
    }
    let empty = |row: ndarray::ArrayView1<'_, f64>| row.iter().all(|x| *x == f64::NEG_INFINITY);
    if let Some(i) = logits.rows().into_iter().position(empty) {
        return Err(Refusal::new(format!(
            "{name}[{i}] is \"-inf\" throughout, expected a class that has a probability"
        )));
    }
    Ok(logits)
}

/// Takes the maximum of each row off, which no probability sees: several times the logits, or a part of them, then
/// has its digits and does not overflow.
pub fn below_maximum(logits: &mut Array2<f64>) {
    for mut row in logits.rows_mut() {
        let maximum = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        row -= maximum;
    }
}

/// The target of each row.
pub fn targets(request: &Request, logits: &Array2<f64>) -> Result<Vec<u32>> {
    let (rows, classes) = logits.dim();
    request.classes("targets", rows, classes)
}

/// Refuses logits of one class.
pub fn several_classes(logits: &Array2<f64>) -> Result<()> {
    match logits.dim().1 {
        0 | 1 => Err(Refusal::new("logits have one column, expected at least two classes")),
        _ => Ok(()),
    }
}

/// The loss of each row, and its gradient by the row where it is asked for.
pub fn row_losses(request: &Request, loss: impl RowLoss + 'static) -> Result<Answer> {
    let logits = logits(request, "logits")?;
    let targets = targets(request, &logits)?;
    losses_of(request, loss, &Inputs::from_logits(&logits, &targets))
}

/// The same, of these inputs.
pub fn losses_of(
    request: &Request,
    loss: impl RowLoss + 'static,
    inputs: &Inputs<'_>,
) -> Result<Answer> {
    let loss = LinearCrossEntropy::builder()
        .row_loss(loss)
        .reduction(Reduction::None)
        .ignore_index(None)
        .build()?;
    if !request.wants_gradient() {
        return Ok(Answer::new(vector(loss.forward(inputs)?.losses().view())));
    }
    let mut gradient = Array2::zeros(logits(request, "logits")?.dim());
    let gradients = Gradients::new().logits(&mut gradient);
    let forward = loss.loss_and_gradients(inputs, &Upstream::default(), gradients)?;
    let value = vector(forward.losses().view());
    Ok(Answer::new(value).with_gradient("logits", matrix(gradient.view())))
}
