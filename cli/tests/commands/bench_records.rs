//! `surprisal bench` finds the roof, records its runs, and makes tables of what it recorded.

use serde_json::{Map, Value, json};
use std::path::Path;
use std::process::{Command, Stdio};

/// Status, stdout and stderr of a benchmark.
fn bench(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_surprisal"));
    command.env_remove("SURPRISAL_ISA").stdin(Stdio::null()).arg("bench").args(arguments);
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[track_caller]
fn passes(arguments: &[&str]) -> String {
    let (status, stdout, stderr) = bench(arguments);
    assert_eq!(status, 0, "{arguments:?}: {stderr}");
    stdout
}

#[track_caller]
fn fails(arguments: &[&str], parts: &[&str]) {
    let (status, stdout, stderr) = bench(arguments);
    assert_eq!((status, stdout.as_str(), stderr.lines().count()), (2, "", 1), "{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{arguments:?}: {stderr:?} does not say {part:?}");
    }
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn object(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap()
}

fn number(object: &Map<String, Value>, key: &str) -> f64 {
    object[key].as_f64().unwrap_or_else(|| panic!("{key} is {}", object[key]))
}

fn same(a: f64, b: f64) -> bool {
    (a / b - 1.0).abs() < 1e-9
}

#[test]
fn the_roof_is_the_lower_of_two() {
    for (rows, dtype, pass, operand, gradient) in [
        (1_u32, "f32", "forward", 4.0, 0.0),
        (1, "bf16", "forward-backward", 2.0, 4.0),
        (200, "f64", "forward-backward", 8.0, 8.0),
    ] {
        let line = format!(
            "--tokens {rows} --hidden 64 --vocab 3000 --dtype {dtype} --pass {pass} \
             --repetitions 3 --no-baseline --roofline --json"
        );
        let object = object(&passes(&words(&line)));
        let number = |key| number(&object, key);
        let rows = f64::from(rows);
        let bytes = (rows + 3000.0) * 64.0 * (operand + gradient) + rows * 12.0;
        assert_eq!(number("bytes_moved"), bytes);
        assert!(same(number("operations"), number("gflops") * 1e9 * number("seconds")));
        let [memory, one] =
            ["bandwidth_gbytes", "bandwidth_one_thread_gbytes"].map(|key| number(key) * 1e9);
        assert!(memory > 0.0 && one > 0.0);
        let cache = object["bandwidth_of_cache_gbytes"].as_f64().map(|rate| rate * 1e9);
        // No more than 3 MB: a cache holds them, where the system tells of one that large.
        assert!(cache.is_some() || number("l3_bytes") < 8e6);
        let (peak, bandwidth) = (number("peak_gflops") * 1e9, cache.unwrap_or(memory));
        assert!(same(number("intensity"), number("operations") / bytes));
        assert!(same(number("ridge"), peak / bandwidth));
        let [computing, moving] = [number("operations") / peak, bytes / bandwidth];
        assert!(same(number("roof_seconds"), computing.max(moving)));
        assert!(same(number("fraction_of_roof"), number("roof_seconds") / number("seconds")));
        assert!(same(number("fraction_of_bandwidth"), moving / number("seconds")));
        let slow = if cache.is_some() { "cache" } else { "memory" };
        let bound = if computing >= moving { "compute" } else { slow };
        assert_eq!(object["bound"], bound);
    }
}

#[test]
fn people_read_where_the_roof_is() {
    let line = "--tokens 1 --hidden 64 --vocab 3000 --repetitions 1 --no-baseline --roofline";
    let text = passes(&words(line));
    for part in ["GB/s", "by all threads", "by one", "L2 cache", "operations a byte", "of the roof"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!passes(&words(&line.replace(" --roofline", ""))).contains("GB/s"));
}

#[test]
fn a_run_is_a_file_and_a_row() {
    let folder = tempfile::tempdir().unwrap();
    let results = folder.path().join("new/results");
    let results = results.to_str().unwrap();
    let line = "--tokens 3 --hidden 16 --vocab 500 --repetitions 3 --no-baseline --json --quiet";
    let mut arguments = words(line);
    arguments.extend(["--record", results, "--commit", "0123abc"]);
    passes(&arguments);
    let printed = object(&passes(&arguments));

    // The second run has taken the place of the first.
    let files: Vec<_> = std::fs::read_dir(results).unwrap().map(|file| file.unwrap()).collect();
    let [file] = &files[..] else { panic!("{files:?}") };
    let name = file.file_name().into_string().unwrap();
    let written = object(&std::fs::read_to_string(file.path()).unwrap());
    let keys: Vec<&str> = written.keys().map(String::as_str).collect();
    assert_eq!(keys, ["schema", "date", "machine", "versions", "command", "run"]);
    assert_eq!(written["schema"], 1);
    let date = written["date"].as_str().unwrap();
    assert!(name.starts_with(date) && date.len() == 10, "{name}");
    assert!(name.contains("-forward-backward-f32-3x16x500-"), "{name}");
    assert_eq!(written["run"].as_object().unwrap(), &printed);
    assert!(written["machine"]["cores"].as_u64().unwrap() > 0);
    assert!(!written["machine"]["processor"].as_str().unwrap().is_empty());
    assert!(written["versions"]["rustc"].as_str().unwrap().starts_with("rustc "));
    assert_eq!(written["versions"]["commit"], "0123abc");
    let command = written["command"].as_str().unwrap();
    assert!(command.starts_with("surprisal bench --tokens 3 "), "{command}");
    let mut times = ["seconds_least", "seconds", "seconds_most"].map(|key| number(&printed, key));
    assert!(times.is_sorted());
    times.iter_mut().for_each(|time| *time -= number(&printed, "seconds"));
    // Of three, one is the median and another is no further off than the deviation.
    let deviation = number(&printed, "seconds_deviation");
    assert_eq!(deviation, times[2].min(-times[0]));

    let tables = passes(&["--tables", results]);
    assert!(tables.starts_with(&format!("{date}, ")) && tables.contains("at 0123abc"), "{tables}");
    assert!(tables.contains("| 3 × 16 × 500 | f32 | forward-backward (strip) |"), "{tables}");
    let both = object(&passes(&["--tables", results, "--json"]));
    assert_eq!((both["runs"].as_u64(), both["tables"].as_str()), (Some(1), Some(&*tables)));

    let file = file.path();
    // Before anything else: of this there is no memory for the data.
    let record = ["--record", file.to_str().unwrap(), "--vocab", "4000000000"];
    fails(&record, &["--record", "is a file"]);
}

/// A run of one row with round numbers.
fn run(date: &str, isa: &str, dtype: &str) -> Value {
    json!({
        "schema": 1,
        "date": date,
        "machine": {
            "processor": "Abacus | 5", "family": 1, "model": 2, "cores": 4,
            "l1_data_bytes": 32768, "l2_bytes": 1_048_576, "l3_bytes": 0,
        },
        "versions": { "surprisal": "0.1.0", "rustc": null, "commit": null },
        "run": {
            "tokens": 1, "hidden": 20, "vocabulary": 300, "dtype": dtype, "pass": "forward",
            "data": "dense", "isa": isa, "threads": 2, "seconds": 0.002, "seconds_least": 0.001,
            "seconds_most": 0.004, "gflops": 5.0, "fraction_of_peak": 0.01,
            "bandwidth_gbytes": 40.0, "bandwidth_one_thread_gbytes": 25.0, "bytes_moved": 4e7,
            "bound": "memory", "fraction_of_roof": 0.5, "fraction_of_bandwidth": 0.5,
            "strategy": "forward",
        },
    })
}

fn write(folder: &Path, name: &str, value: &Value) {
    std::fs::write(folder.join(name), value.to_string()).unwrap();
}

#[test]
fn tables_have_the_last_day_first_and_rows_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    assert_eq!(passes(&["--tables", path]), "");
    write(folder.path(), "c.json", &run("2026-01-02", "avx512", "f32"));
    write(folder.path(), "b.json", &run("2026-01-02", "avx2", "f32"));
    write(folder.path(), "a.json", &run("2025-12-31", "avx2", "bf16"));
    std::fs::write(folder.path().join("notes.txt"), "no run").unwrap();
    let tables = passes(&["--tables", path]);
    let lines: Vec<&str> = tables.lines().collect();
    let machine = "Abacus   5 (family 1, model 2), 4 cores, L1 32.0 KiB, L2 1.0 MiB; surprisal 0.1.0; \
                   40.0 GB/s read from memory by all threads, 25.0 by one.";
    assert_eq!(lines[0], format!("2026-01-02, {machine}"));
    let row = |dtype: &str, isa: &str, file: &str| {
        format!(
            "| 1 × 20 × 300 | {dtype} | forward | {isa} | 2 | 2.00 ms | 1.00 ms to 4.00 ms | 5.00 | \
             1.00 % | 20.0 | 50.0 % | memory | 50.0 % | [file](results/{file}) |"
        )
    };
    assert_eq!(lines[4..6], [row("f32", "avx2", "b.json"), row("f32", "avx512", "c.json")]);
    assert_eq!(lines[7], format!("2025-12-31, {machine}"));
    assert_eq!(lines[11..], [row("bf16", "avx2", "a.json")]);
    let columns = |line: &str| line.matches('|').count();
    assert!(lines[2..6].iter().all(|line| columns(line) == columns(lines[2])), "{tables}");
}

#[test]
fn what_is_no_run_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let mut other = run("2026-01-02", "avx2", "f32");
    other["schema"] = 2.into();
    write(folder.path(), "x.json", &other);
    fails(&["--tables", path], &["x.json", "schema is 2", "expected 1"]);
    let mut broken = run("2026-01-02", "avx2", "f32");
    broken["run"]["seconds"] = "fast".into();
    write(folder.path(), "x.json", &broken);
    fails(&["--tables", path], &["x.json", "run.seconds", "expected a number"]);
    std::fs::write(folder.path().join("x.json"), "{").unwrap();
    fails(&["--tables", path], &["x.json", "expected a run"]);
}

#[test]
fn the_tables_of_the_results_are_those_of_their_files() {
    let benches = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches");
    let text = std::fs::read_to_string(benches.join("RESULTS.md")).unwrap();
    let (_, rest) = text.split_once("<!-- tables of results/ -->\n").unwrap();
    let (region, _) = rest.split_once("<!-- end of the tables -->\n").unwrap();
    let tables = passes(&["--tables", benches.join("results").to_str().unwrap()]);
    assert!(tables.contains("1 × 2304 × 256000"), "{tables}");
    assert!(region == tables, "benches/record.sh makes the tables of RESULTS.md anew");
}
