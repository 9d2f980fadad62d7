//! The table of the functions.

use serde_json::{Map, Value};

use super::answer::Answer;
use super::function::Function;
use super::json::shortened;
use super::named::Named;
use super::nearest::nearest;
use super::refusal::{Refusal, Result};
use super::request::{Call, Request};
use super::{
    activations, alignment, attention, binary, contrastive, couplings, coverage, decoding,
    distillation, distributions, divergences, embedding_losses, fused, laws, listed, policies,
    policy_entropy, preferences, ranked, rates, reversible, robust_losses, row_losses,
    target_losses, texts, truncated, values,
};

/// The function that lists the others.
const LIST: &str = "list";

const FAMILIES: &[&[Function]] = &[
    row_losses::FUNCTIONS,
    robust_losses::FUNCTIONS,
    divergences::FUNCTIONS,
    coverage::FUNCTIONS,
    activations::FUNCTIONS,
    values::FUNCTIONS,
    fused::FUNCTIONS,
    distributions::FUNCTIONS,
    distillation::FUNCTIONS,
    contrastive::FUNCTIONS,
    binary::FUNCTIONS,
    reversible::FUNCTIONS,
    listed::FUNCTIONS,
    ranked::FUNCTIONS,
    truncated::FUNCTIONS,
    preferences::FUNCTIONS,
    policies::FUNCTIONS,
    policy_entropy::FUNCTIONS,
    decoding::FUNCTIONS,
    attention::FUNCTIONS,
    texts::FUNCTIONS,
    alignment::FUNCTIONS,
    laws::FUNCTIONS,
    couplings::FUNCTIONS,
    rates::FUNCTIONS,
];

const LOSSES: &[&[Named]] =
    &[row_losses::LOSSES, target_losses::LOSSES, robust_losses::LOSSES, embedding_losses::LOSSES];

/// The losses of rows that their name and a few numbers make.
pub fn losses() -> impl Iterator<Item = &'static Named> {
    LOSSES.iter().flat_map(|family| family.iter())
}

fn functions() -> impl Iterator<Item = &'static Function> {
    FAMILIES.iter().flat_map(|family| family.iter())
}

fn names() -> impl Iterator<Item = &'static str> {
    functions().map(|function| function.name).chain(losses().map(|loss| loss.name))
}

/// The function of this name.
pub fn function(name: &str) -> Option<&'static Function> {
    functions().find(|function| function.name == name)
}

/// The answer to one line.
pub fn answer(line: &[u8]) -> Result<Answer> {
    let call = Call::read(line)?;
    if call.function == LIST {
        Request::new(LIST, &[], false, call)?;
        return Ok(Answer::new(listed()));
    }
    if let Some(loss) = losses().find(|loss| loss.name == call.function) {
        return loss.call(call);
    }
    match function(&call.function) {
        Some(function) => function.call(call),
        None => {
            let near = nearest(&call.function, names().chain([LIST])).unwrap_or_default();
            Err(Refusal::new(format!(
                "function is \"{}\", expected one that \"{LIST}\" lists; the nearest is \"{near}\"",
                shortened(&call.function)
            )))
        }
    }
}

fn listed() -> Value {
    let functions = functions().map(|function| (function.name.to_string(), function.listed()));
    let losses = losses().map(|loss| (loss.name.to_string(), loss.listed()));
    Value::Object(losses.chain(functions).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_stands_twice_and_gradients_are_of_arguments() {
        let mut names: Vec<_> = names().collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        for function in functions() {
            let known = |name| function.arguments.iter().any(|argument| argument.name == name);
            assert!(function.gradient.iter().all(|&name| known(name)), "{}", function.name);
        }
    }
}
