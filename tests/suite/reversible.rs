//! Reversible columns: against the same graph with every state kept, their inverse, and where digits end.

use ndarray::{ArrayD, IxDyn, arr0};
use surprisal::autodiff::{ColumnLevel, Generator, ReversibleColumns, Tape, Variable, gradcheck};
use surprisal::{Element, Error, Real, Result};

const LEVELS: usize = 3;

fn level<'s, T: Real>(
    below: Variable<'s, T>,
    above: Option<Variable<'s, T>>,
    parameters: &[Variable<'s, T>],
) -> Result<Variable<'s, T>> {
    let own = below.matmul(parameters[0])?;
    let sum = match above {
        Some(above) => own.add(above.matmul(parameters[1])?)?,
        None => own,
    };
    Ok(sum.tanh())
}

/// Inputs are x, the states, and α and two matrices of each level of each column.
fn columns<'t, T: Real>(inputs: &[Variable<'t, T>]) -> ReversibleColumns<'t, T> {
    let own = |chunk: &[Variable<'t, T>]| ColumnLevel::new(chunk[0], &chunk[1..], level);
    let levels: Vec<_> = inputs[1 + LEVELS..].chunks(3).map(own).collect();
    ReversibleColumns::new(levels.chunks(LEVELS).map(<[_]>::to_vec).collect()).unwrap()
}

/// The same with every value on the tape.
fn kept<'t, T: Real>(inputs: &[Variable<'t, T>]) -> Vec<Variable<'t, T>> {
    let mut state = inputs[1..=LEVELS].to_vec();
    for column in inputs[1 + LEVELS..].chunks(3 * LEVELS) {
        for (i, own) in column.chunks(3).enumerate() {
            let below = if i == 0 { inputs[0] } else { state[i - 1] };
            let result = level(below, state.get(i + 1).copied(), &own[1..]).unwrap();
            state[i] = own[0].mul(state[i]).unwrap().add(result).unwrap();
        }
    }
    state
}

fn numbers(seed: u64, count: usize, alpha: f64, width: usize) -> Vec<ArrayD<f64>> {
    let mut generator = Generator::new(seed);
    let mut normal = |shape: &[usize], deviation: f64| {
        generator.normal::<f64>(shape, deviation).unwrap().into_owned()
    };
    let mut inputs: Vec<_> = (0..=LEVELS).map(|_| normal(&[2, width], 1.0)).collect();
    for _ in 0..count * LEVELS {
        inputs.push(normal(&[width], 0.05) + alpha);
        inputs.extend([normal(&[width, width], 0.3), normal(&[width, width], 0.3)]);
    }
    inputs
}

fn largest_difference<T: Real>(a: &[Vec<f64>], b: &[Vec<T>]) -> f64 {
    let pairs = a.iter().flatten().zip(b.iter().flatten());
    pairs.map(|(a, b)| (a - b.to_f64()).abs()).fold(0.0, f64::max)
}

/// The gradients by all inputs, with every state kept or not.
fn gradients<T: Real>(
    inputs: &[ArrayD<f64>],
    reversible: bool,
    every: usize,
) -> Result<Vec<Vec<f64>>> {
    let tape = Tape::<T>::new().unwrap();
    let leaves: Vec<_> = inputs.iter().map(|own| tape.leaf(own.mapv(T::from_f64))).collect();
    let state = match reversible {
        true => {
            let columns = columns(&leaves);
            let columns = if every > 0 { columns.keep_every(every)? } else { columns };
            columns.forward(leaves[0], &leaves[1..=LEVELS])?
        }
        false => kept(&leaves),
    };
    let mut total = tape.constant(arr0(T::ZERO));
    for (i, own) in state.into_iter().enumerate() {
        total = total.add(own.sum().scale(T::from_f64(1.0 + i as f64)))?;
    }
    let gradients = total.backward()?;
    let of = |leaf: &Variable<'_, T>| match gradients.of(*leaf) {
        Some(gradient) => gradient.iter().map(|g| g.to_f64()).collect(),
        None => vec![0.0; leaf.value().len()],
    };
    Ok(leaves.iter().map(of).collect())
}

#[test]
fn the_gradients_are_those_with_every_state_kept() {
    for (count, alpha) in [(1, 0.5), (4, 1.0), (8, 0.5), (16, 0.5), (5, -0.7), (32, 1.0)] {
        let inputs = numbers(1, count, alpha, 4);
        let wanted = gradients::<f64>(&inputs, false, 0).unwrap();
        let largest = wanted.iter().flatten().fold(0.0_f64, |most, g| most.max(g.abs()));
        let least = inputs[1 + LEVELS..].iter().step_by(3).flatten();
        let least = least.fold(f64::INFINITY, |least, alpha| least.min(alpha.abs()));
        for every in [0, 1, 3] {
            let found = gradients::<f64>(&inputs, true, every).unwrap();
            let off = largest_difference(&wanted, &found);
            // What the docs say of the columns between two kept states, for each such part.
            let between = if every == 0 { kept_by_default(&inputs) } else { every.min(count) };
            let parts = count.div_ceil(between) as f64;
            let bound = parts * 4.0 * f64::EPSILON * (2.6 / least).powi(between as i32);
            assert!(off <= bound * largest, "{count} columns, {alpha}, {every}: {off:e}");
            assert!(bound < 1e-4, "{count} columns, {alpha}, {every}: {bound:e}");
        }
        let found = gradients::<f32>(&inputs, true, 1).unwrap();
        let off = largest_difference(&wanted, &found);
        assert!(off <= 2e-4 * largest.max(1.0), "{count} columns, {alpha}, f32: {off:e}");
    }
}

