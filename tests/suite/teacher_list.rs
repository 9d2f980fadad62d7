//! Divergences from a teacher's lists: against direct sums in f64, central differences through the hidden states, and
//! what must hold whatever the numbers are.

use ndarray::{Array1, Array2, arr1, arr2, s};
use surprisal::loss::{
    Candidates, Companion, Divergence, Head, JensenShannon, KullbackLeibler, ListDivergence,
    ListDivergenceBuilder, ListLosses, Outside, SkewKullbackLeibler, TeacherList,
};
use surprisal::{
    Backward, Error, Gradients, Inputs, LinearCrossEntropy, LinearCrossEntropyBuilder, Matrix,
    Reduction, Upstream,
};
use testing::{Stream, close};

const FORWARD: Divergence = Divergence::ForwardKullbackLeibler;
const REVERSE: Divergence = Divergence::ReverseKullbackLeibler;
const FLOOR: f64 = -8.0;

/// Each divergence as shares of the named ones, with how it is asked for.
type Parts = Vec<(f64, Divergence)>;

fn of_distributions() -> Vec<Parts> {
    let mixtures = [
        Divergence::JensenShannon { beta: 0.3 },
        Divergence::JensenShannon { beta: 1.0 },
        Divergence::ForwardSkew { alpha: 0.1 },
        Divergence::ForwardSkew { alpha: 0.0 },
        Divergence::ReverseSkew { alpha: 0.7 },
    ];
    let mixtures = mixtures.into_iter().map(|mixture| vec![(1.0, mixture)]);
    let plain =
        vec![vec![(1.0, FORWARD)], vec![(1.0, REVERSE)], vec![(0.7, FORWARD), (0.3, REVERSE)]];
    plain.into_iter().chain(mixtures).collect()
}

/// All that goes together.
fn all() -> Vec<(Outside, Parts)> {
    let floor = Outside::Floor { log_probability: FLOOR };
    let mut all = vec![(floor, vec![(1.0, REVERSE)])];
    for parts in of_distributions() {
        if matches!(
            parts[0].1,
            Divergence::ForwardKullbackLeibler | Divergence::ReverseKullbackLeibler
        ) {
            all.push((Outside::Ignore, parts.clone()));
        }
        all.push((Outside::Renormalize, parts.clone()));
        all.push((Outside::Tail, parts));
    }
    all
}

fn builder(outside: Outside, parts: &Parts) -> ListDivergenceBuilder {
    let builder = ListDivergence::builder().outside(outside);
    match parts[..] {
        [(_, divergence)] => builder.divergence(divergence),
        _ => builder.symmetric(parts[1].0),
    }
}

fn kullback_leibler(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).filter(|(a, _)| **a > 0.0).map(|(a, b)| a * (a / b).ln()).sum()
}

fn directly(divergence: Divergence, p: &[f64], q: &[f64]) -> f64 {
    let mixture = |share: f64| -> Vec<f64> {
        p.iter().zip(q).map(|(p, q)| share * p + (1.0 - share) * q).collect()
    };
    match divergence {
        Divergence::ForwardKullbackLeibler => kullback_leibler(p, q),
        Divergence::ReverseKullbackLeibler => kullback_leibler(q, p),
        Divergence::JensenShannon { beta } => {
            let m = mixture(beta);
            beta * kullback_leibler(p, &m) + (1.0 - beta) * kullback_leibler(q, &m)
        }
        Divergence::ForwardSkew { alpha } => kullback_leibler(p, &mixture(alpha)),
        Divergence::ReverseSkew { alpha } => kullback_leibler(q, &mixture(1.0 - alpha)),
        other => panic!("{other:?}"),
    }
}

/// The value of one row, from all its logits.
fn direct(logits: &[f64], list: &[(usize, f64)], outside: Outside, parts: &Parts) -> f64 {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|x| (x - largest).exp()).sum();
    let student: Vec<f64> = logits.iter().map(|x| (x - largest).exp() / sum).collect();
    let mut p: Vec<f64> = list.iter().map(|entry| entry.1.exp()).collect();
    let mut q: Vec<f64> = list.iter().map(|entry| student[entry.0]).collect();
    let rest = || {
        let listed = |v: usize| list.iter().any(|entry| entry.0 == v);
        student.iter().enumerate().filter(move |&(v, _)| !listed(v)).map(|(_, q)| *q)
    };
    let mut value = 0.0;
    match outside {
        Outside::Renormalize => {
            let (of_p, of_q): (f64, f64) = (p.iter().sum(), q.iter().sum());
            p.iter_mut().for_each(|p| *p /= of_p);
            q.iter_mut().for_each(|q| *q /= of_q);
        }
        Outside::Tail if list.len() < logits.len() => {
            p.push(1.0 - p.iter().sum::<f64>());
            q.push(rest().sum());
        }
        Outside::Floor { log_probability } => {
            value += rest().map(|q| q * (q.ln() - log_probability)).sum::<f64>();
        }
        _ => {}
    }
    value + parts.iter().map(|&(share, of)| share * directly(of, &p, &q)).sum::<f64>()
}

