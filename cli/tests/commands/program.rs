//! The binary: what it prints, what it writes, and how it fails.

use half::bf16;
use ndarray::{Array1, Array2, ArrayD, IxDyn, arr1, arr2};
use proptest::prelude::*;
use serde_json::{Map, Value};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use surprisal::io::{Tensor, TensorView, write_npy, write_safetensors};
use tempfile::TempDir;
use testing::close;

fn surprisal() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_surprisal"));
    command.env_remove("SURPRISAL_ISA").stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

/// A directory with the arrays of a good call.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { directory: TempDir::new().unwrap() };
        place.npy("e.npy", arr2(&[[0.2, -0.1], [1.0, 0.5], [-0.3, 0.7]]));
        place.npy("c.npy", arr2(&[[0.5, -0.4], [-0.2, 0.3], [0.1, 0.6]]));
        place.npy("b.npy", arr1(&[0.1, -0.2, 0.05]));
        place.npy("w.npy", arr1(&[0.5, 2.0, 1.0]));
        write_npy(&place.path("y.npy"), arr1(&[0_i64, 1, 2]).view()).unwrap();
        place
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn npy<D: ndarray::Dimension>(&self, name: &str, array: ndarray::Array<f64, D>) {
        write_npy(&self.path(name), array.view()).unwrap();
    }

    /// As NumPy writes an array in the order of Fortran.
    fn fortran(&self, name: &str, array: &ArrayD<f64>) {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        let lengths: String = array.shape().iter().map(|length| format!("{length}, ")).collect();
        let header = format!("{{'descr': '<f8', 'fortran_order': True, 'shape': ({lengths})}}\n");
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.bytes());
        bytes.extend(array.t().iter().flat_map(|x| x.to_le_bytes()));
        std::fs::write(self.path(name), bytes).unwrap();
    }

    /// `surprisal loss` in this directory.
    fn loss(&self, arguments: &str) -> Output {
        let mut command = surprisal();
        command.current_dir(self.directory.path()).arg("loss").args(arguments.split_whitespace());
        command.output().unwrap()
    }

    fn json(&self, arguments: &str) -> Map<String, Value> {
        let output = self.loss(&format!("{arguments} --json"));
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{arguments}: {stderr}");
        assert!(stderr.is_empty(), "{stderr}");
        // One object, one line, nothing else.
        assert_eq!(stdout.lines().count(), 1, "{stdout}");
        let Value::Object(object) = serde_json::from_str(stdout).unwrap() else {
            panic!("{stdout}")
        };
        object
    }

    fn read(&self, name: &str) -> ArrayD<f64> {
        read(&self.path(name))
    }

    fn integers(&self, name: &str) -> Vec<i64> {
        let tensor = Tensor::open(self.path(name).to_str().unwrap()).unwrap();
        assert_eq!(tensor.view().dtype_name(), "i64");
        tensor.view().to_i64("integers").unwrap().into_raw_vec_and_offset().0
    }
}

fn read(path: &Path) -> ArrayD<f64> {
    let tensor = Tensor::open(path.to_str().unwrap()).unwrap();
    match tensor.view() {
        TensorView::F64(array) => array.to_owned(),
        TensorView::F32(array) => array.mapv(f64::from),
        view => panic!("{} is {}", path.display(), view.dtype_name()),
    }
}

const GOOD: &str = "--hidden e.npy --classifier c.npy --targets y.npy";

const KEYS: [&str; 11] = [
    "loss",
    "perplexity",
    "bits_per_token",
    "tokens",
    "ignored",
    "accuracy",
    "mean_entropy",
    "seconds",
    "gflops",
    "workspace_bytes",
    "strategy",
];

/// Exit 2 and one line that holds all of `parts`; nothing on stdout.
#[track_caller]
fn fails(output: &Output, status: i32, parts: &[&str]) {
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "{stderr}");
    assert!(stdout.is_empty(), "stdout: {stdout}");
    assert!(stderr.ends_with('\n') && stderr.lines().count() == 1, "not one line: {stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{stderr:?} does not say {part:?}");
    }
}

fn numbers(value: &Value) -> Array1<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn matrix(value: &Value) -> Array2<f64> {
    let rows: Vec<_> = value.as_array().unwrap().iter().map(numbers).collect();
    Array2::from_shape_fn((rows.len(), rows[0].len()), |(i, j)| rows[i][j])
}

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
        // The files are of f64; 1e-11 is what is promised of them.
        assert!(close(**found, **expected, 1e-11, 1e-13), "{what}: {found} {expected}");
    }
}

#[test]
fn golden_cases() {
    let all: Value =
        serde_json::from_str(include_str!("../../../tests/golden/linear_cross_entropy.json"))
            .unwrap();
    for index in [0, 3, 10, 24, 36, 47, 51, 59, 75, 86, 93, 101, 126, 129] {
        let case = &all[index];
        let place = Place::new();
        let (hidden, classifier) = (matrix(&case["E"]), matrix(&case["C"]));
        // Odd ones out of one safetensors file, even ones out of npy files.
        let packed = index % 2 == 1;
        let mut tensors: Vec<(&str, Array2<f64>)> = Vec::new();
        let mut arguments = String::new();
        let mut add = |flag: &str, name: &'static str, array: Array2<f64>, vector: bool| {
            if packed && !vector {
                arguments += &format!(" --{flag} all.safetensors:{name}");
                tensors.push((name, array));
                return;
            }
            arguments += &format!(" --{flag} {name}.npy");
            match vector {
                true => place.npy(&format!("{name}.npy"), array.row(0).to_owned()),
                false => place.npy(&format!("{name}.npy"), array),
            }
        };
        add("hidden", "hidden", hidden.clone(), false);
        add("classifier", "classifier", classifier.clone(), false);
        let vector = |value: &Value| numbers(value).insert_axis(ndarray::Axis(0));
        let options = case["opts"].as_object().unwrap();
        if let Some(soft) = case.get("soft") {
            add("soft-targets", "soft", matrix(soft), false);
        }
        for (key, flag, name) in [
            ("b", "bias", "bias"),
            ("w", "class-weights", "w"),
            ("tw", "token-weights", "tw"),
            ("up", "upstream", "up"),
        ] {
            if let Some(values) = options.get(key) {
                add(flag, name, vector(values), true);
            }
        }
        if let Some(classes) = case.get("y").filter(|y| !y.is_null()) {
            let classes: Array1<i64> =
                classes.as_array().unwrap().iter().map(|y| y.as_i64().unwrap()).collect();
            write_npy(&place.path("classes.npy"), classes.view()).unwrap();
            arguments += " --targets classes.npy";
        }
        for (key, flag) in [
            ("scale", "scale"),
            ("softcap", "softcap"),
            ("eps", "label-smoothing"),
            ("zl", "z-loss"),
        ] {
            if let Some(value) = options.get(key) {
                arguments += &format!(" --{flag} {value}");
            }
        }
        if let Some(reduction) = options.get("red") {
            arguments += &format!(" --reduction {}", reduction.as_str().unwrap());
        }
        if packed {
            let views: Vec<_> =
                tensors.iter().map(|(name, array)| (*name, array.view().into())).collect();
            write_safetensors(&place.path("all.safetensors"), &views).unwrap();
        }
        for backward in ["auto", "recompute", "strip"] {
            let arguments = format!(
                "{arguments} --backward {backward} --grad --out out --emit loss,lse,argmax --threads 2"
            );
            let object = place.json(&arguments);
            let mut keys: Vec<_> = object.keys().map(String::as_str).collect();
            let mut expected = KEYS.to_vec();
            // Distributions are asked what they sum to.
            expected.extend(case.get("soft").map(|_| "mean_target_weight"));
            keys.sort_unstable();
            expected.sort_unstable();
            assert_eq!(keys, expected);
            let expect = &case["expect"];
            match expect["loss"].as_f64() {
                Some(loss) => near("loss", [&object["loss"].as_f64().unwrap()], [&loss]),
                None => {
                    assert!(object["loss"].is_null());
                    near("losses", &place.read("out/loss.npy"), &numbers(&expect["loss"]));
                }
            }
            let kept = case["y"]
                .as_array()
                .map_or(hidden.dim().0, |y| y.iter().filter(|y| y.as_i64() != Some(-100)).count());
            assert_eq!(object["tokens"], kept);
            assert_eq!(object["ignored"], hidden.dim().0 - kept);
            assert_eq!(object["accuracy"].is_null(), case.get("soft").is_some());
            near("dE", &place.read("out/grad_hidden.npy"), &matrix(&expect["dE"]));
            near("dC", &place.read("out/grad_classifier.npy"), &matrix(&expect["dC"]));
            assert_eq!(place.path("out/grad_bias.npy").exists(), options.contains_key("b"));
            if options.contains_key("b") {
                near("db", &place.read("out/grad_bias.npy"), &numbers(&expect["db"]));
            }
            let (lse, argmax) = (numbers(&expect["lse"]), place.integers("out/argmax.npy"));
            let found = place.read("out/lse.npy");
            for i in 0..hidden.dim().0 {
                match case["y"][i].as_i64() {
                    Some(-100) => assert_eq!((found[i], argmax[i]), (0.0, -1)),
                    _ => {
                        near("lse", [&found[i]], [&lse[i]]);
                        assert_eq!(argmax[i], expect["argmax"][i].as_i64().unwrap());
                    }
                }
            }
        }
    }
}

