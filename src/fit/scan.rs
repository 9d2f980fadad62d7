//! Where a descent begins: a grid of exponents, for each of which the rest is linear (variable projection).

use super::huber;
use super::problem::{Problem, Residuals};
use super::triangle::{MOST, Row, Triangle};
use crate::sorting::sorted_places;

/// Exponents times the spread of ln x, from a law that is almost a line to one that is a single step.
const LEAST: f64 = 0.01;
const MOST_FALL: f64 = 40.0;

/// Exponents of a law with one, and with two.
const OF_ONE: usize = 32;
const OF_TWO: usize = 20;

/// Weighted solutions for each exponent, the first without weights.
const REWEIGHTED: usize = 8;

/// The most starts that are returned.
const STARTS: usize = 6;

struct Candidate {
    parameters: Row,
    objective: f64,
    /// Without weights.
    squares: f64,
}

/// Parameters near the minima of the profile, the best first. None where no law that falls is better than one that
/// does not.
pub(super) fn starts(problem: &Problem) -> Vec<Row> {
    let dimensions = problem.form.exponents;
    let count = if dimensions == 1 { OF_ONE } else { OF_TWO };
    let grids: Vec<Vec<f64>> = (0..dimensions).map(|which| grid(problem, which, count)).collect();
    let cells = count.pow(dimensions as u32);
    let exponents = |cell: usize| -> Vec<f64> {
        let place = |which: usize| cell / count.pow(which as u32) % count;
        (0..dimensions).map(|which| grids[which][place(which)]).collect()
    };
    let candidates: Vec<Option<Candidate>> =
        (0..cells).map(|cell| candidate(problem, &exponents(cell))).collect();
    let neighbours = |cell: usize| {
        (0..dimensions).flat_map(move |which| {
            let step = count.pow(which as u32);
            let place = cell / step % count;
            let below = (place > 0).then(|| cell - step);
            let above = (place + 1 < count).then(|| cell + step);
            [below, above].into_iter().flatten()
        })
    };
    let of = |cell: usize, of: fn(&Candidate) -> f64| candidates[cell].as_ref().map(of);
    let lowest = |cell: usize, value: fn(&Candidate) -> f64| match of(cell, value) {
        None => false,
        Some(own) => neighbours(cell).all(|other| of(other, value).is_none_or(|near| own <= near)),
    };
    let chosen: Vec<&Candidate> = (0..cells)
        .filter(|&cell| lowest(cell, |c| c.objective) || lowest(cell, |c| c.squares))
        .filter_map(|cell| candidates[cell].as_ref())
        .collect();
    let order =
        sorted_places(chosen.len(), |a, b| chosen[a].objective.total_cmp(&chosen[b].objective));
    let chosen = order.into_iter().map(|at| chosen[at]);
    chosen.take(STARTS).map(|candidate| candidate.parameters).collect()
}

/// Steps of a search along the exponent: so far apart at first, so many outwards, and then inwards.
const FIRST: f64 = 1.25;
const OUTWARDS: usize = 60;
const INWARDS: usize = 60;

/// Of a law with one exponent, the parameters at the minimum of its profile beside some: outwards while it falls, then
/// by golden sections. None where it is not lower than `lowest`.
pub(super) fn along_the_exponent(problem: &Problem, near: &Row, lowest: f64) -> Option<Row> {
    let form = &problem.form;
    if form.exponents != 1 {
        return None;
    }
    let of = |log: f64| candidate(problem, &[log.exp()]);
    let value = |log: f64| of(log).map_or(f64::INFINITY, |candidate| candidate.objective);
    let centre = near[form.exponent(0)].ln();
    let own = value(centre);
    let towards = if value(centre - FIRST.ln()) < own { -1.0 } else { 1.0 };
    // [a, b, c], where b is lower than a, and at last than c.
    let (mut a, mut b, mut step) = (centre, centre + towards * FIRST.ln(), FIRST.ln());
    let mut at_b = value(b);
    if at_b >= own {
        (a, b, at_b) = (centre - towards * FIRST.ln(), centre, own);
    }
    let mut c = b + towards * step;
    for _ in 0..OUTWARDS {
        let at_c = value(c);
        if at_c >= at_b {
            break;
        }
        step *= 1.2;
        (a, b, at_b, c) = (b, c, at_c, c + towards * step);
    }
    let golden = 0.5 * (3.0 - 5_f64.sqrt());
    for _ in 0..INWARDS {
        // In the larger part.
        let outer = if (c - b).abs() > (b - a).abs() { c } else { a };
        let next = b + golden * (outer - b);
        let at_next = value(next);
        if at_next < at_b {
            if outer == c {
                a = b
            } else {
                c = b
            }
            (b, at_b) = (next, at_next);
        } else if outer == c {
            c = next;
        } else {
            a = next;
        }
    }
    of(b).filter(|found| found.objective < lowest).map(|found| found.parameters)
}

