//! Rows over the classes that top-k, top-p and min-p leave: against direct sums in f64 over every type, strategy and
//! instruction set.

use half::{bf16, f16};
use ndarray::{Array1, Array2, Axis, arr1, arr2};
use surprisal::loss::{
    Companion, ExpectedCost, Floors, GeneralizedCrossEntropy, Head, KullbackLeibler, Ties,
    Truncation,
};
use surprisal::{
    Backward, Element, Error, Filter, Gradients, Inputs, Isa, LinearCrossEntropy, Real, Reduction,
    Shard, Statistic, Targets, Upstream,
};
use testing::Stream;

/// Rows whose logits are sums of few products of quarters: exact in every type, and many of them equal.
struct Rows {
    hidden: Array2<f64>,
    classifier: Array2<f64>,
    bias: Array1<f64>,
    targets: Vec<i64>,
    /// Powers of two.
    temperatures: Array1<f64>,
    top_k: Vec<usize>,
    top_p: Array1<f64>,
    min_p: Array1<f64>,
    d_loss: Array1<f64>,
    d_log_sum_exp: Array1<f64>,
    d_entropy: Array1<f64>,
}

/// What direct sums make of the rows.
struct Truth {
    stays: Array2<bool>,
    log_probabilities: Array1<f64>,
    entropies: Array1<f64>,
    /// dL by the products, and the sizes of what it is summed from.
    g: Array2<f64>,
    sizes: Array2<f64>,
    d_temperature: Array1<f64>,
    size_of_temperature: Array1<f64>,
}

impl Rows {
    fn new(rows: usize, width: usize, classes: usize) -> Self {
        let mut stream = Stream((rows * 1000 + classes) as u64);
        let mut quarters = |n: usize, m: usize, most: f64| {
            stream.matrix(n, m, 1.0).mapv(|x| (4.0 * x).round().clamp(-most, most) / 4.0)
        };
        let (hidden, classifier) = (quarters(rows, width, 6.0), quarters(classes, width, 5.0));
        let bias = quarters(1, classes, 4.0).row(0).to_owned();
        let mut targets = stream.classes(rows, classes);
        if rows > 2 {
            targets[1] = -100;
        }
        let each = |i: usize, of: usize| (stream_of(i, of) * 1e6).round() / 1e6;
        Self {
            hidden,
            classifier,
            bias,
            targets,
            temperatures: Array1::from_shape_fn(rows, |i| [1.0, 2.0, 0.5][i % 3]),
            top_k: (0..rows).map(|i| [classes, 1 + i % 40, 50, 1][i % 4]).collect(),
            top_p: Array1::from_shape_fn(rows, |i| [0.05 + 0.9 * each(i, 1), 1.0][i / 2 % 2]),
            min_p: Array1::from_shape_fn(rows, |i| [0.0, 0.3 * each(i, 2)][i / 3 % 2]),
            d_loss: stream.vector(rows, 1.0).mapv(|x| bf16::from_f64(x).to_f64()),
            d_log_sum_exp: stream.vector(rows, 0.5).mapv(|x| bf16::from_f64(x).to_f64()),
            d_entropy: stream.vector(rows, 0.5).mapv(|x| bf16::from_f64(x).to_f64()),
        }
    }

