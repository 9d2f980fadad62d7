//! What is read from the tables: sizes and losses, with the numbers that the command line names.

use ndarray::Array1;
use std::ops::Range;

use super::arguments::{Fit, LawName, ResidualsName};
use super::table::Table;
use crate::Failure;

/// The columns of all tables, one below the other.
pub struct Data {
    /// What the columns of sizes and the losses are called in the first table.
    pub names: Vec<String>,
    pub loss_name: String,
    pub sizes: Vec<Array1<f64>>,
    pub losses: Array1<f64>,
    /// The rows of each table.
    pub tables: Vec<Range<usize>>,
}

impl Data {
    /// With so many columns of sizes.
    pub fn read(arguments: &Fit, count: usize) -> Result<Self, Failure> {
        if !arguments.x.is_empty() && arguments.x.len() != count {
            let (law, found) = (arguments.law.name(), arguments.x.len());
            let columns = if count == 1 { "column" } else { "columns" };
            return Err(Failure::Input(format!(
                "--x names {found} columns, expected {count} {columns} for the law {law}"
            )));
        }
        let (mut sizes, mut losses) = (vec![Vec::new(); count], Vec::new());
        let (mut names, mut loss_name, mut tables) = (Vec::new(), String::new(), Vec::new());
        for path in &arguments.files {
            let table = Table::read(path)?;
            let loss = match &arguments.loss {
                Some(name) => Some(table.column("--loss", name)?),
                None => table.named("loss"),
            };
            let columns: Vec<usize> = if arguments.x.is_empty() {
                (0..).filter(|&column| Some(column) != loss).take(count).collect()
            } else {
                let all = arguments.x.iter().map(|name| table.column("--x", name));
                all.collect::<Result<_, _>>()?
            };
            let next = columns.iter().max().map_or(0, |&last| last + 1);
            let loss = loss.unwrap_or(next);
            if let Some(&beyond) = columns.iter().chain([&loss]).find(|&&at| at >= table.columns())
            {
                let (path, found) = (path.display(), table.columns());
                return Err(Failure::Input(format!(
                    "{path} has {found} columns, expected at least {} for the law {}, between commas, semicolons \
                     or tabs",
                    beyond + 1,
                    arguments.law.name()
                )));
            }
            if columns.contains(&loss) {
                return Err(Failure::Input(format!(
                    "the losses are in {}, which is a column of --x too, expected another --loss",
                    table.name(loss)
                )));
            }
            for (sizes, &column) in sizes.iter_mut().zip(&columns) {
                let numbers = match arguments.law {
                    // The first step is 0.
                    LawName::Annealing => {
                        table.steps(column)?.into_iter().map(|step| step as f64).collect()
                    }
                    _ => table.positive(column)?,
                };
                sizes.extend(numbers);
            }
            let start = losses.len();
            losses.extend(match arguments.residuals {
                ResidualsName::Logarithms => table.positive(loss)?,
                ResidualsName::Differences => table.numbers(loss)?,
            });
            tables.push(start..losses.len());
            if names.is_empty() {
                names = columns.iter().map(|&column| table.name(column)).collect();
                loss_name = table.name(loss);
            }
        }
        let sizes = sizes.into_iter().map(Array1::from).collect();
        Ok(Self { names, loss_name, sizes, losses: losses.into(), tables })
    }

    /// The first table's name, and how many there are.
    pub fn title(&self, arguments: &Fit) -> String {
        let first =
            arguments.files[0].file_name().unwrap_or_default().to_string_lossy().to_string();
        match arguments.files.len() {
            1 => first,
            count => format!("{first} and {} more", count - 1),
        }
    }
}

/// The numbers of `--predict`.
pub fn numbers(arguments: &Fit) -> Result<Vec<f64>, Failure> {
    let number = |text: &String| {
        let good = text.trim().parse().ok().filter(|x: &f64| x.is_finite() && *x > 0.0);
        good.ok_or_else(|| wrong(text, "a finite number above 0"))
    };
    arguments.predict.iter().map(number).collect()
}

/// The pairs of `--predict`.
pub fn pairs(arguments: &Fit) -> Result<Vec<(f64, f64)>, Failure> {
    let pair = |text: &String| {
        let number =
            |part: &str| part.trim().parse().ok().filter(|x: &f64| x.is_finite() && *x > 0.0);
        let pair = text.split_once(':').and_then(|(a, b)| Some((number(a)?, number(b)?)));
        pair.ok_or_else(|| wrong(text, "two finite numbers above 0, A:B"))
    };
    arguments.predict.iter().map(pair).collect()
}

/// The steps of `--predict`.
pub fn steps(arguments: &Fit) -> Result<Vec<usize>, Failure> {
    let step = |text: &String| {
        text.trim().parse().map_err(|_| wrong(text, "a step, a whole number from 0"))
    };
    arguments.predict.iter().map(step).collect()
}

fn wrong(text: &str, expected: &str) -> Failure {
    Failure::Input(format!("--predict has \"{text}\", expected {expected}"))
}
