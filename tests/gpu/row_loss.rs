//! Losses other than cross-entropy on a GPU, against the processor in f64.

use ndarray::{Array1, Array2, Axis, arr1};
use surprisal::loss::{
    Companion, CrossEntropy, EntropyBonus, ExpectedCost, Focal, GeneralizedCrossEntropy, Head,
    Needs, RowLoss, RowScalars, Sum, Term, Terms,
};
use surprisal::{
    Filter, Gradients, Inputs, LinearCrossEntropy, LinearCrossEntropyBuilder, Reduction, Upstream,
};
use testing::{Stream, cast};

use super::loss::context;

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

/// Something of every scalar that a GPU has.
#[derive(Debug)]
struct Everything;

impl RowLoss for Everything {
    fn needs(&self) -> Needs {
        Needs::nothing().entropy().min_entropy().deviation()
    }

    fn evaluate(&self, row: &RowScalars) -> Terms {
        let (s, d, most) = (row.surprisal(), row.deviation(), row.min_entropy());
        let weighted = Term::new(s / (1.0 + d) + 0.5 * most)
            .by_surprisal(1.0 / (1.0 + d))
            .by_deviation(-s / (1.0 + d).powi(2))
            .by_min_entropy(0.5);
        let plain = Term::new(0.1 * row.log_sum_exp().powi(2) + 0.3 * row.entropy())
            .by_log_sum_exp(0.2 * row.log_sum_exp())
            .by_entropy(0.3);
        Terms::weighted(weighted).with_plain(plain)
    }
}

fn losses() -> Vec<LinearCrossEntropyBuilder> {
    let of = || LinearCrossEntropy::builder().reduction(Reduction::None);
    let sum = Sum::new().add(1.0, CrossEntropy::new(0.0, 0.01).unwrap()).unwrap();
    let sum = sum.add(-0.3, EntropyBonus::new(1.0).unwrap()).unwrap();
    vec![
        of().row_loss(GeneralizedCrossEntropy::new(0.7).unwrap()),
        of().row_loss(Focal::new(2.0).unwrap()),
        of().row_loss(sum.add(0.5, Tempered).unwrap()),
        of().row_loss(Tempered),
        of().row_loss(Everything),
    ]
}

/// Numbers that f32 holds.
struct Data {
    hidden: Array2<f64>,
    classifier: Array2<f64>,
    bias: Array1<f64>,
    class_weights: Array1<f64>,
    targets: Vec<i64>,
    upstream: Array1<f64>,
}

impl Data {
    fn new(rows: usize, width: usize, classes: usize) -> Self {
        let mut stream = Stream((rows * 1000 + classes) as u64);
        let narrow = |x: f64| f64::from(x as f32);
        let mut targets = stream.classes(rows, classes);
        if rows > 2 {
            targets[1] = -100;
        }
        let scale = 1.0 / (width as f64).sqrt();
        Self {
            hidden: stream.matrix(rows, width, scale).mapv(narrow),
            classifier: stream.matrix(classes, width, 1.5).mapv(narrow),
            bias: stream.vector(classes, 0.5).mapv(narrow),
            class_weights: stream.vector(classes, 1.0).mapv(|x| narrow(x.abs() + 0.1)),
            targets,
            upstream: stream.vector(rows, 1.0).mapv(narrow),
        }
    }

    fn inputs<'a>(&'a self, hidden: &'a Array2<f32>, classifier: &'a Array2<f32>) -> Inputs<'a> {
        let inputs = Inputs::new(hidden, classifier, &self.targets);
        inputs.bias(&self.bias).class_weights(&self.class_weights)
    }
}