    fn truncation(&self, ties: Ties) -> Truncation<'_> {
        Truncation::new()
            .top_k_of_rows(&self.top_k)
            .top_p_of_rows(&self.top_p)
            .min_p_of_rows(&self.min_p)
            .ties(ties)
    }

    fn logits(&self) -> Array2<f64> {
        let products = self.hidden.dot(&self.classifier.t()) + &self.bias;
        products / self.temperatures.view().insert_axis(Axis(1))
    }

    fn truth(&self, ties: Ties) -> Truth {
        let logits = self.logits();
        let (rows, classes) = logits.dim();
        let mut truth = Truth {
            stays: Array2::from_elem(logits.dim(), false),
            log_probabilities: Array1::zeros(rows),
            entropies: Array1::zeros(rows),
            g: Array2::zeros(logits.dim()),
            sizes: Array2::zeros(logits.dim()),
            d_temperature: Array1::zeros(rows),
            size_of_temperature: Array1::zeros(rows),
        };
        for i in 0..rows {
            let Ok(target) = usize::try_from(self.targets[i]) else { continue };
            let a = logits.row(i).to_vec();
            let stays = stays(&a, self.top_k[i], self.top_p[i], self.min_p[i], ties);
            let m = a.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = (0..classes).filter(|&v| stays[v]).map(|v| (a[v] - m).exp()).sum();
            let log_p = |v: usize| a[v] - m - sum.ln();
            let inside = || (0..classes).filter(|&v| stays[v]);
            let entropy: f64 = inside().map(|v| -log_p(v).exp() * log_p(v)).sum();
            truth.entropies[i] = entropy;
            let taken = if stays[target] { self.d_loss[i] } else { 0.0 };
            truth.log_probabilities[i] =
                if stays[target] { log_p(target) } else { f64::NEG_INFINITY };
            for v in inside() {
                let (p, one) = (log_p(v).exp(), f64::from(u8::from(v == target)));
                let by_entropy = -p * (log_p(v) + entropy);
                let by_logit =
                    taken * (p - one) + self.d_log_sum_exp[i] * p + self.d_entropy[i] * by_entropy;
                let size = taken.abs() * (p + one)
                    + self.d_log_sum_exp[i].abs() * p
                    + self.d_entropy[i].abs() * p * (log_p(v).abs() + entropy);
                truth.g[[i, v]] = by_logit / self.temperatures[i];
                truth.sizes[[i, v]] = size / self.temperatures[i];
                truth.d_temperature[i] -= by_logit * a[v] / self.temperatures[i];
                truth.size_of_temperature[i] += size * (a[v].abs() + 1.0) / self.temperatures[i];
                truth.stays[[i, v]] = true;
            }
        }
        truth
    }
}

fn stream_of(i: usize, of: usize) -> f64 {
    surprisal::random::Generator::of(9, of as u64, i).uniform()
}

/// The classes that stay, by the words of the definition and a whole sort.
fn stays(a: &[f64], top_k: usize, top_p: f64, min_p: f64, ties: Ties) -> Vec<bool> {
    let mut order: Vec<usize> = (0..a.len()).collect();
    order.sort_by(|&i, &j| a[j].total_cmp(&a[i]).then(i.cmp(&j)));
    let m = a[order[0]];
    let mut stays = vec![true; a.len()];
    if top_k < a.len() {
        let least = a[order[top_k - 1]];
        for (at, &v) in order.iter().enumerate() {
            stays[v] = at < top_k || (ties == Ties::Keep && a[v] == least);
        }
    }
    if top_p < 1.0 {
        let mass = |v: usize| if stays[v] { (a[v] - m).exp() } else { 0.0 };
        let all: f64 = order.iter().map(|&v| mass(v)).sum();
        let mut within = vec![false; a.len()];
        // The mass of what ranks before, and of those the part that is strictly larger.
        let (mut before, mut larger) = (0.0, 0.0);
        for (at, &v) in order.iter().enumerate() {
            if at > 0 && a[v] < a[order[at - 1]] {
                larger = before;
            }
            let rank = if ties == Ties::Keep { larger } else { before };
            assert!((rank / all - top_p).abs() > 1e-12, "a case that rounding would decide");
            within[v] = rank / all < top_p;
            before += mass(v);
        }
        stays.iter_mut().zip(&within).for_each(|(stays, within)| *stays &= within);
    }
    for (stays, &x) in stays.iter_mut().zip(a) {
        *stays &= x > f64::NEG_INFINITY && (min_p == 0.0 || x - m >= min_p.ln());
    }
    stays
}

