//! How far the softmax of a row is from that of a second head, and the derivative by the row's logits.

use crate::element::Real;
use crate::simd::exp::exp;
use crate::simd::log::{ln, ln_1p};
use crate::simd::remainder::remainder;
use crate::simd::{Isa, Kernel, Simd, Vector, read, splat};
use crate::softmax::gradient::Slope;

/// A divergence of two distributions over the classes: P of a second head (a teacher, a reference policy), Q
/// of the one that is trained. In nats.
///
/// | divergence | value | derivative by a logit of Q |
/// | --- | --- | --- |
/// | forward Kullback–Leibler | KL(P‖Q) = Σ_v P_v Δ_v | Q_v − P_v |
/// | reverse Kullback–Leibler | KL(Q‖P) = −Σ_v Q_v Δ_v | Q_v (−Δ_v − KL(Q‖P)) |
/// | Jensen–Shannon, β | β KL(P‖M) + (1−β) KL(Q‖M), M = βP + (1−β)Q | Q_v (g_v − ḡ), g = (1−β) ln(Q/M) |
/// | forward skew, α | KL(P‖M), M = αP + (1−α)Q | Q_v (g_v − ḡ), g = −(1−α) P/M |
/// | reverse skew, α | KL(Q‖M), M = (1−α)P + αQ | Q_v (g_v − ḡ), g = ln(Q/M) − αQ/M |
/// | total variation | ½ Σ_v \|P_v − Q_v\| | Q_v (g_v − ḡ), g = ½ sign(Q − P) |
///
/// with Δ = ln P − ln Q and ḡ = Σ_v Q_v g_v. Each Kullback–Leibler divergence is summed as
/// Σ A (e^x − 1 − x), x = ln(B/A), which is KL(A‖B) because A and B both sum to 1, and of which no term is
/// negative: nothing cancels where the two heads are nearly equal, and where they are equal the value is 0 and
/// the derivative too.
///
/// A class that A does not have adds nothing; one that A has and B has not makes KL(A‖B) = +∞, and then the row
/// has no gradient. A mixture M has whatever either has: skew and Jensen–Shannon divergences are finite. At
/// α = 0 the skew ones are the Kullback–Leibler divergences, at α = 1 they are 0, as Jensen–Shannon's is at
/// β = 0 and at β = 1.
///
/// *On the effectiveness of the skew divergence* (Lee, 2001); *Divergence measures based on the Shannon entropy*
/// (Lin, 1991).
///
/// ```
/// use surprisal::loss::Divergence;
/// assert_ne!(Divergence::ForwardKullbackLeibler, Divergence::JensenShannon { beta: 0.5 });
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Divergence {
    /// KL(P‖Q): Q must be wherever P is.
    ForwardKullbackLeibler,
    /// KL(Q‖P): Q may be where P is alone.
    ReverseKullbackLeibler,
    /// Between both, by their mixture.
    JensenShannon {
        /// β, the share of P in the mixture, from 0 to 1.
        beta: f64,
    },
    /// KL(P‖αP + (1−α)Q).
    ForwardSkew {
        /// α, the share of P in the mixture, from 0 to 1.
        alpha: f64,
    },
    /// KL(Q‖(1−α)P + αQ).
    ReverseSkew {
        /// α, the share of Q in the mixture, from 0 to 1.
        alpha: f64,
    },
    /// Half the sum of all differences; 1 where the two have no class in common.
    TotalVariation,
}

impl Divergence {
    /// Whether its parameter is within its range.
    pub(crate) fn is_valid(&self) -> bool {
        match self {
            Self::JensenShannon { beta: share }
            | Self::ForwardSkew { alpha: share }
            | Self::ReverseSkew { alpha: share } => (0.0..=1.0).contains(share),
            _ => true,
        }
    }

