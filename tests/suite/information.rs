//! What distributions and texts tell: against direct forms and brute force, by identities, and what is refused.

use ndarray::{Array1, Array2, arr1, arr2};
use surprisal::information::{
    Divergences, MinK, Perplexity, ReferenceCounts, RewardDistribution, Roc, compression_ratio,
    expected_best_of_n, pass_at_k, reference_ratio, renyi_cross_entropy, renyi_entropies,
};
use surprisal::random::Generator;
use surprisal::{Inputs, LinearCrossEntropy, Result, Statistic, Targets};
use testing::{Stream, assert_close, close};

const EPSILON: f64 = f64::EPSILON;

fn softmax(logits: &[f64]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|z| (z - largest).exp()).sum();
    logits.iter().map(|z| (z - largest).exp() / sum).collect()
}

fn refused<T>(result: Result<T>, parts: &[&str]) {
    let message = result.err().expect("an error").to_string();
    for part in parts {
        assert!(message.contains(part), "no {part} in {message}");
    }
}

/// Counted at once.
fn whole(surprisals: &[f64]) -> Perplexity {
    let mut all = Perplexity::new();
    all.push_all(&arr1(surprisals));
    all
}

#[test]
fn any_parts_in_any_order_have_the_perplexity_of_the_whole() {
    let mut random = Generator::new(7);
    for round in 0..40 {
        let count = 2 + random.below(300);
        let offset = [0.0, 3.0, 1e6][round % 3];
        let mut numbers: Vec<f64> =
            (0..count).map(|_| offset - random.uniform().max(1e-9).ln()).collect();
        let mean = numbers.iter().sum::<f64>() / count as f64;
        let squares = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
        let error = (squares / (count as f64 - 1.0) / count as f64).sqrt();
        // Each of n steps rounds the mean once; the spread is as good as the mean is within it.
        let steps = 2.0 * count as f64 * EPSILON;
        let condition = 1.0 + mean / (squares / count as f64).sqrt();
        let check = |counted: &Perplexity| {
            assert_eq!(counted.tokens(), count as u64);
            assert!(close(counted.mean_surprisal(), mean, steps, 0.0));
            assert!(close(counted.standard_error(), error, 4.0 * steps * condition, 0.0));
        };
        check(&whole(&numbers));
        random.shuffle(&mut numbers);
        // A tree of merges over parts of any length, some of which are empty.
        let mut parts = Vec::new();
        let mut rest = &numbers[..];
        while !rest.is_empty() {
            let (part, others) = rest.split_at(random.below(rest.len() + 1));
            parts.push(whole(part));
            rest = others;
        }
        while parts.len() > 1 {
            let other = parts.swap_remove(random.below(parts.len()));
            let into = random.below(parts.len());
            parts[into].merge(&other);
        }
        check(&parts[0]);
    }
}

#[test]
fn a_perplexity_is_no_mean_of_exponentials_and_has_its_interval() {
    let mut counted = whole(&[1.0, 3.0]);
    assert_eq!(counted.perplexity(), 2_f64.exp());
    assert_eq!(counted.bits_per_token(), 2.0 / std::f64::consts::LN_2);
    assert_eq!((counted.standard_error(), counted.bits_per_byte()), (1.0, None));
    assert_eq!(counted.perplexity_standard_error(), 2_f64.exp());
    assert_eq!(counted.interval(1.0).unwrap(), [1_f64.exp(), 3_f64.exp()]);
    assert_eq!(counted.interval(0.0).unwrap(), [2_f64.exp(); 2]);
    refused(counted.interval(-1.0), &["z is -1", "at least 0"]);
    refused(counted.interval(f64::NAN), &["z is NaN"]);
    counted.push_bytes(5);
    counted.push_bytes(3);
    assert_eq!(counted.bits_per_byte(), Some(0.5 / std::f64::consts::LN_2));
    assert!(whole(&[1.0]).standard_error().is_nan());
    let none = Perplexity::new();
    assert!(none.mean_surprisal().is_nan() && none.calibration_gap().is_none());
}

#[test]
fn what_is_not_finite_is_said_and_not_made_a_nan() {
    let mut counted = whole(&[1.0, f64::INFINITY, 2.0]);
    counted.merge(&whole(&[f64::INFINITY, 0.5]));
    assert_eq!((counted.tokens(), counted.perplexity()), (5, f64::INFINITY));
    assert!(counted.standard_error().is_nan() && counted.interval(2.0).unwrap()[0].is_nan());
    let mut both = whole(&[f64::NEG_INFINITY]);
    assert_eq!(both.perplexity(), 0.0);
    both.merge(&counted);
    assert!(both.mean_surprisal().is_nan());
    counted.push(f64::NAN);
    assert!(counted.perplexity().is_nan() && counted.tokens() == 6);
}

#[test]
fn a_forward_is_counted_by_its_kept_rows() {
    let mut random = Stream(11);
    let logits = random.matrix(9, 6, 2.0);
    let targets = [0_i64, 1, -100, 3, 4, 5, 0, 1, 2];
    let inputs = Inputs::from_logits(&logits, &targets);
    let loss = LinearCrossEntropy::builder().varentropy(true).build().unwrap();
    let forward = loss.forward(&inputs).unwrap();
    let mut counted = Perplexity::new();
    counted.push_forward(&forward).unwrap();
    assert_eq!(counted.tokens(), 8);
    let mean = forward.mean_surprisal().unwrap();
    assert!(close(counted.mean_surprisal(), mean, 20.0 * EPSILON, 0.0));
    let gap = mean - forward.mean_entropy().unwrap();
    assert!(close(counted.calibration_gap().unwrap(), gap, 0.0, 40.0 * EPSILON * mean));
    assert!(counted.calibration_gap_standard_error().unwrap() > 0.0);

    // Without entropies there is no gap; of equal logits it is 0.
    let plain = LinearCrossEntropy::builder().build().unwrap();
    let mut counted = Perplexity::new();
    counted.push_forward(&plain.forward(&inputs).unwrap()).unwrap();
    assert_eq!(counted.calibration_gap(), None);
    let equal = Array2::<f64>::zeros((3, 4));
    let mut counted = Perplexity::new();
    counted
        .push_forward(&loss.forward(&Inputs::from_logits(&equal, &[1_u32, 2, 3])).unwrap())
        .unwrap();
    assert_eq!(counted.calibration_gap(), Some(0.0));
    assert!(close(counted.perplexity(), 4.0, 4.0 * EPSILON, 0.0));

    let soft = Array2::from_elem((3, 4), 0.25);
    let forward = plain.forward(&Inputs::from_logits(&equal, Targets::soft(&soft))).unwrap();
    let before = counted;
    refused(counted.push_forward(&forward), &["no surprisal", "a class as its target"]);
    assert_eq!(counted, before);
}

