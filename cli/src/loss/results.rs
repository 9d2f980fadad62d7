//! What is printed and written of a loss.

use ndarray::{Array, Dimension};
use std::path::Path;

use surprisal::io::{NpyElement, write_npy};
use surprisal::loss::{ClassOrder, RankedLosses};
use surprisal::{Forward, LinearCrossEntropy, Pass, Real, Reduction, Shapes, Statistic, TopK};

use super::arguments::{Emit, Loss};
use super::inputs::{Arrays, Mass};
use super::objective::Objective;
use crate::arrays::Opened;
use crate::device::Place;
use crate::output::{note, number, optional};
use crate::report::{Report, bytes, duration, percent, significant};
use crate::{Failure, Global};

/// A strategy with what it does.
pub fn of_strategy(name: &str) -> String {
    let does = match name {
        "forward" => "no gradients",
        "strip" => "the logits of some rows are kept for the gradients",
        _ => "the logits are made again for the gradients",
    };
    format!("{name} ({does})")
}

/// What was computed, how and for how long.
pub(super) struct Computed {
    pub(super) loss: LinearCrossEntropy,
    pub(super) shapes: Shapes,
    pub(super) pass: Pass,
    pub(super) forward: Forward,
    pub(super) ranked: Option<RankedLosses>,
    pub(super) seconds: f64,
}

impl Loss {
    /// Notes where a result is not a number, and why.
    fn tell_what_is_missing(&self, forward: &Forward, quiet: bool) {
        if forward.rows_kept() == 0 {
            let why = if forward.is_empty() { "there are none" } else { "all are ignored" };
            return note(quiet, &format!("no row takes part: {why}, so there is no mean"));
        }
        // The loss of a row that is ignored is 0.
        if let Some(row) = forward.losses().iter().position(|loss| loss.is_nan()) {
            let of = match self.logits {
                Some(_) => "finite logits",
                None => "finite hidden states, classifier and bias",
            };
            note(quiet, &format!("row {row} is NaN: expected {of}"));
        }
    }