/// A student's arrays and a teacher's lists.
struct Pair {
    hidden: Array2<f64>,
    classifier: Array2<f64>,
    bias: Array1<f64>,
    temperatures: Array1<f64>,
    classes: Array2<u32>,
    logs: Array2<f64>,
    ignored: Vec<bool>,
}

impl Pair {
    fn new(rows: usize, width: usize, vocabulary: usize, k: usize) -> Self {
        let mut stream = Stream((rows * 1000 + vocabulary + k) as u64);
        let (mut classes, mut logs) = (Array2::zeros((rows, k)), Array2::zeros((rows, k)));
        for i in 0..rows {
            let teacher = stream.vector(vocabulary, 1.5);
            let sum = teacher.mapv(f64::exp).sum().ln();
            let mut order: Vec<usize> = (0..vocabulary).collect();
            order.sort_by(|&a, &b| teacher[b].total_cmp(&teacher[a]));
            let start = stream.bits() as usize % (vocabulary - k + 1);
            for (j, &class) in order[start..start + k].iter().enumerate() {
                classes[[i, (j + i) % k]] = class as u32;
                logs[[i, (j + i) % k]] = teacher[class] - sum;
            }
            if i % 3 == 1 && k > 1 {
                classes[[i, k / 2]] = Candidates::NONE;
                logs[[i, k / 2]] = f64::NAN;
            }
        }
        let ignored: Vec<bool> = (0..rows).map(|i| i % 4 == 2).collect();
        for i in (0..rows).filter(|&i| ignored[i]) {
            logs.row_mut(i).fill(f64::NAN);
        }
        Self {
            hidden: stream.matrix(rows, width, 1.0),
            classifier: stream.matrix(vocabulary, width, 0.8),
            bias: stream.vector(vocabulary, 0.5),
            temperatures: Array1::from_shape_fn(rows, |i| [1.0, 2.0, 0.5][i % 3]),
            classes,
            logs,
            ignored,
        }
    }

    fn teacher(&self) -> TeacherList<'_> {
        TeacherList::new(&self.classes, &self.logs).unwrap()
    }

    fn list(&self, row: usize) -> Vec<(usize, f64)> {
        let entries = self.classes.row(row).into_iter().zip(self.logs.row(row));
        let named = entries.filter(|entry| *entry.0 != Candidates::NONE);
        named.map(|(&class, &log)| (class as usize, log)).collect()
    }

    fn directly(&self, outside: Outside, parts: &Parts) -> Array1<f64> {
        let products = self.hidden.dot(&self.classifier.t()) + &self.bias;
        Array1::from_shape_fn(self.hidden.dim().0, |i| match self.ignored[i] {
            true => 0.0,
            false => {
                let logits: Vec<f64> =
                    products.row(i).iter().map(|x| x / self.temperatures[i]).collect();
                direct(&logits, &self.list(i), outside, parts)
            }
        })
    }

    fn inputs<'a>(
        &'a self,
        (hidden, classifier): (Matrix<'a>, Matrix<'a>),
        candidates: Candidates<'a>,
    ) -> Inputs<'a> {
        Inputs::unlabelled(hidden, classifier)
            .bias(&self.bias)
            .temperatures(&self.temperatures)
            .ignore(&self.ignored)
            .candidates(candidates)
    }

    /// The losses with their gradients by hidden states, classifier and bias.
    fn computed(&self, loss: &LinearCrossEntropy, divergence: &ListDivergence) -> Computed {
        let given = ((&self.hidden).into(), (&self.classifier).into());
        let teacher = self.teacher();
        let inputs = self.inputs(given, divergence.candidates(&teacher));
        let forward = loss.forward(&inputs).unwrap();
        let losses = divergence.evaluate(&teacher, &forward).unwrap();
        let mut gradients = (
            Array2::from_elem(self.hidden.dim(), f64::NAN),
            Array2::from_elem(self.classifier.dim(), f64::NAN),
            Array1::from_elem(self.bias.len(), f64::NAN),
        );
        let (d_hidden, d_classifier, d_bias) = &mut gradients;
        let to = Gradients::new().hidden(d_hidden).classifier(d_classifier).bias(d_bias);
        loss.vjp(&inputs, &forward, &losses.upstream(), to).unwrap();
        Computed { losses, gradients }
    }
}

struct Computed {
    losses: ListLosses,
    gradients: (Array2<f64>, Array2<f64>, Array1<f64>),
}

