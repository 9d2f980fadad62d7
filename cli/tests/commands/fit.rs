//! `surprisal fit`: laws from tables, what is told of them, pictures, and how it fails.

use serde_json::{Map, Value};
use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use surprisal::fit::{AnnealingLaw, AnnealingSums, BivariateLaw, Chinchilla, Law, PowerLaw};
use surprisal::random::Generator;
use tempfile::TempDir;

/// The binary in a directory; arguments are parted at spaces.
fn run(directory: &Path, arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_surprisal"));
    command.env_remove("SURPRISAL_ISA").stdin(Stdio::null()).current_dir(directory).arg("fit");
    command.args(arguments.split_whitespace()).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

#[track_caller]
fn lines(directory: &Path, arguments: &str) -> String {
    let output = run(directory, arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments}: {}", text(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    text(&output.stdout).into()
}

#[track_caller]
fn json(directory: &Path, arguments: &str) -> Map<String, Value> {
    let stdout = lines(directory, &format!("{arguments} --json"));
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    let Value::Object(object) = serde_json::from_str(&stdout).unwrap() else { panic!("{stdout}") };
    object
}

/// Exit status 2 and one line that holds these parts.
#[track_caller]
fn refused(directory: &Path, arguments: &str, parts: &[&str]) {
    let output = run(directory, arguments);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments}: {stderr}");
    assert!(output.stdout.is_empty(), "{arguments}");
    assert!(stderr.starts_with("error: ") && stderr.lines().count() == 1, "{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{arguments}: {stderr:?} does not say {part:?}");
    }
}

#[track_caller]
fn close(found: &Value, wanted: f64, relative: f64) {
    let found = found.as_f64().unwrap();
    assert!((found - wanted).abs() <= relative * wanted.abs(), "{found:e}, wanted {wanted:e}");
}

fn write(directory: &TempDir, name: &str, text: &str) {
    std::fs::write(directory.path().join(name), text).unwrap();
}

fn picture(directory: &TempDir, name: &str) -> String {
    let path = directory.path().join(name);
    if let Some(kept) = std::env::var_os("SURPRISAL_PICTURES") {
        std::fs::copy(&path, Path::new(&kept).join(name)).unwrap();
    }
    let svg = std::fs::read_to_string(path).unwrap();
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    svg
}

/// Losses of a power law with noise.
fn noisy(law: &PowerLaw, noise: f64) -> Vec<(f64, f64)> {
    let mut chance = Generator::new(1);
    let x = (0..13).map(|k| 1e5 * 10_f64.powf(f64::from(k) / 3.0));
    x.map(|x| (x, law.at(x).unwrap() * (noise * chance.standard_normal()).exp())).collect()
}

