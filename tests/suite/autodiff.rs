//! The tape: every operation against central differences and plain arithmetic, the rules of the
//! graph, the errors, the same bits on any number of threads.

use ndarray::{Array1, Array2, ArrayD, Axis, IxDyn, arr0, arr1, arr2};
use surprisal::autodiff::{Generator, Shared, Tape, Variable, gradcheck};
use surprisal::{Error, LinearCrossEntropy, Reduction, Result};

/// Numbers from −2 to 2 that are not near a kink of `relu`.
fn numbers(shape: &[usize], seed: u64) -> ArrayD<f64> {
    let mut generator = Generator::new(seed);
    ArrayD::from_shape_simple_fn(IxDyn(shape), || {
        let x = 4.0 * generator.uniform() - 2.0;
        x + 0.01_f64.copysign(x)
    })
}

/// Numbers from 1/2 to 5/2.
fn positive(shape: &[usize], seed: u64) -> ArrayD<f64> {
    numbers(shape, seed).mapv(|x| 0.5 + x.abs() / 1.005)
}

/// The promise of the documentation: 1e-6; what is asked for is nearer to what the quotients can.
const BOUND: f64 = 1e-8;

fn check<F>(name: &str, inputs: &[ArrayD<f64>], f: F)
where
    F: for<'t> Fn(&'t Tape<f64>, &[Variable<'t, f64>]) -> Result<Variable<'t, f64>>,
{
    let worst = gradcheck(f, inputs).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(worst.error <= BOUND, "{name}: {worst:?}");
}

const SHAPES: [&[usize]; 6] = [&[], &[1], &[7], &[3, 5], &[2, 3, 17], &[33, 2, 1]];

#[test]
fn functions_of_one_number() {
    for shape in SHAPES {
        let x = || [numbers(shape, 1)];
        check("neg", &x(), |_, x| Ok(x[0].neg()));
        check("scale", &x(), |_, x| Ok(x[0].scale(-1.75)));
        check("add_scalar", &x(), |_, x| Ok(x[0].add_scalar(3.0)));
        check("relu", &x(), |_, x| Ok(x[0].relu()));
        check("gelu", &x(), |_, x| Ok(x[0].gelu()));
        check("gelu_tanh", &x(), |_, x| Ok(x[0].gelu_tanh()));
        check("silu", &x(), |_, x| Ok(x[0].silu()));
        let epsilon = ndarray::arr0(0.3).into_dyn();
        check("crrelu", &[numbers(shape, 1), epsilon], |_, x| x[0].crrelu(x[1]));
        check("tanh", &x(), |_, x| Ok(x[0].tanh()));
        check("sigmoid", &x(), |_, x| Ok(x[0].sigmoid()));
        check("exp", &x(), |_, x| Ok(x[0].exp()));
        check("powi 2", &x(), |_, x| Ok(x[0].powi(2)));
        check("powi 5", &x(), |_, x| Ok(x[0].powi(5)));
        check("powi 0", &x(), |_, x| x[0].powi(0).add(x[0]));
        let x = || [positive(shape, 2)];
        check("ln", &x(), |_, x| Ok(x[0].ln()));
        check("sqrt", &x(), |_, x| Ok(x[0].sqrt()));
        check("powi -3", &x(), |_, x| Ok(x[0].powi(-3)));
    }
}

#[test]
fn arithmetic_with_broadcasting() {
    let pairs: [(&[usize], &[usize]); 13] = [
        (&[], &[]),
        (&[3, 5], &[3, 5]),
        (&[3, 5], &[]),
        (&[], &[3, 5]),
        (&[3, 5], &[5]),
        (&[5], &[3, 5]),
        (&[3, 5], &[1, 5]),
        (&[3, 5], &[3, 1]),
        (&[3, 1], &[1, 5]),
        (&[2, 3, 17], &[3, 17]),
        (&[2, 3, 17], &[2, 1, 17]),
        (&[2, 1, 4], &[7, 1]),
        (&[1, 1], &[1]),
    ];
    for (left, right) in pairs {
        let inputs = || [numbers(left, 3), positive(right, 4)];
        check("add", &inputs(), |_, x| x[0].add(x[1]));
        check("sub", &inputs(), |_, x| x[0].sub(x[1]));
        check("mul", &inputs(), |_, x| x[0].mul(x[1]));
        check("div", &inputs(), |_, x| x[0].div(x[1]));
    }
}

#[test]
fn sums_and_means() {
    for shape in SHAPES {
        check("sum", &[numbers(shape, 5)], |_, x| Ok(x[0].sum()));
        check("mean", &[numbers(shape, 5)], |_, x| Ok(x[0].mean()));
    }
    let shape = [3, 5, 2, 7];
    let axes: [&[usize]; 8] = [&[], &[0], &[3], &[1, 2], &[2, 1], &[0, 3], &[0, 1], &[3, 2, 1, 0]];
    for axes in axes {
        for keep in [false, true] {
            check("sum_axes", &[numbers(&shape, 6)], |_, x| x[0].sum_axes(axes, keep));
            check("mean_axes", &[numbers(&shape, 6)], |_, x| x[0].mean_axes(axes, keep));
            let tape = Tape::<f64>::new().unwrap();
            let x = numbers(&shape, 6);
            let y = tape.constant(x.clone()).sum_axes(axes, keep).unwrap().value();
            let mut sorted = axes.to_vec();
            sorted.sort_unstable();
            let mut plain = x;
            for &axis in sorted.iter().rev() {
                plain = plain.sum_axis(Axis(axis));
                if keep {
                    plain = plain.insert_axis(Axis(axis));
                }
            }
            assert_eq!(y.shape(), plain.shape());
            assert!(y.iter().zip(&plain).all(|(a, b)| (a - b).abs() < 1e-12));
        }
    }
}

#[test]
fn products_of_matrices() {
    let shapes: [(&[usize], &[usize]); 8] = [
        (&[1, 1], &[1, 1]),
        (&[3, 5], &[5, 2]),
        (&[33, 3], &[3, 34]),
        (&[2, 3, 5], &[5, 4]),
        (&[2, 1, 3, 2], &[2, 3]),
        (&[3, 2, 5], &[3, 5, 4]),
        (&[0, 3], &[3, 2]),
        (&[2, 0], &[0, 3]),
    ];
    for (left, right) in shapes {
        let inputs = || [numbers(left, 7), numbers(right, 8)];
        check("matmul", &inputs(), |_, x| x[0].matmul(x[1]));
        // Factors that are read along their columns.
        check("transposed left", &inputs(), |_, x| {
            x[0].transpose()?.scale(1.0).transpose()?.matmul(x[1])
        });
        check("transposed right", &inputs(), |_, x| {
            x[0].matmul(x[1].transpose()?.scale(1.0).transpose()?)
        });
        check("both transposed", &inputs(), |_, x| {
            let [left, right] = [x[0], x[1]].map(|x| x.transpose()?.scale(1.0).transpose());
            left?.matmul(right?)
        });
    }
}

/// |Σ − exact| ≤ 2 k u Σ|a||b| for a sum of k products.
fn near_product<T: surprisal::Real>(found: &Shared<T>, a: &Array2<f64>, b: &Array2<f64>) {
    let (exact, size) = (a.dot(b), a.mapv(f64::abs).dot(&b.mapv(f64::abs)));
    let k = a.dim().1 as f64 + 1.0;
    assert_eq!(found.shape(), exact.shape());
    for ((found, exact), size) in found.iter().zip(&exact).zip(&size) {
        let error = (found.to_f64() - exact).abs();
        assert!(error <= 2.0 * k * T::EPSILON * size, "{found} for {exact}, off by {error:e}");
    }
}

fn products_in_tiles<T: surprisal::Real>() {
    for isa in surprisal::Isa::available() {
        for (rows, depth, columns) in [(97, 33, 300), (200, 600, 31), (12, 1100, 257)] {
            let (a, b) = (numbers(&[rows, depth], 9), numbers(&[depth, columns], 10));
            let narrow = |x: &ArrayD<f64>| x.mapv(T::from_f64);
            let (a, b) = (narrow(&a), narrow(&b));
            let tape = Tape::<T>::with_isa(isa);
            let wide =
                |x: &ArrayD<T>| x.mapv(T::to_f64).into_dimensionality::<ndarray::Ix2>().unwrap();
            let (wide_a, wide_b) = (wide(&a), wide(&b));
            let (x, y) = (tape.leaf(a.clone()), tape.leaf(b.clone()));
            let (xt, yt) = (tape.leaf(a.t().to_owned()), tape.leaf(b.t().to_owned()));
            near_product(&x.matmul(y).unwrap().value(), &wide_a, &wide_b);
            let yt = yt.transpose().unwrap();
            let xt = xt.transpose().unwrap();
            near_product(&x.matmul(yt).unwrap().value(), &wide_a, &wide_b);
            near_product(&xt.matmul(y).unwrap().value(), &wide_a, &wide_b);
            near_product(&xt.matmul(yt).unwrap().value(), &wide_a, &wide_b);
        }
    }
}

#[test]
fn products_in_tiles_of_f32() {
    products_in_tiles::<f32>();
}

#[test]
fn products_in_tiles_of_f64() {
    products_in_tiles::<f64>();
}

#[test]
fn shapes() {
    let x = || [numbers(&[3, 4, 5], 11)];
    check("reshape", &x(), |_, x| x[0].reshape(&[5, 12]));
    check("reshape of permuted", &x(), |_, x| x[0].permute(&[2, 0, 1])?.reshape(&[60]));
    check("transpose", &x(), |_, x| x[0].transpose());
    check("permute", &x(), |_, x| x[0].permute(&[1, 2, 0]));
    for axis in 0..3 {
        check("slice", &x(), |_, x| x[0].slice(axis, 1..3));
        check("empty slice", &x(), |_, x| x[0].slice(axis, 2..2)?.sum().add(x[0].sum()));
        check("slices that overlap", &x(), |_, x| {
            x[0].slice(axis, 0..2)?.mul(x[0].slice(axis, 1..3)?)
        });
    }
    let parts = || [numbers(&[2, 3], 12), numbers(&[2, 1], 13), numbers(&[2, 4], 14)];
    check("concat", &parts(), |_, x| Variable::concat(x, 1));
    let parts = || [numbers(&[2, 3], 12), numbers(&[1, 3], 13), numbers(&[0, 3], 14)];
    check("concat of rows", &parts(), |_, x| Variable::concat(x, 0));
    check("concat of one", &parts(), |_, x| Variable::concat(&[x[0], x[0]], 1));
    check("slice of concat", &parts(), |_, x| {
        Variable::concat(x, 0)?.slice(0, 1..3)?.transpose()?.matmul(x[0])
    });
}

#[test]
fn gathered_rows() {
    let table = || [numbers(&[7, 5], 15)];
    check("gather", &table(), |_, x| x[0].gather(&[3, 0, 3, 6, 3]));
    check("gather nothing", &table(), |_, x| x[0].gather(&[])?.sum().add(x[0].sum()));
    check("gather numbers", &[numbers(&[4], 16)], |_, x| x[0].gather(&[2, 2, 1]));
    check("gather matrices", &[numbers(&[3, 2, 2], 17)], |_, x| x[0].gather(&[2, 0]));
    check("gather twice", &table(), |_, x| x[0].gather(&[1, 2])?.mul(x[0].gather(&[2, 2])?));
    // Many rows, several parts of the table: the order of the tokens, not of the parts.
    let (rows, width, tokens) = (1500, 3, 20_000);
    let tape = Tape::<f32>::new().unwrap();
    let table = tape.leaf(ArrayD::zeros(IxDyn(&[rows, width])));
    let mut generator = Generator::new(18);
    let indices: Vec<u32> = (0..tokens).map(|_| generator.bits() as u32 % rows as u32).collect();
    let seed: Array2<f32> =
        Array2::from_shape_simple_fn((tokens, width), || generator.uniform() as f32 - 0.5);
    let gradients = table.gather(&indices).unwrap().backward_with(seed.clone()).unwrap();
    let mut plain = Array2::<f32>::zeros((rows, width));
    for (&index, row) in indices.iter().zip(seed.rows()) {
        let mut to = plain.row_mut(index as usize);
        to += &row;
    }
    assert_eq!(gradients.of(table).unwrap(), plain.into_dyn());
}

#[test]
fn normalised_rows() {
    for (shape, width) in [(&[3, 5][..], 5), (&[2, 3, 33], 33), (&[4, 1, 3], 3), (&[7], 7)] {
        let inputs = || [numbers(shape, 19), numbers(&[width], 20), numbers(&[width], 21)];
        check("layer_norm", &inputs(), |_, x| x[0].layer_norm(Some(x[1]), Some(x[2]), 1e-5));
        check("layer_norm, gain", &inputs(), |_, x| x[0].layer_norm(Some(x[1]), None, 1e-5));
        check("layer_norm, bias", &inputs(), |_, x| x[0].layer_norm(None, Some(x[2]), 0.1));
        check("layer_norm alone", &inputs(), |_, x| x[0].layer_norm(None, None, 1e-2));
        check("rms_norm", &inputs(), |_, x| x[0].rms_norm(Some(x[1]), 1e-5));
        check("rms_norm alone", &inputs(), |_, x| x[0].rms_norm(None, 1e-5));
    }
    // An offset of 1e6 costs no more digits than it has taken from x itself.
    let tape = Tape::<f64>::new().unwrap();
    let x = numbers(&[1, 40], 22).mapv(|x| (x * 1024.0).round() / 1024.0);
    let plain = tape.constant(x.clone()).layer_norm(None, None, 0.0).unwrap().value();
    let far = tape.constant(x + 1048576.0).layer_norm(None, None, 0.0).unwrap().value();
    assert!(plain.iter().zip(&far).all(|(a, b)| (a - b).abs() < 1e-9), "{plain} {far}");
}

#[test]
fn distributions() {
    for shape in &SHAPES[1..] {
        check("softmax", &[numbers(shape, 23)], |_, x| x[0].softmax());
        check("log_softmax", &[numbers(shape, 23)], |_, x| x[0].log_softmax());
    }
    let tape = Tape::<f64>::new().unwrap();
    let x = numbers(&[5, 37], 24);
    let p = tape.constant(x.to_shared()).softmax().unwrap().value();
    let log = tape.constant(x.to_shared()).log_softmax().unwrap().value();
    for ((row, p), log) in x.rows().into_iter().zip(p.rows()).zip(log.rows()) {
        let sum: f64 = row.iter().map(|x| x.exp()).sum();
        for ((x, p), log) in row.iter().zip(p).zip(log) {
            assert!((p - x.exp() / sum).abs() < 1e-15);
            assert!((log - (x - sum.ln())).abs() < 1e-14);
        }
    }
    // Far beyond the range of exp, with −∞, with NaN.
    let infinity = f64::INFINITY;
    let x = arr2(&[[1e300, -1e300, 1e300], [0.0, -infinity, 0.0], [f64::NAN, 1.0, 2.0]]);
    let p = tape.constant(x.clone()).softmax().unwrap().value();
    assert_eq!(p.index_axis(Axis(0), 0), arr1(&[0.5, 0.0, 0.5]).into_dyn());
    assert_eq!(p.index_axis(Axis(0), 1), arr1(&[0.5, 0.0, 0.5]).into_dyn());
    assert!(p.index_axis(Axis(0), 2).iter().all(|p| p.is_nan()));
    let log = tape.constant(x).log_softmax().unwrap().value();
    assert_eq!(log[[1, 1]], -infinity);
    assert!(log.index_axis(Axis(0), 2).iter().all(|p| p.is_nan()));
}

/// Attention from the other operations, with all scores in memory.
fn plain_attention<'t>(
    tape: &'t Tape<f64>,
    [q, k, v]: [Variable<'t, f64>; 3],
    heads: usize,
) -> Result<Variable<'t, f64>> {
    let [batch, length, width] = q.shape()[..] else { panic!("three axes") };
    let columns = width / heads;
    let mask = Array2::from_shape_fn((length, length), |(i, j)| if j > i { -1e30 } else { 0.0 });
    let mask = tape.constant(mask);
    let mut outputs = Vec::new();
    for head in 0..heads {
        let part = |x: Variable<'t, f64>| x.slice(2, head * columns..(head + 1) * columns);
        let scores = part(q)?.matmul(part(k)?.transpose()?.scale(1.0))?;
        let scores = scores.scale(1.0 / (columns as f64).sqrt()).add(mask)?;
        outputs.push(scores.softmax()?.matmul(part(v)?)?);
    }
    let all = Variable::concat(&outputs, 2)?;
    assert_eq!(all.shape(), [batch, length, width]);
    Ok(all)
}

