//! Spectra: invariances, streams, analytic cases, and what is refused.

use ndarray::{Array1, Array2, Array3, ArrayView3, Axis, array, concatenate, s};
use proptest::prelude::*;
use std::ops::Range;
use surprisal::spectrum::{
    Centering, Covariance, Factor, KernelMatrix, Lidar, LidarBuilder, Precision, RANKME_EPSILON,
    Spectrum, cosine_von_neumann_entropy, diff_erank, lidar, self_cluster, uniformity, vendi_score,
};
use surprisal::{Element, Error};

use testing::Stream;

/// What rounding does to singular values, against the largest: some roundings of each of
/// rows·columns numbers, which mostly cancel.
fn rounding(rows: usize, columns: usize) -> f64 {
    8.0 * ((rows * columns) as f64).sqrt() * f64::EPSILON
}

fn spectrum<T: Element>(features: &Array2<T>, centering: Centering) -> Spectrum {
    Spectrum::from_features(features.view(), centering).expect("a spectrum")
}

#[track_caller]
fn assert_near(value: f64, truth: f64, relative: f64) {
    assert!(
        (value - truth).abs() <= relative * truth.abs().max(f64::MIN_POSITIVE),
        "{value:e}, expected {truth:e}"
    );
}

/// Values that are off by no more than this times the largest.
#[track_caller]
fn assert_values(values: &[f64], truth: &[f64], relative: f64) {
    assert_eq!(values.len(), truth.len());
    assert!(values.is_sorted_by(|a, b| a >= b), "{values:?}");
    for (i, (value, of_truth)) in values.iter().zip(truth).enumerate() {
        assert!(
            (value - of_truth).abs() <= relative * truth[0],
            "σ_{i} = {value:e}, expected {of_truth:e}"
        );
    }
}

/// Columns that are orthonormal up to `√n`, without rounding: every entry is ±1. n is a power of 2.
fn hadamard(n: usize) -> Array2<f64> {
    Array2::from_shape_fn((n, n), |(i, j)| if (i & j).count_ones() % 2 == 0 { 1.0 } else { -1.0 })
}

/// An orthogonal matrix.
fn rotation(stream: &mut Stream, n: usize) -> Array2<f64> {
    let mut q = stream.matrix(n, n, 1.0);
    for i in 0..n {
        // Twice is enough.
        for _ in 0..2 {
            for j in 0..i {
                let (done, mut rest) = q.view_mut().split_at(Axis(0), i);
                let along = done.row(j).dot(&rest.row(0));
                rest.row_mut(0).scaled_add(-along, &done.row(j));
            }
        }
        let length = q.row(i).dot(&q.row(i)).sqrt();
        q.row_mut(i).mapv_inplace(|x| x / length);
    }
    q
}

/// All measures of a spectrum.
fn measures(spectrum: &Spectrum, range: Range<usize>) -> Vec<(&'static str, f64)> {
    vec![
        ("rankme", spectrum.rankme(RANKME_EPSILON).expect("a rank")),
        ("rankme_covariance", spectrum.rankme_covariance(RANKME_EPSILON).expect("a rank")),
        ("effective_rank", spectrum.effective_rank()),
        ("participation_ratio", spectrum.participation_ratio()),
        ("stable_rank", spectrum.stable_rank()),
        ("nuclear_rank", spectrum.nuclear_rank()),
        ("nesum", spectrum.nesum()),
        ("von_neumann_entropy", spectrum.von_neumann_entropy()),
        ("renyi_entropy 1/2", spectrum.renyi_entropy(0.5).expect("an entropy")),
        ("renyi_entropy 3", spectrum.renyi_entropy(3.0).expect("an entropy")),
        ("alpha_req", spectrum.alpha_req(range.clone()).expect("a fit").alpha),
        ("alpha_least_squares", spectrum.alpha_least_squares(range).expect("a fit").alpha),
    ]
}

#[track_caller]
fn assert_same_measures(a: &Spectrum, b: &Spectrum, relative: f64) {
    let range = 1..a.rank().min(b.rank());
    for ((name, a), (_, b)) in measures(a, range.clone()).into_iter().zip(measures(b, range)) {
        assert!((a - b).abs() <= relative * b.abs().max(1.0), "{name}: {a} and {b}");
    }
}

/// Features with an offset and a decaying spectrum.
fn features(stream: &mut Stream, rows: usize, columns: usize) -> Array2<f64> {
    let mut features = stream.matrix(rows, columns, 1.0);
    for (j, mut column) in features.columns_mut().into_iter().enumerate() {
        column.mapv_inplace(|x| x / (j + 1) as f64 + 0.5);
    }
    features.dot(&rotation(stream, columns))
}

#[test]
fn permuted_rotated_scaled_and_replicated() {
    let mut stream = Stream(1);
    let features = features(&mut stream, 90, 24);
    let mut permuted = features.clone();
    for i in (1..90).rev() {
        let j = (stream.bits() % (i as u64 + 1)) as usize;
        for c in 0..24 {
            permuted.swap((i, c), (j, c));
        }
    }
    let rotated = features.dot(&rotation(&mut stream, 24));
    let reversed = features.slice(s![.., ..;-1]).to_owned();
    let replicated =
        concatenate(Axis(0), &[features.view(), features.view(), features.view()]).expect("rows");
    for centering in [Centering::Raw, Centering::Centered] {
        let truth = spectrum(&features, centering);
        let tolerance = rounding(90, 24);
        for (other, factor) in [
            (&permuted, 1.0),
            (&rotated, 1.0),
            (&reversed, 1.0),
            (&replicated, 3.0_f64.sqrt()),
            (&features.mapv(|x| x * -1e-5), 1e-5),
            (&features.mapv(|x| x * 1e150), 1e150),
            (&features.mapv(|x| x * 2.0_f64.powi(-1000)), 2.0_f64.powi(-1000)),
        ] {
            let other = spectrum(other, centering);
            let scaled: Vec<_> = truth.singular_values().iter().map(|x| x * factor).collect();
            assert_values(other.singular_values(), &scaled, tolerance);
            // Measures are smooth in shares; the least singular value is some 1/100 of the largest.
            assert_same_measures(&other, &truth, 1e4 * tolerance);
        }
    }
}

#[test]
fn functions_of_features_do_not_turn_or_permute() {
    let mut stream = Stream(2);
    let features = features(&mut stream, 60, 8);
    let rotated = features.dot(&rotation(&mut stream, 8));
    let reversed = features.slice(s![..;-1, ..]).to_owned();
    let all = |x: &Array2<f64>| {
        let x = x.view();
        vec![
            diff_erank(x).expect("a rank"),
            vendi_score(x, 1.0).expect("a score"),
            vendi_score(x, 0.5).expect("a score"),
            cosine_von_neumann_entropy(x).expect("an entropy"),
            uniformity(x, 2.0).expect("a value"),
            self_cluster(x).expect("a value"),
            KernelMatrix::gaussian(x, 1.5).and_then(|k| k.renyi_entropy(2.0)).expect("bits"),
            KernelMatrix::gaussian(x, 1.5).and_then(|k| k.renyi_entropy(0.7)).expect("bits"),
        ]
    };
    let truth = all(&features);
    for other in [rotated, reversed] {
        for (value, truth) in all(&other).into_iter().zip(&truth) {
            assert_near(value, *truth, 1e-10);
        }
    }
    // Of directions alone.
    let mut scaled = features.clone();
    for (i, mut row) in scaled.rows_mut().into_iter().enumerate() {
        row.mapv_inplace(|x| x * 2.0_f64.powi(i as i32 * 10 - 300));
    }
    let of_directions = |x: &Array2<f64>| {
        let x = x.view();
        [
            vendi_score(x, 1.0).expect("a score"),
            uniformity(x, 2.0).expect("a value"),
            self_cluster(x).expect("a value"),
        ]
    };
    for (value, truth) in of_directions(&scaled).into_iter().zip(of_directions(&features)) {
        assert_near(value, truth, 1e-12);
    }
}

