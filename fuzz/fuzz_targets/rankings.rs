//! Losses of rankings of any lists and weights, given and fused, against a plain sum in f64.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use ndarray::{Array2, Axis};
use surprisal::loss::{Candidates, PlaceWeights, PlackettLuce, Rankings};
use surprisal::{Gradients, Inputs, LinearCrossEntropy, Reduction};

#[derive(Arbitrary, Debug)]
struct Input {
    logits: Vec<i16>,
    /// Of a number of halves: up to 2^15/`scale`.
    scale: u8,
    classes: u8,
    lists: Vec<u8>,
    listed: u8,
    weights: Vec<u8>,
}

/// −Σ w_k ln(e^x_k / what is left), each sum for itself.
fn plain(logits: &[f64], order: &[u32], weights: &[f64]) -> f64 {
    let mut left: Vec<bool> = vec![true; logits.len()];
    let mut sum = 0.0;
    for (&class, &weight) in order.iter().zip(weights) {
        if class == Candidates::NONE {
            continue;
        }
        let own = logits[class as usize];
        left[class as usize] = false;
        let rest = logits.iter().zip(&left).filter(|(_, left)| **left).map(|(&x, _)| x);
        let largest = rest.clone().fold(f64::NEG_INFINITY, f64::max);
        // ln(1 + e^d), d what the rest is above the own.
        let log_rest = largest + rest.map(|x| (x - largest).exp()).sum::<f64>().ln();
        if weight > 0.0 && largest > f64::NEG_INFINITY {
            let d = log_rest - own;
            sum += weight * if d > 0.0 { d + (-d).exp().ln_1p() } else { d.exp().ln_1p() };
        }
    }
    sum
}

fuzz_target!(|input: Input| {
    let classes = 1 + usize::from(input.classes % 40);
    let rows = (input.logits.len() / classes).min(6);
    if rows == 0 {
        return;
    }
    let scale = 1.0 + f64::from(input.scale);
    let logits = Array2::from_shape_fn((rows, classes), |(i, v)| {
        f64::from(input.logits[i * classes + v]) / scale
    });
    let listed = 1 + usize::from(input.listed) % classes;
    let mut bytes = input.lists.iter().copied().cycle();
    let mut order = Array2::from_elem((rows, listed), Candidates::NONE);
    for mut row in order.outer_iter_mut() {
        let mut classes: Vec<u32> = (0..classes as u32).collect();
        for place in &mut row {
            let byte = usize::from(bytes.next().unwrap_or(0));
            if byte % 5 != 4 {
                *place = classes.swap_remove(byte % classes.len());
            }
        }
    }
    let mut bytes = input.weights.iter().copied().cycle();
    let weights = Array2::from_shape_simple_fn(order.dim(), || {
        bytes.next().map_or(1.0, |byte| f64::from(byte) / 16.0)
    });
    let rankings = Rankings::new(&order, PlaceWeights::Entries((&weights).into()))
        .expect("classes that stand once, weights of at least 0");
    let loss = PlackettLuce::new().reduction(Reduction::Sum).expect("no divisor");
    let given = loss.of_logits(&rankings, &logits).expect("classes of the columns");
    for (i, row) in logits.outer_iter().enumerate() {
        let wanted = plain(&row.to_vec(), &order.row(i).to_vec(), &weights.row(i).to_vec());
        // Each place's sum of up to 40, and the places'.
        let bound = 128.0 * f64::EPSILON * (wanted + f64::MIN_POSITIVE)
            + 4.0
                * f64::EPSILON
                * weights.row(i).sum()
                * row.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
        assert!((given.values[i] - wanted).abs() <= bound, "{} for {wanted}", given.values[i]);
        // A shift of all logits of a row changes nothing.
        let sum = given.gradient.row(i).sum();
        assert!(sum.abs() <= 128.0 * f64::EPSILON * weights.row(i).sum(), "{sum}");
    }

    let head = LinearCrossEntropy::builder().build().expect("the defaults");
    let inputs = Inputs::unlabelled_logits(&logits).candidates(rankings.candidates());
    let forward = head.forward(&inputs).expect("candidates of the columns");
    let fused = loss.evaluate(&rankings, &forward).expect("its own candidates");
    let mut gradient = Array2::<f64>::zeros(logits.dim());
    head.vjp(&inputs, &forward, &fused.upstream(), Gradients::new().logits(&mut gradient))
        .expect("what the forward has");
    let near = |a: f64, b: f64, weights: f64, spread: f64| {
        (a - b).abs() <= 256.0 * f64::EPSILON * (b.abs() + weights * (1.0 + spread))
    };
    for i in 0..rows {
        let row = logits.row(i);
        let (weight, spread) =
            (weights.row(i).sum(), row.iter().fold(0.0, |m: f64, x| m.max(x.abs())));
        assert!(near(fused.values[i], given.values[i], weight, spread), "row {i}");
        for (&a, &b) in gradient.index_axis(Axis(0), i).iter().zip(given.gradient.row(i)) {
            assert!(near(a, b, weight, spread), "row {i}: {a:e} for {b:e}");
        }
    }
});
