//! Lines of the oracle: any bytes, and requests of the conformance cases of which bytes are changed. Each has one answer,
//! on one line, that is a value or an error.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

const CASES: [&str; 4] = [
    include_str!("../../conformance/geometry.jsonl"),
    include_str!("../../conformance/information.jsonl"),
    include_str!("../../conformance/losses.jsonl"),
    include_str!("../../conformance/preference.jsonl"),
];

static REQUESTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let request = |line: &str| {
        let case: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        case["request"].to_string()
    };
    // What takes long with every number is fuzzed by itself.
    CASES.iter().flat_map(|file| file.lines()).map(request).filter(|r| r.len() < 4000).collect()
});

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    Bytes(&'a [u8]),
    Changed { case: u16, changes: Vec<Change<'a>> },
}

/// Bytes in place of some.
#[derive(Arbitrary, Debug)]
struct Change<'a> {
    at: u16,
    gone: u8,
    to: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    let line = match input {
        Input::Bytes(bytes) => bytes.to_vec(),
        Input::Changed { case, changes } => {
            let mut line = REQUESTS[usize::from(case) % REQUESTS.len()].clone().into_bytes();
            for Change { at, gone, to } in changes.iter().take(6) {
                let at = usize::from(*at) % (line.len() + 1);
                let end = (at + usize::from(*gone % 12)).min(line.len());
                line.splice(at..end, to.iter().take(24).copied());
            }
            line
        }
    };
    let answer = surprisal_cli::oracle_answer(&line);
    assert!(!answer.contains('\n'), "{answer}");
    let object: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    assert!(object.get("value").is_some() != object.get("error").is_some(), "{answer}");
});