/// An offset of 1e8 leaves multiples of 2⁻²⁶ of features that are such multiples, so it is exact; what
/// is centred must not see it.
#[test]
fn translated_by_1e8() {
    let mut stream = Stream(3);
    let grid = 2.0_f64.powi(-20);
    let features = features(&mut stream, 400, 16).mapv(|x| (x / grid).round() * grid);
    let moved = features.mapv(|x| x + 1e8);
    let centered = spectrum(&features, Centering::Centered);
    assert_values(
        spectrum(&moved, Centering::Centered).singular_values(),
        centered.singular_values(),
        rounding(400, 16),
    );
    assert_same_measures(&spectrum(&moved, Centering::Centered), &centered, 1e-11);
    let covariance = |x: &Array2<f64>| Covariance::from_features(x.view()).expect("rows");
    assert_same_measures(
        &covariance(&moved).spectrum().expect("values"),
        &covariance(&features).spectrum().expect("values"),
        1e-11,
    );
    let (a, b) = (
        covariance(&moved).covariance().expect("rows"),
        covariance(&features).covariance().expect("rows"),
    );
    let largest = b.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-13 * largest));
    assert_near(
        diff_erank(moved.view()).expect("a rank"),
        diff_erank(features.view()).expect("a rank"),
        1e-12,
    );
    let kernel = |x: &Array2<f64>| KernelMatrix::gaussian(x.view(), 1.0).expect("a kernel");
    assert_eq!(
        kernel(&moved).renyi_entropy(2.0).expect("bits"),
        kernel(&features).renyi_entropy(2.0).expect("bits")
    );
    // Accumulators that begin far from each other.
    let mut joined = Factor::new(16, Centering::Centered).expect("a factor");
    let mut sum = Covariance::new(16).expect("a covariance");
    for part in moved.axis_chunks_iter(Axis(0), 150) {
        let mut of_part = Factor::new(16, Centering::Centered).expect("a factor");
        of_part.push(part).expect("rows");
        joined.merge(&of_part).expect("as wide");
        sum.merge(&Covariance::from_features(part).expect("rows")).expect("as wide");
    }
    assert_values(
        joined.spectrum().expect("values").singular_values(),
        centered.singular_values(),
        rounding(400, 16),
    );
    assert_same_measures(&sum.spectrum().expect("values"), &centered, 1e-11);
}

#[test]
fn batches_of_every_size() {
    let mut stream = Stream(4);
    for (rows, columns) in [(1, 1), (3, 7), (70, 5), (300, 33), (2300, 2)] {
        let features = features(&mut stream, rows, columns);
        let narrow = features.mapv(|x| x as f32);
        for size in [1, 2, 3, 7, 64, 511, 512, 513, 1000, 5000] {
            let covariance = |x: &Array2<f64>, size| {
                let mut all = Covariance::new(columns).expect("a covariance");
                for batch in x.axis_chunks_iter(Axis(0), size) {
                    all.push(batch).expect("a batch");
                }
                (all.mean().expect("rows"), all.spectrum().expect("values"))
            };
            assert_eq!(covariance(&features, size), covariance(&features, rows));
            for centering in [Centering::Raw, Centering::Centered] {
                let mut factor = Factor::new(columns, centering).expect("a factor");
                for batch in narrow.axis_chunks_iter(Axis(0), size) {
                    factor.push(batch).expect("a batch");
                }
                assert_eq!(factor.rows(), rows);
                // The same decompositions of the same numbers.
                assert_eq!(factor.spectrum().expect("values"), spectrum(&narrow, centering));
            }
        }
        // By hand.
        let mean = features.mean_axis(Axis(0)).expect("rows");
        let of_batches = {
            let mut all = Covariance::new(columns).expect("a covariance");
            all.push(features.view()).expect("a batch");
            all
        };
        for (a, b) in of_batches.mean().expect("rows").iter().zip(&mean) {
            assert!((a - b).abs() < 1e-14, "{a} and {b}");
        }
        if rows > 1 {
            let centered = &features - &mean;
            let truth = centered.t().dot(&centered) / (rows - 1) as f64;
            let found = of_batches.covariance().expect("rows");
            let largest = truth.diag().iter().fold(0.0_f64, |m, x| m.max(*x));
            let off = (&found - &truth).iter().fold(0.0_f64, |m, x| m.max(x.abs()));
            assert!(off <= 1e-14 * largest, "{rows}×{columns}: {off:e}");
        }
    }
}

/// More rows than are kept at once: decompositions are joined.
#[test]
fn tall_features_are_folded() {
    let mut stream = Stream(5);
    let features = features(&mut stream, 6000, 300);
    let columns = features.ncols();
    // The rows that `Factor` keeps at most.
    assert!(features.nrows() > columns + (1 << 17) / columns);
    for centering in [Centering::Raw, Centering::Centered] {
        let mut matrix = features.clone();
        if centering == Centering::Centered {
            matrix -= &features.mean_axis(Axis(0)).expect("rows");
        }
        let squares = spectrum(&matrix.t().dot(&matrix), Centering::Raw);
        let truth: Vec<_> = squares.singular_values().iter().map(|x| x.sqrt()).collect();
        let found = spectrum(&features, centering);
        // What is compared with has squares.
        for (value, truth) in found.singular_values().iter().zip(&truth) {
            assert_near(*value, *truth, 1e-10);
        }
        let columns_first = features.t().as_standard_layout().reversed_axes().to_owned();
        assert_eq!(spectrum(&columns_first, centering), found);
    }
}

