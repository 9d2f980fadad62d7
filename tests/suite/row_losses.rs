//! Losses other than cross-entropy on the same kernels: against direct sums in f64, fused over every
//! type, strategy and instruction set.

use half::{bf16, f16};
use ndarray::{Array1, Array2, ArrayView1, Axis, arr1, arr2, s};
use surprisal::autodiff::{Tape, gradcheck};
use surprisal::loss::{
    Companion, CorrectnessCalibration, CrossEntropy, DistributionallyRobust, EmbeddingCost,
    EntropyBonus, ExpectedCost, GeneralizedCrossEntropy, Head, KullbackLeibler, Needs,
    NormalizedCrossEntropy, RowLoss, RowScalars, Sum, Term, Terms,
};
use surprisal::{
    Backward, Element, Error, Gradients, Inputs, Isa, LinearCrossEntropy,
    LinearCrossEntropyBuilder, Real, Reduction, Shard, Upstream,
};
use testing::Stream;

/// s²/(1+s), as a user would write it.
#[derive(Debug)]
struct Tempered;

impl RowLoss for Tempered {
    fn evaluate(&self, row: &RowScalars) -> Terms {
        let s = row.surprisal();
        // s/(1+s), also at s = ∞.
        let share = 1.0 / (1.0 + 1.0 / s);
        Terms::weighted(Term::new(s * share).by_surprisal(share * (2.0 - share)))
    }
}

/// Something of every scalar, with a class weight that counts on one part alone.
#[derive(Debug)]
struct Everything;

impl RowLoss for Everything {
    fn needs(&self) -> Needs {
        Needs::nothing().entropy().min_entropy().deviation().companion()
    }

    fn evaluate(&self, row: &RowScalars) -> Terms {
        let (s, d, x) = (row.surprisal(), row.deviation(), row.companion());
        let weighted = Term::new(s / d + s * x)
            .by_surprisal(1.0 / d + x)
            .by_deviation(-s / (d * d))
            .by_companion(s);
        let (lse, h, most) = (row.log_sum_exp(), row.entropy(), row.min_entropy());
        let plain = Term::new(0.1 * lse * lse + h * most)
            .by_log_sum_exp(0.2 * lse)
            .by_entropy(most)
            .by_min_entropy(h);
        Terms::weighted(weighted).with_plain(plain)
    }
}

/// expm1((1−τ) s)/(1−τ) at τ = 0.
#[derive(Debug)]
struct SumExponential;

impl RowLoss for SumExponential {
    fn evaluate(&self, row: &RowScalars) -> Terms {
        let s = row.surprisal();
        let value = -(-s).exp_m1();
        Terms::weighted(Term::new(value).by_surprisal(1.0).times_exp(s))
    }
}

/// The scalars of a row by plain sums: s, lse, H, s_max, D, X.
fn scalars(a: ArrayView1<'_, f64>, y: usize, c: ArrayView1<'_, f64>) -> [f64; 6] {
    let m = a.fold(f64::NEG_INFINITY, |m, &x| m.max(x));
    let lse = m + a.mapv(|x| (x - m).exp()).sum().ln();
    let p = a.mapv(|x| (x - lse).exp());
    let entropy = p.iter().zip(a).map(|(p, a)| p * (lse - a)).sum();
    [lse - a[y], lse, entropy, lse - m, a.mapv(|x| lse - x).sum(), p.dot(&c)]
}

type Direct = fn([f64; 6], f64) -> f64;

/// A loss with its direct form, which has the scalars and the class weight.
fn losses() -> Vec<(&'static str, LinearCrossEntropyBuilder, Direct, bool)> {
    let of = LinearCrossEntropy::builder;
    let sum = || {
        let sum = Sum::new().add(0.5, CrossEntropy::new(0.0, 0.01).unwrap()).unwrap();
        let sum = sum.add(-0.3, EntropyBonus::new(1.0).unwrap()).unwrap();
        sum.add(2.0, GeneralizedCrossEntropy::new(1.0).unwrap()).unwrap()
    };
    vec![
        ("tempered", of().row_loss(Tempered), |[s, ..], w| w * s * s / (1.0 + s), false),
        (
            "generalized cross-entropy",
            of().row_loss(GeneralizedCrossEntropy::new(0.7).unwrap()),
            |[s, ..], w| w * (1.0 - (-0.7 * s).exp()) / 0.7,
            false,
        ),
        ("expected cost", of().row_loss(ExpectedCost), |[.., x], w| w * x, true),
        (
            "everything",
            of().row_loss(Everything),
            |[s, lse, h, most, d, x], w| w * (s / d + s * x) + 0.1 * lse * lse + h * most,
            true,
        ),
        (
            "normalised cross-entropy",
            of().row_loss(NormalizedCrossEntropy),
            |[s, _, _, _, d, _], w| w * s / d,
            false,
        ),
        (
            "truncated generalized cross-entropy",
            of().row_loss(GeneralizedCrossEntropy::new(0.5).unwrap().truncated(0.05).unwrap()),
            |[s, ..], w| w * (1.0 - (-0.5 * s).exp().max(0.05_f64.sqrt())) / 0.5,
            false,
        ),
        (
            "correctness",
            of().row_loss(CorrectnessCalibration::default()),
            |[s, _, _, most, ..], w| {
                let right = if s == most { 1.0 } else { 0.0 };
                w * ((-most).exp() - right).powi(2)
            },
            false,
        ),
        (
            "a sum",
            of().row_loss(sum()),
            |[s, lse, h, ..], w| {
                0.5 * (w * s + 0.01 * lse * lse) - 0.3 * h + 2.0 * w * (1.0 - (-s).exp())
            },
            false,
        ),
    ]
}

