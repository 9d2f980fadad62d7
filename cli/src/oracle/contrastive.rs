//! Losses of a batch of scores against itself.

use ndarray::{Array1, Array2, ArrayView2};
use serde_json::json;
use surprisal::autodiff::Tape;
use surprisal::contrastive::{
    EppsPulley, InfoNce, MannWhitney, PairReduction, Repri, SigReg, SupervisedContrastive, in_batch,
};
use surprisal::{Error, Gradients, Inputs, LinearCrossEntropy, Upstream};

use super::answer::{Answer, matrix, vector};
use super::argument::{Argument, Interval, Kind, Otherwise};
use super::function::Function;
use super::logits::logits;
use super::refusal::{Refusal, Result};
use super::request::Request;
use crate::output::number;

const TEMPERATURE: Argument = Argument::number("temperature", Interval::above(0.0));
const T_MAX: Argument = Argument::number("t_max", Interval::above(0.0)).or(Otherwise::Number(3.0));
const POINTS: Argument =
    Argument::number("points", Interval::at_least(3.0)).or(Otherwise::Number(17.0));

pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "info_nce",
        arguments: &[
            Argument::new("scores", Kind::Numbers("[B][M], M from B on")),
            TEMPERATURE.or(Otherwise::Number(1.0)),
            Argument::new("symmetric", Kind::Flag).or(Otherwise::Flag(false)),
        ],
        gradient: &["scores"],
        answer: info_nce,
    },
    Function {
        name: "info_nce_bound",
        arguments: &[
            Argument::new("view_a", Kind::Numbers("[N][D], N from 2 on")),
            Argument::new("view_b", Kind::Numbers("[N][D]")),
            TEMPERATURE.or(Otherwise::Number(0.1)),
        ],
        gradient: &["view_a", "view_b"],
        answer: info_nce_bound,
    },
    Function {
        name: "supervised_contrastive",
        arguments: &[
            Argument::new("features", Kind::Numbers("[M][D]")),
            Argument::new("labels", Kind::Classes("[M], each at least twice")),
            TEMPERATURE.or(Otherwise::Number(0.1)),
        ],
        gradient: &["features"],
        answer: supervised_contrastive,
    },
    Function {
        name: "mw",
        arguments: &[
            Argument::new("scores", Kind::Numbers("[B][M], M from B on")),
            TEMPERATURE.or(Otherwise::Number(1.0)),
            Argument::new("reduction", Kind::Word(&["paper", "mean"])).or(Otherwise::Word("paper")),
        ],
        gradient: &["scores"],
        answer: mann_whitney,
    },
    Function {
        name: "repri",
        arguments: &[
            Argument::new("support_logits", Kind::Numbers("[S][K]")),
            Argument::new("support_targets", Kind::Classes("[S]")),
            Argument::new("query_logits", Kind::Numbers("[Q][K]")),
            Argument::new("prior", Kind::Numbers("[K]")),
            Argument::number("weight_entropy", Interval::at_least(0.0)).or(Otherwise::Number(1.0)),
            Argument::number("weight_kl", Interval::at_least(0.0)).or(Otherwise::Number(1.0)),
        ],
        gradient: &["support_logits", "query_logits"],
        answer: repri,
    },
    Function {
        name: "in_batch_concept_loss",
        arguments: &[
            Argument::new("states", Kind::Numbers("[N][D]")),
            Argument::new("concepts", Kind::Numbers("[M][D]")),
            Argument::new("labels", Kind::Numbers("[N], -100 or a row of concepts")),
            Argument::new("layer_norm", Kind::Word(&["none", "normal", "variance_only"]))
                .or(Otherwise::Word("none")),
            Argument::number("epsilon", Interval::at_least(0.0)).optional(),
            Argument::new("weight", Kind::Numbers("[D]")).optional(),
            Argument::new("bias", Kind::Numbers("[D]")).optional(),
        ],
        gradient: &["states", "concepts", "weight", "bias"],
        answer: in_batch_concept_loss,
    },
    Function {
        name: "epps_pulley",
        arguments: &[
            Argument::new("samples", Kind::Numbers("[N]")),
            Argument::new("integration", Kind::Word(&["trapezoid", "exact"]))
                .or(Otherwise::Word("trapezoid")),
            T_MAX,
            POINTS,
        ],
        gradient: &["samples"],
        answer: epps_pulley,
    },
    Function {
        name: "sigreg",
        arguments: &[
            Argument::new("features", Kind::Numbers("[N][D]")),
            Argument::new("directions", Kind::Numbers("[D][K]")),
            T_MAX,
            POINTS,
            Argument::new("reduction", Kind::Word(&["mean", "sum", "none"]))
                .or(Otherwise::Word("mean")),
        ],
        gradient: &["features"],
        answer: sigreg,
    },
];

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

