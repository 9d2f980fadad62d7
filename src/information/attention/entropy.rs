//! The entropies of attention, from queries and keys.

use ndarray::{Array1, Array2, Array3, ArrayView2, ArrayView3, Axis};

use super::streamed::{Head, HeadGradient, Rule, fold, gradients};
use crate::element::{Real, compiled};
use crate::error::{Error, Result, short};
use crate::matrix::Matrix;
use crate::simd::Isa;
use crate::softmax::RowState;
use crate::softmax::block::Moments;

/// The entropy of the attention of each query, streamed from queries and keys:
///
/// ```text
/// H_t = −Σ_s p_ts ln p_ts     p_ts = softmax_s(scale · q_t·k_s) over the keys that query t sees     nats
/// ∂H_t/∂z_ts = −p_ts (ln p_ts + H_t)
/// ```
///
/// In time O(T·S·d), and memory O(T) beside queries and keys: scores of 96 queries and 512 keys are all that a thread
/// holds. Causal, query t sees the keys 0 to t, so that its entropy is at most ln(t + 1): the code of the paper compares it
/// with the logarithm of the context instead, see [`AttentionEntropies::relative`]. Several heads of queries may share one of
/// keys (grouped-query attention).
///
/// The code of the paper adds 1e-9 to p within the logarithm; here 0 ln 0 is 0, which is off from it by at most 1e-9 for
/// each key. Jha and Reagen 2025, *Entropy-Guided Attention for Private LLMs*. Cases in
/// `conformance/information.jsonl`: `attention_entropy`.
///
/// ```
/// use ndarray::Array3;
/// use surprisal::information::AttentionEntropy;
/// let queries = Array3::from_shape_fn((2, 5, 4), |(h, t, j)| ((h + 3 * t + j) as f32).sin());
/// let of = AttentionEntropy::causal().of(&queries, &queries)?;
/// // The first query sees itself alone, and no other more than it can.
/// assert_eq!((of.entropies[[0, 0]], of.entropies[[1, 0]]), (0.0, 0.0));
/// assert!(of.entropies[[1, 4]] < 5_f64.ln());
/// // Keys of one head for the queries of two.
/// let shared = queries.slice(ndarray::s![..1, .., ..]);
/// assert_eq!(AttentionEntropy::causal().of(&queries, shared)?.entropies.dim(), (2, 5));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct AttentionEntropy {
    causal: bool,
    scale: Option<f64>,
}

/// Entropies of attention, what [`AttentionEntropy`] gives.
///
/// ```
/// use surprisal::information::AttentionEntropy;
/// let scores = ndarray::Array3::<f64>::zeros((1, 2, 4));
/// let of = AttentionEntropy::full().of_scores(&scores)?;
/// assert!((of.head_means()[0] - 4_f64.ln()).abs() < 1e-15);
/// assert!((of.relative()[[0, 1]] - 1.0).abs() < 1e-15);
/// assert_eq!(of.buckets(4_f64.ln())?, [0.0, 0.0, 0.0, 1.0]);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AttentionEntropies {
    /// H of each head and query `[H,T]`, in nats.
    pub entropies: Array2<f64>,
    /// How many keys each query sees `[T]`.
    pub visible: Vec<usize>,
}

/// Entropies of attention with the gradients of Σ upstream · H.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AttentionGradients<T> {
    /// The entropies.
    pub of: AttentionEntropies,
    /// By the queries `[H,T,d]`.
    pub queries: Array3<T>,
    /// By the keys, of the shape that they have.
    pub keys: Array3<T>,
}

impl AttentionEntropies {
    fn new(states: Vec<RowState>, heads: usize, visible: Vec<usize>) -> Self {
        let entropies = states.iter().map(RowState::entropy).collect();
        let shape = (heads, visible.len());
        let entropies = Array2::from_shape_vec(shape, entropies).expect("a state for each query");
        Self { entropies, visible }
    }

    /// The mean of each head `[H]`.
    pub fn head_means(&self) -> Array1<f64> {
        self.entropies.mean_axis(Axis(1)).expect("at least one query")
    }

    /// H over the most that a query can have, ln of how many keys it sees `[H,T]`, from 0 to 1; 0 where it sees one.
    pub fn relative(&self) -> Array2<f64> {
        let mut relative = self.entropies.clone();
        for (&visible, mut of) in self.visible.iter().zip(relative.columns_mut()) {
            let most = (visible as f64).ln();
            of.mapv_inplace(|h| if visible == 1 { h } else { h / most });
        }
        relative
    }

