//! Streamed entropies of attention beside all scores in f64, their gradients, and the penalty.

use ndarray::{Array1, Array2, Array3, Array4, ArrayD, Axis, arr1};
use surprisal::autodiff::{Generator, Tape, gradcheck};
use surprisal::information::{AttentionEntropy, AttentionPenalty};
use surprisal::{Error, Real};
use testing::Stream;

fn normal(seed: u64, shape: &[usize]) -> ArrayD<f64> {
    Generator::new(seed).normal::<f64>(shape, 1.0).unwrap().into_owned()
}

fn three(seed: u64, heads: usize, rows: usize, width: usize) -> Array3<f64> {
    normal(seed, &[heads, rows, width]).into_dimensionality().unwrap()
}

/// −Σ p ln p of each query, from all its scores.
fn direct(queries: &Array3<f64>, keys: &Array3<f64>, scale: f64, causal: bool) -> Array2<f64> {
    let group = queries.dim().0 / keys.dim().0;
    Array2::from_shape_fn((queries.dim().0, queries.dim().1), |(head, t)| {
        let keys = keys.index_axis(Axis(0), head / group);
        let seen = if causal { t + 1 } else { keys.nrows() };
        let own = queries.index_axis(Axis(0), head);
        let z: Vec<f64> = (0..seen).map(|s| scale * own.row(t).dot(&keys.row(s))).collect();
        let largest = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = z.iter().map(|z| (z - largest).exp()).sum();
        z.iter().map(|z| (z - largest).exp() / sum * (sum.ln() - (z - largest))).sum()
    })
}

/// How far rounding of scores of this type takes an entropy: each score by ε times the sum of its products, an
/// entropy by its slope times those.
fn bound<T: Real>(width: usize, size: f64) -> f64 {
    64.0 * T::EPSILON * (1.0 + width as f64 * size)
}

#[test]
fn entropies_are_those_of_all_scores() {
    // Within and over blocks of 96 queries and 512 keys.
    for (heads, shared, queries, keys, width) in
        [(1, 1, 1, 1, 1), (3, 3, 5, 9, 4), (4, 2, 97, 31, 8), (2, 1, 200, 1100, 3)]
    {
        let (q, k) = (three(1, heads, queries, width), three(2, shared, keys, width));
        for scale in [None, Some(1.7)] {
            let call = AttentionEntropy::full();
            let call = scale.map_or(call, |scale| call.scale(scale).unwrap());
            let scale = scale.unwrap_or(1.0 / (width as f64).sqrt());
            let wanted = direct(&q, &k, scale, false);
            let found = call.of(&q, &k).unwrap();
            let off = (&found.entropies - &wanted).fold(0.0_f64, |most, x| most.max(x.abs()));
            assert!(off <= bound::<f64>(width, scale * 9.0), "{heads} {queries} {keys}: {off:e}");
            let (q, k) = (q.mapv(|x| x as f32), k.mapv(|x| x as f32));
            let single = call.of(&q, &k).unwrap();
            let off = (&single.entropies - &wanted).fold(0.0_f64, |most, x| most.max(x.abs()));
            assert!(off <= bound::<f32>(width, scale * 9.0), "{heads} {queries} {keys}: {off:e}");
        }
    }
    for count in [1, 2, 95, 96, 97, 700] {
        let (q, k) = (three(3, 2, count, 5), three(4, 2, count, 5));
        let wanted = direct(&q, &k, 1.0 / 5_f64.sqrt(), true);
        let found = AttentionEntropy::causal().of(&q, &k).unwrap();
        let off = (&found.entropies - &wanted).fold(0.0_f64, |most, x| most.max(x.abs()));
        assert!(off <= bound::<f64>(5, 4.0), "{count}: {off:e}");
        assert_eq!(found.visible, (1..=count).collect::<Vec<_>>());
        assert!(found.relative().iter().all(|x| (0.0..=1.0 + 1e-14).contains(x)));
        // And of the scores themselves.
        let scores = Array3::from_shape_fn((2, count, count), |(h, t, s)| {
            let row = |of: &Array3<f64>, at| of.index_axis(Axis(0), h).row(at).to_owned();
            row(&q, t).dot(&row(&k, s)) / 5_f64.sqrt()
        });
        let given = AttentionEntropy::causal().of_scores(&scores).unwrap();
        let off = (&given.entropies - &wanted).fold(0.0_f64, |most, x| most.max(x.abs()));
        assert!(off <= bound::<f64>(1, 4.0), "{count}: {off:e}");
    }
}

