//! Log-probabilities of listed classes and of what they leave to the others: against direct sums in f64, over every
//! type, strategy and instruction set.

use half::{bf16, f16};
use ndarray::{Array1, Array2, Axis, arr1, arr2, s};
use surprisal::loss::{Candidates, ExpectedCost};
use surprisal::{
    Backward, Element, Error, Filter, Gradients, Inputs, Isa, LinearCrossEntropy, Real, Reduction,
    Shard, Targets, Upstream,
};
use testing::Stream;

const SOFTCAP: f64 = 8.0;

/// Rows with lists of different lengths, some of which name a class twice.
struct Lists {
    hidden: Array2<f64>,
    classifier: Array2<f64>,
    bias: Array1<f64>,
    targets: Vec<i64>,
    temperatures: Array1<f64>,
    classes: Array2<u32>,
    of_loss: Array1<f64>,
    of_entropy: Array1<f64>,
    of_candidates: Array2<f64>,
    of_others: Array1<f64>,
}

/// By direct sums.
struct Truth {
    losses: Array1<f64>,
    log_probabilities: Array2<f64>,
    log_others: Array1<f64>,
    g: Array2<f64>,
}

impl Lists {
    fn new(rows: usize, width: usize, classes: usize, k: usize) -> Self {
        let mut stream = Stream((rows * 1000 + classes) as u64);
        let narrow =
            |m: Array2<f64>| m.mapv(|x| f16::from_f64(bf16::from_f64(x).to_f64()).to_f64());
        let mut targets = stream.classes(rows, classes);
        if rows > 2 {
            targets[1] = -100;
        }
        let mut listed = Array2::from_shape_fn((rows, k), |(i, _)| {
            if i % 5 == 3 { Candidates::NONE } else { stream.classes(1, classes)[0] as u32 }
        });
        for i in 0..rows.min(k) {
            listed[[i, i]] = if i % 3 == 1 { Candidates::NONE } else { listed[[i, 0]] };
            if targets[i] >= 0 && i % 2 == 0 {
                listed[[i, k - 1]] = targets[i] as u32;
            }
        }
        Self {
            hidden: narrow(stream.matrix(rows, width, 1.0)),
            classifier: narrow(stream.matrix(classes, width, 0.7)),
            bias: stream.vector(classes, 0.5).mapv(|x| bf16::from_f64(x).to_f64()),
            targets,
            temperatures: Array1::from_shape_fn(rows, |i| [1.0, 2.0, 0.5][i % 3]),
            classes: listed,
            of_loss: stream.vector(rows, 1.0),
            of_entropy: stream.vector(rows, 1.0),
            of_candidates: stream.matrix(rows, k, 1.0),
            of_others: stream.vector(rows, 1.0),
        }
    }

    fn truth(&self, others: bool) -> Truth {
        let products = self.hidden.dot(&self.classifier.t()) + &self.bias;
        let capped = (products / self.temperatures.view().insert_axis(Axis(1)))
            .mapv(|u| SOFTCAP * (u / SOFTCAP).tanh());
        let (rows, k) = self.classes.dim();
        let mut truth = Truth {
            losses: Array1::zeros(rows),
            log_probabilities: Array2::zeros((rows, k)),
            log_others: Array1::zeros(rows),
            g: Array2::zeros(capped.dim()),
        };
        for (i, row) in capped.outer_iter().enumerate() {
            let Ok(target) = usize::try_from(self.targets[i]) else { continue };
            let m = row.fold(f64::NEG_INFINITY, |m, &x| m.max(x));
            let lse = m + row.mapv(|x| (x - m).exp()).sum().ln();
            let log_p = row.mapv(|x| x - lse);
            let p = log_p.mapv(f64::exp);
            let h = -p.dot(&log_p);
            truth.losses[i] = -log_p[target];
            let mut g = p.clone() * self.of_loss[i];
            g[target] -= self.of_loss[i];
            g = g - self.of_entropy[i] * &p * &(&log_p + h);
            let mut outside = vec![true; row.len()];
            for (j, &class) in self.classes.row(i).iter().enumerate() {
                if class == Candidates::NONE {
                    continue;
                }
                let u = self.of_candidates[[i, j]];
                outside[class as usize] = false;
                truth.log_probabilities[[i, j]] = log_p[class as usize];
                g = g - u * &p;
                g[class as usize] += u;
            }
            let left: f64 = p.iter().zip(&outside).filter(|(_, out)| **out).map(|(p, _)| p).sum();
            truth.log_others[i] = left.ln();
            if others && left > 0.0 {
                let w = self.of_others[i];
                for v in 0..g.len() {
                    let own = if outside[v] { p[v] / left } else { 0.0 };
                    g[v] += w * (own - p[v]);
                }
            }
            let slope = row.mapv(|a| (1.0 - (a / SOFTCAP).powi(2)) / self.temperatures[i]);
            truth.g.row_mut(i).assign(&(g * slope));
        }
        truth
    }

