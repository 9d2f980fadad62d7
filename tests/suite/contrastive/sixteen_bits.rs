//! Embeddings and gradients of 16 bits, against their exact values in f64.

use half::{bf16, f16};
use ndarray::{Array2, Axis};
use surprisal::contrastive::{InfoNce, SupervisedContrastive};
use surprisal::{Element, Gradients};

use super::{all_near, log_sum_exp, near, normal, unit};

/// The loss, its slopes by the products of rows, and dL/dτ.
fn direct(
    queries: &Array2<f64>,
    keys: &Array2<f64>,
    temperature: f64,
    both: bool,
) -> (f64, Array2<f64>, f64) {
    let scores = queries.dot(&keys.t()) / temperature;
    let count = scores.nrows() as f64;
    let (mut loss, mut slopes) = (0.0, Array2::<f64>::zeros(scores.dim()));
    let ways: &[Axis] = if both { &[Axis(0), Axis(1)] } else { &[Axis(0)] };
    let share = 1.0 / (count * ways.len() as f64);
    for &way in ways {
        for (i, z) in scores.axis_iter(way).enumerate() {
            let sum = log_sum_exp(z.iter().copied());
            loss += share * (sum - z[i]);
            for (j, (to, z)) in slopes.index_axis_mut(way, i).iter_mut().zip(z).enumerate() {
                *to += share * ((z - sum).exp() - f64::from(u8::from(i == j)));
            }
        }
    }
    let by_temperature = -(&slopes * &scores).sum() / temperature;
    (loss, slopes / temperature, by_temperature)
}

/// Each entry within its own bound.
#[track_caller]
fn within<T: Element>(found: &Array2<T>, wanted: &Array2<f64>, bound: &Array2<f64>, what: &str) {
    for ((at, found), (wanted, bound)) in found.indexed_iter().zip(wanted.iter().zip(bound)) {
        // Rounded once to what it is written in, also below the normal numbers.
        let rounding = 0.5 * T::EPSILON * wanted.abs() + 2.0_f64.powi(-25);
        near(found.to_f64(), *wanted, bound + rounding, &format!("{what} at {at:?}"));
    }
}

fn info_nce<T: Element>(temperature: f64, symmetric: bool, normalized: bool) {
    for (count, width) in [(3, 5), (97, 33), (300, 20)] {
        let what = format!("{} {count}x{width}, both {symmetric}, unit {normalized}", T::NAME);
        let rounded = |seed| normal(seed, count, width).mapv(T::from_f64);
        let (queries, keys) = (rounded(61), rounded(62));
        let exact = |rows: &Array2<T>| rows.mapv(T::to_f64);
        let (exact_queries, exact_keys) = match normalized {
            true => (unit(exact(&queries).view()), unit(exact(&keys).view())),
            false => (exact(&queries), exact(&keys)),
        };
        let (loss, slopes, by_temperature) =
            direct(&exact_queries, &exact_keys, temperature, symmetric);
        let zeros = || Array2::from_elem((count, width), T::from_f64(0.0));
        let (mut by_queries, mut by_keys) = (zeros(), zeros());
        let gradients = Gradients::new()
            .hidden(T::matrix_view_mut(by_queries.view_mut()))
            .classifier(T::matrix_view_mut(by_keys.view_mut()));
        let info_nce =
            InfoNce::new(temperature).unwrap().symmetric(symmetric).normalized(normalized);
        let (of_queries, of_keys) = (T::matrix(queries.view()), T::matrix(keys.view()));
        let contrast = info_nce.loss_and_gradients(of_queries, of_keys, gradients).unwrap();
        // Products of numbers of 16 bits are exact in f32, and summed in it.
        let size = exact_queries.mapv(f64::abs).dot(&exact_keys.t().mapv(f64::abs));
        let size = size.iter().fold(1.0_f64, |most, x| most.max(*x));
        let f32_error = (width as f64 + 8.0) * f64::from(f32::EPSILON);
        let score_error = f32_error * size / temperature;
        near(contrast.loss, loss, 2.0 * score_error, &what);
        let slope = 4.0 * score_error * size / temperature / temperature;
        near(contrast.by_temperature, by_temperature, slope, &what);
        // Where both are bf16 and the processor multiplies it, G is rounded to it, 2⁻⁸, from logits that a strip of
        // one direction may have in 16 bits (8.4e-4).
        let narrow = T::NAME == "bf16" && !normalized;
        let of_slopes = if narrow { 2.0_f64.powi(-8) + 8.4e-4 } else { 0.0 };
        // p is off by twice the score's error, relative; 1 − p of a pair by as much of p, which is 1 at most.
        let most = 1.0 / (count as f64 * temperature);
        // The products of G are summed over all pairs.
        let of_sums = (count as f64 + 4.0) * f64::from(f32::EPSILON);
        let of_slopes = of_slopes + of_sums + 2.0 * score_error;
        let magnitudes = Array2::from_shape_fn(slopes.dim(), |(i, j)| {
            let of_pair = if i == j { 2.0 * score_error * most } else { 0.0 };
            slopes[[i, j]].abs() * of_slopes + of_pair
        });
        let bound =
            |magnitudes: Array2<f64>, others: &Array2<f64>| magnitudes.dot(&others.mapv(f64::abs));
        let (mut to_queries, mut to_keys) =
            (slopes.dot(&exact_keys), slopes.t().dot(&exact_queries));
        let mut bound_queries = bound(magnitudes.clone(), &exact_keys);
        let mut bound_keys = bound(magnitudes.t().to_owned(), &exact_queries);
        if normalized {
            for (to, bound, rows, u) in [
                (&mut to_queries, &mut bound_queries, &queries, &exact_queries),
                (&mut to_keys, &mut bound_keys, &keys, &exact_keys),
            ] {
                let rows = exact(rows);
                for (i, mut to) in to.rows_mut().into_iter().enumerate() {
                    let (u, length) = (u.row(i), rows.row(i).dot(&rows.row(i)).sqrt());
                    let along = to.dot(&u);
                    to.zip_mut_with(&u, |g, u| *g = (*g - u * along) / length);
                    let most = bound.row(i).sum();
                    bound.row_mut(i).mapv_inplace(|own| (own + most) / length);
                }
            }
        }
        within(&by_queries, &to_queries, &bound_queries, &what);
        within(&by_keys, &to_keys, &bound_keys, &what);
    }
}

