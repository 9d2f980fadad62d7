//! The loss on a GPU.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as TaskContext, Poll, Wake};

use half::{bf16, f16};
use ndarray::{Array1, Array2, ArrayView2, s};
use surprisal::gpu::wgpu;
use surprisal::gpu::{Context, DeviceGradients, DeviceInputs, DeviceMatrix, Failure, Workspace};
use surprisal::{
    DroppedMass, Element, Error, Filter, Forward, Gradients, Inputs, LinearCrossEntropy, Reduction,
    Statistic, Targets, Upstream,
};
use testing::golden::{ErrorModel, cases};
use testing::{Answer, Case, Stream, Wanted, assert_close, cast, close, inputs, inputs_with};

use super::adapter;

/// The one context of this process, and how many tests have asked for it.
pub(super) fn context() -> &'static Context {
    static CONTEXT: OnceLock<Context> = OnceLock::new();
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let context = CONTEXT
        .get_or_init(|| adapter::builder().build().unwrap_or_else(|error| panic!("{error}")));
    let count = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
    let information = context.adapter();
    // Past the capture of the test harness.
    let line = format!("GPU test {count} on {} ({})\n", information.name, information.driver_info);
    let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
    context
}

/// A device of the same adapter with these limits and features.
fn device(limits: Option<wgpu::Limits>, features: wgpu::Features) -> (wgpu::Device, wgpu::Queue) {
    let descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    let instance = wgpu::Instance::new(descriptor);
    let all = block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let adapter = all.into_iter().find(|a| adapter::takes(a.get_info().device_type));
    let adapter = adapter.expect("an adapter");
    block_on(adapter.request_device(&wgpu::DeviceDescriptor {
        label: None,
        required_features: features,
        required_limits: limits.unwrap_or_else(|| adapter.limits()),
        experimental_features: wgpu::ExperimentalFeatures::disabled(),
        memory_hints: wgpu::MemoryHints::Performance,
        trace: wgpu::Trace::Off,
    }))
    .expect("a device")
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    let mut task = TaskContext::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut task) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Loss and all gradients.
struct Run {
    forward: Forward,
    hidden: Array2<f32>,
    classifier: Array2<f32>,
    bias: Array1<f32>,
}

impl Run {
    fn bits(&self) -> Vec<u32> {
        let states = self.forward.states().iter();
        let states = states.flat_map(|s| [s.maximum, s.remainder, s.first_moment, s.second_moment]);
        let gradients = self.hidden.iter().chain(&self.classifier).chain(&self.bias);
        gradients.copied().chain(states.map(|x| x as f32)).map(f32::to_bits).collect()
    }
}

fn upstream_of<'a>(case: &Case, rows: &'a Array1<f32>) -> Upstream<'a> {
    match case.reduction {
        Reduction::None => Upstream::rows(rows.view()),
        _ => Upstream::default(),
    }
}

fn run_with<T: Element<Real = f32>>(
    context: &Context,
    case: &Case,
    loss: &LinearCrossEntropy,
) -> Run {
    let (hidden, classifier) = (cast::<T>(&case.hidden), cast::<T>(&case.classifier));
    let inputs = inputs(case, &hidden, &classifier);
    run_inputs(context, case, loss, &inputs)
}

fn run_inputs(
    context: &Context,
    case: &Case,
    loss: &LinearCrossEntropy,
    inputs: &Inputs<'_>,
) -> Run {
    let rows = case.d_loss.mapv(|x| x as f32);
    let single = |v: &Option<Array1<f64>>| v.as_ref().map(|v| v.mapv(|x| x as f32));
    let (log_sum_exp, entropy) = (single(&case.d_log_sum_exp), single(&case.d_entropy));
    let mut upstream = upstream_of(case, &rows);
    if let Some(rows) = &log_sum_exp {
        upstream = upstream.log_sum_exp(rows.view());
    }
    if let Some(rows) = &entropy {
        upstream = upstream.entropy(rows.view());
    }
    let mut hidden = Array2::from_elem(case.hidden.dim(), f32::NAN);
    let mut classifier = Array2::from_elem(case.classifier.dim(), f32::NAN);
    let mut bias = Array1::from_elem(case.classifier.dim().0, f32::NAN);
    let gradients = Gradients::new()
        .hidden(hidden.view_mut())
        .classifier(classifier.view_mut())
        .bias(bias.view_mut());
    let forward = loss.on(context).loss_and_gradients(inputs, &upstream, gradients);
    let forward = forward.unwrap_or_else(|error| panic!("{error}"));
    Run { forward, hidden, classifier, bias }
}

fn wide<'a, T: Element>(values: impl IntoIterator<Item = &'a T>) -> Vec<f64> {
    values.into_iter().map(|x| x.to_f64()).collect()
}

/// Against the float64 truth of the rounded inputs.
fn check<T: Element<Real = f32>>(case: &Case, loss: &LinearCrossEntropy) -> Answer {
    let round = |m: &Array2<f64>| m.mapv(|x| T::from_f64(x).to_f64());
    let rounded =
        Case { hidden: round(&case.hidden), classifier: round(&case.classifier), ..case.clone() };
    let truth = rounded.run();
    let model = ErrorModel::of(&rounded, &truth, false);
    let run = run_with::<T>(context(), &rounded, loss);
    compare(&run, &truth, &model);
    truth
}

#[track_caller]
fn compare(run: &Run, truth: &Answer, model: &ErrorModel) {
    let forward = &run.forward;
    assert_close("losses", wide(&forward.losses()), &truth.losses, 1e-6, model.loss);
    assert_close("loss", [forward.loss()], &[truth.loss], 1e-6, model.loss);
    let lse = wide(&forward.log_sum_exp());
    assert_close("lse", lse, &truth.log_sum_exp, 1e-6, model.loss.max(1e-6));
    assert_close("dE", wide(&run.hidden), &truth.d_hidden, 1e-6, model.gradient);
    assert_close("dC", wide(&run.classifier), &truth.d_classifier, 1e-6, model.gradient);
    assert_close("db", wide(&run.bias), &truth.d_bias, 1e-6, model.gradient);
}

