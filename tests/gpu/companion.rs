//! Numbers beside the logits on a GPU, against the processor in f64.

use ndarray::{Array1, Array2, arr1, arr2};
use surprisal::gpu::{Context, DeviceGradients, DeviceInputs, Workspace};
use surprisal::loss::{Companion, EmbeddingCost, ExpectedCost, Head};
use surprisal::{Error, Gradients, Inputs, LinearCrossEntropy, Reduction, Upstream};
use testing::{Stream, cast};

use super::loss::{context, tiny};
use super::model::{Beside, Data, Mixed, Wanted};

const KINDS: [Beside; 3] = [Beside::Classes, Beside::Entries, Beside::Listed];

/// Shapes around the edges of the tiles, and of a thread's and a span's columns. A device compiles each width
/// that is a multiple of 4, and each size of tiles, anew: the widths are odd where tiles are small.
const SHAPES: [(usize, usize, usize); 14] = [
    (1, 1, 2),
    (2, 3, 15),
    (15, 5, 17),
    (31, 7, 33),
    (63, 5, 63),
    (64, 17, 64),
    (65, 15, 65),
    (95, 3, 127),
    (2, 9, 511),
    (3, 5, 513),
    (3, 3, 4096),
    (127, 4, 128),
    (129, 8, 193),
    (97, 4, 4097),
];

#[test]
fn each_kind_is_what_it_is_on_the_processor_in_f64() {
    let context = context();
    let mut stream = Stream(11);
    for (rows, width, classes) in SHAPES {
        let mut data = Data::new(rows, width, classes);
        for beside in KINDS {
            data.beside = beside;
            data.softcap = (beside == Beside::Classes).then_some(6.0);
            if rows > 96 && beside == Beside::Classes {
                continue;
            }
            data.check("companion", context, Mixed::random(&mut stream));
        }
        let cost = Mixed { companion: 1.0, ..Mixed::default() };
        data.check("cost", context, cost);
    }
}

#[test]
fn beside_soft_targets_and_a_rank() {
    let context = context();
    let mut stream = Stream(12);
    for (rows, width, classes) in [(3, 5, 9), (70, 9, 130), (5, 3, 4100)] {
        let mut data = Data::new(rows, width, classes);
        for (wanted, beside) in [
            (Wanted::Dense, Beside::Entries),
            (Wanted::Dense, Beside::Listed),
            (Wanted::Sparse, Beside::Classes),
            (Wanted::Sparse, Beside::Listed),
        ] {
            (data.wanted, data.beside) = (wanted, beside);
            data.check("soft", context, Mixed::random(&mut stream).with_soft_targets());
        }
        data.wanted = Wanted::Hard;
        for beside in [Beside::Entries, Beside::Listed] {
            data.beside = beside;
            let loss = Mixed::random(&mut stream);
            let built = data.builder(loss).rank(true).build().unwrap();
            let [truth, found] = [None, Some(context)].map(|context| data.run(&built, context));
            data.compare("rank", &loss, &found, &truth);
            assert_eq!(found.forward.rank().unwrap(), truth.forward.rank().unwrap());
        }
    }
}

#[test]
fn the_same_bits_for_any_number_of_bindings_and_dispatches() {
    // 256 KiB are 1536 classes and 1536 rows of 40 numbers, and 128 × 512 numbers of G.
    let (loss, small) = (Mixed::random(&mut Stream(13)), tiny(256 << 10, 16384));
    let mut data = Data::new(300, 40, 3500);
    for beside in [Beside::Entries, Beside::Listed] {
        data.beside = beside;
        let built = data.builder(loss).build().unwrap();
        let [whole, cut] = [context(), &small].map(|context| data.run(&built, Some(context)));
        assert!(whole.bits() == cut.bits(), "{beside:?}");
        data.compare("cut", &loss, &cut, &data.run(&built, None));
    }
}

#[test]
fn confident_rows_keep_their_digits() {
    // X = Σ e^u c / (1 + r) of classes other than the arg-max, whose c is 0, and its slope by the arg-max.
    let hidden = arr2(&[[1.0_f32]]);
    let classifier = arr2(&[[0.0_f32], [45.0], [-1.0]]);
    let (far, farther) = ((-45.0_f64).exp(), (-46.0_f64).exp());
    let expected = (3.0 * far - 5.0 * farther) / (1.0 + far + farther);
    // A few roundings of each exponential.
    let bound = 16.0 * f64::from(f32::EPSILON) * (3.0 * far + 5.0 * farther);
    let loss = LinearCrossEntropy::builder().row_loss(ExpectedCost).build().unwrap();
    let costs = arr1(&[3.0_f32, 0.0, -5.0]);
    let entries = arr2(&[[3.0_f32, 0.0, -5.0]]);
    let (listed, values) = (arr2(&[[2_u32, 0, 0]]), arr2(&[[-5.0_f32, 1.0, 2.0]]));
    for companion in [
        Companion::classes(&costs),
        Companion::entries(&entries),
        Companion::listed(&listed, &values),
    ] {
        let inputs = Inputs::new(&hidden, &classifier, &[1_u32]).companion(companion);
        let mut bias = Array1::<f32>::zeros(3);
        let gradients = Gradients::new().bias(&mut bias);
        let on = loss.on(context());
        let forward = on.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
        let (found, own) = (forward.loss(), f64::from(bias[1]));
        assert!((found - expected).abs() <= bound, "{found:e} {expected:e} {bound:e}");
        assert!((own + expected).abs() <= bound, "{own:e} {expected:e} {bound:e}");
    }
}

