//! Accuracy of the elementary functions, and agreement of the instruction sets.

use dashu_float::FBig;
use dashu_float::round::mode::HalfEven;
use std::sync::atomic::{AtomicU32, Ordering};

use super::exp::exp;
use super::log::{ln, ln_1p};
use super::normal::normal_distribution;
use super::remainder::remainder;
use super::tanh::tanh_with_derivative;
use super::{Isa, Kernel, Precision, Simd, SimdReal, Vector};
use crate::element::Real;

/// Applies `exp` in place.
struct Exp<'a, R>(&'a mut [R]);

impl<R: SimdReal> Kernel for Exp<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let lanes = <R::Vector<S>>::LANES;
        for chunk in self.0.chunks_exact_mut(lanes) {
            exp::<S, R>(simd, <R::Vector<S>>::load(simd, chunk)).store(chunk);
        }
    }
}

/// Applies `tanh` in place and gives the derivatives.
struct Tanh<'a, R>(&'a mut [R], &'a mut [R]);

impl<R: Real> Kernel for Tanh<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let lanes = <R::Vector<S>>::LANES;
        for (x, d) in self.0.chunks_exact_mut(lanes).zip(self.1.chunks_exact_mut(lanes)) {
            let (value, derivative) =
                tanh_with_derivative::<S, R>(simd, <R::Vector<S>>::load(simd, x));
            value.store(x);
            derivative.store(d);
        }
    }
}

/// Applies `remainder` in place.
struct Remainder<'a, R>(&'a mut [R]);

impl<R: SimdReal> Kernel for Remainder<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let lanes = <R::Vector<S>>::LANES;
        for chunk in self.0.chunks_exact_mut(lanes) {
            remainder::<S, R>(simd, <R::Vector<S>>::load(simd, chunk)).store(chunk);
        }
    }
}

/// What the documentation promises, in units in the last place.
fn promised(isa: Isa) -> f64 {
    if isa.fuses() { 0.9 } else { 1.2 }
}

/// The distance from an f32 to the next at this magnitude, for normal numbers.
fn ulp_f32(x: f64) -> f64 {
    let exponent = ((x.abs().to_bits() >> 52) as i32 - 1023).max(-126);
    f64::from(exponent - 23).exp2()
}

fn ulp_f64(x: f64) -> f64 {
    let exponent = ((x.abs().to_bits() >> 52) as i32 - 1023).max(-1022);
    f64::from(exponent - 52).exp2()
}

const LOWEST: f32 = -87.336_54;

/// The largest error over the f32 from −0 down to the lowest, every `stride`-th.
fn worst_exp_f32(isa: Isa, stride: u32) -> f64 {
    let (first, last) = ((-0.0_f32).to_bits(), LOWEST.to_bits());
    const BATCH: u32 = 1 << 12;
    let next = AtomicU32::new(0);
    let batches = (last - first) / (BATCH * stride) + 1;
    let worker = || {
        let mut worst = 0.0_f64;
        loop {
            let batch = next.fetch_add(1, Ordering::Relaxed);
            if batch >= batches {
                return worst;
            }
            let start = first + batch * BATCH * stride;
            let bits = |i: u32| (start.saturating_add(i * stride)).min(last);
            let x: Vec<f32> = (0..BATCH).map(|i| f32::from_bits(bits(i))).collect();
            let mut y = x.clone();
            isa.dispatch(Exp(&mut y));
            for (x, y) in x.iter().zip(y) {
                let exact = f64::from(*x).exp();
                worst = worst.max((f64::from(y) - exact).abs() / ulp_f32(exact));
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(worker)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).fold(0.0, f64::max)
    })
}

#[test]
fn exp_of_some_f32() {
    for isa in Isa::available() {
        let worst = worst_exp_f32(isa, 509);
        assert!(worst <= promised(isa), "{}: {worst} ulp", isa.name());
    }
}

#[test]
#[ignore = "visits all 1.1 thousand million f32 of the range, on every instruction set"]
fn exp_of_every_f32() {
    for isa in Isa::available() {
        let worst = worst_exp_f32(isa, 1);
        println!("{}: {worst:.3} ulp", isa.name());
        assert!(worst <= promised(isa), "{}: {worst} ulp", isa.name());
    }
}

type Big = FBig<HalfEven, 2>;