fn golden_in<T: Element<Real = f32>>() {
    for (case, _) in &cases() {
        check::<T>(case, &case.builder().build().unwrap());
    }
}

#[test]
fn golden_cases_in_f32() {
    golden_in::<f32>();
}

#[test]
fn golden_cases_in_bf16_storage() {
    golden_in::<bf16>();
}

#[test]
fn golden_cases_in_f16_storage() {
    golden_in::<f16>();
}

/// Random data with everything on that goes together.
fn everything(n: usize, d: usize, v: usize, seed: u64) -> Case {
    let mut stream = Stream(seed);
    let hidden = stream.matrix(n, d, 1.0 / (d.max(1) as f64).sqrt());
    let classifier = stream.matrix(v, d, 1.5);
    let mut targets = stream.classes(n, v);
    if n > 2 {
        targets[1] = -100;
        targets[n - 1] = v as i64 - 1;
    }
    let mut case = Case::new(hidden, classifier, Wanted::Hard(targets));
    case.bias = Some(stream.vector(v, 0.5));
    case.class_weights = Some(stream.vector(v, 1.0).mapv(|x| x.abs() + 0.1));
    case.token_weights = Some(stream.vector(n, 1.0));
    case.scale = 1.3;
    case.softcap = Some(7.0);
    case.label_smoothing = 0.1;
    case.z_loss = 1e-3;
    case.reduction = Reduction::None;
    case.d_loss = stream.vector(n, 1.0);
    case.d_log_sum_exp = Some(stream.vector(n, 0.5));
    case.d_entropy = Some(stream.vector(n, 0.5));
    // The oracle and the device see the same numbers.
    let round = |x: &mut f64| *x = f64::from(*x as f32);
    case.hidden.iter_mut().for_each(round);
    case.classifier.iter_mut().for_each(round);
    for vector in [
        &mut case.bias,
        &mut case.class_weights,
        &mut case.token_weights,
        &mut case.d_log_sum_exp,
        &mut case.d_entropy,
    ] {
        vector.iter_mut().flatten().for_each(round);
    }
    case.d_loss.iter_mut().for_each(round);
    case
}

/// What the entropy's gradient adds to the error model of the loss: p (ln p + H), of which each factor
/// is off by the same.
fn model_of(case: &Case, truth: &Answer) -> ErrorModel {
    let mut model = ErrorModel::of(case, truth, false);
    let largest = |v: &Option<Array1<f64>>| {
        v.as_ref().map_or(0.0, |v| v.iter().fold(0.0_f64, |m, x| x.abs().max(m)))
    };
    let more = largest(&case.d_entropy) * (1.0 + (case.classifier.dim().0 as f64).ln())
        + largest(&case.d_log_sum_exp);
    model.gradient *= 1.0 + more;
    model
}

#[test]
fn shapes_around_every_edge_with_everything_on() {
    let context = context();
    for (i, &(n, d, v)) in [
        (1, 1, 1),
        (1, 4, 2),
        (2, 3, 63),
        (63, 5, 64),
        (64, 16, 65),
        (65, 15, 127),
        (95, 17, 129),
        (96, 64, 128),
        (127, 63, 130),
        (128, 65, 191),
        (129, 12, 193),
        (130, 7, 257),
        (1, 130, 300),
        (2, 4, 511),
        (1, 6, 513),
        (3, 4, 4095),
        (3, 4, 4096),
        (97, 4, 4097),
    ]
    .iter()
    .enumerate()
    {
        let case = everything(n, d, v, 100 + i as u64);
        let loss = case.builder().varentropy(true).rank(true).build().unwrap();
        let truth = case.run();
        let run = run_with::<f32>(context, &case, &loss);
        compare(&run, &truth, &model_of(&case, &truth));
        let forward = &run.forward;
        let entropy = wide(&forward.statistic(Statistic::Entropy).unwrap());
        assert_close("entropy", entropy, &truth.entropy, 1e-5, 3e-5);
        let varentropy = wide(&forward.statistic(Statistic::Varentropy).unwrap());
        assert_close("varentropy", varentropy, &truth.varentropy, 3e-5, 1e-4);
        assert_eq!(forward.argmax(), truth.argmax, "{n} {d} {v}");
        assert_eq!(forward.rank().unwrap(), truth.rank, "{n} {d} {v}");
    }
}

#[test]
fn soft_targets_dense_and_sparse() {
    let context = context();
    let mut stream = Stream(5);
    for (n, d, v) in [(3, 8, 5), (70, 12, 130), (5, 6, 4100)] {
        for smoothing in [0.0, 0.2] {
            for softcap in [None, Some(3.0)] {
                let mut case = everything(n, d, v, stream.bits());
                let mut soft = Array2::zeros((n, v));
                let (mut classes, mut weights) =
                    (Array2::<u32>::zeros((n, 3)), Array2::<f32>::zeros((n, 3)));
                for i in 0..n {
                    for j in 0..3 {
                        // A class may come twice.
                        let class = stream.bits() as usize % v;
                        let weight = stream.uniform() as f32;
                        classes[[i, j]] = class as u32;
                        weights[[i, j]] = weight;
                        soft[[i, class]] += f64::from(weight);
                    }
                }
                case.targets = Wanted::Soft(soft);
                case.label_smoothing = smoothing;
                case.softcap = softcap;
                let loss = case.builder().entropy(true).build().unwrap();
                let truth = case.run();
                let mut model = model_of(&case, &truth);
                model.loss *= 3.0;
                model.gradient *= 3.0;
                let run = run_with::<f32>(context, &case, &loss);
                compare(&run, &truth, &model);
                let (hidden, classifier) =
                    (cast::<f32>(&case.hidden), cast::<f32>(&case.classifier));
                let sparse = Targets::sparse(&classes, &weights);
                let inputs = inputs_with(&case, &hidden, &classifier, sparse);
                let run = run_inputs(context, &case, &loss, &inputs);
                compare(&run, &truth, &model);
            }
        }
    }
}

