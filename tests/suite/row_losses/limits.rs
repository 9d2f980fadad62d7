//! The limits and identities of the losses, on random rows from quiet to sure.

use ndarray::{Array1, Array2, Axis};
use surprisal::loss::{
    AsymmetricGeneralizedCrossEntropy, AsymmetricUnhinged, CompSum, Companion,
    CorrectnessCalibration, CorrectnessPenalty, CrossEntropy, DirectCoverage,
    DistributionallyRobust, EarthMover, EmbeddingCost, EntropyBonus, ExpectedCost, Focal,
    GeneralizedCrossEntropy, HardSymmetricCrossEntropy, MeanAbsoluteError, MixedCrossEntropy,
    NormalizedCrossEntropy, Poly1, RowLoss, SmoothAdversarial, Tailored,
};
use surprisal::{Gradients, Inputs, LinearCrossEntropy, Reduction, Upstream};
use testing::Stream;

use super::named::{Costs, losses};

const U: f64 = f64::EPSILON;

/// Rows of logits with targets.
struct Rows {
    logits: Array2<f64>,
    targets: Vec<u32>,
}

/// Each with 60 rows, whose logits are some 0.3, 2 or 8 apart.
fn all_rows() -> Vec<Rows> {
    let mut stream = Stream(23);
    let mut all = Vec::new();
    for classes in [2, 3, 7, 50] {
        for spread in [0.3, 2.0, 8.0] {
            let logits = stream.matrix(60, classes, spread);
            let targets = stream.classes(60, classes).into_iter().map(|y| y as u32).collect();
            all.push(Rows { logits, targets });
        }
    }
    all
}

impl Rows {
    fn classes(&self) -> f64 {
        self.logits.dim().1 as f64
    }

    fn at(&self, loss: impl RowLoss + 'static, temperature: f64) -> (Array1<f64>, Array2<f64>) {
        let builder = LinearCrossEntropy::builder().row_loss(loss).temperature(temperature);
        let loss = builder.reduction(Reduction::None).build().unwrap();
        let mut g = Array2::zeros(self.logits.dim());
        let inputs = Inputs::from_logits(&self.logits, &self.targets[..]);
        let gradients = Gradients::new().logits(&mut g);
        let forward = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
        (forward.losses(), g)
    }

    fn of(&self, loss: impl RowLoss + 'static) -> (Array1<f64>, Array2<f64>) {
        self.at(loss, 1.0)
    }

    fn values(&self, loss: impl RowLoss + 'static) -> Array1<f64> {
        self.of(loss).0
    }

    fn surprisals(&self) -> Array1<f64> {
        self.values(CrossEntropy::default())
    }

    /// δ_v = z_v − z_y of each row.
    fn margins(&self) -> Array2<f64> {
        let (logits, targets) = (&self.logits, &self.targets);
        let of = |(i, v)| logits[[i, v]] - logits[[i, targets[i] as usize]];
        Array2::from_shape_fn(logits.dim(), of)
    }
}

/// Two losses are the same to some units of their own size, in value and in gradient.
fn same(a: &(Array1<f64>, Array2<f64>), b: &(Array1<f64>, Array2<f64>), units: f64) {
    for (a, b) in a.0.iter().zip(&b.0).chain(a.1.iter().zip(&b.1)) {
        assert!((a - b).abs() <= units * U * b.abs(), "{a:e} and {b:e}");
    }
}

fn compared(rows: &Rows) -> impl Fn(Box<dyn RowLoss>, Box<dyn RowLoss>, f64) + '_ {
    #[derive(Debug)]
    struct Boxed(Box<dyn RowLoss>);
    impl RowLoss for Boxed {
        fn needs(&self) -> surprisal::loss::Needs {
            self.0.needs()
        }
        fn evaluate(&self, row: &surprisal::loss::RowScalars) -> surprisal::loss::Terms {
            self.0.evaluate(row)
        }
    }
    |a, b, units| same(&rows.of(Boxed(a)), &rows.of(Boxed(b)), units)
}

