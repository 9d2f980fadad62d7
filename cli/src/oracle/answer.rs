//! An answer, as JSON.

use ndarray::{ArrayView1, ArrayView2};
use serde_json::{Map, Value};

use crate::output::number;

/// The value of a function, and its gradient by each argument that has one.
pub struct Answer {
    value: Value,
    gradient: Vec<(&'static str, Value)>,
}

impl Answer {
    pub fn new(value: impl Into<Value>) -> Self {
        Self { value: value.into(), gradient: Vec::new() }
    }

    pub fn with_gradient(mut self, argument: &'static str, gradient: Value) -> Self {
        self.gradient.push((argument, gradient));
        self
    }

    /// The response to the request.
    pub fn response(self) -> Value {
        let mut response = Map::new();
        response.insert("value".into(), self.value);
        if !self.gradient.is_empty() {
            let gradient = self.gradient.into_iter().map(|(name, value)| (name.into(), value));
            response.insert("gradient".into(), Value::Object(gradient.collect()));
        }
        Value::Object(response)
    }
}

/// An array of numbers.
pub fn vector(numbers: ArrayView1<'_, f64>) -> Value {
    numbers.iter().map(|&x| number(x)).collect()
}

/// An array of the rows.
pub fn matrix(numbers: ArrayView2<'_, f64>) -> Value {
    numbers.rows().into_iter().map(vector).collect()
}