    fn check<T: Element<Real = R>, R: Real>(
        &self,
        what: &str,
        loss: &LinearCrossEntropy,
        others: bool,
        rounded: f64,
    ) where
        for<'a> surprisal::Matrix<'a>: From<&'a Array2<T>>,
        for<'a> surprisal::MatrixMut<'a>: From<&'a mut Array2<R>>,
        for<'a> surprisal::VectorMut<'a>: From<&'a mut Array1<R>>,
    {
        let truth = self.truth(others);
        let hidden = testing::cast::<T>(&self.hidden);
        let classifier = testing::cast::<T>(&self.classifier);
        let candidates = Candidates::new(&self.classes);
        let candidates = if others { candidates.with_others() } else { candidates };
        let inputs = Inputs::new(&hidden, &classifier, &self.targets)
            .bias(&self.bias)
            .temperatures(&self.temperatures)
            .candidates(candidates);
        let upstream =
            Upstream::rows(&self.of_loss).entropy(&self.of_entropy).candidates(&self.of_candidates);
        let upstream = if others { upstream.log_others(&self.of_others) } else { upstream };
        let mut d_hidden = Array2::from_elem(hidden.dim(), R::from_f64(f64::NAN));
        let mut d_classifier = Array2::from_elem(classifier.dim(), R::from_f64(f64::NAN));
        let mut d_bias = Array1::from_elem(classifier.dim().0, R::from_f64(f64::NAN));
        let gradients =
            Gradients::new().hidden(&mut d_hidden).classifier(&mut d_classifier).bias(&mut d_bias);
        let forward = loss.loss_and_gradients(&inputs, &upstream, gradients).unwrap();
        let own = forward.candidates().unwrap();
        // A logit is off by the sum of D products, what is summed over classes by a root of their number.
        let products = self.hidden.mapv(f64::abs).dot(&self.classifier.mapv(f64::abs).t());
        let size = products.fold(0.0_f64, |m, &x| m.max(x)) + 2.0;
        let (width, classes) = (hidden.dim().1 as f64, classifier.dim().0 as f64);
        let logit = 2.0 * R::EPSILON * (width + 8.0) * size;
        let sum = R::EPSILON * (16.0 + classes.sqrt());
        let close = |name: &str, a: f64, b: f64, bound: f64| {
            let near = (a - b).abs() <= bound || (a == b);
            assert!(near, "{what}, {name}: {a:e} and {b:e}, within {bound:e}");
        };
        for (a, b) in forward.losses().iter().zip(&truth.losses) {
            close("loss", *a, *b, 2.0 * (logit + sum));
        }
        for (a, b) in own.log_probabilities.iter().zip(&truth.log_probabilities) {
            close("log-probability", *a, *b, 2.0 * (logit + sum));
        }
        for (a, b) in own.log_others.iter().zip(&truth.log_others) {
            close("others", *a, *b, 2.0 * (logit + sum));
        }
        // Each part of G is p or p ln p or p over a sum of p, times an upstream.
        let mass = (&self.of_candidates.map_axis(Axis(1), |u| u.mapv(f64::abs).sum()))
            + &self.of_loss.mapv(f64::abs)
            + &self.of_others.mapv(f64::abs)
            + 16.0 * &self.of_entropy.mapv(f64::abs);
        let bounds = Array2::from_shape_fn(truth.g.dim(), |(i, v)| {
            (4.0 * logit + 4.0 * sum + rounded)
                * (truth.g[[i, v]].abs() + 2.0 * mass[i] / classes.min(8.0))
        });
        let bound = bounds.dot(&self.classifier.mapv(f64::abs));
        for ((at, a), b) in d_hidden.indexed_iter().zip(&truth.g.dot(&self.classifier)) {
            close("dE", a.to_f64(), *b, bound[at] + 8.0 * R::EPSILON * b.abs());
        }
        let bound = bounds.t().dot(&self.hidden.mapv(f64::abs));
        for ((at, a), b) in d_classifier.indexed_iter().zip(&truth.g.t().dot(&self.hidden)) {
            close("dC", a.to_f64(), *b, bound[at] + 8.0 * R::EPSILON * b.abs());
        }
        let bound = bounds.sum_axis(Axis(0));
        for ((at, a), b) in d_bias.indexed_iter().zip(&truth.g.sum_axis(Axis(0))) {
            close("db", a.to_f64(), *b, bound[at] + 8.0 * R::EPSILON * b.abs());
        }
    }
}