#[test]
fn a_power_law_of_a_table_with_its_errors_and_predictions() {
    let directory = TempDir::new().unwrap();
    let law = PowerLaw::new(2.2, 6.3e4, 0.13).unwrap();
    let mut table = "# three runs\nrun;N;Loss\n".to_string();
    for (x, loss) in noisy(&law, 0.0) {
        writeln!(table, "small; {x:e};{loss}").unwrap();
    }
    write(&directory, "losses.csv", &table);
    let at = directory.path();
    let found = json(at, "losses.csv --law power --x N --predict 1e10,2e11 --target 2.3");
    for (key, wanted) in [("l_inf", 2.2), ("x0", 6.3e4), ("alpha", 0.13)] {
        close(&found[key], wanted, 1e-6);
        assert!(found["standard_errors"][key].as_f64().unwrap() < 1e-6 * wanted);
    }
    assert_eq!((&found["law"], &found["points"]), (&"power".into(), &13.into()));
    assert_eq!(found["huber_delta"], 1e-3);
    assert!(found["condition"].as_f64().unwrap() < 100.0);
    close(&found["target"]["x"], law.x_for(2.3).unwrap(), 1e-6);
    // The losses are the law's own: nothing is uncertain.
    close(&found["target"]["factor"], 1.0, 1e-6);
    let told = found["predictions"].as_array().unwrap();
    assert_eq!(told.len(), 2);
    close(&told[1]["x"], 2e11, 0.0);
    close(&told[1]["loss"], law.at(2e11).unwrap(), 1e-8);
    // By numbers of the columns too, and several files are one table.
    let rows: Vec<&str> = table.lines().collect();
    write(&directory, "a.csv", &rows[1..6].join("\n"));
    write(&directory, "b.csv", &rows[6..].join("\r\n"));
    assert_eq!(
        found,
        json(at, "losses.csv --law power --x 2 --loss 3 --predict 1e10,2e11 --target 2.3")
    );
    write(&directory, "b.csv", &format!("{}\n{}", rows[1], rows[6..].join("\r\n")));
    assert_eq!(found, json(at, "a.csv b.csv --law power --x n --predict 1e10,2e11 --target 2.3"));

    let mut table = String::new();
    noisy(&law, 2e-3).iter().for_each(|(x, loss)| writeln!(table, "{x},{loss}").unwrap());
    write(&directory, "noisy.csv", &table);
    let read = lines(at, "noisy.csv --law power --predict 1e11 --plot law.svg");
    for part in ["L∞", "alpha", " ± ", "R²", "13, for 3 parameters", "nats at 1e11", "(95 %)"] {
        assert!(read.contains(part), "no {part} in {read}");
    }
    let svg = picture(&directory, "law.svg");
    assert!(svg.contains("Scaling law of noisy.csv") && svg.contains("R² = 0.99"), "{svg}");
    // 13 losses, and a ring of two circles for the prediction; the band is one polygon.
    assert_eq!((svg.matches("<circle").count(), svg.matches("<polygon").count()), (15, 1));
    // Three times the δ is another fit; least squares of wild residuals is far off.
    let narrow = json(at, "noisy.csv --law power")["alpha"].clone();
    let wide = json(at, "noisy.csv --law power --huber-delta 0.1")["alpha"].clone();
    assert_ne!(narrow, wide);
    let ninety = json(at, "noisy.csv --law power --predict 1e11 --confidence 0.9");
    let more = json(at, "noisy.csv --law power --predict 1e11");
    let upper = |found: &Map<String, Value>| found["predictions"][0]["upper"].as_f64().unwrap();
    assert!(upper(&ninety) < upper(&more));
}