#[test]
fn attention() {
    for (batch, length, width, heads) in
        [(1, 1, 1, 1), (3, 1, 4, 2), (2, 3, 4, 2), (1, 7, 6, 3), (2, 5, 3, 1), (2, 50, 1, 1)]
    {
        let shape = [batch, length, width];
        let inputs = || [numbers(&shape, 25), numbers(&shape, 26), numbers(&shape, 27)];
        check("attention", &inputs(), |_, x| x[0].causal_attention(x[1], x[2], heads));
        check("self attention", &inputs(), |_, x| x[0].causal_attention(x[0], x[0], heads));
    }
    // Several blocks of queries, and inputs that are columns of one array.
    let (batch, length, width, heads) = (2, 131, 20, 4);
    let tape = Tape::<f64>::new().unwrap();
    let together = tape.leaf(numbers(&[batch, length, 3 * width], 28));
    let part = |i: usize| together.slice(2, i * width..(i + 1) * width).unwrap();
    let inputs = [part(0), part(1), part(2)];
    let fused = inputs[0].causal_attention(inputs[1], inputs[2], heads).unwrap();
    let plain = plain_attention(&tape, inputs, heads).unwrap();
    near("attention", &fused.value(), &plain.value(), 1e-13);
    let seed = numbers(&[batch, length, width], 29);
    let gradient =
        |y: Variable<'_, f64>| y.backward_with(seed.clone()).unwrap().take(together).unwrap();
    near("its gradient", &gradient(fused), &gradient(plain), 1e-12);
}

