//! What the arguments of a call must be: options, lengths, numbers, targets.

use crate::element::Real;
use crate::error::{Error, Result, short};
use crate::loss::companion::Companion;
use crate::loss::inputs::{Inputs, Targets};
use crate::loss::options::LinearCrossEntropy;
use crate::loss::source::Source;
use crate::matrix::{Matrix, Vector};

/// Scale and softcap as numbers of the type that is computed in.
pub(super) fn check_options<R: Real>(loss: &LinearCrossEntropy) -> Result<()> {
    let scale = R::from_f64(loss.transform.scale).to_f64();
    if !R::from_f64(loss.scale).to_f64().is_finite() {
        let value = short(loss.scale);
        let expected = "a finite number that is not beyond f32, in which this is computed";
        return Err(Error::Option { name: "scale", value, expected });
    }
    if !scale.is_finite() {
        let value = short(loss.temperature);
        let expected = "a number above 0 by which the scale can be divided";
        return Err(Error::Option { name: "temperature", value, expected });
    }
    if let Some(softcap) = loss.transform.softcap {
        let rounded = R::from_f64(softcap).to_f64();
        if !(rounded.is_finite() && rounded > 0.0) {
            let value = short(softcap);
            let expected =
                "a finite number above 0 that is not beyond f32, in which this is computed";
            return Err(Error::Option { name: "softcap", value, expected });
        }
    }
    Ok(())
}

pub(super) fn expect_length(
    argument: &'static str,
    vector: Option<&Vector<'_>>,
    length: usize,
    of: &str,
) -> Result<()> {
    match vector {
        Some(vector) if vector.len() != length => Err(Error::Shape {
            argument,
            found: vec![vector.len()],
            expected: format!("[{length}], the number of {of}"),
        }),
        _ => Ok(()),
    }
}

/// Temperatures, and the scale that each makes.
pub(super) fn check_temperatures<R: Real>(
    loss: &LinearCrossEntropy,
    inputs: &Inputs<'_>,
    rows: usize,
) -> Result<()> {
    let Some(temperatures) = &inputs.temperatures else { return Ok(()) };
    expect_length("temperatures", Some(temperatures), rows, "targets")?;
    let scale = |i: usize| R::from_f64(loss.scale / temperatures.at(i)).to_f64();
    let good = |i: &usize| temperatures.at(*i) > 0.0 && scale(*i).is_finite();
    match (0..rows).find(|i| !good(i) || temperatures.at(*i).is_infinite()) {
        None => Ok(()),
        Some(i) => Err(Error::Value {
            argument: "temperatures",
            index: vec![i],
            value: short(temperatures.at(i)),
            expected: "a finite number above 0 by which the scale can be divided",
        }),
    }
}

/// Whether there is a companion where the loss needs one, and only there, and what is in it.
pub(super) fn check_companion<R: Real>(
    loss: &LinearCrossEntropy,
    inputs: &Inputs<'_>,
    rows: usize,
    columns: usize,
    vocabulary: usize,
) -> Result<()> {
    let conflict = |what: String| Err(Error::Conflict { what });
    if loss.needs.diverges() && inputs.second_head().is_none() {
        let name = &loss.row_loss;
        return conflict(format!(
            "{name:?} needs the logits of a second head, expected them as the companion"
        ));
    }
    let needed = loss.needs.companion || loss.needs.diverges();
    let companion = match (&inputs.companion, needed) {
        (Some(companion), true) => companion,
        (None, false) => return Ok(()),
        (None, true) => {
            let name = &loss.row_loss;
            return conflict(format!("{name:?} needs a companion, expected one in the inputs"));
        }
        (Some(_), false) => {
            let name = &loss.row_loss;
            return conflict(format!("{name:?} takes no companion, expected none in the inputs"));
        }
    };
    let shape = |argument, found: (usize, usize), expected: String| {
        Err(Error::Shape { argument, found: vec![found.0, found.1], expected })
    };
    match companion {
        Companion::Logits(_) => Ok(()),
        Companion::Classes(values) => {
            expect_length("the companion", Some(values), vocabulary, "classes")?;
            check_vector::<R>("the companion", Some(values), Domain::Finite)
        }
        Companion::Entries(values) => {
            if values.dim() != (rows, columns) {
                let expected =
                    format!("[{rows}, {columns}], a row each target and a column each class");
                return shape("the companion", values.dim(), expected);
            }
            check_matrix::<R>("the companion", values, Domain::Finite)
        }
        Companion::Listed { classes, values } => {
            if classes.dim().0 != rows {
                let expected = format!("{rows} rows, one for each target");
                return shape("the companion's classes", classes.dim(), expected);
            }
            if values.dim() != classes.dim() {
                let (n, k) = classes.dim();
                let expected = format!("[{n}, {k}], as their classes are");
                return shape("the companion's values", values.dim(), expected);
            }
            let beyond = |(_, class): &(_, &u32)| **class as usize >= vocabulary;
            if let Some(((i, j), class)) = classes.indexed_iter().find(beyond) {
                return Err(Error::Value {
                    argument: "the companion's classes",
                    index: vec![i, j],
                    value: class.to_string(),
                    expected: "a class of the vocabulary",
                });
            }
            check_matrix::<R>("the companion's values", values, Domain::Finite)
        }
    }
}