#[test]
fn the_least_of_a_text_are_counted() {
    let mut random = Generator::new(3);
    for _ in 0..30 {
        let count = 1 + random.below(40);
        let mut numbers: Vec<f64> = (0..count).map(|_| random.uniform() - 2.0).collect();
        let ratio = random.uniform().max(1e-3);
        let least = MinK::new(ratio).unwrap();
        let score = least.score(&arr1(&numbers)).unwrap();
        let mut sorted = numbers.clone();
        sorted.sort_by(f64::total_cmp);
        let k = ((count as f64 * ratio).floor() as usize).max(1);
        let mean = sorted[..k].iter().sum::<f64>() / k as f64;
        assert_eq!(score, mean);
        random.shuffle(&mut numbers);
        assert_eq!(least.score(&arr1(&numbers)).unwrap(), score);
    }
    let half = MinK::new(0.5).unwrap();
    assert_eq!(half.score(&arr1(&[f64::NEG_INFINITY, 0.0])).unwrap(), f64::NEG_INFINITY);
    assert!(half.score(&arr1(&[f64::NAN, -9.0, -8.0])).unwrap().is_nan());
    refused(half.score(&Array1::<f64>::zeros(0)), &["the text", "at least one token"]);
    for ratio in [0.0, -0.1, 1.1, f64::NAN] {
        refused(MinK::new(ratio), &["ratio is", "above 0 up to 1"]);
    }
}

/// The mean of numbers is among them, whatever their sum.
#[test]
fn the_least_of_a_text_have_a_mean_beyond_their_sum() {
    let all = MinK::new(1.0).unwrap();
    let of = |numbers: &[f64]| all.score(&arr1(numbers)).unwrap();
    assert_eq!(of(&[-1e308, -1e308]), -1e308);
    assert_eq!(of(&[f64::MAX; 3]), f64::MAX);
    assert_eq!(of(&[-f64::MAX; 7]), -f64::MAX);
    assert!(close(of(&[-1.5e308, -0.5e308, -1e308, 0.0]), -0.75e308, 4.0 * EPSILON, 0.0));
    assert_eq!(of(&[f64::NEG_INFINITY, -1e308, -1e308]), f64::NEG_INFINITY);
    assert!(of(&[f64::NEG_INFINITY, f64::INFINITY]).is_nan());
    // The product is that of f64, below 29.
    let numbers: Vec<f64> = (0..100).map(f64::from).collect();
    assert_eq!(MinK::new(0.29).unwrap().score(&arr1(&numbers)).unwrap(), 13.5);
}

#[test]
fn z_scores_margins_and_masses_come_out_of_the_fold() {
    let mut random = Stream(5);
    let mut logits = random.matrix(6, 7, 3.0);
    logits.row_mut(4).fill(1.5);
    let targets = [3_i64, 0, -100, 6, 2, 1];
    let inputs = Inputs::from_logits(&logits, &targets);
    let loss = LinearCrossEntropy::builder().varentropy(true).top_k(3).build().unwrap();
    let forward = loss.forward(&inputs).unwrap();
    let scores = forward.statistic(Statistic::ZScore).unwrap();
    let (margins, masses) = (forward.margin().unwrap(), forward.top_k().mass());
    for (row, &target) in targets.iter().enumerate() {
        if target < 0 {
            assert_eq!((scores[row], margins[row], masses[row]), (0.0, 0.0, 0.0));
            continue;
        }
        let p = softmax(logits.row(row).as_slice().unwrap());
        let mean: f64 = p.iter().map(|p| p * p.ln()).sum();
        let variance: f64 = p.iter().map(|p| p * (p.ln() - mean).powi(2)).sum();
        let deviation = p[target as usize].ln() - mean;
        // Of equal classes nothing varies.
        let score = if row == 4 { 0.0 } else { deviation / variance.sqrt() };
        assert!(close(scores[row], score, 1e-13, 0.0), "{row}: {} {score}", scores[row]);
        let mut sorted = p.clone();
        sorted.sort_by(|a, b| b.total_cmp(a));
        assert!(close(margins[row], (sorted[0] / sorted[1]).ln(), 1e-13, 1e-14));
        assert!(close(masses[row], sorted[..3].iter().sum(), 1e-14, 0.0));
    }
    let plain = LinearCrossEntropy::builder().top_k(1).build().unwrap();
    let forward = plain.forward(&inputs).unwrap();
    refused(forward.statistic(Statistic::ZScore), &["z score", "varentropy"]);
    refused(forward.margin(), &["two likeliest", "top_k asks for 1"]);
    let soft = Array2::from_elem((6, 7), 1.0 / 7.0);
    let forward = loss.forward(&Inputs::from_logits(&logits, Targets::soft(&soft))).unwrap();
    refused(forward.statistic(Statistic::ZScore), &["soft targets have no z score"]);
    let one = arr2(&[[2.0], [f64::NAN]]);
    let forward = loss.forward(&Inputs::from_logits(&one, &[0_u32, 0])).unwrap();
    let margins = forward.margin().unwrap();
    assert!(margins[0] == f64::INFINITY && margins[1].is_nan());
}

