//! `surprisal train`, from the outside.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

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

/// The metrics without what a clock says, and without the number of threads and the memory that they
/// take.
fn metrics(out: &str) -> Vec<Value> {
    let text = fs::read_to_string(Path::new(out).join("metrics.jsonl")).unwrap();
    assert!(text.ends_with('\n'));
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let timeless = lines.map(|mut line: Value| {
        let kinds = ["run", "measurement", "finish"];
        let object = match kinds.iter().find(|&kind| line.get(kind).is_some()) {
            Some(&kind) => &mut line[kind],
            None => &mut line,
        };
        let object = object.as_object_mut().unwrap();
        for key in TIMES_AND_THREADS {
            if let Some(number) = object.remove(key) {
                assert!(number.as_f64().unwrap() >= 0.0);
            }
        }
        line
    });
    timeless.collect()
}

const TIMES_AND_THREADS: [&str; 5] =
    ["seconds", "fused_seconds", "materialised_seconds", "threads", "workspace_bytes"];

/// Those lines that are of a kind.
fn of_kind<'a>(metrics: &'a [Value], kind: &str) -> Vec<&'a Value> {
    metrics.iter().filter_map(|line| line.get(kind)).collect()
}

/// A text in a new directory, and where a run of a name goes.
fn with_text() -> (tempfile::TempDir, String, impl Fn(&str) -> String) {
    let directory = tempfile::tempdir().unwrap();
    let text = path(directory.path(), "text.txt");
    fs::write(&text, sentences()).unwrap();
    let root = directory.path().to_path_buf();
    (directory, text, move |name| path(&root, name))
}

const FILES: [&str; 8] = [
    "report.html",
    "metrics.jsonl",
    "model.safetensors",
    "checkpoint.safetensors",
    "hidden.npy",
    "targets.npy",
    "hidden_seen.npy",
    "targets_seen.npy",
];

