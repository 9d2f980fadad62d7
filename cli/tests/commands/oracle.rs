//! `surprisal oracle`: the cases of `conformance/`, and lines that are no requests.

use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// What must be there, whatever else is.
const FUNCTIONS: &[&str] = &[
    "agce",
    "aldr_kl",
    "aldr_lambda",
    "attention_entropy",
    "attention_entropy_penalty",
    "aul",
    "binary_cross_entropy",
    "bnpo",
    "bottleneck_coupling",
    "c51",
    "c51_targets",
    "cem_categorical",
    "cem_gaussian",
    "cispo",
    "clamp_column_alpha",
    "clip_cov",
    "comp_sum",
    "correctness_calibration",
    "cpo",
    "cross_entropy",
    "cross_entropy_entropy_bonus",
    "crossquant",
    "crrelu",
    "dapo",
    "dco",
    "dco_factor",
    "decode_value",
    "demd",
    "dice",
    "discretized_gaussian",
    "discretized_logistic",
    "distillation_divergence",
    "dpo",
    "dr_grpo",
    "emo",
    "entropy",
    "entropy_adaptive_decoding",
    "entropy_bounded_map",
    "entropy_reward_fit",
    "epps_pulley",
    "f_divergence",
    "focal",
    "generalized_cross_entropy",
    "grpo",
    "gspo",
    "hl_gauss",
    "hl_gauss_targets",
    "huber",
    "implicit_prm",
    "implicit_prm_loss",
    "in_batch_concept_loss",
    "info_nce",
    "info_nce_bound",
    "jensen_shannon",
    "joint_mutual_information",
    "kl_cov",
    "kl_divergence",
    "kl_estimate",
    "knowledge_distillation",
    "kto",
    "label_smoothing",
    "ldr_kl",
    "linear_distillation_divergence",
    "linear_selected_log_probabilities",
    "linear_top_k_distillation",
    "linear_truncated_log_probability",
    "list_mle",
    "logit_adjusted",
    "lr_annealing_fit",
    "lr_annealing_law",
    "lr_annealing_sums",
    "mae",
    "mean_squared_error",
    "minimum_entropy_coupling",
    "mirostat_v1",
    "mirostat_v2",
    "mixce",
    "multi_aspect_distillation",
    "multi_marginal_coupling",
    "mutual_information_from_losses",
    "mw",
    "nmt_optimal_split",
    "nmt_scaling_fit",
    "nmt_scaling_law",
    "normalized_cross_entropy",
    "orpo",
    "partial_list_mle",
    "plackett_luce_distillation",
    "pmf_to_quantized_cdf",
    "policy_entropy_change",
    "poly1",
    "power_law",
    "power_law_fit",
    "ppo",
    "renyi_entropy",
    "repri",
    "reversible_columns",
    "reversible_columns_inverse",
    "row_statistics",
    "sapo",
    "selected_log_probabilities",
    "sigreg",
    "simpo",
    "skew_kl",
    "smooth_adversarial_comp_sum",
    "steer",
    "steer_weights",
    "supervised_contrastive",
    "symmetric_cross_entropy",
    "symmetric_cross_entropy_hard",
    "tailr",
    "token_covariance",
    "token_z_score",
    "top_k_distillation",
    "top_k_mass",
    "total_variation",
    "tri_bce",
    "truncated_log_probability",
    "tversky",
    "two_hot",
    "two_hot_targets",
    "z_loss",
];

/// Arguments that functions do not have yet, or some words of them; their cases are left out.
const LEFT_OUT: &[(&str, &str, &[&str])] = &[];

fn start() -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_surprisal"));
    command.env_remove("SURPRISAL_ISA").arg("oracle");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// The responses of one process, which ends well.
