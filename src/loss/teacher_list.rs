//! The likeliest classes of a teacher, with their probabilities.

use ndarray::ArrayView2;

use super::candidates::Candidates;
use super::outcomes::{log_complement, log_sum};
use crate::error::{Error, Result, short};
use crate::matrix::{Matrix, Vector};

/// `[N,K]` classes with their probabilities under a teacher: what is kept of it where its logits are not, or what a
/// server tells. A row that has fewer than K classes names [`Candidates::NONE`] in their place; no class stands
/// twice in a row. What the rows have that take no part is not read, but for the classes.
///
/// [`ListDivergence`](super::ListDivergence) compares a student with it.
///
/// ```
/// use ndarray::arr2;
/// use surprisal::loss::{Candidates, TeacherList};
/// let classes = arr2(&[[7_u32, 2], [0, Candidates::NONE]]);
/// let probabilities = arr2(&[[0.5_f32, 0.25], [0.875, f32::NAN]]);
/// let teacher = TeacherList::from_probabilities(&classes, &probabilities)?;
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TeacherList<'a> {
    pub(super) classes: ArrayView2<'a, u32>,
    numbers: Matrix<'a>,
    /// Whether these are logarithms.
    logarithms: bool,
    log_others: Option<Vector<'a>>,
}

/// A class of one row, by its place, with ln P.
pub(super) type Entry = (usize, f64);

