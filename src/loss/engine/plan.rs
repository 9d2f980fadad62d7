//! How a call goes, and what it takes from the heap: from shapes and options alone.

use super::active::ROW_BYTES;
use super::candidates::{CANDIDATE_BYTES, CANDIDATE_ROW_BYTES};
use super::few_rows::{FEW, few_scratch};
use super::grid::{
    BLOCK, CHUNK_ROWS, GROUPS, STRIP_COLUMNS, TILE_COLUMNS, TILE_GROUPS, WAVE, spans_count,
    strip_classes,
};
use super::narrow_strip::Place;
use super::pair::{DivergenceSums, PAIR_BYTES};
use super::problem::{Row, SecondRow};
use super::shapes::{Pass, Shapes, Strategy};
use crate::error::{Error, Result};
use crate::gemm::{GROUP, PANEL, padded_rows};
use crate::loss::filter::decision::ActiveFilter;
use crate::loss::filter::lists::Lists;
use crate::loss::filter::record::Record;
use crate::loss::options::{Backward, Filter, LinearCrossEntropy};
use crate::parallel;
use crate::softmax::RowState;
use crate::softmax::floor::Floor;
use crate::softmax::gumbel::Draw;
use crate::softmax::top_k::Entry;

/// What a call takes and how it goes; made by [`LinearCrossEntropy::plan`].
///
/// ```
/// use surprisal::{Error, LinearCrossEntropy, Pass, Shapes};
/// let shapes = Shapes::new(512, 64, 50_000);
/// let loss = LinearCrossEntropy::builder().memory_budget(1000).build()?;
/// let Err(Error::MemoryBudget { smallest, .. }) = loss.plan(&shapes, Pass::Forward) else {
///     panic!("1000 bytes are not enough")
/// };
/// let loss = LinearCrossEntropy::builder().memory_budget(smallest).build()?;
/// assert!(loss.plan(&shapes, Pass::Forward)?.workspace_bytes <= smallest);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// The most that the call takes from the heap at any time, what it returns included.
    pub workspace_bytes: usize,
    /// How the gradients are computed; `None` for a forward.
    pub strategy: Option<Strategy>,
    /// The rows of one strip, of one block of G when recomputing, or of one wave of the forward.
    pub rows_at_once: usize,
    /// Floating-point operations: 2·N·D·V forward, 8 recompute, 6 strip and for a vjp alone; as if
    /// no row were ignored and every gradient wanted. A second head of width D′ adds 2·N·D′·V to each pass;
    /// divergences from it 4·N·D′·V and 2·N·D·V to the forward, and 2·N·D′·V to a backward.
    pub operations: u128,
    /// How many tasks run at a time at most.
    pub(crate) workers: usize,
    /// Columns of a tile of logits.
    pub(crate) tile_columns: usize,
    /// Whether a strip keeps its logits in 16 bits.
    pub(crate) narrow_strip: bool,
    /// Columns of G that are held at once, when recomputing.
    pub(crate) block_columns: usize,
    /// Rows of a wave and tasks at a time of the forward that comes before.
    pub(crate) forward: (usize, usize),
}

impl Plan {
    /// The forward before a backward that recomputes.
    pub(crate) fn of_forward(&self) -> Self {
        let (rows_at_once, workers) = self.forward;
        Self { strategy: None, rows_at_once, workers, ..*self }
    }
}

/// The size in whole units, without overflow.
fn in_units(size: usize, unit: usize) -> usize {
    size.div_ceil(unit).saturating_mul(unit)
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
    per_worker: usize,
}

impl Need {
    fn new(fixed: Bytes, per_worker: Bytes) -> Result<Self> {
        let need = Self { fixed: fixed.get()?, per_worker: per_worker.get()? };
        fixed.plus(per_worker).get()?;
        Ok(need)
    }

    /// With one task at a time.
    fn least(self) -> usize {
        self.fixed + self.per_worker
    }
}

/// The least δ of a filter by mass under which recomputing what is kept is less work than a strip.
const LEAST_MASS: f64 = 1e-3;

impl LinearCrossEntropy {
    /// Whether products are computed in the narrower format.
    pub(crate) fn narrow(&self, shapes: &Shapes) -> bool {
        shapes.bf16 && self.isa.has_bf16()
    }

