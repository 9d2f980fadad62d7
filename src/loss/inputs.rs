//! The arrays that a loss is computed from.

use ndarray::{Array1, ArrayView1, ArrayView2};

use super::candidates::Candidates;
use super::companion::Companion;
use super::floors::Floors;
use super::head::Head;
use super::source::Source;
use crate::error::{Error, Result};
use crate::matrix::{Matrix, Vector};

/// What the examples of this file begin with.
macro_rules! example {
    () => {
        "# use ndarray::{arr1, arr2};
# use surprisal::{Inputs, LinearCrossEntropy, Shard};
# let hidden = arr2(&[[1.0_f32], [2.0], [3.0], [0.5]]);
# let classifier = arr2(&[[1.0_f32], [-1.0]]);
# let loss = LinearCrossEntropy::builder().build()?;"
    };
}

/// Class indices.
///
/// ```
/// let targets = ndarray::arr1(&[4_i64, 0, -100]);
/// assert_eq!(surprisal::Classes::I64(targets.view()).len(), 3);
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Classes<'a> {
    /// Unsigned: a negative ignore index cannot stand among them.
    U32(ArrayView1<'a, u32>),
    /// Signed, where it can stand anywhere.
    I64(ArrayView1<'a, i64>),
}

impl Classes<'_> {
    /// The number of indices.
    pub fn len(&self) -> usize {
        match self {
            Classes::U32(classes) => classes.len(),
            Classes::I64(classes) => classes.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn at(&self, index: usize) -> i64 {
        match self {
            Classes::U32(classes) => i64::from(classes[index]),
            Classes::I64(classes) => classes[index],
        }
    }
}

/// What each row should be: one class, or a distribution over the classes.
///
/// ```
/// use ndarray::arr2;
/// use surprisal::{Inputs, LinearCrossEntropy, Targets};
/// let logits = arr2(&[[1.0_f64, 2.0, 3.0]]);
/// let (classes, weights) = (arr2(&[[2_u32, 0]]), arr2(&[[0.75_f64, 0.25]]));
/// let sparse = Targets::sparse(&classes, &weights);
/// let dense = arr2(&[[0.25_f64, 0.0, 0.75]]);
/// let loss = LinearCrossEntropy::builder().build()?;
/// let sparse = loss.forward(&Inputs::from_logits(&logits, sparse))?.loss();
/// let dense = loss.forward(&Inputs::from_logits(&logits, Targets::soft(&dense)))?.loss();
/// assert!((sparse - dense).abs() < 1e-15);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Targets<'a> {
    /// One class a row.
    Hard(Classes<'a>),
    /// A weight for every class of every row, N×V, finite and at least 0; they need not sum to 1.
    Soft(Matrix<'a>),
    /// The K classes of each row that have a weight, N×K, with their weights; a class that stands
    /// twice in a row has the sum.
    #[non_exhaustive]
    Sparse {
        /// N×K classes.
        classes: ArrayView2<'a, u32>,
        /// N×K weights, finite and at least 0.
        weights: Matrix<'a>,
    },
}

impl<'a> Targets<'a> {
    /// A weight for every class of every row, N×V, finite and at least 0; they need not sum to 1.
    ///
    /// ```
    /// let teacher = ndarray::arr2(&[[0.25_f32, 0.0, 0.75]]);
    /// assert!(matches!(surprisal::Targets::soft(&teacher), surprisal::Targets::Soft(_)));
    /// ```
    pub fn soft(weights: impl Into<Matrix<'a>>) -> Self {
        Self::Soft(weights.into())
    }

    /// The K classes of each row that have a weight, N×K, with their weights, finite and at least 0; a
    /// class that stands twice in a row has the sum.
    ///
    /// ```
    /// let (classes, weights) = (ndarray::arr2(&[[2_u32, 0]]), ndarray::arr2(&[[0.75_f32, 0.25]]));
    /// let targets = surprisal::Targets::sparse(&classes, &weights);
    /// ```
    pub fn sparse(classes: impl Into<ArrayView2<'a, u32>>, weights: impl Into<Matrix<'a>>) -> Self {
        Self::Sparse { classes: classes.into(), weights: weights.into() }
    }

    /// No class of any of so many rows has a weight.
    fn none(rows: usize) -> Self {
        let classes = ArrayView2::from_shape((rows, 0), &[]).expect("no class");
        let weights: ArrayView2<'_, f64> =
            ArrayView2::from_shape((rows, 0), &[]).expect("no weight");
        Self::sparse(classes, weights)
    }
}

macro_rules! targets_from {
    ($($type:ty => $variant:ident),*) => {
        $(impl<'a> From<&'a [$type]> for Targets<'a> {
            fn from(classes: &'a [$type]) -> Self {
                Targets::Hard(Classes::$variant(ArrayView1::from(classes)))
            }
        }
        impl<'a, const N: usize> From<&'a [$type; N]> for Targets<'a> {
            fn from(classes: &'a [$type; N]) -> Self {
                Targets::from(classes.as_slice())
            }
        }
        impl<'a> From<&'a Vec<$type>> for Targets<'a> {
            fn from(classes: &'a Vec<$type>) -> Self {
                Targets::from(classes.as_slice())
            }
        }
        impl<'a> From<&'a Array1<$type>> for Targets<'a> {
            fn from(classes: &'a Array1<$type>) -> Self {
                Targets::from(classes.view())
            }
        }
        impl<'a> From<ArrayView1<'a, $type>> for Targets<'a> {
            fn from(classes: ArrayView1<'a, $type>) -> Self {
                Targets::Hard(Classes::$variant(classes))
            }
        })*
    };
}

