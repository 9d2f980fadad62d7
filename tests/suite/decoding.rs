//! What a decoder keeps of a row, beside direct counts and the fused truncations; Mirostat's loop; who decodes.

use ndarray::{Array1, Array2, arr1};
use surprisal::information::{DecodingModel, EntropySwitch, Mirostat, NextToken, SurpriseOf};
use surprisal::loss::Truncation;
use surprisal::random::Generator;
use surprisal::{Inputs, LinearCrossEntropy, Statistic};
use testing::Stream;

fn zipf(exponent: f64, count: usize) -> NextToken {
    let logits = Array1::from_shape_fn(count, |i| -exponent * (1.0 + i as f64).ln());
    NextToken::of_logits(&logits).unwrap()
}

fn softmax(logits: &[f64]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = logits.iter().map(|z| (z - largest).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|w| w / sum).collect()
}

#[test]
fn sets_are_those_of_the_fused_truncations() {
    let mut stream = Stream(3);
    let loss = LinearCrossEntropy::builder().build().unwrap();
    for classes in [1, 2, 7, 33, 300] {
        let logits = stream.matrix(1, classes, 3.0);
        let row = NextToken::of_logits(logits.row(0)).unwrap();
        for share in [0.05, 0.3, 0.9, 0.999] {
            for (kept, truncation) in [
                (row.nucleus(share).unwrap(), Truncation::new().top_p(share)),
                (row.min_p(share).unwrap(), Truncation::new().min_p(share)),
            ] {
                // Each class as the target of a copy of the row: those that are cut off have probability 0.
                let all = Array2::from_shape_fn((classes, classes), |(_, v)| logits[[0, v]]);
                let targets: Vec<u32> = (0..classes as u32).collect();
                let inputs = Inputs::from_logits(&all, &targets);
                let floors = loss.truncate(&inputs, &truncation).unwrap();
                let forward = loss.forward(&inputs.floors(&floors)).unwrap();
                let logs = forward.statistic(Statistic::LogProbability).unwrap();
                let left: Vec<u32> =
                    (0..classes as u32).filter(|&v| logs[v as usize] > f64::NEG_INFINITY).collect();
                let mut own = row.tokens()[..kept].to_vec();
                own.sort_unstable();
                assert_eq!(own, left, "{classes} classes, {share}");
            }
        }
    }
}

#[test]
fn a_typical_set_is_the_smallest_of_those_nearest_to_the_entropy() {
    let mut stream = Stream(5);
    for classes in [1, 5, 40] {
        let logits: Vec<f64> = stream.matrix(1, classes, 2.0).into_iter().collect();
        let row = NextToken::of_logits(&Array1::from(logits.clone())).unwrap();
        let p = softmax(&logits);
        let entropy: f64 = p.iter().map(|p| -p * p.ln()).sum();
        assert!((row.entropy() - entropy).abs() <= 16.0 * f64::EPSILON * (1.0 + entropy));
        let mut order: Vec<usize> = (0..classes).collect();
        order.sort_by(|&a, &b| {
            let off = |v: usize| (-p[v].ln() - entropy).abs();
            off(a).total_cmp(&off(b))
        });
        for mass in [0.1, 0.5, 0.95] {
            let kept = row.typical(mass).unwrap();
            let of = |set: &[u32]| set.iter().map(|&v| p[v as usize]).sum::<f64>();
            let wanted: Vec<u32> = order[..kept.len()].iter().map(|&v| v as u32).collect();
            assert_eq!(kept, wanted, "{classes} classes, {mass}");
            let rounding = 64.0 * f64::EPSILON;
            assert!(of(&kept) >= mass - rounding && of(&kept[..kept.len() - 1]) < mass + rounding);
        }
        // All of the mass is all that can be.
        assert!(row.nucleus(1.0).unwrap() <= classes && row.min_p(f64::MIN_POSITIVE).is_ok());
    }
    let row = NextToken::of_probabilities(&arr1(&[0.0, 0.25, 0.75, 0.0])).unwrap();
    assert_eq!((row.nucleus(1.0).unwrap(), row.typical(1.0).unwrap().len()), (2, 2));
    assert_eq!(row.log_probabilities()[2], f64::NEG_INFINITY);
}