/// What has no logarithm of a probability has no score.
#[test]
fn what_is_no_log_probability_is_not_calibrated() {
    let reference = ReferenceCounts::new(&arr1(&[4.0, 0.0, 9.0])).unwrap();
    let of = |logs: &[f64], tokens: &[u32]| reference.dc_pdd(&arr1(logs), tokens, 1.0);
    let expected = "expected a log-probability of at most 0";
    refused(of(&[800.0], &[0]), &["log_probabilities[0] is 800", expected]);
    refused(of(&[-1.0, f64::NAN], &[0, 1]), &["log_probabilities[1] is NaN", expected]);
    // Also where the token does not count, which stood before.
    refused(of(&[-1.0, 1e-9], &[0, 0]), &["log_probabilities[1] is 0.000000001"]);
    assert_eq!(of(&[f64::NEG_INFINITY], &[0]).unwrap(), 0.0);
    assert_eq!(of(&[0.0], &[2]).unwrap(), -(10.0_f64 / 16.0).ln());
}

#[test]
fn counts_have_a_sum() {
    let of = |counts: &[f64]| ReferenceCounts::new(&arr1(counts));
    refused(of(&[1e308, 1e308]), &["the sum of counts is beyond f64"]);
    refused(of(&[1.0, f64::INFINITY]), &["counts[1] is inf", "finite number of at least 0"]);
    refused(of(&[1e308, 1e308, -1.0]), &["counts[2] is -1"]);
    assert!(of(&[1e308, 0.5e308]).is_ok());
}

#[test]
fn probabilities_are_calibrated_by_counts() {
    let reference = ReferenceCounts::new(&arr1(&[4.0, 0.0, 9.0])).unwrap();
    // First occurrences alone: 2 and 0.
    let log_probs = arr1(&[-0.5_f64, -3.0, -1.0]);
    let terms =
        [-(-0.5_f64).exp() * (10.0_f64 / 16.0).ln(), -(-3.0_f64).exp() * (5.0_f64 / 16.0).ln()];
    let score = |cap| reference.dc_pdd(&log_probs, &[2, 0, 2], cap).unwrap();
    assert!(close(score(10.0), (terms[0] + terms[1]) / 2.0, 1e-15, 0.0));
    assert!(close(score(0.2), (0.2 + terms[1]) / 2.0, 1e-15, 0.0));
    assert_eq!(score(1e-3), 1e-3);
    let counted = ReferenceCounts::of_tokens(&[0, 2, 2, 0], 3).unwrap();
    assert_eq!(counted, ReferenceCounts::new(&arr1(&[2.0, 0.0, 2.0])).unwrap());
    let sum: f64 = (0..3).map(|v| counted.log_frequency(v).unwrap().exp()).sum();
    assert!(close(sum, 1.0, 1e-15, 0.0) && counted.log_frequency(3).is_none());
    refused(ReferenceCounts::of_tokens(&[0, 3], 3), &["tokens[1] is 3"]);
    refused(ReferenceCounts::new(&arr1(&[1.0, -1.0])), &["counts[1] is -1"]);
    refused(ReferenceCounts::new(&Array1::<f64>::zeros(0)), &["counts"]);
    refused(reference.dc_pdd(&log_probs, &[2, 0], 1.0), &["[3]", "[2]"]);
    refused(reference.dc_pdd(&log_probs, &[2, 0, 3], 1.0), &["tokens[2] is 3"]);
    refused(reference.dc_pdd(&log_probs, &[2, 0, 1], 0.0), &["cap is 0"]);
    refused(reference.dc_pdd(&Array1::<f64>::zeros(0), &[], 1.0), &["at least one"]);
    assert_eq!(reference_ratio(&log_probs, &arr1(&[-1.5, -2.0, -2.5])).unwrap(), 0.5);
    refused(reference_ratio(&log_probs, &arr1(&[-1.0])), &["reference has shape [1]"]);
    assert_eq!(compression_ratio(&log_probs, 3).unwrap(), -0.5);
    refused(compression_ratio(&log_probs, 0), &["compressed_bytes is 0"]);
}

#[test]
fn ranks_are_those_of_all_pairs() {
    let mut random = Generator::new(17);
    for round in 0..60 {
        let count = 4 + random.below(40);
        // Few values, so that there are ties.
        let scores: Vec<f64> = (0..count).map(|_| random.below(9) as f64 - 4.0).collect();
        let mut labels: Vec<bool> = (0..count).map(|_| random.below(3) == 0).collect();
        (labels[0], labels[1], labels[2], labels[3]) = (true, false, true, false);
        let of = |label: bool| -> Vec<f64> {
            let of = scores.iter().zip(&labels).filter(|(_, l)| **l == label);
            of.map(|(score, _)| *score).collect()
        };
        let (positive, negative) = (of(true), of(false));
        let order = |a: f64, b: f64| f64::from(a > b) + 0.5 * f64::from(a == b);
        let wins = |a: f64| negative.iter().map(|&b| order(a, b)).sum::<f64>();
        let u: f64 = positive.iter().map(|&a| wins(a)).sum();
        let roc = Roc::new(&arr1(&scores), &labels).unwrap();
        assert_eq!(roc.u(), u);
        let pairs = (positive.len() * negative.len()) as f64;
        assert_eq!(roc.area(), u / pairs);

        // The curve has that area below it, by trapezia.
        let points = roc.points();
        let trapezia =
            points.windows(2).map(|p| (p[1][0] - p[0][0]) * (p[1][1] + p[0][1]) / 2.0).sum::<f64>();
        assert!(close(trapezia, roc.area(), 0.0, 4.0 * count as f64 * EPSILON));

        // The other way round, and of scores in the same order.
        let flipped: Vec<bool> = labels.iter().map(|label| !label).collect();
        assert_eq!(Roc::new(&arr1(&scores), &flipped).unwrap().u(), pairs - u);
        let cubes: Vec<f64> = scores.iter().map(|x| x.powi(3) + 1e3).collect();
        assert_eq!(Roc::new(&arr1(&cubes), &labels).unwrap(), roc);

        let limit = [0.05, 0.3, 1.0][round % 3];
        let rate = |scores: &[f64], t: f64| {
            scores.iter().filter(|&&x| x >= t).count() as f64 / scores.len() as f64
        };
        let good = scores.iter().filter(|&&t| rate(&negative, t) < limit);
        let best = good.map(|&t| rate(&positive, t)).fold(0.0, f64::max);
        assert_eq!(roc.true_positive_rate(limit).unwrap(), best);

        // DeLong: the variance of each one's share of the others that it is on the right side of.
        let spread = |shares: Vec<f64>| {
            let (n, mean) = (shares.len() as f64, u / pairs);
            shares.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0) / n
        };
        let of_positive = positive.iter().map(|&a| wins(a) / negative.len() as f64).collect();
        let of_negative = negative
            .iter()
            .map(|&b| positive.iter().map(|&a| order(a, b)).sum::<f64>() / positive.len() as f64);
        let error = (spread(of_positive) + spread(of_negative.collect())).sqrt();
        assert!(close(roc.standard_error(), error, 1e-12, 1e-15));
    }
    let roc = |scores: &[f64], labels: &[bool]| Roc::new(&arr1(scores), labels);
    assert_eq!(roc(&[0.0, -0.0], &[true, false]).unwrap().area(), 0.5);
    let ends = roc(&[f64::INFINITY, f64::NEG_INFINITY], &[true, false]).unwrap();
    assert!(ends.area() == 1.0 && ends.standard_error().is_nan());
    refused(roc(&[0.1, f64::NAN], &[true, false]), &["scores[1] is NaN"]);
    refused(roc(&[0.1, 0.2], &[true]), &["labels has shape [1]", "[2]"]);
    refused(roc(&[0.1, 0.2], &[true, true]), &["2 positives and 0 negatives"]);
    for limit in [0.0, 1.5, f64::NAN] {
        refused(ends.true_positive_rate(limit), &["limit is", "above 0 up to 1"]);
    }
}

