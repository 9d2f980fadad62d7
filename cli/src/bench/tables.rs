//! The tables of recorded runs, in Markdown.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use super::record::SCHEMA;
use crate::Failure;
use crate::output::print_text;
use crate::report::{bytes, duration, percent, significant};

const HEADING: &str = "\
| N × D × V | type | pass | instructions | threads | median | least to most | GFLOP/s | of the peak | \
GB/s | of the bandwidth | bound by | of the roof | run |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
";

/// Prints the tables of the files in the folder.
pub fn print(folder: &Path, json: bool) -> Result<(), Failure> {
    let runs = read(folder)?;
    let tables = tables(&runs)?;
    match json {
        true => print_text(&format!("{}\n", json!({ "runs": runs.len(), "tables": tables }))),
        false => print_text(&tables),
    }
}

/// A file of a run.
struct Run {
    file: String,
    value: Value,
}

/// The runs of a folder, by the names of their files.
fn read(folder: &Path) -> Result<Vec<Run>, Failure> {
    let failed = |what: &Path, error: std::io::Error| {
        Failure::Input(format!("--tables: cannot read {}: {error}", what.display()))
    };
    let mut runs = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| failed(folder, error))? {
        let path = entry.map_err(|error| failed(folder, error))?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(|error| failed(&path, error))?;
        let value = serde_json::from_str(&text).map_err(|error| {
            Failure::Input(format!("{}: {error}, expected a run of --record", path.display()))
        })?;
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let run = Run { file, value };
        let schema = run.number("/schema")?;
        if schema != SCHEMA as f64 {
            let what = format!("{}: schema is {schema}, expected {SCHEMA}", path.display());
            return Err(Failure::Input(what));
        }
        runs.push(run);
    }
    runs.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(runs)
}

/// A table for each machine, day and commit, the last day first.
fn tables(runs: &[Run]) -> Result<String, Failure> {
    let mut groups: BTreeMap<_, Vec<&Run>> = BTreeMap::new();
    for run in runs {
        let commit = run.value.pointer("/versions/commit").and_then(Value::as_str);
        let key = (run.text("/date")?, run.machine()?, commit.unwrap_or("").to_string());
        groups.entry(key).or_default().push(run);
    }
    let mut text = String::new();
    for ((date, machine, commit), runs) in groups.iter().rev() {
        let mut rows = Vec::new();
        for run in runs {
            rows.push((run.order()?, run.row()?));
        }
        rows.sort();
        if !text.is_empty() {
            text.push('\n');
        }
        let compiler = runs[0].value.pointer("/versions/rustc").and_then(Value::as_str);
        let compiler = compiler.map_or_else(String::new, |compiler| format!(", {compiler}"));
        let at = if commit.is_empty() { String::new() } else { format!(" at {commit}") };
        let version = runs[0].text("/versions/surprisal")?;
        let memory = gigabytes(median(runs, "/run/bandwidth_gbytes")?);
        let one = gigabytes(median(runs, "/run/bandwidth_one_thread_gbytes")?);
        let _ = write!(
            text,
            "{date}, {machine}; surprisal {version}{at}{compiler}; {memory} GB/s read from memory \
             by all threads, {one} by one.\n\n{HEADING}"
        );
        rows.iter().for_each(|(_, row)| text.push_str(row));
    }
    Ok(text)
}

/// The upper median of a key.
fn median(runs: &[&Run], key: &str) -> Result<f64, Failure> {
    let mut numbers = Vec::new();
    for run in runs {
        numbers.push(run.number(key)?);
    }
    numbers.sort_by(f64::total_cmp);
    Ok(numbers[numbers.len() / 2])
}

fn gigabytes(rate: f64) -> String {
    significant(rate, 3)
}

impl Run {
    fn expected(&self, key: &str, what: &str) -> Failure {
        let key = key[1..].replace('/', ".");
        Failure::Input(format!("{}: {key} is missing or wrong, expected {what}", self.file))
    }

    fn number(&self, key: &str) -> Result<f64, Failure> {
        let number = self.value.pointer(key).and_then(Value::as_f64);
        number.ok_or_else(|| self.expected(key, "a number"))
    }

    fn text(&self, key: &str) -> Result<String, Failure> {
        let text = self.value.pointer(key).and_then(Value::as_str);
        // What stands in a table is on one line and in one cell.
        let plain = |text: &str| text.replace(['|', '\n', '\r'], " ");
        text.map(plain).ok_or_else(|| self.expected(key, "a text"))
    }

    /// The machine in a line.
    fn machine(&self) -> Result<String, Failure> {
        let mut text = self.text("/machine/processor")?;
        let number = |key| self.value.pointer(key).and_then(Value::as_u64);
        if let (Some(family), Some(model)) = (number("/machine/family"), number("/machine/model")) {
            let _ = write!(text, " (family {family}, model {model})");
        }
        let _ = write!(text, ", {} cores", self.number("/machine/cores")?);
        for (name, key) in [("L1", "l1_data_bytes"), ("L2", "l2_bytes"), ("L3", "l3_bytes")] {
            let size = self.number(&format!("/machine/{key}"))? as usize;
            if size > 0 {
                let _ = write!(text, ", {name} {}", bytes(size));
            }
        }
        Ok(text)
    }

    /// Where the run stands in its table.
    fn order(&self) -> Result<([u64; 3], [String; 3], String), Failure> {
        let size = |key| self.number(key).map(|size| size as u64);
        Ok((
            [size("/run/tokens")?, size("/run/vocabulary")?, size("/run/hidden")?],
            [self.text("/run/isa")?, self.text("/run/dtype")?, self.text("/run/pass")?],
            self.file.clone(),
        ))
    }

    fn row(&self) -> Result<String, Failure> {
        let mut shape = format!(
            "{} × {} × {}",
            self.number("/run/tokens")?,
            self.number("/run/hidden")?,
            self.number("/run/vocabulary")?
        );
        let data = self.text("/run/data")?;
        if data != "dense" {
            let _ = write!(shape, ", {data}");
        }
        let mut pass = self.text("/run/pass")?;
        let strategy = self.text("/run/strategy")?;
        if strategy != pass {
            let _ = write!(pass, " ({strategy})");
        }
        let time = |key| self.number(key).map(duration);
        let share = |key| self.number(key).map(percent);
        let median = self.number("/run/seconds")?;
        let cells = [
            shape,
            self.text("/run/dtype")?,
            pass,
            self.text("/run/isa")?,
            self.number("/run/threads")?.to_string(),
            duration(median),
            format!("{} to {}", time("/run/seconds_least")?, time("/run/seconds_most")?),
            significant(self.number("/run/gflops")?, 3),
            share("/run/fraction_of_peak")?,
            gigabytes(self.number("/run/bytes_moved")? / median.max(1e-9) / 1e9),
            share("/run/fraction_of_bandwidth")?,
            self.text("/run/bound")?,
            share("/run/fraction_of_roof")?,
            format!("[file](results/{})", self.file),
        ];
        Ok(format!("| {} |\n", cells.join(" | ")))
    }
}