/// After how many columns a state is kept where nobody says.
fn kept_by_default(inputs: &[ArrayD<f64>]) -> usize {
    let tape = Tape::<f64>::new().unwrap();
    let leaves: Vec<_> = inputs.iter().map(|own| tape.leaf(own.clone())).collect();
    columns(&leaves).columns_between_kept()
}

#[test]
fn the_node_has_the_derivatives_of_everything() {
    let inputs = numbers(2, 2, 0.6, 2);
    let worst = gradcheck(
        |_, inputs| {
            let state = columns(inputs).forward(inputs[0], &inputs[1..=LEVELS])?;
            state[0].add(state[1].scale(2.0))?.sub(state[2])
        },
        &inputs,
    );
    let worst = worst.unwrap();
    assert!(worst.error < 1e-8, "{worst:?}");
}

#[test]
fn the_tape_does_not_grow_with_the_columns() {
    let nodes = |count| {
        let tape = Tape::<f64>::new().unwrap();
        let inputs = numbers(3, 1, 0.8, 3);
        let leaves: Vec<_> = inputs.iter().map(|own| tape.leaf(own.clone())).collect();
        let column: Vec<_> = leaves[1 + LEVELS..]
            .chunks(3)
            .map(|own| ColumnLevel::new(own[0], &own[1..], level))
            .collect();
        let columns = ReversibleColumns::new(vec![column; count]).unwrap();
        let before = tape.len();
        columns.forward(leaves[0], &leaves[1..=LEVELS]).unwrap();
        tape.len() - before
    };
    assert_eq!(nodes(1), nodes(12));
}

#[test]
fn single_precision_keeps_states_where_it_must_and_says_where_it_did_not() {
    let inputs = numbers(4, 24, 0.5, 4);
    let wanted = gradients::<f64>(&inputs, false, 0).unwrap();
    let found = gradients::<f32>(&inputs, true, 0).unwrap();
    let off = largest_difference(&wanted, &found);
    assert!(off < 2e-3, "{off:e}");
    let error = gradients::<f32>(&inputs, true, 24).unwrap_err();
    assert!(error.to_string().contains("before column 0 was recovered"), "{error}");

    let tape = Tape::<f32>::new().unwrap();
    let leaves: Vec<_> = inputs.iter().map(|own| tape.leaf(own.mapv(f32::from_f64))).collect();
    let between = columns(&leaves).columns_between_kept();
    assert!((3..=5).contains(&between), "{between}");
}

#[test]
fn the_inverse_of_the_forward_is_where_it_began() {
    let inputs = numbers(5, 6, 0.9, 3);
    let tape = Tape::<f64>::new().unwrap();
    let leaves: Vec<_> = inputs.iter().map(|own| tape.leaf(own.clone())).collect();
    let columns = columns(&leaves);
    let last = columns.forward(leaves[0], &leaves[1..=LEVELS]).unwrap();
    for (found, wanted) in columns.invert(leaves[0], &last).unwrap().iter().zip(&inputs[1..]) {
        let off = (found - wanted).iter().fold(0.0_f64, |most, x| most.max(x.abs()));
        assert!(off <= 64.0 * f64::EPSILON * (3.0_f64 / 0.9).powi(6), "{off:e}");
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    let tape = Tape::<f64>::new().unwrap();
    assert!(matches!(ReversibleColumns::<f64>::new(vec![]), Err(Error::Conflict { .. })));
    let x = tape.leaf(ArrayD::<f64>::ones(IxDyn(&[1, 2])));
    let with = |alpha: f64| {
        let own = ColumnLevel::new(tape.leaf(arr0(alpha)), &[], |below, _, _| Ok(below.tanh()));
        ReversibleColumns::new(vec![vec![own]]).unwrap()
    };
    for bad in [0.0, -0.0, 9e-4, f64::NAN, f64::INFINITY] {
        let error = with(bad).forward(x, &[x]).unwrap_err().to_string();
        assert!(error.contains("alpha[0, 0]"), "{error}");
    }
    assert!(with(9e-4).minimum_alpha(1e-4).unwrap().forward(x, &[x]).is_ok());
    assert!(with(-1e-3).forward(x, &[x]).is_ok());
    let error = with(0.5).forward(x, &[x, x]).unwrap_err().to_string();
    assert!(error.contains("state has shape [2]"), "{error}");
    let wide = tape.leaf(ArrayD::<f64>::ones(IxDyn(&[3, 2])));
    let error = with(0.5).forward(wide, &[x]).unwrap_err().to_string();
    assert!(error.contains("the result of a level has shape [3, 2]"), "{error}");
    assert!(with(0.5).keep_every(0).is_err() && with(0.5).tolerance(0.0).is_err());
    let other = Tape::<f64>::new().unwrap();
    let foreign = other.leaf(ArrayD::<f64>::ones(IxDyn(&[1, 2])));
    let error = with(0.5).forward(foreign, &[x]).unwrap_err().to_string();
    assert!(error.contains("another tape"), "{error}");
}
