//! What best-of-N and rewards make of distributions.

use serde_json::{Value, json};
use surprisal::information::{
    RewardDistribution, expected_best_of_n, pass_at_k, renyi_cross_entropy,
};

use super::answer::Answer;
use super::argument::{Argument, Interval, Kind};
use super::function::Function;
use super::refusal::Result;
use super::request::Request;
use crate::output::number;

const PROBABILITIES: Argument =
    Argument::new("probabilities", Kind::Numbers("[n], with the sum 1"));
const REWARDS: Argument = Argument::new("rewards", Kind::Numbers("[n]"));

/// Whole numbers up to this are all numbers of JSON; counting takes no longer than a moment.
const MOST: usize = 1 << 26;

pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "best_of_n",
        arguments: &[PROBABILITIES, REWARDS, Argument::number("n", Interval::at_least(1.0))],
        gradient: &[],
        answer: |request| {
            let best = answers(request)?.best_of(request.number("n")?)?;
            Ok(Answer::new(json!({
                "pmf": numbers(&best.pmf),
                "kl": number(best.kl),
                "bound": number(best.bound),
                "mean_reward": number(best.mean_reward),
            })))
        },
    },
    Function {
        name: "tilted_distribution",
        arguments: &[PROBABILITIES, REWARDS, Argument::number("t", Interval::ANY)],
        gradient: &[],
        answer: |request| {
            let tilted = answers(request)?.tilted(request.number("t")?)?;
            Ok(Answer::new(json!({
                "pmf": numbers(&tilted.pmf),
                "log_partition": number(tilted.log_partition),
                "mean_reward": number(tilted.mean_reward),
                "kl": number(tilted.kl),
                "variance": number(tilted.variance),
            })))
        },
    },
    Function {
        name: "tilt_for_kl",
        arguments: &[PROBABILITIES, REWARDS, Argument::number("kl", Interval::at_least(0.0))],
        gradient: &[],
        answer: |request| {
            Ok(Answer::new(number(answers(request)?.tilt_for_kl(request.number("kl")?)?)))
        },
    },
    Function {
        name: "renyi_cross_entropy",
        arguments: &[
            PROBABILITIES,
            Argument::new("reference_probabilities", Kind::Numbers("[n], with the sum 1")),
            Argument::number("alpha", Interval::above(0.0)),
        ],
        gradient: &[],
        answer: |request| {
            let p = request.vector("probabilities")?;
            let q = request.vector("reference_probabilities")?;
            let alpha = request.number("alpha")?;
            Ok(Answer::new(number(renyi_cross_entropy(&p, &q, alpha)?)))
        },
    },
    Function {
        name: "expected_best_of_n",
        arguments: &[
            Argument::new("rewards", Kind::Numbers("[K]")),
            Argument::new("n", Kind::Whole("from 1 to K")),
        ],
        gradient: &[],
        answer: |request| {
            let rewards = request.vector("rewards")?;
            let n = request.whole("n", 1, rewards.len())?;
            Ok(Answer::new(number(expected_best_of_n(&rewards, n)?)))
        },
    },
    Function {
        name: "pass_at_k",
        arguments: &[
            Argument::new("samples_count", Kind::Whole("from 1")),
            Argument::new("correct", Kind::Whole("from 0 to samples_count")),
            Argument::new("k", Kind::Whole("from 1 to samples_count")),
        ],
        gradient: &[],
        answer: |request| {
            let samples = request.whole("samples_count", 1, MOST)?;
            let correct = request.whole("correct", 0, samples)?;
            let k = request.whole("k", 1, samples)?;
            Ok(Answer::new(number(pass_at_k(samples as u64, correct as u64, k as u64)?)))
        },
    },
];

fn answers(request: &Request) -> Result<RewardDistribution> {
    let (probabilities, rewards) = (request.vector("probabilities")?, request.vector("rewards")?);
    Ok(RewardDistribution::new(&probabilities, &rewards)?)
}

fn numbers(numbers: &[f64]) -> Value {
    numbers.iter().copied().map(number).collect()
}
