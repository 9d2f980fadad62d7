//! Activations in a few bits.

use ndarray::{Array2, arr2};
use surprisal::random::Generator;
use surprisal::rates::CrossQuant;

use super::refused;

const EPSILON: f64 = f64::EPSILON;

/// Rows and columns of very different sizes, some of them 0.
fn activations(generator: &mut Generator) -> Array2<f64> {
    let (rows, columns) = (1 + generator.below(9), 1 + generator.below(9));
    let mut factor = || match generator.below(6) {
        0 => 0.0,
        _ => (3.0 * generator.standard_normal()).exp(),
    };
    let of_rows: Vec<f64> = (0..rows).map(|_| factor()).collect();
    let of_columns: Vec<f64> = (0..columns).map(|_| factor()).collect();
    Array2::from_shape_fn((rows, columns), |(i, j)| {
        of_rows[i] * of_columns[j] * generator.standard_normal()
    })
}

#[test]
fn nothing_is_clipped_and_the_kernel_is_what_is_below_half_a_step() {
    let mut generator = Generator::new(1);
    for round in 0..400 {
        let x = activations(&mut generator);
        let alpha = [0.0, 0.15, 0.5, 1.0][round % 4];
        let bits = 2 + generator.below(15) as u32;
        let found = CrossQuant::new(alpha, bits).unwrap().quantize(&x).unwrap();
        let levels = (1 << (bits - 1)) - 1;
        let (mut kernel, mut squares) = (0, 0.0);
        let back = found.dequantized();
        for ((at, &x), &q) in x.indexed_iter().zip(&found.integers) {
            let step = found.steps[at];
            // The quotient without a clamp, which would be beyond the levels were it clipped.
            let quotient = if step == 0.0 { 0.0 } else { x / step };
            assert!(quotient.abs() <= f64::from(levels) + 0.25, "{quotient} {levels}");
            assert_eq!(f64::from(q), quotient.round_ties_even());
            assert_eq!(q == 0, x.abs() <= 0.5 * step, "{x} {step}");
            // Half a step, and the roundings of the product.
            let bound = 0.5 * step + 4.0 * EPSILON * x.abs();
            assert!((back[at] - x).abs() <= bound, "{} {x} {step}", back[at]);
            kernel += usize::from(q == 0);
            squares += (back[at] - x).powi(2);
        }
        let count = x.len() as f64;
        assert_eq!(found.kernel_fraction(), kernel as f64 / count);
        let bound = 2.0 * count * EPSILON * squares / count;
        assert!((found.mean_squared_error - squares / count).abs() <= bound);
        // The largest of a column is at the end of the levels where the column alone counts.
        if alpha == 0.0 {
            for (column, q) in x.columns().into_iter().zip(found.integers.columns()) {
                if column.iter().any(|&x| x != 0.0) {
                    assert_eq!(q.iter().map(|q| q.abs()).max(), Some(levels));
                }
            }
        }
    }
}

#[test]
fn a_power_of_two_on_all_activations_is_one_on_the_steps() {
    let mut generator = Generator::new(2);
    for _ in 0..50 {
        let x = activations(&mut generator);
        let quant = CrossQuant::new(0.15, 8).unwrap();
        let (a, b) =
            (quant.quantize(&x).unwrap(), quant.quantize(&x.mapv(|x| 1024.0 * x)).unwrap());
        for ((at, &p), &q) in a.integers.indexed_iter().zip(&b.integers) {
            // Powers of the maxima are rounded anew: a quotient near a half may fall on its other side.
            let half = if a.steps[at] == 0.0 { 0.0 } else { x[at] / a.steps[at] };
            let near = (half.abs().fract() - 0.5).abs() < 1e-12;
            assert!(p == q || near, "{p} {q}");
            let bound = 16.0 * EPSILON * b.steps[at];
            assert!((1024.0 * a.steps[at] - b.steps[at]).abs() <= bound);
        }
    }
}

#[test]
fn channels_that_stand_out_make_the_kernel_of_tokens_large_and_not_this_one() {
    let mut generator = Generator::new(3);
    let x = Array2::from_shape_fn((64, 64), |(_, j)| {
        generator.standard_normal() * if j == 5 { 200.0 } else { 1.0 }
    });
    let of = |alpha: f64| CrossQuant::new(alpha, 8).unwrap().quantize(&x).unwrap();
    let (crossed, tokens) = (of(0.15), of(1.0));
    // P(|z| < 200 |z′|/254) = 2/π·atan(0.79) = 0.42 for tokens, of 4096 numbers; the crossed step is some 30 times smaller.
    assert!((tokens.kernel_fraction() - 0.42).abs() < 0.08, "{}", tokens.kernel_fraction());
    assert!(crossed.kernel_fraction() < 0.04, "{}", crossed.kernel_fraction());
    assert!(crossed.mean_squared_error < 0.1 * tokens.mean_squared_error);
    // Of single and half precision it is that of the numbers they hold.
    let single = x.mapv(|x| x as f32);
    let wide = single.mapv(f64::from);
    let quant = CrossQuant::new(0.15, 4).unwrap();
    assert_eq!(quant.quantize(&single).unwrap(), quant.quantize(&wide).unwrap());
}

#[test]
fn at_the_ends_of_the_range_integers_stay_within_the_levels() {
    for size in [5e-324, 1e-310, 1e-300, 1e300, f64::MAX] {
        let x = arr2(&[[size, -size / 3.0], [0.0, size / 127.0]]);
        for alpha in [0.0, 0.15, 0.5, 1.0] {
            let found = CrossQuant::new(alpha, 8).unwrap().quantize(&x).unwrap();
            assert!(found.integers.iter().all(|q| q.abs() <= 127));
            assert!(found.steps.iter().all(|step| step.is_finite()));
        }
    }
}

#[test]
fn what_cannot_be_quantised_is_refused() {
    for alpha in [-0.1, 1.1, f64::NAN] {
        refused(CrossQuant::new(alpha, 8), &["alpha is", "from 0 to 1"]);
    }
    for bits in [0, 1, 17, u32::MAX] {
        refused(CrossQuant::new(0.15, bits), &["bits is", "from 2 to 16"]);
    }
    let quant = CrossQuant::new(0.15, 8).unwrap();
    refused(quant.quantize(&arr2(&[[1.0, f64::NAN]])), &["activations[0, 1] is NaN"]);
    refused(quant.quantize(&arr2(&[[1.0], [f64::INFINITY]])), &["activations[1, 0] is inf"]);
    refused(quant.quantize(&Array2::<f64>::zeros((0, 2))), &["activations has shape [0, 2]"]);
}
