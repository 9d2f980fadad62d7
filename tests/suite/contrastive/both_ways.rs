//! Both directions of InfoNCE from one pass, against one call for each.

use ndarray::{Array2, ArrayView2};
use surprisal::contrastive::{Contrast, InfoNce};
use surprisal::{Element, Error, Gradients};

use super::{all_near, near, normal};

/// What comes of both: the loss with its slope, and the gradients by queries and keys.
type Found<T> = (Contrast, Array2<T>, Array2<T>);

fn both<T: Element>(loss: &InfoNce, queries: &Array2<T>, keys: &Array2<T>) -> Found<T> {
    let loss = loss.symmetric(true);
    let zeros = |like: &Array2<T>| Array2::from_elem(like.dim(), T::default());
    let (mut by_queries, mut by_keys) = (zeros(queries), zeros(keys));
    let gradients = Gradients::new()
        .hidden(T::matrix_view_mut(by_queries.view_mut()))
        .classifier(T::matrix_view_mut(by_keys.view_mut()));
    let (queries, keys) = (T::matrix(queries.view()), T::matrix(keys.view()));
    let contrast = loss.loss_and_gradients(queries, keys, gradients).unwrap();
    (contrast, by_queries, by_keys)
}

/// The mean of one call for each direction.
fn two_calls(
    temperature: f64,
    queries: ArrayView2<'_, f64>,
    keys: ArrayView2<'_, f64>,
) -> (f64, f64, Array2<f64>, Array2<f64>) {
    let one = InfoNce::new(temperature).unwrap();
    let (mut by_queries, mut by_keys) = (Array2::zeros(queries.dim()), Array2::zeros(keys.dim()));
    let gradients = Gradients::new().hidden(&mut by_queries).classifier(&mut by_keys);
    let first = one.loss_and_gradients(queries, keys, gradients).unwrap();
    let gradients =
        Gradients::new().accumulate_hidden(&mut by_keys).accumulate_classifier(&mut by_queries);
    let second = one.loss_and_gradients(keys, queries, gradients).unwrap();
    let mean = |a: f64, b: f64| 0.5 * (a + b);
    let by_temperature = mean(first.by_temperature, second.by_temperature);
    (mean(first.loss, second.loss), by_temperature, by_queries * 0.5, by_keys * 0.5)
}

/// The smallest budget under which a call goes.
fn smallest(loss: &InfoNce, rows: &Array2<f64>) -> usize {
    let loss = loss.symmetric(true);
    let mut budget = 1;
    loop {
        let mut by = Array2::<f64>::zeros(rows.dim());
        let gradients = Gradients::new().hidden(&mut by);
        match loss.memory_budget(budget).loss_and_gradients(rows, rows, gradients) {
            // What both directions have beside a plan of one is no part of the number.
            Err(Error::MemoryBudget { smallest, .. }) => {
                budget = smallest.max(budget + budget / 4 + 1)
            }
            other => break other.map(|_| budget).unwrap(),
        }
    }
}

#[test]
fn both_directions_are_the_mean_of_two_calls_kept_and_anew() {
    // Beside the panels of 32, the tiles of 96 and 256, the chunks of 1024.
    for (rows, width) in
        [(1, 3), (2, 1), (31, 5), (33, 32), (95, 7), (97, 33), (255, 4), (257, 65), (1061, 9)]
    {
        for temperature in [0.07, 1.3] {
            let what = format!("{rows} of {width} at {temperature}");
            let (queries, keys) = (normal(31, rows, width), normal(32, rows, width));
            let (loss, by_temperature, by_queries, by_keys) =
                two_calls(temperature, queries.view(), keys.view());
            let size = queries.dot(&keys.t()).iter().fold(1.0_f64, |most, x| most.max(x.abs()));
            // Of a score the same bits; of its exponent a rounding of the score, of the sums another for each
            // eight terms.
            let tolerance = 8.0 * (8.0 + size / temperature) * f64::EPSILON;
            let info_nce = InfoNce::new(temperature).unwrap();
            let least = smallest(&info_nce, &queries);
            for budget in [least, 1 << 28] {
                let what = format!("{what}, {budget} bytes");
                let info_nce = info_nce.memory_budget(budget);
                let (contrast, queries_found, keys_found) = both(&info_nce, &queries, &keys);
                near(contrast.loss, loss, tolerance * loss, &what);
                let slopes = size / temperature / temperature;
                near(contrast.by_temperature, by_temperature, tolerance * slopes, &what);
                // Each row and column of G has magnitudes that sum to 2/(Bτ) at most.
                let largest =
                    |of: &Array2<f64>| of.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
                let scale = tolerance * 2.0 / (rows as f64 * temperature);
                all_near(&queries_found, &by_queries, scale * largest(&keys), &what);
                all_near(&keys_found, &by_keys, scale * largest(&queries), &what);
                let forward = info_nce.symmetric(true).loss(&queries, &keys).unwrap();
                near(forward, contrast.loss, 4.0 * f64::EPSILON * loss, &what);
            }
        }
    }
}

