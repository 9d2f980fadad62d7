//! What the classes of a text leave out: how its unknown words are spelt, and its white space.
//!
//! A perplexity of words is flattering where many of them are one class, `<unk>`. Bits per byte are
//! not, and can be compared between words, characters and bytes, since they are those of a code from
//! which the held-out text can be read again:
//!
//! - each token costs −log₂ p of its class under the model;
//! - each unknown token is spelt: its bytes b and an end sign cost −log₂ (n_b + 1) / (n + 257) each, with
//!   n_b how often b is in the unknown tokens of the training part, and n the sum of these;
//! - what stands between two tokens costs −log₂ c / (C + 1), with c how often the training part has it
//!   between two of their kind (a word, or one punctuation mark), and C how often it has these two beside
//!   each other; where c is 0 it costs log₂ (C + 1), and is spelt.
//!
//! That all line breaks are one class costs nothing: which of the three kinds a text has is one bit or
//! two. Cleverer codes need less: it is an upper bound on what the model is worth.

use std::collections::HashMap;

use super::corpus::{Corpus, UNKNOWN};
use super::tokens::{TokenKind, Tokens};

/// The held-out text as it is written.
pub struct Spelling {
    /// What its tokens are.
    pub kind: TokenKind,
    /// The bytes of so many held-out tokens, with what stands before each.
    bytes: Vec<u64>,
    /// The bits that their classes leave out.
    bits: Vec<f64>,
}

impl Spelling {
    /// Of a text and its classes.
    pub fn new(text: &Tokens<'_>, corpus: &Corpus) -> Self {
        let letters = Letters::new(text, corpus);
        let gaps = Gaps::new(text, corpus);
        let (mut bytes, mut bits) = (vec![0], vec![0.0]);
        let (mut all_bytes, mut all_bits) = (0, 0.0);
        for index in corpus.training..text.len() {
            let written = text.written(index);
            all_bytes += (text.gap(index).len() + written.len()) as u64;
            if corpus.tokens[index] == UNKNOWN {
                all_bits += letters.bits(written);
            }
            all_bits += gaps.bits(text, index, &letters);
            bytes.push(all_bytes);
            bits.push(all_bits);
        }
        Self { kind: text.kind, bytes, bits }
    }

    /// The bytes of the first so many held-out tokens.
    pub fn bytes(&self, tokens: usize) -> u64 {
        self.bytes[tokens]
    }

    /// The bits that their classes leave out.
    pub fn bits(&self, tokens: usize) -> f64 {
        self.bits[tokens]
    }

    /// Bits per byte of the first so many held-out tokens, with a mean loss in nats.
    pub fn bits_per_byte(&self, loss: f64, tokens: usize) -> f64 {
        let classes = loss * tokens as f64 / std::f64::consts::LN_2;
        (classes + self.bits(tokens)) / self.bytes(tokens) as f64
    }
}

/// How often each byte, and the end, is in the unknown tokens of the training part.
struct Letters {
    counts: [u64; 256],
    ends: u64,
}

impl Letters {
    fn new(text: &Tokens<'_>, corpus: &Corpus) -> Self {
        let mut letters = Self { counts: [0; 256], ends: 0 };
        for index in (0..corpus.training).filter(|&index| corpus.tokens[index] == UNKNOWN) {
            text.written(index).iter().for_each(|&byte| letters.counts[usize::from(byte)] += 1);
            letters.ends += 1;
        }
        letters
    }

    fn bits(&self, written: &[u8]) -> f64 {
        let all = (self.counts.iter().sum::<u64>() + self.ends + 257) as f64;
        let bits = |count: u64| (all / (count + 1) as f64).log2();
        let letters = written.iter().map(|&byte| bits(self.counts[usize::from(byte)]));
        letters.sum::<f64>() + bits(self.ends)
    }
}

/// What a token is to those beside it: a word, one punctuation mark, or the text's beginning.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Neighbour {
    Word,
    Mark(char),
    Beginning,
}

