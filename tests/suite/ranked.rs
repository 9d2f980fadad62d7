//! Losses of rankings: against direct sums over all logits, central differences, and what must hold whatever the numbers
//! are.

use ndarray::{Array1, Array2, ArrayD, IxDyn, arr2};
use surprisal::autodiff::{Generator, Tape, Variable, gradcheck};
use surprisal::loss::{Candidates, PlaceWeights, PlackettLuce, RankedLosses, Rankings};
use surprisal::{
    Backward, Error, Gradients, Inputs, LinearCrossEntropy, Reduction, Result, Upstream,
};
use testing::{Stream, assert_close, close};

const NONE: u32 = Candidates::NONE;

fn rows() -> PlackettLuce {
    PlackettLuce::new().reduction(Reduction::None).unwrap()
}

fn of_logits(rankings: &Rankings, logits: &Array2<f64>) -> RankedLosses {
    rows().of_logits(rankings, logits).unwrap()
}

/// Σ w_k ln(Σ of what is left / e^x_k), each sum over all classes that stand at no place before.
fn direct(logits: &[f64], ranking: &[(u32, f64)]) -> f64 {
    let mut left: Vec<bool> = vec![true; logits.len()];
    let mut value = 0.0;
    for &(class, weight) in ranking {
        let own = logits[class as usize];
        let all = logits.iter().zip(&left).filter(|(_, left)| **left);
        let ratio: f64 = all.map(|(x, _)| (x - own).exp()).sum();
        value += weight * ratio.ln();
        left[class as usize] = false;
    }
    value
}

fn ranking(rankings: &Rankings, row: usize) -> Vec<(u32, f64)> {
    let (classes, weights) = (rankings.classes(), rankings.weights());
    let both = classes.row(row).into_iter().zip(weights.row(row)).map(|(&c, &w)| (c, w));
    both.filter(|&(class, _)| class != NONE).collect::<Vec<_>>()
}

/// Lists of k classes of v, some with fewer, one row without any, and weights of which some are 0.
fn lists(stream: &mut Stream, rows: usize, v: usize, k: usize) -> (Array2<u32>, Array2<f64>) {
    let mut classes = Array2::from_elem((rows, k), NONE);
    for (i, mut row) in classes.outer_iter_mut().enumerate() {
        let mut left: Vec<u32> = (0..v as u32).collect();
        for (j, class) in row.iter_mut().enumerate() {
            let drawn = left.swap_remove(stream.bits() as usize % left.len());
            let named = i % 5 != 3 && (i % 3 != 1 || j != k / 2);
            *class = if named { drawn } else { NONE };
        }
    }
    let weights = Array2::from_shape_simple_fn((rows, k), || {
        let weight = 2.0 * stream.uniform() - 0.4;
        if weight > 0.0 { weight } else { 0.0 }
    });
    (classes, weights)
}

#[test]
fn values_are_the_direct_sums_and_gradients_the_differences() {
    let mut stream = Stream(5);
    for (n, v, k) in [(1, 1, 1), (4, 2, 1), (7, 5, 5), (6, 9, 4), (5, 33, 8)] {
        let logits = stream.matrix(n, v, 2.0);
        let (classes, weights) = lists(&mut stream, n, v, k);
        let entries = PlaceWeights::Entries((&weights).into());
        for weights in [PlaceWeights::Ones, PlaceWeights::Mean, PlaceWeights::Position, entries] {
            let rankings = Rankings::new(&classes, weights).unwrap();
            let losses = of_logits(&rankings, &logits);
            for i in 0..n {
                let of = |row: &[f64]| direct(row, &ranking(&rankings, i));
                let row = logits.row(i).to_vec();
                let total: f64 = rankings.weights().row(i).sum();
                // A term is below 2·max|x| + ln V, of which the direct sum keeps all but the rounding of V additions.
                let size = total * (16.0 + (v as f64).ln());
                let unit = (v + k) as f64 * f64::EPSILON;
                assert!((losses.values[i] - of(&row)).abs() <= unit * size, "{n} {v} {k} {i}");
                for j in 0..v {
                    let h = 1e-3;
                    let at = |steps: f64| {
                        let mut moved = row.clone();
                        moved[j] += steps * h;
                        of(&moved)
                    };
                    let numeric = (8.0 * (at(1.0) - at(-1.0)) - (at(2.0) - at(-2.0))) / (12.0 * h);
                    // h⁴/30 of a fifth derivative, at most some twenty times the weights, and the rounding over h.
                    let bound = (h.powi(4) + 4.0 * unit * 16.0 / h) * total;
                    let error = (losses.gradient[[i, j]] - numeric).abs();
                    assert!(error <= bound, "{n} {v} {k} {i} {j}: {error:e} {bound:e}");
                }
            }
        }
    }
}