fn options() -> LinearCrossEntropyBuilder {
    LinearCrossEntropy::builder().entropy(true)
}

const SHAPES: [(usize, usize, usize, usize); 5] =
    [(1, 1, 1, 1), (4, 7, 33, 3), (13, 20, 257, 9), (6, 5, 12, 12), (9, 3, 40, 1)];

#[test]
fn values_and_gradients_are_those_of_direct_sums() {
    for (rows, width, vocabulary, k) in SHAPES {
        let pair = Pair::new(rows, width, vocabulary, k);
        let mut stream = Stream(7);
        let (by_hidden, by_classifier, by_bias) = (
            stream.matrix(rows, width, 1.0),
            stream.matrix(vocabulary, width, 1.0),
            stream.vector(vocabulary, 1.0),
        );
        for (outside, parts) in all() {
            for backward in [Backward::Recompute, Backward::Strip] {
                let what = format!("{rows}×{width}×{vocabulary}×{k}, {outside:?}, {parts:?}");
                let divergence =
                    builder(outside, &parts).reduction(Reduction::Sum).build().unwrap();
                let loss = options().backward(backward).build().unwrap();
                let Computed { losses, gradients } = pair.computed(&loss, &divergence);
                // Each is a sum of K terms of logits of `width` products.
                let truth = pair.directly(outside, &parts);
                let bound = 16.0 * f64::EPSILON * (width + vocabulary) as f64;
                for (a, b) in losses.values.iter().zip(&truth) {
                    assert!(close(*a, *b, bound, bound), "{what}: {a:e} and {b:e}");
                }
                assert!(close(losses.loss(), truth.sum(), bound, bound), "{what}");
                // In a direction of everything: five points, whose error is h⁴/30 of the fifth derivative, and what
                // rounding makes of their differences.
                let h = 1e-3;
                let moved = |step: f64| {
                    let moved = Pair {
                        hidden: &pair.hidden + &(step * &by_hidden),
                        classifier: &pair.classifier + &(step * &by_classifier),
                        bias: &pair.bias + &(step * &by_bias),
                        temperatures: pair.temperatures.clone(),
                        classes: pair.classes.clone(),
                        logs: pair.logs.clone(),
                        ignored: pair.ignored.clone(),
                    };
                    moved.directly(outside, &parts).sum()
                };
                let numeric = (8.0 * (moved(h) - moved(-h)) - (moved(2.0 * h) - moved(-2.0 * h)))
                    / (12.0 * h);
                let own = (&gradients.0 * &by_hidden).sum()
                    + (&gradients.1 * &by_classifier).sum()
                    + (&gradients.2 * &by_bias).sum();
                let size = (rows * width) as f64 * (1.0 + truth.sum().abs());
                assert!(close(own, numeric, 1e-8, 1e-9 * size), "{what}: {own:e} and {numeric:e}");
            }
        }
    }
}

#[test]
fn each_gradient_by_a_hidden_state_is_its_slope() {
    let pair = Pair::new(4, 3, 11, 4);
    let loss = options().build().unwrap();
    for (outside, parts) in all() {
        let divergence = builder(outside, &parts).reduction(Reduction::Sum).build().unwrap();
        let own = pair.computed(&loss, &divergence).gradients.0;
        for ((i, d), own) in own.indexed_iter() {
            let moved = |step: f64| {
                let mut hidden = pair.hidden.clone();
                hidden[[i, d]] += step;
                let pair = Pair { hidden, ..Pair::new(4, 3, 11, 4) };
                pair.directly(outside, &parts).sum()
            };
            let h = 1e-3;
            let numeric =
                (8.0 * (moved(h) - moved(-h)) - (moved(2.0 * h) - moved(-2.0 * h))) / (12.0 * h);
            let near = close(*own, numeric, 1e-8, 1e-8);
            assert!(near, "{outside:?}, {parts:?}: {own:e} and {numeric:e}");
        }
    }
}

