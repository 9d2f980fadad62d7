//! Σ_i softplus(x − p_i) at many x, each in a time that does not depend on the number of p_i.

use std::sync::OnceLock;

use super::pair_kernels::{Interpolation, NODES, PointSums, SigmoidSum};
use crate::parallel;
use crate::simd::Isa;

/// Half of the width of a piece.
const HALF: f64 = 1.0;
/// Beyond all p_i by this much, softplus is its argument, or its exponential, to less than a rounding.
const FAR: f64 = 40.0;
/// The most pieces between the least and the greatest p_i.
const PIECES: f64 = 1048576.0;
/// The most groups of x that are asked for side by side.
const GROUPS: usize = 16;
/// Pieces of all groups together, where there is more than one: 3 MiB of pointers and moments for each 2¹⁴ of them.
/// Chosen by that.
const OF_ALL_GROUPS: usize = 1 << 16;
/// Points of one task of the totals. Not measured.
const POINTS: usize = 512;

/// Polynomials in pieces of the line.
pub(super) struct PairSums {
    isa: Isa,
    points: Vec<f64>,
    least: f64,
    greatest: f64,
    /// The mean of the points: taken off, it takes the size of all numbers away.
    pub(super) centre: f64,
    /// Chebyshev coefficients of the sum of σ(x − p_i), once they have been needed.
    pieces: Vec<OnceLock<Box<[f64; NODES]>>>,
    /// Σ_i e^(least − p_i).
    exponentials: f64,
}

/// What was asked for by one group of x.
pub(super) struct Asked {
    /// Σ T_n over the x of each piece.
    moments: Vec<Option<Box<[f64; NODES]>>>,
    /// Number and sum of the x above all pieces.
    above: (f64, f64),
    /// Σ e^(x − least) of those below.
    below: f64,
    /// Σ (x − centre) Σ_i σ(x − p_i).
    slope: f64,
}

/// What a thread puts the x of a piece together in.
#[derive(Default)]
pub(super) struct Sorting {
    places: Vec<(u32, u32)>,
    starts: Vec<u32>,
    sorted: Vec<f64>,
}

/// What has been summed over all x.
pub(super) struct Totals {
    /// Σ_x Σ_i softplus(x − p_i).
    pub(super) value: f64,
    /// Σ_x σ(x − p_i) of each i.
    pub(super) of_points: Vec<f64>,
    /// Σ_x (x − centre) Σ_i σ(x − p_i).
    pub(super) slope: f64,
}

impl PairSums {
    /// Of finite points. None where they are too far apart.
    pub(super) fn new(isa: Isa, points: Vec<f64>) -> Option<Self> {
        let least = points.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = points.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let pieces = ((greatest - least + 2.0 * FAR) / (2.0 * HALF)).ceil() + 1.0;
        if !pieces.is_finite() || pieces > PIECES {
            return None;
        }
        let exponentials = points.iter().map(|p| (least - p).exp()).sum();
        let centre = points.iter().sum::<f64>() / points.len() as f64;
        let pieces = (0..pieces as usize).map(|_| OnceLock::new()).collect();
        Some(Self { isa, points, least, greatest, centre, pieces, exponentials })
    }

    /// Nothing yet, of as many groups as there are to be: fewer where there are many pieces.
    pub(super) fn groups(&self) -> Vec<Asked> {
        let count = (OF_ALL_GROUPS / self.pieces.len()).clamp(1, GROUPS);
        let moments = || (0..self.pieces.len()).map(|_| None).collect();
        let nothing = || Asked { moments: moments(), above: (0.0, 0.0), below: 0.0, slope: 0.0 };
        (0..count).map(|_| nothing()).collect()
    }

