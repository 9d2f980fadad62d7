//! `surprisal devices`, `loss --device` and `bench --device` on the software adapter: without one these
//! tests fail.

use ndarray::{Array1, Array2};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use surprisal::io::{NpyElement, Tensor, TensorView, write_npy};
use testing::{Stream, cast};

struct Output {
    code: i32,
    stdout: String,
    stderr: String,
}

fn run(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_surprisal"))
        .args(arguments)
        .env("NODEVICE_SELECT", "1")
        .output()
        .expect("the binary runs");
    Output {
        code: output.status.code().expect("no signal"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn json(arguments: &[&str]) -> Value {
    let output = run(&[arguments, &["--json"]].concat());
    assert_eq!(output.code, 0, "{}", output.stderr);
    serde_json::from_str(&output.stdout).expect("one JSON object")
}

fn put<T: NpyElement>(directory: &Path, name: &str, array: &Array2<T>) -> String {
    let path = directory.join(name);
    write_npy(&path, array.view()).unwrap();
    path.display().to_string()
}

/// The numbers of a file.
fn read(directory: &Path, name: &str) -> Vec<f64> {
    let path = directory.join(format!("{name}.npy")).display().to_string();
    let tensor = Tensor::open(&path).unwrap_or_else(|error| panic!("{error}"));
    match tensor.view() {
        TensorView::F32(view) => view.iter().map(|&x| f64::from(x)).collect(),
        TensorView::I64(view) => view.iter().map(|&x| x as f64).collect(),
        _ => panic!("{name} holds {}", tensor.view().dtype_name()),
    }
}

struct Files {
    directory: tempfile::TempDir,
    hidden: String,
    wide: String,
    classifier: String,
    targets: String,
    bias: String,
}

fn files() -> Files {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let mut stream = Stream(1);
    let (hidden, classifier) = (stream.matrix(20, 9, 0.5), stream.matrix(70, 9, 1.0));
    let mut targets = Array1::from(stream.classes(20, 70));
    targets[4] = -100;
    let bias = stream.vector(70, 0.3).mapv(|x| x as f32);
    let path = |name: &str| at.join(name).display().to_string();
    write_npy(&at.join("y.npy"), targets.view()).unwrap();
    write_npy(&at.join("b.npy"), bias.view()).unwrap();
    let (targets, bias) = (path("y.npy"), path("b.npy"));
    Files {
        hidden: put(at, "e.npy", &cast::<f32>(&hidden)),
        wide: put(at, "e64.npy", &hidden),
        classifier: put(at, "c.npy", &cast::<f32>(&classifier)),
        targets,
        bias,
        directory,
    }
}

#[test]
fn devices_lists_the_software_adapter() {
    let result = json(&["devices", "--check"]);
    let devices = result["devices"].as_array().unwrap();
    let software = devices.iter().find(|device| device["device"] == "software").unwrap();
    assert_eq!(software["check"], "good");
    assert!(software["max_storage_buffer_binding_size"].as_u64().unwrap() >= 128 << 20);
    println!("{}", software["name"]);
    let text = run(&["devices"]);
    assert!(text.code == 0 && text.stdout.contains(software["name"].as_str().unwrap()));
}

#[test]
fn loss_on_the_software_device_is_that_of_the_processor() {
    let files = files();
    let loss = |device: &str, out: &str| {
        let out = files.directory.path().join(out).display().to_string();
        json(&[
            "loss",
            "--hidden",
            &files.hidden,
            "--classifier",
            &files.classifier,
            "--targets",
            &files.targets,
            "--bias",
            &files.bias,
            "--softcap",
            "4",
            "--label-smoothing",
            "0.1",
            "--emit",
            "loss,lse,logprob,entropy,varentropy,argmax,rank",
            "--grad",
            "--out",
            &out,
            "--device",
            device,
        ])
    };
    let (there, here) = (loss("cpu", "cpu"), loss("software", "gpu"));
    for key in ["loss", "perplexity", "mean_entropy", "accuracy"] {
        let [a, b] = [&there, &here].map(|result| result[key].as_f64().unwrap());
        assert!((a - b).abs() <= 1e-5 * a.abs(), "{key}: {a} {b}");
    }
    assert_eq!(here["tokens"], 19);
    assert_eq!(here["strategy"], "recompute");
    assert!(here["adapter"].is_string() && there["adapter"].is_null());
    for (name, tolerance) in [
        ("grad_hidden", 1e-5),
        ("grad_classifier", 1e-5),
        ("grad_bias", 1e-5),
        ("loss", 3e-5),
        ("lse", 3e-5),
        ("logprob", 3e-5),
        ("entropy", 3e-5),
        ("varentropy", 3e-5),
        ("argmax", 0.0),
        ("rank", 0.0),
    ] {
        let [a, b] = ["cpu", "gpu"].map(|device| read(&files.directory.path().join(device), name));
        assert_eq!(a.len(), b.len());
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= tolerance), "{name}");
    }
}

#[test]
fn float64_asks_for_f32_and_there_is_no_hardware_named_software() {
    let files = files();
    let arguments = |more: &[&'static str]| {
        let Files { wide, classifier, targets, .. } = &files;
        let base = ["loss", "--hidden", wide, "--classifier", classifier, "--targets", targets];
        let all: Vec<String> = base.iter().chain(more).map(|x| x.to_string()).collect();
        all
    };
    let output = |more: &[&'static str]| {
        let all = arguments(more);
        run(&all.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let refused = output(&["--device", "software"]);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("--f32") && refused.stderr.trim().lines().count() == 1);
    assert_eq!(output(&["--device", "software", "--f32"]).code, 0);
    assert_eq!(output(&["--f32"]).code, 0);
}

#[test]
fn bench_on_the_software_device() {
    let small =
        ["bench", "--tokens", "64", "--hidden", "16", "--vocab", "500", "--repetitions", "1"];
    for dtype in ["f32", "bf16", "f16"] {
        let result = json(&[&small[..], &["--device", "software", "--dtype", dtype]].concat());
        assert!(
            result["seconds"].as_f64().unwrap() > 0.0 && result["gflops"].as_f64().unwrap() > 0.0
        );
        assert!(result["peak_gflops"].is_null() && result["baseline_seconds"].is_null());
        assert_eq!(result["strategy"], "recompute");
    }
    let wide = run(&[&small[..], &["--device", "software", "--dtype", "f64"]].concat());
    assert_eq!(wide.code, 2, "{}", wide.stderr);
}