#[test]
fn queries_and_keys_of_16_bits_have_losses_and_gradients() {
    for (symmetric, normalized) in [(false, false), (true, false), (false, true), (true, true)] {
        let temperature = if normalized { 0.1 } else { 1.0 };
        info_nce::<bf16>(temperature, symmetric, normalized);
        info_nce::<f16>(temperature, symmetric, normalized);
    }
}

fn supervised<T: Element>() {
    for (count, width, classes) in [(6, 4, 3), (131, 17, 5)] {
        let rows = normal(63, count, width).mapv(T::from_f64);
        let labels: Vec<u32> = (0..count as u32).map(|i| i % classes).collect();
        let supcon = SupervisedContrastive::new(0.2).unwrap();
        let wide = rows.mapv(T::to_f64);
        let mut wanted = Array2::<f64>::zeros(rows.dim());
        let exact = supcon
            .loss_and_gradients(&wide, &labels, Gradients::new().hidden(&mut wanted))
            .unwrap();
        let mut found = Array2::from_elem(rows.dim(), T::from_f64(0.0));
        let gradients = Gradients::new().hidden(T::matrix_view_mut(found.view_mut()));
        let contrast =
            supcon.loss_and_gradients(T::matrix(rows.view()), &labels, gradients).unwrap();
        // The directions are computed with in f32, whatever the rows hold: the model of f32.
        let tolerance = 4.0 * (width + count) as f64 * f64::from(f32::EPSILON) / 0.2;
        let what = format!("{} {count}x{width}", T::NAME);
        near(contrast.loss, exact.loss, tolerance, &what);
        near(contrast.by_temperature, exact.by_temperature, 4.0 * tolerance / 0.2, &what);
        let shortest =
            wide.rows().into_iter().map(|x| x.dot(&x).sqrt()).fold(f64::INFINITY, f64::min);
        // A gradient by a direction is 4/(Nτ) at most.
        let bound = tolerance * 4.0 / (count as f64 * 0.2 * shortest);
        within(&found, &wanted, &Array2::from_elem(wanted.dim(), bound), &what);
    }
}

#[test]
fn labelled_embeddings_of_16_bits_have_losses_and_gradients() {
    supervised::<bf16>();
    supervised::<f16>();
}

#[test]
fn gradients_of_16_bits_are_added_with_one_rounding() {
    let narrow = |seed| normal(seed, 50, 8).mapv(bf16::from_f64);
    let (queries, keys) = (narrow(64), narrow(65));
    let clip = InfoNce::new(0.5).unwrap().symmetric(true);
    let mut wide = Array2::<f32>::zeros((50, 8));
    clip.loss_and_gradients(&queries, &keys, Gradients::new().hidden(&mut wide)).unwrap();
    let start = narrow(66);
    let mut sums = start.clone();
    let gradients = Gradients::new().accumulate_hidden(&mut sums);
    clip.loss_and_gradients(&queries, &keys, gradients).unwrap();
    let wanted = (start.mapv(bf16::to_f64) + wide.mapv(f64::from)).mapv(bf16::from_f64);
    all_near(&sums.mapv(bf16::to_f64), &wanted.mapv(bf16::to_f64), 0.0, "rounded once");
}
