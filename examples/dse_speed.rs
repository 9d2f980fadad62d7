//! Times the ways to a diffusion spectral entropy, and faer's eigenvalues alone, in one run.
//!
//! ```sh
//! cargo run --release --example dse_speed -- exact 5000
//! cargo run --release --example dse_speed -- lowrank 5000
//! cargo run --release --example dse_speed -- lanczos 100000 20
//! ```
//!
//! Features are N(0, 1) in 64 columns with σ = 8 (for `lowrank`: 3 columns with σ = 1.2, so that a tenth
//! of the eigenvalues are above 1e-10). The third argument repeats a data set of so many fewer rows,
//! whose exact entropy is then the truth; the fourth is σ. Prints one JSON object a line; medians where
//! there are several runs.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{
    ComputeEigenvectors, SelfAdjointEvdParams, self_adjoint_evd, self_adjoint_evd_scratch,
};
use faer::{Auto, Mat, Par, diag::Diag};
use ndarray::Array2;
use std::time::Instant;
use surprisal::diffusion::{EntropyEstimate, Method, SpectralEntropy};

fn main() -> surprisal::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let way = arguments.first().map_or("exact", String::as_str);
    let number =
        |at: usize, default| arguments.get(at).map_or(default, |x| x.parse().expect("a number"));
    let (rows, repeats) = (number(1, 5000), number(2, 1));
    let (columns, sigma) = if way == "lowrank" { (3, 1.2) } else { (64, 8.0) };
    let sigma = arguments.get(3).map_or(sigma, |x| x.parse().expect("a number"));
    let part = normal(rows / repeats, columns);
    let features = Array2::from_shape_fn((rows, columns), |(i, j)| part[[i % (rows / repeats), j]]);
    let runs = if rows <= 5000 { 3 } else { 1 };
    let estimate = |method, features: &Array2<f64>| {
        let entropy = SpectralEntropy::builder().sigma(sigma).method(method).build()?;
        entropy.estimate(features.view())
    };
    let timed = |method| -> surprisal::Result<(EntropyEstimate, f64)> {
        let mut seconds = Vec::new();
        let mut last = None;
        for _ in 0..runs {
            let start = Instant::now();
            last = Some(estimate(method, &features)?);
            seconds.push(start.elapsed().as_secs_f64());
        }
        Ok((last.expect("a run"), median(seconds)))
    };
    let report = |name: &str, found: &EntropyEstimate, seconds: f64| {
        println!(
            "{{\"way\": \"{name}\", \"rows\": {rows}, \"columns\": {columns}, \"sigma\": {sigma}, \
             \"seconds\": {seconds:.3}, \"bits\": {}, \"error_bound\": {}, \"standard_error\": {}, \
             \"rank\": {}, \"peak_mib\": {:.0}}}",
            found.value,
            shown(found.error_bound),
            shown(found.standard_error),
            found.rank.map_or("null".into(), |rank| rank.to_string()),
            peak_mib(),
        );
    };
    let method = match way {
        "lowrank" => Method::LowRank,
        "lanczos" => Method::Lanczos,
        _ => Method::Exact,
    };
    let (found, seconds) = timed(method)?;
    report(way, &found, seconds);
    if way == "lanczos" && repeats == 1 && rows > 10_000 {
        return Ok(());
    }
    if method != Method::Exact {
        let start = Instant::now();
        let exact = estimate(Method::Exact, if repeats > 1 { &part } else { &features })?;
        report("exact", &exact, start.elapsed().as_secs_f64());
        println!("{{\"error_bits\": {:e}}}", found.value - exact.value);
        if method == Method::LowRank {
            let entropy = SpectralEntropy::builder().sigma(sigma).build()?;
            let eigenvalues = entropy.eigenvalues(features.view())?;
            let count = eigenvalues.iter().filter(|&&x| x > 1e-10).count();
            println!("{{\"eigenvalues_above_1e-10\": {count}}}");
        }
        return Ok(());
    }
    let seconds = median((0..runs).map(|_| eigenvalues_alone(rows)).collect());
    println!("{{\"way\": \"faer, values only\", \"rows\": {rows}, \"seconds\": {seconds:.3}}}");
    Ok(())
}

/// The seconds of faer's eigenvalues of a random symmetric matrix.
fn eigenvalues_alone(n: usize) -> f64 {
    let random = normal(n, n);
    let matrix = Mat::from_fn(n, n, |i, j| random[[i.max(j), i.min(j)]]);
    drop(random);
    let par = Par::rayon(0);
    let params = <SelfAdjointEvdParams as Auto<f64>>::auto();
    let mut values = Diag::zeros(n);
    let request = self_adjoint_evd_scratch::<f64>(n, ComputeEigenvectors::No, par, params.into());
    let mut memory = MemBuffer::new(request);
    let start = Instant::now();
    let stack = MemStack::new(&mut memory);
    self_adjoint_evd(matrix.as_ref(), values.as_mut(), None, par, stack, params.into())
        .expect("finite numbers");
    start.elapsed().as_secs_f64()
}

/// N(0, 1) by Box and Muller from a linear congruence.
fn normal(rows: usize, columns: usize) -> Array2<f64> {
    let mut state = 1_u64;
    let mut uniform = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    };
    Array2::from_shape_fn((rows, columns), |_| {
        (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos()
    })
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

fn shown(number: Option<f64>) -> String {
    number.map_or("null".into(), |number| format!("{number:e}"))
}

/// The largest resident memory so far, where the system tells.
fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    kib.map_or(f64::NAN, |kib| kib / 1024.0)
}
