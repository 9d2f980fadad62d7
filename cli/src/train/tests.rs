use ndarray::{Array2, s};
use proptest::prelude::*;
use std::time::Duration;
use surprisal::LinearCrossEntropy;
use surprisal::autodiff::Tape;
use surprisal::random::Generator;

use super::TRAGEDIES;
use super::bilinear::PLACES;
use super::corpus::Corpus;
use super::layers::{Dropout, WIDTH};
use super::measure::{Predictions, is_due};
use super::model::{Kind, Model, classifier_of};
use super::spelling::Spelling;
use super::tokens::{TokenKind, Tokens};
use super::training::{Training, schedule};
use super::windows::Windows;
use crate::Failure;

fn cut(text: &str) -> Vec<&str> {
    Tokens::words(text).names().map(|token| std::str::from_utf8(token).unwrap()).collect()
}

/// What UAX 29 and the four tailorings make of single characters.
#[test]
fn words_of_edge_cases() {
    assert_eq!(cut(""), [""; 0]);
    assert_eq!(cut(" \t\u{a0}\u{3000}"), [""; 0]);
    assert_eq!(cut("Who's there?"), ["Who's", "there", "?"]);
    assert_eq!(cut("o'er to-night"), ["o'er", "to-night"]);
    assert_eq!(cut("mother-in-law\u{2010}to\u{2011}be"), ["mother-in-law\u{2010}to\u{2011}be"]);
    assert_eq!(cut("'Tis one,--"), ["'", "Tis", "one", ",", "-", "-"]);
    assert_eq!(cut("the king's' a-'b"), ["the", "king's", "'", "a", "-", "'", "b"]);
    assert_eq!(cut("a\nb\r\nc\rd\n\r\n"), ["a", "\n", "b", "\n", "c", "\n", "d", "\n", "\n"]);
    assert_eq!(cut("Œuvre d\u{2019}été, naïf"), ["Œuvre", "d\u{2019}été", ",", "naïf"]);
    assert_eq!(cut("e\u{301}te\u{301}"), ["e\u{301}te\u{301}"]);
    assert_eq!(cut("a\u{0}🙂🙂b"), ["a", "\u{0}", "🙂", "🙂", "b"]);
    assert_eq!(cut("word-"), ["word", "-"]);
    // Numbers with their separators, and dates by their hyphens.
    assert_eq!(cut("3.14, 1,000. 2024-01-02"), ["3.14", ",", "1,000", ".", "2024-01-02"]);
    // An emoji of several parts, a flag, a keycap.
    assert_eq!(
        cut("👩🏽\u{200d}🚀❤\u{fe0f}🇮🇳🇯🇵1\u{fe0f}\u{20e3}"),
        ["👩🏽\u{200d}🚀", "❤\u{fe0f}", "🇮🇳", "🇯🇵", "1\u{fe0f}\u{20e3}"]
    );
    assert_eq!(
        cut("_so_ snake_case __init__"),
        ["_", "so", "_", "snake_case", "_", "_", "init", "_", "_"]
    );
    // What nobody sees, at the edges of words.
    assert_eq!(cut("\u{200f}שלום\u{200f} a\u{200b}b\u{2060}"), ["שלום", "a", "b"]);
    // A narrow space before French punctuation, and within a number.
    assert_eq!(cut("quoi\u{202f}? 10\u{202f}000"), ["quoi", "?", "10\u{202f}000"]);
    assert_eq!(cut("gib-猫-gib-カ"), ["gib", "-", "猫", "-", "gib", "-", "カ"]);
}

#[test]
fn characters_and_bytes_of_edge_cases() {
    let characters = |text| -> Vec<String> {
        let tokens = Tokens::characters(text);
        tokens.names().map(|token| String::from_utf8(token.into()).unwrap()).collect()
    };
    assert_eq!(characters("a b\r\n"), ["a", " ", "b", "\n"]);
    assert_eq!(characters("हिन्दी"), ["हि", "न्दी"]);
    assert_eq!(characters("น้ำ🇹🇭"), ["น้ำ", "🇹🇭"]);
    let bytes = Tokens::bytes(b"\r\n\xff");
    assert_eq!(bytes.names().collect::<Vec<_>>(), [b"\r", b"\n", b"\xff"]);
}

/// Letters with marks, joiners, spaces of all kinds, emoji and what has a rule of its own.
const CHARACTERS: &str = "(\\PC|[ \\n\\r\\t'’a_.,:\"-]|[\u{300}\u{93f}\u{94d}\u{200b}-\u{200f}\u{2028}\
                          \u{202f}\u{2060}\u{feff}\u{e33}กน้ำ하ᄒカーﾞら漢ــ🇮👩🏽❤\u{fe0f}\u{20e3}\u{600}])*";