    /// The share of the heads whose mean is in each quarter of a maximum: below ¼, from ¼, from ½, and from ¾ on of it.
    /// Many in the last are overloaded in the paper's words: they attend to nothing in particular.
    ///
    /// # Errors
    /// [`Error::Option`] unless the maximum is finite and above 0.
    pub fn buckets(&self, maximum: f64) -> Result<[f64; 4]> {
        if !(maximum > 0.0 && maximum.is_finite()) {
            let expected = "a finite number above 0";
            return Err(Error::Option { name: "maximum", value: short(maximum), expected });
        }
        let means = self.head_means();
        let mut shares = [0.0; 4];
        for mean in &means {
            let quarter = (4.0 * mean / maximum) as usize;
            shares[quarter.min(3)] += 1.0 / means.len() as f64;
        }
        Ok(shares)
    }
}

impl AttentionEntropy {
    /// Every query sees all keys.
    pub fn full() -> Self {
        Self { causal: false, scale: None }
    }

    /// Query t sees the keys 0 to t.
    pub fn causal() -> Self {
        Self { causal: true, scale: None }
    }

    /// What products of queries and keys are multiplied with, instead of 1/√d.
    ///
    /// # Errors
    /// [`Error::Option`] unless it is finite.
    pub fn scale(self, scale: f64) -> Result<Self> {
        match scale.is_finite() {
            true => Ok(Self { scale: Some(scale), ..self }),
            false => {
                let expected = "a finite number";
                Err(Error::Option { name: "scale", value: short(scale), expected })
            }
        }
    }

    pub(crate) fn rule(&self, width: usize) -> Rule {
        let scale = self.scale.unwrap_or_else(|| 1.0 / (width as f64).sqrt());
        Rule { scale, causal: self.causal }
    }

    /// Of queries `[H,T,d]` and keys `[H,S,d]`, in f32 or f64, or of keys of fewer heads, each of which goes with as many
    /// heads of queries that follow each other. A NaN among a query's scores makes its entropy NaN.
    ///
    /// # Errors
    /// [`Error::Shape`] for arrays without elements, another d, heads of queries that are no multiple of those of the keys,
    /// and T ≠ S if it is causal; as [`Isa::current`].
    pub fn of<'a, 'b, T: Real>(
        &self,
        queries: impl Into<ArrayView3<'a, T>>,
        keys: impl Into<ArrayView3<'b, T>>,
    ) -> Result<AttentionEntropies> {
        compiled!(
            ['a, 'b] T: (AttentionEntropy, ArrayView3<'a, T>, ArrayView3<'b, T>) => Result<AttentionEntropies>,
            |(call, queries, keys)| call.of_here(&queries, &keys).map(|(of, _)| of),
            (*self, queries.into(), keys.into())
        )
    }

