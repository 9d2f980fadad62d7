//! Hidden states, classifiers and targets to measure with.
//!
//! *Dense*: normal numbers, logits with a standard deviation of 1.5, no entry of the softmax
//! negligible. What a trained model's look like is in `trained.rs`.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use ndarray::Array2;
use surprisal::Element;
use surprisal::random::Generator;

use crate::parallel::for_each_row;

/// The standard deviation of dense logits.
const DENSE_DEVIATION: f32 = 1.5;

/// The streams of random numbers of one seed.
pub const CLASSIFIER: u64 = 0;
pub const HIDDEN: u64 = 1;
pub const TARGET: u64 = 4;

/// A type that the arrays may hold.
pub trait Number: Element {
    /// The nearest numbers of this type.
    fn narrow(from: &[f32], to: &mut [Self]);
}

impl Number for f64 {
    fn narrow(from: &[f32], to: &mut [f64]) {
        to.iter_mut().zip(from).for_each(|(to, &from)| *to = from.into());
    }
}

impl Number for f32 {
    fn narrow(from: &[f32], to: &mut [f32]) {
        to.copy_from_slice(from);
    }
}

impl Number for bf16 {
    fn narrow(from: &[f32], to: &mut [bf16]) {
        to.convert_from_f32_slice(from);
    }
}

impl Number for f16 {
    fn narrow(from: &[f32], to: &mut [f16]) {
        to.convert_from_f32_slice(from);
    }
}

/// N, D and V.
#[derive(Clone, Copy)]
pub struct Sizes {
    pub tokens: usize,
    pub hidden: usize,
    pub vocabulary: usize,
}

impl Sizes {
    /// How many numbers hidden states and classifier hold.
    pub fn numbers(self) -> u128 {
        (self.tokens as u128 + self.vocabulary as u128) * self.hidden as u128
    }
}

/// What a loss is computed of.
pub struct Data<T> {
    pub hidden: Array2<T>,
    pub classifier: Array2<T>,
    pub targets: Vec<u32>,
}

impl<T: Number> Data<T> {
    /// Normal numbers.
    pub fn dense(sizes: Sizes, seed: u64) -> Self {
        let Sizes { tokens, hidden: width, vocabulary } = sizes;
        let deviation = 1.0 / (width as f32).sqrt();
        let classifier = rows(vocabulary, width, |class, row| {
            let mut random = Generator::of(seed, CLASSIFIER, class);
            row.fill_with(|| deviation * random.nearly_normal());
        });
        let hidden = rows(tokens, width, |i, row| {
            let mut random = Generator::of(seed, HIDDEN, i);
            row.fill_with(|| DENSE_DEVIATION * random.nearly_normal());
        });
        let mut random = Generator::of(seed, TARGET, 0);
        let targets = (0..tokens).map(|_| random.below(vocabulary) as u32).collect();
        Self { hidden, classifier, targets }
    }
}

/// An array whose rows are made one by one.
pub fn rows<T: Number>(
    count: usize,
    width: usize,
    make: impl Fn(usize, &mut [f32]) + Sync,
) -> Array2<T> {
    let mut numbers = vec![T::default(); count * width];
    for_each_row(&mut numbers, width, |i, row| {
        let mut wide = vec![0.0; width];
        make(i, &mut wide);
        T::narrow(&wide, row);
    });
    Array2::from_shape_vec((count, width), numbers).expect("a number for each place")
}
