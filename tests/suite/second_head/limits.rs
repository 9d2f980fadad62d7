//! Limits and identities of the divergences from a second head, on random rows.

use ndarray::{Array1, Array2};
use surprisal::loss::{
    Companion, EntropyBonus, Head, JensenShannon, KullbackLeibler, RowLoss, SkewKullbackLeibler,
    SymmetricCrossEntropy, TemperatureSquared, TotalVariation,
};
use surprisal::{Gradients, Inputs, LinearCrossEntropy, Reduction, Upstream};
use testing::Stream;

const U: f64 = f64::EPSILON;

type Answer = (Array1<f64>, Array2<f64>);

fn at(
    loss: impl RowLoss + 'static,
    temperature: f64,
    own: &Array2<f64>,
    other: Option<&Array2<f64>>,
) -> Answer {
    let builder = LinearCrossEntropy::builder().row_loss(loss).temperature(temperature);
    let loss = builder.reduction(Reduction::None).build().unwrap();
    let targets = vec![0_u32; own.dim().0];
    let mut g = Array2::zeros(own.dim());
    let mut inputs = Inputs::from_logits(own, &targets[..]);
    if let Some(other) = other {
        inputs = inputs.companion(Companion::logits(Head::from_logits(other)));
    }
    let gradients = Gradients::new().logits(&mut g);
    let forward = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
    (forward.losses(), g)
}

/// Pairs of heads, from quiet to sure.
fn pairs() -> Vec<(Array2<f64>, Array2<f64>)> {
    let mut stream = Stream(29);
    let mut all = Vec::new();
    for classes in [2, 3, 40] {
        for spread in [0.3, 2.0, 8.0] {
            let own = stream.matrix(40, classes, spread);
            all.push((own, stream.matrix(40, classes, spread)));
        }
    }
    all
}

/// Sums over some 40 classes of terms whose logarithms, below 60, are off by a unit each.
const OFF: f64 = 512.0 * U;

#[test]
fn divergences_keep_their_bounds() {
    for (own, other) in pairs() {
        let of = |loss: &dyn Fn() -> Answer| loss().0;
        let forward = of(&|| at(KullbackLeibler::forward(), 1.0, &own, Some(&other)));
        let reverse = of(&|| at(KullbackLeibler::reverse(), 1.0, &own, Some(&other)));
        let total = of(&|| at(TotalVariation, 1.0, &own, Some(&other)));
        for i in 0..forward.len() {
            assert!(forward[i] >= 0.0 && reverse[i] >= 0.0);
            assert!((0.0..=1.0 + OFF).contains(&total[i]));
            // Pinsker.
            let least = 2.0 * total[i] * total[i] * (1.0 - OFF);
            assert!(least <= forward[i] + OFF && least <= reverse[i] + OFF);
        }
        for beta in [0.1, 0.5, 0.9] {
            let values = at(JensenShannon::new(beta).unwrap(), 1.0, &own, Some(&other)).0;
            let most = -beta * beta.ln() - (1.0 - beta) * (1.0 - beta).ln();
            for i in 0..values.len() {
                assert!(values[i] >= 0.0 && values[i] <= most + OFF);
                // By convexity, below the mixture of both.
                let mixed = beta * (1.0 - beta) * (forward[i] + reverse[i]);
                assert!(values[i] <= mixed + OFF);
            }
        }
        for alpha in [0.1, 0.5] {
            let skew = at(SkewKullbackLeibler::forward(alpha).unwrap(), 1.0, &own, Some(&other)).0;
            for i in 0..skew.len() {
                assert!(skew[i] <= (1.0 - alpha) * forward[i] + OFF);
                assert!(skew[i] >= 0.0 && skew[i] <= -alpha.ln() + OFF);
            }
        }
    }
}

