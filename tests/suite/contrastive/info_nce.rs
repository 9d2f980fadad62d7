//! InfoNCE and its two directions.

use ndarray::{Array0, Array2, Axis, arr0};
use surprisal::Gradients;
use surprisal::autodiff::{Tape, gradcheck};
use surprisal::contrastive::InfoNce;

use super::{all_near, log_sum_exp, near, normal, refused, unit};

/// Loss, gradients by queries and keys, slope by τ: with all scores.
fn direct(
    queries: &Array2<f64>,
    keys: &Array2<f64>,
    temperature: f64,
    symmetric: bool,
) -> (f64, Array2<f64>, Array2<f64>, f64) {
    let scores = queries.dot(&keys.t()) / temperature;
    let rows = queries.nrows();
    let mut slopes = Array2::<f64>::zeros(scores.dim());
    let mut loss = 0.0;
    let mut direction = |scores: Array2<f64>, transposed: bool, share: f64| {
        for (i, row) in scores.axis_iter(Axis(0)).enumerate() {
            let sum = log_sum_exp(row.iter().copied());
            loss += share * (sum - row[i]) / rows as f64;
            for (j, z) in row.iter().enumerate() {
                let at = if transposed { [j, i] } else { [i, j] };
                slopes[at] += share * ((z - sum).exp() - f64::from(u8::from(i == j))) / rows as f64;
            }
        }
    };
    let share = if symmetric { 0.5 } else { 1.0 };
    direction(scores.clone(), false, share);
    if symmetric {
        direction(scores.t().to_owned(), true, share);
    }
    let by_temperature = -(&slopes * &scores).sum() / temperature;
    let by_queries = slopes.dot(keys) / temperature;
    (loss, by_queries, slopes.t().dot(queries) / temperature, by_temperature)
}

const SHAPES: [(usize, usize, usize); 6] =
    [(1, 1, 1), (1, 5, 3), (3, 3, 7), (37, 41, 19), (129, 129, 33), (301, 520, 5)];

#[test]
fn the_loss_and_its_slopes_are_those_of_all_scores() {
    for (rows, columns, width) in SHAPES {
        for (temperature, symmetric) in [(1.0, false), (0.2, false), (0.2, true), (3.0, true)] {
            if symmetric && rows != columns {
                continue;
            }
            let (queries, keys) = (normal(1, rows, width), normal(2, columns, width));
            let (loss, by_queries, by_keys, by_temperature) =
                direct(&queries, &keys, temperature, symmetric);
            let what = format!("{rows}x{columns}x{width} at {temperature}, {symmetric}");
            let mut found =
                (Array2::<f64>::zeros((rows, width)), Array2::<f64>::zeros((columns, width)));
            let gradients = Gradients::new().hidden(&mut found.0).classifier(&mut found.1);
            let info_nce = InfoNce::new(temperature).unwrap().symmetric(symmetric);
            let contrast = info_nce.loss_and_gradients(&queries, &keys, gradients).unwrap();
            // A score has `width` roundings of its terms, some of which are summed twice.
            let size = queries.dot(&keys.t()).iter().fold(1.0_f64, |most, x| most.max(x.abs()));
            let tolerance = 4.0 * (width as f64 + 8.0) * f64::EPSILON * size / temperature;
            near(contrast.loss, loss, tolerance, &what);
            near(
                info_nce.loss(&queries, &keys).unwrap(),
                contrast.loss,
                4.0 * f64::EPSILON * loss.abs(),
                &what,
            );
            near(
                contrast.by_temperature,
                by_temperature,
                4.0 * size * tolerance / temperature,
                &what,
            );
            all_near(&found.0, &by_queries, 8.0 * tolerance / temperature, &what);
            all_near(&found.1, &by_keys, 8.0 * tolerance / temperature, &what);

            let narrow = |rows: &Array2<f64>| rows.mapv(|x| x as f32);
            let (queries, keys) = (narrow(&queries), narrow(&keys));
            let (loss, by_queries, _, by_temperature) = {
                let wide = |rows: &Array2<f32>| rows.mapv(f64::from);
                direct(&wide(&queries), &wide(&keys), temperature, symmetric)
            };
            let mut by = Array2::<f32>::zeros((rows, width));
            let contrast = info_nce
                .loss_and_gradients(&queries, &keys, Gradients::new().hidden(&mut by))
                .unwrap();
            let tolerance = tolerance * f64::from(f32::EPSILON) / f64::EPSILON;
            near(contrast.loss, loss, tolerance, &what);
            near(
                contrast.by_temperature,
                by_temperature,
                4.0 * size * tolerance / temperature,
                &what,
            );
            all_near(&by.mapv(f64::from), &by_queries, 8.0 * tolerance / temperature, &what);
        }
    }
}