/// The processor and the device on the same inputs.
fn both(
    hidden: ArrayView2<'_, f32>,
    classifier: ArrayView2<'_, f32>,
    targets: &[i64],
    bias: Option<&Array1<f32>>,
    loss: &LinearCrossEntropy,
) -> [Run; 2] {
    let mut inputs = Inputs::new(hidden, classifier, targets);
    if let Some(bias) = bias {
        inputs = inputs.bias(bias.view());
    }
    let run = |on_device: bool| {
        let mut d_hidden = Array2::from_elem(hidden.dim(), f32::NAN);
        let mut d_classifier = Array2::from_elem(classifier.dim(), f32::NAN);
        let mut d_bias = Array1::from_elem(classifier.dim().0, f32::NAN);
        let gradients = Gradients::new()
            .hidden(d_hidden.view_mut())
            .classifier(d_classifier.view_mut())
            .bias(d_bias.view_mut());
        let up = Upstream::default();
        let forward = match on_device {
            true => loss.on(context()).loss_and_gradients(&inputs, &up, gradients).unwrap(),
            false => loss.loss_and_gradients(&inputs, &up, gradients).unwrap(),
        };
        Run { forward, hidden: d_hidden, classifier: d_classifier, bias: d_bias }
    };
    [run(false), run(true)]
}

#[track_caller]
fn same(runs: &[Run; 2], tolerance: f64) {
    let [there, here] = runs;
    assert_eq!(there.forward.argmax(), here.forward.argmax());
    assert_eq!(there.forward.rank().unwrap(), here.forward.rank().unwrap());
    same_but_for_order(runs, tolerance);
}

/// The same, whatever is the largest.
fn same_but_for_order(runs: &[Run; 2], tolerance: f64) {
    let [there, here] = runs;
    let near = |what: &str, a: Vec<f64>, b: Vec<f64>| {
        assert_close(what, b, &a, tolerance, tolerance);
    };
    near("loss", vec![there.forward.loss()], vec![here.forward.loss()]);
    near("losses", wide(&there.forward.losses()), wide(&here.forward.losses()));
    near("lse", wide(&there.forward.log_sum_exp()), wide(&here.forward.log_sum_exp()));
    for statistic in [Statistic::Entropy, Statistic::Varentropy] {
        let of = |run: &Run| wide(&run.forward.statistic(statistic).unwrap());
        near("a statistic", of(there), of(here));
    }
    near("dE", wide(&there.hidden), wide(&here.hidden));
    near("dC", wide(&there.classifier), wide(&here.classifier));
    near("db", wide(&there.bias), wide(&here.bias));
}

fn all_statistics() -> surprisal::LinearCrossEntropyBuilder {
    LinearCrossEntropy::builder().varentropy(true).rank(true)
}

#[test]
fn odd_values_are_as_on_the_processor() {
    let (infinity, nan) = (f32::INFINITY, f32::NAN);
    let one = Array2::from_elem((4, 1), 1.0_f32);
    for softcap in [None, Some(2.0)] {
        for smoothing in [0.0, 0.1] {
            let mut builder =
                all_statistics().reduction(Reduction::None).label_smoothing(smoothing);
            if let Some(softcap) = softcap {
                builder = builder.softcap(softcap);
            }
            let loss = builder.build().unwrap();
            for logits in [
                vec![1.0, 2.0, 2.0, -1.0, 0.5],
                vec![5.0; 5],
                vec![1.0, -infinity, 2.0, 0.0, -infinity],
                vec![-infinity; 5],
                vec![-infinity, -infinity, 3.0, -infinity, -infinity],
                vec![1.0, infinity, 2.0, infinity, 0.0],
                vec![1.0, nan, 2.0, 0.0, infinity],
                vec![nan; 5],
                vec![1e30, -1e30, 0.0, 3e38, -3e38],
                vec![-1e30, -2e30, -3e38, -1e30, -5.0],
                vec![80.0, -80.0, 0.0, 90.0, -90.0],
                vec![1e-40, 0.0, -1e-40, 0.0, 0.0],
                vec![0.0],
                vec![-infinity],
            ] {
                let v = logits.len();
                let classifier = Array2::from_shape_vec((v, 1), logits.clone()).unwrap();
                let targets = [0, (v / 2) as i64, -100, v as i64 - 1];
                let runs = both(one.view(), classifier.view(), &targets, None, &loss);
                println!("{softcap:?} {smoothing} {logits:?}");
                // A GPU may take subnormal numbers for 0 (WGSL, floating point evaluation): then they are equal.
                let check = match logits.iter().any(|x| x.is_subnormal()) {
                    true => same_but_for_order,
                    false => same,
                };
                check(&runs, 2e-6);
                // The same as a mask: finite products, infinite biases.
                let bias = Array1::from(logits);
                let zeros = Array2::zeros((v, 1));
                let runs = both(one.view(), zeros.view(), &targets, Some(&bias), &loss);
                check(&runs, 2e-6);
            }
        }
    }
}

