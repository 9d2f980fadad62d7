//! Sequence losses: their gradients against central differences, what must hold of them, and what they refuse.

use ndarray::{Array1, Array2, ArrayD, arr1, arr2};
use std::f64::consts::LN_2;
use surprisal::autodiff::{Tape, gradcheck};
use surprisal::preference::{
    Advantages, Cispo, ClipCovariance, Clipped, Cpo, Dpo, EmptySequences, EntropyRewardFit,
    FDivergence, Gspo, ImplicitReward, KlCovariance, KlEstimates, KlEstimator, Kto, LabelledLoss,
    Orpo, PairLoss, Pairs, PolicyEntropyChange, PolicyLoss, Rollout, RowPairs, Sapo, Sequences,
    Simpo, SteerWeights, Surrogate, TokenCovariance, TokenEntropyChange, TokenReduction,
};
use surprisal::random::Generator;
use surprisal::{Matrix, Result};

/// Log-probabilities from −4 to 0.
fn log_probs(generator: &mut Generator, dim: (usize, usize)) -> Array2<f64> {
    Array2::from_shape_simple_fn(dim, || -4.0 * generator.uniform())
}

/// Sequences of some lengths; the last is empty.
fn mask() -> Array2<bool> {
    arr2(&[
        [true, true, true, false],
        [true, true, false, false],
        [true, true, true, true],
        [true, false, false, false],
        [false, false, false, false],
    ])
}

const PAIRS: &[[usize; 2]] = &[[0, 1], [2, 3], [2, 1], [4, 0]];

fn pair_losses() -> Vec<Box<dyn PairLoss>> {
    let all: Result<Vec<Box<dyn PairLoss>>> = (|| {
        Ok(vec![
            Box::new(Dpo::new(0.5)?) as Box<dyn PairLoss>,
            Box::new(Dpo::new(0.7)?.label_smoothing(0.2)?.averaged(true)),
            Box::new(Dpo::hinge(0.3)?),
            Box::new(Dpo::ipo(0.4)?),
            Box::new(Dpo::robust(0.5, 0.15)?),
            Box::new(Dpo::apo_zero(0.6)?),
            Box::new(Dpo::apo_down(0.6)?),
            Box::new(Cpo::new(0.5)?.label_smoothing(0.1)?),
            Box::new(Cpo::hinge(0.2)?.likelihood(0.5)?),
            Box::new(Cpo::ipo(0.2)?.likelihood(0.0)?),
            Box::new(Simpo::new(2.0, 1.0)?.label_smoothing(0.1)?.likelihood(0.3)?),
            Box::new(Orpo::new(0.5)?),
        ])
    })();
    all.unwrap()
}

#[test]
fn gradients_of_pair_losses_are_those_of_central_differences() {
    let mut generator = Generator::new(1);
    let (policy, reference) =
        (log_probs(&mut generator, (5, 4)), log_probs(&mut generator, (5, 4)));
    for loss in pair_losses() {
        // An empty sequence of odds is certain.
        let pairs = if loss.largest_score() == 0.0 { &PAIRS[..3] } else { PAIRS };
        let reference = loss.takes_reference().then(|| Matrix::from(&reference));
        let worst = gradcheck(
            |_, x| x[0].pair_losses(&mask(), reference, pairs, loss.as_ref()),
            &[policy.clone().into_dyn()],
        )
        .unwrap();
        assert!(worst.error < 1e-8, "{loss:?}: {worst:?}");
    }
}

#[test]
fn pairs_of_two_arrays_and_of_rows_are_the_same() {
    let mut generator = Generator::new(2);
    let (policy, reference) =
        (log_probs(&mut generator, (4, 4)), log_probs(&mut generator, (4, 4)));
    let mask = mask().slice_move(ndarray::s![..4, ..]);
    let weights = arr1(&[0.25, -2.0]);
    let half = |array: &Array2<f64>, at: usize| {
        array.slice(ndarray::s![2 * at..2 * at + 2, ..]).to_owned()
    };
    for loss in pair_losses() {
        let (policies, references) =
            ([0, 1].map(|at| half(&policy, at)), [0, 1].map(|at| half(&reference, at)));
        let masks = [0, 1].map(|at| mask.slice(ndarray::s![2 * at..2 * at + 2, ..]).to_owned());
        let side = |at: usize| {
            let sequences = Sequences::new(&policies[at], &masks[at]);
            if loss.takes_reference() { sequences.reference(&references[at]) } else { sequences }
        };
        let whole = Sequences::new(&policy, &mask);
        let whole = if loss.takes_reference() { whole.reference(&reference) } else { whole };
        let apart = loss.evaluate(&Pairs::new(side(0), side(1)).weights(&weights)).unwrap();
        let rows = RowPairs::new(whole, &[[0, 2], [1, 3]]).weights(&weights);
        let rows = loss.evaluate_rows(&rows).unwrap();
        assert_eq!((apart.value, &apart.losses), (rows.value, &rows.losses), "{loss:?}");
        let both = ndarray::concatenate![ndarray::Axis(0), apart.chosen, apart.rejected];
        assert_eq!(both, rows.gradient, "{loss:?}");
    }
}

