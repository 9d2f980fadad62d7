//! A reordered classifier is the same classifier, and an order of kinds is found.

use ndarray::{Array1, Array2, Zip};
use surprisal::loss::ClassOrder;
use surprisal::{
    Error, Filter, Gradients, Inputs, LinearCrossEntropy, Reduction, Targets, Upstream, Vector,
};
use testing::Stream;

/// A permutation of so many classes.
fn shuffled(stream: &mut Stream, classes: usize) -> Vec<u32> {
    let mut keys: Vec<(u64, u32)> = (0..classes as u32).map(|v| (stream.bits(), v)).collect();
    keys.sort_unstable();
    keys.into_iter().map(|(_, class)| class).collect()
}

/// The two orders differ by the rounding of sums alone, in every output.
#[test]
fn gradients_and_statistics_are_those_of_the_classes() {
    let (rows, width, classes) = (30, 12, 500);
    let mut stream = Stream(1);
    let (hidden, classifier) =
        (stream.matrix(rows, width, 1.0), stream.matrix(classes, width, 1.0));
    let (bias, weights) = (stream.vector(classes, 0.5), stream.vector(classes, 0.5).mapv(f64::abs));
    let targets: Vec<i64> =
        (0..rows as i64).map(|i| if i % 7 == 3 { -100 } else { i * 37 % classes as i64 }).collect();
    let order = ClassOrder::new(&shuffled(&mut stream, classes)).unwrap();
    let loss = LinearCrossEntropy::builder()
        .label_smoothing(0.1)
        .z_loss(1e-3)
        .rank(true)
        .top_k(5)
        .entropy(true)
        .reduction(Reduction::Sum)
        .build()
        .unwrap();
    let run = |arrays: (&Array2<f64>, &Array1<f64>, &Array1<f64>), y: &[i64]| {
        let (classifier, bias, weights) = arrays;
        let inputs = Inputs::new(&hidden, classifier, y).bias(bias).class_weights(weights);
        let (mut d_hidden, mut d_classifier, mut d_bias) = (
            Array2::<f64>::zeros(hidden.dim()),
            Array2::<f64>::zeros(classifier.dim()),
            Array1::<f64>::zeros(classes),
        );
        let gradients =
            Gradients::new().hidden(&mut d_hidden).classifier(&mut d_classifier).bias(&mut d_bias);
        let forward = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
        (forward, d_hidden, d_classifier, d_bias)
    };
    let plain = run((&classifier, &bias, &weights), &targets);
    let arrays = (
        &order.rows(classifier.view()).unwrap(),
        &order.values(bias.view()).unwrap(),
        &order.values(weights.view()).unwrap(),
    );
    let ordered = run(arrays, &order.targets(&targets).unwrap().to_vec());
    // Sums of up to 500 terms of either sign, none above 2.
    let bound = 500.0 * 2.0 * rows as f64 * f64::EPSILON;
    let near = |a: &Array2<f64>, b: &Array2<f64>| {
        Zip::from(a).and(b).for_each(|a, b| assert!((a - b).abs() <= bound, "{a} and {b}"));
    };
    assert!((plain.0.loss() - ordered.0.loss()).abs() <= bound * 10.0);
    near(&plain.1, &ordered.1);
    near(&plain.2, &order.restored_rows(ordered.2.view()).unwrap());
    let restored = order.restored_values(ordered.3.view()).unwrap();
    assert!((&plain.3 - &restored).iter().all(|x| x.abs() <= bound));
    assert_eq!(plain.0.argmax(), order.restored_classes(ordered.0.argmax().view()));
    assert_eq!(plain.0.rank().unwrap(), ordered.0.rank().unwrap());
    assert_eq!(plain.0.top_k().classes, order.restored_classes(ordered.0.top_k().classes.view()));
}

