//! How a call is cut into tiles, and what it takes from the heap: from shapes and options alone.

use super::backward::ROW_BYTES;
use super::inputs::{Inputs, Source, Targets};
use super::options::{Backward, LinearCrossEntropy};
use super::problem::Row;
use crate::element::Real;
use crate::error::{Error, Result};
use crate::gemm;
use crate::parallel;
use crate::softmax::RowState;
use crate::softmax::top_k::Entry;

/// Rows of a tile of logits.
pub(crate) const TILE_ROWS: usize = 512;
/// Columns of a tile of logits: what is folded at once.
pub(crate) const TILE_COLUMNS: usize = 256;
/// Columns of the logits that one task of the forward folds.
pub(crate) const SPAN: usize = 8 * TILE_COLUMNS;
/// Columns of G that are held at once.
pub(crate) const BLOCK: usize = 4 * TILE_COLUMNS;
/// Rows of G that the recomputing backward holds at once.
pub(crate) const CHUNK_ROWS: usize = 1024;
/// Columns of a hidden gradient that one task owns; of a classifier gradient, four times as many.
pub(crate) const GRADIENT_COLUMNS: usize = 256;

/// How the gradients of a call are computed.
///
/// ```
/// assert_eq!(surprisal::Strategy::Strip.name(), "strip");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
/// let shapes = Shapes { rows: 64, hidden: 32, vocabulary: 1000, ..Shapes::default() };
/// assert_eq!(loss.plan(&shapes, Pass::Forward)?.operations, 2 * 64 * 32 * 1000);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// [`LinearCrossEntropy::forward`].
    Forward,
    /// [`LinearCrossEntropy::vjp`] alone, after a forward.
    Vjp,
    /// [`LinearCrossEntropy::loss_and_gradients`].
    LossAndGradients,
}

/// The sizes and types of a call: all that a [`Plan`] depends on beside the options.
///
/// ```
/// use surprisal::{LinearCrossEntropy, Pass, Shapes};
/// let shapes = Shapes { rows: 8192, hidden: 2304, vocabulary: 256_000, ..Shapes::default() };
/// let plan = LinearCrossEntropy::builder().build()?.plan(&shapes, Pass::LossAndGradients)?;
/// assert!(plan.workspace_bytes <= 256 << 20);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shapes {
    /// N, the number of losses.
    pub rows: usize,
    /// D; 0 for given logits.
    pub hidden: usize,
    /// V, the number of the classifier's rows.
    pub vocabulary: usize,
    /// Bytes of a number that is computed in: 4 or 8.
    pub real_bytes: usize,
    /// Whether the classifier holds another type than is computed in.
    pub classifier_widened: bool,
    /// Whether the hidden gradient holds another type than is computed in.
    pub hidden_gradient_rounded: bool,
    /// Whether the classifier gradient holds another type than is computed in.
    pub classifier_gradient_rounded: bool,
    /// Whether there is a bias.
    pub bias: bool,
    /// The number of class weights: V of all shards, or 0 for none.
    pub class_weights: usize,
    /// Whether there are dense soft targets.
    pub soft_targets: bool,
    /// K of sparse soft targets, else 0.
    pub sparse_targets: usize,
}

impl Default for Shapes {
    fn default() -> Self {
        Self {
            rows: 0,
            hidden: 0,
            vocabulary: 0,
            real_bytes: 4,
            classifier_widened: false,
            hidden_gradient_rounded: false,
            classifier_gradient_rounded: false,
            bias: false,
            class_weights: 0,
            soft_targets: false,
            sparse_targets: 0,
        }
    }
}

impl Shapes {
    /// The shapes of these inputs, with gradients of the type that is computed in.
    ///
    /// ```
    /// # use surprisal::{LinearCrossEntropy, Pass, Shapes};
    /// # let loss = LinearCrossEntropy::builder().build()?;
    /// let logits = ndarray::arr2(&[[1.0_f64, 2.0]]);
    /// let shapes = Shapes::of(&surprisal::Inputs::from_logits(logits.view(), &[0_u32]));
    /// assert_eq!((shapes.rows, shapes.vocabulary, shapes.real_bytes), (1, 2, 8));
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn of<R: Real>(inputs: &Inputs<'_, R>) -> Self {
        let (rows, hidden, vocabulary, widened) = match &inputs.source {
            Source::Product { hidden, classifier } => {
                let widened = R::view(classifier).is_none();
                (hidden.dim().0, hidden.dim().1, classifier.dim().0, widened)
            }
            Source::Given(logits) => (logits.dim().0, 0, logits.dim().1, false),
        };
        Self {
            rows: inputs.selection.count(rows),
            hidden,
            vocabulary,
            real_bytes: size_of::<R>(),
            classifier_widened: widened,
            bias: inputs.bias.is_some(),
            class_weights: inputs.class_weights.map_or(0, |weights| weights.len()),
            soft_targets: matches!(inputs.targets, Targets::Soft(_)),
            sparse_targets: match &inputs.targets {
                Targets::Sparse { classes, .. } => classes.dim().1,
                _ => 0,
            },
            ..Self::default()
        }
    }
}