#[test]
fn numbers_that_hang_together() {
    let place = Place::new();
    let object = place.json(&format!("{GOOD} --bias b.npy --label-smoothing 0.2 --scale -0.5"));
    let number = |key: &str| object[key].as_f64().unwrap_or_else(|| panic!("{key}"));
    let bits = number("bits_per_token");
    near("perplexity", [&number("perplexity")], [&bits.exp2()]);
    assert_eq!((&object["tokens"], &object["ignored"]), (&Value::from(3), &Value::from(0)));
    assert!((0.0..=3.0_f64.ln()).contains(&number("mean_entropy")));
    assert!(number("seconds") >= 0.0 && number("gflops") >= 0.0 && number("workspace_bytes") > 0.0);

    // The perplexity is of −ln p whatever the options of the loss.
    let plain = place.json(&format!("{GOOD} --bias b.npy --scale -0.5"));
    assert_eq!(plain["perplexity"], object["perplexity"]);
    near("ln perplexity", [&plain["loss"].as_f64().unwrap()], [&(bits * std::f64::consts::LN_2)]);
    let weighted = place.json(&format!("{GOOD} --bias b.npy --scale -0.5 --class-weights w.npy"));
    assert_eq!(plain["perplexity"], weighted["perplexity"]);
}

#[test]
fn every_output_of_emit() {
    let place = Place::new();
    let names = "loss,lse,logprob,entropy,varentropy,argmax,rank,topk:2";
    place.json(&format!("{GOOD} --reduction none --emit {names} --out a/b/c"));
    for name in ["loss", "lse", "logprob", "entropy", "varentropy"] {
        assert_eq!(place.read(&format!("a/b/c/{name}.npy")).shape(), [3], "{name}");
    }
    let loss = place.read("a/b/c/loss.npy");
    let logprob = place.read("a/b/c/logprob.npy");
    near("logprob", &loss, &logprob.mapv(|x| -x));
    for name in ["argmax", "rank"] {
        assert_eq!(place.integers(&format!("a/b/c/{name}.npy")).len(), 3);
    }
    let tensor = Tensor::open(place.path("a/b/c/topk.npy").to_str().unwrap()).unwrap();
    assert_eq!((tensor.view().shape(), tensor.view().dtype_name()), (&[3, 2][..], "i64"));
    assert_eq!(place.read("a/b/c/topk_logprob.npy").shape(), [3, 2]);
    let top = tensor.view().to_i64("topk").unwrap();
    let argmax = place.integers("a/b/c/argmax.npy");
    assert!((0..3).all(|i| top[[i, 0]] == argmax[i]));
}

#[test]
fn given_logits() {
    let place = Place::new();
    place.npy("l.npy", arr2(&[[1.0, 2.0, 3.0]]));
    write_npy(&place.path("zero.npy"), arr1(&[0_i32]).view()).unwrap();
    let object = place.json("--logits l.npy --targets zero.npy --grad --out out");
    near("loss", [&object["loss"].as_f64().unwrap()], [&2.4076059644443806]);
    let gradient = place.read("out/grad_logits.npy");
    assert_eq!(gradient.shape(), [1, 3]);
    assert!((gradient[[0, 0]] + 0.9099694).abs() < 6e-8);
}

/// Of the logits 1, 2 and 3, whose masses are 0.09, 0.24 and 0.67.
#[test]
fn what_a_sampler_left_out_is_no_class() {
    let place = Place::new();
    place.npy("l.npy", arr2(&[[1.0, 2.0, 3.0]]));
    write_npy(&place.path("one.npy"), arr1(&[1_i32]).view()).unwrap();
    write_npy(&place.path("zero.npy"), arr1(&[0_i32]).view()).unwrap();
    let of = |arguments: &str| place.json(&format!("--logits l.npy {arguments}"))["loss"].clone();
    let two = 1.0_f64.exp().ln_1p();
    for flags in ["--truncate-top-k 2", "--top-p 0.9", "--min-p 0.2", "--top-p 0.95 --min-p 0.3"] {
        near(flags, [&of(&format!("--targets one.npy {flags}")).as_f64().unwrap()], [&two]);
        assert_eq!(of(&format!("--targets zero.npy {flags}")), "inf");
    }
    near("all", [&of("--targets one.npy --top-p 1").as_f64().unwrap()], [&1.4076059644443804]);
    let refused = place.loss("--logits l.npy --targets one.npy --top-p 0");
    fails(&refused, 2, &["top_p", "0", "above 0"]);
}

#[test]
fn narrow_files_are_computed_in_f32() {
    let place = Place::new();
    let round = |name: &str| read(&place.path(name)).mapv(bf16::from_f64);
    let (hidden, classifier) = (round("e.npy"), round("c.npy"));
    let tensors = [("e", hidden.view().into()), ("c", classifier.view().into())];
    write_safetensors(&place.path("m.safetensors"), &tensors).unwrap();
    let arguments = "--hidden m.safetensors:e --classifier m.safetensors:c --targets y.npy \
                     --emit loss --grad --out out";
    let narrow = place.json(arguments);
    let tensor = Tensor::open(place.path("out/loss.npy").to_str().unwrap()).unwrap();
    assert_eq!(tensor.view().dtype_name(), "f32");
    place.npy("e2.npy", hidden.mapv(f64::from));
    place.npy("c2.npy", classifier.mapv(f64::from));
    let wide = place.json("--hidden e2.npy --classifier c2.npy --targets y.npy");
    let (narrow, wide) = (narrow["loss"].as_f64().unwrap(), wide["loss"].as_f64().unwrap());
    assert!((narrow - wide).abs() < 1e-6 && narrow != wide);
}

#[test]
fn all_ignored_is_nan_as_a_string() {
    let place = Place::new();
    write_npy(&place.path("none.npy"), arr1(&[-1_i32, -1, -1]).view()).unwrap();
    let arguments =
        "--hidden e.npy --classifier c.npy --targets none.npy --ignore-index -1 --quiet";
    let object = place.json(arguments);
    for key in ["loss", "perplexity", "bits_per_token", "accuracy", "mean_entropy"] {
        assert_eq!(object[key], "nan", "{key}");
    }
    assert_eq!((&object["tokens"], &object["ignored"]), (&Value::from(0), &Value::from(3)));
    let object = place.json(&format!("{arguments} --reduction sum"));
    assert_eq!(object["loss"].as_f64(), Some(0.0));
    assert!(place.json(&format!("{arguments} --reduction none"))["loss"].is_null());
    let output = place.loss(&arguments.replace(" --quiet", ""));
    assert!(text(&output.stderr).starts_with("note: no row takes part: all are ignored"));
    assert!(!text(&output.stdout).contains("NaN %"));
}

#[test]
fn the_first_row_that_is_nan_is_named() {
    let place = Place::new();
    place.npy("nan.npy", arr2(&[[0.2, -0.1], [f64::NAN, 0.5], [f64::NAN, 0.7]]));
    let output = place.loss("--hidden nan.npy --classifier c.npy --targets y.npy --json");
    assert_eq!(output.status.code(), Some(0));
    let stderr = text(&output.stderr);
    assert!(stderr.starts_with("note: row 1 is NaN: ") && stderr.lines().count() == 1, "{stderr}");
    let object: Value = serde_json::from_str(text(&output.stdout)).unwrap();
    assert_eq!(object["loss"], "nan");
    // A row that takes no part may be anything.
    write_npy(&place.path("y2.npy"), arr1(&[0_i64, -100, -100]).view()).unwrap();
    place.json("--hidden nan.npy --classifier c.npy --targets y2.npy");
}

