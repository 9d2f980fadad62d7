//! The interpolated Kneser–Ney trigram (Kneser and Ney 1995; Chen and Goodman 1999, §2.7): what
//! counting alone makes of a text.
//!
//! With c the count of a trigram, c₊ the number of different words that an n-gram is seen behind, δ
//! a discount and n₊(·) the number of different words seen after a context,
//!
//! - p(w | u v) = (c(u v w) − δ₃)⁺ / c(u v ·) + δ₃ n₊(u v) / c(u v ·) · p(w | v)
//! - p(w | v) = (c₊(v w) − δ₂)⁺ / c₊(v ·) + δ₂ n₊(v) / c₊(v ·) · p(w)
//! - p(w) = (c₊(w) − δ₁)⁺ / c₊(·) + δ₁ n₊ / c₊(·) · 1 / V
//!
//! Where a context was never seen, the shorter one decides alone. Each δ is n₁ / (n₁ + 2 n₂) (Ney,
//! Essen and Kneser 1994), with n₁ and n₂ the numbers of n-grams of its order that have the count 1
//! and 2.

use std::collections::HashMap;

use super::corpus::Corpus;

/// δ where no n-gram has the count 1, and nothing says how much is left for what was never seen.
const DISCOUNT_WITHOUT_SINGLETONS: f64 = 0.5;

/// The counts of one order, with contexts of so many words.
struct Order<const CONTEXT: usize> {
    counts: HashMap<([u32; CONTEXT], u32), u64>,
    contexts: HashMap<[u32; CONTEXT], Continuations>,
    discount: f64,
}

/// What follows a context.
#[derive(Default)]
struct Continuations {
    /// The sum of their counts.
    total: u64,
    /// How many are different.
    types: u64,
}

impl<const CONTEXT: usize> Order<CONTEXT> {
    fn new(counts: HashMap<([u32; CONTEXT], u32), u64>) -> Self {
        let mut contexts: HashMap<[u32; CONTEXT], Continuations> = HashMap::new();
        for (&(context, _), &count) in &counts {
            let continuations = contexts.entry(context).or_default();
            continuations.total += count;
            continuations.types += 1;
        }
        let with_count = |n| counts.values().filter(|&&count| count == n).count() as f64;
        let (once, twice) = (with_count(1), with_count(2));
        let discount = match once {
            0.0 => DISCOUNT_WITHOUT_SINGLETONS,
            once => once / (once + 2.0 * twice),
        };
        Self { counts, contexts, discount }
    }

    /// The probability of a class after a context, given that after the shorter context.
    fn interpolate(&self, context: [u32; CONTEXT], class: u32, shorter: f64) -> f64 {
        let Some(continuations) = self.contexts.get(&context) else { return shorter };
        let count = self.counts.get(&(context, class)).copied().unwrap_or(0);
        let kept = (count as f64 - self.discount).max(0.0);
        (kept + self.discount * continuations.types as f64 * shorter) / continuations.total as f64
    }
}

/// The model, estimated on the training part of a text.
pub struct KneserNey {
    trigrams: Order<2>,
    bigrams: Order<1>,
    unigrams: Order<0>,
    vocabulary: usize,
}

impl KneserNey {
    /// Counts the training part. Two words of padding stand before the text.
    pub fn new(corpus: &Corpus) -> Self {
        let padded =
            [corpus.padding; 2].into_iter().chain(corpus.tokens[..corpus.training].iter().copied());
        let padded: Vec<u32> = padded.collect();
        let mut trigrams = HashMap::new();
        for words in padded.windows(3) {
            *trigrams.entry(([words[0], words[1]], words[2])).or_insert(0) += 1;
        }
        let mut bigrams = HashMap::new();
        for &([_, before], class) in trigrams.keys() {
            *bigrams.entry(([before], class)).or_insert(0) += 1;
        }
        let mut unigrams = HashMap::new();
        for &(_, class) in bigrams.keys() {
            *unigrams.entry(([], class)).or_insert(0) += 1;
        }
        Self {
            trigrams: Order::new(trigrams),
            bigrams: Order::new(bigrams),
            unigrams: Order::new(unigrams),
            vocabulary: corpus.vocabulary(),
        }
    }

    /// The probability of a class after two others.
    pub fn probability(&self, context: [u32; 2], class: u32) -> f64 {
        let uniform = 1.0 / self.vocabulary as f64;
        let unigram = self.unigrams.interpolate([], class, uniform);
        let bigram = self.bigrams.interpolate([context[1]], class, unigram);
        self.trigrams.interpolate(context, class, bigram)
    }

