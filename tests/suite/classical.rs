//! The classical baselines: golden cases, known values, invariances and bad input.

use ndarray::{Array2, ArrayView2, Axis, Ix1, Ix2, concatenate, s};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;
use surprisal::classical::{
    Kraskov, Metric, binned_entropy, binned_mutual_information, kozachenko_leonenko_entropy,
    kraskov_mutual_information, ross_mutual_information,
};
use surprisal::io::{Tensor, TensorView};
use surprisal::random::Generator;
use surprisal::{Element, Error};
use testing::golden::entropy_file;

fn open(name: &Value) -> Tensor {
    Tensor::open(entropy_file(name.as_str().unwrap()).to_str().unwrap()).unwrap()
}

fn features(name: &Value) -> Array2<f64> {
    match open(name).view() {
        TensorView::F64(view) => view.into_dimensionality::<Ix2>().unwrap().to_owned(),
        other => panic!("{name}: {}", other.dtype_name()),
    }
}

fn labels(name: &Value) -> Vec<i64> {
    open(name).view().to_i64("labels").unwrap().into_dimensionality::<Ix1>().unwrap().to_vec()
}

fn samples(name: &Value) -> Array2<usize> {
    let samples = open(name).view().to_i64("samples").unwrap();
    samples.into_dimensionality::<Ix2>().unwrap().mapv(|row| row as usize)
}

/// The value of a golden case, where its estimator is one of these.
fn evaluate(case: &Value) -> Option<f64> {
    let (x, parameters) = (&case["data"], &case["params"]);
    let size = |name: &str| parameters[name].as_u64().unwrap() as usize;
    let kraskov = |estimator| {
        let (x, y) = (features(x), features(&parameters["other"]));
        kraskov_mutual_information(x.view(), y.view(), size("k"), estimator)
    };
    let value = match case["estimator"].as_str().unwrap() {
        "cse" => binned_entropy(features(x).view(), size("bins")),
        "csmi" => binned_mutual_information(
            features(x).view(),
            &labels(&parameters["labels"]),
            size("bins"),
            samples(&parameters["idx"]).view(),
        ),
        "ksg1" => kraskov(Kraskov::First),
        "ksg2" => kraskov(Kraskov::Second),
        "kl_entropy" => {
            let metric = match parameters["metric"].as_str().unwrap() {
                "chebyshev" => Metric::Chebyshev,
                "euclidean" => Metric::Euclidean,
                other => panic!("{other}"),
            };
            kozachenko_leonenko_entropy(features(x).view(), size("k"), metric)
        }
        "mi_cd" => {
            let column = features(x).slice_move(s![.., size("column")..size("column") + 1]);
            ross_mutual_information(column.view(), &labels(&parameters["labels"]), size("k"))
        }
        _ => return None,
    };
    Some(value.unwrap())
}

#[test]
fn golden_cases() {
    let all: Value = serde_json::from_str(include_str!("../golden/entropy/golden.json")).unwrap();
    let mut counts = BTreeMap::new();
    for case in all["cases"].as_array().unwrap() {
        let Some(value) = evaluate(case) else { continue };
        let number = |key: &str| case[key].as_f64().unwrap();
        let (wanted, tolerance) =
            (number("value"), number("atol") + number("rtol") * number("value").abs());
        assert!((value - wanted).abs() <= tolerance, "{}: {value}, not {wanted}", case["id"]);
        *counts.entry(case["estimator"].as_str().unwrap()).or_insert(0) += 1;
    }
    let wanted =
        [("cse", 19), ("csmi", 9), ("kl_entropy", 12), ("ksg1", 6), ("ksg2", 6), ("mi_cd", 1)];
    assert_eq!(counts, BTreeMap::from(wanted));
}

fn normals(random: &mut Generator, rows: usize, columns: usize) -> Array2<f64> {
    Array2::from_shape_simple_fn((rows, columns), || random.standard_normal())
}

