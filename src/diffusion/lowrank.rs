//! The spectrum from a pivoted Cholesky factor, with a proven error.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use ndarray::Array2;

use super::approximation::Approximation;
use super::eigenvalues::surprise;
use super::kernel::{GaussianProducts, Operator};
use super::options::{Epsilon, SpectralEntropy};
use super::points::{BLOCK, Points};
use crate::algebra::symmetric_eigenvalues;
use crate::gemm::PANEL;
use crate::random::Generator;
use crate::{Error, Result, parallel};

/// The largest rank that `Auto` tries: a factor of it costs a tenth of the exact way's memory.
pub(crate) fn rank_limit(rows: usize) -> usize {
    (rows / 10).clamp(1, 1024)
}

/// The entropy to `tolerance` nats, or as near as rounding allows; `None` where a factor of rank
/// `limit` below the number of rows does not do.
pub(crate) fn low_rank(
    options: &SpectralEntropy,
    points: &Points,
    sigma: f64,
    tolerance: f64,
    limit: usize,
) -> Result<Option<Approximation>> {
    let rows = points.rows();
    let gaussian = GaussianProducts::new(points, sigma);
    let operator = Operator::new(&gaussian, options.alpha)?;
    let (trace, time) = (operator.trace(), options.time);
    let enough = |residual| predicted_error(rows, trace, residual, time) <= tolerance;
    let factor = Factor::new(&gaussian, operator.scale(), limit, options.seed, enough)?;
    let allowance = factor.rounding(trace);
    let residual = factor.residual.iter().sum::<f64>() + allowance;
    if limit < rows && !enough(residual) {
        return Ok(None);
    }
    let mut eigenvalues = symmetric_eigenvalues(factor.gram()?)?;
    // Where the spectrum is: a large t must find none above 1.
    eigenvalues.iter_mut().for_each(|value| *value = value.clamp(0.0, 1.0));
    let (value, error) = entropy_interval(&eigenvalues, rows, residual, time);
    let rounding = error_of_change(rows, trace, change(rows, factor.perturbation(trace), time));
    let epsilon = match options.epsilon {
        // −ε ln ε + ε for each term.
        Epsilon::Reference => rows as f64 * f64::EPSILON * 38.0,
        Epsilon::Clean => 0.0,
    };
    Ok(Some(Approximation { value, error: error + rounding + epsilon, rank: factor.rank }))
}

/// The columns L of K ≈ LLᵀ, and the diagonal of what is left.
struct Factor {
    rows: usize,
    rank: usize,
    /// Column after column.
    columns: Vec<f64>,
    residual: Vec<f64>,
}

impl Factor {
    /// Grows until the residual trace is `enough`, the limit is reached, or only rounding is left.
    ///
    /// Pivots come in blocks: the largest residual, and others drawn with probability proportional to
    /// theirs; within a block the largest is taken first, and those are put back whose residual the
    /// others have taken most of.
    fn new(
        gaussian: &GaussianProducts<'_>,
        scale: &[f64],
        limit: usize,
        seed: u64,
        enough: impl Fn(f64) -> bool,
    ) -> Result<Self> {
        let rows = scale.len();
        let residual: Vec<f64> = scale.iter().map(|s| s * s).collect();
        let largest_diagonal = residual.iter().copied().fold(0.0, f64::max);
        let mut factor = Self { rows, rank: 0, columns: Vec::new(), residual };
        let mut random = Generator::stream(seed, 1);
        while factor.rank < limit {
            let left: f64 = factor.residual.iter().sum();
            let floor = 8.0 * (factor.rank + 8) as f64 * f64::EPSILON * largest_diagonal;
            let largest = (0..rows).fold(0, |best, i| {
                if factor.residual[i] > factor.residual[best] { i } else { best }
            });
            if enough(left) || factor.residual[largest] <= floor {
                break;
            }
            let wanted = PANEL.min(limit - factor.rank);
            let candidates = factor.candidates(largest, wanted, left, &mut random);
            factor.extend(gaussian, scale, &candidates, floor)?;
        }
        Ok(factor)
    }

