//! The entropy from stochastic quadrature, without the matrix.

use ndarray::Array2;

use super::approximation::Approximation;
use super::kernel::{Operator, Products};
use super::options::SpectralEntropy;
use super::quadrature::{Quadrature, Rule, remove};
use crate::Result;
use crate::algebra::{dot, symmetric_eigen, zeros};
use crate::random::Generator;

/// The dimension of the subspace whose part is computed exactly: a panel, which one pass over the kernel
/// multiplies. Not measured.
const DEFLATION: usize = 32;
/// The largest degree of the quadrature, each a pass over the kernel. Only an end: it is over where the
/// bracket is a quarter of the spread. Not measured.
const MAX_DEGREE: usize = 64;
/// The largest degree for the vectors of the subspace, which are nearly eigenvectors. Only an end as well.
const MAX_SUBSPACE_DEGREE: usize = 12;
/// Below so many nats the quadrature's bracket is of no interest.
const NEGLIGIBLE: f64 = 1e-7;
/// The most blocks of probes: an end for a tolerance that is not met, at a quarter of the standard error of
/// one block.
const MAX_BLOCKS: u64 = 16;

/// The entropy of points by deflated stochastic Lanczos quadrature.
pub(crate) fn lanczos(options: &SpectralEntropy, kernel: &dyn Products) -> Result<Approximation> {
    let operator = Operator::new(kernel, options.alpha)?;
    let time = options.time;
    let rows = operator.rows();
    let traces = [rows as f64, operator.trace(), operator.trace_of_square()?];
    let subspace = subspace(&operator, DEFLATION.min((rows - 1) / 4), options.seed)?;
    let rank = subspace.len() / rows;
    // The leading eigenvector contributes 1 to every Σλᵗ and nothing to Σλᵗ ln λ.
    let mut exact = Sums { total: 1.0, logarithmic: 0.0, bracket: 0.0, moments: [1.0; 3] };
    if rank > 0 {
        let mut quadrature = Quadrature::new(&operator, subspace.clone(), rank)?;
        let least = match time {
            1.0 => traces[1],
            2.0 => traces[2],
            _ => 1.0,
        };
        loop {
            quadrature.advance()?;
            let sums = exact_sums(&quadrature, time)?;
            let done = sums.bracket * time / least <= NEGLIGIBLE * 100.0
                || quadrature.degree() == MAX_SUBSPACE_DEGREE
                || quadrature.is_exhausted();
            if done && quadrature.degree() >= 2 || quadrature.is_exhausted() {
                exact.total += sums.total;
                exact.logarithmic += sums.logarithmic;
                exact.bracket += sums.bracket;
                for (moment, sum) in exact.moments.iter_mut().zip(sums.moments) {
                    *moment += sum;
                }
                break;
            }
        }
    }
    let known = Known { time, traces, exact };
    let tolerance = options.tolerance.map(|bits| bits / std::f64::consts::LOG2_E);
    let mut probes: Vec<Probe> = Vec::new();
    let mut degree = 0;
    for block in 0..MAX_BLOCKS {
        let start = probe_block(&operator, &subspace, options, block)?;
        let mut quadrature = Quadrature::new(&operator, start, options.probes)?;
        let mut before: Option<f64> = None;
        let found = loop {
            quadrature.advance()?;
            let mut all = probes.clone();
            all.extend(block_of(&quadrature, time)?);
            let estimate = known.estimate(&all);
            let mut bracket = estimate.bracket;
            if time.fract() != 0.0 {
                // The two rules bracket nothing then: what the last step changed stands for it.
                bracket = bracket.max(before.map_or(f64::INFINITY, |b| (b - estimate.value).abs()));
            }
            before = Some(estimate.value);
            let narrow = bracket <= (0.25 * estimate.spread).max(NEGLIGIBLE);
            let end = quadrature.degree() == MAX_DEGREE || quadrature.is_exhausted();
            if end || narrow && quadrature.degree() >= 3 {
                probes = all;
                break Estimate { bracket, ..estimate };
            }
        };
        degree = degree.max(quadrature.degree());
        let error = found.spread.hypot(found.bracket);
        let last = block + 1 == MAX_BLOCKS;
        if last || tolerance.is_none_or(|tolerance| error <= tolerance) {
            let value = found.value.clamp(0.0, (rows as f64).ln());
            return Ok(Approximation { value, error, rank: degree });
        }
    }
    unreachable!("the last block returns")
}

