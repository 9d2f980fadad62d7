//! The call that finds which classes a truncation leaves.

use super::engine::problem::{Problem, Row};
use super::engine::shapes::{Pass, Shapes};
use super::engine::thresholds::{floors, floors_below_maxima};
use super::floors::{Floors, Truncation};
use super::inputs::{Inputs, Selection};
use super::options::LinearCrossEntropy;
use crate::element::Real;
use crate::error::{Error, Result};

impl LinearCrossEntropy {
    /// Which classes of each row a truncation leaves, exactly: for [`Inputs::floors`] of this and other calls with
    /// the same hidden states, classifier, scale, softcap, temperatures and rows.
    ///
    /// Top-k and top-p take all logits of a row: of as many rows at a time as the budget holds
    /// ([`Pass::Truncation`]), each of which is partly sorted, on average in a time of O(V). Min-p alone takes a
    /// forward. The targets are not read, but for which rows are ignored.
    ///
    /// ```
    /// use ndarray::arr2;
    /// use surprisal::loss::Truncation;
    /// use surprisal::{Inputs, LinearCrossEntropy, Reduction, Statistic};
    /// let hidden = arr2(&[[1.0_f32, -0.5], [0.3, 2.0]]);
    /// let classifier = arr2(&[[0.5_f32, 1.0], [-1.0, 0.2], [0.7, 0.1]]);
    /// // What was drawn at temperature 0.7 with top-p 0.9 and min-p 0.05 had these log-probabilities.
    /// let inputs = Inputs::new(&hidden, &classifier, &[2_u32, 0]);
    /// let loss = LinearCrossEntropy::builder().temperature(0.7).build()?;
    /// let floors = loss.truncate(&inputs, &Truncation::new().top_p(0.9).min_p(0.05))?;
    /// let drawn = loss.forward(&inputs.floors(&floors))?.statistic(Statistic::LogProbability)?;
    /// let plain = loss.forward(&inputs)?.statistic(Statistic::LogProbability)?;
    /// assert!(drawn[0] > plain[0] && drawn[1] > plain[1]);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`forward`](Self::forward); [`Error::Option`], [`Error::Value`] and [`Error::Shape`] for numbers of the
    /// truncation outside their domain or not one for each target; [`Error::Conflict`] for a shard, whose
    /// thresholds would need the other classes, and for inputs that have floors;
    /// [`Error::MemoryBudget`] for a budget under which not all logits of one row fit.
    pub fn truncate(&self, inputs: &Inputs<'_>, truncation: &Truncation<'_>) -> Result<Floors> {
        match inputs.is_double() {
            true => self.truncate_in::<f64>(inputs, truncation),
            false => self.truncate_in::<f32>(inputs, truncation),
        }
    }

    fn truncate_in<R: Real>(
        &self,
        inputs: &Inputs<'_>,
        truncation: &Truncation<'_>,
    ) -> Result<Floors> {
        let conflict = |what: &str| Err(Error::Conflict { what: what.into() });
        if inputs.shard.is_some() {
            return conflict("a truncation takes the whole vocabulary, expected no shard");
        }
        if inputs.floors.is_some() {
            return conflict("a truncation takes all classes, expected inputs without floors");
        }
        let (rows, _, columns) = inputs.source.sizes();
        truncation.check(match inputs.selection {
            Selection::Rows(rows) => rows.len(),
            _ => rows,
        })?;
        let loss = Self { filter: None, ..self.without_rank() };
        let problem = Problem::<R>::new(&loss, inputs)?;
        let rule = |row: &Row| truncation.rule(row.target_row);
        let needs_maximum_alone = |row: &Row| rule(row).needs_maximum_alone(columns);
        let found = if problem.rows.iter().all(needs_maximum_alone) {
            let plan = loss.plan(&Shapes::of(inputs), Pass::Forward)?;
            match problem.narrow {
                true => floors_below_maxima::<R::Narrow>(&problem, &plan, rule),
                false => floors_below_maxima::<R>(&problem, &plan, rule),
            }
        } else {
            let plan = loss.plan(&Shapes::of(inputs), Pass::Truncation)?;
            match problem.narrow {
                true => floors::<R::Narrow>(&problem, &plan, rule),
                false => floors::<R>(&problem, &plan, rule),
            }
        };
        let mut rows = vec![None; problem.outputs];
        for (row, floor) in problem.rows.iter().zip(found) {
            rows[row.output] = Some((floor, row.temperature));
        }
        Ok(Floors { rows, vocabulary: columns, transform: self.transform, isa: self.isa })
    }
}