fn big(x: f64) -> Big {
    Big::try_from(x).unwrap().with_precision(160).value()
}

/// |y − exact| in units in the last place.
fn error_f64(y: f64, exact: &Big) -> f64 {
    (big(y) - exact).to_f64().value().abs() / ulp_f64(exact.to_f64().value())
}

/// A sample of (0, 1) that covers it evenly.
fn sample(count: usize) -> impl Iterator<Item = f64> {
    (1..=count).map(|i| (i as f64 * 0.618_033_988_749_894_9).fract())
}

#[test]
fn exp_of_f64() {
    let small = sample(6000).map(|u| -u);
    let large = sample(6000).map(|u| -708.39 * u);
    let tiny = sample(200).map(|u| -(u * -40.0).exp2());
    let x: Vec<f64> = small.chain(large).chain(tiny).collect();
    let exact: Vec<Big> = x.iter().map(|&x| big(x).exp()).collect();
    for isa in Isa::available() {
        let mut y = x.clone();
        y.resize(x.len().next_multiple_of(16), 0.0);
        isa.dispatch(Exp(&mut y));
        for ((x, y), exact) in x.iter().zip(y).zip(&exact) {
            let error = error_f64(y, exact);
            assert!(error <= promised(isa), "{}: exp({x:e}) = {y:e}: {error}", isa.name());
        }
    }
}

fn special<R: Real>() {
    let lowest = R::EXP.lowest.to_f64();
    let just_below = lowest * (1.0 + 4.0 * R::EPSILON);
    for isa in Isa::available() {
        let infinity = f64::INFINITY;
        let x = [0.0, -0.0, -infinity, f64::NAN, just_below, 4.0 * lowest, -1e4, lowest];
        let mut y = x.map(R::from_f64).to_vec();
        y.resize(16, R::ZERO);
        // A NaN whose payload would reach the exponent if it were shifted.
        y[15] = R::from_f64(f64::from_bits(0x7ff8_0000_2000_0001));
        isa.dispatch(Exp(&mut y));
        let y: Vec<f64> = y.into_iter().map(R::to_f64).collect();
        assert_eq!(&y[..3], &[1.0, 1.0, 0.0], "{}", isa.name());
        assert!(y[3].is_nan() && y[15].is_nan());
        assert_eq!(&y[4..7], &[0.0, 0.0, 0.0]);
        assert!(y[7] > 0.0);
    }
}

#[test]
fn exp_is_exact_where_it_must_be() {
    special::<f32>();
    special::<f64>();
}

/// tanh within 2 ulp, its derivative within 6: it is a product of five roundings of what exp gives.
fn check_tanh<R: Real>(ulp: impl Fn(f64) -> f64) {
    let one = big(1.0);
    let x: Vec<f64> = sample(3000)
        .flat_map(|u| [u, -u * 0.7, 20.0 * u, -(u * -30.0).exp2()])
        .map(|x| R::from_f64(x).to_f64())
        .collect();
    for isa in Isa::available() {
        let mut y: Vec<R> = x.iter().map(|&x| R::from_f64(x)).collect();
        y.resize(x.len().next_multiple_of(16), R::ZERO);
        let mut d = y.clone();
        isa.dispatch(Tanh(&mut y, &mut d));
        for ((&x, y), d) in x.iter().zip(y).zip(d) {
            let e = (big(-2.0 * x.abs())).exp();
            let value = (&one - &e) / (&one + &e) * if x < 0.0 { big(-1.0) } else { big(1.0) };
            let slope = big(4.0) * &e / ((&one + &e) * (&one + &e));
            let error = |y: f64, exact: &Big| {
                (big(y) - exact).to_f64().value().abs() / ulp(exact.to_f64().value())
            };
            let (a, b) = (error(y.to_f64(), &value), error(d.to_f64(), &slope));
            assert!(a <= 2.0, "{}: tanh({x:e}) = {y}: {a}", isa.name());
            assert!(b <= 6.0, "{}: tanh'({x:e}) = {d}: {b}", isa.name());
        }
        let infinity = f64::INFINITY;
        let mut y = [infinity, -infinity, f64::NAN, 0.0].map(R::from_f64).to_vec();
        y.resize(16, R::ZERO);
        let mut d = y.clone();
        isa.dispatch(Tanh(&mut y, &mut d));
        assert_eq!([y[0], y[1], y[3]].map(R::to_f64), [1.0, -1.0, 0.0]);
        assert_eq!([d[0], d[1], d[3]].map(R::to_f64), [0.0, 0.0, 1.0]);
        assert!(y[2].to_f64().is_nan() && d[2].to_f64().is_nan());
    }
}

