//! Draws in the sweep of a forward: that they are the softmax's, and that nothing but seed, number, draw and class
//! is in their noise.

use half::bf16;
use ndarray::{Array1, Array2, arr1, arr2, s};
use surprisal::loss::{KullbackLeibler, Samples, Sampling, Truncation};
use surprisal::{Error, Inputs, Isa, LinearCrossEntropy, Shard};
use testing::Stream;

fn plain() -> LinearCrossEntropy {
    LinearCrossEntropy::builder().build().unwrap()
}

/// Quarters, whose sums of few products are exact in every type.
fn quarters(rows: usize, columns: usize, seed: u64) -> Array2<f64> {
    Stream(seed).matrix(rows, columns, 1.0).mapv(|x| (4.0 * x).round().clamp(-6.0, 6.0) / 4.0)
}

/// Σ (found − wanted)² / wanted.
fn chi_squared(found: &[usize], wanted: &[f64]) -> f64 {
    let term = |(&found, &wanted): (&usize, &f64)| (found as f64 - wanted).powi(2) / wanted;
    found.iter().zip(wanted).filter(|(_, wanted)| **wanted > 0.0).map(term).sum()
}

/// What one draw in ten thousand exceeds, of so many degrees of freedom (Wilson and Hilferty 1931).
fn most_chi_squared(freedom: f64) -> f64 {
    let part = 2.0 / (9.0 * freedom);
    freedom * (1.0 - part + 3.719 * part.sqrt()).powi(3)
}

/// The seeds are fixed, so a right sampler passes always; each case would fail one sampler in ten thousand.
#[test]
fn draws_are_as_frequent_as_the_softmax_says() {
    const DRAWS: usize = 100_000;
    let lost = f64::NEG_INFINITY;
    let row = arr1(&[0.5_f64, -1.0, 2.0, 1.0, -2.5, 0.0, 1.5]);
    let with_lost = arr1(&[0.5_f64, -1.0, lost, 1.0, -2.5, 0.0, 1.5]);
    let cases = [
        (row.clone(), 1.0),
        (row.clone(), 0.5),
        (row.clone(), 4.0),
        (with_lost, 1.0),
        (&row + 1e6, 1.0),
        (Array1::zeros(7), 1.0),
    ];
    for (seed, (row, temperature)) in (20..).zip(cases) {
        let loss = LinearCrossEntropy::builder().temperature(temperature).build().unwrap();
        let m = row.fold(f64::NEG_INFINITY, |m, &x| m.max(x));
        let masses = row.mapv(|x| ((x - m) / temperature).exp());
        let wanted = (&masses / masses.sum() * DRAWS as f64).to_vec();
        let freedom = wanted.iter().filter(|x| **x > 0.0).count() as f64 - 1.0;
        let check = |what: &str, samples: &Samples| {
            let mut found = vec![0; 7];
            for (&class, &log_p) in samples.classes.iter().zip(&samples.log_probabilities) {
                found[class as usize] += 1;
                let log_mass = (wanted[class as usize] / DRAWS as f64).ln();
                // An lse of 10⁶ is known to 10⁻¹⁰.
                assert!((log_p - log_mass).abs() < 1e-9, "{log_p} and {log_mass}");
            }
            let chi_squared = chi_squared(&found, &wanted);
            let most = most_chi_squared(freedom);
            assert!(chi_squared < most, "{what} {seed}: {chi_squared} of {most}, {found:?}");
            assert!((0..7).all(|v| wanted[v] > 0.0 || found[v] == 0));
        };
        let one = row.clone().insert_axis(ndarray::Axis(0));
        let inputs = Inputs::from_logits(&one, &[0_u32]);
        check("draws", &loss.sample(&inputs, &Sampling::new(seed).draws(DRAWS)).unwrap());
        let many = row.broadcast((DRAWS, 7)).unwrap();
        let targets = vec![0_u32; DRAWS];
        let inputs = Inputs::from_logits(many, &targets);
        check("rows", &loss.sample(&inputs, &Sampling::new(seed)).unwrap());
    }
}