#[test]
fn divergences_agree_with_their_definitions_and_their_inequalities() {
    let mut random = Stream(23);
    for _ in 0..40 {
        let (a, b) = (random.vector(7, 2.0), random.vector(7, 2.0));
        let of = Divergences::of(&a, &b).unwrap();
        let (p, q) = (softmax(a.as_slice().unwrap()), softmax(b.as_slice().unwrap()));
        let sum = |term: &dyn Fn(f64, f64) -> f64| -> f64 {
            p.iter().zip(&q).map(|(&p, &q)| term(p, q)).sum()
        };
        let half = |x: f64, p: f64, q: f64| 0.5 * x * (x / (0.5 * (p + q))).ln();
        let direct = [
            (of.kl, sum(&|p, q| p * (p / q).ln())),
            (of.reverse_kl, sum(&|p, q| q * (q / p).ln())),
            (of.cross_entropy, -sum(&|p, q| p * q.ln())),
            (of.entropy, -sum(&|p, _| p * p.ln())),
            (of.jensen_shannon, sum(&|p, q| half(p, p, q) + half(q, p, q))),
            (of.total_variation, 0.5 * sum(&|p, q| (p - q).abs())),
            (of.hellinger_squared, 1.0 - sum(&|p, q| (p * q).sqrt())),
            (of.chi_squared, sum(&|p, q| p * p / q) - 1.0),
            (of.renyi2, sum(&|p, q| p * p / q).ln()),
        ];
        for (at, (found, wanted)) in direct.into_iter().enumerate() {
            assert!(close(found, wanted, 1e-13, 1e-14), "{at}: {found}, not {wanted}");
        }
        // Pinsker; Le Cam; the order of the Rényi divergences.
        assert!(of.total_variation <= (0.5 * of.kl).sqrt());
        assert!(of.hellinger_squared <= of.total_variation);
        assert!(of.total_variation <= (2.0 * of.hellinger_squared).sqrt());
        assert!(of.jensen_shannon <= std::f64::consts::LN_2 && of.kl <= of.renyi2);
        assert!(of.renyi2 <= of.chi_squared);
        // The other way, from elsewhere, and in another order.
        let other = Divergences::of(&b, &a).unwrap();
        assert_close("js", [other.jensen_shannon], &[of.jensen_shannon], 1e-14, 0.0);
        assert_close("kl", [other.reverse_kl], &[of.kl], 1e-13, 0.0);
        let moved = Divergences::of(&a.mapv(|z| z + 1024.0), &b.mapv(|z| z - 64.0)).unwrap();
        assert_close("moved", [moved.kl], &[of.kl], 1e-11, 0.0);
        let back = |z: &Array1<f64>| Array1::from_iter(z.iter().rev().copied());
        let turned = Divergences::of(&back(&a), &back(&b)).unwrap();
        assert_close("turned", [turned.chi_squared], &[of.chi_squared], 1e-13, 0.0);
        let same = Divergences::of(&a, &a).unwrap();
        let zero = [
            same.kl,
            same.jensen_shannon,
            same.total_variation,
            same.hellinger_squared,
            same.renyi2,
            same.chi_squared,
        ];
        assert_eq!(zero, [0.0; 6]);
    }
}

#[test]
fn divergences_of_close_rows_are_those_of_the_second_order() {
    let mut random = Stream(29);
    for step in [1e-4, 1e-6, 1e-8] {
        let a = random.vector(6, 1.0);
        // Exact differences of logits.
        let b = &a + &random.vector(6, 1.0).mapv(|x| x * step);
        let difference = &b - &a;
        let p = softmax(a.as_slice().unwrap());
        let mean: f64 = p.iter().zip(&difference).map(|(p, d)| p * d).sum();
        let variance: f64 = p.iter().zip(&difference).map(|(p, d)| p * (d - mean).powi(2)).sum();
        let variation: f64 = p.iter().zip(&difference).map(|(p, d)| p * (d - mean).abs()).sum();
        let of = Divergences::of(&a, &b).unwrap();
        // What the next order adds is a few steps, what rounds Δ is a few ε of it.
        let relative = 10.0 * step + 100.0 * EPSILON / step;
        for (found, wanted) in [
            (of.kl, variance / 2.0),
            (of.reverse_kl, variance / 2.0),
            (of.jensen_shannon, variance / 8.0),
            (of.hellinger_squared, variance / 8.0),
            (of.chi_squared, variance),
            (of.renyi2, variance),
            (of.total_variation, variation / 2.0),
        ] {
            assert!(close(found, wanted, relative, 0.0), "{step}: {found}, not {wanted}");
        }
    }
}

