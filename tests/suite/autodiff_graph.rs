//! The tape as a whole: what a graph may be, what is refused and how, networks end to end, the same
//! bits on any number of threads, and the optimisers against arithmetic by hand.

use ndarray::{Array1, Array2, ArrayD, Axis, IxDyn, arr0, arr1, arr2};
use surprisal::autodiff::{
    AdamW, Generator, LeafGradients, Parameter, Schedule, Sgd, Shared, Tape, Variable,
    clip_gradient_norm, gradcheck,
};
use surprisal::{Error, LinearCrossEntropy, Real, Reduction, Result};

fn numbers(shape: &[usize], seed: u64) -> ArrayD<f64> {
    let mut generator = Generator::new(seed);
    ArrayD::from_shape_simple_fn(IxDyn(shape), || 2.0 * generator.uniform() - 1.0)
}

fn gradient_of<T: Real>(gradients: &LeafGradients<T>, leaf: Variable<'_, T>) -> ArrayD<T> {
    gradients.of(leaf).expect("a gradient").to_owned()
}

#[test]
fn a_value_used_twice() {
    let tape = Tape::<f64>::new().unwrap();
    let x = tape.leaf(arr1(&[2.0, -3.0]));
    let y = x.mul(x).unwrap().add(x).unwrap().add(x).unwrap();
    let gradients = y.sum().backward().unwrap();
    assert_eq!(gradient_of(&gradients, x), arr1(&[6.0, -4.0]).into_dyn());
    // The same gradient goes to two operands and is changed on the way to one of them.
    let (a, b) = (tape.leaf(arr1(&[1.0, 2.0])), tape.leaf(arr1(&[3.0, 5.0])));
    let z = a.add(b).unwrap().add(a.mul(b).unwrap()).unwrap();
    let gradients = z.backward_with(arr1(&[1.0, 10.0])).unwrap();
    assert_eq!(gradient_of(&gradients, a), arr1(&[4.0, 60.0]).into_dyn());
    assert_eq!(gradient_of(&gradients, b), arr1(&[2.0, 30.0]).into_dyn());
}

#[test]
fn a_graph_used_twice() {
    let tape = Tape::<f64>::new().unwrap();
    let x = tape.leaf(arr0(0.5));
    let y = x.exp().mul(x).unwrap();
    let first = gradient_of(&y.backward().unwrap(), x);
    assert_eq!(gradient_of(&y.backward().unwrap(), x), first, "nothing is left of the first");
    // The graph goes on after a backward, and an inner value may be differentiated by itself.
    let z = y.scale(3.0);
    assert_eq!(gradient_of(&z.backward().unwrap(), x)[[]], 3.0 * first[[]]);
    assert_eq!(gradient_of(&y.backward().unwrap(), x), first);
    let whole = y.add(z).unwrap().backward().unwrap();
    assert!((whole.of(x).unwrap()[[]] - 4.0 * first[[]]).abs() < 1e-15);
}

#[test]
fn seeds_scale_what_they_seed() {
    let targets = [1_u32, 0, 2];
    for reduction in [Reduction::Mean, Reduction::None] {
        let loss = LinearCrossEntropy::builder().reduction(reduction).build().unwrap();
        let tape = Tape::<f64>::new().unwrap();
        let (e, c) = (tape.leaf(numbers(&[3, 4], 1)), tape.leaf(numbers(&[5, 4], 2)));
        let y = e.linear_cross_entropy(c, None, &targets, &loss).unwrap();
        let seed = |x: f64| ArrayD::from_elem(IxDyn(&y.shape()), x);
        let one = y.backward_with(seed(1.0)).unwrap();
        let four = y.backward_with(seed(-4.0)).unwrap();
        for leaf in [e, c] {
            let scaled = gradient_of(&one, leaf).mapv(|g| -4.0 * g);
            let found = gradient_of(&four, leaf);
            assert!(found.iter().zip(&scaled).all(|(a, b)| (a - b).abs() <= 1e-15));
        }
        // The gradients that the loss has made are its own: scaling them twice would show here.
        let again = y.backward_with(seed(-4.0)).unwrap();
        assert_eq!(gradient_of(&again, c), gradient_of(&four, c));
    }
}

#[test]
fn detached_values_and_constants_have_no_gradient() {
    let tape = Tape::<f64>::new().unwrap();
    let (x, k) = (tape.leaf(arr0(3.0)), tape.constant(arr0(5.0)));
    let d = x.mul(x).unwrap().detach();
    let y = d.mul(x).unwrap().mul(k).unwrap();
    let gradients = y.backward().unwrap();
    assert_eq!(gradients.of(x).unwrap()[[]], 45.0);
    assert!(gradients.of(k).is_none() && gradients.of(d).is_none());
    assert!(matches!(d.neg().backward(), Err(Error::Conflict { .. })));
    let untouched = tape.leaf(arr0(1.0));
    assert!(y.backward().unwrap().of(untouched).is_none(), "a leaf that it does not depend on");
    assert_eq!(untouched.backward().unwrap().of(untouched).unwrap()[[]], 1.0);
}

