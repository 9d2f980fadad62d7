//! The heap that a call takes is at most what its plan says.

use crate::counting::{alone, peak};
use half::bf16;
use ndarray::{Array1, Array2};
use surprisal::loss::{
    Candidates, Companion, ExpectedCost, Head, KullbackLeibler, Sampling, Sum, Truncation,
};
use testing::Stream;

use surprisal::{
    Backward, Element, Error, Filter, Gradients, Inputs, LinearCrossEntropy,
    LinearCrossEntropyBuilder, Pass, Shapes, Strategy, Targets, Upstream,
};

struct Data<T> {
    hidden: Array2<T>,
    classifier: Array2<T>,
    targets: Vec<i64>,
    bias: Array1<f32>,
    weights: Array1<f32>,
}

impl<T: Element> Data<T> {
    fn new(rows: usize, width: usize, classes: usize) -> Self {
        let mut stream = Stream(7);
        Self {
            hidden: stream.matrix(rows, width, 1.0).mapv(T::from_f64),
            classifier: stream.matrix(classes, width, 0.3).mapv(T::from_f64),
            targets: stream
                .classes(rows, classes)
                .into_iter()
                .enumerate()
                .map(|(i, y)| if i % 3 == 1 { -100 } else { y })
                .collect(),
            bias: Array1::ones(classes),
            weights: Array1::ones(classes),
        }
    }

    fn inputs<'a>(&'a self, full: bool) -> Inputs<'a>
    where
        T: surprisal::Element<Real = f32>,
    {
        let (hidden, classifier) = (self.hidden.view(), self.classifier.view());
        let inputs = Inputs::new(hidden, classifier, &self.targets);
        match full {
            true => inputs.bias(self.bias.view()).class_weights(self.weights.view()),
            false => inputs,
        }
    }
}

fn within(what: &str, peak: usize, plan: usize) {
    assert!(peak <= plan, "{what}: {peak} bytes taken, {plan} planned");
    // A plan that says anything is no plan: the fixed allowances are 64 KiB and 4 KiB a task.
    let loose = 4 * peak + (4 << 20);
    assert!(plan <= loose, "{what}: {plan} bytes planned for {peak}");
}

fn check<T>(rows: usize, width: usize, classes: usize, builder: LinearCrossEntropyBuilder)
where
    T: surprisal::Element<Real = f32>,
    for<'a> surprisal::MatrixMut<'a>: From<ndarray::ArrayViewMut2<'a, T>>,
{
    for full in [false, true] {
        let data = Data::<T>::new(rows, width, classes);
        let inputs = data.inputs(full);
        let name = |pass: &str| format!("{pass} {rows}×{width}×{classes} {} {full}", T::NAME);
        let shapes = Shapes::of(&inputs)
            .hidden_gradient_rounded(T::NAME != "f32")
            .classifier_gradient_rounded(T::NAME != "f32");
        let loss = builder.clone().build().unwrap();
        let plan = loss.plan(&shapes, Pass::Forward).unwrap();
        let (forward, bytes) = peak(|| loss.forward(&inputs).unwrap());
        within(&name("forward"), bytes, plan.workspace_bytes);

        let mut d_hidden = Array2::from_elem((rows, width), T::from_f64(0.0));
        let mut d_classifier = Array2::from_elem((classes, width), T::from_f64(0.0));
        let mut d_bias = Array1::<f32>::zeros(classes);
        macro_rules! gradients {
            () => {
                Gradients::new()
                    .hidden(d_hidden.view_mut())
                    .classifier(d_classifier.view_mut())
                    .bias(d_bias.view_mut())
            };
        }
        let plan = loss.plan(&shapes, Pass::Vjp).unwrap();
        let upstream = Upstream::default();
        let ((), bytes) = peak(|| loss.vjp(&inputs, &forward, &upstream, gradients!()).unwrap());
        within(&name("vjp"), bytes, plan.workspace_bytes);
        for backward in [Backward::Recompute, Backward::Strip, Backward::Auto] {
            let loss = builder.clone().backward(backward).build().unwrap();
            let plan = loss.plan(&shapes, Pass::LossAndGradients).unwrap();
            assert!(plan.workspace_bytes <= LinearCrossEntropy::DEFAULT_MEMORY_BUDGET);
            let (_, bytes) =
                peak(|| loss.loss_and_gradients(&inputs, &upstream, gradients!()).unwrap());
            within(&name(&format!("{backward:?}")), bytes, plan.workspace_bytes);
        }
    }
}