#[test]
fn targets_that_are_no_distributions_have_no_perplexity() {
    let place = Place::new();
    let product = "--hidden e.npy --classifier c.npy";
    let soft = arr2(&[[0.5, 0.25, 0.25], [0.125, 0.5, 0.375], [0.3, 0.1, 0.1]]);
    place.npy("soft.npy", soft.clone());
    write_npy(&place.path("last.npy"), arr1(&[0_i64, 0, 1]).view()).unwrap();
    let half = format!("{product} --soft-targets soft.npy");
    let object = place.json(&half);
    assert!(object["loss"].is_number());
    assert!(object["perplexity"].is_null() && object["bits_per_token"].is_null(), "{object:?}");
    near("mass", [&object["mean_target_weight"].as_f64().unwrap()], [&(soft.sum() / 3.0)]);
    let output = place.loss(&half);
    let people = text(&output.stdout);
    assert!(people.contains("- (target weights do not sum to 1)"), "{people}");
    assert!(people.contains("0.833 of a row on average"), "{people}");
    // The row that is short takes no part, or the shift leaves it out.
    let object = place.json(&format!("{half} --ignore last.npy"));
    assert!(object["perplexity"].is_number(), "{object:?}");
    place.npy("first.npy", soft.select(ndarray::Axis(0), &[2, 1, 0]));
    let object = place.json(&format!("{product} --soft-targets first.npy --shift 1"));
    assert!(object["perplexity"].is_number(), "{object:?}");
    near("mass", [&object["mean_target_weight"].as_f64().unwrap()], [&1.0]);

    let teacher = format!("{product} --teacher-classes tc.npy --teacher-log-probs tp.npy");
    write_npy(&place.path("tc.npy"), arr2(&[[0_i64, 1], [-1, -1], [2, 0]]).view()).unwrap();
    place.npy("tp.npy", Array2::from_elem((3, 2), 0.25_f64.ln()));
    let object = place.json(&teacher);
    assert!(object["perplexity"].is_null(), "{object:?}");
    near("mass", [&object["mean_target_weight"].as_f64().unwrap()], [&(1.0 / 3.0)]);
    place.npy("tp.npy", Array2::from_elem((3, 2), 0.6_f64.ln()));
    fails(&place.loss(&teacher), 2, &["--teacher-log-probs", "row 0", "1.2000"]);
    fails(&place.loss(&format!("{teacher} --tail renormalise")), 2, &["row 0", "1.2000"]);
    write_npy(&place.path("tc.npy"), arr2(&[[0_i64, 1], [-1, -1], [2, 2]]).view()).unwrap();
    place.npy("tp.npy", Array2::from_elem((3, 2), 0.25_f64.ln()));
    fails(&place.loss(&teacher), 2, &["--teacher-classes", "row 2", "class 2 twice"]);
}

#[test]
fn infinities_are_strings() {
    let place = Place::new();
    place.npy("l.npy", arr2(&[[f64::NEG_INFINITY, 2.0, 3.0]]));
    write_npy(&place.path("zero.npy"), arr1(&[0_i32]).view()).unwrap();
    let object = place.json("--logits l.npy --targets zero.npy");
    for key in ["loss", "perplexity", "bits_per_token"] {
        assert_eq!(object[key], "inf", "{key}");
    }
    place.npy("t.npy", arr1(&[-1.0]));
    let object = place.json("--logits l.npy --targets zero.npy --token-weights t.npy");
    assert_eq!(object["loss"], "-inf");
}