/// Values against direct sums, gradients against central differences of these.
#[test]
fn on_given_logits_the_values_and_slopes_are_those_of_direct_sums() {
    let mut stream = Stream(7);
    for (name, builder, direct, companion) in losses() {
        let loss = builder.reduction(Reduction::Sum).build().unwrap();
        for classes in [2, 3, 17, 300] {
            let logits = stream.matrix(5, classes, 1.5);
            let targets = stream.classes(5, classes);
            let costs = stream.matrix(5, classes, 1.0);
            let weights = stream.vector(classes, 1.0).mapv(f64::abs);
            let inputs = Inputs::from_logits(&logits, &targets).class_weights(&weights);
            let inputs =
                if companion { inputs.companion(Companion::entries(&costs)) } else { inputs };
            let mut gradient = Array2::<f64>::zeros(logits.dim());
            let gradients = Gradients::new().logits(&mut gradient);
            let forward =
                loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
            let value = |i: usize, row: ArrayView1<'_, f64>| {
                let y = targets[i] as usize;
                direct(scalars(row, y, costs.row(i)), weights[y])
            };
            for i in 0..5 {
                let (a, b) = (forward.losses()[i], value(i, logits.row(i)));
                assert!((a - b).abs() <= 1e-13 * (1.0 + b.abs()), "{name}: {a} and {b}");
                for v in 0..classes {
                    let moved = |k: f64| {
                        let mut row = logits.row(i).to_owned();
                        row[v] += k * 1e-3;
                        value(i, row.view())
                    };
                    let (near, far) = (moved(1.0) - moved(-1.0), moved(2.0) - moved(-2.0));
                    let (a, b) = (gradient[[i, v]], (8.0 * near - far) / 12e-3);
                    assert!((a - b).abs() <= 1e-9, "{name}, {classes} classes: {a} and {b}");
                }
            }
        }
    }
}

/// dE, dC and db of a loss, with the largest |G| of each row.
struct Truth {
    d_hidden: Array2<f64>,
    d_classifier: Array2<f64>,
    d_bias: Array1<f64>,
    g: Array2<f64>,
    losses: Array1<f64>,
}

struct Data {
    hidden: Array2<f64>,
    classifier: Array2<f64>,
    bias: Array1<f64>,
    targets: Vec<i64>,
    costs: Array2<f64>,
    upstream: Array1<f64>,
}

impl Data {
    /// Numbers that bf16 and f16 hold.
    fn new(rows: usize, width: usize, classes: usize) -> Self {
        let mut stream = Stream((rows * 1000 + classes) as u64);
        let narrow =
            |m: Array2<f64>| m.mapv(|x| f16::from_f64(bf16::from_f64(x).to_f64()).to_f64());
        Self {
            hidden: narrow(stream.matrix(rows, width, 1.0)),
            classifier: narrow(stream.matrix(classes, width, 0.7)),
            bias: stream.vector(classes, 0.5).mapv(|x| bf16::from_f64(x).to_f64()),
            targets: stream.classes(rows, classes),
            costs: narrow(stream.matrix(rows, classes, 1.0)),
            upstream: stream.vector(rows, 1.0).mapv(|x| bf16::from_f64(x).to_f64()),
        }
    }

    fn truth(&self, loss: &LinearCrossEntropy, companion: bool) -> Truth {
        let logits = self.hidden.dot(&self.classifier.t()) + &self.bias;
        let mut g = Array2::<f64>::zeros(logits.dim());
        let inputs = Inputs::from_logits(&logits, &self.targets);
        let inputs =
            if companion { inputs.companion(Companion::entries(&self.costs)) } else { inputs };
        let gradients = Gradients::new().logits(&mut g);
        let forward = loss.loss_and_gradients(&inputs, &Upstream::rows(&self.upstream), gradients);
        Truth {
            d_hidden: g.dot(&self.classifier),
            d_classifier: g.t().dot(&self.hidden),
            d_bias: g.sum_axis(Axis(0)),
            losses: forward.unwrap().losses(),
            g,
        }
    }
}

