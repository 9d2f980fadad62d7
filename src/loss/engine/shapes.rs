//! The sizes and types of a call.

use crate::loss::inputs::{Inputs, Targets};

/// How the gradients of a call are computed.
///
/// ```
/// assert_eq!(surprisal::Strategy::Strip.name(), "strip");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Strategy {
    /// The logits are computed a second time.
    Recompute,
    /// The logits of some rows at a time are kept.
    Strip,
}

impl Strategy {
    /// `recompute` or `strip`.
    pub fn name(self) -> &'static str {
        match self {
            Strategy::Recompute => "recompute",
            Strategy::Strip => "strip",
        }
    }
}

/// What a call computes.
///
/// ```
/// use surprisal::{LinearCrossEntropy, Pass, Shapes};
/// let loss = LinearCrossEntropy::builder().build()?;
/// let shapes = Shapes::new(64, 32, 1000);
/// assert_eq!(loss.plan(&shapes, Pass::Forward)?.operations, 2 * 64 * 32 * 1000);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pass {
    /// [`LinearCrossEntropy::forward`](crate::LinearCrossEntropy::forward).
    Forward,
    /// [`LinearCrossEntropy::vjp`](crate::LinearCrossEntropy::vjp) alone, after a forward.
    Vjp,
    /// [`LinearCrossEntropy::loss_and_gradients`](crate::LinearCrossEntropy::loss_and_gradients).
    LossAndGradients,
    /// [`LinearCrossEntropy::truncate`](crate::LinearCrossEntropy::truncate) with top-k or top-p: all logits of some
    /// rows at a time.
    Truncation,
}

/// The sizes and types of a call: all that a [`Plan`](crate::Plan) depends on beside the options.
///
/// ```
/// use surprisal::{LinearCrossEntropy, Pass, Shapes};
/// let shapes = Shapes::new(8192, 2304, 256_000);
/// let plan = LinearCrossEntropy::builder().build()?.plan(&shapes, Pass::LossAndGradients)?;
/// assert!(plan.workspace_bytes <= 256 << 20);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shapes {
    /// N, the number of losses.
    pub rows: usize,
    /// D; 0 for given logits.
    pub hidden: usize,
    /// V, the number of the classifier's rows.
    pub vocabulary: usize,
    /// Bytes of a number that is computed in: 4 or 8.
    pub real_bytes: usize,
    /// Whether hidden states and classifier both are bf16, those of a second head too.
    pub bf16: bool,
    /// Whether the hidden gradient holds another type than is computed in, or its rows are not
    /// contiguous.
    pub hidden_gradient_rounded: bool,
    /// The same of the classifier gradient.
    pub classifier_gradient_rounded: bool,
    /// Whether there is a bias.
    pub bias: bool,
    /// The number of class weights: V of all shards, or 0 for none.
    pub class_weights: usize,
    /// Whether there are dense soft targets.
    pub soft_targets: bool,
    /// K of sparse soft targets, else 0.
    pub sparse_targets: usize,
    /// K of candidates, else 0.
    pub candidates: usize,
    /// Whether a floor of each row leaves classes out.
    pub floors: bool,
    /// D′ of a second head: 0 where its logits are given, `None` without one.
    pub second_head: Option<usize>,
    /// S, how often a forward draws from each row; 0 where it does not.
    pub draws: usize,
}

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $type:ty;)*) => {
        $($(#[$doc])*
        #[must_use]
        pub fn $name(mut self, $name: $type) -> Self {
            self.$name = $name;
            self
        })*
    };
}

impl Shapes {
    /// N losses of hidden states of width D over V classes: computed in f32, without a bias, class
    /// weights or soft targets, with gradients of the type that is computed in.
    ///
    /// ```
    /// use surprisal::Shapes;
    /// let shapes = Shapes::new(8192, 2304, 256_000).bf16(true).bias(true);
    /// assert_eq!((shapes.rows, shapes.real_bytes, shapes.class_weights), (8192, 4, 0));
    /// ```
    pub fn new(rows: usize, hidden: usize, vocabulary: usize) -> Self {
        Self {
            rows,
            hidden,
            vocabulary,
            real_bytes: 4,
            bf16: false,
            hidden_gradient_rounded: false,
            classifier_gradient_rounded: false,
            bias: false,
            class_weights: 0,
            soft_targets: false,
            sparse_targets: 0,
            candidates: 0,
            floors: false,
            second_head: None,
            draws: 0,
        }
    }

    setters! {
        /// Bytes of a number that is computed in: 4, the default, or 8.
        real_bytes: usize;
        /// Whether hidden states and classifier both are bf16; they are not by default.
        bf16: bool;
        /// Whether the hidden gradient holds another type than is computed in, or its rows are not
        /// contiguous; it does not by default.
        hidden_gradient_rounded: bool;
        /// The same of the classifier gradient.
        classifier_gradient_rounded: bool;
        /// Whether there is a bias; there is none by default.
        bias: bool;
        /// The number of class weights: V of all shards, or 0 for none, the default.
        class_weights: usize;
        /// Whether there are dense soft targets; there are none by default.
        soft_targets: bool;
        /// K of sparse soft targets; 0, the default, for none.
        sparse_targets: usize;
        /// K of candidates; 0, the default, for none.
        candidates: usize;
        /// Whether there are floors ([`Inputs::floors`]); there are none by default.
        floors: bool;
        /// D′ of a second head, 0 where its logits are given; `None`, the default, without one.
        second_head: Option<usize>;
        /// S of [`LinearCrossEntropy::sample`](crate::LinearCrossEntropy::sample); 0, the default, for none.
        draws: usize;
    }

    /// The shapes of these inputs, with gradients of the type that is computed in.
    ///
    /// ```
    /// # use surprisal::{LinearCrossEntropy, Pass, Shapes};
    /// # let loss = LinearCrossEntropy::builder().build()?;
    /// let logits = ndarray::arr2(&[[1.0_f64, 2.0]]);
    /// let shapes = Shapes::of(&surprisal::Inputs::from_logits(&logits, &[0_u32]));
    /// assert_eq!((shapes.rows, shapes.vocabulary, shapes.real_bytes), (1, 2, 8));
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn of(inputs: &Inputs<'_>) -> Self {
        let (rows, hidden, vocabulary) = inputs.source.sizes();
        let second = inputs.second_head().map(|head| &head.source);
        let bf16 = inputs.source.is_bf16() && second.is_none_or(|second| second.is_bf16());
        Self {
            real_bytes: if inputs.is_double() { 8 } else { 4 },
            bf16: bf16 && !inputs.is_double(),
            bias: inputs.bias.is_some(),
            class_weights: inputs.class_weights.map_or(0, |weights| weights.len()),
            soft_targets: matches!(inputs.targets, Targets::Soft(_)),
            candidates: inputs.candidates.map_or(0, |candidates| candidates.classes.dim().1),
            floors: inputs.floors.is_some(),
            second_head: second.map(|second| second.sizes().1),
            sparse_targets: match &inputs.targets {
                Targets::Sparse { classes, .. } => classes.dim().1,
                _ => 0,
            },
            ..Self::new(inputs.selection.count(rows), hidden, vocabulary)
        }
    }
}