/// The files that do not say how long anything took are the same, and the metrics but for that.
fn assert_same_run(one: &str, other: &str) {
    let (lines, others) = (metrics(one), metrics(other));
    assert_eq!(lines.len(), others.len(), "{one} and {other}");
    for (line, other) in lines.iter().zip(&others) {
        assert!(line == other, "{line:.300} and {other:.300}");
    }
    for name in
        ["model.safetensors", "hidden.npy", "targets.npy", "hidden_seen.npy", "targets_seen.npy"]
    {
        let bytes = |out: &str| fs::read(Path::new(out).join(name)).unwrap();
        assert!(bytes(one) == bytes(other), "{name} of {one} and {other}");
    }
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
        "bits_per_token",
        "bits_per_byte",
        "bytes",
        "spelling_bits",
        "unknown_share",
        "training_unknown_share",
        "unigram_perplexity",
        "kneser_ney_perplexity",
        "attention_entropy",
        "attention_entropy_share",
        "model",
        "parameters",
        "vocabulary",
        "token_kind",
        "tokens",
        "steps",
        "interrupted",
        "seconds",
        "out",
    ];
    assert_eq!(keys, expected);
    assert_eq!(result["steps"], 120);
    assert_eq!(result["interrupted"], false);
    assert_eq!(result["out"], out);
    let heads = |name: &str| -> Vec<f64> {
        result[name].as_array().unwrap().iter().map(|head| head.as_f64().unwrap()).collect()
    };
    let (entropies, shares) = (heads("attention_entropy"), heads("attention_entropy_share"));
    assert_eq!((entropies.len(), shares.len()), (4, 4));
    for (entropy, share) in entropies.iter().zip(&shares) {
        assert!(*entropy > 0.0 && (0.0..1.0).contains(share), "{entropies:?} {shares:?}");
        // A position sees less than 1000 others.
        assert!(entropy / share < 1000_f64.ln(), "{entropies:?} {shares:?}");
    }
    let perplexity = result["perplexity"].as_f64().unwrap();
    let bits = result["bits_per_word"].as_f64().unwrap();
    assert!((bits - perplexity.log2()).abs() < 1e-9);
    assert_eq!(result["bits_per_token"], result["bits_per_word"]);
    assert_eq!((&result["token_kind"], &result["unknown_share"]), (&"words".into(), &0.0.into()));
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
    let steps: Vec<_> = lines.iter().filter(|line| line.get("step").is_some()).collect();
    assert!(steps.iter().map(|line| line["step"].as_u64().unwrap()).eq(1..=120));
    assert!(steps[119]["loss"].as_f64().unwrap() < 0.5 * steps[0]["loss"].as_f64().unwrap());
    assert!(steps.iter().all(|line| line["gradient_norm"].as_f64().unwrap() > 0.0));
    let measured = of_kind(&lines, "measurement");
    let at = measured.iter().map(|line| line["step"].as_u64().unwrap());
    assert_eq!(at.collect::<Vec<_>>(), [0, 1, 2, 5, 10, 20, 50, 100, 120]);
    let unigram = result["unigram_perplexity"].as_f64().unwrap();
    // The embeddings that are the classifier too are small at first, not zero: a word is more likely
    // after itself by some 0.43 nats.
    assert!((measured[0]["perplexity"].as_f64().unwrap() / unigram).ln().abs() < 0.43);
    for line in &measured {
        let number = |key: &str| line[key].as_f64().unwrap_or_else(|| panic!("{key}: {line}"));
        assert!((number("loss").exp() / number("perplexity") - 1.0).abs() < 1e-9);
        assert!((number("perplexity").log2() - number("bits_per_word")).abs() < 1e-9);
        assert!((0.0..=(vocabulary as f64).ln() + 1e-6).contains(&number("entropy")), "{line}");
        assert!(number("varentropy") >= 0.0);
        assert!((0.0..=1.0).contains(&number("accuracy")));
        for key in ["rankme", "effective_rank"] {
            assert!((1.0 - 1e-6..=width as f64 + 1e-3).contains(&number(key)), "{key}: {line}");
        }
        assert!(number("dse") >= 0.0 && number("dsmi").is_finite() && number("sigma") > 0.0);
        assert!((0.0..=1.0).contains(&number("tiles_kept_2e_12")));
        assert!((number("tiles_kept_2e_12")..=1.0).contains(&number("tiles_kept")));
        let eigenvalues = line["eigenvalues"].as_array().unwrap();
        assert!(eigenvalues.len() <= width && !eigenvalues.is_empty());
    }
    let last = measured.last().unwrap();
    assert_eq!(last["perplexity"], result["perplexity"]);
    assert_eq!(last["positions"], tokens / 10);
    assert!(last["accuracy"].as_f64().unwrap() > 0.5);

    let runs = of_kind(&lines, "run");
    assert_eq!((runs.len(), &lines[0]["run"]), (1, runs[0]));
    for key in ["tokens", "vocabulary", "model", "parameters", "kneser_ney_perplexity"] {
        assert_eq!(runs[0][key], result[key], "{key}");
    }
    assert_eq!(runs[0]["training_tokens"].as_u64().unwrap() as usize, tokens - tokens / 10);
    let finish = &lines.last().unwrap()["finish"];
    assert_eq!(
        (&finish["perplexity"], &finish["interrupted"]),
        (&result["perplexity"], &false.into())
    );
    assert!(finish["materialised_bytes"].as_u64().unwrap() > 0);
    assert!(FILES.iter().all(|name| Path::new(&out).join(name).is_file()));
}

/// In the grammar the word before says nearly all: each model finds that out, and no two are the
/// same.
#[test]
fn every_model_learns() {
    let (_directory, text, out) = with_text();
    let mut perplexities = Vec::new();
    for model in ["bilinear", "mlp", "transformer"] {
        let out = out(model);
        let arguments = ["train", "--json", "--text", &text, "--out", &out, "--steps", "80"];
        let result = json(&[&arguments[..], &["--model", model]].concat());
        assert_eq!(result["model"], model);
        let perplexity = result["perplexity"].as_f64().unwrap();
        assert!(perplexity < 2.5, "{model}: {perplexity}");
        perplexities.push(perplexity);
    }
    perplexities.dedup();
    assert_eq!(perplexities.len(), 3);
    let (_, _, transformer) = (&perplexities[0], &perplexities[1], perplexities[2]);
    // Without --model it is the transformer.
    let arguments = ["train", "--json", "--text", &text, "--out", &out("default"), "--steps", "80"];
    assert_eq!(json(&arguments)["perplexity"].as_f64(), Some(transformer));
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
    assert_same_run(&one, &two);
    assert_ne!(metrics(&one), metrics(&other));
    for name in ["model.safetensors", "hidden.npy", "targets.npy"] {
        let bytes = |out: &str| fs::read(Path::new(out).join(name)).unwrap();
        assert_eq!(bytes(&one) == bytes(&other), name == "targets.npy", "{name} and the seed");
    }
}