/// In f32 a value moves by its slopes times what the log-probabilities are off by.
#[test]
fn half_and_single_precision_are_off_by_their_logits_alone() {
    use half::bf16;
    let mut pair = Pair::new(13, 20, 257, 9);
    let narrow = [&pair.hidden, &pair.classifier].map(testing::cast::<bf16>);
    (pair.hidden, pair.classifier) =
        (narrow[0].mapv(|x| x.to_f64()), narrow[1].mapv(|x| x.to_f64()));
    let single = [&pair.hidden, &pair.classifier].map(testing::cast::<f32>);
    let products = pair.hidden.mapv(f64::abs).dot(&pair.classifier.mapv(f64::abs).t());
    let size = products.fold(0.0_f64, |m, &x| m.max(x)) + 2.0;
    let epsilon = f64::from(f32::EPSILON);
    // As of the candidates: a logit of 20 products at a temperature of ½, and a sum over 257 classes.
    let off = 4.0 * epsilon * 28.0 * size + 2.0 * epsilon * (16.0 + 257_f64.sqrt());
    let loss = options().build().unwrap();
    for (outside, parts) in all() {
        let divergence = builder(outside, &parts).reduction(Reduction::None).build().unwrap();
        let truth = pair.computed(&loss, &divergence).losses;
        let teacher = pair.teacher();
        for (hidden, classifier) in
            [((&single[0]).into(), (&single[1]).into()), ((&narrow[0]).into(), (&narrow[1]).into())]
        {
            let inputs = pair.inputs((hidden, classifier), divergence.candidates(&teacher));
            let forward = loss.forward(&inputs).unwrap();
            let own = divergence.evaluate(&teacher, &forward).unwrap();
            for (i, (a, b)) in own.values.iter().zip(&truth.values).enumerate() {
                let slopes = truth.by_log_probabilities.row(i).mapv(f64::abs).sum()
                    + truth.by_log_others.get(i).map_or(0.0, |x| x.abs())
                    + truth.by_entropy.get(i).map_or(0.0, |x| x.abs());
                // Shares of a list do not move where all its logits do, but each logit does.
                let bound = 2.0 * slopes * off + off * off + f64::EPSILON * b.abs();
                assert!((a - b).abs() <= bound, "{outside:?}, {parts:?}: {a:e} and {b:e}");
            }
        }
    }
}

/// Of a teacher next to the student, each Δ 10⁻⁴. What the log-sum-exp is off by, a root of 3000 parts of f32's
/// epsilon, all outcomes have alike, which Σ P Δ would have in full; the tail's own sum is off as well.
#[test]
fn a_divergence_of_a_hundred_millionth_has_its_digits_in_f32() {
    let mut stream = Stream(11);
    let (vocabulary, k) = (3000, 40);
    let logits = testing::cast::<f32>(&stream.matrix(1, vocabulary, 2.0));
    let wide = logits.mapv(f64::from);
    let softmax = |x: Array1<f64>| {
        let sum = x.mapv(f64::exp).sum().ln();
        x - sum
    };
    let student = softmax(wide.row(0).to_owned());
    let teacher = softmax(&wide.row(0) + &stream.vector(vocabulary, 2e-4));
    let mut order: Vec<usize> = (0..vocabulary).collect();
    order.sort_by(|&a, &b| teacher[b].total_cmp(&teacher[a]));
    let classes = Array2::from_shape_fn((1, k), |(_, j)| order[j] as u32);
    let logs = classes.mapv(|class| teacher[class as usize]);
    let rest = |x: &Array1<f64>| order[k..].iter().map(|&v| x[v].exp()).sum::<f64>().ln();
    let others = arr1(&[rest(&teacher)]);
    let list = TeacherList::new(&classes, &logs).unwrap().log_others(&others).unwrap();
    let buckets = |x: &Array1<f64>| -> Vec<f64> {
        order[..k].iter().map(|&v| x[v].exp()).chain([rest(x).exp()]).collect()
    };
    let (p, q) = (buckets(&teacher), buckets(&student));
    let apart = (p[k] - q[k]).abs();
    for (divergence, share) in [
        (FORWARD, 1.0),
        (REVERSE, 1.0),
        (Divergence::JensenShannon { beta: 0.5 }, 0.25),
        (Divergence::ForwardSkew { alpha: 0.1 }, 0.81),
    ] {
        let options = ListDivergence::builder().divergence(divergence).build().unwrap();
        let inputs = Inputs::unlabelled_logits(&logits).candidates(options.candidates(&list));
        let loss = LinearCrossEntropy::builder().build().unwrap();
        let forward = loss.forward(&inputs).unwrap();
        let losses = options.evaluate(&list, &forward).unwrap();
        let truth = directly(divergence, &p, &q);
        assert!(truth > share * 2e-9 && truth < share * 5e-8, "{truth:e}");
        let off = f64::from(f32::EPSILON) * (16.0 + (vocabulary as f64).sqrt());
        let bound = share * (apart * off + off * off) + 1e-15;
        let far = (losses.loss() - truth).abs();
        assert!(far <= bound && bound < 0.1 * truth, "{divergence:?}: {far:e} of {truth:e}");
        // Each derivative is what it is of the difference of the two, to the same.
        let mut gradient = Array2::<f32>::zeros(logits.dim());
        let to = Gradients::new().logits(&mut gradient);
        loss.vjp(&inputs, &forward, &losses.upstream(), to).unwrap();
        if divergence == FORWARD {
            for (j, &v) in order[..k].iter().enumerate() {
                let (own, truth) = (f64::from(gradient[[0, v]]), q[j] - p[j]);
                assert!((own - truth).abs() <= 2.0 * off * q[j], "{own:e} and {truth:e}");
            }
        }
    }
}