#[test]
fn divergences_have_their_limits_and_refusals() {
    const NONE: f64 = f64::NEG_INFINITY;
    let of = |a: &[f64], b: &[f64]| Divergences::of(&arr1(a), &arr1(b));
    // p has no class that q lacks: q has one more.
    let found = of(&[0.0, 0.0, NONE], &[0.0, 0.0, 0.0]).unwrap();
    assert!(close(found.kl, 1.5_f64.ln(), 1e-15, 0.0) && found.reverse_kl == f64::INFINITY);
    assert!(close(found.chi_squared, 0.5, 1e-15, 0.0));
    assert!(close(found.renyi2, 1.5_f64.ln(), 1e-15, 0.0));
    assert!(close(found.hellinger_squared, 1.0 - (2.0_f64 / 3.0).sqrt(), 1e-14, 0.0));
    let apart = of(&[0.0, NONE], &[NONE, 0.0]).unwrap();
    assert_eq!((apart.total_variation, apart.hellinger_squared), (1.0, 1.0));
    assert_eq!(
        (apart.kl, apart.renyi2, apart.chi_squared),
        (f64::INFINITY, f64::INFINITY, f64::INFINITY)
    );
    // ½·½/e^−1000: the sum is beyond all numbers, its logarithm is not, nor is q's class lost.
    let far = of(&[0.0, 0.0], &[0.0, -1000.0]).unwrap();
    assert_eq!(far.chi_squared, f64::INFINITY);
    assert!(close(far.renyi2, 1000.0 + 0.25_f64.ln(), 1e-14, 0.0));
    let near = of(&[0.0, -400.0], &[0.0, -700.0]).unwrap();
    assert!(close(near.chi_squared, (-100.0_f64).exp(), 1e-12, 0.0));
    let nan = of(&[0.0, f64::NAN], &[0.0, 1.0]).unwrap();
    assert!(nan.kl.is_nan() && nan.chi_squared.is_nan() && nan.hellinger_squared.is_nan());
    refused(of(&[], &[]), &["logits", "at least one class"]);
    refused(of(&[1.0], &[1.0, 2.0]), &["others has shape [2]", "[1]"]);
    refused(of(&[1.0, f64::INFINITY], &[1.0, 2.0]), &["logits[1] is inf"]);
    refused(of(&[1.0, 2.0], &[NONE, NONE]), &["others[0] is -inf"]);
}

/// A distribution of so many answers, with some rewards tied.
fn answers(random: &mut Stream, count: usize) -> (Vec<f64>, Vec<f64>) {
    let p = softmax(random.vector(count, 1.0).as_slice().unwrap());
    let rewards = (0..count).map(|_| (random.uniform() * 4.0).round() / 2.0 - 0.5).collect();
    (p, rewards)
}

fn distribution(p: &[f64], rewards: &[f64]) -> RewardDistribution {
    RewardDistribution::new(&arr1(p), &arr1(rewards)).unwrap()
}

#[test]
fn the_best_of_n_is_that_of_its_distribution_function() {
    let mut random = Stream(31);
    for n in [1.0, 1.5, 2.0, 7.0, 64.0] {
        let (p, rewards) = answers(&mut random, 8);
        let best = distribution(&p, &rewards).best_of(n).unwrap();
        let mut kl = 0.0;
        for y in 0..8 {
            let of = |keep: &dyn Fn(f64) -> bool| -> f64 {
                p.iter().zip(&rewards).filter(|(_, r)| keep(**r)).map(|(p, _)| p).sum()
            };
            let below = of(&|r| r < rewards[y]);
            let tied = of(&|r| r == rewards[y]);
            let share = p[y] / tied * ((below + tied).powf(n) - below.powf(n));
            assert!(close(best.pmf[y], share, 1e-12, 1e-15), "{n} {y}: {} {share}", best.pmf[y]);
            kl += share * (share / p[y]).ln();
        }
        assert!(close(best.kl, kl, 1e-12, 1e-15), "{n}: {} {kl}", best.kl);
        assert!(close(best.pmf.iter().sum(), 1.0, 1e-14, 0.0));
        assert!(best.kl <= best.bound + EPSILON, "{n}");
        assert!(close(best.bound, n.ln() - (n - 1.0) / n, 0.0, 4.0 * EPSILON * (1.0 + n.ln())));
        let mean: f64 = best.pmf.iter().zip(&rewards).map(|(p, r)| p * r).sum();
        assert!(close(best.mean_reward, mean, 1e-14, 1e-15));
    }
    // Many levels come near the bound, from below: by what a level's share of the range leaves.
    let levels = 20_000;
    let (p, rewards) = (vec![1.0 / levels as f64; levels], (0..levels).map(|r| r as f64).collect());
    let fine = distribution(&p, &Vec::clone(&rewards)).best_of(4.0).unwrap();
    assert!(fine.kl < fine.bound && fine.bound - fine.kl < 1e-7, "{} {}", fine.kl, fine.bound);
    // N → ∞: the best answer alone.
    let rare = distribution(&[1.0 - 1e-10, 1e-10], &[0.0, 1.0]);
    let best = rare.best_of(1e9).unwrap();
    assert!(close(best.pmf[1], -(1e9 * (-1e-10_f64).ln_1p()).exp_m1(), 1e-12, 0.0));
    let endless = rare.best_of(1e300).unwrap();
    assert!(close(endless.kl, rare.largest_kl(), 1e-14, 0.0) && endless.pmf == [0.0, 1.0]);
    // N = 1 changes nothing; a little more, a little, with all its digits: ½ (N−1)² (1 − …).
    let (p, rewards) = answers(&mut random, 6);
    let one = distribution(&p, &rewards).best_of(1.0).unwrap();
    assert!(one.kl < 1e-30 && one.bound == 0.0);
    let step = 1e-7;
    let little = distribution(&p, &rewards).best_of(1.0 + step).unwrap();
    let more = distribution(&p, &rewards).best_of(1.0 + 2.0 * step).unwrap();
    assert!(close(more.kl / little.kl, 4.0, 1e-5, 0.0), "{} {}", little.kl, more.kl);
    // What has no probability has none, however good it is.
    let never = distribution(&[0.5, 0.0, 0.5], &[0.0, 9.0, 1.0]);
    assert_eq!(never.best_of(3.0).unwrap().pmf[1], 0.0);
    assert_eq!(never.tilted(5.0).unwrap().pmf[1], 0.0);
    assert_eq!(never.largest_kl(), 2_f64.ln());
    for n in [0.0, 0.99, f64::NAN, f64::INFINITY] {
        refused(never.best_of(n), &["n is", "at least 1"]);
    }
}