/// Whatever the strategy and the shape, a fold that leaves the listed classes out gives what all logits give.
#[test]
fn fused_is_what_it_is_of_the_logits() {
    let mut stream = Stream(11);
    for (n, d, v, k) in
        [(1, 1, 1, 1), (3, 5, 7, 7), (13, 17, 301, 6), (70, 8, 523, 3), (5, 64, 1031, 40)]
    {
        let (hidden, classifier) = (stream.matrix(n, d, 1.0), stream.matrix(v, d, 0.6));
        let bias = stream.vector(v, 0.5);
        let (classes, weights) = lists(&mut stream, n, v, k);
        let rankings = Rankings::new(&classes, PlaceWeights::Entries((&weights).into())).unwrap();
        let logits = hidden.dot(&classifier.t()) + &bias;
        let given = PlackettLuce::new().of_logits(&rankings, &logits).unwrap();
        for backward in [Backward::Recompute, Backward::Strip] {
            let head = LinearCrossEntropy::builder().backward(backward).build().unwrap();
            let inputs = Inputs::unlabelled(&hidden, &classifier)
                .bias(&bias)
                .candidates(rankings.candidates());
            let forward = head.forward(&inputs).unwrap();
            let losses = PlackettLuce::new().evaluate(&rankings, &forward).unwrap();
            let mut own = (hidden.clone(), classifier.clone(), bias.clone());
            let gradients =
                Gradients::new().hidden(&mut own.0).classifier(&mut own.1).bias(&mut own.2);
            head.vjp(&inputs, &forward, &losses.upstream(), gradients).unwrap();
            // Sums of d, v and n products of numbers of order 1.
            let unit = 8.0 * (d + v + n) as f64 * f64::EPSILON;
            let near = |a: f64, b: f64| assert!(close(a, b, unit, unit), "{n} {v} {k}: {a} {b}");
            near(losses.loss(), given.loss());
            losses.values.iter().zip(&given.values).for_each(|(&a, &b)| near(a, b));
            let wanted = [given.gradient.dot(&classifier), given.gradient.t().dot(&hidden)];
            own.0.iter().zip(&wanted[0]).for_each(|(&a, &b)| near(a, b));
            own.1.iter().zip(&wanted[1]).for_each(|(&a, &b)| near(a, b));
            let by_bias = given.gradient.sum_axis(ndarray::Axis(0));
            own.2.iter().zip(&by_bias).for_each(|(&a, &b)| near(a, b));
        }
    }
}

#[test]
fn with_all_weight_on_the_first_place_it_is_cross_entropy() {
    let mut stream = Stream(3);
    let mut logits = stream.matrix(6, 9, 3.0);
    logits[[2, 4]] = 45.0;
    logits[[3, 1]] = f64::NEG_INFINITY;
    let targets = [0_u32, 3, 4, 2, 8, 5];
    // A teacher that is sure: at a low temperature the target has all the weight that is left in f64.
    let mut teacher = stream.matrix(6, 9, 1.0);
    for (i, &target) in targets.iter().enumerate() {
        teacher[[i, target as usize]] = 1e3;
    }
    let rankings = Rankings::of_teacher(&teacher, &targets, 0.5, None).unwrap();
    let losses = of_logits(&rankings, &logits);
    let mut gradient = Array2::zeros(logits.dim());
    let forward = LinearCrossEntropy::builder()
        .reduction(Reduction::None)
        .build()
        .unwrap()
        .loss_and_gradients(
            &Inputs::from_logits(&logits, &targets),
            &Upstream::default(),
            Gradients::new().logits(&mut gradient),
        )
        .unwrap();
    for (a, b) in losses.values.iter().zip(&forward.losses()) {
        assert!((a - b).abs() <= 40.0 * f64::EPSILON * b, "{a:e} {b:e}");
    }
    for (&a, &b) in losses.gradient.iter().zip(&gradient) {
        let (a, b): (f64, f64) = (a, b);
        assert!((a - b).abs() <= 40.0 * f64::EPSILON * b.abs().max(1e-20), "{a:e} {b:e}");
    }
}