    fn candidates(
        &self,
        first: usize,
        wanted: usize,
        left: f64,
        random: &mut Generator,
    ) -> Vec<usize> {
        let mut draws: Vec<f64> = (1..wanted).map(|_| random.uniform() * left).collect();
        draws.sort_unstable_by(f64::total_cmp);
        let mut candidates = vec![first];
        let (mut next, mut sum) = (0, 0.0);
        for (row, residual) in self.residual.iter().enumerate() {
            sum += residual;
            let before = next;
            while next < draws.len() && draws[next] < sum {
                next += 1;
            }
            if next > before && row != first {
                candidates.push(row);
            }
        }
        candidates
    }

    fn extend(
        &mut self,
        gaussian: &GaussianProducts<'_>,
        scale: &[f64],
        candidates: &[usize],
        floor: f64,
    ) -> Result<()> {
        let (rows, rank, count) = (self.rows, self.rank, candidates.len());
        let points = gaussian.points();
        let named = points.named(candidates);
        let too_large =
            |_| Error::TooLarge { what: format!("a factor of {rows}×{}", rank + count) };
        self.columns.try_reserve(rows * count).map_err(too_large)?;
        let of_candidates: Vec<f64> = candidates
            .iter()
            .flat_map(|&row| (0..rank).map(move |k| (row, k)))
            .map(|(row, k)| self.columns[k * rows + row])
            .collect();
        // What is left of the candidates' columns of K, 32 numbers for each row.
        let mut block = vec![0.0; rows.next_multiple_of(BLOCK) * PANEL];
        let tasks: Vec<(usize, &mut [f64])> = block.chunks_mut(BLOCK * PANEL).enumerate().collect();
        let mut workers = vec![(); parallel::threads().clamp(1, tasks.len())];
        let columns = &self.columns;
        parallel::for_each(&mut workers, tasks, |(), (index, part)| {
            let first = index * BLOCK;
            let range = first..rows.min(first + BLOCK);
            let height = range.len();
            points.fill_named(range.clone(), &named, gaussian.entries(), part);
            for (row, s) in part.chunks_exact_mut(PANEL).zip(&scale[range]) {
                for (entry, &candidate) in row.iter_mut().zip(candidates) {
                    *entry *= s * scale[candidate];
                }
            }
            if rank > 0 {
                let known = MatRef::from_column_major_slice_with_stride(
                    &columns[first..(rank - 1) * rows + first + height],
                    height,
                    rank,
                    rows,
                );
                let of_candidates = MatRef::from_column_major_slice(&of_candidates, rank, count);
                let part = &mut part[..(height - 1) * PANEL + count];
                // Of faer 0.24 the constructor for rows with a stride takes them for columns.
                let transposed =
                    MatMut::from_column_major_slice_with_stride_mut(part, count, height, PANEL);
                let to = transposed.transpose_mut();
                matmul(to, Accum::Add, known, of_candidates, -1.0, Par::Seq);
            }
        });

        let drawn: Vec<f64> = candidates.iter().map(|&row| self.residual[row]).collect();
        let mut open: Vec<usize> = (0..count).collect();
        loop {
            let residual = |&c: &usize| self.residual[candidates[c]];
            open.retain(|c| residual(c) >= 0.25 * drawn[*c] && residual(c) > floor);
            let best = open.iter().copied().max_by(|a, b| residual(a).total_cmp(&residual(b)));
            let Some(best) = best else { break };
            open.retain(|&c| c != best);
            let pivot = self.residual[candidates[best]];
            let root = pivot.sqrt();
            let mut factors = [0.0; PANEL];
            for &c in &open {
                factors[c] = block[candidates[c] * PANEL + best] / root;
            }
            let start = self.columns.len();
            let lines = block.chunks_exact_mut(PANEL).zip(&mut self.residual);
            self.columns.extend(lines.map(|(line, residual)| {
                let entry = line[best] / root;
                for (x, factor) in line.iter_mut().zip(&factors) {
                    *x -= entry * factor;
                }
                *residual = (*residual - entry * entry).max(0.0);
                entry
            }));
            self.columns[start + candidates[best]] = root;
            self.residual[candidates[best]] = 0.0;
            self.rank += 1;
        }
        Ok(())
    }

