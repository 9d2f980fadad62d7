//! `surprisal train`, from the outside.
#![cfg(feature = "cli")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use surprisal::io::Tensor;

fn surprisal(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_surprisal")).args(arguments).output().unwrap()
}

/// Exit 0, nothing on stderr, and one JSON object on stdout.
fn json(arguments: &[&str]) -> Value {
    let output = surprisal(arguments);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), errors.as_str()), (Some(0), ""), "{arguments:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// Exit 2, nothing on stdout, and one line on stderr, which is returned.
fn refused(arguments: &[&str]) -> String {
    let output = surprisal(arguments);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
    assert!(output.stdout.is_empty());
    assert_eq!(errors.lines().count(), 1, "{errors}");
    errors
}

/// Sentences of a grammar in which the word before says most about the next.
fn sentences() -> String {
    let (mut text, mut state) = (String::new(), 1_u32);
    let mut pick = |words: &[&'static str]| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        words[(state >> 16) as usize % words.len()]
    };
    for _ in 0..400 {
        let subject = pick(&["the cat", "the dog", "my friend", "our old king"]);
        let verb = pick(&["sees", "hears", "loves"]);
        let object = pick(&["the sea", "the wind", "my house", "our garden"]);
        text += &format!("{subject} {verb} {object}.\n");
    }
    text
}

fn path(directory: &Path, name: &str) -> String {
    directory.join(name).to_str().unwrap().to_string()
}

/// The metrics without what a clock says.
fn metrics(out: &str) -> Vec<Value> {
    let text = fs::read_to_string(Path::new(out).join("metrics.jsonl")).unwrap();
    assert!(text.ends_with('\n'));
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let timeless = lines.map(|mut line: Value| {
        assert!(line["seconds"].as_f64().unwrap() >= 0.0);
        line.as_object_mut().unwrap().remove("seconds");
        line
    });
    timeless.collect()
}

#[test]
fn trains_on_a_text_and_the_loss_agrees() {
    let directory = tempfile::tempdir().unwrap();
    let (text, out) = (path(directory.path(), "text.txt"), path(directory.path(), "out"));
    fs::write(&text, sentences()).unwrap();
    let arguments = ["train", "--json", "--text", &text, "--out", &out, "--steps", "120"];
    let result = json(&arguments);

    let keys: Vec<&String> = result.as_object().unwrap().keys().collect();
    let expected = [
        "perplexity",
        "bits_per_word",
        "unigram_perplexity",
        "vocabulary",
        "tokens",
        "steps",
        "seconds",
        "out",
    ];
    assert_eq!(keys, expected);
    assert_eq!(result["steps"], 120);
    assert_eq!(result["out"], out);
    let perplexity = result["perplexity"].as_f64().unwrap();
    let bits = result["bits_per_word"].as_f64().unwrap();
    assert!((bits - perplexity.log2()).abs() < 1e-9);
    // Of some 8 words a sentence, 3 are free: (4·3·4)^(1/8) is 1.6, and the unigram's about 14.
    assert!(perplexity < 2.0, "{perplexity}");
    assert!(perplexity < 0.2 * result["unigram_perplexity"].as_f64().unwrap());

    let tensor = |name: &str| Tensor::open(&path(Path::new(&out), name)).unwrap();
    let tokens = result["tokens"].as_u64().unwrap() as usize;
    let vocabulary = result["vocabulary"].as_u64().unwrap() as usize;
    let (hidden, targets) = (tensor("hidden.npy"), tensor("targets.npy"));
    assert_eq!(hidden.view().shape()[0], tokens / 10);
    assert_eq!(targets.view().shape(), [tokens / 10]);
    let width = hidden.view().shape()[1];
    for name in ["classifier", "embedding"] {
        let matrix = tensor(&format!("model.safetensors:{name}"));
        assert_eq!(matrix.view().shape(), [vocabulary, width]);
    }
    assert_eq!(tensor("model.safetensors:bias").view().shape(), [vocabulary]);

    let loss = json(&[
        "loss",
        "--json",
        "--hidden",
        &path(Path::new(&out), "hidden.npy"),
        "--classifier",
        &path(Path::new(&out), "model.safetensors:classifier"),
        "--bias",
        &path(Path::new(&out), "model.safetensors:bias"),
        "--targets",
        &path(Path::new(&out), "targets.npy"),
    ]);
    let same = loss["perplexity"].as_f64().unwrap() / perplexity;
    assert!((same - 1.0).abs() < 1e-6, "{loss} {perplexity}");
    assert_eq!(loss["tokens"], tokens / 10);

    let lines = metrics(&out);
    assert_eq!(lines.len(), 120);
    for (i, line) in lines.iter().enumerate() {
        assert_eq!(line["step"], i + 1);
        assert_eq!(line.get("held_out_perplexity").is_some(), i == 99 || i == 119);
    }
    assert!(lines[119]["loss"].as_f64().unwrap() < 0.5 * lines[0]["loss"].as_f64().unwrap());
    assert_eq!(lines[119]["held_out_perplexity"], result["perplexity"]);
}

