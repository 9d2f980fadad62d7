//! The text of a file: UTF-8, or UTF-16 that begins with its byte-order mark.

use std::borrow::Cow;
use std::path::Path;

use crate::Failure;

/// The byte-order marks.
const UTF_8: &[u8] = b"\xef\xbb\xbf";
const UTF_16_LITTLE: &[u8] = b"\xff\xfe";
const UTF_16_BIG: &[u8] = b"\xfe\xff";

/// More than one NUL in so many characters is no text: in UTF-16 every letter of English has one, in
/// most other binary files there are as many.
const CHARACTERS_A_NUL: usize = 100;

/// What is expected.
const EXPECTED: &str =
    "expected UTF-8, or UTF-16 with its byte-order mark (--tokens bytes takes any file)";

/// The bytes of a file, which is called by its name in messages.
pub fn read(path: &Path, name: &str) -> Result<Vec<u8>, Failure> {
    let unreadable = |why: std::io::Error| Failure::Input(format!("cannot read {name}: {why}"));
    // Reading a device or a pipe might never end.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(unreadable(std::io::Error::other("it is not a regular file")));
    }
    std::fs::read(path).map_err(unreadable)
}

/// The text that bytes are, without a byte-order mark; `name` says where they are from.
pub fn decode<'a>(bytes: &'a [u8], name: &str) -> Result<Cow<'a, str>, Failure> {
    let text = if let Some(rest) = bytes.strip_prefix(UTF_16_LITTLE) {
        utf_16(rest, u16::from_le_bytes, name)?.into()
    } else if let Some(rest) = bytes.strip_prefix(UTF_16_BIG) {
        utf_16(rest, u16::from_be_bytes, name)?.into()
    } else {
        let mark = if bytes.starts_with(UTF_8) { UTF_8.len() } else { 0 };
        let text = std::str::from_utf8(&bytes[mark..]).map_err(|error| {
            let at = mark + error.valid_up_to();
            let byte = bytes[at];
            Failure::Input(format!(
                "{name} is not UTF-8: byte {byte:#04x} at offset {at}, {EXPECTED}"
            ))
        })?;
        Cow::from(text)
    };
    let characters = text.chars().count();
    let nuls = text.bytes().filter(|&byte| byte == 0).count();
    if nuls > characters / CHARACTERS_A_NUL {
        return Err(Failure::Input(format!(
            "{name} holds {nuls} NUL among {characters} characters, as UTF-16 without a byte-order \
             mark and binary files do, {EXPECTED}"
        )));
    }
    Ok(text)
}

fn utf_16(bytes: &[u8], unit: fn([u8; 2]) -> u16, name: &str) -> Result<String, Failure> {
    let (units, rest) = bytes.as_chunks::<2>();
    let mut text = String::with_capacity(bytes.len() / 2);
    // Behind the mark.
    let mut at = 2;
    for character in char::decode_utf16(units.iter().map(|&bytes| unit(bytes))) {
        let character = character.map_err(|error| {
            Failure::Input(format!(
                "{name} is not UTF-16, as its byte-order mark says: unpaired surrogate {:#06x} at \
                 offset {at}, {EXPECTED}",
                error.unpaired_surrogate()
            ))
        })?;
        text.push(character);
        at += 2 * character.len_utf16();
    }
    if !rest.is_empty() {
        return Err(Failure::Input(format!(
            "{name} is not UTF-16, as its byte-order mark says: half a unit at offset {at}, {EXPECTED}"
        )));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: &[u8]) -> String {
        match decode(bytes, "FILE") {
            Err(Failure::Input(message)) => message,
            other => panic!("{bytes:?} is {:?}", other.ok()),
        }
    }

    #[test]
    fn marks_are_left_out_and_said_what_they_say() {
        let text = "Ünï 🙂\r\n";
        let units: Vec<u16> = text.encode_utf16().collect();
        let little = [0xff, 0xfe].into_iter().chain(units.iter().flat_map(|u| u.to_le_bytes()));
        let big = [0xfe, 0xff].into_iter().chain(units.iter().flat_map(|u| u.to_be_bytes()));
        let marked = format!("\u{feff}{text}");
        for bytes in [little.collect(), big.collect(), marked.into_bytes(), text.into()] {
            let bytes: Vec<u8> = bytes;
            assert_eq!(decode(&bytes, "FILE").ok().as_deref(), Some(text), "{bytes:?}");
        }
        assert_eq!(decode(b"", "FILE").ok().as_deref(), Some(""));
    }

    #[test]
    fn what_is_no_text_is_refused_where_it_is_none() {
        assert!(message(b"caf\xe9").contains("byte 0xe9 at offset 3"));
        assert!(message(b"\xef\xbb\xbfcaf\xe9").contains("byte 0xe9 at offset 6"));
        assert!(message(b"\xff\xfea\0b").contains("half a unit at offset 4"));
        assert!(message(b"\xff\xfea\0\x00\xd8b\0").contains("surrogate 0xd800 at offset 4"));
        assert!(message(b"\xfe\xff\xdc\0").contains("surrogate 0xdc00 at offset 2"));
        // UTF-16 without its mark, either way round, and UTF-32.
        assert!(message(b"T\0o\0 \0b\0e\0").contains("5 NUL among 10 characters"));
        assert!(message(b"\0T\0o\0 \0b\0e").contains("UTF-16 without a byte-order mark"));
        assert!(message(b"\xff\xfe\0\0T\0\0\0").contains("NUL"));
        // One that strayed in is a character like others.
        let stray = format!("{}\0", "a".repeat(99));
        assert!(decode(stray.as_bytes(), "FILE").is_ok());
    }
}
