//! The phases that the representation geometry of language models passes through.
//!
//! *Tracing the Representation Geometry of Language Models from Pretraining to Post-training* (Li et
//! al., 2025) finds three in the effective rank of the covariance: it collapses (warm-up), grows
//! (entropy-seeking), and falls while α rises (compression-seeking).

use super::text::{grouped, number};
use crate::train::record::Measurement;

/// Changes of the effective rank of less are none.
const LEAST: f64 = 0.05;

/// A point of the course: step, effective rank, α.
#[derive(Clone, Copy)]
struct Point {
    step: usize,
    rank: f64,
    alpha: Option<f64>,
}

/// Where the effective rank turns.
pub struct Phases {
    start: Point,
    /// Before the greatest rise, and after it.
    low: Point,
    high: Point,
    end: Point,
    measurements: usize,
}

impl Phases {
    /// Splits the course at the two ends of its greatest rise, which leaves the greatest falls before
    /// and after. None with fewer than three measurements.
    pub fn new(measurements: &[&Measurement]) -> Option<Self> {
        let points: Vec<Point> = measurements
            .iter()
            .filter(|m| m.effective_rank.is_finite() && m.effective_rank > 0.0)
            .map(|m| Point {
                step: m.step,
                rank: m.effective_rank,
                alpha: m.alpha_req.filter(|alpha| alpha.is_finite()),
            })
            .collect();
        let (&start, &end) = (points.first()?, points.last()?);
        if points.len() < 3 {
            return None;
        }
        let (mut low, mut high, mut least) = (start, start, start);
        for &point in &points {
            if point.rank < least.rank {
                least = point;
            }
            if point.rank / least.rank > high.rank / low.rank {
                (low, high) = (least, point);
            }
        }
        Some(Self { start, low, high, end, measurements: points.len() })
    }

    fn warms_up(&self) -> bool {
        self.low.rank <= (1.0 - LEAST) * self.start.rank
    }

    fn expands(&self) -> bool {
        self.high.rank >= (1.0 + LEAST) * self.low.rank
    }

    fn compresses(&self) -> bool {
        self.end.rank <= (1.0 - LEAST) * self.high.rank
    }

    /// The phases that are there: number, name, first and last step.
    pub fn spans(&self) -> Vec<(usize, &'static str, usize, usize)> {
        if !self.expands() {
            return Vec::new();
        }
        let phases = [
            (self.warms_up(), 1, "warm-up", self.start.step, self.low.step),
            (true, 2, "entropy-seeking", self.low.step, self.high.step),
            (self.compresses(), 3, "compression-seeking", self.high.step, self.end.step),
        ];
        phases
            .into_iter()
            .filter(|phase| phase.0)
            .map(|(_, n, name, a, b)| (n, name, a, b))
            .collect()
    }

    /// The steps at which a phase may begin or end.
    pub fn turns(&self) -> [usize; 2] {
        [self.low.step, self.high.step]
    }

    /// What the measurements say: a sentence for each phase, or one for all.
    pub fn sentences(&self) -> Vec<String> {
        let ranks = |from: Point, to: Point| {
            let (a, b) = (grouped(from.step as u64), grouped(to.step as u64));
            format!("from {} to {} between steps {a} and {b}", number(from.rank), number(to.rank))
        };
        if !self.expands() {
            let text = if self.end.rank <= (1.0 - LEAST) * self.start.rank {
                format!(
                    "The effective rank falls {}, and never rises by {} % or more: there is no \
                     entropy-seeking phase, and without one between them a warm-up cannot be told from \
                     a compression-seeking phase.",
                    ranks(self.start, self.end),
                    LEAST * 100.0
                )
            } else {
                format!(
                    "The effective rank goes {}, and changes by less than {} % on its way up: none of \
                     the three phases is there.",
                    ranks(self.start, self.end),
                    LEAST * 100.0
                )
            };
            return vec![text];
        }
        let warm_up = match self.warms_up() {
            true => format!(
                "Warm-up: yes. The effective rank collapses {}.",
                ranks(self.start, self.low)
            ),
            false => format!(
                "Warm-up: no. The effective rank has not fallen by {} % before it rises (an earlier \
                 collapse would lie before the first measurements).",
                LEAST * 100.0
            ),
        };
        let beside = |from: Point, to: Point| match way(from, to) {
            Some((_, way)) => format!("; {way}."),
            None => ".".into(),
        };
        let expansion = format!(
            "Entropy-seeking: yes. It rises {}{}",
            ranks(self.low, self.high),
            beside(self.low, self.high)
        );
        let compression = if self.compresses() {
            let alpha = match way(self.high, self.end) {
                Some((change, way)) if change > 0.0 => format!("and {way}"),
                Some((_, way)) => format!("but {way}"),
                None => "without an α beside it".into(),
            };
            format!(
                "Compression-seeking: yes. The rank falls again {}, {alpha}.",
                ranks(self.high, self.end)
            )
        } else if self.high.step == self.end.step {
            "Compression-seeking: no. The rank rises to the end.".into()
        } else {
            format!(
                "Compression-seeking: no. After its peak the rank falls by less than {} %{}",
                LEAST * 100.0,
                beside(self.high, self.end)
            )
        };
        vec![warm_up, expansion, compression]
    }

    /// What the sentence rests on.
    pub fn basis(&self) -> String {
        format!(
            "Told from {} measurements of the effective rank of the covariance; a change counts from \
             {} % on.",
            self.measurements,
            LEAST * 100.0
        )
    }
}

/// How α changes between two points: by how much, and in words.
fn way(from: Point, to: Point) -> Option<(f64, String)> {
    let (a, b) = (from.alpha?, to.alpha?);
    let way = match b - a {
        change if change.abs() < LEAST * a.abs() => "stays about the same",
        change if change > 0.0 => "rises",
        _ => "falls",
    };
    Some((b - a, format!("α {way}, from {} to {}", number(a), number(b))))
}