#[test]
fn equal_keys_are_the_uniform_and_one_far_above_is_nothing() {
    let (q, k) = (three(5, 1, 40, 4), Array3::from_elem((1, 600, 4), 0.5));
    let found = AttentionEntropy::full().of(&q, &k).unwrap();
    assert!(found.entropies.iter().all(|h| (h - 600_f64.ln()).abs() < 1e-12));
    assert_eq!(found.buckets(600_f64.ln()).unwrap(), [0.0, 0.0, 0.0, 1.0]);
    // Every query favours one key by 40 nats: 599 e^−40 (1 + 40) is left, with its digits.
    let mut k = Array3::zeros((1, 600, 4));
    k[[0, 300, 0]] = 80.0;
    let mut q = Array3::zeros((1, 40, 4));
    q.index_axis_mut(Axis(2), 0).fill(1.0);
    let found = AttentionEntropy::full().of(&q, &k).unwrap();
    let (n, u) = (599.0, -40.0_f64);
    let wanted = (n * u.exp()).ln_1p() - n * u.exp() * u / (1.0 + n * u.exp());
    assert!(found.entropies.iter().all(|h| (h / wanted - 1.0).abs() < 1e-12));
    let upstream = Array2::<f64>::ones((1, 40));
    let slopes = AttentionEntropy::full().gradients(&q, &k, &upstream).unwrap();
    // ∂H/∂z of the favourite: −p (u − μ), u = 0, at a scale of ½, times q of 40 queries.
    let mean = n * u.exp() * u / (1.0 + n * u.exp());
    let wanted = 40.0 * 0.5 * mean / (1.0 + n * u.exp());
    assert!((slopes.keys[[0, 300, 0]] / wanted - 1.0).abs() < 1e-12);
}

#[test]
fn gradients_are_the_differences() {
    for (causal, heads, shared, queries, keys) in
        [(false, 2, 1, 3, 5), (false, 2, 2, 4, 2), (true, 4, 2, 5, 5)]
    {
        let call = if causal { AttentionEntropy::causal() } else { AttentionEntropy::full() };
        let (q, k) = (three(6, heads, queries, 3), three(7, shared, keys, 3));
        let mut stream = Stream(8);
        let upstream = stream.matrix(heads, queries, 1.0);
        let found = call.gradients(&q, &k, &upstream).unwrap();
        assert_eq!(found.of, call.of(&q, &k).unwrap());
        let value = |q: &Array3<f64>, k: &Array3<f64>| {
            (&call.of(q, k).unwrap().entropies * &upstream).sum()
        };
        let step = 1e-5;
        for (at, slope) in found.queries.indexed_iter() {
            let moved = |by: f64| {
                let mut moved = q.clone();
                moved[at] += by;
                value(&moved, &k)
            };
            let wanted = (moved(step) - moved(-step)) / (2.0 * step);
            assert!((slope - wanted).abs() < 1e-8, "{causal} {at:?}: {slope} for {wanted}");
        }
        for (at, slope) in found.keys.indexed_iter() {
            let moved = |by: f64| {
                let mut moved = k.clone();
                moved[at] += by;
                value(&q, &moved)
            };
            let wanted = (moved(step) - moved(-step)) / (2.0 * step);
            assert!((slope - wanted).abs() < 1e-8, "{causal} {at:?}: {slope} for {wanted}");
        }
    }
    // Over several blocks of queries and keys: those of each query add up.
    let (q, k) = (three(9, 2, 130, 4), three(10, 2, 1100, 4));
    let upstream =
        Array2::from_shape_fn((2, 130), |(h, t)| if t % 7 == 3 { 1.0 + h as f64 } else { 0.0 });
    let all = AttentionEntropy::full().gradients(&q, &k, &upstream).unwrap();
    let mut keys = Array3::<f64>::zeros(k.dim());
    for t in (0..130).filter(|t| t % 7 == 3) {
        let own = q.slice(ndarray::s![.., t..t + 1, ..]);
        let upstream = upstream.slice(ndarray::s![.., t..t + 1]);
        let one = AttentionEntropy::full().gradients(own, &k, upstream).unwrap();
        let same = all.queries.slice(ndarray::s![.., t..t + 1, ..]);
        assert!((&one.queries - &same).iter().all(|x| x.abs() < 1e-13));
        keys += &one.keys;
    }
    assert!((&keys - &all.keys).iter().all(|x| x.abs() < 1e-13));
}

#[cfg(feature = "parallel")]
#[test]
fn the_bits_do_not_depend_on_the_threads() {
    let (q, k) = (three(11, 3, 300, 8), three(12, 3, 300, 8));
    let upstream = Array2::from_shape_fn((3, 300), |(h, t)| (h + t) as f64 / 300.0);
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| AttentionEntropy::causal().gradients(&q, &k, &upstream).unwrap())
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(5));
}

