//! One pass of the fused loss, with what is known of it.

use ndarray::Array2;
use std::time::Instant;

use surprisal::{DroppedMass, Gradients, Inputs, LinearCrossEntropy, Upstream};

use crate::Failure;

/// The gradients of hidden states and classifier.
pub type Pair<R> = (Array2<R>, Array2<R>);

/// What is known of one pass.
pub struct Timed {
    pub kept: Option<f64>,
    pub dropped: Option<DroppedMass>,
    pub seconds: f64,
}

/// One pass of the fused loss on the processor.
pub fn timed<R: surprisal::Real>(
    loss: &LinearCrossEntropy,
    inputs: &Inputs<'_>,
    gradients: Option<&mut Pair<R>>,
) -> Result<Timed, Failure> {
    let start = Instant::now();
    let forward = match gradients {
        Some((hidden, classifier)) => {
            let gradients =
                Gradients::new().hidden(hidden.view_mut()).classifier(classifier.view_mut());
            loss.loss_and_gradients(inputs, &Upstream::default(), gradients)?
        }
        None => loss.forward(inputs)?,
    };
    let seconds = start.elapsed().as_secs_f64();
    Ok(Timed { kept: forward.segments_kept(), dropped: forward.dropped_mass(), seconds })
}