#[test]
fn without_json_the_same_keys_are_printed() {
    let place = Place::new();
    let output = place.loss(&format!("{GOOD} --quiet"));
    assert_eq!(output.status.code(), Some(0));
    let stdout = text(&output.stdout);
    let words = |key: &str| match key {
        "seconds" => "time".into(),
        "gflops" => "rate".into(),
        "workspace_bytes" => "workspace".into(),
        key => key.replace('_', " "),
    };
    for label in KEYS.map(words) {
        let starts =
            |line: &str| line.strip_prefix(&*label).is_some_and(|rest| rest.starts_with("  "));
        assert!(stdout.lines().any(starts), "{label}: {stdout}");
    }
    // Rounded, with units: no line has the seventeen digits that JSON has.
    for part in ["nats a token", " bits", "GFLOP/s", "iB", " %", "ln V = 1.099", "forward ("] {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
    let longest = stdout.split(|c: char| !c.is_ascii_digit()).map(str::len).max();
    assert!(longest <= Some(6), "{stdout}");
    // Global flags stand before the subcommand too.
    let mut command = surprisal();
    let arguments = format!("--json --threads 1 loss {GOOD}");
    let output =
        command.current_dir(place.directory.path()).args(arguments.split_whitespace()).output();
    assert!(serde_json::from_str::<Value>(text(&output.unwrap().stdout)).is_ok());
}

#[test]
fn help_and_version_are_no_failures() {
    for arguments in [&["--help"][..], &["loss", "--help"], &["--version"]] {
        let output = surprisal().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(!output.stdout.is_empty() && output.stderr.is_empty());
    }
    assert!(text(&surprisal().arg("--version").output().unwrap().stdout).contains("0.1.0"));
}

#[test]
fn bad_files() {
    let place = Place::new();
    std::fs::create_dir(place.path("d.npy")).unwrap();
    std::fs::write(place.path("e.txt"), "1 2 3").unwrap();
    std::fs::write(place.path("broken.npy"), b"\x93NUMPY\x01\x00\xff").unwrap();
    std::fs::write(place.path("empty.npy"), b"").unwrap();
    std::fs::write(place.path("broken.safetensors"), b"12").unwrap();
    let tensor = Array1::<f64>::ones(2);
    write_safetensors(&place.path("m.safetensors"), &[("x", tensor.view().into())]).unwrap();
    for (file, parts) in [
        ("missing.npy", &["missing.npy"][..]),
        ("d.npy", &["d.npy"]),
        ("e.txt", &["e.txt", "expected"]),
        ("noextension", &["noextension", "expected"]),
        ("broken.npy", &["broken.npy"]),
        ("empty.npy", &["empty.npy"]),
        ("broken.safetensors:x", &["broken.safetensors"]),
        ("missing.safetensors:x", &["missing.safetensors"]),
        ("m.safetensors", &["m.safetensors", "expected"]),
        ("m.safetensors:y", &["m.safetensors", "y"]),
        ("m.safetensors:", &["m.safetensors"]),
        ("m.safetensors:x", &["--hidden", "[2]", "expected", "matrix"]),
        ("y.npy", &["--hidden", "i64", "expected", "f32"]),
    ] {
        let arguments = format!("--hidden {file} --classifier c.npy --targets y.npy --json");
        fails(&place.loss(&arguments), 2, parts);
    }
    for (flag, file, parts) in [
        ("targets", "b.npy", &["--targets", "f64", "integers"][..]),
        ("targets", "missing.npy", &["missing.npy"]),
        ("bias", "e.npy", &["--bias", "[3, 2]", "vector"]),
        ("bias", "y.npy", &["--bias", "i64"]),
        ("class-weights", "e.npy", &["--class-weights", "vector"]),
        ("token-weights", "y.npy", &["--token-weights", "i64"]),
        ("upstream", "e.npy", &["--upstream", "[3, 2]", "--hidden", "expected [3]"]),
        ("upstream", "y.npy", &["--upstream", "i64"]),
    ] {
        let base = match flag {
            "targets" => "--hidden e.npy --classifier c.npy",
            "upstream" => {
                "--hidden e.npy --classifier c.npy --targets y.npy --grad --out o --reduction none"
            }
            _ => GOOD,
        };
        fails(&place.loss(&format!("{base} --{flag} {file}")), 2, parts);
    }
}

#[test]
fn bad_shapes_and_values() {
    let place = Place::new();
    place.npy("short.npy", arr1(&[1.0, 2.0]));
    place.npy("wide.npy", Array2::ones((3, 5)));
    place.npy("negative.npy", arr1(&[1.0, -1.0, 1.0]));
    place.npy("nan.npy", arr1(&[1.0, f64::NAN, 1.0]));
    place.npy("soft.npy", Array2::from_elem((3, 3), -0.5));
    place.npy("cube.npy", ArrayD::<f64>::ones(IxDyn(&[2, 2, 2])));
    let classes = |name: &str, of: &[i64]| {
        write_npy(&place.path(name), Array1::from(of.to_vec()).view()).unwrap();
    };
    classes("two.npy", &[0, 1]);
    classes("high.npy", &[0, 3, 1]);
    classes("low.npy", &[0, 1, -7]);
    let product = "--hidden e.npy --classifier c.npy";
    for (arguments, parts) in [
        (
            "--hidden e.npy --classifier wide.npy --targets y.npy",
            &["classifier", "[3, 5]", "2 columns"][..],
        ),
        (
            "--hidden cube.npy --classifier c.npy --targets y.npy",
            &["--hidden", "[2, 2, 2]", "--targets", "[3]", "expected [2, 2]"],
        ),
        (&format!("{product} --targets two.npy"), &["targets", "[2]", "[3]"]),
        (&format!("{product} --targets high.npy"), &["targets[1]", "3"]),
        (&format!("{product} --targets low.npy"), &["targets[2]", "-7"]),
        (&format!("{product} --targets low.npy --ignore-index -8"), &["targets[2]", "-7"]),
        (&format!("{GOOD} --bias short.npy"), &["bias", "[2]", "[3]"]),
        (&format!("{GOOD} --class-weights short.npy"), &["class", "[2]", "[3]"]),
        (&format!("{GOOD} --class-weights negative.npy"), &["class", "[1]", "-1"]),
        (&format!("{GOOD} --token-weights nan.npy"), &["token", "[1]", "NaN"]),
        (&format!("{GOOD} --token-weights short.npy"), &["token", "[2]", "[3]"]),
        (&format!("{product} --soft-targets wide.npy"), &["soft", "[3, 5]", "[3, 3]"]),
        (&format!("{product} --soft-targets soft.npy"), &["soft", "[0, 0]", "-0.5"]),
        (
            &format!("{GOOD} --reduction none --grad --out o --upstream short.npy"),
            &["upstream", "[2]", "[3]"],
        ),
        ("--logits wide.npy --targets high.npy --bias b.npy", &["bias", "[3]", "[5]"]),
    ] {
        fails(&place.loss(arguments), 2, parts);
        fails(&place.loss(&format!("{arguments} --json")), 2, parts);
    }
}

#[test]
fn bad_options() {
    let place = Place::new();
    for (arguments, parts) in [
        ("--scale nan", &["scale", "NaN"][..]),
        ("--scale inf", &["scale", "inf"]),
        ("--scale x", &["scale", "x", "expected a number"]),
        ("--softcap nan", &["softcap", "NaN"]),
        ("--softcap 0", &["softcap", "0", "above 0"]),
        ("--softcap -5", &["softcap", "-5"]),
        ("--label-smoothing -0.1", &["smoothing", "-0.1"]),
        ("--label-smoothing 1.5", &["smoothing", "1.5"]),
        ("--label-smoothing NaN", &["smoothing", "NaN"]),
        ("--z-loss -1", &["z", "-1"]),
        ("--divisor 0", &["divisor", "0"]),
        ("--divisor nan", &["divisor", "NaN"]),
        ("--divisor -3", &["divisor", "-3"]),
        ("--divisor 3 --reduction mean", &["--divisor", "--reduction mean", "--reduction sum"]),
        ("--divisor 3 --reduction none", &["--divisor", "--reduction none", "--reduction sum"]),
        ("--shift -1", &["--shift", "-1", "expected a whole number from 0"]),
        ("--shift 1.5", &["--shift", "1.5", "expected a whole number from 0"]),
        ("--shift 99999999999999999999", &["--shift", "beyond this machine"]),
        ("--threads 2.5", &["--threads", "2.5", "expected a whole number from 1"]),
        ("--softcap 1e-320 --f32", &["softcap is 1e-320", "beyond f32"]),
        ("--scale 1e300 --f32", &["scale is 1e300", "beyond f32"]),
        ("--tail-correction", &["--filter"]),
        ("--tail drop", &["--teacher-classes"]),
        ("--teacher-classes y.npy", &["--teacher-log-probs"]),
        ("--memory-budget 1.5", &["--memory-budget", "1.5", "MiB"]),
        ("--reduction median", &["--reduction", "median", "mean"]),
        ("--ignore-index x", &["--ignore-index", "x"]),
        ("--ignore-index 1.5", &["--ignore-index", "1.5"]),
        ("--backward fast", &["--backward", "fast", "strip"]),
        ("--filter maybe", &["--filter", "maybe", "auto", "0 to 1"]),
        ("--filter", &["--filter"]),
        ("--filter nan", &["filter", "NaN", "0 to 1"]),
        ("--filter -0.5", &["filter", "-0.5", "0 to 1"]),
        ("--filter 1.5", &["filter", "1.5", "0 to 1"]),
        ("--filter mass:", &["--filter", "mass:", "number"]),
        ("--filter mass:much", &["--filter", "mass:much", "from 0 to 1"]),
        ("--filter mass:nan", &["filter", "NaN", "0 to 1"]),
        ("--filter mass:1.5", &["filter", "1.5", "0 to 1"]),
        ("--class-order counts", &["--filter"]),
        ("--filter 0.1 --softcap 3 --label-smoothing 0.1", &["filter", "softcap", "smoothing"]),
        ("--filter-gradients hidden", &["--filter"]),
        (
            "--filter auto --filter-gradients logits",
            &["--filter-gradients", "logits", "classifier"],
        ),
        ("--filter auto --filter-gradients hidden,,bias", &["--filter-gradients"]),
        ("--device quantum", &["--device", "quantum", "cpu"]),
        ("--memory-budget 1", &["memory budget", "1", "expected at least"]),
        (
            "--memory-budget 1 --backward strip --grad --out o",
            &["memory budget", "expected at least"],
        ),
        ("--memory-budget 1GB", &["--memory-budget", "1GB"]),
        ("--threads 0", &["--threads", "0"]),
        ("--threads many", &["--threads", "many"]),
        ("--unknown", &["--unknown"]),
        ("--scale", &["--scale"]),
        ("stray", &["stray"]),
        ("--emit loss", &["--out"]),
        ("--grad", &["--out"]),
        ("--out o", &["--out", "--emit", "--grad"]),
        ("--emit entrpy --out o", &["--emit", "entrpy", "entropy"]),
        ("--emit topk:0 --out o", &["--emit", "topk:0"]),
        ("--emit topk --out o", &["--emit", "topk"]),
        ("--emit topk:-1 --out o", &["--emit", "topk:-1"]),
        ("--emit topk:99999999999 --out o", &["memory budget"]),
        ("--emit loss,,lse --out o", &["--emit"]),
        ("--upstream b.npy --reduction none", &["--grad"]),
        ("--upstream b.npy --grad --out o", &["--upstream", "none"]),
        ("--soft-targets e.npy", &["soft targets", "[3, 2]", "[3, 3]"]),
        ("--logits e.npy", &["--logits", "--hidden"]),
    ] {
        fails(&place.loss(&format!("{GOOD} {arguments}")), 2, parts);
    }
}

#[test]
fn missing_flags() {
    let place = Place::new();
    for (arguments, parts) in [
        ("", &["--targets"][..]),
        ("--hidden e.npy --targets y.npy", &["--classifier"]),
        ("--classifier c.npy --targets y.npy", &["--hidden"]),
        ("--hidden e.npy --classifier c.npy", &["--targets"]),
        ("--logits e.npy", &["--targets"]),
        (
            "--hidden e.npy --classifier c.npy --soft-targets e.npy --ignore-index 3",
            &["--ignore-index"],
        ),
        ("--hidden e.npy --hidden e.npy --classifier c.npy --targets y.npy", &["--hidden"]),
    ] {
        fails(&place.loss(arguments), 2, parts);
    }
    let mut empty = surprisal();
    empty.current_dir(place.directory.path());
    empty.args(["loss", "--classifier", "c.npy", "--targets", "y.npy", "--hidden", ""]);
    fails(&empty.output().unwrap(), 2, &["the value of --hidden is empty"]);
    for arguments in
        [["loss", "--hi\u{7}dden"], ["--threads", "2\u{200b}"], ["dse", "--sigma=\u{1b}[1m"]]
    {
        let seen = ["\\u{7}", "\\u{200b}", "\\u{1b}"];
        let output = surprisal().args(arguments).output().unwrap();
        fails(&output, 2, &["characters that cannot be seen, expected"]);
        assert!(seen.iter().any(|seen| text(&output.stderr).contains(seen)), "{arguments:?}");
    }
    for arguments in
        [["train", "--steps", "1e3"], ["dsmi", "--seed", "-1"], ["bench", "--seed", "-1"]]
    {
        let output = surprisal().args(arguments).output().unwrap();
        fails(&output, 2, &[arguments[1], arguments[2], "expected a whole number from"]);
    }
    fails(&surprisal().output().unwrap(), 2, &[]);
    fails(&surprisal().arg("los").output().unwrap(), 2, &["los"]);
    fails(&surprisal().arg("--json").output().unwrap(), 2, &[]);
}

/// A place with three segments of classes, of which the second and the last have next to no probability.
fn place_with_a_tail() -> Place {
    let place = Place::new();
    let classifier = Array2::from_shape_fn((72, 2), |(v, d)| {
        (v * 7 % 5) as f64 / 5.0 - if d == 0 { 0.3 } else { 0.4 }
    });
    place.npy("c.npy", classifier);
    place.npy("b.npy", Array1::from_shape_fn(72, |v| if v < 32 { 0.0 } else { -30.0 }));
    place
}

#[test]
fn a_filter_says_what_it_keeps() {
    let place = place_with_a_tail();
    let run = |arguments: &str| {
        let arguments = format!("{GOOD} --bias b.npy --backward recompute --grad {arguments}");
        let object = place.json(&arguments);
        let keys: Vec<_> = object.keys().cloned().collect();
        let of = |key: &str| object.get(key).map(|value| value.as_f64().unwrap());
        (of("tiles_kept"), of("dropped_mass_max"), keys)
    };
    let read = |out: &str| {
        ["hidden", "classifier", "bias"].map(|name| place.read(&format!("{out}/grad_{name}.npy")))
    };
    let (kept, mass, keys) = run("--out plain");
    assert_eq!((kept, mass), (None, None));
    assert_eq!(keys, KEYS);
    let (kept, mass, keys) = run("--filter 1e-6 --out all");
    assert_eq!(keys, [&KEYS[..], &["tiles_kept", "dropped_mass_max"]].concat());
    // One segment of three, in each row; of the others 40 classes weigh e⁻³⁰ times what one of the 32
    // does, within a factor of 4.
    let mass = mass.unwrap() / (40.0 / 32.0 * (-30.0_f64).exp());
    assert!(kept == Some(1.0 / 3.0) && (0.25..4.0).contains(&mass), "{kept:?} {mass}");
    let (plain, all) = (read("plain"), read("all"));
    let tail = ndarray::s![32.., ..];
    let rows = |of: &ArrayD<f64>| of.clone().into_dimensionality::<ndarray::Ix2>().unwrap();
    assert!(rows(&all[1]).slice(tail).iter().all(|&g| g == 0.0));
    assert!(rows(&plain[1]).slice(tail).iter().any(|&g| g != 0.0));
    run("--filter 1e-6 --filter-gradients hidden --out hidden");
    let hidden = read("hidden");
    assert_eq!((&hidden[1], &hidden[2]), (&plain[1], &plain[2]));
    assert_ne!(hidden[0], plain[0]);
    run("--filter 1e-6 --filter-gradients classifier,bias --out classifier");
    let classifier = read("classifier");
    assert_eq!((&classifier[0], &classifier[1]), (&plain[0], &all[1]));
    run("--filter 1e-6 --filter-gradients hidden,classifier,bias --out three");
    assert_eq!(read("three"), all);
    // e⁻³⁰ is above 2⁻⁵⁷.
    assert_eq!(run("--filter auto --out auto").0, Some(1.0));
    assert_eq!(read("auto"), plain);
    // A forward says it too.
    let object = place.json(&format!("{GOOD} --bias b.npy --filter 1e-6"));
    assert_eq!((object["tiles_kept"].as_f64(), object.len()), (Some(1.0 / 3.0), KEYS.len() + 2));
    // Given logits and strips are whole.
    place.npy("l.npy", Array2::zeros((3, 72)));
    let given = place.json("--logits l.npy --targets y.npy --filter 1");
    let strip = place.json(&format!("{GOOD} --filter 1 --backward strip --grad --out strip"));
    for object in [given, strip] {
        assert_eq!(object["tiles_kept"].as_f64(), Some(1.0));
        assert_eq!(object["dropped_mass_max"].as_f64(), Some(0.0));
    }
}

#[test]
fn a_teacher_of_all_classes_is_a_soft_target() {
    let place = Place::new();
    let soft = arr2(&[[0.5, 0.25, 0.25], [0.125, 0.5, 0.375], [1.0, 0.0, 0.0]]);
    place.npy("soft.npy", soft.clone());
    // The same in another order; −1 and −100 name no class, whatever stands beside them.
    let classes = arr2(&[[2_i64, 0, 1, -1], [1, 2, 0, -100], [0, -1, -1, -1]]);
    write_npy(&place.path("tc.npy"), classes.view()).unwrap();
    let log = |i: usize, class: i64| match class {
        0.. => soft[[i, class as usize]].ln(),
        _ => f64::NAN,
    };
    place.npy("tp.npy", Array2::from_shape_fn((3, 4), |(i, j)| log(i, classes[[i, j]])));
    let product = "--hidden e.npy --classifier c.npy";
    let teacher = "--teacher-classes tc.npy --teacher-log-probs tp.npy";
    let loss = |object: &Map<String, Value>| object["loss"].as_f64().unwrap();
    let dense = place.json(&format!("{product} --soft-targets soft.npy --grad --out dense"));
    let lists = place.json(&format!("{product} {teacher} --grad --out lists"));
    near("loss", &[loss(&lists)], &[loss(&dense)]);
    for name in ["grad_hidden.npy", "grad_classifier.npy"] {
        let (a, b) = (read(&place.path("lists").join(name)), read(&place.path("dense").join(name)));
        near(name, &a, &b);
    }
    // Two of the three classes: dropped, or the rest over its sum.
    write_npy(&place.path("t2.npy"), classes.slice(ndarray::s![.., ..2]).view()).unwrap();
    place.npy("p2.npy", Array2::from_shape_fn((3, 2), |(i, j)| log(i, classes[[i, j]])));
    let two = "--teacher-classes t2.npy --teacher-log-probs p2.npy";
    let kept = arr2(&[[0.5, 0.0, 0.25], [0.0, 0.5, 0.375], [1.0, 0.0, 0.0]]);
    for (tail, wanted) in [
        ("", kept.clone()),
        ("--tail drop", kept.clone()),
        (
            "--tail renormalise",
            &kept / &kept.sum_axis(ndarray::Axis(1)).insert_axis(ndarray::Axis(1)),
        ),
    ] {
        place.npy("wanted.npy", wanted);
        let wanted = place.json(&format!("{product} --soft-targets wanted.npy"));
        let found = place.json(&format!("{product} {two} {tail}"));
        near(tail, &[loss(&found)], &[loss(&wanted)]);
    }
    place.npy("wrong.npy", arr2(&[[0.5, -1.0], [-1.0, -1.0], [-1.0, 0.0]]));
    let wrong = "--teacher-classes t2.npy --teacher-log-probs wrong.npy";
    fails(&place.loss(&format!("{product} {wrong}")), 2, &["--teacher-log-probs[0, 0]", "0.5"]);
    let shape = "--teacher-classes tc.npy --teacher-log-probs p2.npy";
    fails(&place.loss(&format!("{product} {shape}")), 2, &["--teacher-log-probs", "[3, 4]"]);
    let both = format!("{product} {teacher} --soft-targets soft.npy");
    fails(&place.loss(&both), 2, &["--teacher-classes", "--soft-targets"]);
    write_npy(&place.path("t2.npy"), arr2(&[[0_i64, 1], [-1, -1], [0, -7]]).view()).unwrap();
    place.npy("p2.npy", Array2::from_elem((3, 2), -1.0));
    let none = format!("{product} {two} --tail renormalise");
    fails(&place.loss(&none), 2, &["row 1", "--teacher-log-probs"]);
    fails(&place.loss(&format!("{product} {two}")), 2, &["--teacher-classes[2, 1]", "-7"]);
}

#[test]
fn rows_are_ignored_by_flags_or_by_classes_beside_other_targets() {
    let place = Place::new();
    let soft = arr2(&[[0.5, 0.25, 0.25], [0.125, 0.5, 0.375], [1.0, 0.0, 0.0]]);
    place.npy("soft.npy", soft.clone());
    place.npy("e2.npy", arr2(&[[0.2, -0.1], [-0.3, 0.7]]));
    place.npy("soft2.npy", soft.select(ndarray::Axis(0), &[0, 2]));
    write_npy(&place.path("flags.npy"), arr1(&[0_i32, 1, 0]).view()).unwrap();
    place.npy("numbers.npy", arr1(&[0.0, 1.0, 0.0]));
    let mask = arr1(&[false, true, false]);
    write_safetensors(&place.path("m.safetensors"), &[("mask", mask.view().into())]).unwrap();
    write_npy(&place.path("classes.npy"), arr1(&[0_i64, -100, 1]).view()).unwrap();
    write_npy(&place.path("seven.npy"), arr1(&[0_i64, 7, 1]).view()).unwrap();
    let few = place.json("--hidden e2.npy --classifier c.npy --soft-targets soft2.npy");
    let product = "--hidden e.npy --classifier c.npy --soft-targets soft.npy";
    for flags in [
        "--ignore flags.npy",
        "--ignore numbers.npy",
        "--ignore m.safetensors:mask",
        "--targets classes.npy",
        "--targets classes.npy --ignore flags.npy",
        "--targets seven.npy --ignore-index 7",
    ] {
        let object = place.json(&format!("{product} {flags}"));
        assert_eq!((&object["tokens"], &object["ignored"]), (&2.into(), &1.into()), "{flags}");
        near(flags, &[object["loss"].as_f64().unwrap()], &[few["loss"].as_f64().unwrap()]);
    }
    let hard = place.json(&format!("{GOOD} --ignore flags.npy"));
    assert_eq!(hard["ignored"], 1);
    place.npy("half.npy", arr1(&[0.0, 0.5, 0.0]));
    fails(&place.loss(&format!("{GOOD} --ignore half.npy")), 2, &["--ignore", "0 and 1"]);
    place.npy("short.npy", arr1(&[0.0, 1.0]));
    fails(&place.loss(&format!("{GOOD} --ignore short.npy")), 2, &["ignored rows", "[2]", "[3]"]);
    let both = format!("{product} --targets classes.npy --ignore short.npy");
    fails(&place.loss(&both), 2, &["--ignore", "--targets", "2", "3"]);
}

#[test]
fn matrices_are_read_in_the_order_of_fortran() {
    let place = Place::new();
    let whole = place.json(GOOD);
    let hidden = arr2(&[[0.2, -0.1], [1.0, 0.5], [-0.3, 0.7]]);
    place.fortran("f.npy", &hidden.into_dyn());
    let object = place.json(&GOOD.replace("e.npy", "f.npy"));
    assert_eq!(object["loss"], whole["loss"]);
}

#[test]
fn a_shift_predicts_the_next_target() {
    let place = Place::new();
    place.npy("e2.npy", arr2(&[[0.2, -0.1], [1.0, 0.5]]));
    write_npy(&place.path("y2.npy"), arr1(&[1_i64, 2]).view()).unwrap();
    let next = place.json("--hidden e2.npy --classifier c.npy --targets y2.npy");
    for shift in ["--shift", "--shift 1", "--shift=1"] {
        let object = place.json(&format!("{GOOD} {shift}"));
        assert_eq!(object["tokens"], 2);
        near(shift, &[object["loss"].as_f64().unwrap()], &[next["loss"].as_f64().unwrap()]);
    }
    assert_eq!(place.json(&format!("{GOOD} --shift 3 --quiet"))["tokens"], 0);
}

#[test]
fn a_divisor_divides_the_sum_with_and_without_its_name() {
    let place = Place::new();
    let sum = place.json(&format!("{GOOD} --reduction sum"))["loss"].as_f64().unwrap();
    for reduction in ["", "--reduction sum"] {
        let object = place.json(&format!("{GOOD} --divisor 8 {reduction}"));
        near(reduction, &[object["loss"].as_f64().unwrap()], &[sum / 8.0]);
    }
}

#[test]
fn sizes_may_have_a_unit() {
    let place = Place::new();
    for budget in ["8MiB", "8388608", "16M", "0.5GiB"] {
        place.json(&format!("{GOOD} --memory-budget {budget}"));
    }
    fails(&place.loss(&format!("{GOOD} --memory-budget 1K")), 2, &["memory budget is 1000 bytes"]);
}

#[test]
fn soft_targets_exclude_a_filter() {
    let place = Place::new();
    place.npy("soft.npy", Array2::from_elem((3, 3), 0.25));
    let arguments = "--hidden e.npy --classifier c.npy --soft-targets soft.npy --filter auto";
    fails(&place.loss(arguments), 2, &["filter", "hard or sparse targets"]);
}

#[test]
fn soft_targets_exclude_rank_and_logprob() {
    let place = Place::new();
    place.npy("soft.npy", Array2::from_elem((3, 3), 0.25));
    for name in ["rank", "logprob"] {
        let arguments = format!(
            "--hidden e.npy --classifier c.npy --soft-targets soft.npy --emit {name} --out o"
        );
        fails(&place.loss(&arguments), 2, &["soft"]);
    }
}

#[test]
fn where_results_cannot_be_written() {
    let place = Place::new();
    std::fs::write(place.path("file"), "in the way").unwrap();
    for arguments in ["--grad --out file", "--grad --out file/below", "--emit loss --out file"] {
        let output = place.loss(&format!("{GOOD} {arguments} --json"));
        fails(&output, 2, &["--out: file is a file, expected a directory"]);
    }
    std::fs::create_dir_all(place.path("out/grad_hidden.npy/x")).unwrap();
    fails(&place.loss(&format!("{GOOD} --grad --out out")), 1, &["grad_hidden.npy"]);
}

#[test]
fn an_output_that_is_full_is_one_line_and_exit_1() {
    if !Path::new("/dev/full").exists() {
        return;
    }
    let place = Place::new();
    for json in ["", "--json"] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = surprisal();
        command.current_dir(place.directory.path()).arg("loss").args(GOOD.split_whitespace());
        let command = command.args(json.split_whitespace()).stdout(full).stderr(Stdio::piped());
        let output = command.spawn().unwrap().wait_with_output().unwrap();
        fails(&output, 1, &[]);
    }
}