#[test]
fn laws_of_two_sizes_with_their_optima() {
    let directory = TempDir::new().unwrap();
    let at = directory.path();
    let law = Chinchilla::new(1.69, (406.4, 0.34), (410.7, 0.28)).unwrap();
    let pairs: Vec<(f64, f64)> = (0..4)
        .flat_map(|i| (0..5).map(move |j| (1e7 * 5_f64.powi(i), 1e9 * 4_f64.powi(j))))
        .collect();
    let table = |loss: &dyn Fn((f64, f64)) -> f64| {
        let row = |&(n, d): &(f64, f64)| format!("{n}\t{d}\t{}\n", loss((n, d)));
        "parameters\ttokens\tloss\n".to_string() + &pairs.iter().map(row).collect::<String>()
    };
    write(&directory, "runs.tsv", &table(&|at| law.at(at).unwrap()));
    let arguments = "runs.tsv --law chinchilla --budget 5.88e23 --target 2 --predict 7e10:1.4e12";
    let found = json(at, &format!("{arguments} --plot chinchilla.svg"));
    for (key, wanted) in [("e", 1.69), ("a", 406.4), ("alpha", 0.34), ("b", 410.7), ("beta", 0.28)]
    {
        close(&found[key], wanted, 1e-6);
    }
    let best = law.optimal_allocation(5.88e23).unwrap();
    close(&found["optimum"]["parameters"], best.parameters, 1e-6);
    close(&found["optimum"]["tokens"], best.tokens, 1e-6);
    close(&found["target"]["operations"], law.of_operations().unwrap().x_for(2.0).unwrap(), 1e-5);
    close(&found["predictions"][0]["loss"], law.at((7e10, 1.4e12)).unwrap(), 1e-8);
    let svg = picture(&directory, "chinchilla.svg");
    // Four sizes and that of the prediction, each with its curve and band.
    assert_eq!(svg.matches("<polygon").count(), 5);
    assert!(svg.contains("parameters 1e7") && svg.contains("tokens"), "{svg}");

    let law = BivariateLaw::new((1e8, 5e7), 0.875, (0.1875, 0.3125), 1.25).unwrap();
    write(&directory, "nmt.csv", &table(&|at| law.at(at).unwrap()));
    let arguments = "nmt.csv --law bivariate --reference 1e8:5e7 --budget 1e9 --target 1.5";
    let found = json(at, &format!("{arguments} --plot nmt.svg"));
    for (key, wanted) in [("l_inf", 1.25), ("alpha", 0.875), ("decoder_exponent", 0.3125)] {
        close(&found[key], wanted, 1e-6);
    }
    close(&found["optimum"]["encoder"], 3.75e8, 1e-6);
    close(&found["target"]["parameters"], law.of_budget().unwrap().x_for(1.5).unwrap(), 1e-5);
    picture(&directory, "nmt.svg");
    let own = json(at, "nmt.csv --law bivariate");
    close(&own["encoder_exponent"], 0.1875, 1e-6);
    close(&own["encoder_reference"], 1e7 * 5_f64.powf(1.5), 1e-12);
}

#[test]
fn a_law_of_learning_rates_tells_the_loss_of_another_schedule() {
    let directory = TempDir::new().unwrap();
    let at = directory.path();
    let schedule = |steps: usize, turn: f64, end: f64| -> Vec<f64> {
        let rate = |i: usize| match i as f64 / steps as f64 {
            _ if i < 50 => 1e-3 * (i + 1) as f64 / 50.0,
            share if share < turn => 1e-3,
            share => 1e-3 * (end + (1.0 - end) * (1.0 - share) / (1.0 - turn)),
        };
        (0..steps).map(rate).collect()
    };
    let law = AnnealingLaw::new(2.6, 0.4, 5.0, 0.5).unwrap();
    let sums = |rates: &[f64]| {
        let rates = ndarray::Array1::from(rates.to_vec());
        AnnealingSums::builder(&rates).lambda(0.99).warm_up(50).build().unwrap()
    };
    let files = [("one", schedule(2000, 0.7, 0.1)), ("two", schedule(1500, 0.2, 0.0))];
    for (name, rates) in &files {
        let sums = sums(rates);
        let rows = (100..rates.len()).step_by(100);
        let rows = rows.map(|step| format!("{step},{}\n", law.at(sums.at(step).unwrap()).unwrap()));
        write(
            &directory,
            &format!("{name}.csv"),
            &("step,loss\n".to_string() + &rows.collect::<String>()),
        );
        let rates: String = rates.iter().map(|rate| format!("{rate}\n")).collect();
        write(&directory, &format!("{name}_rates.csv"), &("lr\n".to_string() + &rates));
    }
    let third = schedule(3000, 0.9, 0.0);
    let rates: String = third.iter().map(|rate| format!("{rate}\n")).collect();
    write(&directory, "third.csv", &rates);
    let both = "one.csv two.csv --schedule one_rates.csv --schedule two_rates.csv";
    let arguments = format!("{both} --law annealing --lambda 0.99 --warm-up 50 --predict 2999");
    let found = json(at, &format!("{arguments} --predict-schedule third.csv --plot annealing.svg"));
    for (key, wanted) in [("l0", 2.6), ("a", 0.4), ("c", 5.0), ("alpha", 0.5)] {
        close(&found[key], wanted, 1e-6);
    }
    let wanted = law.at(sums(&third).at(2999).unwrap()).unwrap();
    close(&found["predictions"][0]["loss"], wanted, 1e-8);
    let svg = picture(&directory, "annealing.svg");
    for part in ["one.csv", "two.csv", "third.csv", "step"] {
        assert!(svg.contains(part), "no {part}");
    }
    let arguments = arguments.replace("2999", "1499");
    let peak = arguments.replace("--warm-up 50", "--warm-up peak");
    close(&json(at, &peak)["l0"], 2.6, 1e-6);
    // Without it the warm-up is taken as it is: another law.
    let plain = json(at, &arguments.replace("--warm-up 50", ""));
    assert!((plain["l0"].as_f64().unwrap() - 2.6).abs() > 1e-6);

    let single = "one.csv --law annealing --schedule one_rates.csv";
    refused(at, "one.csv --law annealing", &["--schedule", "expected one"]);
    refused(at, &format!("{single} --schedule two_rates.csv"), &["2 files for 1 tables"]);
    refused(at, &format!("{single} --lambda 2"), &["one_rates.csv", "lambda is 2"]);
    refused(at, &format!("{single} --warm-up 5000"), &["warm_up is 5000"]);
    refused(at, &format!("{single} --warm-up soon"), &["--warm-up", "or peak"]);
    refused(at, &format!("{single} --predict 5000"), &["step is 5000"]);
    refused(at, &format!("{single} --predict 1.5"), &["--predict has \"1.5\"", "a step"]);
    write(&directory, "late.csv", "0,3\n5000,2\n");
    refused(at, "late.csv --law annealing --schedule one_rates.csv", &["step 5000", "2000 steps"]);
    write(&directory, "half.csv", "0.5,3\n1,2\n");
    refused(at, "half.csv --law annealing --schedule one_rates.csv", &["line 1", "whole number"]);
    write(&directory, "still.csv", &"0.1\n".repeat(3000));
    refused(at, "one.csv --law annealing --schedule still.csv", &["s2 is 0 throughout"]);
    write(&directory, "none.csv", &"0\n".repeat(3000));
    refused(at, "one.csv --law annealing --schedule none.csv", &["step 100", "are 0", "--warm-up"]);
}