fn reversed(rows: &Array2<f64>) -> ArrayView2<'_, f64> {
    rows.slice(s![..;-1, ..])
}

#[test]
fn entropy_of_gaussians() {
    // ½ ln((2πe)^D det Σ). The standard error of the mean of D ln ε is below √((D/2 + π²/6/k)/N).
    for (dimensions, bias) in [(1, 0.005), (2, 0.01), (4, 0.06)] {
        let scales: Vec<f64> = (0..dimensions).map(|j| 3.0 / (1 + j) as f64).collect();
        let mut features = normals(&mut Generator::from_state(dimensions as u64), 8000, dimensions);
        for (mut column, scale) in features.columns_mut().into_iter().zip(&scales) {
            column *= *scale;
        }
        let log_determinant: f64 = scales.iter().map(|scale| 2.0 * scale.ln()).sum();
        let unit = (2.0 * std::f64::consts::PI * std::f64::consts::E).ln();
        let truth = 0.5 * (dimensions as f64 * unit + log_determinant);
        let k = 4;
        let variance = dimensions as f64 / 2.0 + 1.645 / k as f64;
        let tolerance = 4.0 * (variance / 8000.0).sqrt() + bias;
        for metric in [Metric::Euclidean, Metric::Chebyshev] {
            let entropy = kozachenko_leonenko_entropy(features.view(), k, metric).unwrap();
            assert!((entropy - truth).abs() < tolerance, "{dimensions}: {entropy}, not {truth}");
        }
    }
}

#[test]
fn entropy_of_a_lattice() {
    // Every distance is the spacing, in both metrics.
    let spacing = 0.25;
    let lattice =
        Array2::from_shape_fn((1000, 3), |(i, j)| spacing * (i / [1, 10, 100][j] % 10) as f64);
    let harmonic: f64 = (1..1000).map(|n| 1.0 / n as f64).sum();
    for (metric, volume) in
        [(Metric::Euclidean, 4.0 / 3.0 * std::f64::consts::PI), (Metric::Chebyshev, 8.0)]
    {
        let entropy = kozachenko_leonenko_entropy(lattice.view(), 1, metric).unwrap();
        let truth = harmonic + volume.ln() + 3.0 * spacing.ln();
        assert!((entropy - truth).abs() < 1e-12, "{entropy}, not {truth}");
    }
}

#[test]
fn information_of_gaussians() {
    for correlation in [0.0, 0.5, -0.9, 0.99_f64] {
        let both = normals(&mut Generator::from_state(7), 4000, 2);
        let x = both.slice(s![.., ..1]);
        let rest = (1.0 - correlation * correlation).sqrt();
        let y = &x * correlation + &(&both.slice(s![.., 1..]) * rest);
        let truth = -0.5 * (1.0 - correlation * correlation).ln();
        for estimator in [Kraskov::First, Kraskov::Second] {
            let found = kraskov_mutual_information(x, y.view(), 5, estimator).unwrap();
            // The standard deviation that Kraskov et al. print for k = 4, N = 1000 is near 0.03.
            assert!((found - truth).abs() < 0.06, "{correlation}: {found}, not {truth}");
        }
    }
}

#[test]
fn information_of_separated_labels() {
    // Features that tell the label: the entropy of the labels, by their counts.
    let mut random = Generator::from_state(3);
    let labels: Vec<i64> = (0..3000).map(|_| (random.bits() % 3).min(1) as i64 * 40 - 20).collect();
    let features =
        Array2::from_shape_fn((3000, 2), |(i, _)| labels[i] as f64 + random.standard_normal());
    let share = labels.iter().filter(|&&label| label > 0).count() as f64 / 3000.0;
    let truth = -share * share.ln() - (1.0 - share) * (1.0 - share).ln();
    let found = ross_mutual_information(features.view(), &labels, 3).unwrap();
    assert!((found - truth).abs() < 1e-3, "{found}, not {truth}");
    let noise = normals(&mut random, 3000, 2);
    let found = ross_mutual_information(noise.view(), &labels, 3).unwrap();
    assert!(found.abs() < 0.05, "{found}");
    // A label that occurs once takes no part, whatever its features.
    let (mut labels, mut features) = (labels, features);
    let before = ross_mutual_information(features.view(), &labels, 3).unwrap();
    labels.push(i64::MIN);
    features.push_row(ndarray::aview1(&[1e9, -1e9])).unwrap();
    assert_eq!(ross_mutual_information(features.view(), &labels, 3).unwrap(), before);
}

