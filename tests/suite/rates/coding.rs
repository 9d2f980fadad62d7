//! Quantised distribution functions, alone and in a coder.

use constriction::stream::model::ContiguousCategoricalEntropyModel;
use constriction::stream::queue::DefaultRangeEncoder;
use constriction::stream::stack::DefaultAnsCoder;
use constriction::stream::{Decode, Encode};
use ndarray::Array1;
use surprisal::random::Generator;
use surprisal::rates::{Discretized, quantized_cdf};

use super::refused;

/// CompressAI's algorithm as it is written, edge by edge.
fn by_edges(weights: &[f64], precision: u32) -> Vec<u64> {
    let units = 1_u64 << precision;
    let mut edges: Vec<u64> = vec![0];
    edges.extend(weights.iter().map(|w| (w * units as f64).round() as u64));
    let total: u64 = edges.iter().sum();
    edges.iter_mut().for_each(|f| *f = units * *f / total);
    for i in 1..edges.len() {
        edges[i] += edges[i - 1];
    }
    *edges.last_mut().unwrap() = units;
    for i in 0..weights.len() {
        if edges[i] != edges[i + 1] {
            continue;
        }
        let width = |j: usize| edges[j + 1] - edges[j];
        let wide = (0..weights.len()).filter(|&j| width(j) > 1);
        let from = wide.min_by_key(|&j| width(j)).unwrap();
        match from < i {
            true => edges[from + 1..=i].iter_mut().for_each(|edge| *edge -= 1),
            false => edges[i + 1..=from].iter_mut().for_each(|edge| *edge += 1),
        }
    }
    edges
}

#[test]
fn edges_are_those_of_the_published_algorithm() {
    let mut generator = Generator::new(1);
    for _ in 0..600 {
        let precision = 1 + generator.below(12) as u32;
        let count = 1 + generator.below((1 << precision).min(40));
        let weights: Vec<f64> = (0..count)
            .map(|_| match generator.below(4) {
                0 => 0.0,
                1 => generator.uniform().powi(8),
                _ => generator.uniform(),
            })
            .collect();
        let units = f64::from(1 << precision);
        if weights.iter().all(|w| (w * units).round() == 0.0) {
            refused(quantized_cdf(&weights, precision), &["all weights of pmf"]);
            continue;
        }
        let found = quantized_cdf(&weights, precision).unwrap();
        let found: Vec<u64> = found.into_iter().map(u64::from).collect();
        assert_eq!(found, by_edges(&weights, precision), "{weights:?} at {precision}");
        assert!(found.windows(2).all(|edges| edges[0] < edges[1]));
    }
}