/// The same as shifted slices times a row of weights each.
fn plain_convolution<'t>(x: Variable<'t, f64>, weights: Variable<'t, f64>) -> Variable<'t, f64> {
    let (places, length) = (weights.shape()[0], x.shape()[1] + 1 - weights.shape()[0]);
    let term = |place: usize| {
        let first = places - 1 - place;
        let row = weights.slice(0, place..place + 1).unwrap();
        x.slice(1, first..first + length).unwrap().mul(row).unwrap()
    };
    (1..places).fold(term(0), |sum, place| sum.add(term(place)).unwrap())
}

#[test]
fn causal_convolutions() {
    for (batch, length, places, width) in
        [(1, 1, 1, 1), (2, 3, 2, 5), (1, 2, 6, 3), (3, 1, 4, 17), (2, 130, 10, 33), (1, 600, 3, 64)]
    {
        let x = numbers(&[batch, places - 1 + length, width], 30);
        let inputs = [x, numbers(&[places, width], 31)];
        if length < 10 {
            check("convolution", &inputs, |_, x| x[0].causal_convolution(x[1]));
        }
        let tape = Tape::<f64>::new().unwrap();
        let [x, weights] = inputs.map(|input| tape.leaf(input));
        let (fused, plain) =
            (x.causal_convolution(weights).unwrap(), plain_convolution(x, weights));
        near("convolution", &fused.value(), &plain.value(), 1e-13);
        let seed = numbers(&[batch, length, width], 32);
        let [mut fused, mut plain] = [fused, plain].map(|y| y.backward_with(seed.clone()).unwrap());
        for leaf in [x, weights] {
            let [fused, plain] = [&mut fused, &mut plain].map(|of| of.take(leaf).unwrap());
            near("its gradient", &fused, &plain, 1e-11);
        }
    }
}

