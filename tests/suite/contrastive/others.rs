//! In-batch ranks, RePRI, and distances from the normal distribution.

use ndarray::{Array1, Array2, Axis, arr1, arr2};
use surprisal::autodiff::gradcheck;
use surprisal::contrastive::{EppsPulley, Repri, SigReg, in_batch};
use surprisal::random::Generator;
use surprisal::{Gradients, Inputs};

use super::{all_near, near, normal, refused};

#[test]
fn ranks_count_what_is_strictly_above() {
    let (states, concepts) = (normal(31, 23, 5), normal(32, 37, 5));
    let labels: Vec<i64> = (0..23).map(|i| if i % 4 == 1 { -100 } else { i * 7 % 37 }).collect();
    let scores = states.dot(&concepts.t());
    let (mut loss, mut reciprocal, mut count) = (0.0, 0.0, 0.0);
    for (row, &label) in scores.rows().into_iter().zip(&labels) {
        if label >= 0 {
            let own = row[label as usize];
            loss += super::log_sum_exp(row.iter().copied()) - own;
            reciprocal += 1.0 / (1.0 + row.iter().filter(|&&x| x > own).count() as f64);
            count += 1.0;
        }
    }
    let found = in_batch::loss(&states, &concepts, &labels).unwrap();
    near(found.loss, loss / count, 1e-13, "loss");
    near(found.mean_reciprocal_rank, reciprocal / count, 1e-15, "rank");
    refused(in_batch::loss(&states, &concepts, &[-100; 23]), &["all 23 labels are -100"]);
    refused(in_batch::loss(&states, &concepts, &[37; 23]), &["37"]);
    refused(in_batch::loss(&states, &concepts, &[0; 2]), &["targets"]);
}

