//! Log-probabilities under what a sampler draws from.

use ndarray::{Array1, Array2};
use surprisal::loss::{Floors, Ties, Truncation};
use surprisal::{
    Gradients, Inputs, LinearCrossEntropy, LinearCrossEntropyBuilder, Reduction, Statistic,
    Upstream,
};

use super::answer::{Answer, matrix, vector};
use super::argument::{Argument, Kind, Otherwise};
use super::function::Function;
use super::fused::{BIAS, CLASSIFIER, HIDDEN, Head};
use super::logits::{LOGITS, TARGETS, logits, targets};
use super::refusal::{Refusal, Result};
use super::request::{Request, expect_length};
use crate::output::number;

const TEMPERATURE: Argument =
    Argument::new("temperature", Kind::Numbers("one or [N], above 0")).optional();
const TOP_K: Argument =
    Argument::new("top_k", Kind::Numbers("one or [N], whole, from 1")).optional();
const TOP_P: Argument =
    Argument::new("top_p", Kind::Numbers("one or [N], above 0 up to 1")).optional();
const MIN_P: Argument = Argument::new("min_p", Kind::Numbers("one or [N], from 0 to 1")).optional();
const TIES: Argument =
    Argument::new("ties", Kind::Word(&["keep", "lowest_index"])).or(Otherwise::Word("keep"));
const UPSTREAM: Argument = Argument::new("upstream", Kind::Numbers("[N]")).optional();

pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "truncated_log_probability",
        arguments: &[LOGITS, TARGETS, TEMPERATURE, TOP_K, TOP_P, MIN_P, TIES, UPSTREAM],
        gradient: &["logits", "temperature"],
        answer: of_logits,
    },
    Function {
        name: "linear_truncated_log_probability",
        arguments: &[
            HIDDEN,
            CLASSIFIER,
            BIAS,
            TARGETS,
            TEMPERATURE,
            TOP_K,
            TOP_P,
            MIN_P,
            TIES,
            UPSTREAM,
        ],
        gradient: &["hidden", "classifier", "bias", "temperature"],
        answer: of_products,
    },
];

/// What is asked of each row, beside the logits.
struct Asked {
    temperatures: Array1<f64>,
    /// Whether there is one of each row.
    temperature_of_each: bool,
    top_k: Option<Vec<usize>>,
    top_p: Option<Array1<f64>>,
    min_p: Option<Array1<f64>>,
    ties: Ties,
    /// That of the negative log-probabilities.
    upstream: Array1<f64>,
}

impl Asked {
    fn read(request: &Request, rows: usize) -> Result<Self> {
        let each =
            |name| request.has(name).then(|| request.number_or_vector(name, rows)).transpose();
        let temperatures = each("temperature")?;
        let temperature_of_each =
            request.has("temperature") && request.vector("temperature").is_ok();
        let whole = |k: &f64| match k.fract() == 0.0 && *k >= 0.0 && *k <= f64::from(u32::MAX) {
            true => Ok(*k as usize),
            false => Err(Refusal::new(format!("top_k is {k}, expected a whole number from 1 on"))),
        };
        let top_k = each("top_k")?;
        let upstream = match request.has("upstream") {
            true => request.vector("upstream")?,
            false => Array1::ones(rows),
        };
        expect_length("upstream", upstream.len(), rows)?;
        if let Some(i) = upstream.iter().position(|x| !x.is_finite()) {
            let message = format!("upstream[{i}] is {}, expected a finite number", upstream[i]);
            return Err(Refusal::new(message));
        }
        Ok(Self {
            temperatures: temperatures.unwrap_or_else(|| Array1::ones(rows)),
            temperature_of_each,
            top_k: top_k.map(|k| k.iter().map(whole).collect()).transpose()?,
            top_p: each("top_p")?,
            min_p: each("min_p")?,
            ties: match request.word("ties")? {
                "lowest_index" => Ties::LowestIndex,
                _ => Ties::Keep,
            },
            upstream: -upstream,
        })
    }

