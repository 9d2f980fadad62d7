//! Losses of batches of embeddings: against all their scores in f64, by differences, and at their limits.

mod both_ways;
mod info_nce;
mod mann_whitney;
mod others;
mod sixteen_bits;
mod supervised;

use ndarray::{Array2, ArrayView2};
use surprisal::random::Generator;

/// Rows of standard normal numbers.
fn normal(seed: u64, rows: usize, width: usize) -> Array2<f64> {
    let numbers = Generator::new(seed).normal::<f64>(&[rows, width], 1.0).unwrap();
    numbers.into_owned().into_dimensionality().unwrap()
}

fn unit(rows: ArrayView2<'_, f64>) -> Array2<f64> {
    let mut unit = rows.to_owned();
    for mut row in unit.rows_mut() {
        let length = row.dot(&row).sqrt();
        row /= length;
    }
    unit
}

fn log_sum_exp(numbers: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = numbers.clone().fold(f64::NEG_INFINITY, f64::max);
    largest + numbers.map(|x| (x - largest).exp()).sum::<f64>().ln()
}

/// Whether two numbers are alike to so many roundings of `size`.
#[track_caller]
fn near(found: f64, wanted: f64, size: f64, what: &str) {
    assert!(
        (found - wanted).abs() <= size,
        "{what}: {found:e}, wanted {wanted:e}, within {size:e}"
    );
}

/// The same of all entries.
#[track_caller]
fn all_near(found: &Array2<f64>, wanted: &Array2<f64>, size: f64, what: &str) {
    assert_eq!(found.dim(), wanted.dim());
    for ((at, found), wanted) in found.indexed_iter().zip(wanted) {
        near(*found, *wanted, size, &format!("{what} at {at:?}"));
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: surprisal::Result<T>, parts: &[&str]) {
    let message = result.unwrap_err().to_string();
    for part in parts {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}