fn ask(lines: Vec<u8>) -> Vec<Value> {
    let mut child = start();
    let mut stdin = child.stdin.take().unwrap();
    // Beside the reading: neither pipe holds everything.
    let writer = std::thread::spawn(move || stdin.write_all(&lines).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.is_empty(), "{stderr}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn answer(request: &str) -> Value {
    let mut responses = ask(format!("{request}\n").into_bytes());
    assert_eq!(responses.len(), 1, "{request}");
    responses.remove(0)
}

/// That a line is refused, in one line that holds all of `parts`.
#[track_caller]
fn refused(line: impl AsRef<[u8]>, parts: &[&str]) {
    // A request after it, to see that the process goes on.
    let next = br#"{"function":"entropy","logits":[[0,0]]}"#;
    let responses = ask([line.as_ref(), b"\n", next, b"\n"].concat());
    assert_eq!(responses.len(), 2, "{responses:?}");
    let message = message(&responses[0]).unwrap();
    for part in parts {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
    assert_eq!(responses[1], json!({ "value": [std::f64::consts::LN_2] }));
}

/// The error of a response that is nothing else: one line, and not a long one.
fn message(response: &Value) -> Result<&str, String> {
    let object = response.as_object().ok_or("no object")?;
    match object.get("error").and_then(Value::as_str) {
        Some(error) if object.len() == 1 && !error.is_empty() => {
            let short = error.lines().count() == 1 && error.len() < 1000;
            if short { Ok(error) } else { Err(format!("not one short line: {error:.1000}")) }
        }
        _ => Err(format!("no error: {response:.300}")),
    }
}

struct Case {
    id: String,
    function: String,
    request: Map<String, Value>,
    /// The response with its tolerances; none where an error is wanted.
    wanted: Option<(Value, f64, f64)>,
}

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance");
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        let file = path.file_stem().unwrap().to_str().unwrap();
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            let case: Value = serde_json::from_str(line).unwrap();
            let request = case["request"].as_object().unwrap().clone();
            let wanted = match case.get("error") {
                Some(_) => None,
                None => {
                    let tolerance = |name: &str| case[name].as_f64().unwrap();
                    Some((case["response"].clone(), tolerance("rtol"), tolerance("atol")))
                }
            };
            cases.push(Case {
                id: format!("{file}/{}", case["id"].as_str().unwrap()),
                function: request["function"].as_str().unwrap().into(),
                request,
                wanted,
            });
        }
    }
    cases
}

/// Whether `found` has all that is wanted, where numbers may differ a little.
fn agrees(found: &Value, wanted: &Value, (rtol, atol): (f64, f64)) -> Result<(), String> {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            for (key, wanted) in wanted {
                let found = found.get(key).ok_or_else(|| format!("no {key}"))?;
                agrees(found, wanted, (rtol, atol)).map_err(|error| format!("{key}: {error}"))?;
            }
            Ok(())
        }
        (Value::Array(found), Value::Array(wanted)) if found.len() == wanted.len() => {
            for (i, (found, wanted)) in found.iter().zip(wanted).enumerate() {
                agrees(found, wanted, (rtol, atol)).map_err(|error| format!("[{i}]: {error}"))?;
            }
            Ok(())
        }
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            let near = (a - b).abs() <= atol + rtol * b.abs();
            if near { Ok(()) } else { Err(format!("{a:e}, wanted {b:e}")) }
        }
        // Words, booleans, null and what is no number.
        _ if found == wanted => Ok(()),
        _ => Err(format!("{found:.100}, wanted {wanted:.100}")),
    }
}