#[test]
fn strides_and_types() {
    let mut stream = Stream(6);
    let halves = stream.matrix(40, 12, 2.0).mapv(half::f16::from_f64);
    let features = halves.mapv(|x| x.to_f64());
    let wide = stream.matrix(80, 24, 1.0);
    let mut holder = wide.clone();
    holder.slice_mut(s![..;2, ..;-2]).assign(&features);
    let strided = holder.slice(s![..;2, ..;-2]);
    let transposed = features.t().to_owned();
    for centering in [Centering::Raw, Centering::Centered] {
        let truth = spectrum(&features, centering);
        let values = truth.singular_values();
        assert_eq!(spectrum(&halves, centering).singular_values(), values);
        assert_eq!(spectrum(&features.mapv(|x| x as f32), centering).singular_values(), values);
        for view in [strided, transposed.t(), features.view()] {
            assert_eq!(Spectrum::from_features(view, centering).expect("values"), truth);
        }
    }
    let truth = Covariance::from_features(features.view()).expect("rows").covariance();
    let found = Covariance::from_features(strided).expect("rows").covariance();
    assert_eq!(found.expect("rows"), truth.expect("rows"));
    let found = Covariance::from_features(transposed.t()).expect("rows").mean();
    let truth = Covariance::from_features(halves.view()).expect("rows").mean();
    assert_eq!(found.expect("rows"), truth.expect("rows"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]

    /// Parts of any sizes, merged in any order, are the whole.
    #[test]
    fn merged_in_any_order(
        seed: u64,
        columns in 1_usize..12,
        sizes in prop::collection::vec(0_usize..40, 1..6),
        merges in prop::collection::vec((0_usize..6, 0_usize..6), 0..8),
        offset in prop_oneof![Just(0.0), Just(1e4), Just(-1e8)],
        raw: bool,
    ) {
        let mut stream = Stream(seed);
        let rows: usize = sizes.iter().sum();
        prop_assume!(rows > 0);
        let features = stream.matrix(rows, columns, 1.0).mapv(|x| {
            (x * 1024.0).round() / 1024.0 + if raw { 0.0 } else { offset }
        });
        let centering = if raw { Centering::Raw } else { Centering::Centered };
        let mut first = 0;
        let (mut factors, mut covariances) = (Vec::new(), Vec::new());
        for size in sizes {
            let part = features.slice(s![first..first + size, ..]);
            first += size;
            let mut factor = Factor::new(columns, centering).expect("a factor");
            factor.push(part).expect("a batch");
            factors.push(factor);
            let mut covariance = Covariance::new(columns).expect("a covariance");
            covariance.push(part).expect("a batch");
            covariances.push(covariance);
        }
        for (from, to) in merges {
            if factors.len() > 1 {
                let factor = factors.swap_remove(from % factors.len());
                let at = to % factors.len();
                factors[at].merge(&factor).expect("as wide");
                let covariance = covariances.swap_remove(from % covariances.len());
                covariances[at].merge(&covariance).expect("as wide");
            }
        }
        let mut factor = factors.swap_remove(0);
        factors.iter().for_each(|other| factor.merge(other).expect("as wide"));
        let mut covariance = covariances.swap_remove(0);
        covariances.iter().for_each(|other| covariance.merge(other).expect("as wide"));
        prop_assert_eq!((factor.rows(), covariance.rows()), (rows, rows));

        let truth = spectrum(&features, centering);
        let found = factor.spectrum().expect("values");
        let scale = truth.singular_values()[0].max(1e-3);
        for (a, b) in found.singular_values().iter().zip(truth.singular_values()) {
            prop_assert!((a - b).abs() <= 4.0 * rounding(rows, columns) * scale, "{} and {}", a, b);
        }
        if rows > 1 {
            let mean = features.mean_axis(Axis(0)).expect("rows");
            let whole = Covariance::from_features(features.view()).expect("rows");
            let (a, b) = (covariance.covariance().expect("rows"), whole.covariance().expect("rows"));
            let largest = b.diag().iter().fold(1e-6_f64, |m, x| m.max(*x));
            let off = (&a - &b).iter().fold(0.0_f64, |m, x| m.max(x.abs()));
            prop_assert!(off <= 1e-13 * largest, "{}", off);
            let means = covariance.mean().expect("rows");
            let off = (&means - &mean).iter().fold(0.0_f64, |m, x| m.max(x.abs()));
            // The plain mean is the one that loses digits.
            prop_assert!(off <= 1e-14 * (1.0 + offset.abs()), "{}", off);
        }
    }
}

#[test]
fn small_singular_values_survive() {
    // Exact: ±1 times powers of two; the truth has no rounding.
    let (rows, columns) = (64, 45);
    let truth: Vec<f64> = (0..columns as i32).map(|j| 2.0_f64.powi(3 - j)).collect();
    let basis = hadamard(rows);
    let features = Array2::from_shape_fn((rows, columns), |(i, j)| basis[[i, j]] * truth[j] / 8.0);
    let found = spectrum(&features, Centering::Raw);
    assert_values(found.singular_values(), &truth, 8.0 * f64::EPSILON);
    assert_eq!(found.rank(), columns);

    // Mixed by rotations, from 1 to 1e-14: off by roundings of the largest.
    let mut stream = Stream(7);
    let truth: Vec<f64> = (0..29).map(|j| 10.0_f64.powf(-0.5 * j as f64)).collect();
    let (left, right) = (rotation(&mut stream, 200), rotation(&mut stream, 29));
    let scaled = &left.slice(s![.., ..29]) * &Array1::from(truth.clone());
    let features = scaled.dot(&right);
    let tolerance = 4.0 * f64::EPSILON;
    let found = spectrum(&features, Centering::Raw);
    assert_values(found.singular_values(), &truth, tolerance);
    assert_near(found.singular_values()[28], 1e-14, 0.1);
    // A row at a time, and merged.
    let mut merged = Factor::new(29, Centering::Raw).expect("a factor");
    for part in features.axis_chunks_iter(Axis(0), 45) {
        let mut factor = Factor::new(29, Centering::Raw).expect("a factor");
        part.axis_chunks_iter(Axis(0), 1).for_each(|row| factor.push(row).expect("a row"));
        merged.merge(&factor).expect("as wide");
    }
    assert_values(merged.spectrum().expect("values").singular_values(), &truth, 2.0 * tolerance);
    // Nor do larger ones, and taller, lose any: each is off by a few roundings of the largest.
    for (rows, columns) in [(300, 300), (400, 150), (150, 400)] {
        let count = rows.min(columns);
        let truth: Vec<f64> =
            (0..count).map(|j| 10.0_f64.powf(-14.0 * j as f64 / (count - 1) as f64)).collect();
        let left = rotation(&mut stream, rows);
        let right = rotation(&mut stream, columns);
        let scaled = &left.slice(s![.., ..count]) * &Array1::from(truth.clone());
        let mixed = scaled.dot(&right.slice(s![..count, ..]));
        let found = spectrum(&mixed, Centering::Raw);
        assert_values(found.singular_values(), &truth, 8.0 * f64::EPSILON);
        assert_near(found.singular_values()[count - 1], 1e-14, 0.1);
    }
    // Squares have lost them, and say so.
    let squares = Covariance::from_features(features.view()).expect("rows").spectrum();
    let squares = squares.expect("values");
    assert!(squares.rank() < 20 && squares.singular_values()[28] == 0.0);
}

#[test]
fn exact_zeros_are_no_small_numbers() {
    let mut stream = Stream(8);
    let features = stream.matrix(500, 6, 1.0).dot(&stream.matrix(6, 40, 1.0));
    for centering in [Centering::Raw, Centering::Centered] {
        let found = spectrum(&features, centering);
        assert_eq!((found.rank(), found.singular_values().len()), (6, 40));
        let zeros = &found.singular_values()[6..];
        assert!(zeros.iter().all(|x| *x <= 1e-14 * found.singular_values()[0]), "{zeros:?}");
        assert!(found.effective_rank() <= 6.0 + 1e-9);
        assert_near(found.renyi_entropy(0.0).expect("bits"), 6.0_f64.log2(), 1e-14);
        assert!(found.alpha_req(3..7).is_err() && found.alpha_req(3..6).is_ok());
    }
    let covariance = Covariance::from_features(features.view()).expect("rows").spectrum();
    assert_eq!(covariance.expect("values").rank(), 6);
}

#[test]
fn analytic() {
    // Flat: every rank is the rank, every entropy its logarithm.
    let flat = spectrum(&hadamard(16), Centering::Raw);
    assert_values(flat.singular_values(), &[4.0; 16], rounding(16, 16));
    let tolerance = 1e-13;
    assert_near(flat.effective_rank(), 16.0, tolerance);
    assert_near(flat.participation_ratio(), 16.0, tolerance);
    assert_near(flat.stable_rank(), 16.0, tolerance);
    assert_near(flat.nuclear_rank(), 16.0, tolerance);
    assert_near(flat.von_neumann_entropy(), 16.0_f64.ln(), tolerance);
    for order in [0.0, 1e-9, 0.3, 0.999_999, 1.0, 1.000_001, 2.0, 50.0, 1e9, 1e308, f64::INFINITY] {
        assert_near(flat.renyi_entropy(order).expect("bits"), 4.0, 1e-13);
    }
    // The constant column is what centring takes.
    assert_eq!(spectrum(&hadamard(16), Centering::Centered).rank(), 15);

    // Two values: entropies are those of a coin, and of every order they fall.
    let diagonal = Array2::from_diag(&array![3.0_f64.sqrt(), 1.0]);
    let coin = spectrum(&diagonal, Centering::Raw);
    let bits = |order| coin.renyi_entropy(order).expect("bits");
    assert_near(bits(1.0), 0.25 * 2.0 + 0.75 * (4.0_f64 / 3.0).log2(), 1e-14);
    assert_near(bits(2.0), (16.0_f64 / 10.0).log2(), 1e-14);
    assert_near(bits(f64::INFINITY), (4.0_f64 / 3.0).log2(), 1e-14);
    assert_near(bits(0.0), 1.0, 1e-14);
    let orders: Vec<f64> = (-60..=60)
        .map(|k| 1.0 + f64::from(k).signum() * 2.0_f64.powi(-f64::from(k).abs() as i32))
        .collect();
    for order in orders.into_iter().filter(|order| *order != 1.0) {
        // −Σ p log2 p less (α − 1)·ln 2/2·variance of log2 p.
        let mean = bits(1.0);
        let moment = 0.25 * 4.0 + 0.75 * (4.0_f64 / 3.0).log2().powi(2);
        let slope = -0.5 * std::f64::consts::LN_2 * (moment - mean * mean);
        let near = mean + slope * (order - 1.0);
        assert!((bits(order) - near).abs() <= 1e-14 + (order - 1.0).powi(2), "order {order}");
    }

    // Power laws are met by each fit.
    for alpha in [0.5, 1.0, 2.5] {
        let diagonal = Array1::from_iter((1..=60).map(|j| f64::from(j).powf(-alpha / 2.0)));
        let law = spectrum(&Array2::from_diag(&diagonal), Centering::Raw);
        for range in [0..60, 10..60, 57..60] {
            let weighted = law.alpha_req(range.clone()).expect("a fit");
            assert_near(weighted.alpha, alpha, 1e-11);
            assert_near(weighted.r_squared, 1.0, 1e-12);
            assert_eq!(weighted.range, range);
            assert_near(law.alpha_least_squares(range).expect("a fit").alpha, alpha, 1e-11);
        }
        assert_near(law.alpha_robust(3..53).expect("a fit"), alpha, 1e-11);
    }

    // Directions of a simplex: cosines of −1/n.
    let simplex = &Array2::<f64>::eye(5) - 0.2;
    assert_near(uniformity(simplex.view(), 2.0).expect("a value"), -5.0, 1e-14);
    assert_near(vendi_score(simplex.view(), 1.0).expect("a score"), 4.0, 1e-13);
    assert_near(diff_erank(Array2::<f32>::eye(5).view()).expect("a rank"), 4.0, 1e-13);
    // Pairs of opposite and of equal directions.
    let cross = array![[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]];
    let truth = ((2.0 * (-8.0_f64).exp() + 4.0 * (-4.0_f64).exp()) / 6.0).ln();
    assert_near(uniformity(cross.view(), 2.0).expect("a value"), truth, 1e-14);
    assert_near(self_cluster(cross.view()).expect("a value"), (1.0 / 3.0 - 0.5) / 0.5, 1e-14);
    // Far below what exp holds.
    assert_near(
        uniformity(cross.view(), 1e5).expect("a value"),
        -2e5 + (2.0_f64 / 3.0).ln(),
        1e-14,
    );
    let same = Array2::from_elem((7, 3), 2.0_f32);
    assert_near(uniformity(same.view(), 2.0).expect("a value"), 0.0, 0.0_f64.max(f64::EPSILON));
    assert_near(self_cluster(same.view()).expect("a value"), 1.0, 1e-14);
    assert_near(vendi_score(same.view(), 1.0).expect("a score"), 1.0, 1e-13);
}

#[test]
fn kernel_matrices() {
    let mut stream = Stream(9);
    let points = stream.matrix(50, 3, 1.0);
    let kernel = KernelMatrix::gaussian(points.view(), 1.0).expect("a kernel");
    assert_near(kernel.matrix().diag().sum(), 1.0, 1e-14);
    // By general formula: order 2 from eigenvalues, and a given matrix from a made one.
    let eigenvalues = kernel.eigenvalues().expect("values");
    let squares: f64 = eigenvalues.iter().map(|x| x * x).sum();
    assert_near(kernel.renyi_entropy(2.0).expect("bits"), -squares.log2(), 1e-12);
    let given = KernelMatrix::from_matrix(kernel.matrix().mapv(|x| 37.0 * x).view());
    let given = given.expect("a kernel");
    for order in [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, f64::INFINITY] {
        let entropy = kernel.renyi_entropy(order).expect("bits");
        assert!((0.0..=50.0_f64.log2() + 1e-12).contains(&entropy));
        assert!((given.renyi_entropy(order).expect("bits") - entropy).abs() < 1e-8);
        assert_near(kernel.vendi_score(order).expect("a score"), entropy.exp2(), 1e-12);
    }
    // With a constant nothing is shared.
    let constant = KernelMatrix::from_matrix(Array2::from_elem((50, 50), 1.0).view());
    let shared = kernel.mutual_information(&constant.expect("a kernel"), 1.0).expect("bits");
    assert!(shared.abs() < 1e-11, "{shared}");
    // The cosine kernel by both ways.
    let cosine = KernelMatrix::cosine(points.view()).expect("a kernel");
    for order in [0.0, 0.5, 1.0, 2.0, 7.0, f64::INFINITY] {
        let of_rows = vendi_score(points.view(), order).expect("a score");
        assert_near(cosine.vendi_score(order).expect("a score"), of_rows, 1e-10);
    }
    assert_near(
        cosine.von_neumann_entropy().expect("nats"),
        cosine_von_neumann_entropy(points.view()).expect("nats"),
        1e-12,
    );
    // Widths beyond the range of squares.
    for (scale, sigma) in [(1e300, 1e300), (1e-300, 1e-300), (1e-310, 1e-310)] {
        let scaled = points.mapv(|x| x * scale);
        let other = KernelMatrix::gaussian(scaled.view(), sigma).expect("a kernel");
        // Subnormal numbers have fewer digits.
        let tolerance = if scale < 1e-307 { 1e-10 } else { 1e-12 };
        assert_near(
            other.renyi_entropy(2.0).expect("bits"),
            kernel.renyi_entropy(2.0).expect("bits"),
            tolerance,
        );
    }
    let apart = KernelMatrix::gaussian(points.view(), 5e-324).expect("a kernel");
    assert_near(apart.renyi_entropy(2.0).expect("bits"), 50.0_f64.log2(), 1e-14);
}

fn of_lidar(features: ArrayView3<'_, f64>, options: LidarBuilder) -> surprisal::Result<f64> {
    lidar(features, options.build()?)
}

#[test]
fn lidar_by_its_definition() {
    let mut stream = Stream(10);
    let (n, q, d) = (9, 4, 13);
    let features = Array3::from_shape_fn((n, q, d), |_| stream.normal() + 3.0);
    let paper = lidar(features.view(), Lidar::default()).expect("a rank");
    // n − 1 directions at most, and ε for each of the rest.
    assert!(paper > 1.0 && paper < (n - 1) as f64 + 1e-4);
    // Neither turning nor moving changes it.
    let flat = features.view().into_shape_with_order((n * q, d)).expect("rows");
    let turned = flat.dot(&rotation(&mut stream, d)).mapv(|x| x + 1e6);
    let turned = turned.into_shape_with_order((n, q, d)).expect("objects");
    assert_near(lidar(turned.view(), Lidar::default()).expect("a rank"), paper, 1e-7);
    let narrow = features.mapv(|x| x as f32);
    assert_near(lidar(narrow.view(), Lidar::default()).expect("a rank"), paper, 1e-4);
    // One object, or one point: nothing is told apart.
    let one = features.slice(s![..1, .., ..]);
    assert_eq!(lidar(one, Lidar::default()).expect("a rank"), 0.0);
    let single = features.slice(s![.., ..1, ..]);
    assert!(lidar(single, Lidar::default()).expect("a rank") > 1.0);
}

#[test]
fn degenerate() {
    let zero = Array2::<f32>::zeros((5, 3));
    let one_row = array![[3.0, 4.0]];
    let constant = Array2::from_elem((6, 2), 0.1);
    for (features, centering) in [
        (zero.mapv(f64::from), Centering::Raw),
        (zero.mapv(f64::from), Centering::Centered),
        (one_row.clone(), Centering::Centered),
        (constant.clone(), Centering::Centered),
    ] {
        let found = spectrum(&features, centering);
        assert!(found.singular_values().iter().all(|x| *x == 0.0));
        assert_eq!(found.rank(), 0);
        assert!(found.explained_variance().is_empty());
        for value in [
            found.rankme(RANKME_EPSILON).expect("a rank"),
            found.rankme_covariance(RANKME_EPSILON).expect("a rank"),
            found.effective_rank(),
            found.participation_ratio(),
            found.stable_rank(),
            found.nuclear_rank(),
            found.nesum(),
            found.von_neumann_entropy(),
            found.renyi_entropy(0.0).expect("bits"),
            found.renyi_entropy(2.0).expect("bits"),
        ] {
            assert_eq!(value.to_bits(), 0.0_f64.to_bits());
        }
        assert!(matches!(found.alpha_req(0..3), Err(Error::Option { name: "range", .. })));
    }
    for features in [&one_row, &constant] {
        assert_eq!(diff_erank(features.view()).expect("a rank"), 0.0);
        assert_eq!(
            Covariance::from_features(features.view())
                .expect("rows")
                .spectrum()
                .expect("values")
                .rank(),
            0
        );
    }
    let found = spectrum(&one_row, Centering::Raw);
    assert_eq!(found.singular_values(), [5.0]);
    assert_near(found.rankme(0.0).expect("a rank"), 1.0, 1e-15);
    assert_eq!(found.von_neumann_entropy(), 0.0);
    // A constant column beside another.
    let column = array![[1.0, 7.0], [2.0, 7.0], [3.0, 7.0]];
    let found = spectrum(&column, Centering::Centered);
    assert_values(found.singular_values(), &[2.0_f64.sqrt(), 0.0], 4.0 * f64::EPSILON);
    assert_near(found.participation_ratio(), 1.0, 1e-15);
    // One point has no pairs, but a kernel.
    let kernel = KernelMatrix::gaussian(one_row.view(), 1.0).expect("a kernel");
    assert_eq!(kernel.renyi_entropy(1.0).expect("bits"), 0.0);
    assert_near(vendi_score(one_row.view(), 1.0).expect("a score"), 1.0, 1e-15);
}

#[test]
fn what_is_refused() {
    fn message<T: std::fmt::Debug>(result: surprisal::Result<T>) -> String {
        let message = result.expect_err("an error").to_string();
        assert!(!message.contains('\n'));
        message
    }
    let bad = |x: f64| array![[1.0, 2.0], [3.0, x]];
    for (value, name) in [(f64::NAN, "NaN"), (f64::INFINITY, "inf"), (f64::NEG_INFINITY, "-inf")] {
        let expected = format!("features[1, 1] is {name}, expected a finite number");
        let x = bad(value);
        let narrow = x.mapv(|x| x as f32);
        assert_eq!(message(Spectrum::from_features(x.view(), Centering::Raw)), expected);
        assert_eq!(message(Spectrum::from_features(narrow.t(), Centering::Centered)), expected);
        assert_eq!(message(Covariance::from_features(x.view())), expected);
        assert_eq!(message(diff_erank(x.view())), expected);
        assert_eq!(message(vendi_score(x.view(), 1.0)), expected);
        assert_eq!(message(cosine_von_neumann_entropy(x.view())), expected);
        assert_eq!(message(uniformity(x.view(), 2.0)), expected);
        assert_eq!(message(self_cluster(x.view())), expected);
        assert_eq!(message(KernelMatrix::gaussian(x.view(), 1.0)), expected);
        assert_eq!(message(KernelMatrix::cosine(x.view())), expected);
        let views = x.clone().insert_axis(Axis(0));
        let expected = expected.replace("[1, 1]", "[0, 1, 1]");
        assert_eq!(message(lidar(views.view(), Lidar::default())), expected);
    }
    // Far down a matrix that is read in blocks, the row is the matrix's.
    let mut tall = Array2::<f32>::zeros((600, 3));
    tall[[517, 2]] = f32::NAN;
    let expected = "features[517, 2] is NaN, expected a finite number";
    assert_eq!(message(Covariance::from_features(tall.view())), expected);
    let mut tall = Array2::<f32>::zeros((10_000, 300));
    tall[[9_999, 0]] = f32::INFINITY;
    let expected = "features[9999, 0] is inf, expected a finite number";
    assert_eq!(message(Spectrum::from_features(tall.view(), Centering::Raw)), expected);

    for shape in [(0, 3), (3, 0), (0, 0)] {
        let empty = Array2::<f64>::zeros(shape);
        let shape = |result: Option<Error>| {
            assert!(matches!(result, Some(Error::Shape { argument: "features", .. })));
        };
        let x = empty.view();
        shape(Spectrum::from_features(x, Centering::Raw).err());
        shape(Covariance::from_features(x).err());
        shape(diff_erank(x).err());
        shape(vendi_score(x, 1.0).err());
        shape(cosine_von_neumann_entropy(x).err());
        shape(uniformity(x, 2.0).err());
        shape(self_cluster(x).err());
        shape(KernelMatrix::gaussian(x, 1.0).err());
        shape(KernelMatrix::cosine(x).err());
        shape(lidar(x.insert_axis(Axis(1)), Lidar::default()).err());
        assert!(matches!(KernelMatrix::from_matrix(x), Err(Error::Shape { .. })));
    }
    assert_eq!(message(Covariance::new(0)), "columns is 0, expected a number above 0");
    assert_eq!(message(Factor::new(0, Centering::Raw)), "columns is 0, expected a number above 0");
    for columns in [usize::MAX, usize::MAX / 8, 1 << 31] {
        assert!(matches!(Covariance::new(columns), Err(Error::TooLarge { .. })));
    }
    assert!(matches!(Factor::new(usize::MAX, Centering::Raw), Err(Error::TooLarge { .. })));

    // Accumulators: a batch that is refused leaves no trace.
    let mut factor = Factor::new(2, Centering::Centered).expect("a factor");
    let mut covariance = Covariance::new(2).expect("a covariance");
    let good = array![[1.0, 0.0], [0.0, 2.0]];
    assert_eq!(message(factor.spectrum()), "features has shape [0, 2], expected at least one row");
    assert_eq!(
        message(covariance.spectrum()),
        "features has shape [0, 2], expected at least one row"
    );
    assert!(covariance.mean().is_err());
    factor.push(good.view()).expect("a batch");
    covariance.push(good.view()).expect("a batch");
    let before = (factor.spectrum().expect("values"), covariance.spectrum().expect("values"));
    assert!(factor.push(bad(f64::NAN).view()).is_err());
    assert!(covariance.push(bad(f64::NAN).view()).is_err());
    let wide = Array2::<f32>::zeros((1, 3));
    let expected = "batch has shape [1, 3], expected 2 columns";
    assert_eq!(message(factor.push(wide.view())), expected);
    assert_eq!(message(covariance.push(wide.view())), expected);
    factor.push(Array2::<f32>::zeros((0, 2)).view()).expect("no rows");
    covariance.push(Array2::<f32>::zeros((0, 2)).view()).expect("no rows");
    let raw = Factor::new(2, Centering::Raw).expect("a factor");
    assert!(matches!(factor.merge(&raw), Err(Error::Conflict { .. })));
    let narrow = Factor::new(1, Centering::Centered).expect("a factor");
    assert!(matches!(factor.merge(&narrow), Err(Error::Option { .. })));
    assert!(covariance.merge(&Covariance::new(5).expect("a covariance")).is_err());
    covariance.merge(&Covariance::new(2).expect("a covariance")).expect("no rows");
    factor.merge(&Factor::new(2, Centering::Centered).expect("a factor")).expect("no rows");
    let after = (factor.spectrum().expect("values"), covariance.spectrum().expect("values"));
    assert_eq!(before, after);
    let one = Covariance::from_features(array![[1.0, 2.0]].view()).expect("a row");
    assert_eq!(message(one.covariance()), "features has shape [1, 2], expected at least two rows");

    // Options.
    let found = spectrum(&good, Centering::Raw);
    for value in [-1.0, f64::NAN] {
        assert!(matches!(found.rankme(value), Err(Error::Option { name: "epsilon", .. })));
        assert!(matches!(found.rankme_covariance(value), Err(Error::Option { .. })));
        assert!(matches!(found.renyi_entropy(value), Err(Error::Option { name: "order", .. })));
        assert!(matches!(
            vendi_score(good.view(), value),
            Err(Error::Option { name: "order", .. })
        ));
        assert!(matches!(uniformity(good.view(), value), Err(Error::Option { name: "t", .. })));
        assert!(matches!(
            KernelMatrix::gaussian(good.view(), value),
            Err(Error::Option { name: "sigma", .. })
        ));
        for options in [Lidar::builder().delta(value), Lidar::builder().epsilon(value)] {
            assert!(matches!(options.build(), Err(Error::Option { .. })));
        }
    }
    assert!(found.rankme(f64::INFINITY).is_err());
    assert!(uniformity(good.view(), 0.0).is_err());
    assert!(KernelMatrix::gaussian(good.view(), 0.0).is_err());
    let views = good.view().insert_axis(Axis(0));
    assert!(Lidar::builder().delta(0.0).build().is_err());
    assert!(matches!(
        of_lidar(views, Lidar::builder().unbiased(true)),
        Err(Error::Conflict { .. })
    ));

    // Ranges.
    let ten = spectrum(&Array2::<f64>::eye(20), Centering::Raw);
    #[allow(clippy::reversed_empty_ranges)]
    for range in [0..21, 3..5, 5..5, 7..3, 19..22, 0..usize::MAX, usize::MAX - 1..usize::MAX] {
        assert!(matches!(ten.alpha_req(range.clone()), Err(Error::Option { name: "range", .. })));
        assert!(ten.alpha_least_squares(range.clone()).is_err());
        assert!(ten.alpha_robust(range).is_err());
    }
    assert!(ten.alpha_robust(0..10).is_err() && ten.alpha_robust(0..11).is_ok());
    assert!(ten.alpha_robust(8..20).is_err());

    // Directions, pairs, kernels.
    let expected = "features[1] is a row of zeros, expected a row with a direction";
    let zero = array![[1.0, 0.0], [0.0, 0.0]];
    assert_eq!(message(vendi_score(zero.view(), 1.0)), expected);
    assert_eq!(message(uniformity(zero.view(), 2.0)), expected);
    assert_eq!(message(self_cluster(zero.view())), expected);
    assert_eq!(message(KernelMatrix::cosine(zero.view())), expected);
    assert!(uniformity(good.slice(s![..1, ..]), 2.0).is_err());
    assert!(self_cluster(good.slice(s![..1, ..])).is_err());
    assert!(self_cluster(good.slice(s![.., ..1])).is_err());
    let from = |x: Array2<f64>| message(KernelMatrix::from_matrix(x.view()));
    assert_eq!(
        from(array![[1.0, 0.5], [0.4, 1.0]]),
        "kernel[1, 0] is 0.4, expected the number across the diagonal"
    );
    assert_eq!(
        from(array![[1.0, 0.5], [f64::NAN, 1.0]]),
        "kernel[1, 0] is NaN, expected a finite number"
    );
    assert!(from(array![[0.0, 0.5], [0.5, 1.0]]).contains("kernel[0, 0]"));
    assert!(from(array![[1.0, f64::NAN], [0.5, 1.0]]).contains("kernel[1, 0]"));
    assert!(from(array![[1.0, 0.5]]).contains("as many columns as rows"));
    let small = KernelMatrix::from_matrix(array![[1.0]].view()).expect("a kernel");
    let large = KernelMatrix::from_matrix(Array2::<f64>::eye(2).view()).expect("a kernel");
    assert!(small.joint(&large).is_err() && small.mutual_information(&large, 1.0).is_err());
    let order = Array2::<f64>::eye(2);
    assert!(
        KernelMatrix::from_matrix(order.view()).expect("a kernel").renyi_entropy(-1.0).is_err()
    );

    // Beyond f64: a value, not an infinity.
    let huge = Array2::from_elem((9, 2), f64::MAX);
    let expected =
        "singular_values[0] is inf, expected features whose norm is within the range of f64";
    assert_eq!(message(Spectrum::from_features(huge.view(), Centering::Raw)), expected);
    let apart = array![[f64::MAX], [-f64::MAX]];
    assert!(Covariance::from_features(apart.view()).expect("rows").covariance().is_err());
    assert!(lidar(apart.view().insert_axis(Axis(1)), Lidar::default()).is_err());
    assert_near(diff_erank(apart.view()).expect("a rank"), 1.0, 1e-14);
    // Just within it.
    let large = array![[1e308_f64], [-1e308]];
    assert_near(
        spectrum(&large, Centering::Raw).singular_values()[0],
        2.0_f64.sqrt() * 1e308,
        1e-15,
    );
}

/// The same bits for any number of threads.
#[cfg(feature = "parallel")]
#[test]
fn threads_do_not_change_a_covariance() {
    let mut stream = Stream(11);
    let features = stream.matrix(1000, 200, 1.0);
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| {
            let covariance = Covariance::from_features(features.view()).expect("rows");
            covariance.covariance().expect("rows")
        })
    };
    let one = with(1);
    assert_eq!(with(2), one);
    assert_eq!(with(5), one);
}

