//! Losses of yes and no: against direct sums, central differences, identities, and at the ends of their digits.

use ndarray::{Array1, Array2, ArrayD, IxDyn, arr1, arr2};
use surprisal::autodiff::{Generator, Tape, Variable, gradcheck};
use surprisal::binary::{
    BinaryCrossEntropy, BranchWeights, Dice, MultiAspect, SetLosses, Sets, SquaredError,
    TriBinaryCrossEntropy, Tversky, labels_of_cosines, labels_of_logits,
};
use surprisal::{Error, Inputs, LinearCrossEntropy, Result};
use testing::{Stream, close};

const EPSILON: f64 = f64::EPSILON;
const SETS: [Sets; 4] = [Sets::All, Sets::Entries, Sets::Columns, Sets::Rows];

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Logits of order 1 and labels from 0 to 1, half of them certain.
fn given(seed: u64, rows: usize, columns: usize) -> (Array2<f64>, Array2<f64>) {
    let mut stream = Stream(seed);
    let logits = stream.matrix(rows, columns, 2.0);
    let labels = Array2::from_shape_simple_fn((rows, columns), || {
        let y = 2.0 * stream.uniform() - 0.5;
        y.clamp(0.0, 1.0)
    });
    (logits, labels)
}

/// The entries of each set, in the order of the sets.
fn members(sets: Sets, (rows, columns): (usize, usize)) -> Vec<Vec<(usize, usize)>> {
    let all = || (0..rows).flat_map(move |i| (0..columns).map(move |j| (i, j)));
    match sets {
        Sets::All => vec![all().collect()],
        Sets::Entries => all().map(|at| vec![at]).collect(),
        Sets::Columns => (0..columns).map(|c| all().filter(|at| at.1 == c).collect()).collect(),
        _ => (0..rows).map(|r| all().filter(|at| at.0 == r).collect()).collect(),
    }
}

/// A five-point quotient, with what h = 1e-3 leaves of it: h⁴/30 of a fifth derivative of `size`, and the rounding.
fn quotient(f: impl Fn(f64) -> f64, size: f64) -> (f64, f64) {
    let h = 1e-3;
    let value = (8.0 * (f(h) - f(-h)) - (f(2.0 * h) - f(-2.0 * h))) / (12.0 * h);
    (value, (h.powi(4) + 64.0 * EPSILON / h) * size)
}

#[track_caller]
fn check_sets(
    shape: (usize, usize),
    sets: Sets,
    found: &SetLosses,
    logits: &Array2<f64>,
    direct: impl Fn(&Array2<f64>, &[(usize, usize)]) -> f64,
) {
    let members = members(sets, shape);
    assert_eq!(found.values.len(), members.len());
    for (value, members) in found.values.iter().zip(&members) {
        let wanted = direct(logits, members);
        // Two sums of that many terms, at most 1 each, in a quotient that is at most 1.
        let unit = 16.0 * members.len() as f64 * EPSILON;
        assert!((value - wanted).abs() <= unit, "{sets:?}: {value} {wanted}");
        for &at in members {
            let moved = |h: f64| {
                let mut logits = logits.clone();
                logits[at] += h;
                direct(&logits, members)
            };
            let (numeric, bound) = quotient(moved, 8.0 * members.len() as f64);
            let own = found.gradient[at];
            assert!((own - numeric).abs() <= bound, "{sets:?} {at:?}: {own} {numeric}");
        }
    }
}

#[test]
fn dice_and_tversky_are_their_sums_over_every_kind_of_set() {
    for (seed, shape) in [(1, (1, 1)), (2, (7, 1)), (3, (4, 3)), (4, (1, 6))] {
        let (logits, labels) = given(seed, shape.0, shape.1);
        for sets in SETS {
            for (alpha, squared) in
                [(0.0, false), (0.0, true), (1.0, false), (0.3, true), (2.5, false)]
            {
                let loss = Dice::new(0.5).unwrap().self_adjusting(alpha).unwrap().sets(sets);
                let loss = if squared { loss.squared() } else { loss };
                let found = loss.evaluate(&logits, &labels).unwrap();
                check_sets(shape, sets, &found, &logits, |logits, members| {
                    let (mut top, mut bottom) = (0.5, 0.5);
                    for &at in members {
                        let (p, y) = (sigmoid(logits[at]), labels[at]);
                        let w = (1.0 - p).powf(alpha) * p;
                        top += 2.0 * w * y;
                        bottom += if squared { w * w + y * y } else { w + y };
                    }
                    1.0 - top / bottom
                });
            }
            for (alpha, beta, smooth) in [(0.3, 0.7, 1.0), (1.0, 1.0, 0.25), (0.0, 2.0, 1.0)] {
                let loss = Tversky::new(alpha, beta, smooth).unwrap().sets(sets);
                let found = loss.evaluate(&logits, &labels).unwrap();
                check_sets(shape, sets, &found, &logits, |logits, members| {
                    let (mut top, mut bottom) = (smooth, smooth);
                    for &at in members {
                        let (p, y) = (sigmoid(logits[at]), labels[at]);
                        top += p * y;
                        bottom += p * y + alpha * p * (1.0 - y) + beta * (1.0 - p) * y;
                    }
                    1.0 - top / bottom
                });
            }
        }
    }
}

