//! Watching a representation in a training loop.

use ndarray::{Array2, s};
use surprisal::diffusion::{Bandwidth, SpectralEntropy};
use surprisal::random::Generator;
use surprisal::spectrum::{Centering, Precision, RANKME_EPSILON, Spectrum};
use surprisal::watch::{Measures, Watch, WatchBuilder};
use surprisal::{Element, Error};

/// Numbers in [−1, 1) without a pattern, of decaying columns.
fn features<T: Element>(rows: usize, columns: usize, seed: u64) -> Array2<T> {
    let mut generator = Generator::new(seed);
    Array2::from_shape_fn((rows, columns), |(_, j)| {
        let uniform = 2.0 * generator.uniform() - 1.0;
        T::from_f64(uniform / (1.0 + j as f64) + 0.25)
    })
}

fn watched<T: Element>(features: &Array2<T>, batch: usize, options: WatchBuilder) -> Measures {
    let mut watch = options.build().unwrap();
    for rows in features.axis_chunks_iter(ndarray::Axis(0), batch) {
        watch.push(rows).unwrap();
    }
    watch.measures().unwrap()
}

#[test]
fn measures_are_those_of_all_rows() {
    let features = features::<f64>(300, 24, 1);
    let options = Watch::builder(24).reservoir(300);
    let measures = watched(&features, 37, options);
    let raw = Spectrum::from_features(features.view(), Centering::Raw).unwrap();
    let centered = Spectrum::from_features(features.view(), Centering::Centered).unwrap();
    let near = |a: f64, b: f64| assert!((a - b).abs() <= 1e-11 * b.abs(), "{a} {b}");
    near(measures.rankme, raw.rankme(RANKME_EPSILON).unwrap());
    near(measures.effective_rank, raw.effective_rank());
    near(measures.stable_rank, raw.stable_rank());
    near(measures.nuclear_rank, raw.nuclear_rank());
    near(measures.rankme_covariance, centered.rankme_covariance(RANKME_EPSILON).unwrap());
    near(measures.participation_ratio, centered.participation_ratio());
    near(measures.nesum, centered.nesum());
    near(measures.von_neumann_entropy, centered.von_neumann_entropy());
    near(measures.alpha_req.unwrap().alpha, centered.alpha_req(10..24).unwrap().alpha);
    // As many rows as the reservoir holds: all of them.
    let entropy = SpectralEntropy::builder().bandwidth(Bandwidth::MedianDistance).build().unwrap();
    let estimate = entropy.estimate(features.view()).unwrap();
    near(measures.diffusion_entropy.unwrap().value, estimate.value);
}

#[test]
fn the_division_into_batches_does_not_matter() {
    let features = features::<f32>(500, 12, 2);
    let options = || Watch::builder(12).reservoir(64).seed(9);
    let whole = watched(&features, 500, options());
    for batch in [1, 7, 100] {
        let parts = watched(&features, batch, options());
        assert_eq!(parts.diffusion_entropy, whole.diffusion_entropy);
        assert_eq!(parts.participation_ratio, whole.participation_ratio);
        assert!((parts.rankme - whole.rankme).abs() < 1e-12 * whole.rankme);
    }
    let other = watched(&features, 500, options().seed(10));
    assert_ne!(other.diffusion_entropy, whole.diffusion_entropy);
}

#[test]
fn the_reservoir_is_a_uniform_sample() {
    // Row i holds i: each of 200 rows should be among the 20 kept in a tenth of 2000 runs.
    let rows = Array2::from_shape_fn((200, 1), |(i, _)| i as f64);
    let mut counts = [0_u32; 200];
    for seed in 0..2000 {
        let mut watch = Watch::builder(1).reservoir(20).seed(seed).build().unwrap();
        watch.push(rows.view()).unwrap();
        assert_eq!(watch.reservoir().dim(), (20, 1));
        for &row in watch.reservoir() {
            counts[row as usize] += 1;
        }
    }
    // Binomial with mean 200 and deviation 13.4: five of them, over 200 rows.
    for (row, &count) in counts.iter().enumerate() {
        assert!((133..=267).contains(&count), "row {row} was kept {count} times");
    }
}

#[test]
fn collapse_is_measured_not_an_error() {
    let mut watch = Watch::builder(3).build().unwrap();
    watch.push(Array2::<f32>::ones((50, 3)).view()).unwrap();
    let measures = watch.measures().unwrap();
    assert!((measures.effective_rank - 1.0).abs() < 1e-12);
    assert_eq!((measures.participation_ratio, measures.alpha_req), (0.0, None));
    assert_eq!(measures.diffusion_entropy, None);
}

#[test]
fn errors_say_what_and_take_nothing() {
    let options = || Watch::builder(2);
    assert!(matches!(
        Watch::builder(0).build().map(|_| ()),
        Err(Error::Option { name: "columns", .. })
    ));
    assert!(matches!(
        options().reservoir(0).build().map(|_| ()),
        Err(Error::Option { name: "reservoir", .. })
    ));
    let mut watch = options().build().unwrap();
    assert!(matches!(watch.measures(), Err(Error::Shape { .. })));
    let good = features::<f32>(40, 2, 3);
    watch.push(good.slice(s![..20, ..])).unwrap();
    let mut bad = good.slice(s![20.., ..]).to_owned();
    bad[[3, 1]] = f32::NAN;
    assert!(matches!(watch.push(bad.view()), Err(Error::Value { .. })));
    assert!(matches!(watch.push(features::<f32>(4, 3, 1).view()), Err(Error::Shape { .. })));
    watch.push(good.slice(s![20.., ..])).unwrap();
    assert_eq!((watch.rows(), watch.reservoir().nrows()), (40, 40));
    assert_eq!(watch.measures().unwrap(), watched(&good, 20, options()));
}

/// Of rank 12 to the rounding of the type; the window of α-ReQ ends there.
#[test]
fn the_window_ends_at_the_rounding_of_the_type() {
    fn check<T: Element>(options: WatchBuilder) {
        let left = features::<f64>(300, 14, 5);
        let right = features::<f64>(14, 40, 6);
        let product = left.dot(&right).mapv(T::from_f64);
        let measures = watched(&product, 50, options);
        assert_eq!(measures.rank, 14, "{}", T::NAME);
        assert_eq!(measures.alpha_req.map(|fit| fit.range), Some(10..14), "{}", T::NAME);
    }
    let options = || Watch::builder(40);
    check::<f64>(options());
    check::<f32>(options());
    check::<f64>(options().precision(Precision::F32));
    // A window beyond it is refused, and no fit is made.
    let left = features::<f64>(300, 14, 5).mapv(|x| x as f32);
    let measures = watched(&left, 50, Watch::builder(14).alpha_range(3..15));
    assert_eq!(measures.alpha_req, None);
}

/// Numbers of any size in the options are taken, or refused in a line.
#[test]
fn extreme_parameters() {
    let features = features::<f64>(20, 3, 7);
    for reservoir in [0, 1, usize::MAX] {
        for seed in [0, u64::MAX] {
            #[allow(clippy::reversed_empty_ranges)]
            for range in [0..0, 0..usize::MAX, usize::MAX..0, usize::MAX - 3..usize::MAX] {
                let options = Watch::builder(3).reservoir(reservoir).seed(seed);
                let watch = options.alpha_range(range).build();
                let Ok(mut watch) = watch else {
                    assert_eq!(reservoir, 0);
                    continue;
                };
                watch.push(features.view()).unwrap();
                assert_eq!(watch.measures().unwrap().alpha_req, None);
            }
        }
    }
}
