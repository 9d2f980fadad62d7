//! What is printed of a fitted law.

use serde_json::{Map, Value, json};

use surprisal::fit::{Fitted, Law, Prediction};

use super::arguments::{Fit, ResidualsName};
use crate::output::number;
use crate::report::{Report, significant, with_error};

/// The law with its errors, and how well it fits.
pub fn report<L: Law>(arguments: &Fit, fitted: &Fitted<L>) -> Report {
    let mut report = Report::new();
    report.add_json("law", arguments.law.name());
    let parameters = fitted.law.parameters();
    let mut errors = Map::new();
    for (at, name) in L::PARAMETERS.iter().enumerate() {
        let (value, error) = (parameters[at], fitted.standard_errors[at]);
        let mut text = beside(value, error);
        if value == 0.0 {
            text += ", at its end: no law below is looked for";
        } else if error > value.abs() {
            text += ", which the data hardly tells";
        }
        report.add(name, number(value), text);
        errors.insert((*name).into(), number(error));
    }
    report.add_json("standard_errors", Value::Object(errors));
    let rows = fitted.covariance.rows().into_iter();
    let rows = rows.map(|row| row.iter().map(|&x| number(x)).collect::<Value>());
    report.add_json("covariance", rows.collect::<Value>());
    report.add("r_squared", number(fitted.r_squared), significant(fitted.r_squared, 6));
    let (unit, residuals) = match arguments.residuals {
        ResidualsName::Logarithms => ("of the loss", "logarithms"),
        ResidualsName::Differences => ("nats", "differences"),
    };
    let scatter = format!("{} {unit}, spread of the residuals", significant(fitted.scatter, 3));
    report.add("scatter", number(fitted.scatter), scatter);
    let condition =
        format!("{}, errors of losses in those of parameters", significant(fitted.condition, 3));
    report.add("condition", number(fitted.condition), condition);
    report.add_json("objective", number(fitted.objective));
    report.add_json("huber_delta", number(arguments.huber_delta));
    report.add_json("residuals", residuals);
    let points = fitted.degrees_of_freedom + parameters.len();
    report.add("points", points, format!("{points}, for {} parameters", parameters.len()));
    report.add_json("degrees_of_freedom", fitted.degrees_of_freedom);
    report
}

/// What is told of places: each with the names of its numbers.
pub fn predictions(
    report: &mut Report,
    confidence: f64,
    names: &[&str],
    told: &[(Vec<f64>, Prediction)],
) {
    if told.is_empty() {
        return;
    }
    let entry = |(place, told): &(Vec<f64>, Prediction)| {
        let mut entry = Map::new();
        for (name, &at) in names.iter().zip(place) {
            entry.insert((*name).into(), number(at));
        }
        for (key, value) in [
            ("loss", told.loss),
            ("standard_error", told.standard_error),
            ("lower", told.lower),
            ("upper", told.upper),
        ] {
            entry.insert(key.into(), number(value));
        }
        Value::Object(entry)
    };
    let line = |(place, told): &(Vec<f64>, Prediction)| {
        let place: Vec<_> = place.iter().map(|&x| size(x)).collect();
        format!(
            "{} nats at {}, a new one from {} to {} ({} %)",
            beside(told.loss, told.standard_error),
            place.join(" and "),
            significant(told.lower, 5),
            significant(told.upper, 5),
            size(100.0 * confidence),
        )
    };
    let lines: Vec<String> = told.iter().map(line).collect();
    report.add("predictions", told.iter().map(entry).collect::<Value>(), lines.join("\n"));
}

/// What a budget is best spent on, and what it takes to reach a loss.
pub fn add_best(
    report: &mut Report,
    budget: f64,
    (names, parts): ([&str; 2], [f64; 2]),
    loss: f64,
) {
    let text = format!(
        "{} {} and {} {} of {}, with a loss of {} nats",
        size(parts[0]),
        names[0],
        size(parts[1]),
        names[1],
        size(budget),
        significant(loss, 5)
    );
    let value = json!({
        "budget": number(budget),
        names[0]: number(parts[0]),
        names[1]: number(parts[1]),
        "loss": number(loss),
    });
    report.add("optimum", value, text);
}

/// What a loss takes, with its key and what people call it, and the factor that is its standard error where that is known.
pub fn add_target(
    report: &mut Report,
    target: f64,
    (key, name): (&str, &str),
    found: f64,
    factor: Option<f64>,
) {
    let mut text =
        format!("{name} = {} for a loss of {} nats", size(found), significant(target, 5));
    let mut value = json!({ "loss": number(target), key: number(found) });
    if let Some(factor) = factor {
        value["factor"] = number(factor);
        text += &match factor < 1e3 {
            true => format!(", within a factor of {} (its standard error)", significant(factor, 3)),
            false => ", which the data does not tell: the loss is too close to L∞".into(),
        };
    }
    report.add("target", value, text);
}

/// A number that may be large, to four digits of which the last are not 0.
pub fn size(value: f64) -> String {
    let short = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text.to_string(),
    };
    match value.abs() {
        0.0 => "0".into(),
        1e-3..1e6 => short(&significant(value, 6)),
        _ => match format!("{value:.3e}").split_once('e') {
            Some((digits, power)) => format!("{}e{power}", short(digits)),
            None => value.to_string(),
        },
    }
}

/// A number beside its error.
fn beside(value: f64, error: f64) -> String {
    match value.abs() {
        1e-4..1e6 if error < 1e6 => with_error(value, error),
        0.0 => format!("0 ± {}", significant(error, 2)),
        _ => format!("{value:.4e} ± {error:.1e}"),
    }
}