#[test]
fn a_policy_that_is_its_reference_has_the_loss_of_no_preference() {
    let mut generator = Generator::new(3);
    let policy = log_probs(&mut generator, (5, 4));
    let mask = mask();
    let sequences = Sequences::new(&policy, &mask).reference(&policy);
    let value = |loss: Dpo| loss.evaluate_rows(&RowPairs::new(sequences, PAIRS)).unwrap().value;
    assert_eq!(value(Dpo::new(0.3).unwrap()), LN_2);
    assert!((value(Dpo::new(0.3).unwrap().label_smoothing(0.4).unwrap()) - LN_2).abs() < 1e-15);
    assert_eq!(value(Dpo::hinge(0.3).unwrap()), 1.0);
    assert_eq!(value(Dpo::ipo(0.5).unwrap()), 1.0);
    assert!((value(Dpo::robust(0.3, 0.1).unwrap()) - LN_2).abs() < 1e-15);
    assert_eq!(value(Dpo::apo_zero(0.3).unwrap()), 1.0);
    assert_eq!(value(Dpo::apo_down(0.3).unwrap()), 1.0);
    let labels = [true, false, true, false, true];
    assert_eq!(Kto::new(0.3).unwrap().evaluate(&sequences, &labels).unwrap().value, 0.5);
    let model = ImplicitReward::new(0.3).unwrap();
    assert!((model.evaluate(&sequences, &labels).unwrap().value - LN_2).abs() < 1e-15);
}

#[test]
fn an_exchange_of_the_pair_turns_the_margin() {
    let (a, b) = (-1.75, 0.5);
    // softplus(−h) − softplus(h) = −h; half smoothed both are as likely.
    let dpo = Dpo::new(0.5).unwrap();
    let difference = dpo.evaluate_pair(a, b).value - dpo.evaluate_pair(b, a).value;
    assert!((difference + 0.5 * (a - b)).abs() < 1e-15);
    let even = dpo.label_smoothing(0.5).unwrap();
    assert!((even.evaluate_pair(a, b).value - even.evaluate_pair(b, a).value).abs() < 1e-15);
    // σ(−x) + σ(x) = 1.
    let apo = Dpo::apo_zero(0.5).unwrap();
    assert!((apo.evaluate_pair(a, b).value + apo.evaluate_pair(b, a).value - 2.0).abs() < 1e-15);
    // The labels of a sequence: r → −r.
    let model = ImplicitReward::new(0.7).unwrap();
    let ((right, up), (wrong, down)) =
        (model.evaluate_sequence(1.3, true), model.evaluate_sequence(-1.3, false));
    assert_eq!((right, up), (wrong, -down));
    let kto = Kto::new(0.7).unwrap();
    assert_eq!(kto.evaluate_sequence(1.3, true).0, kto.evaluate_sequence(-1.3, false).0);
}

#[test]
fn gradients_of_labelled_losses_are_those_of_central_differences() {
    let mut generator = Generator::new(4);
    let (policy, reference) =
        (log_probs(&mut generator, (5, 4)), log_probs(&mut generator, (5, 4)));
    let labels = [true, false, false, true, true];
    let kto = Kto::new(0.4).unwrap().weights(1.5, 0.5).unwrap().divergence(0.3).unwrap();
    for loss in [&kto as &dyn LabelledLoss, &ImplicitReward::new(0.3).unwrap()] {
        let worst = gradcheck(
            |_, x| x[0].labelled_losses(&mask(), Matrix::from(&reference), &labels, loss),
            &[policy.clone().into_dyn()],
        )
        .unwrap();
        assert!(worst.error < 1e-8, "{loss:?}: {worst:?}");
    }
}

#[test]
fn rewards_of_tokens_sum_to_that_of_the_answer() {
    let mut generator = Generator::new(5);
    let (policy, reference) =
        (log_probs(&mut generator, (5, 4)), log_probs(&mut generator, (5, 4)));
    let mask = mask();
    let sequences = Sequences::new(&policy, &mask).reference(&reference);
    let rewards = ImplicitReward::new(0.05).unwrap().rewards(&sequences).unwrap();
    for row in 0..5 {
        let sum = rewards.tokens.row(row).sum();
        assert!((sum - rewards.outcomes[row]).abs() <= 4.0 * f64::EPSILON * 0.2);
        assert_eq!(rewards.cumulative[[row, 3]], rewards.outcomes[row]);
    }
}

fn surrogates() -> Vec<Surrogate> {
    let all: Result<Vec<Surrogate>> = (|| {
        Ok(vec![
            Clipped::new(0.3, 0.6)?.into(),
            Clipped::new(0.1, 0.1)?.dual_clip(1.5)?.into(),
            Clipped::new(0.1, 0.1)?.delta(1.3)?.into(),
            Gspo::new(0.3, 0.6)?.into(),
            Gspo::new(0.01, 0.01)?.dual_clip(1.2)?.into(),
            Gspo::new(0.2, 0.2)?.delta(1.1)?.into(),
            Sapo::new(1.0, 1.05)?.into(),
            Sapo::new(3.0, 0.5)?.into(),
        ])
    })();
    all.unwrap()
}

fn reductions() -> Vec<TokenReduction> {
    vec![
        TokenReduction::NONE,
        TokenReduction::TOKEN_MEAN,
        TokenReduction::divide(37.0).unwrap(),
        TokenReduction::SEQUENCE_MEAN,
        TokenReduction::SEQUENCE_MEAN_TOKEN_SUM,
        TokenReduction::constant(8.0).unwrap(),
    ]
}