/// Two rows, two draws and two seeds: every pair of classes as often as any other.
#[test]
fn rows_draws_and_seeds_are_independent() {
    const ROWS: usize = 20_000;
    let logits = Array2::<f32>::zeros((ROWS, 8));
    let targets = vec![0_u32; ROWS];
    let inputs = Inputs::from_logits(&logits, &targets);
    let of = |seed| plain().sample(&inputs, &Sampling::new(seed).draws(2)).unwrap().classes;
    let (one, other) = (of(0), of(1));
    let pairs = |what: &str, pairs: &mut dyn Iterator<Item = (i64, i64)>| {
        let mut found = vec![0; 64];
        pairs.for_each(|(a, b)| found[(8 * a + b) as usize] += 1);
        let count: usize = found.iter().sum();
        let chi_squared = chi_squared(&found, &[count as f64 / 64.0; 64]);
        assert!(chi_squared < most_chi_squared(63.0), "{what}: {chi_squared}");
    };
    let column = |of: &Array2<i64>, s: usize| of.column(s).to_vec();
    let neighbours = column(&one, 0);
    pairs("rows", &mut neighbours.chunks(2).map(|pair| (pair[0], pair[1])));
    pairs("draws", &mut column(&one, 0).into_iter().zip(column(&one, 1)));
    pairs("seeds", &mut column(&one, 0).into_iter().zip(column(&other, 0)));
    // The draw of a row is not that of another draw of the next.
    pairs("both", &mut column(&one, 0).into_iter().skip(1).zip(column(&one, 1)));
}

/// Threads, budgets, instruction sets, types, the way to the logits and shards in any order.
#[test]
fn draws_do_not_depend_on_how_they_are_computed() {
    let (hidden, classifier) = (quarters(150, 12, 1), quarters(1500, 12, 2));
    let targets = vec![0_u32; 150];
    let sampling = Sampling::new(11).draws(3);
    let inputs = Inputs::new(&hidden, &classifier, &targets);
    let wanted = plain().sample(&inputs, &sampling).unwrap();
    let same = |what: &str, samples: &Samples| {
        assert_eq!(samples.classes, wanted.classes, "{what}");
        let far = &samples.log_probabilities - &wanted.log_probabilities;
        // In f32 the sum over 1500 classes is off by that many units at most.
        assert!(far.iter().all(|far| far.abs() < 1500.0 * 6e-8), "{what}");
    };
    for isa in Isa::available() {
        for budget in [1 << 28, 900_000, 450_000] {
            let loss =
                LinearCrossEntropy::builder().isa(isa).memory_budget(budget).build().unwrap();
            same("a budget", &loss.sample(&inputs, &sampling).unwrap());
        }
        let loss = LinearCrossEntropy::builder().isa(isa).build().unwrap();
        let [single, wide] = [&hidden, &classifier].map(|matrix| matrix.mapv(|x| x as f32));
        let of_single = Inputs::new(&single, &wide, &targets);
        same("f32", &loss.sample(&of_single, &sampling).unwrap());
        let [half, narrow] = [&hidden, &classifier].map(|matrix| matrix.mapv(bf16::from_f64));
        same("bf16", &loss.sample(&Inputs::new(&half, &narrow, &targets), &sampling).unwrap());
    }
    #[cfg(feature = "parallel")]
    for threads in [1, 2, 5] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        same("threads", &pool.install(|| plain().sample(&inputs, &sampling)).unwrap());
    }
    let logits = hidden.dot(&classifier.t());
    let given = Inputs::from_logits(&logits, &targets);
    same("given logits", &plain().sample(&given, &sampling).unwrap());
    for cuts in [[0, 400, 401, 1500], [0, 1, 1499, 1500]] {
        for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
            let mut shards = order.map(|i| {
                let part = classifier.slice(s![cuts[i]..cuts[i + 1], ..]);
                let inputs = Inputs::new(&hidden, part, &targets).shard(Shard::new(cuts[i], 1500));
                plain().sample_shard(&inputs, &sampling).unwrap()
            });
            let [first, rest @ ..] = &mut shards;
            rest.iter().for_each(|shard| first.merge(shard).unwrap());
            let [first, ..] = shards;
            same("shards", &first.finish().unwrap());
        }
    }
}

