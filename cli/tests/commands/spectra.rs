//! `surprisal spectrum`, `dse` and `dsmi`: golden cases through the binary, pictures, and how it fails.

use half::{bf16, f16};
use ndarray::{Array2, ArrayD, arr2};
use serde_json::{Map, Value};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use surprisal::io::{Tensor, TensorView, write_npy, write_safetensors};
use tempfile::TempDir;
use testing::golden::entropy_file as golden;

fn cases() -> Vec<Value> {
    let all: Value =
        serde_json::from_str(include_str!("../../../tests/golden/entropy/golden.json")).unwrap();
    all["cases"].as_array().unwrap().clone()
}

/// The binary in a directory; arguments are parted at spaces.
fn run(directory: &Path, arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_surprisal"));
    command.env_remove("SURPRISAL_ISA").stdin(Stdio::null()).current_dir(directory);
    command.args(arguments.split_whitespace()).output().unwrap()
}

fn json(directory: &Path, arguments: &str) -> Map<String, Value> {
    let output = run(directory, &format!("{arguments} --json"));
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{arguments}: {stderr}");
    assert!(stderr.is_empty(), "{stderr}");
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    let Value::Object(object) = serde_json::from_str(stdout).unwrap() else { panic!("{stdout}") };
    object
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

/// Exit status 2 and this line.
fn refused(directory: &Path, arguments: &str, line: &str) {
    let output = run(directory, arguments);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments}: {stderr}");
    assert!(output.stdout.is_empty(), "{arguments}");
    assert_eq!(stderr, format!("error: {line}\n"), "{arguments}");
}

fn assert_close(case: &Value, found: &Value) {
    let number = |key: &str| case[key].as_f64().unwrap();
    let tolerance = number("atol") + number("rtol") * number("value").abs();
    let found = found.as_f64().unwrap();
    assert!((found - number("value")).abs() <= tolerance, "{}: {found}", case["id"]);
}

fn features(name: &str) -> ArrayD<f64> {
    match Tensor::open(golden(name).to_str().unwrap()).unwrap().view() {
        TensorView::F64(view) => view.to_owned(),
        other => panic!("{}", other.dtype_name()),
    }
}

#[test]
fn golden_spectra() {
    let directory = TempDir::new().unwrap();
    let mut counted = 0;
    for case in cases() {
        let data = case["data"].as_str().unwrap();
        // A sample of the cases: these have all of the measures.
        if !["digits.npy", "blob.npy", "lowrank.npy", "wide.npy", "relu.npy"].contains(&data) {
            continue;
        }
        let parameters = &case["params"];
        let flag = |name: &str| parameters[name].as_bool().unwrap_or(false);
        let mut arguments = format!("spectrum --features {}", golden(data).display());
        if flag("centered") {
            arguments += " --center";
        }
        let key = match case["estimator"].as_str().unwrap() {
            "rankme" => {
                arguments += &format!(" --epsilon {}", parameters["eps"]);
                "rankme"
            }
            "rankme_cov" => {
                arguments += &format!(" --epsilon {}", parameters["eps"]);
                "rankme_covariance"
            }
            "alpha_req" if parameters["weights"] == "1/rank" => {
                let (low, high) = (&parameters["lo0"], &parameters["hi0"]);
                arguments += &format!(" --alpha-range {low}:{high}");
                "alpha_req"
            }
            "stable_rank" => "stable_rank",
            "nuclear_rank" => "nuclear_rank",
            "participation_ratio" => "participation_ratio",
            "nesum" => "nesum",
            "vne_cov" => "von_neumann_entropy",
            _ => continue,
        };
        assert_close(&case, &json(directory.path(), &arguments)[key]);
        counted += 1;
    }
    assert_eq!(counted, 69);
}

