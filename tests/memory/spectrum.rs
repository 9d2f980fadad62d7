//! A mapped file is folded a block at a time: the heap does not grow with its rows.

use crate::counting::{alone, peak};
use ndarray::{Array2, Ix2};
use surprisal::io::{Tensor, TensorView, write_safetensors};
use surprisal::spectrum::{Centering, Covariance, Spectrum, diff_erank};

#[test]
fn a_mapped_file_is_never_copied_whole() {
    let _alone = alone();
    let (rows, columns) = (700_000, 24);
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("features.safetensors");
    let features = Array2::from_shape_fn((rows, columns), |(i, j)| {
        ((i * 31 + j * 7) as f32 * 0.61).sin() + (i % (j + 2)) as f32
    });
    write_safetensors(&path, &[("features", features.view().into())]).expect("a file");
    let tensor = Tensor::open(&format!("{}:features", path.display())).expect("a file");
    let TensorView::F32(view) = tensor.view() else { panic!("another type") };
    let view = view.into_dimensionality::<Ix2>().expect("two axes");

    // R and a block, the reflections of all its rows, and what threads need.
    let bound = 2 * 8 * (columns + (1 << 17) / columns + 1) * columns + (1 << 20);
    // Less than a twentieth of what a copy in f64 would be.
    assert!(20 * bound < 8 * rows * columns);
    for centering in [Centering::Raw, Centering::Centered] {
        let (mapped, held) = peak(|| Spectrum::from_features(view, centering));
        assert!(held <= bound, "{held} bytes, expected at most {bound}");
        let whole = Spectrum::from_features(features.view(), centering).expect("values");
        assert_eq!(mapped.expect("values"), whole);
    }
    let (rank, held) = peak(|| diff_erank(view));
    assert!(held <= bound && rank.expect("a rank") > 1.0, "{held} bytes");

    let (covariance, held) = peak(|| Covariance::from_features(view));
    assert!(held <= 1 << 20, "{held} bytes");
    let covariance = covariance.expect("rows");
    let values = covariance.spectrum().expect("values");
    let whole = Spectrum::from_features(view, Centering::Centered).expect("values");
    for (a, b) in values.singular_values().iter().zip(whole.singular_values()) {
        assert!((a - b).abs() <= 1e-9 * b, "{a} and {b}");
    }
}
