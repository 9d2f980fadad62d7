//! What a run prints when it ends.

use serde_json::Value;
use std::ffi::OsString;
use std::path::Path;

use super::record::{Finish, Measurement, Run};
use crate::output::{number, optional};
use crate::report::{Report, bytes, duration, percent, significant, with_error};

/// The results, with their units.
pub fn report(run: &Run, last: &Measurement, finish: &Finish, out: &Path) -> Report {
    let (kinds, kind) = (&run.token_kind, run.token());
    let bits = last.bits_per_token;
    let error = last.loss_standard_error;
    let bits_error = error / std::f64::consts::LN_2;
    let per_token = format!("{} bits", with_error(bits, bits_error));
    let mut report = Report::new();
    report.add(
        "perplexity",
        number(last.perplexity),
        format!(
            "{}, as unsure as a fair choice among so many {kinds}",
            with_error(last.perplexity, last.perplexity * error)
        ),
    );
    match last.bits_per_word {
        Some(bits) => report.add("bits_per_word", number(bits), per_token.clone()),
        None => report.add_json("bits_per_word", optional(None)),
    }
    match last.bits_per_word {
        Some(_) => report.add_json("bits_per_token", number(bits)),
        None => report.add("bits_per_token", number(bits), format!("{per_token} a {kind}")),
    }
    let spelling = match run.spelling_bits / run.bytes as f64 {
        share if share < 0.005 => String::new(),
        share => format!(
            ", of which {} spell unknown {kinds} and the white space",
            significant(share, 2)
        ),
    };
    report.add(
        "bits_per_byte",
        number(last.bits_per_byte),
        format!("{} bits{spelling}", significant(last.bits_per_byte, 3)),
    );
    report.add(
        "bytes",
        run.bytes,
        format!("{} of held-out text, {} {kinds}", bytes(run.bytes as usize), run.held_out),
    );
    report.add_json("spelling_bits", number(run.spelling_bits));
    report.add(
        "unknown_share",
        number(run.unknown_share),
        format!(
            "{} of the held-out {kinds} ({} in training)",
            percent(run.unknown_share),
            percent(run.training_unknown_share)
        ),
    );
    report.add_json("training_unknown_share", number(run.training_unknown_share));
    report.add(
        "unigram_perplexity",
        number(run.unigram_perplexity),
        format!("{}, from how often each comes", significant(run.unigram_perplexity, 4)),
    );
    report.add(
        "kneser_ney_perplexity",
        number(run.kneser_ney_perplexity),
        format!("{}, from counts of three in a row", significant(run.kneser_ney_perplexity, 4)),
    );
    let heads = |shares: &[f64]| shares.iter().map(|&share| number(share)).collect::<Value>();
    match finish.attention_entropy.is_empty() {
        true => report.add_json("attention_entropy", heads(&[])),
        false => report.add(
            "attention_entropy",
            heads(&finish.attention_entropy),
            format!(
                "{} nats of the heads, {} of the most that a position can have",
                each(&finish.attention_entropy, |entropy| significant(entropy, 3)),
                each(&finish.attention_entropy_share, percent)
            ),
        ),
    }
    report.add_json("attention_entropy_share", heads(&finish.attention_entropy_share));
    report.add("model", run.model.as_str(), run.model.as_str());
    report.add("parameters", run.parameters, format!("{} trained numbers", run.parameters));
    report.add("vocabulary", run.vocabulary, format!("{} classes", run.vocabulary));
    report.add_json("token_kind", kinds.as_str());
    let marks = if run.is_words() { ", punctuation marks and line breaks" } else { "" };
    report.add("tokens", run.tokens, format!("{} {kinds}{marks} in all", run.tokens));
    let interrupted = if finish.interrupted { ", interrupted" } else { "" };
    report.add("steps", last.step, format!("{} of {}{interrupted}", last.step, run.steps));
    report.add_json("interrupted", finish.interrupted);
    report.add("seconds", number(finish.seconds), duration(finish.seconds));
    let out = out.display().to_string();
    let shown = printable(&out);
    report.add("out", out, shown);
    report
}

fn each(numbers: &[f64], written: impl Fn(f64) -> String) -> String {
    numbers.iter().map(|&number| written(number)).collect::<Vec<_>>().join(", ")
}

/// What to open or run next.
pub fn next(run: &Run, finish: &Finish, text: Option<&Path>, out: &Path) -> String {
    let program = program(std::env::args_os().next());
    let of = |name: &str, option: &str| with_value(option, &out.join(name));
    let report = out.join("report.html");
    // No option of whatever opens it.
    let report = if begins_with_hyphen(&report) { Path::new(".").join(report) } else { report };
    let report = quoted(&report.display().to_string());
    let out = with_value("--out", out);
    let text = text.map_or(String::new(), |text| format!("{} ", with_value("--text", text)));
    // An interrupted run has steps left.
    let (aim, steps) = match finish.interrupted {
        true => ("To go on:      ", String::new()),
        false => ("To train longer:", format!(" --steps {}", run.steps.saturating_mul(2))),
    };
    format!(
        "\nHow it learnt, in pictures: open {report}\nIts loss from the files:    {program} loss {} {} {} \
         {}\n{aim}            {program} train {text}{out} --resume{steps}\n",
        of("hidden.npy", "--hidden"),
        of("model.safetensors:classifier", "--classifier"),
        of("model.safetensors:bias", "--bias"),
        of("targets.npy", "--targets")
    )
}

/// This program as it was called: it may not be where a shell looks.
fn program(called: Option<OsString>) -> String {
    match called.filter(|called| !called.is_empty()) {
        Some(called) => quoted(&called.to_string_lossy()),
        None => "surprisal".into(),
    }
}

/// An option and its value, which is no other option.
fn with_value(option: &str, value: &Path) -> String {
    let between = if begins_with_hyphen(value) { '=' } else { ' ' };
    format!("{option}{between}{}", quoted(&value.display().to_string()))
}

fn begins_with_hyphen(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().first() == Some(&b'-')
}

/// As a shell reads it back, where it can be printed.
fn quoted(text: &str) -> String {
    let plain =
        |c: char| c.is_alphanumeric() || "/._-:+,@%=".contains(c) || (cfg!(windows) && c == '\\');
    match !text.is_empty() && text.chars().all(plain) {
        true => text.into(),
        false => format!("'{}'", printable(&text.replace('\'', "'\\''"))),
    }
}

/// Without control characters, which a terminal would obey.
pub fn printable(text: &str) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.into() };
    text.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_names_back() {
        assert_eq!(quoted("run-1/hidden.npy"), "run-1/hidden.npy");
        assert_eq!(quoted("my run"), "'my run'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(quoted("a\u{1b}b"), "'a\\u{1b}b'");
        assert_eq!(quoted(""), "''");
        assert_eq!(program(Some("target/release/surprisal".into())), "target/release/surprisal");
        assert_eq!(program(Some("/my own/surprisal".into())), "'/my own/surprisal'");
        assert_eq!(program(None), "surprisal");
        assert_eq!(with_value("--out", Path::new("run")), "--out run");
        assert_eq!(with_value("--out", Path::new("-x")), "--out=-x");
    }
}
