//! What the subcommands print and write.

use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};

use surprisal::printable;

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

/// Prints on stdout; whoever has closed it does not want the rest.
pub fn print_text(text: &str) -> Result<(), Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Other(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// A line on stderr about what is done in another way than one might think.
pub fn note(quiet: bool, message: &str) {
    if !quiet {
        // Where stderr is closed, nobody wants it.
        let _ = writeln!(std::io::stderr(), "note: {}", printable(message));
    }
}

/// Makes the directory for results that `--out` names.
pub fn make_directory(path: &Path) -> Result<PathBuf, Failure> {
    if let Some(file) = path.ancestors().find(|path| path.exists() && !path.is_dir()) {
        let message = format!("--out: {} is a file, expected a directory", file.display());
        return Err(Failure::Input(message));
    }
    std::fs::create_dir_all(path)
        .map_err(|error| Failure::Other(format!("cannot create {}: {error}", path.display())))?;
    Ok(path.to_path_buf())
}

/// Writes a file that takes its name only when it is whole; until then one that had the name keeps it.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let written = std::fs::write(&new, bytes).and_then(|()| std::fs::rename(&new, path));
    written.map_err(|error| {
        // What is there of it is of no use; whether it goes is not what went wrong.
        let _ = std::fs::remove_file(&new);
        Failure::Other(format!("cannot write {}: {error}", path.display()))
    })
}