/// Distances of everything to everything.
mod plain {
    use ndarray::ArrayView2;

    fn maximum(x: ArrayView2<f64>, i: usize, j: usize) -> f64 {
        (0..x.ncols()).map(|d| (x[[i, d]] - x[[j, d]]).abs()).fold(0.0, f64::max)
    }

    fn others(x: ArrayView2<f64>, i: usize) -> impl Iterator<Item = (usize, f64)> {
        (0..x.nrows()).filter(move |&j| j != i).map(move |j| (j, maximum(x, i, j)))
    }

    /// The distance to the k-th other row in either metric.
    pub fn distance(x: ArrayView2<f64>, i: usize, k: usize, euclidean: bool) -> f64 {
        let mut all: Vec<f64> = match euclidean {
            false => others(x, i).map(|(_, distance)| distance).collect(),
            true => {
                let square = |j: usize| (&x.row(i) - &x.row(j)).mapv(|d| d * d).sum();
                others(x, i).map(|(j, _)| square(j).sqrt()).collect()
            }
        };
        all.sort_by(f64::total_cmp);
        all[k - 1]
    }

    pub fn digamma(n: usize) -> f64 {
        (1..n).map(|j| 1.0 / j as f64).sum::<f64>() - 0.577_215_664_901_532_9
    }

    pub fn kraskov(x: ArrayView2<f64>, y: ArrayView2<f64>, k: usize, second: bool) -> f64 {
        let rows = x.nrows();
        let both = ndarray::concatenate![ndarray::Axis(1), x, y];
        let mut sum = 0.0;
        for i in 0..rows {
            let count = |z: ArrayView2<f64>, inside: &dyn Fn(f64) -> bool| {
                others(z, i).filter(|&(_, distance)| inside(distance)).count()
            };
            if second {
                let mut order: Vec<_> = others(both.view(), i)
                    .map(|(j, distance)| (distance, maximum(x, i, j), maximum(y, i, j)))
                    .collect();
                order.sort_by(|a, b| a.partial_cmp(b).unwrap());
                let nearest = &order[..k];
                let in_x = nearest.iter().fold(0.0, |e: f64, at| e.max(at.1));
                let in_y = nearest.iter().fold(0.0, |e: f64, at| e.max(at.2));
                sum += digamma(count(x, &|d| d <= in_x)) + digamma(count(y, &|d| d <= in_y));
            } else {
                let within = distance(both.view(), i, k, false);
                sum += digamma(count(x, &|d| d < within) + 1);
                sum += digamma(count(y, &|d| d < within) + 1);
            }
        }
        let of_k = digamma(k) - if second { 1.0 / k as f64 } else { 0.0 };
        of_k + digamma(rows) - sum / rows as f64
    }
}