#[test]
fn gradients_are_added_where_that_is_asked_for_and_directions_go_through_lengths() {
    let (queries, keys) = (normal(3, 9, 4), normal(4, 9, 4));
    let clip = InfoNce::new(0.3).unwrap().symmetric(true);
    let (loss, by_queries, by_keys, _) =
        direct(&unit(queries.view()), &unit(keys.view()), 0.3, true);
    let start = normal(5, 9, 4);
    let mut found = (start.clone(), Array2::<f64>::zeros((9, 4)));
    let gradients = Gradients::new().accumulate_hidden(&mut found.0).classifier(&mut found.1);
    let contrast = clip.normalized(true).loss_and_gradients(&queries, &keys, gradients).unwrap();
    near(contrast.loss, loss, 1e-14, "normalized");
    let through = |rows: &Array2<f64>, by: &Array2<f64>| {
        let mut to = by.clone();
        for ((x, by), mut to) in rows.rows().into_iter().zip(by.rows()).zip(to.rows_mut()) {
            let square = x.dot(&x);
            to.assign(&((&by - &(&x * (x.dot(&by) / square))) / square.sqrt()));
        }
        to
    };
    all_near(&(&found.0 - &start), &through(&queries, &by_queries), 1e-13, "queries");
    all_near(&found.1, &through(&keys, &by_keys), 1e-13, "keys");

    let mut sums = (start.clone(), start.clone());
    let gradients =
        Gradients::new().accumulate_hidden(&mut sums.0).accumulate_classifier(&mut sums.1);
    clip.loss_and_gradients(&queries, &keys, gradients).unwrap();
    let (_, by_queries, by_keys, _) = direct(&queries, &keys, 0.3, true);
    all_near(&(&sums.0 - &start), &by_queries, 1e-13, "added to queries");
    all_near(&(&sums.1 - &start), &by_keys, 1e-13, "added to keys");
}

#[test]
fn the_node_has_the_derivatives_of_all_three() {
    for (symmetric, normalized) in [(false, false), (true, false), (true, true)] {
        let inputs =
            [normal(6, 5, 3).into_dyn(), normal(7, 5, 3).into_dyn(), arr0(0.4_f64).into_dyn()];
        let info_nce = InfoNce::new(1.0).unwrap().symmetric(symmetric).normalized(normalized);
        let worst = gradcheck(|_, x| x[0].info_nce(x[1], Some(x[2]), &info_nce), &inputs).unwrap();
        assert!(worst.error < 1e-8, "{worst:?}");
    }
    // One value as both sides.
    let itself = InfoNce::new(0.5).unwrap();
    let worst = gradcheck(|_, x| x[0].info_nce(x[0], None, &itself), &[normal(8, 4, 3).into_dyn()])
        .unwrap();
    assert!(worst.error < 1e-8, "{worst:?}");
}

#[test]
fn small_losses_have_digits_and_shifts_of_a_query_do_nothing() {
    // Positives at 1/τ, negatives at 0: L = ln(1 + 3 e^(−1/τ)).
    let rows = Array2::<f64>::eye(4);
    for temperature in [0.02_f64, 0.1, 1.0] {
        let wanted = (3.0 * (-1.0 / temperature).exp()).ln_1p();
        let found = InfoNce::new(temperature).unwrap().loss(&rows, &rows).unwrap();
        near(found, wanted, 1e-13 * wanted, "a small loss");
    }
    // A number more for all scores of a query: one more component, in which all keys are 1.
    let (mut queries, mut keys) = (normal(9, 6, 4), normal(10, 6, 4));
    queries.column_mut(3).fill(0.0);
    keys.column_mut(3).fill(1.0);
    let info_nce = InfoNce::new(0.7).unwrap();
    let before = info_nce.loss(&queries, &keys).unwrap();
    for (i, mut query) in queries.rows_mut().into_iter().enumerate() {
        query[3] = i as f64 - 2.0;
    }
    near(info_nce.loss(&queries, &keys).unwrap(), before, 1e-13, "shifted");
    // At most ln B of mutual information, and none where all are one.
    let same = Array2::<f64>::ones((7, 2));
    near(info_nce.loss(&same, &same).unwrap(), 7_f64.ln(), 1e-14, "all alike");
}

#[test]
fn what_does_not_go_together_is_refused() {
    refused(InfoNce::new(0.0), &["temperature is 0", "above 0"]);
    refused(InfoNce::new(f64::NAN), &["temperature is NaN"]);
    let info_nce = InfoNce::new(1.0).unwrap();
    refused(info_nce.at(-1.0), &["temperature is -1"]);
    let (three, four) = (normal(1, 3, 2), normal(2, 4, 2));
    refused(info_nce.loss(&four, &three), &["keys", "[3, 2]", "4 rows or more"]);
    refused(info_nce.symmetric(true).loss(&three, &four), &["keys", "[4, 2]"]);
    refused(info_nce.loss(&three, &normal(1, 3, 5)), &["keys", "[3, 5]"]);
    refused(info_nce.loss(&Array2::<f64>::zeros((0, 2)), &four), &["queries", "[0, 2]"]);
    let mut bad = four.clone();
    bad[[2, 1]] = f64::INFINITY;
    refused(info_nce.loss(&three, &bad), &["keys[2, 1] is inf", "finite"]);
    bad.row_mut(2).fill(0.0);
    assert!(info_nce.loss(&three, &bad).is_ok());
    refused(info_nce.normalized(true).loss(&three, &bad), &["keys[2]", "direction"]);
    let mut by = ndarray::Array1::<f64>::zeros(3);
    let gradients = Gradients::new().temperature(&mut by);
    refused(info_nce.loss_and_gradients(&three, &three, gradients), &["hidden and classifier"]);
    let mut by = normal(1, 4, 2);
    let gradients = Gradients::new().hidden(&mut by);
    refused(info_nce.loss_and_gradients(&three, &three, gradients), &["hidden gradient"]);
    let tape = Tape::<f64>::new().unwrap();
    let (rows, zero) = (tape.leaf(three), tape.leaf(Array0::<f64>::zeros(())));
    refused(rows.info_nce(rows, Some(zero), &info_nce), &["temperature is 0"]);
    refused(rows.info_nce(zero, None, &info_nce), &["keys", "two axes"]);
}