#[test]
fn a_tilt_has_the_derivatives_of_its_partition() {
    let mut random = Stream(37);
    for t in [-30.0, -2.0, -0.3, 0.2, 1.0, 3.0, 20.0] {
        let (p, rewards) = answers(&mut random, 8);
        let answers = distribution(&p, &rewards);
        let at = |t: f64| answers.tilted(t).unwrap();
        let tilted = at(t);
        assert!(close(tilted.pmf.iter().sum(), 1.0, 1e-14, 0.0));
        let (mean, partition) = (tilted.mean_reward, tilted.log_partition);
        let scale = (t * mean).abs() + partition.abs();
        assert!(close(tilted.kl, t * mean - partition, 0.0, 8.0 * EPSILON * (1.0 + scale)));
        // Central differences: h² of the third derivative, and ε/h of what is rounded.
        let h = 1e-4 * t.abs().max(0.1);
        let slope = |of: &dyn Fn(f64) -> f64| (of(t + h) - of(t - h)) / (2.0 * h);
        let bound = 20.0 * h * h + 8.0 * EPSILON * (1.0 + scale) / h;
        assert!(close(slope(&|t| at(t).log_partition), mean, 0.0, bound));
        assert!(close(slope(&|t| at(t).mean_reward), tilted.variance, 0.0, bound));
        assert!(close(slope(&|t| at(t).kl), t * tilted.variance, 0.0, bound * (1.0 + t.abs())));
    }
    let (p, rewards) = answers(&mut random, 8);
    let answers = distribution(&p, &rewards);
    // Small tilts keep their digits: t²/2 times the variance; and so they do far from 0.
    let variance = answers.tilted(0.0).unwrap().variance;
    for t in [1e-4, 1e-8, 1e-120] {
        let kl = answers.tilted(t).unwrap().kl;
        assert!(close(kl, 0.5 * t * t * variance, 10.0 * t + 1e-12, 0.0), "{t}: {kl}");
    }
    let far: Vec<f64> = rewards.iter().map(|r| r + 1048576.0).collect();
    let (near, far) = (answers.tilted(0.5).unwrap(), distribution(&p, &far).tilted(0.5).unwrap());
    // Of the mean reward, an ε of what it is added to is lost.
    assert_close("far", far.pmf, &near.pmf, 1e-9, 0.0);
    // No reward, no tilt; and a tilt without end.
    let level = distribution(&[0.5, 0.5], &[3.0, 3.0]).tilted(7.0).unwrap();
    assert_eq!((level.kl, level.variance, level.pmf.as_slice()), (0.0, 0.0, &[0.5, 0.5][..]));
    let endless = answers.tilted(1e308).unwrap();
    assert!(close(endless.kl, answers.largest_kl(), 1e-13, 0.0) && endless.variance == 0.0);
    refused(answers.tilted(f64::INFINITY), &["t is inf", "finite"]);
}

/// Rewards as far apart as no f64 is, or with squares that are none.
#[test]
fn a_tilt_of_rewards_at_the_ends_of_the_range_has_its_moments() {
    let at = |rewards: &[f64], t: f64| distribution(&[0.5, 0.5], rewards).tilted(t).unwrap();
    let far = at(&[1e200, 0.0], -1.0);
    assert_eq!((far.pmf.as_slice(), far.mean_reward, far.variance), (&[0.0, 1.0][..], 0.0, 0.0));
    assert_eq!((far.kl, far.log_partition), (2_f64.ln(), -2_f64.ln()));
    let ends = at(&[1e308, -1e308], 1.0);
    assert_eq!(ends.pmf, [1.0, 0.0]);
    assert_eq!((ends.mean_reward, ends.variance), (1e308, 0.0));
    assert_eq!((ends.log_partition, ends.kl), (1e308, 2_f64.ln()));
    // e^±1 of each: tanh 1.
    let within = at(&[1e308, -1e308], 1e-308);
    assert!(close(within.mean_reward, 1e308 * 1_f64.tanh(), 8.0 * EPSILON, 0.0));
    assert_eq!(within.variance, f64::INFINITY);
    let level = at(&[f64::MAX, f64::MAX], 2.0);
    assert_eq!((level.mean_reward, level.variance, level.kl), (f64::MAX, 0.0, 0.0));
    // A weight of next to nothing times a square beyond f64, and what is close beside what is far.
    let rare = distribution(&[1.0, 1e-300], &[0.0, 1e200]).tilted(0.0).unwrap();
    assert!(close(rare.variance, 1e100, 8.0 * EPSILON, 0.0), "{}", rare.variance);
    let three = distribution(&[0.25, 0.25, 0.5], &[0.0, 1.0, 1e200]).tilted(-1.0).unwrap();
    let share = 1.0 / (1.0 + 1_f64.exp());
    assert!(close(three.mean_reward, share, 8.0 * EPSILON, 0.0));
    assert!(close(three.variance, share * (1.0 - share), 8.0 * EPSILON, 0.0));
}