    pub(crate) fn form<R: Real>(self) -> Form<R> {
        let mixture =
            |p: f64, of: Of| Form::Mixture { weights: [R::from_f64(1.0 - p), R::from_f64(p)], of };
        match self {
            Self::ForwardKullbackLeibler => Form::KullbackLeibler { reverse: false },
            Self::ReverseKullbackLeibler => Form::KullbackLeibler { reverse: true },
            Self::ForwardSkew { alpha: 0.0 } => Form::KullbackLeibler { reverse: false },
            Self::ReverseSkew { alpha: 0.0 } => Form::KullbackLeibler { reverse: true },
            Self::JensenShannon { beta: 0.0 | 1.0 }
            | Self::ForwardSkew { alpha: 1.0 }
            | Self::ReverseSkew { alpha: 1.0 } => Form::Nothing,
            Self::JensenShannon { beta } => mixture(beta, Of::Both),
            Self::ForwardSkew { alpha } => mixture(alpha, Of::Second),
            Self::ReverseSkew { alpha } => Form::Mixture {
                weights: [R::from_f64(alpha), R::from_f64(1.0 - alpha)],
                of: Of::First,
            },
            Self::TotalVariation => Form::TotalVariation,
        }
    }
}

/// How a divergence is computed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Form<R> {
    Nothing,
    KullbackLeibler {
        reverse: bool,
    },
    /// From M = wQ + w′P.
    Mixture {
        weights: [R; 2],
        of: Of,
    },
    TotalVariation,
}

/// Which distributions a mixture is told from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Of {
    /// Q.
    First,
    /// P.
    Second,
    /// Both, each by its weight.
    Both,
}

/// Of a divergence of one row: its value, and ḡ, the mean under Q of its slopes g; of the forward
/// Kullback–Leibler divergence g is (Q − P)/Q and ḡ is 0 but for rounding. Where a log-sum-exp is rounded, all
/// of a row's Δ are off alike: that is in ḡ as well, and g − ḡ is free of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct DivergenceSum {
    pub(crate) value: f64,
    pub(crate) mean_slope: f64,
}

/// What is known of both heads of one row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PairRow<R> {
    /// The largest logits: of the head that is trained, and of the second.
    maxima: [R; 2],
    /// 1 / (1 + r) of each.
    inverses: [R; 2],
    /// ln (1 + r) of the second less that of the first.
    logarithms: R,
}

impl<R: Real> PairRow<R> {
    /// Of the maximum and the remainder r of each head.
    pub(crate) fn new(first: (f64, f64), second: (f64, f64)) -> Self {
        // A row without a finite maximum has no probabilities.
        let inverse = |(maximum, remainder): (f64, f64)| match maximum.is_finite() {
            true => 1.0 / (1.0 + remainder),
            false => f64::NAN,
        };
        Self {
            maxima: [R::from_f64(first.0), R::from_f64(second.0)],
            inverses: [R::from_f64(inverse(first)), R::from_f64(inverse(second))],
            logarithms: R::from_f64(second.1.ln_1p() - first.1.ln_1p()),
        }
    }

    /// The maximum and 1 / (1 + r) of the head that is trained; of the second these, and the difference of the
    /// logarithms.
    #[cfg(feature = "gpu")]
    pub(crate) fn parts(&self) -> ([R; 2], [R; 3]) {
        let ([first, second], [own, other]) = (self.maxima, self.inverses);
        ([first, own], [second, other, self.logarithms])
    }

    /// What some classes add to a divergence; logits of both heads.
    pub(crate) fn sum(
        &self,
        isa: Isa,
        divergence: Divergence,
        logits: &[R],
        second: &[R],
    ) -> DivergenceSum {
        let form = divergence.form();
        let (value, mean) = isa.dispatch(Sums { row: *self, form, logits, second });
        DivergenceSum { value: value.to_f64(), mean_slope: mean.to_f64() }
    }

    /// Adds the product of the coefficients times the derivative of a divergence, of which the row has this
    /// sum, to `to`. There are two, so that their product may be beyond the type.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn add_derivative(
        &self,
        isa: Isa,
        divergence: Divergence,
        (coefficients, sum): ([f64; 2], DivergenceSum),
        (logits, second): (&[R], &[R]),
        slope: Slope<'_, R>,
        to: &mut [R],
    ) {
        isa.dispatch(Derivative {
            row: *self,
            form: divergence.form(),
            coefficients: coefficients.map(R::from_f64),
            mean: R::from_f64(sum.mean_slope),
            logits,
            second,
            slope,
            to,
        });
    }
}

