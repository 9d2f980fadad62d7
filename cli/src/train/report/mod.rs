//! `report.html`: what a run was, on one page.
//!
//! The page is one file: it fetches nothing and runs nothing. Colours follow the reader's scheme, and
//! paper is white.

mod chart;
mod cost;
mod curves;
mod heading;
mod history;
mod phases;
mod spectra;
mod tables;
#[cfg(test)]
mod tests;
mod text;

use std::fmt::Write;

use self::chart::{Chart, Horizontal, Series, Spacing, Vertical};
use self::cost::cost;
use self::curves::{geometry, learning, predictions};
use self::heading::{facts, heading, lead, notice, unknown};
use self::history::History;
use self::phases::Phases;
use self::spectra::eigenspectra;
use self::tables::{every_measurement, final_figures};
use self::text::{escaped, grouped, number};
use super::record::Line;

/// The page of a record. It shows what is there: of an interrupted run what was measured until then.
pub fn html(lines: &[Line]) -> String {
    let history = History::new(lines);
    let phases = Phases::new(&history.measurements);
    let mut page = String::from(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\" />\n<meta \
         name=\"viewport\" content=\"width=device-width, initial-scale=1\" />\n<meta \
         name=\"color-scheme\" content=\"light dark\" />\n<meta \
         http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src \
         'unsafe-inline'\" />\n",
    );
    let title = escaped(&heading(&history));
    let _ = write!(
        page,
        "<title>{title}</title>\n<style>\n{}</style>\n</head>\n<body>\n<main>\n",
        include_str!("style.css")
    );
    let version = history.run.map_or(String::new(), |run| format!(" {}", escaped(&run.version)));
    let _ = write!(
        page,
        "<header>\n<p class=\"over\">surprisal train{version}</p>\n<h1>{title}</h1>\n<p \
         class=\"lead\">{}</p>\n{}{}</header>\n",
        lead(&history),
        notice(&history),
        unknown(&history)
    );
    page += &facts(&history);
    page += &learning(&history);
    page += &predictions(&history);
    page += &geometry(&history, phases.as_ref());
    page += &eigenspectra(&history, phases.as_ref());
    page += &cost(&history);
    page += &final_figures(&history);
    page += &every_measurement(&history);
    let _ = write!(
        page,
        "<footer>Perplexities and losses are per {}. 1 bit = ln 2 ≈ 0.693 nats. “–” stands for what was \
         not measured or is not a number.</footer>\n</main>\n</body>\n</html>\n",
        history.token()
    );
    page
}

fn section(id: &str, title: &str) -> String {
    format!("<section aria-labelledby=\"{id}-heading\">\n<h2 id=\"{id}-heading\">{title}</h2>\n")
}

fn figure(chart: &Chart, title: &str, reading: &str) -> String {
    format!(
        "<figure>\n<figcaption><h3>{title}</h3><p>{reading}</p></figcaption>\n{}\n</figure>\n",
        chart.svg()
    )
}

/// A chart that describes itself by its curves.
fn chart(
    id: &'static str,
    title: &'static str,
    x: Horizontal,
    (y, spacing): (&'static str, Spacing),
    series: Vec<Series>,
) -> Chart {
    let mut description = format!("{y} over {}.", x.name);
    for curve in &series {
        let name = if curve.name.is_empty() { title } else { &curve.name };
        let _ = write!(description, " {name}: {}", course(&curve.points));
    }
    Chart {
        id,
        title,
        description,
        x,
        y: Vertical { name: y, spacing, reaches: Vec::new() },
        series,
        references: Vec::new(),
        fits: Vec::new(),
        spans: Vec::new(),
    }
}

/// A curve of many points.
fn line(name: &str, style: usize, points: Vec<(f64, f64)>) -> Series {
    Series { name: name.into(), ending: None, style, marked: false, points }
}

/// A curve in words.
fn course(points: &[(f64, f64)]) -> String {
    let drawn: Vec<&(f64, f64)> = points.iter().filter(|point| point.1.is_finite()).collect();
    let at =
        |point: &(f64, f64)| format!("{} at step {}", number(point.1), grouped(point.0 as u64));
    match drawn[..] {
        [] => "not measured.".into(),
        [only] => format!("{}.", at(only)),
        [first, .., last] => {
            let compare = |a: &&&(f64, f64), b: &&&(f64, f64)| a.1.total_cmp(&b.1);
            let low = drawn.iter().min_by(compare).copied().unwrap_or(first);
            let high = drawn.iter().max_by(compare).copied().unwrap_or(last);
            format!("from {} to {}; lowest {}, highest {}.", at(first), at(last), at(low), at(high))
        }
    }
}
