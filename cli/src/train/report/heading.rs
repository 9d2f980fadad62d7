//! What the page begins with: what was trained on what, the result, and three small tables.

use std::fmt::Write;

use super::history::History;
use super::parts::section;
use super::text::{escaped, grouped, number, percent, seconds};
use crate::train::unknown::WARNED;

/// What was trained on what.
pub fn heading(history: &History<'_>) -> String {
    let Some(run) = history.run else { return "A run without its first line".into() };
    // The file alone: where it lies is in the table.
    let name = run.text.rsplit(['/', '\\']).find(|part| !part.is_empty()).unwrap_or(&run.text);
    let mut letters = run.model.chars();
    let model: String = match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => "A model".into(),
    };
    let short: String = name.chars().take(80).collect();
    let rest = if name.chars().nth(80).is_some() { "…" } else { "" };
    format!("{model} trained on {short}{rest}")
}

/// The result in a sentence or two.
pub fn lead(history: &History<'_>) -> String {
    let perplexity = history.perplexity();
    let steps = match history.last_step() {
        1 => "1 step".into(),
        steps => format!("{} steps", grouped(steps as u64)),
    };
    if !perplexity.is_finite() {
        return format!("After {steps} there is no held-out perplexity.");
    }
    let (time, unit) = seconds(history.seconds());
    let mut lead = format!(
        "After {steps} and {time} {unit} the held-out perplexity is <strong>{}</strong> ({} bits a \
         {}",
        number(perplexity),
        number(perplexity.log2()),
        history.token()
    );
    match history.last().map(|last| last.bits_per_byte).filter(|bits| bits.is_finite()) {
        Some(bits) => {
            let _ = write!(lead, ", {} bits a byte of the text)", number(bits));
        }
        None => lead.push(')'),
    }
    let mut others = Vec::new();
    if let Some(run) = history.run {
        for (name, other) in [
            ("a unigram model’s", run.unigram_perplexity),
            ("the interpolated Kneser–Ney trigram’s", run.kneser_ney_perplexity),
        ] {
            if other.is_finite() && other > 0.0 {
                let side = if perplexity < other { "below" } else { "not below" };
                others.push(format!("{side} {name} {}", number(other)));
            }
        }
    }
    if !others.is_empty() {
        let _ = write!(lead, ": {}", others.join(" and "));
    }
    lead + "."
}

/// What the reader has to know first, where the run has not ended as it should.
pub fn notice(history: &History<'_>) -> String {
    let planned = history.run.map_or(0, |run| run.steps);
    let last = history.last_step();
    let text = match history.finish {
        Some(finish) if finish.interrupted => format!(
            "The run was interrupted after step {} of {}: what follows is what was measured until then.",
            grouped(last as u64),
            grouped(planned as u64)
        ),
        Some(_) => return String::new(),
        None => format!(
            "The record has no end: it stops after step {} of {}. The run goes on, or was ended from \
             outside.",
            grouped(last as u64),
            grouped(planned as u64)
        ),
    };
    format!("<p class=\"notice\">{text}</p>\n")
}

fn learns_from(teacher: &str) -> String {
    format!("the text and <bdi>{}</bdi>", escaped(teacher).replace('/', "/<wbr />"))
}

/// A warning where the perplexity flatters.
pub fn unknown(history: &History<'_>) -> String {
    let Some(run) = history.run else { return String::new() };
    let worst = run.unknown_share.max(run.training_unknown_share);
    if worst.is_nan() || worst <= WARNED {
        return String::new();
    }
    format!(
        "<p class=\"notice\">{} % of the held-out {} and {} % of the others are unknown, all of one \
         class: the perplexity flatters. Bits per byte have their spelling in them.</p>\n",
        percent(run.unknown_share),
        escaped(&run.token_kind),
        percent(run.training_unknown_share)
    )
}

/// Model, text and training, as three small tables.
pub fn facts(history: &History<'_>) -> String {
    let mut section = section("run", "The run");
    let Some(run) = history.run else {
        return section + "<p>The record does not say what was trained.</p>\n</section>\n";
    };
    let count = |count: usize| grouped(count as u64);
    let unit = |value: String, unit: &str| format!("{value} <span class=\"unit\">{unit}</span>");
    let share = |part: usize| match run.tokens {
        0 => String::new(),
        all => format!(" ({} %)", percent(part as f64 / all as f64)),
    };
    let (time, time_unit) = seconds(history.seconds());
    let kinds = history.tokens();
    let mut steps = format!("{} of {}", count(history.last_step()), count(run.steps));
    if run.steps_at_first != run.steps {
        let _ = write!(steps, ", at first {}", count(run.steps_at_first));
    }
    let resumed = match history.resumed {
        0 if run.steps_at_first == run.steps => "no".into(),
        0 => "to other steps".into(),
        1 => "once".into(),
        times => format!("{times} times"),
    };
    let tables = [
        (
            "Model",
            vec![
                ("Kind", escaped(&run.model)),
                ("Learns from", run.teacher.as_deref().map_or("the text".into(), learns_from)),
                ("Trained parameters", count(run.parameters)),
                ("Width D of the hidden states", count(run.width)),
                ("Context", unit(count(run.context), &kinds)),
                ("Vocabulary V", unit(count(run.vocabulary), &kinds)),
            ],
        ),
        (
            "Text",
            vec![
                ("Name", format!("<bdi>{}</bdi>", escaped(&run.text).replace('/', "/<wbr />"))),
                ("Tokens in all", unit(count(run.tokens), &kinds)),
                ("Trained on", count(run.training_tokens) + &share(run.training_tokens)),
                ("Held out", count(run.held_out) + &share(run.held_out)),
                ("Held-out text", unit(grouped(run.bytes), "bytes")),
                ("Unknown of the held-out", unit(percent(run.unknown_share), "%")),
                ("Unknown in training", unit(percent(run.training_unknown_share), "%")),
                ("Unigram perplexity", number(run.unigram_perplexity)),
                ("Kneser–Ney perplexity", number(run.kneser_ney_perplexity)),
            ],
        ),
        (
            "Training",
            vec![
                ("Steps", steps),
                ("Positions a step", count(run.batch)),
                ("Highest learning rate", number(run.learning_rate)),
                ("Weight decay", number(run.weight_decay)),
                ("Dropout", unit(percent(run.dropout), "%")),
                ("Seed", run.seed.to_string()),
                ("Threads", count(run.threads)),
                ("Instruction set", escaped(&run.instruction_set)),
                ("Time", unit(time, time_unit)),
                ("Resumed", resumed),
            ],
        ),
    ];
    section += "<div class=\"grid facts\">\n";
    for (caption, rows) in tables {
        let _ = writeln!(section, "<table><caption>{caption}</caption><tbody>");
        for (name, value) in rows {
            let long = if name == "Name" { " class=\"long\"" } else { "" };
            let _ =
                writeln!(section, "<tr><th scope=\"row\">{name}</th><td{long}>{value}</td></tr>");
        }
        section += "</tbody></table>\n";
    }
    section + "</div>\n</section>\n"
}
