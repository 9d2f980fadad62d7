//! Diffusion entropies against the golden values: the published code's, and analytic ones.

use ndarray::{Array2, ArrayView2};
use serde_json::Value;
use std::collections::BTreeMap;
use surprisal::diffusion::{
    Epsilon, Method, MutualInformation, MutualInformationBuilder, Operator, SpectralEntropy,
    equal_width_bins, sample_rows,
};
use testing::golden::entropy_file;

/// How many cases there are of each estimator that is the diffusion module's.
const COUNTS: [(&str, usize); 7] = [
    ("dse", 108),
    ("dse_entry", 8),
    ("ase", 8),
    ("dse_knn", 9),
    ("dsmi", 17),
    ("dsmi_entry", 4),
    ("asmi", 4),
];

/// The shape and the numbers of a file of any of the types that there are.
fn numbers(name: &str) -> (Vec<usize>, Vec<f64>) {
    let bytes = std::fs::read(entropy_file(name)).unwrap();
    let file = npyz::NpyFile::new(&bytes[..]).unwrap();
    let shape: Vec<usize> = file.shape().iter().map(|&n| n as usize).collect();
    let numbers = match file.dtype().descr().as_str() {
        "'<f8'" => file.into_vec::<f64>().unwrap(),
        "'<f4'" => file.into_vec::<f32>().unwrap().into_iter().map(f64::from).collect(),
        "'<i8'" => file.into_vec::<i64>().unwrap().into_iter().map(|x| x as f64).collect(),
        "'<i4'" => file.into_vec::<i32>().unwrap().into_iter().map(f64::from).collect(),
        other => panic!("{name} holds {other}"),
    };
    (shape, numbers)
}

fn matrix(name: &str) -> Array2<f64> {
    let (shape, numbers) = numbers(name);
    Array2::from_shape_vec((shape[0], shape[1]), numbers).unwrap()
}

fn integers(name: &str) -> Vec<i64> {
    numbers(name).1.into_iter().map(|x| x as i64).collect()
}

fn rows(name: &str) -> Array2<usize> {
    let (shape, numbers) = numbers(name);
    let numbers = numbers.into_iter().map(|x| x as usize).collect();
    Array2::from_shape_vec((shape[0], shape[1]), numbers).unwrap()
}

struct Case {
    id: String,
    estimator: String,
    data: String,
    parameters: Value,
    value: f64,
    tolerance: f64,
}

impl Case {
    fn number(&self, name: &str) -> Option<f64> {
        self.parameters.get(name).and_then(Value::as_f64)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).and_then(Value::as_str)
    }

    fn builder(&self) -> surprisal::diffusion::SpectralEntropyBuilder {
        let mut builder = SpectralEntropy::builder().method(Method::Exact);
        builder = match self.estimator.as_str() {
            "dse_entry" | "dsmi_entry" => builder.operator(Operator::MatrixEntries),
            "ase" | "asmi" => builder.operator(Operator::Adjacency),
            "dse_knn" => {
                let neighbors = self.number("k").unwrap() as usize;
                builder.operator(Operator::AdaptiveNeighbors { neighbors })
            }
            _ => builder,
        };
        if let Some(sigma) = self.number("sigma") {
            builder = builder.sigma(sigma);
        }
        builder.time(self.number("t").unwrap_or(1.0)).alpha(self.number("alpha").unwrap_or(0.0))
    }

    fn compute(&self) -> f64 {
        if self.data.ends_with("_f32.npy") {
            let features = matrix(&self.data).mapv(|x| x as f32);
            return self.of(features.view());
        }
        self.of(matrix(&self.data).view())
    }

    fn of<T: surprisal::Real>(&self, features: ArrayView2<'_, T>) -> f64 {
        if !self.estimator.contains("mi") {
            let mut builder = self.builder();
            if let Some(max_rows) = self.number("max_n") {
                let seed = self.number("seed").unwrap() as u64;
                let expected = integers(self.text("idx").unwrap());
                let sample = sample_rows(seed, features.nrows(), max_rows as usize);
                assert!(sample.iter().map(|&i| i as i64).eq(expected), "{}: the sample", self.id);
                builder = builder.max_rows(max_rows as usize).seed(seed);
            }
            return builder.build().unwrap().estimate(features).unwrap().value;
        }
        let labels = integers(self.text("labels").unwrap());
        if self.id.starts_with("dsmi_scalar") {
            let scalar = numbers(self.text("reference").unwrap()).1;
            let bins = self.number("n_clusters").unwrap() as usize;
            let binned = equal_width_bins(ndarray::aview1(&scalar), bins).unwrap();
            // The published code counts bins from 1.
            let binned: Vec<i64> = binned.iter().map(|bin| bin + 1).collect();
            assert_eq!(binned, labels, "{}: the bins", self.id);
        }
        let samples = rows(self.text("idx").unwrap());
        let information = MutualInformation::builder()
            .entropy(self.builder().build().unwrap())
            .seed(self.number("seed").unwrap() as u64)
            .repetitions(samples.nrows());
        let of = |builder: MutualInformationBuilder| {
            builder.build().unwrap().of_labels(features, &labels).unwrap()
        };
        let (own, given) = (of(information.clone()), of(information.samples(samples)));
        // The sampler draws what the files hold: the same sets in the same order.
        assert!((own.value - given.value).abs() < 1e-12, "{}: the sampler", self.id);
        given.value
    }
}