/// One test, so that nothing else allocates meanwhile.
#[test]
fn the_heap_stays_under_the_plan() {
    let _alone = alone();
    let plain = LinearCrossEntropy::builder();
    let rich = LinearCrossEntropy::builder()
        .softcap(5.0)
        .label_smoothing(0.1)
        .varentropy(true)
        .rank(true)
        .top_k(5);
    let shapes = [(1, 1, 1), (5, 3, 2), (300, 20, 3000), (1100, 33, 700), (700, 300, 2100)];
    for (rows, width, classes) in shapes {
        for builder in [&plain, &rich] {
            check::<f32>(rows, width, classes, builder.clone());
            check::<bf16>(rows, width, classes, builder.clone());
        }
    }
    filters();
    soft_targets();
    what_is_not_seen_in_shapes();
    strips_follow_the_budget();
    second_heads();
    candidates();
    truncations_and_draws();
}

/// All logits of some rows at a time, and draws beside a forward.
fn truncations_and_draws() {
    for (rows, width, classes) in [(1, 1, 1), (300, 20, 3000), (1100, 33, 700), (9, 300, 40_000)] {
        let data = Data::<f32>::new(rows, width, classes);
        let inputs = data.inputs(true);
        let shapes = Shapes::of(&inputs);
        let ample = LinearCrossEntropy::builder();
        let name = |what: &str| format!("{what} {rows}×{width}×{classes}");
        let Err(Error::MemoryBudget { smallest, .. }) =
            ample.clone().memory_budget(1).build().unwrap().plan(&shapes, Pass::Truncation)
        else {
            panic!("a byte is enough")
        };
        for builder in [ample.clone(), ample.memory_budget(smallest)] {
            let loss = builder.build().unwrap();
            let plan = loss.plan(&shapes, Pass::Truncation).unwrap();
            let truncation = Truncation::new().top_k(20).top_p(0.9);
            let (floors, bytes) = peak(|| loss.truncate(&inputs, &truncation).unwrap());
            within(&name("truncation"), bytes, plan.workspace_bytes);
            assert_eq!(floors.thresholds().len(), rows);
        }
        let loss = LinearCrossEntropy::builder().build().unwrap();
        for draws in [1, 7] {
            let plan = loss.plan(&shapes.draws(draws), Pass::Forward).unwrap();
            let sampling = Sampling::new(1).draws(draws);
            let (samples, bytes) = peak(|| loss.sample(&inputs, &sampling).unwrap());
            within(&name("draws"), bytes, plan.workspace_bytes);
            assert_eq!(samples.classes.dim(), (rows, draws));
        }
    }
}

/// Its mean, its divergences, and both; as products and as logits, under ample and small budgets.
fn second_heads() {
    for (rows, widths, classes) in
        [(1, [1, 1], 1), (300, [20, 90], 3000), (1100, [33, 8], 700), (700, [300, 40], 2100)]
    {
        let data = Data::<f32>::new(rows, widths[0], classes);
        let other = Data::<f32>::new(rows, widths[1], classes);
        let logits = other.hidden.dot(&other.classifier.t());
        let product = Head::new(&other.hidden, &other.classifier).bias(&other.bias);
        for (head, given) in [(product, false), (Head::from_logits(&logits), true)] {
            let inputs = data.inputs(false).companion(Companion::logits(head));
            let both = Sum::new()
                .add(1.0, ExpectedCost)
                .and_then(|sum| sum.add(1.0, KullbackLeibler::reverse()))
                .unwrap();
            let of = LinearCrossEntropy::builder;
            for (name, builder) in [
                ("mean", of().row_loss(ExpectedCost)),
                ("divergence", of().row_loss(KullbackLeibler::forward())),
                ("both", of().row_loss(both)),
            ] {
                for budget in [256 << 20, 6 << 20, 3 << 20] {
                    let name = format!("{name} {rows}×{widths:?}×{classes} {given} {budget}");
                    let builder = builder.clone().memory_budget(budget);
                    check_passes(&name, &inputs, &Upstream::default(), builder);
                }
            }
        }
    }
}

/// Lists of one class and of many, with what they leave to the others.
fn candidates() {
    for (rows, width, classes, k) in
        [(1, 1, 1, 1), (300, 20, 3000, 200), (1100, 33, 700, 8), (700, 300, 2100, 1)]
    {
        let data = Data::<f32>::new(rows, width, classes);
        let listed = Array2::from_shape_fn((rows, k), |(i, j)| ((i * 31 + j * 7) % classes) as u32);
        let above = Array2::<f32>::ones((rows, k));
        let upstream = Upstream::default().candidates(&above);
        for candidates in [Candidates::new(&listed), Candidates::new(&listed).with_others()] {
            let inputs = data.inputs(false).candidates(candidates);
            for budget in [256 << 20, 6 << 20, 3 << 20] {
                let builder = LinearCrossEntropy::builder().top_k(3).memory_budget(budget);
                let name = format!("candidates {rows}×{width}×{classes}×{k} {budget}");
                check_passes(&name, &inputs, &upstream, builder);
            }
        }
    }
}

