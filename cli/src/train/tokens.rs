//! What a text is cut into: words, characters or bytes.

use clap::ValueEnum;
use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

use super::words::Words;

/// What every line break is called among the types.
pub const LINE_BREAK: &[u8] = b"\n";

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TokenKind {
    /// Words, punctuation marks and line breaks, by Unicode's word boundaries; one token a character
    /// in scripts without spaces between words
    Words,
    /// What a reader takes for a character (a grapheme cluster), white space too
    Characters,
    /// The file's bytes, whatever it holds
    Bytes,
}

impl TokenKind {
    /// As it is called on the command line.
    pub fn name(self) -> &'static str {
        match self {
            TokenKind::Words => "words",
            TokenKind::Characters => "characters",
            TokenKind::Bytes => "bytes",
        }
    }
}

/// The tokens of a text, in order.
pub struct Tokens<'a> {
    pub kind: TokenKind,
    text: &'a [u8],
    places: Vec<Range<usize>>,
}

impl<'a> Tokens<'a> {
    /// Words, punctuation marks and line breaks.
    pub fn words(text: &'a str) -> Self {
        let places = Words::new(text).collect();
        Self { kind: TokenKind::Words, text: text.as_bytes(), places }
    }

    /// Extended grapheme clusters (Unicode Standard Annex 29).
    pub fn characters(text: &'a str) -> Self {
        let clusters = text.grapheme_indices(true);
        let places = clusters.map(|(at, cluster)| at..at + cluster.len()).collect();
        Self { kind: TokenKind::Characters, text: text.as_bytes(), places }
    }

    /// Bytes, of whatever they are.
    pub fn bytes(text: &'a [u8]) -> Self {
        let places = (0..text.len()).map(|at| at..at + 1).collect();
        Self { kind: TokenKind::Bytes, text, places }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// A token as it is written.
    pub fn written(&self, index: usize) -> &'a [u8] {
        &self.text[self.places[index].clone()]
    }

    /// The type of a token: as it is written, but all line breaks of a text are the same.
    pub fn name(&self, index: usize) -> &'a [u8] {
        match self.written(index) {
            b"\r\n" | b"\r" if self.kind != TokenKind::Bytes => LINE_BREAK,
            written => written,
        }
    }

    /// What stands between a token and the one before it, or the beginning.
    pub fn gap(&self, index: usize) -> &'a [u8] {
        let before = index.checked_sub(1).map_or(0, |before| self.places[before].end);
        &self.text[before..self.places[index].start]
    }

    /// The types, in the order of the text.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + '_ {
        (0..self.len()).map(|index| self.name(index))
    }
}
