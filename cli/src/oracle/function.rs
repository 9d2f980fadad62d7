//! A function of the oracle.

use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::argument::Argument;
use super::refusal::Result;
use super::request::{Call, Request};

pub struct Function {
    pub name: &'static str,
    pub arguments: &'static [Argument],
    /// The arguments that it has a gradient by.
    pub gradient: &'static [&'static str],
    pub answer: fn(&Request) -> Result<Answer>,
}

impl Function {
    pub fn call(&self, call: Call) -> Result<Answer> {
        let differentiable = !self.gradient.is_empty();
        (self.answer)(&Request::new(self.name, self.arguments, differentiable, call)?)
    }

    /// The function as `list` has it.
    pub fn listed(&self) -> Value {
        let arguments = self.arguments.iter().map(|one| (one.name.to_string(), one.listed()));
        json!({ "arguments": arguments.collect::<Map<_, _>>(), "gradient": self.gradient })
    }
}