#[test]
fn leaves_are_not_copied_and_not_changed() {
    let weights: Shared<f32> = Shared::ones(IxDyn(&[4, 4]));
    let tape = Tape::new().unwrap();
    let w = tape.leaf(&weights);
    assert_eq!(w.value().as_ptr(), weights.as_ptr());
    let y = w.dropout(0.5, &mut Generator::new(1)).unwrap().transpose().unwrap().matmul(w).unwrap();
    y.sum().backward().unwrap();
    assert!(weights.iter().all(|&x| x == 1.0));
    // A leaf of any strides.
    let turned = tape.leaf(arr2(&[[1.0_f32, 2.0], [3.0, 4.0]]).reversed_axes());
    let gradients = turned.mul(turned).unwrap().sum().backward().unwrap();
    assert_eq!(gradient_of(&gradients, turned), arr2(&[[2.0, 6.0], [4.0, 8.0]]).into_dyn());
}

/// What was refused, in one line.
fn message<T>(result: Result<T>) -> String {
    let message = result.err().expect("an error").to_string();
    assert!(!message.contains('\n') && message.len() < 200, "{message}");
    message
}

#[test]
fn another_tape_is_refused() {
    let (here, there) = (Tape::<f64>::new().unwrap(), Tape::<f64>::new().unwrap());
    let (x, y) = (here.leaf(arr2(&[[1.0]])), there.leaf(arr2(&[[1.0]])));
    let loss = LinearCrossEntropy::builder().build().unwrap();
    let cube = |tape| Tape::leaf(tape, numbers(&[1, 1, 1], 1));
    let (a, b) = (cube(&here), cube(&there));
    let vector = there.leaf(arr1(&[1.0]));
    let results = [
        x.add(y),
        x.sub(y),
        x.mul(y),
        x.div(y),
        x.matmul(y),
        Variable::concat(&[x, y], 0),
        x.layer_norm(Some(vector), None, 0.1),
        x.layer_norm(None, Some(vector), 0.1),
        x.rms_norm(Some(vector), 0.1),
        a.causal_attention(b, a, 1),
        a.causal_attention(a, b, 1),
        a.causal_convolution(y),
        x.linear_cross_entropy(y, None, &[0_u32], &loss),
        x.linear_cross_entropy(x, Some(vector), &[0_u32], &loss),
    ];
    for result in results {
        let message = message(result);
        assert!(message.contains("another tape"), "{message}");
    }
    let gradients = x.sum().backward().unwrap();
    assert!(gradients.of(y).is_none(), "the same place on another tape");
}

