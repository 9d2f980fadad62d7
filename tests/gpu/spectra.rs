//! Entropies and covariances with products on a GPU.

use ndarray::{Array2, s};
use surprisal::Error;
use surprisal::diffusion::{EntropyEstimate, Method, Operator, SpectralEntropy};
use surprisal::gpu::{Context, wgpu};
use surprisal::spectrum::Covariance;
use testing::Stream;

use super::adapter::builder;

fn context() -> Context {
    builder().build().unwrap_or_else(|error| panic!("{error}"))
}

fn features(rows: usize, columns: usize, seed: u64) -> Array2<f64> {
    let mut stream = Stream(seed);
    Array2::from_shape_simple_fn((rows, columns), || 2.0 * stream.uniform() - 1.0)
}

/// Entries within the worst that 256 + 32 sums in f32, of products of two rounded numbers, can do.
fn assert_near(found: &Covariance, expected: &Covariance) {
    let (found, expected) = (found.covariance().unwrap(), expected.covariance().unwrap());
    let bound = f64::from(256 + 32 + 4) * 2.0_f64.powi(-24);
    for ((i, j), x) in expected.indexed_iter() {
        let deviations = (expected[[i, i]] * expected[[j, j]]).sqrt();
        let error = (found[[i, j]] - x).abs();
        assert!(error <= bound * deviations, "{i} {j}: {} {x}", found[[i, j]]);
    }
}

#[test]
fn covariances_are_those_of_the_processor() {
    let context = context();
    for (rows, columns) in [(2, 1), (3, 5), (255, 64), (257, 65), (700, 63), (1000, 130)] {
        let features = features(rows, columns, 3) + 1e3;
        let found = context.covariance(features.view()).unwrap();
        assert_eq!((found.rows(), found.columns()), (rows, columns));
        let expected = Covariance::from_features(features.view()).unwrap();
        assert_near(&found, &expected);
        let off = &found.mean().unwrap() - &expected.mean().unwrap();
        assert!(off.iter().all(|x| x.abs() <= 1e-9), "{off}");
    }
}

#[test]
fn covariances_merge_with_those_of_the_processor() {
    let all = features(900, 40, 5);
    let mut found = context().covariance(all.slice(s![..500, ..])).unwrap();
    found.merge(&Covariance::from_features(all.slice(s![500.., ..])).unwrap()).unwrap();
    let expected = Covariance::from_features(all.view()).unwrap();
    assert_near(&found, &expected);
}

/// What f32 has left of a direction that is not there is no rank.
#[test]
fn a_missing_rank_is_missing() {
    let mut low = features(600, 20, 7);
    for mut row in low.rows_mut() {
        row[19] = row[0] - row[1];
    }
    let spectrum = context().covariance(low.view()).unwrap().spectrum().unwrap();
    assert_eq!(spectrum.singular_values()[19], 0.0);
    assert!(spectrum.singular_values()[18] > 0.0);
}

#[test]
fn magnitudes_beyond_f32_do_no_harm() {
    let context = context();
    for scale in [1e-200, 1e200] {
        let some = features(300, 8, 9);
        let found = context.covariance((&some * scale).view()).unwrap();
        let covariance = found.covariance();
        if scale < 1.0 {
            // Its squares are below f64.
            assert!(covariance.unwrap().iter().all(|x| *x == 0.0));
        } else {
            assert!(covariance.is_err());
        }
        let values = found.spectrum().unwrap();
        let expected = Covariance::from_features(some.view()).unwrap().spectrum().unwrap();
        for (x, y) in values.singular_values().iter().zip(expected.singular_values()) {
            assert!((x / scale / y - 1.0).abs() < 1e-4, "{x} {y}");
        }
    }
}

fn lanczos() -> SpectralEntropy {
    SpectralEntropy::builder().sigma(1.0).method(Method::Lanczos).build().unwrap()
}

#[test]
fn entropies_are_those_of_the_processor() {
    let context = context();
    // More points than one dispatch takes, and a width that is no multiple of 4.
    for (rows, columns) in [(70, 1), (1030, 5), (1100, 18)] {
        let features = features(rows, columns, 11);
        let found = context.spectral_entropy(&lanczos(), features.view()).unwrap();
        // The same probes: only the products differ.
        let expected = lanczos().estimate(features.view()).unwrap();
        let error = expected.standard_error.unwrap();
        assert!(
            (found.value - expected.value).abs() <= 1e-3 + 0.2 * error,
            "{found:?} {expected:?}"
        );
        let exact = SpectralEntropy::builder().sigma(1.0).method(Method::Exact).build().unwrap();
        let exact = exact.estimate(features.view()).unwrap().value;
        let allowed = 5.0 * found.standard_error.unwrap() + 1e-3;
        assert!((found.value - exact).abs() <= allowed, "{found:?} {exact}");
        assert_eq!((found.method, found.rows, found.sigma), (Method::Lanczos, rows, Some(1.0)));
        // Not one bit differs the second time, nor on a device without immediates.
        let again = context.spectral_entropy(&lanczos(), features.view()).unwrap();
        assert_eq!(again, found);
        assert_eq!(without_immediates(&features), found);
    }
}

fn without_immediates(features: &Array2<f64>) -> EntropyEstimate {
    let limits = wgpu::Limits { max_immediate_size: 0, ..wgpu::Limits::default() };
    let context = builder().limits(limits).build().unwrap();
    context.spectral_entropy(&lanczos(), features.view()).unwrap()
}

#[test]
fn what_a_gpu_cannot_do_is_an_error() {
    let context = context();
    let some = features(64, 3, 13);
    let narrow = SpectralEntropy::builder().sigma(1e-4).build().unwrap();
    let error = context.spectral_entropy(&narrow, some.view()).unwrap_err();
    assert!(error.to_string().contains("largest coordinate"), "{error}");
    let other = SpectralEntropy::builder().sigma(1.0).operator(Operator::MatrixEntries);
    let error = context.spectral_entropy(&other.build().unwrap(), some.view()).unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error}");
    let mut bad = some.clone();
    bad[[5, 1]] = f64::NAN;
    assert!(matches!(context.spectral_entropy(&lanczos(), bad.view()), Err(Error::Value { .. })));
    assert!(matches!(context.covariance(bad.view()), Err(Error::Value { .. })));
    assert!(matches!(context.covariance(some.slice(s![..0, ..])), Err(Error::Shape { .. })));
    assert!(matches!(context.covariance(some.slice(s![.., ..0])), Err(Error::Shape { .. })));

    let limits = wgpu::Limits { max_storage_buffer_binding_size: 4096, ..wgpu::Limits::default() };
    let tiny = builder().limits(limits).build().unwrap();
    for error in [
        tiny.spectral_entropy(&lanczos(), some.view()).unwrap_err(),
        tiny.covariance(features(8, 40, 1).view()).unwrap_err(),
    ] {
        assert!(matches!(error, Error::Gpu(_)), "{error}");
        assert!(error.to_string().contains("expected at most the 4096"), "{error}");
    }
}