/// Orthonormal columns, each of sum zero.
fn orthonormal(stream: &mut Stream, rows: usize, count: usize) -> Array2<f64> {
    let mut columns: Vec<Array1<f64>> = Vec::new();
    for _ in 0..count {
        let mut column = stream.vector(rows, 1.0);
        for _ in 0..2 {
            let mean = column.sum() / rows as f64;
            column.mapv_inplace(|x| x - mean);
            for done in &columns {
                let along = done.dot(&column);
                column.scaled_add(-along, done);
            }
        }
        let length = column.dot(&column).sqrt();
        columns.push(column.mapv(|x| x / length));
    }
    Array2::from_shape_fn((rows, count), |(i, j)| columns[j][i])
}

/// Centred features whose covariance has the eigenvalues 1, 1/2, …, 1/rank (times N/(N − 1)).
fn of_rank(stream: &mut Stream, (rows, columns): (usize, usize), rank: usize) -> Array2<f64> {
    let mut left = orthonormal(stream, rows, rank);
    for (j, mut column) in left.columns_mut().into_iter().enumerate() {
        column.mapv_inplace(|x| x * (rows as f64 / (j + 1) as f64).sqrt());
    }
    // Orthonormal whatever their sums.
    left.dot(&rotation(stream, columns).slice(s![..rank, ..]))
}