/// What a call takes and how it goes; made by [`LinearCrossEntropy::plan`].
///
/// ```
/// use surprisal::{Error, LinearCrossEntropy, Pass, Shapes};
/// let shapes = Shapes { rows: 512, hidden: 64, vocabulary: 50_000, ..Shapes::default() };
/// let loss = LinearCrossEntropy::builder().memory_budget(1000).build()?;
/// let Err(Error::MemoryBudget { smallest, .. }) = loss.plan(&shapes, Pass::Forward) else {
///     panic!("1000 bytes are not enough")
/// };
/// let loss = LinearCrossEntropy::builder().memory_budget(smallest).build()?;
/// assert!(loss.plan(&shapes, Pass::Forward)?.workspace_bytes <= smallest);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The most that the call takes from the heap at any time, what it returns included.
    pub workspace_bytes: usize,
    /// How the gradients are computed; `None` for a forward.
    pub strategy: Option<Strategy>,
    /// The rows of one strip, of one block of G when recomputing, or of one wave of the forward.
    pub rows_at_once: usize,
    /// Floating-point operations: 2·N·D·V forward, 8 recompute, 6 strip and for a vjp alone; as if
    /// no row were ignored and every gradient wanted.
    pub operations: u128,
    /// How many tasks run at a time at most.
    pub(crate) slots: usize,
}

/// Sizes in bytes; an overflow is carried as `None`.
#[derive(Clone, Copy)]
struct Bytes(Option<usize>);

impl Bytes {
    fn product(factors: &[usize]) -> Self {
        Bytes(factors.iter().try_fold(1_usize, |product, &factor| product.checked_mul(factor)))
    }

    fn plus(self, other: Self) -> Self {
        Bytes(self.0.zip(other.0).and_then(|(a, b)| a.checked_add(b)))
    }

    fn times(self, count: usize) -> Self {
        Bytes(self.0.and_then(|bytes| bytes.checked_mul(count)))
    }

    fn get(self) -> Result<usize> {
        self.0
            .filter(|&bytes| bytes <= isize::MAX as usize)
            .ok_or_else(|| Error::TooLarge { what: "the workspace of these shapes".into() })
    }
}

/// What a pass needs whatever runs, and for each task that runs at a time.
#[derive(Clone, Copy)]
struct Need {
    fixed: usize,
    slot: usize,
}

impl Need {
    fn new(fixed: Bytes, slot: Bytes) -> Result<Self> {
        let need = Self { fixed: fixed.get()?, slot: slot.get()? };
        fixed.plus(slot).get()?;
        Ok(need)
    }

    /// With one task at a time.
    fn least(self) -> usize {
        self.fixed + self.slot
    }
}

impl LinearCrossEntropy {
    /// What a call of these shapes takes, before anything is allocated; with as many threads as
    /// the ambient pool has.
    ///
    /// ```
    /// # use surprisal::{LinearCrossEntropy, Pass, Shapes};
    /// # let loss = LinearCrossEntropy::builder().build()?;
    /// let shapes = Shapes { rows: 8192, hidden: 64, vocabulary: 50_000, ..Shapes::default() };
    /// assert!(loss.plan(&shapes, Pass::Vjp)?.workspace_bytes < 64 << 20);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::MemoryBudget`] where the budget cannot be met, with the smallest that can;
    /// [`Error::TooLarge`] for sizes beyond the address space.
    pub fn plan(&self, shapes: &Shapes, pass: Pass) -> Result<Plan> {
        self.plan_for(shapes, pass, parallel::threads())
    }