/// Rows on a grid tie, coincide in one of the two, and share coordinates; others do not.
fn rows(columns: usize) -> impl Strategy<Value = Array2<f64>> {
    let number = prop_oneof![(-3..3_i32).prop_map(f64::from), -3.0..3.0_f64, Just(1e-170)];
    proptest::collection::vec(number, columns * 60)
        .prop_map(move |numbers| Array2::from_shape_vec((60, columns), numbers).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn neighbours_are_those_of_plain_search(
        x in rows(2), y in rows(3), k in 1..40_usize, count in 41..60_usize,
    ) {
        let (x, y) = (x.slice_move(s![..count, ..]), y.slice_move(s![..count, ..]));
        for (metric, euclidean) in [(Metric::Chebyshev, false), (Metric::Euclidean, true)] {
            let entropy = kozachenko_leonenko_entropy(y.view(), k, metric).unwrap();
            let distances = (0..count).map(|i| plain::distance(y.view(), i, k, euclidean).ln());
            let mean = distances.sum::<f64>() / count as f64;
            let volume = if euclidean { 4.0 / 3.0 * std::f64::consts::PI } else { 8.0_f64 };
            let truth = plain::digamma(count) - plain::digamma(k) + volume.ln() + 3.0 * mean;
            // Plain squares are 0 where the distance is 1e-170.
            if truth.is_finite() {
                prop_assert!((entropy - truth).abs() < 1e-11, "{} {}", entropy, truth);
            }
        }
        for (estimator, second) in [(Kraskov::First, false), (Kraskov::Second, true)] {
            match kraskov_mutual_information(x.view(), y.view(), k, estimator) {
                Ok(found) => {
                    let truth = plain::kraskov(x.view(), y.view(), k, second);
                    prop_assert!((found - truth).abs() < 1e-11, "{} {}", found, truth);
                }
                Err(error) => {
                    prop_assert!(error.to_string().contains("coincides"), "{}", error);
                    let both = concatenate![Axis(1), x, y];
                    let least = (0..count).map(|i| plain::distance(both.view(), i, k, false));
                    prop_assert_eq!(least.fold(1.0, f64::min), 0.0);
                }
            }
        }
    }
}

#[test]
fn invariances() {
    let mut random = Generator::from_state(11);
    let x = normals(&mut random, 700, 3);
    let y = &x.slice(s![.., ..2]) + &normals(&mut random, 700, 2);
    let labels: Vec<i64> = x.column(0).iter().map(|&x| (x > 0.3).into()).collect();
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-10, "{a} {b}");

    let entropy = |x: ArrayView2<f64>, metric| kozachenko_leonenko_entropy(x, 3, metric).unwrap();
    let (sin, cos) = 0.7_f64.sin_cos();
    let turn = ndarray::arr2(&[[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]]);
    let turned = x.dot(&turn);
    close(entropy(turned.view(), Metric::Euclidean), entropy(x.view(), Metric::Euclidean));
    for metric in [Metric::Euclidean, Metric::Chebyshev] {
        let value = entropy(x.view(), metric);
        close(entropy(reversed(&x), metric), value);
        close(entropy(x.slice(s![.., ..;-1]), metric), value);
        // Scaled and moved by powers of two, that no digit is lost.
        close(entropy((&x * 1024.0).view(), metric), value + 3.0 * 1024_f64.ln());
        for scale in [1e-300, 1e-160, 1e160, 1e307 / 4.0] {
            close(entropy((&x * scale).view(), metric), value + 3.0 * f64::ln(scale));
        }
        let coarse = x.mapv(|x| (x * 1e6).round() / 1e6);
        let narrow = coarse.mapv(|x| x as f32);
        let widened = narrow.mapv(f64::from);
        assert_eq!(
            kozachenko_leonenko_entropy(narrow.view(), 3, metric).unwrap(),
            entropy(widened.view(), metric)
        );
    }
    for estimator in [Kraskov::First, Kraskov::Second] {
        let information = |x: ArrayView2<f64>, y: ArrayView2<f64>| {
            kraskov_mutual_information(x, y, 4, estimator).unwrap()
        };
        let value = information(x.view(), y.view());
        close(information(y.view(), x.view()), value);
        close(information(reversed(&x), reversed(&y)), value);
        close(information((&x * -8.0).view(), (&y * 8.0).view()), value);
        close(information((&x * 1e307).view(), (&y * 1e307).view()), value);
        let column_major = x.t().as_standard_layout().into_owned();
        assert_eq!(information(column_major.t(), y.view()), value);
    }
    let value = ross_mutual_information(x.view(), &labels, 3).unwrap();
    let backwards: Vec<i64> = labels.iter().rev().map(|&label| 5 - 9 * label).collect();
    close(ross_mutual_information(reversed(&x), &backwards, 3).unwrap(), value);
    close(ross_mutual_information((&x * -1e306).view(), &labels, 3).unwrap(), value);

    for bins in [1, 2, 5, 1000, u32::MAX as usize] {
        let value = binned_entropy(x.view(), bins).unwrap();
        assert_eq!(binned_entropy(reversed(&x), bins).unwrap(), value);
        assert_eq!(binned_entropy((&x * 64.0).view(), bins).unwrap(), value);
        assert_eq!(binned_entropy((&x * 2_f64.powi(1021)).view(), bins).unwrap(), value);
        let constant = Array2::from_elem((700, 1), -3.25);
        let wider = concatenate![Axis(1), x, constant];
        assert_eq!(binned_entropy(wider.view(), bins).unwrap(), value);
    }
    assert_eq!(binned_entropy(x.view(), 1).unwrap(), 0.0);
    close(binned_entropy(x.view(), u32::MAX as usize).unwrap(), 700_f64.log2());
}