/// e^−L of ListMLE is a probability of rankings, and a part of a list has that of all rankings that begin with it.
#[test]
fn list_mle_is_a_distribution_of_permutations() {
    fn permutations(classes: &[u32]) -> Vec<Vec<u32>> {
        if classes.is_empty() {
            return vec![Vec::new()];
        }
        let mut all = Vec::new();
        for (i, &first) in classes.iter().enumerate() {
            let rest = [&classes[..i], &classes[i + 1..]].concat();
            all.extend(permutations(&rest).into_iter().map(|tail| [vec![first], tail].concat()));
        }
        all
    }
    let logits = arr2(&[[0.3, -1.2, 2.0, 0.7, -0.4]]);
    let all = permutations(&[0, 1, 2, 3, 4]);
    let probability = |list: &[u32]| {
        let list = Array2::from_shape_vec((1, list.len()), list.to_vec()).unwrap();
        let rankings = Rankings::new(&list, PlaceWeights::Ones).unwrap();
        (-of_logits(&rankings, &logits).values[0]).exp()
    };
    let sum: f64 = all.iter().map(|list| probability(list)).sum();
    assert_eq!(all.len(), 120);
    assert!((sum - 1.0).abs() < 120.0 * f64::EPSILON, "{sum}");
    for head in [vec![1_u32], vec![4, 2], vec![2, 0, 3]] {
        let with = all.iter().filter(|list| list.starts_with(&head));
        let sum: f64 = with.map(|list| probability(list)).sum();
        assert!((sum - probability(&head)).abs() < 120.0 * f64::EPSILON, "{head:?}");
    }
    // A partial list is a whole one that says no more, whichever way it is written.
    let whole = Rankings::partial(&arr2(&[[4_u32, 2, 0, 1, 3]]), &[2]).unwrap();
    let part = Rankings::new(&arr2(&[[4_u32, 2]]), PlaceWeights::Ones).unwrap();
    let (a, b) = (of_logits(&whole, &logits), of_logits(&part, &logits));
    assert!((a.values[0] - b.values[0]).abs() < 8.0 * f64::EPSILON);
    assert_close_arrays(&a.gradient, &b.gradient, 8.0 * f64::EPSILON);
}

fn assert_close_arrays(a: &Array2<f64>, b: &Array2<f64>, absolute: f64) {
    assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= absolute), "{a} {b}");
}

#[test]
fn gradients_sum_to_nothing_and_an_offset_is_not_seen() {
    let mut stream = Stream(17);
    let (n, v) = (5, 12);
    let teacher = stream.matrix(n, v, 1.5);
    // Steps of 1/64: an offset of 2³⁰ leaves all bits of them.
    let logits = stream.matrix(n, v, 2.0).mapv(|x| (x * 64.0).round() / 64.0);
    let targets = [0_u32, 3, 11, 7, 7];
    for most in [None, Some(1), Some(4)] {
        let rankings = Rankings::of_teacher(&teacher, &targets, 2.0, most).unwrap();
        let (plain, moved) =
            (of_logits(&rankings, &logits), of_logits(&rankings, &(&logits + 2_f64.powi(30))));
        assert_eq!(plain, moved);
        for row in plain.gradient.outer_iter() {
            assert!(row.sum().abs() < 4.0 * v as f64 * f64::EPSILON, "{row}");
        }
    }
}

