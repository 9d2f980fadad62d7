//! The arrays that the arguments name, and what their target weights sum to.

use ndarray::{Array1, ArrayView2};

use surprisal::{Element, Forward, Matrix};

use super::arguments::{Loss, Temperature};
use super::candidates::Lists;
use crate::Failure;
use crate::arrays::{Opened, check_rows, each_matrix};
use crate::teacher::{self, Tail, Teacher};

/// The arrays of a call, as they were opened.
pub(super) struct Arrays {
    pub(super) hidden: Option<Opened>,
    pub(super) classifier: Option<Opened>,
    pub(super) logits: Option<Opened>,
    pub(super) targets: Option<Array1<i64>>,
    pub(super) soft_targets: Option<Opened>,
    pub(super) teacher: Option<Teacher>,
    pub(super) candidates: Option<Lists>,
    pub(super) ignored: Option<Vec<bool>>,
    pub(super) bias: Option<Opened>,
    pub(super) class_weights: Option<Opened>,
    pub(super) token_weights: Option<Opened>,
    pub(super) upstream: Option<Opened>,
    pub(super) temperatures: Option<Opened>,
    pub(super) costs: Option<Opened>,
    pub(super) second: Second,
}

/// The arrays of a second head.
pub(super) struct Second {
    pub(super) hidden: Option<Opened>,
    pub(super) classifier: Option<Opened>,
    pub(super) logits: Option<Opened>,
    pub(super) bias: Option<Opened>,
}

/// Which target each loss is of, where rows predict later ones.
#[derive(Clone, Copy)]
pub(super) struct Positions {
    pub(super) targets: usize,
    sequence: usize,
    shift: usize,
}

impl Positions {
    /// The target of a loss.
    fn target(&self, loss: usize) -> usize {
        let losses = self.sequence.saturating_sub(self.shift).max(1);
        loss / losses * self.sequence + loss % losses + self.shift
    }

    /// Numbers of losses at their targets, another at those that have none.
    pub(super) fn of_targets(&self, losses: &Array1<f64>, otherwise: f64) -> Array1<f64> {
        let mut of = Array1::from_elem(self.targets, otherwise);
        for (loss, &number) in losses.iter().enumerate() {
            of[self.target(loss)] = number;
        }
        of
    }

    /// The class that each row of hidden states predicts, −1 for none.
    pub(super) fn predicted(&self, classes: &Array1<i64>) -> Vec<i64> {
        let row = |row: usize| match row % self.sequence.max(1) + self.shift < self.sequence {
            true => classes.get(row + self.shift).copied().unwrap_or(-1),
            false => -1,
        };
        (0..self.targets).map(row).collect()
    }
}

/// What the target weights of the rows that take part sum to.
#[derive(Clone, Copy)]
pub(super) struct Mass {
    pub(super) mean: f64,
    /// Whether each row is a distribution.
    pub(super) whole: bool,
}

impl Arrays {
    /// Opens what a call names; arrays of rows must have as many.
    pub(super) fn open(call: &Loss) -> Result<Self, Failure> {
        let classes = Opened::optional("--targets", call.targets.as_ref())?;
        let targets = classes.as_ref().map(Opened::classes).transpose()?;
        let ignored = ignored(call, targets.as_ref())?;
        let listed = Opened::optional("--candidates", call.candidates.as_ref())?;
        let others = call.emits_others();
        let arrays = Self {
            hidden: Opened::optional("--hidden", call.hidden.as_ref())?,
            classifier: Opened::optional("--classifier", call.classifier.as_ref())?,
            logits: Opened::optional("--logits", call.logits.as_ref())?,
            targets,
            soft_targets: Opened::optional("--soft-targets", call.soft_targets.as_ref())?,
            teacher: teacher(call, ignored.as_deref())?,
            candidates: listed.as_ref().map(|file| Lists::read(file, others)).transpose()?,
            ignored,
            bias: Opened::optional("--bias", call.bias.as_ref())?,
            class_weights: Opened::optional("--class-weights", call.class_weights.as_ref())?,
            token_weights: Opened::optional("--token-weights", call.token_weights.as_ref())?,
            upstream: Opened::optional("--upstream", call.upstream.as_ref())?,
            temperatures: match &call.temperature {
                Some(Temperature::Each(file)) => Some(Opened::new("--temperature", file)?),
                _ => None,
            },
            costs: Opened::optional("--costs", call.costs.as_ref())?,
            second: Second {
                hidden: Opened::optional("--teacher-hidden", call.teacher_hidden.as_ref())?,
                classifier: Opened::optional(
                    "--teacher-classifier",
                    call.teacher_classifier.as_ref(),
                )?,
                logits: Opened::optional("--teacher-logits", call.teacher_logits.as_ref())?,
                bias: Opened::optional("--teacher-bias", call.teacher_bias.as_ref())?,
            },
        };
        check_rows([
            (arrays.hidden.as_ref().or(arrays.logits.as_ref()), 1),
            (classes.as_ref(), 0),
            (arrays.soft_targets.as_ref(), 1),
            (arrays.token_weights.as_ref(), 0),
            (arrays.temperatures.as_ref(), 0),
            (arrays.second.hidden.as_ref().or(arrays.second.logits.as_ref()), 1),
            (listed.as_ref(), 1),
            (arrays.upstream.as_ref(), usize::from(listed.is_some())),
        ])?;
        Ok(arrays)
    }

