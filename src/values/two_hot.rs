//! Two neighbouring atoms whose mean is a value.

use ndarray::{Array1, Array2, ArrayViewMut1};

use super::support::{Range, decode};
use crate::error::{Error, Result, short};
use crate::matrix::Matrix;

/// V atoms s_j = low + jΔ from one end of a range to the other, and for a value its two neighbours among them.
///
/// ```text
/// v between s_i and s_{i+1}:      τ_i = (s_{i+1} − v)/Δ      τ_{i+1} = (v − s_i)/Δ      Σ_j τ_j s_j = v
/// ```
///
/// A value beyond the range counts as its nearer end. [`project`](Self::project) spreads the atoms of a
/// distribution in the same way: the target of *C51* (Bellemare, Dabney and Munos 2017, *A Distributional
/// Perspective on Reinforcement Learning*).
///
/// Cases in `conformance/losses.jsonl`: `two_hot`, `two_hot_targets`, `c51`, `c51_targets`, `decode_value`.
///
/// ```
/// use surprisal::values::TwoHot;
/// let atoms = TwoHot::new(-1.0, 1.0, 3)?;
/// assert_eq!(atoms.targets(&[0.25])?, ndarray::arr2(&[[0.0, 0.75, 0.25]]));
/// // A reward of ½, and then nothing more: all of the mass is at ½.
/// let next = ndarray::arr2(&[[0.0_f64, 0.0, 0.0]]);
/// let target = atoms.project(&next, &[0.5], &[true], 0.9)?;
/// assert!((target[[0, 1]] - 0.5).abs() < 1e-15 && (target[[0, 2]] - 0.5).abs() < 1e-15);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct TwoHot {
    range: Range,
    centres: Array1<f64>,
}

impl TwoHot {
    /// So many atoms from `low` to `high`.
    ///
    /// # Errors
    /// [`Error::Option`] for a range that is none, and for fewer than two atoms.
    pub fn new(low: f64, high: f64, atoms: usize) -> Result<Self> {
        let range = Range::new(low, high, atoms, 2)?;
        let atom = |j: usize| range.at(j as f64 / (atoms - 1) as f64);
        Ok(Self { range, centres: (0..atoms).map(atom).collect() })
    }

    /// The atoms `[V]`.
    pub fn centres(&self) -> &Array1<f64> {
        &self.centres
    }

    /// Adds a mass at a value within the range to its neighbours.
    fn add(&self, value: f64, mass: f64, row: &mut ArrayViewMut1<'_, f64>) {
        let last = self.centres.len() - 1;
        let place = (value - self.range.low) / (self.range.high - self.range.low) * last as f64;
        let place = place.clamp(0.0, last as f64);
        let below = (place as usize).min(last - 1);
        let above = place - below as f64;
        row[below] += mass * (1.0 - above);
        row[below + 1] += mass * above;
    }

    /// The target of each value `[N,V]`.
    ///
    /// # Errors
    /// [`Error::Value`] for a value that is no number.
    pub fn targets(&self, values: &[f64]) -> Result<Array2<f64>> {
        let mut targets = Array2::zeros((values.len(), self.centres.len()));
        for (i, (&value, mut row)) in values.iter().zip(targets.rows_mut()).enumerate() {
            self.add(self.range.clamp("values", i, value)?, 1.0, &mut row);
        }
        Ok(targets)
    }

    /// The distribution `[N,V]` of r + γ s after a step with reward r, s being distributed over the atoms as the
    /// softmax of the next state's logits `[N,V]`; r alone where the episode is done.
    ///
    /// ```text
    /// m = Σ_j q_j · (two neighbours of r + γ (1 − done) s_j, brought into the range)
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of atoms, rewards or ends than there are rows; [`Error::Value`] for a
    /// reward that is not finite; [`Error::Option`] for a γ that is not from 0 to 1.
    pub fn project<'a>(
        &self,
        next_logits: impl Into<Matrix<'a>>,
        rewards: &[f64],
        done: &[bool],
        gamma: f64,
    ) -> Result<Array2<f64>> {
        self.project_here(next_logits.into(), rewards, done, gamma)
    }

    fn project_here(
        &self,
        next_logits: Matrix<'_>,
        rewards: &[f64],
        done: &[bool],
        gamma: f64,
    ) -> Result<Array2<f64>> {
        let next = next_logits;
        let (rows, atoms) = next.dim();
        if atoms != self.centres.len() {
            return Err(Error::Shape {
                argument: "the next logits",
                found: vec![rows, atoms],
                expected: format!("{} columns, one for each atom", self.centres.len()),
            });
        }
        for (argument, found) in [("rewards", rewards.len()), ("done", done.len())] {
            if found != rows {
                let expected = format!("[{rows}], one for each row of the next logits");
                return Err(Error::Shape { argument, found: vec![found], expected });
            }
        }
        if !(0.0..=1.0).contains(&gamma) {
            let expected = "a number from 0 to 1";
            return Err(Error::Option { name: "gamma", value: short(gamma), expected });
        }
        let mut targets = Array2::zeros((rows, atoms));
        for (i, mut row) in targets.rows_mut().into_iter().enumerate() {
            let reward = rewards[i];
            if !reward.is_finite() {
                return Err(Error::Value {
                    argument: "rewards",
                    index: vec![i],
                    value: short(reward),
                    expected: "a finite number",
                });
            }
            let logits: Vec<f64> = (0..atoms).map(|j| next.at(i, j)).collect();
            let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = logits.iter().map(|z| (z - largest).exp()).collect();
            let all: f64 = weights.iter().sum();
            for (&atom, weight) in self.centres.iter().zip(weights) {
                let after = if done[i] { 0.0 } else { gamma * atom };
                let value = self.range.clamp("rewards", i, reward + after)?;
                self.add(value, weight / all, &mut row);
            }
        }
        Ok(targets)
    }

    /// The value that each row of logits `[N,V]` stands for: the mean of the atoms under its softmax.
    ///
    /// # Errors
    /// [`Error::Shape`] for logits of another number of atoms.
    pub fn decode<'a>(&self, logits: impl Into<Matrix<'a>>) -> Result<Array1<f64>> {
        decode(logits.into(), &self.centres)
    }
}