#[test]
fn losses_are_each_other_at_their_ends() {
    fn boxed(loss: impl RowLoss + 'static) -> Box<dyn RowLoss> {
        Box::new(loss)
    }
    let cross_entropy = || boxed(CrossEntropy::default());
    let half = || boxed(MeanAbsoluteError::half());
    for rows in all_rows() {
        let compare = compared(&rows);
        compare(boxed(CompSum::new(1.0).unwrap()), cross_entropy(), 0.0);
        compare(boxed(GeneralizedCrossEntropy::new(0.0).unwrap()), cross_entropy(), 0.0);
        compare(boxed(Focal::new(0.0).unwrap()), cross_entropy(), 0.0);
        compare(boxed(Poly1::new(0.0).unwrap()), cross_entropy(), 0.0);
        compare(boxed(DirectCoverage::new(1.0).unwrap()), cross_entropy(), 0.0);
        compare(boxed(MixedCrossEntropy::new(1.0).unwrap()), cross_entropy(), 0.0);
        compare(boxed(Tailored::new(1.0, 0.2, 1.0).unwrap()), cross_entropy(), 0.0);
        let hard =
            |alpha, beta, clip| boxed(HardSymmetricCrossEntropy::new(alpha, beta, clip).unwrap());
        compare(hard(1.0, 0.0, -4.0), cross_entropy(), 0.0);
        compare(hard(0.0, 1.0, -1.0), half(), 4.0);
        // e^(−q s) of a q that is rounded: q s, below 60, times a unit.
        for q in [0.1, 0.7, 1.0] {
            let (a, b) = (CompSum::new(1.0 + q), GeneralizedCrossEntropy::new(q));
            compare(boxed(a.unwrap()), boxed(b.unwrap()), 128.0);
        }
        compare(boxed(CompSum::new(2.0).unwrap()), half(), 64.0);
        compare(boxed(GeneralizedCrossEntropy::new(1.0).unwrap()), half(), 64.0);
        compare(boxed(AsymmetricGeneralizedCrossEntropy::new(0.5, 1.0).unwrap()), half(), 16.0);
        compare(boxed(AsymmetricUnhinged::new(1.5, 1.0).unwrap()), half(), 16.0);
    }
}

#[test]
fn comp_sums_fall_with_tau_and_are_bounded_beyond_1() {
    for rows in all_rows() {
        let s = rows.surprisals();
        let taus = [0.0, 0.3, 1.0 - 1e-9, 1.0, 1.0 + 1e-9, 1.5, 2.0, 3.0];
        let all = taus.map(|tau| rows.values(CompSum::new(tau).unwrap()));
        for i in 0..s.len() {
            for (pair, tau) in all.windows(2).zip(&taus[1..]) {
                assert!(pair[1][i] <= pair[0][i] * (1.0 + 8.0 * U), "{tau}");
                let bound = if *tau > 1.0 { 1.0 / (tau - 1.0) } else { f64::INFINITY };
                assert!(pair[1][i] >= 0.0 && pair[1][i] <= bound);
            }
            for q in [1e-12, 1e-6, 1e-3] {
                // s − L lies between q s²/2 − q² s³/6 and q s²/2.
                let value = rows.values(GeneralizedCrossEntropy::new(q).unwrap())[i];
                let (gap, most) = (s[i] - value, q * s[i] * s[i] / 2.0);
                let rounded = 4.0 * U * s[i];
                assert!(gap <= most + rounded && gap >= most * (1.0 - q * s[i] / 3.0) - rounded);
                if i > 2 {
                    break;
                }
            }
        }
        let truncated = GeneralizedCrossEntropy::new(0.7).unwrap().truncated(0.3).unwrap();
        let whole = rows.values(GeneralizedCrossEntropy::new(0.7).unwrap());
        let (values, g) = rows.of(truncated);
        let most = (1.0 - 0.3_f64.powf(0.7)) / 0.7;
        for i in 0..values.len() {
            assert!((values[i] - whole[i].min(most)).abs() <= 8.0 * U * most);
            assert_eq!(s[i] > -0.3_f64.ln(), g.row(i).iter().all(|&x| x == 0.0));
        }
    }
}

