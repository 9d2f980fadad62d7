//! Log-probabilities of listed classes on the tape: against central differences, and the graph that has all logits.

use ndarray::{Array1, Array2, ArrayD, IxDyn, arr2};
use surprisal::autodiff::{Generator, Tape, Variable, gradcheck};
use surprisal::loss::Candidates;
use surprisal::{Filter, LinearCrossEntropy, Result};

const NONE: u32 = Candidates::NONE;

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

/// Rows with a class that stands twice, one that names fewer, and one that names none.
fn lists() -> Array2<u32> {
    arr2(&[[0, 6, 3], [2, 2, 5], [NONE, 1, NONE], [NONE, NONE, NONE], [4, 0, 6]])
}

#[test]
fn all_parts_against_differences() {
    let classes = lists();
    let inputs = [numbers(&[5, 4], 1), numbers(&[7, 4], 2), numbers(&[7], 3)];
    for softcap in [None, Some(4.0)] {
        let builder = LinearCrossEntropy::builder().temperature(1.5);
        let builder = match softcap {
            Some(softcap) => builder.softcap(softcap),
            None => builder,
        };
        let (plain, entropies) =
            (builder.clone().build().unwrap(), builder.entropy(true).build().unwrap());
        check("log-probabilities", &inputs, |_, x| {
            let own =
                x[0].linear_log_probabilities(x[1], Some(x[2]), Candidates::new(&classes), &plain)?;
            assert!(own.log_others.is_none() && own.entropy.is_none());
            Ok(own.log_probabilities)
        });
        check("of all three", &inputs, |_, x| {
            let candidates = Candidates::new(&classes).with_others();
            let own = x[0].linear_log_probabilities(x[1], None, candidates, &entropies)?;
            let sums = own.log_probabilities.exp().sum_axes(&[1], false)?;
            let beside =
                own.log_others.unwrap().scale(-0.5).add(own.entropy.unwrap().scale(2.0))?;
            sums.mul(beside)
        });
        check("tied", &[numbers(&[7, 4], 4)], |_, x| {
            let hidden = x[0].gather(&[1, 2, 3, 4, 1])?;
            Ok(hidden
                .linear_log_probabilities(x[0], None, Candidates::new(&classes), &plain)?
                .log_probabilities)
        });
    }
}

/// A loss of preferences: −ln σ(β (Σ ln p of the chosen − Σ ln p of the rejected)).
#[test]
fn a_loss_goes_on_from_them() {
    let classes = arr2(&[[1_u32], [2], [3], [4], [5], [6]]);
    let loss = LinearCrossEntropy::builder().build().unwrap();
    let inputs = [numbers(&[2, 3, 4], 5), numbers(&[7, 4], 6)];
    check("preferences", &inputs, |_, x| {
        let own = x[0].linear_log_probabilities(x[1], None, Candidates::new(&classes), &loss)?;
        assert_eq!(own.log_probabilities.shape(), [2, 3, 1]);
        let sums = own.log_probabilities.reshape(&[2, 3])?.sum_axes(&[1], false)?;
        let margin = sums.slice(0, 0..1)?.sub(sums.slice(0, 1..2)?)?;
        Ok(margin.scale(0.3).sigmoid().ln().neg())
    });
}

#[test]
fn they_are_those_of_the_graph_with_all_logits() {
    let (rows, width, vocabulary, k) = (23, 11, 201, 5);
    let mut generator = Generator::new(9);
    let classes = Array2::from_shape_simple_fn((rows, k), || generator.below(vocabulary) as u32);
    let loss = LinearCrossEntropy::builder().build().unwrap();
    let tape = Tape::<f64>::new().unwrap();
    let hidden = tape.leaf(numbers(&[rows, width], 10));
    let classifier = tape.leaf(numbers(&[vocabulary, width], 11));
    let own = hidden
        .linear_log_probabilities(classifier, None, Candidates::new(&classes), &loss)
        .unwrap()
        .log_probabilities;
    let all = hidden.matmul(classifier.transpose().unwrap()).unwrap().log_softmax().unwrap();
    let weights = numbers(&[rows, k], 12);
    let mut counts = Array2::<f64>::zeros((rows, vocabulary));
    for ((i, j), &class) in classes.indexed_iter() {
        counts[[i, class as usize]] += weights[[i, j]];
        let (a, b) = (own.value()[[i, j]], all.value()[[i, class as usize]]);
        assert!((a - b).abs() < 1e-13, "{a} {b}");
    }
    let fused = own.mul(tape.constant(weights)).unwrap().sum().backward().unwrap();
    let plain = all.mul(tape.constant(counts)).unwrap().sum().backward().unwrap();
    for leaf in [hidden, classifier] {
        let (a, b) = (fused.of(leaf).unwrap(), plain.of(leaf).unwrap());
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-12));
    }
    // Only what is wanted.
    let partly = hidden
        .linear_log_probabilities(classifier.detach(), None, Candidates::new(&classes), &loss)
        .unwrap();
    let gradients = partly.log_probabilities.sum().backward().unwrap();
    assert!(gradients.of(hidden).is_some() && gradients.of(classifier).is_none());
}

