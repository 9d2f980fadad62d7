//! A filter by mass keeps its promise, with the fewest segments that do.

use ndarray::{Array1, Array2, ArrayView2, s};
use surprisal::{
    Backward, Error, Filter, Forward, Gradients, Inputs, Isa, LinearCrossEntropy, Reduction,
    Targets, Upstream,
};
use testing::Stream;

/// Classes that are kept or dropped together.
const SEGMENT: usize = 32;

/// What f32 makes of ln p here: logits to 20 of sums of 24 terms, each off by an ulp.
const OFF: f64 = 1e-3;

/// Rounding of a sum to bf16, and what is left of δ for it.
const ROUNDED: f64 = 1.0 / 256.0;
const UNUSED: f64 = 1.005;

fn loss(filter: Filter, isa: Isa) -> LinearCrossEntropy {
    let builder = LinearCrossEntropy::builder().backward(Backward::Recompute).isa(isa);
    builder.filter(filter).reduction(Reduction::Sum).build().unwrap()
}

/// Hidden states and a classifier whose logits have a spread of some nats.
fn arrays(seed: u64, rows: usize, classes: usize) -> (Array2<f64>, Array2<f64>, Vec<i64>) {
    let mut stream = Stream(seed);
    let (hidden, classifier) = (stream.matrix(rows, 24, 1.0), stream.matrix(classes, 24, 1.3));
    let single = |x: f64| f64::from(x as f32);
    let targets = (0..rows).map(|_| (stream.bits() % classes as u64) as i64).collect();
    (hidden.mapv(single), classifier.mapv(single), targets)
}

/// The exact probability of each segment of a row.
fn masses(logits: &Array1<f64>) -> Vec<f64> {
    let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let p = logits.mapv(|x| (x - most).exp());
    let sum = p.sum();
    p.as_slice().unwrap().chunks(SEGMENT).map(|p| p.iter().sum::<f64>() / sum).collect()
}

/// How many of the smallest masses are no more than this together.
fn fewest(masses: &[f64], most: f64) -> usize {
    let mut sorted = masses.to_vec();
    sorted.sort_by(f64::total_cmp);
    let sums = sorted.iter().scan(0.0, |sum, mass| {
        *sum += mass;
        Some(*sum)
    });
    sums.take_while(|&sum| sum <= most).count()
}

/// One row alone, with what its gradient of the bias says was dropped.
fn row_alone<T: surprisal::Element>(
    loss: &LinearCrossEntropy,
    hidden: ArrayView2<'_, T>,
    classifier: &Array2<T>,
    target: i64,
) -> (Forward, Vec<bool>)
where
    for<'a> surprisal::Matrix<'a>: From<ArrayView2<'a, T>>,
{
    let mut d_bias = Array1::<f64>::from_elem(classifier.dim().0, f64::NAN);
    let targets = [target];
    let inputs = Inputs::new(hidden, classifier.view(), &targets);
    let gradients = Gradients::new().bias(&mut d_bias);
    let forward = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
    let zeros = d_bias.as_slice().unwrap().chunks(SEGMENT);
    (forward, zeros.map(|own| own.iter().all(|&g| g == 0.0)).collect())
}