#[test]
fn wrong_shapes_are_refused() {
    let tape = Tape::<f64>::new().unwrap();
    let leaf = |shape: &[usize]| tape.leaf(numbers(shape, 3));
    let (scalar, row, matrix, cube) = (leaf(&[]), leaf(&[3]), leaf(&[2, 3]), leaf(&[2, 3, 4]));
    let loss = LinearCrossEntropy::builder().build().unwrap();
    let each = LinearCrossEntropy::builder().reduction(Reduction::None).build().unwrap();
    let huge = [usize::MAX, 2];
    let refused: [(&str, Result<Variable<'_, f64>>); 38] = [
        (
            "the right operand has shape [4], expected a shape that goes with [3]",
            row.add(leaf(&[4])),
        ),
        ("goes with [2, 3]", matrix.mul(leaf(&[3, 2]))),
        ("the left factor has shape [3]", row.matmul(matrix)),
        ("expected [3, _]", matrix.matmul(matrix)),
        ("expected [3, _]", matrix.matmul(row)),
        ("expected [4, _] or [2, 4, _]", cube.matmul(cube)),
        ("expected [4, _] or [2, 4, _]", cube.matmul(leaf(&[3, 4, 5]))),
        ("as many elements as [4] has", row.reshape(&[4])),
        ("as many elements as", row.reshape(&huge)),
        ("as many elements as", leaf(&[0]).reshape(&[usize::MAX, 4, 0, 2])),
        ("the value to transpose has shape [3], expected at least two axes", row.transpose()),
        ("axes[1] is 0", matrix.permute(&[0, 0])),
        ("axes[1] is 2", matrix.permute(&[0, 2])),
        ("expected 1 axes", matrix.permute(&[1])),
        ("axes[0] is 2", matrix.sum_axes(&[2], true)),
        ("axes[1] is 1", matrix.mean_axes(&[1, 1], true)),
        ("axes[0] is 0", scalar.sum_axes(&[0], true)),
        ("axes[0] is 2", matrix.slice(2, 0..1)),
        ("expected indices 1..4 on axis 1", matrix.slice(1, 1..4)),
        #[allow(clippy::reversed_empty_ranges)]
        ("expected indices 2..1 on axis 1", matrix.slice(1, 2..1)),
        ("expected at least one", Variable::concat(&[], 0)),
        ("axes[0] is 1", Variable::concat(&[row], 1)),
        ("expected the lengths of [2, 3] but on axis 0", Variable::concat(&[matrix, row], 0)),
        ("but on axis 1", Variable::concat(&[matrix, leaf(&[3, 3])], 1)),
        ("indices[1] is 2, expected a row of the table", matrix.gather(&[1, 2])),
        ("the table has shape []", scalar.gather(&[0])),
        ("the gain has shape [3], expected [4]", cube.layer_norm(Some(row), None, 0.1)),
        ("the bias has shape [2, 3], expected [3]", matrix.layer_norm(None, Some(matrix), 0.1)),
        ("epsilon is -1", matrix.rms_norm(None, -1.0)),
        ("the value to normalise has shape []", scalar.rms_norm(None, 0.1)),
        ("the logits has shape []", scalar.softmax()),
        (
            "the queries has shape [2, 3], expected three axes",
            matrix.causal_attention(cube, cube, 1),
        ),
        ("the values has shape [2, 3]", cube.causal_attention(cube, matrix, 1)),
        ("heads is 3", cube.causal_attention(cube, cube, 3)),
        ("the sequences has shape [2, 3]", matrix.causal_convolution(matrix)),
        ("the weights has shape [2, 3], expected [P, 4]", cube.causal_convolution(matrix)),
        ("the weights has shape [0, 4]", cube.causal_convolution(leaf(&[0, 4]))),
        ("expected at least 4 positions", cube.causal_convolution(leaf(&[5, 4]))),
    ];
    for (expected, result) in refused {
        let message = message(result);
        assert!(message.contains(expected), "{message:?} has no {expected:?}");
    }
    assert!(message(cube.causal_attention(cube, cube, 0)).contains("heads is 0"));
    let of = |hidden: Variable<'_, f64>, classifier, bias, targets: &[u32]| {
        message(hidden.linear_cross_entropy(classifier, bias, targets, &loss))
    };
    assert!(of(scalar, matrix, None, &[0]).contains("hidden has shape []"));
    assert!(of(matrix, row, None, &[0, 0]).contains("classifier has shape [3], expected two axes"));
    assert!(of(matrix, leaf(&[5, 4]), None, &[0, 0]).contains("classifier has shape [5, 4]"));
    assert!(of(matrix, leaf(&[5, 3]), Some(matrix), &[0, 0]).contains("bias has shape [2, 3]"));
    assert!(of(matrix, leaf(&[5, 3]), Some(row), &[0, 0]).contains("bias has shape [3]"));
    assert!(of(matrix, leaf(&[5, 3]), None, &[0]).contains("targets has shape [1]"));
    assert!(of(matrix, leaf(&[5, 3]), None, &[0, 5]).contains("targets[1] is 5"));
    let y = matrix.linear_cross_entropy(leaf(&[5, 3]), None, &[0_u32, 1], &each).unwrap();
    assert!(message(y.backward()).contains("has shape [2], expected one element"));
    assert!(message(matrix.scalar()).contains("has shape [2, 3], expected one element"));
    let seed = arr1(&[1.0, 2.0]);
    assert!(
        message(matrix.backward_with(seed)).contains("the seed has shape [2], expected [2, 3]")
    );
}