/// The rank by every way to it, of features that were rounded to a type.
#[track_caller]
fn assert_rank<T: Element>(features: &Array2<f64>, rank: usize) {
    let rounded = features.mapv(T::from_f64);
    let of = |found: Spectrum| (found.rank(), found.precision());
    let wanted = (rank, Precision::of::<T>());
    assert_eq!(of(spectrum(&rounded, Centering::Centered)), wanted, "{}", T::NAME);
    let covariance = Covariance::from_features(rounded.view()).expect("rows");
    assert_eq!(of(covariance.spectrum().expect("values")), wanted, "{}", T::NAME);
    // In f64, of which a part says what it was computed in.
    let wide = rounded.mapv(|x| x.to_f64());
    let mut factor = Factor::new(wide.ncols(), Centering::Centered).expect("a factor");
    let mut rest = Factor::new(wide.ncols(), Centering::Centered).expect("a factor");
    let half = wide.nrows() / 2;
    factor.push(wide.slice(s![..half, ..])).expect("rows");
    rest.push(rounded.slice(s![half.., ..])).expect("rows");
    factor.merge(&rest).expect("as wide");
    assert_eq!(of(factor.spectrum().expect("values")), wanted, "{}", T::NAME);
    let declared = spectrum(&wide, Centering::Centered).with_precision(Precision::of::<T>());
    assert_eq!(of(declared), wanted, "{}", T::NAME);
}