fn fused<T: Element<Real = R>, R: Real>(
    what: &str,
    data: &Data,
    loss: &LinearCrossEntropy,
    companion: bool,
    truth: &Truth,
    rounded: f64,
) where
    for<'a> surprisal::Matrix<'a>: From<&'a Array2<T>>,
    for<'a> surprisal::MatrixMut<'a>: From<&'a mut Array2<R>>,
    for<'a> surprisal::VectorMut<'a>: From<&'a mut Array1<R>>,
{
    let (hidden, classifier) =
        (testing::cast::<T>(&data.hidden), testing::cast::<T>(&data.classifier));
    let inputs = Inputs::new(&hidden, &classifier, &data.targets).bias(&data.bias);
    let inputs = if companion { inputs.companion(Companion::entries(&data.costs)) } else { inputs };
    let mut d_hidden = Array2::from_elem(hidden.dim(), R::from_f64(f64::NAN));
    let mut d_classifier = Array2::from_elem(classifier.dim(), R::from_f64(f64::NAN));
    let mut d_bias = Array1::from_elem(classifier.dim().0, R::from_f64(f64::NAN));
    let gradients =
        Gradients::new().hidden(&mut d_hidden).classifier(&mut d_classifier).bias(&mut d_bias);
    let upstream = Upstream::rows(&data.upstream);
    let forward = loss.loss_and_gradients(&inputs, &upstream, gradients).unwrap();
    let (rows, width) = hidden.dim();
    let classes = classifier.dim().0;
    // A logit is off by the sum of D products, G by its logits and by a sum over the classes; the slopes of
    // these losses are below 8.
    let products = data.hidden.mapv(f64::abs).dot(&data.classifier.mapv(f64::abs).t());
    let largest = products.fold(0.0_f64, |m, &x| m.max(x)) + 2.0;
    let logit = R::EPSILON * (width as f64 + 8.0) * largest;
    let entry = 8.0 * (8.0 * logit + R::EPSILON * (64.0 + (classes as f64).sqrt()));
    let close = |name: &str, a: f64, b: f64, bound: f64| {
        assert!((a - b).abs() <= bound, "{what}, {name}: {a:e} and {b:e}, within {bound:e}");
    };
    for (&a, &b) in forward.losses().iter().zip(&truth.losses) {
        close("loss", a, b, 8.0 * 8.0 * logit + 64.0 * R::EPSILON * (1.0 + b.abs()));
    }
    // |G| e, and 2⁻⁸ of it where it is rounded to bf16.
    let g = truth.g.mapv(|g| (entry + rounded) * g.abs() + entry / classes as f64);
    let bound = g.dot(&data.classifier.mapv(f64::abs));
    for ((at, a), b) in d_hidden.indexed_iter().zip(&truth.d_hidden) {
        close("dE", a.to_f64(), *b, bound[at] + R::EPSILON * 8.0 * b.abs());
    }
    let bound = g.t().dot(&data.hidden.mapv(f64::abs));
    for ((at, a), b) in d_classifier.indexed_iter().zip(&truth.d_classifier) {
        close("dC", a.to_f64(), *b, bound[at] + R::EPSILON * 8.0 * b.abs());
    }
    let bound = g.sum_axis(Axis(0));
    for ((at, a), b) in d_bias.indexed_iter().zip(&truth.d_bias) {
        close("db", a.to_f64(), *b, bound[at] + R::EPSILON * rows as f64 * b.abs());
    }
}

#[test]
fn fused_they_are_what_they_are_on_given_logits() {
    for (rows, width, classes) in [(1, 1, 2), (3, 7, 33), (13, 20, 257), (50, 9, 700)] {
        let data = Data::new(rows, width, classes);
        for (name, builder, _, companion) in losses() {
            let builder = builder.reduction(Reduction::None);
            let truth = data.truth(&builder.clone().build().unwrap(), companion);
            for isa in Isa::available() {
                for backward in [Backward::Recompute, Backward::Strip] {
                    let loss = builder.clone().isa(isa).backward(backward).build().unwrap();
                    let what = format!("{name}, {isa:?}, {backward:?}, {classes} classes");
                    fused::<f64, f64>(&what, &data, &loss, companion, &truth, 0.0);
                    fused::<f32, f32>(&what, &data, &loss, companion, &truth, 0.0);
                    fused::<f16, f32>(&what, &data, &loss, companion, &truth, 0.0);
                    let rounds = testing::multiplies_bf16(isa);
                    let rounded = if rounds { 2.0_f64.powi(-8) } else { 0.0 };
                    fused::<bf16, f32>(&what, &data, &loss, companion, &truth, rounded);
                }
            }
        }
    }
}

/// The forms of a companion say the same.
#[test]
fn a_companion_may_be_of_classes_of_entries_or_listed() {
    let data = Data::new(4, 6, 300);
    let loss = LinearCrossEntropy::builder().row_loss(ExpectedCost).build().unwrap();
    let run = |companion| {
        let mut d_hidden = Array2::<f64>::zeros(data.hidden.dim());
        let inputs =
            Inputs::new(&data.hidden, &data.classifier, &data.targets).companion(companion);
        let gradients = Gradients::new().hidden(&mut d_hidden);
        let forward = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
        (forward.losses(), d_hidden)
    };
    let mut classes = Array1::<f64>::zeros(300);
    (classes[3], classes[257]) = (2.0, -1.5);
    let entries = Array2::from_shape_fn((4, 300), |(_, v)| classes[v]);
    let listed = Array2::from_shape_fn((4, 3), |(_, j)| [257, 3, 3][j]);
    let values = Array2::from_shape_fn((4, 3), |(_, j)| [-1.5, 0.5, 1.5][j]);
    let expected = run(Companion::classes(&classes));
    assert_eq!(run(Companion::entries(&entries)), expected);
    assert_eq!(run(Companion::listed(&listed, &values)), expected);
    assert!(expected.1.iter().any(|x| *x != 0.0));
}