#[test]
fn nothing_is_something_too() {
    let tape = Tape::<f64>::new().unwrap();
    let empty = tape.leaf(numbers(&[0, 3], 4));
    let gain = tape.leaf(numbers(&[3], 5));
    let w = tape.leaf(numbers(&[3, 2], 6));
    let y = empty.layer_norm(Some(gain), Some(gain), 0.1).unwrap();
    let y = y.gelu().mul(gain).unwrap().softmax().unwrap().log_softmax().unwrap();
    let y = y.dropout(0.5, &mut Generator::new(1)).unwrap().matmul(w).unwrap().sum();
    let gradients = y.backward().unwrap();
    assert_eq!(y.scalar().unwrap(), 0.0);
    assert_eq!(gradients.of(empty).unwrap().shape(), [0, 3]);
    assert!(
        gradient_of(&gradients, gain).iter().chain(&gradient_of(&gradients, w)).all(|&g| g == 0.0)
    );
    let narrow = tape.leaf(numbers(&[3, 0], 7));
    assert_eq!(narrow.softmax().unwrap().log_softmax().unwrap().shape(), [3, 0]);
    assert_eq!(narrow.rms_norm(None, 0.1).unwrap().shape(), [3, 0]);
    assert!(narrow.mean().scalar().unwrap().is_nan());
    assert_eq!(narrow.sum_axes(&[1], false).unwrap().value(), arr1(&[0.0; 3]).into_dyn());
    let cube = tape.leaf(numbers(&[2, 0, 4], 8));
    let y = cube.causal_attention(cube, cube, 2).unwrap().sum();
    assert_eq!(y.backward().unwrap().of(cube).unwrap().shape(), [2, 0, 4]);
    for (from, weights) in
        [([2, 0, 4], [1, 4]), ([2, 2, 4], [3, 4]), ([0, 2, 4], [2, 4]), ([2, 2, 0], [2, 0])]
    {
        let (cube, weights) = (tape.leaf(numbers(&from, 9)), tape.leaf(numbers(&weights, 10)));
        let y = cube.causal_convolution(weights).unwrap().sum();
        let gradients = y.backward().unwrap();
        let (cube, weights) = (gradient_of(&gradients, cube), gradient_of(&gradients, weights));
        assert!(cube.iter().chain(&weights).all(|&g| g == 0.0));
    }
}

/// The parameters of a transformer block for width D.
fn block_parameters(width: usize) -> Vec<ArrayD<f64>> {
    let shapes: [&[usize]; 11] = [
        &[width],
        &[width],
        &[width, 3 * width],
        &[3 * width],
        &[width, width],
        &[width],
        &[width],
        &[width, 4 * width],
        &[4 * width],
        &[4 * width, width],
        &[width],
    ];
    shapes.iter().zip(100..).map(|(shape, seed)| numbers(shape, seed)).collect()
}

/// A pre-norm transformer block of `[B, L, D]`.
fn block<'t, T: Real>(
    x: Variable<'t, T>,
    parameters: &[Variable<'t, T>],
    heads: usize,
    dropout: f64,
    generator: &mut Generator,
) -> Result<Variable<'t, T>> {
    let [norm, norm_bias, qkv, qkv_bias, out, out_bias, gain, wide, wide_bias, narrow, narrow_bias] =
        *parameters
    else {
        panic!("eleven parameters")
    };
    let width = x.shape()[2];
    let h = x.layer_norm(Some(norm), Some(norm_bias), 1e-5)?.matmul(qkv)?.add(qkv_bias)?;
    let part = |i: usize| h.slice(2, i * width..(i + 1) * width);
    let attended = part(0)?.causal_attention(part(1)?, part(2)?, heads)?;
    let attended = attended.matmul(out)?.add(out_bias)?.dropout(dropout, generator)?;
    let x = x.add(attended)?;
    let h = x.rms_norm(Some(gain), 1e-5)?.matmul(wide)?.add(wide_bias)?.gelu_tanh();
    x.add(h.matmul(narrow)?.add(narrow_bias)?.dropout(dropout, generator)?)
}

#[test]
fn a_two_layer_network_end_to_end() {
    let loss = LinearCrossEntropy::builder().label_smoothing(0.05).build().unwrap();
    let inputs = [
        numbers(&[9, 4], 9),
        numbers(&[4, 7], 10),
        numbers(&[7], 11),
        numbers(&[5, 7], 12),
        numbers(&[5], 13),
    ];
    let targets = [0_u32, 1, 2, 3, 4, 3, 2, 1, 0];
    let worst = gradcheck(
        |_, x| {
            let hidden = x[0].matmul(x[1])?.add(x[2])?.tanh();
            hidden.linear_cross_entropy(x[3], Some(x[4]), &targets, &loss)
        },
        &inputs,
    );
    let worst = worst.unwrap();
    assert!(worst.error < 1e-8, "{worst:?}");
}

#[test]
fn a_transformer_block_end_to_end() {
    let (batch, length, width, vocabulary) = (2, 5, 6, 11);
    let tokens = [1_u32, 5, 5, 0, 10, 3, 2, 1, 5, 7];
    let targets = [5_u32, 5, 0, 10, 3, 2, 1, 5, 7, 9];
    let loss = LinearCrossEntropy::builder().softcap(20.0).build().unwrap();
    let mut inputs = block_parameters(width);
    inputs.push(numbers(&[vocabulary, width], 14));
    inputs.push(numbers(&[length, width], 15));
    let worst = gradcheck(
        |_, x| {
            let [ref parameters @ .., table, positions] = *x else { panic!("more than two") };
            let mut generator = Generator::new(16);
            let x = table.gather(&tokens)?.reshape(&[batch, length, width])?.add(positions)?;
            let x = block(x, parameters, 2, 0.1, &mut generator)?;
            let x = block(x, parameters, 3, 0.0, &mut generator)?;
            // The classifier is the table.
            x.linear_cross_entropy(table, None, &targets, &loss)
        },
        &inputs,
    );
    let worst = worst.unwrap();
    assert!(worst.error < 1e-7, "{worst:?}");
}