#[test]
fn log_probabilities_and_gradients_are_those_of_direct_sums() {
    for (rows, width, classes, k) in
        [(1, 1, 1, 1), (4, 7, 33, 3), (13, 20, 257, 9), (50, 9, 700, 40), (9, 5, 12, 30)]
    {
        let lists = Lists::new(rows, width, classes, k);
        let builder =
            LinearCrossEntropy::builder().reduction(Reduction::None).entropy(true).softcap(SOFTCAP);
        for isa in Isa::available() {
            for (backward, others) in [
                (Backward::Recompute, false),
                (Backward::Recompute, true),
                (Backward::Strip, false),
                (Backward::Strip, true),
            ] {
                let loss = builder.clone().isa(isa).backward(backward).build().unwrap();
                let what = format!("{isa:?}, {backward:?}, {others}, {rows}×{width}×{classes}×{k}");
                lists.check::<f64, f64>(&what, &loss, others, 0.0);
                lists.check::<f32, f32>(&what, &loss, others, 0.0);
                lists.check::<f16, f32>(&what, &loss, others, 0.0);
                let rounds = testing::multiplies_bf16(isa);
                let rounded = if rounds { 2.0_f64.powi(-8) } else { 0.0 };
                lists.check::<bf16, f32>(&what, &loss, others, rounded);
            }
        }
    }
}

