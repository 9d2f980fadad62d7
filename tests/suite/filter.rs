//! A filter leaves out what it may, and nothing else.

use half::bf16;
use ndarray::{Array1, Array2, Axis, concatenate, s};
use surprisal::{
    Backward, Element, Error, Filter, Gradients, Inputs, Isa, LinearCrossEntropy,
    LinearCrossEntropyBuilder, Pass, Reduction, Shapes, Shard, Targets, Upstream,
};
use testing::route::{Bounds, Number, Precision, Route, cast_vector, error_of, within};
use testing::{Answer, Case, Stream, Wanted, cast, inputs_with};

/// Classes that are kept or dropped together.
const SEGMENT: usize = 32;

/// 0, `Filter::Auto` of f32, two between, and all that is no target.
const THRESHOLDS: [f64; 5] = [0.0, 1.0 / 268_435_456.0, 1.0 / 1_048_576.0, 1.0 / 4096.0, 1.0];

/// A segment may be kept where its largest p is at most this factor below ε: gaps are recorded in
/// steps of √2, rounded to the safe side.
const STEP: f64 = 1.5;

/// What rounding Σ p of a segment to bf16 makes of it (2⁻⁸ at most), with its sum in f32.
const MASS: f64 = 0.01;

/// The type of hidden states and classifier.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Type {
    F64,
    F32,
    Bf16,
}

const TYPES: [Type; 3] = [Type::F64, Type::F32, Type::Bf16];

/// The calls that recompute.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Door {
    Both,
    Vjp,
}

/// A loss whose softmax has a tail, with its targets as lists where they are sparse.
#[derive(Clone)]
struct Tail {
    case: Case,
    sparse: Option<(Array2<u32>, Array2<f64>)>,
}

/// Two candidates a row stand out of classes whose logits fall by 26 nats from the first to the
/// last; a fifth of the rows is ignored, a fifth has a target among the rare.
fn tail(seed: u64, rows: usize, width: usize, classes: usize) -> Tail {
    let mut stream = Stream(seed);
    let mut classifier = stream.matrix(classes, width, 1.0);
    for (v, mut row) in classifier.outer_iter_mut().enumerate() {
        row[0] = -26.0 * v as f64 / classes as f64;
    }
    let mut hidden = Array2::zeros((rows, width));
    let mut targets = Vec::with_capacity(rows);
    for (i, mut row) in hidden.outer_iter_mut().enumerate() {
        let candidates = stream.classes(2, classes);
        for (c, gain) in candidates.iter().zip([14.0, 11.0]) {
            let class = classifier.slice(s![*c as usize, 1..]);
            let lift = gain - classifier[[*c as usize, 0]] * 0.5;
            let own = &class * (lift / class.dot(&class).max(1e-3));
            let mut row = row.slice_mut(s![1..]);
            row += &own;
        }
        row[0] = 1.0;
        targets.push(match i % 5 {
            1 => -100,
            2 => (stream.bits() % classes as u64) as i64,
            _ => candidates[0],
        });
    }
    Tail { case: Case::new(hidden, classifier, Wanted::Hard(targets)), sparse: None }
}

impl Type {
    fn unit(self) -> f64 {
        2.0_f64.powi(if self == Type::F64 { -53 } else { -24 })
    }
}

impl Tail {
    fn builder(&self, isa: Isa, filter: Option<Filter>) -> LinearCrossEntropyBuilder {
        let builder = self.case.builder().isa(isa).backward(Backward::Recompute);
        let builder = builder.entropy(self.case.d_entropy.is_some());
        match filter {
            Some(filter) => builder.filter(filter),
            None => builder,
        }
    }

    /// With numbers that the types hold exactly.
    fn rounded(&self, kind: Type) -> Self {
        let precision = if kind == Type::F64 { Precision::Double } else { Precision::Single };
        let [isa, ..] = Isa::available()[..] else { panic!("no instruction set") };
        let route = Route { precision, door: testing::route::Door::Vjp, isa, memory_budget: 0 };
        let mut case = self.case.rounded(route);
        if kind == Type::Bf16 {
            let narrow = |m: &Array2<f64>| m.mapv(|x| bf16::from_f64(x).to_f64());
            (case.hidden, case.classifier) = (narrow(&case.hidden), narrow(&case.classifier));
        }
        Self { case, sparse: self.sparse.clone() }
    }

    /// Three classes a row, one of them twice and one with no weight.
    fn with_sparse_targets(mut self, seed: u64) -> Self {
        let mut stream = Stream(seed);
        let Wanted::Hard(targets) = &self.case.targets else { panic!("hard targets") };
        let classes = self.case.classifier.dim().0;
        let list = Array2::from_shape_fn((targets.len(), 4), |(i, j)| match j {
            0 | 3 => targets[i].max(0) as u32,
            _ => (stream.bits() % classes as u64) as u32,
        });
        // Powers of two: what is summed is exact in every type.
        let weights = Array2::from_shape_fn(list.dim(), |(i, j)| match j {
            1 => 0.25,
            2 => 0.0,
            _ => 0.5_f64.powi(1 + i as i32 % 3),
        });
        let mut dense = Array2::zeros((targets.len(), classes));
        for ((i, j), &class) in list.indexed_iter() {
            dense[[i, class as usize]] += weights[[i, j]];
        }
        self.case.targets = Wanted::Soft(dense);
        self.sparse = Some((list, weights));
        self
    }

    fn targets(&self) -> Targets<'_> {
        match (&self.sparse, &self.case.targets) {
            (Some((classes, weights)), _) => Targets::sparse(classes, weights),
            (None, Wanted::Hard(classes)) => Targets::from(classes),
            (None, Wanted::Soft(weights)) => Targets::soft(weights),
        }
    }

    fn kept(&self, i: usize) -> bool {
        match &self.case.targets {
            Wanted::Hard(y) => Some(y[i]) != self.case.ignore_index,
            Wanted::Soft(_) => true,
        }
    }
}

/// What came out, in f64.
#[derive(Clone, Debug)]
struct Found {
    d_hidden: Array2<f64>,
    d_classifier: Array2<f64>,
    d_bias: Array1<f64>,
    kept: Option<f64>,
    mass: Option<(f64, f64)>,
}

impl Found {
    fn bits(&self) -> Vec<u64> {
        let all = self.d_hidden.iter().chain(&self.d_classifier).chain(&self.d_bias);
        all.map(|x| x.to_bits()).collect()
    }
}

