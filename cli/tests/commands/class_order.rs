//! `surprisal loss --filter mass:δ --class-order`: what is written is by class, whatever the order.

use ndarray::{Array1, Array2, ArrayD, Ix2, s};
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use surprisal::io::{Tensor, TensorView, write_npy};
use tempfile::TempDir;
use testing::Stream;

const ROWS: usize = 40;
const CLASSES: usize = 320;
const KINDS: usize = 10;

const GOOD: &str =
    "--hidden e.npy --classifier c.npy --targets y.npy --bias b.npy --backward recompute";

/// A directory with a head of ten kinds of classes that take turns; each row likes one kind.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        let mut random = Stream(3);
        let place = Self { directory: TempDir::new().unwrap() };
        let noise = random.matrix(CLASSES, KINDS, 0.01);
        let classifier = Array2::from_shape_fn((CLASSES, KINDS), |(v, k)| {
            noise[[v, k]] + if v % KINDS == k { 1.0 } else { 0.0 }
        });
        let hidden =
            Array2::from_shape_fn((ROWS, KINDS), |(i, k)| if i % KINDS == k { 8.0 } else { 0.0 });
        let targets: Array1<i64> =
            (0..ROWS as i64).map(|i| if i == 7 { -100 } else { i * 31 % 320 }).collect();
        write_npy(&place.path("e.npy"), hidden.view()).unwrap();
        write_npy(&place.path("c.npy"), classifier.view()).unwrap();
        write_npy(&place.path("b.npy"), random.vector(CLASSES, 0.02).view()).unwrap();
        write_npy(&place.path("w.npy"), random.vector(CLASSES, 0.5).mapv(f64::abs).view()).unwrap();
        write_npy(&place.path("y.npy"), targets.view()).unwrap();
        place.integers("o.npy", (0..CLASSES as i64).rev());
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn integers(&self, name: &str, all: impl Iterator<Item = i64>) {
        let all: Array1<i64> = all.collect();
        write_npy(&self.path(name), all.view()).unwrap();
    }

    fn loss(&self, arguments: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_surprisal"));
        command.env_remove("SURPRISAL_ISA");
        command.current_dir(self.directory.path()).stdin(Stdio::null()).arg("loss");
        command.args(arguments.split_whitespace()).output().unwrap()
    }

    fn json(&self, arguments: &str) -> Map<String, Value> {
        let output = self.loss(&format!("{arguments} --json"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn floats(&self, name: &str) -> ArrayD<f64> {
        let tensor = Tensor::open(self.path(name).to_str().unwrap()).unwrap();
        match tensor.view() {
            TensorView::F64(array) => array.to_owned(),
            other => panic!("{name} is of {}", other.dtype_name()),
        }
    }

    fn classes(&self, name: &str) -> ArrayD<i64> {
        let tensor = Tensor::open(self.path(name).to_str().unwrap()).unwrap();
        tensor.view().to_i64("classes").unwrap()
    }

    #[track_caller]
    fn fails(&self, arguments: &str, parts: &[&str]) {
        let output = self.loss(arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {text}");
        assert_eq!(text.trim_end().lines().count(), 1, "{arguments}: {text}");
        for part in parts {
            assert!(text.contains(part), "{arguments}: {part} is not in {text}");
        }
    }
}

#[test]
fn what_is_written_is_by_class() {
    let place = Place::new();
    let written =
        "--grad --emit argmax,topk:3,logprob,rank --class-weights w.npy --label-smoothing 0.1";
    let plain = place.json(&format!("{GOOD} {written} --out plain"));
    for order in ["mean-logit", "similar", "counts", "o.npy"] {
        // Nothing is dropped.
        let arguments =
            format!("{GOOD} {written} --filter mass:0 --class-order {order} --out {order}.d");
        let object = place.json(&arguments);
        assert_eq!(object["tiles_kept"].as_f64(), Some(1.0), "{order}");
        for key in ["loss", "accuracy", "mean_entropy"] {
            let [a, b] = [&plain, &object].map(|object| object[key].as_f64().unwrap());
            assert!((a - b).abs() <= 1e-12 * b.abs(), "{order}, {key}: {a} and {b}");
        }
        for name in ["grad_hidden", "grad_classifier", "grad_bias", "logprob"] {
            let [a, b] = ["plain", &format!("{order}.d")]
                .map(|out| place.floats(&format!("{out}/{name}.npy")));
            let most = a.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
            // Sums of 320 and 40 terms in f64.
            let off = (&a - &b).iter().fold(0.0_f64, |most, x| most.max(x.abs()));
            assert!(
                most > 0.0 && off <= 1e-13 * most,
                "{order}, {name} is off by {off:e} of {most:e}"
            );
        }
        for name in ["argmax", "topk", "rank"] {
            let [a, b] = ["plain", &format!("{order}.d")]
                .map(|out| place.classes(&format!("{out}/{name}.npy")));
            assert_eq!(a, b, "{order}, {name}");
        }
    }
}

#[test]
fn an_order_of_kinds_lets_a_filter_keep_less() {
    let place = Place::new();
    let kept = |arguments: &str| {
        let object = place.json(&format!("{GOOD} --filter mass:0.01 {arguments}"));
        let lost = object["dropped_mass_max"].as_f64().unwrap();
        assert!(lost <= 0.01, "{arguments}: {lost}");
        object["tiles_kept"].as_f64().unwrap()
    };
    // Each segment has classes of every kind; sorted by kind, a row needs the one that it likes, and that of its
    // target.
    let own = kept("");
    let similar = kept("--class-order similar");
    assert!(own > 0.9 && similar < 0.4, "{own} and {similar}");
    place.integers("kinds.npy", (0..CLASSES as i64).map(|i| i % 32 * 10 + i / 32));
    assert!(kept("--class-order kinds.npy") <= similar);
    // The correction puts the mean in the place of the rest.
    let gradient = |arguments: &str, out: &str| {
        place.json(&format!("{GOOD} --grad --out {out} {arguments}"));
        place.floats(&format!("{out}/grad_hidden.npy")).into_dimensionality::<Ix2>().unwrap()
    };
    let exact = gradient("", "exact");
    let order = "--class-order kinds.npy --filter mass:0.01";
    let off = |found: Array2<f64>| {
        let difference = &found - &exact;
        assert!(exact.slice(s![7, ..]).iter().all(|&g| g == 0.0));
        (difference.iter().map(|x| x * x).sum::<f64>() / exact.iter().map(|x| x * x).sum::<f64>())
            .sqrt()
    };
    let dropped = off(gradient(order, "dropped"));
    let corrected = off(gradient(&format!("{order} --tail-correction"), "corrected"));
    assert!(dropped > 1e-4 && corrected < dropped / 4.0, "{dropped:e} and {corrected:e}");
}

#[test]
fn bad_orders() {
    let place = Place::new();
    place.integers("short.npy", 0..5);
    place.integers("twice.npy", (0..CLASSES as i64).map(|i| i / 2));
    place.integers("negative.npy", -1..CLASSES as i64 - 1);
    write_npy(&place.path("real.npy"), Array1::<f64>::zeros(CLASSES).view()).unwrap();
    let order = |name: &str| format!("{GOOD} --filter mass:0.1 --class-order {name}");
    place.fails(&order("none.npy"), &["none.npy"]);
    place.fails(&order("short.npy"), &["--class-order", "[5]", "[320]"]);
    place.fails(&order("twice.npy"), &["class order[1]", "0", "once"]);
    place.fails(&order("negative.npy"), &["class order[0]", "once"]);
    place.fails(&order("real.npy"), &["--class-order", "f"]);
    place.fails(&order("counts --ignore-index 5"), &["--ignore-index 5", "--class-order"]);
    place.fails(
        "--logits c.npy --targets y.npy --filter 0.1 --class-order counts",
        &["--class-order"],
    );
    place.fails(&format!("{GOOD} --class-order counts"), &["--filter"]);
}