/// Of classes of sixteen kinds in any order those of one kind come to stand together.
#[test]
fn similar_classes_stand_together() {
    let (kinds, width) = (16, 24);
    for seed in 0..4 {
        let mut stream = Stream(10 + seed);
        let centres = stream.matrix(kinds, width, 1.0);
        let kind = shuffled(&mut stream, kinds * 32);
        let kind = |class: usize| kind[class] as usize % kinds;
        let noise = stream.matrix(kinds * 32, width, 0.02);
        let classifier =
            Array2::from_shape_fn(noise.dim(), |(v, d)| noise[[v, d]] + centres[[kind(v), d]]);
        let hidden = stream.matrix(40, width, 1.0);
        let order = ClassOrder::by_similarity(&hidden, &classifier, None).unwrap();
        // Halves of eight and eight kinds need not be cut between two kinds, but nearly all are.
        let segments = order.classes().chunks(32);
        let pure = segments.map(|own| {
            let mut counts = vec![0; kinds];
            own.iter().for_each(|&class| counts[kind(class as usize)] += 1);
            counts.into_iter().max().unwrap()
        });
        let pure: usize = pure.sum();
        assert!(pure > kinds * 32 * 9 / 10, "{pure} of {}", kinds * 32);
        // It is the same whatever it was before.
        let again = ClassOrder::by_similarity(&hidden, &classifier, None).unwrap();
        assert_eq!(order, again);
        // A filter has less to keep of it.
        let loss = LinearCrossEntropy::builder().filter(Filter::Mass(0.01)).build().unwrap();
        let likes = Array2::from_shape_fn((kinds, width), |(i, d)| 4.0 * centres[[i, d]]);
        let targets: Vec<i64> = (0..kinds as i64).collect();
        let kept = |classifier: &Array2<f64>, targets: &[i64]| {
            let inputs = Inputs::new(&likes, classifier, targets);
            loss.forward(&inputs).unwrap().segments_kept().unwrap()
        };
        let ordered = order.rows(classifier.view()).unwrap();
        let renamed = order.targets(&targets).unwrap().to_vec();
        let (own, less) = (kept(&classifier, &targets), kept(&ordered, &renamed));
        assert!(less < own / 2.0, "{less} of {own}");
    }
}

#[test]
fn the_last_segment_need_not_be_whole() {
    for classes in [1, 31, 32, 33, 64, 65, 1000] {
        let mut stream = Stream(classes as u64);
        let (hidden, classifier) = (stream.matrix(3, 4, 1.0), stream.matrix(classes, 4, 1.0));
        let order = ClassOrder::by_similarity(&hidden, &classifier, None).unwrap();
        let mut all = order.classes().to_vec();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..classes as u32));
    }
    // Equal rows have no direction, and stay as they are.
    let (hidden, classifier) = (Array2::<f32>::ones((2, 3)), Array2::<f32>::ones((100, 3)));
    let order = ClassOrder::by_similarity(&hidden, &classifier, None).unwrap();
    assert!(order.classes().iter().copied().eq(0..100));
    let none = ClassOrder::by_similarity(&hidden, &Array2::<f32>::ones((0, 3)), None).unwrap();
    assert!(none.classes().is_empty());
}

#[test]
fn the_likeliest_come_first() {
    let hidden = ndarray::arr2(&[[1.0_f32, 0.0], [3.0, 2.0]]);
    let classifier = ndarray::arr2(&[[1.0_f32, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 2.0]]);
    // Means (2, 1): logits 2, 1, 3, 2.
    let order = ClassOrder::by_mean_logits(&hidden, &classifier, None).unwrap();
    assert_eq!(order.classes(), [2, 0, 3, 1]);
    let bias = ndarray::arr1(&[0.0_f64, 5.0, 0.0, 0.0]);
    let bias = Some(Vector::from(&bias));
    let order = ClassOrder::by_mean_logits(&hidden, &classifier, bias).unwrap();
    assert_eq!(order.classes(), [1, 2, 0, 3]);
    assert_eq!((order.position(2), order.position(-100), order.position(4)), (Some(1), None, None));
    let targets = order.targets(&[3_i64, -100, 2, 9]).unwrap();
    assert_eq!(targets.to_vec(), [3, -100, 1, 9]);
}

#[test]
fn what_is_no_order_is_refused() {
    let hidden = Array2::<f64>::ones((2, 3));
    let mut classifier = Array2::<f64>::ones((5, 3));
    let shape = |result: surprisal::Result<ClassOrder>| {
        assert!(matches!(result, Err(Error::Shape { .. })), "{result:?}");
    };
    let narrow = Array2::<f64>::ones((5, 2));
    shape(ClassOrder::by_mean_logits(&hidden, &narrow, None));
    shape(ClassOrder::by_similarity(&hidden, &narrow, None));
    shape(ClassOrder::by_similarity(&Array2::<f64>::ones((0, 3)), &classifier, None));
    let bias = Array1::<f64>::zeros(4);
    shape(ClassOrder::by_mean_logits(&hidden, &classifier, Some(Vector::from(&bias))));
    let order = ClassOrder::by_counts(&[1, 2, 3]);
    assert!(matches!(order.rows(classifier.view()), Err(Error::Shape { .. })));
    assert!(matches!(order.restored_values(bias.view()), Err(Error::Shape { .. })));
    let soft = Array2::<f64>::ones((1, 3));
    assert!(matches!(order.targets(Targets::soft(&soft)), Err(Error::Conflict { .. })));
    classifier[[3, 1]] = f64::NAN;
    for result in [
        ClassOrder::by_mean_logits(&hidden, &classifier, None),
        ClassOrder::by_similarity(&hidden, &classifier, None),
    ] {
        assert!(matches!(result, Err(Error::Value { .. })), "{result:?}");
    }
    for bad in [&[0_u32, 0][..], &[1, 2], &[u32::MAX]] {
        assert!(matches!(ClassOrder::new(bad), Err(Error::Value { .. })));
    }
}
