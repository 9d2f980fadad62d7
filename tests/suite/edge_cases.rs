//! Every row of the table of edge cases and every demand on stability, through every door.

use half::{bf16, f16};
use ndarray::{Array1, Array2, ArrayView2, Axis, arr1, arr2, s};
use surprisal::{
    Backward, Element, Error, Forward, Gradients, Inputs, Isa, LinearCrossEntropy, Pass, Reduction,
    Result, Shapes, Shard, Statistic, Targets, TopK, Upstream,
};
use testing::route::{Bounds, Route, agrees, error_of, run, try_run, within};
use testing::{Case, Stream, Wanted, close};

const INF: f64 = f64::INFINITY;
const NAN: f64 = f64::NAN;

/// Around the lanes, the tiles of 256, the blocks of 1024 and the spans of 2048 columns.
const VOCABULARIES: [usize; 14] =
    [1, 2, 15, 16, 17, 255, 256, 257, 1023, 1024, 1025, 2047, 2048, 2049];

const REDUCTIONS: [Reduction; 4] =
    [Reduction::None, Reduction::Mean, Reduction::Sum, Reduction::Divide(7.0)];

fn everywhere(mut check: impl FnMut(Route)) {
    for route in Route::all() {
        check(route);
    }
}

fn sum_of_rows(case: &Case) -> Case {
    Case { reduction: Reduction::Sum, ..case.clone() }
}

/// A case of given logits, reduced to the sum.
fn logits<const N: usize, const V: usize>(rows: [[f64; V]; N], targets: [i64; N]) -> Case {
    sum_of_rows(&Case::of_logits(arr2(&rows), Wanted::Hard(targets.to_vec())))
}

fn random_case(seed: u64, rows: usize, width: usize, classes: usize) -> Case {
    let mut stream = Stream(seed);
    let scale = 1.0 / (width.max(1) as f64).sqrt();
    let mut case = Case::new(
        stream.matrix(rows, width, scale),
        stream.matrix(classes, width, 1.0),
        Wanted::Hard(stream.classes(rows, classes)),
    );
    case.bias = Some(stream.vector(classes, 0.5));
    case
}

/// Everything on: softcap, scale, smoothing, z-loss, all weights, ignored rows, upstreams.
fn full_case(seed: u64, rows: usize, width: usize, classes: usize) -> Case {
    let mut case = random_case(seed, rows, width, classes);
    let mut stream = Stream(seed ^ 0xabcd);
    case.class_weights = Some(Array1::from_shape_simple_fn(classes, || stream.uniform()));
    case.token_weights = Some(stream.vector(rows, 1.0));
    case.scale = 1.3;
    case.softcap = Some(5.0);
    case.label_smoothing = 0.1;
    case.z_loss = 0.01;
    case.reduction = Reduction::None;
    case.d_loss = stream.vector(rows, 1.0);
    case.d_log_sum_exp = Some(stream.vector(rows, 0.3));
    case.d_entropy = Some(stream.vector(rows, 0.3));
    if let Wanted::Hard(targets) = &mut case.targets {
        for target in targets.iter_mut().step_by(3) {
            *target = -100;
        }
    }
    case
}

/// Equal in every bit but the sign of zero; NaN equals NaN.
#[track_caller]
fn same<'a>(
    what: &str,
    found: impl IntoIterator<Item = &'a f64>,
    expected: impl IntoIterator<Item = &'a f64>,
) {
    let zeros = std::iter::repeat(&0.0);
    within(what, &"exactly", found, expected, zeros);
}

#[track_caller]
fn zero<'a>(what: &str, route: Route, found: impl IntoIterator<Item = &'a f64>) {
    for (i, found) in found.into_iter().enumerate() {
        assert!(*found == 0.0, "{what}[{i}] is {found:e}, expected 0, {route:?}");
    }
}

/// Within so many units in the last place of numbers of magnitude 1 + |expected|.
#[track_caller]
fn near<'a>(
    what: &str,
    route: Route,
    units: f64,
    found: impl IntoIterator<Item = &'a f64>,
    expected: impl IntoIterator<Item = &'a f64>,
) {
    let mut expected = expected.into_iter();
    for (i, found) in found.into_iter().enumerate() {
        let expected = *expected.next().expect("as many expected numbers");
        let bound = units * route.unit() * (1.0 + expected.abs());
        assert!(
            close(*found, expected, 0.0, bound),
            "{what}[{i}] is {found:e}, expected {expected:e} within {bound:e}, {route:?}"
        );
    }
    assert!(expected.next().is_none(), "{what} is too short, {route:?}");
}

/// What exp, a sum of a few terms, ln and one rounding make of logits that are exact.
const FEW: f64 = 16.0;

fn finite<'a>(numbers: impl IntoIterator<Item = &'a f64>) -> bool {
    numbers.into_iter().all(|x| x.is_finite())
}

#[test]
fn all_rows_ignored() {
    everywhere(|route| {
        for classes in [7, 1030] {
            for reduction in REDUCTIONS {
                let mut case = full_case(1, 5, 3, classes);
                case.targets = Wanted::Hard(vec![-100; 5]);
                case.reduction = reduction;
                let given = Case::of_logits(case.logits().0, case.targets.clone());
                let given = Case { reduction, ..given };
                for outcome in [run(&case, route), run(&given, route)] {
                    match reduction {
                        Reduction::Mean => assert!(outcome.loss.is_nan(), "{route:?}"),
                        _ => zero("loss", route, [&outcome.loss]),
                    }
                    zero("losses", route, &outcome.losses);
                    zero("lse", route, &outcome.log_sum_exp);
                    zero("entropy", route, &outcome.entropy);
                    zero("varentropy", route, &outcome.varentropy);
                    assert!(outcome.argmax.iter().all(|&v| v == -1));
                    assert!(outcome.rank.unwrap().iter().all(|&v| v == -1));
                    zero("dE", route, &outcome.d_hidden);
                    zero("db", route, &outcome.d_bias);
                }
                zero("dC", route, &run(&case, route).d_classifier);
            }
        }
    });
}

#[test]
fn no_rows() {
    everywhere(|route| {
        for reduction in REDUCTIONS {
            for targets in [Wanted::Hard(vec![]), Wanted::Soft(Array2::zeros((0, 4)))] {
                let mut case = Case::new(Array2::zeros((0, 3)), Array2::ones((4, 3)), targets);
                case.bias = Some(Array1::ones(4));
                case.reduction = reduction;
                case.label_smoothing = 0.1;
                let outcome = run(&case, route);
                match reduction {
                    Reduction::Mean => assert!(outcome.loss.is_nan(), "{route:?}"),
                    _ => zero("loss", route, [&outcome.loss]),
                }
                assert!(outcome.losses.is_empty() && outcome.argmax.is_empty());
                zero("dC", route, &outcome.d_classifier);
                zero("db", route, &outcome.d_bias);
            }
        }
        let nothing = Case::new(Array2::zeros((0, 3)), Array2::ones((0, 3)), Wanted::Hard(vec![]));
        assert!(run(&nothing, route).losses.is_empty());
        let given = Case::of_logits(Array2::zeros((0, 3)), Wanted::Hard(vec![]));
        zero("db", route, &run(&given, route).d_bias);
    });
}

#[test]
fn no_classes() {
    everywhere(|route| {
        for targets in [vec![0, 1], vec![-100, -100]] {
            let case = Case::new(Array2::ones((2, 3)), Array2::ones((0, 3)), Wanted::Hard(targets));
            let error = error_of(try_run(&case, route));
            assert!(
                matches!(error, Error::Shape { argument: "classifier", .. })
                    || matches!(error, Error::TargetOutOfRange { vocabulary: 0, .. }),
                "{error}"
            );
        }
    });
}

#[test]
fn no_classes_in_given_logits_names_the_logits() {
    everywhere(|route| {
        let given = Case::of_logits(Array2::ones((2, 0)), Wanted::Hard(vec![-100, -100]));
        let error = error_of(try_run(&given, route));
        assert!(
            matches!(&error, Error::Shape { argument: "logits", found, .. } if *found == [2, 0]),
            "{error}"
        );
    });
}

#[test]
fn target_out_of_range() {
    everywhere(|route| {
        for value in [4, 5, -1, -99, i64::MIN, i64::MAX, 1 << 32, (1 << 32) + 1] {
            let mut case = random_case(2, 3, 2, 4);
            case.targets = Wanted::Hard(vec![1, -100, value]);
            for error in [error_of(try_run(&case, route)), {
                let mut given = case.clone();
                given.hidden = case.logits().0;
                given.given = true;
                error_of(try_run(&given, route))
            }] {
                let Error::TargetOutOfRange { row, value: found, vocabulary } = error else {
                    panic!("{error}")
                };
                assert_eq!((row, found, vocabulary), (2, value, 4));
                let message = error.to_string();
                assert!(message.contains("targets[2]") && message.contains(&value.to_string()));
            }
        }
        let mut case = random_case(2, 1, 2, 4);
        case.targets = Wanted::Hard(vec![-100]);
        case.ignore_index = None;
        let error = error_of(try_run(&case, route));
        assert!(matches!(error, Error::TargetOutOfRange { row: 0, value: -100, vocabulary: 4 }));
    });
    let (hidden, classifier) = (arr2(&[[1.0_f32], [2.0]]), arr2(&[[1.0_f32], [2.0]]));
    let inputs = Inputs::new(hidden.view(), classifier.view(), &[1_u32, (-100_i32) as u32]);
    let loss = LinearCrossEntropy::builder().build().unwrap();
    for error in [error_of(loss.forward(&inputs)), error_of(loss.target_logits(&inputs))] {
        assert!(matches!(error, Error::TargetOutOfRange { row: 1, .. }), "{error}");
    }
}

#[test]
fn a_failed_call_leaves_the_gradients_alone() {
    let case = random_case(3, 3, 2, 4);
    let hidden = case.hidden.view();
    let inputs = Inputs::new(hidden, case.classifier.view(), &[1_i64, 2, 9]);
    for backward in [Backward::Recompute, Backward::Strip] {
        let mut d_hidden = Array2::from_elem((3, 2), 7.0);
        let loss = LinearCrossEntropy::builder().backward(backward).build().unwrap();
        let gradients = Gradients::new().hidden(d_hidden.view_mut());
        error_of(loss.loss_and_gradients(&inputs, &Upstream::default(), gradients));
        assert!(d_hidden.iter().all(|&g| g == 7.0));
    }
}

#[test]
fn ignore_index_inside_and_outside_of_the_vocabulary() {
    everywhere(|route| {
        for ignore in [0, 2, 3, 7, 255, -1, -123, i64::MAX, i64::MIN] {
            let mut case = random_case(4, 6, 3, 4);
            case.ignore_index = Some(ignore);
            case.targets = Wanted::Hard(vec![ignore, 0, 1, ignore, 2, 3]);
            agrees(&case, &run(&case, route), route);
        }
    });
}

#[test]
fn targets_of_u32_and_i64_are_the_same() {
    let case = full_case(5, 9, 4, 20);
    let signed = [3_i64, 0, 19, 7, 7, 2, 1, 0, 12];
    let unsigned = signed.map(|y| y as u32);
    let loss = LinearCrossEntropy::builder().ignore_index(Some(7)).build().unwrap();
    let (hidden, classifier) = (case.hidden.view(), case.classifier.view());
    let a = loss.forward(&Inputs::new(hidden, classifier, &signed)).unwrap();
    let b = loss.forward(&Inputs::new(hidden, classifier, &unsigned)).unwrap();
    assert_eq!((a.losses(), a.argmax(), a.rows_kept()), (b.losses(), b.argmax(), b.rows_kept()));
}

#[test]
fn one_class() {
    everywhere(|route| {
        let mut plain = random_case(6, 3, 4, 1);
        plain.targets = Wanted::Hard(vec![0; 3]);
        let mut weighted = plain.clone();
        weighted.class_weights = Some(arr1(&[0.3]));
        weighted.token_weights = Some(arr1(&[0.7, 1.1, 2.3]));
        for reduction in REDUCTIONS {
            for case in [&plain, &weighted] {
                let case = Case { reduction, ..case.clone() };
                let outcome = run(&case, route);
                zero("losses", route, &outcome.losses);
                zero("loss", route, [&outcome.loss]);
                assert!(outcome.losses.iter().all(|l| l.is_sign_positive()));
                zero("entropy", route, &outcome.entropy);
                zero("varentropy", route, &outcome.varentropy);
                zero("dE", route, &outcome.d_hidden);
                zero("dC", route, &outcome.d_classifier);
                zero("db", route, &outcome.d_bias);
            }
        }
    });
}

#[test]
fn one_class_with_smoothing_has_exactly_zero_gradients() {
    everywhere(|route| {
        let mut case = random_case(6, 3, 4, 1);
        case.targets = Wanted::Hard(vec![0; 3]);
        case.label_smoothing = 0.1;
        case.class_weights = Some(arr1(&[0.3]));
        let outcome = run(&case, route);
        zero("losses", route, &outcome.losses);
        zero("db", route, &outcome.d_bias);
        zero("dE", route, &outcome.d_hidden);
    });
}

#[test]
fn one_class_with_a_soft_target_has_exactly_zero_gradients() {
    everywhere(|route| {
        let mut case = random_case(6, 3, 4, 1);
        case.targets = Wanted::Soft(arr2(&[[0.3], [1.0], [0.0]]));
        let outcome = run(&case, route);
        zero("losses", route, &outcome.losses);
        zero("db", route, &outcome.d_bias);
        zero("dE", route, &outcome.d_hidden);
    });
}

