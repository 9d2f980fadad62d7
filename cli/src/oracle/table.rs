//! The table of the functions.

use serde_json::{Map, Value};

use super::answer::Answer;
use super::function::Function;
use super::json::shortened;
use super::nearest::nearest;
use super::refusal::{Refusal, Result};
use super::request::{Call, Request};
use super::{
    activations, contrastive, coverage, distillation, distributions, divergences, embedding_losses,
    fused, listed, robust_losses, row_losses, target_losses, values,
};

/// The function that lists the others.
const LIST: &str = "list";

const FAMILIES: &[&[Function]] = &[
    row_losses::FUNCTIONS,
    target_losses::FUNCTIONS,
    robust_losses::FUNCTIONS,
    divergences::FUNCTIONS,
    coverage::FUNCTIONS,
    activations::FUNCTIONS,
    embedding_losses::FUNCTIONS,
    values::FUNCTIONS,
    fused::FUNCTIONS,
    distributions::FUNCTIONS,
    distillation::FUNCTIONS,
    contrastive::FUNCTIONS,
    listed::FUNCTIONS,
];

fn functions() -> impl Iterator<Item = &'static Function> {
    FAMILIES.iter().flat_map(|family| family.iter())
}

/// The answer to one line.
pub fn answer(line: &[u8]) -> Result<Answer> {
    let call = Call::read(line)?;
    if call.function == LIST {
        Request::new(LIST, &[], false, call)?;
        return Ok(Answer::new(listed()));
    }
    match functions().find(|function| function.name == call.function) {
        Some(function) => function.call(call),
        None => {
            let names = functions().map(|function| function.name).chain([LIST]);
            let near = nearest(&call.function, names).unwrap_or_default();
            Err(Refusal::new(format!(
                "function is \"{}\", expected one that \"{LIST}\" lists; the nearest is \"{near}\"",
                shortened(&call.function)
            )))
        }
    }
}

fn listed() -> Value {
    let entries = functions().map(|function| (function.name.to_string(), function.listed()));
    Value::Object(entries.collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_stands_twice_and_gradients_are_of_arguments() {
        let mut names: Vec<_> = functions().map(|function| function.name).collect();
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
