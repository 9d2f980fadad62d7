//! Nearest neighbours by a k-d tree (Bentley 1975) whose nodes know their bounding boxes.

use std::collections::BinaryHeap;

use super::points::Points;
use crate::parallel;

/// So few points are looked at one by one.
const LEAF: usize = 12;

/// Rows that one task queries.
const ROWS: usize = 64;

/// Coordinates between two looks at whether the distance can still matter.
const STRIDE: usize = 8;

/// A norm of differences.
pub(super) trait Norm: Sync {
    /// The norm of what `difference` makes of each index below `length`; beyond `limit`, anything
    /// beyond `limit` may be returned.
    fn of(length: usize, difference: impl Fn(usize) -> f64, limit: f64) -> f64;

    fn between(a: &[f64], b: &[f64], limit: f64) -> f64 {
        // Of one length to the compiler, too: no index below it is checked.
        let b = &b[..a.len()];
        Self::of(a.len(), |j| a[j] - b[j], limit)
    }
}

/// The largest absolute difference.
pub(super) struct Maximum;

impl Norm for Maximum {
    #[inline(always)]
    fn of(length: usize, difference: impl Fn(usize) -> f64, limit: f64) -> f64 {
        let larger = |a: f64, b: f64| if a > b { a } else { b };
        let (mut largest, whole) = (0.0, length - length % STRIDE);
        for start in (0..whole).step_by(STRIDE) {
            let mut lanes = [0.0; STRIDE];
            for (lane, number) in lanes.iter_mut().enumerate() {
                *number = difference(start + lane).abs();
            }
            largest = larger(largest, lanes.into_iter().fold(0.0, larger));
            if largest > limit {
                return largest;
            }
        }
        (whole..length).fold(largest, |largest, j| larger(difference(j).abs(), largest))
    }
}

/// The root of the sum of squares.
pub(super) struct Euclid;

impl Norm for Euclid {
    #[inline(always)]
    fn of(length: usize, difference: impl Fn(usize) -> f64, limit: f64) -> f64 {
        // Squares outside this range have lost digits, or all of them.
        let exact = 1e-280..1e300;
        let enough = (limit * limit * (1.0 + 1e-12)).max(exact.start);
        let square = |j: usize| difference(j) * difference(j);
        let (mut sum, whole) = (0.0, length - length % STRIDE);
        for start in (0..whole).step_by(STRIDE) {
            let mut lanes = [0.0; STRIDE];
            for (lane, number) in lanes.iter_mut().enumerate() {
                *number = square(start + lane);
            }
            let [a, b, c, d, e, f, g, h] = lanes;
            sum += ((a + b) + (c + d)) + ((e + f) + (g + h));
            if sum > enough {
                return f64::INFINITY;
            }
        }
        sum += (whole..length).map(square).sum::<f64>();
        if exact.contains(&sum) {
            return sum.sqrt();
        }
        let largest = Maximum::of(length, &difference, f64::INFINITY);
        if largest == 0.0 {
            return 0.0;
        }
        let scaled = (0..length).map(|j| difference(j) / largest);
        largest * scaled.map(|difference| difference * difference).sum::<f64>().sqrt()
    }
}

/// How far a ball reaches: whether points at exactly its radius are in it.
#[derive(Clone, Copy)]
pub(super) enum Ball {
    Open(f64),
    Closed(f64),
}

impl Ball {
    fn holds(self, distance: f64) -> bool {
        match self {
            Ball::Open(radius) => distance < radius,
            Ball::Closed(radius) => distance <= radius,
        }
    }

    fn radius(self) -> f64 {
        match self {
            Ball::Open(radius) | Ball::Closed(radius) => radius,
        }
    }
}

pub(super) struct Tree {
    /// In an order in which every node's points stand together.
    points: Points,
    /// The row that each of them was.
    rows: Vec<usize>,
    nodes: Vec<Node>,
    /// Least and largest coordinates of each node.
    corners: Vec<f64>,
}

struct Node {
    start: usize,
    end: usize,
    children: Option<[usize; 2]>,
}

impl Tree {
    pub fn new(points: &Points) -> Self {
        let mut rows: Vec<usize> = (0..points.len()).collect();
        let (mut nodes, mut corners) = (Vec::new(), Vec::new());
        grow(points, &mut rows, 0, &mut nodes, &mut corners);
        Self { points: points.select(&rows), rows, nodes, corners }
    }

    /// The distance of each row to its `k`-th nearest neighbour, itself excluded.
    pub fn distances<N: Norm>(&self, k: usize) -> Vec<f64> {
        self.for_each_row(0.0, |nearest: &mut BinaryHeap<u64>, row, _| {
            nearest.clear();
            // The row itself is among the nearest, at distance 0.
            self.search::<N>(0, row, k + 1, nearest);
            nearest.peek().map_or(f64::INFINITY, |&bits| f64::from_bits(bits))
        })
    }

    /// How many rows the ball around each row holds in the maximum norm, itself included.
    pub fn counts(&self, ball: impl Fn(usize) -> Ball + Sync) -> Vec<usize> {
        self.for_each_row(0, |(), point, row| self.count(0, point, ball(row)))
    }