fn fused<T: Element<Real = R>, R: Real>(
    what: &str,
    rows: &Rows,
    loss: &LinearCrossEntropy,
    ties: Ties,
    truth: &Truth,
    rounded: f64,
) where
    for<'a> surprisal::Matrix<'a>: From<&'a Array2<T>>,
    for<'a> surprisal::MatrixMut<'a>: From<&'a mut Array2<R>>,
    for<'a> surprisal::VectorMut<'a>: From<&'a mut Array1<R>>,
{
    let (hidden, classifier) =
        (testing::cast::<T>(&rows.hidden), testing::cast::<T>(&rows.classifier));
    let inputs = Inputs::new(&hidden, &classifier, &rows.targets)
        .bias(&rows.bias)
        .temperatures(&rows.temperatures);
    let floors = loss.truncate(&inputs, &rows.truncation(ties)).unwrap();
    let inputs = inputs.floors(&floors);
    let nan = R::from_f64(f64::NAN);
    let mut d_hidden = Array2::from_elem(hidden.dim(), nan);
    let mut d_classifier = Array2::from_elem(classifier.dim(), nan);
    let mut d_bias = Array1::from_elem(classifier.dim().0, nan);
    let mut d_temperature = Array1::from_elem(hidden.dim().0, nan);
    let gradients = Gradients::new()
        .hidden(&mut d_hidden)
        .classifier(&mut d_classifier)
        .bias(&mut d_bias)
        .temperature(&mut d_temperature);
    let upstream =
        Upstream::rows(&rows.d_loss).log_sum_exp(&rows.d_log_sum_exp).entropy(&rows.d_entropy);
    let forward = loss.loss_and_gradients(&inputs, &upstream, gradients).unwrap();
    let close = |name: &str, a: f64, b: f64, bound: f64| {
        let equal = a == b || (a - b).abs() <= bound;
        assert!(equal, "{what}, {name}: {a:e} and {b:e}, within {bound:e}");
    };
    let (n, v) = (hidden.dim().0 as f64, classifier.dim().0 as f64);
    // The logits are exact. A sum over the classes is off by at most their number, p and ln p by that and the
    // exponential's own, of a few units; the products by the number of their terms.
    let unit = R::EPSILON * (v + 16.0);
    let log_probabilities = forward.statistic(Statistic::LogProbability).unwrap();
    for (a, b) in log_probabilities.iter().zip(&truth.log_probabilities) {
        close("ln p", *a, *b, unit * (1.0 + if b.is_finite() { b.abs() } else { 0.0 }));
    }
    for (a, b) in forward.statistic(Statistic::Entropy).unwrap().iter().zip(&truth.entropies) {
        close("entropy", *a, *b, unit * (1.0 + b));
    }
    for ((a, b), size) in
        d_temperature.iter().zip(&truth.d_temperature).zip(&truth.size_of_temperature)
    {
        close("dT", a.to_f64(), *b, 4.0 * unit * size);
    }
    let entry = 4.0 * unit + rounded;
    let bounds = truth.sizes.mapv(|size| (entry + R::EPSILON * (n + v)) * size);
    let bound = bounds.dot(&rows.classifier.mapv(f64::abs));
    for ((at, a), b) in d_hidden.indexed_iter().zip(&truth.g.dot(&rows.classifier)) {
        close("dE", a.to_f64(), *b, bound[at]);
    }
    let bound = bounds.t().dot(&rows.hidden.mapv(f64::abs));
    for ((at, a), b) in d_classifier.indexed_iter().zip(&truth.g.t().dot(&rows.hidden)) {
        close("dC", a.to_f64(), *b, bound[at]);
    }
    let bound = bounds.sum_axis(Axis(0));
    for ((at, a), b) in d_bias.indexed_iter().zip(&truth.g.sum_axis(Axis(0))) {
        close("db", a.to_f64(), *b, bound[at]);
        // A class that no row keeps has nothing at all.
        if !truth.stays.column(at).iter().any(|&stays| stays) {
            assert_eq!(a.to_f64(), 0.0, "{what}");
        }
    }
}

#[test]
fn truncated_rows_are_those_of_direct_sums() {
    for (n, width, classes) in [(1, 1, 1), (3, 7, 33), (13, 20, 257), (40, 9, 700)] {
        let rows = Rows::new(n, width, classes);
        for ties in [Ties::Keep, Ties::LowestIndex] {
            let truth = rows.truth(ties);
            for isa in Isa::available() {
                for backward in [Backward::Recompute, Backward::Strip] {
                    let loss = LinearCrossEntropy::builder()
                        .reduction(Reduction::None)
                        .varentropy(true)
                        .isa(isa)
                        .backward(backward)
                        .build()
                        .unwrap();
                    let what = format!("{isa:?}, {backward:?}, {ties:?}, {classes} classes");
                    fused::<f64, f64>(&what, &rows, &loss, ties, &truth, 0.0);
                    fused::<f32, f32>(&what, &rows, &loss, ties, &truth, 0.0);
                    fused::<f16, f32>(&what, &rows, &loss, ties, &truth, 0.0);
                    let rounds = testing::multiplies_bf16(isa);
                    let rounded = if rounds { 2.0_f64.powi(-8) } else { 0.0 };
                    fused::<bf16, f32>(&what, &rows, &loss, ties, &truth, rounded);
                }
            }
        }
    }
}

