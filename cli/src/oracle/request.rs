//! A request, from the line to the arguments of a function.

use ndarray::{Array1, Array2};
use std::collections::BTreeMap;

use super::argument::{Argument, Kind, Otherwise};
use super::json::{Json, shortened};
use super::nearest::nearest;
use super::refusal::{Refusal, Result};

/// A line of which only the name of the function is known.
pub struct Call {
    pub function: String,
    values: BTreeMap<String, Json>,
}

impl Call {
    /// From a line of JSON.
    pub fn read(line: &[u8]) -> Result<Self> {
        // Without its end, behind which an error would count a second line.
        let json = serde_json::from_slice(line.trim_ascii_end()).map_err(|error| {
            Refusal::new(format!(
                "cannot read the line: {error}; expected one JSON object on one line"
            ))
        });
        let mut values = match json? {
            Json::Object(values) => values,
            other => {
                let found = other.described();
                return Err(Refusal::new(format!("the line is {found}, expected one JSON object")));
            }
        };
        match values.remove("function") {
            Some(Json::Text(function)) => Ok(Self { function, values }),
            found => {
                let found = found.map_or("missing".into(), |found| found.described());
                let message = format!("function is {found}, expected a name; \"list\" lists them");
                Err(Refusal::new(message))
            }
        }
    }
}

/// The arguments of one function, as its table has them.
pub struct Request {
    arguments: Vec<Argument>,
    values: BTreeMap<String, Json>,
    gradient: bool,
}

impl Request {
    /// A call whose arguments are known to the function `name`, and all there that must be.
    pub fn new(
        name: &str,
        arguments: &[Argument],
        differentiable: bool,
        call: Call,
    ) -> Result<Self> {
        let mut values = call.values;
        let gradient = match values.remove("gradient") {
            None => false,
            Some(Json::Flag(gradient)) => gradient,
            Some(other) => {
                let found = other.described();
                return Err(Refusal::new(format!("gradient is {found}, expected true or false")));
            }
        };
        if gradient && !differentiable {
            let message = format!("{name} has no gradient, expected gradient false or none");
            return Err(Refusal::new(message));
        }
        let names = || arguments.iter().map(|argument| argument.name).chain(["gradient"]);
        if let Some(unknown) = values.keys().find(|key| names().all(|name| name != *key)) {
            let near = nearest(unknown, names()).unwrap_or_default();
            return Err(Refusal::new(format!(
                "{name} has no argument \"{}\", expected {}; the nearest is \"{near}\"",
                shortened(unknown),
                names().collect::<Vec<_>>().join(", "),
            )));
        }
        Ok(Self { gradient, ..Self::of(arguments, values)? })
    }

    /// Of arguments that are known, without a gradient; all must be there that have to.
    pub fn of(arguments: &[Argument], values: BTreeMap<String, Json>) -> Result<Self> {
        let must = |argument: &&Argument| matches!(argument.otherwise, Otherwise::Required);
        for argument in arguments.iter().filter(must) {
            if !values.contains_key(argument.name) {
                return Err(wrong(argument, "missing"));
            }
        }
        Ok(Self { arguments: arguments.to_vec(), values, gradient: false })
    }

    /// The options of a function, whose arrays and labels come from elsewhere.
    pub fn of_options(
        name: &str,
        arguments: &'static [Argument],
        values: BTreeMap<String, Json>,
    ) -> Result<Self> {
        let option = |argument: &&Argument| {
            matches!(argument.kind, Kind::Number(_) | Kind::Word(_) | Kind::Flag)
        };
        let names = || arguments.iter().filter(option).map(|argument| argument.name);
        if let Some(unknown) = values.keys().find(|key| names().all(|name| name != *key)) {
            return Err(Refusal::new(format!(
                "{name} has no option \"{}\", expected one of {}; the nearest is \"{}\"",
                shortened(unknown),
                names().collect::<Vec<_>>().join(", "),
                nearest(unknown, names()).unwrap_or_default(),
            )));
        }
        Ok(Self { arguments: arguments.to_vec(), values, gradient: false })
    }