#[test]
fn tversky_of_halves_is_dice_and_self_adjusting_with_zero_too() {
    let (logits, labels) = given(9, 6, 5);
    for sets in SETS {
        for smooth in [0.0, 0.25, 1.0] {
            let tversky = Tversky::new(0.5, 0.5, smooth).unwrap().sets(sets);
            let dice = Dice::new(2.0 * smooth).unwrap().sets(sets);
            let a = tversky.evaluate(&logits, &labels).unwrap();
            let b = dice.evaluate(&logits, &labels).unwrap();
            let unit = 16.0 * 30.0 * EPSILON;
            assert!(a.values.iter().zip(&b.values).all(|(&a, &b)| close(a, b, unit, 0.0)));
            // Slopes are differences of two terms that are at most 1.
            let mut both = a.gradient.iter().zip(&b.gradient);
            assert!(both.all(|(&a, &b)| close(a, b, unit, unit)), "{sets:?} {smooth}");
            let zero = dice.self_adjusting(0.0).unwrap().evaluate(&logits, &labels).unwrap();
            assert_eq!(zero, b);
            // And nearly 0 is nearly that.
            let near = dice.self_adjusting(1e-12).unwrap().evaluate(&logits, &labels).unwrap();
            assert!(near.values.iter().zip(&b.values).all(|(&a, &b)| close(a, b, 0.0, 1e-10)));
        }
    }
}

#[test]
fn what_is_nearly_right_has_its_digits_and_what_is_right_costs_nothing() {
    let labels = arr2(&[[1.0, 0.0]]);
    let small = (-40.0_f64).exp();
    let at = |logits: &Array2<f64>, loss: Dice| {
        loss.sets(Sets::Entries).evaluate(logits, &labels).unwrap()
    };
    let near = arr2(&[[40.0, -40.0]]);
    // (1−p)/(1+p+γ) of the positive, p/(p+γ) of the negative.
    let found = at(&near, Dice::new(1.0).unwrap());
    assert!((found.values[0] / (small / 3.0) - 1.0).abs() < 8.0 * EPSILON);
    assert!((found.values[1] / small - 1.0).abs() < 8.0 * EPSILON);
    assert!((found.gradient[[0, 1]] / small - 1.0).abs() < 8.0 * EPSILON);
    let found = at(&near, Dice::new(1.0).unwrap().squared());
    assert!((found.values[0] / (small * small / 3.0) - 1.0).abs() < 8.0 * EPSILON);
    assert!((found.values[1] / (small * small) - 1.0).abs() < 8.0 * EPSILON);
    let tversky = Tversky::new(0.3, 0.7, 1.0).unwrap().sets(Sets::Entries);
    let found = tversky.evaluate(&near, &labels).unwrap();
    assert!((found.values[0] / (0.7 * small / 2.0) - 1.0).abs() < 8.0 * EPSILON);

    let right = arr2(&[[f64::INFINITY, f64::NEG_INFINITY]]);
    for loss in [Dice::new(1.0).unwrap(), Dice::new(1.0).unwrap().squared()] {
        let found = at(&right, loss);
        assert_eq!((found.values, found.gradient), (arr1(&[0.0; 2]), arr2(&[[0.0; 2]])));
    }
    // Self-adjusting, what is certain counts for nothing, right or wrong.
    let found = at(&right, Dice::new(1.0).unwrap().self_adjusting(1.0).unwrap());
    assert_eq!((found.values, found.gradient), (arr1(&[0.5, 0.0]), arr2(&[[0.0; 2]])));
    // Without a smoothing term and a positive: 1, and no number that is none.
    for logits in [arr2(&[[f64::NEG_INFINITY, -800.0]]), arr2(&[[3.0, -1.0]])] {
        let none = arr2(&[[0.0, 0.0]]);
        let plain = Dice::new(0.0).unwrap();
        let tversky = Tversky::new(1.0, 1.0, 0.0).unwrap().evaluate(&logits, &none).unwrap();
        for found in [plain, plain.squared()].map(|loss| loss.evaluate(&logits, &none).unwrap()) {
            assert_eq!((found.values[0], found.gradient), (1.0, arr2(&[[0.0; 2]])));
        }
        assert_eq!((tversky.values[0], tversky.gradient), (1.0, arr2(&[[0.0; 2]])));
    }
}

