//! Labels as positives.

use ndarray::{Array2, arr0};
use surprisal::Gradients;
use surprisal::autodiff::gradcheck;
use surprisal::contrastive::SupervisedContrastive;

use super::{all_near, log_sum_exp, near, normal, refused, unit};

/// Loss, gradient and slope by τ, with all scores.
fn direct(rows: &Array2<f64>, labels: &[u32], temperature: f64) -> (f64, Array2<f64>, f64) {
    let unit = unit(rows.view());
    let scores = unit.dot(&unit.t()) / temperature;
    let count = labels.len();
    let (mut loss, mut slopes) = (0.0, Array2::<f64>::zeros(scores.dim()));
    for i in 0..count {
        let others = (0..count).filter(|&j| j != i);
        let sum = log_sum_exp(others.clone().map(|j| scores[[i, j]]));
        let positives: Vec<_> = others.clone().filter(|&j| labels[j] == labels[i]).collect();
        let share = 1.0 / (positives.len() * count) as f64;
        for j in others {
            slopes[[i, j]] += (scores[[i, j]] - sum).exp() / count as f64;
        }
        for j in positives {
            loss += share * (sum - scores[[i, j]]);
            slopes[[i, j]] -= share;
        }
    }
    let by_unit = (&slopes + &slopes.t()).dot(&unit) / temperature;
    let mut gradient = by_unit.clone();
    for ((mut to, u), x) in gradient.rows_mut().into_iter().zip(unit.rows()).zip(rows.rows()) {
        let along = to.dot(&u);
        to.zip_mut_with(&u, |g, u| *g -= u * along);
        to /= x.dot(&x).sqrt();
    }
    (loss, gradient, -(&slopes * &scores).sum() / temperature)
}

#[test]
fn the_loss_and_its_slopes_are_those_of_all_scores() {
    for (count, width, classes, temperature) in
        [(2, 1, 1, 1.0), (5, 3, 2, 0.5), (40, 7, 20, 0.1), (131, 33, 3, 0.07), (300, 5, 1, 2.0)]
    {
        let rows = normal(11, count, width);
        let labels: Vec<u32> = (0..count as u32).map(|i| i % classes * 5).collect();
        let what = format!("{count}x{width}, {classes} labels at {temperature}");
        let (loss, gradient, by_temperature) = direct(&rows, &labels, temperature);
        let supcon = SupervisedContrastive::new(temperature).unwrap();
        let mut found = Array2::<f64>::zeros(rows.dim());
        let contrast =
            supcon.loss_and_gradients(&rows, &labels, Gradients::new().hidden(&mut found)).unwrap();
        // Scores of rows of length 1 have `width` roundings of 1/τ; sums over a label as many as it has rows.
        let tolerance = 4.0 * (width + count) as f64 * f64::EPSILON / temperature;
        let shortest =
            rows.rows().into_iter().map(|x| x.dot(&x).sqrt()).fold(f64::INFINITY, f64::min);
        near(contrast.loss, loss, tolerance, &what);
        near(supcon.loss(&rows, &labels).unwrap(), loss, tolerance, &what);
        near(contrast.by_temperature, by_temperature, 4.0 * tolerance / temperature, &what);
        all_near(&found, &gradient, 4.0 * tolerance / temperature / shortest, &what);

        let narrow = rows.mapv(|x| x as f32);
        let (loss, gradient, _) = direct(&narrow.mapv(f64::from), &labels, temperature);
        let mut found = Array2::<f32>::zeros(rows.dim());
        let gradients = Gradients::new().hidden(&mut found);
        let contrast = supcon.loss_and_gradients(&narrow, &labels, gradients).unwrap();
        let coarse = tolerance * f64::from(f32::EPSILON) / f64::EPSILON;
        near(contrast.loss, loss, coarse, &what);
        all_near(&found.mapv(f64::from), &gradient, 4.0 * coarse / temperature / shortest, &what);
    }
}

#[test]
fn rows_that_leave_themselves_out_keep_the_others_digits() {
    // To itself each has 1/τ = 200, to all others 0 or less: that share of its softmax is 1 − 3e-87.
    let rows = Array2::<f64>::eye(4);
    let supcon = SupervisedContrastive::new(0.005).unwrap();
    near(supcon.loss(&rows, &[0, 0, 1, 1]).unwrap(), 3_f64.ln(), 1e-13, "orthogonal");
    let mut gradient = Array2::<f64>::zeros((4, 4));
    supcon
        .loss_and_gradients(&rows, &[0, 0, 1, 1], Gradients::new().hidden(&mut gradient))
        .unwrap();
    let (_, wanted, _) = direct(&rows, &[0, 0, 1, 1], 0.005);
    all_near(&gradient, &wanted, 1e-11, "orthogonal");
}

#[test]
fn the_node_has_the_derivatives_of_both() {
    let inputs = [normal(12, 6, 3).into_dyn(), arr0(0.4_f64).into_dyn()];
    let supcon = SupervisedContrastive::new(1.0).unwrap();
    let labels = [1, 0, 1, 1, 0, 1];
    let worst =
        gradcheck(|_, x| x[0].supervised_contrastive(&labels, Some(x[1]), &supcon), &inputs);
    let worst = worst.unwrap();
    assert!(worst.error < 1e-8, "{worst:?}");
}

#[test]
fn what_does_not_go_together_is_refused() {
    refused(SupervisedContrastive::new(-0.1), &["temperature is -0.1", "above 0"]);
    let supcon = SupervisedContrastive::new(0.1).unwrap();
    let rows = normal(1, 4, 2);
    refused(supcon.loss(&rows, &[0, 0, 1]), &["labels", "[3]", "[4]"]);
    refused(supcon.loss(&rows, &[0, 0, 1, 0]), &["labels[2] is 1", "another embedding"]);
    let mut zero = rows.clone();
    zero.row_mut(3).fill(0.0);
    refused(supcon.loss(&zero, &[0, 0, 1, 1]), &["embeddings[3]", "direction"]);
    zero[[3, 0]] = f64::NAN;
    refused(supcon.loss(&zero, &[0, 0, 1, 1]), &["embeddings[3, 0] is NaN"]);
    let mut by = normal(1, 4, 2);
    let gradients = Gradients::new().classifier(&mut by);
    refused(supcon.loss_and_gradients(&rows, &[0, 0, 1, 1], gradients), &["hidden alone"]);
}