#[test]
fn no_columns() {
    everywhere(|route| {
        for bias in [None, Some(arr1(&[0.5, -1.0, 2.0, 0.0, 0.25]))] {
            let mut case =
                Case::new(Array2::ones((3, 0)), Array2::ones((5, 0)), Wanted::Hard(vec![0, 4, 2]));
            case.bias = bias;
            let outcome = run(&case, route);
            if case.bias.is_none() {
                near("losses", route, FEW, &outcome.losses, &[5.0_f64.ln(); 3]);
            }
            agrees(&case, &outcome, route);
        }
        let mut wide = full_case(7, 4, 0, 1100);
        wide.reduction = Reduction::Sum;
        agrees(&wide, &run(&wide, route), route);
    });
}

#[test]
fn a_row_of_minus_infinity_is_nan_alone() {
    everywhere(|route| {
        for classes in [1, 3, 300, 2100] {
            let mut rows = Array2::from_elem((3, classes), 0.5);
            rows.row_mut(1).fill(-INF);
            let case = sum_of_rows(&Case::of_logits(rows, Wanted::Hard(vec![0; 3])));
            let outcome = run(&case, route);
            assert!(outcome.losses[1].is_nan() && outcome.loss.is_nan(), "{route:?}");
            assert_eq!(outcome.log_sum_exp[1], -INF);
            assert!(outcome.entropy[1].is_nan() && outcome.varentropy[1].is_nan());
            let units = FEW + classes.min(256) as f64;
            for i in [0, 2] {
                let expected = (classes as f64).ln();
                near("losses", route, units, [&outcome.losses[i]], &[expected]);
                assert!(finite(outcome.d_hidden.row(i)), "{route:?}");
            }
        }
    });
}

#[test]
fn the_gradient_of_a_row_of_minus_infinity_is_nan() {
    everywhere(|route| {
        for classes in [1, 3, 300, 2100] {
            let mut rows = Array2::from_elem((2, classes), 0.5);
            rows.row_mut(1).fill(-INF);
            let case = sum_of_rows(&Case::of_logits(rows, Wanted::Hard(vec![0; 2])));
            let outcome = run(&case, route);
            assert!(outcome.d_hidden.row(1).iter().all(|g| g.is_nan()), "{classes} {route:?}");
        }
    });
}

#[test]
fn an_ignored_row_of_minus_infinity_is_nothing() {
    everywhere(|route| {
        for bad in [-INF, INF, NAN] {
            let case = logits([[bad; 3], [1.0, 2.0, 3.0]], [-100, 0]);
            let outcome = run(&case, route);
            near("losses", route, FEW, &outcome.losses, &[0.0, 2.4076059644443806]);
            zero("dlogits", route, outcome.d_hidden.row(0));
            assert!(finite(&outcome.d_hidden) && finite(&outcome.d_bias));
        }
    });
}

#[test]
fn whole_tiles_of_minus_infinity_take_no_part() {
    everywhere(|route| {
        for classes in [257, 1030, 2100, 4200] {
            for at in [0, classes / 2, classes - 1] {
                let mut rows = Array2::from_elem((2, classes), -INF);
                rows[[0, at]] = -3.0;
                rows[[1, at]] = 2.0;
                rows[[1, (at + 300) % classes]] = 2.0;
                let case = sum_of_rows(&Case::of_logits(rows, Wanted::Hard(vec![at as i64; 2])));
                let outcome = run(&case, route);
                let ln_2 = std::f64::consts::LN_2;
                assert_eq!(outcome.losses[0], 0.0);
                near("losses", route, FEW, &outcome.losses, &[0.0, ln_2]);
                near("lse", route, FEW, &outcome.log_sum_exp, &[-3.0, 2.0 + ln_2]);
                near("entropy", route, FEW, &outcome.entropy, &[0.0, ln_2]);
                near("varentropy", route, FEW, &outcome.varentropy, &[0.0, 0.0]);
                zero("dlogits", route, outcome.d_hidden.row(0));
                near("dlogits", route, FEW, [&outcome.d_hidden[[1, at]]], &[-0.5]);
                let rest = (0..classes).filter(|&v| v != at && v != (at + 300) % classes);
                zero("dlogits", route, rest.map(|v| &outcome.d_hidden[[1, v]]));
            }
        }
    });
}

#[test]
fn a_target_of_minus_infinity() {
    everywhere(|route| {
        let case = logits([[1.0, -INF, 2.0], [1.0, 2.0, 3.0]], [1, 0]);
        let outcome = run(&case, route);
        assert_eq!((outcome.losses[0], outcome.loss), (INF, INF));
        assert_eq!(outcome.log_probability.as_ref().unwrap()[0], -INF);
        assert_eq!(outcome.rank.as_ref().unwrap()[0], 2);
        let p = 1.0 / (1.0 + 1.0_f64.exp());
        near("dlogits", route, FEW, outcome.d_hidden.row(0), &[p, -1.0, 1.0 - p]);
        near("losses", route, FEW, [&outcome.losses[1]], &[2.4076059644443806]);
    });
}

#[test]
fn a_class_of_minus_infinity_has_no_probability() {
    everywhere(|route| {
        let case = logits([[1.0, -INF, 2.0], [-INF, -INF, 0.0]], [0, 2]);
        let outcome = run(&case, route);
        let (p, q) = (1.0 / (1.0 + 1.0_f64.exp()), 1.0 / (1.0 + (-1.0_f64).exp()));
        near("losses", route, FEW, &outcome.losses, &[-p.ln(), 0.0]);
        let entropy = -p * p.ln() - q * q.ln();
        near("entropy", route, FEW, &outcome.entropy, &[entropy, 0.0]);
        near("varentropy", route, FEW, &outcome.varentropy, &[p * q, 0.0]);
        near("dlogits", route, FEW, outcome.d_hidden.row(0), &[p - 1.0, 0.0, q]);
        zero("dlogits", route, [&outcome.d_hidden[[0, 1]]]);
        zero("dlogits", route, outcome.d_hidden.row(1));
    });
}

#[test]
fn smoothing_over_minus_infinity() {
    everywhere(|route| {
        let mut case = logits([[1.0, -INF, 2.0]], [0]);
        case.label_smoothing = 0.3;
        let outcome = run(&case, route);
        assert_eq!((outcome.losses[0], outcome.loss), (INF, INF));
        let p = 1.0 / (1.0 + 1.0_f64.exp());
        let expected = [p - 0.7 - 0.1, -0.1, 1.0 - p - 0.1];
        near("dlogits", route, FEW, outcome.d_hidden.row(0), &expected);

        // A class that weighs nothing takes no part, 0·∞ := 0.
        case.class_weights = Some(arr1(&[1.0, 0.0, 1.0]));
        let outcome = run(&case, route);
        let expected = -0.8 * p.ln() - 0.1 * (1.0 - p).ln();
        near("losses", route, FEW, &outcome.losses, &[expected]);
        let expected = [0.9 * p - 0.8, 0.0, 0.9 * (1.0 - p) - 0.1];
        near("dlogits", route, FEW, outcome.d_hidden.row(0), &expected);
    });
}

#[test]
fn a_class_of_plus_infinity_is_nan_alone() {
    everywhere(|route| {
        for classes in [3, 700, 2300] {
            for at in [0, classes / 2, classes - 1] {
                let mut rows = Array2::from_elem((2, classes), 0.5);
                rows[[0, at]] = INF;
                rows[[0, classes - 1]] = INF;
                let mut case = Case::of_logits(rows, Wanted::Hard(vec![0, 0]));
                case.reduction = Reduction::None;
                let outcome = run(&case, route);
                assert!(outcome.losses[0].is_nan(), "{route:?}");
                assert!(outcome.log_sum_exp[0].is_nan() && outcome.entropy[0].is_nan());
                assert_eq!(outcome.argmax, arr1(&[at as i64, 0]));
                assert!(outcome.d_hidden.row(0).iter().all(|g| g.is_nan()), "{route:?}");
                assert!(finite(outcome.d_hidden.row(1)) && outcome.losses[1].is_finite());
            }
        }
    });
}

#[test]
fn a_nan_logit_is_nan_in_its_row_alone() {
    everywhere(|route| {
        for classes in [1, 3, 17, 255, 256, 257, 1025, 2049] {
            for at in [0, classes / 3, classes / 2, classes - 1] {
                let mut rows = Stream(8).matrix(3, classes, 2.0);
                rows[[1, at]] = NAN;
                rows[[1, classes - 1]] = NAN;
                // Neither a larger class nor an infinite one hides it.
                if classes > 20 {
                    rows[[1, classes - 2]] = if at % 2 == 0 { INF } else { 1e30 };
                }
                let targets = Wanted::Hard(vec![0, classes as i64 / 2, 0]);
                let mut case = Case::of_logits(rows.clone(), targets);
                case.reduction = Reduction::None;
                case.d_entropy = Some(arr1(&[0.1, 0.2, 0.3]));
                let outcome = run(&case, route);
                assert!(outcome.losses[1].is_nan() && outcome.loss.is_nan(), "{route:?}");
                assert!(outcome.log_sum_exp[1].is_nan() && outcome.entropy[1].is_nan());
                assert!(outcome.varentropy[1].is_nan());
                assert_eq!(outcome.argmax[1], at as i64, "{classes} {route:?}");
                assert_eq!(outcome.rank.as_ref().unwrap()[1], -1);
                assert!(outcome.d_hidden.row(1).iter().all(|g| g.is_nan()), "{route:?}");

                // The others are as if that row were not there.
                let mut clean = case.clone();
                clean.hidden.row_mut(1).fill(0.0);
                let expected = run(&clean, route);
                for i in [0, 2] {
                    same("losses", [&outcome.losses[i]], [&expected.losses[i]]);
                    same("dlogits", outcome.d_hidden.row(i), expected.d_hidden.row(i));
                }
            }
        }
    });
}

#[test]
fn hidden_states_of_ignored_rows_are_not_read() {
    everywhere(|route| {
        for bad in [NAN, INF, -INF] {
            let mut case = full_case(9, 7, 3, 300);
            case.reduction = Reduction::Mean;
            let expected = run(&case, route);
            for i in [0, 3, 6] {
                case.hidden.row_mut(i).fill(bad);
                case.d_loss[i] = NAN;
            }
            let outcome = run(&case, route);
            assert_eq!(outcome, expected, "{route:?}");
            assert!(finite(&outcome.d_hidden) && finite(&outcome.d_classifier));
        }
    });
}

#[test]
fn rows_without_upstream_are_left_out() {
    everywhere(|route| {
        let mut case = random_case(10, 4, 3, 300);
        case.reduction = Reduction::None;
        case.d_loss = arr1(&[1.0, 0.0, -2.0, 0.0]);
        let expected = run(&case, route);
        case.hidden.row_mut(1).fill(NAN);
        case.hidden.row_mut(3).fill(INF);
        let outcome = run(&case, route);
        same("dE", &outcome.d_hidden, &expected.d_hidden);
        same("dC", &outcome.d_classifier, &expected.d_classifier);
        same("db", &outcome.d_bias, &expected.d_bias);
    });
}

#[test]
fn nan_upstreams_of_ignored_rows_are_not_read() {
    everywhere(|route| {
        let mut case = full_case(11, 7, 3, 20);
        let expected = run(&case, route);
        for i in [0, 3, 6] {
            case.d_loss[i] = NAN;
            case.d_log_sum_exp.as_mut().unwrap()[i] = NAN;
            case.d_entropy.as_mut().unwrap()[i] = INF;
        }
        assert_eq!(run(&case, route), expected, "{route:?}");
    });
}

#[test]
fn huge_logits() {
    everywhere(|route| {
        let case =
            logits([[1e30, -1e30], [1e30, -1e30], [3e38, -3e38], [3e38, -3e38]], [0, 1, 0, 1]);
        let outcome = run(&case, route);
        // Statistics are f64 whatever is computed in.
        near("losses", route, FEW, &outcome.losses, &[0.0, 2e30, 0.0, 6e38]);
        zero("losses", route, [&outcome.losses[0], &outcome.losses[2]]);
        zero("entropy", route, &outcome.entropy);
        zero("varentropy", route, &outcome.varentropy);
        let expected = arr2(&[[0.0, 0.0], [1.0, -1.0], [0.0, 0.0], [1.0, -1.0]]);
        same("dlogits", &outcome.d_hidden, &expected);

        let mut smooth = case;
        smooth.label_smoothing = 1.0;
        let outcome = run(&smooth, route);
        near("losses", route, FEW, outcome.losses.slice(s![..2]), &[1e30, 1e30]);
        if !route.is_single() {
            let case = logits([[1.7e308, -1.7e308], [1.7e308, -1.7e308]], [0, 1]);
            let outcome = run(&case, route);
            assert_eq!(outcome.losses, arr1(&[0.0, INF]));
            same("dlogits", &outcome.d_hidden, &arr2(&[[0.0, 0.0], [1.0, -1.0]]));
        }
    });
}

#[test]
fn huge_logits_in_separate_tiles() {
    everywhere(|route| {
        let mut rows = Array2::from_elem((2, 700), -1e30);
        rows[[0, 650]] = 1e30;
        rows[[1, 3]] = 1e30;
        let case = sum_of_rows(&Case::of_logits(rows, Wanted::Hard(vec![650, 650])));
        let outcome = run(&case, route);
        near("losses", route, FEW, &outcome.losses, &[0.0, 2e30]);
        zero("entropy", route, &outcome.entropy);
        zero("varentropy", route, &outcome.varentropy);
        zero("dlogits", route, outcome.d_hidden.row(0));
        assert_eq!((outcome.d_hidden[[1, 3]], outcome.d_hidden[[1, 650]]), (1.0, -1.0));
    });
}

