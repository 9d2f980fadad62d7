//! Losses of a batch against itself hold no more of its scores than they say.

use crate::counting::{alone, peak};
use half::bf16;
use ndarray::Array2;
use surprisal::contrastive::{InfoNce, MannWhitney};
use surprisal::random::Generator;
use surprisal::{Element, Gradients};

fn normal<T: Element>(seed: u64, rows: usize, width: usize) -> Array2<T> {
    let mut random = Generator::new(seed);
    Array2::from_shape_simple_fn((rows, width), || T::from_f64(random.standard_normal()))
}

fn of_both_directions<T: Element>(rows: usize, width: usize, budget: usize) {
    let (queries, keys) = (normal::<T>(1, rows, width), normal::<T>(2, rows, width));
    let clip = InfoNce::new(1.0).expect("a temperature").symmetric(true).memory_budget(budget);
    let mut by = [queries.clone(), keys.clone()];
    let [by_queries, by_keys] = by.each_mut().map(|by| T::matrix_view_mut(by.view_mut()));
    let gradients = Gradients::new().hidden(by_queries).classifier(by_keys);
    let of = (T::matrix(queries.view()), T::matrix(keys.view()));
    let (contrast, held) = peak(|| clip.loss_and_gradients(of.0, of.1, gradients));
    contrast.expect("a budget that suffices");
    // The targets and a row that is checked are not part of the plan.
    let most = budget + 4 * rows + 8 * width;
    assert!(held <= most, "{} {rows}x{width}: {held} bytes of {most}", T::NAME);
    let of = (T::matrix(queries.view()), T::matrix(keys.view()));
    let (loss, held) = peak(|| clip.loss(of.0, of.1));
    assert!(loss.expect("a budget that suffices") > 0.0 && held <= most, "{held} bytes of {most}");
}

#[test]
fn both_directions_stay_within_their_budget() {
    let _alone = alone();
    // All scores of 3000 are 36 MB.
    for budget in [8 << 20, 24 << 20, 96 << 20] {
        of_both_directions::<f32>(3000, 24, budget);
        of_both_directions::<bf16>(3000, 24, budget);
    }
    for budget in [2 << 20, 64 << 20] {
        of_both_directions::<f64>(700, 70, budget);
    }
}

#[test]
fn positives_against_all_negatives_take_memory_of_the_embeddings() {
    let _alone = alone();
    let (rows, width) = (8192, 32);
    let (queries, keys) = (normal::<f32>(3, rows, width), normal::<f32>(4, rows, width));
    let mut by = (Array2::<f32>::zeros((rows, width)), Array2::<f32>::zeros((rows, width)));
    let gradients = Gradients::new().hidden(&mut by.0).classifier(&mut by.1);
    let loss = MannWhitney::new(1.0).expect("a temperature");
    let (contrast, held) = peak(|| loss.loss_and_gradients(&queries, &keys, gradients));
    assert!(contrast.expect("positives that are near").loss > 0.0);
    // Copies of both and their gradients, and what is packed of one; a block of scores; what each thread sorts,
    // in vectors that grow by doubling; some numbers for each row, and the pieces.
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get());
    let most = 4 * rows * (6 * width + 256) + threads * (4 << 20) + 64 * rows + (1 << 20);
    assert!(held <= most, "{held} bytes of {most}");
    // Of all scores in f32.
    assert!(most < 4 * rows * rows / 8 + threads * (4 << 20), "{most} bytes");
}