#[test]
fn gradients_of_policy_losses_are_those_of_central_differences() {
    let mut generator = Generator::new(6);
    let old = log_probs(&mut generator, (5, 4));
    // Clipped and not, well away from every edge of a token or a sequence.
    let log_ratios = arr2(&[
        [-0.45, -0.2, 0.18, 0.0],
        [0.33, 0.44, 0.0, 0.0],
        [0.03, 0.33, -0.2, 0.44],
        [-0.45, 0.0, 0.0, 0.0],
        [0.0; 4],
    ]);
    let policy = &old + &log_ratios;
    let reference = log_probs(&mut generator, (5, 4));
    let entropy = log_probs(&mut generator, (5, 4)).mapv(f64::abs);
    let weights = Array2::from_shape_simple_fn((5, 4), || generator.uniform());
    let of_tokens = Array2::from_shape_simple_fn((5, 4), || 2.0 * generator.uniform() - 1.0);
    let of_sequences = arr1(&[1.0, -0.5, -2.0, 0.25, 1.0]);
    for surrogate in surrogates() {
        for reduction in reductions() {
            for estimator in [KlEstimator::K1, KlEstimator::K2, KlEstimator::K3] {
                for tokens in [false, true] {
                    let advantages = if tokens {
                        Advantages::from(&of_tokens)
                    } else {
                        Advantages::from(&of_sequences)
                    };
                    let mask = mask();
                    let rollout = Rollout::new(&mask, advantages)
                        .old(&old)
                        .reference(&reference)
                        .token_weights(&weights);
                    let loss = PolicyLoss::new(surrogate)
                        .reduction(reduction)
                        .divergence(0.3, estimator)
                        .and_then(|loss| loss.entropy_bonus(0.2))
                        .unwrap();
                    let inputs = [policy.clone().into_dyn(), entropy.clone().into_dyn()];
                    let worst =
                        gradcheck(|_, x| x[0].policy_loss(Some(x[1]), &rollout, &loss), &inputs)
                            .unwrap();
                    assert!(worst.error < 1e-8, "{loss:?} {tokens}: {worst:?}");
                }
            }
        }
    }
}

/// What CISPO and GSPO-token hold constant is not what a difference of values sees: the formulas themselves.
#[test]
fn constant_weights_are_constant_in_the_gradient() {
    let (old, policy) = (arr2(&[[-1.0, -1.0, -2.0]]), arr2(&[[-0.5, -1.5, -1.75]]));
    let (mask, advantages) = (arr2(&[[true; 3]]), arr2(&[[1.0, -2.0, 0.5]]));
    let rollout = Rollout::new(&mask, &advantages).old(&old);
    let sum = |surrogate: Surrogate| {
        let loss = PolicyLoss::new(surrogate).reduction(TokenReduction::NONE);
        loss.evaluate(&policy, &rollout).unwrap()
    };
    let cispo = sum(Cispo::new(1.5).unwrap().low(0.75).unwrap().into());
    let weights = [1.5, 0.75 * -2.0, 0.25_f64.exp() * 0.5];
    for (t, weight) in weights.into_iter().enumerate() {
        assert!((cispo.gradient[[0, t]] + weight).abs() < 1e-15);
        assert!((cispo.losses[[0, t]] + weight * policy[[0, t]]).abs() < 1e-15);
    }
    assert!((cispo.clip_fraction - 2.0 / 3.0).abs() < 1e-15);
    let ratio = (0.25_f64 / 3.0).exp();
    let gspo = Gspo::new(0.5, 0.5).unwrap();
    let (token, sequence) = (sum(gspo.token().into()), sum(gspo.into()));
    assert_eq!(token.losses, sequence.losses);
    for t in 0..3 {
        assert!((token.gradient[[0, t]] + ratio * advantages[[0, t]]).abs() < 1e-15);
        assert!((sequence.gradient[[0, t]] + ratio * advantages.sum() / 3.0).abs() < 1e-15);
    }
    // Of one advantage for the sequence both are the same.
    let advantages = arr1(&[0.75]);
    let rollout = Rollout::new(&mask, &advantages).old(&old);
    let of =
        |surrogate: Gspo| PolicyLoss::new(surrogate).evaluate(&policy, &rollout).unwrap().gradient;
    let (token, sequence) = (of(gspo.token()), of(gspo));
    assert!(token.iter().zip(&sequence).all(|(a, b)| (a - b).abs() < 1e-16), "{token} {sequence}");
}

#[test]
fn on_policy_every_surrogate_has_the_gradient_of_the_plain_one() {
    let mut generator = Generator::new(7);
    let policy = log_probs(&mut generator, (5, 4));
    let (mask, advantages) = (mask(), arr1(&[1.0, -0.5, -2.0, 0.25, 1.0]));
    let without = Rollout::new(&mask, &advantages);
    let same = without.old(&policy);
    for loss in [
        PolicyLoss::ppo(),
        PolicyLoss::dapo(),
        PolicyLoss::cispo(),
        PolicyLoss::gspo(),
        PolicyLoss::sapo(),
    ] {
        let loss = loss.reduction(TokenReduction::NONE);
        for rollout in [&without, &same] {
            let losses = loss.evaluate(&policy, rollout).unwrap();
            for ((row, t), &kept) in mask.indexed_iter() {
                let wanted = if kept { -advantages[row] } else { 0.0 };
                assert!((losses.gradient[[row, t]] - wanted).abs() <= 4e-16, "{loss:?}");
            }
            assert_eq!(losses.clip_fraction, 0.0);
        }
    }
}

#[test]
fn reductions_weigh_as_they_say() {
    let (mask, zeros) = (mask(), Array2::<f64>::zeros((5, 4)));
    let advantages = arr1(&[-1.0, -2.0, -3.0, -4.0, -5.0]);
    let rollout = Rollout::new(&mask, &advantages);
    let of = |reduction, empty| {
        let loss = PolicyLoss::ppo().reduction(reduction).empty_sequences(empty);
        loss.evaluate(&zeros, &rollout).unwrap().value
    };
    let counts = [3.0, 2.0, 4.0, 1.0, 0.0];
    let sum: f64 = counts.iter().zip(&advantages).map(|(n, a)| -n * a).sum();
    let (counted, skipped) = (EmptySequences::Counted, EmptySequences::Skipped);
    for (reduction, wanted, without) in [
        (TokenReduction::NONE, sum, sum),
        (TokenReduction::TOKEN_MEAN, sum / 10.0, sum / 10.0),
        (TokenReduction::divide(37.0).unwrap(), sum / 37.0, sum / 37.0),
        (TokenReduction::SEQUENCE_MEAN, 10.0 / 5.0, 10.0 / 4.0),
        (TokenReduction::SEQUENCE_MEAN_TOKEN_SUM, sum / 5.0, sum / 4.0),
        (TokenReduction::constant(8.0).unwrap(), sum / 40.0, sum / 32.0),
    ] {
        assert!((of(reduction, counted) - wanted).abs() < 1e-14, "{reduction:?}");
        assert!((of(reduction, skipped) - without).abs() < 1e-14, "{reduction:?}");
    }
}

