//! `surprisal loss --ranks`: losses of rankings from hidden states, and what does not go with them.

use ndarray::{Array2, ArrayD, arr1, arr2};
use serde_json::Value;
use std::process::{Command, Output, Stdio};
use surprisal::io::{Tensor, TensorView, write_npy};
use surprisal::loss::{Candidates, PlaceWeights, PlackettLuce, Rankings};
use tempfile::TempDir;

/// A directory with hidden states, a classifier and rankings.
struct Place {
    directory: TempDir,
    hidden: Array2<f64>,
    classifier: Array2<f64>,
    order: Array2<u32>,
    weights: Array2<f64>,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            directory: TempDir::new().unwrap(),
            hidden: arr2(&[[0.2, -0.1], [1.0, 0.5], [-0.3, 0.7]]),
            classifier: arr2(&[[0.5, -0.4], [-0.2, 0.3], [0.1, 0.6], [1.0, 0.0]]),
            order: arr2(&[[2, 0], [3, Candidates::NONE], [1, 2]]),
            weights: arr2(&[[0.5, 0.25], [0.75, 0.0], [0.125, 0.5]]),
        };
        let order = place.order.mapv(|class| if class == u32::MAX { -1 } else { i64::from(class) });
        write_npy(&place.path("e.npy"), place.hidden.view()).unwrap();
        write_npy(&place.path("c.npy"), place.classifier.view()).unwrap();
        write_npy(&place.path("r.npy"), order.view()).unwrap();
        write_npy(&place.path("w.npy"), place.weights.view()).unwrap();
        write_npy(&place.path("y.npy"), arr1(&[0_i64, 1, 2]).view()).unwrap();
        write_npy(&place.path("m.npy"), arr1(&[0_i64, 1, 0]).view()).unwrap();
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

    fn refused(&self, arguments: &str, parts: &[&str]) {
        let output = self.loss(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {stderr}");
        for part in parts {
            assert!(stderr.contains(part), "{arguments}: {stderr:?} does not say {part:?}");
        }
    }

    fn read(&self, name: &str) -> ArrayD<f64> {
        let tensor = Tensor::open(self.path(name).to_str().unwrap()).unwrap();
        match tensor.view() {
            TensorView::F64(array) => array.to_owned(),
            view => panic!("{name} is {}", view.dtype_name()),
        }
    }
}

const ROWS: &str = "--hidden e.npy --classifier c.npy --ranks r.npy";

/// Each loss against that of all logits, with the gradients that follow from it.
#[test]
fn losses_and_gradients_are_those_of_the_logits() {
    let place = Place::new();
    let logits = place.hidden.dot(&place.classifier.t());
    write_npy(&place.path("l.npy"), logits.view()).unwrap();
    for (text, weights) in [
        ("list-mle", PlaceWeights::Ones),
        ("partial-list-mle", PlaceWeights::Ones),
        ("list_mle:weights=mean", PlaceWeights::Mean),
        ("list_mle:weights=position", PlaceWeights::Position),
        ("pld --rank-weights w.npy", PlaceWeights::Entries((&place.weights).into())),
    ] {
        let rankings = Rankings::new(&place.order, weights).unwrap();
        let given = PlackettLuce::new().of_logits(&rankings, &logits).unwrap();
        let report = place.json(&format!("{ROWS} --loss {text} --emit loss --grad --out out"));
        let near = |a: f64, b: f64| (a - b).abs() <= 64.0 * f64::EPSILON;
        assert!(near(report["loss"].as_f64().unwrap(), given.loss()), "{text}: {report}");
        assert!(report["perplexity"].is_null() && report["accuracy"].is_null(), "{report}");
        let all = |name: &str, wanted: ArrayD<f64>| {
            let found = place.read(name);
            assert_eq!(found.shape(), wanted.shape());
            assert!(found.iter().zip(&wanted).all(|(&a, &b)| near(a, b)), "{text} {name}");
        };
        all("out/loss.npy", given.values.clone().into_dyn());
        all("out/grad_hidden.npy", given.gradient.dot(&place.classifier).into_dyn());
        all("out/grad_classifier.npy", given.gradient.t().dot(&place.hidden).into_dyn());
        // From the logits themselves, in the sum.
        let sum = format!("--logits l.npy --ranks r.npy --loss {text} --reduction sum");
        let report = place.json(&format!("{sum} --grad --out given"));
        assert!(near(report["loss"].as_f64().unwrap(), given.values.sum()), "{text}: {report}");
        all("given/grad_logits.npy", (3.0 * &given.gradient).into_dyn());
    }
    let plain = PlackettLuce::new();
    let rankings = Rankings::new(&place.order, PlaceWeights::Ones).unwrap();
    let given = plain.of_logits(&rankings, &logits).unwrap();
    let report = place.json(&format!("{ROWS} --loss list_mle --ignore m.npy"));
    let wanted = (given.values[0] + given.values[2]) / 2.0;
    assert!((report["loss"].as_f64().unwrap() - wanted).abs() <= 64.0 * f64::EPSILON, "{report}");
    assert_eq!(report["ignored"], 1);
    let report = place.json(&format!("{ROWS} --loss list_mle --temperature 2 --reduction none"));
    assert!(report["loss"].is_null(), "{report}");
}

