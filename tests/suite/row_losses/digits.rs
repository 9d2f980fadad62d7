//! Rows at the ends: sure of the target, far from 0, without a class, beyond the type.

use ndarray::{Array1, Array2, arr1, arr2};
use surprisal::loss::{Companion, ExpectedCost};
use surprisal::{Backward, Gradients, Inputs, LinearCrossEntropy, Reduction, Upstream};
use testing::Stream;

use super::named::{Costs, Named, losses};
use super::own::{SumExponential, Tempered};

/// Value and gradient of one row with costs of 0 at the target and 3 elsewhere.
fn of_row(named: &Named, logits: &Array2<f64>, y: i64) -> (f64, Array2<f64>) {
    let loss = named.builder.clone().reduction(Reduction::Sum).build().unwrap();
    let mut costs = Array1::from_elem(logits.dim().1, 3.0);
    costs[y as usize] = 0.0;
    let mut g = Array2::<f64>::zeros(logits.dim());
    let targets = [y];
    let mut inputs = Inputs::from_logits(logits, &targets);
    if named.costs != Costs::None {
        inputs = inputs.companion(Companion::classes(&costs));
    }
    let gradients = Gradients::new().logits(&mut g);
    let forward = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
    (forward.loss(), g)
}

/// p_y = 1 − 1e-17: what is left of 1 − p_y is in every loss to its last digits, fused and given.
#[test]
fn confident_targets_keep_their_digits() {
    let gap = 17.0 * std::f64::consts::LN_10;
    let mut count = 0;
    for named in losses() {
        let Some(sure) = &named.sure else { continue };
        count += 1;
        let q = (-gap).exp();
        let (value, slope) = sure(q, gap);
        // The exponential of a gap that is rounded, to a power of at most 4 that does not underflow.
        let unit = 128.0 * f64::EPSILON;
        let near = |what: &str, a: f64, b: f64| {
            let good = (a - b).abs() <= unit * b.abs();
            assert!(good, "{}, {what}: {a:e}, expected {b:e}", named.name);
        };
        let raw = gap * named.temperature;
        let (found, g) = of_row(&named, &arr2(&[[0.0, raw]]), 1);
        near("value", found, value);
        near("slope of the target", g[[0, 1]], slope);
        near("slope of the other", g[[0, 0]], -slope);
        // The same made of products.
        for backward in [Backward::Strip, Backward::Recompute] {
            let loss = named.builder.clone().backward(backward).build().unwrap();
            let (hidden, classifier) = (arr2(&[[1.0]]), arr2(&[[0.0], [raw]]));
            let costs = arr1(&[3.0, 0.0]);
            let mut bias = Array1::<f64>::zeros(2);
            let mut inputs = Inputs::new(&hidden, &classifier, &[1_u32]);
            if named.costs != Costs::None {
                inputs = inputs.companion(Companion::classes(&costs));
            }
            let gradients = Gradients::new().bias(&mut bias);
            let forward =
                loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
            near("fused value", forward.loss(), value);
            near("fused slope", bias[1], slope);
        }
    }
    assert!(count > 40, "{count}");
}

/// What a row has in common with itself is not seen, at 1e8 as at 0.
#[test]
fn an_offset_of_a_row_costs_nothing() {
    let mut stream = Stream(5);
    // Sums with the offset are exact.
    let logits = stream.matrix(1, 9, 3.0).mapv(|x| (x * 1024.0).round() / 1024.0);
    let far = &logits + 1e8;
    // At another temperature the offset is rounded before it goes.
    for named in losses().iter().filter(|named| !named.shifts && named.temperature == 1.0) {
        for y in 0..9 {
            let ((a, g), (b, h)) = (of_row(named, &logits, y), of_row(named, &far, y));
            assert!(
                (a - b).abs() <= 8.0 * f64::EPSILON * (1.0 + b.abs()),
                "{}: {a}, {b}",
                named.name
            );
            for (a, b) in g.iter().zip(&h) {
                // H and its slopes take lse − a of the logits as they are, unless they are near each other.
                let bound = 16.0 * f64::EPSILON * (1.0 + b.abs());
                assert!((a - b).abs() <= bound, "{}: {a:e}, {b:e}", named.name);
            }
        }
    }
}

/// A class of logit −∞ has no probability, no gradient, and leaves all else what it is.
#[test]
fn a_class_without_probability_is_not_there() {
    let gone = f64::NEG_INFINITY;
    for named in losses() {
        let near = arr2(&[[0.5, gone, -1.0, 2.0]]);
        let low = near.mapv(|x: f64| x.max(-1e5));
        for y in [0, 2, 3] {
            let ((a, g), (b, h)) = (of_row(&named, &near, y), of_row(&named, &low, y));
            let name = &named.name;
            let smoothed = name.contains("label_smoothing: 0.1") || name.contains("smoothing: 1.0");
            if smoothed {
                assert_eq!(a, f64::INFINITY, "{name}");
                continue;
            }
            // What counts the surprisals of all classes is at its limit, and near it at −1e5.
            let bound = if name.contains("Everything") || name.contains("Normalized") {
                1e-3
            } else {
                8.0 * f64::EPSILON
            };
            assert!((a - b).abs() <= bound * (1.0 + b.abs()), "{name}: {a} and {b}");
            for (a, b) in g.iter().zip(&h) {
                assert!((a - b).abs() <= bound * (1.0 + b.abs()), "{name}: {g} and {h}");
            }
            assert_eq!(g[[0, 1]], 0.0, "{name}");
        }
    }
}