/// The state of a shard carries the companion, and a vjp over shards is that of the whole.
#[test]
fn shards_know_which_loss_they_are_of() {
    let data = Data::new(6, 5, 90);
    let of = |loss: LinearCrossEntropyBuilder| loss.entropy(true).build().unwrap();
    let loss = of(LinearCrossEntropy::builder().row_loss(Everything));
    let costs = arr1(&data.costs.row(0).to_vec());
    let whole = Inputs::new(&data.hidden, &data.classifier, &data.targets)
        .companion(Companion::classes(&costs));
    let mut expected = Array2::<f64>::zeros(data.hidden.dim());
    let gradients = Gradients::new().hidden(&mut expected);
    let forward = loss.loss_and_gradients(&whole, &Upstream::default(), gradients).unwrap();
    let parts = [0..31, 31..90].map(|classes| data.classifier.slice(s![classes, ..]));
    let shards = [(0, &parts[0]), (31, &parts[1])].map(|(first, part)| {
        Inputs::new(&data.hidden, part.view(), &data.targets)
            .companion(Companion::classes(&costs))
            .shard(Shard::new(first, 90))
    });
    let mut fold = loss.fold(&shards[1]).unwrap();
    fold.merge(&loss.fold(&shards[0]).unwrap()).unwrap();
    let other = of(LinearCrossEntropy::builder().row_loss(ExpectedCost));
    assert!(matches!(fold.merge(&other.fold(&shards[0]).unwrap()), Err(Error::Conflict { .. })));
    let merged = fold.finish().unwrap();
    assert!((merged.loss() - forward.loss()).abs() < 1e-13 * forward.loss().abs());
    let mut sum = Array2::<f64>::zeros(data.hidden.dim());
    for shard in &shards {
        let gradients = Gradients::new().accumulate_hidden(&mut sum);
        loss.vjp(shard, &merged, &Upstream::default(), gradients).unwrap();
    }
    let far = (&sum - &expected).iter().fold(0.0_f64, |m, x| m.max(x.abs()));
    assert!(far < 1e-13, "{far:e}");
    assert!(matches!(
        other.vjp(&shards[0], &merged, &Upstream::default(), Gradients::new()),
        Err(Error::Conflict { .. })
    ));
}

/// p_y = 1 − 1e-17: what is left of 1 − p_y is in every loss to its last digits, fused and given.
#[test]
fn confident_targets_keep_their_digits() {
    let gap = 17.0 * std::f64::consts::LN_10;
    let (logits, targets) = (arr2(&[[0.0, gap]]), [1_u32]);
    let q = (-gap).exp() / (1.0 + (-gap).exp());
    let s = q;
    let expected = [
        ("tempered", s * s, 2.0 * s * q),
        ("generalized cross-entropy", s, q),
        ("expected cost", 0.0, 0.0),
    ];
    for (name, builder, ..) in losses().into_iter().filter(|(.., companion)| !companion) {
        let Some((_, value, slope)) = expected.iter().find(|(other, ..)| *other == name) else {
            continue;
        };
        let loss = builder.build().unwrap();
        let mut g = Array2::<f64>::zeros((1, 2));
        let inputs = Inputs::from_logits(&logits, &targets);
        let gradients = Gradients::new().logits(&mut g);
        let forward = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
        let near =
            |a: f64, b: f64| assert!((a - b).abs() <= 1e-14 * b.abs(), "{name}: {a:e}, {b:e}");
        near(forward.loss(), *value);
        near(g[[0, 1]], -slope);
        near(g[[0, 0]], *slope);
    }
    // A cost of the others alone: the mean is tiny and so is the slope, whatever the offset of the costs.
    let loss = LinearCrossEntropy::builder().row_loss(ExpectedCost).build().unwrap();
    let costs = arr1(&[3.0, 0.0]);
    let mut g = Array2::<f32>::zeros((1, 2));
    let narrow = logits.mapv(|x| x as f32);
    let inputs = Inputs::from_logits(&narrow, &targets).companion(Companion::classes(&costs));
    let gradients = Gradients::new().logits(&mut g);
    let forward = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
    let q = (-f64::from(gap as f32)).exp();
    assert!((forward.loss() / (3.0 * q) - 1.0).abs() < 1e-6);
    assert!((f64::from(g[[0, 1]]) / (-3.0 * q) - 1.0).abs() < 1e-6, "{g:e}");
}

/// A coefficient of e^s may be beyond the type where what is made of it is not.
#[test]
fn a_coefficient_beyond_the_type_is_carried_by_its_exponent() {
    let loss = LinearCrossEntropy::builder().row_loss(SumExponential).build().unwrap();
    for s in [300.0_f64, 650.0] {
        let logits = arr2(&[[s as f32, 0.0_f32]]);
        // Such that the upstream takes the loss to about 5.
        let upstream = 5.0 * (-s).exp();
        let mut g = Array2::<f32>::zeros((1, 2));
        let inputs = Inputs::from_logits(&logits, &[1_u32]);
        let gradients = Gradients::new().logits(&mut g);
        let forward =
            loss.loss_and_gradients(&inputs, &Upstream::scalar(upstream), gradients).unwrap();
        assert!((forward.loss() / s.exp() - 1.0).abs() < 1e-13, "{}", forward.loss());
        assert!((g[[0, 1]] + 5.0).abs() < 5.0 * 4.0 * f32::EPSILON, "{g:e}");
        assert!((g[[0, 0]] - 5.0).abs() < 5.0 * 4.0 * f32::EPSILON, "{g:e}");
    }
    // Beyond f64 itself: the upstream cannot be so small, but token weights and divisors can.
    let logits = arr2(&[[1000.0_f64, 0.0]]);
    let weights = arr1(&[1e-300]);
    let loss = LinearCrossEntropy::builder()
        .row_loss(SumExponential)
        .reduction(Reduction::Divide(1e200))
        .build()
        .unwrap();
    let mut g = Array2::<f64>::zeros((1, 2));
    let inputs = Inputs::from_logits(&logits, &[1_u32]).token_weights(&weights);
    let gradients = Gradients::new().logits(&mut g);
    loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
    let expected = (1000.0 - 500.0 * std::f64::consts::LN_10).exp();
    assert!((g[[0, 0]] / expected - 1.0).abs() < 1e-12, "{g:e} and {expected:e}");
}