#[test]
fn what_does_not_count_is_not_looked_at() {
    let mut generator = Generator::new(8);
    let clean = [(); 4].map(|()| log_probs(&mut generator, (5, 4)));
    let mask = mask();
    for bad in [f64::NAN, f64::NEG_INFINITY, f64::INFINITY] {
        let spoilt = clean.each_ref().map(|array| {
            let mut array = array.clone();
            array.zip_mut_with(&mask, |x, &kept| *x = if kept { *x } else { bad });
            array
        });
        let numbers = mask.mapv(|kept| f32::from(u8::from(kept)));
        for loss in pair_losses() {
            let of = |[policy, reference, ..]: &[Array2<f64>; 4]| {
                let sequences = Sequences::new(policy, &numbers);
                let sequences =
                    if loss.takes_reference() { sequences.reference(reference) } else { sequences };
                loss.evaluate_rows(&RowPairs::new(sequences, &PAIRS[..3])).unwrap()
            };
            assert_eq!(of(&spoilt), of(&clean), "{loss:?}");
        }
        for surrogate in surrogates()
            .into_iter()
            .chain([PolicyLoss::cispo()].map(|_| Cispo::new(5.0).unwrap().into()))
        {
            let of = |[policy, old, reference, advantages]: &[Array2<f64>; 4]| {
                let rollout = Rollout::new(&mask, advantages)
                    .old(old)
                    .reference(reference)
                    .token_weights(advantages);
                let loss = PolicyLoss::new(surrogate)
                    .divergence(0.1, KlEstimator::K3)
                    .and_then(|loss| loss.entropy_bonus(0.1))
                    .unwrap();
                loss.evaluate_with_entropy(policy, reference, &rollout).unwrap()
            };
            assert_eq!(of(&spoilt), of(&clean), "{surrogate:?}");
        }
        let covariance = |[policy, _, _, advantages]: &[Array2<f64>; 4]| {
            TokenCovariance::of(policy, &Rollout::new(&mask, advantages)).unwrap()
        };
        assert_eq!(covariance(&spoilt), covariance(&clean));
        let estimates = |[policy, reference, ..]: &[Array2<f64>; 4]| {
            let sequences = Sequences::new(policy, &mask).reference(reference);
            KlEstimates::of(&sequences, KlEstimator::K3, TokenReduction::TOKEN_MEAN).unwrap()
        };
        assert_eq!(estimates(&spoilt), estimates(&clean));
    }
}

#[test]
fn a_batch_without_a_token_is_worth_nothing() {
    let (nothing, empty) = (Array2::from_elem((2, 3), f64::NAN), Array2::from_elem((2, 3), false));
    let advantages = arr1(&[f64::NAN, 1.0]);
    let rollout = Rollout::new(&empty, &advantages).old(&nothing);
    for surrogate in surrogates() {
        for reduction in reductions() {
            for sequences in [EmptySequences::Counted, EmptySequences::Skipped] {
                let loss =
                    PolicyLoss::new(surrogate).reduction(reduction).empty_sequences(sequences);
                let losses = loss.evaluate(&nothing, &rollout).unwrap();
                assert_eq!(losses.value, 0.0);
                assert!(losses.gradient.iter().all(|&g| g == 0.0));
                assert_eq!(losses.clip_fraction, 0.0);
            }
        }
    }
    let sequences = Sequences::new(&nothing, &empty);
    let losses =
        Cpo::new(0.1).unwrap().evaluate_rows(&RowPairs::new(sequences, &[[0, 1]])).unwrap();
    assert_eq!(losses.value, LN_2);
    assert_eq!(TokenCovariance::of(&nothing, &rollout).unwrap().mean(), 0.0);
}

#[test]
fn a_ratio_beyond_all_numbers_has_its_limit() {
    let clipped = Clipped::new(0.2, 0.2).unwrap();
    for (surrogate, advantage, wanted) in [
        (clipped, 1.0, -1.2),
        (clipped, -1.0, f64::INFINITY),
        (clipped.dual_clip(3.0).unwrap(), -1.0, 3.0),
        (clipped.delta(2.0).unwrap(), -1.0, 2.0),
        (clipped, 0.0, 0.0),
    ] {
        let (value, _) = surrogate.at(800.0, advantage);
        assert_eq!(value, wanted);
    }
    let sapo = Sapo::new(1.0, 1.0).unwrap();
    assert_eq!(sapo.at(800.0, -1.0), (4.0, 0.0));
    assert_eq!(sapo.at(-800.0, 0.0), (0.0, 0.0));
    assert_eq!(Cispo::new(5.0).unwrap().at(f64::NEG_INFINITY, f64::NEG_INFINITY, 1.0), (0.0, 0.0));

    // In a batch, what is infinite has no gradient, and takes none from the others.
    let (old, policy) = (arr2(&[[-801.0, -1.0]]), arr2(&[[-1.0, -1.0]]));
    let (mask, advantages) = (arr2(&[[true, true]]), arr1(&[-1.0]));
    let rollout = Rollout::new(&mask, &advantages).old(&old);
    let losses = PolicyLoss::ppo().evaluate(&policy, &rollout).unwrap();
    assert_eq!((losses.value, losses.gradient), (f64::INFINITY, arr2(&[[0.0, 0.5]])));
    let held =
        PolicyLoss::ppo().log_ratio_clamp(20.0).unwrap().evaluate(&policy, &rollout).unwrap();
    assert!((held.value - (20_f64.exp() + 1.0) / 2.0).abs() < 1e-15 * 20_f64.exp());
    assert_eq!((held.gradient, held.clip_fraction), (arr2(&[[0.0, 0.5]]), 0.5));
}