/// The bits of all that is found.
#[cfg(feature = "parallel")]
fn bits((contrast, a, b): &Found<f32>) -> (Vec<u64>, Vec<u32>) {
    let numbers = [contrast.loss, contrast.by_temperature].map(f64::to_bits).to_vec();
    (numbers, a.iter().chain(b).map(|x| x.to_bits()).collect())
}

#[test]
#[cfg(feature = "parallel")]
fn bits_do_not_depend_on_the_threads() {
    let narrow = |seed| normal(seed, 1100, 33).mapv(|x| x as f32);
    let (queries, keys) = (narrow(41), narrow(42));
    // All scores are 4.8 MB: kept, and made anew.
    for budget in [4 << 20, 1 << 28] {
        let info_nce = InfoNce::new(0.5).unwrap().memory_budget(budget);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| bits(&both(&info_nce, &queries, &keys)))
        };
        let one = run(1);
        assert!(one == run(2) && one == run(5), "{budget}");
    }
}

#[test]
fn confident_pairs_have_the_digits_of_their_losses_and_slopes() {
    // z is s on the diagonal, else 0: r = (B−1) e^−s of each row and column.
    for count in [2_usize, 5, 40, 300] {
        for s in [3.0_f64, 30.0, 86.0, 300.0] {
            let rows = Array2::<f64>::eye(count);
            let r = (count - 1) as f64 * (-s).exp();
            let (contrast, by_queries, by_keys) =
                both(&InfoNce::new(1.0 / s).unwrap(), &rows, &rows);
            let what = format!("{count} at {s}");
            let k = s / (2.0 * count as f64);
            let near = |found: f64, wanted: f64, what: &str| {
                near(found, wanted, (16.0 + s) * f64::EPSILON * wanted.abs(), what);
            };
            near(contrast.loss, r.ln_1p(), &what);
            // dL/dτ = (z of the pair − Σ p z)/τ, Σ p z = s/(1+r).
            near(contrast.by_temperature, s * s * r / (1.0 + r), &what);
            for found in [by_queries, by_keys] {
                near(found[[0, 0]], -2.0 * k * r / (1.0 + r), &what);
                near(found[[0, 1]], 2.0 * k * (-s).exp() / (1.0 + r), &what);
            }
            // In f32 what is below its least normal number is 0, of sums in f64 not.
            let rows = Array2::<f32>::eye(count);
            let (contrast, by_queries, _) = both(&InfoNce::new(1.0 / s).unwrap(), &rows, &rows);
            let size = (16.0 + s) * f64::from(f32::EPSILON);
            super::near(contrast.loss, r.ln_1p(), size * r, &what);
            let wanted = -2.0 * k * r / (1.0 + r);
            let floor = f64::from(f32::MIN_POSITIVE);
            super::near(by_queries[[0, 0]].into(), wanted, size * wanted.abs() + floor, &what);
        }
    }
}

#[test]
fn a_number_more_for_all_scores_is_none_and_wrong_pairs_are_seen_both_ways() {
    // One more component, of 1024 in both: 2²⁰ more for all scores.
    let with = |seed, last: f64| {
        let mut rows = normal(seed, 150, 6).mapv(|x| (x * 256.0).round() / 256.0);
        rows.column_mut(5).fill(last);
        rows
    };
    let clip = InfoNce::new(1.0).unwrap();
    let (plain, ..) = both(&clip, &with(51, 0.0), &with(52, 0.0));
    let (shifted, ..) = both(&clip, &with(51, 1024.0), &with(52, 1024.0));
    // A score of 2²⁰ has a rounding of 2⁻³³.
    near(shifted.loss, plain.loss, 4.0 * 2.0_f64.powi(-33), "shifted");
    near(shifted.by_temperature, plain.by_temperature, 2.0_f64.powi(-25), "the slope");

    // Keys in another order: each row and each column is sure of the wrong one.
    let (count, s) = (130, 50.0);
    let queries = Array2::<f32>::eye(count);
    let keys =
        Array2::from_shape_fn((count, count), |(i, j)| f32::from(u8::from((i + 1) % count == j)));
    let (contrast, by_queries, by_keys) = both(&InfoNce::new(1.0 / s).unwrap(), &queries, &keys);
    near(contrast.loss, s, 1e-6 * s, "wrong pairs");
    let k = s / (2.0 * count as f64);
    // dq_i = k (2 k_{i−1} − 2 k_i), whose ones are at i and i + 1.
    for i in 0..count {
        for (found, up) in [(&by_queries, i), (&by_keys, (i + 1) % count)] {
            near(found[[i, up]].into(), 2.0 * k, 1e-6 * k, "up");
        }
        near(by_queries[[i, (i + 1) % count]].into(), -2.0 * k, 1e-6 * k, "down");
        near(by_keys[[i, i]].into(), -2.0 * k, 1e-6 * k, "down");
    }
}
