//! Scaling laws: exact data gives the exact law, noise stays within its errors, and what cannot be told is refused.

use ndarray::{Array1, arr1};
use surprisal::Error;
use surprisal::fit::{
    AnnealingLaw, AnnealingSums, BivariateLaw, Chinchilla, Fitted, InformationGain, Law, PowerLaw,
    Residuals, ScalingFit, huber,
};
use surprisal::random::Generator;

fn usual() -> ScalingFit {
    ScalingFit::builder().build().unwrap()
}

/// `count` numbers from `low` to `high`, evenly by their logarithms.
fn sizes(low: f64, high: f64, count: usize) -> Array1<f64> {
    let step = (high / low).ln() / (count - 1) as f64;
    Array1::from_shape_fn(count, |i| low * (step * i as f64).exp())
}

/// All pairs.
fn pairs(first: &Array1<f64>, second: &Array1<f64>) -> (Array1<f64>, Array1<f64>) {
    let all = || first.iter().flat_map(|&a| second.iter().map(move |&b| (a, b)));
    (all().map(|pair| pair.0).collect(), all().map(|pair| pair.1).collect())
}

#[track_caller]
fn close(found: f64, wanted: f64, relative: f64) {
    assert!((found - wanted).abs() <= relative * wanted.abs(), "{found:e}, wanted {wanted:e}");
}

#[track_caller]
fn recovers<L: Law>(found: &Fitted<L>, wanted: &L) {
    for ((name, found), wanted) in
        L::PARAMETERS.iter().zip(found.law.parameters()).zip(wanted.parameters())
    {
        // A constant of 0 is found among losses of about 1.
        let near = (found - wanted).abs() <= 1e-6 * wanted.abs().max(1e-3);
        assert!(near, "{name} is {found:e}, wanted {wanted:e}");
    }
}

