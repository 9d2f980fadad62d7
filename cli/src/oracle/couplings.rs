//! Joint distributions with given marginals.

use ndarray::Array1;
use serde_json::{Value, json};
use surprisal::coupling::{
    BottleneckCoupling, Coupling, EntropyBoundedMap, Unit, mutual_information,
};

use super::answer::{Answer, matrix, vector};
use super::argument::{Argument, Interval, Kind, Otherwise};
use super::function::Function;
use super::refusal::Result;
use super::request::Request;
use crate::output::number;

const P: Argument = Argument::new("p", Kind::Numbers("[n]"));
const Q: Argument = Argument::new("q", Kind::Numbers("[m]"));
const RATE: Argument = Argument::number("rate", Interval::at_least(0.0).or_infinity());
const UNIT: Argument =
    Argument::new("unit", Kind::Word(&["nats", "bits"])).or(Otherwise::Word("nats"));

pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "entropy_bounded_map",
        arguments: &[P, RATE, UNIT],
        gradient: &[],
        answer: entropy_bounded_map,
    },
    Function {
        name: "multi_marginal_coupling",
        arguments: &[Argument::new("marginals", Kind::Numbers("[m][n_k]")), UNIT],
        gradient: &[],
        answer: multi_marginal_coupling,
    },
    Function {
        name: "minimum_entropy_coupling",
        arguments: &[P, Q],
        gradient: &[],
        answer: minimum_entropy_coupling,
    },
    Function {
        name: "bottleneck_coupling",
        arguments: &[P, Q, RATE, UNIT],
        gradient: &[],
        answer: bottleneck_coupling,
    },
    Function {
        name: "joint_mutual_information",
        arguments: &[Argument::new("joint", Kind::Numbers("[n][m]")), UNIT],
        gradient: &[],
        answer: |request| {
            let joint = request.matrix("joint")?;
            Ok(Answer::new(number(mutual_information(joint.view(), unit(request)?)?)))
        },
    },
];

fn unit(request: &Request) -> Result<Unit> {
    Ok(match request.word("unit")? {
        "bits" => Unit::Bits,
        _ => Unit::Nats,
    })
}

fn numbers(values: &[f64]) -> Value {
    values.iter().map(|&x| number(x)).collect()
}

/// −1 for a symbol without mass.
fn labels(map: &EntropyBoundedMap) -> Value {
    let label = |label: &Option<usize>| label.map_or(Value::from(-1), Value::from);
    map.labels().iter().map(label).collect()
}

fn list(request: &Request, name: &str) -> Result<Vec<f64>> {
    request.vector(name).map(|numbers: Array1<f64>| numbers.to_vec())
}

fn entropy_bounded_map(request: &Request) -> Result<Answer> {
    let unit = unit(request)?;
    let map = EntropyBoundedMap::of(&list(request, "p")?, request.number("rate")?, unit)?;
    Ok(Answer::new(json!({
        "labels": labels(&map),
        "masses": numbers(map.masses()),
        "entropy": number(map.entropy(unit)),
    })))
}

fn multi_marginal_coupling(request: &Request) -> Result<Answer> {
    let unit = unit(request)?;
    let coupling = Coupling::greedy(&request.vectors("marginals")?)?;
    let indices: Value = coupling.cells().map(|(at, _)| Value::from(at)).collect();
    Ok(Answer::new(json!({
        "indices": indices,
        "masses": numbers(coupling.masses()),
        "entropy": number(coupling.entropy(unit)),
        "total_correlation": number(coupling.total_correlation(unit)),
    })))
}

fn minimum_entropy_coupling(request: &Request) -> Result<Answer> {
    let (p, q) = (list(request, "p")?, list(request, "q")?);
    let coupling = Coupling::greedy(&[p, q])?;
    let entropies = coupling.marginal_entropies(Unit::Nats);
    Ok(Answer::new(json!({
        "coupling": matrix(coupling.joint()?.view()),
        "entropy": number(coupling.entropy(Unit::Nats)),
        "mutual_information": number(coupling.total_correlation(Unit::Nats)),
        "lower_bound": number(entropies.into_iter().fold(0.0, f64::max)),
    })))
}

fn bottleneck_coupling(request: &Request) -> Result<Answer> {
    let unit = unit(request)?;
    let (p, q) = (list(request, "p")?, list(request, "q")?);
    let coupling = BottleneckCoupling::of(&p, &q, request.number("rate")?, unit)?;
    let joint = coupling.joint()?;
    Ok(Answer::new(json!({
        "labels": labels(coupling.map()),
        "joint": joint.rows().into_iter().map(vector).collect::<Value>(),
        "mutual_information": number(mutual_information(joint.view(), unit)?),
        "bottleneck_entropy": number(coupling.map().entropy(unit)),
        "bottleneck_output_information": number(coupling.mutual_information(unit)),
    })))
}