proptest! {
    /// Tokens and what is between them give the text back, and that is white space or not to be seen.
    #[test]
    fn tokens_lose_nothing(text in CHARACTERS) {
        for tokens in
            [Tokens::words(&text), Tokens::characters(&text), Tokens::bytes(text.as_bytes())]
        {
            let mut whole = Vec::new();
            for index in 0..tokens.len() {
                let gap = std::str::from_utf8(tokens.gap(index)).ok();
                prop_assert!(tokens.kind == TokenKind::Bytes || gap.unwrap().chars().all(unseen));
                prop_assert!(!tokens.written(index).is_empty());
                whole.extend_from_slice(tokens.gap(index));
                whole.extend_from_slice(tokens.written(index));
            }
            let rest = text.as_bytes().strip_prefix(&whole[..]).unwrap();
            prop_assert!(std::str::from_utf8(rest).unwrap().chars().all(unseen));
            prop_assert!(rest.is_empty() || tokens.kind == TokenKind::Words);
        }
    }

    /// Lines can be cut one by one.
    #[test]
    fn words_of_lines_are_those_of_the_text(first in CHARACTERS, second in CHARACTERS) {
        prop_assume!(!first.ends_with('\r'));
        let mut lines = cut(&first);
        lines.push("\n");
        lines.extend(cut(&second));
        let whole = format!("{first}\n{second}");
        prop_assert_eq!(cut(&whole), lines);
    }

    /// A mark is never cut from its letter.
    #[test]
    fn words_hold_whole_characters(text in CHARACTERS) {
        let characters = Tokens::characters(&text);
        let starts: std::collections::HashSet<usize> = (0..characters.len())
            .map(|index| characters.written(index).as_ptr().addr())
            .collect();
        let words = Tokens::words(&text);
        for index in 0..words.len() {
            let after_space = !words.gap(index).is_empty();
            let start = words.written(index).as_ptr().addr();
            prop_assert!(after_space || starts.contains(&start), "{:?}", words.name(index));
        }
    }
}

/// A text of one character over and over takes a time in proportion to it: with its square this would
/// take minutes.
#[test]
fn long_runs_are_cut_in_one_pass() {
    const REPEATS: usize = 100_000;
    for (repeated, words) in [
        ("_", REPEATS),
        ("ア", REPEATS),
        ("漢", REPEATS),
        ("ำ", 1),
        ("น้ำ", REPEATS),
        ("🇮🇳", REPEATS),
        ("👩\u{200d}", 1),
        ("\u{301}", 1),
        ("a_", 2),
        ("a-", 2),
        ("a\u{200f}", 1),
        ("ア_", 2 * REPEATS),
        ("क्\u{200d}", 1),
        ("'", REPEATS),
    ] {
        let text = repeated.repeat(REPEATS);
        assert_eq!(Tokens::words(&text).len(), words, "{repeated:?}");
        assert!(Tokens::characters(&text).len() <= 2 * REPEATS, "{repeated:?}");
    }
}

/// What may stand between tokens.
fn unseen(c: char) -> bool {
    let invisible = ['\u{200b}', '\u{200e}', '\u{200f}', '\u{61c}', '\u{2060}', '\u{feff}'];
    let directions =
        ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c);
    (c.is_whitespace() && c != '\n' && c != '\r') || invisible.contains(&c) || directions
}

/// Every byte has a class, whether it occurs or not.
#[test]
fn corpus_of_bytes() {
    let text = "ab".repeat(90) + "zzzz\u{e9}ab";
    let corpus = Corpus::new(&Tokens::bytes(text.as_bytes()), "text").ok().unwrap();
    assert_eq!(corpus.vocabulary(), 257);
    assert_eq!((corpus.unknown_in_training(), corpus.unknown_in_held_out()), (0.0, 0.0));
    // 188 bytes, of which 170 are trained on.
    assert_eq!(corpus.counts[..4], [0, 85, 85, 0]);
}

