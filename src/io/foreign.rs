//! What a file is that is not what its name says, and what to do about it.

use super::message::quoted;

/// As much of a file as is looked at.
pub(super) const START: usize = 1024;

/// One line for a file that begins with `start` and was taken for `expected`; nothing where it is not
/// known.
pub(super) fn unlike(start: &[u8], expected: &str) -> Option<String> {
    let (what, remedy) = kind(start).filter(|(what, _)| *what != expected)?;
    Some(format!("it is {what}, expected {expected}: {remedy}"))
}

/// The same for files that are no text but for a message: what a server says in place of a file.
pub(super) fn unlike_or_text(start: &[u8], expected: &str) -> Option<String> {
    const SHOWN: usize = 40;
    if let Some(what) = unlike(start, expected) {
        return Some(what);
    }
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        // A character may be cut where `start` ends.
        Err(error) if error.valid_up_to() + 4 > START && error.error_len().is_none() => {
            std::str::from_utf8(&start[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let is_text = |character: char| !character.is_control() || "\n\r\t".contains(character);
    let line = text.trim_start().lines().next()?.trim_end();
    if line.is_empty() || !text.chars().all(is_text) {
        return None;
    }
    let shown: String = line.chars().take(SHOWN).collect();
    let more = if shown.len() < line.len() { "…" } else { "" };
    Some(format!(
        "it is text that begins with `{}{more}`, expected {expected}: it may be what a server said \
         in place of the file, so download it again",
        quoted(&shown)
    ))
}

const CONVERT: &str = "load it in Python and save it with safetensors.torch.save_file";
const UNPACK: &str = "unpack it first";

/// What it is, and the remedy.
fn kind(start: &[u8]) -> Option<(&'static str, &'static str)> {
    let begins = |magic: &[u8]| start.starts_with(magic);
    let has = |part: &[u8]| start.windows(part.len()).any(|window| window == part);
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
    let says = |word: &[u8]| text.get(..word.len()).is_some_and(|w| w.eq_ignore_ascii_case(word));

    Some(match start {
        [] => ("empty", "write or download it again"),
        _ if begins(b"version https://git-lfs.") || begins(b"version https://hawser.") => {
            ("a Git LFS pointer in place of the file", "fetch it with `git lfs pull`")
        }
        _ if has(b"/annex/objects/") && start.is_ascii() => {
            ("a git-annex pointer in place of the file", "fetch it with `git annex get`")
        }
        _ if says(b"<!doctype html") || says(b"<html") || says(b"<head") => (
            "an HTML page",
            "a server sent it in place of the file, as it does before a login, so download it again",
        ),
        _ if says(b"<?xml") || says(b"<error") => {
            ("an XML page", "a server sent it in place of the file, so download it again")
        }
        _ if says(b"{") && has(b"\"weight_map\"") => (
            "the index of a checkpoint in several files",
            "name a tensor of it as DIR/model.safetensors.index.json:TENSOR",
        ),
        _ if says(b"{") && is_text(text) => ("a JSON file", "name the file with the numbers"),
        _ if begins(b"PK\x03\x04") && has(b"data.pkl") => {
            ("a checkpoint of PyTorch (a zip archive with a pickle)", CONVERT)
        }
        _ if begins(b"PK\x03\x04") && has(b".npy") => {
            ("an .npz archive", "name an array of it as FILE.npz:NAME")
        }
        _ if begins(b"PK\x03\x04") || begins(b"PK\x05\x06") => ("a zip archive", UNPACK),
        [0x80, 2..=5, rest @ ..] if pickles(rest) => {
            ("a pickle, as PyTorch and Python write", CONVERT)
        }
        _ if begins(b"\x93NUMPY") => ("a .npy file", "name it FILE.npy"),
        _ if begins(b"GGUF") => (
            "a GGUF file",
            "its tensors are not read, so name the .safetensors files that it was made of",
        ),
        _ if begins(b"tjgg") || begins(b"lmgg") || begins(b"fmgg") => (
            "a GGML file",
            "its tensors are not read, so name the .safetensors files that it was made of",
        ),
        _ if begins(b"\x89HDF\r\n\x1a\n") => ("an HDF5 file, as Keras writes", CONVERT_KERAS),
        _ if begins(b"\x1f\x8b") => ("compressed by gzip", UNPACK),
        _ if begins(b"\x28\xb5\x2f\xfd") => ("compressed by zstd", UNPACK),
        _ if begins(b"\xfd7zXZ\0") => ("compressed by xz", UNPACK),
        _ if begins(b"BZh") && start.get(4..10) == Some(b"1AY&SY") => {
            ("compressed by bzip2", UNPACK)
        }
        _ if begins(b"7z\xbc\xaf\x27\x1c") => ("a 7z archive", UNPACK),
        _ if begins(b"\x04\x22\x4d\x18") => ("compressed by lz4", UNPACK),
        _ if start.get(257..262) == Some(b"ustar") => ("a tar archive", UNPACK),
        _ if begins(b"PAR1") => ("a Parquet file", CONVERT_TABLE),
        _ if begins(b"ARROW1") => ("an Arrow file", CONVERT_TABLE),
        _ if begins(b"MATLAB 5.0 MAT-file") => {
            ("a MATLAB file", "load it with scipy.io.loadmat and save it with numpy.save")
        }
        // The version of the format, then the producer's name.
        [8, 1..=32, 0x12, length @ 1..=64, rest @ ..]
            if rest.len() >= *length as usize
                && rest[..*length as usize].iter().all(u8::is_ascii_graphic) =>
        {
            ("an ONNX model", "read its initialisers with onnx.numpy_helper and numpy.save them")
        }
        [_, _, _, _, _, 0, 0, 0, b'{', ..] => {
            ("a .safetensors file", "name it FILE.safetensors:TENSOR")
        }
        _ if start.len() >= 64 && start.iter().all(|&byte| byte == 0) => {
            ("filled with zero bytes", "its download has not ended, so download it again")
        }
        _ => return None,
    })
}

const CONVERT_KERAS: &str = "read it with h5py and save the arrays with numpy.save";
const CONVERT_TABLE: &str = "load it in Python and save its columns with numpy.save";

fn is_text(start: &[u8]) -> bool {
    !start.iter().any(|byte| byte.is_ascii_control() && !byte.is_ascii_whitespace())
}

/// Whether an operation of a pickle follows that such files begin with.
fn pickles(rest: &[u8]) -> bool {
    matches!(rest.first(), Some(0x95 | 0x8a | b'}' | b'c' | b']' | b'(' | b'X' | b'q' | 0x8c))
}
