//! Rates of rounded numbers, numbers in a few bits, and steps of the cross-entropy method.

use ndarray::Array1;
use serde_json::{Value, json};
use surprisal::rates::cross_entropy_method::{Categories, Gaussian, Proposal, Step};
use surprisal::rates::{CrossQuant, Discretized, Rates, quantized_cdf};

use super::answer::{Answer, matrix, vector};
use super::argument::{Argument, Interval, Kind, Otherwise};
use super::function::Function;
use super::refusal::{Refusal, Result};
use super::request::{Request, expect_length};
use crate::output::number;

const POSITIVE: Interval = Interval::above(0.0);
const UNIT: Interval = Interval::at_least(0.0).up_to(1.0);
const VALUES: Argument = Argument::new("values", Kind::Numbers("[n]"));
const MEAN: Argument = Argument::new("mean", Kind::Numbers("[n]"));
const FLOOR: Argument =
    Argument::number("probability_floor", POSITIVE.up_to(1.0)).or(Otherwise::Number(1e-9));

pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "discretized_gaussian",
        arguments: &[
            VALUES,
            MEAN,
            Argument::new("sigma", Kind::Numbers("[n]")),
            Argument::number("minimum_sigma", POSITIVE).optional(),
            FLOOR,
        ],
        gradient: &["mean", "sigma"],
        answer: |request| discretized(request, Discretized::gaussian(), ["sigma", "minimum_sigma"]),
    },
    Function {
        name: "discretized_logistic",
        arguments: &[
            VALUES,
            MEAN,
            Argument::new("scale", Kind::Numbers("[n]")),
            Argument::number("minimum_scale", POSITIVE).optional(),
            FLOOR,
        ],
        gradient: &["mean", "scale"],
        answer: |request| discretized(request, Discretized::logistic(), ["scale", "minimum_scale"]),
    },
    Function {
        name: "pmf_to_quantized_cdf",
        arguments: &[
            Argument::new("pmf", Kind::Numbers("[n]")),
            Argument::new("precision", Kind::Whole("from 1 to 24")).or(Otherwise::Number(16.0)),
        ],
        gradient: &[],
        answer: pmf_to_quantized_cdf,
    },
    Function {
        name: "crossquant",
        arguments: &[
            Argument::new("activations", Kind::Numbers("[n][m]")),
            Argument::number("alpha", UNIT).or(Otherwise::Number(0.15)),
            Argument::new("bits", Kind::Whole("from 2 to 16")).or(Otherwise::Number(8.0)),
        ],
        gradient: &[],
        answer: crossquant,
    },
    Function {
        name: "cem_gaussian",
        arguments: &[
            Argument::new("samples", Kind::Numbers("[N][d]")),
            Argument::new("scores", Kind::Numbers("[N]")),
            Argument::new("elites", Kind::Whole("from 1 to N")),
            Argument::new("mean", Kind::Numbers("[d]")),
            Argument::new("std", Kind::Numbers("[d]")),
            Argument::number("smoothing", UNIT).or(Otherwise::Number(0.7)),
            Argument::number("std_smoothing", UNIT).optional(),
        ],
        gradient: &[],
        answer: cem_gaussian,
    },
    Function {
        name: "cem_categorical",
        arguments: &[
            Argument::new("samples", Kind::Classes("[E][P]")),
            Argument::new("probabilities", Kind::Numbers("[P][V]")),
            Argument::number("smoothing", UNIT).or(Otherwise::Number(0.7)),
        ],
        gradient: &[],
        answer: cem_categorical,
    },
];

