//! Any features, whole, in batches and merged: numbers within their bounds or an error of one line.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use ndarray::{Array2, ArrayView2, Axis, s};
use surprisal::Element;
use surprisal::spectrum::{
    Centering, Covariance, Factor, KernelMatrix, Lidar, LidarBuilder, Precision, Spectrum,
    cosine_von_neumann_entropy, diff_erank, lidar, self_cluster, uniformity, vendi_score,
};

#[allow(dead_code)]
mod extreme;
use extreme::Parameter;

#[derive(Arbitrary, Debug)]
struct Input {
    numbers: Vec<f64>,
    columns: u8,
    /// Of small integers, which have coincident rows and missing ranks.
    plain: bool,
    element: u8,
    transposed: bool,
    stride: u8,
    centered: bool,
    batch: u8,
    merges: Vec<(u8, u8)>,
    epsilon: Parameter,
    order: Parameter,
    sigma: Parameter,
    precision: Parameter,
    range: (u8, u8),
    views: u8,
}

/// The value; an error has one line.
fn value<T>(result: surprisal::Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            let message = error.to_string();
            assert!(!message.is_empty() && !message.contains('\n'), "{message}");
            None
        }
    }
}

/// Within these bounds, up to rounding.
fn within(name: &str, value: f64, low: f64, high: f64) {
    let slack = 1e-6 * (1.0 + high.abs());
    assert!(
        value >= low - slack && value <= high + slack,
        "{name}: {value}, not in {low}..={high}"
    );
}

fn run<T: Element>(features: ArrayView2<'_, T>, input: &Input) {
    let (rows, columns) = features.dim();
    let centering = if input.centered { Centering::Centered } else { Centering::Raw };
    let whole = value(Spectrum::from_features(features, centering));
    let finite = features.iter().all(|x| x.to_f64().is_finite());
    assert!(whole.is_none() || (finite && rows > 0 && columns > 0));
    measures(features, input);
    if rows == 0 || columns == 0 {
        return;
    }
    let size = 1 + usize::from(input.batch);
    let mut factors = Vec::new();
    let mut covariances = Vec::new();
    for batch in features.axis_chunks_iter(Axis(0), size) {
        let mut factor = Factor::new(columns, centering).expect("columns");
        let mut covariance = Covariance::new(columns).expect("columns");
        let taken = value(factor.push(batch)).is_some();
        assert_eq!(taken, value(covariance.push(batch)).is_some());
        assert_eq!(taken, factor.rows() == batch.nrows());
        factors.push(factor);
        covariances.push(covariance);
    }
    for &(from, to) in &input.merges {
        if factors.len() > 1 {
            let factor = factors.swap_remove(usize::from(from) % factors.len());
            let covariance = covariances.swap_remove(usize::from(from) % covariances.len());
            let at = usize::from(to) % factors.len();
            factors[at].merge(&factor).expect("of a kind");
            covariances[at].merge(&covariance).expect("as wide");
        }
    }
    let mut factor = factors.swap_remove(0);
    factors.iter().for_each(|other| factor.merge(other).expect("of a kind"));
    let mut covariance = covariances.swap_remove(0);
    covariances.iter().for_each(|other| covariance.merge(other).expect("as wide"));
    assert_eq!(factor.rows(), covariance.rows());
    if let Some(matrix) = value(covariance.covariance()) {
        assert!(matrix.iter().all(|x| x.is_finite()) && matrix == matrix.t());
        assert!(matrix.diag().iter().all(|x| *x >= 0.0));
    }
    value(covariance.mean());
    if let Some(spectrum) = value(covariance.spectrum()) {
        of_spectrum(&spectrum, input);
    }
    let merged = value(factor.spectrum());
    if let (Some(whole), Some(merged)) = (whole, merged) {
        of_spectrum(&whole, input);
        of_spectrum(&merged, input);
        // Rounding against the largest number, an offset too.
        let largest = features.iter().fold(0.0_f64, |m, x| m.max(x.to_f64().abs()));
        let scale = 1e-12 * ((rows * columns) as f64).sqrt();
        let values = whole.singular_values().iter().zip(merged.singular_values());
        for (a, b) in values {
            assert!((a - b).abs() / scale <= largest, "{a:e} and {b:e} of {largest:e}");
        }
    }
}