#[test]
fn a_teacher_orders_the_others_and_its_list_gives_what_its_logits_give() {
    let teacher = arr2(&[[1.0, 3.0, 1.0, -2.0, 2.0], [0.0, -0.0, 5.0, f64::NEG_INFINITY, 1.0]]);
    let all = Rankings::of_teacher(&teacher, &[3, 4], 1.0, None).unwrap();
    assert_eq!(all.classes(), arr2(&[[3, 1, 4, 0, 2], [4, 2, 0, 1, 3]]));
    assert_eq!(all.weights()[[1, 4]], 0.0);
    for ((row, logits), target) in all.weights().outer_iter().zip(teacher.outer_iter()).zip([3, 4])
    {
        assert!((row.sum() - 1.0).abs() < 4.0 * f64::EPSILON);
        let sum: f64 = logits.iter().map(|x| x.exp()).sum();
        assert!((row[0] - logits[target].exp() / sum).abs() < 4.0 * f64::EPSILON);
    }
    let part = Rankings::of_teacher(&teacher, &[3, 4], 1.0, Some(3)).unwrap();
    assert_eq!(part.classes(), all.classes().slice(ndarray::s![.., ..3]));
    assert_eq!(part.weights(), all.weights().slice(ndarray::s![.., ..3]));
    // What a forward of the teacher tells: its likeliest classes, with the target put beside them.
    let builder = LinearCrossEntropy::builder().top_k(2).reduction(Reduction::None);
    let forward =
        builder.build().unwrap().forward(&Inputs::from_logits(&teacher, &[3_u32, 4])).unwrap();
    let (top, surprisals) = (forward.top_k(), forward.losses());
    let (mut classes, mut logs) = (Array2::from_elem((2, 3), NONE), Array2::zeros((2, 3)));
    for (i, target) in [3_u32, 4].into_iter().enumerate() {
        (classes[[i, 0]], logs[[i, 0]]) = (target, -surprisals[i]);
        for j in 0..2 {
            let class = top.classes[[i, j]] as u32;
            if class != target {
                (classes[[i, j + 1]], logs[[i, j + 1]]) = (class, top.log_probabilities[[i, j]]);
            }
        }
    }
    let list = Rankings::of_teacher_list(&classes, &logs, &[3, 4]).unwrap();
    assert_eq!(list.classes(), arr2(&[[3, 1, 4], [4, 2, NONE]]));
    let (own, wanted) = (list.weights(), all.weights());
    let own = own.row(0).to_vec();
    assert_close("weights", own, wanted.row(0).iter().take(3), 16.0 * f64::EPSILON, 0.0);
}

#[test]
fn rows_that_take_no_part_and_weights_of_rows() {
    let mut stream = Stream(23);
    let (hidden, classifier) = (stream.matrix(4, 3, 1.0), stream.matrix(11, 3, 1.0));
    let order = arr2(&[[0_u32, 1], [2, 3], [4, 5], [6, 7]]);
    let rankings = Rankings::new(&order, PlaceWeights::Ones).unwrap();
    let head = LinearCrossEntropy::builder().build().unwrap();
    let all = of_logits(&rankings, &hidden.dot(&classifier.t()));
    let (ignored, tokens) = ([false, true, false, false], Array1::from(vec![1.0, 5.0, -0.5, 0.0]));
    let inputs = Inputs::unlabelled(&hidden, &classifier)
        .ignore(&ignored)
        .token_weights(&tokens)
        .candidates(rankings.candidates());
    let losses = PlackettLuce::new().evaluate(&rankings, &head.forward(&inputs).unwrap()).unwrap();
    let wanted = [all.values[0], 0.0, -0.5 * all.values[2], 0.0];
    for (a, b) in losses.values.iter().zip(wanted) {
        assert!((a - b).abs() < 64.0 * f64::EPSILON);
    }
    assert!((losses.loss() - (wanted[0] + wanted[2]) / 3.0).abs() < 64.0 * f64::EPSILON);
    assert!(losses.by_log_probabilities.row(1).iter().all(|x| *x == 0.0));
    let divided = PlackettLuce::new().reduction(Reduction::Divide(8.0)).unwrap();
    let eighth = divided.of_logits(&rankings, &hidden.dot(&classifier.t())).unwrap();
    assert_eq!(eighth.loss(), all.values.sum() / 8.0);
    assert_close_arrays(&(eighth.gradient * 8.0), &all.gradient, 1e-15);
}

