//! The float64 golden files, the cases of the loss, and what f32 may make of them.

use ndarray::{Array1, Array2};
use serde_json::Value;
use surprisal::Reduction;

use std::path::{Path, PathBuf};

use crate::{Answer, Case, Wanted};

/// Where a golden file of the entropies is.
pub fn entropy_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/entropy").join(name)
}

pub fn numbers(value: &Value) -> Array1<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

pub fn matrix(value: &Value) -> Array2<f64> {
    let rows = value.as_array().unwrap();
    let columns = rows[0].as_array().unwrap().len();
    let flat = rows.iter().flat_map(|row| numbers(row).to_vec()).collect();
    Array2::from_shape_vec((rows.len(), columns), flat).unwrap()
}

pub fn cases() -> Vec<(Case, Value)> {
    let text = include_str!("../../tests/golden/linear_cross_entropy.json");
    let all: Value = serde_json::from_str(text).unwrap();
    let cases: Vec<_> = all.as_array().unwrap().iter().map(case).collect();
    assert_eq!(cases.len(), 130);
    cases
}

fn case(json: &Value) -> (Case, Value) {
    let options = &json["opts"];
    let targets = match json.get("soft") {
        Some(soft) => Wanted::Soft(matrix(soft)),
        None => Wanted::Hard(
            json["y"].as_array().unwrap().iter().map(|y| y.as_i64().unwrap()).collect(),
        ),
    };
    let mut case = Case::new(matrix(&json["E"]), matrix(&json["C"]), targets);
    case.bias = options.get("b").map(numbers);
    case.class_weights = options.get("w").map(numbers);
    case.token_weights = options.get("tw").map(numbers);
    case.scale = options.get("scale").map_or(1.0, |x| x.as_f64().unwrap());
    case.softcap = options.get("softcap").map(|x| x.as_f64().unwrap());
    case.label_smoothing = options.get("eps").map_or(0.0, |x| x.as_f64().unwrap());
    case.z_loss = options.get("zl").map_or(0.0, |x| x.as_f64().unwrap());
    case.reduction = match options.get("red").map(|x| x.as_str().unwrap()) {
        Some("none") => Reduction::None,
        Some("sum") => Reduction::Sum,
        _ => Reduction::Mean,
    };
    if let Some(up) = options.get("up") {
        case.d_loss = numbers(up);
    }
    (case, json["expect"].clone())
}

/// The largest error that f32 arithmetic can make of these inputs, with u = 2⁻²⁴:
///
/// a logit of D products is off by δ = (D + 4) u Σ|e||c|, times the scale; −ln p by 2δ and the
/// few u of exp, ln and the sum; p by the same, relatively. G is p times the coefficients of the
/// row, and a gradient sums N or V of them. Products of bf16 round G to bf16: 2⁻⁸ of each term.
pub struct ErrorModel {
    pub loss: f64,
    pub gradient: f64,
}

impl ErrorModel {
    pub fn of(case: &Case, truth: &Answer, rounds: bool) -> Self {
        let u = 2.0_f64.powi(-24);
        let magnitude = case.hidden.mapv(f64::abs).dot(&case.classifier.mapv(f64::abs).t());
        let bias = case.bias.as_ref().map_or(0.0, |b| b.iter().fold(0.0, |m, b| b.abs().max(m)));
        let largest = |m: &Array2<f64>| m.iter().fold(0.0_f64, |m, x| x.abs().max(m));
        let (rows, width) = case.hidden.dim();
        let classes = case.classifier.dim().0;
        let delta = (width as f64 + 4.0) * u * (largest(&magnitude) + bias) * case.scale.abs();
        let relative = 2.0 * delta + 16.0 * u;
        let lse = truth.log_sum_exp.iter().fold(0.0_f64, |m, x| x.abs().max(m));
        let weight = |w: &Option<Array1<f64>>| {
            w.as_ref().map_or(1.0, |w| w.iter().fold(0.0_f64, |m, x| x.abs().max(m)))
        };
        let tau = weight(&case.token_weights) * case.d_loss.iter().fold(0.0, |m, x| x.abs().max(m));
        let coefficient = tau
            * (2.0 * weight(&case.class_weights) + 2.0 * case.z_loss * lse)
            * (1.0 + case.label_smoothing);
        let loss = rows as f64 * coefficient * (relative * (1.0 + lse) + 4.0 * u * (1.0 + lse));
        let factor = largest(&case.classifier).max(largest(&case.hidden)).max(1.0);
        let terms = rows.max(classes) as f64;
        let gradient = coefficient * case.scale.abs() * factor * (relative + u * terms) * 2.0;
        let g = truth.d_products.mapv(f64::abs);
        let terms =
            [g.dot(&case.classifier.mapv(f64::abs)), g.t().dot(&case.hidden.mapv(f64::abs))];
        let rounding = terms.iter().map(&largest).fold(0.0, f64::max) * 2.0_f64.powi(-8);
        let gradient = gradient * rows as f64 + if rounds { rounding } else { 0.0 };
        Self { loss, gradient }
    }
}