#[test]
fn an_impossible_sequence_has_an_infinite_loss_without_a_gradient() {
    let (policy, mask) = (arr2(&[[f64::NEG_INFINITY, -1.0], [-1.0, -1.0]]), arr2(&[[true; 2]; 2]));
    let sequences = Sequences::new(&policy, &mask);
    for loss in [Dpo::new(0.1).unwrap(), Dpo::hinge(0.1).unwrap(), Dpo::ipo(0.1).unwrap()] {
        let losses = loss.evaluate_rows(&RowPairs::new(sequences, &[[0, 1]])).unwrap();
        assert_eq!(losses.value, f64::INFINITY, "{loss:?}");
        assert!(losses.gradient.iter().all(|&g| g == 0.0), "{loss:?}");
    }
    let right = Dpo::new(0.1).unwrap().evaluate_rows(&RowPairs::new(sequences, &[[1, 0]])).unwrap();
    assert_eq!(right.value, 0.0);
    // A pair that weighs nothing is not there.
    let pairs = [[0, 1], [1, 1]];
    let weights = arr1(&[0.0, 1.0]);
    let pairs = RowPairs::new(sequences, &pairs).weights(&weights);
    let losses = Dpo::new(0.1).unwrap().evaluate_rows(&pairs).unwrap();
    assert_eq!((losses.value, losses.losses[0]), (LN_2, f64::INFINITY));
}

#[test]
fn a_nan_that_counts_is_seen() {
    let (policy, mask) = (arr2(&[[f64::NAN, -1.0], [-1.0, -1.0]]), arr2(&[[true; 2]; 2]));
    for loss in pair_losses() {
        let losses =
            loss.evaluate_rows(&RowPairs::new(Sequences::new(&policy, &mask), &[[0, 1]])).unwrap();
        assert!(losses.value.is_nan() && losses.gradient[[0, 0]].is_nan(), "{loss:?}");
    }
    let advantages = arr1(&[1.0, 1.0]);
    for surrogate in surrogates().into_iter().chain([Cispo::new(5.0).unwrap().into()]) {
        let rollout = Rollout::new(&mask, &advantages).old(&policy);
        let losses = PolicyLoss::new(surrogate).evaluate(&policy, &rollout).unwrap();
        assert!(losses.value.is_nan() && losses.gradient[[0, 0]].is_nan(), "{surrogate:?}");
        assert!(losses.losses[[1, 0]].is_finite() && losses.gradient[[1, 0]].is_finite());
    }
}

fn distributions(generator: &mut Generator) -> [Array1<f64>; 2] {
    [(); 2].map(|()| {
        let weights = Array1::from_shape_simple_fn(9, || (3.0 * generator.uniform()).exp());
        let sum = weights.sum();
        weights / sum
    })
}

#[test]
fn divergences_of_single_tokens_have_the_divergence_as_their_mean() {
    let mut generator = Generator::new(9);
    let [p, q] = distributions(&mut generator);
    let kl = |p: &Array1<f64>, q: &Array1<f64>| -> f64 {
        p.iter().zip(q).map(|(p, q)| p * (p / q).ln()).sum()
    };
    let mean =
        |f: FDivergence| -> f64 { p.iter().zip(&q).map(|(p, q)| q * f.at((p / q).ln()).0).sum() };
    let middle = (&p + &q) / 2.0;
    // Sums of nine terms of order 1.
    let near =
        |found: f64, wanted: f64| assert!((found - wanted).abs() < 4e-15, "{found} {wanted}");
    near(mean(FDivergence::k1()), kl(&q, &p));
    near(mean(FDivergence::k3()), kl(&q, &p));
    near(mean(FDivergence::reverse()), kl(&p, &q));
    near(mean(FDivergence::jensen_shannon()), kl(&p, &middle) + kl(&q, &middle));
    let alpha = 0.3;
    let power: f64 = p.iter().zip(&q).map(|(p, q)| p.powf(1.0 - alpha) * q.powf(alpha)).sum();
    near(mean(FDivergence::alpha(alpha).unwrap()), (1.0 - power) / (alpha * (1.0 - alpha)));
    for estimator in [KlEstimator::K1, KlEstimator::K3] {
        let of = |(p, q): (&f64, &f64)| p * estimator.at(p.ln(), q.ln()).0;
        near(p.iter().zip(&q).map(of).sum(), kl(&p, &q));
    }
    // The gradient of k1 has the mean 0: Σ p ∂ log p = 0.
    let slopes: f64 = p.iter().map(|p| p * KlEstimator::K1.at(p.ln(), 0.0).1).sum();
    near(slopes, 1.0);
}