    /// LᵀL.
    fn gram(&self) -> Result<Array2<f64>> {
        let (rows, rank) = (self.rows, self.rank);
        let mut gram = crate::algebra::zeros(rank, rank)?;
        let factor = MatRef::from_column_major_slice(&self.columns, rows, rank);
        let tasks: Vec<(usize, &mut [f64])> =
            gram.chunks_mut((rank * 64).max(1)).enumerate().collect();
        let mut workers = vec![(); parallel::threads().clamp(1, tasks.len().max(1))];
        parallel::for_each(&mut workers, tasks, |(), (index, part)| {
            let width = part.len() / rank;
            let right = factor.subcols(index * 64, width);
            let to = MatMut::from_column_major_slice_mut(part, rank, width);
            matmul(to, Accum::Replace, factor.transpose(), right, 1.0, Par::Seq);
        });
        Ok(Array2::from_shape_vec((rank, rank), gram).expect("a square"))
    }

    /// What rounding may have taken from the residual trace: each of its numbers is a difference of
    /// rank + 1 terms that are at most the diagonal.
    fn rounding(&self, trace: f64) -> f64 {
        (self.rank + 8) as f64 * f64::EPSILON * trace
    }

    /// The nuclear norm of the perturbation E for which LLᵀ is the partial factor of K + E: E lives in
    /// the pivots' rows and columns, |E_ij| ≤ (r + 8) ε √(K_ii K_jj); and what the eigenvalues of LᵀL
    /// are off.
    fn perturbation(&self, trace: f64) -> f64 {
        let rank = (self.rank + 8) as f64;
        (2.0 * rank).sqrt() * 2.0 * rank * f64::EPSILON * trace + rank * rank * f64::EPSILON
    }
}

/// The most that Σ λᵗ changes where λ in \[0, 1\] change by `change` in total, N of them.
fn change(rows: usize, change: f64, time: f64) -> f64 {
    if time >= 1.0 { time * change } else { (rows as f64).powf(1.0 - time) * change.powf(time) }
}

/// A bound on the error from traces alone.
fn predicted_error(rows: usize, trace: f64, residual: f64, time: f64) -> f64 {
    let error = error_of_change(rows, least_total(rows, trace, time), change(rows, residual, time));
    // The value will be the middle of its interval.
    if time == 1.0 { 0.5 * error } else { error }
}

/// Σ λᵗ is at least this: λ₁ = 1, λ ≤ 1, and the power mean.
fn least_total(rows: usize, trace: f64, time: f64) -> f64 {
    if time <= 1.0 { trace } else { (trace.powf(time) * (rows as f64).powf(1.0 - time)).max(1.0) }
}

/// |H(p) − H(q)| ≤ θ ln(N−1) + h₂(θ), where q ∝ p·total + w with Σw ≤ change.
fn error_of_change(rows: usize, total: f64, change: f64) -> f64 {
    let theta = change / (total + change);
    let n = rows as f64;
    // Not a number where the change is infinite.
    if theta.is_nan() || theta >= 1.0 - 1.0 / n {
        return n.ln();
    }
    theta * (n - 1.0).ln() + surprise(theta) + surprise(1.0 - theta)
}

/// The value of the entropy in nats and how far it may be off, for a positive semidefinite matrix of
/// `rows` rows whose eigenvalues are λ_1 = 1 ≥ λ_i ≥ μ_i, Σ(λ_i − μ_i) = δ. μ descends; those not
/// given are 0. The module's documentation has the proof.
pub(crate) fn entropy_interval(mu: &[f64], rows: usize, delta: f64, time: f64) -> (f64, f64) {
    let first = mu.first().copied().unwrap_or(0.0);
    let others = mu.get(1..).unwrap_or(&[]);
    let left = (delta - (1.0 - first)).max(0.0);
    let zeros = rows - 1 - others.len();
    if time == 1.0 {
        let high = entropy(&levelled(others, zeros, left), 1.0);
        let low = entropy(&piled(others, zeros, left), 1.0);
        return (0.5 * (high + low), (0.5 * (high - low)).max(0.0));
    }
    let now: Vec<(f64, usize)> = others.iter().map(|&x| (x, 1)).collect();
    let total = |values: &[(f64, usize)]| power_sum(values, time);
    let extreme =
        if time > 1.0 { piled(others, zeros, left) } else { levelled(others, zeros, left) };
    let most = (total(&extreme) - total(&now)).max(0.0);
    (entropy(&now, time), error_of_change(rows, 1.0 + total(&now), most))
}