/// What a set of vectors contributes: Σ λᵗ, Σ λᵗ ln λ with half the width of its bracket, and the
/// moments of order 0, 1 and 2.
#[derive(Clone, Copy)]
struct Sums {
    total: f64,
    logarithmic: f64,
    bracket: f64,
    moments: [f64; 3],
}

fn exact_sums(quadrature: &Quadrature<'_>, time: f64) -> Result<Sums> {
    let mut sums = Sums { total: 0.0, logarithmic: 0.0, bracket: 0.0, moments: [0.0; 3] };
    for probe in block_of(quadrature, time)? {
        sums.total += probe.total;
        sums.logarithmic += probe.logarithmic;
        sums.bracket += probe.bracket;
        for (moment, sum) in sums.moments.iter_mut().zip(probe.moments) {
            *moment += sum;
        }
    }
    Ok(sums)
}

/// What one probe saw.
#[derive(Clone)]
struct Probe {
    total: f64,
    logarithmic: f64,
    bracket: f64,
    moments: [f64; 3],
    /// Nodes and weights.
    rule: Rule,
}

fn block_of(quadrature: &Quadrature<'_>, time: f64) -> Result<Vec<Probe>> {
    (0..quadrature.width())
        .map(|column| {
            let norm = quadrature.squared_norm(column);
            let gauss = quadrature.gauss(column)?;
            let radau = quadrature.radau(column)?;
            let (power, logarithmic) = functions(time);
            let (low, high) = (gauss.sum(&logarithmic), radau.sum(&logarithmic));
            let total = 0.5 * (gauss.sum(&power) + radau.sum(&power));
            let [first, second] = quadrature.moments(column);
            Ok(Probe {
                total: norm * total,
                logarithmic: norm * 0.5 * (low + high),
                bracket: norm * 0.5 * (high - low).abs(),
                moments: [norm, norm * first, norm * second],
                rule: gauss.scaled(norm),
            })
        })
        .collect()
}

/// λᵗ and λᵗ ln λ on \[0, 1\], where the spectrum is; a node that rounding has put outside is at the end.
fn functions(time: f64) -> (impl Fn(f64) -> f64, impl Fn(f64) -> f64) {
    let power = move |x: f64| x.clamp(0.0, 1.0).powf(time);
    let logarithmic = move |x: f64| if x > 0.0 { power(x) * x.min(1.0).ln() } else { 0.0 };
    (power, logarithmic)
}

/// What is known without probes.
struct Known {
    time: f64,
    /// N, tr K and tr K².
    traces: [f64; 3],
    exact: Sums,
}

struct Estimate {
    value: f64,
    spread: f64,
    bracket: f64,
}

