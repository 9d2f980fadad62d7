//! `surprisal score`: values as the library has them, pictures, and what is refused.

use ndarray::{Array1, Array2, arr1};
use serde_json::Value;
use std::process::{Command, Output, Stdio};
use surprisal::information::{MinK, Perplexity, ReferenceCounts, Roc, reference_ratio};
use surprisal::io::write_npy;
use surprisal::{Forward, Inputs, LinearCrossEntropy, Statistic};
use tempfile::TempDir;
use testing::{Stream, close};

const ROWS: usize = 12;
const CLASSES: usize = 7;

/// Rows of four texts, not in their order, one row of which does not count.
const TEXTS: [i64; ROWS] = [5, 5, -1, 5, 9, -1, 9, 9, 20, 20, 20, -1];
const TARGETS: [i64; ROWS] = [3, 1, 0, 3, 2, -100, 6, 6, 5, 4, 0, 1];
const ORDER: [i64; 4] = [-1, 5, 9, 20];

struct Place {
    directory: TempDir,
    hidden: Array2<f64>,
    classifier: Array2<f64>,
    bias: Array1<f64>,
}

impl Place {
    fn new() -> Self {
        let mut random = Stream(3);
        let place = Self {
            directory: TempDir::new().unwrap(),
            hidden: random.matrix(ROWS, 4, 1.5),
            classifier: random.matrix(CLASSES, 4, 1.0),
            bias: random.vector(CLASSES, 0.5),
        };
        let path = |name: &str| place.directory.path().join(name);
        write_npy(&path("e.npy"), place.hidden.view()).unwrap();
        write_npy(&path("e32.npy"), place.hidden.mapv(|x| x as f32).view()).unwrap();
        let cube = place.hidden.to_shape((3, 4, 4)).unwrap();
        write_npy(&path("cube.npy"), cube.view()).unwrap();
        let lines = arr1(&TARGETS).to_shape((3, 4)).unwrap().to_owned();
        write_npy(&path("lines.npy"), lines.view()).unwrap();
        write_npy(&path("c.npy"), place.classifier.view()).unwrap();
        write_npy(&path("b.npy"), place.bias.view()).unwrap();
        write_npy(&path("y.npy"), arr1(&TARGETS).view()).unwrap();
        write_npy(&path("t.npy"), arr1(&TEXTS).view()).unwrap();
        write_npy(&path("bytes.npy"), arr1(&[9_i64, 11, 8, 14]).view()).unwrap();
        write_npy(&path("labels.npy"), arr1(&[1_i64, 0, 1, 0]).view()).unwrap();
        write_npy(&path("counts.npy"), counts().view()).unwrap();
        write_npy(&path("r.npy"), beside().view()).unwrap();
        place
    }

    fn forward(&self) -> Forward {
        let loss = LinearCrossEntropy::builder().varentropy(true).build().unwrap();
        let inputs = Inputs::new(&self.hidden, &self.classifier, &TARGETS).bias(&self.bias);
        loss.forward(&inputs).unwrap()
    }

    fn run(&self, arguments: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_surprisal"));
        command.env_remove("SURPRISAL_ISA").stdin(Stdio::null());
        command.current_dir(self.directory.path());
        command.arg("score").args(arguments.split_whitespace()).output().unwrap()
    }