#[test]
fn they_are_what_they_are_on_the_processor_in_f64() {
    let context = context();
    for (rows, width, classes) in [(1, 1, 2), (3, 7, 65), (65, 15, 127), (97, 4, 4097)] {
        let data = Data::new(rows, width, classes);
        let (hidden, classifier) = (cast::<f32>(&data.hidden), cast::<f32>(&data.classifier));
        for builder in losses() {
            let loss = builder.build().unwrap();
            let upstream = Upstream::rows(&data.upstream);
            let (mut d_hidden, mut d_classifier, mut d_bias) = (
                Array2::<f64>::zeros(hidden.dim()),
                Array2::<f64>::zeros(classifier.dim()),
                Array1::<f64>::zeros(classes),
            );
            let gradients = Gradients::new()
                .hidden(&mut d_hidden)
                .classifier(&mut d_classifier)
                .bias(&mut d_bias);
            let inputs = Inputs::new(&data.hidden, &data.classifier, &data.targets)
                .bias(&data.bias)
                .class_weights(&data.class_weights);
            let truth = loss.loss_and_gradients(&inputs, &upstream, gradients).unwrap();

            let (mut g_hidden, mut g_classifier, mut g_bias) = (
                Array2::from_elem(hidden.dim(), f32::NAN),
                Array2::from_elem(classifier.dim(), f32::NAN),
                Array1::from_elem(classes, f32::NAN),
            );
            let gradients = Gradients::new()
                .hidden(&mut g_hidden)
                .classifier(&mut g_classifier)
                .bias(&mut g_bias);
            let inputs = data.inputs(&hidden, &classifier);
            let there = loss.on(context).loss_and_gradients(&inputs, &upstream, gradients).unwrap();

            // G itself, for the bounds.
            let logits = data.hidden.dot(&data.classifier.t()) + &data.bias;
            let mut g = Array2::<f64>::zeros(logits.dim());
            let given =
                Inputs::from_logits(&logits, &data.targets).class_weights(&data.class_weights);
            let gradients = Gradients::new().logits(&mut g);
            loss.loss_and_gradients(&given, &upstream, gradients).unwrap();

            // A logit is off by a sum of D products, a probability by that and an exponential of a few
            // units times its exponent, G by these times the slopes of these losses, which are below 8.
            let unit = f64::from(f32::EPSILON);
            let products = data.hidden.mapv(f64::abs).dot(&data.classifier.mapv(f64::abs).t());
            let largest = products.fold(0.0_f64, |m, &x| m.max(x)) + 2.0;
            let logit = unit * (width as f64 + 8.0) * largest;
            let entry = 8.0 * (8.0 * logit + unit * (64.0 + (classes as f64).sqrt()));
            let what = format!("{loss:?}, {rows} × {width} × {classes}");
            let near = |name: &str, found: &[f64], expected: &[f64], bounds: &[f64]| {
                for (i, (a, b)) in found.iter().zip(expected).enumerate() {
                    let bound = bounds[i % bounds.len()];
                    assert!((a - b).abs() <= bound, "{what}, {name}[{i}]: {a:e}, {b:e}, {bound:e}");
                }
            };
            let flat = |m: &Array2<f64>| m.iter().copied().collect::<Vec<_>>();
            let wide = |m: &Array2<f32>| m.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
            let losses = truth.losses();
            let most = losses.fold(1.0_f64, |m, x| m.max(x.abs()));
            let bound = 64.0 * logit + 64.0 * unit * most;
            near("loss", &there.losses().to_vec(), &losses.to_vec(), &[bound]);
            let off = g.mapv(|g| entry * g.abs() + entry / classes as f64);
            let bound = flat(&off.dot(&data.classifier.mapv(f64::abs)));
            near("dE", &wide(&g_hidden), &flat(&d_hidden), &bound);
            let bound = flat(&off.t().dot(&data.hidden.mapv(f64::abs)));
            near("dC", &wide(&g_classifier), &flat(&d_classifier), &bound);
            let bound = off.sum_axis(Axis(0)).to_vec();
            let g_bias = g_bias.mapv(f64::from).to_vec();
            near("db", &g_bias, &d_bias.to_vec(), &bound);
        }
    }
}

#[test]
fn what_it_does_not_compute_is_refused_in_one_line() {
    let context = context();
    let data = Data::new(3, 2, 4);
    let (hidden, classifier) = (cast::<f32>(&data.hidden), cast::<f32>(&data.classifier));
    let inputs = data.inputs(&hidden, &classifier);
    let costs = arr1(&[1.0_f32; 4]);
    let refused = |result: surprisal::Result<surprisal::Forward>, says: &str| {
        let message = result.expect_err(says).to_string();
        assert!(message.contains(says) && !message.contains('\n'), "{message}");
    };
    let of = LinearCrossEntropy::builder;
    let (cost, upstream) = (of().row_loss(ExpectedCost).build().unwrap(), Upstream::default());
    refused(cost.on(context).forward(&inputs), "needs a companion");
    let with = inputs.companion(Companion::classes(&costs));
    let plain = of().entropy(true).build().unwrap();
    refused(plain.on(context).forward(&with), "takes no companion");
    let filtered = of().row_loss(ExpectedCost).filter(Filter::Auto).build().unwrap();
    refused(filtered.on(context).forward(&with), "not with a companion");
    let second = inputs.companion(Companion::logits(Head::new(&hidden, &classifier)));
    let both = cost.on(context).loss_and_gradients(&second, &upstream, Gradients::new());
    refused(both, "a second head");
    let mut gradient = Array1::<f32>::zeros(3);
    let wanted = Gradients::new().temperature(&mut gradient);
    let both = of().build().unwrap();
    refused(both.on(context).loss_and_gradients(&inputs, &upstream, wanted), "needs the entropy");
    let capped = of().entropy(true).softcap(3.0).build().unwrap();
    let wanted = Gradients::new().temperature(&mut gradient);
    refused(capped.on(context).loss_and_gradients(&inputs, &upstream, wanted), "a softcap");
}
