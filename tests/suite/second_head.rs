//! Divergences from a second head, and losses of the mean of its logits: against direct sums in f64, over every
//! type, strategy and instruction set.

mod limits;

use half::{bf16, f16};
use ndarray::{Array1, Array2, Axis, arr1, arr2, s};
use surprisal::loss::{
    Companion, CrossEntropy, EarthMover, EmbeddingCost, ExpectedCost, Head, JensenShannon,
    KullbackLeibler, SkewKullbackLeibler, Sum, SymmetricCrossEntropy, TemperatureSquared,
    TotalVariation,
};
use surprisal::{
    Backward, Element, Error, Filter, Gradients, Inputs, Isa, LinearCrossEntropy,
    LinearCrossEntropyBuilder, Real, Reduction, Shard, Upstream,
};
use testing::Stream;

/// Two heads over the same classes.
struct Heads {
    hidden: Array2<f64>,
    classifier: Array2<f64>,
    bias: Array1<f64>,
    wide: Array2<f64>,
    teacher: Array2<f64>,
    teacher_bias: Array1<f64>,
    targets: Vec<i64>,
    upstream: Array1<f64>,
    temperatures: Array1<f64>,
}

const SCALE: f64 = 0.5;
const SOFTCAP: f64 = 8.0;

impl Heads {
    /// Numbers that bf16 and f16 hold.
    fn new(rows: usize, widths: [usize; 2], classes: usize) -> Self {
        let mut stream = Stream((rows * 1000 + classes) as u64);
        let narrow =
            |m: Array2<f64>| m.mapv(|x| f16::from_f64(bf16::from_f64(x).to_f64()).to_f64());
        let mut targets = stream.classes(rows, classes);
        if rows > 2 {
            targets[1] = -100;
        }
        Self {
            hidden: narrow(stream.matrix(rows, widths[0], 1.0)),
            classifier: narrow(stream.matrix(classes, widths[0], 0.7)),
            bias: stream.vector(classes, 0.5).mapv(|x| bf16::from_f64(x).to_f64()),
            wide: narrow(stream.matrix(rows, widths[1], 1.0)),
            teacher: narrow(stream.matrix(classes, widths[1], 0.7)),
            teacher_bias: stream.vector(classes, 0.5).mapv(|x| bf16::from_f64(x).to_f64()),
            targets,
            upstream: stream.vector(rows, 1.0).mapv(|x| bf16::from_f64(x).to_f64()),
            temperatures: Array1::from_shape_fn(rows, |i| [1.0, 2.0, 0.5][i % 3]),
        }
    }

    /// The logits of both heads, by their definition.
    fn logits(&self) -> (Array2<f64>, Array2<f64>) {
        let own = self.hidden.dot(&self.classifier.t()) + &self.bias;
        let other = self.wide.dot(&self.teacher.t()) + &self.teacher_bias;
        let own = own / self.temperatures.view().insert_axis(Axis(1));
        let other = other * SCALE / self.temperatures.view().insert_axis(Axis(1));
        (own, other.mapv(|u| SOFTCAP * (u / SOFTCAP).tanh()))
    }

    /// The value of each row and its G, by direct sums.
    fn truth(&self, kind: Kind) -> (Array1<f64>, Array2<f64>) {
        let (own, other) = self.logits();
        let mut g = Array2::zeros(own.dim());
        let mut values = Array1::zeros(own.dim().0);
        for (i, target) in self.targets.iter().enumerate() {
            if *target < 0 {
                continue;
            }
            let log_softmax = |row: ndarray::ArrayView1<'_, f64>| {
                let m = row.fold(f64::NEG_INFINITY, |m, &x| m.max(x));
                let lse = m + row.mapv(|x| (x - m).exp()).sum().ln();
                row.mapv(|x| x - lse)
            };
            let (q, p) = (log_softmax(own.row(i)), log_softmax(other.row(i)));
            let terms: Vec<_> = q.iter().zip(&p).map(|(&q, &p)| kind.term(q, p)).collect();
            values[i] = terms.iter().map(|(value, _)| value).sum();
            let mean: f64 = q.iter().zip(&terms).map(|(q, (_, slope))| q.exp() * slope).sum();
            for v in 0..q.len() {
                let by_logit = q[v].exp() * (terms[v].1 - mean);
                g[[i, v]] = self.upstream[i] * by_logit / self.temperatures[i];
            }
        }
        (values, g)
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Forward,
    Reverse,
    JensenShannon(f64),
    ForwardSkew(f64),
    ReverseSkew(f64),
    TotalVariation,
    /// Not 0 where the heads are equal.
    SymmetricCrossEntropy(f64),
}

const KINDS: [Kind; 10] = [
    Kind::Forward,
    Kind::Reverse,
    Kind::JensenShannon(0.5),
    Kind::JensenShannon(0.9),
    Kind::JensenShannon(1e-3),
    Kind::ForwardSkew(0.1),
    Kind::ForwardSkew(0.0),
    Kind::ReverseSkew(0.25),
    Kind::ReverseSkew(1e-3),
    Kind::TotalVariation,
];