    fn json(&self, arguments: &str) -> Value {
        let output = self.run(&format!("{arguments} --json"));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments}: {stderr}");
        assert!(stderr.is_empty(), "{stderr}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn lines(&self, arguments: &str) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Exit status 2, and one line with these parts.
    fn refused(&self, arguments: &str, parts: &[&str]) {
        let output = self.run(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments}: {stderr}");
        assert!(output.stdout.is_empty() && stderr.lines().count() == 1, "{stderr}");
        for part in parts {
            assert!(stderr.contains(part), "no {part} in {stderr}");
        }
    }

    fn write(&self, name: &str, numbers: &[i64]) {
        write_npy(&self.directory.path().join(name), arr1(numbers).view()).unwrap();
    }
}

fn counts() -> Array1<f64> {
    arr1(&[4.0, 0.0, 10.0, 1.0, 7.0, 2.0, 0.0])
}

fn beside() -> Array1<f64> {
    Array1::from_iter((0..ROWS).map(|row| -0.25 * row as f64))
}

const GOOD: &str = "--hidden e.npy --classifier c.npy --bias b.npy --targets y.npy --texts t.npy";

#[test]
fn texts_have_the_scores_of_the_library() {
    let place = Place::new();
    let forward = place.forward();
    let log_probs = forward.statistic(Statistic::LogProbability).unwrap();
    let z_scores = forward.statistic(Statistic::ZScore).unwrap();
    let entropies = forward.statistic(Statistic::Entropy).unwrap();
    let found = place.json(&format!(
        "{GOOD} --bytes bytes.npy --labels labels.npy --reference-counts counts.npy \
         --reference-log-probs r.npy --ratio 0.5 --cap 0.3"
    ));
    assert_eq!(
        (&found["texts"], &found["tokens"], &found["ignored"]),
        (&4.into(), &11.into(), &1.into())
    );
    let near = |value: &Value, wanted: f64, name: &str| {
        let value = value.as_f64().unwrap_or(f64::NAN);
        assert!(close(value, wanted, 1e-13, 1e-14), "{name}: {value}, not {wanted}");
    };
    let reference = ReferenceCounts::new(&counts()).unwrap();
    let (least, mut whole) = (MinK::new(0.5).unwrap(), Perplexity::new());
    let mut scores: [Vec<f64>; 5] = Default::default();
    for (at, &number) in ORDER.iter().enumerate() {
        let rows: Vec<usize> =
            (0..ROWS).filter(|&row| TEXTS[row] == number && TARGETS[row] >= 0).collect();
        let of = |numbers: &Array1<f64>| -> Array1<f64> {
            rows.iter().map(|&row| numbers[row]).collect()
        };
        let tokens: Vec<u32> = rows.iter().map(|&row| TARGETS[row] as u32).collect();
        let mut perplexity = Perplexity::new();
        rows.iter().for_each(|&row| perplexity.push_with_entropy(-log_probs[row], entropies[row]));
        perplexity.push_bytes([9, 11, 8, 14][at]);
        whole.merge(&perplexity);
        let entry = &found["scores"][at];
        assert_eq!((&entry["text"], &entry["tokens"]), (&number.into(), &rows.len().into()));
        assert_eq!(entry["seen"], Value::from(at % 2 == 0));
        near(&entry["perplexity"], perplexity.perplexity(), "perplexity");
        let interval = perplexity.interval(Perplexity::NORMAL_95).unwrap();
        near(&entry["perplexity_interval"][1], interval[1], "interval");
        near(&entry["bits_per_byte"], perplexity.bits_per_byte().unwrap(), "bits");
        near(&entry["calibration_gap"], perplexity.calibration_gap().unwrap(), "gap");
        let wanted = [
            ("mean_log_prob", -perplexity.mean_surprisal()),
            ("min_k", least.score(&of(&log_probs)).unwrap()),
            ("min_k_plus_plus", least.score(&of(&z_scores)).unwrap()),
            ("dc_pdd", reference.dc_pdd(&of(&log_probs), &tokens, 0.3).unwrap()),
            ("reference_ratio", reference_ratio(&of(&log_probs), &of(&beside())).unwrap()),
        ];
        for ((name, wanted), scores) in wanted.into_iter().zip(&mut scores) {
            near(&entry[name], wanted, name);
            scores.push(wanted);
        }
    }
    near(&found["perplexity"], whole.perplexity(), "perplexity of all");
    near(&found["bits_per_byte"], whole.bits_per_byte().unwrap(), "bits of all");
    let names = ["mean_log_prob", "min_k", "min_k_plus_plus", "dc_pdd", "reference_ratio"];
    for (name, scores) in names.iter().zip(scores) {
        let roc = Roc::new(&Array1::from(scores), &[true, false, true, false]).unwrap();
        let found = &found["detection"][name];
        near(&found["auroc"], roc.area(), name);
        near(&found["tpr_at_5_percent_fpr"], roc.true_positive_rate(0.05).unwrap(), name);
        near(&found["standard_error"], roc.standard_error(), name);
    }
}

#[test]
fn logits_are_scaled_and_capped_as_those_of_the_loss() {
    let place = Place::new();
    let loss = LinearCrossEntropy::builder().scale(-0.5).softcap(2.0).ignore_index(Some(3));
    let mut targets = TARGETS;
    targets[5] = 3;
    place.write("y.npy", &targets);
    let inputs = Inputs::new(&place.hidden, &place.classifier, &targets).bias(&place.bias);
    let forward = loss.build().unwrap().forward(&inputs).unwrap();
    let found = place.json(&format!("{GOOD} --scale -0.5 --softcap 2 --ignore-index 3"));
    let mean = forward.mean_surprisal().unwrap();
    assert!(close(found["perplexity"].as_f64().unwrap(), mean.exp(), 1e-13, 0.0));
    assert_eq!((&found["tokens"], &found["ignored"]), (&9.into(), &3.into()));
    place.refused(&format!("{GOOD} --softcap 0"), &["softcap is 0", "above 0"]);
    place.refused(&format!("{GOOD} --scale inf"), &["scale is inf"]);
}

#[test]
fn texts_are_cut_by_sequences_lengths_or_not_at_all() {
    let place = Place::new();
    let of = |texts: &str, hidden: &str, targets: &str| {
        let head = "--classifier c.npy --bias b.npy";
        place.json(&format!("--hidden {hidden} --targets {targets} {head} {texts}"))
    };
    let sequences = of("", "cube.npy", "lines.npy");
    let lengths = of("--texts 4", "e.npy", "y.npy");
    assert_eq!(sequences, lengths);
    assert_eq!((&lengths["texts"], &lengths["detection"]), (&3.into(), &Value::Null));
    assert_eq!(lengths["scores"][0]["dc_pdd"], Value::Null);
    let whole = of("", "e.npy", "y.npy");
    assert_eq!((&whole["texts"], &whole["scores"][0]["tokens"]), (&1.into(), &11.into()));
    assert!(close(
        whole["perplexity"].as_f64().unwrap(),
        lengths["perplexity"].as_f64().unwrap(),
        1e-14,
        0.0
    ));
    assert_eq!(of("--texts 5", "e.npy", "y.npy")["scores"][2]["tokens"], 2);
    // f32 files are computed in f32.
    let narrow = of("--texts 4", "e32.npy", "y.npy");
    let (narrow, wide) = (narrow["perplexity"].as_f64(), lengths["perplexity"].as_f64());
    assert!(narrow != wide && close(narrow.unwrap(), wide.unwrap(), 1e-5, 0.0));
}

#[test]
fn texts_that_were_seen_may_stand_in_files_of_their_own() {
    let place = Place::new();
    let seen = "--seen-hidden e.npy --seen-targets y.npy";
    let found = place.json(&format!(
        "--hidden e.npy --targets y.npy --classifier c.npy --texts 3 {seen} --plot roc.svg"
    ));
    assert_eq!((&found["texts"], &found["tokens"]), (&8.into(), &22.into()));
    assert_eq!(found["scores"][7]["text"], 7);
    assert_eq!(
        (&found["scores"][3]["seen"], &found["scores"][4]["seen"]),
        (&false.into(), &true.into())
    );
    // The same texts on both sides.
    for name in ["mean_log_prob", "min_k", "min_k_plus_plus"] {
        assert_eq!(found["detection"][name]["auroc"], 0.5, "{name}");
    }
    let picture = std::fs::read_to_string(place.directory.path().join("roc.svg")).unwrap();
    for text in ["Min-K %++, 0.500", "4 texts trained on, among 8", "share of the others"] {
        assert!(picture.contains(text), "no {text}");
    }
}

#[test]
fn people_read_a_table_and_a_picture() {
    let place = Place::new();
    let lines = place.lines(&format!(
        "{GOOD} --bytes bytes.npy --labels labels.npy --reference-counts counts.npy"
    ));
    for text in
        ["95 % interval", "bits per byte", "Min-K %++", "DC-PDD: AUROC", "4, 2 of them", "1 rows"]
    {
        assert!(lines.contains(text), "no {text} in {lines}");
    }
    assert!(!lines.contains("reference:") && lines.lines().all(|line| line.chars().count() < 120));
    // One token has no interval, and more texts than fit are counted.
    let many =
        place.lines("--hidden e.npy --targets y.npy --classifier c.npy --texts 2 --plot p.svg");
    assert!(many.contains('–'), "{many}");
    let picture = std::fs::read_to_string(place.directory.path().join("p.svg")).unwrap();
    assert!(picture.contains("6 texts of 11 tokens") && picture.contains("bits per token"));
    let repeated = ndarray::concatenate![ndarray::Axis(0), place.hidden, place.hidden];
    write_npy(&place.directory.path().join("two.npy"), repeated.view()).unwrap();
    place.write("ys.npy", &[1; 2 * ROWS]);
    let many = place.lines("--hidden two.npy --targets ys.npy --classifier c.npy --texts 1");
    assert!(many.contains("… and 4 more"), "{many}");
}

#[test]
fn bad_inputs_are_refused_in_one_line() {
    let place = Place::new();
    let with = |more: &str| format!("{GOOD} {more}");
    let bare = "--hidden e.npy --classifier c.npy --targets y.npy";
    place.refused(&with("--ratio 0"), &["ratio is 0", "above 0 up to 1"]);
    place.refused(&with("--ratio x"), &["--ratio", "expected a number"]);
    place.refused(&with("--cap 0.1"), &["--reference-counts"]);
    place.refused(&with("--cap -1 --reference-counts counts.npy"), &["cap is -1"]);
    place.refused(&format!("{bare} --texts 0"), &["--texts is 0", "at least 1"]);
    place.refused(&format!("{bare} --texts bytes.npy"), &["--texts has 4 entries", "12"]);
    place.refused(&format!("{bare} --texts none.npy"), &["none.npy"]);
    place.refused(&with("--bytes t.npy"), &["--bytes has 12 entries", "4, one for each text"]);
    place.refused(&with("--labels t.npy"), &["--labels", "0 and 1"]);
    place.refused(&with("--reference-counts bytes.npy"), &["--reference-counts has 4", "7"]);
    place.refused(&with("--reference-log-probs b.npy"), &["--reference-log-probs"]);
    place.refused(&with("--plot p.png"), &["--plot is p.png", "FILE.svg"]);
    place.refused(&with("--seen-hidden e.npy"), &["--seen-targets"]);
    let seen = "--seen-hidden e.npy --seen-targets y.npy";
    place.refused(&with(seen), &["--texts is a file", "a number of rows"]);
    place.refused(&format!("{bare} {seen}"), &["--texts"]);
    place.refused(
        "--hidden e.npy --classifier c.npy --targets lines.npy",
        &["--targets", "--hidden"],
    );
    place.refused(
        "--hidden e.npy --classifier c.npy --targets t.npy",
        &["targets[2] is -1", "below 7"],
    );
    place.write("same.npy", &[1, 1, 1, 1]);
    place.refused(
        &with("--labels same.npy"),
        &["--labels has 4 texts that were", "0 that were not"],
    );
    place.write("zero.npy", &[9, 0, 8, 14]);
    place.refused(&with("--bytes zero.npy"), &["--bytes[1] is 0", "at least 1"]);
    let mut none = TARGETS;
    none[8..11].fill(-100);
    place.write("gone.npy", &none);
    let gone = GOOD.replace("y.npy", "gone.npy");
    place.refused(&gone, &["text 20 has no row that counts"]);
    place.write("negative.npy", &[1, 1, 1, 1, 1, 1, -1]);
    place.refused(&with("--reference-counts negative.npy"), &["counts[6] is -1"]);
    let mut hidden = place.hidden.clone();
    hidden[[0, 0]] = f64::NAN;
    write_npy(&place.directory.path().join("e.npy"), hidden.view()).unwrap();
    place.refused(&with("--labels labels.npy"), &["perplexity of the texts", "scores[1] is NaN"]);
    assert_eq!(place.json(GOOD)["scores"][1]["perplexity"], "nan");
}

#[test]
fn what_another_model_gave_is_the_logarithm_of_a_probability() {
    let place = Place::new();
    let with = |at: usize, value: f64| {
        let mut numbers = beside();
        numbers[at] = value;
        write_npy(&place.directory.path().join("r.npy"), numbers.view()).unwrap();
        format!("{GOOD} --reference-log-probs r.npy")
    };
    let expected = "expected a log-probability of at most 0";
    place.refused(&with(3, 0.5), &["--reference-log-probs[3] is 0.5", expected]);
    place.refused(&with(11, f64::NAN), &["--reference-log-probs[11] is NaN", expected]);
    let never = place.json(&with(0, f64::NEG_INFINITY));
    assert_eq!(never["scores"][1]["reference_ratio"], "inf");
    // Row 5 has no target that counts.
    let ignored = place.json(&with(5, f64::NAN));
    assert!(ignored["scores"][0]["reference_ratio"].is_f64(), "{ignored}");
}

#[test]
fn no_rows_are_said_to_be_none() {
    let place = Place::new();
    let path = |name: &str| place.directory.path().join(name);
    write_npy(&path("empty.npy"), Array2::<f64>::zeros((0, 4)).view()).unwrap();
    place.write("nothing.npy", &[]);
    let rows = "--hidden empty.npy --targets nothing.npy --classifier c.npy";
    for more in ["", "--texts 2", "--texts nothing.npy"] {
        place.refused(&format!("{rows} {more}"), &["--hidden has no rows", "at least one row"]);
    }
    let seen = "--seen-hidden empty.npy --seen-targets nothing.npy";
    let line = format!("--hidden e.npy --targets y.npy --classifier c.npy --texts 3 {seen}");
    place.refused(&line, &["--seen-hidden has no rows"]);
}

/// A row of hidden states that are no numbers has no scores; the others keep theirs.
#[test]
fn a_row_that_is_not_known_has_no_score() {
    let place = Place::new();
    let mut hidden = place.hidden.clone();
    hidden[[0, 0]] = f64::NAN;
    write_npy(&place.directory.path().join("e.npy"), hidden.view()).unwrap();
    let found = place.json(&format!("{GOOD} --reference-counts counts.npy"));
    assert_eq!(found["scores"][1]["dc_pdd"], "nan");
    assert!(found["scores"][0]["dc_pdd"].is_f64(), "{found}");
}