    /// What `query` makes of each point and the row that it was, in the order of the rows.
    pub fn for_each_row<S, A>(
        &self,
        empty: A,
        query: impl Fn(&mut S, &[f64], usize) -> A + Sync,
    ) -> Vec<A>
    where
        S: Default + Send,
        A: Copy + Send,
    {
        let mut answers = vec![empty; self.rows.len()];
        let tasks: Vec<_> = answers.chunks_mut(ROWS).enumerate().collect();
        let mut scratches: Vec<S> = (0..parallel::threads()).map(|_| S::default()).collect();
        parallel::for_each(&mut scratches, tasks, |scratch, (task, answers)| {
            // Neighbours in this order are near each other, and so are the nodes they visit.
            for (at, answer) in (task * ROWS..).zip(answers) {
                *answer = query(scratch, self.points.row(at), self.rows[at]);
            }
        });
        let mut ordered = answers.clone();
        for (&row, answer) in self.rows.iter().zip(answers) {
            ordered[row] = answer;
        }
        ordered
    }

    /// Gives `visit` every point within `radius` in the maximum norm, with its distance.
    pub fn within(&self, point: &[f64], radius: f64, visit: &mut impl FnMut(&[f64], f64)) {
        let mut open = vec![0];
        while let Some(node) = open.pop() {
            if self.gap::<Maximum>(node, point, radius) > radius {
                continue;
            }
            match self.nodes[node].children {
                Some(children) => open.extend(children),
                None => {
                    for other in self.leaf(node) {
                        let distance = Maximum::between(point, other, radius);
                        if distance <= radius {
                            visit(other, distance);
                        }
                    }
                }
            }
        }
    }

    /// `nearest` keeps the `count` least distances. They are not negative, and so their bits have
    /// their order.
    fn search<N: Norm>(
        &self,
        node: usize,
        point: &[f64],
        count: usize,
        nearest: &mut BinaryHeap<u64>,
    ) {
        let limit = |nearest: &BinaryHeap<u64>| match nearest.peek() {
            Some(&farthest) if nearest.len() == count => f64::from_bits(farthest),
            _ => f64::INFINITY,
        };
        let Some(children) = self.nodes[node].children else {
            for other in self.leaf(node) {
                let limit = limit(nearest);
                let distance = N::between(point, other, limit);
                if distance < limit {
                    if nearest.len() == count {
                        nearest.pop();
                    }
                    nearest.push(distance.to_bits());
                }
            }
            return;
        };
        let gaps = children.map(|child| self.gap::<N>(child, point, limit(nearest)));
        let order = if gaps[1] < gaps[0] { [1, 0] } else { [0, 1] };
        for child in order {
            if gaps[child] < limit(nearest) {
                self.search::<N>(children[child], point, count, nearest);
            }
        }
    }

    fn count(&self, node: usize, point: &[f64], ball: Ball) -> usize {
        if !ball.holds(self.gap::<Maximum>(node, point, ball.radius())) {
            return 0;
        }
        if ball.holds(self.reach(node, point)) {
            return self.nodes[node].end - self.nodes[node].start;
        }
        match self.nodes[node].children {
            Some(children) => children.iter().map(|&child| self.count(child, point, ball)).sum(),
            None => {
                let holds =
                    |other: &&[f64]| ball.holds(Maximum::between(point, other, ball.radius()));
                self.leaf(node).filter(holds).count()
            }
        }
    }

    fn leaf(&self, node: usize) -> impl Iterator<Item = &[f64]> {
        let Node { start, end, .. } = self.nodes[node];
        (start..end).map(|at| self.points.row(at))
    }

    fn corners(&self, node: usize) -> (&[f64], &[f64]) {
        let width = self.points.width();
        self.corners[2 * node * width..][..2 * width].split_at(width)
    }

    /// A distance that no point of the node falls below: subtraction, squares and sums in one order
    /// are monotone, rounded or not.
    fn gap<N: Norm>(&self, node: usize, point: &[f64], limit: f64) -> f64 {
        let (least, largest) = self.corners(node);
        let (least, largest) = (&least[..point.len()], &largest[..point.len()]);
        let outside = |j: usize| {
            let (below, above) = (least[j] - point[j], point[j] - largest[j]);
            let most = if below > above { below } else { above };
            if most > 0.0 { most } else { 0.0 }
        };
        N::of(point.len(), outside, limit)
    }

    /// A distance in the maximum norm that no point of the node exceeds.
    fn reach(&self, node: usize, point: &[f64]) -> f64 {
        let (least, largest) = self.corners(node);
        let corners = least.iter().zip(largest).zip(point);
        corners.fold(0.0, |reach: f64, ((least, largest), x)| reach.max(x - least).max(largest - x))
    }
}

/// Makes the node of `rows`, the first of which stands at `start`, and its children; its number.
fn grow(
    points: &Points,
    rows: &mut [usize],
    start: usize,
    nodes: &mut Vec<Node>,
    corners: &mut Vec<f64>,
) -> usize {
    let (node, width) = (nodes.len(), points.width());
    nodes.push(Node { start, end: start + rows.len(), children: None });
    let corner = corners.len();
    corners.extend_from_slice(points.row(rows[0]));
    corners.extend_from_slice(points.row(rows[0]));
    let (least, largest) = corners[corner..].split_at_mut(width);
    for &row in rows.iter() {
        for ((least, largest), &x) in least.iter_mut().zip(&mut *largest).zip(points.row(row)) {
            *least = least.min(x);
            *largest = largest.max(x);
        }
    }
    if rows.len() <= LEAF {
        return node;
    }
    let extent = |&axis: &usize| largest[axis] - least[axis];
    let widest = (0..width).max_by(|a, b| extent(a).total_cmp(&extent(b))).unwrap_or(0);
    let half = rows.len() / 2;
    let at = |row: usize| points.row(row)[widest];
    rows.select_nth_unstable_by(half, |&a, &b| at(a).total_cmp(&at(b)));
    let (left, right) = rows.split_at_mut(half);
    let left = grow(points, left, start, nodes, corners);
    let right = grow(points, right, start + half, nodes, corners);
    nodes[node].children = Some([left, right]);
    node
}