/// p_v e^s of a class is a number where neither p_v nor e^s is one: in f32 from s = 89 on, in f64 from 710.
#[test]
fn a_product_that_the_type_holds_is_right_whatever_its_factors() {
    let loss = LinearCrossEntropy::builder().row_loss(SumExponential).build().unwrap();
    let run = |logits: &Array2<f64>, narrow: bool| {
        let mut g = Array2::<f64>::zeros(logits.dim());
        let single = logits.mapv(|x| x as f32);
        let inputs = match narrow {
            true => Inputs::from_logits(&single, &[1_u32]),
            false => Inputs::from_logits(logits, &[1_u32]),
        };
        let gradients = Gradients::new().logits(&mut g);
        loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
        g
    };
    for (s, narrow, unit) in [(100.0, true, f64::from(f32::EPSILON)), (800.0, false, f64::EPSILON)]
    {
        let g = run(&arr2(&[[s, 0.0, -20.0, -3.0, f64::NEG_INFINITY]]), narrow);
        assert_eq!((g[[0, 0]], g[[0, 1]]), (f64::INFINITY, f64::NEG_INFINITY));
        // p_v e^s = e^(a_v − a_y).
        for (v, expected) in [(2, (-20.0_f64).exp()), (3, (-3.0_f64).exp())] {
            let a = g[[0, v]];
            assert!((a / expected - 1.0).abs() < 8.0 * unit, "{a:e}, expected {expected:e}");
        }
        assert_eq!(g[[0, 4]], 0.0);
    }
    // Fused, by either strategy, the same.
    let (hidden, classifier) = (arr2(&[[1.0_f32]]), arr2(&[[100.0_f32], [0.0], [-20.0]]));
    for backward in [Backward::Strip, Backward::Recompute] {
        let builder = LinearCrossEntropy::builder().row_loss(SumExponential).backward(backward);
        let mut bias = Array1::<f32>::zeros(3);
        let inputs = Inputs::new(&hidden, &classifier, &[1_u32]);
        let gradients = Gradients::new().bias(&mut bias);
        let loss = builder.build().unwrap();
        loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
        let (a, expected) = (f64::from(bias[2]), (-20.0_f64).exp());
        assert!((a / expected - 1.0).abs() < 8.0 * f64::from(f32::EPSILON), "{bias:e}");
    }
}

#[test]
fn what_does_not_go_together_is_said() {
    let refused = |result: surprisal::Result<f64>, says: &str| {
        let message = result.expect_err(says).to_string();
        assert!(message.contains(says) && !message.contains('\n'), "{message}");
    };
    let one = arr2(&[[1.0_f64, 2.0]]);
    let costs = arr1(&[1.0_f64, 2.0]);
    let of = |builder: LinearCrossEntropyBuilder, inputs: Inputs<'_>| {
        builder.build()?.forward(&inputs).map(|forward| forward.loss())
    };
    let hard = || Inputs::from_logits(&one, &[0_u32]);
    let plain = LinearCrossEntropy::builder;
    refused(of(plain().row_loss(ExpectedCost), hard()), "ExpectedCost needs a companion");
    let companion = Companion::classes(&costs);
    refused(of(plain(), hard().companion(companion)), "takes no companion");
    let three = arr1(&[1.0_f64; 3]);
    let inputs = hard().companion(Companion::classes(&three));
    refused(of(plain().row_loss(ExpectedCost), inputs), "the companion");
    let infinite = arr2(&[[0.0_f64, f64::INFINITY]]);
    let inputs = hard().companion(Companion::entries(&infinite));
    refused(of(plain().row_loss(ExpectedCost), inputs), "inf");
    let (listed, values) = (arr2(&[[2_u32]]), arr2(&[[1.0_f64]]));
    let inputs = hard().companion(Companion::listed(&listed, &values));
    refused(of(plain().row_loss(ExpectedCost), inputs), "expected a class of the vocabulary");
    let soft = Inputs::from_logits(&one, surprisal::Targets::soft(&one));
    refused(of(plain().row_loss(Tempered), soft), "Tempered goes with hard targets");
    refused(of(plain().row_loss(Tempered).z_loss(0.1), hard()), "go with cross-entropy alone");
    let product = Inputs::new(&one, &one, &[0_u32]);
    let filter = surprisal::Filter::Auto;
    let inputs = product.companion(Companion::entries(&one));
    let _ = inputs;
    let single = arr2(&[[1.0_f64]]);
    let inputs = product.companion(Companion::entries(&single));
    refused(of(plain().row_loss(ExpectedCost).filter(filter), inputs), "not with a companion");
    assert!(of(plain().row_loss(Tempered).filter(filter), product).is_ok());
    let smoothed = |epsilon| CrossEntropy::new(epsilon, 0.0).unwrap();
    let sum = Sum::new().add(1.0, smoothed(0.1)).unwrap().add(1.0, smoothed(0.2));
    assert!(sum.unwrap_err().to_string().contains("different label smoothings"));
    assert!(Sum::new().add(f64::NAN, ExpectedCost).is_err());
    assert!(
        GeneralizedCrossEntropy::new(1.5).is_err() && EntropyBonus::new(f64::INFINITY).is_err()
    );
}

/// The perplexity of soft targets is theirs, whatever the loss makes of them.
#[test]
fn the_mean_surprisal_does_not_depend_on_the_loss() {
    let logits = arr2(&[[1.0_f64, 2.0, 0.5], [0.0, -1.0, 3.0]]);
    let soft = arr2(&[[0.5_f64, 0.25, 0.25], [0.0, 1.0, 0.0]]);
    let sum = Sum::new().add(0.5, CrossEntropy::default()).unwrap();
    let sum = sum.add(2.0, EntropyBonus::new(1.0).unwrap()).unwrap();
    let of = |builder: LinearCrossEntropyBuilder| {
        let inputs = Inputs::from_logits(&logits, surprisal::Targets::soft(&soft));
        builder.build().unwrap().forward(&inputs).unwrap()
    };
    let (plain, other) =
        (of(LinearCrossEntropy::builder()), of(LinearCrossEntropy::builder().row_loss(sum)));
    assert_eq!(plain.mean_surprisal(), Some(plain.loss()));
    assert_eq!(other.mean_surprisal(), plain.mean_surprisal());
    assert!(other.loss() != plain.loss());
}