#[test]
fn class_weights_that_sum_to_zero() {
    everywhere(|route| {
        let mut case = logits([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]], [0, 1]);
        case.class_weights = Some(arr1(&[0.0, 0.0, 1.0]));
        let outcome = run(&case, route);
        zero("loss", route, [&outcome.loss]);
        zero("dlogits", route, &outcome.d_hidden);
        case.reduction = Reduction::Mean;
        let outcome = run(&case, route);
        assert!(outcome.loss.is_nan() && outcome.d_hidden.iter().all(|g| g.is_nan()), "{route:?}");
    });
}

#[test]
fn weights_outside_of_their_domain() {
    everywhere(|route| {
        for bad in [-1.0, -1e-30, NAN, INF, -INF] {
            let mut case = random_case(12, 3, 2, 4);
            case.class_weights = Some(arr1(&[1.0, 0.0, bad, 1.0]));
            let error = error_of(try_run(&case, route));
            let named = matches!(&error, Error::Value { argument: "class_weights", index, .. }
                if *index == [2]);
            assert!(named, "{error}");
            if bad.is_finite() {
                continue;
            }
            case.class_weights = None;
            case.token_weights = Some(arr1(&[1.0, bad, -1.0]));
            let error = error_of(try_run(&case, route));
            let named = matches!(&error, Error::Value { argument: "token_weights", index, .. }
                if *index == [1]);
            assert!(named, "{error}");
        }
        for bad in [-1.0, NAN, INF] {
            let mut case = random_case(12, 2, 2, 3);
            case.targets = Wanted::Soft(arr2(&[[0.0, 1.0, 0.0], [0.5, 0.0, bad]]));
            let error = error_of(try_run(&case, route));
            assert!(matches!(&error, Error::Value { index, .. } if *index == [1, 2]), "{error}");
        }
        let mut zero = random_case(12, 5, 2, 4);
        zero.class_weights = Some(arr1(&[0.0, 1.0, 0.0, 2.0]));
        zero.targets = Wanted::Hard(vec![0, 1, 2, 3, 3]);
        zero.label_smoothing = 0.2;
        agrees(&zero, &run(&zero, route), route);
    });
}

#[test]
fn options_outside_of_their_domain() {
    let option = |builder: surprisal::LinearCrossEntropyBuilder, name: &str| {
        let error = error_of(builder.build());
        assert!(matches!(&error, Error::Option { name: found, .. } if *found == name), "{error}");
    };
    let builder = LinearCrossEntropy::builder;
    for bad in [-1e-9, -1.0, 1.0 + 1e-9, 2.0, NAN, INF, -INF] {
        option(builder().label_smoothing(bad), "label_smoothing");
    }
    for bad in [0.0, -0.0, -30.0, NAN, INF, -INF] {
        option(builder().softcap(bad), "softcap");
        option(builder().reduction(Reduction::Divide(bad)), "divisor");
    }
    for bad in [NAN, INF, -INF] {
        option(builder().scale(bad), "scale");
    }
    for bad in [-1e-9, NAN, INF, -INF] {
        option(builder().z_loss(bad), "z_loss");
    }
    // What f32 does not hold is only known once the arrays are.
    let (hidden, classifier) = (arr2(&[[1.0_f32]]), arr2(&[[1.0_f32]]));
    let inputs = Inputs::new(hidden.view(), classifier.view(), &[0_u32]);
    for (builder, name) in [
        (builder().scale(1e39), "scale"),
        (builder().softcap(1e39), "softcap"),
        (builder().softcap(1e-60), "softcap"),
    ] {
        let error = error_of(builder.build().unwrap().forward(&inputs));
        assert!(matches!(&error, Error::Option { name: found, .. } if *found == name), "{error}");
    }
}

#[test]
fn the_golden_numbers_of_the_table() {
    everywhere(|route| {
        // The table has eight digits, and some numbers are sums of two of it.
        let near = |what: &str, found: &[f64], expected: &[f64]| {
            for (found, expected) in found.iter().zip(expected) {
                let bound =
                    1.2e-7 * expected.abs().max(1.0) + FEW * route.unit() * (1.0 + expected.abs());
                assert!(
                    close(*found, *expected, 0.0, bound),
                    "{what} {found} {expected} {route:?}"
                );
            }
        };
        let row = logits([[1.0, 2.0, 3.0]], [0]);
        let outcome = run(&row, route);
        near("loss", &[outcome.loss], &[2.4076059]);
        near("grad", &outcome.d_hidden.row(0).to_vec(), &[-0.9099694, 0.2447285, 0.6652410]);

        let all_smooth = Case { label_smoothing: 1.0, ..row.clone() };
        near("ε = 1", &[run(&all_smooth, route).loss], &[1.407606]);

        let z = Case { z_loss: 1.0, ..row.clone() };
        let outcome = run(&z, route);
        near("z-loss", &[outcome.loss], &[2.4076059 + 11.611778]);
        let expected = [-0.9099694 + 0.6135775, 0.2447285 + 1.6678764, 0.6652410 + 4.5337577];
        near("z-loss", &outcome.d_hidden.row(0).to_vec(), &expected);

        let mut two = logits([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]], [0, 1]);
        two.class_weights = Some(arr1(&[0.5, 2.0, 1.0]));
        two.reduction = Reduction::Mean;
        let outcome = run(&two, route);
        near("weights", &outcome.losses.to_vec(), &[1.2038029, 2.1972246]);
        near("weights", &[outcome.loss], &[1.3604110]);
        two.label_smoothing = 0.1;
        let outcome = run(&two, route);
        near("smoothing", &outcome.losses.to_vec(), &[1.2309767, 2.1056735]);
        near("smoothing", &[outcome.loss], &[1.3346601]);

        let weights = two.class_weights.take();
        two.label_smoothing = 0.0;
        two.targets = Wanted::Soft(arr2(&[[0.2, 0.3, 0.5], [0.0, 0.0, 1.0]]));
        let outcome = run(&two, route);
        near("soft", &outcome.losses.to_vec(), &[1.1076059, 1.0986123]);
        near("soft", &[outcome.loss], &[1.1031091]);
        two.label_smoothing = 0.1;
        let outcome = run(&two, route);
        near("soft, ε", &outcome.losses.to_vec(), &[1.1376059, 1.0986124]);
        two.label_smoothing = 0.0;
        two.class_weights = weights;
        let outcome = run(&two, route);
        near("soft, w", &outcome.losses.to_vec(), &[1.2891271, 1.0986123]);
    });
}

#[test]
fn soft_targets_need_not_sum_to_one() {
    everywhere(|route| {
        let mut case = logits([[1.0, 2.0, 3.0], [0.5, -1.0, 0.0]], [0, 0]);
        let targets = arr2(&[[0.25, 2.0, 0.5], [0.0, 0.0, 0.0]]);
        case.targets = Wanted::Soft(targets.clone());
        let outcome = run(&case, route);
        agrees(&case, &outcome, route);
        let e = [1.0_f64, 2.0, 3.0].map(f64::exp);
        let total: f64 = e.iter().sum();
        for v in 0..3 {
            let expected = e[v] / total * 2.75 - targets[[0, v]];
            near("dlogits", route, FEW, [&outcome.d_hidden[[0, v]]], &[expected]);
        }
        zero("dlogits", route, outcome.d_hidden.row(1));
        assert_eq!(outcome.losses[1], 0.0);
    });
}

#[test]
fn soft_targets_and_minus_infinity() {
    everywhere(|route| {
        let mut case = logits([[1.0, -INF, 2.0], [1.0, -INF, 2.0]], [0, 0]);
        case.targets = Wanted::Soft(arr2(&[[0.5, 0.0, 0.5], [0.5, 0.25, 0.25]]));
        let outcome = run(&case, route);
        let p = 1.0 / (1.0 + 1.0_f64.exp());
        let expected = -0.5 * p.ln() - 0.5 * (1.0 - p).ln();
        near("losses", route, FEW, &outcome.losses, &[expected, INF]);
        near("dlogits", route, FEW, outcome.d_hidden.row(0), &[p - 0.5, 0.0, 0.5 - p]);
        near("dlogits", route, FEW, outcome.d_hidden.row(1), &[p - 0.5, -0.25, 0.75 - p]);
    });
}

#[test]
fn z_loss_of_a_huge_log_sum_exp() {
    everywhere(|route| {
        let mut case = logits([[1e20, 1e20]], [0]);
        case.z_loss = 1.0;
        let outcome = run(&case, route);
        near("losses", route, FEW, &outcome.losses, &[1e40]);
        near("dlogits", route, FEW, outcome.d_hidden.row(0), &[1e20, 1e20]);
        case.z_loss = 0.0;
        near("losses", route, FEW, &run(&case, route).losses, &[std::f64::consts::LN_2]);
    });
}

#[test]
fn softcap_of_numbers_that_are_not_finite() {
    everywhere(|route| {
        let mut case = logits([[-INF, 0.0, INF], [-INF, -INF, -INF], [0.0, NAN, 1.0]], [1, 0, 0]);
        case.softcap = Some(2.0);
        case.reduction = Reduction::None;
        let outcome = run(&case, route);
        let lse = ((-2.0_f64).exp() + 1.0 + 2.0_f64.exp()).ln();
        near("losses", route, FEW, &outcome.losses, &[lse, 3.0_f64.ln(), NAN]);
        near("lse", route, FEW, &outcome.log_sum_exp, &[lse, 3.0_f64.ln() - 2.0, NAN]);
        assert_eq!(outcome.argmax, arr1(&[2, 0, 1]));
        // The derivative of the softcap is 0 at both infinities.
        let expected = [0.0, (-lse).exp() - 1.0, 0.0];
        near("dlogits", route, FEW, outcome.d_hidden.row(0), &expected);
        zero("dlogits", route, outcome.d_hidden.row(1));
        assert!(outcome.d_hidden.row(2).iter().all(|g| g.is_nan()), "{route:?}");
    });
}

#[test]
fn softcap_saturates() {
    everywhere(|route| {
        for magnitude in [1e3, 1e30] {
            let mut case = logits([[magnitude, -magnitude, 0.0]], [1]);
            case.softcap = Some(0.5);
            let outcome = run(&case, route);
            let lse = (0.5_f64.exp() + (-0.5_f64).exp() + 1.0).ln();
            near("losses", route, FEW, &outcome.losses, &[lse + 0.5]);
            zero("dlogits", route, [&outcome.d_hidden[[0, 0]], &outcome.d_hidden[[0, 1]]]);
        }
        let mut small = logits([[1e-20, -1e-20]], [0]);
        small.softcap = Some(30.0);
        let outcome = run(&small, route);
        near("losses", route, FEW, &outcome.losses, &[std::f64::consts::LN_2]);
        near("dlogits", route, FEW, outcome.d_hidden.row(0), &[-0.5, 0.5]);
    });
}

#[test]
fn padding_never_takes_part() {
    everywhere(|route| {
        for classes in VOCABULARIES {
            for (value, softcap) in [
                (0.0, Some(1.0)),
                (-20.0, Some(1.0)),
                (-20.0, None),
                (-80.0, Some(30.0)),
                (3.0, None),
            ] {
                let mut case = Case::new(
                    arr2(&[[1.0]]),
                    Array2::from_elem((classes, 1), value),
                    Wanted::Hard(vec![classes as i64 - 1]),
                );
                case.softcap = softcap;
                let logit = softcap.map_or(value, |c| c * (value / c).tanh());
                let ln_v = (classes as f64).ln();
                let mut given = case.clone();
                given.hidden = Array2::from_elem((1, classes), value);
                given.given = true;
                for smoothing in [0.0, 0.1, 1.0] {
                    case.label_smoothing = smoothing;
                    given.label_smoothing = smoothing;
                    // Sums of up to 256 equal terms in one type, then tiles in f64.
                    let units = FEW + classes.min(256) as f64;
                    for outcome in [run(&case, route), run(&given, route)] {
                        near("losses", route, units, &outcome.losses, &[ln_v]);
                        near("lse", route, units, &outcome.log_sum_exp, &[ln_v + logit]);
                        near("entropy", route, units, &outcome.entropy, &[ln_v]);
                        near("varentropy", route, units, &outcome.varentropy, &[0.0]);
                        assert_eq!((outcome.argmax[0], outcome.rank.as_ref().unwrap()[0]), (0, 0));
                        let sum: f64 = outcome.d_bias.sum();
                        assert!(sum.abs() <= 4.0 * units * route.unit(), "{sum:e} {route:?}");
                    }
                }
            }
        }
    });
}

#[test]
fn every_option_at_the_edges_of_the_tiles() {
    everywhere(|route| {
        for classes in VOCABULARIES {
            let case = full_case(13 + classes as u64, 5, 3, classes);
            agrees(&case, &run(&case, route), route);
            let mut given = case.clone();
            given.hidden = case.hidden.dot(&case.classifier.t());
            given.given = true;
            agrees(&given, &run(&given, route), route);
            let mut stream = Stream(classes as u64);
            let mut soft = case;
            let targets = Array2::from_shape_simple_fn((5, classes), || stream.uniform());
            soft.targets = Wanted::Soft(targets / classes as f64);
            agrees(&soft, &run(&soft, route), route);
        }
        for rows in [1, 63, 64, 65, 255, 256, 257, 511, 512, 513, 1023, 1024, 1025, 1600] {
            let case = full_case(14 + rows as u64, rows, 3, 5);
            agrees(&case, &run(&case, route), route);
        }
        for width in [1, 255, 256, 257, 1025] {
            let case = full_case(15 + width as u64, 4, width, 6);
            agrees(&case, &run(&case, route), route);
        }
    });
}