impl Neighbour {
    fn of(text: &Tokens<'_>, index: usize) -> Self {
        let first =
            text.name(index).utf8_chunks().next().and_then(|part| part.valid().chars().next());
        match first {
            Some(mark) if !mark.is_alphanumeric() => Neighbour::Mark(mark),
            _ => Neighbour::Word,
        }
    }

    fn before(text: &Tokens<'_>, index: usize) -> Self {
        index.checked_sub(1).map_or(Neighbour::Beginning, |before| Self::of(text, before))
    }
}

/// What the training part has between two tokens, by what these are.
struct Gaps<'a> {
    counts: HashMap<(Neighbour, Neighbour), HashMap<&'a [u8], u64>>,
}

impl<'a> Gaps<'a> {
    fn new(text: &Tokens<'a>, corpus: &Corpus) -> Self {
        let mut counts: HashMap<_, HashMap<_, _>> = HashMap::new();
        // Characters and bytes leave nothing between them.
        let tokens = if text.kind == TokenKind::Words { corpus.training } else { 0 };
        for index in 0..tokens {
            let between = (Neighbour::before(text, index), Neighbour::of(text, index));
            *counts.entry(between).or_default().entry(text.gap(index)).or_insert(0) += 1;
        }
        Self { counts }
    }

    /// The bits of what stands before a token.
    fn bits(&self, text: &Tokens<'_>, index: usize, letters: &Letters) -> f64 {
        if text.kind != TokenKind::Words {
            return 0.0;
        }
        let between = (Neighbour::before(text, index), Neighbour::of(text, index));
        let gap = text.gap(index);
        let known = self.counts.get(&between);
        let all = known.map_or(0, |known| known.values().sum::<u64>()) as f64;
        match known.and_then(|known| known.get(gap)) {
            Some(&count) => ((all + 1.0) / count as f64).log2(),
            None => (all + 1.0).log2() + letters.bits(gap),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 90 times `a `, then `b  c a`…: one unknown word, and one gap of two spaces, which the training
    /// part has not.
    #[test]
    fn bits_by_hand() {
        let training = "x y ".to_string() + &"a ".repeat(88);
        let text = training + "b  a a a a a a a a a";
        let tokens = Tokens::words(&text);
        let corpus = Corpus::new(&tokens, "text").ok().unwrap();
        assert_eq!((corpus.training, corpus.held_out()[0]), (90, UNKNOWN));
        let spelling = Spelling::new(&tokens, &corpus);
        // x, y and two ends: 4 in all. b is none of them.
        let all = 4.0 + 257.0;
        let spelt = f64::log2(all / 1.0) + f64::log2(all / 3.0);
        // 89 gaps between words, all one space.
        let space = f64::log2(90.0 / 89.0);
        let spaces = f64::log2(90.0) + 2.0 * f64::log2(all) + f64::log2(all / 3.0);
        let close = |found: f64, expected: f64| {
            assert!((found - expected).abs() < 1e-12 * expected, "{found} {expected}")
        };
        close(spelling.bits(1), spelt + space);
        close(spelling.bits(2), spelt + space + spaces);
        close(spelling.bits(10), spelt + space + spaces + 8.0 * space);
        assert_eq!(spelling.bytes(10), " b  a a a a a a a a a".len() as u64);
        close(spelling.bits_per_byte(3.0 * 2.0_f64.ln(), 10), (30.0 + spelling.bits(10)) / 21.0);
    }

    /// Bytes and characters leave nothing out but unknown characters.
    #[test]
    fn characters_and_bytes_leave_nothing_out() {
        let text = "a b\r\n".repeat(50);
        for tokens in [Tokens::characters(&text), Tokens::bytes(text.as_bytes())] {
            let corpus = Corpus::new(&tokens, "text").ok().unwrap();
            let spelling = Spelling::new(&tokens, &corpus);
            let held_out = corpus.held_out().len();
            assert_eq!(spelling.bits(held_out), 0.0);
            let bytes: usize =
                (corpus.training..tokens.len()).map(|i| tokens.written(i).len()).sum();
            assert_eq!(spelling.bytes(held_out), bytes as u64);
        }
    }
}