#[test]
fn a_poisoned_row_is_alone_with_it_and_an_ignored_one_is_nowhere() {
    let mut stream = Stream(9);
    let mut hidden = cast::<f32>(&stream.matrix(70, 5, 1.0));
    let classifier = cast::<f32>(&stream.matrix(66, 5, 1.0));
    let mut targets = stream.classes(70, 66);
    let loss = all_statistics().reduction(Reduction::Sum).build().unwrap();
    hidden.row_mut(3).fill(f32::NAN);
    hidden[[4, 1]] = f32::INFINITY;
    targets[3] = -100;
    targets[4] = -100;
    let runs = both(hidden.view(), classifier.view(), &targets, None, &loss);
    same(&runs, 1e-5);
    let [_, here] = &runs;
    assert!(here.forward.loss().is_finite() && here.classifier.iter().all(|x| x.is_finite()));
    assert!(here.hidden.row(3).iter().chain(here.hidden.row(4)).all(|&x| x == 0.0));
    targets[3] = 2;
    let [_, here] = both(hidden.view(), classifier.view(), &targets, None, &loss);
    let losses = here.forward.losses();
    assert!(losses.indexed_iter().all(|(i, loss)| loss.is_nan() == (i == 3)));
    assert_eq!(here.forward.argmax()[3], 0);
    let rows = here.hidden.outer_iter().enumerate();
    rows.for_each(|(i, row)| assert!(row.iter().all(|x| x.is_nan() == (i == 3))));
    assert!(here.classifier.iter().all(|x| x.is_nan()));
}

#[test]
fn nothing_to_do() {
    let loss = all_statistics().build().unwrap();
    for (n, d, v) in [(0, 3, 4), (3, 0, 4), (0, 0, 1), (2, 3, 4)] {
        let (hidden, classifier) = (Array2::ones((n, d)), Array2::ones((v, d)));
        let runs = both(hidden.view(), classifier.view(), &vec![-100; n], None, &loss);
        same(&runs, 0.0);
        assert!(runs[1].forward.loss().is_nan());
        assert!(runs[1].hidden.iter().chain(&runs[1].classifier).all(|&x| x == 0.0));
        let runs = both(hidden.view(), classifier.view(), &vec![0; n], None, &loss);
        same(&runs, 1e-6);
    }
}

#[test]
fn confident_rows_keep_their_digits() {
    // The loss is about 2e-20: 1 − p would have been 0.
    let hidden = Array2::from_elem((1, 1), 1.0_f32);
    let classifier = ndarray::arr2(&[[0.0_f32], [45.0], [-1.0]]);
    let loss = all_statistics().build().unwrap();
    let runs = both(hidden.view(), classifier.view(), &[1], None, &loss);
    let expected = ((-45.0_f64).exp() + (-46.0_f64).exp()).ln_1p();
    for run in &runs {
        assert!(close(run.forward.loss(), expected, 1e-6, 0.0));
        let own = f64::from(run.bias[1]);
        assert!(close(own, -expected, 1e-6, 0.0), "{own:e} {expected:e}");
    }
}