impl Kind {
    /// What a class adds to the value, and g with ∂/∂a_v = Q_v (g_v − Σ Q g), of ln Q and ln P.
    fn term(self, q: f64, p: f64) -> (f64, f64) {
        let (big_q, big_p) = (q.exp(), p.exp());
        let mixture = |share: f64| share * big_p + (1.0 - share) * big_q;
        match self {
            Kind::Forward | Kind::ForwardSkew(0.0) => (big_p * (p - q), -big_p / big_q),
            Kind::Reverse => (big_q * (q - p), q - p),
            Kind::JensenShannon(beta) => {
                let m = mixture(beta).ln();
                let value = beta * big_p * (p - m) + (1.0 - beta) * big_q * (q - m);
                (value, (1.0 - beta) * (q - m))
            }
            Kind::ForwardSkew(alpha) => {
                let m = mixture(alpha);
                (big_p * (p - m.ln()), -(1.0 - alpha) * big_p / m)
            }
            Kind::ReverseSkew(alpha) => {
                let m = mixture(1.0 - alpha);
                (big_q * (q - m.ln()), q - m.ln() - alpha * big_q / m)
            }
            Kind::SymmetricCrossEntropy(alpha) => {
                let value = -(1.0 - alpha) * big_p * q - alpha * big_q * p;
                (value, -(1.0 - alpha) * big_p / big_q - alpha * p)
            }
            Kind::TotalVariation => {
                let sign = if q == p { 0.0 } else { (q - p).signum() };
                (0.5 * (big_q - big_p).abs(), 0.5 * sign)
            }
        }
    }

    fn loss(self) -> LinearCrossEntropyBuilder {
        let of = LinearCrossEntropy::builder();
        match self {
            Kind::Forward => of.row_loss(KullbackLeibler::forward()),
            Kind::Reverse => of.row_loss(KullbackLeibler::reverse()),
            Kind::JensenShannon(beta) => of.row_loss(JensenShannon::new(beta).unwrap()),
            Kind::ForwardSkew(alpha) => of.row_loss(SkewKullbackLeibler::forward(alpha).unwrap()),
            Kind::ReverseSkew(alpha) => of.row_loss(SkewKullbackLeibler::reverse(alpha).unwrap()),
            Kind::TotalVariation => of.row_loss(TotalVariation),
            Kind::SymmetricCrossEntropy(alpha) => {
                of.row_loss(SymmetricCrossEntropy::new(alpha).unwrap())
            }
        }
    }
}

#[allow(clippy::too_many_arguments)]
fn fused<T: Element<Real = R>, R: Real>(
    what: &str,
    heads: &Heads,
    loss: &LinearCrossEntropy,
    (values, g): &(Array1<f64>, Array2<f64>),
    rounded: f64,
) where
    for<'a> surprisal::Matrix<'a>: From<&'a Array2<T>>,
    for<'a> surprisal::MatrixMut<'a>: From<&'a mut Array2<R>>,
    for<'a> surprisal::VectorMut<'a>: From<&'a mut Array1<R>>,
{
    let [hidden, classifier, wide, teacher] =
        [&heads.hidden, &heads.classifier, &heads.wide, &heads.teacher]
            .map(|matrix| testing::cast::<T>(matrix));
    let head = Head::new(&wide, &teacher).bias(&heads.teacher_bias).scale(SCALE).softcap(SOFTCAP);
    let inputs = Inputs::new(&hidden, &classifier, &heads.targets)
        .bias(&heads.bias)
        .temperatures(&heads.temperatures)
        .companion(Companion::logits(head));
    let mut d_hidden = Array2::from_elem(hidden.dim(), R::from_f64(f64::NAN));
    let mut d_classifier = Array2::from_elem(classifier.dim(), R::from_f64(f64::NAN));
    let mut d_bias = Array1::from_elem(classifier.dim().0, R::from_f64(f64::NAN));
    let gradients =
        Gradients::new().hidden(&mut d_hidden).classifier(&mut d_classifier).bias(&mut d_bias);
    let upstream = Upstream::rows(&heads.upstream);
    let forward = loss.loss_and_gradients(&inputs, &upstream, gradients).unwrap();
    let alone = loss.forward(&inputs).unwrap();
    let classes = classifier.dim().0 as f64;
    // A logit is off by the sum of D products, ln P − ln Q by both logits, the sum of positive terms by its
    // slope, which is at most |ln P − ln Q| + 1 < 32 here, and by a sum over the classes.
    let size = |a: &Array2<f64>, b: &Array2<f64>| {
        let products = a.mapv(f64::abs).dot(&b.mapv(f64::abs).t());
        (a.dim().1 as f64 + 8.0) * (products.fold(0.0_f64, |m, &x| m.max(x)) + 2.0)
    };
    let both = size(&heads.hidden, &heads.classifier) + size(&heads.wide, &heads.teacher);
    let logit = 2.0 * R::EPSILON * both;
    let entry = 4.0 * logit + R::EPSILON * (64.0 + classes.sqrt());
    let close = |name: &str, a: f64, b: f64, bound: f64| {
        assert!((a - b).abs() <= bound, "{what}, {name}: {a:e} and {b:e}, within {bound:e}");
    };
    for ((&a, &alone), &b) in forward.losses().iter().zip(&alone.losses()).zip(values) {
        close("loss", a, b, 32.0 * (logit + R::EPSILON * (8.0 + classes.sqrt())));
        close("the forward alone", a, alone, 64.0 * R::EPSILON * (1.0 + b));
    }
    // In G the slope by ln P − ln Q is p + q (1 + |ln P − ln Q|); its mean over the classes is below 16/V, and
    // that of |G| is what it is.
    let bounds = g.mapv(|g| (entry + rounded) * g.abs() + 32.0 * entry / classes.min(8.0));
    let bound = bounds.dot(&heads.classifier.mapv(f64::abs));
    for ((at, a), b) in d_hidden.indexed_iter().zip(&g.dot(&heads.classifier)) {
        close("dE", a.to_f64(), *b, bound[at] + R::EPSILON * 8.0 * b.abs());
    }
    let bound = bounds.t().dot(&heads.hidden.mapv(f64::abs));
    for ((at, a), b) in d_classifier.indexed_iter().zip(&g.t().dot(&heads.hidden)) {
        close("dC", a.to_f64(), *b, bound[at] + R::EPSILON * 8.0 * b.abs());
    }
    let bound = bounds.sum_axis(Axis(0));
    for ((at, a), b) in d_bias.indexed_iter().zip(&g.sum_axis(Axis(0))) {
        close("db", a.to_f64(), *b, bound[at] + R::EPSILON * 8.0 * b.abs());
    }
}

