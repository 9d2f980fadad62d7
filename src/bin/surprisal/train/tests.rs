use ndarray::{Array2, array};
use proptest::prelude::*;

use super::adam::Adam;
use super::model::{Context, Parameters};
use super::text::{Corpus, tokens};
use super::{TRAGEDIES, learning_rate};
use crate::Failure;
use crate::random::Random;
use surprisal::{Gradients, Inputs, LinearCrossEntropy, Upstream};

fn cut(text: &str) -> Vec<&str> {
    tokens(text).collect()
}

#[test]
fn tokens_of_edge_cases() {
    assert_eq!(cut(""), [""; 0]);
    assert_eq!(cut(" \t\u{a0}\u{3000}"), [""; 0]);
    assert_eq!(cut("Who's there?"), ["Who's", "there", "?"]);
    assert_eq!(cut("o'er to-night"), ["o'er", "to-night"]);
    assert_eq!(cut("'Tis one,--"), ["'", "Tis", "one", ",", "-", "-"]);
    assert_eq!(cut("the king's' a-'b"), ["the", "king's", "'", "a", "-", "'", "b"]);
    assert_eq!(cut("a\nb\r\nc\rd\n\r\n"), ["a", "\n", "b", "\n", "c", "\n", "d", "\n", "\n"]);
    assert_eq!(cut("\u{feff}Œuvre d\u{2019}été, naïf"), ["Œuvre", "d\u{2019}été", ",", "naïf"]);
    assert_eq!(cut("e\u{301}te\u{301}"), ["e\u{301}te\u{301}"]);
    assert_eq!(cut("吾輩は猫。"), ["吾輩は猫", "。"]);
    assert_eq!(cut("a\u{0}🙂🙂b"), ["a", "\u{0}", "🙂", "🙂", "b"]);
    assert_eq!(cut("word-"), ["word", "-"]);
}

proptest! {
    #[test]
    fn tokens_hold_all_but_the_white_space(text in "(\\PC|[ \\n\\r\\t'a-])*") {
        let kept = |text: &str| -> String {
            text.chars().filter(|c| !c.is_whitespace()).collect()
        };
        let body = text.strip_prefix('\u{feff}').unwrap_or(&text);
        prop_assert_eq!(kept(&cut(&text).concat()), kept(body));
        prop_assert!(cut(&text).iter().all(|token| !token.is_empty()));
    }
}

#[test]
fn corpus_of_known_counts() {
    // 90 training tokens: 50 a, 38 b, and two words that occur once there.
    let training = ["a ".repeat(50), "b ".repeat(38), "once seldom ".into()].concat();
    let text = training + "a b once once new a a a a a";
    let corpus = Corpus::new(&text, "text").ok().unwrap();
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
    let corpus = Corpus::new(&text, "text").ok().unwrap();
    assert_eq!((corpus.vocabulary(), corpus.padding), (1, 0));
    assert_eq!(corpus.counts, [90]);
    assert_eq!(corpus.unigram_perplexity(), 1.0);
}

#[test]
fn corpus_begins_after_a_line_break() {
    let corpus = Corpus::new(&"a a\n".repeat(40), "text").ok().unwrap();
    assert_eq!(corpus.counts, [0, 72, 36]);
    assert_eq!(corpus.padding, 2);
}

#[test]
fn corpus_of_too_few_tokens() {
    let Err(Failure::Input(message)) = Corpus::new(&"a ".repeat(99), "FILE") else {
        panic!("99 tokens were enough");
    };
    assert!(message.starts_with("FILE holds 99 tokens") && message.contains("at least 100"));
    assert!(Corpus::new(&"a ".repeat(100), "FILE").is_ok());
}

#[test]
fn the_embedded_text_is_ascii() {
    assert!(TRAGEDIES.is_ascii());
    let corpus = Corpus::new(TRAGEDIES, "text").ok().unwrap();
    assert_eq!((corpus.tokens.len(), corpus.vocabulary()), (223_603, 5871));
}