    /// Whether the filter leaves so much out that recomputing the rest is less work than a strip: with 2⁻²⁰ on
    /// trained data loss and gradients take twice as long as a forward, where a strip is three of its work.
    /// That it still pays at 2⁻²² is not measured.
    fn filters_much(&self, shapes: &Shapes) -> bool {
        match self.filter {
            None => false,
            Some(Filter::Auto) => shapes.bf16,
            Some(Filter::Below(threshold)) => threshold >= 2.0_f64.powi(-22),
            Some(Filter::Mass(mass)) => mass >= LEAST_MASS,
        }
    }

    /// What a call of these shapes takes, before anything is allocated; with as many threads as
    /// the ambient pool has.
    ///
    /// ```
    /// # use surprisal::{LinearCrossEntropy, Pass, Shapes};
    /// # let loss = LinearCrossEntropy::builder().build()?;
    /// let shapes = Shapes::new(8192, 64, 50_000);
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
    /// let shapes = Shapes::new(8192, 64, 50_000);
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
            Pass::Truncation => sizes.truncation(),
            Pass::Vjp => sizes.recompute(),
            Pass::LossAndGradients => match self.backward {
                Backward::Recompute => sizes.both(),
                Backward::Strip => sizes.strip(1),
                Backward::Auto if shapes.hidden == 0 => sizes.both(),
                // What a filter of this size leaves is less than the logits computed twice.
                Backward::Auto if self.filters_much(shapes) => sizes.both(),
                // A strip of few rows reads the classifier and writes its gradient too often, and the
                // more so the faster the products are. On Zen 5 six strips of 171 rows (D = 2304, V = 256000)
                // took 9.15 s in f32, where recomputing took 10.1; in bf16 5.87 s, where it took 5.59, and three
                // of 342 rows, whose logits are of 16 bits, 4.81 s where it took 5.73.
                Backward::Auto => {
                    let least = if sizes.narrow_strip() { 256 } else { 128 * sizes.depth().pow(2) };
                    match sizes.strip(shapes.rows.clamp(1, least)) {
                        Err(Error::MemoryBudget { .. }) => sizes.both(),
                        strip => strip,
                    }
                }
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
        Bytes::product(&[self.loss.statistics.top_k, size_of::<Entry>()])
            .plus(Bytes::product(&[self.shapes.draws, size_of::<Draw>()]))
            .plus(Bytes(Some(size_of::<RowState>())))
    }

    /// What every pass holds from beginning to end: kept rows, states, bias and class weights.
    fn common(&self) -> Bytes {
        let Shapes { rows, vocabulary, real_bytes, sparse_targets, .. } = *self.shapes;
        let Shapes { bias, class_weights, soft_targets, candidates, .. } = *self.shapes;
        let listed = Bytes::product(&[candidates, CANDIDATE_BYTES]);
        let listed =
            listed.plus(Bytes(Some(CANDIDATE_ROW_BYTES))).times(usize::from(candidates > 0));
        self.state()
            .plus(Bytes(Some(size_of::<Row>() + real_bytes)))
            .times(rows)
            // The key and the bound of a draw, its class and its logarithm.
            .plus(Bytes::product(&[rows, self.shapes.draws, 8 + 4 + 8 + 8]))
            .plus(Bytes::product(&[rows, sparse_targets, size_of::<(u32, f64)>()]))
            .plus(Bytes::product(&[usize::from(sparse_targets > 0), rows, size_of::<usize>()]))
            .plus(listed.times(rows))
            .plus(Bytes::product(&[usize::from(bias), vocabulary, real_bytes]))
            .plus(Bytes::product(&[class_weights, real_bytes]))
            .plus(Bytes::product(&[usize::from(soft_targets), vocabulary, 8]))
            .plus(self.record())
            .plus(Bytes(Some(BOOKKEEPING)))
    }

    /// Whether something is recorded and left out.
    fn filters(&self) -> bool {
        self.loss.filter.is_some() && self.shapes.hidden > 0
    }

    /// What the forward records for a filter.
    fn record(&self) -> Bytes {
        let Shapes { rows, vocabulary, .. } = *self.shapes;
        let [decided, _] = ActiveFilter::bytes(rows, vocabulary);
        let [rows, tiles, tile] = Record::bytes(rows, vocabulary, self.tile_columns());
        Bytes::product(&[usize::from(self.filters()), rows, tiles, tile])
            .plus(Bytes::product(&[usize::from(self.filters()), decided]))
            // What each row loses.
            .plus(Bytes::product(&[usize::from(self.filters()), rows, 16]))
    }