#[test]
fn a_row_that_is_no_number_is_alone_with_it() {
    let mut logits = Stream(29).matrix(3, 6, 1.0);
    logits[[1, 5]] = f64::NAN;
    let order = arr2(&[[0_u32, 1], [2, 3], [4, 5]]);
    let rankings = Rankings::new(&order, PlaceWeights::Ones).unwrap();
    let losses = of_logits(&rankings, &logits);
    assert!(losses.values[1].is_nan() && losses.gradient.row(1).iter().all(|x| x.is_nan()));
    for i in [0, 2] {
        assert!(
            losses.values[i].is_finite() && losses.gradient.row(i).iter().all(|x| x.is_finite())
        );
    }
    // Classes that cannot be, listed and not.
    let masked = arr2(&[[1.0, f64::NEG_INFINITY, f64::NEG_INFINITY, 0.5]]);
    let plain = arr2(&[[1.0, 0.5]]);
    let of = |list: &[u32], logits: &Array2<f64>| {
        let list = Array2::from_shape_vec((1, list.len()), list.to_vec()).unwrap();
        of_logits(&Rankings::new(&list, PlaceWeights::Ones).unwrap(), logits)
    };
    let (a, b) = (of(&[3, 0, 2], &masked), of(&[1, 0], &plain));
    assert_eq!(a.values, b.values);
    assert_eq!(a.gradient.row(0).to_vec(), [b.gradient[[0, 0]], 0.0, 0.0, b.gradient[[0, 1]]]);
    let lost = of(&[1], &masked);
    assert_eq!((lost.values[0], lost.gradient.sum()), (f64::INFINITY, 0.0));
}

/// No row: a sum of nothing. What the lists leave to the others was asked for all the same.
#[test]
fn no_rows_have_no_loss() {
    let rankings = Rankings::new(&Array2::zeros((0, 2)), PlaceWeights::Ones).unwrap();
    let (hidden, classifier) = (Array2::<f64>::zeros((0, 3)), Array2::<f64>::zeros((4, 3)));
    let inputs = Inputs::unlabelled(&hidden, &classifier);
    let head = LinearCrossEntropy::builder().build().unwrap();
    let forward = head.forward(&inputs.candidates(rankings.candidates())).unwrap();
    let losses = rows().evaluate(&rankings, &forward).unwrap();
    assert!(losses.values.is_empty() && losses.loss() == 0.0);
    let classes = Array2::zeros((0, 2));
    let forward = head.forward(&inputs.candidates(Candidates::new(&classes))).unwrap();
    let error = rows().evaluate(&rankings, &forward).unwrap_err().to_string();
    assert!(error.contains("was not asked for"), "{error}");
}

#[test]
fn classes_of_rankings_are_not_called_candidates() {
    let (hidden, classifier) = (Array2::<f64>::zeros((1, 3)), Array2::<f64>::zeros((4, 3)));
    let head = LinearCrossEntropy::builder().build().unwrap();
    for (order, start) in [
        (arr2(&[[1_u32, 4]]), "the rankings[0, 1] is 4"),
        (arr2(&[[1, 2], [0, 1]]), "the rankings has shape [2, 2]"),
    ] {
        let rankings = Rankings::new(&order, PlaceWeights::Ones).unwrap();
        let inputs = Inputs::unlabelled(&hidden, &classifier).candidates(rankings.candidates());
        let error = head.forward(&inputs).unwrap_err().to_string();
        assert!(error.starts_with(start), "{error}");
    }
}

