//! From text to classes: words, punctuation and line breaks.

use std::collections::HashMap;
use std::path::Path;

use crate::Failure;

/// The class of everything that is not in the vocabulary.
pub const UNKNOWN: u32 = 0;

/// What a line break is called among the types.
const LINE_BREAK: &str = "\n";

/// Fewer tokens than this are no text: the held-out tenth would be a handful of words.
const FEWEST_TOKENS: usize = 100;

/// One part in so many, at the end of the text, is held out.
const HELD_OUT_SHARE: usize = 10;

/// How often a type must occur in the training part to get a class of its own: what occurs once
/// cannot be told from noise, and `<unk>` needs something to be learnt from.
const FEWEST_OCCURRENCES: u64 = 2;

/// The tokens of a text, in order.
///
/// A word is a run of letters, digits and combining accents, with single apostrophes and hyphens
/// between them (`o'er`, `to-night`); every line break (LF, CR LF or CR) is a token, `"\n"`; so is
/// every other character that is not white space.
#[derive(Clone)]
pub struct Tokens<'a> {
    rest: &'a str,
}

/// Cuts a text into its tokens.
pub fn tokens(text: &str) -> Tokens<'_> {
    Tokens { rest: text.strip_prefix('\u{feff}').unwrap_or(text) }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let white = |c: char| c.is_whitespace() && c != '\n' && c != '\r';
        self.rest = self.rest.trim_start_matches(white);
        let first = self.rest.chars().next()?;
        let length = match first {
            '\r' if self.rest.starts_with("\r\n") => 2,
            first if in_word(first) => word_length(self.rest),
            first => first.len_utf8(),
        };
        let (token, rest) = self.rest.split_at(length);
        self.rest = rest;
        Some(if first == '\r' { LINE_BREAK } else { token })
    }
}

/// Letters, digits, and the accents of decomposed text.
fn in_word(c: char) -> bool {
    c.is_alphanumeric() || ('\u{300}'..='\u{36f}').contains(&c)
}

/// Bytes of the word that the text begins with.
fn word_length(text: &str) -> usize {
    let mut characters = text.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        let joins = matches!(c, '\'' | '\u{2019}' | '-')
            && characters.peek().is_some_and(|&(_, next)| in_word(next));
        if !in_word(c) && !joins {
            return at;
        }
    }
    text.len()
}

/// A text as classes, with a held-out tail.
#[derive(Debug)]
pub struct Corpus {
    /// The class of each token.
    pub tokens: Vec<u32>,
    /// How many of them, from the beginning, are the training part.
    pub training: usize,
    /// How often each class occurs in the training part; `<unk>` is class 0, the others follow
    /// from the most frequent to the rarest.
    pub counts: Vec<u64>,
    /// What stands before the first token: a line break, or `<unk>` in a text without any.
    pub padding: u32,
}

impl Corpus {
    /// The classes of a text; `name` says where it is from.
    pub fn new(text: &str, name: &str) -> Result<Self, Failure> {
        let words: Vec<&str> = tokens(text).collect();
        if words.len() < FEWEST_TOKENS {
            return Err(Failure::Input(format!(
                "{name} holds {} tokens (words, punctuation marks, line breaks), expected at \
                 least {FEWEST_TOKENS}",
                words.len()
            )));
        }
        let training = words.len() - words.len() / HELD_OUT_SHARE;
        let mut index = HashMap::new();
        let mut types = Vec::new();
        for &word in &words[..training] {
            let place = *index.entry(word).or_insert_with(|| {
                types.push((word, 0_u64));
                types.len() - 1
            });
            types[place].1 += 1;
        }
        types.retain(|&(_, count)| count >= FEWEST_OCCURRENCES);
        // Stable: equals stay in the order of the text, whatever the hash function does.
        types.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        let too_many = || Failure::Input(format!("{name} holds more than 2^32 types"));
        let mut classes = HashMap::with_capacity(types.len());
        let mut counts = vec![0];
        for &(word, count) in &types {
            classes.insert(word, u32::try_from(counts.len()).map_err(|_| too_many())?);
            counts.push(count);
        }
        let class = |word: &str| classes.get(word).copied().unwrap_or(UNKNOWN);
        let tokens: Vec<u32> = words.iter().map(|word| class(word)).collect();
        counts[UNKNOWN as usize] = training as u64 - counts.iter().sum::<u64>();
        Ok(Self { tokens, training, counts, padding: class(LINE_BREAK) })
    }

    /// V, the number of classes.
    pub fn vocabulary(&self) -> usize {
        self.counts.len()
    }

    /// The tokens that are not trained on.
    pub fn held_out(&self) -> &[u32] {
        &self.tokens[self.training..]
    }

    /// A number that another text has with a probability of 2⁻⁶⁴ only: FNV-1a (Fowler, Noll and Vo)
    /// over the classes, 64 bits.
    pub fn fingerprint(&self) -> u64 {
        let bytes = self.tokens.iter().flat_map(|class| class.to_le_bytes());
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }

    /// ln of each class's share of the training part, with one added to every count.
    pub fn log_shares(&self) -> Vec<f64> {
        let total = (self.training + self.vocabulary()) as f64;
        self.counts.iter().map(|&count| ((count + 1) as f64 / total).ln()).collect()
    }

    /// The perplexity of the held-out tokens under their shares alone.
    pub fn unigram_perplexity(&self) -> f64 {
        let log_shares = self.log_shares();
        let held_out = self.held_out();
        let sum: f64 = held_out.iter().map(|&class| log_shares[class as usize]).sum();
        (-sum / held_out.len() as f64).exp()
    }
}

/// The text of a file.
pub fn read(path: &Path) -> Result<String, Failure> {
    let name = path.display();
    let unreadable = |why: std::io::Error| Failure::Input(format!("cannot read {name}: {why}"));
    // Reading a device or a pipe might never end.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(unreadable(std::io::Error::other("it is not a regular file")));
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let byte = error.as_bytes()[at];
        Failure::Input(format!(
            "{name} is not UTF-8: byte {byte:#04x} at offset {at}, expected UTF-8 text"
        ))
    })
}