fn run(tail: &Tail, kind: Type, door: Door, builder: &LinearCrossEntropyBuilder) -> Found {
    match kind {
        Type::F64 => run_in::<f64, f64>(tail, door, builder, None),
        Type::F32 => run_in::<f32, f32>(tail, door, builder, None),
        Type::Bf16 => run_in::<bf16, f32>(tail, door, builder, None),
    }
}

/// The gradients stand at NaN before, or at what they are added to.
fn run_in<T: Element<Real = R>, R: Number>(
    tail: &Tail,
    door: Door,
    builder: &LinearCrossEntropyBuilder,
    added_to: Option<f64>,
) -> Found {
    let case = &tail.case;
    let (hidden, classifier) = (cast::<T>(&case.hidden), cast::<T>(&case.classifier));
    let inputs: Inputs<'_> = inputs_with(case, &hidden, &classifier, tail.targets());
    let vector = |v: &Option<Array1<f64>>| v.as_ref().map(cast_vector::<R>);
    let d_loss = cast_vector::<R>(&case.d_loss);
    let (d_lse, d_entropy) = (vector(&case.d_log_sum_exp), vector(&case.d_entropy));
    let mut upstream = match case.reduction {
        Reduction::None => Upstream::rows(d_loss.view()),
        _ => Upstream::default(),
    };
    if let Some(d_lse) = &d_lse {
        upstream = upstream.log_sum_exp(d_lse.view());
    }
    if let Some(d_entropy) = &d_entropy {
        upstream = upstream.entropy(d_entropy.view());
    }
    let before = R::from_f64(added_to.unwrap_or(f64::NAN));
    let mut d_hidden = Array2::from_elem(hidden.dim(), before);
    let mut d_classifier = Array2::from_elem(classifier.dim(), before);
    let mut d_bias = Array1::from_elem(classifier.dim().0, before);
    let gradients = Gradients::new();
    let gradients = match added_to {
        None => gradients
            .hidden(R::matrix_mut(d_hidden.view_mut()))
            .classifier(R::matrix_mut(d_classifier.view_mut()))
            .bias(R::vector_mut(d_bias.view_mut())),
        Some(_) => gradients
            .accumulate_hidden(R::matrix_mut(d_hidden.view_mut()))
            .accumulate_classifier(R::matrix_mut(d_classifier.view_mut()))
            .accumulate_bias(R::vector_mut(d_bias.view_mut())),
    };
    let loss = builder.clone().build().expect("options within their domains");
    let forward = match door {
        Door::Both => loss.loss_and_gradients(&inputs, &upstream, gradients),
        Door::Vjp => loss.forward(&inputs).and_then(|forward| {
            loss.vjp(&inputs, &forward, &upstream, gradients)?;
            Ok(forward)
        }),
    };
    let forward = forward.unwrap_or_else(|error| panic!("{error}"));
    Found {
        d_hidden: d_hidden.mapv(R::to_f64),
        d_classifier: d_classifier.mapv(R::to_f64),
        d_bias: d_bias.mapv(R::to_f64),
        kept: forward.segments_kept(),
        mass: mass_of(&forward),
    }
}

fn mass_of(forward: &surprisal::Forward) -> Option<(f64, f64)> {
    forward.dropped_mass().map(|mass| (mass.largest, mass.mean))
}

/// The gradients without a filter, and of each entry of G what a filter may take from it.
struct Exact {
    truth: Answer,
    hidden: Array2<f64>,
    classifier: Array2<f64>,
    d_hidden: Array2<f64>,
    d_classifier: Array2<f64>,
    d_bias: Array1<f64>,
    /// The terms of G that are proportional to p.
    proportional: Array2<f64>,
    /// p of each row's segments: the largest and the sum.
    largest: Array2<f64>,
    mass: Array2<f64>,
    /// Whether a segment holds a target of the row.
    holds: Array2<bool>,
    /// By how much p may be off, relatively.
    relative: Array1<f64>,
    rows: Vec<usize>,
    /// The coefficient of the cross-entropy, k_i.
    coefficient: Array1<f64>,
}

impl Exact {
    fn of(tail: &Tail, kind: Type, isa: Isa) -> Self {
        let case = &tail.case;
        let truth = case.run();
        let (u, (logits, _)) = (kind.unit(), case.logits());
        let bounds = Bounds::of(case, &truth, u);
        let (rows, classes) = logits.dim();
        let segments = classes.div_ceil(SEGMENT);
        let kept: Vec<usize> = (0..rows).filter(|&i| tail.kept(i)).collect();
        let mut exact = Self {
            hidden: case.hidden.clone(),
            classifier: case.classifier.clone(),
            d_hidden: bounds.d_hidden,
            d_classifier: bounds.d_classifier,
            d_bias: bounds.d_bias,
            proportional: case.proportional(&truth),
            largest: Array2::zeros((rows, segments)),
            mass: Array2::zeros((rows, segments)),
            holds: Array2::from_elem((rows, segments), false),
            // p is off by twice its logit and the few u of exp, ln and a sum, as in `Bounds`.
            relative: bounds.logit.mapv(|logit| 2.0 * (2.0 * logit + 272.0 * u)),
            coefficient: case.coefficients(),
            rows: kept,
            truth,
        };
        for &i in &exact.rows {
            for v in 0..classes {
                let p = (logits[[i, v]] - exact.truth.log_sum_exp[i]).exp();
                let largest = &mut exact.largest[[i, v / SEGMENT]];
                *largest = largest.max(p);
                exact.mass[[i, v / SEGMENT]] += p;
            }
            match (&tail.sparse, &case.targets) {
                (Some((lists, _)), _) => {
                    for &class in lists.row(i) {
                        exact.holds[[i, class as usize / SEGMENT]] = true;
                    }
                }
                (None, Wanted::Hard(y)) => exact.holds[[i, y[i] as usize / SEGMENT]] = true,
                (None, Wanted::Soft(_)) => exact.holds.row_mut(i).fill(true),
            }
        }
        if kind == Type::Bf16 && testing::multiplies_bf16(isa) {
            // G is rounded to bf16 before it is multiplied, with or without its smoothing.
            let g = exact.truth.d_products.mapv(f64::abs);
            let g = (&g + &exact.proportional.mapv(f64::abs)) * 2.0_f64.powi(-8);
            exact.d_hidden += &g.dot(&case.classifier.mapv(f64::abs));
            exact.d_classifier += &g.t().dot(&case.hidden.mapv(f64::abs));
        }
        exact
    }

