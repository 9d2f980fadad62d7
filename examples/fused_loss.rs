//! The loss and its gradients of a large vocabulary, without the logits.
//!
//! ```sh
//! cargo run --release --example fused_loss
//! ```

use ndarray::Array2;
use surprisal::{Gradients, Inputs, LinearCrossEntropy, Upstream};

fn main() -> surprisal::Result<()> {
    let (tokens, width, vocabulary) = (64, 96, 50_000);
    let hidden = Array2::from_shape_fn((tokens, width), |(i, j)| ((i * 7 + j) as f32).sin());
    let classifier =
        Array2::from_shape_fn((vocabulary, width), |(v, j)| ((v + 3 * j) as f32).cos());
    let targets: Vec<u32> = (0..tokens as u32).map(|i| 601 * i).collect();

    let mut d_hidden = Array2::<f32>::zeros(hidden.dim());
    let mut d_classifier = Array2::<f32>::zeros(classifier.dim());
    let forward = LinearCrossEntropy::builder().softcap(30.0).build()?.loss_and_gradients(
        &Inputs::new(&hidden, &classifier, &targets),
        &Upstream::default(),
        Gradients::new().hidden(&mut d_hidden).classifier(&mut d_classifier),
    )?;

    let norm = |gradient: &Array2<f32>| gradient.iter().map(|g| g * g).sum::<f32>().sqrt();
    println!("{:.4} nats a token", forward.loss());
    println!("|dE| {:.4}, |dC| {:.4}", norm(&d_hidden), norm(&d_classifier));
    Ok(())
}