#[test]
fn every_type_and_location() {
    let directory = TempDir::new().unwrap();
    let place = |name: &str| directory.path().join(name);
    let wide = Array2::from_shape_fn((60, 20), |(i, j)| {
        bf16::from_f64(((i * i * 7 + i * j * j) as f64).sin() * (1.0 + j as f64)).to_f64()
    });
    write_npy(&place("f64.npy"), wide.view()).unwrap();
    write_npy(&place("f32.npy"), wide.mapv(|x| x as f32).view()).unwrap();
    let narrow = wide.mapv(bf16::from_f64);
    write_safetensors(&place("f.safetensors"), &[("hidden", narrow.view().into())]).unwrap();
    let locations = ["f64.npy", "f32.npy", "f.safetensors:hidden"];
    let results = locations
        .map(|at| json(directory.path(), &format!("spectrum --features {at} --threads 1")));
    assert_eq!(results[0], results[1]);
    assert_eq!(results[0], results[2]);
    assert_eq!(results[0]["rank"], 20);
    let reason = &results[0]["alpha_range_reason"];
    assert_eq!(reason, "the numerical rank is 20: there are 20 columns");
    let keys: Vec<&str> = results[0].keys().map(String::as_str).collect();
    let wanted = [
        "rankme",
        "effective_rank",
        "stable_rank",
        "nuclear_rank",
        "rankme_covariance",
        "rank",
        "alpha_req",
        "alpha_req_r2",
        "alpha_range",
        "alpha_range_reason",
        "participation_ratio",
        "nesum",
        "von_neumann_entropy",
        "vendi",
        "lidar",
        "rows",
        "columns",
    ];
    assert_eq!(keys, wanted);
    assert_eq!((&results[0]["rows"], &results[0]["columns"]), (&60.into(), &20.into()));

    // For people: a line for each measure, rounded, R² and window on that of the fit; nobody asked for
    // LiDAR.
    let output = run(directory.path(), "spectrum --features f64.npy");
    let lines = text(&output.stdout);
    assert_eq!(lines.lines().count(), wanted.len() - 3, "{lines}");
    assert!(lines.lines().all(|line| line.chars().count() < 140), "{lines}");
    assert!(lines.contains("decay of eigenvalues 11 to 20, R² 0."), "{lines}");
    assert!(lines.contains(" nats\n") && lines.contains(" of 20, centred: "), "{lines}");
}

#[test]
fn features_in_many_blocks() {
    let directory = TempDir::new().unwrap();
    let rows = Array2::from_shape_fn((90_000, 16), |(i, j)| {
        ((i * (j + 3)) as f64 * 0.37).sin() / (1.0 + j as f64) + 5.0
    });
    write_npy(&directory.path().join("f.npy"), rows.view()).unwrap();
    let found = json(directory.path(), "spectrum --features f.npy");
    let whole = surprisal::spectrum::Spectrum::from_features(
        rows.view(),
        surprisal::spectrum::Centering::Centered,
    )
    .unwrap();
    let entropy = found["von_neumann_entropy"].as_f64().unwrap();
    assert!((entropy - whole.von_neumann_entropy()).abs() < 1e-11);
    // The offset is all there is, as they are.
    assert!(found["stable_rank"].as_f64().unwrap() < 1.01);
    assert!(found["nesum"].as_f64().unwrap() > 1.5);
}

#[test]
fn the_window_of_alpha_req() {
    let directory = TempDir::new().unwrap();
    let digits = golden("digits.npy").display().to_string();
    let of = |more: &str| json(directory.path(), &format!("spectrum --features {digits}{more}"));
    // Of 64 columns three are constant.
    assert_eq!(of("")["alpha_req"], of(" --alpha-range 10:61")["alpha_req"]);
    assert_ne!(of("")["alpha_req"], of(" --alpha-range 10:60")["alpha_req"]);
    let few = Array2::from_shape_fn((50, 12), |(i, j)| ((i * 5 + j * i) as f64).sin());
    write_npy(&directory.path().join("few.npy"), few.view()).unwrap();
    let found = json(directory.path(), "spectrum --features few.npy");
    assert_eq!((&found["alpha_req"], &found["alpha_req_r2"]), (&Value::Null, &Value::Null));
    refused(
        directory.path(),
        "spectrum --features few.npy --alpha-range 3:13",
        "range is 3..13 of a spectrum of numerical rank 12, expected at least 3 indices within the \
         rank",
    );
    for bad in ["3", "3:", "-1:4", "a:b", "3:1e2"] {
        refused(
            directory.path(),
            &format!("spectrum --features few.npy --alpha-range {bad}"),
            &format!(
                "invalid value '{bad}' for '--alpha-range <LO:HI>': expected LO:HI, two indices from 0"
            ),
        );
    }
}

#[test]
fn the_picture_of_a_spectrum() {
    let directory = TempDir::new().unwrap();
    write_npy(&directory.path().join("d.npy"), features("digits.npy").view()).unwrap();
    let with = json(directory.path(), "spectrum --features d.npy --plot plot.svg --threads 1");
    assert_eq!(with, json(directory.path(), "spectrum --features d.npy --threads 1"));
    let svg = std::fs::read_to_string(directory.path().join("plot.svg")).unwrap();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    for label in [
        "<title>Eigenspectrum of d.npy, 1797 × 64</title>",
        "fitted over ranks 11–61",
        "3 eigenvalues beyond the numerical rank are not drawn",
    ] {
        assert!(svg.contains(label), "no {label} in {svg}");
    }
    refused(
        directory.path(),
        "spectrum --features no.npy --plot plot.png",
        "--plot is plot.png, expected a file FILE.svg",
    );
}