fn of_rows() -> LinearCrossEntropy {
    LinearCrossEntropy::builder().reduction(Reduction::None).entropy(true).build().unwrap()
}

/// Logits that are given, a vjp after a forward, and any budget: the floors are the same, and so are the bits.
#[test]
fn floors_do_not_depend_on_the_way_to_the_logits() {
    let rows = Rows::new(37, 12, 600);
    let products = rows.hidden.dot(&rows.classifier.t());
    for ties in [Ties::Keep, Ties::LowestIndex] {
        let truncation = rows.truncation(ties);
        let mut found: Vec<Floors> = Vec::new();
        for budget in [1 << 28, 400_000, 340_000] {
            let loss = LinearCrossEntropy::builder().memory_budget(budget).build().unwrap();
            let fused = Inputs::new(&rows.hidden, &rows.classifier, &rows.targets);
            let given = Inputs::from_logits(&products, &rows.targets);
            for inputs in [fused, given] {
                let inputs = inputs.bias(&rows.bias).temperatures(&rows.temperatures);
                found.push(loss.truncate(&inputs, &truncation).unwrap());
            }
        }
        // An ignored row is a NaN, which equals nothing.
        let bits = |floors: &Floors| floors.thresholds().mapv(f64::to_bits);
        assert!(found.iter().all(|floors| bits(floors) == bits(&found[0])));
        assert!(found.windows(2).all(|pair| pair[0] == pair[1]));
    }
    let loss = LinearCrossEntropy::builder().memory_budget(10_000).build().unwrap();
    let inputs = Inputs::new(&rows.hidden, &rows.classifier, &rows.targets);
    let small = loss.truncate(&inputs, &Truncation::new().top_k(3));
    assert!(matches!(small, Err(Error::MemoryBudget { .. })), "{small:?}");

    let loss = of_rows();
    let floors = loss.truncate(&inputs, &Truncation::new().top_p(0.7)).unwrap();
    let inputs = inputs.floors(&floors);
    let mut gradients = [Array2::<f64>::zeros(rows.hidden.dim()), Array2::zeros(rows.hidden.dim())];
    let [once, twice] = &mut gradients;
    let upstream = Upstream::rows(&rows.d_loss);
    loss.loss_and_gradients(&inputs, &upstream, Gradients::new().hidden(once)).unwrap();
    let forward = loss.forward(&inputs).unwrap();
    loss.vjp(&inputs, &forward, &upstream, Gradients::new().hidden(twice)).unwrap();
    assert!((&gradients[0] - &gradients[1]).iter().all(|far| far.abs() < 1e-13));
}

/// By central differences, where a move of that size changes no set.
#[test]
fn the_gradients_are_the_slopes_of_the_values() {
    let logits = arr2(&[[0.3_f64, -1.0, 2.0, 0.1, 1.7], [0.0, 0.4, -0.3, 1.2, 3.0]]);
    let temperatures = arr1(&[0.7, 1.6]);
    let loss =
        LinearCrossEntropy::builder().reduction(Reduction::Sum).entropy(true).build().unwrap();
    let truncation = Truncation::new().top_k(4).top_p(0.93).min_p(0.02);
    let value = |logits: &Array2<f64>, temperatures: &Array1<f64>| {
        let inputs = Inputs::from_logits(logits, &[0_u32, 3]).temperatures(temperatures);
        let floors = loss.truncate(&inputs, &truncation).unwrap();
        loss.forward(&inputs.floors(&floors)).unwrap().loss()
    };
    let inputs = Inputs::from_logits(&logits, &[0_u32, 3]).temperatures(&temperatures);
    let floors = loss.truncate(&inputs, &truncation).unwrap();
    let (mut g, mut by_temperature) = (Array2::<f64>::zeros((2, 5)), Array1::<f64>::zeros(2));
    let gradients = Gradients::new().logits(&mut g).temperature(&mut by_temperature);
    loss.loss_and_gradients(&inputs.floors(&floors), &Upstream::default(), gradients).unwrap();
    assert_eq!(g.iter().filter(|g| **g == 0.0).count(), 3);
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} and {b}");
    for (at, &g) in g.indexed_iter() {
        let moved = |h: f64| {
            let mut logits = logits.clone();
            logits[at] += h;
            value(&logits, &temperatures)
        };
        near(g, (moved(1e-5) - moved(-1e-5)) / 2e-5);
    }
    for (i, &g) in by_temperature.iter().enumerate() {
        let moved = |h: f64| {
            let mut temperatures = temperatures.clone();
            temperatures[i] += h;
            value(&logits, &temperatures)
        };
        near(g, (moved(1e-5) - moved(-1e-5)) / 2e-5);
    }
}