/// Exponents by the spread of the logarithms, so that a power of x has the same ones.
fn grid(problem: &Problem, which: usize, count: usize) -> Vec<f64> {
    let spread = problem.spread(which);
    let step = (MOST_FALL / LEAST).ln() / (count - 1) as f64;
    (0..count).map(|k| LEAST * (step * k as f64).exp() / spread).collect()
}

/// The best law with these exponents, where all of its terms count.
fn candidate(problem: &Problem, exponents: &[f64]) -> Option<Candidate> {
    let form = &problem.form;
    let columns = 1 + form.terms.len() + usize::from(form.subtracts);
    let relative = problem.residuals == Residuals::Logarithms;
    let rows: Vec<(Row, f64)> = problem
        .points
        .iter()
        .map(|point| {
            let factor = if relative { 1.0 / point.loss } else { 1.0 };
            let mut row = [0.0; MOST];
            row[0] = factor;
            for (k, term) in form.terms.iter().enumerate() {
                let falls: f64 = term.iter().map(|&j| exponents[j] * point.logs[j]).sum();
                row[1 + k] = factor * (-falls).exp();
            }
            if form.subtracts {
                row[columns - 1] = -factor * point.column;
            }
            (row, factor * point.loss)
        })
        .collect();
    let mut weights = vec![1.0; rows.len()];
    let mut best: Option<Candidate> = None;
    let mut squares = f64::INFINITY;
    for round in 0..REWEIGHTED {
        let mut triangle = Triangle::new(columns);
        for ((row, right), weight) in rows.iter().zip(&weights) {
            let root = f64::sqrt(*weight);
            triangle.push(&row.map(|entry| root * entry), root * right);
        }
        let Some((coefficients, rest)) = not_negative(&triangle, columns) else { break };
        if round == 0 {
            squares = rest;
        }
        if coefficients[1..=form.terms.len()].iter().all(|&amplitude| amplitude > 0.0) {
            let parameters = problem.assemble(&coefficients[..columns], exponents);
            let objective = problem.objective(&parameters);
            let better = best.as_ref().is_none_or(|best| objective < best.objective);
            if objective.is_finite() && better {
                best = Some(Candidate { parameters, objective, squares });
            }
        }
        for (((row, right), weight), point) in rows.iter().zip(&mut weights).zip(&problem.points) {
            let sum: f64 = row.iter().zip(&coefficients).map(|(entry, x)| entry * x).sum();
            let value = if relative { sum * point.loss } else { sum };
            let residual = problem.residuals.of(value, point.loss);
            // Where the law has no logarithm, the distance is all there is.
            let residual = if residual.is_finite() { residual } else { sum - right };
            *weight = huber::weight(residual, problem.delta);
        }
    }
    best
}

/// Least squares with no unknown below 0, and its sum of squares: of the few sets of unknowns that may be above 0,
/// the best.
fn not_negative(triangle: &Triangle, unknowns: usize) -> Option<(Row, f64)> {
    let mut best: Option<(Row, f64)> = None;
    for set in 1_u32..1 << unknowns {
        let chosen: Vec<usize> = (0..unknowns).filter(|k| set >> k & 1 == 1).collect();
        let smaller = triangle.of(&chosen);
        let Some(solution) = smaller.solve() else { continue };
        if solution[..chosen.len()].iter().any(|&x| x < 0.0) {
            continue;
        }
        if best.as_ref().is_none_or(|best| smaller.rest() < best.1) {
            let mut all = [0.0; MOST];
            chosen.iter().zip(solution).for_each(|(&k, x)| all[k] = x);
            best = Some((all, smaller.rest()));
        }
    }
    best
}