/// A context whose bindings and scratch are of so few bytes.
pub(super) fn tiny(bytes: u64, storage: u32) -> Context {
    let limits = wgpu::Limits {
        max_storage_buffer_binding_size: bytes,
        max_compute_workgroup_storage_size: storage,
        ..context().device().limits()
    };
    adapter::builder()
        .limits(limits)
        .scratch_bytes(bytes as usize)
        .build()
        .unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_same_bits_for_any_number_of_bindings_and_dispatches() {
    // 512 KiB are 16384 classes of 8 numbers, and the states of 128 rows and 40 spans are half of it.
    let case = everything(300, 8, 20_000, 77);
    let loss = case.builder().varentropy(true).build().unwrap();
    let whole = run_with::<f32>(context(), &case, &loss).bits();
    assert!(whole == run_with::<f32>(context(), &case, &loss).bits(), "a second run differs");
    let tiny = tiny(512 << 10, 32768);
    assert!(whole == run_with::<f32>(&tiny, &case, &loss).bits(), "bindings change the bits");
    let truth = case.run();
    compare(&run_with::<f32>(&tiny, &case, &loss), &truth, &model_of(&case, &truth));
}

#[test]
fn every_tile_gives_the_same_logits() {
    let case = everything(130, 20, 300, 78);
    let loss = case.builder().varentropy(true).rank(true).build().unwrap();
    let truth = case.run();
    let small = tiny(1 << 20, 16384);
    let run = run_with::<f32>(&small, &case, &loss);
    compare(&run, &truth, &model_of(&case, &truth));
    let large = run_with::<f32>(context(), &case, &loss);
    let maxima = |run: &Run| run.forward.states().iter().map(|s| s.maximum).collect::<Vec<_>>();
    assert_eq!(maxima(&run), maxima(&large));
    assert_eq!(run.forward.rank().unwrap(), large.forward.rank().unwrap());
}

#[test]
fn a_limit_that_leaves_no_way_says_so() {
    let case = everything(10, 64, 5000, 3);
    let error = {
        let (hidden, classifier) = (cast::<f32>(&case.hidden), cast::<f32>(&case.classifier));
        let loss = case.builder().build().unwrap();
        let inputs = inputs(&case, &hidden, &classifier);
        loss.on(&tiny(100 << 10, 32768)).forward(&inputs).unwrap_err()
    };
    assert!(
        matches!(error, Error::Gpu(Failure::LimitExceeded { need, .. }) if need == 512 * 64 * 4),
        "{error}"
    );
}

#[test]
fn what_the_device_does_not_do_is_an_error() {
    let (hidden, classifier) = (Array2::<f32>::ones((2, 3)), Array2::<f32>::ones((4, 3)));
    let inputs = Inputs::new(hidden.view(), classifier.view(), &[1_i64, 2]);
    let top = LinearCrossEntropy::builder().top_k(2).build().unwrap();
    assert!(matches!(top.on(context()).forward(&inputs), Err(Error::Conflict { .. })));
    let given = Inputs::from_logits(classifier.view(), &[1_i64, 2, 0, 0]);
    let loss = LinearCrossEntropy::builder().build().unwrap();
    assert!(matches!(loss.on(context()).forward(&given), Err(Error::Conflict { .. })));
    let wrong = Inputs::new(hidden.view(), classifier.view(), &[1_i64, 4]);
    let error = loss.on(context()).forward(&wrong).unwrap_err();
    assert!(matches!(error, Error::TargetOutOfRange { row: 1, value: 4, .. }));
    let error = Context::builder().adapter("no such thing").build().unwrap_err();
    assert!(error.to_string().contains("no such thing"), "{error}");
}

#[test]
fn views_of_any_strides_and_selected_rows() {
    let mut stream = Stream(21);
    let hidden = cast::<f32>(&stream.matrix(9, 14, 1.0));
    let classifier = cast::<f32>(&stream.matrix(7, 33, 1.0));
    let (hidden, classifier) = (hidden.slice(s![.., ..;2]), classifier.t());
    let classifier = classifier.slice(s![..;-1, ..]);
    assert_eq!((hidden.dim(), classifier.dim()), ((9, 7), (33, 7)));
    let targets = stream.classes(9, 33);
    let loss = all_statistics().build().unwrap();
    same(&both(hidden, classifier, &targets, None, &loss), 2e-5);
    let rows = [1_usize, 4, 8];
    for inputs in [
        Inputs::new(hidden, classifier, &[3_i64, 0, 32]).rows(&rows),
        Inputs::new(hidden, classifier, &targets).shift_within(1, 3),
    ] {
        let run = |on_device: bool| {
            let mut accumulated = Array2::from_elem((9, 7), 1.0_f32);
            let mut rounded = Array2::from_elem((33, 7), bf16::ONE);
            let gradients = Gradients::new()
                .accumulate_hidden(accumulated.view_mut())
                .accumulate_classifier(rounded.view_mut());
            let up = Upstream::scalar(2.0);
            let forward = match on_device {
                true => loss.on(context()).loss_and_gradients(&inputs, &up, gradients).unwrap(),
                false => loss.loss_and_gradients(&inputs, &up, gradients).unwrap(),
            };
            (wide(&forward.losses()), wide(&accumulated), rounded)
        };
        let (there, here) = (run(false), run(true));
        assert_close("losses", here.0, &there.0, 1e-5, 1e-5);
        assert_close("dE", here.1, &there.1, 1e-5, 1e-5);
        let f64s = |m: &Array2<bf16>| m.iter().map(|x| x.to_f64()).collect::<Vec<_>>();
        assert_close("dC", f64s(&here.2), &f64s(&there.2), 0.008, 1e-5);
    }
}

#[test]
fn a_forward_of_the_processor_goes_with_a_backward_of_the_device() {
    let case = everything(20, 6, 40, 13);
    let (hidden, classifier) = (cast::<f32>(&case.hidden), cast::<f32>(&case.classifier));
    let inputs = inputs(&case, &hidden, &classifier);
    let loss = case.builder().rank(true).build().unwrap();
    let rows = case.d_loss.mapv(|x| x as f32);
    let forward = loss.forward(&inputs).unwrap();
    let (mut there, mut here) = (Array2::<f32>::zeros((20, 6)), Array2::<f32>::zeros((20, 6)));
    let up = Upstream::rows(rows.view());
    loss.vjp(&inputs, &forward, &up, Gradients::new().hidden(there.view_mut())).unwrap();
    let gradients = Gradients::new().hidden(here.view_mut());
    loss.on(context()).vjp(&inputs, &forward, &up, gradients).unwrap();
    assert_close("dE", wide(&here), &wide(&there), 1e-5, 1e-5);
}

#[test]
fn asynchronous_calls_give_the_same() {
    let case = everything(20, 6, 40, 14);
    let (hidden, classifier) = (cast::<f32>(&case.hidden), cast::<f32>(&case.classifier));
    let inputs = inputs(&case, &hidden, &classifier);
    let loss = case.builder().build().unwrap();
    let blocking = loss.on(context()).forward(&inputs).unwrap();
    fn send<T: Send>(future: T) -> T {
        future
    }
    let forward = block_on(send(loss.on(context()).forward_async(&inputs))).unwrap();
    assert_eq!(forward.states(), blocking.states());
    let rows = case.d_loss.mapv(|x| x as f32);
    let up = Upstream::rows(rows.view());
    let mut gradients = [(); 3].map(|()| Array2::<f32>::zeros((20, 6)));
    let [first, second, third] = &mut gradients;
    let to = |gradient| Gradients::new().hidden(ArrayViewMut::from(gradient));
    loss.on(context()).vjp(&inputs, &forward, &up, to(first)).unwrap();
    block_on(loss.on(context()).vjp_async(&inputs, &forward, &up, to(second))).unwrap();
    block_on(loss.on(context()).loss_and_gradients_async(&inputs, &up, to(third))).unwrap();
    assert!(gradients[0] == gradients[1] && gradients[0] == gradients[2]);
}

type ArrayViewMut<'a> = ndarray::ArrayViewMut2<'a, f32>;

/// Buffers of a host program.
struct Host {
    context: Context,
}

impl Host {
    fn new(limits: Option<wgpu::Limits>, features: wgpu::Features) -> Self {
        let (device, queue) = device(limits, features);
        Self { context: Context::from_device(device, queue) }
    }

    fn buffer(&self, bytes: &[u8]) -> wgpu::Buffer {
        use wgpu::util::DeviceExt;
        let usage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_DST
            | wgpu::BufferUsages::COPY_SRC;
        let mut contents = bytes.to_vec();
        contents.resize(bytes.len().next_multiple_of(16), 0);
        let contents = &contents;
        self.context.device().create_buffer_init(&wgpu::util::BufferInitDescriptor {
            label: None,
            contents,
            usage,
        })
    }

    fn read(&self, buffer: &wgpu::Buffer) -> Vec<f32> {
        let device = self.context.device();
        let staging = device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: buffer.size(),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, None);
        self.context.queue().submit([encoder.finish()]);
        staging.map_async(wgpu::MapMode::Read, .., |mapped| mapped.unwrap());
        device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
        let view = staging.get_mapped_range(..).unwrap();
        bytemuck::pod_collect_to_vec(&view)
    }

    /// Forward and backward of a case into encoders of its own.
    fn run(&self, case: &Case, workspace: &mut Workspace) -> Run {
        let loss = case.builder().varentropy(true).build().unwrap();
        let (n, d) = case.hidden.dim();
        let v = case.classifier.dim().0;
        let floats = |m: &Array2<f64>| m.iter().map(|&x| x as f32).collect::<Vec<f32>>();
        let bytes = |m: &Array2<f64>| bytemuck::cast_slice(&floats(m)).to_vec();
        let hidden = DeviceMatrix::f32(self.buffer(&bytes(&case.hidden)), n, d);
        // Behind something else in its buffer.
        let mut behind = vec![0xff_u8; 512];
        behind.extend(bytes(&case.classifier));
        let classifier = DeviceMatrix::f32(self.buffer(&behind), v, d).offset(512);
        let targets = match &case.targets {
            Wanted::Hard(targets) => Targets::from(targets),
            Wanted::Soft(weights) => Targets::soft(weights),
        };
        let mut inputs = DeviceInputs::new(hidden, classifier, targets);
        if let Some(bias) = &case.bias {
            inputs = inputs.bias(bias.view());
        }
        if let Some(weights) = &case.class_weights {
            inputs = inputs.class_weights(weights.view());
        }
        if let Some(weights) = &case.token_weights {
            inputs = inputs.token_weights(weights.view());
        }
        let encoder = || self.context.device().create_command_encoder(&Default::default());
        let mut forward = encoder();
        let on = loss.on(&self.context);
        let encoded = on.encode_forward(&mut forward, &inputs, workspace).unwrap();
        let submission = self.context.queue().submit([forward.finish()]);
        let forward = encoded.finish(submission).unwrap();
        let rows = case.d_loss.mapv(|x| x as f32);
        let single = |v: &Option<Array1<f64>>| v.as_ref().map(|v| v.mapv(|x| x as f32));
        let (log_sum_exp, entropy) = (single(&case.d_log_sum_exp), single(&case.d_entropy));
        let mut upstream = upstream_of(case, &rows);
        if let Some(rows) = &log_sum_exp {
            upstream = upstream.log_sum_exp(rows.view());
        }
        if let Some(rows) = &entropy {
            upstream = upstream.entropy(rows.view());
        }
        let poison = |count: usize| self.buffer(&vec![0xff; 4 * count]);
        let (d_hidden, d_classifier, d_bias) = (poison(n * d), poison(v * d), poison(v));
        let gradients = DeviceGradients::new()
            .hidden(DeviceMatrix::f32(d_hidden.clone(), n, d))
            .classifier(DeviceMatrix::f32(d_classifier.clone(), v, d))
            .bias(d_bias.clone());
        let mut backward = encoder();
        on.encode_vjp(&mut backward, &inputs, &forward, &upstream, &gradients, workspace).unwrap();
        self.context.queue().submit([backward.finish()]);
        let shaped = |buffer, rows: usize, columns: usize| {
            let values = self.read(buffer)[..rows * columns].to_vec();
            Array2::from_shape_vec((rows, columns), values).unwrap()
        };
        Run {
            forward,
            hidden: shaped(&d_hidden, n, d),
            classifier: shaped(&d_classifier, v, d),
            bias: Array1::from(self.read(&d_bias)[..v].to_vec()),
        }
    }
}

