//! Functions of one number that a layer applies.

use ndarray::{Array1, arr0};
use surprisal::autodiff::Tape;

use super::answer::{Answer, vector};
use super::argument::{Argument, Interval, Kind, Otherwise};
use super::function::Function;
use super::refusal::Result;
use super::request::{Request, expect_length};
use crate::output::number;

pub const FUNCTIONS: &[Function] = &[Function {
    name: "crrelu",
    arguments: &[
        Argument::new("inputs", Kind::Numbers("[M]")),
        Argument::number("epsilon", Interval::ANY).or(Otherwise::Number(0.01)),
        Argument::new("cotangent", Kind::Numbers("[M]")).optional(),
    ],
    gradient: &["inputs", "epsilon"],
    answer: crrelu,
}];

fn crrelu(request: &Request) -> Result<Answer> {
    let inputs = request.vector("inputs")?;
    let cotangent = match request.has("cotangent") {
        true => request.vector("cotangent")?,
        false => Array1::ones(inputs.len()),
    };
    expect_length("cotangent", cotangent.len(), inputs.len())?;
    let tape = Tape::<f64>::new()?;
    let x = tape.leaf(inputs);
    let epsilon = tape.leaf(arr0(request.number("epsilon")?));
    let y = x.crrelu(epsilon)?;
    let values: Array1<f64> = y.value().iter().copied().collect();
    let value = vector(values.view());
    if !request.wants_gradient() {
        return Ok(Answer::new(value));
    }
    let gradients = y.mul(tape.constant(cotangent))?.sum().backward()?;
    let of = |variable| gradients.of(variable).map(|gradient| gradient.iter().copied().collect());
    let inputs: Vec<f64> = of(x).unwrap_or_default();
    let by_epsilon: Vec<f64> = of(epsilon).unwrap_or_default();
    Ok(Answer::new(value)
        .with_gradient("inputs", vector(Array1::from(inputs).view()))
        .with_gradient("epsilon", number(by_epsilon.first().copied().unwrap_or(f64::NAN))))
}
