//! What holds for every loss, on random shapes, options and data.

use ndarray::{Array1, Array2, Axis, s};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use surprisal::{
    Forward, Gradients, Inputs, LinearCrossEntropy, LinearCrossEntropyBuilder, Reduction, Shard,
    Statistic, Targets, TopK, Upstream,
};
use testing::route::{Bounds, Door, Precision, Route, agrees, run, within};
use testing::{Case, Stream, Wanted};

/// Failures are to become tests of their own, not files of seeds.
/// The same cases on every run, unless `PROPTEST_RNG_SEED` names others.
fn config(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    let rng_seed = match default.rng_seed {
        RngSeed::Random => RngSeed::Fixed(1),
        fixed => fixed,
    };
    ProptestConfig { cases, rng_seed, failure_persistence: None, ..default }
}

/// Shapes and options that shrink; the numbers hang on the seed.
#[derive(Clone, Debug)]
struct Recipe {
    rows: usize,
    width: usize,
    classes: usize,
    seed: u64,
    bias: bool,
    class_weights: bool,
    token_weights: bool,
    soft: bool,
    ignored: bool,
    scale: f64,
    softcap: Option<f64>,
    label_smoothing: f64,
    z_loss: f64,
    reduction: Reduction,
    /// 0 for quiet logits, more for confident rows.
    sharpness: f64,
}

fn reductions() -> impl Strategy<Value = Reduction> {
    prop_oneof![
        Just(Reduction::None),
        Just(Reduction::Mean),
        Just(Reduction::Sum),
        (0.5..20.0).prop_map(Reduction::Divide),
    ]
}

fn recipes() -> impl Strategy<Value = Recipe> {
    let classes = prop_oneof![8 => 1..70_usize, 1 => 250..1100_usize, 1 => 1900..2100_usize];
    let shapes = (1..40_usize, 0..40_usize, classes, any::<u64>());
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let scale = prop_oneof![3 => Just(1.0), 1 => Just(0.25), 1 => Just(-2.0), 1 => Just(0.0)];
    let softcap = prop_oneof![2 => Just(None), 1 => (0.3..40.0).prop_map(Some)];
    let smoothing = prop_oneof![2 => Just(0.0), 2 => 0.0..1.0, 1 => Just(1.0)];
    let z_loss = prop_oneof![2 => Just(0.0), 1 => 0.0..0.1];
    let options = (scale, softcap, smoothing, z_loss, reductions(), 0.1..6.0);
    (shapes, flags, options).prop_map(|(shapes, flags, options)| {
        let (rows, width, classes, seed) = shapes;
        let (bias, class_weights, token_weights, soft, ignored) = flags;
        let (scale, softcap, label_smoothing, z_loss, reduction, sharpness) = options;
        Recipe {
            rows,
            width,
            classes,
            seed,
            bias,
            class_weights,
            token_weights,
            soft,
            ignored,
            scale,
            softcap,
            label_smoothing,
            z_loss,
            reduction,
            sharpness,
        }
    })
}

impl Recipe {
    fn case(&self) -> Case {
        let mut stream = Stream(self.seed);
        let (rows, classes) = (self.rows, self.classes);
        let spread = self.sharpness / (self.width.max(1) as f64).sqrt();
        let hidden = stream.matrix(rows, self.width, spread);
        let classifier = stream.matrix(classes, self.width, 1.0);
        let mut targets = stream.classes(rows, classes);
        if self.ignored {
            for target in targets.iter_mut() {
                *target = if stream.uniform() < 0.3 { -100 } else { *target };
            }
        }
        let targets = match self.soft {
            false => Wanted::Hard(targets),
            true => Wanted::Soft(Array2::from_shape_simple_fn((rows, classes), || {
                (stream.uniform() - 0.5).max(0.0) * 4.0 / classes as f64
            })),
        };
        let mut case = Case::new(hidden, classifier, targets);
        case.bias = self.bias.then(|| stream.vector(classes, 1.0));
        let mut weights = Array1::from_shape_simple_fn(classes, || stream.uniform());
        weights[0] = 0.0;
        case.class_weights = (self.class_weights && classes > 1).then_some(weights);
        case.token_weights = self.token_weights.then(|| stream.vector(rows, 1.0));
        case.scale = self.scale;
        case.softcap = self.softcap;
        case.label_smoothing = self.label_smoothing;
        case.z_loss = self.z_loss;
        case.reduction = self.reduction;
        case.d_loss = match self.reduction {
            Reduction::None => stream.vector(rows, 1.0),
            _ => Array1::ones(rows),
        };
        case.d_log_sum_exp = Some(stream.vector(rows, 1.0));
        case.d_entropy = Some(stream.vector(rows, 1.0));
        case
    }
}

