//! What the loss is, apart from its data.

use std::sync::Arc;

use super::row_loss::{Needs, RowLoss};
use super::rows::CrossEntropy;
use crate::error::{Error, Result, short};
use crate::simd::Isa;
use crate::softmax::transform::Transform;

/// How the losses of the rows become one number.
///
/// ```
/// use surprisal::{Inputs, LinearCrossEntropy, Reduction};
/// let logits = ndarray::arr2(&[[1.0_f64, 2.0], [3.0, 3.0], [0.0, 0.0]]);
/// let inputs = Inputs::from_logits(&logits, &[0_i64, 1, -100]);
/// let loss = |reduction| -> surprisal::Result<f64> {
///     let loss = LinearCrossEntropy::builder().reduction(reduction).build()?;
///     Ok(loss.forward(&inputs)?.loss())
/// };
/// let sum = loss(Reduction::Sum)?;
/// assert_eq!(loss(Reduction::Mean)?, sum / 2.0);
/// assert_eq!(loss(Reduction::Divide(8.0))?, sum / 8.0);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reduction {
    /// They do not: a loss for each row, 0 where it is ignored.
    None,
    /// The sum over Σ w_y of the kept rows (their number without class weights); the z-loss over
    /// their number; soft targets over the number of kept rows. NaN where every row is ignored.
    Mean,
    /// The sum.
    Sum,
    /// The sum over a number of the caller's, finite and above 0: the tokens of all the batches of
    /// one optimiser step, say.
    Divide(f64),
}

/// How the gradients are computed; the results agree to rounding.
///
/// ```
/// use surprisal::{Backward, LinearCrossEntropy, Pass, Shapes, Strategy};
/// let shapes = Shapes::new(1024, 2304, 256_000);
/// let strategy = |backward| -> surprisal::Result<_> {
///     let loss = LinearCrossEntropy::builder().backward(backward).build()?;
///     Ok(loss.plan(&shapes, Pass::LossAndGradients)?.strategy)
/// };
/// assert_eq!(strategy(Backward::Recompute)?, Some(Strategy::Recompute));
/// assert_eq!(strategy(Backward::Auto)?, Some(Strategy::Strip));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backward {
    /// The strip where the budget holds enough rows of it, else recomputing; that too under a
    /// [`Filter`] of at least 2⁻²².
    Auto,
    /// The logits are computed a second time, tile by tile: 8·N·D·V operations, little memory.
    Recompute,
    /// The logits of as many rows as the budget holds are kept: 6·N·D·V operations. Given logits are
    /// read twice instead.
    ///
    /// Where both matrices are bf16 and the processor multiplies it, the strip keeps them in 16 bits: a logit is off by a
    /// 131070th of what its row spans in 256 classes, by 8.4·10⁻⁴ at most (10⁻⁴ is usual), and its probability by as much
    /// of itself, beside the 2·10⁻³ that rounding G to bf16 takes. With a softcap c it is 3.1·10⁻⁴ c at most, where logits
    /// spread that far before it. The target's and the largest are not rounded. Soft targets, candidates, floors and a second
    /// head keep all of them whole.
    Strip,
}

