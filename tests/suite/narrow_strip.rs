//! A strip of bf16, whose logits are kept in 16 bits: its gradients against direct sums in f64.

use half::bf16;
use ndarray::{Array1, Array2};
use surprisal::random::Generator;
use surprisal::{
    Backward, Gradients, Inputs, Isa, LinearCrossEntropy, LinearCrossEntropyBuilder, Upstream,
};

/// Off by half a step of at most 110/65535 nats, then rounded to bf16.
const OF_G: f64 = 110.0 / 65535.0 / 2.0 + 1.0 / 256.0;

struct Case {
    hidden: Array2<bf16>,
    classifier: Array2<bf16>,
    bias: Option<Array1<f32>>,
    targets: Vec<u32>,
    scale: f64,
    softcap: Option<f64>,
}

fn case(rows: usize, classes: usize, size: f64, bias: Option<f64>, softcap: Option<f64>) -> Case {
    let mut generator = Generator::new(rows as u64);
    let mut uniform = move |size: f64| size * (2.0 * generator.uniform() - 1.0);
    let width = 32;
    let mut matrix = |rows: usize, size: f64| {
        Array2::from_shape_simple_fn((rows, width), || bf16::from_f64(uniform(size)))
    };
    let (hidden, classifier) = (matrix(rows, 1.0), matrix(classes, size));
    let mut generator = Generator::new(77);
    let bias = bias.map(|size| {
        Array1::from_shape_simple_fn(classes, || (size * (generator.uniform() - 0.5)) as f32)
    });
    let targets = (0..rows).map(|i| (i * 131 % classes) as u32).collect();
    Case { hidden, classifier, bias, targets, scale: 1.5, softcap }
}

/// G of the sum of all losses and of `h` times the entropies, and the sizes of its parts.
fn exact(case: &Case, h: f64) -> [Array2<f64>; 2] {
    let (e, c) = (case.hidden.mapv(f64::from), case.classifier.mapv(f64::from));
    let mut g = e.dot(&c.t());
    let mut sizes = g.clone();
    for (i, mut row) in g.outer_iter_mut().enumerate() {
        let mut slopes = vec![case.scale; row.len()];
        for (v, z) in row.iter_mut().enumerate() {
            let u = case.scale * (*z + case.bias.as_ref().map_or(0.0, |bias| f64::from(bias[v])));
            *z = u;
            if let Some(cap) = case.softcap {
                *z = cap * (u / cap).tanh();
                slopes[v] *= 1.0 - (u / cap).tanh().powi(2);
            }
        }
        let most = row.fold(f64::NEG_INFINITY, |a, &b| a.max(b));
        let sum: f64 = row.iter().map(|a| (a - most).exp()).sum();
        let (lse, p) = (most + sum.ln(), row.mapv(|a| (a - most).exp() / sum));
        let entropy: f64 = p.iter().zip(&row).map(|(p, a)| p * (lse - a)).sum();
        for (v, a) in row.iter_mut().enumerate() {
            let above = (lse - *a) - entropy;
            let target = f64::from(u8::from(v == case.targets[i] as usize));
            // A logit that is rounded moves p and what the entropy weighs it with, not the target.
            sizes[[i, v]] = p[v] * (1.0 + h * (above.abs() + 1.0)) * slopes[v].abs();
            sizes[[i, v]] += target * (1.0 - p[v]) * slopes[v].abs();
            *a = (p[v] * (1.0 + h * above) - target) * slopes[v];
        }
    }
    [g, sizes]
}