/// A mean over classes whose weights sum to 0 is NaN, as are its gradients.
fn divides_by_zero(case: &Case) -> bool {
    let Wanted::Hard(targets) = &case.targets else { return false };
    let kept = targets.iter().filter(|&&y| y >= 0);
    let weight = |y: &i64| case.class_weights.as_ref().map_or(1.0, |w| w[*y as usize]);
    case.reduction == Reduction::Mean && kept.map(weight).sum::<f64>() == 0.0
}

fn routes() -> impl Strategy<Value = Route> {
    proptest::sample::select(Route::all())
}

fn double(door: Door) -> Route {
    let route = Route::all().into_iter().rev();
    let mut best = route.filter(|route| route.precision == Precision::Double && route.door == door);
    best.next().expect("some instruction set is always available")
}

const U: f64 = 1.0 / (1_u64 << 53) as f64;

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn every_number_is_that_of_the_plain_implementation(recipe in recipes(), route in routes()) {
        let case = recipe.case();
        prop_assume!(!divides_by_zero(&case));
        agrees(&case, &run(&case, route), route);
        let mut given = case;
        given.hidden = given.logits().0 / 4.0;
        given.given = true;
        agrees(&given, &run(&given, route), route);
    }

    /// Both strategies, the smallest budget that works and a large one.
    #[test]
    fn strategy_and_budget_make_no_difference(recipe in recipes(), route in routes()) {
        let case = recipe.case();
        prop_assume!(!divides_by_zero(&case));
        for door in [Door::Recompute, Door::Strip, Door::Vjp] {
            for kib in [1, 300, 900, 1500, 3000, 9000] {
                let route = Route { door, memory_budget: kib << 10, ..route };
                match testing::route::try_run(&case, route) {
                    Ok(outcome) => agrees(&case, &outcome, route),
                    Err(error) => {
                        let expected = matches!(error, surprisal::Error::MemoryBudget { .. });
                        prop_assert!(expected, "{}", error);
                    }
                }
            }
        }
    }

    #[test]
    fn a_permutation_of_the_vocabulary_permutes_the_gradient(recipe in recipes(), route in routes()) {
        let case = recipe.case();
        prop_assume!(!divides_by_zero(&case));
        let mut stream = Stream(recipe.seed ^ 1);
        let mut order: Vec<usize> = (0..recipe.classes).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, (stream.bits() % (i as u64 + 1)) as usize);
        }
        let mut place = vec![0; order.len()];
        for (new, &old) in order.iter().enumerate() {
            place[old] = new;
        }
        let mut permuted = case.clone();
        permuted.classifier = case.classifier.select(Axis(0), &order);
        permuted.bias = case.bias.as_ref().map(|b| b.select(Axis(0), &order));
        permuted.class_weights = case.class_weights.as_ref().map(|w| w.select(Axis(0), &order));
        permuted.targets = match &case.targets {
            Wanted::Hard(y) => Wanted::Hard(
                y.iter().map(|&y| if y < 0 { y } else { place[y as usize] as i64 }).collect(),
            ),
            Wanted::Soft(t) => Wanted::Soft(t.select(Axis(1), &order)),
        };
        let (a, b) = (run(&case, route), run(&permuted, route));
        let rounded = case.rounded(route);
        let bounds = Bounds::of(&rounded, &rounded.run(), 2.0 * route.unit());
        within("losses", &route, &b.losses, &a.losses, &bounds.losses);
        within("entropy", &route, &b.entropy, &a.entropy, &bounds.entropy);
        within("dE", &route, &b.d_hidden, &a.d_hidden, &bounds.d_hidden);
        let (d_classifier, d_bias) =
            (a.d_classifier.select(Axis(0), &order), a.d_bias.select(Axis(0), &order));
        let bound = (bounds.d_classifier.select(Axis(0), &order), bounds.d_bias.select(Axis(0), &order));
        within("dC", &route, &b.d_classifier, &d_classifier, &bound.0);
        within("db", &route, &b.d_bias, &d_bias, &bound.1);
    }

    /// The softmax does not see a constant, and what it does not see has no gradient:
    /// Σ_v db_v = 0 and Σ_v dC_v = 0.
    #[test]
    fn a_constant_bias_changes_nothing(recipe in recipes(), route in routes(), shift in -20.0..20.0) {
        let mut case = recipe.case();
        case.softcap = None;
        case.z_loss = 0.0;
        case.d_log_sum_exp = None;
        prop_assume!(!divides_by_zero(&case));
        let mut shifted = case.clone();
        let bias = case.bias.clone().unwrap_or_else(|| Array1::zeros(recipe.classes));
        shifted.bias = Some(bias + shift);
        let (a, b) = (run(&case, route), run(&shifted, route));
        let bounds = |case: &Case| {
            let case = case.rounded(route);
            Bounds::of(&case, &case.run(), route.unit())
        };
        // The shifted bias is rounded too, by u(|b| + 20); the bounds of its logits hold that.
        let (mine, theirs) = (bounds(&case), bounds(&shifted));
        within("losses", &route, &b.losses, &a.losses, &(&mine.losses + &theirs.losses));
        within("entropy", &route, &b.entropy, &a.entropy, &(&mine.entropy + &theirs.entropy));
        within("dE", &route, &b.d_hidden, &a.d_hidden, &(&mine.d_hidden + &theirs.d_hidden));
        let bound = &mine.d_classifier + &theirs.d_classifier;
        within("dC", &route, &b.d_classifier, &a.d_classifier, &bound);
        within("Σ db", &route, [&a.d_bias.sum()], [&0.0], [&mine.d_bias.sum()]);
        let sums = a.d_classifier.sum_axis(Axis(0));
        let zeros = Array1::zeros(recipe.width);
        within("Σ dC", &route, &sums, &zeros, &mine.d_classifier.sum_axis(Axis(0)));
    }

    /// Gradients of 2g + 3h are twice those of g and thrice those of h.
    #[test]
    fn gradients_are_linear_in_the_upstream(recipe in recipes(), door in prop_oneof![Just(Door::Strip), Just(Door::Vjp)]) {
        let mut case = recipe.case();
        case.reduction = Reduction::None;
        let route = double(door);
        let mut stream = Stream(recipe.seed ^ 2);
        let mut other = case.clone();
        other.d_loss = stream.vector(recipe.rows, 1.0);
        other.d_log_sum_exp = Some(stream.vector(recipe.rows, 1.0));
        other.d_entropy = Some(stream.vector(recipe.rows, 1.0));
        let mut both = case.clone();
        let join = |a: &Array1<f64>, b: &Array1<f64>| a * 2.0 + b * 3.0;
        both.d_loss = join(&case.d_loss, &other.d_loss);
        both.d_log_sum_exp =
            Some(join(case.d_log_sum_exp.as_ref().unwrap(), other.d_log_sum_exp.as_ref().unwrap()));
        both.d_entropy =
            Some(join(case.d_entropy.as_ref().unwrap(), other.d_entropy.as_ref().unwrap()));
        let bounds = |case: &Case| Bounds::of(case, &case.run(), route.unit());
        let (a, b, c) = (run(&case, route), run(&other, route), run(&both, route));
        let (x, y, z) = (bounds(&case), bounds(&other), bounds(&both));
        let expected = &a.d_hidden * 2.0 + &b.d_hidden * 3.0;
        let bound = &x.d_hidden * 2.0 + &y.d_hidden * 3.0 + &z.d_hidden;
        within("dE", &route, &c.d_hidden, &expected, &bound);
        let expected = &a.d_classifier * 2.0 + &b.d_classifier * 3.0;
        let bound = &x.d_classifier * 2.0 + &y.d_classifier * 3.0 + &z.d_classifier;
        within("dC", &route, &c.d_classifier, &expected, &bound);
    }
}

