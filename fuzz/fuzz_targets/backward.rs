//! The gradients with any options over any shapes, against the oracle; the same bits on one thread
//! and on three.

#![no_main]

#[allow(dead_code)]
mod shared;

use libfuzzer_sys::fuzz_target;
use ndarray::{Array1, Array2, ArrayViewMut1, ArrayViewMut2};
use shared::{Case, Config, Sparse, Stream, Tolerance, cast, inputs, inputs_with};
use std::sync::LazyLock;
use surprisal::{Gradients, MatrixMut, Promote, Real, Reduction, Upstream, VectorMut};

static POOLS: LazyLock<[rayon::ThreadPool; 2]> = LazyLock::new(|| {
    [1, 3].map(|n| rayon::ThreadPoolBuilder::new().num_threads(n).build().expect("threads"))
});

fn check<T, R>(config: &Config, case: &Case)
where
    T: Promote<T, Computed = R>,
    R: Real,
    for<'a> MatrixMut<'a>: From<ArrayViewMut2<'a, R>>,
    for<'a> VectorMut<'a>: From<ArrayViewMut1<'a, R>>,
{
    let (hidden, classifier) = (cast::<T>(&case.hidden), cast::<T>(&case.classifier));
    let sparse = Sparse::of(config, case);
    let inputs = match &sparse {
        Some(sparse) => inputs_with(case, &hidden, &classifier, sparse.targets()),
        None => inputs(case, &hidden, &classifier),
    };
    let loss = config.builder(case).build().expect("options within their domains");
    let cast = |v: &Array1<f64>| v.mapv(R::from_f64);
    let d_loss = cast(&case.d_loss);
    let d_lse = case.d_log_sum_exp.as_ref().map(cast);
    let d_entropy = case.d_entropy.as_ref().map(cast);
    let mut upstream = match case.reduction {
        Reduction::None => Upstream::rows(d_loss.view()),
        _ => Upstream::scalar(R::ONE),
    };
    if let Some(d_lse) = &d_lse {
        upstream = upstream.log_sum_exp(d_lse.view());
    }
    if let Some(d_entropy) = &d_entropy {
        upstream = upstream.entropy(d_entropy.view());
    }
    let nan = R::from_f64(f64::NAN);
    let results = POOLS.each_ref().map(|pool| {
        let mut d_hidden = Array2::from_elem(hidden.dim(), nan);
        let mut d_classifier = Array2::from_elem(classifier.dim(), nan);
        let mut d_bias = Array1::from_elem(classifier.dim().0, nan);
        let gradients = Gradients::new()
            .hidden(d_hidden.view_mut())
            .classifier(d_classifier.view_mut())
            .bias(d_bias.view_mut());
        let run = || loss.loss_and_gradients(&inputs, &upstream, gradients);
        if let Err(error) = pool.install(run) {
            panic!("{error}");
        }
        (d_hidden, d_classifier, d_bias)
    });
    let bits = |(a, b, c): &(Array2<R>, Array2<R>, Array1<R>)| -> Vec<u64> {
        a.iter().chain(b).chain(c).map(|x| x.to_f64().to_bits()).collect()
    };
    assert_eq!(bits(&results[0]), bits(&results[1]), "one thread and three");
    let truth = case.run();
    let tolerance = Tolerance::of(case, &truth, R::EPSILON);
    let [(d_hidden, d_classifier, d_bias), _] = results;
    let near = |what: &str, a: Vec<R>, b: Vec<f64>| {
        let a = a.into_iter().map(R::to_f64);
        Tolerance::check(what, a, &b, 16.0 * R::EPSILON, tolerance.gradient);
    };
    near("dE", d_hidden.iter().copied().collect(), truth.d_hidden.iter().copied().collect());
    let d_truth = truth.d_classifier.iter().copied().collect();
    near("dC", d_classifier.iter().copied().collect(), d_truth);
    near("db", d_bias.to_vec(), truth.d_bias.to_vec());
}

fuzz_target!(|input: (Config, u32, bool, bool)| {
    let (config, seed, lse, entropy) = input;
    let mut case = config.case();
    let rows = case.hidden.dim().0;
    let mut stream = Stream(u64::from(seed));
    let mut vector = || stream.vector(rows, 1.0).mapv(|x| f64::from(x as f32));
    if case.reduction == Reduction::None {
        case.d_loss = vector();
    }
    case.d_log_sum_exp = lse.then(&mut vector);
    case.d_entropy = entropy.then(&mut vector);
    // The numbers of a case are such that every type holds them.
    match (config.narrow, config.half) {
        (true, false) => check::<f32, f32>(&config, &case),
        (true, true) => check::<half::bf16, f32>(&config, &case),
        (false, _) => check::<f64, f64>(&config, &case),
    }
});