    /// What a task needs to decide about a row.
    fn deciding(&self) -> Bytes {
        let [_, task] = ActiveFilter::bytes(self.shapes.rows, self.shapes.vocabulary);
        Bytes::product(&[usize::from(self.filters()), task])
    }

    /// Bytes of a number in a panel.
    fn stored(&self) -> usize {
        if self.loss.narrow(self.shapes) { 2 } else { self.shapes.real_bytes }
    }

    /// How many products along k one step takes; where it is a pair, rows are kept in pairs too.
    fn depth(&self) -> usize {
        if self.loss.narrow(self.shapes) { 2 } else { 1 }
    }

    /// Whether a strip keeps its logits in 16 bits: where G is of 16 bits, and of all entries but the target's
    /// is no more than a probability. What soft targets, candidates and a second head ask of theirs is more, and
    /// a floor compares them.
    fn narrow_strip(&self) -> bool {
        let Shapes { sparse_targets, soft_targets, candidates, floors, .. } = *self.shapes;
        let beside = soft_targets || floors || self.shapes.second_head.is_some();
        let whole_tiles = TILE_COLUMNS.is_multiple_of(self.tile_columns())
            || self.shapes.vocabulary <= self.tile_columns();
        sparse_targets == 0
            && candidates == 0
            && !beside
            && whole_tiles
            && self.loss.narrow(self.shapes)
    }

    /// A matrix in panels.
    fn panels(&self, rows: usize, columns: usize) -> Bytes {
        match self.shapes.hidden {
            0 => Bytes(Some(0)),
            _ => {
                let width = columns.div_ceil(PANEL).max(1);
                Bytes::product(&[padded_rows(rows), width, PANEL, self.stored()])
            }
        }
    }

    /// Rows of the classifier in steps along k.
    fn steps(&self, columns: usize) -> Bytes {
        self.steps_of(self.shapes.hidden, columns)
    }

    /// The same of a classifier of another width.
    fn steps_of(&self, width: usize, columns: usize) -> Bytes {
        let depth = in_units(width, 2);
        Bytes::product(&[in_units(columns, PANEL), depth, self.stored()])
    }

    /// Few rows of hidden states in steps, with what is converted before, and for each task the tile
    /// that is transposed.
    fn few(&self, rows: usize, columns: usize) -> [Bytes; 2] {
        let rows = rows.min(FEW);
        let lines = self.lines(PANEL);
        let scratch = few_scratch(rows.min(TILE_GROUPS * GROUP), columns);
        [self.steps(rows).plus(lines), Bytes::product(&[scratch, self.shapes.real_bytes])]
    }

    /// Rows of the classifier that must be converted before they are packed.
    fn lines(&self, columns: usize) -> Bytes {
        Bytes::product(&[PANEL.min(columns), self.shapes.hidden, self.stored()])
    }

    /// What a second head adds to the rows that a pass takes at once, for tiles and for blocks of so many
    /// columns: whatever runs, and for each task.
    fn second(&self, rows_at_once: usize, columns: usize, spans: usize) -> [Bytes; 2] {
        let Shapes { rows, vocabulary, real_bytes, second_head, .. } = *self.shapes;
        let Some(width) = second_head else { return [Bytes(Some(0)); 2] };
        let wide =
            Bytes::product(&[padded_rows(rows_at_once), in_units(width, PANEL), self.stored()]);
        let few = self.steps_of(width, rows_at_once.min(FEW));
        let lines = Bytes::product(&[PANEL, width, self.stored()]);
        let tile_columns = columns.max(TILE_COLUMNS);
        let diverges = usize::from(self.loss.needs.diverges());
        let of_row = Bytes(Some(2 * size_of::<SecondRow>() + PAIR_BYTES)).plus(self.state());
        let at_once = self
            .state()
            .plus(Bytes(Some(size_of::<DivergenceSums>())))
            .times(spans)
            .plus(Bytes(Some(PAIR_BYTES)));
        let fixed = wide
            .plus(few)
            .plus(lines)
            .plus(Bytes::product(&[rows, size_of::<Row>()]))
            .plus(Bytes::product(&[vocabulary, real_bytes]))
            .plus(of_row.times(rows).times(diverges))
            .plus(at_once.times(rows_at_once))
            .plus(Bytes::product(&[spans, TASK]));
        let per_worker = Bytes::product(&[TILE_GROUPS * GROUP, tile_columns, real_bytes])
            .plus(self.steps_of(width, tile_columns))
            .plus(lines.times(2))
            .plus(Bytes::product(&[2 * TILE_COLUMNS, real_bytes]));
        [fixed, per_worker]
    }