#[test]
fn many_threads_change_nothing() {
    let mut random = Generator::from_state(23);
    let (x, y) = (normals(&mut random, 900, 2), normals(&mut random, 900, 1));
    let all = || {
        [
            kozachenko_leonenko_entropy(x.view(), 3, Metric::Euclidean).unwrap(),
            kraskov_mutual_information(x.view(), y.view(), 3, Kraskov::First).unwrap(),
            kraskov_mutual_information(x.view(), y.view(), 3, Kraskov::Second).unwrap(),
        ]
    };
    let here = all();
    #[cfg(feature = "parallel")]
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert_eq!(pool.install(all), here);
    }
    assert_eq!(all(), here);
}

#[test]
fn cells_at_their_cuts() {
    let entropy = |steps: usize| {
        let features = Array2::from_shape_fn((steps + 1, 1), |(i, _)| i as f64 / steps as f64);
        binned_entropy(features.view(), steps).unwrap()
    };
    // Each number opens a bin of its own, the last two share one: a pair among `rows`.
    let pairs = |pairs: f64, rows: f64| {
        ((rows - 2.0 * pairs) * rows.log2() + 2.0 * pairs * (rows / 2.0).log2()) / rows
    };
    for steps in [2, 4, 8, 64] {
        let (found, expected) = (entropy(steps), pairs(1.0, (steps + 1) as f64));
        assert!((found - expected).abs() < 1e-14, "{found}, not {expected}");
    }
    // 3, 6 and 7 times 0.1 are above 0.3, 0.6 and 0.7: these fall to the bins of 0.2, 0.5 and alone.
    let (found, expected) = (entropy(10), pairs(3.0, 11.0));
    assert!((found - expected).abs() < 1e-14, "{found}, not {expected}");
}