#[test]
fn an_instruction_set_that_is_none() {
    let place = Place::new();
    let run = |isa: &str| {
        let mut command = surprisal();
        command.current_dir(place.directory.path()).env("SURPRISAL_ISA", isa).arg("loss");
        command.args(GOOD.split_whitespace()).arg("--json").output().unwrap()
    };
    for isa in ["nonsense", "", "AVX2", "neon"] {
        fails(&run(isa), 2, &["SURPRISAL_ISA", isa, "portable, avx2 or avx512"]);
    }
    assert_eq!(run("portable").status.code(), Some(0));
}

#[test]
fn threads_change_no_bit() {
    let place = Place::new();
    let object = |threads: usize| {
        let mut object =
            place.json(&format!("{GOOD} --bias b.npy --threads {threads} --grad --out o"));
        for key in ["seconds", "gflops", "workspace_bytes"] {
            object.remove(key);
        }
        (object, std::fs::read(place.path("o/grad_hidden.npy")).unwrap())
    };
    assert_eq!(object(1), object(2));
    assert_eq!(object(1), object(7));
}

#[test]
fn no_rows_and_no_classes() {
    let place = Place::new();
    place.npy("e0.npy", Array2::zeros((0, 2)));
    place.npy("c0.npy", Array2::zeros((0, 2)));
    write_npy(&place.path("y0.npy"), Array1::<i64>::zeros(0).view()).unwrap();
    let object =
        place.json("--hidden e0.npy --classifier c.npy --targets y0.npy --grad --out o --quiet");
    assert_eq!((&object["loss"], &object["tokens"]), (&Value::from("nan"), &Value::from(0)));
    assert_eq!(place.read("o/grad_hidden.npy").shape(), [0, 2]);
    assert!(place.read("o/grad_classifier.npy").iter().all(|&g| g == 0.0));
    let none = place.loss("--hidden e.npy --classifier c0.npy --targets y.npy");
    fails(&none, 2, &["expected"]);
}