/// Lists of nearly everything and of nearly nothing, and classes that are nearly certain.
#[test]
fn what_is_nearly_nothing_keeps_its_digits() {
    let logits = arr2(&[[60.0_f64, 1.0, 2.0, -3.0], [1.0, 60.0, 2.0, -3.0]]);
    let classes = arr2(&[[0_u32], [0]]);
    let inputs =
        Inputs::unlabelled_logits(&logits).candidates(Candidates::new(&classes).with_others());
    let loss = LinearCrossEntropy::builder().build().unwrap();
    let forward = loss.forward(&inputs).unwrap();
    let own = forward.candidates().unwrap();
    // Of the others at the top: e^1 + e^2 + e^−3 over e^60.
    let left = 1_f64.exp() + 2_f64.exp() + (-3_f64).exp();
    let close =
        |a: f64, b: f64| assert!((a - b).abs() <= 8.0 * f64::EPSILON * b.abs(), "{a:e} {b:e}");
    close(own.log_probabilities[[0, 0]], -left * (-60_f64).exp());
    close(own.log_others[0], left.ln() - 60.0);
    close(own.log_probabilities[[1, 0]], -59.0);
    close(own.log_others[1], -(-59_f64).exp());
    let mut gradient = Array2::<f64>::zeros((2, 4));
    let (of_candidates, of_others) = (arr2(&[[1.0], [0.0]]), arr1(&[0.0, 1.0]));
    let upstream = Upstream::scalar(0.0).candidates(&of_candidates).log_others(&of_others);
    loss.vjp(&inputs, &forward, &upstream, Gradients::new().logits(&mut gradient)).unwrap();
    close(gradient[[0, 0]], left * (-60_f64).exp());
    close(gradient[[0, 2]], -(-58_f64).exp());
    close(gradient[[1, 0]], -(-59_f64).exp());
    close(gradient[[1, 1]], (-59_f64).exp());
    // The others' own share, where they are next to nothing: p over their sum, less p.
    let (of_candidates, of_others) = (arr2(&[[0.0], [0.0]]), arr1(&[1.0, 0.0]));
    let upstream = Upstream::scalar(0.0).candidates(&of_candidates).log_others(&of_others);
    loss.vjp(&inputs, &forward, &upstream, Gradients::new().logits(&mut gradient)).unwrap();
    close(gradient[[0, 2]], 2_f64.exp() / left);
    close(gradient[[0, 0]], -1.0);
    // In f32 they are below its least number.
    let narrow = logits.mapv(|x| if x == 60.0 { 200.0_f32 } else { x as f32 });
    let inputs =
        Inputs::unlabelled_logits(&narrow).candidates(Candidates::new(&classes).with_others());
    let forward = loss.forward(&inputs).unwrap();
    let mut gradient = Array2::<f32>::zeros((2, 4));
    loss.vjp(&inputs, &forward, &upstream, Gradients::new().logits(&mut gradient)).unwrap();
    let far = f64::from(gradient[[0, 2]]) - 2_f64.exp() / left;
    assert!(far.abs() < 8.0 * f64::from(f32::EPSILON), "{far:e}");
}

/// What has no probability moves nothing, and is no number's undoing.
#[test]
fn classes_without_a_probability_have_no_gradient() {
    let logits = arr2(&[[1.0_f64, f64::NEG_INFINITY, 2.0], [0.5, f64::NEG_INFINITY, 1.0]]);
    let classes = arr2(&[[0_u32, 1, 2], [1, 1, Candidates::NONE]]);
    let inputs =
        Inputs::unlabelled_logits(&logits).candidates(Candidates::new(&classes).with_others());
    let loss = LinearCrossEntropy::builder().entropy(true).build().unwrap();
    let forward = loss.forward(&inputs).unwrap();
    let own = forward.candidates().unwrap();
    assert_eq!(own.log_probabilities[[0, 1]], f64::NEG_INFINITY);
    assert_eq!(own.log_probabilities.row(1).to_vec(), [f64::NEG_INFINITY, f64::NEG_INFINITY, 0.0]);
    assert_eq!(own.log_others.to_vec(), [f64::NEG_INFINITY, 0.0]);
    let of_candidates = arr2(&[[0.0_f64, 3.0, 0.0], [1.0, 1.0, f64::NAN]]);
    let of_others = arr1(&[1.0_f64, 1.0]);
    let upstream = Upstream::scalar(0.0).candidates(&of_candidates).log_others(&of_others);
    let mut gradient = Array2::<f64>::from_elem((2, 3), f64::NAN);
    loss.vjp(&inputs, &forward, &upstream, Gradients::new().logits(&mut gradient)).unwrap();
    assert_eq!(gradient, Array2::<f64>::zeros((2, 3)));
}

/// The arg-max, the rank and the likeliest classes are those of all classes.
#[test]
fn what_else_is_asked_of_the_fold_stays() {
    let lists = Lists::new(9, 5, 300, 6);
    let loss = LinearCrossEntropy::builder().rank(true).top_k(7).varentropy(true).build().unwrap();
    let plain = Inputs::new(&lists.hidden, &lists.classifier, &lists.targets);
    let before = loss.forward(&plain).unwrap();
    let after =
        loss.forward(&plain.candidates(Candidates::new(&lists.classes).with_others())).unwrap();
    assert_eq!(before.rank().unwrap(), after.rank().unwrap());
    assert_eq!(before.argmax(), after.argmax());
    assert_eq!(before.top_k().classes, after.top_k().classes);
    assert!((before.loss() - after.loss()).abs() < 1e-14);
    for (a, b) in before.states().iter().zip(after.states()) {
        assert!((a.entropy() - b.entropy()).abs() < 1e-13);
        assert!((a.varentropy() - b.varentropy()).abs() < 1e-12);
        assert_eq!(a.target_logit, b.target_logit);
    }
}

