//! Options and arrays, checked and put into the form that the loops read.

use ndarray::ArrayView1;
use std::ops::Range;

use super::checks::{
    Domain, check_companion, check_options, check_second_head, check_source, check_targets,
    check_temperatures, check_vector, expect_length,
};
use super::filter_rule::FilterRule;
use super::floors::{check_floors, floor_of};
use super::listed::Listed;
use super::selected::Selected;
use super::shapes::Shapes;
use crate::element::Real;
use crate::error::{Error, Result};
use crate::loss::companion::Companion;
use crate::loss::gradients::RowUpstream;
use crate::loss::head::Head;
use crate::loss::inputs::{Classes, Inputs, Selection, Targets};
use crate::loss::options::{LinearCrossEntropy, Reduction};
use crate::loss::row_loss::{DIVERGENCES, Needs, PerDivergence, RowScalars};
use crate::loss::source::Source;
use crate::matrix::Vector;
use crate::quotient::{exponent, quotient, times_power};
use crate::softmax::RowState;
use crate::softmax::floor::Floor;
use crate::softmax::transform::Transform;
use crate::sorting::sort_by_class;

/// A row that takes part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Row {
    /// Its row of the hidden states, or of the logits.
    pub(crate) hidden: usize,
    /// Its place among the losses.
    pub(crate) output: usize,
    /// Its place among the targets.
    pub(crate) target_row: usize,
    /// y, of the whole vocabulary; 0 with soft targets.
    pub(crate) target: u32,
    /// τ.
    pub(crate) token_weight: f64,
    /// T.
    pub(crate) temperature: f64,
    /// What a truncation leaves of it.
    pub(crate) floor: Floor,
}

/// What a row has from the second head.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SecondRow {
    /// Its largest logit.
    pub(crate) maximum: f64,
    /// r, as of the row's own state.
    pub(crate) remainder: f64,
    /// Those that the loss needs.
    pub(crate) divergences: PerDivergence,
    /// Its entropy, where the loss needs it.
    pub(crate) entropy: f64,
    /// In the same order the mean of the slopes of each.
    pub(crate) mean_slopes: [f64; DIVERGENCES],
}

/// By what each part of the loss is divided.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Divisors {
    pub(crate) weighted: f64,
    /// The power of two that was taken out of the class weights.
    pub(crate) of_weights: i64,
    /// The same, or 0 where it is taken out of the divisor too: the quotient is to be multiplied with 2
    /// to this.
    pub(crate) exponent: i64,
    pub(crate) plain: f64,
}

/// A checked call.
pub(crate) struct Problem<'a, R> {
    pub(crate) loss: LinearCrossEntropy,
    pub(crate) source: Source<'a>,
    pub(crate) targets: Targets<'a>,
    /// The kept rows; `hidden`, `output` and `target_row` increase strictly, but for a strip that
    /// puts rows without an upstream last.
    pub(crate) rows: Vec<Row>,
    /// The number of losses.
    pub(crate) outputs: usize,
    /// D.
    pub(crate) width: usize,
    /// Whether the products are computed in the narrower format.
    pub(crate) narrow: bool,
    /// Where a filter that has something to leave out cuts.
    pub(crate) filter: Option<FilterRule>,
    /// The number of classes of this shard.
    pub(crate) columns: usize,
    pub(crate) first_class: usize,
    /// V of all shards.
    pub(crate) vocabulary: usize,
    /// Of this shard.
    pub(crate) bias: Option<Vec<R>>,
    /// Of the whole vocabulary, without the power of two that is in the divisors.
    pub(crate) class_weights: Option<Vec<R>>,
    /// W, of the whole vocabulary.
    pub(crate) total_weight: f64,
    pub(crate) divisors: Divisors,
    /// What the loss needs beside the logits.
    pub(crate) companion: Option<Companion<'a>>,
    /// Classes of each row that are asked for.
    pub(crate) candidates: Option<Listed>,
    /// Whether the logit of each row's target is 0, whatever it would be.
    pub(crate) zero_at_target: bool,
    /// The second head, as a call of its own over the same rows.
    pub(crate) second: Option<Box<Self>>,
    /// The logits of the targets as the caller gave them, one for each kept row.
    pub(crate) target_logits: Option<Vec<R>>,
    /// Of each row of sparse targets its classes, each once and in order, with (1−ε) t w.
    sparse: Vec<(u32, f64)>,
    /// Where each row of `sparse` begins, and the end of the last.
    sparse_starts: Vec<usize>,
}