    /// Whether the gradient is asked for.
    pub fn wants_gradient(&self) -> bool {
        self.gradient
    }

    /// Whether an argument is there.
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Whether the function takes an argument of this name.
    pub fn takes(&self, name: &str) -> bool {
        self.arguments.iter().any(|argument| argument.name == name)
    }

    fn argument(&self, name: &str) -> Result<&Argument> {
        let argument = self.arguments.iter().find(|argument| argument.name == name);
        argument.ok_or_else(|| Refusal::new(format!("the function does not take {name}")))
    }

    /// An argument with what stands there.
    fn value(&self, name: &str) -> Result<(&Argument, &Json)> {
        let argument = self.argument(name)?;
        match self.values.get(name) {
            Some(value) => Ok((argument, value)),
            None => Err(wrong(argument, "missing")),
        }
    }

    /// A number in its range, or its default.
    pub fn number(&self, name: &str) -> Result<f64> {
        let argument = self.argument(name)?;
        let Some(value) = self.values.get(name) else {
            return match argument.otherwise {
                Otherwise::Number(number) => Ok(number),
                _ => Err(wrong(argument, "missing")),
            };
        };
        let number = match value {
            Json::Number(number) => *number,
            Json::Text(text) if text == "inf" => f64::INFINITY,
            _ => f64::NAN,
        };
        match argument.kind {
            Kind::Number(interval) if interval.has(number) => Ok(number),
            _ => Err(wrong(argument, &value.described())),
        }
    }