#[test]
fn what_is_no_ranking_is_refused() {
    let value = |result: Result<Rankings>, at: &[usize]| match result {
        Err(Error::Value { index, .. }) => assert_eq!(index, at),
        other => panic!("{other:?}"),
    };
    let shape = |result: Result<Rankings>| {
        assert!(matches!(result, Err(Error::Shape { .. })), "{result:?}");
    };
    let twice = arr2(&[[0_u32, 1, 2], [3, NONE, 3]]);
    value(Rankings::new(&twice, PlaceWeights::Ones), &[1, 2]);
    value(Rankings::partial(&twice, &[0, 0]), &[1, 2]);
    let order = arr2(&[[0_u32, 1, 2], [3, NONE, 2]]);
    value(Rankings::new(&order, PlaceWeights::Each(&[1.0, -0.0, -1.0])), &[0, 2]);
    value(Rankings::new(&order, PlaceWeights::Each(&[1.0, f64::NAN, 1.0])), &[0, 1]);
    value(Rankings::partial(&order, &[3, 3]), &[1]);
    shape(Rankings::partial(&order, &[3]));
    shape(Rankings::new(&order, PlaceWeights::Each(&[1.0])));
    shape(Rankings::new(&order, PlaceWeights::Entries((&Array2::<f64>::ones((3, 2))).into())));
    let long = Array2::from_shape_fn((1, 1025), |(_, k)| k as u32);
    shape(Rankings::new(&long, PlaceWeights::Position));
    let longest = long.slice(ndarray::s![.., ..1024]);
    let weights = Rankings::new(longest, PlaceWeights::Position).unwrap().weights().to_owned();
    assert_eq!((weights[[0, 0]], weights[[0, 1022]]), (1023_f64.exp2(), 1.0));

    let logits = arr2(&[[0.0, 1.0], [f64::NAN, 0.0]]);
    value(Rankings::of_teacher(&logits, &[0, 1], 1.0, None), &[1, 0]);
    let logits = arr2(&[[0.0, 1.0], [1.0, 0.0]]);
    let result = Rankings::of_teacher(&logits, &[0, 2], 1.0, None);
    assert!(matches!(result, Err(Error::TargetOutOfRange { row: 1, .. })));
    shape(Rankings::of_teacher(&logits, &[0], 1.0, None));
    for (temperature, most) in [(0.0, None), (-1.0, None), (f64::NAN, None), (1.0, Some(0))] {
        let result = Rankings::of_teacher(&logits, &[0, 1], temperature, most);
        assert!(matches!(result, Err(Error::Option { .. })), "{result:?}");
    }
    let (classes, logs) = (arr2(&[[0_u32, 1]]), arr2(&[[-0.5, -1.0]]));
    value(Rankings::of_teacher_list(&classes, &logs, &[2]), &[0]);
    value(Rankings::of_teacher_list(&classes, &arr2(&[[0.5, -1.0]]), &[0]), &[0, 0]);

    let rankings = Rankings::new(&order, PlaceWeights::Ones).unwrap();
    let of = |rows, v| rows_of(&rankings, rows, v);
    assert!(matches!(of(2, 3), Err(Error::Value { .. })));
    assert!(matches!(of(3, 4), Err(Error::Shape { .. })));
    assert!(matches!(of(2, 0), Err(Error::Shape { .. })));
    assert!(of(2, 4).is_ok());
    // A forward of other classes, or without what they leave.
    let logits = Array2::<f64>::zeros((2, 4));
    let head = LinearCrossEntropy::builder().build().unwrap();
    for candidates in [Candidates::new(&order), Candidates::new(&twice).with_others()] {
        let inputs = Inputs::unlabelled_logits(&logits).candidates(candidates);
        let Ok(forward) = head.forward(&inputs) else { continue };
        let result = PlackettLuce::new().evaluate(&rankings, &forward);
        assert!(matches!(result, Err(Error::Conflict { .. })), "{result:?}");
    }
}

fn rows_of(rankings: &Rankings, rows: usize, v: usize) -> Result<RankedLosses> {
    PlackettLuce::new().of_logits(rankings, &Array2::<f64>::zeros((rows, v)))
}

fn numbers(shape: &[usize], seed: u64) -> ArrayD<f64> {
    let mut generator = Generator::new(seed);
    ArrayD::from_shape_simple_fn(IxDyn(shape), || 3.0 * generator.uniform() - 1.5)
}