/// The value and all that goes back are 0, to the bit.
#[test]
fn equal_lists_are_no_way_apart() {
    let pair = Pair::new(9, 6, 60, 7);
    let classes = pair.classes.clone();
    let inputs = Inputs::unlabelled(&pair.hidden, &pair.classifier)
        .candidates(Candidates::new(&classes).with_others());
    let loss = LinearCrossEntropy::builder().build().unwrap();
    let forward = loss.forward(&inputs).unwrap();
    let own = forward.candidates().unwrap();
    let teacher = TeacherList::new(&classes, &own.log_probabilities).unwrap();
    let teacher = teacher.log_others(&own.log_others).unwrap();
    for parts in of_distributions() {
        for outside in [Outside::Tail, Outside::Renormalize] {
            let divergence = builder(outside, &parts).build().unwrap();
            let losses = divergence.evaluate(&teacher, &forward).unwrap();
            let zero = losses.values.iter().chain(&losses.by_log_probabilities);
            assert!(zero.chain(&losses.by_log_others).all(|&x| x == 0.0), "{parts:?}");
        }
    }
}

/// A list of everything is the second head of which it is.
#[test]
fn a_list_of_the_whole_vocabulary_is_the_divergence_of_two_heads() {
    let (rows, vocabulary) = (5, 17);
    let mut stream = Stream(3);
    let logits = stream.matrix(rows, vocabulary, 2.0);
    let teacher = stream.matrix(rows, vocabulary, 2.0);
    let mut logs = teacher.clone();
    for mut row in logs.rows_mut() {
        let sum = row.mapv(f64::exp).sum().ln();
        row -= sum;
    }
    let classes = Array2::from_shape_fn(logits.dim(), |(i, j)| ((j * 5 + i) % vocabulary) as u32);
    let logs = Array2::from_shape_fn(logits.dim(), |(i, j)| logs[[i, classes[[i, j]] as usize]]);
    let list = TeacherList::new(&classes, &logs).unwrap();
    let targets = vec![0_u32; rows];
    let heads = Inputs::from_logits(&logits, &targets)
        .companion(Companion::logits(Head::from_logits(&teacher)));
    let of = LinearCrossEntropy::builder;
    for (divergence, options) in [
        (FORWARD, of().row_loss(KullbackLeibler::forward())),
        (REVERSE, of().row_loss(KullbackLeibler::reverse())),
        (Divergence::JensenShannon { beta: 0.3 }, of().row_loss(JensenShannon::new(0.3).unwrap())),
        (
            Divergence::ForwardSkew { alpha: 0.1 },
            of().row_loss(SkewKullbackLeibler::forward(0.1).unwrap()),
        ),
        (
            Divergence::ReverseSkew { alpha: 0.1 },
            of().row_loss(SkewKullbackLeibler::reverse(0.1).unwrap()),
        ),
    ] {
        let mut whole = Array2::<f64>::zeros(logits.dim());
        let both = options.build().unwrap();
        let both = both
            .loss_and_gradients(&heads, &Upstream::default(), Gradients::new().logits(&mut whole))
            .unwrap();
        for outside in [Outside::Tail, Outside::Renormalize] {
            let parts = vec![(1.0, divergence)];
            let divergence = builder(outside, &parts).build().unwrap();
            let inputs =
                Inputs::unlabelled_logits(&logits).candidates(divergence.candidates(&list));
            let loss = of().build().unwrap();
            let forward = loss.forward(&inputs).unwrap();
            let losses = divergence.evaluate(&list, &forward).unwrap();
            let bound = 8.0 * f64::EPSILON * vocabulary as f64;
            assert!(close(losses.loss(), both.loss(), bound, bound), "{parts:?}");
            let mut gradient = Array2::<f64>::zeros(logits.dim());
            let to = Gradients::new().logits(&mut gradient);
            loss.vjp(&inputs, &forward, &losses.upstream(), to).unwrap();
            for (a, b) in gradient.iter().zip(&whole) {
                assert!(close(*a, *b, bound, bound), "{parts:?}: {a:e} and {b:e}");
            }
        }
    }
}