/// Waits until a run has written so many lines of metrics.
fn wait_for_lines(out: &str, lines: usize) {
    let path = Path::new(out).join("metrics.jsonl");
    for _ in 0..6000 {
        let text = fs::read(&path).unwrap_or_default();
        if text.iter().filter(|&&byte| byte == b'\n').count() >= lines {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("no {lines} lines in {}", path.display());
}

#[test]
fn killed_and_resumed_is_the_same_run() {
    let (_directory, text, out) = with_text();
    let arguments = |out: &str| {
        let arguments =
            ["train", "--json", "--text", &text, "--steps", "130", "--seed", "3", "--out", out];
        arguments.map(String::from)
    };
    let whole = out("whole");
    json(&arguments(&whole).each_ref().map(String::as_str));
    // Before a checkpoint is due, between two, and late: wherever the run happens to be then.
    let killed = out("killed");
    for (resume, lines) in [(false, 30), (true, 75), (true, 125)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_surprisal"));
        command.args(arguments(&killed)).stdout(Stdio::null());
        if resume {
            command.arg("--resume");
        }
        let mut child = command.spawn().unwrap();
        wait_for_lines(&killed, lines);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    // What was given need not be said again.
    let result = json(&["train", "--json", "--text", &text, "--out", &killed, "--resume"]);
    assert_eq!((&result["steps"], &result["interrupted"]), (&130.into(), &false.into()));
    assert_same_run(&whole, &killed);
    // A run that is complete is only finished again.
    let again = json(&["train", "--json", "--text", &text, "--out", &killed, "--resume"]);
    assert_eq!(again["perplexity"], result["perplexity"]);
    assert_same_run(&whole, &killed);
}

#[test]
fn a_model_learns_from_another_run() {
    let (directory, text, out) = with_text();
    let (teacher, alone, taught) = (out("teacher"), out("alone"), out("taught"));
    let train = |more: &[&str]| json(&[&["train", "--json", "--text", &text], more].concat());
    train(&["--out", &teacher, "--model", "mlp", "--steps", "60"]);
    let student = ["--model", "bilinear", "--steps", "40"];
    train(&[&student[..], &["--out", &alone]].concat());
    train(&[&student[..], &["--out", &taught, "--teacher", &teacher]].concat());
    assert_eq!(metrics(&alone)[0]["run"]["teacher"], Value::Null);
    assert_eq!(metrics(&taught)[0]["run"]["teacher"], teacher.as_str());
    let report = fs::read_to_string(Path::new(&taught).join("report.html")).unwrap();
    assert!(report.contains("Learns from"));
    // Half a divergence, which is below ln 2, in place of half the cross-entropy.
    let first = |out: &str| {
        let lines = metrics(out);
        let step = lines.iter().find(|line| line["step"] == 1).unwrap();
        step["loss"].as_f64().unwrap()
    };
    let (own, whole) = (first(&taught), first(&alone));
    assert!((0.5 * whole..0.5 * (whole + 2_f64.ln())).contains(&own), "{own} of {whole}");

    // It goes on with the same teacher or not at all.
    let go_on = ["train", "--text", &text, "--out", &taught, "--resume", "--steps", "45"];
    let message = refused(&go_on);
    assert!(message.contains("had another teacher, expected the --teacher"), "{message}");
    let message = refused(&[&go_on[..], &["--teacher", &alone]].concat());
    assert!(message.contains("had another teacher"), "{message}");
    json(&[&go_on[..], &["--json", "--teacher", &teacher]].concat());
    let message =
        refused(&["train", "--text", &text, "--out", &alone, "--resume", "--teacher", &teacher]);
    assert!(message.contains("expected no --teacher"), "{message}");
    let other = path(directory.path(), "other.txt");
    fs::write(&other, sentences().replace("garden", "orchard wall")).unwrap();
    let fresh = out("fresh");
    let message = refused(&["train", "--text", &other, "--out", &fresh, "--teacher", &teacher]);
    assert!(message.contains("another text") && !Path::new(&fresh).exists(), "{message}");
    let message = refused(&["train", "--text", &text, "--out", &fresh, "--teacher", &fresh]);
    assert!(message.contains("checkpoint.safetensors"), "{message}");
}

#[cfg(unix)]
#[test]
fn interrupted_ends_with_what_there_is() {
    let (_directory, text, out) = with_text();
    let (whole, cut) = (out("whole"), out("cut"));
    let arguments = ["train", "--json", "--text", &text, "--steps", "200", "--out"];
    json(&[&arguments[..], &[&whole]].concat());
    let mut command = Command::new(env!("CARGO_BIN_EXE_surprisal"));
    let child = command.args(arguments).arg(&cut).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = child.spawn().unwrap();
    wait_for_lines(&cut, 30);
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), errors.as_str()), (Some(0), ""));
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["interrupted"], true);
    let steps = result["steps"].as_u64().unwrap();
    assert!((20..200).contains(&steps), "{steps}");
    assert!(FILES.iter().all(|name| Path::new(&cut).join(name).is_file()));
    let lines = metrics(&cut);
    assert_eq!(lines.last().unwrap()["finish"]["interrupted"], true);
    assert_eq!(of_kind(&lines, "measurement").last().unwrap()["step"], steps);

    // It goes on where it was, and nothing tells that it was interrupted.
    json(&["train", "--json", "--text", &text, "--out", &cut, "--resume"]);
    assert_same_run(&whole, &cut);
}