#[test]
fn divergences_are_those_of_direct_sums() {
    for (rows, widths, classes) in
        [(1, [1, 1], 1), (3, [7, 20], 33), (13, [20, 6], 257), (50, [9, 9], 700), (9, [5, 0], 40)]
    {
        let heads = Heads::new(rows, widths, classes);
        for kind in KINDS.into_iter().chain([Kind::SymmetricCrossEntropy(0.3)]) {
            let truth = heads.truth(kind);
            let builder = kind.loss().reduction(Reduction::None);
            for isa in Isa::available() {
                for backward in [Backward::Recompute, Backward::Strip] {
                    let loss = builder.clone().isa(isa).backward(backward).build().unwrap();
                    let what = format!("{kind:?}, {isa:?}, {backward:?}, {classes} classes");
                    fused::<f64, f64>(&what, &heads, &loss, &truth, 0.0);
                    fused::<f32, f32>(&what, &heads, &loss, &truth, 0.0);
                    fused::<f16, f32>(&what, &heads, &loss, &truth, 0.0);
                    let rounds = testing::multiplies_bf16(isa);
                    let rounded = if rounds { 2.0_f64.powi(-8) } else { 0.0 };
                    fused::<bf16, f32>(&what, &heads, &loss, &truth, rounded);
                }
            }
        }
    }
}

/// Either head may be logits that are there already.
#[test]
fn given_logits_are_what_their_products_are() {
    let heads = Heads::new(6, [4, 7], 300);
    let own = heads.hidden.dot(&heads.classifier.t());
    let other = heads.wide.dot(&heads.teacher.t());
    for kind in KINDS {
        let loss = kind.loss().build().unwrap();
        let mut answers = Vec::new();
        for head in [Head::new(&heads.wide, &heads.teacher), Head::from_logits(&other)] {
            let mut g = Array2::<f64>::zeros(own.dim());
            let given =
                Inputs::from_logits(&own, &heads.targets).companion(Companion::logits(head));
            let gradients = Gradients::new().logits(&mut g);
            let forward = loss.loss_and_gradients(&given, &Upstream::default(), gradients).unwrap();
            let product = Inputs::new(&heads.hidden, &heads.classifier, &heads.targets)
                .companion(Companion::logits(head));
            let mut d_hidden = Array2::<f64>::zeros(heads.hidden.dim());
            let gradients = Gradients::new().hidden(&mut d_hidden);
            let fused = loss.loss_and_gradients(&product, &Upstream::default(), gradients).unwrap();
            assert!((forward.loss() - fused.loss()).abs() < 1e-13);
            let far = (&g.dot(&heads.classifier) - &d_hidden).mapv(f64::abs);
            assert!(far.iter().all(|&far| far < 1e-13), "{far:e}");
            answers.push((forward.loss(), g));
        }
        assert!((answers[0].0 - answers[1].0).abs() < 1e-13);
        let far = (&answers[0].1 - &answers[1].1).mapv(f64::abs);
        assert!(far.iter().all(|&far| far < 1e-13), "{far:e}");
    }
}

