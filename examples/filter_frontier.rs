//! What a filter by mass keeps of a head, what it costs, and how far its gradients are off, for several δ and orders
//! of the classes: what to take for one's own.
//!
//! ```sh
//! cargo run --release --example filter_frontier -- head.safetensors:lm_head.weight hidden.npy targets.npy
//! ```
//!
//! Times are medians over those of a forward in the same rounds; errors are ‖Δ‖/‖exact‖ against the gradients without
//! a filter. With a second argument of δs (`1e-2,1e-3`) and a third of rounds.

use std::error::Error;
use std::time::Instant;

use ndarray::{Array1, Array2, Ix1, Ix2};
use surprisal::io::{Tensor, TensorView};
use surprisal::loss::ClassOrder;
use surprisal::{
    Backward, Filter, Gradients, Inputs, LinearCrossEntropy, LinearCrossEntropyBuilder, Upstream,
};

/// A head of which the gradients are asked for, in one order of its classes.
struct Ordered {
    name: &'static str,
    classifier: Array2<f32>,
    targets: Array1<i64>,
    order: ClassOrder,
}

fn matrix(location: &str) -> Result<Array2<f32>, Box<dyn Error>> {
    let tensor = Tensor::open(location)?;
    Ok(match tensor.view() {
        TensorView::F32(view) => view.into_dimensionality::<Ix2>()?.to_owned(),
        TensorView::Bf16(view) => view.into_dimensionality::<Ix2>()?.mapv(f32::from),
        other => {
            return Err(format!("{location} is of {}, expected f32", other.dtype_name()).into());
        }
    })
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn distance(a: &Array2<f32>, b: &Array2<f32>) -> f64 {
    let squares = |m: &mut dyn Iterator<Item = f64>| m.map(|x| x * x).sum::<f64>();
    let differences = a.iter().zip(b).map(|(a, b)| f64::from(a - b));
    (squares(&mut { differences }) / squares(&mut b.iter().map(|&x| f64::from(x)))).sqrt()
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [classifier, hidden, targets, rest @ ..] = &arguments[..] else {
        return Err(
            "expected a classifier, hidden states and targets, and δs and rounds if need be".into(),
        );
    };
    let (classifier, hidden) = (matrix(classifier)?, matrix(hidden)?);
    let targets = Tensor::open(targets)?.view().to_i64("targets")?.into_dimensionality::<Ix1>()?;
    let masses = rest.first().map_or("1e-2,5e-3,3e-3,1e-3,1e-4", String::as_str);
    let masses: Vec<f64> = masses.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let rounds: usize = rest.get(1).map_or(Ok(5), |rounds| rounds.parse())?;

    let own: Vec<u32> = (0..classifier.dim().0 as u32).collect();
    let start = Instant::now();
    let similar = ClassOrder::by_similarity(&hidden, &classifier, None)?;
    println!("similar classes found in {:.2} s", start.elapsed().as_secs_f64());
    let orders = [
        ("own", ClassOrder::new(&own)?),
        ("mean logit", ClassOrder::by_mean_logits(&hidden, &classifier, None)?),
        ("similar", similar),
    ];
    let start = Instant::now();
    let orders: Vec<Ordered> = orders
        .into_iter()
        .map(|(name, order)| {
            let classifier = order.rows(classifier.view())?;
            let targets = order.targets(&targets)?;
            Ok(Ordered { name, classifier, targets, order })
        })
        .collect::<surprisal::Result<_>>()?;
    println!("a classifier is reordered in {:.3} s", start.elapsed().as_secs_f64() / 3.0);

    let (mut d_hidden, mut d_classifier) =
        (Array2::<f32>::zeros(hidden.dim()), Array2::<f32>::zeros(classifier.dim()));
    let mut run = |builder: &LinearCrossEntropyBuilder, ordered: &Ordered| {
        let loss = builder.clone().build()?;
        let inputs = Inputs::new(&hidden, &ordered.classifier, &ordered.targets);
        let gradients = Gradients::new().hidden(&mut d_hidden).classifier(&mut d_classifier);
        let start = Instant::now();
        let forward = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients)?;
        let seconds = start.elapsed().as_secs_f64();
        Ok::<_, surprisal::Error>((seconds, forward, d_hidden.clone(), d_classifier.clone()))
    };
    let plain = LinearCrossEntropy::builder();
    let forward_of = |ordered: &Ordered| {
        let loss = LinearCrossEntropy::builder().build()?;
        let start = Instant::now();
        loss.forward(&Inputs::new(&hidden, &ordered.classifier, &ordered.targets))?;
        Ok::<_, surprisal::Error>(start.elapsed().as_secs_f64())
    };
    forward_of(&orders[0])?;
    let (mut forwards, mut strips, mut again) = (Vec::new(), Vec::new(), Vec::new());
    let recompute = plain.clone().backward(Backward::Recompute);
    for _ in 0..rounds {
        forwards.push(forward_of(&orders[0])?);
        strips.push(run(&plain, &orders[0])?.0);
        again.push(run(&recompute, &orders[0])?.0);
    }
    let (forward, plain_time) = (median(forwards), median(strips));
    println!(
        "forward {forward:.3} s; loss and gradients without a filter {:.2} of it, recomputed {:.2}",
        plain_time / forward,
        median(again) / forward,
    );
    let (_, _, exact_hidden, exact_classifier) = run(&recompute, &orders[0])?;
    println!(
        "| order | δ | kept | lost, mean | of the forward | dE | dC | corrected: of the forward | dE | dC |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for ordered in &orders {
        for &mass in &masses {
            let mut cells = Vec::new();
            for corrected in [false, true] {
                let builder =
                    recompute.clone().filter(Filter::Mass(mass)).tail_correction(corrected);
                let (mut shares, mut last) = (Vec::new(), None);
                for _ in 0..rounds {
                    let forward = forward_of(ordered)?;
                    let found = run(&builder, ordered)?;
                    shares.push(found.0 / forward);
                    last = Some(found);
                }
                let Some((_, forward, d_hidden, d_classifier)) = last else { continue };
                if cells.is_empty() {
                    let kept = forward.segments_kept().unwrap_or(1.0);
                    let lost = forward.dropped_mass().map_or(0.0, |mass| mass.mean);
                    cells.push(format!("{:.1} %", 100.0 * kept));
                    cells.push(format!("{lost:.1e}"));
                }
                let d_classifier = ordered.order.restored_rows(d_classifier.view())?;
                cells.push(format!("{:.2}", median(shares)));
                cells.push(format!("{:.1e}", distance(&d_hidden, &exact_hidden)));
                cells.push(format!("{:.1e}", distance(&d_classifier, &exact_classifier)));
            }
            println!("| {} | {mass:e} | {} |", ordered.name, cells.join(" | "));
        }
    }
    Ok(())
}
