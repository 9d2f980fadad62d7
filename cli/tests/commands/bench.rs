//! `surprisal bench`: what it prints hangs together. No time decides a test.

use serde_json::{Map, Value};
use std::process::{Command, Output, Stdio};

const KEYS: [&str; 25] = [
    "tokens",
    "hidden",
    "vocabulary",
    "dtype",
    "pass",
    "data",
    "isa",
    "threads",
    "seconds",
    "seconds_least",
    "seconds_most",
    "seconds_deviation",
    "repetitions",
    "gflops",
    "peak_gflops",
    "fraction_of_peak",
    "strategy",
    "workspace_bytes",
    "softmax_at_least_2e_12",
    "softmax_at_least_2e_16",
    "softmax_at_least_2e_20",
    "mass_lost_at_2e_12",
    "mean_probability_at_50",
    "tokens_above_2e_12",
    "baseline_seconds",
];

const TINY: &str = "--tokens 24 --hidden 40 --vocab 1000 --repetitions 2";

fn bench(arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_surprisal"));
    command.env_remove("SURPRISAL_ISA").stdin(Stdio::null()).arg("bench");
    command.args(arguments.split_whitespace()).output().unwrap()
}

#[track_caller]
fn json(arguments: &str) -> Map<String, Value> {
    json_of(TINY, arguments)
}

#[track_caller]
fn json_of(sizes: &str, arguments: &str) -> Map<String, Value> {
    let output = bench(&format!("{sizes} {arguments} --json"));
    let stdout = std::str::from_utf8(&output.stdout).unwrap();
    let stderr = std::str::from_utf8(&output.stderr).unwrap();
    assert_eq!((output.status.code(), stderr), (Some(0), ""), "{arguments}");
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    serde_json::from_str(stdout).unwrap()
}

#[track_caller]
fn fails(arguments: &str, parts: &[&str]) {
    let output = bench(arguments);
    let stderr = std::str::from_utf8(&output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments}: {stderr}");
    assert!(output.stdout.is_empty());
    assert!(stderr.ends_with('\n') && stderr.lines().count() == 1, "not one line: {stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{arguments}: {stderr:?} does not say {part:?}");
    }
}

fn number(object: &Map<String, Value>, key: &str) -> f64 {
    object[key].as_f64().unwrap_or_else(|| panic!("{key} is {}", object[key]))
}

#[test]
fn every_type_and_pass() {
    for dtype in ["f32", "f64", "bf16", "f16"] {
        for (pass, backward, factor) in [
            ("forward", "auto", 2.0),
            ("forward-backward", "recompute", 8.0),
            ("forward-backward", "strip", 6.0),
        ] {
            let arguments = format!("--dtype {dtype} --pass {pass} --backward {backward}");
            let object = json(&arguments);
            let keys: Vec<&str> = object.keys().map(String::as_str).collect();
            assert_eq!(keys, KEYS);
            let number = |key| number(&object, key);
            let sizes = ["tokens", "hidden", "vocabulary"].map(number);
            assert_eq!(sizes, [24.0, 40.0, 1000.0]);
            for (key, expected) in [("dtype", dtype), ("pass", pass), ("data", "dense")] {
                assert_eq!(object[key], expected);
            }
            let strategy = if factor == 2.0 { "forward" } else { backward };
            assert_eq!(object["strategy"], strategy);
            let [seconds, least, most] = ["seconds", "seconds_least", "seconds_most"].map(number);
            assert!(0.0 < least && least <= seconds && seconds <= most, "{arguments}");
            let operations = factor * sizes.iter().product::<f64>();
            let counted = number("gflops") * 1e9 * seconds;
            assert!((counted / operations - 1.0).abs() < 1e-9, "{arguments}: {counted}");
            let fraction = number("gflops") / number("peak_gflops");
            assert!((number("fraction_of_peak") / fraction - 1.0).abs() < 1e-9);
            assert!(0.0 < fraction && fraction < 2.0, "{arguments}: {fraction}");
            assert!(number("workspace_bytes") > 0.0 && number("baseline_seconds") > 0.0);
            let share = number("softmax_at_least_2e_12");
            assert!(0.5 < share && share <= 1.0, "{share} of dense data");
            let at_50 = number("mean_probability_at_50");
            assert!(0.001 < at_50 && at_50 < 0.02, "{at_50}");
        }
    }
}