#[test]
fn every_function_that_is_listed_gives_the_values_of_its_cases() {
    let list = answer(r#"{"function":"list"}"#);
    let listed = list["value"].as_object().unwrap();
    let offered: BTreeSet<&str> = listed.keys().map(String::as_str).collect();
    let absent: Vec<_> = FUNCTIONS.iter().filter(|name| !offered.contains(*name)).collect();
    assert!(absent.is_empty(), "not offered: {absent:?}");
    for (function, argument, words) in LEFT_OUT {
        let entry = &listed[*function]["arguments"][*argument];
        let offered = match entry["range"].as_array() {
            Some(range) => words.iter().any(|word| range.contains(&json!(word))),
            None => !entry.is_null(),
        };
        assert!(!offered, "{function} has {argument}: its cases are left out no longer");
    }

    let left_out = |case: &Case| {
        LEFT_OUT.iter().any(|(function, argument, words)| {
            let value = case.request.get(*argument).filter(|_| *function == case.function);
            value.is_some_and(|value| words.is_empty() || words.iter().any(|word| value == word))
        })
    };
    let cases: Vec<_> =
        cases().into_iter().filter(|case| offered.contains(case.function.as_str())).collect();
    let (skipped, asked): (Vec<_>, Vec<_>) = cases.into_iter().partition(left_out);
    let mut lines = Vec::new();
    for case in &asked {
        serde_json::to_writer(&mut lines, &case.request).unwrap();
        lines.push(b'\n');
    }
    let responses = ask(lines);
    assert_eq!(responses.len(), asked.len());

    let mut wrong = Vec::new();
    let mut counts: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    for (case, response) in asked.iter().zip(&responses) {
        let verdict = match &case.wanted {
            None => message(response).map(drop),
            Some((wanted, rtol, atol)) => {
                agrees(response, wanted, (*rtol, *atol)).map_err(|error| {
                    match response.get("error") {
                        Some(error) => format!("refused: {error}"),
                        None => error,
                    }
                })
            }
        };
        counts.entry(&case.function).or_default()[usize::from(verdict.is_err())] += 1;
        if let Err(error) = verdict {
            wrong.push(format!("{}: {error}", case.id));
        }
    }
    for (function, [right, wrong]) in &counts {
        let skipped = skipped.iter().filter(|case| case.function == *function).count();
        println!("{function}: {right} right, {wrong} wrong, {skipped} left out");
    }
    let unasked: Vec<_> = offered.iter().filter(|name| !counts.contains_key(*name)).collect();
    assert!(unasked.is_empty(), "without a case: {unasked:?}");
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_line_that_is_no_request_is_refused_and_the_next_is_answered() {
    refused(
        "{\"function\":\"entropy\",",
        &["cannot read the line", "line 1 column 22", "one JSON object"],
    );
    refused("entropy", &["line 1 column 1", "expected one JSON object"]);
    refused("[1,2]", &["an array of 2", "expected one JSON object"]);
    refused("null", &["null", "expected one JSON object"]);
    refused("{} {}", &["trailing", "expected one JSON object"]);
    refused("{}", &["function is missing"]);
    refused(r#"{"function":3}"#, &["function is 3", "a name"]);
    refused(r#"{"function":"entropy","logits":[[NaN]]}"#, &["expected one JSON object"]);
    refused(r#"{"function":"entropy","logits":[[1e999]]}"#, &["out of range"]);
    refused(b"{\"function\":\"entropy\xff\"}", &["expected one JSON object"]);
    refused(b"\xff\xfe\x00", &["expected one JSON object"]);
    refused("\u{feff}{}", &["expected one JSON object"]);
    for bracket in ["[", "{\"a\":"] {
        refused(bracket.repeat(10_000), &["recursion limit"]);
        let inside = format!("{{\"function\":\"entropy\",\"logits\":{}", bracket.repeat(10_000));
        refused(inside, &["recursion limit"]);
    }
}

#[test]
fn a_name_that_is_not_known_is_answered_with_the_nearest() {
    refused(r#"{"function":"crossentropy"}"#, &["crossentropy", "\"cross_entropy\""]);
    refused(r#"{"function":"lst"}"#, &["\"list\""]);
    refused(
        r#"{"function":"label_smoothing","logits":[[1,2]],"targets":[0],"epsilom":0.2}"#,
        &["label_smoothing", "epsilom", "logits, targets, epsilon, gradient", "\"epsilon\""],
    );
    refused(r#"{"function":"list","of":1}"#, &["list has no argument \"of\""]);
    let long = format!("{{\"function\":\"{}\"}}", "é".repeat(100_000));
    refused(long, &["expected one that \"list\" lists"]);
    refused("{\"function\":\"\\u001b[31m\\n\"}", &[r"\u{1b}[31m\n"]);
}

#[test]
fn a_key_that_stands_twice_is_refused() {
    let twice = &["\"logits\" stands twice", "column"];
    refused(r#"{"function":"entropy","logits":[[1]],"logits":[[1]]}"#, twice);
    refused(r#"{"function":"entropy","logits":[[1]],"l\u006fgits":[[1]]}"#, twice);
    refused(r#"{"function":"entropy","logits":[[{"a":1,"a":1}]]}"#, &["\"a\" stands twice"]);
}

#[test]
fn an_argument_that_is_not_what_it_should_be_is_named() {
    for (arguments, parts) in [
        (r#""logits":[[1,2],[3]]"#, &["logits[1] has 1", "expected 2"][..]),
        (r#""logits":[[1,2],3]"#, &["logits[1] is 3", "an array"]),
        (r#""logits":[[[1,2]]]"#, &["logits[0][0] is an array of 2", "a number"]),
        (r#""logits":[[1,"two"]]"#, &["logits[0][1] is \"two\"", "\"-inf\""]),
        (r#""logits":[[1,null]]"#, &["logits[0][1] is null"]),
        (r#""logits":[[1,"inf"]]"#, &["logits[0][1] is \"inf\""]),
        (r#""logits":[["-inf","-inf"]]"#, &["logits[0]", "throughout"]),
        (r#""logits":[]"#, &["logits is empty"]),
        (r#""logits":[[],[]]"#, &["logits[0] is empty"]),
        (r#""logits":{"0":1}"#, &["logits is an object", "[N][K]"]),
        (r#""logits":7"#, &["logits is 7", "[N][K]"]),
        (r#""logits":[[1]],"gradient":1"#, &["gradient is 1", "true or false"]),
    ] {
        refused(format!("{{\"function\":\"entropy\",{arguments}}}"), parts);
    }
    let on = r#""function":"label_smoothing","logits":[[1,2],[3,4]]"#;
    for (arguments, parts) in [
        (r#""epsilon":0.1"#, &["targets is missing"][..]),
        (r#""targets":[0]"#, &["targets has 1", "expected 2"]),
        (r#""targets":[0,2]"#, &["targets[1] is 2", "from 0 to 1"]),
        (r#""targets":[0,-1]"#, &["targets[1] is -1"]),
        (r#""targets":[0.5,1]"#, &["targets[0] is 0.5", "whole"]),
        (r#""targets":[0,1e30]"#, &["targets[1] is 1e30"]),
        (r#""targets":["0",1]"#, &["targets[0] is \"0\""]),
        (r#""targets":[0,1],"epsilon":1.5"#, &["epsilon is 1.5", "from 0 up to 1"]),
        (r#""targets":[0,1],"epsilon":"nan""#, &["epsilon is \"nan\"", "finite"]),
        (r#""targets":[0,1],"epsilon":true"#, &["epsilon is true"]),
    ] {
        refused(format!("{{{on},{arguments}}}"), parts);
    }
    let on = r#""function":"logit_adjusted","logits":[[1,2]],"targets":[0]"#;
    refused(format!("{{{on},\"prior\":[1]}}"), &["prior has 1", "expected 2"]);
    refused(format!("{{{on},\"prior\":[1,0]}}"), &["prior[1] is 0"]);
    refused(format!("{{{on},\"prior\":[1,\"inf\"]}}"), &["prior[1] is inf"]);
}

#[test]
fn blank_lines_get_nothing_and_the_order_is_kept() {
    let lines = "\n  \t\r\n{\"function\":\"cross_entropy\",\"logits\":[[0,0]],\"targets\":[1.0]}\r\n\n\
                 nonsense\n{\"function\":\"entropy\",\"logits\":[[0.0]],\"gradient\":true}";
    let responses = ask(lines.into());
    assert_eq!(responses.len(), 3);
    assert_eq!(responses[0], json!({ "value": [std::f64::consts::LN_2] }));
    assert!(message(&responses[1]).is_ok());
    let numbers = |value: &Value| value[0].as_f64().unwrap();
    assert_eq!(numbers(&responses[2]["value"]), 0.0);
    assert_eq!(numbers(&responses[2]["gradient"]["logits"][0]), 0.0);
    assert!(ask(Vec::new()).is_empty());
}

#[test]
fn a_line_of_ten_megabytes_is_answered() {
    const CLASSES: usize = 2_500_000;
    let row = vec!["0.0"; CLASSES].join(",");
    let line = format!("{{\"function\":\"cross_entropy\",\"logits\":[[{row}]],\"targets\":[7]}}\n");
    assert!(line.len() >= 10_000_000 - 100);
    let response = answer(line.trim_end());
    let value = response["value"][0].as_f64().unwrap();
    assert!((value - (CLASSES as f64).ln()).abs() < 1e-12, "{value}");
}

#[test]
fn each_answer_comes_before_the_next_request() {
    let mut child = start();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut read = || {
        let (mut line, mut byte) = (Vec::new(), [0]);
        while stdout.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        serde_json::from_slice::<Value>(&line).unwrap()
    };
    for i in 0..3 {
        writeln!(stdin, "{{\"function\":\"entropy\",\"logits\":[[{i},{i}]]}}").unwrap();
        assert_eq!(read(), json!({ "value": [std::f64::consts::LN_2] }));
    }
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_reader_that_has_gone_ends_it_quietly() {
    let mut child = start();
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().unwrap();
    // It may be gone before all is written.
    let _ = stdin.write_all(&b"{\"function\":\"list\"}\n".repeat(100));
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn numbers_are_read_and_written_to_the_last_bit() {
    for number in [0.1 + 0.2, 1.0 / 3.0, 5e-324, 123_456_789.123_456_79] {
        let request = json!({
            "function": "entropy", "logits": [[number, "-inf"]], "gradient": true,
        });
        assert_eq!(answer(&request.to_string())["value"][0].as_f64(), Some(0.0));
        // One class: its loss with λ is λ z².
        let request = json!({
            "function": "z_loss", "logits": [[number]], "targets": [0], "lambda": 1,
        });
        let value = answer(&request.to_string())["value"][0].as_f64();
        assert_eq!(value, Some(number * number));
    }
}

#[test]
fn a_nan_is_its_rows_own_and_a_target_of_probability_zero_has_the_limit() {
    let inf = || json!("inf");
    // The loss where p of the target is 0.
    for (loss, limit) in [
        (r#""cross_entropy""#, inf()),
        (r#""label_smoothing","epsilon":0.5"#, inf()),
        (r#""z_loss""#, inf()),
        (r#""comp_sum","tau":0"#, inf()),
        (r#""comp_sum","tau":1"#, inf()),
        (r#""comp_sum","tau":3"#, json!(0.5)),
        (r#""generalized_cross_entropy","q":0.5"#, json!(2.0)),
        (r#""mae""#, json!(2.0)),
        (r#""mae","form":"half""#, json!(1.0)),
        (r#""focal""#, inf()),
        (r#""focal","gamma":0"#, inf()),
        (r#""poly1""#, inf()),
        (r#""poly1","epsilon":-1"#, inf()),
        (r#""agce","a":1,"q":2"#, json!(1.5)),
        (r#""aul","a":2,"q":2"#, json!(1.5)),
        (r#""aul","a":2,"q":5000"#, inf()),
        (r#""symmetric_cross_entropy_hard","alpha":0,"beta":1"#, json!(4.0)),
        (r#""symmetric_cross_entropy_hard","alpha":1,"beta":0"#, inf()),
        (r#""mixce","eta":0"#, json!(0.0)),
        (r#""mixce","eta":0.5"#, inf()),
        (r#""tailr","gamma":0,"floor":0"#, json!(0.0)),
        (r#""tailr","gamma":1"#, inf()),
        (r#""dco","n":1"#, inf()),
        (r#""dco","n":4"#, inf()),
    ] {
        let value = |targets: &str, logits: &str| {
            let request =
                format!("{{\"function\":{loss},\"targets\":{targets},\"logits\":{logits}}}");
            answer(&request)["value"].clone()
        };
        for targets in ["[0,1]", "[1,1]"] {
            let values = value(targets, r#"[["nan",1],[0,1]]"#);
            assert_eq!(values[0], "nan", "{loss}");
            assert_ne!(values[1], "nan", "{loss}");
        }
        let found = value("[0]", r#"[["-inf",1]]"#);
        assert!(agrees(&found[0], &limit, (1e-14, 0.0)).is_ok(), "{loss}: {found}, not {limit}");
    }
}

#[test]
fn what_is_said_of_a_row_has_its_limits() {
    let value = |request: &str| answer(&format!("{{{request}}}"))["value"].clone();
    let rows = r#""logits":[[1,1,"-inf"],["nan",1,2],[5,"-inf","-inf"]]"#;
    for alpha in ["0", "1e-320", "0.5", "1", "1.000000001", "2", "1e300", r#""inf""#] {
        let found = value(&format!(r#""function":"renyi_entropy",{rows},"alpha":{alpha}"#));
        let wanted = json!([std::f64::consts::LN_2, "nan", 0.0]);
        assert!(agrees(&found, &wanted, (1e-15, 0.0)).is_ok(), "{alpha}: {found}");
    }
    // Products that no order but the largest takes beyond all numbers.
    let found = value(
        r#""function":"renyi_entropy","hidden":[[1e9]],"classifier":[[1],[1]],"alpha":1e306"#,
    );
    assert!(agrees(&found, &json!([std::f64::consts::LN_2]), (1e-15, 0.0)).is_ok(), "{found}");

    let found = value(&format!(r#""function":"row_statistics",{rows},"targets":[2,1,1]"#));
    for (name, statistic) in found.as_object().unwrap() {
        assert_eq!(statistic[1], "nan", "{name}");
    }
    assert_eq!(found["surprisal"], json!(["inf", "nan", "inf"]));
    assert_eq!(found["margin"], json!([0.0, "nan", "inf"]));
    assert_eq!(found["rank"], json!([2, "nan", 1]));
    assert_eq!(found["z_score"], json!([0.0, "nan", 0.0]));
    let found = value(r#""function":"row_statistics","logits":[[1e308,-1e308,9e307]]"#);
    assert_eq!(found["collision_probability"], json!([1.0]));
    assert!(agrees(&found["margin"], &json!([1e307]), (1e-14, 0.0)).is_ok());
    assert!(found.get("rank").is_none());

    let hidden = r#""function":"row_statistics","classifier":[[1],[2]]"#;
    let largest = &["largest logit of row 0", "expected a finite one"];
    refused(format!(r#"{{{hidden},"hidden":[["inf"]]}}"#), largest);
    refused(format!(r#"{{{hidden},"hidden":[[1]],"bias":["-inf","-inf"]}}"#), largest);
    let logits = r#""function":"row_statistics","logits":[[1,2]]"#;
    refused(format!(r#"{{{logits},"hidden":[[1]]}}"#), &["hidden stands beside logits"]);
    refused(format!(r#"{{{logits},"gradient":true}}"#), &["row_statistics has no gradient"]);
    for (alpha, found) in [("-1", "-1.0"), (r#""nan""#, r#""nan""#), (r#""-inf""#, r#""-inf""#)] {
        let line = format!(r#"{{"function":"renyi_entropy","logits":[[1]],"alpha":{alpha}}}"#);
        refused(line, &[&format!("alpha is {found}"), "from 0 or \"inf\""]);
    }
}

#[test]
fn a_teacher_is_beside_each_row_and_a_part_without_weight_is_not_there() {
    let at = |teacher: &str, more: &str| {
        let on = r#""function":"kl_divergence","logits":[[1,2],[0,"-inf"]]"#;
        format!(r#"{{{on},"teacher_logits":{teacher}{more}}}"#)
    };
    let response = answer(&at(r#"[["nan",1],[0,1]]"#, r#","gradient":true"#));
    assert_eq!(response["value"], json!(["nan", "inf"]));
    assert_eq!(response["gradient"]["logits"], json!([["nan", "nan"], [0.0, 0.0]]));
    let response = answer(&at(r#"[[2,3],[7,"-inf"]]"#, r#","direction":"reverse""#));
    assert_eq!(response["value"], json!([0.0, 0.0]));
    refused(at("[[1,2]]", ""), &["teacher_logits has 1 rows and 2 columns", "2 and 2"]);
    refused(at("[[1,2],[3]]", ""), &["teacher_logits[1] has 1"]);
    refused(at(r#"[[1,2],["-inf","-inf"]]"#, ""), &["teacher_logits[1]", "throughout"]);
    let teacher = "[[1,2],[3,4]]";
    refused(at(teacher, r#","temperature":"inf""#), &["temperature is \"inf\"", "above 0"]);
    refused(at(teacher, r#","direction":"both""#), &["direction is \"both\"", "\"reverse\""]);
    refused(at(teacher, r#","scale_by_temperature_squared":1"#), &["true or false"]);

    let blended =
        |alpha: &str, target: u32, teacher: &str| {
            answer(&format!(
            r#"{{"function":"knowledge_distillation","logits":[[1,"-inf"]],"targets":[{target}],
            "teacher_logits":[{teacher}],"alpha":{alpha},"temperature":2}}"#
        ).replace('\n', ""))["value"][0]
            .clone()
        };
    assert_eq!(blended("0", 0, "[1,2]"), 0.0);
    assert_eq!(blended("1", 1, r#"[1,"-inf"]"#), 0.0);
    assert_eq!(blended("0.5", 0, "[1,2]"), "inf");
    assert_eq!(blended("0.5", 1, r#"[1,"-inf"]"#), "inf");
}

#[test]
fn a_ranking_that_is_none_is_refused() {
    let logits = r#""logits":[[1,2,3],[3,2,1]]"#;
    let whole = |rest: &str| format!(r#"{{"function":"list_mle",{logits},{rest}}}"#);
    refused(whole(r#""order":[[0,1,2],[0,2,2]]"#), &["a ranking[1, 2] is 2", "already"]);
    refused(whole(r#""order":[[0,1,2],[0,3,2]]"#), &["order[1][1] is 3", "from 0 to 2"]);
    refused(whole(r#""order":[[0,1,2]]"#), &["order has 1 entries, expected 2"]);
    refused(whole(r#""order":[[0,1],[0,2]]"#), &["order has 2 places", "expected 3"]);
    let order = r#""order":[[0,1,2],[0,2,1]]"#;
    refused(whole(&format!(r#"{order},"weights":"log""#)), &["weights is \"log\"", "position"]);
    refused(whole(&format!(r#"{order},"weights":[1,1]"#)), &["weights has 2 entries"]);
    refused(whole(&format!(r#"{order},"weights":[1,-1,1]"#)), &["[0, 1] is -1", "at least 0"]);
    refused(whole(&format!(r#"{order},"weights":[1,1,"inf"]"#)), &["[0, 2] is inf"]);
    let part = |rest: &str| format!(r#"{{"function":"partial_list_mle",{logits},{order},{rest}}}"#);
    refused(part(r#""valid":[3,4]"#), &["valid[1] is 4", "from 0 to 3"]);
    refused(part(r#""valid":[3,1],"temperature":0"#), &["temperature is 0", "above 0"]);
    let at = |teacher: &str, rest: &str| {
        format!(
            r#"{{"function":"plackett_luce_distillation",{logits},"targets":[0,1],"teacher_logits":{teacher}{rest}}}"#
        )
    };
    refused(at("[[1,2],[3,4]]", ""), &["teacher_logits have the shape [2, 2]", "[2, 3]"]);
    refused(at(r#"[[1,2,3],["nan",4,5]]"#, ""), &["the teacher's logits[1, 0] is NaN"]);
    refused(at("[[1,2,3],[3,4,5]]", r#","teacher_temperature":0"#), &["teacher_temperature is 0"]);
}

#[test]
fn labels_of_yes_and_no_that_are_none_are_refused() {
    let at =
        |name: &str, rest: &str| format!(r#"{{"function":"{name}","logits":[1,-2,0],{rest}}}"#);
    refused(at("binary_cross_entropy", r#""labels":[1,0]"#), &["labels has shape [2, 1]"]);
    refused(at("binary_cross_entropy", r#""labels":[1,0,"inf"]"#), &["labels[2, 0] is inf"]);
    for (name, rest) in [("dice", ""), ("tversky", r#","alpha":1,"beta":1"#)] {
        let line = at(name, &format!(r#""labels":[1,0,1.5]{rest}"#));
        refused(line, &["labels[2, 0] is 1.5", "from 0 to 1"]);
    }
    refused(at("dice", r#""labels":[1,0,1],"smooth":-1"#), &["smooth is -1", "from 0"]);
    refused(at("dice", r#""labels":[1,0,1],"aggregation":"all""#), &["\"per_class_batch\""]);
    refused(at("tversky", r#""labels":[1,0,1],"alpha":1"#), &["beta is missing"]);
    refused(
        r#"{"function":"tri_bce","deep_logits":[1,2],"shallow_logits":[1],"labels":[1,0]}"#,
        &["shallow_logits has 1 entries, expected 2"],
    );
    let aspects = |rest: &str| {
        format!(
            r#"{{"function":"multi_aspect_distillation","logits":[[1,2,3]],"targets":[1],{rest}}}"#
        )
    };
    refused(aspects(r#""classes":2,"aspect_targets":[[0.5,0.5]]"#), &["2 columns, expected 1"]);
    refused(aspects(r#""classes":3,"aspect_targets":[[0.5]]"#), &["1 columns, expected 0"]);
    refused(aspects(r#""classes":1,"aspect_targets":[[0.5,0.5]]"#), &["targets[0] is 1"]);
    refused(aspects(r#""classes":2,"aspect_targets":[[-0.5]]"#), &["the answers[0, 0] is -0.5"]);
}

#[test]
fn distributions_and_rates_that_are_none_are_refused() {
    let at = |name: &str, rest: &str| format!(r#"{{"function":"{name}",{rest}}}"#);
    let map = |rest: &str| at("entropy_bounded_map", rest);
    refused(map(r#""p":[0.5,0.5],"rate":"nan""#), &["rate is \"nan\"", "from 0 or \"inf\""]);
    refused(
        map(r#""p":[0.5,0.5],"rate":1,"unit":"hartleys""#),
        &["unit is", "\"nats\" or \"bits\""],
    );
    refused(map(r#""p":[0.5,"nan"],"rate":1"#), &["p[1] is NaN"]);
    let every = answer(&map(r#""p":[0.5,0,0.5],"rate":"inf""#));
    assert_eq!(every["value"]["labels"], json!([0, -1, 1]));
    let many =
        |marginals: &str| at("multi_marginal_coupling", &format!(r#""marginals":{marginals}"#));
    refused(many("[]"), &["marginals is empty"]);
    refused(many("[1]"), &["marginals[0] is 1", "an array"]);
    refused(many("[[1],[]]"), &["marginals[1] is empty"]);
    refused(many(r#"[[1],["x"]]"#), &["marginals[1][0] is", "a number"]);
    refused(many("[[1],[0.5,0.25]]"), &["marginals[1] sum to 0.75"]);
    refused(at("minimum_entropy_coupling", r#""p":[1]"#), &["q is missing"]);
    refused(at("joint_mutual_information", r#""joint":[[0.5],[0.25,0.25]]"#), &["joint[1] has 2"]);

    let rate =
        |rest: &str| at("discretized_gaussian", &format!(r#""values":[0,1],"mean":[0,0],{rest}"#));
    refused(rate(r#""sigma":[1]"#), &["scale has shape [1]", "[2]"]);
    refused(rate(r#""sigma":[1,"inf"]"#), &["scale[1] is inf"]);
    refused(rate(r#""sigma":[1,1],"minimum_sigma":0"#), &["minimum_sigma is 0", "above 0"]);
    refused(rate(r#""sigma":[1,1],"probability_floor":2"#), &["probability_floor is 2", "up to 1"]);
    refused(
        at("pmf_to_quantized_cdf", r#""pmf":[1],"precision":25"#),
        &["precision is 25", "1 to 24"],
    );
    let default = answer(&at("pmf_to_quantized_cdf", r#""pmf":[3,1]"#));
    assert_eq!(default["value"], json!([0, 49152, 65536]));
    refused(at("crossquant", r#""activations":[[1]],"bits":17"#), &["bits is 17", "2 to 16"]);
    let step = |rest: &str| {
        at("cem_gaussian", &format!(r#""samples":[[1],[2]],"mean":[0],"std":[1],{rest}"#))
    };
    refused(step(r#""scores":[1,"-inf"],"elites":1"#), &["scores[1] is -inf", "finite"]);
    refused(step(r#""scores":[1],"elites":1"#), &["scores has 1 entries, expected 2"]);
    refused(step(r#""scores":[1,2],"elites":1,"smoothing":1.5"#), &["smoothing is 1.5", "up to 1"]);
    let of = |samples: &str| {
        let rest = format!(r#""samples":{samples},"probabilities":[[0.5,0.5]]"#);
        at("cem_categorical", &rest)
    };
    refused(of("[[0.5]]"), &["samples[0][0] is 0.5", "from 0 to 1"]);
    refused(of("[[0,1]]"), &["samples has shape [0, 2]", "1 places"]);
}