#[test]
fn focal_and_coverage_fall_to_nothing() {
    for rows in all_rows() {
        let s = rows.surprisals();
        let ns = [1.0, 1.5, 4.0, 256.0, 1e12].map(|n| rows.values(DirectCoverage::new(n).unwrap()));
        let gammas = [0.0, 0.5, 2.0, 5.0].map(|gamma| rows.values(Focal::new(gamma).unwrap()));
        for i in 0..s.len() {
            for pair in ns.windows(2).chain(gammas.windows(2)) {
                assert!(pair[1][i] >= 0.0 && pair[1][i] <= pair[0][i] * (1.0 + 8.0 * U));
            }
            // (1−p)^n ≤ e^(−n p).
            if s[i] < 20.0 {
                assert!(ns[4][i] < 1e-300, "{:e}", ns[4][i]);
            }
        }
    }
    let classes = 10;
    let even = Rows { logits: Array2::zeros((1, classes)), targets: vec![3] };
    for n in [1.0, 2.0, 64.0, 4096.0] {
        let missed = 0.9_f64.powf(n);
        let expected = -(-missed).ln_1p();
        let value = even.values(DirectCoverage::new(n).unwrap())[0];
        assert!((value / expected - 1.0).abs() < 4.0 * U * (1.0 + n), "{value:e}, {expected:e}");
    }
}

#[test]
fn bounded_losses_keep_their_bounds() {
    for rows in all_rows() {
        let within = |loss: &dyn Fn() -> Array1<f64>, most: f64| {
            assert!(loss().iter().all(|&x| x >= 0.0 && x <= most * (1.0 + 4.0 * U)), "{most}");
        };
        for (a, q) in [(1.0_f64, 2.0), (0.1, 0.5), (1e-12, 0.7)] {
            let loss = AsymmetricGeneralizedCrossEntropy::new(a, q).unwrap();
            within(&|| rows.values(loss), ((a + 1.0).powf(q) - a.powf(q)) / q);
        }
        for (a, q) in [(1.5_f64, 0.9), (3.0, 2.0)] {
            let loss = AsymmetricUnhinged::new(a, q).unwrap();
            within(&|| rows.values(loss), (a.powf(q) - (a - 1.0).powf(q)) / q);
        }
        within(&|| rows.values(MeanAbsoluteError::whole()), 2.0);
        within(&|| rows.values(NormalizedCrossEntropy), 1.0);
        within(&|| rows.values(CorrectnessCalibration::default()), 1.0);
        within(&|| rows.values(EntropyBonus::new(1.0).unwrap()), rows.classes().ln());
        // With a → 0 the first is generalized cross-entropy: p^q moves by a p^(q−1), and 1 by a.
        let near = rows.values(AsymmetricGeneralizedCrossEntropy::new(1e-12, 0.7).unwrap());
        let (limit, s) =
            (rows.values(GeneralizedCrossEntropy::new(0.7).unwrap()), rows.surprisals());
        for i in 0..s.len() {
            let bound = 1e-12 * (1.0 + (0.3 * s[i]).exp()) + 8.0 * U;
            assert!((near[i] - limit[i]).abs() <= bound);
        }
        // Over all targets of a row the normalised ones sum to 1, and the absolute errors to 2 (V − 1).
        let of_all = |loss: &dyn Fn(&Rows) -> Array1<f64>| {
            let mut sum = Array1::<f64>::zeros(60);
            for y in 0..rows.logits.dim().1 {
                let logits = rows.logits.clone();
                sum += &loss(&Rows { logits, targets: vec![y as u32; 60] });
            }
            sum
        };
        let ones = of_all(&|rows| rows.values(NormalizedCrossEntropy));
        assert!(ones.iter().all(|x| (x - 1.0).abs() < 4.0 * U * rows.classes()));
        let others = of_all(&|rows| rows.values(MeanAbsoluteError::whole()));
        let expected = 2.0 * (rows.classes() - 1.0);
        // Each is off by some units, and each partial sum by half of one of itself.
        let bound = U * rows.classes() * (8.0 + rows.classes());
        assert!(others.iter().all(|x| (x - expected).abs() < bound));
    }
}