    /// Puts Σ_i σ(x − p_i) in the place of each x; they are counted.
    pub(super) fn ask(&self, asked: &mut Asked, sorting: &mut Sorting, xs: &mut [f64]) {
        let Sorting { places, starts, sorted } = sorting;
        let count = self.pieces.len();
        places.clear();
        let (mut first, mut last) = (count, 0);
        for x in &mut *xs {
            if *x >= self.greatest + FAR {
                asked.above.0 += 1.0;
                asked.above.1 += *x - self.greatest;
                let sum = self.points.len() as f64;
                asked.slope += sum * (*x - self.centre);
                *x = sum;
                places.push((u32::MAX, 0));
                continue;
            }
            let along = (*x - (self.least - FAR)) / (2.0 * HALF);
            if along < 0.0 {
                let small = (*x - self.least).exp();
                asked.below += small;
                let sum = small * self.exponentials;
                asked.slope += sum * (*x - self.centre);
                *x = sum;
                places.push((u32::MAX, 0));
                continue;
            }
            let number = (along as usize).min(count - 1);
            (first, last) = (first.min(number), last.max(number));
            *x = 2.0 * (along - number as f64) - 1.0;
            places.push((number as u32, 0));
        }
        if first > last {
            return;
        }
        // Those of a piece one after the other, in the order in which they came.
        starts.clear();
        starts.resize(last - first + 2, 0);
        for (number, within) in &mut *places {
            if *number != u32::MAX {
                let count = &mut starts[*number as usize - first + 1];
                *within = *count;
                *count += 1;
            }
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        sorted.resize(xs.len(), 0.0);
        let place = |&(number, within): &(u32, u32)| {
            (number != u32::MAX).then(|| (starts[number as usize - first] + within) as usize)
        };
        for (x, at) in xs.iter().zip(&*places) {
            if let Some(at) = place(at) {
                sorted[at] = *x;
            }
        }
        for (number, bounds) in (first..).zip(starts.windows(2)) {
            let own = &mut sorted[bounds[0] as usize..bounds[1] as usize];
            if own.is_empty() {
                continue;
            }
            let coefficients = self.pieces[number].get_or_init(|| Box::new(self.piece(number)));
            let moments = asked.moments[number].get_or_insert_with(|| Box::new([0.0; NODES]));
            let (sum, along) = self.isa.dispatch(Interpolation { coefficients, xs: own, moments });
            asked.slope += HALF * along + sum * (self.middle(number) - self.centre);
        }
        for (x, at) in xs.iter_mut().zip(&*places) {
            if let Some(at) = place(at) {
                *x = sorted[at];
            }
        }
    }

    fn middle(&self, piece: usize) -> f64 {
        self.least - FAR + HALF * (2 * piece + 1) as f64
    }

    fn node(&self, piece: usize, node: usize) -> f64 {
        self.middle(piece) + HALF * angle(node).cos()
    }

    fn piece(&self, number: usize) -> [f64; NODES] {
        let mut values = [0.0; NODES];
        for (k, value) in values.iter_mut().enumerate() {
            let x = self.node(number, k);
            *value = self.isa.dispatch(SigmoidSum { points: &self.points, x });
        }
        std::array::from_fn(|n| {
            let sum: f64 = (0..NODES).map(|k| values[k] * (n as f64 * angle(k)).cos()).sum();
            sum * factor(n)
        })
    }

    /// What all that was asked for has come to, by so many threads.
    pub(super) fn totals(&self, groups: &[Asked], threads: usize) -> Totals {
        let sum = |of: fn(&Asked) -> f64| groups.iter().map(of).sum::<f64>();
        let (above, beyond) = (sum(|asked| asked.above.0), sum(|asked| asked.above.1));
        let (below, slope) = (sum(|asked| asked.below), sum(|asked| asked.slope));
        // The x of a piece weigh its nodes as their interpolation does.
        let mut nodes = Vec::new();
        for number in 0..self.pieces.len() {
            let mut moments = [0.0; NODES];
            let mut own =
                groups.iter().filter_map(|asked| asked.moments[number].as_ref()).peekable();
            if own.peek().is_none() {
                continue;
            }
            for own in own {
                moments.iter_mut().zip(&own[..]).for_each(|(sum, m)| *sum += m);
            }
            for k in 0..NODES {
                let terms = moments.iter().enumerate();
                let weight: f64 =
                    terms.map(|(n, m)| factor(n) * (n as f64 * angle(k)).cos() * m).sum();
                nodes.push((self.node(number, k), weight));
            }
        }
        let mut of_points: Vec<f64> =
            self.points.iter().map(|p| above + below * (self.least - p).exp()).collect();
        let mut values = vec![0.0; self.points.len().div_ceil(POINTS)];
        let tasks = self.points.chunks(POINTS).zip(of_points.chunks_mut(POINTS)).zip(&mut values);
        let work = |(): &mut (), ((points, to), value): ((&[f64], &mut [f64]), &mut f64)| {
            *value = self.isa.dispatch(PointSums { points, nodes: &nodes, to });
        };
        parallel::for_each(&mut vec![(); threads.max(1)], tasks.collect(), work);
        let apart: f64 = self.points.iter().map(|p| self.greatest - p).sum();
        let far = above * apart + self.points.len() as f64 * beyond + below * self.exponentials;
        Totals { value: far + values.iter().sum::<f64>(), of_points, slope }
    }
}

fn angle(node: usize) -> f64 {
    (node as f64 + 0.5) * std::f64::consts::PI / NODES as f64
}

fn factor(n: usize) -> f64 {
    if n == 0 { 1.0 / NODES as f64 } else { 2.0 / NODES as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn softplus(x: f64) -> f64 {
        x.max(0.0) + (-x.abs()).exp().ln_1p()
    }

    fn sigmoid(x: f64) -> f64 {
        let small = (-x.abs()).exp();
        if x >= 0.0 { 1.0 / (1.0 + small) } else { small / (1.0 + small) }
    }

    #[test]
    fn sums_are_those_of_every_pair() {
        let points: Vec<f64> = (0..57).map(|i| (f64::from(i) * 1.7).sin() * 9.0 + 3.0).collect();
        let places =
            [-800.0, -60.0, -37.3, -20.0, -3.1, 0.0, 0.4, 11.9, 12.0, 30.0, 51.7, 52.1, 900.0];
        for (place, count) in places.into_iter().flat_map(|place| [3, 40, 300].map(|n| (place, n)))
        {
            let sums = PairSums::new(Isa::current().unwrap(), points.clone()).unwrap();
            let mut groups = sums.groups();
            let xs: Vec<f64> = (0..count).map(|i| place + f64::from(i * 7 % 37) * 0.3).collect();
            let mut found = xs.clone();
            // By two groups, as two tasks would.
            let (left, right) = found.split_at_mut(count as usize / 3);
            sums.ask(&mut groups[0], &mut Sorting::default(), left);
            sums.ask(&mut groups[1], &mut Sorting::default(), right);
            let mut slope = 0.0;
            for (x, found) in xs.iter().zip(found) {
                let wanted: f64 = points.iter().map(|p| sigmoid(x - p)).sum();
                assert!((found - wanted).abs() <= 1e-13 * wanted, "{x}: {found:e} {wanted:e}");
                slope += wanted * (x - sums.centre);
            }
            let totals = sums.totals(&groups, 2);
            let size: f64 = xs.iter().map(|x| (x - sums.centre).abs()).sum::<f64>() * 57.0;
            assert!((totals.slope - slope).abs() <= 1e-13 * size, "{place}");
            let pairs = || xs.iter().flat_map(|x| points.iter().map(move |p| x - p));
            let wanted: f64 = pairs().map(softplus).sum();
            assert!((totals.value - wanted).abs() <= 1e-13 * wanted, "{place}");
            for (p, found) in points.iter().zip(&totals.of_points) {
                let wanted: f64 = xs.iter().map(|x| sigmoid(x - p)).sum();
                // Weights of both signs sum to those of a piece, within which σ changes by e².
                assert!(
                    (found - wanted).abs() <= 1e-12 * wanted,
                    "{place}, {p}: {found:e} {wanted:e}"
                );
            }
        }
        let isa = Isa::current().unwrap();
        for far in [[0.0, 1e9], [-1e308, 1e308]] {
            assert!(PairSums::new(isa, far.to_vec()).is_none());
        }
    }
}
