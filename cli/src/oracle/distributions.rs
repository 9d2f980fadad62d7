//! What is said of the distribution of each row.

use ndarray::{Array1, Array2};
use surprisal::{Forward, Inputs, LinearCrossEntropy, LinearCrossEntropyBuilder};

use super::answer::{Answer, vector};
use super::argument::{Argument, Interval, Kind};
use super::function::Function;
use super::fused::{BIAS, CLASSIFIER, HIDDEN, Head};
use super::logits::{LOGITS, logits};
use super::refusal::{Refusal, Result};
use super::request::Request;

pub const FUNCTIONS: &[Function] = &[Function {
    name: "top_k_mass",
    arguments: &[
        LOGITS.optional(),
        HIDDEN.optional(),
        CLASSIFIER.optional(),
        BIAS,
        Argument::number("temperature", Interval::above(0.0)).optional(),
        Argument::new("k", Kind::Whole("from 1 to K")),
    ],
    gradient: &[],
    answer: top_k_mass,
}];

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

    /// The fold of every row with these options, at the temperature that the request asks for.
    fn forward(&self, request: &Request, options: LinearCrossEntropyBuilder) -> Result<Forward> {
        // What is asked here is no matter of the targets.
        let targets = vec![0_u32; self.dim().0];
        let options = match request.has("temperature") {
            true => options.scale(1.0 / request.number("temperature")?),
            false => options,
        };
        let loss = options.ignore_index(None).build()?;
        Ok(match self {
            Rows::Given(logits) => loss.forward(&Inputs::from_logits(logits, &targets))?,
            Rows::Products(head) => loss.forward(&head.inputs(&targets))?,
        })
    }
}

/// The probability of the k likeliest classes.
fn top_k_mass(request: &Request) -> Result<Answer> {
    let rows = Rows::read(request)?;
    let (count, classes) = rows.dim();
    let k = request.whole("k", 1, classes)?;
    if count.saturating_mul(k) > MOST {
        return Err(Refusal::new(format!("k of all rows is {count}·{k}, expected up to {MOST}")));
    }
    let forward = rows.forward(request, LinearCrossEntropy::builder().top_k(k))?;
    let top = forward.top_k().log_probabilities;
    let masses: Array1<f64> = top.rows().into_iter().map(|row| row.mapv(f64::exp).sum()).collect();
    Ok(Answer::new(vector(masses.view())))
}
