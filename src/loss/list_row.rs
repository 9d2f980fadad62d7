//! A student's distribution and a teacher's list in one row.

use super::outcomes::{Form, Outcome, log_sum};

/// That a row has nothing to renormalise.
pub(super) struct Nothing;

/// The teacher and the student of one row.
pub(super) struct Both {
    pub(super) outcomes: Vec<Outcome>,
    /// All other classes, where there are any.
    pub(super) tail: Option<Tail>,
}

pub(super) struct Tail {
    pub(super) outcome: Outcome,
    /// The student's, of the distribution over these classes alone.
    pub(super) entropy: f64,
}

/// A divergence of one row with its derivatives.
pub(super) struct RowDivergence {
    pub(super) value: f64,
    pub(super) by_log_q: Vec<f64>,
    pub(super) by_log_others: f64,
    pub(super) by_entropy: f64,
}

impl RowDivergence {
    pub(super) fn new(listed: usize) -> Self {
        Self { value: 0.0, by_log_q: vec![0.0; listed], by_log_others: 0.0, by_entropy: 0.0 }
    }
}

impl Both {
    pub(super) fn without_tail(self) -> Self {
        Self { tail: None, ..self }
    }

    /// Σ A ln(A/B) over the list, each with its share.
    pub(super) fn ignoring(&self, parts: &[(f64, Form)]) -> RowDivergence {
        let mut row = RowDivergence::new(self.outcomes.len());
        for (outcome, slope) in self.outcomes.iter().zip(&mut row.by_log_q) {
            let (p, q) = (outcome.p(), outcome.q());
            for &(share, form) in parts {
                let (value, by_log_q) = match form {
                    Form::Forward if p == 0.0 => (0.0, 0.0),
                    Form::Forward => (p * outcome.delta, -p),
                    _ if q == 0.0 => (0.0, 0.0),
                    _ => (-q * outcome.delta, q * (1.0 - outcome.delta)),
                };
                row.value += share * value;
                *slope += share * by_log_q;
            }
        }
        row
    }

    /// Of distributions: each part of `outcomes`, of which the last is the tail where there is one more than listed.
    fn of_whole(parts: &[(f64, Form)], outcomes: &[Outcome]) -> (f64, Vec<f64>) {
        let (mut value, mut sum) = (0.0, vec![0.0; outcomes.len()]);
        let mut slopes = vec![0.0; outcomes.len()];
        for &(share, form) in parts {
            value += share * form.evaluate(outcomes, &mut slopes);
            for (sum, slope) in sum.iter_mut().zip(&slopes) {
                *sum += share * slope;
            }
        }
        (value, sum)
    }

    pub(super) fn renormalized(
        &self,
        parts: &[(f64, Form)],
    ) -> std::result::Result<RowDivergence, Nothing> {
        let mut row = RowDivergence::new(self.outcomes.len());
        let (most_p, others_p) = log_sum(self.outcomes.iter().map(|outcome| outcome.log_p));
        let (most_q, others_q) = log_sum(self.outcomes.iter().map(|outcome| outcome.log_q));
        if most_p == f64::NEG_INFINITY {
            return Err(Nothing);
        }
        if most_q == f64::NEG_INFINITY {
            row.value = f64::INFINITY;
            return Ok(row);
        }
        let (of_p, of_q) = (others_p.ln_1p(), others_q.ln_1p());
        let outcome = |outcome: &Outcome| {
            let (p, q) = (outcome.log_p - most_p, outcome.log_q - most_q);
            Outcome { log_p: p - of_p, log_q: q - of_q, delta: (p - q) - (of_p - of_q) }
        };
        let outcomes: Vec<Outcome> = self.outcomes.iter().map(outcome).collect();
        (row.value, row.by_log_q) = Self::of_whole(parts, &outcomes);
        Ok(row)
    }

    pub(super) fn bucketed(mut self, parts: &[(f64, Form)]) -> RowDivergence {
        let listed = self.outcomes.len();
        self.outcomes.extend(self.tail.map(|tail| tail.outcome));
        let mut row = RowDivergence::new(listed);
        (row.value, row.by_log_q) = Self::of_whole(parts, &self.outcomes);
        row.by_log_others = row.by_log_q.get(listed).copied().unwrap_or(0.0);
        row.by_log_q.truncate(listed);
        row
    }

    /// The reverse divergence, with c in the place of each ln P that is not listed:
    /// Σ_S Q (ln Q − ln P) + Q_tail (ln Q_tail − H_tail − c), or −H − Σ_S Q ln P − c Q_tail.
    pub(super) fn floored(&self, floor: f64) -> RowDivergence {
        let mut row = self.ignoring(&[(1.0, Form::Reverse)]);
        let tail = self.tail.as_ref().filter(|tail| tail.outcome.log_q > f64::NEG_INFINITY);
        match tail {
            // All of Q is listed: its derivatives sum to the value, and 1 less is as good.
            None => {
                let value = row.value;
                for (slope, outcome) in row.by_log_q.iter_mut().zip(&self.outcomes) {
                    let q = outcome.q();
                    *slope = if q == 0.0 { 0.0 } else { q * (-outcome.delta - value) };
                }
            }
            Some(Tail { outcome, entropy }) => {
                let q = outcome.q();
                row.value += q * (outcome.log_q - entropy - floor);
                for (slope, outcome) in row.by_log_q.iter_mut().zip(&self.outcomes) {
                    let q = outcome.q();
                    *slope = if q == 0.0 { 0.0 } else { -q * outcome.log_p };
                }
                (row.by_log_others, row.by_entropy) = (-floor * q, -1.0);
            }
        }
        row
    }
}