/// A scalar that was not asked for is NaN, not a number that means something else.
#[test]
fn what_is_not_asked_for_is_no_number() {
    #[derive(Debug)]
    struct Forgetful;
    impl RowLoss for Forgetful {
        fn evaluate(&self, row: &RowScalars) -> Terms {
            Terms::plain(Term::new(row.entropy()).by_entropy(1.0))
        }
    }
    let logits = arr2(&[[1.0_f64, 2.0]]);
    let loss = LinearCrossEntropy::builder().row_loss(Forgetful).build().unwrap();
    assert!(loss.forward(&Inputs::from_logits(&logits, &[0_u32])).unwrap().loss().is_nan());
}

/// With a filter of 0 nothing is left out, and a filter acts on any loss that is proportional to p.
#[test]
fn a_filter_goes_with_any_loss_of_the_target() {
    let data = Data::new(40, 16, 500);
    let builder = LinearCrossEntropy::builder().row_loss(Tempered).reduction(Reduction::None);
    let truth = data.truth(&builder.clone().build().unwrap(), false);
    let loss = builder.filter(surprisal::Filter::Below(0.0)).build().unwrap();
    fused::<f64, f64>("a filter", &data, &loss, false, &truth, 0.0);
}

/// Each row has the logits that its temperature makes, in every way to compute it.
#[test]
fn temperatures_of_rows_scale_their_logits() {
    let data = Data::new(7, 9, 300);
    let temperatures = arr1(&[0.5, 1.0, 2.0, 0.25, 1.0, 4.0, 1.5]);
    let logits = data.hidden.dot(&data.classifier.t()) + &data.bias;
    let scaled = &logits / &temperatures.view().insert_axis(Axis(1));
    let builder = || LinearCrossEntropy::builder().label_smoothing(0.1).z_loss(0.01);
    let plain = builder().reduction(Reduction::None).build().unwrap();
    let expected = plain.forward(&Inputs::from_logits(&scaled, &data.targets)).unwrap().losses();
    let mut g = Array2::<f64>::zeros(logits.dim());
    let inputs = Inputs::from_logits(&scaled, &data.targets);
    let gradients = Gradients::new().logits(&mut g);
    plain.loss_and_gradients(&inputs, &Upstream::rows(&data.upstream), gradients).unwrap();
    let g = g / temperatures.view().insert_axis(Axis(1));
    let truth = Truth {
        d_hidden: g.dot(&data.classifier),
        d_classifier: g.t().dot(&data.hidden),
        d_bias: g.sum_axis(Axis(0)),
        losses: expected,
        g,
    };
    for isa in Isa::available() {
        for backward in [Backward::Recompute, Backward::Strip] {
            for filter in [None, Some(surprisal::Filter::Below(0.0))] {
                let builder = builder().reduction(Reduction::None).isa(isa);
                let builder = match filter {
                    Some(_) if backward == Backward::Strip => continue,
                    Some(filter) => builder.filter(filter),
                    None => builder.backward(backward),
                };
                let loss = builder.build().unwrap();
                let mut d_hidden = Array2::<f64>::zeros(data.hidden.dim());
                let mut d_classifier = Array2::<f64>::zeros(data.classifier.dim());
                let inputs = Inputs::new(&data.hidden, &data.classifier, &data.targets)
                    .bias(&data.bias)
                    .temperatures(&temperatures);
                let gradients =
                    Gradients::new().hidden(&mut d_hidden).classifier(&mut d_classifier);
                let upstream = Upstream::rows(&data.upstream);
                let forward = loss.loss_and_gradients(&inputs, &upstream, gradients).unwrap();
                let near = |a: &[f64], b: &[f64]| {
                    let most = b.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
                    // Sums of a few hundred terms in another order.
                    let good = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e3 * f64::EPSILON * most;
                    assert!(a.iter().zip(b).all(good), "{isa:?}, {backward:?}");
                };
                near(&forward.losses().to_vec(), &truth.losses.to_vec());
                let flat = |m: &Array2<f64>| m.iter().copied().collect::<Vec<_>>();
                near(&flat(&d_hidden), &flat(&truth.d_hidden));
                near(&flat(&d_classifier), &flat(&truth.d_classifier));
            }
        }
    }
    let of_all = builder().temperature(2.0).build().unwrap();
    let twos = arr1(&[2.0_f64; 7]);
    let inputs = Inputs::from_logits(&logits, &data.targets);
    let each = builder().build().unwrap().forward(&inputs.temperatures(&twos)).unwrap();
    assert_eq!(of_all.forward(&inputs).unwrap().losses(), each.losses());
}

