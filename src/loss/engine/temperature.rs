//! The derivative of a loss by the temperature of its row.

use super::active::{Active, Seen, active_rows};
use super::candidates::CandidateRows;
use super::problem::Problem;
use crate::element::Real;
use crate::error::{Error, Result};
use crate::loss::gradients::{Sink, Upstream};
use crate::loss::inputs::Targets;
use crate::matrix::VectorMut;
use crate::quotient::times_power;
use crate::softmax::RowState;
use crate::writing::{clear_vector, put_vector};

impl<R: Real> Problem<'_, R> {
    /// Whether the scalars of the rows suffice for the derivatives by their temperatures.
    pub(crate) fn check_temperature_gradient(
        &self,
        sink: Option<&Sink<VectorMut<'_>>>,
        upstream: &Upstream<'_>,
    ) -> Result<()> {
        let Some(Sink { array, .. }) = sink else { return Ok(()) };
        let loss = &self.loss;
        let conflict = |what: &str| Err(Error::Conflict { what: what.into() });
        if array.len() != self.outputs {
            return Err(Error::Shape {
                argument: "the temperature gradient",
                found: vec![array.len()],
                expected: format!("[{}], the number of losses", self.outputs),
            });
        }
        if loss.transform.softcap.is_some() {
            return conflict("the gradient of a temperature goes without a softcap");
        }
        if loss.needs.companion || loss.needs.diverges() {
            return conflict("the gradient of a temperature goes without a companion");
        }
        if loss.needs.temperature {
            let name = &loss.row_loss;
            return Err(Error::Conflict {
                what: format!(
                    "{name:?} has no gradient by temperatures, on which it depends itself"
                ),
            });
        }
        let of_entropy = loss.needs.entropy || upstream.has_entropy();
        match (loss.statistics.varentropy, loss.statistics.entropy && !of_entropy) {
            (false, false) if of_entropy => conflict(
                "the gradient of a temperature needs the varentropy where the loss depends on the \
                 entropy, expected varentropy(true)",
            ),
            (false, false) => {
                conflict("the gradient of a temperature needs the entropy, expected entropy(true)")
            }
            _ => Ok(()),
        }
    }

    /// dL/dT of each row, from its scalars alone:
    ///
    /// ```text
    /// Σ_v (dL/da_v) a_v = m f_lse + A μ − h Var + f_s (m − a_y) + k Σ_v w_v (m − a_v)
    /// ```
    ///
    /// in which nothing is of the size of a logit but where lse itself has a slope.
    pub(crate) fn put_temperature_gradient(
        &self,
        states: &[RowState],
        candidates: &CandidateRows,
        upstream: &Upstream<'_>,
        sink: Option<Sink<VectorMut<'_>>>,
    ) {
        let Some(Sink { mut array, accumulate }) = sink else { return };
        if !accumulate {
            clear_vector(&mut array);
        }
        let seen = Seen { states, second: &[], candidates };
        for active in active_rows(self, seen, &self.rows, upstream) {
            let sum = self.slope_by_logarithm(&active, &states[active.index]);
            let value = times_power(-sum / active.row.temperature, active.exponent);
            put_vector(&mut array, active.row.output, &[value], true);
        }
    }

    fn slope_by_logarithm(&self, active: &Active<R>, state: &RowState) -> f64 {
        let product = |a: f64, b: f64| if a == 0.0 { 0.0 } else { a * b };
        let weighed = match &self.targets {
            Targets::Hard(_) => {
                let below = state.maximum - state.target_logit.unwrap_or(f64::NAN);
                product(active.picked, below) + product(active.weights, state.deviation)
            }
            _ => product(active.soft, state.deviation),
        };
        product(active.by_log_sum_exp, state.maximum) + (active.picked + active.rest) * active.mean
            - product(active.entropy, state.varentropy())
            + weighed
            + active.candidates.by_logarithm
    }
}
