//! Reversible columns, with levels of tanh over a linear map.

use ndarray::{Array1, Array2, ArrayD, IxDyn};
use serde_json::{Value, json};
use surprisal::autodiff::{ColumnLevel, ReversibleColumns, Tape, Variable, clamp_column_alpha};

use super::answer::{Answer, matrix, vector};
use super::argument::{Argument, Interval, Kind, Otherwise};
use super::function::Function;
use super::refusal::{Refusal, Result};
use super::request::Request;
use crate::output::number;

const INPUT: Argument = Argument::new("input", Kind::Numbers("[D]"));
const STATE: Argument = Argument::new("state", Kind::Numbers("[L][D]"));
const ALPHAS: Argument = Argument::new("alphas", Kind::Numbers("[J][L]"));
const DOWN: Argument = Argument::new("down", Kind::Numbers("[J][L][D][D]"));
const UP: Argument = Argument::new("up", Kind::Numbers("[J][L-1][D][D]"));
const BIAS: Argument = Argument::new("bias", Kind::Numbers("[J][L][D]"));

pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "reversible_columns",
        arguments: &[
            INPUT,
            STATE,
            ALPHAS,
            DOWN,
            UP,
            BIAS,
            Argument::new("cotangent", Kind::Numbers("[L][D]")).optional(),
        ],
        gradient: &["input", "state", "alphas", "down", "up", "bias"],
        answer: forward,
    },
    Function {
        name: "reversible_columns_inverse",
        arguments: &[INPUT, STATE, ALPHAS, DOWN, UP, BIAS],
        gradient: &[],
        answer: inverse,
    },
    Function {
        name: "clamp_column_alpha",
        arguments: &[
            Argument::new("alpha", Kind::Numbers("[N]")),
            Argument::number("minimum", Interval::above(0.0)).or(Otherwise::Number(1e-3)),
        ],
        gradient: &[],
        answer: clamp,
    },
];

/// What the arguments make on a tape.
struct Made<'t> {
    x: Variable<'t, f64>,
    state: Vec<Variable<'t, f64>>,
    columns: ReversibleColumns<'t, f64>,
    /// α, D, U and β, in the order of the columns and of the levels.
    parameters: [Vec<Variable<'t, f64>>; 4],
    /// J, L and D.
    sizes: [usize; 3],
}

fn made<'t>(tape: &'t Tape<f64>, request: &Request) -> Result<Made<'t>> {
    let (input, state, alphas) =
        (request.vector("input")?, request.matrix("state")?, request.matrix("alphas")?);
    let (levels, width, count) = (state.nrows(), input.len(), alphas.nrows());
    if state.ncols() != width || alphas.ncols() != levels {
        return Err(Refusal::new(format!(
            "state is {levels} by {} and alphas {count} by {}, expected {levels} by {width} and {count} by {levels}",
            state.ncols(),
            alphas.ncols()
        )));
    }
    let leaves = |name, shape: &[usize], own: usize| -> Result<Vec<Variable<'t, f64>>> {
        let numbers = request.array(name, shape)?;
        let size: usize = shape[own..].iter().product();
        let one = |numbers: &[f64]| {
            let array = ArrayD::from_shape_vec(IxDyn(&shape[own..]), numbers.to_vec());
            array.map(|array| tape.leaf(array)).map_err(|e| Refusal::new(format!("{name}: {e}")))
        };
        numbers.chunks(size).map(one).collect()
    };
    let alpha = leaves("alphas", &[count, levels], 2)?;
    let down = leaves("down", &[count, levels, width, width], 2)?;
    let up = leaves("up", &[count, levels - 1, width, width], 2)?;
    let bias = leaves("bias", &[count, levels, width], 2)?;
    let level = |j: usize, i: usize| {
        let own = j * levels + i;
        let mut parameters = vec![down[own], bias[own]];
        if i + 1 < levels {
            parameters.push(up[j * (levels - 1) + i]);
        }
        ColumnLevel::new(alpha[own], &parameters, |below, above, parameters| {
            // Rows in place of columns: a Dᵀ.
            let sum = below.matmul(parameters[0].transpose()?)?.add(parameters[1])?;
            let sum = match above {
                Some(above) => sum.add(above.matmul(parameters[2].transpose()?)?)?,
                None => sum,
            };
            Ok(sum.tanh())
        })
    };
    let column = |j| (0..levels).map(|i| level(j, i)).collect();
    let columns = ReversibleColumns::new((0..count).map(column).collect())?;
    let row = |numbers: &[f64]| tape.leaf(Array2::from_shape_fn((1, width), |(_, i)| numbers[i]));
    let state = state.rows().into_iter().map(|own| row(&own.to_vec())).collect();
    let x = row(&input.to_vec());
    Ok(Made {
        x,
        state,
        columns,
        parameters: [alpha, down, up, bias],
        sizes: [count, levels, width],
    })
}

