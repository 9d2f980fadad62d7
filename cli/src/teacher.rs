//! Files that stand beside the targets: a teacher's likeliest classes, and the rows to ignore.

use clap::ValueEnum;
use ndarray::{Array2, ArrayD};

use surprisal::Element;
use surprisal::io::TensorView;

use crate::Failure;
use crate::arrays::Opened;

/// What becomes of the probability that a teacher's list does not name.
#[derive(Clone, Copy, ValueEnum, PartialEq)]
pub enum Tail {
    /// It is left out: the weights of a row sum to less than 1
    Drop,
    /// The listed probabilities are divided by their sum
    Renormalise,
}

/// Sparse soft targets: classes and weights, N×K each.
pub struct Teacher {
    pub classes: Array2<u32>,
    pub weights: Array2<f64>,
    /// Whether the file's numbers are narrower than f64.
    pub narrow: bool,
}

impl Teacher {
    /// From classes [N,K] and their natural log-probabilities [N,K]. A class of −1 or of
    /// `ignore_index` names none; nor is anything asked of the rows of `ignored`.
    pub fn read(
        classes: &Opened,
        log_probabilities: &Opened,
        tail: Tail,
        ignore_index: i64,
        ignored: Option<&[bool]>,
    ) -> Result<Self, Failure> {
        let numbers = classes.view().to_i64("--teacher-classes")?;
        let numbers = matrix(numbers).ok_or_else(|| classes.unfit("integers [N,K]"))?;
        let logs = floats(&log_probabilities.view()).and_then(matrix);
        let logs = logs.ok_or_else(|| log_probabilities.unfit("numbers [N,K]"))?;
        if logs.dim() != numbers.dim() {
            let (rows, columns) = numbers.dim();
            let expected = format!("[{rows}, {columns}], as --teacher-classes has");
            return Err(log_probabilities.unfit(&expected));
        }
        // How far rounding moves a logarithm, and by that much of itself its probability.
        let rounding = match log_probabilities.view() {
            TensorView::F64(_) => 0.0,
            TensorView::F16(_) => 2_f64.powi(-11),
            TensorView::Bf16(_) => 2_f64.powi(-8),
            _ => 2_f64.powi(-24),
        };
        let mut classes = Array2::zeros(numbers.dim());
        let mut weights = Array2::zeros(numbers.dim());
        for (i, numbers) in numbers.outer_iter().enumerate() {
            if ignored.is_some_and(|ignored| ignored.get(i) == Some(&true)) {
                continue;
            }
            let named = |class: i64| class != -1 && class != ignore_index;
            let mut most = f64::NEG_INFINITY;
            for (j, &class) in numbers.iter().enumerate().filter(|(_, class)| named(**class)) {
                let log = logs[[i, j]];
                classes[[i, j]] = u32::try_from(class).map_err(|_| {
                    Failure::Input(format!(
                        "--teacher-classes[{i}, {j}] is {class}, expected a class, or -1 for none"
                    ))
                })?;
                if log.is_nan() || log > MOST {
                    return Err(Failure::Input(format!(
                        "--teacher-log-probs[{i}, {j}] is {log}, expected the logarithm of a \
                         probability, at most 0"
                    )));
                }
                most = most.max(log);
            }
            let mut once: Vec<i64> =
                numbers.iter().copied().filter(|&class| named(class)).collect();
            once.sort_unstable();
            if let Some(twice) = once.windows(2).find(|pair| pair[0] == pair[1]) {
                return Err(Failure::Input(format!(
                    "--teacher-classes: row {i} names class {} twice, expected each class once",
                    twice[0]
                )));
            }
            // Below the largest, so that none of a row of tiny ones is lost.
            let base = if tail == Tail::Drop { 0.0 } else { most };
            let (mut sum, mut rounded) = (0.0, 0.0);
            for (j, _) in numbers.iter().enumerate().filter(|(_, class)| named(**class)) {
                weights[[i, j]] = (logs[[i, j]] - base).exp();
                sum += weights[[i, j]];
                if weights[[i, j]] > 0.0 {
                    rounded += weights[[i, j]] * logs[[i, j]].abs() * rounding;
                }
            }
            let (mass, room) = (sum * base.exp(), rounded * base.exp());
            if mass > 1.01 + room {
                return Err(Failure::Input(format!(
                    "--teacher-log-probs: the probabilities of row {i} sum to {mass:.4}, expected at \
                     most 1"
                )));
            }
            if tail == Tail::Renormalise {
                if sum.is_nan() || sum <= 0.0 {
                    return Err(Failure::Input(format!(
                        "--teacher-log-probs: row {i} has no probability to renormalise, expected \
                         a class or an ignored row"
                    )));
                }
                weights.row_mut(i).mapv_inplace(|weight| weight / sum);
            }
        }
        Ok(Self { classes, weights, narrow: rounding > 0.0 })
    }
}

/// The largest log-probability that is taken for a rounded 0, of files of 16 bits.
const MOST: f64 = 0.01;

/// A flag of each row: a vector of 0 and 1, or of booleans.
pub fn flags(opened: &Opened) -> Result<Vec<bool>, Failure> {
    let expected = "a vector of booleans, or of 0 and 1";
    let view = opened.view();
    if let TensorView::Bool(flags) = &view {
        return Ok(flags.iter().copied().collect());
    }
    let numbers = match floats(&view) {
        Some(numbers) => numbers,
        None => view.to_i64("--ignore")?.mapv(|number| number as f64),
    };
    let flag = |number: f64| match number {
        0.0 => Some(false),
        1.0 => Some(true),
        _ => None,
    };
    let flags: Option<Vec<bool>> = numbers.iter().map(|&number| flag(number)).collect();
    flags.ok_or_else(|| opened.unfit(expected))
}

/// Floating-point numbers in f64.
fn floats(view: &TensorView<'_>) -> Option<ArrayD<f64>> {
    Some(match view {
        TensorView::F64(view) => view.to_owned(),
        TensorView::F32(view) => view.mapv(f64::from),
        TensorView::F16(view) => view.mapv(Element::to_f64),
        TensorView::Bf16(view) => view.mapv(Element::to_f64),
        _ => return None,
    })
}

/// All axes but the last as one.
fn matrix<T: Clone>(array: ArrayD<T>) -> Option<Array2<T>> {
    let (&columns, rows) = array.shape().split_last()?;
    let shape = (rows.iter().product::<usize>(), columns);
    if rows.is_empty() {
        return None;
    }
    let numbers = array.iter().cloned().collect();
    Array2::from_shape_vec(shape, numbers).ok()
}