fn of_spectrum(spectrum: &Spectrum, input: &Input) {
    let values = spectrum.singular_values();
    assert_eq!(values.len(), spectrum.rows().min(spectrum.columns()));
    assert!(
        values.is_sorted_by(|a, b| a >= b) && values.iter().all(|x| x.is_finite() && *x >= 0.0)
    );
    let count = values.len() as f64;
    assert!(spectrum.rank() <= values.len() && !spectrum.noise_floor().is_nan());
    if let Some(precision) = value(Precision::new(input.precision.value())) {
        let known = spectrum.clone().with_precision(precision);
        assert!(known.rank() <= spectrum.rank());
        assert!(known.usual_alpha_range().is_none_or(|range| range.end <= known.rank()));
    }
    within("effective rank", spectrum.effective_rank(), 0.0, count);
    within("participation ratio", spectrum.participation_ratio(), 0.0, count);
    within("stable rank", spectrum.stable_rank(), 0.0, count);
    within("nuclear rank", spectrum.nuclear_rank(), 0.0, count);
    within("NESum", spectrum.nesum(), 0.0, count);
    within("von Neumann entropy", spectrum.von_neumann_entropy(), 0.0, count.ln());
    for rank in
        [spectrum.rankme(input.epsilon.value()), spectrum.rankme_covariance(input.epsilon.value())]
    {
        if let Some(rank) = value(rank) {
            assert!(!rank.is_nan() && rank >= 0.0);
        }
    }
    if let Some(bits) = value(spectrum.renyi_entropy(input.order.value())) {
        within("Rényi entropy", bits, 0.0, count.log2());
    }
    let range = usize::from(input.range.0)..usize::from(input.range.1);
    for fit in [spectrum.alpha_req(range.clone()), spectrum.alpha_least_squares(range.clone())] {
        if let Some(fit) = value(fit) {
            assert!(fit.alpha.is_finite() && fit.alpha >= -1e-9 && fit.r_squared <= 1.0);
            assert!(fit.intercept.is_finite());
        }
    }
    if let Some(alpha) = value(spectrum.alpha_robust(range)) {
        assert!(alpha.is_finite() && alpha >= -1e-9);
    }
}

fn measures<T: Element>(features: ArrayView2<'_, T>, input: &Input) {
    let (rows, columns) = features.dim();
    let (n, least) = (rows as f64, rows.min(columns) as f64);
    if let Some(rank) = value(diff_erank(features)) {
        within("Diff-eRank", rank, 0.0, least);
    }
    if let Some(score) = value(vendi_score(features, input.order.value())) {
        within("Vendi", score, 1.0, least);
    }
    if let Some(nats) = value(cosine_von_neumann_entropy(features)) {
        within("cosine entropy", nats, 0.0, least.ln());
    }
    if let Some(value) = value(uniformity(features, input.sigma.value())) {
        assert!(!value.is_nan() && value <= 1e-9);
    }
    if let Some(value) = value(self_cluster(features)) {
        within("SelfCluster", value, -2.0, 1.0);
    }
    if let Some(kernel) = value(KernelMatrix::gaussian(features, input.sigma.value())) {
        let entropy = value(kernel.renyi_entropy(input.order.value()));
        if let Some(bits) = entropy {
            within("kernel entropy", bits, 0.0, n.log2());
        }
        if let Some(bits) = value(kernel.mutual_information(&kernel, input.order.value())) {
            assert!(bits.is_finite());
        }
    }
    value(
        KernelMatrix::from_matrix(features)
            .and_then(|kernel| kernel.vendi_score(input.order.value())),
    );
    let views = 1 + usize::from(input.views % 5);
    let whole = rows / views * views;
    let objects = features.slice(s![..whole, ..]).as_standard_layout().into_owned();
    let shape = (rows / views, views, columns);
    let objects = objects.into_shape_with_order(shape).expect("whole objects");
    let options = Lidar::builder().delta(input.sigma.value()).unbiased(input.centered);
    let of_lidar = |options: LidarBuilder| lidar(objects.view(), options.build()?);
    if let Some(rank) = value(of_lidar(options.epsilon(0.0))) {
        within("LiDAR", rank, 0.0, columns as f64);
    }
    let options = options.epsilon(input.epsilon.value());
    if let Some(rank) = value(of_lidar(options)) {
        assert!(!rank.is_nan() && rank >= 0.0);
    }
    if let Some(rank) = value(of_lidar(options.renormalized(true))) {
        within("LiDAR", rank, 0.0, columns as f64);
    }
}

fuzz_target!(|input: Input| {
    let columns = usize::from(input.columns % 40);
    let count = input.numbers.len().min(1 << 11);
    let rows = if columns == 0 { count % 3 } else { count / columns };
    let numbers = input
        .numbers
        .iter()
        .map(|&x| if input.plain { f64::from((x.to_bits() >> 3) as i8 % 4) } else { x });
    let numbers: Vec<f64> = numbers.take(rows * columns).collect();
    let shape = if input.transposed { (columns, rows) } else { (rows, columns) };
    let mut features = Array2::from_shape_vec(shape, numbers).expect("so many numbers");
    if input.transposed {
        features = features.reversed_axes();
    }
    let step = 1 + isize::from(input.stride % 3 == 1);
    let step = if input.stride % 2 == 1 { -step } else { step };
    match input.element % 8 {
        0 => run(features.mapv(half::f16::from_f64).slice(s![..;step, ..]), &input),
        1 => run(features.mapv(half::bf16::from_f64).slice(s![..;step, ..]), &input),
        2..5 => run(features.mapv(|x| x as f32).slice(s![..;step, ..]), &input),
        _ => run(features.slice(s![..;step, ..]), &input),
    }
});
