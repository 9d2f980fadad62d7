//! `surprisal loss --loss` and `--divergence`: every name, against the oracle; second heads, temperatures and costs;
//! and how it fails.

use ndarray::{Array1, Array2, Array3, ArrayD, Axis, Dimension, arr1, s};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use surprisal::io::{Tensor, TensorView, write_npy};
use tempfile::TempDir;
use testing::{Stream, close};

const ROWS: usize = 4;
const CLASSES: usize = 5;

/// A directory with arrays, and what is in them.
struct Place {
    directory: TempDir,
    logits: Array2<f64>,
    teacher: Array2<f64>,
    embedding: Array2<f64>,
    targets: Vec<i64>,
}

fn surprisal() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_surprisal"));
    command.env_remove("SURPRISAL_ISA");
    command
}

impl Place {
    fn new() -> Self {
        let mut random = Stream(7);
        let place = Self {
            directory: TempDir::new().unwrap(),
            logits: random.matrix(ROWS, CLASSES, 2.0),
            teacher: random.matrix(ROWS, CLASSES, 2.0),
            embedding: random.matrix(CLASSES, 3, 1.0),
            targets: vec![4, 0, 2, 2],
        };
        place.npy("l.npy", &place.logits);
        place.npy("t.npy", &place.teacher);
        place.npy("v.npy", &place.embedding);
        write_npy(&place.path("y.npy"), arr1(&place.targets).view()).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn npy<D: Dimension>(&self, name: &str, array: &ndarray::Array<f64, D>) {
        write_npy(&self.path(name), array.view()).unwrap();
    }

    fn loss(&self, arguments: &str) -> Output {
        let mut command = surprisal();
        command.current_dir(self.directory.path()).stdin(Stdio::null()).arg("loss");
        command.args(arguments.split_whitespace()).output().unwrap()
    }

    #[track_caller]
    fn json(&self, arguments: &str) -> Map<String, Value> {
        let output = self.loss(&format!("{arguments} --json"));
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{arguments}: {stderr}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The losses of the rows and the gradient by the logits.
    #[track_caller]
    fn rows(&self, arguments: &str) -> (ArrayD<f64>, ArrayD<f64>) {
        self.json(&format!("{arguments} --reduction none --grad --emit loss --out out"));
        (self.read("out/loss.npy"), self.read("out/grad_logits.npy"))
    }

    fn read(&self, name: &str) -> ArrayD<f64> {
        let tensor = Tensor::open(self.path(name).to_str().unwrap()).unwrap();
        match tensor.view() {
            TensorView::F64(array) => array.to_owned(),
            TensorView::F32(array) => array.mapv(f64::from),
            view => panic!("{name} is {}", view.dtype_name()),
        }
    }

    /// Exit 2 and one line that holds all of `parts`.
    #[track_caller]
    fn refuses(&self, arguments: &str, parts: &[&str]) {
        let output = self.loss(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {stderr}");
        assert!(output.stdout.is_empty() && stderr.lines().count() == 1, "{stderr}");
        for part in parts {
            assert!(stderr.contains(part), "{arguments}: {stderr:?} does not say {part:?}");
        }
    }
}

/// The value and the gradient by the logits of a function of the oracle.
fn oracle(request: &Value) -> (Array1<f64>, Array2<f64>) {
    let mut child =
        surprisal().arg("oracle").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{request}").unwrap();
    let output = child.wait_with_output().unwrap();
    let response: Value = serde_json::from_slice(&output.stdout).unwrap();
    let numbers = |value: &Value| -> Array1<f64> {
        value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
    };
    assert!(response.get("value").is_some(), "{request}: {response}");
    let value = match &response["value"] {
        Value::Number(number) => arr1(&[number.as_f64().unwrap()]),
        value => numbers(value),
    };
    let rows: Vec<_> =
        response["gradient"]["logits"].as_array().unwrap().iter().map(numbers).collect();
    (value, Array2::from_shape_fn((rows.len(), rows[0].len()), |(i, j)| rows[i][j]))
}

fn nested(array: &Array2<f64>) -> Value {
    array.rows().into_iter().map(|row| row.to_vec()).collect::<Vec<_>>().into()
}

/// Sums of five numbers in f64, in another order at most.
#[track_caller]
fn near<'a>(
    what: &str,
    found: impl IntoIterator<Item = &'a f64>,
    expected: impl IntoIterator<Item = &'a f64>,
) {
    let (found, expected): (Vec<_>, Vec<_>) =
        (found.into_iter().collect(), expected.into_iter().collect());
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(&expected) {
        assert!(close(**found, **expected, 1e-13, 1e-14), "{what}: {found} {expected}");
    }
}

/// The name that the table has, an argument of `--loss` or `--divergence`, and the oracle's function with what it takes.
fn cases() -> Vec<(&'static str, &'static str, Value)> {
    let divergence = |name: &str, rest: Value| {
        let mut request = json!({ "function": "distillation_divergence", "divergence": name });
        request.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        request
    };
    vec![
        ("cross_entropy", "ce", json!({ "function": "cross_entropy" })),
        (
            "label_smoothing",
            "label-smoothing:epsilon=0.2",
            json!({ "function": "label_smoothing", "epsilon": 0.2 }),
        ),
        ("z_loss", "z-loss:lambda=1e-2", json!({ "function": "z_loss", "lambda": 0.01 })),
        ("entropy", "entropy", json!({ "function": "entropy" })),
        ("comp_sum", "comp-sum:tau=1.5", json!({ "function": "comp_sum", "tau": 1.5 })),
        ("comp_sum", "comp", json!({ "function": "comp_sum" })),
        (
            "generalized_cross_entropy",
            "gce:q=0.5",
            json!({ "function": "generalized_cross_entropy", "q": 0.5 }),
        ),
        (
            "generalized_cross_entropy",
            "generalized_cross_entropy:k-truncation=0.3",
            json!({ "function": "generalized_cross_entropy", "k_truncation": 0.3 }),
        ),
        ("mae", "mae", json!({ "function": "mae" })),
        ("mae", "mae:form=half", json!({ "function": "mae", "form": "half" })),
        ("focal", "focal:gamma=3", json!({ "function": "focal", "gamma": 3 })),
        ("poly1", "poly:epsilon=-0.5", json!({ "function": "poly1", "epsilon": -0.5 })),
        ("agce", "agce:a=2,q=.5", json!({ "function": "agce", "a": 2, "q": 0.5 })),
        ("aul", "aul:a=2,q=3", json!({ "function": "aul", "a": 2, "q": 3 })),
        (
            "symmetric_cross_entropy_hard",
            "sce-hard:alpha=0.5,beta=2,log-clip=-3",
            json!({ "function": "symmetric_cross_entropy_hard", "alpha": 0.5, "beta": 2, "log_clip": -3 }),
        ),
        ("mixce", "mixce:eta=0.3", json!({ "function": "mixce", "eta": 0.3 })),
        (
            "tailr",
            "tailr:gamma=0.3,ceiling=2",
            json!({ "function": "tailr", "gamma": 0.3, "ceiling": 2 }),
        ),
        ("normalized_cross_entropy", "nce", json!({ "function": "normalized_cross_entropy" })),
        (
            "correctness_calibration",
            "calibration:penalty=bce",
            json!({ "function": "correctness_calibration", "penalty": "bce" }),
        ),
        (
            "correctness_calibration",
            "correctness-calibration:balanced=false",
            json!({ "function": "correctness_calibration" }),
        ),
        ("dco", "dco:n=4", json!({ "function": "dco", "n": 4 })),
        (
            "ldr_kl",
            "ldr:lambda=0.5,margin=0.3",
            json!({ "function": "ldr_kl", "lambda": 0.5, "margin": 0.3 }),
        ),
        (
            "aldr_kl",
            "aldr:lambda0=2,alpha=3,margin=0.3",
            json!({ "function": "aldr_kl", "lambda0": 2, "alpha": 3, "margin": 0.3 }),
        ),
        (
            "aldr_kl",
            "aldr_kl:lambda0=2,alpha=3,margin=0.3,update=one-step",
            json!({ "function": "aldr_kl", "lambda0": 2, "alpha": 3, "margin": 0.3, "update": "one_step" }),
        ),
        ("demd", "demd", json!({ "function": "demd" })),
        ("emo", "emo", json!({ "function": "emo" })),
        ("emo", "emo:variant=code", json!({ "function": "emo", "variant": "code" })),
        ("emo", "emo:variant=continual", json!({ "function": "emo", "variant": "continual" })),
        ("forward_kl", "kl", divergence("forward_kl", json!({}))),
        ("reverse_kl", "reverse-kl", divergence("reverse_kl", json!({}))),
        ("jensen_shannon", "jsd:beta=0.3", divergence("jensen_shannon", json!({ "beta": 0.3 }))),
        ("jensen_shannon", "jsd:beta=0", divergence("jensen_shannon", json!({ "beta": 0 }))),
        (
            "skew_forward_kl",
            "skew:alpha=0.2",
            divergence("skew_forward_kl", json!({ "alpha": 0.2 })),
        ),
        (
            "skew_reverse_kl",
            "skew-reverse:alpha=0.2",
            divergence("skew_reverse_kl", json!({ "alpha": 0.2 })),
        ),
        (
            "symmetric_kl",
            "symmetric:weight=0.2",
            divergence("symmetric_kl", json!({ "weight": 0.2 })),
        ),
        ("total_variation", "tvd", divergence("total_variation", json!({}))),
        (
            "symmetric_cross_entropy",
            "sce:alpha=0.2",
            json!({ "function": "symmetric_cross_entropy", "alpha": 0.2 }),
        ),
    ]
}

const COSTS: [&str; 2] = ["demd", "emo"];

/// The request with the arrays that its function takes.
fn with_arrays(place: &Place, name: &str, request: &Value) -> Value {
    let mut request = request.clone();
    request["logits"] = nested(&place.logits);
    request["gradient"] = true.into();
    if diverges(name) {
        request["teacher_logits"] = nested(&place.teacher);
    } else if name != "entropy" {
        request["targets"] = place.targets.clone().into();
    }
    if COSTS.contains(&name) {
        request["embedding"] = nested(&place.embedding);
    }
    request
}

/// The arguments of the arrays that a name is of.
fn arrays(name: &str) -> &'static str {
    match name {
        _ if COSTS.contains(&name) => "--targets y.npy --costs v.npy",
        _ if diverges(name) => "--teacher-logits t.npy",
        _ => "--targets y.npy",
    }
}

fn diverges(name: &str) -> bool {
    name.ends_with("_kl") && name != "ldr_kl" && name != "aldr_kl"
        || ["jensen_shannon", "total_variation", "symmetric_cross_entropy"].contains(&name)
}

#[test]
fn every_name_is_the_oracles() {
    let place = Place::new();
    for (name, argument, request) in cases() {
        let (value, gradient) = oracle(&with_arrays(&place, name, &request));
        let flags = if diverges(name) { &["--loss", "--divergence"][..] } else { &["--loss"] };
        for flag in flags {
            let (losses, by_logits) =
                place.rows(&format!("--logits l.npy {} {flag} {argument}", arrays(name)));
            near(argument, &losses, &value);
            near(argument, &by_logits, &gradient);
        }
    }
}

#[test]
fn every_name_is_in_a_case_and_in_the_help() {
    let place = Place::new();
    let output = place.loss("--logits l.npy --targets y.npy --loss nothing");
    let stderr = String::from_utf8(output.stderr).unwrap();
    let (_, names) = stderr.split_once("expected one of ").unwrap();
    let (names, _) = names.split_once(';').unwrap();
    let named: BTreeSet<_> = names.split(", ").collect();
    let mut tried: BTreeSet<_> = cases().iter().map(|(name, ..)| *name).collect();
    // No function of the oracle; it has a test of its own.
    tried.insert("expected_cost");
    assert_eq!(named, tried);
    let output = place.loss("--help");
    let help = String::from_utf8(output.stdout).unwrap();
    for name in named {
        assert!(help.contains(name), "{name}");
    }
}

#[test]
fn terms_are_summed_with_their_factors() {
    let place = Place::new();
    for (arguments, terms) in [
        ("--loss cross_entropy+0.5*mae", &[("cross_entropy", 1.0), ("mae", 0.5)][..]),
        ("--loss ce-0.01*entropy", &[("cross_entropy", 1.0), ("entropy", -0.01)]),
        ("--loss -2*entropy", &[("entropy", -2.0)]),
        (
            "--loss 0.5*cross-entropy+0.5*kl --teacher-logits t.npy",
            &[("cross_entropy", 0.5), ("forward_kl", 0.5)],
        ),
        (
            "--loss cross_entropy --divergence 2*kl-reverse-kl --teacher-logits t.npy",
            &[("cross_entropy", 1.0), ("forward_kl", 2.0), ("reverse_kl", -1.0)],
        ),
        ("--loss 0.5*demd+emo --costs v.npy", &[("demd", 0.5), ("emo", 1.0)]),
    ] {
        let (mut value, mut gradient) =
            (Array1::<f64>::zeros(ROWS), Array2::<f64>::zeros((ROWS, CLASSES)));
        for (name, factor) in terms {
            let request = match diverges(name) {
                true => json!({ "function": "distillation_divergence", "divergence": name }),
                false => json!({ "function": name }),
            };
            let (own, by_logits) = oracle(&with_arrays(&place, name, &request));
            value.scaled_add(*factor, &own);
            gradient.scaled_add(*factor, &by_logits);
        }
        let found = place.rows(&format!("--logits l.npy --targets y.npy {arguments}"));
        near(arguments, &found.0, &value);
        near(arguments, &found.1, &gradient);
    }
}

#[test]
fn without_a_name_it_is_the_cross_entropy_that_it_was() {
    let place = Place::new();
    let options = "--logits l.npy --targets y.npy --label-smoothing 0.1 --z-loss 0.01";
    let plain = place.json(options);
    let named = place.json(&format!("{options} --loss cross-entropy"));
    assert_eq!(plain["loss"], named["loss"]);
    assert_eq!(plain.keys().collect::<Vec<_>>(), named.keys().collect::<Vec<_>>());
    let focal = place.json("--logits l.npy --targets y.npy --loss focal");
    assert_eq!(plain.keys().collect::<Vec<_>>(), focal.keys().collect::<Vec<_>>());
    assert_ne!(plain["loss"], focal["loss"]);
}

#[test]
fn balanced_calibration_is_a_mean_of_two_passes() {
    let place = Place::new();
    let request =
        json!({ "function": "correctness_calibration", "penalty": "abs", "balanced": true });
    let mut request = with_arrays(&place, "correctness_calibration", &request);
    let argument = "--loss calibration:penalty=abs,balanced=true";
    let check = |arguments: &str, request: &Value, rows: &[usize]| {
        let (value, gradient) = oracle(request);
        let found = place.json(&format!("{arguments} {argument} --grad --out out"));
        near(arguments, &[found["loss"].as_f64().unwrap()], &value);
        let by_logits = place.read("out/grad_logits.npy");
        near(arguments, &by_logits.select(Axis(0), rows), &gradient);
    };
    // Some rows right, some wrong: else it is the plain mean.
    let accuracy = place.json("--logits l.npy --targets y.npy")["accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.0 && accuracy < 1.0, "{accuracy}");
    check("--logits l.npy --targets y.npy", &request, &[0, 1, 2, 3]);
    // Of the rows that take part alone: the right one, a wrong one.
    let right: Vec<_> = (0..ROWS)
        .filter(|&i| {
            let row = place.logits.row(i);
            row.iter().all(|x| *x <= row[place.targets[i] as usize])
        })
        .collect();
    let wrong = (0..ROWS).find(|i| !right.contains(i)).unwrap();
    let mut rows = vec![right[0], wrong];
    rows.sort_unstable();
    let ignored: Array1<f64> =
        (0..ROWS).map(|i| if rows.contains(&i) { 0.0 } else { 1.0 }).collect();
    place.npy("i.npy", &ignored);
    request["logits"] = nested(&place.logits.select(Axis(0), &rows));
    request["targets"] = rows.iter().map(|&i| place.targets[i]).collect::<Vec<_>>().into();
    check("--logits l.npy --targets y.npy --ignore i.npy", &request, &rows);
    place.npy("i.npy", &Array1::ones(ROWS));
    let none =
        place.json(&format!("--logits l.npy --targets y.npy --ignore i.npy --quiet {argument}"));
    assert_eq!(none["loss"], "nan");
}

#[test]
fn a_second_head_is_its_logits() {
    let place = Place::new();
    let mut random = Stream(11);
    let (hidden, classifier) = (random.matrix(ROWS, 3, 1.0), random.matrix(CLASSES, 3, 1.0));
    let (wide, theirs) = (random.matrix(ROWS, 2, 1.0), random.matrix(CLASSES, 2, 1.0));
    let bias = random.vector(CLASSES, 1.0);
    for (name, array) in
        [("e.npy", &hidden), ("c.npy", &classifier), ("e2.npy", &wide), ("c2.npy", &theirs)]
    {
        place.npy(name, array);
    }
    place.npy("b2.npy", &bias);
    place.npy("l.npy", &hidden.dot(&classifier.t()));
    place.npy("t.npy", &(wide.dot(&theirs.t()) + &bias));
    for divergence in ["kl", "reverse-kl", "jsd:beta=0.1", "skew", "tvd", "symmetric", "sce"] {
        let options = format!("--divergence {divergence} --temperature 1.5");
        let (losses, by_logits) =
            place.rows(&format!("--logits l.npy --teacher-logits t.npy {options}"));
        let found = place.json(&format!(
            "--hidden e.npy --classifier c.npy --teacher-hidden e2.npy --teacher-classifier c2.npy \
             --teacher-bias b2.npy {options} --reduction none --grad --emit loss --out out"
        ));
        // The products are summed in another order.
        let close_to = |name: &str, expected: &ArrayD<f64>| {
            for (a, b) in place.read(name).iter().zip(expected) {
                assert!(close(*a, *b, 1e-12, 1e-13), "{divergence} {name}: {a} {b}");
            }
        };
        close_to("out/loss.npy", &losses);
        let by_logits = by_logits.into_dimensionality::<ndarray::Ix2>().unwrap();
        close_to("out/grad_hidden.npy", &by_logits.dot(&classifier).into_dyn());
        close_to("out/grad_classifier.npy", &by_logits.t().dot(&hidden).into_dyn());
        // There are no targets that it could be right about.
        for key in ["perplexity", "bits_per_token", "accuracy"] {
            assert_eq!(found[key], Value::Null, "{key}");
        }
        assert_eq!(found["tokens"], ROWS);
    }
}

#[test]
fn a_temperature_divides_the_logits_of_both_heads() {
    let place = Place::new();
    let all = "--logits l.npy --teacher-logits t.npy --targets y.npy";
    let request = json!({
        "function": "kl_divergence",
        "logits": nested(&place.logits),
        "teacher_logits": nested(&place.teacher),
        "temperature": 2.5,
        "gradient": true,
    });
    let (value, gradient) = oracle(&request);
    let squared = "--divergence kl --temperature 2.5 --temperature-squared";
    let found = place.rows(&format!("{all} {squared}"));
    near("squared", &found.0, &value);
    near("squared", &found.1, &gradient);
    let found = place.rows(&format!("{all} --divergence kl --temperature 2.5"));
    near("plain", &found.0, &(&value / 6.25));
    // The targets' part of a sum is at the temperature too, and has no square.
    let own = place.rows(&format!("{all} --loss ce+kl --temperature 2.5 --temperature-squared"));
    let ce = place.rows("--logits l.npy --targets y.npy --temperature 2.5").0;
    near("sum", &own.0, &(&ce + &value));
    place.npy("l.npy", &(&place.logits / 2.5));
    near("divided", &ce, &place.rows("--logits l.npy --targets y.npy").0);
    // A file has one of each target.
    place.npy("l.npy", &place.logits);
    place.npy("h.npy", &arr1(&[2.5, 1.0, 2.5, 0.5]));
    let each = place.rows("--logits l.npy --targets y.npy --temperature h.npy").0;
    assert!((each[0] - ce[0]).abs() < 1e-14 && (each[2] - ce[2]).abs() < 1e-14);
    let plain = place.rows("--logits l.npy --targets y.npy").0;
    assert!((each[1] - plain[1]).abs() < 1e-14 && (each[3] - plain[3]).abs() > 1e-3);
}

#[test]
fn costs_are_of_classes_or_of_each_entry() {
    let place = Place::new();
    let mut random = Stream(5);
    let (classes, entries) = (random.vector(CLASSES, 1.0), random.matrix(ROWS, CLASSES, 1.0));
    place.npy("v1.npy", &classes);
    place.npy("v2.npy", &entries);
    let softmax = |i: usize| {
        let weights = place.logits.row(i).mapv(f64::exp);
        &weights / weights.sum()
    };
    for (file, costs) in [
        ("v1.npy", Array2::from_shape_fn((ROWS, CLASSES), |(_, v)| classes[v])),
        ("v2.npy", entries.clone()),
    ] {
        let expected: Vec<_> = (0..ROWS).map(|i| softmax(i).dot(&costs.row(i))).collect();
        // It is no matter of the targets.
        for targets in ["--targets y.npy", ""] {
            let found = place
                .rows(&format!("--logits l.npy {targets} --loss expected-cost --costs {file}"));
            near(file, &found.0, &expected);
        }
    }
}

/// [B,T,V] logits with `--shift` against the rows that remain, picked by hand.
#[test]
fn what_belongs_to_targets_goes_with_them() {
    let place = Place::new();
    let mut random = Stream(3);
    let (batch, length) = (2, 4);
    let logits = Array3::from_shape_vec(
        (batch, length, CLASSES),
        random.matrix(batch * length, CLASSES, 2.0).into_raw_vec_and_offset().0,
    )
    .unwrap();
    let targets = Array2::from_shape_vec((batch, length), random.classes(8, CLASSES)).unwrap();
    let temperatures = Array2::from_shape_fn((batch, length), |(b, t)| 1.0 + (4 * b + t) as f64);
    place.npy("l.npy", &logits);
    place.npy("h.npy", &temperatures);
    write_npy(&place.path("y.npy"), targets.view()).unwrap();
    let rows = |array: ndarray::ArrayView3<'_, f64>| {
        let columns = array.dim().2;
        let rows: Vec<_> = array.iter().copied().collect();
        Array2::from_shape_vec((rows.len() / columns, columns), rows).unwrap()
    };
    let kept = rows(logits.slice(s![.., ..length - 1, ..]));
    place.npy("l2.npy", &kept);
    let later =
        |array: &Array2<f64>| -> Array1<f64> { array.slice(s![.., 1..]).iter().copied().collect() };
    place.npy("h2.npy", &later(&temperatures));
    let classes: Array1<i64> = targets.slice(s![.., 1..]).iter().copied().collect();
    write_npy(&place.path("y2.npy"), classes.view()).unwrap();
    for (shifted, picked) in [
        ("--loss emo --costs v.npy", "--loss emo --costs v.npy"),
        ("--temperature h.npy", "--temperature h2.npy"),
        ("--loss aldr:lambda0=2,alpha=3,margin=0.3", "--loss aldr:lambda0=2,alpha=3,margin=0.3"),
    ] {
        let whole = place.rows(&format!("--logits l.npy --targets y.npy --shift {shifted}"));
        let part = place.rows(&format!("--logits l2.npy --targets y2.npy {picked}"));
        near(shifted, &whole.0, &part.0);
        let by_logits = whole.1.into_shape_with_order((batch, length, CLASSES)).unwrap();
        near(shifted, &rows(by_logits.slice(s![.., ..length - 1, ..])), &part.1);
        assert!(by_logits.slice(s![.., length - 1, ..]).iter().all(|x| *x == 0.0));
    }
    let balanced = "--loss calibration:balanced=true";
    let whole = place.json(&format!("--logits l.npy --targets y.npy --shift {balanced}"));
    let part = place.json(&format!("--logits l2.npy --targets y2.npy {balanced}"));
    near(balanced, &[whole["loss"].as_f64().unwrap()], &[part["loss"].as_f64().unwrap()]);
}

#[test]
fn a_row_that_is_not_a_number_leaves_the_others_alone() {
    let place = Place::new();
    let argument = "--loss aldr:lambda0=2,alpha=3,margin=0.3 --quiet";
    let good = place.rows(&format!("--logits l.npy --targets y.npy {argument}")).0;
    let mut logits = place.logits.clone();
    logits[[1, 3]] = f64::NAN;
    place.npy("l.npy", &logits);
    let found = place.rows(&format!("--logits l.npy --targets y.npy {argument}")).0;
    assert!(found[1].is_nan());
    for row in [0, 2, 3] {
        assert_eq!(found[row], good[row]);
    }
}

#[test]
fn single_precision_has_them_too() {
    let place = Place::new();
    for (name, argument, request) in cases() {
        let (value, _) = oracle(&with_arrays(&place, name, &request));
        let (losses, _) =
            place.rows(&format!("--logits l.npy {} --f32 --loss {argument}", arrays(name)));
        for (found, expected) in losses.iter().zip(&value) {
            // Two logits of at most 8 are each off by 2⁻²⁴ of themselves, and no slope here is beyond 8.
            assert!(close(*found, *expected, 1e-5, 1e-5), "{argument}: {found} {expected}");
        }
    }
}

#[test]
fn what_does_not_go_together_is_one_line() {
    let place = Place::new();
    place.npy("w.npy", &Array1::ones(ROWS));
    place.npy("p.npy", &Array2::from_elem((ROWS, CLASSES), 0.2));
    place.npy("short.npy", &Array1::ones(ROWS - 1));
    let good = "--logits l.npy --targets y.npy";
    for (arguments, parts) in [
        (
            "--loss focl",
            &["--loss: \"focl\" is none", "cross_entropy, ", "the nearest is \"focal\""][..],
        ),
        ("--divergence mae", &["--divergence: \"mae\" is none", "expected one of forward_kl"]),
        ("--loss focal:gama=2", &["focal has no key \"gama\", expected gamma"]),
        (
            "--loss gce:q=2",
            &["generalized_cross_entropy: q is 2.0, expected a finite number above 0 up to 1"],
        ),
        ("--loss agce:a=1", &["agce: q is missing"]),
        ("--loss dco:n=2,level=sequence", &["dco has no key \"level\", expected n"]),
        ("--loss mae+", &["nothing stands where a loss was expected"]),
        ("--loss 2mae", &["2 is not followed by *"]),
        (
            "--loss focal --label-smoothing 0.1",
            &["--label-smoothing goes with cross-entropy alone", "label_smoothing:epsilon="],
        ),
        (
            "--loss ce+entropy --z-loss 0.1",
            &["--z-loss goes with cross-entropy alone", "z_loss:lambda="],
        ),
        ("--loss kl", &["forward_kl is from a second head", "--teacher-logits"]),
        ("--loss ce --divergence tvd", &["total_variation is from a second head"]),
        ("--teacher-logits t.npy", &["a second head is there that no term is of", "--divergence"]),
        ("--teacher-hidden t.npy --divergence kl", &["--teacher-classifier"]),
        ("--teacher-bias w.npy", &["--teacher-bias is of a second head"]),
        (
            "--temperature-squared --temperature 2",
            &["--temperature-squared goes with a divergence"],
        ),
        ("--loss emo", &["emo has costs by an embedding, expected --costs"]),
        ("--loss expected_cost", &["expected_cost is of costs, expected --costs"]),
        ("--loss focal --costs v.npy", &["--costs goes with a loss of costs"]),
        (
            "--loss emo+expected_cost --costs v.npy",
            &["emo takes an embedding", "expected_cost the costs"],
        ),
        (
            "--loss emo+kl --costs v.npy --teacher-logits t.npy",
            &["emo does not go with a divergence"],
        ),
        ("--loss emo --costs t.npy", &["--costs is f64 of shape [4, 5], expected 5 rows"]),
        ("--loss focal --soft-targets p.npy", &["focal goes with --targets alone"]),
        (
            "--loss ce+kl --soft-targets p.npy --teacher-logits t.npy",
            &["forward_kl goes with --targets alone"],
        ),
        ("--loss ldr:lambda=2 --temperature 2", &["ldr_kl has a temperature of its own, lambda"]),
        ("--loss ldr:lambda=2+mae", &["ldr_kl has a temperature of its own, expected it alone"]),
        (
            "--loss aldr:lambda0=2,alpha=2,margin=0+mae",
            &["aldr_kl has a temperature of its own, expected it alone"],
        ),
        (
            "--loss calibration:balanced=true+mae",
            &["balanced=true weighs the rows itself, expected it alone"],
        ),
        (
            "--loss calibration:balanced=true --token-weights w.npy",
            &["expected neither --token-weights"],
        ),
        (
            "--loss calibration:balanced=true --reduction sum",
            &["is a mean, expected --reduction mean"],
        ),
        ("--loss calibration:balanced=2", &["balanced is \"2\", expected true or false"]),
        ("--temperature 0", &["temperature", "above 0"]),
        ("--temperature nowhere.npy", &["nowhere.npy"]),
        ("--temperature short.npy", &["temperatures", "[3]", "[4]"]),
        ("--divergence kl --teacher-logits v.npy", &["the logits of the second head"]),
        ("--loss \u{1b}[31m", &[r"\u{1b}[31m", "where a loss was expected"]),
    ] {
        place.refuses(&format!("{good} {arguments}"), parts);
    }
    place.refuses(
        "--logits l.npy --loss focal",
        &["focal is a loss of targets, expected --targets"],
    );
    place.refuses(
        "--logits l.npy --divergence kl --teacher-logits t.npy --emit rank --out out",
        &["rank, logprob and --class-weights are of targets"],
    );
    place.npy("one.npy", &Array2::zeros((ROWS, 1)));
    place.refuses(
        "--logits one.npy --targets y.npy --loss nce",
        &["normalized_cross_entropy of one class"],
    );
}