/// Which entries of the softmax are too small to count in the gradients.
///
/// It is decided for each row and 32 classes, from what the forward has recorded: where every
/// probability of such a segment is below ε, and it holds neither the row's target nor a NaN, its part
///
/// ```text
/// dE_i ← Σ_v G_iv C_v      dC_v ← G_iv E_i      db_v ← G_iv
/// ```
///
/// is neither recomputed nor multiplied. The loss is exact, and so is what label smoothing takes from
/// every class. ε is relative to an upstream gradient of 1. Nothing with p ≥ ε is dropped; a segment
/// whose largest p is within a factor of √2 of ε may be kept, and where half of a block of classes is
/// kept, all of it is. [`Forward::segments_kept`](crate::Forward::segments_kept) and
/// [`dropped_mass`](crate::Forward::dropped_mass) tell how much it was.
///
/// A strip ([`Backward::Strip`]) has computed all logits and drops nothing; so do given logits, and
/// shards that were merged. With [`Backward::Auto`] an ε of at least 2⁻²² recomputes, a smaller one
/// takes the strip where it fits. Dense soft targets weigh every class, and a softcap makes the
/// smoothing's part other than rank one: neither (the latter together with smoothing) goes with a
/// filter.
///
/// The idea, for tiles of 128 × 128, is that of *Cut Your Losses in Large-Vocabulary Language Models*
/// (Wijmans et al., 2024).
///
/// ```
/// use surprisal::{Filter, LinearCrossEntropy};
/// let loss = LinearCrossEntropy::builder().filter(Filter::Below(1e-6)).build()?;
/// assert!(LinearCrossEntropy::builder().filter(Filter::Below(-1.0)).build().is_err());
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Filter {
    /// ε = a 32nd of the epsilon of the inputs' type (of the finer, where they differ): 2⁻²⁸ for f32,
    /// below its rounding; 2⁻¹² for bf16, which is lossy: the rows of rare classes get no gradient.
    Auto,
    /// This ε, from 0 (nothing is dropped) to 1.
    Below(f64),
    /// By mass: of each row the least likely segments are dropped, as many as have no more than this δ of
    /// its probability together, from 0 to 1. So the promise of
    /// [`dropped_mass`](crate::Forward::dropped_mass), q_i ≤ δ, is the option itself, and a confident row
    /// keeps little, an uncertain one much.
    ///
    /// Probabilities of segments are recorded in bf16: those that are nearer to each other than 2⁻⁷ of
    /// themselves may change places, and up to 0.5 % of δ is left unused so that rounding does not break the
    /// promise. What logits are off by in their type comes on top of both.
    ///
    /// ```
    /// use ndarray::Array2;
    /// use surprisal::{Filter, Inputs, LinearCrossEntropy};
    ///
    /// // Segments of 32 classes, each with an e⁻⁴ of the one before.
    /// let hidden = Array2::from_elem((1, 1), 1.0_f32);
    /// let classifier = Array2::from_shape_fn((320, 1), |(v, _)| -4.0 * (v / 32) as f32);
    /// let loss = LinearCrossEntropy::builder().filter(Filter::Mass(1e-3)).build()?;
    /// let forward = loss.forward(&Inputs::new(&hidden, &classifier, &[0_u32]))?;
    /// // e⁻⁴ + e⁻⁸ + … is about 2 %, and what begins with e⁻⁸ is 3.4e-4.
    /// assert_eq!(forward.segments_kept(), Some(0.2));
    /// assert!(forward.dropped_mass().is_some_and(|mass| mass.largest <= 1e-3));
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    Mass(f64),
}

/// The linear cross-entropy with its options; made by [`builder`](Self::builder).
///
/// For hidden states `E[N,D]`, a classifier `C[V,D]`, a bias `b[V]` and targets `y[N]`:
///
/// ```text
/// z = E·Cᵀ + b      u = s·z      a = c·tanh(u/c)      lse = ln Σ_v e^a_v
/// L_i = τ_i {(1−ε) w_y (lse − a_y) + (ε/V) Σ_v w_v (lse − a_v) + ζ lse²}
/// ```
///
/// in nats, with s the scale, c the softcap (none: a = u), ε the label smoothing, ζ the weight of
/// the z-loss, w the class weights and τ the token weights. Soft targets t replace the first two
/// terms by Σ_v ((1−ε) t_v + ε/V) w_v (lse − a_v). The logits are made tile by tile and never
/// stored; the same options serve [`forward`](Self::forward), [`vjp`](Self::vjp) and
/// [`loss_and_gradients`](Self::loss_and_gradients).
///
/// The loss is that of *Cut Your Losses in Large-Vocabulary Language Models* (Wijmans et al.,
/// 2024); the conventions of smoothing, weights and reductions are those of PyTorch's
/// `cross_entropy`.
///
/// ```
/// use ndarray::arr2;
/// use surprisal::{Inputs, LinearCrossEntropy};
///
/// let hidden = arr2(&[[1.0_f32, 0.0], [0.0, 2.0]]);
/// let classifier = arr2(&[[1.0_f32, 0.0], [0.0, 1.0], [1.0, 1.0]]);
/// let loss = LinearCrossEntropy::builder().label_smoothing(0.1).build()?;
/// let forward = loss.forward(&Inputs::new(&hidden, &classifier, &[0_u32, 1]))?;
/// assert!((forward.loss() - 0.86031).abs() < 1e-5);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LinearCrossEntropy {
    pub(crate) scale: f64,
    pub(crate) temperature: f64,
    /// Of rows without a temperature of their own.
    pub(crate) transform: Transform,
    pub(crate) row_loss: Arc<dyn RowLoss>,
    /// What that needs.
    pub(crate) needs: Needs,
    pub(crate) ignore_index: Option<i64>,
    pub(crate) reduction: Reduction,
    pub(crate) statistics: Statistics,
    pub(crate) backward: Backward,
    pub(crate) memory_budget: usize,
    pub(crate) filter: Option<Filter>,
    pub(crate) filtered: Filtered,
    pub(crate) tail_correction: bool,
    pub(crate) isa: Isa,
}