/// The shares of both parts, and what is made of them: a warning above a tenth, an error above a half.
#[test]
fn unknown_tokens_are_warned_of_and_refused() {
    let check = |unknown: usize| {
        // 180 training tokens and 20 held out, of which so many are new.
        let mut text = "a b ".repeat(90);
        (0..20).for_each(|index| {
            text += &if index < unknown { format!("n{index} ") } else { "a ".into() }
        });
        let corpus = Corpus::new(&Tokens::words(&text), "FILE").ok().unwrap();
        assert_eq!(corpus.unknown_in_held_out(), unknown as f64 / 20.0);
        super::unknown::check(&corpus, TokenKind::Words, "FILE")
    };
    assert!(check(2).ok().unwrap().is_none());
    let warning = check(3).ok().unwrap().unwrap();
    assert!(warning.starts_with("15.0 % of the held-out words of FILE are unknown"), "{warning}");
    assert!(check(10).ok().unwrap().is_some());
    let Err(Failure::Input(message)) = check(11) else { panic!("55 % were accepted") };
    assert!(message.starts_with("55 % of the held-out words of FILE"), "{message}");
    assert!(message.contains("--tokens characters"), "{message}");
}

#[test]
fn corpus_of_known_counts() {
    // 90 training tokens: 50 a, 38 b, and two words that occur once there.
    let training = ["a ".repeat(50), "b ".repeat(38), "once seldom ".into()].concat();
    let text = training + "a b once once new a a a a a";
    let corpus = Corpus::new(&Tokens::words(&text), "text").ok().unwrap();
    assert_eq!(corpus.training, 90);
    assert_eq!(corpus.counts, [2, 50, 38]);
    assert_eq!(corpus.held_out(), [1, 2, 0, 0, 0, 1, 1, 1, 1, 1]);
    assert_eq!(corpus.tokens[87..90], [2, 0, 0]);
    // No line break: `<unk>` stands before the text.
    assert_eq!(corpus.padding, 0);
    let shares = [3.0_f64, 51.0, 39.0].map(|count| count / 93.0);
    let product = shares[1].powi(6) * shares[2] * shares[0].powi(3);
    assert!((corpus.unigram_perplexity() - product.powf(-0.1)).abs() < 1e-12);
}

#[test]
fn corpus_of_unknown_words_only() {
    let text: String = (0..100).map(|i| format!("w{i} ")).collect();
    let corpus = Corpus::new(&Tokens::words(&text), "text").ok().unwrap();
    assert_eq!((corpus.vocabulary(), corpus.padding), (1, 0));
    assert_eq!(corpus.counts, [90]);
    assert_eq!(corpus.unigram_perplexity(), 1.0);
}

#[test]
fn corpus_begins_after_a_line_break() {
    let corpus = Corpus::new(&Tokens::words(&"a a\n".repeat(40)), "text").ok().unwrap();
    assert_eq!(corpus.counts, [0, 72, 36]);
    assert_eq!(corpus.padding, 2);
}

#[test]
fn corpus_of_too_few_tokens() {
    let Err(Failure::Input(message)) = Corpus::new(&Tokens::words(&"a ".repeat(99)), "FILE") else {
        panic!("99 tokens were enough");
    };
    assert!(message.starts_with("FILE holds 99 tokens") && message.contains("at least 100"));
    assert!(Corpus::new(&Tokens::words(&"a ".repeat(100)), "FILE").is_ok());
}

#[test]
fn the_embedded_text_is_ascii() {
    assert!(TRAGEDIES.is_ascii());
    let corpus = Corpus::new(&Tokens::words(TRAGEDIES), "text").ok().unwrap();
    assert_eq!((corpus.tokens.len(), corpus.vocabulary()), (223_603, 5871));
}

#[test]
fn learning_rate_rises_and_falls() {
    let rates = |steps: usize| -> Vec<f64> {
        let schedule = schedule(steps).ok().unwrap();
        (0..steps as u64).map(|step| schedule.rate(step)).collect()
    };
    assert!([1, 2, 49, 50, 51, 400].into_iter().all(|n| rates(n).iter().all(|&rate| rate > 0.0)));
    let rates = rates(400);
    let highest = rates.iter().position(|&rate| rate == rates.iter().copied().fold(0.0, f64::max));
    assert_eq!(highest, Some(49));
    assert!(rates[399] < 1e-4 && rates[0] < 1e-3);
}

/// A text of a few words.
fn text() -> String {
    "the king is dead\nlong live the king\n".repeat(40) + "dead is the king, alas\n"
}

/// That text, with its training part.
fn corpus() -> Corpus {
    Corpus::new(&Tokens::words(&text()), "text").ok().unwrap()
}

const KINDS: [Kind; 3] = [Kind::Bilinear, Kind::Mlp, Kind::Transformer];

