//! The float64 golden cases, in every type, by both strategies, on every instruction set.

use half::{bf16, f16};
use ndarray::{Array1, Array2};
use serde_json::Value;
use surprisal::{Backward, Element, Gradients, Isa, Real, Reduction, Upstream};
use testing::golden::{ErrorModel, cases, matrix, numbers};
use testing::{Case, Wanted, assert_close, cast, inputs};

struct Result<R> {
    losses: Array1<f64>,
    loss: f64,
    log_sum_exp: Array1<f64>,
    argmax: Array1<i64>,
    d_hidden: Array2<R>,
    d_classifier: Array2<R>,
    d_bias: Array1<R>,
}

/// Runs a case with inputs of type `T`; gradients in the type that it is computed in.
fn run<T, R>(case: &Case, backward: Backward, isa: Isa) -> Result<R>
where
    R: Real,
    T: Element<Real = R>,
{
    let (hidden, classifier) = (cast::<T>(&case.hidden), cast::<T>(&case.classifier));
    let inputs = inputs(case, &hidden, &classifier);
    let up = case.d_loss.mapv(R::from_f64);
    let upstream = match case.reduction {
        Reduction::None => Upstream::rows(up.view()),
        _ => Upstream::default(),
    };
    let mut result = Result {
        losses: Array1::zeros(0),
        loss: 0.0,
        log_sum_exp: Array1::zeros(0),
        argmax: Array1::zeros(0),
        d_hidden: Array2::from_elem(hidden.dim(), R::from_f64(f64::NAN)),
        d_classifier: Array2::from_elem(classifier.dim(), R::from_f64(f64::NAN)),
        d_bias: Array1::from_elem(classifier.dim().0, R::from_f64(f64::NAN)),
    };
    let loss = case.builder().backward(backward).isa(isa).build().unwrap();
    let gradients = Gradients::new()
        .hidden(result.d_hidden.view_mut())
        .classifier(result.d_classifier.view_mut())
        .bias(result.d_bias.view_mut());
    let forward = loss.loss_and_gradients(&inputs, &upstream, gradients).unwrap();
    result.losses = forward.losses();
    result.loss = forward.loss();
    result.log_sum_exp = forward.log_sum_exp();
    result.argmax = forward.argmax();
    result
}

fn f64s<R: Real>(array: &Array1<R>) -> impl Iterator<Item = f64> + '_ {
    array.iter().map(|x| x.to_f64())
}

fn everywhere(mut check: impl FnMut(&Case, &Value, Backward, Isa)) {
    for (case, expect) in &cases() {
        for backward in [Backward::Recompute, Backward::Strip] {
            for isa in Isa::available() {
                check(case, expect, backward, isa);
            }
        }
    }
}

#[test]
fn golden_in_f64() {
    let (relative, absolute) = (1e-11, 1e-13);
    everywhere(|case, expect, backward, isa| {
        let result = run::<f64, f64>(case, backward, isa);
        match &expect["loss"] {
            Value::Array(_) => {
                let losses = numbers(&expect["loss"]);
                assert_close("loss", f64s(&result.losses), &losses, relative, absolute);
            }
            loss => {
                assert_close("loss", [result.loss], &[loss.as_f64().unwrap()], relative, absolute)
            }
        }
        let kept = |i: &usize| match &case.targets {
            Wanted::Hard(y) => y[*i] != -100,
            Wanted::Soft(_) => true,
        };
        let lse = numbers(&expect["lse"]);
        for i in (0..lse.len()).filter(kept) {
            assert_close("lse", [result.log_sum_exp[i]], &[lse[i]], relative, absolute);
            assert_eq!(result.argmax[i], expect["argmax"][i].as_i64().unwrap());
        }
        let flat = |m: &Array2<f64>| m.iter().copied().collect::<Vec<_>>();
        let (d_hidden, d_classifier) = (matrix(&expect["dE"]), matrix(&expect["dC"]));
        assert_close("dE", flat(&result.d_hidden), &d_hidden, relative, absolute);
        assert_close("dC", flat(&result.d_classifier), &d_classifier, relative, absolute);
        if !expect["db"].is_null() {
            let d_bias = numbers(&expect["db"]);
            assert_close("db", f64s(&result.d_bias), &d_bias, relative, absolute);
        }
    });
}

fn golden_in<T>()
where
    T: Element<Real = f32>,
{
    everywhere(|case, _, backward, isa| {
        // The truth of the rounded inputs: rounding them is not this crate's error.
        let round = |m: &Array2<f64>| m.mapv(|x| T::from_f64(x).to_f64());
        let rounded = Case {
            hidden: round(&case.hidden),
            classifier: round(&case.classifier),
            ..case.clone()
        };
        let truth = rounded.run();
        let model =
            ErrorModel::of(&rounded, &truth, T::NAME == "bf16" && testing::multiplies_bf16(isa));
        let result = run::<T, f32>(&rounded, backward, isa);
        let wide = |m: &Array2<f32>| m.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
        assert_close("losses", f64s(&result.losses), &truth.losses, 1e-7, model.loss);
        assert_close("loss", [result.loss], &[truth.loss], 1e-7, model.loss);
        assert_close("lse", f64s(&result.log_sum_exp), &truth.log_sum_exp, 1e-7, model.loss);
        assert_close("dE", wide(&result.d_hidden), &truth.d_hidden, 1e-6, model.gradient);
        assert_close("dC", wide(&result.d_classifier), &truth.d_classifier, 1e-6, model.gradient);
        assert_close("db", f64s(&result.d_bias), &truth.d_bias, 1e-6, model.gradient);
    });
}

#[test]
fn golden_in_f32() {
    golden_in::<f32>();
}

#[test]
fn golden_in_bf16() {
    golden_in::<bf16>();
}

#[test]
fn golden_in_f16() {
    golden_in::<f16>();
}

#[test]
fn the_oracle_of_the_tests_agrees_with_the_golden_file() {
    for (case, expect) in &cases() {
        let truth = case.run();
        if let Some(loss) = expect["loss"].as_f64() {
            assert_close("loss", [truth.loss], &[loss], 1e-12, 1e-13);
        }
        let flat = |m: &Array2<f64>| m.iter().copied().collect::<Vec<_>>();
        assert_close("dE", flat(&truth.d_hidden), &matrix(&expect["dE"]), 1e-11, 1e-13);
        assert_close("dC", flat(&truth.d_classifier), &matrix(&expect["dC"]), 1e-11, 1e-13);
    }
}
