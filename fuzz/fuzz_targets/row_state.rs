//! The fold of one row, cut and merged in any way, against a plain sum in f64.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use surprisal::RowState;

#[derive(Arbitrary, Debug)]
struct Input {
    logits: Vec<f32>,
    cuts: Vec<u8>,
    merges: Vec<(u8, u8)>,
    target: u8,
    narrow: bool,
}

fn push(state: &mut RowState, first: usize, logits: &[f32], narrow: bool) {
    let first = first as u32;
    let wide: Vec<f64> = logits.iter().map(|&x| f64::from(x)).collect();
    let result = if narrow { state.push(first, logits) } else { state.push(first, &wide) };
    result.expect("few classes");
}

fuzz_target!(|input: Input| {
    let logits = &input.logits[..input.logits.len().min(600)];
    if logits.is_empty() {
        return;
    }
    let target = usize::from(input.target) % logits.len();
    let mut cuts: Vec<usize> =
        input.cuts.iter().map(|&cut| usize::from(cut) * 3 % logits.len()).collect();
    cuts.extend([0, logits.len()]);
    cuts.sort_unstable();
    cuts.dedup();
    let mut parts: Vec<RowState> = Vec::new();
    for cut in cuts.windows(2) {
        let mut part = RowState::with_target(target as u32);
        push(&mut part, cut[0], &logits[cut[0]..cut[1]], input.narrow);
        parts.push(part);
    }
    for (from, to) in input.merges {
        if parts.len() > 1 {
            let part = parts.swap_remove(usize::from(from) % parts.len());
            let at = usize::from(to) % parts.len();
            parts[at].merge(&part);
        }
    }
    let mut state = parts.swap_remove(0);
    parts.iter().for_each(|part| state.merge(part));

    assert_eq!(state.target_logit.map(f64::to_bits), Some(f64::from(logits[target]).to_bits()));
    if let Some(nan) = logits.iter().position(|x| x.is_nan()) {
        assert_eq!(state.argmax(), Some(nan as u32));
        assert!(state.log_sum_exp().is_nan() && state.entropy().is_nan());
        return;
    }
    let maximum = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let argmax = logits.iter().position(|&x| x == maximum).expect("not empty");
    assert_eq!(state.argmax(), Some(argmax as u32));
    assert_eq!(state.maximum, f64::from(maximum));
    if maximum == f32::INFINITY {
        assert!(state.log_sum_exp().is_nan() && state.varentropy().is_nan());
        return;
    }
    if maximum == f32::NEG_INFINITY {
        assert_eq!(state.log_sum_exp(), f64::NEG_INFINITY);
        assert!(state.entropy().is_nan() && state.surprisal().expect("seen").is_nan());
        return;
    }
    let m = f64::from(maximum);
    let others = || {
        let rest =
            logits.iter().enumerate().filter(|&(i, &x)| i != argmax && x > f32::NEG_INFINITY);
        rest.map(|(_, &x)| f64::from(x) - m)
    };
    let r: f64 = others().map(f64::exp).sum();
    let a: f64 = others().map(|u| u.exp() * u).filter(|x| !x.is_nan()).sum();
    let mu = a / (1.0 + r);
    let m2: f64 =
        others().map(|u| u.exp() * (u - mu).powi(2)).filter(|x| !x.is_nan()).sum::<f64>() + mu * mu;
    // f32: u = x − m is off by half a unit of u, at most 2⁻²⁴·128 where e^u counts beside the largest of a
    // block. What a block adds that is 2⁻⁹⁰ of the least normal number above it may be missed, and in f64
    // what is no normal number.
    let relative = if input.narrow { 4e-5 } else { 1e-12 };
    let absolute = 4.0 * 2.3e-308 * 745.0_f64.powi(2) * logits.len() as f64;
    let near = |what: &str, value: f64, truth: f64, scale: f64| {
        let tolerance = relative * (truth.abs() + scale) + absolute;
        let near = value == truth || (value - truth).abs() <= tolerance;
        assert!(near, "{what}: {value:e}, expected {truth:e}");
    };
    near("remainder", state.remainder, r, 0.0);
    near("log-sum", state.log_sum(), r.ln_1p(), 0.0);
    near("entropy", state.entropy(), r.ln_1p() - mu, 0.0);
    // In f32 the square of a difference below 1e-19 is no normal number.
    let square =
        if input.narrow { f64::from(f32::MIN_POSITIVE) * logits.len() as f64 } else { 0.0 };
    near("varentropy", state.varentropy(), m2 / (1.0 + r), mu * mu + square / relative);
    let surprisal = r.ln_1p() + (m - f64::from(logits[target]));
    near("surprisal", state.surprisal().expect("seen"), surprisal, 0.0);
    assert!(state.surprisal().expect("seen") >= 0.0);
    assert!(state.min_entropy() <= state.entropy() + relative * state.entropy() + absolute);
});
