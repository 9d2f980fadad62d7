use std::collections::BTreeSet;

use super::text::{bytes, grouped, number, seconds};
use super::*;
use crate::train::record::{Finish, Measurement, Run, Step};

fn run() -> Run {
    Run {
        model: "transformer".into(),
        parameters: 1_387_520,
        teacher: None,
        text: "/home/reader/texts/<six> \"tragedies\" & more.txt".into(),
        token_kind: "words".into(),
        tokens: 225_318,
        training_tokens: 202_786,
        held_out: 22_532,
        unknown_share: 0.061,
        training_unknown_share: 0.032,
        bytes: 104_000,
        spelling_bits: 20_800.0,
        vocabulary: 6143,
        width: 128,
        context: 32,
        steps: 600,
        steps_at_first: 600,
        batch: 1024,
        seed: 0,
        threads: 2,
        dropout: 0.2,
        learning_rate: 0.012,
        weight_decay: 0.5,
        unigram_perplexity: 436.8,
        kneser_ney_perplexity: 113.2,
        instruction_set: "avx512".into(),
        version: "0.1.0".into(),
    }
}

/// Numbers in 0 … 1 that look like chance.
fn scatter(step: usize) -> f64 {
    (step as f64 * 12.9898).sin().mul_add(43758.5453, 0.0).rem_euclid(1.0)
}

fn training_loss(step: usize) -> f64 {
    let step = step as f64;
    3.95 + 2.4 / (1.0 + (step / 25.0).powf(0.9)) + 2.4 * (-step / 4.0).exp()
}

fn step(step: usize) -> Step {
    Step {
        step,
        loss: training_loss(step) + 0.3 * (scatter(step) - 0.5),
        rate: 0.012,
        gradient_norm: 1.0,
        seconds: 0.11 * step as f64,
    }
}

fn measurement(step: usize) -> Measurement {
    let time = step as f64;
    let loss = training_loss(step) + 0.35 * (time / 600.0);
    let rank = 62.0 - 40.0 * (1.0 - (-time / 6.0).exp()) + 55.0 * (1.0 - (-time / 60.0).exp())
        - time / 40.0;
    let alpha = 0.6 + 0.4 * (1.0 - (-time / 8.0).exp()) + time / 2000.0;
    let eigenvalues: Vec<f64> = (1..=128)
        .map(|rank| f64::from(rank).powf(-alpha) * (-f64::from(rank) * 0.004).exp() * 12.0)
        .collect();
    Measurement {
        step,
        seconds: 0.11 * time + 0.4,
        positions: 22_532,
        loss,
        loss_standard_error: 0.02,
        perplexity: loss.exp(),
        bits_per_token: loss / std::f64::consts::LN_2,
        bits_per_word: Some(loss / std::f64::consts::LN_2),
        bits_per_byte: 0.2 + 22_532.0 * loss / std::f64::consts::LN_2 / 104_000.0,
        entropy: loss - 0.3 + 0.4 * (-time / 30.0).exp(),
        varentropy: 2.0 + 3.4 * (1.0 - (-time / 40.0).exp()),
        accuracy: 0.06 + 0.19 * (1.0 - (-time / 90.0).exp()),
        rows: 2048,
        rankme: rank + 28.0,
        effective_rank: rank,
        alpha_req: Some(alpha + 0.15),
        alpha_req_r2: Some(0.984),
        alpha_req_range: Some([10, 100]),
        dse: 7.2 + 2.1 * (1.0 - (-time / 50.0).exp()),
        dsmi: 0.1 + 0.9 * (1.0 - (-time / 70.0).exp()),
        sigma: 14.2,
        tiles_kept: 1.0 - 0.12 * (1.0 - (-time / 60.0).exp()),
        tiles_kept_2e_12: 1.0 - 0.86 * (1.0 - (-time / 30.0).exp()),
        eigenvalues,
    }
}

fn finish() -> Finish {
    Finish {
        seconds: 74.2,
        perplexity: measurement(600).perplexity,
        workspace_bytes: Some(5_400_000),
        materialised_bytes: Some(25_165_824),
        fused_seconds: Some(0.0384),
        materialised_seconds: Some(0.0571),
        attention_entropy: vec![1.5, 3.25],
        attention_entropy_share: vec![0.375, 0.8125],
        interrupted: false,
    }
}

const MEASURED: [usize; 14] = [0, 1, 2, 5, 10, 15, 20, 35, 50, 100, 200, 300, 450, 600];

