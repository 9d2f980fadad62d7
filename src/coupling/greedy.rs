//! The greedy coupling of any number of distributions.

use ndarray::Array2;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::masses::{Sum, check_masses, entropy};
use super::unit::Unit;
use crate::error::{Error, Result};

/// A residual that is as good as nothing.
const NOTHING: f64 = 1e-15;

/// A joint distribution of low entropy with given marginals p₁ … p_m, by the greedy rule:
///
/// ```text
/// i_k = argmax of what is left of p_k      p(i_1, …, i_m) = min_k of these masses, taken from each
/// ```
///
/// until the largest mass that is left of some marginal is at most 1e-15. Ties go to the lowest index. The least of
/// the m masses becomes exactly 0, so that no cell comes twice and there are at most Σ n_k − m + 1 of them; with a
/// heap for each marginal it takes O(Σ n_k · m ln n).
///
/// The least entropy is hard to find (Kovačević, Stanojević and Šenk 2015). The greedy one is within log₂(e)/e ≈ 0.53 bits
/// of it for two marginals and within (1 + log₂ e)/2 ≈ 1.22 bits for any number (Compton et al. 2023, *Minimum-Entropy
/// Coupling Approximation Guarantees Beyond the Majorization Barrier*). No coupling has less than the largest entropy of
/// a marginal, nor more than the sum of all.
///
/// The cells' sums are the marginals but for what [`left_over`](Self::left_over) says: 1e-15 for each symbol, and as much
/// as their own sums are apart.
///
/// Kocaoglu et al. 2017, *Entropic Causal Inference*, Algorithm 1. Cases in `conformance/geometry.jsonl`,
/// `multi_marginal_coupling`, and `conformance/information.jsonl`, `minimum_entropy_coupling`.
///
/// ```
/// use surprisal::coupling::{Coupling, Unit};
/// let coupling = Coupling::greedy(&[[0.5, 0.5].as_slice(), &[0.5, 0.25, 0.25]])?;
/// assert_eq!(coupling.cells().collect::<Vec<_>>(), [(&[0, 0][..], 0.5), (&[1, 1], 0.25), (&[1, 2], 0.25)]);
/// // The second tells all about the first.
/// assert_eq!(coupling.entropy(Unit::Bits), 1.5);
/// assert_eq!(coupling.total_correlation(Unit::Bits), 1.0);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Coupling {
    sizes: Vec<usize>,
    /// Of each cell an index into each marginal.
    indices: Vec<usize>,
    masses: Vec<f64>,
    entropies: Vec<f64>,
    /// In nats.
    total_correlation: f64,
    left_over: f64,
}

/// What is left of a marginal: the largest mass first, of equal ones that with the lowest index. The bits of numbers
/// above 0 have the order of the numbers.
type Residuals = BinaryHeap<(u64, Reverse<usize>)>;

impl Coupling {
    /// The greedy coupling of these marginals.
    ///
    /// # Errors
    /// [`Error::Shape`] for no marginal or an empty one; [`Error::Value`] for a mass that is negative or not finite;
    /// [`Error::Conflict`] for a marginal that does not sum to 1 within 1e-9, which it says by its number.
    pub fn greedy(marginals: &[impl AsRef<[f64]>]) -> Result<Self> {
        if marginals.is_empty() {
            let expected = "at least one marginal".into();
            return Err(Error::Shape { argument: "marginals", found: vec![0], expected });
        }
        for (k, marginal) in marginals.iter().enumerate() {
            let marginal = marginal.as_ref();
            if marginal.is_empty() {
                let expected = format!("at least one mass in marginal {k}");
                return Err(Error::Shape { argument: "marginals", found: vec![k, 0], expected });
            }
            let masses = marginal.iter().enumerate().map(|(i, &p)| (vec![k, i], p));
            check_masses("marginals", &format!("marginals[{k}]"), masses)?;
        }
        Ok(Self::of(marginals))
    }