/// Values and slopes in f32 where the tape's f64 has them, over the numbers that f32 has digits for.
#[test]
fn gelu_of_f32_follows_that_of_f64() {
    let xs: Vec<f32> = (-2640..=2640).map(|k| k as f32 / 200.0).collect();
    let (narrow, wide) = (Tape::<f32>::new().unwrap(), Tape::<f64>::new().unwrap());
    let x = narrow.leaf(Array1::from(xs.clone()));
    let z = wide.leaf(Array1::from_iter(xs.iter().map(|&x| f64::from(x))));
    let (y, w) = (x.gelu(), z.gelu());
    let slopes = y.sum().backward().unwrap().take(x).unwrap();
    let exact = w.sum().backward().unwrap().take(z).unwrap();
    // Six units of Φ and a rounding of the product; slopes near their zero have those of their terms.
    let bound = 8.0 * f64::from(f32::EPSILON);
    for ((&y, &w), &x) in y.value().iter().zip(&w.value()).zip(&xs) {
        let least = f64::from(f32::MIN_POSITIVE) * f64::from(x).abs();
        assert!((f64::from(y) - w).abs() <= bound * w.abs() + least, "{x}: {y}, {w}");
    }
    for ((&y, &w), &x) in slopes.iter().zip(&exact).zip(&xs) {
        let terms = w.abs() + f64::from(x).abs() * (-0.5 * f64::from(x).powi(2)).exp();
        let least = f64::from(f32::MIN_POSITIVE) * f64::from(x).abs();
        assert!((f64::from(y) - w).abs() <= bound * terms + least, "{x}: {y}, {w}");
    }
    let far = narrow.leaf(arr1(&[f32::NEG_INFINITY, f32::INFINITY, f32::NAN, -50.0, 50.0]));
    let y = far.gelu();
    let slopes = y.sum().backward().unwrap().take(far).unwrap();
    assert_eq!(
        y.value().iter().map(|&y| y.is_nan()).collect::<Vec<_>>(),
        [false, false, true, false, false]
    );
    assert_eq!([y.value()[[0]], y.value()[[1]], y.value()[[3]]], [0.0, f32::INFINITY, 0.0]);
    assert_eq!([slopes[[0]], slopes[[1]], slopes[[3]], slopes[[4]]], [0.0, 1.0, 0.0, 1.0]);
    assert!(slopes[[2]].is_nan());
}

