//! A narrow head learns what a wide one says: the Kullback–Leibler divergence of both over a large vocabulary,
//! without a matrix of all logits.
//!
//! ```sh
//! cargo run --release --example distill
//! ```

use ndarray::Array2;
use surprisal::loss::{Companion, Head, KullbackLeibler, TemperatureSquared};
use surprisal::random::Generator;
use surprisal::{Gradients, Inputs, LinearCrossEntropy, Result, Upstream};

const ROWS: usize = 256;
const CLASSES: usize = 20_000;

fn main() -> Result<()> {
    let mut random = Generator::new(1);
    let mut matrix = |rows: usize, columns: usize, size: f32| {
        Array2::from_shape_fn((rows, columns), |_| size * random.symmetric())
    };
    let (wide, teacher) = (matrix(ROWS, 64, 1.0), matrix(CLASSES, 64, 0.3));
    let (hidden, mut student) = (matrix(ROWS, 16, 1.0), matrix(CLASSES, 16, 0.1));
    // The classes do not matter to the divergence; a target of −100 would leave its row out.
    let targets = vec![0_i64; ROWS];
    let loss = LinearCrossEntropy::builder()
        .row_loss(TemperatureSquared::new(KullbackLeibler::forward()))
        .temperature(2.0)
        .build()?;
    let mut gradient = Array2::<f32>::zeros(student.dim());
    for step in 0..=20 {
        let inputs = Inputs::new(&hidden, &student, &targets)
            .companion(Companion::logits(Head::new(&wide, &teacher)));
        let gradients = Gradients::new().classifier(&mut gradient);
        let forward = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients)?;
        if step % 5 == 0 {
            println!("step {step}: {:.4} nats", forward.loss());
        }
        student.scaled_add(-5000.0, &gradient);
    }
    Ok(())
}