    /// Which segments have every p below a threshold and hold no target: with a factor above 1 all
    /// that rounding may have taken for such, below 1 none but such.
    fn droppable(&self, threshold: f64, above: bool) -> Array2<bool> {
        let mut droppable = Array2::from_elem(self.holds.dim(), false);
        for &i in &self.rows {
            let factor = 1.0 + if above { self.relative[i] } else { -self.relative[i] };
            for segment in 0..self.holds.dim().1 {
                let small = self.largest[[i, segment]] < threshold * factor;
                droppable[[i, segment]] = small && !self.holds[[i, segment]];
            }
        }
        droppable
    }

    /// What these segments add to the entries of G.
    fn entries(&self, segments: &Array2<bool>) -> Array2<f64> {
        Array2::from_shape_fn(self.proportional.dim(), |(i, v)| {
            if segments[[i, v / SEGMENT]] { self.proportional[[i, v]] } else { 0.0 }
        })
    }

    /// Nothing is missing but what may be, of the gradients that are filtered.
    #[track_caller]
    fn sound(&self, what: &dyn std::fmt::Debug, threshold: f64, on: [bool; 3], found: &Found) {
        let may = self.entries(&self.droppable(threshold, true)).mapv(f64::abs);
        let take = |on: bool, bound: &Array2<f64>, missing: Array2<f64>| {
            if on { bound + &missing } else { bound.clone() }
        };
        let (hidden, classifier) = (self.hidden.mapv(f64::abs), self.classifier.mapv(f64::abs));
        let bound = take(on[0], &self.d_hidden, may.dot(&classifier));
        within("dE", &what, &found.d_hidden, &self.truth.d_hidden, &bound);
        let bound = take(on[1], &self.d_classifier, may.t().dot(&hidden));
        within("dC", &what, &found.d_classifier, &self.truth.d_classifier, &bound);
        let missing = may.sum_axis(Axis(0));
        let bound = if on[2] { &self.d_bias + &missing } else { self.d_bias.clone() };
        within("db", &what, &found.d_bias, &self.truth.d_bias, &bound);
    }

    /// What is reported of it lies between what is certainly and what is possibly dropped.
    #[track_caller]
    fn reported(&self, what: &dyn std::fmt::Debug, threshold: f64, found: &Found) {
        let (least, most) =
            (self.droppable(threshold / STEP, false), self.droppable(threshold, true));
        let all = (self.rows.len() * self.holds.dim().1) as f64;
        let share = |dropped: &Array2<bool>| {
            1.0 - dropped.iter().filter(|&&dropped| dropped).count() as f64 / all
        };
        let kept = found.kept.expect("a filter");
        let (low, high) = (share(&most) - 1e-12, share(&least) + 1e-12);
        assert!((low..=high).contains(&kept), "{kept} kept, {low} to {high} expected, {what:?}");
        let masses = |dropped: &Array2<bool>, sign: f64| {
            let of = |&i: &usize| {
                let row = self.mass.row(i);
                let sum: f64 =
                    row.iter().zip(dropped.row(i)).map(|(&p, &d)| if d { p } else { 0.0 }).sum();
                sum * (1.0 + sign * (MASS + self.relative[i]))
            };
            let masses: Vec<f64> = self.rows.iter().map(of).collect();
            let mean = masses.iter().sum::<f64>() / masses.len().max(1) as f64;
            (masses.into_iter().fold(0.0, f64::max), mean)
        };
        let (least, most) = (masses(&least, -1.0), masses(&most, 1.0));
        let (largest, mean) = found.mass.expect("a filter");
        for (name, low, found, high) in
            [("largest", least.0, largest, most.0), ("mean", least.1, mean, most.1)]
        {
            let good = (low..=high).contains(&found);
            assert!(good, "{name} mass {found:e}, {low:e} to {high:e} expected, {what:?}");
        }
    }

    /// Of a plain loss: ‖ΔdE_i‖ ≤ |A_i| q_i max ‖s C_v‖, also with the largest q that is reported.
    #[track_caller]
    fn bounded(&self, what: &dyn std::fmt::Debug, threshold: f64, scale: f64, found: &Found) {
        let norm = |row: ndarray::ArrayView1<'_, f64>| row.dot(&row).sqrt();
        let longest = self.classifier.outer_iter().map(norm).fold(0.0, f64::max) * scale.abs();
        let most = self.droppable(threshold, true);
        let largest = found.mass.expect("a filter").0 * (1.0 + MASS);
        for &i in &self.rows {
            let masses = self.mass.row(i);
            let q: f64 =
                masses.iter().zip(most.row(i)).map(|(&p, &d)| if d { p } else { 0.0 }).sum();
            let error = &found.d_hidden.row(i) - &self.truth.d_hidden.row(i);
            let rounding = norm(self.d_hidden.row(i));
            for q in [q, largest] {
                let bound = self.coefficient[i].abs() * q * (1.0 + self.relative[i]) * longest;
                let error = norm(error.view());
                assert!(error <= bound + rounding, "row {i} is off by {error:e}, {what:?}");
            }
        }
    }
}

/// What a call finds is sound and reported, the same through both doors.
#[track_caller]
fn check(tail: &Tail, kind: Type, isa: Isa, thresholds: &[f64], budget: usize) -> Vec<Found> {
    let tail = tail.rounded(kind);
    let exact = Exact::of(&tail, kind, isa);
    let mut all = Vec::new();
    for &threshold in thresholds {
        let what = (kind, isa, threshold);
        let builder = tail.builder(isa, Some(Filter::Below(threshold))).memory_budget(budget);
        let found = run(&tail, kind, Door::Both, &builder);
        exact.sound(&what, threshold, [true; 3], &found);
        exact.reported(&what, threshold, &found);
        let again = run(&tail, kind, Door::Vjp, &builder);
        assert!(found.bits() == again.bits(), "forward and vjp differ from one call, {what:?}");
        assert_eq!((found.kept, found.mass), (again.kept, again.mass), "{what:?}");
        all.push(found);
    }
    all
}

const BUDGET: usize = LinearCrossEntropy::DEFAULT_MEMORY_BUDGET;

#[test]
fn plain_losses() {
    for (seed, (rows, width, classes)) in
        // The last two are of whole panels: few rows are multiplied without packing.
        [(41, 24, 1300), (13, 9, 700), (35, 33, 2487), (60, 64, 1300), (37, 96, 2050)]
                .into_iter()
                .enumerate()
    {
        let mut tail = tail(seed as u64, rows, width, classes);
        let mut stream = Stream(100 + seed as u64);
        if seed > 0 {
            tail.case.bias = Some(stream.vector(classes, 0.5));
            tail.case.scale = 0.9;
        }
        if seed == 2 {
            tail.case.reduction = Reduction::None;
            tail.case.d_loss = stream.vector(rows, 1.0);
        }
        for kind in TYPES {
            for isa in Isa::available() {
                let found = check(&tail, kind, isa, &THRESHOLDS, BUDGET);
                let rounded = tail.rounded(kind);
                let exact = Exact::of(&rounded, kind, isa);
                for (found, threshold) in found.iter().zip(THRESHOLDS) {
                    exact.bounded(&(kind, isa), threshold, tail.case.scale, found);
                }
                // A case that has a tail: the steps from nothing to all are seen.
                let kept: Vec<f64> = found.iter().map(|found| found.kept.unwrap()).collect();
                assert_eq!(kept[0], 1.0);
                assert!(kept.windows(2).all(|pair| pair[1] < pair[0] - 0.01), "{kept:?}");
                assert!(kept[3] < 0.4 && kept[4] < 0.1, "{kept:?}");
            }
        }
    }
}

