//! Numbers at the ends of what their type holds: whatever has a finite result is computed as if the
//! steps to it were.

use ndarray::{Array1, Array2, ArrayView1, Axis, arr1, arr2};
use proptest::prelude::*;
use surprisal::autodiff::{Shared, Tape, clip_gradient_norm};
use surprisal::{
    Error, Gradients, Inputs, Isa, LinearCrossEntropy, Real, Reduction, RowState, Statistic,
    Targets, TopK, Upstream,
};
use testing::close;

/// Loss and gradient of given logits.
fn given(
    loss: &LinearCrossEntropy,
    inputs: Inputs<'_>,
    shape: (usize, usize),
    upstream: &Upstream<'_>,
) -> (f64, Array2<f64>) {
    let mut gradient = Array2::from_elem(shape, f64::NAN);
    let gradients = Gradients::new().logits(gradient.view_mut());
    let forward = loss.loss_and_gradients(&inputs, upstream, gradients).unwrap();
    (forward.loss(), gradient)
}

#[track_caller]
fn near(found: &(f64, Array2<f64>), expected: &(f64, Array2<f64>), relative: f64) {
    assert!(close(found.0, expected.0, relative, 0.0), "{:e} for {:e}", found.0, expected.0);
    for (a, b) in found.1.iter().zip(&expected.1) {
        assert!(close(*a, *b, relative, 0.0), "{a:e} for {b:e}");
    }
}

/// Two rows whose loss without weights is 1.9795253391882155.
fn two_rows() -> Array2<f64> {
    arr2(&[[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]])
}

#[test]
fn equal_class_weights_of_any_size_are_as_none() {
    let logits = two_rows();
    for smoothing in [0.0, 0.1] {
        let loss = LinearCrossEntropy::builder().label_smoothing(smoothing).build().unwrap();
        let inputs = Inputs::from_logits(logits.view(), &[0_i64, 2]);
        let plain = given(&loss, inputs, (2, 3), &Upstream::default());
        if smoothing == 0.0 {
            assert!(close(plain.0, 1.9795253391882155, 4.0 * f64::EPSILON, 0.0));
        }
        for weight in [1e-310, 1e-300, 1e-20, 3.0, 1e20, 1e308, f64::MAX] {
            let weights = Array1::from_elem(3, weight);
            let inputs = Inputs::from_logits(logits.view(), &[0_i64, 2]);
            let inputs = inputs.class_weights(weights.view());
            let weighted = given(&loss, inputs, (2, 3), &Upstream::default());
            near(&weighted, &plain, 16.0 * f64::EPSILON);
        }
        // In f32, with weights that f32 holds and whose sum it does not.
        let narrow = logits.mapv(|x| x as f32);
        for weight in [1e-44_f32, 1e-38, 1e30, f32::MAX] {
            let weights = Array1::from_elem(3, weight);
            let inputs = Inputs::from_logits(narrow.view(), &[0_i64, 2]);
            let inputs = inputs.class_weights(weights.view());
            let weighted = given(&loss, inputs, (2, 3), &Upstream::default());
            near(&weighted, &plain, 16.0 * f64::from(f32::EPSILON));
        }
    }
}

#[test]
fn factors_of_the_loss_may_leave_the_range_where_it_does_not() {
    let logits = two_rows();
    let plain = LinearCrossEntropy::builder().reduction(Reduction::Sum).build().unwrap();
    let inputs = Inputs::from_logits(logits.view(), &[0_i64, 2]);
    let sum = given(&plain, inputs, (2, 3), &Upstream::default());
    for (upstream, class, token, divisor) in [
        (1.0, 1e-310, 1.0, 1e-310),
        (1.0, 1e308, 1.0, 1e308),
        (1.0, 1.0, 1e308, 1e308),
        (1.0, 1e200, 1e200, f64::MAX),
        (1e300, 1e300, 1e-300, 1e300),
        (1e-300, 1e-300, 1e300, 1e-300),
        (1e-200, 1e-200, 1.0, 1e-308),
    ] {
        let builder = LinearCrossEntropy::builder().reduction(Reduction::Divide(divisor));
        let (class_weights, tokens) = (Array1::from_elem(3, class), Array1::from_elem(2, token));
        let inputs = Inputs::from_logits(logits.view(), &[0_i64, 2])
            .class_weights(class_weights.view())
            .token_weights(tokens.view());
        let above = Upstream::scalar(upstream);
        let found = given(&builder.build().unwrap(), inputs, (2, 3), &above);
        // The logarithm of the factor, in whose place the plain product leaves the range.
        let factor = f64::ln(class) + f64::ln(token) - f64::ln(divisor);
        let expected = sum.0 * factor.exp();
        if expected.is_finite() && expected > 1e-290 {
            // exp and ln of numbers up to 700: 700 units.
            assert!(close(found.0, expected, 4e3 * f64::EPSILON, 0.0), "{:e}", found.0);
        }
        let factor = (factor + f64::ln(upstream)).exp();
        for (found, plain) in found.1.iter().zip(&sum.1) {
            let expected = plain * factor;
            assert!(close(*found, expected, 4e3 * f64::EPSILON, 0.0), "{found:e} {expected:e}");
        }
    }
}