#[test]
fn tanh_and_its_derivative() {
    check_tanh::<f32>(ulp_f32);
    check_tanh::<f64>(ulp_f64);
}

/// Against the series with 25 terms in many digits.
#[test]
fn what_the_exponential_has_beyond_its_tangent() {
    fn check<R: Real>(ulp: impl Fn(f64) -> f64) {
        let xs: Vec<R> = (-1024..=1023).map(|k| R::from_f64(f64::from(k) / 1024.0)).collect();
        for isa in Isa::available() {
            let mut ys = xs.clone();
            isa.dispatch(Remainder(&mut ys));
            for (x, y) in xs.iter().zip(ys) {
                let (mut sum, mut factor) = (Big::ZERO, Big::ONE / big(2.0));
                for k in 0..25 {
                    sum += &factor;
                    factor = factor * big(x.to_f64()) / big(f64::from(k + 3));
                }
                let far = (big(y.to_f64()) - &sum).to_f64().value().abs();
                assert!(far <= 4.0 * ulp(y.to_f64()), "{isa:?}: {y:e} at {x:e}, {far:e} off");
            }
        }
    }
    check::<f64>(ulp_f64);
    check::<f32>(ulp_f32);
}

/// Applies `ln`, or `ln_1p`, in place.
struct Log<'a, R>(&'a mut [R], bool);

impl<R: SimdReal> Kernel for Log<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let lanes = <R::Vector<S>>::LANES;
        for chunk in self.0.chunks_exact_mut(lanes) {
            let x = <R::Vector<S>>::load(simd, chunk);
            let y = if self.1 { ln_1p::<S, R>(simd, x) } else { ln::<S, R>(simd, x) };
            y.store(chunk);
        }
    }
}

/// Near 1, near 0, and over all exponents; against many digits.
#[test]
fn logarithms() {
    fn check<R: Real>(ulp: impl Fn(f64) -> f64, most: f64) {
        let wide = sample(1000).map(|u| (most * (2.0 * u - 1.0)).exp2());
        let near = sample(1000).map(|u| 0.5 + u);
        let xs: Vec<R> = near.chain(wide).map(R::from_f64).collect();
        let small = sample(1000).map(|u| (-60.0 * u).exp2());
        let negative = sample(1000).map(|u| -0.99 * (-60.0 * u).exp2());
        let ys: Vec<R> = small.chain(negative).map(R::from_f64).collect();
        for isa in Isa::available() {
            for (plus_one, from) in [(false, &xs), (true, &ys)] {
                let mut to = from.clone();
                isa.dispatch(Log(&mut to, plus_one));
                for (x, y) in from.iter().zip(to) {
                    let exact = match plus_one {
                        true => (big(1.0) + big(x.to_f64())).ln(),
                        false => big(x.to_f64()).ln(),
                    };
                    let far = (big(y.to_f64()) - &exact).to_f64().value().abs();
                    let size = exact.to_f64().value();
                    assert!(far <= 4.0 * ulp(size), "{isa:?}, {plus_one}: {y:e} at {x:e}, {far:e}");
                }
            }
        }
    }
    check::<f64>(ulp_f64, 1000.0);
    check::<f32>(ulp_f32, 120.0);
}

#[test]
fn every_instruction_set_has_a_peak() {
    for isa in Isa::available() {
        for precision in [Precision::F64, Precision::F32, Precision::Bf16] {
            let peak = isa.peak_flops(precision);
            assert!(peak.is_finite() && peak > 0.0, "{} {precision:?}: {peak}", isa.name());
        }
    }
}

/// Gives the distribution in place, and the densities.
struct Normal<'a, R>(&'a mut [R], &'a mut [R]);

impl<R: Real> Kernel for Normal<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let lanes = <R::Vector<S>>::LANES;
        for (x, d) in self.0.chunks_exact_mut(lanes).zip(self.1.chunks_exact_mut(lanes)) {
            let (value, density) = normal_distribution::<S, R>(simd, <R::Vector<S>>::load(simd, x));
            value.store(x);
            density.store(d);
        }
    }
}