/// Q, P and Δ of some classes, and the constants that what is made of them needs.
#[derive(Clone, Copy)]
struct PairLanes<S: Simd, R: Real> {
    simd: S,
    q: R::Vector<S>,
    p: R::Vector<S>,
    delta: R::Vector<S>,
    zero: R::Vector<S>,
    one: R::Vector<S>,
}

impl<S: Simd, R: Real> PairLanes<S, R> {
    #[inline(always)]
    fn new(simd: S, row: &PairRow<R>, z: R::Vector<S>, t: R::Vector<S>) -> Self {
        let [first, second] = row.maxima.map(|m| splat::<S, R>(simd, m));
        let [q, p] = row.inverses.map(|inverse| splat::<S, R>(simd, inverse));
        let (u, w) = (z.sub(first), t.sub(second));
        Self {
            simd,
            q: exp::<S, R>(simd, u).mul(q),
            p: exp::<S, R>(simd, w).mul(p),
            delta: w.sub(u).sub(splat::<S, R>(simd, row.logarithms)),
            zero: splat::<S, R>(simd, R::ZERO),
            one: splat::<S, R>(simd, R::ONE),
        }
    }

    /// e^x − 1, of `whole` = e^x, with the digits that it has near 0.
    #[inline(always)]
    fn exp_m1(&self, x: R::Vector<S>, whole: R::Vector<S>) -> R::Vector<S> {
        let near = x.mul(x).mul_add(remainder::<S, R>(self.simd, x), x);
        <R::Vector<S>>::select_less(x.abs(), self.one, near, whole.sub(self.one))
    }

    /// A (e^x − 1 − x), of which B = A e^x.
    #[inline(always)]
    fn beyond_tangent(&self, a: R::Vector<S>, b: R::Vector<S>, x: R::Vector<S>) -> R::Vector<S> {
        let near = a.mul(x.mul(x)).mul(remainder::<S, R>(self.simd, x));
        // A · x is 0 where A is, and not NaN.
        let most = splat::<S, R>(self.simd, R::from_f64(1e4));
        let bounded = <R::Vector<S>>::select_less(most, x, most, x);
        let far = b.sub(a).sub(a.mul(bounded));
        <R::Vector<S>>::select_less(x.abs(), self.one, near, far)
    }

    /// `value` where a weight is above 0; where that is 0 or NaN, the weight itself.
    #[inline(always)]
    fn where_positive(&self, weight: R::Vector<S>, value: R::Vector<S>) -> R::Vector<S> {
        <R::Vector<S>>::select_less(self.zero, weight, value, weight)
    }

    /// The part of KL(P‖Q), or of KL(Q‖P).
    #[inline(always)]
    fn kullback_leibler(&self, reverse: bool) -> R::Vector<S> {
        let x = self.zero.sub(self.delta);
        let (a, b, x) = if reverse { (self.q, self.p, self.delta) } else { (self.p, self.q, x) };
        // Where both are 0, x may be no number and the term is 0; what is NaN stays.
        let term = self.where_positive(a.add(b), self.beyond_tangent(a, b, x));
        // Not there in B, but in A, however little of it.
        let lowest = splat::<S, R>(self.simd, R::from_f64(-1e30));
        <R::Vector<S>>::select_less(x, lowest, self.zero.sub(x), term)
    }