proptest! {
    #![proptest_config(config(48))]

    /// Central differences of Σ gᵢ lossᵢ + aᵢ lseᵢ + bᵢ Hᵢ.
    #[test]
    fn gradients_are_those_of_the_differences(recipe in recipes()) {
        let recipe = Recipe {
            rows: recipe.rows.min(6),
            width: recipe.width.min(4),
            classes: recipe.classes.min(9),
            sharpness: recipe.sharpness.min(2.0),
            reduction: Reduction::None,
            ..recipe
        };
        let mut case = recipe.case();
        case.bias = Some(case.bias.unwrap_or_else(|| Array1::zeros(case.classifier.dim().0)));
        let route = double(Door::Recompute);
        let value = |case: &Case| {
            let outcome = run(case, route);
            let lse = case.d_log_sum_exp.as_ref().unwrap() * &outcome.log_sum_exp;
            let entropy = case.d_entropy.as_ref().unwrap() * &outcome.entropy;
            (&case.d_loss * &outcome.losses + lse + entropy).sum()
        };
        let outcome = run(&case, route);
        let h = 1e-5;
        // h² times a third derivative, and the rounding of the values over h.
        let size = |case: &Case| {
            let largest = |a: &Array2<f64>| a.iter().fold(1.0_f64, |m, x| m.max(x.abs()));
            largest(&case.hidden).max(largest(&case.classifier)) * case.scale.abs().max(1.0)
        };
        let terms = (recipe.rows * 8) as f64;
        let lse = outcome.log_sum_exp.iter().fold(1.0_f64, |m, x| m.max(x.abs()));
        let steep = (1.0 + case.softcap.map_or(0.0, |c| 1.0 / c)).powi(2);
        let bound = terms * lse * (30.0 * h * h * size(&case).powi(3) * steep + 300.0 * U / h * lse);
        let check = |name: &str, at: (usize, usize), found: f64, change: &dyn Fn(&mut Case, f64)| {
            let (mut up, mut down) = (case.clone(), case.clone());
            change(&mut up, h);
            change(&mut down, -h);
            let expected = (value(&up) - value(&down)) / (2.0 * h);
            assert!(
                (found - expected).abs() <= bound,
                "{name}{at:?} is {found:e}, differences say {expected:e} within {bound:e}"
            );
        };
        for (at, &g) in outcome.d_hidden.indexed_iter() {
            check("dE", at, g, &|case, h| case.hidden[at] += h);
        }
        for (at, &g) in outcome.d_classifier.indexed_iter() {
            check("dC", at, g, &|case, h| case.classifier[at] += h);
        }
        for (v, &g) in outcome.d_bias.indexed_iter() {
            check("db", (v, 0), g, &|case, h| case.bias.as_mut().unwrap()[v] += h);
        }
    }
}

