//! Every loss by direct sums, fused over every type, strategy and instruction set, and on the tape.

use half::{bf16, f16};
use ndarray::{Array1, Array2, ArrayView1, Axis};
use surprisal::autodiff::{Tape, gradcheck};
use surprisal::loss::{Companion, ExpectedCost};
use surprisal::{
    Backward, Element, Gradients, Inputs, Isa, LinearCrossEntropy, Real, Reduction, Upstream,
};
use testing::Stream;

use super::named::{Costs, Named, Row, losses};
/// What losses that want costs have beside their logits.
fn costs_of(named: &Named, costs: &Array2<f64>, targets: &[i64]) -> Array2<f64> {
    let mut costs = costs.clone();
    if named.costs == Costs::OfMistakes {
        costs.mapv_inplace(|c| c.abs().max(0.125));
        targets.iter().enumerate().for_each(|(i, &y)| costs[[i, y as usize]] = 0.0);
    }
    costs
}

fn beside<'a>(named: &Named, inputs: Inputs<'a>, costs: &'a Array2<f64>) -> Inputs<'a> {
    match named.costs {
        Costs::None => inputs,
        _ => inputs.companion(Companion::entries(costs)),
    }
}

/// Values against direct sums, gradients against central differences of these, in which what is detached stays.
#[test]
fn on_given_logits_the_values_and_slopes_are_those_of_direct_sums() {
    let mut stream = Stream(7);
    for named in losses() {
        let name = &named.name;
        let loss = named.builder.clone().reduction(Reduction::Sum).build().unwrap();
        for classes in [2, 3, 17, 300] {
            let logits = stream.matrix(5, classes, 1.5);
            let targets = stream.classes(5, classes);
            let costs = costs_of(&named, &stream.matrix(5, classes, 1.0), &targets);
            let weights = stream.vector(classes, 1.0).mapv(f64::abs);
            let inputs = Inputs::from_logits(&logits, &targets).class_weights(&weights);
            let inputs = beside(&named, inputs, &costs);
            let mut gradient = Array2::<f64>::zeros(logits.dim());
            let gradients = Gradients::new().logits(&mut gradient);
            let forward =
                loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
            for i in 0..5 {
                let row = |logits: ArrayView1<'_, f64>| {
                    let y = targets[i] as usize;
                    Row::new(logits, y, named.temperature, costs.row(i), weights.view())
                };
                let at = row(logits.row(i));
                let steep = (named.steep)(&at);
                let (a, b) = (forward.losses()[i], (named.direct)(&at, &at));
                // The direct sums round a few units of their scalars, which are below 20.
                let bound = 64.0 * f64::EPSILON * steep * (1.0 + b.abs());
                assert!((a - b).abs() <= bound, "{name}: {a} and {b}, within {bound:e}");
                for v in 0..classes {
                    let moved = |k: f64| {
                        let mut logits = logits.row(i).to_owned();
                        logits[v] += k * 1e-3;
                        (named.direct)(&row(logits.view()), &at)
                    };
                    let (near, far) = (moved(1.0) - moved(-1.0), moved(2.0) - moved(-2.0));
                    let (a, b) = (gradient[[i, v]], (8.0 * near - far) / 12e-3);
                    // h⁴ of a fifth derivative, and the rounding of a difference over h.
                    let bound =
                        1e-10 * steep + 1e4 * f64::EPSILON * steep * forward.losses()[i].abs();
                    assert!((a - b).abs() <= bound, "{name}, {classes} classes: {a} and {b}");
                }
            }
        }
    }
}

/// A file of `src/loss/rows/` is a loss that is tried here or, with a second head, in `second_head.rs`.
#[test]
fn no_loss_goes_without_a_test() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let second_head = std::fs::read_to_string(root.join("tests/suite/second_head.rs")).unwrap();
    let names: Vec<String> = losses().into_iter().map(|named| named.name).collect();
    let mut count = 0;
    for file in std::fs::read_dir(root.join("src/loss/rows")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        for (_, rest) in text.match_indices("\nimpl").map(|(at, _)| text.split_at(at)) {
            let line = rest.trim_start().lines().next().unwrap();
            let Some((_, name)) = line.split_once("RowLoss for ") else { continue };
            let name = name.split(['<', ' ']).next().unwrap();
            count += 1;
            let here = names.iter().any(|own| own.split([' ', '{']).next() == Some(name));
            let there = second_head.contains(&format!("row_loss({name}"));
            assert!(here || there, "{name} has no test");
        }
    }
    assert!(count >= 26, "{count}");
}