    /// M, ln(M/Q) and ln(M/P).
    #[inline(always)]
    fn mixture(&self, weights: [R; 2]) -> (R::Vector<S>, R::Vector<S>, R::Vector<S>) {
        let simd = self.simd;
        let [w_q, w_p] = weights.map(|w| splat::<S, R>(simd, w));
        let mixture = w_q.mul_add(self.q, w_p.mul(self.p));
        // Of the larger and of the smaller of P and Q; e^−|Δ| is between 0 and 1.
        let is_p = |yes, no| <R::Vector<S>>::select_less(self.zero, self.delta, yes, no);
        let (w_large, w_small) = (is_p(w_p, w_q), is_p(w_q, w_p));
        let apart = self.delta.abs();
        let minus = self.zero.sub(apart);
        let down = exp::<S, R>(simd, minus);
        let near = ln_1p::<S, R>(simd, w_small.mul(self.exp_m1(minus, down)));
        let far = ln::<S, R>(simd, w_small.mul_add(down, w_large));
        let of_large = <R::Vector<S>>::select_less(apart, self.one, near, far);
        // Within 1, e^|Δ| − 1 by the series; beyond, M over the larger is enough.
        let bounded = <R::Vector<S>>::select_less(apart, self.one, apart, self.one);
        let up = bounded.mul(bounded).mul_add(remainder::<S, R>(simd, bounded), bounded);
        let near = ln_1p::<S, R>(simd, w_large.mul(up));
        let of_small = <R::Vector<S>>::select_less(apart, self.one, near, of_large.add(apart));
        (mixture, is_p(of_small, of_large), is_p(of_large, of_small))
    }

    /// g without what is the same for all classes, which g − ḡ has not.
    #[inline(always)]
    fn slope_of_mixture(
        &self,
        weights: [R; 2],
        of: Of,
        over_q: R::Vector<S>,
        over_p: R::Vector<S>,
    ) -> R::Vector<S> {
        let w_q = splat::<S, R>(self.simd, weights[0]);
        let ratio = |x: R::Vector<S>| {
            let minus = self.zero.sub(x);
            self.exp_m1(minus, exp::<S, R>(self.simd, minus))
        };
        match of {
            // (1−β) ln(Q/M)
            Of::Both => self.zero.sub(w_q.mul(over_q)),
            // −(1−α) (P/M − 1)
            Of::Second => self.zero.sub(w_q.mul(ratio(over_p))),
            // ln(Q/M) − α (Q/M − 1)
            Of::First => self.zero.sub(w_q.mul_add(ratio(over_q), over_q)),
        }
    }

    /// ½ sign(Q − P).
    #[inline(always)]
    fn half_sign(&self) -> R::Vector<S> {
        let half = splat::<S, R>(self.simd, R::from_f64(0.5));
        let negative = <R::Vector<S>>::select_less(self.zero, self.delta, half, self.zero);
        <R::Vector<S>>::select_less(self.delta, self.zero, half, self.zero.sub(negative))
    }

    /// P (e^−Δ − 1) = Q − P.
    #[inline(always)]
    fn difference(&self) -> R::Vector<S> {
        let x = self.zero.sub(self.delta);
        let near = self.p.mul(x.mul(x).mul_add(remainder::<S, R>(self.simd, x), x));
        <R::Vector<S>>::select_less(x.abs(), self.one, near, self.q.sub(self.p))
    }

    /// What these classes add to the value, and to ḡ.
    #[inline(always)]
    fn terms(&self, form: Form<R>) -> (R::Vector<S>, R::Vector<S>) {
        let both = self.q.add(self.p);
        match form {
            Form::Nothing => (self.zero, self.zero),
            Form::KullbackLeibler { reverse: false } => {
                (self.kullback_leibler(false), self.where_positive(both, self.difference()))
            }
            Form::KullbackLeibler { reverse: true } => {
                let slope = self.q.mul(self.zero.sub(self.delta));
                (self.kullback_leibler(true), self.where_positive(self.q, slope))
            }
            Form::Mixture { weights, of } => {
                let (mixture, over_q, over_p) = self.mixture(weights);
                let [w_q, w_p] = weights.map(|w| splat::<S, R>(self.simd, w));
                let of_q = self.beyond_tangent(self.q, mixture, over_q);
                let of_p = self.beyond_tangent(self.p, mixture, over_p);
                let value = match of {
                    Of::First => of_q,
                    Of::Second => of_p,
                    Of::Both => w_q.mul_add(of_q, w_p.mul(of_p)),
                };
                let slope = self.slope_of_mixture(weights, of, over_q, over_p);
                let mean = self.where_positive(self.q, self.q.mul(slope));
                (self.where_positive(both, value), self.where_positive(both, mean))
            }
            Form::TotalVariation => {
                let half = splat::<S, R>(self.simd, R::from_f64(0.5));
                let value = self.where_positive(both, self.difference().abs().mul(half));
                let mean = self.where_positive(self.q, self.q.mul(self.half_sign()));
                (value, self.where_positive(both, mean))
            }
        }
    }