#[test]
fn gradients_of_a_bias_beside_given_logits_are_written() {
    let place = Place::new();
    place.npy("l.npy", arr2(&[[1.0, 2.0, 3.0], [0.0, 0.5, 0.0], [1.0, 1.0, 1.0]]));
    place.json("--logits l.npy --targets y.npy --bias b.npy --grad --out out");
    let rows = place.read("out/grad_logits.npy");
    near("db", &place.read("out/grad_bias.npy"), &rows.sum_axis(ndarray::Axis(0)));
}

#[test]
fn negative_counts_are_refused_by_the_name_of_their_flag() {
    let place = Place::new();
    for flag in ["--threads", "--memory-budget"] {
        fails(&place.loss(&format!("{GOOD} {flag} -1")), 2, &[flag, "-1"]);
    }
}

#[test]
fn a_top_k_beyond_the_address_space_is_refused() {
    let place = Place::new();
    for k in [usize::MAX, usize::MAX / 8, usize::MAX / 16] {
        fails(&place.loss(&format!("{GOOD} --emit topk:{k} --out o")), 2, &["expected"]);
    }
}

#[test]
fn where_stderr_is_full_the_status_says_it_alone() {
    if !Path::new("/dev/full").exists() {
        return;
    }
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let status = surprisal().args(["loss", "--scale", "nan"]).stderr(full).status().unwrap();
    assert_eq!(status.code(), Some(2));
}