#[test]
fn the_gradient_of_a_temperature_is_its_slope() {
    let lists = Lists::new(6, 4, 21, 3);
    let loss =
        LinearCrossEntropy::builder().reduction(Reduction::Sum).varentropy(true).build().unwrap();
    let value = |temperatures: &Array1<f64>| {
        let inputs = Inputs::unlabelled(&lists.hidden, &lists.classifier)
            .temperatures(temperatures)
            .candidates(Candidates::new(&lists.classes).with_others());
        let forward = loss.forward(&inputs).unwrap();
        let own = forward.candidates().unwrap();
        let entropies = forward.statistic(surprisal::Statistic::Entropy).unwrap();
        (&own.log_probabilities * &lists.of_candidates).sum()
            + own.log_others.dot(&lists.of_others)
            + entropies.dot(&lists.of_entropy)
    };
    let inputs = Inputs::unlabelled(&lists.hidden, &lists.classifier)
        .temperatures(&lists.temperatures)
        .candidates(Candidates::new(&lists.classes).with_others());
    let upstream = Upstream::scalar(0.0)
        .candidates(&lists.of_candidates)
        .log_others(&lists.of_others)
        .entropy(&lists.of_entropy);
    let forward = loss.forward(&inputs).unwrap();
    let mut gradient = Array1::<f64>::zeros(6);
    loss.vjp(&inputs, &forward, &upstream, Gradients::new().temperature(&mut gradient)).unwrap();
    for i in 0..6 {
        let moved = |h: f64| {
            let mut temperatures = lists.temperatures.clone();
            temperatures[i] += h;
            value(&temperatures)
        };
        let numeric = (moved(1e-5) - moved(-1e-5)) / 2e-5;
        let far = (gradient[i] - numeric).abs();
        assert!(far < 1e-8 * (1.0 + numeric.abs()), "{} and {numeric}", gradient[i]);
    }
}

/// Bit for bit, whatever the batch and the number of threads: alone, in a few rows, in many.
#[cfg(feature = "parallel")]
#[test]
fn a_rows_numbers_depend_on_no_other_row() {
    let lists = Lists::new(700, 24, 1500, 5);
    let narrow = [testing::cast::<f32>(&lists.hidden), testing::cast::<f32>(&lists.classifier)];
    for backward in [Backward::Recompute, Backward::Strip] {
        let loss = LinearCrossEntropy::builder()
            .reduction(Reduction::None)
            .entropy(true)
            .backward(backward)
            .build()
            .unwrap();
        let run = |rows: std::ops::Range<usize>, threads: usize| {
            let (classes, above, entropies) = (
                lists.classes.slice(s![rows.clone(), ..]),
                lists.of_candidates.slice(s![rows.clone(), ..]),
                lists.of_entropy.slice(s![rows.clone()]),
            );
            let inputs = Inputs::unlabelled(narrow[0].slice(s![rows.clone(), ..]), &narrow[1])
                .candidates(Candidates::new(classes).with_others());
            let upstream = Upstream::scalar(0.0).candidates(above).entropy(entropies);
            let mut d_hidden = Array2::<f32>::zeros((rows.len(), 24));
            let gradients = Gradients::new().hidden(&mut d_hidden);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let forward =
                pool.install(|| loss.loss_and_gradients(&inputs, &upstream, gradients)).unwrap();
            (forward.candidates().unwrap(), forward.states().to_vec(), d_hidden)
        };
        let (all, states, d_hidden) = run(0..700, 2);
        for (rows, threads) in [(0..1, 1), (5..6, 2), (3..8, 2), (100..389, 1), (100..500, 3)] {
            let (own, own_states, own_hidden) = run(rows.clone(), threads);
            let of = s![rows.clone(), ..];
            assert_eq!(own.log_probabilities, all.log_probabilities.slice(of), "{rows:?}");
            assert_eq!(own.log_others, all.log_others.slice(s![rows.clone()]), "{rows:?}");
            assert_eq!(own_states, states[rows.clone()], "{rows:?}");
            assert_eq!(own_hidden, d_hidden.slice(of), "{backward:?} {rows:?}");
        }
    }
}