#[test]
fn buffers_of_the_host_and_a_workspace_full_of_something_else() {
    let host = Host::new(None, wgpu::Features::IMMEDIATES);
    let case = everything(70, 12, 200, 31);
    let fresh = host.run(&case, &mut Workspace::new());
    let truth = case.run();
    compare(&fresh, &truth, &model_of(&case, &truth));
    let loss = case.builder().varentropy(true).build().unwrap();
    assert!(fresh.bits() == run_with::<f32>(context(), &case, &loss).bits());
    // What is left over from a larger call is all NaN.
    let mut poisoned = everything(140, 16, 500, 32);
    poisoned.hidden.fill(f64::NAN);
    let mut workspace = Workspace::new();
    host.run(&poisoned, &mut workspace);
    assert!(workspace.bytes() > 140 * 500 * 4);
    assert!(fresh.bits() == host.run(&case, &mut workspace).bits());
    let mut soft = case;
    let weights = Stream(4).matrix(70, 200, 1.0).mapv(|x| f64::from(x.abs() as f32));
    soft.targets = Wanted::Soft(weights);
    let truth = soft.run();
    let mut model = model_of(&soft, &truth);
    model.loss *= 300.0;
    model.gradient *= 300.0;
    compare(&host.run(&soft, &mut workspace), &truth, &model);
}

#[test]
fn a_device_with_the_least_limits_and_no_features_will_do() {
    let host = Host::new(Some(wgpu::Limits::default()), wgpu::Features::empty());
    let case = everything(70, 12, 200, 31);
    let loss = case.builder().varentropy(true).build().unwrap();
    let run = host.run(&case, &mut Workspace::new());
    assert!(run.bits() == run_with::<f32>(context(), &case, &loss).bits());
    let case = everything(140, 12, 300, 33);
    let truth = case.run();
    compare(&host.run(&case, &mut Workspace::new()), &truth, &model_of(&case, &truth));
}

#[test]
fn mixed_storage() {
    let mut stream = Stream(41);
    let hidden = stream.matrix(17, 9, 1.0).mapv(|x| x as f32);
    let classifier = cast::<bf16>(&stream.matrix(50, 9, 1.0));
    let targets = stream.classes(17, 50);
    let inputs = Inputs::new(hidden.view(), classifier.view(), &targets);
    let loss = LinearCrossEntropy::builder().build().unwrap();
    let here = loss.on(context()).forward(&inputs).unwrap();
    let there = loss.forward(&inputs).unwrap();
    assert_close("losses", wide(&here.losses()), &wide(&there.losses()), 1e-5, 1e-5);
}