fn cases() -> Vec<Case> {
    let text = std::fs::read_to_string(entropy_file("golden.json")).unwrap();
    let all: Value = serde_json::from_str(&text).unwrap();
    let of = |case: &Value, name: &str| case[name].as_str().unwrap().to_owned();
    let number = |case: &Value, name: &str| case[name].as_f64().unwrap();
    let cases = all["cases"].as_array().unwrap().iter();
    let ours = cases.filter(|c| COUNTS.iter().any(|(name, _)| c["estimator"] == *name));
    ours.map(|case| Case {
        id: of(case, "id"),
        estimator: of(case, "estimator"),
        data: of(case, "data"),
        parameters: case["params"].clone(),
        value: number(case, "value"),
        tolerance: number(case, "atol") + number(case, "rtol") * number(case, "value").abs(),
    })
    .collect()
}

#[test]
fn every_golden_case() {
    let mut counts = BTreeMap::new();
    let mut wrong = Vec::new();
    for case in cases() {
        *counts.entry(case.estimator.clone()).or_insert(0) += 1;
        let found = case.compute();
        let error = (found - case.value).abs();
        if error.is_nan() || error > case.tolerance {
            wrong.push(format!(
                "{}: {found}, expected {} ± {}",
                case.id, case.value, case.tolerance
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let expected = COUNTS.iter().map(|&(name, count)| (name.to_owned(), count)).collect();
    assert_eq!(counts, expected);
}

#[test]
fn the_golden_eigenvalues() {
    let entropy = SpectralEntropy::builder().sigma(2.0).build().unwrap();
    let found = entropy.eigenvalues(matrix("small.npy").view()).unwrap();
    let expected = numbers("small_eigs_s2.npy").1;
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-14, "{found}, expected {expected}");
    }
}

/// Every bound of the low-rank path covers the golden value, and reaches its tolerance.
#[test]
fn the_low_rank_bound_covers_the_golden_values() {
    for case in cases().iter().filter(|case| case.estimator == "dse") {
        for tolerance in [1e-1, 1e-6] {
            let entropy = case.builder().method(Method::LowRank).tolerance(tolerance);
            let entropy = if let Some(max_rows) = case.number("max_n") {
                entropy.max_rows(max_rows as usize).seed(case.number("seed").unwrap() as u64)
            } else {
                entropy
            };
            let features = matrix(&case.data);
            let entropy = entropy.epsilon(Epsilon::Reference).build().unwrap();
            let estimate = entropy.estimate(features.view()).unwrap();
            let bound = estimate.error_bound.unwrap();
            let error = (estimate.value - case.value).abs();
            assert!(error <= bound + case.tolerance, "{}: {error} above {bound}", case.id);
            assert!(bound <= tolerance, "{}: {bound} above {tolerance}", case.id);
        }
    }
}
