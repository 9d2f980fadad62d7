//! Words as a reader finds them, of any script.
//!
//! Unicode's word boundaries (Standard Annex 29) keep a letter and its marks together, the parts of a
//! number, of an emoji and of a word with an apostrophe. Four things are otherwise here:
//!
//! - hyphens join the words beside them (`to-night`), as the annex suggests for many languages;
//! - katakana is cut as all scripts without spaces are by the annex where there is no dictionary (Han,
//!   hiragana, Thai, Lao, Khmer, Myanmar): a token a character, and never within a grapheme cluster, a
//!   Thai vowel with its consonant for example;
//! - `_` joins only where it is between letters, since `_so_` is how plain texts stress a word;
//! - marks of direction and of places where a line may break, which nobody sees, are no part of a word
//!   unless within it.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

/// The places of the words of a text, in order.
///
/// Every line break (LF, CR LF or CR) is one; so is every other character that is not white space. What
/// lies between them is white space, and marks that nobody sees.
#[derive(Clone)]
pub struct Words<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Words<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }
}

impl Iterator for Words<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let start = self.at + self.text[self.at..].find(|c| !is_between(c))?;
        let rest = &self.text[start..];
        let length = match rest.as_bytes()[0] {
            b'\r' if rest.starts_with("\r\n") => 2,
            b'\r' | b'\n' => 1,
            _ => word(rest),
        };
        self.at = start + length;
        Some(start..self.at)
    }
}

/// White space but line breaks, and marks that nobody sees.
fn is_between(c: char) -> bool {
    match c {
        '\n' | '\r' => false,
        // Zero-width space, word joiner, byte-order mark.
        '\u{200b}' | '\u{2060}' | '\u{feff}' => true,
        // Direction.
        '\u{61c}' | '\u{200e}' | '\u{200f}' => true,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        c => c.is_whitespace(),
    }
}

/// Bytes of the word that a text begins with.
fn word(text: &str) -> usize {
    let mut end = segment(text);
    while let Some(length) = joined(&text[..end], &text[end..]) {
        end += length;
    }
    text[..end].trim_end_matches(is_between).len()
}

/// Bytes of the annex's word that a text begins with, or of a character of a script without spaces.
fn segment(text: &str) -> usize {
    // Not found within longer words, lest a run of them takes the square of its length.
    if text.starts_with(|c| is_katakana(c) || is_connector(c)) {
        return text.graphemes(true).next().map_or(0, str::len);
    }
    let word = text.split_word_bounds().next().unwrap_or_default();
    let word = word.trim_end_matches(|c| is_connector(c) || is_between(c)).len();
    // To the end of a grapheme cluster.
    let mut end = 0;
    for cluster in text.graphemes(true) {
        if end >= word {
            break;
        }
        end += cluster.len();
    }
    end
}

/// Bytes of a hyphen and the word behind it, where they go on a word.
fn joined(before: &str, text: &str) -> Option<usize> {
    let rest = text.strip_prefix(['-', '\u{2010}', '\u{2011}'])?;
    let joins = before.starts_with(is_spaced) && rest.starts_with(is_spaced);
    joins.then(|| text.len() - rest.len() + segment(rest))
}

/// Letters of scripts with spaces, and digits: the annex keeps two of them together.
fn is_spaced(c: char) -> bool {
    let twice = String::from_iter([c, c]);
    c.is_alphanumeric() && !is_katakana(c) && twice.split_word_bounds().count() == 1
}

/// What the annex has as one class, which it keeps together.
fn is_katakana(c: char) -> bool {
    matches!(c,
        '\u{3031}'..='\u{3035}'
        | '\u{309b}'..='\u{309c}'
        | '\u{30a0}'..='\u{30ff}'
        | '\u{31f0}'..='\u{31ff}'
        | '\u{32d0}'..='\u{32fe}'
        | '\u{3300}'..='\u{3357}'
        | '\u{ff66}'..='\u{ff9d}'
        | '\u{1aff0}'..='\u{1affe}'
        | '\u{1b000}'
        | '\u{1b120}'..='\u{1b122}'
        | '\u{1b155}'
        | '\u{1b164}'..='\u{1b167}')
}

/// `_` and its kin.
fn is_connector(c: char) -> bool {
    matches!(
        c,
        '_' | '\u{203f}'
            | '\u{2040}'
            | '\u{2054}'
            | '\u{fe33}'
            | '\u{fe34}'
            | '\u{ff3f}'
            | '\u{fe4d}'..='\u{fe4f}'
    )
}