#[test]
fn what_a_row_loses_is_no_more_than_promised() {
    let (hidden, classifier, targets) = arrays(1, 24, 1300);
    let logits = hidden.dot(&classifier.t());
    let (narrow_hidden, narrow) = (hidden.mapv(|x| x as f32), classifier.mapv(|x| x as f32));
    let mut dropped_in_all = 0;
    for isa in Isa::available() {
        for mass in [0.0, 1e-6, 1e-3, 1e-2, 0.1, 0.6, 1.0] {
            let loss = loss(Filter::Mass(mass), isa);
            for (i, &target) in targets.iter().enumerate() {
                let exact = masses(&logits.row(i).to_owned());
                let own = target as usize / SEGMENT;
                let others: Vec<f64> =
                    (0..exact.len()).filter(|&s| s != own).map(|s| exact[s]).collect();
                for double in [true, false] {
                    let (forward, dropped) = match double {
                        true => row_alone(&loss, hidden.slice(s![i..=i, ..]), &classifier, target),
                        false => {
                            row_alone(&loss, narrow_hidden.slice(s![i..=i, ..]), &narrow, target)
                        }
                    };
                    let what = (isa, mass, i, double);
                    let off = if double { 1e-9 } else { OFF };
                    let lost: f64 =
                        exact.iter().zip(&dropped).filter(|(_, d)| **d).map(|(q, _)| q).sum();
                    assert!(lost <= mass * (1.0 + off), "{lost:e} is lost, {what:?}");
                    assert!(!dropped[own], "{what:?}");
                    // As many as can be, but for the roundings.
                    let count = exact.len()
                        - (forward.segments_kept().unwrap() * exact.len() as f64).round() as usize;
                    let least = fewest(&others, mass / UNUSED / (1.0 + ROUNDED) / (1.0 + off));
                    let most = fewest(&others, mass * (1.0 + off));
                    assert!(
                        (least..=most).contains(&count),
                        "{count} of {least} to {most}, {what:?}"
                    );
                    // What is said of it is what is gone; blocks of which half is kept are whole.
                    let said = forward.dropped_mass().unwrap().largest;
                    assert!(said <= mass, "{said:e}, {what:?}");
                    assert!(said >= lost * (1.0 - ROUNDED - off), "{said:e} of {lost:e}, {what:?}");
                    dropped_in_all += dropped.iter().filter(|&&d| d).count();
                }
            }
        }
    }
    assert!(dropped_in_all > 1000, "{dropped_in_all}");
}

/// Sums that bf16 rounds down, as many as would break the promise if that were not counted: and of segments of
/// the same mass as many are dropped as may be.
#[test]
fn sums_that_were_rounded_down_do_not_break_the_promise() {
    // Each tile of 256 classes has one of a logit of 0, beside which all sums are recorded.
    let (tiles, segments) = (26, 8);
    // Of each other class e^x = 1.0038 · 2^-15: 32 of them are 1.0038 · 2^-10.
    let x = (1.0038_f64 / 32768.0).ln();
    let logit = |v: usize| match v % (segments * SEGMENT) {
        0 => 0.0,
        v if v < SEGMENT => -40.0,
        _ => x,
    };
    let classifier = Array2::from_shape_fn((tiles * segments * SEGMENT, 1), |(v, _)| logit(v));
    let hidden = Array2::from_elem((1, 1), 1.0);
    let exact = masses(&classifier.column(0).to_owned())[1];
    let mass = 181.6 * exact;
    for isa in Isa::available() {
        let loss = loss(Filter::Mass(mass), isa);
        let (forward, dropped) = row_alone(&loss, hidden.view(), &classifier, 0);
        let count = dropped.iter().filter(|&&d| d).count();
        assert_eq!(count, 181, "{isa:?}");
        let kept = (tiles * segments - count) as f64 / (tiles * segments) as f64;
        assert_eq!(forward.segments_kept(), Some(kept));
        // Without the allowance all 182 would seem to fit.
        assert!(182.0 * exact / 1.0038 <= mass && 182.0 * exact > mass);
    }
}

