//! What a second head costs: medians of a divergence's forward and gradients, as shares of its products alone.
//!
//! ```sh
//! cargo run --release --example second_head_speed -- 1024 768 768 50257
//! ```
//!
//! A fifth number is the budget in MiB, 256 without.

use std::time::Instant;

use ndarray::Array2;
use surprisal::loss::{Companion, Head, KullbackLeibler};
use surprisal::random::Generator;
use surprisal::{Backward, Gradients, Inputs, LinearCrossEntropy, Upstream};

/// The median of five runs, in seconds.
fn median(mut run: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..5)
        .map(|_| {
            let begin = Instant::now();
            run();
            begin.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[2]
}

fn main() -> surprisal::Result<()> {
    let sizes: Vec<usize> = std::env::args().skip(1).filter_map(|size| size.parse().ok()).collect();
    let [rows, width, wide, classes, ref budget @ ..] = sizes[..] else {
        eprintln!(
            "expected four sizes: rows, width, width of the second head, classes; and a budget in MiB"
        );
        std::process::exit(2)
    };
    let mut random = Generator::new(1);
    let mut matrix = |rows, columns, size: f32| {
        Array2::from_shape_fn((rows, columns), |_| size * random.symmetric())
    };
    let (hidden, classifier) = (matrix(rows, width, 0.5), matrix(classes, width, 0.25));
    let (other, teacher) = (matrix(rows, wide, 0.5), matrix(classes, wide, 0.25));
    let targets: Vec<u32> = (0..rows).map(|i| (i * 7 % classes) as u32).collect();
    let alone = Inputs::new(&hidden, &classifier, &targets);
    let second = Inputs::new(&other, &teacher, &targets);
    let both = alone.companion(Companion::logits(Head::new(&other, &teacher)));

    let budget = budget.first().copied().unwrap_or(256) << 20;
    let of = |backward| LinearCrossEntropy::builder().backward(backward).memory_budget(budget);
    let pair = |backward| of(backward).row_loss(KullbackLeibler::forward()).build();
    let (plain, divergence) = (of(Backward::Auto).build()?, pair(Backward::Auto)?);
    let forward =
        |loss: &LinearCrossEntropy, inputs: &Inputs<'_>| median(|| drop(loss.forward(inputs)));
    let (one, two) = (forward(&plain, &alone), forward(&plain, &second));
    let own = forward(&divergence, &both);
    println!("forward {one:.3} s, of the second head {two:.3} s");
    println!("divergence {own:.3} s, {:.2} of its products", own / (2.0 * (one + two)));
    let (mut d_hidden, mut d_classifier) =
        (Array2::<f32>::zeros((rows, width)), Array2::<f32>::zeros((classes, width)));
    for backward in [Backward::Strip, Backward::Recompute] {
        let mut gradients = |loss: &LinearCrossEntropy, inputs: &Inputs<'_>| {
            median(|| {
                let wanted = Gradients::new().hidden(&mut d_hidden).classifier(&mut d_classifier);
                drop(loss.loss_and_gradients(inputs, &Upstream::default(), wanted));
            })
        };
        let plain = gradients(&of(backward).build()?, &alone);
        let own = gradients(&pair(backward)?, &both);
        // A strip keeps the second head's logits; recomputing makes both once more for the sums, and the second
        // head's again beside G.
        let products = match backward {
            Backward::Strip => plain + two,
            _ => plain + one + 3.0 * two,
        };
        println!(
            "{backward:?}: plain {plain:.3} s, divergence {own:.3} s, {:.2} of its products",
            own / products
        );
    }
    Ok(())
}