/// Everything of one call in f32, as bits.
#[cfg_attr(not(feature = "parallel"), allow(dead_code))]
fn bits(builder: LinearCrossEntropyBuilder, case: &Case, narrow: bool) -> Vec<u64> {
    let hidden = case.hidden.mapv(|x| x as f32);
    let classifier = case.classifier.mapv(|x| x as f32);
    let targets = match &case.targets {
        Wanted::Hard(classes) => Targets::from(classes),
        Wanted::Soft(weights) => Targets::soft(weights),
    };
    let hard = matches!(case.targets, Wanted::Hard(_));
    let loss = builder.entropy(true).varentropy(true).rank(hard).top_k(3).build().unwrap();
    let mut inputs = Inputs::new(hidden.view(), classifier.view(), targets);
    if let Some(bias) = &case.bias {
        inputs = inputs.bias(bias.view());
    }
    let d_entropy = case.d_entropy.as_ref().unwrap().mapv(|x| x as f32);
    let upstream = Upstream::default().entropy(d_entropy.view());
    let mut d_hidden = Array2::from_elem(hidden.dim(), 0.5_f32);
    let mut d_classifier = Array2::from_elem(classifier.dim(), 0.5_f32);
    let mut d_narrow = classifier.mapv(half::bf16::from_f32);
    let mut d_bias = Array1::from_elem(classifier.dim().0, 0.5_f32);
    let gradients = Gradients::new().accumulate_hidden(d_hidden.view_mut()).bias(d_bias.view_mut());
    let gradients = match narrow {
        true => gradients.accumulate_classifier(d_narrow.view_mut()),
        false => gradients.classifier(d_classifier.view_mut()),
    };
    let forward = loss.loss_and_gradients(&inputs, &upstream, gradients).unwrap();
    let mut again = d_hidden.clone();
    let gradients = Gradients::new().hidden(again.view_mut());
    loss.vjp(&inputs, &loss.forward(&inputs).unwrap(), &upstream, gradients).unwrap();
    let varentropy = forward.statistic(Statistic::Varentropy).unwrap();
    let TopK { classes, log_probabilities: top, .. } = forward.top_k();
    let mut bits = vec![forward.loss().to_bits()];
    for floats in [forward.losses(), forward.log_sum_exp(), varentropy] {
        bits.extend(floats.iter().map(|x| x.to_bits()));
    }
    bits.extend(top.iter().map(|x| x.to_bits()));
    for floats in [d_hidden, d_classifier, d_narrow.mapv(f32::from), again] {
        bits.extend(floats.iter().map(|x| u64::from(x.to_bits())));
    }
    bits.extend(d_bias.iter().map(|x| u64::from(x.to_bits())));
    bits.extend(forward.argmax().iter().chain(&classes).map(|&v| v as u64));
    bits
}