/// Σ_v K(q, p) at central differences of the direct sum.
#[test]
fn the_gradients_are_the_slopes_of_the_values() {
    let (own, other) = (arr2(&[[0.3_f64, -1.0, 2.0, 0.1]]), arr2(&[[1.0_f64, 0.5, -0.2, 3.0]]));
    for kind in KINDS {
        let loss = kind.loss().build().unwrap();
        let value = |own: &Array2<f64>| {
            let inputs = Inputs::from_logits(own, &[0_u32])
                .companion(Companion::logits(Head::from_logits(&other)));
            loss.forward(&inputs).unwrap().loss()
        };
        let mut g = Array2::<f64>::zeros((1, 4));
        let inputs = Inputs::from_logits(&own, &[0_u32])
            .companion(Companion::logits(Head::from_logits(&other)));
        let gradients = Gradients::new().logits(&mut g);
        loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
        for v in 0..4 {
            let moved = |h: f64| {
                let mut own = own.clone();
                own[[0, v]] += h;
                value(&own)
            };
            let numeric = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((g[[0, v]] - numeric).abs() < 1e-9, "{} and {numeric}", g[[0, v]]);
        }
    }
}

/// 0 to the last bit, and no gradient, whatever else the fold is asked for.
#[test]
fn equal_heads_are_no_distance_apart() {
    fn equal<T: Element>(heads: &Heads, builder: LinearCrossEntropyBuilder)
    where
        for<'a> surprisal::Matrix<'a>: From<&'a Array2<T>>,
    {
        let (hidden, classifier) =
            (testing::cast::<T>(&heads.hidden), testing::cast::<T>(&heads.classifier));
        for backward in [Backward::Strip, Backward::Recompute] {
            let inputs = Inputs::new(&hidden, &classifier, &heads.targets)
                .companion(Companion::logits(Head::new(&hidden, &classifier)));
            let mut d_hidden = Array2::<f32>::from_elem(hidden.dim(), 1.0);
            let mut d_classifier = Array2::<f32>::from_elem(classifier.dim(), 1.0);
            let gradients = Gradients::new().hidden(&mut d_hidden).classifier(&mut d_classifier);
            let loss = builder.clone().backward(backward).build().unwrap();
            let forward =
                loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
            assert!(forward.losses().iter().all(|&x| x == 0.0));
            assert_eq!(loss.forward(&inputs).unwrap().loss(), 0.0);
            assert!(d_hidden.iter().chain(&d_classifier).all(|&x| x == 0.0));
        }
    }
    let heads = Heads::new(40, [24, 1], 613);
    for kind in KINDS {
        for isa in Isa::available() {
            let of = || kind.loss().isa(isa);
            for builder in [of(), of().top_k(3), of().varentropy(true), of().rank(true)] {
                equal::<f64>(&heads, builder.clone());
                equal::<f32>(&heads, builder.clone());
                equal::<bf16>(&heads, builder);
            }
        }
    }
}

/// A divergence of 10⁻⁸ has its digits in f32 where the logits have theirs.
#[test]
fn a_small_divergence_has_its_digits() {
    let mut stream = Stream(3);
    let own = stream.matrix(1, 5000, 2.0).mapv(|x| (x * 1024.0).round() / 1024.0);
    // Steps of 2⁻¹³, exact in f32 beside logits below 16.
    let step = |_, v| [1.0, 0.0, -1.0, 2.0][v % 4] * 2.0_f64.powi(-13);
    let other = &own + &Array2::from_shape_fn((1, 5000), |(i, v)| step(i, v));
    let lse = |a: &Array2<f64>| {
        let m = a.fold(f64::NEG_INFINITY, |m, &x| m.max(x));
        m + a.mapv(|x| (x - m).exp()).sum().ln()
    };
    // In f64 with the digits of small numbers: ln Σ e^(a+δ) − ln Σ e^a = ln_1p(Σ q expm1(δ)), and
    // KL(A‖B) = Σ A κ(ln B/A) with κ by its series.
    let of = lse(&own);
    let gap = own.iter().zip(&other).map(|(a, b)| (a - of).exp() * (b - a).exp_m1());
    let gap = gap.sum::<f64>().ln_1p();
    let kappa = |x: f64| x * x * (0.5 + x / 6.0 + x * x / 24.0 + x * x * x / 120.0);
    let exact = |kind: Kind| {
        let terms = own.iter().zip(&other).map(|(a, b)| {
            let (q, d) = ((a - of).exp(), b - a - gap);
            let p = q * d.exp();
            // ln M/P and ln M/Q where P has this share of M.
            let over_p = |share: f64| ((1.0 - share) * (-d).exp_m1()).ln_1p();
            let over_q = |share: f64| (share * d.exp_m1()).ln_1p();
            match kind {
                Kind::Forward | Kind::ForwardSkew(0.0) => p * kappa(-d),
                Kind::Reverse => q * kappa(d),
                Kind::JensenShannon(beta) => {
                    beta * p * kappa(over_p(beta)) + (1.0 - beta) * q * kappa(over_q(beta))
                }
                Kind::ForwardSkew(alpha) => p * kappa(over_p(alpha)),
                Kind::ReverseSkew(alpha) => q * kappa(over_q(1.0 - alpha)),
                Kind::TotalVariation => 0.5 * q * d.exp_m1().abs(),
                Kind::SymmetricCrossEntropy(_) => unreachable!("it is none of these"),
            }
        });
        terms.sum::<f64>()
    };
    let wide = (own.clone(), other.clone());
    let (own, other) = (own.mapv(|x| x as f32), other.mapv(|x| x as f32));
    for kind in KINDS {
        let loss = kind.loss().build().unwrap();
        let inputs = Inputs::from_logits(&own, &[0_u32])
            .companion(Companion::logits(Head::from_logits(&other)));
        let (value, exact) = (loss.forward(&inputs).unwrap().loss(), exact(kind));
        assert!(exact > 1e-12 && exact < 1e-3, "{exact:e}");
        // Each Δ = ln P − ln Q, of some 2⁻¹³, is off by 8 ε of the logits below their largest, some 16, at
        // most, and the value by twice as much of itself.
        let bound = 2.0 * 8.0 * f64::from(f32::EPSILON) * 8192.0;
        if let Kind::Forward = kind {
            let mut g = Array2::<f32>::zeros(own.dim());
            let gradients = Gradients::new().logits(&mut g);
            loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
            for ((g, a), b) in g.iter().zip(&wide.0).zip(&wide.1) {
                let (g, q) = (f64::from(*g), (a - of).exp());
                // Not off by what both log-sum-exps are, which the sum over 5000 classes rounds.
                let (far, off) =
                    (g + q * (b - a - gap).exp_m1(), q * 2.0 * f64::from(f32::EPSILON));
                assert!(far.abs() <= 8.0 * off, "{g:e}: {far:e} off, of {off:e}");
            }
        }
        assert!((value / exact - 1.0).abs() < bound, "{value:e}, expected {exact:e} ± {bound:e}");
    }
}