#[test]
fn trained_data_are_sparse() {
    let sizes = "--tokens 64 --hidden 320 --vocab 20000 --repetitions 1 --pass forward";
    let dense = json_of(sizes, "--no-baseline");
    assert!(dense["baseline_seconds"].is_null());
    let mut counts = Vec::new();
    for order in ["frequency", "random"] {
        for dtype in ["f32", "bf16"] {
            let trained =
                json_of(sizes, &format!("--data trained --order {order} --dtype {dtype}"));
            assert_eq!(trained["data"], "trained-large");
            let share = number(&trained, "softmax_at_least_2e_12");
            assert!(share < 0.003, "{order}: {share}");
            let above = number(&trained, "tokens_above_2e_12");
            assert!((15.0..=60.0).contains(&above), "{order}: {above}");
            counts.push(share);
        }
    }
    // The order of the classes is no property of the softmax, and 16 bits hardly change it.
    for count in &counts {
        assert!((count / counts[0] - 1.0).abs() < 0.2, "{counts:?}");
    }
}

#[test]
fn the_softmax_of_a_small_model() {
    // Shares of SmolLM2-135M at the same width and vocabulary. The tail of a row is uniform, the standard error of
    // the means over 256 rows therefore about 4 %.
    let sizes = "--tokens 256 --hidden 576 --vocab 49152 --repetitions 1 --pass forward";
    let object = json_of(sizes, "--no-baseline --data trained-small");
    assert_eq!(object["data"], "trained-small");
    for (key, expected) in [
        ("softmax_at_least_2e_12", 0.0041),
        ("softmax_at_least_2e_16", 0.026),
        ("softmax_at_least_2e_20", 0.11),
        ("mass_lost_at_2e_12", 0.057),
    ] {
        let ratio = number(&object, key) / expected;
        assert!((ratio - 1.0).abs() < 0.15, "{key}: {ratio} of {expected}");
    }
}

#[test]
fn seeds_and_threads() {
    let share = |arguments: &str| {
        let object = json(&format!("--pass forward --no-baseline --data trained {arguments}"));
        (object["softmax_at_least_2e_12"].clone(), object["mean_probability_at_50"].clone())
    };
    let one = share("--threads 1");
    assert_eq!(json("--threads 1")["threads"], 1);
    if cfg!(feature = "parallel") {
        assert_eq!(json("--threads 3")["threads"], 3);
        assert_eq!(one, share("--threads 3"));
    }
    assert_ne!(one, share("--threads 1 --seed 7"));
}

#[test]
fn a_filter_adds_its_keys() {
    for filter in ["auto", "0.001", "1e-6 --tail-correction", "mass:0.01", "0", "1"] {
        let object = json(&format!("--data trained --filter {filter}"));
        let keys: Vec<&str> = object.keys().map(String::as_str).collect();
        let mut expected = KEYS.to_vec();
        expected.splice(18..18, ["tiles_kept", "dropped_mass_max"]);
        assert_eq!(keys, expected);
        for key in ["tiles_kept", "dropped_mass_max"] {
            if let Some(share) = object[key].as_f64() {
                assert!((0.0..=1.0 + 1e-6).contains(&share), "{key} is {share}");
            }
        }
    }
}

#[test]
fn sizes_may_have_a_unit() {
    let sizes = "--tokens 16 --hidden 8 --vocab 1K --repetitions 1 --memory-budget 64MiB";
    assert_eq!(number(&json_of(sizes, "--pass forward --no-baseline"), "vocabulary"), 1000.0);
}

