//! A classifier of three spiral arms, trained on the tape with the fused loss.
//!
//! `cargo run --release --example classifier`

use ndarray::Array2;
use surprisal::LinearCrossEntropy;
use surprisal::autodiff::{AdamW, Generator, Parameter, Schedule, Tape};

fn main() -> surprisal::Result<()> {
    let labels: Vec<u32> = (0..300).map(|i| i % 3).collect();
    let points = Array2::from_shape_fn((300, 2), |(i, axis)| {
        let radius = (i / 3 + 10) as f32 / 110.0;
        let angle = 2.1 * labels[i] as f32 + 4.0 * radius;
        radius * if axis == 0 { angle.cos() } else { angle.sin() }
    });
    let points = points.into_shared();
    let mut generator = Generator::new(0);
    let mut random = |shape: &[usize], deviation| generator.normal(shape, deviation);
    let mut parameters = [random(&[2, 64], 1.0)?, random(&[64], 1.0)?, random(&[3, 64], 0.1)?];
    let loss = LinearCrossEntropy::builder().build()?;
    let schedule = Schedule::cosine(0.02, 500).warm_up(20).build()?;
    let mut adam = AdamW::builder().build()?;
    for step in 0..500 {
        let tape = Tape::new()?;
        let [weights, bias, classifier] = parameters.each_ref().map(|array| tape.leaf(array));
        let hidden = tape.constant(&points).matmul(weights)?.add(bias)?.tanh();
        let value = hidden.linear_cross_entropy(classifier, None, &labels, &loss)?;
        if step % 100 == 99 {
            println!("step {}: {:.4} nats", step + 1, value.scalar()?);
        }
        let gradients = value.backward()?;
        let of = |leaf| gradients.of(leaf).expect("the loss depends on it");
        let gradients = [weights, bias, classifier].map(of);
        drop(tape);
        let pairs = parameters.iter_mut().zip(gradients);
        let mut pairs: Vec<_> = pairs.map(|(array, of)| Parameter::new(array, of)).collect();
        adam.step(schedule.rate(step), &mut pairs)?;
    }
    Ok(())
}