/// Where next to nothing is kept no block is dense: all that is to be dropped is missing.
#[test]
fn what_is_dropped_is_missing() {
    for (kind, width) in [(Type::F64, 17), (Type::F32, 17), (Type::F64, 64), (Type::F32, 64)] {
        let tail = tail(5, 50, width, 1100).rounded(kind);
        for isa in Isa::available() {
            let exact = Exact::of(&tail, kind, isa);
            let builder = tail.builder(isa, Some(Filter::Below(1.0)));
            let found = run(&tail, kind, Door::Both, &builder);
            let certain = exact.droppable(1.0 / STEP, false);
            let mut open = exact.droppable(1.0, true);
            open.zip_mut_with(&certain, |open, &certain| *open &= !certain);
            let (certain, open) = (exact.entries(&certain), exact.entries(&open).mapv(f64::abs));
            let (hidden, classifier) = (&tail.case.hidden, &tail.case.classifier);
            let what = (kind, isa);
            let d_hidden = &exact.truth.d_hidden - &certain.dot(classifier);
            let bound = &exact.d_hidden + &open.dot(&classifier.mapv(f64::abs));
            within("dE", &what, &found.d_hidden, &d_hidden, &bound);
            let d_classifier = &exact.truth.d_classifier - &certain.t().dot(hidden);
            let bound = &exact.d_classifier + &open.t().dot(&hidden.mapv(f64::abs));
            within("dC", &what, &found.d_classifier, &d_classifier, &bound);
            let d_bias = &exact.truth.d_bias - &certain.sum_axis(Axis(0));
            let bound = &exact.d_bias + &open.sum_axis(Axis(0));
            within("db", &what, &found.d_bias, &d_bias, &bound);
            // That is more than the rounding of f64.
            if kind == Type::F64 {
                let truth = &exact.truth;
                assert!(far(&found.d_hidden, &truth.d_hidden, &exact.d_hidden) > 500);
                assert!(far(&found.d_classifier, &truth.d_classifier, &exact.d_classifier) > 5000);
            }
        }
    }
}

/// How many are further from the truth than ten times the bound of their rounding.
fn far(found: &Array2<f64>, truth: &Array2<f64>, bound: &Array2<f64>) -> usize {
    let all = found.iter().zip(truth).zip(bound);
    all.filter(|((found, truth), bound)| (*found - *truth).abs() > 10.0 * *bound).count()
}

/// What is dropped, taken for flat: in its place stands the mean of its G over the segment.
#[test]
fn the_tail_correction_puts_the_mean_in_its_place() {
    for (kind, width) in
        [Type::F64, Type::F32, Type::Bf16].into_iter().flat_map(|kind| [(kind, 17), (kind, 64)])
    {
        // More than one block of 1024 classes, the last of them and its last segment not whole.
        let mut tail = tail(6, 50, width, 1230);
        tail.case.bias = Some(Stream(7).vector(1230, 0.5));
        let tail = tail.rounded(kind);
        for isa in Isa::available() {
            let exact = Exact::of(&tail, kind, isa);
            let builder = tail.builder(isa, Some(Filter::Below(1.0))).tail_correction(true);
            let found = run(&tail, kind, Door::Both, &builder);
            let dropped = exact.droppable(1.0 / STEP, false);
            let entries = exact.entries(&dropped);
            let mean_of = |entries: &Array2<f64>| {
                let classes = entries.dim().1;
                Array2::from_shape_fn(entries.dim(), |(i, v)| {
                    let first = v / SEGMENT * SEGMENT;
                    let segment = first..classes.min(first + SEGMENT);
                    entries.slice(s![i, segment.clone()]).sum() / segment.len() as f64
                })
            };
            let mean = mean_of(&entries);
            let g = &exact.truth.d_products - &entries + &mean;
            // The masses are recorded in bf16; where G is, so are the means of the classifier.
            let mut slack = mean.mapv(|mean| mean.abs() * 3.0 * MASS);
            let mut open = exact.droppable(1.0, true);
            open.zip_mut_with(&dropped, |open, &certain| *open &= !certain);
            // Where it is open whether it is dropped, it may be its mean or itself.
            let open = exact.entries(&open).mapv(f64::abs);
            slack += &(mean_of(&open) + open);
            let (hidden, classifier) = (&tail.case.hidden, &tail.case.classifier);
            let what = (kind, width, isa);
            let bound = &exact.d_hidden + &slack.dot(&classifier.mapv(f64::abs));
            within("dE", &what, &found.d_hidden, &g.dot(classifier), &bound);
            let bound = &exact.d_classifier + &slack.t().dot(&hidden.mapv(f64::abs));
            within("dC", &what, &found.d_classifier, &g.t().dot(hidden), &bound);
            let bound = &exact.d_bias + &slack.sum_axis(Axis(0));
            within("db", &what, &found.d_bias, &g.sum_axis(Axis(0)), &bound);
            // Without it, that is missing.
            let plain = run(&tail, kind, Door::Both, &builder.tail_correction(false));
            let bound = &exact.d_hidden + &slack.dot(&classifier.mapv(f64::abs));
            let outside = far(&plain.d_hidden, &g.dot(classifier), &(bound / 10.0));
            // Rounding may be larger than that in f32.
            assert!(kind != Type::F64 || outside > 100, "{outside} are outside, {what:?}");
        }
    }
}