#[test]
fn coincident_points() {
    let mut features = normals(&mut Generator::from_state(5), 50, 2);
    for row in 1..4 {
        let first = features.row(0).to_owned();
        features.row_mut(row).assign(&first);
    }
    let entropy = |k| kozachenko_leonenko_entropy(features.view(), k, Metric::Euclidean).unwrap();
    assert_eq!(entropy(3), f64::NEG_INFINITY);
    assert!(entropy(4).is_finite());
    let (x, y) = (features.slice(s![.., ..1]), features.slice(s![.., 1..]));
    for estimator in [Kraskov::First, Kraskov::Second] {
        let error = kraskov_mutual_information(x, y, 3, estimator).unwrap_err();
        assert!(matches!(error, Error::Conflict { .. }));
        assert_eq!(
            error.to_string(),
            "row 0 coincides with k = 3 others in x and y, expected fewer: add noise or raise k"
        );
        assert!(kraskov_mutual_information(x, y, 4, estimator).unwrap().is_finite());
    }
    // What does not vary tells nothing: ψ(N) − ψ(N) by the first, by the second −1/k + ψ(N) − ψ(N−1).
    let (constant, y) =
        (Array2::<f64>::zeros((50, 1)), normals(&mut Generator::from_state(6), 50, 1));
    for (estimator, truth) in [(Kraskov::First, 0.0), (Kraskov::Second, -1.0 / 4.0 + 1.0 / 49.0)] {
        let none = kraskov_mutual_information(constant.view(), y.view(), 4, estimator).unwrap();
        assert!((none - truth).abs() < 1e-12, "{none}, not {truth}");
    }
    let labels = [7; 50];
    let error = ross_mutual_information(features.view(), &labels, 3).unwrap_err();
    assert!(error.to_string().starts_with("row 0 coincides with 3 others of its label"));
}

fn refused<V>(found: surprisal::Result<V>, wanted: &str) {
    match found {
        Ok(_) => panic!("accepted, not refused with {wanted}"),
        Err(error) => assert_eq!(error.to_string(), wanted),
    }
}