/// KL with a tail = KL of being listed + the listed share times KL of the list; and more classes tell more.
#[test]
fn a_tail_is_a_list_and_whether_it_is_one() {
    let pair = Pair::new(7, 4, 50, 8);
    let loss = LinearCrossEntropy::builder().build().unwrap();
    let of = |outside, pair: &Pair| {
        let divergence = builder(outside, &vec![(1.0, FORWARD)]).build().unwrap();
        pair.computed(&loss, &divergence).losses.values
    };
    let (tail, list) = (of(Outside::Tail, &pair), of(Outside::Renormalize, &pair));
    let products = pair.hidden.dot(&pair.classifier.t()) + &pair.bias;
    for i in (0..7).filter(|&i| !pair.ignored[i]) {
        let row = products.row(i).mapv(|x| (x / pair.temperatures[i]).exp());
        let p: f64 = pair.list(i).iter().map(|entry| entry.1.exp()).sum();
        let q = pair.list(i).iter().map(|entry| row[entry.0]).sum::<f64>() / row.sum();
        let mass = kullback_leibler(&[p, 1.0 - p], &[q, 1.0 - q]);
        assert!(close(tail[i], mass + p * list[i], 1e-12, 1e-14), "{} {}", tail[i], list[i]);
    }
    let mut fewer = Pair::new(7, 4, 50, 8);
    fewer.classes = pair.classes.slice(s![.., ..5]).to_owned();
    fewer.logs = pair.logs.slice(s![.., ..5]).to_owned();
    assert!(of(Outside::Tail, &fewer).iter().zip(&tail).all(|(few, many)| *few <= many + 1e-14));
}

#[test]
fn a_renormalised_list_may_have_any_sum() {
    let mut pair = Pair::new(7, 4, 50, 8);
    let loss = LinearCrossEntropy::builder().build().unwrap();
    for parts in of_distributions() {
        let divergence = builder(Outside::Renormalize, &parts).build().unwrap();
        // Of numbers to whose sum with −32 nothing is lost.
        pair.logs.mapv_inplace(|x| (x * 1024.0).round() / 1024.0);
        let before = pair.computed(&loss, &divergence);
        pair.logs -= 32.0;
        let after = pair.computed(&loss, &divergence);
        pair.logs += 32.0;
        assert_eq!(before.losses, after.losses);
        // What is not listed moves by what the 8 derivatives of a row are off in their sum, at a temperature of ½ by
        // twice that.
        let Computed { losses, gradients } = before;
        let listed: Vec<u32> = pair.classes.iter().copied().collect();
        let bound = 16.0 * f64::EPSILON * losses.by_log_probabilities.mapv(f64::abs).sum();
        let others = gradients.2.iter().enumerate().filter(|&(v, _)| !listed.contains(&(v as u32)));
        for (_, x) in others {
            assert!(x.abs() <= bound, "{x:e} and {bound:e}");
        }
    }
}

/// A student's tail of 10⁻¹⁸, and a teacher's.
#[test]
fn a_tail_that_is_nearly_nothing_has_its_digits() {
    let logits = arr2(&[[42.0_f64, 0.0, 0.5, -1.0]]);
    let (classes, logs, others) =
        (arr2(&[[0_u32]]), arr2(&[[-1e-19_f64]]), arr1(&[1e-19_f64.ln()]));
    let teacher = TeacherList::new(&classes, &logs).unwrap().log_others(&others).unwrap();
    let rest = (1.0 + 0.5_f64.exp() + (-1.0_f64).exp()) * (-42.0_f64).exp();
    // The first order of the list is that of the tail, the other way.
    let truth = 1e-19 * (1e-19 / rest).ln() - 1e-19 + rest;
    let divergence = ListDivergence::builder().build().unwrap();
    let inputs = Inputs::unlabelled_logits(&logits).candidates(divergence.candidates(&teacher));
    let loss = LinearCrossEntropy::builder().build().unwrap();
    let forward = loss.forward(&inputs).unwrap();
    let losses = divergence.evaluate(&teacher, &forward).unwrap();
    assert!(close(losses.loss(), truth, 1e-13, 0.0), "{:e} and {truth:e}", losses.loss());
    let mut gradient = Array2::<f64>::zeros((1, 4));
    loss.vjp(&inputs, &forward, &losses.upstream(), Gradients::new().logits(&mut gradient))
        .unwrap();
    let outside = (1.0 - 1e-19 / rest) * (-42.0_f64).exp();
    assert!(close(gradient[[0, 1]], outside, 1e-13, 0.0), "{:e} {outside:e}", gradient[[0, 1]]);
    assert!(close(gradient[[0, 0]], 1e-19 - rest, 1e-13, 0.0), "{:e}", gradient[[0, 0]]);
}

