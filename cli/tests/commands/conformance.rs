//! `conformance/` as its README has it: the script that checks any program, and the C program that fuzzes its own loss.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance")
}

/// What `check.sh` makes of a program, or nothing where there is no `jq`, which is said even of a test that passes.
fn check(arguments: &[&str]) -> Option<Output> {
    if Command::new("jq").arg("--version").output().is_err() {
        // Not `eprintln!`, whose text the harness keeps to itself.
        let told = b"jq is not there: conformance/check.sh has not been tried\n";
        std::io::stderr().write_all(told).unwrap();
        return None;
    }
    let mut command = Command::new("sh");
    command.arg(folder().join("check.sh")).args(arguments);
    Some(command.env_remove("SURPRISAL_ISA").output().unwrap())
}

/// The exit status, the lines printed, and the numbers of the last: cases, and those that differ.
fn verdict(output: &Output) -> (Option<i32>, Vec<String>, [usize; 2]) {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let lines: Vec<String> = text.lines().map(String::from).collect();
    let summary = lines.iter().find(|line| line.ends_with(" differ"));
    let summary = summary.unwrap_or_else(|| panic!("{output:?}"));
    let counts: Vec<_> = summary.split(' ').filter_map(|word| word.parse().ok()).collect();
    (output.status.code(), lines, [counts[0], counts[1]])
}

const SURPRISAL: &str = env!("CARGO_BIN_EXE_surprisal");

#[test]
fn the_script_finds_the_oracle_right_and_one_wrong_function_wrong() {
    let Some(right) = check(&[SURPRISAL, "oracle"]) else { return };
    let (status, lines, [asked, differ]) = verdict(&right);
    assert_eq!((status, differ), (Some(0), 0), "{lines:#?}");
    assert!(asked > 500, "{lines:#?}");
    assert!(right.stderr.is_empty(), "{right:?}");

    // One number of one function, by a digit that its tolerance does not let pass.
    let wrong = format!(
        "sed '/\"focal\"/s/\"gamma\":2\\([,}}]\\)/\"gamma\":2.000001\\1/' | '{SURPRISAL}' oracle"
    );
    let (status, lines, [asked_again, differ]) = verdict(&check(&["sh", "-c", &wrong]).unwrap());
    assert_eq!((status, asked_again), (Some(1), asked));
    assert!(differ > 0 && lines.len() == differ + 1, "{lines:#?}");
    let of_focal = |line: &String| line.contains(" (focal): response.") && line.contains("wanted ");
    assert!(lines[..differ].iter().all(of_focal), "{lines:#?}");
}

#[test]
fn the_script_takes_no_answer_for_a_right_one() {
    let of = |program: &str| Some(verdict(&check(&["-f", "mae", "sh", "-c", program])?));
    let Some((status, lines, [asked, differ])) = of("exit 3") else { return };
    assert_eq!((status, differ), (Some(1), asked));
    assert!(lines.last().unwrap().contains("exit status 3"), "{lines:#?}");

    // What it reads; what is no JSON, NaN among them; an error throughout; all lines twice.
    let oracle = format!("'{SURPRISAL}' oracle");
    let nan = format!("{oracle} | sed 's/\"value\":\\[[-0-9.e]*/\"value\":[NaN/'");
    for program in ["cat", "sed 's/.*/]/'", &nan] {
        let (status, lines, [_, differ]) = of(program).unwrap();
        // A value is wanted in all of its cases but those that are to be refused.
        let refusals = usize::from(program == nan);
        assert_eq!((status, differ), (Some(1), asked - refusals), "{program}: {lines:#?}");
    }
    let (status, lines, [_, differ]) = of("sed 's/.*/{\"error\":\"no\"}/'").unwrap();
    assert_eq!((status, differ), (Some(1), asked - 1), "{lines:#?}");
    let (status, lines, [_, _]) = of(&format!("{oracle} | sed p")).unwrap();
    assert_eq!(status, Some(1), "{lines:#?}");
    assert!(lines.last().unwrap().contains("lines for"), "{lines:#?}");
}

#[test]
fn the_script_says_why_it_asks_nothing() {
    let lists_nothing = "while read -r line; do echo '{\"value\":{}}'; done";
    for (arguments, part) in [
        (vec![], "usage: check.sh"),
        (vec!["/nowhere/program"], "no program /nowhere/program"),
        (vec!["-f", "mae,mea", "cat"], "no case of mea"),
        (vec!["-c", "/nowhere/cases", "cat"], "/nowhere/cases"),
        (vec!["-c", "/dev/null", "cat"], "no cases"),
        (vec!["sh", "-c", lists_nothing], "lists no function"),
    ] {
        let Some(output) = check(&arguments) else { return };
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(message.contains(part), "{arguments:?}: {message}");
    }
}

/// `cc` is there wherever Rust is on Unix, which links with it.
#[test]
fn the_program_in_c_finds_the_overflow_and_its_repair() {
    let scratch = tempfile::tempdir().unwrap();
    let program = scratch.path().join("fuzz_naive_softmax");
    let built = Command::new("cc")
        .args(["-std=c99", "-Wall", "-Wextra", "-O2", "-o"])
        .arg(&program)
        .arg(folder().join("fuzz_naive_softmax.c"))
        .arg("-lm")
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));

    let ran = |arguments: &[&str]| {
        Command::new(&program).args(arguments).env_remove("SURPRISAL_ISA").output().unwrap()
    };
    let output = ran(&[SURPRISAL, "oracle"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let naive = text.lines().find(|line| line.starts_with("naive: ")).unwrap();
    assert!(naive.contains("overflows from spread 128 on"), "{text}");
    // The largest logit of the luckiest of the rows that overflow: about ln of the largest float.
    let least: f32 = naive.rsplit(' ').next().unwrap().parse().unwrap();
    assert!((f32::MAX.ln() - 8_f32.ln()..1.1 * f32::MAX.ln()).contains(&least), "{text}");
    assert!(text.ends_with("\nrepaired: 0 of 2200 losses differ\n"), "{text}");

    // An oracle that is none: not there, silent, or one that refuses.
    for arguments in [&["/nowhere/oracle"][..], &["true"], &["cat"], &[SURPRISAL, "devices"], &[]] {
        let output = ran(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{arguments:?}: {output:?}");
    }
}