#[test]
fn robust_losses_lie_between_the_mean_margin_and_the_largest() {
    let of =
        |rows: &Rows, margin, lambda| rows.at(DistributionallyRobust::new(margin).unwrap(), lambda);
    for rows in all_rows() {
        let (s, uniform) = (rows.surprisals(), rows.classes().ln());
        let plain = of(&rows, 0.0, 1.0).0;
        let margins = rows.margins();
        let lambdas = [1e-3, 0.1, 1.0, 10.0, 1e4];
        let all = lambdas.map(|lambda| of(&rows, 0.0, lambda).0);
        let small = of(&rows, 0.5, 1e-3).0;
        for i in 0..s.len() {
            assert!((plain[i] - (s[i] - uniform)).abs() <= 8.0 * U * (s[i] + uniform));
            let row = margins.row(i);
            let size = row.fold(1.0_f64, |m, x| m.max(x.abs()));
            for (pair, lambda) in all.windows(2).zip(&lambdas[1..]) {
                assert!(pair[1][i] <= pair[0][i] + 8.0 * U * (size + lambda * uniform));
            }
            // To the second order it is the variance of the margins over 2λ from their mean.
            let bound = size * size / lambdas[4] + 8.0 * U * lambdas[4] * uniform;
            assert!((all[4][i] - row.mean().unwrap()).abs() <= bound);
            let largest = row.fold(0.0_f64, |m, &x| m.max(x));
            assert!((all[0][i] - largest).abs() <= 1e-3 * uniform + 8.0 * U * size);
            let others = (0..row.len()).filter(|&v| v != rows.targets[i] as usize);
            let largest = others.map(|v| row[v] + 0.5).fold(0.0_f64, f64::max);
            assert!((small[i] - largest).abs() <= 1e-3 * uniform + 8.0 * U * (size + 1.0));
        }
        // The margin makes a row worse, by at most itself.
        let margin = of(&rows, 0.5, 1.0).0;
        for (with, without) in margin.iter().zip(&plain) {
            let off = 8.0 * U * (with.abs() + uniform);
            assert!(with - without >= -off && with - without <= 0.5 + off);
        }
    }
}

/// No loss of differences of logits sees what they have in common.
#[test]
fn gradients_sum_to_nothing_over_the_classes() {
    for rows in all_rows() {
        let (rows_count, classes) = rows.logits.dim();
        let mut costs = Array2::from_elem((rows_count, classes), 3.0);
        rows.targets.iter().enumerate().for_each(|(i, &y)| costs[[i, y as usize]] = 0.0);
        for named in losses().into_iter().filter(|named| !named.shifts) {
            let loss = named.builder.clone().reduction(Reduction::Sum).build().unwrap();
            let mut g = Array2::<f64>::zeros(rows.logits.dim());
            let mut inputs = Inputs::from_logits(&rows.logits, &rows.targets[..]);
            if named.costs != Costs::None {
                inputs = inputs.companion(Companion::entries(&costs));
            }
            let gradients = Gradients::new().logits(&mut g);
            loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
            let sizes = g.mapv(f64::abs).sum_axis(Axis(1));
            // p is off by some units of ln p, below 60, relatively. What is of all classes is a difference of sums,
            // which are of the size of its slopes, below 8.
            let of_all = ["Normalized", "Entropy { label", "EntropyBonus"];
            let of_all = of_all.iter().any(|own| named.name.contains(own));
            let of_all = of_all || named.costs != Costs::None;
            let beside = if of_all { 64.0 * U } else { 0.0 };
            for (sum, size) in g.sum_axis(Axis(1)).iter().zip(&sizes) {
                let bound = 128.0 * U * size + beside;
                assert!(sum.abs() <= bound, "{}: {sum:e} of {size:e}", named.name);
            }
        }
    }
}

#[test]
fn calibration_takes_confidence_from_wrong_rows() {
    let penalties = [
        CorrectnessPenalty::Squared,
        CorrectnessPenalty::Absolute,
        CorrectnessPenalty::CrossEntropy,
    ];
    for rows in all_rows() {
        for penalty in penalties {
            let (values, g) = rows.of(CorrectnessCalibration::new(penalty));
            for (i, row) in rows.logits.rows().into_iter().enumerate() {
                let most =
                    (0..row.len()).fold(0, |best, v| if row[v] > row[best] { v } else { best });
                let right = most == rows.targets[i] as usize;
                assert!(values[i] >= 0.0);
                // Down the gradient: up where right, down where wrong, whatever the target is.
                assert_eq!(g[[i, most]] <= 0.0, right, "{penalty:?}: {}", g[[i, most]]);
            }
        }
    }
}

#[test]
fn entropy_is_largest_and_flat_where_all_classes_are_alike() {
    for classes in [2, 9, 300] {
        let even = Rows { logits: Array2::from_elem((1, classes), 0.75), targets: vec![0] };
        let (value, g) = even.of(EntropyBonus::new(1.0).unwrap());
        assert!((value[0] - (classes as f64).ln()).abs() < 8.0 * U);
        assert!(g.iter().all(|x| x.abs() < 8.0 * U), "{g}");
    }
}