#[test]
fn equal_logits_stay_together_or_go_by_their_class() {
    let logits = arr2(&[[1.0_f64, 2.0, 1.0, 1.0, 0.0]]);
    let loss = of_rows();
    let kept = |truncation: Truncation<'_>| {
        let inputs = Inputs::from_logits(&logits, &[3_u32]);
        let floors = loss.truncate(&inputs, &truncation).unwrap();
        let mut g = Array2::<f64>::zeros((1, 5));
        let upstream = arr1(&[1.0]);
        let upstream = Upstream::scalar(0.0).log_sum_exp(&upstream);
        let gradients = Gradients::new().logits(&mut g);
        loss.loss_and_gradients(&inputs.floors(&floors), &upstream, gradients).unwrap();
        (0..5).filter(|&v| g[[0, v]] > 0.0).collect::<Vec<_>>()
    };
    let of = || Truncation::new().ties(Ties::LowestIndex);
    assert_eq!(kept(Truncation::new().top_k(2)), [0, 1, 2, 3]);
    assert_eq!(kept(of().top_k(2)), [0, 1]);
    assert_eq!(kept(of().top_k(3)), [0, 1, 2]);
    // The masses are e : 1 : 1 : 1 : e⁻¹, of 6.09: 0.45, then 0.16 each.
    assert_eq!(kept(Truncation::new().top_p(0.5)), [0, 1, 2, 3]);
    assert_eq!(kept(of().top_p(0.5)), [0, 1]);
    assert_eq!(kept(of().top_p(0.7)), [0, 1, 2]);
    assert_eq!(kept(of().top_p(0.4)), [1]);
    // Of the three that top-k leaves (e : 1 : 1), 0.55 alone is the largest.
    assert_eq!(kept(of().top_k(3).top_p(0.57)), [1]);
    assert_eq!(kept(of().min_p(0.3)), [0, 1, 2, 3]);
    assert_eq!(kept(of().min_p(1.0)), [1]);
    assert_eq!(kept(of().top_k(2).min_p(0.3)), [0, 1]);
}

/// Numbers that leave nothing out change no bit; a vocabulary of one class, and classes of probability 0, are no
/// exceptions.
#[test]
fn what_leaves_nothing_out_changes_nothing() {
    let rows = Rows::new(9, 5, 70);
    let loss = of_rows();
    let inputs = Inputs::new(&rows.hidden, &rows.classifier, &rows.targets);
    let off = Truncation::new().top_k(70).top_p(1.0).min_p(0.0);
    let floors = loss.truncate(&inputs, &off).unwrap();
    let (plain, cut) =
        (loss.forward(&inputs).unwrap(), loss.forward(&inputs.floors(&floors)).unwrap());
    assert_eq!(plain.losses(), cut.losses());
    assert!(floors.thresholds().iter().all(|x| x.is_nan() || *x == f64::NEG_INFINITY));

    let one = arr2(&[[3.0_f32], [-2.0]]);
    let inputs = Inputs::from_logits(&one, &[0_u32, 0]);
    let truncation = Truncation::new().top_k(1).top_p(0.01).min_p(1.0);
    let floors = loss.truncate(&inputs, &truncation).unwrap();
    assert_eq!(loss.forward(&inputs.floors(&floors)).unwrap().losses().to_vec(), [0.0, 0.0]);

    let lost = f64::NEG_INFINITY;
    let logits =
        arr2(&[[lost, 1.0, lost, 1.0], [lost, lost, 0.0, lost], [f64::NAN, 0.0, 1.0, 2.0]]);
    for truncation in [off, Truncation::new().top_k(3), Truncation::new().top_p(0.999)] {
        let inputs = Inputs::from_logits(&logits, &[1_u32, 0, 1]);
        let floors = loss.truncate(&inputs, &truncation).unwrap();
        let mut g = Array2::<f64>::zeros((3, 4));
        let gradients = Gradients::new().logits(&mut g);
        let inputs = inputs.floors(&floors);
        let forward = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
        assert_eq!(forward.losses()[0], std::f64::consts::LN_2);
        assert!(forward.losses()[2].is_nan() && g.row(2).iter().all(|g| g.is_nan()));
        assert_eq!(g.row(0).to_vec(), [0.0, -0.5, 0.0, 0.5]);
    }
}

