//! Reversible columns hold as many states for many columns as for few.

use crate::counting::{alone, peak};
use ndarray::{ArrayD, IxDyn, arr0};
use surprisal::autodiff::{ColumnLevel, Generator, ReversibleColumns, Tape, Variable};

const LEVELS: usize = 2;
const ROWS: usize = 256;
const WIDTH: usize = 32;

fn level<'s>(
    below: Variable<'s, f64>,
    above: Option<Variable<'s, f64>>,
    parameters: &[Variable<'s, f64>],
) -> surprisal::Result<Variable<'s, f64>> {
    let own = below.matmul(parameters[0])?;
    above.map_or(Ok(own), |above| own.add(above)).map(|sum| sum.tanh())
}

/// The most that a forward and a backward hold, of columns that share their parameters; and a gradient.
fn held(count: usize, reversible: bool) -> (usize, ArrayD<f64>) {
    let mut generator = Generator::new(1);
    let weight = generator.normal::<f64>(&[WIDTH, WIDTH], 0.1).unwrap();
    let stem = generator.normal::<f64>(&[ROWS, WIDTH], 1.0).unwrap();
    let (gradient, bytes) = peak(|| {
        let tape = Tape::<f64>::new().unwrap();
        let (x, weight, alpha) = (tape.leaf(&stem), tape.leaf(&weight), tape.leaf(arr0(1.0)));
        let zero = tape.constant(ArrayD::<f64>::zeros(IxDyn(&[ROWS, WIDTH])));
        let mut state = vec![zero; LEVELS];
        if reversible {
            let own = ColumnLevel::new(alpha, &[weight], level);
            let columns = ReversibleColumns::new(vec![vec![own; LEVELS]; count]).unwrap();
            state = columns.keep_every(count).unwrap().forward(x, &state).unwrap();
        } else {
            for _ in 0..count {
                for i in 0..LEVELS {
                    let below = if i == 0 { x } else { state[i - 1] };
                    let own = level(below, state.get(i + 1).copied(), &[weight]).unwrap();
                    state[i] = alpha.mul(state[i]).unwrap().add(own).unwrap();
                }
            }
        }
        let total = state[0].sum().add(state[1].sum()).unwrap();
        total.backward().unwrap().of(weight).unwrap().into_owned()
    });
    (bytes, gradient)
}

#[test]
fn thirty_two_columns_take_the_memory_of_four() {
    let _alone = alone();
    let state = LEVELS * ROWS * WIDTH * size_of::<f64>();
    let (few, _) = held(4, true);
    let (many, gradient) = held(32, true);
    let (plain, wanted) = held(32, false);
    // What a column takes without its numbers: the names of its levels.
    assert!(many <= few + 28 * 4096, "{many} bytes for 32 columns, {few} for 4");
    assert!(few <= 16 * state, "{few} bytes for states of {state}");
    assert!(plain >= 32 * state, "{plain} bytes with every state kept, {state} each");
    let largest = wanted.iter().fold(0.0_f64, |most, g| most.max(g.abs()));
    let off = (&gradient - &wanted).iter().fold(0.0_f64, |most, g| most.max(g.abs()));
    assert!(off <= 1e-6 * largest, "{off:e} of {largest:e}");
    println!(
        "{few} bytes for 4 columns, {many} for 32, {plain} with every state kept; {:e}",
        off / largest
    );
}