/// Classes at right angles cost 1 each, so D is 1 − p_y; classes in one direction cost nothing.
#[test]
fn the_distance_of_an_embedding_has_its_ends() {
    for rows in all_rows() {
        let classes = rows.logits.dim().1;
        let run = |loss: EarthMoverOrCost, embedding: &Array2<f64>| {
            let costs = EmbeddingCost::<f64>::new(embedding).unwrap();
            let of_rows = costs.rows(&rows.targets).unwrap();
            let builder = LinearCrossEntropy::builder().reduction(Reduction::None);
            let loss = match loss {
                EarthMoverOrCost::Cost => builder.row_loss(ExpectedCost),
                EarthMoverOrCost::Mover(mover) => builder.row_loss(mover),
            };
            let mut g = Array2::<f64>::zeros(rows.logits.dim());
            let inputs = Inputs::from_logits(&rows.logits, &rows.targets[..]);
            let inputs = inputs.companion(costs.companion(&of_rows));
            let gradients = Gradients::new().logits(&mut g);
            let loss = loss.build().unwrap();
            let forward = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients);
            (forward.unwrap().losses(), g)
        };
        let right_angles = Array2::from_diag(&Array1::linspace(0.5, 4.0, classes));
        let distance = run(EarthMoverOrCost::Cost, &right_angles);
        same(
            &(distance.0.clone(), Array2::zeros((0, 0))),
            &(rows.values(MeanAbsoluteError::half()), Array2::zeros((0, 0))),
            64.0,
        );
        let direction =
            Array2::from_shape_fn((classes, 3), |(v, j)| (v + 1) as f64 * [0.3, -2.0, 0.7][j]);
        let (none, g) = run(EarthMoverOrCost::Cost, &direction);
        assert!(none.iter().chain(&g).all(|x| x.abs() < 8.0 * U));
        // The paper's value is s, but for ε beside D; its gradient is half of both.
        let (s, by_s) = rows.of(CrossEntropy::default());
        let (value, by_paper) = run(EarthMoverOrCost::Mover(EarthMover::paper()), &right_angles);
        let (d, by_d) = distance;
        let continual = run(EarthMoverOrCost::Mover(EarthMover::continual()), &right_angles).0;
        for i in 0..s.len() {
            let off = 1e-10 / (d[i] + 1e-10);
            assert!((value[i] - s[i]).abs() <= s[i] * (off + 8.0 * U));
            let with_target = d[i] + (-s[i]).exp();
            let (expected, off) = (2.0 * with_target, with_target * 1e-10 / (s[i] + 1e-10));
            assert!((continual[i] - expected).abs() <= off + 16.0 * U * expected);
            for v in 0..classes {
                let ratio = s[i] / (d[i] + 1e-10);
                let expected = 0.5 * (by_s[[i, v]] + ratio * by_d[[i, v]]);
                let size = by_s[[i, v]].abs() + ratio * by_d[[i, v]].abs();
                assert!((by_paper[[i, v]] - expected).abs() <= 64.0 * U * (size + U * ratio));
            }
        }
    }
}

enum EarthMoverOrCost {
    Cost,
    Mover(EarthMover),
}

/// An attack that moves nothing leaves the comp-sum loss at its ρ, and a penalty is of the norm of what is moved.
#[test]
fn an_attack_that_moves_nothing_costs_nothing() {
    for rows in all_rows() {
        let comp_sum = CompSum::new(1.5).unwrap();
        let (value, g) = rows.at(comp_sum, 2.0);
        let loss = SmoothAdversarial::new(1.5, 2.0, 3.0).unwrap();
        let found = loss.losses(&rows.logits, &rows.logits, &rows.targets).unwrap();
        same(&(found.losses, found.by_clean), &(value.clone(), g), 64.0);
        assert!(found.by_attacked.iter().all(|&x| x == 0.0));
        // All but the target up by 1: each margin moves by 1.
        let up = Array2::from_shape_fn(rows.logits.dim(), |(i, v)| {
            rows.logits[[i, v]] + f64::from(u8::from(v != rows.targets[i] as usize))
        });
        let found = loss.losses(&rows.logits, &up, &rows.targets).unwrap();
        let penalty = 3.0 * (rows.classes() - 1.0).sqrt();
        for (a, b) in found.losses.iter().zip(&value) {
            assert!((a - b - penalty).abs() < 256.0 * U * (penalty + b));
        }
        let sums = found.by_attacked.sum_axis(Axis(1));
        assert!(sums.iter().all(|x| x.abs() < 16.0 * U * penalty));
    }
}