/// Whether a classifier is as wide as the hidden states.
pub(super) fn check_source(
    argument: &'static str,
    hidden_is: &str,
    source: &Source<'_>,
) -> Result<()> {
    let Source::Product { hidden, classifier } = source else { return Ok(()) };
    let (width, (v, found)) = (hidden.dim().1, classifier.dim());
    if found != width {
        return Err(Error::Shape {
            argument,
            found: vec![v, found],
            expected: format!("{width} columns, as {hidden_is} has"),
        });
    }
    Ok(())
}

/// Whether a second head fits the first, and its numbers what is computed in.
pub(super) fn check_second_head<R: Real>(
    loss: &LinearCrossEntropy,
    inputs: &Inputs<'_>,
    rows: usize,
) -> Result<()> {
    let Some(head) = inputs.second_head() else { return Ok(()) };
    if inputs.shard.is_some() {
        return Err(Error::Conflict {
            what: "a second head goes with a whole vocabulary, expected no shard".into(),
        });
    }
    if head.zero_at_target && loss.needs.diverges() {
        return Err(Error::Conflict {
            what: "costs of an embedding are no logits to diverge from, expected a second head"
                .into(),
        });
    }
    let name = "the classifier of the second head";
    check_source(name, "its hidden", &head.source)?;
    let (n, v) = (inputs.source.sizes().0, inputs.source.sizes().2);
    let (found_n, found_width, found_v) = head.source.sizes();
    if let Source::Given(_) = head.source
        && (found_n, found_v) != (n, v)
    {
        return Err(Error::Shape {
            argument: "the logits of the second head",
            found: vec![found_n, found_v],
            expected: format!("[{n}, {v}], the rows and classes of the first"),
        });
    }
    if found_n != n {
        return Err(Error::Shape {
            argument: "the hidden states of the second head",
            found: vec![found_n, found_width],
            expected: format!("{n} rows, as the first head has"),
        });
    }
    if found_v != v {
        return Err(Error::Shape {
            argument: name,
            found: vec![found_v, found_width],
            expected: format!("{v} rows, the number of classes of the first head"),
        });
    }
    expect_length("the bias of the second head", head.bias.as_ref(), v, "classes")?;
    let scale = |temperature: f64| R::from_f64(head.scale / temperature).to_f64();
    let each = |i: usize| inputs.temperatures.map_or(loss.temperature, |t| t.at(i));
    if !(scale(loss.temperature).is_finite() && (0..rows).all(|i| scale(each(i)).is_finite())) {
        return Err(Error::Option {
            name: "the scale of the second head",
            value: short(head.scale),
            expected: "a finite number that the temperatures can divide",
        });
    }
    if let Some(softcap) = head.softcap {
        let rounded = R::from_f64(softcap).to_f64();
        if !(rounded.is_finite() && rounded > 0.0) {
            return Err(Error::Option {
                name: "the softcap of the second head",
                value: short(softcap),
                expected: "a finite number above 0 that is not beyond what is computed in",
            });
        }
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Domain {
    Finite,
    NonNegative,
}

impl Domain {
    /// Whether the number, rounded to what is computed in, is of the domain.
    fn holds<R: Real>(self, value: f64) -> bool {
        R::from_f64(value).to_f64().is_finite() && (self == Domain::Finite || value >= 0.0)
    }

    /// What is expected in place of a number that is none of the domain.
    fn words(self, value: f64) -> &'static str {
        let within = value.is_finite() && (self == Domain::Finite || value >= 0.0);
        match (self, within) {
            (_, true) => "a number that is not beyond f32, in which this is computed",
            (Domain::Finite, false) => "a finite number",
            (Domain::NonNegative, false) => "a finite number of at least 0",
        }
    }
}

pub(super) fn check_vector<R: Real>(
    argument: &'static str,
    vector: Option<&Vector<'_>>,
    domain: Domain,
) -> Result<()> {
    let Some(vector) = vector else { return Ok(()) };
    match (0..vector.len()).find(|&i| !domain.holds::<R>(vector.at(i))) {
        None => Ok(()),
        Some(i) => Err(Error::Value {
            argument,
            index: vec![i],
            value: short(vector.at(i)),
            expected: domain.words(vector.at(i)),
        }),
    }
}

/// Whether all numbers are of the domain in the type that is computed in.
fn check_matrix<R: Real>(
    argument: &'static str,
    matrix: &Matrix<'_>,
    domain: Domain,
) -> Result<()> {
    let (rows, columns) = matrix.dim();
    let mut row = vec![R::ZERO; columns];
    let least = match domain {
        Domain::Finite => f64::MIN,
        Domain::NonNegative => 0.0,
    };
    let good = |value: &R| value.to_f64() >= least && value.to_f64() < f64::INFINITY;
    for i in 0..rows {
        matrix.read(i, 0..columns, &mut row);
        // Without an early exit this is one pass of vector compares.
        if row.iter().fold(true, |all, value| all & good(value)) {
            continue;
        }
        if let Some(j) = row.iter().position(|value| !good(value)) {
            return Err(Error::Value {
                argument,
                index: vec![i, j],
                value: short(matrix.at(i, j)),
                expected: domain.words(matrix.at(i, j)),
            });
        }
    }
    Ok(())
}

pub(super) fn check_targets<R: Real>(
    targets: &Targets<'_>,
    rows: usize,
    vocabulary: usize,
    sharded: bool,
) -> Result<()> {
    let shape = |argument, found, expected| Err(Error::Shape { argument, found, expected });
    match targets {
        Targets::Hard(classes) if classes.len() != rows => {
            shape("targets", vec![classes.len()], format!("[{rows}], the number of rows"))
        }
        Targets::Hard(_) => Ok(()),
        Targets::Soft(_) | Targets::Sparse { .. } if sharded => Err(Error::Conflict {
            what: "soft targets over a shard are not supported, expected hard targets".into(),
        }),
        Targets::Soft(weights) if weights.dim() != (rows, vocabulary) => {
            let (n, v) = weights.dim();
            shape("soft targets", vec![n, v], format!("[{rows}, {vocabulary}], rows and classes"))
        }
        Targets::Soft(weights) => check_matrix::<R>("soft targets", weights, Domain::NonNegative),
        Targets::Sparse { classes, weights } => {
            let (n, k) = classes.dim();
            if n != rows {
                return shape("sparse targets", vec![n, k], format!("{rows} rows"));
            }
            if weights.dim() != (n, k) {
                let (found_n, found_k) = weights.dim();
                let expected = format!("[{n}, {k}], as their classes");
                return shape("sparse target weights", vec![found_n, found_k], expected);
            }
            if let Some(((i, j), class)) =
                classes.indexed_iter().find(|&(_, &class)| class as usize >= vocabulary)
            {
                return Err(Error::Value {
                    argument: "sparse targets",
                    index: vec![i, j],
                    value: class.to_string(),
                    expected: "a class of the vocabulary",
                });
            }
            check_matrix::<R>("sparse target weights", weights, Domain::NonNegative)
        }
    }
}