/// A number that keeps its digits in the sums below: Φ(−38) begins after 1040 bits of ½.
fn wide(x: f64) -> Big {
    Big::try_from(x).unwrap().with_precision(1300).value()
}

/// 1/√(2π), by Machin's formula and Newton's steps to the inverse root.
fn inverse_root_of_two_pi() -> Big {
    let arc_tangent_of_inverse = |n: f64| {
        let (mut sum, mut power, mut k) = (Big::ZERO, Big::ONE / wide(n), 1.0);
        while k < 1200.0 {
            sum += &power / wide(k);
            power = -power / wide(n * n);
            k += 2.0;
        }
        sum
    };
    let pi = wide(16.0) * arc_tangent_of_inverse(5.0) - wide(4.0) * arc_tangent_of_inverse(239.0);
    let mut y = wide(1.0 / std::f64::consts::TAU.sqrt());
    for _ in 0..6 {
        // y ← y(3 − 2π y²)/2
        y = &y * (wide(3.0) - wide(2.0) * &pi * &y * &y) / wide(2.0);
    }
    y
}

/// Φ(−t) = ½ − φ(t) Σ t^(2n+1)/(1·3·5…(2n+1)), and φ(t), for t ≥ 0.
fn exact_normal(t: f64, inverse_root: &Big) -> (Big, Big) {
    let t = wide(t);
    let square = &t * &t;
    let density = (-&square / wide(2.0)).exp() * inverse_root;
    let (mut sum, mut term, mut n) = (Big::ZERO, t, 1.0);
    let least = wide(2.0_f64.powi(-1000)) * wide(2.0_f64.powi(-200));
    while term > least || n < 100.0 {
        sum += &term;
        n += 2.0;
        term = term * &square / wide(n);
        if term == Big::ZERO {
            break;
        }
    }
    (wide(0.5) - &density * sum, density)
}

#[test]
fn the_normal_distribution_and_its_density() {
    fn check<R: Real>(end: f64, ulp: impl Fn(f64) -> f64) {
        let root = inverse_root_of_two_pi();
        let near = sample(60).map(|u| 3.0 * u);
        let x: Vec<f64> = near
            .chain(sample(60).map(|u| end * u))
            .chain([0.0, 1e-8, end])
            .map(|x| R::from_f64(x).to_f64())
            .collect();
        let exact: Vec<_> = x.iter().map(|&x| exact_normal(x, &root)).collect();
        for isa in Isa::available() {
            for sign in [-1.0, 1.0] {
                let mut y: Vec<R> = x.iter().map(|&x| R::from_f64(sign * x)).collect();
                y.resize(x.len().next_multiple_of(16), R::ZERO);
                let mut d = y.clone();
                isa.dispatch(Normal(&mut y, &mut d));
                for ((&x, (tail, density)), (y, d)) in x.iter().zip(&exact).zip(y.iter().zip(d)) {
                    let value = if sign < 0.0 { tail.clone() } else { wide(1.0) - tail };
                    let error = |y: f64, exact: &Big| {
                        (wide(y) - exact).to_f64().value().abs() / ulp(exact.to_f64().value())
                    };
                    let (a, b) = (error(y.to_f64(), &value), error(d.to_f64(), density));
                    assert!(a <= 6.0, "{}: Φ({sign}·{x:e}) = {y}: {a}", isa.name());
                    assert!(b <= 6.0, "{}: φ({x:e}) = {d}: {b}", isa.name());
                }
            }
            let infinity = f64::INFINITY;
            let mut y = [infinity, -infinity, 1e30, -1e30, -40.0].map(R::from_f64).to_vec();
            y.resize(16, R::ZERO);
            let mut d = y.clone();
            isa.dispatch(Normal(&mut y, &mut d));
            assert_eq!([y[0], y[1], y[2], y[3], y[4]].map(R::to_f64), [1.0, 0.0, 1.0, 0.0, 0.0]);
            assert_eq!([d[0], d[1], d[2], d[3], d[4]].map(R::to_f64), [0.0; 5]);
        }
    }
    check::<f32>(13.2, ulp_f32);
    check::<f64>(37.6, ulp_f64);
}
