//! `surprisal loss --candidates`: log-probabilities of listed classes, and gradients that come in for them.

use ndarray::{Array2, ArrayD, arr1, arr2};
use serde_json::Value;
use std::process::{Command, Output, Stdio};
use surprisal::io::{Tensor, TensorView, write_npy};
use surprisal::loss::Candidates;
use surprisal::{Gradients, Inputs, LinearCrossEntropy, Upstream};
use tempfile::TempDir;

/// A directory with hidden states, a classifier, lists and what comes in for them.
struct Place {
    directory: TempDir,
    hidden: Array2<f64>,
    classifier: Array2<f64>,
    upstream: Array2<f64>,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            directory: TempDir::new().unwrap(),
            hidden: arr2(&[[0.2, -0.1], [1.0, 0.5], [-0.3, 0.7]]),
            classifier: arr2(&[[0.5, -0.4], [-0.2, 0.3], [0.1, 0.6], [1.0, 0.0]]),
            upstream: arr2(&[[1.0, -0.5], [0.25, 3.0], [-1.0, 0.5]]),
        };
        write_npy(&place.path("e.npy"), place.hidden.view()).unwrap();
        write_npy(&place.path("c.npy"), place.classifier.view()).unwrap();
        write_npy(&place.path("u.npy"), place.upstream.view()).unwrap();
        write_npy(&place.path("k.npy"), arr2(&[[2_i64, 0], [3, -1], [1, 2]]).view()).unwrap();
        write_npy(&place.path("y.npy"), arr1(&[0_i64, 1, 2]).view()).unwrap();
        place
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn loss(&self, arguments: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_surprisal"));
        command.env_remove("SURPRISAL_ISA").stdin(Stdio::null());
        command.current_dir(self.directory.path()).arg("loss").args(arguments.split_whitespace());
        command.output().unwrap()
    }

    fn json(&self, arguments: &str) -> Value {
        let output = self.loss(&format!("{arguments} --json"));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments}: {stderr}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn read(&self, name: &str) -> ArrayD<f64> {
        let tensor = Tensor::open(self.path(name).to_str().unwrap()).unwrap();
        match tensor.view() {
            TensorView::F64(array) => array.to_owned(),
            view => panic!("{name} is {}", view.dtype_name()),
        }
    }
}

const ROWS: &str = "--hidden e.npy --classifier c.npy --candidates k.npy";

#[test]
fn log_probabilities_and_gradients_are_the_librarys() {
    let place = Place::new();
    let report = place.json(&format!(
        "{ROWS} --emit candidates,others,entropy --grad --upstream u.npy --out out"
    ));
    // Without targets there is no loss.
    assert!(report["loss"].is_null() && report["perplexity"].is_null(), "{report}");
    assert_eq!(report["tokens"], 3);

    let classes = arr2(&[[2_u32, 0], [3, Candidates::NONE], [1, 2]]);
    let inputs = Inputs::unlabelled(&place.hidden, &place.classifier)
        .candidates(Candidates::new(&classes).with_others());
    let loss = LinearCrossEntropy::builder().entropy(true).build().unwrap();
    let (mut d_hidden, mut d_classifier) =
        (Array2::<f64>::zeros((3, 2)), Array2::<f64>::zeros((4, 2)));
    let gradients = Gradients::new().hidden(&mut d_hidden).classifier(&mut d_classifier);
    let upstream = Upstream::scalar(0.0).candidates(&place.upstream);
    let forward = loss.loss_and_gradients(&inputs, &upstream, gradients).unwrap();
    let own = forward.candidates().unwrap();
    assert_eq!(place.read("out/candidates.npy"), own.log_probabilities.into_dyn());
    assert_eq!(place.read("out/others.npy"), own.log_others.into_dyn());
    assert_eq!(place.read("out/grad_hidden.npy"), d_hidden.into_dyn());
    assert_eq!(place.read("out/grad_classifier.npy"), d_classifier.into_dyn());
    assert_eq!(place.read("out/candidates.npy")[[1, 1]], 0.0);
}

#[test]
fn they_go_beside_targets_and_on_logits() {
    let place = Place::new();
    let plain = place.json("--hidden e.npy --classifier c.npy --targets y.npy");
    let beside = place.json(&format!("{ROWS} --targets y.npy --emit candidates,logprob --out out"));
    assert_eq!(plain["loss"], beside["loss"]);
    // Class 2 is the target of row 2, and the second of its list.
    assert_eq!(place.read("out/candidates.npy")[[2, 1]], place.read("out/logprob.npy")[[2]]);
    let logits = place.hidden.dot(&place.classifier.t());
    write_npy(&place.path("l.npy"), logits.view()).unwrap();
    place.json(
        "--logits l.npy --candidates k.npy --emit candidates --grad --upstream u.npy --out given",
    );
    let (own, given) = (place.read("out/candidates.npy"), place.read("given/candidates.npy"));
    assert!(own.iter().zip(&given).all(|(a, b)| (a - b).abs() < 1e-15));
    // Each row's derivatives sum to 0.
    let by_logits = place.read("given/grad_logits.npy");
    assert!(by_logits.rows().into_iter().all(|row| row.sum().abs() < 1e-15));
    // A row that takes no part.
    write_npy(&place.path("m.npy"), arr1(&[0_i64, 1, 0]).view()).unwrap();
    place.json(&format!("{ROWS} --ignore m.npy --emit candidates,others --out left"));
    assert_eq!(place.read("left/others.npy")[[1]], 0.0);
}

#[test]
fn what_does_not_go_is_said() {
    let place = Place::new();
    write_npy(&place.path("low.npy"), arr2(&[[2_i64, -7], [3, -1], [1, 2]]).view()).unwrap();
    write_npy(&place.path("far.npy"), arr2(&[[2_i64, 0], [4, -1], [1, 2]]).view()).unwrap();
    write_npy(&place.path("few.npy"), arr2(&[[2_i64, 0]]).view()).unwrap();
    let rows = "--hidden e.npy --classifier c.npy";
    for (arguments, parts) in [
        (rows.to_string(), &["--targets"][..]),
        (format!("{rows} --targets y.npy --emit candidates --out o"), &["--candidates"]),
        (format!("{ROWS} --grad --out o"), &["--upstream"]),
        (format!("{ROWS} --emit loss --out o"), &["--targets"]),
        (format!("{rows} --candidates low.npy"), &["--candidates[0, 1] is -7", "-1 for none"]),
        (format!("{rows} --candidates far.npy"), &["candidates[1, 0] is 4"]),
        (format!("{rows} --candidates few.npy"), &["3 rows"]),
        (format!("{rows} --candidates y.npy"), &["--candidates is", "[N,K]"]),
        (format!("{rows} --candidates u.npy"), &["--candidates"]),
    ] {
        let output = place.loss(&arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {stderr}");
        for part in parts {
            assert!(stderr.contains(part), "{arguments}: {stderr}");
        }
    }
}