/// Σ λᵗ of values with their multiplicities.
fn power_sum(values: &[(f64, usize)], time: f64) -> f64 {
    values.iter().map(|&(x, times)| x.powf(time) * times as f64).sum()
}

/// The entropy of 1 and these.
fn entropy(values: &[(f64, usize)], time: f64) -> f64 {
    let total = 1.0 + power_sum(values, time);
    let term = |x: f64| surprise(x.powf(time) / total);
    term(1.0) + values.iter().map(|&(x, times)| term(x) * times as f64).sum::<f64>()
}

/// All of `left` on the largest values, none above 1: this majorises every other way.
fn piled(others: &[f64], zeros: usize, mut left: f64) -> Vec<(f64, usize)> {
    let all = others.iter().copied().chain(std::iter::repeat_n(0.0, zeros));
    all.map(|x| {
        let more = (1.0 - x).max(0.0).min(left);
        left -= more;
        (x + more, 1)
    })
    .collect()
}

/// The smallest values raised to one level: every other way majorises this.
fn levelled(others: &[f64], zeros: usize, left: f64) -> Vec<(f64, usize)> {
    let (mut raised, mut sum) = (zeros, left);
    let mut kept = others.len();
    // The next larger value is below the level.
    while kept > 0 && (raised == 0 || others[kept - 1] * (raised as f64) < sum) {
        kept -= 1;
        sum += others[kept];
        raised += 1;
    }
    let mut values: Vec<(f64, usize)> = others[..kept].iter().map(|&x| (x, 1)).collect();
    if raised > 0 {
        values.push((sum / raised as f64, raised));
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Any spectrum with λ₁ = 1, and any part of it taken away, has its entropy in the interval.
    #[test]
    fn the_interval_holds_every_spectrum() {
        let mut random = Generator::stream(5, 0);
        for case in 0..4000 {
            let rows = 2 + (random.bits() % 30) as usize;
            let decay = [0.0, 1.0, 5.0, 40.0][case % 4];
            let mut lambda: Vec<f64> =
                (0..rows).map(|_| (-decay * random.uniform()).exp() * random.uniform()).collect();
            lambda[0] = 1.0;
            // Adversarial: one eigenvalue next to 1, or all equal, or many zeros.
            match case % 7 {
                0 => lambda[rows - 1] = 1.0,
                1 => lambda[1..].fill(0.3),
                2 => lambda[rows.div_ceil(2)..].fill(0.0),
                _ => {}
            }
            let share = [1e-9, 1e-3, 0.5, 1.0][(case / 4) % 4];
            let mut mu: Vec<f64> =
                lambda.iter().map(|x| x * (1.0 - share * random.uniform())).collect();
            if case % 3 == 0 {
                let keep = (random.bits() % rows as u64) as usize;
                mu[keep..].fill(0.0);
            }
            // With the rounding of the sum, as the factor's residual has it.
            let delta = lambda.iter().zip(&mu).map(|(l, m)| l - m).sum::<f64>()
                + rows as f64 * f64::EPSILON;
            // Only sorted values correspond.
            mu.sort_unstable_by(|a, b| b.total_cmp(a));
            let rank = mu.iter().take_while(|&&x| x > 0.0).count();
            for time in [0.5, 1.0, 1.5, 2.0, 3.0] {
                let total: f64 = lambda.iter().map(|x| x.powf(time)).sum();
                let truth: f64 = lambda.iter().map(|x| surprise(x.powf(time) / total)).sum();
                let (value, error) = entropy_interval(&mu[..rank], rows, delta, time);
                assert!(
                    (value - truth).abs() <= error + 1e-12,
                    "case {case}, t {time}: {value} ± {error}, truth {truth}"
                );
            }
        }
    }

    #[test]
    fn the_interval_of_everything_known_is_a_point() {
        let mu = [1.0, 0.5, 0.25];
        for time in [0.5, 1.0, 2.0] {
            let (_, error) = entropy_interval(&mu, 3, 0.0, time);
            assert_eq!(error, 0.0);
        }
    }
}
