//! The cross-entropy method where the answer is known.

use ndarray::{Array2, arr2};
use surprisal::random::Generator;
use surprisal::rates::cross_entropy_method::{Categories, Gaussian, Proposal, Search, Step};
use surprisal::rates::log_normal_distribution;

use super::refused;

const EPSILON: f64 = f64::EPSILON;

fn standard(count: usize) -> Gaussian {
    Gaussian::new(vec![0.0; count], vec![1.0; count]).unwrap()
}

#[test]
fn without_smoothing_a_step_is_the_fit_of_the_largest_likelihood() {
    let mut generator = Generator::new(1);
    for _ in 0..50 {
        let (count, elites) = (20, 1 + generator.below(20));
        let samples: Vec<Vec<f64>> =
            (0..count).map(|_| (0..3).map(|_| generator.standard_normal()).collect()).collect();
        let scores: Vec<f64> = (0..count).map(|_| generator.below(7) as f64).collect();
        let step = Step::new(elites).unwrap().smoothing(1.0).unwrap();
        let found = step.elites(&scores).unwrap();
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
        assert_eq!(found.indices, order[..elites]);
        assert_eq!(found.threshold, scores[order[elites - 1]]);

        let chosen: Vec<&Vec<f64>> = found.indices.iter().map(|&i| &samples[i]).collect();
        let old = Gaussian::new(vec![5.0, -1.0, 0.0], vec![2.0, 0.0, 1.0]).unwrap();
        let new = old.fit(&chosen, &step).unwrap();
        let likelihood = |mean: f64, deviation: f64, column: usize| -> f64 {
            let each = chosen.iter().map(|x| ((x[column] - mean) / deviation).powi(2));
            -0.5 * each.sum::<f64>() - elites as f64 * deviation.ln()
        };
        for column in 0..3 {
            let numbers = || chosen.iter().map(|x| x[column]);
            let mean = numbers().sum::<f64>() / elites as f64;
            let variance = numbers().map(|x| (x - mean).powi(2)).sum::<f64>() / elites as f64;
            let (m, s) = (new.means()[column], new.deviations()[column]);
            assert!((m - mean).abs() <= 20.0 * EPSILON * 4.0);
            assert!((s - variance.sqrt()).abs() <= 40.0 * EPSILON * (1.0 + variance));
            if s > 0.0 {
                let most = likelihood(m, s, column);
                for (by_m, by_s) in [(1e-3, 0.0), (-1e-3, 0.0), (0.0, 1e-3), (0.0, -1e-3)] {
                    assert!(likelihood(m + by_m * s, s * (1.0 + by_s), column) < most);
                }
            }
        }
        // Smoothed it lies between, and with 0 it stays where it was.
        let part = step.smoothing(0.7).unwrap().deviation_smoothing(0.25).unwrap();
        let between = old.fit(&chosen, &part).unwrap();
        for column in 0..3 {
            let wanted = 0.7 * new.means()[column] + 0.3 * old.means()[column];
            assert!((between.means()[column] - wanted).abs() <= 4.0 * EPSILON * 6.0);
            let wanted = 0.25 * new.deviations()[column] + 0.75 * old.deviations()[column];
            assert!((between.deviations()[column] - wanted).abs() <= 4.0 * EPSILON * 3.0);
        }
        let none = old.fit(&chosen, &step.smoothing(0.0).unwrap()).unwrap();
        assert_eq!(none, old);
    }
}

#[test]
fn a_quadratic_converges_to_its_top_in_any_scale() {
    for (seed, scale) in [(1, 1.0), (2, 1e-6), (3, 1e6)] {
        let top = [3.0 * scale, -scale, 0.5 * scale];
        let search = Search::new(Step::new(20).unwrap(), 200, 120).unwrap();
        let search = search.tolerance(1e-7 * scale).unwrap();
        let start = Gaussian::new(vec![0.0; 3], vec![5.0 * scale; 3]).unwrap();
        let score = |x: &Vec<f64>| {
            let [a, b, c] = [0, 1, 2].map(|i| (x[i] - top[i]) / scale);
            -(a * a + 2.0 * b * b + 0.5 * c * c + 0.3 * a * b)
        };
        let found = search.maximize(start.clone(), &mut Generator::new(seed), score).unwrap();
        assert!(found.converged && found.thresholds.len() < 120);
        assert!(found.proposal.spread() <= 1e-7 * scale);
        for (x, top) in found.best.iter().zip(top) {
            assert!((x - top).abs() < 1e-5 * scale, "{x} {top}");
        }
        assert_eq!(found.score, score(&found.best));
        // The same sequence of random numbers finds the same.
        let again = search.maximize(start, &mut Generator::new(seed), score).unwrap();
        assert_eq!(found, again);
    }
}