/// A whole run.
fn record() -> Vec<Line> {
    let mut lines = vec![Line::Run(run())];
    for at in 0..=600 {
        if at > 0 {
            lines.push(Line::Step(step(at)));
        }
        if MEASURED.contains(&at) {
            lines.push(Line::Measurement(measurement(at)));
        }
    }
    lines.push(Line::Finish(finish()));
    lines
}

/// A page that is right in everything that any page has to be; `SURPRISAL_PICTURES` keeps it.
fn page(name: &str, lines: &[Line]) -> String {
    let page = html(lines);
    if let Some(kept) = std::env::var_os("SURPRISAL_PICTURES") {
        std::fs::write(std::path::Path::new(&kept).join(format!("{name}.html")), &page).unwrap();
    }
    well_formed(&page);
    for outside in ["http:", "https:", "src=", "href=", "url(", "@import", "<script", "<link", "//"]
    {
        assert!(!page.contains(outside), "{outside} in {name}");
    }
    page
}

/// Checks that every tag is closed, attributes are quoted and finite, identities are unique and are
/// there where they are referred to.
fn well_formed(page: &str) {
    let body = page.strip_prefix("<!doctype html>").expect("a document type");
    let mut open: Vec<&str> = Vec::new();
    let (mut identities, mut wanted) = (BTreeSet::new(), BTreeSet::new());
    let mut rest = body;
    while let Some((before, after)) = rest.split_once('<') {
        let style = open.last() == Some(&"style");
        assert!(style || !before.contains('>'), "a stray > in {before}");
        for (at, _) in before.match_indices('&').filter(|_| !style) {
            let name = before[at + 1..].split(';').next().unwrap();
            assert!(["amp", "lt", "gt", "quot", "#39"].contains(&name), "&{name} in {before}");
        }
        let (tag, following) = after.split_once('>').expect("a tag that ends");
        rest = following;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "closed before {}", &rest[..rest.len().min(80)]);
            continue;
        }
        let empty = tag.ends_with(" /");
        let tag = tag.strip_suffix(" /").unwrap_or(tag);
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric()), "<{tag}>");
        let mut pieces = attributes.split('"');
        while let Some(key) = pieces.next().map(str::trim).filter(|key| !key.is_empty()) {
            let key = key.strip_suffix('=').unwrap_or_else(|| panic!("{key} in <{tag}>"));
            let value = pieces.next().unwrap_or_else(|| panic!("{key} in <{tag}> has no value"));
            assert!(!key.contains('='), "{key} in <{tag}>");
            match key {
                "id" => assert!(identities.insert(value), "{value} twice"),
                "aria-labelledby" | "aria-describedby" => wanted.extend(value.split(' ')),
                "x" | "y" | "x1" | "x2" | "y1" | "y2" | "cx" | "cy" | "r" | "width" | "height" => {
                    on_the_page(value, tag);
                }
                "d" => path(value),
                _ => {}
            }
        }
        if !empty {
            open.push(name);
        }
    }
    assert_eq!(open, [""; 0], "not closed");
    assert!(rest.trim().is_empty());
    assert!(wanted.is_subset(&identities), "{wanted:?} not in {identities:?}");
}

fn on_the_page(value: &str, tag: &str) {
    if value != "device-width" {
        let number: f64 = value.parse().unwrap_or_else(|_| panic!("{value} in <{tag}>"));
        assert!((-10.0..=490.0).contains(&number), "{number} in <{tag}>");
    }
}

fn path(value: &str) {
    assert!(value.starts_with('M'), "{value}");
    for number in value.split(['M', 'L', 'l', 'h', 'z', ' ']).filter(|part| !part.is_empty()) {
        on_the_page(number, value);
    }
}

fn has(page: &str, parts: &[&str]) {
    for part in parts {
        assert!(page.contains(part), "no {part} in the page");
    }
}

/// The element that begins with this.
fn element<'a>(page: &'a str, start: &str, end: &str) -> &'a str {
    let at = page.find(start).unwrap_or_else(|| panic!("no {start}"));
    page[at..].split_once(end).unwrap_or_else(|| panic!("{start} does not end")).0
}

fn chart<'a>(page: &'a str, id: &str) -> &'a str {
    element(page, &format!("<title id=\"{id}-title\">"), "</svg>")
}

