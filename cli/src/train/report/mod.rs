//! `report.html`: what a run was, on one page.
//!
//! The page is one file: it fetches nothing and runs nothing. Colours follow the reader's scheme, and
//! paper is white.

mod chart;
mod cost;
mod curves;
mod heading;
mod history;
mod parts;
mod phases;
mod spectra;
mod tables;
#[cfg(test)]
mod tests;
mod text;

use std::fmt::Write;

use self::cost::cost;
use self::curves::{geometry, learning, predictions};
use self::heading::{facts, heading, lead, notice, unknown};
use self::history::History;
use self::phases::Phases;
use self::spectra::eigenspectra;
use self::tables::{every_measurement, final_figures};
use self::text::escaped;
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