#[test]
fn a_filter_drops_what_is_negligible_and_nothing_else() {
    // 128 rows that are sure of classes of the first half, so that nothing of the second counts.
    let mut stream = Stream(51);
    let (n, d, v) = (128, 16, 256);
    let classifier = stream.matrix(v, d, 1.0);
    let targets: Vec<i64> = stream.classes(n, 64);
    let mut hidden = Array2::zeros((n, d));
    for (i, &y) in targets.iter().enumerate() {
        hidden.row_mut(i).assign(&(&classifier.row(y as usize) * 3.0));
    }
    let mut case = Case::new(hidden, classifier, Wanted::Hard(targets));
    let mut bias = Array1::zeros(v);
    bias.slice_mut(s![128..]).fill(-60.0);
    case.bias = Some(bias);
    let build = |filter| case.builder().filter(filter).build().unwrap();
    let exact = run_with::<f32>(context(), &case, &case.builder().build().unwrap());
    let all = run_with::<f32>(context(), &case, &build(Filter::Below(0.0)));
    assert!(exact.bits() == all.bits(), "a filter that drops nothing changes something");
    let some = run_with::<f32>(context(), &case, &build(Filter::Below(1e-6)));
    assert!(some.classifier.slice(s![128.., ..]).iter().all(|&x| x == 0.0));
    assert!(exact.classifier.slice(s![128.., ..]).iter().any(|&x| x != 0.0));
    assert!(some.bias.slice(s![128..]).iter().all(|&x| x == 0.0));
    let top = s![..128, ..];
    assert_eq!(some.classifier.slice(top), exact.classifier.slice(top));
    assert_close("dE", wide(&some.hidden), &wide(&exact.hidden), 1e-5, 1e-6);
    // What is reported is what was dropped: half of the blocks, with the mass of their classes.
    assert_eq!(some.forward.segments_kept(), Some(0.5));
    let (logits, _) = case.logits();
    let lost = |i: usize| {
        let of = |classes: std::ops::Range<usize>| {
            logits.slice(s![i, classes]).iter().map(|a| a.exp()).sum::<f64>()
        };
        of(128..256) / of(0..256)
    };
    let DroppedMass { largest, mean, .. } = some.forward.dropped_mass().unwrap();
    let expected: Vec<f64> = (0..n).map(lost).collect();
    let most = expected.iter().fold(0.0_f64, |most, &lost| most.max(lost));
    assert!(most > 0.0 && close(largest, most, 1e-4, 0.0), "{largest:e} {most:e}");
    assert!(close(mean, expected.iter().sum::<f64>() / n as f64, 1e-4, 0.0));
    let only = case
        .builder()
        .filter(Filter::Below(1e-6))
        .filter_classifier(false)
        .filter_bias(false)
        .build()
        .unwrap();
    let only = run_with::<f32>(context(), &case, &only);
    assert!(only.classifier == exact.classifier && only.bias == exact.bias);
    assert!(only.hidden == some.hidden);
}

/// What label smoothing takes from the classes that are left out is there all the same.
#[test]
fn a_filter_with_label_smoothing() {
    let mut stream = Stream(57);
    let (n, d, v) = (70, 9, 300);
    let hidden = stream.matrix(n, d, 1.0);
    let targets = stream.classes(n, 60);
    let mut case = Case::new(hidden, stream.matrix(v, d, 0.3), Wanted::Hard(targets));
    let mut bias = Array1::zeros(v);
    bias.slice_mut(s![128..]).fill(-60.0);
    case.bias = Some(bias);
    case.class_weights = Some(stream.vector(v, 1.0).mapv(f64::abs));
    case.label_smoothing = 0.2;
    let exact = run_with::<f32>(context(), &case, &case.builder().build().unwrap());
    let filter = case.builder().filter(Filter::Below(1e-9)).build().unwrap();
    let some = run_with::<f32>(context(), &case, &filter);
    assert!(some.forward.segments_kept().unwrap() < 0.6);
    // What was dropped is below 1e-20.
    assert!(some.forward.dropped_mass().unwrap().largest < 1e-20);
    assert!(exact.classifier.slice(s![128.., ..]).iter().any(|&x| x.abs() > 1e-5));
    for (name, some, exact) in [
        ("dE", wide(&some.hidden), wide(&exact.hidden)),
        ("dC", wide(&some.classifier), wide(&exact.classifier)),
    ] {
        assert_close(name, some, &exact, 1e-5, 1e-6);
    }
    assert_close("db", wide(&some.bias), &wide(&exact.bias), 1e-5, 1e-7);
}