/// A target of logit −∞: a bounded loss is at its bound, another is +∞, and none is no number.
#[test]
fn a_target_without_probability_has_the_limit_of_every_loss() {
    // A loss that divides infinities, and those in which the others' surprisals are 0 · ∞.
    let known = ["Everything", "label_smoothing: 1.0"];
    for named in losses().iter().filter(|named| !known.iter().any(|own| named.name.contains(own))) {
        let at = |x: f64| of_row(named, &arr2(&[[x, 0.0, 0.0]]), 0);
        let ((value, g), (near, h)) = (at(f64::NEG_INFINITY), at(-1e6));
        let name = &named.name;
        match near.abs() > 1e4 {
            true => assert_eq!(value, f64::INFINITY, "{name}, of {near} at −1e6"),
            false => assert!(
                (value - near).abs() < 1e-4 * (1.0 + near.abs()),
                "{name}: {value} and {near}"
            ),
        }
        // Slopes that grow without a bound are infinite there, or are numbers up to e^10000 alone.
        if name.contains("tau: 0.") || name.contains("EarthMover") {
            continue;
        }
        for (a, b) in g.iter().zip(&h) {
            match b.abs() > 1e4 {
                true => assert!(a.is_infinite() || a.abs() > 1e4, "{name}: {g} and {h}"),
                false => assert!((a - b).abs() < 1e-4 * (1.0 + b.abs()), "{name}: {g} and {h}"),
            }
        }
    }
}

/// p_v is 0 in f64, s is 10⁴, and no step to a value that f64 holds leaves it.
#[test]
fn nothing_overflows_where_the_value_does_not() {
    use surprisal::loss::{CompSum, DistributionallyRobust};
    let logits = arr2(&[[0.0, 1e4, 1e4 - 2.0]]);
    for named in losses() {
        let (value, g) = of_row(&named, &logits, 0);
        let fine = named.name.contains("CompSum { tau: 0.0 }") || named.name.contains("tau: 0.5");
        let good = value.is_finite() && g.iter().all(|x| x.is_finite());
        assert!(good || fine, "{}: {value}, {g}", named.name);
    }
    let run = |builder: surprisal::LinearCrossEntropyBuilder| {
        let inputs = Inputs::from_logits(&logits, &[0_u32]);
        builder.build().unwrap().forward(&inputs).unwrap().loss()
    };
    let of = LinearCrossEntropy::builder;
    let s = 1e4 + (-2.0_f64).exp().ln_1p();
    let value = run(of().row_loss(CompSum::new(0.95).unwrap()));
    // (1−τ) s is off by 2⁻⁵⁴ of s, as τ is.
    let expected = (0.05 * s).exp_m1() / 0.05;
    assert!((value / expected - 1.0).abs() < 1e4 * f64::EPSILON, "{value:e}, {expected:e}");
    let crammer_singer =
        run(of().row_loss(DistributionallyRobust::new(2.0).unwrap()).temperature(1e-300));
    assert!((crammer_singer - 10_002.0).abs() < 1e-11, "{crammer_singer}");
}

/// The forms that were tried by hand.
#[test]
fn a_cost_of_the_others_alone_has_its_digits_in_single() {
    let gap = 17.0 * std::f64::consts::LN_10;
    let (logits, targets) = (arr2(&[[0.0, gap]]), [1_u32]);
    // A cost of the others alone: the mean is tiny and so is the slope, whatever the offset of the costs.
    let loss = LinearCrossEntropy::builder().row_loss(ExpectedCost).build().unwrap();
    let costs = arr1(&[3.0, 0.0]);
    let mut g = Array2::<f32>::zeros((1, 2));
    let narrow = logits.mapv(|x| x as f32);
    let inputs = Inputs::from_logits(&narrow, &targets).companion(Companion::classes(&costs));
    let gradients = Gradients::new().logits(&mut g);
    let forward = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
    let q = (-f64::from(gap as f32)).exp();
    assert!((forward.loss() / (3.0 * q) - 1.0).abs() < 1e-6);
    assert!((f64::from(g[[0, 1]]) / (-3.0 * q) - 1.0).abs() < 1e-6, "{g:e}");
}