#[test]
fn slopes_of_divergences_are_those_of_central_differences() {
    let all = [
        FDivergence::k1(),
        FDivergence::k2(),
        FDivergence::k3(),
        FDivergence::jensen_shannon(),
        FDivergence::alpha(0.01).unwrap(),
        FDivergence::alpha(0.2).unwrap(),
        FDivergence::alpha(0.95).unwrap(),
        FDivergence::reverse(),
    ];
    for f in all {
        for delta in [-6.0, -1.0, -0.3, -1e-3, 0.0, 1e-3, 0.3, 1.0, 5.0] {
            let h = 1e-3;
            let at = |k: f64| f.at(delta + k * h).0;
            let numeric = (8.0 * (at(1.0) - at(-1.0)) - (at(2.0) - at(-2.0))) / (12.0 * h);
            let (value, slope) = f.at(delta);
            // h⁴/30 of a fifth derivative like the value, and rounding over h.
            let allowed = 1e-12 * (1.0 + 200.0 * value.abs() + 200.0 * slope.abs());
            assert!((numeric - slope).abs() < allowed, "{f:?} {delta}: {numeric} {slope}");
            let never_below = f != FDivergence::k1() && f != FDivergence::reverse();
            assert!(!never_below || value >= 0.0, "{f:?} {delta}");
        }
    }
}

#[test]
fn near_each_other_divergences_keep_their_digits() {
    // The first two terms of each series; the third is below 1e-16 of them.
    for delta in [1e-9_f64, -1e-9, 3e-12] {
        for (f, third) in [
            (FDivergence::k3(), 1.0 / 3.0),
            (FDivergence::alpha(0.2).unwrap(), 1.8 / 3.0),
            (FDivergence::alpha(1e-6).unwrap(), (2.0 - 1e-6) / 3.0),
        ] {
            let wanted = delta * delta / 2.0 * (1.0 + third * delta);
            assert!((f.at(delta).0 / wanted - 1.0).abs() < 4e-16 * 2.0, "{f:?} {delta}");
        }
        let wanted = delta * delta / 4.0 * (1.0 + delta / 2.0);
        assert!((FDivergence::jensen_shannon().at(delta).0 / wanted - 1.0).abs() < 8e-16);
        let (value, slope) = KlEstimator::K3.at(-delta, 0.0);
        assert!(
            (value / (delta * delta / 2.0) - 1.0).abs() < 1e-8
                && (slope / -delta - 1.0).abs() < 1e-8
        );
    }
    // α → 1 is k3, α → 0 is Δe^Δ − e^Δ + 1.
    for delta in [-3.0_f64, -0.2, 0.4, 2.0] {
        let near_one = FDivergence::alpha(1.0 - 1e-12).unwrap().at(delta).0;
        assert!((near_one / FDivergence::k3().at(delta).0 - 1.0).abs() < 1e-10);
        let near_zero = FDivergence::alpha(1e-12).unwrap().at(delta).0;
        let wanted = delta * delta.exp() - delta.exp_m1();
        assert!((near_zero / wanted - 1.0).abs() < 1e-10, "{delta}");
    }
}

#[test]
fn a_saturated_pair_keeps_what_is_left() {
    let term = Dpo::new(1.0).unwrap().evaluate_pair(50.0, -50.0);
    assert!((term.value / (-100.0_f64).exp() - 1.0).abs() < 1e-14);
    assert!((term.by_chosen / -(-100.0_f64).exp() - 1.0).abs() < 1e-14);
    // Odds of a nearly certain sequence.
    let orpo = Orpo::new(1.0).unwrap();
    let term = orpo.evaluate_pair(-1e-15, -2.0);
    let odds = (-2.0_f64).exp() / -(-2.0_f64).exp_m1();
    assert!((term.by_chosen / -odds - 1.0).abs() < 1e-14);
    assert!((term.value / (1e-15 * odds) - 1.0).abs() < 1e-12);
    let certain = orpo.evaluate_pair(0.0, -2.0);
    assert_eq!(certain.value, 0.0);
    assert!((certain.by_chosen / -odds - 1.0).abs() < 1e-14);
    assert_eq!(orpo.evaluate_pair(-2.0, 0.0).value, f64::INFINITY);
}

#[test]
fn clip_cov_and_kl_cov_choose_among_those_of_high_covariance() {
    let mut generator = Generator::new(10);
    let policy = log_probs(&mut generator, (6, 50));
    let advantages = Array2::from_shape_simple_fn((6, 50), || 4.0 * generator.uniform() - 2.0);
    let mask = Array2::from_shape_simple_fn((6, 50), || generator.uniform() < 0.9);
    let covariance = TokenCovariance::of(&policy, &Rollout::new(&mask, &advantages)).unwrap();
    let count = mask.iter().filter(|&&kept| kept).count();
    let clip = ClipCovariance::new(0.05, 0.5, 2.0).unwrap();
    let (eligible, chosen) = (clip.eligible(&covariance), clip.choose(&covariance, &mut generator));
    assert_eq!(chosen.len(), (0.05 * count as f64) as usize);
    assert!(chosen.iter().all(|place| eligible.contains(place) && mask[*place]));
    assert!(chosen.is_sorted());
    let highest = KlCovariance::new(10.0).unwrap().choose(&covariance);
    assert_eq!(highest.len(), count / 10);
    let least = covariance.tokens()[highest[highest.len() - 1]];
    let above = covariance.tokens().iter().filter(|&&c| c > least).count();
    assert_eq!(above, highest.len() - 1);
    assert!(clip.choose_in_order(&covariance, &[0]).is_err());
}