#[test]
fn the_z_loss_of_a_huge_log_sum_exp_with_a_tiny_weight() {
    let logits = arr2(&[[1e200, 0.0]]);
    let loss = LinearCrossEntropy::builder().z_loss(1e-300).build().unwrap();
    let (value, gradient) =
        given(&loss, Inputs::from_logits(logits.view(), &[0_i64]), (1, 2), &Upstream::default());
    assert!(close(value, 1e100, 8.0 * f64::EPSILON, 0.0), "{value:e}");
    assert!(close(gradient[[0, 0]], 2e-100, 8.0 * f64::EPSILON, 0.0), "{gradient}");
}

#[test]
fn soft_targets_of_the_largest_numbers() {
    let logits = arr2(&[[1.0_f32, 2.0, 0.5]]);
    let targets = Array2::from_elem((1, 3), f32::MAX);
    let loss = LinearCrossEntropy::builder().reduction(Reduction::Divide(3e38)).build().unwrap();
    let soft = Targets::soft(&targets);
    let (value, _) =
        given(&loss, Inputs::from_logits(logits.view(), soft), (1, 3), &Upstream::default());
    let ones = Array2::from_elem((1, 3), 1.0_f64);
    let soft = Targets::soft(&ones);
    let wide = logits.mapv(f64::from);
    let sum = LinearCrossEntropy::builder().reduction(Reduction::Sum).build().unwrap();
    let (one, _) =
        given(&sum, Inputs::from_logits(wide.view(), soft), (1, 3), &Upstream::default());
    let expected = one * (f64::from(f32::MAX) / 3e38);
    assert!(close(value, expected, 16.0 * f64::from(f32::EPSILON), 0.0), "{value} {expected}");
}

/// What is far below its row's largest, wherever that stands.
fn confident<R: Real>(top: f64, classes: usize, at: usize) -> Array2<R> {
    Array2::from_shape_fn((1, classes), |(_, v)| R::from_f64(if v == at { top } else { 0.0 }))
}

#[test]
fn what_is_far_below_is_summed_in_any_order_of_the_classes() {
    let classes = 1000;
    let rest = (classes - 1) as f64;
    // r = 999 e^−90, the loss of the largest; the entropy is r (1 + 90) up to r².
    let r = rest * (-90.0_f64).exp();
    assert!(close(r, 8.1858e-37, 1e-4, 0.0));
    for isa in Isa::available() {
        for at in [0, 1, 15, 16, 255, 256, 257, 511, 998, 999] {
            for second in [false, true] {
                let logits = confident::<f32>(90.0, classes, at);
                let builder = LinearCrossEntropy::builder().isa(isa).entropy(true);
                let loss = builder.varentropy(second).build().unwrap();
                let target = [at as i64];
                let inputs = Inputs::from_logits(logits.view(), &target);
                let forward = loss.forward(&inputs).unwrap();
                let state = forward.states()[0];
                let unit = 8.0 * f64::from(f32::EPSILON);
                assert!(close(forward.loss(), r, unit, 0.0), "{at}: {}", forward.loss());
                assert!(close(state.remainder, r, unit, 0.0), "{at}: {:e}", state.remainder);
                assert!(close(state.entropy(), 91.0 * r, 4.0 * unit, 0.0), "{:e}", state.entropy());
                if second {
                    let varentropy = state.varentropy();
                    assert!(close(varentropy, 8100.0 * r, 4.0 * unit, 0.0), "{varentropy:e}");
                }
            }
        }
    }
    // In f64, and by the fold of a row; e^−740 is subnormal, 999 of them keep four digits.
    let half = (-370.0_f64).exp();
    let r = half * rest * half;
    for at in [0, 255, 256, 999] {
        let logits = confident::<f64>(740.0, classes, at);
        let mut state = RowState::with_target(at as u32);
        state.push(0, logits.as_slice().unwrap()).unwrap();
        assert!(close(state.remainder, r, 1e-4, 0.0), "{at}: {:e} {r:e}", state.remainder);
        let loss = LinearCrossEntropy::builder().build().unwrap();
        let target = [at as i64];
        let inputs = Inputs::from_logits(logits.view(), &target);
        let value = loss.forward(&inputs).unwrap().loss();
        assert!(close(value, r, 1e-4, 0.0), "{at}: {value:e} {r:e}");
    }
}