fn check(name: &str, case: &Case, builder: LinearCrossEntropyBuilder, h: f64) {
    let (n, d) = case.hidden.dim();
    let v = case.classifier.dim().0;
    let builder = builder.scale(case.scale).reduction(surprisal::Reduction::Sum);
    let builder = match case.softcap {
        Some(cap) => builder.softcap(cap),
        None => builder,
    };
    let loss = builder.backward(Backward::Strip).entropy(true).build().unwrap();
    let inputs = Inputs::new(&case.hidden, &case.classifier, &case.targets);
    let inputs = match &case.bias {
        Some(bias) => inputs.bias(bias),
        None => inputs,
    };
    let mut hidden = Array2::<f32>::zeros((n, d));
    let mut classifier = Array2::<f32>::zeros((v, d));
    let mut bias = Array1::<f32>::zeros(v);
    let gradients =
        Gradients::new().hidden(&mut hidden).classifier(&mut classifier).bias(&mut bias);
    let of_entropy = Array1::from_elem(n, h);
    let upstream = Upstream::default().entropy(&of_entropy);
    loss.loss_and_gradients(&inputs, &upstream, gradients).unwrap();

    let [g, sizes] = exact(case, h);
    let (e, c) = (case.hidden.mapv(f64::from), case.classifier.mapv(f64::from));
    // What an entry may be off by: its own rounding (of what the entropy adds to it, too), and the sums of
    // the products, f32.
    let sized = |a: &Array2<f64>| a.mapv(f64::abs);
    let sums = (n + v) as f64 * f64::from(f32::EPSILON);
    // The logits themselves, sums of 32 products and a bias of up to some hundreds, in f32.
    let logits = 40.0 * f64::from(f32::EPSILON) * 400.0;
    let check = |what: &str, found: f64, exact: f64, size: f64| {
        let bound = (OF_G + sums + logits) * size + 1e-12;
        let error = (found - exact).abs();
        assert!(error <= bound, "{name}, {what}: {found} for {exact}, off by {error} > {bound}");
    };
    let (exact_hidden, size) = (g.dot(&c), sizes.dot(&sized(&c)));
    for ((&found, &exact), &size) in hidden.iter().zip(&exact_hidden).zip(&size) {
        check("dE", f64::from(found), exact, size);
    }
    let (exact_classifier, size) = (g.t().dot(&e), sizes.t().dot(&sized(&e)));
    for ((&found, &exact), &size) in classifier.iter().zip(&exact_classifier).zip(&size) {
        check("dC", f64::from(found), exact, size);
    }
    for ((&found, g), size) in bias.iter().zip(g.columns()).zip(sizes.columns()) {
        check("db", f64::from(found), g.sum(), size.sum());
    }
}

#[test]
fn gradients_are_those_of_direct_sums() {
    for isa in Isa::available() {
        for (rows, classes) in [(1, 1), (3, 33), (13, 257), (40, 700), (97, 1030)] {
            for (size, bias, softcap) in [
                (0.2, None, None),
                // Spreads of hundreds: far beyond what is told.
                (20.0, None, None),
                (1.0, Some(200.0), None),
                (1.0, Some(5.0), Some(10.0)),
                (60.0, Some(50.0), Some(30.0)),
            ] {
                let case = case(rows, classes, size, bias, softcap);
                let name = format!("{} {rows}×{classes} {size} {bias:?} {softcap:?}", isa.name());
                for h in [0.0, 0.25] {
                    check(&name, &case, LinearCrossEntropy::builder().isa(isa), h);
                }
            }
        }
    }
}

/// p − 1 of a confident row has its own digits, however the other logits are rounded.
#[test]
fn a_confident_target_keeps_its_digits() {
    let mut classifier = Array2::<bf16>::zeros((300, 32));
    classifier[[7, 0]] = bf16::from_f32(16.0);
    let mut hidden = Array2::<bf16>::zeros((2, 32));
    hidden[[0, 0]] = bf16::from_f32(1.0);
    hidden[[1, 0]] = bf16::from_f32(1.25);
    let loss = LinearCrossEntropy::builder()
        .backward(Backward::Strip)
        .reduction(surprisal::Reduction::Sum)
        .build()
        .unwrap();
    let mut bias = Array1::<f64>::zeros(300);
    let gradients = Gradients::new().bias(&mut bias);
    let inputs = Inputs::new(&hidden, &classifier, &[7_u32, 7]);
    loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
    let own = |logit: f64| -(299.0 * (-logit).exp()) / (1.0 + 299.0 * (-logit).exp());
    let exact = own(16.0) + own(20.0);
    assert!((bias[7] / exact - 1.0).abs() <= 4.0 * f64::from(f32::EPSILON), "{bias:?} {exact}");
}
