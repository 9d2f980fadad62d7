//! The entropy of long causal attention, and its gradients, without its scores.
//!
//! ```sh
//! cargo run --release --example attention_entropy -- 65536 64
//! ```

use std::time::Instant;

use ndarray::{Array2, Array3};
use surprisal::information::AttentionEntropy;
use surprisal::random::Generator;

fn main() -> surprisal::Result<()> {
    let sizes: Vec<usize> = std::env::args().skip(1).filter_map(|size| size.parse().ok()).collect();
    let [count, width] = sizes[..] else {
        eprintln!("expected two sizes: queries, columns of the head");
        std::process::exit(2)
    };
    let mut random = Generator::new(1);
    let mut normal = || Array3::from_shape_simple_fn((1, count, width), || random.nearly_normal());
    let (queries, keys) = (normal(), normal());
    let begin = Instant::now();
    let of = AttentionEntropy::causal().of(&queries, &keys)?;
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "{count} queries and keys of {width} columns: {:.3} nats on average",
        of.head_means()[0]
    );
    println!("{:.1} % of what they can have", 100.0 * of.relative().mean().unwrap_or(f64::NAN));
    let scores = count as f64 * (count as f64 + 1.0) / 2.0;
    let rate = |products: f64, seconds: f64| products * 2.0 * scores * width as f64 / seconds / 1e9;
    println!("{seconds:.2} s, {:.1} GFLOP/s of products", rate(1.0, seconds));
    let upstream = Array2::<f64>::ones((1, count));
    let begin = Instant::now();
    let found = AttentionEntropy::causal().gradients(&queries, &keys, &upstream)?;
    let seconds = begin.elapsed().as_secs_f64();
    assert_eq!(found.of, of);
    println!("{seconds:.2} s with gradients, {:.1} GFLOP/s", rate(4.0, seconds));
    println!("all scores would take {:.1} GiB", (count * count * 4) as f64 / (1_u64 << 30) as f64);
    Ok(())
}