#[test]
fn a_table_that_is_wrong_is_refused_by_line_and_column() {
    let directory = TempDir::new().unwrap();
    let at = directory.path();
    let good = "x,loss\n1,5\n10,4\n100,3.5\n1000,3.2\n10000,3.1\n";
    write(&directory, "good.csv", good);
    for (table, parts) in [
        ("", &["no rows"][..]),
        ("x,loss\n", &["no rows"]),
        ("x,loss\n1,2\n3\n", &["line 3 has 1 columns", "expected 2"]),
        ("x,loss\n1,2\n3,4,5\n", &["line 3 has 3 columns"]),
        ("x,loss\n1,two\n", &["line 2, column 2 (loss) is \"two\"", "a finite number"]),
        ("x;loss\n1;2,5\n", &["\"2,5\"", "a point for decimals"]),
        ("1,nan\n2,1\n", &["line 1, column 2 is \"nan\""]),
        ("1,3\n2,inf\n", &["line 2, column 2 is \"inf\""]),
        ("1,3\n0,2\n", &["line 2, column 1 is \"0\"", "above 0"]),
        ("1,3\n2,-2\n", &["line 2, column 2 is \"-2\"", "above 0"]),
        ("1,\n", &["line 1, column 2 is \"\""]),
        ("1\n2\n", &["1 columns", "at least 2"]),
        ("1,2\n2,1\n", &["2 distinct values", "at least 4"]),
        ("1,1\n2,2\n3,3\n4,4\n5,5\n", &["does not fall with x"]),
        ("1,2\n2,1\n3,1\n4,1\n5,1\n", &["cannot tell"]),
        ("x,x\n1,2\n", &["names two columns \"x\""]),
    ] {
        write(&directory, "bad.csv", table);
        refused(at, "bad.csv --law power", parts);
        // Nothing is drawn of it.
        refused(at, "bad.csv --law power --plot bad.svg", parts);
        assert!(!at.join("bad.svg").exists());
    }
    std::fs::write(at.join("bad.csv"), b"x,loss\n1,\xff\n").unwrap();
    refused(at, "bad.csv --law power", &["bad.csv: line 2 is not UTF-8"]);
    refused(at, "missing.csv --law power", &["cannot read missing.csv"]);
    refused(at, ". --law power", &["cannot read ."]);
    for (arguments, parts) in [
        ("good.csv", &["--law"][..]),
        ("--law power", &["FILE.csv"]),
        ("good.csv --law cubic", &["cubic", "power"]),
        ("good.csv --law power --x y", &["--x is y", "good.csv: x, loss"]),
        ("good.csv --law power --x x,loss", &["2 columns", "1 column"]),
        ("good.csv --law power --x loss", &["the losses are in loss", "another --loss"]),
        ("good.csv --law power --loss 3", &["--loss is 3"]),
        ("good.csv --law chinchilla", &["2 columns", "at least 3"]),
        ("good.csv --law power --huber-delta 0", &["huber_delta is 0"]),
        ("good.csv --law power --huber-delta nan", &["huber_delta is NaN"]),
        ("good.csv --law power --confidence 95", &["confidence is 95"]),
        ("good.csv --law power --predict 0", &["--predict has \"0\"", "above 0"]),
        ("good.csv --law power --predict -1", &["--predict has \"-1\""]),
        ("good.csv --law power --predict 1:2", &["--predict has \"1:2\""]),
        ("good.csv --law power --target 1", &["--target: loss is 1", "above l_inf", " nats"]),
        ("good.csv --law power --budget 1", &["--budget goes with --law bivariate or chinchilla"]),
        ("good.csv --law power --lambda 1", &["--lambda goes with --law annealing"]),
        ("good.csv --law bivariate --reference 1", &["--reference", "A:B"]),
        ("good.csv --law power --plot law.png", &["--plot is law.png", ".svg"]),
    ] {
        refused(at, arguments, parts);
    }
    // Where the losses are named, they may come first.
    let turned = good.lines().map(|line| line.split_once(',').unwrap());
    let turned: String = turned.map(|(x, loss)| format!("{loss},{x}\n")).collect();
    write(&directory, "turned.csv", &turned);
    assert_eq!(json(at, "turned.csv --law power"), json(at, "good.csv --law power"));
    // Differences may be of losses of any sign.
    write(&directory, "low.csv", "1,1\n10,0\n100,-0.5\n1000,-0.75\n10000,-0.875\n");
    refused(at, "low.csv --law power", &["column 2 is \"0\""]);
    write(&directory, "half.csv", "1,1.5\n10,1\n100,0.75\n1000,0.625\n10000,0.5625\n");
    let found = json(at, "half.csv --law power --residuals differences");
    close(&found["l_inf"], 0.5, 1e-6);
    close(&found["alpha"], 2_f64.log10(), 1e-6);
    assert_eq!(found["residuals"], "differences");
}

#[test]
fn real_losses_over_one_decade_do_not_tell_an_exponent() {
    let directory = TempDir::new().unwrap();
    let at = directory.path();
    let table = include_str!("../../examples/data/tokens.csv");
    write(&directory, "tokens.csv", table);
    let told = "tokens.csv --law power --predict 614400";
    refused(at, told, &["cannot tell alpha", "standard error", "a wider range of x"]);
    // Asked for, the law is near the losses all the same.
    let found = json(at, &format!("{told} --undetermined --plot tokens.svg"));
    assert!(found["r_squared"].as_f64().unwrap() > 0.99, "{found:?}");
    assert!(found["alpha"].as_f64() < found["standard_errors"]["alpha"].as_f64());
    let read = lines(at, &format!("{told} --undetermined"));
    assert!(read.contains("which the data hardly tells"), "{read}");
    picture(&directory, "tokens.svg");
}