#[test]
fn resuming_something_else_is_refused() {
    let (directory, text, out) = with_text();
    let out = out("out");
    let message = refused(&["train", "--text", &text, "--out", &out, "--resume"]);
    assert!(message.contains("checkpoint.safetensors"), "{message}");
    assert!(!Path::new(&out).exists());
    let arguments = ["train", "--text", &text, "--out", &out, "--model", "mlp", "--steps", "2"];
    json(&[&arguments[..], &["--json", "--seed", "7"]].concat());
    let before = metrics(&out);

    let resumed = |more: &[&str]| refused(&[&["train", "--out", &out, "--resume"], more].concat());
    let other = path(directory.path(), "other.txt");
    fs::write(&other, sentences().replace("garden", "orchard wall")).unwrap();
    let message = resumed(&["--text", &other]);
    assert!(
        message.contains("is of another text than") && message.contains("other.txt"),
        "{message}"
    );
    assert!(resumed(&[]).contains("the embedded text"));
    let message = resumed(&["--text", &text, "--model", "bilinear"]);
    assert!(message.contains("--model is bilinear") && message.contains("mlp"), "{message}");
    let message = resumed(&["--text", &text, "--seed", "8"]);
    assert!(message.contains("--seed is 8") && message.contains("7"), "{message}");
    let message = resumed(&["--text", &text, "--steps", "1"]);
    assert!(message.contains("--steps is 1") && message.contains("has made 2"), "{message}");
    let message = resumed(&["--text", &text, "--tokens", "bytes"]);
    assert!(message.contains("--tokens is bytes") && message.contains("words"), "{message}");

    let checkpoint = Path::new(&out).join("checkpoint.safetensors");
    let bytes = fs::read(&checkpoint).unwrap();
    fs::write(&checkpoint, &bytes[..bytes.len() / 2]).unwrap();
    assert!(resumed(&["--text", &text]).contains("checkpoint.safetensors"));
    assert_eq!(metrics(&out), before, "a refused run changes nothing");
}