/// The names are those of the scale and of the least of it.
fn discretized(
    request: &Request,
    rate: Discretized,
    [scale, least]: [&'static str; 2],
) -> Result<Answer> {
    let rate = match request.has(least) {
        true => rate.minimum_scale(request.number(least)?)?,
        false => rate,
    };
    let (values, means) = (request.vector("values")?, request.vector("mean")?);
    let scales = request.vector(scale)?;
    let rates: Rates = rate.evaluate(&values, &means, &scales)?;
    let floored = rates.bits_floored(request.number("probability_floor")?)?;
    let answer = Answer::new(json!({
        "log_prob": vector(rates.log_probs.view()),
        "bits": vector(rates.bits().view()),
        "bits_floored": vector(floored.view()),
    }));
    Ok(match request.wants_gradient() {
        false => answer,
        true => answer
            .with_gradient("mean", vector(rates.by_mean.view()))
            .with_gradient(scale, vector(rates.by_scale.view())),
    })
}

fn pmf_to_quantized_cdf(request: &Request) -> Result<Answer> {
    let weights: Array1<f64> = request.vector("pmf")?;
    let precision = request.whole("precision", 1, 24)? as u32;
    let cdf = quantized_cdf(&weights.to_vec(), precision)?;
    Ok(Answer::new(cdf.into_iter().map(Value::from).collect::<Value>()))
}

fn crossquant(request: &Request) -> Result<Answer> {
    let bits = request.whole("bits", 2, 16)? as u32;
    let found = CrossQuant::new(request.number("alpha")?, bits)?
        .quantize(&request.matrix("activations")?)?;
    let rows = found.integers.rows().into_iter();
    let integers: Value = rows.map(|row| row.iter().copied().collect::<Value>()).collect();
    Ok(Answer::new(json!({
        "delta": matrix(found.steps.view()),
        "quantized": integers,
        "dequantized": matrix(found.dequantized().view()),
        "kernel_fraction": number(found.kernel_fraction()),
        "mse": number(found.mean_squared_error),
    })))
}

fn cem_gaussian(request: &Request) -> Result<Answer> {
    let samples = request.matrix("samples")?;
    let scores: Array1<f64> = request.vector("scores")?;
    expect_length("scores", scores.len(), samples.nrows())?;
    let samples: Vec<Vec<f64>> = samples.rows().into_iter().map(|row| row.to_vec()).collect();
    // No score of this function is −∞, which the library would take for the worst.
    if let Some(i) = scores.iter().position(|score| !score.is_finite()) {
        let message = format!("scores[{i}] is {}, expected a finite number", scores[i]);
        return Err(Refusal::new(message));
    }
    let smoothing = request.number("smoothing")?;
    let of_deviations = match request.has("std_smoothing") {
        true => request.number("std_smoothing")?,
        false => smoothing,
    };
    let step = Step::new(request.whole("elites", 1, samples.len())?)?
        .smoothing(smoothing)?
        .deviation_smoothing(of_deviations)?;
    let old = Gaussian::new(request.vector("mean")?.to_vec(), request.vector("std")?.to_vec())?;
    let elites = step.elites(&scores.to_vec())?;
    let chosen: Vec<&Vec<f64>> = elites.indices.iter().map(|&i| &samples[i]).collect();
    let new = old.fit(&chosen, &step)?;
    let list = |numbers: &[f64]| numbers.iter().map(|&x| number(x)).collect::<Value>();
    Ok(Answer::new(json!({
        "elites": elites.indices,
        "threshold": number(elites.threshold),
        "mean": list(new.means()),
        "std": list(new.deviations()),
    })))
}

fn cem_categorical(request: &Request) -> Result<Answer> {
    let probabilities = request.matrix("probabilities")?;
    let categories = probabilities.ncols();
    let old = Categories::new(probabilities)?;
    let count = request.matrix("samples")?.nrows();
    let samples = request.class_lists("samples", count, categories)?;
    let rows = samples.rows().into_iter();
    let samples: Vec<Vec<usize>> =
        rows.map(|row| row.iter().map(|&category| category as usize).collect()).collect();
    let step = Step::new(samples.len())?.smoothing(request.number("smoothing")?)?;
    let new = old.fit(&samples.iter().collect::<Vec<_>>(), &step)?;
    Ok(Answer::new(matrix(new.probabilities().view())))
}