#[test]
fn degenerate_features() {
    let directory = TempDir::new().unwrap();
    write_npy(&directory.path().join("same.npy"), Array2::<f64>::ones((9, 4)).view()).unwrap();
    let found = json(directory.path(), "spectrum --features same.npy --plot same.svg");
    assert!((found["effective_rank"].as_f64().unwrap() - 1.0).abs() < 1e-12);
    assert_eq!(found["von_neumann_entropy"], 0.0);
    let svg = std::fs::read_to_string(directory.path().join("same.svg")).unwrap();
    assert!(svg.contains("all eigenvalues are 0"), "{svg}");
}

#[test]
fn bad_features() {
    let directory = TempDir::new().unwrap();
    let write = |name: &str, array: Array2<f64>| {
        write_npy(&directory.path().join(name), array.view()).unwrap();
    };
    write("nan.npy", arr2(&[[1.0, 2.0], [f64::NAN, 1.0]]));
    write("inf.npy", arr2(&[[1.0, f64::NEG_INFINITY], [0.0, 1.0]]));
    write("no_rows.npy", Array2::zeros((0, 3)));
    write("no_columns.npy", Array2::zeros((3, 0)));
    write("good.npy", arr2(&[[1.0, 2.0], [0.0, 1.0], [4.0, 1.0]]));
    let vector = ndarray::arr1(&[1.0, 2.0]);
    write_npy(&directory.path().join("vector.npy"), vector.view()).unwrap();
    write_npy(&directory.path().join("whole.npy"), arr2(&[[1_i64, 2]]).view()).unwrap();
    let refuse = |name: &str, line: &str| {
        refused(directory.path(), &format!("spectrum --features {name}"), line);
    };
    refuse("nan.npy", "features[1, 0] is NaN, expected a finite number");
    refuse("inf.npy", "features[0, 1] is -inf, expected a finite number");
    refuse(
        "vector.npy",
        "--features is f64 of shape [2], expected a matrix of f64, f32, bf16 or f16",
    );
    refuse(
        "whole.npy",
        "--features is i64 of shape [1, 2], expected a matrix of f64, f32, bf16 or f16",
    );
    for (name, shape) in [("no_rows.npy", "[0, 3]"), ("no_columns.npy", "[3, 0]")] {
        let output = run(directory.path(), &format!("spectrum --features {name}"));
        assert_eq!(output.status.code(), Some(2));
        let stderr = text(&output.stderr);
        assert!(
            stderr.starts_with(&format!("error: features has shape {shape}, expected")),
            "{stderr}"
        );
        assert_eq!(stderr.lines().count(), 1);
    }
    let output = run(directory.path(), "spectrum --features missing.npy");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).starts_with("error: cannot open missing.npy: "));
    refuse("good.npy --epsilon -1", "epsilon is -1, expected a finite number, at least 0");
}

#[test]
fn golden_entropies() {
    let directory = TempDir::new().unwrap();
    let mut counts = [0; 2];
    for case in cases() {
        let parameters = &case["params"];
        let data = case["data"].as_str().unwrap();
        if !["small.npy", "blob.npy", "clusters3.npy", "iris.npy", "blob_f32.npy"].contains(&data) {
            continue;
        }
        let file = |key: &str| golden(parameters[key].as_str().unwrap()).display().to_string();
        let mut arguments = format!(
            "--features {} --sigma {} --t {}",
            golden(data).display(),
            parameters["sigma"],
            parameters["t"]
        );
        match case["estimator"].as_str().unwrap() {
            "dse" => {
                if parameters["alpha"].is_number() {
                    arguments += &format!(" --alpha {}", parameters["alpha"]);
                }
                if parameters["idx"].is_string() {
                    arguments += &format!(" --indices {}", file("idx"));
                }
                let found = json(directory.path(), &format!("dse {arguments}"));
                assert_close(&case, &found["dse"]);
                assert_eq!(
                    (&found["method"], &found["sigma"]),
                    (&"exact".into(), &number(&parameters["sigma"]))
                );
                assert_eq!(found["error_bound"], Value::Null);
                counts[0] += 1;
            }
            "dsmi" => {
                let labels = file("labels");
                let of = |more: &str| {
                    json(directory.path(), &format!("dsmi {arguments} --labels {labels}{more}"))
                };
                let found = of(&format!(" --indices {}", file("idx")));
                assert_close(&case, &found["dsmi"]);
                let terms = found["per_class"].as_array().unwrap();
                let sum: f64 = terms.iter().map(|class| class["term"].as_f64().unwrap()).sum();
                assert!((sum - found["dsmi"].as_f64().unwrap()).abs() < 1e-12);
                // The sampler is that of the published code.
                let (seed, repetitions) = (&parameters["seed"], &parameters["reps"]);
                let drawn = of(&format!(" --seed {seed} --repetitions {repetitions}"));
                assert_close(&case, &drawn["dsmi"]);
                counts[1] += 1;
            }
            _ => {}
        }
    }
    assert_eq!(counts, [41, 5]);
}