/// What two training steps compute, on so many threads: the first gradients, then the parameters.
fn step<T: Real>(threads: usize, batch: usize, length: usize, width: usize) -> Vec<ArrayD<T>> {
    let run = || {
        let (vocabulary, mut generator) = (777, Generator::new(17));
        let narrow = |x: ArrayD<f64>| x.mapv(T::from_f64).into_shared();
        let mut parameters: Vec<Shared<T>> =
            block_parameters(width).into_iter().map(|x| narrow(x.mapv(|x| 0.2 * x))).collect();
        parameters.push(narrow(numbers(&[vocabulary, width], 18)));
        let tokens: Vec<u32> =
            (0..batch * length).map(|_| generator.bits() as u32 % vocabulary as u32).collect();
        let loss = LinearCrossEntropy::builder().build().unwrap();
        let mut adam = AdamW::builder().build().unwrap();
        let mut first_gradients = Vec::new();
        for _ in 0..2 {
            let tape = Tape::new().unwrap();
            let leaves: Vec<_> = parameters.iter().map(|of| tape.leaf(of)).collect();
            let (&table, block_leaves) = leaves.split_last().unwrap();
            let x = table.gather(&tokens).unwrap().reshape(&[batch, length, width]).unwrap();
            let x = block(x, block_leaves, 4, 0.1, &mut generator).unwrap();
            // Each position minus half of the one before it, none before the first.
            let before = tape.constant(ArrayD::from_elem(vec![batch, 1, width], T::from_f64(0.0)));
            let weights = [1.0, -0.5].map(|w| Array1::from_elem(width, T::from_f64(w)));
            let weights = ndarray::stack![Axis(0), weights[0], weights[1]];
            let x = Variable::concat(&[before, x], 1).unwrap();
            let x = x.causal_convolution(tape.leaf(weights)).unwrap().gelu();
            let other = x.sum_axes(&[0, 1], false).unwrap().tanh().mean().scale(T::from_f64(0.1));
            let y = x.linear_cross_entropy(table, None, &tokens, &loss).unwrap();
            let mut gradients = y.add(other).unwrap().backward().unwrap();
            let mut gradients: Vec<_> =
                leaves.iter().map(|&leaf| gradients.take(leaf).unwrap()).collect();
            drop(tape);
            if first_gradients.is_empty() {
                first_gradients = gradients.clone();
            }
            clip_gradient_norm(&mut gradients, 0.5).unwrap();
            let pairs = parameters.iter_mut().zip(&gradients);
            let mut pairs: Vec<_> = pairs.map(|(w, g)| Parameter::new(w, g.view())).collect();
            adam.step(1e-2, &mut pairs).unwrap();
        }
        first_gradients.into_iter().chain(parameters).map(|of| of.into_owned()).collect()
    };
    #[cfg(feature = "parallel")]
    return rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run);
    #[cfg(not(feature = "parallel"))]
    {
        let _ = threads;
        run()
    }
}

#[test]
fn the_same_bits_on_any_number_of_threads() {
    fn bits<T: Real>(arrays: &[ArrayD<T>]) -> Vec<u64> {
        arrays.iter().flatten().map(|x| x.to_f64().to_bits()).collect()
    }
    fn same<T: Real>() {
        let one = bits(&step::<T>(1, 5, 37, 64));
        assert!(one.iter().all(|&bits| f64::from_bits(bits).is_finite()));
        for threads in [2, 3, 8] {
            assert_eq!(bits(&step::<T>(threads, 5, 37, 64)), one, "{threads} threads");
        }
    }
    same::<f32>();
    same::<f64>();
}

/// f32 is f64 but for its rounding, and draws the same masks.
#[test]
fn single_precision_follows_double() {
    let (single, double) = (step::<f32>(2, 3, 21, 32), step::<f64>(2, 3, 21, 32));
    for (i, (a, b)) in single.iter().zip(&double).take(12).enumerate() {
        let error: f64 = a.iter().zip(b).map(|(&a, b)| (f64::from(a) - b).powi(2)).sum();
        let size: f64 = b.iter().map(|x| x * x).sum();
        // A hundred roundings of 2⁻²⁴.
        assert!(
            error.sqrt() <= 6e-6 * size.sqrt(),
            "gradient {i}: {} of {}",
            error.sqrt(),
            size.sqrt()
        );
    }
}

