//! What losses of rankings cost beside cross-entropy with the same gradients, for K listed classes of each row: medians of
//! both, each in turn in every round.
//!
//! ```sh
//! cargo run --release --example ranking_costs -- 1024 768 50257
//! ```

use std::time::Instant;

use ndarray::Array2;
use surprisal::loss::{PlaceWeights, PlackettLuce, Rankings};
use surprisal::random::Generator;
use surprisal::{Gradients, Inputs, LinearCrossEntropy, Result};

const ROUNDS: usize = 7;

/// Seconds of the forward and of all.
struct Times {
    forward: Vec<f64>,
    all: Vec<f64>,
}

impl Times {
    fn new() -> Self {
        Self { forward: Vec::new(), all: Vec::new() }
    }

    fn medians(&mut self) -> [f64; 2] {
        [&mut self.forward, &mut self.all].map(|times| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        })
    }
}

fn main() -> Result<()> {
    let sizes: Vec<usize> = std::env::args().skip(1).filter_map(|size| size.parse().ok()).collect();
    let [rows, width, classes] = sizes[..] else {
        eprintln!("expected three sizes: rows, width, classes");
        std::process::exit(2)
    };
    let mut random = Generator::new(1);
    let mut matrix = |rows, columns, size: f32| {
        Array2::from_shape_fn((rows, columns), |_| size * random.symmetric())
    };
    let (hidden, classifier) = (matrix(rows, width, 0.5), matrix(classes, width, 0.25));
    let targets: Vec<u32> = (0..rows).map(|i| (i * 7 % classes) as u32).collect();
    let mut d_hidden = Array2::<f32>::zeros(hidden.dim());
    let mut d_classifier = Array2::<f32>::zeros(classifier.dim());
    let (head, loss) = (LinearCrossEntropy::builder().build()?, PlackettLuce::new());
    let rankings = [1, 4, 16, 64]
        .map(|k| Array2::from_shape_fn((rows, k), |(i, j)| ((i * 31 + j * 7) % classes) as u32))
        .into_iter()
        .map(|order| Rankings::new(&order, PlaceWeights::Ones))
        .collect::<Result<Vec<_>>>()?;

    let mut plain = Times::new();
    let mut ranked: Vec<_> = rankings.iter().map(|_| Times::new()).collect();
    for _ in 0..ROUNDS {
        let inputs = Inputs::new(&hidden, &classifier, &targets);
        let begin = Instant::now();
        let forward = head.forward(&inputs)?;
        plain.forward.push(begin.elapsed().as_secs_f64());
        let wanted = Gradients::new().hidden(&mut d_hidden).classifier(&mut d_classifier);
        head.vjp(&inputs, &forward, &Default::default(), wanted)?;
        plain.all.push(begin.elapsed().as_secs_f64());
        for (rankings, times) in rankings.iter().zip(&mut ranked) {
            let inputs = Inputs::unlabelled(&hidden, &classifier).candidates(rankings.candidates());
            let begin = Instant::now();
            let forward = head.forward(&inputs)?;
            let losses = loss.evaluate(rankings, &forward)?;
            times.forward.push(begin.elapsed().as_secs_f64());
            let wanted = Gradients::new().hidden(&mut d_hidden).classifier(&mut d_classifier);
            head.vjp(&inputs, &forward, &losses.upstream(), wanted)?;
            times.all.push(begin.elapsed().as_secs_f64());
        }
    }
    let [forward, all] = plain.medians();
    println!("| loss | forward | with gradients |\n| --- | --- | --- |");
    println!("| cross-entropy | {forward:.3} s | {all:.3} s |");
    for (rankings, times) in rankings.iter().zip(&mut ranked) {
        let [own_forward, own_all] = times.medians();
        println!(
            "| {} listed | {:.3} ({own_forward:.3} s) | {:.3} ({own_all:.3} s) |",
            rankings.classes().ncols(),
            own_forward / forward,
            own_all / all
        );
    }
    Ok(())
}
