//! Temperatures of rows: what they scale, their gradients, and losses of them.

use ndarray::{Array1, Array2, ArrayView1, Axis, arr1};
use surprisal::loss::{DistributionallyRobust, EntropyBonus, GeneralizedCrossEntropy, Sum};
use surprisal::{
    Backward, Gradients, Inputs, Isa, LinearCrossEntropy, LinearCrossEntropyBuilder, Reduction,
    Upstream,
};
use testing::Stream;

use super::fused::Data;

/// Each row has the logits that its temperature makes, in every way to compute it.
#[test]
fn temperatures_of_rows_scale_their_logits() {
    let data = Data::new(7, 9, 300);
    let temperatures = arr1(&[0.5, 1.0, 2.0, 0.25, 1.0, 4.0, 1.5]);
    let logits = data.hidden.dot(&data.classifier.t()) + &data.bias;
    let scaled = &logits / &temperatures.view().insert_axis(Axis(1));
    let builder = || LinearCrossEntropy::builder().label_smoothing(0.1).z_loss(0.01);
    let plain = builder().reduction(Reduction::None).build().unwrap();
    let expected = plain.forward(&Inputs::from_logits(&scaled, &data.targets)).unwrap().losses();
    let mut g = Array2::<f64>::zeros(logits.dim());
    let inputs = Inputs::from_logits(&scaled, &data.targets);
    let gradients = Gradients::new().logits(&mut g);
    plain.loss_and_gradients(&inputs, &Upstream::rows(&data.upstream), gradients).unwrap();
    let g = g / temperatures.view().insert_axis(Axis(1));
    let (d_hidden_true, d_classifier_true) = (g.dot(&data.classifier), g.t().dot(&data.hidden));
    for isa in Isa::available() {
        for backward in [Backward::Recompute, Backward::Strip] {
            for filter in [None, Some(surprisal::Filter::Below(0.0))] {
                let builder = builder().reduction(Reduction::None).isa(isa);
                let builder = match filter {
                    Some(_) if backward == Backward::Strip => continue,
                    Some(filter) => builder.filter(filter),
                    None => builder.backward(backward),
                };
                let loss = builder.build().unwrap();
                let mut d_hidden = Array2::<f64>::zeros(data.hidden.dim());
                let mut d_classifier = Array2::<f64>::zeros(data.classifier.dim());
                let inputs = Inputs::new(&data.hidden, &data.classifier, &data.targets)
                    .bias(&data.bias)
                    .temperatures(&temperatures);
                let gradients =
                    Gradients::new().hidden(&mut d_hidden).classifier(&mut d_classifier);
                let upstream = Upstream::rows(&data.upstream);
                let forward = loss.loss_and_gradients(&inputs, &upstream, gradients).unwrap();
                let near = |a: &[f64], b: &[f64]| {
                    let most = b.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
                    // Sums of a few hundred terms in another order.
                    let good = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e3 * f64::EPSILON * most;
                    assert!(a.iter().zip(b).all(good), "{isa:?}, {backward:?}");
                };
                near(&forward.losses().to_vec(), &expected.to_vec());
                let flat = |m: &Array2<f64>| m.iter().copied().collect::<Vec<_>>();
                near(&flat(&d_hidden), &flat(&d_hidden_true));
                near(&flat(&d_classifier), &flat(&d_classifier_true));
            }
        }
    }
    let of_all = builder().temperature(2.0).build().unwrap();
    let twos = arr1(&[2.0_f64; 7]);
    let inputs = Inputs::from_logits(&logits, &data.targets);
    let each = builder().build().unwrap().forward(&inputs.temperatures(&twos)).unwrap();
    assert_eq!(of_all.forward(&inputs).unwrap().losses(), each.losses());
}

