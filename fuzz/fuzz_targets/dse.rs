//! Any features and options: an entropy between 0 and log N, or an error of one line.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use ndarray::Array2;
use surprisal::diffusion::{Bandwidth, Base, Epsilon, Method, Operator, SpectralEntropy};

mod extreme;
use extreme::{Count, Parameter};

#[derive(Arbitrary, Debug)]
struct Input {
    rows: u8,
    columns: u8,
    /// Read as they are: NaN, infinity, subnormal numbers and all.
    numbers: Vec<f64>,
    /// Rounded to a coarse grid: coincident points and ties.
    coarse: bool,
    sigma: Parameter,
    rule: u8,
    time: Parameter,
    alpha: Parameter,
    operator: u8,
    neighbors: Count,
    method: u8,
    tolerance: Option<Parameter>,
    probes: u8,
    seed: u64,
    indices: Option<Vec<u8>>,
    max_rows: Option<u8>,
    clean: bool,
}

fuzz_target!(|input: Input| {
    let (rows, columns) = (usize::from(input.rows % 40), usize::from(input.columns % 6));
    let features = Array2::from_shape_fn((rows, columns), |(i, j)| {
        let x = input.numbers.get((i * columns + j) % input.numbers.len().max(1)).copied();
        let x = x.unwrap_or(0.5);
        if input.coarse { (x % 8.0).round() } else { x }
    });
    let neighbors = input.neighbors.value(48);
    let operator = match input.operator % 8 {
        0 => Operator::Adjacency,
        1 => Operator::BinaryNeighbors { neighbors },
        2 => Operator::AdaptiveNeighbors { neighbors },
        3 => Operator::MatrixEntries,
        4 => Operator::SelfTuning { neighbors },
        _ => Operator::Diffusion,
    };
    let bandwidth = match input.rule % 8 {
        0 => Bandwidth::SqrtDimension,
        1 => Bandwidth::MedianDistance,
        2 => Bandwidth::NeighborDistance { neighbors },
        _ => Bandwidth::Sigma(input.sigma.value()),
    };
    let method = match input.method % 4 {
        0 => Method::Auto,
        1 => Method::Exact,
        2 => Method::LowRank,
        _ => Method::Lanczos,
    };
    let mut builder = SpectralEntropy::builder()
        .operator(operator)
        .bandwidth(bandwidth)
        .time(input.time.value())
        .alpha(input.alpha.value())
        .method(method)
        .probes(usize::from(input.probes % 16))
        .base(Base::Bits)
        .epsilon(if input.clean { Epsilon::Clean } else { Epsilon::Reference })
        .seed(input.seed);
    if let Some(tolerance) = input.tolerance {
        builder = builder.tolerance(tolerance.value());
    }
    if let Some(indices) = &input.indices {
        builder = builder.indices(indices.iter().map(|&i| usize::from(i)).collect());
    }
    if let Some(max_rows) = input.max_rows {
        builder = builder.max_rows(usize::from(max_rows));
    }
    let found = builder.build().and_then(|entropy| entropy.estimate(features.view()));
    match found {
        Ok(estimate) => {
            let n = estimate.rows as f64;
            let terms = if operator == Operator::MatrixEntries { n * n } else { n };
            let high = terms.log2() + 1e-12 * terms + 1e-9;
            assert!((-1e-12..=high).contains(&estimate.value), "{estimate:?}");
            assert!(estimate.error_bound.is_none_or(|bound| bound >= 0.0), "{estimate:?}");
            assert!(estimate.standard_error.is_none_or(|error| error >= 0.0), "{estimate:?}");
            assert!(estimate.method != Method::Auto);
        }
        Err(error) => {
            let message = error.to_string();
            assert!(!message.is_empty() && !message.contains('\n'), "{message}");
        }
    }
});
