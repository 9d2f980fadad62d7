//! What the fused loss costs beside the one that holds its logits.

use ndarray::{Array1, Array2, Axis};
use std::time::Instant;

use surprisal::{Gradients, Inputs, LinearCrossEntropy, Pass, Shapes, Upstream};

use super::measure::Predictions;
use crate::Failure;
use crate::bench::product;

/// Of each, the fastest of so many runs counts: the first has caches to fill.
const RUNS: usize = 3;

/// The most bytes of logits and their gradients that are tried.
const MOST_BYTES: u64 = 1 << 30;

/// Loss and gradients of some predictions, both ways.
pub struct Cost {
    /// What the fused loss needs beside its inputs and gradients.
    pub workspace_bytes: u64,
    pub fused_seconds: f64,
    /// What the logits and their gradients take.
    pub materialised_bytes: u64,
    /// None where they are too many.
    pub materialised_seconds: Option<f64>,
}

impl Cost {
    pub fn of(predictions: &Predictions<'_>) -> Result<Self, Failure> {
        let loss = LinearCrossEntropy::builder().build()?;
        let inputs = predictions.inputs();
        let plan = loss.plan(&Shapes::of(&inputs), Pass::LossAndGradients)?;
        let (rows, classes) = (predictions.targets.len(), predictions.bias.len());
        let mut gradients = Held::new(predictions);
        let fused_seconds = fastest(|| {
            let Held { hidden, classifier, bias } = &mut gradients;
            let gradients = Gradients::new()
                .hidden(hidden.view_mut())
                .classifier(classifier.view_mut())
                .bias(bias.view_mut());
            loss.loss_and_gradients(&inputs, &Upstream::default(), gradients)?;
            Ok(())
        })?;
        let materialised_bytes = 2 * (rows * classes * size_of::<f32>()) as u64;
        let materialised_seconds = match materialised_bytes <= MOST_BYTES {
            true => Some(materialised(predictions, &loss, &mut gradients)?),
            false => None,
        };
        Ok(Self {
            workspace_bytes: plan.workspace_bytes as u64,
            fused_seconds,
            materialised_bytes,
            materialised_seconds,
        })
    }
}

/// The gradients.
struct Held {
    hidden: Array2<f32>,
    classifier: Array2<f32>,
    bias: Array1<f32>,
}

impl Held {
    fn new(predictions: &Predictions<'_>) -> Self {
        Self {
            hidden: Array2::zeros(predictions.hidden.dim()),
            classifier: Array2::zeros(predictions.classifier.dim()),
            bias: Array1::zeros(predictions.bias.dim()),
        }
    }
}

/// The seconds of a product, the loss of its logits, and the products of their gradients.
fn materialised(
    predictions: &Predictions<'_>,
    loss: &LinearCrossEntropy,
    gradients: &mut Held,
) -> Result<f64, Failure> {
    let shape = (predictions.targets.len(), predictions.bias.len());
    let (mut logits, mut d_logits) = (Array2::<f32>::zeros(shape), Array2::<f32>::zeros(shape));
    fastest(|| {
        product(&mut logits, predictions.hidden, predictions.classifier.t());
        logits += &predictions.bias;
        let inputs = Inputs::from_logits(logits.view(), predictions.targets);
        let to = Gradients::new().logits(d_logits.view_mut());
        loss.loss_and_gradients(&inputs, &Upstream::default(), to)?;
        product(&mut gradients.hidden, d_logits.view(), predictions.classifier);
        product(&mut gradients.classifier, d_logits.t(), predictions.hidden);
        gradients.bias = d_logits.sum_axis(Axis(0));
        Ok(())
    })
}

fn fastest(mut run: impl FnMut() -> Result<(), Failure>) -> Result<f64, Failure> {
    let mut fastest = f64::INFINITY;
    for _ in 0..RUNS {
        let start = Instant::now();
        run()?;
        fastest = fastest.min(start.elapsed().as_secs_f64());
    }
    Ok(fastest)
}