#[test]
fn adamw_by_hand() {
    let (rate, decay, betas, epsilon) = (0.1, 0.01, [0.8, 0.9], 1e-3);
    let adam = AdamW::builder().betas(betas[0], betas[1]).epsilon(epsilon);
    let mut adam = adam.weight_decay(decay).build().unwrap();
    let start = [1.0_f64, -2.0, 0.0];
    let gradients = [[0.5, -0.25, 0.0], [0.0, 1.0, 3.0], [-1.0, 1.0, 0.125]];
    let (mut w, mut bias) =
        (arr1(&start).into_dyn().into_shared(), arr1(&start).into_dyn().into_shared());
    let mut expected = [start, start];
    let (mut m, mut v) = ([0.0; 3], [0.0; 3]);
    for (t, g) in (1..).zip(gradients) {
        let g_array = arr1(&g).into_dyn();
        adam.step(
            rate,
            &mut [
                Parameter::new(&mut w, g_array.view()),
                Parameter::new(&mut bias, g_array.view()).without_decay(),
            ],
        )
        .unwrap();
        for i in 0..3 {
            m[i] = betas[0] * m[i] + (1.0 - betas[0]) * g[i];
            v[i] = betas[1] * v[i] + (1.0 - betas[1]) * g[i] * g[i];
            let m_hat = m[i] / (1.0 - betas[0].powi(t));
            let v_hat: f64 = v[i] / (1.0 - betas[1].powi(t));
            for (expected, decay) in expected.iter_mut().zip([decay, 0.0]) {
                expected[i] -= rate * decay * expected[i];
                expected[i] -= rate * m_hat / (v_hat.sqrt() + epsilon);
            }
        }
        for (found, expected) in [&w, &bias].iter().zip(&expected) {
            for (a, b) in found.iter().zip(expected) {
                assert!((a - b).abs() < 1e-14, "{a} for {b}");
            }
        }
    }
    assert_eq!(adam.state().steps, 3);
}

#[test]
fn sgd_by_hand() {
    for (momentum, nesterov, decay) in [(0.0, false, 0.0), (0.9, false, 0.1), (0.9, true, 0.1)] {
        let sgd = Sgd::builder().momentum(momentum).nesterov(nesterov).weight_decay(decay);
        let mut sgd = sgd.build().unwrap();
        let mut w = arr1(&[1.0_f64, -2.0]).into_dyn().into_shared();
        let mut expected = [1.0, -2.0];
        let mut average = [0.0; 2];
        for g in [[0.5, -0.25], [1.0, 2.0], [0.0, 0.0]] {
            let array = arr1(&g).into_dyn();
            sgd.step(0.1, &mut [Parameter::new(&mut w, array.view())]).unwrap();
            for i in 0..2 {
                let h = g[i] + decay * expected[i];
                average[i] = momentum * average[i] + h;
                expected[i] -= 0.1 * if nesterov { h + momentum * average[i] } else { average[i] };
                assert!((w[[i]] - expected[i]).abs() < 1e-15);
            }
        }
    }
}

#[test]
fn clipping_by_hand() {
    let gradients = || {
        [
            arr1(&[3.0_f32, 0.0]).into_dyn().into_shared(),
            arr2(&[[4.0_f32]]).into_dyn().into_shared(),
        ]
    };
    let mut short = gradients();
    assert_eq!(clip_gradient_norm(&mut short, 5.5).unwrap(), 5.0);
    assert_eq!(short, gradients(), "what is short enough stays as it is");
    let mut long = gradients();
    assert_eq!(clip_gradient_norm(&mut long, 2.5).unwrap(), 5.0);
    assert_eq!(long, gradients().map(|g| g.mapv(|g| g * 0.5).into_shared()));
    let mut wrong = gradients();
    wrong[0][[1]] = f32::NAN;
    assert!(clip_gradient_norm(&mut wrong, 1.0).unwrap().is_nan());
    assert_eq!(wrong[1], gradients()[1], "nothing is changed by a NaN");
    // Squares that f32 does not hold.
    let mut large = [arr1(&[3e30_f32, 4e30]).into_dyn().into_shared()];
    let norm = clip_gradient_norm(&mut large, 1.0).unwrap();
    assert!((norm / 5e30 - 1.0).abs() < 1e-6 && (large[0][[0]] - 0.6).abs() < 1e-6);
    for bound in [0.0, -1.0, f64::NAN] {
        assert!(matches!(clip_gradient_norm(&mut short, bound), Err(Error::Option { .. })));
    }
}