#[test]
fn the_smallest_sizes() {
    for data in ["dense", "trained"] {
        for sizes in ["1 1 1", "1 1 2", "2 1 60", "3 2 1", "5 26 8", "300 24 50"] {
            let mut sizes = sizes.split(' ');
            let mut next = || sizes.next().unwrap();
            let (tokens, hidden, vocab) = (next(), next(), next());
            let sizes = format!("--tokens {tokens} --hidden {hidden} --vocab {vocab}");
            let object = json_of(&sizes, &format!("--data {data} --repetitions 1"));
            let share = number(&object, "softmax_at_least_2e_12");
            assert!(0.0 < share && share <= 1.0, "{share}");
        }
    }
}

#[test]
fn without_json_a_line_for_each_key() {
    let output = bench(&format!("{TINY} --quiet"));
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty());
    let stdout = std::str::from_utf8(&output.stdout).unwrap();
    let labels: Vec<_> = stdout.lines().map(|line| line.split("  ").next().unwrap()).collect();
    // The least and the most of the times stand beside their median, with how many they are; their deviation is
    // for programs.
    assert_eq!(labels.len(), KEYS.len() - 4, "{stdout}");
    assert!(labels.iter().all(|label| !label.is_empty() && !label.contains('_')), "{stdout}");
    for label in ["tokens", "time", "rate", "workspace", "softmax of at least 2⁻¹²"] {
        assert!(labels.contains(&label), "{label}: {stdout}");
    }
    for part in [" to ", "GFLOP/s", "iB", " % of what"] {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
}

#[test]
fn bad_arguments() {
    for (arguments, parts) in [
        ("--tokens 0", &["--tokens", "0", "at least 1"][..]),
        ("--hidden 0", &["--hidden", "0"]),
        ("--vocab 0", &["--vocab", "0"]),
        ("--repetitions 0", &["--repetitions", "0"]),
        ("--tokens -1", &["--tokens", "-1"]),
        ("--tokens many", &["--tokens", "many", "KiB"]),
        ("--tokens 1KB", &["--tokens", "1KB"]),
        ("--vocab 99999999999999999999", &["--vocab", "99999999999999999999"]),
        ("--vocab 18446744073709551615", &["expected"]),
        ("--tokens 18446744073709551615 --hidden 1 --vocab 1", &["expected"]),
        ("--hidden 18446744073709551615 --tokens 1 --vocab 1", &["expected"]),
        ("--tokens 9223372036854775807 --data trained", &["expected"]),
        ("--hidden 1000000000000 --tokens 1 --vocab 1 --pass forward", &["expected"]),
        ("--hidden 1 --tokens 1 --vocab 4294967295 --pass forward", &["--vocab", "4294967294"]),
        ("--dtype f8", &["--dtype", "f8", "bf16"]),
        ("--pass backward", &["--pass", "backward", "forward-backward"]),
        ("--data real", &["--data", "real", "trained"]),
        ("--order frequency", &["--order", "--data trained"]),
        ("--data trained --order size", &["--order", "size"]),
        ("--filter -0.1", &["filter", "-0.1", "from 0 to 1"]),
        ("--filter 1.5", &["filter", "1.5"]),
        ("--filter nan", &["filter", "NaN"]),
        ("--filter some", &["--filter", "some", "auto"]),
        ("--tail-correction", &["--filter"]),
        ("--backward fast", &["--backward", "fast"]),
        ("--memory-budget 1", &["memory budget", "1", "expected at least"]),
        ("--memory-budget -1", &["--memory-budget", "-1"]),
        ("--device quantum", &["--device", "quantum", "cpu"]),
        ("--seed -1", &["--seed", "-1"]),
        ("--threads 0", &["--threads", "0"]),
        ("--commit abc", &["--record"]),
        ("--tables x --roofline", &["--tables", "--roofline"]),
        ("--tables no/such/folder", &["--tables", "no/such/folder"]),
    ] {
        fails(arguments, parts);
        fails(&format!("{arguments} --json"), parts);
    }
}
