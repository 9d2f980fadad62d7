//! From the exponentials of one row up to forward and gradients over a ladder of shapes.
//!
//! `cargo bench --bench linear_cross_entropy -- FILTER`; the groups are `exp`, `row fold`, `products`,
//! `forward`, `recompute` and `strip`. Elements are floating-point operations of the products (2, 8
//! or 6 for each of N·D·V), or logits.

use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group,
    criterion_main,
};
use half::bf16;
use ndarray::Array2;
use std::hint::black_box;
use std::time::Duration;
use surprisal::{Backward, Element, Gradients, Inputs, LinearCrossEntropy, RowState, Upstream};

/// N, D and V: a few rows, a small batch against a large vocabulary, and two common models.
const LADDER: [[usize; 3]; 5] = [
    [64, 256, 4096],
    [48, 2304, 32_768],
    [256, 512, 32_000],
    [1024, 768, 50_257],
    [1024, 2304, 32_768],
];

/// Shapes whose time is that of the products.
const WIDE: [[usize; 3]; 2] = [[512, 4096, 4096], [12, 4096, 16_384]];

/// A wave, cheap to make and without structure.
fn matrix<T: Element>(rows: usize, columns: usize, scale: f64) -> Array2<T> {
    Array2::from_shape_fn((rows, columns), |(i, j)| {
        T::from_f64(scale * ((i * 7919 + j * 104_729) as f64).sin())
    })
}

/// Hidden states, classifier and targets of a shape.
struct Arrays<T> {
    hidden: Array2<T>,
    classifier: Array2<T>,
    targets: Vec<u32>,
}

impl<T: Element + Element<Real = f32>> Arrays<T> {
    fn new([rows, width, classes]: [usize; 3]) -> Self {
        Self {
            hidden: matrix(rows, width, 2.0 / (width as f64).sqrt()),
            classifier: matrix(classes, width, 1.0),
            targets: (0..rows).map(|i| (i * 31 % classes) as u32).collect(),
        }
    }

    fn inputs(&self) -> Inputs<'_> {
        Inputs::new(self.hidden.view(), self.classifier.view(), &self.targets)
    }
}

fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    // Calls of a second or two: a few samples of one call each.
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    group
}

fn id<T: Element>([rows, width, classes]: [usize; 3]) -> BenchmarkId {
    BenchmarkId::new(T::NAME, format!("{rows}×{width}×{classes}"))
}

/// Blocks in the first-level cache, where exponentials take most of the time, and whole rows.
fn rows(criterion: &mut Criterion) {
    for (name, lengths) in [("exp", [256, 2048]), ("row fold", [50_257, 256_000])] {
        let mut group = criterion.benchmark_group(name);
        for length in lengths {
            let wide: Vec<f64> = (0..length).map(|i| 4.0 * (i as f64).sin()).collect();
            let narrow: Vec<f32> = wide.iter().map(|&logit| logit as f32).collect();
            group.throughput(Throughput::Elements(length as u64));
            group.bench_function(BenchmarkId::new("f32", length), |bencher| {
                bencher.iter(|| {
                    let mut state = RowState::new();
                    state.push(0, black_box(&narrow)).expect("few classes");
                    state.log_sum_exp()
                });
            });
            group.bench_function(BenchmarkId::new("f64", length), |bencher| {
                bencher.iter(|| {
                    let mut state = RowState::new();
                    state.push(0, black_box(&wide)).expect("few classes");
                    state.log_sum_exp()
                });
            });
        }
        group.finish();
    }
}

fn forward<T>(criterion: &mut Criterion, name: &str, shapes: &[[usize; 3]])
where
    T: Element + Element<Real = f32>,
{
    let loss = LinearCrossEntropy::builder().build().expect("the defaults");
    let mut group = group(criterion, name);
    for &shape in shapes {
        let arrays = Arrays::<T>::new(shape);
        let products: usize = shape.iter().product();
        group.throughput(Throughput::Elements(2 * products as u64));
        group.bench_function(id::<T>(shape), |bencher| {
            bencher.iter(|| loss.forward(&arrays.inputs()).expect("fits").loss());
        });
    }
    group.finish();
}

fn gradients<T>(criterion: &mut Criterion, name: &str, backward: Backward, factor: u64)
where
    T: Element + Element<Real = f32>,
{
    let loss = LinearCrossEntropy::builder().backward(backward).build().expect("the defaults");
    let mut group = group(criterion, name);
    for shape in LADDER {
        let arrays = Arrays::<T>::new(shape);
        let mut d_hidden = Array2::<f32>::zeros(arrays.hidden.dim());
        let mut d_classifier = Array2::<f32>::zeros(arrays.classifier.dim());
        let products: usize = shape.iter().product();
        group.throughput(Throughput::Elements(factor * products as u64));
        group.bench_function(id::<T>(shape), |bencher| {
            bencher.iter(|| {
                let gradients = Gradients::new()
                    .hidden(d_hidden.view_mut())
                    .classifier(d_classifier.view_mut());
                let upstream = Upstream::default();
                loss.loss_and_gradients(&arrays.inputs(), &upstream, gradients)
                    .expect("fits")
                    .loss()
            });
        });
    }
    group.finish();
}

fn products(criterion: &mut Criterion) {
    forward::<f32>(criterion, "products", &WIDE);
    forward::<bf16>(criterion, "products", &WIDE);
}

fn ladder(criterion: &mut Criterion) {
    forward::<f32>(criterion, "forward", &LADDER);
    forward::<bf16>(criterion, "forward", &LADDER);
    for (name, backward, factor) in
        [("recompute", Backward::Recompute, 8), ("strip", Backward::Strip, 6)]
    {
        gradients::<f32>(criterion, name, backward, factor);
        gradients::<bf16>(criterion, name, backward, factor);
    }
}

criterion_group!(benches, rows, products, ladder);
criterion_main!(benches);