#[test]
fn a_row_that_names_no_class_takes_no_part() {
    let classes = lists();
    let loss = LinearCrossEntropy::builder().entropy(true).build().unwrap();
    let tape = Tape::<f32>::new().unwrap();
    let mut states = numbers(&[5, 4], 1).mapv(|x| x as f32);
    // Whatever stands there.
    states.index_axis_mut(ndarray::Axis(0), 3).fill(f32::NAN);
    let (hidden, classifier) =
        (tape.leaf(states), tape.leaf(numbers(&[7, 4], 2).mapv(|x| x as f32)));
    let candidates = Candidates::new(&classes).with_others();
    let own = hidden.linear_log_probabilities(classifier, None, candidates, &loss).unwrap();
    assert_eq!(own.log_probabilities.value().index_axis(ndarray::Axis(0), 3).sum(), 0.0);
    assert_eq!(
        (own.log_others.unwrap().value()[[3]], own.entropy.unwrap().value()[[3]]),
        (0.0, 0.0)
    );
    let gradients = own.log_probabilities.sum().backward().unwrap();
    assert!(gradients.of(classifier).unwrap().iter().all(|g| g.is_finite()));
    let by_hidden = gradients.of(hidden).unwrap();
    assert!(by_hidden.index_axis(ndarray::Axis(0), 3).iter().all(|&g| g == 0.0));
}

#[test]
fn what_does_not_go_is_said() {
    fn says<T>(result: Result<T>, words: &str) {
        match result {
            Err(error) => assert!(error.to_string().contains(words), "{error}"),
            Ok(_) => panic!("expected: {words}"),
        }
    }
    let (tape, other) = (Tape::<f64>::new().unwrap(), Tape::<f64>::new().unwrap());
    let hidden = tape.leaf(numbers(&[5, 4], 1));
    let classifier = tape.leaf(numbers(&[7, 4], 2));
    let loss = LinearCrossEntropy::builder().build().unwrap();
    let classes = lists();
    let of = |classifier, classes: &Array2<u32>| {
        hidden.linear_log_probabilities(classifier, None, Candidates::new(classes), &loss)
    };
    says(of(classifier, &arr2(&[[0], [1]])), "5 rows");
    says(of(classifier, &Array2::zeros((5, 0))), "one class at least");
    says(of(classifier, &Array2::from_elem((5, 1), 7)), "a class of the classifier");
    says(of(tape.leaf(numbers(&[7], 3)), &classes), "two axes");
    says(of(tape.leaf(numbers(&[7, 3], 3)), &classes), "classifier");
    let bias = tape.leaf(Array1::<f64>::zeros(6));
    let biased =
        hidden.linear_log_probabilities(classifier, Some(bias), Candidates::new(&classes), &loss);
    says(biased, "bias");
    let stranger = other.leaf(numbers(&[7, 4], 2));
    assert!(
        stranger
            .linear_log_probabilities(classifier, None, Candidates::new(&classes), &loss)
            .is_err()
    );
    let filtered = LinearCrossEntropy::builder().filter(Filter::Auto).build().unwrap();
    says(
        hidden.linear_log_probabilities(classifier, None, Candidates::new(&classes), &filtered),
        "filter",
    );
}

/// From hidden states and classifier to a preference and to a policy loss: three sequences of three tokens.
#[test]
fn losses_of_sequences_against_differences() {
    use surprisal::preference::{Dpo, KlEstimator, PolicyLoss, Rollout};
    let tokens = arr2(&[[0_u32], [6], [3], [2], [5], [1], [4], [0], [6]]);
    let mask = arr2(&[[true, true, true], [true, true, false], [true, false, false]]);
    let inputs = [numbers(&[9, 4], 11), numbers(&[7, 4], 12), numbers(&[7], 13)];
    let head = LinearCrossEntropy::builder().entropy(true).build().unwrap();
    // Another policy, near enough that no ratio is at its bound.
    let other = Tape::<f64>::new().unwrap();
    let near = |at: usize| other.constant(inputs[at].mapv(|x| x + 0.05 * x * x).into_shared());
    let reference = near(0)
        .linear_log_probabilities(near(1), Some(near(2)), Candidates::new(&tokens), &head)
        .and_then(|own| own.log_probabilities.reshape(&[3, 3]))
        .unwrap()
        .value();
    let reference = reference.view().into_dimensionality::<ndarray::Ix2>().unwrap().to_owned();
    check("DPO", &inputs, |_, x| {
        let own =
            x[0].linear_log_probabilities(x[1], Some(x[2]), Candidates::new(&tokens), &head)?;
        let log_probs = own.log_probabilities.reshape(&[3, 3])?;
        log_probs.pair_losses(&mask, Some((&reference).into()), &[[0, 1], [2, 1]], &Dpo::new(0.5)?)
    });
    let advantages = Array1::from(vec![1.0, -0.5, 0.25]);
    let rollout = Rollout::new(&mask, &advantages).old(&reference).reference(&reference);
    let loss = PolicyLoss::grpo().divergence(0.04, KlEstimator::K3).unwrap();
    let loss = loss.entropy_bonus(0.01).unwrap();
    check("GRPO", &inputs, |_, x| {
        let own =
            x[0].linear_log_probabilities(x[1], Some(x[2]), Candidates::new(&tokens), &head)?;
        let log_probs = own.log_probabilities.reshape(&[3, 3])?;
        let entropy = own.entropy.unwrap().reshape(&[3, 3])?;
        log_probs.policy_loss(Some(entropy), &rollout, &loss)
    });
}