impl Known {
    /// H = ln A − t B/A with A = Σλᵗ and B = Σλᵗ ln λ. Of the complement of what is exact, the
    /// quadratic part of λᵗ ln λ (fitted to the spectrum that the probes saw) has its trace exactly, and
    /// the probes estimate the rest.
    fn estimate(&self, probes: &[Probe]) -> Estimate {
        let time = self.time;
        let left: Vec<f64> =
            self.traces.iter().zip(self.exact.moments).map(|(all, part)| all - part).collect();
        let (power, logarithmic) = functions(time);
        let with_control = |coefficients: [f64; 3],
                            of: &dyn Fn(&Probe) -> f64|
         -> (f64, Vec<f64>) {
            let known = coefficients.iter().zip(&left).map(|(c, trace)| c * trace).sum();
            let rest = probes.iter().map(|probe| {
                let fitted: f64 = coefficients.iter().zip(probe.moments).map(|(c, m)| c * m).sum();
                of(probe) - fitted
            });
            (known, rest.collect())
        };
        let (known, rest) = with_control(fit(probes, &logarithmic), &|probe| probe.logarithmic);
        let (total_known, total_rest) = match time {
            1.0 => (left[1], vec![0.0; probes.len()]),
            2.0 => (left[2], vec![0.0; probes.len()]),
            _ => with_control(fit(probes, &power), &|probe| probe.total),
        };
        let (exact_total, fixed_total) = match time {
            1.0 => (self.exact.moments[1], total_known),
            2.0 => (self.exact.moments[2], total_known),
            _ => (self.exact.total, total_known),
        };
        let entropy = |total: f64, sum: f64| total.ln() - time * sum / total;
        let count = probes.len() as f64;
        let (rest_sum, total_sum) = (rest.iter().sum::<f64>(), total_rest.iter().sum::<f64>());
        let at = |rest: f64, total: f64| {
            let total = (exact_total + fixed_total + total).max(1.0);
            entropy(total, self.exact.logarithmic + known + rest)
        };
        let all = at(rest_sum / count, total_sum / count);
        // The jackknife: the same without each probe.
        let without: Vec<f64> = rest
            .iter()
            .zip(&total_rest)
            .map(|(r, a)| at((rest_sum - r) / (count - 1.0), (total_sum - a) / (count - 1.0)))
            .collect();
        let mean = without.iter().sum::<f64>() / count;
        let squares: f64 = without.iter().map(|x| (x - mean) * (x - mean)).sum();
        let total = (exact_total + fixed_total + total_sum / count).max(1.0);
        let bracket =
            self.exact.bracket + probes.iter().map(|probe| probe.bracket).sum::<f64>() / count;
        Estimate {
            value: count * all - (count - 1.0) * mean,
            spread: (squares * (count - 1.0) / count).sqrt(),
            bracket: bracket * time / total,
        }
    }
}

/// The coefficients of 1, λ and λ² that fit f best in the spectrum that the probes saw.
fn fit(probes: &[Probe], f: impl Fn(f64) -> f64) -> [f64; 3] {
    let nodes = || probes.iter().flat_map(|probe| probe.rule.nodes());
    // Where all nodes are tiny, larger coefficients would only magnify the traces' rounding.
    let largest = nodes().fold(1e-6_f64, |largest, (x, _)| largest.max(x.abs()));
    let mut matrix = [[0.0; 3]; 3];
    let mut right = [0.0; 3];
    for (x, weight) in nodes() {
        let powers = [1.0, x / largest, (x / largest) * (x / largest)];
        for i in 0..3 {
            for j in 0..3 {
                matrix[i][j] += weight * powers[i] * powers[j];
            }
            right[i] += weight * powers[i] * f(x);
        }
    }
    let ridge = 1e-12 * (matrix[0][0] + matrix[1][1] + matrix[2][2]) + f64::MIN_POSITIVE;
    for (i, row) in matrix.iter_mut().enumerate() {
        row[i] += ridge;
    }
    // Elimination; the matrix is positive definite.
    for i in 0..3 {
        for j in i + 1..3 {
            let factor = matrix[j][i] / matrix[i][i];
            let (above, below) = matrix.split_at_mut(j);
            for (x, y) in below[0].iter_mut().zip(above[i]).skip(i) {
                *x -= factor * y;
            }
            right[j] -= factor * right[i];
        }
    }
    let mut solution = [0.0; 3];
    for i in (0..3).rev() {
        let known: f64 = (i + 1..3).map(|j| matrix[i][j] * solution[j]).sum();
        solution[i] = (right[i] - known) / matrix[i][i];
    }
    [solution[0], solution[1] / largest, solution[2] / (largest * largest)]
}