#[test]
fn a_nan_is_alone_in_its_set() {
    let (mut logits, labels) = given(10, 3, 4);
    logits[[1, 2]] = f64::NAN;
    let found = Dice::new(1.0).unwrap().sets(Sets::Columns).evaluate(&logits, &labels).unwrap();
    for j in 0..4 {
        assert_eq!(found.values[j].is_nan(), j == 2);
        assert!(found.gradient.column(j).iter().all(|x| x.is_nan() == (j == 2)));
    }
    let losses = BinaryCrossEntropy::new().evaluate(&logits, &labels).unwrap();
    let nans = losses.losses.iter().chain(&losses.slopes).filter(|x| x.is_nan()).count();
    assert_eq!(nans, 2);
}

#[test]
fn binary_cross_entropy_is_its_formula_and_keeps_its_ends() {
    let mut stream = Stream(4);
    let (logits, _) = given(4, 5, 3);
    // Any real label, as a cosine.
    let labels = stream.matrix(5, 3, 1.0);
    let weights = [2.0, 0.0, 0.5];
    let loss = BinaryCrossEntropy::new().positive_weights(&weights).unwrap();
    let found = loss.evaluate(&logits, &labels).unwrap();
    for ((i, j), &x) in logits.indexed_iter() {
        let y = labels[[i, j]];
        let of = |x: f64| -weights[j] * y * sigmoid(x).ln() - (1.0 - y) * (1.0 - sigmoid(x)).ln();
        let size = (1.0 + y.abs() * 3.0) * 16.0;
        assert!((found.losses[[i, j]] - of(x)).abs() <= 16.0 * EPSILON * size);
        let (numeric, bound) = quotient(|h| of(x + h), size);
        assert!((found.slopes[[i, j]] - numeric).abs() <= bound);
    }
    // Two classes whose logits are x and 0 have it as their cross-entropy.
    let plain = BinaryCrossEntropy::new();
    let x = 0.7;
    let two = Inputs::from_logits(&arr2(&[[x, 0.0]]), &[0_u32]).to_loss();
    let one = plain.evaluate(&arr2(&[[x]]), &arr2(&[[1.0]])).unwrap().mean();
    assert!((one - two).abs() <= 4.0 * EPSILON);

    let inf = f64::INFINITY;
    for (x, y, value, slope) in [
        (50.0, 1.0, (-50.0_f64).exp(), -(-50.0_f64).exp()),
        (-50.0, 0.0, (-50.0_f64).exp(), (-50.0_f64).exp()),
        (-1e308, 1.0, 1e308, -1.0),
        (inf, 1.0, 0.0, 0.0),
        (-inf, 0.0, 0.0, 0.0),
        (inf, 0.0, inf, 1.0),
        (-inf, 1.0, inf, -1.0),
        (inf, 0.5, inf, 0.5),
    ] {
        let found = plain.evaluate(&arr2(&[[x]]), &arr2(&[[y]])).unwrap();
        assert!(close(found.losses[[0, 0]], value, 4.0 * EPSILON, 0.0), "{x} {y}");
        assert!(close(found.slopes[[0, 0]], slope, 4.0 * EPSILON, 0.0), "{x} {y}");
    }
}

trait ToLoss {
    fn to_loss(&self) -> f64;
}

impl ToLoss for Inputs<'_> {
    fn to_loss(&self) -> f64 {
        LinearCrossEntropy::builder().build().unwrap().forward(self).unwrap().loss()
    }
}

