//! Any masses: couplings with their marginals, maps that keep their rate, and distribution functions of whole numbers; or an
//! error of one line.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use ndarray::{Array2, arr1};
use surprisal::coupling::{
    BottleneckCoupling, Coupling, EntropyBoundedMap, Unit, mutual_information,
};
use surprisal::rates::{CrossQuant, Discretized, quantized_cdf};

#[allow(dead_code)]
mod extreme;
use extreme::Parameter;

#[derive(Arbitrary, Debug)]
struct Input {
    marginals: Vec<Vec<Parameter>>,
    /// Divided by their sums.
    normalised: bool,
    rate: Parameter,
    bits: bool,
    precision: u8,
    numbers: [Parameter; 3],
    columns: u8,
    alpha: Parameter,
}

fn told<T>(result: surprisal::Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            let message = error.to_string();
            assert!(!message.is_empty() && !message.contains('\n'), "{message}");
            None
        }
    }
}

/// −Σ p ln p.
fn entropy(masses: &[f64]) -> f64 {
    masses.iter().filter(|&&p| p > 0.0).map(|p| -p * p.ln()).sum()
}

fn couplings(marginals: &[Vec<f64>]) {
    let Some(coupling) = told(Coupling::greedy(marginals)) else { return };
    let symbols: usize = marginals.iter().map(Vec::len).sum();
    // Sums that are 1e-9 from 1, a cut of 1e-15 for each symbol, and roundings.
    let bound = 2.1e-9 + 1e-15 * symbols as f64 + coupling.masses().len() as f64 * f64::EPSILON;
    assert!(coupling.masses().len() <= symbols - marginals.len() + 1);
    assert!(coupling.left_over() <= bound);
    let mut sums: Vec<Vec<f64>> = marginals.iter().map(|m| vec![0.0; m.len()]).collect();
    for (at, mass) in coupling.cells() {
        assert!(mass > 0.0);
        at.iter().zip(&mut sums).for_each(|(&i, sum)| sum[i] += mass);
    }
    for (sum, marginal) in sums.iter().flatten().zip(marginals.iter().flatten()) {
        assert!((sum - marginal).abs() <= bound, "{sum} {marginal}");
    }
    let own: Vec<f64> = marginals.iter().map(|m| entropy(m)).collect();
    let joint = coupling.entropy(Unit::Nats);
    // What is left over has at most this entropy.
    let bound = bound * (50.0 + symbols as f64);
    assert!(joint >= own.iter().copied().fold(0.0, f64::max) - bound);
    assert!(joint <= own.iter().sum::<f64>() + bound);
    assert!(coupling.total_correlation(Unit::Bits) >= 0.0);
}

fn bottlenecks(p: &[f64], q: &[f64], rate: f64, unit: Unit) {
    if let Some(map) = told(EntropyBoundedMap::of(p, rate, unit)) {
        assert!(map.entropy(Unit::Nats) <= unit.to_nats(rate) + 1.1e-12);
        for (label, &mass) in map.labels().iter().zip(p) {
            assert_eq!(label.is_none(), mass == 0.0);
            assert!(label.is_none_or(|label| map.masses()[label] >= mass));
        }
    }
    let Some(coupling) = told(BottleneckCoupling::of(p, q, rate, unit)) else { return };
    let joint = coupling.joint().unwrap();
    // It has the sums of the coupling of the groups, which lacks what is left over.
    if coupling.groups().left_over() <= 4e-10 {
        let Some(direct) = told(mutual_information(joint.view(), Unit::Nats)) else { return };
        let through = coupling.mutual_information(Unit::Nats);
        assert!((direct - through).abs() <= 1e-6, "{direct} {through}");
    }
}

fuzz_target!(|input: Input| {
    let list = |list: &Vec<Parameter>| {
        let masses: Vec<f64> = list.iter().take(12).map(|mass| mass.value()).collect();
        if !input.normalised {
            return masses;
        }
        let masses: Vec<f64> = masses.into_iter().map(f64::abs).collect();
        let sum: f64 = masses.iter().sum();
        masses.into_iter().map(|mass| mass / sum).collect()
    };
    let marginals: Vec<Vec<f64>> = input.marginals.iter().take(4).map(list).collect();
    couplings(&marginals);
    let unit = if input.bits { Unit::Bits } else { Unit::Nats };
    if let [p, q, ..] = &marginals[..] {
        bottlenecks(p, q, input.rate.value(), unit);
    }
    let numbers: Vec<f64> = marginals.concat();
    let precision = u32::from(input.precision % 27);
    if let Some(cdf) = told(quantized_cdf(&numbers, precision)) {
        assert!(cdf.windows(2).all(|edges| edges[0] < edges[1]));
        assert_eq!((cdf[0], cdf.last()), (0, Some(&(1 << precision))));
    }
    let columns = 1 + usize::from(input.columns % 4);
    let rows = numbers.len() / columns;
    let matrix =
        Array2::from_shape_vec((rows, columns), numbers[..rows * columns].to_vec()).unwrap();
    if let Some(value) = told(mutual_information(matrix.view(), unit)) {
        assert!(value >= 0.0 && value.is_finite());
    }
    if let Some(quant) = told(CrossQuant::new(input.alpha.value(), precision)) {
        if let Some(found) = told(quant.quantize(&matrix)) {
            let levels = (1 << (precision - 1)) - 1;
            assert!(found.integers.iter().all(|q| q.abs() <= levels));
            assert!((0.0..=1.0).contains(&found.kernel_fraction()));
        }
    }
    let [value, mean, scale] = input.numbers.map(|number| arr1(&[number.value()]));
    for rate in [Discretized::gaussian(), Discretized::logistic()] {
        if let Some(rates) = told(rate.evaluate(&value, &mean, &scale)) {
            assert!(rates.log_probs[0] <= 0.0);
            assert!(!rates.by_mean[0].is_nan() && !rates.by_scale[0].is_nan());
        }
    }
});
