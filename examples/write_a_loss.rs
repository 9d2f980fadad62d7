//! A loss of one's own, s²/(1+s), on the fused kernels: the logits are never stored.
//!
//! ```sh
//! cargo run --example write_a_loss
//! ```

use ndarray::Array2;
use surprisal::loss::{RowLoss, RowScalars, Term, Terms};
use surprisal::{Backward, Gradients, Inputs, LinearCrossEntropy, Upstream};

/// About s² where the target is nearly certain, about s − 1 where it is far from it.
#[derive(Debug)]
struct Tempered;

impl RowLoss for Tempered {
    fn evaluate(&self, row: &RowScalars) -> Terms {
        let s = row.surprisal();
        // s/(1+s), also at s = ∞; the slope is s(2+s)/(1+s)².
        let share = 1.0 / (1.0 + 1.0 / s);
        Terms::weighted(Term::new(s * share).by_surprisal(share * (2.0 - share)))
    }
}

fn main() -> surprisal::Result<()> {
    let (tokens, width, vocabulary) = (64, 32, 2_000);
    let hidden = Array2::from_shape_fn((tokens, width), |(i, j)| ((i * 7 + j) as f64).sin());
    let classifier =
        Array2::from_shape_fn((vocabulary, width), |(v, j)| ((v + 3 * j) as f64).cos());
    let targets: Vec<u32> = (0..tokens as u32).map(|i| 31 * i).collect();
    let inputs = Inputs::new(&hidden, &classifier, &targets);

    let run = |backward| {
        let loss = LinearCrossEntropy::builder().row_loss(Tempered).backward(backward).build()?;
        let mut gradients = [Array2::zeros(hidden.dim()), Array2::zeros(classifier.dim())];
        let [d_hidden, d_classifier] = &mut gradients;
        let wanted = Gradients::new().hidden(d_hidden).classifier(d_classifier);
        let forward = loss.loss_and_gradients(&inputs, &Upstream::default(), wanted)?;
        let norm = |g: &Array2<f64>| g.iter().map(|g| g * g).sum::<f64>().sqrt();
        let [d_hidden, d_classifier] = [norm(&gradients[0]), norm(&gradients[1])];
        let value = forward.loss();
        println!("{backward:?}: {value:.12}, |dE| {d_hidden:.12}, |dC| {d_classifier:.12}");
        surprisal::Result::Ok((value, gradients))
    };
    let ((strip, from_strip), (again, from_again)) =
        (run(Backward::Strip)?, run(Backward::Recompute)?);

    let pairs = from_strip.iter().flatten().zip(from_again.iter().flatten());
    let apart = pairs.fold((strip - again).abs(), |most, (a, b)| most.max((a - b).abs()));
    assert!(apart < 1e-12, "the strategies are {apart:e} apart");
    println!("both strategies agree to {apart:.0e}");
    Ok(())
}