    /// Prints what the loss is and what computing it took.
    pub(super) fn report(
        &self,
        global: &Global,
        objective: &Objective,
        arrays: &Arrays,
        place: &Place,
        computed: &Computed,
    ) -> Result<(), Failure> {
        let Computed { loss, shapes, pass, forward, ranked, seconds } = computed;
        let (pass, seconds) = (*pass, *seconds);
        let plan = loss.plan(shapes, pass)?;
        let (mut operations, mut workspace) = (plan.operations as f64, plan.workspace_bytes);
        let mut strategy = plan.strategy.map_or("forward", |strategy| strategy.name());
        let width = |array: &Option<Opened>| match array {
            Some(array) => array.matrix().map(|matrix| if matrix.epsilon() > 1e-4 { 2 } else { 4 }),
            None => Ok(4),
        };
        let widths = [width(&arrays.hidden)?, width(&arrays.classifier)?];
        let sizes = [shapes.rows, shapes.hidden, shapes.vocabulary];
        let gradients = pass != Pass::Forward;
        if let Some(there) = place.workspace(sizes, widths, gradients)? {
            let [rows, hidden, vocabulary] = sizes.map(|size| size as f64);
            operations = if gradients { 8.0 } else { 2.0 } * rows * hidden * vocabulary;
            strategy = if gradients { "recompute" } else { "forward" };
            workspace = there;
        }
        self.tell_what_is_missing(forward, global.quiet);
        let mass = arrays.mass(self.shift, forward)?;
        // A sum over other weights than a distribution's is no surprisal.
        let whole = mass.is_none_or(|mass| mass.whole);
        let targets = !self.has_no_targets();
        let surprisal = forward.mean_surprisal().filter(|_| whole && targets);
        let accuracy = forward.accuracy().filter(|_| targets);
        let reduction = self.reduced()?;
        let one = match ranked {
            Some(losses) => Some(losses.loss()),
            None => self.has_loss().then(|| forward.loss()),
        };
        let scalar = one.filter(|_| reduction != Reduction::None);
        let kept = forward.rows_kept() as f64 / forward.len().max(1) as f64;
        let rate = operations * kept / seconds.max(1e-9) / 1e9;
        let unit = match reduction {
            Reduction::Mean if !objective.is_plain() => "a token",
            Reduction::Divide(_) if !objective.is_plain() => "the sum over the divisor",
            _ if !objective.is_plain() => "in all",
            Reduction::Mean if self.class_weights.is_some() => "nats a token, weighed by class",
            Reduction::Mean => "nats a token",
            Reduction::Divide(_) => "nats, the sum over the divisor",
            _ => "nats in all",
        };
        let with_unit = |value: Option<f64>, digits, unit: &str| match value {
            Some(value) => format!("{} {unit}", significant(value, digits)),
            None => "-".into(),
        };
        let of_surprisal = |value: Option<f64>, unit: &str| match whole {
            true => with_unit(value, 5, unit),
            false => "- (target weights do not sum to 1)".into(),
        };
        let bits = surprisal.map(|nats| nats / std::f64::consts::LN_2);
        let perplexity = surprisal.map(f64::exp);
        let largest = (shapes.vocabulary as f64).ln();
        let mut report = Report::new();
        report.add("loss", optional(scalar), with_unit(scalar, 6, unit));
        report.add(
            "perplexity",
            optional(perplexity),
            of_surprisal(perplexity, "(e to the mean surprisal)"),
        );
        report.add("bits_per_token", optional(bits), of_surprisal(bits, "bits"));
        match mass {
            Some(Mass { mean, whole: false }) => {
                let text = format!("{} of a row on average", significant(mean, 3));
                report.add("mean_target_weight", number(mean), text);
            }
            Some(Mass { mean, .. }) => report.add_json("mean_target_weight", number(mean)),
            None => {}
        }
        report.add("tokens", forward.rows_kept(), forward.rows_kept().to_string());
        let ignored = forward.len() - forward.rows_kept();
        report.add("ignored", ignored, ignored.to_string());
        report.add(
            "accuracy",
            optional(accuracy),
            accuracy.filter(|a| !a.is_nan()).map_or_else(|| "-".into(), percent),
        );
        report.add(
            "mean_entropy",
            optional(forward.mean_entropy()),
            with_unit(
                forward.mean_entropy(),
                5,
                &format!("nats (at most ln V = {})", significant(largest, 4)),
            ),
        );
        report.add("seconds", number(seconds), duration(seconds));
        let text = match &arrays.logits {
            Some(_) => "- (no products: the logits are given)".into(),
            None => format!("{} GFLOP/s", significant(rate, 3)),
        };
        report.add("gflops", number(rate), text);
        report.add("workspace_bytes", workspace, bytes(workspace));
        report.add("strategy", strategy, of_strategy(strategy));
        if let Some(adapter) = place.adapter() {
            report.add("adapter", adapter, adapter);
        }
        if let Some((kept, mass)) = forward.segments_kept().zip(forward.dropped_mass()) {
            let text = format!("{} of the blocks of 32 classes", percent(kept));
            report.add("tiles_kept", number(kept), text);
            let text = format!("{} of a row's probability at most", significant(mass.largest, 2));
            report.add("dropped_mass_max", number(mass.largest), text);
        }
        report.print(global.json)
    }

    /// Writes what --emit names.
    pub(super) fn write<R: Real + NpyElement>(
        &self,
        forward: &Forward,
        order: Option<&ClassOrder>,
        ranked: Option<&RankedLosses>,
        out: &Path,
    ) -> Result<(), Failure> {
        for emit in &self.emit {
            match *emit {
                Emit::Statistic(name, statistic) => {
                    let values = match ranked.filter(|_| statistic == Statistic::Loss) {
                        Some(losses) => losses.values.mapv(R::from_f64),
                        None => forward.statistic(statistic)?.mapv(R::from_f64),
                    };
                    write_npy(&out.join(format!("{name}.npy")), values.view())?;
                }
                Emit::Argmax => {
                    let classes = named(forward.argmax(), order);
                    write_npy(&out.join("argmax.npy"), classes.view())?;
                }
                Emit::Rank => write_npy(&out.join("rank.npy"), forward.rank()?.view())?,
                Emit::TopK(_) => {
                    let TopK { classes, log_probabilities, .. } = forward.top_k();
                    write_npy(&out.join("topk.npy"), named(classes, order).view())?;
                    let log_probabilities = log_probabilities.mapv(R::from_f64);
                    write_npy(&out.join("topk_logprob.npy"), log_probabilities.view())?;
                }
                Emit::Candidates => {
                    let own = forward.candidates()?.log_probabilities.mapv(R::from_f64);
                    write_npy(&out.join("candidates.npy"), own.view())?;
                }
                Emit::Others => {
                    let others = forward.candidates()?.log_others.mapv(R::from_f64);
                    write_npy(&out.join("others.npy"), others.view())?;
                }
            }
        }
        Ok(())
    }
}

/// Classes that were named by their positions in an order.
fn named<D: Dimension>(classes: Array<i64, D>, order: Option<&ClassOrder>) -> Array<i64, D> {
    match order {
        Some(order) => order.restored_classes(classes.view()),
        None => classes,
    }
}