/// The tilt of r times the rewards is that of the rewards over r.
#[test]
fn a_divergence_has_its_tilt_whatever_the_size_of_the_rewards() {
    let of = |rewards: &[f64], kl: f64| distribution(&[0.5, 0.5], rewards).tilt_for_kl(kl);
    let one = of(&[0.0, 1.0], 0.1).unwrap();
    assert!(close(one, 0.943, 1e-3, 0.0), "{one}");
    for r in [1e-300, 1e-160, 1e-5, 3.0, 1e160, 1e250, 1e308] {
        let t = of(&[0.0, r], 0.1).unwrap();
        assert!(close(t * r, one, 1e-13, 0.0), "{r}: {t}");
        let found = distribution(&[0.5, 0.5], &[0.0, r]).tilted(t).unwrap().kl;
        assert!(close(found, 0.1, 1e-12, 0.0), "{r}: {found}");
    }
    // By powers of two, to the bit; and over all of the range.
    for power in [-1000, -3, 200, 1000] {
        let r = f64::from(power).exp2();
        assert_eq!(of(&[0.0, r], 0.1).unwrap(), one / r);
    }
    let t = of(&[-1e308, 1e308], 0.1).unwrap();
    assert!(close(t * 1e308 * 2.0, one, 1e-13, 0.0), "{t}");
    refused(of(&[0.0, 1e-310], 0.1), &["kl is 0.1", "in f64"]);
    refused(of(&[0.0, 1e308], 1e-60), &["kl is", "in f64"]);
}

#[test]
fn a_divergence_has_its_tilt() {
    let mut random = Stream(41);
    for round in 0..60 {
        let (p, mut rewards) = answers(&mut random, 6);
        rewards[0] += 1.0;
        let scale = [1.0, 1e-5, 1e7][round % 3];
        rewards.iter_mut().for_each(|reward| *reward *= scale);
        let answers = distribution(&p, &rewards);
        let most = answers.largest_kl();
        for share in [1e-20, 1e-6, 0.1, 0.5, 0.9, 0.999_999] {
            let kl = share * most;
            let t = answers.tilt_for_kl(kl).unwrap();
            let found = answers.tilted(t).unwrap().kl;
            assert!(t > 0.0 && close(found, kl, 1e-11, 0.0), "{share}: {found}, not {kl}");
        }
        refused(answers.tilt_for_kl(most), &["kl is", "no tilt reaches"]);
        assert_eq!(answers.tilt_for_kl(0.0).unwrap(), 0.0);
    }
    let level = distribution(&[0.5, 0.5], &[3.0, 3.0]);
    refused(level.tilt_for_kl(1e-3), &["no tilt reaches"]);
    for kl in [-1.0, f64::NAN, f64::INFINITY] {
        refused(level.tilt_for_kl(kl), &["kl is"]);
    }
    // A sum that is 1 but for rounding elsewhere is taken for it.
    let near = distribution(&[0.5, 0.5 + 8e-10], &[0.0, 1.0]);
    assert!(near.tilted(0.0).unwrap().log_partition.abs() <= EPSILON);
    assert!(near.tilted(1e-8).unwrap().kl < 1e-16 && near.best_of(1.0).unwrap().kl < 1e-30);
    let new = |p: &[f64], r: &[f64]| RewardDistribution::new(&arr1(p), &arr1(r));
    refused(new(&[], &[]), &["probabilities", "at least one"]);
    refused(new(&[0.5, 0.6], &[1.0, 2.0]), &["the sum 1.1", "expected 1"]);
    refused(new(&[-0.5, 1.5], &[1.0, 2.0]), &["probabilities[0] is -0.5"]);
    refused(new(&[f64::NAN, 1.0], &[1.0, 2.0]), &["probabilities[0] is NaN"]);
    refused(new(&[0.5, 0.5], &[1.0]), &["rewards has shape [1]"]);
    refused(new(&[0.5, 0.5], &[1.0, f64::INFINITY]), &["rewards[1] is inf"]);
}

#[test]
fn the_cross_entropy_of_renyi_is_a_cumulant() {
    let mut random = Stream(43);
    for _ in 0..20 {
        let p = softmax(random.vector(6, 1.0).as_slice().unwrap());
        let q = softmax(random.vector(6, 1.5).as_slice().unwrap());
        let (of_p, of_q) = (arr1(&p), arr1(&q));
        let at = |alpha: f64| renyi_cross_entropy(&of_p, &of_q, alpha).unwrap();
        let mut last = f64::INFINITY;
        for alpha in [1e-3, 0.5, 0.999, 1.0, 1.001, 2.0, 3.5, 40.0] {
            let found = at(alpha);
            let sum: f64 = p.iter().zip(&q).map(|(p, q)| p * q.powf(alpha - 1.0)).sum();
            let direct = match alpha == 1.0 {
                true => -p.iter().zip(&q).map(|(p, q)| p * q.ln()).sum::<f64>(),
                false => sum.ln() / (1.0 - alpha),
            };
            assert!(close(found, direct, 1e-11, 0.0), "{alpha}: {found}, not {direct}");
            assert!(found < last);
            last = found;
        }
        // ln E_p e^(t ln q) = −t H_(1+t): the partition of a tilt by the log-probabilities.
        let logs: Vec<f64> = q.iter().map(|q| q.ln()).collect();
        let tilted = distribution(&p, &logs).tilted(0.7).unwrap();
        assert!(close(tilted.log_partition, -0.7 * at(1.7), 1e-13, 1e-14));
        // Continuous at 1, on both sides.
        for step in [1e-9, -1e-9, 1e-15, -1e-15] {
            assert!(close(at(1.0 + step), at(1.0), 1e-7, 0.0));
        }
        assert!(close(at(1.0 + 1e-15), at(1.0), 1e-13, 0.0));
    }
    let at = |p: &[f64], q: &[f64], alpha| renyi_cross_entropy(&arr1(p), &arr1(q), alpha);
    let half = [0.5, 0.5];
    for alpha in [0.5, 1.0] {
        assert_eq!(at(&half, &[1.0, 0.0], alpha).unwrap(), f64::INFINITY);
    }
    // −ln of what is left, over α − 1.
    assert!(close(at(&half, &[1.0, 0.0], 3.0).unwrap(), 2_f64.ln() / 2.0, 1e-15, 0.0));
    assert_eq!(at(&[1.0, 0.0], &[0.0, 1.0], 3.0).unwrap(), f64::INFINITY);
    assert_eq!(at(&[1.0, 0.0], &[1.0, 0.0], 0.5).unwrap(), 0.0);
    refused(at(&half, &[1.0], 2.0), &["q has shape [1]"]);
    refused(at(&half, &[0.5, 0.4], 2.0), &["q have the sum 0.9"]);
    for alpha in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        refused(at(&half, &half, alpha), &["alpha is", "above 0"]);
    }
}

