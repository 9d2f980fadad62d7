//! Random small graphs on the tape: in f64 against central differences, in f32 against f64, for some
//! the same bits on one thread and on three. Operands that do not go together are refused in one line.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use ndarray::{ArrayD, IxDyn};
use std::sync::LazyLock;
use surprisal::autodiff::{Generator, Tape, Variable, gradcheck};
use surprisal::{Isa, LinearCrossEntropy, Real, Reduction, Result};
use testing::rare::one_in;

static POOLS: LazyLock<[rayon::ThreadPool; 2]> = LazyLock::new(|| {
    [1, 3].map(|n| rayon::ThreadPoolBuilder::new().num_threads(n).build().expect("threads"))
});

/// Elements of a value at most, so that differences by all leaves take little.
const ELEMENTS: usize = 40;

#[derive(Arbitrary, Debug, Hash)]
struct Graph {
    leaves: [(u8, u8, u8, u8); 3],
    operations: Vec<(Operation, u8, u8, u8)>,
    seed: u8,
    isa: u8,
    /// More elements than a piece has.
    large: bool,
}

#[derive(Arbitrary, Clone, Copy, Debug, Hash)]
enum Operation {
    Neg,
    Scale,
    AddScalar,
    Relu,
    Gelu,
    GeluTanh,
    Silu,
    Tanh,
    Sigmoid,
    Exp,
    Ln,
    Sqrt,
    Powi,
    Add,
    Sub,
    Mul,
    Div,
    Sum,
    Mean,
    SumAxes,
    MeanAxes,
    Matmul,
    MatmulTransposed,
    Reshape,
    Transpose,
    Permute,
    Slice,
    Concat,
    Gather,
    LayerNorm,
    RmsNorm,
    Softmax,
    LogSoftmax,
    Attention,
    Dropout,
    Detach,
    Loss,
}

/// Shapes of up to three axes, a few of them empty.
fn shape((axes, a, b, c): (u8, u8, u8, u8), factor: usize) -> Vec<usize> {
    let lengths = [a, b, c].map(|length| usize::from(length % 4));
    lengths[..usize::from(axes % 4)].iter().map(|&length| length * factor).collect()
}

fn leaf(shape: &[usize], seed: u64) -> ArrayD<f64> {
    let mut generator = Generator::new(seed);
    // Numbers that f32 holds too.
    ArrayD::from_shape_simple_fn(IxDyn(shape), || {
        f64::from((2.0 * generator.uniform() - 1.0) as f32)
    })
}

/// Numbers around 2 and −2: what is between −1 and 1 stays on its side of 0 when they are added.
fn sides<'t, T: Real>(tape: &'t Tape<T>, shape: &[usize]) -> Variable<'t, T> {
    let mut side = T::from_f64(2.0);
    tape.constant(ArrayD::from_shape_simple_fn(IxDyn(shape), || {
        side = -side;
        side
    }))
}