fn near(what: &str, found: &Shared<f64>, expected: &Shared<f64>, bound: f64) {
    assert_eq!(found.shape(), expected.shape(), "{what}");
    let most = expected.iter().fold(1.0_f64, |most, x| most.max(x.abs()));
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= bound * most, "{what}[{i}] is {a}, expected {b}");
    }
}

#[test]
fn dropout() {
    check("dropout", &[numbers(&[5, 7], 30)], |_, x| {
        x[0].mul(x[0])?.dropout(0.3, &mut Generator::new(5))
    });
    let tape = Tape::<f64>::new().unwrap();
    for probability in [0.0, 0.1, 0.5, 0.9] {
        let (count, mut generator) = (200_001, Generator::new(31));
        let x = tape.leaf(Array1::ones(count));
        let before = generator.clone();
        let y = x.dropout(probability, &mut generator).unwrap().value();
        assert_ne!(generator, before, "the generator moves on");
        let dropped = y.iter().filter(|&&y| y == 0.0).count() as f64 / count as f64;
        // Five standard deviations of a binomial share.
        let deviation = (probability * (1.0 - probability) / count as f64).sqrt();
        assert!((dropped - probability).abs() <= 5.0 * deviation, "{dropped} for {probability}");
        // Neighbours know nothing of each other.
        let pairs = y.iter().zip(y.iter().skip(1));
        let both = pairs.filter(|(a, b)| **a == 0.0 && **b == 0.0).count() as f64 / count as f64;
        assert!((both - probability * probability).abs() <= 10.0 * deviation);
        assert!(y.iter().all(|&y| y == 0.0 || y == 1.0 / (1.0 - probability)));
        let again = x.dropout(probability, &mut before.clone()).unwrap().value();
        assert_eq!(y, again, "the same state, the same mask");
        let next = x.dropout(probability, &mut generator).unwrap().value();
        assert!(probability == 0.0 || next != y, "the next mask is another one");
    }
    let x = tape.constant(arr1(&[f64::NAN; 64]));
    let y = x.dropout(0.5, &mut Generator::new(2)).unwrap().value();
    assert!(y.iter().any(|&y| y == 0.0), "what is left out is not multiplied");
    for wrong in [-0.1, 1.0, f64::NAN] {
        assert!(matches!(
            x.dropout(wrong, &mut Generator::new(2)),
            Err(Error::Option { name: "probability", .. })
        ));
    }
}