/// A model in the midst of its training: no parameter is what it began with.
fn trained(corpus: &Corpus, kind: Kind) -> Training<'_> {
    let mut training = Training::new(corpus, kind, 3, 30).ok().unwrap();
    for _ in 0..10 {
        training.advance().unwrap();
    }
    training
}

/// The first model is the unigram model: its held-out perplexity is the unigram's. Where the classifier
/// is the embedding e, whose numbers are uniform within ±0.1, a word is more likely after itself by
/// |e|², about 128 · 0.01/3 = 0.43 nats: the loss is off by less than that.
#[test]
fn training_begins_at_the_unigram() {
    let (text, corpus) = (text(), corpus());
    let spelling = Spelling::new(&Tokens::words(&text), &corpus);
    for kind in KINDS {
        let training = Training::new(&corpus, kind, 3, 30).ok().unwrap();
        let held_out = corpus.training..corpus.tokens.len();
        let hidden = training.hidden_of(held_out).ok().unwrap();
        let predictions = Predictions {
            hidden: hidden.view(),
            classifier: training.model.classifier(),
            bias: training.model.bias(),
            targets: corpus.held_out(),
        };
        let measured = predictions.measure(&spelling, 0, Duration::ZERO).ok().unwrap();
        let expected = corpus.unigram_perplexity();
        let tolerance = if kind == Kind::Transformer { 0.43 } else { 1e-6 };
        let off = (measured.perplexity / expected).ln().abs();
        assert!(off < tolerance, "{kind:?}: {off}");
    }
}

/// The whole chain of each model, from its words through the fused loss: the derivative in a random
/// direction of each parameter, against a central difference. In f32 the loss, about 2, is off by some
/// 1e-7, and the difference quotient over 2/256 by some 1e-5 to 1e-4.
#[test]
fn gradients_against_central_differences() {
    let corpus = corpus();
    let length = 5;
    let windows = Windows::of(&corpus, [-1, 7, 30, 30], length, PLACES);
    let loss = LinearCrossEntropy::builder().build().unwrap();
    for kind in KINDS {
        let mut model = trained(&corpus, kind).model;
        let value = |model: &Model, gradient: bool| {
            let tape = Tape::new().unwrap();
            let leaves = model.leaves(&tape);
            // The same numbers are dropped each time.
            let hidden = model.hidden(&leaves, &windows, &mut Dropout::of_step(1, 2)).ok().unwrap();
            let (classifier, bias) = (leaves.of(classifier_of(kind)), Some(leaves.of("bias")));
            let value = hidden.linear_cross_entropy(classifier, bias, &windows.targets, &loss);
            let value = value.unwrap();
            let gradients = gradient.then(|| {
                let mut gradients = value.backward().unwrap();
                leaves.all().map(|leaf| gradients.take(leaf).unwrap()).collect::<Vec<_>>()
            });
            (f64::from(value.scalar().unwrap()), gradients)
        };
        let gradients = value(&model, true).1.unwrap();
        let mut random = Generator::from_state(5);
        for (i, gradient) in gradients.iter().enumerate() {
            let direction = gradient.mapv(|g| {
                g / gradient.mapv(|g| g * g).sum().sqrt() + 0.01 * random.nearly_normal()
            });
            let analytic: f64 =
                gradient.iter().zip(&direction).map(|(&g, &d)| f64::from(g) * f64::from(d)).sum();
            let mut moved = |by: f32| {
                model.parameters[i].value.scaled_add(by, &direction);
                let value = value(&model, false).0;
                model.parameters[i].value.scaled_add(-by, &direction);
                value
            };
            let by = 1.0 / 256.0;
            let numeric = (moved(by) - moved(-by)) / (2.0 * f64::from(by));
            let error = (numeric - analytic).abs();
            let name = model.parameters[i].name;
            assert!(error < 2e-3 * analytic.abs() + 1e-4, "{kind:?} {name}: {numeric} {analytic}");
        }
    }
}