    /// Operations of a second head and of the sweep for its divergences, of a forward or of what the backward
    /// adds.
    fn second_operations(&self, strategy: Option<Strategy>) -> u128 {
        let Shapes { rows, hidden, vocabulary, second_head, .. } = *self.shapes;
        let Some(width) = second_head else { return 0 };
        let times = |factor: u128, width: usize| {
            let sizes = [rows, width, vocabulary];
            sizes.iter().fold(factor, |product, &size| product.saturating_mul(size as u128))
        };
        match (strategy, self.loss.needs.diverges()) {
            (None, true) => times(2, hidden).saturating_add(times(4, width)),
            _ => times(2, width),
        }
    }

    /// The columns of a tile: fewer where rows are long, so that what is packed for it stays near.
    fn tile_columns(&self) -> usize {
        let widest = self.shapes.hidden.max(self.shapes.second_head.unwrap_or(0));
        let most = (4 << 20) / self.steps_of(widest, PANEL).0.unwrap_or(usize::MAX).max(1);
        let vocabulary = self.shapes.vocabulary.div_ceil(PANEL).max(1);
        (TILE_COLUMNS / PANEL).min(most).min(vocabulary).max(1) * PANEL
    }

    /// A tile of logits with its companions, for one task.
    fn tile_per_worker(&self, columns: usize) -> Bytes {
        let Shapes { hidden, real_bytes, sparse_targets, .. } = *self.shapes;
        let companions = usize::from(self.loss.needs.companion);
        let sparse_targets = sparse_targets.max(self.shapes.candidates);
        let picks = sparse_targets > 0 || self.loss.statistics.rank;
        // A logit and a class, in vectors that grow by doubling, and a row of either matrix.
        let pick = Bytes(Some(2 * real_bytes + 40)).times(sparse_targets.saturating_add(2));
        let pick = pick.plus(Bytes::product(&[2, hidden.saturating_add(64), self.stored()]));
        Bytes::product(&[TILE_GROUPS * GROUP, columns, real_bytes])
            .plus(pick.times(usize::from(picks)))
            .plus(Bytes::product(&[2 * TILE_COLUMNS, real_bytes]))
            .plus(Bytes::product(&[companions * TILE_COLUMNS, real_bytes]))
            .plus(Bytes(Some(SLOT_BOOKKEEPING)))
    }

    /// The plan with as many workers as the budget holds.
    fn with_workers(
        &self,
        strategy: Option<Strategy>,
        factor: u128,
        need: Need,
        rows_at_once: usize,
    ) -> Plan {
        let Shapes { rows, hidden, vocabulary, .. } = *self.shapes;
        let operations = [rows, hidden, vocabulary]
            .iter()
            .fold(factor, |product, &factor| product.saturating_mul(factor as u128))
            .saturating_add(self.second_operations(strategy));
        let beside = (rows as u128).saturating_mul(vocabulary as u128).saturating_mul(OF_A_LOGIT);
        let small = operations.saturating_add(beside) < least_for_threads(strategy);
        let free = self.loss.memory_budget.saturating_sub(need.fixed);
        let threads = if small { 1 } else { self.threads };
        let workers = threads.min(free / need.per_worker.max(1)).max(1);
        let workspace_bytes = need.fixed + workers * need.per_worker;
        let (tile_columns, block_columns) = (self.tile_columns(), self.tile_columns());
        Plan {
            workspace_bytes,
            strategy,
            rows_at_once,
            operations,
            workers,
            tile_columns,
            narrow_strip: strategy == Some(Strategy::Strip) && self.narrow_strip(),
            block_columns,
            forward: (rows_at_once, workers),
        }
    }

    fn too_small(&self, strategy: Option<Strategy>, smallest: usize) -> Error {
        let strategy = match strategy {
            None => "forward",
            Some(Strategy::Recompute) => "recompute backward",
            Some(Strategy::Strip) => "strip backward",
        };
        Error::MemoryBudget { strategy, budget: self.loss.memory_budget, smallest }
    }