#[test]
fn three_cross_entropies_are_their_formula_and_detached_weights_are_constants() {
    let (deep, labels) = given(12, 4, 2);
    for shallow in [given(13, 4, 2).0, deep.mapv(|x| -x)] {
        let plain = BinaryCrossEntropy::new();
        let mean = |x: &Array2<f64>| plain.evaluate(x, &labels).unwrap().mean();
        let of = |d: &Array2<f64>, s: &Array2<f64>, frozen: Option<[f64; 2]>| {
            let (fused, d, s) = (mean(&((d + s) / 2.0)), mean(d), mean(s));
            let [wd, ws] = frozen.unwrap_or([(d - fused).max(0.0), (s - fused).max(0.0)]);
            (fused + wd * d + ws * s, [wd, ws])
        };
        let (value, weights) = of(&deep, &shallow, None);
        for (kind, frozen) in
            [(BranchWeights::Attached, None), (BranchWeights::Detached, Some(weights))]
        {
            let found =
                TriBinaryCrossEntropy::new(kind).evaluate(&deep, &shallow, &labels).unwrap();
            assert!((found.value - value).abs() <= 64.0 * EPSILON * value);
            for at in [(0, 0), (1, 1), (3, 0)] {
                for branch in [0, 1] {
                    let moved = |h: f64| {
                        let mut both = [deep.clone(), shallow.clone()];
                        both[branch][at] += h;
                        of(&both[0], &both[1], frozen).0
                    };
                    let (numeric, bound) = quotient(moved, 64.0);
                    let own = [&found.by_deep, &found.by_shallow][branch][at];
                    assert!((own - numeric).abs() <= bound, "{kind:?} {at:?}: {own} {numeric}");
                }
            }
        }
    }
    // Logits whose sum leaves f64.
    let huge = arr2(&[[1.5e308]]);
    let found = TriBinaryCrossEntropy::default().evaluate(&huge, &huge, &arr2(&[[1.0]])).unwrap();
    assert_eq!((found.value, found.by_deep[[0, 0]]), (0.0, 0.0));
}

#[test]
fn aspects_stand_beside_the_classes() {
    let (logits, answers) = (given(20, 3, 7).0, given(21, 3, 3).1);
    let targets = [1_u32, 3, 0];
    let found = MultiAspect::new(0.5, 4.0).unwrap().evaluate(&logits, &targets, &answers).unwrap();
    let (classes, aspects) =
        (logits.slice(ndarray::s![.., ..4]), logits.slice(ndarray::s![.., 4..]));
    let of_classes = Inputs::from_logits(classes, &targets).to_loss();
    let of_aspects = BinaryCrossEntropy::new().evaluate(aspects, &answers).unwrap().mean();
    assert!((found.classes - of_classes).abs() <= 8.0 * EPSILON * of_classes);
    assert!((found.aspects - of_aspects).abs() <= 16.0 * EPSILON * of_aspects);
    assert!((found.value - (0.5 * of_classes + 4.0 * of_aspects)).abs() <= 64.0 * EPSILON);
    let loss = MultiAspect::new(0.5, 4.0).unwrap();
    check("aspects", &[logits.into_dyn()], |_, x| x[0].multi_aspect(&targets, &answers, &loss));
}

#[test]
fn encoders_teach_each_other_by_means() {
    let (a, b) = (arr1(&[0.5_f32, -1.0, 0.25]), arr1(&[0.25_f32, -0.5, 0.75]));
    let labels = labels_of_cosines(&[(&a).into(), (&b).into()]).unwrap();
    assert_eq!(labels, arr1(&[0.375, -0.75, 0.5]));
    let labels = labels_of_logits(&[(&a).into(), (&b).into()]).unwrap();
    let wanted = (sigmoid(0.5) + sigmoid(0.25)) / 2.0;
    assert!((labels[0] - wanted).abs() < 4.0 * EPSILON);
    let (x, y) = (given(30, 3, 1).0, given(31, 3, 1).1);
    let found = SquaredError::of(&x, &y).unwrap();
    let wanted = (&x - &y).mapv(|d| d * d).sum() / 3.0;
    assert!((found.value - wanted).abs() <= 4.0 * EPSILON * wanted);
    assert!(labels_of_cosines(&[]).is_err());
    assert!(labels_of_cosines(&[(&a).into(), (&arr1(&[1.0_f64])).into()]).is_err());
    assert!(labels_of_logits(&[(&arr1(&[f64::NAN])).into()]).is_err());
}