#[test]
fn the_bias_is_counted_once() {
    everywhere(|route| {
        for width in [1, 33, 600, 1200] {
            let mut case = random_case(16, 3, width, 4);
            case.bias = Some(arr1(&[7.0, -9.0, 3.0, 5.0]));
            agrees(&case, &run(&case, route), route);
        }
        let mut case = random_case(16, 3, 1000, 4);
        case.hidden.fill(0.0);
        case.bias = Some(arr1(&[1.0, 2.0, 3.0, -INF]));
        case.targets = Wanted::Hard(vec![0, 1, 2]);
        let outcome = run(&case, route);
        let expected = [2.4076059644443806, 1.4076059644443806, 0.4076059644443806];
        near("losses", route, FEW, &outcome.losses, &expected);
    });
}

#[test]
fn half_precision_hidden_states_are_computed_in_f32() {
    for isa in Isa::available() {
        let loss = LinearCrossEntropy::builder().isa(isa).build().unwrap();
        let hidden = arr2(&[[f16::from_f32(400.0)]]);
        let classifier = arr2(&[[f16::from_f32(400.0)], [f16::from_f32(400.0)]]);
        let inputs = Inputs::new(hidden.view(), classifier.view(), &[0_u32]);
        let forward = loss.forward(&inputs).unwrap();
        assert!((forward.loss() - std::f64::consts::LN_2).abs() < 1e-6);
        assert!((forward.log_sum_exp()[0] - 160_000.0 - std::f64::consts::LN_2).abs() < 1e-6);

        let hidden = Array2::from_elem((1, 1), f16::from_f32(0.0));
        let one = arr2(&[[f16::from_f32(1.0)]]);
        let classifier = one.broadcast((70_000, 1)).unwrap();
        let inputs = Inputs::new(hidden.view(), classifier, &[69_999_u32]);
        let found = loss.forward(&inputs).unwrap().loss();
        let expected = 70_000.0_f64.ln();
        // 274 tiles that sum exactly, one logarithm, one rounding.
        assert!((found - expected).abs() <= 2.0_f64.powi(-23) * expected, "{found}");

        // bf16 in is not bf16 out: the digits of the same numbers in f32, but for the order of the
        // sums within a pair.
        let case = random_case(17, 5, 8, 300);
        let hidden = case.hidden.mapv(bf16::from_f64);
        let classifier = case.classifier.mapv(bf16::from_f64);
        let targets = Stream(1).classes(5, 300);
        let narrow =
            loss.forward(&Inputs::new(hidden.view(), classifier.view(), &targets)).unwrap();
        let (hidden, classifier) = (hidden.mapv(f32::from), classifier.mapv(f32::from));
        let wide = loss.forward(&Inputs::new(hidden.view(), classifier.view(), &targets)).unwrap();
        let unit = f64::from(f32::EPSILON) / 2.0;
        for (a, b) in narrow.losses().iter().zip(wide.losses()) {
            assert!((a - b).abs() <= 32.0 * unit * (1.0 + b.abs()), "{a} {b}");
        }
    }
}

#[test]
fn a_class_masked_by_its_bias() {
    everywhere(|route| {
        let mut case = random_case(18, 4, 3, 5);
        case.targets = Wanted::Hard(vec![0, 1, 3, 4]);
        case.reduction = Reduction::Sum;
        case.bias = Some(arr1(&[0.1, -0.2, -INF, 0.3, 0.0]));
        let outcome = run(&case, route);
        let mut without = case.clone();
        without.classifier = case.classifier.select(Axis(0), &[0, 1, 3, 4]);
        without.bias = Some(arr1(&[0.1, -0.2, 0.3, 0.0]));
        without.targets = Wanted::Hard(vec![0, 1, 2, 3]);
        let rounded = without.rounded(route);
        let truth = rounded.run();
        let bounds = Bounds::of(&rounded, &truth, route.unit());
        within("losses", &route, &outcome.losses, &truth.losses, &bounds.losses);
        within("entropy", &route, &outcome.entropy, &truth.entropy, &bounds.entropy);
        within("dE", &route, &outcome.d_hidden, &truth.d_hidden, &bounds.d_hidden);
        zero("db", route, [&outcome.d_bias[2]]);
        zero("dC", route, outcome.d_classifier.row(2));

        case.targets = Wanted::Hard(vec![0, 2, 3, 4]);
        let outcome = run(&case, route);
        assert_eq!(outcome.losses[1], INF);
        assert!(outcome.losses[0].is_finite() && finite(&outcome.d_hidden));
        case.bias = Some(Array1::from_elem(5, -INF));
        assert!(run(&case, route).losses.iter().all(|l| l.is_nan()));
    });
}

/// Logits whose sum with the offset is exact.
fn offset_case(rows: usize, classes: usize, step: f64) -> Case {
    let mut stream = Stream(19);
    let logits = Array2::from_shape_simple_fn((rows, classes), || {
        (stream.normal() * 3.0 / step).round() * step
    });
    let targets = Wanted::Hard(stream.classes(rows, classes));
    let mut case = Case::of_logits(logits, targets);
    case.reduction = Reduction::None;
    case.d_loss = stream.vector(rows, 1.0);
    case.d_log_sum_exp = Some(stream.vector(rows, 1.0));
    case.d_entropy = Some(stream.vector(rows, 1.0));
    case
}

#[test]
fn a_shared_offset_costs_no_digits() {
    everywhere(|route| {
        let offsets = match route.is_single() {
            true => [(1e4, 2.0_f64.powi(-8)), (-1e4, 2.0_f64.powi(-8)), (1e8, 8.0)],
            false => {
                [(1e4, 2.0_f64.powi(-20)), (1e8, 2.0_f64.powi(-20)), (-1e8, 2.0_f64.powi(-20))]
            }
        };
        for (offset, step) in offsets {
            for classes in [3, 256, 600, 2100] {
                for (smoothing, soft) in [(0.0, false), (0.1, false), (1.0, false), (0.1, true)] {
                    let mut case = offset_case(4, classes, step);
                    case.label_smoothing = smoothing;
                    if soft {
                        let mut stream = Stream(20);
                        let targets =
                            Array2::from_shape_simple_fn((4, classes), || stream.uniform());
                        case.targets = Wanted::Soft(targets / classes as f64);
                    }
                    let expected = run(&case, route);
                    let mut shifted = case.clone();
                    shifted.hidden += offset;
                    let mut biased = case.clone();
                    biased.bias = Some(Array1::from_elem(classes, offset));
                    for shifted in [shifted, biased] {
                        let outcome = run(&shifted, route);
                        // u = a − m is the same to the bit, and all but lse hangs on u alone.
                        same("losses", &outcome.losses, &expected.losses);
                        same("entropy", &outcome.entropy, &expected.entropy);
                        same("varentropy", &outcome.varentropy, &expected.varentropy);
                        same("dlogits", &outcome.d_hidden, &expected.d_hidden);
                        let lse = &expected.log_sum_exp + offset;
                        near("lse", route, 2.0, &outcome.log_sum_exp, &lse);
                    }
                    // The unshifted against the truth: only the sums of the tile are in error.
                    let rounded = case.rounded(route);
                    let truth = rounded.run();
                    let units = FEW + classes.min(256) as f64;
                    let reach = 1.0 + truth.losses.iter().fold(0.0_f64, |m, l| m.max(l.abs()));
                    near("losses", route, units * reach, &expected.losses, &truth.losses);
                    near("dlogits", route, 4.0 * units, &expected.d_hidden, &truth.d_hidden);
                }
            }
        }
    });
}

/// Rows of one class that stands above all others by so much.
fn confident_case(classes: usize, margin: f64) -> Case {
    let mut stream = Stream(21);
    let mut logits = Array2::from_shape_simple_fn((4, classes), || {
        (-margin - stream.uniform() * 2.0 * 64.0).round() / 64.0 - 1.0
    });
    logits.mapv_inplace(|x| x - (margin - (margin / 64.0).round()));
    let at = [0, classes / 2, classes - 1, classes / 3];
    for (i, &y) in at.iter().enumerate() {
        logits[[i, y]] = 0.0;
    }
    let targets = Wanted::Hard(at.iter().map(|&y| y as i64).collect());
    sum_of_rows(&Case::of_logits(logits, targets))
}

#[test]
fn confident_rows_keep_their_digits() {
    everywhere(|route| {
        for classes in [2, 17, 256, 700, 2100] {
            for margin in [41.5, 69.0, 80.0] {
                let case = confident_case(classes, margin).rounded(route);
                let truth = case.run();
                let outcome = run(&case, route);
                // The exponentials of one tile summed in one type; nothing else loses anything.
                let relative = (FEW + classes.min(256) as f64) * route.unit();
                let relative = if route.is_single() { relative } else { relative.min(1e-12) };
                for (found, expected) in outcome.losses.iter().zip(&truth.losses) {
                    assert!(*expected > 0.0 && *expected < 1e-12);
                    assert!(
                        close(*found, *expected, relative, 0.0),
                        "{found:e} {expected:e} {route:?}"
                    );
                }
                for (found, expected) in outcome.d_hidden.iter().zip(&truth.d_hidden) {
                    assert!(
                        close(*found, *expected, relative, 0.0),
                        "{found:e} {expected:e} {route:?}"
                    );
                }
                for (found, expected) in outcome.entropy.iter().zip(&truth.entropy) {
                    let relative = 2.0 * relative;
                    assert!(
                        close(*found, *expected, relative, 0.0),
                        "{found:e} {expected:e} {route:?}"
                    );
                }
                // The mean is not the sum of digits that cancelled either.
                assert!(close(outcome.loss, truth.loss, relative, 0.0));
            }
        }
    });
}

#[test]
fn confident_rows_keep_their_digits_through_the_products() {
    everywhere(|route| {
        for margin in [41.5, 69.0] {
            let mut case = Case::new(
                arr2(&[[1.0], [2.0]]),
                arr2(&[[-margin - 1.0], [0.0], [-margin], [-margin - 2.0]]),
                Wanted::Hard(vec![1, 1]),
            );
            case.reduction = Reduction::Mean;
            let truth = case.run();
            let outcome = run(&case, route);
            let relative = if route.is_single() { FEW * 2.0 * route.unit() } else { 1e-12 };
            for (found, expected) in outcome.losses.iter().zip(&truth.losses) {
                if *expected > 1e-37 {
                    assert!(close(*found, *expected, relative, 0.0), "{found:e} {expected:e}");
                }
            }
            for (found, expected) in outcome.d_classifier.iter().zip(&truth.d_classifier) {
                assert!(
                    close(*found, *expected, relative, 1e-44),
                    "{found:e} {expected:e} {route:?}"
                );
            }
        }
    });
}

/// The gradient of a confident one-hot soft target: −r/(1+r), as with a hard one.
#[test]
fn confident_soft_targets_keep_their_digits() {
    everywhere(|route| {
        for (reduction, by) in
            [(Reduction::Sum, 1.0), (Reduction::Mean, 4.0), (Reduction::Divide(3.0), 3.0)]
        {
            let mut case = confident_case(17, 41.5).rounded(route);
            let hard = Case { reduction: Reduction::Sum, ..case.clone() }.run();
            let Wanted::Hard(classes) = &case.targets else { unreachable!() };
            let mut soft = Array2::zeros((4, 17));
            for (i, &y) in classes.iter().enumerate() {
                soft[[i, y as usize]] = 1.0;
            }
            case.targets = Wanted::Soft(soft);
            case.reduction = reduction;
            let outcome = run(&case, route);
            let relative = if route.is_single() { 48.0 * route.unit() } else { 1e-12 };
            for (found, expected) in outcome.losses.iter().zip(&hard.losses) {
                assert!(
                    close(*found, *expected, relative, 0.0),
                    "{found:e} {expected:e} {route:?}"
                );
            }
            for (found, expected) in outcome.d_hidden.iter().zip(&hard.d_hidden) {
                let expected = expected / by;
                assert!(
                    close(*found, expected, relative, 0.0),
                    "{found:e} {expected:e} {reduction:?} {route:?}"
                );
            }
        }
    });
}

#[test]
fn no_loss_is_negative() {
    everywhere(|route| {
        for width in [1, 64, 300] {
            let mut stream = Stream(22 + width as u64);
            let classifier = stream.matrix(700, width, 1.0);
            let targets = stream.classes(512, 700);
            let own: Vec<usize> = targets.iter().map(|&y| y as usize).collect();
            // Most targets are the arg-max, some by a hair's breadth.
            let mut hidden = classifier.select(Axis(0), &own);
            for (i, mut row) in hidden.outer_iter_mut().enumerate() {
                row *= 0.01 * (i % 40) as f64;
            }
            let mut case = Case::new(hidden, classifier, Wanted::Hard(targets));
            case.reduction = Reduction::None;
            for (softcap, smoothing) in [(None, 0.0), (Some(4.0), 0.0), (None, 0.1)] {
                case.softcap = softcap;
                case.label_smoothing = smoothing;
                let outcome = run(&case, route);
                assert!(outcome.losses.iter().all(|&l| l >= 0.0), "{route:?}");
                assert!(outcome.log_probability.unwrap().iter().all(|&l| l <= 0.0));
                assert!(outcome.entropy.iter().all(|&h| h >= 0.0));
                assert!(outcome.varentropy.iter().all(|&h| h >= 0.0));
                assert!(outcome.min_entropy.iter().all(|&h| h >= 0.0));
                // Where the target is the arg-max, nothing is above it.
                let ranks = outcome.rank.unwrap();
                let Wanted::Hard(targets) = &case.targets else { unreachable!() };
                for (i, &y) in targets.iter().enumerate() {
                    assert_eq!(outcome.argmax[i] == y, ranks[i] == 0 && outcome.argmax[i] == y);
                    assert!(ranks[i] == 0 || outcome.argmax[i] != y);
                }
            }
        }
    });
}