#[test]
fn entropies_of_any_order_come_out_of_two_folds() {
    let mut random = Stream(47);
    let (hidden, classifier) = (random.matrix(5, 4, 1.0), random.matrix(9, 4, 1.0));
    let targets = [0_i64, -100, 3, 4, 8];
    let inputs = Inputs::new(&hidden, &classifier, &targets);
    let loss = LinearCrossEntropy::builder().softcap(3.0).temperature(0.7).label_smoothing(0.1);
    let loss = loss.build().unwrap();
    let products = hidden.dot(&classifier.t());
    for alpha in [0.0, 0.3, 1.0, 1.0 + 1e-9, 2.0, 5.0, 1e3, 1e200, f64::INFINITY] {
        let found = renyi_entropies(&loss, &inputs, alpha).unwrap();
        for row in 0..5 {
            if row == 1 {
                assert_eq!(found[row], 0.0);
                continue;
            }
            let logits: Vec<f64> =
                products.row(row).iter().map(|z| 3.0 * (z / 0.7 / 3.0).tanh()).collect();
            let p = softmax(&logits);
            let largest = p.iter().copied().fold(0.0, f64::max);
            let wanted = if alpha == 0.0 {
                9_f64.ln()
            } else if (alpha - 1.0).abs() < 1e-8 {
                -p.iter().map(|p| p * p.ln()).sum::<f64>()
            } else if alpha > 1e9 {
                -largest.ln()
            } else {
                let sum: f64 = p.iter().map(|p| (p / largest).powf(alpha)).sum();
                (sum.ln() + alpha * largest.ln()) / (1.0 - alpha)
            };
            assert!(close(found[row], wanted, 1e-8, 0.0), "{alpha}: {} {wanted}", found[row]);
            if alpha == 2.0 {
                assert!(close(found[row], wanted, 1e-13, 0.0));
            }
        }
    }
    refused(renyi_entropies(&loss, &inputs, -1.0), &["alpha is -1", "from 0"]);
    refused(renyi_entropies(&loss, &inputs, f64::NAN), &["alpha is NaN"]);
    let shard = inputs.shard(surprisal::Shard::new(0, 20));
    refused(renyi_entropies(&loss, &shard, 2.0), &["no shard"]);
}

#[test]
fn samples_are_averaged_over_all_their_subsets() {
    let mut random = Stream(53);
    let rewards: Vec<f64> = random.vector(9, 1.0).to_vec();
    for n in 1..=9_usize {
        let subsets = (0_u32..1 << 9).filter(|set| set.count_ones() as usize == n);
        let largest = |set: u32| {
            let of = rewards.iter().enumerate().filter(|(i, _)| set >> i & 1 == 1);
            of.map(|(_, reward)| *reward).fold(f64::NEG_INFINITY, f64::max)
        };
        let all: Vec<f64> = subsets.map(largest).collect();
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        let found = expected_best_of_n(&arr1(&rewards), n).unwrap();
        assert!(close(found, mean, 0.0, 100.0 * EPSILON), "{n}: {found}, not {mean}");
        // Of rewards 1 and 0 it is whether one of n is right.
        for correct in 0..=9_usize {
            let right: Array1<f64> = (0..9).map(|i| f64::from(u8::from(i < correct))).collect();
            let best = expected_best_of_n(&right, n).unwrap();
            let pass = pass_at_k(9, correct as u64, n as u64).unwrap();
            assert!(close(best, pass, 0.0, 20.0 * EPSILON), "{n} {correct}: {best} {pass}");
        }
    }
    assert_eq!(expected_best_of_n(&arr1(&[0.1; 50]), 20).unwrap(), 0.1);
    // Binomial coefficients of 2000 are beyond all numbers.
    let many: Array1<f64> = (1..=2000).map(f64::from).collect();
    let wanted = 1000.0 * 2001.0 / 1001.0;
    assert!(close(expected_best_of_n(&many, 1000).unwrap(), wanted, 1e-12, 0.0));
    assert!(close(pass_at_k(1 << 60, 1, 1).unwrap(), 2_f64.powi(-60), 1e-15, 0.0));
    assert_eq!((pass_at_k(5, 0, 3).unwrap(), pass_at_k(5, 3, 3).unwrap()), (0.0, 1.0));
    assert_eq!(pass_at_k(u64::MAX, u64::MAX / 2, u64::MAX / 4).unwrap(), 1.0);
    refused(pass_at_k(5, 6, 1), &["correct is 6"]);
    refused(pass_at_k(5, 1, 6), &["k is 6"]);
    refused(pass_at_k(0, 0, 0), &["k is 0"]);
    refused(expected_best_of_n(&arr1(&[1.0, 2.0]), 3), &["n is 3"]);
    refused(expected_best_of_n(&arr1(&[1.0, f64::NAN]), 1), &["rewards[1] is NaN"]);
    refused(expected_best_of_n(&Array1::<f64>::zeros(0), 1), &["at least one reward"]);
}
