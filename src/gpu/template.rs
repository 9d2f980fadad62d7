//! The templates in `shaders/`: conditions, unrolled loops and numbers, on lines of their own.
//!
//! ```text
//! //#include NAME            the text of shaders/NAME.wgsl
//! //#if A B … //#else … //#end   lines for when all of these flags are set
//! //#for i N … //#end        lines for each i below the number N
//! //#matrix NAME BINDING     shaders/matrix.wgsl for the matrix of this name
//! $2*i+j$                    sums and products of numbers and loop variables
//! ```

use std::collections::{HashMap, HashSet};

/// What a template is filled with.
#[derive(Clone, Default)]
pub(super) struct Values {
    pub(super) flags: HashSet<&'static str>,
    pub(super) numbers: HashMap<String, u32>,
    /// Flags of the matrices named in a template.
    pub(super) matrices: HashMap<&'static str, Vec<&'static str>>,
}

macro_rules! sources {
    ($($name:literal),* $(,)?) => {
        fn source(name: &str) -> &'static str {
            match name {
                $($name => include_str!(concat!("../../shaders/", $name, ".wgsl")),)*
                _ => panic!("no shader is called {name}"),
            }
        }
    };
}

sources!(
    "bias_gradient",
    "derivatives",
    "divergences",
    "dropped",
    "fold",
    "forward",
    "gaussian_products",
    "gram",
    "logits",
    "logits_tile",
    "matrix",
    "multiply",
    "numbers",
    "pair",
    "params",
    "patch",
    "product",
    "target_logits",
    "tile",
);

/// The WGSL of a template. Templates are part of the crate: one that is wrong panics, in every test.
pub(super) fn render(name: &str, values: &Values) -> String {
    let mut to = String::new();
    let lines: Vec<&str> = source(name).lines().collect();
    expand(&lines, &mut values.clone(), None, &mut to);
    to
}

fn expand(lines: &[&str], values: &mut Values, matrix: Option<(&str, &str)>, to: &mut String) {
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        at += 1;
        let Some(directive) = line.trim_start().strip_prefix("//#") else {
            to.push_str(&substitute(line, values, matrix));
            to.push('\n');
            continue;
        };
        let words: Vec<&str> = directive.split_whitespace().collect();
        match words[..] {
            ["include", name] => {
                let lines: Vec<&str> = source(name).lines().collect();
                expand(&lines, values, matrix, to);
            }
            ["matrix", name, binding] => {
                let mut values = values.clone();
                values.flags.extend(&values.matrices[name]);
                let lines: Vec<&str> = source("matrix").lines().collect();
                expand(&lines, &mut values, Some((name, binding)), to);
            }
            ["if", ref flags @ ..] => {
                let (otherwise, end) = block(lines, at);
                let first = at..otherwise.unwrap_or(end);
                if flags.iter().all(|flag| values.flags.contains(flag)) {
                    expand(&lines[first], values, matrix, to);
                } else if let Some(otherwise) = otherwise {
                    expand(&lines[otherwise + 1..end], values, matrix, to);
                }
                at = end + 1;
            }
            ["for", variable, count] => {
                let (_, end) = block(lines, at);
                for i in 0..values.numbers[count] {
                    values.numbers.insert(variable.to_string(), i);
                    expand(&lines[at..end], values, matrix, to);
                }
                values.numbers.remove(variable);
                at = end + 1;
            }
            _ => panic!("a directive that is not known: {line}"),
        }
    }
}

/// Where the block that begins here has its `else` and its `end`.
fn block(lines: &[&str], from: usize) -> (Option<usize>, usize) {
    let (mut depth, mut otherwise) = (0, None);
    for (i, line) in lines.iter().enumerate().skip(from) {
        let line = line.trim_start();
        if line.starts_with("//#if") || line.starts_with("//#for") {
            depth += 1;
        } else if line.starts_with("//#else") && depth == 0 {
            otherwise = Some(i);
        } else if line.starts_with("//#end") {
            if depth == 0 {
                return (otherwise, i);
            }
            depth -= 1;
        }
    }
    panic!("a block without an end: {}", lines[from - 1]);
}

fn substitute(line: &str, values: &Values, matrix: Option<(&str, &str)>) -> String {
    let mut to = String::with_capacity(line.len());
    for (i, part) in line.split('$').enumerate() {
        match (i % 2, part, matrix) {
            (0, _, _) => to.push_str(part),
            (_, "NAME", Some((name, _))) => to.push_str(name),
            (_, "BINDING", Some((_, binding))) => to.push_str(binding),
            _ => to.push_str(&sum(part, values).to_string()),
        }
    }
    to
}

fn sum(expression: &str, values: &Values) -> u32 {
    expression
        .split('+')
        .map(|term| term.split('*').map(|x| quotient(x, values)).product::<u32>())
        .sum()
}

fn quotient(expression: &str, values: &Values) -> u32 {
    let number = |name: &str| match name.parse() {
        Ok(number) => number,
        Err(_) => values.numbers[name],
    };
    match expression.split_once('/') {
        Some((a, b)) => number(a) / number(b),
        None => number(expression),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_nest_and_numbers_are_computed() {
        let lines = [
            "//#for i TWO",
            "//#if ON",
            "//#for j TWO",
            "a$i$_$2*i+j$ $i/2$",
            "//#end",
            "//#else",
            "off",
            "//#end",
            "//#end",
        ];
        let mut values = Values::default();
        values.numbers.insert("TWO".into(), 2);
        let mut to = String::new();
        expand(&lines, &mut values, None, &mut to);
        assert_eq!(to, "off\noff\n");
        values.flags.insert("ON");
        to.clear();
        expand(&lines, &mut values, None, &mut to);
        assert_eq!(to, "a0_0 0\na0_1 0\na1_2 0\na1_3 0\n");
    }
}