#[test]
fn draws_have_the_probabilities_of_what_is_kept() {
    let logits = [0.3, -1.0, 2.0, 0.3, f64::NEG_INFINITY];
    let row = NextToken::of_logits(&arr1(&logits)).unwrap();
    assert_eq!(row.tokens(), [2, 0, 3, 1, 4]);
    let p = softmax(&logits);
    for kept in 1..=5 {
        const GRID: usize = 10_000;
        let mut counts = [0_usize; 5];
        for i in 0..GRID {
            counts[row.draw(kept, (i as f64 + 0.5) / GRID as f64).unwrap()] += 1;
        }
        let sum: f64 = row.tokens()[..kept].iter().map(|&v| p[v as usize]).sum();
        for (place, count) in counts.iter().enumerate().take(kept) {
            // The ends of a share fall between points of the grid.
            let share = p[row.tokens()[place] as usize] / sum * GRID as f64;
            assert!((*count as f64 - share).abs() <= 1.0 + 1e-9, "{kept}: {count} for {share}");
        }
        assert!(counts[kept..].iter().all(|count| *count == 0));
    }
    // Nor at the end of the range a token that cannot be.
    assert_eq!(row.draw(5, 1.0 - f64::EPSILON / 2.0).unwrap(), 3);
}

#[test]
fn the_law_of_zipf_is_found_again_and_its_k_is_the_direct_one() {
    for exponent in [0.5, 0.8, 1.0, 1.2, 1.7, 4.0] {
        let row = zipf(exponent, 2000);
        for pairs in [1, 10, 100, 1999, 5000] {
            let found = row.zipf_exponent(pairs);
            // b is a difference of two logarithms of p, of which each is off by the unit in its place.
            let rounding = 64.0 * f64::EPSILON * exponent * 2000_f64.ln() * pairs.min(2000) as f64;
            assert!((found - exponent).abs() <= rounding, "{exponent}, {pairs}: {found}");
        }
        if exponent != 1.0 {
            let (epsilon, n) = (exponent - 1.0, 2000.0_f64);
            for mu in [1.0_f64, 5.0, 9.0] {
                let direct = (epsilon * mu.exp2() / (1.0 - n.powf(-epsilon))).powf(1.0 / exponent);
                let k = row.mirostat_k(exponent, mu);
                assert!((k / direct.clamp(1.0, n) - 1.0).abs() < 1e-12, "{exponent}, {mu}: {k}");
            }
        }
        // Through 1 without a step.
        let near = row.mirostat_k(1.0 + 1e-9, 6.0) / row.mirostat_k(1.0, 6.0);
        assert!((near - 1.0).abs() < 1e-7);
        assert_eq!((row.mirostat_k(exponent, 1e4), row.mirostat_k(exponent, -1e4)), (2000.0, 1.0));
    }
}

#[test]
fn the_surprise_of_draws_comes_to_what_is_wanted() {
    // Between the surprise of the likeliest token and the entropy.
    for (exponent, tau) in [(0.8, 6.0), (1.1, 4.5), (1.5, 2.5)] {
        let row = zipf(exponent, 3000);
        for start in [
            Mirostat::v2(tau, 0.05).unwrap(),
            Mirostat::v2(tau, 0.05).unwrap().surprise_of(SurpriseOf::Kept),
            Mirostat::v1(tau, 0.05).unwrap(),
        ] {
            let (mut mirostat, mut random) = (start, Generator::new(9));
            let mut sum = 0.0;
            const DRAWS: usize = 20_000;
            for _ in 0..DRAWS {
                sum += mirostat.step(&row, random.uniform()).unwrap().surprise;
            }
            // η Σ (S − τ) is how far μ has gone, which stays within the range of surprises.
            let gone = (start.mu() - mirostat.mu()) / 0.05 / DRAWS as f64;
            assert!((sum / DRAWS as f64 - start.mu() / 2.0 - gone).abs() < 1e-9);
            assert!(gone.abs() < 0.05, "{exponent}, {start:?}: {gone}");
        }
    }
}