/// dE, dC and db of a loss, its G, and how steep it is at each row.
pub struct Truth {
    costs: Array2<f64>,
    steep: Array1<f64>,
    pub d_hidden: Array2<f64>,
    pub d_classifier: Array2<f64>,
    pub d_bias: Array1<f64>,
    pub g: Array2<f64>,
    pub losses: Array1<f64>,
}

pub struct Data {
    pub hidden: Array2<f64>,
    pub classifier: Array2<f64>,
    pub bias: Array1<f64>,
    pub targets: Vec<i64>,
    pub costs: Array2<f64>,
    pub upstream: Array1<f64>,
}

impl Data {
    /// Numbers that bf16 and f16 hold.
    pub fn new(rows: usize, width: usize, classes: usize) -> Self {
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

    fn truth(&self, named: &Named, loss: &LinearCrossEntropy) -> Truth {
        let logits = self.hidden.dot(&self.classifier.t()) + &self.bias;
        let mut g = Array2::<f64>::zeros(logits.dim());
        let costs = costs_of(named, &self.costs, &self.targets);
        let inputs = beside(named, Inputs::from_logits(&logits, &self.targets), &costs);
        let gradients = Gradients::new().logits(&mut g);
        let forward = loss.loss_and_gradients(&inputs, &Upstream::rows(&self.upstream), gradients);
        let ones = Array1::ones(logits.dim().1);
        let steep = Array1::from_shape_fn(logits.dim().0, |i| {
            let y = self.targets[i] as usize;
            let (t, costs) = (named.temperature, costs.row(i));
            (named.steep)(&Row::new(logits.row(i), y, t, costs, ones.view()))
        });
        Truth {
            d_hidden: g.dot(&self.classifier),
            d_classifier: g.t().dot(&self.hidden),
            d_bias: g.sum_axis(Axis(0)),
            losses: forward.unwrap().losses(),
            costs,
            steep,
            g,
        }
    }
}

fn fused<T: Element<Real = R>, R: Real>(
    what: &str,
    data: &Data,
    (named, loss): (&Named, &LinearCrossEntropy),
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
    let inputs = beside(named, inputs, &truth.costs);
    let mut d_hidden = Array2::from_elem(hidden.dim(), R::from_f64(f64::NAN));
    let mut d_classifier = Array2::from_elem(classifier.dim(), R::from_f64(f64::NAN));
    let mut d_bias = Array1::from_elem(classifier.dim().0, R::from_f64(f64::NAN));
    let gradients =
        Gradients::new().hidden(&mut d_hidden).classifier(&mut d_classifier).bias(&mut d_bias);
    let upstream = Upstream::rows(&data.upstream);
    let forward = loss.loss_and_gradients(&inputs, &upstream, gradients).unwrap();
    let (rows, width) = hidden.dim();
    let classes = classifier.dim().0;
    // A logit is off by the sum of D products, G by its logits and by a sum over the classes, each as steeply as
    // the loss is.
    let products = data.hidden.mapv(f64::abs).dot(&data.classifier.mapv(f64::abs).t());
    let largest = products.fold(0.0_f64, |m, &x| m.max(x)) + 2.0;
    let logit = R::EPSILON * (width as f64 + 8.0) * largest;
    let entry = &truth.steep * (8.0 * logit + R::EPSILON * (64.0 + (classes as f64).sqrt()));
    let close = |name: &str, a: f64, b: f64, bound: f64| {
        assert!((a - b).abs() <= bound, "{what}, {name}: {a:e} and {b:e}, within {bound:e}");
    };
    for ((&a, &b), steep) in forward.losses().iter().zip(&truth.losses).zip(&truth.steep) {
        close("loss", a, b, 8.0 * steep * logit + (56.0 + steep) * R::EPSILON * (1.0 + b.abs()));
    }
    // |G| e, and 2⁻⁸ of it where it is rounded to bf16.
    let g = Array2::from_shape_fn(truth.g.dim(), |(i, v)| {
        (entry[i] + rounded) * truth.g[[i, v]].abs() + entry[i] / classes as f64
    });
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
        for named in losses() {
            let builder = named.builder.clone().reduction(Reduction::None);
            let truth = data.truth(&named, &builder.clone().build().unwrap());
            for isa in Isa::available() {
                for backward in [Backward::Recompute, Backward::Strip] {
                    let loss = builder.clone().isa(isa).backward(backward).build().unwrap();
                    let what = format!("{}, {isa:?}, {backward:?}, {classes} classes", named.name);
                    let of = (&named, &loss);
                    fused::<f64, f64>(&what, &data, of, &truth, 0.0);
                    fused::<f32, f32>(&what, &data, of, &truth, 0.0);
                    fused::<f16, f32>(&what, &data, of, &truth, 0.0);
                    let rounds = testing::multiplies_bf16(isa);
                    let rounded = if rounds { 2.0_f64.powi(-8) } else { 0.0 };
                    fused::<bf16, f32>(&what, &data, of, &truth, rounded);
                }
            }
        }
    }
}