/// The derivative by a temperature from scalars alone is that of central differences.
#[test]
fn temperatures_have_gradients() {
    let mut stream = Stream(11);
    let logits = stream.matrix(6, 40, 2.0) + 500.0;
    let classes = stream.classes(6, 40);
    let dense = stream.matrix(6, 40, 1.0).mapv(f64::abs);
    let listed = Array2::from_shape_fn((6, 3), |(i, j)| ((7 * i + 11 * j) % 40) as u32);
    let values = stream.matrix(6, 3, 1.0).mapv(f64::abs);
    let weights = stream.vector(40, 1.0).mapv(f64::abs);
    let temperatures = arr1(&[0.5, 1.0, 2.0, 0.7, 1.3, 3.0]);
    let moved = [-2.0, -1.0, 1.0, 2.0].map(|k| temperatures.mapv(|t: f64| t * (1.0 + k * 1e-3)));
    let upstream = stream.vector(6, 1.0);
    let of = || LinearCrossEntropy::builder().entropy(true).varentropy(true);
    let sum = Sum::new().add(1.0, GeneralizedCrossEntropy::new(0.4).unwrap()).unwrap();
    let sum = sum.add(0.7, EntropyBonus::new(1.0).unwrap()).unwrap();
    let smoothed = || of().label_smoothing(0.2);
    let cases: [(LinearCrossEntropyBuilder, Inputs<'_>); 5] = [
        (smoothed().z_loss(1e-3), Inputs::from_logits(&logits, &classes).class_weights(&weights)),
        (of().row_loss(sum), Inputs::from_logits(&logits, &classes)),
        (smoothed(), Inputs::from_logits(&logits, surprisal::Targets::soft(&dense))),
        (smoothed(), Inputs::from_logits(&logits, surprisal::Targets::sparse(&listed, &values))),
        (of().scale(0.5), Inputs::from_logits(&logits, &classes)),
    ];
    for (which, (builder, inputs)) in cases.into_iter().enumerate() {
        let loss = builder.reduction(Reduction::None).build().unwrap();
        let value = |at: usize| {
            let forward = loss.forward(&inputs.temperatures(&moved[at])).unwrap();
            forward.losses() + 0.3 * forward.log_sum_exp()
        };
        let lse = Array1::from_elem(6, 0.3) * &upstream;
        let mut gradient = Array1::<f64>::from_elem(6, f64::NAN);
        let gradients = Gradients::new().temperature(&mut gradient);
        let from = inputs.temperatures(&temperatures);
        let above = Upstream::rows(&upstream).log_sum_exp(&lse);
        loss.loss_and_gradients(&from, &above, gradients).unwrap();
        let mut again = Array1::<f64>::zeros(6);
        let forward = loss.forward(&from).unwrap();
        let gradients = Gradients::new().accumulate_temperature(&mut again);
        loss.vjp(&from, &forward, &above, gradients).unwrap();
        assert_eq!(again, gradient);
        let (near, far) = (value(2) - value(1), value(3) - value(0));
        let numeric = (8.0 * near - far) / (12e-3 * &temperatures) * &upstream;
        for (a, b) in gradient.iter().zip(&numeric) {
            assert!((a - b).abs() <= 1e-8 * (1.0 + b.abs()), "case {which}: {a} and {b}");
        }
    }
    let mut gradient = Array1::<f64>::zeros(6);
    let mut refused = |builder: LinearCrossEntropyBuilder, says: &str| {
        let inputs = Inputs::from_logits(&logits, &classes);
        let gradients = Gradients::new().temperature(&mut gradient);
        let loss = builder.build().unwrap();
        let error = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients);
        let message = error.expect_err(says).to_string();
        assert!(message.contains(says), "{message}");
    };
    refused(LinearCrossEntropy::builder(), "expected entropy(true)");
    refused(of().softcap(3.0), "without a softcap");
    let bonus = LinearCrossEntropy::builder().row_loss(EntropyBonus::new(1.0).unwrap());
    refused(bonus.entropy(true), "expected varentropy(true)");
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let bad = arr1(&[1.0, bad, 1.0, 1.0, 1.0, 1.0]);
        let inputs = Inputs::from_logits(&logits, &classes).temperatures(&bad);
        let error = LinearCrossEntropy::builder().build().unwrap().forward(&inputs).unwrap_err();
        assert!(error.to_string().contains("temperatures[1]"), "{error}");
    }
    assert!(LinearCrossEntropy::builder().temperature(0.0).build().is_err());
}

/// As nodes of the tape: gradients of hidden states, classifier and bias against difference quotients.
#[test]
fn they_are_nodes_of_the_tape() {
    let mut stream = Stream(17);
    let inputs = [
        stream.matrix(4, 3, 1.0).into_dyn(),
        stream.matrix(7, 3, 1.0).into_dyn(),
        stream.vector(7, 1.0).into_dyn(),
    ];
    let costs = stream.matrix(4, 7, 1.0);
    let of = LinearCrossEntropy::builder;
    for (name, builder, _, companion) in losses() {
        for reduction in [Reduction::None, Reduction::Mean] {
            let loss = builder.clone().reduction(reduction).build().unwrap();
            let targets = [3_u32, 0, 6, 3];
            let worst = match companion {
                false => gradcheck(
                    |_, x| x[0].linear_cross_entropy(x[1], Some(x[2]), &targets, &loss),
                    &inputs,
                ),
                true => gradcheck(
                    |_, x| {
                        let companion = Companion::entries(&costs);
                        let (c, bias) = (x[1], Some(x[2]));
                        x[0].linear_cross_entropy_beside(c, bias, &targets, companion, &loss)
                    },
                    &inputs,
                ),
            };
            let worst = worst.unwrap();
            assert!(worst.error < 1e-8, "{name}, {reduction:?}: {worst:?}");
        }
    }
    let cost = of().row_loss(ExpectedCost).build().unwrap();
    let tape = Tape::<f64>::new().unwrap();
    let [hidden, classifier] = [&inputs[0], &inputs[1]].map(|x| tape.leaf(x.clone()));
    let refused = hidden.linear_cross_entropy(classifier, None, &[3_u32, 0, 6, 3], &cost);
    let message = refused.map(|_| ()).unwrap_err().to_string();
    assert!(message.contains("needs a companion") && !message.contains('\n'), "{message}");
}