    /// The derivative by the logits, Q (g − ḡ).
    #[inline(always)]
    fn derivative(&self, form: Form<R>, mean: R::Vector<S>) -> R::Vector<S> {
        match form {
            Form::Nothing => self.zero,
            Form::KullbackLeibler { reverse: false } => {
                self.zero.sub(self.q).mul_add(mean, self.difference())
            }
            Form::KullbackLeibler { reverse: true } => {
                let slope = self.zero.sub(self.delta);
                self.where_positive(self.q, self.q.mul(slope.sub(mean)))
            }
            Form::Mixture { weights, of } => {
                let (_, over_q, over_p) = self.mixture(weights);
                let slope = self.slope_of_mixture(weights, of, over_q, over_p);
                self.where_positive(self.q, self.q.mul(slope.sub(mean)))
            }
            Form::TotalVariation => {
                self.where_positive(self.q, self.q.mul(self.half_sign().sub(mean)))
            }
        }
    }
}

struct Sums<'a, R> {
    row: PairRow<R>,
    form: Form<R>,
    logits: &'a [R],
    second: &'a [R],
}

impl<R: Real> Kernel for Sums<'_, R> {
    type Output = (R, R);

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> (R, R) {
        let Self { row, form, logits, second } = self;
        let lanes = <R::Vector<S>>::LANES;
        let mut sums = [splat::<S, R>(simd, R::ZERO); 2];
        let mut offset = 0;
        while offset < logits.len() {
            let (z, t) = match offset + lanes <= logits.len() {
                true => (
                    <R::Vector<S>>::load(simd, &logits[offset..]),
                    <R::Vector<S>>::load(simd, &second[offset..]),
                ),
                // A class that neither has adds nothing.
                false => (
                    <R::Vector<S>>::load_tail(simd, &logits[offset..], R::NEG_INFINITY),
                    <R::Vector<S>>::load_tail(simd, &second[offset..], R::NEG_INFINITY),
                ),
            };
            let (value, mean) = PairLanes::<S, R>::new(simd, &row, z, t).terms(form);
            sums = [sums[0].add(value), sums[1].add(mean)];
            offset += lanes;
        }
        (sums[0].sum(), sums[1].sum())
    }
}

struct Derivative<'a, R> {
    row: PairRow<R>,
    form: Form<R>,
    coefficients: [R; 2],
    mean: R,
    logits: &'a [R],
    second: &'a [R],
    slope: Slope<'a, R>,
    to: &'a mut [R],
}

impl<R: Real> Kernel for Derivative<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { row, form, coefficients, mean, logits, second, slope, to } = self;
        let lanes = <R::Vector<S>>::LANES;
        let [first, last] = coefficients.map(|coefficient| splat::<S, R>(simd, coefficient));
        let mean = splat::<S, R>(simd, mean);
        let mut offset = 0;
        while offset < logits.len() {
            let whole = offset + lanes <= logits.len();
            let z = read::<S, R>(simd, logits, offset, whole);
            let t = read::<S, R>(simd, second, offset, whole);
            let d = match slope {
                Slope::Constant(slope) => splat::<S, R>(simd, slope),
                Slope::Each(slopes) => read::<S, R>(simd, slopes, offset, whole),
            };
            let own = PairLanes::<S, R>::new(simd, &row, z, t).derivative(form, mean);
            let own = own.mul(first).mul(d).mul(last);
            let sum = read::<S, R>(simd, to, offset, whole).add(own);
            if whole {
                sum.store(&mut to[offset..]);
            } else {
                sum.store_tail(&mut to[offset..], R::ZERO);
            }
            offset += lanes;
        }
    }
}