#[test]
fn the_tape_has_the_entropies_of_its_heads_and_the_penalty() {
    let (batch, length, width, heads) = (2, 4, 6, 3);
    let inputs = [normal(13, &[batch, length, width]), normal(14, &[batch, length, width])];
    let tape = Tape::<f64>::new().unwrap();
    let leaves = inputs.each_ref().map(|own| tape.leaf(own.clone()));
    let call = AttentionEntropy::causal();
    let entropies = leaves[0].attention_entropy(leaves[1], heads, &call).unwrap();
    for b in 0..batch {
        let of = |own: &ArrayD<f64>| {
            Array3::from_shape_fn((heads, length, 2), |(h, t, j)| own[[b, t, 2 * h + j]])
        };
        let wanted = direct(&of(&inputs[0]), &of(&inputs[1]), 1.0 / 2_f64.sqrt(), true);
        for ((h, t), wanted) in wanted.indexed_iter() {
            assert!((entropies.value()[[b, h, t]] - wanted).abs() < 1e-14);
        }
    }
    let with_thresholds = [inputs[0].clone(), inputs[1].clone(), arr1(&[0.1, 0.6, 0.9]).into_dyn()];
    let worst = gradcheck(
        |_, inputs| {
            let entropies = inputs[0].attention_entropy(inputs[1], heads, &call)?;
            let penalty = AttentionPenalty::new(length)?.coefficient(1.0)?.tolerance(0.01)?;
            entropies.attention_penalty(inputs[2], &penalty)
        },
        &with_thresholds,
    )
    .unwrap();
    assert!(worst.error < 1e-7, "{worst:?}");
    let several = tape.leaf(normal(15, &[2, 5, 6]));
    assert!(leaves[0].attention_entropy(several, heads, &call).is_err());
    assert!(leaves[0].attention_entropy(several, heads, &AttentionEntropy::full()).is_ok());
    assert!(leaves[0].attention_entropy(leaves[1], 4, &call).is_err());
    assert!(leaves[0].attention_entropy(entropies, heads, &call).is_err());
}

#[test]
fn the_penalty_is_its_formula() {
    let mut stream = Stream(16);
    let (layers, batch, heads, queries) = (3, 2, 4, 5);
    let entropies =
        Array4::from_shape_simple_fn((layers, batch, heads, queries), || 3.0 * stream.uniform());
    let thresholds = arr1(&[0.2, 0.5, 0.8, -0.1]);
    let penalty = AttentionPenalty::new(20).unwrap().coefficient(0.3).unwrap();
    let found = penalty.evaluate(&entropies, &thresholds).unwrap();
    let maximum = 20_f64.ln();
    let loss: f64 = entropies
        .indexed_iter()
        .map(|((_, _, h, _), entropy)| entropy - thresholds[h] * maximum)
        .filter(|deviation| deviation.abs() > 0.2 * maximum)
        .map(|deviation| 0.3 * deviation * deviation / (heads * layers) as f64)
        .sum();
    assert!((found.loss - loss).abs() < 1e-13);
    assert!((found.layer_losses.sum() * 0.1 - found.loss).abs() < 1e-13);
    // Between the jumps it is quadratic: central differences are exact but for rounding.
    for h in 0..heads {
        let moved = |by: f64| {
            let mut moved = thresholds.clone();
            moved[h] += by;
            penalty.evaluate(&entropies, &moved).unwrap().loss
        };
        let wanted = (moved(1e-6) - moved(-1e-6)) / 2e-6;
        assert!((found.by_thresholds[h] - wanted).abs() < 1e-7);
    }
}

#[test]
fn what_does_not_go_together_is_said() {
    let (q, k) = (three(17, 4, 3, 2), three(18, 3, 3, 2));
    let refused = |found: Result<_, Error>, part: &str| {
        let error = found.map(|_: Array1<f64>| ()).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    let of = |call: AttentionEntropy, q: &Array3<f64>, k: &Array3<f64>| {
        call.of(q, k).map(|of| of.head_means())
    };
    refused(of(AttentionEntropy::full(), &q, &k), "a divisor of the 4 heads");
    refused(of(AttentionEntropy::full(), &q, &three(1, 4, 3, 3)), "2 columns, as the queries");
    refused(of(AttentionEntropy::causal(), &q, &three(1, 4, 5, 2)), "one for each query");
    refused(of(AttentionEntropy::full(), &Array3::zeros((0, 3, 2)), &k), "queries has shape [0");
    refused(of(AttentionEntropy::full(), &q, &Array3::zeros((4, 0, 2))), "keys has shape [4, 0");
    assert!(AttentionEntropy::full().scale(f64::NAN).is_err());
    let upstream = Array2::<f64>::zeros((4, 2));
    let keys = three(1, 4, 3, 2);
    assert!(AttentionEntropy::full().gradients(&q, &keys, &upstream).is_err());
    assert!(AttentionEntropy::full().of(&q, &keys).unwrap().buckets(0.0).is_err());
    // A NaN is its own query's affair.
    let mut bad = q.clone();
    bad[[1, 2, 0]] = f64::NAN;
    let found = AttentionEntropy::full().of(&bad, &keys).unwrap().entropies;
    assert!(found.indexed_iter().all(|(at, h)| h.is_nan() == (at == (1, 2))));
    assert!(AttentionPenalty::new(1).is_err());
    let penalty = AttentionPenalty::new(8).unwrap();
    assert!(penalty.tolerance(-1.0).is_err() && penalty.coefficient(f64::NAN).is_err());
    let entropies = Array4::from_elem((1, 1, 2, 1), f64::NAN);
    assert!(penalty.evaluate(&entropies, &arr1(&[0.0, 0.0])).is_err());
    let entropies = Array4::from_elem((1, 1, 2, 1), 1.0);
    assert!(penalty.evaluate(&entropies, &arr1(&[0.0])).is_err());
    assert!(penalty.evaluate(&entropies, &arr1(&[0.0, f64::INFINITY])).is_err());
}