/// A segment of equal classes is flat: with the correction nothing is lost, whatever the options.
#[test]
fn the_tail_correction_is_exact_where_segments_are_flat() {
    for (kind, width) in [(Type::F64, 9), (Type::F32, 64), (Type::Bf16, 32)] {
        for options in 0..4 {
            let mut tail = tail(8, 40, width, 1120);
            let first = tail.case.classifier.clone();
            for (v, mut row) in tail.case.classifier.outer_iter_mut().enumerate() {
                row.assign(&first.row(v / SEGMENT * SEGMENT));
            }
            match options {
                1 => tail.case.softcap = Some(25.0),
                2 => tail.case.d_entropy = Some(Stream(9).vector(40, 0.5)),
                3 => tail.case.label_smoothing = 0.1,
                _ => {}
            }
            let tail = tail.rounded(kind);
            for isa in Isa::available() {
                let exact = Exact::of(&tail, kind, isa);
                let builder = tail.builder(isa, Some(Filter::Below(1.0))).tail_correction(true);
                let found = run(&tail, kind, Door::Both, &builder);
                assert!(found.kept.unwrap() < 0.1);
                // Masses in bf16 are off by 2⁻⁸, their logarithm by as much, absolutely.
                let may = exact.entries(&exact.droppable(1.0, true));
                let slack = may.mapv(|g| g.abs() * 3.0 * MASS)
                    + Array2::from_shape_fn(may.dim(), |(i, v)| {
                        let h = tail.case.d_entropy.as_ref().map_or(0.0, |h| h[i].abs());
                        h * MASS * exact.mass[[i, v / SEGMENT]]
                    });
                let what = (kind, options, isa);
                let (hidden, classifier) = (&tail.case.hidden, &tail.case.classifier);
                let bound = &exact.d_hidden + &slack.dot(&classifier.mapv(f64::abs));
                within("dE", &what, &found.d_hidden, &exact.truth.d_hidden, &bound);
                let bound = &exact.d_classifier + &slack.t().dot(&hidden.mapv(f64::abs));
                within("dC", &what, &found.d_classifier, &exact.truth.d_classifier, &bound);
                let bound = &exact.d_bias + &slack.sum_axis(Axis(0));
                within("db", &what, &found.d_bias, &exact.truth.d_bias, &bound);
            }
        }
    }
}

/// Every option that goes with a filter.
fn variants() -> Vec<(&'static str, Tail)> {
    let (rows, width, classes) = (37, 19, 1000);
    let base = tail(11, rows, width, classes);
    let mut stream = Stream(12);
    let weights =
        Array1::from_shape_fn(classes, |v| if v % 9 == 2 { 0.0 } else { stream.uniform() });
    let mut tokens = stream.vector(rows, 1.0);
    tokens.iter_mut().step_by(4).for_each(|weight| *weight = 0.0);
    let bias = stream.vector(classes, 0.5);
    let rows_of = |stream: &mut Stream| stream.vector(rows, 0.5);
    let mut all = Vec::new();
    let mut add = |name, change: &dyn Fn(&mut Case)| {
        let mut tail = base.clone();
        change(&mut tail.case);
        all.push((name, tail));
    };
    add("smoothing", &|case| case.label_smoothing = 0.1);
    add("smoothing with class weights, scale and bias", &|case| {
        case.label_smoothing = 0.3;
        case.class_weights = Some(weights.clone());
        (case.scale, case.bias) = (0.8, Some(bias.clone()));
    });
    add("smoothing alone, token weights", &|case| {
        case.label_smoothing = 1.0;
        case.token_weights = Some(tokens.clone());
        case.reduction = Reduction::Sum;
    });
    add("z-loss", &|case| case.z_loss = 0.02);
    add("softcap", &|case| (case.softcap, case.bias) = (Some(20.0), Some(bias.clone())));
    add("class weights", &|case| case.class_weights = Some(weights.clone()));
    add("token weights", &|case| case.token_weights = Some(tokens.clone()));
    let (d_loss, d_lse, d_entropy) =
        (rows_of(&mut stream), rows_of(&mut stream), rows_of(&mut stream));
    add("upstreams", &|case| {
        case.reduction = Reduction::None;
        case.d_loss = d_loss.clone();
        case.d_log_sum_exp = Some(d_lse.clone());
        case.d_entropy = Some(d_entropy.clone());
        case.token_weights = Some(tokens.clone());
        case.z_loss = 0.01;
        case.label_smoothing = 0.2;
    });
    add("entropy under a softcap", &|case| {
        case.d_entropy = Some(d_entropy.clone());
        case.softcap = Some(25.0);
    });
    add("ignored inside the vocabulary", &|case| {
        case.ignore_index = Some(3);
        if let Wanted::Hard(y) = &mut case.targets {
            y.iter_mut().filter(|y| **y < 0).for_each(|y| *y = 3);
        }
        case.reduction = Reduction::Divide(11.0);
    });
    all.push(("sparse", base.clone().with_sparse_targets(13)));
    let mut smoothed = base.with_sparse_targets(14);
    smoothed.case.label_smoothing = 0.25;
    smoothed.case.class_weights = Some(weights);
    smoothed.case.z_loss = 0.01;
    all.push(("sparse and smoothed", smoothed));
    all
}

#[test]
fn options() {
    for (name, tail) in variants() {
        for kind in TYPES {
            for isa in Isa::available() {
                let found = check(&tail, kind, isa, &THRESHOLDS[1..], BUDGET);
                // There is something to leave out, with every option.
                assert!(found[3].kept.unwrap() < 0.2, "{name} {kind:?} {isa:?}");
            }
        }
    }
}

/// Chunks of 1024 rows, of fewer under a small budget, and blocks of 768 classes or fewer.
#[test]
fn chunks_and_blocks() {
    for (kind, smoothing) in [(Type::F64, 0.0), (Type::F32, 0.1), (Type::Bf16, 0.0)] {
        let mut tall = tail(21, 1100, 9, 900);
        tall.case.label_smoothing = smoothing;
        let mut small = tail(22, 300, 12, 2100);
        small.case.label_smoothing = smoothing;
        for isa in Isa::available() {
            check(&tall, kind, isa, &[THRESHOLDS[2], THRESHOLDS[3]], BUDGET);
            let bytes = if kind == Type::F64 { 8 } else { 4 };
            let shapes = Shapes::new(300, 12, 2100).real_bytes(bytes).bf16(kind == Type::Bf16);
            let builder = small.builder(isa, Some(Filter::Below(0.5)));
            let plan = |budget| {
                let loss = builder.clone().memory_budget(budget).build().unwrap();
                loss.plan(&shapes, Pass::LossAndGradients)
            };
            let Err(Error::MemoryBudget { smallest, .. }) = plan(1) else {
                panic!("one byte is not enough")
            };
            for budget in [smallest, smallest + (64 << 10)] {
                assert!(plan(budget).unwrap().rows_at_once < 300);
                check(&small, kind, isa, &[THRESHOLDS[2], THRESHOLDS[3], 1.0], budget);
            }
        }
    }
}