targets_from!(u32 => U32, i64 => I64);

/// Which classes of a larger vocabulary the classifier's rows are.
///
/// Rows `first_class..first_class + classifier rows` of `vocabulary`; targets and class weights
/// are the whole vocabulary's, the bias is the shard's. [`Fold`](crate::Fold) has the example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shard {
    /// The class of the classifier's first row.
    pub first_class: usize,
    /// V, the number of classes of all shards.
    pub vocabulary: usize,
}

impl Shard {
    /// The shard that begins at this class of so many.
    ///
    /// ```
    /// assert_eq!(surprisal::Shard::new(10, 12).first_class, 10);
    /// ```
    pub fn new(first_class: usize, vocabulary: usize) -> Self {
        Self { first_class, vocabulary }
    }
}

/// Which rows of the hidden states take part.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Selection<'a> {
    All,
    Rows(&'a [usize]),
    Shift { shift: usize, sequence: Option<usize> },
}

impl Selection<'_> {
    /// How many losses there are of so many rows.
    pub(crate) fn count(&self, rows: usize) -> usize {
        match *self {
            Selection::All => rows,
            Selection::Rows(selected) => selected.len(),
            Selection::Shift { shift, sequence } => {
                let sequence = sequence.unwrap_or(rows).max(1);
                rows / sequence * sequence.saturating_sub(shift)
            }
        }
    }
}

/// The arrays of one call: hidden states `[N,D]` and classifier `[V,D]` (or logits `[N,V]`),
/// targets, and what weighs them.
///
/// Arrays and views of any strides; contiguous rows are the fastest. `f64` is computed in where either
/// matrix holds it, else `f32`.
///
/// ```
/// use ndarray::{arr1, arr2};
/// use surprisal::{Inputs, LinearCrossEntropy};
///
/// let hidden = arr2(&[[0.2_f64, -0.1], [1.0, 0.5], [-0.3, 0.7]]);
/// let classifier = arr2(&[[0.5_f64, -0.4], [-0.2, 0.3], [0.1, 0.6]]);
/// let bias = arr1(&[0.1, -0.2, 0.05]);
/// let inputs = Inputs::new(&hidden, &classifier, &[0_i64, 1, -100]).bias(&bias);
/// let forward = LinearCrossEntropy::builder().build()?.forward(&inputs)?;
/// assert_eq!(forward.losses()[2], 0.0);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    pub(crate) source: Source<'a>,
    pub(crate) targets: Targets<'a>,
    pub(crate) bias: Option<Vector<'a>>,
    pub(crate) class_weights: Option<Vector<'a>>,
    pub(crate) token_weights: Option<Vector<'a>>,
    pub(crate) ignored: Option<&'a [bool]>,
    pub(crate) selection: Selection<'a>,
    pub(crate) companion: Option<Companion<'a>>,
    pub(crate) temperatures: Option<Vector<'a>>,
    pub(crate) candidates: Option<Candidates<'a>>,
    pub(crate) shard: Option<Shard>,
    pub(crate) target_logits: Option<Vector<'a>>,
    pub(crate) floors: Option<&'a Floors>,
    /// Whether f64 is asked for.
    pub(crate) double: bool,
}