#[test]
fn prints_a_table() {
    let directory = tempfile::tempdir().unwrap();
    let (text, out) = (path(directory.path(), "text.txt"), path(directory.path(), "out"));
    fs::write(&text, sentences()).unwrap();
    let output = surprisal(&["train", "--text", &text, "--out", &out, "--steps", "1"]);
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
    let table = String::from_utf8(output.stdout).unwrap();
    let line = |key: &str| {
        let found = table.lines().find(|line| line.starts_with(key));
        found.unwrap_or_else(|| panic!("no {key} in {table}")).to_string()
    };
    // Beside the standard error, and in its digits: the fourth of a perplexity of some ten words.
    assert!(line("perplexity ").contains(" ± ") && line("perplexity ").contains(" words"));
    assert!(line("bits per word ").ends_with(" bits"));
    assert!(line("bits per byte ").contains(" bits"));
    assert!(line("bytes ").contains(" KiB of held-out text"));
    assert!(line("unknown share ").contains(" % of the held-out words"));
    assert!(line("steps ").ends_with("1 of 1"));
    assert!(table.split([' ', '\n']).all(|word| word.len() < 9 || word.parse::<f64>().is_err()));
    assert!(line("How it learnt").ends_with(&path(Path::new(&out), "report.html")));

    // What is said to run next runs.
    for (start, first) in [("Its loss from the files:", "loss"), ("To train longer:", "train")] {
        let command = line(start);
        let words = command[start.len()..].split_whitespace().skip(1).collect::<Vec<_>>();
        assert_eq!(words[0], first);
        assert_eq!(surprisal(&words).status.code(), Some(0), "{words:?}");
    }
    assert_eq!(of_kind(&metrics(&out), "run")[0]["steps"], 2);
}

/// A line of a text in some language, and its tokens as a reader of it counts them.
struct Sentence {
    text: &'static str,
    /// Without the line break.
    tokens: &'static [&'static str],
}

/// Sentences written for this test.
const SENTENCES: [Sentence; 9] = [
    // Hindi: vowel signs, half forms, a nukta; the danda is a full stop.
    Sentence {
        text: "हिन्दी में लिखा हुआ वाक्य पढ़ना आसान है।",
        tokens: &["हिन्दी", "में", "लिखा", "हुआ", "वाक्य", "पढ़ना", "आसान", "है", "।"],
    },
    // A half form by a zero-width joiner is within its word.
    Sentence {
        text: "क्\u{200d}षमा करें", tokens: &["क्\u{200d}षमा", "करें"]
    },
    // Thai has no spaces between words: a token a letter, with the vowel and the tone above or below it;
    // a vowel that is written before its consonant is a letter. SARA AM is one with what it follows.
    Sentence {
        text: "น้ำใสไหลเย็น", tokens: &["น้ำ", "ใ", "ส", "ไ", "ห", "ล", "เ", "ย็", "น"]
    },
    // Chinese: a token a character.
    Sentence {
        text: "我们今天去北京看长城。",
        tokens: &["我", "们", "今", "天", "去", "北", "京", "看", "长", "城", "。"],
    },
    // Japanese: a token a character, whichever of the three scripts.
    Sentence {
        text: "私はカメラを買った。",
        tokens: &["私", "は", "カ", "メ", "ラ", "を", "買", "っ", "た", "。"],
    },
    // Korean has spaces; a syllable may be written in its three letters.
    Sentence {
        text: "나는 오늘 \u{1112}\u{1161}\u{11a8}교에 갔다.",
        tokens: &["나는", "오늘", "\u{1112}\u{1161}\u{11a8}교에", "갔다", "."],
    },
    // Arabic: short vowels, a word stretched by tatweel, the Arabic comma.
    Sentence {
        text: "كَتَبَ الولدُ الدرسَ في البيـــت، ثم نام.",
        tokens: &["كَتَبَ", "الولدُ", "الدرسَ", "في", "البيـــت", "،", "ثم", "نام", "."],
    },
    // Persian: a zero-width non-joiner within a word.
    Sentence {
        text: "می\u{200c}خواهم بروم", tokens: &["می\u{200c}خواهم", "بروم"]
    },
    // Turkish: dotted and dotless letters, one of them decomposed; an apostrophe before the ending of a
    // name, as it is typed and as it is set.
    Sentence {
        text: "İstanbul'da ılık bir gün, I\u{307}zmir\u{2019}e gittik.",
        tokens: &["İstanbul'da", "ılık", "bir", "gün", ",", "I\u{307}zmir\u{2019}e", "gittik", "."],
    },
];

