//! Scaling laws: their values, fits and optima.

use ndarray::Array1;
use serde_json::json;
use surprisal::fit::{
    AnnealingLaw, AnnealingSums, BivariateLaw, InformationGain, PowerLaw, Residuals, ScalingFit,
    huber,
};

use super::answer::{Answer, vector};
use super::argument::{Argument, Interval, Kind, Otherwise};
use super::function::Function;
use super::refusal::Result;
use super::request::Request;
use crate::output::number;

const POSITIVE: Interval = Interval::above(0.0);
const NOT_NEGATIVE: Interval = Interval::at_least(0.0);
const LOSS: Argument = Argument::new("loss", Kind::Numbers("[n]"));
const X: Argument = Argument::new("x", Kind::Numbers("[n]"));
const ENCODER: Argument = Argument::new("encoder", Kind::Numbers("[n]"));
const DECODER: Argument = Argument::new("decoder", Kind::Numbers("[n]"));
const ENCODER_REFERENCE: Argument = Argument::number("encoder_reference", POSITIVE);
const DECODER_REFERENCE: Argument = Argument::number("decoder_reference", POSITIVE);
const ALPHA: Argument = Argument::number("alpha", POSITIVE);
const ENCODER_EXPONENT: Argument = Argument::number("encoder_exponent", POSITIVE);
const DECODER_EXPONENT: Argument = Argument::number("decoder_exponent", POSITIVE);
const L_INF: Argument = Argument::number("l_inf", Interval::ANY);
const LEARNING_RATES: Argument = Argument::new("learning_rates", Kind::Numbers("[T+1]"));
const LAMBDA: Argument = Argument::number("lambda", NOT_NEGATIVE.up_to(1.0));
const STEPS: Argument = Argument::new("steps", Kind::Classes("[n]"));

pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "power_law",
        arguments: &[X, L_INF, Argument::number("x0", POSITIVE), ALPHA],
        gradient: &[],
        answer: |request| {
            let number = |name| request.number(name);
            let law = PowerLaw::new(number("l_inf")?, number("x0")?, number("alpha")?)?;
            Ok(Answer::new(vector(law.losses(&request.vector("x")?)?.view())))
        },
    },
    Function {
        name: "power_law_fit",
        arguments: &[
            X,
            LOSS,
            Argument::number("huber_delta", POSITIVE).or(Otherwise::Number(1e-3)),
        ],
        gradient: &[],
        answer: power_law_fit,
    },
    Function {
        name: "huber",
        arguments: &[
            Argument::new("residuals", Kind::Numbers("[n]")),
            Argument::number("delta", POSITIVE),
        ],
        gradient: &[],
        answer: |request| {
            let losses = huber(&request.vector("residuals")?, request.number("delta")?)?;
            Ok(Answer::new(vector(losses.view())))
        },
    },
    Function {
        name: "nmt_scaling_law",
        arguments: &[
            ENCODER,
            DECODER,
            ENCODER_REFERENCE,
            DECODER_REFERENCE,
            ALPHA,
            ENCODER_EXPONENT,
            DECODER_EXPONENT,
            L_INF,
        ],
        gradient: &[],
        answer: |request| {
            let (encoder, decoder) = (request.vector("encoder")?, request.vector("decoder")?);
            let losses = bivariate(request)?.losses(&encoder, &decoder)?;
            Ok(Answer::new(vector(losses.view())))
        },
    },
    Function {
        name: "nmt_scaling_fit",
        arguments: &[ENCODER, DECODER, ENCODER_REFERENCE, DECODER_REFERENCE, LOSS],
        gradient: &[],
        answer: nmt_scaling_fit,
    },
    Function {
        name: "nmt_optimal_split",
        arguments: &[
            Argument::number("budget", POSITIVE),
            ENCODER_REFERENCE,
            DECODER_REFERENCE,
            ALPHA,
            ENCODER_EXPONENT,
            DECODER_EXPONENT,
            L_INF,
        ],
        gradient: &[],
        answer: |request| {
            let split = bivariate(request)?.optimal_split(request.number("budget")?)?;
            Ok(Answer::new(json!({
                "encoder": number(split.encoder),
                "decoder": number(split.decoder),
                "loss": number(split.loss),
            })))
        },
    },
    Function {
        name: "lr_annealing_sums",
        arguments: &[LEARNING_RATES, LAMBDA, STEPS],
        gradient: &[],
        answer: |request| {
            let (s1, s2) = annealing_sums(request)?;
            Ok(Answer::new(json!({ "s1": vector(s1.view()), "s2": vector(s2.view()) })))
        },
    },
    Function {
        name: "lr_annealing_law",
        arguments: &[
            LEARNING_RATES,
            LAMBDA,
            STEPS,
            Argument::number("l0", Interval::ANY),
            Argument::number("a", NOT_NEGATIVE),
            ALPHA,
            Argument::number("c", NOT_NEGATIVE),
        ],
        gradient: &[],
        answer: |request| {
            let number = |name| request.number(name);
            let (l0, a, c) = (number("l0")?, number("a")?, number("c")?);
            let law = AnnealingLaw::new(l0, a, c, number("alpha")?)?;
            let (s1, s2) = annealing_sums(request)?;
            Ok(Answer::new(vector(law.losses(&s1, &s2)?.view())))
        },
    },
    Function {
        name: "lr_annealing_fit",
        arguments: &[
            Argument::new("s1", Kind::Numbers("[n]")),
            Argument::new("s2", Kind::Numbers("[n]")),
            LOSS,
        ],
        gradient: &[],
        answer: lr_annealing_fit,
    },
    Function {
        name: "mutual_information_from_losses",
        arguments: &[
            Argument::number("loss", POSITIVE),
            Argument::number("conditional_loss", Interval::ANY),
        ],
        gradient: &[],
        answer: |request| {
            let (loss, conditional) =
                (request.number("loss")?, request.number("conditional_loss")?);
            let gain = InformationGain::from_losses(loss, conditional)?;
            Ok(Answer::new(json!({
                "mutual_information": number(gain.mutual_information),
                "infogain": number(gain.infogain),
            })))
        },
    },
];