#[test]
fn a_coder_takes_the_edges_gives_the_symbols_back_and_needs_as_many_bits_as_their_entropy() {
    const PRECISION: usize = 16;
    let mut generator = Generator::new(2);
    let reach = 30.0;
    let values = Array1::range(-reach, reach + 1.0, 1.0);
    for (rate, scale) in [(Discretized::gaussian(), 3.0), (Discretized::logistic(), 2.0)] {
        let all = |x: f64| Array1::from_elem(values.len(), x);
        let rates = rate.evaluate(&values, &all(0.4), &all(scale)).unwrap();
        let p: Vec<f64> = rates.log_probs.iter().map(|x| x.exp()).collect();
        let cdf = quantized_cdf(&p, PRECISION as u32).unwrap();
        let widths: Vec<u32> = cdf.windows(2).map(|edges| edges[1] - edges[0]).collect();
        let model =
            ContiguousCategoricalEntropyModel::<u32, Vec<u32>, PRECISION>::from_nonzero_fixed_point_probabilities(
                &widths, false,
            )
            .unwrap();

        const COUNT: usize = 50_000;
        let draw = |uniform: f64| {
            let mut sum = 0.0;
            p.iter()
                .position(|p| {
                    sum += p;
                    sum > uniform
                })
                .unwrap_or(p.len() - 1)
        };
        let symbols: Vec<usize> = (0..COUNT).map(|_| draw(generator.uniform())).collect();

        let mut range = DefaultRangeEncoder::new();
        range.encode_iid_symbols(&symbols, &model).unwrap();
        let range_bits = range.num_bits() as f64;
        let mut decoder = range.into_decoder().unwrap();
        let decoded: Vec<usize> =
            decoder.decode_iid_symbols(COUNT, &model).map(Result::unwrap).collect();
        assert_eq!(decoded, symbols);

        let mut stack = DefaultAnsCoder::new();
        stack.encode_iid_symbols_reverse(&symbols, &model).unwrap();
        let stack_bits = stack.num_bits() as f64;
        let decoded: Vec<usize> =
            stack.decode_iid_symbols(COUNT, &model).map(Result::unwrap).collect();
        assert_eq!(decoded, symbols);

        // The coders need what the whole numbers say, but for words of 32 bits at their ends and, of each symbol, at most
        // 2^(16 + 1 − 32) of a bit of rounding.
        let q = |i: usize| f64::from(widths[i]) / 65536.0;
        let cost: f64 = symbols.iter().map(|&i| -q(i).log2()).sum();
        for bits in [range_bits, stack_bits] {
            let over = bits - cost;
            assert!((-2.0..66.0 + COUNT as f64 / 32768.0).contains(&over), "{over} of {cost}");
        }
        // These are near the entropy of p: off by a divergence, and by the standard error of a mean of so many.
        let entropy: f64 = p.iter().map(|p| -p * p.log2()).sum();
        let divergence: f64 = p.iter().enumerate().map(|(i, p)| p * (p / q(i)).log2()).sum();
        let mean = cost / COUNT as f64;
        let variance: f64 =
            p.iter().enumerate().map(|(i, p)| p * (-q(i).log2() - mean).powi(2)).sum();
        let error = (variance / COUNT as f64).sqrt();
        assert!((mean - entropy - divergence).abs() < 5.0 * error, "{mean} {entropy} {error}");
        // Some 30 of 65536 units go to symbols without one, from those that have a few.
        assert!((0.0..4e-3).contains(&divergence), "{divergence}");
    }
}

#[test]
fn as_many_symbols_as_there_are_units_and_many_without_weight_take_no_longer() {
    let start = std::time::Instant::now();
    let full = quantized_cdf(&vec![1.0; 1 << 16], 16).unwrap();
    assert!(full.iter().enumerate().all(|(i, &edge)| edge as usize == i));
    // All but one without weight, and a million of them: edge by edge that would be 10¹² steps.
    let mut weights = vec![0.0; 1 << 20];
    weights[77] = 1e-3;
    let found = quantized_cdf(&weights, 24).unwrap();
    assert_eq!(found[1 << 20], 1 << 24);
    assert_eq!(found[78] - found[77], (1 << 24) - (1 << 20) + 1);
    assert!(start.elapsed().as_secs() < 30);
    // Weights of any size: only their quotients count.
    let large = 2.0_f64.powi(64);
    let wanted = quantized_cdf(&[0.5, 0.25, 0.25], 20).unwrap();
    assert_eq!(quantized_cdf(&[large, large / 2.0, large / 2.0], 20).unwrap(), wanted);
}

#[test]
fn weights_that_no_distribution_can_be_made_of_are_refused() {
    for precision in [0, 25, u32::MAX] {
        refused(quantized_cdf(&[1.0], precision), &["precision is", "from 1 to 24"]);
    }
    refused(quantized_cdf(&[], 16), &["pmf has shape [0]", "from 1 to 65536"]);
    refused(quantized_cdf(&[1.0; 3], 1), &["pmf has shape [3]", "from 1 to 2"]);
    for (weight, said) in
        [(-0.5, "-0.5"), (f64::NAN, "NaN"), (f64::INFINITY, "inf"), (1e20, "1e20")]
    {
        refused(quantized_cdf(&[1.0, weight], 16), &["pmf[1] is", said, "from 0 to 2^64"]);
    }
    refused(quantized_cdf(&[1e-6, 1e-6], 8), &["half of 2^-8", "expected one above"]);
}