fn assert_rank_in_all_types(features: &Array2<f64>, rank: usize) {
    assert_rank::<f64>(features, rank);
    assert_rank::<f32>(features, rank);
    assert_rank::<half::f16>(features, rank);
    assert_rank::<half::bf16>(features, rank);
}

#[test]
fn rounding_adds_no_rank_and_takes_none() {
    let mut stream = Stream(12);
    for (shape, rank) in [
        ((400, 64), 30),
        ((64, 200), 20),
        ((100, 100), 40),
        ((50, 7), 3),
        ((2000, 16), 5),
        ((8, 40), 3),
        // Full: nothing may be cut.
        ((400, 64), 64),
        ((64, 200), 63),
        ((100, 100), 99),
        ((50, 7), 7),
        ((8, 40), 7),
        ((3, 2), 2),
    ] {
        let features = of_rank(&mut stream, shape, rank);
        for (scale, offset) in [(1.0, 0.0), (1.0, 2.0), (1e3, 0.0), (1e-3, 0.0)] {
            let moved = features.mapv(|x| (x + offset) * scale);
            assert_rank_in_all_types(&moved, rank);
        }
        // Where f16 has an absolute spacing.
        assert_rank::<half::f16>(&features.mapv(|x| x * 1e-4), rank);
        // f64 and f32 hold features whose offset is far larger.
        assert_rank::<f32>(&features.mapv(|x| x + 1e3), rank);
        assert_rank::<f64>(&features.mapv(|x| x + 1e8), rank);
        assert_rank::<f32>(&features.mapv(|x| x * 1e-36), rank);
    }
}