#[test]
fn changes_of_entropy_are_those_of_a_small_step() {
    let logits = arr1(&[0.3, -1.0, 2.0, 0.5]);
    let entropy = |logits: &Array1<f64>| {
        let sum: f64 = logits.iter().map(|z| z.exp()).sum();
        logits.iter().map(|z| -z.exp() / sum * (z - sum.ln())).sum::<f64>()
    };
    let p = logits.mapv(f64::exp) / logits.mapv(f64::exp).sum();
    let quotient = |step: Array1<f64>| {
        let h = 1e-3;
        let at = |k: f64| entropy(&(&logits + &step * (k * h)));
        (8.0 * (at(1.0) - at(-1.0)) - (at(2.0) - at(-2.0))) / (12.0 * h)
    };
    let advantages = arr1(&[1.0, -2.0, 0.5, 3.0]);
    let change = PolicyEntropyChange::of(&logits, &advantages).unwrap();
    assert!((change.entropy - entropy(&logits)).abs() < 1e-15);
    assert!((quotient(advantages.clone()) + change.covariance_natural).abs() < 1e-10);
    assert!((quotient(&p * &advantages) + change.covariance_policy_gradient).abs() < 1e-10);
    for token in 0..4 {
        let (advantage, old) = (1.7, 0.4);
        let change = TokenEntropyChange::of(&logits, token, advantage, old).unwrap();
        let mut own = Array1::zeros(4);
        own[token] = p[token] / old * advantage;
        let mut all = -&p * own[token];
        all[token] += own[token];
        assert!((quotient(all) - change.exact).abs() < 1e-10);
        // The step of the logit alone is (1 − x) of it: that of the gradient.
        own[token] *= 1.0 - p[token];
        assert!((quotient(own) - change.own_logit).abs() < 1e-10, "{token}");
    }
}

#[test]
fn f32_arrays_are_what_they_round_to() {
    let mut generator = Generator::new(11);
    let policy = log_probs(&mut generator, (5, 4)).mapv(|x| x as f32);
    let wide = policy.mapv(f64::from);
    let mask = mask();
    let loss = Dpo::new(0.1).unwrap();
    let of = |sequences| loss.evaluate_rows(&RowPairs::new(sequences, PAIRS)).unwrap();
    assert_eq!(of(Sequences::new(&policy, &mask)), of(Sequences::new(&wide, &mask)));
    let tape = Tape::<f32>::new().unwrap();
    let leaf = tape.leaf(policy.clone());
    let value = leaf.pair_losses(&mask, None, PAIRS, &loss).unwrap().mean();
    let gradients = value.backward().unwrap();
    let wanted = of(Sequences::new(&policy, &mask));
    assert!(
        (f64::from(value.scalar().unwrap()) - wanted.value).abs()
            < 4.0 * f64::from(f32::EPSILON) * wanted.value
    );
    for (found, wanted) in gradients.of(leaf).unwrap().iter().zip(&wanted.gradient) {
        assert!((f64::from(*found) - wanted).abs() <= 4.0 * f64::from(f32::EPSILON) * wanted.abs());
    }
}

#[test]
fn the_entropy_that_a_policy_has_gets_its_gradient_only_where_it_is_asked_for() {
    let tape = Tape::<f64>::new().unwrap();
    let array = ArrayD::from_elem(vec![1, 2], -1.0);
    let (policy, entropy) = (tape.leaf(array.clone()), tape.constant(array));
    let (mask, advantages) = (arr2(&[[true, true]]), arr1(&[1.0]));
    let rollout = Rollout::new(&mask, &advantages);
    let loss = PolicyLoss::ppo().entropy_bonus(0.5).unwrap();
    let value = policy.policy_loss(Some(entropy), &rollout, &loss).unwrap();
    assert_eq!(value.scalar().unwrap(), -0.5);
    assert!(value.backward().unwrap().of(policy).is_some());
    assert!(policy.policy_loss(None, &rollout, &loss).is_err());
    assert!(policy.sum().policy_loss(None, &rollout, &PolicyLoss::ppo()).is_err());
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T>, parts: &[&str]) {
    let message = result.unwrap_err().to_string();
    for part in parts {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}

#[test]
fn options_outside_their_ranges_are_refused() {
    for beta in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        refused(Dpo::new(beta), &["beta", "above 0"]);
        refused(Simpo::new(beta, 1.0), &["beta"]);
        refused(Kto::new(beta), &["beta"]);
        refused(ImplicitReward::new(beta), &["beta"]);
        refused(Cispo::new(beta), &["ratio_high"]);
        refused(Sapo::new(1.0, beta), &["temperature_negative"]);
        refused(TokenReduction::divide(beta), &["normalizer"]);
        refused(PolicyLoss::dr_grpo(beta), &["max_length"]);
        refused(PolicyLoss::ppo().log_ratio_clamp(beta), &["log_ratio_clamp"]);
        refused(KlCovariance::new(beta), &["k_percent"]);
    }
    refused(Dpo::robust(0.1, 0.5), &["label_smoothing is 0.5", "below 0.5"]);
    refused(Dpo::new(0.1).and_then(|loss| loss.label_smoothing(0.6)), &["label_smoothing is 0.6"]);
    refused(
        Dpo::hinge(0.1).and_then(|loss| loss.label_smoothing(0.1)),
        &["label_smoothing", "Hinge"],
    );
    refused(Cpo::new(0.1).and_then(|loss| loss.likelihood(-1.0)), &["nll_coefficient is -1"]);
    refused(Clipped::new(1.5, 0.2), &["epsilon_low is 1.5"]);
    refused(
        Clipped::new(0.2, 0.2).and_then(|loss| loss.dual_clip(1.0)),
        &["dual_clip is 1", "above 1"],
    );
    refused(Clipped::new(0.2, 0.2).and_then(|loss| loss.delta(0.0)), &["delta"]);
    refused(Cispo::new(1.0).and_then(|loss| loss.low(1.5)), &["ratio_low is 1.5"]);
    refused(FDivergence::alpha(1.0), &["alpha is 1"]);
    refused(SteerWeights::linear(0.8, 0.5), &["max is 0.5"]);
    refused(SteerWeights::exponential(1.5), &["min is 1.5"]);
    refused(ClipCovariance::new(0.1, 2.0, 1.0), &["upper is 1"]);
}