/// The tokens of a text of one sentence are those of the sentence, and none of them is unknown.
#[test]
fn words_of_languages_are_counted_as_their_readers_do() {
    let directory = tempfile::tempdir().unwrap();
    let (text, out) = (path(directory.path(), "text.txt"), path(directory.path(), "out"));
    for sentence in &SENTENCES {
        assert_eq!(sentence.tokens.concat(), sentence.text.replace(' ', ""));
        let lines = 120;
        fs::write(&text, format!("{}\n", sentence.text).repeat(lines)).unwrap();
        let arguments = ["train", "--json", "--text", &text, "--out", &out, "--steps", "1"];
        let result = json(&[&arguments[..], &["--model", "bilinear"]].concat());
        assert_eq!(result["tokens"], lines * (sentence.tokens.len() + 1), "{}", sentence.text);
        let mut types = sentence.tokens.to_vec();
        types.sort_unstable();
        types.dedup();
        // With the line break and the unknown ones.
        assert_eq!(result["vocabulary"], types.len() + 2, "{}", sentence.text);
        assert_eq!(result["unknown_share"], 0.0);
        assert!(result["perplexity"].as_f64().unwrap() > 1.0);
    }
}

/// As it was reported: 600 tokens, cut at the marks.
#[test]
fn two_hundred_hindi_words_are_two_hundred_tokens() {
    let directory = tempfile::tempdir().unwrap();
    let (text, out) = (path(directory.path(), "text.txt"), path(directory.path(), "out"));
    fs::write(&text, "हिन्दी ".repeat(200)).unwrap();
    let arguments = ["train", "--json", "--text", &text, "--out", &out, "--steps", "1"];
    assert_eq!(json(&arguments)["tokens"], 200);
}

/// What would have a perplexity of 1, since nearly all of it is one class, is no result.
#[test]
fn unknown_words_only_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (text, out) = (path(directory.path(), "text.txt"), path(directory.path(), "out"));
    let words: String = (0..500).map(|i| format!("w{i} ")).collect();
    // Chinese without spaces, and without a character twice.
    let characters: String = ('\u{4e00}'..'\u{5000}').collect();
    for (name, content) in [("words", &words), ("characters", &characters)] {
        fs::write(&text, content).unwrap();
        let message = refused(&["train", "--text", &text, "--out", &out, "--steps", "3"]);
        assert!(message.contains("100 % of the held-out words of "), "{name}: {message}");
        assert!(message.contains("--tokens characters, --tokens bytes"), "{message}");
        assert!(!Path::new(&out).exists());
    }
    let arguments = ["train", "--text", &text, "--out", &out, "--steps", "3", "--tokens"];
    let message = refused(&[&arguments[..], &["characters"]].concat());
    assert!(message.contains("100 % of the held-out characters"), "{message}");
    // Bytes are never unknown, and those of made-up words are not easy.
    let result = json(&[&arguments[..], &["bytes", "--json"]].concat());
    assert_eq!(result["unknown_share"], 0.0);
    assert!(result["bits_per_byte"].as_f64().unwrap() > 1.0, "{result}");
}

/// Between a tenth and a half there is a warning, on one line, and in the report.
#[test]
fn many_unknown_words_are_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    let (text, out) = (path(directory.path(), "text.txt"), path(directory.path(), "out"));
    fs::write(&text, (0..400).map(|i| format!("a b c n{i} ")).collect::<String>()).unwrap();
    let output = surprisal(&["train", "--json", "--text", &text, "--out", &out, "--steps", "3"]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), errors.lines().count()), (Some(0), 1), "{errors}");
    assert!(errors.starts_with("warning: 25.0 % of the held-out words"), "{errors}");
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["unknown_share"], 0.25);
    assert_eq!(of_kind(&metrics(&out), "run")[0]["training_unknown_share"], 0.25);
    let report = fs::read_to_string(Path::new(&out).join("report.html")).unwrap();
    assert!(report.contains("25 % of the held-out words"));
    // The spelling of the unknown words is most of what there is to know.
    let spelling = result["spelling_bits"].as_f64().unwrap();
    assert!(spelling / result["bytes"].as_f64().unwrap() > 0.5, "{result}");
}