#[test]
fn what_one_head_has_alone_counts_as_the_limit_does() {
    let gone = f64::NEG_INFINITY;
    let (some, all) = (arr2(&[[0.0_f64, 0.0, gone]]), arr2(&[[0.0_f64, 0.0, 0.0]]));
    let run = |kind: Kind, own: &Array2<f64>, other: &Array2<f64>| {
        let loss = kind.loss().build().unwrap();
        let mut g = Array2::<f64>::from_elem((1, 3), 1.0);
        let inputs = Inputs::from_logits(own, &[0_u32])
            .companion(Companion::logits(Head::from_logits(other)));
        let gradients = Gradients::new().logits(&mut g);
        let forward = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
        (forward.loss(), g)
    };
    let (value, g) = run(Kind::Forward, &all, &some);
    assert!((value - 1.5_f64.ln()).abs() < 1e-15);
    let third = 1.0 / 3.0;
    let far = &g - &arr2(&[[third - 0.5, third - 0.5, third]]);
    assert!(far.iter().all(|x| x.abs() < 1e-15));
    let (value, g) = run(Kind::Reverse, &some, &all);
    assert!((value - 1.5_f64.ln()).abs() < 1e-15);
    assert!(g.iter().all(|x| x.abs() < 1e-15));
    for (kind, own, other) in [(Kind::Forward, &some, &all), (Kind::Reverse, &all, &some)] {
        let (value, g) = run(kind, own, other);
        assert_eq!(value, f64::INFINITY);
        assert!(g.iter().all(|&x| x == 0.0), "{g}");
    }
    // Mixtures have whatever either has.
    let (one, two) = (arr2(&[[0.0_f64, gone, gone]]), arr2(&[[gone, 0.0_f64, gone]]));
    let ln_2 = std::f64::consts::LN_2;
    for (kind, limit) in [
        (Kind::JensenShannon(0.5), ln_2),
        (Kind::ForwardSkew(0.25), 2.0 * ln_2),
        (Kind::ReverseSkew(0.25), 2.0 * ln_2),
        (Kind::TotalVariation, 1.0),
        (Kind::JensenShannon(0.0), 0.0),
        (Kind::JensenShannon(1.0), 0.0),
        (Kind::ForwardSkew(1.0), 0.0),
    ] {
        let (value, g) = run(kind, &one, &two);
        assert!((value - limit).abs() < 4.0 * f64::EPSILON, "{kind:?}: {value}");
        assert!(g.iter().all(|&x| x.abs() < 4.0 * f64::EPSILON), "{kind:?}: {g}");
        assert!(run(kind, &some, &all).1.iter().all(|x| x.is_finite()), "{kind:?}");
    }
    let nan = arr2(&[[0.0_f64, f64::NAN, 0.0]]);
    assert!(run(Kind::Forward, &nan, &all).0.is_nan() && run(Kind::Reverse, &all, &nan).0.is_nan());
    // A sure pair: P and Q are 1 but for e^−700 and e^−690.
    let (own, other) = (arr2(&[[0.0, -690.0, gone]]), arr2(&[[0.0, -700.0, gone]]));
    let (q, p) = ((-690.0_f64).exp(), (-700.0_f64).exp());
    let (value, g) = run(Kind::Forward, &own, &other);
    let expected = q - p - 10.0 * p;
    assert!((value / expected - 1.0).abs() < 1e-12, "{value:e} and {expected:e}");
    assert!((g[[0, 1]] / (q - p) - 1.0).abs() < 1e-12 && (g[[0, 0]] / (p - q) - 1.0).abs() < 1e-12);
}