#[test]
fn a_million_losses_are_summed_in_f64() {
    let rows = 1 << 20;
    let mut stream = Stream(23);
    let hidden = Array2::from_shape_simple_fn((rows, 1), || stream.uniform() as f32);
    let classifier = arr2(&[[0.3_f32], [0.0]]);
    let targets: Vec<u32> = (0..rows as u32).map(|i| i % 2).collect();
    for reduction in [Reduction::Sum, Reduction::None, Reduction::Mean] {
        let loss = LinearCrossEntropy::builder().reduction(reduction).build().unwrap();
        let inputs = Inputs::new(hidden.view(), classifier.view(), &targets);
        let forward = loss.forward(&inputs).unwrap();
        let exact: f64 = forward.losses().sum();
        let exact = if reduction == Reduction::Mean { exact / rows as f64 } else { exact };
        // u for the rounding of every loss that is summed here, u for that of the sum.
        let bound = 2.0 * 2.0_f64.powi(-24) * exact;
        assert!((forward.loss() - exact).abs() <= bound, "{exact}");
    }
}

#[test]
fn indices_beyond_32_bits() {
    let (rows, classes) = (100_000, 50_000);
    let row = arr2(&[[0.5_f32]]);
    let hidden = row.broadcast((rows, 1)).unwrap();
    let class = arr2(&[[2.0_f32]]);
    let classifier = class.broadcast((classes, 1)).unwrap();
    let mut targets = vec![-100_i64; rows];
    for i in [0, 50_000, 99_999] {
        targets[i] = (classes - 1 - i / 3) as i64;
    }
    let expected = (classes as f64).ln();
    for backward in [Backward::Recompute, Backward::Strip] {
        let loss = LinearCrossEntropy::builder().backward(backward).rank(true).build().unwrap();
        let mut d_hidden = Array2::from_elem((rows, 1), f32::NAN);
        let mut d_bias = Array1::from_elem(classes, f32::NAN);
        let gradients = Gradients::new().hidden(d_hidden.view_mut()).bias(d_bias.view_mut());
        let inputs = Inputs::new(hidden, classifier, &targets);
        let forward = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
        assert!((forward.loss() - expected).abs() < 1e-5);
        assert_eq!(forward.rank().unwrap()[99_999], 0);
        assert!((d_bias[classes - 1] + 1.0 / 3.0).abs() < 1e-4);
        // Σ_v G C = C Σ_v G = 0.
        assert!(d_hidden.iter().all(|g| g.abs() < 1e-4));
    }
    let row = Array2::from_elem((1, classes), 1.0_f32);
    let logits = row.broadcast((rows, classes)).unwrap();
    let loss = LinearCrossEntropy::builder().build().unwrap();
    let forward = loss.forward(&Inputs::from_logits(logits, &targets)).unwrap();
    assert!((forward.loss() - expected).abs() < 1e-5);
}

#[test]
fn huge_plans_are_errors() {
    let big = [1 << 20, 1 << 30, 1 << 40, usize::MAX / 2, usize::MAX];
    let passes = [Pass::Forward, Pass::Vjp, Pass::LossAndGradients];
    let shapes = Shapes::new(1 << 40, 1 << 30, 1 << 40);
    for backward in [Backward::Auto, Backward::Recompute, Backward::Strip] {
        for pass in passes {
            let loss = LinearCrossEntropy::builder().backward(backward).build().unwrap();
            let error = error_of(loss.plan(&shapes, pass));
            assert!(
                matches!(error, Error::TooLarge { .. } | Error::MemoryBudget { .. }),
                "{error}"
            );
            for rows in big {
                for hidden in [1, 1 << 20, 1 << 30] {
                    for vocabulary in big {
                        let shapes = Shapes::new(rows, hidden, vocabulary).bias(true);
                        let _ = loss.plan(&shapes, pass);
                    }
                }
            }
        }
    }
}