/// A coefficient of e^s may be beyond the type where what is made of it is not.
#[test]
fn a_coefficient_beyond_the_type_is_carried_by_its_exponent() {
    let loss = LinearCrossEntropy::builder().row_loss(SumExponential).build().unwrap();
    for s in [300.0_f64, 650.0] {
        let logits = arr2(&[[s as f32, 0.0_f32]]);
        // Such that the upstream takes the loss to about 5.
        let upstream = 5.0 * (-s).exp();
        let mut g = Array2::<f32>::zeros((1, 2));
        let inputs = Inputs::from_logits(&logits, &[1_u32]);
        let gradients = Gradients::new().logits(&mut g);
        let forward =
            loss.loss_and_gradients(&inputs, &Upstream::scalar(upstream), gradients).unwrap();
        assert!((forward.loss() / s.exp() - 1.0).abs() < 1e-13, "{}", forward.loss());
        assert!((g[[0, 1]] + 5.0).abs() < 5.0 * 4.0 * f32::EPSILON, "{g:e}");
        assert!((g[[0, 0]] - 5.0).abs() < 5.0 * 4.0 * f32::EPSILON, "{g:e}");
    }
    // Beyond f64 itself: the upstream cannot be so small, but token weights and divisors can.
    let logits = arr2(&[[1000.0_f64, 0.0]]);
    let weights = arr1(&[1e-300]);
    let loss = LinearCrossEntropy::builder()
        .row_loss(SumExponential)
        .reduction(Reduction::Divide(1e200))
        .build()
        .unwrap();
    let mut g = Array2::<f64>::zeros((1, 2));
    let inputs = Inputs::from_logits(&logits, &[1_u32]).token_weights(&weights);
    let gradients = Gradients::new().logits(&mut g);
    loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
    let expected = (1000.0 - 500.0 * std::f64::consts::LN_10).exp();
    assert!((g[[0, 0]] / expected - 1.0).abs() < 1e-12, "{g:e} and {expected:e}");
}

/// p_v e^s of a class is a number where neither p_v nor e^s is one: in f32 from s = 89 on, in f64 from 710.
#[test]
fn a_product_that_the_type_holds_is_right_whatever_its_factors() {
    let loss = LinearCrossEntropy::builder().row_loss(SumExponential).build().unwrap();
    let run = |logits: &Array2<f64>, narrow: bool| {
        let mut g = Array2::<f64>::zeros(logits.dim());
        let single = logits.mapv(|x| x as f32);
        let inputs = match narrow {
            true => Inputs::from_logits(&single, &[1_u32]),
            false => Inputs::from_logits(logits, &[1_u32]),
        };
        let gradients = Gradients::new().logits(&mut g);
        loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
        g
    };
    for (s, narrow, unit) in [(100.0, true, f64::from(f32::EPSILON)), (800.0, false, f64::EPSILON)]
    {
        let g = run(&arr2(&[[s, 0.0, -20.0, -3.0, f64::NEG_INFINITY]]), narrow);
        assert_eq!((g[[0, 0]], g[[0, 1]]), (f64::INFINITY, f64::NEG_INFINITY));
        // p_v e^s = e^(a_v − a_y).
        for (v, expected) in [(2, (-20.0_f64).exp()), (3, (-3.0_f64).exp())] {
            let a = g[[0, v]];
            assert!((a / expected - 1.0).abs() < 8.0 * unit, "{a:e}, expected {expected:e}");
        }
        assert_eq!(g[[0, 4]], 0.0);
    }
    // Fused, by either strategy, the same.
    let (hidden, classifier) = (arr2(&[[1.0_f32]]), arr2(&[[100.0_f32], [0.0], [-20.0]]));
    for backward in [Backward::Strip, Backward::Recompute] {
        let builder = LinearCrossEntropy::builder().row_loss(SumExponential).backward(backward);
        let mut bias = Array1::<f32>::zeros(3);
        let inputs = Inputs::new(&hidden, &classifier, &[1_u32]);
        let gradients = Gradients::new().bias(&mut bias);
        let loss = builder.build().unwrap();
        loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
        let (a, expected) = (f64::from(bias[2]), (-20.0_f64).exp());
        assert!((a / expected - 1.0).abs() < 8.0 * f64::from(f32::EPSILON), "{bias:e}");
    }
}

/// A target whose logit is −∞: the loss is +∞, and its slope is still one.
#[test]
fn a_target_without_probability_has_the_limit() {
    let logits = arr2(&[[f64::NEG_INFINITY, 0.0, 0.0]]);
    let loss = LinearCrossEntropy::builder().row_loss(Tempered).build().unwrap();
    let mut g = Array2::<f64>::zeros((1, 3));
    let inputs = Inputs::from_logits(&logits, &[0_u32]);
    let gradients = Gradients::new().logits(&mut g);
    let forward = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
    assert_eq!((forward.loss(), g), (f64::INFINITY, arr2(&[[-1.0, 0.5, 0.5]])));
}
