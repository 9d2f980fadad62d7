//! What the subcommands print and write.

use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

use crate::Failure;

/// A number as JSON, which has no NaN and no infinity: those are strings.
pub fn number(value: f64) -> Value {
    if value.is_nan() {
        return "nan".into();
    }
    match serde_json::Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value > 0.0 => "inf".into(),
        None => "-inf".into(),
    }
}

/// A number that may be missing.
pub fn optional(value: Option<f64>) -> Value {
    value.map_or(Value::Null, number)
}

/// Prints the result: one JSON object, or a line for each key.
pub fn print(json: bool, result: &Map<String, Value>) {
    if json {
        println!("{}", Value::Object(result.clone()));
        return;
    }
    let width = result.keys().map(String::len).max().unwrap_or(0);
    for (key, value) in result {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Null => "-".into(),
            value => value.to_string(),
        };
        println!("{key:width$}  {text}");
    }
}

/// Makes a directory for results.
pub fn make_directory(path: &Path) -> Result<PathBuf, Failure> {
    std::fs::create_dir_all(path)
        .map_err(|error| Failure::Other(format!("cannot create {}: {error}", path.display())))?;
    Ok(path.to_path_buf())
}