/// Which gradients a filter acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Filtered {
    pub(crate) hidden: bool,
    pub(crate) classifier: bool,
    pub(crate) bias: bool,
}

/// What the fold carries beside the loss.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Statistics {
    pub(crate) entropy: bool,
    pub(crate) varentropy: bool,
    pub(crate) rank: bool,
    pub(crate) top_k: usize,
}

/// Sets the options of a [`LinearCrossEntropy`]; [`build`](Self::build) checks them.
///
/// ```
/// use surprisal::{LinearCrossEntropy, Reduction};
/// let loss = LinearCrossEntropy::builder()
///     .softcap(30.0)
///     .z_loss(1e-4)
///     .ignore_index(Some(-1))
///     .reduction(Reduction::Divide(4096.0))
///     .build()?;
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct LinearCrossEntropyBuilder {
    scale: f64,
    temperature: f64,
    softcap: Option<f64>,
    label_smoothing: f64,
    z_loss: f64,
    row_loss: Option<Arc<dyn RowLoss>>,
    ignore_index: Option<i64>,
    reduction: Reduction,
    statistics: Statistics,
    backward: Backward,
    memory_budget: usize,
    filter: Option<Filter>,
    filtered: Filtered,
    tail_correction: bool,
    isa: Option<Isa>,
}

impl Default for LinearCrossEntropyBuilder {
    fn default() -> Self {
        Self {
            scale: 1.0,
            temperature: 1.0,
            softcap: None,
            label_smoothing: 0.0,
            z_loss: 0.0,
            row_loss: None,
            ignore_index: Some(-100),
            reduction: Reduction::Mean,
            statistics: Statistics::default(),
            backward: Backward::Auto,
            memory_budget: LinearCrossEntropy::DEFAULT_MEMORY_BUDGET,
            filter: None,
            filtered: Filtered { hidden: true, classifier: true, bias: true },
            tail_correction: false,
            isa: None,
        }
    }
}

impl LinearCrossEntropy {
    /// The memory budget where none is set: 256 MiB. All logits of 1024 rows in f32 fit into it with 50 257
    /// classes (206 MB), not with 65 536.
    pub const DEFAULT_MEMORY_BUDGET: usize = 256 << 20;

    /// Whether two losses give the same number for the same row.
    pub(crate) fn same_function(&self, other: &Self) -> bool {
        self.transform == other.transform
            && self.row_loss.same(&*other.row_loss)
            && self.reduction == other.reduction
    }

    /// The same without the rank, which asks for the target's logit ahead.
    pub(crate) fn without_rank(&self) -> Self {
        let statistics = Statistics { rank: false, ..self.statistics };
        Self { statistics, ..self.clone() }
    }

    /// The same fold of α times the logits, with entropy and varentropy and nothing else: of p^α / Σ p^α.
    pub(crate) fn of_power(&self, alpha: f64) -> Self {
        let (row_loss, statistics) = (
            CrossEntropy::default(),
            Statistics { entropy: true, varentropy: true, ..Statistics::default() },
        );
        let times = |number: f64| (alpha * number).clamp(f64::MIN, f64::MAX);
        Self {
            scale: times(self.scale),
            transform: Transform {
                scale: times(self.transform.scale),
                softcap: self.transform.softcap.map(times),
            },
            needs: row_loss.needs(),
            row_loss: Arc::new(row_loss),
            statistics,
            filter: None,
            ..self.clone()
        }
    }

    /// The options, each at its default: a plain mean cross-entropy.
    ///
    /// ```
    /// let loss = surprisal::LinearCrossEntropy::builder().build()?;
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn builder() -> LinearCrossEntropyBuilder {
        LinearCrossEntropyBuilder::default()
    }
}