/// Of a row by its number, whatever stands beside it; the noise of a class is the same for all logits.
#[test]
fn a_row_has_its_noise_by_its_number() {
    let logits = quarters(40, 60, 5);
    let numbers: Vec<u64> = (0..40).map(|i| u64::MAX - 3 * i).collect();
    let targets = vec![0_u32; 40];
    let sampling = || Sampling::new(2).draws(4);
    let all = plain()
        .sample(&Inputs::from_logits(&logits, &targets), &sampling().row_numbers(&numbers))
        .unwrap();
    for i in [0, 7, 39] {
        let one = Inputs::from_logits(logits.slice(s![i..=i, ..]), &targets[..1]);
        let alone = plain().sample(&one, &sampling().row_numbers(&numbers[i..=i])).unwrap();
        assert_eq!(alone.classes.row(0), all.classes.row(i));
        assert_eq!(alone.log_probabilities.row(0), all.log_probabilities.row(i));
    }
    // Rows that are left out take no noise with them.
    let mut some: Vec<i64> = vec![0; 40];
    some[3] = -100;
    let inputs = Inputs::from_logits(&logits, &some);
    let rest = plain().sample(&inputs, &sampling().row_numbers(&numbers)).unwrap();
    assert!(rest.classes.row(3).iter().all(|&class| class == -1));
    assert!(rest.log_probabilities.row(3).iter().all(|&log_p| log_p == 0.0));
    assert_eq!(rest.classes.slice(s![4.., ..]), all.classes.slice(s![4.., ..]));

    // A constant on all logits changes nothing, and one on the class that won lets it win.
    let moved = &logits + 1024.0;
    let inputs = Inputs::from_logits(&moved, &targets);
    let moved = plain().sample(&inputs, &sampling().row_numbers(&numbers)).unwrap();
    assert_eq!(moved.classes, all.classes);
    for rise in [0.25, 3.0] {
        let mut raised = logits.clone();
        for (i, classes) in all.classes.outer_iter().enumerate() {
            raised[[i, classes[0] as usize]] += rise;
        }
        let inputs = Inputs::from_logits(&raised, &targets);
        let again = plain().sample(&inputs, &sampling().row_numbers(&numbers)).unwrap();
        assert_eq!(again.classes.column(0), all.classes.column(0));
    }
}

#[test]
fn the_log_probabilities_are_those_of_the_classes_drawn() {
    let (hidden, classifier) = (quarters(20, 7, 8), quarters(300, 7, 9));
    let targets = vec![0_u32; 20];
    let temperatures = Array1::from_shape_fn(20, |i| [1.0, 0.5, 2.0, 1e-4][i % 4]);
    let inputs = Inputs::new(&hidden, &classifier, &targets).temperatures(&temperatures);
    let drawn = plain().sample(&inputs, &Sampling::new(4).draws(5)).unwrap();
    let forward = plain().forward(&inputs).unwrap();
    let classes = drawn.classes.mapv(|class| class as u32);
    let wanted = plain().log_probabilities(&inputs, &forward, &classes).unwrap();
    assert_eq!(drawn.log_probabilities, wanted);
    assert_eq!(drawn.forward.losses(), forward.losses());
    // Nearly at 0 it is the largest, where no other equals it.
    let logits = hidden.dot(&classifier.t());
    for i in (3..20).step_by(4) {
        let largest = logits.row(i).fold(f64::NEG_INFINITY, |m, &x| m.max(x));
        for &class in drawn.classes.row(i) {
            assert_eq!(logits[[i, class as usize]], largest);
        }
    }
    // Of a truncation, classes that stay, as often as they are likely there.
    let floors = plain().truncate(&inputs, &Truncation::new().top_k(4).top_p(0.8)).unwrap();
    let inputs = inputs.floors(&floors);
    const DRAWS: usize = 5000;
    let drawn = plain().sample(&inputs, &Sampling::new(4).draws(DRAWS)).unwrap();
    let forward = plain().forward(&inputs).unwrap();
    let all = Array2::from_shape_fn((20, 300), |(_, v)| v as u32);
    let log_p = plain().log_probabilities(&inputs, &forward, &all).unwrap();
    for i in 0..20 {
        let wanted = log_p.row(i).mapv(|x| x.exp() * DRAWS as f64).to_vec();
        let mut found = vec![0; 300];
        drawn.classes.row(i).iter().for_each(|&class| found[class as usize] += 1);
        assert!((0..300).all(|v| wanted[v] > 0.0 || found[v] == 0));
        let kept = wanted.iter().filter(|x| **x > 0.0).count();
        if kept > 1 {
            assert!(chi_squared(&found, &wanted) < most_chi_squared(kept as f64 - 1.0), "{i}");
        }
    }
}