    /// As [`plan`](Self::plan), for a number of threads.
    ///
    /// Strategy and tiles do not depend on the number of threads: where the budget does not hold
    /// the scratch of all of them, fewer tasks run at a time.
    ///
    /// ```
    /// # use surprisal::{LinearCrossEntropy, Pass, Shapes};
    /// # let loss = LinearCrossEntropy::builder().build()?;
    /// let shapes = Shapes { rows: 8192, hidden: 64, vocabulary: 50_000, ..Shapes::default() };
    /// let (one, eight) = (loss.plan_for(&shapes, Pass::Vjp, 1)?, loss.plan_for(&shapes, Pass::Vjp, 8)?);
    /// assert_eq!(one.rows_at_once, eight.rows_at_once);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    pub fn plan_for(&self, shapes: &Shapes, pass: Pass, threads: usize) -> Result<Plan> {
        let sizes = Sizes { loss: self, shapes, threads: threads.max(1) };
        match pass {
            Pass::Forward => sizes.forward(),
            Pass::Vjp => sizes.recompute(),
            Pass::LossAndGradients => match self.backward {
                Backward::Recompute => sizes.both(),
                Backward::Strip => sizes.strip(1),
                Backward::Auto if shapes.hidden == 0 => sizes.both(),
                // A strip of few rows reads and writes the classifier's gradient too often.
                Backward::Auto => match sizes.strip(shapes.rows.clamp(1, 128)) {
                    Err(Error::MemoryBudget { .. }) => sizes.both(),
                    strip => strip,
                },
            },
        }
    }
}

struct Sizes<'a> {
    loss: &'a LinearCrossEntropy,
    shapes: &'a Shapes,
    threads: usize,
}