    fn truncation(&self) -> Truncation<'_> {
        let mut truncation = Truncation::new().ties(self.ties);
        if let Some(k) = &self.top_k {
            truncation = truncation.top_k_of_rows(k);
        }
        if let Some(p) = &self.top_p {
            truncation = truncation.top_p_of_rows(p);
        }
        if let Some(p) = &self.min_p {
            truncation = truncation.min_p_of_rows(p);
        }
        truncation
    }

    fn options() -> LinearCrossEntropyBuilder {
        // The derivative of a temperature needs the entropy.
        LinearCrossEntropy::builder().reduction(Reduction::None).ignore_index(None).entropy(true)
    }

    fn floors(&self, inputs: &Inputs<'_>) -> Result<Floors> {
        Ok(Self::options().build()?.truncate(inputs, &self.truncation())?)
    }

    /// The log-probabilities; gradients where they are asked for.
    fn answer(
        &self,
        request: &Request,
        inputs: &Inputs<'_>,
        gradients: Gradients<'_>,
    ) -> Result<Answer> {
        let loss = Self::options().build()?;
        let forward = match request.wants_gradient() {
            false => loss.forward(inputs)?,
            true => loss.loss_and_gradients(inputs, &Upstream::rows(&self.upstream), gradients)?,
        };
        Ok(Answer::new(vector(forward.statistic(Statistic::LogProbability)?.view())))
    }

    /// The gradient by the temperature, of the shape that it was given in.
    fn with_temperature(&self, request: &Request, answer: Answer, of_rows: &Array1<f64>) -> Answer {
        match (request.has("temperature"), self.temperature_of_each) {
            (false, _) => answer,
            (true, true) => answer.with_gradient("temperature", vector(of_rows.view())),
            (true, false) => answer.with_gradient("temperature", number(of_rows.sum())),
        }
    }
}

fn of_logits(request: &Request) -> Result<Answer> {
    let logits = logits(request, "logits")?;
    let targets = targets(request, &logits)?;
    let asked = Asked::read(request, logits.dim().0)?;
    let mut gradient = Array2::zeros(logits.dim());
    let mut temperature = Array1::zeros(logits.dim().0);
    let gradients = Gradients::new().logits(&mut gradient).temperature(&mut temperature);
    let inputs = Inputs::from_logits(&logits, &targets).temperatures(&asked.temperatures);
    let floors = asked.floors(&inputs)?;
    let answer = asked.answer(request, &inputs.floors(&floors), gradients)?;
    if !request.wants_gradient() {
        return Ok(answer);
    }
    let answer = answer.with_gradient("logits", matrix(gradient.view()));
    Ok(asked.with_temperature(request, answer, &temperature))
}

fn of_products(request: &Request) -> Result<Answer> {
    let head = Head::read(request)?;
    let rows = head.hidden.dim().0;
    let targets = request.classes("targets", rows, head.classifier.dim().0)?;
    let asked = Asked::read(request, rows)?;
    let mut hidden = Array2::zeros(head.hidden.dim());
    let mut classifier = Array2::zeros(head.classifier.dim());
    let mut bias = Array1::zeros(head.classifier.dim().0);
    let mut temperature = Array1::zeros(rows);
    let gradients = Gradients::new()
        .hidden(&mut hidden)
        .classifier(&mut classifier)
        .bias(&mut bias)
        .temperature(&mut temperature);
    let inputs = head.inputs(&targets).temperatures(&asked.temperatures);
    let floors = asked.floors(&inputs)?;
    let answer = asked.answer(request, &inputs.floors(&floors), gradients)?;
    if !request.wants_gradient() {
        return Ok(answer);
    }
    let answer = answer
        .with_gradient("hidden", matrix(hidden.view()))
        .with_gradient("classifier", matrix(classifier.view()));
    let answer = match head.bias {
        Some(_) => answer.with_gradient("bias", vector(bias.view())),
        None => answer,
    };
    Ok(asked.with_temperature(request, answer, &temperature))
}
