//! The forward with any options over any shapes, against the oracle that holds all the logits.

#![no_main]

#[allow(dead_code)]
mod shared;

use libfuzzer_sys::fuzz_target;
use shared::{Case, Config, Sparse, Tolerance, cast, inputs, inputs_with};
use std::sync::LazyLock;
use surprisal::{Element, Real, Reduction, Statistic, TopK};

/// One thread: most inputs are too small for more.
static ONE: LazyLock<rayon::ThreadPool> =
    LazyLock::new(|| rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread"));

fn check<T: Element<Real = R>, R: Real>(config: &Config, case: &Case) {
    let (hidden, classifier) = (cast::<T>(&case.hidden), cast::<T>(&case.classifier));
    let sparse = Sparse::of(config, case);
    let inputs = match &sparse {
        Some(sparse) => inputs_with(case, &hidden, &classifier, sparse.targets()),
        None => inputs(case, &hidden, &classifier),
    };
    let loss = config.builder(case).build().expect("options within their domains");
    let run = || loss.forward(&inputs);
    let forward = match if config.on_threads() { run() } else { ONE.install(run) } {
        Ok(forward) => forward,
        Err(error) => panic!("{error}"),
    };
    let truth = case.run();
    let tolerance = Tolerance::of(case, &truth, R::EPSILON);
    let statistic = |which| forward.statistic(which).expect("asked for");
    let near = |what: &str, a: ndarray::Array1<f64>, b: &ndarray::Array1<f64>, absolute: f64| {
        Tolerance::check(what, a, b, 4.0 * R::EPSILON, absolute);
    };
    near("losses", forward.losses(), &truth.losses, tolerance.loss);
    near("lse", forward.log_sum_exp(), &truth.log_sum_exp, 4.0 * tolerance.logit);
    let classes = case.classifier.dim().0 as f64;
    let second = 64.0 * (tolerance.logit + 64.0 * R::EPSILON) * (2.0 + classes.ln()).powi(2);
    near("entropy", statistic(Statistic::Entropy), &truth.entropy, second);
    near("varentropy", statistic(Statistic::Varentropy), &truth.varentropy, second * 4.0);
    if case.reduction == Reduction::Sum {
        let absolute = tolerance.loss * (1.0 + forward.len() as f64);
        let loss = forward.loss();
        Tolerance::check("loss", [loss], &[truth.loss], 4.0 * R::EPSILON, absolute);
    }
    let (logits, _) = case.logits();
    for (i, state) in forward.states().iter().enumerate() {
        assert!(state.remainder >= 0.0 && state.entropy() >= 0.0 && state.varentropy() >= 0.0);
        if let Some(surprisal) = state.surprisal() {
            assert!(surprisal >= 0.0, "row {i} has a surprisal of {surprisal:e}");
        }
    }
    // The first of the most likely classes is the arg-max, and they come in order.
    let TopK { classes, log_probabilities, .. } = forward.top_k();
    for (i, row) in classes.outer_iter().enumerate().filter(|(_, row)| !row.is_empty()) {
        assert_eq!(row[0], forward.argmax()[i]);
        let of = log_probabilities.row(i);
        assert!(
            of.windows(2).into_iter().zip(row.windows(2)).all(|(p, c)| c[1] < 0 || p[0] >= p[1])
        );
    }
    // The arg-max may be another where two logits are closer than their errors.
    for (i, &argmax) in forward.argmax().iter().enumerate().filter(|(_, argmax)| **argmax >= 0) {
        let best = truth.argmax[i] as usize;
        let gap = logits[[i, best]] - logits[[i, argmax as usize]];
        assert!(
            gap <= 4.0 * tolerance.logit,
            "row {i}: {argmax} in place of {best}, {gap:e} below"
        );
    }
}

fuzz_target!(|config: Config| {
    let case = config.case();
    // The numbers of a case are such that every type holds them.
    match (config.narrow, config.half) {
        (true, false) => check::<f32, f32>(&config, &case),
        (true, true) => check::<half::bf16, f32>(&config, &case),
        (false, _) => check::<f64, f64>(&config, &case),
    }
});
