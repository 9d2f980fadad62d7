//! Positives against the negatives of all rows.

use ndarray::{Array2, arr0};
use surprisal::Gradients;
use surprisal::autodiff::gradcheck;
use surprisal::contrastive::{InfoNce, MannWhitney, PairReduction};

use super::{all_near, near, normal, refused};

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// Over all pairs: the sum, its gradient by the scores and its slope by τ.
fn direct(scores: &Array2<f64>, temperature: f64) -> (f64, Array2<f64>, f64) {
    let (mut value, mut gradient, mut slope) = (0.0, Array2::<f64>::zeros(scores.dim()), 0.0);
    for i in 0..scores.nrows() {
        for ((k, l), score) in scores.indexed_iter().filter(|((k, l), _)| k != l) {
            let x = (score - scores[[i, i]]) / temperature;
            value += softplus(x);
            let g = 1.0 / (1.0 + (-x).exp()) / temperature;
            gradient[[k, l]] += g;
            gradient[[i, i]] -= g;
            slope -= g * x;
        }
    }
    (value, gradient, slope)
}

#[test]
fn the_loss_is_that_of_all_pairs() {
    for (rows, columns, width) in [(1, 2, 3), (2, 2, 1), (7, 9, 5), (33, 33, 4), (65, 70, 3)] {
        for temperature in [0.02, 0.5, 4.0] {
            let what = format!("{rows}x{columns}x{width} at {temperature}");
            let (queries, keys) = (normal(21, rows, width), normal(22, columns, width));
            let scores = queries.dot(&keys.t());
            let (value, gradient, slope) = direct(&scores, temperature);
            let loss = MannWhitney::new(temperature).unwrap().reduction(PairReduction::Mean);
            let pairs = (rows * rows * (columns - 1)) as f64;
            let (contrast, by_scores) = loss.of_scores(&scores).unwrap();
            // Interpolation and sums: some tens of roundings of what each piece holds.
            let tolerance = 1e-12 / temperature;
            near(contrast.loss, value / pairs, 1e-12 * value / pairs + 1e-300, &what);
            all_near(&by_scores, &(&gradient / pairs), tolerance, &what);
            near(
                contrast.by_temperature,
                slope / pairs,
                tolerance * slope.abs().max(1.0) / pairs + tolerance,
                &what,
            );
            near(by_scores.sum(), 0.0, tolerance, &what);

            let mut found = (Array2::<f64>::zeros(queries.dim()), Array2::<f64>::ones(keys.dim()));
            let gradients =
                Gradients::new().hidden(&mut found.0).accumulate_classifier(&mut found.1);
            let fused = loss.loss_and_gradients(&queries, &keys, gradients).unwrap();
            let size = scores.iter().fold(1.0_f64, |most, x| most.max(x.abs()));
            let tolerance = 8.0 * tolerance * size / temperature.min(1.0);
            near(fused.loss, contrast.loss, tolerance, &what);
            near(fused.by_temperature, contrast.by_temperature, tolerance / temperature, &what);
            all_near(&found.0, &by_scores.dot(&keys), tolerance, &what);
            all_near(&(found.1 - 1.0), &by_scores.t().dot(&queries), tolerance, &what);

            let narrow = |rows: &Array2<f64>| rows.mapv(|x| x as f32);
            let mut found = Array2::<f32>::zeros(queries.dim());
            let gradients = Gradients::new().hidden(&mut found);
            let coarse =
                loss.loss_and_gradients(&narrow(&queries), &narrow(&keys), gradients).unwrap();
            let tolerance =
                8.0 * (width as f64 + 4.0) * f64::from(f32::EPSILON) * size / temperature;
            near(coarse.loss, fused.loss, tolerance, &what);
            all_near(
                &found.mapv(f64::from),
                &by_scores.dot(&keys),
                tolerance * size / temperature,
                &what,
            );
        }
    }
}

#[test]
fn the_mean_bounds_the_area_over_the_curve_and_sees_shifts_of_a_query() {
    for seed in 0..20 {
        let mut scores = normal(seed, 6, 9);
        let loss = MannWhitney::new(0.7).unwrap().reduction(PairReduction::Mean);
        let found = loss.of_scores(&scores).unwrap().0.loss;
        let mut wrong = 0;
        for i in 0..6 {
            let negatives = scores.indexed_iter().filter(|((k, l), _)| k != l);
            wrong += negatives.filter(|(_, score)| **score >= scores[[i, i]]).count();
        }
        let share = wrong as f64 / (6 * 6 * 8) as f64;
        assert!(share <= found / std::f64::consts::LN_2, "{seed}: {share} {found}");

        let all = loss.of_scores(&(&scores + 1024.0)).unwrap().0.loss;
        near(all, found, 1e-12, "all scores shifted");
        let rows = Array2::<f64>::eye(9);
        let info_nce = InfoNce::new(0.7).unwrap();
        let before = info_nce.loss(&scores, &rows).unwrap();
        scores.row_mut(0).mapv_inplace(|x| x + 3.0);
        near(info_nce.loss(&scores, &rows).unwrap(), before, 1e-14, "InfoNCE is blind to it");
        assert!((loss.of_scores(&scores).unwrap().0.loss - found).abs() > 1e-3);
    }
}

#[test]
fn the_node_has_the_derivatives_of_all_three() {
    let inputs =
        [normal(23, 4, 3).into_dyn(), normal(24, 6, 3).into_dyn(), arr0(0.6_f64).into_dyn()];
    let loss = MannWhitney::new(1.0).unwrap();
    let worst = gradcheck(|_, x| x[0].mann_whitney(x[1], Some(x[2]), &loss), &inputs).unwrap();
    assert!(worst.error < 1e-8, "{worst:?}");
}

#[test]
fn what_does_not_go_together_is_refused() {
    refused(MannWhitney::new(0.0), &["temperature is 0"]);
    let loss = MannWhitney::new(1.0).unwrap();
    refused(loss.of_scores(&normal(1, 3, 2)), &["scores", "[3, 2]", "a key for each"]);
    refused(loss.of_scores(&normal(1, 1, 1)), &["scores", "two keys"]);
    refused(loss.loss(&normal(1, 3, 2), &normal(1, 3, 4)), &["keys", "as long as"]);
    let mut scores = normal(1, 3, 3);
    scores[[1, 1]] = 1e9;
    refused(loss.of_scores(&scores), &["temperature is 1", "apart"]);
    scores[[1, 1]] = f64::NEG_INFINITY;
    refused(loss.of_scores(&scores), &["scores[1, 1] is -inf"]);
}

#[test]
#[cfg(feature = "parallel")]
fn bits_do_not_depend_on_the_threads() {
    // More than a block of queries, and than one thread sorts at a time.
    let narrow = |seed, rows| normal(seed, rows, 9).mapv(|x| x as f32);
    let (queries, keys) = (narrow(25, 300), narrow(26, 333));
    for temperature in [0.01, 1.0] {
        let loss = MannWhitney::new(temperature).unwrap();
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let mut found = (Array2::<f32>::zeros((300, 9)), Array2::<f32>::zeros((333, 9)));
                let gradients = Gradients::new().hidden(&mut found.0).classifier(&mut found.1);
                let contrast = loss.loss_and_gradients(&queries, &keys, gradients).unwrap();
                let numbers = [contrast.loss, contrast.by_temperature].map(f64::to_bits);
                let bits = found.0.iter().chain(&found.1).map(|x| x.to_bits());
                (numbers, bits.collect::<Vec<_>>())
            })
        };
        let one = run(1);
        assert!(one == run(2) && one == run(5), "{temperature}");
    }
}