fn check_passes(
    name: &str,
    inputs: &Inputs<'_>,
    upstream: &Upstream<'_>,
    builder: LinearCrossEntropyBuilder,
) {
    let shapes = Shapes::of(inputs);
    let mut d_hidden = Array2::<f32>::zeros((shapes.rows, shapes.hidden));
    let mut d_classifier = Array2::<f32>::zeros((shapes.vocabulary, shapes.hidden));
    let loss = builder.clone().build().unwrap();
    let plan = loss.plan(&shapes, Pass::Forward).unwrap();
    let (forward, bytes) = peak(|| loss.forward(inputs).unwrap());
    within(&format!("{name}, forward"), bytes, plan.workspace_bytes);
    if let Ok(plan) = loss.plan(&shapes, Pass::Vjp) {
        let gradients = Gradients::new().hidden(&mut d_hidden).classifier(&mut d_classifier);
        let ((), bytes) = peak(|| loss.vjp(inputs, &forward, upstream, gradients).unwrap());
        within(&format!("{name}, vjp"), bytes, plan.workspace_bytes);
    }
    for backward in [Backward::Recompute, Backward::Strip, Backward::Auto] {
        let loss = builder.clone().backward(backward).build().unwrap();
        let Ok(plan) = loss.plan(&shapes, Pass::LossAndGradients) else { continue };
        let gradients = Gradients::new().hidden(&mut d_hidden).classifier(&mut d_classifier);
        let (_, bytes) = peak(|| loss.loss_and_gradients(inputs, upstream, gradients).unwrap());
        within(&format!("{name}, {backward:?}"), bytes, plan.workspace_bytes);
    }
}

/// All of it kept, some, and next to nothing; with masks, with the term of rank one.
fn filters() {
    let shapes = [(1, 1, 1), (300, 20, 3000), (1100, 33, 700), (300, 0, 3000), (300, 64, 3000)];
    for (rows, width, classes) in shapes {
        let below = [0.0, 1.0 / 4096.0, 1.0].map(Filter::Below);
        for filter in below.into_iter().chain([1e-3, 0.3].map(Filter::Mass)) {
            let plain = LinearCrossEntropy::builder().filter(filter);
            let smooth = plain.clone().label_smoothing(0.1).filter_classifier(false);
            let corrected = plain.clone().tail_correction(true);
            for builder in [plain.clone(), plain.memory_budget(3 << 20), smooth, corrected] {
                check::<f32>(rows, width, classes, builder.clone());
                check::<bf16>(rows, width, classes, builder);
            }
        }
    }
    // Under the smallest budget.
    let data = Data::<f32>::new(300, 20, 3000);
    let (inputs, upstream) = (data.inputs(true), Upstream::default());
    for (threshold, classifier) in [(0.0, true), (1.0, true), (1.0, false)] {
        let builder = LinearCrossEntropy::builder()
            .backward(Backward::Recompute)
            .filter(Filter::Below(threshold))
            .filter_classifier(classifier)
            .label_smoothing(0.1);
        let plan = |budget: usize| {
            let loss = builder.clone().memory_budget(budget).build().unwrap();
            let plan = loss.plan(&Shapes::of(&inputs), Pass::LossAndGradients);
            plan.map(|plan| (loss, plan))
        };
        let Err(surprisal::Error::MemoryBudget { smallest, .. }) = plan(1) else {
            panic!("one byte is not enough")
        };
        let (loss, plan) = plan(smallest).unwrap();
        let mut d_hidden = Array2::<f32>::zeros((300, 20));
        let mut d_classifier = Array2::<f32>::zeros((3000, 20));
        let gradients =
            Gradients::new().hidden(d_hidden.view_mut()).classifier(d_classifier.view_mut());
        let (_, bytes) = peak(|| loss.loss_and_gradients(&inputs, &upstream, gradients).unwrap());
        assert!(
            bytes <= plan.workspace_bytes && plan.workspace_bytes <= smallest,
            "{bytes} of {plan:?}"
        );
    }
}

fn soft_targets() {
    let data = Data::<f32>::new(200, 20, 1500);
    let soft = Array2::from_elem((200, 1500), 1.0_f32 / 1500.0);
    let classes = Array2::from_shape_fn((200, 40), |(i, j)| (i * 7 + j * 31) as u32 % 1500);
    let weights = Array2::from_elem((200, 40), 0.025_f32);
    let sparse = Targets::sparse(&classes, &weights);
    for targets in [Targets::soft(&soft), sparse] {
        let inputs = Inputs::new(data.hidden.view(), data.classifier.view(), targets);
        let mut d_hidden = Array2::<f32>::zeros((200, 20));
        for backward in [Backward::Recompute, Backward::Strip] {
            let loss = LinearCrossEntropy::builder().backward(backward).build().unwrap();
            let plan = loss.plan(&Shapes::of(&inputs), Pass::LossAndGradients).unwrap();
            let gradients = Gradients::new().hidden(d_hidden.view_mut());
            let upstream = Upstream::default();
            let (_, bytes) =
                peak(|| loss.loss_and_gradients(&inputs, &upstream, gradients).unwrap());
            within(&format!("soft {backward:?}"), bytes, plan.workspace_bytes);
        }
    }
}

