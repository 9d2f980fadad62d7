//! A policy gradient: the log-probabilities first, then a gradient with a number of one's own for each
//! token, and a bonus for entropy.
//!
//! The objective of a token with advantage A is −A·ln p_y − β·H, so the loss −ln p_y gets A from above
//! and the entropy −β.
//!
//! ```sh
//! cargo run --release --example vjp
//! ```

use ndarray::{Array1, Array2};
use surprisal::{Gradients, Inputs, LinearCrossEntropy, Reduction, Upstream};

const TOKENS: usize = 48;
const WIDTH: usize = 32;
const VOCABULARY: usize = 10_000;
/// β, in reward a nat.
const BONUS: f64 = 0.01;
const RATE: f32 = 0.5;

fn main() -> surprisal::Result<()> {
    let hidden = Array2::from_shape_fn((TOKENS, WIDTH), |(i, j)| ((i * 7 + j) as f32).sin());
    let mut classifier =
        Array2::from_shape_fn((VOCABULARY, WIDTH), |(v, j)| 0.1 * ((v + 3 * j) as f32).cos());
    // What was sampled, and how much better than expected it turned out: good for even tokens.
    let sampled: Vec<u32> = (0..TOKENS as u32).map(|i| i * 197 % VOCABULARY as u32).collect();
    let advantages = Array1::from_shape_fn(TOKENS, |i| if i % 2 == 0 { 1.0 } else { -0.5 });

    let loss = LinearCrossEntropy::builder().reduction(Reduction::None).entropy(true).build()?;
    for step in 0..5 {
        let inputs = Inputs::new(&hidden, &classifier, &sampled);
        let forward = loss.forward(&inputs)?;
        // A ratio to another policy or a clipped advantage would be computed from these here.
        let losses = forward.losses();
        let entropy = forward.mean_entropy().unwrap_or(f64::NAN);
        let objective = (&losses * &advantages).sum() / TOKENS as f64 - BONUS * entropy;
        println!("step {step}: objective {objective:.5}, mean entropy {entropy:.4} nats");

        let of_loss = advantages.mapv(|advantage| advantage / TOKENS as f64);
        let of_entropy = Array1::from_elem(TOKENS, -BONUS / TOKENS as f64);
        let upstream = Upstream::rows(&of_loss).entropy(&of_entropy);
        let mut gradient = Array2::<f32>::zeros(classifier.dim());
        let gradients = Gradients::new().classifier(&mut gradient);
        loss.vjp(&inputs, &forward, &upstream, gradients)?;
        classifier.scaled_add(-RATE, &gradient);
    }
    Ok(())
}