    /// The entropies, and the gradients of Σ upstream · H, with upstream `[H,T]`.
    ///
    /// ```
    /// use ndarray::{Array2, Array3};
    /// use surprisal::information::AttentionEntropy;
    /// let queries = Array3::from_shape_fn((1, 3, 2), |(_, t, j)| (t + 2 * j) as f64 / 5.0);
    /// let upstream = Array2::<f64>::ones((1, 3));
    /// let found = AttentionEntropy::full().gradients(&queries, &queries, &upstream)?;
    /// assert!(found.queries.iter().chain(&found.keys).any(|g| *g != 0.0));
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`of`](Self::of), and for another shape of the upstream.
    pub fn gradients<'a, 'b, 'c, T: Real>(
        &self,
        queries: impl Into<ArrayView3<'a, T>>,
        keys: impl Into<ArrayView3<'b, T>>,
        upstream: impl Into<Matrix<'c>>,
    ) -> Result<AttentionGradients<T>> {
        compiled!(
            ['a, 'b, 'c] T: (AttentionEntropy, ArrayView3<'a, T>, ArrayView3<'b, T>, Matrix<'c>)
                => Result<AttentionGradients<T>>,
            |(call, queries, keys, upstream)| call.gradients_here(&queries, &keys, &upstream),
            (*self, queries.into(), keys.into(), upstream.into())
        )
    }

    /// Of scores `[H,T,S]` that are there; the scale is not applied.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn of_scores<'a, T: Real>(
        &self,
        scores: impl Into<ArrayView3<'a, T>>,
    ) -> Result<AttentionEntropies> {
        self.of_scores_here(scores.into())
    }

    fn of_scores_here<T: Real>(&self, scores: ArrayView3<'_, T>) -> Result<AttentionEntropies> {
        let (heads, queries, keys) = scores.dim();
        if scores.is_empty() {
            return Err(empty("scores", &[heads, queries, keys]));
        }
        self.check_causal("scores", &[heads, queries, keys], queries, keys)?;
        let rule = self.rule(1);
        let isa = Isa::current()?;
        let mut states = Vec::with_capacity(heads * queries);
        let mut row = Vec::with_capacity(keys);
        for head in scores.outer_iter() {
            for (t, scores) in head.outer_iter().enumerate() {
                row.clear();
                row.extend(scores.iter().take(rule.visible(t, keys)).map(|score| score.to_f64()));
                let mut state = RowState::new();
                state.push_block(isa, 0, &mut row, Moments::First);
                states.push(state);
            }
        }
        let visible = (0..queries).map(|t| rule.visible(t, keys)).collect();
        Ok(AttentionEntropies::new(states, heads, visible))
    }

    fn check_causal(
        &self,
        argument: &'static str,
        shape: &[usize],
        queries: usize,
        keys: usize,
    ) -> Result<()> {
        match self.causal && queries != keys {
            true => Err(Error::Shape {
                argument,
                found: shape.to_vec(),
                expected: format!("{queries} keys, one for each query of causal attention"),
            }),
            false => Ok(()),
        }
    }

    fn check<T: Real>(&self, queries: &ArrayView3<'_, T>, keys: &ArrayView3<'_, T>) -> Result<()> {
        let (heads, count, width) = queries.dim();
        if queries.is_empty() {
            return Err(empty("queries", queries.shape()));
        }
        if keys.is_empty() {
            return Err(empty("keys", keys.shape()));
        }
        let wrong = |expected| {
            let found = keys.shape().to_vec();
            Err(Error::Shape { argument: "keys", found, expected })
        };
        let (key_heads, key_count, key_width) = keys.dim();
        if key_width != width {
            return wrong(format!("{width} columns, as the queries have"));
        }
        if !heads.is_multiple_of(key_heads) {
            return wrong(format!("a divisor of the {heads} heads of the queries"));
        }
        self.check_causal("keys", keys.shape(), count, key_count)
    }

    fn of_here<T: Real>(
        &self,
        queries: &ArrayView3<'_, T>,
        keys: &ArrayView3<'_, T>,
    ) -> Result<(AttentionEntropies, Vec<RowState>)> {
        self.check(queries, keys)?;
        let (rule, isa) = (self.rule(queries.dim().2), Isa::current()?);
        let states = fold(isa, rule, &heads(queries, keys));
        let (heads, count, _) = queries.dim();
        let visible = (0..count).map(|t| rule.visible(t, keys.dim().1)).collect();
        Ok((AttentionEntropies::new(states.clone(), heads, visible), states))
    }

    fn gradients_here<T: Real>(
        &self,
        queries: &ArrayView3<'_, T>,
        keys: &ArrayView3<'_, T>,
        upstream: &Matrix<'_>,
    ) -> Result<AttentionGradients<T>> {
        let (of, states) = self.of_here(queries, keys)?;
        let (count, dim) = (queries.dim().0, of.entropies.dim());
        if upstream.dim() != dim {
            return Err(Error::Shape {
                argument: "the upstream gradient",
                found: vec![upstream.dim().0, upstream.dim().1],
                expected: format!("[{}, {}], one for each entropy", dim.0, dim.1),
            });
        }
        let upstream: Vec<f64> = (0..dim.0)
            .flat_map(|head| (0..dim.1).map(move |t| (head, t)))
            .map(|(head, t)| upstream.at(head, t))
            .collect();
        let (rule, isa) = (self.rule(queries.dim().2), Isa::current()?);
        let mut of_queries = Array3::from_elem(queries.dim(), T::ZERO);
        // Of each head of the queries: those that share keys are added behind.
        let (_, key_count, width) = keys.dim();
        let mut each = Array3::from_elem((count, key_count, width), T::ZERO);
        let to = of_queries.outer_iter_mut().zip(each.outer_iter_mut());
        let to = to.map(|(queries, keys)| HeadGradient { queries, keys }).collect();
        gradients(isa, rule, &heads(queries, keys), &states, &upstream, to);
        let of_keys = match keys.dim().0 == count {
            true => each,
            false => {
                let mut sum = Array3::from_elem(keys.dim(), T::ZERO);
                let group = count / keys.dim().0;
                for (head, own) in each.outer_iter().enumerate() {
                    let mut to = sum.index_axis_mut(Axis(0), head / group);
                    to.zip_mut_with(&own, |to, own| *to += *own);
                }
                sum
            }
        };
        Ok(AttentionGradients { of, queries: of_queries, keys: of_keys })
    }
}

fn empty(argument: &'static str, shape: &[usize]) -> Error {
    let expected = "at least one head, query, key and column".into();
    Error::Shape { argument, found: shape.to_vec(), expected }
}

/// A head of the keys for each of the queries.
fn heads<'a, T: Real>(queries: &ArrayView3<'a, T>, keys: &ArrayView3<'a, T>) -> Vec<Head<'a, T>> {
    let group = queries.dim().0 / keys.dim().0;
    let of = |array: &ArrayView3<'a, T>, at| -> ArrayView2<'a, T> {
        (*array).index_axis_move(Axis(0), at)
    };
    let head = |at| Head { queries: of(queries, at), keys: of(keys, at / group) };
    (0..queries.dim().0).map(head).collect()
}