impl<'a, R: Real> Problem<'a, R> {
    pub(crate) fn new(loss: &LinearCrossEntropy, inputs: &Inputs<'a>) -> Result<Self> {
        check_options::<R>(loss)?;
        check_source("classifier", "hidden", &inputs.source)?;
        let (hidden_rows, width, columns) = inputs.source.sizes();
        let (first_class, vocabulary) = match inputs.shard {
            None => (0, columns),
            Some(shard) => {
                let end = shard.first_class.checked_add(columns);
                if end.is_none_or(|end| end > shard.vocabulary) {
                    return Err(Error::Conflict {
                        what: format!(
                            "the shard of {columns} classes from {} on ends beyond the vocabulary \
                             of {}",
                            shard.first_class, shard.vocabulary
                        ),
                    });
                }
                (shard.first_class, shard.vocabulary)
            }
        };
        if vocabulary > u32::MAX as usize - 1 {
            return Err(Error::TooLarge { what: format!("a vocabulary of {vocabulary} classes") });
        }
        expect_length("bias", inputs.bias.as_ref(), columns, "classes")?;
        expect_length("class_weights", inputs.class_weights.as_ref(), vocabulary, "classes")?;
        check_vector::<R>("class_weights", inputs.class_weights.as_ref(), Domain::NonNegative)?;

        let selected = Selected::new(&inputs.selection, hidden_rows)?;
        let outputs = selected.outputs;
        let target_rows = match inputs.selection {
            Selection::Rows(rows) => rows.len(),
            _ => hidden_rows,
        };
        check_targets::<R>(&inputs.targets, target_rows, vocabulary, inputs.shard.is_some())?;
        if let Some(ignored) = inputs.ignored
            && ignored.len() != target_rows
        {
            return Err(Error::Shape {
                argument: "the ignored rows",
                found: vec![ignored.len()],
                expected: format!("[{target_rows}], one for each target"),
            });
        }
        expect_length("token_weights", inputs.token_weights.as_ref(), target_rows, "targets")?;
        check_vector::<R>("token_weights", inputs.token_weights.as_ref(), Domain::Finite)?;
        if let Some(logits) = inputs.target_logits
            && logits.len() != outputs
        {
            return Err(Error::Shape {
                argument: "target_logits",
                found: vec![logits.len()],
                expected: format!("[{outputs}], one for each loss"),
            });
        }
        let soft = !matches!(inputs.targets, Targets::Hard(_));
        if soft && (!loss.needs.soft_targets || loss.needs.deviation) {
            return Err(Error::Conflict {
                what: format!("{:?} goes with hard targets, expected a class a row", loss.row_loss),
            });
        }
        if loss.needs.deviation && loss.needs.smoothing() > 0.0 && inputs.class_weights.is_some() {
            return Err(Error::Conflict {
                what: "label smoothing weighs the classes with the class weights, another loss of the \
                       sum weighs them alike: expected no class weights"
                    .into(),
            });
        }
        check_temperatures::<R>(loss, inputs, target_rows)?;
        check_companion::<R>(loss, inputs, target_rows, columns, vocabulary)?;
        check_second_head::<R>(loss, inputs, target_rows)?;
        check_floors(loss, inputs, outputs)?;
        if loss.statistics.rank {
            let hard = matches!(inputs.targets, Targets::Hard(_));
            if !hard {
                return Err(Error::Conflict {
                    what: "the rank of a soft target is not defined, expected hard targets".into(),
                });
            }
            if inputs.shard.is_some() && inputs.target_logits.is_none() {
                return Err(Error::Conflict {
                    what: "the rank over a shard needs the logits of the targets, expected \
                           target_logits"
                        .into(),
                });
            }
        }

        let candidates = inputs.candidates.as_ref().map(|candidates| {
            let dense = matches!(inputs.targets, Targets::Soft(_));
            let without = (inputs.shard.is_some(), dense);
            Listed::new(candidates, loss, outputs, vocabulary, without)
        });
        let candidates = candidates.transpose()?;
        let mut rows = Vec::with_capacity(outputs);
        let mut weight_of_kept = 0.0;
        let (class_weights, of_weights) = match inputs.class_weights {
            Some(weights) => {
                let (weights, exponent) = scaled_weights::<R>(weights);
                (Some(weights), exponent)
            }
            None => (None, 0),
        };
        for output in 0..outputs {
            let (hidden, target_row) = selected.at(output);
            if inputs.ignored.is_some_and(|ignored| ignored[target_row]) {
                continue;
            }
            let mut target = 0;
            if let Targets::Hard(classes) = &inputs.targets {
                let class = classes.at(target_row);
                if loss.ignore_index == Some(class) {
                    continue;
                }
                target = match u32::try_from(class) {
                    Ok(target) if (target as usize) < vocabulary => target,
                    _ => {
                        return Err(Error::TargetOutOfRange {
                            row: target_row,
                            value: class,
                            vocabulary,
                        });
                    }
                };
                weight_of_kept += match &class_weights {
                    Some(weights) => weights[target as usize].to_f64(),
                    None => 1.0,
                };
            }
            let token_weight = inputs.token_weights.map_or(1.0, |w| w.at(target_row));
            let temperature = inputs.temperatures.map_or(loss.temperature, |t| t.at(target_row));
            let floor = floor_of(inputs, output, temperature)?;
            rows.push(Row { hidden, output, target_row, target, token_weight, temperature, floor });
        }
        if columns == 0 && inputs.shard.is_none() && outputs > 0 {
            let (argument, found) = match &inputs.source {
                Source::Product { .. } => ("classifier", vec![columns, width]),
                Source::Given(_) => ("logits", vec![hidden_rows, columns]),
            };
            return Err(Error::Shape { argument, found, expected: "at least one class".into() });
        }
        let (mut sparse, mut sparse_starts) = (Vec::new(), Vec::new());
        if let Targets::Sparse { classes, weights } = &inputs.targets {
            let keep = 1.0 - loss.needs.smoothing();
            sparse.reserve_exact(classes.len());
            sparse_starts.reserve_exact(target_rows + 1);
            sparse_starts.push(0);
            for (i, classes) in classes.outer_iter().enumerate() {
                let start = sparse.len();
                for (j, &class) in classes.iter().enumerate() {
                    let own = class_weights.as_ref().map_or(1.0, |w| w[class as usize].to_f64());
                    sparse.push((class, keep * weights.at(i, j) * own));
                }
                sort_by_class(&mut sparse[start..]);
                let mut last = start;
                for at in start + 1..sparse.len() {
                    if sparse[at].0 == sparse[last].0 {
                        sparse[last].1 += sparse[at].1;
                    } else {
                        last += 1;
                        sparse[last] = sparse[at];
                    }
                }
                sparse.truncate(if classes.is_empty() { start } else { last + 1 });
                sparse_starts.push(sparse.len());
            }
        }
        let kept = rows.len() as f64;
        let (weighted, exponent, plain) = match (loss.reduction, &inputs.targets) {
            (Reduction::None | Reduction::Sum, _) => (1.0, of_weights, 1.0),
            (Reduction::Divide(divisor), _) => (divisor, of_weights, divisor),
            (Reduction::Mean, Targets::Hard(_)) => (weight_of_kept, 0, kept),
            (Reduction::Mean, _) => (kept, of_weights, kept),
        };
        let divisors = Divisors { weighted, of_weights, exponent, plain };
        let mut problem = Self {
            loss: loss.clone(),
            source: inputs.source,
            targets: inputs.targets,
            outputs,
            width,
            narrow: loss.narrow(&Shapes::of(inputs)),
            filter: FilterRule::new(loss, inputs)?,
            columns,
            first_class,
            vocabulary,
            bias: inputs.bias.map(|b| b.to_vec()),
            total_weight: match &class_weights {
                Some(weights) => weights.iter().map(|w| w.to_f64()).sum(),
                None => vocabulary as f64,
            },
            class_weights,
            companion: inputs.companion,
            candidates,
            zero_at_target: false,
            second: None,
            divisors,
            sparse,
            sparse_starts,
            target_logits: inputs
                .target_logits
                .map(|logits| rows.iter().map(|row| R::from_f64(logits.at(row.output))).collect()),
            rows,
        };
        problem.second = inputs.second_head().map(|head| Box::new(problem.of_second_head(head)));
        Ok(problem)
    }