#[test]
fn of_arrays_that_stay_on_the_device() {
    let context = context();
    let loss = Mixed::random(&mut Stream(14));
    let mut data = Data::new(70, 9, 200).with_temperatures();
    let temperatures = data.temperatures.clone().unwrap();
    let (hidden, classifier) = (cast::<f32>(&data.hidden), cast::<f32>(&data.classifier));
    let [hidden, classifier] = [&hidden, &classifier].map(|of| context.upload(of).unwrap());
    for beside in KINDS {
        data.beside = beside;
        let built = data.builder(loss).build().unwrap();
        let expected = data.run(&built, Some(context));
        let inputs = DeviceInputs::new(hidden.clone(), classifier.clone(), &data.hard)
            .bias(&data.bias)
            .class_weights(&data.class_weights)
            .temperatures(&temperatures)
            .companion(data.companion().unwrap());
        let on = built.on(context);
        let forward = on.forward(&inputs).unwrap();
        assert_eq!(forward.states(), expected.forward.states());
        let upstream = Upstream::rows(&data.upstream);
        let poison = || context.upload(&Array2::from_elem((70, 9), f32::NAN)).unwrap();
        let wide = |of| context.download(of).unwrap().mapv(f64::from);
        let alone = poison();
        on.vjp(&inputs, &forward, &upstream, &DeviceGradients::new().hidden(alone.clone()))
            .unwrap();
        assert!(wide(&alone) == expected.hidden);

        let encoded = poison();
        let gradients = DeviceGradients::new().hidden(encoded.clone());
        let mut workspace = Workspace::new();
        let mut encoder = context.device().create_command_encoder(&Default::default());
        let there = on.encode_forward(&mut encoder, &inputs, &mut workspace).unwrap();
        let there = there.finish(context.queue().submit([encoder.finish()])).unwrap();
        assert_eq!(there.states(), forward.states());
        let mut encoder = context.device().create_command_encoder(&Default::default());
        let result =
            on.encode_vjp(&mut encoder, &inputs, &there, &upstream, &gradients, &mut workspace);
        match beside {
            Beside::Listed => assert!(matches!(result, Err(Error::Conflict { .. }))),
            _ => {
                result.unwrap();
                context.queue().submit([encoder.finish()]);
                assert!(wide(&encoded) == expected.hidden);
            }
        }
    }
}

/// The mean of a second head's logits is that of the same numbers as entries, to the last bit: products of these
/// numbers are not rounded.
#[test]
fn logits_of_a_second_head_are_as_entries() {
    let context = context();
    for (rows, width, classes) in [(3, 7, 65), (129, 9, 300), (5, 7, 4200)] {
        let mut stream = Stream((rows + classes) as u64);
        let mut whole = |rows, columns| -> Array2<f32> {
            stream.matrix(rows, columns, 1.0).mapv(|x| (4.0 * x).round() as f32 / 4.0)
        };
        let (wide, teacher) = (whole(rows, 6), whole(classes, 6));
        let signs = whole(classes, 4).mapv(|x| if x < 0.0 { -1.0 } else { 1.0 });
        let data = Data::new(rows, width, classes);
        let (hidden, classifier) = (cast::<f32>(&data.hidden), cast::<f32>(&data.classifier));
        let products = wide.dot(&teacher.t());
        let cost = EmbeddingCost::<f32>::new(&signs).unwrap();
        let targets = cost.rows(&data.hard).unwrap();
        let angles = Array2::from_shape_fn((rows, classes), |(i, v)| {
            let between = |y: usize| 1.0 - signs.row(y).dot(&signs.row(v)) / 4.0;
            match usize::try_from(data.hard[i]) {
                Ok(y) if y != v => between(y),
                Ok(_) => 0.0,
                Err(_) => 1.0,
            }
        });
        let loss = LinearCrossEntropy::builder()
            .row_loss(Mixed::random(&mut stream))
            .reduction(Reduction::None)
            .build()
            .unwrap();
        let upstream = Upstream::rows(&data.upstream);
        let run = |context: &Context, companion| {
            let inputs =
                Inputs::new(&hidden, &classifier, &data.hard).bias(&data.bias).companion(companion);
            let mut d_hidden = Array2::from_elem(hidden.dim(), f32::NAN);
            let mut d_classifier = Array2::from_elem(classifier.dim(), f32::NAN);
            let gradients = Gradients::new().hidden(&mut d_hidden).classifier(&mut d_classifier);
            let on = loss.on(context);
            let forward = on.loss_and_gradients(&inputs, &upstream, gradients).unwrap();
            let mut again = Array2::from_elem(hidden.dim(), f32::NAN);
            let gradients = Gradients::new().hidden(&mut again);
            on.vjp(&inputs, &forward, &upstream, gradients).unwrap();
            assert!(again == d_hidden);
            let all = d_hidden.iter().chain(&d_classifier).map(|x| f64::from(*x));
            all.chain(forward.losses().to_vec()).map(f64::to_bits).collect::<Vec<_>>()
        };
        let small = tiny(256 << 10, 16384);
        for (entries, head) in [
            (&products, Companion::logits(Head::new(&wide, &teacher))),
            (&products, Companion::logits(Head::from_logits(&products))),
            (&angles, cost.companion(&targets)),
        ] {
            let expected = run(context, Companion::entries(entries));
            assert!(run(context, head) == expected);
            assert!(run(&small, head) == expected);
        }
    }
}