/// A number as the binary writes it: with a point.
fn number(value: &Value) -> Value {
    value.as_f64().unwrap().into()
}

#[test]
fn sigma_by_rule_and_approximations() {
    let directory = TempDir::new().unwrap();
    write_npy(&directory.path().join("b.npy"), features("blob.npy").view()).unwrap();
    let of = |more: &str| json(directory.path(), &format!("dse --features b.npy --seed 3 {more}"));
    let auto = of("--sigma auto");
    let sigma = auto["sigma"].as_f64().unwrap();
    assert!(sigma > 0.0);
    let value = |found: &Map<String, Value>, key: &str| found[key].as_f64().unwrap();
    let again = of(&format!("--sigma {sigma}"));
    assert!((value(&auto, "dse") - value(&again, "dse")).abs() < 1e-11);
    let exact = of("--sigma 20");
    let low = of("--sigma 20 --method lowrank --tolerance 0.001");
    assert_eq!(low["method"], "lowrank");
    assert!((value(&low, "dse") - value(&exact, "dse")).abs() <= value(&low, "error_bound"));
    assert!(value(&low, "error_bound") <= 1e-3);
    let lanczos = of("--sigma 20 --method lanczos --probes 16");
    assert_eq!(lanczos["method"], "lanczos");
    let error = value(&lanczos, "standard_error");
    assert!((value(&lanczos, "dse") - value(&exact, "dse")).abs() <= 6.0 * error + 1e-9);
}

#[test]
fn a_tolerance_that_is_not_reached_is_said() {
    let directory = TempDir::new().unwrap();
    write_npy(&directory.path().join("s.npy"), features("small.npy").view()).unwrap();
    let of = |more: &str| {
        let output =
            run(directory.path(), &format!("dse --features s.npy --sigma 2 --json {more}"));
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        (found["tolerance_reached"].clone(), text(&output.stderr).to_string())
    };
    assert_eq!(of(""), (Value::Null, String::new()));
    assert_eq!(of("--tolerance 1e-12"), (true.into(), String::new()));
    let (reached, warning) = of("--method lanczos --probes 2 --tolerance 1e-12");
    assert_eq!(reached, false);
    assert!(
        warning.starts_with("warning: the error of ") && warning.lines().count() == 1,
        "{warning}"
    );
    assert!(warning.contains("above the tolerance of 1.0e-12, which lanczos"), "{warning}");
}

