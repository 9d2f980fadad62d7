//! Entropies of attention take memory for blocks of scores, not for all of them.

use crate::counting::{alone, peak};
use ndarray::{Array2, Array3};
use surprisal::information::AttentionEntropy;
use testing::Stream;

#[test]
fn long_attention_takes_no_memory_for_its_scores() {
    let _alone = alone();
    let mut stream = Stream(1);
    let (count, keys, width) = (192, 65536, 4);
    let queries: Array3<f32> =
        stream.matrix(count, width, 1.0).mapv(|x| x as f32).insert_axis(ndarray::Axis(0));
    let keys: Array3<f32> =
        stream.matrix(keys, width, 1.0).mapv(|x| x as f32).insert_axis(ndarray::Axis(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    // Of a thread: its scores, and the panels of a product. Of a query: its state and its entropy.
    let blocks = threads * (1 << 20) + (1 << 20);
    let full = AttentionEntropy::full();
    let (of, bytes) = peak(|| full.of(&queries, &keys).unwrap());
    assert!(of.head_means()[0] > 10.0);
    assert!(bytes <= blocks + count * 512, "{bytes} bytes");
    let upstream = Array2::<f64>::ones((1, count));
    let (_, bytes) = peak(|| full.gradients(&queries, &keys, &upstream).unwrap());
    // And the gradients.
    assert!(bytes <= blocks + count * 512 + keys.len() * 4 + queries.len() * 4, "{bytes} bytes");
    // Causal, of as many queries as keys.
    let (few, many) = (2048, 8192);
    let held = |count| {
        let some = keys.slice(ndarray::s![.., ..count, ..]);
        peak(|| AttentionEntropy::causal().of(some, some).unwrap()).1
    };
    let (few, many) = ((few, held(few)), (many, held(many)));
    assert!(many.1 <= few.1 + (many.0 - few.0) * 512 + (1 << 16), "{few:?} {many:?}");
}