fn info_nce_bound(request: &Request) -> Result<Answer> {
    let (a, b) = (request.matrix("view_a")?, request.matrix("view_b")?);
    if a.nrows() < 2 || a.nrows() != b.nrows() {
        return Err(Refusal::new(format!(
            "view_a has {} rows and view_b {}, expected the same number, 2 at least",
            a.nrows(),
            b.nrows()
        )));
    }
    let (mut by_a, mut by_b) = (Array2::<f64>::zeros(a.dim()), Array2::<f64>::zeros(b.dim()));
    let gradients = Gradients::new().hidden(&mut by_a).classifier(&mut by_b);
    let info_nce = InfoNce::new(request.number("temperature")?)?;
    let loss = info_nce.loss_and_gradients(&a, &b, gradients)?.loss;
    let most = (a.nrows() as f64).ln();
    let answer = Answer::new(json!({
        "loss": number(loss),
        "mutual_information_bound": number(most - loss),
        "normalized_bound": number(1.0 - loss / most),
    }));
    Ok(match request.wants_gradient() {
        true => answer
            .with_gradient("view_a", matrix(by_a.view()))
            .with_gradient("view_b", matrix(by_b.view())),
        false => answer,
    })
}

fn supervised_contrastive(request: &Request) -> Result<Answer> {
    let features = request.matrix("features")?;
    let labels = request.classes("labels", features.nrows(), u32::MAX as usize)?;
    let mut gradient = Array2::<f64>::zeros(features.dim());
    let supcon = SupervisedContrastive::new(request.number("temperature")?)?;
    let gradients = Gradients::new().hidden(&mut gradient);
    let contrast = supcon.loss_and_gradients(&features, &labels, gradients)?;
    Ok(with_gradient(request, number(contrast.loss), "features", &gradient))
}

fn mann_whitney(request: &Request) -> Result<Answer> {
    let scores = request.matrix("scores")?;
    let reduction = match request.word("reduction")? {
        "mean" => PairReduction::Mean,
        _ => PairReduction::PerPositive,
    };
    let loss = MannWhitney::new(request.number("temperature")?)?.reduction(reduction);
    let (contrast, gradient) = loss.of_scores(&scores)?;
    Ok(with_gradient(request, number(contrast.loss), "scores", &gradient))
}

fn repri(request: &Request) -> Result<Answer> {
    let (support, query) = (request.matrix("support_logits")?, request.matrix("query_logits")?);
    let targets = request.classes("support_targets", support.nrows(), support.ncols())?;
    let repri = Repri::new(&request.vector("prior")?)?
        .weights(request.number("weight_entropy")?, request.number("weight_kl")?)?;
    let mut by_support = Array2::<f64>::zeros(support.dim());
    let mut by_query = Array2::<f64>::zeros(query.dim());
    let losses = repri.loss_and_gradients(
        &Inputs::from_logits(&support, &targets),
        &Inputs::unlabelled_logits(&query),
        Gradients::new().logits(&mut by_support),
        Gradients::new().logits(&mut by_query),
    )?;
    let answer = Answer::new(json!({
        "loss": number(losses.loss),
        "cross_entropy": number(losses.cross_entropy),
        "entropy": number(losses.entropy),
        "kl_proportion": number(losses.kl_proportion),
        "proportion": vector(losses.proportion.view()),
    }));
    Ok(match request.wants_gradient() {
        true => answer
            .with_gradient("support_logits", matrix(by_support.view()))
            .with_gradient("query_logits", matrix(by_query.view())),
        false => answer,
    })
}