    /// The same of marginals that are distributions.
    pub(super) fn of(marginals: &[impl AsRef<[f64]>]) -> Self {
        let positive = |marginal: &[f64]| -> Residuals {
            let masses = marginal.iter().enumerate().filter(|&(_, &mass)| mass > 0.0);
            masses.map(|(i, mass)| (mass.to_bits(), Reverse(i))).collect()
        };
        let mut left: Vec<Residuals> =
            marginals.iter().map(|marginal| positive(marginal.as_ref())).collect();
        let (mut indices, mut masses) = (Vec::new(), Vec::new());
        let mut correlation = Sum::default();
        loop {
            let largest =
                left.iter().map(|heap| heap.peek().map_or(0.0, |top| f64::from_bits(top.0)));
            let mass = largest.fold(f64::INFINITY, f64::min);
            if mass <= NOTHING {
                break;
            }
            // ln of the mass over the product of its marginals' masses, factor by factor.
            let mut ratio = mass.ln();
            for (heap, marginal) in left.iter_mut().zip(marginals) {
                let Some((bits, Reverse(i))) = heap.pop() else { continue };
                indices.push(i);
                ratio -= marginal.as_ref()[i].ln();
                let rest = f64::from_bits(bits) - mass;
                if rest > 0.0 {
                    heap.push((rest.to_bits(), Reverse(i)));
                }
            }
            correlation.add(mass * ratio);
            masses.push(mass);
        }
        let rest = |heap: &Residuals| -> f64 {
            heap.iter().map(|top| f64::from_bits(top.0)).collect::<Sum>().value()
        };
        Self {
            sizes: marginals.iter().map(|marginal| marginal.as_ref().len()).collect(),
            entropies: marginals.iter().map(|m| entropy(m.as_ref().iter().copied())).collect(),
            total_correlation: correlation.value().max(0.0),
            left_over: left.iter().map(rest).fold(0.0, f64::max),
            indices,
            masses,
        }
    }

    /// The cells with a mass, in the order in which they were made: an index into each marginal, and the mass.
    pub fn cells(&self) -> impl ExactSizeIterator<Item = (&[usize], f64)> {
        self.indices.chunks_exact(self.sizes.len()).zip(self.masses.iter().copied())
    }

    /// The masses of the cells alone.
    pub fn masses(&self) -> &[f64] {
        &self.masses
    }

    /// How many symbols each marginal has.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// The entropy of the joint distribution.
    pub fn entropy(&self, unit: Unit) -> f64 {
        unit.of_nats(entropy(self.masses.iter().copied()))
    }

    /// The entropies of the marginals, the largest of which no coupling has less than.
    pub fn marginal_entropies(&self, unit: Unit) -> Vec<f64> {
        self.entropies.iter().map(|&nats| unit.of_nats(nats)).collect()
    }

    /// Σ_k H(p_k) − H(joint), from the quotients of the cells: of two marginals their mutual information.
    pub fn total_correlation(&self, unit: Unit) -> f64 {
        unit.of_nats(self.total_correlation)
    }

    /// The most mass of a marginal that no cell has.
    pub fn left_over(&self) -> f64 {
        self.left_over
    }

    /// The joint distribution of two marginals as a matrix `[n_1,n_2]`.
    ///
    /// ```
    /// use surprisal::coupling::Coupling;
    /// let coupling = Coupling::greedy(&[[0.5, 0.5], [0.25, 0.75]])?;
    /// assert_eq!(coupling.joint()?, ndarray::arr2(&[[0.0, 0.5], [0.25, 0.25]]));
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Conflict`] of another number of marginals; [`Error::TooLarge`] for a matrix beyond the memory.
    pub fn joint(&self) -> Result<Array2<f64>> {
        let [n, m] = self.sizes[..] else {
            let what = format!(
                "the coupling has {} marginals, expected two for a matrix",
                self.sizes.len()
            );
            return Err(Error::Conflict { what });
        };
        let mut joint = zeros(n, m)?;
        for (at, mass) in self.cells() {
            joint[[at[0], at[1]]] += mass;
        }
        Ok(joint)
    }
}

/// A matrix of zeros.
///
/// # Errors
/// [`Error::TooLarge`] where there is no memory for it.
pub(super) fn zeros(rows: usize, columns: usize) -> Result<Array2<f64>> {
    let too_large = || Error::TooLarge { what: format!("a joint distribution [{rows},{columns}]") };
    let count = rows.checked_mul(columns).ok_or_else(too_large)?;
    let mut numbers = Vec::new();
    numbers.try_reserve_exact(count).map_err(|_| too_large())?;
    numbers.resize(count, 0.0);
    Array2::from_shape_vec((rows, columns), numbers).map_err(|_| too_large())
}
