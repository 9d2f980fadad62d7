//! Any features, categories and samples: terms that add up, or an error of one line.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use ndarray::{Array1, Array2};
use surprisal::diffusion::{MutualInformation, SpectralEntropy};

mod extreme;
use extreme::{Count, Parameter};

#[derive(Arbitrary, Debug)]
struct Input {
    rows: u8,
    columns: u8,
    numbers: Vec<f32>,
    sigma: Parameter,
    time: Parameter,
    categories: Categories,
    repetitions: Count,
    seed: u64,
    samples: Option<Vec<u8>>,
}

#[derive(Arbitrary, Debug)]
enum Categories {
    Labels(Vec<i64>),
    Few(Vec<u8>),
    Scalar(Vec<f64>, Count),
    Vectors(Vec<f32>, Count),
}

fuzz_target!(|input: Input| {
    let (rows, columns) = (usize::from(input.rows % 24), usize::from(input.columns % 4));
    let number = |i: usize| input.numbers.get(i % input.numbers.len().max(1)).copied();
    let features =
        Array2::from_shape_fn((rows, columns), |(i, j)| number(i * columns + j).unwrap_or(1.0));
    let entropy = match SpectralEntropy::builder()
        .sigma(input.sigma.value())
        .time(input.time.value())
        .build()
    {
        Ok(entropy) => entropy,
        Err(error) => return one_line(&error),
    };
    let information = MutualInformation::builder().entropy(entropy).seed(input.seed);
    let information = match input.samples {
        Some(samples) => {
            let repetitions = samples.len() / rows.max(1);
            let samples = samples.into_iter().take(repetitions * rows).map(usize::from).collect();
            let samples = Array2::from_shape_vec((repetitions, rows), samples).unwrap();
            information.samples(samples)
        }
        None => information.repetitions(match input.repetitions {
            // Of a million repetitions an input takes minutes.
            Count::Plain(_) => input.repetitions.value(5),
            Count::End(_) => input.repetitions.value(5).max(1 << 21),
        }),
    };
    let information = match information.build() {
        Ok(information) => information,
        Err(error) => return one_line(&error),
    };
    let features = features.view();
    let found = match input.categories {
        Categories::Labels(labels) => information.of_labels(features, &labels),
        Categories::Few(labels) => {
            let labels: Vec<u8> = labels.iter().map(|label| label % 3).collect();
            information.of_labels(features, &labels)
        }
        Categories::Scalar(scalar, bins) => {
            let scalar = Array1::from(scalar);
            information.of_scalar(features, scalar.view(), bins.value(256))
        }
        Categories::Vectors(numbers, clusters) => {
            let width = numbers.len() / rows.max(1);
            let numbers = numbers.into_iter().take(width * rows).collect();
            let reference = Array2::from_shape_vec((rows, width), numbers).unwrap();
            information.of_vectors(features, reference.view(), clusters.value(256))
        }
    };
    match found {
        Ok(estimate) => {
            let n = rows as f64;
            assert!(estimate.value.abs() <= n.log2() + 1e-9, "{estimate:?}");
            assert_eq!(estimate.classes.iter().map(|class| class.rows).sum::<usize>(), rows);
            let terms: f64 = estimate.classes.iter().map(|class| class.term).sum();
            assert!((terms - estimate.value).abs() <= 1e-12, "{estimate:?}");
            assert!(estimate.standard_error.is_none_or(|error| error >= 0.0));
        }
        Err(error) => one_line(&error),
    }
});

fn one_line(error: &surprisal::Error) {
    let message = error.to_string();
    assert!(!message.is_empty() && !message.contains('\n'), "{message}");
}
