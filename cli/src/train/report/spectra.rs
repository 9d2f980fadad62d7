//! The eigenspectrum of the hidden states' covariance at some steps.

use std::fmt::Write;

use super::chart::{Horizontal, Spacing};
use super::history::History;
use super::parts::{chart, figure, line, section};
use super::phases::Phases;
use super::text::{MISSING, decimals, grouped, number};
use crate::train::record::Measurement;

/// Spectra in one chart.
const SPECTRA: usize = 4;

/// Logarithms of steps whose spectra are about the same.
const NEAR: f64 = 0.4;

/// Eigenvalues of a smaller share of the largest are rounding.
const ROUNDING: f64 = 1e-12;

/// The eigenvalues of the covariance at some steps, with their power laws.
pub fn eigenspectra(history: &History<'_>, phases: Option<&Phases>) -> String {
    let chosen = chosen(history, phases);
    let ranks = Horizontal {
        name: "rank of the eigenvalue (logarithmic)",
        spacing: Spacing::Logarithmic,
        range: [1.0, 1.0],
        zero: false,
    };
    let share = ("share of the variance (logarithmic)", Spacing::Logarithmic);
    let mut chart =
        chart("eigenspectrum", "Eigenspectrum of the covariance", ranks, share, Vec::new());
    chart.description = "Eigenvalues as shares of their sum, over their ranks.".into();
    let mut rows = String::new();
    for (index, &measurement) in chosen.iter().enumerate() {
        let step = grouped(measurement.step as u64);
        let points = shares(measurement);
        chart.x.range[1] = chart.x.range[1].max(points.len() as f64);
        let alpha = measurement.alpha_req.filter(|alpha| alpha.is_finite());
        if let Some(fit) = alpha.and_then(|alpha| law(&points, alpha, measurement.alpha_req_range))
        {
            chart.fits.push(fit);
        }
        let decay = alpha.map_or(String::new(), |alpha| format!(", with α = {}", number(alpha)));
        let ends =
            [points.first(), points.last()].map(|point| number(point.map_or(f64::NAN, |p| p.1)));
        let _ = write!(
            chart.description,
            " Step {step}: {} eigenvalues, from {} to {}{decay}.",
            points.len(),
            ends[0],
            ends[1]
        );
        chart.series.push(line(&format!("step {step}"), index + 1, points));
        let fitted = measurement.alpha_req_range.map_or(MISSING.into(), |[from, to]| {
            format!("{}–{}", grouped(from as u64 + 1), grouped(to as u64))
        });
        let _ = writeln!(
            rows,
            "<tr><th scope=\"row\">{step}</th><td>{}</td><td>{}</td><td>{fitted}</td><td>{}</td></tr>",
            decimals(alpha.unwrap_or(f64::NAN), 3),
            decimals(measurement.alpha_req_r2.unwrap_or(f64::NAN), 3),
            decimals(measurement.effective_rank, 1),
        );
    }
    let mut section = section("eigenspectrum", "Eigenspectrum");
    section += "<div class=\"grid\">\n";
    section += &figure(
        &chart,
        "Eigenvalues of the covariance",
        "A straight line would be a power law. The thin lines are the fits of α-ReQ, over the ranks \
         fitted.",
    );
    if !rows.is_empty() {
        let _ = write!(
            section,
            "<div>\n<h3>The fits</h3>\n<div class=\"scroll\">\n<table class=\"numbers\"><thead><tr><th \
             scope=\"col\">Step</th><th scope=\"col\">α</th><th scope=\"col\">R²</th><th \
             scope=\"col\">Ranks fitted</th><th scope=\"col\">Effective \
             rank</th></tr></thead><tbody>\n{rows}</tbody></table>\n</div>\n<p>α is the slope by least \
             squares of the logarithms, with weights 1/rank. R² near 1: the power law describes these \
             eigenvalues well. Neither is comparable over other ranks.</p>\n</div>\n"
        );
    }
    section + "</div>\n</section>\n"
}

/// Measurements with eigenvalues: the first, the last, the turns of the phases, and others far from
/// these.
fn chosen<'a>(history: &History<'a>, phases: Option<&Phases>) -> Vec<&'a Measurement> {
    let all: Vec<&Measurement> =
        history.measurements.iter().copied().filter(|m| !shares(m).is_empty()).collect();
    let (Some(first), Some(last)) = (all.first(), all.last()) else { return Vec::new() };
    let place = |step: usize| (step.max(1) as f64).ln();
    let distance = |chosen: &[usize], step: usize| {
        let distances = chosen.iter().map(|&other| (place(step) - place(other)).abs());
        distances.fold(f64::INFINITY, f64::min)
    };
    let mut steps = vec![first.step, last.step];
    for turn in phases.map_or(Vec::new(), |phases| phases.turns().to_vec()) {
        if distance(&steps, turn) > NEAR {
            steps.push(turn);
        }
    }
    while steps.len() < SPECTRA {
        let far = |m: &&&Measurement| distance(&steps, m.step);
        match all.iter().max_by(|a, b| far(a).total_cmp(&far(b))) {
            Some(m) if distance(&steps, m.step) > NEAR => steps.push(m.step),
            _ => break,
        }
    }
    all.into_iter().filter(|m| steps.contains(&m.step)).collect()
}

/// Ranks and shares of the variance, without what is rounding.
fn shares(measurement: &Measurement) -> Vec<(f64, f64)> {
    let values = &measurement.eigenvalues;
    let largest = values.first().copied().unwrap_or(0.0);
    let sum: f64 = values.iter().filter(|value| **value > 0.0).sum();
    if !(largest > 0.0 && sum.is_finite()) {
        return Vec::new();
    }
    let real = values.iter().take_while(|&&value| value > ROUNDING * largest);
    real.zip(1_u32..).map(|(&value, rank)| (f64::from(rank), value / sum)).collect()
}

/// The ends of the power law with this α that fits best, with weights 1/rank.
fn law(points: &[(f64, f64)], alpha: f64, range: Option<[usize; 2]>) -> Option<[(f64, f64); 2]> {
    let [from, to] = range?;
    let fitted = points.get(from..to).filter(|fitted| fitted.len() > 1)?;
    let weights: f64 = fitted.iter().map(|(rank, _)| 1.0 / rank).sum();
    let sum: f64 = fitted.iter().map(|(rank, share)| (share.ln() + alpha * rank.ln()) / rank).sum();
    let intercept = sum / weights;
    let ends = [fitted[0].0, fitted[fitted.len() - 1].0];
    Some(ends.map(|rank| (rank, (intercept - alpha * rank.ln()).exp())))
}