#[test]
fn sums_that_fade_are_those_of_f64() {
    // Logits from 60 to 110 below the largest, so that some are summed twice and some are not.
    let mut stream = testing::Stream(7);
    for moved in [60.0, 75.0, 90.0, 100.0] {
        let mut logits = stream.vector(700, 8.0).mapv(|x| (x - moved) as f32);
        logits[300] = 0.0;
        let mut state = RowState::new();
        state.push(0, logits.as_slice().unwrap()).unwrap();
        let others = || logits.iter().enumerate().filter(|&(v, _)| v != 300);
        let terms = |power: i32| -> f64 {
            others().map(|(_, &x)| f64::from(x).exp() * f64::from(x).powi(power)).sum()
        };
        let (r, first) = (terms(0), terms(1));
        // e^u with u off by half a unit of 128: 2^-18.
        let relative = 4e-6 + 64.0 * f64::from(f32::EPSILON);
        assert!(close(state.remainder, r, relative, 0.0), "{:e} {r:e}", state.remainder);
        assert!(close(state.first_moment, first, relative, 0.0));
        let varentropy = terms(2) / (1.0 + r) - (first / (1.0 + r)).powi(2);
        assert!(close(state.varentropy(), varentropy, 2.0 * relative, 0.0));
    }
}

/// (p_y − 1) t_y + p_y Σ_{v≠y} t_v for y the arg-max, p Σt − t for the others; in f64.
fn of_soft(logits: ArrayView1<'_, f64>, targets: ArrayView1<'_, f64>) -> Array1<f64> {
    let most = logits.fold(f64::NEG_INFINITY, |m, &x| m.max(x));
    let argmax = logits.iter().position(|&x| x == most).unwrap();
    let rest = |of: &dyn Fn(usize) -> f64| -> f64 {
        (0..logits.len()).filter(|&v| v != argmax).map(of).sum()
    };
    let r = rest(&|v| (logits[v] - most).exp());
    let others = rest(&|v| targets[v]);
    Array1::from_shape_fn(logits.len(), |v| {
        let p = (logits[v] - most).exp() / (1.0 + r);
        match v == argmax {
            true => p * others - targets[v] * (r / (1.0 + r)),
            false => p * (others + targets[argmax]) - targets[v],
        }
    })
}

#[test]
fn the_gradient_of_soft_targets_keeps_its_digits_at_the_largest_class() {
    let loss = LinearCrossEntropy::builder().reduction(Reduction::Sum).build().unwrap();
    let logits = arr2(&[[23.0_f32, 0.0]]);
    let targets = arr2(&[[1.0_f32, 1e-10]]);
    let classes = arr2(&[[1_u32, 0]]);
    let lists = arr2(&[[1e-10_f32, 1.0]]);
    let wide = (logits.mapv(f64::from), targets.mapv(f64::from));
    let expected = of_soft(wide.0.row(0), wide.1.row(0));
    assert!(close(expected[0], -2.62e-12, 1e-3, 0.0) && close(expected[1], 2.62e-12, 1e-3, 0.0));
    // Each of the two terms, 1e-10, is right to a few units.
    let absolute = 4.0 * f64::from(f32::EPSILON) * 1.03e-10;
    let sparse = Targets::sparse(&classes, &lists);
    for soft in [Targets::soft(&targets), sparse] {
        let inputs = Inputs::from_logits(logits.view(), soft);
        let (_, gradient) = given(&loss, inputs, (1, 2), &Upstream::default());
        for (found, expected) in gradient.iter().zip(&expected) {
            assert!(close(*found, *expected, 0.0, absolute), "{found:e} for {expected:e}");
        }
    }
}