#[test]
fn a_whole_run() {
    let lines = record();
    let page = page("whole", &lines);
    assert_eq!(page, html(&lines));
    assert_eq!(page.matches("<svg").count(), 13);
    assert_eq!(page.matches("<title id=").count(), 13);
    assert_eq!(page.matches("<desc").count(), 13);
    assert!(!page.contains("class=\"notice\""));
    let text = "Transformer trained on &lt;six&gt; &quot;tragedies&quot; &amp; more.txt";
    assert_eq!(page.matches(text).count(), 2);
    has(
        &page,
        &[
            "<bdi>/<wbr />home/<wbr />reader/<wbr />texts/<wbr />&lt;six&gt; &quot;tragedies&quot; &amp; more.txt</bdi>",
        ],
    );
    for id in ["loss", "perplexity", "entropy", "ranks", "dse", "tiles", "eigenspectrum"] {
        assert!(chart(&page, id).contains("<path class=\"line"), "{id}");
    }
    has(chart(&page, "loss"), &["unigram 6.079", "Kneser–Ney 4.729", "held-out", "entropy"]);
    has(chart(&page, "perplexity"), &["unigram 436.8", "Kneser–Ney 113.2"]);
    assert_eq!(chart(&page, "eigenspectrum").matches("class=\"fit\"").count(), 4);
}

/// What a token is, how many are unknown, and that the plan was changed.
#[test]
fn tokens_and_plans_of_other_kinds() {
    let run = Run {
        token_kind: "characters".into(),
        unknown_share: 0.25,
        training_unknown_share: 0.08,
        steps_at_first: 300,
        ..run()
    };
    let page = page("characters", &[Line::Run(run), Line::Measurement(measurement(600))]);
    has(
        &page,
        &[
            "25 % of the held-out characters and 8 % of the others are unknown",
            "6143 <span class=\"unit\">characters</span>",
            "Bits per character",
            "losses are per character",
            "600 of 600, at first 300",
        ],
    );
    let finished = super::html(&record());
    assert!(!finished.contains("are unknown, all of one") && !finished.contains("at first"));
}

#[test]
fn every_final_figure_has_its_row() {
    let page = page("whole", &record());
    let last = measurement(600);
    let table = element(&page, "<table class=\"figures\">", "</table>");
    for (name, value) in [
        ("Perplexity", finish().perplexity),
        ("Bits per word", last.bits_per_token),
        ("Bits per byte", last.bits_per_byte),
        ("Loss", last.loss),
        ("Entropy", last.entropy),
        ("Varentropy", last.varentropy),
        ("Accuracy", 100.0 * last.accuracy),
        ("RankMe", last.rankme),
        ("Effective rank", last.effective_rank),
        ("α-ReQ", last.alpha_req.unwrap()),
        ("DSE", last.dse),
        ("DSMI", last.dsmi),
        ("Tiles kept, auto", 100.0 * last.tiles_kept),
        ("Tiles kept, 2⁻¹²", 100.0 * last.tiles_kept_2e_12),
    ] {
        let row = element(table, &format!("<th scope=\"row\">{name}</th>"), "</tr>");
        has(row, &[&format!("<td class=\"number\">{}", number(value))]);
    }
    has(&page, &["5.15 MiB", "24 MiB", "38.4 ms", "57.1 ms", "74.2"]);
    assert_eq!(
        element(&page, "<table class=\"numbers every\">", "</table>").matches("<tr>").count(),
        15
    );
}