#[test]
fn categories_find_the_word_and_keep_the_mass_of_one() {
    let word = [2, 0, 3, 1, 1, 3];
    let hits = |x: &Vec<usize>| x.iter().zip(word).filter(|(x, y)| *x == y).count() as f64;
    let start = Categories::uniform(6, 4).unwrap();
    let search = Search::new(Step::new(10).unwrap(), 100, 50).unwrap().tolerance(1e-3).unwrap();
    let found = search.maximize(start, &mut Generator::new(4), hits).unwrap();
    assert!(found.converged);
    assert_eq!((found.best, found.score), (word.to_vec(), 6.0));
    for row in found.proposal.probabilities().rows() {
        // Each of at most 50 steps rounds four numbers twice.
        assert!((row.sum() - 1.0).abs() < 50.0 * 8.0 * EPSILON);
    }
    let certain = Categories::new(arr2(&[[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])).unwrap();
    let mut generator = Generator::new(5);
    assert!((0..100).all(|_| certain.draw(&mut generator) == [1, 0]));
    let mixed = Categories::new(arr2(&[[0.25, 0.0, 0.75]])).unwrap();
    let draws: Vec<usize> = (0..20_000).map(|_| mixed.draw(&mut generator)[0]).collect();
    let share = draws.iter().filter(|&&x| x == 0).count() as f64 / 2e4;
    // Five standard errors of a share.
    assert!(!draws.contains(&1) && (share - 0.25).abs() < 5.0 * (0.1875_f64 / 2e4).sqrt());
}

#[test]
fn what_is_not_allowed_is_never_an_elite_of_enough_samples() {
    let search = Search::new(Step::new(10).unwrap(), 100, 60).unwrap().tolerance(1e-6).unwrap();
    let start = Gaussian::new(vec![0.0], vec![3.0]).unwrap();
    // The largest allowed number is 1.
    let score = |x: &Vec<f64>| if x[0] > 1.0 { f64::NEG_INFINITY } else { x[0] };
    let found = search.maximize(start, &mut Generator::new(6), score).unwrap();
    assert!(found.best[0] <= 1.0 && found.best[0] > 0.99, "{:?}", found.best);
}

#[test]
fn a_rare_event_has_its_probability_within_its_standard_error() {
    let search = Search::new(Step::new(200).unwrap().smoothing(1.0).unwrap(), 2000, 30).unwrap();
    let mut far = 0;
    for seed in 0..40 {
        // A direction of five normal numbers with different means and deviations: itself a normal number.
        let nominal =
            Gaussian::new(vec![1.0, -2.0, 0.0, 0.5, 0.0], vec![1.0, 0.5, 2.0, 0.0, 1.0]).unwrap();
        let level = [1.0, 3.0, 5.0, 8.0][seed % 4];
        let direction = [0.5, 1.0, -0.25, 1.0, 0.5];
        let dot = |x: &[f64]| x.iter().zip(direction).map(|(x, a)| a * x).sum::<f64>();
        let deviation: f64 = (0.25_f64 + 0.25 + 0.25 + 0.0 + 0.25).sqrt();
        let mean = dot(nominal.means());
        let mut generator = Generator::new(seed as u64);
        let score = |x: &Vec<f64>| (dot(x) - mean) / deviation;
        let found = search.rare_event(&nominal, level, 20_000, &mut generator, score).unwrap();
        let exact = log_normal_distribution(-level);
        let off = (found.log_probability - exact) / found.relative_error;
        // Of 40, one beyond 3 standard errors is likely enough; beyond 5 none is.
        assert!(off.abs() < 5.0, "{seed}: {off} standard errors");
        far += usize::from(off.abs() > 2.0);
        assert!(found.relative_error < 0.05, "{}", found.relative_error);
        assert!((found.probability() / exact.exp() - 1.0).abs() < 6.0 * found.relative_error);
        assert_eq!(found.levels.last(), Some(&level));
        assert!(found.levels.windows(2).all(|levels| levels[0] < levels[1]));
        assert_eq!(found.proposal.deviations(), nominal.deviations());
        assert!(found.standard_error() > 0.0 && found.hits > 1000);
    }
    // 4.6 % of the estimates are beyond 2 standard errors: 8 of 40 have a probability of 3e-4.
    assert!(far < 8, "{far}");
}

#[test]
fn an_event_below_all_numbers_has_its_logarithm() {
    let step = Step::new(200).unwrap().smoothing(1.0).unwrap();
    let search = Search::new(step, 2000, 200).unwrap();
    let found =
        search.rare_event(&standard(1), 60.0, 20_000, &mut Generator::new(7), |x| x[0]).unwrap();
    let exact = log_normal_distribution(-60.0);
    assert_eq!(found.probability(), 0.0);
    assert!((found.log_probability - exact).abs() < 5.0 * found.relative_error);
}

#[test]
fn what_no_search_can_be_made_of_is_refused() {
    refused(Step::new(0), &["elites is 0", "at least one"]);
    let step = Step::new(3).unwrap();
    for a in [-0.1, 1.1, f64::NAN] {
        refused(step.smoothing(a), &["smoothing is", "from 0 to 1"]);
        refused(step.deviation_smoothing(a), &["std_smoothing is", "from 0 to 1"]);
    }
    refused(step.elites(&[1.0, 2.0]), &["scores has shape [2]", "at least 3"]);
    refused(step.elites(&[1.0, f64::NAN, 2.0]), &["scores[1] is NaN"]);
    refused(step.elites(&[1.0, 2.0, f64::INFINITY]), &["scores[2] is inf"]);
    refused(Search::new(step, 2, 5), &["samples is 2", "as there are elites"]);
    refused(Search::new(step, 3, 0), &["rounds is 0"]);
    let search = Search::new(step, 3, 5).unwrap();
    for tolerance in [-1.0, f64::NAN, f64::INFINITY] {
        refused(search.tolerance(tolerance), &["tolerance is", "at least 0"]);
    }

    let gaussian = |mean: &[f64], std: &[f64]| Gaussian::new(mean.to_vec(), std.to_vec());
    refused(gaussian(&[], &[]), &["mean has shape [0]"]);
    refused(gaussian(&[1.0], &[1.0, 2.0]), &["std has shape [2]", "[1]"]);
    refused(gaussian(&[f64::NAN], &[1.0]), &["mean[0] is NaN"]);
    refused(gaussian(&[1.0, 1.0], &[1.0, -1.0]), &["std[1] is -1"]);
    let old = standard(2);
    refused(old.fit(&[], &step), &["samples has shape [0]", "at least one elite"]);
    refused(old.fit(&[&vec![1.0]], &step), &["samples has shape [0, 1]", "2 numbers"]);
    refused(old.fit(&[&vec![1.0, f64::NAN]], &step), &["samples[0, 1] is NaN"]);
    let (low, high) = (vec![-f64::MAX, 0.0], vec![f64::MAX, 0.0]);
    refused(old.fit(&[&low, &high, &high], &step), &["samples[0, 0]", "deviation is finite"]);
    // As far apart as that, their mean is finite all the same.
    let near = old.fit(&[&high, &high], &step.smoothing(1.0).unwrap()).unwrap();
    assert_eq!((near.means(), near.deviations()), (&[f64::MAX, 0.0][..], &[0.0, 0.0][..]));

    refused(Categories::uniform(0, 2), &["probabilities has shape [0, 2]"]);
    refused(Categories::uniform(usize::MAX, 2), &["probabilities [", "address space"]);
    refused(Categories::new(arr2(&[[0.5, 0.25]])), &["probabilities[0] sum to 0.75"]);
    refused(Categories::new(arr2(&[[1.5, -0.5]])), &["probabilities[0, 1] is -0.5"]);
    refused(Categories::new(Array2::zeros((2, 0))), &["probabilities has shape [2, 0]"]);
    let fair = Categories::uniform(1, 2).unwrap();
    refused(fair.fit(&[&vec![2]], &step), &["samples[0, 0] is 2", "category"]);
    refused(fair.fit(&[&vec![0, 1]], &step), &["samples has shape [0, 2]", "1 places"]);

    let mut generator = Generator::new(8);
    let nan = |_: &Vec<f64>| f64::NAN;
    refused(search.maximize(standard(1), &mut generator, nan), &["scores[0] is NaN"]);
    let mut rare = |level: f64, last: usize| {
        search.rare_event(&standard(1), level, last, &mut generator, |x| x[0].min(2.0))
    };
    refused(rare(f64::NAN, 10), &["level is NaN"]);
    refused(rare(1.0, 1), &["last samples is 1", "at least two"]);
    refused(rare(3.0, 10), &["the level 3 is not reached in 5 rounds", "expected more"]);
}
