//! A text as classes: those of its frequent tokens, and one for all others.

use std::collections::HashMap;

use super::tokens::{LINE_BREAK, TokenKind, Tokens};
use crate::Failure;

/// The class of everything that is not in the vocabulary.
pub const UNKNOWN: u32 = 0;

/// Fewer tokens than this are no text: the held-out tenth would be a handful of words.
const FEWEST_TOKENS: usize = 100;

/// One part in so many, at the end of the text, is held out.
const HELD_OUT_SHARE: usize = 10;

/// How often a type must occur in the training part to get a class of its own: what occurs once
/// cannot be told from noise, and `<unk>` needs something to be learnt from. Bytes need no `<unk>`:
/// each of the 256 has a class.
const FEWEST_OCCURRENCES: u64 = 2;

/// All of them.
const BYTES: [u8; 256] = {
    let mut bytes = [0; 256];
    let mut value = 0;
    while value < bytes.len() {
        bytes[value] = value as u8;
        value += 1;
    }
    bytes
};

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
    /// The classes of a text's tokens; `name` says where it is from.
    pub fn new(text: &Tokens<'_>, name: &str) -> Result<Self, Failure> {
        if text.len() < FEWEST_TOKENS {
            let what = match text.kind {
                TokenKind::Words => " (words, punctuation marks, line breaks)",
                TokenKind::Characters => " (characters)",
                TokenKind::Bytes => " (bytes)",
            };
            return Err(Failure::Input(format!(
                "{name} holds {} tokens{what}, expected at least {FEWEST_TOKENS}",
                text.len()
            )));
        }
        let training = text.len() - text.len() / HELD_OUT_SHARE;
        let mut index = HashMap::new();
        let mut types = Vec::new();
        for token in text.names().take(training) {
            let place = *index.entry(token).or_insert_with(|| {
                types.push((token, 0_u64));
                types.len() - 1
            });
            types[place].1 += 1;
        }
        match text.kind {
            TokenKind::Words | TokenKind::Characters => {
                types.retain(|&(_, count)| count >= FEWEST_OCCURRENCES);
            }
            TokenKind::Bytes => {
                let all = BYTES.iter().map(std::slice::from_ref);
                types.extend(all.filter(|byte| !index.contains_key(byte)).map(|byte| (byte, 0)));
            }
        }
        // Stable: equals stay in the order of the text, whatever the hash function does.
        types.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        let too_many = || Failure::Input(format!("{name} holds more than 2^32 types"));
        let mut classes = HashMap::with_capacity(types.len());
        let mut counts = vec![0];
        for &(token, count) in &types {
            classes.insert(token, u32::try_from(counts.len()).map_err(|_| too_many())?);
            counts.push(count);
        }
        let class = |token: &[u8]| classes.get(token).copied().unwrap_or(UNKNOWN);
        let tokens: Vec<u32> = text.names().map(class).collect();
        counts[UNKNOWN as usize] = training as u64 - counts.iter().sum::<u64>();
        Ok(Self { tokens, training, counts, padding: class(LINE_BREAK) })
    }

    /// The share of the training tokens that have no class of their own.
    pub fn unknown_in_training(&self) -> f64 {
        self.counts[UNKNOWN as usize] as f64 / self.training as f64
    }

    /// The same of the held-out tokens.
    pub fn unknown_in_held_out(&self) -> f64 {
        let unknown = self.held_out().iter().filter(|&&class| class == UNKNOWN).count();
        unknown as f64 / self.held_out().len() as f64
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