#[test]
fn phases_are_told_from_the_effective_rank() {
    let course = |ranks: &[f64], alphas: &[f64]| {
        let measurements: Vec<Measurement> = ranks
            .iter()
            .zip(alphas)
            .enumerate()
            .map(|(index, (&effective_rank, &alpha))| Measurement {
                effective_rank,
                alpha_req: (!alpha.is_nan()).then_some(alpha),
                ..measurement(10 * index)
            })
            .collect();
        let phases = Phases::new(&measurements.iter().collect::<Vec<_>>());
        phases.map(|phases| (phases.sentences().join(" "), phases.spans()))
    };
    let (text, spans) =
        course(&[50.0, 20.0, 30.0, 60.0, 40.0], &[1.0, 1.0, 0.9, 0.8, 1.2]).unwrap();
    has(
        &text,
        &[
            "Warm-up: yes. The effective rank collapses from 50 to 20 between steps 0 and 10",
            "Entropy-seeking: yes. It rises from 20 to 60 between steps 10 and 30; α falls, from 1 to 0.8.",
            "Compression-seeking: yes. The rank falls again from 60 to 40 between steps 30 and 40, and \
             α rises, from 0.8 to 1.2",
        ],
    );
    let all =
        [(1, "warm-up", 0, 10), (2, "entropy-seeking", 10, 30), (3, "compression-seeking", 30, 40)];
    assert_eq!(spans, all);

    let (text, spans) = course(&[20.0, 30.0, 29.9, 60.0], &[1.0; 4]).unwrap();
    has(
        &text,
        &[
            "Warm-up: no",
            "Entropy-seeking: yes",
            "Compression-seeking: no. The rank rises to the end",
        ],
    );
    assert_eq!(spans, [(2, "entropy-seeking", 0, 30)]);

    // The greatest rise parts the phases, not the highest rank.
    let (_, spans) = course(&[50.0, 60.0, 20.0, 55.0, 30.0], &[1.0; 5]).unwrap();
    let all =
        [(1, "warm-up", 0, 20), (2, "entropy-seeking", 20, 30), (3, "compression-seeking", 30, 40)];
    assert_eq!(spans, all);

    let (text, _) = course(&[20.0, 60.0, 58.0], &[1.0, 1.0, 1.3]).unwrap();
    has(
        &text,
        &["Compression-seeking: no. After its peak", "less than 5 %; α rises, from 1 to 1.3"],
    );
    let (text, _) = course(&[20.0, 60.0, 40.0], &[1.0, 1.0, 0.5]).unwrap();
    has(&text, &["Compression-seeking: yes", "but α falls, from 1 to 0.5"]);
    let (text, _) = course(&[20.0, 60.0, 40.0], &[1.0, 1.0, f64::NAN]).unwrap();
    has(&text, &["without an α beside it"]);

    let (text, spans) = course(&[60.0, 50.0, 30.0], &[1.0; 3]).unwrap();
    has(&text, &["cannot be told from"]);
    assert_eq!(spans, []);
    let (text, _) = course(&[60.0, 59.0, 60.0], &[1.0; 3]).unwrap();
    has(&text, &["none of the three phases is there"]);
    assert!(course(&[60.0, f64::NAN, 70.0], &[1.0; 3]).is_none());
}

#[test]
fn a_resumed_run_counts_what_came_later() {
    let old = |at| Line::Step(Step { loss: 99.0, ..step(at) });
    let stale = Measurement { loss: 99.0, ..measurement(4) };
    let interrupted = Finish { interrupted: true, ..finish() };
    let mut lines = vec![Line::Run(run()), Line::Measurement(measurement(0)), Line::Step(step(1))];
    lines.extend([old(2), old(3), old(4), Line::Measurement(stale), Line::Finish(interrupted)]);
    lines.extend([Line::Run(run()), Line::Step(step(2)), Line::Step(step(3))]);
    let history = History::new(&lines);
    assert_eq!(history.resumed, 1);
    assert_eq!(history.steps, [&step(1), &step(2), &step(3)]);
    assert_eq!(history.measurements, [&measurement(0)]);
    assert!(history.finish.is_none());
    has(&page("resumed", &lines), &["after step 3 of 600", "<td>once</td>"]);
}