    /// The matrices whose type says what is computed in.
    pub(super) fn matrices(&mut self) -> impl Iterator<Item = &mut Opened> {
        let Second { hidden, classifier, logits, .. } = &mut self.second;
        let first = [&mut self.hidden, &mut self.classifier, &mut self.logits];
        first.into_iter().chain([hidden, classifier, logits]).flatten()
    }

    /// What has the rows of the first head.
    fn rows(&self) -> Result<&Opened, Failure> {
        let rows = self.hidden.as_ref().or(self.logits.as_ref());
        rows.ok_or_else(|| Failure::Input("--hidden and --classifier are missing".into()))
    }

    /// The number of classes.
    pub(super) fn classes(&self) -> Result<usize, Failure> {
        match (&self.classifier, &self.logits) {
            (Some(classifier), _) => Ok(classifier.matrix()?.dim().0),
            (None, Some(logits)) => Ok(logits.matrix()?.dim().1),
            _ => Err(Failure::Input("--hidden and --classifier are missing".into())),
        }
    }

    /// The targets of the losses, of rows that predict those so far after them.
    pub(super) fn positions(&self, shift: Option<usize>) -> Result<Positions, Failure> {
        let rows = self.rows()?;
        let targets = rows.matrix()?.dim().0;
        let sequence = rows.sequence().unwrap_or(targets);
        Ok(Positions { targets, sequence, shift: shift.unwrap_or(0) })
    }

    /// The mass of targets that are no classes.
    pub(super) fn mass(
        &self,
        shift: Option<usize>,
        forward: &Forward,
    ) -> Result<Option<Mass>, Failure> {
        let (sums, narrow): (Array1<f64>, bool) = match (&self.soft_targets, &self.teacher) {
            (Some(weights), _) => {
                let weights = weights.matrix()?;
                let narrow = !matches!(weights, Matrix::F64(_));
                (each_matrix!(weights, view => row_sums(&view)), narrow)
            }
            (None, Some(teacher)) => (row_sums(&teacher.weights.view()), teacher.narrow),
            (None, None) => return Ok(None),
        };
        let positions = self.positions(shift)?;
        let tolerance = if narrow { 1e-2 } else { 1e-3 };
        let (mut sum, mut whole) = (0.0, true);
        let argmax = forward.argmax();
        let kept = argmax.iter().enumerate().filter(|(_, class)| **class >= 0);
        for (row, _) in kept {
            let mass = sums[positions.target(row)];
            sum += mass;
            whole &= (mass - 1.0).abs() <= tolerance;
        }
        Ok(Some(Mass { mean: sum / forward.rows_kept() as f64, whole }))
    }
}

/// The rows that --ignore names, or beside soft targets the classes of --targets.
fn ignored(call: &Loss, classes: Option<&Array1<i64>>) -> Result<Option<Vec<bool>>, Failure> {
    let file = Opened::optional("--ignore", call.ignore.as_ref())?;
    let mut flags = file.as_ref().map(teacher::flags).transpose()?;
    if let Some(classes) = classes.filter(|_| call.soft()) {
        let index = call.ignored_class();
        let own = classes.iter().map(|&class| class == index);
        flags = Some(match flags {
            None => own.collect(),
            Some(flags) if flags.len() == classes.len() => {
                flags.iter().zip(own).map(|(&a, b)| a || b).collect()
            }
            Some(flags) => {
                return Err(Failure::Input(format!(
                    "--ignore has {} rows and --targets {}, expected as many",
                    flags.len(),
                    classes.len()
                )));
            }
        });
    }
    Ok(flags)
}

/// The teacher's lists.
fn teacher(call: &Loss, ignored: Option<&[bool]>) -> Result<Option<Teacher>, Failure> {
    let classes = Opened::optional("--teacher-classes", call.teacher_classes.as_ref())?;
    let logs = Opened::optional("--teacher-log-probs", call.teacher_log_probs.as_ref())?;
    let Some((classes, logs)) = classes.zip(logs) else { return Ok(None) };
    let tail = call.tail.unwrap_or(Tail::Drop);
    let index = call.ignored_class();
    Teacher::read(&classes, &logs, tail, index, ignored).map(Some)
}

fn row_sums<T: Element>(weights: &ArrayView2<'_, T>) -> Array1<f64> {
    weights.outer_iter().map(|row| row.iter().map(|weight| weight.to_f64()).sum()).collect()
}