#[test]
fn axes_of_batches_and_sequences_are_flattened() {
    let place = Place::new();
    let numbers = |shape: &[usize]| {
        let count = shape.iter().product::<usize>();
        let values = (0..count).map(|i| ((i * 37 + 11) % 17) as f64 / 8.0 - 1.0).collect();
        ArrayD::from_shape_vec(IxDyn(shape), values).unwrap()
    };
    let classes = ArrayD::from_shape_fn(IxDyn(&[2, 3]), |i| ((i[0] * 3 + i[1]) % 4) as i64);
    let flat = |array: &ArrayD<f64>, columns: usize| {
        array.clone().into_shape_with_order((6, columns)).unwrap()
    };
    let (hidden, weights) = (numbers(&[2, 3, 5]), numbers(&[2, 3]));
    let (logits, soft) = (numbers(&[2, 3, 4]), numbers(&[2, 3, 4]).mapv(f64::abs));
    place.npy("c4.npy", numbers(&[4, 5]));
    for (name, array, columns) in [("h", &hidden, 5), ("l", &logits, 4), ("p", &soft, 4)] {
        place.npy(&format!("{name}3.npy"), array.clone());
        place.npy(&format!("{name}2.npy"), flat(array, columns));
    }
    place.fortran("f3.npy", &hidden);
    place.npy("t3.npy", weights.clone());
    place.fortran("u3.npy", &weights);
    place.npy("u2.npy", weights.clone().into_shape_with_order(6).unwrap());
    place.npy("t2.npy", weights.clone().into_shape_with_order(6).unwrap());
    write_npy(&place.path("y3.npy"), classes.view()).unwrap();
    let line = classes.clone().into_shape_with_order(6).unwrap();
    write_npy(&place.path("y2.npy"), line.view()).unwrap();
    write_npy(&place.path("turned.npy"), classes.t()).unwrap();

    let results = |arguments: &str, axes: usize| {
        let arguments = arguments.replace('#', &axes.to_string());
        let mut object = place.json(&format!("{arguments} --emit loss --out o{axes}"));
        for key in ["seconds", "gflops"] {
            object.remove(key);
        }
        (object, place.read(&format!("o{axes}/loss.npy")))
    };
    for arguments in [
        "--hidden h#.npy --classifier c4.npy --targets y#.npy --token-weights t#.npy",
        "--hidden h#.npy --classifier c4.npy --targets y#.npy --token-weights u#.npy",
        "--hidden h#.npy --classifier c4.npy --soft-targets p#.npy",
        "--hidden h#.npy --classifier c4.npy --targets y#.npy --reduction none --grad --upstream t#.npy",
        "--logits l#.npy --targets y#.npy",
    ] {
        assert_eq!(results(arguments, 3), results(arguments, 2), "{arguments}");
    }
    assert_eq!(
        results("--hidden f3.npy --classifier c4.npy --targets y3.npy", 3),
        results("--hidden h2.npy --classifier c4.npy --targets y2.npy", 2),
    );

    // As many rows are not the same rows.
    let product = "--hidden h3.npy --classifier c4.npy";
    for (arguments, flag, shape) in [
        (format!("{product} --targets turned.npy"), "--targets", "[3, 2]"),
        (format!("{product} --targets y2.npy"), "--targets", "[6]"),
        ("--hidden h2.npy --classifier c4.npy --targets y3.npy".into(), "--targets", "[2, 3]"),
        (format!("{product} --targets y3.npy --token-weights t2.npy"), "--token-weights", "[6]"),
        (format!("{product} --soft-targets p2.npy"), "--soft-targets", "[6, 4]"),
        (
            format!("{product} --targets y3.npy --reduction none --grad --out o --upstream t2.npy"),
            "--upstream",
            "[6]",
        ),
    ] {
        fails(&place.loss(&arguments), 2, &[flag, shape, "--hidden", "expected"]);
    }

    let features = |file: &str, labels: &str| {
        let mut command = surprisal();
        command.current_dir(place.directory.path());
        command.args(["dsmi", "--sigma", "1", "--json", "--features", file, "--labels", labels]);
        command.output().unwrap()
    };
    let (flat, deep) = (features("h2.npy", "y2.npy"), features("h3.npy", "y3.npy"));
    assert_eq!((flat.status.code(), text(&flat.stderr)), (Some(0), ""));
    assert_eq!(text(&flat.stdout), text(&deep.stdout));
    fails(&features("h3.npy", "y2.npy"), 2, &["--features", "--labels", "expected [2, 3]"]);
}

#[test]
fn booleans_are_weights_of_0_and_1() {
    let place = Place::new();
    let mask = arr1(&[true, false, true]);
    write_safetensors(&place.path("m.safetensors"), &[("mask", mask.view().into())]).unwrap();
    place.npy("ones.npy", mask.mapv(|keep| f64::from(u8::from(keep))));
    write_npy(&place.path("whole.npy"), mask.mapv(i64::from).view()).unwrap();
    for flag in ["--class-weights", "--token-weights"] {
        let loss = |file: &str| place.json(&format!("{GOOD} {flag} {file}"))["loss"].clone();
        assert_eq!(loss("m.safetensors:mask"), loss("ones.npy"), "{flag}");
        assert_eq!(loss("whole.npy"), loss("ones.npy"), "{flag}");
        // 0, 1 and 2 are no mask.
        fails(&place.loss(&format!("{GOOD} {flag} y.npy")), 2, &[flag, "integers 0 and 1"]);
        assert_ne!(loss("ones.npy"), place.json(GOOD)["loss"], "{flag}");
    }
    // What is no weight is no mask.
    for (flag, said) in [("--bias", "vector of f64"), ("--targets", "integers")] {
        let arguments = match flag {
            "--targets" => "--hidden e.npy --classifier c.npy",
            _ => GOOD,
        };
        let output = place.loss(&format!("{arguments} {flag} m.safetensors:mask"));
        fails(&output, 2, &[flag, "bool", said]);
    }
}

#[test]
fn archives_and_indices_are_locations_like_others() {
    let place = Place::new();
    let archive = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/arrays.npz");
    let hidden = read_as(&format!("{archive}:hidden"));
    place.npy("h.npy", hidden);
    let run = |features: &str| {
        let mut command = surprisal();
        command.current_dir(place.directory.path()).args(["spectrum", "--json", "--features"]);
        let output = command.arg(features).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let Value::Object(mut object) = serde_json::from_slice(&output.stdout).unwrap() else {
            panic!("{output:?}")
        };
        object.remove("seconds");
        (object["rows"].clone(), object["columns"].clone(), object["participation_ratio"].clone())
    };
    assert_eq!(run(&format!("{archive}:hidden")), run("h.npy"));

    let (hidden, classifier) = (place.read("e.npy"), place.read("c.npy"));
    write_safetensors(&place.path("a.safetensors"), &[("e", hidden.view().into())]).unwrap();
    write_safetensors(&place.path("b.safetensors"), &[("c", classifier.view().into())]).unwrap();
    let index = r#"{"weight_map":{"e":"a.safetensors","c":"b.safetensors","d":"c.safetensors"}}"#;
    std::fs::write(place.path("model.safetensors.index.json"), index).unwrap();
    let at = "model.safetensors.index.json";
    let sharded = format!("--hidden {at}:e --classifier {at}:c --targets y.npy");
    assert_eq!(place.json(&sharded)["loss"], place.json(GOOD)["loss"]);
    let missing = place.loss(&format!("--hidden {at}:d --classifier {at}:c --targets y.npy"));
    fails(&missing, 2, &[at, "`c.safetensors`", "`d`", "cannot be opened", "expected"]);
}

