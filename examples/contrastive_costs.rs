//! What losses of a batch against itself cost: medians of InfoNCE in one direction, in both from one pass, and in both
//! by two calls, each in turn in every round; then of the Mann–Whitney loss. All with gradients, in f32.
//!
//! ```sh
//! cargo run --release --example contrastive_costs -- 4096 512
//! ```
//!
//! A third number is the budget in MiB, 256 without.

use std::time::Instant;

use ndarray::Array2;
use surprisal::Gradients;
use surprisal::contrastive::{InfoNce, MannWhitney};
use surprisal::random::Generator;

const ROUNDS: usize = 7;

fn seconds(run: impl FnOnce() -> surprisal::Result<f64>) -> surprisal::Result<f64> {
    let begin = Instant::now();
    run()?;
    Ok(begin.elapsed().as_secs_f64())
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() -> surprisal::Result<()> {
    let sizes: Vec<usize> = std::env::args().skip(1).filter_map(|size| size.parse().ok()).collect();
    let [rows, width, ref budget @ ..] = sizes[..] else {
        eprintln!("expected two sizes: pairs, width; and a budget in MiB");
        std::process::exit(2)
    };
    let mut random = Generator::new(1);
    let mut matrix = || {
        let mut rows = Array2::from_shape_fn((rows, width), |_| random.standard_normal() as f32);
        for mut row in rows.rows_mut() {
            let length = row.dot(&row).sqrt();
            row /= length;
        }
        rows
    };
    let (queries, keys) = (matrix(), matrix());
    let (mut by_queries, mut by_keys) = (Array2::<f32>::zeros((rows, width)), matrix());

    let one = InfoNce::new(0.07)?.memory_budget(budget.first().copied().unwrap_or(256) << 20);
    let both = one.symmetric(true);
    let mut times = [const { Vec::new() }; 3];
    let mut shares = [const { Vec::new() }; 3];
    for round in 0..=ROUNDS {
        let mut call = |loss: &InfoNce, turned: bool| {
            let to = Gradients::new();
            let (from, other, to) = match turned {
                false => (&queries, &keys, to.hidden(&mut by_queries).classifier(&mut by_keys)),
                true => {
                    let to = to.accumulate_hidden(&mut by_keys);
                    (&keys, &queries, to.accumulate_classifier(&mut by_queries))
                }
            };
            loss.loss_and_gradients(from, other, to).map(|contrast| contrast.loss)
        };
        let found = [
            seconds(|| call(&one, false))?,
            seconds(|| call(&both, false))?,
            seconds(|| Ok(call(&one, false)? + call(&one, true)?))?,
        ];
        // The first round wakes memory and threads.
        if round > 0 {
            for (i, time) in found.into_iter().enumerate() {
                times[i].push(time);
                shares[i].push(time / found[0]);
            }
        }
    }
    for (name, (times, shares)) in
        ["one direction", "both", "both by two calls"].iter().zip(times.iter_mut().zip(&mut shares))
    {
        println!("{name}: {:.4} s, {:.2} of one", median(times), median(shares));
    }

    let loss = MannWhitney::new(0.07)?;
    let mut times = Vec::new();
    for _ in 0..3 {
        let gradients = Gradients::new().hidden(&mut by_queries).classifier(&mut by_keys);
        times.push(seconds(|| Ok(loss.loss_and_gradients(&queries, &keys, gradients)?.loss))?);
    }
    println!("Mann–Whitney: {:.3} s", median(&mut times));
    Ok(())
}
