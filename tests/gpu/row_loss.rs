//! Losses other than cross-entropy on a GPU, against the processor in f64.

use ndarray::{Array1, Array2, Axis, arr1};
use surprisal::loss::{
    AdaptiveDistributionallyRobust, AsymmetricGeneralizedCrossEntropy, AsymmetricUnhinged, CompSum,
    Companion, CorrectnessCalibration, CorrectnessPenalty, CrossEntropy, DirectCoverage,
    DistributionallyRobust, EarthMover, EntropyBonus, ExpectedCost, Focal, GeneralizedCrossEntropy,
    HardSymmetricCrossEntropy, MeanAbsoluteError, MixedCrossEntropy, Needs, NormalizedCrossEntropy,
    Poly1, RowLoss, RowScalars, Sum, Tailored, TemperatureSquared, Term, Terms,
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

/// A loss with a number that its slopes, and their slopes, are below.
struct Tried {
    builder: LinearCrossEntropyBuilder,
    steepness: f64,
    has_companion: bool,
}

/// All losses of a row that are not of a second head, and some of a user's.
fn losses() -> Vec<Tried> {
    let of = || LinearCrossEntropy::builder().reduction(Reduction::None);
    let sum = Sum::new().add(1.0, CrossEntropy::new(0.0, 0.01).unwrap()).unwrap();
    let sum = sum.add(-0.3, EntropyBonus::new(1.0).unwrap()).unwrap();
    let penalties = [CorrectnessPenalty::Squared, CorrectnessPenalty::Absolute];
    let plain = [
        of().label_smoothing(0.1).z_loss(0.01),
        of().row_loss(EntropyBonus::new(0.7).unwrap()),
        of().row_loss(GeneralizedCrossEntropy::new(0.7).unwrap()),
        of().row_loss(GeneralizedCrossEntropy::new(0.5).unwrap().truncated(0.05).unwrap()),
        of().row_loss(Focal::new(2.0).unwrap()),
        of().row_loss(AsymmetricGeneralizedCrossEntropy::new(1.0, 2.0).unwrap()),
        of().row_loss(AsymmetricUnhinged::new(2.0, 2.0).unwrap()),
        of().row_loss(CompSum::new(1.5).unwrap()),
        of().row_loss(CompSum::new(2.5).unwrap()),
        of().row_loss(CorrectnessCalibration::new(penalties[0])),
        of().row_loss(CorrectnessCalibration::new(penalties[1])),
        of().row_loss(DirectCoverage::new(4.0).unwrap()),
        of().row_loss(DistributionallyRobust::new(0.3).unwrap()).temperature(1.5),
        of().row_loss(AdaptiveDistributionallyRobust::new(1.0, 2.0, 0.0).unwrap())
            .temperature(1.25),
        of().row_loss(HardSymmetricCrossEntropy::new(0.1, 1.0, -4.0).unwrap()),
        of().row_loss(MeanAbsoluteError::whole()),
        of().row_loss(MeanAbsoluteError::half()),
        of().row_loss(MixedCrossEntropy::new(0.4).unwrap()),
        of().row_loss(NormalizedCrossEntropy),
        of().row_loss(Poly1::new(1.0).unwrap()),
        of().row_loss(Tailored::new(0.3, 0.2, 1.0).unwrap()),
        of().row_loss(TemperatureSquared::new(Focal::new(1.0).unwrap())).temperature(1.5),
        of().row_loss(sum.add(0.5, Tempered).unwrap()),
        of().row_loss(Tempered),
        of().row_loss(Everything),
    ];
    let plain = plain.map(|builder| Tried { builder, steepness: 8.0, has_companion: false });
    // The ratio of s to a distance above 1/2, or the other way round.
    let with = [
        of().row_loss(ExpectedCost),
        of().row_loss(EarthMover::paper()),
        of().row_loss(EarthMover::as_in_code()),
        of().row_loss(EarthMover::continual()),
    ];
    let with = with.map(|builder| Tried { builder, steepness: 64.0, has_companion: true });
    plain.into_iter().chain(with).collect()
}

/// Numbers that f32 holds.
struct Data {
    hidden: Array2<f64>,
    classifier: Array2<f64>,
    bias: Array1<f64>,
    class_weights: Array1<f64>,
    /// From 1/2 on.
    costs: Array1<f64>,
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
            costs: stream.vector(classes, 1.0).mapv(|x| narrow(x.abs().min(4.0) + 0.5)),
            targets,
            upstream: stream.vector(rows, 1.0).mapv(narrow),
        }
    }

    fn inputs<'a>(&'a self, hidden: &'a Array2<f32>, classifier: &'a Array2<f32>) -> Inputs<'a> {
        let inputs = Inputs::new(hidden, classifier, &self.targets);
        inputs.bias(&self.bias).class_weights(&self.class_weights)
    }
}

fn beside<'a>(inputs: Inputs<'a>, costs: Option<&'a Array1<f64>>) -> Inputs<'a> {
    match costs {
        Some(costs) => inputs.companion(Companion::classes(costs)),
        None => inputs,
    }
}

#[test]
fn they_are_what_they_are_on_the_processor_in_f64() {
    let context = context();
    for (rows, width, classes) in [(1, 1, 2), (3, 7, 65), (65, 15, 127), (97, 4, 4097)] {
        let data = Data::new(rows, width, classes);
        let (hidden, classifier) = (cast::<f32>(&data.hidden), cast::<f32>(&data.classifier));
        for Tried { builder, steepness, has_companion } in losses() {
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
            let costs = has_companion.then_some(&data.costs);
            let inputs = Inputs::new(&data.hidden, &data.classifier, &data.targets)
                .bias(&data.bias)
                .class_weights(&data.class_weights);
            let inputs = beside(inputs, costs);
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
            let inputs = beside(data.inputs(&hidden, &classifier), costs);
            let there = loss.on(context).loss_and_gradients(&inputs, &upstream, gradients).unwrap();

            // G itself, for the bounds.
            let logits = data.hidden.dot(&data.classifier.t()) + &data.bias;
            let mut g = Array2::<f64>::zeros(logits.dim());
            let given =
                Inputs::from_logits(&logits, &data.targets).class_weights(&data.class_weights);
            let given = beside(given, costs);
            let gradients = Gradients::new().logits(&mut g);
            loss.loss_and_gradients(&given, &upstream, gradients).unwrap();

            // A logit is off by a sum of D products, a probability by that and an exponential of a few
            // units times its exponent, G by these times the slopes of the loss.
            let unit = f64::from(f32::EPSILON);
            let products = data.hidden.mapv(f64::abs).dot(&data.classifier.mapv(f64::abs).t());
            let largest = products.fold(0.0_f64, |m, &x| m.max(x)) + 2.0;
            let logit = unit * (width as f64 + 8.0) * largest;
            let entry = steepness * (8.0 * logit + unit * (64.0 + (classes as f64).sqrt()));
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
            let bound = 8.0 * steepness * (logit + unit * most);
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
    let mut gradient = Array1::<f32>::zeros(3);
    let wanted = Gradients::new().temperature(&mut gradient);
    let both = of().build().unwrap();
    refused(both.on(context).loss_and_gradients(&inputs, &upstream, wanted), "needs the entropy");
    let capped = of().entropy(true).softcap(3.0).build().unwrap();
    let wanted = Gradients::new().temperature(&mut gradient);
    refused(capped.on(context).loss_and_gradients(&inputs, &upstream, wanted), "a softcap");
}
