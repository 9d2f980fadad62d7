//! Σ_i softplus(x − p_i) at many x, each in a time that does not depend on the number of p_i.

/// Nodes of a piece. The nearest poles of the sum stand at a distance of π from the line, so that an interpolation
/// over [−1, 1] is off by about (π + √(π²+1))⁻²² = 2e-18 of its largest value.
const NODES: usize = 22;
/// Half of the width of a piece.
const HALF: f64 = 1.0;
/// Beyond all p_i by this much, softplus is its argument, or its exponential, to less than a rounding.
const FAR: f64 = 40.0;
/// The most pieces between the least and the greatest p_i.
const PIECES: f64 = 1048576.0;

/// Polynomials in pieces of the line, and what was asked of each.
pub(super) struct PairSums {
    points: Vec<f64>,
    least: f64,
    greatest: f64,
    pieces: Vec<Option<Box<Piece>>>,
    /// Σ_i e^(least − p_i).
    exponentials: f64,
    /// Number and sum of the x above all pieces.
    above: (f64, f64),
    /// Σ e^(x − least) of those below.
    below: f64,
}

struct Piece {
    /// Chebyshev coefficients of the sum of σ(x − p_i).
    slope: [f64; NODES],
    /// Σ T_n over the x that were asked for.
    moments: [f64; NODES],
}

/// What has been summed over all x.
pub(super) struct Totals {
    /// Σ_x Σ_i softplus(x − p_i).
    pub(super) value: f64,
    /// Σ_x σ(x − p_i) of each i.
    pub(super) of_points: Vec<f64>,
}

impl PairSums {
    /// Of finite points. None where they are too far apart.
    pub(super) fn new(points: Vec<f64>) -> Option<Self> {
        let least = points.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = points.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let pieces = ((greatest - least + 2.0 * FAR) / (2.0 * HALF)).ceil() + 1.0;
        if !pieces.is_finite() || pieces > PIECES {
            return None;
        }
        let exponentials = points.iter().map(|p| (least - p).exp()).sum();
        let pieces = (0..pieces as usize).map(|_| None).collect();
        Some(Self { points, least, greatest, pieces, exponentials, above: (0.0, 0.0), below: 0.0 })
    }

    /// Σ_i σ(x − p_i); x is counted.
    pub(super) fn ask(&mut self, x: f64) -> f64 {
        if x >= self.greatest + FAR {
            self.above.0 += 1.0;
            self.above.1 += x - self.greatest;
            return self.points.len() as f64;
        }
        let along = (x - (self.least - FAR)) / (2.0 * HALF);
        if along < 0.0 {
            let small = (x - self.least).exp();
            self.below += small;
            return small * self.exponentials;
        }
        let number = (along as usize).min(self.pieces.len() - 1);
        if self.pieces[number].is_none() {
            self.pieces[number] = Some(Box::new(self.piece(number)));
        }
        let piece = self.pieces[number].as_mut().expect("made above");
        piece.ask(2.0 * (along - number as f64) - 1.0)
    }

    fn node(&self, piece: usize, node: usize) -> f64 {
        self.least - FAR + HALF * ((2 * piece + 1) as f64 + angle(node).cos())
    }

    fn piece(&self, number: usize) -> Piece {
        let mut values = [0.0; NODES];
        for (k, value) in values.iter_mut().enumerate() {
            let x = self.node(number, k);
            *value = self.points.iter().map(|p| sigmoid(x - p)).sum();
        }
        let mut slope = [0.0; NODES];
        for (n, slope) in slope.iter_mut().enumerate() {
            let sum: f64 = (0..NODES).map(|k| values[k] * (n as f64 * angle(k)).cos()).sum();
            *slope = sum * factor(n);
        }
        Piece { slope, moments: [0.0; NODES] }
    }

    /// What all that was asked for has come to.
    pub(super) fn totals(self) -> Totals {
        let count = self.points.len() as f64;
        let beyond: f64 = self.points.iter().map(|p| self.greatest - p).sum();
        let mut value =
            self.above.0 * beyond + count * self.above.1 + self.below * self.exponentials;
        let mut of_points: Vec<f64> = self
            .points
            .iter()
            .map(|p| self.above.0 + self.below * (self.least - p).exp())
            .collect();
        for (number, piece) in self.pieces.iter().enumerate() {
            let Some(piece) = piece else { continue };
            // The x of a piece weigh its nodes as their interpolation does.
            for k in 0..NODES {
                let x = self.node(number, k);
                let terms = piece.moments.iter().enumerate();
                let weight: f64 =
                    terms.map(|(n, m)| factor(n) * (n as f64 * angle(k)).cos() * m).sum();
                for (of_point, p) in of_points.iter_mut().zip(&self.points) {
                    *of_point += weight * sigmoid(x - p);
                    value += weight * softplus(x - p);
                }
            }
        }
        Totals { value, of_points }
    }
}

impl Piece {
    fn ask(&mut self, x: f64) -> f64 {
        let (mut before, mut now) = (1.0, x);
        let mut sum = self.slope[0] + self.slope[1] * x;
        self.moments[0] += 1.0;
        self.moments[1] += x;
        for n in 2..NODES {
            (before, now) = (now, 2.0 * x * now - before);
            sum += self.slope[n] * now;
            self.moments[n] += now;
        }
        sum
    }
}

fn angle(node: usize) -> f64 {
    (node as f64 + 0.5) * std::f64::consts::PI / NODES as f64
}

fn factor(n: usize) -> f64 {
    if n == 0 { 1.0 / NODES as f64 } else { 2.0 / NODES as f64 }
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn sigmoid(x: f64) -> f64 {
    let small = (-x.abs()).exp();
    if x >= 0.0 { 1.0 / (1.0 + small) } else { small / (1.0 + small) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_every_pair() {
        let points: Vec<f64> = (0..57).map(|i| (f64::from(i) * 1.7).sin() * 9.0 + 3.0).collect();
        for place in
            [-800.0, -60.0, -37.3, -20.0, -3.1, 0.0, 0.4, 11.9, 12.0, 30.0, 51.7, 52.1, 900.0]
        {
            let mut sums = PairSums::new(points.clone()).unwrap();
            let xs = [place, place + 0.3, place + 1.1];
            for x in xs {
                let wanted: f64 = points.iter().map(|p| sigmoid(x - p)).sum();
                let found = sums.ask(x);
                assert!((found - wanted).abs() <= 1e-13 * wanted, "{x}: {found:e} {wanted:e}");
            }
            let totals = sums.totals();
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
        assert!(
            PairSums::new(vec![0.0, 1e9]).is_none() && PairSums::new(vec![-1e308, 1e308]).is_none()
        );
    }
}