#[cfg(feature = "parallel")]
#[test]
fn threads_do_not_matter() {
    let mut plain = tail(31, 150, 20, 1900);
    plain.case.bias = Some(Stream(32).vector(1900, 0.5));
    let mut smoothed = plain.clone();
    smoothed.case.label_smoothing = 0.1;
    let mut mixed = plain.clone();
    mixed.case.z_loss = 0.1;
    let whole = tail(33, 150, 64, 1900);
    for (tail, switches) in [
        (plain, [true; 3]),
        (smoothed, [true; 3]),
        (mixed, [true, false, true]),
        (whole, [true; 3]),
    ] {
        for isa in Isa::available() {
            for threshold in [THRESHOLDS[2], THRESHOLDS[3]] {
                let [hidden, classifier, bias] = switches;
                let builder = tail.builder(isa, Some(Filter::Below(threshold)));
                let builder =
                    builder.filter_hidden(hidden).filter_classifier(classifier).filter_bias(bias);
                let builder = builder.tail_correction(threshold == THRESHOLDS[3]);
                for added_to in [None, Some(0.5)] {
                    let all = |tail: &Tail| {
                        let builder = &builder;
                        let single = tail.rounded(Type::F32);
                        let narrow = tail.rounded(Type::Bf16);
                        [
                            run_in::<f64, f64>(tail, Door::Both, builder, added_to),
                            run_in::<f32, f32>(&single, Door::Vjp, builder, added_to),
                            run_in::<bf16, f32>(&narrow, Door::Both, builder, added_to),
                        ]
                        .map(|found| (found.bits(), found.kept, found.mass))
                    };
                    let pool = |threads| {
                        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
                    };
                    let one = pool(1).install(|| all(&tail));
                    for threads in [2, 3] {
                        let many = pool(threads).install(|| all(&tail));
                        assert!(one == many, "{threads} threads, {isa:?} {threshold} {added_to:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn accumulated_gradients() {
    for (_, mut tail) in variants().into_iter().filter(|(name, _)| name.starts_with("smoothing")) {
        tail.case.reduction = Reduction::Sum;
        for isa in Isa::available() {
            let builder = tail.builder(isa, Some(Filter::Below(THRESHOLDS[3])));
            let found = run_in::<f64, f64>(&tail, Door::Both, &builder, None);
            let added = run_in::<f64, f64>(&tail, Door::Both, &builder, Some(0.75));
            let exact = Exact::of(&tail, Type::F64, isa);
            // The sum begins at ¾, and each of its partial sums is rounded at that size too.
            let u = 4000.0 * Type::F64.unit();
            let near = |what, found: &[f64], added: &[f64], bounds: &[f64]| {
                let expected: Vec<f64> = found.iter().map(|x| x + 0.75).collect();
                let bounds: Vec<f64> = bounds.iter().map(|bound| bound + u).collect();
                within(what, &isa, added, &expected, &bounds);
            };
            let flat = |m: &Array2<f64>| m.iter().copied().collect::<Vec<_>>();
            // Ignored rows are left as they are.
            let (d_hidden, bound) = (flat(&added.d_hidden), flat(&exact.d_hidden));
            near("dE", &flat(&found.d_hidden), &d_hidden, &bound);
            let (d_classifier, bound) = (flat(&added.d_classifier), flat(&exact.d_classifier));
            near("dC", &flat(&found.d_classifier), &d_classifier, &bound);
            near("db", &found.d_bias.to_vec(), &added.d_bias.to_vec(), &exact.d_bias.to_vec());
        }
    }
}

#[test]
fn switches() {
    for kind in TYPES {
        for smoothing in [0.0, 0.2] {
            let mut tail = tail(41, 45, 21, 1700);
            tail.case.bias = Some(Stream(42).vector(1700, 0.5));
            tail.case.label_smoothing = smoothing;
            let tail = tail.rounded(kind);
            for isa in Isa::available() {
                let exact = Exact::of(&tail, kind, isa);
                let threshold = THRESHOLDS[3];
                let plain = run(&tail, kind, Door::Both, &tail.builder(isa, None));
                let builder = tail.builder(isa, Some(Filter::Below(threshold)));
                for on in (0..8).map(|set| [set & 1, set & 2, set & 4].map(|bit| bit != 0)) {
                    let builder = builder.clone().filter_hidden(on[0]);
                    let builder = builder.filter_classifier(on[1]).filter_bias(on[2]);
                    let found = run(&tail, kind, Door::Both, &builder);
                    let what = (kind, isa, on);
                    // The bias is left as it is where G is made whole for another.
                    let every = on == [true; 3];
                    exact.sound(&what, threshold, [on[0], on[1], every], &found);
                    exact.reported(&what, threshold, &found);
                    // What is dropped is more than the rounding of f64.
                    if kind == Type::F64 {
                        let far = [
                            far(&found.d_hidden, &exact.truth.d_hidden, &exact.d_hidden),
                            far(
                                &found.d_classifier,
                                &exact.truth.d_classifier,
                                &exact.d_classifier,
                            ),
                        ];
                        assert_eq!(far.map(|far| far > 500), [on[0], on[1]], "{far:?} {what:?}");
                    }
                    if smoothing == 0.0 && !every {
                        // What is not filtered is what it is without a filter, in every bit.
                        assert_eq!(found.d_bias, plain.d_bias, "{what:?}");
                        assert!(on[0] || found.d_hidden == plain.d_hidden, "{what:?}");
                        assert!(on[1] || found.d_classifier == plain.d_classifier, "{what:?}");
                    }
                }
            }
        }
    }
}

/// A gradient that is not wanted does not switch a filter off for the others.
#[test]
fn one_gradient_alone() {
    let tail = tail(43, 40, 15, 1500);
    for isa in Isa::available() {
        let builder = tail.builder(isa, Some(Filter::Below(THRESHOLDS[3])));
        let all = run(&tail, Type::F64, Door::Both, &builder);
        let case = &tail.case;
        let inputs: Inputs<'_> = inputs_with(case, &case.hidden, &case.classifier, tail.targets());
        let loss = builder.clone().filter_classifier(false).filter_bias(false).build().unwrap();
        let mut d_hidden = Array2::from_elem(case.hidden.dim(), f64::NAN);
        let gradients = Gradients::new().hidden(d_hidden.view_mut());
        loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
        assert_eq!(d_hidden, all.d_hidden);
        let loss = builder.clone().filter_hidden(false).filter_bias(false).build().unwrap();
        let mut d_classifier = Array2::from_elem(case.classifier.dim(), f64::NAN);
        let gradients = Gradients::new().classifier(d_classifier.view_mut());
        loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
        assert_eq!(d_classifier, all.d_classifier);
        let loss = builder.filter_hidden(false).filter_classifier(false).build().unwrap();
        let mut d_bias = Array1::from_elem(case.classifier.dim().0, f64::NAN);
        let gradients = Gradients::new().bias(d_bias.view_mut());
        loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
        assert_eq!(d_bias, all.d_bias);
    }
}

#[test]
fn nothing_below_zero() {
    for kind in TYPES {
        for (name, tail) in variants() {
            // The term of rank one has other roundings.
            if tail.case.label_smoothing > 0.0 {
                continue;
            }
            let tail = tail.rounded(kind);
            for isa in Isa::available() {
                for door in [Door::Both, Door::Vjp] {
                    let plain = run(&tail, kind, door, &tail.builder(isa, None));
                    assert_eq!((plain.kept, plain.mass), (None, None));
                    let builder = tail.builder(isa, Some(Filter::Below(0.0)));
                    for classifier in [true, false] {
                        let builder = builder.clone().filter_classifier(classifier);
                        let found = run(&tail, kind, door, &builder);
                        assert!(found.bits() == plain.bits(), "{name} {kind:?} {isa:?} {door:?}");
                        assert_eq!((found.kept, found.mass), (Some(1.0), Some((0.0, 0.0))));
                    }
                }
            }
        }
    }
}

#[test]
fn auto_is_a_part_of_epsilon() {
    let tail = tail(51, 30, 12, 900);
    for kind in TYPES {
        let tail = tail.rounded(kind);
        let threshold = match kind {
            Type::F64 => f64::EPSILON / 32.0,
            Type::F32 => 2.0_f64.powi(-28),
            Type::Bf16 => 2.0_f64.powi(-12),
        };
        for isa in Isa::available() {
            let auto = run(&tail, kind, Door::Both, &tail.builder(isa, Some(Filter::Auto)));
            let builder = tail.builder(isa, Some(Filter::Below(threshold)));
            let below = run(&tail, kind, Door::Both, &builder);
            assert!(auto.bits() == below.bits());
            assert_eq!((auto.kept, auto.mass), (below.kept, below.mass));
        }
    }
}

#[test]
fn strips_and_given_logits_drop_nothing() {
    let tail = tail(52, 30, 12, 900);
    let nothing = (Some(1.0), Some((0.0, 0.0)));
    for isa in Isa::available() {
        let strip = |filter| tail.builder(isa, filter).backward(Backward::Strip);
        let plain = run(&tail, Type::F64, Door::Both, &strip(None));
        let found = run(&tail, Type::F64, Door::Both, &strip(Some(Filter::Below(1.0))));
        assert!(plain.bits() == found.bits());
        assert_eq!((found.kept, found.mass), nothing);
        let (logits, _) = tail.case.logits();
        let inputs = Inputs::from_logits(logits.view(), tail.targets());
        let gradient = |filter| {
            let mut d_logits = Array2::from_elem(logits.dim(), f64::NAN);
            let loss = tail.builder(isa, filter).build().unwrap();
            let gradients = Gradients::new().logits(d_logits.view_mut());
            let forward =
                loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
            (d_logits, forward.segments_kept().zip(mass_of(&forward)))
        };
        let (plain, none) = gradient(None);
        let (found, some) = gradient(Some(Filter::Below(1.0)));
        assert!(plain == found && none.is_none());
        assert_eq!(some, Some((1.0, (0.0, 0.0))));
    }
}

/// A fold of shards knows no segments: their gradients are whole, also where the fold is of the
/// vocabulary in one piece and its tiles are as many as those of the shard.
#[test]
fn shards_drop_nothing() {
    let tail = tail(53, 25, 10, 2000);
    let case = &tail.case;
    for isa in Isa::available() {
        let exact = Exact::of(&tail, Type::F64, isa);
        let loss = tail.builder(isa, Some(Filter::Below(1.0))).build().unwrap();
        let part = |classes: std::ops::Range<usize>| {
            let shard = Shard::new(classes.start, 2000);
            let part = case.classifier.slice(s![classes, ..]);
            Inputs::new(case.hidden.view(), part, tail.targets()).shard(shard)
        };
        let cuts = [0, 100, 2000];
        let parts = [part(cuts[0]..cuts[1]), part(cuts[1]..cuts[2])];
        let mut fold = loss.fold(&parts[0]).unwrap();
        fold.merge(&loss.fold(&parts[1]).unwrap()).unwrap();
        let merged = fold.finish().unwrap();
        assert_eq!((merged.segments_kept(), mass_of(&merged)), (Some(1.0), Some((0.0, 0.0))));
        let whole = Inputs::new(case.hidden.view(), case.classifier.view(), tail.targets());
        for forward in [merged, loss.forward(&whole).unwrap()] {
            let mut d_hidden = Array2::zeros(case.hidden.dim());
            let mut d_classifier = Array2::zeros(case.classifier.dim());
            for (part, classes) in parts.iter().zip(cuts.windows(2)) {
                let own = d_classifier.slice_mut(s![classes[0]..classes[1], ..]);
                let gradients =
                    Gradients::new().accumulate_hidden(d_hidden.view_mut()).classifier(own);
                loss.vjp(part, &forward, &Upstream::default(), gradients).unwrap();
            }
            within("dE", &isa, &d_hidden, &exact.truth.d_hidden, &exact.d_hidden);
            within("dC", &isa, &d_classifier, &exact.truth.d_classifier, &exact.d_classifier);
        }
    }
}

#[test]
fn rows_that_are_not_numbers() {
    let clean = tail(61, 24, 11, 1200);
    for kind in [Type::F64, Type::F32] {
        for isa in Isa::available() {
            for (hidden, class) in [(f64::NAN, 0.0_f64), (1e30, 1e30)] {
                // One row is NaN, or has a logit of +∞ in one class: all of its G is NaN.
                let mut tail = clean.clone();
                let (rows, classes) = (24, 1200);
                let column = Array2::zeros((rows, 1));
                tail.case.hidden = concatenate![Axis(1), tail.case.hidden, column];
                let column = Array2::zeros((classes, 1));
                tail.case.classifier = concatenate![Axis(1), tail.case.classifier, column];
                tail.case.classifier[[700, 11]] =
                    if kind == Type::F64 { class.powi(6) } else { class };
                let good = tail.rounded(kind);
                let exact = Exact::of(&good, kind, isa);
                tail.case.hidden[[5, 11]] = if kind == Type::F64 { hidden.powi(6) } else { hidden };
                let bad = tail.rounded(kind);
                for threshold in [THRESHOLDS[1], THRESHOLDS[3], 1.0] {
                    let builder = bad.builder(isa, Some(Filter::Below(threshold)));
                    let mut found = run(&bad, kind, Door::Both, &builder);
                    let what = (kind, isa, hidden, threshold);
                    assert!(found.d_hidden.row(5).iter().all(|x| x.is_nan()), "{what:?}");
                    assert!(found.d_classifier.iter().all(|x| x.is_nan()), "{what:?}");
                    assert!(found.d_bias.iter().all(|x| x.is_nan()), "{what:?}");
                    // The other rows are as without it, but for what their hidden states meet.
                    found.d_hidden.row_mut(5).assign(&exact.truth.d_hidden.row(5));
                    let may = exact.entries(&exact.droppable(threshold, true)).mapv(f64::abs);
                    let near = |m: &Array2<f64>| m.slice(s![.., ..11]).to_owned();
                    let bound = &exact.d_hidden + &may.dot(&exact.classifier.mapv(f64::abs));
                    let truth = near(&exact.truth.d_hidden);
                    within("dE", &what, &near(&found.d_hidden), &truth, &near(&bound));
                }
            }
        }
    }
}

#[test]
fn classes_that_cannot_be() {
    let mut tail = tail(62, 24, 11, 1200);
    let Wanted::Hard(targets) = tail.case.targets.clone() else { panic!("hard targets") };
    let mut stream = Stream(63);
    // Some classes, a whole segment, and a whole tile of 256.
    let mut bias = Array1::from_shape_fn(1200, |v| match v {
        320..352 | 512..768 => true,
        _ => stream.bits().is_multiple_of(5),
    })
    .mapv(|never| if never { -1e4 } else { 0.0 });
    targets.iter().filter(|&&y| y >= 0).for_each(|&y| bias[y as usize] = 0.0);
    tail.case.bias = Some(bias);
    for isa in Isa::available() {
        // e^−10⁴ is 0, as e^−∞: the truth is the same.
        let exact = Exact::of(&tail, Type::F64, isa);
        let mut never = tail.clone();
        let bias = never.case.bias.as_mut().unwrap();
        bias.mapv_inplace(|b| if b < -1e3 { f64::NEG_INFINITY } else { b });
        for threshold in THRESHOLDS {
            let builder = never.builder(isa, Some(Filter::Below(threshold)));
            let found = run(&never, Type::F64, Door::Both, &builder);
            exact.sound(&(isa, threshold), threshold, [true; 3], &found);
            exact.reported(&(isa, threshold), threshold, &found);
        }
    }
}

/// Logits of 10⁸: what is recorded of them must not lose the differences.
#[test]
fn huge_offsets() {
    for offset in [1e8, -1e8, 123_456_789.0] {
        let mut tail = tail(64, 24, 11, 1200);
        tail.case.bias = Some(Array1::from_elem(1200, offset));
        for isa in Isa::available() {
            check(&tail, Type::F64, isa, &THRESHOLDS, BUDGET);
        }
    }
}

#[test]
fn shapes_with_nothing_in_them() {
    for isa in Isa::available() {
        // No width: the logits are the bias, and there is nothing to save.
        let (hidden, classifier) = (Array2::zeros((5, 0)), Array2::zeros((300, 0)));
        let case = Case::new(hidden, classifier, Wanted::Hard(vec![2; 5]));
        let mut tail = Tail { case, sparse: None };
        tail.case.bias = Some(Array1::from_shape_fn(300, |v| -(v as f64) / 8.0));
        let exact = Exact::of(&tail, Type::F64, isa);
        for door in [Door::Both, Door::Vjp] {
            let builder = tail.builder(isa, Some(Filter::Below(0.5)));
            let found = run(&tail, Type::F64, door, &builder);
            exact.sound(&isa, 0.0, [true; 3], &found);
            assert_eq!((found.kept, found.mass), (Some(1.0), Some((0.0, 0.0))));
        }
        // No rows, none that is kept, one class.
        for (rows, classes) in [(0, 100), (4, 100), (4, 1)] {
            let targets = vec![if classes == 1 { 0 } else { -100 }; rows];
            let mut stream = Stream(71);
            let case = Case::new(
                stream.matrix(rows, 3, 1.0),
                stream.matrix(classes, 3, 1.0),
                Wanted::Hard(targets),
            );
            let tail = Tail { case, sparse: None };
            for door in [Door::Both, Door::Vjp] {
                let builder = tail.builder(isa, Some(Filter::Below(0.5)));
                let found = run(&tail, Type::F32, door, &builder);
                assert_eq!((found.kept, found.mass), (Some(1.0), Some((0.0, 0.0))));
                let zero = |x: &f64| *x == 0.0;
                assert!(found.d_hidden.iter().all(zero) && found.d_bias.iter().all(zero));
                assert!(found.d_classifier.iter().all(zero));
            }
        }
    }
}

/// A call that has a conflict says so in these words.
#[track_caller]
fn conflicts(builder: &LinearCrossEntropyBuilder, soft: bool, words: &str) {
    let (hidden, classifier) = (Array2::<f64>::zeros((3, 2)), Array2::<f64>::zeros((40, 2)));
    let (dense, hard) = (Array2::from_elem((3, 40), 0.025), [1_i64, 2, 3]);
    let targets = match soft {
        true => Targets::soft(&dense),
        false => Targets::from(&hard),
    };
    let inputs = Inputs::new(hidden.view(), classifier.view(), targets);
    let loss = builder.clone().build().unwrap();
    let mut d_hidden = Array2::<f64>::zeros((3, 2));
    let gradients = Gradients::new().hidden(d_hidden.view_mut());
    let both = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients);
    for error in [error_of(loss.forward(&inputs)), error_of(both)] {
        assert!(matches!(error, Error::Conflict { .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn errors() {
    for threshold in [f64::NAN, -1e-9, 1.0 + 1e-9, f64::INFINITY] {
        let builder = LinearCrossEntropy::builder().filter(Filter::Below(threshold));
        let error = error_of(builder.build());
        assert!(matches!(error, Error::Option { name: "filter", .. }), "{error}");
        assert!(error.to_string().contains("a number from 0 to 1"), "{error}");
    }
    for threshold in [0.0, 1.0, f64::MIN_POSITIVE, 5e-324] {
        LinearCrossEntropy::builder().filter(Filter::Below(threshold)).build().unwrap();
    }
    // Softcap and label smoothing each alone are none: `options` has them.
    let builder = LinearCrossEntropy::builder().filter(Filter::Auto);
    conflicts(&builder, true, "hard or sparse targets");
    conflicts(&builder.softcap(5.0).label_smoothing(0.1), false, "not with both");
}