/// A hidden state is the same whatever comes after it, and whichever half of a window it is in, and
/// depends on every word that the model claims to see.
#[test]
fn hidden_states_see_their_context_alone() {
    let corpus = corpus();
    for kind in KINDS {
        let model = trained(&corpus, kind).model;
        let hidden = |corpus: &Corpus| {
            let windows = Windows::of(corpus, [30, 33], 20, PLACES);
            let tape = Tape::new().unwrap();
            let hidden = model.hidden(&model.leaves(&tape), &windows, &mut Dropout::none());
            hidden.ok().unwrap().value().into_dimensionality::<ndarray::Ix2>().unwrap()
        };
        let before = hidden(&corpus);
        let mut changed = corpus_with(&corpus, 44);
        let after = hidden(&changed);
        // Row 14 of the first window predicts word 44, and sees the words before.
        assert_eq!(before.slice(s![..15, ..]), after.slice(s![..15, ..]), "{kind:?}");
        assert_ne!(before.row(15), after.row(15), "{kind:?}");
        // The farthest word that row 10 of the first window sees.
        let farthest = 30 + 10 - PLACES - if kind == Kind::Transformer { 10 } else { 0 };
        changed = corpus_with(&corpus, farthest);
        assert_ne!(before.row(10), hidden(&changed).row(10), "{kind:?}");
        changed = corpus_with(&corpus, farthest - 1);
        assert_eq!(before.row(10), hidden(&changed).row(10), "{kind:?}");
    }
}

/// A text with another word at a position.
fn corpus_with(corpus: &Corpus, at: usize) -> Corpus {
    let mut tokens = corpus.tokens.clone();
    tokens[at] = (tokens[at] + 1) % corpus.vocabulary() as u32;
    Corpus { tokens, counts: corpus.counts.clone(), ..*corpus }
}

/// The sum by hand: scales that tell the places apart, embeddings that tell the words apart.
#[test]
fn bilinear_sum_by_hand() {
    let corpus = Corpus { tokens: vec![1, 2, 0], training: 3, counts: vec![1; 3], padding: 0 };
    let mut model = Model::unigram(Kind::Bilinear, &corpus, &mut Generator::from_state(0));
    for parameter in &mut model.parameters {
        parameter.value = match parameter.name {
            "embedding" => Array2::from_shape_fn((3, WIDTH), |(class, _)| [1.0, 3.0, 7.0][class]),
            "scales" => Array2::from_shape_fn((PLACES, WIDTH), |(place, _)| match place {
                0 => 1.0,
                1 => 100.0,
                _ => 0.0,
            }),
            _ => continue,
        }
        .into_dyn()
        .into_shared();
    }
    let windows = Windows::of(&corpus, [0, 1], 2, PLACES);
    let tape = Tape::new().unwrap();
    let hidden = model.hidden(&model.leaves(&tape), &windows, &mut Dropout::none()).ok().unwrap();
    let hidden = hidden.value().into_dimensionality::<ndarray::Ix2>().unwrap();
    for (row, expected) in hidden.outer_iter().zip([101.0, 103.0, 103.0, 307.0]) {
        assert!(row.iter().all(|&h| h == expected), "{row} {expected}");
    }
}

/// All held-out positions in order, of which every one but the first few sees half a window.
#[test]
fn hidden_states_of_positions() {
    let corpus = corpus();
    let model = trained(&corpus, Kind::Transformer).model;
    let all = model.hidden_of(&corpus, 100..121, 8).ok().unwrap();
    assert_eq!(all.dim(), (21, WIDTH));
    for position in [100, 103, 104, 117, 120] {
        // The window that has it in its second half begins 4 before a multiple of 4 from 100 on.
        let start = position - (position - 100) % 4 - 4;
        let windows = Windows::of(&corpus, [start as isize], 8, PLACES);
        let tape = Tape::new().unwrap();
        let hidden = model.hidden(&model.leaves(&tape), &windows, &mut Dropout::none());
        let hidden = hidden.ok().unwrap().value();
        let row = hidden.index_axis(ndarray::Axis(0), position - start).to_owned();
        let difference =
            &row.into_dimensionality::<ndarray::Ix1>().unwrap() - &all.row(position - 100);
        assert!(difference.iter().all(|d| d.abs() < 1e-5), "{position}");
    }
}

#[test]
fn measurements_are_due_more_often_at_first() {
    let due: Vec<usize> = (0..=160).filter(|&step| is_due(step, 50)).collect();
    assert_eq!(due, [0, 1, 2, 5, 10, 20, 50, 100, 150]);
    let due: Vec<usize> = (0..=900).filter(|&step| is_due(step, 300)).collect();
    assert_eq!(due, [0, 1, 2, 5, 10, 20, 50, 100, 200, 300, 600, 900]);
}

/// As another implementation finds it.
#[test]
fn kneser_ney_on_the_embedded_text() {
    let corpus = Corpus::new(&Tokens::words(TRAGEDIES), "text").ok().unwrap();
    let perplexity = super::kneser_ney::KneserNey::new(&corpus).perplexity(&corpus);
    assert!((perplexity - 100.192973849).abs() < 1e-6, "{perplexity}");
}