#[test]
fn what_does_not_go_is_said() {
    let lists = Lists::new(3, 4, 20, 2);
    let of = LinearCrossEntropy::builder;
    let loss = of().build().unwrap();
    let plain = Inputs::unlabelled(&lists.hidden, &lists.classifier);
    let candidates = Candidates::new(&lists.classes);
    let conflict = |result: surprisal::Result<()>, words: &str| match result {
        Err(error) => assert!(error.to_string().contains(words), "{error}"),
        Ok(()) => panic!("expected: {words}"),
    };
    let forward = |loss: &LinearCrossEntropy, inputs: &Inputs<'_>| loss.forward(inputs).map(|_| ());
    let few = lists.classes.slice(s![..2, ..]);
    conflict(forward(&loss, &plain.candidates(Candidates::new(few))), "3 rows");
    let far = arr2(&[[0_u32, 1], [20, 3], [0, 0]]);
    let error = loss.forward(&plain.candidates(Candidates::new(&far))).unwrap_err();
    assert!(matches!(&error, Error::Value { index, .. } if index == &[1, 0]), "{error}");
    let sharded = plain.candidates(candidates).shard(Shard::new(0, 40));
    conflict(loss.fold(&sharded).map(|_| ()), "");
    let filtered = of().filter(Filter::Auto).build().unwrap();
    conflict(forward(&filtered, &plain.candidates(candidates)), "filter");
    let smoothed = of().label_smoothing(0.1).build().unwrap();
    conflict(forward(&smoothed, &plain.candidates(candidates.with_others())), "smoothing");
    let costs = arr1(&[0.0_f64; 20]);
    let beside = Inputs::new(&lists.hidden, &lists.classifier, &lists.targets)
        .companion(surprisal::loss::Companion::classes(&costs))
        .candidates(candidates.with_others());
    conflict(forward(&of().row_loss(ExpectedCost).build().unwrap(), &beside), "companion");
    conflict(loss.forward(&plain).unwrap().candidates().map(|_| ()), "no candidates");

    let inputs = plain.candidates(candidates);
    let seen = loss.forward(&inputs).unwrap();
    let vjp = |inputs: &Inputs<'_>, upstream: &Upstream<'_>| {
        let mut d_hidden = Array2::<f64>::zeros((3, 4));
        loss.vjp(inputs, &seen, upstream, Gradients::new().hidden(&mut d_hidden))
    };
    let (wide, right) = (Array2::<f64>::ones((3, 3)), Array2::<f64>::ones((3, 2)));
    let others = arr1(&[1.0_f64; 3]);
    conflict(vjp(&inputs, &Upstream::scalar(0.0).candidates(&wide)), "[3, 2]");
    conflict(vjp(&inputs, &Upstream::scalar(0.0).log_others(&others)), "not asked for");
    conflict(vjp(&plain, &Upstream::scalar(0.0).candidates(&right)), "no candidates");
    let other = arr2(&[[0_u32, 1], [2, 3], [4, 5]]);
    let swapped = plain.candidates(Candidates::new(&other));
    conflict(vjp(&swapped, &Upstream::scalar(0.0).candidates(&right)), "expected what `forward`");
    vjp(&inputs, &Upstream::scalar(0.0).candidates(&right)).unwrap();
}