/// Sums with other losses are the sums of their values and gradients.
#[test]
fn divergences_go_into_sums() {
    let heads = Heads::new(7, [6, 3], 90);
    let head = Head::new(&heads.wide, &heads.teacher);
    let run = |builder: LinearCrossEntropyBuilder, companion: bool| {
        let mut answers = Vec::new();
        for backward in [Backward::Strip, Backward::Recompute] {
            let mut d_hidden = Array2::<f64>::zeros(heads.hidden.dim());
            let inputs = Inputs::new(&heads.hidden, &heads.classifier, &heads.targets);
            let inputs = if companion { inputs.companion(Companion::logits(head)) } else { inputs };
            let loss = builder.clone().temperature(1.5).backward(backward).build().unwrap();
            let gradients = Gradients::new().hidden(&mut d_hidden);
            let forward =
                loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
            answers.push((forward.loss(), d_hidden));
        }
        answers
    };
    let of = LinearCrossEntropy::builder;
    let squared = TemperatureSquared::new(KullbackLeibler::reverse());
    let sum = Sum::new()
        .add(0.5, CrossEntropy::new(0.1, 1e-3).unwrap())
        .and_then(|sum| sum.add(2.0, KullbackLeibler::forward()))
        .and_then(|sum| sum.add(-0.25, squared))
        .and_then(|sum| sum.add(0.1, ExpectedCost))
        .unwrap();
    let together = run(of().row_loss(sum), true);
    let parts = [
        (0.5, run(of().label_smoothing(0.1).z_loss(1e-3), false)),
        (2.0, run(of().row_loss(KullbackLeibler::forward()), true)),
        (-0.25 * 1.5 * 1.5, run(of().row_loss(KullbackLeibler::reverse()), true)),
        (0.1, run(of().row_loss(ExpectedCost), true)),
    ];
    for (i, (value, gradient)) in together.iter().enumerate() {
        let expected: f64 = parts.iter().map(|(factor, part)| factor * part[i].0).sum();
        assert!((value - expected).abs() < 1e-12 * expected.abs().max(1.0));
        let mut sum = Array2::<f64>::zeros(gradient.dim());
        parts.iter().for_each(|(factor, part)| sum.scaled_add(*factor, &part[i].1));
        assert!((&sum - gradient).iter().all(|x| x.abs() < 1e-13));
    }
}

/// The logits of a second head are a companion like any other: one sweep, with either strategy.
#[test]
fn the_mean_of_a_second_head_is_that_of_its_logits_as_entries() {
    for (rows, classes) in [(5, 31), (400, 70), (20, 520)] {
        let heads = Heads::new(rows, [8, 5], classes);
        let entries = heads.wide.dot(&heads.teacher.t());
        for backward in [Backward::Strip, Backward::Recompute] {
            let loss = LinearCrossEntropy::builder().row_loss(ExpectedCost).backward(backward);
            let loss = loss.build().unwrap();
            let run = |companion| {
                let mut d_hidden = Array2::<f64>::zeros(heads.hidden.dim());
                let inputs = Inputs::new(&heads.hidden, &heads.classifier, &heads.targets)
                    .companion(companion);
                let gradients = Gradients::new().hidden(&mut d_hidden);
                let forward =
                    loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
                assert_eq!(forward.loss(), loss.forward(&inputs).unwrap().loss());
                (forward.losses(), d_hidden)
            };
            let head = Head::new(&heads.wide, &heads.teacher);
            let (a, b) = (run(Companion::logits(head)), run(Companion::entries(&entries)));
            let far = (&a.0 - &b.0).fold(0.0_f64, |m, x| m.max(x.abs()));
            let gradients = (&a.1 - &b.1).fold(0.0_f64, |m, x| m.max(x.abs()));
            assert!(far < 1e-13 && gradients < 1e-13, "{far:e}, {gradients:e}");
        }
    }
}