/// f64, no row kept, a selection of few rows, weights of a vocabulary of which this is a shard.
fn what_is_not_seen_in_shapes() {
    let mut stream = Stream(9);
    let (rows, classes) = (50_000, 40_000);
    let (hidden, classifier) = (stream.matrix(rows, 2, 1.0), stream.matrix(classes, 2, 1.0));
    let bias = Array1::<f64>::ones(classes);
    let builder = LinearCrossEntropy::builder().memory_budget(64 << 20);
    let ignored = vec![-100_i64; rows];
    let some: Vec<i64> =
        (0..rows as i64).map(|i| if i % 1000 == 0 { i % 7 } else { -100 }).collect();
    for targets in [&ignored, &some] {
        let inputs = Inputs::new(hidden.view(), classifier.view(), targets).bias(bias.view());
        let mut d_bias = Array1::<f64>::zeros(classes);
        for backward in [Backward::Recompute, Backward::Strip] {
            let loss = builder.clone().backward(backward).build().unwrap();
            let plan = loss.plan(&Shapes::of(&inputs), Pass::LossAndGradients).unwrap();
            let gradients = Gradients::new().bias(d_bias.view_mut());
            let upstream = Upstream::default();
            let (_, bytes) =
                peak(|| loss.loss_and_gradients(&inputs, &upstream, gradients).unwrap());
            assert!(bytes <= plan.workspace_bytes, "{backward:?}: {bytes} of {plan:?}");
        }
    }
    let last = [rows - 1];
    let inputs = Inputs::new(hidden.view(), classifier.view(), &[3_u32]).rows(&last);
    let loss = builder.build().unwrap();
    let plan = loss.plan(&Shapes::of(&inputs), Pass::Forward).unwrap();
    assert_eq!(plan.operations, 2 * 2 * classes as u128);
    let (_, bytes) = peak(|| loss.forward(&inputs).unwrap());
    assert!(bytes <= plan.workspace_bytes && plan.workspace_bytes < 8 << 20, "{bytes} of {plan:?}");

    let weights = Array1::<f64>::ones(1_000_000);
    let shard = surprisal::Shard::new(7, weights.len());
    let inputs = Inputs::new(hidden.view(), classifier.view(), &[9_u32]).rows(&[0]);
    let inputs = inputs.shard(shard).class_weights(weights.view());
    let plan = loss.plan(&Shapes::of(&inputs), Pass::Forward).unwrap();
    let (_, bytes) = peak(|| loss.fold(&inputs).unwrap());
    assert!(bytes <= plan.workspace_bytes, "{bytes} of {plan:?}");
}

fn strips_follow_the_budget() {
    let shapes = Shapes::new(1000, 64, 50_000);
    let plan = |budget: usize, backward| {
        let builder = LinearCrossEntropy::builder().memory_budget(budget).backward(backward);
        builder.build().unwrap().plan_for(&shapes, Pass::LossAndGradients, 2)
    };
    let (small, large) = (plan(64 << 20, Backward::Strip), plan(128 << 20, Backward::Strip));
    assert!(small.unwrap().rows_at_once < large.unwrap().rows_at_once);
    let least = match plan(1, Backward::Strip).unwrap_err() {
        surprisal::Error::MemoryBudget { smallest, .. } => smallest,
        error => panic!("{error}"),
    };
    assert!(plan(least - 1, Backward::Strip).is_err());
    let smallest = plan(least, Backward::Strip).unwrap();
    assert_eq!((smallest.strategy, smallest.rows_at_once), (Some(Strategy::Strip), 1));
    assert!(smallest.workspace_bytes <= least);
    // Neither strategy nor tiles depend on the threads.
    let loss = LinearCrossEntropy::builder().build().unwrap();
    let one = loss.plan_for(&shapes, Pass::LossAndGradients, 1).unwrap();
    let many = loss.plan_for(&shapes, Pass::LossAndGradients, 1000).unwrap();
    assert_eq!((one.strategy, one.rows_at_once), (many.strategy, many.rows_at_once));
    assert!(many.workspace_bytes <= LinearCrossEntropy::DEFAULT_MEMORY_BUDGET);
    assert_eq!(plan(16 << 20, Backward::Auto).unwrap().strategy, Some(Strategy::Recompute));
}
