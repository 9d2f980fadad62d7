//! Losses that make something of a forward for the pass after it.

use ndarray::Array1;

use surprisal::loss::{CorrectnessCalibration, RowLoss};
use surprisal::{LinearCrossEntropy, Real};

use super::arguments::Loss;
use super::call::Besides;
use super::inputs::{Arrays, Positions};
use super::objective::{Objective, Way};
use crate::Failure;
use crate::device::Place;
use crate::oracle::lambdas;

/// What a forward has made, a number for each target.
pub(super) enum Found {
    Nothing,
    Temperatures(Array1<f64>),
    /// With what their sum is divided by.
    Weights(Array1<f64>, f64),
}

impl Loss {
    /// The forwards that come before the loss itself.
    pub(super) fn before<R: Real>(
        &self,
        objective: &Objective,
        arrays: &Arrays,
        beside: &Besides<R>,
        positions: &Positions,
        place: &Place,
    ) -> Result<Found, Failure> {
        let of = |loss: Box<dyn RowLoss>| -> Result<LinearCrossEntropy, Failure> {
            Ok(self.computing().row_loss(loss).build()?)
        };
        match objective.way {
            Way::Once | Way::At(_) => Ok(Found::Nothing),
            Way::Adaptive => {
                let request = &objective.only()?.request;
                let first = request.number("lambda0")?;
                let found = lambdas(request, positions.targets, R::EPSILON, |robust, known| {
                    let inputs = self.inputs(arrays, beside)?.temperatures(known);
                    let forward = place.forward(&of(Box::new(robust))?, &inputs)?;
                    Ok::<_, Failure>(positions.of_targets(&robust.next(&forward), first))
                })?;
                // A row that is not a number is that at any temperature.
                let found = found.mapv(|x| if x.is_nan() { first } else { x });
                Ok(Found::Temperatures(found))
            }
            Way::Balanced => {
                let forward = place
                    .forward(&of(objective.only()?.loss()?)?, &self.inputs(arrays, beside)?)?;
                let weights = CorrectnessCalibration::balanced_weights(&forward);
                let sum = weights.sum();
                Ok(Found::Weights(positions.of_targets(&weights, 0.0), sum))
            }
        }
    }
}
