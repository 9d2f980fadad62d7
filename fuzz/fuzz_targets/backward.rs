//! The gradients with any options over any shapes, against the oracle, but for what a filter may
//! leave out; for some inputs the same bits on one thread and on three.

#![no_main]

#[allow(dead_code)]
mod shared;

use libfuzzer_sys::fuzz_target;
use ndarray::{Array1, Array2, ArrayViewMut1, ArrayViewMut2, Axis};
use shared::{Case, Config, Droppable, Sparse, Stream, Tolerance, cast, inputs, inputs_with};
use std::sync::LazyLock;
use surprisal::{DroppedMass, Element, Gradients, MatrixMut, Real, Reduction, Upstream, VectorMut};

static POOLS: LazyLock<[rayon::ThreadPool; 2]> = LazyLock::new(|| {
    [1, 3].map(|n| rayon::ThreadPoolBuilder::new().num_threads(n).build().expect("threads"))
});

fn check<T, R>(config: &Config, case: &Case)
where
    T: Element<Real = R>,
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
        _ => Upstream::scalar(1.0),
    };
    if let Some(d_lse) = &d_lse {
        upstream = upstream.log_sum_exp(d_lse.view());
    }
    if let Some(d_entropy) = &d_entropy {
        upstream = upstream.entropy(d_entropy.view());
    }
    let nan = R::from_f64(f64::NAN);
    let mut reports = Vec::new();
    let pools = &POOLS[..if config.on_threads() { 2 } else { 1 }];
    let results = pools.iter().map(|pool| {
        let mut d_hidden = Array2::from_elem(hidden.dim(), nan);
        let mut d_classifier = Array2::from_elem(classifier.dim(), nan);
        let mut d_bias = Array1::from_elem(classifier.dim().0, nan);
        let gradients = Gradients::new()
            .hidden(d_hidden.view_mut())
            .classifier(d_classifier.view_mut())
            .bias(d_bias.view_mut());
        let run = || loss.loss_and_gradients(&inputs, &upstream, gradients);
        let forward = pool.install(run).unwrap_or_else(|error| panic!("{error}"));
        reports.push(forward.segments_kept().zip(forward.dropped_mass()));
        (d_hidden, d_classifier, d_bias)
    });
    let results: Vec<(Array2<R>, Array2<R>, Array1<R>)> = results.collect();
    let bits = |(a, b, c): &(Array2<R>, Array2<R>, Array1<R>)| -> Vec<u64> {
        a.iter().chain(b).chain(c).map(|x| x.to_f64().to_bits()).collect()
    };
    for more in &results[1..] {
        assert_eq!(bits(&results[0]), bits(more), "one thread and three");
    }
    let truth = case.run();
    let tolerance = Tolerance::of(case, &truth, R::EPSILON);
    let (d_hidden, d_classifier, d_bias) = &results[0];
    let droppable = Droppable::of(config, case, &truth, tolerance.logit, R::EPSILON);
    assert!(reports.iter().all(|report| *report == reports[0]), "one thread and three");
    assert_eq!(reports[0].is_some(), droppable.is_some());
    let mut missing = Array2::zeros(truth.d_products.dim());
    if let (Some(droppable), Some((kept, DroppedMass { largest, mean, .. }))) =
        (droppable, reports[0])
    {
        assert!((droppable.kept - 1e-12..=1.0).contains(&kept), "{kept} kept");
        assert!((0.0..=droppable.largest).contains(&largest), "{largest} dropped");
        assert!((0.0..=largest * (1.0 + 1e-12)).contains(&mean), "{mean} of {largest} dropped");
        missing = droppable.entries;
    }
    // G that is multiplied as bf16 is rounded to it, with its smoothing or without.
    let rounded = match T::NAME == "bf16" && config.rounds() {
        true => 2.0_f64.powi(-8),
        false => 0.0,
    };
    let g = truth.d_products.mapv(f64::abs) + case.proportional(&truth).mapv(f64::abs);
    let of = |filtered: bool| &g * rounded + &missing * if filtered { 1.0 } else { 0.0 };
    let [on_hidden, on_classifier, on_bias] = config.filtered();
    let near = |what: &str, a: Vec<R>, b: Vec<f64>, bounds: Vec<f64>| {
        for (i, ((a, b), bound)) in a.into_iter().map(R::to_f64).zip(b).zip(bounds).enumerate() {
            let bound = bound * 1.001 + tolerance.gradient + 16.0 * R::EPSILON * b.abs();
            let good = a == b || (a - b).abs() <= bound || (a.is_nan() && b.is_nan());
            assert!(good, "{what}[{i}] is {a:e}, expected {b:e} within {bound:e}");
        }
    };
    let flat = |m: &Array2<f64>| m.iter().copied().collect::<Vec<_>>();
    let bounds = of(on_hidden).dot(&case.classifier.mapv(f64::abs));
    near("dE", d_hidden.iter().copied().collect(), flat(&truth.d_hidden), flat(&bounds));
    let bounds = of(on_classifier).t().dot(&case.hidden.mapv(f64::abs));
    near("dC", d_classifier.iter().copied().collect(), flat(&truth.d_classifier), flat(&bounds));
    // The bias is whole wherever G is.
    let bounds = of(on_hidden && on_classifier && on_bias).sum_axis(Axis(0));
    near("db", d_bias.to_vec(), truth.d_bias.to_vec(), bounds.to_vec());
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