impl<'a> TeacherList<'a> {
    /// These classes with their log-probabilities in nats, at most 0; −∞ is a class that the teacher does not have.
    /// No temperature is applied to them.
    ///
    /// ```
    /// use ndarray::arr2;
    /// use surprisal::loss::TeacherList;
    /// let (classes, logs) = (arr2(&[[7_u32, 2]]), arr2(&[[-0.5_f64, -1.5]]));
    /// assert!(TeacherList::new(&classes, &logs).is_ok());
    /// assert!(TeacherList::new(&classes, &arr2(&[[-0.5_f64]])).is_err());
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] where the two have other shapes.
    pub fn new(
        classes: impl Into<ArrayView2<'a, u32>>,
        log_probabilities: impl Into<Matrix<'a>>,
    ) -> Result<Self> {
        Self::of(classes.into(), log_probabilities.into(), true)
    }

    /// These classes with their probabilities, from 0 to 1.
    ///
    /// ```
    /// use ndarray::arr2;
    /// use surprisal::loss::TeacherList;
    /// let (classes, probabilities) = (arr2(&[[7_u32, 2]]), arr2(&[[0.5_f32, 0.25]]));
    /// assert!(TeacherList::from_probabilities(&classes, &probabilities).is_ok());
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] where the two have other shapes.
    pub fn from_probabilities(
        classes: impl Into<ArrayView2<'a, u32>>,
        probabilities: impl Into<Matrix<'a>>,
    ) -> Result<Self> {
        Self::of(classes.into(), probabilities.into(), false)
    }

    fn of(classes: ArrayView2<'a, u32>, numbers: Matrix<'a>, logarithms: bool) -> Result<Self> {
        match classes.dim() == numbers.dim() {
            true => Ok(Self { classes, numbers, logarithms, log_others: None }),
            false => {
                let ((rows, k), found) = (classes.dim(), numbers.dim());
                Err(Error::Shape {
                    argument: "the teacher's probabilities",
                    found: vec![found.0, found.1],
                    expected: format!("[{rows}, {k}], as the classes have"),
                })
            }
        }
    }

    /// `[N]` logarithms, in nats, of what the teacher's other classes have together, as
    /// [`Forward::candidates`](crate::Forward::candidates) gives them: 1 less the listed probabilities has few
    /// digits where these are nearly everything.
    ///
    /// ```
    /// use ndarray::{arr1, arr2};
    /// use surprisal::loss::TeacherList;
    /// let (classes, logs) = (arr2(&[[7_u32]]), arr2(&[[-1e-20_f64]]));
    /// let teacher = TeacherList::new(&classes, &logs)?.log_others(&arr1(&[-46.0517]))?;
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] where there is not one for each row.
    pub fn log_others(mut self, log_others: impl Into<Vector<'a>>) -> Result<Self> {
        let (log_others, rows) = (log_others.into(), self.classes.dim().0);
        if log_others.len() != rows {
            return Err(Error::Shape {
                argument: "the logarithms of the others",
                found: vec![log_others.len()],
                expected: format!("[{rows}], the number of rows"),
            });
        }
        self.log_others = Some(log_others);
        Ok(self)
    }

    /// The classes, to be given to a student's [`Inputs::candidates`](crate::Inputs::candidates).
    pub(super) fn candidates(&self) -> Candidates<'_> {
        Candidates::new(self.classes.view())
    }

    /// Puts the classes of a row, with ln P, in the place of what `to` has.
    pub(super) fn read(&self, row: usize, to: &mut Vec<Entry>) -> Result<()> {
        let argument = match self.logarithms {
            true => "the teacher's log-probabilities",
            false => "the teacher's probabilities",
        };
        to.clear();
        let (mut rounded, epsilon) = (0.0, self.numbers.epsilon() / 2.0);
        for (at, _) in self.named(row) {
            let number = self.numbers.at(row, at);
            let (good, expected) = match self.logarithms {
                true => (number <= EXCESS, "the logarithm of a probability, at most 0"),
                false => ((0.0..=1.0 + EXCESS).contains(&number), "a probability, from 0 to 1"),
            };
            if !good {
                let (index, value) = (vec![row, at], short(number));
                return Err(Error::Value { argument, index, value, expected });
            }
            let logarithm = if self.logarithms { number } else { number.ln() };
            if logarithm > f64::NEG_INFINITY {
                let moved = if self.logarithms { logarithm.abs() } else { 1.0 };
                rounded += logarithm.exp() * moved * epsilon;
            }
            to.push((at, logarithm));
        }
        let mut classes: Vec<(u32, usize)> =
            self.named(row).map(|(at, &class)| (class, at)).collect();
        classes.sort_unstable();
        if let Some(pair) = classes.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(Error::Value {
                argument: "the teacher's classes",
                index: vec![row, pair[1].1],
                value: pair[1].0.to_string(),
                expected: "a class that the row does not name already",
            });
        }
        let others = self.log_others.map(|others| others.at(row));
        if let Some(number) = others.filter(|number| number.is_nan() || *number > EXCESS) {
            return Err(Error::Value {
                argument: "the logarithms of the others",
                index: vec![row],
                value: short(number),
                expected: "the logarithm of a probability, at most 0",
            });
        }
        let mass = to.iter().map(|entry| entry.1.exp()).sum::<f64>() + others.map_or(0.0, f64::exp);
        if mass > 1.0 + EXCESS + rounded {
            return Err(Error::Value {
                argument,
                index: vec![row],
                value: format!("a row that sums to {}", short(mass)),
                expected: "probabilities that sum to at most 1",
            });
        }
        Ok(())
    }

    /// The places of a row that name a class.
    fn named(&self, row: usize) -> impl Iterator<Item = (usize, &u32)> {
        let classes = self.classes.row(row).into_iter().enumerate();
        classes.filter(|&(_, &class)| class != Candidates::NONE)
    }

    /// ln of what a row's classes leave to the others: −∞ where they have everything.
    pub(super) fn log_tail(&self, row: usize, entries: &[Entry]) -> f64 {
        if let Some(others) = self.log_others {
            return others.at(row);
        }
        let (most, others) = log_sum(entries.iter().map(|entry| entry.1));
        match most == f64::NEG_INFINITY {
            true => 0.0,
            false => log_complement((most + others.ln_1p()).min(0.0)),
        }
    }
}

/// How far above 1 probabilities may sum, beyond what the rounding of their type explains.
const EXCESS: f64 = 1e-3;
