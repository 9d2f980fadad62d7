//! What is said of the distribution of each row.

use ndarray::{Array1, Array2};
use serde_json::{Map, Value};
use surprisal::information::MinK;
use surprisal::{
    Forward, Inputs, LinearCrossEntropy, LinearCrossEntropyBuilder, RowState, Statistic,
};

use super::answer::{Answer, vector};
use super::argument::{Argument, Interval, Kind};
use super::function::Function;
use super::fused::{BIAS, CLASSIFIER, HIDDEN, Head};
use super::logits::{LOGITS, TARGETS, below_maximum, logits};
use super::refusal::{Refusal, Result};
use super::request::Request;
use super::texts::RATIO;
use crate::output::number;

const TEMPERATURE: Argument = Argument::number("temperature", Interval::above(0.0)).optional();

/// Rows, given or as products, at a temperature; and some arguments more.
macro_rules! of_rows {
    ($($more:expr),+) => {
        &[LOGITS.optional(), HIDDEN.optional(), CLASSIFIER.optional(), BIAS, TEMPERATURE, $($more),+]
    };
}

pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "row_statistics",
        arguments: of_rows!(TARGETS.optional()),
        gradient: &[],
        answer: row_statistics,
    },
    Function {
        name: "renyi_entropy",
        arguments: of_rows!(Argument::number("alpha", Interval::at_least(0.0).or_infinity())),
        gradient: &[],
        answer: renyi_entropy,
    },
    Function {
        name: "token_z_score",
        arguments: of_rows!(TARGETS),
        gradient: &[],
        answer: |request| {
            let scores = z_scores(request)?;
            Ok(Answer::new(vector(scores.view())))
        },
    },
    Function {
        name: "min_k_plus_plus",
        arguments: of_rows!(TARGETS, RATIO),
        gradient: &[],
        answer: |request| {
            let least = MinK::new(request.number("ratio")?)?;
            Ok(Answer::new(number(least.score(&z_scores(request)?)?)))
        },
    },
    Function {
        name: "top_k_mass",
        arguments: of_rows!(Argument::new("k", Kind::Whole("from 1 to K"))),
        gradient: &[],
        answer: top_k_mass,
    },
];

/// The likeliest classes of all rows that an answer is made of: a machine has so much memory.
const MOST: usize = 1 << 26;

/// Rows of logits, given or as a product.
enum Rows {
    Given(Array2<f64>),
    Products(Head),
}

impl Rows {
    fn read(request: &Request) -> Result<Self> {
        if !request.has("logits") {
            return Ok(Rows::Products(Head::read(request)?));
        }
        match ["hidden", "classifier", "bias"].iter().find(|name| request.has(name)) {
            Some(name) => Err(Refusal::new(format!(
                "{name} stands beside logits, expected logits alone, or hidden and classifier"
            ))),
            None => Ok(Rows::Given(logits(request, "logits")?)),
        }
    }

    /// N and K.
    fn dim(&self) -> (usize, usize) {
        match self {
            Rows::Given(logits) => logits.dim(),
            Rows::Products(head) => (head.hidden.dim().0, head.classifier.dim().0),
        }
    }

    /// Targets for what is no matter of them.
    fn any_targets(&self) -> Vec<u32> {
        vec![0; self.dim().0]
    }

    /// With the maximum of each row that is given taken off.
    fn below_maximum(mut self) -> Self {
        if let Rows::Given(logits) = &mut self {
            below_maximum(logits);
        }
        self
    }

    /// The fold of every row, of α times the logits, at the temperature that the request asks for.
    fn fold(
        &self,
        request: &Request,
        alpha: f64,
        targets: &[u32],
        options: LinearCrossEntropyBuilder,
    ) -> Result<Forward> {
        let temperature =
            if request.has("temperature") { request.number("temperature")? } else { 1.0 };
        let scale = alpha / temperature;
        // 0 would make a NaN of −∞, and so would what is no number any more; neither comes of α = 1.
        let scale = if alpha == 1.0 { scale } else { scale.clamp(f64::from_bits(1), f64::MAX) };
        let loss = options.scale(scale).ignore_index(None).build()?;
        let forward = match self {
            Rows::Given(logits) => loss.forward(&Inputs::from_logits(logits, targets))?,
            Rows::Products(head) => loss.forward(&head.inputs(targets))?,
        };
        let largest = forward.states().iter().map(|state| state.maximum);
        match largest.enumerate().find(|(_, largest)| largest.is_infinite()) {
            Some((i, largest)) => Err(Refusal::new(format!(
                "the largest logit of row {i} is {largest} over the temperature, expected a finite one"
            ))),
            None => Ok(forward),
        }
    }
}

