//! Numbers under distributions that are cut into unit intervals.

use ndarray::{Array1, arr1};
use std::f64::consts::{LN_2, TAU};
use surprisal::autodiff::{Tape, gradcheck};
use surprisal::rates::{Discretized, log_normal_distribution};

use super::refused;
use super::truth::{GAUSSIAN, LOG_NORMAL, LOGISTIC, Row};

const EPSILON: f64 = f64::EPSILON;

fn families() -> [(Discretized, &'static [Row]); 2] {
    [(Discretized::gaussian(), GAUSSIAN), (Discretized::logistic(), LOGISTIC)]
}

/// ln p, and its slopes by mean and scale.
fn of(rate: Discretized, value: f64, mean: f64, scale: f64) -> [f64; 3] {
    let rates = rate.evaluate(&arr1(&[value]), &arr1(&[mean]), &arr1(&[scale])).unwrap();
    [rates.log_probs[0], -rates.by_mean[0] * LN_2, -rates.by_scale[0] * LN_2]
}

#[track_caller]
fn near(found: f64, wanted: f64, bound: f64, what: impl std::fmt::Display) {
    assert!((found - wanted).abs() <= bound, "{what}: {found:e}, wanted {wanted:e} ± {bound:e}");
}

#[test]
fn the_logarithm_of_the_normal_distribution_has_the_digits_of_both_tails() {
    for &[x, wanted] in LOG_NORMAL {
        // Of a tail near 1 the density's x² is rounded off, of one near 0 a difference of two logarithms below 1.
        let bound = 8.0 * EPSILON * (wanted.abs() + if x < 0.0 { 0.5 } else { 0.0 });
        near(log_normal_distribution(x), wanted, bound, x);
    }
    assert_eq!(log_normal_distribution(f64::INFINITY), 0.0);
    assert_eq!(log_normal_distribution(f64::NEG_INFINITY), f64::NEG_INFINITY);
    assert!(log_normal_distribution(f64::NAN).is_nan());
}

#[test]
fn logarithms_and_slopes_have_their_digits_from_the_middle_to_a_million_deviations() {
    for (rate, table) in families() {
        assert!(table.len() > 95);
        for &[value, mean, scale, log_prob, by_mean, by_scale] in table {
            let what = format!("{rate:?} of {value} at {mean}, {scale}");
            let found = of(rate, value, mean, scale);
            let distance = (value - mean).abs();
            // The ends of the interval are rounded, and what is added to them.
            let (end, z) = (distance + 0.5, distance / scale);
            let ends = by_mean.abs() * end + by_scale.abs() * scale;
            // Beside the interval that holds the mean ln p is a sum that may be smaller than its terms.
            let inside = distance <= 0.5 && scale < 1.0;
            let terms = if inside { 0.0 } else { 1.0 };
            let bound = 16.0 * EPSILON * (log_prob.abs() + ends + terms * log_prob.abs().min(1.0));
            near(found[0], log_prob, bound, &what);
            // Inside, slopes are as e^(−end²/2σ²) or as e^(−end/s): an end's rounding times its power.
            let power = 1.0 + if inside { (end / scale).powi(2) } else { 0.0 };
            near(found[1], by_mean, 16.0 * EPSILON * power * by_mean.abs(), &what);
            // A difference of z² and 1, or of z and 1.
            let bound = by_scale.abs() * power + terms * (1.0 + z * z) / scale;
            near(found[2], by_scale, 16.0 * EPSILON * bound, &what);
            // From the other side it is the same.
            let other = of(rate, -value, -mean, scale);
            assert_eq!(other, [found[0], -found[1], found[2]]);
        }
    }
}

#[test]
fn all_whole_numbers_have_the_mass_of_one() {
    for (rate, _) in families() {
        for scale in [1e-3, 0.1, 0.5, 0.99, 1.0, 1.01, 4.0, 33.0] {
            for mean in [0.0, 0.3, 0.5, -7.25] {
                // Beyond 40 scales a logistic distribution has e^−40.
                let reach = (40.0 * scale + 9.0_f64).ceil();
                let values = Array1::range(-reach, reach + 1.0, 1.0);
                let all = |x: f64| Array1::from_elem(values.len(), x);
                let rates = rate.evaluate(&values, &all(mean), &all(scale)).unwrap();
                let sum: f64 = rates.log_probs.iter().map(|x| x.exp()).sum();
                // Each p is off by its logarithm, at most 1/e of roundings, and the sum by its own.
                let bound = 16.0 * EPSILON * (values.len() as f64).sqrt().max(8.0);
                near(sum, 1.0, bound, format!("{rate:?} {scale} {mean}"));
                // So the slopes of the masses sum to 0; by the mean the terms are at most 1/σ each side.
                for slopes in [&rates.by_mean, &rates.by_scale] {
                    let parts = slopes.iter().zip(&rates.log_probs);
                    let parts: Vec<f64> = parts.map(|(slope, x)| slope * x.exp()).collect();
                    let size: f64 = parts.iter().map(|x| x.abs()).sum();
                    let power = (1.0 / scale).powi(2).max(1.0);
                    near(parts.iter().sum(), 0.0, bound * power * (size + 1.0 / scale), "slopes");
                }
            }
        }
    }
}

#[test]
fn wide_scales_have_the_density_and_narrow_ones_the_interval() {
    for power in [4, 8, 40, 300] {
        let scale = 10.0_f64.powi(power);
        for z in [0.0, 1.0, -3.0] {
            let [found, ..] = of(Discretized::gaussian(), z * scale, 0.0, scale);
            let wanted = -0.5 * z * z - 0.5 * TAU.ln() - scale.ln();
            // The width of the interval tells (z² − 1)/24σ².
            let bound = 4.0 * EPSILON * wanted.abs() + (1.0 + z * z) / 24.0 / scale / scale;
            near(found, wanted, bound, scale);
            let [found, ..] = of(Discretized::logistic(), z * scale, 0.0, scale);
            let wanted = -z.abs() - 2.0 * (-z.abs()).exp().ln_1p() - scale.ln();
            near(found, wanted, 4.0 * EPSILON * wanted.abs() + 1.0 / scale / scale, scale);
        }
    }
    for (rate, _) in families() {
        for scale in [1e-3, 1e-10, 1e-300, f64::MIN_POSITIVE, 5e-324] {
            // A logistic distribution leaves e^−300 outside at the first.
            let inside = of(rate, 2.0, 2.2, scale);
            assert!(inside.iter().all(|x| x.abs() < 1e-120), "{rate:?} {scale} {inside:?}");
            // On the edge there is half of it.
            near(of(rate, 2.0, 2.5, scale)[0], -LN_2, 2.0 * EPSILON, scale);
            assert!(of(rate, 2.0, 3.0, scale)[0] < -400.0);
        }
    }
}

#[test]
fn at_the_ends_of_the_range_nothing_is_no_number() {
    let sizes = [0.0, 5e-324, 1e-300, 1e-154, 1e-16, 0.5, 1.0, 40.0, 1e16, 1e154, 1e300, f64::MAX];
    for (rate, _) in families() {
        for value in sizes {
            for mean in sizes {
                for scale in sizes.into_iter().filter(|&scale| scale > 0.0) {
                    for mean in [mean, -mean] {
                        let [log_prob, by_mean, by_scale] = of(rate, value, mean, scale);
                        let what = format!("{rate:?} of {value} at {mean}, {scale}");
                        assert!(log_prob <= 0.0 && !by_scale.is_nan(), "{what}");
                        // ln p grows towards the mean.
                        let towards = if value > mean { by_mean } else { -by_mean };
                        assert!(towards >= 0.0, "{what}: {by_mean}");
                    }
                }
            }
        }
    }
    let far =
        Discretized::gaussian().evaluate(&arr1(&[1e300]), &arr1(&[0.0]), &arr1(&[1.0])).unwrap();
    assert_eq!((far.bits()[0], far.total_bits()), (f64::INFINITY, f64::INFINITY));
    assert_eq!(far.bits_floored(0.5).unwrap()[0], 1.0);
}

#[test]
fn bits_are_more_than_the_entropy_of_the_density_and_as_many_where_it_is_wide() {
    for scale in [0.3_f64, 1.0, 5.0, 40.0] {
        let reach = (40.0 * scale).ceil() + 2.0;
        let values = Array1::range(-reach, reach + 1.0, 1.0);
        let all = |x: f64| Array1::from_elem(values.len(), x);
        let rates = Discretized::gaussian().evaluate(&values, &all(0.2), &all(scale)).unwrap();
        let bits: f64 =
            rates.log_probs.iter().zip(rates.bits()).map(|(x, bits)| x.exp() * bits).sum();
        let density = 0.5 * (TAU * std::f64::consts::E * scale * scale).log2();
        assert!(bits >= density * (1.0 - 16.0 * EPSILON), "{bits} {density}");
        // A uniform number within the interval adds 1/12 to the variance.
        let with_noise = 0.5 * (TAU * std::f64::consts::E * (scale * scale + 1.0 / 12.0)).log2();
        assert!(bits <= with_noise * (1.0 + 16.0 * EPSILON), "{bits} {with_noise}");
    }
}

#[test]
fn slopes_on_the_tape_are_those_of_differences() {
    let values = arr1(&[0.2, -3.0, 7.0, 2.0, 40.0, 0.0]).into_dyn();
    let means = arr1(&[0.0, 1.3, 2.5, 2.1, 1.0, 0.1]).into_dyn();
    for scales in [[0.4, 0.7, 1.5, 0.3, 2.0, 20.0], [3.0, 2.0, 1.2, 0.9, 30.0, 0.5]] {
        let scales = arr1(&scales).into_dyn();
        for rate in [Discretized::gaussian(), Discretized::logistic()] {
            let inputs = [values.clone(), means.clone(), scales.clone()];
            let worst =
                gradcheck(|_, x| x[0].discretized_bits(x[1], x[2], &rate), &inputs).unwrap();
            assert!(worst.error < 1e-8, "{rate:?}: {worst:?}");
            let least = rate.minimum_scale(0.45).unwrap();
            let worst =
                gradcheck(|_, x| x[0].discretized_bits(x[1], x[2], &least), &inputs).unwrap();
            assert!(worst.error < 1e-8, "{least:?}: {worst:?}");
        }
    }
}

#[test]
fn a_tape_of_single_numbers_has_the_same_rounded_once() {
    for (rate, table) in families() {
        let column = |i: usize| table.iter().map(|row| row[i] as f32).collect::<Array1<f32>>();
        let [values, means, scales] = [0, 1, 2].map(column);
        let tape = Tape::<f32>::new().unwrap();
        let operands = [&values, &means, &scales].map(|x| tape.leaf(x.to_owned()));
        let bits = operands[0].discretized_bits(operands[1], operands[2], &rate).unwrap();
        let direct = rate.evaluate(&values, &means, &scales).unwrap();
        let rounded = |numbers: &Array1<f64>| numbers.mapv(|x| x as f32).into_dyn();
        assert_eq!(bits.value(), rounded(&direct.bits()));
        let gradients = bits.sum().backward().unwrap();
        let of = |i: usize| gradients.of(operands[i]).unwrap().to_owned();
        assert_eq!(of(1), rounded(&direct.by_mean).into_shared());
        assert_eq!(of(2), rounded(&direct.by_scale).into_shared());
        assert_eq!(of(0), rounded(&direct.by_mean.mapv(|x| 0.0 - x)).into_shared());
    }
}

#[test]
fn what_has_no_rate_is_refused() {
    let rate = Discretized::gaussian();
    let at = |value: f64, mean: f64, scale: f64| {
        rate.evaluate(&arr1(&[0.0, value]), &arr1(&[0.0, mean]), &arr1(&[1.0, scale]))
    };
    refused(at(f64::NAN, 0.0, 1.0), &["values[1] is NaN", "finite"]);
    refused(at(f64::INFINITY, 0.0, 1.0), &["values[1] is inf"]);
    refused(at(0.0, f64::NEG_INFINITY, 1.0), &["mean[1] is -inf"]);
    for scale in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        refused(at(0.0, 0.0, scale), &["scale[1] is", "finite number above 0"]);
        refused(rate.minimum_scale(scale), &["minimum_scale is", "above 0"]);
    }
    let (one, two) = (arr1(&[1.0]), arr1(&[1.0, 2.0]));
    refused(rate.evaluate(&two, &one, &two), &["mean has shape [1]", "[2]"]);
    refused(rate.evaluate(&two, &two, &one), &["scale has shape [1]", "[2]"]);
    let none = Array1::<f64>::zeros(0);
    refused(rate.evaluate(&none, &none, &none), &["values has shape [0]", "at least one"]);
    let rates = rate.evaluate(&one, &one, &one).unwrap();
    for floor in [0.0, -1.0, 1.5, f64::NAN] {
        refused(rates.bits_floored(floor), &["probability_floor is", "above 0 up to 1"]);
    }
    let tape = Tape::<f64>::new().unwrap();
    let (x, y) = (tape.leaf(one), tape.leaf(two));
    refused(x.discretized_bits(x, y, &rate).map(|_| ()), &["the scale has shape [2]", "[1]"]);
    let other = Tape::<f64>::new().unwrap();
    let z = other.leaf(arr1(&[1.0]));
    refused(x.discretized_bits(z, x, &rate).map(|_| ()), &["the mean", "another tape"]);
}
