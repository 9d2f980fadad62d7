//! How far two rows of logits are apart.

use crate::error::{Error, Result, short};
use crate::matrix::Vector;
use crate::simd::Isa;
use crate::softmax::RowState;
use crate::softmax::divergence::{Divergence, PairRow};

/// The divergences of p = softmax(a) from q = softmax(b), in nats: a is the first row that [`of`](Self::of) takes, b the
/// second.
///
/// | | |
/// | --- | --- |
/// | [`kl`](Self::kl), [`reverse_kl`](Self::reverse_kl) | KL(p‖q) = Σ p Δ, KL(q‖p), Δ = ln p − ln q |
/// | [`cross_entropy`](Self::cross_entropy) | −Σ p ln q = H(p) + KL(p‖q) |
/// | [`jensen_shannon`](Self::jensen_shannon) | ½ KL(p‖m) + ½ KL(q‖m), m = ½(p + q); at most ln 2 |
/// | [`total_variation`](Self::total_variation) | ½ Σ \|p − q\|; at most 1 |
/// | [`hellinger_squared`](Self::hellinger_squared) | 1 − Σ √(pq) = ½ Σ (√p − √q)²; at most 1 |
/// | [`chi_squared`](Self::chi_squared) | Σ p²/q − 1 = Σ (p − q)²/q |
/// | [`renyi2`](Self::renyi2) | ln Σ p²/q, the Rényi divergence of order 2 |
///
/// No sum has terms of two signs, so all keep their digits where p and q are close, and all are exactly 0 where the
/// rows are equal. Where p has a class that q has not, KL(p‖q), the cross-entropy, χ² and the Rényi divergence are
/// +∞. A NaN logit makes them all NaN.
///
/// [`kl`](Self::kl) is the mean of Δ under the first row. The loss
/// [`KullbackLeibler::forward`](crate::loss::KullbackLeibler::forward), `kl_divergence` with the direction `forward` in the
/// oracle, is the other one: the mean under the teacher, who comes second there, which is
/// [`reverse_kl`](Self::reverse_kl) of a student's row and its teacher's.
///
/// For the rows of two heads, whose logits are never stored, see [`Divergence`](crate::loss::Divergence).
///
/// ```
/// use ndarray::arr1;
/// use surprisal::information::Divergences;
/// let of = Divergences::of(&arr1(&[1.0, 2.0, 3.0]), &arr1(&[1.0, 2.0, 3.0 + 1e-9]))?;
/// // Half the variance of Δ.
/// assert!((of.kl / 1.1134e-19 - 1.0).abs() < 1e-3);
/// assert!(of.jensen_shannon < of.kl && of.kl < of.renyi2);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Divergences {
    /// KL(p‖q), the mean under the first row.
    pub kl: f64,
    /// KL(q‖p), the mean under the second row.
    pub reverse_kl: f64,
    /// −Σ p ln q.
    pub cross_entropy: f64,
    /// H(p).
    pub entropy: f64,
    /// With equal weights.
    pub jensen_shannon: f64,
    /// ½ Σ |p − q|.
    pub total_variation: f64,
    /// 1 − Σ √(pq).
    pub hellinger_squared: f64,
    /// ln Σ p²/q.
    pub renyi2: f64,
    /// Σ p²/q − 1.
    pub chi_squared: f64,
}

impl Divergences {
    /// Of two rows of logits `[K]`.
    ///
    /// # Errors
    /// [`Error::Shape`] for no class, or another number of them; [`Error::Value`] for a logit of +∞, or a row that is
    /// −∞ throughout; as [`Isa::current`].
    pub fn of<'a, 'b>(
        logits: impl Into<Vector<'a>>,
        others: impl Into<Vector<'b>>,
    ) -> Result<Self> {
        Self::of_here(logits.into(), others.into())
    }

