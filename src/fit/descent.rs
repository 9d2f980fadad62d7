//! From a start to the minimum beside it: Levenberg and Marquardt's steps on all parameters.

use super::huber;
use super::problem::Problem;
use super::triangle::{MOST, Row, Triangle};

/// The most steps that are taken.
const STEPS: usize = 400;

/// Dampings that are tried for a step.
const TRIES: usize = 40;

/// Two ways to count points beyond δ: as squares with the weight that gives their slope, which always leads down;
/// and as next to straight, which leads to the end faster where it leads down.
const CURVATURES: [f64; 2] = [1e-3, 1.0];

/// The minimum, and what the objective is there.
pub(super) fn descend(problem: &Problem, start: Row) -> (Row, f64) {
    let (mut at, mut objective) = (start, problem.objective(&start));
    let mut damping = 1e-4;
    // Steps that changed next to nothing.
    let mut idle = 0;
    for _ in 0..STEPS {
        if objective == 0.0 || !objective.is_finite() {
            break;
        }
        let Some((next, lower)) = step(problem, &at, objective, &mut damping) else { break };
        let changed = objective - lower;
        (at, objective) = (next, lower);
        idle = if changed <= 1e-14 * objective { idle + 1 } else { 0 };
        if idle >= 3 {
            break;
        }
    }
    (at, objective)
}

/// A step that leads down; none where no damping gives one.
fn step(problem: &Problem, at: &Row, objective: f64, damping: &mut f64) -> Option<(Row, f64)> {
    let free = free(problem, at);
    let equations: Vec<Triangle> =
        CURVATURES.iter().map(|&curvature| equations(problem, at, curvature)).collect();
    for _ in 0..TRIES {
        let mut best: Option<(Row, f64)> = None;
        for all in &equations {
            let mut triangle = all.of(&free);
            let lengths = triangle.lengths();
            for k in 0..free.len() {
                let mut row = [0.0; MOST];
                row[k] = damping.sqrt() * lengths[k];
                triangle.push(&row[..free.len()], 0.0);
            }
            let Some(solution) = triangle.solve() else { continue };
            let next = moved(problem, at, &free, &solution);
            let lower = problem.objective(&next);
            if lower < best.as_ref().map_or(objective, |best| best.1) {
                best = Some((next, lower));
            }
        }
        if best.is_some() {
            *damping = (*damping / 8.0).max(1e-18);
            return best;
        }
        *damping = (*damping * 8.0).max(1e-9);
    }
    None
}

/// The linear equations whose least squares are the step.
fn equations(problem: &Problem, at: &Row, curvature: f64) -> Triangle {
    let count = problem.form.parameters();
    let mut triangle = Triangle::new(count);
    for (residual, slopes) in problem.linear(at) {
        let slope = huber::slope(residual, problem.delta);
        let own = huber::weight(residual, problem.delta);
        let root = if own < 1.0 { own * curvature } else { own }.sqrt();
        triangle.push(&slopes.map(|entry| root * entry)[..count], -slope / root);
    }
    triangle
}

/// The parameters but those at 0 that would go below.
fn free(problem: &Problem, at: &Row) -> Vec<usize> {
    let form = &problem.form;
    let mut uphill = [0.0; MOST];
    for (residual, slopes) in problem.linear(at) {
        let slope = huber::slope(residual, problem.delta);
        uphill.iter_mut().zip(slopes).for_each(|(sum, entry)| *sum += slope * entry);
    }
    let bounded = |k: usize| k == 0 || Some(k) == form.coefficient();
    let held = |k: usize| bounded(k) && at[k] == 0.0 && uphill[k] >= 0.0;
    (0..form.parameters()).filter(|&k| !held(k)).collect()
}

/// The parameters after a step, where none that must be above 0 goes below.
fn moved(problem: &Problem, at: &Row, free: &[usize], solution: &Row) -> Row {
    let (form, mut next) = (&problem.form, *at);
    for (&k, step) in free.iter().zip(solution) {
        next[k] += step;
    }
    next[0] = next[0].max(0.0);
    if let Some(k) = form.coefficient() {
        next[k] = next[k].max(0.0);
    }
    for which in 0..form.exponents {
        let k = form.exponent(which);
        next[k] = next[k].max(at[k] / 8.0);
    }
    next
}