/// The concepts are normalized on a tape, which takes their gradient further.
fn in_batch_concept_loss(request: &Request) -> Result<Answer> {
    let (states, concepts) = (request.matrix("states")?, request.matrix("concepts")?);
    let labels = request.vector("labels")?;
    let whole = |(i, &label): (usize, &f64)| match label.fract() == 0.0 && label.abs() < 1e15 {
        true => Ok(label as i64),
        false => Err(Refusal::new(format!("labels[{i}] is {label}, expected a whole number"))),
    };
    let labels: Vec<i64> = labels.iter().enumerate().map(whole).collect::<Result<_>>()?;
    let norm = request.word("layer_norm")?;
    let epsilon = match (request.has("epsilon"), norm) {
        (true, _) => request.number("epsilon")?,
        (false, "variance_only") => 1e-6,
        (false, _) => 1e-5,
    };
    let tape = Tape::<f64>::new()?;
    let concept_leaf = tape.leaf(concepts);
    let factor = |name| match request.has(name) {
        true => request.vector(name).map(|numbers| Some(tape.leaf(numbers))),
        false => Ok(None),
    };
    let (weight, bias) = (factor("weight")?, factor("bias")?);
    let mut normed = match norm {
        "normal" => concept_leaf.layer_norm(weight, bias, epsilon)?,
        "variance_only" => concept_leaf.rms_norm(weight, epsilon)?,
        _ => match weight {
            Some(weight) => concept_leaf.mul(weight)?,
            None => concept_leaf,
        },
    };
    if let Some(bias) = bias.filter(|_| norm != "normal") {
        normed = normed.add(bias)?;
    }
    let classifier: Array2<f64> = rows(normed.value().into_owned())?;
    let (mut by_states, mut by_classifier) =
        (Array2::<f64>::zeros(states.dim()), Array2::<f64>::zeros(classifier.dim()));
    let gradients = Gradients::new().hidden(&mut by_states).classifier(&mut by_classifier);
    let found = in_batch::loss_and_gradients(&states, &classifier, &labels, gradients)?;
    let mut answer = Answer::new(json!({
        "loss": number(found.loss),
        "mean_reciprocal_rank": number(found.mean_reciprocal_rank),
    }));
    if request.wants_gradient() {
        let gradients = normed.backward_with(by_classifier)?;
        let of = |leaf| gradients.of(leaf).map(|by| by.to_owned());
        answer = answer.with_gradient("states", matrix(by_states.view()));
        if let Some(by) = of(concept_leaf) {
            answer = answer.with_gradient("concepts", matrix(rows(by)?.view()));
        }
        for (name, leaf) in [("weight", weight), ("bias", bias)] {
            if let Some(by) = leaf.and_then(of) {
                let by: Array1<f64> = by.iter().copied().collect();
                answer = answer.with_gradient(name, vector(by.view()));
            }
        }
    }
    Ok(answer)
}

fn rows(numbers: ndarray::ArrayD<f64>) -> Result<Array2<f64>> {
    numbers.into_dimensionality().map_err(|error| Refusal::new(format!("concepts: {error}")))
}

fn trapezoid(request: &Request) -> Result<EppsPulley> {
    let points = request.number("points")?;
    if points.fract() != 0.0 || points > 1e6 {
        let value = points.to_string();
        return Err(Error::Option {
            name: "points",
            value,
            expected: "an odd number of at least 3",
        }
        .into());
    }
    Ok(EppsPulley::trapezoid(request.number("t_max")?, points as usize)?)
}

fn epps_pulley(request: &Request) -> Result<Answer> {
    let samples = request.vector("samples")?;
    let test = match request.word("integration")? {
        "exact" => EppsPulley::exact(),
        _ => trapezoid(request)?,
    };
    let (value, gradient) = test.statistic_and_gradient(&samples)?;
    let answer = Answer::new(number(value));
    Ok(match request.wants_gradient() {
        true => answer.with_gradient("samples", vector(gradient.view())),
        false => answer,
    })
}

fn sigreg(request: &Request) -> Result<Answer> {
    let features = request.matrix("features")?;
    let reduction = request.word("reduction")?;
    let sigreg = SigReg::new(&request.matrix("directions")?)?
        .test(trapezoid(request)?)
        .summed(reduction == "sum");
    if reduction == "none" {
        if request.wants_gradient() {
            let message =
                "sigreg has no gradient with reduction \"none\", expected \"mean\" or \"sum\"";
            return Err(Refusal::new(message));
        }
        return Ok(Answer::new(vector(sigreg.each(&features)?.view())));
    }
    let (value, gradient) = sigreg.loss_and_gradient(&features)?;
    Ok(with_gradient(request, number(value), "features", &gradient))
}

fn with_gradient(
    request: &Request,
    value: serde_json::Value,
    argument: &'static str,
    gradient: &Array2<f64>,
) -> Answer {
    let answer = Answer::new(value);
    match request.wants_gradient() {
        true => answer.with_gradient(argument, matrix(gradient.view())),
        false => answer,
    }
}