fn bad_features<T: Element>(
    name: &'static str,
    call: impl Fn(ArrayView2<'_, T>) -> surprisal::Result<f64>,
) {
    for (rows, columns) in [(0, 3), (3, 0), (0, 0)] {
        let empty = Array2::from_elem((rows, columns), T::from_f64(1.0));
        let shape = format!("{name} has shape [{rows}, {columns}]");
        refused(call(empty.view()), &format!("{shape}, expected at least one row and one column"));
    }
    for (number, written) in
        [(f64::NAN, "NaN"), (f64::INFINITY, "inf"), (f64::NEG_INFINITY, "-inf")]
    {
        let mut features =
            Array2::from_shape_fn((9, 2), |(i, j)| T::from_f64((i * i + 20 * j) as f64));
        features[[4, 1]] = T::from_f64(number);
        refused(
            call(features.view()),
            &format!("{name}[4, 1] is {written}, expected a finite number"),
        );
    }
}

fn bad_features_everywhere<T: Element>() {
    let other = Array2::from_shape_fn((9, 1), |(i, _)| i as f64);
    let labels = [0, 1, 0, 1, 0, 1, 0, 1, 0];
    let samples = Array2::from_shape_fn((2, 9), |(_, i)| i);
    bad_features::<T>("features", |x| binned_entropy(x, 2));
    bad_features::<T>("features", |x| binned_mutual_information(x, &labels, 2, samples.view()));
    bad_features::<T>("features", |x| kozachenko_leonenko_entropy(x, 2, Metric::Euclidean));
    bad_features::<T>("x", |x| kraskov_mutual_information(x, other.view(), 2, Kraskov::First));
    bad_features::<T>("y", |y| kraskov_mutual_information(other.view(), y, 2, Kraskov::Second));
    bad_features::<T>("features", |x| ross_mutual_information(x, &labels, 2));
}

#[test]
fn bad_input() {
    bad_features_everywhere::<f64>();
    bad_features_everywhere::<f32>();
    bad_features_everywhere::<half::bf16>();

    let x = normals(&mut Generator::from_state(1), 9, 2);
    let labels = [0, 1, 0, 1, 0, 1, 0, 1, 0];
    let samples = Array2::from_shape_fn((2, 9), |(_, i)| i);
    for k in [0, 9, 10, usize::MAX] {
        let wanted = format!("k is {k}, expected at least 1 and less than the number of rows");
        refused(kozachenko_leonenko_entropy(x.view(), k, Metric::Chebyshev), &wanted);
        refused(kraskov_mutual_information(x.view(), x.view(), k, Kraskov::First), &wanted);
    }
    let one = x.slice(s![..1, ..]);
    refused(
        kozachenko_leonenko_entropy(one, 1, Metric::Euclidean),
        "k is 1, expected at least 1 and less than the number of rows",
    );
    assert_eq!(binned_entropy(one, 2).unwrap(), 0.0);
    refused(ross_mutual_information(x.view(), &labels, 0), "k is 0, expected at least 1");
    // Classes smaller than k take all the neighbours they have.
    assert!(ross_mutual_information(x.view(), &labels, usize::MAX).unwrap().is_finite());
    let every: Vec<i64> = (0..9).collect();
    refused(
        ross_mutual_information(x.view(), &every, 2),
        "every label occurs once, expected one that occurs twice",
    );
    refused(
        ross_mutual_information(x.view(), &labels[1..], 2),
        "labels has shape [8], expected [9], one for each row of the features",
    );
    refused(
        kraskov_mutual_information(x.view(), one, 2, Kraskov::First),
        "y has shape [1, 2], expected 9 rows, as many as x has",
    );
    for bins in [0, 1 << 32] {
        let wanted = format!("bins is {bins}, expected 1 to 2^32 - 1");
        refused(binned_entropy(x.view(), bins), &wanted);
        refused(binned_mutual_information(x.view(), &labels, bins, samples.view()), &wanted);
    }
    refused(
        binned_mutual_information(x.view(), &labels, 2, samples.slice(s![..0, ..])),
        "samples has shape [0, 9], expected [R, 9], R at least 1",
    );
    refused(
        binned_mutual_information(x.view(), &labels, 2, samples.slice(s![.., 1..])),
        "samples has shape [2, 8], expected [R, 9], R at least 1",
    );
    let beyond = &samples + 1;
    refused(
        binned_mutual_information(x.view(), &labels, 2, beyond.view()),
        "samples[0, 8] is 9, expected a row of the features",
    );
    // An array of one number, seen as more rows than any memory holds.
    let number = ndarray::arr2(&[[1.0_f64]]);
    let huge = number.broadcast((1 << 40, 1 << 20)).unwrap();
    refused(
        binned_entropy(huge, 2),
        "a copy of features in f64 is beyond the address space of this machine, expected less",
    );
}

/// Counts at and beyond every end: a value or an error of one line.
#[test]
fn extreme_parameters() {
    let plain = Array2::from_shape_fn((9, 2), |(i, j)| ((i * i + 3 * j) as f64 * 0.7).sin());
    let labels: Vec<i64> = (0..9).map(|i| i % 3).collect();
    let samples = Array2::from_shape_fn((2, 9), |(r, i)| (i + r) % 9);
    let check = |name: &str, k: usize, found: surprisal::Result<f64>| match found {
        Ok(value) => assert!(value.is_finite(), "{name} with {k}: {value}"),
        Err(error) => {
            let line = error.to_string();
            assert!(matches!(error, Error::Option { .. }), "{name} with {k}: {line}");
            assert!(!line.contains('\n'));
        }
    };
    for scale in [1.0, 1e300, 1e-300] {
        let x = plain.mapv(|x| x * scale);
        let x = x.view();
        for k in [0, 1, 7, 8, 9, 10, u32::MAX as usize, 1 << 32, usize::MAX - 1, usize::MAX] {
            check("binned", k, binned_entropy(x, k));
            check("binned information", k, {
                binned_mutual_information(x, &labels, k, samples.view())
            });
            for metric in [Metric::Euclidean, Metric::Chebyshev] {
                check("Kozachenko", k, kozachenko_leonenko_entropy(x, k, metric));
            }
            for estimator in [Kraskov::First, Kraskov::Second] {
                check("Kraskov", k, kraskov_mutual_information(x, x, k, estimator));
            }
            check("Ross", k, ross_mutual_information(x, &labels, k));
        }
        // With as many bins as there can be, each row has its own.
        let bits = binned_entropy(x, u32::MAX as usize).unwrap();
        assert!((bits - 9_f64.log2()).abs() < 1e-14);
    }
}
