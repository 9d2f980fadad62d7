//! The statistics of a row: golden values, the digits they keep, and the properties of the merge.

use ndarray::{Array1, Array2, arr1};
use proptest::prelude::*;
use serde_json::Value;
use surprisal::{
    Gradients, Inputs, Isa, LinearCrossEntropy, Reduction, RowState, Statistic, Upstream,
};
use testing::{Stream, assert_close, close};

fn golden() -> Value {
    serde_json::from_str(include_str!("../golden/information.json")).unwrap()
}

fn number(value: &Value) -> f64 {
    match value.as_str() {
        Some("-inf") => f64::NEG_INFINITY,
        Some("inf") => f64::INFINITY,
        Some(other) => panic!("{other}"),
        None => value.as_f64().unwrap(),
    }
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

fn matrix(value: &Value) -> Array2<f64> {
    let rows: Vec<Vec<f64>> = value.as_array().unwrap().iter().map(numbers).collect();
    let shape = (rows.len(), rows[0].len());
    Array2::from_shape_vec(shape, rows.into_iter().flatten().collect()).unwrap()
}

#[test]
fn golden_states_after_each_block() {
    for case in golden()["softmax_stats"].as_array().unwrap() {
        let logits = numbers(&case["logits"]);
        let block = case["block"].as_u64().unwrap() as usize;
        let expect = &case["ref"];
        let target = expect["target"].as_u64().unwrap() as u32;
        let mut state = RowState::with_target(target);
        let states = case["tail_state_after_block"].as_array().unwrap();
        for (i, chunk) in logits.chunks(block).enumerate() {
            state.push((i * block) as u32, chunk).unwrap();
            if states[i].is_null() {
                assert_eq!(state.maximum, f64::NEG_INFINITY, "nothing but masked classes so far");
                continue;
            }
            let check = |name, value: f64, key: &str| {
                let expected = number(&states[i][key]);
                let name = format!("{} {name} after block {i}", case["name"]);
                assert!(close(value, expected, 1e-12, 1e-300), "{name}: {value}, not {expected}");
            };
            check("maximum", state.maximum, "m");
            check("remainder", state.remainder, "r");
            if state.maximum.is_finite() {
                check("first moment", state.first_moment, "a");
                check("second moment", state.second_moment, "M2");
            }
        }
        let check = |key: &str, value: f64, absolute: f64| {
            let expected = number(&expect[key]);
            let name = &case["name"];
            assert!(close(value, expected, 1e-12, absolute), "{name} {key}: {value}, {expected}");
        };
        check("lse", state.log_sum_exp(), 0.0);
        check("entropy_nats", state.entropy(), 1e-300);
        // The reference subtracts two moments; where nothing varies it is 0 but for rounding.
        check("varentropy_nats2", state.varentropy(), 1e-14);
        check("min_entropy", state.min_entropy(), 1e-15);
        check("surprisal_nats", state.surprisal().unwrap(), 1e-15);
        assert_eq!(u64::from(state.argmax().unwrap()), expect["argmax"].as_u64().unwrap());
    }
}

#[test]
fn golden_derivative_of_the_entropy() {
    for case in golden()["softmax_stats"].as_array().unwrap() {
        let logits = Array2::from_shape_vec((1, 12), numbers(&case["logits"])[..12].to_vec());
        let Ok(logits) = logits else { continue };
        if case["logits"].as_array().unwrap().len() != 12 {
            continue;
        }
        let loss = LinearCrossEntropy::builder()
            .reduction(Reduction::None)
            .entropy(true)
            .rank(true)
            .build()
            .unwrap();
        let target = [case["ref"]["target"].as_i64().unwrap()];
        let inputs = Inputs::from_logits(logits.view(), &target);
        let forward = loss.forward(&inputs).unwrap();
        let mut gradient = Array2::<f64>::zeros((1, 12));
        let one = arr1(&[1.0]);
        let upstream = Upstream::scalar(0.0).entropy(one.view());
        let gradients = Gradients::new().logits(gradient.view_mut());
        loss.vjp(&inputs, &forward, &upstream, gradients).unwrap();
        let expected = numbers(&case["ref"]["dH_dz"]);
        assert_close("dH/dz", gradient.iter().copied(), &expected, 1e-11, 1e-16);
        let rank = case["ref"]["target_rank_0based"].as_i64().unwrap();
        assert_eq!(forward.rank().unwrap()[0], rank, "{}", case["name"]);
    }
}

#[test]
fn golden_statistics_from_hidden_states() {
    let golden = golden();
    let case = &golden["softmax_stats_from_hidden"];
    let (hidden, classifier) = (matrix(&case["hidden"]), matrix(&case["classifier"]));
    let bias = Array1::from(numbers(&case["bias"]));
    let targets: Vec<i64> = numbers(&case["targets"]).into_iter().map(|y| y as i64).collect();
    let inputs = Inputs::new(hidden.view(), classifier.view(), &targets).bias(bias.view());
    for isa in Isa::available() {
        let loss = LinearCrossEntropy::builder().varentropy(true).rank(true).isa(isa);
        let loss = loss.build().unwrap();
        let forward = loss.forward(&inputs).unwrap();
        let statistic = |which| forward.statistic(which).unwrap();
        let expect = |key: &str| -> Vec<f64> {
            case["ref"].as_array().unwrap().iter().map(|row| number(&row[key])).collect()
        };
        let check = |name, values: Array1<f64>, key| {
            assert_close(name, values.iter().copied(), &expect(key), 1e-12, 1e-15);
        };
        check("lse", forward.log_sum_exp(), "lse");
        check("entropy", statistic(Statistic::Entropy), "entropy_nats");
        check("varentropy", statistic(Statistic::Varentropy), "varentropy_nats2");
        check("min-entropy", statistic(Statistic::MinEntropy), "min_entropy");
        check("surprisal", -statistic(Statistic::LogProbability), "surprisal_nats");
        let ranks: Vec<f64> = forward.rank().unwrap().iter().map(|&r| r as f64).collect();
        assert_eq!(ranks, expect("target_rank_0based"));
    }

    // The loss with an entropy bonus, mean over the rows.
    let bonus = &golden["ce_minus_beta_entropy_backward"];
    let loss = LinearCrossEntropy::builder().entropy(true).build().unwrap();
    let (mut d_hidden, mut d_classifier) =
        (Array2::<f64>::zeros(hidden.dim()), Array2::<f64>::zeros(classifier.dim()));
    let mut d_bias = Array1::<f64>::zeros(bias.len());
    let beta = number(&bonus["beta"]);
    let d_entropy = Array1::from_elem(3, -beta / 3.0);
    let forward = loss
        .loss_and_gradients(
            &inputs,
            &Upstream::default().entropy(d_entropy.view()),
            Gradients::new()
                .hidden(d_hidden.view_mut())
                .classifier(d_classifier.view_mut())
                .bias(d_bias.view_mut()),
        )
        .unwrap();
    let value = forward.loss() - beta * forward.mean_entropy().unwrap();
    assert_close("loss", [value], &[number(&bonus["loss"])], 1e-12, 0.0);
    let expect = |key: &str| matrix(&bonus[key]);
    assert_close("dE", d_hidden.iter().copied(), &expect("d_hidden"), 1e-12, 1e-15);
    assert_close("dC", d_classifier.iter().copied(), &expect("d_classifier"), 1e-12, 1e-15);
    assert_close("db", d_bias.iter().copied(), &numbers(&bonus["d_bias"]), 1e-12, 1e-15);
}

/// lse, entropy and varentropy of one row in f64, by compensated sums over all the logits.
fn reference(logits: &[f32]) -> [f64; 3] {
    let m = logits.iter().fold(f64::NEG_INFINITY, |m, &x| m.max(f64::from(x)));
    let argmax = logits.iter().position(|&x| f64::from(x) == m).unwrap();
    let sum = |f: &dyn Fn(f64) -> f64| {
        let (mut sum, mut lost) = (0.0_f64, 0.0_f64);
        for (i, &x) in logits.iter().enumerate() {
            if i == argmax || x == f32::NEG_INFINITY {
                continue;
            }
            let term = f(f64::from(x) - m);
            let next = sum + term;
            lost += if sum.abs() > term.abs() { (sum - next) + term } else { (term - next) + sum };
            sum = next;
        }
        sum + lost
    };
    let r = sum(&f64::exp);
    let a = sum(&|u| u.exp() * u);
    let mu = a / (1.0 + r);
    let m2 = sum(&|u| u.exp() * (u - mu).powi(2)) + mu * mu;
    [m + r.ln_1p(), r.ln_1p() - mu, m2 / (1.0 + r)]
}

#[test]
fn no_digit_is_lost_over_a_large_vocabulary_in_f32() {
    let v = 128_000;
    let mut stream = Stream(3);
    let mut normal = |mean: f64, deviation: f64| -> Vec<f32> {
        (0..v).map(|_| (mean + deviation * stream.normal()) as f32).collect()
    };
    let mut peaked = normal(0.0, 1.0);
    peaked[77] += 25.0;
    let mut last = normal(0.0, 1.0);
    last[v - 1] += 40.0;
    let mut masked = normal(0.0, 3.0);
    for (i, x) in masked.iter_mut().enumerate() {
        if i % 100 != 7 {
            *x = f32::NEG_INFINITY;
        }
    }
    let rows = [
        ("spread", normal(0.0, 3.0)),
        ("flat", normal(100.0, 0.01)),
        ("peaked", peaked),
        ("peaked at the end", last),
        ("offset", normal(3000.0, 1.0)),
        ("masked", masked),
    ];
    // Each term has a few roundings, a block of 256 is summed in lanes (at most 64 terms each, in
    // order, then in pairs), blocks are joined in f64; u = x − m is exact to half a unit of u,
    // which is up to 50 here, and e^u turns that into a relative error.
    let u = 2.0_f64.powi(-24);
    let tolerance = (64.0 + 8.0 + 2.0 * 50.0) * u;
    for (name, row) in rows {
        let expected = reference(&row);
        for isa in Isa::available() {
            let logits = Array2::from_shape_vec((1, v), row.clone()).unwrap();
            let loss = LinearCrossEntropy::builder().varentropy(true).isa(isa).build().unwrap();
            let forward = loss.forward(&Inputs::from_logits(logits.view(), &[5_u32])).unwrap();
            let state = forward.states()[0];
            let values = [state.log_sum_exp(), state.entropy(), state.varentropy()];
            for ((value, expected), what) in
                values.iter().zip(expected).zip(["lse", "entropy", "varentropy"])
            {
                let error = ((value - expected) / expected).abs();
                assert!(error <= tolerance, "{name}, {}: {what} off by {error:e}", isa.name());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Any cut into blocks and any tree of merges gives the same, to rounding.
    #[test]
    fn merging_is_associative_and_commutative(
        logits in prop::collection::vec(
            prop_oneof![8 => -30.0..30.0_f64, 1 => Just(f64::NEG_INFINITY), 1 => Just(30.0)],
            1..90,
        ),
        cuts in prop::collection::vec(0..90_usize, 0..6),
        order in any::<u64>(),
    ) {
        let mut whole = RowState::with_target(0);
        whole.push(0, &logits).unwrap();
        let mut cuts: Vec<usize> = cuts.into_iter().filter(|&c| c < logits.len()).collect();
        cuts.extend([0, logits.len()]);
        cuts.sort_unstable();
        cuts.dedup();
        let mut parts: Vec<RowState> = cuts
            .windows(2)
            .map(|cut| {
                let mut part = RowState::with_target(0);
                part.push(cut[0] as u32, &logits[cut[0]..cut[1]]).unwrap();
                part
            })
            .collect();
        let mut stream = Stream(order);
        while parts.len() > 1 {
            let one = parts.swap_remove((stream.bits() as usize) % parts.len());
            let at = (stream.bits() as usize) % parts.len();
            parts[at].merge(&one);
        }
        let merged = parts[0];
        prop_assert_eq!(merged.argmax, whole.argmax);
        prop_assert_eq!(merged.maximum, whole.maximum);
        prop_assert_eq!(merged.target_logit, whole.target_logit);
        // Each of at most 90 terms is rescaled at most 6 times, a few roundings each.
        let near = |a: f64, b: f64| close(a, b, 100.0 * f64::EPSILON, 0.0);
        prop_assert!(near(merged.remainder, whole.remainder));
        if whole.maximum.is_finite() {
            prop_assert!(near(merged.log_sum(), whole.log_sum()));
            prop_assert!(near(merged.entropy(), whole.entropy()));
            // μ is subtracted in M2: its error counts where the spread is small beside it.
            let scale = 1e3 * f64::EPSILON * (1.0 + whole.first_moment.powi(2));
            prop_assert!(close(merged.varentropy(), whole.varentropy(), 1e-12, scale));
            let ordered = 0.0 <= whole.min_entropy()
                && whole.min_entropy() <= whole.entropy() * (1.0 + 1e-14)
                && whole.entropy() <= (logits.len() as f64).ln() * (1.0 + 1e-14);
            prop_assert!(ordered);
            prop_assert!(whole.surprisal().unwrap() >= 0.0);
        }
    }

    /// A shift by a power of two moves the lse and nothing else.
    #[test]
    fn a_shift_moves_only_the_log_sum_exp(
        logits in prop::collection::vec(-512..512_i32, 1..70),
        shift in -20..20_i32,
    ) {
        // Multiples of 2⁻⁵, so that the shifted logits are exact.
        let logits: Vec<f64> = logits.into_iter().map(|x| f64::from(x) / 32.0).collect();
        let shift = f64::from(shift) * 1024.0;
        let shifted: Vec<f64> = logits.iter().map(|x| x + shift).collect();
        let (mut a, mut b) = (RowState::with_target(0), RowState::with_target(0));
        a.push(0, &logits).unwrap();
        b.push(0, &shifted).unwrap();
        prop_assert_eq!(b.maximum, a.maximum + shift);
        prop_assert_eq!(b.log_sum(), a.log_sum());
        prop_assert_eq!(b.entropy(), a.entropy());
        prop_assert_eq!(b.varentropy(), a.varentropy());
        prop_assert_eq!(b.surprisal(), a.surprisal());
    }
}

fn state_of(logits: impl IntoIterator<Item = f64>, target: u32) -> RowState {
    let logits: Vec<f64> = logits.into_iter().collect();
    let mut state = RowState::with_target(target);
    state.push(0, &logits).unwrap();
    state
}

/// H_α = −ln(1 + Σ p (p^(α−1) − 1)) / (α−1), all terms of which have one sign, and at 1 its limit.
fn plain_renyi_entropy(logits: &[f64], alpha: f64) -> f64 {
    let step = alpha - 1.0;
    let state = state_of(logits.iter().copied(), 0);
    let logarithms = logits.iter().map(|&logit| -state.surprisal_of(logit));
    let logarithms: Vec<f64> = logarithms.filter(|x| *x > f64::NEG_INFINITY).collect();
    let sum = |f: &dyn Fn(f64) -> f64| logarithms.iter().map(|&x| x.exp() * f(x)).sum::<f64>();
    if step == 0.0 {
        return -sum(&|x| x);
    }
    let less_one = sum(&|x| (step * x).exp_m1());
    match less_one > -0.5 {
        true => -less_one.ln_1p() / step,
        false => -logarithms.iter().map(|x| (alpha * x).exp()).sum::<f64>().ln() / step,
    }
}

#[test]
fn renyi_entropies_have_ten_digits_at_any_order() {
    let mut stream = Stream(17);
    let mut normal = |count: usize, scale: f64| -> Vec<f64> {
        (0..count).map(|_| scale * stream.normal()).collect()
    };
    let peak = |height: f64, others: usize| [vec![0.0], vec![-height; others]].concat();
    let rows = [
        normal(50, 2.0),
        normal(5000, 3.0),
        [normal(20, 1.0), vec![f64::NEG_INFINITY; 5]].concat(),
        peak(0.0, 999),
        peak(12.0, 100_000),
        peak(20.0, 100_000),
        peak(50.0, 11),
        peak(600.0, 11),
        peak(650.0, 1),
        peak(5.0, 0),
        (0..12).map(|i| -40.0 * f64::from(i)).collect(),
    ];
    let mut orders = vec![0.0, 0.05, 0.5, 1.0, 1.5, 2.0, 3.0, 30.0];
    for tenths in 0..=160 {
        let step = 10_f64.powf(-16.0 + 0.1 * f64::from(tenths));
        orders.extend([1.0 - step, 1.0 + step]);
    }
    for (i, row) in rows.iter().enumerate() {
        let state = state_of(row.iter().copied(), 0);
        for &alpha in orders.iter().filter(|alpha| **alpha >= 0.0) {
            // 0 · −∞ is no logit.
            let times = |x: f64| if x == f64::NEG_INFINITY { x } else { alpha * x };
            let escort = state_of(row.iter().map(|&x| times(x)), 0);
            let found = state.renyi_entropy(&escort, alpha);
            let expected = plain_renyi_entropy(row, alpha);
            // Where the two ways of computing it meet, |α−1|⁵ s⁴ = 3·10⁻¹³, s is up to 700: there the
            // difference loses 2 · 2⁻⁵² / |α−1| and the integral (|α−1| s)⁴ / 720, both below 3·10⁻¹¹.
            let near = close(found, expected, 1e-10, 0.0);
            assert!(near, "row {i}, α = {alpha}: {found:e}, not {expected:e}");
        }
        assert_eq!(state.renyi_entropy(&state, 1.0), state.entropy());
        for alpha in [1e19, f64::MAX, f64::INFINITY] {
            assert_eq!(state.renyi_entropy(&RowState::new(), alpha), state.min_entropy());
        }
        for alpha in [-1.0, f64::NEG_INFINITY, f64::NAN] {
            assert!(state.renyi_entropy(&state, alpha).is_nan());
        }
    }
    // e^−800 is 0, and e^−80 is not.
    let (state, escort) = (state_of([0.0, -800.0], 0), state_of([0.0, -80.0], 0));
    assert!(close(state.renyi_entropy(&escort, 0.1), (-80_f64).exp() / 0.9, 1e-14, 0.0));
    for nothing in [RowState::new(), state_of([f64::NAN, 0.0], 0)] {
        for alpha in [0.0, 0.5, 1.0, 1.0 + 1e-9, 2.0, f64::INFINITY] {
            assert!(nothing.renyi_entropy(&nothing, alpha).is_nan());
        }
    }
}

#[test]
fn a_z_score_has_its_digits_where_the_target_is_nearly_the_mean() {
    // Logits h, 0, −h: the mean is 2h²/3 above 0, the variance 2h²/3, and ln p_y + H is less than the
    // last bit of either. The difference of a/(1+r) and −h has lost 2⁻⁵² h of 2h²/3.
    let h = 2_f64.powi(-30);
    let found = state_of([h, 0.0, -h], 1).z_score().unwrap();
    let expected = -h * (2.0_f64 / 3.0).sqrt();
    assert!(close(found, expected, 4.0 * 2_f64.powi(-52) / h, 0.0), "{found:e}, not {expected:e}");

    let state = state_of([1.0, 2.0, 3.0, 0.5], 2);
    let plain = (state.entropy() - state.surprisal().unwrap()) / state.varentropy().sqrt();
    assert!(close(state.z_score().unwrap(), plain, 1e-14, 0.0));
    assert_eq!(state_of([2.0; 3], 1).z_score(), Some(0.0));
    assert_eq!(state_of([1.0, 2.0, f64::NEG_INFINITY], 2).z_score(), Some(f64::NEG_INFINITY));
    assert!(state_of([1.0, f64::NAN], 0).z_score().unwrap().is_nan());
    assert_eq!(RowState::with_target(0).z_score(), None);
}