    /// The same rows over a second head, for its logits and their log-sum-exp.
    fn of_second_head(&self, head: &Head<'a>) -> Self {
        // The statistics of the first head stay: its sums are then in the order of these, and equal heads have
        // equal bits.
        let mut loss = self.loss.without_rank();
        let scale = head.scale / loss.temperature;
        (loss.scale, loss.transform) = (head.scale, Transform { scale, softcap: head.softcap });
        (loss.filter, loss.needs) = (
            None,
            Needs { entropy: loss.needs.entropy || loss.needs.second_entropy, ..Needs::nothing() },
        );
        Self {
            loss,
            source: head.source,
            // The fold keeps the logit of a hard target, which costs nothing; soft ones it would weigh.
            targets: Targets::Hard(Classes::U32(ArrayView1::from(&[]))),
            rows: self.rows.clone(),
            outputs: self.outputs,
            width: head.source.sizes().1,
            narrow: self.narrow,
            filter: None,
            columns: self.columns,
            first_class: self.first_class,
            vocabulary: self.vocabulary,
            bias: head.bias.map(|bias| bias.to_vec()),
            class_weights: None,
            total_weight: self.vocabulary as f64,
            divisors: self.divisors,
            companion: None,
            candidates: None,
            zero_at_target: head.zero_at_target,
            second: None,
            target_logits: None,
            sparse: Vec::new(),
            sparse_starts: Vec::new(),
        }
    }

