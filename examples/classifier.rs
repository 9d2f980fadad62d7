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
    })
    .into_shared();
    let mut generator = Generator::new(0);
    let mut weights = generator.normal(&[2, 64], 1.0)?;
    let mut bias = generator.normal(&[64], 1.0)?;
    let mut classifier = generator.normal(&[3, 64], 0.1)?;
    let loss = LinearCrossEntropy::builder().build()?;
    let schedule = Schedule::cosine(0.02, 500)?.warm_up(20)?;
    let mut adam = AdamW::new();
    for step in 0..500 {
        let tape = Tape::new();
        let (w, b, c) = (tape.leaf(&weights), tape.leaf(&bias), tape.leaf(&classifier));
        let hidden = tape.constant(&points).matmul(w)?.add(b)?.tanh();
        let value = hidden.linear_cross_entropy(c, None, &labels, &loss)?;
        if step % 100 == 99 {
            println!("step {}: {:.4} nats", step + 1, value.scalar()?);
        }
        let gradients = value.backward()?;
        let of = |leaf| gradients.of(leaf).expect("the loss depends on it");
        let (d_w, d_b, d_c) = (of(w), of(b), of(c));
        drop(tape);
        let mut parameters = [
            Parameter::new(&mut weights, d_w),
            Parameter::new(&mut bias, d_b).without_decay(),
            Parameter::new(&mut classifier, d_c),
        ];
        adam.step(schedule.rate(step), &mut parameters)?;
    }
    Ok(())
}