    /// The first of these sizes whose need the budget holds.
    fn fitting<T: Copy>(
        &self,
        sizes: impl Iterator<Item = T>,
        need: impl Fn(T) -> Result<Need>,
    ) -> Result<(T, Need)> {
        let mut least = Err(Error::TooLarge { what: "the workspace of these shapes".into() });
        for size in sizes {
            match need(size) {
                Ok(need) if need.least() <= self.loss.memory_budget => return Ok((size, need)),
                other => least = other,
            }
        }
        Err(self.too_small(None, least?.least()))
    }

    fn forward_need(&self, wave: usize) -> Result<Need> {
        let Shapes { hidden, vocabulary, .. } = *self.shapes;
        let tile = self.tile_columns();
        let spans = spans_count(vocabulary, tile).max(1);
        let [few, scratch] = self.few(wave, tile);
        let fixed = self
            .common()
            .plus(self.panels(wave, hidden))
            .plus(few)
            .plus(self.state().times(wave).times(spans))
            .plus(Bytes::product(&[spans, TASK]));
        let per_worker =
            self.tile_per_worker(tile).plus(self.steps(tile)).plus(self.lines(tile)).plus(scratch);
        let [second, second_per_worker] = self.second(wave, tile, spans);
        let per_worker = per_worker.plus(self.deciding());
        let (fixed, per_worker) = (fixed.plus(second), per_worker.plus(second_per_worker));
        Need::new(fixed, per_worker)
    }

    fn forward(&self) -> Result<Plan> {
        let rows = self.shapes.rows.clamp(1, WAVE);
        let waves = halves(rows, GROUP).chain([1]);
        let (wave, need) = self.fitting(waves, |wave| self.forward_need(wave))?;
        Ok(self.with_workers(None, 2, need, wave))
    }

    fn truncation_need(&self, rows: usize) -> Result<Need> {
        let Shapes { rows: all, hidden, vocabulary, real_bytes, .. } = *self.shapes;
        let tile = self.tile_columns();
        let fixed = self
            .common()
            .plus(self.panels(rows, hidden))
            .plus(Bytes::product(&[rows, vocabulary, real_bytes]))
            .plus(Bytes::product(&[rows + spans_count(vocabulary, tile), TASK]))
            .plus(Bytes::product(&[all, size_of::<Floor>() + size_of::<Option<(Floor, f64)>>()]));
        let per_worker = self.tile_per_worker(tile).plus(self.steps(tile)).plus(self.lines(tile));
        Need::new(fixed, per_worker.plus(Bytes::product(&[2, vocabulary, real_bytes])))
    }

    fn truncation(&self) -> Result<Plan> {
        let rows = self.shapes.rows.clamp(1, WAVE);
        let sizes = halves(rows, GROUP).chain([1]);
        let (rows, need) = self.fitting(sizes, |rows| self.truncation_need(rows))?;
        Ok(self.with_workers(None, 2, need, rows))
    }

    /// The coefficients of each row, the accumulators of rounded gradients, the lists of views.
    fn backward_common(&self) -> Bytes {
        let Shapes { rows, hidden, real_bytes, hidden_gradient_rounded, .. } = *self.shapes;
        let accumulated = usize::from(hidden_gradient_rounded);
        let panels = hidden.div_ceil(PANEL);
        self.common()
            .plus(Bytes::product(&[rows, ROW_BYTES]))
            .plus(Bytes::product(&[accumulated, rows, hidden, real_bytes]))
            .plus(Bytes::product(&[4, panels + 4, TASK]))
    }