/// The three kinds of tokens on one text: bits per byte are the bits of the tokens and what these leave
/// out, over the bytes of the held-out text.
#[test]
fn words_characters_and_bytes() {
    let (_directory, text, out) = with_text();
    let length = sentences().len() as f64;
    for kind in ["words", "characters", "bytes"] {
        let arguments = ["train", "--json", "--text", &text, "--out", &out(kind), "--steps", "3"];
        let result = json(&[&arguments[..], &["--tokens", kind]].concat());
        let number = |key: &str| result[key].as_f64().unwrap();
        assert_eq!((&result["token_kind"], number("unknown_share")), (&kind.into(), 0.0));
        let held_out = (number("tokens") / 10.0).floor();
        let bits = held_out * number("bits_per_token") + number("spelling_bits");
        assert!(
            (bits / number("bytes") - number("bits_per_byte")).abs() < 1e-12 * bits,
            "{result}"
        );
        assert_eq!(result["bits_per_word"].is_null(), kind != "words");
        if kind == "words" {
            assert!(number("spelling_bits") > 0.0);
            // A tenth of the words are a tenth of the text, but for one sentence.
            assert!((number("bytes") - 0.1 * length).abs() < 40.0, "{result}");
        } else {
            assert_eq!((number("tokens"), number("bytes")), (length, held_out));
            assert_eq!(number("spelling_bits"), 0.0);
        }
        let report = fs::read_to_string(Path::new(&out(kind)).join("report.html")).unwrap();
        let per_token = format!("Bits per {}<", kind.trim_end_matches('s'));
        assert!(report.contains(&per_token) && report.contains("Bits per byte<"), "{per_token}");
    }
}

/// A text is the same one in UTF-8 and UTF-16, with its mark; what is none is refused.
#[test]
fn encodings_of_a_text() {
    let (directory, text, out) = with_text();
    let sentences = sentences();
    let run = |name: &str| {
        let result = ["train", "--json", "--text", name, "--out", &out("out"), "--steps", "2"];
        let result = json(&result);
        (result["perplexity"].clone(), result["bytes"].clone())
    };
    let plain = run(&text);
    let units: Vec<u8> = sentences.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let file = path(directory.path(), "other.txt");
    for bytes in [
        [b"\xff\xfe", &units[..]].concat(),
        [b"\xef\xbb\xbf", sentences.as_bytes()].concat(),
        sentences.replace('\n', "\r").into(),
    ] {
        fs::write(&file, bytes).unwrap();
        assert_eq!(run(&file), plain);
    }
    fs::write(&file, &units).unwrap();
    let arguments = ["train", "--text", &file, "--out", &out("other"), "--steps", "2"];
    let message = refused(&arguments);
    let nuls = sentences.len();
    assert!(
        message.contains(&format!("holds {nuls} NUL among {} characters", 2 * nuls)),
        "{message}"
    );
    assert!(message.contains("UTF-16 without a byte-order mark"), "{message}");
    assert!(message.contains("--tokens bytes"), "{message}");
    json(&[&arguments[..], &["--json", "--tokens", "bytes"]].concat());
}