#[test]
fn smoothing_keeps_the_digits_of_the_largest_class() {
    // The arg-max has nearly all of the class weights: Σ w less its own would be noise.
    let logits = arr2(&[[20.0_f32, 0.0, 0.0]]);
    let weights = arr1(&[1.0_f32, 1e-9, 1e-9]);
    let builder = LinearCrossEntropy::builder().reduction(Reduction::Sum).label_smoothing(1.0);
    let loss = builder.build().unwrap();
    let inputs = Inputs::from_logits(logits.view(), &[1_i64]).class_weights(weights.view());
    let (_, gradient) = given(&loss, inputs, (1, 3), &Upstream::default());
    let own = weights.mapv(|w| f64::from(w) / 3.0);
    let expected = of_soft(logits.mapv(f64::from).row(0), own.view());
    // Each of the two terms, 7e-10, is right to a few units.
    let absolute = 8.0 * f64::from(f32::EPSILON) * 1.4e-9;
    for (found, expected) in gradient.iter().zip(&expected) {
        assert!(close(*found, *expected, 0.0, absolute), "{found:e} for {expected:e}");
    }
}

#[test]
fn numbers_beyond_f32_are_short_and_named() {
    let logits = arr2(&[[1.0_f32, 2.0]]);
    let inputs = Inputs::from_logits(logits.view(), &[0_i64]);
    let weights = arr1(&[1.0, 1e300]);
    let loss = LinearCrossEntropy::builder().build().unwrap();
    let targets = arr2(&[[1.0, 1e300]]);
    let soft = Inputs::from_logits(logits.view(), Targets::soft(&targets));
    let tiny = LinearCrossEntropy::builder().softcap(1e-320).build().unwrap();
    let large = LinearCrossEntropy::builder().scale(1e300).build().unwrap();
    for (error, start) in [
        (loss.forward(&inputs.class_weights(weights.view())), "class_weights[1] is 1e300,"),
        (loss.forward(&soft), "soft targets[0, 1] is 1e300,"),
        (tiny.forward(&inputs), "softcap is 1e-320,"),
        (large.forward(&inputs), "scale is 1e300,"),
    ] {
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with(start) && error.contains("beyond f32"), "{error}");
        assert!(error.len() < 120 && !error.contains('\n'), "{error}");
    }
}

#[test]
fn top_k_beyond_the_vocabulary_has_no_probability() {
    let logits = arr2(&[[1.0_f64, 2.0], [0.0, 0.0]]);
    let loss = LinearCrossEntropy::builder().top_k(4).build().unwrap();
    let forward = loss.forward(&Inputs::from_logits(logits.view(), &[0_i64, -100])).unwrap();
    let TopK { classes, log_probabilities, .. } = forward.top_k();
    assert_eq!(classes, arr2(&[[1, 0, -1, -1], [-1, -1, -1, -1]]));
    assert!(log_probabilities.row(0).iter().skip(2).all(|&p| p == f64::NEG_INFINITY));
    assert!(log_probabilities.row(1).iter().all(|&p| p == 0.0));
}