fn read_as(location: &str) -> ArrayD<f64> {
    match Tensor::open(location).unwrap().view() {
        TensorView::F32(array) => array.mapv(f64::from),
        view => panic!("{location} is {}", view.dtype_name()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_an_argument_holds_the_terminal_is_told_nothing(
        name in "[a-z-]{0,3}[\u{1}-\u{1f}\u{7f}-\u{9f}\u{202a}-\u{202e}\u{2066}-\u{2069}\u{200b}é]{1,5}[a-z\n]{0,2}",
        at in 0_usize..9,
    ) {
        let place = Place::new();
        let file = format!("{name}.npy");
        let tensor = format!("m.safetensors:{name}");
        let below = format!("e.npy/{name}");
        let flag = format!("--{name}");
        let value = format!("--reduction={name}");
        let loss = ["loss", "--classifier", "c.npy", "--targets", "y.npy", "--hidden"];
        std::fs::write(place.path("m.safetensors"), b"{}").unwrap();
        let of = |more: &[&str]| {
            let arguments = if more.len() == 1 { &loss[..] } else { &[] };
            [arguments, more].concat().into_iter().map(String::from).collect::<Vec<_>>()
        };
        let arguments = match at {
            0 => of(&[&file]),
            1 => of(&[&tensor]),
            2 => of(&["loss", "--emit", &name]),
            3 => of(&["loss", &flag, "1"]),
            4 => of(&[&name, "--json"]),
            5 => of(&["loss", &value, "--json"]),
            6 => of(&["--threads", &name]),
            7 => {
                let good = GOOD.split_whitespace();
                let call = ["loss"].into_iter().chain(good).chain(["--emit", "loss", "--out", &below]);
                call.map(String::from).collect()
            }
            _ => of(&["train", "--text", &file]),
        };
        let mut command = surprisal();
        let output = command.current_dir(place.directory.path()).args(&arguments).output().unwrap();
        let stderr = text(&output.stderr);
        // `-h` with whatever behind it asks for the help.
        if name.starts_with("-h") && output.status.code() == Some(0) {
            prop_assert!(stderr.is_empty(), "{stderr}");
            return Ok(());
        }
        prop_assert!(matches!(output.status.code(), Some(1 | 2)), "{arguments:?}: {output:?}");
        let line = stderr.strip_suffix('\n').unwrap();
        let obeyed = |c: char| {
            c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}')
        };
        prop_assert!(!line.contains(obeyed), "{arguments:?}: {line:?}");
    }
}

#[cfg(unix)]
#[test]
fn an_argument_that_is_no_text_is_refused_by_its_flag() {
    use std::os::unix::ffi::OsStrExt;
    let name = std::ffi::OsStr::from_bytes(b"a\xff.npy");
    let mut command = surprisal();
    command.args(["loss", "--classifier", "c.npy", "--targets", "y.npy", "--hidden"]).arg(name);
    fails(&command.output().unwrap(), 2, &["--hidden", "a\u{fffd}.npy", "not UTF-8", "expected"]);
    fails(&surprisal().arg(name).output().unwrap(), 2, &["a\u{fffd}.npy"]);
}

#[test]
fn threads_beyond_what_helps_are_not_started() {
    let place = Place::new();
    let run = |arguments: &str, variable: &str| {
        let mut command = surprisal();
        command.current_dir(place.directory.path()).arg("loss").args(GOOD.split_whitespace());
        command.args(arguments.split_whitespace()).env("RAYON_NUM_THREADS", variable);
        command.output().unwrap()
    };
    let capped = "more than help";
    for (arguments, variable, noted) in [
        ("--threads 10000", "", true),
        ("--threads 18446744073709551615", "", true),
        ("", "1000000", true),
        ("--threads 10000 --quiet", "", false),
        ("--threads 2", "1000000", false),
        ("", "many", false),
    ] {
        let output = run(arguments, variable);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments}: {stderr}");
        assert_eq!(stderr.contains(capped), noted, "{arguments} {variable}: {stderr}");
        assert_eq!(stderr.lines().count(), usize::from(noted), "{stderr}");
    }
    assert!(run("--help", "").status.success());
}

/// A machine that lets a user start so many threads; nothing where only root could say so.
#[cfg(target_os = "linux")]
mod limited {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;

    use super::*;

    const NOBODY: u32 = 65534;

    /// `program` as a user who may start no thread, in a directory of that user's.
    fn alone(directory: &Path, program: &Path, arguments: &[&str]) -> Output {
        let mut command = Command::new("bash");
        command.args(["-c", "ulimit -u 1 && exec \"$0\" \"$@\""]).arg(program).args(arguments);
        command.env_remove("SURPRISAL_ISA").env_remove("RAYON_NUM_THREADS").stdin(Stdio::null());
        command.current_dir(directory).uid(NOBODY).gid(NOBODY).output().unwrap()
    }

    /// A directory that everyone may write to, with a copy of `program`; nothing where this user cannot
    /// become another one.
    fn place(program: &Path) -> Option<(Place, std::path::PathBuf)> {
        let place = Place::new();
        let copy = place.path("program");
        std::fs::copy(program, &copy).unwrap();
        let everyone = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(place.directory.path(), everyone.clone()).unwrap();
        std::fs::set_permissions(&copy, everyone).unwrap();
        let mut command = Command::new("true");
        if command.uid(NOBODY).gid(NOBODY).status().is_err() {
            eprintln!("skipped: only root can become a user with a limit");
            return None;
        }
        Some((place, copy))
    }

    #[test]
    fn every_subcommand_does_its_job_where_no_thread_can_be_started() {
        let Some((place, program)) = place(Path::new(env!("CARGO_BIN_EXE_surprisal"))) else {
            return;
        };
        let sentences = "the cat sees the sea. the dog hears the wind. ".repeat(60);
        std::fs::write(place.path("text.txt"), sentences).unwrap();
        let jobs = [
            format!("loss {GOOD} --grad --out o"),
            "spectrum --features e.npy".into(),
            "dse --features e.npy --sigma 1 --method exact".into(),
            "dse --features e.npy --sigma 1 --method lanczos".into(),
            "dsmi --features e.npy --labels y.npy --sigma 1".into(),
            "bench --tokens 8 --hidden 4 --vocab 64 --pass forward-backward".into(),
            "train --text text.txt --steps 2 --out t".into(),
        ];
        for job in &jobs {
            let arguments: Vec<_> = job.split_whitespace().collect();
            let output = alone(place.directory.path(), &program, &arguments);
            let stderr = text(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{job}: {stderr}");
            let said = "cannot be started";
            assert_eq!(stderr.lines().filter(|line| line.contains(said)).count(), 1, "{stderr}");
            // Whoever asks for one thread is told nothing, since none is tried.
            let one = [&arguments[..], &["--threads", "1"]].concat();
            let output = alone(place.directory.path(), &program, &one);
            let stderr = text(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{job}: {stderr}");
            assert!(!stderr.contains(said), "{job}: {stderr}");
        }
    }

    /// What a program does with the library that never asks for a pool.
    #[test]
    #[ignore = "run by the test below, where no thread can be started"]
    fn the_library_alone() {
        use surprisal::{Inputs, LinearCrossEntropy};
        assert!(std::thread::Builder::new().spawn(|| ()).is_err(), "a thread can be started");
        let hidden = Array2::from_shape_fn((300, 16), |(i, j)| ((i * 7 + j * 3) % 11) as f32 / 8.0);
        let classifier =
            Array2::from_shape_fn((900, 16), |(i, j)| ((i * 5 + j) % 13) as f32 / 16.0);
        let targets: Vec<i64> = (0..300).collect();
        let loss = LinearCrossEntropy::builder().build().unwrap();
        let inputs = Inputs::new(hidden.view(), classifier.view(), &targets[..]);
        let forward = loss.forward(&inputs).unwrap();
        assert!(forward.loss() > 0.0);
        let wide = hidden.mapv(f64::from);
        let centering = surprisal::spectrum::Centering::Raw;
        let spectrum =
            surprisal::spectrum::Spectrum::from_features(wide.view(), centering).unwrap();
        assert!(spectrum.rankme(1e-7).unwrap() >= 1.0);
        use surprisal::diffusion::{Method, MutualInformation, Operator, SpectralEntropy};
        let rows = wide.slice(ndarray::s![..80, ..]);
        let entropy = || SpectralEntropy::builder().sigma(1.0);
        for method in [Method::Exact, Method::LowRank, Method::Lanczos] {
            let estimate = entropy().method(method).build().unwrap().estimate(rows).unwrap();
            assert!(estimate.value >= 0.0, "{method:?}");
        }
        // Of a matrix without symmetry.
        let binary = entropy().operator(Operator::BinaryNeighbors { neighbors: 3 });
        assert!(binary.build().unwrap().estimate(rows).unwrap().value >= 0.0);
        let labels: Vec<i64> = (0..80).map(|i| i % 3).collect();
        let information =
            MutualInformation::builder().entropy(entropy().build().unwrap()).build().unwrap();
        information.of_labels(rows, &labels).unwrap();
        println!("the library has done its work");
    }

    #[test]
    fn a_program_that_calls_the_library_does_not_panic_where_no_thread_can_be_started() {
        let Some((place, program)) = place(&std::env::current_exe().unwrap()) else { return };
        let arguments =
            ["--exact", "program::limited::the_library_alone", "--ignored", "--nocapture"];
        let output = alone(place.directory.path(), &program, &arguments);
        assert!(output.status.success(), "{output:?}");
        assert!(text(&output.stdout).contains("the library has done its work"), "{output:?}");
    }
}