    /// The perplexity of the held-out part. The contexts reach back into the training part.
    pub fn perplexity(&self, corpus: &Corpus) -> f64 {
        // A training part of at least two words precedes what is held out.
        let words = corpus.tokens[corpus.training - 2..].windows(3);
        let sum: f64 = words.map(|w| self.probability([w[0], w[1]], w[2]).ln()).sum();
        (-sum / corpus.held_out().len() as f64).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corpus(tokens: &[u32], training: usize, vocabulary: usize) -> Corpus {
        let mut counts = vec![0; vocabulary];
        tokens[..training].iter().for_each(|&class| counts[class as usize] += 1);
        Corpus { tokens: tokens.to_vec(), training, counts, padding: 0 }
    }

    /// 0 0 | 1 2 1 2 1: the trigrams are 001, 012, 121 (twice) and 212; the bigrams behind how many
    /// words: 01 behind 1 (0), 12 behind 2 (0 and 2), 21 behind 1; the words: 1 behind 2, 2 behind 1.
    #[test]
    fn probabilities_by_hand() {
        let model = KneserNey::new(&corpus(&[1, 2, 1, 2, 1], 5, 4));
        let close = |found: f64, expected: f64| {
            assert!((found - expected).abs() < 1e-15, "{found} {expected}")
        };
        // n₁ and n₂: 3 and 1, 2 and 1, 1 and 1.
        close(model.trigrams.discount, 3.0 / 5.0);
        close(model.bigrams.discount, 2.0 / 4.0);
        close(model.unigrams.discount, 1.0 / 3.0);
        let unigram = |kept: f64| (kept + 1.0 / 3.0 * 2.0 / 4.0) / 3.0;
        let (one, two, never) = (unigram(2.0 - 1.0 / 3.0), unigram(1.0 - 1.0 / 3.0), unigram(0.0));
        close(model.unigrams.interpolate([], 1, 0.25), one);
        close(model.probability([3, 3], 1), one);
        close(model.probability([3, 3], 3), never);
        // After 2 comes 1 alone, behind one word.
        let after_two = |kept: f64, shorter: f64| kept + 0.5 * shorter;
        close(model.probability([3, 2], 1), after_two(0.5, one));
        close(model.probability([3, 2], 2), after_two(0.0, two));
        // After 1 2 comes 1, twice.
        let after = |kept: f64, shorter: f64| (kept + 0.6 * shorter) / 2.0;
        close(model.probability([1, 2], 1), after(1.4, after_two(0.5, one)));
        close(model.probability([1, 2], 0), after(0.0, after_two(0.0, never)));
    }

    #[test]
    fn probabilities_sum_to_one() {
        let mut generator = surprisal::random::Generator::new(1);
        // The small classes are frequent, the last two never occur.
        let tokens = (0..3000).map(|_| (18.0 * generator.uniform().powi(2)) as u32);
        let tokens: Vec<u32> = tokens.collect();
        let model = KneserNey::new(&corpus(&tokens, 2700, 20));
        for context in [[0, 0], [0, 17], [17, 0], [3, 5], [19, 2], [2, 19], [18, 19]] {
            let sum: f64 = (0..20).map(|class| model.probability(context, class)).sum();
            assert!((sum - 1.0).abs() < 1e-13, "{context:?}: {sum}");
            assert!((0..20).all(|class| model.probability(context, class) > 0.0));
        }
    }

    /// Without n-grams of the count 1 there is still something left for the others.
    #[test]
    fn nothing_is_impossible() {
        let tokens: Vec<u32> = (0..90).map(|i| i % 3).chain([3; 10]).collect();
        let corpus = corpus(&tokens, 90, 4);
        let model = KneserNey::new(&corpus);
        let perplexity = model.perplexity(&corpus);
        assert!(perplexity.is_finite() && perplexity > 4.0, "{perplexity}");
    }

    /// The perplexity is that of the held-out words, each after the two before it.
    #[test]
    fn perplexity_by_hand() {
        let corpus = corpus(&[1, 2, 1, 2, 1, 1, 2], 5, 4);
        let model = KneserNey::new(&corpus);
        let product = model.probability([2, 1], 1) * model.probability([1, 1], 2);
        assert!((model.perplexity(&corpus) - product.powf(-0.5)).abs() < 1e-12);
    }
}