/// Some programs fall back to the likeliest token where none is above μ.
#[test]
fn with_every_token_below_the_bound_all_are_drawn() {
    let row = NextToken::of_logits(&arr1(&[1.0, 1.1, 0.9])).unwrap();
    let (mut mirostat, mut random) = (Mirostat::v2(5.0, 0.0).unwrap(), Generator::new(2));
    let mut seen = [0; 3];
    for _ in 0..200 {
        let step = mirostat.step(&row, random.uniform()).unwrap();
        assert_eq!(step.kept, 3);
        seen[step.token as usize] += 1;
    }
    assert!(seen.iter().all(|count| *count > 40), "{seen:?}");
    // And the likeliest is kept below every bound.
    assert_eq!(Mirostat::v2(0.0, 0.1).unwrap().kept(&row).unwrap(), 1);
}

#[test]
fn a_switch_is_the_rule_written_out() {
    let mut stream = Stream(8);
    for (window, least) in [(1, 0), (1, 1), (3, 2), (5, 4), (20, 7)] {
        let mut switch = EntropySwitch::new(window, 1.5, least, DecodingModel::Large).unwrap();
        let (mut all, mut model, mut since) = (Vec::new(), DecodingModel::Large, 0);
        for _ in 0..200 {
            all.push(3.0 * stream.uniform());
            let last = &all[all.len().saturating_sub(window)..];
            let mean = last.iter().sum::<f64>() / last.len() as f64;
            since += 1;
            let wanted = if mean > 1.5 { DecodingModel::Large } else { DecodingModel::Small };
            if since >= least && wanted != model {
                (model, since) = (wanted, 0);
            }
            let step = switch.push(all[all.len() - 1]).unwrap();
            assert_eq!((step.mean, step.model, switch.model()), (mean, model, model));
        }
    }
}

#[test]
fn what_is_no_row_or_option_is_refused() {
    let none: [f64; 0] = [];
    let of = |logits: &[f64]| NextToken::of_logits(&Array1::from(logits.to_vec()));
    for (bad, part) in [
        (&none[..], "logits has shape [0]"),
        (&[1.0, f64::NAN], "logits[1] is NaN"),
        (&[f64::INFINITY, 1.0], "logits[0] is inf"),
        (&[f64::NEG_INFINITY; 3], "logits[0] is -inf"),
    ] {
        let error = of(bad).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    for bad in [&[0.5, 0.6][..], &[1.5, -0.5], &[f64::NAN, 1.0], &none] {
        assert!(NextToken::of_probabilities(&Array1::from(bad.to_vec())).is_err(), "{bad:?}");
    }
    let row = of(&[0.0, 1.0]).unwrap();
    for bad in [0.0, -0.1, 1.1, f64::NAN] {
        assert!(row.nucleus(bad).is_err() && row.min_p(bad).is_err() && row.typical(bad).is_err());
    }
    assert!(row.least_surprise(f64::NAN).is_err());
    for (kept, uniform) in [(0, 0.5), (3, 0.5), (1, 1.0), (1, -0.1), (1, f64::NAN)] {
        assert!(row.draw(kept, uniform).is_err(), "{kept}, {uniform}");
    }
    assert!(Mirostat::v2(f64::NAN, 0.1).is_err() && Mirostat::v1(1.0, -0.1).is_err());
    assert!(Mirostat::v2(1.0, f64::INFINITY).is_err());
    assert!(Mirostat::v2(1.0, 0.1).unwrap().with_mu(f64::NAN).is_err());
    assert!(EntropySwitch::new(0, 1.0, 1, DecodingModel::Small).is_err());
    assert!(EntropySwitch::new(1, f64::NAN, 1, DecodingModel::Small).is_err());
    let mut switch = EntropySwitch::new(2, 1.0, 1, DecodingModel::Small).unwrap();
    let before = switch.clone();
    for bad in [-0.1, f64::NAN, f64::INFINITY] {
        assert!(switch.push(bad).is_err());
    }
    assert_eq!(switch, before);
}