/// At its temperature λ, with a margin: the value and its slopes by the logits against direct sums.
#[test]
fn a_robust_loss_has_its_lambda_from_the_temperature() {
    let data = Data::new(5, 6, 40);
    let lambdas = arr1(&[1.0, 0.3, 2.0, 0.7, 5.0]);
    let robust = DistributionallyRobust::new(0.4).unwrap();
    let logits = data.hidden.dot(&data.classifier.t());
    let direct = |i: usize, row: ArrayView1<'_, f64>| {
        let y = data.targets[i] as usize;
        let margin = |v: usize| if v == y { 0.0 } else { 0.4 };
        let delta = row.iter().enumerate().map(|(v, z)| (z - row[y] + margin(v)) / lambdas[i]);
        lambdas[i] * (delta.map(f64::exp).sum::<f64>() / 40.0).ln()
    };
    for backward in [Backward::Strip, Backward::Recompute] {
        let loss = LinearCrossEntropy::builder().row_loss(robust).backward(backward);
        let loss = loss.reduction(Reduction::None).build().unwrap();
        let inputs = Inputs::new(&data.hidden, &data.classifier, &data.targets);
        let inputs = inputs.temperatures(&lambdas);
        let mut d_hidden = Array2::<f64>::zeros(data.hidden.dim());
        let gradients = Gradients::new().hidden(&mut d_hidden);
        let forward = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
        for i in 0..5 {
            assert!((forward.losses()[i] - direct(i, logits.row(i))).abs() < 1e-12);
            let g = Array1::from_shape_fn(40, |v| {
                let moved = |h: f64| {
                    let mut row = logits.row(i).to_owned();
                    row[v] += h;
                    direct(i, row.view())
                };
                (8.0 * (moved(1e-3) - moved(-1e-3)) - (moved(2e-3) - moved(-2e-3))) / 12e-3
            });
            for (a, b) in d_hidden.row(i).iter().zip(&g.dot(&data.classifier)) {
                assert!((a - b).abs() < 1e-9, "{a} and {b}");
            }
        }
        // It depends on λ itself, so a gradient by the temperature alone would be wrong.
        let mut d_lambda = Array1::<f64>::zeros(5);
        let gradients = Gradients::new().temperature(&mut d_lambda);
        let refused = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients);
        assert!(refused.unwrap_err().to_string().contains("no gradient by temperatures"));
    }
}

/// A target whose logit is −∞: the loss is +∞, and its slope is still one.
#[test]
fn a_target_without_probability_has_the_limit() {
    let logits = arr2(&[[f64::NEG_INFINITY, 0.0, 0.0]]);
    let loss = LinearCrossEntropy::builder().row_loss(Tempered).build().unwrap();
    let mut g = Array2::<f64>::zeros((1, 3));
    let inputs = Inputs::from_logits(&logits, &[0_u32]);
    let gradients = Gradients::new().logits(&mut g);
    let forward = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
    assert_eq!((forward.loss(), g), (f64::INFINITY, arr2(&[[-1.0, 0.5, 0.5]])));
}

/// Each kind of companion on the tape, which keeps it where the reduction is none, in types of its own.
#[test]
fn companions_of_every_kind_go_onto_the_tape() {
    let mut stream = Stream(19);
    let inputs = [stream.matrix(4, 3, 1.0).into_dyn(), stream.matrix(7, 3, 1.0).into_dyn()];
    let targets = [3_u32, 0, 6, 3];
    let classes = stream.vector(7, 1.0).mapv(|x| x as f32);
    let entries = stream.matrix(4, 7, 1.0).mapv(bf16::from_f64);
    let (listed, values) = (arr2(&[[1_u32, 5]; 4]), stream.matrix(4, 2, 1.0).mapv(f16::from_f64));
    let (wide, teacher) = (stream.matrix(4, 5, 1.0), stream.matrix(7, 5, 1.0));
    let (bias, logits) = (stream.vector(7, 1.0), stream.matrix(4, 7, 1.0).mapv(|x| x as f32));
    let head = Head::new(&wide, &teacher).bias(&bias).scale(0.7).softcap(5.0);
    let costs = EmbeddingCost::<f64>::new(&teacher).unwrap();
    let rows = costs.rows(&targets).unwrap();
    let cost = || LinearCrossEntropy::builder().row_loss(ExpectedCost);
    let divergence = || LinearCrossEntropy::builder().row_loss(KullbackLeibler::reverse());
    for (name, builder, companion) in [
        ("classes", cost(), Companion::classes(&classes)),
        ("entries", cost(), Companion::entries(&entries)),
        ("listed", cost(), Companion::listed(&listed, &values)),
        ("a head's mean", cost(), Companion::logits(head)),
        ("an embedding", cost(), costs.companion(&rows)),
        ("a head", divergence(), Companion::logits(head)),
        ("given logits", divergence(), Companion::logits(Head::from_logits(&logits))),
    ] {
        for reduction in [Reduction::None, Reduction::Mean] {
            let loss = builder.clone().reduction(reduction).build().unwrap();
            let worst = gradcheck(
                |_, x| x[0].linear_cross_entropy_beside(x[1], None, &targets, companion, &loss),
                &inputs,
            );
            let worst = worst.unwrap();
            assert!(worst.error < 1e-8, "{name}, {reduction:?}: {worst:?}");
        }
    }
}