#[test]
fn schedules_by_hand() {
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-15, "{a} for {b}");
    let cosine = Schedule::cosine(2.0, 110).warm_up(10).floor(0.1);
    let (of, cosine) = (cosine.clone(), cosine.build().unwrap());
    near(cosine.rate(0), 0.2);
    near(cosine.rate(9), 2.0);
    near(cosine.rate(10), 2.0);
    near(cosine.rate(60), 2.0 * 0.55);
    near(cosine.rate(110), 0.2);
    near(cosine.rate(u64::MAX), 0.2);
    let linear = Schedule::linear(1.0, 4).build().unwrap();
    for (step, rate) in [1.0, 0.75, 0.5, 0.25, 0.0, 0.0].into_iter().enumerate() {
        near(linear.rate(step as u64), rate);
    }
    near(Schedule::cosine(1.0, 0).build().unwrap().rate(0), 0.0);
    assert!((10..110).all(|step| cosine.rate(step + 1) < cosine.rate(step)));
    for wrong in [Schedule::constant(-1.0), Schedule::linear(f64::NAN, 3), of.floor(1.5)] {
        assert!(matches!(wrong.build(), Err(Error::Option { .. })));
    }
}

/// A run of some steps that is taken up again, with its state as plain numbers in between.
#[test]
fn a_resumed_optimiser_goes_on_bit_for_bit() {
    let gradient = |step: u64| numbers(&[3, 4], 40 + step).mapv(|x| x as f32).into_shared();
    let start = || numbers(&[3, 4], 39).mapv(|x| x as f32).into_shared();
    let adam = || AdamW::<f32>::builder().weight_decay(0.1);
    let sgd = || Sgd::<f32>::builder().momentum(0.9);
    let run = |w: &mut [Shared<f32>; 2], adam: &mut AdamW<f32>, sgd: &mut Sgd<f32>, steps| {
        for step in steps {
            let g = gradient(step);
            let [first, second] = w;
            adam.step(0.01, &mut [Parameter::new(first, g.view())]).unwrap();
            sgd.step(0.01, &mut [Parameter::new(second, g.view())]).unwrap();
        }
    };
    let mut whole = [start(), start()];
    run(&mut whole, &mut adam().build().unwrap(), &mut sgd().build().unwrap(), 0..9);
    let mut parts = [start(), start()];
    let (mut first_adam, mut first_sgd) = (adam().build().unwrap(), sgd().build().unwrap());
    run(&mut parts, &mut first_adam, &mut first_sgd, 0..4);
    let plain = |array: &Shared<f32>| {
        let bits: Vec<u32> = array.iter().map(|x| x.to_bits()).collect();
        let numbers = bits.into_iter().map(f32::from_bits).collect();
        Shared::from_shape_vec(array.raw_dim(), numbers).unwrap()
    };
    let mut state = first_adam.state();
    state.first = state.first.iter().map(plain).collect();
    state.second = state.second.iter().map(plain).collect();
    let mut resumed_adam = adam().state(state).build().unwrap();
    let state = first_sgd.state().iter().map(plain).collect();
    let mut resumed_sgd = sgd().state(state).build().unwrap();
    let mut parts = parts.each_ref().map(plain);
    run(&mut parts, &mut resumed_adam, &mut resumed_sgd, 4..9);
    assert_eq!(parts, whole);
}

#[test]
fn optimisers_refuse_and_change_nothing() {
    let mut w = Shared::<f64>::ones(IxDyn(&[2]));
    let (good, bad) = (Shared::<f64>::ones(IxDyn(&[2])), Shared::<f64>::ones(IxDyn(&[3])));
    let mut adam = AdamW::builder().build().unwrap();
    let result = adam.step(0.1, &mut [Parameter::new(&mut w, bad.view())]);
    assert!(message(result).contains("a gradient has shape [3], expected [2]"));
    adam.step(0.1, &mut [Parameter::new(&mut w, good.view())]).unwrap();
    let after = w.clone();
    assert!(message(adam.step(0.1, &mut [])).contains("other parameters than before"));
    for rate in [-1.0, f64::INFINITY, f64::NAN] {
        let result = adam.step(rate, &mut [Parameter::new(&mut w, good.view())]);
        assert!(message(result).contains("learning rate is"));
    }
    let mut state = adam.state();
    assert_eq!((state.steps, &w), (1, &after));
    state.second.clear();
    assert!(message(AdamW::builder().state(state).build()).contains("expected the same"));
    let mut sgd = Sgd::builder().state(vec![bad]).build().unwrap();
    let result = sgd.step(0.1, &mut [Parameter::new(&mut w, good.view())]);
    assert!(message(result).contains("expected shapes [[3]]"));
    assert_eq!(w, after);
}

