//! Every golden value of the estimators of `spectrum`, within its own tolerances.
#![cfg(all(feature = "spectral", feature = "io"))]

use ndarray::{Array2, Array3, Ix2, Ix3};
use serde_json::Value;
use std::collections::BTreeMap;
use surprisal::io::{Tensor, TensorView};
use surprisal::spectrum::{
    Centering, Covariance, KernelMatrix, Lidar, Spectrum, cosine_von_neumann_entropy, diff_erank,
    lidar, self_cluster, uniformity, vendi_score,
};
use surprisal::{Element, Result};
use testing::golden::entropy_file;

/// The estimators, and how many cases of each there are.
const ESTIMATORS: [(&str, usize); 18] = [
    ("rankme", 57),
    ("rankme_cov", 12),
    ("alpha_req", 48),
    ("alpha_robust", 6),
    ("participation_ratio", 22),
    ("stable_rank", 25),
    ("nuclear_rank", 12),
    ("nesum", 16),
    ("vne_cov", 12),
    ("vne_cosine", 1),
    ("diff_erank", 12),
    ("lidar", 3),
    ("renyi", 8),
    ("renyi_joint", 5),
    ("renyi_mi", 5),
    ("vendi", 1),
    ("uniformity", 1),
    ("self_cluster", 1),
];

enum Data {
    Wide(Array2<f64>),
    Narrow(Array2<f32>),
    Views(Array3<f64>),
}

fn read(name: &str) -> Data {
    let tensor = Tensor::open(entropy_file(name).to_str().unwrap()).expect("a golden array");
    match tensor.view() {
        TensorView::F64(view) if view.ndim() == 3 => {
            Data::Views(view.into_dimensionality::<Ix3>().expect("three axes").to_owned())
        }
        TensorView::F64(view) => {
            Data::Wide(view.into_dimensionality::<Ix2>().expect("two axes").to_owned())
        }
        TensorView::F32(view) => {
            Data::Narrow(view.into_dimensionality::<Ix2>().expect("two axes").to_owned())
        }
        other => panic!("{name}: {}", other.dtype_name()),
    }
}

fn number(value: &Value) -> f64 {
    match value.as_str() {
        Some("inf") => f64::INFINITY,
        Some(other) => panic!("{other}"),
        None => value.as_f64().expect("a number"),
    }
}

fn estimate<T: Element>(case: &Value, features: &Array2<T>) -> Result<f64> {
    let params = &case["params"];
    let real = |name: &str| number(&params[name]);
    let index = |name: &str| params[name].as_u64().expect("an index") as usize;
    let spectrum = |centering| Spectrum::from_features(features.view(), centering);
    let centered = || spectrum(Centering::Centered);
    let chosen = || {
        let centered = params["centered"].as_bool().expect("a flag");
        spectrum(if centered { Centering::Centered } else { Centering::Raw })
    };
    let kernel = || KernelMatrix::gaussian(features.view(), real("sigma"));
    let other = || {
        let Data::Wide(other) = read(params["other"].as_str().expect("a file")) else { panic!() };
        KernelMatrix::gaussian(other.view(), real("sigma_other"))
    };
    match case["estimator"].as_str().expect("a name") {
        "rankme" if real("eps") == 0.0 => Ok(chosen()?.effective_rank()),
        "rankme" => chosen()?.rankme(real("eps")),
        "rankme_cov" => centered()?.rankme_covariance(real("eps")),
        "alpha_req" => {
            let range = index("lo0")..index("hi0");
            let fit = match params["weights"].as_str().expect("weights") {
                "1/rank" => centered()?.alpha_req(range),
                "none" => centered()?.alpha_least_squares(range),
                other => panic!("{other}"),
            };
            fit.map(|fit| fit.alpha)
        }
        // The reference counts ranks from 1 and includes the last.
        "alpha_robust" => centered()?.alpha_robust(index("start") - 1..index("end")),
        "participation_ratio" => Ok(centered()?.participation_ratio()),
        "stable_rank" => Ok(chosen()?.stable_rank()),
        "nuclear_rank" => Ok(chosen()?.nuclear_rank()),
        "nesum" => Ok(centered()?.nesum()),
        "vne_cov" => Ok(centered()?.von_neumann_entropy()),
        "vne_cosine" => cosine_von_neumann_entropy(features.view()),
        "diff_erank" => diff_erank(features.view()),
        "renyi" => kernel()?.renyi_entropy(real("order")),
        "renyi_joint" => kernel()?.joint(&other()?)?.renyi_entropy(real("order")),
        "renyi_mi" => kernel()?.mutual_information(&other()?, real("order")),
        "vendi" => vendi_score(features.view(), real("q")),
        "uniformity" => uniformity(features.view(), real("t")),
        "self_cluster" => self_cluster(features.view()),
        other => panic!("{other}"),
    }
}

