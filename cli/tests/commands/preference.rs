//! `surprisal preference`: values and files as the library has them, and what is refused.

use ndarray::{Array2, ArrayD, arr1, arr2};
use serde_json::Value;
use std::process::{Command, Output, Stdio};
use surprisal::io::{Tensor, TensorView, write_npy};
use surprisal::preference::{
    Dpo, KlEstimator, Kto, LabelledLoss, PairLoss, PolicyLoss, Rollout, RowPairs, Sequences,
};
use tempfile::TempDir;

struct Place(TempDir);

fn policy() -> Array2<f64> {
    arr2(&[[-0.5, -1.0, -0.25], [-2.0, -0.75, f64::NAN], [-1.5, -0.5, -3.0]])
}

fn reference() -> Array2<f64> {
    arr2(&[[-0.75, -0.5, -0.5], [-1.0, -1.25, f64::NAN], [-1.0, -1.0, -2.0]])
}

fn mask() -> Array2<bool> {
    arr2(&[[true, true, true], [true, true, false], [true, false, false]])
}

impl Place {
    fn new() -> Self {
        let place = Self(TempDir::new().unwrap());
        let path = |name: &str| place.0.path().join(name);
        write_npy(&path("p.npy"), policy().view()).unwrap();
        write_npy(&path("p32.npy"), policy().mapv(|x| x as f32).view()).unwrap();
        write_npy(&path("r.npy"), reference().view()).unwrap();
        write_npy(&path("m.npy"), mask().mapv(i64::from).view()).unwrap();
        write_npy(&path("pairs.npy"), arr2(&[[0_i64, 1], [0, 2]]).view()).unwrap();
        write_npy(&path("y.npy"), arr1(&[1_i64, 0, 1]).view()).unwrap();
        write_npy(&path("a.npy"), arr1(&[1.0, -1.0, 0.5]).view()).unwrap();
        place
    }

    fn run(&self, arguments: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_surprisal"));
        command.env_remove("SURPRISAL_ISA").stdin(Stdio::null()).current_dir(self.0.path());
        command.arg("preference").args(arguments.split_whitespace()).output().unwrap()
    }

    fn json(&self, arguments: &str) -> Value {
        let output = self.run(&format!("{arguments} --json"));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn read(&self, name: &str) -> ArrayD<f64> {
        let location = self.0.path().join("out").join(name);
        match Tensor::open(location.to_str().unwrap()).unwrap().view() {
            TensorView::F64(view) => view.to_owned(),
            TensorView::F32(view) => view.mapv(f64::from),
            _ => panic!("no floats"),
        }
    }

    fn fails(&self, arguments: &str, parts: &[&str]) {
        let output = self.run(arguments);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
        for part in parts {
            assert!(message.contains(part), "{message:?} does not say {part:?}");
        }
    }
}

#[test]
fn files_have_what_the_library_gives() {
    let place = Place::new();
    let (policy, reference, mask) = (policy(), reference(), mask());
    let sequences = Sequences::new(&policy, &mask).reference(&reference);

    let dpo = Dpo::new(0.2).unwrap().label_smoothing(0.1).unwrap();
    let wanted = dpo.evaluate_rows(&RowPairs::new(sequences, &[[0, 1], [0, 2]])).unwrap();
    let files = "--log-probs p.npy --reference-log-probs r.npy --mask m.npy --grad --out out";
    let found = place.json(&format!("dpo:beta=0.2,label_smoothing=0.1 {files} --pairs pairs.npy"));
    assert_eq!(found["loss"].as_f64(), Some(wanted.value));
    assert_eq!((&found["pairs"], &found["tokens"]), (&Value::from(2), &Value::from(6)));
    assert_eq!(place.read("losses.npy"), wanted.losses.into_dyn());
    assert_eq!(place.read("grad_log_probs.npy"), wanted.gradient.into_dyn());

    let kto = Kto::new(0.1).unwrap().weights(1.0, 2.0).unwrap();
    let wanted = kto.evaluate(&sequences, &[true, false, true]).unwrap();
    let found = place.json(&format!("kto:undesirable_weight=2 {files} --labels y.npy"));
    assert_eq!(found["loss"].as_f64(), Some(wanted.value));
    let found =
        place.json(&format!("kto:undesirable_weight=2,reduction=sum {files} --labels y.npy"));
    assert!((found["loss"].as_f64().unwrap() - 3.0 * wanted.value).abs() < 1e-15);

    let advantages = arr1(&[1.0, -1.0, 0.5]);
    let rollout = Rollout::new(&mask, &advantages).old(&reference).reference(&reference);
    let grpo = PolicyLoss::grpo().divergence(0.04, KlEstimator::K2).unwrap();
    let wanted = grpo.evaluate(&policy, &rollout).unwrap();
    let found = place.json(&format!(
        "grpo:kl_coefficient=0.04,kl_estimator=k2 {files} --old-log-probs r.npy --advantages a.npy"
    ));
    assert_eq!(found["loss"].as_f64(), Some(wanted.value));
    assert_eq!(found["clip_fraction"].as_f64(), Some(wanted.clip_fraction));
    assert_eq!(place.read("grad_log_probs.npy"), wanted.gradient.into_dyn());
    assert_eq!(place.read("losses.npy"), wanted.losses.into_dyn());
}

#[test]
fn narrow_files_have_narrow_gradients() {
    let place = Place::new();
    let files = "--log-probs p32.npy --mask m.npy --pairs pairs.npy --grad --out out";
    place.json(&format!("simpo {files}"));
    let location = place.0.path().join("out/grad_log_probs.npy");
    let tensor = Tensor::open(location.to_str().unwrap()).unwrap();
    assert!(matches!(tensor.view(), TensorView::F32(_)));
}

#[test]
fn what_does_not_go_together_is_refused() {
    let place = Place::new();
    place.fails("dpoo --log-probs p.npy", &["\"dpoo\"", "nearest is \"dpo\""]);
    place.fails("dpo:bata=1 --log-probs p.npy", &["\"bata\"", "\"beta\""]);
    place.fails("dpo --log-probs p.npy", &["--pairs is missing"]);
    place.fails("kto --log-probs p.npy --labels y.npy", &["--reference-log-probs is missing"]);
    place.fails("ppo --log-probs p.npy", &["--advantages is missing"]);
    place.fails(
        "dpo --log-probs p.npy --pairs pairs.npy --advantages a.npy",
        &["--advantages does not go with dpo"],
    );
    place.fails("dpo --log-probs p.npy --pairs p.npy", &["--pairs"]);
    place.fails(
        "dpo --log-probs p.npy --pairs pairs.npy --mask r.npy",
        &["mask[0, 0] is -0.75", "0 or 1"],
    );
    place.fails("dpo --log-probs p.npy --pairs pairs.npy --mask a.npy", &["--mask"]);
    place.fails(
        "ppo:kl_coefficient=1 --log-probs p.npy --advantages a.npy",
        &["reference_log_probs"],
    );
    place.fails("dpo --log-probs p.npy --pairs pairs.npy --grad", &["--out"]);
}