#[test]
fn fused_loss_against_differences() {
    let targets = [3_i64, 0, -100, 6, 3];
    let builder = || LinearCrossEntropy::builder().label_smoothing(0.1).z_loss(0.01).softcap(5.0);
    for reduction in [Reduction::None, Reduction::Mean, Reduction::Sum, Reduction::Divide(3.0)] {
        let loss = builder().reduction(reduction).build().unwrap();
        let inputs = || [numbers(&[5, 4], 32), numbers(&[7, 4], 33), numbers(&[7], 34)];
        check("with bias", &inputs(), |_, x| {
            x[0].linear_cross_entropy(x[1], Some(x[2]), &targets, &loss)
        });
        check("scaled", &inputs(), |_, x| {
            Ok(x[0].linear_cross_entropy(x[1], None, &targets, &loss)?.scale(-3.0))
        });
        check("tied", &[numbers(&[7, 4], 35)], |_, x| {
            let hidden = x[0].gather(&[1, 2, 3, 4, 1])?;
            hidden.linear_cross_entropy(x[0], None, &targets, &loss)
        });
    }
}

/// −log_softmax(E·Cᵀ + b) at the targets, from the other operations.
fn materialised<'t>(
    tape: &'t Tape<f64>,
    [hidden, classifier, bias]: [Variable<'t, f64>; 3],
    targets: &[u32],
) -> Result<Variable<'t, f64>> {
    let logits = hidden.matmul(classifier.transpose()?)?.add(bias)?;
    let [rows, classes] = logits.shape()[..] else { panic!("two axes") };
    let chosen = Array2::from_shape_fn((rows, classes), |(i, v)| {
        if targets[i] as usize == v { -1.0 / rows as f64 } else { 0.0 }
    });
    Ok(logits.log_softmax()?.mul(tape.constant(chosen))?.sum())
}