fn of_views(case: &Value, features: &Array3<f64>) -> Result<f64> {
    assert_eq!(case["estimator"], "lidar");
    let params = &case["params"];
    let flag = |name: &str| params[name].as_bool().expect("a flag");
    let options = Lidar::builder()
        .delta(number(&params["delta"]))
        .epsilon(number(&params["eps"]))
        .unbiased(flag("unbiased"))
        .renormalized(flag("renorm"));
    lidar(features.view(), options.build()?)
}

fn cases() -> Vec<Value> {
    let text = include_str!("../golden/entropy/golden.json");
    let all: Value = serde_json::from_str(text).expect("JSON");
    let mut cases = all["cases"].as_array().expect("cases").clone();
    assert_eq!(cases.len(), 458);
    cases.retain(|case| ESTIMATORS.iter().any(|(name, _)| case["estimator"] == *name));
    cases
}

fn off(case: &Value, value: f64) -> Option<String> {
    let truth = number(&case["value"]);
    let tolerance = number(&case["rtol"]) * truth.abs() + number(&case["atol"]);
    let near = (value - truth).abs() <= tolerance;
    (!near).then(|| format!("{}: {value}, expected {truth} ± {tolerance:e}", case["id"]))
}

#[test]
fn all_cases() {
    let mut counts = BTreeMap::new();
    let mut failures = Vec::new();
    for case in cases() {
        *counts.entry(case["estimator"].as_str().expect("a name").to_owned()).or_insert(0) += 1;
        let value = match read(case["data"].as_str().expect("a file")) {
            Data::Wide(features) => estimate(&case, &features),
            Data::Narrow(features) => estimate(&case, &features),
            Data::Views(features) => of_views(&case, &features),
        };
        match value {
            Ok(value) => failures.extend(off(&case, value)),
            Err(error) => failures.push(format!("{}: {error}", case["id"])),
        }
    }
    assert!(failures.is_empty(), "{} cases are off:\n{}", failures.len(), failures.join("\n"));
    for (name, count) in ESTIMATORS {
        assert_eq!(counts.get(name), Some(&count), "cases of {name}");
    }
}

/// What is watched in training comes from a covariance: the same values, but where the numerical rank
/// of the case is reached only by singular values that squares have lost.
#[test]
fn covariance_cases_from_batches() {
    let mut seen = 0;
    for case in cases() {
        let estimator = case["estimator"].as_str().expect("a name");
        let Data::Wide(features) = read(case["data"].as_str().expect("a file")) else { continue };
        let spectrum = || {
            let mut covariance = Covariance::new(features.ncols())?;
            for batch in features.axis_chunks_iter(ndarray::Axis(0), 37) {
                covariance.push(batch)?;
            }
            covariance.spectrum()
        };
        let params = &case["params"];
        let value = match estimator {
            "rankme_cov" => spectrum().and_then(|s| s.rankme_covariance(number(&params["eps"]))),
            "participation_ratio" => spectrum().map(|s| s.participation_ratio()),
            "nesum" => spectrum().map(|s| s.nesum()),
            "vne_cov" => spectrum().map(|s| s.von_neumann_entropy()),
            "alpha_req" if params["weights"] == "1/rank" => {
                let index = |name: &str| params[name].as_u64().expect("an index") as usize;
                spectrum().and_then(|s| s.alpha_req(index("lo0")..index("hi0")).map(|f| f.alpha))
            }
            _ => continue,
        };
        seen += 1;
        let failure = off(&case, value.expect("a value"));
        assert!(failure.is_none(), "{}", failure.unwrap_or_default());
    }
    assert!(seen > 80, "{seen} cases");
}