fn check<F>(name: &str, inputs: &[ArrayD<f64>], f: F)
where
    F: for<'t> Fn(&'t Tape<f64>, &[Variable<'t, f64>]) -> Result<Variable<'t, f64>>,
{
    let worst = gradcheck(f, inputs).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(worst.error <= 1e-8, "{name}: {worst:?}");
}

#[test]
fn the_tape_has_them_from_logits_and_from_hidden_states() {
    let order = arr2(&[[0_u32, 6, 3], [2, NONE, 5], [NONE, NONE, NONE], [1, 4, 6]]);
    let rankings = Rankings::new(&order, PlaceWeights::Each(&[1.0, 0.5, 2.0])).unwrap();
    let options = LinearCrossEntropy::builder().temperature(1.5).build().unwrap();
    let inputs = [numbers(&[2, 2, 4], 1), numbers(&[7, 4], 2), numbers(&[7], 3)];
    check("of hidden states", &inputs, |_, x| {
        x[0].linear_ranked_losses(x[1], Some(x[2]), &rankings, &options)
    });
    check("of logits", &[numbers(&[2, 2, 7], 4)], |_, x| x[0].ranked_losses(&rankings));
    let tape = Tape::<f64>::new().unwrap();
    let leaves = inputs.map(|input| tape.leaf(input));
    let [hidden, classifier, bias] = leaves;
    let fused = hidden.linear_ranked_losses(classifier, Some(bias), &rankings, &options).unwrap();
    let logits = hidden.reshape(&[4, 4]).unwrap().matmul(classifier.transpose().unwrap()).unwrap();
    let logits = logits.add(bias).unwrap().scale(1.0 / 1.5);
    let plain = logits.ranked_losses(&rankings).unwrap();
    assert_eq!((fused.shape(), plain.shape()), (vec![2, 2], vec![4]));
    for (a, b) in fused.value().iter().zip(plain.value().iter()) {
        assert!((a - b).abs() < 100.0 * f64::EPSILON);
    }
    let single = Tape::<f32>::new().unwrap();
    let logits = single.leaf(numbers(&[4, 7], 5).mapv(|x| x as f32));
    let gradients = logits.ranked_losses(&rankings).unwrap().mean().backward().unwrap();
    assert!(gradients.of(logits).unwrap().sum().abs() < 1e-5);
}

/// How far the loss of the one row, and its gradient, that a head gives are from those of its logits.
fn fused<'a>(
    rankings: &'a Rankings,
    inputs: Inputs<'a>,
    gradient: Gradients<'_>,
    given: &RankedLosses,
) -> f64 {
    let head = LinearCrossEntropy::builder().build().unwrap();
    let inputs = inputs.candidates(rankings.candidates());
    let forward = head.forward(&inputs).unwrap();
    let losses = rows().evaluate(rankings, &forward).unwrap();
    head.vjp(&inputs, &forward, &losses.upstream(), gradient).unwrap();
    (losses.values[0] - given.values[0]).abs()
}

/// The first choice is certain, the second even: what the unlisted classes have of it is e^spread of their share.
#[test]
fn a_choice_among_classes_far_below_the_first_has_its_gradient() {
    let rankings = Rankings::new(&arr2(&[[0_u32, 2]]), PlaceWeights::Ones).unwrap();
    let wanted = [0.0, 0.5, -0.5, 0.0];
    for spread in [50.0, 95.0, 720.0, 2862.0, 30000.0, 2e6] {
        let logits = arr2(&[[spread, 0.0, 0.0, f64::NEG_INFINITY]]);
        let given = of_logits(&rankings, &logits);
        let near = |found: f64, wanted: f64, digits: f64| {
            // The first choice adds e^−spread. In ln p of the second, −spread, are so many digits of a difference of two.
            let bound = (-spread).exp() + (1.0 + spread) * digits;
            assert!((found - wanted).abs() <= bound, "{spread}: {found} for {wanted}");
        };
        given.gradient.iter().zip(wanted).for_each(|(g, w)| near(*g, w, f64::EPSILON));
        let mut gradient = Array2::<f64>::zeros(logits.dim());
        let to = Gradients::new().logits(&mut gradient);
        let off = fused(&rankings, Inputs::unlabelled_logits(&logits), to, &given);
        near(off, 0.0, 8.0 * f64::EPSILON);
        gradient.iter().zip(wanted).for_each(|(g, w)| near(*g, w, 8.0 * f64::EPSILON));
        let single = logits.mapv(|x| x as f32);
        let mut gradient = Array2::<f32>::zeros(logits.dim());
        let to = Gradients::new().logits(&mut gradient);
        let off = fused(&rankings, Inputs::unlabelled_logits(&single), to, &given);
        near(off, 0.0, 8.0 * f64::EPSILON);
        for (found, wanted) in gradient.iter().zip(wanted) {
            let rounding = f64::from(2.0 * f32::EPSILON) / (1.0 + spread);
            near(f64::from(*found), wanted, 8.0 * f64::EPSILON + rounding);
        }
    }
}
