//! What an error says of a file.

use std::io;
use std::path::Path;

use crate::{Error, printable};

pub(super) fn io_error(path: &Path, action: &'static str, source: io::Error) -> Error {
    Error::Io { path: path.to_path_buf(), action, source }
}

pub(super) fn format_error(path: &Path, what: impl Into<String>) -> Error {
    Error::Format { path: path.to_path_buf(), what: what.into() }
}

/// Some of `names`, and how many more there are.
pub(super) fn choice(mut names: Vec<String>) -> String {
    const SHOWN: usize = 8;
    names.sort_unstable();
    if names.is_empty() {
        return "but the file has none".to_string();
    }
    let shown: Vec<_> =
        names.iter().take(SHOWN).map(|name| format!("`{}`", quoted(name))).collect();
    let more = match names.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("out of {}{more}", shown.join(", "))
}

/// What a file says, made fit for a line of a message: printable, and short.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 200;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", printable(&text[..end])),
        None => printable(text).into_owned(),
    }
}