impl Sizes<'_> {
    /// The state of a row with its list of likely classes.
    fn state(&self) -> Bytes {
        let entry = match self.shapes.real_bytes {
            8 => size_of::<Entry<f64>>(),
            _ => size_of::<Entry<f32>>(),
        };
        Bytes::product(&[self.loss.statistics.top_k, entry])
            .plus(Bytes(Some(size_of::<RowState>())))
    }

    /// What every pass holds from beginning to end: kept rows, states, bias and class weights.
    fn common(&self) -> Bytes {
        let Shapes { rows, vocabulary, real_bytes, sparse_targets, .. } = *self.shapes;
        let Shapes { bias, class_weights, soft_targets, .. } = *self.shapes;
        self.state()
            .plus(Bytes(Some(size_of::<Row>() + real_bytes)))
            .times(rows)
            .plus(Bytes::product(&[rows, sparse_targets, size_of::<(u32, f64)>()]))
            .plus(Bytes::product(&[usize::from(sparse_targets > 0), rows, size_of::<usize>()]))
            .plus(Bytes::product(&[usize::from(bias), vocabulary, real_bytes]))
            .plus(Bytes::product(&[class_weights, real_bytes]))
            .plus(Bytes::product(&[usize::from(soft_targets), vocabulary, 8]))
            .plus(Bytes(Some(BOOKKEEPING)))
    }

    /// A tile of logits with its companions, for one task.
    fn tile_slot(&self, tile: usize) -> Bytes {
        let Shapes { hidden, real_bytes, classifier_widened, sparse_targets, .. } = *self.shapes;
        let widened = usize::from(classifier_widened) * TILE_COLUMNS;
        let picks = sparse_targets > 0 || self.loss.statistics.rank;
        // A row of the classifier, a logit and a class, in vectors that grow by doubling.
        let pick = Bytes::product(&[hidden, real_bytes]).plus(Bytes(Some(2 * real_bytes + 40)));
        let product = match real_bytes {
            8 => gemm::workspace_bytes::<f64>(),
            _ => gemm::workspace_bytes::<f32>(),
        };
        Bytes::product(&[tile, real_bytes])
            .plus(pick.times(if picks { sparse_targets.saturating_add(2) } else { 0 }))
            .plus(Bytes::product(&[widened, hidden, real_bytes]))
            .plus(Bytes::product(&[2 * BLOCK, real_bytes]))
            .plus(Bytes(Some(product + SLOT_BOOKKEEPING)))
    }

    /// The plan with as many slots as the budget holds.
    fn with_slots(
        &self,
        strategy: Option<Strategy>,
        factor: u128,
        need: Need,
        rows_at_once: usize,
    ) -> Plan {
        let free = self.loss.memory_budget.saturating_sub(need.fixed);
        let slots = self.threads.min(free / need.slot.max(1)).max(1);
        let Shapes { rows, hidden, vocabulary, .. } = *self.shapes;
        let operations = [rows, hidden, vocabulary]
            .iter()
            .fold(factor, |product, &factor| product.saturating_mul(factor as u128));
        let workspace_bytes = need.fixed + slots * need.slot;
        Plan { workspace_bytes, strategy, rows_at_once, operations, slots }
    }

    fn too_small(&self, strategy: Option<Strategy>, smallest: usize) -> Error {
        let strategy = match strategy {
            None => "forward",
            Some(Strategy::Recompute) => "recompute backward",
            Some(Strategy::Strip) => "strip backward",
        };
        Error::MemoryBudget { strategy, budget: self.loss.memory_budget, smallest }
    }

    /// The most rows at once, halving from `most`, whose need the budget holds; and that of one row.
    fn fitting(
        &self,
        most: usize,
        need: impl Fn(usize) -> Result<Need>,
    ) -> Result<(Option<(usize, Need)>, usize)> {
        let least = need(1)?.least();
        if least > self.loss.memory_budget {
            return Ok((None, least));
        }
        let mut rows = most;
        loop {
            let fits = need(rows).ok().filter(|need| need.least() <= self.loss.memory_budget);
            match fits {
                Some(need) => return Ok((Some((rows, need)), least)),
                None => rows = rows.div_ceil(2),
            }
        }
    }

    fn forward_need(&self, wave: usize) -> Result<Need> {
        let Shapes { hidden, vocabulary, real_bytes, .. } = *self.shapes;
        let spans = vocabulary.div_ceil(SPAN).max(1);
        let fixed = self
            .common()
            .plus(Bytes::product(&[wave, hidden, real_bytes]))
            .plus(self.state().times(wave).times(spans))
            .plus(Bytes::product(&[wave.div_ceil(TILE_ROWS), spans, TASK]));
        Need::new(fixed, self.tile_slot(wave.min(TILE_ROWS) * TILE_COLUMNS))
    }

    /// The rows of a wave: enough for many tasks, as long as they are few bytes.
    fn wave(&self) -> usize {
        let Shapes { rows, hidden, vocabulary, real_bytes, .. } = *self.shapes;
        let tiles = 32_usize.div_ceil(vocabulary.div_ceil(SPAN).max(1)).max(2);
        let affordable = (self.loss.memory_budget / 8) / hidden.saturating_mul(real_bytes).max(1);
        let affordable = affordable.max(TILE_ROWS) / TILE_ROWS * TILE_ROWS;
        (tiles * TILE_ROWS).min(affordable).min(rows).max(1)
    }

    fn forward(&self) -> Result<Plan> {
        let (fit, least) = self.fitting(self.wave(), |wave| self.forward_need(wave))?;
        let (wave, need) = fit.ok_or_else(|| self.too_small(None, least))?;
        Ok(self.with_slots(None, 2, need, wave))
    }

    /// What a gradient of one task's size takes beside its tile.
    fn gradient_slot(&self, rows: usize) -> Bytes {
        let Shapes { hidden, real_bytes, classifier_widened, .. } = *self.shapes;
        let columns = hidden.min(GRADIENT_COLUMNS);
        let widened = usize::from(classifier_widened) * TILE_COLUMNS;
        Bytes::product(&[rows.min(TILE_ROWS) + widened, columns, real_bytes])
    }

    /// The coefficients of each row, the accumulators of rounded gradients, the lists of views.
    fn backward_common(&self, chunk: usize) -> Bytes {
        let Shapes { rows, hidden, real_bytes, hidden_gradient_rounded, .. } = *self.shapes;
        let accumulated = usize::from(hidden_gradient_rounded);
        let ranges = hidden.div_ceil(GRADIENT_COLUMNS);
        self.common()
            .plus(Bytes::product(&[rows, ROW_BYTES]))
            .plus(Bytes::product(&[accumulated, rows, hidden, real_bytes]))
            .plus(Bytes::product(&[2, chunk, ranges, VIEW]))
            .plus(Bytes::product(&[chunk.div_ceil(TILE_ROWS) + 4, ranges + 4, TASK]))
    }

    fn recompute_need(&self, chunk: usize) -> Result<Need> {
        let Shapes { hidden, vocabulary, real_bytes, classifier_widened, .. } = *self.shapes;
        let block = vocabulary.clamp(1, BLOCK);
        let rounded = usize::from(self.shapes.classifier_gradient_rounded);
        let fixed = self
            .backward_common(chunk)
            .plus(Bytes::product(&[chunk, hidden, real_bytes]))
            .plus(Bytes::product(&[chunk, block, real_bytes]))
            .plus(Bytes::product(&[usize::from(classifier_widened), block, hidden, real_bytes]))
            .plus(Bytes::product(&[rounded, block, hidden, real_bytes]))
            .plus(Bytes::product(&[block, 8]));
        Need::new(fixed, self.tile_slot(0).plus(self.gradient_slot(chunk)))
    }

    fn recompute(&self) -> Result<Plan> {
        let most = self.shapes.rows.clamp(1, CHUNK_ROWS);
        let (fit, least) = self.fitting(most, |chunk| self.recompute_need(chunk))?;
        let (chunk, need) = fit.ok_or_else(|| self.too_small(Some(Strategy::Recompute), least))?;
        Ok(self.with_slots(Some(Strategy::Recompute), 6, need, chunk))
    }

    /// Both passes one after the other: what the forward leaves is counted in the backward.
    fn both(&self) -> Result<Plan> {
        let least = self.forward_need(1)?.least().max(self.recompute_need(1)?.least());
        if least > self.loss.memory_budget {
            return Err(self.too_small(Some(Strategy::Recompute), least));
        }
        let (forward, backward) = (self.forward()?, self.recompute()?);
        let workspace_bytes = backward.workspace_bytes.max(forward.workspace_bytes);
        let operations = forward.operations.saturating_add(backward.operations);
        Ok(Plan { workspace_bytes, operations, ..backward })
    }

    fn strip_need(&self, strip: usize) -> Result<Need> {
        let Shapes { rows, hidden, vocabulary, real_bytes, .. } = *self.shapes;
        let blocks = vocabulary.div_ceil(BLOCK);
        let ranges = hidden.div_ceil(GRADIENT_COLUMNS);
        let rounded = usize::from(self.shapes.classifier_gradient_rounded);
        let row = Bytes::product(&[vocabulary, real_bytes])
            .plus(Bytes::product(&[hidden, real_bytes]))
            .plus(self.state().times(blocks))
            .plus(Bytes::product(&[2, ranges, VIEW]));
        let tiles = Bytes::product(&[strip.div_ceil(TILE_ROWS), blocks.saturating_add(4), TASK]);
        let fixed = self
            .backward_common(0)
            .plus(row.times(strip))
            // Rows without an upstream are put last, and back again.
            .plus(self.state().plus(Bytes(Some(8 + size_of::<Row>()))).times(rows))
            .plus(Bytes::product(&[rounded, vocabulary, hidden, real_bytes]))
            .plus(Bytes::product(&[vocabulary, 8]))
            .plus(Bytes::product(&[4, blocks.saturating_add(1), ranges + 4, TASK]))
            .plus(tiles);
        Need::new(fixed, self.tile_slot(0).plus(self.gradient_slot(rows)))
    }

    /// As many rows as the budget holds, if they are at least `least`.
    fn strip(&self, least: usize) -> Result<Plan> {
        let rows = self.shapes.rows.max(1);
        // Given logits need no strip: they are there.
        if self.shapes.hidden == 0 {
            return self.both();
        }
        let least = least.min(rows);
        let smallest = self.strip_need(least)?.least();
        let budget = self.loss.memory_budget;
        if smallest > budget {
            return Err(self.too_small(Some(Strategy::Strip), smallest));
        }
        // An eighth of the budget is for the scratch of the tasks, however many run.
        let limit = (budget - budget / 8).max(smallest);
        let fits = |strip: usize| self.strip_need(strip).is_ok_and(|need| need.least() <= limit);
        let (mut good, mut bad) = (least, rows + 1);
        while bad - good > 1 {
            let middle = good + (bad - good) / 2;
            if fits(middle) { good = middle } else { bad = middle }
        }
        let strip = rows.div_ceil(rows.div_ceil(good));
        Ok(self.with_slots(Some(Strategy::Strip), 6, self.strip_need(strip)?, strip))
    }
}

/// Lists, locks and the pool's own bookkeeping.
const BOOKKEEPING: usize = 64 << 10;
/// The same for a task that runs.
const SLOT_BOOKKEEPING: usize = 4 << 10;
/// A task in a list.
const TASK: usize = 256;
/// A view of a row in a list.
const VIEW: usize = 64;