fn numbers(numbers: impl IntoIterator<Item = f64>) -> Value {
    numbers.into_iter().map(number).collect()
}

/// The mean of a row's logits under its distribution, less the largest.
fn mean(state: &RowState) -> f64 {
    state.first_moment / (1.0 + state.remainder)
}

/// Σ p², from the row and that of p² / Σ p².
fn collision(state: &RowState, escort: &RowState) -> f64 {
    (-state.renyi_entropy(escort, 2.0)).exp()
}

fn row_statistics(request: &Request) -> Result<Answer> {
    let rows = Rows::read(request)?;
    let (count, classes) = rows.dim();
    let has_targets = request.has("targets");
    let targets = match has_targets {
        true => request.classes("targets", count, classes)?,
        false => rows.any_targets(),
    };
    let options = LinearCrossEntropy::builder().varentropy(true).rank(has_targets).top_k(2);
    let forward = rows.fold(request, 1.0, &targets, options)?;
    let states = forward.states();
    let integers = |integers: Array1<i64>| {
        let of = |(&integer, state): (&i64, &RowState)| match state.maximum.is_nan() {
            true => number(f64::NAN),
            false => integer.into(),
        };
        integers.iter().zip(states).map(of).collect::<Value>()
    };

    // The rows of p² / Σ p².
    let rows = rows.below_maximum();
    let options = LinearCrossEntropy::builder().varentropy(true);
    let escorts = rows.fold(request, 2.0, &rows.any_targets(), options)?;
    let pairs = || states.iter().zip(escorts.states());

    let mut value = Map::new();
    let mut add = |name: &str, statistic: Value| value.insert(name.into(), statistic);
    add("max", numbers(states.iter().map(|state| state.maximum)));
    add("argmax", integers(forward.argmax()));
    add("log_sum_exp", numbers(states.iter().map(RowState::log_sum_exp)));
    add("entropy", numbers(states.iter().map(RowState::entropy)));
    add("varentropy", numbers(states.iter().map(RowState::varentropy)));
    add("perplexity", numbers(states.iter().map(|state| state.entropy().exp())));
    add("min_entropy", numbers(states.iter().map(RowState::min_entropy)));
    add("collision_probability", numbers(pairs().map(|(state, escort)| collision(state, escort))));
    add("margin", vector(forward.margin()?.view()));
    add(
        "sum_p2_log_p_plus_entropy",
        numbers(pairs().map(|(state, escort)| {
            // Σ p² times the mean of ln p under p² / Σ p², less that under p.
            collision(state, escort) * (0.5 * mean(escort) - mean(state))
        })),
    );
    if has_targets {
        let of_target = |value: Option<f64>| value.unwrap_or(f64::NAN);
        add("surprisal", numbers(states.iter().map(|state| of_target(state.surprisal()))));
        add("rank", integers(forward.rank()?));
        add("z_score", numbers(states.iter().map(|state| of_target(state.z_score()))));
    }
    Ok(Answer::new(value))
}

fn renyi_entropy(request: &Request) -> Result<Answer> {
    let alpha = request.number("alpha")?;
    let rows = Rows::read(request)?.below_maximum();
    let targets = rows.any_targets();
    let of = |alpha: f64| {
        rows.fold(request, alpha, &targets, LinearCrossEntropy::builder().varentropy(true))
    };
    // No escort is read beyond 2⁶⁰, and then α times the logits may be beyond all numbers.
    let (forward, escorts) = (of(1.0)?, of(if alpha < 1e30 { alpha } else { 1.0 })?);
    let pairs = forward.states().iter().zip(escorts.states());
    Ok(Answer::new(numbers(pairs.map(|(state, escort)| state.renyi_entropy(escort, alpha)))))
}

/// How far the ln p of each target is from its mean, in standard deviations.
fn z_scores(request: &Request) -> Result<Array1<f64>> {
    let rows = Rows::read(request)?;
    let (count, classes) = rows.dim();
    let targets = request.classes("targets", count, classes)?;
    let options = LinearCrossEntropy::builder().varentropy(true);
    Ok(rows.fold(request, 1.0, &targets, options)?.statistic(Statistic::ZScore)?)
}

/// The probability of the k likeliest classes.
fn top_k_mass(request: &Request) -> Result<Answer> {
    let rows = Rows::read(request)?;
    let (count, classes) = rows.dim();
    let k = request.whole("k", 1, classes)?;
    if count.saturating_mul(k) > MOST {
        return Err(Refusal::new(format!("k of all rows is {count}·{k}, expected up to {MOST}")));
    }
    let targets = rows.any_targets();
    let forward = rows.fold(request, 1.0, &targets, LinearCrossEntropy::builder().top_k(k))?;
    Ok(Answer::new(vector(forward.top_k().mass().view())))
}
