//! A coupling through a bottleneck.

use ndarray::Array2;

use super::bounded_map::EntropyBoundedMap;
use super::greedy::{Coupling, zeros};
use super::masses::check_distribution;
use super::unit::Unit;
use crate::error::Result;

/// A joint distribution of X and Y with given marginals p and q, all of whose dependence goes through T with H(T) ≤ R:
///
/// ```text
/// p(x,y) = Σ_t p(x,t) p(t,y) / p(t)      T = g(X)      (T,Y) coupled greedily
/// ```
///
/// The map g is the [`EntropyBoundedMap`] of p, the coupling of p_T and q the [greedy](Coupling::greedy) one. X – T – Y is
/// a Markov chain and T a function of X, so I(X;Y) = I(T;Y) ≤ min(R, H(q)): what a compressor and a restorer share when
/// R nats go from one to the other, and the restorer's outputs are distributed as q.
///
/// Ebrahimi et al. 2024, *Minimum Entropy Coupling with Bottleneck*. Cases in `conformance/geometry.jsonl`:
/// `bottleneck_coupling`.
///
/// ```
/// use surprisal::coupling::{BottleneckCoupling, Unit};
/// let coupling = BottleneckCoupling::of(&[0.25; 4], &[0.5, 0.5], 1.0, Unit::Bits)?;
/// assert_eq!(coupling.map().labels(), [Some(0), Some(0), Some(1), Some(1)]);
/// assert_eq!(coupling.mutual_information(Unit::Bits), 1.0);
/// assert_eq!(coupling.joint()?.row(2), ndarray::arr1(&[0.0, 0.25]));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct BottleneckCoupling {
    p: Vec<f64>,
    map: EntropyBoundedMap,
    of_groups: Coupling,
}

impl BottleneckCoupling {
    /// The coupling of p and q at this rate, which may be infinite.
    ///
    /// # Errors
    /// As [`EntropyBoundedMap::of`] and [`Coupling::greedy`].
    pub fn of(p: &[f64], q: &[f64], rate: f64, unit: Unit) -> Result<Self> {
        let map = EntropyBoundedMap::of(p, rate, unit)?;
        check_distribution("q", q)?;
        let of_groups = Coupling::of(&[map.masses(), q]);
        Ok(Self { p: p.to_vec(), map, of_groups })
    }

    /// The map of X to T; its entropy is H(T).
    pub fn map(&self) -> &EntropyBoundedMap {
        &self.map
    }

    /// The coupling of T and Y.
    pub fn groups(&self) -> &Coupling {
        &self.of_groups
    }

    /// I(X;Y) = I(T;Y).
    pub fn mutual_information(&self, unit: Unit) -> f64 {
        self.of_groups.total_correlation(unit)
    }

    /// The joint distribution of X and Y `[n,m]`.
    ///
    /// # Errors
    /// [`Error::TooLarge`](crate::Error::TooLarge) for a matrix beyond the memory.
    pub fn joint(&self) -> Result<Array2<f64>> {
        let mut cells: Vec<Vec<(usize, f64)>> = vec![Vec::new(); self.map.masses().len()];
        for (at, mass) in self.of_groups.cells() {
            cells[at[0]].push((at[1], mass));
        }
        let mut joint = zeros(self.p.len(), self.of_groups.sizes()[1])?;
        for ((mut row, &mass), label) in
            joint.rows_mut().into_iter().zip(&self.p).zip(self.map.labels())
        {
            let Some(group) = *label else { continue };
            for &(y, of_cell) in &cells[group] {
                row[y] = mass * (of_cell / self.map.masses()[group]);
            }
        }
        Ok(joint)
    }
}