#[test]
fn a_classifier_learns() {
    let (count, classes) = (240, 3);
    let mut generator = Generator::new(50);
    let labels: Vec<u32> = (0..count).map(|i| i as u32 % classes).collect();
    // Three arms of a spiral.
    let points = Array2::from_shape_fn((count, 2), |(i, axis)| {
        let radius = (i / 3 + 8) as f64 / 88.0;
        let angle = f64::from(labels[i]) * 2.1 + 4.0 * radius;
        radius * if axis == 0 { angle.cos() } else { angle.sin() }
    });
    let mut parameters = [
        generator.normal::<f64>(&[2, 32], 1.0).unwrap(),
        generator.normal(&[32], 1.0).unwrap(),
        generator.normal(&[3, 32], 0.3).unwrap(),
    ];
    let loss = LinearCrossEntropy::builder().build().unwrap();
    let mut adam = AdamW::builder().build().unwrap();
    let mut last = f64::INFINITY;
    for _ in 0..400 {
        let tape = Tape::new().unwrap();
        let [w, b, c] = parameters.each_ref().map(|of| tape.leaf(of));
        let hidden = tape.constant(points.clone()).matmul(w).unwrap().add(b).unwrap().tanh();
        let y = hidden.linear_cross_entropy(c, None, &labels, &loss).unwrap();
        last = y.scalar().unwrap();
        let mut gradients = y.backward().unwrap();
        let gradients = [w, b, c].map(|leaf| gradients.take(leaf).unwrap());
        drop(tape);
        let pairs = parameters.iter_mut().zip(&gradients);
        let mut pairs: Vec<_> = pairs.map(|(w, g)| Parameter::new(w, g.view())).collect();
        adam.step(0.02, &mut pairs).unwrap();
    }
    assert!(last < 0.1, "{last}");
}

/// Milliseconds of a training step of a small language model, and where they go.
#[test]
#[ignore = "run alone, with --release and --nocapture, on a quiet machine"]
fn speed() {
    use std::time::Instant;
    let (batch, length, width, vocabulary) = (16, 128, 128, 10_000);
    let mut generator = Generator::new(60);
    let narrow = |x: ArrayD<f64>| x.mapv(|x| 0.2 * x as f32).into_shared();
    let mut parameters: Vec<Shared<f32>> = Vec::new();
    for _ in 0..2 {
        parameters.extend(block_parameters(width).into_iter().map(narrow));
    }
    parameters.push(narrow(numbers(&[vocabulary, width], 18)));
    let count: usize = parameters.iter().map(|of| of.len()).sum();
    let tokens: Vec<u32> =
        (0..batch * length).map(|_| generator.bits() as u32 % vocabulary as u32).collect();
    let loss = LinearCrossEntropy::builder().build().unwrap();
    let mut adam = AdamW::builder().build().unwrap();
    let mut parts = vec![[0.0; 5]; 0];
    for _ in 0..12 {
        let mut times = [0.0; 5];
        let mut start = Instant::now();
        let mut lap = |to: &mut f64| {
            *to = start.elapsed().as_secs_f64() * 1e3;
            start = Instant::now();
        };
        let tape = Tape::new().unwrap();
        let leaves: Vec<_> = parameters.iter().map(|of| tape.leaf(of)).collect();
        let table = leaves[22];
        let x = table.gather(&tokens).unwrap().reshape(&[batch, length, width]).unwrap();
        let x = block(x, &leaves[..11], 4, 0.1, &mut generator).unwrap();
        let x = block(x, &leaves[11..22], 4, 0.1, &mut generator).unwrap();
        lap(&mut times[0]);
        let y = x.linear_cross_entropy(table, None, &tokens, &loss).unwrap();
        lap(&mut times[1]);
        let mut gradients = y.backward().unwrap();
        lap(&mut times[2]);
        let mut gradients: Vec<_> =
            leaves.iter().map(|&leaf| gradients.take(leaf).unwrap()).collect();
        drop(tape);
        lap(&mut times[3]);
        clip_gradient_norm(&mut gradients, 1.0).unwrap();
        let pairs = parameters.iter_mut().zip(&gradients);
        let mut pairs: Vec<_> = pairs.map(|(w, g)| Parameter::new(w, g.view())).collect();
        adam.step(1e-3, &mut pairs).unwrap();
        lap(&mut times[4]);
        parts.push(times);
    }
    println!("{count} parameters, {} tokens", batch * length);
    for (i, name) in ["forward", "loss", "backward", "drop", "optimiser"].iter().enumerate() {
        let mut times: Vec<f64> = parts.iter().map(|times| times[i]).collect();
        times.sort_unstable_by(f64::total_cmp);
        println!("{name}: {:.2} ms ({:.2} to {:.2})", times[6], times[0], times[11]);
    }
}