/// A finished run goes on to more steps at the rate of a run that had as many planned, and what is killed
/// on the way is the same run.
#[test]
fn resumed_with_more_steps() {
    let (_directory, text, out) = with_text();
    let train = |out: &str, more: &[&str]| {
        json(&[&["train", "--json", "--text", &text, "--out", out], more].concat())
    };
    let (whole, killed) = (out("whole"), out("killed"));
    for out in [&whole, &killed] {
        train(out, &["--steps", "60"]);
    }
    let result = train(&whole, &["--resume", "--steps", "110"]);
    assert_eq!((&result["steps"], &result["interrupted"]), (&110.into(), &false.into()));
    let lines = metrics(&whole);
    let run = of_kind(&lines, "run")[0];
    assert_eq!((&run["steps"], &run["steps_at_first"]), (&110.into(), &60.into()));
    let rates: Vec<f64> = lines.iter().filter_map(|line| line["rate"].as_f64()).collect();
    assert_eq!(rates.len(), 110);
    // After 50 steps of warm-up a straight line to 0, at step 60 and then, from there on, at 110.
    let peak = run["learning_rate"].as_f64().unwrap();
    let line = |step: usize, end: f64| peak * (1.0 - (step as f64 - 50.0) / (end - 50.0));
    for (step, end) in [(50, 60.0), (59, 60.0), (60, 110.0), (61, 110.0), (109, 110.0)] {
        assert!((rates[step] - line(step, end)).abs() < 1e-12, "{step}: {}", rates[step]);
    }
    let measured = of_kind(&lines, "measurement");
    let at: Vec<_> = measured.iter().map(|line| line["step"].as_u64().unwrap()).collect();
    assert_eq!(at, [0, 1, 2, 5, 10, 20, 50, 100, 110]);

    let arguments = ["train", "--json", "--text", &text, "--out", &killed, "--resume"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_surprisal"));
    let command = command.args(arguments).args(["--steps", "110"]).stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    wait_for_lines(&killed, 80);
    child.kill().unwrap();
    child.wait().unwrap();
    // The new plan need not be said again.
    assert_eq!(json(&arguments)["steps"], 110);
    assert_same_run(&whole, &killed);
    // Fewer than there were are refused; as many are none more.
    let message = refused(&[&arguments[..], &["--steps", "109"]].concat());
    assert!(message.contains("--steps is 109, but the run in "), "{message}");
    assert_eq!(json(&[&arguments[..], &["--steps", "110"]].concat())["steps"], 110);
    assert_same_run(&whole, &killed);
}

#[test]
fn help_has_its_options_under_headings() {
    let output = surprisal(&["train", "--help"]);
    assert_eq!(output.status.code(), Some(0));
    let help = String::from_utf8(output.stdout).unwrap();
    let at_first = |help: &str, part: &str| {
        help.find(&format!(" {part} "))
            .or(help.find(&format!("\n{part}\n")))
            .or(help.find(&format!(" {part}\n")))
            .unwrap_or_else(|| panic!("no {part} in {help}"))
    };
    let order =
        ["Text:", "--text", "--tokens", "Training:", "--steps", "--resume", "Output:", "--out"];
    // Options stand at the beginning of a line, behind its spaces; the description names some too.
    let options = help.find("\nText:").unwrap();
    let places: Vec<usize> =
        order.iter().map(|part| options + at_first(&help[options..], part)).collect();
    assert!(places.is_sorted(), "{help}");
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
    let message = with_text("word.txt", b"Nothing");
    assert!(message.contains("word.txt holds 1 tokens"), "{message}");
    let message = with_text("binary", &[0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0xff, 0xfe]);
    assert!(message.contains("binary is not UTF-8: byte 0xff at offset 8"), "{message}");
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
    refused(&["train", "--model", "recurrent", "--out", &out]);
    refused(&["train", "--threads", "0", "--out", &out]);
    assert!(!Path::new(&out).exists(), "a refused run leaves nothing");
}

/// Exit 1, nothing on stdout, and one line on stderr, which is returned.
fn failed(arguments: &[&str]) -> String {
    let output = surprisal(arguments);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), errors.lines().count()), (Some(1), 1), "{errors}");
    assert!(output.stdout.is_empty());
    errors
}

#[test]
fn an_output_that_is_a_file_is_refused() {
    let (directory, text, _) = with_text();
    let file = path(directory.path(), "file");
    fs::write(&file, "").unwrap();
    let message = refused(&["train", "--text", &text, "--steps", "1", "--out", &file]);
    assert!(message.contains("expected a directory"), "{message}");
}

/// A device that is always full, where there is one.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_status_1() {
    let (_directory, text, out) = with_text();
    let out = out("full");
    fs::create_dir(&out).unwrap();
    std::os::unix::fs::symlink("/dev/full", Path::new(&out).join("metrics.jsonl")).unwrap();
    let message = failed(&["train", "--text", &text, "--steps", "1", "--out", &out]);
    assert!(message.contains("metrics.jsonl") && message.contains("No space left"), "{message}");
}

/// Where the checkpoint cannot take its name.
#[test]
fn a_checkpoint_that_cannot_be_written_is_status_1() {
    let (_directory, text, out) = with_text();
    let out = out("out");
    fs::create_dir_all(Path::new(&out).join("checkpoint.safetensors").join("in the way")).unwrap();
    let message = failed(&["train", "--text", &text, "--steps", "1", "--out", &out]);
    assert!(message.contains("checkpoint.safetensors"), "{message}");
}