/// It has no gradient of the loss, whatever the strategy, and what else comes in of the row goes on.
#[test]
fn a_target_that_is_left_out_has_no_gradient() {
    let rows = Rows::new(30, 6, 90);
    let truncation = Truncation::new().top_k(40);
    for backward in [Backward::Strip, Backward::Recompute] {
        let loss = LinearCrossEntropy::builder()
            .reduction(Reduction::None)
            .entropy(true)
            .rank(true)
            .top_k(5)
            .backward(backward)
            .build()
            .unwrap();
        let inputs = Inputs::new(&rows.hidden, &rows.classifier, &rows.targets);
        let floors = loss.truncate(&inputs, &truncation).unwrap();
        let inputs = inputs.floors(&floors);
        let mut gradients =
            [0; 2].map(|_| Array2::<f64>::from_elem(rows.classifier.dim(), f64::NAN));
        let mut hidden = Array2::<f64>::from_elem(rows.hidden.dim(), f64::NAN);
        let [all, inside] = &mut gradients;
        let to = Gradients::new().hidden(&mut hidden).classifier(all);
        let forward = loss.loss_and_gradients(&inputs, &Upstream::default(), to).unwrap();
        let left_out = forward.losses().mapv(|x| x == f64::INFINITY);
        let count = left_out.iter().filter(|&&x| x).count();
        assert!((5..25).contains(&count), "{count}");
        let rank = forward.rank().unwrap();
        let top = forward.top_k();
        for (i, &out) in left_out.iter().enumerate() {
            assert!(!out || hidden.row(i).iter().all(|&g| g == 0.0));
            let finite = top.log_probabilities.row(i).iter().filter(|x| x.is_finite()).count();
            assert!(!out || rank[i] as usize >= 40 && finite == 5);
        }
        let kept = left_out.mapv(|out| f64::from(u8::from(!out)));
        let to = Gradients::new().classifier(inside);
        loss.loss_and_gradients(&inputs, &Upstream::rows(&kept), to).unwrap();
        let far = (&gradients[0] - &gradients[1]).mapv(f64::abs);
        assert!(far.iter().all(|&far| far < 1e-14), "{far:e}");
    }
    // A loss that is finite where p_y is 0 keeps its gradient.
    let logits = arr2(&[[2.0_f64, 1.0, 0.0]]);
    let costs = arr1(&[1.0_f64, 3.0, 50.0]);
    let inputs = Inputs::from_logits(&logits, &[2_u32]).companion(Companion::classes(&costs));
    let loss = LinearCrossEntropy::builder().row_loss(ExpectedCost).build().unwrap();
    let floors = loss.truncate(&inputs, &Truncation::new().top_k(2)).unwrap();
    let mut g = Array2::<f64>::zeros((1, 3));
    let to = Gradients::new().logits(&mut g);
    let inputs = inputs.floors(&floors);
    let forward = loss.loss_and_gradients(&inputs, &Upstream::default(), to).unwrap();
    let p = 1.0 / (1.0 + 1.0_f64.exp());
    assert!((forward.loss() - (1.0 + 2.0 * p)).abs() < 1e-15);
    assert!((g[[0, 1]] - 2.0 * p * (1.0 - p)).abs() < 1e-15 && g[[0, 2]] == 0.0);
    let bounded = GeneralizedCrossEntropy::new(0.5).unwrap();
    let loss = LinearCrossEntropy::builder().row_loss(bounded).build().unwrap();
    let inputs = Inputs::from_logits(&logits, &[2_u32]).floors(&floors);
    let to = Gradients::new().logits(&mut g);
    let forward = loss.loss_and_gradients(&inputs, &Upstream::default(), to).unwrap();
    assert!(forward.loss() == 2.0 && g.iter().all(|&g| g == 0.0));
}