/// An orthonormal basis, orthogonal to the leading eigenvector, of nearly the next eigenvectors:
/// the Ritz vectors of K's product with random ones. N numbers for each of at most `rank` columns,
/// row after row.
fn subspace(operator: &Operator<'_>, rank: usize, seed: u64) -> Result<Vec<f64>> {
    let rows = operator.rows();
    if rank == 0 {
        return Ok(Vec::new());
    }
    let mut random = Generator::stream(seed, 2);
    let mut basis = zeros(rows, rank)?;
    basis.iter_mut().for_each(|x| *x = random.sign());
    let mut scaled = zeros(rows, rank)?;
    let mut product = zeros(rows, rank)?;
    remove(operator.leading(), &mut basis, rank);
    operator.multiply(&basis, rank, &mut scaled, &mut product)?;
    let (basis, rank) = orthonormal(operator.leading(), &product, rank);
    if rank == 0 {
        return Ok(Vec::new());
    }
    scaled.truncate(rows * rank);
    product.truncate(rows * rank);
    operator.multiply(&basis, rank, &mut scaled, &mut product)?;
    let mut projected = Array2::zeros((rank, rank));
    for (left, right) in basis.chunks_exact(rank).zip(product.chunks_exact(rank)) {
        for (row, l) in projected.rows_mut().into_iter().zip(left) {
            for (x, r) in row.into_iter().zip(right) {
                *x += l * r;
            }
        }
    }
    let (_, rotation) = symmetric_eigen(projected)?;
    for (from, to) in basis.chunks_exact(rank).zip(scaled.chunks_exact_mut(rank)) {
        to.fill(0.0);
        for (x, row) in from.iter().zip(rotation.rows()) {
            for (to, r) in to.iter_mut().zip(row) {
                *to += x * r;
            }
        }
    }
    Ok(scaled)
}

/// An orthonormal basis of the columns' span, orthogonal to a unit vector; columns that the others span
/// are left out.
fn orthonormal(unit: &[f64], vectors: &[f64], width: usize) -> (Vec<f64>, usize) {
    let rows = unit.len();
    let mut basis: Vec<Vec<f64>> = Vec::new();
    for column in 0..width {
        let mut vector: Vec<f64> = vectors.iter().skip(column).step_by(width).copied().collect();
        let before = dot(&vector, &vector).sqrt();
        for _ in 0..2 {
            for other in std::iter::once(unit).chain(basis.iter().map(Vec::as_slice)) {
                let product = dot(other, &vector);
                vector.iter_mut().zip(other).for_each(|(x, y)| *x -= product * y);
            }
        }
        let norm = dot(&vector, &vector).sqrt();
        if norm > 1e-10 * before && norm > f64::MIN_POSITIVE {
            vector.iter_mut().for_each(|x| *x /= norm);
            basis.push(vector);
        }
    }
    let rank = basis.len();
    let mut rowwise = vec![0.0; rows * rank];
    for (column, vector) in basis.iter().enumerate() {
        for (to, x) in rowwise.iter_mut().skip(column).step_by(rank).zip(vector) {
            *to = *x;
        }
    }
    (rowwise, rank)
}

/// Random signs without their part in the subspace and along the leading eigenvector.
fn probe_block(
    operator: &Operator<'_>,
    subspace: &[f64],
    options: &SpectralEntropy,
    block: u64,
) -> Result<Vec<f64>> {
    let (rows, width) = (operator.rows(), options.probes);
    let rank = subspace.len() / rows;
    let mut probes = zeros(rows, width)?;
    let mut random = Generator::stream(options.seed, 3 + block);
    probes.iter_mut().for_each(|x| *x = random.sign());
    for _ in 0..2 {
        remove(operator.leading(), &mut probes, width);
        if rank > 0 {
            let mut products = vec![0.0; rank * width];
            for (q, z) in subspace.chunks_exact(rank).zip(probes.chunks_exact(width)) {
                for (to, q) in products.chunks_exact_mut(width).zip(q) {
                    to.iter_mut().zip(z).for_each(|(to, z)| *to += q * z);
                }
            }
            for (q, z) in subspace.chunks_exact(rank).zip(probes.chunks_exact_mut(width)) {
                for (from, q) in products.chunks_exact(width).zip(q) {
                    z.iter_mut().zip(from).for_each(|(z, from)| *z -= q * from);
                }
            }
        }
    }
    Ok(probes)
}
