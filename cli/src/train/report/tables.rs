//! The figures as numbers: those of the end with how to read them, and all of them.

use std::fmt::Write;

use super::history::History;
use super::parts::section;
use super::text::{decimals, grouped, number, percent};

/// The last measurement, with how each figure is read.
pub fn final_figures(history: &History<'_>) -> String {
    let mut section = section("figures", "Final figures");
    let Some(last) = history.last() else {
        return section + "<p>Nothing was measured.</p>\n</section>\n";
    };
    let width = history.run.map_or("D".into(), |run| grouped(run.width as u64));
    let perplexity = history.perplexity();
    let fit = match (last.alpha_req_r2, last.alpha_req_range) {
        (Some(r2), Some([from, to])) => {
            format!(" Here over ranks {}–{to}, with R² = {}.", from + 1, number(r2))
        }
        _ => String::new(),
    };
    let most = match last.rows {
        0 => "log₂ N".into(),
        rows => format!("log₂ N = {}", number((rows as f64).log2())),
    };
    let (kind, kinds) = (history.token(), history.tokens());
    let per_token = format!("Bits per {kind}");
    let unknown = history.run.map_or(f64::NAN, |run| run.unknown_share);
    let spelling = history.run.map_or(f64::NAN, |run| run.spelling_bits / run.bytes as f64);
    let mut rows: Vec<(&str, String, &str, String)> = vec![
        (
            "Perplexity",
            number(perplexity),
            &kinds,
            format!("As unsure as a fair choice among so many {kinds}. Lower is better."),
        ),
        (
            &per_token,
            number(last.bits_per_token),
            "bits",
            format!("What an ideal coder with this model would need for the class of a {kind}."),
        ),
        (
            "Bits per byte",
            number(last.bits_per_byte),
            "bits",
            format!(
                "What it would need for a byte of the held-out text, from which all of it can be read \
                 again: {} of it spell unknown {kinds} and the white space. It can be compared between \
                 words, characters and bytes.",
                number(spelling)
            ),
        ),
        (
            "Unknown",
            percent(unknown),
            "%",
            format!("The share of the held-out {kinds} that have no class of their own, and are easy to guess."),
        ),
        (
            "Loss",
            number(last.loss),
            "nats",
            format!(
                "Mean −ln p of the {kind} that comes, ± {} as the standard error.",
                number(last.loss_standard_error)
            ),
        ),
        (
            "Entropy",
            number(last.entropy),
            "nats",
            "What the model expects its loss to be. A loss above it: too sure; below: too unsure.".into(),
        ),
        (
            "Varentropy",
            number(last.varentropy),
            "nats²",
            "How much −ln p varies within a prediction; its root is in nats.".into(),
        ),
        (
            "Accuracy",
            percent(last.accuracy),
            "%",
            "How often the most probable class comes. Higher is better.".into(),
        ),
        (
            "RankMe",
            number(last.rankme),
            "directions",
            format!("Between 1 and {width}: how evenly the singular values are spread. Very low: collapsed."),
        ),
        (
            "Effective rank",
            number(last.effective_rank),
            "directions",
            "The same of the covariance’s eigenvalues, which are squares: strong directions count more."
                .into(),
        ),
        (
            "α-ReQ",
            number(last.alpha_req.unwrap_or(f64::NAN)),
            "",
            format!("How steeply the eigenvalues fall. Much above 1: few directions hold the variance.{fit}"),
        ),
        (
            "DSE",
            number(last.dse),
            "bits",
            format!(
                "Diffusion spectral entropy, from 0 to {most}: how many clusters of hidden states can be \
                 told apart at kernel width σ = {}.",
                number(last.sigma)
            ),
        ),
        (
            "DSMI",
            number(last.dsmi),
            "bits",
            "Diffusion spectral mutual information with the next token’s class. Higher: states of a class \
             lie together. It may be below 0."
                .into(),
        ),
        (
            "Tiles kept, auto",
            percent(last.tiles_kept),
            "%",
            "The work that a filter finer than f32 leaves the backward pass. Lower is cheaper.".into(),
        ),
        (
            "Tiles kept, 2⁻¹²",
            percent(last.tiles_kept_2e_12),
            "%",
            "The same for a filter that drops probabilities below 0.00024, and loses a little.".into(),
        ),
    ];
    if let Some(finish) = history.finish.filter(|finish| !finish.attention_entropy.is_empty()) {
        let each = |shares: &[f64], written: fn(f64) -> String| {
            shares.iter().map(|&share| written(share)).collect::<Vec<_>>().join(", ")
        };
        rows.push((
            "Attention entropy",
            each(&finish.attention_entropy, number),
            "nats",
            format!(
                "How spread each head’s attention is, on average: 0 looks at one {kind}, the most at all alike.                  As shares of that: {} %.",
                each(&finish.attention_entropy_share, percent)
            ),
        ));
    }
    let _ = write!(
        section,
        "<p>After step {}, on {} held-out positions.</p>\n<table class=\"figures\"><thead><tr><th \
         scope=\"col\">Figure</th><th scope=\"col\">Value</th><th scope=\"col\">How to read \
         it</th></tr></thead><tbody>\n",
        grouped(last.step as u64),
        grouped(last.positions as u64)
    );
    for (name, value, unit, reading) in rows {
        let unit = match unit {
            "" => String::new(),
            unit => format!(" <span class=\"unit\">{unit}</span>"),
        };
        let _ = writeln!(
            section,
            "<tr><th scope=\"row\">{name}</th><td class=\"number\">{value}{unit}</td><td>{reading}</td></tr>"
        );
    }
    section + "</tbody></table>\n</section>\n"
}

/// All measurements as numbers, for who cannot see the curves or does not trust them.
pub fn every_measurement(history: &History<'_>) -> String {
    if history.measurements.is_empty() {
        return String::new();
    }
    let mut table = String::from(
        "<details>\n<summary>Every measurement in numbers</summary>\n<div class=\"scroll\">\n<table \
         class=\"numbers every\"><thead><tr>",
    );
    for name in [
        "Step",
        "Time (s)",
        "Loss (nats)",
        "Perplexity",
        "Bits a byte",
        "Entropy (nats)",
        "Varentropy (nats²)",
        "Accuracy (%)",
        "RankMe",
        "Effective rank",
        "α",
        "R²",
        "DSE (bits)",
        "DSMI (bits)",
        "Tiles (%)",
        "Tiles 2⁻¹² (%)",
    ] {
        let _ = write!(table, "<th scope=\"col\">{name}</th>");
    }
    table += "</tr></thead><tbody>\n";
    for m in &history.measurements {
        let _ = write!(table, "<tr><th scope=\"row\">{}</th>", grouped(m.step as u64));
        for (value, digits) in [
            (m.seconds, 1),
            (m.loss, 3),
            (m.perplexity, 1),
            (m.bits_per_byte, 3),
            (m.entropy, 3),
            (m.varentropy, 3),
            (100.0 * m.accuracy, 1),
            (m.rankme, 1),
            (m.effective_rank, 1),
            (m.alpha_req.unwrap_or(f64::NAN), 3),
            (m.alpha_req_r2.unwrap_or(f64::NAN), 3),
            (m.dse, 3),
            (m.dsmi, 3),
            (100.0 * m.tiles_kept, 1),
            (100.0 * m.tiles_kept_2e_12, 1),
        ] {
            let _ = write!(table, "<td>{}</td>", decimals(value, digits));
        }
        table += "</tr>\n";
    }
    table + "</tbody></table>\n</div>\n</details>\n"
}