fn power_law_fit(request: &Request) -> Result<Answer> {
    let fit = ScalingFit::builder().huber_delta(request.number("huber_delta")?).build()?;
    let fitted = fit.power_law(&request.vector("x")?, &request.vector("loss")?)?;
    Ok(Answer::new(json!({
        "l_inf": number(fitted.law.l_inf),
        "alpha": number(fitted.law.alpha),
        "x0": number(fitted.law.x0),
        "objective": number(fitted.objective),
    })))
}

fn bivariate(request: &Request) -> Result<BivariateLaw> {
    let number = |name| request.number(name);
    let references = (number("encoder_reference")?, number("decoder_reference")?);
    let exponents = (number("encoder_exponent")?, number("decoder_exponent")?);
    Ok(BivariateLaw::new(references, number("alpha")?, exponents, number("l_inf")?)?)
}

fn nmt_scaling_fit(request: &Request) -> Result<Answer> {
    let (encoder, decoder) = (request.vector("encoder")?, request.vector("decoder")?);
    let references = (request.number("encoder_reference")?, request.number("decoder_reference")?);
    let fit = ScalingFit::builder().build()?;
    let law = fit.bivariate(&encoder, &decoder, references, &request.vector("loss")?)?.law;
    Ok(Answer::new(json!({
        "l_inf": number(law.l_inf),
        "alpha": number(law.alpha),
        "encoder_exponent": number(law.encoder_exponent),
        "decoder_exponent": number(law.decoder_exponent),
    })))
}

/// S1 and S2 at the steps.
fn annealing_sums(request: &Request) -> Result<(Array1<f64>, Array1<f64>)> {
    let rates = request.vector("learning_rates")?;
    let sums = AnnealingSums::builder(&rates).lambda(request.number("lambda")?).build()?;
    let steps = request.vector("steps")?;
    let steps = request.classes("steps", steps.len(), rates.len())?;
    let at: surprisal::Result<Vec<_>> = steps.iter().map(|&step| sums.at(step as usize)).collect();
    Ok(at?.into_iter().unzip::<_, _, Vec<_>, Vec<_>>()).map(|(s1, s2)| (s1.into(), s2.into()))
}

/// By logarithms, or where some loss has none, by differences.
fn lr_annealing_fit(request: &Request) -> Result<Answer> {
    let losses = request.vector("loss")?;
    let residuals = match losses.iter().all(|&loss| loss > 0.0) {
        true => Residuals::Logarithms,
        false => Residuals::Differences,
    };
    let fit = ScalingFit::builder().residuals(residuals).build()?;
    let law = fit.annealing(&request.vector("s1")?, &request.vector("s2")?, &losses)?.law;
    Ok(Answer::new(json!({
        "l0": number(law.l0),
        "a": number(law.a),
        "c": number(law.c),
        "alpha": number(law.alpha),
    })))
}