#[test]
fn pictures_of_entropies() {
    let directory = TempDir::new().unwrap();
    write_npy(&directory.path().join("s.npy"), features("small.npy").view()).unwrap();
    let of = |more: &str| {
        json(
            directory.path(),
            &format!("dse --features s.npy --sigma 2 --threads 1 --plot p.svg{more}"),
        )
    };
    let svg = || std::fs::read_to_string(directory.path().join("p.svg")).unwrap();
    let plain = of("");
    let over_t = svg();
    for label in ["entropy of s.npy, σ = 2", "at t = 1", "DSE in bits", "t, diffusion time"] {
        assert!(over_t.contains(label), "no {label} in {over_t}");
    }
    // A dot for each of 17 points and one around the marked.
    assert_eq!(over_t.matches("<circle").count(), 18);
    assert_eq!(of(" --plot-over sigma"), plain);
    let over_sigma = svg();
    for label in ["entropy of s.npy, t = 1", "at σ = 2", "σ, width of the kernel", "log₂ N = 5.322"]
    {
        assert!(over_sigma.contains(label), "no {label} in {over_sigma}");
    }
    of(" --method lowrank");
    refused(
        directory.path(),
        "dse --features s.npy --sigma 2 --plot no/p.svg",
        "--plot is no/p.svg, expected a file in a directory that exists",
    );
    let output = run(directory.path(), "dse --features s.npy --sigma 2 --plot-over sigma");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn labels_of_any_integers() {
    let directory = TempDir::new().unwrap();
    let rows = arr2(&[[0.0], [0.5], [3.0], [3.5], [9.0]]);
    write_npy(&directory.path().join("f.npy"), rows.view()).unwrap();
    let labels = ndarray::arr1(&[i64::MIN, i64::MIN, 7, 7, i64::MAX]);
    write_npy(&directory.path().join("y.npy"), labels.view()).unwrap();
    let found = json(directory.path(), "dsmi --features f.npy --labels y.npy --sigma auto");
    let classes = found["per_class"].as_array().unwrap();
    let of = |key: &str| classes.iter().map(|class| class[key].clone()).collect::<Vec<_>>();
    assert_eq!(of("label"), [i64::MIN, 7, i64::MAX].map(Value::from));
    assert_eq!(of("rows"), [2, 2, 1].map(Value::from));
    assert_eq!(classes[2]["term"], 0.0);
    assert!(found["standard_error"].is_number());
}

#[test]
fn bad_entropies() {
    let directory = TempDir::new().unwrap();
    let write = |name: &str, array: Array2<f64>| {
        write_npy(&directory.path().join(name), array.view()).unwrap();
    };
    write("f.npy", arr2(&[[1.0, 2.0], [0.0, 1.0], [4.0, 1.0]]));
    write("same.npy", Array2::ones((3, 2)));
    write("nan.npy", arr2(&[[1.0, f64::NAN], [0.0, 1.0], [4.0, 1.0]]));
    for (name, numbers) in
        [("y.npy", [1, 1, 2]), ("beyond.npy", [0, 3, 1]), ("below.npy", [0, -1, 1])]
    {
        write_npy(&directory.path().join(name), ndarray::arr1::<i64>(&numbers).view()).unwrap();
    }
    write_npy(&directory.path().join("short.npy"), ndarray::arr1(&[1_i64, 2]).view()).unwrap();
    let refuse = |arguments: &str, line: &str| refused(directory.path(), arguments, line);
    for sigma in ["0", "-1", "NaN", "inf"] {
        refuse(
            &format!("dse --features f.npy --sigma {sigma}"),
            &format!("sigma is {sigma}, expected a finite number above 0"),
        );
    }
    for t in ["0", "-2", "NaN"] {
        refuse(
            &format!("dsmi --features f.npy --labels y.npy --sigma 1 --t {t}"),
            &format!("t is {t}, expected a finite number above 0"),
        );
    }
    refuse(
        "dse --features f.npy --sigma wide",
        "invalid value 'wide' for '--sigma <X|auto|knn:K>': expected auto, knn:K or a number above 0",
    );
    refuse(
        "dse --features f.npy",
        "the following required arguments were not provided: --sigma <X|auto|knn:K>",
    );
    refuse("dse --features nan.npy --sigma 1", "features[0, 1] is NaN, expected a finite number");
    refuse(
        "dse --features f.npy --sigma 1 --indices beyond.npy",
        "indices[1] is 3, expected a row of the features",
    );
    refuse(
        "dse --features f.npy --sigma 1 --indices below.npy",
        "--indices holds -1, expected rows from 0",
    );
    refuse(
        "dse --features f.npy --sigma 1 --indices f.npy",
        "--indices is an array of f64, expected an array of integers",
    );
    refuse(
        "dsmi --features f.npy --labels y.npy --sigma 1 --indices y.npy",
        "--indices is i64 of shape [3], expected a matrix of integers",
    );
    for (arguments, word) in [
        ("dse --features same.npy --sigma auto", "bandwidth"),
        ("dsmi --features f.npy --labels short.npy --sigma 1", "labels"),
        ("dsmi --features f.npy --labels f.npy --sigma 1", "--labels"),
        ("dsmi --features f.npy --labels y.npy --sigma 1 --repetitions 0", "repetitions is 0"),
        ("dse --features f.npy --sigma 1 --alpha -1", "alpha is -1"),
        ("dse --features f.npy --sigma 1 --probes 0", "probes is 0"),
        ("dse --features f.npy --sigma 1 --tolerance 0", "tolerance is 0"),
        ("dse --features f.npy --sigma knn:0", "neighbors is 0"),
        ("dse --features f.npy --sigma knn:3", "neighbors is 3"),
        ("dse --features f.npy --sigma knn:-1", "expected auto, knn:K or a number"),
        (
            "dse --features f.npy --sigma knn:18446744073709551615",
            "neighbors is 184467440737095516",
        ),
        ("dse --features f.npy --sigma knn:1 --method lanczos", "--sigma knn:1 goes with --method"),
        ("dse --features f.npy --sigma knn:1 --method lowrank", "--sigma knn:1 goes with --method"),
        (
            "dsmi --features f.npy --labels y.npy --sigma 1 --repetitions 18446744073709551615",
            "repetitions is 18446744073709551615",
        ),
    ] {
        let output = run(directory.path(), arguments);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {stderr}");
        assert!(stderr.contains(word) && stderr.lines().count() == 1, "{arguments}: {stderr}");
    }
}

/// Centred features [400,64] of rank 30 whose covariance has the eigenvalues 1/i.
fn of_rank_30() -> Array2<f64> {
    let (rows, columns) = (400, 64);
    // Cosines are orthogonal, and sum to zero.
    let cosine = |count: usize, i: usize, k: usize| {
        let angle = std::f64::consts::PI * (i as f64 + 0.5) * k as f64 / count as f64;
        (2.0 / count as f64).sqrt() * angle.cos()
    };
    let left = Array2::from_shape_fn((rows, 30), |(i, k)| {
        cosine(rows, i, 7 * k + 3) * (rows as f64 / (k + 1) as f64).sqrt()
    });
    let right = Array2::from_shape_fn((30, columns), |(k, j)| cosine(columns, j, 2 * k + 1));
    left.dot(&right)
}

/// numpy#357, pytorch#10338, WeightWatcher#239: the window of α-ReQ ran into the rounding of the type.
#[test]
fn alpha_req_of_features_that_were_saved_in_few_bits() {
    let directory = TempDir::new().unwrap();
    let place = |name: &str| directory.path().join(name);
    let exact = of_rank_30();
    write_npy(&place("f64.npy"), exact.view()).unwrap();
    let single = exact.mapv(|x| x as f32);
    write_npy(&place("f32.npy"), single.view()).unwrap();
    write_npy(&place("f16.npy"), exact.mapv(f16::from_f64).view()).unwrap();
    write_npy(&place("wide.npy"), single.mapv(f64::from).view()).unwrap();
    let (narrow, half) = (exact.mapv(bf16::from_f64), exact.mapv(f16::from_f64));
    let tensors = [("bf16", narrow.view().into()), ("f16", half.view().into())];
    write_safetensors(&place("f.safetensors"), &tensors).unwrap();
    for (features, epsilon) in [
        ("f64.npy", f64::EPSILON),
        ("f32.npy", f64::from(f32::EPSILON)),
        ("wide.npy --precision f32", f64::from(f32::EPSILON)),
        ("wide.npy --precision 1e-5", f64::from(f32::EPSILON)),
        ("f16.npy", f64::from(f16::EPSILON)),
        ("f.safetensors:f16", f64::from(f16::EPSILON)),
        ("f.safetensors:bf16", f64::from(bf16::EPSILON)),
    ] {
        let found = json(directory.path(), &format!("spectrum --features {features}"));
        let alpha = found["alpha_req"].as_f64().unwrap();
        // Each σ is off by an error of one number, ε·rms = ε/4, against 20/√30 at least; 64 roundings
        // of the decomposition beside it.
        let tolerance = 20.0 * epsilon * 0.25 / 3.6 + 64.0 * f64::EPSILON;
        assert!((alpha - 1.0).abs() <= tolerance, "{features}: {alpha}");
        assert_eq!((&found["rank"], &found["alpha_range"]), (&30.into(), &vec![10, 30].into()));
        let reason = found["alpha_range_reason"].as_str().unwrap();
        assert!(reason.starts_with("the numerical rank is 30: singular values beyond"), "{reason}");
    }
    // Undeclared, the rounding is taken for numbers.
    let found = json(directory.path(), "spectrum --features wide.npy");
    assert!(found["rank"].as_u64() > Some(30) && found["alpha_range_reason"].is_string());
    refused(
        directory.path(),
        "spectrum --features f32.npy --alpha-range 10:31",
        "range is 10..31 of a spectrum of numerical rank 30, expected at least 3 indices within the \
         rank",
    );
    for bad in ["f8", "0", "1", "nan"] {
        refused(
            directory.path(),
            &format!("spectrum --features f32.npy --precision {bad}"),
            &format!(
                "invalid value '{bad}' for '--precision <TYPE|X>': expected f64, f32, f16, bf16 or a \
                 number above 0 and below 1"
            ),
        );
    }
}

#[test]
fn vendi_and_lidar() {
    let directory = TempDir::new().unwrap();
    let place = |name: &str| directory.path().join(name);
    // Four objects of three views: the objects are in two directions, the views differ in a third.
    let views = Array2::from_shape_fn((12, 3), |(i, j)| match j {
        2 => (i % 3) as f64 - 1.0,
        _ if i / 6 == j => {
            if i / 3 % 2 == 0 {
                2.0
            } else {
                -2.0
            }
        }
        _ => 0.0,
    });
    write_npy(&place("f.npy"), views.view()).unwrap();
    let order: Vec<usize> = (0..12).map(|i| i % 4 * 3 + i / 4).collect();
    write_npy(&place("mixed.npy"), views.select(ndarray::Axis(0), &order).view()).unwrap();
    let objects: Vec<i64> = (0..12).map(|i| [7, -3, i64::MAX, 0][i % 4]).collect();
    write_npy(&place("objects.npy"), ndarray::arr1(&objects).view()).unwrap();
    let of = |arguments: &str| json(directory.path(), &format!("spectrum --features {arguments}"));
    let number = |found: &Map<String, Value>, key: &str| found[key].as_f64().unwrap();
    let found = of("f.npy --views 3");
    // Two directions of one size, and ε for each of three shares.
    assert!((number(&found, "lidar") - 2.0).abs() < 1e-5, "{found:?}");
    let score = surprisal::spectrum::vendi_score(views.view(), 1.0).unwrap();
    assert!((number(&found, "vendi") - score).abs() < 1e-12);
    let mixed = of("mixed.npy --lidar-groups objects.npy");
    assert!((number(&mixed, "lidar") - number(&found, "lidar")).abs() < 1e-12);
    assert_eq!(of("f.npy")["lidar"], Value::Null);
    assert!((number(&of("f.npy --vendi-order 0"), "vendi") - 3.0).abs() < 1e-13);
    assert_eq!(
        of("f.npy --views 3 --lidar-delta 1e308")["lidar"].as_f64().map(f64::round),
        Some(2.0)
    );
    let output = run(directory.path(), "spectrum --features f.npy --views 3");
    assert!(text(&output.stdout).contains("2.000, directions that part 4 objects"));

    // A row without a direction has no cosine: nothing else is lost by it.
    write_npy(&place("zero.npy"), arr2(&[[1.0, 0.0], [0.0, 0.0], [1.0, 2.0]]).view()).unwrap();
    assert_eq!(of("zero.npy")["vendi"], Value::Null);
    let refuse = |arguments: &str, line: &str| {
        refused(directory.path(), &format!("spectrum --features {arguments}"), line);
    };
    refuse(
        "zero.npy --vendi-order 1",
        "features[1] is a row of zeros, expected a row with a direction",
    );
    refuse("f.npy --vendi-order -1", "order is -1, expected a number from 0 to infinity");
    for bad in ["0", "5", "18446744073709551615"] {
        refuse(
            &format!("f.npy --views {bad}"),
            &format!("--views is {bad} and there are 12 rows, expected a divisor of them"),
        );
    }
    refuse(
        "f.npy --lidar-delta 1",
        "--lidar-delta goes with --views or --lidar-groups: give one of them too",
    );
    refuse("f.npy --views 3 --lidar-delta 0", "delta is 0, expected a finite number above 0");
    refuse(
        "zero.npy --lidar-groups objects.npy",
        "--lidar-groups holds 12 objects for 3 rows, expected one for each",
    );
    write_npy(&place("uneven.npy"), ndarray::arr1(&[4_i64, 4, 9]).view()).unwrap();
    refuse(
        "zero.npy --lidar-groups uneven.npy",
        "--lidar-groups has 2 rows of object 4 and 1 of object 9, expected as many of each",
    );
}

#[test]
fn a_bandwidth_for_each_row() {
    use surprisal::diffusion::{Operator, SpectralEntropy};
    let directory = TempDir::new().unwrap();
    let rows = features("blob.npy").into_dimensionality::<ndarray::Ix2>().unwrap();
    write_npy(&directory.path().join("b.npy"), rows.view()).unwrap();
    let operator = Operator::SelfTuning { neighbors: 7 };
    let entropy = SpectralEntropy::builder().operator(operator).build().unwrap();
    let found = json(directory.path(), "dse --features b.npy --sigma knn:7 --plot p.svg");
    let expected = entropy.estimate(rows.view()).unwrap().value;
    assert!((found["dse"].as_f64().unwrap() - expected).abs() < 1e-10);
    assert_eq!((&found["sigma"], &found["neighbors"]), (&Value::Null, &7.into()));
    assert_eq!(found["method"], "exact");
    let svg = std::fs::read_to_string(directory.path().join("p.svg")).unwrap();
    assert!(svg.contains("entropy of b.npy, σ of 7 neighbours"), "{svg}");
    refused(
        directory.path(),
        "dse --features b.npy --sigma knn:7 --plot p.svg --plot-over sigma",
        "--plot-over sigma varies one width for all rows, expected another than --sigma knn:7",
    );
    let labels = ndarray::Array1::from_shape_fn(rows.nrows(), |i| (i % 2) as i64);
    write_npy(&directory.path().join("y.npy"), labels.view()).unwrap();
    let found = json(directory.path(), "dsmi --features b.npy --labels y.npy --sigma knn:7");
    assert!(found["dsmi"].is_number() && found["sigma"].is_null());
}

/// What people read: units, errors beside values, no more digits than are meant.
#[test]
fn entropies_for_people() {
    let directory = TempDir::new().unwrap();
    write_npy(&directory.path().join("b.npy"), features("blob.npy").view()).unwrap();
    let labels = ndarray::Array1::from_shape_fn(500, |i| (i % 10) as i64);
    write_npy(&directory.path().join("y.npy"), labels.view()).unwrap();
    let of = |arguments: &str| {
        let output = run(directory.path(), arguments);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let text = text(&output.stdout).to_string();
        // 17 digits are for programs.
        let longest = text.split(|c: char| !c.is_ascii_digit() && c != '.').map(str::len).max();
        assert!(longest < Some(12), "{text}");
        text
    };
    let exact = of("dse --features b.npy --sigma 10");
    assert!(exact.contains(" bits, of at most log₂ N = 8.966\n"), "{exact}");
    assert!(exact.contains("exact: all eigenvalues"), "{exact}");
    let low = of("dse --features b.npy --sigma 20 --method lowrank --tolerance 0.001");
    assert!(low.contains(" ± ") && low.contains("a proven bound"), "{low}");
    let lanczos = of("dse --features b.npy --sigma 20 --method lanczos");
    assert!(lanczos.contains(" ± ") && lanczos.contains("a standard error"), "{lanczos}");
    let information = of("dsmi --features b.npy --labels y.npy --sigma auto");
    assert!(information.contains(" bits, of log₂ 10 = 3.322"), "{information}");
    assert!(information.contains("label 7: ") && information.contains("and 2 more (bits)"));
    for (subcommand, headings) in [
        ("spectrum", ["Inputs:", "Measures:", "Output:"]),
        ("dse", ["Inputs:", "Method:", "Output:"]),
        ("dsmi", ["Inputs:", "Entropy:", "Samples:"]),
    ] {
        let help = run(directory.path(), &format!("{subcommand} --help"));
        for heading in headings {
            assert!(text(&help.stdout).contains(heading), "{subcommand}: {heading}");
        }
    }
}

/// Parameters at and beyond every end: an exit status of 0, or 2 with a line.
#[test]
fn extreme_parameters() {
    let directory = TempDir::new().unwrap();
    let rows = Array2::from_shape_fn((12, 3), |(i, j)| ((i * i + 5 * j) as f64 * 0.7).sin());
    write_npy(&directory.path().join("f.npy"), rows.view()).unwrap();
    let numbers = ["0", "-0", "5e-324", "1e-300", "1e308", "1e309", "-1", "inf", "nan"];
    for number in numbers {
        for arguments in [
            format!("spectrum --epsilon {number} --views 2"),
            format!("spectrum --lidar-delta {number} --views 2"),
            format!("spectrum --vendi-order {number}"),
            format!("spectrum --precision {number}"),
            format!("dse --sigma {number} --plot p.svg"),
            format!("dse --sigma {number} --plot p.svg --plot-over sigma"),
            format!("dse --sigma 1 --t {number} --plot p.svg"),
            format!("dse --sigma 1 --alpha {number}"),
            format!("dse --sigma 1 --tolerance {number} --method lanczos"),
        ] {
            let output = run(directory.path(), &format!("{arguments} --features f.npy --json"));
            let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
            match output.status.code() {
                Some(0) => {
                    // No tolerance may be too small for a warning of one line.
                    let warned = stderr.starts_with("warning: the error of ")
                        && stderr.lines().count() == 1
                        && arguments.contains("--tolerance");
                    assert!(stderr.is_empty() || warned, "{stderr}");
                    assert!(!stdout.contains("nan"), "{stdout}");
                }
                Some(2) => assert!(stderr.lines().count() == 1 && stdout.is_empty(), "{stderr}"),
                other => panic!("{arguments}: {other:?} {stderr}"),
            }
        }
    }
}