#[test]
fn rows_of_infinite_value_move_nothing() {
    let inf = f64::NEG_INFINITY;
    let logits = arr2(&[[1.0_f64, inf, 0.0, 0.5], [0.0, 1.0, 0.5, 2.0], [0.3, inf, inf, 0.1]]);
    let classes = arr2(&[[0_u32, 1], [2, 0], [1, 2]]);
    let logs = arr2(&[[-0.5_f64, -1.5], [-0.5, inf], [-1.0, -1.5]]);
    let teacher = TeacherList::new(&classes, &logs).unwrap();
    let loss = LinearCrossEntropy::builder().entropy(true).build().unwrap();
    for (outside, parts) in all() {
        let divergence = builder(outside, &parts).reduction(Reduction::None).build().unwrap();
        let inputs = Inputs::unlabelled_logits(&logits).candidates(divergence.candidates(&teacher));
        let forward = loss.forward(&inputs).unwrap();
        let losses = divergence.evaluate(&teacher, &forward).unwrap();
        let mut gradient = Array2::<f64>::from_elem(logits.dim(), f64::NAN);
        let to = Gradients::new().logits(&mut gradient);
        loss.vjp(&inputs, &forward, &losses.upstream(), to).unwrap();
        let has = |of: Divergence| parts.iter().any(|part| part.1 == of);
        let forward = has(FORWARD) || has(Divergence::ForwardSkew { alpha: 0.0 });
        let bare = outside == Outside::Renormalize;
        let infinite = [forward, has(REVERSE), forward || bare];
        for (i, infinite) in infinite.into_iter().enumerate() {
            let value = losses.values[i];
            assert_eq!(value == f64::INFINITY, infinite, "{outside:?} {parts:?} {i}: {value}");
            let moved = gradient.row(i).iter().any(|&g| g != 0.0);
            let still = infinite || parts[0].1 == Divergence::JensenShannon { beta: 1.0 };
            assert!(gradient.row(i).iter().all(|g| g.is_finite()), "{outside:?} {parts:?} {i}");
            // With all of the list at −∞ and nothing outside compared, there is nothing to move either.
            assert!(!(still && moved), "{outside:?} {parts:?} {i}");
        }
    }
}

#[test]
fn rows_are_scaled_weighed_clamped_and_reduced() {
    let logits = arr2(&[[2.0_f64, 2.0, 0.0, -1.0, -1.0], [0.0, 0.0, 0.0, 0.0, 0.0], [1.0; 5]]);
    let classes = arr2(&[[0_u32, 1], [2, 3], [0, 1]]);
    let logs = arr2(&[[-1.5_f64, -1.75], [-0.5, -1.5], [-0.1, -4.0]]);
    let teacher = TeacherList::new(&classes, &logs).unwrap();
    let loss = LinearCrossEntropy::builder().build().unwrap();
    let of = |builder: ListDivergenceBuilder, weights: &Array1<f64>| {
        let divergence = builder.outside(Outside::Ignore).build().unwrap();
        let temperatures = arr1(&[1.0_f64, 2.0, 3.0]);
        let inputs = Inputs::unlabelled_logits(&logits)
            .temperatures(&temperatures)
            .token_weights(weights)
            .candidates(divergence.candidates(&teacher));
        let forward = loss.forward(&inputs).unwrap();
        divergence.evaluate(&teacher, &forward).unwrap()
    };
    let ones = arr1(&[1.0, 1.0, 1.0]);
    let plain = ListDivergence::builder;
    let none = of(plain().reduction(Reduction::None), &ones);
    assert!(none.values[0] < 0.0 && none.values[1] > 0.0);
    let mean = of(plain(), &ones);
    assert_eq!(mean.loss(), none.values.sum() / 3.0);
    assert_eq!(mean.by_log_probabilities, &none.by_log_probabilities / 3.0);
    let divided = of(plain().reduction(Reduction::Divide(4.0)), &ones);
    assert_eq!(divided.loss(), none.values.sum() / 4.0);
    let clamped = of(plain().reduction(Reduction::None).clamp_negative(true), &ones);
    assert_eq!(clamped.values.to_vec(), [0.0, none.values[1], none.values[2]]);
    assert_eq!(clamped.by_log_probabilities.row(0).to_vec(), [0.0, 0.0]);
    assert_eq!(clamped.by_log_probabilities.row(1), none.by_log_probabilities.row(1));
    let squares = arr1(&[1.0_f64, 4.0, 9.0]);
    let scaled = of(plain().reduction(Reduction::None).scale_by_temperature_squared(true), &ones);
    assert_eq!(scaled.values, &none.values * &squares);
    assert_eq!(
        scaled.by_log_probabilities,
        none.clone().times(&squares).unwrap().by_log_probabilities
    );
    let weighed = of(plain().reduction(Reduction::None), &arr1(&[2.0, 0.0, -1.0]));
    assert_eq!(weighed.values.to_vec(), [2.0 * none.values[0], 0.0, -none.values[2]]);
    assert!(none.times(&arr1(&[1.0])).is_err());
}