#[test]
fn rows_without_probabilities_and_of_one_class() {
    let one = arr2(&[[3.0_f32], [-2.0]]);
    let drawn = plain().sample(&Inputs::from_logits(&one, &[0_u32, 0]), &Sampling::new(0)).unwrap();
    assert!(drawn.classes.iter().all(|&class| class == 0));
    assert!(drawn.log_probabilities.iter().all(|&log_p| log_p == 0.0));

    let lost = f32::NEG_INFINITY;
    let logits = arr2(&[[0.0, f32::NAN], [lost, lost], [f32::INFINITY, 0.0], [lost, 1.0]]);
    let inputs = Inputs::from_logits(&logits, &[0_u32; 4]);
    let drawn = plain().sample(&inputs, &Sampling::new(0)).unwrap();
    assert_eq!(drawn.classes.column(0).to_vec(), [-1, -1, -1, 1]);
    assert!((0..3).all(|i| drawn.log_probabilities[[i, 0]].is_nan()));
    assert_eq!(drawn.log_probabilities[[3, 0]], 0.0);
}

#[test]
fn what_cannot_be_drawn_is_refused() {
    let logits = arr2(&[[0.0_f32, 1.0, 2.0], [0.0, 0.0, 0.0]]);
    let targets = [0_u32, 0];
    let inputs = Inputs::from_logits(&logits, &targets);
    let of = |sampling: &Sampling<'_>| plain().sample(&inputs, sampling).unwrap_err().to_string();
    assert_eq!(of(&Sampling::new(0).draws(0)), "draws is 0, expected at least 1");
    let error = of(&Sampling::new(0).row_numbers(&[1]));
    assert!(error.contains("row_numbers has shape [1], expected [2]"), "{error}");
    let conflict = |result: surprisal::Result<()>| {
        assert!(matches!(result, Err(Error::Conflict { .. })), "{result:?}");
    };
    let shard = |seed, first: usize| {
        let part = logits.slice(s![.., first..first + 1]);
        let inputs = Inputs::from_logits(part, &targets).shard(Shard::new(first, 3));
        plain().sample_shard(&inputs, &Sampling::new(seed)).unwrap()
    };
    let mut first = shard(0, 0);
    conflict(first.merge(&shard(1, 1)));
    conflict(first.merge(&shard(0, 0)));
    first.merge(&shard(0, 1)).unwrap();
    conflict(first.finish().map(drop));
    let inputs = Inputs::from_logits(logits.slice(s![.., ..2]), &targets).shard(Shard::new(0, 3));
    conflict(plain().sample(&inputs, &Sampling::new(0)).map(drop));
    let head = surprisal::loss::Companion::logits(surprisal::loss::Head::from_logits(&logits));
    let inputs = Inputs::from_logits(&logits, &targets).companion(head);
    let builder = LinearCrossEntropy::builder().row_loss(KullbackLeibler::forward());
    conflict(builder.build().unwrap().sample(&inputs, &Sampling::new(0)).map(drop));
}