#[test]
fn random_numbers_are_those_of_the_reference() {
    let mut random = Random::new(1_234_567);
    let bits: [u64; 3] = std::array::from_fn(|_| random.bits());
    assert_eq!(bits, [6457827717110365317, 3203168211198807973, 9817491932198370423]);
}

#[test]
fn random_numbers_are_in_their_range() {
    let mut random = Random::new(0);
    assert!((0..1000).all(|_| (-1.0..1.0).contains(&random.symmetric())));
    let mut seen = [0; 3];
    (0..3000).for_each(|_| seen[random.below(3)] += 1);
    assert!(seen.iter().all(|&count| count > 900));
    let mut items: Vec<_> = (0..100).collect();
    random.shuffle(&mut items);
    assert_ne!(items, Vec::from_iter(0..100));
    items.sort();
    assert_eq!(items, Vec::from_iter(0..100));
    let mut mask = [7.0; 10_001];
    random.dropout_mask(&mut mask, 0.2);
    let dropped = mask.iter().filter(|&&number| number == 0.0).count();
    assert!(mask.iter().all(|&number| number == 0.0 || number == 1.25));
    assert!((1800..2200).contains(&dropped), "{dropped}");
}

/// Two steps by hand, with β₁ = 0.9 and β₂ = 0.99. After the gradients 1 and 3 the means are 0.1
/// and 0.39, corrected 1 and 0.39/0.19; the squares 0.01 and 0.0999, corrected 1 and 0.0999/0.0199.
#[test]
fn adam_by_hand() {
    let mut adam = Adam::new(3);
    let mut parameters = [2.0, -2.0, 5.0];
    adam.step(&mut parameters, &[1.0, -1.0, 0.0], 0.5, 0.0);
    for (parameter, expected) in parameters.iter().zip([1.5, -1.5, 5.0]) {
        assert!((parameter - expected).abs() < 1e-6, "{parameter}");
    }
    adam.step(&mut parameters, &[3.0, -3.0, 0.0], 0.5, 0.2);
    let step = 0.5 * (0.39 / 0.19) / (0.0999_f32 / 0.0199).sqrt();
    for (parameter, expected) in parameters.iter().zip([1.35 - step, -1.35 + step, 4.5]) {
        assert!((parameter - expected).abs() < 2e-6, "{parameter} {expected}");
    }
}

/// Over more numbers than a chunk has, each is on its own.
#[test]
fn adam_of_a_long_array() {
    let mut adam = Adam::new(10_000);
    let mut parameters: Vec<f32> = (0..10_000).map(|i| i as f32).collect();
    let gradient: Vec<f32> = (0..10_000).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
    adam.step(&mut parameters, &gradient, 0.5, 0.0);
    for (i, parameter) in parameters.iter().enumerate() {
        let expected = i as f32 - 0.5 * gradient[i];
        assert!((parameter - expected).abs() <= 1e-3, "{i}: {parameter}");
    }
}

#[test]
fn learning_rate_rises_and_falls() {
    let rates: Vec<f32> = (1..=400).map(|step| learning_rate(step, 400)).collect();
    assert!(rates.iter().all(|&rate| rate > 0.0));
    let highest = rates.iter().position(|&rate| rate == rates.iter().copied().fold(0.0, f32::max));
    assert_eq!(highest, Some(49));
    assert!(rates[399] < 1e-4 && rates[0] < 1e-3);
    assert!(learning_rate(1, 1) > 0.0);
}

/// A small model whose numbers, and the sums of their products, are exact in f32.
fn small_model() -> (Parameters, Vec<u32>) {
    let mut random = Random::new(7);
    let mut parameters = Parameters::zeros(6, 3, 5);
    for (numbers, _) in parameters.slices_mut() {
        numbers.fill_with(|| (64.0 * random.symmetric()).round() / 64.0);
    }
    (parameters, vec![1, 4, 4, 0, 5, 1, 2, 2, 2])
}