#[test]
fn plans_of_the_largest_numbers_do_not_panic() {
    let sizes = [0, 1, 1 << 20, 1 << 48, 1 << 55, usize::MAX / 8, usize::MAX];
    for backward in [Backward::Auto, Backward::Recompute, Backward::Strip] {
        for memory_budget in [0, 1 << 28, usize::MAX] {
            for top_k in [0, 3, usize::MAX] {
                let loss = LinearCrossEntropy::builder()
                    .backward(backward)
                    .memory_budget(memory_budget)
                    .top_k(top_k)
                    .rank(true)
                    .build()
                    .unwrap();
                for rows in sizes {
                    for hidden in sizes {
                        for vocabulary in sizes {
                            for sparse_targets in [0, usize::MAX] {
                                let shapes = Shapes::new(rows, hidden, vocabulary)
                                    .sparse_targets(sparse_targets)
                                    .soft_targets(true)
                                    .class_weights(vocabulary)
                                    .bf16(true);
                                for pass in [Pass::Forward, Pass::Vjp, Pass::LossAndGradients] {
                                    let plan =
                                        std::panic::catch_unwind(|| loss.plan(&shapes, pass));
                                    assert!(
                                        plan.is_ok(),
                                        "{shapes:?} {backward:?} {memory_budget}"
                                    );
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The arguments of a good call; each test spoils one of them.
struct Good {
    hidden: Array2<f64>,
    classifier: Array2<f64>,
    targets: Vec<i64>,
}

impl Good {
    fn new() -> Self {
        let mut stream = Stream(24);
        Self {
            hidden: stream.matrix(4, 3, 1.0),
            classifier: stream.matrix(5, 3, 1.0),
            targets: vec![0, 4, -100, 2],
        }
    }

    fn inputs(&self) -> Inputs<'_> {
        Inputs::new(self.hidden.view(), self.classifier.view(), &self.targets)
    }
}

#[track_caller]
fn is_shape<T>(result: Result<T>, argument: &str, found: &[usize]) {
    let error = error_of(result);
    match &error {
        Error::Shape { argument: name, found: shape, .. } => {
            assert!(name.contains(argument), "{error}, expected {argument}");
            assert_eq!(shape, found, "{error}");
        }
        _ => panic!("{error}"),
    }
}

#[test]
fn arguments_of_the_wrong_length() {
    let good = Good::new();
    let loss = LinearCrossEntropy::builder().build().unwrap();
    let forward = |inputs: &Inputs<'_>| loss.forward(inputs);
    for length in [0, 1, 4, 6] {
        let vector = Array1::<f64>::ones(length);
        is_shape(forward(&good.inputs().bias(vector.view())), "bias", &[length]);
        is_shape(forward(&good.inputs().class_weights(vector.view())), "class_weights", &[length]);
    }
    for length in [0, 3, 5] {
        let vector = Array1::<f64>::ones(length);
        is_shape(forward(&good.inputs().token_weights(vector.view())), "token_weights", &[length]);
        is_shape(forward(&good.inputs().target_logits(vector.view())), "target_logits", &[length]);
        let targets = vec![0_i64; length];
        let inputs = Inputs::new(good.hidden.view(), good.classifier.view(), &targets);
        is_shape(forward(&inputs), "targets", &[length]);
    }
    let narrow = Array2::<f64>::ones((5, 2));
    let inputs = Inputs::new(good.hidden.view(), narrow.view(), &good.targets);
    is_shape(forward(&inputs), "classifier", &[5, 2]);
    for shape in [(3, 5), (4, 4), (4, 6), (0, 0)] {
        let soft = Array2::<f64>::ones(shape);
        let targets = Targets::soft(&soft);
        let inputs = Inputs::new(good.hidden.view(), good.classifier.view(), targets);
        is_shape(forward(&inputs), "soft targets", &[shape.0, shape.1]);
    }
    let classes = Array2::<u32>::zeros((4, 2));
    for (rows, columns) in [(4, 1), (3, 2)] {
        let weights = Array2::<f64>::ones((rows, columns));
        let targets = Targets::sparse(&classes, &weights);
        let inputs = Inputs::new(good.hidden.view(), good.classifier.view(), targets);
        is_shape(forward(&inputs), "sparse target weights", &[rows, columns]);
    }
    let weights = Array2::<f64>::ones((3, 2));
    let classes = Array2::<u32>::zeros((3, 2));
    let targets = Targets::sparse(&classes, &weights);
    let inputs = Inputs::new(good.hidden.view(), good.classifier.view(), targets);
    is_shape(forward(&inputs), "sparse targets", &[3, 2]);
    let classes = Array2::from_elem((4, 2), 5_u32);
    let weights = Array2::<f64>::ones((4, 2));
    let targets = Targets::sparse(&classes, &weights);
    let inputs = Inputs::new(good.hidden.view(), good.classifier.view(), targets);
    let error = error_of(forward(&inputs));
    assert!(matches!(&error, Error::Value { index, .. } if *index == [0, 0]), "{error}");

    for rows in [&[0, 0][..], &[2, 1], &[0, 4], &[usize::MAX]] {
        let targets = vec![0_i64; rows.len()];
        let inputs = Inputs::new(good.hidden.view(), good.classifier.view(), &targets).rows(rows);
        let error = error_of(forward(&inputs));
        assert!(matches!(&error, Error::Value { argument: "rows", .. }), "{error}");
    }
    is_shape(forward(&good.inputs().rows(&[0, 2])), "targets", &[4]);
    for sequence in [0, 3, 5, usize::MAX] {
        let error = error_of(forward(&good.inputs().shift_within(1, sequence)));
        assert!(matches!(&error, Error::Option { name: "sequence", .. }), "{error}");
    }
    for (first_class, vocabulary) in [(0, 4), (1, 5), (usize::MAX, 7), (0, 0)] {
        error_of(loss.fold(&good.inputs().shard(Shard::new(first_class, vocabulary))));
    }

    let done = forward(&good.inputs()).unwrap();
    let mut short = Array1::<f32>::zeros(3);
    is_shape(done.write(Statistic::Loss, short.view_mut()), "output", &[3]);
    error_of(done.statistic(Statistic::Entropy));
    error_of(done.statistic(Statistic::Varentropy));
    error_of(done.rank());
}

#[test]
fn gradients_and_upstreams_of_the_wrong_length() {
    let good = Good::new();
    let inputs = good.inputs();
    let logits = good.hidden.dot(&good.classifier.t());
    let given = Inputs::from_logits(logits.view(), &good.targets);
    for backward in [Backward::Recompute, Backward::Strip] {
        let loss = LinearCrossEntropy::builder()
            .backward(backward)
            .reduction(Reduction::None)
            .entropy(true)
            .build()
            .unwrap();
        let ones = Array1::<f64>::ones(4);
        let call = |upstream: &Upstream<'_>, inputs: &Inputs<'_>, gradients: Gradients<'_>| {
            loss.loss_and_gradients(inputs, upstream, gradients)
        };
        let vjp = |upstream: &Upstream<'_>, inputs: &Inputs<'_>, gradients: Gradients<'_>| {
            let forward = loss.forward(inputs)?;
            loss.vjp(inputs, &forward, upstream, gradients)
        };
        for length in [0, 3, 5] {
            let bad = Array1::<f64>::ones(length);
            for upstream in [
                Upstream::rows(bad.view()),
                Upstream::rows(ones.view()).log_sum_exp(bad.view()),
                Upstream::rows(ones.view()).entropy(bad.view()),
            ] {
                is_shape(call(&upstream, &inputs, Gradients::new()), "upstream", &[length]);
                is_shape(vjp(&upstream, &inputs, Gradients::new()), "upstream", &[length]);
            }
        }
        let upstream = Upstream::default();
        for (rows, columns) in [(4, 2), (5, 3), (0, 3)] {
            let mut bad = Array2::<f64>::zeros((rows, columns));
            let found = [rows, columns];
            let gradients = Gradients::new().hidden(bad.view_mut());
            is_shape(call(&upstream, &inputs, gradients), "hidden", &found);
            let gradients = Gradients::new().accumulate_hidden(bad.view_mut());
            is_shape(vjp(&upstream, &inputs, gradients), "hidden", &found);
        }
        for (rows, columns) in [(4, 3), (5, 2)] {
            let mut bad = Array2::<f64>::zeros((rows, columns));
            let gradients = Gradients::new().classifier(bad.view_mut());
            is_shape(call(&upstream, &inputs, gradients), "classifier", &[rows, columns]);
            let gradients = Gradients::new().logits(bad.view_mut());
            is_shape(call(&upstream, &given, gradients), "logits", &[rows, columns]);
        }
        let mut bad = Array1::<f64>::zeros(4);
        let gradients = Gradients::new().bias(bad.view_mut());
        is_shape(call(&upstream, &inputs, gradients), "bias", &[4]);
        let gradients = Gradients::new().bias(bad.view_mut());
        is_shape(call(&upstream, &given, gradients), "bias", &[4]);

        // What does not go together.
        let mut square = Array2::<f64>::zeros((4, 5));
        error_of(call(&upstream, &inputs, Gradients::new().logits(square.view_mut())));
        error_of(call(&upstream, &given, Gradients::new().hidden(square.view_mut())));
        error_of(call(&upstream, &given, Gradients::new().classifier(square.view_mut())));
        let mean = LinearCrossEntropy::builder().backward(backward).build().unwrap();
        let rows = Upstream::rows(ones.view());
        error_of(mean.loss_and_gradients(&inputs, &rows, Gradients::new()));
        let entropy = Upstream::default().entropy(ones.view());
        error_of(mean.loss_and_gradients(&inputs, &entropy, Gradients::new()));
        let other = Inputs::new(good.hidden.view(), good.classifier.view(), &[0_i64, 3, -100, 2]);
        let forward = loss.forward(&other).unwrap();
        error_of(loss.vjp(&inputs, &forward, &upstream, Gradients::new()));
    }
}

/// All that a call gives, in f32.
#[derive(Debug, PartialEq)]
struct Everything {
    losses: Array1<f64>,
    top: TopK,
    d_hidden: Array2<f32>,
    d_classifier: Array2<f32>,
    d_bias: Array1<f32>,
}

fn loss_of(backward: Backward) -> LinearCrossEntropy {
    LinearCrossEntropy::builder()
        .backward(backward)
        .reduction(Reduction::None)
        .softcap(8.0)
        .label_smoothing(0.1)
        .z_loss(0.01)
        .entropy(true)
        .rank(true)
        .top_k(3)
        .build()
        .unwrap()
}

fn everything(
    loss: &LinearCrossEntropy,
    inputs: &Inputs<'_>,
    shapes: [(usize, usize); 2],
) -> Everything {
    let mut d_hidden = Array2::from_elem(shapes[0], f32::NAN);
    let mut d_classifier = Array2::from_elem(shapes[1], f32::NAN);
    let mut d_bias = Array1::from_elem(shapes[1].0, f32::NAN);
    let gradients = Gradients::new()
        .hidden(d_hidden.view_mut())
        .classifier(d_classifier.view_mut())
        .bias(d_bias.view_mut());
    let forward = loss.loss_and_gradients(inputs, &Upstream::default(), gradients).unwrap();
    Everything { losses: forward.losses(), top: forward.top_k(), d_hidden, d_classifier, d_bias }
}

const BACKWARDS: [Backward; 2] = [Backward::Recompute, Backward::Strip];

/// How the elements are found again in an array that holds them otherwise.
type View = fn(&Array2<f32>) -> ArrayView2<'_, f32>;

/// The same elements behind other strides; what lies between them is NaN.
fn layouts(of: &Array2<f32>) -> Vec<(&'static str, Array2<f32>, View)> {
    let (rows, columns) = of.dim();
    let mut fortran = Array2::zeros((columns, rows));
    fortran.assign(&of.t());
    let reversed = of.slice(s![..;-1, ..;-1]).to_owned();
    let mut sparse = Array2::from_elem((2 * rows, 3 * columns), f32::NAN);
    sparse.slice_mut(s![..;2, ..;3]).assign(of);
    let mut inner = Array2::from_elem((rows + 2, columns + 3), f32::NAN);
    inner.slice_mut(s![1..rows + 1, 2..columns + 2]).assign(of);
    vec![
        ("columns first", fortran, |a| a.t()),
        ("reversed", reversed, |a| a.slice(s![..;-1, ..;-1])),
        ("every other row, every third column", sparse, |a| a.slice(s![..;2, ..;3])),
        ("the middle of a larger array", inner, |a| {
            let (rows, columns) = a.dim();
            a.slice(s![1..rows - 1, 2..columns - 1])
        }),
    ]
}

#[test]
fn strides_change_nothing() {
    let mut stream = Stream(25);
    for (rows, width, classes) in [(9, 5, 37), (6, 3, 1100)] {
        let hidden = stream.matrix(rows, width, 1.0).mapv(|x| x as f32);
        let classifier = stream.matrix(classes, width, 1.0).mapv(|x| x as f32);
        let bias = stream.vector(classes, 1.0).mapv(|x| x as f32);
        let weights = bias.mapv(f32::abs);
        let tokens = stream.vector(rows, 1.0).mapv(|x| x as f32);
        let mut targets = Array1::from(stream.classes(rows, classes));
        targets[2] = -100;
        for backward in BACKWARDS {
            let loss = loss_of(backward);
            let shapes = [hidden.dim(), classifier.dim()];
            let inputs = Inputs::new(hidden.view(), classifier.view(), &targets)
                .bias(bias.view())
                .class_weights(weights.view())
                .token_weights(tokens.view());
            let expected = everything(&loss, &inputs, shapes);
            for (name, array, view) in layouts(&hidden) {
                let inputs = Inputs::new(view(&array), classifier.view(), &targets)
                    .bias(bias.view())
                    .class_weights(weights.view())
                    .token_weights(tokens.view());
                assert_eq!(
                    everything(&loss, &inputs, shapes),
                    expected,
                    "hidden {name} {backward:?}"
                );
            }
            for (name, array, view) in layouts(&classifier) {
                let inputs = Inputs::new(hidden.view(), view(&array), &targets)
                    .bias(bias.view())
                    .class_weights(weights.view())
                    .token_weights(tokens.view());
                assert_eq!(everything(&loss, &inputs, shapes), expected, "classifier {name}");
            }
            let twice = |v: &Array1<f32>| {
                Array1::from_shape_fn(2 * v.len(), |i| if i % 2 == 1 { v[i / 2] } else { f32::NAN })
            };
            let (bias, weights, tokens) = (twice(&bias), twice(&weights), twice(&tokens));
            let back: Array1<i64> = targets.iter().rev().copied().collect();
            let inputs = Inputs::new(hidden.view(), classifier.view(), back.slice(s![..;-1]))
                .bias(bias.slice(s![1..;2]))
                .class_weights(weights.slice(s![1..;2]))
                .token_weights(tokens.slice(s![1..;2]));
            assert_eq!(everything(&loss, &inputs, shapes), expected, "vectors {backward:?}");
        }
        // One row for all.
        let row = hidden.slice(s![..1, ..]);
        let many = row.broadcast((rows, width)).unwrap();
        let copied = many.to_owned();
        let loss = loss_of(Backward::Recompute);
        let shapes = [hidden.dim(), classifier.dim()];
        let a = everything(&loss, &Inputs::new(many, classifier.view(), &targets), shapes);
        let b = everything(&loss, &Inputs::new(copied.view(), classifier.view(), &targets), shapes);
        assert_eq!(a, b);
    }
}

#[test]
fn strides_of_given_logits_change_nothing() {
    let logits = Stream(26).matrix(7, 300, 2.0).mapv(|x| x as f32);
    let targets = Stream(27).classes(7, 300);
    for backward in BACKWARDS {
        let loss = loss_of(backward);
        let run = |view: ArrayView2<'_, f32>| {
            let mut large = Array2::from_elem((14, 900), f32::NAN);
            let gradients = Gradients::new().logits(large.slice_mut(s![1..;2, ..;3]));
            let inputs = Inputs::from_logits(view, &targets);
            let forward =
                loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
            assert!(large.slice(s![..;2, ..]).iter().all(|g| g.is_nan()));
            (forward.losses(), forward.top_k(), large.slice(s![1..;2, ..;3]).to_owned())
        };
        let expected = run(logits.view());
        for (name, array, view) in layouts(&logits) {
            assert_eq!(run(view(&array)), expected, "{name} {backward:?}");
        }
    }
}

#[test]
fn gradients_into_strided_views() {
    let mut stream = Stream(28);
    for (rows, width, classes) in [(9, 5, 37), (6, 300, 1100)] {
        let hidden = stream.matrix(rows, width, 0.3).mapv(|x| x as f32);
        let classifier = stream.matrix(classes, width, 0.3).mapv(|x| x as f32);
        let mut targets = stream.classes(rows, classes);
        targets[4] = -100;
        let inputs = Inputs::new(hidden.view(), classifier.view(), &targets);
        for backward in BACKWARDS {
            let loss = loss_of(backward);
            let expected = everything(&loss, &inputs, [hidden.dim(), classifier.dim()]);
            let mut d_hidden = Array2::from_elem((2 * rows, 3 * width), f32::NAN);
            let mut d_classifier = Array2::from_elem((width, classes), f32::NAN);
            let mut d_bias = Array1::from_elem(2 * classes, f32::NAN);
            let gradients = Gradients::new()
                .hidden(d_hidden.slice_mut(s![1..;2, 2..;3]))
                .classifier(d_classifier.view_mut().reversed_axes())
                .bias(d_bias.slice_mut(s![..;-2]));
            loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
            assert_eq!(d_hidden.slice(s![1..;2, 2..;3]), expected.d_hidden, "{backward:?}");
            assert_eq!(d_classifier.t(), expected.d_classifier);
            assert_eq!(d_bias.slice(s![..;-2]), expected.d_bias);
            assert_eq!(d_hidden.iter().filter(|g| !g.is_nan()).count(), rows * width);
            assert_eq!(d_bias.iter().filter(|g| !g.is_nan()).count(), classes);

            let mut backwards = Array2::from_elem((rows, width), f32::NAN);
            let gradients = Gradients::new().hidden(backwards.slice_mut(s![..;-1, ..;-1]));
            loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
            assert_eq!(backwards.slice(s![..;-1, ..;-1]), expected.d_hidden);
        }
    }
}

#[test]
fn any_subset_of_the_gradients() {
    let case = random_case(29, 7, 4, 1100);
    let (hidden, classifier) = (case.hidden.mapv(|x| x as f32), case.classifier.mapv(|x| x as f32));
    let targets = Stream(30).classes(7, 1100);
    let inputs = Inputs::new(hidden.view(), classifier.view(), &targets);
    for backward in BACKWARDS {
        let loss = loss_of(backward);
        let expected = everything(&loss, &inputs, [hidden.dim(), classifier.dim()]);
        for subset in 0..8 {
            let mut d_hidden = Array2::from_elem(hidden.dim(), f32::NAN);
            let mut d_classifier = Array2::from_elem(classifier.dim(), f32::NAN);
            let mut d_bias = Array1::from_elem(1100, f32::NAN);
            let mut gradients = Gradients::new();
            if subset & 1 != 0 {
                gradients = gradients.hidden(d_hidden.view_mut());
            }
            if subset & 2 != 0 {
                gradients = gradients.classifier(d_classifier.view_mut());
            }
            if subset & 4 != 0 {
                gradients = gradients.bias(d_bias.view_mut());
            }
            let forward =
                loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
            assert_eq!(forward.losses(), expected.losses);
            assert!(subset & 1 == 0 || d_hidden == expected.d_hidden);
            assert!(subset & 2 == 0 || d_classifier == expected.d_classifier);
            assert!(subset & 4 == 0 || d_bias == expected.d_bias);
        }
    }
}

#[test]
fn accumulating_adds_to_what_is_there() {
    let mut stream = Stream(31);
    for (rows, width, classes) in [(7, 4, 37), (1300, 3, 2100)] {
        let hidden = stream.matrix(rows, width, 1.0).mapv(|x| x as f32);
        let classifier = stream.matrix(classes, width, 1.0).mapv(|x| x as f32);
        let mut targets = stream.classes(rows, classes);
        targets[1] = -100;
        let inputs = Inputs::new(hidden.view(), classifier.view(), &targets);
        for backward in BACKWARDS {
            let loss = loss_of(backward);
            let assigned = everything(&loss, &inputs, [hidden.dim(), classifier.dim()]);
            let before = (
                stream.matrix(rows, width, 10.0).mapv(|x| x as f32),
                stream.matrix(classes, width, 10.0).mapv(|x| x as f32),
                stream.vector(classes, 10.0).mapv(|x| x as f32),
            );
            let mut after = before.clone();
            let gradients = Gradients::new()
                .accumulate_hidden(after.0.view_mut())
                .accumulate_classifier(after.1.view_mut())
                .accumulate_bias(after.2.view_mut());
            loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
            // Each of at most five blocks, cut into eight depths, is added to what has grown.
            let close = |after: f32, before: f32, new: f32, largest: f32| {
                (after - (before + new)).abs() <= 40.0 * f32::EPSILON * (before.abs() + largest)
            };
            let largest = |a: &Array2<f32>| a.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
            let top = largest(&assigned.d_hidden);
            for ((&a, &b), &n) in after.0.iter().zip(&before.0).zip(&assigned.d_hidden) {
                assert!(close(a, b, n, top), "{a} {b} {n} {backward:?}");
            }
            assert_eq!(after.0.row(1), before.0.row(1));
            let top = largest(&assigned.d_classifier);
            for ((&a, &b), &n) in after.1.iter().zip(&before.1).zip(&assigned.d_classifier) {
                assert!(close(a, b, n, top), "{a} {b} {n} {backward:?}");
            }
            for ((&a, &b), &n) in after.2.iter().zip(&before.2).zip(&assigned.d_bias) {
                assert!(close(a, b, n, n.abs()), "{a} {b} {n} {backward:?}");
            }
        }
    }
}

#[test]
fn accumulating_with_nothing_kept_changes_no_bit() {
    let hidden = arr2(&[[1.0_f32, f32::NAN], [f32::INFINITY, 2.0]]);
    let classifier = Array2::from_elem((300, 2), 0.5_f32);
    let inputs = Inputs::new(hidden.view(), classifier.view(), &[-100_i64, -100]);
    for backward in BACKWARDS {
        let loss = loss_of(backward);
        let mut d_hidden = Array2::from_elem((2, 2), -0.0_f32);
        let mut d_classifier = Array2::from_elem((300, 2), -0.0_f32);
        let mut d_bias = Array1::from_elem(300, -0.0_f32);
        let gradients = Gradients::new()
            .accumulate_hidden(d_hidden.view_mut())
            .accumulate_classifier(d_classifier.view_mut());
        loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
        let gradients = Gradients::new().accumulate_bias(d_bias.view_mut());
        loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
        let untouched = |x: &f32| *x == 0.0;
        assert!(d_hidden.iter().all(untouched) && d_classifier.iter().all(untouched));
        assert!(d_bias.iter().all(untouched));
    }
}

/// Gradients of `T`, of the same call whose f32 gradients are given, are these rounded once.
fn narrow_gradients<T: Element>(loss: &LinearCrossEntropy, inputs: &Inputs<'_>, wide: &Everything)
where
    for<'a> surprisal::MatrixMut<'a>: From<ndarray::ArrayViewMut2<'a, T>>,
    for<'a> surprisal::VectorMut<'a>: From<ndarray::ArrayViewMut1<'a, T>>,
{
    let round = |x: f32| T::from_f64(f64::from(x)).to_f64();
    let mut d_hidden = wide.d_hidden.mapv(|_| T::from_f64(NAN));
    let mut d_classifier = wide.d_classifier.mapv(|_| T::from_f64(NAN));
    let mut d_bias = wide.d_bias.mapv(|_| T::from_f64(NAN));
    let gradients = Gradients::new()
        .hidden(d_hidden.view_mut())
        .classifier(d_classifier.view_mut())
        .bias(d_bias.view_mut());
    loss.loss_and_gradients(inputs, &Upstream::default(), gradients).unwrap();
    let exact = |a: &T, b: &f32| assert_eq!(a.to_f64(), round(*b), "{b:e}");
    d_hidden.iter().zip(&wide.d_hidden).for_each(|(a, b)| exact(a, b));
    d_classifier.iter().zip(&wide.d_classifier).for_each(|(a, b)| exact(a, b));
    for (a, &b) in d_bias.iter().zip(&wide.d_bias) {
        // The bias is summed in f64 and not rounded to f32 on the way.
        let half = 0.5 * T::EPSILON * f64::from(b).abs() * (1.0 + 1e-4);
        assert!((a.to_f64() - f64::from(b)).abs() <= half + 1e-7, "{a:?} {b:e}");
    }

    // Accumulated: old + new, rounded once.
    let old = 0.375;
    let mut d_hidden = wide.d_hidden.mapv(|_| T::from_f64(old));
    let mut d_classifier = wide.d_classifier.mapv(|_| T::from_f64(old));
    let gradients = Gradients::new()
        .accumulate_hidden(d_hidden.view_mut())
        .accumulate_classifier(d_classifier.view_mut());
    loss.loss_and_gradients(inputs, &Upstream::default(), gradients).unwrap();
    for (a, &b) in
        d_hidden.iter().chain(&d_classifier).zip(wide.d_hidden.iter().chain(&wide.d_classifier))
    {
        assert_eq!(a.to_f64(), T::from_f64(old + f64::from(b)).to_f64());
    }
}

#[test]
fn gradients_of_16_bits_are_rounded_once() {
    let mut stream = Stream(32);
    for (rows, width, classes) in [(30, 20, 1100), (1100, 3, 40)] {
        let hidden = stream.matrix(rows, width, 0.3).mapv(bf16::from_f64);
        let classifier = stream.matrix(classes, width, 0.3).mapv(bf16::from_f64);
        let mut targets = stream.classes(rows, classes);
        targets[1] = -100;
        let inputs = Inputs::new(hidden.view(), classifier.view(), &targets);
        let shapes = [hidden.dim(), classifier.dim()];
        for backward in BACKWARDS {
            let loss = loss_of(backward);
            let wide = everything(&loss, &inputs, shapes);
            narrow_gradients::<bf16>(&loss, &inputs, &wide);
            narrow_gradients::<f16>(&loss, &inputs, &wide);
            // Where one matrix is f32, the type of the other makes no difference.
            let (wide_hidden, wide_classifier) =
                (hidden.mapv(f32::from), classifier.mapv(f32::from));
            let one = Inputs::new(hidden.view(), wide_classifier.view(), &targets);
            let other = Inputs::new(wide_hidden.view(), classifier.view(), &targets);
            let both = Inputs::new(wide_hidden.view(), wide_classifier.view(), &targets);
            let both = everything(&loss, &both, shapes);
            assert_eq!(everything(&loss, &one, shapes), both, "{backward:?}");
            assert_eq!(everything(&loss, &other, shapes), both, "{backward:?}");
        }
    }
}

/// Many small terms, under which a sum in bf16 would stall.
#[test]
fn gradients_are_summed_in_f32() {
    let rows = 4096;
    let hidden = Array2::from_elem((rows, 1), bf16::from_f32(1.0));
    let classifier = Array2::from_elem((4, 1), bf16::from_f32(0.5));
    let targets = vec![0_u32; rows];
    let inputs = Inputs::new(hidden.view(), classifier.view(), &targets);
    for backward in BACKWARDS {
        let loss = LinearCrossEntropy::builder()
            .backward(backward)
            .reduction(Reduction::Sum)
            .build()
            .unwrap();
        let mut d_classifier = Array2::from_elem((4, 1), bf16::NAN);
        let mut d_bias = Array1::from_elem(4, bf16::NAN);
        let gradients =
            Gradients::new().classifier(d_classifier.view_mut()).bias(d_bias.view_mut());
        loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
        let expected = [-3072.0, 1024.0, 1024.0, 1024.0].map(bf16::from_f32);
        assert_eq!(
            (d_classifier.column(0).to_vec(), d_bias.to_vec()),
            (expected.to_vec(), expected.to_vec())
        );
    }
}

#[test]
fn rows_are_those_of_a_copy() {
    let mut stream = Stream(33);
    for (rows, width, classes) in [(12, 5, 23), (1500, 3, 1100)] {
        let mut hidden = stream.matrix(rows, width, 1.0).mapv(|x| x as f32);
        let classifier = stream.matrix(classes, width, 1.0).mapv(|x| x as f32);
        let selected: Vec<usize> = (0..rows).filter(|i| i % 5 != 1 && i % 7 != 2).collect();
        let mut targets = stream.classes(selected.len(), classes);
        targets[3] = -100;
        let tokens = stream.vector(selected.len(), 1.0);
        let copy = hidden.select(Axis(0), &selected);
        for i in (0..rows).filter(|i| !selected.contains(i)) {
            hidden.row_mut(i).fill(f32::NAN);
        }
        for backward in BACKWARDS {
            let loss = loss_of(backward);
            let inputs =
                Inputs::new(copy.view(), classifier.view(), &targets).token_weights(tokens.view());
            let expected = everything(&loss, &inputs, [copy.dim(), classifier.dim()]);
            let inputs = Inputs::new(hidden.view(), classifier.view(), &targets)
                .token_weights(tokens.view())
                .rows(&selected);
            same_as_copy(&loss, &inputs, &selected, &expected, [hidden.dim(), classifier.dim()]);
        }
    }
}

/// Rows of a larger matrix, against a copy of them; gradients of the others stay out.
fn same_as_copy(
    loss: &LinearCrossEntropy,
    inputs: &Inputs<'_>,
    selected: &[usize],
    expected: &Everything,
    shapes: [(usize, usize); 2],
) {
    // Blocks of G are added to dE in the same order, but not with the same cuts of a long sum.
    let close = |a: f32, b: f32, largest: f32| (a - b).abs() <= 16.0 * f32::EPSILON * largest;
    let found = everything(loss, inputs, shapes);
    assert_eq!(found.losses, expected.losses);
    assert_eq!(found.top, expected.top);
    assert_eq!(found.d_classifier, expected.d_classifier);
    assert_eq!(found.d_bias, expected.d_bias);
    let largest = expected.d_hidden.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
    let mut at = selected.iter().enumerate().peekable();
    for (i, row) in found.d_hidden.outer_iter().enumerate() {
        match at.next_if(|&(_, &selected)| selected == i) {
            Some((j, _)) => {
                for (&a, &b) in row.iter().zip(expected.d_hidden.row(j)) {
                    assert!(close(a, b, largest), "{a} {b}");
                }
            }
            None => assert!(row.iter().all(|&g| g == 0.0)),
        }
    }
    let mut kept = Array2::from_elem(shapes[0], 3.0_f32);
    let gradients = Gradients::new().accumulate_hidden(kept.view_mut());
    loss.loss_and_gradients(inputs, &Upstream::default(), gradients).unwrap();
    let mut at = selected.iter().peekable();
    for (i, row) in kept.outer_iter().enumerate() {
        if at.next_if(|&&selected| selected == i).is_none() {
            assert!(row.iter().all(|&g| g == 3.0));
        }
    }
}

#[test]
fn shifts_are_those_of_a_copy() {
    let mut stream = Stream(34);
    for (sequences, length, width, classes) in [(1, 12, 4, 23), (3, 5, 4, 23), (4, 300, 3, 300)] {
        let rows = sequences * length;
        let hidden = stream.matrix(rows, width, 1.0).mapv(|x| x as f32);
        let classifier = stream.matrix(classes, width, 1.0).mapv(|x| x as f32);
        let mut targets = stream.classes(rows, classes);
        targets[4] = -100;
        let tokens = stream.vector(rows, 1.0);
        for shift in [0, 1, 2, length - 1, length, length + 1, usize::MAX] {
            let kept = length.saturating_sub(shift);
            let selected: Vec<usize> = (0..rows).filter(|i| i % length < kept).collect();
            let of: Vec<usize> = selected.iter().map(|&i| i + shift).collect();
            let copy = hidden.select(Axis(0), &selected);
            let copied: Vec<i64> = of.iter().map(|&i| targets[i]).collect();
            let copied_tokens = tokens.select(Axis(0), &of);
            for backward in BACKWARDS {
                let loss = loss_of(backward);
                let inputs = Inputs::new(copy.view(), classifier.view(), &copied)
                    .token_weights(copied_tokens.view());
                let expected = everything(&loss, &inputs, [copy.dim(), classifier.dim()]);
                let inputs = Inputs::new(hidden.view(), classifier.view(), &targets)
                    .token_weights(tokens.view());
                let shapes = [hidden.dim(), classifier.dim()];
                let within = inputs.shift_within(shift, length);
                same_as_copy(&loss, &within, &selected, &expected, shapes);
                if sequences == 1 {
                    same_as_copy(&loss, &inputs.shift(shift), &selected, &expected, shapes);
                }
            }
        }
    }
}

#[test]
fn token_weights_and_divisors() {
    everywhere(|route| {
        for reduction in REDUCTIONS {
            let mut case = full_case(35, 6, 3, 9);
            case.token_weights = Some(arr1(&[0.0, -1.5, 1e-3, 7.0, 1.0, 0.0]));
            case.reduction = reduction;
            agrees(&case, &run(&case, route), route);
        }
    });
}

/// K classes a row with weights, as dense weights.
fn dense(classes: &Array2<u32>, weights: &Array2<f64>, vocabulary: usize) -> Array2<f64> {
    let mut dense = Array2::zeros((classes.dim().0, vocabulary));
    for ((i, j), &class) in classes.indexed_iter() {
        dense[[i, class as usize]] += weights[[i, j]];
    }
    dense
}

#[test]
fn sparse_soft_targets_are_dense_ones() {
    let mut stream = Stream(36);
    for (k, vocabulary) in [(0, 9), (1, 9), (4, 9), (3, 700), (5, 2100)] {
        let mut case = random_case(37, 6, 3, vocabulary);
        let classes =
            Array2::from_shape_simple_fn((6, k), || (stream.next() % vocabulary as u64) as u32);
        let mut classes = classes;
        if k > 2 {
            // A class twice in a row, and one that is the arg-max of most rows.
            let twice = classes[[0, 0]];
            classes[[0, 1]] = twice;
            classes[[1, 2]] = 0;
            classes.row_mut(2).fill(1);
        }
        let weights = Array2::from_shape_simple_fn((6, k), || stream.uniform());
        let all = dense(&classes, &weights, vocabulary);
        for (smoothing, weighted) in [(0.0, false), (0.1, false), (0.1, true), (1.0, true)] {
            case.label_smoothing = smoothing;
            case.class_weights =
                weighted.then(|| Array1::from_shape_simple_fn(vocabulary, || stream.uniform()));
            case.targets = Wanted::Soft(all.clone());
            case.reduction = Reduction::None;
            for isa in Isa::available() {
                for backward in BACKWARDS {
                    let loss = case.builder().backward(backward).isa(isa).build().unwrap();
                    let run = |targets| -> (Forward, [Array2<f64>; 2]) {
                        let mut inputs =
                            Inputs::new(case.hidden.view(), case.classifier.view(), targets);
                        if let Some(weights) = &case.class_weights {
                            inputs = inputs.class_weights(weights.view());
                        }
                        let mut d_hidden = Array2::from_elem(case.hidden.dim(), NAN);
                        let mut d_classifier = Array2::from_elem(case.classifier.dim(), NAN);
                        let gradients = Gradients::new()
                            .hidden(d_hidden.view_mut())
                            .classifier(d_classifier.view_mut());
                        let forward =
                            loss.loss_and_gradients(&inputs, &Upstream::default(), gradients);
                        (forward.unwrap(), [d_hidden, d_classifier])
                    };
                    let sparse = Targets::sparse(&classes, &weights);
                    let (a, a_gradients) = run(Targets::soft(&all));
                    let (b, b_gradients) = run(sparse);
                    let plain = Case { bias: None, ..case.clone() };
                    let truth = plain.run();
                    let bounds = Bounds::of(&plain, &truth, 2.0_f64.powi(-53));
                    for (forward, gradients) in [(&a, &a_gradients), (&b, &b_gradients)] {
                        let losses = forward.losses();
                        within("losses", &k, &losses, &truth.losses, &bounds.losses);
                        within("dE", &k, &gradients[0], &truth.d_hidden, &bounds.d_hidden);
                        within("dC", &k, &gradients[1], &truth.d_classifier, &bounds.d_classifier);
                    }
                }
            }
        }
    }
}

#[test]
fn sparse_soft_targets_and_minus_infinity() {
    let logits = arr2(&[[1.0_f64, -INF, 2.0], [1.0, -INF, 2.0]]);
    let classes = arr2(&[[0_u32, 1], [0, 1]]);
    let weights = arr2(&[[1.0, 0.0], [0.5, 0.5]]);
    let targets = Targets::sparse(&classes, &weights);
    let loss = LinearCrossEntropy::builder().reduction(Reduction::None).build().unwrap();
    let mut gradient = Array2::from_elem((2, 3), NAN);
    let gradients = Gradients::new().logits(gradient.view_mut());
    let inputs = Inputs::from_logits(logits.view(), targets);
    let forward = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
    let p = 1.0 / (1.0 + 1.0_f64.exp());
    assert!((forward.losses()[0] + p.ln()).abs() < 1e-14);
    assert_eq!(forward.losses()[1], INF);
    assert!((gradient[[0, 0]] - (p - 1.0)).abs() < 1e-14 && gradient[[0, 1]] == 0.0);
    assert!((gradient[[1, 1]] + 0.5).abs() < 1e-14 && finite(&gradient));
}

#[test]
fn one_hot_soft_targets_are_hard_ones() {
    everywhere(|route| {
        for classes in [5, 300] {
            let mut case = random_case(38, 6, 3, classes);
            case.softcap = Some(6.0);
            case.z_loss = 0.01;
            case.reduction = Reduction::Sum;
            let Wanted::Hard(targets) = case.targets.clone() else { unreachable!() };
            let mut one_hot = Array2::zeros((6, classes));
            let mut smooth = Array2::from_elem((6, classes), 0.125 / classes as f64);
            for (i, &y) in targets.iter().enumerate() {
                one_hot[[i, y as usize]] = 1.0;
                smooth[[i, y as usize]] += 0.875;
            }
            // Each against the truth of the other, within the error of both.
            for (smoothing, soft) in [(0.0, one_hot), (0.125, smooth)] {
                let hard = Case { label_smoothing: smoothing, ..case.clone() }.rounded(route);
                let truth = hard.run();
                let bounds = Bounds::of(&hard, &truth, route.unit());
                let soft = Case { targets: Wanted::Soft(soft), ..case.clone() };
                let outcome = run(&soft, route);
                within("losses", &route, &outcome.losses, &truth.losses, &bounds.losses);
                within("dE", &route, &outcome.d_hidden, &truth.d_hidden, &bounds.d_hidden);
                within(
                    "dC",
                    &route,
                    &outcome.d_classifier,
                    &truth.d_classifier,
                    &bounds.d_classifier,
                );
                within("db", &route, &outcome.d_bias, &truth.d_bias, &bounds.d_bias);
            }
        }
    });
}

#[test]
fn soft_targets_exclude_what_they_do_not_have() {
    let soft = Array2::<f64>::ones((4, 5));
    let good = Good::new();
    let inputs = || Inputs::new(good.hidden.view(), good.classifier.view(), Targets::soft(&soft));
    let loss = LinearCrossEntropy::builder().rank(true).build().unwrap();
    assert!(matches!(error_of(loss.forward(&inputs())), Error::Conflict { .. }));
    let loss = LinearCrossEntropy::builder().build().unwrap();
    assert!(matches!(error_of(loss.target_logits(&inputs())), Error::Conflict { .. }));
    let forward = loss.forward(&inputs()).unwrap();
    assert!(matches!(
        error_of(forward.statistic(Statistic::LogProbability)),
        Error::Conflict { .. }
    ));
    assert_eq!(forward.accuracy(), None);
}

#[test]
fn a_budget_that_cannot_be_met_names_the_smallest_that_can() {
    let good = random_case(39, 700, 40, 3000);
    let targets = Stream(40).classes(700, 3000);
    let inputs = Inputs::new(good.hidden.view(), good.classifier.view(), &targets);
    for backward in [Backward::Auto, Backward::Recompute, Backward::Strip] {
        let with = |bytes| {
            LinearCrossEntropy::builder().backward(backward).memory_budget(bytes).build().unwrap()
        };
        let run =
            |bytes| with(bytes).loss_and_gradients(&inputs, &Upstream::default(), Gradients::new());
        let mut budget = 1;
        // Each error names a budget under which at least that part of the call fits.
        for _ in 0..4 {
            match run(budget) {
                Ok(_) => break,
                Err(Error::MemoryBudget { budget: found, smallest, .. }) => {
                    assert_eq!(found, budget);
                    assert!(smallest > budget);
                    budget = smallest;
                }
                Err(error) => panic!("{error}"),
            }
        }
        let forward = run(budget).unwrap();
        let expected = run(LinearCrossEntropy::DEFAULT_MEMORY_BUDGET).unwrap();
        assert!((forward.loss() - expected.loss()).abs() <= 1e-13 * expected.loss());
        let smallest = error_of(run(budget - 1));
        assert!(matches!(smallest, Error::MemoryBudget { smallest, .. } if smallest == budget));
    }
}

#[test]
fn a_named_smallest_budget_is_enough() {
    let good = random_case(39, 700, 40, 3000);
    let targets = Stream(40).classes(700, 3000);
    let inputs = Inputs::new(good.hidden.view(), good.classifier.view(), &targets);
    for backward in [Backward::Auto, Backward::Recompute, Backward::Strip] {
        let run = |bytes| {
            let loss = LinearCrossEntropy::builder().backward(backward).memory_budget(bytes);
            let gradients = Gradients::new();
            loss.build().unwrap().loss_and_gradients(&inputs, &Upstream::default(), gradients)
        };
        let Error::MemoryBudget { smallest, .. } = error_of(run(1)) else { panic!() };
        assert!(run(smallest).is_ok(), "{backward:?}: {}", error_of(run(smallest)));
    }
}

#[test]
fn the_backward_of_a_shard_needs_no_target_logits() {
    let good = Good::new();
    let loss = LinearCrossEntropy::builder().rank(true).build().unwrap();
    let shard = Shard::new(0, 5);
    let logits = loss.target_logits(&good.inputs().shard(shard)).unwrap();
    let inputs = good.inputs().shard(shard);
    let fold = loss.fold(&inputs.target_logits(logits.view())).unwrap();
    let forward = fold.finish().unwrap();
    let mut gradient = Array2::<f64>::zeros((4, 3));
    let gradients = Gradients::new().hidden(gradient.view_mut());
    loss.vjp(&inputs, &forward, &Upstream::default(), gradients).unwrap();
}

#[test]
fn a_row_of_weight_zero_adds_nothing_even_of_infinity() {
    everywhere(|route| {
        let mut case = logits([[1.0, -INF, 2.0], [1.0, 2.0, 3.0]], [1, 0]);
        case.token_weights = Some(arr1(&[0.0, 1.0]));
        let outcome = run(&case, route);
        zero("dlogits", route, outcome.d_hidden.row(0));
        near("losses", route, FEW, &outcome.losses, &[0.0, 2.4076059644443806]);
    });
}

#[test]
fn folds_of_other_rows_or_statistics_do_not_merge() {
    let good = Good::new();
    let shard = |first_class| Shard::new(first_class, 10);
    let fold = |targets: &[i64], first_class, entropy| {
        let loss = LinearCrossEntropy::builder().entropy(entropy).build().unwrap();
        let inputs = Inputs::new(good.hidden.view(), good.classifier.view(), targets);
        loss.fold(&inputs.shard(shard(first_class))).unwrap()
    };
    let first = || fold(&[0, 7, -100, 2], 0, false);
    for other in [
        fold(&[0, 7, 1, 2], 5, false),
        fold(&[0, 7, 1, -100], 5, false),
        fold(&[0, 8, -100, 2], 5, false),
        fold(&[0, 7, -100, 2], 5, true),
    ] {
        assert!(matches!(error_of(first().merge(&other)), Error::Conflict { .. }));
    }
    first().merge(&fold(&[0, 7, -100, 2], 5, false)).unwrap();
}

#[test]
fn a_target_that_no_shard_holds() {
    let good = Good::new();
    let loss = LinearCrossEntropy::builder().build().unwrap();
    let inputs = Inputs::new(good.hidden.view(), good.classifier.view(), &[0_i64, 7, -100, 2]);
    let fold = loss.fold(&inputs.shard(Shard::new(0, 10))).unwrap();
    let error = error_of(fold.finish());
    assert!(error.to_string().contains("no class 5"), "{error}");
}

/// Bit for bit the logit that the fold sees, in every type and beyond the depth of one block.
#[test]
fn target_logits_are_those_of_the_fold() {
    fn check<T: Element>() {
        let mut stream = Stream(41);
        for (rows, width, classes) in [(5, 3, 40), (600, 300, 700), (3, 1100, 2100)] {
            let hidden = stream.matrix(rows, width, 1.0).mapv(T::from_f64);
            let classifier = stream.matrix(classes, width, 1.0).mapv(T::from_f64);
            let mut fortran = classifier.t().to_owned();
            fortran.assign(&classifier.t());
            let bias = stream.vector(classes, 1.0);
            let targets = stream.classes(rows, classes);
            for isa in Isa::available() {
                let loss = LinearCrossEntropy::builder()
                    .softcap(20.0)
                    .scale(0.7)
                    .isa(isa)
                    .build()
                    .unwrap();
                for classifier in [classifier.view(), fortran.t()] {
                    let inputs = Inputs::new(hidden.view(), classifier, &targets).bias(bias.view());
                    let ahead = loss.target_logits(&inputs).unwrap();
                    let forward = loss.forward(&inputs).unwrap();
                    for (ahead, state) in ahead.iter().zip(forward.states()) {
                        assert_eq!(Some(ahead.to_f64()), state.target_logit);
                    }
                }
            }
        }
    }
    check::<f64>();
    check::<f32>();
    check::<bf16>();
    check::<f16>();
}

/// 1 + 2⁻¹¹ + 2⁻⁴⁰ is nearer to 1 + 2⁻¹⁰ than to 1, but not by way of f32.
#[test]
fn numbers_are_rounded_to_16_bits_once() {
    let (x, y) =
        (1.0 + 2.0_f64.powi(-11) + 2.0_f64.powi(-40), 1.0 + 2.0_f64.powi(-8) + 2.0_f64.powi(-40));
    assert_eq!(<f16 as Element>::from_f64(x).to_f64(), 1.0 + 2.0_f64.powi(-10));
    assert_eq!(<bf16 as Element>::from_f64(y).to_f64(), 1.0 + 2.0_f64.powi(-7));
    assert_eq!(<f16 as Element>::from_f64(-x).to_f64(), -1.0 - 2.0_f64.powi(-10));
    assert_eq!(<f16 as Element>::from_f64(65520.0 - 1e-6).to_f64(), 65504.0);
}

#[test]
fn no_columns_with_gradients_of_another_type() {
    let hidden = Array2::<bf16>::from_elem((3, 0), bf16::ZERO);
    let classifier = Array2::<bf16>::from_elem((5, 0), bf16::ZERO);
    let inputs = Inputs::new(hidden.view(), classifier.view(), &[0_u32, 1, 4]);
    for backward in [Backward::Recompute, Backward::Strip] {
        let (mut d_hidden, mut d_classifier) = (hidden.clone(), classifier.clone());
        let gradients =
            Gradients::new().hidden(d_hidden.view_mut()).classifier(d_classifier.view_mut());
        let loss = LinearCrossEntropy::builder().backward(backward).build().unwrap();
        let forward = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
        assert!((forward.loss() - 5_f64.ln()).abs() < 1e-6);
    }
}

#[test]
fn soft_targets_are_held_to_the_type_that_is_computed_in() {
    let (wide, narrow) = (arr2(&[[1.0_f64, 2.0]]), arr2(&[[1.0_f32, 2.0]]));
    let targets = arr2(&[[1e300, 0.0]]);
    let loss = LinearCrossEntropy::builder().build().unwrap();
    let soft = || Targets::soft(&targets);
    let forward = loss.forward(&Inputs::from_logits(wide.view(), soft())).unwrap();
    assert!((forward.loss() / 1e300 - 1.3132616875182228).abs() < 1e-14);
    let error = error_of(loss.forward(&Inputs::from_logits(narrow.view(), soft())));
    assert!(error.to_string().contains("soft targets[0, 0]"), "{error}");
}

#[test]
fn a_row_of_weight_zero_adds_nothing_even_of_nan() {
    let logits = arr2(&[[1.0_f64, f64::NAN], [1.0, 2.0]]);
    let weights = arr1(&[0.0, 1.0]);
    let inputs = Inputs::from_logits(logits.view(), &[0_u32, 0]).token_weights(weights.view());
    let loss = LinearCrossEntropy::builder().reduction(Reduction::Sum).build().unwrap();
    let mut gradient = Array2::from_elem((2, 2), f64::NAN);
    let gradients = Gradients::new().logits(gradient.view_mut());
    let forward = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
    assert!((forward.loss() - 1.3132616875182228).abs() < 1e-15);
    assert_eq!(forward.losses()[0], 0.0);
    assert!(gradient.iter().all(|g| g.is_finite()));
}