    /// One of the argument's words, or its default.
    pub fn word(&self, name: &str) -> Result<&'static str> {
        let argument = self.argument(name)?;
        let Some(value) = self.values.get(name) else {
            return match argument.otherwise {
                Otherwise::Word(word) => Ok(word),
                _ => Err(wrong(argument, "missing")),
            };
        };
        let known = match (value, argument.kind) {
            (Json::Text(text), Kind::Word(words)) => words.iter().find(|word| **word == *text),
            _ => None,
        };
        known.copied().ok_or_else(|| wrong(argument, &value.described()))
    }

    /// One of some words, of an argument that may be something else too.
    pub fn word_of(&self, name: &str, words: &[&'static str]) -> Result<Option<&'static str>> {
        let argument = self.argument(name)?;
        let Some(value) = self.values.get(name) else { return Ok(None) };
        let known = match value {
            Json::Text(text) => words.iter().find(|word| **word == *text),
            _ => None,
        };
        known.map(|word| Some(*word)).ok_or_else(|| wrong(argument, &value.described()))
    }

    /// True or false, or its default.
    pub fn flag(&self, name: &str) -> Result<bool> {
        let argument = self.argument(name)?;
        match (self.values.get(name), argument.otherwise) {
            (Some(Json::Flag(flag)), _) => Ok(*flag),
            (Some(other), _) => Err(wrong(argument, &other.described())),
            (None, Otherwise::Flag(flag)) => Ok(flag),
            (None, _) => Err(wrong(argument, "missing")),
        }
    }

    /// A whole number from `least` to `most`, or its default.
    pub fn whole(&self, name: &str, least: usize, most: usize) -> Result<usize> {
        if let (false, Otherwise::Number(number)) = (self.has(name), self.argument(name)?.otherwise)
        {
            return Ok(number as usize);
        }
        let (argument, value) = self.value(name)?;
        whole(value, least, most)
            .ok_or_else(|| wrong(argument, &format!("{} of {least} to {most}", value.described())))
    }

    /// An array of numbers, one at least.
    pub fn vector(&self, name: &str) -> Result<Array1<f64>> {
        let (argument, value) = self.value(name)?;
        let list = list(argument, value, "")?;
        let numbers = list.iter().enumerate().map(|(i, value)| number(argument, value, &[i]));
        numbers.collect()
    }

    /// Arrays of numbers in an array, one at least, each of its own length.
    pub fn vectors(&self, name: &str) -> Result<Vec<Vec<f64>>> {
        let (argument, value) = self.value(name)?;
        let numbers = |(i, inner): (usize, &Json)| {
            let inner = list(argument, inner, &format!("[{i}]"))?.iter().enumerate();
            inner.map(|(j, value)| number(argument, value, &[i, j])).collect()
        };
        list(argument, value, "")?.iter().enumerate().map(numbers).collect()
    }

    /// `count` times true or false.
    pub fn flags(&self, name: &str, count: usize) -> Result<Vec<bool>> {
        let (argument, value) = self.value(name)?;
        let list = list(argument, value, "")?;
        expect_length(name, list.len(), count)?;
        let flag = |(i, value): (usize, &Json)| match value {
            Json::Flag(flag) => Ok(*flag),
            other => {
                let found = other.described();
                Err(Refusal::new(format!("{name}[{i}] is {found}, expected true or false")))
            }
        };
        list.iter().enumerate().map(flag).collect()
    }

    /// Whether an argument is an array of arrays.
    pub fn is_nested(&self, name: &str) -> bool {
        let list = self.values.get(name).and_then(|value| match value {
            Json::List(list) => list.first(),
            _ => None,
        });
        matches!(list, Some(Json::List(_)))
    }

    /// A number for each of so many, or one for all.
    pub fn number_or_vector(&self, name: &str, count: usize) -> Result<Array1<f64>> {
        let (argument, value) = self.value(name)?;
        match value {
            Json::List(_) => {
                let numbers = self.vector(name)?;
                expect_length(name, numbers.len(), count)?;
                Ok(numbers)
            }
            value => Ok(Array1::from_elem(count, number(argument, value, &[])?)),
        }
    }

    /// An array of arrays of numbers, of one length, one number at least.
    pub fn matrix(&self, name: &str) -> Result<Array2<f64>> {
        let (argument, value) = self.value(name)?;
        let rows = list(argument, value, "")?;
        let mut columns = 0;
        let mut numbers = Vec::new();
        for (i, row) in rows.iter().enumerate() {
            let row = list(argument, row, &format!("[{i}]"))?;
            if i == 0 {
                columns = row.len();
            } else if row.len() != columns {
                return Err(Refusal::new(format!(
                    "{name}[{i}] has {} entries, expected {columns} as {name}[0] has",
                    row.len()
                )));
            }
            for (j, value) in row.iter().enumerate() {
                numbers.push(number(argument, value, &[i, j])?);
            }
        }
        Array2::from_shape_vec((rows.len(), columns), numbers)
            .map_err(|error| Refusal::new(format!("{name}: {error}")))
    }

    /// The numbers of arrays in arrays, all in order, of which the shape must be this one.
    pub fn array(&self, name: &str, shape: &[usize]) -> Result<Vec<f64>> {
        let (argument, value) = self.value(name)?;
        let mut numbers = Vec::new();
        let mut todo = vec![(value, 0, name.to_string())];
        while let Some((value, depth, at)) = todo.pop() {
            let Some(&length) = shape.get(depth) else {
                numbers.push(number(argument, value, &[])?);
                continue;
            };
            match value {
                Json::List(list) => {
                    expect_length(&at, list.len(), length)?;
                    let below = list.iter().enumerate().rev();
                    todo.extend(below.map(|(i, value)| (value, depth + 1, format!("{at}[{i}]"))));
                }
                other => {
                    let found = other.described();
                    let expected = argument.expected();
                    return Err(Refusal::new(format!("{at} is {found}, expected {expected}")));
                }
            }
        }
        Ok(numbers)
    }

    /// The shape of arrays in arrays, of so many axes and of one number at least, and their numbers.
    pub fn nested(&self, name: &str, axes: usize) -> Result<(Vec<usize>, Vec<f64>)> {
        let (argument, mut value) = self.value(name)?;
        let mut shape = Vec::new();
        for _ in 0..axes {
            let list = list(argument, value, &"[0]".repeat(shape.len()))?;
            shape.push(list.len());
            value = list.first().expect("a list of at least one entry");
        }
        let numbers = self.array(name, &shape)?;
        Ok((shape, numbers))
    }

    /// Whether an argument is an array.
    pub fn is_list(&self, name: &str) -> bool {
        matches!(self.values.get(name), Some(Json::List(_)))
    }

    /// Arrays of whole numbers below `classes`, `count` of them and of one length.
    pub fn class_lists(&self, name: &str, count: usize, classes: usize) -> Result<Array2<u32>> {
        let numbers = self.matrix(name)?;
        expect_length(name, numbers.dim().0, count)?;
        let bad = |x: f64| x.fract() != 0.0 || !(0.0..classes as f64).contains(&x);
        if let Some(((i, j), x)) = numbers.indexed_iter().find(|(_, x)| bad(**x)) {
            return Err(Refusal::new(format!(
                "{name}[{i}][{j}] is {x}, expected a whole number from 0 to {}",
                classes - 1
            )));
        }
        Ok(numbers.mapv(|x| x as u32))
    }

    /// `count` whole numbers below `classes`.
    pub fn classes(&self, name: &str, count: usize, classes: usize) -> Result<Vec<u32>> {
        let (argument, value) = self.value(name)?;
        let list = list(argument, value, "")?;
        expect_length(name, list.len(), count)?;
        let class = |(i, value): (usize, &Json)| {
            let class = whole(value, 0, classes - 1).and_then(|class| u32::try_from(class).ok());
            class.ok_or_else(|| {
                let found = value.described();
                Refusal::new(format!(
                    "{name}[{i}] is {found}, expected a whole number from 0 to {}",
                    classes - 1
                ))
            })
        };
        list.iter().enumerate().map(class).collect()
    }
}

/// That an array has as many entries as what it belongs to.
pub fn expect_length(name: &str, found: usize, expected: usize) -> Result<()> {
    match found == expected {
        true => Ok(()),
        false => Err(Refusal::new(format!("{name} has {found} entries, expected {expected}"))),
    }
}

fn wrong(argument: &Argument, found: &str) -> Refusal {
    Refusal::new(format!("{} is {found}, expected {}", argument.name, argument.expected()))
}

/// The entries of an array that has some.
fn list<'a>(argument: &Argument, value: &'a Json, at: &str) -> Result<&'a [Json]> {
    match value {
        Json::List(list) if list.is_empty() => Err(Refusal::new(format!(
            "{}{at} is empty, expected {} with at least one entry",
            argument.name,
            argument.expected()
        ))),
        Json::List(list) => Ok(list),
        other => Err(Refusal::new(format!(
            "{}{at} is {}, expected an array: {}",
            argument.name,
            other.described(),
            argument.expected()
        ))),
    }
}

fn number(argument: &Argument, value: &Json, at: &[usize]) -> Result<f64> {
    match value {
        Json::Number(number) => Ok(*number),
        Json::Text(text) if text == "nan" => Ok(f64::NAN),
        Json::Text(text) if text == "inf" => Ok(f64::INFINITY),
        Json::Text(text) if text == "-inf" => Ok(f64::NEG_INFINITY),
        other => {
            let at: String = at.iter().map(|index| format!("[{index}]")).collect();
            Err(Refusal::new(format!(
                "{}{at} is {}, expected a number, \"nan\", \"inf\" or \"-inf\"",
                argument.name,
                other.described()
            )))
        }
    }
}

/// A whole number, also where it is written `3.0`.
fn whole(value: &Json, least: usize, most: usize) -> Option<usize> {
    match value {
        Json::Number(number) if number.fract() == 0.0 => {
            let inside = *number >= least as f64 && *number <= most as f64;
            inside.then_some(*number as usize)
        }
        _ => None,
    }
}