#[test]
fn arrays_that_stay_on_the_device() {
    let context = context();
    let case = everything(70, 12, 200, 31);
    let loss = case.builder().varentropy(true).build().unwrap();
    let expected = run_with::<f32>(context, &case, &loss);
    let (hidden, classifier) = (cast::<f32>(&case.hidden), cast::<f32>(&case.classifier));
    let hidden = context.upload(hidden.view()).unwrap();
    let classifier = context.upload(classifier.view()).unwrap();
    assert_eq!(context.download(&hidden).unwrap(), cast::<f32>(&case.hidden));
    let Wanted::Hard(targets) = &case.targets else { unreachable!() };
    let inputs = DeviceInputs::new(hidden, classifier, targets)
        .bias(case.bias.as_ref().unwrap().view())
        .class_weights(case.class_weights.as_ref().unwrap().view())
        .token_weights(case.token_weights.as_ref().unwrap().view());
    let on = loss.on(context);
    let forward = on.forward(&inputs).unwrap();
    assert_eq!(forward.states(), expected.forward.states());
    let rows = case.d_loss.mapv(|x| x as f32);
    let single = |v: &Option<Array1<f64>>| v.as_ref().unwrap().mapv(|x| x as f32);
    let (log_sum_exp, entropy) = (single(&case.d_log_sum_exp), single(&case.d_entropy));
    let upstream =
        Upstream::rows(rows.view()).log_sum_exp(log_sum_exp.view()).entropy(entropy.view());
    let (d_hidden, d_classifier) =
        (context.zeros(70, 12).unwrap(), context.zeros(200, 12).unwrap());
    let twice =
        DeviceGradients::new().hidden(d_hidden.clone()).accumulate_classifier(d_classifier.clone());
    for _ in 0..2 {
        on.loss_and_gradients(&inputs, &upstream, &twice).unwrap();
    }
    assert!(context.download(&d_hidden).unwrap() == expected.hidden);
    let doubled = context.download(&d_classifier).unwrap();
    let expected = expected.classifier.mapv(|x| f64::from(2.0 * x));
    assert_close("2 dC", wide(&doubled), &expected, 1e-5, 1e-6);
    let narrow = DeviceGradients::new().hidden(context.zeros(70, 11).unwrap());
    let result = on.loss_and_gradients(&inputs, &upstream, &narrow);
    assert!(matches!(result, Err(Error::Shape { .. })));
    // The other two ways, which leave the same bits, and the scratch that the calls share.
    let poison = || context.upload(&Array2::from_elem((70, 12), f32::NAN)).unwrap();
    let (alone, waited) = (poison(), poison());
    on.vjp(&inputs, &forward, &upstream, &DeviceGradients::new().hidden(alone.clone())).unwrap();
    let into = DeviceGradients::new().hidden(waited.clone());
    let both = block_on(on.loss_and_gradients_async(&inputs, &upstream, &into)).unwrap();
    assert_eq!(both.states(), forward.states());
    for gradient in [alone, waited] {
        assert!(context.download(&gradient).unwrap() == context.download(&d_hidden).unwrap());
    }
    assert!(on.into_workspace().bytes() > 0);
}

/// Their logits are not in the states: a backward alone computes them again.
#[test]
fn sparse_targets_of_arrays_that_stay_on_the_device() {
    let mut stream = Stream(83);
    let (n, d, v) = (40, 12, 150);
    let hidden = cast::<f32>(&stream.matrix(n, d, 1.0));
    let classifier = cast::<f32>(&stream.matrix(v, d, 0.5));
    let classes = Array2::from_shape_fn((n, 3), |(i, j)| ((i * 31 + j * 57) % v) as u32);
    let weights = Array2::from_shape_fn((n, 3), |(i, j)| (1 + (i + j) % 3) as f32 / 6.0);
    let targets = Targets::sparse(&classes, &weights);
    let loss = LinearCrossEntropy::builder().build().unwrap();
    let (context, upstream) = (context(), Upstream::default());
    let on = loss.on(context);
    let mut expected = Array2::<f32>::zeros((v, d));
    let inputs = Inputs::new(&hidden, &classifier, targets);
    let gradients = Gradients::new().classifier(&mut expected);
    let forward = on.loss_and_gradients(&inputs, &upstream, gradients).unwrap();
    assert!(expected.iter().any(|&x| x != 0.0));
    let [hidden, classifier] = [&hidden, &classifier].map(|of| context.upload(of).unwrap());
    let inputs = DeviceInputs::new(hidden, classifier, targets);
    let found = context.zeros(v, d).unwrap();
    let gradients = DeviceGradients::new().classifier(found.clone());
    on.vjp(&inputs, &forward, &upstream, &gradients).unwrap();
    assert!(context.download(&found).unwrap() == expected);
}

#[test]
fn the_self_check_is_content() {
    context().self_check().unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_device_that_does_not_finish_in_time_is_an_error() {
    let hurried = adapter::builder().timeout(std::time::Duration::from_nanos(1)).build().unwrap();
    let (hidden, classifier) = (Array2::<f32>::ones((128, 128)), Array2::<f32>::ones((8192, 128)));
    let inputs = Inputs::new(hidden.view(), classifier.view(), &[0_u32; 128]);
    let loss = LinearCrossEntropy::builder().build().unwrap();
    let error = loss.on(&hurried).forward(&inputs).unwrap_err();
    assert!(matches!(error, Error::Gpu(Failure::Timeout { .. })), "{error}");
}

#[test]
fn every_half_is_read_as_it_is() {
    // All finite f16 and bf16, as logits of one class each beside a class of 0.
    fn check<T: Element<Real = f32>>(of: fn(u16) -> T) {
        let values: Vec<T> = (0..=u16::MAX).map(of).filter(|x| x.to_f64().is_finite()).collect();
        let hidden = Array2::from_shape_vec((values.len(), 1), values.clone()).unwrap();
        let classifier = Array2::<f32>::ones((1, 1));
        let targets = vec![0_u32; values.len()];
        let inputs = Inputs::new(hidden.view(), classifier.view(), &targets);
        let forward = LinearCrossEntropy::builder().build().unwrap().on(context()).forward(&inputs);
        for (state, x) in forward.unwrap().states().iter().zip(&values) {
            // What is subnormal in f32 may be 0.
            let tiny = x.to_f64().abs() < f64::from(f32::MIN_POSITIVE);
            assert!(state.maximum == x.to_f64() || (tiny && state.maximum == 0.0), "{x:?}");
        }
    }
    check::<f16>(f16::from_bits);
    check::<bf16>(bf16::from_bits);
}

#[test]
fn sums_over_many_classes_keep_their_digits() {
    let mut case = everything(16, 8, 60_000, 91);
    case.softcap = None;
    case.label_smoothing = 0.0;
    (case.d_log_sum_exp, case.d_entropy) = (None, None);
    let truth = case.run();
    let run = run_with::<f32>(context(), &case, &case.builder().build().unwrap());
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let pairs = || run.hidden.iter().zip(&truth.d_hidden);
    let off = norm(&mut pairs().map(|(&a, b)| f64::from(a) - b));
    let all = norm(&mut truth.d_hidden.iter().copied());
    // A sum that runs through all classes is off by 6e-6.
    assert!(off < 1e-6 * all, "{:e}", off / all);
}