/// Features that a program computed in f32, whatever they are stored in: sums of K products.
#[test]
fn what_was_computed_in_f32_has_its_rank() {
    let mut stream = Stream(13);
    for (rows, inner, columns) in [(400, 30, 64), (300, 100, 200), (64, 8, 512)] {
        let left = stream.matrix(rows, inner, 1.0).mapv(|x| x as f32);
        let right = stream.matrix(inner, columns, 1.0).mapv(|x| x as f32);
        let product = left.dot(&right);
        assert_eq!(spectrum(&product, Centering::Raw).rank(), inner);
        let stored = product.mapv(f64::from);
        let undeclared = spectrum(&stored, Centering::Raw);
        assert_eq!(undeclared.rank(), rows.min(columns));
        assert_eq!(undeclared.with_precision(Precision::F32).rank(), inner);
        let mut covariance = Covariance::new(columns).expect("a covariance");
        covariance.declare_precision(Precision::F32);
        covariance.push(stored.view()).expect("rows");
        let mut other = Covariance::new(columns).expect("a covariance");
        covariance.merge(&other).expect("as wide");
        assert_eq!(covariance.spectrum().expect("values").precision(), Precision::F32);
        // What was declared before the first row is not forgotten.
        other.declare_precision(Precision::BF16);
        covariance.merge(&other).expect("as wide");
        assert_eq!(covariance.spectrum().expect("values").precision(), Precision::BF16);
    }
}

/// The rule is what it says: of rounded noise alone, nothing is above the floor, and not much is far
/// below.
#[test]
fn the_noise_floor_is_that_of_rounding() {
    let mut stream = Stream(14);
    for (rows, columns) in [(300, 40), (40, 300), (120, 120), (6, 4), (2, 1)] {
        for offset in [0.0, 1.0, 4.0, 1000.0] {
            let exact = stream.matrix(rows, columns, 1.0).mapv(|x| x + offset);
            fn check<T: Element>(exact: &Array2<f64>, roundings: f64) {
                let rounded = exact.mapv(T::from_f64);
                let floor = spectrum(&rounded, Centering::Raw).noise_floor();
                let errors = &rounded.mapv(|x| x.to_f64()) - exact;
                let largest = spectrum(&errors, Centering::Raw).singular_values()[0];
                assert!(largest <= floor, "{}: {largest:e} above {floor:e}", T::NAME);
                // A binade has errors of one size: numbers at its end are half as precise as ε|x| says.
                // Two more, where both sides are 1, is a third at most.
                let most = 8.0 * largest * roundings.sqrt();
                assert!(exact.len() < 100 || floor <= most, "{}: {floor:e}", T::NAME);
            }
            check::<half::bf16>(&exact, 1.0);
            check::<half::f16>(&exact, 1.0);
            check::<f32>(&exact, 64.0);
        }
    }
}

#[test]
fn kernels_know_the_precision_of_their_points() {
    let mut stream = Stream(15);
    let exact = of_rank(&mut stream, (60, 20), 6);
    fn ranks<T: Element>(exact: &Array2<f64>) -> [f64; 2] {
        let rounded = exact.mapv(T::from_f64);
        let kernel = KernelMatrix::cosine(rounded.view()).expect("a kernel");
        [
            kernel.vendi_score(0.0).expect("a score"),
            vendi_score(rounded.view(), 0.0).expect("a score"),
        ]
    }
    for found in [
        ranks::<f64>(&exact),
        ranks::<f32>(&exact),
        ranks::<half::f16>(&exact),
        ranks::<half::bf16>(&exact),
    ] {
        // The exponential of a logarithm.
        assert_near(found[0], 6.0, 1e-14);
        assert_near(found[1], 6.0, 1e-14);
    }
    // A kernel whose sums another program has taken in f32, in two orders.
    let kernel = KernelMatrix::cosine(exact.view()).expect("a kernel");
    let mut given = kernel.matrix().mapv(|x| (60.0 * x) as f32);
    given[[3, 2]] += f32::EPSILON / 4.0;
    let given = KernelMatrix::from_matrix(given.view()).expect("symmetric, as far as f32 goes");
    assert_near(given.renyi_entropy(0.0).expect("bits"), 6.0_f64.log2(), 1e-14);
    assert_eq!(
        given.joint(&given).expect("as large").renyi_entropy(0.0).expect("bits").floor(),
        4.0
    );
    // Distinct points are of full rank where the kernel is narrow, whatever their type.
    let far = KernelMatrix::gaussian(exact.mapv(half::bf16::from_f64).view(), 1e-3);
    assert_near(far.and_then(|k| k.renyi_entropy(0.0)).expect("bits"), 60.0_f64.log2(), 1e-14);
}

/// A row that differs from the mean by rounding has no direction.
#[test]
fn rows_at_the_mean_have_no_direction() {
    fn check<T: Element>() {
        let mut stream = Stream(18);
        let line = stream.vector(20, 1.0);
        // Two rows on a line through the third.
        let exact = Array2::from_shape_fn((3, 20), |(i, j)| 0.1 + (i as f64 - 1.0) * line[j]);
        let rank = diff_erank(exact.mapv(T::from_f64).view()).expect("a rank");
        assert!((rank - 1.0).abs() < 64.0 * T::EPSILON, "{}: {rank}", T::NAME);
    }
    check::<f64>();
    check::<f32>();
    check::<half::f16>();
    check::<half::bf16>();
}

/// Numbers at and beyond every end.
const EXTREME: [f64; 27] = [
    0.0,
    -0.0,
    5e-324,
    1e-310,
    f64::MIN_POSITIVE,
    1e-300,
    1e-160,
    1e-20,
    1e-7,
    0.5,
    1.0 - f64::EPSILON / 2.0,
    1.0,
    1.0 + f64::EPSILON,
    2.0,
    3.0,
    1e5,
    1e17,
    1e154,
    1e155,
    1e300,
    8.707741655852639e307,
    f64::MAX,
    f64::INFINITY,
    -5e-324,
    -1.0,
    f64::NEG_INFINITY,
    f64::NAN,
];