#[test]
fn what_floors_do_not_go_with_is_refused() {
    let rows = Rows::new(4, 3, 8);
    let inputs = Inputs::new(&rows.hidden, &rows.classifier, &rows.targets);
    let loss = of_rows();
    let truncation = Truncation::new().top_k(2);
    let floors = loss.truncate(&inputs, &truncation).unwrap();
    let cut = inputs.floors(&floors);
    let conflict = |what: &str, result: surprisal::Result<()>| {
        assert!(matches!(result, Err(Error::Conflict { .. })), "{what}: {result:?}");
    };
    let with = |loss: surprisal::LinearCrossEntropyBuilder, inputs: &Inputs<'_>| {
        loss.build().unwrap().forward(inputs).map(drop)
    };
    let of = LinearCrossEntropy::builder;
    let shard = Shard::new(0, 8);
    conflict("a shard", loss.fold(&cut.shard(shard)).map(drop));
    conflict("a shard", loss.truncate(&inputs.shard(shard), &truncation).map(drop));
    conflict("floors", loss.truncate(&cut, &truncation).map(drop));
    conflict("a filter", with(of().filter(Filter::Auto), &cut));
    conflict("smoothing", with(of().label_smoothing(0.1), &cut));
    conflict("another scale", with(of().scale(2.0), &cut));
    let head = Companion::logits(Head::new(&rows.hidden, &rows.classifier));
    conflict("a head", with(of().row_loss(KullbackLeibler::forward()), &cut.companion(head)));
    let soft = Array2::from_elem((4, 8), 0.125);
    let of_soft = Inputs::new(&rows.hidden, &rows.classifier, Targets::soft(&soft));
    conflict("soft targets", with(of(), &of_soft.floors(&floors)));
    let forward = loss.forward(&inputs).unwrap();
    let mut g = Array2::<f64>::zeros(rows.hidden.dim());
    let to = Gradients::new().hidden(&mut g);
    conflict("another forward", loss.vjp(&cut, &forward, &Upstream::default(), to));
    let isas: Vec<Isa> = Isa::available().into_iter().collect();
    if let [first, .., last] = isas[..] {
        let of = |isa| of().isa(isa).build().unwrap();
        let inputs = Inputs::new(&rows.hidden, &rows.classifier, &rows.targets);
        let floors = of(first).truncate(&inputs, &truncation).unwrap();
        conflict("instructions", of(last).forward(&inputs.floors(&floors)).map(drop));
    }
    // Of an ignored row, of another temperature, of other rows.
    let kept = vec![0_u32; 4];
    let other = Inputs::new(&rows.hidden, &rows.classifier, &kept).floors(&floors);
    let error = loss.forward(&other).unwrap_err().to_string();
    assert!(error.contains("floors[1] is of an ignored row"), "{error}");
    let error = loss.forward(&cut.temperatures(&rows.temperatures)).unwrap_err().to_string();
    assert!(error.contains("of another temperature"), "{error}");
    let fewer = Inputs::new(&rows.hidden, &rows.classifier, &kept[..2]).rows(&[0, 2]);
    assert!(matches!(loss.forward(&fewer.floors(&floors)), Err(Error::Shape { .. })));

    let each = arr1(&[0.5, 0.5, 0.0, 0.5]);
    for (truncation, words) in [
        (Truncation::new().top_k(0), "top_k is 0, expected a whole number of at least 1"),
        (Truncation::new().top_p(0.0), "top_p is 0, expected a number above 0 and up to 1"),
        (Truncation::new().top_p(f64::NAN), "top_p is NaN"),
        (Truncation::new().min_p(1.5), "min_p is 1.5, expected a number from 0 to 1"),
        (Truncation::new().top_p_of_rows(&each), "top_p[2] is 0"),
        (Truncation::new().top_k_of_rows(&[1, 2]), "top_k has shape [2], expected [4]"),
        (Truncation::new().top_k_of_rows(&[1, 2, 0, 1]), "top_k[2] is 0"),
    ] {
        let error = loss.truncate(&inputs, &truncation).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