/// Whatever the blocks, and with the vjp after a forward.
#[test]
fn blocks_and_doors_agree() {
    let heads = Heads::new(150, [12, 20], 1100);
    for kind in KINDS {
        let mut answers: Vec<Array2<f64>> = Vec::new();
        for budget in [256 << 20, 3_000_000, 1_500_000] {
            for backward in [Backward::Strip, Backward::Recompute] {
                let loss = kind.loss().backward(backward).memory_budget(budget).build().unwrap();
                let inputs = Inputs::new(&heads.hidden, &heads.classifier, &heads.targets)
                    .companion(Companion::logits(Head::new(&heads.wide, &heads.teacher)));
                let mut d_hidden = Array2::<f64>::zeros(heads.hidden.dim());
                let gradients = Gradients::new().hidden(&mut d_hidden);
                match loss.loss_and_gradients(&inputs, &Upstream::default(), gradients) {
                    Err(Error::MemoryBudget { .. }) => continue,
                    other => other.unwrap(),
                };
                answers.push(d_hidden);
                let forward = loss.forward(&inputs).unwrap();
                let mut d_hidden = Array2::<f64>::zeros(heads.hidden.dim());
                let gradients = Gradients::new().hidden(&mut d_hidden);
                loss.vjp(&inputs, &forward, &Upstream::default(), gradients).unwrap();
                answers.push(d_hidden);
            }
        }
        assert!(answers.len() >= 10, "{}", answers.len());
        for other in &answers {
            assert!((other - &answers[0]).iter().all(|x| x.abs() < 1e-13));
        }
    }
}

#[cfg(feature = "parallel")]
#[test]
fn the_bits_do_not_depend_on_the_threads() {
    let heads = Heads::new(200, [12, 20], 900);
    let run = |threads: usize, backward| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let loss = LinearCrossEntropy::builder()
                .row_loss(KullbackLeibler::reverse())
                .backward(backward)
                .build()
                .unwrap();
            let inputs = Inputs::new(&heads.hidden, &heads.classifier, &heads.targets)
                .companion(Companion::logits(Head::new(&heads.wide, &heads.teacher)));
            let mut d_hidden = Array2::<f64>::zeros(heads.hidden.dim());
            let mut d_classifier = Array2::<f64>::zeros(heads.classifier.dim());
            let gradients = Gradients::new().hidden(&mut d_hidden).classifier(&mut d_classifier);
            let forward =
                loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
            (forward.losses(), d_hidden, d_classifier)
        })
    };
    for backward in [Backward::Strip, Backward::Recompute] {
        assert_eq!(run(1, backward), run(3, backward));
    }
}

/// Rows without an upstream are put last by a strip, and come back with their values.
#[test]
fn rows_without_an_upstream_keep_their_values() {
    let heads = Heads::new(9, [4, 4], 50);
    let inputs = Inputs::new(&heads.hidden, &heads.classifier, &heads.targets)
        .companion(Companion::logits(Head::new(&heads.wide, &heads.teacher)));
    let loss = LinearCrossEntropy::builder()
        .row_loss(KullbackLeibler::forward())
        .reduction(Reduction::None)
        .backward(Backward::Strip)
        .build()
        .unwrap();
    let mut upstream = heads.upstream.clone();
    upstream.slice_mut(s![..;2]).fill(0.0);
    let mut d_hidden = Array2::<f64>::zeros(heads.hidden.dim());
    let gradients = Gradients::new().hidden(&mut d_hidden);
    let forward = loss.loss_and_gradients(&inputs, &Upstream::rows(&upstream), gradients).unwrap();
    assert_eq!(forward.losses(), loss.forward(&inputs).unwrap().losses());
    for (i, row) in d_hidden.rows().into_iter().enumerate() {
        assert_eq!(row.iter().all(|&x| x == 0.0), upstream[i] == 0.0 || heads.targets[i] < 0);
    }
}

#[test]
fn what_does_not_go_together_is_said() {
    let heads = Heads::new(3, [2, 4], 5);
    let of = || LinearCrossEntropy::builder().row_loss(KullbackLeibler::forward());
    let hard = || Inputs::new(&heads.hidden, &heads.classifier, &heads.targets);
    let head = Head::new(&heads.wide, &heads.teacher);
    let refused = |builder: LinearCrossEntropyBuilder, inputs: Inputs<'_>, says: &str| {
        let result = builder.build().and_then(|loss| loss.forward(&inputs));
        let message = result.map(|forward| forward.loss()).expect_err(says).to_string();
        assert!(message.contains(says) && !message.contains('\n'), "{message}");
    };
    refused(of(), hard(), "needs the logits of a second head");
    let costs = arr1(&[0.0_f64; 5]);
    let entries = Companion::classes(&costs);
    refused(of(), hard().companion(entries), "needs the logits of a second head");
    let logits = |head| hard().companion(Companion::logits(head));
    refused(LinearCrossEntropy::builder(), logits(head), "takes no companion");
    let (fewer, narrower) = (heads.wide.slice(s![..2, ..]), heads.teacher.slice(s![.., ..3]));
    refused(of(), logits(Head::new(fewer, &heads.teacher)), "expected 3 rows");
    refused(of(), logits(Head::new(&heads.wide, narrower)), "expected 4 columns");
    let fewer = heads.teacher.slice(s![..4, ..]);
    refused(of(), logits(Head::new(&heads.wide, fewer)), "expected 5 rows");
    refused(of(), logits(Head::from_logits(&heads.wide)), "expected [3, 5]");
    let shorter = arr1(&[0.0_f64; 3]);
    refused(of(), logits(head.bias(&shorter)), "the bias of the second head");
    refused(of(), logits(head.scale(f64::NAN)), "the scale of the second head");
    refused(of(), logits(head.softcap(0.0)), "the softcap of the second head");
    refused(of().filter(Filter::Auto), logits(head), "not with a divergence");
    assert!(JensenShannon::new(1.5).is_err() && SkewKullbackLeibler::forward(f64::NAN).is_err());
    let costs = EmbeddingCost::<f64>::new(&heads.teacher).unwrap();
    let rows = costs.rows(&heads.targets).unwrap();
    refused(of(), hard().companion(costs.companion(&rows)), "no logits to diverge from");
    let part = heads.classifier.slice(s![..3, ..]);
    let shard = Inputs::new(&heads.hidden, part, &heads.targets).shard(Shard::new(0, 5));
    let result = of().build().unwrap().fold(&shard.companion(Companion::logits(head)));
    assert!(result.unwrap_err().to_string().contains("expected no shard"));
    let mut temperature = Array1::<f64>::zeros(3);
    let gradients = Gradients::new().temperature(&mut temperature);
    let loss = of().entropy(true).build().unwrap();
    let result = loss.loss_and_gradients(&logits(head), &Upstream::default(), gradients);
    assert!(result.unwrap_err().to_string().contains("goes without a companion"));
}