#[test]
fn probabilities_are_as_good_as_their_logarithms() {
    let logits = arr2(&[[0.0_f64, 1.0, 2.0, 0.5]]);
    let classes = arr2(&[[1_u32, 3, Candidates::NONE]]);
    let (chances, logs) =
        (arr2(&[[0.5_f64, 0.25, 9.0]]), arr2(&[[0.5_f64.ln(), 0.25_f64.ln(), 9.0]]));
    let divergence = ListDivergence::builder().build().unwrap();
    let of = |teacher: TeacherList<'_>| {
        let inputs = Inputs::unlabelled_logits(&logits).candidates(divergence.candidates(&teacher));
        let loss = LinearCrossEntropy::builder().build().unwrap();
        divergence.evaluate(&teacher, &loss.forward(&inputs).unwrap()).unwrap()
    };
    let found = of(TeacherList::from_probabilities(&classes, &chances).unwrap());
    assert_eq!(found, of(TeacherList::new(&classes, &logs).unwrap()));
    assert_eq!(found.by_log_probabilities[[0, 2]], 0.0);
}

#[test]
fn what_does_not_go_is_said() {
    fn says<T>(result: surprisal::Result<T>, words: &str) {
        match result {
            Err(error) => assert!(error.to_string().contains(words), "{error}"),
            Ok(_) => panic!("expected: {words}"),
        }
    }
    let of = ListDivergence::builder;
    let mixture = Divergence::JensenShannon { beta: 0.5 };
    let floor = |log_probability| Outside::Floor { log_probability };
    says(of().divergence(Divergence::TotalVariation).build(), "total variation");
    says(of().divergence(Divergence::JensenShannon { beta: 1.5 }).build(), "1.5");
    says(of().divergence(Divergence::ForwardSkew { alpha: f64::NAN }).build(), "NaN");
    says(of().symmetric(-0.5).build(), "from 0 to 1");
    says(of().divergence(mixture).outside(Outside::Ignore).build(), "mixtures");
    says(of().outside(floor(-100.0)).build(), "reverse");
    says(of().symmetric(0.5).outside(floor(-100.0)).build(), "reverse");
    says(of().divergence(REVERSE).outside(floor(1.0)).build(), "the floor is 1");
    says(of().reduction(Reduction::Divide(0.0)).build(), "the divisor");

    let (classes, logs) = (arr2(&[[0_u32, 1], [2, 3]]), arr2(&[[-1.0_f64, -2.0], [-1.0, -2.0]]));
    says(TeacherList::new(&classes, &arr2(&[[-1.0_f64]])), "[2, 2]");
    let teacher = TeacherList::new(&classes, &logs).unwrap();
    let one = arr1(&[0.0_f64]);
    says(teacher.log_others(&one), "[2]");
    let logits = Array2::<f64>::zeros((2, 5));
    let divergence = of().build().unwrap();
    let loss = LinearCrossEntropy::builder().build().unwrap();
    let plain = Inputs::unlabelled_logits(&logits);
    says(divergence.evaluate(&teacher, &loss.forward(&plain).unwrap()), "no candidates");
    let own = loss.forward(&plain.candidates(Candidates::new(&classes))).unwrap();
    says(divergence.evaluate(&teacher, &own), "not asked for");
    let other = classes.slice(s![..;-1, ..]);
    let other = loss.forward(&plain.candidates(Candidates::new(other).with_others())).unwrap();
    says(divergence.evaluate(&teacher, &other), "other candidates");
    let floored = of().divergence(REVERSE).outside(floor(-9.0)).build().unwrap();
    let own = loss.forward(&plain.candidates(floored.candidates(&teacher))).unwrap();
    says(floored.evaluate(&teacher, &own), "entropy");

    let refused = |classes: Array2<u32>, logs: Array2<f64>, outside: Outside, words: &str| {
        let teacher = TeacherList::new(&classes, &logs).unwrap();
        let divergence = of().outside(outside).build().unwrap();
        let inputs = Inputs::unlabelled_logits(&logits).candidates(divergence.candidates(&teacher));
        let error = divergence.evaluate(&teacher, &loss.forward(&inputs).unwrap()).unwrap_err();
        assert!(
            matches!(error, Error::Value { .. }) && error.to_string().contains(words),
            "{error}"
        );
        // The same in a row that takes no part is nobody's affair.
        let forward = loss.forward(&inputs.ignore(&[true, false])).unwrap();
        divergence.evaluate(&teacher, &forward).unwrap();
    };
    let inf = f64::NEG_INFINITY;
    let second = [-1.0, -2.0];
    refused(arr2(&[[1, 1], [2, 3]]), arr2(&[[-1.0, -2.0], second]), Outside::Tail, "already");
    refused(classes.clone(), arr2(&[[0.5, -2.0], second]), Outside::Tail, "at most 0");
    refused(classes.clone(), arr2(&[[f64::NAN, -2.0], second]), Outside::Tail, "at most 0");
    refused(classes.clone(), arr2(&[[-0.1, -0.1], second]), Outside::Ignore, "sums to 1.8");
    refused(classes.clone(), arr2(&[[inf, inf], second]), Outside::Renormalize, "renormalise");
}