#[test]
fn arrays_that_do_not_fit_are_refused() {
    let (policy, mask) = (arr2(&[[-1.0, -2.0]]), arr2(&[[true, true]]));
    let (wide, tall) = (arr2(&[[-1.0, -2.0, -3.0]]), arr2(&[[-1.0, -2.0], [-1.0, -2.0]]));
    let dpo = Dpo::new(0.1).unwrap();
    let pairs = |chosen, rejected| dpo.evaluate(&Pairs::new(chosen, rejected));
    let good = Sequences::new(&policy, &mask);
    refused(pairs(Sequences::new(&wide, &mask), good), &["chosen_mask", "[1, 2]", "[1, 3]"]);
    refused(pairs(good, good.reference(&wide)), &["reference_rejected_log_probs", "[1, 3]"]);
    refused(
        pairs(good, good.reference(&policy)),
        &["one of the chosen and the rejected", "both or neither"],
    );
    let longer = arr2(&[[true; 2]; 2]);
    refused(pairs(good, Sequences::new(&tall, &longer)), &["rejected_log_probs", "1 sequences"]);
    let numbers = arr2(&[[1.0, 0.5]]);
    refused(
        pairs(good, Sequences::new(&policy, &numbers)),
        &["rejected_mask[0, 1] is 0.5", "0 or 1"],
    );
    let nothing = Array2::<f64>::zeros((0, 3));
    refused(
        pairs(Sequences::new(&nothing, &mask), good),
        &["chosen_log_probs", "at least one row"],
    );
    let rows = |rows: &[[usize; 2]]| dpo.evaluate_rows(&RowPairs::new(good, rows));
    refused(rows(&[]), &["pairs", "at least one pair"]);
    refused(rows(&[[0, 0], [0, 1]]), &["pairs[1, 1] is 1", "a row"]);
    let weights = arr1(&[1.0, 2.0]);
    refused(dpo.evaluate(&Pairs::new(good, good).weights(&weights)), &["weights", "[1]"]);
    let weights = arr1(&[f64::NAN]);
    refused(dpo.evaluate(&Pairs::new(good, good).weights(&weights)), &["weights[0]", "finite"]);
    let with = good.reference(&policy);
    let cpo = Cpo::new(0.1).unwrap();
    refused(cpo.evaluate(&Pairs::new(with, with)), &["Cpo", "no reference"]);
    let above = arr2(&[[0.5, 0.5]]);
    let orpo = Orpo::new(0.1).unwrap();
    refused(
        orpo.evaluate(&Pairs::new(good, Sequences::new(&above, &mask))),
        &["rejected_log_probs[0] is 0.5", "at most 0"],
    );
    let kto = Kto::new(0.1).unwrap();
    refused(kto.evaluate(&good, &[true]), &["reference"]);
    refused(kto.evaluate(&with, &[true, false]), &["labels", "[1]"]);

    let advantages = arr1(&[1.0]);
    let ppo = PolicyLoss::ppo();
    refused(
        ppo.evaluate(&policy, &Rollout::new(&mask, &arr1(&[1.0, 2.0]))),
        &["advantages", "[2]"],
    );
    refused(ppo.evaluate(&policy, &Rollout::new(&mask, &wide)), &["advantages", "[1, 3]"]);
    refused(
        ppo.evaluate(&policy, &Rollout::new(&mask, &advantages).old(&wide)),
        &["old_log_probs"],
    );
    let rollout = Rollout::new(&mask, &advantages);
    refused(ppo.evaluate_with_entropy(&policy, &wide, &rollout), &["entropy"]);
    let penalised = ppo.divergence(0.1, KlEstimator::K3).unwrap();
    refused(penalised.evaluate(&policy, &rollout), &["reference_log_probs"]);
    let bonus = ppo.entropy_bonus(0.1).unwrap();
    refused(bonus.evaluate(&policy, &rollout), &["entropy"]);
    refused(
        EntropyRewardFit::of(&arr1(&[1.0; 3]), &arr1(&[1.0, 2.0, 3.0])),
        &["entropies", "differ"],
    );
    refused(EntropyRewardFit::of(&arr1(&[1.0; 2]), &arr1(&[1.0; 2])), &["3 points"]);
    refused(PolicyEntropyChange::of(&arr1(&[f64::NAN]), &arr1(&[1.0])), &["logits[0] is NaN"]);
    refused(TokenEntropyChange::of(&arr1(&[1.0]), 1, 1.0, 0.5), &["token"]);
}

/// Over many noisy copies a, b and the ceiling are off by their standard errors.
#[test]
fn the_errors_of_a_reward_fit_are_those_of_its_copies() {
    let mut generator = surprisal::random::Generator::new(4);
    let entropies = ndarray::Array1::from_shape_fn(12, |i| 0.1 + 0.1 * i as f64);
    let (a, b, copies) = (0.2, 0.9, 2000);
    let mut sums = [0.0; 3];
    for _ in 0..copies {
        let noise: Vec<f64> =
            (0..12).map(|_| 0.03 * f64::from(generator.nearly_normal())).collect();
        let noise = ndarray::Array1::from(noise);
        let rewards = entropies.mapv(|h: f64| b - a * h.exp()) + noise;
        let fit = EntropyRewardFit::of(&entropies, &rewards).unwrap();
        for (sum, (off, error)) in sums.iter_mut().zip([
            (fit.a - a, fit.a_standard_error),
            (fit.b - b, fit.b_standard_error),
            (fit.ceiling() - (b - a), fit.ceiling_standard_error),
        ]) {
            *sum += (off / error).powi(2) / f64::from(copies);
        }
    }
    // The square of a Student t of 10 degrees of freedom has the mean 10/8 and the variance 2.8 or so.
    for sum in sums {
        assert!((sum - 1.25).abs() < 6.0 * (2.8 / f64::from(copies)).sqrt(), "{sums:?}");
    }
}