#[cfg(feature = "parallel")]
#[test]
fn the_number_of_threads_changes_no_bit() {
    use surprisal::{Backward, Isa};

    let shapes = [(3, 5, 40), (700, 9, 2100), (1500, 300, 530), (40, 260, 9000)];
    for (i, (rows, width, classes)) in shapes.into_iter().enumerate() {
        let recipe = Recipe {
            rows,
            width,
            classes,
            seed: i as u64,
            bias: true,
            class_weights: false,
            token_weights: false,
            soft: i == 1,
            ignored: true,
            scale: 1.0,
            softcap: (i == 2).then_some(10.0),
            label_smoothing: 0.1,
            z_loss: 0.01,
            reduction: Reduction::Mean,
            sharpness: 2.0,
        };
        let case = recipe.case();
        for isa in Isa::available() {
            for backward in [Backward::Recompute, Backward::Strip] {
                // A budget under which several strips are made, and not all threads have scratch.
                for (budget, narrow) in [(256 << 20, false), (24 << 20, false), (24 << 20, true)] {
                    let builder = case.builder().isa(isa).backward(backward).memory_budget(budget);
                    let mut expected = None;
                    for threads in [1, 2, 7] {
                        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                        let builder = builder.clone();
                        let found = pool.unwrap().install(|| bits(builder, &case, narrow));
                        let expected = expected.get_or_insert_with(|| found.clone());
                        assert!(
                            found == *expected,
                            "{threads} threads {backward:?} {isa:?} {budget}"
                        );
                    }
                }
            }
        }
    }
}

fn hard_recipes() -> impl Strategy<Value = Recipe> {
    recipes().prop_map(|recipe| Recipe { soft: false, ..recipe })
}

fn with_weights<'a>(mut inputs: Inputs<'a>, case: &'a Case) -> Inputs<'a> {
    if let Some(weights) = &case.class_weights {
        inputs = inputs.class_weights(weights.view());
    }
    if let Some(weights) = &case.token_weights {
        inputs = inputs.token_weights(weights.view());
    }
    inputs
}

fn upstream_of(case: &Case) -> Upstream<'_> {
    let upstream = match case.reduction {
        Reduction::None => Upstream::rows(case.d_loss.view()),
        _ => Upstream::default(),
    };
    let upstream = upstream.log_sum_exp(case.d_log_sum_exp.as_ref().unwrap().view());
    upstream.entropy(case.d_entropy.as_ref().unwrap().view())
}

fn loss_of(case: &Case, top_k: usize) -> LinearCrossEntropy {
    case.builder().entropy(true).varentropy(true).rank(true).top_k(top_k).build().unwrap()
}