#[test]
fn hidden_states_by_hand() {
    let mut parameters = Parameters::zeros(3, 2, 2);
    parameters.embedding = array![[1.0, 2.0], [3.0, 5.0], [7.0, 11.0]];
    parameters.scales = array![[1.0, 10.0], [100.0, 1000.0]];
    let context = Context { tokens: &[1, 2, 0], padding: 0 };
    let mut hidden = Array2::from_elem((3, 2), f32::NAN);
    parameters.hidden(context, &[2, 0, 1], hidden.view_mut());
    assert_eq!(hidden, array![[307.0, 5110.0], [101.0, 2020.0], [103.0, 2050.0]]);
}

/// The whole chain, from embeddings and scales through the fused loss, against central differences
/// in f64.
#[test]
fn gradients_against_central_differences() {
    let (parameters, tokens) = small_model();
    let context = Context { tokens: &tokens, padding: 3 };
    // The first has padding in all places, and one position is there twice.
    let positions = [7, 0, 2, 5, 2, 8];
    let targets: Vec<u32> = positions.iter().map(|&position| tokens[position]).collect();
    let loss = LinearCrossEntropy::builder().build().unwrap();
    let hidden = |parameters: &Parameters| {
        let mut hidden = Array2::zeros((positions.len(), 5));
        parameters.hidden(context, &positions, hidden.view_mut());
        hidden.mapv(f64::from)
    };
    let classifier = parameters.classifier.mapv(f64::from);
    let value = |parameters: &Parameters| {
        let hidden = hidden(parameters);
        let inputs = Inputs::new(hidden.view(), classifier.view(), &targets);
        loss.forward(&inputs.bias(parameters.bias.view())).unwrap().loss()
    };

    let (states, mut d_hidden) = (hidden(&parameters), Array2::<f64>::zeros((positions.len(), 5)));
    let inputs = Inputs::new(states.view(), classifier.view(), &targets);
    let gradients = Gradients::new().hidden(d_hidden.view_mut());
    let inputs = inputs.bias(parameters.bias.view());
    loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).unwrap();
    // What stood there before must not matter.
    let mut gradient = parameters.clone();
    let d_hidden = d_hidden.mapv(|g| g as f32);
    parameters.backward(context, &positions, d_hidden.view(), &mut gradient);

    let difference = 1.0 / 1024.0;
    // Embeddings and scales are the first two arrays.
    for array in 0..2 {
        for i in 0..parameters.slices()[array].0.len() {
            let moved = |by: f32| {
                let mut parameters = parameters.clone();
                parameters.slices_mut()[array].0[i] += by;
                value(&parameters)
            };
            let numeric = (moved(difference) - moved(-difference)) / f64::from(2.0 * difference);
            let analytic = f64::from(gradient.slices()[array].0[i]);
            let error = (numeric - analytic).abs();
            assert!(error < 1e-6, "array {array}, number {i}: {numeric} {analytic}");
        }
    }
}

/// The first model is the unigram model: its held-out perplexity is the unigram's.
#[test]
fn training_begins_at_the_unigram() {
    let text = "the king is dead\nlong live the king\n".repeat(40) + "dead is the king, alas\n";
    let corpus = Corpus::new(&text, "text").ok().unwrap();
    let training = super::Training::new(&corpus, 3).ok().unwrap();
    let held_out = training.held_out(corpus.held_out().len()).ok().unwrap();
    let expected = corpus.unigram_perplexity();
    assert!((held_out.perplexity() / expected - 1.0).abs() < 1e-6);
}

#[test]
fn passes_through_the_text_take_every_position_once() {
    let text = "a b c\n".repeat(700);
    let corpus = Corpus::new(&text, "text").ok().unwrap();
    let mut training = super::Training::new(&corpus, 0).ok().unwrap();
    let mut first: Vec<usize> = (0..2).flat_map(|_| training.next_positions()).collect();
    assert_eq!((first.len(), corpus.training), (2048, 2520));
    assert!(!first.is_sorted());
    first.sort();
    first.dedup();
    assert_eq!(first.len(), 2048);
    assert!(first.last().unwrap() < &corpus.training);
    assert_eq!(training.next_positions().len(), 1024);
}
