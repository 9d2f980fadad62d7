//! `model.safetensors.index.json`, which says in which file of a checkpoint a tensor is.

use std::io::Read;
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::file::open_file;
use super::json::repeated_key;
use super::message::{choice, format_error, io_error, quoted};
use super::tensor::Tensor;
use super::{foreign, safetensors};
use crate::{Error, Result};

/// The longest index that is read: a million tensors.
const MAX_BYTES: u64 = 100_000_000;

/// The file in which a tensor of a checkpoint lies, as its index says: beside the index at `path`, or
/// below its directory. `text` is the index.
///
/// ```
/// use std::path::Path;
/// use surprisal::io::parse_index;
///
/// let text = br#"{"weight_map": {"lm_head.weight": "model-00002-of-00002.safetensors"}}"#;
/// let path = Path::new("llama/model.safetensors.index.json");
/// let part = parse_index(text, "lm_head.weight", path)?;
/// assert_eq!(part, Path::new("llama/model-00002-of-00002.safetensors"));
/// assert!(parse_index(text, "embed.weight", path).is_err());
/// # Ok::<(), surprisal::Error>(())
/// ```
pub fn parse_index(text: &[u8], tensor: &str, path: &Path) -> Result<PathBuf> {
    locate(text, Some(tensor), path)
}

/// Without a tensor's name, the error says which ones there are.
pub(super) fn open(path: &Path, tensor: Option<&str>) -> Result<Tensor> {
    let (file, length) = open_file(path)?;
    if length > MAX_BYTES {
        let what = format!("it has {length} bytes, expected an index of at most {MAX_BYTES}");
        return Err(format_error(path, what));
    }
    let mut text = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut text).map_err(|error| io_error(path, "read", error))?;
    let part = locate(&text, tensor, path)?;
    safetensors::open(&part, tensor).map_err(|error| match error {
        Error::Io { action: "open", source, .. } => format_error(
            path,
            format!(
                "its part `{}` with tensor `{}` cannot be opened ({source}), expected it beside the \
                 index",
                quoted(&part.file_name().unwrap_or_default().to_string_lossy()),
                quoted(tensor.unwrap_or_default())
            ),
        ),
        error => error,
    })
}

fn locate(text: &[u8], tensor: Option<&str>, path: &Path) -> Result<PathBuf> {
    let failed = |what: String| format_error(path, what);
    if let Some(repeated) = repeated_key(text) {
        let key = quoted(&repeated.key);
        return Err(failed(match (repeated.depth, repeated.within.as_deref()) {
            (1, Some("weight_map")) => format!("two tensors are named `{key}`, expected one"),
            _ => format!("it has the key `{key}` twice, expected it once"),
        }));
    }
    let index: Value = serde_json::from_slice(text).map_err(|error| {
        let start = &text[..text.len().min(foreign::START)];
        let expected = "the index of a checkpoint";
        let what = foreign::unlike(start, expected).filter(|_| !start.starts_with(b"{"));
        failed(what.unwrap_or_else(|| {
            format!("it is no JSON ({}), expected {expected}", quoted(&error.to_string()))
        }))
    })?;
    let Some(map) = index.get("weight_map").and_then(Value::as_object) else {
        let what = "it has no object `weight_map`, expected the files of the tensors";
        return Err(failed(what.into()));
    };
    let choice = || choice(map.keys().cloned().collect());
    let Some(tensor) = tensor else {
        let what = "no tensor is named, expected a location INDEX.json:TENSOR with a tensor";
        return Err(failed(format!("{what} {}", choice())));
    };
    let Some(part) = map.get(tensor) else {
        let tensor = quoted(tensor);
        return Err(failed(format!("there is no tensor `{tensor}`, expected one {}", choice())));
    };
    match part.as_str().filter(|part| is_below(part)) {
        Some(part) => Ok(path.with_file_name("").join(part)),
        None => Err(failed(format!(
            "tensor `{}` is in {}, expected the name of a .safetensors file in the index's directory",
            quoted(tensor),
            quoted(&part.to_string())
        ))),
    }
}

/// Whether a part is where the index is: nothing else of the machine is named by a download.
fn is_below(part: &str) -> bool {
    let mut components = Path::new(part).components();
    part.ends_with(".safetensors")
        && !part.contains(['\\', '\0'])
        && components.all(|component| matches!(component, Component::Normal(_)))
}