/// A refusal of one line that holds all of the parts.
#[track_caller]
fn refused<T>(result: surprisal::Result<T>, parts: &[&str]) {
    let Err(error) = result else { panic!("not refused: {parts:?}") };
    let message = error.to_string();
    assert_eq!(message.lines().count(), 1, "{message}");
    for part in parts {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}

#[test]
fn power_laws_are_recovered_from_exact_losses() {
    for l_inf in [0.0, 0.1, 2.2] {
        for alpha in [0.03, 0.13, 0.5, 1.0, 2.5] {
            for x0 in [2.0, 6.3e4, 1e12] {
                for (low, high, count) in [(1e5, 1e9, 9), (1e3, 1e6, 4), (7e7, 9e8, 60)] {
                    let law = PowerLaw::new(l_inf, x0, alpha).unwrap();
                    let x = sizes(low, high, count);
                    let losses = law.losses(&x).unwrap();
                    // Losses that are a constant to 14 digits do not fall.
                    let fall = losses[0] - losses[count - 1];
                    if fall < 1e-4 * losses[0] {
                        continue;
                    }
                    let fitted = usual().power_law(&x, &losses).unwrap_or_else(|error| {
                        panic!("{law:?} from {low:e} to {high:e}: {error}");
                    });
                    // What rounding of the losses leaves, and no more than 1e-6.
                    let wanted = law.parameters();
                    let bound = (1e3 * f64::EPSILON * fitted.condition / alpha.min(1.0)).max(1e-9);
                    for (k, found) in fitted.law.parameters().into_iter().enumerate() {
                        let size = if k == 0 { losses[0] } else { wanted[k] };
                        let off = (found - wanted[k]).abs() / size;
                        let bound = if k == 1 { bound / alpha } else { bound };
                        assert!(off <= bound.min(1e-6), "{law:?}: {off:e}, {}", fitted.condition);
                    }
                    assert!(fitted.objective < 1e-24 && fitted.r_squared > 1.0 - 1e-9);
                }
            }
        }
    }
}

#[test]
fn laws_of_two_sizes_are_recovered_from_exact_losses() {
    let (n, d) = pairs(&sizes(1e7, 1e10, 5), &sizes(1e8, 3e11, 6));
    for (encoder_exponent, decoder_exponent) in [(0.18, 0.31), (0.05, 0.6), (1.2, 0.4)] {
        for l_inf in [0.0, 1.35] {
            let references = (1e8, 2e9);
            let law =
                BivariateLaw::new(references, 0.9, (encoder_exponent, decoder_exponent), l_inf);
            let law = law.unwrap();
            let losses = law.losses(&n, &d).unwrap();
            recovers(&usual().bivariate(&n, &d, references, &losses).unwrap(), &law);
        }
    }
    for (a, alpha) in [(406.4, 0.34), (12.0, 0.1), (2e6, 0.9)] {
        for (b, beta) in [(410.7, 0.28), (2e4, 0.5)] {
            for e in [0.0, 1.69] {
                let law = Chinchilla::new(e, (a, alpha), (b, beta)).unwrap();
                let losses = law.losses(&n, &d).unwrap();
                recovers(&usual().chinchilla(&n, &d, &losses).unwrap(), &law);
            }
        }
    }
}

/// Sums and steps of a warm-up, a plateau and a fall to a tenth.
fn schedule(steps: usize, plateau: f64, lambda: f64) -> (Array1<f64>, Array1<f64>) {
    let rates = Array1::from_shape_fn(steps, |i| {
        let share = i as f64 / steps as f64;
        3e-4 * match share {
            share if share < 0.05 => (share / 0.05).max(1e-3),
            share if share < plateau => 1.0,
            share => 0.1 + 0.9 * (1.0 - share) / (1.0 - plateau),
        }
    });
    let sums = AnnealingSums::builder(&rates).lambda(lambda).warm_up_to_peak().build().unwrap();
    let at = |all: &[f64]| all.iter().skip(steps / 10).step_by(steps / 30).copied().collect();
    (at(sums.s1()), at(sums.s2()))
}

#[test]
fn annealing_laws_are_recovered_from_one_schedule_and_from_several() {
    for (l0, a, c, alpha) in [(2.63, 0.43, 0.41, 0.55), (0.0, 2.0, 1.0, 0.2), (1.5, 0.3, 0.0, 0.9)]
    {
        let law = AnnealingLaw::new(l0, a, c, alpha).unwrap();
        for lambda in [0.9, 0.99, 0.999] {
            let (mut s1, mut s2) = schedule(3000, 0.6, lambda);
            for several in [false, true] {
                if several {
                    let other = schedule(2000, 0.3, lambda);
                    s1 = s1.iter().chain(&other.0).copied().collect();
                    s2 = s2.iter().chain(&other.1).copied().collect();
                }
                let losses = law.losses(&s1, &s2).unwrap();
                recovers(&usual().annealing(&s1, &s2, &losses).unwrap(), &law);
                // Losses of either sign have differences.
                let low = AnnealingLaw::new(l0, a, 1e3 * c, alpha).unwrap();
                let losses = low.losses(&s1, &s2).unwrap();
                let fit = ScalingFit::builder().residuals(Residuals::Differences).build().unwrap();
                recovers(&fit.annealing(&s1, &s2, &losses).unwrap(), &low);
            }
        }
    }
}

/// The sum of Huber losses of the best L∞ and amplitude for an α, by a search that knows no derivative.
fn profile(x: &Array1<f64>, losses: &Array1<f64>, alpha: f64) -> f64 {
    let objective = |l_inf: f64, amplitude: f64| {
        let residuals = x
            .iter()
            .zip(losses)
            .map(|(x, loss)| ((l_inf + (amplitude - alpha * (x / 1e7).ln()).exp()) / loss).ln());
        huber(&residuals.collect::<Array1<f64>>(), 1e-3).unwrap().sum()
    };
    let inner = |l_inf: f64| golden(-6.0, 3.0, |amplitude| objective(l_inf, amplitude)).1;
    golden(0.0, 3.0, inner).1
}

/// The minimum of a function with one: its place and value.
fn golden(mut low: f64, mut high: f64, f: impl Fn(f64) -> f64) -> (f64, f64) {
    let ratio = 0.5 * (5_f64.sqrt() - 1.0);
    for _ in 0..70 {
        let (a, b) = (high - ratio * (high - low), low + ratio * (high - low));
        if f(a) < f(b) { high = b } else { low = a }
    }
    let middle = f64::midpoint(low, high);
    (middle, f(middle))
}

#[test]
fn no_other_law_has_a_lower_objective() {
    let mut chance = Generator::new(11);
    for round in 0..6 {
        let x = sizes(1e5, 1e9, 8 + round);
        let law = PowerLaw::new(1.5, 1e6, 0.2).unwrap();
        let noise = 10_f64.powi(-2 - round as i32 % 3);
        let losses =
            law.losses(&x).unwrap().mapv(|loss| loss * (noise * chance.standard_normal()).exp());
        let Ok(fitted) = usual().power_law(&x, &losses) else { continue };
        let (low, high) = (0.5 * fitted.law.alpha, 2.0 * fitted.law.alpha);
        let (_, best) = golden(low, high, |alpha| profile(&x, &losses, alpha));
        assert!(fitted.objective <= best * (1.0 + 1e-6), "{:e} {best:e}", fitted.objective);
    }
}

/// Of many noisy copies of a law: how often the parameters and a new loss are within what is said of them.
fn coverage(noise: f64, count: usize) -> [f64; 4] {
    let mut chance = Generator::stream(5, count as u64);
    let law = PowerLaw::new(1.5, 1e6, 0.25).unwrap();
    let x = sizes(1e5, 1e10, count);
    let exact = law.losses(&x).unwrap();
    let (mut fits, mut within) = (0.0, [0.0; 4]);
    for _ in 0..300 {
        let losses = exact.mapv(|loss| loss * (noise * chance.standard_normal()).exp());
        let fitted = usual().power_law(&x, &losses).unwrap();
        fits += 1.0;
        for (k, wanted) in law.parameters().into_iter().enumerate() {
            let off = (fitted.law.parameters()[k] - wanted).abs();
            within[k] += f64::from(u8::from(off <= 2.0 * fitted.standard_errors[k]));
        }
        let new = law.at(1e11).unwrap() * (noise * chance.standard_normal()).exp();
        let told = fitted.predict(1e11).unwrap();
        within[3] += f64::from(u8::from((told.lower..=told.upper).contains(&new)));
    }
    within.map(|hits| hits / fits)
}

#[test]
fn noise_stays_within_the_errors_that_are_told() {
    // Two standard errors hold 95 % of a normal distribution, less of Student's with few points; 300 copies tell a
    // share of 0.95 within ±0.04 (three standard errors). Few points of a spread beyond δ are the hardest.
    for (noise, count) in [(1e-4, 20), (1e-2, 20), (1e-2, 60)] {
        let shares = coverage(noise, count);
        println!("{noise} {count}: {shares:?}");
        for share in shares {
            assert!((0.88..=1.0).contains(&share), "{noise} {count}: {shares:?}");
        }
    }
}

#[test]
fn the_order_of_the_points_is_nothing_and_units_only_move_x0() {
    let mut chance = Generator::new(2);
    let x = sizes(1e5, 1e9, 12);
    let law = PowerLaw::new(2.0, 1e5, 0.2).unwrap();
    let losses =
        law.losses(&x).unwrap().mapv(|loss| loss * (1e-3 * chance.standard_normal()).exp());
    let fitted = usual().power_law(&x, &losses).unwrap();
    let mut order: Vec<usize> = (0..12).collect();
    for _ in 0..5 {
        chance.shuffle(&mut order);
        let of = |all: &Array1<f64>| order.iter().map(|&i| all[i]).collect::<Array1<f64>>();
        let other = usual().power_law(&of(&x), &of(&losses)).unwrap();
        assert_eq!(other.law, fitted.law);
        assert_eq!(other.covariance, fitted.covariance);
    }
    for power in [-400, -3, 20, 900] {
        let unit = 2_f64.powi(power);
        let other = usual().power_law(&(&x * unit), &losses).unwrap();
        close(other.law.alpha, fitted.law.alpha, 1e-7);
        close(other.law.l_inf, fitted.law.l_inf, 1e-7);
        close(other.law.x0 / unit, fitted.law.x0, 1e-6);
        close(other.objective, fitted.objective, 1e-9);
    }
    // Losses in another unit are another law: x0 is where one nat is left.
    let bits = usual().power_law(&x, &(&losses / std::f64::consts::LN_2)).unwrap();
    close(bits.law.alpha, fitted.law.alpha, 1e-7);
    close(bits.law.l_inf * std::f64::consts::LN_2, fitted.law.l_inf, 1e-7);
}

#[test]
fn a_few_wrong_losses_hardly_matter() {
    let x = sizes(1e5, 1e10, 20);
    let law = PowerLaw::new(2.0, 1e6, 0.3).unwrap();
    let mut losses = law.losses(&x).unwrap();
    losses[4] *= 1.5;
    losses[13] *= 0.7;
    let fitted = usual().power_law(&x, &losses).unwrap();
    // Each outlier pulls as hard as a residual of δ does: parameters move by about δ times the condition.
    for (found, wanted) in fitted.law.parameters().into_iter().zip(law.parameters()) {
        close(found, wanted, 1e-3 * fitted.condition);
    }
    close(fitted.law.alpha, 0.3, 0.01);
    let squares = ScalingFit::builder().huber_delta(1e3).build().unwrap();
    let alpha = squares.power_law(&x, &losses).unwrap().law.alpha;
    assert!((alpha - 0.3).abs() > 0.03, "least squares would not be moved either: {alpha}");
    // A point that stands twice counts twice, and more points than a scan looks at are all used.
    let (many_x, many) = pairs(&sizes(1e5, 1e10, 3000), &arr1(&[0.999, 1.0, 1.001]));
    let losses = law.losses(&many_x).unwrap() * &many;
    let fitted = usual().power_law(&many_x, &losses).unwrap();
    assert_eq!(fitted.degrees_of_freedom, 9000 - 3);
    close(fitted.law.alpha, 0.3, 1e-3);
}

#[test]
fn inverses_and_optima_are_those_of_the_law() {
    let law = PowerLaw::new(1.75, 6e4, 0.125).unwrap();
    for x in [1e-3, 1.0, 6e4, 1e9, 1e30] {
        close(
            law.x_for(law.at(x).unwrap()).unwrap(),
            x,
            1e-9 * x.max(1.0).log10().max(1.0) * 100.0,
        );
    }
    close(law.x_for_kl(law.reducible(2.0)).unwrap(), law.x_for(2.0).unwrap(), 1e-13);
    refused(law.x_for(1.75), &["loss is 1.75", "above l_inf"]);
    refused(law.x_for(f64::NAN), &["loss is NaN"]);
    refused(law.x_for_kl(1e-300), &["kl is 1e-300", "within f64"]);

    let law = BivariateLaw::new((1e8, 5e7), 0.875, (0.1875, 0.3125), 1.25).unwrap();
    let best = law.optimal_split(1e9).unwrap();
    close(best.encoder + best.decoder, 1e9, 1e-15);
    for share in [0.2, 0.3, 0.37, 0.38, 0.5, 0.9] {
        assert!(law.at((1e9 * share, 1e9 * (1.0 - share))).unwrap() > best.loss);
    }
    let of_budget = law.of_budget().unwrap();
    close(of_budget.at(1e9).unwrap(), best.loss, 1e-13);
    close(of_budget.x_for(best.loss).unwrap(), 1e9, 1e-11);

    let law = Chinchilla::new(1.69, (406.4, 0.34), (410.7, 0.28)).unwrap();
    let best = law.optimal_allocation(5.88e23).unwrap();
    close(6.0 * best.parameters * best.tokens, 5.88e23, 1e-13);
    for factor in [0.5, 0.99, 1.01, 2.0] {
        let other = law.at((best.parameters * factor, best.tokens / factor)).unwrap();
        assert!(other > best.loss, "{factor}");
    }
    let of_operations = law.of_operations().unwrap();
    close(of_operations.at(5.88e23).unwrap(), best.loss, 1e-13);
    close(of_operations.x_for(best.loss).unwrap(), 5.88e23, 1e-11);
}

#[test]
fn sums_of_a_schedule_are_the_double_sum_and_the_closed_forms() {
    let mut chance = Generator::new(4);
    let rates = Array1::from_shape_fn(200, |_| chance.uniform());
    for lambda in [0.0, 0.5, 0.9, 0.999, 1.0] {
        let sums = AnnealingSums::builder(&rates).lambda(lambda).build().unwrap();
        for s in [0, 1, 7, 199] {
            let mut double = 0.0;
            for i in 1..=s {
                for k in 1..=i {
                    double += (rates[k - 1] - rates[k]) * lambda.powi((i - k) as i32);
                }
            }
            let (s1, s2) = sums.at(s).unwrap();
            close(s1, rates.iter().take(s + 1).sum(), 1e-14);
            // Terms of about 1 cancel in the double sum, s² of them.
            assert!((s2 - double).abs() <= 1e-15 * (s * s) as f64 + 1e-15, "{lambda} {s}");
        }
    }
    let constant = AnnealingSums::builder(&Array1::from_elem(50, 3e-4)).build().unwrap();
    assert!(constant.s2().iter().all(|&s2| s2 == 0.0));
    // One drop by Δ at step k: Δ (1 − λ^(s−k+1))/(1 − λ).
    let drop = Array1::from_shape_fn(50, |i| if i < 20 { 1.0 } else { 0.4 });
    let sums = AnnealingSums::builder(&drop).lambda(0.9).build().unwrap();
    close(sums.s2()[49], 0.6 * (1.0 - 0.9_f64.powi(30)) / 0.1, 1e-13);

    let rates = arr1(&[0.1, 0.2, 0.4, 0.4, 0.2]);
    let build = |steps| AnnealingSums::builder(&rates).warm_up(steps).build();
    let peak = AnnealingSums::builder(&rates).warm_up_to_peak().build().unwrap();
    assert_eq!(build(2).unwrap(), peak);
    assert_eq!(peak.s1()[1], 0.8);
    refused(build(6), &["warm_up is 6", "at most as many"]);
    refused(peak.at(5), &["step is 5"]);
    let build = |rates: &[f64], lambda| AnnealingSums::builder(&arr1(rates)).lambda(lambda).build();
    refused(build(&[], 0.5), &["learning_rates has shape [0]"]);
    refused(build(&[1.0, -1.0], 0.5), &["learning_rates[1] is -1"]);
    refused(build(&[1.0, f64::NAN], 0.5), &["learning_rates[1] is NaN"]);
    refused(build(&[f64::MAX, f64::MAX], 0.5), &["learning_rates[1]", "within f64"]);
    refused(build(&[1.0], 1.5), &["lambda is 1.5"]);
    refused(build(&[1.0], f64::NAN), &["lambda is NaN"]);
}

#[test]
fn what_the_data_cannot_tell_is_refused() {
    let fit = |x: &[f64], loss: &[f64]| usual().power_law(&arr1(x), &arr1(loss));
    let x = [1.0, 2.0, 4.0, 8.0, 16.0];
    refused(fit(&x, &[1.0, 2.0, 3.0, 4.0, 5.0]), &["does not fall with x"]);
    refused(fit(&x, &[2.0; 5]), &["does not fall with x"]);
    refused(fit(&x[..3], &[3.0, 2.0, 1.0]), &["x has 3 distinct values", "at least 4"]);
    refused(
        fit(&[1.0, 1.0, 2.0, 2.0, 3.0], &[3.0, 3.0, 2.0, 2.0, 1.0]),
        &["x has 3 distinct values among 5"],
    );
    refused(fit(&x, &[3.0, 2.0, 1.5]), &["loss has shape [3]", "as many as of x"]);
    refused(fit(&[], &[]), &["x has 0 distinct"]);
    refused(fit(&[1.0, -2.0, 3.0, 4.0, 5.0], &[5.0; 5]), &["x[1] is -2", "above 0"]);
    refused(fit(&[1.0, 2.0, 0.0, 4.0, 5.0], &[5.0; 5]), &["x[2] is 0"]);
    refused(fit(&x, &[5.0, f64::NAN, 3.0, 2.0, 1.0]), &["loss[1] is NaN"]);
    refused(fit(&x, &[5.0, 4.0, f64::INFINITY, 2.0, 1.0]), &["loss[2] is inf"]);
    refused(fit(&x, &[5.0, 4.0, 3.0, 2.0, -1.0]), &["loss[4] is -1"]);
    refused(fit(&x, &[1e100, 4.0, 3.0, 2.0, 1.0]), &["from 1 to 1e100", "at most 1e60"]);
    // Whatever the number, and however many.
    for constant in [2.5, 3.1, 7.77, 0.1] {
        for count in 4..16 {
            let x: Vec<f64> = (0..count).map(|k| 1e5 * 3_f64.powi(k)).collect();
            let same = vec![constant; x.len()];
            refused(fit(&x, &same), &["does not fall with x"]);
            let (n, d) = pairs(&arr1(&x[..4]), &arr1(&x[..4]));
            let same = n.mapv(|_| constant);
            refused(usual().chinchilla(&n, &d, &same), &["does not fall"]);
            refused(usual().bivariate(&n, &d, (1.0, 1.0), &same), &["does not fall"]);
        }
    }
    // One fall, then nothing: any large α does it.
    refused(fit(&x, &[2.0, 1.0, 1.0, 1.0, 1.0]), &["cannot tell"]);
    // A little fall in much noise.
    let noisy = [2.0, 2.2, 1.9, 2.15, 1.95];
    refused(fit(&x, &noisy), &["cannot tell"]);
    // Losses that fall as straight as a logarithm, unless one asks for the law all the same.
    let wave = |i| if i % 2 == 0 { -0.01 } else { 0.01 };
    let straight = Array1::from_shape_fn(8, |i| 5.0 - 0.1 * i as f64 + wave(i));
    let x = sizes(1e5, 1e6, 8);
    refused(usual().power_law(&x, &straight), &["cannot tell alpha"]);
    let any = ScalingFit::builder().undetermined(true).build().unwrap();
    let fitted = any.power_law(&x, &straight).unwrap();
    assert!(fitted.r_squared > 0.99 && fitted.standard_errors[2] >= fitted.law.alpha, "{fitted:?}");

    let (n, d) = pairs(&sizes(1e6, 1e9, 4), &sizes(1e8, 1e11, 4));
    let of_n = n.mapv(|n: f64| 1.0 + (1e7 / n).powf(0.3));
    refused(usual().chinchilla(&n, &d, &of_n), &["parameters and tokens"]);
    refused(usual().bivariate(&n, &d, (1.0, 1.0), &of_n), &["decoder"]);
    refused(usual().bivariate(&n, &d, (0.0, 1.0), &of_n), &["encoder_reference is 0"]);
    // The same of both: only their sum is told.
    let law = Chinchilla::new(1.0, (10.0, 0.3), (10.0, 0.3)).unwrap();
    let one = sizes(1e6, 1e9, 12);
    refused(usual().chinchilla(&one, &one, &law.losses(&one, &one).unwrap()), &["cannot tell"]);

    let (s1, s2) = schedule(1000, 0.5, 0.9);
    let law = AnnealingLaw::new(2.0, 0.5, 1.0, 0.5).unwrap();
    let losses = law.losses(&s1, &s2).unwrap();
    let still = Array1::<f64>::zeros(s2.len());
    refused(usual().annealing(&s1, &still, &losses), &["s2 is 0 throughout"]);
    refused(law.losses(&arr1(&[0.0]), &arr1(&[0.0])), &["s1[0] is 0"]);
    refused(usual().annealing(&s1, &s2, &(&losses - 5.0)), &["loss[", "above 0"]);

    let option = |builder: surprisal::fit::ScalingFitBuilder| builder.build();
    refused(option(ScalingFit::builder().huber_delta(f64::NAN)), &["huber_delta is NaN"]);
    refused(option(ScalingFit::builder().confidence(1.0)), &["confidence is 1"]);
    refused(PowerLaw::new(1.0, 0.0, 1.0), &["x0 is 0"]);
    refused(huber(&arr1(&[1.0]), 0.0), &["delta is 0"]);
    refused(InformationGain::from_losses(0.0, 1.0), &["loss is 0"]);
    refused(InformationGain::from_losses(1e-300, 1e300), &["conditional_loss is 1e300"]);
}

#[test]
fn the_ends_of_the_range_give_a_law_or_a_refusal() {
    let ends = [1e-300, 1e-150, 1e-3, 1.0, 7.0, 1e150, 1e300];
    let mut chance = Generator::new(8);
    let mut fits = 0;
    for round in 0..400 {
        let count = 4 + round % 9;
        let number = |chance: &mut Generator| match chance.below(3) {
            0 => ends[chance.below(ends.len())],
            1 => chance.uniform() + 1e-3,
            _ => (1400.0 * (chance.uniform() - 0.5)).exp(),
        };
        let list = |chance: &mut Generator| {
            let mut all: Vec<f64> = (0..count).map(|_| number(chance)).collect();
            if chance.below(2) == 0 {
                all.sort_by(f64::total_cmp);
            }
            Array1::from(all)
        };
        let (x, y) = (list(&mut chance), list(&mut chance));
        let mut losses = list(&mut chance);
        losses.as_slice_mut().unwrap().reverse();
        let good = |parameters: Vec<f64>| {
            assert!(parameters.iter().all(|x| x.is_finite()), "{parameters:?}");
            1
        };
        let of = |error: Error| {
            assert_eq!(error.to_string().lines().count(), 1);
            0
        };
        fits += usual().power_law(&x, &losses).map_or_else(of, |f| good(f.law.parameters()));
        let fit = usual().bivariate(&x, &y, (1.0, 1.0), &losses);
        fits += fit.map_or_else(of, |f| good(f.law.parameters()));
        let fit = usual().chinchilla(&x, &y, &losses);
        fits += fit.map_or_else(of, |f| good(f.law.parameters()));
        let differences = ScalingFit::builder().residuals(Residuals::Differences).build().unwrap();
        for fit in [usual(), differences] {
            let fit = fit.annealing(&x, &y, &losses);
            fits += fit.map_or_else(of, |f| good(f.law.parameters()));
        }
    }
    assert!(fits > 0, "all were refused");
    // A law of tiny losses at tiny sizes is a law.
    let x = sizes(1e-300, 1e-290, 8);
    let law = PowerLaw::new(0.0, 1e-300, 0.3).unwrap();
    let losses = law.losses(&x).unwrap() * 1e-200;
    let fitted = usual().power_law(&x, &losses);
    refused(fitted, &["x0", "f64"]);
    let fitted = usual().power_law(&x, &(losses * 1e200)).unwrap();
    close(fitted.law.alpha, 0.3, 1e-9);
}

#[test]
fn predictions_are_the_law_with_its_errors() {
    let mut chance = Generator::new(21);
    let x = sizes(1e5, 1e9, 16);
    let law = PowerLaw::new(2.0, 1e5, 0.2).unwrap();
    let losses = law.losses(&x).unwrap().mapv(|l| l * (1e-3 * chance.standard_normal()).exp());
    // Least squares, whose errors the delta method has in closed form by differences.
    let fit = ScalingFit::builder().huber_delta(1.0).build().unwrap();
    let fitted = fit.power_law(&x, &losses).unwrap();
    for place in [1e4, 3e6, 1e12] {
        let told = fitted.predict(place).unwrap();
        close(told.loss, fitted.law.at(place).unwrap(), 1e-15);
        let parameters = fitted.law.parameters();
        let slopes: Vec<f64> = (0..3)
            .map(|k| {
                let at = |step: f64| {
                    let mut moved = parameters.clone();
                    moved[k] *= 1.0 + step;
                    PowerLaw::new(moved[0], moved[1], moved[2]).unwrap().at(place).unwrap()
                };
                (at(1e-5) - at(-1e-5)) / (2e-5 * parameters[k])
            })
            .collect();
        let variance: f64 = (0..3)
            .flat_map(|i| (0..3).map(move |j| (i, j)))
            .map(|(i, j)| slopes[i] * fitted.covariance[[i, j]] * slopes[j])
            .sum();
        // Differences have 1e-9, and parts of the variance cancel.
        close(told.standard_error, variance.sqrt(), 1e-4);
        let reach = (told.upper / told.loss).ln();
        close((told.loss / told.lower).ln(), reach, 1e-9);
        // Student's t of 95 % and 13 degrees is 2.160.
        let spread = (told.standard_error / told.loss).hypot(fitted.scatter);
        close(reach / spread, 2.160, 3e-4);
    }
    let root = |k: usize| fitted.covariance[[k, k]].sqrt();
    assert_eq!(fitted.standard_errors, [root(0), root(1), root(2)]);
    refused(fitted.predict(-1.0), &["x[0] is -1"]);
    refused(fitted.predict(f64::NAN), &["x[0] is NaN"]);
    let steep = PowerLaw::new(2.0, 1e5, 2.0).unwrap().losses(&x).unwrap();
    let far = usual().power_law(&x, &steep).unwrap().predict(1e-300);
    refused(far, &["place is one with the loss inf", "finite"]);
}

#[test]
fn exact_losses_over_a_narrow_range_give_the_law_and_errors_of_rounding() {
    let cases = [
        (2.0, 1.0, 0.5, Array1::from_shape_fn(8, |k| 1.0 + 0.001 * k as f64)),
        (1.5, 1e-3, 0.1, Array1::from_shape_fn(8, |k| 1.0 + 0.3 / 7.0 * k as f64)),
        (3.0, 1e-49, 0.035, Array1::from_shape_fn(6, |k| 10.0 + 2.0 * k as f64)),
        (1.75, 6e4, 0.125, sizes(1e4, 1e9, 8)),
    ];
    for (l_inf, x0, alpha, x) in cases {
        let losses = x.mapv(|x: f64| l_inf + (x0 / x).powf(alpha));
        let fitted = usual().power_law(&x, &losses).unwrap();
        // The errors are those of rounding, times what the range leaves of each parameter.
        assert!(fitted.scatter < 8.0 * f64::EPSILON, "{alpha}: {:e}", fitted.scatter);
        let wanted = [l_inf, x0, alpha];
        let found = [fitted.law.l_inf, fitted.law.x0, fitted.law.alpha];
        for ((found, wanted), error) in found.iter().zip(wanted).zip(&fitted.standard_errors) {
            assert!((found - wanted).abs() <= 6.0 * error, "{found} for {wanted} ± {error:e}");
        }
        assert!(fitted.standard_errors[2] < 1e-6 * alpha, "{alpha}: {:?}", fitted.standard_errors);
    }
}