#[test]
fn the_same_bits_for_a_seed_on_any_number_of_threads() {
    let directory = tempfile::tempdir().unwrap();
    let run = |name: &str, threads: &str, seed: &str| {
        let out = path(directory.path(), name);
        let arguments = ["train", "--json", "--steps", "2", "--out", &out];
        json(&[&arguments[..], &["--threads", threads, "--seed", seed]].concat());
        out
    };
    // Without the feature parallel there is one thread.
    let many = if cfg!(feature = "parallel") { "2" } else { "1" };
    let (one, two, other) = (run("one", "1", "5"), run("two", many, "5"), run("other", "1", "6"));
    assert_eq!(metrics(&one), metrics(&two));
    assert_ne!(metrics(&one), metrics(&other));
    for name in ["model.safetensors", "hidden.npy", "targets.npy"] {
        let bytes = |out: &str| fs::read(Path::new(out).join(name)).unwrap();
        assert!(bytes(&one) == bytes(&two), "{name} depends on the threads");
        assert_eq!(bytes(&one) == bytes(&other), name == "targets.npy", "{name} and the seed");
    }
}

#[test]
fn prints_a_table() {
    let directory = tempfile::tempdir().unwrap();
    let (text, out) = (path(directory.path(), "text.txt"), path(directory.path(), "out"));
    fs::write(&text, sentences()).unwrap();
    let output = surprisal(&["train", "--text", &text, "--out", &out, "--steps", "1"]);
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
    let table = String::from_utf8(output.stdout).unwrap();
    for key in ["perplexity", "bits_per_word", "unigram_perplexity", "unigram_bits_per_word"] {
        assert!(table.lines().any(|line| line.split(' ').next() == Some(key)), "{table}");
    }
}

#[test]
fn only_unknown_words_have_no_surprise() {
    let directory = tempfile::tempdir().unwrap();
    let (text, out) = (path(directory.path(), "text.txt"), path(directory.path(), "out"));
    fs::write(&text, (0..100).map(|i| format!("w{i} ")).collect::<String>()).unwrap();
    let result = json(&["train", "--json", "--text", &text, "--out", &out, "--steps", "3"]);
    assert_eq!(result["vocabulary"], 1);
    assert_eq!(result["perplexity"], 1.0);
}

#[test]
fn bad_input_is_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let out = path(directory.path(), "out");
    let with_text = |name: &str, bytes: &[u8]| {
        let text = path(directory.path(), name);
        fs::write(&text, bytes).unwrap();
        refused(&["train", "--text", &text, "--out", &out])
    };
    let message = with_text("empty.txt", b"");
    assert!(message.contains("empty.txt holds 0 tokens"), "{message}");
    assert!(message.contains("at least 100"), "{message}");
    let message = with_text("blank.txt", b" \t  ");
    assert!(message.contains("blank.txt holds 0 tokens"), "{message}");
    let message = with_text("tiny.txt", b"To be, or not to be");
    assert!(message.contains("tiny.txt holds 7 tokens"), "{message}");
    let message = with_text("latin.txt", b"caf\xe9 au lait");
    assert!(message.contains("latin.txt is not UTF-8: byte 0xe9 at offset 3"), "{message}");
    let message = with_text("cut.txt", "bon café".as_bytes().split_last().unwrap().1);
    assert!(message.contains("byte 0xc3 at offset 7"), "{message}");

    let missing = path(directory.path(), "missing.txt");
    let message = refused(&["train", "--text", &missing, "--out", &out]);
    assert!(message.contains("missing.txt"), "{message}");
    let here = directory.path().to_str().unwrap();
    let message = refused(&["train", "--text", here, "--out", &out]);
    assert!(message.contains("not a regular file"), "{message}");

    let message = refused(&["train", "--steps", "0", "--out", &out]);
    assert!(message.contains("--steps is 0, expected at least 1"), "{message}");
    refused(&["train", "--steps", "-1", "--out", &out]);
    refused(&["train", "--steps", "many", "--out", &out]);
    refused(&["train", "--seed", "1.5", "--out", &out]);
    refused(&["train", "--threads", "0", "--out", &out]);
    assert!(!Path::new(&out).exists(), "a refused run leaves nothing");
}

#[test]
fn an_output_that_cannot_be_written_is_status_1() {
    let directory = tempfile::tempdir().unwrap();
    let file = path(directory.path(), "file");
    fs::write(&file, "").unwrap();
    let output = surprisal(&["train", "--steps", "1", "--out", &file]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), errors.lines().count()), (Some(1), 1), "{errors}");
}
