//! The classes whose log-probabilities are asked for.

use ndarray::Array2;

use surprisal::loss::Candidates;
use surprisal::{Inputs, Upstream};

use crate::Failure;
use crate::arrays::Opened;

/// `[N,K]` classes, from integers of which −1 names none.
pub(super) struct Lists {
    classes: Array2<u32>,
    /// Whether what they leave to the others is asked for.
    others: bool,
}

impl Lists {
    pub(super) fn read(file: &Opened, others: bool) -> Result<Self, Failure> {
        Ok(Self { classes: classes_of(file, "--candidates")?, others })
    }

    pub(super) fn add<'a>(&'a self, inputs: Inputs<'a>) -> Inputs<'a> {
        let candidates = Candidates::new(&self.classes);
        inputs.candidates(if self.others { candidates.with_others() } else { candidates })
    }

    /// What comes in for them, and nothing for the loss.
    pub(super) fn upstream(file: &Opened) -> Result<Upstream<'_>, Failure> {
        Ok(Upstream::scalar(0.0).candidates(file.matrix()?))
    }
}

/// Classes of each row, from integers of which −1 names none.
pub(super) fn classes_of(file: &Opened, flag: &'static str) -> Result<Array2<u32>, Failure> {
    let expected = "integers [N,K]";
    let numbers = file.view().to_i64(flag)?;
    let (rows, columns) = match numbers.shape() {
        [rows @ .., columns] if !rows.is_empty() && *columns > 0 => {
            (rows.iter().product::<usize>(), *columns)
        }
        _ => return Err(file.unfit(expected)),
    };
    let mut classes = Vec::with_capacity(numbers.len());
    for (at, &number) in numbers.iter().enumerate() {
        let class = match number {
            -1 => Some(Candidates::NONE),
            number => u32::try_from(number).ok().filter(|&class| class != Candidates::NONE),
        };
        classes.push(class.ok_or_else(|| {
            let (i, j) = (at / columns, at % columns);
            Failure::Input(format!(
                "{flag}[{i}, {j}] is {number}, expected a class, or -1 for none"
            ))
        })?);
    }
    Array2::from_shape_vec((rows, columns), classes).map_err(|_| file.unfit(expected))
}