#[test]
fn ignored_rows_of_any_targets_are_those_of_a_copy_without_them() {
    let mut stream = testing::Stream(11);
    let (hidden, classifier) = (stream.matrix(5, 3, 1.0), stream.matrix(7, 3, 1.0));
    let dense = stream.matrix(5, 7, 1.0).mapv(f64::abs);
    let classes = arr2(&[[0_u32, 6], [1, 2], [3, 3], [4, 5], [6, 0]]);
    let weights = stream.matrix(5, 2, 1.0).mapv(f64::abs);
    let hard = [3_i64, 0, 6, 2, 2];
    let token = stream.vector(5, 1.0);
    let ignored = [false, true, false, false, true];
    let kept = [0, 2, 3];
    let (few_hidden, few_dense) = (hidden.select(Axis(0), &kept), dense.select(Axis(0), &kept));
    let (few_classes, few_weights) =
        (classes.select(Axis(0), &kept), weights.select(Axis(0), &kept));
    let (few_hard, few_token) = (kept.map(|i| hard[i]), token.select(Axis(0), &kept));
    let all = [Targets::from(&hard), Targets::soft(&dense), Targets::sparse(&classes, &weights)];
    let few = [
        Targets::from(&few_hard),
        Targets::soft(&few_dense),
        Targets::sparse(&few_classes, &few_weights),
    ];
    for (all, few) in all.into_iter().zip(few) {
        for reduction in [Reduction::Mean, Reduction::Sum, Reduction::None] {
            let builder = LinearCrossEntropy::builder().reduction(reduction).z_loss(0.01);
            let loss = builder.label_smoothing(0.1).build().unwrap();
            let run = |inputs: &Inputs<'_>, hidden: &Array2<f64>| {
                let mut d_hidden = Array2::from_elem(hidden.dim(), f64::NAN);
                let mut d_classifier = Array2::from_elem(classifier.dim(), f64::NAN);
                let gradients = Gradients::new()
                    .hidden(d_hidden.view_mut())
                    .classifier(d_classifier.view_mut());
                let forward =
                    loss.loss_and_gradients(inputs, &Upstream::default(), gradients).unwrap();
                (forward, d_hidden, d_classifier)
            };
            let inputs = Inputs::new(hidden.view(), classifier.view(), all);
            let inputs = inputs.token_weights(token.view()).ignore(&ignored);
            let (forward, d_hidden, d_classifier) = run(&inputs, &hidden);
            let inputs = Inputs::new(few_hidden.view(), classifier.view(), few);
            let inputs = inputs.token_weights(few_token.view());
            let (copy, few_d_hidden, few_d_classifier) = run(&inputs, &few_hidden);
            assert_eq!((forward.len(), forward.rows_kept()), (5, 3));
            assert_eq!(forward.loss(), copy.loss());
            assert_eq!(forward.losses().select(Axis(0), &kept), copy.losses());
            assert_eq!(d_hidden.select(Axis(0), &kept), few_d_hidden);
            assert_eq!(d_classifier, few_d_classifier);
            for i in [1, 4] {
                assert_eq!(forward.statistic(Statistic::LogSumExp).unwrap()[i], 0.0);
                assert!(d_hidden.row(i).iter().all(|&g| g == 0.0));
            }
        }
    }
    let inputs = Inputs::new(hidden.view(), classifier.view(), &hard).ignore(&ignored[..3]);
    let error = LinearCrossEntropy::builder().build().unwrap().forward(&inputs).unwrap_err();
    assert!(matches!(error, Error::Shape { argument: "the ignored rows", .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A common factor of the class weights leaves the mean and its gradients.
    #[test]
    fn a_factor_of_the_class_weights_cancels_in_the_mean(
        power in -1000_i32..1000,
        seed in any::<u32>(),
        smoothing in 0.0..0.5_f64,
    ) {
        let mut stream = testing::Stream(u64::from(seed));
        let logits = stream.matrix(3, 5, 2.0);
        let weights = stream.vector(5, 1.0).mapv(|w| w.abs() + 0.25);
        let moved = weights.mapv(|w| w * 2_f64.powi(power));
        let loss = LinearCrossEntropy::builder().label_smoothing(smoothing).build().unwrap();
        let run = |weights: &Array1<f64>| {
            let inputs = Inputs::from_logits(logits.view(), &[4_i64, 0, 2]);
            given(&loss, inputs.class_weights(weights.view()), (3, 5), &Upstream::default())
        };
        // A power of two changes no digit of the weights; sums of them may round otherwise.
        near(&run(&moved), &run(&weights), 8.0 * f64::EPSILON);
    }

    /// Where the classes stand changes what rounds, and no more.
    #[test]
    fn the_order_of_the_classes_changes_no_digit(
        top in 0.0..120.0_f64,
        at in 0_usize..600,
        seed in any::<u32>(),
    ) {
        let mut stream = testing::Stream(u64::from(seed));
        let mut logits: Vec<f32> = stream.vector(600, 4.0).iter().map(|&x| x as f32).collect();
        let mut moved = logits.clone();
        logits.insert(at, top as f32 + 4.0);
        moved.insert(600 - at, top as f32 + 4.0);
        let fold = |logits: &[f32]| {
            let mut state = RowState::new();
            state.push(0, logits).map(|()| state)
        };
        let (a, b) = (fold(&logits).unwrap(), fold(&moved).unwrap());
        // Sums of positive terms: 16 lanes over 256 columns, and the few units of an exponential.
        let relative = 64.0 * f64::from(f32::EPSILON);
        prop_assert!(close(a.remainder, b.remainder, relative, 0.0));
        prop_assert!(close(a.entropy(), b.entropy(), 2.0 * relative, 0.0));
        prop_assert!(close(a.varentropy(), b.varentropy(), 8.0 * relative, 0.0));
    }
}

fn vector<T: Real>(numbers: &[f64]) -> Shared<T> {
    Array1::from_iter(numbers.iter().map(|&x| T::from_f64(x))).into_dyn().into_shared()
}

#[track_caller]
fn all_near<T: Real>(found: &Shared<T>, expected: &[f64]) {
    let relative = 16.0 * T::EPSILON;
    for (found, expected) in found.iter().zip(expected) {
        assert!(close(found.to_f64(), *expected, relative, 0.0), "{found} for {expected}");
    }
    assert_eq!(found.len(), expected.len());
}

#[test]
fn means_whose_sums_are_beyond_the_type() {
    let tape = Tape::<f32>::new().unwrap();
    let x = tape.leaf(vector::<f32>(&[3e38, 3e38, 3e38, 1e38]));
    all_near(&x.mean().value(), &[2.5e38]);
    let x = x.reshape(&[2, 2]).unwrap();
    all_near(&x.mean_axes(&[1], false).unwrap().value(), &[3e38, 2e38]);
    all_near(&x.mean_axes(&[0, 1], false).unwrap().value(), &[2.5e38]);
    let tape = Tape::<f64>::new().unwrap();
    all_near(&tape.leaf(vector::<f64>(&[1.5e308, 1.5e308])).mean().value(), &[1.5e308]);
}

#[test]
fn norms_of_rows_whose_squares_are_beyond_the_type() {
    fn check<T: Real>(scales: &[f64]) {
        let row = [1.0, -2.0, 0.5, 0.25];
        let run = |scale: f64, center: bool| {
            let tape = Tape::<T>::new().unwrap();
            let x = tape.leaf(vector::<T>(&row.map(|x| x * scale)));
            let y = match center {
                true => x.layer_norm(None, None, 0.0).unwrap(),
                false => x.rms_norm(None, 0.0).unwrap(),
            };
            let weights = vector::<T>(&[0.3, 0.2, -0.7, 1.0]);
            let gradients = y.backward_with(weights).unwrap();
            (y.value().mapv(T::to_f64), gradients.of(x).unwrap().mapv(|g| g.to_f64() * scale))
        };
        for center in [true, false] {
            let (y, gradient) = run(1.0, center);
            for &scale in scales {
                let (huge, of_huge) = run(scale, center);
                for (found, expected) in huge.iter().chain(&of_huge).zip(y.iter().chain(&gradient))
                {
                    let near = close(*found, *expected, 64.0 * T::EPSILON, 16.0 * T::EPSILON);
                    assert!(near, "{scale:e}: {found} for {expected}");
                }
            }
        }
    }
    check::<f32>(&[1e20, 1e30, 1e-20, 1e-30]);
    check::<f64>(&[1e160, 1e300, 1e-160, 1e-300]);
}

#[test]
fn gradients_of_any_size_are_clipped() {
    fn check<T: Real>(scales: &[f64]) {
        for &scale in scales {
            for bound in [1e-5, 1.0, 1e5] {
                let mut gradients = [vector::<T>(&[3.0 * scale]), vector::<T>(&[4.0 * scale])];
                let norm = clip_gradient_norm(&mut gradients, bound).unwrap();
                assert!(close(norm, 5.0 * scale, 8.0 * T::EPSILON, 0.0), "{norm:e} of {scale:e}");
                let factor = if norm > bound { bound / 5.0 } else { scale };
                all_near(&gradients[0], &[3.0 * factor]);
                all_near(&gradients[1], &[4.0 * factor]);
            }
        }
    }
    check::<f32>(&[1e-30, 1e-20, 1.0, 1e20, 5e37]);
    check::<f64>(&[1e-300, 1e-170, 1.0, 1e170, 2e307]);
    let nan = &mut [vector::<f32>(&[f64::NAN, 1e30])];
    assert!(clip_gradient_norm(nan, 1.0).unwrap().is_nan());
    let none = &mut [vector::<f32>(&[0.0, 0.0])];
    assert_eq!(clip_gradient_norm(none, 1.0).unwrap(), 0.0);
}

#[test]
fn the_log_softmax_of_a_confident_row_keeps_what_is_far_below() {
    let r = 999.0 * (-90.0_f64).exp();
    for at in [0, 500, 999] {
        let tape = Tape::<f32>::new().unwrap();
        let row = confident::<f32>(90.0, 1000, at).into_dyn().into_shared();
        let value = tape.leaf(row).log_softmax().unwrap().value();
        let own = f64::from(value[[0, at]]);
        assert!(close(own, -r, 8.0 * f64::from(f32::EPSILON), 0.0), "{own:e}");
    }
}
