//! Forward, and forward with gradients, over a few shapes; beside them the fold of one row.
//!
//! `cargo bench --bench linear_cross_entropy`

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ndarray::Array2;
use std::hint::black_box;
use surprisal::{Backward, Gradients, Inputs, LinearCrossEntropy, RowState, Upstream};

const SHAPES: [(usize, usize, usize); 4] =
    [(48, 256, 4096), (256, 512, 32_000), (1024, 768, 50_257), (1024, 2304, 32_768)];

/// A wave, cheap to make and without structure.
fn matrix(rows: usize, columns: usize, scale: f32) -> Array2<f32> {
    Array2::from_shape_fn((rows, columns), |(i, j)| scale * ((i * 7919 + j * 104_729) as f32).sin())
}

fn fold(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("row state");
    for length in [256, 50_257] {
        let logits: Vec<f32> = (0..length).map(|i| 4.0 * (i as f32).sin()).collect();
        group.throughput(Throughput::Elements(length as u64));
        group.bench_with_input(BenchmarkId::from_parameter(length), &logits, |bencher, logits| {
            bencher.iter(|| {
                let mut state = RowState::new();
                state.push(0, black_box(logits)).expect("few classes");
                state.log_sum_exp()
            });
        });
    }
}

fn loss(criterion: &mut Criterion) {
    for (rows, width, classes) in SHAPES {
        let hidden = matrix(rows, width, 2.0 / (width as f32).sqrt());
        let classifier = matrix(classes, width, 1.0);
        let targets: Vec<u32> = (0..rows).map(|i| (i * 31 % classes) as u32).collect();
        let inputs = Inputs::new(hidden.view(), classifier.view(), &targets);
        let (mut d_hidden, mut d_classifier) =
            (Array2::<f32>::zeros(hidden.dim()), Array2::<f32>::zeros(classifier.dim()));
        let mut group = criterion.benchmark_group(format!("{rows}×{width}×{classes}"));
        group.sample_size(10);
        // Elements are floating-point operations: 2, 8 and 6 for each of N·D·V.
        let products = (rows * width * classes) as u64;
        let plain = LinearCrossEntropy::builder().build().expect("the defaults");
        group.throughput(Throughput::Elements(2 * products));
        group.bench_function("forward", |bencher| {
            bencher.iter(|| plain.forward(&inputs).expect("fits").loss());
        });
        for (name, backward, factor) in
            [("recompute", Backward::Recompute, 8), ("strip", Backward::Strip, 6)]
        {
            let loss = LinearCrossEntropy::builder().backward(backward).build();
            let loss = loss.expect("the defaults");
            group.throughput(Throughput::Elements(factor * products));
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    let gradients = Gradients::new()
                        .hidden(d_hidden.view_mut())
                        .classifier(d_classifier.view_mut());
                    let upstream = Upstream::default();
                    loss.loss_and_gradients(&inputs, &upstream, gradients).expect("fits").loss()
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, fold, loss);
criterion_main!(benches);