    fn of_here(logits: Vector<'_>, others: Vector<'_>) -> Result<Self> {
        let (p, q): (Vec<f64>, Vec<f64>) = (logits.to_vec(), others.to_vec());
        let states = [fold("logits", &p)?, fold("others", &q)?];
        if q.len() != p.len() {
            return Err(Error::Shape {
                argument: "others",
                found: vec![q.len()],
                expected: format!("[{}], one for each class", p.len()),
            });
        }
        let (isa, [of_p, of_q]) = (Isa::current()?, states.map(|s| (s.maximum, s.remainder)));
        let row = PairRow::<f64>::new(of_p, of_q);
        // There P is of the second head; here it is q.
        let value = |divergence| row.sum(isa, divergence, &p, &q).value;
        let kl = value(Divergence::ReverseKullbackLeibler);
        let entropy = states[0].entropy();
        let mut sums = Sums::default();
        for (&a, &b) in p.iter().zip(&q) {
            sums.add(&states, a, b);
        }
        Ok(Self {
            kl,
            reverse_kl: value(Divergence::ForwardKullbackLeibler),
            cross_entropy: entropy + kl,
            entropy,
            jensen_shannon: value(Divergence::JensenShannon { beta: 0.5 }),
            total_variation: value(Divergence::TotalVariation),
            hellinger_squared: 0.5 * sums.hellinger,
            renyi2: match sums.chi_squared == f64::INFINITY {
                false => sums.chi_squared.ln_1p(),
                true => sums.log_squares(),
            },
            chi_squared: sums.chi_squared,
        })
    }
}

fn fold(argument: &'static str, logits: &[f64]) -> Result<RowState> {
    if logits.is_empty() {
        let expected = "at least one class".into();
        return Err(Error::Shape { argument, found: vec![0], expected });
    }
    if let Some(at) = logits.iter().position(|&logit| logit == f64::INFINITY) {
        return Err(Error::Value {
            argument,
            index: vec![at],
            value: short(logits[at]),
            expected: "a number below +∞",
        });
    }
    let mut state = RowState::new();
    state.push(0, logits)?;
    match state.maximum == f64::NEG_INFINITY {
        false => Ok(state),
        true => Err(Error::Value {
            argument,
            index: vec![0],
            value: short(logits[0]),
            expected: "a finite logit somewhere in the row",
        }),
    }
}

/// What the divergences of powers are made of.
#[derive(Default)]
struct Sums {
    /// Σ (√p − √q)².
    hellinger: f64,
    /// Σ (p − q)²/q.
    chi_squared: f64,
    /// ln (p²/q) of classes, for where the sum of that is beyond all numbers.
    logarithms: Vec<f64>,
}

impl Sums {
    fn add(&mut self, [p, q]: &[RowState; 2], a: f64, b: f64) {
        let log_p = -p.surprisal_of(a);
        let (share_p, share_q) = (log_p.exp(), (-q.surprisal_of(b)).exp());
        if a == f64::NEG_INFINITY || b == f64::NEG_INFINITY {
            // Never more than one of the two has the class.
            self.hellinger += share_p + share_q;
            self.chi_squared += match a == f64::NEG_INFINITY {
                true => share_q,
                false => f64::INFINITY,
            };
            if a != f64::NEG_INFINITY {
                self.logarithms.push(f64::INFINITY);
            }
            return;
        }
        // The maxima cancel before anything is added.
        let delta = ((a - p.maximum) - (b - q.maximum)) - (p.log_sum() - q.log_sum());
        let apart = -(-0.5 * delta.abs()).exp_m1();
        self.hellinger += if delta > 0.0 { share_p } else { share_q } * apart * apart;
        self.chi_squared += match delta > 0.0 {
            // p e^Δ (1 − e^−Δ)², of which q may be lost below the least number.
            true => (log_p + delta).exp() * (-delta).exp_m1().powi(2),
            false => share_q * delta.exp_m1().powi(2),
        };
        self.logarithms.push(log_p + delta);
    }

    fn log_squares(&self) -> f64 {
        let largest = self.logarithms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if largest == f64::INFINITY {
            return largest;
        }
        largest + self.logarithms.iter().map(|log| (log - largest).exp()).sum::<f64>().ln()
    }
}
