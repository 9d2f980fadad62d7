//! Any features and labels: a number that is not NaN, or an error of one line.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use ndarray::Array2;
use surprisal::classical::{
    Kraskov, Metric, binned_entropy, binned_mutual_information, kozachenko_leonenko_entropy,
    kraskov_mutual_information, ross_mutual_information,
};

#[allow(dead_code)]
mod extreme;
use extreme::Count;

#[derive(Arbitrary, Debug)]
struct Input {
    rows: u8,
    columns: (u8, u8),
    numbers: Vec<f64>,
    /// Of small integers, which have coincident rows.
    plain: bool,
    labels: Vec<u8>,
    samples: Vec<u8>,
    k: Count,
    bins: Count,
}

fn check(name: &str, result: surprisal::Result<f64>) {
    match result {
        Ok(value) => assert!(!value.is_nan() && value < f64::INFINITY, "{name} is {value}"),
        Err(error) => {
            let message = error.to_string();
            assert!(!message.is_empty() && !message.contains('\n'), "{message}");
        }
    }
}

fuzz_target!(|input: Input| {
    let rows = usize::from(input.rows % 40);
    let features = |columns: u8, first: usize| {
        let columns = usize::from(columns % 5);
        Array2::from_shape_fn((rows, columns), |(i, j)| {
            let at = (first + i * columns + j) % input.numbers.len().max(1);
            let number = input.numbers.get(at).copied().unwrap_or(1.0);
            if input.plain { (number % 4.0).round() } else { number }
        })
    };
    let (x, y) = (features(input.columns.0, 0), features(input.columns.1, 7));
    let labels: Vec<i64> = input.labels.iter().map(|&label| i64::from(label % 4)).collect();
    let (k, bins) = (input.k.value(48), input.bins.value(9));
    check("binned", binned_entropy(x.view(), bins));
    let repetitions = input.samples.len() / rows.max(1);
    let samples = input.samples.iter().take(repetitions * rows).map(|&row| usize::from(row) % 48);
    let samples = Array2::from_shape_vec((repetitions, rows), samples.collect()).unwrap();
    check("binned information", binned_mutual_information(x.view(), &labels, bins, samples.view()));
    for metric in [Metric::Euclidean, Metric::Chebyshev] {
        check("Kozachenko and Leonenko", kozachenko_leonenko_entropy(x.view(), k, metric));
    }
    for estimator in [Kraskov::First, Kraskov::Second] {
        check("Kraskov", kraskov_mutual_information(x.view(), y.view(), k, estimator));
    }
    check("Ross", ross_mutual_information(x.view(), &labels, k));
});