impl<'a> Inputs<'a> {
    /// Hidden states `[N,D]`, a classifier `[V,D]`, and N targets.
    ///
    /// ```
    #[doc = example!()]
    /// let inputs = Inputs::new(&hidden, &classifier, &[0_u32, 1, 0, 1]);
    /// assert_eq!(loss.forward(&inputs)?.len(), 4);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn new(
        hidden: impl Into<Matrix<'a>>,
        classifier: impl Into<Matrix<'a>>,
        targets: impl Into<Targets<'a>>,
    ) -> Self {
        let source = Source::Product { hidden: hidden.into(), classifier: classifier.into() };
        Self::with_source(source, targets.into())
    }

    /// Logits `[N,V]` that the caller already has, and N targets. Bias, scale and softcap apply to
    /// them as they do to products.
    ///
    /// ```
    /// use surprisal::{Inputs, LinearCrossEntropy};
    /// let logits = ndarray::arr2(&[[1.0_f64, 2.0, 3.0]]);
    /// let loss = LinearCrossEntropy::builder().build()?;
    /// let forward = loss.forward(&Inputs::from_logits(&logits, &[0_u32]))?;
    /// assert!((forward.loss() - 2.4076059644443806).abs() < 1e-15);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn from_logits(logits: impl Into<Matrix<'a>>, targets: impl Into<Targets<'a>>) -> Self {
        Self::with_source(Source::Given(logits.into()), targets.into())
    }

    /// Hidden states `[N,D]` and a classifier `[V,D]` without targets: of rows whose log-sum-exp, entropy,
    /// likeliest classes or [`candidates`](Self::candidates) are asked for. The loss is 0.
    ///
    /// ```
    #[doc = example!()]
    /// let forward = loss.forward(&Inputs::unlabelled(&hidden, &classifier))?;
    /// assert_eq!((forward.loss(), forward.argmax().len()), (0.0, 4));
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn unlabelled(hidden: impl Into<Matrix<'a>>, classifier: impl Into<Matrix<'a>>) -> Self {
        let (hidden, classifier) = (hidden.into(), classifier.into());
        let rows = hidden.dim().0;
        Self::with_source(Source::Product { hidden, classifier }, Targets::none(rows))
    }

    /// The same of logits `[N,V]` that the caller already has.
    ///
    /// ```
    /// use surprisal::{Inputs, LinearCrossEntropy};
    /// let logits = ndarray::arr2(&[[1.0_f64, 2.0, 3.0]]);
    /// let forward = LinearCrossEntropy::builder().build()?.forward(&Inputs::unlabelled_logits(&logits))?;
    /// assert!((forward.log_sum_exp()[0] - 3.4076059644443806).abs() < 1e-15);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn unlabelled_logits(logits: impl Into<Matrix<'a>>) -> Self {
        let logits = logits.into();
        let rows = logits.dim().0;
        Self::with_source(Source::Given(logits), Targets::none(rows))
    }

    /// Computes in f64, whatever the arrays hold.
    ///
    /// ```
    /// use surprisal::{Inputs, LinearCrossEntropy};
    /// let logits = ndarray::arr2(&[[1.0_f32, 2.0, 3.0]]);
    /// let inputs = Inputs::from_logits(&logits, &[0_u32]).in_double();
    /// let loss = LinearCrossEntropy::builder().build()?.forward(&inputs)?.loss();
    /// assert!((loss - 2.4076059644443806).abs() < 1e-15);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn in_double(mut self) -> Self {
        self.double = true;
        self
    }

    /// Whether f64 is computed in: where a matrix holds it, or [`in_double`](Self::in_double) asks for
    /// it. Else f32 is.
    ///
    /// ```
    /// let logits = ndarray::arr2(&[[1.0_f32, 2.0, 3.0]]);
    /// assert!(!surprisal::Inputs::from_logits(&logits, &[0_u32]).is_double());
    /// ```
    pub fn is_double(&self) -> bool {
        self.double
            || self.source.is_double()
            || self.second_head().is_some_and(|head| head.source.is_double())
    }

    /// The second head, where the companion is one.
    pub(crate) fn second_head(&self) -> Option<&Head<'a>> {
        match &self.companion {
            Some(Companion::Logits(head)) => Some(head),
            _ => None,
        }
    }

    fn with_source(source: Source<'a>, targets: Targets<'a>) -> Self {
        Self {
            source,
            targets,
            bias: None,
            class_weights: None,
            token_weights: None,
            ignored: None,
            selection: Selection::All,
            companion: None,
            temperatures: None,
            candidates: None,
            shard: None,
            target_logits: None,
            floors: None,
            double: false,
        }
    }

    /// b, a number for each class.
    ///
    /// ```
    #[doc = example!()]
    /// let bias = arr1(&[0.5_f32, f32::NEG_INFINITY]);
    /// let inputs = Inputs::new(&hidden, &classifier, &[0_u32, 0, 0, 0]).bias(&bias);
    /// assert_eq!(loss.forward(&inputs)?.loss(), 0.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn bias(mut self, bias: impl Into<Vector<'a>>) -> Self {
        self.bias = Some(bias.into());
        self
    }

    /// w, a number for each class, finite and at least 0.
    ///
    /// ```
    #[doc = example!()]
    /// let weights = arr1(&[0.0_f32, 2.0]);
    /// let inputs = Inputs::new(&hidden, &classifier, &[0_u32, 1, 0, 1]);
    /// let weighted = inputs.class_weights(&weights);
    /// assert_eq!(loss.forward(&weighted)?.losses()[0], 0.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn class_weights(mut self, weights: impl Into<Vector<'a>>) -> Self {
        self.class_weights = Some(weights.into());
        self
    }

    /// τ, a finite number of either sign for each target. They never enter a divisor; a kept row
    /// of weight 0 still counts in the mean.
    ///
    /// ```
    #[doc = example!()]
    /// let weights = arr1(&[0.0_f32, 1.0, -1.0, 0.5]);
    /// let inputs = Inputs::new(&hidden, &classifier, &[0_u32, 1, 0, 1]);
    /// let weighted = inputs.token_weights(&weights);
    /// assert_eq!(loss.forward(&weighted)?.losses()[0], 0.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn token_weights(mut self, weights: impl Into<Vector<'a>>) -> Self {
        self.token_weights = Some(weights.into());
        self
    }

    /// `[N]` temperatures T_i, finite and above 0, one for each target: the scale of its row is divided by it, in
    /// place of the [`temperature`](crate::LinearCrossEntropyBuilder::temperature) of the call.
    ///
    /// ```
    /// use surprisal::{Inputs, LinearCrossEntropy};
    /// let logits = ndarray::arr2(&[[2.0_f64, 0.0], [2.0, 0.0]]);
    /// let temperatures = ndarray::arr1(&[1.0_f64, 2.0]);
    /// let inputs = Inputs::from_logits(&logits, &[0_u32, 0]).temperatures(&temperatures);
    /// let losses = LinearCrossEntropy::builder().build()?.forward(&inputs)?.losses();
    /// assert!((losses[0] - (-2.0_f64).exp().ln_1p()).abs() < 1e-15);
    /// assert!((losses[1] - (-1.0_f64).exp().ln_1p()).abs() < 1e-15);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn temperatures(mut self, temperatures: impl Into<Vector<'a>>) -> Self {
        self.temperatures = Some(temperatures.into());
        self
    }

    /// Leaves out the classes below these floors, as [`truncate`](crate::LinearCrossEntropy::truncate) returned them
    /// for the same inputs: their logits are −∞, and loss, statistics and gradients are those of the softmax over
    /// the classes that stay. No gradient goes through which classes these are. A row whose target is left out
    /// has a log-probability of −∞, and where its loss is infinite no gradient of it.
    ///
    /// With hard targets, without shards, label smoothing, a second head or a filter, and not on a GPU.
    ///
    /// ```
    /// use ndarray::{Array2, arr2};
    /// use surprisal::loss::Truncation;
    /// use surprisal::{Gradients, Inputs, LinearCrossEntropy, Reduction, Statistic, Upstream};
    /// let logits = arr2(&[[2.0_f64, 0.0, 2.0], [2.0, 0.0, 2.0]]);
    /// let inputs = Inputs::from_logits(&logits, &[0_u32, 1]);
    /// let loss = LinearCrossEntropy::builder().reduction(Reduction::None).build()?;
    /// let floors = loss.truncate(&inputs, &Truncation::new().top_k(2))?;
    /// let mut gradient = Array2::<f64>::zeros((2, 3));
    /// let gradients = Gradients::new().logits(&mut gradient);
    /// let forward =
    ///     loss.loss_and_gradients(&inputs.floors(&floors), &Upstream::default(), gradients)?;
    /// let half = 0.5_f64.ln();
    /// assert_eq!(forward.statistic(Statistic::LogProbability)?.to_vec(), [half, f64::NEG_INFINITY]);
    /// assert_eq!(gradient, arr2(&[[-0.5, 0.0, 0.5], [0.0, 0.0, 0.0]]));
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn floors(mut self, floors: &'a Floors) -> Self {
        self.floors = Some(floors);
        self
    }

    /// A number beside every logit, for a loss that depends on its mean under p.
    ///
    /// ```
    /// use surprisal::loss::{Companion, ExpectedCost};
    /// use surprisal::{Inputs, LinearCrossEntropy};
    /// let loss = LinearCrossEntropy::builder().row_loss(ExpectedCost).build()?;
    /// let (logits, costs) = (ndarray::arr2(&[[1.0_f64, 1.0]]), ndarray::arr1(&[0.0_f64, 1.0]));
    /// let inputs = Inputs::from_logits(&logits, &[0_u32]).companion(Companion::classes(&costs));
    /// assert!((loss.forward(&inputs)?.loss() - 0.5).abs() < 1e-15);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn companion(mut self, companion: Companion<'a>) -> Self {
        self.companion = Some(companion);
        self
    }

    /// Classes of each row whose log-probabilities are asked for; [`Candidates`] has the example.
    pub fn candidates(mut self, candidates: Candidates<'a>) -> Self {
        self.candidates = Some(candidates);
        self
    }

    /// Leaves out the rows whose flag is set, whatever their targets are: soft ones have no class that
    /// could say so. As a row of the ignore index, such a row has no loss and no gradient, nothing of it
    /// is read but the targets, and a mean does not count it: with soft targets the mean is over the rows
    /// that are kept. A flag for each target.
    ///
    /// ```
    /// use ndarray::{arr1, arr2};
    /// use surprisal::{Inputs, LinearCrossEntropy, Targets};
    /// let logits = arr2(&[[1.0_f64, 2.0, 3.0], [0.0, 5.0, 0.0]]);
    /// let teacher = arr2(&[[0.0_f64, 0.5, 0.5], [1.0, 0.0, 0.0]]);
    /// let inputs = Inputs::from_logits(&logits, Targets::soft(&teacher));
    /// let forward = LinearCrossEntropy::builder().build()?.forward(&inputs.ignore(&[false, true]))?;
    /// assert_eq!((forward.rows_kept(), forward.losses()[1]), (1, 0.0));
    /// assert_eq!(forward.loss(), forward.losses()[0]);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn ignore(mut self, flags: &'a [bool]) -> Self {
        self.ignored = Some(flags);
        self
    }

    /// Takes only these rows of the hidden states, in strictly increasing order; there is a target
    /// for each of them.
    ///
    /// ```
    /// use surprisal::{Inputs, LinearCrossEntropy};
    /// let hidden = ndarray::arr2(&[[1.0_f32], [2.0], [3.0]]);
    /// let classifier = ndarray::arr2(&[[1.0_f32], [-1.0]]);
    /// let inputs = Inputs::new(&hidden, &classifier, &[0_u32, 1]).rows(&[0, 2]);
    /// assert_eq!(LinearCrossEntropy::builder().build()?.forward(&inputs)?.len(), 2);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn rows(mut self, rows: &'a [usize]) -> Self {
        self.selection = Selection::Rows(rows);
        self
    }

    /// Row i of the hidden states predicts target i + `shift`; the last `shift` rows take no part.
    /// There are as many targets (and token weights) as rows, and N − `shift` losses.
    ///
    /// ```
    /// use surprisal::{Inputs, LinearCrossEntropy};
    /// let hidden = ndarray::arr2(&[[1.0_f32], [2.0], [3.0]]);
    /// let classifier = ndarray::arr2(&[[1.0_f32], [-1.0]]);
    /// let tokens = [0_u32, 1, 0];
    /// let inputs = Inputs::new(&hidden, &classifier, &tokens).shift(1);
    /// assert_eq!(LinearCrossEntropy::builder().build()?.forward(&inputs)?.len(), 2);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn shift(mut self, shift: usize) -> Self {
        self.selection = Selection::Shift { shift, sequence: None };
        self
    }

    /// As [`shift`](Self::shift), where the rows are sequences of this length, one after another,
    /// and no row predicts beyond its own.
    ///
    /// ```
    #[doc = example!()]
    /// let tokens = [0_u32, 1, 0, 1];
    /// let inputs = Inputs::new(&hidden, &classifier, &tokens).shift_within(1, 2);
    /// assert_eq!(loss.forward(&inputs)?.len(), 2);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn shift_within(mut self, shift: usize, sequence: usize) -> Self {
        self.selection = Selection::Shift { shift, sequence: Some(sequence) };
        self
    }

    /// Says that the classifier is a part of a larger vocabulary.
    ///
    /// ```
    #[doc = example!()]
    /// let shard = Shard::new(10, 12);
    /// let inputs = Inputs::new(&hidden, &classifier, &[10_u32, 3, 0, 11]);
    /// assert_eq!(loss.fold(&inputs.shard(shard))?.states()[0].argmax(), Some(10));
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn shard(mut self, shard: Shard) -> Self {
        self.shard = Some(shard);
        self
    }

    /// That the classifier is not a part of a larger vocabulary.
    /// The same for a shorter time and with other targets, without companion and candidates.
    pub(crate) fn relabelled<'s>(&'s self, targets: Targets<'s>) -> Inputs<'s> {
        let source = match &self.source {
            Source::Product { hidden, classifier } => {
                Source::Product { hidden: hidden.shorter(), classifier: classifier.shorter() }
            }
            Source::Given(logits) => Source::Given(logits.shorter()),
        };
        let shorter = |vector: &'s Option<Vector<'a>>| vector.as_ref().map(Vector::shorter);
        Inputs {
            source,
            targets,
            bias: shorter(&self.bias),
            class_weights: shorter(&self.class_weights),
            token_weights: shorter(&self.token_weights),
            ignored: self.ignored,
            selection: self.selection,
            companion: None,
            temperatures: shorter(&self.temperatures),
            candidates: None,
            shard: self.shard,
            target_logits: None,
            floors: self.floors,
            double: self.double,
        }
    }

    /// Whether each row of the hidden states has a loss, of one sort.
    pub(crate) fn is_plain(&self) -> bool {
        let whole = matches!(self.selection, Selection::All) && self.ignored.is_none();
        let alike = self.class_weights.is_none() && self.token_weights.is_none();
        whole
            && alike
            && self.shard.is_none()
            && self.companion.is_none()
            && self.candidates.is_none()
    }

    pub(crate) fn check_whole(&self) -> Result<()> {
        let columns = match &self.source {
            Source::Product { classifier, .. } => classifier.dim().0,
            Source::Given(logits) => logits.dim().1,
        };
        match self.shard {
            Some(shard) if shard.vocabulary != columns => Err(Error::Conflict {
                what: "a shard alone has no loss, expected fold, merge, finish and vjp".into(),
            }),
            _ => Ok(()),
        }
    }

    /// The logits of the targets, one for each loss, whichever shard owns them: the rank over shards
    /// needs them. [`LinearCrossEntropy::target_logits`](crate::LinearCrossEntropy::target_logits)
    /// has the example. They count for the rank alone; the loss takes the tile's own.
    pub fn target_logits(mut self, logits: impl Into<Vector<'a>>) -> Self {
        self.target_logits = Some(logits.into());
        self
    }
}
