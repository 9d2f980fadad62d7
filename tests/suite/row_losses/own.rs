//! Losses as a user would write them.

use surprisal::loss::{Needs, RowLoss, RowScalars, Term, Terms};

/// s²/(1+s), as a user would write it.
#[derive(Debug)]
pub struct Tempered;

impl RowLoss for Tempered {
    fn evaluate(&self, row: &RowScalars) -> Terms {
        let s = row.surprisal();
        // s/(1+s), also at s = ∞.
        let share = 1.0 / (1.0 + 1.0 / s);
        Terms::weighted(Term::new(s * share).by_surprisal(share * (2.0 - share)))
    }
}

/// Something of every scalar, with a class weight that counts on one part alone.
#[derive(Debug)]
pub struct Everything;

impl RowLoss for Everything {
    fn needs(&self) -> Needs {
        Needs::nothing().entropy().min_entropy().deviation().companion()
    }

    fn evaluate(&self, row: &RowScalars) -> Terms {
        let (s, d, x) = (row.surprisal(), row.deviation(), row.companion());
        let weighted = Term::new(s / d + s * x)
            .by_surprisal(1.0 / d + x)
            .by_deviation(-s / (d * d))
            .by_companion(s);
        let (lse, h, most) = (row.log_sum_exp(), row.entropy(), row.min_entropy());
        let plain = Term::new(0.1 * lse * lse + h * most)
            .by_log_sum_exp(0.2 * lse)
            .by_entropy(most)
            .by_min_entropy(h);
        Terms::weighted(weighted).with_plain(plain)
    }
}

/// expm1((1−τ) s)/(1−τ) at τ = 0.
#[derive(Debug)]
pub struct SumExponential;

impl RowLoss for SumExponential {
    fn evaluate(&self, row: &RowScalars) -> Terms {
        let s = row.surprisal();
        let value = -(-s).exp_m1();
        Terms::weighted(Term::new(value).by_surprisal(1.0).times_exp(s))
    }
}
