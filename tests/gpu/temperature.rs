//! Temperatures of rows on a GPU, against the processor in f64.

use ndarray::Array1;
use surprisal::{Filter, LinearCrossEntropy, Reduction};
use testing::Stream;

use super::loss::context;
use super::model::{Beside, Data, Mixed, Wanted};

#[test]
fn they_and_their_gradients_are_what_they_are_on_the_processor_in_f64() {
    let context = context();
    let mut stream = Stream(21);
    for (n, (rows, width, classes)) in [
        (1, 1, 2),
        (2, 3, 15),
        (63, 5, 65),
        (64, 15, 64),
        (65, 15, 127),
        (3, 3, 511),
        (5, 7, 513),
        (30, 5, 4097),
        (97, 8, 129),
        (129, 4, 191),
    ]
    .into_iter()
    .enumerate()
    {
        let mut data = Data::new(rows, width, classes).with_temperatures();
        let loss = Mixed::random(&mut stream).without_companion();
        data.check("temperatures", context, loss);
        if rows > 96 {
            continue;
        }
        data.softcap = Some(5.0);
        data.check("softcap", context, loss);
        data.softcap = None;
        data.wanted = [Wanted::Dense, Wanted::Sparse][n % 2];
        data.check("soft", context, loss.with_soft_targets());
        data.wanted = Wanted::Hard;
        data.beside = [Beside::Classes, Beside::Entries, Beside::Listed][n % 3];
        data.check("companion", context, Mixed::random(&mut stream));
    }
}

#[test]
fn one_for_all_rows_is_that_of_the_loss() {
    let loss = Mixed::random(&mut Stream(22)).without_companion();
    let mut data = Data::new(70, 5, 90);
    let single = data.builder(loss).temperature(1.5).build().unwrap();
    let expected = data.run(&single, Some(context()));
    data.temperatures = Some(Array1::from_elem(70, 1.5));
    let found = data.run(&data.builder(loss).build().unwrap(), Some(context()));
    // The scale over a temperature is a quotient on the GPU, off by 2.5 units in the last place (WGSL).
    for (a, b) in found.numbers().zip(expected.numbers()) {
        assert!(testing::close(a, b, 64.0 * f64::from(f32::EPSILON), 1e-6), "{a:e} and {b:e}");
    }
}

#[test]
fn the_rank_beside_them() {
    let loss = Mixed::random(&mut Stream(23)).without_companion();
    let data = Data::new(70, 5, 300).with_temperatures();
    let built = data.builder(loss).rank(true).build().unwrap();
    let [found, truth] = [Some(context()), None].map(|context| data.run(&built, context));
    data.compare("rank", &loss, &found, &truth);
    assert_eq!(found.forward.rank().unwrap(), truth.forward.rank().unwrap());
}

/// A filter that drops nothing changes nothing.
#[test]
fn beside_a_filter() {
    let data = Data::new(70, 5, 300).with_temperatures();
    let of = || {
        let builder = LinearCrossEntropy::builder().reduction(Reduction::None).entropy(true);
        builder.scale(1.25)
    };
    let plain = of().build().unwrap();
    let filtered = of().filter(Filter::Below(0.0)).build().unwrap();
    let [plain, filtered] = [plain, filtered].map(|loss| data.run(&loss, Some(context())));
    assert!(plain.bits() == filtered.bits());
}