/// The parts of RePRI, from logits.
fn parts(support: &Array2<f64>, targets: &[u32], query: &Array2<f64>, prior: &[f64]) -> [f64; 3] {
    let softmax = |logits: &Array2<f64>| {
        let mut p = logits.clone();
        for mut row in p.rows_mut() {
            let sum = super::log_sum_exp(row.iter().copied().collect::<Vec<_>>().into_iter());
            row.mapv_inplace(|z| (z - sum).exp());
        }
        p
    };
    let (of_support, of_query) = (softmax(support), softmax(query));
    let own = |(row, &target): (ndarray::ArrayView1<'_, f64>, &u32)| -row[target as usize].ln();
    let losses: f64 = of_support.rows().into_iter().zip(targets).map(own).sum();
    let entropy = -of_query.mapv(|p| p * p.ln()).sum() / query.nrows() as f64;
    let proportion = of_query.mean_axis(Axis(0)).unwrap();
    let divergence = proportion.iter().zip(prior).map(|(p, q)| p * (p / q).ln()).sum();
    [losses / support.nrows() as f64, entropy, divergence]
}

#[test]
fn repri_is_the_sum_of_its_parts_and_has_their_gradient() {
    let (hidden, classifier) = (normal(33, 6, 3), normal(34, 4, 3));
    let states = normal(35, 9, 3);
    let targets = [0_u32, 3, 1, 1, 2, 0];
    let prior = [0.4, 0.3, 0.2, 0.1];
    let of = |hidden: &Array2<f64>, states: &Array2<f64>, classifier: &Array2<f64>| {
        let (support, query) = (hidden.dot(&classifier.t()), states.dot(&classifier.t()));
        parts(&support, &targets, &query, &prior)
    };
    let total = |parts: [f64; 3]| parts[0] + 0.7 * parts[1] + 1.9 * parts[2];
    let repri = Repri::new(&arr1(&prior)).unwrap().weights(0.7, 1.9).unwrap();
    let mut found = [&hidden, &states, &classifier].map(|of| Array2::<f64>::zeros(of.dim()));
    let [by_hidden, by_states, by_classifier] = &mut found;
    let mut of_query = Array2::<f64>::zeros(classifier.dim());
    let losses = repri
        .loss_and_gradients(
            &Inputs::new(&hidden, &classifier, &targets),
            &Inputs::unlabelled(&states, &classifier),
            Gradients::new().hidden(by_hidden).classifier(&mut *by_classifier),
            Gradients::new().hidden(by_states).classifier(&mut of_query),
        )
        .unwrap();
    *by_classifier += &of_query;
    let wanted = of(&hidden, &states, &classifier);
    near(losses.cross_entropy, wanted[0], 1e-14, "cross-entropy");
    near(losses.entropy, wanted[1], 1e-14, "entropy");
    near(losses.kl_proportion, wanted[2], 1e-14, "proportion");
    near(losses.loss, total(wanted), 1e-14, "all");
    let inputs = [hidden, states, classifier];
    for (which, found) in found.iter().enumerate() {
        for (at, found) in found.indexed_iter() {
            let moved = |by: f64| {
                let mut inputs = inputs.clone();
                inputs[which][at] += by;
                total(of(&inputs[0], &inputs[1], &inputs[2]))
            };
            let h = 1e-3;
            let quotient =
                (8.0 * (moved(h) - moved(-h)) - (moved(2.0 * h) - moved(-2.0 * h))) / (12.0 * h);
            near(*found, quotient, 1e-9, &format!("input {which} at {at:?}"));
        }
    }
}

#[test]
fn the_node_of_repri_has_the_gradients_of_everything() {
    let repri = Repri::new(&arr1(&[0.5, 0.2, 0.3])).unwrap().weights(0.4, 1.5).unwrap();
    let inputs = [normal(70, 3, 2), normal(71, 4, 2), normal(72, 5, 2)].map(|x| x.into_dyn());
    let worst = gradcheck(|_, x| x[0].repri(x[1], &[2, 0, 1, 1], x[2], &repri), &inputs).unwrap();
    assert!(worst.error < 1e-8, "{worst:?}");
}

#[test]
fn repri_at_its_limits() {
    let uniform = Array2::<f64>::zeros((5, 4));
    let (support, prior) = (arr2(&[[2.0_f64, 0.0, 0.0, 0.0]]), arr1(&[0.25; 4]));
    let inputs = (Inputs::from_logits(&support, &[0_u32]), Inputs::unlabelled_logits(&uniform));
    let losses = Repri::new(&prior).unwrap().loss(&inputs.0, &inputs.1).unwrap();
    near(losses.entropy, 4_f64.ln(), 1e-15, "uniform");
    near(losses.kl_proportion, 0.0, 1e-15, "as the prior");
    let plain = Repri::new(&prior).unwrap().weights(0.0, 0.0).unwrap();
    let losses = plain.loss(&inputs.0, &inputs.1).unwrap();
    assert_eq!(losses.loss, losses.cross_entropy);
    // A class of which no row has anything.
    let never = arr2(&[[0.0_f64, 0.0, 0.0, f64::NEG_INFINITY]]);
    let never = Inputs::unlabelled_logits(&never);
    let losses = Repri::new(&prior).unwrap().loss(&inputs.0, &never).unwrap();
    near(losses.kl_proportion, (4.0_f64 / 3.0).ln(), 1e-15, "0 ln 0");
    refused(Repri::new(&arr1(&[0.5, 0.0])), &["prior[1] is 0", "above 0"]);
    refused(Repri::new(&arr1(&[0.5])).unwrap().weights(-1.0, 0.0), &["weight_entropy is -1"]);
    refused(
        Repri::new(&arr1(&[0.5])).unwrap().loss(&inputs.0, &inputs.1),
        &["prior", "[1]", "[4]"],
    );
    let ignored = [true, false, false, false, false];
    let some = Inputs::unlabelled_logits(&uniform).ignore(&ignored);
    refused(Repri::new(&prior).unwrap().loss(&inputs.0, &some), &["all its rows"]);
}

#[test]
fn the_statistic_is_its_integral_and_its_gradient_the_difference() {
    let samples = arr1(&[0.3, -1.7, 2.4, 0.0, -0.2, 5.0]);
    // A fine grid that goes far is the integral, which the two exponentials' sums are.
    let fine = EppsPulley::trapezoid(12.0, 2001).unwrap().statistic(&samples).unwrap();
    near(fine, EppsPulley::exact().statistic(&samples).unwrap(), 1e-12, "the integral");
    let coarse = EppsPulley::trapezoid(2.0, 5).unwrap();
    for test in [EppsPulley::default(), coarse, EppsPulley::exact()] {
        let (value, gradient) = test.statistic_and_gradient(&samples).unwrap();
        assert!(value > 0.0);
        for i in 0..samples.len() {
            let moved = |by: f64| {
                let mut samples = samples.clone();
                samples[i] += by;
                test.statistic(&samples).unwrap()
            };
            let h = 1e-3;
            let quotient =
                (8.0 * (moved(h) - moved(-h)) - (moved(2.0 * h) - moved(-2.0 * h))) / (12.0 * h);
            near(gradient[i], quotient, 1e-9, "a slope");
        }
        let mirrored = test.statistic(&(-&samples)).unwrap();
        near(mirrored, value, 1e-13 * value, "mirrored");
    }
    refused(EppsPulley::trapezoid(3.0, 4), &["points is 4", "odd"]);
    refused(EppsPulley::trapezoid(0.0, 5), &["t_max is 0"]);
    refused(EppsPulley::exact().statistic(&Array1::<f64>::zeros(0)), &["samples", "[0]"]);
    refused(EppsPulley::exact().statistic(&arr1(&[f64::NAN])), &["samples[0] is NaN"]);
}

#[test]
fn sigreg_is_the_mean_of_statistics_and_its_node_has_the_gradient() {
    let features = normal(36, 20, 4);
    let sigreg = SigReg::random(4, 7, &mut Generator::new(3)).unwrap();
    let each = sigreg.each(&features).unwrap();
    near(sigreg.loss(&features).unwrap(), each.mean().unwrap(), 1e-14, "the mean");
    let (sum, by_sum) = sigreg.clone().summed(true).loss_and_gradient(&features).unwrap();
    let (mean, by_mean) = sigreg.loss_and_gradient(&features).unwrap();
    near(sum, 7.0 * mean, 1e-13, "the sum");
    all_near(&by_sum, &(7.0 * by_mean), 1e-13, "the sum");
    // Of which length the directions are given does not matter.
    let axes = SigReg::new(&arr2(&[[3.0, 0.0], [0.0, -1e-200]])).unwrap();
    let flat = normal(37, 9, 2);
    let wanted: Vec<f64> =
        flat.columns().into_iter().map(|x| EppsPulley::default().statistic(x).unwrap()).collect();
    for (found, wanted) in axes.each(&flat).unwrap().iter().zip(&wanted) {
        near(*found, *wanted, 1e-13, "an axis");
    }
    let worst = gradcheck(|_, x| x[0].sigreg(&sigreg), &[features.into_dyn()]).unwrap();
    assert!(worst.error < 1e-8, "{worst:?}");
    refused(SigReg::new(&arr2(&[[0.0, 1.0], [0.0, 1.0]])), &["directions[0, 0]", "zeros"]);
    refused(sigreg.each(&normal(1, 2, 3)), &["features", "[2, 3]", "[2, 4]"]);
}