    fn recompute_need(&self, (chunk, block): (usize, usize)) -> Result<Need> {
        let Shapes { rows, hidden, real_bytes, bias, .. } = *self.shapes;
        let rounded = usize::from(self.shapes.classifier_gradient_rounded);
        let tasks = chunk.div_ceil(GROUPS * GROUP);
        let fixed = self
            .backward_common()
            .plus(self.panels(chunk, hidden).times(self.depth()))
            .plus(self.steps(block))
            .plus(self.panels(block, hidden))
            .plus(Bytes::product(&[padded_rows(chunk), block, real_bytes]))
            .plus(Bytes::product(&[rounded, block, hidden, real_bytes]))
            .plus(Bytes::product(&[tasks + 1, block, 8]).times(usize::from(bias).max(1)))
            .plus(Bytes::product(&[tasks, block.div_ceil(PANEL), 2 * VIEW]))
            .plus(Bytes::product(&[tasks, block.div_ceil(TILE_COLUMNS) + 1, TASK]));
        let (filters, panels) = (usize::from(self.filters()), block.div_ceil(PANEL));
        let [a, b] = Lists::bytes(chunk, panels);
        let filtered = self.loss.filtered;
        let masked = !(filtered.hidden && filtered.classifier && filtered.bias);
        let masked = filters * usize::from(masked);
        let tail = filters * usize::from(self.loss.tail_correction);
        let smoothed = filters * usize::from(self.loss.needs.weighs());
        let fixed = fixed
            .plus(Bytes::product(&[filters, a, b]))
            .plus(Bytes::product(&[filters, padded_rows(0), block, real_bytes]))
            .plus(Bytes::product(&[masked, padded_rows(chunk), block, real_bytes]))
            .plus(Bytes::product(&[tail, padded_rows(chunk), PANEL, real_bytes]))
            .plus(Bytes::product(&[tail, tasks * GROUPS + 1, PANEL, 8]))
            .plus(Bytes::product(&[tail, tasks * GROUPS + 1, TASK]))
            .plus(Bytes::product(&[smoothed, hidden, 32]))
            .plus(Bytes::product(&[smoothed, rows, 8]));
        let line = Bytes::product(&[3 * STRIP_COLUMNS, self.stored()]);
        // The means of a tail, and what is packed of one panel.
        let steps = Bytes::product(&[filters]).times(self.steps(PANEL).0.unwrap_or(usize::MAX));
        let line = line.plus(steps);
        let line = line.plus(Bytes::product(&[tail, 4 * padded_rows(PANEL), PANEL, real_bytes]));
        let [second, second_per_worker] = self.second(chunk, TILE_COLUMNS, 0);
        let steps = self.shapes.second_head.map_or(Bytes(Some(0)), |d| self.steps_of(d, block));
        let line = line.plus(self.deciding());
        let (fixed, line) = (fixed.plus(second).plus(steps), line.plus(second_per_worker));
        Need::new(fixed, self.tile_per_worker(TILE_COLUMNS).plus(self.lines(block)).plus(line))
    }

    fn recompute(&self) -> Result<Plan> {
        let Shapes { rows, vocabulary, .. } = *self.shapes;
        let rows = rows.clamp(1, CHUNK_ROWS);
        let block = in_units(vocabulary, PANEL).clamp(PANEL, BLOCK);
        // The block is halved while it is wide, else the rows.
        let sizes = std::iter::successors(Some((rows, block)), |&(rows, block)| {
            match (rows > 4 * block, rows > GROUP, block > PANEL) {
                (true, true, _) | (false, true, false) => Some((halved(rows, GROUP), block)),
                (_, _, true) => Some((rows, halved(block, PANEL))),
                _ => None,
            }
        });
        let sizes = sizes.chain([(1, PANEL)]);
        let (size, need) = self
            .fitting(sizes, |size| self.recompute_need(size))
            .map_err(|error| self.named(error, Strategy::Recompute))?;
        let plan = self.with_workers(Some(Strategy::Recompute), 6, need, size.0);
        Ok(Plan { block_columns: size.1, ..plan })
    }

    /// The error with the strategy that it was about.
    fn named(&self, error: Error, strategy: Strategy) -> Error {
        match error {
            Error::MemoryBudget { smallest, .. } => self.too_small(Some(strategy), smallest),
            other => other,
        }
    }

    /// Both passes one after the other: what the forward leaves is counted in the backward.
    fn both(&self) -> Result<Plan> {
        let least = self.forward_need(1)?.least().max(self.recompute_need((1, PANEL))?.least());
        if least > self.loss.memory_budget {
            return Err(self.too_small(Some(Strategy::Recompute), least));
        }
        let (forward, backward) = (self.forward()?, self.recompute()?);
        let workspace_bytes = backward.workspace_bytes.max(forward.workspace_bytes);
        let operations = forward.operations.saturating_add(backward.operations);
        let forward = (forward.rows_at_once, forward.workers);
        Ok(Plan { workspace_bytes, operations, forward, ..backward })
    }