proptest! {
    #![proptest_config(config(128))]

    #[test]
    fn shards_make_the_whole(recipe in hard_recipes(), shards in 1..6_usize, top_k in 0..6_usize) {
        let case = recipe.case();
        prop_assume!(!divides_by_zero(&case));
        let Wanted::Hard(targets) = &case.targets else { unreachable!() };
        let loss = loss_of(&case, top_k);
        let classes = recipe.classes;
        let mut stream = Stream(recipe.seed ^ 3);
        let mut cuts: Vec<usize> =
            (1..shards).map(|_| (stream.bits() % (classes as u64 + 1)) as usize).collect();
        cuts.extend([0, classes]);
        cuts.sort_unstable();
        let ranges: Vec<_> = cuts.windows(2).map(|pair| pair[0]..pair[1]).collect();
        let whole = {
            let inputs = Inputs::new(case.hidden.view(), case.classifier.view(), targets);
            let inputs = with_weights(inputs, &case);
            let inputs = match &case.bias {
                Some(bias) => inputs.bias(bias.view()),
                None => inputs,
            };
            loss.forward(&inputs).unwrap()
        };
        let part = |range: &std::ops::Range<usize>| {
            let classifier = case.classifier.slice(s![range.clone(), ..]);
            let inputs = Inputs::new(case.hidden.view(), classifier, targets);
            let inputs = with_weights(inputs, &case);
            let inputs = match &case.bias {
                Some(bias) => inputs.bias(bias.slice(s![range.clone()])),
                None => inputs,
            };
            inputs.shard(Shard::new(range.start, classes))
        };
        // What the shards exchange first: each target's logit is known to one of them.
        let mut logits = Array1::from_elem(recipe.rows, f64::NAN);
        for range in &ranges {
            let own = loss.target_logits(&part(range)).unwrap();
            for (i, (to, &from)) in logits.iter_mut().zip(&own).enumerate() {
                let owner = targets[i] >= 0 && range.contains(&(targets[i] as usize));
                prop_assert_eq!(from.is_nan(), !owner);
                *to = if owner { from } else { *to };
            }
        }
        // In any order.
        let mut order: Vec<usize> = (0..ranges.len()).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, (stream.bits() % (i as u64 + 1)) as usize);
        }
        let fold = |at: usize| loss.fold(&part(&ranges[at]).target_logits(logits.view())).unwrap();
        let mut merged = fold(order[0]);
        for &at in &order[1..] {
            merged.merge(&fold(at)).unwrap();
        }
        let merged: Forward = merged.finish().unwrap();

        let route = double(Door::Vjp);
        let truth = case.run();
        let bounds = Bounds::of(&case, &truth, U);
        within("losses", &route, &merged.losses(), &truth.losses, &bounds.losses);
        within("loss", &route, [&merged.loss()], [&truth.loss], [&bounds.loss]);
        let lse = merged.log_sum_exp();
        within("lse", &route, &lse, &truth.log_sum_exp, &bounds.log_sum_exp);
        let entropy = merged.statistic(Statistic::Entropy).unwrap();
        within("entropy", &route, &entropy, &truth.entropy, &bounds.entropy);
        let varentropy = merged.statistic(Statistic::Varentropy).unwrap();
        within("varentropy", &route, &varentropy, &truth.varentropy, &bounds.varentropy);
        // Logits are the same bits in every shard, so what compares them is too.
        prop_assert_eq!(merged.argmax(), whole.argmax());
        prop_assert_eq!(merged.rank().unwrap(), whole.rank().unwrap());
        prop_assert_eq!(merged.top_k().classes, whole.top_k().classes);
        prop_assert_eq!(merged.rows_kept(), whole.rows_kept());
        prop_assert_eq!(merged.accuracy().map(f64::to_bits), whole.accuracy().map(f64::to_bits));

        let mut d_hidden = Array2::zeros(case.hidden.dim());
        let mut d_classifier = Array2::from_elem(case.classifier.dim(), f64::NAN);
        let mut d_bias = Array1::from_elem(classes, f64::NAN);
        for range in &ranges {
            let gradients = Gradients::new()
                .accumulate_hidden(d_hidden.view_mut())
                .classifier(d_classifier.slice_mut(s![range.clone(), ..]))
                .bias(d_bias.slice_mut(s![range.clone()]));
            let inputs = part(range).target_logits(logits.view());
            loss.vjp(&inputs, &merged, &upstream_of(&case), gradients).unwrap();
        }
        within("dE", &route, &d_hidden, &truth.d_hidden, &bounds.d_hidden);
        within("dC", &route, &d_classifier, &truth.d_classifier, &bounds.d_classifier);
        within("db", &route, &d_bias, &truth.d_bias, &bounds.d_bias);
    }

    /// The k largest, in order, ties to the lower class.
    #[test]
    fn top_k_is_the_head_of_a_sort(recipe in hard_recipes(), top_k in 1..12_usize, ties: bool) {
        let mut case = recipe.case();
        if ties {
            // Few different logits, exactly computed.
            case.hidden.mapv_inplace(|x| x.round());
            case.classifier.mapv_inplace(|x| x.round());
            case.bias = None;
        }
        let Wanted::Hard(targets) = &case.targets else { unreachable!() };
        let loss = loss_of(&case, top_k);
        let inputs = Inputs::new(case.hidden.view(), case.classifier.view(), targets);
        let forward = loss.forward(&with_weights(inputs, &case)).unwrap();
        let TopK { classes: found, log_probabilities, .. } = forward.top_k();
        prop_assert_eq!(found.dim(), (recipe.rows, top_k));
        case.bias = None;
        let (logits, _) = case.logits();
        let lse = forward.log_sum_exp();
        for (i, row) in logits.outer_iter().enumerate() {
            let mut order: Vec<usize> = (0..recipe.classes).collect();
            order.sort_by(|&a, &b| row[b].partial_cmp(&row[a]).unwrap().then(a.cmp(&b)));
            let magnitude = row.iter().fold(1.0_f64, |m, x| m.max(x.abs()));
            let rounding = (recipe.width as f64 + 400.0) * 4.0 * U * magnitude.max(recipe.sharpness * 50.0);
            for j in 0..top_k {
                if targets[i] < 0 || j >= recipe.classes {
                    let none = if targets[i] < 0 { 0.0 } else { f64::NEG_INFINITY };
                    prop_assert_eq!((found[[i, j]], log_probabilities[[i, j]]), (-1, none));
                    continue;
                }
                let class = found[[i, j]] as usize;
                prop_assert!((row[class] - row[order[j]]).abs() <= rounding);
                if ties && recipe.softcap.is_none() {
                    prop_assert_eq!(class, order[j]);
                }
                let expected = row[order[j]] - lse[i];
                prop_assert!((log_probabilities[[i, j]] - expected).abs() <= 2.0 * rounding);
                prop_assert!(!found.row(i).iter().take(j).any(|&other| other == found[[i, j]]));
            }
            if targets[i] >= 0 {
                prop_assert_eq!(found[[i, 0]], forward.argmax()[i]);
            }
        }
    }

    /// A batch in two halves: the sums add.
    #[test]
    fn parts_of_a_batch_add_up(recipe in recipes(), route in routes()) {
        let mut case = recipe.case();
        case.reduction = Reduction::Divide(3.0);
        let half = recipe.rows / 2;
        let part = |rows: std::ops::Range<usize>| {
            let vector = |v: &Array1<f64>| v.slice(s![rows.clone()]).to_owned();
            let mut part = case.clone();
            part.hidden = case.hidden.slice(s![rows.clone(), ..]).to_owned();
            part.targets = match &case.targets {
                Wanted::Hard(y) => Wanted::Hard(y[rows.clone()].to_vec()),
                Wanted::Soft(t) => Wanted::Soft(t.slice(s![rows.clone(), ..]).to_owned()),
            };
            part.token_weights = case.token_weights.as_ref().map(vector);
            part.d_loss = vector(&case.d_loss);
            part.d_log_sum_exp = case.d_log_sum_exp.as_ref().map(vector);
            part.d_entropy = case.d_entropy.as_ref().map(vector);
            part
        };
        let whole = run(&case, route);
        let (a, b) = (run(&part(0..half), route), run(&part(half..recipe.rows), route));
        let rounded = case.rounded(route);
        let bounds = Bounds::of(&rounded, &rounded.run(), 2.0 * route.unit());
        within("loss", &route, [&(a.loss + b.loss)], [&whole.loss], [&bounds.loss]);
        let sum = &a.d_classifier + &b.d_classifier;
        within("dC", &route, &sum, &whole.d_classifier, &bounds.d_classifier);
        within("db", &route, &(&a.d_bias + &b.d_bias), &whole.d_bias, &bounds.d_bias);
    }
}