    /// The second head, where the fold itself needs its logits.
    pub(crate) fn second_in_fold(&self) -> Option<&Self> {
        self.second.as_deref().filter(|_| self.loss.needs.companion)
    }

    /// The classes of a row's sparse target within a range, with (1−ε) t w of each.
    pub(crate) fn sparse_of(&self, row: &Row, classes: Range<usize>) -> &[(u32, f64)] {
        let Some(&start) = self.sparse_starts.get(row.target_row) else { return &[] };
        let all = &self.sparse[start..self.sparse_starts[row.target_row + 1]];
        let from = all.partition_point(|&(class, _)| (class as usize) < classes.start);
        let to = all.partition_point(|&(class, _)| (class as usize) < classes.end);
        &all[from..to]
    }

    /// w_v, without the power of two that is in the divisors.
    pub(crate) fn class_weight(&self, class: usize) -> f64 {
        self.class_weights.as_ref().map_or(1.0, |weights| weights[class].to_f64())
    }

    /// That of a row's hard target; 1 of soft ones.
    pub(crate) fn class_weight_of(&self, row: &Row) -> f64 {
        match self.targets {
            Targets::Hard(_) => self.class_weight(row.target as usize),
            _ => 1.0,
        }
    }

    /// What the class is weighed with in the deviation: its class weight where that is smoothing, else 1.
    pub(crate) fn weight_in_deviation(&self, class: usize) -> f64 {
        if self.loss.needs.smoothing() > 0.0 { self.class_weight(class) } else { 1.0 }
    }

    /// The sum of these weights over the whole vocabulary.
    pub(crate) fn total_in_deviation(&self) -> f64 {
        match self.loss.needs.smoothing() > 0.0 {
            true => self.total_weight,
            false => self.vocabulary as f64,
        }
    }

    /// What makes logits of the row's products.
    pub(crate) fn transform_of(&self, row: &Row) -> Transform {
        match row.temperature == self.loss.temperature {
            true => self.loss.transform,
            false => Transform { scale: self.loss.scale / row.temperature, ..self.loss.transform },
        }
    }

    /// What the row's loss is computed from.
    pub(crate) fn scalars(
        &self,
        row: &Row,
        state: &RowState,
        second: Option<&SecondRow>,
    ) -> RowScalars {
        let scalars = RowScalars::new(state, self.vocabulary)
            .with_needs(self.loss.needs)
            .with_temperature(row.temperature);
        let scalars = match second {
            Some(row) => scalars.with_second_head(row.divergences, row.entropy),
            None => scalars,
        };
        match self.targets {
            Targets::Hard(_) => {
                let weight = self.class_weight(row.target as usize);
                scalars.with_class_weight(times_power(weight, self.divisors.of_weights))
            }
            _ => scalars.with_soft_targets(),
        }
    }

    /// Of a row the upstream of its weighted term over the divisor, times these factors and 2^`exponent`:
    /// one quotient, of which no step leaves the range of f64 where the result does not.
    pub(crate) fn share(
        &self,
        upstream: &RowUpstream,
        factors: impl IntoIterator<Item = f64>,
        exponent: i64,
    ) -> f64 {
        if upstream.has_no_loss() {
            return 0.0;
        }
        let all = upstream.loss.into_iter().chain(factors);
        quotient(all, self.divisors.weighted, self.divisors.exponent + exponent)
    }

    /// The same of the plain term.
    pub(crate) fn plain_share(
        &self,
        upstream: &RowUpstream,
        factors: impl IntoIterator<Item = f64>,
        exponent: i64,
    ) -> f64 {
        if upstream.has_no_loss() {
            return 0.0;
        }
        let all = factors.into_iter().chain(upstream.loss);
        quotient(all, self.divisors.plain, exponent)
    }
}

/// The class weights as they are computed with, and the power of two that they are to be multiplied
/// with: 0 for weights of ordinary sizes, whose bits stay. Others come nearer to 1, so that no sum of
/// them and no product with them leaves the type.
fn scaled_weights<R: Real>(weights: Vector<'_>) -> (Vec<R>, i64) {
    let room = if R::EPSILON > f64::EPSILON { 40 } else { 300 };
    let (mut least, mut most) = (i64::MAX, i64::MIN);
    let exponents = (0..weights.len()).map(|i| weights.at(i)).filter(|&weight| weight != 0.0);
    for exponent in exponents.map(exponent) {
        (least, most) = (least.min(exponent), most.max(exponent));
    }
    let taken = match (least < -room, most > room) {
        _ if least > most => 0,
        (_, true) => most - room,
        (true, false) => (least + room).max(most - room),
        (false, false) => 0,
    };
    if taken == 0 {
        return (weights.to_vec(), 0);
    }
    let near = |i| R::from_f64(times_power(weights.at(i), -taken));
    ((0..weights.len()).map(near).collect(), taken)
}