/// Nothing is added to or taken from the rest: with the mean of what is dropped in its place, dE of flat
/// segments is exact.
#[test]
fn the_tail_correction_goes_with_it() {
    let (hidden, mut classifier, targets) = arrays(2, 40, 1280);
    for v in 0..classifier.dim().0 {
        let first = classifier.row(v / SEGMENT * SEGMENT).to_owned();
        classifier.row_mut(v).assign(&first);
    }
    let run = |filter: Option<Filter>, corrected: bool| {
        let builder = LinearCrossEntropy::builder().backward(Backward::Recompute);
        let builder = filter.map_or(builder.clone(), |filter| builder.filter(filter));
        let loss = builder.tail_correction(corrected).build().unwrap();
        let mut gradient = Array2::<f64>::zeros(hidden.dim());
        let inputs = Inputs::new(&hidden, &classifier, &targets);
        let gradients = Gradients::new().hidden(&mut gradient);
        let forward = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
        (gradient, forward.segments_kept())
    };
    let norm = |m: &Array2<f64>| m.iter().map(|x| x * x).sum::<f64>().sqrt();
    let ((exact, _), (plain, kept)) = (run(None, false), run(Some(Filter::Mass(0.05)), false));
    let (corrected, _) = run(Some(Filter::Mass(0.05)), true);
    assert!(kept.unwrap() < 0.5, "{kept:?}");
    let (without, with) = (norm(&(&plain - &exact)), norm(&(&corrected - &exact)));
    // 5 % of what is dropped is missing without it; with it the rounding of the masses, 2^-8 of that.
    assert!(without > 0.005 * norm(&exact), "{without:e}");
    assert!(with < without * 2.0 * ROUNDED, "{with:e} of {without:e}");
}

#[test]
fn what_is_not_a_number_is_kept() {
    let (hidden, mut classifier, targets) = arrays(3, 8, 640);
    classifier[[333, 3]] = f64::NAN;
    let mut gradient = Array2::<f64>::zeros(classifier.dim());
    let inputs = Inputs::new(&hidden, &classifier, &targets);
    let isa = Isa::current().unwrap();
    let gradients = Gradients::new().classifier(&mut gradient);
    let loss = loss(Filter::Mass(0.5), isa);
    loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
    assert!(gradient.row(333).iter().all(|g| g.is_nan()));
}

/// The two calls agree to the bit, sparse targets are kept, and with δ = 0 nothing is missing.
#[test]
fn both_doors_and_sparse_targets() {
    let (hidden, classifier, targets) = arrays(4, 30, 1100);
    let isa = Isa::current().unwrap();
    let lists =
        Array2::from_shape_fn((30, 2), |(i, j)| ((targets[i] + 500 * j as i64) % 1100) as u32);
    let weights = Array2::from_elem((30, 2), 0.5_f64);
    let run = |loss: &LinearCrossEntropy, apart: bool| {
        let inputs = Inputs::new(&hidden, &classifier, Targets::sparse(&lists, &weights));
        let (mut d_hidden, mut d_classifier) =
            (Array2::<f64>::zeros(hidden.dim()), Array2::<f64>::zeros(classifier.dim()));
        let gradients = Gradients::new().hidden(&mut d_hidden).classifier(&mut d_classifier);
        let upstream = Upstream::default();
        let forward = match apart {
            false => loss.loss_and_gradients(&inputs, &upstream, gradients).unwrap(),
            true => {
                let forward = loss.forward(&inputs).unwrap();
                loss.vjp(&inputs, &forward, &upstream, gradients).unwrap();
                forward
            }
        };
        (d_hidden, d_classifier, forward.segments_kept().unwrap(), forward.dropped_mass())
    };
    let filtered = loss(Filter::Mass(0.2), isa);
    let (one, two) = (run(&filtered, false), run(&filtered, true));
    assert_eq!(one, two);
    assert!(one.2 < 0.6, "{}", one.2);
    // What is picked out of a class that is dropped would be missing whole: 0.5 of E.
    let exact = run(&loss(Filter::Mass(0.0), isa), false);
    assert_eq!(exact.2, 1.0);
    for (i, list) in lists.outer_iter().enumerate() {
        for &class in list {
            let own = hidden.row(i).mapv(|x| 0.5 * x);
            let off = &one.1.row(class as usize) - &exact.1.row(class as usize);
            assert!(off.dot(&off) < 0.25 * own.dot(&own), "row {i}, class {class}");
        }
    }
}

#[test]
fn a_share_of_a_row_is_from_0_to_1() {
    for bad in [-1e-9, 1.0 + 1e-9, f64::NAN, f64::INFINITY] {
        let error = LinearCrossEntropy::builder().filter(Filter::Mass(bad)).build().unwrap_err();
        assert!(matches!(error, Error::Option { name: "filter", .. }), "{error}");
    }
}