/// With a filter of 0 nothing is left out, and a filter acts on any loss that is proportional to p.
#[test]
fn a_filter_goes_with_any_loss_of_the_target() {
    let data = Data::new(40, 16, 500);
    for named in losses().into_iter().filter(|named| named.name == "Tempered") {
        let builder = named.builder.clone().reduction(Reduction::None);
        let truth = data.truth(&named, &builder.clone().build().unwrap());
        let loss = builder.filter(surprisal::Filter::Below(0.0)).build().unwrap();
        fused::<f64, f64>("a filter", &data, (&named, &loss), &truth, 0.0);
    }
}

/// The page of a loss names the functions of the oracle whose cases are of it, and there are cases of these.
#[test]
fn the_pages_name_their_cases() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let cases = read("conformance/losses.jsonl");
    for file in std::fs::read_dir(root.join("src/loss/rows")).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap().replace("\n///", "");
        if ["mod.rs", "sum.rs"].iter().any(|own| path.ends_with(own)) {
            continue;
        }
        let (_, rest) = text.split_once("`conformance/losses.jsonl`").expect(&text);
        let sentence = rest.split(['.', '\n']).next().unwrap();
        let names: Vec<&str> = sentence.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "{path:?}: {sentence}");
        for name in names {
            let function = format!("\"function\":\"{name}\"");
            assert!(cases.contains(&function), "{path:?}: {name}");
        }
    }
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
    let targets = [3_i64, 0, 6, 3];
    let costs = stream.matrix(4, 7, 1.0);
    // The value's own differences are no gradient where a factor is detached.
    for named in losses().into_iter().filter(|named| !named.detached) {
        let costs = costs_of(&named, &costs, &targets);
        for reduction in [Reduction::None, Reduction::Mean] {
            let loss = named.builder.clone().reduction(reduction).build().unwrap();
            let worst = match named.costs {
                Costs::None => gradcheck(
                    |_, x| x[0].linear_cross_entropy(x[1], Some(x[2]), &targets, &loss),
                    &inputs,
                ),
                _ => gradcheck(
                    |_, x| {
                        let companion = Companion::entries(&costs);
                        let (c, bias) = (x[1], Some(x[2]));
                        x[0].linear_cross_entropy_beside(c, bias, &targets, companion, &loss)
                    },
                    &inputs,
                ),
            };
            let worst = worst.unwrap();
            assert!(worst.error < 1e-8, "{}, {reduction:?}: {worst:?}", named.name);
        }
    }
    let cost = LinearCrossEntropy::builder().row_loss(ExpectedCost).build().unwrap();
    let tape = Tape::<f64>::new().unwrap();
    let [hidden, classifier] = [&inputs[0], &inputs[1]].map(|x| tape.leaf(x.clone()));
    let refused = hidden.linear_cross_entropy(classifier, None, &[3_u32, 0, 6, 3], &cost);
    let message = refused.map(|_| ()).unwrap_err().to_string();
    assert!(message.contains("needs a companion") && !message.contains('\n'), "{message}");
}
