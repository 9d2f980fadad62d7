//! Numbers beside the logits on a GPU, against the processor in f64.

use ndarray::{Array1, Array2, arr1, arr2};
use surprisal::gpu::{DeviceGradients, DeviceInputs, Workspace};
use surprisal::loss::{Companion, ExpectedCost};
use surprisal::{Error, Gradients, Inputs, LinearCrossEntropy, Upstream};
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