/// Under a floor the list is a part of what is left: what is not has no probability.
#[test]
fn candidates_below_a_floor_are_gone() {
    let logits = arr2(&[[1.0_f64, 3.0, 2.0, -1.0]]);
    let classes = arr2(&[[1_u32, 3]]);
    let loss = LinearCrossEntropy::builder().build().unwrap();
    let plain = Inputs::unlabelled_logits(&logits);
    let truncation = surprisal::loss::Truncation::new().top_k(2);
    let floors = loss.truncate(&plain, &truncation).unwrap();
    let inputs = plain.floors(&floors).candidates(Candidates::new(&classes).with_others());
    let forward = loss.forward(&inputs).unwrap();
    let own = forward.candidates().unwrap();
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-15, "{a} and {b}");
    close(own.log_probabilities[[0, 0]], -(-1.0_f64).exp().ln_1p());
    assert_eq!(own.log_probabilities[[0, 1]], f64::NEG_INFINITY);
    close(own.log_others[0], -1_f64.exp().ln_1p());
    let of_candidates = arr2(&[[1.0_f64, 5.0]]);
    let upstream = Upstream::scalar(0.0).candidates(&of_candidates);
    let mut gradient = Array2::<f64>::from_elem((1, 4), f64::NAN);
    loss.vjp(&inputs, &forward, &upstream, Gradients::new().logits(&mut gradient)).unwrap();
    let share = 1.0 / (1.0 + 1_f64.exp());
    for (a, b) in gradient.iter().zip([0.0, share, -share, 0.0]) {
        close(*a, b);
    }
}

/// Targets that are one class each, named as hard, as sparse and as dense ones.
#[test]
fn they_stand_beside_targets_of_every_kind() {
    let lists = Lists::new(9, 5, 40, 4);
    let keep: Vec<usize> = (0..9).filter(|&i| lists.targets[i] >= 0).collect();
    let hard: Vec<u32> = keep.iter().map(|&i| lists.targets[i] as u32).collect();
    let hidden = lists.hidden.select(Axis(0), &keep);
    let classes = lists.classes.select(Axis(0), &keep);
    let of_candidates = lists.of_candidates.select(Axis(0), &keep);
    let of_others = lists.of_others.select(Axis(0), &keep);
    let listed = Array2::from_shape_fn((keep.len(), 1), |(i, _)| hard[i]);
    let ones = Array2::<f64>::ones((keep.len(), 1));
    let mut dense = Array2::<f64>::zeros((keep.len(), 40));
    hard.iter().enumerate().for_each(|(i, &y)| dense[[i, y as usize]] = 1.0);
    for (others, backward) in [
        (false, Backward::Recompute),
        (false, Backward::Strip),
        (true, Backward::Recompute),
        (true, Backward::Strip),
    ] {
        let loss = LinearCrossEntropy::builder().backward(backward).build().unwrap();
        let mut first: Option<(f64, Array2<f64>)> = None;
        for (kind, targets) in [
            ("hard", Targets::from(&hard)),
            ("sparse", Targets::sparse(&listed, &ones)),
            ("dense", Targets::soft(&dense)),
        ] {
            let candidates = Candidates::new(&classes);
            let candidates = if others { candidates.with_others() } else { candidates };
            let inputs = Inputs::new(&hidden, &lists.classifier, targets).candidates(candidates);
            let upstream = Upstream::default().candidates(&of_candidates);
            let upstream = if others { upstream.log_others(&of_others) } else { upstream };
            let mut gradient = Array2::<f64>::zeros(hidden.dim());
            let gradients = Gradients::new().hidden(&mut gradient);
            let forward = loss.loss_and_gradients(&inputs, &upstream, gradients);
            if others && kind == "dense" {
                assert!(matches!(forward, Err(Error::Conflict { what }) if what.contains("dense")));
                continue;
            }
            let forward = forward.unwrap();
            let found = (forward.loss(), gradient);
            let (value, expected) = first.get_or_insert_with(|| found.clone());
            let off = (found.0 - *value).abs();
            assert!(off < 1e-12, "{kind}, {others}, {backward:?}: {off:e}");
            let off = (&found.1 - &*expected).fold(0.0_f64, |most, x| most.max(x.abs()));
            assert!(off < 1e-12, "{kind}, {others}, {backward:?}, dE: {off:e}");
        }
    }
}