fn rows(levels: impl IntoIterator<Item = Vec<f64>>, width: usize) -> Result<Array2<f64>> {
    let numbers: Vec<f64> = levels.into_iter().flatten().collect();
    let shape = (numbers.len() / width, width);
    Array2::from_shape_vec(shape, numbers).map_err(|error| Refusal::new(format!("state: {error}")))
}

fn forward(request: &Request) -> Result<Answer> {
    let tape = Tape::<f64>::new()?;
    let Made { x, state, columns, parameters, sizes } = made(&tape, request)?;
    let [count, levels, width] = sizes;
    let last = columns.forward(x, &state)?;
    let numbers = |variable: &Variable<'_, f64>| variable.value().iter().copied().collect();
    let value = rows(last.iter().map(numbers), width)?;
    let answer = Answer::new(json!({ "state": matrix(value.view()) }));
    let cotangent = match request.has("cotangent") {
        true => request.array("cotangent", &[levels, width])?,
        false => vec![1.0; levels * width],
    };
    if !request.wants_gradient() {
        return Ok(answer);
    }
    let mut total = tape.constant(ndarray::arr0(0.0));
    for (own, weights) in last.iter().zip(cotangent.chunks(width)) {
        let weights = tape.constant(Array1::from(weights.to_vec()));
        total = total.add(own.mul(weights)?.sum())?;
    }
    let gradients = total.backward()?;
    let of = |leaf: &Variable<'_, f64>| -> Vec<f64> {
        match gradients.of(*leaf) {
            Some(gradient) => gradient.iter().copied().collect(),
            None => vec![0.0; leaf.value().len()],
        }
    };
    let [alpha, down, up, bias] = &parameters;
    let all = |leaves: &[Variable<'_, f64>]| leaves.iter().flat_map(of).collect::<Vec<f64>>();
    Ok(answer
        .with_gradient("input", nested(&of(&x), &[width]))
        .with_gradient("state", nested(&all(&state), &[levels, width]))
        .with_gradient("alphas", nested(&all(alpha), &[count, levels]))
        .with_gradient("down", nested(&all(down), &[count, levels, width, width]))
        .with_gradient("up", nested(&all(up), &[count, levels - 1, width, width]))
        .with_gradient("bias", nested(&all(bias), &[count, levels, width])))
}

/// Arrays in arrays.
fn nested(numbers: &[f64], shape: &[usize]) -> Value {
    let Some((&length, below)) = shape.split_first() else { return number(numbers[0]) };
    let size: usize = below.iter().product();
    (0..length).map(|i| nested(&numbers[i * size..(i + 1) * size], below)).collect()
}

fn inverse(request: &Request) -> Result<Answer> {
    let tape = Tape::<f64>::new()?;
    let Made { x, state, columns, sizes, .. } = made(&tape, request)?;
    let first = columns.invert(x, &state)?;
    let value = rows(first.iter().map(|own| own.iter().copied().collect()), sizes[2])?;
    Ok(Answer::new(json!({ "state": matrix(value.view()) })))
}

fn clamp(request: &Request) -> Result<Answer> {
    let mut alpha = request.vector("alpha")?.to_vec();
    clamp_column_alpha(&mut alpha, request.number("minimum")?)?;
    Ok(Answer::new(vector(Array1::from(alpha).view())))
}