    fn strip_need(&self, strip: usize) -> Result<Need> {
        let Shapes { rows, hidden, vocabulary, real_bytes, .. } = *self.shapes;
        let tile = self.tile_columns();
        let spans = spans_count(vocabulary, tile).max(1);
        let rounded = usize::from(self.shapes.classifier_gradient_rounded);
        let panels = vocabulary.div_ceil(PANEL);
        let height = padded_rows(strip);
        let [few, scratch] = self.few(strip, tile);
        let narrow = self.narrow_strip();
        let kept_bytes = if narrow { size_of::<u16>() } else { real_bytes };
        let places = vocabulary.div_ceil(tile).max(1);
        let places = Bytes::product(&[usize::from(narrow), places, height, size_of::<Place>()]);
        let fixed = self
            .backward_common()
            .plus(Bytes::product(&[height, panels, PANEL, kept_bytes]))
            .plus(places)
            .plus(self.panels(strip, hidden).times(self.depth()))
            .plus(few)
            .plus(self.state().times(strip).times(spans))
            // Rows without an upstream are put last, and back again.
            .plus(self.state().plus(Bytes(Some(8 + size_of::<Row>()))).times(rows))
            .plus(Bytes::product(&[rounded, vocabulary, hidden, real_bytes]))
            .plus(Bytes::product(&[vocabulary, 8]))
            .plus(Bytes::product(&[spans, TASK]))
            .plus(Bytes::product(&[2, panels + 4, TASK]));
        let forward = self.steps(tile).plus(self.lines(tile)).0.unwrap_or(usize::MAX);
        let classes = padded_rows(strip_classes(self.depth()).min(vocabulary));
        let width = STRIP_COLUMNS.min(in_units(hidden, PANEL));
        let packed = Bytes::product(&[classes, width, self.stored()]);
        // bf16 is written over the logits that it comes from: they are copied before.
        let copied = usize::from(self.stored() < real_bytes && !narrow);
        let copied = Bytes::product(&[copied, height, TILE_COLUMNS, real_bytes]);
        // Where G is kept once, a task makes the pairs of its classes.
        let pairs = Bytes::product(&[usize::from(narrow), height, TILE_COLUMNS, self.stored()]);
        let backward = packed.0.unwrap_or(usize::MAX).max(pairs.0.unwrap_or(usize::MAX));
        let per_worker = self
            .tile_per_worker(TILE_COLUMNS)
            .plus(scratch)
            .plus(Bytes(Some(forward.max(backward))))
            .plus(Bytes::product(&[3 * STRIP_COLUMNS, self.stored()]))
            .plus(copied);
        let [second, second_per_worker] = self.second(strip, tile, spans);
        let kept = usize::from(self.shapes.second_head.is_some());
        let kept = Bytes::product(&[kept, height, panels, PANEL, real_bytes]);
        let (fixed, per_worker) =
            (fixed.plus(second).plus(kept), per_worker.plus(second_per_worker));
        Need::new(fixed, per_worker)
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
        Ok(self.with_workers(Some(Strategy::Strip), 6, self.strip_need(strip)?, strip))
    }
}

/// Half of a size, in whole `units`.
fn halved(size: usize, unit: usize) -> usize {
    (size / 2).next_multiple_of(unit).min(size - 1)
}

/// A size, its half and so on, down to one of `units`.
fn halves(size: usize, unit: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(size), move |&size| (size > unit).then(|| halved(size, unit)))
}

/// What is computed of a logit beside its products, in operations of these.
const OF_A_LOGIT: u128 = 128;

/// Operations below which waking a second thread costs more than it gives. On Zen 5 (f32, AVX-512) two threads had
/// a fourth of the speed of one in the forward of 4 × 32 × 512 (4·10⁵ of these operations) and as much as one in that of 8 × 64 ×
/// 1024 (2·10⁶); with gradients half of it in 8 × 64 × 1024 (4·10⁶) and six tenths in 16 × 64 × 2048 (1.7·10⁷).
fn least_for_threads(strategy: Option<Strategy>) -> u128 {
    match strategy {
        None => 2_000_000,
        Some(_) => 25_000_000,
    }
}

/// Lists, locks and the pool's own bookkeeping: more than that takes, by the counts of `tests/memory`.
const BOOKKEEPING: usize = 64 << 10;
/// The same for a task that runs.
const SLOT_BOOKKEEPING: usize = 4 << 10;
/// A task in a list.
const TASK: usize = 256;
/// A view of a row in a list.
const VIEW: usize = 64;
