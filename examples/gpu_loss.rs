//! The loss and its gradients on a GPU, beside the processor's: a hardware adapter where there is one,
//! else a driver that computes in software.
//!
//! ```sh
//! cargo run --release --features gpu --example gpu_loss
//! ```

use ndarray::Array2;
use surprisal::gpu::{Context, DeviceGradients, DeviceInputs};
use surprisal::{Gradients, Inputs, LinearCrossEntropy, Upstream};

fn main() -> surprisal::Result<()> {
    let hardware = Context::builder().build();
    let context = hardware.or_else(|_| Context::builder().software(true).build())?;
    println!("on {}", context.adapter().name);

    let (tokens, width, vocabulary) = (64, 96, 20_000);
    let hidden = Array2::from_shape_fn((tokens, width), |(i, j)| ((i * 7 + j) as f32).sin());
    let classifier =
        Array2::from_shape_fn((vocabulary, width), |(v, j)| ((v + 3 * j) as f32).cos());
    let targets: Vec<u32> = (0..tokens as u32).map(|i| 301 * i).collect();
    let loss = LinearCrossEntropy::builder().softcap(30.0).build()?;
    let (on, upstream) = (loss.on(&context), Upstream::default());

    // Arrays of the program's, on the processor and on the device.
    let inputs = Inputs::new(&hidden, &classifier, &targets);
    let mut here = Array2::<f32>::zeros(classifier.dim());
    let expected =
        loss.loss_and_gradients(&inputs, &upstream, Gradients::new().classifier(&mut here))?;
    let mut there = Array2::<f32>::zeros(classifier.dim());
    let found =
        on.loss_and_gradients(&inputs, &upstream, Gradients::new().classifier(&mut there))?;
    println!("{:.6} nats a token", found.loss());
    println!("loss: off by {:.1e} nats", (found.loss() - expected.loss()).abs());
    println!("dC: off by {:.1e} of its largest", off(&there, &here));

    // Arrays that stay on the device, as the weights of a training would.
    let inputs =
        DeviceInputs::new(context.upload(&hidden)?, context.upload(&classifier)?, &targets);
    let gradient = context.zeros(vocabulary, width)?;
    let gradients = DeviceGradients::new().classifier(gradient.clone());
    on.loss_and_gradients(&inputs, &upstream, &gradients)?;
    println!("dC that stayed there: off by {:.1e}", off(&context.download(&gradient)?, &here));
    Ok(())
}

/// The largest difference, as a share of the largest number.
fn off(found: &Array2<f32>, expected: &Array2<f32>) -> f32 {
    let largest = expected.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    let difference = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    difference.fold(0.0, f32::max) / largest
}
