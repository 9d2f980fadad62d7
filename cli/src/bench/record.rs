//! A run as a file: what was measured, where, with what.
//!
//! The form is numbered. A key is never renamed and never gets another meaning under one number; new
//! ones may join.

use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use surprisal::Isa;

use super::arguments::{Bench, DataName, name};
use super::machine::Machine;
use crate::loss::BackwardName;
use crate::output::write_whole;
use crate::report::Report;
use crate::{Failure, parallel};

/// The number of the form.
pub const SCHEMA: u64 = 1;

/// Makes the folder of the records where there is none: before anything is timed, as it may be refused.
pub fn make(folder: &Path) -> Result<(), Failure> {
    if let Some(file) = folder.ancestors().find(|path| path.exists() && !path.is_dir()) {
        let message = format!("--record: {} is a file, expected a directory", file.display());
        return Err(Failure::Input(message));
    }
    std::fs::create_dir_all(folder)
        .map_err(|error| Failure::Other(format!("cannot create {}: {error}", folder.display())))
}

/// Writes the run into `DATE-MACHINE-RUN.json` in the folder; a run of the same name is replaced.
pub fn write(folder: &Path, asked: &Bench, isa: Isa, report: &Report) -> Result<PathBuf, Failure> {
    let (date, machine) = (date(days_since_1970()), Machine::here());
    let path = folder.join(format!("{date}-{}-{}.json", machine.slug(), run_name(asked, isa)));
    let text = serde_json::to_string_pretty(&json!({
        "schema": SCHEMA,
        "date": date,
        "machine": {
            "processor": machine.processor,
            "family": machine.family,
            "model": machine.model,
            "cores": machine.cores,
            "l1_data_bytes": machine.caches.first,
            "l2_bytes": machine.caches.second,
            "l3_bytes": machine.caches.last,
            "memory_bytes": machine.memory_bytes,
        },
        "versions": {
            "surprisal": env!("CARGO_PKG_VERSION"),
            "rustc": option_env!("SURPRISAL_RUSTC"),
            "commit": asked.commit,
        },
        "command": command(),
        "run": Value::Object(Map::from_iter(report.pairs())),
    }));
    let text = text.map_err(|error| Failure::Other(format!("cannot write the run: {error}")))?;
    write_whole(&path, format!("{text}\n").as_bytes())?;
    Ok(path)
}

/// What is timed, in words for a file's name.
fn run_name(asked: &Bench, isa: Isa) -> String {
    let mut parts = vec![
        name(asked.pass),
        name(asked.dtype),
        format!("{}x{}x{}", asked.tokens, asked.hidden, asked.vocab),
    ];
    if asked.data != DataName::Dense {
        parts.push(name(asked.data));
    }
    if asked.backward != BackwardName::Auto {
        parts.push(name(asked.backward));
    }
    if let Some(filter) = asked.filter {
        parts.push(format!("filter-{filter}"));
        parts.extend(asked.tail_correction.then(|| "tail-correction".into()));
    }
    parts.extend([isa.name().into(), format!("{}-threads", parallel::threads())]);
    parts.join("-")
}

/// The command line, with the variable that steers it, and without where the program lies.
fn command() -> String {
    let isa = std::env::var("SURPRISAL_ISA").map(|isa| format!("SURPRISAL_ISA={isa} "));
    let arguments = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    let words: Vec<String> = std::iter::once("surprisal".into()).chain(arguments).collect();
    format!("{}{}", isa.unwrap_or_default(), words.join(" "))
}

fn days_since_1970() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() / (24 * 60 * 60)
}

/// A day as `YYYY-MM-DD`, in the Gregorian calendar (Hinnant 2013, "chrono-compatible low-level date
/// algorithms"): years begin in March, lest the leap day is in the middle of one.
fn date(days: u64) -> String {
    // Days since 1 March of the year 0, in eras of 400 years.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year_of_era = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = 400 * era + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn days_have_their_dates() {
        for (days, expected) in [
            (0, "1970-01-01"),
            (58, "1970-02-28"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (20_088, "2024-12-31"),
            (20_089, "2025-01-01"),
            (47_540, "2100-02-28"),
            (47_541, "2100-03-01"),
        ] {
            assert_eq!(date(days), expected, "{days}");
        }
    }
}