/// The derivative by a temperature from scalars alone is that of central differences.
#[test]
fn temperatures_have_gradients() {
    let mut stream = Stream(11);
    let logits = stream.matrix(6, 40, 2.0) + 500.0;
    let classes = stream.classes(6, 40);
    let dense = stream.matrix(6, 40, 1.0).mapv(f64::abs);
    let listed = Array2::from_shape_fn((6, 3), |(i, j)| ((7 * i + 11 * j) % 40) as u32);
    let values = stream.matrix(6, 3, 1.0).mapv(f64::abs);
    let weights = stream.vector(40, 1.0).mapv(f64::abs);
    let temperatures = arr1(&[0.5, 1.0, 2.0, 0.7, 1.3, 3.0]);
    let moved = [-2.0, -1.0, 1.0, 2.0].map(|k| temperatures.mapv(|t: f64| t * (1.0 + k * 1e-3)));
    let upstream = stream.vector(6, 1.0);
    let of = || LinearCrossEntropy::builder().entropy(true).varentropy(true);
    let sum = Sum::new().add(1.0, GeneralizedCrossEntropy::new(0.4).unwrap()).unwrap();
    let sum = sum.add(0.7, EntropyBonus::new(1.0).unwrap()).unwrap();
    let smoothed = || of().label_smoothing(0.2);
    let cases: [(LinearCrossEntropyBuilder, Inputs<'_>); 5] = [
        (smoothed().z_loss(1e-3), Inputs::from_logits(&logits, &classes).class_weights(&weights)),
        (of().row_loss(sum), Inputs::from_logits(&logits, &classes)),
        (smoothed(), Inputs::from_logits(&logits, surprisal::Targets::soft(&dense))),
        (smoothed(), Inputs::from_logits(&logits, surprisal::Targets::sparse(&listed, &values))),
        (of().scale(0.5), Inputs::from_logits(&logits, &classes)),
    ];
    for (which, (builder, inputs)) in cases.into_iter().enumerate() {
        let loss = builder.reduction(Reduction::None).build().unwrap();
        let value = |at: usize| {
            let forward = loss.forward(&inputs.temperatures(&moved[at])).unwrap();
            forward.losses() + 0.3 * forward.log_sum_exp()
        };
        let lse = Array1::from_elem(6, 0.3) * &upstream;
        let mut gradient = Array1::<f64>::from_elem(6, f64::NAN);
        let gradients = Gradients::new().temperature(&mut gradient);
        let from = inputs.temperatures(&temperatures);
        let above = Upstream::rows(&upstream).log_sum_exp(&lse);
        loss.loss_and_gradients(&from, &above, gradients).unwrap();
        let mut again = Array1::<f64>::zeros(6);
        let forward = loss.forward(&from).unwrap();
        let gradients = Gradients::new().accumulate_temperature(&mut again);
        loss.vjp(&from, &forward, &above, gradients).unwrap();
        assert_eq!(again, gradient);
        let (near, far) = (value(2) - value(1), value(3) - value(0));
        let numeric = (8.0 * near - far) / (12e-3 * &temperatures) * &upstream;
        for (a, b) in gradient.iter().zip(&numeric) {
            assert!((a - b).abs() <= 1e-8 * (1.0 + b.abs()), "case {which}: {a} and {b}");
        }
    }
    let mut gradient = Array1::<f64>::zeros(6);
    let mut refused = |builder: LinearCrossEntropyBuilder, says: &str| {
        let inputs = Inputs::from_logits(&logits, &classes);
        let gradients = Gradients::new().temperature(&mut gradient);
        let loss = builder.build().unwrap();
        let error = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients);
        let message = error.expect_err(says).to_string();
        assert!(message.contains(says), "{message}");
    };
    refused(LinearCrossEntropy::builder(), "expected entropy(true)");
    refused(of().softcap(3.0), "without a softcap");
    let bonus = LinearCrossEntropy::builder().row_loss(EntropyBonus::new(1.0).unwrap());
    refused(bonus.entropy(true), "expected varentropy(true)");
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let bad = arr1(&[1.0, bad, 1.0, 1.0, 1.0, 1.0]);
        let inputs = Inputs::from_logits(&logits, &classes).temperatures(&bad);
        let error = LinearCrossEntropy::builder().build().unwrap().forward(&inputs).unwrap_err();
        assert!(error.to_string().contains("temperatures[1]"), "{error}");
    }
    assert!(LinearCrossEntropy::builder().temperature(0.0).build().is_err());
}

/// At its temperature λ, with a margin: the value and its slopes by the logits against direct sums.
#[test]
fn a_robust_loss_has_its_lambda_from_the_temperature() {
    let data = Data::new(5, 6, 40);
    let lambdas = arr1(&[1.0, 0.3, 2.0, 0.7, 5.0]);
    let robust = DistributionallyRobust::new(0.4).unwrap();
    let logits = data.hidden.dot(&data.classifier.t());
    let direct = |i: usize, row: ArrayView1<'_, f64>| {
        let y = data.targets[i] as usize;
        let margin = |v: usize| if v == y { 0.0 } else { 0.4 };
        let delta = row.iter().enumerate().map(|(v, z)| (z - row[y] + margin(v)) / lambdas[i]);
        lambdas[i] * (delta.map(f64::exp).sum::<f64>() / 40.0).ln()
    };
    for backward in [Backward::Strip, Backward::Recompute] {
        let loss = LinearCrossEntropy::builder().row_loss(robust).backward(backward);
        let loss = loss.reduction(Reduction::None).build().unwrap();
        let inputs = Inputs::new(&data.hidden, &data.classifier, &data.targets);
        let inputs = inputs.temperatures(&lambdas);
        let mut d_hidden = Array2::<f64>::zeros(data.hidden.dim());
        let gradients = Gradients::new().hidden(&mut d_hidden);
        let forward = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
        for i in 0..5 {
            assert!((forward.losses()[i] - direct(i, logits.row(i))).abs() < 1e-12);
            let g = Array1::from_shape_fn(40, |v| {
                let moved = |h: f64| {
                    let mut row = logits.row(i).to_owned();
                    row[v] += h;
                    direct(i, row.view())
                };
                (8.0 * (moved(1e-3) - moved(-1e-3)) - (moved(2e-3) - moved(-2e-3))) / 12e-3
            });
            for (a, b) in d_hidden.row(i).iter().zip(&g.dot(&data.classifier)) {
                assert!((a - b).abs() < 1e-9, "{a} and {b}");
            }
        }
        // It depends on λ itself, so a gradient by the temperature alone would be wrong.
        let mut d_lambda = Array1::<f64>::zeros(5);
        let gradients = Gradients::new().temperature(&mut d_lambda);
        let refused = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients);
        assert!(refused.unwrap_err().to_string().contains("no gradient by temperatures"));
    }
}