/// T² may leave f64 where what it is multiplied with takes it back.
#[test]
fn a_huge_temperature_squared_is_no_infinity() {
    let (own, other) = (arr2(&[[1.0_f64, 0.0]]), arr2(&[[0.0_f64, 3.0]]));
    let squared = TemperatureSquared::new(KullbackLeibler::forward());
    let loss = LinearCrossEntropy::builder().row_loss(squared).temperature(1e160).build().unwrap();
    let mut g = Array2::<f64>::zeros((1, 2));
    let inputs =
        Inputs::from_logits(&own, &[0_u32]).companion(Companion::logits(Head::from_logits(&other)));
    let gradients = Gradients::new().logits(&mut g);
    let forward = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
    assert!(forward.loss().is_finite());
    // Q − P is ¼ (z − t differences)/T to the first order, and T cancels.
    assert!((g[[0, 0]] - 1.0).abs() < 1e-12 && (g[[0, 1]] + 1.0).abs() < 1e-12, "{g}");
}

/// Costs of an embedding, fused, against the same as entries: value, gradient, and the digits of a sure target.
#[test]
fn costs_of_an_embedding_are_those_of_its_angles() {
    let heads = Heads::new(7, [6, 5], 90);
    let costs = EmbeddingCost::<f64>::new(&heads.teacher).unwrap();
    let rows = costs.rows(&heads.targets).unwrap();
    let unit = |row: ndarray::ArrayView1<'_, f64>| row.mapv(|x| x / row.dot(&row).sqrt());
    let entries = Array2::from_shape_fn((7, 90), |(i, v)| match heads.targets[i] {
        y if y < 0 || y == v as i64 => 0.0,
        y => 1.0 - unit(heads.teacher.row(v)).dot(&unit(heads.teacher.row(y as usize))),
    });
    for backward in [Backward::Strip, Backward::Recompute] {
        for loss in [EarthMover::paper(), EarthMover::as_in_code(), EarthMover::continual()] {
            let loss = LinearCrossEntropy::builder().row_loss(loss).backward(backward);
            let loss = loss.build().unwrap();
            let run = |companion| {
                let mut d_hidden = Array2::<f64>::zeros(heads.hidden.dim());
                let inputs = Inputs::new(&heads.hidden, &heads.classifier, &heads.targets)
                    .companion(companion);
                let gradients = Gradients::new().hidden(&mut d_hidden);
                let forward =
                    loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
                (forward.loss(), d_hidden)
            };
            let (a, b) = (run(costs.companion(&rows)), run(Companion::entries(&entries)));
            assert!((a.0 - b.0).abs() < 1e-13 && (&a.1 - &b.1).iter().all(|x| x.abs() < 1e-13));
        }
    }
    // p_y = 1 − 2e-20: the distance is of that size, whatever 1 − cos of the target with itself rounds to.
    let embedding = arr2(&[[0.1_f32, 0.7, 0.3], [0.2, -0.3, 0.9], [-0.5, 0.1, 0.1]]);
    let costs = EmbeddingCost::<f32>::new(&embedding).unwrap();
    let rows = costs.rows(&[0_u32]).unwrap();
    let logits = arr2(&[[0.0_f32, -45.0, -45.0]]);
    let inputs = Inputs::from_logits(&logits, &[0_u32]).companion(costs.companion(&rows));
    let loss = LinearCrossEntropy::builder().row_loss(ExpectedCost).build().unwrap();
    let distance = loss.forward(&inputs).unwrap().loss();
    assert!(distance > 1e-20 && distance < 1e-19, "{distance:e}");
    let zero = arr2(&[[1.0_f64, 0.0], [0.0, 0.0]]);
    assert!(EmbeddingCost::<f64>::new(&zero).unwrap_err().to_string().contains("[1]"));
}