/// A value within bounds, or an error of one line that names an option.
#[track_caller]
fn assert_within(what: &str, found: surprisal::Result<f64>, low: f64, high: f64) {
    match found {
        Ok(value) => {
            let slack = 1e-9 * (1.0 + high.abs());
            assert!(value >= low - slack && value <= high + slack, "{what}: {value}");
        }
        Err(error) => {
            let line = error.to_string();
            assert!(matches!(error, Error::Option { .. }), "{what}: {line}");
            assert!(!line.contains('\n'), "{what}: {line}");
        }
    }
}

/// Every measure that has a parameter takes any: what it is in the limit, or an error.
#[test]
fn extreme_parameters() {
    let mut stream = Stream(16);
    let plain = stream.matrix(12, 4, 1.0);
    let repeated = concatenate(Axis(0), &[plain.view(), plain.view()]).expect("rows");
    let all = [
        plain.clone(),
        repeated,
        array![[1.0], [-2.0], [3.0], [3.0]],
        array![[0.0, 1.0], [0.0, 2.0], [0.0, 5.0], [0.0, 5.0]],
        plain.mapv(|x| x * 1e140),
        plain.mapv(|x| x * 1e-150),
        Array2::eye(4),
    ];
    for features in &all {
        let x = features.view();
        let (rows, columns) = x.dim();
        let (n, d, least) = (rows as f64, columns as f64, rows.min(columns) as f64);
        let raw = spectrum(features, Centering::Raw);
        let objects = x.into_shape_with_order((rows / 2, 2, columns)).expect("pairs");
        for p in EXTREME {
            let what = |name: &str| format!("{name} with {p:e} of {rows}×{columns}");
            assert_within(&what("uniformity"), uniformity(x, p), f64::NEG_INFINITY, 0.0);
            assert_within(&what("vendi"), vendi_score(x, p), 1.0, least);
            assert_within(&what("renyi"), raw.renyi_entropy(p), 0.0, least.log2());
            // Shares that do not sum to 1 have any rank.
            assert_within(&what("rankme"), raw.rankme(p), 0.0, f64::MAX);
            assert_within(&what("rankme_covariance"), raw.rankme_covariance(p), 0.0, f64::MAX);
            for options in [Lidar::builder(), Lidar::builder().renormalized(true).unbiased(true)] {
                let delta = options.delta(p).epsilon(0.0);
                assert_within(&what("lidar δ"), of_lidar(objects, delta), 0.0, d);
                assert_within(
                    &what("lidar ε"),
                    of_lidar(objects, options.epsilon(p)),
                    0.0,
                    f64::MAX,
                );
                let both = options.epsilon(p).delta(p);
                assert_within(&what("lidar"), of_lidar(objects, both), 0.0, f64::MAX);
            }
            let uniform = Lidar::builder().renormalized(true).epsilon(p);
            assert_within(&what("lidar ε"), of_lidar(objects, uniform), 0.0, d);
            match KernelMatrix::gaussian(x, p) {
                Ok(kernel) => {
                    for order in EXTREME {
                        let bits = kernel.renyi_entropy(order);
                        assert_within(&what("kernel"), bits, 0.0, n.log2());
                        let bits = kernel.mutual_information(&kernel, order);
                        assert_within(&what("information"), bits, -n.log2(), 2.0 * n.log2());
                    }
                }
                Err(error) => assert_within(&what("gaussian"), Err(error), 0.0, 0.0),
            }
            match Precision::new(p) {
                Ok(precision) => {
                    let known = raw.clone().with_precision(precision);
                    assert!(known.rank() <= raw.rank() && !known.noise_floor().is_nan());
                    assert_within(&what("renyi"), known.renyi_entropy(0.5), 0.0, least.log2());
                }
                Err(error) => assert_within(&what("precision"), Err(error), 0.0, 0.0),
            }
        }
    }
}

#[test]
fn limits_of_extreme_parameters() {
    let most = 8.707741655852639e307;
    // Found by a fuzzer: two rows of one column.
    for (a, b) in (-3_i32..=3).flat_map(|a| (-3_i32..=3).map(move |b| (a, b))) {
        let pair = array![[a as f32], [b as f32]];
        match uniformity(pair.view(), most) {
            Ok(value) if a.signum() == b.signum() => assert_eq!(value, 0.0, "{a} and {b}"),
            Ok(value) => assert_eq!(value, f64::NEG_INFINITY, "{a} and {b}"),
            Err(_) => assert!(a == 0 || b == 0),
        }
    }
    // Three of a direction in four: pairs of it decide.
    let rows = array![[1.0, 2.0], [2.0, 4.0], [3.0, 6.0], [2.0, -1.0]];
    assert_near(uniformity(rows.view(), most).expect("a value"), 0.5_f64.ln(), 1e-15);
    assert_near(uniformity(rows.view(), 5e-324).expect("a value"), 0.0, 1.0);

    let mut stream = Stream(17);
    let features = stream.matrix(20, 6, 1.0);
    let raw = spectrum(&features, Centering::Raw);
    let bits = |order| raw.renyi_entropy(order).expect("bits");
    assert_near(bits(5e-324), bits(0.0), 1e-14);
    assert_near(bits(f64::MAX), bits(f64::INFINITY), 1e-14);
    assert_eq!(raw.rankme(f64::MAX).expect("a rank"), 0.0);

    let objects = features.view().into_shape_with_order((10, 2, 6)).expect("pairs");
    let of =
        |options: LidarBuilder, delta| of_lidar(objects, options.delta(delta)).expect("a rank");
    let paper = Lidar::builder().epsilon(0.0);
    // Of a δ far above all scatter, that between objects is left; far below, δ is none.
    let (large, small) = (of(paper, 1e17), of(paper, 1e-17));
    for delta in [1e155, 1e300, f64::MAX] {
        assert_near(of(paper, delta), large, 1e-12);
        // ε is nothing beside the eigenvalues, or all there is.
        assert_near(of(paper.renormalized(true).epsilon(f64::MAX), delta), 6.0, 1e-12);
    }
    for delta in [5e-324, 1e-310, 1e-160] {
        assert_near(of(paper, delta), small, 1e-12);
    }
    // One view has no scatter but δ: it cancels.
    let single = features.view().insert_axis(Axis(1));
    let of = |delta| of_lidar(single, paper.delta(delta)).expect("a rank");
    for delta in [5e-324, 1e-160, 1e160, f64::MAX] {
        assert_near(of(delta), of(1.0), 1e-12);
    }
    // Directions that no view leaves: what is found in them is rounding, and δ decides.
    let mut flat = Array3::from_shape_fn((8, 3, 5), |_| stream.normal());
    flat.slice_mut(s![.., .., 3..]).fill(0.0);
    for (i, mut object) in flat.outer_iter_mut().enumerate() {
        object.column_mut(3).fill((i % 2) as f64);
    }
    let turn = rotation(&mut stream, 5);
    let turned = flat.view().into_shape_with_order((24, 5)).expect("rows").dot(&turn);
    let turned = turned.into_shape_with_order((8, 3, 5)).expect("objects");
    for delta in [1e-30, 1e-300] {
        assert_near(of_lidar(turned.view(), paper.delta(delta)).expect("a rank"), 1.0, 1e-9);
    }
}

/// A column whose squares are no normal numbers, found by fuzzing.
#[test]
fn tiny_columns_are_reflected_as_others() {
    let features = ndarray::arr2(&[
        [1.738175343586802e-307, -5.486443574326644e303],
        [5.43252141797393e-310, -2.8777739825195712e76],
        [6.887472761555728e-304, -6.45828900685712e-145],
    ]);
    // All rows are (0, −1) to within 1e-158.
    assert!((self_cluster(&features).unwrap() - 1.0).abs() < 1e-13);
}