#[test]
fn what_does_not_go_with_rankings_is_said() {
    let place = Place::new();
    place.refused(
        ROWS,
        &["--ranks goes with --loss list_mle, partial_list_mle or pld", "is missing"],
    );
    place.refused(&format!("{ROWS} --loss mae"), &["partial_list_mle or pld", "\"mae\""]);
    place.refused(&format!("{ROWS} --loss pld"), &["--rank-weights [N,K]"]);
    place.refused(&format!("{ROWS} --loss pld:x=1 --rank-weights w.npy"), &["pld has no keys"]);
    place.refused(&format!("{ROWS} --loss list_mle --rank-weights w.npy"), &["no --rank-weights"]);
    place.refused(&format!("{ROWS} --loss partial_list_mle:weights=mean"), &["neither keys nor"]);
    place.refused(&format!("{ROWS} --loss list_mle:weights=log"), &["weights=log", "position"]);
    place.refused(&format!("{ROWS} --loss list_mle --targets y.npy"), &["--targets"]);
    place.refused(&format!("{ROWS} --loss list_mle --z-loss 1"), &["--z-loss"]);
    place.refused(&format!("{ROWS} --loss list_mle --emit rank --out o"), &["of targets"]);
    let without = "--hidden e.npy --classifier c.npy --targets y.npy --loss list-mle";
    place.refused(without, &["list_mle is a loss of rankings", "--ranks"]);
    for (name, order, parts) in [
        ("twice.npy", arr2(&[[1_i64, 1], [0, 1], [0, 1]]), &["a ranking[0, 1] is 1"][..]),
        ("low.npy", arr2(&[[1_i64, -2], [0, 1], [0, 1]]), &["--ranks[0, 1] is -2"]),
        ("far.npy", arr2(&[[1_i64, 4], [0, 1], [0, 1]]), &["the rankings[0, 1] is 4"]),
        ("few.npy", arr2(&[[1_i64, 2]]), &["the rankings has shape [1, 2]", "3 rows"]),
    ] {
        write_npy(&place.path(name), order.view()).unwrap();
        let line = format!("--hidden e.npy --classifier c.npy --ranks {name} --loss list_mle");
        place.refused(&line, parts);
    }
    let weights = arr2(&[[0.5, -0.5], [1.0, 0.0], [1.0, 0.0]]);
    write_npy(&place.path("bad.npy"), weights.view()).unwrap();
    place.refused(&format!("{ROWS} --loss pld --rank-weights bad.npy"), &["[0, 1] is -0.5"]);
}

/// No row is no fault of what the lists ask for.
#[test]
fn rankings_without_rows_are_refused_as_such() {
    let place = Place::new();
    write_npy(&place.path("no_rows.npy"), Array2::<f64>::zeros((0, 2)).view()).unwrap();
    write_npy(&place.path("none.npy"), Array2::<i64>::zeros((0, 2)).view()).unwrap();
    for loss in ["list_mle", "partial_list_mle"] {
        let line = "--hidden no_rows.npy --classifier c.npy --ranks none.npy --loss";
        place.refused(&format!("{line} {loss}"), &["--ranks has no rows, expected a ranking"]);
    }
}
