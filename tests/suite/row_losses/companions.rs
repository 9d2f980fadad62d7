//! Companions of every kind, and shards of a loss with one.

use half::{bf16, f16};
use ndarray::{Array1, Array2, arr1, arr2, s};
use surprisal::autodiff::gradcheck;
use surprisal::loss::{Companion, EmbeddingCost, ExpectedCost, Head, KullbackLeibler};
use surprisal::{
    Error, Gradients, Inputs, LinearCrossEntropy, LinearCrossEntropyBuilder, Reduction, Shard,
    Upstream,
};
use testing::Stream;

use super::fused::Data;
use super::own::Everything;

/// The forms of a companion say the same.
#[test]
fn a_companion_may_be_of_classes_of_entries_or_listed() {
    let data = Data::new(4, 6, 300);
    let loss = LinearCrossEntropy::builder().row_loss(ExpectedCost).build().unwrap();
    let run = |companion| {
        let mut d_hidden = Array2::<f64>::zeros(data.hidden.dim());
        let inputs =
            Inputs::new(&data.hidden, &data.classifier, &data.targets).companion(companion);
        let gradients = Gradients::new().hidden(&mut d_hidden);
        let forward = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
        (forward.losses(), d_hidden)
    };
    let mut classes = Array1::<f64>::zeros(300);
    (classes[3], classes[257]) = (2.0, -1.5);
    let entries = Array2::from_shape_fn((4, 300), |(_, v)| classes[v]);
    let listed = Array2::from_shape_fn((4, 3), |(_, j)| [257, 3, 3][j]);
    let values = Array2::from_shape_fn((4, 3), |(_, j)| [-1.5, 0.5, 1.5][j]);
    let expected = run(Companion::classes(&classes));
    assert_eq!(run(Companion::entries(&entries)), expected);
    assert_eq!(run(Companion::listed(&listed, &values)), expected);
    assert!(expected.1.iter().any(|x| *x != 0.0));
}

/// The state of a shard carries the companion, and a vjp over shards is that of the whole.
#[test]
fn shards_know_which_loss_they_are_of() {
    let data = Data::new(6, 5, 90);
    let of = |loss: LinearCrossEntropyBuilder| loss.entropy(true).build().unwrap();
    let loss = of(LinearCrossEntropy::builder().row_loss(Everything));
    let costs = arr1(&data.costs.row(0).to_vec());
    let whole = Inputs::new(&data.hidden, &data.classifier, &data.targets)
        .companion(Companion::classes(&costs));
    let mut expected = Array2::<f64>::zeros(data.hidden.dim());
    let gradients = Gradients::new().hidden(&mut expected);
    let forward = loss.loss_and_gradients(&whole, &Upstream::default(), gradients).unwrap();
    let parts = [0..31, 31..90].map(|classes| data.classifier.slice(s![classes, ..]));
    let shards = [(0, &parts[0]), (31, &parts[1])].map(|(first, part)| {
        Inputs::new(&data.hidden, part.view(), &data.targets)
            .companion(Companion::classes(&costs))
            .shard(Shard::new(first, 90))
    });
    let mut fold = loss.fold(&shards[1]).unwrap();
    fold.merge(&loss.fold(&shards[0]).unwrap()).unwrap();
    let other = of(LinearCrossEntropy::builder().row_loss(ExpectedCost));
    assert!(matches!(fold.merge(&other.fold(&shards[0]).unwrap()), Err(Error::Conflict { .. })));
    let merged = fold.finish().unwrap();
    assert!((merged.loss() - forward.loss()).abs() < 1e-13 * forward.loss().abs());
    let mut sum = Array2::<f64>::zeros(data.hidden.dim());
    for shard in &shards {
        let gradients = Gradients::new().accumulate_hidden(&mut sum);
        loss.vjp(shard, &merged, &Upstream::default(), gradients).unwrap();
    }
    let far = (&sum - &expected).iter().fold(0.0_f64, |m, x| m.max(x.abs()));
    assert!(far < 1e-13, "{far:e}");
    assert!(matches!(
        other.vjp(&shards[0], &merged, &Upstream::default(), Gradients::new()),
        Err(Error::Conflict { .. })
    ));
}

/// Each kind of companion on the tape, which keeps it where the reduction is none, in types of its own.
#[test]
fn companions_of_every_kind_go_onto_the_tape() {
    let mut stream = Stream(19);
    let inputs = [stream.matrix(4, 3, 1.0).into_dyn(), stream.matrix(7, 3, 1.0).into_dyn()];
    let targets = [3_u32, 0, 6, 3];
    let classes = stream.vector(7, 1.0).mapv(|x| x as f32);
    let entries = stream.matrix(4, 7, 1.0).mapv(bf16::from_f64);
    let (listed, values) = (arr2(&[[1_u32, 5]; 4]), stream.matrix(4, 2, 1.0).mapv(f16::from_f64));
    let (wide, teacher) = (stream.matrix(4, 5, 1.0), stream.matrix(7, 5, 1.0));
    let (bias, logits) = (stream.vector(7, 1.0), stream.matrix(4, 7, 1.0).mapv(|x| x as f32));
    let head = Head::new(&wide, &teacher).bias(&bias).scale(0.7).softcap(5.0);
    let costs = EmbeddingCost::<f64>::new(&teacher).unwrap();
    let rows = costs.rows(&targets).unwrap();
    let cost = || LinearCrossEntropy::builder().row_loss(ExpectedCost);
    let divergence = || LinearCrossEntropy::builder().row_loss(KullbackLeibler::reverse());
    for (name, builder, companion) in [
        ("classes", cost(), Companion::classes(&classes)),
        ("entries", cost(), Companion::entries(&entries)),
        ("listed", cost(), Companion::listed(&listed, &values)),
        ("a head's mean", cost(), Companion::logits(head)),
        ("an embedding", cost(), costs.companion(&rows)),
        ("a head", divergence(), Companion::logits(head)),
        ("given logits", divergence(), Companion::logits(Head::from_logits(&logits))),
    ] {
        for reduction in [Reduction::None, Reduction::Mean] {
            let loss = builder.clone().reduction(reduction).build().unwrap();
            let worst = gradcheck(
                |_, x| x[0].linear_cross_entropy_beside(x[1], None, &targets, companion, &loss),
                &inputs,
            );
            let worst = worst.unwrap();
            assert!(worst.error < 1e-8, "{name}, {reduction:?}: {worst:?}");
        }
    }
}