#[test]
fn fused_loss_against_the_materialised_graph() {
    let (rows, width, classes) = (57, 19, 301);
    let targets: Vec<u32> = (0..rows as u32).map(|i| (i * 31) % classes as u32).collect();
    let loss = LinearCrossEntropy::builder().build().unwrap();
    let tape = Tape::<f64>::new().unwrap();
    let hidden = tape.leaf(numbers(&[rows, width], 36));
    let classifier = tape.leaf(numbers(&[classes, width], 37));
    let bias = tape.leaf(numbers(&[classes], 38));
    let fused = hidden.linear_cross_entropy(classifier, Some(bias), &targets, &loss).unwrap();
    let plain = materialised(&tape, [hidden, classifier, bias], &targets).unwrap();
    assert!((fused.scalar().unwrap() / plain.scalar().unwrap() - 1.0).abs() < 1e-14);
    let seed = || arr0(-2.5);
    let mut fused = fused.backward_with(seed()).unwrap();
    let mut plain = plain.backward_with(seed()).unwrap();
    for leaf in [hidden, classifier, bias] {
        let (a, b) = (fused.take(leaf).unwrap(), plain.take(leaf).unwrap());
        near("a gradient", &a, &b, 1e-14);
    }
    // Where nothing is wanted, nothing is computed; where one is, the others are not there.
    let constant = [hidden, classifier, bias].map(Variable::detach);
    let value = constant[0].linear_cross_entropy(constant[1], None, &targets, &loss).unwrap();
    assert!(value.backward().is_err());
    let partly = hidden.linear_cross_entropy(constant[1], None, &targets, &loss).unwrap();
    let gradients = partly.backward().unwrap();
    assert!(gradients.of(hidden).is_some() && gradients.of(classifier).is_none());
    // Three axes, one loss for each position.
    let loss = LinearCrossEntropy::builder().reduction(Reduction::None).build().unwrap();
    let cube = hidden.reshape(&[3, 19, 19]).unwrap();
    let each = cube.linear_cross_entropy(classifier, Some(bias), &targets, &loss).unwrap();
    assert_eq!(each.shape(), [3, 19]);
    let mean = each.mean().backward().unwrap();
    let expected = materialised(&tape, [hidden, classifier, bias], &targets).unwrap();
    let expected = expected.backward().unwrap();
    let of = |gradients: &surprisal::autodiff::LeafGradients<f64>| {
        gradients.of(hidden).unwrap().to_shared()
    };
    near("the mean of each", &of(&mean), &of(&expected), 1e-14);
}