/// The value of one operation on values between −1 and 1; none where the differences would not exist.
fn apply<'t, T: Real>(
    tape: &'t Tape<T>,
    (operation, i, j, k): (Operation, u8, u8, u8),
    values: &[Variable<'t, T>],
) -> Result<Variable<'t, T>> {
    let of = |i: u8| values[usize::from(i) % values.len()];
    let (x, y) = (of(i), of(j));
    let [small, number] = [usize::from(k % 4), usize::from(k)];
    let positive = |x: Variable<'t, T>| x.mul(x).map(|x| x.add_scalar(T::from_f64(0.5)));
    Ok(match operation {
        Operation::Neg => x.neg(),
        Operation::Scale => x.scale(T::from_f64(number as f64 / 128.0 - 1.0)),
        Operation::AddScalar => x.add_scalar(T::from_f64(number as f64 / 128.0 - 1.0)),
        Operation::Relu => x.tanh().add(sides(tape, &x.shape()))?.relu(),
        Operation::Gelu => x.gelu(),
        Operation::GeluTanh => x.gelu_tanh(),
        Operation::Silu => x.silu(),
        Operation::Tanh => x.tanh(),
        Operation::Sigmoid => x.sigmoid(),
        Operation::Exp => x.exp(),
        Operation::Ln => positive(x)?.ln(),
        Operation::Sqrt => positive(x)?.sqrt(),
        Operation::Powi => positive(x)?.powi(i32::from(k % 7) - 3),
        Operation::Add => x.add(y)?,
        Operation::Sub => x.sub(y)?,
        Operation::Mul => x.mul(y)?,
        Operation::Div => x.div(positive(y)?)?,
        Operation::Sum => x.sum(),
        // The mean of nothing is no number.
        Operation::Mean if x.value().is_empty() => x.sum(),
        Operation::Mean => x.mean(),
        Operation::SumAxes => x.sum_axes(&[small], k >= 128)?,
        Operation::MeanAxes if x.value().is_empty() => x.sum_axes(&[small], k >= 128)?,
        Operation::MeanAxes => x.mean_axes(&[usize::from(k % 3), usize::from(j % 3)], k >= 128)?,
        Operation::Matmul => x.matmul(y)?,
        Operation::MatmulTransposed => x.matmul(y.transpose()?)?,
        Operation::Reshape => {
            let count = x.value().len();
            let rows = small + 1;
            x.reshape(&[rows, count / rows])?
        }
        Operation::Transpose => x.transpose()?,
        Operation::Permute => x.permute(&[small, usize::from(j % 3), usize::from(k / 4 % 3)])?,
        Operation::Slice => x.slice(small, usize::from(j % 4)..usize::from(k / 4 % 6))?,
        Operation::Concat => Variable::concat(&[x, y, x], small)?,
        Operation::Gather => x.gather(&[u32::from(j % 5), u32::from(k % 5), u32::from(j % 5)])?,
        Operation::LayerNorm => x.layer_norm(Some(y), Some(of(k)), 0.25)?,
        Operation::RmsNorm => x.rms_norm(if k >= 128 { Some(y) } else { None }, 0.25)?,
        Operation::Softmax => x.softmax()?,
        Operation::LogSoftmax => x.log_softmax()?,
        Operation::Attention => x.causal_attention(y, of(k), small)?,
        Operation::Dropout => x.dropout(f64::from(k) / 256.0, &mut Generator::new(u64::from(j)))?,
        // What a difference sees of detached values cancels.
        Operation::Detach => x.add(y.detach().sub(y.detach())?)?,
        Operation::Loss => {
            let shape = x.shape();
            let rows = shape[..shape.len().saturating_sub(1)].iter().product();
            let classes = y.shape().first().copied().unwrap_or(0).max(1) as i64;
            let target = |i: usize| if i % 4 == 3 { -100 } else { (i as i64 + 1) % classes };
            let targets: Vec<i64> = (0..rows).map(target).collect();
            let reduction = match k % 3 {
                0 => Reduction::None,
                1 => Reduction::Sum,
                _ => Reduction::Divide(5.0),
            };
            let loss = LinearCrossEntropy::builder().reduction(reduction).z_loss(0.01).build()?;
            let bias = if k >= 128 { Some(of(k)) } else { None };
            x.linear_cross_entropy(y, bias, &targets, &loss)?
        }
    })
}

/// All values of the graph one after the other: none of them is without effect.
fn run<'t, T: Real>(
    graph: &Graph,
    tape: &'t Tape<T>,
    leaves: &[Variable<'t, T>],
    elements: usize,
) -> Result<Variable<'t, T>> {
    let mut values = leaves.to_vec();
    for &operation in graph.operations.iter().take(7) {
        match apply(tape, operation, &values) {
            // Values stay between −1 and 1, so that errors of rounding do too.
            Ok(value) if value.value().len() <= elements => values.push(value.tanh()),
            Ok(_) => {}
            Err(error) => {
                let message = error.to_string();
                assert!(!message.is_empty() && !message.contains('\n'), "{message}");
            }
        }
    }
    let flat: Result<Vec<_>> =
        values.iter().map(|value| value.reshape(&[value.value().len()])).collect();
    Variable::concat(&flat?, 0)
}