#[test]
fn records_of_little() {
    let missing = Measurement {
        loss: f64::NAN,
        perplexity: f64::INFINITY,
        entropy: f64::NEG_INFINITY,
        varentropy: f64::NAN,
        rankme: f64::NAN,
        effective_rank: 0.0,
        alpha_req: None,
        alpha_req_r2: None,
        alpha_req_range: None,
        dse: f64::NAN,
        dsmi: f64::NAN,
        rows: 0,
        eigenvalues: vec![],
        ..measurement(1)
    };
    let diverged = Step { loss: f64::NAN, gradient_norm: f64::INFINITY, ..step(2) };
    let interrupted = Finish {
        interrupted: true,
        perplexity: f64::NAN,
        seconds: f64::NAN,
        workspace_bytes: None,
        materialised_bytes: Some(0),
        fused_seconds: Some(0.0),
        materialised_seconds: None,
        attention_entropy: Vec::new(),
        attention_entropy_share: Vec::new(),
    };
    let unnamed = Run {
        model: String::new(),
        text: "\u{0}\u{202e}<script>alert('x')</script>".into(),
        tokens: 0,
        steps: 1,
        unigram_perplexity: f64::NAN,
        kneser_ney_perplexity: f64::INFINITY,
        ..run()
    };
    for (name, lines) in [
        ("nothing", vec![]),
        ("run", vec![Line::Run(run())]),
        ("unnamed", vec![Line::Run(unnamed), Line::Step(step(1))]),
        ("step", vec![Line::Run(run()), Line::Step(step(1))]),
        ("diverged", vec![Line::Run(run()), Line::Step(step(1)), Line::Step(diverged)]),
        ("start", vec![Line::Run(run()), Line::Measurement(measurement(0))]),
        ("one", vec![Line::Run(run()), Line::Step(step(1)), Line::Measurement(measurement(1))]),
        (
            "missing",
            vec![Line::Run(run()), Line::Step(step(1)), Line::Measurement(missing.clone())],
        ),
        (
            "interrupted",
            vec![Line::Run(run()), Line::Step(step(1)), Line::Finish(interrupted.clone())],
        ),
        ("unbegun", vec![Line::Measurement(missing), Line::Finish(interrupted)]),
    ] {
        let page = page(name, &lines);
        assert!(page.contains("class=\"notice\""), "{name}");
    }
    has(&html(&[]), &["Nothing was measured", "nothing was measured"]);
}

#[test]
fn measurements_with_holes() {
    let mut lines = vec![Line::Run(run())];
    for (index, at) in MEASURED.into_iter().enumerate() {
        if at > 0 {
            lines.push(Line::Step(step(at)));
        }
        let mut measurement = measurement(at);
        if index % 3 == 2 {
            measurement.loss = f64::NAN;
            measurement.dse = f64::INFINITY;
            measurement.alpha_req = None;
            measurement.effective_rank = f64::NAN;
        }
        lines.push(Line::Measurement(measurement));
    }
    let page = page("holes", &lines);
    let curve = element(chart(&page, "dse"), "<path class=\"line s1\" d=", " />");
    assert_eq!(curve.matches('M').count(), 5);
}

#[test]
fn numbers_of_any_size() {
    for (name, scale) in [("tiny", 1e-300), ("huge", 1e305), ("negative", -5.0), ("zero", 0.0)] {
        let mut lines = vec![Line::Run(run())];
        for at in [0, 1, 10, 1_000_000_000] {
            let ordinary = measurement(at.min(600));
            lines.push(Line::Step(Step { loss: scale * at as f64, ..step(at) }));
            lines.push(Line::Measurement(Measurement {
                step: at,
                loss: scale * ordinary.loss,
                perplexity: scale * ordinary.perplexity,
                entropy: scale * ordinary.entropy,
                varentropy: scale,
                rankme: scale * ordinary.rankme,
                effective_rank: scale * ordinary.effective_rank,
                alpha_req: Some(scale),
                dse: scale * ordinary.dse,
                eigenvalues: ordinary.eigenvalues.iter().map(|value| scale * value).collect(),
                ..ordinary
            }));
        }
        page(name, &lines);
    }
}

#[test]
fn numbers_and_their_units() {
    assert_eq!(number(1_234_567.0), "1\u{202f}234\u{202f}567");
    assert_eq!(number(-12_345.0), "−12\u{202f}345");
    assert_eq!((number(f64::NAN), number(f64::INFINITY)), ("–".into(), "∞".into()));
    assert_eq!(number(1e300), "1.00e300");
    assert_eq!((grouped(0), grouped(9999)), ("0".into(), "9999".into()));
    assert_eq!(grouped(u64::MAX).chars().filter(char::is_ascii_digit).count(), 20);
    assert_eq!(bytes(0), ("0".into(), "B"));
    assert_eq!(bytes(999), ("999".into(), "B"));
    assert_eq!(bytes(1024 * 1024), ("1".into(), "MiB"));
    assert_eq!(bytes(u64::MAX), ("16".into(), "EiB"));
    assert_eq!(seconds(0.0), ("0".into(), "s"));
    assert_eq!(seconds(1.5e-5), ("15".into(), "µs"));
    assert_eq!(seconds(90.0), ("90".into(), "s"));
    assert_eq!(seconds(600.0), ("10".into(), "min"));
    assert_eq!(seconds(f64::NAN), ("–".into(), "s"));
    assert_eq!(escaped("a<b>&\"'\u{7}"), "a&lt;b&gt;&amp;&quot;&#39;\u{fffd}");
}
