//! Shards of the vocabulary that are put together wrongly are errors, never other losses.

use ndarray::{Array2, ArrayView2, arr1, arr2, s};
use std::ops::Range;

use surprisal::{
    Error, Fold, Gradients, Inputs, LinearCrossEntropy, LinearCrossEntropyBuilder, Reduction,
    Shard, Statistic, Upstream,
};

fn hidden() -> Array2<f64> {
    arr2(&[[1.0, -0.5], [0.3, 2.0]])
}

fn classifier() -> Array2<f64> {
    arr2(&[[0.1, 0.0], [0.2, 1.0], [0.3, -1.0], [5.0, 0.5]])
}

fn part<'a>(
    hidden: &'a Array2<f64>,
    classifier: ArrayView2<'a, f64>,
    first_class: usize,
) -> Inputs<'a> {
    Inputs::new(hidden.view(), classifier, &[0_u32, 2]).shard(Shard::new(first_class, 4))
}

fn fold(builder: LinearCrossEntropyBuilder, classes: Range<usize>) -> Fold {
    let (hidden, classifier) = (hidden(), classifier());
    let inputs = part(&hidden, classifier.slice(s![classes.clone(), ..]), classes.start);
    builder.build().unwrap().fold(&inputs).unwrap()
}

fn plain() -> LinearCrossEntropyBuilder {
    LinearCrossEntropy::builder()
}

fn conflict<T>(result: surprisal::Result<T>, says: &str) {
    match result {
        Err(Error::Conflict { what }) => assert!(what.contains(says), "{what}"),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("accepted"),
    }
}

#[test]
fn a_forgotten_shard_is_an_error() {
    conflict(fold(plain(), 0..2).finish(), "no class 2");
    conflict(fold(plain(), 2..4).finish(), "no class 0");
    let mut gap = fold(plain(), 0..1);
    gap.merge(&fold(plain(), 2..4)).unwrap();
    conflict(gap.finish(), "no class 1");
}

#[test]
fn a_shard_that_comes_twice_is_an_error() {
    let mut twice = fold(plain(), 0..2);
    conflict(twice.merge(&fold(plain(), 0..2)), "class 0 is in both");
    conflict(twice.merge(&fold(plain(), 1..4)), "class 1 is in both");
    // What was refused has changed nothing.
    twice.merge(&fold(plain(), 2..4)).unwrap();
    let (hidden, classifier) = (hidden(), classifier());
    let whole = Inputs::new(hidden.view(), classifier.view(), &[0_u32, 2]);
    let whole = plain().build().unwrap().forward(&whole).unwrap();
    assert!((twice.finish().unwrap().loss() - whole.loss()).abs() < 1e-14);
}

#[test]
fn shards_of_other_options_do_not_merge() {
    for other in [
        plain().softcap(0.5),
        plain().label_smoothing(0.3),
        plain().scale(2.0),
        plain().z_loss(0.1),
        plain().reduction(Reduction::Sum),
        plain().entropy(true),
        plain().top_k(1),
    ] {
        conflict(fold(plain(), 0..2).merge(&fold(other, 2..4)), "other options");
    }
}

#[test]
fn a_shard_alone_has_no_forward() {
    let (hidden, classifier) = (hidden(), classifier());
    let inputs = part(&hidden, classifier.slice(s![0..2, ..]), 0);
    conflict(plain().build().unwrap().forward(&inputs), "a shard alone");
}

#[test]
fn states_from_another_machine() {
    let (mut here, there) = (fold(plain(), 0..3), fold(plain(), 3..4));
    conflict(here.merge_states(2..4, there.states()), "class 2 is in both");
    conflict(here.merge_states(3..4, &there.states()[..1]), "number of rows");
    conflict(fold(plain().top_k(2), 0..3).merge_states(3..4, there.states()), "top k");
    here.merge_states(3..4, there.states()).unwrap();
    let mut merged = fold(plain(), 0..3);
    merged.merge(&there).unwrap();
    assert_eq!(here.finish().unwrap().loss(), merged.finish().unwrap().loss());
}

#[test]
fn ranks_without_the_logits_of_all_targets_are_unknown() {
    let (hidden, classifier) = (hidden(), classifier());
    let loss = plain().rank(true).build().unwrap();
    // Each shard gets its own logits only, which is not what it needs.
    let mut folds = [0..2, 2..4].map(|classes| {
        let shard = classifier.slice(s![classes.clone(), ..]);
        let own = loss.target_logits(&part(&hidden, shard, classes.start)).unwrap();
        loss.fold(&part(&hidden, shard, classes.start).target_logits(own.view())).unwrap()
    });
    let [first, second] = &mut folds;
    first.merge(second).unwrap();
    let forward = first.clone().finish().unwrap();
    assert_eq!(forward.rank().unwrap().to_vec(), [-1, -1]);
    let whole = Inputs::new(hidden.view(), classifier.view(), &[0_u32, 2]);
    let whole = loss.forward(&whole).unwrap();
    assert!((forward.loss() - whole.loss()).abs() < 1e-14);
    assert_eq!(whole.rank().unwrap().to_vec(), [2, 3]);
}

#[test]
fn logits_that_are_given_ahead_count_for_the_rank_alone() {
    let (hidden, classifier) = (hidden(), classifier());
    let inputs = Inputs::new(hidden.view(), classifier.view(), &[0_u32, 2]);
    let loss = plain().rank(true).build().unwrap();
    let truth = loss.forward(&inputs).unwrap();
    let wrong = arr1(&[10.0, 10.0]);
    let forward = loss.forward(&inputs.target_logits(wrong.view())).unwrap();
    assert_eq!(forward.losses(), truth.losses());
    assert_eq!(forward.rank().unwrap().to_vec(), [0, 0]);
}

#[test]
fn candidates_of_a_shard() {
    let (hidden, classifier) = (hidden(), classifier());
    let loss = plain().rank(true).build().unwrap();
    let whole = Inputs::new(hidden.view(), classifier.view(), &[0_u32, 2]);
    let forward = loss.forward(&whole).unwrap();
    let own = part(&hidden, classifier.slice(s![2..4, ..]), 2);
    let of = loss.log_probabilities(&own, &forward, arr2(&[[3_u32], [2]]).view()).unwrap();
    let all = loss.log_probabilities(&whole, &forward, arr2(&[[3_u32, 0], [2, 2]]).view()).unwrap();
    assert_eq!([of[[0, 0]], of[[1, 0]]], [all[[0, 0]], all[[1, 0]]]);
    let expected = forward.statistic(Statistic::LogProbability).unwrap();
    assert_eq!([all[[0, 1]], all[[1, 1]]], [expected[0], expected[1]]);
    assert!(loss.log_probabilities(&own, &forward, arr2(&[[1_u32], [2]]).view()).is_err());
}

#[test]
fn a_forward_without_the_entropy_has_no_gradient_of_it() {
    let (hidden, classifier) = (hidden(), classifier());
    let inputs = Inputs::new(hidden.view(), classifier.view(), &[0_u32, 2]);
    let forward = plain().build().unwrap().forward(&inputs).unwrap();
    let loss = plain().entropy(true).build().unwrap();
    let ones = arr1(&[1.0, 1.0]);
    let mut gradient = Array2::<f64>::zeros((2, 2));
    let gradients = Gradients::new().hidden(gradient.view_mut());
    let upstream = Upstream::scalar(0.0).entropy(ones.view());
    conflict(loss.vjp(&inputs, &forward, &upstream, gradients), "carries no entropy");
}