#[test]
fn what_does_not_go_together_is_refused() {
    let (logits, labels) = given(40, 3, 2);
    let shape = |found: Result<()>| assert!(matches!(found, Err(Error::Shape { .. })), "{found:?}");
    let value = |found: Result<()>| assert!(matches!(found, Err(Error::Value { .. })), "{found:?}");
    let option =
        |found: Result<()>| assert!(matches!(found, Err(Error::Option { .. })), "{found:?}");
    let plain = BinaryCrossEntropy::new();
    let dice = Dice::new(1.0).unwrap();
    shape(plain.evaluate(&logits, labels.t()).map(drop));
    shape(plain.evaluate(&Array2::<f64>::zeros((0, 2)), &labels).map(drop));
    shape(plain.clone().positive_weights(&[]).map(drop));
    shape(plain.clone().positive_weights(&[1.0; 3]).unwrap().evaluate(&logits, &labels).map(drop));
    value(plain.clone().positive_weights(&[1.0, -1.0]).map(drop));
    value(plain.evaluate(&logits, &labels.mapv(|_| f64::INFINITY)).map(drop));
    value(dice.evaluate(&logits, &labels.mapv(|y| y - 1.5)).map(drop));
    value(dice.evaluate(&logits, &labels.mapv(|_| f64::NAN)).map(drop));
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        option(Dice::new(bad).map(drop));
        option(dice.self_adjusting(bad).map(drop));
        option(Tversky::new(bad, 1.0, 1.0).map(drop));
        option(Tversky::new(1.0, bad, 1.0).map(drop));
        option(MultiAspect::new(bad, 1.0).map(drop));
        option(MultiAspect::new(1.0, bad).map(drop));
    }
    let aspects = MultiAspect::new(1.0, 1.0).unwrap();
    shape(aspects.evaluate(&logits, &[0; 3], &labels).map(drop));
    shape(aspects.evaluate(&logits, &[0; 3], &Array2::<f64>::zeros((3, 0))).map(drop));
    let one = labels.slice(ndarray::s![.., ..1]);
    assert!(aspects.evaluate(&logits, &[0; 3], one).is_ok());
    let beyond = aspects.evaluate(&logits, &[0, 1, 0], one);
    assert!(matches!(beyond, Err(Error::TargetOutOfRange { row: 1, .. })));
    shape(TriBinaryCrossEntropy::default().evaluate(&logits, logits.t(), &labels).map(drop));
    let tape = Tape::<f64>::new().unwrap();
    let flat = tape.leaf(Array1::<f64>::zeros(6));
    shape(flat.binary_cross_entropy(&labels, &plain).map(drop));
    shape(tape.leaf(Array1::<f64>::zeros(5)).mean_squared_error(&labels).map(drop));
    let elsewhere = Tape::<f64>::new().unwrap();
    let other = elsewhere.leaf(logits.clone());
    let found = tape.leaf(logits).tri_binary_cross_entropy(other, &labels, &Default::default());
    assert!(matches!(found, Err(Error::Conflict { .. })));
}

fn numbers(shape: &[usize], seed: u64) -> ArrayD<f64> {
    let mut generator = Generator::new(seed);
    ArrayD::from_shape_simple_fn(IxDyn(shape), || 3.0 * generator.uniform() - 1.5)
}

#[track_caller]
fn check<F>(name: &str, inputs: &[ArrayD<f64>], f: F)
where
    F: for<'t> Fn(&'t Tape<f64>, &[Variable<'t, f64>]) -> Result<Variable<'t, f64>>,
{
    let worst = gradcheck(f, inputs).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(worst.error <= 1e-8, "{name}: {worst:?}");
}

#[test]
fn the_tape_has_them() {
    let labels = given(50, 6, 3).1;
    let flat = labels.clone().into_shape_with_order((18, 1)).unwrap();
    let weighed = BinaryCrossEntropy::new().positive_weights(&[2.0, 1.0, 0.5]).unwrap();
    check("of labels", &[numbers(&[2, 3, 3], 1)], |_, x| {
        x[0].binary_cross_entropy(&labels, &weighed)
    });
    let plain = BinaryCrossEntropy::new();
    check("of a list", &[numbers(&[18], 2)], |_, x| x[0].binary_cross_entropy(&flat, &plain));
    for sets in SETS {
        let dice = Dice::new(0.5).unwrap().self_adjusting(0.5).unwrap().sets(sets);
        let tversky = Tversky::new(0.3, 0.7, 0.5).unwrap().sets(sets);
        check("dice", &[numbers(&[2, 3, 3], 3)], |_, x| x[0].dice(&labels, &dice));
        check("tversky", &[numbers(&[6, 3], 4)], |_, x| x[0].tversky(&labels, &tversky));
    }
    let both = [numbers(&[6, 3], 5), numbers(&[6, 3], 6)];
    let loss = TriBinaryCrossEntropy::default();
    check("three", &both, |_, x| x[0].tri_binary_cross_entropy(x[1], &labels, &loss));
    check("squares", &[numbers(&[6, 3], 7)], |_, x| x[0].mean_squared_error(&labels));
}
