//! Any numbers as sizes and losses: a law of finite parameters that predicts, or an error of one line.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use ndarray::Array1;
use surprisal::fit::{AnnealingSums, Fitted, InformationGain, Law, Residuals, ScalingFit, huber};

#[allow(dead_code)]
mod extreme;
use extreme::{Count, Parameter};

#[derive(Arbitrary, Debug)]
struct Input {
    points: Vec<[Parameter; 4]>,
    /// What the sizes and losses are made of.
    kind: Kind,
    seed: u16,
    delta: Parameter,
    confidence: Parameter,
    differences: bool,
    undetermined: bool,
    rates: Vec<Parameter>,
    lambda: Parameter,
    warm_up: Option<Count>,
    place: [Parameter; 2],
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Kind {
    /// The numbers as they are.
    Any,
    /// Above 0 and not too far apart.
    Moderate,
    /// A law with noise.
    Law { noise: u8, alpha: u8, beta: u8, floor: u8 },
}

fn error(error: surprisal::Error) {
    let message = error.to_string();
    assert!(!message.is_empty() && !message.contains('\n'), "{message}");
}

fn check<L: Law>(fitted: surprisal::Result<Fitted<L>>, place: L::Place) {
    let fitted = match fitted {
        Ok(fitted) => fitted,
        Err(refused) => return error(refused),
    };
    let parameters = fitted.law.parameters();
    assert!(parameters.iter().all(|x| x.is_finite()), "{:?}: {parameters:?}", L::PARAMETERS);
    assert!(fitted.standard_errors.iter().all(|x| *x >= 0.0), "{:?}", fitted.standard_errors);
    assert!(fitted.objective >= 0.0, "{}", fitted.objective);
    assert!(fitted.condition >= 1.0 - 1e-9 && fitted.condition.is_finite(), "{}", fitted.condition);
    assert!(fitted.r_squared <= 1.0, "{}", fitted.r_squared);
    match fitted.predict(place) {
        Ok(told) => {
            assert!(told.loss.is_finite() && told.standard_error >= 0.0, "{told:?}");
            assert!(told.lower <= told.loss && told.loss <= told.upper, "{told:?}");
        }
        Err(refused) => error(refused),
    }
}

fuzz_target!(|input: Input| {
    let points = &input.points[..input.points.len().min(48)];
    let column = |k: usize| -> Array1<f64> {
        let number = |(i, point): (usize, &[Parameter; 4])| {
            let number = point[k].value();
            match input.kind {
                Kind::Any => number,
                _ => {
                    let size = number.abs().min(1e30).max(1e-30).log2() * 0.1;
                    // Different ones, most of the time.
                    (size + 0.1 * (i * (k + 2) % 13) as f64).exp2()
                }
            }
        };
        points.iter().enumerate().map(number).collect()
    };
    let (x, y, third, mut losses) = (column(0), column(1), column(2), column(3));
    if let Kind::Law { noise, alpha, beta, floor } = input.kind {
        let (alpha, beta) = (f64::from(alpha) / 128.0, f64::from(beta) / 128.0);
        let mut stream = surprisal::random::Generator::new(u64::from(input.seed));
        let noise = 10_f64.powi(-i32::from(noise % 16));
        for (i, loss) in losses.iter_mut().enumerate() {
            let law = f64::from(floor) / 64.0 + x[i].powf(-alpha) + y[i].powf(-beta);
            *loss = law * (1.0 + noise * stream.standard_normal());
        }
    }
    let plain = |parameter: Parameter, usual: f64| match parameter {
        Parameter::Plain(0) => usual,
        other => other.value(),
    };
    let residuals = if input.differences { Residuals::Differences } else { Residuals::Logarithms };
    let builder = ScalingFit::builder()
        .huber_delta(plain(input.delta, 1e-3))
        .confidence(plain(input.confidence, 0.95))
        .residuals(residuals)
        .undetermined(input.undetermined);
    let place = input.place.map(Parameter::value);
    match builder.build() {
        Err(refused) => error(refused),
        Ok(fit) => {
            check(fit.power_law(&x, &losses), place[0]);
            check(fit.annealing(&x, &third, &losses), (place[0], place[1]));
            // These look for two exponents, and take longer.
            if points.len() <= 24 {
                let references = (place[0].abs(), 1.0);
                check(fit.bivariate(&x, &y, references, &losses), (place[0], place[1]));
                check(fit.chinchilla(&x, &y, &losses), (place[0], place[1]));
            }
        }
    }
    let rates: Array1<f64> = input.rates.iter().map(|rate| rate.value()).collect();
    let sums = AnnealingSums::builder(&rates).lambda(plain(input.lambda, 0.999));
    let sums = match input.warm_up {
        Some(steps) => sums.warm_up(steps.value(64)),
        None => sums.warm_up_to_peak(),
    };
    match sums.build() {
        Ok(sums) => {
            let all = || sums.s1().iter().chain(sums.s2());
            assert!(all().all(|sum| sum.is_finite()) && all().count() == 2 * rates.len());
        }
        Err(refused) => error(refused),
    }
    match huber(&rates, plain(input.delta, 1.0)) {
        Ok(losses) => assert!(losses.iter().all(|loss| loss.is_nan() || *loss >= 0.0)),
        Err(refused) => error(refused),
    }
    match InformationGain::from_losses(place[0], place[1]) {
        Ok(gain) => assert!(gain.mutual_information.is_finite() && gain.infogain.is_finite()),
        Err(refused) => error(refused),
    }
});