impl LinearCrossEntropyBuilder {
    /// s, a finite factor on the logits after the bias (1 / temperature); 1 by default.
    pub fn scale(mut self, scale: f64) -> Self {
        self.scale = scale;
        self
    }

    /// T, finite and above 0, by which the scale is divided: that of all rows without one of their own
    /// ([`Inputs::temperatures`](crate::Inputs::temperatures)); 1 by default.
    ///
    /// ```
    /// use surprisal::{Inputs, LinearCrossEntropy};
    /// let logits = ndarray::arr2(&[[2.0_f64, 0.0]]);
    /// let loss = LinearCrossEntropy::builder().temperature(2.0).build()?;
    /// let value = loss.forward(&Inputs::from_logits(&logits, &[0_u32]))?.loss();
    /// assert!((value - (-1.0_f64).exp().ln_1p()).abs() < 1e-15);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn temperature(mut self, temperature: f64) -> Self {
        self.temperature = temperature;
        self
    }

    /// c, finite and above 0: logits are squeezed into (−c, c) by c·tanh(·/c); none by default.
    pub fn softcap(mut self, softcap: f64) -> Self {
        self.softcap = Some(softcap);
        self
    }

    /// ε, within 0 and 1: the share of the target that is spread over all classes; 0 by default.
    pub fn label_smoothing(mut self, label_smoothing: f64) -> Self {
        self.label_smoothing = label_smoothing;
        self
    }

    /// Another loss of a row in place of the cross-entropy, with its own label smoothing and z-loss.
    ///
    /// ```
    /// use surprisal::loss::GeneralizedCrossEntropy;
    /// let loss = surprisal::LinearCrossEntropy::builder()
    ///     .row_loss(GeneralizedCrossEntropy::new(0.7)?)
    ///     .build()?;
    /// # let _ = loss;
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn row_loss(mut self, row_loss: impl RowLoss + 'static) -> Self {
        self.row_loss = Some(Arc::new(row_loss));
        self
    }

    /// ζ, finite and at least 0: the weight of lse² in the loss; 0 by default.
    pub fn z_loss(mut self, z_loss: f64) -> Self {
        self.z_loss = z_loss;
        self
    }

    /// The target of rows that take no part, inside the vocabulary or outside; −100 by default.
    pub fn ignore_index(mut self, ignore_index: Option<i64>) -> Self {
        self.ignore_index = ignore_index;
        self
    }

    /// How the rows are reduced; [`Reduction::Mean`] by default.
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// Whether the entropy of each row is computed, and can be differentiated; off by default.
    pub fn entropy(mut self, entropy: bool) -> Self {
        self.statistics.entropy = entropy;
        self
    }

    /// Whether the varentropy of each row is computed (and the entropy with it); off by default.
    pub fn varentropy(mut self, varentropy: bool) -> Self {
        self.statistics.varentropy = varentropy;
        self
    }

    /// Whether the rank of each target is computed, #{v : a_v > a_y}; off by default. Needs hard
    /// targets.
    pub fn rank(mut self, rank: bool) -> Self {
        self.statistics.rank = rank;
        self
    }

    /// How many of the most likely classes of each row are kept; 0 by default.
    pub fn top_k(mut self, top_k: usize) -> Self {
        self.statistics.top_k = top_k;
        self
    }

    /// How the gradients are computed; [`Backward::Auto`] by default.
    pub fn backward(mut self, backward: Backward) -> Self {
        self.backward = backward;
        self
    }

    /// The bytes of scratch that a call may take; 256 MiB by default. It steers the strategy and
    /// the size of the strip.
    pub fn memory_budget(mut self, bytes: usize) -> Self {
        self.memory_budget = bytes;
        self
    }

    /// Which entries of the softmax are left out of the gradients; none by default.
    ///
    /// ```
    /// use ndarray::Array2;
    /// use surprisal::{Filter, Gradients, Inputs, LinearCrossEntropy, Upstream};
    ///
    /// // The row's own class stands out; all others are 60 nats below.
    /// let hidden = Array2::from_elem((1, 1), 1.0_f32);
    /// let classifier = Array2::from_shape_fn((640, 1), |(v, _)| if v == 3 { 60.0 } else { 0.0 });
    /// let loss = LinearCrossEntropy::builder().filter(Filter::Below(1e-6)).build()?;
    /// let mut gradient = Array2::<f32>::zeros((640, 1));
    /// let inputs = Inputs::new(&hidden, &classifier, &[3_u32]);
    /// let gradients = Gradients::new().classifier(&mut gradient);
    /// let forward = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients)?;
    /// assert_eq!(forward.segments_kept(), Some(1.0 / 20.0));
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Whether a filter acts on the gradient of the hidden states; on by default. Where one of the
    /// gradients asked for is exact, all of G is made, and that of the bias is exact too.
    pub fn filter_hidden(mut self, filtered: bool) -> Self {
        self.filtered.hidden = filtered;
        self
    }

    /// Whether a filter acts on the gradient of the classifier; on by default.
    pub fn filter_classifier(mut self, filtered: bool) -> Self {
        self.filtered.classifier = filtered;
        self
    }

    /// Whether a filter acts on the gradient of the bias; on by default.
    pub fn filter_bias(mut self, filtered: bool) -> Self {
        self.filtered.bias = filtered;
        self
    }

    /// Whether what a filter drops is taken for flat instead of for nothing; off by default.
    ///
    /// With q the probability of a dropped segment S of row i and A_i the coefficient of p:
    ///
    /// ```text
    /// dE_i += A_i q Σ_{v∈S} C_v / |S|      dC_v += A_i q E_i / |S|      db_v += A_i q / |S|
    /// ```
    ///
    /// It takes away the bias of dropping (all that is dropped has one sign) and gives the rows of rare
    /// classes their gradient, for two products of a 32nd of the size.
    pub fn tail_correction(mut self, tail_correction: bool) -> Self {
        self.tail_correction = tail_correction;
        self
    }

    /// The instruction set of products and folds; [`Isa::current`] by default.
    pub fn isa(mut self, isa: Isa) -> Self {
        self.isa = Some(isa);
        self
    }

    /// The loss with these options.
    ///
    /// # Errors
    /// [`Error::Option`] for an option outside its domain; as [`Isa::current`].
    pub fn build(self) -> Result<LinearCrossEntropy> {
        let check = |name, value: f64, good: bool, expected| match good {
            true => Ok(()),
            false => Err(Error::Option { name, value: short(value), expected }),
        };
        check("scale", self.scale, self.scale.is_finite(), "a finite number")?;
        let good = self.temperature.is_finite() && self.temperature > 0.0;
        check("temperature", self.temperature, good, "a finite number above 0")?;
        if let Some(softcap) = self.softcap {
            let good = softcap.is_finite() && softcap > 0.0;
            check("softcap", softcap, good, "a finite number above 0")?;
        }
        let plain = CrossEntropy::new(self.label_smoothing, self.z_loss)?;
        let row_loss = match self.row_loss {
            None => Arc::new(plain),
            Some(row_loss) if plain == CrossEntropy::default() => row_loss,
            Some(_) => {
                let what = "label smoothing and z-loss go with cross-entropy alone, expected them in the \
                            row loss";
                return Err(Error::Conflict { what: what.into() });
            }
        };
        if let Some((divergence, _)) =
            row_loss.needs().divergences.iter().find(|(divergence, _)| !divergence.is_valid())
        {
            return Err(Error::Option {
                name: "the share of a divergence's mixture",
                value: format!("{divergence:?}"),
                expected: "a number from 0 to 1",
            });
        }
        if row_loss.needs().too_many_divergences {
            let what = format!("{row_loss:?} has more divergences than it may, expected at most 4");
            return Err(Error::Conflict { what });
        }
        if let Some(Filter::Below(number) | Filter::Mass(number)) = self.filter {
            let good = (0.0..=1.0).contains(&number);
            check("filter", number, good, "a number from 0 to 1")?;
        }
        if let Reduction::Divide(divisor) = self.reduction {
            let good = divisor.is_finite() && divisor > 0.0;
            check("divisor", divisor, good, "a finite number above 0")?;
        }
        Ok(LinearCrossEntropy {
            transform: Transform { scale: self.scale / self.temperature, softcap: self.softcap },
            scale: self.scale,
            temperature: self.temperature,
            needs: row_loss.needs(),
            row_loss,
            ignore_index: self.ignore_index,
            reduction: self.reduction,
            statistics: self.statistics,
            backward: self.backward,
            memory_budget: self.memory_budget,
            filter: self.filter,
            filtered: self.filtered,
            tail_correction: self.tail_correction,
            isa: Isa::or_current(self.isa)?,
        })
    }
}