#[test]
fn heads_may_change_places() {
    let near = |a: &Array1<f64>, b: &Array1<f64>| {
        for (a, b) in a.iter().zip(b) {
            assert!((a - b).abs() <= OFF * (1.0 + b.abs()), "{a:e} and {b:e}");
        }
    };
    for (own, other) in pairs() {
        let both = |loss: &dyn Fn(&Array2<f64>, &Array2<f64>) -> Answer| {
            (loss(&own, &other).0, loss(&other, &own).0)
        };
        let of = |a: &Array2<f64>, b: &Array2<f64>| {
            at(JensenShannon::new(0.5).unwrap(), 1.0, a, Some(b))
        };
        let (a, b) = both(&of);
        near(&a, &b);
        let (a, b) = both(&|a, b| at(TotalVariation, 1.0, a, Some(b)));
        near(&a, &b);
        let half = |a: &Array2<f64>, b: &Array2<f64>| {
            at(SymmetricCrossEntropy::new(0.5).unwrap(), 1.0, a, Some(b))
        };
        let (a, b) = both(&half);
        near(&a, &b);
        let forward = at(KullbackLeibler::forward(), 1.0, &own, Some(&other)).0;
        near(&forward, &at(KullbackLeibler::reverse(), 1.0, &other, Some(&own)).0);
        let of = |beta| JensenShannon::new(beta).unwrap();
        let (a, b) =
            (at(of(0.25), 1.0, &own, Some(&other)).0, at(of(0.75), 1.0, &other, Some(&own)).0);
        near(&a, &b);
        // Skew at α = 0 is without a mixture, and what is a Jensen–Shannon divergence of two of them.
        near(&at(SkewKullbackLeibler::forward(0.0).unwrap(), 1.0, &own, Some(&other)).0, &forward);
        let skew = |a: &Array2<f64>, b: &Array2<f64>| {
            at(SkewKullbackLeibler::forward(0.5).unwrap(), 1.0, a, Some(b)).0
        };
        let sum = (skew(&own, &other) + skew(&other, &own)) * 0.5;
        near(&at(of(0.5), 1.0, &own, Some(&other)).0, &sum);
    }
}

#[test]
fn a_small_share_is_a_divergence_times_it() {
    for (own, other) in pairs() {
        let beta = 1e-9;
        let share = at(JensenShannon::new(beta).unwrap(), 1.0, &own, Some(&other)).0;
        let whole = at(KullbackLeibler::forward(), 1.0, &own, Some(&other)).0;
        let skew = at(SkewKullbackLeibler::forward(beta).unwrap(), 1.0, &own, Some(&other)).0;
        for ((a, skew), b) in share.iter().zip(&skew).zip(&whole) {
            // To the first order in β P/Q, of which the largest is e^40.
            let quiet = own.iter().chain(&other).all(|x| x.abs() < 2.0);
            let bound = if quiet { 1e-6 } else { f64::INFINITY };
            assert!(
                (a / beta - b).abs() <= bound * (1.0 + b) && (skew - b).abs() <= bound * (1.0 + b)
            );
        }
    }
}

/// T² KL → ½ Σ_v (d_v − d̄)² / V with d the difference of the logits, and KL(P‖P) is 0 at any T.
#[test]
fn a_hot_divergence_is_a_mean_square_of_logits() {
    for (own, other) in pairs() {
        let classes = own.dim().1 as f64;
        let temperature = 1e6;
        for loss in [KullbackLeibler::forward(), KullbackLeibler::reverse()] {
            let (values, g) = at(TemperatureSquared::new(loss), temperature, &own, Some(&other));
            for i in 0..values.len() {
                let d = &own.row(i) - &other.row(i);
                let (mean, size) = (d.mean().unwrap(), d.fold(1.0_f64, |m, x| m.max(x.abs())));
                let expected = d.mapv(|x| (x - mean) * (x - mean)).sum() / (2.0 * classes);
                // The next term is of the third order, over T, beside the rounding of a square of 1/T.
                let bound = size * size * (16.0 * size / temperature + 64.0 * U * temperature);
                assert!((values[i] - expected).abs() <= bound, "{} and {expected}", values[i]);
                for v in 0..d.len() {
                    let expected = (d[v] - mean) / classes;
                    assert!((g[[i, v]] - expected).abs() <= 16.0 * bound);
                }
            }
            let same = at(TemperatureSquared::new(loss), temperature, &own, Some(&own)).0;
            assert!(same.iter().all(|&x| x == 0.0));
        }
    }
}

#[test]
fn symmetric_cross_entropies_are_divergences_and_entropies() {
    for (own, other) in pairs() {
        let of = |alpha| at(SymmetricCrossEntropy::new(alpha).unwrap(), 1.0, &own, Some(&other)).0;
        let entropy = |a: &Array2<f64>| at(EntropyBonus::new(1.0).unwrap(), 1.0, a, None);
        let forward = at(KullbackLeibler::forward(), 1.0, &own, Some(&other)).0;
        let reverse = at(KullbackLeibler::reverse(), 1.0, &own, Some(&other)).0;
        let (first, second) = (of(0.0), of(1.0));
        let (h, h_other) = (entropy(&own).0, entropy(&other).0);
        let alone = at(SymmetricCrossEntropy::new(0.5).unwrap(), 1.0, &own, Some(&own)).0;
        for i in 0..h.len() {
            for (a, b) in [
                (first[i], forward[i] + h_other[i]),
                (second[i], reverse[i] + h[i]),
                (alone[i], h[i]),
            ] {
                assert!((a - b).abs() <= OFF * (1.0 + b), "{a} and {b}");
            }
        }
    }
}