/// The values of the graph and the derivatives of their sum, from this type.
fn results<T: Real>(graph: &Graph, leaves: &[ArrayD<f64>], elements: usize) -> Vec<Vec<f64>> {
    let isas = Isa::available();
    let tape = Tape::<T>::with_isa(isas[usize::from(graph.isa) % isas.len()]);
    let leaves: Vec<_> = leaves.iter().map(|leaf| tape.leaf(leaf.mapv(T::from_f64))).collect();
    let value = run(graph, &tape, &leaves, elements).expect("values of one tape");
    let gradients = value.sum().backward().expect("a sum of leaves and more");
    let plain = |array: ndarray::ArrayViewD<'_, T>| array.iter().map(|x| x.to_f64()).collect();
    let mut results = vec![plain(value.value().view())];
    results.extend(leaves.iter().map(|&leaf| plain(gradients.of(leaf).expect("a gradient"))));
    results
}

fuzz_target!(|graph: Graph| {
    // Few of the inputs are large, and few go over threads: both take the time of many small ones.
    let large = graph.large && one_in(128, &(&graph, "large"));
    let pools = &POOLS[..if large || one_in(32, &(&graph, "threads")) { 2 } else { 1 }];
    let (factor, elements) = if large { (19, 40_000) } else { (1, ELEMENTS) };
    let leaves: Vec<_> = graph
        .leaves
        .iter()
        .zip(0..)
        .map(|(&of, i)| leaf(&shape(of, factor), 3 * u64::from(graph.seed) + i))
        .collect();
    let directions: Vec<_> =
        leaves.iter().zip(7..).map(|(of, seed)| leaf(of.shape(), seed)).collect();
    // By each element in some, in the others along one direction, which a wrong derivative changes too.
    let whole = one_in(32, &(&graph, "elements"));
    if !large {
        let check = || match whole {
            true => gradcheck(|tape, leaves| run(&graph, tape, leaves, elements), &leaves),
            false => gradcheck(
                |tape, step| {
                    let mut moved = Vec::new();
                    for (leaf, direction) in leaves.iter().zip(&directions) {
                        let along = tape.constant(direction.clone()).mul(step[0])?;
                        moved.push(tape.constant(leaf.clone()).add(along)?);
                    }
                    run(&graph, tape, &moved, elements)
                },
                &[ArrayD::zeros(IxDyn(&[]))],
            ),
        };
        let worst = POOLS[0].install(check).expect("a sum of leaves and more");
        assert!(worst.error <= 1e-6, "{worst:?}");
    }
    let bits = |results: &[Vec<f64>]| -> Vec<u64> {
        results.iter().flatten().map(|x| x.to_bits()).collect()
    };
    let same = |results: &[Vec<Vec<f64>>]| {
        let same = results.iter().all(|more| bits(more) == bits(&results[0]));
        assert!(same, "one thread and three");
    };
    let on = |pool: &rayon::ThreadPool| pool.install(|| results::<f64>(&graph, &leaves, elements));
    let double: Vec<_> = pools.iter().map(on).collect();
    same(&double);
    let on = |pool: &rayon::ThreadPool| pool.install(|| results::<f32>(&graph, &leaves, elements));
    let single: Vec<_> = pools.iter().map(on).collect();
    same(&single);
    // What a wrong lane or a forgotten tail would be far beyond.
    for (which, (single, double)) in single[0].iter().zip(&double[0]).enumerate() {
        let most = double.iter().fold(1.0_f64, |most, x| most.max(x.abs()));
        for (i, (a, b)) in single.iter().zip(double).enumerate() {
            assert!((a - b).abs() <= 1e-2 * most, "{which}[{i}]: {a} in f32, {b} in f64");
        }
    }
});
